/* The fence against wrong clocks: nothing from further ahead than clocks may differ is merged, who is
 * behind is let in, and a node that most disagree with takes no writes. */
#include "comparing.h"
#include "unit.h"

#define DRIFT_MS 5000u /* of pair.c */

/* --- one link ------------------------------------------------------------------------------ */

/* The stamp that is so far ahead of the node's clock. */
static uint64_t ahead(const struct comparing *c, uint64_t ms)
{
    return stamp_of_wall(c->f.pair.now.wall_ms + ms);
}

enum way {
    BY_HELLO_CLOCK,
    BY_HELLO_VECTOR,
    BY_HEARTBEAT_CLOCK,
    BY_HEARTBEAT_VECTOR,
    BY_HEARTBEAT_DURABLE,
    BY_STREAM_RECORD,
    BY_STREAM_THROUGH,
    BY_DELTA_BEGIN,
    BY_DELTA_RECORD,
    BY_DELTA_DROPPED,
    BY_DELTA_FORCED,
    WAYS
};

/* Something that is so far ahead comes by that way. */
static void send_ahead(struct comparing *c, enum way way, uint64_t ms)
{
    struct peer *x = &c->f.x;
    struct vector v;
    struct record rec = comparing_record("k", ahead(c, ms), PEER_ORIGIN);
    if (way == BY_HELLO_CLOCK || way == BY_HELLO_VECTOR)
        peer_open(x, c->f.node, c->f.pair.now, LINK_RECEIVER);
    else if (way < BY_DELTA_BEGIN)
        comparing_link(c);
    else
        comparing_ask(c);
    comparing_vector(c, &v, rec.stamp, 0);
    x->clock_ahead_ms = way == BY_HELLO_CLOCK || way == BY_HEARTBEAT_CLOCK ? (int64_t)ms : 0;
    if (way == BY_HELLO_CLOCK || way == BY_HELLO_VECTOR)
        peer_hello(x, way == BY_HELLO_VECTOR ? &v : NULL, 0);
    else if (way == BY_HEARTBEAT_CLOCK || way == BY_HEARTBEAT_VECTOR)
        peer_heartbeat(x, way == BY_HEARTBEAT_VECTOR ? &v : NULL);
    else if (way == BY_HEARTBEAT_DURABLE)
        peer_heartbeat_durable(x, NULL, &v);
    else if (way == BY_STREAM_RECORD || way == BY_STREAM_THROUGH)
        peer_records(x, 0, rec.stamp, &rec, way == BY_STREAM_RECORD);
    else
        peer_delta_begin(x, 0, way == BY_DELTA_BEGIN ? &v : NULL);
    if (way == BY_DELTA_RECORD)
        peer_delta_records(x, &rec, 1);
    if (way == BY_DELTA_DROPPED || way == BY_DELTA_FORCED) {
        peer_mark(x, STORE_PARTITIONS);
        peer_delta_end(x, way == BY_DELTA_DROPPED ? &v : NULL,
                       way == BY_DELTA_FORCED ? rec.stamp : 0);
    }
    vector_close(&v);
}

static void link_takes_what_is_as_far_ahead_as_clocks_may_differ(void **state)
{
    (void)state;
    for (enum way way = 0; way < WAYS; way++) {
        struct comparing c;
        comparing_open(&c);
        send_ahead(&c, way, DRIFT_MS);
        if (c.f.x.link.state == LINK_CLOSED)
            fail_msg("by way %d: %s", (int)way, c.f.x.link.reason);
        situation_close(&c.f);
    }
}

static void link_refuses_what_is_further_ahead_and_merges_nothing_of_it(void **state)
{
    (void)state;
    for (enum way way = 0; way < WAYS; way++) {
        struct comparing c;
        struct frame_reader payload;
        comparing_open(&c);
        uint64_t far = ahead(&c, DRIFT_MS + 1);
        send_ahead(&c, way, DRIFT_MS + 1);
        situation_assert_ended(&c.f, "the clock of peer, or a stamp it sent, is about 5 s ahead "
                                     "of a's; at most 5000 ms are allowed");
        assert_true(peer_take_until(&c.f.x, FRAME_REFUSED, &payload));
        assert_int_equal(frame_read_u16(&payload), 6);
        const struct node *n = c.f.node;
        assert_int_equal(store_live_count(n->store), 0);
        assert_true(n->clock.last < far);
        assert_true(vector_get(&n->vector, FIRST_ORIGIN) == PAST_STAMP);
        assert_true(vector_get(&n->vector, c.f.x.origin) < far);
        assert_int_equal(vector_get(&n->dropped, FIRST_ORIGIN), 0);
        assert_int_equal(n->forced_stamp, 0);
        bool by_hello = way == BY_HELLO_CLOCK || way == BY_HELLO_VECTOR;
        assert_int_equal(members_find(&n->members, bytes_text("peer")) == NULL, by_hello);
        situation_close(&c.f);
    }
}

