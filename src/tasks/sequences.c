/* Somebody's own sequences, from arrays or a table (docs/your-own-data.md). */
#include "tasks/sequence_source.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define FIELD(name) offsetof(task_options, name)

static const option options[] = {
    {"file", OPTION_TEXT, FIELD(file), NULL, 1, TASK_TEXT - 1,
     "the data: .safetensors, .npz, .csv or .tsv; a path from the experiment file's folder"},
    {"validation_fraction", OPTION_NUMBER, FIELD(validation_fraction), NULL, 0, 1,
     "part of the sequences for validation, where the data have no split"},
    {"test_fraction", OPTION_NUMBER, FIELD(test_fraction), NULL, 0, 1, "part for the test, likewise"},
    {"standardise", OPTION_BOOLEAN, FIELD(standardise), NULL, 0, 0,
     "every input and real target gets mean 0 and deviation 1 over the training sequences"},
    {"answers", OPTION_CHOICE, FIELD(answers), "auto|step|sequence", 0, 0,
     "after every step, or after a sequence's last one; auto: by the shape of the arrays; at every step of a table"},
    {"ahead", OPTION_INTEGER, FIELD(ahead), NULL, 0, 1 << 24, "the answer is that of so many steps later"},
    {"window", OPTION_INTEGER, FIELD(window), NULL, 0, 1 << 24,
     "cuts sequences into pieces of so many steps; 0: whole"},
    {"sequence", OPTION_TEXT, FIELD(sequence), NULL, 0, TASK_TEXT - 1,
     "table: heading of the column whose text tells sequences apart; without it all rows are one"},
    {"inputs", OPTION_TEXT, FIELD(inputs), NULL, 0, TASK_TEXT - 1,
     "table: headings of the inputs, between commas; has to be there"},
    {"label", OPTION_TEXT, FIELD(label), NULL, 0, TASK_TEXT - 1, "table: heading of the class"},
    {"target", OPTION_TEXT, FIELD(target), NULL, 0, TASK_TEXT - 1,
     "table: headings of the numbers to predict, between commas, in place of label"},
};

/* ------------------------------------------------------------------------------------------------------------ source */

stpn_status sequence_complain(const sequence_source *s, const value_rows *rows, size_t index, stpn_error *error,
                              const char *format, ...)
{
    char what[256], place[256] = "";
    va_list list;
    va_start(list, format);
    vsnprintf(what, sizeof what, format, list);
    va_end(list);
    size_t columns = (size_t)rows->columns;
    if (rows->headings)
        return csv_complain(&s->table, index / columns, rows->headings[index % columns], error, "%s", what);
    const array *a = &rows->values;
    size_t stride = a->count, used = 0;
    for (int k = 0; k < a->rank && used < sizeof place; k++) {
        stride /= (size_t)a->shape[k];
        used += (size_t)snprintf(place + used, sizeof place - used, "%s%zu", k ? ", " : "",
                                 index / stride % (size_t)a->shape[k]);
    }
    return error_set(error, STPN_ERROR_INPUT, "%.400s: array \"%.100s\" at [%s]: %s", s->path, a->name, place, what);
}

static void free_rows(value_rows *rows)
{
    /* An array's values are the file's. */
    if (rows->headings) memory_free(rows->values.block);
    memory_free(rows->headings);
}

void sequence_source_free(sequence_source *s)
{
    free_rows(&s->inputs);
    free_rows(&s->answers);
    array_file_free(&s->arrays);
    csv_free(&s->table);
    memory_free(s->pieces);
    *s = (sequence_source){0};
}

static int is_table_name(const char *name)
{
    size_t length = strlen(name);
    return length > 4 && (strcmp(name + length - 4, ".csv") == 0 || strcmp(name + length - 4, ".tsv") == 0);
}

