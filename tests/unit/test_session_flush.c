/* FLUSHALL of more than a turn deletes. */
#include "client.h"

#define KEYS 1000

/* Longer than what malloc rounds up: its tombstone takes an allocation. */
#define VALUE "a-value-of-thirty-two-characters"

static void fill(struct pair *p)
{
    pair_start(p, 0);
    for (int i = 0; i < KEYS; i++) {
        char line[64];
        snprintf(line, sizeof line, "SET k%d " VALUE, i);
        assert_answer(p, line, "OK");
    }
}

static struct session *session_of(struct pair *p)
{
    return &p->nodes[0].session;
}

static uint64_t left(const struct pair *p)
{
    return store_live_count(p->nodes[0].node->store);
}

/* Goes on until it is answered. Returns in how many turns. */
static int finish(struct pair *p)
{
    int turns = 0;
    for (; session_of(p)->flush != NULL; turns++) {
        uint64_t before = left(p);
        assert_true(session_is_waiting(session_of(p)));
        session_resume(session_of(p), pair_now(p, 0));
        assert_true(before - left(p) <= 128);
    }
    return turns;
}

static void flush_takes_turns_and_answers_in_the_end(void **state)
{
    struct pair *p = *state;
    fill(p);
    assert_answer(p, "FLUSHALL\nPING\n", "");
    assert_int_equal(left(p), KEYS);
    assert_false(session_wants_input(session_of(p)));
    assert_in_range(finish(p), KEYS / 128, STORE_PARTITIONS / 64);
    assert_int_equal(left(p), 0);
    /* What came behind it is answered behind it. */
    assert_string_equal(pair_replies(p, 0), "OK\n+PONG");
    assert_true(session_wants_input(session_of(p)));
    assert_answer(p, "COUNT", "0");
}

static void flush_leaves_what_was_written_after_it_began(void **state)
{
    struct pair *p = *state;
    struct record later = {.key = bytes_text("k7"), .value = bytes_text("new")};
    fill(p);
    assert_answer(p, "FLUSHALL", "");
    assert_int_equal(node_write(p->nodes[0].node, pair_now(p, 0), &later), 0);
    finish(p);
    pair_replies(p, 0);
    assert_answer(p, "GET k7", "new");
    assert_answer(p, "COUNT", "1");
}

/* With no key left there are all the tombstones to look at. */
static void flush_takes_turns_for_tombstones_too(void **state)
{
    struct pair *p = *state;
    fill(p);
    assert_answer(p, "FLUSHALL", "");
    finish(p);
    pair_replies(p, 0);
    assert_answer(p, "FLUSHALL", "");
    assert_true(finish(p) > 1);
    assert_string_equal(pair_replies(p, 0), "OK");
}

/* The connection waits for its end alone. */
static void flush_of_a_client_that_is_killed_goes_no_further(void **state)
{
    struct pair *p = *state;
    fill(p);
    assert_answer(p, "FLUSHALL\nPING\n", "");
    session_of(p)->killed = true;
    session_resume(session_of(p), pair_now(p, 0));
    assert_int_equal(left(p), KEYS);
    list_remove(&session_of(p)->ready);
    session_ask_turn(session_of(p));
    assert_true(list_is_empty(&session_of(p)->ready));
    assert_true(session_finished(session_of(p)));
}

static void flush_in_a_transaction_lets_nothing_between(void **state)
{
    struct pair *p = *state;
    fill(p);
    assert_answer(p, "MULTI\nFLUSHALL\nCOUNT\nEXEC", "OK\nQUEUED\nQUEUED\n2\nOK\n0");
    assert_null(session_of(p)->flush);
}

static void flush_after_watch_takes_turns_and_changes_what_is_watched(void **state)
{
    struct pair *p = *state;
    fill(p);
    assert_answer(p, "WATCH k7", "OK");
    assert_answer(p, "FLUSHALL\nMULTI\nGET k7\nEXEC\nCOUNT\n", "");
    assert_int_equal(left(p), KEYS);
    finish(p);
    assert_string_equal(pair_replies(p, 0), "OK\nOK\nQUEUED\nNOT_FOUND\n0");
}

