#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <stpn/stpn.h>
#include <string.h>

/* Names, shapes and initial values of every unit's parameters, as the model's text has them; over many seeds. */

enum { H = 20, I = 13, SEEDS = 60, DECILES = 10 };

static const double by_hidden = 0.22360679774997896964, by_inputs = 0.27735009811261457; // 1/sqrt(H), 1/sqrt(I)

/* Columns [begin, end) of a tensor, uniform in [low, high), or all `low`. */
typedef struct part {
    const char *unit, *tensor;
    int rank, rows, columns, begin, end;
    double low, high;
} part;

#define SYMMETRIC(width) -(width), (width)

static const part parts[] = {
    {"stpn_r", "weight", 2, H, I + H, 0, I + H, SYMMETRIC(by_hidden)},
    {"stpn_r", "bias", 1, H, 1, 0, 1, SYMMETRIC(by_hidden)},
    {"stpn_r", "lambda", 2, H, I + H, 0, I + H, 0, 1},
    {"stpn_r", "gamma", 2, H, I + H, 0, I + H, SYMMETRIC(0.001 * by_hidden)},
    {"stpn_f", "weight", 2, H, I, 0, I, SYMMETRIC(by_inputs)},
    {"stpn_f", "bias", 1, H, 1, 0, 1, SYMMETRIC(by_inputs)},
    {"stpn_f", "lambda", 2, H, I, 0, I, 0, 1},
    {"stpn_f", "gamma", 2, H, I, 0, I, SYMMETRIC(0.001 * by_inputs)},
    {"stpn_r layer_norm", "weight", 2, H, I + H, 0, I + H, SYMMETRIC(by_hidden)},
    {"stpn_r layer_norm", "bias", 1, H, 1, 0, 1, SYMMETRIC(by_hidden)},
    {"stpn_r layer_norm", "lambda", 1, H, 1, 0, 1, 0, 1},
    {"stpn_r layer_norm", "gamma", 1, H, 1, 0, 1, SYMMETRIC(0.001 * by_hidden)},
    {"stpn_r layer_norm", "ln_weight", 1, H, 1, 0, 1, 1, 1},
    {"stpn_r layer_norm", "ln_bias", 1, H, 1, 0, 1, 0, 0},
    {"stpn_f scalar", "weight", 2, H, I, 0, I, SYMMETRIC(by_inputs)},
    {"stpn_f scalar", "bias", 1, H, 1, 0, 1, SYMMETRIC(by_inputs)},
    {"stpn_f scalar", "lambda", 1, 1, 1, 0, 1, 0, 1},
    {"stpn_f scalar", "gamma", 1, 1, 1, 0, 1, SYMMETRIC(0.001 * by_inputs)},
    {"rnn", "weight", 2, H, I + H, 0, I + H, SYMMETRIC(by_hidden)},
    {"rnn", "bias", 1, H, 1, 0, 1, SYMMETRIC(by_hidden)},
    {"rnn miconi", "weight", 2, H, I + H, 0, I, SYMMETRIC(by_inputs)},
    {"rnn miconi", "weight", 2, H, I + H, I, I + H, 0, 0.01},
    {"rnn miconi", "bias", 1, H, 1, 0, 1, SYMMETRIC(by_inputs)},
    {"lstm", "weight", 2, 4 * H, I + H, 0, I + H, SYMMETRIC(by_hidden)},
    {"lstm", "bias", 1, 4 * H, 1, 0, 1, SYMMETRIC(by_hidden)},
    {"gru", "weight_ih", 2, 3 * H, I, 0, I, SYMMETRIC(by_hidden)},
    {"gru", "weight_hh", 2, 3 * H, H, 0, H, SYMMETRIC(by_hidden)},
    {"gru", "bias_ih", 1, 3 * H, 1, 0, 1, SYMMETRIC(by_hidden)},
    {"gru", "bias_hh", 1, 3 * H, 1, 0, 1, SYMMETRIC(by_hidden)},
    {"mlp", "weight", 2, H, I, 0, I, SYMMETRIC(by_inputs)},
    {"mlp", "bias", 1, H, 1, 0, 1, SYMMETRIC(by_inputs)},
    {"fast_weights", "weight", 2, H, I + H, 0, I + H, SYMMETRIC(by_hidden)},
    {"fast_weights", "bias", 1, H, 1, 0, 1, SYMMETRIC(by_hidden)},
    {"fast_weights", "ln_weight", 1, H, 1, 0, 1, 1, 1},
    {"fast_weights", "ln_bias", 1, H, 1, 0, 1, 0, 0},
    {"plastic", "weight_in", 2, H, I, 0, I, SYMMETRIC(by_inputs)},
    {"plastic", "bias_in", 1, H, 1, 0, 1, SYMMETRIC(by_inputs)},
    {"plastic", "w", 2, H, H, 0, H, 0, 0.01},
    {"plastic", "alpha", 2, H, H, 0, H, 0, 0.01},
    {"plastic", "eta", 1, 1, 1, 0, 1, 0.01, 0.01},
    {"modplast", "weight_in", 2, H, I, 0, I, SYMMETRIC(by_inputs)},
    {"modplast", "bias_in", 1, H, 1, 0, 1, SYMMETRIC(by_inputs)},
    {"modplast", "w", 2, H, H, 0, H, 0, 0.01},
    {"modplast", "alpha", 2, H, H, 0, H, 0, 0.01},
    {"modplast", "weight_mod", 2, 1, H, 0, H, SYMMETRIC(by_hidden)},
    {"modplast", "bias_mod", 1, 1, 1, 0, 1, SYMMETRIC(by_hidden)},
    {"modul", "weight_in", 2, H, I, 0, I, SYMMETRIC(by_inputs)},
    {"modul", "bias_in", 1, H, 1, 0, 1, SYMMETRIC(by_inputs)},
    {"modul", "w", 2, H, H, 0, H, 0, 0.01},
    {"modul", "alpha", 2, H, H, 0, H, 0, 0.01},
    {"modul", "eta", 1, 1, 1, 0, 1, 0.01, 0.01},
    {"modul", "weight_mod", 2, 1, H, 0, H, SYMMETRIC(by_hidden)},
    {"modul", "bias_mod", 1, 1, 1, 0, 1, SYMMETRIC(by_hidden)},
    {"hebbff", "weight", 2, H, I, 0, I, SYMMETRIC(by_inputs)},
    {"hebbff", "bias", 1, H, 1, 0, 1, SYMMETRIC(by_inputs)},
    {"hebbff", "lambda_logit", 1, 1, 1, 0, 1, 4.5951198501345898, 4.5951198501345898}, // log 99
    {"hebbff", "eta_log", 1, 1, 1, 0, 1, -1.3862943611198906, -1.3862943611198906},    // log(5/H)
};

