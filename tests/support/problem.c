#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/problem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------------------------------------------------- memory */

static void *keep(shelf *s, size_t bytes)
{
    assert_in_range(s->count, 0, sizeof s->blocks / sizeof *s->blocks - 1);
    void *block = calloc(bytes ? bytes : 1, 1);
    assert_non_null(block);
    return s->blocks[s->count++] = block;
}

static void clear_shelf(shelf *s)
{
    while (s->count > 0) free(s->blocks[--s->count]);
}

static tensor new_tensor(shelf *s, const char *name, int rank, int a, int b, int c)
{
    tensor t = {.rank = rank, .shape = {a, b, c}, .count = (size_t)a};
    for (int i = 1; i < rank; i++) t.count *= (size_t)t.shape[i];
    snprintf(t.name, sizeof t.name, "%s", name);
    t.values = keep(s, t.count * sizeof *t.values);
    return t;
}

static tensor tensor_like(shelf *s, const tensor *model)
{
    return new_tensor(s, model->name, model->rank, model->shape[0], model->shape[1], model->shape[2]);
}

static tensor copy_of(shelf *s, const tensor *t)
{
    tensor copy = tensor_like(s, t);
    if (t->count) memcpy(copy.values, t->values, t->count * sizeof *t->values);
    return copy;
}

static void fill(tensor *t, random_stream *stream, double low, double high)
{
    for (size_t i = 0; i < t->count; i++) t->values[i] = (float)random_range(stream, low, high);
}

/* ----------------------------------------------------------------------------------------------------- combinations */

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

