#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/library.h"

/* What surrounds the sweeps: descriptions, tensors, initial values, states, and every refusal, each of which must leave
 * things as they were. */

static stpn_net *new_net(stpn_real real, int inputs, const stpn_unit *units, int unit_count, const stpn_head *heads,
                         int head_count)
{
    stpn_net_desc desc = {.real = real,
                          .inputs = inputs,
                          .units = units,
                          .unit_count = unit_count,
                          .heads = heads,
                          .head_count = head_count};
    stpn_net *net = NULL;
    stpn_error error;
    if (stpn_net_create(&net, &desc, &error)) fail_msg("%s", error.message);
    assert_string_equal(error.message, "");
    return net;
}

/* A net of one default unit. */
static stpn_net *small_net(stpn_real real, const char *unit, int inputs, int hidden)
{
    stpn_unit u = stpn_unit_default(unit, hidden);
    return new_net(real, inputs, &u, 1, NULL, 0);
}

static stpn_state *new_state(const stpn_net *net, int batch)
{
    stpn_state *state = NULL;
    assert_int_equal(stpn_state_create(&state, net, batch, NULL), STPN_OK);
    return state;
}

static stpn_tape *new_tape(const stpn_net *net, int steps, int batch)
{
    stpn_tape *tape = NULL;
    assert_int_equal(stpn_tape_create(&tape, net, steps, batch, 1, NULL), STPN_OK);
    return tape;
}

/* ----------------------------------------------------------------------------------------------------- descriptions */

