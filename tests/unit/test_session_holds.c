/* Held replies: --min-acks and WAIT. A reply leaves when its promise is kept or its time is over,
 * and never out of its order. */
#include "pair.h"
#include "peer.h"
#include "unit.h"

#include "kv/session.h"

/* Three linked nodes; a is the one whose clients wait. */
static struct pair *open_three(uint32_t min_acks)
{
    struct pair *p = calloc(1, sizeof *p);
    assert_non_null(p);
    pair_open(p, 3);
    p->nodes[0].config.min_acks = min_acks;
    pair_start_all(p);
    pair_run(p, 2000);
    assert_true(pair_is_meshed(p));
    return p;
}

static void close_three(struct pair *p)
{
    pair_close(p);
    free(p);
}

static void feed(struct pair *p, const char *text)
{
    session_read(&p->nodes[0].session, pair_now(p, 0), bytes_text(text));
}

static void session_holds_a_write_until_enough_peers_confirm(void **state)
{
    (void)state;
    struct pair *p = open_three(2);
    p->stalled[2][0] = true;
    assert_string_equal(pair_command(p, 0, "SET k v"), "");
    pair_settle(p);
    assert_string_equal(pair_replies(p, 0), "");
    p->stalled[2][0] = false;
    pair_settle(p);
    assert_string_equal(pair_replies(p, 0), "OK");
    assert_true(session_deadline(&p->nodes[0].session) == MOMENT_NEVER);
    close_three(p);
}

static void session_answers_a_held_write_without_waiting_for_a_heartbeat(void **state)
{
    (void)state;
    struct pair *p = open_three(2);
    uint64_t before = p->now.mono_ms;
    assert_string_equal(pair_command(p, 0, "SET k v"), "");
    pair_settle(p);
    assert_string_equal(pair_replies(p, 0), "OK");
    assert_true(p->now.mono_ms == before);
    close_three(p);
}

static void session_says_how_many_confirmed_when_time_is_over(void **state)
{
    (void)state;
    struct pair *p = open_three(2);
    p->stalled[0][2] = true;
    pair_command(p, 0, "SET k v");
    pair_run(p, 950);
    assert_string_equal(pair_replies(p, 0), "");
    pair_run(p, 50);
    assert_string_equal(
        pair_replies(p, 0),
        "ERROR 1 of 2 peers confirmed within 1000 ms; the write stands on this node");
    assert_string_equal(pair_command(p, 0, "GET k"), "v");
    close_three(p);
}

static void session_keeps_every_reply_in_order_behind_a_hold(void **state)
{
    (void)state;
    struct pair *p = open_three(1);
    feed(p, "GET x\nSET k 1\nGET k\nNOSUCH\nSET k 2\nGET k\nDEL k nothing\nDEL nothing\nGET k\n");
    assert_string_equal(pair_replies(p, 0), "NOT_FOUND");
    pair_settle(p);
    assert_string_equal(pair_replies(p, 0),
                        "OK\n1\nERROR unknown command 'NOSUCH'; HELP lists the commands\n"
                        "OK\n2\n1\n0\nNOT_FOUND");
    close_three(p);
}

static void session_releases_holds_one_by_one_as_their_time_ends(void **state)
{
    (void)state;
    struct pair *p = open_three(2);
    pair_cut(p, 0, 1);
    pair_cut(p, 0, 2);
    pair_command(p, 0, "SET a 1");
    pair_run(p, 500);
    feed(p, "GET a\nSET b 2\nGET b\n");
    assert_string_equal(pair_replies(p, 0), "");
    pair_run(p, 500);
    assert_string_equal(
        pair_replies(p, 0),
        "ERROR 0 of 2 peers confirmed within 1000 ms; the write stands on this node\n1");
    pair_run(p, 500);
    assert_string_equal(
        pair_replies(p, 0),
        "ERROR 0 of 2 peers confirmed within 1000 ms; the write stands on this node\n2");
    close_three(p);
}

static void session_does_not_hold_what_wrote_nothing(void **state)
{
    (void)state;
    struct pair *p = open_three(2);
    pair_cut(p, 0, 1);
    assert_string_equal(pair_command(p, 0, "DEL nothing"), "0");
    assert_string_equal(pair_command(p, 0, "EXPIRE nothing 5"), "0");
    assert_string_equal(pair_command(p, 0, "PING"), "+PONG");
    close_three(p);
}

