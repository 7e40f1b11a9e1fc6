/* Vectors: what they cover, how they grow, and their bytes. */
#include "failing_heap.h"
#include "unit.h"

#include "kv/random.h"
#include "kv/stamp.h"
#include "kv/vector.h"

#include <errno.h>

struct fixture {
    struct failing_heap heap;
    struct vector v, other;
    struct buffer out;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    failing_heap_init(&f->heap);
    vector_init(&f->v, &f->heap.heap);
    vector_init(&f->other, &f->heap.heap);
    buffer_init(&f->out, &f->heap.heap);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    vector_close(&f->v);
    vector_close(&f->other);
    buffer_close(&f->out);
    bool leaked = f->heap.live != 0;
    free(f);
    return leaked;
}

static bool is_sorted(const struct vector *v)
{
    for (uint32_t i = 1; i < v->count; i++) {
        if (v->entries[i - 1].origin >= v->entries[i].origin)
            return false;
    }
    return true;
}

static void vector_advance_raises_and_never_lowers(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(vector_get(&f->v, 5), 0);
    assert_int_equal(vector_advance(&f->v, 5, 10), 0);
    assert_int_equal(vector_get(&f->v, 5), 10);
    vector_advance(&f->v, 5, 7);
    assert_int_equal(vector_get(&f->v, 5), 10);
    vector_advance(&f->v, 5, 11);
    assert_int_equal(vector_get(&f->v, 5), 11);
    assert_int_equal(f->v.count, 1);
}

static void vector_advance_to_zero_adds_nothing(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(vector_advance(&f->v, 5, 0), 0);
    assert_int_equal(f->v.count, 0);
}

static void vector_covers_up_to_its_stamp(void **state)
{
    struct fixture *f = *state;
    vector_advance(&f->v, 5, 10);
    assert_true(vector_covers(&f->v, 5, 10));
    assert_false(vector_covers(&f->v, 5, 11));
    assert_false(vector_covers(&f->v, 6, 1));
    assert_true(vector_covers(&f->v, 6, 0));
}

static void vector_keeps_any_origins_sorted(void **state)
{
    struct fixture *f = *state;
    struct random random;
    uint64_t stamps[64] = {0};
    random_init(&random, unit_seed(__func__));
    for (uint64_t round = unit_rounds(3000); round > 0; round--) {
        uint64_t origin = random_below(&random, 64), stamp = 1 + random_below(&random, 1000);
        assert_int_equal(vector_advance(&f->v, origin + 1, stamp), 0);
        stamps[origin] = stamp > stamps[origin] ? stamp : stamps[origin];
        assert_true(is_sorted(&f->v));
        for (uint64_t i = 0; i < 64; i++)
            assert_int_equal(vector_get(&f->v, i + 1), stamps[i]);
    }
}

static void vector_merge_takes_the_greater_of_each(void **state)
{
    struct fixture *f = *state;
    vector_advance(&f->v, 1, 10);
    vector_advance(&f->v, 2, 20);
    vector_advance(&f->other, 2, 5);
    vector_advance(&f->other, 1, 30);
    vector_advance(&f->other, 3, 1);
    assert_int_equal(vector_merge(&f->v, &f->other), 0);
    assert_int_equal(vector_get(&f->v, 1), 30);
    assert_int_equal(vector_get(&f->v, 2), 20);
    assert_int_equal(vector_get(&f->v, 3), 1);
    assert_true(vector_covers_vector(&f->v, &f->other));
    assert_false(vector_covers_vector(&f->other, &f->v));
}

static void vector_covers_vector_wants_every_origin(void **state)
{
    struct fixture *f = *state;
    assert_true(vector_covers_vector(&f->v, &f->other));
    vector_advance(&f->v, 1, 10);
    assert_true(vector_covers_vector(&f->v, &f->other));
    assert_false(vector_covers_vector(&f->other, &f->v));
    vector_advance(&f->other, 1, 10);
    assert_true(vector_covers_vector(&f->other, &f->v));
    vector_advance(&f->v, 2, 1);
    assert_false(vector_covers_vector(&f->other, &f->v));
}

