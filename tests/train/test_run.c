/* Whole runs through stpn_run_train: what they leave, and that they go on to the same bytes wherever they were stopped. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>

#include "base/random.h"
#include "run_support.h"

/* Reports come at most some times a second. This clock, which the library sees in place of the system's, goes on by a
 * second whenever it is read, so that every update is reported and can be the one to stop at. */
static atomic_long ticks = 1000;

int clock_gettime(clockid_t clock, struct timespec *now);
int clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    *now = (struct timespec){.tv_sec = atomic_fetch_add(&ticks, 1)};
    return 0;
}

static stpn_error error;
static char experiment_path[SCRATCH_PATH];

enum { UPDATES = 8, EPOCHS = 3 };

static int make_experiment(void **state)
{
    static const char text[] =
        "{\"name\": \"small\", \"seed\": 1,\n"
        " \"task\": {\"name\": \"retrieval\", \"pairs\": 2, \"train\": 270, \"validation\": 50, \"test\": 40},\n"
        " \"units\": [{\"name\": \"stpn_r\", \"hidden\": 4}],\n"
        " \"train\": {\"epochs\": 3, \"batch\": 32, \"learning_rate\": 0.02}}\n";
    if (make_run_scratch(state)) return 1;
    scratch_write(scratch_path(experiment_path, "small.json"), text, sizeof text - 1);
    return chdir(scratch_folder);
}

/* ----------------------------------------------------------------------------------------------------------- running */

enum { SETTINGS = 6 };

typedef struct job {
    const char *set[SETTINGS]; // up to the first NULL
    const char *out;
    int resume, threads, any_kernel;
    int stop_after; // updates that are reported before the run is asked to stop, or killed; 0: none
    int kill;
} job;

typedef struct watch {
    const job *job;
    volatile int stop;
    int updates;
    stpn_progress last;
} watch;

static void watch_progress(void *context, const stpn_progress *p)
{
    watch *w = context;
    w->last = *p;
    if (p->epoch_ended) return;
    w->updates++;
    if (w->updates != w->job->stop_after) return;
    if (w->job->kill) _exit(0);
    w->stop = 1;
}

static stpn_status run_job(const job *j, watch *w)
{
    watch own = {0};
    if (!w) w = &own;
    *w = (watch){.job = j};
    stpn_run_options o = {.file = experiment_path,
                          .set = j->set,
                          .out = j->out,
                          .resume = j->resume,
                          .threads = j->threads ? j->threads : 1,
                          .any_kernel = j->any_kernel,
                          .stop = &w->stop,
                          .progress = watch_progress,
                          .context = w};
    while (o.set_count < SETTINGS && j->set[o.set_count]) o.set_count++;
    char folder[SCRATCH_PATH];
    error.message[0] = 0;
    stpn_status status = stpn_run_train(&o, folder, sizeof folder, &error);
    assert_int_equal(status == STPN_OK, error.message[0] == 0);
    return status;
}

static void finish(job j)
{
    if (run_job(&j, NULL)) fail_msg("%s", error.message);
}

static job resumed(job j)
{
    j.resume = 1;
    j.stop_after = j.kill = 0;
    return j;
}

static void assert_message(const char *part)
{
    if (!strstr(error.message, part)) fail_msg("\"%s\", expected \"%s\"", error.message, part);
}

/* ------------------------------------------------------------------------------------------------ what a run leaves */

