/* Pong of the Arcade Learning Environment, in one grey image of 84 x 84 bytes without a stack of frames: what moves where
 * has to be remembered. A worker preprocesses (python/stpn/envs/worker.py). */
#include "tasks/gym.h"

#include <stddef.h>

enum { SIDE = 84, ACTIONS = 6 };

#define FIELD(name) offsetof(env_options, name)

static const option options[] = {
    {"preprocessing", OPTION_CHOICE, FIELD(preprocessing), "deepmind|paper", 0, 0,
     "deepmind: 1 to 30 frames without action and fire at the start, every action repeated for 4 frames, the brighter "
     "of "
     "the last two, v / 255; paper: every frame, without its first and last 25 rows, (v - 128) / 128"},
    {"time_limit", OPTION_NUMBER, FIELD(time_limit), NULL, 0.01, 1e6,
     "seconds that the worker process may take to start, and for a step of its copies"},
    ENV_MASK,
};

static stpn_status describe(const env_options *o, env_shape *shape, stpn_error *error)
{
    (void)error;
    int paper = o->preprocessing == PREPROCESSING_PAPER;
    *shape = (env_shape){.observations = SIDE * SIDE,
                         .type = STPN_INPUT_BYTE,
                         .actions = ACTIONS,
                         .state = GYM_STATE,
                         .restarts = 1,
                         .height = SIDE,
                         .width = SIDE,
                         .channels = 1,
                         .offset = paper ? 128 : 0,
                         .scale = paper ? 1.0 / 128 : 1.0 / 255};
    return STPN_OK;
}

static const char *action_name(int action)
{
    static const char *const names[ACTIONS] = {"none", "fire", "right", "left", "right and fire", "left and fire"};
    return names[action];
}

static stpn_status open_pong(env **out, const env *head, stpn_error *error)
{
    int paper = head->options.preprocessing == PREPROCESSING_PAPER;
    return gym_open(out, head, "pong", "pong",
                    paper ? "{\"preprocessing\": \"paper\"}" : "{\"preprocessing\": \"deepmind\"}", error);
}

const env_type env_pong = {
    .name = "pong",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = {.time_limit = 60, .preprocessing = PREPROCESSING_DEEPMIND},
    .describe = describe,
    .open = open_pong,
    .close = gym_close,
    .reset = gym_reset,
    .step = gym_step,
    .begin = gym_begin,
    .finish = gym_finish,
    .elsewhere = gym_elsewhere,
    .film = gym_film,
    .observe = gym_observe,
    .save = gym_save,
    .restore = gym_restore,
    .action_name = action_name,
};
