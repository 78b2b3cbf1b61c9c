/* Where an experiment's data lie: a relative path of a file of data starts from the folder of the experiment file. A run's
 * experiment.json keeps the path as it was given; origin.txt beside it holds the folder, so that nothing else in a run
 * depends on the machine, and on a second line size and CRC32 of the file. */
#ifndef STPN_TRAIN_ORIGIN_H
#define STPN_TRAIN_ORIGIN_H

#include "tasks/task.h"

/* The folder of the experiment file at `path`; for a run's, the one its origin.txt names. */
stpn_status origin_find(char folder[TASK_PATH], const char *path, stpn_error *error);
/* "1234 bytes, CRC32 1a2b3c4d" of the file that the task reads; nothing where it reads none. */
enum { ORIGIN_PRINT = 64 };
stpn_status origin_print(const task_options *options, char print[ORIGIN_PRINT], stpn_error *error);
/* Leaves origin.txt in a run's folder where the task reads a file. */
stpn_status origin_save(const task_options *options, const char *run_folder, stpn_error *error);
/* An error where the file is not the one that the run was started with. */
stpn_status origin_check(const task_options *options, const char *run_folder, stpn_error *error);

#endif
