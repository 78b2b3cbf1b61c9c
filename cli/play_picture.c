#include "cli/play_picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NONE, // what did not change (cli/gif.h)
    BACK,
    TEXT,
    DIM,
    WALL,
    FLOOR,
    VISITED,
    PATH,
    GOAL,
    AGENT,
    BAR,
    HIT,
    HEAT = 12,
    HEATS = GIF_COLOURS - HEAT
};

enum {
    MARGIN = 16,
    TOP = 2 * MARGIN + 8, // of map and heat map
    GAP = 24,
    BELOW = 12,     // between them and what stands below
    SPLIT = 4,      // between a unit's inputs and its neurons
    MAP_SIDE = 208, // about, in pixels
    CELL_LEAST = 3,
    HEAT_SIDE = 320, // at most
    DOT_MOST = 16,
    NAME_WIDTH = 7 * CANVAS_LETTER,
    NUMBER_WIDTH = 6 * CANVAS_LETTER,
    TEXT_WIDTH = 43 * CANVAS_LETTER, // of a change of a synapse
    CHANGES = 4
};

/* -------------------------------------------------------------------------------------------------------------- sizes */

static int columns_in(const picture *p, int synapses)
{
    return (synapses + p->block - 1) / p->block;
}

/* Dots of inputs, and of neurons behind them. */
static void heat_columns(const picture *p, const walk_synapses *s, int *inputs, int *neurons)
{
    *inputs = columns_in(p, s->inputs);
    *neurons = columns_in(p, s->columns - s->inputs);
}

static int heat_width(const picture *p, const walk_synapses *s)
{
    int inputs, neurons;
    heat_columns(p, s, &inputs, &neurons);
    return (inputs + neurons) * p->dot + (inputs && neurons ? SPLIT : 0);
}

static int at_least(int value, int least)
{
    return value < least ? least : value;
}

stpn_status picture_open(picture *p, const walk *w, double largest, stpn_error *error)
{
    int side = w->rows > w->columns ? w->rows : w->columns, cell = MAP_SIDE / side;
    *p = (picture){.largest = largest, .cell = at_least(cell, CELL_LEAST), .dot = 1, .block = 1};
    int left = MARGIN + at_least(w->columns * p->cell, MAP_SIDE), right = left;
    int bottom = w->rows * p->cell + BELOW + CANVAS_LINE * (w->env->shape.actions + 1);
    if (w->synapses_count) {
        const walk_synapses *s = &w->synapses[0];
        int most = s->rows > s->columns ? s->rows : s->columns;
        p->heat_left = left + GAP;
        p->block = (most - 1) / HEAT_SIDE + 1;
        p->dot = HEAT_SIDE / columns_in(p, most);
        if (p->dot > DOT_MOST) p->dot = DOT_MOST;
        right = p->heat_left + at_least(heat_width(p, s), TEXT_WIDTH);
        int heat = columns_in(p, s->rows) * p->dot + BELOW + CANVAS_LINE * (2 + CHANGES);
        bottom = at_least(bottom, heat);
    }
    return canvas_open(&p->canvas, right + MARGIN, TOP + bottom + MARGIN - (CANVAS_LINE - 9), error);
}

void picture_close(picture *p)
{
    canvas_close(&p->canvas);
}

/* ------------------------------------------------------------------------------------------------------------ colours */

/* Dark violet, red, orange, pale yellow: lighter all the way. */
static gif_colour heat_colour(double t)
{
    static const double stops[][4] = {
        {0.00, 27, 28, 40}, {0.25, 84, 26, 110}, {0.50, 178, 48, 90}, {0.75, 243, 124, 42}, {1.00, 252, 246, 178}};
    int i = 0;
    while (i < 3 && t > stops[i + 1][0]) i++;
    double part = (t - stops[i][0]) / (stops[i + 1][0] - stops[i][0]), value[3];
    for (int k = 0; k < 3; k++) value[k] = stops[i][k + 1] + part * (stops[i + 1][k + 1] - stops[i][k + 1]);
    return (gif_colour){(unsigned char)lround(value[0]), (unsigned char)lround(value[1]),
                        (unsigned char)lround(value[2])};
}

