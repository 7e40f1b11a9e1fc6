/* The store: what a merge keeps, what reads show, what counts, digests and memory tell. */
#include "failing_heap.h"
#include "records.h"
#include "unit.h"

#include <errno.h>

struct fixture {
    struct failing_heap heap;
    struct store *store;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    failing_heap_init(&f->heap);
    f->store = store_new(&f->heap.heap, 42);
    *state = f;
    return f->store == NULL;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    store_free(f->store);
    bool leaked = f->heap.live != 0;
    free(f);
    return leaked;
}

static struct record live(const char *key, const char *value, uint64_t stamp)
{
    return (struct record){
        .key = bytes_text(key), .value = bytes_text(value), .stamp = stamp, .origin = 7};
}

static struct record tombstone(const char *key, uint64_t stamp)
{
    return (struct record){.key = bytes_text(key), .stamp = stamp, .origin = 7, .tombstone = true};
}

static int merge(struct fixture *f, struct record rec)
{
    return store_merge(f->store, &rec, false);
}

static void assert_value(struct fixture *f, const char *key, const char *value)
{
    struct record rec;
    assert_true(store_get(f->store, bytes_text(key), 0, &rec));
    assert_bytes_are(rec.value, value);
}

/* --- what wins ----------------------------------------------------------------------------- */

static void store_merge_keeps_a_first_record(void **state)
{
    struct fixture *f = *state;
    struct record rec;
    assert_int_equal(merge(f, live("k", "v", 5)), STORE_MERGED);
    assert_true(store_get(f->store, bytes_text("k"), 0, &rec));
    assert_bytes_are(rec.key, "k");
    assert_bytes_are(rec.value, "v");
    assert_true(rec.stamp == 5 && rec.origin == 7 && rec.expires_ms == 0 && !rec.tombstone);
}

static void store_merge_takes_a_newer_stamp(void **state)
{
    struct fixture *f = *state;
    merge(f, live("k", "old", 5));
    assert_int_equal(merge(f, live("k", "a longer value that does not fit", 6)), STORE_MERGED);
    assert_value(f, "k", "a longer value that does not fit");
    assert_int_equal(store_live_count(f->store), 1);
}

static void store_merge_ignores_an_older_stamp(void **state)
{
    struct fixture *f = *state;
    merge(f, live("k", "new", 5));
    assert_int_equal(merge(f, live("k", "old", 4)), STORE_STALE);
    assert_value(f, "k", "new");
}

static void store_merge_finds_the_same_record_stale(void **state)
{
    struct fixture *f = *state;
    merge(f, live("k", "v", 5));
    assert_int_equal(merge(f, live("k", "v", 5)), STORE_STALE);
}

static void store_merge_takes_the_greater_origin_of_equal_stamps(void **state)
{
    struct fixture *f = *state;
    struct record other = live("k", "other", 5);
    other.origin = 8;
    merge(f, live("k", "v", 5));
    assert_int_equal(merge(f, other), STORE_MERGED);
    assert_int_equal(merge(f, live("k", "zzz", 5)), STORE_STALE);
    assert_value(f, "k", "other");
}

static void store_merge_takes_a_tombstone_of_equal_stamp_and_origin(void **state)
{
    struct fixture *f = *state;
    struct record rec;
    merge(f, live("k", "v", 5));
    assert_int_equal(merge(f, tombstone("k", 5)), STORE_MERGED);
    assert_int_equal(merge(f, live("k", "v", 5)), STORE_STALE);
    assert_false(store_get(f->store, bytes_text("k"), 0, &rec));
    assert_true(store_find(f->store, bytes_text("k"), &rec));
    assert_true(rec.tombstone);
    assert_int_equal(rec.value.size, 0);
}

static void store_merge_takes_the_later_expiry_then_the_greater_value(void **state)
{
    struct fixture *f = *state;
    struct record later = live("k", "a", 5);
    later.expires_ms = 1000;
    merge(f, live("k", "zz", 5));
    assert_int_equal(merge(f, later), STORE_MERGED);
    later.value = bytes_text("b");
    assert_int_equal(merge(f, later), STORE_MERGED);
    later.value = bytes_text("aaaa");
    assert_int_equal(merge(f, later), STORE_STALE);
    assert_value(f, "k", "b");
}

