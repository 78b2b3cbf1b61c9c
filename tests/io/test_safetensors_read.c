#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "io/safetensors.h"
#include "support/scratch.h"

/* A file's bytes: length, header, `data_size` bytes counting up from 0. To be freed. */
static char *make_bytes(const char *header, size_t data_size, size_t *size)
{
    uint64_t length = strlen(header);
    *size = 8 + length + data_size;
    char *bytes = malloc(*size);
    assert_non_null(bytes);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < data_size; i++) bytes[8 + length + i] = (char)i;
    return bytes;
}

static tensor_file *parse(const char *header, size_t data_size)
{
    size_t size;
    tensor_file *file = NULL;
    stpn_error error = {""};
    char *bytes = make_bytes(header, data_size, &size);
    stpn_status status = tensor_file_parse(&file, "good", bytes, size, &error);
    free(bytes);
    if (status) fail_msg("%s", error.message);
    assert_non_null(file);
    assert_string_equal(error.message, "");
    return file;
}

static void assert_refused(const char *bytes, size_t size, const char *fragment)
{
    tensor_file *file = (tensor_file *)1;
    stpn_error error = {""};
    assert_int_equal(tensor_file_parse(&file, "bad.safetensors", bytes, size, &error), STPN_ERROR_INPUT);
    assert_null(file);
    if (!strstr(error.message, fragment)) fail_msg("\"%s\" lacks \"%s\"", error.message, fragment);
    assert_memory_equal(error.message, "bad.safetensors: ", 17);
    assert_null(strchr(error.message, '\n'));
    assert_int_equal(tensor_file_parse(&file, "bad.safetensors", bytes, size, NULL), STPN_ERROR_INPUT);
}

static tensor_file *valid_file(void)
{
    static const double values[6] = {1, 2, 3, 4, 5, 6};
    tensor_file *file = NULL;
    assert_int_equal(tensor_file_create(&file, NULL), STPN_OK);
    assert_int_equal(tensor_file_add(file, "w", TENSOR_F64, 2, (const int64_t[]){2, 3}, values, NULL), STPN_OK);
    assert_int_equal(tensor_file_add(file, "flags", TENSOR_U8, 1, (const int64_t[]){5}, values, NULL), STPN_OK);
    assert_int_equal(tensor_file_add(file, "x\"y", TENSOR_F32, 0, NULL, values, NULL), STPN_OK);
    assert_int_equal(tensor_file_add(file, "none", TENSOR_I64, 1, (const int64_t[]){0}, NULL, NULL), STPN_OK);
    assert_int_equal(tensor_file_set_metadata(file, "k\n", "v", NULL), STPN_OK);
    return file;
}

/* ------------------------------------------------------------------------------------------------- what may be read */

static void values_are_aligned_wherever_they_lie(void **state)
{
    (void)state;
    for (int pad = 0; pad < 16; pad++) {
        char header[1024];
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
                 "\"b\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[3,19]},"
                 "\"c\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[19,23]},"
                 "\"d\":{\"dtype\":\"I64\",\"shape\":[0],\"data_offsets\":[23,23]},"
                 "\"e\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[23,31]}}%*s",
                 pad, "");
        tensor_file *file = parse(header, 31);
        static const struct {
            size_t align, begin, end;
        } expected[] = {{1, 0, 3}, {8, 3, 19}, {4, 19, 23}, {8, 23, 23}, {4, 23, 31}};
        for (int i = 0; i < 5; i++) {
            const tensor_entry *entry = tensor_file_entry(file, i);
            const unsigned char *data = entry->data;
            assert_non_null(data);
            assert_int_equal((uintptr_t)data % expected[i].align, 0);
            for (size_t k = expected[i].begin; k < expected[i].end; k++)
                assert_int_equal(data[k - expected[i].begin], k);
        }
        tensor_file_free(file);
    }
}