static void refused(const stpn_net_desc *desc, const char *message)
{
    stpn_net *net = (stpn_net *)(uintptr_t)1;
    stpn_error error;
    assert_int_equal(stpn_net_create(&net, desc, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, message);
    assert_null(net);
    assert_int_equal(stpn_net_create(&net, desc, NULL), STPN_ERROR_INPUT); // no one asks for the message
}

/* `change` is made to the second of two units. */
#define assert_unit_refused(unit_name, change, expected)                                                    \
    do {                                                                                                    \
        stpn_unit u_[2] = {stpn_unit_default("stpn_r", 4), stpn_unit_default(unit_name, 3)}, *u = &u_[1];   \
        u->change;                                                                                          \
        refused(&(stpn_net_desc){.real = STPN_FLOAT, .inputs = 2, .units = u_, .unit_count = 2}, expected); \
    } while (0)

/* The message goes on with the names of all units. */
static void unit_name_refused(const char *name, const char *start)
{
    stpn_unit units[2] = {stpn_unit_default("stpn_r", 4), stpn_unit_default(name, 3)};
    stpn_net *net;
    stpn_error error;
    assert_int_equal(stpn_net_create(&net,
                                     &(stpn_net_desc){.real = STPN_FLOAT, .inputs = 2, .units = units, .unit_count = 2},
                                     &error),
                     STPN_ERROR_INPUT);
    assert_memory_equal(error.message, start, strlen(start));
}

static void unit_errors_name_place_and_expectation(void **state)
{
    (void)state;
    unit_name_refused("lstn", "units[1].name is \"lstn\", expected one of stpn_r, stpn_f, ");
    unit_name_refused(NULL, "units[1].name is \"\", expected one of stpn_r, stpn_f, ");
    assert_unit_refused("stpn_r", hidden = 0, "units[1].hidden is 0, expected an integer from 1 to 1048576");
    assert_unit_refused("stpn_r", hidden = -5, "units[1].hidden is -5, expected an integer from 1 to 1048576");
    assert_unit_refused("stpn_r", hidden = 1048577,
                        "units[1].hidden is 1048577, expected an integer from 1 to 1048576");
    assert_unit_refused("stpn_r", norm = (stpn_norm)4, "units[1].norm is 4, expected one of pre|post|output|none");
    assert_unit_refused("stpn_r", norm = (stpn_norm)-1, "units[1].norm is -1, expected one of pre|post|output|none");
    assert_unit_refused("stpn_r", clamp = -1, "units[1].clamp is -1, expected a number from 0 to 1000000");
    assert_unit_refused("stpn_r", clamp = NAN, "units[1].clamp is nan, expected a number from 0 to 1000000");
    assert_unit_refused("stpn_r", clamp = INFINITY, "units[1].clamp is inf, expected a number from 0 to 1000000");
    assert_unit_refused("stpn_r", plastic = (stpn_plastic)3, "units[1].plastic is 3, expected one of all|input|hidden");
    assert_unit_refused("stpn_r", granularity = (stpn_granularity)3,
                        "units[1].granularity is 3, expected one of synapse|neuron|scalar");
    assert_unit_refused("stpn_r", learn = 2, "units[1].learn is 2, expected true or false");
    assert_unit_refused("stpn_r", lambda = NAN, "units[1].lambda is nan, expected a number from -1000000 to 1000000");
    assert_unit_refused("stpn_r", gamma = INFINITY,
                        "units[1].gamma is inf, expected a number from -1000000 to 1000000");
    assert_unit_refused("stpn_r", rule = (stpn_rule)2, "units[1].rule is 2, expected one of hebb|oja");
    assert_unit_refused("stpn_r", decay = (stpn_decay)9, "units[1].decay is 9, expected one of after|prompt");
    assert_unit_refused("stpn_r", activation = (stpn_activation)2,
                        "units[1].activation is 2, expected one of tanh|sigmoid");
    assert_unit_refused("stpn_r", layer_norm = -1, "units[1].layer_norm is -1, expected true or false");
    assert_unit_refused("stpn_r", bias = 7, "units[1].bias is 7, expected true or false");
    assert_unit_refused("stpn_r", presynaptic = (stpn_presynaptic)2,
                        "units[1].presynaptic is 2, expected one of previous|current");
    assert_unit_refused("stpn_f", plastic = STPN_PLASTIC_HIDDEN,
                        "units[1].plastic is \"hidden\", but stpn_f has no recurrent columns");
    assert_unit_refused("stpn_f", presynaptic = STPN_PRESYNAPTIC_CURRENT,
                        "units[1].presynaptic is \"current\", but stpn_f has no recurrent columns");
}

static void net_errors_name_place_and_expectation(void **state)
{
    (void)state;
    stpn_unit unit = stpn_unit_default("stpn_r", 4), many[65];
    for (int i = 0; i < 65; i++) many[i] = unit;
    refused(&(stpn_net_desc){.real = (stpn_real)2, .inputs = 2, .units = &unit, .unit_count = 1},
            "real is 2, expected STPN_FLOAT or STPN_DOUBLE");
    refused(&(stpn_net_desc){.real = STPN_FLOAT, .inputs = 2, .unit_count = 1}, "units is NULL");
    refused(&(stpn_net_desc){.real = STPN_FLOAT, .inputs = 2, .units = &unit, .unit_count = 0},
            "units has 0 entries, expected 1 to 64");
    refused(&(stpn_net_desc){.real = STPN_FLOAT, .inputs = 2, .units = many, .unit_count = 65},
            "units has 65 entries, expected 1 to 64");
    refused(&(stpn_net_desc){.real = STPN_FLOAT, .inputs = 0, .units = &unit, .unit_count = 1},
            "units[0] has 0 inputs, expected 1 to 1048576");
    refused(&(stpn_net_desc){.real = STPN_FLOAT, .inputs = -1, .units = &unit, .unit_count = 1},
            "units[0] has -1 inputs, expected 1 to 1048576");
    refused(&(stpn_net_desc){.real = STPN_FLOAT, .inputs = 2, .units = &unit, .unit_count = 1, .head_count = 1},
            "heads is NULL");
    refused(&(stpn_net_desc){.real = STPN_FLOAT, .inputs = 2, .units = &unit, .unit_count = 1, .head_count = -1},
            "heads has -1 entries, expected 0 to 16");
    stpn_head heads[2] = {{"a", 2}, {"a", 3}};
    refused(
        &(stpn_net_desc){
            .real = STPN_FLOAT, .inputs = 2, .units = &unit, .unit_count = 1, .heads = heads, .head_count = 2},
        "heads[1].name is \"a\", which heads[0] has too");
    heads[1].name = "";
    refused(
        &(stpn_net_desc){
            .real = STPN_FLOAT, .inputs = 2, .units = &unit, .unit_count = 1, .heads = heads, .head_count = 2},
        "heads[1].name has 0 characters, expected 1 to 31");
    heads[1].name = NULL;
    refused(
        &(stpn_net_desc){
            .real = STPN_FLOAT, .inputs = 2, .units = &unit, .unit_count = 1, .heads = heads, .head_count = 2},
        "heads[1].name has 0 characters, expected 1 to 31");
    heads[1].name = "a-name-of-thirty-two-characters-";
    refused(
        &(stpn_net_desc){
            .real = STPN_FLOAT, .inputs = 2, .units = &unit, .unit_count = 1, .heads = heads, .head_count = 2},
        "heads[1].name has 32 characters, expected 1 to 31");
    heads[1] = (stpn_head){"b", 0};
    refused(
        &(stpn_net_desc){
            .real = STPN_FLOAT, .inputs = 2, .units = &unit, .unit_count = 1, .heads = heads, .head_count = 2},
        "heads[1].outputs is 0, expected 1 to 1048576");
    unit.hidden = 1 << 20;
    refused(&(stpn_net_desc){.real = STPN_FLOAT, .inputs = 1 << 20, .units = &unit, .unit_count = 1},
            "units[0] with 1048576 inputs and 1048576 neurons is too large");
}

/* A head's tensors are NAME.weight and NAME.bias: one called like a unit would give two tensors one name. */
static void tensor_names_are_unique(void **state)
{
    (void)state;
    stpn_unit unit = stpn_unit_default("stpn_r", 4);
    stpn_head head = {"units.0", 2};
    stpn_net_desc desc = {
        .real = STPN_FLOAT, .inputs = 2, .units = &unit, .unit_count = 1, .heads = &head, .head_count = 1};
    stpn_net *net = NULL;
    assert_int_equal(stpn_net_create(&net, &desc, NULL), STPN_ERROR_INPUT);
    stpn_net_free(net);
}

static void defaults_are_those_of_the_paper(void **state)
{
    (void)state;
    static const char *const names[] = {"stpn_r", "stpn_f"};
    for (int i = 0; i < 2; i++) {
        stpn_unit u = stpn_unit_default(names[i], 7);
        assert_string_equal(u.name, names[i]);
        assert_int_equal(u.hidden, 7);
        assert_true(u.norm == STPN_NORM_PRE && u.clamp == 0 && u.plastic == STPN_PLASTIC_ALL && u.learn == 1 &&
                    u.granularity == STPN_GRANULARITY_SYNAPSE && u.rule == STPN_RULE_HEBB && u.bias == 1 &&
                    u.decay == STPN_DECAY_AFTER && u.activation == STPN_ACTIVATION_TANH && u.layer_norm == 0 &&
                    u.presynaptic == STPN_PRESYNAPTIC_PREVIOUS);
    }
    assert_string_equal(stpn_unit_default("other", 1).name, "other"); // reported when the net is made
    assert_null(stpn_unit_default(NULL, 1).name);
}

/* The description is copied: what becomes of it afterwards does not matter. */
static void the_description_is_copied(void **state)
{
    (void)state;
    char unit_name[] = "stpn_r", head_name[] = "policy";
    stpn_unit unit = stpn_unit_default(unit_name, 3);
    stpn_head head = {head_name, 2};
    stpn_net *net = new_net(STPN_FLOAT, 2, &unit, 1, &head, 1);
    memset(unit_name, 'x', sizeof unit_name - 1);
    memset(head_name, 'x', sizeof head_name - 1);
    memset(&unit, 0xff, sizeof unit);
    stpn_tensor t;
    assert_int_equal(stpn_net_tensor(net, 4, &t), 1);
    assert_string_equal(t.name, "policy.weight");
    stpn_net_init(net, 1);
    stpn_state *s = new_state(net, 1);
    float x[2] = {1, 2}, y[3];
    stpn_step(net, s, x, y);
    stpn_state_free(s);
    stpn_net_free(net);
}

/* ---------------------------------------------------------------------------------------------------------- tensors */

static void assert_tensor(const stpn_net *net, int index, const char *name, int rank, int rows, int columns)
{
    stpn_tensor t;
    assert_int_equal(stpn_net_tensor(net, index, &t), 1);
    assert_string_equal(t.name, name);
    assert_int_equal(t.rank, rank);
    assert_int_equal(t.shape[0], rows);
    assert_int_equal(t.shape[1], columns);
    assert_int_equal(t.shape[2], 0);
    assert_int_equal(t.count, rows * (rank == 2 ? columns : 1));
}

/* Names, shapes and their order, with heads and every tensor that options add. */
static void tensors_have_names_and_shapes(void **state)
{
    (void)state;
    stpn_unit units[2] = {stpn_unit_default("stpn_r", 5), stpn_unit_default("stpn_f", 19)};
    units[0].layer_norm = 1;
    units[0].granularity = STPN_GRANULARITY_NEURON;
    units[1].bias = 0;
    units[1].granularity = STPN_GRANULARITY_SCALAR;
    stpn_head heads[2] = {{"policy", 3}, {"value", 1}};
    stpn_net *net = new_net(STPN_FLOAT, 4, units, 2, heads, 2);
    assert_tensor(net, 0, "units.0.weight", 2, 5, 9);
    assert_tensor(net, 1, "units.0.bias", 1, 5, 0);
    assert_tensor(net, 2, "units.0.lambda", 1, 5, 0);
    assert_tensor(net, 3, "units.0.gamma", 1, 5, 0);
    assert_tensor(net, 4, "units.0.ln_weight", 1, 5, 0);
    assert_tensor(net, 5, "units.0.ln_bias", 1, 5, 0);
    assert_tensor(net, 6, "units.1.weight", 2, 19, 5);
    assert_tensor(net, 7, "units.1.lambda", 1, 1, 0);
    assert_tensor(net, 8, "units.1.gamma", 1, 1, 0);
    assert_tensor(net, 9, "policy.weight", 2, 3, 19);
    assert_tensor(net, 10, "policy.bias", 1, 3, 0);
    assert_tensor(net, 11, "value.weight", 2, 1, 19);
    assert_tensor(net, 12, "value.bias", 1, 1, 0);
    stpn_tensor t;
    assert_int_equal(stpn_net_tensor(net, 13, &t), 0);
    assert_int_equal(stpn_net_tensor(net, -1, &t), 0);
    assert_int_equal(stpn_net_parameter_count(net), 45 + 5 + 5 + 5 + 5 + 5 + 95 + 1 + 1 + 57 + 3 + 19 + 1);
    stpn_net_free(net);
}

static size_t count_of(const char *name, int inputs, int hidden, stpn_granularity granularity, int learn, int bias)
{
    stpn_unit u = stpn_unit_default(name, hidden);
    u.granularity = granularity;
    u.learn = learn;
    u.bias = bias;
    stpn_net *net = new_net(STPN_FLOAT, inputs, &u, 1, NULL, 0);
    size_t count = stpn_net_parameter_count(net);
    stpn_net_free(net);
    return count;
}

static void parameter_counts(void **state)
{
    (void)state;
    /* Associative retrieval: 11 neurons, 37 inputs. */
    assert_int_equal(count_of("stpn_r", 37, 11, STPN_GRANULARITY_SYNAPSE, 1, 1), 3 * 11 * 48 + 11);
    assert_int_equal(count_of("stpn_r", 37, 11, STPN_GRANULARITY_NEURON, 1, 1), 11 * 48 + 11 + 22);
    assert_int_equal(count_of("stpn_r", 37, 11, STPN_GRANULARITY_SCALAR, 1, 1), 11 * 48 + 11 + 2);
    assert_int_equal(count_of("stpn_r", 37, 11, STPN_GRANULARITY_SYNAPSE, 0, 1), 11 * 48 + 11);
    assert_int_equal(count_of("stpn_f", 37, 13, STPN_GRANULARITY_SYNAPSE, 1, 1), 3 * 13 * 37 + 13);
    assert_int_equal(count_of("stpn_f", 37, 13, STPN_GRANULARITY_SYNAPSE, 1, 0), 3 * 13 * 37);
    assert_int_equal(count_of("stpn_r", 1, 1, STPN_GRANULARITY_SYNAPSE, 1, 1), 7);
}

/* Row-major values go in and come out again, in every tensor at once, whatever the layout; what lies between stays 0. */
static void tensors_come_back_as_they_were_set(void **state)
{
    (void)state;
    for (int k = 0; use_kernel(k); k++)
        for (int hidden = 1; hidden <= 33; hidden += 4) {
            stpn_unit units[2] = {stpn_unit_default("stpn_r", hidden), stpn_unit_default("stpn_f", 3)};
            units[0].layer_norm = 1;
            units[1].granularity = STPN_GRANULARITY_SCALAR;
            stpn_head head = {"readout", hidden};
            stpn_net *net = new_net(STPN_DOUBLE, 5, units, 2, &head, 1);
            double *block = stpn_block_create(net), *values = calloc(stpn_net_parameter_count(net), sizeof *values);
            assert_true(block && values && (uintptr_t)block % 64 == 0);
            assert_true((uintptr_t)stpn_net_parameters(net) % 64 == 0);
            double next = 1;
            stpn_tensor t;
            for (int i = 0; stpn_net_tensor(net, i, &t); i++) {
                for (size_t j = 0; j < t.count; j++) values[j] = next++;
                stpn_block_set(net, block, i, values);
            }
            next = 1;
            for (int i = 0; stpn_net_tensor(net, i, &t); i++) {
                memset(values, 0xff, t.count * sizeof *values);
                stpn_block_get(net, block, i, values);
                for (size_t j = 0; j < t.count; j++) assert_true(values[j] == next++);
            }
            size_t filled = 0;
            for (size_t i = 0; i < stpn_net_block_size(net); i++) filled += block[i] != 0;
            assert_int_equal(filled, stpn_net_parameter_count(net));
            free(values);
            stpn_block_free(block);
            stpn_net_free(net);
        }
}

/* -------------------------------------------------------------------------------------------------- initial values */

/* All tensors row-major, one after the other. */
static double *all_parameters(stpn_net *net, stpn_real real)
{
    double *all = calloc(stpn_net_parameter_count(net), sizeof *all);
    float *floats = calloc(stpn_net_parameter_count(net), sizeof *floats);
    assert_true(all && floats);
    stpn_tensor t;
    size_t at = 0;
    for (int i = 0; stpn_net_tensor(net, i, &t); i++) {
        stpn_block_get(net, stpn_net_parameters(net), i, real == STPN_DOUBLE ? (void *)(all + at) : (void *)floats);
        for (size_t j = 0; j < t.count && real == STPN_FLOAT; j++) all[at + j] = (double)floats[j];
        at += t.count;
    }
    free(floats);
    return all;
}

/* Uniform: inside the range, and its mean, spread and ends where those of so many draws are. */
static void assert_uniform(const stpn_net *net, int index, double low, double high)
{
    stpn_tensor t;
    assert_int_equal(stpn_net_tensor(net, index, &t), 1);
    double *values = calloc(t.count, sizeof *values), mean = 0, square = 0, least = high, most = low;
    assert_non_null(values);
    stpn_block_get(net, stpn_net_parameters((stpn_net *)(uintptr_t)net), index, values);
    for (size_t i = 0; i < t.count; i++) {
        double unit = (values[i] - low) / (high - low);
        assert_true(unit >= 0 && unit <= 1);
        mean += unit / (double)t.count;
        square += unit * unit / (double)t.count;
        least = fmin(least, values[i]);
        most = fmax(most, values[i]);
    }
    double n = (double)t.count;
    assert_true(fabs(mean - 0.5) < 5 * sqrt(1 / 12.0 / n) && fabs(square - 1 / 3.0) < 5 * sqrt(4 / 45.0 / n));
    assert_true(least < low + (high - low) * 20 / n && most > high - (high - low) * 20 / n);
    free(values);
}

static void initial_values_have_their_ranges(void **state)
{
    (void)state;
    double of_hidden = 1 / sqrt(100), of_inputs = 1 / sqrt(64);
    stpn_unit unit = stpn_unit_default("stpn_r", 100);
    unit.layer_norm = 1;
    stpn_head head = {"readout", 50};
    stpn_net *net = new_net(STPN_DOUBLE, 64, &unit, 1, &head, 1);
    stpn_net_init(net, 3);
    assert_uniform(net, 0, -of_hidden, of_hidden);
    assert_uniform(net, 1, -of_hidden, of_hidden);
    assert_uniform(net, 2, 0, 1);
    assert_uniform(net, 3, -0.001 * of_hidden, 0.001 * of_hidden);
    assert_uniform(net, 6, -of_hidden, of_hidden);
    assert_uniform(net, 7, -of_hidden, of_hidden);
    double layer[100];
    stpn_block_get(net, stpn_net_parameters(net), 4, layer);
    for (int i = 0; i < 100; i++) assert_true(layer[i] == 1);
    stpn_block_get(net, stpn_net_parameters(net), 5, layer);
    for (int i = 0; i < 100; i++) assert_true(layer[i] == 0);
    stpn_net_free(net);
    net = small_net(STPN_DOUBLE, "stpn_f", 64, 100);
    stpn_net_init(net, 3);
    assert_uniform(net, 0, -of_inputs, of_inputs);
    assert_uniform(net, 1, -of_inputs, of_inputs);
    assert_uniform(net, 2, 0, 1);
    assert_uniform(net, 3, -0.001 * of_inputs, 0.001 * of_inputs);
    stpn_net_free(net);
}

/* The same seed gives the same values whatever the kernel, its layout and what was in the net before; floats are the
 * doubles, rounded; another seed gives others. */
static void initial_values_depend_on_the_seed_alone(void **state)
{
    (void)state;
    stpn_unit units[2] = {stpn_unit_default("stpn_r", 17), stpn_unit_default("stpn_f", 9)};
    stpn_head head = {"readout", 5};
    double *first = NULL;
    for (int k = 0; use_kernel(k); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
            stpn_net *net = new_net((stpn_real)real, 3, units, 2, &head, 1);
            size_t count = stpn_net_parameter_count(net);
            stpn_net_init(net, 8);
            double *other = all_parameters(net, (stpn_real)real);
            stpn_net_init(net, 7);
            double *values = all_parameters(net, (stpn_real)real);
            size_t equal = 0;
            for (size_t i = 0; i < count; i++) equal += other[i] == values[i];
            assert_true(equal < 3);
            if (!first) {
                first = values;
                values = NULL;
            } else {
                for (size_t i = 0; i < count; i++) assert_true((float)first[i] == (float)values[i]);
            }
            free(other);
            free(values);
            stpn_net_free(net);
        }
    free(first);
}

/* Values that runs rely on: they never change. Computed by a Philox of our own in Python. */
static void initial_values_are_pinned(void **state)
{
    (void)state;
    stpn_net *net = small_net(STPN_DOUBLE, "stpn_r", 2, 2);
    stpn_net_init(net, 42);
    double *values = all_parameters(net, STPN_DOUBLE);
    static const struct {
        int at;
        double value;
    } pinned[] = {{0, -0x1.59c25fba76d8cp-2},  {7, 0x1.6aa8638b6b9c4p-2},   {8, -0x1.993172b52c4c9p-2},
                  {9, 0x1.c6b7dabfd9248p-3},   {10, 0x1.bf07ad1148e3p-3},   {17, 0x1.38bcb78f430d8p-4},
                  {18, 0x1.7234c5fcae431p-11}, {25, -0x1.5c8fb75bf6f0dp-11}};
    for (size_t i = 0; i < sizeof pinned / sizeof *pinned; i++)
        if (values[pinned[i].at] != pinned[i].value)
            fail_msg("value %d is %.17g, not %.17g", pinned[i].at, values[pinned[i].at], pinned[i].value);
    free(values);
    stpn_net_free(net);
}

/* ---------------------------------------------------------------------------------------------------------- padding */

/* Values of a block that belong to a tensor. */
static uint8_t *inside(const stpn_net *net)
{
    size_t size = stpn_net_block_size(net);
    float *block = stpn_block_create(net), *ones = calloc(size, sizeof *ones);
    uint8_t *mask = calloc(size, 1);
    assert_true(block && ones && mask);
    for (size_t i = 0; i < size; i++) ones[i] = 1;
    stpn_tensor t;
    for (int i = 0; stpn_net_tensor(net, i, &t); i++) stpn_block_set(net, block, i, ones);
    for (size_t i = 0; i < size; i++) mask[i] = block[i] != 0;
    free(ones);
    stpn_block_free(block);
    return mask;
}

/* The zeros between the tensors stay zeros: in a gradient, after Adam, in what was drawn. */
static void padding_stays_zero(void **state)
{
    (void)state;
    for (int k = 0; use_kernel(k); k++)
        for (int c = 0; c < combination_systematic(); c += 3) {
            stpn_unit units[2] = {combination(c, 5), stpn_unit_default("stpn_r", 9)};
            units[0].lambda = 0.5;
            units[0].gamma = 0.25;
            stpn_head head = {"readout", 3};
            stpn_net *net = new_net(STPN_FLOAT, 3, units, 2, &head, 1);
            stpn_state *s = new_state(net, 2), *dstate = new_state(net, 2);
            stpn_tape *tape = new_tape(net, 4, 2);
            stpn_adam *adam = NULL;
            assert_int_equal(stpn_adam_create(&adam, net, 0.1, 0.9, 0.999, 1e-8, NULL), STPN_OK);
            size_t size = stpn_net_block_size(net);
            float *grad = stpn_block_create(net), *parameters = stpn_net_parameters(net);
            float x[4 * 2 * 3], y[4 * 2 * 9], out[4 * 2 * 3], dy[4 * 2 * 9];
            uint8_t *mask = inside(net);
            random_stream stream = random_open(5, RANDOM_BENCH, (uint64_t)c);
            for (size_t i = 0; i < sizeof x / sizeof *x; i++) x[i] = (float)random_range(&stream, -1, 1);
            stpn_net_init(net, 1);
            for (int update = 0; update < 3; update++) {
                stpn_sequence q = {.steps = 4, .batch = 2, .x = x};
                stpn_tape_rewind(tape);
                stpn_state_zero(s);
                assert_int_equal(stpn_forward(net, s, &q, y, NULL, tape, NULL, NULL), STPN_OK);
                stpn_head_forward(net, 0, 8, y, out);
                stpn_head_backward(net, 0, 8, y, out, grad, dy);
                assert_int_equal(stpn_backward(net, tape, dy, dstate, grad, NULL, NULL, NULL), STPN_OK);
                size_t moved = 0;
                for (size_t i = 0; i < size; i++) {
                    moved += grad[i] != 0;
                    assert_true(mask[i] || (grad[i] == 0 && parameters[i] == 0));
                    assert_true(isfinite(grad[i]) && isfinite(parameters[i]));
                }
                assert_true(moved > stpn_net_parameter_count(net) / 2);
                stpn_clip_gradient(net, grad, 0.5, 0.25);
                stpn_adam_update(adam, net, grad);
            }
            free(mask);
            stpn_block_free(grad);
            stpn_adam_free(adam);
            stpn_tape_free(tape);
            stpn_state_free(dstate);
            stpn_state_free(s);
            stpn_net_free(net);
        }
}

/* ----------------------------------------------------------------------------------------------------------- states */

static void states_have_names_and_shapes(void **state)
{
    (void)state;
    stpn_unit units[2] = {stpn_unit_default("stpn_r", 5), stpn_unit_default("stpn_f", 3)};
    stpn_net *net = new_net(STPN_FLOAT, 4, units, 2, NULL, 0);
    stpn_state *s = new_state(net, 6);
    static const stpn_tensor expected[] = {
        {"units.0.F", 3, {6, 5, 9}, 270}, {"units.0.h", 2, {6, 5, 0}, 30}, {"units.1.F", 3, {6, 3, 5}, 90}};
    stpn_tensor t;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(stpn_state_tensor(s, i, &t), 1);
        assert_string_equal(t.name, expected[i].name);
        assert_int_equal(t.rank, expected[i].rank);
        assert_memory_equal(t.shape, expected[i].shape, sizeof t.shape);
        assert_int_equal(t.count, expected[i].count);
    }
    assert_int_equal(stpn_state_tensor(s, 3, &t), 0);
    assert_int_equal(stpn_state_tensor(s, -1, &t), 0);
    stpn_state_free(s);
    stpn_net_free(net);
}

