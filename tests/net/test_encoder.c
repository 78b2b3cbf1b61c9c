/* The encoder: its values against plain loops, its gradient against finite differences, the same bits in any batch and on
 * any threads, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "net/net.h"

enum { HEIGHT = 9, WIDTH = 12, CHANNELS = 2, IMAGE = HEIGHT * WIDTH * CHANNELS };
enum { T = 3, B = 5, H = 3, MANY = 37 };

static stpn_error error;

/* A second layer whose windows overlap, and a third whose stride leaves pixels out. */
static const stpn_conv layers[] = {{16, 3, 2}, {32, 2, 1}, {16, 1, 2}};
/* 9 x 12 to 4 x 5, to 3 x 4, to 2 x 2. */
enum { FEATURES = 2 * 2 * 16 };

static stpn_net *made(stpn_real real, int count, const char *name)
{
    const stpn_unit u = stpn_unit_default(name, H);
    const stpn_net_desc desc = {.real = real,
                                .inputs = IMAGE,
                                .units = &u,
                                .unit_count = 1,
                                .encoder = layers,
                                .encoder_count = count,
                                .height = HEIGHT,
                                .width = WIDTH,
                                .channels = CHANNELS,
                                .offset = 100,
                                .scale = 1.0 / 64};
    stpn_net *net;
    if (stpn_net_create(&net, &desc, &error)) fail_msg("%s", error.message);
    stpn_net_init(net, 5);
    return net;
}

static uint8_t *drawn(size_t count)
{
    uint8_t *x = malloc(count);
    assert_non_null(x);
    random_stream stream = random_open(9, RANDOM_BENCH, 3);
    for (size_t i = 0; i < count; i++) x[i] = (uint8_t)random_below(&stream, 256);
    return x;
}

/* ------------------------------------------------------------------------------------------------------------ values */

/* One layer by its definition; weights (F, size, size, C). */
static double *slow_layer(const double *in, int height, int width, int channels, const stpn_conv *c,
                          const double *weight, const double *bias, int *out_height, int *out_width)
{
    *out_height = (height - c->size) / c->stride + 1;
    *out_width = (width - c->size) / c->stride + 1;
    double *out = calloc((size_t)(*out_height * *out_width * c->filters), sizeof *out);
    assert_non_null(out);
    for (int y = 0; y < *out_height; y++)
        for (int x = 0; x < *out_width; x++)
            for (int f = 0; f < c->filters; f++) {
                double sum = bias[f];
                for (int i = 0; i < c->size; i++)
                    for (int j = 0; j < c->size; j++)
                        for (int k = 0; k < channels; k++)
                            sum += weight[((f * c->size + i) * c->size + j) * channels + k] *
                                   in[((y * c->stride + i) * width + x * c->stride + j) * channels + k];
                out[(y * *out_width + x) * c->filters + f] = sum > 0 ? sum : 0;
            }
    return out;
}

static void values_are_those_of_plain_loops(void **state)
{
    (void)state;
    stpn_net *net = made(STPN_DOUBLE, 3, "mlp");
    uint8_t *x = drawn(IMAGE);
    double *at = calloc(IMAGE, sizeof *at);
    assert_non_null(at);
    for (int i = 0; i < IMAGE; i++) at[i] = ((double)x[i] - 100) / 64;
    int height = HEIGHT, width = WIDTH, channels = CHANNELS, positive = 0;
    for (int l = 0; l < 3; l++) {
        double weight[32 * 2 * 2 * 16], bias[32];
        stpn_block_get(net, stpn_net_parameters(net), 2 * l, weight);
        stpn_block_get(net, stpn_net_parameters(net), 2 * l + 1, bias);
        double *next = slow_layer(at, height, width, channels, &layers[l], weight, bias, &height, &width);
        free(at);
        at = next;
        channels = layers[l].filters;
    }
    assert_int_equal(height * width * channels, FEATURES);
    double *kept = aligned_alloc(64, net->encoder.kept * sizeof *kept), features[FEATURES] __attribute__((aligned(64)));
    assert_non_null(kept);
    encoder_forward(&net->encoder, net->kernel, net->parameters, STPN_INPUT_BYTE, x, kept, features);
    for (int i = 0; i < FEATURES; i++) {
        assert_true(fabs(features[i] - at[i]) < 1e-12);
        positive += at[i] > 0;
    }
    assert_in_range(positive, 10, FEATURES - 10);
    free(kept);
    free(at);
    free(x);
    stpn_net_free(net);
}