static void a_run_leaves_its_files(void **state)
{
    (void)state;
    finish((job){.out = "whole"});
    static const char *const files[] = {RUN_EXPERIMENT, RUN_METRICS, RUN_LAST, RUN_BEST, RUN_SUMMARY};
    for (int i = 0; i < 5; i++) assert_true(is_there("whole", files[i]));
    DIR *folder = opendir("whole");
    int count = 0;
    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) count += entry->d_name[0] != '.';
    closedir(folder);
    assert_int_equal(count, 5);
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
            double v[7];
            assert_int_equal(sscanf(line, "%ld,%ld,%lf,%lf,%lf,%lf,%lf,%lf,%lf\n", &epoch, &updates, &v[0], &v[1],
                                    &v[2], &v[3], &v[4], &v[5], &v[6]),
                             9);
            assert_int_equal(epoch, cases[i].epochs[row]);
            assert_int_equal(updates, epoch * UPDATES);
            assert_true(v[0] > 0 && v[0] < 5 && v[1] >= 0 && v[1] <= 1 && v[2] > 0 && v[3] >= 0 && v[3] <= 1 &&
                        v[4] > 0);
            /* Sequences since the row before by the time since; the rate has no decimals, and the clock one tick more. */
            const double sequences = (double)(epoch - (row ? cases[i].epochs[row - 1] : 0)) * UPDATES * 32;
            assert_true(fabs(v[6] * (v[5] - before) - sequences) < 0.2 * sequences);
            before = v[5];
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
        assert_int_equal(sscanf(line, "%*d,%*d,%*f,%*f,%*f,%*f,%*f,%lf", &now), 1);
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
        assert_int_equal(run_open(&r, &e, 1, &error), STPN_OK);
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
                double loss;
                int correct;
                assert_int_equal(
                    supervised_update(r.learner, &r.data.train, order + u * 32, 0, 32, &loss, &correct, &error),
                    STPN_OK);
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

/* ---------------------------------------------------------------------------------------------------------- resuming */

static const job kinds[] = {
    {.set = {"train.epochs=3"}},
    {.set = {"train.shuffle=true"}, .threads = 2},
    {.set = {"train.epochs=9", "train.patience=1"}},
    {.set = {"train.epochs=5", "train.evaluate_every=2", "train.shuffle=true"}},
    {.set = {"train.epochs=9", "train.evaluate_every=2", "train.patience=1", "task.validation=7"}},
    {.set = {"train.clip_norm=0.1", "units.0.norm=post", "units.0.clamp=0.5", "train.batch=33"}, .threads = 3},
};

enum { KINDS = sizeof kinds / sizeof *kinds };

/* Finishes a run of each kind once; returns how many updates that took. */
static int reference_run(int kind, char *out, size_t size)
{
    static int updates[KINDS];
    snprintf(out, size, "reference-%d", kind);
    if (updates[kind]) return updates[kind];
    job j = kinds[kind];
    watch w;
    j.out = out;
    if (run_job(&j, &w)) fail_msg("%s", error.message);
    return updates[kind] = w.updates;
}

static void a_run_stopped_anywhere_goes_on_to_the_same_bytes(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        char reference[64];
        const int updates = reference_run(kind, reference, sizeof reference);
        for (int n = 1; n <= updates; n++) {
            job j = kinds[kind];
            watch w;
            j.out = "stopped";
            j.stop_after = n;
            stpn_status status = run_job(&j, &w);
            assert_int_equal(w.updates, n);
            /* The last update is followed by the end. */
            assert_int_equal(status, n == updates ? STPN_OK : STPN_STOPPED);
            assert_int_equal(is_there("stopped", RUN_SUMMARY), n == updates);
            j = resumed(j);
            j.threads = 1 + n % 3;
            assert_int_equal(run_job(&j, &w), STPN_OK);
            assert_int_equal(w.updates, updates - n);
            assert_same_runs(reference, "stopped");
            scratch_remove_tree("stopped");
        }
    }
}

static void early_stopping_happens_where_it_should(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        char reference[64];
        const int updates = reference_run(kind, reference, sizeof reference);
        json_t *summary = read_document(reference, RUN_SUMMARY), *e = read_document(reference, RUN_EXPERIMENT);
        const json_t *train = json_object_get(summary, "train"), *settings = json_object_get(e, "train");
        const int64_t epochs = json_integer_value(json_object_get(train, "epochs"));
        const int64_t most = json_integer_value(json_object_get(settings, "epochs"));
        const int64_t best = json_integer_value(json_object_get(train, "best_epoch"));
        const int64_t patience = json_integer_value(json_object_get(settings, "patience"));
        const int64_t every = json_integer_value(json_object_get(settings, "evaluate_every"));
        assert_int_equal(json_integer_value(json_object_get(train, "updates")), updates);
        assert_int_equal(json_is_true(json_object_get(train, "stopped_early")), epochs < most);
        assert_true(best >= 1 && best <= epochs);
        if (patience) {
            assert_true(epochs < most);
            assert_int_equal(epochs, best + patience * every);
        } else {
            assert_int_equal(epochs, most);
        }
        json_decref(summary);
        json_decref(e);
    }
}

