/* supervised_evaluate: a split through the net, a few steps at a time. */
#include "base/error.h"
#include "base/memory.h"
#include "train/learner.h"

#include <math.h>
#include <string.h>

typedef struct evaluate_job {
    supervised *s;
    const task_split *split;
    loss_sums *sums;  // (chunks)
    double *energy;   // (chunks, T)
    int32_t *answers; // (N) or (N, T), or NULL
    rank_share own;   // of the chunks
} evaluate_job;

/* Answers of the steps [begin, begin + steps), whose outputs lie in w->y. */
static void judge_steps(const evaluate_job *job, worker *w, const chunk *c, int begin, int steps, loss_sums *sums)
{
    const supervised *s = job->s;
    const kernel_table *k = s->net->kernel;
    size_t H = (size_t)net_outputs(s->net), T = (size_t)job->split->steps;
    for (int i = 0; i < c->count; i++) {
        int live = chunk_live(c, i, begin, steps);
        int32_t *answers = job->answers ? job->answers + (size_t)c->sequence[i] * T + (size_t)begin : NULL;
        net_head_forward(s->net, 0, live, value_at(k, w->y, (size_t)i * H), (size_t)s->chunk * H, w->sweep.out);
        loss_rows(k, &s->shape, live, w->sweep.out, loss_wanted_at(c->split, &s->shape, c->sequence[i], begin), 1, NULL,
                  answers, sums);
        for (int t = live; t < steps && answers; t++) answers[t] = -1;
    }
}

/* Answers of the sequences that end there. */
static void judge_ends(const evaluate_job *job, worker *w, const chunk *c, int begin, int steps, loss_sums *sums)
{
    const supervised *s = job->s;
    const kernel_table *k = s->net->kernel;
    size_t H = (size_t)net_outputs(s->net);
    int32_t answers[CHUNK];
    sweep_ends ends = sweep_find_ends(&w->sweep, c, begin, steps);
    for (int m = 0; m < ends.count; m++) {
        size_t at = (size_t)ends.step[m] * (size_t)s->chunk + (size_t)ends.sample[m];
        memcpy(value_at(k, w->sweep.last, (size_t)m * H), value_at(k, w->y, at * H), H * k->size);
    }
    net_head_forward(s->net, 0, ends.count, w->sweep.last, H, w->sweep.out);
    loss_rows(k, &s->shape, ends.count, w->sweep.out, sweep_wanted(&w->sweep, &ends), 1, NULL, answers, sums);
    for (int m = 0; m < ends.count && job->answers; m++) job->answers[c->sequence[ends.sample[m]]] = answers[m];
}

static void evaluate_chunk(const evaluate_job *job, int index, int thread)
{
    const supervised *s = job->s;
    worker *w = &s->worker[thread];
    int begin = index * s->chunk, left = job->split->count - begin, T = job->split->steps;
    chunk c = chunk_of(job->split, NULL, begin, left < s->chunk ? left : s->chunk);
    double *energy = job->energy + (size_t)index * (size_t)T;
    loss_sums sums = {0};
    stpn_state_zero(w->sweep.state);
    for (int t0 = 0; t0 < T; t0 += PIECE) {
        int steps = T - t0 < PIECE ? T - t0 : PIECE;
        sweep_run(&w->sweep, &c, t0, steps, w->y, w->energy, NULL);
        if (s->shape.per_step) judge_steps(job, w, &c, t0, steps, &sums);
        else judge_ends(job, w, &c, t0, steps, &sums);
        for (int i = 0; i < c.count; i++)
            for (int t = 0; t < steps; t++)
                energy[t0 + t] += value_read(s->net->kernel, w->energy, (size_t)t * (size_t)s->chunk + (size_t)i);
    }
    job->sums[index] = sums;
}

