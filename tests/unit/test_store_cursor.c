/* Cursors: they stay valid whatever happens to the store, and miss nothing that was there
 * throughout. */
#include "failing_heap.h"
#include "records.h"
#include "unit.h"

#define KEYS_MAX    40u
#define CURSORS_MAX 3u
#define STEPS       60u
#define ROUNDS      300u
#define PARTITION   5u

static char keys[KEYS_MAX][16];

/* A cursor, and what it has to visit still: the keys there since it was opened. */
struct watched {
    struct store_cursor cursor;
    bool open;
    bool owed[KEYS_MAX];
};

struct fixture {
    struct failing_heap heap;
    struct store *store;
    struct random random;
    uint64_t stamp;
    bool present[KEYS_MAX];
    struct watched watched[CURSORS_MAX];
};

static uint32_t key_number(struct bytes key)
{
    for (uint32_t i = 0; i < KEYS_MAX; i++) {
        if (bytes_equal(key, bytes_text(keys[i])))
            return i;
    }
    fail_msg("the cursor gave a key that was never stored");
    return 0;
}

static void put(struct fixture *f, uint32_t key)
{
    static const char POOL[] = "0123456789012345678901234567890123456789";
    struct record rec = {.key = bytes_text(keys[key]),
                         .value = bytes_of(POOL, random_below(&f->random, 40)),
                         .stamp = ++f->stamp,
                         .origin = 1,
                         .expires_ms = random_below(&f->random, 3) == 0 ? 1000 : 0};
    assert_int_equal(store_merge(f->store, &rec, false), STORE_MERGED);
    f->present[key] = true;
}

/* Deletes the key and drops the tombstone at once: the entry is gone. */
static void remove_key(struct fixture *f, uint32_t key)
{
    struct record rec = {
        .key = bytes_text(keys[key]), .stamp = ++f->stamp, .origin = 1, .tombstone = true};
    assert_int_equal(store_merge(f->store, &rec, false), STORE_MERGED);
    store_drop_tombstone(f->store, &rec);
    f->present[key] = false;
    for (uint32_t i = 0; i < CURSORS_MAX; i++)
        f->watched[i].owed[key] = false;
}

static void open_cursor(struct fixture *f, struct watched *w)
{
    store_cursor_open(&w->cursor, f->store, PARTITION);
    w->open = true;
    memcpy(w->owed, f->present, sizeof w->owed);
}

static void advance(struct fixture *f, struct watched *w)
{
    struct record rec;
    if (!w->open) {
        open_cursor(f, w);
    } else if (store_cursor_next(&w->cursor, &rec)) {
        uint32_t key = key_number(rec.key);
        assert_true(f->present[key]);
        w->owed[key] = false;
    } else {
        for (uint32_t i = 0; i < KEYS_MAX; i++)
            assert_false(w->owed[i]);
        store_cursor_close(&w->cursor);
        w->open = false;
    }
}

static void step(struct fixture *f)
{
    uint32_t key = (uint32_t)random_below(&f->random, KEYS_MAX);
    switch (random_below(&f->random, 8)) {
    case 0:
    case 1:
        put(f, key);
        break;
    case 2:
        remove_key(f, key);
        break;
    case 3:
        if (random_below(&f->random, 8) == 0)
            store_expire(f->store, 1000, 1000);
        break;
    default:
        advance(f, &f->watched[random_below(&f->random, CURSORS_MAX)]);
    }
}

static void finish(struct fixture *f)
{
    for (uint32_t i = 0; i < CURSORS_MAX; i++) {
        struct watched *w = &f->watched[i];
        while (w->open)
            advance(f, w);
    }
}

static void store_cursor_visits_all_that_stays_while_anything_changes(void **state)
{
    (void)state;
    struct fixture f = {.stamp = 0};
    failing_heap_init(&f.heap);
    random_init(&f.random, unit_seed(__func__));
    for (uint64_t round = unit_rounds(ROUNDS); round > 0; round--) {
        f.store = store_new(&f.heap.heap, round);
        memset(f.present, 0, sizeof f.present);
        for (uint32_t i = 0; i < KEYS_MAX; i += 2)
            put(&f, i);
        for (uint32_t i = 0; i < STEPS; i++)
            step(&f);
        finish(&f);
        store_free(f.store);
        assert_int_equal(f.heap.live, 0);
    }
}

/* Removes, updates or moves the very entry that the cursor would give next. */
static void store_cursor_survives_changes_of_its_next_entry(void **state)
{
    (void)state;
    struct fixture f = {.stamp = 0};
    struct record rec;
    failing_heap_init(&f.heap);
    random_init(&f.random, 1);
    f.store = store_new(&f.heap.heap, 1);
    for (uint32_t at = 0; at < 6; at++) {
        for (uint32_t i = 0; i < 6; i++)
            put(&f, i);
        struct watched *w = &f.watched[0];
        open_cursor(&f, w);
        for (uint32_t i = 0; i < at; i++)
            advance(&f, w);
        for (uint32_t i = 0; i < 6; i++)
            remove_key(&f, i);
        assert_false(store_cursor_next(&w->cursor, &rec));
        finish(&f);
    }
    store_free(f.store);
    assert_int_equal(f.heap.live, 0);
}

static void store_cursor_allows_the_visited_tombstone_to_be_dropped(void **state)
{
    (void)state;
    struct failing_heap heap;
    struct store_cursor cursor;
    struct record rec;
    uint32_t visited = 0;
    failing_heap_init(&heap);
    struct store *s = store_new(&heap.heap, 1);
    for (uint32_t i = 0; i < KEYS_MAX; i++) {
        rec = (struct record){
            .key = bytes_text(keys[i]), .stamp = i + 1, .origin = 1, .tombstone = true};
        store_merge(s, &rec, false);
    }
    store_cursor_open(&cursor, s, PARTITION);
    for (; store_cursor_next(&cursor, &rec); visited++)
        store_drop_tombstone(s, &rec);
    store_cursor_close(&cursor);
    assert_int_equal(visited, KEYS_MAX);
    assert_int_equal(store_tombstone_count(s), 0);
    store_free(s);
    assert_int_equal(heap.live, 0);
}

static void store_cursor_of_an_empty_partition_ends_at_once(void **state)
{
    (void)state;
    struct failing_heap heap;
    struct store_cursor cursor;
    struct record rec;
    failing_heap_init(&heap);
    struct store *s = store_new(&heap.heap, 1);
    store_cursor_open(&cursor, s, STORE_PARTITIONS - 1);
    assert_false(store_cursor_next(&cursor, &rec));
    assert_false(store_cursor_next(&cursor, &rec));
    store_cursor_close(&cursor);
    store_free(s);
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
        cmocka_unit_test(store_cursor_visits_all_that_stays_while_anything_changes),
        cmocka_unit_test(store_cursor_survives_changes_of_its_next_entry),
        cmocka_unit_test(store_cursor_allows_the_visited_tombstone_to_be_dropped),
        cmocka_unit_test(store_cursor_of_an_empty_partition_ends_at_once),
    };
    return cmocka_run_group_tests(tests, make_keys, NULL);
}
