#include "io/unit_json.h"

#include "base/error.h"
#include "units/unit.h"

/* What has no effect is an error: the file would not say what was done. */
static stpn_status check_effect(const json_t *object, const unit_type *type, const stpn_unit *options,
                                const char *place, stpn_error *error)
{
    for (int i = 0; i < type->option_count; i++) {
        const char *key = type->options[i].name;
        if (json_object_get(object, key) && !unit_applies(options, key))
            return error_set(error, STPN_ERROR_INPUT, "%s.%s has no effect with the other options of this unit", place,
                             key);
    }
    return STPN_OK;
}

stpn_status unit_from_json(stpn_unit *options, const json_t *object, const char *name_key, const char *place,
                           stpn_error *error)
{
    const char *name;
    char known[256];
    if (!json_is_object(object))
        return error_set(error, STPN_ERROR_INPUT, "%s is %s, expected an object", place, json_kind(object));
    stpn_status status = json_text(object, place, name_key, &name, error);
    if (status) return status;
    const unit_type *type = unit_find(name);
    unit_names(known, sizeof known);
    if (!type)
        return error_set(error, STPN_ERROR_INPUT, "%s.%s is \"%.100s\", expected one of %s", place, name_key, name,
                         known);
    const char *const others[] = {name_key, NULL};
    *options = stpn_unit_default(type->name, 0);
    status = options_from_json(object, place, type->options, type->option_count, others, options, error);
    return status ? status : check_effect(object, type, options, place, error);
}

json_t *unit_to_json(const stpn_unit *options)
{
    const unit_type *type = unit_find(options->name);
    json_t *object = json_object();
    int failed = json_object_set_new(object, "name", json_string(type->name)) ||
                 !options_to_json(type->options, type->option_count, options, object);
    for (int i = 0; i < type->option_count; i++)
        if (!unit_applies(options, type->options[i].name)) json_object_del(object, type->options[i].name);
    if (!failed) return object;
    json_decref(object);
    return NULL;
}
