#include "cli/measure.h"

#include "base/error.h"
#include "base/machine.h"
#include "base/memory.h"
#include "base/random.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS_LEAST = 5, ROUNDS_MOST = 200000 };

static const double seconds_least = 0.5;

/* A net with all that a pass needs. */
typedef struct problem {
    const measure_case *size;
    stpn_real real;
    int threads;
    stpn_net *net;
    stpn_state *state;
    stpn_tape *tape;
    stpn_pool *pool;
    void *x;             // (T, B, I) float, or (T, B) int32_t
    void *dy, *gradient; // (T, B, H), a block
    stpn_sequence sequence;
} problem;

static stpn_status out_of_memory(stpn_error *error)
{
    (void)error_memory(error, "what is measured");
    return STPN_ERROR_MEMORY;
}

static size_t size_of(stpn_real real)
{
    return real == STPN_DOUBLE ? sizeof(double) : sizeof(float);
}

static double value_of(stpn_real real, const void *values, size_t at)
{
    return real == STPN_DOUBLE ? ((const double *)values)[at] : (double)((const float *)values)[at];
}

static void set_value(stpn_real real, void *values, size_t at, double value)
{
    if (real == STPN_DOUBLE) ((double *)values)[at] = value;
    else ((float *)values)[at] = (float)value;
}

static void problem_close(problem *p)
{
    stpn_tape_free(p->tape);
    stpn_state_free(p->state);
    stpn_block_free(p->gradient);
    stpn_net_free(p->net);
    stpn_pool_free(p->pool);
    memory_free(p->x);
    memory_free(p->dy);
}

/* Both real types get the values of float. */
static void draw_inputs(problem *p)
{
    const measure_case *c = p->size;
    size_t rows = (size_t)c->steps * (size_t)c->batch;
    random_stream x = random_open(0, RANDOM_BENCH, 0), dy = random_open(0, RANDOM_BENCH, 1);
    if (c->tokens)
        for (size_t i = 0; i < rows; i++) ((int32_t *)p->x)[i] = (int32_t)random_below(&x, (uint32_t)c->inputs);
    else
        for (size_t i = 0; i < rows * (size_t)c->inputs; i++) ((float *)p->x)[i] = (float)random_normal(&x);
    for (size_t i = 0; i < rows * (size_t)c->hidden; i++)
        set_value(p->real, p->dy, i, (double)(float)random_normal(&dy));
}

static stpn_status problem_open(problem *p, const measure_case *c, const char *unit, const char *kernel, stpn_real real,
                                int threads, stpn_error *error)
{
    *p = (problem){.size = c, .real = real};
    stpn_unit options = stpn_unit_default(unit, c->hidden);
    options.norm = c->norm;
    options.clamp = c->clamp;
    stpn_net_desc desc = {.real = real, .inputs = c->inputs, .units = &options, .unit_count = 1};
    if (setenv("STPN_KERNEL", kernel, 1) != 0) return out_of_memory(error);
    stpn_status status = stpn_net_create(&p->net, &desc, error);
    if (status) return status;
    stpn_net_init(p->net, 0);
    if (threads != 1) status = stpn_pool_create(&p->pool, threads, error);
    p->threads = stpn_pool_threads(p->pool);
    if (!status) status = stpn_state_create(&p->state, p->net, c->batch, error);
    if (!status) status = stpn_tape_create(&p->tape, p->net, c->steps, c->batch, p->threads, error);
    if (status) return status;
    size_t rows = (size_t)c->steps * (size_t)c->batch;
    p->x = memory_zeroed(c->tokens ? rows : rows * (size_t)c->inputs, 4);
    p->dy = memory_zeroed(rows * (size_t)c->hidden, size_of(real));
    p->gradient = stpn_block_create(p->net);
    if (!p->x || !p->dy || !p->gradient) return out_of_memory(error);
    draw_inputs(p);
    p->sequence = (stpn_sequence){.steps = c->steps,
                                  .batch = c->batch,
                                  .type = c->tokens ? STPN_INPUT_TOKEN : STPN_INPUT_FLOAT,
                                  .x = p->x,
                                  .fresh = 1};
    return STPN_OK;
}

static stpn_status forward(problem *p, void *y, stpn_tape *tape, stpn_error *error)
{
    return stpn_forward(p->net, p->state, &p->sequence, y, NULL, tape, p->pool, error);
}

/* An update as far as the unit takes part in it. */
static stpn_status train(problem *p, void *y, stpn_error *error)
{
    stpn_tape_rewind(p->tape);
    memset(p->gradient, 0, stpn_net_block_size(p->net) * size_of(p->real));
    stpn_status status = forward(p, y, p->tape, error);
    return status ? status : stpn_backward(p->net, p->tape, p->dy, NULL, p->gradient, NULL, p->pool, error);
}

