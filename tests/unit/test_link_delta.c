/* Deltas: every gap that the ring cannot close, closed from a peer's store; and the zombie rule
 * while that goes on. */
#include "pair.h"
#include "peer.h"
#include "unit.h"

static int set_up(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    pair_open(p, 3);
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

static struct node_counters *counters(struct pair *p, uint32_t node)
{
    return &p->nodes[node].node->counters;
}

static void write_keys(struct pair *p, uint32_t node, const char *prefix, uint32_t count)
{
    char line[64];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(line, sizeof line, "SET %s%u value of %u", prefix, i, i);
        assert_string_equal(pair_command(p, node, line), "OK");
    }
}

static void start_meshed(struct pair *p, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        pair_start(p, i);
    pair_run(p, 3000);
}

/* --- rejoining ----------------------------------------------------------------------------- */

static void link_delta_brings_a_fresh_node_every_record_once(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 2);
    write_keys(p, 0, "a", 3000);
    write_keys(p, 1, "b", 2000);
    pair_run(p, 3000);
    pair_start(p, 2);
    pair_run(p, 10000);
    assert_true(pair_is_meshed(p));
    assert_true(pair_is_equal(p));
    assert_int_equal(counters(p, 2)->records_received, 5000);
}

static void link_delta_brings_a_restarted_node_every_record_once(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 3);
    write_keys(p, 0, "a", 500);
    write_keys(p, 1, "b", 500);
    write_keys(p, 2, "c", 500);
    pair_run(p, 3000);
    pair_stop(p, 2);
    pair_run(p, 1000);
    write_keys(p, 0, "more", 100);
    pair_command(p, 1, "DEL c7");
    pair_start(p, 2);
    pair_run(p, 10000);
    assert_true(pair_is_equal(p));
    /* Its own 500 of the run before come back like anybody's. */
    assert_int_equal(counters(p, 2)->records_received, 1600);
}

static void link_delta_sends_only_what_is_missing(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 3);
    write_keys(p, 0, "a", 2000);
    pair_run(p, 3000);
    pair_cut(p, 1, 2);
    pair_run(p, 6000);
    uint64_t before = counters(p, 2)->records_received;
    write_keys(p, 1, "b", 30);
    pair_run(p, 6000);
    assert_true(pair_is_equal(p));
    assert_int_equal(counters(p, 2)->records_received - before, 30);
}

static void link_delta_serves_two_nodes_that_reach_each_other_only_by_a_third(void **state)
{
    struct pair *p = *state;
    pair_cut(p, 0, 1);
    start_meshed(p, 3);
    for (uint32_t round = 0; round < 5; round++) {
        write_keys(p, 0, "a", 10 * round);
        write_keys(p, 1, "b", 10 * round);
        pair_command(p, 0, "DEL b3");
        pair_run(p, LINK_AHEAD_MS + 2 * LINK_HEARTBEAT_MS);
        assert_true(pair_is_equal(p));
    }
    assert_int_equal(node_linked_count(p->nodes[0].node), 1);
    assert_int_equal(node_linked_count(p->nodes[2].node), 2);
}

static void link_delta_brings_a_dead_nodes_last_writes_from_who_has_them(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 3);
    p->stalled[0][1] = true;
    write_keys(p, 0, "last", 20);
    pair_settle(p);
    pair_run(p, 2000); /* c's vector tells of them */
    pair_stop(p, 0);
    pair_reset(p, 0, 1);
    pair_run(p, 6000);
    assert_string_equal(pair_command(p, 1, "GET last19"), "value of 19");
    assert_true(pair_is_equal(p));
}

static void link_delta_goes_on_while_writes_go_on(void **state)
{
    struct pair *p = *state;
    char line[64];
    start_meshed(p, 2);
    write_keys(p, 0, "a", 4000);
    pair_run(p, 2000);
    pair_start(p, 2);
    p->chunk_bytes = 1000;
    while (p->nodes[2].node->counters.records_received == 0) {
        pair_tick(p);
        pair_turn(p);
    }
    uint32_t dials = p->dials;
    for (uint32_t i = 0; i < 2000; i++) {
        snprintf(line, sizeof line, i % 3 == 0 ? "DEL a%u" : "SET a%u again", i * 2);
        pair_command(p, i % 3, line);
        if (i % 10 == 0)
            pair_turn(p);
    }
    p->chunk_bytes = 0;
    pair_run(p, 6000);
    assert_true(pair_is_equal(p));
    assert_true(p->dials <= dials + 2); /* links to c that did not stand yet */
}

static void link_delta_starts_over_when_the_link_breaks(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 2);
    write_keys(p, 0, "a", 3000);
    pair_run(p, 2000);
    p->chunk_bytes = 2000;
    pair_start(p, 2);
    for (int i = 0; i < 5; i++) {
        while (p->nodes[2].node->delta == NULL) {
            pair_tick(p);
            pair_turn(p);
        }
        for (int turn = 0; turn < 5 * i; turn++)
            pair_turn(p);
        assert_non_null(p->nodes[2].node->delta);
        pair_reset(p, 0, 2);
        pair_reset(p, 1, 2);
        assert_null(p->nodes[2].node->delta);
        assert_int_equal(p->nodes[0].node->scans + p->nodes[1].node->scans, 0);
    }
    p->chunk_bytes = 0;
    pair_run(p, 8000);
    assert_true(pair_is_equal(p));
}

