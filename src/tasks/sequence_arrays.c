/* Own data in arrays: `inputs` (N, T, I) or `tokens` (N, T); `labels` (N) or (N, T), or `targets` (N), (N, O), (N, T) or
 * (N, T, O); and, where there are, `lengths` (N) and `split` (N). */
#include "tasks/sequence_source.h"

#include "base/error.h"
#include "base/memory.h"

#include <limits.h>
#include <string.h>

/* "FILE: array "NAME" has shape (3, 4), expected ..." */
static stpn_status wrong_shape(const sequence_source *s, const array *a, const char *expected, stpn_error *error)
{
    char shape[200];
    array_shape_text(a, shape, sizeof shape);
    return error_set(error, STPN_ERROR_INPUT, "%.400s: array \"%.100s\" has shape %s, expected %s", s->path, a->name,
                     shape, expected);
}

static stpn_status one_of(const sequence_source *s, const char *a, const char *b, const array **found,
                          stpn_error *error)
{
    const array *other;
    stpn_status status = array_file_find(&s->arrays, a, found, error);
    if (!status) status = array_file_find(&s->arrays, b, &other, error);
    if (status) return status;
    if (!*found == !other)
        return error_set(error, STPN_ERROR_INPUT, "%.400s: has %s array \"%s\" %s \"%s\", expected one of them",
                         s->path, other ? "both" : "neither", a, other ? "and" : "nor", b);
    if (other) *found = other;
    return STPN_OK;
}

static stpn_status take_inputs(sequence_source *s, int *N, int *T, stpn_error *error)
{
    const array *a;
    stpn_status status = one_of(s, "inputs", "tokens", &a, error);
    if (status) return status;
    s->is_tokens = strcmp(a->name, "tokens") == 0;
    int rank = s->is_tokens ? 2 : 3, fits = a->rank == rank && a->count > 0;
    for (int k = 0; k < rank && fits; k++) fits = a->shape[k] <= INT_MAX;
    if (fits && !s->is_tokens) fits = a->shape[2] <= CLASSES_MOST;
    if (!fits)
        return wrong_shape(s, a, s->is_tokens ? "(sequences, steps), none 0" : "(sequences, steps, inputs), none 0",
                           error);
    *N = (int)a->shape[0];
    *T = (int)a->shape[1];
    s->inputs = (value_rows){.values = *a, .columns = s->is_tokens ? 1 : (int)a->shape[2]};
    return STPN_OK;
}

static stpn_status take_labels(sequence_source *s, const task_options *o, const array *a, int N, int T,
                               stpn_error *error)
{
    s->loss = LOSS_CROSS_ENTROPY;
    s->per_step = a->rank == 2;
    if (a->rank < 1 || a->rank > 2 || a->shape[0] != N || (s->per_step && a->shape[1] != T))
        return wrong_shape(s, a, "(sequences) or (sequences, steps) as the inputs have", error);
    if (o->answers != ANSWERS_AUTO && s->per_step != (o->answers == ANSWERS_STEP))
        return wrong_shape(s, a, "the other one for this task.answers", error);
    s->answers = (value_rows){.values = *a, .columns = 1};
    return STPN_OK;
}

static stpn_status take_targets(sequence_source *s, const task_options *o, const array *a, int N, int T,
                                stpn_error *error)
{
    s->loss = LOSS_SQUARED;
    int may_be_step = a->rank == 3 || (a->rank == 2 && a->shape[1] == T);
    int may_be_sequence = a->rank == 1 || a->rank == 2;
    int fits = may_be_step || may_be_sequence;
    if (fits) fits = a->shape[0] == N && (a->rank < 3 || a->shape[1] == T);
    if (!fits || a->count == 0 || a->shape[a->rank - 1] > CLASSES_MOST)
        return wrong_shape(s, a, "(sequences), (sequences, outputs), (sequences, steps) or (sequences, steps, outputs)",
                           error);
    s->per_step = o->answers == ANSWERS_AUTO ? may_be_step : o->answers == ANSWERS_STEP;
    if (s->per_step ? !may_be_step : !may_be_sequence)
        return wrong_shape(s, a, "another one for this task.answers", error);
    int outputs = a->rank == 3 || (a->rank == 2 && !s->per_step) ? (int)a->shape[a->rank - 1] : 1;
    s->answers = (value_rows){.values = *a, .columns = outputs};
    return STPN_OK;
}

/* An integer of a sequence from an array (N). */
static stpn_status whole_of(const sequence_source *s, const array *a, int n, int64_t least, int64_t most, int *value,
                            stpn_error *error)
{
    int64_t whole;
    const value_rows rows = {.values = *a, .columns = 1};
    if (!array_whole(a, (size_t)n, &whole) || whole < least || whole > most)
        return sequence_complain(s, &rows, (size_t)n, error, "is %.10g, expected an integer from %lld to %lld",
                                 array_real(a, (size_t)n), (long long)least, (long long)most);
    *value = (int)whole;
    return STPN_OK;
}

static stpn_status find_per_sequence(const sequence_source *s, const char *name, int N, const array **a,
                                     stpn_error *error)
{
    stpn_status status = array_file_find(&s->arrays, name, a, error);
    if (status || !*a || ((*a)->rank == 1 && (*a)->shape[0] == N)) return status;
    return wrong_shape(s, *a, "one number per sequence", error);
}

static stpn_status make_pieces(sequence_source *s, int N, int T, stpn_error *error)
{
    const array *lengths, *splits;
    stpn_status status = find_per_sequence(s, "lengths", N, &lengths, error);
    if (!status) status = find_per_sequence(s, "split", N, &splits, error);
    if (status) return status;
    s->pieces = memory_zeroed((size_t)N, sizeof *s->pieces);
    if (!s->pieces) return error_memory(error, "the sequences");
    for (s->count = 0; s->count < N && !status; s->count++) {
        int n = s->count;
        piece *p = &s->pieces[n];
        *p = (piece){.first = (int64_t)n * T, .answer = n, .steps = T, .split = SPLIT_OPEN};
        if (lengths) status = whole_of(s, lengths, n, 1, T, &p->steps, error);
        if (splits && !status) status = whole_of(s, splits, n, 0, SPLITS - 1, &p->split, error);
        p->end = p->first + p->steps;
    }
    return status;
}

stpn_status sequence_arrays_read(sequence_source *s, const task_options *o, stpn_error *error)
{
    const array *answers = NULL;
    int N = 0, T = 0;
    const struct {
        const char *name, *value;
    } columns[] = {{"sequence", o->sequence}, {"inputs", o->inputs}, {"label", o->label}, {"target", o->target}};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        if (*columns[i].value)
            return error_set(error, STPN_ERROR_INPUT, "task.%s has no effect: %.400s is no table", columns[i].name,
                             s->path);
    stpn_status status = array_file_read(&s->arrays, s->path, error);
    if (!status) status = take_inputs(s, &N, &T, error);
    if (!status) status = one_of(s, "labels", "targets", &answers, error);
    if (status) return status;
    status = strcmp(answers->name, "labels") == 0 ? take_labels(s, o, answers, N, T, error)
                                                  : take_targets(s, o, answers, N, T, error);
    return status ? status : make_pieces(s, N, T, error);
}