static void any_order_and_white_space_will_do(void **state)
{
    (void)state;
    tensor_file *file =
        parse("{\n\t\"b\" : { \"data_offsets\" : [ 4 , 8 ] , \"shape\" : [ 1 ], \"dtype\":\"F32\" },\r\n"
              "\"__metadata__\": { \"k\" : \"v\" } ,\n"
              "\"e\":{\"shape\":[0,4611686018427387904],\"dtype\":\"U8\",\"data_offsets\":[8,8]},"
              "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
              "\"f\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]}\n}  \n\t ",
              8);
    assert_string_equal(tensor_file_entry(file, 0)->name, "b");
    assert_string_equal(tensor_file_entry(file, 1)->name, "e");
    assert_string_equal(tensor_file_entry(file, 2)->name, "a");
    assert_string_equal(tensor_file_entry(file, 3)->name, "f");
    assert_memory_equal(tensor_file_find(file, "a")->data, "\0\1\2\3", 4);
    assert_memory_equal(tensor_file_find(file, "b")->data, "\4\5\6\7", 4);
    assert_string_equal(tensor_file_metadata(file, "k"), "v");
    assert_string_equal(tensor_file_name(file), "good");
    tensor_file_free(file);
}

static void escapes_are_decoded(void **state)
{
    (void)state;
    tensor_file *file =
        parse("{\"__metadata__\":{\"\\\"\\\\\\/\\b\\f\\n\\r\\t\":\"\\u0041\\u00e4\\u20AC\\ud83d\\uDe00\\uffff\"}}", 0);
    assert_string_equal(tensor_file_metadata(file, "\"\\/\b\f\n\r\t"),
                        "A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbf");
    tensor_file_free(file);
}

static void minimal_files_are_read(void **state)
{
    (void)state;
    tensor_file_free(parse("{}", 0));
    tensor_file_free(parse("{ }", 0));
    tensor_file_free(parse("{\"__metadata__\":{}}", 0));
    tensor_file_free(NULL);
}

/* -------------------------------------------------------------------------------------------------- malformed files */

#define F32 "\"dtype\":\"F32\""
#define ONE "\"shape\":[1]"
#define AT0 "\"data_offsets\":[0,4]"
#define TENSOR(members) "{\"w\":{" members "}}"

