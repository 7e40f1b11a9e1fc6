/* SCAN: steps through all keys while these come and go. */
#include "client.h"

#include "kv/hash.h"
#include "kv/random.h"
#include "kv/scan.h"

#include <inttypes.h>

#define ORIGIN 7

/* --- a store of keys that are numbers ------------------------------------------------------ */

struct numbers {
    struct failing_heap heap;
    struct store *store;
    uint64_t stamp;
};

static void numbers_open(struct numbers *n, uint64_t hash_seed)
{
    failing_heap_init(&n->heap);
    n->store = store_new(&n->heap.heap, hash_seed);
    n->stamp = 0;
}

static void numbers_close(struct numbers *n)
{
    store_free(n->store);
    assert_int_equal(n->heap.live, 0);
}

static void put(struct numbers *n, uint64_t number, bool tombstone, uint64_t expires_ms)
{
    static const char value[40] = "";
    char key[32];
    int size = snprintf(key, sizeof key, "%" PRIu64, number);
    /* Values of several sizes: some replace an entry where it is, some by another. */
    struct record rec = {.key = bytes_of(key, (size_t)size),
                         .value = bytes_of(value, tombstone ? 0 : n->stamp % sizeof value),
                         .stamp = ++n->stamp,
                         .origin = ORIGIN,
                         .expires_ms = expires_ms,
                         .tombstone = tombstone};
    assert_int_equal(store_merge(n->store, &rec, false), STORE_MERGED);
}

/* One step. Adds up in `times` how often each number below `count` was visited. */
static uint64_t step(struct numbers *n, uint64_t from, uint64_t wanted, uint8_t *times,
                     uint64_t count, uint64_t *got)
{
    struct scan_keys keys;
    scan_keys_init(&keys, &n->heap.heap);
    uint64_t next = scan_step(n->store, 1000, from, wanted, NULL, &keys);
    assert_true(next == 0 || next > from);
    *got = scan_keys_count(&keys);
    for (uint64_t i = 0; i < *got; i++) {
        uint64_t number;
        assert_true(bytes_parse_u64(scan_keys_at(&keys, i), &number));
        if (number < count)
            times[number]++;
    }
    scan_keys_close(&keys);
    return next;
}

/* --- what is visited ----------------------------------------------------------------------- */

/* Numbers below `stay` are there throughout; others come and go between the steps. */
static void check_changing(uint64_t seed)
{
    struct random r;
    struct numbers n;
    random_init(&r, seed);
    numbers_open(&n, random_next(&r));
    uint64_t stay = 1 + random_below(&r, 3000), total = stay + random_below(&r, 200000);
    uint64_t from = 0, got;
    uint8_t *times = calloc(stay, 1);
    for (uint64_t i = 0; i < stay; i++)
        put(&n, i, false, 0);
    do {
        from = step(&n, from, 1 + random_below(&r, 200), times, stay, &got);
        uint64_t changes = random_below(&r, 4) == 0 ? random_below(&r, 5000) : 0;
        for (uint64_t i = 0; i < changes; i++) {
            uint64_t number = random_below(&r, total);
            bool leaves = number >= stay && random_below(&r, 2) == 0;
            put(&n, number, leaves, leaves || random_below(&r, 2) == 0 ? 0 : 5000);
        }
    } while (from != 0);
    for (uint64_t i = 0; i < stay; i++) {
        if (times[i] != 1)
            fail_msg("%" PRIu64 " was visited %u times", i, times[i]);
    }
    free(times);
    numbers_close(&n);
}

static void scan_visits_what_stays_exactly_once(void **state)
{
    (void)state;
    uint64_t seed = unit_seed(__func__), rounds = unit_rounds(20);
    for (uint64_t round = 0; round < rounds; round++)
        check_changing(seed + round);
}