enum { PARTS = sizeof parts / sizeof *parts };

/* "NAME" or "NAME OPTION". */
static stpn_net *make_net(const char *unit)
{
    stpn_net *net = NULL;
    stpn_error error;
    char name[32];
    size_t length = strcspn(unit, " ");
    memcpy(name, unit, length);
    name[length] = 0;
    stpn_unit form = stpn_unit_default(name, H);
    if (strstr(unit, " miconi")) form.init = STPN_START_MICONI;
    if (strstr(unit, " layer_norm")) {
        form.layer_norm = 1;
        form.granularity = STPN_GRANULARITY_NEURON;
    }
    if (strstr(unit, " scalar")) form.granularity = STPN_GRANULARITY_SCALAR;
    stpn_head head = {"readout", 3};
    stpn_net_desc desc = {
        .real = STPN_DOUBLE, .inputs = I, .units = &form, .unit_count = 1, .heads = &head, .head_count = 1};
    if (stpn_net_create(&net, &desc, &error)) fail_msg("%s: %s", unit, error.message);
    return net;
}

static int find(const stpn_net *net, const char *name, stpn_tensor *tensor)
{
    for (int i = 0; stpn_net_tensor(net, i, tensor); i++)
        if (strncmp(tensor->name, "units.0.", 8) == 0 && strcmp(tensor->name + 8, name) == 0) return i;
    return -1;
}

static void names_and_shapes(void **state)
{
    (void)state;
    for (int i = 0; i < PARTS; i++) {
        const part *p = &parts[i];
        stpn_net *net = make_net(p->unit);
        stpn_tensor t;
        if (find(net, p->tensor, &t) < 0) fail_msg("%s has no %s", p->unit, p->tensor);
        if (t.rank != p->rank || t.shape[0] != p->rows || (t.rank == 2 && t.shape[1] != p->columns))
            fail_msg("%s: %s is (%d, %d) of rank %d", p->unit, p->tensor, t.shape[0], t.shape[1], t.rank);
        assert_int_equal(t.count, p->rows * p->columns);
        /* The unit has no other tensors, and its parameters are counted so. */
        size_t count = 3 * H + 3;
        int tensors = 2;
        for (int k = 0; k < PARTS; k++)
            if (strcmp(parts[k].unit, p->unit) == 0) {
                count += (size_t)(parts[k].rows * (parts[k].end - parts[k].begin));
                tensors += parts[k].begin == 0;
            }
        assert_int_equal(stpn_net_parameter_count(net), count);
        assert_int_equal(stpn_net_tensor(net, tensors - 1, &t), 1);
        assert_int_equal(stpn_net_tensor(net, tensors, &t), 0);
        stpn_net_free(net);
    }
}

