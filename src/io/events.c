/* An event file is a sequence of records (TFRecord): u64 length, u32 CRC of the length, the data, u32 CRC of the data,
 * little-endian, CRC32C rotated and offset. The data of a record is one protocol buffer:
 *
 *   Event   1 wall_time: double    2 step: int64    3 file_version: string (first record only)    5 summary: Summary
 *   Summary 1 value: repeated { 1 tag: string    2 simple_value: float }
 */
#include "io/events.h"

#include "base/error.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/memory.h"
#include "base/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FILE_LIMIT = 1 << 30,
    LENGTH_BYTES = 12, /* of a record's length and its CRC */
    CLOCK_PLACE = LENGTH_BYTES + 1,
    VERSION_RECORD = LENGTH_BYTES + 24 + 4,
    NAME_MOST = 64,
    /* Fields with their types, as the protocol writes them. */
    EVENT_WALL_TIME = 1 << 3 | 1,
    EVENT_STEP = 2 << 3,
    EVENT_FILE_VERSION = 3 << 3 | 2,
    EVENT_SUMMARY = 5 << 3 | 2,
    SUMMARY_VALUE = 1 << 3 | 2,
    VALUE_TAG = 1 << 3 | 2,
    VALUE_SIMPLE = 2 << 3 | 5
};

/* ----------------------------------------------------------------------------------------------------------- records */

/* CRC32C (Castagnoli), half a byte at a time. */
static uint32_t masked_crc(const char *data, size_t size)
{
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                                       0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                       0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= (unsigned char)data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8U;
}

static int append_byte(buffer *b, int byte)
{
    char one = (char)byte;
    return buffer_append(b, &one, 1);
}

static int append_varint(buffer *b, uint64_t value)
{
    for (; value >= 128; value >>= 7)
        if (!append_byte(b, (int)(value & 127) | 128)) return 0;
    return append_byte(b, (int)value);
}

/* A field of a given length. */
static int append_field(buffer *b, int field, const char *data, size_t size)
{
    return append_byte(b, field) && append_varint(b, size) && buffer_append(b, data, size);
}

static int append_record(buffer *b, const buffer *event)
{
    uint64_t length = event->size;
    char bytes[sizeof length];
    memcpy(bytes, &length, sizeof length);
    uint32_t length_crc = masked_crc(bytes, sizeof bytes), data_crc = masked_crc(event->data, event->size);
    return buffer_append(b, bytes, sizeof bytes) && buffer_append(b, (const char *)&length_crc, sizeof length_crc) &&
           buffer_append(b, event->data, event->size) && buffer_append(b, (const char *)&data_crc, sizeof data_crc);
}

static int append_clock(buffer *b, double wall_time)
{
    return append_byte(b, EVENT_WALL_TIME) && buffer_append(b, (const char *)&wall_time, sizeof wall_time);
}

/* The record that a file starts with. */
static int append_version(buffer *b, double wall_time)
{
    static const char version[] = "brain.Event:2";
    buffer event = {0};
    int done = append_clock(&event, wall_time) &&
               append_field(&event, EVENT_FILE_VERSION, version, sizeof version - 1) && append_record(b, &event);
    buffer_free(&event);
    return done;
}

/* -------------------------------------------------------------------------------------------------------------- rows */

/* One column: a heading and, at the same place of a row, its text. */
typedef struct cell {
    const char *name, *text;
    int name_length, length;
} cell;

/* The next column of a heading and a row, which both end at a line's end; 0 where the heading has no more. */
static int next_cell(const char **names, const char **texts, cell *c)
{
    *c = (cell){.name = *names, .text = *texts};
    c->name_length = (int)strcspn(c->name, ",\n");
    c->length = (int)strcspn(c->text, ",\n");
    *names += c->name_length + (c->name[c->name_length] == ',');
    *texts += c->length + (c->text[c->length] == ',');
    return c->name_length > 0;
}

static int is_named(const cell *c, const char *name)
{
    return (size_t)c->name_length == strlen(name) && memcmp(c->name, name, (size_t)c->name_length) == 0;
}

/* TensorBoard shows what has the same words before the slash together: "train_loss" is "loss/train". */
static void make_tag(const cell *c, char tag[2 * NAME_MOST])
{
    static const char *const sets[] = {"train_", "validation_", "test_"};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        int length = (int)strlen(sets[i]);
        if (c->name_length <= length || memcmp(c->name, sets[i], (size_t)length) != 0) continue;
        snprintf(tag, 2 * NAME_MOST, "%.*s/%.*s", c->name_length - length, c->name + length, length - 1, c->name);
        return;
    }
    snprintf(tag, 2 * NAME_MOST, "%.*s", c->name_length, c->name);
}