/* The best network is that of the first evaluation with the highest accuracy. */
static void the_best_network_is_the_first_of_the_best(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        char reference[64];
        size_t size;
        reference_run(kind, reference, sizeof reference);
        json_t *summary = read_document(reference, RUN_SUMMARY);
        const json_t *train = json_object_get(summary, "train");
        char *text = scratch_read(run_file(reference, RUN_METRICS), &size), *line = strchr(text, '\n') + 1;
        double best = -1, accuracy;
        long best_epoch = 0, epoch;
        for (; *line; line = strchr(line, '\n') + 1) {
            assert_int_equal(sscanf(line, "%ld,%*d,%*f,%*f,%*f,%lf", &epoch, &accuracy), 2);
            if (accuracy > best) best_epoch = epoch;
            if (accuracy > best) best = accuracy;
        }
        assert_int_equal(json_integer_value(json_object_get(train, "best_epoch")), best_epoch);
        assert_true(fabs(json_real_value(json_object_get(train, "best_accuracy")) - best) < 1e-8);
        run r;
        evaluation result;
        assert_int_equal(run_open_folder(&r, reference, 1, 1, &error), STPN_OK);
        assert_int_equal(supervised_evaluate(r.learner, &r.data.validation, &result, NULL, NULL, &error), STPN_OK);
        assert_true(fabs(result.accuracy - best) < 1e-8);
        run_close(&r);
        free(text);
        json_decref(summary);
    }
}

static void a_run_stopped_again_and_again_goes_on(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++)
        for (int step = 1; step <= 3; step++) {
            char reference[64];
            reference_run(kind, reference, sizeof reference);
            job j = kinds[kind];
            j.out = "often";
            j.stop_after = step;
            stpn_status status = run_job(&j, NULL);
            for (int i = 0; status == STPN_STOPPED; i++) {
                assert_in_range(i, 0, 100);
                j.resume = 1;
                j.threads = 1 + i % 2;
                status = run_job(&j, NULL);
            }
            assert_int_equal(status, STPN_OK);
            assert_same_runs(reference, "often");
            scratch_remove_tree("often");
        }
}

static void a_stop_before_the_first_update_is_saved(void **state)
{
    (void)state;
    char reference[64];
    reference_run(1, reference, sizeof reference);
    const volatile int stop = 1;
    stpn_run_options o = {
        .file = experiment_path, .set = kinds[1].set, .set_count = 1, .out = "at once", .stop = &stop};
    assert_int_equal(stpn_run_train(&o, NULL, 0, &error), STPN_STOPPED);
    assert_message("stopped after update 0 of epoch 1, saved");
    assert_true(is_there("at once", RUN_LAST));
    assert_false(is_there("at once", RUN_BEST));
    o.resume = 1;
    assert_int_equal(stpn_run_train(&o, NULL, 0, &error), STPN_STOPPED);
    o.stop = NULL;
    assert_int_equal(stpn_run_train(&o, NULL, 0, &error), STPN_OK);
    assert_same_runs(reference, "at once");
}