static void session_says_goodbye_only_after_its_held_replies(void **state)
{
    (void)state;
    struct pair *p = open_three(2);
    feed(p, "SET k v\nQUIT\nSET k w\n");
    assert_false(session_finished(&p->nodes[0].session));
    pair_settle(p);
    assert_false(session_finished(&p->nodes[0].session));
    assert_string_equal(pair_replies(p, 0), "OK\n+OK");
    assert_true(session_finished(&p->nodes[0].session));
    close_three(p);
}

static void session_refuses_behind_a_hold_in_order(void **state)
{
    (void)state;
    struct pair *p = open_three(1);
    feed(p, "SET k v\nGET \"k\nPOST /\n");
    assert_string_equal(pair_replies(p, 0), "");
    pair_settle(p);
    assert_string_equal(
        pair_replies(p, 0),
        "OK\nERROR malformed quoted string; it takes \\\" \\\\ \\xHH and ends with \" and a space\n"
        "ERROR this is not an HTTP server; the connection ends here");
    close_three(p);
}

static void session_ended_by_its_client_still_gets_its_held_reply(void **state)
{
    (void)state;
    struct pair *p = open_three(1);
    struct session *s = &p->nodes[0].session;
    feed(p, "SET k v");
    session_read_end(s, p->now);
    assert_false(session_finished(s));
    pair_settle(p);
    assert_string_equal(pair_replies(p, 0), "OK");
    assert_true(session_finished(s));
    close_three(p);
}

/* It may be gone: nobody could tell. Asked before its end, or by its last words. */
static void session_waits_a_minute_at_most_for_a_client_that_has_ended(void **state)
{
    (void)state;
    static const char *const waits[] = {"WAIT 5 0\n", "WAIT 5 86400000\n", "WAIT 5 0",
                                        "WAIT 5 86400000"};
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        struct pair *p = open_three(0);
        struct session *s = &p->nodes[0].session;
        feed(p, "SET k v\n");
        feed(p, waits[i]);
        session_read_end(s, p->now);
        pair_run(p, 59000);
        assert_false(session_finished(s));
        pair_run(p, 2000);
        assert_string_equal(pair_replies(p, 0), "OK\n2");
        assert_true(session_finished(s));
        close_three(p);
    }
}

static void session_puts_commands_off_while_held_replies_pile_up(void **state)
{
    (void)state;
    struct pair *p = calloc(1, sizeof *p);
    pair_open(p, 2);
    p->nodes[0].config.min_acks = 1;
    p->nodes[0].config.max_output_bytes = 9;
    pair_start_all(p);
    pair_run(p, 2000);
    feed(p, "SET a 1\nSET b 1\nSET c 1\nSET d 1\n");
    /* One is enough: what a held reply costs beside its text counts too. */
    assert_false(session_wants_input(&p->nodes[0].session));
    assert_int_equal(store_live_count(p->nodes[0].node->store), 1);
    pair_settle(p);
    assert_string_equal(pair_replies(p, 0), "OK");
    session_resume(&p->nodes[0].session, p->now);
    assert_int_equal(store_live_count(p->nodes[0].node->store), 2);
    close_three(p);
}

/* --- WAIT ---------------------------------------------------------------------------------- */

static void wait_answers_at_once_when_enough_have_confirmed(void **state)
{
    (void)state;
    struct pair *p = open_three(0);
    assert_string_equal(pair_command(p, 0, "WAIT 0 0"), "2");
    pair_command(p, 0, "SET k v");
    pair_run(p, 2000);
    assert_string_equal(pair_command(p, 0, "WAIT 2 0"), "2");
    close_three(p);
}

static void wait_waits_for_the_last_write_of_this_connection(void **state)
{
    (void)state;
    struct pair *p = open_three(0);
    p->stalled[0][1] = p->stalled[0][2] = true;
    feed(p, "SET k v\nWAIT 1 60000\nGET k\n");
    assert_string_equal(pair_replies(p, 0), "OK");
    p->stalled[0][1] = false;
    pair_settle(p);
    assert_string_equal(pair_replies(p, 0), "1\nv");
    close_three(p);
}

static void wait_answers_what_there_is_when_time_is_over(void **state)
{
    (void)state;
    struct pair *p = open_three(0);
    p->stalled[0][2] = true;
    feed(p, "SET k v\nWAIT 2 700\n");
    assert_string_equal(pair_replies(p, 0), "OK");
    pair_run(p, 650);
    assert_string_equal(pair_replies(p, 0), "");
    pair_run(p, 50);
    assert_string_equal(pair_replies(p, 0), "1");
    close_three(p);
}

