#include "train/summary.h"

#include "base/error.h"
#include "base/machine.h"
#include "base/memory.h"
#include "train/hardware.h"

#include <string.h>

stpn_status summary_of_split(run *r, const task_split *split, json_t **object, stpn_error *error)
{
    *object = NULL;
    double *steps = memory_zeroed((size_t)split->steps, sizeof *steps);
    if (!steps) return error_memory(error, "an evaluation");
    evaluation result;
    stpn_status status = supervised_evaluate(r->learner, split, &result, steps, NULL, error);
    if (!status) {
        int neurons = 0, failed = 0;
        for (int i = 0; i < r->experiment.unit_count; i++) neurons += r->experiment.units[i].hidden;
        json_t *curve = json_array();
        for (int t = 0; t < split->steps; t++) failed |= json_array_append_new(curve, json_real(steps[t]));
        *object = json_object();
        failed |= json_object_set_new(*object, "accuracy", json_real(result.accuracy));
        failed |= json_object_set_new(*object, "loss", json_real(result.loss));
        failed |= json_object_set_new(*object, "energy", json_real(result.energy));
        failed |= json_object_set_new(*object, "energy_per_neuron", json_real(result.energy / neurons));
        failed |= json_object_set_new(*object, "energy_steps", curve);
        failed |= json_object_set_new(*object, "sequences", json_integer(split->count));
        if (failed) {
            json_decref(*object);
            *object = NULL;
            status = error_memory(error, "an evaluation");
        }
    }
    memory_free(steps);
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

static json_t *training(const run *r, const progress_counts *c, const summary_times *times)
{
    const train_options *train = &r->experiment.train;
    double sequences = (double)(c->epoch * times->updates_per_epoch * train->batch);
    json_t *object = json_object();
    int failed = json_object_set_new(object, "epochs", json_integer(c->epoch));
    failed |= json_object_set_new(object, "updates", json_integer(c->epoch * times->updates_per_epoch));
    failed |= json_object_set_new(object, "best_epoch", json_integer(c->best_epoch));
    failed |= json_object_set_new(object, "best_accuracy", json_real(c->best_accuracy));
    failed |= json_object_set_new(object, "stopped_early", json_boolean(c->epoch < train->epochs));
    failed |= json_object_set_new(object, "wall_seconds", json_real(times->seconds));
    failed |= json_object_set_new(object, "sequences_per_second", json_real(sequences / (times->seconds + 1e-9)));
    failed |= json_object_set_new(object, "peak_memory_bytes", json_integer((json_int_t)machine_peak_memory()));
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

stpn_status summary_make(run *r, const progress_counts *counts, const char *best, const summary_times *times,
                         char **text, stpn_error *error)
{
    *text = NULL;
    json_t *test = NULL, *test_best = NULL, *validation = NULL;
    size_t bytes = r->net->block_values * r->net->kernel->size;
    void *kept = stpn_block_create(r->net);
    if (!kept) return error_memory(error, "the summary");
    memcpy(kept, r->net->parameters, bytes);
    stpn_status status = summary_of_split(r, &r->data.validation, &validation, error);
    if (!status) status = summary_of_split(r, &r->data.test, &test, error);
    if (!status) status = stpn_net_load(r->net, best, error);
    if (!status) status = summary_of_split(r, &r->data.test, &test_best, error);
    memcpy(r->net->parameters, kept, bytes);
    stpn_block_free(kept);
    if (status) {
        json_decref(test);
        json_decref(test_best);
        json_decref(validation);
        return status;
    }
    json_t *root = json_object();
    int failed = json_object_set_new(root, "name", json_string(r->experiment.name));
    failed |= json_object_set_new(root, "seed", json_integer((json_int_t)r->experiment.seed));
    failed |= json_object_set_new(root, "version", json_string(STPN_VERSION));
    failed |= json_object_set_new(root, "parameters", json_integer((json_int_t)stpn_net_parameter_count(r->net)));
    failed |= json_object_set_new(root, "test", test);
    failed |= json_object_set_new(root, "test_best", test_best);
    failed |= json_object_set_new(root, "validation", validation);
    failed |= json_object_set_new(root, "train", training(r, counts, times));
    unit_operations count = hardware_operations(r->net);
    hardware_table table = hardware_default();
    failed |= json_object_set_new(root, "hardware", hardware_to_json(&count, &table));
    failed |= json_object_set_new(root, "machine", summary_machine(r));
    *text = failed ? NULL : json_to_text(root, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    json_decref(root);
    return *text ? STPN_OK : error_memory(error, "the summary");
}
