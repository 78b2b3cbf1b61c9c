/* Runs in an environment that are stopped or killed anywhere go on to the bytes of an undisturbed one. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>
#include <sys/wait.h>

#include "run_job.h"
#include "support/effort.h"

static const job kinds[] = {
    {.set = {"train.test_iterations=2"}},
    {.set = {"units.0={\"name\": \"stpn_r\", \"hidden\": 5}", "train.batch=33"}, .threads = 3},
    {.set = {"train.evaluate_every=1", "train.patience=1", "train.iterations=40", "train.learning_rate=1e-9"}},
    {.set = {"units.0={\"name\": \"lstm\", \"hidden\": 5}", "train.schedule=cosine", "train.weight_decay=0.1"},
     .threads = 2},
    {.set = {"task.start=random", "train.baseline=shared", "train.entropy_weight=0.1", "train.burn_in=0"}},
};

enum { KINDS = sizeof kinds / sizeof *kinds };

static int make_experiment(void **state)
{
    static const char text[] =
        "{\"name\": \"small\", \"seed\": 1,\n"
        " \"task\": {\"name\": \"maze\", \"size\": 5, \"steps\": 10},\n"
        " \"units\": [{\"name\": \"stpn_r\", \"hidden\": 4, \"norm\": \"post\", \"clamp\": 1}],\n"
        " \"train\": {\"method\": \"a2c\", \"iterations\": 7, \"batch\": 20, \"burn_in\": 2,\n"
        "  \"learning_rate\": 0.02, \"evaluate_every\": 3, \"test_iterations\": 3}}\n";
    if (make_run_scratch(state)) return 1;
    scratch_write(scratch_path(experiment_path, "small.json"), text, sizeof text - 1);
    unsetenv("STPN_KERNEL");
    return chdir(scratch_folder);
}

/* Finishes a run of each kind once; returns how many iterations that took. */
static int reference_run(int kind, char *out, size_t size)
{
    static int iterations[KINDS];
    snprintf(out, size, "reference-%d", kind);
    if (iterations[kind]) return iterations[kind];
    job j = kinds[kind];
    watch w;
    j.out = out;
    if (run_job(&j, &w)) fail_msg("%s", error.message);
    return iterations[kind] = w.updates;
}

enum { STOP_EVERY = LOOKS_FOR_RACES ? 3 : 1 };

static void a_run_stopped_anywhere_goes_on_to_the_same_bytes(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        char reference[64];
        const int iterations = reference_run(kind, reference, sizeof reference);
        for (int n = iterations; n >= 1; n -= STOP_EVERY) {
            job j = kinds[kind];
            watch w;
            j.out = "stopped";
            j.stop_after = n;
            stpn_status status = run_job(&j, &w);
            assert_int_equal(w.updates, n);
            assert_int_equal(status, STPN_STOPPED);
            char message[64];
            snprintf(message, sizeof message, "stopped after iteration %d, saved", n);
            /* The last one is followed by the test, which is stopped too. */
            assert_message(n == iterations ? "stopped in the test, saved" : message);
            assert_false(is_there("stopped", RUN_SUMMARY));
            j = resumed(j);
            j.threads = 1 + n % 3;
            assert_int_equal(run_job(&j, &w), STPN_OK);
            assert_int_equal(w.updates, iterations - n);
            assert_same_runs(reference, "stopped");
            scratch_remove_tree("stopped");
        }
    }
}

static void a_run_stopped_again_and_again_goes_on(void **state)
{
    (void)state;
    char reference[64];
    reference_run(1, reference, sizeof reference);
    job j = kinds[1];
    j.out = "often";
    j.stop_after = 1;
    stpn_status status = run_job(&j, NULL);
    for (int i = 0; status == STPN_STOPPED; i++) {
        assert_in_range(i, 0, 100);
        j.resume = 1;
        j.threads = 1 + i % 2;
        status = run_job(&j, NULL);
    }
    assert_int_equal(status, STPN_OK);
    assert_same_runs(reference, "often");
}

static void a_stop_before_the_first_iteration_is_saved(void **state)
{
    (void)state;
    char reference[64];
    reference_run(0, reference, sizeof reference);
    const volatile int stop = 1;
    stpn_run_options o = {
        .file = experiment_path, .set = kinds[0].set, .set_count = 1, .out = "at once", .stop = &stop};
    assert_int_equal(stpn_run_train(&o, NULL, 0, &error), STPN_STOPPED);
    assert_message("stopped after iteration 0, saved");
    o.resume = 1;
    o.stop = NULL;
    assert_int_equal(stpn_run_train(&o, NULL, 0, &error), STPN_OK);
    assert_same_runs(reference, "at once");
}

