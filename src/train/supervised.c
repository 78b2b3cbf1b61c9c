#include "train/supervised.h"

#include "base/error.h"
#include "base/memory.h"
#include "train/learner.h"
#include "train/parameters.h"

#include <string.h>

/* -------------------------------------------------------------------------------------------------- made and unmade */

static void close_worker(worker *w)
{
    sweep_close(&w->sweep);
    stpn_tape_free(w->tape);
    memory_free(w->y);
    memory_free(w->energy);
    memory_free(w->dy);
    memory_free(w->dlast);
}

static stpn_status open_worker(const supervised *s, worker *w, int updates, stpn_error *error)
{
    size_t size = s->net->kernel->size, H = (size_t)net_outputs(s->net);
    stpn_error inner = {{0}};
    int samples = s->options.batch < s->chunk ? s->options.batch : s->chunk;
    stpn_status status = sweep_open(&w->sweep, s->net, &s->shape, s->chunk, error);
    if (status) return status;
    w->y = memory_zeroed((size_t)PIECE * (size_t)s->chunk * H, size);
    w->energy = memory_zeroed((size_t)PIECE * (size_t)s->chunk, size);
    if (!w->y || !w->energy) return error_memory(error, "the trainer");
    if (!updates) return STPN_OK;
    status = net_tape_create(&w->tape, s->net, s->window, samples, samples, 1, &inner);
    if (status)
        return error_set(error, status,
                         "%s: %d steps of %d sequences are more than can be recorded for the gradient: set "
                         "train.truncate to fewer steps, or train.batch to fewer sequences",
                         inner.message, s->window, samples);
    w->dy = memory_zeroed((size_t)samples * (size_t)s->window, H * size);
    w->dlast = memory_zeroed((size_t)s->chunk * H, size);
    return w->dy && w->dlast ? STPN_OK : error_memory(error, "the trainer");
}

static size_t sample_values(const stpn_tensor *tensor)
{
    return tensor->count / (size_t)tensor->shape[0];
}

static stpn_status make_carried(supervised *s, stpn_error *error)
{
    const stpn_state *state = s->worker[0].sweep.state;
    stpn_tensor tensor;
    if (s->windows == 1) return STPN_OK;
    while (stpn_state_tensor(state, s->carried_count, &tensor)) s->carried_count++;
    s->carried = memory_zeroed((size_t)s->carried_count + 1, sizeof *s->carried);
    if (!s->carried) return error_memory(error, "the trainer");
    for (int i = 0; i < s->carried_count; i++) {
        stpn_state_tensor(state, i, &tensor);
        s->carried[i] = memory_zeroed((size_t)s->chunks, tensor.count * s->net->kernel->size);
        if (!s->carried[i]) return error_memory(error, "the trainer");
    }
    return STPN_OK;
}

stpn_status supervised_create(supervised **out, stpn_net *net, const train_options *options, const task_shape *shape,
                              stpn_pool *pool, stpn_error *error)
{
    *out = NULL;
    supervised *s = memory_zeroed(1, sizeof *s);
    if (!s) return error_memory(error, "the trainer");
    int T = shape->steps;
    s->net = net;
    s->pool = pool;
    s->options = *options;
    s->shape = *shape;
    s->window = options->truncate > 0 && options->truncate < T ? options->truncate : T;
    s->windows = (T - 1) / s->window + 1;
    s->workers = stpn_pool_threads(pool);
    s->chunk = stpn_chunk_size(options->batch);
    s->chunks = (options->batch - 1) / s->chunk + 1;
    s->worker = memory_zeroed((size_t)s->workers, sizeof *s->worker);
    s->blocks = memory_zeroed((size_t)s->chunks, net->block_values * net->kernel->size);
    s->ready = memory_zeroed((size_t)s->chunks, sizeof *s->ready);
    s->results = memory_zeroed((size_t)s->chunks, sizeof *s->results);
    if (!s->worker || !s->blocks || !s->ready || !s->results) {
        supervised_free(s);
        return error_memory(error, "the trainer");
    }
    stpn_status status = STPN_OK;
    for (int i = 0; i < s->workers && !status; i++) status = open_worker(s, &s->worker[i], i < s->chunks, error);
    if (!status) status = make_carried(s, error);
    if (!status)
        status = stpn_adam_create(&s->adam, net, options->learning_rate, options->beta1, options->beta2,
                                  options->epsilon, error);
    if (!status) status = stpn_adam_set_weight_decay(s->adam, options->weight_decay, error);
    if (!status) *out = s;
    else supervised_free(s);
    return status;
}

