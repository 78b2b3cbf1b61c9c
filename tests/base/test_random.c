#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "base/random.h"

/* ---------------------------------------------------------------------------------------------------- the generator */

/* Random123's own known answers (its tests/kat_vectors, "philox4x32 10"): counter, key, block. */
static void blocks_are_those_of_random123(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], block[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        random_stream stream = {
            .seed = known[i].key[0] | (uint64_t)known[i].key[1] << 32,
            .block = known[i].counter[0],
            .purpose = known[i].counter[1],
            .stream = known[i].counter[2] | (uint64_t)known[i].counter[3] << 32,
        };
        for (int k = 0; k < 4; k++) assert_int_equal(random_bits(&stream), known[i].block[k]);
    }
}

/* From an independent Philox in Python: how seed, purpose, stream and block enter must never change. */
static void streams_give_the_draws_they_always_gave(void **state)
{
    (void)state;
    static const uint32_t first[] = {0x6ad0c5ec, 0xea236249, 0x73a459f5, 0x074944b3, 0x6da11836,
                                     0xe4c29d23, 0xfc0d53ee, 0x645d5243, 0x183c90a5, 0x86d26aad};
    static const uint32_t second[] = {0xab24e3c3, 0xf6aa91f9, 0x5edfc9e1, 0x0c849fb4, 0x83d7f16c,
                                      0x9fbe3fb0, 0x3b5dee00, 0x191ca8af, 0x057207fe, 0xbcabf645};
    static const uint32_t third[] = {0xffa4e494, 0x071e3e90, 0xe0117c69, 0x44189b7e, 0x835aa447,
                                     0x2d385d1e, 0xf95f555d, 0x1638eb77, 0x00355d5d, 0x718e24ca};
    random_stream a = random_open(0, RANDOM_INIT, 0), b = random_open(1, RANDOM_TRAIN, 7);
    random_stream c = random_open(UINT64_C(0x123456789abcdef0), RANDOM_SHUFFLE, UINT64_C(0xfedcba9876543210));
    for (int i = 0; i < 10; i++) {
        assert_int_equal(random_bits(&a), first[i]);
        assert_int_equal(random_bits(&b), second[i]);
        assert_int_equal(random_bits(&c), third[i]);
    }
}

static void derived_draws_are_pinned(void **state)
{
    (void)state;
    random_stream stream = random_open(1, RANDOM_TRAIN, 7);
    assert_true(random_unit(&stream) == 0.6685316422869312);
    assert_true(random_unit(&stream) == 0.3706022428928172);
    stream = random_open(1, RANDOM_TRAIN, 7);
    assert_true(fabs(random_normal(&stream) - -1.0213864976619147) < 1e-14);
    static const uint32_t tens[] = {1, 8, 4, 1, 3, 2, 3, 9, 6, 4, 9, 6, 0, 4, 0, 7};
    stream = random_open(3, RANDOM_TEST, 5);
    for (int i = 0; i < 16; i++) assert_int_equal(random_below(&stream, 10), tens[i]);
    /* A bound where a quarter of all words is drawn again. */
    static const uint32_t large[] = {1377803383, 623067696, 862191849, 1044498816, 3192812458, 2163371875};
    stream = random_open(3, RANDOM_TEST, 5);
    for (int i = 0; i < 6; i++) assert_int_equal(random_below(&stream, 0xc0000001), large[i]);
}

static void purposes_keep_their_numbers(void **state)
{
    (void)state;
    assert_int_equal(RANDOM_INIT, 1);
    assert_int_equal(RANDOM_TRAIN, 2);
    assert_int_equal(RANDOM_VALIDATION, 3);
    assert_int_equal(RANDOM_TEST, 4);
    assert_int_equal(RANDOM_SHUFFLE, 5);
    assert_int_equal(RANDOM_BENCH, 6);
}

static void streams_do_not_depend_on_each_other(void **state)
{
    (void)state;
    enum { STREAMS = 13, DRAWS = 101 };
    static uint32_t alone[STREAMS][DRAWS];
    random_stream streams[STREAMS];
    for (int s = 0; s < STREAMS; s++) {
        random_stream stream = random_open(42, RANDOM_TRAIN, (uint64_t)s);
        for (int i = 0; i < DRAWS; i++) alone[s][i] = random_bits(&stream);
        streams[s] = random_open(42, RANDOM_TRAIN, (uint64_t)s);
    }
    for (int i = 0; i < DRAWS; i++)
        for (int s = STREAMS - 1; s >= 0; s--) assert_int_equal(random_bits(&streams[s]), alone[s][i]);
}