/* With a clock that stands, whatever comes after the first iteration is in no file; else all of it is. */
static void a_killed_run_goes_on_to_the_same_bytes(void **state)
{
    (void)state;
    on_one_thread();
    for (int stands = 0; stands < 2; stands++) {
        char reference[64];
        const int iterations = reference_run(0, reference, sizeof reference);
        for (int n = 1; n <= iterations; n += STOP_EVERY) {
            job j = kinds[0];
            j.out = "killed";
            j.stop_after = n;
            j.kill = 1;
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                clock_stands = stands;
                (void)run_job(&j, NULL);
                _exit(stands ? 0 : 1); // nothing is reported before a row's end
            }
            int result;
            assert_int_equal(waitpid(child, &result, 0), child);
            assert_int_equal(result, 0);
            finish(resumed(j));
            assert_same_file(reference, "killed", RUN_LAST);
            assert_same_file(reference, "killed", RUN_BEST);
            assert_same_metrics(reference, "killed");
            scratch_remove_tree("killed");
        }
    }
}

/* The best network is that of the first row with the highest reward; rows sum up their iterations. */
static void rows_and_the_best_of_them(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        char reference[64];
        size_t size;
        const int iterations = reference_run(kind, reference, sizeof reference);
        json_t *summary = read_document(reference, RUN_SUMMARY), *e = read_document(reference, RUN_EXPERIMENT);
        const json_t *train = json_object_get(summary, "train"), *settings = json_object_get(e, "train");
        const int every = (int)json_integer_value(json_object_get(settings, "evaluate_every"));
        const int burn_in = (int)json_integer_value(json_object_get(settings, "burn_in"));
        char *text = scratch_read(run_file(reference, RUN_METRICS), &size), *line = strchr(text, '\n') + 1;
        double best = -INFINITY, reward;
        int best_iteration = 0, iteration = 0, updates, before = 0;
        for (; *line; line = strchr(line, '\n') + 1, before = iteration) {
            assert_int_equal(sscanf(line, "%d,%d,%lf", &iteration, &updates, &reward), 3);
            assert_int_equal(iteration, before + every < iterations ? before + every : iterations);
            assert_int_equal(updates, iteration > burn_in ? iteration - burn_in : 0);
            if (reward > best) best_iteration = iteration;
            if (reward > best) best = reward;
        }
        assert_int_equal(iteration, iterations);
        assert_int_equal(json_integer_value(json_object_get(train, "iterations")), iterations);
        assert_int_equal(json_integer_value(json_object_get(train, "best_iteration")), best_iteration);
        assert_true(fabs(json_real_value(json_object_get(train, "best_reward")) - best) < 1e-8 * (1 + fabs(best)));
        const int most = (int)json_integer_value(json_object_get(settings, "iterations"));
        assert_int_equal(json_is_true(json_object_get(train, "stopped_early")), iterations < most);
        if (kind == 2) assert_int_equal(iterations, best_iteration + 1);
        free(text);
        json_decref(summary);
        json_decref(e);
    }
}

/* ------------------------------------------------------------------------------------------------- not a number, damage */

/* What was learned before it is kept, and resumed it comes to the same. */
static void a_loss_that_is_not_finite_keeps_what_was_before(void **state)
{
    (void)state;
    on_one_thread();
    for (int stands = 0; stands < 2; stands++) {
        /* Rewards beyond what squares hold, from the fifth iteration on at the latest. */
        job j = {.set = {"task.reward=1e6", "train.value_weight=1e6", "train.learning_rate=1000", "train.clip_norm=0",
                         "units.0={\"name\": \"stpn_r\", \"hidden\": 4, \"norm\": \"none\"}", "task.steps=300"},
                 .out = "wild"};
        char first[sizeof error.message];
        clock_stands = stands;
        assert_int_equal(run_job(&j, NULL), STPN_ERROR_NUMERIC);
        assert_message("in iteration ");
        assert_message("last.safetensors is from before");
        snprintf(first, sizeof first, "%s", error.message);
        const int at = atoi(strstr(first, "in iteration ") + strlen("in iteration "));
        assert_true(at > 2);
        tensor_file *file;
        assert_int_equal(tensor_file_read(&file, "wild/" RUN_LAST, NULL), STPN_OK);
        const int64_t *iteration = tensor_file_find(file, "progress.iteration")->data;
        const int64_t *episode = tensor_file_find(file, "state.environment")->data;
        assert_int_equal(*iteration, at - 1);
        assert_int_equal(*episode, at - 1);
        tensor_file_free(file);
        assert_false(is_there("wild", RUN_SUMMARY));
        j.resume = 1;
        assert_int_equal(run_job(&j, NULL), STPN_ERROR_NUMERIC);
        assert_string_equal(error.message, first);
        scratch_remove_tree("wild");
    }
    clock_stands = 0;
}

