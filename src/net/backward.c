/* The tape and the backward pass: chunks of samples on any thread, their gradients added in a fixed tree. */
#include "net/net.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/threads.h"

#include <string.h>

static size_t padded_bytes(size_t bytes)
{
    return (bytes + PANEL_BYTES - 1) / PANEL_BYTES * PANEL_BYTES;
}

/* Work space of a worker: the unit's own, the adjoint of a chunk's state, and of the rows between two units; of what the
 * encoder makes, and its own. */
typedef struct backward_space {
    void *unit, *dstate, *rows[2], *features, *encoder;
} backward_space;

static size_t rows_bytes(const stpn_net *net, int chunk, int steps)
{
    return net->unit_count > 1 ? padded_bytes((size_t)chunk * (size_t)steps * net->widest_row * net->kernel->size) : 0;
}

static size_t features_bytes(const stpn_net *net, int chunk, int steps)
{
    return net->encoder.count ? padded_bytes((size_t)chunk * (size_t)steps * net->input_row * net->kernel->size) : 0;
}

static size_t unit_bytes(const stpn_net *net)
{
    size_t most = 0;
    for (int i = 0; i < net->unit_count; i++) {
        size_t bytes = net->units[i].type->backward_bytes(&net->units[i]);
        if (bytes > most) most = bytes;
    }
    return padded_bytes(most);
}

static size_t space_bytes(const stpn_net *net, int chunk, int steps)
{
    return unit_bytes(net) + padded_bytes((size_t)chunk * net->state_values * net->kernel->size) +
           2 * rows_bytes(net, chunk, steps) + features_bytes(net, chunk, steps) +
           padded_bytes(encoder_backward_bytes(&net->encoder, net->kernel));
}

static backward_space space_of_worker(const stpn_tape *tape, int worker)
{
    const stpn_net *net = tape->net;
    char *at = (char *)tape->work + (size_t)worker * tape->work_bytes;
    backward_space s;
    s.unit = at;
    at += unit_bytes(net);
    s.dstate = at;
    at += padded_bytes((size_t)tape->chunk * net->state_values * net->kernel->size);
    for (int i = 0; i < 2; i++) {
        s.rows[i] = at;
        at += rows_bytes(net, tape->chunk, tape->steps);
    }
    s.features = at;
    at += features_bytes(net, tape->chunk, tape->steps);
    s.encoder = at;
    return s;
}

stpn_status stpn_tape_create(stpn_tape **out, const stpn_net *net, int steps, int batch, int threads, stpn_error *error)
{
    return net_tape_create(out, net, steps, batch, stpn_chunk_size(batch), threads, error);
}

stpn_status net_tape_create(stpn_tape **out, const stpn_net *net, int steps, int batch, int chunk, int threads,
                            stpn_error *error)
{
    error_clear(error);
    if (!out) return error_set(error, STPN_ERROR_INPUT, "tape is NULL");
    *out = NULL;
    stpn_status status = error_given(error, {net, "net"});
    if (status) return status;
    if (steps < 1 || steps > 1 << 24)
        return error_set(error, STPN_ERROR_INPUT, "steps is %d, expected 1 to %d", steps, 1 << 24);
    if (batch < 1 || batch > 1 << 24)
        return error_set(error, STPN_ERROR_INPUT, "batch is %d, expected 1 to %d", batch, 1 << 24);
    if (threads < 1 || threads > 256)
        return error_set(error, STPN_ERROR_INPUT, "threads is %d, expected 1 to 256", threads);
    stpn_tape *tape = memory_zeroed(1, sizeof *tape);
    if (!tape) return error_memory(error, "a tape");
    size_t B = (size_t)batch, T = (size_t)steps, units = (size_t)net->unit_count, size = net->kernel->size;
    size_t chunks = (B - 1) / (size_t)chunk + 1;
    tape->net = net;
    tape->steps = steps;
    tape->batch = batch;
    tape->chunk = chunk;
    tape->workers = threads < (int)chunks ? threads : (int)chunks;
    tape->recorded = memory_zeroed(B, sizeof *tape->recorded);
    tape->made = memory_zeroed(B, sizeof *tape->made);
    tape->flags = memory_zeroed(B * T, 1);
    tape->x = memory_zeroed(B * T, net->input_row * size);
    tape->kept = memory_zeroed(B * T, net->encoder.kept * size);
    tape->encoding = memory_zeroed((size_t)tape->workers, sizeof *tape->encoding);
    tape->out = memory_zeroed(units, sizeof *tape->out);
    tape->own = memory_zeroed(units, sizeof *tape->own);
    tape->own_values = memory_zeroed(units, sizeof *tape->own_values);
    tape->chunk_grad = memory_zeroed(chunks, net->block_values * size);
    tape->ready = memory_zeroed(chunks, sizeof *tape->ready);
    tape->work_bytes = space_bytes(net, chunk, steps);
    tape->work = memory_zeroed((size_t)tape->workers, tape->work_bytes);
    int complete = tape->kept && tape->encoding && tape->recorded && tape->made && tape->flags && tape->x &&
                   tape->out && tape->own && tape->own_values && tape->chunk_grad && tape->ready && tape->work;
    for (size_t i = 0; i < units && complete; i++) {
        const unit *u = &net->units[i];
        tape->own_values[i] = u->type->tape_values(u, steps);
        tape->out[i] = memory_zeroed(B * (T + 1), u->row * size);
        tape->own[i] = memory_zeroed(B, tape->own_values[i] * size);
        complete = tape->out[i] && tape->own[i];
    }
    if (!complete) {
        stpn_tape_free(tape);
        return error_memory(error, "a tape");
    }
    *out = tape;
    return STPN_OK;
}