static void every_part_of_the_address_matters(void **state)
{
    (void)state;
    const random_stream streams[] = {
        random_open(1, RANDOM_INIT, 1),
        random_open(2, RANDOM_INIT, 1),
        random_open(1 | UINT64_C(1) << 32, RANDOM_INIT, 1),
        random_open(1, RANDOM_BENCH, 1),
        random_open(1, RANDOM_INIT, 2),
        random_open(1, RANDOM_INIT, 1 | UINT64_C(1) << 32),
        random_open(1, RANDOM_INIT, 0),
        random_open(0, RANDOM_INIT, 1),
    };
    enum { COUNT = sizeof streams / sizeof *streams, DRAWS = 64 };
    for (int a = 0; a < COUNT; a++)
        for (int b = 0; b < a; b++) {
            random_stream x = streams[a], y = streams[b];
            int same = 0;
            for (int i = 0; i < DRAWS; i++) same += random_bits(&x) == random_bits(&y);
            assert_true(same <= 1);
        }
}

/* ------------------------------------------------------------------------------------------------------- distributions
 * Seeds are fixed, so these pass or fail for good; the bounds are five standard errors. */

static void units_fill_the_interval(void **state)
{
    (void)state;
    enum { DRAWS = 1000000, BINS = 64 };
    random_stream stream = random_open(7, RANDOM_BENCH, 0);
    double sum = 0, squares = 0, before = 0.5, lagged = 0;
    int bins[BINS] = {0};
    for (int i = 0; i < DRAWS; i++) {
        double u = random_unit(&stream);
        assert_true(u >= 0 && u < 1);
        sum += u;
        squares += u * u;
        lagged += (u - 0.5) * (before - 0.5);
        before = u;
        bins[(int)(u * BINS)]++;
    }
    double mean = sum / DRAWS, variance = squares / DRAWS - mean * mean, chi = 0;
    assert_true(fabs(mean - 0.5) < 5 * sqrt(1.0 / 12 / DRAWS));
    assert_true(fabs(variance - 1.0 / 12) < 5 * sqrt(1.0 / 180 / DRAWS));
    assert_true(fabs(lagged / DRAWS) < 5 * (1.0 / 12) / sqrt(DRAWS));
    for (int i = 0; i < BINS; i++) chi += pow(bins[i] - (double)DRAWS / BINS, 2) / ((double)DRAWS / BINS);
    assert_true(fabs(chi - (BINS - 1)) < 5 * sqrt(2.0 * (BINS - 1)));
}

static void units_have_53_bits(void **state)
{
    (void)state;
    random_stream stream = random_open(8, RANDOM_BENCH, 0);
    int low_set = 0;
    for (int i = 0; i < 1000; i++) {
        double scaled = random_unit(&stream) * 0x1p53;
        assert_true(scaled == floor(scaled));
        low_set += fmod(scaled, 2) == 1;
    }
    assert_true(abs(low_set - 500) < 80);
    /* Its ends: all bits 0 and all bits 1. */
    random_stream zeros = {.left = 2}, ones = {.left = 2, .word = {0, 0, UINT32_MAX, UINT32_MAX}};
    assert_true(random_unit(&zeros) == 0);
    assert_true(random_unit(&ones) == 1 - 0x1p-53);
}

static void ranges_keep_to_their_bounds(void **state)
{
    (void)state;
    static const double bounds[][2] = {{-1, 1}, {0, 1e-3}, {-0.25, 0}, {5, 6}, {-1e30, 1e30}};
    for (size_t k = 0; k < sizeof bounds / sizeof *bounds; k++) {
        enum { DRAWS = 100000 };
        random_stream stream = random_open(9, RANDOM_BENCH, k);
        double low = bounds[k][0], high = bounds[k][1], width = high - low, sum = 0, squares = 0;
        for (int i = 0; i < DRAWS; i++) {
            double value = random_range(&stream, low, high);
            assert_true(value >= low && value < high);
            double centred = (value - low) / width - 0.5;
            sum += centred;
            squares += centred * centred;
        }
        assert_true(fabs(sum / DRAWS) < 5 * sqrt(1.0 / 12 / DRAWS));
        assert_true(fabs(squares / DRAWS - 1.0 / 12) < 5 * sqrt(1.0 / 180 / DRAWS));
    }
}

