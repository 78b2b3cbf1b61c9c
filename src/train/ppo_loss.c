#include "train/ppo_loss.h"

#include "train/actor.h"
#include "units/unit.h"

#include <math.h>
#include <string.h>

void ppo_sums_add(ppo_sums *sums, const ppo_sums *term)
{
    sums->steps += term->steps;
    sums->policy += term->policy;
    sums->value += term->value;
    sums->entropy += term->entropy;
    sums->distance += term->distance;
    sums->kl += term->kl;
    sums->clipped += term->clipped;
}

double ppo_loss(const ppo_terms *terms, const ppo_sums *sums)
{
    const ppo_options *o = terms->options;
    return terms->scale * (sums->policy + o->value_weight * sums->value - o->entropy_weight * sums->entropy +
                           terms->kl_weight * sums->distance);
}

static int outputs_of(const policy_kind *p)
{
    return p->continuous ? 2 * p->actions : p->actions;
}

/* Outputs now and before, and three gradients. */
enum { ROWS = 5 };

size_t ppo_rows_space(int outputs)
{
    return ROWS * (size_t)outputs;
}

/* d/dl of -min(r A, cut(r) A) with r = exp(l - old) is -r A, or 0 where the cut one is the less. */
static double policy_term(const ppo_terms *terms, double difference, double advantage, double *slope, ppo_sums *sums)
{
    double clip = terms->options->clip, r = exp(difference), cut = fmin(fmax(r, 1 - clip), 1 + clip);
    double free_term = r * advantage, cut_term = cut * advantage;
    *slope = cut_term < free_term ? 0 : -free_term;
    sums->kl += (r - 1) - difference;
    sums->clipped += fabs(r - 1) > clip;
    return -fmin(free_term, cut_term);
}

static double value_term(const ppo_terms *terms, double error, double *slope)
{
    double square = error * error, most = terms->options->value_clip;
    *slope = most > 0 && square > most ? 0 : 2 * error;
    return most > 0 && square > most ? most : square;
}

void ppo_rows_back(const kernel_table *k, const ppo_terms *terms, const policy_kind *p, const ppo_rows *rows,
                   ppo_sums *sums)
{
    size_t O = (size_t)outputs_of(p), A = (size_t)p->actions;
    double *now = rows->space, *before = now + O, *dlog = before + O, *dentropy = dlog + O, *ddistance = dentropy + O;
    const ppo_options *o = terms->options;
    for (size_t t = 0; t < (size_t)rows->steps; t++) {
        policy_action action = {.choice = rows->taken ? rows->taken[t] : 0,
                                .values = rows->taken ? NULL : rows->taken_values + t * A};
        if (rows->over && rows->over[t] & STPN_SKIPPED) {
            memset(value_at(k, rows->dlogits, t * O), 0, O * k->size);
            memset(value_at(k, rows->dvalues, t), 0, k->size);
            continue;
        }
        sums->steps++;
        double slope, value_slope;
        for (size_t i = 0; i < O; i++) {
            now[i] = value_read(k, rows->logits, t * O + i);
            before[i] = value_read(k, rows->old_logits, t * O + i);
            ddistance[i] = 0;
        }
        double log_p = policy_log(p, now, action, dlog);
        sums->policy += policy_term(terms, log_p - rows->old_log[t], rows->advantages[t], &slope, sums);
        sums->value += value_term(terms, value_read(k, rows->values, t) - rows->returns[t], &value_slope);
        sums->entropy += policy_entropy(p, now, dentropy);
        if (terms->kl_weight > 0) sums->distance += policy_distance(p, before, now, ddistance);
        for (size_t i = 0; i < O; i++)
            value_write(k, rows->dlogits, t * O + i,
                        terms->scale *
                            (slope * dlog[i] - o->entropy_weight * dentropy[i] + terms->kl_weight * ddistance[i]));
        value_write(k, rows->dvalues, t, terms->scale * o->value_weight * value_slope);
    }
}
