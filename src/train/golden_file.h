/* What the kinds of golden files share: the file, read without trust, and the comparison. A kind is one file and one row
 * of the table in golden.c. */
#ifndef STPN_TRAIN_GOLDEN_FILE_H
#define STPN_TRAIN_GOLDEN_FILE_H

#include "io/safetensors.h"
#include "train/golden.h"
#include "units/unit.h"

enum { GOLDEN_TENSORS = 64 };

typedef struct golden {
    golden_report *report;
    tensor_file *file;
    const tensor_entry *seen[GOLDEN_TENSORS]; // what the kind expects, so that a tensor more is noticed
    int seen_count;
    stpn_unit options;
    int inputs, hidden, batch, steps; // as the metadata says; the tensors' shapes are checked against them
    unit plan; // names and shapes of the unit's tensors, before anything of their size is allocated
    stpn_error *error;
} golden;

stpn_status golden_verify_unit(golden *g);
stpn_status golden_verify_training(golden *g);
stpn_status golden_verify_a2c(golden *g);
stpn_status golden_verify_ppo(golden *g);

/* "FILE: ...", as STPN_ERROR_INPUT. */
stpn_status golden_complain(const golden *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- reading */

/* A size of the metadata, from 1 to UNIT_MAX_WIDTH. */
stpn_status golden_read_size(const golden *g, const char *key, int *size);
/* A number of the metadata: above 0 or, where `positive` is 0, from 0 on. */
stpn_status golden_read_number(const golden *g, const char *key, int positive, double *number);
/* The metadata that every kind has; opens `plan` (unit_close). */
stpn_status golden_read_metadata(golden *g);

typedef enum golden_role {
    GOLDEN_GIVEN,    // numbers, finite
    GOLDEN_EXPECTED, // numbers; one that is not finite fails as a comparison
    GOLDEN_INDEX     // integers
} golden_role;

typedef struct golden_shape {
    int rank, size[3];
} golden_shape;

/* Tensor PREFIX + NAME, which must be there with this shape and a type that fits its role. */
stpn_status golden_find(golden *g, const tensor_entry **entry, const char *prefix, const char *name, golden_role role,
                        golden_shape shape);
enum { GOLDEN_HEAD_TENSORS = 4 };
/* What the read-outs of a learner that acts are called and shaped: policy, of so many outputs, and value. */
void golden_heads(unit_tensor tensors[GOLDEN_HEAD_TENSORS], int outputs, int hidden);
/* Shape of a parameter, or with a batch above 0 of a state. */
golden_shape golden_shape_of(const unit_tensor *place, int batch);
/* An error where the file holds a tensor that was not found: it would seem verified. */
stpn_status golden_refuse_others(const golden *g);
/* An error where `steps` steps of the batch are more work than any golden file asks for. */
stpn_status golden_limit_work(const golden *g, double steps);
/* Integers from 0 to bound - 1; free with memory_free. */
stpn_status golden_read_indices(const golden *g, const tensor_entry *entry, int bound, int32_t **indices);

/* ---- computing and comparing */

/* Columns [begin, end) of a tensor's last axis. */
typedef struct column_range {
    int begin, end;
} column_range;

size_t golden_real_size(stpn_real real);
/* The values in type `real`, to be freed; 0 outside of `columns` (NULL: all). */
void *golden_values(const tensor_entry *entry, stpn_real real, const column_range *columns);
stpn_status golden_set_parameter(const golden *g, stpn_net *net, int index, const tensor_entry *entry, stpn_real real);

/* What a comparison is made in and held to; in double the tolerance is 1e-10. */
typedef struct golden_terms {
    stpn_real real;
    double tolerance; // of float
} golden_terms;

/* Adds a row to the report: `values` of type `real` against the file's. */
void golden_compare(golden *g, const tensor_entry *expected, stpn_real real, const void *values, golden_terms terms,
                    const column_range *columns);
stpn_status golden_compare_block(golden *g, const stpn_net *net, const void *block, int index,
                                 const tensor_entry *expected, golden_terms terms);

#endif
