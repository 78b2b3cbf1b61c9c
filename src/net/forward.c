/* Forward over time and samples: the input is brought to the net's type, then every unit runs over a block of steps. */
#include "net/net.h"

#include "base/error.h"
#include "base/threads.h"

#include <string.h>
#include <time.h>

/* Steps that go through all units at once where no tape keeps the rows between them. */
enum { STEP_BLOCK = 8 };

/* Work space of a chunk: flags, inputs, the rows between units (two, in turn), energy, a unit's own, what the encoder keeps
 * of a step. */
typedef struct forward_space {
    uint8_t *flags;
    void *x, *rows[2], *energy, *unit, *kept;
} forward_space;

static size_t padded_bytes(size_t bytes)
{
    return (bytes + PANEL_BYTES - 1) / PANEL_BYTES * PANEL_BYTES;
}

static size_t unit_bytes(const stpn_net *net)
{
    size_t most = 0;
    for (int i = 0; i < net->unit_count; i++) {
        size_t bytes = net->units[i].type->forward_bytes(&net->units[i]);
        if (bytes > most) most = bytes;
    }
    return padded_bytes(most);
}

size_t net_forward_bytes(const stpn_net *net, int samples)
{
    size_t steps = (size_t)samples * STEP_BLOCK, size = net->kernel->size;
    return padded_bytes(steps) + padded_bytes(steps * net->input_row * size) +
           2 * padded_bytes(steps * net->widest_row * size) + padded_bytes(steps * size) + unit_bytes(net) +
           padded_bytes(net->encoder.kept * size);
}

static forward_space space_of_chunk(const stpn_state *state, int first)
{
    const stpn_net *net = state->net;
    size_t samples = (size_t)(state->batch < state->chunk ? state->batch : state->chunk), steps = samples * STEP_BLOCK;
    size_t size = net->kernel->size;
    char *at = (char *)state->work + (size_t)(first / state->chunk) * state->work_bytes;
    forward_space s;
    s.flags = (uint8_t *)at;
    at += padded_bytes(steps);
    s.x = at;
    at += padded_bytes(steps * net->input_row * size);
    for (int i = 0; i < 2; i++) {
        s.rows[i] = at;
        at += padded_bytes(steps * net->widest_row * size);
    }
    s.energy = at;
    at += padded_bytes(steps * size);
    s.unit = at;
    at += unit_bytes(net);
    s.kept = at;
    return s;
}

