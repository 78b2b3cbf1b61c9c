#include "train/supervised.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/threads.h"

#include <math.h>
#include <string.h>

/* What one thread works in: a chunk of samples from start to end. */
typedef struct worker {
    stpn_state *state;
    stpn_tape *tape;
    int32_t *tokens; // (T, CHUNK)
    int32_t *labels; // (CHUNK)
    int *dy_begin;   // (CHUNK)
    void *logits;    // (CHUNK, classes)
    void *dlogits;   // (CHUNK, classes)
    void *dy;        // (CHUNK, H)
    void *losses;    // (CHUNK)
    void *energy;    // (T, CHUNK)
} worker;

/* What a chunk of samples adds to the sums; added in the order of the chunks. */
typedef struct chunk_sum {
    double loss;
    int correct;
} chunk_sum;

struct supervised {
    stpn_net *net;
    stpn_pool *pool;
    reduction reduce;
    train_options options;
    int steps, workers, chunks; // chunks of a batch
    worker *worker;
    stpn_adam *adam;
    void *blocks;    // (chunks, block_values) gradients
    chunk_sum *sums; // (chunks)
};

static void free_worker(worker *w)
{
    stpn_state_free(w->state);
    stpn_tape_free(w->tape);
    memory_free(w->tokens);
    memory_free(w->labels);
    memory_free(w->dy_begin);
    memory_free(w->logits);
    memory_free(w->dlogits);
    memory_free(w->dy);
    memory_free(w->losses);
    memory_free(w->energy);
}

static stpn_status make_worker(worker *w, const stpn_net *net, int steps, stpn_error *error)
{
    size_t classes = (size_t)net->heads[0].outputs, size = net->kernel->size, T = (size_t)steps;
    stpn_status status = stpn_state_create(&w->state, net, CHUNK, error);
    if (!status) status = stpn_tape_create(&w->tape, net, steps, CHUNK, 1, error);
    if (status) return status;
    w->tokens = memory_zeroed(T * CHUNK, sizeof *w->tokens);
    w->labels = memory_zeroed(CHUNK, sizeof *w->labels);
    w->dy_begin = memory_zeroed(CHUNK, sizeof *w->dy_begin);
    w->logits = memory_zeroed(CHUNK * classes, size);
    w->dlogits = memory_zeroed(CHUNK * classes, size);
    w->dy = memory_zeroed((size_t)CHUNK * (size_t)net_outputs(net), size);
    w->losses = memory_zeroed(CHUNK, size);
    w->energy = memory_zeroed(T * CHUNK, size);
    if (!w->tokens || !w->labels || !w->dy_begin || !w->logits || !w->dlogits || !w->dy || !w->losses || !w->energy)
        return error_memory(error, "the trainer");
    for (int i = 0; i < CHUNK; i++) w->dy_begin[i] = steps - 1;
    return STPN_OK;
}

stpn_status supervised_create(supervised **out, stpn_net *net, const train_options *options, int steps, stpn_pool *pool,
                              const reduction *reduce, stpn_error *error)
{
    *out = NULL;
    supervised *s = memory_zeroed(1, sizeof *s);
    if (!s) return error_memory(error, "the trainer");
    s->net = net;
    s->pool = pool;
    s->options = *options;
    s->steps = steps;
    s->workers = stpn_pool_threads(pool);
    s->chunks = (options->batch + CHUNK - 1) / CHUNK;
    if (reduce) s->reduce = *reduce;
    s->worker = memory_zeroed((size_t)s->workers, sizeof *s->worker);
    s->blocks = memory_zeroed((size_t)s->chunks, net->block_values * net->kernel->size);
    s->sums = memory_zeroed((size_t)s->chunks, sizeof *s->sums);
    if (!s->worker || !s->blocks || !s->sums) {
        supervised_free(s);
        return error_memory(error, "the trainer");
    }
    stpn_status status = STPN_OK;
    for (int i = 0; i < s->workers && !status; i++) status = make_worker(&s->worker[i], net, steps, error);
    if (!status)
        status = stpn_adam_create(&s->adam, net, options->learning_rate, options->beta1, options->beta2,
                                  options->epsilon, error);
    if (status) {
        supervised_free(s);
        return status;
    }
    *out = s;
    return STPN_OK;
}