static stpn_status check_options(const sequence_source *s, const task_options *o, stpn_error *error)
{
    if (!s->per_step && (o->ahead || o->window))
        return error_set(error, STPN_ERROR_INPUT, "task.%s is %d, expected 0 where a sequence has one answer",
                         o->ahead ? "ahead" : "window", o->ahead ? o->ahead : o->window);
    if (o->standardise && s->is_tokens && s->loss != LOSS_SQUARED)
        return error_set(error, STPN_ERROR_INPUT, "task.standardise has no effect on tokens and labels");
    return STPN_OK;
}

static stpn_status read_source(sequence_source *s, const task_options *o, stpn_error *error)
{
    *s = (sequence_source){0};
    if (!*o->file) {
        error_set(error, STPN_ERROR_INPUT, "task.file is missing, expected the path of the data");
        return STPN_ERROR_INPUT;
    }
    task_file_path(o, s->path);
    stpn_status status = is_table_name(s->path) ? sequence_table_read(s, o, error) : sequence_arrays_read(s, o, error);
    if (!status) status = check_options(s, o, error);
    if (status) sequence_source_free(s);
    return status;
}

/* ------------------------------------------------------------------------------------------------------------ splits */

static stpn_status too_few(const sequence_source *s, const char *what, int count, stpn_error *error)
{
    return error_set(error, STPN_ERROR_INPUT,
                     "%.400s: has %d %s, too few for task.validation_fraction and task.test_fraction: each of "
                     "training, validation and test takes one at least",
                     s->path, count, what);
}

/* How many of `count` are for validation and test; 0 where one of the three gets none. */
static int part_sizes(const task_options *o, int count, int *validation, int *test)
{
    *validation = (int)floor(o->validation_fraction * count + 0.5);
    *test = (int)floor(o->test_fraction * count + 0.5);
    return *validation > 0 && *test > 0 && (int64_t)*validation + *test < count;
}

/* A single stream is cut in time: what comes last is the test. */
static stpn_status split_stream(sequence_source *s, const task_options *o, stpn_error *error)
{
    piece whole = s->pieces[0];
    int validation, test;
    if (!part_sizes(o, whole.steps, &validation, &test)) return too_few(s, "steps", whole.steps, error);
    const int steps[SPLITS] = {whole.steps - validation - test, validation, test};
    piece *pieces = memory_zeroed(SPLITS, sizeof *pieces);
    if (!pieces) return error_memory(error, "the sequences");
    int64_t first = whole.first;
    for (int i = 0; i < SPLITS; i++) {
        pieces[i] = (piece){.first = first, .end = first + steps[i], .steps = steps[i], .split = i};
        first += steps[i];
    }
    memory_free(s->pieces);
    s->pieces = pieces;
    s->count = SPLITS;
    return STPN_OK;
}

/* Which sequences are for validation and test depends on the seed and their number alone. */
static stpn_status split_by_draw(sequence_source *s, const task_options *o, uint64_t seed, stpn_error *error)
{
    int validation, test;
    if (!part_sizes(o, s->count, &validation, &test)) return too_few(s, "sequences", s->count, error);
    int32_t *order = memory_zeroed((size_t)s->count, sizeof *order);
    if (!order) return error_memory(error, "the order of the sequences");
    random_stream stream = random_open(seed, RANDOM_SPLIT, 0);
    for (int i = 0; i < s->count; i++) order[i] = i;
    for (int i = 0; i < s->count; i++) {
        int other = i + (int)random_below(&stream, (uint32_t)(s->count - i));
        int32_t drawn = order[other];
        order[other] = order[i];
        order[i] = drawn;
        s->pieces[drawn].split = i < validation ? SPLIT_VALIDATION : i < validation + test ? SPLIT_TEST : SPLIT_TRAIN;
    }
    memory_free(order);
    return STPN_OK;
}

static stpn_status check_splits(const sequence_source *s, stpn_error *error)
{
    static const char *const names[] = {"0 (training)", "1 (validation)", "2 (test)"};
    int counts[SPLITS] = {0};
    for (int n = 0; n < s->count; n++) counts[s->pieces[n].split]++;
    for (int i = 0; i < SPLITS; i++)
        if (!counts[i])
            return error_set(error, STPN_ERROR_INPUT, "%.400s: no sequence has split %s, expected one at least",
                             s->path, names[i]);
    return STPN_OK;
}

