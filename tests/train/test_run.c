/* Whole runs through stpn_run_train: what they leave and tell, and a run that is opened again. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>

#include "base/random.h"
#include "run_job.h"
#include "train/schedule.h"
#include "train/summary.h"

/* ------------------------------------------------------------------------------------------------ what a run leaves */

static void a_run_leaves_its_files(void **state)
{
    (void)state;
    static const char *const files[] = {RUN_EXPERIMENT, RUN_METRICS, RUN_EVENTS, RUN_LAST, RUN_BEST, RUN_SUMMARY};
    for (int i = 0; i < 6; i++) assert_true(is_there("whole", files[i]));
    DIR *folder = opendir("whole");
    int count = 0;
    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) count += entry->d_name[0] != '.';
    closedir(folder);
    assert_int_equal(count, 6);
    /* The experiment is the resolved one. */
    experiment e, again;
    assert_int_equal(experiment_read(&e, experiment_path, NULL, 0, NULL, &error), STPN_OK);
    json_t *document = read_document("whole", RUN_EXPERIMENT);
    assert_true(json_equal(document, e.resolved));
    assert_int_equal(experiment_read(&again, "whole/" RUN_EXPERIMENT, NULL, 0, NULL, &error), STPN_OK);
    assert_true(json_equal(again.resolved, e.resolved));
    json_decref(document);
    experiment_free(&again);
    experiment_free(&e);
}

static void the_summary_is_what_the_networks_do(void **state)
{
    (void)state;
    json_t *summary = read_document("whole", RUN_SUMMARY);
    assert_string_equal(json_string_value(json_object_get(summary, "name")), "small");
    assert_int_equal(json_integer_value(json_object_get(summary, "seed")), 1);
    assert_string_equal(json_string_value(json_object_get(summary, "version")), STPN_VERSION);
    const json_t *train = json_object_get(summary, "train");
    assert_int_equal(json_integer_value(json_object_get(train, "epochs")), EPOCHS);
    assert_int_equal(json_integer_value(json_object_get(train, "updates")), EPOCHS * UPDATES);
    assert_true(json_is_false(json_object_get(train, "stopped_early")));
    const json_t *machine = json_object_get(summary, "machine");
    assert_string_equal(json_string_value(json_object_get(machine, "kernel")), stpn_kernel_name(0));
    assert_int_equal(json_integer_value(json_object_get(machine, "threads")), 1);
    static const struct {
        const char *key;
        int best, validation;
    } parts[] = {{"test", 0, 0}, {"test_best", 1, 0}, {"validation", 0, 1}};
    for (int i = 0; i < 3; i++) {
        const json_t *part = json_object_get(summary, parts[i].key);
        run r;
        evaluation result;
        double steps[7];
        assert_int_equal(run_open_folder(&r, "whole", parts[i].best, 2, &error), STPN_OK);
        const task_split *split = parts[i].validation ? &r.data.validation : &r.data.test;
        assert_int_equal(supervised_evaluate(r.learner, split, &result, steps, NULL, &error), STPN_OK);
        assert_true(fabs(json_real_value(json_object_get(part, "accuracy")) - result.accuracy) < 1e-9);
        assert_true(fabs(json_real_value(json_object_get(part, "loss")) - result.loss) < 1e-9 * result.loss);
        assert_true(fabs(json_real_value(json_object_get(part, "energy")) - result.energy) < 1e-9);
        assert_true(fabs(json_real_value(json_object_get(part, "energy_per_neuron")) - result.energy / 4) < 1e-9);
        assert_int_equal(json_integer_value(json_object_get(part, "sequences")), parts[i].validation ? 50 : 40);
        const json_t *curve = json_object_get(part, "energy_steps");
        assert_int_equal(json_array_size(curve), 7);
        for (size_t t = 0; t < 7; t++) assert_true(fabs(json_real_value(json_array_get(curve, t)) - steps[t]) < 1e-9);
        if (parts[i].validation == 0 && parts[i].best)
            assert_true(json_real_value(json_object_get(train, "best_accuracy")) >= 0);
        run_close(&r);
    }
    json_decref(summary);
}