static void normals_are_normal(void **state)
{
    (void)state;
    enum { DRAWS = 1000000 };
    random_stream stream = random_open(10, RANDOM_BENCH, 0);
    double moment[5] = {0};
    int beyond_one = 0, beyond_three = 0;
    for (int i = 0; i < DRAWS; i++) {
        double z = random_normal(&stream);
        assert_true(isfinite(z));
        for (int k = 1; k < 5; k++) moment[k] += pow(z, k) / DRAWS;
        beyond_one += fabs(z) > 1;
        beyond_three += z > 3;
    }
    assert_true(fabs(moment[1]) < 5 * sqrt(1.0 / DRAWS));
    assert_true(fabs(moment[2] - 1) < 5 * sqrt(2.0 / DRAWS));
    assert_true(fabs(moment[3]) < 5 * sqrt(15.0 / DRAWS));
    assert_true(fabs(moment[4] - 3) < 5 * sqrt(96.0 / DRAWS));
    assert_true(fabs(beyond_one - 0.3173105 * DRAWS) < 5 * sqrt(0.3173105 * 0.6826895 * DRAWS));
    assert_true(fabs(beyond_three - 0.0013499 * DRAWS) < 5 * sqrt(0.0013499 * DRAWS));
    /* The extreme words give no infinity. */
    random_stream ends = {.left = 4, .word = {UINT32_MAX, UINT32_MAX, 0, 0}};
    assert_true(isfinite(random_normal(&ends)));
}

static void below_is_unbiased(void **state)
{
    (void)state;
    static const uint32_t bounds[] = {2, 3, 5, 10, 37, 100, 128};
    for (size_t k = 0; k < sizeof bounds / sizeof *bounds; k++) {
        enum { DRAWS = 300000 };
        random_stream stream = random_open(11, RANDOM_BENCH, k);
        int seen[128] = {0};
        for (int i = 0; i < DRAWS; i++) {
            uint32_t drawn = random_below(&stream, bounds[k]);
            assert_true(drawn < bounds[k]);
            seen[drawn]++;
        }
        double expected = (double)DRAWS / bounds[k], chi = 0;
        for (uint32_t i = 0; i < bounds[k]; i++) chi += pow(seen[i] - expected, 2) / expected;
        assert_true(fabs(chi - (bounds[k] - 1)) < 5 * sqrt(2.0 * (bounds[k] - 1)) + 1);
    }
}

/* Three quarters of 2^32: without the redraw every third value would come twice as often. */
static void below_is_unbiased_for_large_bounds(void **state)
{
    (void)state;
    enum { DRAWS = 300000 };
    random_stream stream = random_open(12, RANDOM_BENCH, 0);
    int seen[3] = {0};
    for (int i = 0; i < DRAWS; i++) {
        uint32_t drawn = random_below(&stream, 0xc0000000);
        assert_true(drawn < 0xc0000000);
        seen[drawn % 3]++;
    }
    for (int i = 0; i < 3; i++) assert_true(abs(seen[i] - DRAWS / 3) < 5 * sqrt(DRAWS * 2.0 / 9));
}

static void below_takes_the_smallest_and_largest_bound(void **state)
{
    (void)state;
    random_stream stream = random_open(13, RANDOM_BENCH, 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(random_below(&stream, 1), 0);
        assert_true(random_below(&stream, UINT32_MAX) < UINT32_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_those_of_random123),
        cmocka_unit_test(streams_give_the_draws_they_always_gave),
        cmocka_unit_test(derived_draws_are_pinned),
        cmocka_unit_test(purposes_keep_their_numbers),
        cmocka_unit_test(streams_do_not_depend_on_each_other),
        cmocka_unit_test(every_part_of_the_address_matters),
        cmocka_unit_test(units_fill_the_interval),
        cmocka_unit_test(units_have_53_bits),
        cmocka_unit_test(ranges_keep_to_their_bounds),
        cmocka_unit_test(normals_are_normal),
        cmocka_unit_test(below_is_unbiased),
        cmocka_unit_test(below_is_unbiased_for_large_bounds),
        cmocka_unit_test(below_takes_the_smallest_and_largest_bound),
    };
    return cmocka_run_group_tests_name("base/random", tests, NULL, NULL);
}