/* A copy of "halfway" whose tensor `name` is another, or under another name. */
static void damage(const char *name, const char *other, int64_t value)
{
    tensor_file *file, *changed;
    assert_int_equal(tensor_file_read(&file, "halfway/" RUN_LAST, &error), STPN_OK);
    assert_int_equal(tensor_file_create(&changed, &error), STPN_OK);
    static const char *const metadata[] = {"stpn_format", "stpn", "kernel", "experiment"};
    for (size_t i = 0; i < sizeof metadata / sizeof *metadata; i++)
        assert_int_equal(
            tensor_file_set_metadata(changed, metadata[i], tensor_file_metadata(file, metadata[i]), &error), STPN_OK);
    const tensor_entry *entry;
    int64_t *copies[64];
    int count = 0;
    for (int i = 0; (entry = tensor_file_entry(file, i)); i++) {
        const void *data = entry->data;
        int is_it = strcmp(entry->name, name) == 0;
        if (is_it && !other) {
            copies[count] = calloc(entry->count, sizeof **copies);
            memcpy(copies[count], data, entry->count * sizeof **copies);
            copies[count][0] = value;
            data = copies[count++];
        }
        assert_int_equal(tensor_file_add(changed, is_it && other ? other : entry->name, entry->type, entry->rank,
                                         entry->shape, data, &error),
                         STPN_OK);
    }
    assert_int_equal(tensor_file_save(changed, "halfway/" RUN_LAST, &error), STPN_OK);
    tensor_file_free(changed);
    tensor_file_free(file);
    while (count) free(copies[--count]);
}

static void a_damaged_checkpoint_is_refused(void **state)
{
    (void)state;
    on_one_thread();
    static const struct {
        const char *tensor, *other;
        int64_t value;
        const char *says;
    } cases[] = {
        {"state.environment", "state.elsewhere", 0, "state.environment is missing"},
        {"state.environment", NULL, -1, "halfway/last.safetensors"},
        {"progress.iteration", NULL, 8, "do not fit"},
        {"progress.iteration", NULL, -1, "out of range"},
        {"progress.since", NULL, 4, "do not fit"},
        {"progress.since", NULL, -1, "out of range"},
        {"progress.best_iteration", NULL, 99, "out of range"},
        {"progress.best_reward", NULL, INT64_C(0x7ff8000000000000), "out of range"},
        {"progress.reward_sum", NULL, INT64_C(0x7ff0000000000000), "out of range"},
        {"progress.waited", NULL, 7, "do not fit"},
        {"progress.waited", "progress.wait", 7, "progress.waited is missing"},
        {"adam.updates", NULL, 6, "do not fit"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const job j = {.out = "halfway", .stop_after = 5};
        assert_int_equal(run_job(&j, NULL), STPN_STOPPED);
        damage(cases[i].tensor, cases[i].other, cases[i].value);
        const uint64_t before = folder_print("halfway", 1);
        const job again = resumed(j);
        assert_int_equal(run_job(&again, NULL), STPN_ERROR_INPUT);
        assert_message(cases[i].says);
        assert_true(folder_print("halfway", 1) == before);
        scratch_remove_tree("halfway");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_stopped_anywhere_goes_on_to_the_same_bytes),
        cmocka_unit_test(a_run_stopped_again_and_again_goes_on),
        cmocka_unit_test(a_stop_before_the_first_iteration_is_saved),
        cmocka_unit_test(a_killed_run_goes_on_to_the_same_bytes),
        cmocka_unit_test(rows_and_the_best_of_them),
        cmocka_unit_test(a_loss_that_is_not_finite_keeps_what_was_before),
        cmocka_unit_test(a_damaged_checkpoint_is_refused),
    };
    return cmocka_run_group_tests_name("train/iterations", tests, make_experiment, scratch_remove);
}