static void names_and_first_values(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int rows, columns;
    } expected[] = {{"encoder.0.weight", 16, 18},   {"encoder.0.bias", 16, 0},    {"encoder.1.weight", 32, 64},
                    {"encoder.1.bias", 32, 0},      {"encoder.2.weight", 16, 32}, {"encoder.2.bias", 16, 0},
                    {"units.0.weight", H, FEATURES}};
    stpn_net *net = made(STPN_DOUBLE, 3, "mlp");
    for (int i = 0; i < 7; i++) {
        stpn_tensor t;
        assert_true(stpn_net_tensor(net, i, &t));
        assert_string_equal(t.name, expected[i].name);
        assert_int_equal(t.shape[0], expected[i].rows);
        assert_int_equal(t.shape[1], expected[i].columns);
        if (i == 6) break;
        double values[32 * 64], largest = 0, bound = 1 / sqrt(expected[i / 2 * 2].columns);
        stpn_block_get(net, stpn_net_parameters(net), i, values);
        for (size_t v = 0; v < t.count; v++) largest = fmax(largest, fabs(values[v]));
        assert_true(largest <= bound && largest > 0.8 * bound);
    }
    stpn_net_free(net);
}

/* ---------------------------------------------------------------------------------------------------------- gradients */

/* sum over steps and outputs of c y, a fixed c, from a state of zeros; and its gradient where `grad` is wanted. */
static double objective(const stpn_net *net, const uint8_t *x, void *grad)
{
    static double c[T * B * H], y[T * B * H];
    stpn_state *s;
    stpn_tape *tape;
    for (int i = 0; i < T * B * H; i++) c[i] = sin(1 + 3.7 * i);
    uint8_t reset[T * B] = {0};
    reset[B + 2] = reset[2 * B + 4] = 1;
    const int32_t lengths[B] = {T, 2, T, 0, T};
    assert_int_equal(stpn_state_create(&s, net, B, &error), STPN_OK);
    assert_int_equal(stpn_tape_create(&tape, net, T, B, 1, &error), STPN_OK);
    const stpn_sequence q = {
        .steps = T, .batch = B, .type = STPN_INPUT_BYTE, .x = x, .reset = reset, .lengths = lengths};
    assert_int_equal(stpn_forward(net, s, &q, y, NULL, tape, NULL, &error), STPN_OK);
    double sum = 0;
    for (int i = 0; i < T * B * H; i++) sum += c[i] * y[i];
    if (grad) assert_int_equal(stpn_backward(net, tape, c, NULL, grad, NULL, NULL, &error), STPN_OK);
    stpn_tape_free(tape);
    stpn_state_free(s);
    return sum;
}

static void check_gradient(int count, const char *name)
{
    stpn_net *net = made(STPN_DOUBLE, count, name);
    uint8_t *x = drawn((size_t)T * B * IMAGE);
    double *grad = stpn_block_create(net), *parameters = stpn_net_parameters(net);
    stpn_tensor t;
    int checked = 0;
    objective(net, x, grad);
    for (int i = 0; stpn_net_tensor(net, i, &t); i++) {
        double *values = malloc(t.count * sizeof *values), *d = malloc(t.count * sizeof *d);
        assert_non_null(values);
        assert_non_null(d);
        stpn_block_get(net, parameters, i, values);
        stpn_block_get(net, grad, i, d);
        for (size_t v = 0; v < t.count; v += t.count / 40 + 1) {
            const double step = 1e-6, kept = values[v];
            double side[2];
            for (int k = 0; k < 2; k++) {
                values[v] = kept + (k ? step : -step);
                stpn_block_set(net, parameters, i, values);
                side[k] = objective(net, x, NULL);
            }
            values[v] = kept;
            stpn_block_set(net, parameters, i, values);
            double difference = (side[1] - side[0]) / (2 * step);
            if (fabs(difference - d[v]) > 1e-6 * fmax(1, fabs(difference)))
                fail_msg("%s of %s, value %zu: %.10g, by differences %.10g", t.name, name, v, d[v], difference);
            checked += fabs(d[v]) > 1e-3;
        }
        free(values);
        free(d);
    }
    assert_true(checked > 20);
    stpn_block_free(grad);
    free(x);
    stpn_net_free(net);
}

static void the_gradient_is_that_of_finite_differences(void **state)
{
    (void)state;
    static const char *const units[] = {"stpn_r", "lstm", "mlp", "hebbff", "plastic"};
    for (int count = 1; count <= 3; count++)
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) check_gradient(count, units[i]);
}

