/* What a step of a network takes on digital hardware: operations, memory traffic, picojoules by a table. The plastic and
 * recurrent layers count, as in the energy of a crossbar; read-outs do not (docs/energy.md). */
#ifndef STPN_TRAIN_HARDWARE_H
#define STPN_TRAIN_HARDWARE_H

#include "io/json.h"
#include "net/net.h"

/* Picojoules of one operation on 32-bit values. */
typedef struct hardware_table {
    char name[64];
    double multiply_accumulate, multiply, accumulate, function, read, write;
} hardware_table;

/* 45 nm, arithmetic alone: 4.6 a multiply-accumulate, 3.7 a multiplication, 0.9 an addition. */
hardware_table hardware_default(void);
/* A table from a JSON file: {"name": "...", "multiply_accumulate": 4.6, ...}; a key left out costs 0. */
stpn_status hardware_read(hardware_table *table, const char *path, stpn_error *error);

/* Sums over the units of the net, one step of one sample. */
unit_operations hardware_operations(const stpn_net *net);
double hardware_picojoules(const unit_operations *count, const hardware_table *table);

/* {"multiply_accumulates", "multiplies", "accumulates", "functions", "bytes_read", "bytes_written", "picojoules", "table"}
 * of one step; NULL where memory is out. */
json_t *hardware_to_json(const unit_operations *count, const hardware_table *table);
/* Counts from such an object, for a table of another's; 0 where one is missing. */
int hardware_from_json(const json_t *object, unit_operations *count);

#endif
