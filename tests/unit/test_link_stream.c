/* The live stream: what is pushed, confirmed, resumed from the ring, and what happens when the ring
 * was too short. */
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

static void start_meshed(struct pair *p, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        p->nodes[i].peers &= (1u << count) - 1;
        pair_start(p, i);
    }
    pair_run(p, 3000);
    assert_true(pair_is_meshed(p));
}

static uint64_t received(const struct pair *p, uint32_t node)
{
    return p->nodes[node].node->counters.records_received;
}

/* Writes `count` keys with values of that size. */
static void write_keys(struct pair *p, uint32_t node, const char *prefix, uint32_t count,
                       size_t value_bytes)
{
    char *line = malloc(value_bytes + 64);
    assert_non_null(line);
    for (uint32_t i = 0; i < count; i++) {
        int at = snprintf(line, 64, "SET %s%u ", prefix, i);
        memset(line + at, 'v', value_bytes);
        line[(size_t)at + value_bytes] = 0;
        assert_string_equal(pair_command(p, node, line), "OK");
    }
    free(line);
}

static void link_streams_every_write_to_every_peer_once(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 3);
    uint64_t deltas = p->nodes[2].node->counters.deltas_received;
    write_keys(p, 0, "a", 50, 100);
    write_keys(p, 1, "b", 30, 10);
    pair_settle(p);
    assert_true(pair_is_equal(p));
    assert_int_equal(received(p, 0), 30);
    assert_int_equal(received(p, 1), 50);
    assert_int_equal(received(p, 2), 80);
    pair_run(p, 10000);
    assert_int_equal(received(p, 2), 80);
    assert_int_equal(p->nodes[2].node->counters.deltas_received, deltas);
}

static void link_streams_deletes_and_expiries(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 2);
    pair_command(p, 0, "SET k v");
    pair_command(p, 0, "SETEX e 5 x");
    pair_command(p, 0, "DEL k");
    pair_settle(p);
    assert_string_equal(pair_command(p, 1, "GET k"), "NOT_FOUND");
    assert_string_equal(pair_command(p, 1, "TTL e"), "5");
    pair_run(p, 5000);
    assert_string_equal(pair_command(p, 1, "GET e"), "NOT_FOUND");
    assert_true(pair_is_equal(p));
}

static void link_confirms_without_being_asked_at_the_next_heartbeat(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 2);
    struct node *n = p->nodes[0].node;
    pair_command(p, 0, "SET k v");
    pair_settle(p);
    assert_int_equal(node_confirmations(n, n->last_write), 0);
    assert_false(node_is_drained(n));
    pair_run(p, LINK_HEARTBEAT_MS + 100);
    assert_int_equal(node_confirmations(n, n->last_write), 1);
    assert_true(node_is_drained(n));
    assert_int_equal(node_lag_ms(n, n->members.list[0], p->now), 0);
}

static void link_confirms_at_once_when_asked(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 2);
    struct node *n = p->nodes[0].node;
    pair_command(p, 0, "SET k v");
    n->acks_wanted = n->last_write;
    pair_settle(p);
    assert_int_equal(node_confirmations(n, n->last_write), 1);
}

static void node_lag_grows_while_a_peer_does_not_confirm(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 2);
    p->stalled[0][1] = true;
    pair_command(p, 0, "SET k v");
    pair_run(p, 3000);
    assert_in_range(pair_info(p, 0, "lag_ms"), 3000, 4200);
    p->stalled[0][1] = false;
    pair_run(p, LINK_HEARTBEAT_MS + 100);
    assert_int_equal(pair_info(p, 0, "lag_ms"), 0);
}

static void link_resumes_from_the_ring_with_what_is_missing_only(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 2);
    write_keys(p, 0, "before", 100, 100);
    pair_run(p, 2000);
    pair_reset(p, 0, 1);
    write_keys(p, 0, "after", 7, 100);
    pair_run(p, 7000);
    assert_true(pair_is_equal(p));
    assert_int_equal(received(p, 1), 107);
    assert_int_equal(p->nodes[0].node->counters.deltas_served, 0);
}