static void store_merge_lets_an_expired_arrival_beat_an_older_live_value(void **state)
{
    struct fixture *f = *state;
    struct record expired = live("k", "gone", 6), rec;
    expired.expires_ms = 1000;
    merge(f, live("k", "v", 5));
    assert_int_equal(merge(f, expired), STORE_MERGED);
    assert_true(store_get(f->store, bytes_text("k"), 999, &rec));
    assert_false(store_get(f->store, bytes_text("k"), 1000, &rec));
    assert_true(store_find(f->store, bytes_text("k"), &rec));
}

/* --- the zombie rule ----------------------------------------------------------------------- */

static void store_merge_discards_a_covered_record_whose_key_is_absent(void **state)
{
    struct fixture *f = *state;
    struct record rec = live("k", "v", 5);
    assert_int_equal(store_merge(f->store, &rec, true), STORE_STALE);
    assert_false(store_find(f->store, bytes_text("k"), &rec));
    assert_int_equal(store_partition_stamp_max(f->store, store_partition(bytes_text("k"))), 0);
}

/* A write that was older, and that nobody had seen, came in after both. */
static void store_merge_discards_a_covered_record_that_beats_a_live_one(void **state)
{
    struct fixture *f = *state;
    struct record rec = live("k", "new", 5);
    merge(f, live("k", "old", 4));
    assert_int_equal(store_merge(f->store, &rec, true), STORE_STALE);
    assert_value(f, "k", "old");
    assert_int_equal(store_merge(f->store, &rec, false), STORE_MERGED);
}

/* A comparison made the tombstone: by what it was beaten, is not known here. */
static void store_merge_discards_a_covered_record_that_beats_a_tombstone(void **state)
{
    struct fixture *f = *state;
    struct record rec = live("k", "new", 5);
    merge(f, tombstone("k", 4));
    assert_int_equal(store_merge(f->store, &rec, true), STORE_STALE);
    assert_true(store_find(f->store, bytes_text("k"), &rec) && rec.tombstone);
}

static void store_merge_takes_a_covered_tombstone_that_beats_what_is_there(void **state)
{
    struct fixture *f = *state;
    struct record rec = tombstone("k", 5);
    merge(f, live("k", "old", 4));
    assert_int_equal(store_merge(f->store, &rec, true), STORE_MERGED);
    assert_true(store_find(f->store, bytes_text("k"), &rec) && rec.tombstone);
}

static void store_drop_tombstone_takes_only_that_very_tombstone(void **state)
{
    struct fixture *f = *state;
    struct record rec, wrong = tombstone("k", 5);
    merge(f, tombstone("k", 6));
    store_drop_tombstone(f->store, &wrong);
    wrong = tombstone("k", 6);
    wrong.origin = 8;
    store_drop_tombstone(f->store, &wrong);
    wrong = tombstone("absent", 6);
    store_drop_tombstone(f->store, &wrong);
    assert_int_equal(store_tombstone_count(f->store), 1);
    store_find(f->store, bytes_text("k"), &rec);
    store_drop_tombstone(f->store, &rec);
    assert_int_equal(store_tombstone_count(f->store), 0);
    assert_false(store_find(f->store, bytes_text("k"), &rec));
}

static void store_drop_tombstone_leaves_a_live_record(void **state)
{
    struct fixture *f = *state;
    struct record rec = tombstone("k", 5);
    merge(f, live("k", "v", 5));
    store_drop_tombstone(f->store, &rec);
    assert_value(f, "k", "v");
}

/* --- bytes --------------------------------------------------------------------------------- */

static void store_merge_keeps_any_bytes_and_sizes(void **state)
{
    struct fixture *f = *state;
    struct record rec, big = live("", "", 1);
    uint8_t *key = malloc(RECORD_KEY_BYTES_MAX);
    for (size_t i = 0; i < RECORD_KEY_BYTES_MAX; i++)
        key[i] = (uint8_t)(i * 7);
    big.key = bytes_of(key, RECORD_KEY_BYTES_MAX);
    assert_int_equal(merge(f, big), STORE_MERGED);
    assert_true(store_get(f->store, big.key, 0, &rec));
    assert_int_equal(rec.value.size, 0);
    big.value = bytes_of(key, 40000);
    big.stamp = 2;
    assert_int_equal(merge(f, big), STORE_MERGED);
    assert_true(store_get(f->store, big.key, 0, &rec));
    assert_bytes_equal(rec.value, big.value);
    assert_bytes_equal(rec.key, big.key);
    free(key);
}