/* ------------------------------------------------------------------------------------------------- the kernel's check */

/* Parameters of `p` from `from`, and Gamma at the size of the weights: at its start it is too small to be seen. */
static stpn_status take_parameters(problem *p, const problem *from, double gamma_scale, stpn_error *error)
{
    stpn_tensor tensor;
    for (int i = 0; stpn_net_tensor(p->net, i, &tensor); i++) {
        void *source = memory_zeroed(tensor.count, sizeof(double)),
             *values = memory_zeroed(tensor.count, sizeof(double));
        double scale = strstr(tensor.name, ".gamma") ? gamma_scale : 1;
        if (source && values) {
            stpn_block_get(from->net, stpn_net_parameters(from->net), i, source);
            for (size_t k = 0; k < tensor.count; k++)
                set_value(p->real, values, k, (double)(float)(scale * value_of(from->real, source, k)));
            stpn_block_set(p->net, stpn_net_parameters(p->net), i, values);
        }
        int failed = !source || !values;
        memory_free(source);
        memory_free(values);
        if (failed) return out_of_memory(error);
    }
    return STPN_OK;
}

/* The error of stpn verify; one that is not a number is infinite. */
static double largest_error(stpn_real real, const void *values, const void *expected, size_t count)
{
    double largest = 0, scale = 1e-3;
    for (size_t i = 0; i < count; i++) {
        double wanted = value_of(STPN_DOUBLE, expected, i), difference = fabs(value_of(real, values, i) - wanted);
        if (!(difference <= largest)) largest = isnan(difference) ? INFINITY : difference;
        scale = fmax(scale, fabs(wanted));
    }
    return largest / scale;
}

static stpn_status judge(const char *kernel, const char *name, double error_found, double tolerance, stpn_error *error)
{
    if (error_found <= tolerance) return STPN_OK;
    return error_set(
        error, STPN_ERROR_NUMERIC,
        "kernel %s is wrong: %s differs from the portable kernel in double by %.2g, expected at most %.0e; "
        "its speed means nothing",
        kernel, name, error_found, tolerance);
}

static stpn_status compare(problem *p, problem *reference, const char *kernel, void *y, void *expected, void *values,
                           stpn_error *error)
{
    const measure_case *c = p->size;
    stpn_tensor tensor;
    stpn_status status = train(p, y, error);
    if (!status) status = train(reference, expected, error);
    if (!status) {
        size_t count = (size_t)c->steps * (size_t)c->batch * (size_t)c->hidden;
        status = judge(kernel, "the output", largest_error(p->real, y, expected, count), 1e-5, error);
    }
    for (int i = 0; !status && stpn_net_tensor(p->net, i, &tensor); i++) {
        char name[128];
        stpn_block_get(p->net, p->gradient, i, values);
        stpn_block_get(reference->net, reference->gradient, i, expected);
        snprintf(name, sizeof name, "the gradient of %s", tensor.name);
        status = judge(kernel, name, largest_error(p->real, values, expected, tensor.count), 1e-4, error);
    }
    return status;
}

static stpn_status check_kernel(const measure_case *c, const char *unit, const char *kernel, int threads,
                                stpn_error *error)
{
    /* More than one chunk of samples, more than one panel of neurons, and a rest of both; few steps, as a unit may enlarge
     * a rounding error from one to the next. */
    measure_case small = *c;
    small.batch = 18;
    small.steps = 6;
    small.inputs = 7;
    small.hidden = 19;
    problem p, reference = {0};
    size_t most = (size_t)18 * 6 * 19 + (size_t)19 * 26;
    void *y = memory_zeroed(most, sizeof(double)), *expected = memory_zeroed(most, sizeof(double));
    void *values = memory_zeroed(most, sizeof(double));
    stpn_status status = problem_open(&p, &small, unit, kernel, STPN_FLOAT, threads, error);
    if (!status && !(y && expected && values)) status = out_of_memory(error);
    if (!status) status = problem_open(&reference, &small, unit, "portable", STPN_DOUBLE, 1, error);
    if (!status) status = take_parameters(&p, &p, 1000, error);
    if (!status) status = take_parameters(&reference, &p, 1, error);
    if (!status) status = compare(&p, &reference, kernel, y, expected, values, error);
    problem_close(&p);
    problem_close(&reference);
    memory_free(y);
    memory_free(expected);
    memory_free(values);
    return status;
}

/* ----------------------------------------------------------------------------------------------------------- timing */

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct duration {
    double median, least; // seconds
} duration;

