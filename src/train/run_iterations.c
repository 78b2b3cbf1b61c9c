/* Training in an environment: the loop over iterations, each a rollout or an episode of every copy, and the update from it
 * by the learner of the experiment, A2C or PPO. */
#include "base/error.h"
#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>

/* ------------------------------------------------------------------------------------------------- what a learner tells */

static double mean_of(const trainer *t, double sum)
{
    return t->counts.since ? sum / (double)t->counts.since : NAN;
}

static void add_a2c(a2c_stats *sums, const a2c_stats *s)
{
    sums->loss += s->loss;
    sums->policy_loss += s->policy_loss;
    sums->value_loss += s->value_loss;
    sums->concentration += s->concentration;
    sums->entropy += s->entropy;
    sums->gradient_norm += s->gradient_norm;
    sums->reward += s->reward;
}

static void add_ppo(ppo_stats *sums, const ppo_stats *s)
{
    sums->loss += s->loss;
    sums->policy_loss += s->policy_loss;
    sums->value_loss += s->value_loss;
    sums->entropy += s->entropy;
    sums->kl += s->kl;
    sums->clip_fraction += s->clip_fraction;
    sums->explained_variance += s->explained_variance;
    sums->gradient_norm += s->gradient_norm;
}

/* Means over the iterations since the latest row. */
static struct metrics_env means_of_a2c(const trainer *t)
{
    const a2c_stats *sums = &t->counts.sums;
    return (struct metrics_env){.loss = mean_of(t, sums->loss),
                                .policy_loss = mean_of(t, sums->policy_loss),
                                .value_loss = mean_of(t, sums->value_loss),
                                .concentration = mean_of(t, sums->concentration),
                                .entropy = mean_of(t, sums->entropy),
                                .gradient_norm = mean_of(t, sums->gradient_norm)};
}

static struct metrics_env means_of_ppo(const trainer *t)
{
    const ppo_stats *sums = &t->counts.ppo;
    return (struct metrics_env){.loss = mean_of(t, sums->loss),
                                .policy_loss = mean_of(t, sums->policy_loss),
                                .value_loss = mean_of(t, sums->value_loss),
                                .entropy = mean_of(t, sums->entropy),
                                .kl = mean_of(t, sums->kl),
                                .clip_fraction = mean_of(t, sums->clip_fraction),
                                .explained_variance = mean_of(t, sums->explained_variance),
                                .gradient_norm = mean_of(t, sums->gradient_norm)};
}

static struct metrics_env means(const trainer *t)
{
    return rollout_ppo(t->run.rollout) ? means_of_ppo(t) : means_of_a2c(t);
}

/* The energy costs time, and that of one iteration is as good as that of all. */
static void want_energy(const rollout *r, int wanted)
{
    if (rollout_ppo(r)) ppo_set_energy(rollout_ppo(r), wanted);
    else a2c_set_energy(rollout_agent(r), wanted);
}

static stpn_status update(trainer *t, double *energy, stpn_error *error)
{
    rollout *r = t->run.rollout;
    if (rollout_ppo(r)) {
        ppo_stats stats;
        stpn_status status = ppo_update(rollout_ppo(r), rollout_next(r), &stats, error);
        if (status) return status;
        add_ppo(&t->counts.ppo, &stats);
        *energy = stats.energy;
        return STPN_OK;
    }
    a2c_stats stats;
    stpn_status status = a2c_update(rollout_agent(r), rollout_next(r), &stats, error);
    if (status) return status;
    add_a2c(&t->counts.sums, &stats);
    *energy = stats.energy;
    return STPN_OK;
}

/* ----------------------------------------------------------------------------------------------------------- the loop */

/* Mean of the episodes since the latest row of metrics; NaN before one has ended. Whole episodes: one of every copy in each
 * iteration. */
static double mean_reward(const trainer *t)
{
    const progress_counts *c = &t->counts;
    if (t->run.experiment.train.rollout == 0) return mean_of(t, c->sums.reward);
    return c->episodes.count ? c->episodes.reward / (double)c->episodes.count : NAN;
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
                       .loss = means(t).loss,
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
    const progress_counts *c = &t->counts;
    const rollout_episodes *ended = &c->episodes;
    const train_options *train = &t->run.experiment.train;
    metrics_row row = {.env = means(t)};
    row.env.steps = c->epoch * train->batch * train->rollout;
    row.env.episodes = ended->count;
    row.env.length = ended->count ? (double)ended->steps / (double)ended->count : NAN;
    row.env.reward = mean_reward(t);
    row.env.energy = energy;
    return trainer_add_row(t, &row, (double)t->lap_updates, error);
}

/* PPO's rewards are those of the parameters before the update, and of what observations were scaled by then. */
static void keep_best(trainer *t, int is_better)
{
    const rollout *r = t->run.rollout;
    if (is_better && t->best_scaling.width) scaling_copy(&t->best_scaling, rollout_scaling_before(r));
    trainer_keep_best(t, is_better, rollout_ppo(r) ? ppo_parameters_before(rollout_ppo(r)) : t->run.net->parameters);
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
    keep_best(t, better || (first && unknown));
    if (first && unknown) c->best_epoch = 0;
    report(t, 1);
    c->since = 0;
    c->episodes = (rollout_episodes){0};
    c->sums = (a2c_stats){0};
    c->ppo = (ppo_stats){0};
    return STPN_OK;
}

static stpn_status iterate(trainer *t, stpn_error *error)
{
    const train_options *train = &t->run.experiment.train;
    progress_counts *c = &t->counts;
    double energy;
    stpn_error inner = {{0}};
    int ends_row = (c->epoch + 1) % train->evaluate_every == 0 || c->epoch + 1 == train->iterations;
    want_energy(t->run.rollout, ends_row);
    stpn_status status = rollout_play(t->run.rollout, ACT_SAMPLE, &inner);
    if (!status) status = update(t, &energy, &inner);
    if (status)
        return error_set(error, status, "%s: %s in iteration %" PRId64 "; %s is from before", t->folder, inner.message,
                         c->epoch + 1, RUN_LAST);
    c->epoch++;
    c->since++;
    rollout_add_episodes(t->run.rollout, &c->episodes, &c->latest);
    t->lap_updates++;
    t->made++;
    if (ends_row) status = end_row(t, energy, error);
    else report(t, 0);
    return trainer_end_epoch(t, status, error);
}

static stpn_status stopped(trainer *t, stpn_error *error)
{
    stpn_status status = trainer_save(t, error);
    if (status) return status;
    return error_set(error, STPN_STOPPED, "%s: stopped after iteration %" PRId64 ", saved", t->folder, t->counts.epoch);
}

stpn_status trainer_run_iterations(trainer *t, stpn_error *error)
{
    const scaling *observations = rollout_scaling(t->run.rollout);
    stpn_status status = STPN_OK;
    if (observations->width) status = scaling_open(&t->best_scaling, observations->width, error);
    status = trainer_meet(t, status, INFINITY, error);
    while (!status && !trainer_is_finished(t)) {
        if (t->stops) return stopped(t, error);
        status = iterate(t, error);
    }
    if (t->run.scaling.width) scaling_copy(&t->run.scaling, observations);
    return status;
}
