/* A call that fails leaves a file as it was. Include after cmocka.h. */
#ifndef STPN_TESTS_LOST_H
#define STPN_TESTS_LOST_H

#include "support/failing.h"
#include "support/scratch.h"

#include <stpn/stpn.h>

/* The call failed as expected, with a message, and left neither memory nor another file at `path`. */
static inline void assert_nothing_lost(stpn_status status, stpn_status expected, const stpn_error *error, long live,
                                       const char *path, const char *before, size_t before_size)
{
    size_t size;
    failing_reset();
    assert_int_equal(status, expected);
    assert_true(strlen(error->message) > 0);
    assert_int_equal(failing_live(), live);
    char *after = scratch_read(path, &size);
    if (size != before_size || memcmp(after, before, size) != 0) fail_msg("the file changed: %s", error->message);
    free(after);
}

#endif
