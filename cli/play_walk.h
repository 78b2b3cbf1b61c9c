/* One agent on one episode of its environment, step by step, and what each step does to its synapses. */
#ifndef STPN_CLI_PLAY_WALK_H
#define STPN_CLI_PLAY_WALK_H

#include "train/run.h"

/* A state that is a matrix over synapses: F of an STPN layer. */
typedef struct walk_synapses {
    char name[32]; // "units.0.F"
    int index;     // of the state tensor
    int unit;
    int rows, columns;     // H, K
    int inputs;            // columns that are the unit's inputs; those behind are its neurons
    float *before, *after; // (H, K) around the latest step
} walk_synapses;

typedef struct walk_change {
    int synapses; // which of them
    int row, column;
    float before, after;
} walk_change;

typedef struct walk {
    const run *run; // not owned
    uint64_t seed;
    int greedy;
    env *env;
    stpn_state *state;
    float *x;       // (I) what is there to see now
    float *seen;    // (I) that, as the net sees it
    float *y;       // (H)
    float *logits;  // (A)
    float *policy;  // (A) probabilities that the latest action was taken by
    int32_t action; // that one
    float value;    // as it was expected then
    int step;       // steps made; before the first there are no action, policy and value
    float reward;   // of the latest step
    double total;   // of all
    int64_t goals;  // reached
    int hit;        // whether the latest step reached one
    walk_synapses *synapses;
    int synapses_count; // 0: no synapse of the net changes
    char *map;          // lines of text as the environment draws itself
    int rows, columns;  // of it
    int *visited;       // (rows, columns) step after which the agent stood there last, plus 1; 0: never
    int since;          // step after which it was put where its way to the next goal starts
} walk;

/* Of a run in an environment; `seed` decides the episode and the actions that are drawn. With the run's own seed it is
 * the first episode of the test that stpn eval makes. */
stpn_status walk_open(walk *w, const run *r, uint64_t seed, int greedy, stpn_error *error);
void walk_close(walk *w);

/* To the start of the episode. */
stpn_status walk_start(walk *w, stpn_error *error);
stpn_status walk_step(walk *w, stpn_error *error);

/* The strongest changes of the latest step, by size; returns how many there are, at most `most`. */
int walk_changes(const walk *w, int most, walk_change *list);
/* Where a synapse comes from, in words: "wall above", "neuron 12". */
void walk_source(const walk *w, const walk_synapses *s, int column, char *text, size_t size);
/* And the neuron that it leads to: "12", or with its unit where there are several, "1:12". */
void walk_target(const walk *w, const walk_synapses *s, int row, char *text, size_t size);

#endif
