/* PPO's returns, loss and gradient with every option: against sums as they are defined, and against finite differences of
 * a loss that is computed by the public calls alone, sequence by sequence from the states that acting went through. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <stdio.h>

#include "ppo_case.h"
#include "support/effort.h"

enum { STEPS = 9, BATCH = 18, ROWS = STEPS * BATCH, OUTPUTS = 2 * CASE_VALUES, LENGTH = 4, PIECES = 3 };

/* A rollout again, from its definition. Rows are those of (T, B). */
typedef struct slow {
    double values[ROWS], outputs[ROWS * OUTPUTS];
    double after[ROWS]; // value of what comes after step t, where it counts
    double returns[ROWS], advantages[ROWS], logs[ROWS];
} slow;

static void read_out(const stpn_net *net, const char *name, int rows, const double *y, double *out)
{
    for (int i = 0; i < net->head_count; i++)
        if (strcmp(net->heads[i].name, name) == 0) stpn_head_forward(net, i, rows, y, out);
}

/* Steps [begin, end) of all copies from `state` on. */
static void slow_steps(const agent *g, stpn_state *state, int begin, int end, slow *s)
{
    static double y[ROWS * CASE_HIDDEN];
    int at = begin * BATCH, rows = (end - begin) * BATCH;
    const stpn_sequence q = {.steps = end - begin,
                             .batch = BATCH,
                             .type = STPN_INPUT_DOUBLE,
                             .x = g->w->x + (size_t)at * CASE_INPUTS,
                             .reset = g->w->reset + at};
    assert_int_equal(stpn_forward(g->net, state, &q, y, NULL, NULL, NULL, &error), STPN_OK);
    if (!s) return;
    read_out(g->net, "policy", rows, y, s->outputs + (size_t)at * OUTPUTS);
    read_out(g->net, "value", rows, y, s->values + at);
}

/* States at the start of each sequence; to be freed. */
static void slow_starts(const agent *g, stpn_state *starts[PIECES])
{
    for (int i = 0; i < PIECES; i++) {
        assert_int_equal(stpn_state_create(&starts[i], g->net, BATCH, NULL), STPN_OK);
        if (i == 0) continue;
        stpn_state_copy(starts[i], starts[i - 1]);
        slow_steps(g, starts[i], (i - 1) * LENGTH, i * LENGTH, NULL);
    }
}

static void slow_outputs(const agent *g, stpn_state *const starts[PIECES], slow *s)
{
    stpn_state *state;
    assert_int_equal(stpn_state_create(&state, g->net, BATCH, NULL), STPN_OK);
    for (int i = 0; i < PIECES; i++) {
        int end = (i + 1) * LENGTH < STEPS ? (i + 1) * LENGTH : STEPS;
        stpn_state_copy(state, starts[i]);
        slow_steps(g, state, i * LENGTH, end, s);
    }
    stpn_state_free(state);
}

/* The value of `x` for copy b after its steps 0 to t. */
static double slow_after(const agent *g, int b, int t, const double *x)
{
    double y[CASE_HIDDEN], value;
    stpn_state *state;
    assert_int_equal(stpn_state_create(&state, g->net, 1, NULL), STPN_OK);
    for (int i = 0; i <= t + 1; i++) {
        int at = i * BATCH + b;
        const stpn_sequence q = {.steps = 1,
                                 .batch = 1,
                                 .type = STPN_INPUT_DOUBLE,
                                 .x = i <= t ? g->w->x + (size_t)at * CASE_INPUTS : x,
                                 .reset = i <= t ? g->w->reset + at : NULL};
        assert_int_equal(stpn_forward(g->net, state, &q, y, NULL, NULL, NULL, &error), STPN_OK);
    }
    stpn_state_free(state);
    read_out(g->net, "value", 1, y, &value);
    return value;
}

static int is_over(const agent *g, int at)
{
    return g->c.ends && g->w->ends[at] != 0;
}

static double slow_log_sigma(double raw)
{
    return log(log(1 + exp(raw)));
}

