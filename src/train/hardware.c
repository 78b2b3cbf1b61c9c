#include "train/hardware.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

/* Values are counted as 32-bit numbers, whatever type a net computes in. */
enum { VALUE_BYTES = 4 };

#define FIELD(name) offsetof(hardware_table, name)
#define COUNT(name) offsetof(unit_operations, name)

static const double most = 1e12;

static const option table_keys[] = {
    {"multiply_accumulate", OPTION_NUMBER, FIELD(multiply_accumulate), NULL, 0, most, "a b + c"},
    {"multiply", OPTION_NUMBER, FIELD(multiply), NULL, 0, most, "a b"},
    {"accumulate", OPTION_NUMBER, FIELD(accumulate), NULL, 0, most, "a + b"},
    {"function", OPTION_NUMBER, FIELD(function), NULL, 0, most, "tanh, sigmoid, exp, root, division"},
    {"read", OPTION_NUMBER, FIELD(read), NULL, 0, most, "one value from memory"},
    {"write", OPTION_NUMBER, FIELD(write), NULL, 0, most, "one value to memory"},
};

enum { TABLE_KEYS = sizeof table_keys / sizeof *table_keys };

/* Counts as they stand in a summary; traffic is told in bytes. */
static const struct {
    const char *key;
    size_t offset;
    double unit;
} counts[] = {
    {"multiply_accumulates", COUNT(multiply_accumulates), 1},
    {"multiplies", COUNT(multiplies), 1},
    {"accumulates", COUNT(accumulates), 1},
    {"functions", COUNT(functions), 1},
    {"bytes_read", COUNT(reads), VALUE_BYTES},
    {"bytes_written", COUNT(writes), VALUE_BYTES},
};

enum { COUNTS = sizeof counts / sizeof *counts };

hardware_table hardware_default(void)
{
    return (hardware_table){.name = "45nm", .multiply_accumulate = 4.6, .multiply = 3.7, .accumulate = 0.9};
}

stpn_status hardware_read(hardware_table *table, const char *path, stpn_error *error)
{
    static const char *const others[] = {"name", "note", NULL};
    json_t *root;
    const char *name;
    *table = (hardware_table){0};
    stpn_status status = json_read_file(&root, path, error);
    if (status) return status;
    stpn_error inner = {{0}};
    status = json_text(root, "", "name", &name, &inner);
    if (!status && strlen(name) >= sizeof table->name)
        status = error_set(&inner, STPN_ERROR_INPUT, "name has %zu characters, expected at most %zu", strlen(name),
                           sizeof table->name - 1);
    if (!status) snprintf(table->name, sizeof table->name, "%s", name);
    if (!status) status = options_from_json(root, "", table_keys, TABLE_KEYS, others, table, &inner);
    if (status) error_set(error, status, "%s: %s", path, inner.message);
    json_decref(root);
    return status;
}

unit_operations hardware_operations(const stpn_net *net)
{
    unit_operations total = {0};
    for (int i = 0; i < net->unit_count; i++) {
        unit_operations own = {0};
        net->units[i].type->operations(&net->units[i], &own);
        total.multiply_accumulates += own.multiply_accumulates;
        total.multiplies += own.multiplies;
        total.accumulates += own.accumulates;
        total.functions += own.functions;
        total.reads += own.reads;
        total.writes += own.writes;
    }
    return total;
}

double hardware_picojoules(const unit_operations *c, const hardware_table *t)
{
    return c->multiply_accumulates * t->multiply_accumulate + c->multiplies * t->multiply +
           c->accumulates * t->accumulate + c->functions * t->function + c->reads * t->read + c->writes * t->write;
}

static double *count_at(const unit_operations *count, int index)
{
    return (double *)((uintptr_t)count + counts[index].offset);
}

json_t *hardware_to_json(const unit_operations *count, const hardware_table *table)
{
    json_t *object = json_object();
    int failed = object == NULL;
    for (int i = 0; i < COUNTS && !failed; i++)
        failed = json_object_set_new(object, counts[i].key, json_real(*count_at(count, i) * counts[i].unit));
    failed |= json_object_set_new(object, "picojoules", json_real(hardware_picojoules(count, table)));
    failed |= json_object_set_new(object, "table", json_string(table->name));
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

int hardware_from_json(const json_t *object, unit_operations *count)
{
    *count = (unit_operations){0};
    for (int i = 0; i < COUNTS; i++) {
        const json_t *value = json_object_get(object, counts[i].key);
        if (!json_is_number(value)) return 0;
        *count_at(count, i) = json_number_value(value) / counts[i].unit;
    }
    return 1;
}
