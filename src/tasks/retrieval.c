/* Associative retrieval (Ba et al. 2016; Garcia Rodriguez et al. 2022, section 4.1): pairs of a key and a value, a
 * separator twice, one of the keys again; the answer is its value. "c9k8j3??k" -> "8". */
#include "tasks/task.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"

#include <stddef.h>

enum { KEYS = 26, VALUES = 10, SEPARATOR = KEYS + VALUES, SYMBOLS = SEPARATOR + 1 };

#define FIELD(name) offsetof(task_options, name)

static const option options[] = {
    {"pairs", OPTION_INTEGER, FIELD(pairs), NULL, 1, KEYS, "key-value pairs of a sequence"},
    {"train", OPTION_INTEGER, FIELD(train), NULL, 1, 100000000, "training sequences"},
    {"validation", OPTION_INTEGER, FIELD(validation), NULL, 1, 100000000, "validation sequences"},
    {"test", OPTION_INTEGER, FIELD(test), NULL, 1, 100000000, "test sequences"},
};

static int steps(const task_options *o)
{
    return 2 * o->pairs + 3;
}

static stpn_status describe(const task_options *o, task_shape *shape, stpn_error *error)
{
    (void)error;
    *shape = (task_shape){
        .inputs = SYMBOLS, .outputs = SYMBOLS, .steps = steps(o), .type = STPN_INPUT_TOKEN, .loss = LOSS_CROSS_ENTROPY};
    return STPN_OK;
}

/* Keys without replacement by a partial shuffle of the alphabet; values with. */
static void draw_sequence(int pairs, random_stream *stream, int32_t *tokens, int32_t *label)
{
    int32_t keys[KEYS];
    for (int i = 0; i < KEYS; i++) keys[i] = i;
    for (int i = 0; i < pairs; i++) {
        int other = i + (int)random_below(stream, (uint32_t)(KEYS - i));
        int32_t key = keys[other];
        keys[other] = keys[i];
        keys[i] = key;
        tokens[2 * i] = key;
        tokens[2 * i + 1] = KEYS + (int32_t)random_below(stream, VALUES);
    }
    int asked = (int)random_below(stream, (uint32_t)pairs);
    tokens[2 * pairs] = tokens[2 * pairs + 1] = SEPARATOR;
    tokens[2 * pairs + 2] = tokens[2 * asked];
    *label = tokens[2 * asked + 1];
}

static stpn_status draw_split(const task_options *o, uint64_t seed, random_purpose purpose, int count,
                              task_split *split, stpn_error *error)
{
    int T = steps(o);
    split->count = count;
    split->steps = T;
    split->tokens = memory_zeroed((size_t)count * (size_t)T, sizeof *split->tokens);
    split->labels = memory_zeroed((size_t)count, sizeof *split->labels);
    if (!split->tokens || !split->labels) return error_memory(error, "the data set");
    for (int n = 0; n < count; n++) {
        random_stream stream = random_open(seed, purpose, (uint64_t)n);
        draw_sequence(o->pairs, &stream, split->tokens + (size_t)n * (size_t)T, &split->labels[n]);
    }
    return STPN_OK;
}

static stpn_status draw(const task_options *o, uint64_t seed, task_data *data, stpn_error *error)
{
    *data = (task_data){0};
    stpn_status status = draw_split(o, seed, RANDOM_TRAIN, o->train, &data->train, error);
    if (!status) status = draw_split(o, seed, RANDOM_VALIDATION, o->validation, &data->validation, error);
    if (!status) status = draw_split(o, seed, RANDOM_TEST, o->test, &data->test, error);
    if (status) task_data_free(data);
    return status;
}

static char symbol(int32_t token)
{
    if (token < KEYS) return (char)('a' + token);
    return token < SEPARATOR ? (char)('0' + token - KEYS) : '?';
}

static int32_t token(char symbol)
{
    if (symbol >= 'a' && symbol <= 'z') return symbol - 'a';
    if (symbol >= '0' && symbol <= '9') return KEYS + symbol - '0';
    return symbol == '?' ? SEPARATOR : -1;
}

const task_type task_retrieval = {
    .name = "retrieval",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = {.pairs = 3, .train = 100000, .validation = 10000, .test = 20000},
    .describe = describe,
    .draw = draw,
    .symbol = symbol,
    .token = token,
};