/* log p of the action of row `at`. */
static double slow_log(const agent *g, const double *o, int at)
{
    double sum = 0, log_p = 0;
    if (!g->c.continuous) {
        for (int i = 0; i < CASE_CHOICES; i++) sum += exp(o[i]);
        return o[g->w->choices[at]] - log(sum);
    }
    for (int i = 0; i < CASE_VALUES; i++) {
        double l = slow_log_sigma(o[CASE_VALUES + i]), u = (double)g->w->values[at * CASE_VALUES + i] - o[i];
        log_p += -u * u * exp(-2 * l) / 2 - l - log(2 * acos(-1)) / 2;
    }
    return log_p;
}

static double slow_entropy(const agent *g, const double *o)
{
    double sum = 0, entropy = 0;
    for (int i = 0; i < CASE_CHOICES; i++) sum += exp(o[i]);
    for (int i = 0; i < CASE_CHOICES && !g->c.continuous; i++) entropy -= exp(o[i]) / sum * log(exp(o[i]) / sum);
    for (int i = 0; i < CASE_VALUES && g->c.continuous; i++)
        entropy += slow_log_sigma(o[CASE_VALUES + i]) + log(2 * acos(-1) * exp(1)) / 2;
    return entropy;
}

/* sum p log(p / q), where `o` stands for q. */
static double slow_distance(const agent *g, const double *before, const double *o)
{
    double sum = 0, was = 0, distance = 0;
    for (int i = 0; i < CASE_CHOICES; i++) {
        sum += exp(o[i]);
        was += exp(before[i]);
    }
    for (int i = 0; i < CASE_CHOICES && !g->c.continuous; i++)
        distance += exp(before[i]) / was * log(exp(before[i]) / was / (exp(o[i]) / sum));
    for (int i = 0; i < CASE_VALUES && g->c.continuous; i++) {
        double s = slow_log_sigma(before[CASE_VALUES + i]), l = slow_log_sigma(o[CASE_VALUES + i]),
               gap = before[i] - o[i];
        distance += l - s + (exp(2 * s) + gap * gap) / (2 * exp(2 * l)) - 0.5;
    }
    return distance;
}

static void slow_returns(const agent *g, slow *s)
{
    const ppo_options *o = &g->c.options;
    double mean = 0, square = 0;
    for (int b = 0; b < BATCH; b++)
        for (int t = 0; t < STEPS; t++) {
            int at = t * BATCH + b;
            const double *last = g->w->last + (size_t)at * CASE_INPUTS;
            s->after[at] = 0;
            if (is_over(g, at)) {
                if (g->c.ends == 2 && g->w->ends[at] == STPN_TRUNCATED) s->after[at] = slow_after(g, b, t, last);
            } else if (t + 1 < STEPS) {
                s->after[at] = s->values[at + BATCH];
            } else if (g->c.ahead) {
                s->after[at] = slow_after(g, b, t, agent_ahead(g, STEPS) + (size_t)b * CASE_INPUTS);
            }
        }
    for (int at = 0; at < ROWS; at++) {
        double sum = 0, weight = 1;
        for (int i = at; i < ROWS; i += BATCH) {
            sum += weight * ((double)g->w->rewards[i] + o->discount * s->after[i] - s->values[i]);
            weight *= o->discount * o->lambda;
            if (is_over(g, i)) break;
        }
        s->advantages[at] = sum;
        s->returns[at] = sum + s->values[at];
        s->logs[at] = slow_log(g, s->outputs + (size_t)at * OUTPUTS, at);
        mean += sum / ROWS;
        square += sum * sum / ROWS;
    }
    for (int at = 0; at < ROWS && o->normalise_advantages; at++)
        s->advantages[at] = (s->advantages[at] - mean) / sqrt(square - mean * mean);
}

