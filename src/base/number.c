#include "base/number.h"

locale_t number_plain(locale_t *plain)
{
    *plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return *plain ? uselocale(*plain) : (locale_t)0;
}

void number_restore(locale_t before, locale_t plain)
{
    uselocale(before);
    freelocale(plain);
}
