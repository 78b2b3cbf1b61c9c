#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/library.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Read-outs, the loss, limits on the gradient and Adam, each against its formula in plain double, on every kernel, in
 * both real types. */

enum { MOST = 4096 };

static const double tolerance[] = {[STPN_FLOAT] = 1e-5, [STPN_DOUBLE] = 1e-12};

/* Values of either real type. */
typedef union values {
    float f[MOST];
    double d[MOST];
} values;

static double get(stpn_real real, const void *v, size_t i)
{
    return real == STPN_DOUBLE ? ((const double *)v)[i] : (double)((const float *)v)[i];
}

static void set(stpn_real real, void *v, size_t i, double value)
{
    if (real == STPN_DOUBLE) ((double *)v)[i] = value;
    else ((float *)v)[i] = (float)value;
}

/* Random values in both forms; the doubles are floats. */
static void draw(stpn_real real, random_stream *stream, size_t count, double size, void *v, double *plain)
{
    assert_in_range(count, 0, MOST);
    for (size_t i = 0; i < count; i++) {
        plain[i] = (float)random_range(stream, -size, size);
        set(real, v, i, plain[i]);
    }
}

static void assert_near(stpn_real real, double a, double b, double scale)
{
    if (!(fabs(a - b) <= tolerance[real] * fmax(scale, fabs(b)))) fail_msg("%.17g is not %.17g", a, b);
}

static stpn_net *net_with_heads(stpn_real real, int hidden, int outputs)
{
    stpn_unit unit = stpn_unit_default("stpn_f", hidden);
    stpn_head heads[2] = {{"first", 2}, {"second", outputs}};
    stpn_net_desc desc = {.real = real, .inputs = 1, .units = &unit, .unit_count = 1, .heads = heads, .head_count = 2};
    stpn_net *net = NULL;
    assert_int_equal(stpn_net_create(&net, &desc, NULL), STPN_OK);
    return net;
}

/* Tensors: 0 to 3 are the unit's, then first.weight, first.bias, second.weight, second.bias. */
enum { WEIGHT = 6, BIAS = 7 };

static void check_head(stpn_real real, int rows, int H, int N)
{
    static values y, out, dout, dy, dy_alone, v;
    static double Y[MOST], W[MOST], b[MOST], D[MOST], start_W[MOST], start_b[MOST];
    random_stream stream = random_open(1, RANDOM_BENCH, (uint64_t)(rows + 100 * H + 10000 * N));
    stpn_net *net = net_with_heads(real, H, N);
    void *parameters = stpn_net_parameters(net), *grad = stpn_block_create(net);
    size_t h = (size_t)H, n = (size_t)N, r = (size_t)rows;
    draw(real, &stream, r * h, 1, &y, Y);
    draw(real, &stream, n * h, 1, &v, W);
    stpn_block_set(net, parameters, WEIGHT, &v);
    draw(real, &stream, n, 1, &v, b);
    stpn_block_set(net, parameters, BIAS, &v);
    draw(real, &stream, r * n, 1, &dout, D);
    draw(real, &stream, n * h, 1, &v, start_W);
    stpn_block_set(net, grad, WEIGHT, &v);
    draw(real, &stream, n, 1, &v, start_b);
    stpn_block_set(net, grad, BIAS, &v);

    memset(&out, 0xff, sizeof out);
    stpn_head_forward(net, 1, rows, &y, &out);
    for (size_t i = 0; i < r; i++)
        for (size_t o = 0; o < n; o++) {
            double sum = b[o];
            for (size_t j = 0; j < h; j++) sum += Y[i * h + j] * W[o * h + j];
            assert_near(real, get(real, &out, i * n + o), sum, sqrt(H));
        }
    for (size_t i = r * n; i < r * n + 8; i++) assert_true(isnan(get(real, &out, i)));

    memset(&dy, 0xff, sizeof dy);
    memset(&dy_alone, 0xff, sizeof dy_alone);
    stpn_head_backward(net, 1, rows, &y, &dout, NULL, &dy_alone);
    stpn_head_backward(net, 1, rows, &y, &dout, grad, &dy);
    for (size_t i = 0; i < r; i++)
        for (size_t j = 0; j < h; j++) {
            double sum = 0;
            for (size_t o = 0; o < n; o++) sum += D[i * n + o] * W[o * h + j];
            assert_near(real, get(real, &dy, i * h + j), sum, sqrt(N));
        }
    assert_memory_equal(&dy, &dy_alone, sizeof dy);
    for (int twice = 1; twice <= 2; twice++) {
        stpn_block_get(net, grad, WEIGHT, &v);
        for (size_t o = 0; o < n; o++)
            for (size_t j = 0; j < h; j++) {
                double sum = start_W[o * h + j];
                for (size_t i = 0; i < r; i++) sum += twice * D[i * n + o] * Y[i * h + j];
                assert_near(real, get(real, &v, o * h + j), sum, sqrt(rows));
            }
        stpn_block_get(net, grad, BIAS, &v);
        for (size_t o = 0; o < n; o++) {
            double sum = start_b[o];
            for (size_t i = 0; i < r; i++) sum += twice * D[i * n + o];
            assert_near(real, get(real, &v, o), sum, sqrt(rows));
        }
        if (twice == 1) stpn_head_backward(net, 1, rows, &y, &dout, grad, NULL); // adds once more
    }
    for (int i = 0; i < WEIGHT; i++) { // other tensors are left alone
        stpn_tensor t;
        assert_int_equal(stpn_net_tensor(net, i, &t), 1);
        stpn_block_get(net, grad, i, &v);
        for (size_t j = 0; j < t.count; j++) assert_true(get(real, &v, j) == 0);
    }
    stpn_block_free(grad);
    stpn_net_free(net);
}