void supervised_free(supervised *s)
{
    if (!s) return;
    for (int i = 0; i < s->workers && s->worker; i++) close_worker(&s->worker[i]);
    for (int i = 0; i < s->carried_count && s->carried; i++) memory_free(s->carried[i]);
    memory_free(s->worker);
    memory_free(s->blocks);
    memory_free(s->ready);
    memory_free(s->results);
    memory_free(s->carried);
    stpn_adam_free(s->adam);
    memory_free(s);
}

void supervised_set_profile(supervised *s, profile *p)
{
    for (int i = 0; i < s->workers; i++) s->worker[i].lane = profile_lane_of(p, i);
}

void supervised_set_ranks(supervised *s, stpn_ranks *ranks)
{
    s->ranks = ranks;
}

const stpn_net *supervised_net(const supervised *s)
{
    return s->net;
}

stpn_adam *supervised_adam(supervised *s)
{
    return s->adam;
}

int supervised_windows(const supervised *s)
{
    return s->windows;
}

/* ----------------------------------------------------------------------------------------- from window to window */

/* Values leave a state without the order in which its columns became active, so that the bits of the window after
 * depend on nothing that a checkpoint cannot hold. */
static stpn_status take_up(const supervised *s, stpn_state *state, int index)
{
    stpn_tensor tensor;
    for (int i = 0; i < s->carried_count && stpn_state_tensor(state, i, &tensor); i++)
        if (stpn_state_set(state, i, value_at(s->net->kernel, s->carried[i], (size_t)index * tensor.count), NULL))
            return STPN_ERROR_NUMERIC;
    return STPN_OK;
}

static void hand_on(const supervised *s, const stpn_state *state, int index)
{
    stpn_tensor tensor;
    for (int i = 0; i < s->carried_count && stpn_state_tensor(state, i, &tensor); i++)
        stpn_state_get(state, i, value_at(s->net->kernel, s->carried[i], (size_t)index * tensor.count));
}

const void *supervised_carried(const supervised *s, int index, stpn_tensor *tensor)
{
    if (index >= s->carried_count || !stpn_state_tensor(s->worker[0].sweep.state, index, tensor)) return NULL;
    tensor->count = sample_values(tensor) * (size_t)s->options.batch;
    tensor->shape[0] = s->options.batch;
    return s->carried[index];
}

stpn_status supervised_gather_carried(const supervised *s, stpn_error *error)
{
    stpn_tensor tensor;
    stpn_status status = STPN_OK;
    for (int i = 0; !status && supervised_carried(s, i, &tensor); i++) {
        size_t bytes = tensor.count / (size_t)s->options.batch * s->net->kernel->size;
        status = ranks_gather(s->ranks, s->carried[i], bytes, s->options.batch, s->chunk, error);
    }
    return status;
}

stpn_status supervised_set_carried(supervised *s, int index, const void *values, stpn_error *error)
{
    stpn_tensor tensor;
    stpn_state *state = s->worker[0].sweep.state;
    if (!supervised_carried(s, index, &tensor)) return error_set(error, STPN_ERROR_INPUT, "no state is carried");
    memcpy(s->carried[index], values, tensor.count * s->net->kernel->size);
    stpn_status status = STPN_OK;
    for (int c = 0; c < s->chunks && !status; c++) {
        stpn_state_tensor(state, index, &tensor);
        status =
            stpn_state_set(state, index, value_at(s->net->kernel, s->carried[index], (size_t)c * tensor.count), error);
    }
    return status;
}

/* ---------------------------------------------------------------------------------------------------------- updates */

typedef struct update_job {
    supervised *s;
    const supervised_batch *batch;
    int window, begin, steps; // which; its steps
    int64_t asked;            // answers of the whole batch in it
    int chunks;               // of the batch
    rank_share own;           // of those
} update_job;