static void link_delta_looks_at_a_bounded_number_of_entries_a_turn(void **state)
{
    struct pair *p = *state;
    struct peer x;
    struct frame_reader payload;
    p->nodes[0].peers = 0;
    pair_start(p, 0);
    write_keys(p, 0, "a", 3 * LINK_SCAN_ENTRIES);
    peer_open(&x, p->nodes[0].node, p->now, LINK_SENDER);
    peer_hello(&x, NULL, 0);
    peer_ask(&x, NULL);
    assert_int_equal(p->nodes[0].node->scans, 1);
    uint32_t turns = 0;
    for (; p->nodes[0].node->scans == 1; turns++) {
        assert_true(node_is_busy(p->nodes[0].node));
        link_output(&x.link);
        assert_true(buffer_size(&x.link.out) < LINK_SCAN_ENTRIES * 120);
        buffer_append(&x.got, buffer_bytes(&x.link.out));
        buffer_consume(&x.link.out, buffer_size(&x.link.out));
    }
    assert_in_range(turns, 3, STORE_PARTITIONS * 64 / LINK_SCAN_ENTRIES + 5);
    assert_true(peer_take_until(&x, FRAME_DELTA_BEGIN, &payload));
    peer_close(&x);
}

/* --- the zombie rule ----------------------------------------------------------------------- */

static struct record make(const struct peer *x, const char *key, uint64_t stamp, uint64_t origin)
{
    return (struct record){.key = bytes_text(key),
                           .value = bytes_text("v"),
                           .stamp = stamp,
                           .origin = origin == 0 ? x->origin : origin};
}

static bool holds(struct pair *p, const char *key)
{
    struct record rec;
    return store_find(p->nodes[0].node->store, bytes_text(key), &rec);
}

static void node_receive_discards_what_its_vector_covers_and_the_store_lacks(void **state)
{
    struct pair *p = *state;
    struct peer x;
    pair_start(p, 0);
    peer_open(&x, p->nodes[0].node, p->now, LINK_RECEIVER);
    peer_hello(&x, NULL, 0);
    struct record rec = make(&x, "k", 5, 0), again = make(&x, "k", 6, 0);
    peer_records(&x, 0, 10, &rec, 1);
    rec.tombstone = true;
    rec.value = bytes_text("");
    rec.stamp = 12;
    peer_records(&x, 10, 20, &rec, 1);
    store_drop_tombstone(p->nodes[0].node->store, &rec);
    assert_false(holds(p, "k"));
    assert_int_equal(node_receive(p->nodes[0].node, &again), 0);
    assert_false(holds(p, "k"));
    again.stamp = 21;
    assert_int_equal(node_receive(p->nodes[0].node, &again), 0);
    assert_true(holds(p, "k"));
    peer_close(&x);
}

/* A key whose partition is in the given half of the store. */
static const char *key_in_half(uint32_t half, char *key, size_t size)
{
    for (uint32_t i = 0;; i++) {
        snprintf(key, size, "h%u", i);
        if (store_partition(bytes_text(key)) / (STORE_PARTITIONS / 2) == half)
            return key;
    }
}

static void node_receive_counts_completed_partitions_of_a_delta_as_covered(void **state)
{
    struct pair *p = *state;
    struct peer x;
    struct vector vector;
    char low[16], high[16];
    p->nodes[0].peers = 0;
    pair_start(p, 0);
    peer_open(&x, p->nodes[0].node, p->now, LINK_RECEIVER);
    vector_init(&vector, &p->heap.heap);
    vector_advance(&vector, x.origin, 100);
    vector_advance(&vector, 77, 50);
    peer_hello(&x, &vector, 100);
    peer_delta_begin(&x, 0, &vector);
    assert_ptr_equal(p->nodes[0].node->delta, &x.link);
    peer_mark(&x, STORE_PARTITIONS / 2);
    struct record records[] = {make(&x, key_in_half(0, low, sizeof low), 40, 77),
                               make(&x, key_in_half(1, high, sizeof high), 40, 77)};
    assert_int_equal(node_receive(p->nodes[0].node, &records[0]), 0);
    assert_int_equal(node_receive(p->nodes[0].node, &records[1]), 0);
    assert_false(holds(p, low));
    assert_true(holds(p, high));
    records[0].stamp = 51; /* the delta's vector does not cover this one */
    assert_int_equal(node_receive(p->nodes[0].node, &records[0]), 0);
    assert_true(holds(p, low));
    assert_int_equal(vector_get(&p->nodes[0].node->vector, 77), 0);
    peer_delta_finish(&x);
    assert_int_equal(vector_get(&p->nodes[0].node->vector, 77), 50);
    vector_close(&vector);
    peer_close(&x);
}

