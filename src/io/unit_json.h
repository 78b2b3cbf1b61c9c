/* A unit's options as JSON: in experiments, golden files, and in the metadata of files of parameters. */
#ifndef STPN_IO_UNIT_JSON_H
#define STPN_IO_UNIT_JSON_H

#include "io/json.h"

/* A unit from {"name" or "unit": ..., options}. Options that have no effect with the others are errors. */
stpn_status unit_from_json(stpn_unit *options, const json_t *object, const char *name_key, const char *place,
                           stpn_error *error);
/* {"name": ...} and every option that has an effect, or NULL where memory is out. */
json_t *unit_to_json(const stpn_unit *options);

#endif
