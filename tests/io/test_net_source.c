/* Exported nets, compiled as what they are for, against the library: every unit with every option, stacked, with resets, from
 * tokens, scaled, with read-outs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "io/net_source.h"
#include "support/effort.h"
#include "support/problem.h"
#include "support/scratch.h"
#include "support/variant.h"

#include <math.h>

enum { RANDOM = SHARED_OUT ? 10 : 40, STACKED = 6, STEPS = 8, LINE = 4 * SCRATCH_PATH };

typedef struct exported {
    char name[16], text[1024];
    float *y; // of the library, (STEPS, outputs)
    int outputs;
} exported;

/* Runs every net over its part of the file "in": a step is whether it starts anew, a token or -1, and x. */
static const char program[] = "#include <stdio.h>\n"
                              "#include <stdlib.h>\n"
                              "static void get(FILE *in, void *to, size_t size)\n"
                              "{\n"
                              "    if (fread(to, 1, size, in) != size) exit(3);\n"
                              "}\n"
                              "#define RUN(name, I, O) \\\n"
                              "    static void run_##name(FILE *in, FILE *out) \\\n"
                              "    { \\\n"
                              "        name##_state state; \\\n"
                              "        float x[I], y[O]; \\\n"
                              "        name##_init(&state); \\\n"
                              "        for (int t = 0; t < 8; t++) { \\\n"
                              "            int what[2]; \\\n"
                              "            get(in, what, sizeof what); \\\n"
                              "            get(in, x, sizeof x); \\\n"
                              "            if (what[0]) name##_init(&state); \\\n"
                              "            if (what[1] >= 0) name##_token(&state, what[1], y); \\\n"
                              "            else name##_step(&state, x, y); \\\n"
                              "            if (fwrite(y, sizeof y, 1, out) != 1) exit(3); \\\n"
                              "        } \\\n"
                              "    }\n";

static stpn_net *net_of(const problem *p, stpn_real real, int heads)
{
    static const stpn_head both[2] = {{"policy", 3}, {"value", 1}};
    stpn_net_desc desc = {.real = real,
                          .inputs = p->plan.inputs,
                          .units = p->plan.units,
                          .unit_count = p->plan.unit_count,
                          .heads = both,
                          .head_count = heads};
    stpn_net *net;
    stpn_error error;
    stpn_tensor t;
    if (stpn_net_create(&net, &desc, &error)) fail_msg("%s", error.message);
    stpn_net_init(net, 1);
    for (int i = 0; stpn_net_tensor(net, i, &t); i++)
        for (int k = 0; k < p->parameter_count; k++)
            if (strcmp(p->parameters[k].name, t.name) == 0)
                stpn_block_set(net, stpn_net_parameters(net), i, p->parameters[k].values);
    return net;
}

/* What the library makes of it in double, all parameters being floats: (STEPS, outputs). */
static void library_outputs(const problem *p, const stpn_net *net, const double *x, exported *e)
{
    int H = plan_outputs(&p->plan), heads = net->head_count;
    double y[STEPS * REFERENCE_MOST_HIDDEN], out[STEPS * 4];
    stpn_state *state;
    stpn_error error;
    stpn_sequence sequence = {.steps = STEPS, .batch = 1, .type = STPN_INPUT_DOUBLE, .x = x, .reset = p->reset};
    if (stpn_state_create(&state, net, 1, &error) || stpn_forward(net, state, &sequence, y, NULL, NULL, NULL, &error))
        fail_msg("%s", error.message);
    e->outputs = heads ? 0 : H;
    for (int i = 0; i < heads; i++) e->outputs += net->heads[i].outputs;
    e->y = calloc((size_t)(STEPS * e->outputs), sizeof *e->y);
    assert_non_null(e->y);
    for (int i = 0, at = 0; i < heads; at += net->heads[i++].outputs) {
        int O = net->heads[i].outputs;
        stpn_head_forward(net, i, STEPS, y, out);
        for (int t = 0; t < STEPS; t++)
            for (int o = 0; o < O; o++) e->y[t * e->outputs + at + o] = (float)out[t * O + o];
    }
    for (int i = 0; i < STEPS * H && !heads; i++) e->y[i] = (float)y[i];
    stpn_state_free(state);
}

static void write_text(const char *name, const char *ending, const source_text *text)
{
    char path[SCRATCH_PATH], file[32];
    snprintf(file, sizeof file, "%s.%s", name, ending);
    scratch_write(scratch_path(path, file), text->text.data, text->text.size);
}

