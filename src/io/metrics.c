#include "io/metrics.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/number.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 1 << 30, ROW_SIZE = 512, FIELDS = 9, SECONDS = 7 };

static const char header[] = "epoch,updates,train_loss,train_accuracy,validation_loss,validation_accuracy,"
                             "validation_energy,seconds,sequences_per_second\n";

static stpn_status append(metrics *m, const char *text, size_t size, stpn_error *error)
{
    return buffer_append(&m->text, text, size) ? STPN_OK : error_memory(error, "the metrics");
}

stpn_status metrics_start(metrics *m, stpn_error *error)
{
    *m = (metrics){0};
    return append(m, header, strlen(header), error);
}

/* The numbers of one line; 0 where it is no row. */
static int read_row(const char *line, const char *end, double fields[FIELDS])
{
    for (int i = 0; i < FIELDS; i++) {
        char *after;
        if (!strchr("-0123456789", *line)) return 0;
        fields[i] = strtod(line, &after);
        if (after == line || after > end || (i + 1 < FIELDS ? *after != ',' : after != end)) return 0;
        line = after + 1;
    }
    return isfinite(fields[SECONDS]) && fields[SECONDS] >= 0;
}

stpn_status metrics_resume(metrics *m, const char *path, int64_t epoch, stpn_error *error)
{
    char *text;
    size_t size;
    stpn_status status = metrics_start(m, error);
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
        double fields[FIELDS];
        if (!end) break;
        if (read_row(line, end, fields) && fields[0] >= 1 && fields[0] == floor(fields[0]) &&
            fields[0] <= (double)epoch) {
            m->seconds = fields[SECONDS];
            status = append(m, line, (size_t)(end + 1 - line), error);
        }
        line = end + 1;
    }
    number_restore(before, plain);
    memory_free(text);
    return status;
}

stpn_status metrics_add(metrics *m, const metrics_row *r, stpn_error *error)
{
    char line[ROW_SIZE];
    locale_t plain, before = number_plain(&plain);
    if (!before) return error_memory(error, "the metrics");
    int length = snprintf(line, sizeof line, "%" PRId64 ",%" PRId64 ",%.9g,%.9g,%.9g,%.9g,%.9g,%.3f,%.0f\n", r->epoch,
                          r->updates, r->train_loss, r->train_accuracy, r->validation_loss, r->validation_accuracy,
                          r->validation_energy, r->seconds, r->sequences_per_second);
    number_restore(before, plain);
    m->seconds = r->seconds;
    return append(m, line, (size_t)length, error);
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
