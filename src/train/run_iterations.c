/* Training in an environment: the loop over iterations, each an episode of every copy and an update from it. */
#include "base/error.h"
#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>

static void add_stats(a2c_stats *sums, const a2c_stats *s)
{
    sums->loss += s->loss;
    sums->policy_loss += s->policy_loss;
    sums->value_loss += s->value_loss;
    sums->concentration += s->concentration;
    sums->entropy += s->entropy;
    sums->gradient_norm += s->gradient_norm;
    sums->reward += s->reward;
}

/* Mean of the episodes since the latest row of metrics; NaN before one has ended. Whole episodes: one of every copy in each
 * iteration. */
static double mean_reward(const trainer *t)
{
    const progress_counts *c = &t->counts;
    if (t->run.experiment.train.rollout == 0) return c->since ? c->sums.reward / (double)c->since : NAN;
    return c->episodes.count ? c->episodes.reward / (double)c->episodes.count : NAN;
}

static double mean_of(const trainer *t, double sum)
{
    return t->counts.since ? sum / (double)t->counts.since : NAN;
}

static void report(trainer *t, int row_ended)
{
    if (!trainer_reports(t, row_ended)) return;
    const progress_counts *c = &t->counts;
    int iterations = t->run.experiment.train.iterations;
    double rate = t->lap_updates ? (double)t->lap_updates / fmax(t->reported - t->lap, CLOCK_LEAST) : t->rate;
    stpn_progress p = {.epoch = (int)c->epoch,
                       .epochs = iterations,
                       .updates_done = 1,
                       .updates = 1,
                       .loss = mean_of(t, c->sums.loss),
                       .accuracy = NAN,
                       .sequences_per_second = rate,
                       .seconds_left = rate > 0 ? (double)(iterations - c->epoch) / rate : NAN,
                       .epoch_ended = row_ended,
                       .validation_loss = NAN,
                       .environment = 1,
                       .reward = mean_reward(t)};
    t->options->progress(t->options->context, &p);
}

static stpn_status add_row(trainer *t, double energy, stpn_error *error)
{
    const a2c_stats *sums = &t->counts.sums;
    const progress_counts *c = &t->counts;
    const train_options *train = &t->run.experiment.train;
    metrics_row row = {
        .env = {.steps = c->epoch * train->batch * train->rollout,
                .episodes = c->episodes.count,
                .length = c->episodes.count ? (double)c->episodes.steps / (double)c->episodes.count : NAN,
                .reward = mean_reward(t),
                .loss = mean_of(t, sums->loss),
                .policy_loss = mean_of(t, sums->policy_loss),
                .value_loss = mean_of(t, sums->value_loss),
                .concentration = mean_of(t, sums->concentration),
                .entropy = mean_of(t, sums->entropy),
                .gradient_norm = mean_of(t, sums->gradient_norm),
                .energy = energy}};
    return trainer_add_row(t, &row, (double)t->lap_updates, error);
}

static stpn_status end_row(trainer *t, double energy, stpn_error *error)
{
    progress_counts *c = &t->counts;
    double reward = mean_reward(t);
    /* The first parameters are the best until an episode has ended. */
    int first = c->best_epoch == 0, unknown = isnan(reward), better = !unknown && (first || reward > c->best_reward);
    stpn_status status = add_row(t, energy, error);
    if (status) return status;
    if (better) c->best_reward = reward;
    trainer_keep_best(t, better || (first && unknown), t->run.net->parameters);
    if (first && unknown) c->best_epoch = 0;
    report(t, 1);
    c->since = 0;
    c->episodes = (rollout_episodes){0};
    c->sums = (a2c_stats){0};
    return STPN_OK;
}

static stpn_status iterate(trainer *t, stpn_error *error)
{
    const train_options *train = &t->run.experiment.train;
    progress_counts *c = &t->counts;
    a2c *agent = rollout_agent(t->run.rollout);
    a2c_stats stats;
    stpn_error inner = {{0}};
    int ends_row = (c->epoch + 1) % train->evaluate_every == 0 || c->epoch + 1 == train->iterations;
    /* It costs time, and that of one iteration is as good as that of all. */
    a2c_set_energy(agent, ends_row);
    stpn_status status = rollout_play(t->run.rollout, ACT_SAMPLE, &inner);
    if (!status) status = a2c_update(agent, rollout_next(t->run.rollout), &stats, &inner);
    if (status)
        return error_set(error, status, "%s: %s in iteration %" PRId64 "; %s is from before", t->folder, inner.message,
                         c->epoch + 1, RUN_LAST);
    c->epoch++;
    c->since++;
    add_stats(&c->sums, &stats);
    rollout_add_episodes(t->run.rollout, &c->episodes);
    t->lap_updates++;
    if (ends_row) status = end_row(t, stats.energy, error);
    else report(t, 0);
    return status ? status : trainer_end_epoch(t, error);
}

static stpn_status stopped(trainer *t, stpn_error *error)
{
    stpn_status status = trainer_save(t, error);
    if (status) return status;
    return error_set(error, STPN_STOPPED, "%s: stopped after iteration %" PRId64 ", saved", t->folder, t->counts.epoch);
}

stpn_status trainer_run_iterations(trainer *t, stpn_error *error)
{
    stpn_status status = STPN_OK;
    while (!status && !trainer_is_finished(t)) {
        if (trainer_stop_asked(t)) return stopped(t, error);
        status = iterate(t, error);
    }
    return status;
}
