/* libFuzzer harness of the reader of .npz files. Build and run:
 *
 *   clang -fsanitize=fuzzer,address,undefined ... fuzz_npz.c (libstpn.a) -lz
 *   ./fuzz_npz -max_len=4096 FOLDER tests/fuzz/corpus_npz
 *
 * Changes rarely keep a member and its checksum in step, so the input is also taken as one array's bytes. */
#include "io/array_file.h"
#include "io/npy.h"

#include "base/memory.h"

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

static void check_array(const array *a)
{
    char text[32];
    size_t count = 1;
    volatile double sink = 0;
    int64_t whole;
    for (int k = 0; k < a->rank; k++) count *= (size_t)a->shape[k];
    require(count == a->count);
    require((uintptr_t)a->data % array_type_size(a->type) == 0);
    for (size_t i = 0; i < count; i++) {
        sink = sink + array_real(a, i);
        if (array_whole(a, i, &whole)) sink = sink + (double)whole;
    }
    array_shape_text(a, text, sizeof text);
}

static void try_archive(const uint8_t *data, size_t size)
{
    array_file file;
    stpn_error error = {""};
    stpn_status status = array_file_parse_npz(&file, "fuzzed", data, size, &error);
    check_error(status, &error);
    require(!status || (!file.arrays && !file.name && file.count == 0));
    for (int i = 0; i < file.count; i++) {
        const array *found;
        status = array_file_find(&file, file.arrays[i].name, &found, &error);
        check_error(status, &error);
        require((status != STPN_OK) == (file.arrays[i].fault != NULL));
        require(status || found == &file.arrays[i]);
        if (!status) check_array(found);
        error.message[0] = 0;
    }
    array_file_free(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_archive(data, size);
    array a = {0};
    stpn_error error = {""};
    /* Where a byte too many would be seen. */
    char *copy = malloc(size ? size : 1);
    require(copy != NULL);
    if (size) memcpy(copy, data, size);
    stpn_status status = npy_parse(&a, "fuzzed", copy, size, &error);
    free(copy);
    check_error(status, &error);
    if (!status) check_array(&a);
    memory_free(a.block);
    return 0;
}
