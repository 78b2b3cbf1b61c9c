/* The file of a sweep (docs/sweeps.md), and the settings that it draws: a pure function of the file, so that any number of
 * processes agree on them without a word. */
#ifndef STPN_CLI_SWEEP_FILE_H
#define STPN_CLI_SWEEP_FILE_H

#include "base/buffer.h"
#include "cli/seeds.h"
#include "train/experiment.h"
#include "train/run.h"

enum { SWEEP_KEYS_MOST = 32 };

typedef enum sweep_search { SWEEP_GRID, SWEEP_RANDOM, SWEEP_HALVING } sweep_search;
typedef enum sweep_rank { SWEEP_AUTO, SWEEP_ACCURACY, SWEEP_LOSS, SWEEP_REWARD } sweep_rank;
typedef enum sweep_kind {
    SWEEP_VALUES,
    SWEEP_UNIFORM,
    SWEEP_LOG,
    SWEEP_INTEGER,
    SWEEP_LOG_INTEGER,
    SWEEP_KINDS
} sweep_kind;

typedef struct sweep_key {
    const char *name; // "train.learning_rate"
    sweep_kind kind;
    const json_t *values; // SWEEP_VALUES
    double low, high;     // the others
    int steps;            // of a range in a grid
} sweep_key;

/* What the table of keys fills. */
typedef struct sweep_options {
    int search, runs, seed, factor, rank;
    option_list budget; // of the first round and the last
} sweep_options;

typedef struct sweep {
    json_t *document; // the file
    char *experiment; // path of its experiment
    sweep_options options;
    seed_list seeds;
    sweep_key keys[SWEEP_KEYS_MOST];
    int key_count;
    const char **set; // (set_count) settings of every run: the file's, then the command line's
    int set_count;
    const char *budget_key; // what a budget counts: "train.epochs"
    int configurations;     // of the first round; one is drawn for each
    int rounds;             // 1 but for halving
} sweep;

/* Reads and checks the file; `set` are the command line's settings. 0, or the code to exit with after a message.
 * sweep_free in any case. */
int sweep_read(sweep *s, const char *path, const char *const *set, int set_count);
void sweep_free(sweep *s);

/* The setting of a key in configuration `index`, "train.learning_rate=0.003"; 0 where memory is out. */
int sweep_setting(const sweep *s, int index, int key, buffer *text);
/* What a round trains for, and how many configurations it has. */
int sweep_budget(const sweep *s, int round);
int sweep_kept(const sweep *s, int round);

/* The path in a summary that configurations are ranked by, and whether less is better. */
const char *sweep_measure(const sweep *s, int *ascending);
/* All that decides the runs, for the folder of the sweep; NULL where memory is out. */
json_t *sweep_resolved(const sweep *s);

#endif