static const struct {
    const char *header;
    size_t data_size;
    const char *fragment;
} malformed[] = {
    /* JSON */
    {"", 0, "header: line 1, column 1: found the end, expected '{'"},
    {"[]", 0, "column 1: found '[', expected '{'"},
    {" {}", 0, "column 1: found byte 0x20, expected '{'"},
    {"null", 0, "found 'n', expected '{'"},
    {"{", 0, "column 2: found the end, expected a key in double quotes"},
    {"{\"", 0, "found the end, expected the end of a string"},
    {"{\"w", 0, "found the end, expected the end of a string"},
    {"{\"w\\", 0, "malformed escape"},
    {"{\"w\"", 0, "found the end, expected ':'"},
    {"{\"w\":", 0, "tensor \"w\": header: line 1, column 6: found the end, expected '{'"},
    {"{\"w\":{", 0, "tensor \"w\": header: line 1, column 7: found the end"},
    {"{,}", 0, "column 2: found ',', expected a key"},
    {"{\"w\":{}", 0, "dtype is missing"},
    {"{}}", 0, "column 3: found '}', expected only spaces"},
    {"{}\nx", 0, "line 2, column 1: found 'x', expected only spaces"},
    {"{\n\n  !}", 0, "line 3, column 3: found '!'"},
    {"{\"w\" {}}", 0, "found '{', expected ':'"},
    {"{w:{}}", 0, "found 'w', expected a key in double quotes"},
    {"{'w':{}}", 0, "found ''', expected a key in double quotes"},
    {"{\"w\x01\":{}}", 0, "found byte 0x01, expected a string without control characters"},
    {"{\"w\n\":{}}", 0, "found byte 0x0a, expected a string without control characters"},
    {"{\"\\x\":{}}", 0, "column 3: found a malformed escape"},
    {"{\"\\u12\":{}}", 0, "column 3: found a malformed escape, expected four digits"},
    {"{\"\\u12g4\":{}}", 0, "malformed escape"},
    {"{\"a\\u0000b\":{}}", 0, "column 4: found \\u0000, expected a string without NUL"},
    {"{\"\\ud800\":{}}", 0, "half a surrogate pair"},
    {"{\"\\udc00\":{}}", 0, "half a surrogate pair"},
    {"{\"\\ud800\\u0041\":{}}", 0, "half a surrogate pair"},
    {"{\"\\ud800\\n\":{}}", 0, "half a surrogate pair"},
    {"{\"\\ud800\\ud800\":{}}", 0, "half a surrogate pair"},
    {"{\"\xff\":{}}", 0, "column 2: found a string that is not UTF-8"},
    {"{\"\xc0\x80\":{}}", 0, "not UTF-8"},
    {"{\"\xed\xa0\x80\":{}}", 0, "not UTF-8"},
    {"{\"\xe0\x9f\xbf\":{}}", 0, "not UTF-8"},
    {"{\"\xf4\x90\x80\x80\":{}}", 0, "not UTF-8"},
    {"{\"\xf0\x8f\xbf\xbf\":{}}", 0, "not UTF-8"},
    {"{\"\xe2\x82\":{}}", 0, "not UTF-8"},
    {TENSOR(F32 "," ONE "," AT0 ",") " ", 4, "found '}', expected a key"},
    {"{\"w\":{" F32 "," ONE "," AT0 "},}", 4, "found '}', expected a key"},
    {"{\"w\":{" F32 "," ONE "," AT0 "} \"v\"}", 4, "found '\"', expected ',' or '}'"},
    {"{\"w\":{" F32 "," ONE "," AT0 "}", 4, "found the end, expected ',' or '}'"},
    /* a tensor's description */
    {"{\"w\":[]}", 0, "tensor \"w\": header: line 1, column 6: found '[', expected '{'"},
    {"{\"w\":3}", 0, "tensor \"w\": header: line 1, column 6: found '3', expected '{'"},
    {"{\"w\":null}", 0, "found 'n', expected '{'"},
    {TENSOR(""), 0, "dtype is missing, expected dtype, shape and data_offsets"},
    {TENSOR(ONE "," AT0), 4, "column 6: dtype is missing"},
    {TENSOR(F32 "," AT0), 4, "shape is missing"},
    {TENSOR(F32 "," ONE), 4, "data_offsets is missing"},
    {TENSOR(F32 "," ONE "," AT0 ",\"x\":1"), 4, "found key \"x\", expected dtype, shape or data_offsets"},
    {TENSOR("\"Dtype\":\"F32\"," ONE "," AT0), 4, "found key \"Dtype\""},
    {TENSOR(F32 "," F32 "," ONE "," AT0), 4, "column 21: found key dtype again, expected it once"},
    {TENSOR(F32 "," ONE "," ONE "," AT0), 4, "found key shape again"},
    {TENSOR(F32 "," ONE "," AT0 "," AT0), 4, "found key data_offsets again"},
    {TENSOR(F32 " " ONE "," AT0), 4, "found '\"', expected ',' or '}'"},
    /* types */
    {TENSOR("\"dtype\":\"F16\"," ONE "," AT0), 4,
     "column 15: dtype F16 is not supported, expected one of F32, F64, I32, I64, U8"},
    {TENSOR("\"dtype\":\"BF16\"," ONE "," AT0), 4, "dtype BF16 is not supported, expected one of"},
    {TENSOR("\"dtype\":\"BOOL\"," ONE "," AT0), 4, "dtype BOOL is not supported"},
    {TENSOR("\"dtype\":\"I8\"," ONE "," AT0), 4, "dtype I8 is not supported"},
    {TENSOR("\"dtype\":\"I16\"," ONE "," AT0), 4, "dtype I16 is not supported"},
    {TENSOR("\"dtype\":\"U16\"," ONE "," AT0), 4, "dtype U16 is not supported"},
    {TENSOR("\"dtype\":\"U32\"," ONE "," AT0), 4, "dtype U32 is not supported"},
    {TENSOR("\"dtype\":\"U64\"," ONE "," AT0), 4, "dtype U64 is not supported"},
    {TENSOR("\"dtype\":\"F8_E4M3\"," ONE "," AT0), 4, "dtype F8_E4M3 is not supported"},
    {TENSOR("\"dtype\":\"f32\"," ONE "," AT0), 4, "dtype f32 is not supported"},
    {TENSOR("\"dtype\":\"\"," ONE "," AT0), 4, "is not supported"},
    {TENSOR("\"dtype\":\"a\\nb\"," ONE "," AT0), 4, "dtype a?b is not supported"},
    {TENSOR("\"dtype\":1," ONE "," AT0), 4, "found '1', expected the name of a type"},
    {TENSOR("\"dtype\":null," ONE "," AT0), 4, "found 'n', expected the name of a type"},
    /* shapes */
    {TENSOR(F32 ",\"shape\":1," AT0), 4, "found '1', expected an array of integers"},
    {TENSOR(F32 ",\"shape\":null," AT0), 4, "found 'n', expected an array of integers"},
    {TENSOR(F32 ",\"shape\":\"1\"," AT0), 4, "found '\"', expected an array of integers"},
    {TENSOR(F32 ",\"shape\":{}," AT0), 4, "found '{', expected an array of integers"},
    {TENSOR(F32 ",\"shape\":[-1]," AT0), 4, "column 30: found -1, expected an integer from 0 to 9223372036854775807"},
    {TENSOR(F32 ",\"shape\":[-0]," AT0), 4, "found -0, expected an integer"},
    {TENSOR(F32 ",\"shape\":[1.0]," AT0), 4, "found 1.0, expected an integer"},
    {TENSOR(F32 ",\"shape\":[1e0]," AT0), 4, "found 1e0, expected an integer"},
    {TENSOR(F32 ",\"shape\":[01]," AT0), 4, "found 01, expected an integer"},
    {TENSOR(F32 ",\"shape\":[+1]," AT0), 4, "found +1, expected an integer"},
    {TENSOR(F32 ",\"shape\":[\"1\"]," AT0), 4, "found '\"', expected an integer"},
    {TENSOR(F32 ",\"shape\":[true]," AT0), 4, "found 't', expected an integer"},
    {TENSOR(F32 ",\"shape\":[null]," AT0), 4, "found 'n', expected an integer"},
    {TENSOR(F32 ",\"shape\":[[1]]," AT0), 4, "found '[', expected an integer"},
    {TENSOR(F32 ",\"shape\":[1,]," AT0), 4, "found ']', expected an integer"},
    {TENSOR(F32 ",\"shape\":[1 1]," AT0), 4, "found '1', expected ',' or ']'"},
    {TENSOR(F32 ",\"shape\":[9223372036854775808]," AT0), 4, "found 9223372036854775808, expected an integer from 0"},
    {TENSOR(F32 ",\"shape\":[99999999999999999999999999999999999999999999]," AT0), 4,
     "found 9999999999999999999999999999999999999999, expected"},
    {TENSOR(F32 ",\"shape\":[1,1,1,1,1,1,1,1,1]," AT0), 4, "column 46: found a further number, expected at most 8"},
    {TENSOR(F32 ",\"shape\":[9223372036854775807,3]," AT0), 4, "column 6: the shape's product overflows"},
    {TENSOR(F32 ",\"shape\":[4294967296,4294967296]," AT0), 4, "the shape's product overflows"},
    {TENSOR(F32 ",\"shape\":[4611686018427387904]," AT0), 4, "the shape's product overflows"},
    {TENSOR(F32 ",\"shape\":[4294967296,4294967297,0]," AT0), 4, "the shape's product overflows"},
    {TENSOR(F32 ",\"shape\":[4611686018427387905]," AT0), 4, "the shape's product overflows"},
    /* offsets */
    {TENSOR(F32 "," ONE ",\"data_offsets\":4"), 4, "found '4', expected an array of integers"},
    {TENSOR(F32 "," ONE ",\"data_offsets\":[]"), 4, "found 0 data_offsets, expected 2"},
    {TENSOR(F32 "," ONE ",\"data_offsets\":[0]"), 4, "column 48: found 1 data_offsets, expected 2"},
    {TENSOR(F32 "," ONE ",\"data_offsets\":[0,4,8]"), 4, "found a further number, expected at most 2"},
    {TENSOR(F32 "," ONE ",\"data_offsets\":[0.0,4]"), 4, "found 0.0, expected an integer"},
    {TENSOR(F32 "," ONE ",\"data_offsets\":[0,4.5]"), 4, "found 4.5, expected an integer"},
    {TENSOR(F32 "," ONE ",\"data_offsets\":[\"0\",4]"), 4, "found '\"', expected an integer"},
    {TENSOR(F32 "," ONE ",\"data_offsets\":[-4,0]"), 4, "found -4, expected an integer"},
    {TENSOR(F32 "," ONE ",\"data_offsets\":[4,0]"), 4, "data_offsets are [4, 0], expected begin <= end <= 4"},
    {TENSOR(F32 "," ONE ",\"data_offsets\":[0,5]"), 4, "data_offsets are [0, 5], expected begin <= end <= 4"},
    {TENSOR(F32 "," ONE ",\"data_offsets\":[9223372036854775804,9223372036854775807]"), 4,
     "expected begin <= end <= 4"},
    {TENSOR(F32 "," ONE ",\"data_offsets\":[0,9223372036854775808]"), 4, "found 9223372036854775808, expected"},
    {TENSOR(F32 "," ONE "," AT0), 3, "data_offsets are [0, 4], expected begin <= end <= 3, the data's size"},
    {TENSOR(F32 "," ONE ",\"data_offsets\":[0,3]"), 4,
     "data_offsets span 3 bytes, expected 4 for this dtype and shape"},
    {TENSOR(F32 ",\"shape\":[],"
                "\"data_offsets\":[0,0]"),
     0, "data_offsets span 0 bytes, expected 4"},
    {TENSOR(F32 ",\"shape\":[0]," AT0), 4, "data_offsets span 4 bytes, expected 0"},
    {TENSOR("\"dtype\":\"F64\"," ONE "," AT0), 4, "data_offsets span 4 bytes, expected 8"},
    /* tiling */
    {TENSOR(F32 "," ONE "," AT0), 5, "the data has 5 bytes, expected 4, the tensors' size"},
    {"{}", 1, "the data has 1 bytes, expected 0"},
    {TENSOR(F32 "," ONE ",\"data_offsets\":[1,5]"), 5,
     "tensor \"w\": its values start at byte 1 of the data, expected 0"},
    {"{\"a\":{" F32 "," ONE "," AT0 "},\"b\":{" F32 "," ONE "," AT0 "}}", 4,
     "its values start at byte 0 of the data, expected 4"},
    {"{\"a\":{" F32 "," ONE "," AT0 "},\"b\":{" F32 "," ONE ",\"data_offsets\":[2,6]}}", 6,
     "tensor \"b\": its values start at byte 2 of the data, expected 4"},
    {"{\"b\":{" F32 "," ONE ",\"data_offsets\":[6,10]},\"a\":{" F32 "," ONE "," AT0 "}}", 10,
     "tensor \"b\": its values start at byte 6 of the data, expected 4"},
    {"{\"a\":{" F32 "," ONE "," AT0 "},\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]}}", 4,
     "tensor \"b\": its values start at byte 2 of the data, expected 4"},
    /* names */
    {"{\"w\":{" F32 "," ONE "," AT0 "},\"w\":{" F32 "," ONE ",\"data_offsets\":[4,8]}}", 8,
     "tensor \"w\": found the name twice"},
    {"{\"w\":{" F32 "," ONE "," AT0 "},\"\\u0077\":{" F32 "," ONE ",\"data_offsets\":[4,8]}}", 8,
     "tensor \"w\": found the name twice"},
    /* metadata */
    {"{\"__metadata__\":null}", 0, "column 17: found 'n', expected '{' of __metadata__"},
    {"{\"__metadata__\":[]}", 0, "found '[', expected '{' of __metadata__"},
    {"{\"__metadata__\":\"x\"}", 0, "expected '{' of __metadata__"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "column 22: found '1', expected a string: __metadata__ holds strings only"},
    {"{\"__metadata__\":{\"a\":null}}", 0, "found 'n', expected a string"},
    {"{\"__metadata__\":{\"a\":{}}}", 0, "found '{', expected a string"},
    {"{\"__metadata__\":{\"a\"}}", 0, "found '}', expected ':'"},
    {"{\"__metadata__\":{\"a\":\"b\",}}", 0, "found '}', expected a key"},
    {"{\"__metadata__\":{\"a\":\"b\" \"c\":\"d\"}}", 0, "found '\"', expected ',' or '}'"},
    {"{\"__metadata__\":{\"a\":\"\\u0000\"}}", 0, "found \\u0000"},
    {"{\"__metadata__\":{\"b\":\"1\",\"a\":\"2\",\"b\":\"1\"}}", 0, "found key \"b\" twice in __metadata__"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "column 20: found __metadata__ again, expected it once"},
};

