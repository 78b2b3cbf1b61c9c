/* One array in NumPy's format .npy. */
#ifndef STPN_IO_NPY_H
#define STPN_IO_NPY_H

#include "io/array_file.h"

/* Sets type, shape and a copy of the values; `place` starts the message. */
stpn_status npy_parse(array *a, const char *place, const char *bytes, size_t size, stpn_error *error);

#endif
