#include "io/metrics.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 1 << 30, ROW_SIZE = 512 };

static const char header[] = "epoch,updates,train_loss,train_accuracy,validation_loss,validation_accuracy,"
                             "validation_energy,seconds,sequences_per_second\n";

static stpn_status append(metrics *m, const char *text, size_t size, stpn_error *error)
{
    if (m->size + size > m->capacity) {
        size_t capacity = 2 * (m->size + size) + 1024;
        char *larger = memory_resize(m->text, m->size, capacity);
        if (!larger) return error_memory(error, "the metrics");
        m->text = larger;
        m->capacity = capacity;
    }
    memcpy(m->text + m->size, text, size);
    m->size += size;
    return STPN_OK;
}

stpn_status metrics_start(metrics *m, stpn_error *error)
{
    *m = (metrics){0};
    return append(m, header, strlen(header), error);
}

stpn_status metrics_resume(metrics *m, const char *path, int64_t epoch, stpn_error *error)
{
    char *text;
    size_t size;
    stpn_status status = metrics_start(m, error);
    if (status || !file_exists(path)) return status;
    status = file_read(path, FILE_LIMIT, &text, &size, error);
    if (status) return status;
    const char *line = text;
    while (!status && *line) {
        const char *end = strchr(line, '\n');
        if (!end) break;
        char *after;
        long long row_epoch = strtoll(line, &after, 10);
        if (after != line && row_epoch >= 1 && row_epoch <= epoch) {
            int comma = 0;
            for (const char *c = line; c < end; c++)
                if (*c == ',' && ++comma == 7) m->seconds = strtod(c + 1, NULL);
            status = append(m, line, (size_t)(end + 1 - line), error);
        }
        line = end + 1;
    }
    memory_free(text);
    return status;
}

stpn_status metrics_add(metrics *m, const metrics_row *r, stpn_error *error)
{
    char line[ROW_SIZE];
    int length = snprintf(line, sizeof line, "%" PRId64 ",%" PRId64 ",%.9g,%.9g,%.9g,%.9g,%.9g,%.3f,%.0f\n", r->epoch,
                          r->updates, r->train_loss, r->train_accuracy, r->validation_loss, r->validation_accuracy,
                          r->validation_energy, r->seconds, r->sequences_per_second);
    m->seconds = r->seconds;
    return append(m, line, (size_t)length, error);
}

stpn_status metrics_save(const metrics *m, const char *path, stpn_error *error)
{
    file_part part = {m->text, m->size};
    return file_replace(path, &part, 1, error);
}

void metrics_free(metrics *m)
{
    memory_free(m->text);
    *m = (metrics){0};
}