static chunk chunk_at(const supervised *s, const supervised_batch *b, int index)
{
    int begin = index * s->chunk, count = b->count - begin < s->chunk ? b->count - begin : s->chunk;
    return chunk_of(b->split, b->order, b->order ? begin : b->first + begin, count);
}

/* An answer at every step: the rows of a sample lie one after the other on the tape. */
static void learn_steps(const update_job *job, worker *w, const chunk *c, void *grad, loss_sums *sums)
{
    const supervised *s = job->s;
    const stpn_net *net = s->net;
    const kernel_table *k = net->kernel;
    size_t H = (size_t)net_outputs(net), row = net->units[net->unit_count - 1].row;
    for (int i = 0; i < c->count; i++) {
        int live = chunk_live(c, i, job->begin, job->steps);
        void *dy = value_at(k, w->dy, (size_t)i * (size_t)s->window * H);
        for (int t = 0; t < job->steps;) {
            int most = t < live ? live - t : job->steps - t, rows = most < LOSS_ROWS ? most : LOSS_ROWS;
            loss_wanted wanted = loss_wanted_at(c->split, &s->shape, c->sequence[i], job->begin + t);
            void *to = value_at(k, dy, (size_t)t * H);
            if (t < live && loss_asked(&s->shape, wanted, rows) > 0) {
                const void *y = tape_output(w->tape, i, t);
                net_head_forward(net, 0, rows, y, row, w->sweep.out);
                loss_rows(k, &s->shape, rows, w->sweep.out, wanted, 1.0 / (double)job->asked, w->sweep.dout, NULL,
                          sums);
                net_head_backward(net, 0, rows, y, row, w->sweep.dout, grad, to);
            } else {
                memset(to, 0, (size_t)rows * H * k->size);
            }
            t += rows;
        }
    }
}

/* One answer after the last step: a sample's gradient begins there, with nothing but zeros after it. */
static void learn_ends(const update_job *job, worker *w, const chunk *c, int *dy_begin, void *grad, loss_sums *sums)
{
    const supervised *s = job->s;
    const stpn_net *net = s->net;
    const kernel_table *k = net->kernel;
    size_t H = (size_t)net_outputs(net), bytes = H * k->size;
    sweep_ends ends = sweep_find_ends(&w->sweep, c, job->begin, job->steps);
    for (int m = 0; m < ends.count; m++)
        memcpy(value_at(k, w->sweep.last, (size_t)m * H), tape_output(w->tape, ends.sample[m], ends.step[m]), bytes);
    net_head_forward(net, 0, ends.count, w->sweep.last, H, w->sweep.out);
    loss_rows(k, &s->shape, ends.count, w->sweep.out, sweep_wanted(&w->sweep, &ends), 1.0 / (double)job->asked,
              w->sweep.dout, NULL, sums);
    net_head_backward(net, 0, ends.count, w->sweep.last, H, w->sweep.dout, grad, w->dlast);
    for (int i = 0; i < c->count; i++) dy_begin[i] = job->steps;
    for (int m = 0; m < ends.count; m++) {
        int i = ends.sample[m], after = job->steps - ends.step[m] - 1;
        void *dy = value_at(k, w->dy, (size_t)i * (size_t)s->window * H);
        dy_begin[i] = ends.step[m];
        memcpy(dy, value_at(k, w->dlast, (size_t)m * H), bytes);
        memset(value_at(k, dy, H), 0, (size_t)after * bytes);
    }
}