/* Pieces of at most task.window steps. */
static stpn_status cut_windows(sequence_source *s, int window, stpn_error *error)
{
    size_t count = 0, made = 0;
    for (int n = 0; n < s->count; n++) count += (size_t)((s->pieces[n].steps - 1) / window + 1);
    if (count > INT_MAX)
        return error_set(error, STPN_ERROR_INPUT, "task.window is %d, too small: it makes %zu pieces", window, count);
    piece *pieces = memory_zeroed(count, sizeof *pieces);
    if (!pieces) return error_memory(error, "the sequences");
    for (int n = 0; n < s->count; n++)
        for (int t = 0; t < s->pieces[n].steps; t += window) {
            piece *p = &pieces[made++];
            *p = s->pieces[n];
            p->first += t;
            p->steps = p->steps - t < window ? p->steps - t : window;
            if (s->pieces[n].steps - t <= window) break;
        }
    memory_free(s->pieces);
    s->pieces = pieces;
    s->count = (int)count;
    return STPN_OK;
}

static stpn_status divide(sequence_source *s, const task_options *o, uint64_t seed, stpn_error *error)
{
    stpn_status status = STPN_OK;
    if (s->pieces[0].split != SPLIT_OPEN) status = check_splits(s, error);
    else if (s->count == 1 && s->per_step) status = split_stream(s, o, error);
    else status = split_by_draw(s, o, seed, error);
    return status || !o->window ? status : cut_windows(s, o->window, error);
}

/* ------------------------------------------------------------------------------------------------------------- shape */

/* The largest of the tokens or labels plus 1. */
static stpn_status count_classes(const sequence_source *s, const value_rows *rows, int is_input, int *count,
                                 stpn_error *error)
{
    int64_t most = -1, value;
    for (int n = 0; n < s->count; n++) {
        const piece *p = &s->pieces[n];
        int64_t first = is_input || s->per_step ? p->first : p->answer;
        int64_t end = is_input || s->per_step ? p->first + p->steps : first + 1;
        for (int64_t row = first; row < end; row++) {
            size_t i = (size_t)row;
            if (!is_input && isnan(array_real(&rows->values, i))) continue;
            if (!array_whole(&rows->values, i, &value) || value >= CLASSES_MOST || (is_input && value < 0))
                return sequence_complain(s, rows, i, error, "is %.10g, expected an integer from 0 to %d",
                                         array_real(&rows->values, i), (int)CLASSES_MOST - 1);
            if (value > most) most = value;
        }
    }
    if (most < 0) return sequence_complain(s, rows, 0, error, "this and all others ask for no answer, expected some");
    *count = (int)most + 1;
    return STPN_OK;
}

/* Divides the source too. */
static stpn_status shape_of(sequence_source *s, const task_options *o, uint64_t seed, task_shape *shape,
                            stpn_error *error)
{
    *shape = (task_shape){.inputs = s->inputs.columns,
                          .outputs = s->answers.columns,
                          .type = s->is_tokens ? STPN_INPUT_TOKEN : STPN_INPUT_FLOAT,
                          .loss = s->loss,
                          .per_step = s->per_step};
    stpn_status status = s->is_tokens ? count_classes(s, &s->inputs, 1, &shape->inputs, error) : STPN_OK;
    if (!status && s->loss == LOSS_CROSS_ENTROPY) status = count_classes(s, &s->answers, 0, &shape->outputs, error);
    if (!status) status = divide(s, o, seed, error);
    for (int n = 0; n < s->count && !status; n++)
        if (s->pieces[n].steps > shape->steps) shape->steps = s->pieces[n].steps;
    return status;
}

