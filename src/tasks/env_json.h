/* The key `task` of experiment files, where it names an environment. */
#ifndef STPN_TASKS_ENV_JSON_H
#define STPN_TASKS_ENV_JSON_H

#include "io/json.h"
#include "tasks/env.h"

/* Options from their defaults and `object`, checked, and the shape; what is left to the environment is filled in. */
stpn_status env_from_json(const env_type *type, const json_t *object, env_options *options, env_shape *shape,
                          stpn_error *error);

#endif