static void malformed_headers_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        size_t size;
        char *bytes = make_bytes(malformed[i].header, malformed[i].data_size, &size);
        assert_refused(bytes, size, malformed[i].fragment);
        free(bytes);
    }
}

static void nul_bytes_in_the_header_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t size;
        const char *fragment;
    } headers[] = {
        {"{}\0", 3, "column 3: found byte 0x00, expected only spaces"},
        {"\0{}", 3, "column 1: found byte 0x00, expected '{'"},
        {"{\0}", 3, "column 2: found byte 0x00, expected a key"},
        {"{\"w\0\":{}}", 9, "column 4: found byte 0x00, expected a string without control characters"},
        {"{\"\\\0\":{}}", 9, "malformed escape"},
        {"{\"\\u\0\0\0\0\":{}}", 13, "malformed escape"},
        {"{\"w\":{\"shape\":[\0]}}", 19, "found byte 0x00, expected an integer"},
        {"{\"w\":{\"shape\":[1\0]}}", 20, "found byte 0x00, expected ',' or ']'"},
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        char bytes[64];
        const uint64_t length = headers[i].size;
        memcpy(bytes, &length, 8);
        memcpy(bytes + 8, headers[i].header, headers[i].size);
        assert_refused(bytes, 8 + headers[i].size, headers[i].fragment);
    }
}

