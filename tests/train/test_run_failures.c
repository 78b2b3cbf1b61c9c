/* Every allocation and every system call of tiny runs made to fail in turn (see support/failing.h): a clean error, no
 * leak, and a folder from which the run goes on to the bytes of an undisturbed one. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <errno.h>
#include <time.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/metrics.h"
#include "run_support.h"
#include "support/effort.h"
#include "support/failing.h"
#include "train/checkpoint.h"
#include "train/summary.h"

static char file[SCRATCH_PATH], reference[SCRATCH_PATH], halfway[SCRATCH_PATH], work[SCRATCH_PATH];

/* Set where a file's text is not enough to see what a reader lost. */
static const char *const settings[] = {"train.learning_rate=0.0123456789",
                                       "note=\"a \\\"setting\\\" of some \\u00e4\""};

enum { SETTINGS = sizeof settings / sizeof *settings };

/* ------------------------------------------------------------------------------------------------------------- the run */

/* Stops in the second epoch. Reports come at most some times a second, so this waits for the next one to be due. */
static void stop_in_second_epoch(void *context, const stpn_progress *p)
{
    volatile int *stop = context;
    const struct timespec while_ = {.tv_nsec = 100000000};
    if (p->epoch_ended) nanosleep(&while_, NULL);
    else *stop = p->epoch == 2;
}

static stpn_status train_into(const char *out, int resume, stpn_error *error)
{
    const stpn_run_options o = {
        .file = file, .set = settings, .set_count = SETTINGS, .out = out, .resume = resume, .threads = resume ? 2 : 1};
    return stpn_run_train(&o, NULL, 0, error);
}

static int prepare(void **state)
{
    static const char text[] =
        "{\"name\": \"tiny\", \"seed\": 1234567890123,\n"
        " \"task\": {\"name\": \"retrieval\", \"pairs\": 1, \"train\": 64, \"validation\": 16, \"test\": 20},\n"
        " \"units\": [{\"name\": \"stpn_r\", \"hidden\": 2, \"clamp\": 0.987654321}],\n"
        " \"train\": {\"epochs\": 2, \"batch\": 32, \"shuffle\": true}}\n";
    if (make_run_scratch(state)) return 1;
    failing_use_for_jansson();
    failing_reset();
    scratch_write(scratch_path(file, "tiny.json"), text, sizeof text - 1);
    scratch_path(reference, "reference");
    scratch_path(halfway, "halfway");
    scratch_path(work, "work");
    stpn_error error;
    volatile int stop = 0;
    stpn_run_options o = {.file = file,
                          .set = settings,
                          .set_count = SETTINGS,
                          .out = halfway,
                          .threads = 1,
                          .stop = &stop,
                          .progress = stop_in_second_epoch,
                          .context = (void *)(uintptr_t)&stop};
    if (train_into(reference, 0, &error)) fail_msg("%s", error.message);
    assert_int_equal(stpn_run_train(&o, NULL, 0, &error), STPN_STOPPED);
    assert_non_null(strstr(error.message, "stopped after update 1 of epoch 2, saved"));
    return 0;
}

static int clean_up(void **state)
{
    return scratch_remove(state) || failing_live() != 0;
}

static void make_work_folder(const char *from)
{
    scratch_remove_tree(work);
    if (from) copy_folder(from, work);
}

/* ---------------------------------------------------------------------------------------- what a failed run leaves behind */

static int is_temporary(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && strcmp(dot, ".tmp") == 0;
}

/* The folder's files are whole, and the run goes on from them to the reference. Most failures leave one of a few states,
 * which are tried once; metrics.csv and the events, which tell the time, are left out of what tells states apart, and the
 * former is compared itself. */
