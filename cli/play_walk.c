#include "cli/play_walk.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { POLICY, VALUE }; // the heads, as experiment_net makes them

/* ---------------------------------------------------------------------------------------------------- made and unmade */

/* Its columns are inputs and neurons, or one of the two: neurons where the unit has an output that comes back. */
static int count_inputs(const walk *w, const walk_synapses *s)
{
    const experiment *e = &w->run->experiment;
    int inputs = s->unit ? e->units[s->unit - 1].hidden : e->env_shape.observations, recurrent = 0;
    stpn_tensor tensor;
    char name[32];
    if (s->columns == inputs + s->rows) return inputs;
    snprintf(name, sizeof name, "units.%d.h", s->unit);
    for (int i = 0; stpn_state_tensor(w->state, i, &tensor); i++) recurrent |= strcmp(tensor.name, name) == 0;
    return recurrent ? 0 : s->columns;
}

static stpn_status open_synapses(walk *w, stpn_error *error)
{
    stpn_tensor tensor;
    int count = 0;
    while (stpn_state_tensor(w->state, count, &tensor)) count++;
    w->synapses = memory_zeroed((size_t)count, sizeof *w->synapses);
    if (!w->synapses) return error_memory(error, "the agent");
    for (int i = 0; stpn_state_tensor(w->state, i, &tensor); i++) {
        if (tensor.rank != 3) continue;
        walk_synapses *s = &w->synapses[w->synapses_count++];
        *s = (walk_synapses){.index = i, .rows = tensor.shape[1], .columns = tensor.shape[2]};
        snprintf(s->name, sizeof s->name, "%s", tensor.name);
        if (sscanf(tensor.name, "units.%d.", &s->unit) != 1) s->unit = 0;
        s->inputs = count_inputs(w, s);
        s->before = memory_zeroed(tensor.count, sizeof *s->before);
        s->after = memory_zeroed(tensor.count, sizeof *s->after);
        if (!s->before || !s->after) return error_memory(error, "the agent");
    }
    return STPN_OK;
}

static stpn_status open_map(walk *w, stpn_error *error)
{
    const env_type *type = w->env->type;
    if (!type->draw) return error_set(error, STPN_ERROR_INPUT, "%s has nothing to see", type->name);
    size_t size = type->draw(w->env, 0, NULL, 0) + 1;
    w->map = memory_zeroed(size, 1);
    if (!w->map) return error_memory(error, "the agent");
    type->draw(w->env, 0, w->map, size);
    w->columns = (int)strcspn(w->map, "\n");
    w->rows = (int)((size - 1) / ((size_t)w->columns + 1));
    w->visited = memory_zeroed((size_t)w->rows * (size_t)w->columns, sizeof *w->visited);
    return w->visited ? STPN_OK : error_memory(error, "the agent");
}

stpn_status walk_open(walk *w, const run *r, uint64_t seed, int greedy, stpn_error *error)
{
    const experiment *e = &r->experiment;
    size_t I = (size_t)e->env_shape.observations, A = (size_t)e->env_shape.actions;
    size_t H = (size_t)e->units[e->unit_count - 1].hidden;
    *w = (walk){.run = r, .seed = seed, .greedy = greedy};
    w->x = memory_zeroed(I, sizeof *w->x);
    w->seen = memory_zeroed(I, sizeof *w->seen);
    w->y = memory_zeroed(H, sizeof *w->y);
    w->logits = memory_zeroed(A, sizeof *w->logits);
    w->policy = memory_zeroed(A, sizeof *w->policy);
    stpn_status status = w->x && w->seen && w->y && w->logits && w->policy ? STPN_OK : error_memory(error, "the agent");
    if (!status) status = env_create(&w->env, e->env, &e->env_options, 1, RANDOM_TEST, seed, error);
    if (!status) status = stpn_state_create(&w->state, r->net, 1, error);
    if (!status) status = open_synapses(w, error);
    if (!status) status = open_map(w, error);
    if (!status) status = walk_start(w, error);
    if (status) walk_close(w);
    return status;
}

void walk_close(walk *w)
{
    for (int i = 0; i < w->synapses_count; i++) {
        memory_free(w->synapses[i].before);
        memory_free(w->synapses[i].after);
    }
    memory_free(w->synapses);
    stpn_state_free(w->state);
    env_free(w->env);
    memory_free(w->x);
    memory_free(w->seen);
    memory_free(w->y);
    memory_free(w->logits);
    memory_free(w->policy);
    memory_free(w->map);
    memory_free(w->visited);
    *w = (walk){0};
}

/* ------------------------------------------------------------------------------------------------------------ to walk */

static void look_at_map(walk *w)
{
    size_t size = (size_t)w->rows * ((size_t)w->columns + 1) + 1;
    w->env->type->draw(w->env, 0, w->map, size);
    for (int row = 0; row < w->rows; row++)
        for (int column = 0; column < w->columns; column++) {
            char c = w->map[row * (w->columns + 1) + column];
            if (c == '@' || c == '$') w->visited[row * w->columns + column] = w->step + 1;
        }
}

static int64_t goals_reached(const walk *w)
{
    env_goals sum = {0};
    if (w->env->type->goals) w->env->type->goals(w->env, 0, 1, &sum);
    return sum.reached;
}