void supervised_free(supervised *s)
{
    if (!s) return;
    for (int i = 0; i < s->workers && s->worker; i++) free_worker(&s->worker[i]);
    memory_free(s->worker);
    memory_free(s->blocks);
    memory_free(s->sums);
    stpn_adam_free(s->adam);
    memory_free(s);
}

stpn_adam *supervised_adam(supervised *s)
{
    return s->adam;
}

static double value_of(const kernel_table *k, const void *values, size_t at)
{
    return k->real == STPN_DOUBLE ? ((const double *)values)[at] : (double)((const float *)values)[at];
}

static int largest(const kernel_table *k, const void *values, size_t begin, int count)
{
    int best = 0;
    for (int i = 1; i < count; i++)
        if (value_of(k, values, begin + (size_t)i) > value_of(k, values, begin + (size_t)best)) best = i;
    return best;
}

/* Brings samples [begin, begin + count) of a batch into the worker, and to their logits. */
static void run_chunk(const supervised *s, worker *w, const task_split *split, const int32_t *order, int begin,
                      int count, void *energy)
{
    size_t T = (size_t)s->steps;
    for (int i = 0; i < count; i++) {
        size_t n = (size_t)(order ? order[begin + i] : begin + i);
        for (size_t t = 0; t < T; t++) w->tokens[t * CHUNK + (size_t)i] = split->tokens[n * T + t];
        w->labels[i] = split->labels[n];
    }
    stpn_sequence sequence = {.steps = s->steps, .batch = CHUNK, .type = STPN_INPUT_TOKEN, .x = w->tokens};
    stpn_state_zero(w->state);
    stpn_tape_rewind(w->tape);
    net_forward_chunk(s->net, w->state, &sequence, 0, count, NULL, energy, w->tape);
    size_t row = s->net->units[s->net->unit_count - 1].row;
    net_head_forward(s->net, 0, count, tape_last_output(w->tape, 0), (T + 1) * row, w->logits);
}

typedef struct update_job {
    supervised *s;
    const task_split *split;
    const int32_t *order;
    int first, batch;
} update_job;

static void update_chunk(void *context, int chunk, int thread)
{
    const update_job *job = context;
    supervised *s = job->s;
    const stpn_net *net = s->net;
    const kernel_table *k = net->kernel;
    worker *w = &s->worker[thread];
    int begin = chunk * CHUNK, count = job->batch - begin < CHUNK ? job->batch - begin : CHUNK;
    int classes = net->heads[0].outputs;
    size_t H = (size_t)net_outputs(net), T = (size_t)s->steps, row = net->units[net->unit_count - 1].row;
    void *grad = value_at(k, s->blocks, (size_t)chunk * net->block_values);
    memset(grad, 0, net->block_values * k->size);
    run_chunk(s, w, job->split, job->order, job->order ? begin : job->first + begin, count, NULL);
    k->cross_entropy(count, classes, w->logits, w->labels, 1.0 / job->batch, w->losses, w->dlogits);
    net_head_backward(net, 0, count, tape_last_output(w->tape, 0), (T + 1) * row, w->dlogits, grad, w->dy);
    net_back back = {.first = 0, .last = count, .dy = w->dy, .dy_sample = H, .dy_begin = w->dy_begin, .grad = grad};
    net_backward_chunk(net, w->tape, &back);
    chunk_sum sum = {0};
    for (int i = 0; i < count; i++) {
        sum.loss += value_of(k, w->losses, (size_t)i);
        sum.correct += largest(k, w->logits, (size_t)i * (size_t)classes, classes) == w->labels[i];
    }
    s->sums[chunk] = sum;
}

