/* The units in double, straight from the text of the model: one sample, plain loops, the state of every step kept whole.
 * Slow, made to be read beside the equations; the library is tested against it and shares no code with it. */
#ifndef STPN_TESTS_REFERENCE_H
#define STPN_TESTS_REFERENCE_H

#include <stdint.h>
#include <stpn/stpn.h>

enum { REFERENCE_MOST_COLUMNS = 160, REFERENCE_MOST_HIDDEN = 80, REFERENCE_TENSORS = 8, REFERENCE_STATES = 3 };

/* How far a run stayed from where the model has a kink or a pole. */
typedef struct reference_closeness {
    double clamp_gap;  // least distance of |F^| from the clamp, of E from its bounds
    double branch_gap; // least size of a change of E by the soft rule; those of exactly 0 left out
    double norm;       // least norm of a row that was divided by
    double largest;    // largest value of a matrix of the state
    double spread;     // least standard deviation that a layer norm of several neurons divided by, all zeros left out
    int64_t flat;      // layer norms of several neurons, all zeros
    int64_t clamped;   // entries that were clipped
} reference_closeness;

/* Name and shape of a parameter, or of one sample's state; columns 0: a vector. */
typedef struct reference_tensor {
    const char *name;
    int rows, columns;
} reference_tensor;

typedef struct reference {
    stpn_unit unit;
    int inputs;
    const char *names[REFERENCE_TENSORS]; // parameters
    const double *values[REFERENCE_TENSORS];
    int count;
} reference;

/* What a unit is. Lists return their length; `before` and `after` have the states in the list's order. */
typedef struct reference_kind {
    const char *name;
    int (*parameters)(const stpn_unit *unit, int inputs, reference_tensor *list);
    int (*states)(const stpn_unit *unit, int inputs, reference_tensor *list);
    /* One step: the states after it, the output h (H); returns the energy. */
    double (*step)(const reference *r, const double *x, const double *const *before, double *const *after, double *h,
                   reference_closeness *close);
} reference_kind;

extern const reference_kind reference_stpn_r, reference_stpn_f, reference_rnn, reference_lstm, reference_gru,
    reference_mlp, reference_fast_weights, reference_hebbff, reference_plastic, reference_modplast, reference_modul;

/* NULL where there is no unit of that name. */
const reference_kind *reference_find(const char *name);

/* Parameter `name`; NULL: the unit has none. */
const double *reference_parameter(const reference *r, const char *name);

/* Columns [*begin, *end) of a matrix of the state that may hold values. */
void reference_range(const stpn_unit *unit, int inputs, int *begin, int *end);

/* Values of one sample's state, and of one tensor of it or of the parameters. */
int reference_state_values(const stpn_unit *unit, int inputs);
int reference_values(const reference_tensor *t);

/* x (T, I); live, reset (T), NULL: all, none. state (T + 1, V) holds the starting state, tensor after tensor, in row 0
 * and gets the state after step t in row t + 1 (a reset also zeroes row t). y (T, H) and energy (T); energy is added to. */
void reference_run(const reference *r, int steps, const double *x, const uint8_t *live, const uint8_t *reset,
                   double *state, double *y, double *energy, reference_closeness *close);

/* For the kinds: W (rows, columns) times v; sum of v_k^2 |W_jk|; 1 / (1 + exp(-s)); layer norm with gain and offset. */
void reference_product(int rows, int columns, const double *W, const double *v, double *out);
double reference_power(int rows, int columns, const double *W, const double *v);
double reference_sigmoid(double s);
void reference_layer_norm(int H, double *s, const double *gain, const double *offset, reference_closeness *close);
/* The list of a state h alone. */
int reference_state_h(const stpn_unit *unit, int inputs, reference_tensor *list);

#endif