static void store_merge_updates_in_place_where_it_fits(void **state)
{
    struct fixture *f = *state;
    merge(f, live("k", "12345678", 1));
    uint64_t memory = store_memory_bytes(f->store), calls = f->heap.calls;
    for (uint64_t stamp = 2; stamp < 10; stamp++)
        assert_int_equal(merge(f, live("k", "87654321", stamp)), STORE_MERGED);
    assert_int_equal(f->heap.calls, calls);
    assert_int_equal(store_memory_bytes(f->store), memory);
    assert_value(f, "k", "87654321");
}

static void store_merge_takes_the_stores_own_bytes(void **state)
{
    struct fixture *f = *state;
    struct record own;
    merge(f, live("k", "the value that stays", 1));
    for (uint64_t stamp = 2; stamp < 10; stamp++) {
        assert_true(store_find(f->store, bytes_text("k"), &own));
        own.stamp = stamp;
        own.expires_ms = stamp % 3 == 0 ? 0 : stamp * 1000;
        assert_int_equal(store_merge(f->store, &own, false), STORE_MERGED);
        assert_value(f, "k", "the value that stays");
    }
}

static void store_memory_bytes_counts_what_an_entry_takes(void **state)
{
    struct fixture *f = *state;
    char keys[2][16];
    records_keys_of_partition(9, keys, 2);
    merge(f, live(keys[0], "v", 1));
    uint64_t before = store_memory_bytes(f->store);
    merge(f, live(keys[1], "a value of 22 bytes ..", 1));
    assert_int_equal(store_memory_bytes(f->store) - before,
                     store_entry_bytes(strlen(keys[1]), 22, false));
}

static void store_memory_bytes_falls_when_records_go(void **state)
{
    struct fixture *f = *state;
    struct record rec = tombstone("first", 1);
    merge(f, rec);
    store_drop_tombstone(f->store, &rec);
    uint64_t before = store_memory_bytes(f->store);
    merge(f, live("k", "value", 1));
    assert_true(store_memory_bytes(f->store) > before);
    rec = tombstone("k", 2);
    merge(f, rec);
    store_drop_tombstone(f->store, &rec);
    assert_int_equal(store_memory_bytes(f->store), before);
}

/* --- counts and digests -------------------------------------------------------------------- */

static void store_counts_tell_live_records_from_tombstones(void **state)
{
    struct fixture *f = *state;
    merge(f, live("a", "v", 1));
    merge(f, live("b", "v", 1));
    merge(f, tombstone("b", 2));
    merge(f, tombstone("c", 2));
    merge(f, live("c", "v", 3));
    assert_int_equal(store_live_count(f->store), 2);
    assert_int_equal(store_tombstone_count(f->store), 1);
    assert_true(store_partition_tombstone_min(f->store, store_partition(bytes_text("b"))) <
                UINT64_MAX);
}

static void store_partition_tombstone_min_is_above_no_tombstone(void **state)
{
    struct fixture *f = *state;
    char keys[3][16];
    records_keys_of_partition(3, keys, 3);
    assert_true(store_partition_tombstone_min(f->store, 3) == UINT64_MAX);
    merge(f, live(keys[0], "v", 1));
    assert_true(store_partition_tombstone_min(f->store, 3) == UINT64_MAX);
    merge(f, tombstone(keys[1], 9));
    merge(f, tombstone(keys[2], 7));
    assert_int_equal(store_partition_tombstone_min(f->store, 3), 7);
    struct record rec = tombstone(keys[2], 7);
    store_drop_tombstone(f->store, &rec);
    store_partition_swept(f->store, 3, 9);
    assert_int_equal(store_partition_tombstone_min(f->store, 3), 9);
    merge(f, tombstone(keys[2], 8));
    assert_int_equal(store_partition_tombstone_min(f->store, 3), 8);
}

static void store_partition_stamp_max_never_falls(void **state)
{
    struct fixture *f = *state;
    uint32_t p = store_partition(bytes_text("k"));
    struct record rec = tombstone("k", 9);
    merge(f, live("k", "v", 5));
    assert_int_equal(store_partition_stamp_max(f->store, p), 5);
    merge(f, rec);
    store_drop_tombstone(f->store, &rec);
    assert_int_equal(store_partition_stamp_max(f->store, p), 9);
}

