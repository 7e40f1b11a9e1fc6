/* The laws of the merge, on random records: commutative, associative, idempotent. Whatever the
 * order, the repetitions and the path, the same records make the same store. */
#include "failing_heap.h"
#include "records.h"
#include "unit.h"

#define ROUNDS  400u
#define RECORDS 40u

/* Few stamps and origins: most records tie with some other in all but the last criterion. */
static const struct records_space CLOSE = {.keys = 3, .stamps = 4, .origins = 2, .value_bytes = 20};
static const struct records_space WIDE = {
    .keys = RECORDS_KEYS_MAX, .stamps = 1000, .origins = 40, .value_bytes = 200};

struct fixture {
    struct failing_heap heap;
    struct random random;
    struct record records[RECORDS];
};

static void open_fixture(struct fixture *f, const char *test)
{
    failing_heap_init(&f->heap);
    random_init(&f->random, unit_seed(test));
}

static struct store *new_store(struct fixture *f)
{
    struct store *s = store_new(&f->heap.heap, random_next(&f->random));
    assert_non_null(s);
    return s;
}

static void make_records(struct fixture *f, uint64_t round)
{
    for (uint32_t i = 0; i < RECORDS; i++)
        f->records[i] = records_random(&f->random, round % 4 == 0 ? &WIDE : &CLOSE);
}

static void shuffle(struct fixture *f)
{
    for (uint32_t i = RECORDS; i > 1; i--) {
        uint32_t k = (uint32_t)random_below(&f->random, i);
        struct record swap = f->records[i - 1];
        f->records[i - 1] = f->records[k];
        f->records[k] = swap;
    }
}

static void merge_all(struct fixture *f, struct store *s)
{
    for (uint32_t i = 0; i < RECORDS; i++)
        assert_true(store_merge(s, &f->records[i], false) > 0);
}

static void store_merge_gives_the_same_store_for_any_order(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, __func__);
    for (uint64_t round = unit_rounds(ROUNDS); round > 0; round--) {
        struct records_model model = {0};
        struct store *first = new_store(&f), *second = new_store(&f);
        make_records(&f, round);
        for (uint32_t i = 0; i < RECORDS; i++)
            records_model_merge(&model, &f.records[i]);
        merge_all(&f, first);
        shuffle(&f);
        merge_all(&f, second);
        assert_true(records_same_as_model(first, &model));
        assert_true(records_same_store(first, second));
        store_free(first);
        store_free(second);
    }
    assert_int_equal(f.heap.live, 0);
}

static void store_merge_changes_nothing_when_repeated(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, __func__);
    for (uint64_t round = unit_rounds(ROUNDS); round > 0; round--) {
        struct store *once = new_store(&f), *often = new_store(&f);
        make_records(&f, round);
        merge_all(&f, once);
        merge_all(&f, often);
        shuffle(&f);
        for (uint32_t i = 0; i < RECORDS; i++)
            assert_int_equal(store_merge(often, &f.records[i], i % 2 == 0), STORE_STALE);
        assert_true(records_same_store(once, often));
        assert_true(store_memory_bytes(once) == store_memory_bytes(often));
        store_free(once);
        store_free(often);
    }
    assert_int_equal(f.heap.live, 0);
}

/* (a + b) + c and a + (b + c), where + merges a whole store. */
static void store_merge_gives_the_same_store_however_stores_are_joined(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, __func__);
    for (uint64_t round = unit_rounds(ROUNDS / 4); round > 0; round--) {
        struct store *parts[3], *left = new_store(&f), *right = new_store(&f);
        make_records(&f, round);
        for (uint32_t i = 0; i < 3; i++) {
            parts[i] = new_store(&f);
            for (uint32_t k = i; k < RECORDS; k += 3)
                assert_true(store_merge(parts[i], &f.records[k], false) > 0);
        }
        static const uint32_t ORDERS[2][3] = {{0, 1, 2}, {2, 1, 0}};
        for (uint32_t i = 0; i < 3; i++) {
            struct record rec;
            for (uint32_t key = 0; key < RECORDS_KEYS_MAX; key++) {
                if (store_find(parts[ORDERS[0][i]], records_key(key), &rec))
                    assert_true(store_merge(left, &rec, false) > 0);
                if (store_find(parts[ORDERS[1][i]], records_key(key), &rec))
                    assert_true(store_merge(right, &rec, false) > 0);
            }
        }
        assert_true(records_same_store(left, right));
        for (uint32_t i = 0; i < 3; i++)
            store_free(parts[i]);
        store_free(left);
        store_free(right);
    }
    assert_int_equal(f.heap.live, 0);
}

/* Nodes sweep at other times than they merge: once the clock has passed every expiry, they are equal.
 * (Before, they may differ where two records share stamp and origin but not the expiry, which takes
 * two nodes that wrongly share an origin: a tombstone beats the longer-lived of the two.) */
static void store_expire_commutes_with_merging(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, __func__);
    for (uint64_t round = unit_rounds(ROUNDS); round > 0; round--) {
        struct store *late = new_store(&f), *early = new_store(&f);
        make_records(&f, round);
        merge_all(&f, late);
        shuffle(&f);
        for (uint32_t i = 0; i < RECORDS; i++) {
            assert_true(store_merge(early, &f.records[i], false) > 0);
            if (random_below(&f.random, 3) == 0)
                store_expire(early, 1500, UINT64_MAX);
        }
        store_expire(late, 9000, UINT64_MAX);
        store_expire(early, 9000, UINT64_MAX);
        assert_true(records_same_store(late, early));
        store_free(late);
        store_free(early);
    }
    assert_int_equal(f.heap.live, 0);
}

/* The digest is kept up to date with every change; a store filled anew tells what it should be. */
static void store_digest_is_what_the_content_makes_it(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, __func__);
    struct store *s = new_store(&f);
    for (uint64_t step = unit_rounds(4 * ROUNDS); step > 0; step--) {
        struct record rec = records_random(&f.random, &WIDE), found;
        switch (random_below(&f.random, 8)) {
        case 0:
            if (store_find(s, rec.key, &found))
                store_drop_tombstone(s, &found);
            break;
        case 1:
            store_expire(s, random_below(&f.random, 3000), 1 + random_below(&f.random, 4));
            break;
        default:
            rec.stamp += 1000 * (4 * ROUNDS - step);
            assert_true(store_merge(s, &rec, random_below(&f.random, 4) == 0) > 0);
        }
        if (step % 16 != 0)
            continue;
        struct store *anew = new_store(&f);
        records_copy_store(anew, s);
        assert_true(records_same_store(s, anew));
        store_free(anew);
    }
    store_free(s);
    assert_int_equal(f.heap.live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_merge_gives_the_same_store_for_any_order),
        cmocka_unit_test(store_merge_changes_nothing_when_repeated),
        cmocka_unit_test(store_merge_gives_the_same_store_however_stores_are_joined),
        cmocka_unit_test(store_expire_commutes_with_merging),
        cmocka_unit_test(store_digest_is_what_the_content_makes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
