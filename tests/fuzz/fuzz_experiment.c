/* libFuzzer harness of the parser of experiment files. Build and run:
 *
 *   clang -fsanitize=fuzzer,address,undefined ... fuzz_experiment.c (libstpn.a) -ljansson
 *   ./fuzz_experiment -max_len=2048 FOLDER tests/fuzz/corpus_experiment
 *
 * The input is a file; where its last byte is odd, its last line (or half) without that byte is a setting. */
#include "train/experiment.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SETTING_MOST = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds) abort();
}

static void check_fields(const experiment *e)
{
    int count;
    const option *table = train_option_table(&count);
    require(e->name && *e->name && !strchr(e->name, '/') && e->name[0] != '.');
    require(!e->task != !e->env && e->units && e->unit_count >= 1 && e->unit_count <= 64);
    require(e->train.method == (e->env ? METHOD_A2C : METHOD_SUPERVISED));
    require(options_check(table, count, &e->train, "train", NULL) == STPN_OK);
    if (e->task)
        require(options_check(e->task->options, e->task->option_count, &e->task_options, "task", NULL) == STPN_OK);
    if (e->env) {
        require(options_check(e->env->options, e->env->option_count, &e->env_options, "task", NULL) == STPN_OK);
        table = a2c_option_table(&count);
        require(options_check(table, count, &e->a2c, "train", NULL) == STPN_OK);
    }
    /* Where it is known before the data are read. */
    require(e->task_options.train <= 0 || e->train.batch <= e->task_options.train);
    int inputs = e->shape.inputs;
    for (int i = 0; i < e->unit_count; i++) {
        require(unit_check(&e->units[i], inputs, "unit", NULL) == STPN_OK);
        inputs = e->units[i].hidden;
    }
}

/* Every value of the resolved document is written, read and resolved again to the same. */
static void check_resolved(const experiment *e)
{
    char *text = json_dumps(e->resolved, JSON_INDENT(2) | JSON_REAL_PRECISION(17)), place[64];
    require(text != NULL);
    experiment again;
    stpn_error error = {""};
    require(experiment_parse(&again, "resolved", text, strlen(text), NULL, 0, NULL, &error) == STPN_OK);
    require(json_equal(again.resolved, e->resolved));
    require(json_difference(again.resolved, e->resolved, place, sizeof place) == 0);
    char *text_again = json_dumps(again.resolved, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    require(text_again && strcmp(text, text_again) == 0);
    free(text_again);
    free(text);
    experiment_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char setting[SETTING_MOST + 1];
    const char *const set[] = {setting};
    int set_count = 0;
    if (size > 1 && data[size - 1] % 2) {
        /* The tail from a line's start on, or half of the input. */
        size_t start = size - 1;
        while (start > size / 2 && data[start - 1] != '\n') start--;
        size_t length = size - 1 - start < SETTING_MOST ? size - 1 - start : SETTING_MOST;
        memcpy(setting, data + start, length);
        setting[length] = 0;
        set_count = 1;
        size = start;
    }
    /* Where a byte too many would be seen. */
    char *text = malloc(size ? size : 1);
    require(text != NULL);
    if (size) memcpy(text, data, size);
    const uint64_t seed = size;
    experiment e;
    stpn_error error = {""};
    stpn_status status =
        experiment_parse(&e, "fuzzed", text, size, set, set_count, size % 3 == 0 ? &seed : NULL, &error);
    free(text);
    require(status == STPN_OK || status == STPN_ERROR_INPUT);
    require((status == STPN_OK) == (error.message[0] == 0));
    require((status == STPN_OK) == (e.resolved != NULL));
    for (const char *c = error.message; *c; c++) require((unsigned char)*c >= 0x20 && *c != 0x7f);
    if (status) {
        require(!e.name && !e.note && !e.units);
        return 0;
    }
    check_fields(&e);
    check_resolved(&e);
    experiment_free(&e);
    return 0;
}