static void evaluate_turn(void *context, int turn, int thread)
{
    const evaluate_job *job = context;
    int index = job->own.first + turn;
    profile_enter(job->s->worker[thread].lane, PROFILE_EVALUATION);
    evaluate_chunk(job, index, thread);
    profile_enter(job->s->worker[thread].lane, PROFILE_WAITING);
}

/* Sequences that have step t, for every t. */
static void count_steps(const task_split *split, int64_t *having)
{
    for (int n = 0; n < split->count; n++) having[(split->lengths ? split->lengths[n] : split->steps) - 1]++;
    for (int t = split->steps - 2; t >= 0; t--) having[t] += having[t + 1];
}

static double fraction(int64_t part, int64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : NAN;
}

static stpn_status conclude(const evaluate_job *job, int chunks, const int64_t *having, evaluation *result,
                            double *energy, stpn_error *error)
{
    size_t T = (size_t)job->split->steps;
    task_loss loss = job->s->shape.loss;
    loss_sums sums = {0};
    double all = 0, steps = 0;
    for (int i = 0; i < chunks; i++) loss_add(&sums, &job->sums[i]);
    for (size_t t = 0; t < T; t++) {
        double total = 0;
        for (int i = 0; i < chunks; i++) total += job->energy[(size_t)i * T + t];
        if (energy) energy[t] = having[t] ? total / (double)having[t] : 0;
        all += total;
        steps += (double)having[t];
    }
    if (sums.asked == 0) return error_set(error, STPN_ERROR_INPUT, "no answer is asked for in the sequences");
    *result = (evaluation){.loss = sums.loss / (double)sums.asked,
                           .accuracy = loss == LOSS_SQUARED ? NAN : fraction(sums.correct, sums.asked),
                           .true_positive_rate = NAN,
                           .false_positive_rate = NAN,
                           .energy = all / steps};
    if (loss == LOSS_BINARY) {
        result->true_positive_rate = fraction(sums.true_positives, sums.positives);
        result->false_positive_rate = fraction(sums.false_positives, sums.asked - sums.positives);
    }
    if (isfinite(result->loss) && isfinite(result->energy)) return STPN_OK;
    return error_set(error, STPN_ERROR_NUMERIC, "the %s of an evaluation is not finite",
                     isfinite(result->loss) ? "energy" : "loss");
}

stpn_status supervised_evaluate(supervised *s, const task_split *split, evaluation *result, double *energy,
                                int32_t *answers, stpn_error *error)
{
    int chunks = (split->count + s->chunk - 1) / s->chunk;
    evaluate_job job = {.s = s,
                        .split = split,
                        .own = ranks_share(s->ranks, chunks),
                        .sums = memory_zeroed((size_t)chunks, sizeof *job.sums),
                        .energy = memory_zeroed((size_t)chunks * (size_t)split->steps, sizeof *job.energy),
                        .answers = answers};
    int64_t *having = memory_zeroed((size_t)split->steps, sizeof *having);
    profile_lane *lane = s->worker[0].lane;
    profile_part before = profile_enter(lane, PROFILE_EVALUATION);
    int complete = job.sums && job.energy && having;
    stpn_status status = ranks_agree(s->ranks, complete ? STPN_OK : error_memory(error, "an evaluation"), error);
    if (!status && complete) {
        count_steps(split, having);
        profile_enter(lane, PROFILE_WAITING);
        pool_run(s->pool, job.own.last - job.own.first, s->workers, evaluate_turn, &job);
        profile_enter(lane, PROFILE_RANKS);
        status = ranks_gather(s->ranks, job.sums, sizeof *job.sums, chunks, 1, error);
        if (!status)
            status = ranks_gather(s->ranks, job.energy, (size_t)split->steps * sizeof *job.energy, chunks, 1, error);
        profile_enter(lane, PROFILE_EVALUATION);
        if (!status) status = conclude(&job, chunks, having, result, energy, error);
    }
    memory_free(job.sums);
    memory_free(job.energy);
    memory_free(having);
    profile_enter(lane, before);
    return status;
}
