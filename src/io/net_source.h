/* A net as a C file and its header, for a device: C99, one step at a time, no memory but the caller's, no library but libm
 * (docs/exporting.md). */
#ifndef STPN_IO_NET_SOURCE_H
#define STPN_IO_NET_SOURCE_H

#include "base/source.h"
#include "net/net.h"

enum { NET_SOURCE_NAME = 48 };

/* What both files begin with; such a file may be replaced by another. */
#define NET_SOURCE_MARK "/* Written by stpn export"

typedef struct net_source {
    const char *name;   // in front of everything that the files declare
    const char *origin; // where the parameters come from: one line of a comment
    /* Of inputs that are scaled: (x - mean) / deviation, within the bound; (I) or NULL. */
    const double *mean, *deviation;
    double bound;
    /* What net_source_write makes; net_source_free frees it. */
    source_text header, code;
    size_t state_bytes, parameter_bytes, stack_bytes; // stack: the rows of the functions, without what calls take
    int outputs;                                      // values of y
} net_source;

/* Whether the text is a name that a C file can be given: a letter, then letters, digits and _, no word of C. */
int net_source_is_name(const char *text);
/* The nearest such name to any text. */
void net_source_name_of(const char *text, char name[NET_SOURCE_NAME]);

/* Values are written as floats. */
stpn_status net_source_write(const stpn_net *net, net_source *s, stpn_error *error);
void net_source_free(net_source *s);

#endif
