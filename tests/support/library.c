#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/library.h"

#include "net/net.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a run of the library holds. */
typedef struct session {
    const problem *problem;
    const run *run;
    stpn_error error;
    stpn_net *net;
    stpn_state *state;
    stpn_tape *tape;
    stpn_pool *pool;
    size_t size; // of a value
    void *x, *y, *energy;
    uint8_t *reset; // (T, B)
    shelf shelf;
} session;

#define assert_ok(s, call)                                                               \
    do {                                                                                 \
        stpn_status status_ = (call);                                                    \
        if (status_) fail_msg("%s: %s", problem_text((s)->problem), (s)->error.message); \
    } while (0)

static void *to_real(session *s, const double *values, size_t count)
{
    void *block = shelf_keep(&s->shelf, count * s->size);
    for (size_t i = 0; i < count; i++)
        if (s->size == sizeof(double)) ((double *)block)[i] = values[i];
        else ((float *)block)[i] = (float)values[i];
    return block;
}

static void from_real(const session *s, const void *values, size_t count, double *to)
{
    for (size_t i = 0; i < count; i++)
        to[i] = s->size == sizeof(double) ? ((const double *)values)[i] : (double)((const float *)values)[i];
}

/* Room for results that starts as NaN, so that what is not written shows. */
static void *unwritten(session *s, size_t count)
{
    void *block = shelf_keep(&s->shelf, count * s->size);
    memset(block, 0xff, count * s->size);
    return block;
}

static void assert_like(const problem *p, const tensor *mine, const stpn_tensor *theirs)
{
    if (mine->rank != theirs->rank || mine->count != theirs->count ||
        memcmp(mine->shape, theirs->shape, sizeof mine->shape) != 0)
        fail_msg("%s: tensor %s has rank %d, %zu values, expected rank %d, %zu values", problem_text(p), mine->name,
                 theirs->rank, theirs->count, mine->rank, mine->count);
}

/* The library's index of a tensor, which has the shape of this one. */
static int parameter_index(const session *s, const tensor *t)
{
    stpn_tensor theirs;
    for (int i = 0; stpn_net_tensor(s->net, i, &theirs); i++) {
        if (strcmp(theirs.name, t->name) != 0) continue;
        assert_like(s->problem, t, &theirs);
        return i;
    }
    fail_msg("%s: there is no parameter %s", problem_text(s->problem), t->name);
    return -1;
}

static int state_index(const session *s, const tensor *t)
{
    stpn_tensor theirs;
    for (int i = 0; stpn_state_tensor(s->state, i, &theirs); i++) {
        if (strcmp(theirs.name, t->name) != 0) continue;
        assert_like(s->problem, t, &theirs);
        return i;
    }
    fail_msg("%s: there is no state %s", problem_text(s->problem), t->name);
    return -1;
}

/* Neither more nor fewer tensors than the problem has. */
static void assert_all_known(const session *s)
{
    stpn_tensor theirs;
    int parameters = 0, states = 0;
    while (stpn_net_tensor(s->net, parameters, &theirs)) parameters++;
    while (stpn_state_tensor(s->state, states, &theirs)) states++;
    if (parameters != s->problem->parameter_count || states != s->problem->state_count)
        fail_msg("%s: %d parameters and %d states, expected %d and %d", problem_text(s->problem), parameters, states,
                 s->problem->parameter_count, s->problem->state_count);
}

/* Starting, or upstream, values of a state. */
static void set_states(session *s, stpn_state *state, const tensor *tensors)
{
    for (int i = 0; i < s->problem->state_count; i++) {
        const void *values = to_real(s, tensors[i].values, tensors[i].count);
        assert_ok(s, stpn_state_set(state, state_index(s, &tensors[i]), values, &s->error));
    }
}

static void get_states(session *s, const stpn_state *state, tensor *tensors)
{
    for (int i = 0; i < s->problem->state_count; i++) {
        void *values = unwritten(s, tensors[i].count);
        stpn_state_get(state, state_index(s, &tensors[i]), values);
        from_real(s, values, tensors[i].count, tensors[i].values);
    }
}