static void wait_without_a_time_limit_waits_on(void **state)
{
    (void)state;
    struct pair *p = open_three(0);
    p->stalled[0][2] = p->stalled[2][0] = true;
    feed(p, "SET k v\nWAIT 2 0\n");
    assert_string_equal(pair_replies(p, 0), "OK");
    pair_run(p, 60000);
    assert_string_equal(pair_replies(p, 0), "");
    pair_heal(p, 0, 2);
    pair_run(p, 10000);
    assert_string_equal(pair_replies(p, 0), "2");
    close_three(p);
}

static void wait_before_any_write_counts_the_linked_peers(void **state)
{
    (void)state;
    struct pair *p = open_three(0);
    pair_stop(p, 2);
    pair_settle(p);
    assert_string_equal(pair_command(p, 0, "WAIT 1 100"), "1");
    assert_string_equal(pair_command(p, 0, "WAIT 2 60000"), "");
    pair_start(p, 2);
    pair_run(p, 6000);
    assert_string_equal(pair_replies(p, 0), "2");
    close_three(p);
}

static void node_confirmations_forget_a_run_that_has_ended(void **state)
{
    (void)state;
    struct pair *p = calloc(1, sizeof *p);
    struct peer x;
    struct vector confirmed;
    pair_open(p, 1);
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    for (uint64_t run = 1; run < 4; run++) {
        pair_command(p, 0, "SET k v");
        peer_open(&x, n, p->now, LINK_RECEIVER);
        x.origin = run;
        peer_hello(&x, NULL, 0);
        assert_int_equal(node_confirmations(n, 1), 0);
        vector_init(&confirmed, &x.heap);
        vector_advance(&confirmed, n->config.origin, n->last_write);
        peer_heartbeat(&x, &confirmed);
        vector_close(&confirmed);
        assert_int_equal(node_confirmations(n, n->last_write), 1);
        peer_close(&x);
        assert_int_equal(node_confirmations(n, n->last_write), 1); /* it may well be back */
    }
    close_three(p);
}

static void node_tick_names_the_deadline_of_a_held_reply(void **state)
{
    (void)state;
    struct pair *p = open_three(2);
    pair_cut(p, 0, 1);
    struct node *n = p->nodes[0].node;
    feed(p, "SET k v\n");
    uint64_t start = p->now.mono_ms;
    assert_int_equal(session_deadline(&p->nodes[0].session), start + 1000);
    p->now.mono_ms += 990;
    assert_int_equal(node_tick(n, p->now), start + 1000);
    p->now.mono_ms += 10;
    node_tick(n, p->now);
    assert_true(strncmp(pair_replies(p, 0), "ERROR 0 of 2", 12) == 0);
    close_three(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(session_holds_a_write_until_enough_peers_confirm),
        cmocka_unit_test(session_answers_a_held_write_without_waiting_for_a_heartbeat),
        cmocka_unit_test(session_says_how_many_confirmed_when_time_is_over),
        cmocka_unit_test(session_keeps_every_reply_in_order_behind_a_hold),
        cmocka_unit_test(session_releases_holds_one_by_one_as_their_time_ends),
        cmocka_unit_test(session_does_not_hold_what_wrote_nothing),
        cmocka_unit_test(session_says_goodbye_only_after_its_held_replies),
        cmocka_unit_test(session_refuses_behind_a_hold_in_order),
        cmocka_unit_test(session_ended_by_its_client_still_gets_its_held_reply),
        cmocka_unit_test(session_waits_a_minute_at_most_for_a_client_that_has_ended),
        cmocka_unit_test(session_puts_commands_off_while_held_replies_pile_up),
        cmocka_unit_test(wait_answers_at_once_when_enough_have_confirmed),
        cmocka_unit_test(wait_waits_for_the_last_write_of_this_connection),
        cmocka_unit_test(wait_answers_what_there_is_when_time_is_over),
        cmocka_unit_test(wait_without_a_time_limit_waits_on),
        cmocka_unit_test(wait_before_any_write_counts_the_linked_peers),
        cmocka_unit_test(node_confirmations_forget_a_run_that_has_ended),
        cmocka_unit_test(node_tick_names_the_deadline_of_a_held_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
