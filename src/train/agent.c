/* stpn_agent of the public header: a rollout whose environment is the caller's. */
#include "train/agent.h"

#include "base/error.h"
#include "base/memory.h"
#include "train/checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------ an environment elsewhere */

/* The caller steps the copies; what is left is their number, their shape and the mask. */
static stpn_status open_elsewhere(env **out, const env *head, stpn_error *error)
{
    env *e = memory_zeroed(1, sizeof *e);
    if (!e) return error_memory(error, "the environment");
    *e = *head;
    *out = e;
    return STPN_OK;
}

static void close_elsewhere(env *e)
{
    memory_free(e);
}

static void observe_elsewhere(const env *e, int first, int last, void *observations)
{
    (void)e;
    (void)first;
    (void)last;
    (void)observations;
}

static void save_elsewhere(const env *e, int64_t *state)
{
    memset(state, 0, (size_t)e->batch * (size_t)e->shape.state * sizeof *state);
}

static stpn_status restore_elsewhere(env *e, const int64_t *state, const char *place, stpn_error *error)
{
    (void)e;
    (void)state;
    (void)place;
    error_clear(error);
    return STPN_OK;
}

static env_type elsewhere(const env_type *type)
{
    env_type own = *type;
    own.open = open_elsewhere;
    own.close = close_elsewhere;
    own.observe = observe_elsewhere;
    own.save = save_elsewhere;
    own.restore = restore_elsewhere;
    own.begin = NULL;
    own.finish = NULL;
    own.goals = NULL;
    return own;
}

/* -------------------------------------------------------------------------------------------------- made and unmade */

static stpn_status check_experiment(const experiment *e, const char *name, stpn_error *error)
{
    if (!e->env)
        return error_set(error, STPN_ERROR_INPUT, "%s: task.name is \"%s\", expected an environment", name,
                         e->task->name);
    if (e->train.rollout > 0) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT,
                     "%s: train.rollout is 0, expected the steps of every copy between two updates, 1 or more", name);
}

/* The learner, or the copies that act with the net of `of`. */
static stpn_status open_agent(stpn_agent *a, const stpn_agent *of, stpn_error *error)
{
    run *r = &a->run;
    stpn_status status = rollout_create(&r->rollout, &r->experiment, r->net, of == NULL, r->pool, error);
    if (!status && of && of->run.rollout->observed.width)
        status = rollout_set_scaling(r->rollout, &of->run.rollout->observed, error);
    if (!status) rollout_begin_scaling(r->rollout);
    return status;
}

