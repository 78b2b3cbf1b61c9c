#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/checks.h"

/* Fast weights with one to three inner steps against their reference (tests/support/checks.h). */

int main(void)
{
    return check_units("units/fast_weights", "fast_weights");
}