/* The loss of the outputs `s`, where what `base` says was acted; counts the steps that are cut off, and of values. */
static double slow_loss(const agent *g, const slow *s, const slow *base, int cut[2])
{
    const ppo_options *o = &g->c.options;
    double loss = 0;
    for (int at = 0; at < ROWS; at++) {
        const double *now = s->outputs + (size_t)at * OUTPUTS, *before = base->outputs + (size_t)at * OUTPUTS;
        double r = exp(slow_log(g, now, at) - base->logs[at]), A = base->advantages[at];
        double limited = r < 1 - o->clip ? 1 - o->clip : r > 1 + o->clip ? 1 + o->clip : r;
        double error_square = pow(s->values[at] - base->returns[at], 2);
        cut[0] += limited * A < r * A;
        cut[1] += o->value_clip > 0 && error_square > o->value_clip;
        loss -= r * A < limited * A ? r * A : limited * A;
        loss += o->value_weight * (o->value_clip > 0 && error_square > o->value_clip ? o->value_clip : error_square);
        loss += -o->entropy_weight * slow_entropy(g, now) + o->kl_weight * slow_distance(g, before, now);
    }
    return loss / ROWS;
}

static int is_close(double a, double b, double scale)
{
    return fabs(a - b) <= scale * fmax(1, fmax(fabs(a), fabs(b)));
}

/* The sums of the rollout into the learner: an update that moves nothing. */
static void prepare(agent *g, ppo_stats *stats)
{
    g->p->train.learning_rate = 0;
    g->p->options.passes = 1;
    if (ppo_update(g->p, agent_ahead(g, STEPS), stats, &error)) fail_msg("%s", error.message);
    /* It adapts: the policy is where it was. */
    assert_true(ppo_kl_weight(g->p) == g->c.options.kl_weight / 2);
    ppo_set_kl_weight(g->p, g->c.options.kl_weight);
}

/* Parameters a little off those that acted. */
static void move(const agent *g, uint64_t seed)
{
    random_stream s = random_open(seed, RANDOM_BENCH, 77);
    double values[128];
    stpn_tensor tensor;
    for (int n = 0; stpn_net_tensor(g->net, n, &tensor); n++) {
        assert_in_range(tensor.count, 1, 128);
        stpn_block_get(g->net, g->net->parameters, n, values);
        for (size_t i = 0; i < tensor.count; i++) values[i] += random_range(&s, -0.1, 0.1);
        stpn_block_set(g->net, g->net->parameters, n, values);
    }
}

static void check_slopes(const agent *g, stpn_state *const starts[PIECES], const slow *base, int index)
{
    static slow moved;
    static const double weights[] = {1.0 / 12, -8.0 / 12, 8.0 / 12, -1.0 / 12}, places[] = {-2, -1, 1, 2};
    const double h = 1e-5;
    double *gradient = g->p->tape->chunk_grad, *p = g->net->parameters;
    random_stream s = random_open(3, RANDOM_BENCH, (uint64_t)index);
    for (int n = 0; n < g->net->tensor_count; n++) {
        double values[128], changed[128], derivatives[128], direction[128], slope = 0, expected = 0;
        int cut[4][2] = {{0}};
        stpn_tensor tensor;
        assert_int_equal(stpn_net_tensor(g->net, n, &tensor), 1);
        stpn_block_get(g->net, gradient, n, derivatives);
        stpn_block_get(g->net, p, n, values);
        for (size_t i = 0; i < tensor.count; i++) {
            direction[i] = random_range(&s, -1, 1);
            expected += derivatives[i] * direction[i];
        }
        for (int k = 0; k < 4; k++) {
            for (size_t i = 0; i < tensor.count; i++) changed[i] = values[i] + places[k] * h * direction[i];
            stpn_block_set(g->net, p, n, changed);
            slow_outputs(g, starts, &moved);
            slope += weights[k] * slow_loss(g, &moved, base, cut[k]) / h;
        }
        stpn_block_set(g->net, p, n, values);
        /* Where a step is at the edge of being cut off there is no slope. */
        int even = memcmp(cut[0], cut[1], sizeof cut[0]) == 0 && memcmp(cut[2], cut[3], sizeof cut[0]) == 0 &&
                   memcmp(cut[0], cut[3], sizeof cut[0]) == 0;
        if (even && !is_close(slope, expected, 1e-7))
            fail_msg("case %d: gradient of %s along a direction is %.12g, not %.12g", index, tensor.name, expected,
                     slope);
    }
}

