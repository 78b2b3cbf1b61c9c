/* An STPN unit in double, straight from the text of the model: one sample, plain loops, F of every step kept whole.
 * Slow, made to be read beside the equations; the library is tested against it and shares no code with it.
 *
 *     G_j = W_j + F_j(t)      n_j = ||G_j|| + 1e-16 (1 for norm none)      h_j = act(LN(G_j . z / n_j + b_j))
 *     F~_j = F_j / n_j (pre) or F_j      P_jk = h_j v_k      v = z, or z_k - sum_m h_m F_mk (oja)
 *     F^ = Lambda F~ + Gamma P (after) or Lambda (F~ + Gamma P) (prompt), then clip, then / ||W + F^|| (post)
 *
 * What would be divided by a norm of exactly 0 is 0. */
#ifndef STPN_TESTS_REFERENCE_H
#define STPN_TESTS_REFERENCE_H

#include <stdint.h>
#include <stpn/stpn.h>

enum { REFERENCE_MOST_COLUMNS = 160, REFERENCE_MOST_HIDDEN = 80 };

/* How far a run stayed from where the model has a kink or a pole. */
typedef struct reference_closeness {
    double clamp_gap; // least distance of |F^| from the clamp
    double norm;      // least norm of a row that was divided by
    double largest;   // largest |F|
    double spread;    // least standard deviation that a layer norm of several neurons divided by, all zeros left out
    int64_t flat;     // layer norms of several neurons, all zeros
    int64_t clamped;  // entries that were clipped
} reference_closeness;

/* Parameters by their names; shapes as the options say. NULL: the unit has none. */
typedef struct reference {
    stpn_unit unit;
    int inputs;
    const double *weight, *bias, *lambda, *gamma, *ln_weight, *ln_bias;
} reference;

/* Presynaptic columns K, and those [*begin, *end) that carry F. */
int reference_columns(const stpn_unit *unit, int inputs);
void reference_plastic(const stpn_unit *unit, int inputs, int *begin, int *end);

/* x (T, I); live, reset (T), NULL: all, none. F (T + 1, H, K) and h (T + 1, H) hold the starting state in row 0 and get
 * the state after step t in row t + 1 (a reset also zeroes row t). y (T, H) and energy (T); energy is added to. */
void reference_run(const reference *r, int steps, const double *x, const uint8_t *live, const uint8_t *reset, double *F,
                   double *h, double *y, double *energy, reference_closeness *closeness);

#endif