static void link_resumes_without_loss_whenever_it_breaks(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 2);
    write_keys(p, 0, "k", 200, 50);
    p->chunk_bytes = 700;
    for (int i = 0; i < 40; i++) {
        for (int turn = 0; turn < i % 9; turn++)
            pair_turn(p);
        pair_reset(p, 0, 1);
        pair_run(p, 200);
        write_keys(p, 1, "w", (uint32_t)i % 5, 300);
    }
    p->chunk_bytes = 0;
    pair_run(p, 8000);
    assert_true(pair_is_meshed(p));
    assert_true(pair_is_equal(p));
    assert_true(vector_covers_vector(&p->nodes[1].node->vector, &p->nodes[0].node->vector));
}

/* --- the ring was too short ---------------------------------------------------------------- */

static void link_closes_a_gap_by_a_delta_after_a_reset(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 2);
    write_keys(p, 0, "early", 10, 100);
    pair_run(p, 2000);
    pair_cut(p, 0, 1);
    pair_run(p, 6000);
    write_keys(p, 0, "late", 150, 10000); /* the ring holds about 100 of these */
    pair_heal(p, 0, 1);
    pair_run(p, 10000);
    assert_true(pair_is_equal(p));
    assert_int_equal(received(p, 1), 160);
    assert_int_equal(p->nodes[1].node->counters.deltas_received, 1);
}

static void link_closes_a_gap_by_a_delta_while_it_is_live(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 2);
    uint32_t dials = p->dials;
    struct link *sender = pair_link(p, 0, 1, LINK_SENDER);
    sender->unsent = LINK_OUTPUT_BYTES; /* the socket takes nothing */
    write_keys(p, 0, "k", 150, 10000);
    pair_settle(p);
    assert_int_equal(received(p, 1), 0);
    sender->unsent = 0;
    pair_settle(p);
    assert_true(pair_is_equal(p));
    assert_int_equal(received(p, 1), 150);
    assert_string_equal(link_state_name(sender), "live");
    write_keys(p, 0, "more", 3, 10);
    pair_settle(p);
    assert_true(pair_is_equal(p));
    assert_int_equal(p->dials, dials);
}

static void link_brings_a_record_larger_than_the_ring_by_a_delta(void **state)
{
    struct pair *p = *state;
    p->nodes[0].config.max_value_bytes = 2u << 20;
    start_meshed(p, 2);
    write_keys(p, 0, "big", 1, JOURNAL_BYTES_MIN + 1000);
    write_keys(p, 0, "small", 1, 10);
    pair_settle(p);
    assert_true(pair_is_equal(p));
    assert_int_equal(received(p, 1), 2);
}

/* The receiver has just asked for a delta for another reason when the gap opens. */
static void link_survives_a_gap_that_crosses_a_delta_request(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 3);
    pair_cut(p, 1, 2);
    pair_run(p, 7000);
    struct link *sender = pair_link(p, 0, 1, LINK_SENDER);
    /* What c writes reaches b by a delta from a every few seconds: one has just come. */
    uint64_t deltas = p->nodes[1].node->counters.deltas_received;
    while (p->nodes[1].node->counters.deltas_received == deltas)
        pair_run(p, PAIR_STEP_MS);
    p->stalled[1][0] = true;
    for (int i = 0; i < 90 && p->nodes[1].node->delta == NULL; i++)
        pair_run(p, PAIR_STEP_MS);
    assert_non_null(p->nodes[1].node->delta);
    uint32_t dials = p->dials;
    sender->unsent = LINK_OUTPUT_BYTES;
    write_keys(p, 0, "k", 150, 10000);
    sender->unsent = 0;
    pair_settle(p);
    assert_int_equal(sender->state, LINK_HOLD);
    p->stalled[1][0] = false;
    pair_run(p, 1000);
    assert_int_equal(p->dials, dials);
    assert_int_equal(sender->state, LINK_LIVE);
    assert_true(store_digest(p->nodes[0].node->store) == store_digest(p->nodes[1].node->store));
}

