#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The functions of the portable kernel in float, straight from their header. */
#define KERNEL_ISA_PORTABLE 1
#define KERNEL_DOUBLE 0
#include "kernels/vector.h"

/* Accuracy in units in the last place, those of a float of the exact result's size. A sweep over all 2^32 floats with the
 * portable kernel found at most 1.332 for tanh, 1.022 for exp between -87 and 88, 2.48 for the sigmoid from -87 on; the sweeps here
 * visit one float in 997. */

typedef double (*exact_function)(double);
typedef vec (*vector_function)(vec);

static vec tanh_of(vec x)
{
    return tanh_(x);
}

static vec exp_of(vec x)
{
    return exp_(x);
}

static vec sigmoid_of(vec x)
{
    return sigmoid_(x);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* One unit in the last place of a float of this size. */
static double unit(double size)
{
    int exponent;
    frexp(size, &exponent);
    return ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

static float apply(vector_function f, float x)
{
    return f(splat(x))[0];
}

/* Floats between two sizes, of both signs, every `stride`-th: the largest error, and whether all lanes agree. */
static double worst(vector_function f, exact_function exact, double low, double high, uint32_t stride)
{
    double error = 0;
    uint32_t lane = 0;
    for (uint64_t bits = 0; bits < UINT64_C(1) << 32; bits += stride) {
        float x = from_bits((uint32_t)bits);
        if (!((double)x >= low && (double)x <= high)) continue;
        vec v = splat(0.25F);
        v[lane % WIDTH] = x;
        double expected = exact((double)x), actual = (double)f(v)[lane % WIDTH];
        lane++;
        double distance = fabs(actual - expected) / unit(fabs(expected));
        if (!(distance <= error)) error = distance;
    }
    return error;
}

enum { STRIDE = 997 };

static void tanh_is_accurate(void **state)
{
    (void)state;
    double error = worst(tanh_of, tanh, -INFINITY, INFINITY, STRIDE);
    print_message("tanh: %.3f units in the last place\n", error);
    assert_true(error <= 1.5);
}

static void exp_is_accurate(void **state)
{
    (void)state;
    double error = worst(exp_of, exp, -87, 88, STRIDE);
    print_message("exp: %.3f units in the last place\n", error);
    assert_true(error <= 1.5);
}

static void sigmoid_is_accurate(void **state)
{
    (void)state;
    double error = worst(sigmoid_of, sigmoid, -87, INFINITY, STRIDE);
    print_message("sigmoid: %.3f units in the last place\n", error);
    assert_true(error <= 2.5);
    assert_true(apply(sigmoid_of, -87.5F) >= 0 && apply(sigmoid_of, -87.5F) < 1e-37F);
}

static void special_values(void **state)
{
    (void)state;
    const float inf = (float)INFINITY, tiny = from_bits(1), least = 0x1p-126F, huge = from_bits(0x7f7fffff);
    assert_true(apply(tanh_of, 0) == 0 && apply(tanh_of, -0.0F) == 0);
    assert_true(apply(tanh_of, tiny) == tiny && apply(tanh_of, -tiny) == -tiny);
    assert_true(apply(tanh_of, least) == least && apply(tanh_of, -least) == -least);
    assert_true(apply(tanh_of, huge) == 1 && apply(tanh_of, -huge) == -1);
    assert_true(apply(tanh_of, inf) == 1 && apply(tanh_of, -inf) == -1);
    assert_true(isnan(apply(tanh_of, (float)NAN)) && isnan(apply(tanh_of, -(float)NAN)));
    assert_true(apply(exp_of, 0) == 1 && apply(exp_of, -0.0F) == 1 && apply(exp_of, tiny) == 1);
    assert_true(apply(exp_of, 88.0001F) == inf && apply(exp_of, huge) == inf && apply(exp_of, inf) == inf);
    assert_true(apply(exp_of, -87.0001F) == 0 && apply(exp_of, -huge) == 0 && apply(exp_of, -inf) == 0);
    assert_true(isnan(apply(exp_of, (float)NAN)) && isnan(apply(exp_of, -(float)NAN)));
    assert_true(apply(sigmoid_of, 0) == 0.5F && apply(sigmoid_of, inf) == 1 && apply(sigmoid_of, -inf) == 0);
    assert_true(apply(sigmoid_of, huge) == 1 && apply(sigmoid_of, -huge) == 0);
    assert_true(isnan(apply(sigmoid_of, (float)NAN)));
}

/* tanh is odd, stays within 1, reaches 1 once and for all, and falls back by no more than its own error. */
static void tanh_saturates(void **state)
{
    (void)state;
    float last = 0, reached = 0;
    for (uint32_t bits = 0; bits <= 0x7f800000; bits += STRIDE) {
        float x = from_bits(bits), y = apply(tanh_of, x);
        assert_true(y >= 0 && y <= 1 && apply(tanh_of, -x) == -y);
        assert_true((double)y >= (double)last - 2 * unit((double)last));
        if (y == 1 && reached == 0) reached = x;
        if (reached > 0 && x > reached + 0.1F) assert_true(y == 1);
        last = y;
    }
    assert_true(reached > 8.5F && reached < 9.1F);
}

/* ------------------------------------------------------------------------------------------------- the other kernels */

/* One neuron with W = 1 and nothing else has the input as its potential: h = tanh(x), or the sigmoid. */
static void through_a_net(stpn_activation activation, exact_function exact, double least, double tolerance)
{
    enum { COUNT = 200000 };
    float *x = malloc(COUNT * sizeof *x), *y = malloc(COUNT * sizeof *y);
    assert_true(x && y);
    for (int k = 0; stpn_kernel_name(k); k++) {
        stpn_unit u = stpn_unit_default("stpn_f", 1);
        u.norm = STPN_NORM_NONE;
        u.learn = 0;
        u.lambda = u.gamma = 0;
        u.bias = 0;
        u.activation = activation;
        stpn_net_desc desc = {.real = STPN_FLOAT, .inputs = 1, .units = &u, .unit_count = 1};
        stpn_net *net = NULL;
        stpn_state *s = NULL;
        float one = 1;
        assert_int_equal(setenv("STPN_KERNEL", stpn_kernel_name(k), 1), 0);
        assert_int_equal(stpn_net_create(&net, &desc, NULL), STPN_OK);
        assert_string_equal(stpn_net_kernel(net), stpn_kernel_name(k));
        assert_int_equal(stpn_state_create(&s, net, 1, NULL), STPN_OK);
        stpn_block_set(net, stpn_net_parameters(net), 0, &one);
        int count = 0;
        for (uint64_t bits = 0; bits < UINT64_C(1) << 32 && count < COUNT; bits += 21563) {
            float value = from_bits((uint32_t)bits);
            if ((double)value >= least && fabsf(value) < 1e30F) x[count++] = value;
        }
        assert_true(count > 50000);
        stpn_sequence q = {.steps = count, .batch = 1, .x = x};
        assert_int_equal(stpn_forward(net, s, &q, y, NULL, NULL, NULL, NULL), STPN_OK);
        double error = 0;
        for (int i = 0; i < count; i++) {
            double expected = exact((double)x[i]);
            error = fmax(error, fabs((double)y[i] - expected) / unit(fabs(expected)));
        }
        print_message("%s: %.3f units in the last place\n", stpn_kernel_name(k), error);
        assert_true(error <= tolerance);
        stpn_state_free(s);
        stpn_net_free(net);
    }
    free(x);
    free(y);
}

static void tanh_of_every_kernel(void **state)
{
    (void)state;
    through_a_net(STPN_ACTIVATION_TANH, tanh, -INFINITY, 2);
}

static void sigmoid_of_every_kernel(void **state)
{
    (void)state;
    through_a_net(STPN_ACTIVATION_SIGMOID, sigmoid, 0, 2);
}

/* exp shows in the gradient of a cross-entropy over two classes, e^x / (1 + e^x) for a logit x below the other's 0. */
static void exp_of_every_kernel(void **state)
{
    (void)state;
    enum { COUNT = 80000 };
    float(*logits)[2] = calloc(COUNT, sizeof *logits), (*gradient)[2] = calloc(COUNT, sizeof *gradient);
    int32_t *labels = calloc(COUNT, sizeof *labels);
    assert_true(logits && gradient && labels);
    for (int i = 0; i < COUNT; i++) logits[i][1] = (float)(-86.9 * i / COUNT);
    for (int k = 0; stpn_kernel_name(k); k++) {
        stpn_unit u = stpn_unit_default("stpn_f", 1);
        stpn_net_desc desc = {.real = STPN_FLOAT, .inputs = 1, .units = &u, .unit_count = 1};
        stpn_net *net = NULL;
        assert_int_equal(setenv("STPN_KERNEL", stpn_kernel_name(k), 1), 0);
        assert_int_equal(stpn_net_create(&net, &desc, NULL), STPN_OK);
        stpn_cross_entropy(net, COUNT, 2, logits, labels, 1, NULL, gradient);
        double error = 0;
        for (int i = 0; i < COUNT; i++) {
            double expected = sigmoid((double)logits[i][1]);
            error = fmax(error, fabs((double)gradient[i][1] - expected) / unit(expected));
        }
        print_message("%s: %.3f units in the last place\n", stpn_kernel_name(k), error);
        assert_true(error <= 4);
        stpn_net_free(net);
    }
    free(logits);
    free(gradient);
    free(labels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tanh_is_accurate),        cmocka_unit_test(exp_is_accurate),
        cmocka_unit_test(sigmoid_is_accurate),     cmocka_unit_test(special_values),
        cmocka_unit_test(tanh_saturates),          cmocka_unit_test(tanh_of_every_kernel),
        cmocka_unit_test(sigmoid_of_every_kernel), cmocka_unit_test(exp_of_every_kernel),
    };
    return cmocka_run_group_tests_name("kernels/math", tests, NULL, NULL);
}