static void wrong_lengths_are_refused(void **state)
{
    (void)state;
    char bytes[32] = {0};
    assert_refused(NULL, 0, "is no safetensors file: has 0 bytes, expected at least the 8 of a header's length");
    assert_refused(bytes, 7, "has 7 bytes, expected at least the 8");
    assert_refused(bytes, 8, "found the end, expected '{'");
    static const struct {
        uint64_t length;
        const char *fragment;
    } lengths[] = {
        {25,
         "is no whole safetensors file: byte 0: the header's length is 25, expected at most 24, what the file holds"},
        {100000000, "is 100000000, expected at most 24, what the file holds"},
        {100000001, "is 100000001, expected at most 100000000, the limit of the format"},
        {UINT64_MAX, "is 18446744073709551615, expected at most 100000000"},
        {UINT64_MAX - 7, "expected at most 100000000"},
        {UINT64_C(1) << 63, "expected at most 100000000"},
    };
    static const char text[] = "{\"name\": \"a JSON file\"}";
    assert_refused(
        text, strlen(text),
        "is no safetensors file: byte 0: the header's length is 4189022123868430971, expected at most 100000000");
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memcpy(bytes, &lengths[i].length, 8);
        assert_refused(bytes, sizeof bytes, lengths[i].fragment);
    }
}