static void open_session(session *s, const problem *p, const run *r)
{
    *s = (session){.problem = p, .run = r, .size = r->real == STPN_DOUBLE ? sizeof(double) : sizeof(float)};
    const problem_plan *plan = &p->plan;
    size_t T = (size_t)plan->steps, B = (size_t)plan->batch;
    stpn_net_desc desc = {
        .real = r->real, .inputs = plan->inputs, .units = plan->units, .unit_count = plan->unit_count};
    assert_int_equal(setenv("STPN_KERNEL", r->kernel, 1), 0);
    assert_ok(s, stpn_net_create(&s->net, &desc, &s->error));
    assert_string_equal(stpn_net_kernel(s->net), r->kernel);
    for (int i = 0; i < p->parameter_count; i++) {
        void *values = to_real(s, p->parameters[i].values, p->parameters[i].count);
        stpn_block_set(s->net, stpn_net_parameters(s->net), parameter_index(s, &p->parameters[i]), values);
    }
    assert_ok(s, stpn_state_create(&s->state, s->net, plan->batch, &s->error));
    assert_all_known(s);
    if (plan->started) set_states(s, s->state, p->states);
    if (r->leave) net_leave(s->state);
    if (r->threads) assert_ok(s, stpn_pool_create(&s->pool, r->threads, &s->error));
    if (r->backward)
        assert_ok(s, stpn_tape_create(&s->tape, s->net, plan->steps ? plan->steps : 1, plan->batch,
                                      r->threads ? r->threads : 1, &s->error));
    s->x = to_real(s, p->x.values, p->x.count);
    s->y = unwritten(s, T * B * (size_t)plan_outputs(plan));
    if (!r->no_energy && !r->by_step) s->energy = unwritten(s, T * B);
    s->reset = shelf_keep(&s->shelf, T * B);
    for (size_t b = 0; b < B; b++)
        for (size_t t = 0; t < T; t++) s->reset[t * B + b] = p->reset[b * T + t];
}

static void close_session(session *s)
{
    stpn_tape_free(s->tape);
    stpn_state_free(s->state);
    stpn_pool_free(s->pool);
    stpn_net_free(s->net);
    shelf_clear(&s->shelf);
}

static void *offset(const session *s, void *values, size_t count)
{
    return values ? (char *)values + count * s->size : NULL;
}

/* Steps [begin, begin + steps) of samples [first, last) in one call. */
static void forward_call(session *s, int begin, int steps, int first, int last)
{
    const problem *p = s->problem;
    const problem_plan *plan = &p->plan;
    size_t T = (size_t)plan->steps, B = (size_t)plan->batch, I = (size_t)plan->inputs, t0 = (size_t)begin;
    int32_t lengths[64];
    int some_reset = 0, some_length = 0;
    assert_in_range(B, 1, 64);
    for (size_t b = 0; b < B; b++) {
        const uint8_t *live = p->live + b * T + begin;
        lengths[b] = 0;
        while (lengths[b] < steps && live[lengths[b]]) lengths[b]++;
        for (int t = lengths[b]; t < steps; t++) assert_int_equal(live[t], 0); // a call has no gaps
        some_length |= lengths[b] < steps;
        for (size_t t = 0; t < (size_t)steps; t++) some_reset |= p->reset[b * T + t0 + t];
    }
    stpn_sequence q = {.steps = steps,
                       .batch = plan->batch,
                       .first = first,
                       .last = last,
                       .reset = some_reset ? s->reset + t0 * B : NULL,
                       .lengths = some_length ? lengths : NULL,
                       .type = s->run->real == STPN_DOUBLE ? STPN_INPUT_DOUBLE : STPN_INPUT_FLOAT,
                       .x = offset(s, s->x, t0 * B * I)};
    if (s->run->as_doubles) {
        q.type = STPN_INPUT_DOUBLE;
        q.x = p->x.values + t0 * B * I;
    } else if (p->tokens) {
        q.type = STPN_INPUT_TOKEN;
        q.x = p->tokens + t0 * B;
    } else if (p->bytes) {
        q.type = STPN_INPUT_BYTE;
        q.x = p->bytes + t0 * B * I;
    }
    assert_ok(s, stpn_forward(s->net, s->state, &q, offset(s, s->y, t0 * B * (size_t)plan_outputs(plan)),
                              offset(s, s->energy, t0 * B), s->tape, s->pool, &s->error));
    assert_string_equal(s->error.message, "");
}

static void forward_ranges(session *s, int begin, int steps)
{
    int first = 0;
    if (s->run->cut_count == 0) forward_call(s, begin, steps, 0, 0);
    for (int i = 0; i <= s->run->cut_count && s->run->cut_count; i++) {
        int last = i < s->run->cut_count ? s->run->cuts[i] : s->problem->plan.batch;
        forward_call(s, begin, steps, first, last);
        first = last;
    }
}

static void forward_steps(session *s)
{
    size_t B = (size_t)s->problem->plan.batch, I = (size_t)s->problem->plan.inputs;
    size_t H = (size_t)plan_outputs(&s->problem->plan);
    for (size_t t = 0; t < (size_t)s->problem->plan.steps; t++)
        stpn_step(s->net, s->state, offset(s, s->x, t * B * I), offset(s, s->y, t * B * H));
}

static void run_backward_pass(session *s, outcome *o)
{
    const problem *p = s->problem;
    stpn_state *dstate = NULL;
    void *dx = NULL, *grad = stpn_block_create(s->net), *dy = to_real(s, p->dy.values, p->dy.count);
    outcome_add_gradient(p, o);
    if (s->run->backward == RUN_DENSE) {
        assert_ok(s, stpn_state_create(&dstate, s->net, p->plan.batch, &s->error));
        set_states(s, dstate, p->dstates);
        dx = unwritten(s, p->x.count);
    }
    assert_non_null(grad);
    assert_ok(s, stpn_backward(s->net, s->tape, dy, dstate, grad, dx, s->pool, &s->error));
    for (int i = 0; i < p->parameter_count; i++) {
        void *values = unwritten(s, o->dparameters[i].count);
        stpn_block_get(s->net, grad, parameter_index(s, &o->dparameters[i]), values);
        from_real(s, values, o->dparameters[i].count, o->dparameters[i].values);
    }
    if (dstate) {
        get_states(s, dstate, o->dstates);
        from_real(s, dx, p->x.count, o->dx.values);
    }
    stpn_state_free(dstate);
    stpn_block_free(grad);
}