static void append(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void append(char *text, size_t size, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    if (used < size) vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
}

const char *combination_text(const stpn_unit *u, char *text, size_t size)
{
    static const char *const norms[] = {"pre", "post", "output", "none"}, *const plastic[] = {"all", "input", "hidden"},
                             *const granularity[] = {"synapse", "neuron", "scalar"};
    snprintf(text, size, "%s H=%d norm=%s", u->name, u->hidden, norms[u->norm]);
    if (u->clamp > 0) append(text, size, " clamp=%g", u->clamp);
    if (u->plastic) append(text, size, " plastic=%s", plastic[u->plastic]);
    if (u->granularity) append(text, size, " granularity=%s", granularity[u->granularity]);
    if (!u->learn) append(text, size, " held");
    if (u->rule) append(text, size, " oja");
    if (u->decay) append(text, size, " prompt");
    if (u->activation) append(text, size, " sigmoid");
    if (u->layer_norm) append(text, size, " layer_norm");
    if (!u->bias) append(text, size, " no bias");
    if (u->presynaptic) append(text, size, " current");
    return text;
}

/* --------------------------------------------------------------------------------------------------------- problems */

static int unit_inputs(const problem_plan *plan, int unit)
{
    return unit == 0 ? plan->inputs : plan->units[unit - 1].hidden;
}

static int outputs(const problem_plan *plan)
{
    return plan->units[plan->unit_count - 1].hidden;
}

static void add_parameter(problem *p, int unit, const char *name, int rank, int rows, int columns)
{
    char full[32];
    snprintf(full, sizeof full, "units.%d.%s", unit, name);
    p->parameters[p->parameter_count++] = new_tensor(&p->shelf, full, rank, rows, columns, 0);
}

static void add_state(problem *p, int unit, const char *name, int rank, int rows, int columns)
{
    char full[32];
    snprintf(full, sizeof full, "units.%d.%s", unit, name);
    p->states[p->state_count] = new_tensor(&p->shelf, full, rank, p->plan.batch, rows, columns);
    p->dstates[p->state_count] = tensor_like(&p->shelf, &p->states[p->state_count]);
    p->state_count++;
}

/* Empty tensors of the plan's sizes. */
static void lay_out(problem *p)
{
    const problem_plan *plan = &p->plan;
    int T = plan->steps, B = plan->batch;
    for (int i = 0; i < plan->unit_count; i++) {
        const stpn_unit *u = &plan->units[i];
        int H = u->hidden, K = reference_columns(u, unit_inputs(plan, i));
        assert_in_range(H, 1, REFERENCE_MOST_HIDDEN);
        assert_in_range(K, 1, REFERENCE_MOST_COLUMNS);
        int rate_rank = u->granularity == STPN_GRANULARITY_SYNAPSE ? 2 : 1;
        int rate_rows = u->granularity == STPN_GRANULARITY_SCALAR ? 1 : H, rate_columns = rate_rank == 2 ? K : 0;
        add_parameter(p, i, "weight", 2, H, K);
        if (u->bias) add_parameter(p, i, "bias", 1, H, 0);
        if (u->learn) add_parameter(p, i, "lambda", rate_rank, rate_rows, rate_columns);
        if (u->learn) add_parameter(p, i, "gamma", rate_rank, rate_rows, rate_columns);
        if (u->layer_norm) add_parameter(p, i, "ln_weight", 1, H, 0);
        if (u->layer_norm) add_parameter(p, i, "ln_bias", 1, H, 0);
        add_state(p, i, "F", 3, H, K);
        if (strcmp(u->name, "stpn_r") == 0) add_state(p, i, "h", 2, H, 0);
    }
    p->x = new_tensor(&p->shelf, "x", 3, T, B, plan->inputs);
    p->dy = new_tensor(&p->shelf, "dy", 3, T, B, outputs(plan));
    p->live = keep(&p->shelf, (size_t)T * (size_t)B);
    p->reset = keep(&p->shelf, (size_t)T * (size_t)B);
}

static const char *last_part(const tensor *t)
{
    return strrchr(t->name, '.') + 1;
}

static int unit_of(const tensor *t)
{
    return t->name[6] - '0';
}

static int is_named(const tensor *t, const char *name)
{
    return strcmp(last_part(t), name) == 0;
}

/* Between `low` and `high`, of either sign. */
static double draw_sized(random_stream *stream, double low, double high)
{
    double size = random_range(stream, low, high);
    return (float)(random_below(stream, 2) ? size : -size);
}

/* Weights keep away from 0, so that no row nearly vanishes; rates too, so that F matters. */
static void draw_parameters(problem *p, random_stream *stream, double strength)
{
    for (int i = 0; i < p->parameter_count; i++) {
        tensor *t = &p->parameters[i];
        double width = 1.5 / sqrt(t->shape[1]);
        for (size_t k = 0; k < t->count; k++)
            t->values[k] = is_named(t, "weight")      ? draw_sized(stream, 0.2 * width, width)
                           : is_named(t, "gamma")     ? draw_sized(stream, 0.5 * strength, strength)
                           : is_named(t, "lambda")    ? (float)random_range(stream, 0.3, 1)
                           : is_named(t, "ln_weight") ? (float)random_range(stream, 0.5, 1.5)
                                                      : draw_sized(stream, 0, 0.5);
    }
    for (int i = 0; i < p->plan.unit_count; i++) {
        p->plan.units[i].lambda = (float)random_range(stream, 0.3, 1);
        p->plan.units[i].gamma = draw_sized(stream, 0.5 * strength, strength);
    }
}

static void draw_state(problem *p, tensor *t, random_stream *stream, double size)
{
    fill(t, stream, -size, size);
    const stpn_unit *u = &p->plan.units[unit_of(t)];
    int begin, end;
    reference_plastic(u, unit_inputs(&p->plan, unit_of(t)), &begin, &end);
    for (size_t i = 0; i < t->count && t->rank == 3; i++) {
        int k = (int)(i % (size_t)t->shape[2]);
        if (k < begin || k >= end) t->values[i] = 0;
    }
}

static void draw_inputs(problem *p, random_stream *stream)
{
    size_t steps = (size_t)p->plan.steps * (size_t)p->plan.batch, I = (size_t)p->plan.inputs;
    double *x = p->x.values;
    if (p->plan.input == PLAN_TOKENS && !p->tokens) p->tokens = keep(&p->shelf, steps * sizeof *p->tokens);
    if (p->plan.input == PLAN_BYTES && !p->bytes) p->bytes = keep(&p->shelf, steps * I);
    fill(&p->x, stream, -1, 1);
    for (size_t i = 0; i < steps * I; i++) {
        if (p->plan.input == PLAN_SPARSE && random_below(stream, 4) > 0) x[i] = 0;
        if (p->plan.input == PLAN_BYTES) x[i] = p->bytes[i] = (uint8_t)random_below(stream, 4);
        if (p->plan.input == PLAN_TOKENS) x[i] = 0;
    }
    /* For differences, no row of zeros: a layer norm would come upon it. */
    for (size_t i = 0; i < steps && p->plan.input == PLAN_SPARSE && p->plan.smooth; i++)
        x[i * I + random_below(stream, (uint32_t)I)] = (float)random_range(stream, 0.5, 1);
    for (size_t i = 0; i < steps && p->plan.input == PLAN_TOKENS; i++) {
        p->tokens[i] = (int32_t)random_below(stream, (uint32_t)I);
        x[i * I + (size_t)p->tokens[i]] = 1;
    }
}

static void draw_flags(problem *p, random_stream *stream)
{
    int T = p->plan.steps, B = p->plan.batch;
    for (int b = 0; b < B; b++) {
        int length = b == 0 ? T : b == 1 ? 0 : (int)random_below(stream, (uint32_t)T + 1);
        for (int t = 0; t < T; t++) {
            int at = b * T + t;
            p->live[at] = !p->plan.lengths || t < length;
            if (p->plan.gaps) p->live[at] = random_below(stream, 3) > 0;
            p->reset[at] = p->plan.resets && random_below(stream, 4) == 0;
        }
    }
}

static void draw(problem *p, random_stream *stream, double strength)
{
    draw_parameters(p, stream, strength);
    for (int i = 0; i < p->state_count; i++) {
        if (p->plan.started) draw_state(p, &p->states[i], stream, p->states[i].rank == 3 ? strength : 0.9);
        draw_state(p, &p->dstates[i], stream, 1);
    }
    fill(&p->dy, stream, -1, 1);
    draw_inputs(p, stream);
    draw_flags(p, stream);
}

static double largest_error(const problem *p, const outcome *a, const outcome *b)
{
    double error = fmax(tensor_error(&a->y, &b->y), tensor_error(&a->energy, &b->energy));
    for (int i = 0; i < p->state_count; i++) error = fmax(error, tensor_error(&a->states[i], &b->states[i]));
    return error;
}

static void restore(tensor *t, const tensor *from)
{
    memcpy(t->values, from->values, t->count * sizeof *t->values);
}

static void jitter(tensor *t, random_stream *stream)
{
    for (size_t i = 0; i < t->count; i++) t->values[i] *= 1 + (random_below(stream, 2) ? 0x1p-24 : -0x1p-24);
}

/* How far the outcome moves where every weight does by half a unit in a float's last place and F and h are rounded to
 * floats after every step. */
static double sensitivity_to_rounding(problem *p, const outcome *exact, random_stream *stream)
{
    outcome moved;
    shelf own = {0};
    tensor before[PROBLEM_TENSORS];
    for (int i = 0; i < p->parameter_count; i++) {
        before[i] = copy_of(&own, &p->parameters[i]);
        jitter(&p->parameters[i], stream);
    }
    p->rounded = 1;
    reference_outcome(p, &moved);
    p->rounded = 0;
    for (int i = 0; i < p->parameter_count; i++) restore(&p->parameters[i], &before[i]);
    double error = largest_error(p, &moved, exact);
    outcome_free(&moved);
    clear_shelf(&own);
    return error;
}

/* A problem is drawn again, with ever less plasticity, while it is ill-conditioned: where rounding alone moves the outcome
 * by a part of a float's tolerance, nothing is learned about an implementation. For differences it must also keep away
 * from the clamp's corners and from layer norms of zeros, whose derivative is 316 over a width of a thousandth. */
static int is_sound(problem *p, random_stream *stream)
{
    outcome exact;
    reference_outcome(p, &exact);
    reference_closeness close = p->closeness;
    int sound = close.largest < 10 && close.spread > 0.05 && sensitivity_to_rounding(p, &exact, stream) < 5e-7;
    if (p->plan.smooth) sound &= close.clamp_gap > 2e-4 && close.flat == 0;
    p->closeness = close;
    outcome_free(&exact);
    return sound;
}

void problem_make(problem *p, const problem_plan *plan, uint64_t seed)
{
    *p = (problem){.plan = *plan};
    lay_out(p);
    random_stream stream = random_open(seed, RANDOM_BENCH, 1);
    double strength = 0.6;
    for (int attempt = 0; attempt < 1000; attempt++, strength *= 0.98) {
        draw(p, &stream, strength);
        if (plan->rough || is_sound(p, &stream)) return;
    }
    fail_msg("no such problem: %s", problem_text(p));
}

/* Rows of `size` bytes of samples [first, last) of (T, B, ...). */
static void take_rows(const problem *p, const problem *whole, int first, const void *from, void *to, size_t size)
{
    size_t B = (size_t)whole->plan.batch, taken = (size_t)p->plan.batch;
    for (size_t t = 0; t < (size_t)p->plan.steps && from; t++)
        memcpy((char *)to + t * taken * size, (const char *)from + (t * B + (size_t)first) * size, taken * size);
}

void problem_take(problem *p, const problem *whole, int first, int last)
{
    *p = (problem){.plan = whole->plan};
    p->plan.batch = last - first;
    lay_out(p);
    size_t T = (size_t)p->plan.steps, B = (size_t)p->plan.batch, I = (size_t)p->plan.inputs, begin = (size_t)first;
    for (int i = 0; i < p->parameter_count; i++)
        memcpy(p->parameters[i].values, whole->parameters[i].values, p->parameters[i].count * sizeof(double));
    for (int i = 0; i < p->state_count; i++) {
        size_t count = p->states[i].count;
        memcpy(p->states[i].values, whole->states[i].values + begin * (count / B), count * sizeof(double));
        memcpy(p->dstates[i].values, whole->dstates[i].values + begin * (count / B), count * sizeof(double));
    }
    if (whole->tokens) p->tokens = keep(&p->shelf, T * B * sizeof *p->tokens);
    if (whole->bytes) p->bytes = keep(&p->shelf, T * B * I);
    take_rows(p, whole, first, whole->x.values, p->x.values, I * sizeof(double));
    take_rows(p, whole, first, whole->dy.values, p->dy.values, (size_t)outputs(&p->plan) * sizeof(double));
    take_rows(p, whole, first, whole->tokens, p->tokens, sizeof *p->tokens);
    take_rows(p, whole, first, whole->bytes, p->bytes, I);
    memcpy(p->live, whole->live + begin * T, B * T);
    memcpy(p->reset, whole->reset + begin * T, B * T);
}

void problem_free(problem *p)
{
    clear_shelf(&p->shelf);
}

const char *problem_text(const problem *p)
{
    static const char *const inputs[] = {"dense", "sparse", "tokens", "bytes"};
    static char text[1024];
    text[0] = 0;
    for (int i = 0; i < p->plan.unit_count; i++) {
        char unit[256];
        append(text, sizeof text, "%s%s", i ? " -> " : "", combination_text(&p->plan.units[i], unit, sizeof unit));
    }
    append(text, sizeof text, ", I=%d T=%d B=%d %s%s%s%s%s", p->plan.inputs, p->plan.steps, p->plan.batch,
           inputs[p->plan.input], p->plan.resets ? " resets" : "", p->plan.lengths ? " lengths" : "",
           p->plan.gaps ? " gaps" : "", p->plan.started ? " started" : "");
    return text;
}

/* -------------------------------------------------------------------------------------------------------- reference */

static const double *find(const problem *p, int unit, const char *name)
{
    for (int i = 0; i < p->parameter_count; i++)
        if (unit_of(&p->parameters[i]) == unit && is_named(&p->parameters[i], name)) return p->parameters[i].values;
    return NULL;
}

/* A sample's rows of all steps: to or from (T, B, n). */
static void gather(const tensor *from, size_t sample, double *to)
{
    size_t T = (size_t)from->shape[0], B = (size_t)from->shape[1], n = (size_t)from->shape[2];
    for (size_t t = 0; t < T; t++) memcpy(to + t * n, from->values + (t * B + sample) * n, n * sizeof *to);
}

/* Room for one sample's run: rows between units, F and h of all steps. */
typedef struct reference_space {
    double *rows[2], *F, *h, *energy;
} reference_space;

static reference_space new_space(const problem_plan *plan, shelf *s)
{
    size_t T = (size_t)plan->steps, rows = T + 1, widest = (size_t)plan->inputs, matrix = 0;
    for (int i = 0; i < plan->unit_count; i++) {
        size_t H = (size_t)plan->units[i].hidden;
        size_t values = H * (size_t)reference_columns(&plan->units[i], unit_inputs(plan, i));
        if (H > widest) widest = H;
        if (values > matrix) matrix = values;
    }
    reference_space space;
    for (int i = 0; i < 2; i++) space.rows[i] = keep(s, rows * widest * sizeof(double));
    space.F = keep(s, rows * matrix * sizeof(double));
    space.h = keep(s, rows * widest * sizeof(double));
    space.energy = keep(s, rows * sizeof(double));
    return space;
}

/* Runs one sample; adds up the loss sum(y dy) + sum(final state dstate). Where `o` is not NULL its values go there. */
static double run_sample(const problem *p, int sample, const reference_space *space, outcome *o,
                         reference_closeness *close)
{
    const problem_plan *plan = &p->plan;
    size_t T = (size_t)plan->steps, B = (size_t)plan->batch, b = (size_t)sample, H = (size_t)outputs(plan);
    double loss = 0;
    int state = 0;
    memset(space->energy, 0, T * sizeof(double));
    gather(&p->x, b, space->rows[0]);
    for (int i = 0; i < plan->unit_count; i++) {
        const stpn_unit *u = &plan->units[i];
        reference r = {.unit = *u,
                       .inputs = unit_inputs(plan, i),
                       .weight = find(p, i, "weight"),
                       .bias = find(p, i, "bias"),
                       .lambda = find(p, i, "lambda"),
                       .gamma = find(p, i, "gamma"),
                       .ln_weight = find(p, i, "ln_weight"),
                       .ln_bias = find(p, i, "ln_bias")};
        size_t matrix = p->states[state].count / B, row = (size_t)u->hidden;
        int recurrent = strcmp(u->name, "stpn_r") == 0;
        memcpy(space->F, p->states[state].values + b * matrix, matrix * sizeof(double));
        if (recurrent) memcpy(space->h, p->states[state + 1].values + b * row, row * sizeof(double));
        size_t part = p->rounded ? 1 : T;
        for (size_t t = 0; t < T; t += part) {
            double *F = space->F + t * matrix, *h = space->h + t * row;
            reference_run(&r, (int)part, space->rows[i % 2] + t * (size_t)r.inputs, p->live + b * T + t,
                          p->reset + b * T + t, F, h, space->rows[1 - i % 2] + t * row, space->energy + t, close);
            for (size_t k = 0; k < matrix && p->rounded; k++) F[matrix + k] = (float)F[matrix + k];
            for (size_t k = 0; k < row && p->rounded; k++) h[row + k] = (float)h[row + k];
        }
        for (int s = 0; s < 1 + recurrent; s++, state++) {
            size_t count = s == 0 ? matrix : row;
            const double *final = s == 0 ? space->F + T * matrix : space->h + T * row;
            for (size_t k = 0; k < count; k++) loss += final[k] * p->dstates[state].values[b * count + k];
            if (o) memcpy(o->states[state].values + b * count, final, count * sizeof(double));
        }
    }
    const double *y = space->rows[plan->unit_count % 2];
    for (size_t t = 0; t < T; t++)
        for (size_t j = 0; j < H; j++) loss += y[t * H + j] * p->dy.values[(t * B + b) * H + j];
    for (size_t t = 0; t < T && o; t++) {
        memcpy(o->y.values + (t * B + b) * H, y + t * H, H * sizeof(double));
        o->energy.values[t * B + b] = space->energy[t];
    }
    return loss;
}

static void new_outcome(const problem *p, outcome *o)
{
    int T = p->plan.steps, B = p->plan.batch;
    *o = (outcome){0};
    o->y = new_tensor(&o->shelf, "y", 3, T, B, outputs(&p->plan));
    o->energy = new_tensor(&o->shelf, "energy", 2, T, B, 0);
    for (int i = 0; i < p->state_count; i++) o->states[i] = tensor_like(&o->shelf, &p->states[i]);
}

static void add_gradient(const problem *p, outcome *o)
{
    for (int i = 0; i < p->parameter_count; i++) o->dparameters[i] = tensor_like(&o->shelf, &p->parameters[i]);
    for (int i = 0; i < p->state_count; i++) o->dstates[i] = tensor_like(&o->shelf, &p->states[i]);
    o->dx = tensor_like(&o->shelf, &p->x);
}

void outcome_free(outcome *o)
{
    clear_shelf(&o->shelf);
}

void reference_outcome(problem *p, outcome *o)
{
    new_outcome(p, o);
    reference_space space = new_space(&p->plan, &o->shelf);
    p->closeness = (reference_closeness){.clamp_gap = INFINITY, .norm = INFINITY, .spread = INFINITY};
    for (int b = 0; b < p->plan.batch; b++) run_sample(p, b, &space, o, &p->closeness);
}

/* Derivative of the loss of samples [first, last) with respect to a value that the problem holds. */
static double difference(const problem *p, const reference_space *space, double *value, int first, int last)
{
    static const double places[4] = {-2, -1, 1, 2}, factors[4] = {1, -8, 8, -1};
    double middle = *value, width = 1e-5, total = 0;
    for (int i = 0; i < 4; i++) {
        *value = middle + places[i] * width;
        for (int b = first; b < last; b++) total += factors[i] * run_sample(p, b, space, NULL, NULL);
    }
    *value = middle;
    return total / (12 * width);
}

void reference_gradient(problem *p, outcome *o)
{
    reference_outcome(p, o);
    add_gradient(p, o);
    shelf own = {0};
    reference_space space = new_space(&p->plan, &own);
    int B = p->plan.batch;
    for (int i = 0; i < p->parameter_count; i++)
        for (size_t k = 0; k < p->parameters[i].count; k++)
            o->dparameters[i].values[k] = difference(p, &space, &p->parameters[i].values[k], 0, B);
    for (size_t k = 0; k < p->x.count; k++) {
        int b = (int)(k / (size_t)p->plan.inputs % (size_t)B);
        o->dx.values[k] = difference(p, &space, &p->x.values[k], b, b + 1);
    }
    for (int i = 0; i < p->state_count; i++) {
        const tensor *state = &p->states[i];
        int begin, end;
        reference_plastic(&p->plan.units[unit_of(state)], unit_inputs(&p->plan, unit_of(state)), &begin, &end);
        for (size_t k = 0; k < state->count; k++) {
            int b = (int)(k / (state->count / (size_t)B)), column = (int)(k % (size_t)state->shape[state->rank - 1]);
            if (state->rank == 3 && (column < begin || column >= end)) continue; // there is no such F
            o->dstates[i].values[k] = difference(p, &space, &state->values[k], b, b + 1);
        }
    }
    clear_shelf(&own);
}

/* ---------------------------------------------------------------------------------------------------------- library */

/* What a run of the library holds. */
typedef struct session {
    const problem *problem;
    const run *run;
    stpn_error error;
    stpn_net *net;
    stpn_state *state;
    stpn_tape *tape;
    stpn_pool *pool;
    size_t size; // of a value
    void *x, *y, *energy;
    uint8_t *reset; // (T, B)
    shelf shelf;
} session;

#define assert_ok(s, call)                                                               \
    do {                                                                                 \
        stpn_status status_ = (call);                                                    \
        if (status_) fail_msg("%s: %s", problem_text((s)->problem), (s)->error.message); \
    } while (0)

static void *to_real(session *s, const double *values, size_t count)
{
    void *block = keep(&s->shelf, count * s->size);
    for (size_t i = 0; i < count; i++)
        if (s->size == sizeof(double)) ((double *)block)[i] = values[i];
        else ((float *)block)[i] = (float)values[i];
    return block;
}

static void from_real(const session *s, const void *values, size_t count, double *to)
{
    for (size_t i = 0; i < count; i++)
        to[i] = s->size == sizeof(double) ? ((const double *)values)[i] : (double)((const float *)values)[i];
}

/* Room for results that starts as NaN, so that what is not written shows. */
static void *unwritten(session *s, size_t count)
{
    void *block = keep(&s->shelf, count * s->size);
    memset(block, 0xff, count * s->size);
    return block;
}

static void assert_like(const problem *p, const tensor *mine, const stpn_tensor *theirs)
{
    if (strcmp(mine->name, theirs->name) != 0 || mine->rank != theirs->rank || mine->count != theirs->count ||
        memcmp(mine->shape, theirs->shape, sizeof mine->shape) != 0)
        fail_msg("%s: tensor %s (%zu values) is %s (%zu values)", problem_text(p), mine->name, mine->count,
                 theirs->name, theirs->count);
}

/* Starting, or upstream, values of a state. */
static void set_states(session *s, stpn_state *state, const tensor *tensors)
{
    stpn_tensor theirs;
    for (int i = 0; i < s->problem->state_count; i++) {
        assert_int_equal(stpn_state_tensor(state, i, &theirs), 1);
        assert_like(s->problem, &tensors[i], &theirs);
        assert_ok(s, stpn_state_set(state, i, to_real(s, tensors[i].values, tensors[i].count), &s->error));
    }
    assert_int_equal(stpn_state_tensor(state, s->problem->state_count, &theirs), 0);
}

static void get_states(session *s, const stpn_state *state, tensor *tensors)
{
    for (int i = 0; i < s->problem->state_count; i++) {
        void *values = unwritten(s, tensors[i].count);
        stpn_state_get(state, i, values);
        from_real(s, values, tensors[i].count, tensors[i].values);
    }
}

static void open_session(session *s, const problem *p, const run *r)
{
    *s = (session){.problem = p, .run = r, .size = r->real == STPN_DOUBLE ? sizeof(double) : sizeof(float)};
    const problem_plan *plan = &p->plan;
    size_t T = (size_t)plan->steps, B = (size_t)plan->batch;
    stpn_net_desc desc = {r->real, plan->inputs, plan->units, plan->unit_count, NULL, 0};
    assert_int_equal(setenv("STPN_KERNEL", r->kernel, 1), 0);
    assert_ok(s, stpn_net_create(&s->net, &desc, &s->error));
    assert_string_equal(stpn_net_kernel(s->net), r->kernel);
    stpn_tensor theirs;
    for (int i = 0; i < p->parameter_count; i++) {
        assert_int_equal(stpn_net_tensor(s->net, i, &theirs), 1);
        assert_like(p, &p->parameters[i], &theirs);
        void *values = to_real(s, p->parameters[i].values, p->parameters[i].count);
        stpn_block_set(s->net, stpn_net_parameters(s->net), i, values);
    }
    assert_int_equal(stpn_net_tensor(s->net, p->parameter_count, &theirs), 0);
    assert_ok(s, stpn_state_create(&s->state, s->net, plan->batch, &s->error));
    if (plan->started) set_states(s, s->state, p->states);
    if (r->threads) assert_ok(s, stpn_pool_create(&s->pool, r->threads, &s->error));
    if (r->backward)
        assert_ok(s, stpn_tape_create(&s->tape, s->net, plan->steps ? plan->steps : 1, plan->batch,
                                      r->threads ? r->threads : 1, &s->error));
    s->x = to_real(s, p->x.values, p->x.count);
    s->y = unwritten(s, T * B * (size_t)outputs(plan));
    if (!r->no_energy && !r->by_step) s->energy = unwritten(s, T * B);
    s->reset = keep(&s->shelf, T * B);
    for (size_t b = 0; b < B; b++)
        for (size_t t = 0; t < T; t++) s->reset[t * B + b] = p->reset[b * T + t];
}

static void close_session(session *s)
{
    stpn_tape_free(s->tape);
    stpn_state_free(s->state);
    stpn_pool_free(s->pool);
    stpn_net_free(s->net);
    clear_shelf(&s->shelf);
}

static void *offset(const session *s, void *values, size_t count)
{
    return values ? (char *)values + count * s->size : NULL;
}

/* Steps [begin, begin + steps) of samples [first, last) in one call. */
static void forward_call(session *s, int begin, int steps, int first, int last)
{
    const problem *p = s->problem;
    const problem_plan *plan = &p->plan;
    size_t T = (size_t)plan->steps, B = (size_t)plan->batch, I = (size_t)plan->inputs, t0 = (size_t)begin;
    int32_t lengths[64];
    int some_reset = 0, some_length = 0;
    assert_in_range(B, 1, 64);
    for (size_t b = 0; b < B; b++) {
        const uint8_t *live = p->live + b * T + begin;
        lengths[b] = 0;
        while (lengths[b] < steps && live[lengths[b]]) lengths[b]++;
        for (int t = lengths[b]; t < steps; t++) assert_int_equal(live[t], 0); // a call has no gaps
        some_length |= lengths[b] < steps;
        for (size_t t = 0; t < (size_t)steps; t++) some_reset |= p->reset[b * T + t0 + t];
    }
    stpn_sequence q = {.steps = steps,
                       .batch = plan->batch,
                       .first = first,
                       .last = last,
                       .reset = some_reset ? s->reset + t0 * B : NULL,
                       .lengths = some_length ? lengths : NULL,
                       .type = s->run->real == STPN_DOUBLE ? STPN_INPUT_DOUBLE : STPN_INPUT_FLOAT,
                       .x = offset(s, s->x, t0 * B * I)};
    if (s->run->as_doubles) {
        q.type = STPN_INPUT_DOUBLE;
        q.x = p->x.values + t0 * B * I;
    } else if (p->tokens) {
        q.type = STPN_INPUT_TOKEN;
        q.x = p->tokens + t0 * B;
    } else if (p->bytes) {
        q.type = STPN_INPUT_BYTE;
        q.x = p->bytes + t0 * B * I;
    }
    assert_ok(s, stpn_forward(s->net, s->state, &q, offset(s, s->y, t0 * B * (size_t)outputs(plan)),
                              offset(s, s->energy, t0 * B), s->tape, s->pool, &s->error));
    assert_string_equal(s->error.message, "");
}

static void forward_ranges(session *s, int begin, int steps)
{
    int first = 0;
    if (s->run->cut_count == 0) forward_call(s, begin, steps, 0, 0);
    for (int i = 0; i <= s->run->cut_count && s->run->cut_count; i++) {
        int last = i < s->run->cut_count ? s->run->cuts[i] : s->problem->plan.batch;
        forward_call(s, begin, steps, first, last);
        first = last;
    }
}

static void forward_steps(session *s)
{
    size_t B = (size_t)s->problem->plan.batch, I = (size_t)s->problem->plan.inputs;
    size_t H = (size_t)outputs(&s->problem->plan);
    for (size_t t = 0; t < (size_t)s->problem->plan.steps; t++)
        stpn_step(s->net, s->state, offset(s, s->x, t * B * I), offset(s, s->y, t * B * H));
}

static void run_backward_pass(session *s, outcome *o)
{
    const problem *p = s->problem;
    stpn_state *dstate = NULL;
    void *dx = NULL, *grad = stpn_block_create(s->net), *dy = to_real(s, p->dy.values, p->dy.count);
    add_gradient(p, o);
    if (s->run->backward == RUN_DENSE) {
        assert_ok(s, stpn_state_create(&dstate, s->net, p->plan.batch, &s->error));
        set_states(s, dstate, p->dstates);
        dx = unwritten(s, p->x.count);
    }
    assert_non_null(grad);
    assert_ok(s, stpn_backward(s->net, s->tape, dy, dstate, grad, dx, s->pool, &s->error));
    for (int i = 0; i < p->parameter_count; i++) {
        void *values = unwritten(s, o->dparameters[i].count);
        stpn_block_get(s->net, grad, i, values);
        from_real(s, values, o->dparameters[i].count, o->dparameters[i].values);
    }
    if (dstate) {
        get_states(s, dstate, o->dstates);
        from_real(s, dx, p->x.count, o->dx.values);
    }
    stpn_state_free(dstate);
    stpn_block_free(grad);
}

void library_outcome(const problem *p, const run *r, outcome *o)
{
    session s;
    open_session(&s, p, r);
    new_outcome(p, o);
    int begin = 0;
    for (int i = 0; i < r->call_count; begin += r->calls[i++]) forward_ranges(&s, begin, r->calls[i]);
    if (r->by_step) forward_steps(&s);
    else if (r->call_count == 0) forward_ranges(&s, 0, p->plan.steps);
    else assert_int_equal(begin, p->plan.steps);
    from_real(&s, s.y, o->y.count, o->y.values);
    if (s.energy) from_real(&s, s.energy, o->energy.count, o->energy.values);
    else o->energy.values = NULL;
    get_states(&s, s.state, o->states);
    if (r->backward) assert_int_equal(stpn_tape_steps(s.tape, 0), p->plan.steps);
    if (r->backward >= RUN_SPARSE) run_backward_pass(&s, o);
    close_session(&s);
}

/* ------------------------------------------------------------------------------------------------------ comparisons */

double tensor_error(const tensor *a, const tensor *b)
{
    double largest = 1e-3, difference = 0;
    for (size_t i = 0; i < b->count; i++) {
        if (!isfinite(a->values[i]) || !isfinite(b->values[i])) return NAN;
        largest = fmax(largest, fabs(b->values[i]));
        difference = fmax(difference, fabs(a->values[i] - b->values[i]));
    }
    return difference / largest;
}

static const char *run_text(const run *r)
{
    static const char *const backward[] = {"", " tape", " sparse backward", " dense backward"};
    static char text[256];
    snprintf(text, sizeof text, "%s %s%s threads=%d calls=%d%s", r->kernel, r->real == STPN_DOUBLE ? "double" : "float",
             backward[r->backward], r->threads, r->call_count, r->by_step ? " by step" : "");
    return text;
}

void assert_close(const problem *p, const run *r, const tensor *a, const tensor *b, double tolerance)
{
    assert_int_equal(a->count, b->count);
    double error = tensor_error(a, b);
    if (!(error <= tolerance))
        fail_msg("%s: error %g of %s, expected at most %g (%s)", run_text(r), error, b->name, tolerance,
                 problem_text(p));
}

void assert_same_bits(const problem *p, const run *r, const tensor *a, const tensor *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++)
        if (memcmp(&a->values[i], &b->values[i], sizeof(double)) != 0)
            fail_msg("%s: value %zu of %s has other bits: %.17g, not %.17g (%s)", run_text(r), i, b->name, a->values[i],
                     b->values[i], problem_text(p));
}

