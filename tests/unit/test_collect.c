/* Dropping tombstones: only once nobody can need them, and then in full. */
#include "pair.h"
#include "peer.h"
#include "unit.h"

#define CLOCK_DRIFT_MS 5000u /* of pair.c */

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

static uint64_t tombstones(struct pair *p, uint32_t node)
{
    return store_tombstone_count(p->nodes[node].node->store);
}

static void start_meshed(struct pair *p)
{
    pair_start_all(p);
    pair_run(p, 3000);
    assert_true(pair_is_meshed(p));
}

static void write_and_delete(struct pair *p, uint32_t writer, uint32_t deleter)
{
    assert_string_equal(pair_command(p, writer, "SET k v"), "OK");
    pair_settle(p);
    assert_string_equal(pair_command(p, deleter, "DEL k"), "1");
    pair_settle(p);
}

static void node_collect_drops_a_tombstone_once_it_is_old_and_all_have_it(void **state)
{
    struct pair *p = *state;
    start_meshed(p);
    write_and_delete(p, 0, 1);
    pair_run(p, CLOCK_DRIFT_MS - 200);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(tombstones(p, i), 1);
    pair_run(p, 3000);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(tombstones(p, i), 0);
}

static void node_collect_of_a_node_alone_waits_for_the_clocks_only(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 0;
    pair_start(p, 0);
    write_and_delete(p, 0, 0);
    pair_run(p, CLOCK_DRIFT_MS);
    assert_int_equal(tombstones(p, 0), 1);
    pair_run(p, 200);
    assert_int_equal(tombstones(p, 0), 0);
}

static void node_collect_keeps_what_a_member_that_is_away_has_not_confirmed(void **state)
{
    struct pair *p = *state;
    start_meshed(p);
    pair_command(p, 0, "SET k v");
    pair_settle(p);
    pair_cut(p, 0, 2);
    pair_cut(p, 1, 2);
    pair_command(p, 0, "DEL k");
    pair_run(p, 120000);
    assert_int_equal(tombstones(p, 0), 1);
    assert_int_equal(tombstones(p, 1), 1);
    assert_string_equal(pair_command(p, 2, "GET k"), "v");
    pair_heal(p, 0, 2);
    pair_heal(p, 1, 2);
    pair_run(p, 20000);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(tombstones(p, i), 0);
    assert_string_equal(pair_command(p, 2, "GET k"), "NOT_FOUND");
}

static void node_collect_waits_for_an_address_at_which_nobody_was_met(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    pair_start(p, 1);
    pair_run(p, 3000);
    write_and_delete(p, 0, 1);
    pair_run(p, 30000);
    assert_int_equal(tombstones(p, 0), 1);
    pair_start(p, 2);
    pair_run(p, 20000);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(tombstones(p, i), 0);
}

static void node_collect_waits_for_a_member_known_by_hearsay(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 2;
    p->nodes[1].peers = 1 | 4;
    p->nodes[2].peers = 2;
    pair_cut(p, 0, 2);
    pair_start_all(p);
    pair_run(p, 3000);
    assert_int_equal(p->nodes[0].node->members.count, 2);
    write_and_delete(p, 0, 0);
    pair_run(p, 30000);
    assert_int_equal(tombstones(p, 0), 1);
}

/* One member, played by hand. It confirms the delete, or it does not; its own stream has passed the
 * delete's stamp, or something older may still come by it. Only both together allow the drop. */
static void node_collect_waits_for_confirmation_and_until_nothing_older_can_arrive(void **state)
{
    struct pair *p = *state;
    struct peer x;
    struct vector confirmed;
    p->nodes[0].peers = 0;
    for (int round = 0; round < 2; round++) {
        pair_start(p, 0);
        struct node *n = p->nodes[0].node;
        peer_open(&x, n, p->now, LINK_RECEIVER);
        peer_hello(&x, NULL, 0);
        assert_int_equal(x.link.state, LINK_LIVE);
        write_and_delete(p, 0, 0);
        vector_init(&confirmed, &x.heap);
        vector_advance(&confirmed, n->config.origin, n->last_write);
        p->now.wall_ms += 2 * CLOCK_DRIFT_MS;
        if (round == 0)
            peer_heartbeat(&x, &confirmed);
        else
            peer_records(&x, 0, n->last_write + 1, NULL, 0);
        node_collect(n, p->now);
        assert_int_equal(tombstones(p, 0), 1);
        if (round == 1)
            peer_heartbeat(&x, &confirmed);
        else
            peer_records(&x, 0, n->last_write + 1, NULL, 0);
        node_collect(n, p->now);
        assert_int_equal(tombstones(p, 0), 0);
        vector_close(&confirmed);
        peer_close(&x);
        pair_stop(p, 0);
    }
}

