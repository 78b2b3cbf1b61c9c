/* Runs that are stopped or killed anywhere go on to the bytes of an undisturbed one. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>
#include <sys/wait.h>

#include "run_job.h"
#include "support/effort.h"

/* ---------------------------------------------------------------------------------------------------------- resuming */

static const job kinds[] = {
    {.set = {"train.epochs=3"}},
    {.set = {"train.shuffle=true"}, .threads = 2},
    {.set = {"train.epochs=9", "train.patience=1"}},
    {.set = {"train.epochs=5", "train.evaluate_every=2", "train.shuffle=true"}},
    {.set = {"train.epochs=9", "train.evaluate_every=2", "train.patience=1", "task.validation=7"}},
    {.set = {"train.clip_norm=0.1", "units.0.norm=post", "units.0.clamp=0.5", "train.batch=33"}, .threads = 3},
    {.set = {"train.schedule=cosine", "train.warmup=5", "train.weight_decay=0.1", "train.final_rate=0.1"}},
    /* Two windows a batch, of which the last asks for the answer. */
    {.set = {"train.truncate=4", "train.shuffle=true", "train.schedule=linear", "train.batch=33"}, .threads = 2},
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

/* Where a run is stopped makes no difference to its threads. */
enum { STOP_EVERY = LOOKS_FOR_RACES ? 5 : 1, KILL_EVERY = LOOKS_FOR_RACES ? 8 : 3 };

static void a_run_stopped_anywhere_goes_on_to_the_same_bytes(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        char reference[64];
        const int updates = reference_run(kind, reference, sizeof reference);
        for (int n = updates; n >= 1; n -= STOP_EVERY) {
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
        const int windows = json_integer_value(json_object_get(settings, "truncate")) ? 2 : 1;
        assert_int_equal(json_integer_value(json_object_get(train, "updates")) * windows, updates);
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
        for (int step = 1 + LOOKS_FOR_RACES; step <= 3; step++) {
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
        for (int n = 1; n <= updates; n += KILL_EVERY) {
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

/* Epochs that take no time at all: the first is saved, the others with the end; a kill in between loses nothing for good. */
static void count_epochs(void *context, const stpn_progress *p)
{
    int *kill_after = context;
    if (!p->epoch_ended) return;
    tensor_file *file;
    assert_int_equal(tensor_file_read(&file, "quick/" RUN_LAST, NULL), STPN_OK);
    const int64_t *epoch = tensor_file_find(file, "progress.epoch")->data;
    /* What this epoch leaves is not written yet. */
    assert_int_equal(*epoch, p->epoch > 1);
    assert_int_equal(is_there("quick", RUN_BEST), p->epoch > 1);
    tensor_file_free(file);
    if (p->epoch == *kill_after) _exit(0);
}

static void short_epochs_share_a_checkpoint(void **state)
{
    (void)state;
    for (int kill_after = 0; kill_after <= EPOCHS; kill_after++) {
        stpn_run_options o = {
            .file = experiment_path, .out = "quick", .threads = 1, .progress = count_epochs, .context = &kill_after};
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            clock_stands = 1;
            _exit(stpn_run_train(&o, NULL, 0, &error) ? 1 : 0);
        }
        int result;
        assert_int_equal(waitpid(child, &result, 0), child);
        assert_int_equal(result, 0);
        assert_int_equal(is_there("quick", RUN_SUMMARY), kill_after == 0);
        finish((job){.out = "quick", .resume = 1});
        assert_same_file("whole", "quick", RUN_LAST);
        assert_same_file("whole", "quick", RUN_BEST);
        assert_same_metrics("whole", "quick");
        scratch_remove_tree("quick");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_stopped_anywhere_goes_on_to_the_same_bytes),
        cmocka_unit_test(early_stopping_happens_where_it_should),
        cmocka_unit_test(the_best_network_is_the_first_of_the_best),
        cmocka_unit_test(a_run_stopped_again_and_again_goes_on),
        cmocka_unit_test(a_stop_before_the_first_update_is_saved),
        cmocka_unit_test(a_killed_run_goes_on_to_the_same_bytes),
        cmocka_unit_test(short_epochs_share_a_checkpoint),
        cmocka_unit_test(what_is_missing_is_made_again),
        cmocka_unit_test(metrics_may_be_anything),
    };
    return cmocka_run_group_tests_name("train/resume", tests, make_whole_run, scratch_remove);
}