static void assert_goes_on(void)
{
    enum { STATES = 64 };
    static uint64_t known[STATES];
    static int count;
    stpn_error error;
    if (access(work, F_OK) != 0) return;
    DIR *folder = opendir(work);
    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
        if (is_temporary(entry->d_name)) fail_msg("%s is left", entry->d_name);
    closedir(folder);
    char *metrics_text = NULL;
    size_t size = 0;
    if (is_there(work, RUN_METRICS)) {
        metrics_text = scratch_read(run_file(work, RUN_METRICS), &size);
        assert_true(size > 0 && metrics_text[size - 1] == '\n');
        assert_int_equal(unlink(run_file(work, RUN_METRICS)), 0);
    }
    if (is_there(work, RUN_EVENTS)) assert_int_equal(unlink(run_file(work, RUN_EVENTS)), 0);
    uint64_t print = folder_print(work, 0) + (metrics_text ? 1 : 0);
    if (metrics_text) scratch_write(run_file(work, RUN_METRICS), metrics_text, size);
    free(metrics_text);
    /* A summary tells the time too, and ends a run. */
    if (is_there(work, RUN_SUMMARY)) {
        assert_same_runs(reference, work);
        return;
    }
    for (int i = 0; i < count; i++)
        if (known[i] == print) return;
    assert_in_range(count, 0, STATES - 1);
    known[count++] = print;
    if (train_into(work, 1, &error)) fail_msg("does not go on: %s", error.message);
    assert_same_runs(reference, work);
}

/* After a run that returned `status`. */
static void assert_clean(stpn_status status, const stpn_error *error, long live)
{
    failing_reset();
    assert_int_equal(failing_live(), live);
    assert_int_equal(status == STPN_OK, error->message[0] == 0);
    assert_null(strchr(error->message, '\n'));
    if (status == STPN_OK) assert_true(is_there(work, RUN_SUMMARY));
    assert_goes_on();
}

/* --------------------------------------------------------------------------------------------------------- allocations */

static void fail_one_allocation(long n, int lasting)
{
    if (lasting) failing_set_allocations_from(n);
    else failing_set_allocation(n);
}

/* Out of memory is never taken for anything else; some allocations need not succeed. */
static int is_fair(stpn_status status, const stpn_error *error)
{
    if (status == STPN_ERROR_MEMORY) return strstr(error->message, "out of memory") != NULL;
    return status == STPN_OK;
}

/* Each allocation of a run that starts from a copy of folder `from` (NULL: from nothing); every sixth where only what
 * the threads do meanwhile is looked at. */
static void fail_allocations_of_runs(const char *from)
{
    stpn_error error;
    make_work_folder(from);
    failing_reset();
    assert_int_equal(train_into(work, from != NULL, &error), STPN_OK);
    const long total = failing_allocations();
    assert_same_runs(reference, work);
    for (int lasting = 0; lasting < 2; lasting++)
        for (long n = 1; n <= total; n += LOOKS_FOR_RACES ? 6 : 1) {
            make_work_folder(from);
            const long live = failing_live();
            error.message[0] = 0;
            fail_one_allocation(n, lasting);
            stpn_status status = train_into(work, from != NULL, &error);
            failing_reset();
            if (!is_fair(status, &error)) fail_msg("allocation %ld: status %d, \"%s\"", n, status, error.message);
            assert_clean(status, &error, live);
        }
}

static void a_new_run_survives_every_failed_allocation(void **state)
{
    (void)state;
    on_one_thread();
    fail_allocations_of_runs(NULL);
}

static void a_resumed_run_survives_every_failed_allocation(void **state)
{
    (void)state;
    fail_allocations_of_runs(halfway);
}

/* ------------------------------------------------------------------------------------------ allocations, call by call */

/* What the calls below work on: the reference, opened, and its resolved experiment. */
static struct {
    run run;
    char *text;
    size_t size;
    json_t *summary, *resolved;
    float *parameters;
} fixture;

/* Most allocations that a call tried, which ends with it or where it starts to check what it got. */
static long tried;

static void stop_failing(void)
{
    if (failing_allocations() > tried) tried = failing_allocations();
    failing_reset();
}

static size_t block_bytes(void)
{
    return fixture.run.net->block_values * sizeof(float);
}

static json_t *summary_without_times(stpn_error *error, stpn_status *status)
{
    const progress_counts counts = {.epoch = 2, .best_epoch = 1, .best_accuracy = 0.5};
    const summary_times times = {.seconds = 1.5, .sequences = 64, .updates = 4};
    char *text;
    /* The best network is another one, so that it would be seen if it stayed. */
    *status = summary_make(&fixture.run, &counts, run_file(halfway, RUN_LAST), &times, NULL, &text, error);
    assert_int_equal(*status != STPN_OK, text == NULL);
    if (*status) return NULL;
    json_t *summary;
    stop_failing();
    assert_int_equal(json_read(&summary, "the summary", text, strlen(text), error), STPN_OK);
    memory_free(text);
    json_object_del(json_object_get(summary, "train"), "peak_memory_bytes");
    return summary;
}

