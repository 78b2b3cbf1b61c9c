#include "io/net_file.h"

#include "base/error.h"
#include "base/memory.h"
#include "io/unit_json.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = 160, PLACE_SIZE = 640 };

const char *const net_file_others[] = {"adam.", "progress.", "state.", "scaling.", NULL};

static stpn_status mark_units(tensor_file *file, const stpn_net *net, stpn_error *error)
{
    json_t *units = json_array();
    int failed = 0;
    for (int i = 0; i < net->unit_count; i++)
        failed |= json_array_append_new(units, unit_to_json(&net->units[i].options));
    char *text = failed ? NULL : json_to_text(units, JSON_REAL_PRECISION(17));
    stpn_status status =
        text ? tensor_file_set_metadata(file, "units", text, error) : error_memory(error, "the options of units");
    memory_free(text);
    json_decref(units);
    return status;
}

stpn_status net_file_mark(tensor_file *file, const stpn_net *net, stpn_error *error)
{
    stpn_status status = tensor_file_set_metadata(file, "stpn_format", NET_FILE_FORMAT, error);
    if (!status) status = tensor_file_set_metadata(file, "stpn", STPN_VERSION, error);
    return status ? status : mark_units(file, net, error);
}

stpn_status net_file_check_format(const tensor_file *file, int required, stpn_error *error)
{
    const char *format = tensor_file_metadata(file, "stpn_format");
    if (format ? strcmp(format, NET_FILE_FORMAT) == 0 : !required) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "%s: has stpn_format \"%.20s\", expected \"%s\"", tensor_file_name(file),
                     format ? format : "none", NET_FILE_FORMAT);
}

static tensor_type type_of(const stpn_net *net)
{
    return net->kernel->real == STPN_DOUBLE ? TENSOR_F64 : TENSOR_F32;
}

/* What the metadata tell of units; NULL, and no error, where it is nothing. */
static stpn_status told_units(const tensor_file *file, json_t **units, stpn_error *error)
{
    /* Files from elsewhere may have keys of these names too. */
    int is_own = tensor_file_metadata(file, "stpn_format") != NULL;
    const char *text = is_own ? tensor_file_metadata(file, "units") : NULL;
    const char *of_run = is_own ? tensor_file_metadata(file, "experiment") : NULL;
    char place[PLACE_SIZE];
    json_t *experiment = NULL;
    *units = NULL;
    snprintf(place, sizeof place, "%.600s: metadata \"units\"", tensor_file_name(file));
    if (text) return json_parse(units, place, text, strlen(text), error);
    if (!of_run) return STPN_OK;
    if (json_parse(&experiment, place, of_run, strlen(of_run), NULL) == STPN_ERROR_MEMORY)
        return error_memory(error, "the options of units");
    *units = json_incref(json_object_get(experiment, "units"));
    json_decref(experiment);
    return STPN_OK;
}

/* Text of an option's value, or NULL where memory is out. */
static char *value_text(const option *o, const stpn_unit *options)
{
    json_t *object = json_object();
    char *text = options_to_json(o, 1, options, object)
                     ? json_to_text(json_object_get(object, o->name), JSON_ENCODE_ANY | JSON_REAL_PRECISION(17))
                     : NULL;
    json_decref(object);
    return text;
}

static stpn_status check_option(const option *o, const stpn_unit *told, const stpn_unit *own, const char *place,
                                stpn_error *error)
{
    if (o->kind == OPTION_NUMBER && option_number(o, told) == option_number(o, own)) return STPN_OK;
    char *theirs = value_text(o, told), *ours = value_text(o, own);
    stpn_status status = STPN_OK;
    if (!theirs || !ours) status = error_memory(error, "the options of units");
    else if (strcmp(theirs, ours) != 0)
        status = error_set(error, STPN_ERROR_INPUT, "%s.%s is %s, but the net's is %s", place, o->name, theirs, ours);
    memory_free(theirs);
    memory_free(ours);
    return status;
}