/* Set, get, copy, zero; a new state is zero. */
static void states_come_back_as_they_were_set(void **state)
{
    (void)state;
    for (int k = 0; use_kernel(k); k++)
        for (int hidden = 1; hidden <= 17; hidden += 8) {
            stpn_net *net = small_net(STPN_DOUBLE, "stpn_r", 3, hidden);
            stpn_state *s = new_state(net, 18), *copy = new_state(net, 18);
            stpn_tensor t;
            for (int i = 0; stpn_state_tensor(s, i, &t); i++) {
                double *values = calloc(t.count, sizeof *values), *back = calloc(t.count, sizeof *back);
                assert_true(values && back);
                memset(back, 0xff, t.count * sizeof *back);
                stpn_state_get(s, i, back);
                assert_memory_equal(back, values, t.count * sizeof *back);
                for (size_t j = 0; j < t.count; j++) values[j] = (double)j + 0.5;
                assert_int_equal(stpn_state_set(s, i, values, NULL), STPN_OK);
                stpn_state_get(s, i, back);
                assert_memory_equal(back, values, t.count * sizeof *back);
                stpn_state_copy(copy, s);
                stpn_state_zero(s);
                stpn_state_get(copy, i, back);
                assert_memory_equal(back, values, t.count * sizeof *back);
                stpn_state_get(s, i, back);
                for (size_t j = 0; j < t.count; j++) assert_true(back[j] == 0);
                free(values);
                free(back);
            }
            stpn_state_free(copy);
            stpn_state_free(s);
            stpn_net_free(net);
        }
}

