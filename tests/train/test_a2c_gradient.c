/* The actor-critic's returns, loss and gradient with every option: against sums as they are defined, and against finite
 * differences of a loss that is computed by the public calls alone. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "a2c_case.h"

enum { STEPS = 6, BATCH = 18, ROWS = STEPS * BATCH, HIDDEN = 5 };

/* A rollout again, sample by sample, from its definition. (T, B) */
typedef struct slow {
    double values[ROWS], logits[ROWS * CASE_ACTIONS];
    double after[ROWS]; // value of what comes after step t, where it counts: of a last, or of the next observation
    double advantages[ROWS], returns[ROWS];
} slow;

static void read_out(const stpn_net *net, const char *name, int rows, const double *y, double *out)
{
    for (int i = 0; i < net->head_count; i++)
        if (strcmp(net->heads[i].name, name) == 0) stpn_head_forward(net, i, rows, y, out);
}

static void slow_outputs(const agent *g, slow *s)
{
    static double y[ROWS * HIDDEN];
    const stpn_sequence q = {
        .steps = STEPS, .batch = BATCH, .type = STPN_INPUT_DOUBLE, .x = g->w->x, .reset = g->w->reset};
    stpn_state *state;
    assert_int_equal(stpn_state_create(&state, g->net, BATCH, NULL), STPN_OK);
    assert_int_equal(stpn_forward(g->net, state, &q, y, NULL, NULL, NULL, &error), STPN_OK);
    stpn_state_free(state);
    read_out(g->net, "policy", ROWS, y, s->logits);
    read_out(g->net, "value", ROWS, y, s->values);
}