static void metrics_have_a_row_per_evaluation(void **state)
{
    (void)state;
    static const struct {
        job job;
        int64_t epochs[4]; // of the rows
    } cases[] = {
        {{.out = "every-1"}, {1, 2, 3}},
        {{.out = "every-2", .set = {"train.evaluate_every=2"}}, {2, 3}},
        {{.out = "every-5", .set = {"train.evaluate_every=5"}}, {3}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size;
        finish(cases[i].job);
        char *text = scratch_read(run_file(cases[i].job.out, RUN_METRICS), &size), *line = strchr(text, '\n') + 1;
        double before = 0;
        for (int row = 0; cases[i].epochs[row]; row++) {
            long epoch, updates;
            double v[8];
            assert_int_equal(sscanf(line, "%ld,%ld,%lf,%lf,%lf,%lf,%lf,%lf,%lf,%lf\n", &epoch, &updates, &v[0], &v[1],
                                    &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]),
                             10);
            assert_int_equal(epoch, cases[i].epochs[row]);
            assert_int_equal(updates, epoch * UPDATES);
            assert_true(v[0] > 0 && v[0] < 5 && v[1] >= 0 && v[1] <= 1 && v[2] > 0 && v[3] >= 0 && v[3] <= 1 &&
                        v[4] > 0 && v[5] == 0.02);
            /* Sequences since the row before by the time since; the rate has no decimals, and the clock one tick more. */
            const double sequences = (double)(epoch - (row ? cases[i].epochs[row - 1] : 0)) * UPDATES * 32;
            assert_true(fabs(v[7] * (v[6] - before) - sequences) < 0.2 * sequences);
            before = v[6];
            line = strchr(line, '\n') + 1;
        }
        assert_int_equal(*line, 0);
        free(text);
    }
}

/* The columns `seconds` of metrics.csv and `wall_seconds` of the summary go on where a run was stopped. */
static void time_adds_up_over_stops(void **state)
{
    (void)state;
    job j = {.out = "timed", .stop_after = 1};
    stpn_status status = run_job(&j, NULL);
    for (j.resume = 1; status == STPN_STOPPED;) status = run_job(&j, NULL);
    assert_int_equal(status, STPN_OK);
    size_t size;
    char *text = scratch_read("timed/" RUN_METRICS, &size), *line = strchr(text, '\n') + 1;
    double before = 0, now;
    for (int row = 0; row < EPOCHS; row++, line = strchr(line, '\n') + 1) {
        assert_int_equal(sscanf(line, "%*d,%*d,%*f,%*f,%*f,%*f,%*f,%*f,%lf", &now), 1);
        assert_true(now > before);
        before = now;
    }
    json_t *summary = read_document("timed", RUN_SUMMARY);
    assert_true(json_number_value(json_object_get(json_object_get(summary, "train"), "wall_seconds")) >= now);
    json_decref(summary);
    free(text);
}

/* The loop once more, from its parts: which sequences an update sees, and in which order. */
static void a_run_is_its_updates_in_order(void **state)
{
    (void)state;
    static const char *const set[] = {"train.shuffle=true"};
    for (int shuffled = 0; shuffled < 2; shuffled++) {
        experiment e;
        run r, trained;
        int32_t order[270];
        const char *out = shuffled ? "in order-1" : "in order-0";
        finish((job){.out = out, .set = {shuffled ? set[0] : NULL}});
        assert_int_equal(experiment_read(&e, experiment_path, set, shuffled, NULL, &error), STPN_OK);
        assert_int_equal(run_open(&r, &e, 1, NULL, &error), STPN_OK);
        for (int epoch = 0; epoch < EPOCHS; epoch++) {
            random_stream stream = random_open(1, RANDOM_SHUFFLE, (uint64_t)epoch);
            for (int i = 0; i < 270; i++) order[i] = i;
            for (int i = 269; i > 0 && shuffled; i--) {
                uint32_t other = random_below(&stream, (uint32_t)i + 1);
                int32_t kept = order[other];
                order[other] = order[i];
                order[i] = kept;
            }
            for (int u = 0; u < UPDATES; u++) {
                const supervised_batch batch = {.split = &r.data.train, .order = order + u * 32, .count = 32};
                loss_sums sums;
                assert_int_equal(supervised_update(r.learner, &batch, 0, &sums, &error), STPN_OK);
            }
        }
        assert_int_equal(run_open_folder(&trained, out, 0, 1, &error), STPN_OK);
        assert_memory_equal(trained.net->parameters, r.net->parameters, r.net->block_values * sizeof(float));
        run_close(&trained);
        run_close(&r);
    }
}