static void look_at_synapses(walk *w)
{
    for (int i = 0; i < w->synapses_count; i++) {
        walk_synapses *s = &w->synapses[i];
        float *before = s->before;
        s->before = s->after;
        s->after = before;
        stpn_state_get(w->state, s->index, s->after);
    }
}

stpn_status walk_start(walk *w, stpn_error *error)
{
    /* A new environment, since one that has been reset goes on to the next episode. */
    const experiment *e = &w->run->experiment;
    env *fresh;
    stpn_status status = env_create(&fresh, e->env, &e->env_options, 1, RANDOM_TEST, w->seed, error);
    if (status) return status;
    env_free(w->env);
    w->env = fresh;
    status = env_reset(fresh, 0, 1, w->x, error);
    if (status) return status;
    stpn_state_zero(w->state);
    w->step = w->since = w->hit = 0;
    w->goals = 0;
    w->reward = 0;
    w->total = 0;
    memset(w->visited, 0, (size_t)w->rows * (size_t)w->columns * sizeof *w->visited);
    look_at_synapses(w);
    look_at_synapses(w);
    look_at_map(w);
    return STPN_OK;
}

/* As a2c_act does for copy 0 of its first rollout: the first of the most probable, or the first action up to which the
 * probabilities add up to more than a part u of their sum. */
static int32_t choose(const walk *w)
{
    int A = w->run->experiment.env_shape.actions;
    int32_t best = 0, last = 0;
    double total = 0, reached = 0;
    random_stream random = random_open(w->seed, RANDOM_TEST_ACTION, (uint64_t)w->step);
    double u = random_unit(&random);
    for (int32_t a = 0; a < A; a++) {
        if (w->logits[a] > w->logits[best]) best = a;
        total += (double)w->policy[a];
    }
    for (int32_t a = 0; a < A && !w->greedy; a++) {
        reached += (double)w->policy[a];
        if (u * total < reached) return a;
        if (w->policy[a] > 0) last = a;
    }
    return w->greedy ? best : last;
}

static stpn_status act(walk *w, stpn_error *error)
{
    static const int32_t first = 0;
    const stpn_net *net = w->run->net;
    int A = w->run->experiment.env_shape.actions, finite;
    memcpy(w->seen, w->x, (size_t)w->run->experiment.env_shape.observations * sizeof *w->x);
    scaling_apply(&w->run->scaling, w->x, w->seen);
    stpn_step(net, w->state, w->seen, w->y);
    look_at_synapses(w);
    stpn_head_forward(net, POLICY, 1, w->y, w->logits);
    stpn_head_forward(net, VALUE, 1, w->y, &w->value);
    /* The gradient of the cross-entropy with label 0: the probabilities, less 1 for action 0. */
    stpn_cross_entropy(net, 1, A, w->logits, &first, 1, NULL, w->policy);
    w->policy[0] += 1;
    finite = isfinite(w->value);
    for (int a = 0; a < A; a++) finite = finite && isfinite(w->policy[a]);
    if (!finite)
        return error_set(error, STPN_ERROR_NUMERIC, "what the agent puts out in step %d is not finite", w->step + 1);
    w->action = choose(w);
    return STPN_OK;
}

stpn_status walk_step(walk *w, stpn_error *error)
{
    uint8_t end;
    stpn_status status = act(w, error);
    if (!status) status = env_step(w->env, 0, 1, &w->action, w->x, &w->reward, &end, error);
    if (status) return status;
    int64_t goals = goals_reached(w);
    w->step++;
    w->total += (double)w->reward;
    w->hit = goals > w->goals;
    w->goals = goals;
    if (w->hit) w->since = w->step;
    look_at_map(w);
    return STPN_OK;
}

/* ------------------------------------------------------------------------------------------------------- the synapses */

static float size_of(const walk_change *c)
{
    return fabsf(c->after - c->before);
}

int walk_changes(const walk *w, int most, walk_change *list)
{
    int count = 0;
    for (int i = 0; i < w->synapses_count && w->step; i++) {
        const walk_synapses *s = &w->synapses[i];
        for (int at = 0; at < s->rows * s->columns; at++) {
            const walk_change c = {i, at / s->columns, at % s->columns, s->before[at], s->after[at]};
            if (!(size_of(&c) > (count == most ? size_of(&list[count - 1]) : 0))) continue;
            int place = count < most ? count++ : count - 1;
            for (; place > 0 && size_of(&list[place - 1]) < size_of(&c); place--) list[place] = list[place - 1];
            list[place] = c;
        }
    }
    return count;
}

void walk_source(const walk *w, const walk_synapses *s, int column, char *text, size_t size)
{
    const env_type *type = w->env->type;
    if (column >= s->inputs) snprintf(text, size, "neuron %d", column - s->inputs);
    else if (s->unit) snprintf(text, size, "units.%d neuron %d", s->unit - 1, column);
    else if (type->observation_name) snprintf(text, size, "%s", type->observation_name(column));
    else snprintf(text, size, "input %d", column);
}

void walk_target(const walk *w, const walk_synapses *s, int row, char *text, size_t size)
{
    if (w->run->experiment.unit_count > 1) snprintf(text, size, "%d:%d", s->unit, row);
    else snprintf(text, size, "%d", row);
}