static void heads_are_linear(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 8, 9, 16, 17, 33};
    for (int k = 0; use_kernel(k); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++)
            for (int i = 0; i < 7; i++)
                for (int j = 0; j < 7; j++) check_head((stpn_real)real, 1 + (i + j) % 5, sizes[i], sizes[j]);
}

/* ---------------------------------------------------------------------------------------------------- cross-entropy */

static double softmax(const double *logits, int classes, int label)
{
    double largest = logits[0], sum = 0;
    for (int i = 1; i < classes; i++) largest = fmax(largest, logits[i]);
    for (int i = 0; i < classes; i++) sum += exp(logits[i] - largest);
    return exp(logits[label] - largest) / sum;
}

/* The label's loss, by a form that keeps small differences: log of the sum over the other classes. */
static double cross_entropy(const double *logits, int classes, int label)
{
    double others = 0;
    for (int i = 0; i < classes; i++)
        if (i != label) others += exp(logits[i] - logits[label]);
    return log1p(others);
}

static void cross_entropy_has_its_value_and_gradient(void **state)
{
    (void)state;
    static values logits, losses, dlogits, losses_alone, dlogits_alone;
    static double L[MOST];
    enum { ROWS = 7 };
    for (int k = 0; use_kernel(k); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++)
            for (int classes = 1; classes <= 40; classes += classes < 18 ? 1 : 7) {
                stpn_real type = (stpn_real)real;
                stpn_net *net = net_with_heads(type, 1, 1);
                random_stream stream = random_open(2, RANDOM_BENCH, (uint64_t)classes);
                int32_t labels[ROWS];
                size_t n = (size_t)classes;
                for (int i = 0; i < ROWS; i++) labels[i] = (int32_t)random_below(&stream, (uint32_t)classes);
                draw(type, &stream, ROWS * n, 6, &logits, L);
                memset(&losses, 0xff, sizeof losses);
                memset(&dlogits, 0xff, sizeof dlogits);
                memset(&losses_alone, 0xff, sizeof losses_alone);
                memset(&dlogits_alone, 0xff, sizeof dlogits_alone);
                stpn_cross_entropy(net, ROWS, classes, &logits, labels, 0.25, &losses, &dlogits);
                stpn_cross_entropy(net, ROWS, classes, &logits, labels, 0.25, &losses_alone, NULL);
                stpn_cross_entropy(net, ROWS, classes, &logits, labels, 0.25, NULL, &dlogits_alone);
                assert_memory_equal(&losses, &losses_alone, sizeof losses);
                assert_memory_equal(&dlogits, &dlogits_alone, sizeof dlogits);
                for (size_t i = 0; i < ROWS; i++) {
                    double *row = L + i * n;
                    assert_near(type, get(type, &losses, i), cross_entropy(row, classes, labels[i]), 1);
                    for (size_t c = 0; c < n; c++) {
                        double expected = 0.25 * (softmax(row, classes, (int)c) - ((int)c == labels[i]));
                        assert_near(type, get(type, &dlogits, i * n + c), expected, 0.25);
                        double middle = row[c], e = 1e-4; // the same by differences of the loss
                        row[c] = middle + e;
                        double above = cross_entropy(row, classes, labels[i]);
                        row[c] = middle - e;
                        double below = cross_entropy(row, classes, labels[i]);
                        row[c] = middle;
                        assert_true(fabs(expected - 0.25 * (above - below) / (2 * e)) < 1e-8);
                    }
                }
                for (size_t i = ROWS * n; i < ROWS * n + 8; i++) assert_true(isnan(get(type, &dlogits, i)));
                assert_true(isnan(get(type, &losses, ROWS)));
                stpn_net_free(net);
            }
}

