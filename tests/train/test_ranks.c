/* Runs that ranks share: the bytes of a run alone, on any number of ranks and threads, also where they stop and go on. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "run_job.h"
#include "support/effort.h"
#include "support/ranks.h"

typedef struct kind {
    const char *name, *text;
    const char *set[SETTINGS]; // up to the first NULL
} kind;

#define RETRIEVAL                                                                                             \
    "{\"name\": \"small\", \"seed\": 1,\n"                                                                    \
    " \"task\": {\"name\": \"retrieval\", \"pairs\": 2, \"train\": 270, \"validation\": 90, \"test\": 40},\n" \
    " \"units\": [{\"name\": \"stpn_r\", \"hidden\": 4}],\n"                                                  \
    " \"train\": {\"epochs\": 3, \"batch\": 90, \"learning_rate\": 0.02}}\n"
#define MAZE                                                                                   \
    "{\"name\": \"small\", \"seed\": 1,\n"                                                     \
    " \"task\": {\"name\": \"maze\", \"size\": 5, \"steps\": 10},\n"                           \
    " \"units\": [{\"name\": \"stpn_r\", \"hidden\": 4, \"norm\": \"post\", \"clamp\": 1}],\n" \
    " \"train\": {\"method\": \"a2c\", \"iterations\": 5, \"batch\": 90, \"burn_in\": 2,\n"    \
    "  \"learning_rate\": 0.02, \"evaluate_every\": 2, \"test_iterations\": 2}}\n"
#define PENDULUM                                                                               \
    "{\"name\": \"small\", \"seed\": 1,\n"                                                     \
    " \"task\": {\"name\": \"pendulum\"},\n"                                                   \
    " \"units\": [{\"name\": \"stpn_f\", \"hidden\": 4}],\n"                                   \
    " \"train\": {\"method\": \"ppo\", \"steps\": 9000, \"batch\": 60, \"rollout\": 50,\n"     \
    "  \"minibatch\": 1000, \"passes\": 2, \"learning_rate\": 0.003, \"evaluate_every\": 1,\n" \
    "  \"test_iterations\": 1}}\n"

static const kind kinds[] = {
    {"retrieval", RETRIEVAL, {NULL}},
    {"windows", RETRIEVAL, {"train.truncate=4", "train.shuffle=true", "train.batch=50", "train.evaluate_every=2"}},
    {"maze", MAZE, {NULL}},
    {"maze-shared", MAZE, {"train.baseline=shared", "train.reduction=steps", "train.batch=33", "train.clip_norm=1"}},
    {"maze-rollouts",
     MAZE,
     {"train={\"method\": \"a2c\", \"steps\": 2700, \"batch\": 90, \"rollout\": 5, \"lambda\": 0.9,"
      " \"learning_rate\": 0.02, \"evaluate_every\": 2, \"test_iterations\": 1}"}},
    {"maze-ppo",
     MAZE,
     {"train={\"method\": \"ppo\", \"steps\": 3360, \"batch\": 70, \"rollout\": 12, \"sequence\": 5,"
      " \"minibatch\": 400, \"passes\": 2, \"learning_rate\": 0.01, \"evaluate_every\": 1, \"test_iterations\": 1,"
      " \"normalise_observations\": true, \"normalise_rewards\": true, \"normalise_advantages\": true}"}},
    /* Where there is MuJoCo. */
    {"pendulum", PENDULUM, {NULL}},
    {"pendulum-scaled", PENDULUM, {"train.normalise_observations=true", "train.kl_weight=0.2"}},
};

enum { ALL_KINDS = sizeof kinds / sizeof *kinds, PENDULUMS = 2 };

static int kind_count = ALL_KINDS;

/* One run, on as many ranks. */
typedef struct together {
    crew crew;
    const kind *kind;
    const char *out;
    int threads, resume, stop_after; // iterations or updates that rank 0 is told of; 0: none
    int told[RANKS_MOST];
    volatile int stop;
    stpn_status status[RANKS_MOST];
    stpn_error error[RANKS_MOST];
} together;

static void count_progress(void *context, const stpn_progress *p)
{
    together *t = context;
    (void)p;
    if (++t->told[0] == t->stop_after) t->stop = 1;
}

