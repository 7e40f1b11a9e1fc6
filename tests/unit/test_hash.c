/* Hashes: values that other nodes and files rely on never change. */
#include "unit.h"

#include "kv/hash.h"

static void hash_key_is_xxh3_on_every_node(void **state)
{
    (void)state;
    assert_true(hash_key(bytes_of(NULL, 0)) == 0x2d06800538d394c2);
    assert_true(hash_key(bytes_text("a")) == 0xe6c632b61e964e1f);
    assert_true(hash_key(bytes_text("abc")) == 0x78af5f94892f3950);
}

static void hash_checksum_is_the_low_half_of_xxh3(void **state)
{
    (void)state;
    assert_int_equal(hash_checksum(bytes_of(NULL, 0)), 0x38d394c2);
    assert_int_equal(hash_checksum(bytes_text("abc")), 0x892f3950);
}

static void hash_seeded_differs_by_its_seed(void **state)
{
    (void)state;
    struct bytes key = bytes_text("key");
    assert_true(hash_seeded(key, 1) == hash_seeded(key, 1));
    assert_true(hash_seeded(key, 1) != hash_seeded(key, 2));
    assert_true(hash_seeded(key, 1) != hash_key(key));
}

static void hash_mix_tells_the_order_of_its_words(void **state)
{
    (void)state;
    assert_true(hash_mix(1, 2) != hash_mix(2, 1));
    assert_true(hash_mix(1, 2) == hash_mix(1, 2));
    assert_true(hash_mix(0, 1) != hash_mix(0, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_key_is_xxh3_on_every_node),
        cmocka_unit_test(hash_checksum_is_the_low_half_of_xxh3),
        cmocka_unit_test(hash_seeded_differs_by_its_seed),
        cmocka_unit_test(hash_mix_tells_the_order_of_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