/* Logits far beyond exp's range overflow nowhere; one that is not a number shows in the loss. */
static void extreme_logits(void **state)
{
    (void)state;
    for (int k = 0; use_kernel(k); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
            stpn_real type = (stpn_real)real;
            stpn_net *net = net_with_heads(type, 1, 1);
            values logits, losses, dlogits;
            static const double rows[4][3] = {
                {1e30, 0, -1e30}, {1000, 1000, -1000}, {-1e30, -1e30, -1e30}, {0, 500, 0}};
            static const int32_t labels[4] = {0, 1, 2, 0};
            static const double expected[4] = {0, 0.693147180559945309, 1.098612288668109691, 500};
            static const double gradients[4][3] = {{0, 0, 0}, {0.5, -0.5, 0}, {1 / 3.0, 1 / 3.0, -2 / 3.0}, {-1, 1, 0}};
            for (size_t i = 0; i < 12; i++) set(type, &logits, i, rows[i / 3][i % 3]);
            stpn_cross_entropy(net, 4, 3, &logits, labels, 1, &losses, &dlogits);
            for (size_t i = 0; i < 4; i++) {
                assert_near(type, get(type, &losses, i), expected[i], 1);
                for (size_t c = 0; c < 3; c++) assert_near(type, get(type, &dlogits, i * 3 + c), gradients[i][c], 1);
            }
            for (size_t at = 0; at < 3; at++) {
                for (size_t i = 0; i < 3; i++) set(type, &logits, i, i == at ? NAN : 0.5);
                stpn_cross_entropy(net, 1, 3, &logits, labels, 1, &losses, &dlogits);
                assert_true(isnan(get(type, &losses, 0)));
            }
            stpn_net_free(net);
        }
}