/* Panels of float hold twice as many values, so that the windows of a layer meet there that in double do not. */
static void the_gradient_in_float_is_near_that_in_double(void **state)
{
    (void)state;
    uint8_t *x = drawn((size_t)T * B * IMAGE);
    stpn_net *nets[2] = {made(STPN_FLOAT, 3, "mlp"), made(STPN_DOUBLE, 3, "mlp")};
    double *grad = stpn_block_create(nets[1]);
    float *near = stpn_block_create(nets[0]), y[T * B * H], c[T * B * H];
    stpn_state *s;
    stpn_tape *tape;
    stpn_tensor t;
    for (int i = 0; i < T * B * H; i++) c[i] = (float)sin(1 + 3.7 * i);
    uint8_t reset[T * B] = {0};
    reset[B + 2] = reset[2 * B + 4] = 1;
    const int32_t lengths[B] = {T, 2, T, 0, T};
    const stpn_sequence q = {
        .steps = T, .batch = B, .type = STPN_INPUT_BYTE, .x = x, .reset = reset, .lengths = lengths};
    assert_int_equal(stpn_state_create(&s, nets[0], B, &error), STPN_OK);
    assert_int_equal(stpn_tape_create(&tape, nets[0], T, B, 1, &error), STPN_OK);
    assert_int_equal(stpn_forward(nets[0], s, &q, y, NULL, tape, NULL, &error), STPN_OK);
    assert_int_equal(stpn_backward(nets[0], tape, c, NULL, near, NULL, NULL, &error), STPN_OK);
    objective(nets[1], x, grad);
    for (int i = 0; stpn_net_tensor(nets[0], i, &t); i++) {
        float *of = malloc(t.count * sizeof *of);
        double *expected = malloc(t.count * sizeof *expected);
        assert_non_null(of);
        assert_non_null(expected);
        stpn_block_get(nets[0], near, i, of);
        stpn_block_get(nets[1], grad, i, expected);
        for (size_t v = 0; v < t.count; v++)
            if (fabs((double)of[v] - expected[v]) > 1e-4 * fmax(1, fabs(expected[v])))
                fail_msg("%s, value %zu: %g, in double %g", t.name, v, (double)of[v], expected[v]);
        free(of);
        free(expected);
    }
    stpn_tape_free(tape);
    stpn_state_free(s);
    for (int i = 0; i < 2; i++) stpn_net_free(nets[i]);
    stpn_block_free(near);
    stpn_block_free(grad);
    free(x);
}

/* --------------------------------------------------------------------------------------------------------- same bits */

/* Outputs, and the gradient's block behind them. */
static float *course(const stpn_net *net, const uint8_t *x, int threads, int in_calls, size_t *size)
{
    stpn_pool *pool;
    stpn_state *s;
    stpn_tape *tape;
    size_t outputs = (size_t)T * MANY * H, block = stpn_net_block_size(net);
    float *y = calloc(outputs + block, sizeof *y), *c = calloc(outputs, sizeof *c), *grad = stpn_block_create(net);
    assert_non_null(y);
    assert_non_null(c);
    for (size_t i = 0; i < outputs; i++) c[i] = (float)sin((double)i);
    assert_int_equal(stpn_pool_create(&pool, threads, &error), STPN_OK);
    assert_int_equal(stpn_state_create(&s, net, MANY, &error), STPN_OK);
    assert_int_equal(stpn_tape_create(&tape, net, T, MANY, threads, &error), STPN_OK);
    for (int t = 0; t < T; t += in_calls ? 1 : T) {
        const stpn_sequence q = {
            .steps = in_calls ? 1 : T, .batch = MANY, .type = STPN_INPUT_BYTE, .x = x + (size_t)t * MANY * IMAGE};
        assert_int_equal(stpn_forward(net, s, &q, y + (size_t)t * MANY * H, NULL, tape, pool, &error), STPN_OK);
    }
    assert_int_equal(stpn_backward(net, tape, c, NULL, grad, NULL, pool, &error), STPN_OK);
    memcpy(y + outputs, grad, block * sizeof *grad);
    *size = (outputs + block) * sizeof *y;
    stpn_block_free(grad);
    free(c);
    stpn_tape_free(tape);
    stpn_state_free(s);
    stpn_pool_free(pool);
    return y;
}

