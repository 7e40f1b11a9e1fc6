/* Tombstones that go though not everybody has confirmed them: by force, beyond a limit of memory; or
 * since no vector will ever cover them. And confirmations that a crash may take back. */
#include "comparing.h"
#include "unit.h"

#define CLOCK_DRIFT_MS  5000u /* of pair.c */
#define FORGET_AFTER_MS 20000u

static int set_up(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    pair_open(p, 2);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *p = *state;
    pair_close(p);
    free(p);
    return 0;
}

static uint64_t tombstones(struct pair *p, uint32_t node)
{
    return store_tombstone_count(p->nodes[node].node->store);
}

/* Two nodes that have met; the second is gone then. */
static void start_deserted(struct pair *p, uint64_t tombstone_memory, uint64_t forget_after_ms)
{
    p->nodes[0].config.tombstone_memory_bytes = tombstone_memory;
    p->nodes[0].config.forget_after_ms = forget_after_ms;
    pair_start_all(p);
    pair_run(p, 3000);
    pair_stop(p, 1);
    pair_run(p, 500);
}

static void write_and_delete(struct pair *p, uint32_t keys)
{
    char line[64];
    for (uint32_t i = 0; i < keys; i++) {
        snprintf(line, sizeof line, "SET k%u v\nDEL k%u", i, i);
        pair_command(p, 0, line);
    }
}

static void node_collect_drops_by_force_beyond_the_limit_of_memory_only(void **state)
{
    struct pair *p = *state;
    uint64_t one = store_entry_bytes(2, 0, false);
    start_deserted(p, 5 * one, 0);
    struct node *n = p->nodes[0].node;
    write_and_delete(p, 5);
    assert_int_equal(pair_info(p, 0, "tombstone_bytes"), 5 * one);
    pair_run(p, 20000);
    assert_int_equal(tombstones(p, 0), 5); /* it is not beyond it */
    pair_command(p, 0, "SET k6 v\nDEL k6");
    pair_run(p, CLOCK_DRIFT_MS - 100);
    /* The older ones may go at once, and one of them is enough. */
    assert_int_equal(tombstones(p, 0), 5);
    assert_int_equal(n->counters.tombstones_forced, 1);
    assert_int_equal(n->counters.tombstones_dropped, 1);
    assert_true(n->forced_stamp != 0);
    assert_true(vector_covers(&n->dropped, n->config.origin, n->forced_stamp));
    assert_int_equal(pair_info(p, 0, "tombstones_dropped_by_force"), 1);
    pair_run(p, 20000);
    assert_int_equal(tombstones(p, 0), 5);
}

static void node_collect_drops_nothing_by_force_that_is_younger_than_clocks_may_differ(void **state)
{
    struct pair *p = *state;
    start_deserted(p, 1, 0);
    write_and_delete(p, 3);
    pair_run(p, CLOCK_DRIFT_MS);
    assert_int_equal(tombstones(p, 0), 3);
    pair_run(p, 500);
    assert_int_equal(tombstones(p, 0), 0);
    assert_int_equal(p->nodes[0].node->counters.tombstones_forced, 3);
}

static void node_collect_keeps_them_without_a_limit(void **state)
{
    struct pair *p = *state;
    start_deserted(p, 0, 0);
    write_and_delete(p, 100);
    pair_run(p, 20000);
    assert_int_equal(tombstones(p, 0), 100);
    assert_int_equal(p->nodes[0].node->counters.tombstones_dropped, 0);
}

/* A delta that is under way loses nothing by it: from then on it lists. */
static void node_collect_drops_by_force_while_a_delta_is_served_and_has_it_list(void **state)
{
    struct pair *p = *state;
    struct peer x;
    start_deserted(p, 1, 0);
    write_and_delete(p, 3);
    pair_run(p, CLOCK_DRIFT_MS - 500);
    struct node *n = p->nodes[0].node;
    peer_open(&x, n, p->now, LINK_SENDER);
    peer_hello(&x, NULL, 0);
    peer_ask(&x, NULL);
    assert_int_equal(n->scans, 1);
    assert_false(x.link.scan.list_all);
    p->now.wall_ms += 2000;
    node_collect(n, p->now);
    assert_int_equal(tombstones(p, 0), 0);
    assert_true(x.link.scan.list_all);
    peer_close(&x);
}

/* Something older than them has come since, which the delta does not speak of: if its receiver has
 * that, too, only they take it away there. What is newer than the delta need not wait. */
static void node_collect_keeps_what_a_delta_promises_and_has_not_come_to(void **state)
{
    struct pair *p = *state;
    struct peer x;
    struct frame_reader payload;
    start_deserted(p, 1, 0);
    write_and_delete(p, 3);
    struct node *n = p->nodes[0].node;
    uint64_t older = n->last_write - 1;
    peer_open(&x, n, p->now, LINK_SENDER);
    peer_hello(&x, NULL, 0);
    peer_ask(&x, NULL);
    assert_int_equal(n->scans, 1);
    pair_command(p, 0, "SET newer v\nDEL newer");
    assert_int_equal(vector_advance(&n->vector, UNKNOWN_ORIGIN, older), 0);
    p->now.wall_ms += CLOCK_DRIFT_MS + 1000;
    for (int round = 0; round < 2; round++) {
        node_collect(n, p->now);
        assert_int_equal(tombstones(p, 0), 3);
        assert_int_equal(n->counters.tombstones_forced, 1);
    }
    assert_true(peer_take_until(&x, FRAME_DELTA_END, &payload));
    node_collect(n, p->now);
    assert_int_equal(tombstones(p, 0), 0);
    peer_close(&x);
}

