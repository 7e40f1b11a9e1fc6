/* Links: the handshake, who is let in and who is refused, the mesh, and how links end. */
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

/* Whether one of the node's notices holds that text; takes all of them. */
static bool noticed(struct pair *p, uint32_t node, const char *text)
{
    struct notice notice;
    bool found = false;
    while (notice_take(&p->nodes[node].node->notices, &notice))
        found = found || strstr(notice.text, text) != NULL;
    return found;
}

static uint32_t notice_count(struct pair *p, uint32_t node)
{
    return p->nodes[node].node->notices.count;
}

/* --- who is let in ------------------------------------------------------------------------- */

static void link_handshake_links_two_nodes_both_ways(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 2;
    p->nodes[1].peers = 0;
    pair_start(p, 0);
    pair_start(p, 1);
    pair_settle(p);
    assert_true(pair_is_meshed(p));
    assert_int_equal(p->nodes[0].node->members.count, 1);
    assert_string_equal(p->nodes[1].node->members.list[0]->name, "a");
    assert_string_equal(p->nodes[1].node->members.list[0]->host, "10.0.0.1");
    assert_true(noticed(p, 0, "linked to b"));
    assert_true(noticed(p, 1, "linked to a"));
}

static void link_handshake_spreads_from_one_address_to_a_mesh(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 0;
    p->nodes[1].peers = p->nodes[2].peers = 1;
    pair_start_all(p);
    pair_run(p, 1000);
    assert_true(pair_is_meshed(p));
    assert_int_equal(pair_info(p, 2, "peers_linked"), 2);
    assert_int_equal(pair_info(p, 2, "peers_expected"), 2);
}

static void link_handshake_tells_clock_differences(void **state)
{
    struct pair *p = *state;
    p->nodes[1].clock_ahead_ms = 1234;
    pair_start(p, 0);
    pair_start(p, 1);
    pair_run(p, 2000);
    assert_int_equal(p->nodes[0].node->members.list[0]->clock_difference_ms, 1234);
    assert_int_equal(p->nodes[1].node->members.list[0]->clock_difference_ms, -1234);
}

static void link_drops_a_second_address_of_a_linked_member_quietly(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 2;
    pair_start(p, 0);
    pair_start(p, 1);
    members_add_address(&p->nodes[0].node->members, bytes_text("b"), 8080, true);
    pair_run(p, 20000);
    assert_true(pair_is_meshed(p));
    assert_int_equal(pair_info(p, 0, "peers_expected"), 1);
    assert_true(noticed(p, 0, "linked to b"));
    assert_false(noticed(p, 0, "ended"));
    assert_false(noticed(p, 1, "ended"));
}

static void link_to_oneself_is_dropped_and_never_dialled_again(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 1;
    pair_start(p, 0);
    pair_run(p, 20000);
    assert_int_equal(p->nodes[0].node->members.addresses[0].state, ADDRESS_SELF);
    assert_int_equal(p->nodes[0].node->members.count, 0);
    assert_int_equal(pair_info(p, 0, "peers_expected"), 0);
    assert_int_equal(notice_count(p, 0), 0);
    assert_true(list_is_empty(&p->wires));
}

static void link_lets_a_new_run_in_once_the_old_one_is_gone(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    pair_start(p, 1);
    pair_run(p, 1000);
    uint64_t origin = p->nodes[0].node->members.list[0]->origin;
    pair_stop(p, 1);
    pair_start(p, 1);
    pair_run(p, 10000);
    assert_true(pair_is_meshed(p));
    assert_int_equal(p->nodes[0].node->members.count, 1);
    assert_true(p->nodes[0].node->members.list[0]->origin != origin);
}

/* --- refusals ------------------------------------------------------------------------------ */

static void link_refuses_another_cluster_and_both_say_so(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 2;
    p->nodes[1].peers = 0;
    p->nodes[1].config.cluster = "other";
    pair_start(p, 0);
    pair_start(p, 1);
    pair_run(p, 100);
    assert_true(noticed(p, 1, ": cluster name 'test', this node is of cluster 'other'"));
    assert_true(noticed(p, 0, "refused by b: cluster name 'test'"));
    assert_true(strstr(pair_command(p, 0, "PEERS"), "state=refused") != NULL);
    assert_int_equal(p->nodes[1].node->members.count, 0);
}

static void link_logs_the_same_refusal_once_a_minute(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 2;
    p->nodes[1].peers = 0;
    p->nodes[1].config.cluster = "other";
    pair_start(p, 0);
    pair_start(p, 1);
    pair_run(p, 50000);
    assert_int_equal(notice_count(p, 0), 1);
    assert_int_equal(notice_count(p, 1), 1);
    pair_run(p, 20000);
    assert_int_equal(notice_count(p, 1), 2);
}