static void scan_goes_on_at_another_node(void **state)
{
    (void)state;
    struct numbers nodes[2];
    static uint8_t times[20000];
    uint64_t from = 0, got, turn = 0;
    memset(times, 0, sizeof times);
    for (uint64_t node = 0; node < 2; node++) {
        numbers_open(&nodes[node], node + 1);
        /* The second has history that the first has not. */
        for (uint64_t i = 0; i < 30000 * node; i++)
            put(&nodes[node], 20000 + i, true, 0);
        for (uint64_t i = 0; i < 20000; i++)
            put(&nodes[node], i, false, 0);
    }
    do
        from = step(&nodes[turn++ % 2], from, 7, times, 20000, &got);
    while (from != 0);
    assert_true(turn > 100);
    for (uint64_t i = 0; i < 20000; i++)
        assert_int_equal(times[i], 1);
    numbers_close(&nodes[0]);
    numbers_close(&nodes[1]);
}

static void scan_passes_over_what_is_not_there(void **state)
{
    (void)state;
    struct numbers n;
    uint8_t times[3] = {0};
    uint64_t got;
    numbers_open(&n, 1);
    put(&n, 0, false, 0);
    put(&n, 1, true, 0);
    put(&n, 2, false, 1000); /* has expired */
    assert_int_equal(step(&n, 0, 10, times, 3, &got), 0);
    assert_int_equal(got, 1);
    assert_int_equal(times[0], 1);
    assert_int_equal(step(&n, SCAN_POSITIONS, 10, times, 3, &got), 0);
    assert_int_equal(step(&n, UINT64_MAX, 10, times, 3, &got), 0);
    assert_int_equal(step(&n, SCAN_POSITIONS - 1, 10, times, 3, &got), 0);
    numbers_close(&n);
}

/* Where a step ends, and the next begins, is one position. */
static void scan_leaves_no_gap_between_steps_and_no_overlap(void **state)
{
    (void)state;
    struct numbers n;
    static uint8_t times[1];
    uint64_t got, span = SCAN_POSITIONS / STORE_PARTITIONS;
    uint64_t at = hash_key(bytes_text("0")) >> (64 - SCAN_POSITION_BITS);
    uint64_t partition = at / span * span;
    times[0] = 0;
    numbers_open(&n, 5);
    put(&n, 0, false, 0);
    assert_int_equal(step(&n, 0, 1, times, 1, &got), partition + span);
    assert_int_equal(step(&n, at, 1, times, 1, &got), partition + span);
    assert_int_equal(times[0], 2);
    step(&n, at + 1, 1, times, 1, &got);
    assert_int_equal(times[0], 2);
    for (uint64_t i = 1; i < 100000; i++)
        put(&n, i, false, 0);
    uint64_t width = step(&n, 0, 1, times, 0, &got); /* a part of the first partition */
    assert_true(width < span / 2 && at - partition > width);
    times[0] = 0;
    assert_int_equal(step(&n, at - width, 1, times, 1, &got), at);
    assert_int_equal(times[0], 0);
    step(&n, at, 1, times, 1, &got);
    assert_int_equal(times[0], 1);
    numbers_close(&n);
}

/* --- what a step costs --------------------------------------------------------------------- */

static void scan_steps_are_as_large_as_asked_for(void **state)
{
    (void)state;
    struct numbers n;
    static uint8_t times[100000];
    uint64_t from = 0, got, most = 0, steps = 0;
    numbers_open(&n, 3);
    for (uint64_t i = 0; i < 100000; i++)
        put(&n, i, false, 0);
    do {
        from = step(&n, from, 10, times, 100000, &got);
        most = got > most ? got : most;
        steps++;
    } while (from != 0);
    assert_in_range(most, 10, 50);
    assert_in_range(steps, 3000, 10000);
    /* Small ones go through a partition 8 times at most, and not only once. */
    for (from = step(&n, 0, 1, times, 0, &got), steps = 1; from != 0; steps++)
        from = step(&n, from, 1, times, 0, &got);
    assert_in_range(steps, 3 * STORE_PARTITIONS, 8 * STORE_PARTITIONS);
    /* However many are asked for, it looks at a bounded number. */
    from = step(&n, 0, UINT64_MAX, times, 100000, &got);
    assert_in_range(got, SCAN_LOOKS_MAX, SCAN_LOOKS_MAX + 100);
    assert_true(from != 0);
    numbers_close(&n);
}

