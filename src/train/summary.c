#include "train/summary.h"

#include "base/error.h"
#include "base/machine.h"
#include "base/memory.h"
#include "train/hardware.h"

#include <math.h>
#include <string.h>

/* Longer curves make a file that nobody reads. */
enum { CURVE_MOST = 10000 };

static int set_measure(json_t *object, const char *name, double value)
{
    return isnan(value) ? 0 : json_object_set_new(object, name, json_real(value));
}

/* The measures of a split; NULL where memory is out. */
static json_t *measures(const run *r, const task_split *split, const evaluation *e, const double *steps)
{
    int neurons = 0, failed = 0;
    for (int i = 0; i < r->experiment.unit_count; i++) neurons += r->experiment.units[i].hidden;
    json_t *object = json_object();
    failed |= set_measure(object, "accuracy", e->accuracy);
    failed |= set_measure(object, "true_positive_rate", e->true_positive_rate);
    failed |= set_measure(object, "false_positive_rate", e->false_positive_rate);
    failed |= set_measure(object, "loss", e->loss);
    failed |= set_measure(object, "energy", e->energy);
    failed |= set_measure(object, "energy_per_neuron", e->energy / neurons);
    if (steps && split->steps <= CURVE_MOST) {
        json_t *curve = json_array();
        for (int t = 0; t < split->steps; t++) failed |= json_array_append_new(curve, json_real(steps[t]));
        failed |= json_object_set_new(object, "energy_steps", curve);
    }
    failed |= json_object_set_new(object, "sequences", json_integer(split->count));
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

stpn_status summary_of_split(run *r, const task_split *split, json_t **object, stpn_error *error)
{
    *object = NULL;
    double *steps = memory_zeroed((size_t)split->steps, sizeof *steps);
    if (!steps) return error_memory(error, "an evaluation");
    evaluation result;
    stpn_status status = supervised_evaluate(r->learner, split, &result, steps, NULL, error);
    if (!status) {
        *object = measures(r, split, &result, steps);
        if (!*object) status = error_memory(error, "an evaluation");
    }
    memory_free(steps);
    return status;
}

static stpn_status probe(run *r, const task_split *split, const char *name, json_t *array, stpn_error *error)
{
    evaluation result;
    stpn_status status = supervised_evaluate(r->learner, split, &result, NULL, NULL, error);
    if (status) return status;
    json_t *found = measures(r, split, &result, NULL), *object = json_object();
    int failed = !found || json_object_set_new(object, "name", json_string(name));
    failed = failed || json_object_update(object, found);
    json_decref(found);
    if (json_array_append_new(array, object) || failed) return error_memory(error, "an evaluation");
    return STPN_OK;
}

stpn_status summary_of_probes(run *r, json_t **array, stpn_error *error)
{
    const experiment *e = &r->experiment;
    stpn_status status = STPN_OK;
    *array = json_array();
    if (!*array) return error_memory(error, "an evaluation");
    for (int i = 0, more = e->task->probe != NULL; more && !status; i++) {
        char name[64] = "";
        task_split split = {0};
        status = e->task->probe(&e->task_options, e->seed, i, name, sizeof name, &split, &more, error);
        if (!status && more) status = probe(r, &split, name, *array, error);
        task_split_free(&split);
    }
    if (!status) return STPN_OK;
    json_decref(*array);
    *array = NULL;
    return status;
}

json_t *summary_machine(const run *r)
{
    char processor[128], system[128];
    machine_processor(processor, sizeof processor);
    machine_system(system, sizeof system);
    json_t *machine = json_object();
    int failed = json_object_set_new(machine, "processor", json_string(processor));
    failed |= json_object_set_new(machine, "system", json_string(system));
    failed |= json_object_set_new(machine, "kernel", json_string(stpn_net_kernel(r->net)));
    failed |= json_object_set_new(machine, "threads", json_integer(stpn_pool_threads(r->pool)));
    if (!failed) return machine;
    json_decref(machine);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------- episodes */

static json_t *rewards(const run *r, const rollout_result *result)
{
    int neurons = 0, failed = 0;
    for (int i = 0; i < r->experiment.unit_count; i++) neurons += r->experiment.units[i].hidden;
    json_t *object = json_object();
    failed |= set_measure(object, "reward", result->reward);
    failed |= set_measure(object, "reward_error", result->reward_error);
    if (r->experiment.train.rollout) failed |= set_measure(object, "steps", result->steps);
    failed |= set_measure(object, "goals", result->goals);
    failed |= set_measure(object, "return_steps", result->return_steps);
    failed |= set_measure(object, "energy", result->energy);
    failed |= set_measure(object, "energy_per_neuron", result->energy / neurons);
    failed |= json_object_set_new(object, "episodes", json_integer(result->episodes));
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

int summary_is_greedy(const run *r, const summary_test *how)
{
    const experiment *e = &r->experiment;
    return how->greedy || e->train.test_greedy;
}

static stpn_status film(const rollout *r, const char *path, stpn_error *error)
{
    env *e = rollout_env(r);
    return e->type->film(e, path, error);
}

stpn_status summary_of_episodes(const run *r, const summary_test *how, json_t **object, stpn_error *error)
{
    const experiment *e = &r->experiment;
    rollout *tested;
    rollout_result result;
    *object = NULL;
    profile_lane *lane = profile_lane_of(how->told, 0);
    profile_part before = profile_enter(lane, PROFILE_EVALUATION);
    stpn_status status = how->policy ? rollout_create_policy(&tested, e, how->policy, r->pool, error)
                                     : rollout_create(&tested, e, r->net, 0, r->pool, error);
    if (!status && r->scaling.width && !how->policy) status = rollout_set_scaling(tested, &r->scaling, error);
    if (!status && how->film) status = film(tested, how->film, error);
    if (!status) rollout_set_profile(tested, how->told);
    profile_test(how->told, 1);
    if (!status)
        status = rollout_test(tested, how->iterations ? how->iterations : e->train.test_iterations,
                              summary_is_greedy(r, how) ? ACT_GREEDY : ACT_SAMPLE, how->stop, &result, error);
    if (!status && how->film) status = film(tested, NULL, error);
    rollout_free(tested);
    profile_test(how->told, 0);
    profile_enter(lane, before);
    if (status) return status;
    *object = rewards(r, &result);
    return *object ? STPN_OK : error_memory(error, "a test");
}

/* -------------------------------------------------------------------------------------------------------- summary */

static double rate_of(int64_t count, const summary_times *times)
{
    return (double)count / (times->seconds + 1e-9);
}

static int add_iterations(const run *r, const progress_counts *c, const summary_times *times, json_t *object)
{
    const experiment *e = &r->experiment;
    int64_t steps = c->epoch * e->train.batch * (e->train.rollout ? e->train.rollout : e->env_shape.steps);
    int failed = json_object_set_new(object, "iterations", json_integer(c->epoch));
    failed |= json_object_set_new(object, "updates", json_integer(times->updates));
    failed |= json_object_set_new(object, "best_iteration", json_integer(c->best_epoch));
    failed |= set_measure(object, "best_reward", c->best_epoch ? c->best_reward : NAN);
    if (e->train.rollout) failed |= json_object_set_new(object, "steps", json_integer(steps));
    failed |= json_object_set_new(object, "stopped_early", json_boolean(c->epoch < e->train.iterations));
    failed |= json_object_set_new(object, "wall_seconds", json_real(times->seconds));
    failed |= json_object_set_new(object, "iterations_per_second", json_real(rate_of(c->epoch, times)));
    return failed | json_object_set_new(object, "steps_per_second", json_real(rate_of(steps, times)));
}

static int add_epochs(const run *r, const progress_counts *c, const summary_times *times, json_t *object)
{
    int failed = json_object_set_new(object, "epochs", json_integer(c->epoch));
    failed |= json_object_set_new(object, "updates", json_integer(times->updates));
    failed |= json_object_set_new(object, "best_epoch", json_integer(c->best_epoch));
    if (r->experiment.shape.loss != LOSS_SQUARED)
        failed |= json_object_set_new(object, "best_accuracy", json_real(c->best_accuracy));
    failed |= json_object_set_new(object, "best_loss", json_real(c->best_loss));
    failed |= json_object_set_new(object, "stopped_early", json_boolean(c->epoch < r->experiment.train.epochs));
    failed |= json_object_set_new(object, "wall_seconds", json_real(times->seconds));
    return failed | json_object_set_new(object, "sequences_per_second", json_real(rate_of(times->sequences, times)));
}

static json_t *training(const run *r, const progress_counts *c, const summary_times *times)
{
    json_t *object = json_object();
    int failed = r->experiment.env ? add_iterations(r, c, times, object) : add_epochs(r, c, times, object);
    failed |= json_object_set_new(object, "peak_memory_bytes", json_integer((json_int_t)machine_peak_memory()));
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

/* What the net achieves; NULL what the task does not have. */
typedef struct achievement {
    json_t *test, *test_best, *validation, *probes;
} achievement;

static stpn_status measure_test(run *r, const summary_test *how, json_t **object, stpn_error *error)
{
    return r->learner ? summary_of_split(r, &r->data.test, object, error) : summary_of_episodes(r, how, object, error);
}

static stpn_status measure_all(run *r, const char *best, const summary_test *how, achievement *a, stpn_error *error)
{
    size_t bytes = r->net->block_values * r->net->kernel->size;
    void *kept = stpn_block_create(r->net);
    if (!kept) return error_memory(error, "the summary");
    memcpy(kept, r->net->parameters, bytes);
    stpn_status status = r->learner ? summary_of_split(r, &r->data.validation, &a->validation, error) : STPN_OK;
    if (!status) status = measure_test(r, how, &a->test, error);
    if (!status && r->learner) status = summary_of_probes(r, &a->probes, error);
    if (!status) status = checkpoint_load_agent(r, best, error);
    if (!status) status = measure_test(r, how, &a->test_best, error);
    memcpy(r->net->parameters, kept, bytes);
    net_changed(r->net);
    stpn_block_free(kept);
    return status;
}

stpn_status summary_make(run *r, const progress_counts *counts, const char *best, const summary_times *times,
                         const summary_test *how, char **text, stpn_error *error)
{
    *text = NULL;
    achievement a = {0};
    stpn_status status = measure_all(r, best, how, &a, error);
    json_t *root = status ? NULL : json_object();
    int failed = json_object_set_new(root, "name", json_string(r->experiment.name));
    failed |= json_object_set_new(root, "seed", json_integer((json_int_t)r->experiment.seed));
    failed |= json_object_set_new(root, "version", json_string(STPN_VERSION));
    failed |= json_object_set_new(root, "parameters", json_integer((json_int_t)stpn_net_parameter_count(r->net)));
    failed |= json_object_set(root, "test", a.test);
    failed |= json_object_set(root, "test_best", a.test_best);
    if (a.validation) failed |= json_object_set(root, "validation", a.validation);
    if (json_array_size(a.probes) > 0) failed |= json_object_set(root, "probes", a.probes);
    failed |= json_object_set_new(root, "train", training(r, counts, times));
    unit_operations count = hardware_operations(r->net);
    hardware_table table = hardware_default();
    failed |= json_object_set_new(root, "hardware", hardware_to_json(&count, &table));
    failed |= json_object_set_new(root, "machine", summary_machine(r));
    *text = failed ? NULL : json_to_text(root, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    json_decref(root);
    json_decref(a.test);
    json_decref(a.test_best);
    json_decref(a.validation);
    json_decref(a.probes);
    if (status) return status;
    return *text ? STPN_OK : error_memory(error, "the summary");
}