static void progress_is_told(void **state)
{
    (void)state;
    watch w;
    const job j = {.out = "told", .set = {"train.epochs=1"}};
    assert_int_equal(run_job(&j, &w), STPN_OK);
    assert_int_equal(w.updates, UPDATES);
    assert_true(w.last.epoch_ended);
    assert_int_equal(w.last.epoch, 1);
    assert_int_equal(w.last.epochs, 1);
    assert_int_equal(w.last.updates_done, UPDATES);
    assert_int_equal(w.last.updates, UPDATES);
    assert_true(w.last.loss > 0 && w.last.accuracy >= 0 && w.last.accuracy <= 1);
    assert_true(w.last.sequences_per_second > 0 && w.last.seconds_left == 0);
    const job stopped = {.out = "told-2", .stop_after = 3};
    assert_int_equal(run_job(&stopped, &w), STPN_STOPPED);
    assert_message("told-2: stopped after update 3 of epoch 1, saved");
    assert_false(w.last.epoch_ended);
    assert_int_equal(w.last.epoch, 1);
    assert_int_equal(w.last.epochs, EPOCHS);
    assert_int_equal(w.last.updates_done, 3);
    assert_true(isnan(w.last.accuracy));
    assert_true(w.last.seconds_left > 0);
}

static void the_folder_has_a_default_name(void **state)
{
    (void)state;
    static const char *const set[] = {"train.epochs=1"};
    stpn_run_options o = {.file = experiment_path, .set = set, .set_count = 1, .threads = 1};
    char folder[64] = "";
    assert_int_equal(stpn_run_train(&o, folder, sizeof folder, &error), STPN_OK);
    assert_string_equal(folder, "runs/small-s1");
    assert_true(is_there("runs/small-s1", RUN_SUMMARY));
    o.has_seed = 1;
    o.seed = 23;
    assert_int_equal(stpn_run_train(&o, folder, sizeof folder, &error), STPN_OK);
    assert_string_equal(folder, "runs/small-s23");
    json_t *document = read_document(folder, RUN_EXPERIMENT);
    assert_int_equal(json_integer_value(json_object_get(document, "seed")), 23);
    json_decref(document);
    /* The name is wanted by nobody, or cut. */
    o.resume = 1;
    assert_int_equal(stpn_run_train(&o, NULL, 0, NULL), STPN_OK);
    assert_int_equal(stpn_run_train(&o, folder, 5, NULL), STPN_OK);
    assert_string_equal(folder, "runs");
}

static void files_do_not_depend_on_folder_or_threads(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        char out[64];
        snprintf(out, sizeof out, "elsewhere/deep/t%d", threads);
        finish((job){.out = out, .threads = threads});
        assert_same_runs("whole", out);
    }
}