static stpn_status describe(const task_options *o, task_shape *shape, stpn_error *error)
{
    sequence_source s;
    stpn_status status = read_source(&s, o, error);
    if (status) return status;
    /* No length depends on the seed. */
    status = shape_of(&s, o, 0, shape, error);
    sequence_source_free(&s);
    return status;
}

/* ------------------------------------------------------------------------------------------------------------ values */

/* What a column is moved and divided by. */
typedef struct scale {
    double mean, deviation;
} scale;

/* Row of the answer after step t, or -1 where none is asked for. */
static int64_t answer_row(const sequence_source *s, const task_options *o, const piece *p, int t)
{
    if (!s->per_step) return p->answer;
    int64_t row = p->first + t + o->ahead;
    return row < p->end ? row : -1;
}

/* Mean and deviation of each column over the training pieces; empty values are left out. */
static stpn_status measure(const sequence_source *s, const task_options *o, const value_rows *rows, int is_input,
                           scale **scales, stpn_error *error)
{
    size_t columns = (size_t)rows->columns;
    *scales = memory_zeroed(columns, sizeof **scales);
    if (!*scales) return error_memory(error, "the scales");
    for (size_t i = 0; i < columns; i++) (*scales)[i].deviation = 1;
    if (!o->standardise) return STPN_OK;
    for (size_t i = 0; i < columns; i++) {
        double count = 0, mean = 0, squares = 0;
        for (int n = 0; n < s->count; n++) {
            const piece *p = &s->pieces[n];
            int steps = is_input || s->per_step ? p->steps : 1;
            for (int t = 0; t < steps && p->split == SPLIT_TRAIN; t++) {
                int64_t row = is_input ? p->first + t : answer_row(s, o, p, t);
                double value = row < 0 ? NAN : array_real(&rows->values, (size_t)row * columns + i);
                if (!isfinite(value)) continue;
                double distance = value - mean;
                mean += distance / ++count;
                squares += distance * (value - mean);
            }
        }
        (*scales)[i].mean = mean;
        if (squares > 0) (*scales)[i].deviation = sqrt(squares / count);
    }
    return STPN_OK;
}

static stpn_status take_value(const sequence_source *s, const value_rows *rows, size_t index, const scale *scales,
                              int may_be_missing, float *out, stpn_error *error)
{
    double value = array_real(&rows->values, index);
    if (isnan(value) && may_be_missing) {
        *out = NAN;
        return STPN_OK;
    }
    const scale *c = &scales[index % (size_t)rows->columns];
    *out = (float)((value - c->mean) / c->deviation);
    if (isfinite(*out)) return STPN_OK;
    return sequence_complain(
        s, rows, index, error,
        isnan(value) ? "is missing or nan, expected a finite number" : "is %g, expected a finite float", value);
}

typedef struct filler {
    const sequence_source *source;
    const task_options *options;
    scale *input_scales, *answer_scales;
} filler;

static stpn_status fill_inputs(const filler *f, const piece *p, task_split *split, size_t n, stpn_error *error)
{
    const sequence_source *s = f->source;
    size_t T = (size_t)split->steps, columns = (size_t)s->inputs.columns;
    stpn_status status = STPN_OK;
    for (size_t t = 0; t < (size_t)p->steps && !status; t++) {
        size_t from = ((size_t)p->first + t) * columns, to = (n * T + t) * columns;
        int64_t token;
        if (s->is_tokens) {
            array_whole(&s->inputs.values, from, &token);
            split->tokens[to] = (int32_t)token;
        }
        for (size_t i = 0; i < columns && !s->is_tokens && !status; i++)
            status = take_value(s, &s->inputs, from + i, f->input_scales, 0, split->inputs + to + i, error);
    }
    return status;
}