static void vector_copy_forgets_what_was_there(void **state)
{
    struct fixture *f = *state;
    vector_advance(&f->v, 1, 10);
    vector_advance(&f->other, 2, 20);
    assert_int_equal(vector_copy(&f->v, &f->other), 0);
    assert_int_equal(vector_get(&f->v, 1), 0);
    assert_int_equal(vector_get(&f->v, 2), 20);
    vector_close(&f->other);
    assert_int_equal(vector_copy(&f->v, &f->other), 0);
    assert_int_equal(f->v.count, 0);
}

static void vector_reserve_merge_makes_room_for_every_origin(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 20; i++) {
        vector_advance(&f->v, i, i);
        vector_advance(&f->other, i + 13, i + 13);
    }
    assert_int_equal(vector_reserve_merge(&f->v, &f->other), 0);
    assert_int_equal(f->v.count, 20);
    uint64_t calls = f->heap.calls;
    assert_int_equal(vector_merge(&f->v, &f->other), 0);
    assert_int_equal(f->heap.calls, calls);
    assert_int_equal(f->v.count, 33);
}

static void vector_stays_as_it_is_without_memory(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 9; i++)
        vector_advance(&f->other, i, i);
    for (uint64_t i = 1; i <= 8; i++)
        vector_advance(&f->v, 10 * i, i);
    failing_heap_arm(&f->heap, 1);
    assert_int_equal(vector_advance(&f->v, 5, 5), -ENOMEM);
    failing_heap_arm(&f->heap, 1);
    assert_int_equal(vector_copy(&f->v, &f->other), -ENOMEM);
    failing_heap_arm(&f->heap, 1);
    vector_encode(&f->other, &f->out);
    assert_true(buffer_failed(&f->out));
    buffer_close(&f->out);
    vector_encode(&f->other, &f->out);
    failing_heap_arm(&f->heap, 1);
    assert_int_equal(vector_decode(&f->v, buffer_bytes(&f->out)), -ENOMEM);
    assert_int_equal(f->v.count, 8);
    for (uint64_t i = 1; i <= 8; i++)
        assert_int_equal(vector_get(&f->v, 10 * i), i);
    assert_int_equal(vector_decode(&f->v, buffer_bytes(&f->out)), 4 + 9 * 16);
}

/* Some entries come first, for which there is room: they stay as they were, too. */
static void vector_merge_without_memory_changes_nothing(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 30; i++)
        vector_advance(&f->other, i, 100);
    for (uint64_t i = 1; i <= 4; i++)
        vector_advance(&f->v, 2 * i, i);
    failing_heap_arm(&f->heap, 1);
    assert_int_equal(vector_merge(&f->v, &f->other), -ENOMEM);
    assert_int_equal(f->v.count, 4);
    for (uint64_t i = 1; i <= 4; i++)
        assert_int_equal(vector_get(&f->v, 2 * i), i);
}

static void vector_takes_no_more_than_the_most_origins(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= VECTOR_ORIGINS_MAX; i++)
        assert_int_equal(vector_advance(&f->v, i, 1), 0);
    assert_int_equal(vector_advance(&f->v, VECTOR_ORIGINS_MAX + 1, 1), -E2BIG);
    assert_int_equal(vector_advance(&f->v, 7, 2), 0);
    assert_int_equal(f->v.count, VECTOR_ORIGINS_MAX);
    vector_encode(&f->v, &f->out);
    assert_true(vector_decode(&f->other, buffer_bytes(&f->out)) > 0);
    assert_true(vector_covers_vector(&f->other, &f->v));
}

/* --- bytes --------------------------------------------------------------------------------- */