static void store_digest_forgets_what_was_deleted(void **state)
{
    struct fixture *f = *state;
    uint64_t empty = store_digest(f->store);
    merge(f, live("k", "v", 1));
    uint64_t one = store_digest(f->store);
    merge(f, live("other", "v", 2));
    merge(f, tombstone("other", 3));
    assert_true(store_digest(f->store) == one && one != empty);
    merge(f, tombstone("k", 4));
    assert_true(store_digest(f->store) == empty);
}

static void store_digest_differs_by_key_stamp_and_origin(void **state)
{
    struct fixture *f = *state;
    uint64_t digests[4];
    struct record records[4] = {live("k", "v", 1), live("l", "v", 1), live("k", "v", 2),
                                live("k", "v", 1)};
    records[3].origin = 8;
    for (size_t i = 0; i < 4; i++) {
        struct store *s = store_new(&f->heap.heap, i);
        store_merge(s, &records[i], false);
        digests[i] = store_digest(s);
        store_free(s);
        for (size_t k = 0; k < i; k++)
            assert_true(digests[i] != digests[k]);
    }
}

static void store_digests_of_partitions_and_groups_tell_where_a_difference_is(void **state)
{
    struct fixture *f = *state;
    uint64_t partitions[2], groups[2];
    char keys[2][16];
    const uint32_t p = 3 * STORE_GROUP_PARTITIONS + 5;
    records_keys_of_partition(p, keys, 2);
    struct store *empty = store_new(&f->heap.heap, 1);
    for (uint32_t i = 0; i < 2; i++) {
        merge(f, live(keys[i], "v", 1 + i));
        partitions[i] = store_partition_digest(f->store, p);
        groups[i] = store_group_digest(f->store, 3);
        for (uint32_t g = 0; g < STORE_GROUPS; g++)
            assert_int_equal(store_group_digest(f->store, g) == store_group_digest(empty, g),
                             g != 3);
        for (uint32_t q = 0; q < STORE_PARTITIONS; q++)
            assert_int_equal(
                store_partition_digest(f->store, q) == store_partition_digest(empty, q), q != p);
    }
    assert_true(partitions[0] != partitions[1] && groups[0] != groups[1]);
    merge(f, tombstone(keys[1], 9));
    assert_true(store_partition_digest(f->store, p) == partitions[0]);
    assert_true(store_group_digest(f->store, 3) == groups[0]);
    store_free(empty);
}

static void store_tombstone_bytes_counts_what_tombstones_take(void **state)
{
    struct fixture *f = *state;
    struct record rec = tombstone("bb", 3);
    merge(f, live("a", "v", 1));
    assert_int_equal(store_tombstone_bytes(f->store), 0);
    merge(f, tombstone("a", 2));
    merge(f, rec);
    assert_int_equal(store_tombstone_bytes(f->store),
                     store_entry_bytes(1, 0, false) + store_entry_bytes(2, 0, false));
    merge(f, live("a", "v", 4));
    assert_int_equal(store_tombstone_bytes(f->store), store_entry_bytes(2, 0, false));
    store_drop_tombstone(f->store, &rec);
    assert_int_equal(store_tombstone_bytes(f->store), 0);
}

/* --- expiry -------------------------------------------------------------------------------- */

static void store_expire_turns_what_is_over_into_tombstones(void **state)
{
    struct fixture *f = *state;
    struct record rec, soon = live("soon", "v", 1), late = live("late", "v", 2);
    soon.expires_ms = 1000;
    late.expires_ms = 2000;
    merge(f, soon);
    merge(f, late);
    merge(f, live("ever", "v", 3));
    store_expire(f->store, 999, 100);
    assert_int_equal(store_live_count(f->store), 3);
    store_expire(f->store, 1000, 100);
    assert_int_equal(store_live_count(f->store), 2);
    assert_true(store_find(f->store, bytes_text("soon"), &rec));
    assert_true(rec.tombstone && rec.stamp == 1 && rec.origin == 7 && rec.expires_ms == 0);
    store_expire(f->store, 5000, 100);
    assert_int_equal(store_live_count(f->store), 1);
    assert_int_equal(store_tombstone_count(f->store), 2);
}

static void store_expire_stops_at_its_budget_and_goes_on_from_there(void **state)
{
    struct fixture *f = *state;
    char key[8];
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "%d", i);
        struct record rec = live(key, "v", 1);
        rec.expires_ms = 10;
        merge(f, rec);
    }
    store_expire(f->store, 10, 50);
    uint64_t left = store_live_count(f->store);
    assert_in_range(left, 100, 175); /* a new tombstone may be looked at too */
    for (int i = 0; i < 8; i++)
        store_expire(f->store, 10, 50);
    assert_int_equal(store_live_count(f->store), 0);
}

