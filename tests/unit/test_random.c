/* Random numbers: the same from the same seed, and spread evenly. */
#include "unit.h"

#include "kv/random.h"

static void random_next_repeats_from_the_same_seed(void **state)
{
    (void)state;
    struct random a, b;
    random_init(&a, 7);
    random_init(&b, 7);
    for (int i = 0; i < 100; i++)
        assert_true(random_next(&a) == random_next(&b));
    random_init(&b, 8);
    assert_true(random_next(&a) != random_next(&b));
}

static void random_next_is_splitmix64(void **state)
{
    (void)state;
    struct random r;
    random_init(&r, 1234567);
    assert_true(random_next(&r) == UINT64_C(6457827717110365317));
    assert_true(random_next(&r) == UINT64_C(3203168211198807973));
}

static void random_below_stays_below_and_reaches_all(void **state)
{
    (void)state;
    struct random r;
    uint32_t seen[10] = {0};
    random_init(&r, 1);
    for (int i = 0; i < 10000; i++)
        seen[random_below(&r, 10)]++;
    for (int i = 0; i < 10; i++)
        assert_in_range(seen[i], 850, 1150);
    assert_int_equal(random_below(&r, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_next_repeats_from_the_same_seed),
        cmocka_unit_test(random_next_is_splitmix64),
        cmocka_unit_test(random_below_stays_below_and_reaches_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
