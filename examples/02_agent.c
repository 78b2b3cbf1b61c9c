/* An agent learns to find a goal in a maze and to come back to it, in a loop of the program's own.
 *
 *     cc 02_agent.c $(pkg-config --cflags --libs stpn) && ./a.out [UPDATES]
 */
#include <stdio.h>
#include <stdlib.h>
#include <stpn/stpn.h>

enum { COPIES = 32, STEPS = 25 }; /* of the maze; of a rollout */

static const char maze[] = "{\"name\": \"maze\", \"size\": 7, \"steps\": 100}";
static const char experiment[] = "{\"name\": \"agent\", \"task\": {\"name\": \"maze\", \"size\": 7, \"steps\": 100},"
                                 " \"units\": [{\"name\": \"stpn_r\", \"hidden\": 32}],"
                                 " \"train\": {\"method\": \"a2c\", \"batch\": 32, \"rollout\": 25, \"burn_in\": 0}}";

static void need(stpn_status status, const stpn_error *error)
{
    if (status == STPN_OK) return;
    fprintf(stderr, "%s\n", error->message);
    exit(2);
}

static double statistic(const stpn_agent *agent, int index)
{
    const char *name;
    double value = 0;
    stpn_agent_statistic(agent, index, &name, &value);
    return value;
}

int main(int count, char **words)
{
    int updates = count > 1 ? atoi(words[1]) : 8;
    stpn_error error;
    stpn_env *env;
    stpn_agent *agent;
    stpn_env_shape shape;
    int32_t actions[COPIES];
    float rewards[COPIES];
    uint8_t ends[COPIES];
    need(stpn_env_create(&env, maze, COPIES, 1, &error), &error);
    need(stpn_agent_create(&agent, experiment, 0, &error), &error);
    stpn_env_describe(env, &shape);
    float *seen = malloc(sizeof *seen * COPIES * (size_t)shape.observations); /* (B, I) */
    if (!seen) return 3;
    need(stpn_env_reset(env, 0, COPIES, seen, &error), &error);
    for (int update = 1; update <= updates; update++) {
        for (int t = 0; t < STEPS; t++) {
            need(stpn_agent_act(agent, seen, STPN_CHOICE_SAMPLE, actions, &error), &error);
            need(stpn_env_step(env, 0, COPIES, actions, seen, rewards, ends, &error), &error);
            need(stpn_agent_record(agent, rewards, ends, seen, &error), &error);
            for (int b = 0; b < COPIES; b++)
                if (ends[b]) need(stpn_env_reset(env, b, b + 1, seen, &error), &error);
        }
        need(stpn_agent_update(agent, seen, &error), &error);
        if (statistic(agent, 0) > 0) printf("update %d: %.2f an episode\n", update, statistic(agent, 1));
    }
    need(stpn_agent_save(agent, "agent.safetensors", &error), &error);
    free(seen);
    stpn_agent_free(agent);
    stpn_env_free(env);
    return 0;
}
