/* Stamps: they strictly increase, whatever the wall clock does. */
#include "unit.h"

#include "kv/random.h"
#include "kv/stamp.h"

static void stamp_next_takes_the_wall_clock_when_it_is_ahead(void **state)
{
    (void)state;
    struct stamp_clock clock = {0};
    assert_true(stamp_next(&clock, 1000) == UINT64_C(1000) << 16);
    assert_int_equal(stamp_wall_ms(stamp_next(&clock, 2000)), 2000);
}

static void stamp_next_counts_within_a_millisecond_and_when_the_clock_falls_back(void **state)
{
    (void)state;
    struct stamp_clock clock = {0};
    uint64_t first = stamp_next(&clock, 1000);
    assert_true(stamp_next(&clock, 1000) == first + 1);
    assert_true(stamp_next(&clock, 500) == first + 2);
    assert_true(stamp_next(&clock, 0) == first + 3);
}

static void stamp_next_carries_into_the_milliseconds(void **state)
{
    (void)state;
    struct stamp_clock clock = {.last = (UINT64_C(1000) << 16) | 0xffff};
    uint64_t stamp = stamp_next(&clock, 1000);
    assert_int_equal(stamp_wall_ms(stamp), 1001);
    assert_true(stamp_next(&clock, 1001) == stamp + 1);
}

static void stamp_observe_makes_later_stamps_greater(void **state)
{
    (void)state;
    struct stamp_clock clock = {0};
    stamp_observe(&clock, UINT64_C(5000) << 16);
    assert_true(stamp_next(&clock, 1000) == (UINT64_C(5000) << 16) + 1);
    stamp_observe(&clock, 3);
    assert_true(stamp_next(&clock, 1000) == (UINT64_C(5000) << 16) + 2);
}

static void stamp_next_always_increases(void **state)
{
    (void)state;
    struct stamp_clock clock = {0};
    struct random random;
    uint64_t last = 0;
    random_init(&random, unit_seed(__func__));
    for (uint64_t round = unit_rounds(100000); round > 0; round--) {
        if (random_below(&random, 5) == 0) {
            uint64_t seen = random_below(&random, UINT64_C(2000) << 16);
            stamp_observe(&clock, seen);
            last = seen > last ? seen : last;
        }
        uint64_t stamp = stamp_next(&clock, random_below(&random, 2000));
        assert_true(stamp > last);
        last = stamp;
    }
}

static void stamp_next_does_not_overflow_after_the_greatest_from_outside(void **state)
{
    (void)state;
    struct stamp_clock clock = {0};
    stamp_observe(&clock, STAMP_MAX);
    assert_true(stamp_next(&clock, 1000) > STAMP_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stamp_next_takes_the_wall_clock_when_it_is_ahead),
        cmocka_unit_test(stamp_next_counts_within_a_millisecond_and_when_the_clock_falls_back),
        cmocka_unit_test(stamp_next_carries_into_the_milliseconds),
        cmocka_unit_test(stamp_observe_makes_later_stamps_greater),
        cmocka_unit_test(stamp_next_always_increases),
        cmocka_unit_test(stamp_next_does_not_overflow_after_the_greatest_from_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