/* Each of these leaves nothing allocated and checks what it got. */

static stpn_status make_summary(stpn_error *error)
{
    stpn_status status;
    json_t *summary = summary_without_times(error, &status);
    stop_failing();
    if (summary) assert_true(json_equal(summary, fixture.summary));
    json_decref(summary);
    assert_memory_equal(fixture.run.net->parameters, fixture.parameters, block_bytes());
    return status;
}

static stpn_status describe_machine(stpn_error *error)
{
    json_t *machine = summary_machine(&fixture.run);
    stop_failing();
    stpn_status status = machine ? STPN_OK : error_memory(error, "a description");
    if (machine) assert_int_equal(json_object_size(machine), 4);
    json_decref(machine);
    return status;
}

static stpn_status open_folder(int best, stpn_error *error)
{
    run r;
    stpn_status status = run_open_folder(&r, reference, best, 2, error);
    stop_failing();
    if (status) {
        assert_true(!r.net && !r.pool && !r.learner && !r.data.train.tokens && !r.data.test.labels &&
                    !r.experiment.name);
        return status;
    }
    assert_true(json_equal(r.experiment.resolved, fixture.resolved));
    if (!best) assert_memory_equal(r.net->parameters, fixture.parameters, block_bytes());
    run_close(&r);
    return status;
}

static stpn_status open_last(stpn_error *error)
{
    return open_folder(0, error);
}

static stpn_status open_best(stpn_error *error)
{
    return open_folder(1, error);
}

static stpn_status parse_experiment(stpn_error *error)
{
    experiment e;
    stpn_status status = experiment_parse(&e, "a.json", fixture.text, fixture.size, settings, SETTINGS, NULL, error);
    stop_failing();
    if (status) {
        assert_true(!e.name && !e.note && !e.units && !e.resolved);
        return status;
    }
    assert_true(json_equal(e.resolved, fixture.resolved));
    assert_string_equal(e.note, "a \"setting\" of some ä");
    assert_true(e.train.learning_rate == 0.0123456789 && e.units[0].clamp == 0.987654321);
    experiment_free(&e);
    return status;
}

static stpn_status set_value(stpn_error *error)
{
    static const char *const assignments[] = {
        "name=a name of some length that is no JSON", "seed=1234567890123456", "train.epsilon=1.25e-7",
        "units.0={\"name\": \"stpn_f\", \"hidden\": 123456}", "note=\"with \\\"quotes\\\" and an \\u00e4\""};
    static const char expected[] =
        "{\"name\": \"a name of some length that is no JSON\", \"seed\": 1234567890123456, \"train\": {\"epsilon\": "
        "1.25e-7},"
        " \"units\": [{\"name\": \"stpn_f\", \"hidden\": 123456}], \"note\": \"with \\\"quotes\\\" and an ä\"}";
    json_t *object = NULL;
    static const char start[] = "{\"train\": {}, \"units\": [1]}";
    stpn_status status = json_read(&object, "a.json", start, sizeof start - 1, error);
    for (size_t i = 0; i < sizeof assignments / sizeof *assignments && !status; i++)
        status = json_set_path(object, assignments[i], error);
    stop_failing();
    if (!status) {
        json_t *document;
        assert_int_equal(json_read(&document, "expected", expected, sizeof expected - 1, error), STPN_OK);
        assert_true(json_equal(object, document));
        json_decref(document);
    }
    json_decref(object);
    return status;
}

static stpn_status load_checkpoint(stpn_error *error)
{
    run *r = &fixture.run;
    stpn_adam *adam = supervised_adam(r->learner);
    progress_counts counts = {.epoch = 77};
    const int64_t updates = adam->updates;
    float *first = memory_zeroed(1, block_bytes());
    if (!first) return error_memory(error, "a copy");
    memcpy(first, adam->first, block_bytes());
    stpn_status status = checkpoint_load(run_file(halfway, RUN_LAST), r, &counts, NULL, error);
    stop_failing();
    if (status) {
        assert_memory_equal(r->net->parameters, fixture.parameters, block_bytes());
        assert_memory_equal(adam->first, first, block_bytes());
        assert_true(adam->updates == updates);
        assert_int_equal(counts.epoch, 77);
    } else {
        assert_int_equal(counts.epoch, 1);
        assert_int_equal(counts.update, 1);
        assert_int_equal(adam->updates, 3);
        memcpy(r->net->parameters, fixture.parameters, block_bytes());
        memcpy(adam->first, first, block_bytes());
        adam->updates = updates;
    }
    memory_free(first);
    return status;
}

