#include "train/sweep.h"

#include "base/error.h"
#include "base/memory.h"

#include <string.h>

chunk chunk_of(const task_split *split, const int32_t *order, int begin, int count)
{
    chunk c = {.split = split, .count = count};
    for (int i = 0; i < count; i++) c.sequence[i] = order ? order[begin + i] : begin + i;
    return c;
}

int sequence_live(const task_split *split, int sequence, int begin, int steps)
{
    int left = (split->lengths ? split->lengths[sequence] : split->steps) - begin;
    return left < 0 ? 0 : left < steps ? left : steps;
}

int chunk_live(const chunk *c, int sample, int begin, int steps)
{
    return sequence_live(c->split, c->sequence[sample], begin, steps);
}

stpn_status sweep_open(sweep *s, const stpn_net *net, const task_shape *shape, int samples, stpn_error *error)
{
    size_t size = net->kernel->size, O = (size_t)shape->outputs, I = (size_t)shape->inputs, B = (size_t)samples;
    size_t input = shape->type == STPN_INPUT_TOKEN ? sizeof(int32_t) : I * sizeof(float);
    *s = (sweep){.net = net, .shape = shape, .samples = samples};
    stpn_status status = net_state_create(&s->state, net, samples, samples, error);
    if (status) return status;
    s->x = memory_zeroed(PIECE * B, input);
    s->last = memory_zeroed(B * (size_t)net_outputs(net), size);
    s->targets = memory_zeroed(B * O, sizeof *s->targets);
    s->out = memory_zeroed(LOSS_ROWS * O, size);
    s->dout = memory_zeroed(LOSS_ROWS * O, size);
    if (s->x && s->last && s->targets && s->out && s->dout) return STPN_OK;
    return error_memory(error, "the trainer");
}

void sweep_close(sweep *s)
{
    stpn_state_free(s->state);
    memory_free(s->x);
    memory_free(s->last);
    memory_free(s->targets);
    memory_free(s->out);
    memory_free(s->dout);
}

/* From sequences one after the other to steps one after the other. */
static void bring_inputs(sweep *s, const chunk *c, int begin, const int32_t *live)
{
    size_t T = (size_t)c->split->steps, I = (size_t)s->shape->inputs;
    for (int i = 0; i < c->count; i++) {
        size_t from = (size_t)c->sequence[i] * T + (size_t)begin;
        for (size_t t = 0; t < (size_t)live[i]; t++) {
            size_t to = t * (size_t)s->samples + (size_t)i;
            if (c->split->tokens) ((int32_t *)s->x)[to] = c->split->tokens[from + t];
            else memcpy((float *)s->x + to * I, c->split->inputs + (from + t) * I, I * sizeof(float));
        }
    }
}

void sweep_run(sweep *s, const chunk *c, int begin, int steps, void *y, void *energy, stpn_tape *tape)
{
    int32_t live[CHUNK];
    int whole = 1;
    for (int i = 0; i < c->count; i++) {
        live[i] = chunk_live(c, i, begin, steps);
        whole = whole && live[i] == steps;
    }
    bring_inputs(s, c, begin, live);
    stpn_sequence sequence = {.steps = steps,
                              .batch = s->samples,
                              .type = c->split->tokens ? STPN_INPUT_TOKEN : STPN_INPUT_FLOAT,
                              .x = s->x,
                              .lengths = whole ? NULL : live};
    net_forward_chunk(s->net, s->state, &sequence, 0, c->count, y, energy, tape);
}

sweep_ends sweep_find_ends(sweep *s, const chunk *c, int begin, int steps)
{
    size_t O = (size_t)s->shape->outputs;
    sweep_ends ends = {0};
    for (int i = 0; i < c->count; i++) {
        int live = chunk_live(c, i, begin, steps), more = chunk_live(c, i, begin, steps + 1) > live;
        if (live < 1 || more) continue;
        int m = ends.count++;
        loss_wanted wanted = loss_wanted_at(c->split, s->shape, c->sequence[i], 0);
        ends.sample[m] = i;
        ends.step[m] = live - 1;
        if (wanted.labels) ends.labels[m] = *wanted.labels;
        if (wanted.targets) memcpy(s->targets + (size_t)m * O, wanted.targets, O * sizeof *s->targets);
    }
    return ends;
}

loss_wanted sweep_wanted(const sweep *s, const sweep_ends *ends)
{
    loss_wanted wanted = {0};
    if (s->shape->loss == LOSS_SQUARED) wanted.targets = s->targets;
    else wanted.labels = ends->labels;
    return wanted;
}