/* A copy goes on like the original, and a zeroed state like a new one. */
static void a_copied_state_goes_on(void **state)
{
    (void)state;
    static const float x[3] = {0, 1, -0.5F};
    for (int k = 0; use_kernel(k); k++) {
        stpn_net *net = small_net(STPN_FLOAT, "stpn_r", 3, 5);
        stpn_net_init(net, 1);
        stpn_state *s = new_state(net, 1), *copy = new_state(net, 1);
        float first[5], y[5], z[5];
        stpn_step(net, s, x, first);
        stpn_step(net, s, x, y);
        stpn_state_copy(copy, s);
        stpn_step(net, s, x, y);
        stpn_step(net, copy, x, z);
        assert_memory_equal(y, z, sizeof y);
        stpn_state_zero(copy);
        stpn_step(net, copy, x, z);
        assert_memory_equal(first, z, sizeof z);
        stpn_state_free(copy);
        stpn_state_free(s);
        stpn_net_free(net);
    }
}

static void states_of_no_size_are_refused(void **state)
{
    (void)state;
    stpn_net *net = small_net(STPN_FLOAT, "stpn_r", 2, 3);
    stpn_state *s = (stpn_state *)(uintptr_t)1;
    stpn_tape *tape = (stpn_tape *)(uintptr_t)1;
    stpn_error error;
    assert_int_equal(stpn_state_create(&s, net, 0, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "batch is 0, expected 1 to 16777216");
    assert_null(s);
    assert_int_equal(stpn_tape_create(&tape, net, 0, 1, 1, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "steps is 0, expected 1 to 16777216");
    assert_null(tape);
    assert_int_equal(stpn_tape_create(&tape, net, 1, -1, 1, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "batch is -1, expected 1 to 16777216");
    assert_int_equal(stpn_tape_create(&tape, net, 1, 1, 0, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "threads is 0, expected 1 to 256");
    assert_int_equal(stpn_tape_create(&tape, net, 1, 1, 257, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "threads is 257, expected 1 to 256");
    stpn_net_free(net);
    stpn_state_free(NULL);
    stpn_tape_free(NULL);
    stpn_net_free(NULL);
    stpn_block_free(NULL);
}

/* --------------------------------------------------------------------------------------------------------- refusals */

/* All of a state, row-major. */
static size_t read_state(const stpn_state *s, float *values, size_t room)
{
    stpn_tensor t;
    size_t at = 0;
    for (int i = 0; stpn_state_tensor(s, i, &t); i++, at += t.count) {
        assert_in_range(at + t.count, 0, room);
        stpn_state_get(s, i, values + at);
    }
    return at;
}

enum { STATE_ROOM = 512 };

/* F where there is no plasticity, and values that are no numbers: refused wherever they stand, and nothing changes. */
static void bad_states_are_refused(void **state)
{
    (void)state;
    stpn_unit unit = stpn_unit_default("stpn_r", 2);
    unit.plastic = STPN_PLASTIC_INPUT;
    stpn_net *net = new_net(STPN_FLOAT, 3, &unit, 1, NULL, 0);
    stpn_state *s = new_state(net, 2);
    stpn_error error;
    float F[2 * 2 * 5] = {1, 2, 3, 0, 0, 4, 5, 6, 0, 0, 7, 8, 9, 0, 0, 10, 11, 12, 0, 0}, h[4] = {1, 2, 3, 4};
    float before[STATE_ROOM], after[STATE_ROOM];
    assert_int_equal(stpn_state_set(s, 0, F, &error), STPN_OK);
    assert_string_equal(error.message, "");
    assert_int_equal(stpn_state_set(s, 1, h, &error), STPN_OK);
    size_t count = read_state(s, before, STATE_ROOM);

    for (int i = 0; i < 20; i++) F[i] *= 2;
    F[18] = 0.5F; // sample 1, neuron 1, column 3
    assert_int_equal(stpn_state_set(s, 0, F, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message,
                        "units.0.F: sample 1: F[1][3] is 0.5, but column 3 has no plasticity: expected 0");
    read_state(s, after, STATE_ROOM);
    assert_memory_equal(before, after, count * sizeof *before);

    F[18] = 0;
    F[12] = NAN; // sample 1, value 2
    assert_int_equal(stpn_state_set(s, 0, F, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "units.0.F: value 2 of sample 1 is not a number");
    read_state(s, after, STATE_ROOM);
    assert_memory_equal(before, after, count * sizeof *before);

    h[0] = 9;
    h[3] = NAN;
    assert_int_equal(stpn_state_set(s, 1, h, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "units.0.h: value 1 of sample 1 is not a number");
    read_state(s, after, STATE_ROOM);
    assert_memory_equal(before, after, count * sizeof *before);
    stpn_state_free(s);
    stpn_net_free(net);
}

/* What a refused call must leave alone. */
typedef struct bench {
    stpn_net *net, *stranger;
    stpn_state *state, *of_stranger;
    stpn_tape *tape, *tape_of_stranger;
} bench;

/* Inputs 2, neurons 3; states of 3 samples, a tape of 5 steps for 2 of them, with 2 steps of both on it. */
static bench open_bench(void)
{
    static const float x[2 * 2 * 2] = {1, 0.5F, 0, -1, 2, 0, 0.25F, 1};
    bench b = {.net = small_net(STPN_FLOAT, "stpn_r", 2, 3), .stranger = small_net(STPN_FLOAT, "stpn_r", 2, 3)};
    stpn_net_init(b.net, 1);
    b.state = new_state(b.net, 3);
    b.of_stranger = new_state(b.stranger, 2);
    b.tape = new_tape(b.net, 5, 2);
    b.tape_of_stranger = new_tape(b.stranger, 5, 2);
    stpn_sequence q = {.steps = 2, .batch = 2, .x = x};
    assert_int_equal(stpn_forward(b.net, b.state, &q, NULL, NULL, b.tape, NULL, NULL), STPN_OK);
    return b;
}

static void close_bench(bench *b)
{
    stpn_tape_free(b->tape);
    stpn_tape_free(b->tape_of_stranger);
    stpn_state_free(b->state);
    stpn_state_free(b->of_stranger);
    stpn_net_free(b->net);
    stpn_net_free(b->stranger);
}

static void forward_refused(bench *b, stpn_state *s, stpn_tape *tape, stpn_sequence q, const char *message)
{
    static const float zeros[64] = {0};
    static const int32_t tokens[64] = {0};
    float before[STATE_ROOM], after[STATE_ROOM];
    stpn_error error;
    if (!q.x) q.x = q.type == STPN_INPUT_TOKEN ? (const void *)tokens : (const void *)zeros;
    size_t count = read_state(b->state, before, STATE_ROOM);
    assert_int_equal(stpn_forward(b->net, s, &q, NULL, NULL, tape, NULL, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, message);
    assert_int_equal(read_state(b->state, after, STATE_ROOM), count);
    assert_memory_equal(before, after, count * sizeof *before);
    for (int i = 0; i < 2; i++) assert_int_equal(stpn_tape_steps(b->tape, i), 2);
}

static void forward_refuses_what_does_not_fit(void **state)
{
    (void)state;
    bench b = open_bench();
    const stpn_sequence good = {.steps = 2, .batch = 2};
    stpn_sequence q;

    forward_refused(&b, b.of_stranger, NULL, good, "the state belongs to another network");
    forward_refused(&b, b.state, b.tape_of_stranger, good, "the tape belongs to another network");
    q = good;
    q.steps = -1;
    forward_refused(&b, b.state, NULL, q, "steps is -1, expected 0 or more");
    q = good;
    q.batch = 0;
    forward_refused(&b, b.state, NULL, q, "batch is 0, expected 1 to the state's 3");
    q.batch = 4;
    forward_refused(&b, b.state, NULL, q, "batch is 4, expected 1 to the state's 3");
    q.batch = 3;
    forward_refused(&b, b.state, b.tape, q, "batch is 3, expected 1 to the tape's 2");
    static const int ranges[][2] = {{-1, 1}, {1, 1}, {2, 1}, {0, 3}, {2, 3}, {1, 0}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        char expected[80];
        snprintf(expected, sizeof expected, "samples [%d, %d) are not inside the batch of 2", ranges[i][0],
                 ranges[i][1]);
        q = good;
        q.first = ranges[i][0];
        q.last = ranges[i][1];
        forward_refused(&b, b.state, NULL, q, expected);
    }
    q = good;
    q.type = (stpn_input)4;
    forward_refused(&b, b.state, NULL, q, "type of the input is 4, expected one of stpn_input");
    q.type = (stpn_input)-1;
    forward_refused(&b, b.state, NULL, q, "type of the input is -1, expected one of stpn_input");
    q = good;
    q.steps = 4;
    forward_refused(&b, b.state, b.tape, q, "the tape has room for 3 more steps, not for 4");
    static const int32_t lengths[2] = {2, 3}, negative[2] = {0, -1};
    q = good;
    q.lengths = lengths;
    forward_refused(&b, b.state, b.tape, q, "lengths[1] is 3, expected 0 to 2");
    q.lengths = negative;
    forward_refused(&b, b.state, NULL, q, "lengths[1] is -1, expected 0 to 2");
    static const int32_t tokens[2][4] = {{0, 1, 2, 0}, {0, 1, 0, -1}};
    q = good;
    q.type = STPN_INPUT_TOKEN;
    q.x = tokens[0];
    forward_refused(&b, b.state, b.tape, q, "token of step 1, sample 0 is 2, expected 0 to 1");
    q.x = tokens[1];
    forward_refused(&b, b.state, NULL, q, "token of step 1, sample 1 is -1, expected 0 to 1");

    stpn_error error;
    q = good;
    assert_int_equal(stpn_forward(b.net, b.state, &q, NULL, NULL, NULL, NULL, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "x is NULL");
    q.steps = 0;
    assert_int_equal(stpn_forward(b.net, b.state, &q, NULL, NULL, b.tape, NULL, &error), STPN_OK);
    close_bench(&b);
}

/* Past a sample's length, and outside of the range, no token is looked at. */
static void tokens_that_are_not_run_may_be_anything(void **state)
{
    (void)state;
    bench b = open_bench();
    static const int32_t tokens[4] = {1, -7, 0, 99}, lengths[2] = {2, 0};
    stpn_sequence q = {.steps = 2, .batch = 2, .type = STPN_INPUT_TOKEN, .x = tokens, .lengths = lengths};
    assert_int_equal(stpn_forward(b.net, b.state, &q, NULL, NULL, NULL, NULL, NULL), STPN_OK);
    q.lengths = NULL;
    q.last = 1;
    assert_int_equal(stpn_forward(b.net, b.state, &q, NULL, NULL, NULL, NULL, NULL), STPN_OK);
    close_bench(&b);
}

static void a_tape_continues_samples_of_equal_length(void **state)
{
    (void)state;
    bench b = open_bench();
    static const float x[4] = {1, 2, 3, 4};
    stpn_sequence q = {.steps = 1, .batch = 2, .first = 1, .last = 2, .x = x};
    stpn_error error;
    assert_int_equal(stpn_forward(b.net, b.state, &q, NULL, NULL, b.tape, NULL, NULL), STPN_OK);
    assert_int_equal(stpn_tape_steps(b.tape, 0), 2);
    assert_int_equal(stpn_tape_steps(b.tape, 1), 3);
    assert_int_equal(stpn_tape_steps(b.tape, 2), 0);
    assert_int_equal(stpn_tape_steps(b.tape, -1), 0);
    q.first = q.last = 0;
    assert_int_equal(stpn_forward(b.net, b.state, &q, NULL, NULL, b.tape, NULL, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message,
                        "sample 0 has 2 steps on the tape, sample 1 has 3: one call continues samples of "
                        "equal length");
    close_bench(&b);
}

static void backward_refuses_what_does_not_fit(void **state)
{
    (void)state;
    bench b = open_bench();
    stpn_state *dstate = new_state(b.net, 2), *wide = new_state(b.net, 3);
    float *grad = stpn_block_create(b.net), dy[2 * 2 * 3] = {0};
    assert_non_null(grad);
    const struct {
        stpn_tape *tape;
        const float *dy;
        stpn_state *dstate;
        float *grad;
        const char *message;
    } cases[] = {
        {b.tape_of_stranger, dy, dstate, grad, "the tape belongs to another network"},
        {b.tape, NULL, dstate, grad, "dy is NULL"},
        {b.tape, dy, dstate, NULL, "grad is NULL"},
        {b.tape, dy, wide, grad, "dstate has 3 samples of this network, expected the tape's 2"},
        {b.tape, dy, b.of_stranger, grad, "dstate has 2 samples of another network, expected the tape's 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stpn_error error;
        assert_int_equal(
            stpn_backward(b.net, cases[i].tape, cases[i].dy, cases[i].dstate, cases[i].grad, NULL, NULL, &error),
            STPN_ERROR_INPUT);
        assert_string_equal(error.message, cases[i].message);
        for (size_t j = 0; j < stpn_net_block_size(b.net); j++) assert_true(grad[j] == 0);
    }
    stpn_block_free(grad);
    stpn_state_free(wide);
    stpn_state_free(dstate);
    close_bench(&b);
}

/* A call for fewer samples than the state has leaves the others alone. */
static void samples_out_of_the_batch_are_left_alone(void **state)
{
    (void)state;
    for (int k = 0; use_kernel(k); k++) {
        stpn_net *net = small_net(STPN_FLOAT, "stpn_r", 2, 3);
        stpn_net_init(net, 1);
        stpn_state *s = new_state(net, 20);
        float x[20 * 2], y[20 * 3], h[20 * 3];
        for (int i = 0; i < 40; i++) x[i] = (float)(i - 20) / 8;
        stpn_step(net, s, x, y);
        stpn_sequence q = {.steps = 1, .batch = 18, .first = 3, .last = 17, .x = x};
        float out[18 * 3];
        for (int i = 0; i < 54; i++) out[i] = -5;
        assert_int_equal(stpn_forward(net, s, &q, out, NULL, NULL, NULL, NULL), STPN_OK);
        stpn_state_get(s, 1, h);
        for (int b = 0; b < 20; b++)
            for (int j = 0; j < 3; j++) {
                int runs = b >= 3 && b < 17;
                assert_int_equal(h[b * 3 + j] != y[b * 3 + j], runs);
                if (b < 18) assert_true(runs ? out[b * 3 + j] == h[b * 3 + j] : out[b * 3 + j] == -5);
            }
        stpn_state_free(s);
        stpn_net_free(net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unit_errors_name_place_and_expectation),
        cmocka_unit_test(net_errors_name_place_and_expectation),
        cmocka_unit_test(tensor_names_are_unique),
        cmocka_unit_test(defaults_are_those_of_the_paper),
        cmocka_unit_test(the_description_is_copied),
        cmocka_unit_test(tensors_have_names_and_shapes),
        cmocka_unit_test(parameter_counts),
        cmocka_unit_test(tensors_come_back_as_they_were_set),
        cmocka_unit_test(initial_values_have_their_ranges),
        cmocka_unit_test(initial_values_depend_on_the_seed_alone),
        cmocka_unit_test(initial_values_are_pinned),
        cmocka_unit_test(padding_stays_zero),
        cmocka_unit_test(states_have_names_and_shapes),
        cmocka_unit_test(states_come_back_as_they_were_set),
        cmocka_unit_test(a_copied_state_goes_on),
        cmocka_unit_test(states_of_no_size_are_refused),
        cmocka_unit_test(bad_states_are_refused),
        cmocka_unit_test(forward_refuses_what_does_not_fit),
        cmocka_unit_test(tokens_that_are_not_run_may_be_anything),
        cmocka_unit_test(a_tape_continues_samples_of_equal_length),
        cmocka_unit_test(backward_refuses_what_does_not_fit),
        cmocka_unit_test(samples_out_of_the_batch_are_left_alone),
    };
    return cmocka_run_group_tests_name("net/net", tests, NULL, NULL);
}
