/* Records: their total order, their bytes, and what is not taken for a record. */
#include "failing_heap.h"
#include "records.h"
#include "unit.h"

#include "kv/hash.h"
#include "kv/stamp.h"

#include <errno.h>

static const struct records_space CLOSE = {.keys = 2, .stamps = 3, .origins = 2, .value_bytes = 3};
static const struct records_space WIDE = {
    .keys = RECORDS_KEYS_MAX, .stamps = 1000, .origins = 1000, .value_bytes = 200};

/* The record's bytes in memory of exactly their size. To be freed. */
static uint8_t *encode(const struct record *rec, size_t *size)
{
    *size = record_bytes(rec);
    uint8_t *bytes = malloc(*size);
    assert_non_null(bytes);
    record_encode(rec, bytes);
    return bytes;
}

/* Another value at `at`, with a checksum that fits it. */
static int64_t decode_patched(const uint8_t *bytes, size_t size, size_t at, const void *patch,
                              size_t patch_bytes)
{
    struct record rec;
    uint8_t *copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    memcpy(copy + at, patch, patch_bytes);
    put_u32(copy, hash_checksum(bytes_of(copy + 4, size - 4)));
    int64_t result = record_decode(&rec, bytes_of(copy, size));
    free(copy);
    return result;
}

static const struct record PLAIN = {.key = {(const uint8_t *)"key", 3},
                                    .value = {(const uint8_t *)"value", 5},
                                    .stamp = 7,
                                    .origin = 9};

static void record_encode_writes_the_bytes_as_drawn(void **state)
{
    (void)state;
    struct record rec = {.key = bytes_text("ab"),
                         .value = bytes_text("xyz"),
                         .stamp = 0x0102030405060708,
                         .origin = 0x1112131415161718,
                         .expires_ms = 0x2122232425262728};
    static const uint8_t EXPECTED[] = {3,    0,    0,    0,    2,    0,    2,    0,    8,    7,
                                       6,    5,    4,    3,    2,    1,    0x18, 0x17, 0x16, 0x15,
                                       0x14, 0x13, 0x12, 0x11, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23,
                                       0x22, 0x21, 'a',  'b',  'x',  'y',  'z'};
    size_t size;
    uint8_t *bytes = encode(&rec, &size);
    assert_int_equal(size, 4 + sizeof EXPECTED);
    assert_memory_equal(bytes + 4, EXPECTED, sizeof EXPECTED);
    assert_int_equal(get_u32(bytes), hash_checksum(bytes_of(EXPECTED, sizeof EXPECTED)));
    assert_int_equal(record_size_at(bytes), size);
    assert_true(record_stamp_at(bytes) == rec.stamp);
    free(bytes);
}

static void record_decode_reads_what_record_encode_wrote(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, unit_seed(__func__));
    for (uint64_t round = unit_rounds(2000); round > 0; round--) {
        struct record rec = records_random(&random, &WIDE), back;
        size_t size;
        uint8_t *bytes = encode(&rec, &size);
        assert_int_equal(record_decode(&back, bytes_of(bytes, size)), size);
        assert_true(records_equal(&rec, &back));
        assert_int_equal(record_size_at(bytes), size);
        free(bytes);
    }
}

static void record_decode_takes_the_largest_key_and_an_empty_value(void **state)
{
    (void)state;
    struct record rec = PLAIN, back;
    size_t size;
    uint8_t *key = calloc(1, RECORD_KEY_BYTES_MAX);
    rec.key = bytes_of(key, RECORD_KEY_BYTES_MAX);
    rec.value = bytes_of(NULL, 0);
    uint8_t *bytes = encode(&rec, &size);
    assert_int_equal(record_decode(&back, bytes_of(bytes, size)), size);
    assert_true(records_equal(&rec, &back));
    free(bytes);
    free(key);
}

static void record_decode_asks_for_more_at_every_prefix(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, unit_seed(__func__));
    for (int round = 0; round < 20; round++) {
        struct record rec = records_random(&random, &WIDE), back;
        size_t size;
        uint8_t *bytes = encode(&rec, &size);
        for (size_t end = 0; end < size; end++) {
            uint8_t *prefix = malloc(end + 1);
            memcpy(prefix, bytes, end);
            assert_int_equal(record_decode(&back, bytes_of(prefix, end)), 0);
            free(prefix);
        }
        free(bytes);
    }
}

static void record_decode_leaves_what_follows(void **state)
{
    (void)state;
    struct record back;
    uint8_t bytes[200];
    memset(bytes, 0xee, sizeof bytes);
    record_encode(&PLAIN, bytes);
    assert_int_equal(record_decode(&back, bytes_of(bytes, sizeof bytes)), record_bytes(&PLAIN));
    assert_true(records_equal(&PLAIN, &back));
}

static void check_flips(const struct record *rec)
{
    struct record back;
    size_t size = record_bytes(rec), total = size + 70000;
    uint8_t *bytes = calloc(1, total);
    assert_non_null(bytes);
    record_encode(rec, bytes);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        /* Alone: damaged, or longer than what there is. Followed by much: damaged, unless it claims
         * to be longer still. */
        assert_true(record_decode(&back, bytes_of(bytes, size)) <= 0);
        assert_true(record_decode(&back, bytes_of(bytes, total)) <= 0);
        bool in_a_size = bit / 8 >= 4 && bit / 8 < 11;
        if (!in_a_size)
            assert_int_equal(record_decode(&back, bytes_of(bytes, size)), -EBADMSG);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(record_decode(&back, bytes_of(bytes, size)) > 0);
    free(bytes);
}

