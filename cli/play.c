/* stpn play: the agent of a run, step by step through one episode, in the terminal or as an animation. */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/gif.h"
#include "cli/play_picture.h"
#include "cli/play_text.h"
#include "cli/play_walk.h"
#include "cli/stop.h"
#include "train/summary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FRAMES_A_SECOND = 8, FRAMES_A_SECOND_MOST = 50, LAST_HUNDREDTHS = 200 };

typedef struct play_options {
    int64_t steps; // 0: the whole episode
    int64_t frames_a_second;
    int quiet;
    const char *gif;   // or NULL
    const char *video; // or NULL
} play_options;

/* -------------------------------------------------------------------------------------------------- in the terminal */

/* A signal ends it at once. */
static void wait_for_next(int64_t frames_a_second)
{
    const long second = 1000000000L;
    long pause = second / (long)frames_a_second;
    const struct timespec length = {pause / second, pause % second};
    if (!stop_is_asked()) nanosleep(&length, NULL);
}

static stpn_status stopped(const walk *w, stpn_error *error)
{
    return error_set(error, STPN_STOPPED, "stopped after step %d", w->step);
}

static stpn_status walk_on_screen(walk *w, const play_options *o, screen *s, stpn_error *error)
{
    stpn_status status = STPN_OK;
    int waits = isatty(STDOUT_FILENO) && o->frames_a_second && !o->quiet;
    while (!status) {
        if (s) {
            play_text(s, w);
            screen_show(s, stdout);
        }
        if (w->step == o->steps || ferror(stdout)) break;
        if (waits) wait_for_next(o->frames_a_second);
        status = stop_is_asked() ? stopped(w, error) : walk_step(w, error);
    }
    return status;
}

static stpn_status show(walk *w, const play_options *o, stpn_error *error)
{
    const char *terminal = getenv("TERM");
    if (o->quiet) return walk_on_screen(w, o, NULL, error);
    screen *s = memory_zeroed(1, sizeof *s);
    if (!s) return error_memory(error, "the screen");
    s->terminal = isatty(STDOUT_FILENO) && terminal && strcmp(terminal, "dumb") != 0;
    s->colour = shows_colour(STDOUT_FILENO);
    stpn_status status = walk_on_screen(w, o, s, error);
    screen_close(s, stdout);
    memory_free(s);
    return status;
}

/* -------------------------------------------------------------------------------------------------- as an animation */

/* The largest |F| of the whole walk, by which all its pictures are coloured; the walk is at its start afterwards. */
static stpn_status find_largest(walk *w, int64_t steps, double *largest, stpn_error *error)
{
    stpn_status status = STPN_OK;
    *largest = 0;
    while (w->synapses_count && w->step < steps && !status) {
        status = stop_is_asked() ? stopped(w, error) : walk_step(w, error);
        const walk_synapses *s = &w->synapses[0];
        size_t count = (size_t)s->rows * (size_t)s->columns;
        for (size_t i = 0; i < count; i++) {
            double size = fabs((double)s->after[i]);
            if (size > *largest) *largest = size;
        }
    }
    return status ? status : walk_start(w, error);
}

static stpn_status add_pictures(walk *w, const play_options *o, picture *p, gif *g, stpn_error *error)
{
    int hundredths = o->frames_a_second ? 100 / (int)o->frames_a_second : 100 / FRAMES_A_SECOND_MOST;
    stpn_status status = STPN_OK;
    while (!status) {
        int last = w->step == o->steps;
        picture_draw(p, w);
        status = gif_add(g, p->canvas.pixels, last ? LAST_HUNDREDTHS : hundredths, error);
        if (status || last) break;
        status = stop_is_asked() ? stopped(w, error) : walk_step(w, error);
    }
    return status;
}

static stpn_status animate(walk *w, const play_options *o, stpn_error *error)
{
    picture p = {0};
    gif *g = NULL;
    gif_colour palette[GIF_COLOURS];
    double largest;
    stpn_status status = find_largest(w, o->steps, &largest, error);
    if (!status) status = picture_open(&p, w, largest, error);
    picture_palette(palette);
    if (!status) status = gif_create(&g, p.canvas.width, p.canvas.height, palette, error);
    if (!status) status = add_pictures(w, o, &p, g, error);
    if (!status) status = gif_save(g, o->gif, error);
    gif_free(g);
    picture_close(&p);
    return status;
}

/* Any other file that has the name is somebody's. */
static stpn_status check_free(const char *path, int takes_mp4, const char *what, stpn_error *error)
{
    char start[8] = "";
    if (!file_exists(path)) return STPN_OK;
    FILE *file = file_is_regular(path) ? fopen(path, "rb") : NULL;
    size_t length = file ? fread(start, 1, sizeof start, file) : 0;
    if (file) fclose(file);
    if (length >= 4 && memcmp(start, "GIF8", 4) == 0) return STPN_OK;
    if (takes_mp4 && length == sizeof start && memcmp(start + 4, "ftyp", 4) == 0) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "%s: is there and is no %s", path, what);
}

static stpn_status check_gif(const char *path, stpn_error *error)
{
    stpn_status status = gif_check(error);
    return status ? status : check_free(path, 0, "GIF", error);
}

/* ----------------------------------------------------------------------------------------------------------- as a film */

static stpn_status check_film(const char *path, stpn_error *error)
{
    const char *dot = strrchr(path, '.');
    if (dot && (strcmp(dot, ".gif") == 0 || strcmp(dot, ".mp4") == 0)) return check_free(path, 1, "film", error);
    return error_set(error, STPN_ERROR_INPUT, "%.500s: expected a name that ends in .gif or .mp4", path);
}

