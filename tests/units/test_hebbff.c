#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/checks.h"

/* HebbFF against its reference (tests/support/checks.h). */

int main(void)
{
    return check_units("units/hebbff", "hebbff");
}