/* The value of `x` for copy b after its steps 0 to t. */
static double slow_after(const agent *g, int b, int t, const double *x)
{
    double y[HIDDEN], value;
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

/* Advantages as sums of temporal differences. */
static void slow_returns(const agent *g, slow *s)
{
    const a2c_options *o = &g->c.options;
    int shared = o->baseline == A2C_SHARED;
    for (int b = 0; b < BATCH; b++)
        for (int t = 0; t < STEPS; t++) {
            int at = t * BATCH + b;
            const double *last = g->w->last + (size_t)at * CASE_INPUTS;
            s->after[at] = 0;
            if (is_over(g, at)) {
                if (g->c.ends == 2 && g->w->ends[at] == STPN_TRUNCATED) s->after[at] = slow_after(g, b, t, last);
            } else if (t + 1 < STEPS) {
                s->after[at] = s->values[at + BATCH - (shared ? b : 0)];
            } else if (g->c.ahead) {
                s->after[at] = slow_after(g, b, t, agent_ahead(g, STEPS) + (size_t)b * CASE_INPUTS);
            }
        }
    for (int b = 0; b < BATCH; b++)
        for (int t = 0; t < STEPS; t++) {
            double sum = 0, weight = 1, discounted = 1, rewards = 0;
            int i = t;
            for (;; i++) {
                int at = i * BATCH + b;
                double value = s->values[at - (shared ? b : 0)], reward = (double)g->w->rewards[at];
                sum += weight * (reward + o->discount * s->after[at] - value);
                rewards += discounted * reward;
                discounted *= o->discount;
                weight *= o->discount * o->lambda;
                if (is_over(g, at) || i + 1 == STEPS) break;
            }
            int at = t * BATCH + b;
            s->advantages[at] = sum;
            s->returns[at] = sum + s->values[at - (shared ? b : 0)];
            /* With lambda 1 this is the discounted sum of rewards and of the value that stands for the rest. */
            double whole = rewards + discounted * s->after[i * BATCH + b];
            if (o->lambda == 1) assert_true(fabs(whole - s->returns[at]) < 1e-12);
        }
}

/* The loss of outputs, where the advantages and returns of `fixed` are numbers. */
static double slow_loss(const agent *g, const slow *s, const slow *fixed)
{
    const a2c_options *o = &g->c.options;
    double loss = 0;
    for (int at = 0; at < ROWS; at++) {
        const double *l = s->logits + (size_t)at * CASE_ACTIONS;
        double total = 0, square = 0, entropy = 0, log_p = 0;
        for (int i = 0; i < CASE_ACTIONS; i++) total += exp(l[i]);
        for (int i = 0; i < CASE_ACTIONS && !g->c.continuous; i++) {
            double p = exp(l[i]) / total;
            square += p * p;
            entropy -= p * log(p);
        }
        if (!g->c.continuous) log_p = l[g->w->actions[at]] - log(total);
        for (int i = 0; i < CASE_VALUES && g->c.continuous; i++) {
            double deviation = log(1 + exp(l[CASE_VALUES + i]));
            double away = ((double)g->w->values[at * CASE_VALUES + i] - l[i]) / deviation;
            log_p += log(exp(-away * away / 2) / (deviation * sqrt(2 * M_PI)));
            entropy += log(deviation * sqrt(2 * M_PI * M_E));
        }
        double value = s->values[o->baseline == A2C_SHARED ? at / BATCH * BATCH : at];
        double difference = fixed->returns[at] - value;
        loss += -log_p * fixed->advantages[at] + o->value_weight * difference * difference +
                o->concentration_weight * square - o->entropy_weight * entropy;
    }
    static const double scales[] = {1.0 / ROWS, 1.0 / BATCH, 1};
    return scales[o->reduction] * loss;
}

static int is_close(double a, double b, double scale)
{
    return fabs(a - b) <= scale * fmax(1, fmax(fabs(a), fabs(b)));
}

static void check_case(const agent_case *c, int index)
{
    static slow base, moved;
    agent g = agent_start(c);
    a2c_stats stats;
    world_make(g.w, c, (uint64_t)index);
    agent_act_out(&g, STEPS, ACT_GIVEN);
    double *gradient = g.a->actor.tape->chunk_grad, *p = g.net->parameters;
    memset(&base, 0, sizeof base);
    slow_outputs(&g, &base);
    slow_returns(&g, &base);
    if (a2c_update(g.a, agent_ahead(&g, STEPS), &stats, &error)) fail_msg("case %d: %s", index, error.message);
    for (int at = 0; at < ROWS; at++) {
        size_t kept = (size_t)(at % BATCH * STEPS + at / BATCH);
        if (!is_close(g.a->actor.gains[kept], base.returns[at], 1e-12))
            fail_msg("case %d: return of row %d is %g, not %g", index, at, g.a->actor.gains[kept], base.returns[at]);
    }
    double loss = slow_loss(&g, &base, &base);
    if (!is_close(stats.loss, loss, 1e-12)) fail_msg("case %d: loss %.15g, not %.15g", index, stats.loss, loss);
    random_stream s = random_open(3, RANDOM_BENCH, (uint64_t)index);
    for (int n = 0; n < g.net->tensor_count; n++) {
        static const double weights[] = {1.0 / 12, -8.0 / 12, 8.0 / 12, -1.0 / 12}, places[] = {-2, -1, 1, 2};
        const double h = 1e-4;
        double values[64], changed[64], derivatives[64], direction[64], slope = 0, expected = 0;
        stpn_tensor tensor;
        assert_int_equal(stpn_net_tensor(g.net, n, &tensor), 1);
        assert_in_range(tensor.count, 1, 64);
        stpn_block_get(g.net, gradient, n, derivatives);
        stpn_block_get(g.net, p, n, values);
        for (size_t i = 0; i < tensor.count; i++) {
            direction[i] = random_range(&s, -1, 1);
            expected += derivatives[i] * direction[i];
        }
        for (int k = 0; k < 4; k++) {
            for (size_t i = 0; i < tensor.count; i++) changed[i] = values[i] + places[k] * h * direction[i];
            stpn_block_set(g.net, p, n, changed);
            slow_outputs(&g, &moved);
            slope += weights[k] * slow_loss(&g, &moved, &base) / h;
        }
        stpn_block_set(g.net, p, n, values);
        if (!is_close(slope, expected, 1e-8))
            fail_msg("case %d: gradient of %s along a direction is %.12g, not %.12g", index, tensor.name, expected,
                     slope);
    }
    agent_end(&g);
}

static void every_option(void **state)
{
    (void)state;
    static const double lambdas[] = {1, 0.7, 0}, weights[][3] = {{0.1, 0.03, 0}, {0.25, 0, 0.01}, {0.3, 0.2, 0.15}};
    enum { CASES = 3 * 3 * 3 * 2 * 3 * 2 };
    for (int i = 0; i < CASES; i++) {
        int left = i;
        agent_case c = agent_case_default();
        c.real = STPN_DOUBLE;
        c.batch = BATCH;
        c.steps = STEPS;
        c.options.burn_in = 1;
        c.units = 1 + (i + i / 7) % 2;
        c.options.lambda = lambdas[left % 3];
        left /= 3;
        c.options.value_weight = weights[left % 3][0];
        c.options.concentration_weight = weights[left % 3][1];
        c.options.entropy_weight = weights[left % 3][2];
        left /= 3;
        c.options.reduction = left % 3;
        left /= 3;
        c.options.baseline = left % 2;
        left /= 2;
        c.ends = left % 3;
        left /= 3;
        c.ahead = left;
        c.continuous = c.options.concentration_weight == 0 && i % 2;
        check_case(&c, i);
    }
}

/* What is told beside the loss, from the same outputs. */
static void statistics(void **state)
{
    (void)state;
    static slow s;
    agent_case c = agent_case_default();
    c.real = STPN_DOUBLE;
    c.batch = BATCH;
    c.steps = STEPS;
    agent g = agent_start(&c);
    world_make(g.w, &c, 1);
    a2c_set_energy(g.a, 1);
    agent_act_out(&g, STEPS, ACT_GIVEN);
    slow_outputs(&g, &s);
    slow_returns(&g, &s);
    double policy = 0, value = 0, square = 0, entropy = 0, reward = 0, energy = 0, energies[ROWS];
    for (int at = 0; at < ROWS; at++) {
        double total = 0, *l = s.logits + (size_t)at * CASE_ACTIONS;
        for (int i = 0; i < CASE_ACTIONS; i++) total += exp(l[i]);
        for (int i = 0; i < CASE_ACTIONS; i++) {
            square += exp(2 * l[i]) / (total * total) / ROWS;
            entropy -= exp(l[i]) / total * (l[i] - log(total)) / ROWS;
        }
        policy -= (l[g.w->actions[at]] - log(total)) * s.advantages[at] / ROWS;
        value += s.advantages[at] * s.advantages[at] / ROWS;
        reward += (double)g.w->rewards[at] / BATCH;
    }
    stpn_state *start;
    const stpn_sequence q = {.steps = STEPS, .batch = BATCH, .type = STPN_INPUT_DOUBLE, .x = g.w->x};
    assert_int_equal(stpn_state_create(&start, g.net, BATCH, NULL), STPN_OK);
    assert_int_equal(stpn_forward(g.net, start, &q, NULL, energies, NULL, NULL, NULL), STPN_OK);
    stpn_state_free(start);
    for (int at = 0; at < ROWS; at++) energy += energies[at] / ROWS;
    a2c_stats stats;
    assert_int_equal(a2c_update(g.a, NULL, &stats, &error), STPN_OK);
    assert_true(is_close(stats.policy_loss, policy, 1e-12));
    assert_true(is_close(stats.value_loss, value, 1e-12));
    assert_true(is_close(stats.concentration, square, 1e-12));
    assert_true(is_close(stats.entropy, entropy, 1e-12));
    assert_true(is_close(stats.reward, reward, 1e-12));
    assert_true(is_close(stats.energy, energy, 1e-12));
    /* The next rollout's sums begin anew. */
    a2c_set_energy(g.a, 0);
    agent_act_out(&g, STEPS, ACT_GIVEN);
    assert_int_equal(a2c_update(g.a, NULL, &stats, &error), STPN_OK);
    assert_true(is_close(stats.reward, reward, 1e-12));
    assert_true(isnan(stats.energy));
    agent_end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option),
        cmocka_unit_test(statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
