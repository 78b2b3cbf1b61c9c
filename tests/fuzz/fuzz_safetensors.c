/* libFuzzer harness of the safetensors reader. Build and run:
 *
 *   clang -fsanitize=fuzzer,address,undefined ... fuzz_safetensors.c (stpn's base and io) -ljansson
 *   ./fuzz_safetensors -max_len=1024 FOLDER tests/fuzz/corpus_safetensors
 */
#include "io/safetensors.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds) abort();
}

static void try_bytes(const uint8_t *data, size_t size)
{
    tensor_file *file = NULL;
    stpn_error error = {""};
    stpn_status status = tensor_file_parse(&file, "fuzzed", data, size, &error);
    require(status == STPN_OK || status == STPN_ERROR_INPUT);
    require((status == STPN_OK) == (file != NULL));
    require((status == STPN_OK) == (error.message[0] == 0));
    require(!strchr(error.message, '\n'));
    if (!file) return;
    size_t total = 0;
    volatile uint8_t sink = 0;
    const tensor_entry *entry;
    for (int i = 0; (entry = tensor_file_entry(file, i)); i++) {
        size_t width = tensor_type_size(entry->type), count = 1;
        const uint8_t *values = entry->data;
        for (int k = 0; k < entry->rank; k++) count *= (size_t)entry->shape[k];
        require(count == entry->count);
        require((uintptr_t)values % width == 0);
        for (size_t k = 0; k < count * width; k++) sink = (uint8_t)(sink ^ values[k]);
        require(tensor_file_find(file, entry->name) == entry);
        total += count * width;
    }
    /* Every byte of the data belongs to one tensor. */
    uint64_t length;
    memcpy(&length, data, 8);
    require(total == size - 8 - length);
    (void)tensor_file_metadata(file, "seed");
    tensor_file_free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_bytes(data, size);
    if (size <= 8) return 0;
    /* Once more with a length that ends the header behind its last brace: changes rarely keep the two in step. */
    size_t end = size;
    while (end > 8 && data[end - 1] != '}') end--;
    uint64_t length = end - 8;
    uint8_t *mended = malloc(size);
    require(mended != NULL);
    memcpy(mended, data, size);
    memcpy(mended, &length, 8);
    try_bytes(mended, size);
    free(mended);
    return 0;
}
