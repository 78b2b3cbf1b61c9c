#include "io/net_source.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Functions that units call, and read-outs; those in use go into the file. One may call those before it. */
static const struct {
    const char *call, *text;
} helpers[] = {
    {"sigmoid(", "static float sigmoid(float s)\n"
                 "{\n"
                 "    return 0.5f + 0.5f * tanhf(0.5f * s);\n"
                 "}\n"},
    {"dot(", "static float dot(int count, const float *a, const float *b)\n"
             "{\n"
             "    float sum = 0.0f;\n"
             "    for (int i = 0; i < count; i++) sum += a[i] * b[i];\n"
             "    return sum;\n"
             "}\n"},
    {"bounded(", "static float bounded(float value, float bound)\n"
                 "{\n"
                 "    return value > bound ? bound : value < -bound ? -bound : value;\n"
                 "}\n"},
    {"inverse_norm(", "/* 1 / n of a sum of squares; a row of zeros has no direction. */\n"
                      "static float inverse_norm(float squares)\n"
                      "{\n"
                      "    return squares == 0.0f ? 0.0f : 1.0f / (sqrtf(squares) + 1e-16f);\n"
                      "}\n"},
    {"layer_norm(", "static void layer_norm(int count, float *a, const float *gain, const float *offset)\n"
                    "{\n"
                    "    float mean = 0.0f, variance = 0.0f;\n"
                    "    for (int j = 0; j < count; j++) mean += a[j];\n"
                    "    mean /= (float)count;\n"
                    "    for (int j = 0; j < count; j++) variance += (a[j] - mean) * (a[j] - mean);\n"
                    "    float scale = 1.0f / sqrtf(variance / (float)count + 1e-5f);\n"
                    "    for (int j = 0; j < count; j++) a[j] = (a[j] - mean) * scale * gain[j] + offset[j];\n"
                    "}\n"},
};

enum { HELPERS = sizeof helpers / sizeof *helpers, CODE_SIZE = 40 };

/* ------------------------------------------------------------------------------------------------------------- names */

/* Of C99; and a header that the file includes. */
static const char *const taken[] = {
    "auto",   "break",    "case",     "char",     "const", "continue", "default", "do",     "double",
    "else",   "enum",     "extern",   "float",    "for",   "goto",     "if",      "inline", "int",
    "long",   "register", "restrict", "return",   "short", "signed",   "sizeof",  "static", "struct",
    "switch", "typedef",  "union",    "unsigned", "void",  "volatile", "while",   "math",   "string",
};

static int is_taken(const char *text)
{
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (strcmp(taken[i], text) == 0) return 1;
    return 0;
}

static int is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int may_follow(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9') || c == '_';
}

int net_source_is_name(const char *text)
{
    size_t length = strlen(text);
    if (!is_letter(text[0]) || length >= NET_SOURCE_NAME || is_taken(text)) return 0;
    for (size_t i = 0; i < length; i++)
        if (!may_follow(text[i])) return 0;
    return 1;
}

void net_source_name_of(const char *text, char name[NET_SOURCE_NAME])
{
    const char *prefix = is_letter(text[0]) && !is_taken(text) ? "" : "net_";
    snprintf(name, NET_SOURCE_NAME, "%s%s", prefix, text);
    for (char *c = name; *c; c++)
        if (!may_follow(*c)) *c = '_';
}

/* In capitals, what cannot stand in a name as '_'. */
static void capitals(const char *text, char *name, size_t size)
{
    snprintf(name, size, "%s", text);
    for (char *c = name; *c; c++) *c = may_follow(*c) ? (char)toupper((unsigned char)*c) : '_';
}

/* -------------------------------------------------------------------------------------------------------- parameters */

static int has_shape_of_matrix(const unit_tensor *place)
{
    return place->layout == LAYOUT_MATRIX || place->layout == LAYOUT_ROW;
}

static void size_text(const unit_tensor *place, char text[CODE_SIZE])
{
    if (has_shape_of_matrix(place)) snprintf(text, CODE_SIZE, "%d * %d", place->rows, place->columns);
    else snprintf(text, CODE_SIZE, "%d", place->rows);
}

static size_t value_count(const unit_tensor *place)
{
    return (size_t)place->rows * (size_t)place->columns;
}