static void node_collect_stops_while_a_delta_is_served_or_received(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 0;
    pair_start(p, 0);
    write_and_delete(p, 0, 0);
    struct node *n = p->nodes[0].node;
    struct link other;
    n->scans = 1;
    pair_run(p, 10000);
    assert_int_equal(tombstones(p, 0), 1);
    n->scans = 0;
    n->delta = &other;
    other.delta.begun = false;
    pair_run(p, 1000);
    assert_int_equal(tombstones(p, 0), 1);
    n->delta = NULL;
    pair_run(p, 1000);
    assert_int_equal(tombstones(p, 0), 0);
}

static void node_collect_drops_what_expired_too(void **state)
{
    struct pair *p = *state;
    start_meshed(p);
    assert_string_equal(pair_command(p, 0, "SETEX k 8 v"), "OK");
    pair_run(p, 7000);
    assert_int_equal(pair_info(p, 1, "keys"), 1);
    pair_run(p, 4000);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(pair_info(p, i, "keys"), 0);
        assert_int_equal(tombstones(p, i), 0);
    }
}

static void node_collect_drops_many_in_bounded_steps(void **state)
{
    struct pair *p = *state;
    char line[32];
    p->nodes[0].peers = 0;
    pair_start(p, 0);
    uint64_t empty = store_memory_bytes(p->nodes[0].node->store);
    for (uint32_t i = 0; i < 45000; i++) {
        snprintf(line, sizeof line, "SET k%u v\nDEL k%u", i, i);
        pair_command(p, 0, line);
    }
    p->now.wall_ms += CLOCK_DRIFT_MS + 1000;
    uint64_t before = tombstones(p, 0);
    assert_int_equal(before, 45000);
    uint32_t ticks = 0;
    while (tombstones(p, 0) > 0) {
        pair_run(p, NODE_SWEEP_MS);
        assert_true(before - tombstones(p, 0) <= 300);
        before = tombstones(p, 0);
        ticks++;
    }
    assert_in_range(ticks, 150, 175);
    assert_true(store_memory_bytes(p->nodes[0].node->store) <= empty + 2048);
}

/* A node that comes back with a clock of the past, or after everybody dropped everything. */
static void node_collect_lets_nothing_come_back_with_a_restarted_member(void **state)
{
    struct pair *p = *state;
    start_meshed(p);
    for (uint32_t round = 0; round < 5; round++) {
        write_and_delete(p, round % 3, (round + 1) % 3);
        pair_run(p, 1000 * round);
        pair_stop(p, 2);
        p->nodes[2].clock_ahead_ms = -3000;
        pair_run(p, 2000);
        pair_start(p, 2);
        pair_run(p, 15000);
        for (uint32_t i = 0; i < 3; i++)
            assert_string_equal(pair_command(p, i, "GET k"), "NOT_FOUND");
        assert_true(pair_is_equal(p));
        assert_int_equal(tombstones(p, 0) + tombstones(p, 1) + tombstones(p, 2), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(node_collect_drops_a_tombstone_once_it_is_old_and_all_have_it),
        TEST(node_collect_of_a_node_alone_waits_for_the_clocks_only),
        TEST(node_collect_keeps_what_a_member_that_is_away_has_not_confirmed),
        TEST(node_collect_waits_for_an_address_at_which_nobody_was_met),
        TEST(node_collect_waits_for_a_member_known_by_hearsay),
        TEST(node_collect_waits_for_confirmation_and_until_nothing_older_can_arrive),
        TEST(node_collect_stops_while_a_delta_is_served_or_received),
        TEST(node_collect_drops_what_expired_too),
        TEST(node_collect_drops_many_in_bounded_steps),
        TEST(node_collect_lets_nothing_come_back_with_a_restarted_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
