/* What stpn_run_train refuses: other settings, other kernels, damaged and hostile files; and that it then changes nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <fcntl.h>
#include <math.h>
#include <sys/file.h>

#include "run_job.h"
#include "support/effort.h"

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
    on_one_thread();
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
    static const char *const keys[] = {"stpn_format", "stpn", "kernel", "experiment"};
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
    on_one_thread();
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
        {"progress.answers", -1},
        {"progress.answers", 0},
        {"progress.best_epoch", -1},
        {"progress.best_epoch", 2},
        {"progress.best_epoch", INT64_MAX},
        {"progress.waited", -1},
        {"progress.waited", 2},
        {"progress.waited", INT64_MAX},
        {"adam.updates", -1},
        {"adam.updates", UPDATES + 4},
        {"adam.updates", INT64_MAX},
    };
    static const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"progress.loss_sum", NAN},       {"progress.loss_sum", INFINITY}, {"progress.best_loss", NAN},
        {"progress.best_loss", INFINITY}, {"progress.best_accuracy", NAN}, {"progress.best_accuracy", -0.1},
        {"progress.best_accuracy", 1.1},
    };
    static const char *const without[] = {
        "progress.epoch",     "progress.update",  "progress.loss_sum",         "progress.answers",
        "progress.best_loss", "progress.correct", "progress.best_epoch",       "progress.best_accuracy",
        "progress.waited",    "adam.updates",     "adam.first.units.0.weight", "adam.second.readout.bias",
        "units.0.lambda"};
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
    static const char *const texts[][3] = {{"stpn_format", NULL, "has stpn_format \"none\", expected \"1\""},
                                           {"stpn_format", "2", "has stpn_format \"2\", expected \"1\""},
                                           {"stpn_format", "1 ", "has stpn_format \"1 \", expected \"1\""},
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
    assert_refused(&j, "unread/experiment.json: line 1, column 10: ");
    scratch_write("unread/" RUN_EXPERIMENT, "{}", 2);
    assert_refused(&j, "unread/experiment.json: name is missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_existing_run_is_not_touched),
        cmocka_unit_test(a_difference_in_settings_is_named),
        cmocka_unit_test(another_kernel_is_refused_unless_allowed),
        cmocka_unit_test(a_locked_folder_is_refused),
        cmocka_unit_test(wrong_calls_leave_nothing),
        cmocka_unit_test(too_many_threads_are_refused),
        cmocka_unit_test(a_damaged_checkpoint_is_refused),
        cmocka_unit_test(counts_out_of_range_are_refused),
        cmocka_unit_test(a_damaged_experiment_file_of_a_run_is_refused),
    };
    return cmocka_run_group_tests_name("train/refused", tests, make_whole_run, scratch_remove);
}
