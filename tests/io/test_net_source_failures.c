/* Exporting a net where memory is out, one allocation after the other. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "io/net_source.h"
#include "support/failing.h"

static void every_allocation(void **state)
{
    (void)state;
    stpn_unit units[2] = {stpn_unit_default("stpn_r", 2), stpn_unit_default("lstm", 1)};
    const stpn_head head = {"readout", 1};
    stpn_net_desc desc = {.inputs = 2, .units = units, .unit_count = 2, .heads = &head, .head_count = 1};
    const double mean[2] = {0, 1}, deviation[2] = {1, 2};
    stpn_net *net;
    stpn_error error;
    assert_int_equal(stpn_net_create(&net, &desc, &error), STPN_OK);
    const long live = failing_live();
    for (int lasting = 0; lasting < 2; lasting++)
        for (long n = 1;; n++) {
            net_source source = {.name = "net", .origin = "a test", .mean = mean, .deviation = deviation, .bound = 1};
            error.message[0] = 0;
            if (lasting) failing_set_allocations_from(n);
            else failing_set_allocation(n);
            stpn_status status = net_source_write(net, &source, &error);
            long tried = failing_allocations();
            failing_reset();
            if (status != (tried < n ? STPN_OK : STPN_ERROR_MEMORY))
                fail_msg("allocation %ld: status %d, \"%s\"", n, status, error.message);
            if (status) assert_memory_equal(error.message, "out of memory", 13);
            else net_source_free(&source);
            assert_int_equal(failing_live(), live);
            if (tried < n) break;
        }
    stpn_net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation)};
    return cmocka_run_group_tests_name("io/net_source, failures", tests, NULL, NULL);
}
