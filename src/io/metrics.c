#include "io/metrics.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/number.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 1 << 30, ROW_SIZE = 1024 };

enum { WITH_DATA = 32, WITH_ENV = METRICS_REWARD | METRICS_PPO }; // WITH_DATA: neither of these

/* The columns from left to right; `measure`: in files of any of these, 0: in every file. */
typedef struct column {
    const char *name;
    size_t offset; // in metrics_row
    int measure;
    const char *format; // NULL: an int64_t
} column;

#define PLACE(name) #name, offsetof(metrics_row, name)
#define ENV_PLACE(name) #name, offsetof(metrics_row, env.name)

static const column columns[] = {
    {PLACE(epoch), WITH_DATA, NULL},
    {"iteration", offsetof(metrics_row, epoch), WITH_ENV, NULL},
    {PLACE(updates), 0, NULL},
    {ENV_PLACE(steps), METRICS_EPISODES, NULL},
    {ENV_PLACE(episodes), METRICS_EPISODES, NULL},
    {PLACE(train_loss), WITH_DATA, "%.9g"},
    {PLACE(train_accuracy), METRICS_ACCURACY, "%.9g"},
    {PLACE(validation_loss), WITH_DATA, "%.9g"},
    {PLACE(validation_accuracy), METRICS_ACCURACY, "%.9g"},
    {PLACE(validation_true_positive_rate), METRICS_RATES, "%.9g"},
    {PLACE(validation_false_positive_rate), METRICS_RATES, "%.9g"},
    {PLACE(validation_energy), WITH_DATA, "%.9g"},
    {ENV_PLACE(reward), WITH_ENV, "%.9g"},
    {ENV_PLACE(length), METRICS_EPISODES, "%.9g"},
    {ENV_PLACE(loss), WITH_ENV, "%.9g"},
    {ENV_PLACE(policy_loss), WITH_ENV, "%.9g"},
    {ENV_PLACE(value_loss), WITH_ENV, "%.9g"},
    {ENV_PLACE(concentration), METRICS_REWARD, "%.9g"},
    {ENV_PLACE(entropy), WITH_ENV, "%.9g"},
    {ENV_PLACE(kl), METRICS_PPO, "%.9g"},
    {ENV_PLACE(clip_fraction), METRICS_PPO, "%.9g"},
    {ENV_PLACE(explained_variance), METRICS_PPO, "%.9g"},
    {ENV_PLACE(gradient_norm), WITH_ENV, "%.9g"},
    {ENV_PLACE(energy), WITH_ENV, "%.9g"},
    {PLACE(learning_rate), 0, "%.9g"},
    {PLACE(seconds), 0, "%.3f"},
    {PLACE(sequences_per_second), WITH_DATA, "%.6g"},
    {ENV_PLACE(iterations_per_second), WITH_ENV, "%.6g"},
};

enum { COLUMNS = sizeof columns / sizeof *columns };

static int is_used(const metrics *m, const column *c)
{
    int measures = m->measures & WITH_ENV ? m->measures : m->measures | WITH_DATA;
    return !c->measure || measures & c->measure;
}

/* What there was none of is an empty field. */
static int may_be_empty(const metrics *m, const column *c)
{
    int of_episodes = c->measure == METRICS_EPISODES || c->offset == offsetof(metrics_row, env.reward);
    int of_training =
        c->offset == offsetof(metrics_row, train_loss) || c->offset == offsetof(metrics_row, train_accuracy);
    return of_training || c->measure == METRICS_RATES || (of_episodes && m->measures & METRICS_EPISODES);
}

static stpn_status append(metrics *m, const char *text, size_t size, stpn_error *error)
{
    return buffer_append(&m->text, text, size) ? STPN_OK : error_memory(error, "the metrics");
}

stpn_status metrics_start(metrics *m, int measures, stpn_error *error)
{
    stpn_status status = STPN_OK;
    *m = (metrics){.measures = measures};
    for (int i = 0; i < COLUMNS && !status; i++) {
        if (!is_used(m, &columns[i])) continue;
        if (m->text.size) status = append(m, ",", 1, error);
        if (!status) status = append(m, columns[i].name, strlen(columns[i].name), error);
    }
    return status ? status : append(m, "\n", 1, error);
}

/* Epoch and seconds of one line; 0 where it is no row. A rate of nothing is an empty field. */
static int read_row(const metrics *m, const char *line, const char *end, double *epoch, double *seconds)
{
    const char *at = line;
    for (int i = 0; i < COLUMNS; i++) {
        if (!is_used(m, &columns[i])) continue;
        if (at > line) {
            if (*at != ',') return 0;
            at++;
        }
        if (may_be_empty(m, &columns[i]) && (*at == ',' || at == end)) continue;
        if (!strchr("-0123456789", *at)) return 0;
        char *after;
        double value = strtod(at, &after);
        if (after == at || after > end) return 0;
        if (columns[i].offset == offsetof(metrics_row, epoch)) *epoch = value;
        if (columns[i].offset == offsetof(metrics_row, seconds)) *seconds = value;
        at = after;
    }
    return at == end && isfinite(*seconds) && *seconds >= 0;
}

stpn_status metrics_resume(metrics *m, int measures, const char *path, int64_t epoch, stpn_error *error)
{
    char *text;
    size_t size;
    stpn_status status = metrics_start(m, measures, error);
    if (status || !file_exists(path)) return status;
    status = file_read(path, FILE_LIMIT, &text, &size, error);
    if (status) return status;
    locale_t plain, before = number_plain(&plain);
    if (!before) {
        memory_free(text);
        return error_memory(error, "the metrics");
    }
    const char *line = text;
    while (!status && *line) {
        const char *end = strchr(line, '\n');
        double of = 0, seconds = 0;
        if (!end) break;
        if (read_row(m, line, end, &of, &seconds) && of >= 1 && of == floor(of) && of <= (double)epoch) {
            m->seconds = seconds;
            status = append(m, line, (size_t)(end + 1 - line), error);
        }
        line = end + 1;
    }
    number_restore(before, plain);
    memory_free(text);
    return status;
}

/* An integer, a number, or nothing where there is none. */
static size_t write_field(const metrics *m, char *text, size_t size, const column *c, const metrics_row *r)
{
    const char *place = (const char *)r + c->offset;
    if (!c->format) {
        int64_t count;
        memcpy(&count, place, sizeof count);
        return (size_t)snprintf(text, size, "%" PRId64, count);
    }
    double value;
    memcpy(&value, place, sizeof value);
    if (isnan(value) && may_be_empty(m, c)) return 0;
    return (size_t)snprintf(text, size, c->format, value);
}

stpn_status metrics_add(metrics *m, const metrics_row *r, stpn_error *error)
{
    char line[ROW_SIZE];
    size_t used = 0;
    locale_t plain, before = number_plain(&plain);
    if (!before) return error_memory(error, "the metrics");
    for (int i = 0; i < COLUMNS; i++) {
        if (!is_used(m, &columns[i])) continue;
        if (used) line[used++] = ',';
        used += write_field(m, line + used, sizeof line - used, &columns[i], r);
    }
    line[used++] = '\n';
    number_restore(before, plain);
    m->seconds = r->seconds;
    return append(m, line, used, error);
}

stpn_status metrics_save(const metrics *m, const char *path, stpn_error *error)
{
    file_part part = {m->text.data, m->text.size};
    return file_replace(path, &part, 1, error);
}

void metrics_free(metrics *m)
{
    buffer_free(&m->text);
    *m = (metrics){0};
}
