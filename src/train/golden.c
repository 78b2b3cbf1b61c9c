#include "train/golden.h"

#include "base/error.h"
#include "train/golden_file.h"

#include <stdio.h>
#include <string.h>

typedef struct golden_kind {
    const char *name;
    stpn_status (*verify)(golden *g);
} golden_kind;

static const golden_kind kinds[] = {
    {"unit", golden_verify_unit},
    {"training", golden_verify_training},
    {"a2c", golden_verify_a2c},
    {"ppo", golden_verify_ppo},
};

enum { KINDS = sizeof kinds / sizeof *kinds };

void golden_kinds(char *text, size_t size)
{
    size_t used = 0;
    for (int i = 0; i < KINDS && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", kinds[i].name);
}

static stpn_status verify_file(golden *g)
{
    const char *kind = tensor_file_metadata(g->file, "kind");
    char known[128];
    golden_kinds(known, sizeof known);
    if (!kind) return golden_complain(g, "is no golden file: its metadata has no \"kind\"");
    for (int i = 0; i < KINDS; i++) {
        if (strcmp(kinds[i].name, kind) != 0) continue;
        snprintf(g->report->kind, sizeof g->report->kind, "%s", kind);
        stpn_status status = golden_read_metadata(g);
        if (!status) status = kinds[i].verify(g);
        unit_close(&g->plan);
        return status;
    }
    return golden_complain(g, "metadata \"kind\" is \"%.40s\", expected one of %s", kind, known);
}

stpn_status golden_verify(golden_report *report, const char *path, stpn_error *error)
{
    error_clear(error);
    *report = (golden_report){.kernel = ""};
    golden g = {.report = report, .error = error};
    stpn_status status = tensor_file_read(&g.file, path, error);
    if (status) return status;
    status = verify_file(&g);
    tensor_file_free(g.file);
    return status;
}

int golden_row_passes(const golden_row *row)
{
    return row->error <= row->tolerance;
}

int golden_passes(const golden_report *report)
{
    int passes = 1;
    for (int i = 0; i < report->count; i++) passes = passes && golden_row_passes(&report->rows[i]);
    return passes;
}