static void flush_promises_as_much_as_other_writes(void **state)
{
    struct pair *p = *state;
    p->nodes[0].config.min_acks = 1;
    p->nodes[0].config.ack_timeout_ms = 1000;
    pair_start(p, 0);
    for (int keys = 1; keys <= KEYS; keys += KEYS - 1) {
        for (int i = 0; i < keys; i++) {
            char key[16];
            snprintf(key, sizeof key, "k%d", i);
            struct record rec = {.key = bytes_text(key), .value = bytes_text("v")};
            assert_int_equal(node_write(p->nodes[0].node, pair_now(p, 0), &rec), 0);
        }
        assert_answer(p, "FLUSHALL", "");
        assert_string_equal(client_finish(p, 0), "");
        assert_int_equal(left(p), 0);
        pair_run(p, 1500);
        assert_non_null(strstr(pair_replies(p, 0), "0 of 1 peers confirmed within"));
    }
}

/* Returns how many keys the answer says were deleted before memory ended. */
static uint64_t told(const char *answer)
{
    static const char text[] = "ERROR out of memory; ";
    assert_int_equal(strncmp(answer, text, sizeof text - 1), 0);
    return strtoul(answer + sizeof text - 1, NULL, 10);
}

static void flush_without_memory_tells_how_far_it_came(void **state)
{
    struct pair *p = *state;
    fill(p);
    assert_answer(p, "FLUSHALL", "");
    failing_heap_arm(&p->heap, KEYS / 2);
    finish(p);
    assert_true(failing_heap_disarm(&p->heap));
    assert_in_range(left(p), 1, KEYS - 1);
    assert_int_equal(told(pair_replies(p, 0)), KEYS - left(p));
    assert_answer(p, "MULTI\nFLUSHALL", "OK\nQUEUED");
    uint64_t before = left(p);
    failing_heap_arm(&p->heap, before / 2);
    const char *answer = pair_command(p, 0, "EXEC");
    assert_true(failing_heap_disarm(&p->heap));
    assert_in_range(left(p), 1, before - 1);
    assert_int_equal(told(answer + strlen("1\n")), before - left(p));
}

static void flush_of_a_client_that_leaves_is_left_off(void **state)
{
    struct pair *p = *state;
    fill(p);
    assert_answer(p, "FLUSHALL", "");
    session_resume(session_of(p), pair_now(p, 0));
    assert_true(left(p) < KEYS && left(p) > 0);
    pair_stop(p, 0); /* which closes the session: nothing may be lost of the heap */
}

static void flush_is_finished_for_a_client_that_has_ended_its_side(void **state)
{
    struct pair *p = *state;
    fill(p);
    assert_answer(p, "FLUSHALL", "");
    session_read_end(session_of(p), pair_now(p, 0));
    assert_false(session_finished(session_of(p)));
    finish(p);
    assert_int_equal(left(p), 0);
    assert_string_equal(pair_replies(p, 0), "OK");
    assert_true(session_finished(session_of(p)));
}

static void what_is_malformed_behind_flush_waits_for_its_answer(void **state)
{
    struct pair *p = *state;
    fill(p);
    session_read(session_of(p), pair_now(p, 0), bytes_text("*1\r\n$8\r\nFLUSHALL\r\n*x\r\n"));
    assert_false(session_of(p)->closing); /* else it would never be finished */
    finish(p);
    assert_int_equal(left(p), 0);
    assert_string_equal(pair_replies(p, 0),
                        "+OK\r\n-ERR Protocol error: invalid multibulk length\r");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(flush_takes_turns_and_answers_in_the_end),
        CLIENT_TEST(flush_leaves_what_was_written_after_it_began),
        CLIENT_TEST(flush_takes_turns_for_tombstones_too),
        CLIENT_TEST(flush_of_a_client_that_is_killed_goes_no_further),
        CLIENT_TEST(flush_in_a_transaction_lets_nothing_between),
        CLIENT_TEST(flush_after_watch_takes_turns_and_changes_what_is_watched),
        CLIENT_TEST(flush_promises_as_much_as_other_writes),
        CLIENT_TEST(flush_without_memory_tells_how_far_it_came),
        CLIENT_TEST(flush_of_a_client_that_leaves_is_left_off),
        CLIENT_TEST(flush_is_finished_for_a_client_that_has_ended_its_side),
        CLIENT_TEST(what_is_malformed_behind_flush_waits_for_its_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