/* Tensor `index` of the net. */
static stpn_status put_tensor(const stpn_net *net, net_source *s, int index, stpn_error *error)
{
    const kernel_table *k = net->kernel;
    const unit_tensor *place = &net->tensors[index].place;
    size_t count = value_count(place);
    char size[CODE_SIZE];
    float *values = memory_zeroed(count, sizeof *values);
    if (!values) return error_memory(error, "a tensor");
    for (size_t i = 0; i < count; i++) {
        int row = (int)(i / (size_t)place->columns), column = (int)(i % (size_t)place->columns);
        values[i] = (float)value_read(k, net->parameters, place->offset + tensor_at(k, place, row, column));
        if (isfinite(values[i])) continue;
        memory_free(values);
        return error_set(error, STPN_ERROR_INPUT, "%s[%d][%d] is not a finite number: there is no constant for it",
                         net->tensors[index].name, row, column);
    }
    size_text(place, size);
    source_constants(&s->code, place->name, size, values, count);
    s->parameter_bytes += count * sizeof *values;
    memory_free(values);
    return STPN_OK;
}

/* ----------------------------------------------------------------------------------------------------- functions */

/* Only one function at a time has its rows on the stack, on top of those of the step. */
static void close_function(net_source *s, size_t *deepest)
{
    source_put(&s->code, "}\n");
    if (s->code.rows > *deepest) *deepest = s->code.rows;
    s->code.rows = 0;
}

static stpn_status put_unit(const stpn_net *net, net_source *s, int place, int *index, size_t *deepest,
                            stpn_error *error)
{
    const unit *u = &net->units[place];
    source_text *code = &s->code;
    stpn_status status = STPN_OK;
    if (!u->type->source)
        return error_set(error, STPN_ERROR_INPUT, "units.%d is %s, which cannot be exported: it has no source", place,
                         u->type->name);
    source_put(code,
               "\n/* units.%d: %s */\n"
               "static void unit_%d(%s_state *state, const float *x, float *y)\n"
               "{\n"
               "    enum { I = %d, H = %d };\n",
               place, u->type->name, place, s->name, u->inputs, u->options.hidden);
    for (int i = 0; i < u->tensor_count && !status; i++) status = put_tensor(net, s, (*index)++, error);
    for (int i = 0; i < u->state_count; i++)
        source_put(code, "    float *%s = state->unit_%d.%s;\n", u->states[i].name, place, u->states[i].name);
    if (u->state_count == 0) source_put(code, "    (void)state;\n");
    u->type->source(u, code);
    close_function(s, deepest);
    return status;
}

static stpn_status put_head(const stpn_net *net, net_source *s, int place, int *index, stpn_error *error)
{
    const net_head *head = &net->heads[place];
    source_put(&s->code,
               "\n/* %s */\n"
               "static void head_%d(const float *h, float *y)\n"
               "{\n"
               "    enum { H = %d };\n",
               head->name, place, net_outputs(net));
    stpn_status status = put_tensor(net, s, (*index)++, error);
    if (!status) status = put_tensor(net, s, (*index)++, error);
    source_put(&s->code, "    for (int j = 0; j < %d; j++) y[j] = bias[j] + dot(H, weight + j * H, h);\n}\n",
               head->outputs);
    return status;
}

static stpn_status put_scaling(const stpn_net *net, net_source *s, stpn_error *error)
{
    int I = net->inputs;
    char size[CODE_SIZE], bound[SOURCE_NUMBER];
    const double *const from[] = {s->mean, s->deviation};
    static const char *const names[] = {"mean", "deviation"};
    float *values = memory_zeroed((size_t)I, sizeof *values);
    if (!values) return error_memory(error, "the scaling");
    snprintf(size, sizeof size, "%d", I);
    source_put(&s->code, "\n/* Inputs as the network has learned to see them. */\n"
                         "static void scale(const float *x, float *scaled)\n{\n");
    for (int which = 0; which < 2; which++) {
        for (int i = 0; i < I; i++) values[i] = (float)from[which][i];
        source_constants(&s->code, names[which], size, values, (size_t)I);
    }
    source_put(&s->code,
               "    for (int i = 0; i < %d; i++) scaled[i] = bounded((x[i] - mean[i]) / deviation[i], %s);\n}\n", I,
               source_number(bound, s->bound));
    s->parameter_bytes += 2 * (size_t)I * sizeof *values;
    memory_free(values);
    return STPN_OK;
}

