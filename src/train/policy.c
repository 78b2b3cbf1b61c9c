/* Categorical, with l = log softmax(s), p = exp(l), H the entropy and q the policy before:
 *   d log p_a / ds = [k = a] - p        dH / ds = -p (l + H)       d sum q log(q / p) / ds = p - q
 * Normal, for each value, with u = (a - m) / sigma and sigma = softplus(r), dsigma / dr = 1 / (1 + exp(-r)):
 *   log p = -u^2 / 2 - log sigma - log(2 pi) / 2                   d / dm = u / sigma      d / dsigma = (u^2 - 1) / sigma
 *   H = log sigma + (1 + log(2 pi)) / 2                                                    d / dsigma = 1 / sigma
 *   distance = log(sigma / s) + (s^2 + (n - m)^2) / (2 sigma^2) - 1 / 2, where before n and s were mean and deviation
 *              d / dm = (m - n) / sigma^2                 d / dsigma = (1 - (s^2 + (n - m)^2) / sigma^2) / sigma */
#include "train/policy.h"

#include <math.h>
#include <stddef.h>

static const double half_log_2pi = 0.91893853320467274178;

double policy_softplus(double x)
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static double sigmoid(double x)
{
    double e = exp(-fabs(x));
    return (x > 0 ? 1 : e) / (1 + e);
}

/* What a score is less than its log p. */
static double log_sum(int count, const double *s)
{
    double most = s[0], sum;
    for (int i = 1; i < count; i++) most = s[i] > most ? s[i] : most;
    sum = exp(s[0] - most);
    for (int i = 1; i < count; i++) sum += exp(s[i] - most);
    return most + log(sum);
}

double policy_log(const policy_kind *p, const double *s, policy_action action, double *d)
{
    int A = p->actions;
    double sum = 0;
    if (!p->continuous) {
        double shift = log_sum(A, s);
        for (int i = 0; i < A && d; i++) d[i] = (i == action.choice) - exp(s[i] - shift);
        return s[action.choice] - shift;
    }
    for (int i = 0; i < A; i++) {
        double sigma = policy_softplus(s[A + i]), u = (action.values[i] - s[i]) / sigma;
        sum += -u * u / 2 - log(sigma) - half_log_2pi;
        if (!d) continue;
        d[i] = u / sigma;
        d[A + i] = (u * u - 1) / sigma * sigmoid(s[A + i]);
    }
    return sum;
}

double policy_entropy(const policy_kind *p, const double *s, double *d)
{
    int A = p->actions;
    double sum = 0, shift = p->continuous ? 0 : log_sum(A, s);
    for (int i = 0; i < A; i++) {
        if (p->continuous) {
            double sigma = policy_softplus(s[A + i]);
            sum += log(sigma) + half_log_2pi + 0.5;
            if (d) d[i] = 0;
            if (d) d[A + i] = sigmoid(s[A + i]) / sigma;
        } else {
            sum -= exp(s[i] - shift) * (s[i] - shift);
        }
    }
    for (int i = 0; i < A && d && !p->continuous; i++) d[i] = -exp(s[i] - shift) * (s[i] - shift + sum);
    return sum;
}

double policy_distance(const policy_kind *p, const double *before, const double *s, double *d)
{
    int A = p->actions;
    double sum = 0, shift = p->continuous ? 0 : log_sum(A, s), old = p->continuous ? 0 : log_sum(A, before);
    for (int i = 0; i < A; i++) {
        if (p->continuous) {
            double sigma = policy_softplus(s[A + i]), was = policy_softplus(before[A + i]), gap = s[i] - before[i];
            double square = (was * was + gap * gap) / (sigma * sigma);
            sum += log(sigma / was) + square / 2 - 0.5;
            if (d) d[i] = gap / (sigma * sigma);
            if (d) d[A + i] = (1 - square) / sigma * sigmoid(s[A + i]);
        } else {
            double q = exp(before[i] - old);
            sum += q * ((before[i] - old) - (s[i] - shift));
            if (d) d[i] = exp(s[i] - shift) - q;
        }
    }
    return sum;
}