static void vector_encode_writes_the_bytes_as_drawn(void **state)
{
    struct fixture *f = *state;
    vector_advance(&f->v, 0x0a0b, 2);
    vector_advance(&f->v, 1, 0x0102030405060708);
    vector_encode(&f->v, &f->out);
    static const uint8_t EXPECTED[] = {2, 0, 0,    0,    1, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3,
                                       2, 1, 0x0b, 0x0a, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0};
    assert_bytes_equal(buffer_bytes(&f->out), bytes_of(EXPECTED, sizeof EXPECTED));
}

static void vector_decode_refuses_every_prefix(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 5; i++)
        vector_advance(&f->v, i, i);
    vector_encode(&f->v, &f->out);
    struct bytes whole = buffer_bytes(&f->out);
    vector_advance(&f->other, 99, 99);
    for (size_t size = 0; size < whole.size; size++) {
        uint8_t *prefix = malloc(size + 1);
        memcpy(prefix, whole.data, size);
        assert_int_equal(vector_decode(&f->other, bytes_of(prefix, size)), -EBADMSG);
        assert_int_equal(vector_get(&f->other, 99), 99);
        free(prefix);
    }
    assert_int_equal(vector_decode(&f->other, whole), whole.size);
    assert_int_equal(vector_get(&f->other, 99), 0);
}

static void vector_decode_refuses_what_no_vector_can_be(void **state)
{
    struct fixture *f = *state;
    static const struct vector_entry BAD[][2] = {
        {{2, 5}, {1, 5}}, /* not sorted */
        {{1, 5}, {1, 6}}, /* twice the same */
        {{0, 5}, {1, 5}}, /* no origin */
        {{1, 5}, {2, 0}}, /* no stamp */
        {{1, 5}, {2, STAMP_MAX + 1}},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        uint8_t bytes[36];
        put_u32(bytes, 2);
        memcpy(bytes + 4, BAD[i], 32);
        assert_int_equal(vector_decode(&f->v, bytes_of(bytes, sizeof bytes)), -EBADMSG);
    }
    uint8_t *many = calloc(VECTOR_ORIGINS_MAX + 2, 16);
    put_u32(many, VECTOR_ORIGINS_MAX + 1);
    for (uint64_t i = 0; i <= VECTOR_ORIGINS_MAX; i++) {
        put_u64(many + 4 + 16 * i, i + 1);
        put_u64(many + 12 + 16 * i, 1);
    }
    assert_int_equal(vector_decode(&f->v, bytes_of(many, 16 * (VECTOR_ORIGINS_MAX + 2))), -EBADMSG);
    put_u32(many, UINT32_MAX);
    assert_int_equal(vector_decode(&f->v, bytes_of(many, 16 * (VECTOR_ORIGINS_MAX + 2))), -EBADMSG);
    free(many);
}

static void vector_decode_leaves_what_follows(void **state)
{
    struct fixture *f = *state;
    vector_advance(&f->v, 1, 1);
    vector_encode(&f->v, &f->out);
    buffer_append_text(&f->out, "more");
    assert_int_equal(vector_decode(&f->other, buffer_bytes(&f->out)), 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(vector_advance_raises_and_never_lowers),
        TEST(vector_advance_to_zero_adds_nothing),
        TEST(vector_covers_up_to_its_stamp),
        TEST(vector_keeps_any_origins_sorted),
        TEST(vector_merge_takes_the_greater_of_each),
        TEST(vector_covers_vector_wants_every_origin),
        TEST(vector_copy_forgets_what_was_there),
        TEST(vector_reserve_merge_makes_room_for_every_origin),
        TEST(vector_stays_as_it_is_without_memory),
        TEST(vector_merge_without_memory_changes_nothing),
        TEST(vector_takes_no_more_than_the_most_origins),
        TEST(vector_encode_writes_the_bytes_as_drawn),
        TEST(vector_decode_refuses_every_prefix),
        TEST(vector_decode_refuses_what_no_vector_can_be),
        TEST(vector_decode_leaves_what_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