static stpn_status load_net(stpn_error *error)
{
    run *r = &fixture.run;
    memset(r->net->parameters, 0, block_bytes());
    stpn_status status = stpn_net_load(r->net, run_file(reference, RUN_LAST), error);
    stop_failing();
    if (!status) assert_memory_equal(r->net->parameters, fixture.parameters, block_bytes());
    for (size_t i = 0; status && i < r->net->block_values; i++) assert_true(((float *)r->net->parameters)[i] == 0);
    memcpy(r->net->parameters, fixture.parameters, block_bytes());
    return status;
}

static stpn_status resume_metrics(stpn_error *error)
{
    metrics m;
    const metrics_row row = {.epoch = 2};
    stpn_status status = metrics_resume(&m, METRICS_ACCURACY, run_file(reference, RUN_METRICS), 1, error);
    for (int i = 0; i < 100 && !status; i++) status = metrics_add(&m, &row, error);
    metrics_free(&m);
    return status;
}

static stpn_status evaluate(stpn_error *error)
{
    run *r = &fixture.run;
    evaluation result;
    return supervised_evaluate(r->learner, &r->data.test, &result, NULL, NULL, error);
}

static stpn_status create_learner(stpn_error *error)
{
    supervised *s = (supervised *)1;
    const run *r = &fixture.run;
    stpn_status status = supervised_create(&s, r->net, &r->experiment.train, &r->experiment.shape, r->pool, error);
    assert_int_equal(status != STPN_OK, s == NULL);
    supervised_free(s);
    return status;
}

static stpn_status draw_data(stpn_error *error)
{
    const experiment *e = &fixture.run.experiment;
    task_data data;
    stpn_status status = e->task->draw(&e->task_options, 1, &data, error);
    if (status) assert_true(!data.train.tokens && !data.validation.tokens && !data.test.tokens);
    task_data_free(&data);
    return status;
}

static stpn_status create_net(stpn_error *error)
{
    stpn_unit units[2] = {stpn_unit_default("stpn_r", 3), stpn_unit_default("stpn_f", 5)};
    units[0].layer_norm = 1;
    units[1].learn = 0;
    const stpn_head heads[2] = {{"policy", 4}, {"value", 1}};
    const stpn_net_desc desc = {.inputs = 7, .units = units, .unit_count = 2, .heads = heads, .head_count = 2};
    stpn_net *net = (stpn_net *)1;
    stpn_status status = stpn_net_create(&net, &desc, error);
    assert_int_equal(status != STPN_OK, net == NULL);
    stpn_net_free(net);
    return status;
}

static stpn_status create_state(stpn_error *error)
{
    stpn_state *created = (stpn_state *)1;
    stpn_status status = stpn_state_create(&created, fixture.run.net, 20, error);
    assert_int_equal(status != STPN_OK, created == NULL);
    stpn_state_free(created);
    return status;
}

static stpn_status create_tape(stpn_error *error)
{
    stpn_tape *tape = (stpn_tape *)1;
    stpn_status status = stpn_tape_create(&tape, fixture.run.net, 5, 20, 2, error);
    assert_int_equal(status != STPN_OK, tape == NULL);
    stpn_tape_free(tape);
    return status;
}

static stpn_status create_pool(stpn_error *error)
{
    stpn_pool *pool = (stpn_pool *)1;
    stpn_status status = stpn_pool_create(&pool, 3, error);
    assert_int_equal(status != STPN_OK, pool == NULL);
    stpn_pool_free(pool);
    return status;
}

static stpn_status create_adam(stpn_error *error)
{
    stpn_adam *adam = (stpn_adam *)1;
    stpn_status status = stpn_adam_create(&adam, fixture.run.net, 0.1, 0.9, 0.999, 1e-8, error);
    assert_int_equal(status != STPN_OK, adam == NULL);
    stpn_adam_free(adam);
    return status;
}