stpn_status supervised_update(supervised *s, const task_split *split, const int32_t *order, int first, int batch,
                              double *loss, int *correct, stpn_error *error)
{
    int chunks = (batch + CHUNK - 1) / CHUNK;
    update_job job = {s, split, order, first, batch};
    pool_run(s->pool, chunks, s->workers, update_chunk, &job);
    *loss = 0;
    *correct = 0;
    for (int i = 0; i < chunks; i++) {
        *loss += s->sums[i].loss;
        *correct += s->sums[i].correct;
    }
    *loss /= batch;
    if (s->reduce.sum) {
        stpn_status status = s->reduce.sum(s->reduce.context, s->net, s->blocks, 0, chunks, chunks);
        if (status) return error_set(error, status, "the gradient cannot be summed");
    } else {
        net_sum_blocks(s->net, s->blocks, chunks, s->pool);
    }
    if (!isfinite(*loss)) return error_set(error, STPN_ERROR_NUMERIC, "the loss is %g", *loss);
    /* Before the limit, which would make an infinite value look like any other. */
    const kernel_table *k = s->net->kernel;
    double norm = sqrt(k->sum_squares(s->net->block_values, s->blocks));
    if (isfinite(norm)) norm = stpn_clip_gradient(s->net, s->blocks, s->options.clip_value, s->options.clip_norm);
    if (!isfinite(norm)) return error_set(error, STPN_ERROR_NUMERIC, "the gradient's norm is %g", norm);
    stpn_adam_update(s->adam, s->net, s->blocks);
    return STPN_OK;
}

typedef struct evaluate_job {
    const supervised *s;
    const task_split *split;
    chunk_sum *sums;  // (chunks)
    double *energy;   // (chunks, T)
    int32_t *answers; // (count) or NULL
} evaluate_job;

static void evaluate_chunk(void *context, int chunk, int thread)
{
    const evaluate_job *job = context;
    const supervised *s = job->s;
    const kernel_table *k = s->net->kernel;
    worker *w = &s->worker[thread];
    int begin = chunk * CHUNK, count = job->split->count - begin < CHUNK ? job->split->count - begin : CHUNK;
    int classes = s->net->heads[0].outputs;
    run_chunk(s, w, job->split, NULL, begin, count, w->energy);
    k->cross_entropy(count, classes, w->logits, w->labels, 1, w->losses, NULL);
    chunk_sum sum = {0};
    for (int i = 0; i < count; i++) {
        int answer = largest(k, w->logits, (size_t)i * (size_t)classes, classes);
        if (job->answers) job->answers[begin + i] = answer;
        sum.loss += value_of(k, w->losses, (size_t)i);
        sum.correct += answer == w->labels[i];
        for (size_t t = 0; t < (size_t)s->steps; t++)
            job->energy[(size_t)chunk * (size_t)s->steps + t] += value_of(k, w->energy, t * CHUNK + (size_t)i);
    }
    job->sums[chunk] = sum;
}

stpn_status supervised_evaluate(supervised *s, const task_split *split, evaluation *result, double *energy,
                                int32_t *answers, stpn_error *error)
{
    int chunks = (split->count + CHUNK - 1) / CHUNK;
    size_t T = (size_t)s->steps;
    evaluate_job job = {.s = s,
                        .split = split,
                        .sums = memory_zeroed((size_t)chunks, sizeof *job.sums),
                        .energy = memory_zeroed((size_t)chunks * T, sizeof *job.energy),
                        .answers = answers};
    if (!job.sums || !job.energy) {
        memory_free(job.sums);
        memory_free(job.energy);
        return error_memory(error, "an evaluation");
    }
    pool_run(s->pool, chunks, s->workers, evaluate_chunk, &job);
    *result = (evaluation){0};
    int correct = 0;
    double count = split->count;
    for (int i = 0; i < chunks; i++) {
        result->loss += job.sums[i].loss;
        correct += job.sums[i].correct;
    }
    for (size_t t = 0; t < T; t++) {
        double total = 0;
        for (int i = 0; i < chunks; i++) total += job.energy[(size_t)i * T + t];
        if (energy) energy[t] = total / count;
        result->energy += total / count / (double)T;
    }
    result->loss /= count;
    result->accuracy = correct / count;
    memory_free(job.sums);
    memory_free(job.energy);
    if (!isfinite(result->loss) || !isfinite(result->energy))
        return error_set(error, STPN_ERROR_NUMERIC, "the %s of an evaluation is not finite",
                         isfinite(result->loss) ? "energy" : "loss");
    return STPN_OK;
}
