/* Continual familiarity (Tyulmankov et al. 2022; Garcia Rodriguez et al. 2022, appendix): a stream of random vectors of
 * -1 and 1. With probability 1/2 a vector is a copy of the one R steps before, unless that was a copy itself; the answer
 * at every step is whether it is one. */
#include "tasks/task.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { REGIME_FIXED, REGIME_FRESH, PROBES = 20 };

#define FIELD(name) offsetof(task_options, name)

static const option options[] = {
    {"steps", OPTION_INTEGER, FIELD(steps), NULL, 2, 1 << 24, "T, vectors of a stream"},
    {"dimensions", OPTION_INTEGER, FIELD(dimensions), NULL, 1, 1 << 20, "d, length of a vector"},
    {"distance", OPTION_INTEGER, FIELD(distance), NULL, 1, 1 << 24, "R, steps between a vector and its copy"},
    {"regime", OPTION_CHOICE, FIELD(regime), "fixed|fresh", 0, 0,
     "fixed: the same training streams in every epoch; fresh: new ones"},
    {"train", OPTION_INTEGER, FIELD(train), NULL, 1, 1e6, "training streams"},
    {"validation", OPTION_INTEGER, FIELD(validation), NULL, 1, 1e6, "validation streams"},
    {"test", OPTION_INTEGER, FIELD(test), NULL, 1, 1e6, "test streams, and streams of each distance from 1 to 20"},
};

static stpn_status describe(const task_options *o, task_shape *shape, stpn_error *error)
{
    if (o->distance >= o->steps)
        return error_set(error, STPN_ERROR_INPUT, "task.distance is %d, expected less than the %d of task.steps",
                         o->distance, o->steps);
    *shape = (task_shape){.inputs = o->dimensions,
                          .outputs = 1,
                          .steps = o->steps,
                          .type = STPN_INPUT_FLOAT,
                          .loss = LOSS_BINARY,
                          .per_step = 1};
    return STPN_OK;
}

static void draw_vector(float *vector, int dimensions, random_stream *stream)
{
    uint32_t bits = 0;
    for (int i = 0; i < dimensions; i++) {
        if (i % 32 == 0) bits = random_bits(stream);
        vector[i] = bits >> i % 32 & 1 ? 1.0F : -1.0F;
    }
}

static void draw_stream(const task_options *o, int distance, random_stream *stream, float *inputs, int32_t *labels)
{
    size_t d = (size_t)o->dimensions;
    for (int t = 0; t < o->steps; t++) {
        int heads = (int)(random_bits(stream) & 1);
        labels[t] = heads && t >= distance && !labels[t - distance];
        float *vector = inputs + (size_t)t * d;
        if (labels[t]) memcpy(vector, vector - (size_t)distance * d, d * sizeof *vector);
        else draw_vector(vector, o->dimensions, stream);
    }
}

/* Streams `first`, first + 1, ... of a purpose into a split that has its room. */
static void fill_split(const task_options *o, int distance, uint64_t seed, random_purpose purpose, uint64_t first,
                       task_split *split)
{
    size_t T = (size_t)split->steps, d = (size_t)o->dimensions;
    for (size_t n = 0; n < (size_t)split->count; n++) {
        random_stream stream = random_open(seed, purpose, first + n);
        draw_stream(o, distance, &stream, split->inputs + n * T * d, split->labels + n * T);
    }
}

static stpn_status make_split(const task_options *o, int count, task_split *split, stpn_error *error)
{
    size_t steps = (size_t)count * (size_t)o->steps;
    *split = (task_split){.count = count, .steps = o->steps};
    split->inputs = memory_zeroed(steps, (size_t)o->dimensions * sizeof *split->inputs);
    split->labels = memory_zeroed(steps, sizeof *split->labels);
    if (split->inputs && split->labels) return STPN_OK;
    task_split_free(split);
    return error_memory(error, "the streams");
}

static stpn_status draw(const task_options *o, uint64_t seed, task_data *data, stpn_error *error)
{
    *data = (task_data){0};
    stpn_status status = make_split(o, o->train, &data->train, error);
    if (!status) status = make_split(o, o->validation, &data->validation, error);
    if (!status) status = make_split(o, o->test, &data->test, error);
    if (status) {
        task_data_free(data);
        return status;
    }
    fill_split(o, o->distance, seed, RANDOM_TRAIN, 0, &data->train);
    fill_split(o, o->distance, seed, RANDOM_VALIDATION, 0, &data->validation);
    fill_split(o, o->distance, seed, RANDOM_TEST, 0, &data->test);
    return STPN_OK;
}

static stpn_status renew(const task_options *o, uint64_t seed, int64_t epoch, task_split *train, int *renewed,
                         stpn_error *error)
{
    (void)error;
    *renewed = o->regime == REGIME_FRESH;
    if (*renewed) fill_split(o, o->distance, seed, RANDOM_TRAIN, (uint64_t)epoch * (uint64_t)train->count, train);
    return STPN_OK;
}

/* Distances from 1 to 20, whatever the network was trained on. */
static stpn_status probe(const task_options *o, uint64_t seed, int index, char *name, size_t size, task_split *split,
                         int *more, stpn_error *error)
{
    int distance = index + 1;
    *split = (task_split){0};
    *more = distance <= PROBES && distance < o->steps;
    if (!*more) return STPN_OK;
    snprintf(name, size, "R=%d", distance);
    stpn_status status = make_split(o, o->test, split, error);
    if (!status) fill_split(o, distance, seed, RANDOM_PROBE, (uint64_t)distance << 32, split);
    return status;
}

const task_type task_familiarity = {
    .name = "familiarity",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = {.steps = 5000, .dimensions = 100, .distance = 3, .train = 1, .validation = 1, .test = 5},
    .describe = describe,
    .draw = draw,
    .renew = renew,
    .probe = probe,
};
