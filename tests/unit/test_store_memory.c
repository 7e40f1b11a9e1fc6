/* The store out of memory: at every allocation of a merge, the failure changes nothing, and the
 * same merge works once there is memory again. */
#include "failing_heap.h"
#include "records.h"
#include "unit.h"

#include <errno.h>

#define KEYS_MAX    600u
#define ORIGINS_MAX 600u
#define PARTITION   77u

/* One case: what is in the store, and what is merged then. */
struct scenario {
    uint32_t keys; /* of PARTITION, keys[0] … */
    uint32_t origins; /* 1 … origins are known to the store */
    const char *value; /* of those keys */
    struct record rec; /* merged with failures */
};

static char keys[KEYS_MAX][16];

static struct record make(uint32_t key, const char *value, uint64_t stamp, uint64_t origin)
{
    return (struct record){
        .key = bytes_text(keys[key]), .value = bytes_text(value), .stamp = stamp, .origin = origin};
}

static struct store *prepare(struct failing_heap *heap, const struct scenario *c)
{
    struct store *s = store_new(&heap->heap, 1);
    for (uint32_t i = 0; i < c->keys; i++) {
        struct record rec = make(i, c->value, 10 + i, 1 + i % c->origins);
        assert_int_equal(store_merge(s, &rec, false), STORE_MERGED);
    }
    for (uint32_t o = 1; o <= c->origins; o++) {
        struct record rec = {.key = bytes_text("elsewhere"), .stamp = o, .origin = o};
        assert_int_equal(store_merge(s, &rec, false), STORE_MERGED);
    }
    return s;
}

struct facts {
    uint64_t digest, live, tombstones, memory, stamp_max, tombstone_min;
};

static struct facts facts_of(struct store *s)
{
    return (struct facts){.digest = store_digest(s),
                          .live = store_live_count(s),
                          .tombstones = store_tombstone_count(s),
                          .memory = store_memory_bytes(s),
                          .stamp_max = store_partition_stamp_max(s, PARTITION),
                          .tombstone_min = store_partition_tombstone_min(s, PARTITION)};
}

static void assert_unchanged(struct store *s, struct store *copy, const struct facts *before)
{
    struct facts after = facts_of(s);
    assert_memory_equal(&after, before, sizeof after);
    assert_true(records_same_store(s, copy));
}

/* Fails the n-th allocation of the merge. Returns whether there was one. */
static bool try_failing(const struct scenario *c, uint64_t n)
{
    struct failing_heap heap, copy_heap;
    failing_heap_init(&heap);
    failing_heap_init(&copy_heap);
    struct store *s = prepare(&heap, c), *copy = store_new(&copy_heap.heap, 2);
    records_copy_store(copy, s);
    struct facts before = facts_of(s);
    struct record found;

    failing_heap_arm(&heap, n);
    int outcome = store_merge(s, &c->rec, false);
    bool failed = failing_heap_disarm(&heap);
    if (failed) {
        assert_int_equal(outcome, -ENOMEM);
        assert_unchanged(s, copy, &before);
        outcome = store_merge(s, &c->rec, false);
    }
    assert_int_equal(outcome, STORE_MERGED);
    assert_true(store_find(s, c->rec.key, &found));
    assert_true(records_equal(&found, &c->rec));
    store_free(s);
    store_free(copy);
    assert_int_equal(heap.live, 0);
    return failed;
}

static void check_every_failure(const struct scenario *c, uint64_t allocations_min)
{
    uint64_t n = 1;
    while (try_failing(c, n))
        n++;
    assert_true(n - 1 >= allocations_min);
}

/* How many keys (or, when `origins` is set, origins) there are before one more makes a table grow:
 * that merge allocates more than the ones before it. */
static uint32_t before_growth(bool origins, uint32_t from)
{
    struct failing_heap heap;
    failing_heap_init(&heap);
    struct store *s = store_new(&heap.heap, 1);
    uint64_t usual = 0;
    uint32_t i = 0;
    for (; i < KEYS_MAX; i++) {
        struct record rec = make(origins ? 0 : i, "", 10 + i, origins ? 1 + i : 1);
        uint64_t calls = heap.calls;
        store_merge(s, &rec, false);
        calls = heap.calls - calls;
        if (i >= from && calls > usual)
            break;
        if (i == from - 1)
            usual = calls;
    }
    store_free(s);
    assert_true(i < KEYS_MAX);
    return i;
}

static void store_merge_fails_cleanly_on_the_first_record_of_all(void **state)
{
    (void)state;
    const struct scenario c = {.value = "", .rec = make(0, "value", 50, 9)};
    check_every_failure(&c, 5);
}

static void store_merge_fails_cleanly_on_the_first_record_of_a_partition(void **state)
{
    (void)state;
    const struct scenario c = {.origins = 1, .value = "", .rec = make(0, "value", 50, 1)};
    check_every_failure(&c, 3);
}

static void store_merge_fails_cleanly_on_a_new_key(void **state)
{
    (void)state;
    const struct scenario c = {
        .keys = 3, .origins = 1, .value = "v", .rec = make(3, "value", 50, 1)};
    check_every_failure(&c, 1);
}

