/* Units made of products and cells: gates = W x + U h + b for the samples of a chunk at once, then one cell per sample.
 * The products, resets, lengths, energy and the gradients of the matrices are here; a unit adds its cell.
 *
 *     gates = Wx x + b             all steps of a block in one product
 *     gates += Wh h                step by step (a GRU keeps Wh h + bh apart)
 *     backward, per step: d = adjoint of the gates from the cell, dh += d Wh
 *     per segment of steps: dWx += d^T x, dWh += d^T h, db += d, dx = d Wx */
#ifndef STPN_UNITS_GATED_H
#define STPN_UNITS_GATED_H

#include "units/unit.h"

/* One step of one sample; rows of Hp values. */
typedef struct cell_step {
    void *gates;     // (groups, Hp), may be changed
    void *recurrent; // (groups, Hp) Wh h + bh where it is kept apart
    void *h;         // in: before the step; out: after. A unit without state: out only
    void *c;         // the same for a second state row
    void *tape;      // (tape_rows, Hp) or NULL
} cell_step;

typedef struct cell_back {
    const void *tape;     // of the step
    const void *h;        // after the step
    const void *h_before; // 0 after a reset
    const void *c_before; // the same for a second state row
    void *dh;             // in: adjoint of h after; out: what h before gets beside the products
    void *dc;             // the same for a second state row
    void *d;              // (groups, Hp) out: adjoint of the gates; kept apart: then (groups, Hp) of the recurrent part
} cell_back;

/* What stands in unit_type.details of such a unit. */
typedef struct gated_cell {
    int groups;    // of H gates
    int recurrent; // 0: W x + b alone, no state
    int apart;     // 1: the recurrent product is kept apart, and has a bias of its own
    int tape_rows; // rows of Hp values that the cell leaves for its backward step
    int c_row;     // row of the tape that holds the second state row after the step; -1: there is none
    void (*forward)(const unit *u, const cell_step *step);
    void (*backward)(const unit *u, const cell_back *step);
    unit_operations neuron; // what the cell costs per neuron
    const char *source;     // the cell of neuron j in C, see gated_source; NULL: the unit cannot be exported
} gated_cell;

/* Parameters `weight` (groups H, K) and `bias` (groups H), or, apart, `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`, at
 * the start U(+-1/sqrt(H)), not recurrent U(+-1/sqrt(I)); states `h`, `c` as the cell has them. */
void gated_plan(unit *u);
size_t gated_tape_values(const unit *u, int steps);
size_t gated_forward_bytes(const unit *u);
size_t gated_backward_bytes(const unit *u);
void gated_forward(const unit *u, const void *parameters, const unit_sweep *sweep, void *work);
void gated_backward(const unit *u, const void *parameters, void *gradient, const unit_back *back, void *work);
void gated_operations(const unit *u, unit_operations *count);
/* The products in C, then the cell's own text for each neuron j: p[g * H + j] is its gate g, q the recurrent part where that
 * is kept apart; it sets y[j], and c[j] where there is one. */
void gated_source(const unit *u, source_text *s);

#endif