typedef void (*comparison)(const problem *, const run *, const tensor *, const tensor *, double);

static void compare_bits(const problem *p, const run *r, const tensor *a, const tensor *b, double tolerance)
{
    (void)tolerance;
    assert_same_bits(p, r, a, b);
}

static void compare_forward(comparison compare, const problem *p, const run *r, const outcome *a, const outcome *b,
                            double tolerance)
{
    compare(p, r, &a->y, &b->y, tolerance);
    if (a->energy.values && b->energy.values) compare(p, r, &a->energy, &b->energy, tolerance);
    for (int i = 0; i < p->state_count; i++) compare(p, r, &a->states[i], &b->states[i], tolerance);
}

static void compare_gradient(comparison compare, const problem *p, const run *r, const outcome *a, const outcome *b,
                             int parameters_only, double tolerance)
{
    for (int i = 0; i < p->parameter_count; i++) compare(p, r, &a->dparameters[i], &b->dparameters[i], tolerance);
    if (parameters_only) return;
    compare(p, r, &a->dx, &b->dx, tolerance);
    for (int i = 0; i < p->state_count; i++) compare(p, r, &a->dstates[i], &b->dstates[i], tolerance);
}

void assert_forward_close(const problem *p, const run *r, const outcome *a, const outcome *b, double tolerance)
{
    compare_forward(assert_close, p, r, a, b, tolerance);
}

void assert_forward_same_bits(const problem *p, const run *r, const outcome *a, const outcome *b)
{
    compare_forward(compare_bits, p, r, a, b, 0);
}

void assert_gradient_close(const problem *p, const run *r, const outcome *a, const outcome *b, int parameters_only,
                           double tolerance)
{
    compare_gradient(assert_close, p, r, a, b, parameters_only, tolerance);
}

void assert_gradient_same_bits(const problem *p, const run *r, const outcome *a, const outcome *b)
{
    compare_gradient(compare_bits, p, r, a, b, 0, 0);
}

const char *use_kernel(int index)
{
    const char *name = stpn_kernel_name(index);
    if (name) assert_int_equal(setenv("STPN_KERNEL", name, 1), 0);
    return name;
}