static void link_survives_a_gap_in_the_middle_of_a_delta(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 2);
    write_keys(p, 1, "old", 2000, 500);
    p->nodes[2].peers = 2;
    pair_start(p, 2);
    while (p->nodes[2].node->counters.records_received == 0)
        pair_turn(p);
    uint32_t dials = p->dials;
    struct link *sender = pair_link(p, 1, 2, LINK_SENDER);
    sender->unsent = LINK_OUTPUT_BYTES;
    write_keys(p, 1, "k", 150, 10000);
    sender->unsent = 0;
    pair_settle(p);
    pair_run(p, 3000);
    assert_int_equal(p->dials, dials);
    assert_true(pair_is_meshed(p));
    assert_true(pair_is_equal(p));
}

/* --- bounds -------------------------------------------------------------------------------- */

static void link_output_is_bounded_while_the_peer_takes_nothing(void **state)
{
    struct pair *p = *state;
    struct peer x;
    struct frame_reader payload;
    pair_start(p, 0);
    peer_open(&x, p->nodes[0].node, p->now, LINK_SENDER);
    peer_hello(&x, NULL, 0);
    assert_true(peer_take_until(&x, FRAME_MEMBERS, &payload));
    peer_number(&x, FRAME_STREAM, 0);
    write_keys(p, 0, "k", 900, 1000);
    for (int i = 0; i < 20; i++) {
        link_output(&x.link);
        assert_true(buffer_size(&x.link.out) <= LINK_OUTPUT_BYTES + LINK_FRAME_BYTES + 2000);
    }
    assert_true(link_queued_bytes(&x.link) > 900 * 1000);
    assert_true(node_is_busy(p->nodes[0].node));
    while (peer_take(&x, &payload) != 0)
        ;
    assert_false(node_is_busy(p->nodes[0].node));
    peer_close(&x);
}

static void link_takes_long_for_a_large_record_but_takes_it_once(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 2);
    write_keys(p, 0, "big", 1, 900000);
    p->chunk_bytes = 5000;
    for (uint32_t i = 0; i < 220; i++) {
        pair_tick(p);
        pair_turn(p);
    }
    p->chunk_bytes = 0;
    pair_run(p, 3000);
    assert_true(pair_is_equal(p));
    assert_int_equal(received(p, 1), 1);
}

/* A journal that nobody read need not be written; whoever comes then gets a delta. */
static void link_to_the_first_peer_ever_brings_what_was_written_before(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 0;
    pair_start(p, 0);
    write_keys(p, 0, "k", 100, 10);
    assert_int_equal(pair_info(p, 0, "journal_bytes"), 0);
    p->nodes[1].peers = 1;
    pair_start(p, 1);
    pair_run(p, 1000);
    assert_true(pair_is_equal(p));
    assert_int_equal(received(p, 1), 100);
    assert_int_equal(p->nodes[1].node->counters.deltas_received, 1);
}

static void node_counts_the_bytes_of_its_peers(void **state)
{
    struct pair *p = *state;
    start_meshed(p, 2);
    pair_reset(p, 0, 1);
    pair_run(p, 6000);
    uint64_t before = p->nodes[1].node->counters.peer_bytes_received;
    write_keys(p, 0, "k", 1, 5000);
    pair_settle(p);
    assert_in_range(p->nodes[1].node->counters.peer_bytes_received - before, 5000, 5200);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(link_streams_every_write_to_every_peer_once),
        TEST(link_streams_deletes_and_expiries),
        TEST(link_confirms_without_being_asked_at_the_next_heartbeat),
        TEST(link_confirms_at_once_when_asked),
        TEST(node_lag_grows_while_a_peer_does_not_confirm),
        TEST(link_resumes_from_the_ring_with_what_is_missing_only),
        TEST(link_resumes_without_loss_whenever_it_breaks),
        TEST(link_closes_a_gap_by_a_delta_after_a_reset),
        TEST(link_closes_a_gap_by_a_delta_while_it_is_live),
        TEST(link_brings_a_record_larger_than_the_ring_by_a_delta),
        TEST(link_survives_a_gap_that_crosses_a_delta_request),
        TEST(link_survives_a_gap_in_the_middle_of_a_delta),
        TEST(link_output_is_bounded_while_the_peer_takes_nothing),
        TEST(link_takes_long_for_a_large_record_but_takes_it_once),
        TEST(link_to_the_first_peer_ever_brings_what_was_written_before),
        TEST(node_counts_the_bytes_of_its_peers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