/* One episode, as stpn eval plays the first of the first copy. */
static int film(const arguments *a, run *r, uint64_t seed, const char *path)
{
    stpn_error error;
    json_t *object;
    experiment *e = &r->experiment;
    const summary_test how = {
        .greedy = arguments_have(a, "--greedy"), .iterations = 1, .stop = &stop_asked, .film = path};
    e->train.batch = 1;
    e->seed = seed;
    catch_signals();
    stpn_status status = summary_of_episodes(r, &how, &object, &error);
    if (status) return complain(status, &error);
    printf("%.0f steps, reward %g: %s\n", json_number_value(json_object_get(object, "steps")),
           json_number_value(json_object_get(object, "reward")), path);
    json_decref(object);
    return EXIT_DONE;
}

/* ------------------------------------------------------------------------------------------------------- the command */

static void tell_result(const walk *w, const play_options *o)
{
    printf("%d steps, reward %g", w->step, w->total);
    if (w->env->type->goals) printf(", %lld goals", (long long)w->goals);
    if (o->gif) printf(": %s", o->gif);
    printf("\n");
}

/* The last parameters; where the folder has none, as one that was kept to be shown, the best. */
static stpn_status open_agent(run *r, const char *folder, int best, stpn_error *error)
{
    char path[RUN_PATH];
    *r = (run){0};
    stpn_status status = run_path(path, folder, RUN_LAST, error);
    if (!status && !file_exists(path)) best = 1;
    return status ? status : run_open_folder(r, folder, best, 1, error);
}

static int play(const arguments *a, run *r, play_options *o, uint64_t seed)
{
    const env_shape *shape = &r->experiment.env_shape;
    const char *folder = a->operands[0];
    walk w;
    stpn_error error;
    if (!r->experiment.env)
        return complain_of_use("play", "%.500s: the task %s has no agent to be seen; stpn trace follows a sequence",
                               folder, r->experiment.task->name);
    if (o->video && !r->experiment.env->film)
        return complain_of_use("play", "%.500s: %s has no pictures for --video", folder, r->experiment.env->name);
    if (o->video) return film(a, r, seed, o->video);
    if (!shape->actions || !shape->steps)
        return complain_of_use("play", "%.500s: %s cannot be shown%s", folder, r->experiment.env->name,
                               r->experiment.env->film ? " in the terminal; --video makes a film" : "");
    if (!o->steps) o->steps = shape->steps;
    if (o->steps > shape->steps)
        return complain_of_use("play", "--steps is %lld, expected at most the %d steps of an episode",
                               (long long)o->steps, shape->steps);
    catch_signals();
    stpn_status status = walk_open(&w, r, seed, arguments_have(a, "--greedy"), &error);
    if (status) return complain(status, &error);
    status = o->gif ? animate(&w, o, &error) : show(&w, o, &error);
    if (!status) tell_result(&w, o);
    walk_close(&w);
    return status ? complain(status, &error) : EXIT_DONE;
}

static int run_play(const arguments *a)
{
    play_options o = {.frames_a_second = FRAMES_A_SECOND,
                      .quiet = arguments_have(a, "--quiet"),
                      .gif = arguments_value(a, "--gif"),
                      .video = arguments_value(a, "--video")};
    static const char *const others[] = {"--gif", "--steps", "--fps"};
    int64_t seed = -1;
    int code = arguments_number(a, "--seed", 0, INT64_MAX, &seed);
    if (!code) code = arguments_number(a, "--steps", 1, INT32_MAX, &o.steps);
    if (!code) code = arguments_number(a, "--fps", 0, FRAMES_A_SECOND_MOST, &o.frames_a_second);
    if (code) return code;
    if (o.gif && !*o.gif) return complain_of_use("play", "--gif is empty, expected the name of a file");
    for (size_t i = 0; i < sizeof others / sizeof *others && o.video; i++)
        if (arguments_value(a, others[i])) return complain_of_use("play", "%s does not go with --video", others[i]);
    run r;
    stpn_error error;
    stpn_status status = o.gif ? check_gif(o.gif, &error) : o.video ? check_film(o.video, &error) : STPN_OK;
    if (!status) status = open_agent(&r, a->operands[0], arguments_have(a, "--best"), &error);
    if (status) return complain(status, &error);
    code = play(a, &r, &o, seed < 0 ? r.experiment.seed : (uint64_t)seed);
    run_close(&r);
    return code;
}

static const argument_option options[] = {
    {"--seed", "N", 0, "another episode, and other draws of actions (default: the run's seed)"},
    {"--steps", "N", 0, "ends after N steps (default: the whole episode)"},
    {"--fps", "N", 0, "steps shown in a second, 0: without waiting (default 8)"},
    {"--greedy", NULL, 0, "takes the most probable actions in place of sampled ones"},
    {"--best", NULL, 0, "takes the parameters of the best evaluation in place of the last ones"},
    {"--gif", "FILE", 0, "writes an animation to FILE and shows nothing"},
    {"--video", "FILE", 0, "Pong and Gymnasium environments: writes a film of a whole episode to FILE, .gif or .mp4"},
    {"--quiet", NULL, 0, "prints the result alone"},
};

const command command_play = {
    .table = {"play", options, sizeof options / sizeof *options, "RUN", 1, 1},
    .summary = "show the agent of a run at work, step by step",
    .text =
        "Shows the agent of the folder RUN on one episode of its environment: the map with the goal and the way so\n"
        "far, the probabilities that the agent chose from, the value it expected, and the synapses whose fast "
        "component\n"
        "changed most in the step. With the run's own seed it is the first episode of the test of stpn eval. Without "
        "a\n"
        "terminal the frames are printed one after the other. A folder of experiment.json and best.safetensors alone\n"
        "serves too. Environments of a worker process have no map; --video films them. Nothing is written but GIF and "
        "film.\n",
    .run = run_play,
};
