#include "support/registered.h"

#include "units/unit.h"

#include <string.h>

/* Sets an option to its value `at` beside the default; returns 0 past the last. */
static int set_other(const option *o, stpn_unit *form, int at)
{
    int value = o->kind == OPTION_NUMBER ? 0 : option_integer(o, form), length;
    double number = o->kind == OPTION_NUMBER ? option_number(o, form) : 0;
    switch (o->kind) {
    case OPTION_CHOICE:
        if (!option_choice(o->choices, at + 1, &length)) return 0;
        option_set_integer(o, form, at < value ? at : at + 1);
        return 1;
    case OPTION_BOOLEAN: option_set_integer(o, form, !value); return at == 0;
    case OPTION_INTEGER: option_set_integer(o, form, value + 1 + at); return at < 2;
    case OPTION_NUMBER: option_set_number(o, form, number != 0 ? number / 2 : 0.25); return at == 0;
    case OPTION_TEXT:
    case OPTION_LIST: return 0;
    }
    return 0;
}

int registered(int index, int hidden, stpn_unit *form)
{
    const unit_type *type;
    for (int i = 0; (type = unit_at(i)); i++) {
        *form = stpn_unit_default(type->name, hidden);
        if (index-- == 0) return 1;
        for (int k = 0; k < type->option_count; k++) {
            const option *o = &type->options[k];
            stpn_unit other = *form;
            for (int at = 0; strcmp(o->name, "hidden") != 0 && set_other(o, &other, at); at++, other = *form) {
                if (!unit_applies(&other, o->name) || unit_check(&other, hidden, "unit", NULL)) continue;
                if (index-- > 0) continue;
                *form = other;
                return 1;
            }
        }
    }
    return 0;
}

int registered_count(void)
{
    stpn_unit form;
    int count = 0;
    while (registered(count, 3, &form)) count++;
    return count;
}

int registered_is_exact(const stpn_unit *form)
{
    return strncmp(form->name, "stpn_", 5) == 0;
}
