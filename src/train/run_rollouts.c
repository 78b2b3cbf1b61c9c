/* Training with PPO: the loop over iterations, each a rollout and the update from it. */
#include "base/error.h"
#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>

static void add_stats(ppo_stats *sums, const ppo_stats *s)
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

static double mean_of(const trainer *t, double sum)
{
    return t->counts.since ? sum / (double)t->counts.since : NAN;
}

/* NaN where no episode has ended. */
static double mean_reward(const trainer *t)
{
    const rollout_episodes *e = &t->counts.episodes;
    return e->count ? e->reward / (double)e->count : NAN;
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
                       .loss = mean_of(t, c->ppo.loss),
                       .accuracy = NAN,
                       .sequences_per_second = rate,
                       .seconds_left = rate > 0 ? (double)(iterations - c->epoch) / rate : NAN,
                       .epoch_ended = row_ended,
                       .validation_loss = NAN,
                       .environment = 1,
                       .reward = mean_reward(t)};
    t->options->progress(t->options->context, &p);
}

static int64_t steps_each(const trainer *t)
{
    const experiment *e = &t->run.experiment;
    return (int64_t)e->train.rollout * e->train.batch;
}

static stpn_status add_row(trainer *t, double energy, stpn_error *error)
{
    const ppo_stats *sums = &t->counts.ppo;
    const rollout_episodes *e = &t->counts.episodes;
    metrics_row row = {.env = {.steps = t->counts.epoch * steps_each(t),
                               .episodes = e->count,
                               .reward = mean_reward(t),
                               .length = e->count ? (double)e->steps / (double)e->count : NAN,
                               .loss = mean_of(t, sums->loss),
                               .policy_loss = mean_of(t, sums->policy_loss),
                               .value_loss = mean_of(t, sums->value_loss),
                               .entropy = mean_of(t, sums->entropy),
                               .kl = mean_of(t, sums->kl),
                               .clip_fraction = mean_of(t, sums->clip_fraction),
                               .explained_variance = mean_of(t, sums->explained_variance),
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
    better |= first && unknown;
    if (better && t->best_scaling.width) scaling_copy(&t->best_scaling, rollout_scaling_before(t->run.rollout));
    trainer_keep_best(t, better, ppo_parameters_before(rollout_ppo(t->run.rollout)));
    if (first && unknown) c->best_epoch = 0;
    report(t, 1);
    c->since = 0;
    c->ppo = (ppo_stats){0};
    c->episodes = (rollout_episodes){0};
    return STPN_OK;
}

static stpn_status iterate(trainer *t, stpn_error *error)
{
    const train_options *train = &t->run.experiment.train;
    progress_counts *c = &t->counts;
    rollout *r = t->run.rollout;
    ppo_stats stats;
    stpn_error inner = {{0}};
    int ends_row = (c->epoch + 1) % train->evaluate_every == 0 || c->epoch + 1 == train->iterations;
    /* It costs time, and that of one iteration is as good as that of all. */
    ppo_set_energy(rollout_ppo(r), ends_row);
    stpn_status status = rollout_play(r, ACT_SAMPLE, &inner);
    if (!status) status = ppo_update(rollout_ppo(r), rollout_next(r), &stats, &inner);
    if (status)
        return error_set(error, status, "%s: %s in iteration %" PRId64 "; %s is from before", t->folder, inner.message,
                         c->epoch + 1, RUN_LAST);
    c->epoch++;
    c->since++;
    add_stats(&c->ppo, &stats);
    rollout_add_episodes(r, &c->episodes);
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

stpn_status trainer_run_rollouts(trainer *t, stpn_error *error)
{
    const scaling *observations = rollout_scaling(t->run.rollout);
    stpn_status status = STPN_OK;
    if (observations->width) status = scaling_open(&t->best_scaling, observations->width, error);
    while (!status && !trainer_is_finished(t)) {
        if (trainer_stop_asked(t)) return stopped(t, error);
        status = iterate(t, error);
    }
    if (t->run.scaling.width) scaling_copy(&t->run.scaling, observations);
    return status;
}