static void put_step(const stpn_net *net, net_source *s)
{
    source_text *code = &s->code;
    const char *x = s->mean ? "scaled" : "x";
    int at = 0, last = net->unit_count - 1;
    source_put(code, "\nvoid %s_step(%s_state *state, const float *x, float *y)\n{\n", s->name, s->name);
    if (s->mean) source_row(code, "scaled", net->inputs);
    for (int i = 0; i <= last; i++) {
        char row[CODE_SIZE];
        snprintf(row, sizeof row, "rows_%d", i);
        if (i < last || net->head_count) source_row(code, row, net->units[i].options.hidden);
    }
    if (s->mean) source_put(code, "    scale(x, scaled);\n");
    for (int i = 0; i <= last; i++) {
        char from[CODE_SIZE], to[CODE_SIZE];
        snprintf(from, sizeof from, "rows_%d", i - 1);
        snprintf(to, sizeof to, "rows_%d", i);
        source_put(code, "    unit_%d(state, %s, %s);\n", i, i ? from : x, i < last || net->head_count ? to : "y");
    }
    for (int i = 0; i < net->head_count; at += net->heads[i++].outputs)
        source_put(code, "    head_%d(rows_%d, y + %d);\n", i, last, at);
    source_put(code, "}\n");
}

static void put_token(const stpn_net *net, net_source *s)
{
    source_put(&s->code,
               "\nvoid %s_token(%s_state *state, int token, float *y)\n"
               "{\n"
               "    float x[%d];\n"
               "    for (int i = 0; i < %d; i++) x[i] = i == token ? 1.0f : 0.0f;\n"
               "    %s_step(state, x, y);\n"
               "}\n",
               s->name, s->name, net->inputs, net->inputs, s->name);
}

static void put_init(net_source *s)
{
    source_put(&s->code, "\nvoid %s_init(%s_state *state)\n{\n    memset(state, 0, sizeof *state);\n}\n", s->name,
               s->name);
}

/* ------------------------------------------------------------------------------------------------------------ header */

static void put_sizes(const stpn_net *net, net_source *s)
{
    char all[NET_SOURCE_NAME], head[UNIT_NAME_SIZE];
    int at = 0;
    capitals(s->name, all, sizeof all);
    source_put(&s->header, "#define %s_INPUTS %d\n#define %s_OUTPUTS %d\n", all, net->inputs, all, s->outputs);
    for (int i = 0; i < net->head_count; at += net->heads[i++].outputs) {
        capitals(net->heads[i].name, head, sizeof head);
        source_put(&s->header, "/* %s: where it stands in the outputs, and how many they are */\n", net->heads[i].name);
        source_put(&s->header, "#define %s_%s_AT %d\n#define %s_%s_COUNT %d\n", all, head, at, all, head,
                   net->heads[i].outputs);
    }
}

static void put_state(const stpn_net *net, net_source *s)
{
    source_put(&s->header, "\ntypedef struct %s_state {\n", s->name);
    for (int i = 0; i < net->unit_count; i++) {
        const unit *u = &net->units[i];
        if (u->state_count == 0) continue;
        source_put(&s->header, "    struct {\n");
        for (int t = 0; t < u->state_count; t++) {
            char size[CODE_SIZE];
            size_text(&u->states[t], size);
            source_put(&s->header, "        float %s[%s];\n", u->states[t].name, size);
            s->state_bytes += value_count(&u->states[t]) * sizeof(float);
        }
        source_put(&s->header, "    } unit_%d;\n", i);
    }
    if (s->state_bytes == 0)
        source_put(&s->header, "    char nothing; /* the network keeps nothing between steps */\n");
    if (s->state_bytes == 0) s->state_bytes = 1;
    source_put(&s->header, "} %s_state;\n", s->name);
}

