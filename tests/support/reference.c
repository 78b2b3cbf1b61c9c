#include "reference.h"

#include <math.h>
#include <string.h>

const reference_kind *reference_find(const char *name)
{
    static const reference_kind *const kinds[] = {&reference_stpn_r,       &reference_stpn_f, &reference_rnn,
                                                  &reference_lstm,         &reference_gru,    &reference_mlp,
                                                  &reference_fast_weights, &reference_hebbff, &reference_plastic,
                                                  &reference_modplast,     &reference_modul};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i]->name, name) == 0) return kinds[i];
    return NULL;
}

const double *reference_parameter(const reference *r, const char *name)
{
    for (int i = 0; i < r->count; i++)
        if (strcmp(r->names[i], name) == 0) return r->values[i];
    return NULL;
}

int reference_values(const reference_tensor *t)
{
    return t->columns ? t->rows * t->columns : t->rows;
}

int reference_state_values(const stpn_unit *unit, int inputs)
{
    reference_tensor list[REFERENCE_STATES];
    int count = reference_find(unit->name)->states(unit, inputs, list), values = 0;
    for (int i = 0; i < count; i++) values += reference_values(&list[i]);
    return values;
}

void reference_run(const reference *r, int steps, const double *x, const uint8_t *live, const uint8_t *reset,
                   double *state, double *y, double *energy, reference_closeness *close)
{
    const reference_kind *kind = reference_find(r->unit.name);
    reference_tensor list[REFERENCE_STATES];
    int count = kind->states(&r->unit, r->inputs, list), H = r->unit.hidden;
    size_t values = (size_t)reference_state_values(&r->unit, r->inputs);
    reference_closeness ignored = {0};
    if (!close) close = &ignored;
    for (int t = 0; t < steps; t++, x += r->inputs, state += values, y += H) {
        const double *before[REFERENCE_STATES];
        double *after[REFERENCE_STATES];
        if (live && !live[t]) {
            memcpy(state + values, state, values * sizeof *state);
            memset(y, 0, (size_t)H * sizeof *y);
            continue;
        }
        if (reset && reset[t]) memset(state, 0, values * sizeof *state);
        for (int i = 0, offset = 0; i < count; offset += reference_values(&list[i++])) {
            before[i] = state + offset;
            after[i] = state + values + offset;
        }
        energy[t] += kind->step(r, x, before, after, y, close);
        for (int i = 0; i < count; i++)
            for (int k = 0; k < reference_values(&list[i]) && list[i].columns; k++)
                close->largest = fmax(close->largest, fabs(after[i][k]));
    }
}

void reference_product(int rows, int columns, const double *W, const double *v, double *out)
{
    for (int j = 0; j < rows; j++) {
        out[j] = 0;
        for (int k = 0; k < columns; k++) out[j] += W[j * columns + k] * v[k];
    }
}

double reference_power(int rows, int columns, const double *W, const double *v)
{
    double sum = 0;
    for (int j = 0; j < rows; j++)
        for (int k = 0; k < columns; k++) sum += v[k] * v[k] * fabs(W[j * columns + k]);
    return sum;
}

double reference_sigmoid(double s)
{
    return 1 / (1 + exp(-s));
}

void reference_layer_norm(int H, double *s, const double *gain, const double *offset, reference_closeness *close)
{
    double mean = 0, variance = 0, largest = 0;
    for (int j = 0; j < H; j++) largest = fmax(largest, fabs(s[j]));
    for (int j = 0; j < H; j++) mean += s[j] / H;
    for (int j = 0; j < H; j++) variance += (s[j] - mean) * (s[j] - mean) / H;
    for (int j = 0; j < H; j++) s[j] = (s[j] - mean) / sqrt(variance + 1e-5) * gain[j] + offset[j];
    close->flat += H > 1 && largest == 0;
    if (H > 1 && largest > 0) close->spread = fmin(close->spread, sqrt(variance));
}

int reference_state_h(const stpn_unit *unit, int inputs, reference_tensor *list)
{
    (void)inputs;
    list[0] = (reference_tensor){"h", unit->hidden, 0};
    return 1;
}
