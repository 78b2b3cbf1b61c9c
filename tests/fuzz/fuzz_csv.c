/* libFuzzer harness of the reader of tables. Build and run:
 *
 *   clang -fsanitize=fuzzer,address,undefined ... fuzz_csv.c (libstpn.a)
 *   ./fuzz_csv -max_len=1024 FOLDER tests/fuzz/corpus_csv
 */
#include "io/csv.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds) abort();
}

static void check_error(stpn_status status, const stpn_error *error)
{
    require(status == STPN_OK || status == STPN_ERROR_INPUT || status == STPN_ERROR_MEMORY);
    require((status == STPN_OK) == (error->message[0] == 0));
    require(!strchr(error->message, '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    csv_table table;
    stpn_error error = {""};
    stpn_status status = csv_parse(&table, "fuzzed", (const char *)data, size, &error);
    check_error(status, &error);
    if (status) {
        require(!table.cells && !table.text && !table.name);
        return 0;
    }
    require(table.rows >= 1 && table.columns >= 1);
    double *numbers = malloc(table.rows * sizeof *numbers);
    require(numbers != NULL);
    for (int i = 0; i < table.columns; i++) {
        size_t bytes = 0;
        for (size_t row = 0; row < table.rows; row++) bytes += strlen(csv_cell(&table, row, i));
        require(bytes <= size);
        require(!*table.cells[i] || csv_column(&table, table.cells[i]) == i);
        error.message[0] = 0;
        status = csv_numbers(&table, i, numbers, 1, &error);
        check_error(status, &error);
    }
    free(numbers);
    csv_free(&table);
    return 0;
}