static stpn_status fill_answers(const filler *f, const piece *p, task_split *split, size_t n, stpn_error *error)
{
    const sequence_source *s = f->source;
    size_t places = s->per_step ? (size_t)split->steps : 1, columns = (size_t)s->answers.columns;
    stpn_status status = STPN_OK;
    for (size_t t = 0; t < places && !status; t++) {
        size_t to = (n * places + t) * columns;
        int64_t row = t < (size_t)p->steps ? answer_row(s, f->options, p, (int)t) : -1, label;
        if (s->loss == LOSS_CROSS_ENTROPY) {
            int asked = row >= 0 && array_whole(&s->answers.values, (size_t)row, &label) && label >= 0;
            split->labels[to] = asked ? (int32_t)label : -1;
        }
        for (size_t i = 0; i < columns && s->loss == LOSS_SQUARED && !status; i++) {
            split->targets[to + i] = NAN;
            if (row >= 0)
                status = take_value(s, &s->answers, (size_t)row * columns + i, f->answer_scales, 1,
                                    split->targets + to + i, error);
        }
    }
    return status;
}

static stpn_status make_split(const sequence_source *s, int which, task_split *split, stpn_error *error)
{
    int shortest = INT_MAX;
    for (int n = 0; n < s->count; n++) {
        const piece *p = &s->pieces[n];
        if (p->split != which) continue;
        split->count++;
        if (p->steps > split->steps) split->steps = p->steps;
        if (p->steps < shortest) shortest = p->steps;
    }
    size_t N = (size_t)split->count, T = (size_t)split->steps, columns = (size_t)s->answers.columns, steps, places;
    int fits = !__builtin_mul_overflow(N, T, &steps);
    places = s->per_step ? steps : N;
    if (fits && s->is_tokens) split->tokens = memory_zeroed(steps, sizeof *split->tokens);
    if (fits && !s->is_tokens) split->inputs = memory_zeroed(steps, (size_t)s->inputs.columns * sizeof *split->inputs);
    if (fits && s->loss == LOSS_SQUARED) split->targets = memory_zeroed(places, columns * sizeof *split->targets);
    if (fits && s->loss != LOSS_SQUARED) split->labels = memory_zeroed(places, sizeof *split->labels);
    int needs_lengths = shortest < split->steps;
    if (fits && needs_lengths) split->lengths = memory_zeroed(N, sizeof *split->lengths);
    if ((split->tokens || split->inputs) && (split->labels || split->targets) && !needs_lengths == !split->lengths)
        return STPN_OK;
    return error_memory(error, "the sequences");
}

static stpn_status fill_split(const filler *f, int which, task_split *split, stpn_error *error)
{
    const sequence_source *s = f->source;
    size_t made = 0;
    stpn_status status = make_split(s, which, split, error);
    for (int n = 0; n < s->count && !status; n++) {
        const piece *p = &s->pieces[n];
        if (p->split != which) continue;
        if (split->lengths) split->lengths[made] = p->steps;
        status = fill_inputs(f, p, split, made, error);
        if (!status) status = fill_answers(f, p, split, made, error);
        made++;
    }
    return status;
}

static stpn_status draw(const task_options *o, uint64_t seed, task_data *data, stpn_error *error)
{
    sequence_source s;
    filler f = {.source = &s, .options = o};
    *data = (task_data){0};
    stpn_status status = read_source(&s, o, error);
    if (status) return status;
    status = shape_of(&s, o, seed, &data->shape, error);
    if (!status) status = measure(&s, o, &s.inputs, 1, &f.input_scales, error);
    if (!status) status = measure(&s, o, &s.answers, 0, &f.answer_scales, error);
    if (!status) status = fill_split(&f, SPLIT_TRAIN, &data->train, error);
    if (!status) status = fill_split(&f, SPLIT_VALIDATION, &data->validation, error);
    if (!status) status = fill_split(&f, SPLIT_TEST, &data->test, error);
    memory_free(f.input_scales);
    memory_free(f.answer_scales);
    sequence_source_free(&s);
    if (status) task_data_free(data);
    return status;
}

const task_type task_sequences = {
    .name = "sequences",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = {.validation_fraction = 0.1, .test_fraction = 0.1},
    .describe = describe,
    .draw = draw,
};