static stpn_status check_unit(const unit *own, const json_t *object, const char *place, stpn_error *error)
{
    stpn_unit told;
    stpn_status status = unit_from_json(&told, object, "name", place, error);
    if (status) return status;
    if (strcmp(told.name, own->type->name) != 0)
        return error_set(error, STPN_ERROR_INPUT, "%s is a unit %s, but the net's is a unit %s", place, told.name,
                         own->type->name);
    for (int i = 0; i < own->type->option_count && !status; i++) {
        const option *o = &own->type->options[i];
        /* Shapes tell of neurons; how parameters began is past. */
        if (strcmp(o->name, "hidden") == 0 || strcmp(o->name, "init") == 0 || !unit_applies(&told, o->name)) continue;
        status = check_option(o, &told, &own->options, place, error);
    }
    return status;
}

stpn_status net_file_check_units(const stpn_net *net, const tensor_file *file, stpn_error *error)
{
    json_t *units;
    stpn_status status = told_units(file, &units, error);
    if (!units) return status;
    if (json_array_size(units) != (size_t)net->unit_count)
        status = error_set(error, STPN_ERROR_INPUT, "%s: is of %zu units, expected %d", tensor_file_name(file),
                           json_array_size(units), net->unit_count);
    for (int i = 0; i < net->unit_count && !status; i++) {
        char place[PLACE_SIZE];
        snprintf(place, sizeof place, "%.600s: units[%d]", tensor_file_name(file), i);
        status = check_unit(&net->units[i], json_array_get(units, (size_t)i), place, error);
    }
    json_decref(units);
    return status;
}

stpn_status net_block_to_file(const stpn_net *net, const void *block, const char *prefix, tensor_file *file,
                              stpn_error *error)
{
    stpn_tensor tensor;
    stpn_status status = STPN_OK;
    for (int i = 0; !status && stpn_net_tensor(net, i, &tensor); i++) {
        char name[NAME_SIZE];
        int64_t shape[2] = {tensor.shape[0], tensor.shape[1]};
        void *values = memory_zeroed(tensor.count, net->kernel->size);
        if (!values) return error_memory(error, "a tensor");
        snprintf(name, sizeof name, "%s%s", prefix, tensor.name);
        stpn_block_get(net, block, i, values);
        status = tensor_file_add(file, name, type_of(net), tensor.rank, shape, values, error);
        memory_free(values);
    }
    return status;
}

static void shape_text(char *text, size_t size, int rank, const int64_t *shape)
{
    size_t used = (size_t)snprintf(text, size, "(");
    for (int i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? ", " : "", (long long)shape[i]);
    if (used < size) snprintf(text + used, size - used, ")");
}

static double value_at_index(const tensor_entry *entry, size_t at)
{
    return entry->type == TENSOR_F64 ? ((const double *)entry->data)[at] : (double)((const float *)entry->data)[at];
}

static stpn_status check_finite(const stpn_net *net, const char *path, const tensor_entry *entry, const char *name,
                                stpn_error *error)
{
    double most = net->kernel->real == STPN_DOUBLE ? DBL_MAX : (double)FLT_MAX;
    for (size_t i = 0; i < entry->count; i++)
        if (!(fabs(value_at_index(entry, i)) <= most))
            return error_set(error, STPN_ERROR_INPUT, "%s: tensor %s: value %zu is %g, expected a finite number%s",
                             path, name, i, value_at_index(entry, i),
                             isfinite(value_at_index(entry, i)) ? " that a float holds" : "");
    return STPN_OK;
}

static stpn_status check_entry(const stpn_net *net, const tensor_file *file, const tensor_entry *entry,
                               const char *name, const stpn_tensor *tensor, stpn_error *error)
{
    const char *path = tensor_file_name(file);
    int64_t expected[TENSOR_MAX_RANK] = {tensor->shape[0], tensor->shape[1], tensor->shape[2]};
    char wanted[64], found[160];
    shape_text(wanted, sizeof wanted, tensor->rank, expected);
    if (!entry)
        return error_set(error, STPN_ERROR_INPUT, "%s: tensor %s is missing, expected one of shape %s", path, name,
                         wanted);
    if (entry->type != TENSOR_F32 && entry->type != TENSOR_F64)
        return error_set(error, STPN_ERROR_INPUT, "%s: tensor %s has type %s, expected F32 or F64", path, name,
                         tensor_type_name(entry->type));
    shape_text(found, sizeof found, entry->rank, entry->shape);
    int equal = entry->rank == tensor->rank;
    for (int i = 0; i < tensor->rank && equal; i++) equal = entry->shape[i] == expected[i];
    if (!equal)
        return error_set(error, STPN_ERROR_INPUT, "%s: tensor %s has shape %s, expected %s", path, name, found, wanted);
    return check_finite(net, path, entry, name, error);
}