static void every_call_survives_every_failed_allocation(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        stpn_status (*call)(stpn_error *error);
        long least; // allocations
    } calls[] = {
        {"stpn_net_create", create_net, 10},
        {"stpn_state_create", create_state, 3},
        {"stpn_tape_create", create_tape, 5},
        {"stpn_pool_create", create_pool, 2},
        {"stpn_adam_create", create_adam, 3},
        {"stpn_net_load", load_net, 10},
        {"supervised_create", create_learner, 20},
        {"supervised_evaluate", evaluate, 2},
        {"task.draw", draw_data, 6},
        {"metrics_resume", resume_metrics, 3},
        {"json_set_path", set_value, 20},
        {"experiment_parse", parse_experiment, 100},
        {"checkpoint_load", load_checkpoint, 30},
        {"run_open_folder, last", open_last, 150},
        {"run_open_folder, best", open_best, 150},
        {"summary_make", make_summary, 50},
        {"summary_machine", describe_machine, 5},
    };
    stpn_error error;
    stpn_status status;
    experiment e;
    fixture.text = scratch_read(file, &fixture.size);
    assert_int_equal(experiment_read(&e, file, settings, SETTINGS, NULL, &error), STPN_OK);
    fixture.resolved = json_incref(e.resolved);
    experiment_free(&e);
    assert_int_equal(run_open_folder(&fixture.run, reference, 0, 1, &error), STPN_OK);
    fixture.parameters = memory_zeroed(1, block_bytes());
    assert_non_null(fixture.parameters);
    memcpy(fixture.parameters, fixture.run.net->parameters, block_bytes());
    fixture.summary = summary_without_times(&error, &status);
    assert_int_equal(status, STPN_OK);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (int lasting = 0; lasting < 2; lasting++) {
            tried = 0;
            error.message[0] = 0;
            failing_reset();
            assert_int_equal(calls[i].call(&error), STPN_OK);
            stop_failing();
            const long total = tried;
            for (long n = 1; n <= total; n++) {
                const long live = failing_live();
                error.message[0] = 0;
                fail_one_allocation(n, lasting);
                status = calls[i].call(&error);
                stop_failing();
                assert_int_equal(failing_live(), live);
                if (!is_fair(status, &error) || (status == STPN_OK) != (error.message[0] == 0))
                    fail_msg("%s: allocation %ld: status %d, \"%s\"", calls[i].name, n, status, error.message);
            }
            if (total < calls[i].least) fail_msg("%s: tried %ld allocations", calls[i].name, total);
        }
    json_decref(fixture.summary);
    json_decref(fixture.resolved);
    run_close(&fixture.run);
    memory_free(fixture.parameters);
    free(fixture.text);
}

/* -------------------------------------------------------------------------------------------------------- system calls */

static const char *const call_names[FAILING_CALL_COUNT] = {"open", "write", "fsync", "rename", "close"};

/* A disk that fails is the system's fault; nobody asks whether closing a file that was read went well. */
static int is_fair_for(failing_call kind, int code, stpn_status status, const stpn_error *error)
{
    if (status == STPN_ERROR_SYSTEM) return strstr(error->message, strerror(code)) != NULL;
    return status == STPN_OK && kind == FAILING_CLOSE;
}

/* last.safetensors is one that an undisturbed run had, too. */
static void assert_last_is_whole(const char *from)
{
    if (!from) return; /* assert_goes_on looks at it */
    size_t size, sizes[2];
    char *data = scratch_read(run_file(work, RUN_LAST), &size);
    char *good[2] = {scratch_read(run_file(from, RUN_LAST), &sizes[0]),
                     scratch_read(run_file(reference, RUN_LAST), &sizes[1])};
    int equal = 0;
    for (int i = 0; i < 2; i++) equal |= size == sizes[i] && memcmp(data, good[i], size) == 0;
    assert_true(equal);
    free(data);
    free(good[0]);
    free(good[1]);
}