/* Exports the problem's net and adds its inputs to the file. */
static void add_net(const problem_plan *plan, int index, int heads, int scaled, FILE *in, exported *e)
{
    problem p;
    double x[STEPS * REFERENCE_MOST_COLUMNS], mean[REFERENCE_MOST_COLUMNS], deviation[REFERENCE_MOST_COLUMNS];
    problem_make(&p, plan, (uint64_t)index);
    int I = plan->inputs;
    net_source source = {.name = e->name, .origin = "a test"};
    for (int i = 0; i < I; i++) {
        mean[i] = (float)(0.1 * i);
        deviation[i] = 0.5 + i;
    }
    for (int i = 0; i < STEPS * I; i++) {
        double value = p.x.values[i];
        x[i] = scaled ? fmin(fmax((value - mean[i % I]) / deviation[i % I], -1), 1) : value;
    }
    if (scaled) source.mean = mean, source.deviation = deviation, source.bound = 1;
    stpn_net *net = net_of(&p, STPN_DOUBLE, heads);
    stpn_error error;
    snprintf(e->name, sizeof e->name, "net_%d", index);
    snprintf(e->text, sizeof e->text, "%s%s%s", problem_text(&p), heads ? " read out" : "", scaled ? " scaled" : "");
    if (net_source_write(net, &source, &error)) fail_msg("%s: %s", e->text, error.message);
    assert_true(source.parameter_bytes >= stpn_net_parameter_count(net) * sizeof(float));
    write_text(e->name, "c", &source.code);
    write_text(e->name, "h", &source.header);
    library_outputs(&p, net, x, e);
    assert_int_equal(e->outputs, source.outputs);
    for (int t = 0; t < STEPS; t++) {
        int what[2] = {p.reset[t], p.tokens ? p.tokens[t] : -1};
        fwrite(what, sizeof what, 1, in);
        for (int i = 0; i < I; i++) {
            float value = p.tokens ? NAN : (float)p.x.values[t * I + i];
            fwrite(&value, sizeof value, 1, in);
        }
    }
    net_source_free(&source);
    stpn_net_free(net);
    problem_free(&p);
}

static void shell(const char *what, const char *command)
{
    int code = system(command);
    if (code) fail_msg("%s ended with %d: %s", what, code, command);
}

static void write_program(const exported *list, const int *inputs, int count)
{
    char path[SCRATCH_PATH];
    FILE *file = fopen(scratch_path(path, "main.c"), "w");
    assert_non_null(file);
    for (int i = 0; i < count; i++) fprintf(file, "#include \"%s.h\"\n", list[i].name);
    fputs(program, file);
    for (int i = 0; i < count; i++) fprintf(file, "RUN(%s, %d, %d)\n", list[i].name, inputs[i], list[i].outputs);
    fputs("int main(int n, char **words)\n{\n    FILE *in = fopen(words[1], \"rb\"), *out = fopen(words[2], \"wb\");\n"
          "    if (n != 3 || !in || !out) return 3;\n",
          file);
    for (int i = 0; i < count; i++) fprintf(file, "    run_%s(in, out);\n", list[i].name);
    fputs("    return fclose(out) != 0;\n}\n", file);
    fclose(file);
}

static void compare(const exported *list, int count)
{
    char path[SCRATCH_PATH];
    size_t size, at = 0;
    float *out = (float *)(void *)scratch_read(scratch_path(path, "out"), &size);
    for (int i = 0; i < count; i++) {
        double error = 0, largest = 0;
        for (int k = 0; k < STEPS * list[i].outputs; k++) {
            assert_true((at + 1) * sizeof *out <= size);
            error = fmax(error, fabs((double)out[at++] - (double)list[i].y[k]));
            largest = fmax(largest, fabs((double)list[i].y[k]));
        }
        if (!(error <= 1e-6 * largest)) fail_msg("%s: off by %g of %g", list[i].text, error, largest);
    }
    assert_int_equal(at * sizeof *out, size);
    free(out);
}

/* Each with inputs of another kind. */
static problem_plan plan_of(int index, const stpn_unit *units, int count)
{
    problem_plan plan = {
        .unit_count = count, .inputs = 2 + index % 5, .steps = STEPS, .batch = 1, .resets = 1, .smooth = 1};
    plan.input = index % 3 == 0 ? PLAN_TOKENS : index % 3 == 1 ? PLAN_DENSE : PLAN_SPARSE;
    memcpy(plan.units, units, (size_t)count * sizeof *units);
    return plan;
}