void stpn_tape_free(stpn_tape *tape)
{
    if (!tape) return;
    for (int i = 0; i < tape->net->unit_count; i++) {
        if (tape->out) memory_free(tape->out[i]);
        if (tape->own) memory_free(tape->own[i]);
    }
    memory_free(tape->recorded);
    memory_free(tape->made);
    memory_free(tape->flags);
    memory_free(tape->x);
    memory_free(tape->kept);
    memory_free(tape->encoding);
    memory_free(tape->out);
    memory_free(tape->own);
    memory_free(tape->own_values);
    memory_free(tape->chunk_grad);
    memory_free(tape->ready);
    memory_free(tape->work);
    memory_free(tape);
}

void stpn_tape_rewind(stpn_tape *tape)
{
    memset(tape->recorded, 0, (size_t)tape->batch * sizeof *tape->recorded);
}

int stpn_tape_steps(const stpn_tape *tape, int sample)
{
    return sample < 0 || sample >= tape->batch ? 0 : tape->recorded[sample];
}

stpn_status tape_check(const stpn_tape *tape, int first, int last, stpn_error *error)
{
    unsigned changes = atomic_load_explicit(tape->net->changes, memory_order_relaxed);
    for (int b = first; b < last; b++)
        if (tape->recorded[b] > 0 && tape->made[b] != changes)
            return error_set(error, STPN_ERROR_INPUT,
                             "the parameters have changed since the forward pass on this tape");
    return STPN_OK;
}

const void *tape_output(const stpn_tape *tape, int sample, int step)
{
    const stpn_net *net = tape->net;
    size_t row = net->units[net->unit_count - 1].row;
    size_t at = (size_t)sample * ((size_t)tape->steps + 1) + (size_t)step + 1;
    return value_at(net->kernel, tape->out[net->unit_count - 1], at * row);
}

/* The adjoint of the final state of some samples is 0. */
static void clear_adjoint(const stpn_net *net, void *dstate, int samples)
{
    for (int b = 0; b < samples; b++)
        for (int i = 0; i < net->unit_count; i++) {
            const unit *u = &net->units[i];
            size_t at = (size_t)b * net->state_values + net->unit_state[i] + u->adjoint_from;
            memset(value_at(net->kernel, dstate, at), 0, (u->state_values - u->adjoint_from) * net->kernel->size);
        }
}

/* What the first unit wants of its inputs goes on through the encoder. */
static void encoder_back(const stpn_net *net, const stpn_tape *tape, const net_back *b, const backward_space *space)
{
    const kernel_table *k = net->kernel;
    size_t T = (size_t)tape->steps;
    encoder_backward_open(&net->encoder, k, net->parameters, space->encoder);
    for (size_t sample = (size_t)b->first; sample < (size_t)b->last; sample++)
        for (size_t t = 0; t < (size_t)tape->recorded[sample]; t++) {
            size_t at = sample * T + t, local = (sample - (size_t)b->first) * T + t;
            if (!(tape->flags[at] & STEP_LIVE)) continue;
            encoder_backward(&net->encoder, k, b->grad, value_at(k, tape->kept, at * net->encoder.kept),
                             value_at(k, tape->x, at * net->input_row),
                             value_at(k, space->features, local * net->input_row), space->encoder);
        }
}

