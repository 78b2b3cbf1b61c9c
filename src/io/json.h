/* JSON in and out (Jansson), and options from and to JSON by their tables. */
#ifndef STPN_IO_JSON_H
#define STPN_IO_JSON_H

#include "base/option.h"

#include <jansson.h>

enum { JSON_FILE_LIMIT = 16 << 20 };

/* Reads any value; duplicate keys are errors. `name` stands in messages, with line and column. */
stpn_status json_parse(json_t **value, const char *name, const char *text, size_t size, stpn_error *error);
/* The same where only an object will do. */
stpn_status json_read(json_t **object, const char *name, const char *text, size_t size, stpn_error *error);
stpn_status json_read_file(json_t **object, const char *path, stpn_error *error);

/* A member of `object` is set from text: JSON, or a string where it is none. KEY is a path such as
 * "units.0.hidden"; its last part may be new. */
stpn_status json_set_path(json_t *object, const char *assignment, stpn_error *error);

/* Fills the fields that `object` names; members in `others` (NULL-terminated) belong to the caller; any other is an
 * error that names the nearest known key. `place` is the path of the object: "units[0]". */
stpn_status options_from_json(const json_t *object, const char *place, const option *table, int count,
                              const char *const *others, void *fields, stpn_error *error);
/* Adds every field to `object`; returns 0 where memory is out. */
int options_to_json(const option *table, int count, const void *fields, json_t *object);

/* The document as text (free with memory_free), or NULL where memory is out. `flags` are Jansson's. */
char *json_to_text(const json_t *value, size_t flags);

/* A string member; an error where it is missing or no string. The text lives as long as `object`. */
stpn_status json_text(const json_t *object, const char *place, const char *key, const char **text, stpn_error *error);

/* Path of the first place where two documents differ ("train.epochs"), or 0 where they are equal. */
int json_difference(const json_t *a, const json_t *b, char *path, size_t size);

/* What a value is, for messages: "a string". */
const char *json_kind(const json_t *value);

#endif