/* A checkpoint is a parameter file too. */
/* Each row has the rate of the update before it, which the schedule gives over the whole run. */
static void rates_follow_the_schedule(void **state)
{
    (void)state;
    const job j = {.out = "scheduled",
                   .set = {"train.schedule=cosine", "train.warmup=10", "train.final_rate=0.25", "train.epochs=5"}};
    train_options o = train_option_defaults();
    o.learning_rate = 0.02;
    o.schedule = SCHEDULE_COSINE;
    o.warmup = 10;
    o.final_rate = 0.25;
    finish(j);
    size_t size;
    char *text = scratch_read("scheduled/" RUN_METRICS, &size), *line = strchr(text, '\n') + 1;
    for (int epoch = 1; epoch <= 5; epoch++, line = strchr(line, '\n') + 1) {
        double rate;
        assert_int_equal(sscanf(line, "%*d,%*d,%*f,%*f,%*f,%*f,%*f,%lf", &rate), 1);
        assert_true(fabs(rate - schedule_rate(&o, epoch * UPDATES - 1, 5 * UPDATES)) < 1e-10);
    }
    free(text);
}

/* Two further test sets: some of the test set's sequences, with a name each. */
static stpn_status probe(const task_options *options, uint64_t seed, int index, char *name, size_t size,
                         task_split *split, int *more, stpn_error *e)
{
    task_data data;
    *more = index < 2;
    if (!*more) return STPN_OK;
    stpn_status status = task_retrieval.draw(options, seed, &data, e);
    if (status) return status;
    *split = data.test;
    split->count = 10 + index;
    data.test = (task_split){0};
    task_data_free(&data);
    snprintf(name, size, "R=%d", index);
    return STPN_OK;
}

static void probes_stand_in_the_summary(void **state)
{
    (void)state;
    experiment e;
    run r;
    json_t *probes;
    task_type task = task_retrieval;
    assert_int_equal(experiment_read(&e, experiment_path, NULL, 0, NULL, &error), STPN_OK);
    assert_int_equal(run_open(&r, &e, 1, NULL, &error), STPN_OK);
    assert_int_equal(summary_of_probes(&r, &probes, &error), STPN_OK);
    assert_int_equal(json_array_size(probes), 0);
    json_decref(probes);
    task.probe = probe;
    r.experiment.task = &task;
    assert_int_equal(summary_of_probes(&r, &probes, &error), STPN_OK);
    assert_int_equal(json_array_size(probes), 2);
    for (int i = 0; i < 2; i++) {
        const json_t *one = json_array_get(probes, (size_t)i);
        task_split part = r.data.test;
        evaluation result;
        part.count = 10 + i;
        assert_int_equal(supervised_evaluate(r.learner, &part, &result, NULL, NULL, &error), STPN_OK);
        assert_string_equal(json_string_value(json_object_get(one, "name")), i ? "R=1" : "R=0");
        assert_true(json_real_value(json_object_get(one, "accuracy")) == result.accuracy);
        assert_true(json_real_value(json_object_get(one, "loss")) == result.loss);
        assert_int_equal(json_integer_value(json_object_get(one, "sequences")), 10 + i);
        assert_null(json_object_get(one, "energy_steps"));
        assert_null(json_object_get(one, "true_positive_rate"));
    }
    json_decref(probes);
    run_close(&r);
}

static void a_checkpoint_loads_as_a_network(void **state)
{
    (void)state;
    run r;
    stpn_net *net;
    assert_int_equal(run_open_folder(&r, "whole", 0, 1, &error), STPN_OK);
    assert_int_equal(experiment_net(&net, &r.experiment, STPN_FLOAT, &error), STPN_OK);
    const size_t bytes = net->block_values * sizeof(float);
    assert_memory_not_equal(net->parameters, r.net->parameters, bytes);
    assert_int_equal(stpn_net_load(net, "whole/" RUN_LAST, &error), STPN_OK);
    assert_memory_equal(net->parameters, r.net->parameters, bytes);
    assert_int_equal(stpn_net_load(net, "whole/" RUN_BEST, &error), STPN_OK);
    stpn_net_free(net);
    run_close(&r);
}

/* ------------------------------------------------------------------------------------------------------------- opening */