/* Ended by the system without a word, in the middle of an epoch or right behind a checkpoint. */
static void a_killed_run_goes_on_to_the_same_bytes(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        char reference[64];
        const int updates = reference_run(kind, reference, sizeof reference);
        for (int n = 1; n <= updates; n += 3) {
            job j = kinds[kind];
            j.out = "killed";
            j.stop_after = n;
            j.kill = 1;
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                (void)run_job(&j, NULL);
                _exit(1);
            }
            int result;
            assert_int_equal(waitpid(child, &result, 0), child);
            assert_int_equal(result, 0);
            assert_false(is_there("killed", RUN_SUMMARY));
            finish(resumed(j));
            assert_same_runs(reference, "killed");
            scratch_remove_tree("killed");
        }
    }
}

/* Whatever of its files a finished run has lost, short of its checkpoint. */
static void what_is_missing_is_made_again(void **state)
{
    (void)state;
    copy_folder("whole", "mended");
    assert_int_equal(unlink("mended/" RUN_SUMMARY), 0);
    scratch_write("mended/" RUN_LAST ".tmp", "left by a kill", 14);
    finish((job){.out = "mended", .resume = 1});
    assert_same_file("whole", "mended", RUN_LAST);
    assert_same_summary("whole", "mended");
    assert_same_metrics("whole", "mended");
    /* Without its last checkpoint it starts afresh. */
    assert_int_equal(unlink("mended/" RUN_SUMMARY), 0);
    assert_int_equal(unlink("mended/" RUN_LAST), 0);
    finish((job){.out = "mended", .resume = 1});
    assert_same_runs("whole", "mended");
    /* Nothing to go on from at all. */
    finish((job){.out = "fresh", .resume = 1});
    assert_same_runs("whole", "fresh");
    /* Its best network cannot be made again. */
    assert_int_equal(unlink("mended/" RUN_SUMMARY), 0);
    assert_int_equal(unlink("mended/" RUN_BEST), 0);
    const job j = {.out = "mended", .resume = 1};
    assert_int_equal(run_job(&j, NULL), STPN_ERROR_INPUT);
    assert_message("mended/best.safetensors: cannot be opened");
}

static void metrics_may_be_anything(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "garbage",
                                        "epoch\n1\n2\n3\n",
                                        "\n\n",
                                        "1,2,3,4,5,6,7,nan,9\n",
                                        "1,2,3,4,5,6,7,inf,9\n",
                                        "1,2,3,4,5,6,7,-1e300,9\n"};
    const job stop = {.out = "metrics", .stop_after = UPDATES + 2};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(run_job(&stop, NULL), STPN_STOPPED);
        scratch_write("metrics/" RUN_METRICS, texts[i], strlen(texts[i]));
        finish((job){.out = "metrics", .resume = 1});
        assert_same_file("whole", "metrics", RUN_LAST);
        assert_same_summary("whole", "metrics");
        scratch_remove_tree("metrics");
    }
}

/* ----------------------------------------------------------------------------------------------------------- refusals */

static void assert_refused(const job *j, const char *message)
{
    const uint64_t before = folder_print(j->out, 1);
    stpn_status status = run_job(j, NULL);
    if (status != STPN_ERROR_INPUT) fail_msg("status %d, \"%s\"", status, error.message);
    assert_message(message);
    assert_true(folder_print(j->out, 1) == before);
}

static void an_existing_run_is_not_touched(void **state)
{
    (void)state;
    job j = {.out = "whole"};
    assert_refused(&j, "whole: holds a run already: go on with --resume, or name another folder with --out");
    /* Finished: nothing to do, whatever the threads and kernel. */
    const uint64_t before = folder_print("whole", 1);
    for (int threads = 1; threads <= 2; threads++) {
        watch w;
        j = (job){.out = "whole", .resume = 1, .threads = threads};
        assert_int_equal(run_job(&j, &w), STPN_OK);
        assert_int_equal(w.updates, 0);
        assert_true(folder_print("whole", 1) == before);
    }
    setenv("STPN_KERNEL", "portable", 1);
    finish((job){.out = "whole", .resume = 1});
    unsetenv("STPN_KERNEL");
    assert_true(folder_print("whole", 1) == before);
    /* A folder that holds something else may be used. */
    assert_int_equal(mkdir("used", 0777), 0);
    scratch_write("used/notes.txt", "mine", 4);
    finish((job){.out = "used"});
    scratch_assert_content("used/notes.txt", "mine", 4);
    assert_same_runs("whole", "used");
}

