#include "tasks/env_json.h"

stpn_status env_from_json(const env_type *type, const json_t *object, env_options *options, env_shape *shape,
                          stpn_error *error)
{
    const char *const others[] = {"name", NULL};
    *options = type->defaults;
    stpn_status status = options_from_json(object, "task", type->options, type->option_count, others, options, error);
    if (!status) status = env_describe(type, options, shape, error);
    if (!status && type->resolve) type->resolve(options, shape);
    return status;
}