static void a_header_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    const uint64_t length = 100000001;
    scratch_write(scratch_path(path, "beyond"), &length, 8);
    /* Sparse: it takes no room. */
    if (truncate(path, 8 + (off_t)length) != 0) skip();
    tensor_file *file;
    stpn_error error;
    assert_int_equal(tensor_file_read(&file, path, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "is 100000001, expected at most 100000000, the limit of the format"));
    assert_int_equal(unlink(path), 0);
}

/* A valid file's beginning is never valid, whatever its length. */
static void truncated_files_are_refused(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    size_t size;
    tensor_file *file = valid_file();
    assert_int_equal(tensor_file_save(file, scratch_path(path, "truncated"), NULL), STPN_OK);
    tensor_file_free(file);
    char *bytes = scratch_read(path, &size);
    for (size_t length = 0; length < size; length++) {
        char *part = malloc(length + 1);
        assert_non_null(part);
        memcpy(part, bytes, length);
        assert_refused(part, length, "expected");
        free(part);
    }
    free(bytes);
}

/* Any one byte changed: refused or read, never more than that (the sanitizers watch). */
static void corrupted_bytes_do_no_harm(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    size_t size;
    tensor_file *file = valid_file();
    assert_int_equal(tensor_file_save(file, scratch_path(path, "corrupted"), NULL), STPN_OK);
    tensor_file_free(file);
    char *bytes = scratch_read(path, &size);
    static const char replacements[] = "\0\"\\{}[],:0 9a-\x80\xff";
    int refused = 0, read = 0;
    for (size_t i = 0; i < size; i++)
        for (size_t k = 0; k < sizeof replacements - 1; k++) {
            char kept = bytes[i];
            bytes[i] = replacements[k];
            stpn_error error = {""};
            stpn_status status = tensor_file_parse(&file, "corrupted", bytes, size, &error);
            assert_true(status == STPN_OK || status == STPN_ERROR_INPUT);
            assert_int_equal(status == STPN_OK, error.message[0] == 0);
            assert_int_equal(status == STPN_OK, file != NULL);
            if (status == STPN_OK) read++;
            else refused++;
            tensor_file_free(file);
            bytes[i] = kept;
        }
    assert_true(refused > 1000);
    assert_true(read > 1000);
    free(bytes);
}