static void a_difference_in_settings_is_named(void **state)
{
    (void)state;
    static const char *const settings[][2] = {
        {"train.epochs=4", "train.epochs"},
        {"train.learning_rate=0.021", "train.learning_rate"},
        {"train.shuffle=true", "train.shuffle"},
        {"task.pairs=3", "task.pairs"},
        {"units.0.hidden=5", "units.0.hidden"},
        {"units.0.learn=false", "units.0.granularity"},
        {"seed=2", "seed"},
        {"name=other", "name"},
        {"note=\"new\"", "note"},
    };
    const job stop = {.out = "half", .stop_after = 5};
    assert_int_equal(run_job(&stop, NULL), STPN_STOPPED);
    static const char *const folders[] = {"half", "whole"};
    for (int f = 0; f < 2; f++)
        for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
            char message[128];
            const job j = {.out = folders[f], .resume = 1, .set = {settings[i][0]}};
            snprintf(message, sizeof message, "%s: %s differs from the run's experiment.json", folders[f],
                     settings[i][1]);
            assert_refused(&j, message);
        }
    /* What says the same in other words is no difference. */
    const job same = {.out = "half", .resume = 1, .set = {"train.epochs=3", "units.0.norm=pre", "version=\"0.0.0\""}};
    finish(same);
    assert_same_runs("whole", "half");
}

static void another_kernel_is_refused_unless_allowed(void **state)
{
    (void)state;
    const char *other = stpn_kernel_name(1);
    if (!other) skip();
    char message[128];
    job j = {.out = "kernel", .stop_after = 5};
    assert_int_equal(run_job(&j, NULL), STPN_STOPPED);
    setenv("STPN_KERNEL", other, 1);
    j = resumed(j);
    snprintf(message, sizeof message, "was written by kernel %s, this process uses %s", stpn_kernel_name(0), other);
    assert_refused(&j, message);
    snprintf(message, sizeof message, "STPN_KERNEL=%s", stpn_kernel_name(0));
    assert_message(message);
    assert_message("--any-kernel");
    copy_folder("kernel", "kernel-2");
    j.any_kernel = 1;
    finish(j);
    assert_true(is_there("kernel", RUN_SUMMARY));
    unsetenv("STPN_KERNEL");
    setenv("STPN_KERNEL", stpn_kernel_name(0), 1);
    finish((job){.out = "kernel-2", .resume = 1});
    assert_same_runs("whole", "kernel-2");
    /* The other kernel alone: its own bits, the same on every way. */
    setenv("STPN_KERNEL", other, 1);
    j = (job){.out = "kernel-3", .stop_after = 5};
    assert_int_equal(run_job(&j, NULL), STPN_STOPPED);
    finish(resumed(j));
    finish((job){.out = "kernel-4"});
    assert_same_runs("kernel-3", "kernel-4");
    setenv("STPN_KERNEL", "none", 1);
    const job none = {.out = "kernel-5"};
    assert_int_equal(run_job(&none, NULL), STPN_ERROR_INPUT);
    unsetenv("STPN_KERNEL");
}

static void a_locked_folder_is_refused(void **state)
{
    (void)state;
    const job stop = {.out = "locked", .stop_after = 5}, j = {.out = "locked", .resume = 1};
    assert_int_equal(run_job(&stop, NULL), STPN_STOPPED);
    int lock = open("locked", O_RDONLY | O_DIRECTORY);
    assert_true(lock >= 0);
    assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), 0);
    assert_refused(&j, "locked: another process is training into it");
    close(lock);
    finish(j);
}