static void record_with_any_bit_flipped_is_never_accepted(void **state)
{
    (void)state;
    struct record expiring = PLAIN, tombstone = PLAIN;
    expiring.expires_ms = 1;
    tombstone.tombstone = true;
    tombstone.value.size = 0;
    check_flips(&PLAIN);
    check_flips(&expiring);
    check_flips(&tombstone);
    struct random random;
    random_init(&random, unit_seed(__func__));
    for (uint64_t round = unit_rounds(100); round > 0; round--) {
        struct record rec = records_random(&random, &WIDE);
        check_flips(&rec);
    }
}

static void record_decode_refuses_what_no_record_can_be(void **state)
{
    (void)state;
    size_t size;
    uint8_t *bytes = encode(&PLAIN, &size);
    static const uint64_t ZERO = 0, FAR = STAMP_MAX + 1;
    static const uint8_t BOTH = 3, UNKNOWN = 4, DEAD = RECORD_TOMBSTONE, ONE = 1;
    static const uint32_t TOO_LARGE = RECORD_VALUE_BYTES_MAX + 1;
    assert_int_equal(decode_patched(bytes, size, 8, &ZERO, 2), -EBADMSG); /* no key */
    assert_int_equal(decode_patched(bytes, size, 4, &TOO_LARGE, 4), -EBADMSG);
    assert_int_equal(decode_patched(bytes, size, 10, &BOTH, 1), -EBADMSG);
    assert_int_equal(decode_patched(bytes, size, 10, &UNKNOWN, 1), -EBADMSG);
    assert_int_equal(decode_patched(bytes, size, 10, &DEAD, 1), -EBADMSG); /* with a value */
    assert_int_equal(decode_patched(bytes, size, 11, &ONE, 1), -EBADMSG);
    assert_int_equal(decode_patched(bytes, size, 12, &ZERO, 8), -EBADMSG); /* no stamp */
    assert_int_equal(decode_patched(bytes, size, 12, &FAR, 8), -EBADMSG);
    assert_int_equal(decode_patched(bytes, size, 20, &ZERO, 8), -EBADMSG); /* no origin */
    free(bytes);
    struct record expiring = PLAIN;
    expiring.expires_ms = 5;
    bytes = encode(&expiring, &size);
    assert_int_equal(decode_patched(bytes, size, 28, &ZERO, 8), -EBADMSG);
    free(bytes);
}

/* --- the order ----------------------------------------------------------------------------- */

static void record_compare_goes_by_stamp_origin_kind_expiry_and_value(void **state)
{
    (void)state;
    const struct record ascending[] = {
        {.value = bytes_text("zz"), .stamp = 1, .origin = 9, .expires_ms = 9},
        {.value = bytes_text("z"), .stamp = 2, .origin = 1, .expires_ms = 9},
        {.value = bytes_text("a"), .stamp = 2, .origin = 2},
        {.value = bytes_text("ab"), .stamp = 2, .origin = 2},
        {.value = bytes_text("b"), .stamp = 2, .origin = 2},
        {.value = bytes_text("a"), .stamp = 2, .origin = 2, .expires_ms = 5},
        {.value = bytes_text(""), .stamp = 2, .origin = 2, .expires_ms = 6},
        {.stamp = 2, .origin = 2, .tombstone = true},
        {.value = bytes_text(""), .stamp = 3, .origin = 1}};
    for (size_t i = 0; i < 9; i++) {
        for (size_t k = 0; k < 9; k++) {
            int order = record_compare(&ascending[i], &ascending[k]);
            assert_true(i < k ? order < 0 : i > k ? order > 0 : order == 0);
        }
    }
}

static void record_compare_is_a_total_order(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, unit_seed(__func__));
    for (uint64_t round = unit_rounds(20000); round > 0; round--) {
        struct record a = records_random(&random, &CLOSE), b = records_random(&random, &CLOSE),
                      c = records_random(&random, &CLOSE);
        int ab = record_compare(&a, &b), ba = record_compare(&b, &a);
        assert_true((ab < 0) == (ba > 0) && (ab == 0) == (ba == 0));
        if (ab <= 0 && record_compare(&b, &c) <= 0)
            assert_true(record_compare(&a, &c) <= 0);
        if (ab == 0)
            assert_true(bytes_equal(a.value, b.value) && a.tombstone == b.tombstone &&
                        a.expires_ms == b.expires_ms && a.stamp == b.stamp);
    }
}

static void record_expired_from_its_moment_on(void **state)
{
    (void)state;
    struct record rec = PLAIN;
    assert_false(record_expired(&rec, UINT64_MAX));
    rec.expires_ms = 1000;
    assert_false(record_expired(&rec, 999));
    assert_true(record_expired(&rec, 1000));
    assert_true(record_expired(&rec, 1001));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_encode_writes_the_bytes_as_drawn),
        cmocka_unit_test(record_decode_reads_what_record_encode_wrote),
        cmocka_unit_test(record_decode_takes_the_largest_key_and_an_empty_value),
        cmocka_unit_test(record_decode_asks_for_more_at_every_prefix),
        cmocka_unit_test(record_decode_leaves_what_follows),
        cmocka_unit_test(record_with_any_bit_flipped_is_never_accepted),
        cmocka_unit_test(record_decode_refuses_what_no_record_can_be),
        cmocka_unit_test(record_compare_goes_by_stamp_origin_kind_expiry_and_value),
        cmocka_unit_test(record_compare_is_a_total_order),
        cmocka_unit_test(record_expired_from_its_moment_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