static void link_refuses_a_name_that_a_live_node_uses(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 2;
    p->nodes[1].peers = 1;
    p->nodes[2].peers = 1;
    p->nodes[2].config.name = "b";
    pair_start(p, 0);
    pair_start(p, 1);
    pair_run(p, 1000);
    pair_start(p, 2);
    pair_run(p, 1000);
    assert_true(noticed(p, 0, "name 'b' is in use by another live node; --name gives another"));
    assert_true(noticed(p, 2, "name 'b' is in use"));
    assert_true(p->nodes[0].node->members.list[0]->origin == p->nodes[1].config.origin);
}

static void link_refuses_its_own_name(void **state)
{
    struct pair *p = *state;
    p->nodes[1].config.name = "a";
    pair_start(p, 0);
    pair_start(p, 1);
    pair_run(p, 1000);
    assert_true(noticed(p, 0, "name 'a' is in use"));
    assert_true(noticed(p, 1, "name 'a' is in use"));
    assert_int_equal(p->nodes[0].node->members.count, 0);
}

/* A HELLO of which only the version can be understood. */
static void send_other_version(struct peer *x)
{
    frame_put_u16(peer_begin(x), 99);
    buffer_append_text(&x->frame, "whatever comes then");
    peer_send(x, FRAME_HELLO);
}

static void link_refuses_another_protocol_version_in_words(void **state)
{
    struct pair *p = *state;
    struct peer x;
    struct frame_reader payload;
    pair_start(p, 0);
    peer_open(&x, p->nodes[0].node, p->now, LINK_RECEIVER);
    send_other_version(&x);
    assert_int_equal(x.link.state, LINK_CLOSED);
    assert_false(link_is_finished(&x.link)); /* the refusal has to leave first */
    assert_int_equal(peer_take(&x, &payload), FRAME_REFUSED);
    assert_int_equal(frame_read_u16(&payload), 1);
    assert_bytes_are(frame_read_text(&payload), "peer protocol version 99, this node speaks 2");
    assert_true(link_is_finished(&x.link));
    peer_close(&x);
}

static void link_that_dialled_another_protocol_version_gives_up(void **state)
{
    struct pair *p = *state;
    struct peer x;
    struct frame_reader payload;
    pair_start(p, 0);
    peer_open(&x, p->nodes[0].node, p->now, LINK_SENDER);
    assert_int_equal(peer_take(&x, &payload), FRAME_HELLO);
    send_other_version(&x);
    assert_int_equal(peer_take(&x, &payload), FRAME_REFUSED);
    assert_true(link_is_finished(&x.link));
    peer_close(&x);
    assert_true(strstr(pair_command(p, 0, "PEERS"), "state=refused") != NULL);
}

static void link_refuses_when_there_is_no_room_for_a_member(void **state)
{
    struct pair *p = *state;
    struct peer x;
    struct frame_reader payload;
    char name[16];
    pair_start(p, 0);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        snprintf(name, sizeof name, "m%u", i);
        assert_non_null(members_add(&p->nodes[0].node->members, bytes_text(name)));
    }
    peer_open(&x, p->nodes[0].node, p->now, LINK_RECEIVER);
    peer_hello(&x, NULL, 0);
    assert_int_equal(peer_take(&x, &payload), FRAME_REFUSED);
    assert_int_equal(frame_read_u16(&payload), 5);
    peer_close(&x);
}

static void link_refused_in_odd_bytes_keeps_its_reason_to_one_line(void **state)
{
    struct pair *p = *state;
    struct peer x;
    pair_start(p, 0);
    peer_open(&x, p->nodes[0].node, p->now, LINK_SENDER);
    frame_put_u16(peer_begin(&x), 3);
    frame_put_text(&x.frame, bytes_text("go\naway\r\x1b[2J"));
    peer_send(&x, FRAME_REFUSED);
    assert_true(link_is_finished(&x.link));
    assert_null(strpbrk(x.link.reason, "\n\r\x1b"));
    peer_close(&x);
}

/* --- how links end ------------------------------------------------------------------------- */

static void link_closes_after_five_seconds_of_silence(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 2;
    p->nodes[1].peers = 1;
    pair_start(p, 0);
    pair_start(p, 1);
    pair_run(p, 3000);
    pair_cut(p, 0, 1);
    pair_run(p, 3900);
    assert_int_equal(node_linked_count(p->nodes[0].node), 1);
    pair_run(p, 1200);
    assert_int_equal(node_linked_count(p->nodes[0].node), 0);
    assert_true(noticed(p, 0,
                        "link to b at b ended: nothing was heard for 5000 ms; dialling "
                        "again"));
    pair_heal(p, 0, 1);
    pair_run(p, 6000);
    assert_true(pair_is_meshed(p));
}