static void wrong_calls_leave_nothing(void **state)
{
    (void)state;
    stpn_run_options o = {.file = "missing.json", .out = "nothing"};
    char folder[64] = "old";
    assert_int_equal(stpn_run_train(&o, folder, sizeof folder, &error), STPN_ERROR_INPUT);
    assert_message("missing.json: cannot be opened: No such file or directory");
    assert_string_equal(folder, "");
    assert_int_equal(stpn_run_train(&o, NULL, 0, NULL), STPN_ERROR_INPUT);
    assert_int_equal(access("nothing", F_OK), -1);
    job j = {.out = "nothing", .set = {"train.epochs=0"}};
    assert_int_equal(run_job(&j, NULL), STPN_ERROR_INPUT);
    assert_int_equal(access("nothing", F_OK), -1);
    j = (job){.out = ""};
    assert_int_equal(run_job(&j, NULL), STPN_ERROR_INPUT);
    char *large = calloc(1, 6000);
    memset(large, 'x', 5000);
    j = (job){.out = large};
    assert_int_equal(run_job(&j, NULL), STPN_ERROR_INPUT);
    large[4090] = 0;
    assert_int_equal(run_job(&j, NULL), STPN_ERROR_INPUT);
    free(large);
    /* A file where a folder should be, on the way or at its end. */
    scratch_write("file", "x", 1);
    j = (job){.out = "file/inside"};
    stpn_status status = run_job(&j, NULL);
    assert_true(status == STPN_ERROR_INPUT || status == STPN_ERROR_SYSTEM);
    assert_message("file/inside");
    j = (job){.out = "file"};
    status = run_job(&j, NULL);
    assert_true(status == STPN_ERROR_INPUT || status == STPN_ERROR_SYSTEM);
    assert_message("file");
    scratch_assert_content("file", "x", 1);
    if (geteuid() == 0) return; /* whom no folder's permissions stop */
    assert_int_equal(mkdir("closed", 0555), 0);
    j = (job){.out = "closed/inside"};
    assert_int_equal(run_job(&j, NULL), STPN_ERROR_SYSTEM);
    j = (job){.out = "closed"};
    assert_int_equal(run_job(&j, NULL), STPN_ERROR_SYSTEM);
}

static void too_many_threads_are_refused(void **state)
{
    (void)state;
    job j = {.out = "threads", .threads = 257};
    assert_int_equal(run_job(&j, NULL), STPN_ERROR_INPUT);
    assert_message("threads is 257");
    assert_false(is_there("threads", RUN_EXPERIMENT));
    j.threads = 1;
    finish(j);
}

/* ------------------------------------------------------------------------------------------------ hostile checkpoints */

static void a_damaged_checkpoint_is_refused(void **state)
{
    (void)state;
    const job stop = {.out = "damaged", .stop_after = UPDATES + 3}, j = {.out = "damaged", .resume = 1};
    size_t size;
    assert_int_equal(run_job(&stop, NULL), STPN_STOPPED);
    char *good = scratch_read("damaged/" RUN_LAST, &size), *bad = malloc(size + 1);
    assert_non_null(bad);
    for (size_t kept = 0; kept < size; kept += kept < 12 || kept + 12 > size ? 1 : 97) {
        scratch_write("damaged/" RUN_LAST, good, kept);
        assert_refused(&j, "damaged/last.safetensors: ");
    }
    memcpy(bad, good, size);
    bad[size] = 0;
    scratch_write("damaged/" RUN_LAST, bad, size + 1);
    assert_refused(&j, "damaged/last.safetensors: ");
    /* A byte of the header changed: refused, or of no effect on what is read. */
    uint64_t header;
    memcpy(&header, good, 8);
    for (size_t at = 0; at < 8 + header; at += 5) {
        memcpy(bad, good, size);
        bad[at] = (char)(bad[at] ^ 0x11);
        scratch_write("damaged/" RUN_LAST, bad, size);
        const uint64_t before = folder_print("damaged", 1);
        stpn_status status = run_job(&(job){.out = "damaged", .resume = 1}, NULL);
        if (status) {
            assert_int_equal(status, STPN_ERROR_INPUT);
            assert_true(folder_print("damaged", 1) == before);
        } else {
            assert_same_file("whole", "damaged", RUN_LAST);
            assert_int_equal(unlink("damaged/" RUN_SUMMARY), 0);
        }
    }
    assert_int_equal(unlink("damaged/" RUN_LAST), 0);
    assert_int_equal(mkdir("damaged/" RUN_LAST, 0777), 0);
    assert_int_equal(run_job(&j, NULL), STPN_ERROR_INPUT);
    assert_message("damaged/last.safetensors: is not a regular file");
    assert_int_equal(rmdir("damaged/" RUN_LAST), 0);
    scratch_write("damaged/" RUN_LAST, good, size);
    finish(j);
    assert_same_file("whole", "damaged", RUN_LAST);
    free(good);
    free(bad);
}