static void train_as_rank(void *context, int rank)
{
    together *t = context;
    char path[SCRATCH_PATH];
    snprintf(path, sizeof path, "%s/%s.json", scratch_folder, t->kind->name);
    stpn_run_options o = {.file = path,
                          .set = t->kind->set,
                          .out = t->out,
                          .resume = t->resume,
                          .threads = t->threads,
                          .ranks = &t->crew.ranks[rank],
                          .stop = rank == 0 ? &t->stop : NULL,
                          .progress = rank == 0 ? count_progress : NULL,
                          .context = t};
    while (o.set_count < SETTINGS && t->kind->set[o.set_count]) o.set_count++;
    t->status[rank] = stpn_run_train(&o, NULL, 0, &t->error[rank]);
    /* Whoever still waits for it would wait for ever. */
    crew_leave(&t->crew, rank);
}

/* All of them end in the same way, of which the status is returned. */
static stpn_status run_together(together *t, int ranks)
{
    t->stop = 0;
    t->told[0] = 0;
    crew_open(&t->crew, ranks);
    crew_run(&t->crew, train_as_rank, t);
    crew_close(&t->crew);
    for (int r = 1; r < ranks; r++) {
        assert_int_equal(t->status[r], t->status[0]);
        assert_string_equal(t->error[r].message, t->error[0].message);
    }
    return t->status[0];
}

static void run_alone(const kind *k, const char *out)
{
    char path[SCRATCH_PATH];
    snprintf(path, sizeof path, "%s/%s.json", scratch_folder, k->name);
    stpn_run_options o = {.file = path, .set = k->set, .out = out, .threads = 1};
    while (o.set_count < SETTINGS && k->set[o.set_count]) o.set_count++;
    if (stpn_run_train(&o, NULL, 0, &error)) fail_msg("%s: %s", k->name, error.message);
}

static int make_experiments(void **state)
{
    if (make_run_scratch(state)) return 1;
    unsetenv("STPN_KERNEL");
    if (chdir(scratch_folder) != 0) return 1;
    env *pendulum;
    if (env_create(&pendulum, &env_pendulum, &env_pendulum.defaults, 1, RANDOM_TRAIN, 0, NULL)) kind_count -= PENDULUMS;
    else env_free(pendulum);
    for (int i = 0; i < kind_count; i++) {
        char path[SCRATCH_PATH], name[64];
        snprintf(name, sizeof name, "%s.json", kinds[i].name);
        scratch_write(scratch_path(path, name), kinds[i].text, strlen(kinds[i].text));
        run_alone(&kinds[i], kinds[i].name);
    }
    return 0;
}

static void ranks_and_threads_make_no_difference(void **state)
{
    (void)state;
    static const struct {
        int ranks, threads;
    } ways[] = {{1, 1}, {2, 1}, {2, 2}, {3, 1}, {4, 1}, {4, 2}, {7, 1}};
    static together t;
    for (int i = 0; i < kind_count; i++)
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w += SHARED_OUT ? 2 : 1) {
            t = (together){.kind = &kinds[i], .out = "together", .threads = ways[w].threads};
            if (run_together(&t, ways[w].ranks)) fail_msg("%s: %s", kinds[i].name, t.error[0].message);
            assert_same_runs(kinds[i].name, "together");
            scratch_remove_tree("together");
        }
}

static void a_run_that_stops_goes_on_with_other_ranks(void **state)
{
    (void)state;
    static together t;
    for (int i = 0; i < kind_count; i++)
        for (int ranks = 1; ranks <= 4; ranks += SHARED_OUT ? 2 : 1) {
            t = (together){.kind = &kinds[i], .out = "stopped", .threads = 1, .stop_after = 1 + ranks / 2};
            stpn_status status = run_together(&t, ranks);
            if (status != STPN_STOPPED) fail_msg("%s, %d ranks: %s", kinds[i].name, ranks, t.error[0].message);
            t.resume = 1;
            t.stop_after = 0;
            if (run_together(&t, 5 - ranks)) fail_msg("%s: %s", kinds[i].name, t.error[0].message);
            assert_same_runs(kinds[i].name, "stopped");
            scratch_remove_tree("stopped");
        }
}