/* Such a row has NaN, whether anybody asks for losses or not; the others are as without it, and nothing else is touched. */
static void labels_out_of_range(void **state)
{
    (void)state;
    enum { ROWS = 5, CLASSES = 3 };
    static const int32_t wrong[] = {-1, CLASSES, INT32_MIN, INT32_MAX, CLASSES * ROWS};
    static values logits, losses, dlogits, good_losses, good_dlogits;
    static double L[MOST];
    for (int k = 0; use_kernel(k); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++)
            for (int w = 0; w < 5; w++)
                for (int which = 1; which < 1 << ROWS; which++) {
                    stpn_real type = (stpn_real)real;
                    stpn_net *net = net_with_heads(type, 1, 1);
                    random_stream stream = random_open(2, RANDOM_BENCH, (uint64_t)which);
                    int32_t good[ROWS], labels[ROWS];
                    draw(type, &stream, ROWS * CLASSES, 6, &logits, L);
                    for (int i = 0; i < ROWS; i++) good[i] = (int32_t)random_below(&stream, CLASSES);
                    for (int i = 0; i < ROWS; i++) labels[i] = which >> i & 1 ? wrong[w] : good[i];
                    for (size_t i = 0; i < MOST; i++) {
                        set(type, &losses, i, 7);
                        set(type, &dlogits, i, 7);
                    }
                    stpn_cross_entropy(net, ROWS, CLASSES, &logits, good, 0.25, &good_losses, &good_dlogits);
                    stpn_cross_entropy(net, ROWS, CLASSES, &logits, labels, 0.25, &losses, NULL);
                    stpn_cross_entropy(net, ROWS, CLASSES, &logits, labels, 0.25, NULL, &dlogits);
                    for (size_t i = 0; i < ROWS; i++) {
                        int bad = which >> i & 1;
                        double loss = get(type, &losses, i);
                        assert_true(bad ? isnan(loss) : loss == get(type, &good_losses, i));
                        for (size_t c = i * CLASSES; c < (i + 1) * CLASSES; c++) {
                            double gradient = get(type, &dlogits, c);
                            assert_true(bad ? isnan(gradient) : gradient == get(type, &good_dlogits, c));
                        }
                    }
                    for (size_t i = ROWS; i < MOST; i++) assert_true(get(type, &losses, i) == 7);
                    for (size_t i = ROWS * CLASSES; i < MOST; i++) assert_true(get(type, &dlogits, i) == 7);
                    stpn_net_free(net);
                }
}

/* --------------------------------------------------------------------------------------------- limits on a gradient */

/* All tensors of a block, row-major. */
static size_t read_block(const stpn_net *net, stpn_real real, const void *block, double *to)
{
    static values v;
    stpn_tensor t;
    size_t at = 0;
    for (int i = 0; stpn_net_tensor(net, i, &t); i++) {
        stpn_block_get(net, block, i, &v);
        for (size_t j = 0; j < t.count; j++) to[at++] = get(real, &v, j);
    }
    return at;
}

/* Random values in all tensors of a block. */
static void fill_block(const stpn_net *net, stpn_real real, void *block, random_stream *stream, double size)
{
    static values v;
    static double plain[MOST];
    stpn_tensor t;
    for (int i = 0; stpn_net_tensor(net, i, &t); i++) {
        draw(real, stream, t.count, size, &v, plain);
        stpn_block_set(net, block, i, &v);
    }
}

static double length_of(const double *v, size_t count)
{
    double squares = 0;
    for (size_t i = 0; i < count; i++) squares += v[i] * v[i];
    return sqrt(squares);
}

static void gradients_are_limited(void **state)
{
    (void)state;
    static double before[MOST], expected[MOST], after[MOST];
    static const double limits[][2] = {{0, 0}, {0.5, 0}, {0, 3}, {0, 1e9}, {0.5, 3}, {0.5, 1e9}, {10, 0}};
    for (int k = 0; use_kernel(k); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++)
            for (size_t l = 0; l < sizeof limits / sizeof *limits; l++) {
                stpn_real type = (stpn_real)real;
                stpn_net *net = net_with_heads(type, 11, 5);
                void *grad = stpn_block_create(net);
                random_stream stream = random_open(3, RANDOM_BENCH, l);
                double value = limits[l][0], norm = limits[l][1];
                fill_block(net, type, grad, &stream, 2);
                size_t count = read_block(net, type, grad, before);
                for (size_t i = 0; i < count; i++)
                    expected[i] = value > 0 ? fmax(-value, fmin(value, before[i])) : before[i];
                /* The norm that is limited, and returned, is that of the limited values. */
                double length = length_of(expected, count);
                for (size_t i = 0; i < count && norm > 0 && length > norm; i++) expected[i] *= norm / length;
                assert_near(type, stpn_clip_gradient(net, grad, value, norm), length, 1);
                read_block(net, type, grad, after);
                for (size_t i = 0; i < count; i++) assert_near(type, after[i], expected[i], 1e-3);
                if (norm == 3) assert_near(type, length_of(after, count), 3, 1);
                stpn_block_free(grad);
                stpn_net_free(net);
            }
}