/* Writes the checkpoint `from` to `to` with one tensor's first value, or one text of its metadata, changed or left out. */
static void write_hostile(const char *from, const char *to, const char *name, const void *value, const char *text)
{
    static const char *const keys[] = {"format", "stpn", "kernel", "experiment"};
    tensor_file *file, *changed;
    const tensor_entry *entry;
    int found = 0;
    assert_int_equal(tensor_file_read(&file, from, &error), STPN_OK);
    assert_int_equal(tensor_file_create(&changed, &error), STPN_OK);
    for (int i = 0; (entry = tensor_file_entry(file, i)); i++) {
        size_t bytes = entry->count * tensor_type_size(entry->type);
        char *data = malloc(bytes);
        assert_non_null(data);
        memcpy(data, entry->data, bytes);
        int here = strcmp(entry->name, name) == 0;
        if (here && value) memcpy(data, value, tensor_type_size(entry->type));
        if (!here || value)
            assert_int_equal(
                tensor_file_add(changed, entry->name, entry->type, entry->rank, entry->shape, data, &error), STPN_OK);
        found |= here;
        free(data);
    }
    for (int i = 0; i < 4; i++) {
        int here = strcmp(keys[i], name) == 0;
        const char *kept = here ? text : tensor_file_metadata(file, keys[i]);
        if (kept) assert_int_equal(tensor_file_set_metadata(changed, keys[i], kept, &error), STPN_OK);
        found |= here;
    }
    assert_true(found);
    assert_int_equal(tensor_file_save(changed, to, &error), STPN_OK);
    tensor_file_free(changed);
    tensor_file_free(file);
}