static stpn_status fill(const stpn_net *net, void *block, int index, const tensor_entry *entry, stpn_error *error)
{
    if (entry->type == type_of(net)) {
        stpn_block_set(net, block, index, entry->data);
        return STPN_OK;
    }
    void *values = memory_zeroed(entry->count, net->kernel->size);
    if (!values) return error_memory(error, "a tensor");
    net->kernel->convert(entry->count, entry->type == TENSOR_F64 ? STPN_INPUT_DOUBLE : STPN_INPUT_FLOAT, entry->data,
                         values);
    stpn_block_set(net, block, index, values);
    memory_free(values);
    return STPN_OK;
}

stpn_status net_block_from_file(const stpn_net *net, void *block, const char *prefix, const tensor_file *file,
                                stpn_error *error)
{
    stpn_tensor tensor;
    stpn_status status = STPN_OK;
    void *fresh = stpn_block_create(net);
    if (!fresh) return error_memory(error, "the parameters");
    for (int i = 0; !status && stpn_net_tensor(net, i, &tensor); i++) {
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "%s%s", prefix, tensor.name);
        const tensor_entry *entry = tensor_file_find(file, name);
        status = check_entry(net, file, entry, name, &tensor, error);
        if (!status) status = fill(net, fresh, i, entry, error);
    }
    if (!status) memcpy(block, fresh, net->block_values * net->kernel->size);
    stpn_block_free(fresh);
    return status;
}

stpn_status net_file_check_names(const stpn_net *net, const tensor_file *file, const char *const *others,
                                 stpn_error *error)
{
    const tensor_entry *entry;
    for (int i = 0; (entry = tensor_file_entry(file, i)); i++) {
        stpn_tensor tensor;
        int known = 0;
        for (int t = 0; !known && stpn_net_tensor(net, t, &tensor); t++) known = strcmp(tensor.name, entry->name) == 0;
        for (const char *const *o = others; !known && *o; o++) known = strncmp(*o, entry->name, strlen(*o)) == 0;
        if (!known)
            return error_set(error, STPN_ERROR_INPUT, "%s: tensor \"%.100s\" belongs to another network",
                             tensor_file_name(file), entry->name);
    }
    return STPN_OK;
}

stpn_status stpn_net_save(const stpn_net *net, const char *path, stpn_error *error)
{
    error_clear(error);
    tensor_file *file;
    stpn_status status = error_given(error, {net, "net"}, {path, "path"});
    if (!status) status = tensor_file_create(&file, error);
    if (status) return status;
    status = net_file_mark(file, net, error);
    if (!status) status = net_block_to_file(net, net->parameters, "", file, error);
    /* What could not be loaded. */
    const tensor_entry *entry;
    for (int i = 0; !status && (entry = tensor_file_entry(file, i)); i++)
        status = check_finite(net, path, entry, entry->name, error);
    if (!status) status = tensor_file_save(file, path, error);
    tensor_file_free(file);
    return status;
}

stpn_status stpn_net_load(stpn_net *net, const char *path, stpn_error *error)
{
    error_clear(error);
    tensor_file *file;
    stpn_status status = error_given(error, {net, "net"}, {path, "path"});
    if (!status) status = tensor_file_read(&file, path, error);
    if (status) return status;
    status = net_file_check_format(file, 0, error);
    if (!status) status = net_file_check_names(net, file, net_file_others, error);
    if (!status) status = net_file_check_units(net, file, error);
    if (!status) status = net_block_from_file(net, net->parameters, "", file, error);
    if (!status) net_changed(net);
    tensor_file_free(file);
    return status;
}