static void put_header(const stpn_net *net, net_source *s, const source_text *body)
{
    char all[NET_SOURCE_NAME];
    const char *name = s->name;
    capitals(name, all, sizeof all);
    source_put(&s->header, NET_SOURCE_MARK " " STPN_VERSION ": %s\n *\n * ", s->origin);
    for (int i = 0; i < net->unit_count; i++)
        source_put(&s->header, "%s%s (%d -> %d)", i ? ", " : "", net->units[i].type->name, net->units[i].inputs,
                   net->units[i].options.hidden);
    for (int i = 0; i < net->head_count; i++)
        source_put(&s->header, ", %s (%d)", net->heads[i].name, net->heads[i].outputs);
    source_put(
        &s->header,
        "; %zu bytes of constants\n"
        " *\n"
        " *     %s_state state;             %zu bytes, the caller's; one for each sequence under way\n"
        " *     %s_init(&state);            before a sequence\n"
        " *     %s_step(&state, x, y);      one step of it: inputs x (%d), outputs y (%d)\n"
        " *     %s_token(&state, token, y); the same for x with a 1 at `token`, of 0 to %d, and zeros\n"
        " *\n"
        " * A step allocates nothing; its rows take %zu bytes of the stack (a token: %zu), beside what calls take.\n"
        " * x and y may not overlap. Different states may be stepped at once. */\n"
        "#ifndef %s_H\n"
        "#define %s_H\n\n",
        s->parameter_bytes, name, s->state_bytes, name, name, net->inputs, s->outputs, name, net->inputs - 1,
        s->stack_bytes, s->stack_bytes + (size_t)net->inputs * sizeof(float), all, all);
    put_sizes(net, s);
    source_put(&s->header, "%s", body->text.data ? body->text.data : "");
    source_put(&s->header,
               "\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n"
               "void %s_init(%s_state *state);\n"
               "void %s_step(%s_state *state, const float *x, float *y);\n"
               "void %s_token(%s_state *state, int token, float *y);\n"
               "#ifdef __cplusplus\n}\n#endif\n\n#endif\n",
               name, name, name, name, name, name);
}

/* -------------------------------------------------------------------------------------------------------------- files */

/* What the functions in `body` call comes before them. */
static void put_code(net_source *s, const source_text *body)
{
    const char *text = body->text.data ? body->text.data : "";
    source_text all = {0};
    source_put(&all, NET_SOURCE_MARK " " STPN_VERSION ": %s\n * What it is and takes stands in %s.h. */\n", s->origin,
               s->name);
    source_put(&all, "#include \"%s.h\"\n\n#include <math.h>\n#include <string.h>\n", s->name);
    for (int i = 0; i < HELPERS; i++)
        if (strstr(text, helpers[i].call)) source_put(&all, "\n%s", helpers[i].text);
    source_put(&all, "%s", text);
    s->code = all;
}

static stpn_status put_functions(const stpn_net *net, net_source *s, stpn_error *error)
{
    int index = 0;
    size_t deepest = 0;
    stpn_status status = s->mean ? put_scaling(net, s, error) : STPN_OK;
    for (int i = 0; i < net->unit_count && !status; i++) status = put_unit(net, s, i, &index, &deepest, error);
    for (int i = 0; i < net->head_count && !status; i++) status = put_head(net, s, i, &index, error);
    if (status) return status;
    put_init(s);
    put_step(net, s);
    s->stack_bytes = (deepest + s->code.rows) * sizeof(float);
    put_token(net, s);
    return STPN_OK;
}

static stpn_status write_files(const stpn_net *net, net_source *s, stpn_error *error)
{
    stpn_status status = put_functions(net, s, error);
    if (status) return status;
    source_text body = s->code, state = {0};
    put_state(net, s);
    state = s->header;
    s->header = (source_text){0};
    put_header(net, s, &state);
    put_code(s, &body);
    int failed = body.failed || state.failed || s->header.failed || s->code.failed;
    source_free(&body);
    source_free(&state);
    return failed ? error_memory(error, "the source") : STPN_OK;
}

stpn_status net_source_write(const stpn_net *net, net_source *s, stpn_error *error)
{
    locale_t plain;
    if (net->encoder.count)
        return error_set(error, STPN_ERROR_INPUT,
                         "the network starts with an encoder of images, which cannot be exported: expected one that "
                         "starts with a unit");
    s->outputs = net->head_count ? 0 : net_outputs(net);
    for (int i = 0; i < net->head_count; i++) s->outputs += net->heads[i].outputs;
    locale_t before = number_plain(&plain);
    if (!plain) return error_memory(error, "the source");
    stpn_status status = write_files(net, s, error);
    number_restore(before, plain);
    if (status) net_source_free(s);
    return status;
}

void net_source_free(net_source *s)
{
    source_free(&s->header);
    source_free(&s->code);
}