static void exported_nets_compute_what_the_library_does(void **state)
{
    (void)state;
    on_one_thread();
    enum { MOST = VARIANT_COUNT + RANDOM + STACKED };
    static exported list[MOST];
    static int inputs[MOST];
    char path[SCRATCH_PATH], command[LINE];
    const char *sanitizers = getenv("STPN_TEST_FLAGS");
    int count = 0;
    FILE *in = fopen(scratch_path(path, "in"), "wb");
    assert_non_null(in);
    for (int i = 0; i < MOST; i++) {
        stpn_unit units[3];
        int stacked = i >= VARIANT_COUNT + RANDOM;
        for (int u = 0; u < 3; u++) units[u] = combination(combination_systematic() + i + 100 * u, 3 + (i + u) % 4);
        if (i < VARIANT_COUNT) units[0] = variant(i, 2 + i % 5);
        if (stacked) units[1] = variant(5 * (i % STACKED) + 2, 4);
        problem_plan plan = plan_of(i, units, stacked ? 3 : 1);
        int scaled = i % 7 == 1 && plan.input != PLAN_TOKENS;
        inputs[count] = plan.inputs;
        add_net(&plan, i, stacked || i % 4 == 0 ? 1 + i % 2 : 0, scaled, in, &list[count]);
        count++;
    }
    fclose(in);
    write_program(list, inputs, count);
    snprintf(
        command, sizeof command,
        "cd '%s' && cc -std=c99 -pedantic -Wall -Wextra -Wconversion -Wshadow -Wdouble-promotion -Werror -O0 %s *.c "
        "-lm -o program >&2 && ./program in out",
        scratch_folder, sanitizers ? sanitizers : "");
    shell("the compiler or the program", command);
    compare(list, count);
    for (int i = 0; i < count; i++) free(list[i].y);
}

/* ---- what is refused */

static void assert_refused(const stpn_net *net, const char *says)
{
    net_source source = {.name = "refused", .origin = "a test"};
    stpn_error error;
    assert_int_equal(net_source_write(net, &source, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, says));
    assert_null(source.code.text.data);
    assert_null(source.header.text.data);
}

static void what_no_constant_can_say_is_refused(void **state)
{
    (void)state;
    stpn_unit layer = stpn_unit_default("stpn_r", 3);
    stpn_conv conv = {.filters = 16, .size = 2, .stride = 1};
    stpn_net_desc desc = {.inputs = 9, .units = &layer, .unit_count = 1};
    stpn_net *net;
    stpn_error error;
    assert_int_equal(stpn_net_create(&net, &desc, &error), STPN_OK);
    float bias[3] = {0, NAN, 0};
    stpn_block_set(net, stpn_net_parameters(net), 1, bias);
    assert_refused(net, "units.0.bias[1][0] is not a finite number");
    stpn_net_free(net);
    desc.encoder = &conv;
    desc.encoder_count = 1;
    desc.height = desc.width = 3;
    desc.channels = 1;
    assert_int_equal(stpn_net_create(&net, &desc, &error), STPN_OK);
    assert_refused(net, "encoder");
    stpn_net_free(net);
}

static void names_are_those_that_c_takes(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "net_2", "Retrieval", "a23456789012345678901234567890123456789012345_7"};
    static const char *const bad[] = {"",
                                      "2net",
                                      "_net",
                                      "a-b",
                                      "a b",
                                      "int",
                                      "while",
                                      "math",
                                      "n\xc3",
                                      "a.b",
                                      "a/../b",
                                      "*/",
                                      "a234567890123456789012345678901234567890123456_8"};
    char name[NET_SOURCE_NAME];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(net_source_is_name(good[i]));
        net_source_name_of(good[i], name);
        assert_string_equal(name, good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(net_source_is_name(bad[i]));
        net_source_name_of(bad[i], name);
        assert_true(net_source_is_name(name));
    }
}

static void numbers_read_back_as_they_were(void **state)
{
    (void)state;
    static const float special[] = {0, -0.0F, 1, -1, 1e-45F, -1.1754942e-38F, 3.4028235e38F, 16777216, 0.1F};
    char text[SOURCE_NUMBER];
    random_stream stream = random_open(1, RANDOM_BENCH, 0);
    for (int i = 0; i < 20000; i++) {
        union {
            float value;
            uint32_t bits;
        } number, back;
        number.bits = (uint32_t)random_below(&stream, 1U << 31) * 2 + (uint32_t)random_below(&stream, 2);
        if (i < (int)(sizeof special / sizeof *special)) number.value = special[i];
        if (!isfinite(number.value)) continue;
        source_number(text, (double)number.value);
        char *end;
        back.value = strtof(text, &end);
        assert_int_equal(back.bits, number.bits);
        assert_string_equal(end, "f");
        assert_non_null(strpbrk(text, ".e"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exported_nets_compute_what_the_library_does),
        cmocka_unit_test(what_no_constant_can_say_is_refused),
        cmocka_unit_test(names_are_those_that_c_takes),
        cmocka_unit_test(numbers_read_back_as_they_were),
    };
    return cmocka_run_group_tests_name("io/net_source", tests, scratch_make, scratch_remove);
}