/* Sums of squares of floats neither overflow nor lose what is not a number. */
static void norms_of_extreme_gradients(void **state)
{
    (void)state;
    for (int k = 0; use_kernel(k); k++) {
        stpn_net *net = net_with_heads(STPN_FLOAT, 3, 2);
        float *grad = stpn_block_create(net), weight[3] = {1e30F, -1e30F, 0};
        stpn_block_set(net, grad, 0, weight);
        double norm = stpn_clip_gradient(net, grad, 0, 1);
        assert_true(fabs(norm - sqrt(2) * 1e30) < 1e24);
        stpn_block_get(net, grad, 0, weight);
        assert_true(fabs((double)weight[0] - sqrt(0.5)) < 1e-6 && fabs((double)weight[1] + sqrt(0.5)) < 1e-6);
        weight[2] = NAN;
        stpn_block_set(net, grad, 0, weight);
        assert_true(isnan(stpn_clip_gradient(net, grad, 0.5, 1)));
        stpn_block_free(grad);
        stpn_net_free(net);
    }
}

/* What the header says of values and limits that are no numbers, or below 0. */
static void odd_limits_and_gradients(void **state)
{
    (void)state;
    static const double none[] = {0, -1, NAN, -INFINITY};
    for (int k = 0; use_kernel(k); k++)
        for (int i = 0; i < 4; i++) {
            stpn_net *net = net_with_heads(STPN_FLOAT, 3, 2);
            float *grad = stpn_block_create(net), found[3];
            const float plain[3] = {3, -4, 0}, infinite[3] = {INFINITY, -INFINITY, 2}, nan[3] = {NAN, 30, 40};
            stpn_block_set(net, grad, 0, plain);
            assert_true(stpn_clip_gradient(net, grad, none[i], none[i]) == 5);
            stpn_block_get(net, grad, 0, found);
            assert_memory_equal(found, plain, sizeof found);
            stpn_block_set(net, grad, 0, infinite);
            assert_true(isinf(stpn_clip_gradient(net, grad, none[i], 1)));
            stpn_block_get(net, grad, 0, found);
            assert_true(isnan(found[0]) && isnan(found[1]) && found[2] == 0);
            stpn_block_set(net, grad, 0, infinite);
            assert_true(stpn_clip_gradient(net, grad, 2, none[i]) == sqrt(12));
            stpn_block_get(net, grad, 0, found);
            assert_true(found[0] == 2 && found[1] == -2 && found[2] == 2);
            stpn_block_set(net, grad, 0, nan);
            assert_true(isnan(stpn_clip_gradient(net, grad, 35, 1)));
            stpn_block_get(net, grad, 0, found);
            assert_true(isnan(found[0]) && found[1] == 30 && found[2] == 35);
            stpn_block_free(grad);
            stpn_net_free(net);
        }
}

/* ------------------------------------------------------------------------------------------------------------- Adam */

static void adam_is_that_of_its_paper(void **state)
{
    (void)state;
    static double p[MOST], m[MOST], v[MOST], g[MOST], actual[MOST];
    static const double settings[][4] = {{1e-3, 0.9, 0.999, 1e-8}, {0.1, 0, 0.5, 1e-3}, {0.02, 0.5, 0, 1e-4}};
    for (int k = 0; use_kernel(k); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++)
            for (int s = 0; s < 3; s++) {
                stpn_real type = (stpn_real)real;
                stpn_net *net = net_with_heads(type, 11, 5);
                void *grad = stpn_block_create(net);
                random_stream stream = random_open(4, RANDOM_BENCH, (uint64_t)s);
                double rate = settings[s][0], beta1 = settings[s][1], beta2 = settings[s][2], epsilon = settings[s][3];
                stpn_adam *adam = NULL;
                assert_int_equal(stpn_adam_create(&adam, net, rate, beta1, beta2, epsilon, NULL), STPN_OK);
                stpn_net_init(net, 1);
                size_t count = read_block(net, type, stpn_net_parameters(net), p);
                memset(m, 0, sizeof m);
                memset(v, 0, sizeof v);
                for (int update = 1; update <= 20; update++) {
                    fill_block(net, type, grad, &stream, update % 3 ? 1 : 1e-3);
                    read_block(net, type, grad, g);
                    stpn_adam_update(adam, net, grad);
                    for (size_t i = 0; i < count; i++) {
                        m[i] = beta1 * m[i] + (1 - beta1) * g[i];
                        v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
                        double mean = m[i] / (1 - pow(beta1, update)), square = v[i] / (1 - pow(beta2, update));
                        p[i] -= rate * mean / (sqrt(square) + epsilon);
                    }
                    read_block(net, type, stpn_net_parameters(net), actual);
                    for (size_t i = 0; i < count; i++) assert_near(type, actual[i], p[i], 1);
                    read_block(net, type, grad, actual);
                    for (size_t i = 0; i < count; i++) assert_true(actual[i] == g[i]); // the gradient is left alone
                }
                stpn_adam_free(adam);
                stpn_block_free(grad);
                stpn_net_free(net);
            }
}