/* Then it went without his consent: by force, as far as others are concerned. */
static void node_collect_notes_as_forced_what_somebody_forgotten_has_not_confirmed(void **state)
{
    struct pair *p = *state;
    for (int round = 0; round < 2; round++) {
        start_deserted(p, 0, 0);
        struct node *n = p->nodes[0].node;
        write_and_delete(p, 1);
        if (round == 0)
            pair_start(p, 1);
        else
            assert_string_equal(pair_command(p, 0, "FORGET b"), "OK");
        pair_run(p, 15000);
        assert_int_equal(tombstones(p, 0), 0);
        assert_int_equal(n->counters.tombstones_forced, 0);
        assert_true(n->forced_stamp == (round == 0 ? 0 : n->last_write));
        pair_stop(p, 0);
        if (round == 0)
            pair_stop(p, 1);
    }
}

/* --- what no vector covers ----------------------------------------------------------------- */

static void node_collect_drops_what_no_vector_covers_after_the_time_to_forget(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 0;
    p->nodes[0].config.forget_after_ms = FORGET_AFTER_MS;
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    struct record rec = {.key = bytes_text("k"),
                         .tombstone = true,
                         .stamp = stamp_of_wall(p->now.wall_ms),
                         .origin = UNKNOWN_ORIGIN};
    assert_int_equal(node_receive(n, &rec), 0);
    pair_run(p, FORGET_AFTER_MS - 500);
    assert_int_equal(tombstones(p, 0), 1);
    pair_run(p, 1000);
    assert_int_equal(tombstones(p, 0), 0);
    assert_int_equal(n->counters.tombstones_forced, 1);
    assert_true(n->forced_stamp == rec.stamp);
    /* Nobody's vector can ever cover it: as dropped, it would send everybody to compare, always. */
    assert_int_equal(vector_get(&n->dropped, UNKNOWN_ORIGIN), 0);
}

/* --- confirmed for good -------------------------------------------------------------------- */

static void confirm(struct peer *x, const struct node *n, bool durable)
{
    struct vector v;
    vector_init(&v, &x->heap);
    assert_int_equal(vector_advance(&v, n->config.origin, n->last_write), 0);
    peer_heartbeat_durable(x, durable ? NULL : &v, durable ? &v : NULL);
    vector_close(&v);
}

static void node_collect_waits_for_the_disk_of_a_member_that_keeps_one(void **state)
{
    struct pair *p = *state;
    for (int keeps_disk = 0; keeps_disk < 2; keeps_disk++) {
        struct peer x;
        p->nodes[0].peers = 0;
        pair_start(p, 0);
        struct node *n = p->nodes[0].node;
        peer_open(&x, n, p->now, LINK_RECEIVER);
        x.keeps_disk = keeps_disk != 0;
        peer_hello(&x, NULL, 0);
        write_and_delete(p, 1);
        p->now.wall_ms += 2 * CLOCK_DRIFT_MS;
        x.now = p->now;
        peer_records(&x, 0, n->last_write + 1, NULL, 0);
        confirm(&x, n, false);
        node_collect(n, p->now);
        assert_int_equal(tombstones(p, 0), keeps_disk);
        confirm(&x, n, true);
        node_collect(n, p->now);
        assert_int_equal(tombstones(p, 0), 0);
        assert_int_equal(n->counters.tombstones_forced, 0);
        peer_close(&x);
        pair_stop(p, 0);
    }
}

static void node_collect_waits_for_its_own_disk(void **state)
{
    struct pair *p = *state;
    struct vector v;
    p->nodes[0].peers = 0;
    p->nodes[0].config.keeps_disk = true;
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    write_and_delete(p, 1);
    pair_run(p, 3 * CLOCK_DRIFT_MS);
    assert_int_equal(tombstones(p, 0), 1);
    vector_init(&v, &p->heap.heap);
    assert_int_equal(vector_copy(&v, &n->vector), 0);
    assert_int_equal(node_synced(n, &v), 0);
    vector_close(&v);
    pair_run(p, 200);
    assert_int_equal(tombstones(p, 0), 0);
}

/* A run that has ended takes its confirmations with it: the next one may have lost what it had. */
static void node_collect_counts_no_confirmation_of_an_ended_run(void **state)
{
    struct pair *p = *state;
    struct peer x;
    p->nodes[0].peers = 0;
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    write_and_delete(p, 1);
    for (uint64_t run = 1; run <= 2; run++) {
        peer_open(&x, n, p->now, LINK_RECEIVER);
        x.origin += run;
        peer_hello(&x, NULL, 0);
        if (run == 1)
            confirm(&x, n, false);
        p->now.wall_ms += CLOCK_DRIFT_MS + 1000;
        x.now = p->now;
        if (run == 2) {
            peer_records(&x, 0, n->last_write + 1, NULL, 0);
            node_collect(n, p->now);
            assert_int_equal(tombstones(p, 0), 1);
            confirm(&x, n, false);
            node_collect(n, p->now);
            assert_int_equal(tombstones(p, 0), 0);
        }
        peer_close(&x);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(node_collect_drops_by_force_beyond_the_limit_of_memory_only),
        TEST(node_collect_drops_nothing_by_force_that_is_younger_than_clocks_may_differ),
        TEST(node_collect_keeps_them_without_a_limit),
        TEST(node_collect_drops_by_force_while_a_delta_is_served_and_has_it_list),
        TEST(node_collect_keeps_what_a_delta_promises_and_has_not_come_to),
        TEST(node_collect_notes_as_forced_what_somebody_forgotten_has_not_confirmed),
        TEST(node_collect_drops_what_no_vector_covers_after_the_time_to_forget),
        TEST(node_collect_waits_for_the_disk_of_a_member_that_keeps_one),
        TEST(node_collect_waits_for_its_own_disk),
        TEST(node_collect_counts_no_confirmation_of_an_ended_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