static void link_closes_when_the_handshake_is_not_answered(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 2;
    p->nodes[1].peers = 0;
    pair_start(p, 0);
    pair_start(p, 1);
    p->stalled[0][1] = true;
    pair_run(p, 4900);
    assert_false(list_is_empty(&p->wires));
    pair_run(p, 200);
    assert_true(strstr(p->nodes[0].node->members.addresses[0].reason,
                       "no answer to the handshake for 5000 ms") != NULL);
}

static void link_that_goes_on_talking_slowly_stays(void **state)
{
    struct pair *p = *state;
    struct peer x;
    pair_start(p, 0);
    peer_open(&x, p->nodes[0].node, p->now, LINK_RECEIVER);
    peer_hello(&x, NULL, 0);
    peer_begin(&x);
    for (uint32_t i = 0; i < 40; i++)
        frame_put_u64(&x.frame, i);
    peer_end(&x, FRAME_RECORDS);
    for (size_t i = 0; i < 40; i++) {
        x.now.mono_ms += 1000;
        peer_feed(&x, bytes_of(buffer_bytes(&x.frame).data + i, 1));
        link_tick(&x.link, x.now);
        assert_int_equal(x.link.state, LINK_LIVE);
    }
    peer_close(&x);
}

static void link_heartbeats_every_second_both_ways(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 2;
    p->nodes[1].peers = 1;
    pair_start(p, 0);
    pair_start(p, 1);
    pair_run(p, 2000);
    for (int i = 0; i < 20; i++) {
        pair_run(p, 500);
        for (uint32_t node = 0; node < 2; node++) {
            const struct link *sender = pair_link(p, node, 1 - node, LINK_SENDER);
            const struct link *receiver = pair_link(p, node, 1 - node, LINK_RECEIVER);
            assert_true(p->now.mono_ms - sender->heard_mono_ms <= LINK_HEARTBEAT_MS + 100);
            assert_true(p->now.mono_ms - receiver->heard_mono_ms <= LINK_HEARTBEAT_MS + 100);
        }
    }
}

static void link_redials_with_growing_pauses(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 2;
    pair_start(p, 0);
    pair_run(p, 60000);
    const struct address *a = &p->nodes[0].node->members.addresses[0];
    assert_int_equal(a->backoff_ms, DIAL_BACKOFF_MAX_MS);
    assert_int_equal(notice_count(p, 0), 1);
    pair_start(p, 1);
    pair_run(p, DIAL_BACKOFF_MAX_MS);
    assert_int_equal(node_linked_count(p->nodes[0].node), 1);
    pair_run(p, 2000);
    assert_int_equal(a->backoff_ms, 0);
}

static void link_from_the_same_run_takes_the_place_of_a_dead_one(void **state)
{
    struct pair *p = *state;
    struct peer first, second;
    pair_start(p, 0);
    peer_open(&first, p->nodes[0].node, p->now, LINK_RECEIVER);
    peer_hello(&first, NULL, 0);
    peer_open(&second, p->nodes[0].node, p->now, LINK_RECEIVER);
    peer_hello(&second, NULL, 0);
    assert_ptr_equal(first.link.member->receiver, &first.link);
    assert_int_equal(first.link.state, LINK_LIVE);
    peer_heartbeat(&second, NULL);
    assert_ptr_equal(second.link.member->receiver, &second.link);
    assert_true(link_is_finished(&first.link));
    peer_close(&first);
    peer_close(&second);
    assert_int_equal(notice_count(p, 0), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(link_handshake_links_two_nodes_both_ways),
        TEST(link_handshake_spreads_from_one_address_to_a_mesh),
        TEST(link_handshake_tells_clock_differences),
        TEST(link_drops_a_second_address_of_a_linked_member_quietly),
        TEST(link_to_oneself_is_dropped_and_never_dialled_again),
        TEST(link_lets_a_new_run_in_once_the_old_one_is_gone),
        TEST(link_refuses_another_cluster_and_both_say_so),
        TEST(link_logs_the_same_refusal_once_a_minute),
        TEST(link_refuses_a_name_that_a_live_node_uses),
        TEST(link_refuses_its_own_name),
        TEST(link_refuses_another_protocol_version_in_words),
        TEST(link_that_dialled_another_protocol_version_gives_up),
        TEST(link_refuses_when_there_is_no_room_for_a_member),
        TEST(link_refused_in_odd_bytes_keeps_its_reason_to_one_line),
        TEST(link_closes_after_five_seconds_of_silence),
        TEST(link_closes_when_the_handshake_is_not_answered),
        TEST(link_that_goes_on_talking_slowly_stays),
        TEST(link_heartbeats_every_second_both_ways),
        TEST(link_redials_with_growing_pauses),
        TEST(link_from_the_same_run_takes_the_place_of_a_dead_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