static void store_expire_leaves_a_record_that_was_renewed(void **state)
{
    struct fixture *f = *state;
    struct record rec = live("k", "v", 1);
    rec.expires_ms = 1000;
    merge(f, rec);
    rec.stamp = 2;
    rec.expires_ms = 9000;
    merge(f, rec);
    store_expire(f->store, 1000, 100);
    assert_int_equal(store_live_count(f->store), 1);
    merge(f, live("k", "v", 3));
    store_expire(f->store, 9000, 100);
    assert_int_equal(store_live_count(f->store), 1);
}

static void store_partition_is_the_same_on_every_node(void **state)
{
    (void)state;
    assert_int_equal(store_partition(bytes_of(NULL, 0)), 0x2d06800538d394c2 >> 52);
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(store_partition(bytes_of(&i, sizeof i)) < STORE_PARTITIONS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* It is a hint: whatever the keys, nothing is different after it. */
static void store_prefetch_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct bytes keys[STORE_PREFETCH_MAX];
    char texts[STORE_PREFETCH_MAX][8];
    for (uint32_t i = 0; i < STORE_PREFETCH_MAX; i++) {
        snprintf(texts[i], sizeof texts[i], "k%u", i);
        keys[i] = bytes_text(texts[i]);
    }
    store_prefetch(f->store, keys, 0);
    store_prefetch(f->store, keys, STORE_PREFETCH_MAX); /* no partition has a table yet */
    for (uint32_t i = 0; i < STORE_PREFETCH_MAX; i += 2) {
        struct record rec = live(texts[i], "v", i + 1);
        assert_int_equal(store_merge(f->store, &rec, false), STORE_MERGED);
    }
    uint64_t digest = store_digest(f->store), memory = store_memory_bytes(f->store);
    store_prefetch(f->store, keys, STORE_PREFETCH_MAX);
    for (uint32_t p = 0; p < STORE_PARTITIONS; p++)
        store_prefetch_partition(f->store, p);
    assert_true(store_digest(f->store) == digest && store_memory_bytes(f->store) == memory);
    assert_int_equal(store_live_count(f->store), STORE_PREFETCH_MAX / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(store_merge_keeps_a_first_record),
        TEST(store_merge_takes_a_newer_stamp),
        TEST(store_merge_ignores_an_older_stamp),
        TEST(store_merge_finds_the_same_record_stale),
        TEST(store_merge_takes_the_greater_origin_of_equal_stamps),
        TEST(store_merge_takes_a_tombstone_of_equal_stamp_and_origin),
        TEST(store_merge_takes_the_later_expiry_then_the_greater_value),
        TEST(store_merge_lets_an_expired_arrival_beat_an_older_live_value),
        TEST(store_merge_discards_a_covered_record_whose_key_is_absent),
        TEST(store_merge_discards_a_covered_record_that_beats_a_live_one),
        TEST(store_merge_discards_a_covered_record_that_beats_a_tombstone),
        TEST(store_merge_takes_a_covered_tombstone_that_beats_what_is_there),
        TEST(store_drop_tombstone_takes_only_that_very_tombstone),
        TEST(store_drop_tombstone_leaves_a_live_record),
        TEST(store_merge_keeps_any_bytes_and_sizes),
        TEST(store_merge_updates_in_place_where_it_fits),
        TEST(store_merge_takes_the_stores_own_bytes),
        TEST(store_memory_bytes_counts_what_an_entry_takes),
        TEST(store_memory_bytes_falls_when_records_go),
        TEST(store_counts_tell_live_records_from_tombstones),
        TEST(store_partition_tombstone_min_is_above_no_tombstone),
        TEST(store_partition_stamp_max_never_falls),
        TEST(store_digest_forgets_what_was_deleted),
        TEST(store_digests_of_partitions_and_groups_tell_where_a_difference_is),
        TEST(store_tombstone_bytes_counts_what_tombstones_take),
        TEST(store_digest_differs_by_key_stamp_and_origin),
        TEST(store_expire_turns_what_is_over_into_tombstones),
        TEST(store_expire_stops_at_its_budget_and_goes_on_from_there),
        TEST(store_expire_leaves_a_record_that_was_renewed),
        TEST(store_prefetch_changes_nothing),
        TEST(store_partition_is_the_same_on_every_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