static void fail_calls_of_runs(const char *from)
{
    static const int codes[] = {EIO, ENOSPC};
    stpn_error error;
    make_work_folder(from);
    failing_reset();
    assert_int_equal(train_into(work, from != NULL, &error), STPN_OK);
    /* A file is synced before it takes its name, and its folder after. */
    /* Once a file is synced that is only added to: the events. */
    assert_int_equal(failing_calls(FAILING_FSYNC), 2 * failing_calls(FAILING_RENAME) + 1);
    for (int kind = 0; kind < FAILING_CALL_COUNT; kind++) {
        make_work_folder(from);
        failing_reset();
        assert_int_equal(train_into(work, from != NULL, &error), STPN_OK);
        const long total = failing_calls((failing_call)kind);
        long failed = 0;
        assert_true(total >= (kind == FAILING_WRITE ? 30 : 3));
        for (int c = 0; c < 2; c++)
            for (long n = 1; n <= total; n++) {
                make_work_folder(from);
                const long live = failing_live();
                error.message[0] = 0;
                failing_set_call((failing_call)kind, n, codes[c]);
                stpn_status status = train_into(work, from != NULL, &error);
                failing_reset();
                if (!is_fair_for((failing_call)kind, codes[c], status, &error))
                    fail_msg("%s %ld: status %d, \"%s\"", call_names[kind], n, status, error.message);
                failed += status != STPN_OK;
                assert_last_is_whole(from);
                assert_clean(status, &error, live);
            }
        assert_true(kind == FAILING_CLOSE ? failed > 0 : failed == 2 * total);
    }
}

static void a_new_run_survives_every_failed_call(void **state)
{
    (void)state;
    on_one_thread();
    fail_calls_of_runs(NULL);
}

static void a_resumed_run_survives_every_failed_call(void **state)
{
    (void)state;
    fail_calls_of_runs(halfway);
}

static void fill_disk_of_runs(const char *from)
{
    stpn_error error;
    stpn_status status = STPN_ERROR_SYSTEM;
    long fills = 0;
    for (long room = 0; status; room += 61, fills++) {
        make_work_folder(from);
        const long live = failing_live();
        error.message[0] = 0;
        failing_set_disk(room);
        status = train_into(work, from != NULL, &error);
        failing_reset();
        if (status) assert_int_equal(status, STPN_ERROR_SYSTEM);
        if (status) assert_non_null(strstr(error.message, strerror(ENOSPC)));
        assert_last_is_whole(from);
        assert_clean(status, &error, live);
    }
    assert_true(fills > 50);
}

static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    if (!LOOKS_FOR_RACES) fill_disk_of_runs(NULL); // on one thread
    fill_disk_of_runs(halfway);
}

/* Again and again something fails, and each time the run goes on from where it stood. */
static void one_failure_after_another(void **state)
{
    (void)state;
    static const failing_call kinds[] = {FAILING_WRITE, FAILING_FSYNC, FAILING_RENAME};
    stpn_error error;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        make_work_folder(NULL);
        stpn_status status = STPN_ERROR_SYSTEM;
        for (long n = 1; status; n++) {
            assert_in_range(n, 1, 1000);
            failing_set_call(kinds[k], n, EIO);
            status = train_into(work, 1, &error);
            failing_reset();
            if (status) assert_int_equal(status, STPN_ERROR_SYSTEM);
        }
        assert_same_runs(reference, work);
    }
}

static void short_and_interrupted_writes_go_on(void **state)
{
    (void)state;
    stpn_error error;
    for (long n = 0; n <= 30; n += 3) {
        make_work_folder(n % 2 ? halfway : NULL);
        failing_set_short_writes(7);
        failing_set_call(FAILING_WRITE, n, EINTR);
        assert_int_equal(train_into(work, n % 2 != 0, &error), STPN_OK);
        failing_reset();
        assert_same_runs(reference, work);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_run_survives_every_failed_allocation),
        cmocka_unit_test(a_resumed_run_survives_every_failed_allocation),
        cmocka_unit_test(every_call_survives_every_failed_allocation),
        cmocka_unit_test(a_new_run_survives_every_failed_call),
        cmocka_unit_test(a_resumed_run_survives_every_failed_call),
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(one_failure_after_another),
        cmocka_unit_test(short_and_interrupted_writes_go_on),
    };
    return cmocka_run_group_tests_name("train/run, failures", tests, prepare, clean_up);
}