void picture_palette(gif_colour palette[GIF_COLOURS])
{
    static const gif_colour fixed[HEAT] = {
        [BACK] = {19, 20, 28},    [TEXT] = {226, 229, 238},  [DIM] = {132, 139, 158}, [WALL] = {66, 72, 94},
        [FLOOR] = {28, 30, 41},   [VISITED] = {82, 94, 120}, [PATH] = {70, 150, 180}, [GOAL] = {255, 176, 59},
        [AGENT] = {96, 220, 255}, [BAR] = {78, 88, 112},     [HIT] = {255, 243, 205}};
    memcpy(palette, fixed, sizeof fixed);
    for (int i = 0; i < HEATS; i++) palette[HEAT + i] = heat_colour((double)i / (HEATS - 1));
}

/* ---------------------------------------------------------------------------------------------------------------- parts */

static void draw_strip(picture *p, const walk *w)
{
    char text[64];
    int x = MARGIN;
    snprintf(text, sizeof text, "step %3d/%d", w->step, w->env->shape.steps);
    x = canvas_text(&p->canvas, x, MARGIN, DIM, text);
    snprintf(text, sizeof text, "reward %g", w->total);
    x = canvas_text(&p->canvas, x + 2 * CANVAS_LETTER, MARGIN, w->hit ? GOAL : TEXT, text);
    if (!w->env->type->goals) return;
    snprintf(text, sizeof text, "goals %lld", (long long)w->goals);
    canvas_text(&p->canvas, x + 2 * CANVAS_LETTER, MARGIN, w->hit ? GOAL : TEXT, text);
}

/* A disc, or with its corners on the axes a diamond, in the middle of a cell. */
static void draw_token(picture *p, int x, int y, int radius, int diamond, unsigned char colour)
{
    /* In half pixels from the middle. */
    for (int row = 0; row < p->cell; row++)
        for (int column = 0; column < p->cell; column++) {
            int across = 2 * column + 1 - p->cell, down = 2 * row + 1 - p->cell;
            int inside =
                diamond ? abs(across) + abs(down) <= 2 * radius : across * across + down * down <= 4 * radius * radius;
            if (inside) canvas_fill(&p->canvas, x + column, y + row, 1, 1, colour);
        }
}

static void draw_map(picture *p, const walk *w)
{
    int cell = p->cell, radius = cell / 2 - cell / 10;
    for (int row = 0; row < w->rows; row++)
        for (int column = 0; column < w->columns; column++) {
            int x = MARGIN + column * cell, y = TOP + row * cell, visited = w->visited[row * w->columns + column];
            char c = w->map[row * (w->columns + 1) + column];
            canvas_fill(&p->canvas, x, y, cell, cell, c == '#' ? WALL : FLOOR);
            if (c == '#') continue;
            if (visited) draw_token(p, x, y, at_least(cell / 7, 1), 0, visited > w->since ? PATH : VISITED);
            if (c == '*' || c == '$') draw_token(p, x, y, radius + cell / 8, 1, w->hit ? HIT : GOAL);
            if (c == '@' || c == '$') draw_token(p, x, y, c == '$' ? radius / 2 : radius, 0, AGENT);
        }
}

static void draw_policy(picture *p, const walk *w)
{
    const env_type *type = w->env->type;
    char text[64];
    int y = TOP + w->rows * p->cell + BELOW,
        full = at_least(w->columns * p->cell, MAP_SIDE) - NAME_WIDTH - NUMBER_WIDTH;
    for (int a = 0; a < w->env->shape.actions; a++, y += CANVAS_LINE) {
        int taken = w->step && a == w->action;
        snprintf(text, sizeof text, "%d", a);
        canvas_text(&p->canvas, MARGIN, y, taken ? AGENT : DIM, type->action_name ? type->action_name(a) : text);
        if (!w->step) continue;
        int length = (int)lroundf(w->policy[a] * (float)full);
        canvas_fill(&p->canvas, MARGIN + NAME_WIDTH, y, length, 7, taken ? AGENT : BAR);
        snprintf(text, sizeof text, "%.2f", (double)w->policy[a]);
        canvas_text(&p->canvas, MARGIN + NAME_WIDTH + full + 2 * CANVAS_LETTER, y, taken ? AGENT : DIM, text);
    }
    if (!w->step) return;
    snprintf(text, sizeof text, "value %.2f", (double)w->value);
    canvas_text(&p->canvas, MARGIN, y, DIM, text);
}

