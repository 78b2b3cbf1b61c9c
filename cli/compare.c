/* stpn compare: runs side by side, those of one experiment over their seeds. */
#include "cli/comparison.h"

#include <limits.h>
#include <stdio.h>

static int style_of(const arguments *a, comparison_style *style)
{
    static const struct {
        const char *option;
        comparison_style style;
    } styles[] = {{"--json", COMPARISON_JSON}, {"--csv", COMPARISON_CSV}, {"--markdown", COMPARISON_MARKDOWN}};
    const char *given = NULL;
    *style = COMPARISON_TEXT;
    for (size_t i = 0; i < sizeof styles / sizeof *styles; i++) {
        if (!arguments_have(a, styles[i].option)) continue;
        if (given) return complain_of_use("compare", "%s and %s exclude each other", given, styles[i].option);
        given = styles[i].option;
        *style = styles[i].style;
    }
    return EXIT_DONE;
}

static int print_comparison(const run_list *runs, comparison_style style)
{
    comparison c;
    buffer text = {0};
    int code = comparison_make(&c, runs);
    if (!code && !comparison_write(&c, style, &text)) code = complain_of_memory();
    if (!code) (void)fwrite(text.data, 1, text.size, stdout);
    buffer_free(&text);
    comparison_free(&c);
    return code;
}

static int run_compare(const arguments *a)
{
    comparison_style style;
    run_list runs = {0};
    int code = style_of(a, &style);
    for (int i = 0; i < a->operand_count && !code; i++) code = runs_find(&runs, a->operands[i]);
    if (!code) {
        code = print_comparison(&runs, style);
        if (!code) code = runs.code;
    }
    runs_free(&runs);
    return code;
}

static const argument_option options[] = {
    {"--json", NULL, 0, "prints one JSON document and nothing else: every value of every run too"},
    {"--csv", NULL, 0, "prints comma-separated values with all digits, a row per experiment"},
    {"--markdown", NULL, 0, "prints the table as Markdown"},
};

const command command_compare = {
    .table = {"compare", options, sizeof options / sizeof *options, "RUN", 1, INT_MAX},
    .summary = "compare runs: accuracy, energy, time, over the seeds",
    .text =
        "Prints a table of the runs named; a folder that is no run stands for the runs in it. Runs of one experiment "
        "that\n"
        "differ in the seed alone are one row: means and standard deviations (n - 1) over the seeds, with the final\n"
        "parameters and with those of the best evaluation. Epochs to 90 % are those until the validation accuracy is "
        "at\n"
        "least 0.9 of its last value. Runs that are not finished or cannot be read are named and shown as unfinished.\n"
        "Rows are sorted by test accuracy.\n",
    .run = run_compare,
};