static int append_value(buffer *summary, const cell *c, double number)
{
    char tag[2 * NAME_MOST];
    float value = (float)number;
    buffer inner = {0};
    make_tag(c, tag);
    int done = append_field(&inner, VALUE_TAG, tag, strlen(tag)) && append_byte(&inner, VALUE_SIMPLE) &&
               buffer_append(&inner, (const char *)&value, sizeof value) &&
               append_field(summary, SUMMARY_VALUE, inner.data, inner.size);
    buffer_free(&inner);
    return done;
}

/* A column that holds no number has no value in that step. */
static int append_row(events *e, const char *names, const char *row)
{
    buffer event = {0}, summary = {0};
    int64_t step = 0;
    double seconds = 0;
    cell c;
    int done = 1;
    while (done && next_cell(&names, &row, &c)) {
        char *after;
        double number = strtod(c.text, &after);
        if (c.length == 0 || after != c.text + c.length || isnan(number) || c.name_length > NAME_MOST) continue;
        if (is_named(&c, "epoch") || is_named(&c, "iteration")) {
            step = strtoll(c.text, NULL, 10);
            continue;
        }
        if (is_named(&c, "seconds")) seconds = number;
        done = append_value(&summary, &c, number);
    }
    done = done && append_clock(&event, e->start + seconds) && append_byte(&event, EVENT_STEP) &&
           append_varint(&event, (uint64_t)step) && append_field(&event, EVENT_SUMMARY, summary.data, summary.size) &&
           append_record(&e->records, &event);
    buffer_free(&summary);
    buffer_free(&event);
    return done;
}

/* The rows of `m` that are not there yet. */
static stpn_status take_rows(events *e, const metrics *m, stpn_error *error)
{
    locale_t plain, before = number_plain(&plain);
    if (!before) return error_memory(error, "the events");
    int done = e->records.size > 0 || append_version(&e->records, e->start);
    const char *names = m->text.data;
    while (done) {
        const char *row = m->text.data + e->taken, *end = strchr(row, '\n');
        if (!end) break;
        if (e->taken > 0) done = append_row(e, names, row);
        if (done) e->taken = (size_t)(end + 1 - m->text.data);
    }
    number_restore(before, plain);
    return done ? STPN_OK : error_memory(error, "the events");
}

/* -------------------------------------------------------------------------------------------------------------- file */

/* Where an earlier process wrote the file, its clock goes on, and with it every byte is the same again. */
static stpn_status take_start(events *e, const char *file, size_t size, stpn_error *error)
{
    double start;
    buffer record = {0};
    if (size < VERSION_RECORD) return STPN_OK;
    memcpy(&start, file + CLOCK_PLACE, sizeof start);
    if (!append_version(&record, start)) return error_memory(error, "the events");
    if (isfinite(start) && memcmp(record.data, file, VERSION_RECORD) == 0) e->start = start;
    buffer_free(&record);
    return STPN_OK;
}

/* Sets on_file to the size of a file whose bytes the records start with, else leaves it 0. */
static stpn_status look_at_file(events *e, const metrics *m, const char *path, stpn_error *error)
{
    char *file = NULL;
    size_t size = 0;
    stpn_status status = file_exists(path) ? file_read(path, FILE_LIMIT, &file, &size, error) : STPN_OK;
    /* What is too large to be compared is written anew. */
    if (status == STPN_ERROR_INPUT && file_is_regular(path)) {
        error_clear(error);
        status = STPN_OK;
    }
    if (status) return status;
    e->start = machine_clock() - m->seconds;
    status = take_start(e, file, size, error);
    if (!status) status = take_rows(e, m, error);
    if (!status && size <= e->records.size && memcmp(file ? file : "", e->records.data, size) == 0) e->on_file = size;
    memory_free(file);
    return status;
}

stpn_status events_save(events *e, const metrics *m, const char *path, stpn_error *error)
{
    stpn_status status = e->on_file ? take_rows(e, m, error) : look_at_file(e, m, path, error);
    int appended = 0;
    if (!status && e->on_file)
        status =
            file_append(path, e->on_file, e->records.data + e->on_file, e->records.size - e->on_file, &appended, error);
    file_part all = {e->records.data, e->records.size};
    if (!status && !appended) status = file_replace(path, &all, 1, error);
    /* After a failure the file is looked at anew. */
    if (status) events_free(e);
    else e->on_file = e->records.size;
    return status;
}

void events_free(events *e)
{
    buffer_free(&e->records);
    *e = (events){0};
}