static stpn_status create(stpn_agent **out, const char *name, const char *text, int threads, stpn_error *error)
{
    experiment e;
    *out = NULL;
    stpn_status status = experiment_parse(&e, name, text, strlen(text), NULL, 0, NULL, error);
    if (status) return status;
    stpn_agent *a = memory_zeroed(1, sizeof *a);
    status = a ? check_experiment(&e, name, error) : error_memory(error, "the agent");
    if (status) {
        experiment_free(&e);
        memory_free(a);
        return status;
    }
    a->type = elsewhere(e.env);
    e.env = &a->type;
    a->text = json_to_text(e.resolved, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    status = run_open(&a->run, &e, threads, NULL, error);
    if (!status && !a->text) status = error_memory(error, "the experiment");
    if (!status) status = open_agent(a, NULL, error);
    if (status) stpn_agent_free(a);
    else *out = a;
    return status;
}

stpn_status stpn_agent_create(stpn_agent **out, const char *text, int threads, stpn_error *error)
{
    error_clear(error);
    if (!out) return error_set(error, STPN_ERROR_INPUT, "agent is NULL");
    *out = NULL;
    stpn_status status = error_given(error, {text, "experiment"});
    return status ? status : create(out, "experiment", text, threads, error);
}

stpn_status stpn_agent_create_actor(stpn_agent **out, const stpn_agent *of, int batch, int threads, stpn_error *error)
{
    error_clear(error);
    if (!out) return error_set(error, STPN_ERROR_INPUT, "actor is NULL");
    *out = NULL;
    stpn_status status = error_given(error, {of, "agent"});
    if (!status && batch < 1) status = error_set(error, STPN_ERROR_INPUT, "%d copies, expected 1 or more", batch);
    if (status) return status;
    stpn_agent *a = memory_zeroed(1, sizeof *a);
    if (!a) return error_memory(error, "the agent");
    a->type = of->type;
    a->of = of->of ? of->of : of;
    /* A view: what it points to is that of the other. */
    a->run.experiment = of->run.experiment;
    a->run.experiment.env = &a->type;
    a->run.experiment.train.batch = batch;
    a->run.net = of->run.net;
    status = stpn_pool_create(&a->run.pool, threads, error);
    if (!status) status = open_agent(a, a->of, error);
    if (status) stpn_agent_free(a);
    else *out = a;
    return status;
}

void stpn_agent_free(stpn_agent *a)
{
    if (!a) return;
    if (a->of) {
        a->run.experiment = (experiment){0};
        a->run.net = NULL;
    }
    run_close(&a->run);
    memory_free(a->text);
    memory_free(a);
}

stpn_net *stpn_agent_net(stpn_agent *a)
{
    return a->run.net;
}

const char *stpn_agent_experiment(const stpn_agent *a)
{
    return a->of ? a->of->text : a->text;
}

/* ----------------------------------------------------------------------------------------------------------- acting */

typedef struct step_job {
    rollout *r;
    act_choice choice;
    const uint8_t *ends; // or NULL
    int last;            // last observations are given
} step_job;

static void act_turn(void *context, int chunk, int thread)
{
    const step_job *job = context;
    rollout *r = job->r;
    chunk_end *end = &r->results[chunk];
    int first = chunk * r->chunk, last = rollout_chunk_end(r, chunk);
    (void)thread;
    const void *seen = rollout_look(r, first, last);
    end->status = r->ppo ? ppo_act(r->ppo, first, last, seen, r->fresh, job->choice, r->actions, &end->error)
                         : actor_act(r->acting, first, last, seen, r->fresh, job->choice, r->actions, &end->error);
    if (end->status) return;
    rollout_note_observations(r, chunk);
    /* An update may change the net of an actor before its next step. */
    if (!r->acting->logits) actor_settle(r->acting, chunk);
}

static void see(rollout *r, const void *observations, int first, int last)
{
    size_t row = env_observation_bytes(&r->env->shape), count = (size_t)(last - first);
    memcpy((char *)r->observations + (size_t)first * row, (const char *)observations + (size_t)first * row,
           count * row);
    env_observe(r->env, first, last, r->observations); // the mask
}

/* Where one is not finite, every copy's state and the scaling would be lost. */
static stpn_status check_numbers(int first, int last, const char *what, const float *values, size_t each,
                                 stpn_error *error)
{
    for (size_t i = (size_t)first * each; i < (size_t)last * each; i++)
        if (!isfinite(values[i]))
            return error_set(error, STPN_ERROR_INPUT, "copy %zu: %s %g, expected a finite number", i / each, what,
                             (double)values[i]);
    return STPN_OK;
}

static stpn_status check_observations(const rollout *r, int first, int last, const char *what, const void *values,
                                      stpn_error *error)
{
    if (r->env->shape.type != STPN_INPUT_FLOAT) return STPN_OK;
    return check_numbers(first, last, what, values, (size_t)r->env->shape.observations, error);
}

static stpn_status check_seen(const rollout *r, const void *observations, stpn_error *error)
{
    return check_observations(r, 0, r->env->batch, "a value of its observation is", observations, error);
}

static stpn_status check_turn(const stpn_agent *a, stpn_error *error)
{
    const actor *acting = a->run.rollout->acting;
    int t = acting->acted[0];
    if (t != acting->recorded[0])
        return error_set(error, STPN_ERROR_INPUT, "what came of the latest actions is not recorded");
    if (!a->of && t >= acting->plan.steps)
        return error_set(error, STPN_ERROR_INPUT, "the rollout has all of its %d steps, an update is to follow",
                         acting->plan.steps);
    return STPN_OK;
}

stpn_status stpn_agent_act(stpn_agent *a, const void *observations, stpn_choice choice, void *actions,
                           stpn_error *error)
{
    static const act_choice choices[] = {
        [STPN_CHOICE_SAMPLE] = ACT_SAMPLE, [STPN_CHOICE_GREEDY] = ACT_GREEDY, [STPN_CHOICE_GIVEN] = ACT_GIVEN};
    enum { ACTOR_STEPS = 1 << 30 }; // that an actor counts before it begins anew
    error_clear(error);
    stpn_status status = error_given(error, {a, "agent"}, {observations, "observations"}, {actions, "actions"});
    if (status) return status;
    rollout *r = a->run.rollout;
    size_t bytes = (size_t)r->env->batch * env_action_bytes(&r->env->shape);
    if ((unsigned)choice > STPN_CHOICE_GIVEN)
        return error_set(error, STPN_ERROR_INPUT, "choice is %d, expected one of stpn_choice", (int)choice);
    status = check_turn(a, error);
    if (!status) status = check_seen(r, observations, error);
    if (!status && choice == STPN_CHOICE_GIVEN) status = actor_check_given(r->acting, 0, r->env->batch, actions, error);
    if (status) return status;
    if (a->of && a->of->run.rollout->observed.width) scaling_copy(&r->observed, &a->of->run.rollout->observed);
    if (a->of && r->acting->acted[0] == ACTOR_STEPS) {
        actor_end_rollout(r->acting);
        r->acting->rollouts++;
    }
    see(r, observations, 0, r->env->batch);
    if (choice == STPN_CHOICE_GIVEN) memcpy(r->actions, actions, bytes);
    step_job job = {.r = r, .choice = choices[choice]};
    status = rollout_run_chunks(r, 0, r->chunks, r->step_workers, act_turn, &job, error);
    if (!status && choice != STPN_CHOICE_GIVEN) memcpy(actions, r->actions, bytes);
    return status;
}

static void record_turn(void *context, int chunk, int thread)
{
    const step_job *job = context;
    rollout *r = job->r;
    chunk_end *end = &r->results[chunk];
    int first = chunk * r->chunk, last = rollout_chunk_end(r, chunk);
    (void)thread;
    for (int b = first; b < last; b++) {
        r->fresh[b] = r->ends[b] != 0;
        if (r->ends[b] & STPN_SKIPPED) continue;
        r->sums[b] += (double)r->rewards[b];
        r->lengths[b]++;
        rollout_scale_reward(r, chunk, b);
        if (r->ends[b]) rollout_count_episode(r, chunk, b);
    }
    end->status = actor_record(r->acting, first, last, r->rewards, r->ends,
                               job->last ? rollout_look(r, first, last) : NULL, &end->error);
}

static stpn_status check_ends(const rollout *r, const uint8_t *ends, stpn_error *error)
{
    for (int b = 0; b < r->env->batch && ends; b++)
        if (ends[b] > (STPN_TERMINATED | STPN_TRUNCATED) && ends[b] != STPN_SKIPPED)
            return error_set(error, STPN_ERROR_INPUT, "copy %d: its end is %d, expected 0 to %d, or %d", b,
                             (int)ends[b], STPN_TERMINATED | STPN_TRUNCATED, STPN_SKIPPED);
    return STPN_OK;
}

/* The last observations of episodes that were cut off, and of no others. */
static stpn_status see_last(rollout *r, const uint8_t *ends, const void *last_observations, stpn_error *error)
{
    const char *what = "a value of its last observation is";
    stpn_status status = STPN_OK;
    for (int b = 0; b < r->env->batch && !status; b++)
        if (ends[b] == STPN_TRUNCATED) status = check_observations(r, b, b + 1, what, last_observations, error);
    for (int b = 0; b < r->env->batch && !status; b++)
        if (ends[b] == STPN_TRUNCATED) see(r, last_observations, b, b + 1);
    return status;
}

stpn_status stpn_agent_record(stpn_agent *a, const float *rewards, const uint8_t *ends, const void *last_observations,
                              stpn_error *error)
{
    error_clear(error);
    stpn_status status = error_given(error, {a, "agent"}, {rewards, "rewards"});
    if (status) return status;
    rollout *r = a->run.rollout;
    size_t B = (size_t)r->env->batch;
    if (r->acting->recorded[0] == r->acting->acted[0])
        return error_set(error, STPN_ERROR_INPUT, "no action was taken that is not recorded");
    status = check_ends(r, ends, error);
    if (!status) status = check_numbers(0, r->env->batch, "its reward is", rewards, 1, error);
    if (!status && ends && last_observations) status = see_last(r, ends, last_observations, error);
    if (status) return status;
    memcpy(r->rewards, rewards, B * sizeof *rewards);
    if (ends) memcpy(r->ends, ends, B);
    else memset(r->ends, 0, B);
    step_job job = {.r = r, .last = last_observations != NULL};
    return rollout_run_chunks(r, 0, r->chunks, r->step_workers, record_turn, &job, error);
}

/* --------------------------------------------------------------------------------------------------------- learning */

static int64_t rollouts_of(const rollout *r)
{
    return r->ppo ? ppo_rollouts(r->ppo) : a2c_rollouts(r->a2c);
}

stpn_status stpn_agent_update(stpn_agent *a, const void *next_observations, stpn_error *error)
{
    error_clear(error);
    stpn_status status = error_given(error, {a, "agent"});
    if (status) return status;
    rollout *r = a->run.rollout;
    status = actor_check_rollout(r->acting, error);
    if (!status && next_observations) status = check_seen(r, next_observations, error);
    if (status) return status;
    if (next_observations) see(r, next_observations, 0, r->env->batch);
    for (int chunk = 0; chunk < r->chunks; chunk++) rollout_settle(r, chunk);
    status = rollout_end_scaling(r, error);
    const void *next = next_observations ? rollout_next(r) : NULL;
    if (status) return status;
    if (r->ppo) status = ppo_update(r->ppo, next, &a->ppo, error);
    else status = a2c_update(r->a2c, next, &a->a2c, error);
    a->updated = status == STPN_OK;
    rollout_begin_scaling(r);
    a->episodes = (rollout_episodes){0};
    rollout_add_episodes(r, &a->episodes, NULL);
    return status;
}

void stpn_agent_restart(stpn_agent *a)
{
    rollout *r = a->run.rollout;
    size_t B = (size_t)r->env->batch;
    a2c_stats dropped;
    (void)actor_state(r->acting);
    actor_restart(r->acting, 0, r->env->batch);
    /* But for an agent that has done nothing yet, as after an update: a checkpoint keeps values alone. */
    if (r->acting->acted[0] == 0) {
        if (r->acting->rollouts > 0) actor_end_rollout(r->acting);
    } else {
        if (r->ppo) ppo_drop(r->ppo);
        else if (r->a2c) a2c_drop(r->a2c, &dropped);
        else actor_end_rollout(r->acting);
        if (a->of) r->acting->rollouts++;
        rollout_begin_scaling(r);
    }
    memset(r->fresh, 0, B);
    memset(r->lengths, 0, B * sizeof *r->lengths);
    memset(r->sums, 0, B * sizeof *r->sums);
    rollout_forget_episodes(r);
    if (r->discounted) memset(r->discounted, 0, B * sizeof *r->discounted);
}

/* ------------------------------------------------------------------------------------------------------- statistics */

int stpn_agent_statistic(const stpn_agent *a, int index, const char **name, double *value)
{
    const rollout *r = a->run.rollout;
    rollout_episodes e = a->episodes;
    if (a->of) rollout_sum_episodes(r, &e); // so far
    const a2c_stats *by_a2c = &a->a2c;
    const ppo_stats *by_ppo = &a->ppo;
    double count = (double)e.count;
    const struct row {
        const char *name;
        double value;
    } common[] = {{"episodes", count},
                  {"reward", e.count ? e.reward / count : NAN},
                  {"length", e.count ? (double)e.steps / count : NAN}},
      own_of_actor[] = {{"energy", actor_energy(r->acting)}},
      own_of_a2c[] = {{"loss", by_a2c->loss},
                      {"policy_loss", by_a2c->policy_loss},
                      {"value_loss", by_a2c->value_loss},
                      {"concentration", by_a2c->concentration},
                      {"entropy", by_a2c->entropy},
                      {"gradient_norm", by_a2c->gradient_norm}},
      own_of_ppo[] = {{"loss", by_ppo->loss},
                      {"policy_loss", by_ppo->policy_loss},
                      {"value_loss", by_ppo->value_loss},
                      {"entropy", by_ppo->entropy},
                      {"kl", by_ppo->kl},
                      {"clip_fraction", by_ppo->clip_fraction},
                      {"explained_variance", by_ppo->explained_variance},
                      {"gradient_norm", by_ppo->gradient_norm}};
    enum { COMMON = sizeof common / sizeof *common };
    const struct row *own = a->of ? own_of_actor : r->ppo ? own_of_ppo : own_of_a2c;
    int own_count = a->of    ? (int)(sizeof own_of_actor / sizeof *own)
                    : r->ppo ? (int)(sizeof own_of_ppo / sizeof *own)
                             : (int)(sizeof own_of_a2c / sizeof *own);
    if (index < 0 || index >= COMMON + own_count) return 0;
    const struct row *row = index < COMMON ? &common[index] : &own[index - COMMON];
    *name = row->name;
    *value = a->of || a->updated ? row->value : NAN;
    return 1;
}

/* ------------------------------------------------------------------------------------------------------------ files */

stpn_status stpn_agent_save(const stpn_agent *a, const char *path, stpn_error *error)
{
    error_clear(error);
    stpn_status status = error_given(error, {a, "agent"}, {path, "path"});
    if (status) return status;
    if (a->of) return error_set(error, STPN_ERROR_INPUT, "an agent that only acts has nothing to save");
    if (a->run.rollout->acting->acted[0] > 0)
        return error_set(error, STPN_ERROR_INPUT, "%d steps are recorded that no update has seen: update or restart",
                         a->run.rollout->acting->acted[0]);
    const progress_counts counts = {.epoch = rollouts_of(a->run.rollout)};
    status = checkpoint_gather(&a->run, &counts, error);
    return status ? status : checkpoint_save(path, &a->run, &counts, a->text, error);
}

stpn_status stpn_agent_load(stpn_agent **out, const char *path, int threads, stpn_error *error)
{
    tensor_file *file;
    progress_counts counts;
    stpn_agent *a = NULL;
    error_clear(error);
    if (!out) return error_set(error, STPN_ERROR_INPUT, "agent is NULL");
    *out = NULL;
    stpn_status status = error_given(error, {path, "path"});
    if (!status) status = tensor_file_read(&file, path, error);
    if (status) return status;
    const char *text = tensor_file_metadata(file, "experiment");
    if (text) status = create(&a, path, text, threads, error);
    else status = error_set(error, STPN_ERROR_INPUT, "%s: is no saved agent: its metadata have no experiment", path);
    tensor_file_free(file);
    if (!a) return status;
    status = checkpoint_load(path, &a->run, &counts, NULL, error);
    if (status) {
        stpn_agent_free(a);
        return status;
    }
    /* One that has done nothing yet. */
    if (counts.epoch == 0) actor_restart(a->run.rollout->acting, 0, a->run.experiment.train.batch);
    *out = a;
    return STPN_OK;
}
