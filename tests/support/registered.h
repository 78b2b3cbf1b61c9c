/* Every unit of the registry in every form that its own table of options gives it: a new unit is covered by itself. */
#ifndef STPN_TESTS_REGISTERED_H
#define STPN_TESTS_REGISTERED_H

#include <stpn/stpn.h>

/* Form `index`: of each unit the default, then every option alone at every other value that is allowed; returns 0 past
 * the last. */
int registered(int index, int hidden, stpn_unit *form);
int registered_count(void);
/* Whether results have the same bits alone and inside a batch. */
int registered_is_exact(const stpn_unit *form);

#endif
