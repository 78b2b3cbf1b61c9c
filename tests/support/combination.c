#include "support/combination.h"

#include "base/random.h"
#include "support/tensor.h"
#include "support/variant.h"

#include <stdio.h>
#include <string.h>

enum {
    FACTOR_UNIT,
    FACTOR_NORM,
    FACTOR_CLAMP,
    FACTOR_PLASTIC,
    FACTOR_GRANULARITY,
    FACTOR_LEARN,
    FACTOR_RULE,
    FACTOR_DECAY,
    FACTOR_ACTIVATION,
    FACTOR_LAYER_NORM,
    FACTOR_BIAS,
    FACTOR_PRESYNAPTIC
};

/* Level 0 is the default. */
static const int levels[COMBINATION_FACTORS] = {2, 4, 2, 3, 3, 2, 2, 2, 2, 2, 2, 2};

static int is_valid(const int *level)
{
    return level[FACTOR_UNIT] == 0 || (level[FACTOR_PLASTIC] != 2 && level[FACTOR_PRESYNAPTIC] == 0);
}

/* Levels of combination `index`; returns 0 past the pairs. A pair of a factor with itself is that factor alone. */
static int systematic(int index, int *level)
{
    memset(level, 0, COMBINATION_FACTORS * sizeof *level);
    if (index-- == 0) return 1;
    for (int a = 0; a < COMBINATION_FACTORS; a++)
        for (int b = a; b < COMBINATION_FACTORS; b++)
            for (int one = 1; one < levels[a]; one++)
                for (int two = 1; two < levels[b]; two++) {
                    memset(level, 0, COMBINATION_FACTORS * sizeof *level);
                    level[a] = one;
                    level[b] = two;
                    if ((a != b || one == two) && is_valid(level) && index-- == 0) return 1;
                }
    return 0;
}

int combination_systematic(void)
{
    int level[COMBINATION_FACTORS], count = 0;
    while (systematic(count, level)) count++;
    return count;
}

stpn_unit combination(int index, int hidden)
{
    int level[COMBINATION_FACTORS];
    random_stream stream = random_open(12, RANDOM_BENCH, (uint64_t)index);
    int valid = systematic(index, level);
    while (!valid) {
        for (int i = 0; i < COMBINATION_FACTORS; i++) level[i] = (int)random_below(&stream, (uint32_t)levels[i]);
        valid = is_valid(level);
    }
    stpn_unit unit = stpn_unit_default(level[FACTOR_UNIT] ? "stpn_f" : "stpn_r", hidden);
    unit.norm = (stpn_norm)level[FACTOR_NORM];
    unit.clamp = level[FACTOR_CLAMP] ? (float)0.2 : 0;
    unit.plastic = (stpn_plastic)level[FACTOR_PLASTIC];
    unit.granularity = (stpn_granularity)level[FACTOR_GRANULARITY];
    unit.learn = !level[FACTOR_LEARN];
    unit.rule = (stpn_rule)level[FACTOR_RULE];
    unit.decay = (stpn_decay)level[FACTOR_DECAY];
    unit.activation = (stpn_activation)level[FACTOR_ACTIVATION];
    unit.layer_norm = level[FACTOR_LAYER_NORM];
    unit.bias = !level[FACTOR_BIAS];
    unit.presynaptic = (stpn_presynaptic)level[FACTOR_PRESYNAPTIC];
    return unit;
}

const char *combination_text(const stpn_unit *u, char *text, size_t size)
{
    static const char *const norms[] = {"pre", "post", "output", "none"}, *const plastic[] = {"all", "input", "hidden"},
                             *const granularity[] = {"synapse", "neuron", "scalar"};
    if (strncmp(u->name, "stpn_", 5) != 0) return variant_text(u, text, size);
    snprintf(text, size, "%s H=%d norm=%s", u->name, u->hidden, norms[u->norm]);
    if (u->clamp > 0) text_append(text, size, " clamp=%g", u->clamp);
    if (u->plastic) text_append(text, size, " plastic=%s", plastic[u->plastic]);
    if (u->granularity) text_append(text, size, " granularity=%s", granularity[u->granularity]);
    if (!u->learn) text_append(text, size, " held");
    if (u->rule) text_append(text, size, " oja");
    if (u->decay) text_append(text, size, " prompt");
    if (u->activation) text_append(text, size, " sigmoid");
    if (u->layer_norm) text_append(text, size, " layer_norm");
    if (!u->bias) text_append(text, size, " no bias");
    if (u->presynaptic) text_append(text, size, " current");
    return text;
}
