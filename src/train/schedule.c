#include "train/schedule.h"

/* sin(x) for |x| up to pi / 2, by its series: the same bits with any C library. */
static double sine(double x)
{
    double term = x, sum = x;
    for (int i = 1; i <= 11; i++) {
        term *= -x * x / (2 * i * (2 * i + 1));
        sum += term;
    }
    return sum;
}

/* (1 + cos(pi p)) / 2 for p in [0, 1]. */
static double half_wave(double p)
{
    const double pi = 3.14159265358979323846;
    double value = 0.5 * (1 + sine(pi * (0.5 - p)));
    return value < 0 ? 0 : value;
}

static double power(double base, int64_t exponent)
{
    double result = 1;
    for (; exponent > 0; exponent /= 2, base *= base)
        if (exponent % 2) result *= base;
    return result;
}

double schedule_rate(const train_options *o, int64_t update, int64_t updates)
{
    if (update < o->warmup) return o->learning_rate * (double)(update + 1) / (double)o->warmup;
    int64_t past = update - o->warmup, last = updates - 1 - o->warmup;
    double p = last > 0 ? (double)past / (double)last : 0, f = o->final_rate;
    switch (o->schedule) {
    case SCHEDULE_LINEAR: return o->learning_rate * (1 - (1 - f) * p);
    case SCHEDULE_COSINE: return o->learning_rate * (f + (1 - f) * half_wave(p));
    case SCHEDULE_STEP: return o->learning_rate * power(o->step_factor, past / o->step_every);
    default: return o->learning_rate;
    }
}
