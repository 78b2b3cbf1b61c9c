/* metrics.csv: one row per evaluation, kept as text and written whole, so that a kill leaves a readable file. */
#ifndef STPN_IO_METRICS_H
#define STPN_IO_METRICS_H

#include "base/buffer.h"

#include <stpn/stpn.h>

/* What the task measures beside the loss; the columns of what it does not are left out. METRICS_REWARD or METRICS_PPO: an
 * environment, whose columns are others, and in which A2C or PPO learns; with METRICS_EPISODES its episodes have any length,
 * so that a row may have none. */
enum { METRICS_ACCURACY = 1, METRICS_RATES = 2, METRICS_REWARD = 4, METRICS_EPISODES = 8, METRICS_PPO = 16 };

typedef struct metrics {
    int measures;
    buffer text;
    double seconds; // of the last row
} metrics;

typedef struct metrics_row {
    int64_t epoch, updates; // of an environment: iteration
    double train_loss, train_accuracy, validation_loss, validation_accuracy;
    double validation_true_positive_rate, validation_false_positive_rate;
    double validation_energy, learning_rate;
    double seconds, sequences_per_second;
    struct metrics_env {
        double reward, loss, policy_loss, value_loss, concentration, entropy, gradient_norm, energy;
        double iterations_per_second;
        int64_t steps, episodes; // agent steps so far; episodes that have ended since the row before
        double length;           // steps of one
        double kl, clip_fraction, explained_variance;
    } env; // of an environment
} metrics_row;

stpn_status metrics_start(metrics *m, int measures, stpn_error *error);
/* Takes over the rows up to `epoch`; a file that is missing gives none. */
stpn_status metrics_resume(metrics *m, int measures, const char *path, int64_t epoch, stpn_error *error);
stpn_status metrics_add(metrics *m, const metrics_row *row, stpn_error *error);
stpn_status metrics_save(const metrics *m, const char *path, stpn_error *error);
void metrics_free(metrics *m);

#endif