static void the_same_bits_on_any_threads_and_in_any_calls(void **state)
{
    (void)state;
    stpn_net *net = made(STPN_FLOAT, 3, "stpn_r");
    uint8_t *x = drawn((size_t)T * MANY * IMAGE);
    size_t size;
    float *first = course(net, x, 1, 0, &size);
    for (int i = 1; i < 4; i++) {
        float *other = course(net, x, i % 2 ? 3 : 1, i / 2, &size);
        assert_memory_equal(first, other, size);
        free(other);
    }
    /* Alone, without a tape, from floats, and by single steps. */
    float image[IMAGE], y[H];
    stpn_state *s;
    assert_int_equal(stpn_state_create(&s, net, 1, &error), STPN_OK);
    for (size_t t = 0; t < T; t++) {
        for (size_t i = 0; i < IMAGE; i++) image[i] = x[(t * MANY + 20) * IMAGE + i];
        stpn_step(net, s, image, y);
        assert_memory_equal(y, first + (t * MANY + 20) * H, sizeof y);
    }
    stpn_state_free(s);
    free(first);
    free(x);
    stpn_net_free(net);
}

/* ----------------------------------------------------------------------------------------------------------- refused */

static void refused(stpn_net_desc desc, const char *says)
{
    stpn_net *net;
    assert_int_equal(stpn_net_create(&net, &desc, &error), STPN_ERROR_INPUT);
    assert_null(net);
    if (!strstr(error.message, says)) fail_msg("\"%s\" does not say \"%s\"", error.message, says);
}

static void what_is_refused(void **state)
{
    (void)state;
    const stpn_unit u = stpn_unit_default("mlp", H);
    const stpn_net_desc good = {.inputs = IMAGE,
                                .units = &u,
                                .unit_count = 1,
                                .encoder = layers,
                                .encoder_count = 3,
                                .height = HEIGHT,
                                .width = WIDTH,
                                .channels = CHANNELS};
    static const stpn_conv wrong[][2] = {
        {{16, 3, 2}, {24, 2, 1}}, {{16, 3, 2}, {16, 5, 1}}, {{16, 3, 2}, {16, 2, 0}}, {{0, 3, 2}, {16, 2, 1}}};
    static const char *const says[] = {"encoder[1].filters is 24, expected a multiple of 16",
                                       "encoder[1].size is 5, expected 1 to 4", "encoder[1].stride is 0",
                                       "encoder[0].filters is 0"};
    stpn_net_desc d = good;
    d.inputs++;
    refused(d, "an image of 9 x 12 with 2 channels is no input of 217 values");
    d = good;
    d.encoder = NULL;
    refused(d, "encoder is NULL");
    d.encoder_count = 17;
    refused(d, "encoder has 17 layers, expected 0 to 16");
    d = good;
    d.scale = NAN;
    refused(d, "offset and scale");
    d = good;
    d.encoder_count = 0;
    d.offset = 100;
    d.scale = 1.0 / 64;
    refused(d, "offset and scale are 100 and 0.015625, expected 0 without an encoder, for whose images they are");
    d.offset = NAN;
    d.scale = 0;
    refused(d, "offset and scale are nan and 0, expected 0 without an encoder");
    d.offset = 0;
    d.scale = NAN;
    refused(d, "offset and scale are 0 and nan, expected 0 without an encoder");
    for (size_t i = 0; i < 4; i++) {
        d = good;
        d.encoder = wrong[i];
        d.encoder_count = 2;
        refused(d, says[i]);
    }
    stpn_net *net = made(STPN_FLOAT, 1, "mlp");
    stpn_state *s;
    stpn_tape *tape;
    uint8_t *x = drawn(IMAGE);
    float y[H] = {0}, *dx = calloc(IMAGE, sizeof *dx), *grad = stpn_block_create(net);
    assert_int_equal(stpn_state_create(&s, net, 1, &error), STPN_OK);
    assert_int_equal(stpn_tape_create(&tape, net, 1, 1, 1, &error), STPN_OK);
    const int32_t token = 0;
    stpn_sequence q = {.steps = 1, .batch = 1, .type = STPN_INPUT_TOKEN, .x = &token};
    assert_int_equal(stpn_forward(net, s, &q, y, NULL, tape, NULL, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "tokens are no images, which the encoder takes");
    q.type = STPN_INPUT_BYTE;
    q.x = x;
    assert_int_equal(stpn_forward(net, s, &q, y, NULL, tape, NULL, &error), STPN_OK);
    assert_int_equal(stpn_backward(net, tape, y, NULL, grad, dx, NULL, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "dx is wanted"));
    stpn_block_free(grad);
    free(dx);
    free(x);
    stpn_tape_free(tape);
    stpn_state_free(s);
    stpn_net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_those_of_plain_loops),
        cmocka_unit_test(names_and_first_values),
        cmocka_unit_test(the_gradient_is_that_of_finite_differences),
        cmocka_unit_test(the_gradient_in_float_is_near_that_in_double),
        cmocka_unit_test(the_same_bits_on_any_threads_and_in_any_calls),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