static void deep_nesting_is_refused_at_once(void **state)
{
    (void)state;
    enum { DEPTH = 1000000 };
    char *header = malloc(DEPTH + 16);
    assert_non_null(header);
    memcpy(header, "{\"w\":", 5);
    memset(header + 5, '[', DEPTH);
    header[DEPTH + 5] = 0;
    size_t size;
    char *bytes = make_bytes(header, 0, &size);
    assert_refused(bytes, size, "column 6: found '[', expected '{'");
    memset(header + 5, '{', DEPTH);
    memcpy(bytes + 8, header, DEPTH + 5);
    assert_refused(bytes, size, "column 7: found '{', expected a key");
    free(bytes);
    free(header);
}

/* The words that matter stay, however long the names. */
static void long_names_are_cut_in_messages(void **state)
{
    (void)state;
    enum { LENGTH = 5000 };
    char *name = malloc(LENGTH + 1), *header = malloc(LENGTH + 100);
    assert_non_null(name);
    assert_non_null(header);
    for (int shift = 0; shift < 3; shift++) {
        /* Characters of three bytes: a cut must not fall into one. */
        memset(name, 'x', LENGTH);
        for (int i = shift; i + 3 <= LENGTH; i += 3) memcpy(name + i, "\xe2\x82\xac", 3);
        name[LENGTH - (LENGTH - shift) % 3] = 0;
        snprintf(header, LENGTH + 100, "{\"%s\":{\"dtype\":\"F16\"}}", name);
        size_t size;
        char *bytes = make_bytes(header, 0, &size);
        stpn_error error = {""};
        tensor_file *file;
        assert_int_equal(tensor_file_parse(&file, name, bytes, size, &error), STPN_ERROR_INPUT);
        assert_non_null(strstr(error.message, "dtype F16 is not supported, expected one of F32, F64, I32, I64, U8"));
        assert_non_null(strstr(error.message, ": tensor \""));
        for (const char *at = error.message; *at; at++)
            if (*at == '\xe2') assert_memory_equal(at, "\xe2\x82\xac", 3);
        free(bytes);
    }
    free(header);
    free(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_aligned_wherever_they_lie),
        cmocka_unit_test(any_order_and_white_space_will_do),
        cmocka_unit_test(escapes_are_decoded),
        cmocka_unit_test(minimal_files_are_read),
        cmocka_unit_test(malformed_headers_are_refused),
        cmocka_unit_test(nul_bytes_in_the_header_are_refused),
        cmocka_unit_test(wrong_lengths_are_refused),
        cmocka_unit_test(a_header_beyond_the_limit_is_refused),
        cmocka_unit_test(truncated_files_are_refused),
        cmocka_unit_test(corrupted_bytes_do_no_harm),
        cmocka_unit_test(deep_nesting_is_refused_at_once),
        cmocka_unit_test(long_names_are_cut_in_messages),
    };
    return cmocka_run_group_tests_name("io/safetensors_read", tests, scratch_make, scratch_remove);
}