/* What one pass takes. */
static stpn_status time_passes(problem *p, int training, double *times, duration *taken, stpn_error *error)
{
    double all = 0;
    int count = 0;
    stpn_status status = STPN_OK;
    /* Round -1 warms up: memory that was never touched, caches, the clock of the processor. */
    for (int round = -1; !status && round < ROUNDS_MOST && (count < ROUNDS_LEAST || all < seconds_least); round++) {
        double start = machine_seconds();
        status = training ? train(p, NULL, error) : forward(p, NULL, NULL, error);
        double seconds = machine_seconds() - start;
        if (round < 0) continue;
        times[count++] = seconds;
        all += seconds;
    }
    if (status) return status;
    qsort(times, (size_t)count, sizeof *times, compare_numbers);
    taken->least = times[0];
    taken->median = count % 2 ? times[count / 2] : (times[count / 2 - 1] + times[count / 2]) / 2;
    return STPN_OK;
}

/* H K, however many gates each neuron has; K = I + H where h is a state. */
static double synapses(const measure_case *c, const stpn_state *state)
{
    stpn_tensor tensor;
    int recurrent = 0;
    for (int i = 0; stpn_state_tensor(state, i, &tensor); i++) {
        const char *dot = strrchr(tensor.name, '.');
        recurrent = recurrent || strcmp(dot ? dot + 1 : tensor.name, "h") == 0;
    }
    return (double)c->hidden * (c->inputs + (recurrent ? c->hidden : 0));
}

static stpn_status measure_speed(measurement *m, const measure_case *c, const char *unit, const char *kernel,
                                 int threads, stpn_error *error)
{
    problem p;
    duration forward_pass = {0}, training_pass = {0};
    double *times = memory_zeroed(ROUNDS_MOST, sizeof *times);
    if (!times) return out_of_memory(error);
    size_t before = machine_peak_memory();
    stpn_status status = problem_open(&p, c, unit, kernel, STPN_FLOAT, threads, error);
    if (!status) status = time_passes(&p, 0, times, &forward_pass, error);
    if (!status) status = time_passes(&p, 1, times, &training_pass, error);
    if (!status) {
        double work = synapses(c, p.state) * c->batch * c->steps;
        *m = (measurement){.forward_ns = 1e9 * forward_pass.median / work,
                           .training_ns = 1e9 * training_pass.median / work,
                           .training_seconds = training_pass.median,
                           .training_seconds_least = training_pass.least,
                           .peak_bytes = machine_peak_memory() - before};
    }
    problem_close(&p);
    memory_free(times);
    return status;
}

/* -------------------------------------------------------------------------------------------------------- processes */

typedef struct outcome {
    stpn_status status;
    stpn_error error;
    measurement measured;
} outcome;

static int read_outcome(int descriptor, outcome *o)
{
    size_t have = 0;
    while (have < sizeof *o) {
        ssize_t got = read(descriptor, (char *)o + have, sizeof *o - have);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0;
        have += (size_t)got;
    }
    return 1;
}

_Noreturn static void run_child(int descriptor, const measure_case *c, const char *unit, const char *kernel,
                                int threads)
{
    outcome o;
    memset(&o, 0, sizeof o);
    o.status = check_kernel(c, unit, kernel, threads, &o.error);
    if (!o.status) o.status = measure_speed(&o.measured, c, unit, kernel, threads, &o.error);
    /* Less than a pipe holds goes at once or not at all. */
    _exit(write(descriptor, &o, sizeof o) == (ssize_t)sizeof o ? 0 : 1);
}

stpn_status measure_kernel(measurement *m, const measure_case *c, const char *unit, const char *kernel, int threads,
                           stpn_error *error)
{
    int ends[2], state = 0;
    if (pipe(ends) != 0) return error_system(error, errno, "a pipe cannot be made");
    pid_t child = fork();
    if (child < 0) {
        int code = errno;
        close(ends[0]);
        close(ends[1]);
        return error_system(error, code, "a process cannot be started");
    }
    if (child == 0) {
        close(ends[0]);
        run_child(ends[1], c, unit, kernel, threads);
    }
    close(ends[1]);
    outcome o;
    int complete = read_outcome(ends[0], &o);
    close(ends[0]);
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) {}
    if (!complete)
        return error_set(error, STPN_ERROR_SYSTEM, "the measurement of %s was ended by signal %d", c->name,
                         WIFSIGNALED(state) ? WTERMSIG(state) : 0);
    if (o.status) return error_set(error, o.status, "%s", o.error.message);
    *m = o.measured;
    return STPN_OK;
}