static void counts_out_of_range_are_refused(void **state)
{
    (void)state;
    /* The run stands at epoch 1, update 3 of 8; patience counts evaluations that were waited for. */
    static const struct {
        const char *name;
        int64_t value;
    } integers[] = {
        {"progress.epoch", -1},
        {"progress.epoch", 4},
        {"progress.epoch", INT64_MAX},
        {"progress.epoch", INT64_MIN},
        {"progress.epoch", INT64_C(1) << 32},
        {"progress.update", -1},
        {"progress.update", 8},
        {"progress.update", INT64_MAX},
        {"progress.update", INT64_C(1) << 32},
        {"progress.correct", -1},
        {"progress.correct", 3 * 32 + 1},
        {"progress.correct", INT64_MAX},
        {"progress.best_epoch", -1},
        {"progress.best_epoch", 2},
        {"progress.best_epoch", INT64_MAX},
        {"progress.waited", -1},
        {"progress.waited", 2},
        {"progress.waited", INT64_MAX},
        {"adam.updates", -1},
        {"adam.updates", 0},
        {"adam.updates", UPDATES + 2},
        {"adam.updates", UPDATES + 4},
        {"adam.updates", INT64_MAX},
    };
    static const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"progress.loss_sum", NAN},       {"progress.loss_sum", INFINITY}, {"progress.best_accuracy", NAN},
        {"progress.best_accuracy", -0.1}, {"progress.best_accuracy", 1.1},
    };
    static const char *const without[] = {
        "progress.epoch",           "progress.update",     "progress.loss_sum",
        "progress.correct",         "progress.best_epoch", "progress.best_accuracy",
        "progress.waited",          "adam.updates",        "adam.first.units.0.weight",
        "adam.second.readout.bias", "units.0.lambda"};
    const job stop = {.out = "hostile", .stop_after = UPDATES + 3}, j = {.out = "hostile", .resume = 1};
    assert_int_equal(run_job(&stop, NULL), STPN_STOPPED);
    copy_folder("hostile", "good");
    static const char good[] = "good/" RUN_LAST, last[] = "hostile/" RUN_LAST;
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        write_hostile(good, last, integers[i].name, &integers[i].value, NULL);
        assert_refused(&j, "hostile/last.safetensors: ");
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        write_hostile(good, last, numbers[i].name, &numbers[i].value, NULL);
        assert_refused(&j, "hostile/last.safetensors: ");
    }
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        write_hostile(good, last, without[i], NULL, NULL);
        assert_refused(&j, without[i]);
    }
    const float nan = NAN;
    static const char *const blocks[] = {"units.0.weight", "readout.weight", "adam.first.units.0.bias",
                                         "adam.second.units.0.gamma"};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        write_hostile(good, last, blocks[i], &nan, NULL);
        assert_refused(&j, blocks[i]);
    }
    static const char *const texts[][3] = {{"format", NULL, "has format \"none\", expected \"1\""},
                                           {"format", "2", "has format \"2\", expected \"1\""},
                                           {"format", "1 ", "has format \"1 \", expected \"1\""},
                                           {"kernel", NULL, "was written by kernel unknown"},
                                           {"kernel", "quantum", "was written by kernel quantum"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_hostile(good, last, texts[i][0], NULL, texts[i][1]);
        assert_refused(&j, texts[i][2]);
    }
    copy_file("good", "hostile", RUN_LAST);
    finish(j);
    assert_same_runs("whole", "hostile");
}

static void a_damaged_experiment_file_of_a_run_is_refused(void **state)
{
    (void)state;
    const job stop = {.out = "unread", .stop_after = 3}, j = {.out = "unread", .resume = 1};
    assert_int_equal(run_job(&stop, NULL), STPN_STOPPED);
    scratch_write("unread/" RUN_EXPERIMENT, "{\"name\": ", 9);
    assert_refused(&j, "unread/experiment.json: line 1, column 9: ");
    scratch_write("unread/" RUN_EXPERIMENT, "{}", 2);
    assert_refused(&j, "unread/experiment.json: name is missing");
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
        cmocka_unit_test(a_checkpoint_loads_as_a_network),
        cmocka_unit_test(a_run_stopped_anywhere_goes_on_to_the_same_bytes),
        cmocka_unit_test(early_stopping_happens_where_it_should),
        cmocka_unit_test(the_best_network_is_the_first_of_the_best),
        cmocka_unit_test(a_run_stopped_again_and_again_goes_on),
        cmocka_unit_test(a_stop_before_the_first_update_is_saved),
        cmocka_unit_test(a_killed_run_goes_on_to_the_same_bytes),
        cmocka_unit_test(what_is_missing_is_made_again),
        cmocka_unit_test(metrics_may_be_anything),
        cmocka_unit_test(an_existing_run_is_not_touched),
        cmocka_unit_test(a_difference_in_settings_is_named),
        cmocka_unit_test(another_kernel_is_refused_unless_allowed),
        cmocka_unit_test(a_locked_folder_is_refused),
        cmocka_unit_test(wrong_calls_leave_nothing),
        cmocka_unit_test(too_many_threads_are_refused),
        cmocka_unit_test(a_damaged_checkpoint_is_refused),
        cmocka_unit_test(counts_out_of_range_are_refused),
        cmocka_unit_test(a_damaged_experiment_file_of_a_run_is_refused),
        cmocka_unit_test(a_folder_is_opened_or_named),
        cmocka_unit_test(a_loss_that_is_no_number_keeps_the_last_good_checkpoint),
    };
    return cmocka_run_group_tests_name("train/run", tests, make_experiment, scratch_remove);
}
