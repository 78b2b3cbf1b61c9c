#include "cli/play_text.h"

#include <math.h>
#include <stdio.h>

/* A cell of the map takes two columns, so that it is about as wide as high. */
enum { GAP = 3, BAR = 20, CHANGES = 6, CHANGE_BAR = 10, REWARD_AT = 16, GAIN_AT = 29, GOALS_AT = 38 };

static const char bar[] = "####################";

static void put_map(screen *s, const walk *w)
{
    for (int row = 0; row < w->rows; row++)
        for (int column = 0; column < w->columns; column++) {
            int at = row + 1, x = 2 * column, visited = w->visited[row * w->columns + column];
            switch (w->map[row * (w->columns + 1) + column]) {
            case '#': screen_put(s, at, x, SCREEN_WALL, "##"); break;
            case '*': screen_put(s, at, x, SCREEN_GOAL, "**"); break;
            case '@': screen_put(s, at, x, SCREEN_AGENT, "@@"); break;
            case '$': screen_put(s, at, x, SCREEN_AGENT, "@*"); break;
            default:
                if (visited > w->since) screen_put(s, at, x, SCREEN_PATH, " o");
                else if (visited) screen_put(s, at, x, SCREEN_VISITED, " .");
            }
        }
}

static int put_policy(screen *s, const walk *w, int row, int left)
{
    const env_type *type = w->env->type;
    if (w->step) screen_put(s, row, left, SCREEN_DIM, "policy        value %.3f", (double)w->value);
    else screen_put(s, row, left, SCREEN_DIM, "policy");
    for (int a = 0; a < w->env->shape.actions; a++) {
        char number[16];
        int taken = w->step && a == w->action;
        screen_style style = taken ? SCREEN_STRONG : SCREEN_PLAIN;
        snprintf(number, sizeof number, "%d", a);
        screen_put(s, ++row, left, style, "%c %-6s", taken ? '>' : ' ',
                   type->action_name ? type->action_name(a) : number);
        if (!w->step) continue;
        screen_put(s, row, left + 9, style, "%.3f", (double)w->policy[a]);
        screen_put(s, row, left + 16, taken ? SCREEN_PATH : SCREEN_DIM, "%.*s", (int)lroundf(w->policy[a] * BAR), bar);
    }
    return row + 1;
}

/* Bars are as long as the largest change of the step allows. */
static void put_changes(screen *s, const walk *w, int row, int left)
{
    walk_change list[CHANGES];
    char source[32], target[32];
    int count = walk_changes(w, CHANGES, list);
    if (!w->synapses_count) return;
    screen_put(s, row, left, SCREEN_DIM, "synapses that changed most");
    screen_put(s, row, left + 28, SCREEN_DIM, "before   after");
    for (int i = 0; i < count; i++) {
        const walk_change *c = &list[i];
        const walk_synapses *synapses = &w->synapses[c->synapses];
        double share = (double)(fabsf(c->after - c->before) / fabsf(list[0].after - list[0].before));
        walk_source(w, synapses, c->column, source, sizeof source);
        walk_target(w, synapses, c->row, target, sizeof target);
        screen_put(s, ++row, left, SCREEN_PLAIN, "%-16s -> %-4s %+7.3f %+7.3f", source, target, (double)c->before,
                   (double)c->after);
        screen_put(s, row, left + 41, c->after > c->before ? SCREEN_MORE : SCREEN_LESS, "%.*s",
                   (int)lround(share * CHANGE_BAR), c->after > c->before ? "++++++++++" : "----------");
    }
}

void play_text(screen *s, const walk *w)
{
    int left = 2 * w->columns + GAP;
    screen_clear(s);
    screen_put(s, 0, 0, SCREEN_STRONG, "step %d/%d", w->step, w->env->shape.steps);
    screen_put(s, 0, REWARD_AT, SCREEN_STRONG, "reward %g", w->total);
    if (w->reward != 0) screen_put(s, 0, GAIN_AT, SCREEN_MORE, "%+g", (double)w->reward);
    if (w->env->type->goals) screen_put(s, 0, GOALS_AT, SCREEN_STRONG, "goals %lld", (long long)w->goals);
    put_map(s, w);
    put_changes(s, w, put_policy(s, w, 1, left) + 1, left);
}