void net_backward_chunk(const stpn_net *net, stpn_tape *tape, const net_back *b)
{
    const kernel_table *k = net->kernel;
    backward_space space = space_of_worker(tape, b->worker);
    size_t first = (size_t)b->first, T = (size_t)tape->steps;
    unit_back back = {.samples = b->last - b->first,
                      .steps = tape->recorded + first,
                      .flags = tape->flags + first * T,
                      .flags_sample = T,
                      .tape_steps = tape->steps,
                      .dy = b->dy,
                      .dy_sample = b->dy_sample,
                      .dy_step = b->dy_step,
                      .dy_begin = b->dy_begin,
                      .dstate_sample = net->state_values,
                      .dense = b->dstate != NULL};
    void *dstate = space.dstate;
    if (b->dstate) dstate = value_at(k, b->dstate->values, first * net->state_values);
    else clear_adjoint(net, dstate, back.samples);
    for (int i = net->unit_count - 1; i >= 0; i--) {
        const unit *u = &net->units[i];
        size_t below = i == 0 ? net->input_row : net->units[i - 1].row;
        back.x_sample = (i == 0 ? T : T + 1) * below;
        back.x_step = below;
        back.x = i == 0 ? value_at(k, tape->x, first * back.x_sample)
                        : value_at(k, tape->out[i - 1], first * back.x_sample + below);
        back.out_sample = (T + 1) * u->row;
        back.out = value_at(k, tape->out[i], first * back.out_sample);
        back.tape_sample = tape->own_values[i];
        back.tape = value_at(k, tape->own[i], first * back.tape_sample);
        back.dstate = value_at(k, dstate, net->unit_state[i]);
        if (i > 0) {
            back.dx = space.rows[i % 2];
            back.dx_sample = T * below;
            back.dx_step = below;
        } else if (net->encoder.count) {
            back.dx = space.features;
            back.dx_sample = T * net->input_row;
            back.dx_step = net->input_row;
        } else if (b->dx) {
            size_t I = (size_t)net->inputs;
            back.dx = value_at(k, b->dx, first * I);
            back.dx_sample = I;
            back.dx_step = (size_t)tape->batch * I;
        } else {
            back.dx = NULL;
        }
        u->type->backward(u, value_at(k, net->parameters, net->unit_block[i]), value_at(k, b->grad, net->unit_block[i]),
                          &back, space.unit);
        back.dy = back.dx;
        back.dy_sample = back.dx_sample;
        back.dy_step = back.dx_step;
        back.dy_begin = NULL;
    }
    if (net->encoder.count == 0) return;
    int64_t started = tape->watched ? net_clock() : 0;
    encoder_back(net, tape, b, &space);
    if (tape->watched) tape->encoding[b->worker] += net_clock() - started;
}

typedef struct backward_job {
    const stpn_net *net;
    stpn_tape *tape;
    const void *dy;
    stpn_state *dstate;
    void *dx;
} backward_job;

static void backward_task(void *context, int chunk, int worker)
{
    const backward_job *job = context;
    const stpn_net *net = job->net;
    const kernel_table *k = net->kernel;
    size_t H = (size_t)net_outputs(net);
    int size = job->tape->chunk, batch = job->tape->batch, first = chunk * size;
    int last = first + size < batch ? first + size : batch;
    net_back back = {.first = first,
                     .last = last,
                     .dy = value_at(k, job->dy, (size_t)first * H),
                     .dy_sample = H,
                     .dy_step = (size_t)batch * H,
                     .dstate = job->dstate,
                     .grad = value_at(k, job->tape->chunk_grad, (size_t)chunk * net->block_values),
                     .dx = job->dx,
                     .worker = worker};
    memset(back.grad, 0, net->block_values * k->size);
    net_backward_chunk(net, job->tape, &back);
    int chunks = (batch - 1) / size + 1;
    net_join_block(net, job->tape->chunk_grad, chunks, (rank_share){0, chunks}, chunk, job->tape->ready);
}

stpn_status stpn_backward(const stpn_net *net, stpn_tape *tape, const void *dy, stpn_state *dstate, void *grad,
                          void *dx, stpn_pool *pool, stpn_error *error)
{
    error_clear(error);
    stpn_status status = error_given(error, {net, "net"}, {tape, "tape"}, {dy, "dy"}, {grad, "grad"});
    if (status) return status;
    if (tape->net != net) return error_set(error, STPN_ERROR_INPUT, "the tape belongs to another network");
    if (dx && net->encoder.count)
        return error_set(error, STPN_ERROR_INPUT, "dx is wanted of a network with an encoder, expected NULL");
    if (dstate && (dstate->net != net || dstate->batch != tape->batch))
        return error_set(error, STPN_ERROR_INPUT, "dstate has %d samples of %s network, expected the tape's %d",
                         dstate->batch, dstate->net == net ? "this" : "another", tape->batch);
    status = tape_check(tape, 0, tape->batch, error);
    if (status) return status;
    backward_job job = {net, tape, dy, dstate, dx};
    size_t steps = 0;
    for (int b = 0; b < tape->batch; b++) steps += (size_t)tape->recorded[b];
    int chunks = (tape->batch - 1) / tape->chunk + 1;
    if (dx) {
        /* Steps that a sample lacks have no gradient. */
        int longest = 0;
        for (int b = 0; b < tape->batch; b++) longest = tape->recorded[b] > longest ? tape->recorded[b] : longest;
        memset(dx, 0, (size_t)longest * (size_t)tape->batch * (size_t)net->inputs * net->kernel->size);
    }
    pool_run(pool, chunks, net_worth(net, steps, tape->workers), backward_task, &job);
    net->kernel->add(net->block_values, grad, tape->chunk_grad);
    return STPN_OK;
}