static void update_chunk(const update_job *job, int index, int thread)
{
    supervised *s = job->s;
    const stpn_net *net = s->net;
    worker *w = &s->worker[thread];
    chunk_result *result = &s->results[index];
    chunk c = chunk_at(s, job->batch, index);
    size_t H = (size_t)net_outputs(net);
    void *grad = value_at(net->kernel, s->blocks, (size_t)index * net->block_values);
    int dy_begin[CHUNK], learns = job->asked > 0;
    *result = (chunk_result){0};
    profile_enter(w->lane, PROFILE_FORWARD);
    memset(grad, 0, net->block_values * net->kernel->size);
    if (job->window == 0) stpn_state_zero(w->sweep.state);
    else result->status = take_up(s, w->sweep.state, index);
    if (result->status) return;
    stpn_tape_rewind(w->tape);
    for (int t = 0; t < job->steps; t += PIECE)
        sweep_run(&w->sweep, &c, job->begin + t, job->steps - t < PIECE ? job->steps - t : PIECE, NULL, NULL,
                  learns ? w->tape : NULL);
    if (job->window + 1 < s->windows) hand_on(s, w->sweep.state, index);
    if (!learns) return;
    profile_enter(w->lane, PROFILE_READ_OUT);
    if (s->shape.per_step) learn_steps(job, w, &c, grad, &result->sums);
    else learn_ends(job, w, &c, dy_begin, grad, &result->sums);
    net_back back = {.first = 0,
                     .last = c.count,
                     .dy = w->dy,
                     .dy_sample = (size_t)s->window * H,
                     .dy_step = H,
                     .dy_begin = s->shape.per_step ? NULL : dy_begin,
                     .grad = grad};
    profile_enter(w->lane, PROFILE_BACKWARD);
    if (result->sums.asked > 0) net_backward_chunk(net, w->tape, &back);
}

static void update_turn(void *context, int turn, int thread)
{
    const update_job *job = context;
    supervised *s = job->s;
    int index = job->own.first + turn;
    update_chunk(job, index, thread);
    profile_enter(s->worker[thread].lane, PROFILE_SUM);
    if (job->asked > 0) net_join_block(s->net, s->blocks, job->chunks, job->own, index, s->ready);
    profile_enter(s->worker[thread].lane, PROFILE_WAITING);
}

/* Answers of the batch that a window asks for. */
static int64_t count_asked(const update_job *job)
{
    const supervised *s = job->s;
    const supervised_batch *b = job->batch;
    int64_t asked = 0;
    for (int i = 0; i < b->count; i++) {
        int n = b->order ? b->order[i] : b->first + i, live = sequence_live(b->split, n, job->begin, job->steps);
        int ends = live > 0 && sequence_live(b->split, n, job->begin, job->steps + 1) == live;
        int rows = s->shape.per_step ? live : ends;
        if (rows > 0) asked += loss_asked(&s->shape, loss_wanted_at(b->split, &s->shape, n, job->begin), rows);
    }
    return asked;
}

/* The gradient's total, limited; then the update. */
static stpn_status apply(supervised *s, int chunks, double loss, stpn_error *error)
{
    profile_lane *lane = s->worker[0].lane;
    profile_enter(lane, PROFILE_RANKS);
    stpn_status status = net_join_ranks(s->net, s->blocks, chunks, s->ranks, error);
    if (status) return status;
    profile_enter(lane, PROFILE_OPTIMISER);
    status = parameters_update(s->net, s->adam, &s->options, s->blocks, loss, NULL, error);
    profile_enter(lane, PROFILE_REST);
    return status;
}

stpn_status supervised_update(supervised *s, const supervised_batch *batch, int window, loss_sums *sums,
                              stpn_error *error)
{
    int chunks = (batch->count + s->chunk - 1) / s->chunk, left = s->shape.steps - window * s->window;
    update_job job = {.s = s,
                      .batch = batch,
                      .window = window,
                      .chunks = chunks,
                      .own = ranks_share(s->ranks, chunks),
                      .begin = window * s->window,
                      .steps = left < s->window ? left : s->window};
    job.asked = count_asked(&job);
    *sums = (loss_sums){0};
    profile_enter(s->worker[0].lane, PROFILE_WAITING);
    int most = s->workers < s->chunks ? s->workers : s->chunks;
    size_t steps = (size_t)batch->count * (size_t)job.steps;
    pool_run(s->pool, job.own.last - job.own.first, net_worth(s->net, steps, most), update_turn, &job);
    profile_enter(s->worker[0].lane, PROFILE_RANKS);
    stpn_status status = ranks_gather(s->ranks, s->results, sizeof *s->results, chunks, 1, error);
    profile_enter(s->worker[0].lane, PROFILE_REST);
    if (status) return status;
    for (int i = 0; i < chunks; i++) {
        if (s->results[i].status)
            return error_set(error, s->results[i].status, "the state that goes on to window %d is not finite",
                             window + 1);
        loss_add(sums, &s->results[i].sums);
    }
    return job.asked > 0 ? apply(s, chunks, sums->loss / (double)sums->asked, error) : STPN_OK;
}