/* A rank that is lost after so many messages: what is in the folder goes on. */
static void a_lost_rank_leaves_a_run_that_goes_on(void **state)
{
    (void)state;
    static together t;
    for (int i = 0; i < kind_count; i++)
        for (int lost = 0; lost < 3; lost++) {
            t = (together){.kind = &kinds[i], .out = "lost", .threads = 1, .resume = 1};
            for (int after = 5 + lost; after < 100; after += SHARED_OUT ? 62 : 31) {
                crew_open(&t.crew, 3);
                t.crew.seats[lost].last = after;
                crew_run(&t.crew, train_as_rank, &t);
                crew_close(&t.crew);
                int failed = 0;
                for (int r = 0; r < 3; r++) failed |= t.status[r] == STPN_ERROR_SYSTEM;
                assert_true(failed || is_there("lost", RUN_SUMMARY));
                assert_true(t.status[lost] == STPN_ERROR_SYSTEM || is_there("lost", RUN_SUMMARY));
            }
            if (run_together(&t, 2)) fail_msg("%s: %s", kinds[i].name, t.error[0].message);
            assert_same_runs(kinds[i].name, "lost");
            scratch_remove_tree("lost");
        }
}

static void wrong_input_is_everyones_error(void **state)
{
    (void)state;
    static const kind wrong[] = {
        {"retrieval", NULL, {"train.batch=0"}},
        {"maze",
         NULL,
         {"task.reward=1e6", "train.value_weight=1e6", "train.learning_rate=1000", "task.steps=300",
          "units.0={\"name\": \"stpn_r\", \"hidden\": 4, \"norm\": \"none\"}", "train.iterations=50"}}};
    static const char *const messages[] = {"train.batch is 0", " in iteration "};
    static const stpn_status statuses[] = {STPN_ERROR_INPUT, STPN_ERROR_NUMERIC};
    static together t;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        t = (together){.kind = &wrong[i], .out = "wrong", .threads = 1};
        stpn_status status = run_together(&t, 3);
        if (!strstr(t.error[0].message, messages[i])) fail_msg("%s", t.error[0].message);
        assert_int_equal(status, statuses[i]);
        scratch_remove_tree("wrong");
    }
    /* A folder that holds another run, and one whose checkpoint is broken. */
    t = (together){.kind = &kinds[0], .out = kinds[2].name, .threads = 1};
    assert_int_equal(run_together(&t, 3), STPN_ERROR_INPUT);
    assert_non_null(strstr(t.error[0].message, "holds a run already"));
    t = (together){.kind = &kinds[0], .out = "broken", .threads = 1, .stop_after = 2};
    assert_int_equal(run_together(&t, 2), STPN_STOPPED);
    scratch_write(run_file("broken", RUN_LAST), "nothing", 7);
    t.resume = 1;
    assert_int_equal(run_together(&t, 3), STPN_ERROR_INPUT);
    assert_non_null(strstr(t.error[0].message, RUN_LAST));
    scratch_remove_tree("broken");
}

typedef struct differing {
    together t[2];
} differing;

static void train_differently(void *context, int rank)
{
    differing *d = context;
    train_as_rank(&d->t[rank], rank);
}

static void ranks_that_train_different_things_are_refused(void **state)
{
    (void)state;
    static differing d;
    d = (differing){
        .t = {{.kind = &kinds[0], .out = "one", .threads = 1}, {.kind = &kinds[1], .out = "one", .threads = 1}}};
    crew_open(&d.t[0].crew, 2);
    d.t[1].crew = d.t[0].crew;
    crew_run(&d.t[0].crew, train_differently, &d);
    crew_close(&d.t[0].crew);
    assert_int_equal(d.t[0].status[0], STPN_ERROR_INPUT);
    assert_int_equal(d.t[1].status[1], STPN_ERROR_INPUT);
    assert_string_equal(d.t[0].error[0].message, "rank 1: reads another experiment than rank 0");
    assert_string_equal(d.t[1].error[1].message, d.t[0].error[0].message);
    scratch_remove_tree("one");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_and_threads_make_no_difference),
        cmocka_unit_test(a_run_that_stops_goes_on_with_other_ranks),
        cmocka_unit_test(a_lost_rank_leaves_a_run_that_goes_on),
        cmocka_unit_test(wrong_input_is_everyones_error),
        cmocka_unit_test(ranks_that_train_different_things_are_refused),
    };
    return cmocka_run_group_tests_name("train/ranks", tests, make_experiments, scratch_remove);
}