static void a_folder_is_opened_or_named(void **state)
{
    (void)state;
    run r;
    assert_int_equal(run_open_folder(&r, "none", 0, 1, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "none: is no folder of a run");
    scratch_write("a file", "x", 1);
    assert_int_equal(run_open_folder(&r, "a file", 0, 1, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "a file: is no folder of a run");
    assert_int_equal(mkdir("empty", 0777), 0);
    assert_int_equal(run_open_folder(&r, "empty", 0, 1, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "empty: is no run: it has no experiment.json");
    copy_file("whole", "empty", RUN_EXPERIMENT);
    assert_int_equal(run_open_folder(&r, "empty", 0, 1, &error), STPN_ERROR_INPUT);
    assert_message("empty/last.safetensors: cannot be opened");
    assert_int_equal(run_open_folder(&r, "empty", 1, 1, &error), STPN_ERROR_INPUT);
    assert_message("empty/best.safetensors: cannot be opened");
    assert_true(!r.net && !r.pool && !r.learner && !r.data.train.tokens && !r.experiment.name);
    assert_int_equal(run_open_folder(&r, "whole", 0, 999, &error), STPN_ERROR_INPUT);
    assert_message("threads is 999");
    copy_file("whole", "empty", RUN_LAST);
    scratch_write("empty/" RUN_BEST, "short", 5);
    assert_int_equal(run_open_folder(&r, "empty", 1, 1, &error), STPN_ERROR_INPUT);
    assert_int_equal(run_open_folder(&r, "empty", 0, 1, &error), STPN_OK);
    assert_string_equal(r.experiment.name, "small");
    run_close(&r);
    run_close(&r);
}

/* --------------------------------------------------------------------------------------------------- not a number */

static void a_loss_that_is_no_number_keeps_the_last_good_checkpoint(void **state)
{
    (void)state;
    job j = {.out = "wild",
             .set = {"units.0.norm=none", "units.0.hidden=8", "task.pairs=26", "train.learning_rate=1000",
                     "train.epochs=20"}};
    stpn_status status = run_job(&j, NULL);
    if (status != STPN_ERROR_NUMERIC) fail_msg("status %d, \"%s\"", status, error.message);
    assert_message("wild: the ");
    assert_message(" of epoch ");
    assert_message("last.safetensors is from before");
    assert_false(is_there("wild", RUN_SUMMARY));
    run r;
    evaluation result;
    assert_int_equal(run_open_folder(&r, "wild", 0, 1, &error), STPN_OK);
    assert_int_equal(supervised_evaluate(r.learner, &r.data.validation, &result, NULL, NULL, &error), STPN_OK);
    run_close(&r);
    /* Going on comes to the same end. */
    char message[sizeof error.message];
    size_t size;
    char *last = scratch_read("wild/" RUN_LAST, &size);
    (void)run_job(&j, NULL);
    j.resume = 1;
    assert_int_equal(run_job(&j, NULL), STPN_ERROR_NUMERIC);
    snprintf(message, sizeof message, "%s", error.message);
    assert_int_equal(run_job(&j, NULL), STPN_ERROR_NUMERIC);
    assert_string_equal(error.message, message);
    scratch_assert_content("wild/" RUN_LAST, last, size);
    free(last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_leaves_its_files),
        cmocka_unit_test(the_summary_is_what_the_networks_do),
        cmocka_unit_test(metrics_have_a_row_per_evaluation),
        cmocka_unit_test(time_adds_up_over_stops),
        cmocka_unit_test(a_run_is_its_updates_in_order),
        cmocka_unit_test(progress_is_told),
        cmocka_unit_test(the_folder_has_a_default_name),
        cmocka_unit_test(files_do_not_depend_on_folder_or_threads),
        cmocka_unit_test(rates_follow_the_schedule),
        cmocka_unit_test(probes_stand_in_the_summary),
        cmocka_unit_test(a_checkpoint_loads_as_a_network),
        cmocka_unit_test(a_folder_is_opened_or_named),
        cmocka_unit_test(a_loss_that_is_no_number_keeps_the_last_good_checkpoint),
    };
    return cmocka_run_group_tests_name("train/run", tests, make_whole_run, scratch_remove);
}