void library_outcome(const problem *p, const run *r, outcome *o)
{
    session s;
    open_session(&s, p, r);
    outcome_new(p, o);
    int begin = 0;
    for (int i = 0; i < r->call_count; begin += r->calls[i++]) forward_ranges(&s, begin, r->calls[i]);
    if (r->by_step) forward_steps(&s);
    else if (r->call_count == 0) forward_ranges(&s, 0, p->plan.steps);
    else assert_int_equal(begin, p->plan.steps);
    int chunk = stpn_chunk_size(p->plan.batch);
    for (int first = 0; first < p->plan.batch && r->leave; first += chunk)
        net_settle(s.state, first, first + chunk < p->plan.batch ? first + chunk : p->plan.batch, s.tape);
    from_real(&s, s.y, o->y.count, o->y.values);
    if (s.energy) from_real(&s, s.energy, o->energy.count, o->energy.values);
    else o->energy.values = NULL;
    get_states(&s, s.state, o->states);
    if (r->backward) assert_int_equal(stpn_tape_steps(s.tape, 0), p->plan.steps);
    if (r->backward >= RUN_SPARSE) run_backward_pass(&s, o);
    close_session(&s);
}

/* ------------------------------------------------------------------------------------------------------ comparisons */

static const char *run_text(const run *r)
{
    static const char *const backward[] = {"", " tape", " sparse backward", " dense backward"};
    static char text[256];
    snprintf(text, sizeof text, "%s %s%s threads=%d calls=%d%s%s", r->kernel,
             r->real == STPN_DOUBLE ? "double" : "float", backward[r->backward], r->threads, r->call_count,
             r->by_step ? " by step" : "", r->leave ? " leaving updates" : "");
    return text;
}

void assert_close(const problem *p, const run *r, const tensor *a, const tensor *b, double tolerance)
{
    assert_int_equal(a->count, b->count);
    double error = tensor_error(a, b);
    if (!(error <= tolerance))
        fail_msg("%s: error %g of %s, expected at most %g (%s)", run_text(r), error, b->name, tolerance,
                 problem_text(p));
}

void assert_same_bits(const problem *p, const run *r, const tensor *a, const tensor *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++)
        if (memcmp(&a->values[i], &b->values[i], sizeof(double)) != 0)
            fail_msg("%s: value %zu of %s has other bits: %.17g, not %.17g (%s)", run_text(r), i, b->name, a->values[i],
                     b->values[i], problem_text(p));
}

typedef void (*comparison)(const problem *, const run *, const tensor *, const tensor *, double);

static void compare_bits(const problem *p, const run *r, const tensor *a, const tensor *b, double tolerance)
{
    (void)tolerance;
    assert_same_bits(p, r, a, b);
}

static void compare_forward(comparison compare, const problem *p, const run *r, const outcome *a, const outcome *b,
                            double tolerance)
{
    compare(p, r, &a->y, &b->y, tolerance);
    if (a->energy.values && b->energy.values) compare(p, r, &a->energy, &b->energy, tolerance);
    for (int i = 0; i < p->state_count; i++) compare(p, r, &a->states[i], &b->states[i], tolerance);
}

static void compare_gradient(comparison compare, const problem *p, const run *r, const outcome *a, const outcome *b,
                             int parameters_only, double tolerance)
{
    for (int i = 0; i < p->parameter_count; i++) compare(p, r, &a->dparameters[i], &b->dparameters[i], tolerance);
    if (parameters_only) return;
    compare(p, r, &a->dx, &b->dx, tolerance);
    for (int i = 0; i < p->state_count; i++) compare(p, r, &a->dstates[i], &b->dstates[i], tolerance);
}

void assert_forward_close(const problem *p, const run *r, const outcome *a, const outcome *b, double tolerance)
{
    compare_forward(assert_close, p, r, a, b, tolerance);
}

void assert_forward_same_bits(const problem *p, const run *r, const outcome *a, const outcome *b)
{
    compare_forward(compare_bits, p, r, a, b, 0);
}

void assert_gradient_close(const problem *p, const run *r, const outcome *a, const outcome *b, int parameters_only,
                           double tolerance)
{
    compare_gradient(assert_close, p, r, a, b, parameters_only, tolerance);
}

void assert_gradient_same_bits(const problem *p, const run *r, const outcome *a, const outcome *b)
{
    compare_gradient(compare_bits, p, r, a, b, 0, 0);
}

const char *use_kernel(int index)
{
    const char *name = stpn_kernel_name(index);
    if (name) assert_int_equal(setenv("STPN_KERNEL", name, 1), 0);
    return name;
}