/* AdamW: every update also takes rate * decay of each parameter away; the rate may change from update to update. */
static void weights_decay_beside_adam(void **state)
{
    (void)state;
    static double p[MOST], m[MOST], v[MOST], g[MOST], actual[MOST];
    for (int k = 0; use_kernel(k); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
            stpn_real type = (stpn_real)real;
            stpn_net *net = net_with_heads(type, 11, 5);
            void *grad = stpn_block_create(net);
            random_stream stream = random_open(4, RANDOM_BENCH, 0);
            stpn_adam *adam = NULL;
            assert_int_equal(stpn_adam_create(&adam, net, 1, 0.9, 0.999, 1e-8, NULL), STPN_OK);
            assert_int_equal(stpn_adam_set_weight_decay(adam, 0.7, NULL), STPN_OK);
            stpn_net_init(net, 1);
            size_t count = read_block(net, type, stpn_net_parameters(net), p);
            memset(m, 0, sizeof m);
            memset(v, 0, sizeof v);
            for (int update = 1; update <= 20; update++) {
                double rate = 0.01 / update;
                assert_int_equal(stpn_adam_set_learning_rate(adam, rate, NULL), STPN_OK);
                fill_block(net, type, grad, &stream, 1);
                read_block(net, type, grad, g);
                stpn_adam_update(adam, net, grad);
                for (size_t i = 0; i < count; i++) {
                    m[i] = 0.9 * m[i] + (1 - 0.9) * g[i];
                    v[i] = 0.999 * v[i] + (1 - 0.999) * g[i] * g[i];
                    double mean = m[i] / (1 - pow(0.9, update)), square = v[i] / (1 - pow(0.999, update));
                    p[i] = p[i] * (1 - rate * 0.7) - rate * mean / (sqrt(square) + 1e-8);
                }
                read_block(net, type, stpn_net_parameters(net), actual);
                for (size_t i = 0; i < count; i++) assert_near(type, actual[i], p[i], 1);
            }
            stpn_adam_free(adam);
            stpn_block_free(grad);
            stpn_net_free(net);
        }
}

static void rate_and_decay_refuse_what_makes_no_sense(void **state)
{
    (void)state;
    static const double wrong[] = {-1e-9, -1, NAN, INFINITY};
    stpn_net *net = net_with_heads(STPN_FLOAT, 3, 2);
    stpn_adam *adam;
    stpn_error error;
    assert_int_equal(stpn_adam_create(&adam, net, 0.5, 0.9, 0.999, 1e-8, &error), STPN_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(stpn_adam_set_learning_rate(adam, wrong[i], &error), STPN_ERROR_INPUT);
        assert_non_null(strstr(error.message, "learning_rate is "));
        assert_int_equal(stpn_adam_set_weight_decay(adam, wrong[i], &error), STPN_ERROR_INPUT);
        assert_non_null(strstr(error.message, "weight_decay is "));
    }
    assert_int_equal(stpn_adam_set_learning_rate(adam, 0, &error), STPN_OK);
    assert_int_equal(error.message[0], 0);
    stpn_adam_free(adam);
    stpn_net_free(net);
}

