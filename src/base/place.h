/* Where the parts of the program lie: beside its executable, in the source tree or where it is installed. */
#ifndef STPN_BASE_PLACE_H
#define STPN_BASE_PLACE_H

#include <stddef.h>

/* PREFIX/NAME, where PREFIX/SOMETHING/stpn is this executable: PREFIX is the source tree or the prefix of an
 * installation. Returns 0 where that cannot be told or is too long. */
int place_beside(char *path, size_t size, const char *name);

#endif