static void store_merge_needs_no_memory_to_replace_in_place(void **state)
{
    (void)state;
    const struct scenario c = {.keys = 3, .origins = 1, .value = "v", .rec = make(1, "w", 50, 1)};
    assert_false(try_failing(&c, 1));
}

static void store_merge_fails_cleanly_when_replacing_in_place_for_a_new_origin(void **state)
{
    (void)state;
    const struct scenario c = {.keys = 3, .origins = 1, .value = "v", .rec = make(1, "w", 50, 2)};
    check_every_failure(&c, 1);
}

static void store_merge_fails_cleanly_when_a_value_has_to_move(void **state)
{
    (void)state;
    const struct scenario c = {.keys = 3,
                               .origins = 1,
                               .value = "v",
                               .rec = make(1, "a value that takes more room", 50, 1)};
    check_every_failure(&c, 1);
}

static void store_merge_fails_cleanly_when_a_delete_has_to_move(void **state)
{
    (void)state;
    struct scenario c = {.keys = 3,
                         .origins = 1,
                         .value = "a value that takes more room than a tombstone",
                         .rec = make(1, "", 50, 1)};
    c.rec.tombstone = true;
    check_every_failure(&c, 1);
}

static void store_merge_fails_cleanly_when_the_table_has_to_grow(void **state)
{
    (void)state;
    uint32_t full = before_growth(false, 2);
    const struct scenario c = {
        .keys = full, .origins = 1, .value = "", .rec = make(full, "v", 5000, 1)};
    check_every_failure(&c, 2);
}

/* Though the moved entry goes in before the old one leaves. A full table must not keep a delete out. */
static void store_merge_lets_no_table_grow_for_what_moves(void **state)
{
    (void)state;
    uint32_t full = before_growth(false, 2);
    for (uint32_t i = 0; i < full; i++) {
        const struct scenario c = {
            .keys = full, .origins = 1, .value = "", .rec = make(i, "longer than before", 5000, 1)};
        check_every_failure(&c, 1);
        assert_false(try_failing(&c, 2));
    }
}

static void store_merge_fails_cleanly_when_the_origins_have_to_grow(void **state)
{
    (void)state;
    uint32_t first = before_growth(true, 2), second = before_growth(true, first + 2);
    const uint32_t counts[] = {first, second};
    for (size_t i = 0; i < 2; i++) {
        const struct scenario c = {
            .keys = 1, .origins = counts[i], .value = "", .rec = make(0, "v", 5000, counts[i] + 1)};
        check_every_failure(&c, 2);
    }
}

static void store_expire_meets_a_record_again_that_it_had_no_memory_for(void **state)
{
    (void)state;
    struct failing_heap heap;
    failing_heap_init(&heap);
    struct store *s = store_new(&heap.heap, 1);
    struct record rec = make(0, "v", 1, 1), found;
    rec.expires_ms = 1000;
    store_merge(s, &rec, false);
    failing_heap_arm(&heap, 1);
    store_expire(s, 1000, 10);
    assert_true(failing_heap_disarm(&heap));
    assert_true(store_find(s, rec.key, &found));
    assert_true(records_equal(&rec, &found));
    assert_false(store_get(s, rec.key, 1000, &found));
    store_expire(s, 1000, 10);
    assert_int_equal(store_live_count(s), 0);
    assert_int_equal(store_tombstone_count(s), 1);
    store_free(s);
    assert_int_equal(heap.live, 0);
}

static void store_new_returns_null_without_memory(void **state)
{
    (void)state;
    struct failing_heap heap;
    failing_heap_init(&heap);
    failing_heap_arm(&heap, 1);
    assert_null(store_new(&heap.heap, 1));
    assert_int_equal(heap.live, 0);
}

static int make_keys(void **state)
{
    (void)state;
    records_keys_of_partition(PARTITION, keys, KEYS_MAX);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_merge_fails_cleanly_on_the_first_record_of_all),
        cmocka_unit_test(store_merge_fails_cleanly_on_the_first_record_of_a_partition),
        cmocka_unit_test(store_merge_fails_cleanly_on_a_new_key),
        cmocka_unit_test(store_merge_needs_no_memory_to_replace_in_place),
        cmocka_unit_test(store_merge_fails_cleanly_when_replacing_in_place_for_a_new_origin),
        cmocka_unit_test(store_merge_fails_cleanly_when_a_value_has_to_move),
        cmocka_unit_test(store_merge_fails_cleanly_when_a_delete_has_to_move),
        cmocka_unit_test(store_merge_fails_cleanly_when_the_table_has_to_grow),
        cmocka_unit_test(store_merge_lets_no_table_grow_for_what_moves),
        cmocka_unit_test(store_merge_fails_cleanly_when_the_origins_have_to_grow),
        cmocka_unit_test(store_expire_meets_a_record_again_that_it_had_no_memory_for),
        cmocka_unit_test(store_new_returns_null_without_memory),
    };
    return cmocka_run_group_tests(tests, make_keys, NULL);
}