static void link_delta_counts_what_came_live_meanwhile_once_it_is_complete(void **state)
{
    struct pair *p = *state;
    struct peer x;
    struct vector vector;
    p->nodes[0].peers = 0;
    pair_start(p, 0);
    const struct vector *ours = &p->nodes[0].node->vector;
    peer_open(&x, p->nodes[0].node, p->now, LINK_RECEIVER);
    vector_init(&vector, &x.heap);
    vector_advance(&vector, x.origin, 100);
    peer_hello(&x, &vector, 100);
    peer_delta_begin(&x, 0, &vector);
    struct record live = make(&x, "live", 150, 0);
    peer_records(&x, 100, 200, &live, 1);
    peer_records(&x, 200, 300, NULL, 0);
    assert_true(holds(p, "live"));
    assert_int_equal(vector_get(ours, x.origin), 0);
    peer_delta_finish(&x);
    assert_int_equal(vector_get(ours, x.origin), 300);
    peer_records(&x, 300, 400, NULL, 0);
    assert_int_equal(vector_get(ours, x.origin), 400);
    assert_int_equal(x.link.state, LINK_LIVE);
    vector_close(&vector);
    peer_close(&x);
}

/* Everybody has dropped the tombstone; only a's ring still holds the write that it beat. */
static void open_old_ring(struct pair *p)
{
    p->nodes[0].peers = 2;
    p->nodes[1].peers = 1;
    start_meshed(p, 2);
    pair_command(p, 0, "SET k v");
    pair_run(p, 1000);
    assert_string_equal(pair_command(p, 1, "DEL k"), "1");
    pair_run(p, 12000);
    assert_int_equal(pair_info(p, 0, "tombstones") + pair_info(p, 1, "tombstones"), 0);
    assert_true(pair_info(p, 0, "journal_bytes") > 0);
}

static void link_to_a_new_node_does_not_bring_a_deleted_key_back_from_an_old_ring(void **state)
{
    struct pair *p = *state;
    open_old_ring(p);
    pair_start(p, 2);
    pair_run(p, 10000);
    assert_true(pair_is_meshed(p));
    assert_string_equal(pair_command(p, 2, "GET k"), "NOT_FOUND");
    assert_true(pair_is_equal(p));
}

/* b's delta is under way, and slow, when a offers its ring. */
static void link_waits_with_an_old_ring_until_the_delta_is_complete(void **state)
{
    struct pair *p = *state;
    open_old_ring(p);
    p->nodes[2].peers = 2;
    pair_start(p, 2);
    while (p->nodes[2].node->delta == NULL)
        pair_turn(p);
    p->stalled[1][2] = true;
    pair_run(p, 1000);
    assert_non_null(pair_link(p, 2, 0, LINK_RECEIVER));
    p->stalled[1][2] = false;
    pair_run(p, 10000);
    assert_true(pair_is_meshed(p));
    assert_string_equal(pair_command(p, 2, "GET k"), "NOT_FOUND");
    assert_true(pair_is_equal(p));
}

/* However the first bytes of the two links to the new node interleave. */
static void link_to_a_new_node_brings_no_zombie_in_any_order_of_arrival(void **state)
{
    struct pair *p = *state;
    open_old_ring(p);
    for (uint32_t order = 0; order < 60; order++) {
        pair_start(p, 2);
        p->chunk_bytes = 40 + 37 * (order % 7);
        for (uint32_t turn = 0; turn < 60; turn++) {
            p->stalled[0][2] = turn < order % 10;
            p->stalled[1][2] = turn >= order / 6 && turn < order / 6 + order % 13;
            p->stalled[2][0] = turn % 3 == order % 3;
            pair_turn(p);
            if (turn % 7 == 0)
                pair_tick(p);
        }
        memset(p->stalled, 0, sizeof p->stalled);
        p->chunk_bytes = 0;
        pair_run(p, 6000);
        assert_true(pair_is_meshed(p));
        assert_string_equal(pair_command(p, 2, "GET k"), "NOT_FOUND");
        assert_true(pair_is_equal(p));
        pair_stop(p, 2);
        pair_run(p, 1000);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(link_delta_brings_a_fresh_node_every_record_once),
        TEST(link_delta_brings_a_restarted_node_every_record_once),
        TEST(link_delta_sends_only_what_is_missing),
        TEST(link_delta_serves_two_nodes_that_reach_each_other_only_by_a_third),
        TEST(link_delta_brings_a_dead_nodes_last_writes_from_who_has_them),
        TEST(link_delta_goes_on_while_writes_go_on),
        TEST(link_delta_starts_over_when_the_link_breaks),
        TEST(link_delta_looks_at_a_bounded_number_of_entries_a_turn),
        TEST(node_receive_discards_what_its_vector_covers_and_the_store_lacks),
        TEST(node_receive_counts_completed_partitions_of_a_delta_as_covered),
        TEST(link_delta_counts_what_came_live_meanwhile_once_it_is_complete),
        TEST(link_to_a_new_node_does_not_bring_a_deleted_key_back_from_an_old_ring),
        TEST(link_waits_with_an_old_ring_until_the_delta_is_complete),
        TEST(link_to_a_new_node_brings_no_zombie_in_any_order_of_arrival),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