/* Range, mean, and how many values each tenth of the range has. */
static void check_uniform(const part *p, const double *values, int count)
{
    double sum = 0, width = p->high - p->low;
    int tenths[DECILES] = {0};
    for (int i = 0; i < count; i++) {
        double place = (values[i] - p->low) / width;
        if (!(place >= 0 && place <= 1)) fail_msg("%s: %s has %g", p->unit, p->tensor, values[i]);
        sum += place;
        tenths[place < 1 ? (int)(place * DECILES) : DECILES - 1]++;
    }
    if (fabs(sum / count - 0.5) > 5 / sqrt(12.0 * count))
        fail_msg("%s: mean place of %s is %g", p->unit, p->tensor, sum / count);
    for (int d = 0; d < DECILES; d++)
        if (fabs(tenths[d] - 0.1 * count) > 5 * sqrt(0.09 * count))
            fail_msg("%s: tenth %d of %s has %d of %d values", p->unit, d, p->tensor, tenths[d], count);
}

static void values_follow_their_distributions(void **state)
{
    (void)state;
    for (int i = 0; i < PARTS; i++) {
        const part *p = &parts[i];
        stpn_net *net = make_net(p->unit);
        stpn_tensor t;
        int index = find(net, p->tensor, &t), width = p->end - p->begin, count = 0;
        assert_true(index >= 0);
        double *all = calloc(SEEDS * t.count, sizeof *all), *values = calloc(t.count, sizeof *values);
        assert_true(all && values);
        for (int seed = 0; seed < SEEDS; seed++) {
            stpn_net_init(net, (uint64_t)seed);
            stpn_block_get(net, stpn_net_parameters(net), index, values);
            for (int row = 0; row < p->rows; row++)
                for (int k = 0; k < width; k++) all[count++] = values[row * p->columns + p->begin + k];
        }
        assert_int_equal(count, SEEDS * p->rows * width);
        if (p->low < p->high) check_uniform(p, all, count);
        for (int k = 0; k < count && p->low == p->high; k++)
            if (fabs(all[k] - p->low) > 1e-14) fail_msg("%s: %s is %.17g", p->unit, p->tensor, all[k]);
        free(all);
        free(values);
        stpn_net_free(net);
    }
}

/* No draw is used twice: places in their ranges, of all values of a unit that are drawn, are all different. */
static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void no_draw_is_used_twice(void **state)
{
    (void)state;
    static double places[16 * H * (I + H)];
    for (int i = 0; i < PARTS; i++) {
        if (i > 0 && strcmp(parts[i].unit, parts[i - 1].unit) == 0) continue;
        stpn_net *net = make_net(parts[i].unit);
        int count = 0, drawn = 0;
        stpn_net_init(net, 7);
        for (int k = i; k < PARTS && strcmp(parts[k].unit, parts[i].unit) == 0; k++) {
            const part *p = &parts[k];
            stpn_tensor t;
            int index = find(net, p->tensor, &t);
            assert_true(index >= 0);
            double *values = calloc(t.count, sizeof *values);
            assert_non_null(values);
            stpn_block_get(net, stpn_net_parameters(net), index, values);
            for (size_t v = 0; v < t.count && p->low < p->high; v++) {
                int column = (int)(v % (size_t)p->columns);
                if (column >= p->begin && column < p->end) places[count++] = (values[v] - p->low) / (p->high - p->low);
            }
            drawn += p->low < p->high;
            free(values);
        }
        assert_true(drawn >= 2);
        qsort(places, (size_t)count, sizeof *places, by_size);
        int near = 0; // of 2^32 or more values, a few neighbours may be as near by chance
        for (int k = 1; k < count; k++) near += places[k] - places[k - 1] < 1e-11;
        if (near > 1) fail_msg("%s: %d values are drawn twice", parts[i].unit, near);
        stpn_net_free(net);
    }
}

static void seeds_differ_and_repeat(void **state)
{
    (void)state;
    for (int i = 0; i < PARTS; i++) {
        stpn_net *one = make_net(parts[i].unit), *two = make_net(parts[i].unit);
        size_t bytes = stpn_net_block_size(one) * sizeof(double);
        stpn_net_init(one, 1);
        stpn_net_init(two, 2);
        assert_int_not_equal(memcmp(stpn_net_parameters(one), stpn_net_parameters(two), bytes), 0);
        stpn_net_init(two, 1);
        assert_memory_equal(stpn_net_parameters(one), stpn_net_parameters(two), bytes);
        stpn_net_free(one);
        stpn_net_free(two);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_shapes),
        cmocka_unit_test(values_follow_their_distributions),
        cmocka_unit_test(no_draw_is_used_twice),
        cmocka_unit_test(seeds_differ_and_repeat),
    };
    return cmocka_run_group_tests_name("units/initial_values", tests, NULL, NULL);
}