/* A parameter without a gradient stays where it is, and so does the padding; an epsilon that is 0 as a float may be
 * refused. */
static void adam_leaves_parameters_without_gradient(void **state)
{
    (void)state;
    static const double epsilons[] = {1e-8, 1e-30, 1e-50};
    for (int k = 0; use_kernel(k); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++)
            for (int e = 0; e < 3; e++) {
                stpn_real type = (stpn_real)real;
                stpn_net *net = net_with_heads(type, 3, 2);
                void *grad = stpn_block_create(net);
                size_t bytes = stpn_net_block_size(net) * (real == STPN_DOUBLE ? sizeof(double) : sizeof(float));
                void *before = malloc(bytes);
                stpn_adam *adam = NULL;
                stpn_status status = stpn_adam_create(&adam, net, 0.1, 0.9, 0.999, epsilons[e], NULL);
                assert_true(status == STPN_OK || (real == STPN_FLOAT && e == 2));
                stpn_net_init(net, 1);
                memcpy(before, stpn_net_parameters(net), bytes);
                if (adam) stpn_adam_update(adam, net, grad);
                assert_memory_equal(before, stpn_net_parameters(net), bytes);
                free(before);
                stpn_adam_free(adam);
                stpn_block_free(grad);
                stpn_net_free(net);
            }
}

static void adam_refuses_settings_that_make_no_sense(void **state)
{
    (void)state;
    static const struct {
        double rate, beta1, beta2, epsilon;
        const char *message;
    } cases[] = {
        {0, 0.9, 0.999, 1e-8, "learning_rate is 0, expected more than 0"},
        {-1, 0.9, 0.999, 1e-8, "learning_rate is -1, expected more than 0"},
        {NAN, 0.9, 0.999, 1e-8, "learning_rate is nan, expected more than 0"},
        {INFINITY, 0.9, 0.999, 1e-8, "learning_rate is inf, expected more than 0"},
        {1, 1, 0.999, 1e-8, "beta1 is 1 and beta2 is 0.999, expected both in [0, 1)"},
        {1, 0.9, 1.5, 1e-8, "beta1 is 0.9 and beta2 is 1.5, expected both in [0, 1)"},
        {1, -0.1, 0.5, 1e-8, "beta1 is -0.1 and beta2 is 0.5, expected both in [0, 1)"},
        {1, 0.5, NAN, 1e-8, "beta1 is 0.5 and beta2 is nan, expected both in [0, 1)"},
        {1, 0.9, 0.999, 0, "epsilon is 0, expected at least 1.17549e-38"},
        {1, 0.9, 0.999, NAN, "epsilon is nan, expected at least 1.17549e-38"},
    };
    stpn_net *net = net_with_heads(STPN_FLOAT, 3, 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stpn_adam *adam = (stpn_adam *)(uintptr_t)1;
        stpn_error error;
        assert_int_equal(
            stpn_adam_create(&adam, net, cases[i].rate, cases[i].beta1, cases[i].beta2, cases[i].epsilon, &error),
            STPN_ERROR_INPUT);
        assert_string_equal(error.message, cases[i].message);
        assert_null(adam);
    }
    stpn_adam_free(NULL);
    stpn_net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_linear),
        cmocka_unit_test(cross_entropy_has_its_value_and_gradient),
        cmocka_unit_test(extreme_logits),
        cmocka_unit_test(labels_out_of_range),
        cmocka_unit_test(gradients_are_limited),
        cmocka_unit_test(norms_of_extreme_gradients),
        cmocka_unit_test(odd_limits_and_gradients),
        cmocka_unit_test(adam_is_that_of_its_paper),
        cmocka_unit_test(weights_decay_beside_adam),
        cmocka_unit_test(rate_and_decay_refuse_what_makes_no_sense),
        cmocka_unit_test(adam_leaves_parameters_without_gradient),
        cmocka_unit_test(adam_refuses_settings_that_make_no_sense),
    };
    return cmocka_run_group_tests_name("net/learn", tests, NULL, NULL);
}
