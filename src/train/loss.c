#include "train/loss.h"

#include "units/unit.h"

#include <math.h>
#include <string.h>

void loss_add(loss_sums *sums, const loss_sums *term)
{
    sums->loss += term->loss;
    sums->asked += term->asked;
    sums->correct += term->correct;
    sums->positives += term->positives;
    sums->true_positives += term->true_positives;
    sums->false_positives += term->false_positives;
}

loss_wanted loss_wanted_at(const task_split *split, const task_shape *shape, int n, int t)
{
    size_t at = shape->per_step ? (size_t)n * (size_t)split->steps + (size_t)t : (size_t)n;
    return (loss_wanted){.labels = split->labels ? split->labels + at : NULL,
                         .targets = split->targets ? split->targets + at * (size_t)shape->outputs : NULL};
}

int64_t loss_asked(const task_shape *shape, loss_wanted wanted, int rows)
{
    int64_t asked = 0;
    if (shape->loss == LOSS_SQUARED)
        for (size_t i = 0; i < (size_t)rows * (size_t)shape->outputs; i++) asked += !isnan(wanted.targets[i]);
    else
        for (int i = 0; i < rows; i++) asked += wanted.labels[i] >= 0;
    return asked;
}

static void cross_entropy_rows(const kernel_table *k, int classes, int rows, const void *out, const int32_t *labels,
                               double scale, void *dout, int32_t *answers, loss_sums *sums)
{
    double losses[LOSS_ROWS];                     // values of either type
    int32_t any[LOSS_ROWS] = {0}, own[LOSS_ROWS]; // a label in any case; the answers
    for (int i = 0; i < rows; i++) any[i] = labels[i] < 0 ? 0 : labels[i];
    if (!answers) answers = own;
    k->cross_entropy(rows, classes, out, any, scale, losses, dout, answers);
    for (int i = 0; i < rows; i++) {
        size_t row = (size_t)i * (size_t)classes;
        if (labels[i] < 0) {
            if (dout) memset((char *)dout + row * k->size, 0, (size_t)classes * k->size);
            continue;
        }
        sums->loss += value_read(k, losses, (size_t)i);
        sums->asked++;
        sums->correct += answers[i] == labels[i];
    }
}

static void binary_rows(const kernel_table *k, int rows, const void *out, const int32_t *labels, double scale,
                        void *dout, int32_t *answers, loss_sums *sums)
{
    double pairs[2 * LOSS_ROWS] = {0}, dpairs[2 * LOSS_ROWS] = {0}; // values of either type
    loss_sums part = {0};
    int32_t own[LOSS_ROWS];
    for (size_t i = 0; i < (size_t)rows; i++) {
        value_write(k, pairs, 2 * i, 0);
        value_write(k, pairs, 2 * i + 1, value_read(k, out, i));
    }
    cross_entropy_rows(k, 2, rows, pairs, labels, scale, dout ? dpairs : NULL, own, &part);
    for (int i = 0; i < rows; i++) {
        size_t at = (size_t)i;
        /* The two logits' gradients are each other's negative; the one that no label is taken from is exact. */
        if (dout)
            value_write(k, dout, at,
                        labels[i] == 1 ? 0 - value_read(k, dpairs, 2 * at) : value_read(k, dpairs, 2 * at + 1));
        if (answers) answers[i] = own[i];
        if (labels[i] < 0) continue;
        part.positives += labels[i];
        part.true_positives += labels[i] == 1 && own[i] == 1;
        part.false_positives += labels[i] == 0 && own[i] == 1;
    }
    loss_add(sums, &part);
}

static void squared_rows(const kernel_table *k, int outputs, int rows, const void *out, const float *targets,
                         double scale, void *dout, loss_sums *sums)
{
    for (size_t i = 0; i < (size_t)rows * (size_t)outputs; i++) {
        int asked = !isnan(targets[i]);
        double difference = asked ? value_read(k, out, i) - (double)targets[i] : 0;
        if (dout) value_write(k, dout, i, 2 * scale * difference);
        sums->loss += difference * difference;
        sums->asked += asked;
    }
}

void loss_rows(const kernel_table *kernel, const task_shape *shape, int rows, const void *out, loss_wanted wanted,
               double scale, void *dout, int32_t *answers, loss_sums *sums)
{
    switch (shape->loss) {
    case LOSS_CROSS_ENTROPY:
        cross_entropy_rows(kernel, shape->outputs, rows, out, wanted.labels, scale, dout, answers, sums);
        break;
    case LOSS_BINARY: binary_rows(kernel, rows, out, wanted.labels, scale, dout, answers, sums); break;
    case LOSS_SQUARED: squared_rows(kernel, shape->outputs, rows, out, wanted.targets, scale, dout, sums); break;
    }
}