int64_t net_clock(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void net_watch(stpn_state *state, stpn_tape *tape)
{
    state->watched = 1;
    if (tape) tape->watched = 1;
}

int64_t net_take_time(int64_t *time)
{
    int64_t taken = *time;
    *time = 0;
    return taken;
}

/* Steps [t0, t0 + live) of a sample into `steps` rows, x_step values apart; a row without a step is still multiplied, by
 * a gradient of 0. */
static void encode_sample(const stpn_net *net, const stpn_sequence *q, int t0, int live, int steps, size_t sample,
                          void *rows, size_t x_step, void *kept, size_t kept_step)
{
    const kernel_table *k = net->kernel;
    size_t I = (size_t)net->inputs, B = (size_t)q->batch, at = (size_t)t0 * B + sample;
    if (q->type == STPN_INPUT_TOKEN) {
        const int32_t *tokens = (const int32_t *)q->x + at;
        memset(rows, 0, (size_t)steps * x_step * k->size);
        for (size_t t = 0; t < (size_t)live; t++) value_write(k, rows, t * x_step + (size_t)tokens[t * B], 1);
        return;
    }
    size_t size = q->type == STPN_INPUT_BYTE ? 1 : q->type == STPN_INPUT_FLOAT ? sizeof(float) : sizeof(double);
    for (size_t t = 0; t < (size_t)live; t++) {
        const void *x = (const char *)q->x + (at + t * B) * I * size;
        void *row = value_at(k, rows, t * x_step);
        if (net->encoder.count)
            encoder_forward(&net->encoder, k, net->parameters, q->type, x, value_at(k, kept, t * kept_step), row);
        else k->convert(I, q->type, x, row);
    }
    memset(value_at(k, rows, (size_t)live * x_step), 0, (size_t)(steps - live) * x_step * k->size);
}

/* The rows of one block of steps [t0, t1) of samples [first, last), laid out by sample. */
typedef struct block_rows {
    uint8_t *flags;
    size_t flags_sample;
    void *x;
    size_t x_sample, x_step;
    void *kept; // of the encoder; without a tape every step's in the same place
    size_t kept_sample, kept_step;
} block_rows;

static void encode_block(const stpn_net *net, const stpn_sequence *q, int t0, int t1, int first, int last,
                         const block_rows *rows)
{
    for (int b = first; b < last; b++) {
        size_t sample = (size_t)b, local = (size_t)(b - first);
        int left = (q->lengths ? q->lengths[b] : q->steps) - t0, steps = t1 - t0;
        int live = left < 0 ? 0 : left < steps ? left : steps;
        uint8_t *flags = rows->flags + local * rows->flags_sample;
        for (int t = 0; t < steps; t++) {
            int reset = q->reset && q->reset[(size_t)(t0 + t) * (size_t)q->batch + sample];
            flags[t] = (uint8_t)((t < live ? STEP_LIVE : 0) | (reset ? STEP_RESET : 0));
        }
        encode_sample(net, q, t0, live, steps, sample, value_at(net->kernel, rows->x, local * rows->x_sample),
                      rows->x_step, value_at(net->kernel, rows->kept, local * rows->kept_sample), rows->kept_step);
    }
}

/* Outputs go to y (T, B, H), zero where a sample has ended; energy likewise. */
static void write_outputs(const stpn_net *net, const stpn_sequence *q, int t0, int t1, int first, int last,
                          const block_rows *rows, const void *out, size_t out_sample, const void *energy, void *y,
                          void *energy_out)
{
    const kernel_table *k = net->kernel;
    size_t H = (size_t)net_outputs(net), row = net->units[net->unit_count - 1].row;
    for (int b = first; b < last; b++)
        for (int t = t0; t < t1; t++) {
            size_t local = (size_t)(b - first), place = (size_t)(t - t0), at = (size_t)t * (size_t)q->batch + (size_t)b;
            int live = rows->flags[local * rows->flags_sample + place] & STEP_LIVE;
            if (y && live)
                memcpy(value_at(k, y, at * H), value_at(k, out, local * out_sample + place * row), H * k->size);
            if (y && !live) memset(value_at(k, y, at * H), 0, H * k->size);
            if (energy_out) value_write(k, energy_out, at, value_read(k, energy, local * (size_t)(t1 - t0) + place));
        }
}

static void run_block(const stpn_net *net, stpn_state *state, const stpn_sequence *q, int t0, int t1, int first,
                      int last, int leave, void *y, void *energy, stpn_tape *tape)
{
    const kernel_table *k = net->kernel;
    forward_space space = space_of_chunk(state, first);
    size_t steps = (size_t)(t1 - t0), samples = (size_t)(last - first), capacity = tape ? (size_t)tape->steps : 0;
    int begin = tape ? tape->recorded[first] : 0;
    block_rows rows = {space.flags, steps, space.x, steps * net->input_row, net->input_row, space.kept, 0, 0};
    if (tape) {
        size_t at = (size_t)first * capacity + (size_t)begin, kept = net->encoder.kept;
        rows = (block_rows){tape->flags + at,
                            capacity,
                            value_at(k, tape->x, at * net->input_row),
                            capacity * net->input_row,
                            net->input_row,
                            value_at(k, tape->kept, at * kept),
                            capacity * kept,
                            kept};
    }
    int64_t started = state->watched ? net_clock() : 0;
    encode_block(net, q, t0, t1, first, last, &rows);
    if (state->watched) state->encoding[first / state->chunk] += net_clock() - started;
    if (energy) memset(space.energy, 0, samples * steps * k->size);
    unit_sweep sweep = {.samples = (int)samples,
                        .steps = (int)steps,
                        .begin = begin,
                        .flags = rows.flags,
                        .flags_sample = rows.flags_sample,
                        .x = rows.x,
                        .x_sample = rows.x_sample,
                        .x_step = rows.x_step,
                        .energy = energy ? space.energy : NULL,
                        .energy_sample = steps,
                        .state_sample = net->state_values,
                        .tape_steps = (int)capacity,
                        .leave = leave};
    for (int i = 0; i < net->unit_count; i++) {
        const unit *u = &net->units[i];
        sweep.state = value_at(k, state->values, (size_t)first * net->state_values + net->unit_state[i]);
        if (tape) {
            size_t stride = (capacity + 1) * u->row;
            sweep.out = value_at(k, tape->out[i], (size_t)first * stride + (size_t)(begin + 1) * u->row);
            sweep.out_sample = stride;
            sweep.tape = value_at(k, tape->own[i], (size_t)first * tape->own_values[i]);
            sweep.tape_sample = tape->own_values[i];
        } else {
            sweep.out = space.rows[i % 2];
            sweep.out_sample = steps * u->row;
        }
        u->type->forward(u, value_at(k, net->parameters, net->unit_block[i]), &sweep, space.unit);
        sweep.x = sweep.out;
        sweep.x_sample = sweep.out_sample;
        sweep.x_step = u->row;
    }
    if (y || energy)
        write_outputs(net, q, t0, t1, first, last, &rows, sweep.out, sweep.out_sample, space.energy, y, energy);
    if (tape)
        for (int b = first; b < last; b++) {
            if (tape->recorded[b] == 0) tape->made[b] = atomic_load_explicit(net->changes, memory_order_relaxed);
            tape->recorded[b] += (int)steps;
        }
}

void net_forward_chunk(const stpn_net *net, stpn_state *state, const stpn_sequence *q, int first, int last, void *y,
                       void *energy, stpn_tape *tape)
{
    /* Energy goes through the chunk's own rows, a block at a time. */
    int most = tape && !energy ? q->steps : STEP_BLOCK, leave = state->leave && !q->finals;
    size_t values = net->state_values, samples = (size_t)(last - first);
    if (q->fresh)
        memset(value_at(net->kernel, state->values, (size_t)first * values), 0, samples * values * net->kernel->size);
    for (int t = 0; t < q->steps; t += most) {
        int goes_on = t + most < q->steps;
        run_block(net, state, q, t, goes_on ? t + most : q->steps, first, last, goes_on || leave, y, energy, tape);
    }
    for (int i = 0; q->finals && i < net->state_count; i++)
        for (int b = first; q->finals[i] && b < last; b++) net_state_sample(state, i, b, q->finals[i]);
}

void net_leave(stpn_state *state)
{
    state->leave = 1;
}

void net_settle(stpn_state *state, int first, int last, stpn_tape *tape)
{
    const stpn_sequence none = {.batch = state->batch};
    run_block(state->net, state, &none, 0, 0, first, last, 0, NULL, NULL, tape);
}

static stpn_status check_sequence(const stpn_net *net, const stpn_state *state, const stpn_sequence *q, int first,
                                  int last, const stpn_tape *tape, stpn_error *error)
{
    if (state->net != net) return error_set(error, STPN_ERROR_INPUT, "the state belongs to another network");
    if (tape && tape->net != net) return error_set(error, STPN_ERROR_INPUT, "the tape belongs to another network");
    if (q->steps < 0) return error_set(error, STPN_ERROR_INPUT, "steps is %d, expected 0 or more", q->steps);
    int tape_less = tape && tape->batch < state->batch, most = tape_less ? tape->batch : state->batch;
    if (q->batch < 1 || q->batch > most)
        return error_set(error, STPN_ERROR_INPUT, "batch is %d, expected 1 to the %s's %d", q->batch,
                         tape_less ? "tape" : "state", most);
    if (first < 0 || last > q->batch || first >= last)
        return error_set(error, STPN_ERROR_INPUT, "samples [%d, %d) are not inside the batch of %d", first, last,
                         q->batch);
    for (int b = first; b < last && q->fresh && tape; b++)
        if (tape->recorded[b] > 0)
            return error_set(error, STPN_ERROR_INPUT,
                             "fresh is %d with %d steps of sample %d on the tape, expected 0: `reset` starts anew "
                             "between steps",
                             q->fresh, tape->recorded[b], b);
    if (q->steps == 0) return STPN_OK;
    if (!q->x) return error_set(error, STPN_ERROR_INPUT, "x is NULL");
    if ((int)q->type < 0 || q->type > STPN_INPUT_TOKEN)
        return error_set(error, STPN_ERROR_INPUT, "type of the input is %d, expected one of stpn_input", (int)q->type);
    for (int b = first; b < last && tape; b++) {
        if (tape->recorded[b] != tape->recorded[first])
            return error_set(error, STPN_ERROR_INPUT,
                             "sample %d has %d steps on the tape, sample %d has %d: one call "
                             "continues samples of equal length",
                             first, tape->recorded[first], b, tape->recorded[b]);
        if (q->steps > tape->steps - tape->recorded[b])
            return error_set(error, STPN_ERROR_INPUT, "the tape has room for %d more steps, not for %d",
                             tape->steps - tape->recorded[b], q->steps);
    }
    stpn_status status = tape ? tape_check(tape, first, last, error) : STPN_OK;
    if (status) return status;
    for (int b = first; b < last && q->lengths; b++)
        if (q->lengths[b] < 0 || q->lengths[b] > q->steps)
            return error_set(error, STPN_ERROR_INPUT, "lengths[%d] is %d, expected 0 to %d", b, q->lengths[b],
                             q->steps);
    if (q->type != STPN_INPUT_TOKEN) return STPN_OK;
    if (net->encoder.count) return error_set(error, STPN_ERROR_INPUT, "tokens are no images, which the encoder takes");
    for (int b = first; b < last; b++)
        for (int t = 0; t < (q->lengths ? q->lengths[b] : q->steps); t++) {
            int32_t token = ((const int32_t *)q->x)[(size_t)t * (size_t)q->batch + (size_t)b];
            if (token < 0 || token >= net->inputs)
                return error_set(error, STPN_ERROR_INPUT, "token of step %d, sample %d is %d, expected 0 to %d", t, b,
                                 (int)token, net->inputs - 1);
        }
    return STPN_OK;
}

typedef struct forward_job {
    const stpn_net *net;
    stpn_state *state;
    const stpn_sequence *sequence;
    int first, last;
    void *y, *energy;
    stpn_tape *tape;
} forward_job;

static void forward_task(void *context, int task, int worker)
{
    const forward_job *job = context;
    (void)worker;
    int size = job->state->chunk, begin = (job->first / size + task) * size, end = begin + size;
    if (begin < job->first) begin = job->first;
    if (end > job->last) end = job->last;
    net_forward_chunk(job->net, job->state, job->sequence, begin, end, job->y, job->energy, job->tape);
}

stpn_status stpn_forward(const stpn_net *net, stpn_state *state, const stpn_sequence *q, void *y, void *energy,
                         stpn_tape *tape, stpn_pool *pool, stpn_error *error)
{
    error_clear(error);
    stpn_status status = error_given(error, {net, "net"}, {state, "state"}, {q, "sequence"});
    if (status) return status;
    int all = q->first == 0 && q->last == 0;
    forward_job job = {net, state, q, q->first, all ? q->batch : q->last, y, energy, tape};
    status = check_sequence(net, state, q, job.first, job.last, tape, error);
    if (status) return status;
    int chunks = (job.last - 1) / state->chunk - job.first / state->chunk + 1;
    size_t steps = (size_t)(job.last - job.first) * (size_t)q->steps;
    pool_run(pool, chunks, net_worth(net, steps, chunks), forward_task, &job);
    return STPN_OK;
}

void stpn_step(const stpn_net *net, stpn_state *state, const void *x, void *y)
{
    const kernel_table *k = net->kernel;
    size_t I = (size_t)net->inputs, H = (size_t)net_outputs(net);
    for (int first = 0; first < state->batch; first += state->chunk) {
        int samples = state->batch - first < state->chunk ? state->batch - first : state->chunk;
        forward_space space = space_of_chunk(state, first);
        memset(space.flags, STEP_LIVE, (size_t)samples);
        for (int b = 0; b < samples && net->encoder.count; b++)
            encoder_forward(
                &net->encoder, k, net->parameters, k->real == STPN_DOUBLE ? STPN_INPUT_DOUBLE : STPN_INPUT_FLOAT,
                value_at(k, x, (size_t)(first + b) * I), space.kept, value_at(k, space.x, (size_t)b * net->input_row));
        unit_sweep sweep = {.samples = samples,
                            .steps = 1,
                            .flags = space.flags,
                            .flags_sample = 1,
                            .x = net->encoder.count ? space.x : value_at(k, x, (size_t)first * I),
                            .x_sample = net->encoder.count ? net->input_row : I,
                            .x_step = net->encoder.count ? net->input_row : I,
                            .state_sample = net->state_values};
        for (int i = 0; i < net->unit_count; i++) {
            const unit *u = &net->units[i];
            sweep.state = value_at(k, state->values, (size_t)first * net->state_values + net->unit_state[i]);
            sweep.out = space.rows[i % 2];
            sweep.out_sample = u->row;
            u->type->forward(u, value_at(k, net->parameters, net->unit_block[i]), &sweep, space.unit);
            sweep.x = sweep.out;
            sweep.x_sample = sweep.x_step = u->row;
        }
        for (int b = 0; b < samples; b++)
            memcpy(value_at(k, y, (size_t)(first + b) * H), value_at(k, sweep.out, (size_t)b * sweep.out_sample),
                   H * k->size);
    }
}
