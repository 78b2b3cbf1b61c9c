#include "cli/profile.h"

#include "cli/cli.h"
#include "cli/table.h"

#include <stdio.h>

void profile_keep(profile_record *record, const stpn_profile *told)
{
    record->told = *told;
    if (record->told.part_count > PROFILE_ROWS) record->told.part_count = PROFILE_ROWS;
    for (int i = 0; i < record->told.part_count; i++) record->parts[i] = told->parts[i];
    record->told.parts = record->parts;
}

static void add_row(table *t, const char *name, double caller, double other, double all)
{
    table_add(t, "%s", name);
    table_add(t, "%.3f", caller);
    table_add(t, "%.1f", all > 0 ? 100 * caller / all : 0);
    if (t->columns == 3) return;
    table_add(t, "%.3f", other);
    table_add(t, "%.1f", all > 0 ? 100 * other / all : 0);
}

void profile_print(const profile_record *record, const char *folder)
{
    const stpn_profile *p = &record->told;
    if (p->threads < 1) return;
    table t = {.columns = p->threads > 1 ? 5 : 3, .left = 1};
    double all = 0, others = 0;
    for (int i = 0; i < p->part_count; i++) {
        all += p->parts[i].caller;
        others += p->parts[i].other;
    }
    table_add(&t, "part");
    table_add(&t, "seconds");
    table_add(&t, "%%");
    if (t.columns == 5) {
        table_add(&t, p->threads > 2 ? "each of %d others" : "the other thread", p->threads - 1);
        table_add(&t, "%%");
    }
    for (int i = 0; i < p->part_count; i++) add_row(&t, p->parts[i].name, p->parts[i].caller, p->parts[i].other, all);
    add_row(&t, "all", all, others, all);
    if (p->elsewhere > 0) {
        table_add(&t, "the environment's process");
        table_add(&t, "%.3f", p->elsewhere);
        table_add(&t, "%.1f", 100 * p->elsewhere / all);
        for (int i = 3; i < t.columns; i++) table_add(&t, "%s", "");
    }
    buffer text = {0};
    if (buffer_print(&text, "%s: where the time went\n", folder) && table_write(&t, TABLE_TEXT, &text))
        fwrite(text.data, 1, text.size, stderr);
    else complain_of_memory();
    buffer_free(&text);
    table_free(&t);
}
