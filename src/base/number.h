/* Numbers in files: with a point, whatever the locale of the program. */
#ifndef STPN_BASE_NUMBER_H
#define STPN_BASE_NUMBER_H

#include <locale.h>

/* The calling thread reads and writes numbers as in the C locale until number_restore. (locale_t)0 where memory is out. */
locale_t number_plain(locale_t *plain);
void number_restore(locale_t before, locale_t plain);

#endif