static void link_takes_what_is_behind_by_any_amount(void **state)
{
    (void)state;
    struct comparing c;
    comparing_open(&c);
    peer_open(&c.f.x, c.f.node, c.f.pair.now, LINK_RECEIVER);
    c.f.x.clock_ahead_ms = -86400000;
    peer_hello(&c.f.x, NULL, 0);
    peer_heartbeat(&c.f.x, NULL);
    assert_int_equal(c.f.x.link.state, LINK_LIVE);
    assert_true(c.f.x.link.member->clock_difference_ms == -86400000);
    situation_close(&c.f);
}

static void link_that_is_refused_over_the_clock_says_why_in_peers(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, 2);
    p.nodes[1].clock_ahead_ms = 3600000;
    pair_start_all(&p);
    pair_run(&p, 3000);
    static const char *const REASON = "the clock of b, or a stamp it sent, is about 3600 s ahead "
                                      "of a's; at most 5000 ms are allowed (--max-clock-drift)";
    for (uint32_t i = 0; i < 2; i++) {
        const char *peers = pair_command(&p, i, "PEERS");
        assert_non_null(strstr(peers, "state=refused"));
        assert_non_null(strstr(peers, REASON));
    }
    assert_int_equal(p.nodes[0].node->members.count, 0);
    pair_close(&p);
}

/* --- which node is wrong ------------------------------------------------------------------- */

static void assert_takes_writes(struct pair *p, uint32_t node, bool takes)
{
    static const char *const WRITES[] = {"SET k v", "SETEX k 100 v", "EXPIRE k 50", "PERSIST k",
                                         "DEL k"};
    for (size_t i = 0; i < sizeof WRITES / sizeof WRITES[0]; i++) {
        const char *reply = pair_command(p, node, WRITES[i]);
        bool refused = strstr(reply, "ERROR this node's clock differs from most peers'") == reply;
        if (refused == takes)
            fail_msg("node %u answers %s to %s", node, reply, WRITES[i]);
    }
    const char *info = pair_command(p, node, "INFO");
    assert_non_null(strstr(info, takes ? "\nready:yes\n" : "\nready:no\n"));
}

static void node_refuses_writes_while_it_disagrees_with_most(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct pair p;
        pair_open(&p, 3);
        pair_start_all(&p);
        pair_run(&p, 3000);
        pair_command(&p, 0, "SET old value");
        pair_run(&p, 1000);
        p.nodes[0].clock_ahead_ms = i == 0 ? 20000 : -20000;
        pair_run(&p, 4000);
        assert_takes_writes(&p, 0, false);
        assert_takes_writes(&p, 1, true);
        assert_takes_writes(&p, 2, true);
        assert_string_equal(pair_command(&p, 0, "GET old"), "value");
        assert_string_equal(pair_command(&p, 0, "COUNT"), "1");
        pair_run(&p, 20000); /* it does not forget why, while it is so */
        assert_takes_writes(&p, 0, false);
        /* Set right: its own stamps of that time are ahead still, until the time has come to them. */
        p.nodes[0].clock_ahead_ms = 0;
        pair_run(&p, 60000);
        assert_takes_writes(&p, 0, true);
        assert_true(pair_is_meshed(&p));
        assert_true(pair_is_equal(&p));
        pair_close(&p);
    }
}

static void node_of_two_goes_on_whoever_is_wrong(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, 2);
    p.nodes[1].clock_ahead_ms = 3600000;
    pair_start_all(&p);
    pair_run(&p, 10000);
    assert_takes_writes(&p, 0, true);
    assert_takes_writes(&p, 1, true);
    assert_true(p.nodes[0].node->counters.records_received == 0);
    pair_close(&p);
}

/* Who has never been let in is known by an address only: it counts all the same. */
static void node_that_was_never_let_in_finds_itself_wrong_too(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, 3);
    p.nodes[2].clock_ahead_ms = -3600000;
    pair_start_all(&p);
    pair_run(&p, 5000);
    assert_int_equal(p.nodes[2].node->members.count, 0);
    assert_takes_writes(&p, 2, false);
    assert_takes_writes(&p, 0, true);
    assert_takes_writes(&p, 1, true);
    pair_close(&p);
}

static void node_with_one_wrong_peer_of_three_goes_on(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, 4);
    p.nodes[3].clock_ahead_ms = 3600000;
    pair_start_all(&p);
    pair_run(&p, 5000);
    for (uint32_t i = 0; i < 3; i++)
        assert_takes_writes(&p, i, true);
    assert_takes_writes(&p, 3, false);
    pair_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(link_takes_what_is_as_far_ahead_as_clocks_may_differ),
        cmocka_unit_test(link_refuses_what_is_further_ahead_and_merges_nothing_of_it),
        cmocka_unit_test(link_takes_what_is_behind_by_any_amount),
        cmocka_unit_test(link_that_is_refused_over_the_clock_says_why_in_peers),
        cmocka_unit_test(node_refuses_writes_while_it_disagrees_with_most),
        cmocka_unit_test(node_of_two_goes_on_whoever_is_wrong),
        cmocka_unit_test(node_that_was_never_let_in_finds_itself_wrong_too),
        cmocka_unit_test(node_with_one_wrong_peer_of_three_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
