/* Run folders, found and read for a comparison. */
#ifndef STPN_CLI_RUNS_H
#define STPN_CLI_RUNS_H

#include "cli/cli.h"

#include <sys/types.h>

typedef enum run_state { RUN_FINISHED, RUN_UNFINISHED, RUN_UNREADABLE } run_state;

typedef struct run_record {
    char *folder;
    dev_t device; // with `inode`: the folder, by whatever path
    ino_t inode;
    run_state state;
    json_t *experiment;  // of experiment.json, NULL where that cannot be read
    json_t *summary;     // NULL unless finished
    int64_t parameters;  // trained ones; -1: unknown
    double epochs_to_90; // NaN: unknown
} run_record;

typedef struct run_list {
    run_record *runs; // (count)
    int count, capacity;
    int met;  // runs that were met, those that were known already too
    int code; // the gravest of what was complained about
} run_list;

/* Adds the run in the folder `path`, or all runs in the folders below it, in the order of their names. A run that is not
 * finished or cannot be read is added too, and told on standard error. 0, or the code to exit with after a message:
 * nothing there is a run, memory is out. */
int runs_find(run_list *list, const char *path);
/* Adds one run. */
int runs_add(run_list *list, const char *folder);
void runs_free(run_list *list);

/* A value by its path in a document, "test.accuracy"; NULL where there is none. */
const json_t *json_at(const json_t *root, const char *path);
/* A number by its path; NaN where there is none. */
double number_at(const json_t *root, const char *path);

/* The network of an experiment's document, "stpn_r 20 scalar + stpn_f 8"; "?" where it has none. */
void network_text(const json_t *document, char *text, size_t size);

/* The first evaluation in the text of a metrics.csv whose validation accuracy is at least 90 % of the last one's: its
 * epoch; NaN where there is no such column or row. */
double epochs_to_90(const char *metrics);

#endif
