#include "cli/results.h"

#include "base/file.h"
#include "base/memory.h"
#include "cli/comparison.h"
#include "cli/python.h"

#include <stdio.h>

static int save_table(const comparison *c, comparison_style style, const char *out, const char *name)
{
    char path[RUN_PATH];
    stpn_error error;
    buffer text = {0};
    if (!comparison_write(c, style, &text)) {
        buffer_free(&text);
        return complain_of_memory();
    }
    file_part part = {text.data, text.size};
    stpn_status status = run_path(path, out, name, &error);
    if (!status) status = file_replace(path, &part, 1, &error);
    buffer_free(&text);
    return status ? complain(status, &error) : EXIT_DONE;
}

static int save_tables(const comparison *c, const char *out)
{
    static const struct {
        comparison_style style;
        const char *name;
    } files[] = {{COMPARISON_MARKDOWN, "table.md"}, {COMPARISON_CSV, "table.csv"}, {COMPARISON_JSON, "table.json"}};
    int code = EXIT_DONE;
    for (size_t i = 0; i < sizeof files / sizeof *files && !code; i++)
        code = save_table(c, files[i].style, out, files[i].name);
    return code;
}

int results_compare(const plan *p, const char *out, int quiet)
{
    run_list runs = {0};
    comparison c = {0};
    buffer text = {0};
    int code = EXIT_DONE;
    for (int i = 0; i < p->run_count && !code; i++)
        if (file_is_folder(p->runs[i].folder)) code = runs_add(&runs, p->runs[i].folder);
    if (!code) code = comparison_make(&c, &runs);
    if (!code && !quiet) {
        if (comparison_write(&c, COMPARISON_TEXT, &text)) (void)fwrite(text.data, 1, text.size, stdout);
        else code = complain_of_memory();
        fflush(stdout);
    }
    if (!code) code = save_tables(&c, out);
    if (!code) code = runs.code;
    buffer_free(&text);
    comparison_free(&c);
    runs_free(&runs);
    return code;
}

int results_draw(const plan *p, const char *out)
{
    char folder[RUN_PATH], summary[RUN_PATH];
    stpn_error error;
    stpn_status status = run_path(folder, out, "figures", &error);
    if (status) return complain(status, &error);
    int count = 0, runs = p ? p->run_count : 0;
    const char **words = memory_zeroed((size_t)runs + 4, sizeof *words);
    if (!words) return complain_of_memory();
    if (!p) words[count++] = out;
    for (int i = 0; i < runs; i++)
        if (run_path(summary, p->runs[i].folder, RUN_SUMMARY, NULL) == STPN_OK && file_exists(summary))
            words[count++] = p->runs[i].folder;
    words[count++] = "--out";
    words[count] = folder;
    int code = python_run("stpn.plot", words);
    memory_free((void *)words);
    if (code == 0) return EXIT_DONE;
    say("the figures could not be drawn; the tables are in %s", out);
    return EXIT_CHECK_FAILED;
}