static void scan_steps_are_bounded_among_tombstones_too(void **state)
{
    (void)state;
    struct numbers n;
    static uint8_t times[1];
    uint64_t from = 0, got, steps = 0;
    times[0] = 0;
    numbers_open(&n, 4);
    put(&n, 0, false, 0);
    for (uint64_t i = 1; i < 100000; i++)
        put(&n, i, true, 0);
    do {
        from = step(&n, from, 10, times, 1, &got);
        steps++;
    } while (from != 0);
    assert_in_range(steps, 10, 100);
    assert_int_equal(times[0], 1);
    numbers_close(&n);
}

/* --- the command --------------------------------------------------------------------------- */

static void scan_command_takes_globs_and_types(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "SCAN 0", "*2\r\n$1\r\n0\r\n*0");
    assert_resp(p, "MSET user:1 a user:2 b other c", "+OK");
    assert_resp(p, "SCAN 0 MATCH other COUNT 100", "*2\r\n$1\r\n0\r\n*1\r\n$5\r\nother");
    assert_resp(p, "SCAN 0 type String match other", "*2\r\n$1\r\n0\r\n*1\r\n$5\r\nother");
    assert_resp(p, "SCAN 0 TYPE list", "*2\r\n$1\r\n0\r\n*0");
    assert_resp(p, "SCAN 0 MATCH user:? MATCH o*", "*2\r\n$1\r\n0\r\n*1\r\n$5\r\nother");
    assert_resp(p, "SCAN 18446744073709551615", "*2\r\n$1\r\n0\r\n*0");
    assert_resp(p, "SCAN -1", "*2\r\n$1\r\n0\r\n*0");
    assert_resp(p, "SCAN +0 MATCH other", "*2\r\n$1\r\n0\r\n*1\r\n$5\r\nother");
    assert_resp(p, "SCAN ~ MATCH other", "*2\r\n$1\r\n0\r\n*1\r\n$5\r\nother");
}

static void scan_command_refuses_odd_words(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "SCAN x", "-ERR invalid cursor");
    assert_resp(p, "SCAN -", "-ERR invalid cursor");
    assert_resp(p, "SCAN --1", "-ERR invalid cursor");
    assert_resp(p, "SCAN 18446744073709551616", "-ERR invalid cursor");
    assert_resp(p, "SCAN 0 COUNT 0", "-ERR syntax error");
    assert_resp(p, "SCAN 0 COUNT x", "-ERR value is not an integer or out of range");
    assert_resp(p, "SCAN 0 COUNT", "-ERR syntax error");
    assert_resp(p, "SCAN 0 FOO 1", "-ERR syntax error");
}

static void scan_command_answers_lines(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    pair_command(p, 0, "SET k v");
    assert_answer(p, "SCAN 0", "2\n0\nk");
}

static void scan_command_goes_through_all_keys(void **state)
{
    struct pair *p = *state;
    char words[64];
    uint64_t cursor = 0, seen = 0, calls = 0;
    pair_start(p, 0);
    for (int i = 0; i < 3000; i++) {
        snprintf(words, sizeof words, "SET key%d v", i);
        client_send(p, words);
    }
    do {
        snprintf(words, sizeof words, "SCAN %" PRIu64 " COUNT 100", cursor);
        const char *reply = client_send(p, words);
        assert_int_equal(sscanf(reply, "*2\r\n$%*u\r\n%" SCNu64 "\r\n", &cursor), 1);
        for (; (reply = strstr(reply, "\r\nkey")) != NULL; reply++)
            seen++;
        calls++;
    } while (cursor != 0);
    assert_int_equal(seen, 3000);
    assert_in_range(calls, 10, 31);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scan_visits_what_stays_exactly_once),
        cmocka_unit_test(scan_goes_on_at_another_node),
        cmocka_unit_test(scan_passes_over_what_is_not_there),
        cmocka_unit_test(scan_leaves_no_gap_between_steps_and_no_overlap),
        cmocka_unit_test(scan_steps_are_as_large_as_asked_for),
        cmocka_unit_test(scan_steps_are_bounded_among_tombstones_too),
        CLIENT_TEST(scan_command_takes_globs_and_types),
        CLIENT_TEST(scan_command_refuses_odd_words),
        CLIENT_TEST(scan_command_answers_lines),
        CLIENT_TEST(scan_command_goes_through_all_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