/* The largest |F| of a block, whose root decides the colour: small ones can be told from none. */
static unsigned char heat_of(const picture *p, const walk_synapses *s, int row, int first, int last)
{
    float most = 0;
    for (int j = row * p->block; j < (row + 1) * p->block && j < s->rows; j++)
        for (int k = first; k < last; k++)
            most = fmaxf(most, fabsf(s->after[(size_t)j * (size_t)s->columns + (size_t)k]));
    double share = p->largest > 0 ? fmin((double)most / p->largest, 1) : 0;
    return (unsigned char)(HEAT + (int)lround(sqrt(share) * (HEATS - 1)));
}

/* Columns [begin, end) of the synapses, from pixel x on; under them what they are. */
static int draw_heat(picture *p, const walk_synapses *s, int begin, int end, int x, const char *what)
{
    char text[64];
    int rows = columns_in(p, s->rows), columns = columns_in(p, end - begin), width = columns * p->dot;
    for (int row = 0; row < rows; row++)
        for (int column = 0; column < columns; column++) {
            int first = begin + column * p->block, last = first + p->block < end ? first + p->block : end;
            canvas_fill(&p->canvas, x + column * p->dot, TOP + row * p->dot, p->dot, p->dot,
                        heat_of(p, s, row, first, last));
        }
    int length = CANVAS_LETTER * snprintf(text, sizeof text, "%d %s", end - begin, what);
    if (length <= width) canvas_text(&p->canvas, x + (width - length) / 2, TOP + rows * p->dot + BELOW / 2, DIM, text);
    return x + width + SPLIT;
}

/* A frame around the dot that stands for a synapse. */
static void mark_synapse(picture *p, const walk_synapses *s, int row, int column)
{
    int inputs, neurons, size = p->dot + 2;
    heat_columns(p, s, &inputs, &neurons);
    int at = column < s->inputs ? column / p->block : inputs + (column - s->inputs) / p->block;
    int x = p->heat_left + at * p->dot + (column >= s->inputs && inputs ? SPLIT : 0) - 1;
    int y = TOP + row / p->block * p->dot - 1;
    canvas_fill(&p->canvas, x, y, size, 1, AGENT);
    canvas_fill(&p->canvas, x, y + size - 1, size, 1, AGENT);
    canvas_fill(&p->canvas, x, y, 1, size, AGENT);
    canvas_fill(&p->canvas, x + size - 1, y, 1, size, AGENT);
}

static void draw_changes(picture *p, const walk *w, int y)
{
    walk_change list[CHANGES];
    char text[96], source[32], target[32];
    int count = walk_changes(w, CHANGES, list);
    for (int i = 0; i < count; i++, y += CANVAS_LINE) {
        const walk_change *c = &list[i];
        const walk_synapses *s = &w->synapses[c->synapses];
        walk_source(w, s, c->column, source, sizeof source);
        walk_target(w, s, c->row, target, sizeof target);
        snprintf(text, sizeof text, "%-16s -> %-4s %+.3f -> %+.3f", source, target, (double)c->before,
                 (double)c->after);
        if (c->synapses == 0) mark_synapse(p, s, c->row, c->column);
        canvas_text(&p->canvas, p->heat_left, y, i ? DIM : TEXT, text);
    }
}

static void draw_synapses(picture *p, const walk *w)
{
    const walk_synapses *s = &w->synapses[0];
    char text[64];
    int x = p->heat_left, y = TOP + columns_in(p, s->rows) * p->dot + BELOW + CANVAS_LINE;
    snprintf(text, sizeof text, "|%s| of %d neurons, up to %.2g", strrchr(s->name, '.') + 1, s->rows, p->largest);
    canvas_text(&p->canvas, x, MARGIN, TEXT, text);
    if (s->inputs) x = draw_heat(p, s, 0, s->inputs, x, "inputs");
    if (s->inputs < s->columns) draw_heat(p, s, s->inputs, s->columns, x, "neurons");
    draw_changes(p, w, y);
}

void picture_draw(picture *p, const walk *w)
{
    canvas_fill(&p->canvas, 0, 0, p->canvas.width, p->canvas.height, BACK);
    draw_strip(p, w);
    draw_map(p, w);
    draw_policy(p, w);
    if (w->synapses_count) draw_synapses(p, w);
}