static void check_case(const agent_case *c, int index, int all_cut[2])
{
    static slow base, now;
    agent g = agent_start(c);
    ppo_stats stats;
    stpn_state *starts[PIECES];
    double *before = stpn_block_create(g.net);
    assert_non_null(before);
    memcpy(before, g.net->parameters, agent_bytes(&g));
    world_make(g.w, c, (uint64_t)index);
    agent_act_out(&g, STEPS, ACT_GIVEN);
    memset(&base, 0, sizeof base);
    slow_starts(&g, starts);
    slow_outputs(&g, starts, &base);
    slow_returns(&g, &base);
    prepare(&g, &stats);
    assert_memory_equal(before, g.net->parameters, agent_bytes(&g));
    /* Replayed with the parameters that acted, nothing has changed, however far a sequence is from the start. */
    assert_true(fabs(stats.kl) < 1e-13 && stats.clip_fraction == 0);
    for (int at = 0; at < ROWS; at++) {
        size_t kept = (size_t)(at % BATCH * STEPS + at / BATCH);
        if (!is_close(g.p->actor.gains[kept], base.returns[at], 1e-12) ||
            !is_close(g.p->advantages[kept], base.advantages[at], 1e-7) ||
            !is_close(g.p->old_log[kept], base.logs[at], 1e-12))
            fail_msg("case %d: row %d: return %g (%g), advantage %g (%g), log p %g (%g)", index, at,
                     g.p->actor.gains[kept], base.returns[at], g.p->advantages[kept], base.advantages[at],
                     g.p->old_log[kept], base.logs[at]);
        base.advantages[at] = g.p->advantages[kept];
    }
    move(&g, (uint64_t)index);
    ppo_sequence list[BATCH * PIECES];
    ppo_sums sums;
    double loss, expected;
    int count = 0, cut[2] = {0};
    for (int i = PIECES - 1; i >= 0; i--)
        for (int b = 0; b < BATCH; b++)
            list[count++] = (ppo_sequence){b, i * LENGTH, i == PIECES - 1 ? STEPS - i * LENGTH : LENGTH};
    assert_int_equal(ppo_gradient(g.p, list, count, &sums, &loss, &error), STPN_OK);
    slow_outputs(&g, starts, &now);
    expected = slow_loss(&g, &now, &base, cut);
    for (int i = 0; i < 2; i++) all_cut[i] += cut[i];
    assert_int_equal(sums.steps, ROWS);
    if (!is_close(loss, expected, 1e-12)) fail_msg("case %d: loss %.15g, not %.15g", index, loss, expected);
    check_slopes(&g, starts, &base, index);
    for (int i = 0; i < PIECES; i++) stpn_state_free(starts[i]);
    stpn_block_free(before);
    agent_end(&g);
}

static void every_option(void **state)
{
    (void)state;
    on_one_thread();
    static const double lambdas[] = {1, 0.7, 0};
    enum { CASES = 2 * 3 * 3 * 2 * 2 * 2 };
    int cut[2] = {0};
    for (int i = 0; i < CASES; i++) {
        int left = i;
        agent_case c = agent_case_default();
        c.real = STPN_DOUBLE;
        c.batch = BATCH;
        c.steps = STEPS;
        c.units = 1 + (i + i / 7) % 2;
        c.options.sequence = LENGTH;
        c.options.minibatch = 1 << 20;
        c.options.discount = 0.9;
        c.options.clip = i % 5 == 0 ? 0.2 : 0.05;
        c.continuous = left % 2;
        left /= 2;
        c.options.lambda = lambdas[left % 3];
        left /= 3;
        c.ends = left % 3;
        left /= 3;
        c.ahead = left % 2;
        left /= 2;
        c.options.value_clip = left % 2 ? 0.7 : 0;
        left /= 2;
        c.options.kl_weight = left % 2 ? 0.3 : 0;
        c.options.value_weight = i % 3 == 0 ? 1 : 0.25;
        c.options.entropy_weight = i % 4 == 0 ? 0 : 0.05;
        c.options.normalise_advantages = i / 3 % 2;
        check_case(&c, i, cut);
    }
    /* Both limits were at work. */
    assert_true(cut[0] > 500 && cut[1] > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option),
    };
    return cmocka_run_group_tests_name("train/ppo_gradient", tests, NULL, NULL);
}
