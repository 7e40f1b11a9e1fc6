/* MULTI, EXEC and WATCH. */
#include "client.h"

#include "kv/transaction.h"

static struct session *session_of(struct pair *p)
{
    return &p->nodes[0].session;
}

/* Somebody else writes. */
static void write_key(struct pair *p, const char *key, const char *value)
{
    struct record rec = {.key = bytes_text(key), .value = bytes_text(value)};
    assert_int_equal(node_write(p->nodes[0].node, pair_now(p, 0), &rec), 0);
}

static void exec_runs_what_was_queued(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "MULTI\nSET a 1\nINCR a\nGET a", "OK\nQUEUED\nQUEUED\nQUEUED");
    assert_int_equal(transaction_queued(session_of(p)), 3);
    assert_int_equal(store_live_count(p->nodes[0].node->store), 0);
    assert_answer(p, "EXEC", "3\nOK\n2\n2");
    assert_int_equal(transaction_queued(session_of(p)), -1);
    assert_answer(p, "GET a", "2");
    assert_answer(p, "MULTI\nEXEC", "OK\n0");
}

static void discard_forgets_what_was_queued_and_watched(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "WATCH a\nMULTI\nSET a 1\nDISCARD\nGET a", "OK\nOK\nQUEUED\nOK\nNOT_FOUND");
    write_key(p, "a", "other");
    assert_answer(p, "MULTI\nGET a\nEXEC", "OK\nQUEUED\n1\nother");
}

static void transaction_commands_out_of_their_place_change_nothing(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "EXEC", "ERROR EXEC without MULTI");
    assert_answer(p, "DISCARD", "ERROR DISCARD without MULTI");
    assert_answer(p, "UNWATCH", "OK");
    assert_answer(p, "MULTI\nSET a 1", "OK\nQUEUED");
    assert_answer(p, "MULTI", "ERROR MULTI calls can not be nested");
    assert_answer(p, "WATCH a", "ERROR WATCH inside MULTI is not allowed");
    assert_answer(p, "EXEC", "1\nOK");
}

static void watch_notices_every_change(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    for (int i = 0; i < 2; i++) { /* first it is missing, then it is there */
        assert_answer(p, "WATCH x a\nMULTI\nSET b 1", "OK\nOK\nQUEUED");
        write_key(p, "a", "1");
        assert_answer(p, "EXEC\nGET b", "NOT_FOUND\nNOT_FOUND");
    }
    assert_answer(p, "WATCH a\nMULTI\nGET a", "OK\nOK\nQUEUED");
    write_key(p, "unwatched", "1");
    assert_answer(p, "EXEC", "1\n1");
    assert_answer(p, "WATCH a\nDEL a\nMULTI\nSET b 1\nEXEC", "OK\n1\nOK\nQUEUED\nNOT_FOUND");
}

/* A key that is not there is the same to it as one that is deleted, or has expired. */
static void watch_knows_when_a_key_expires(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "PSETEX a 100 1\nWATCH a\nMULTI\nPING", "OK\nOK\nOK\nQUEUED");
    p->now.wall_ms += 100;
    assert_answer(p, "EXEC", "NOT_FOUND");
    assert_answer(p, "WATCH a\nDEL a\nMULTI\nPING\nEXEC", "OK\n0\nOK\nQUEUED\n1\n+PONG");
}

static void watch_ends_with_exec_and_unwatch(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "WATCH a\nMULTI\nEXEC", "OK\nOK\n0");
    write_key(p, "a", "1");
    assert_answer(p, "MULTI\nGET a\nEXEC", "OK\nQUEUED\n1\n1");
    assert_answer(p, "WATCH a\nUNWATCH", "OK\nOK");
    write_key(p, "a", "2");
    assert_answer(p, "MULTI\nGET a\nEXEC", "OK\nQUEUED\n1\n2");
}

static void unwatch_among_what_is_run_is_harmless(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "SET a 1\nMULTI\nUNWATCH\nGET a\nUNWATCH\nGET a\nEXEC",
                  "OK\nOK\nQUEUED\nQUEUED\nQUEUED\nQUEUED\n4\nOK\n1\nOK\n1");
}

static void what_is_malformed_is_refused_at_once_and_exec_then(void **state)
{
    static const char *const malformed[] = {
        "NOSUCH",       "GET",           "GET a b",          "MULTI x",
        "DISCARD x",    "WATCH",         "UNWATCH x",        "CONFIG",
        "CONFIG FROB",  "CONFIG GET",    "CLIENT GETNAME x", "OBJECT",
        "MEMORY USAGE", "COMMAND x",     "SLOWLOG LEN x",    "LATENCY HISTORY",
        "FUNCTION",     "OBJECT HELP x", "CLUSTER",          "BACKUP"};
    struct pair *p = *state;
    pair_start(p, 0);
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        pair_command(p, 0, "MULTI\nSET a 1");
        assert_true(client_is_refused(p, malformed[i], ""));
        assert_int_equal(transaction_queued(session_of(p)), 1);
        assert_answer(p, "SET a 2", "QUEUED");
        assert_answer(p, "EXEC\nCOUNT",
                      "ERROR Transaction discarded because of previous errors.\n0");
    }
}

static void a_malformed_exec_ends_the_transaction(void **state)
{
    struct pair *p = *state;
    const char *refusal = "ERROR Transaction discarded because of: wrong number of arguments "
                          "for 'exec' command";
    pair_start(p, 0);
    assert_answer(p, "EXEC x", refusal);
    assert_answer(p, "MULTI\nSET a 1", "OK\nQUEUED");
    assert_answer(p, "EXEC x", refusal);
    assert_answer(p, "EXEC", "ERROR EXEC without MULTI");
    assert_answer(p, "WATCH a", "OK");
    assert_answer(p, "EXEC x", refusal);
    write_key(p, "a", "2");
    assert_answer(p, "MULTI\nGET a\nEXEC", "OK\nQUEUED\n1\n2");
}

static void an_error_of_what_is_run_leaves_the_others(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "MULTI\nSET a x\nINCR a\nSET b 1", "OK\nQUEUED\nQUEUED\nQUEUED");
    assert_answer(p, "EXEC", "3\nOK\nERROR value is not an integer or out of range\nOK");
}

static void exec_promises_as_much_as_its_writes(void **state)
{
    static const char *const transactions[] = {"MULTI\nSET a 1\nGET a", "MULTI\nGET a\nSET a 1"};
    struct pair *p = *state;
    p->nodes[0].config.min_acks = 1;
    p->nodes[0].config.ack_timeout_ms = 1000;
    pair_start(p, 0);
    for (size_t i = 0; i < 2; i++) {
        assert_answer(p, transactions[i], "OK\nQUEUED\nQUEUED");
        assert_answer(p, "EXEC", "");
        pair_run(p, 1500);
        assert_non_null(strstr(pair_replies(p, 0), "0 of 1 peers confirmed within"));
    }
    assert_answer(p, "MULTI\nGET a\nEXEC", "OK\nQUEUED\n1\n1");
}

static void exec_runs_while_the_node_loads_what_may_run_then(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    p->nodes[0].node->loading = true;
    client_send(p, "MULTI");
    assert_resp(p, "ECHO a", "+QUEUED");
    assert_resp(p, "GET a", "+QUEUED");
    const char *reply = client_send(p, "EXEC");
    assert_memory_equal(reply, "*2\r\n$1\r\na\r\n-LOADING ", 20);
    p->nodes[0].node->loading = false;
}

static void waiting_does_not_wait_within_exec(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    client_send(p, "MULTI");
    assert_resp(p, "WAIT 5 0", "+QUEUED");
    assert_resp(p, "WAITAOF 0 5 0", "+QUEUED");
    assert_resp(p, "EXEC", "*2\r\n:0\r\n*2\r\n:0\r\n:0");
}

static void exec_may_end_its_own_connection(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    client_send(p, "MULTI");
    assert_resp(p, "CLIENT KILL ID 1 SKIPME no", "+QUEUED");
    assert_resp(p, "PING", "+QUEUED");
    assert_resp(p, "EXEC", "*2\r\n:1\r\n+PONG");
    assert_true(session_finished(session_of(p)));
}

static void as_many_keys_are_watched_as_the_limit_tells(void **state)
{
    struct pair *p = *state;
    char line[64];
    pair_start(p, 0);
    for (unsigned i = 0; i < TRANSACTION_WATCHES_MAX; i += 2) {
        snprintf(line, sizeof line, "WATCH k%u k%u", i, i + 1);
        assert_answer(p, line, "OK");
    }
    assert_answer(p, "WATCH one", "ERROR at most 10000 keys can be watched");
    assert_answer(p, "MULTI\nPING\nEXEC", "OK\nQUEUED\n1\n+PONG");
    assert_answer(p, "WATCH one", "OK");
}

static void what_is_queued_is_limited(void **state)
{
    struct pair *p = *state;
    p->nodes[0].config.max_query_bytes = 100;
    pair_start(p, 0);
    /* 8 for how many words, and 8 each: 8 + (8 + 3) + (8 + 1) + (8 + 4) = 40 */
    assert_answer(p, "MULTI\nSET a 1234\nSET b 1234", "OK\nQUEUED\nQUEUED");
    assert_answer(p, "SET c 1234", "ERROR a transaction takes at most 100 bytes (--max-query)");
    assert_answer(p, "EXEC", "ERROR Transaction discarded because of previous errors.");
}

/* Returns whether an allocation failed. All is run then or nothing, and what was watched is not forgotten
 * in silence. */
static bool check_memory(uint64_t n)
{
    struct pair p;
    pair_open(&p, 1);
    pair_start(&p, 0);
    buffer_reserve(session_output(&p.nodes[0].session), 1u << 10);
    failing_heap_arm(&p.heap, n);
    session_read(&p.nodes[0].session, p.now, bytes_text("WATCH w\nMULTI\nSET a 1\nSET b 2\n"));
    bool failed = failing_heap_disarm(&p.heap);
    if (!p.nodes[0].session.failed) {
        write_key(&p, "w", "1");
        pair_command(&p, 0, "EXEC");
        uint64_t count = store_live_count(p.nodes[0].node->store);
        assert_true(count == 1 || (count == 3 && failed));
    }
    pair_close(&p);
    return failed;
}

static void without_memory_nothing_is_forgotten_in_silence(void **state)
{
    (void)state;
    uint64_t n = 1;
    while (check_memory(n))
        n++;
    assert_true(n > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(exec_runs_what_was_queued),
        CLIENT_TEST(discard_forgets_what_was_queued_and_watched),
        CLIENT_TEST(transaction_commands_out_of_their_place_change_nothing),
        CLIENT_TEST(watch_notices_every_change),
        CLIENT_TEST(watch_knows_when_a_key_expires),
        CLIENT_TEST(watch_ends_with_exec_and_unwatch),
        CLIENT_TEST(unwatch_among_what_is_run_is_harmless),
        CLIENT_TEST(what_is_malformed_is_refused_at_once_and_exec_then),
        CLIENT_TEST(a_malformed_exec_ends_the_transaction),
        CLIENT_TEST(an_error_of_what_is_run_leaves_the_others),
        CLIENT_TEST(exec_promises_as_much_as_its_writes),
        CLIENT_TEST(exec_runs_while_the_node_loads_what_may_run_then),
        CLIENT_TEST(waiting_does_not_wait_within_exec),
        CLIENT_TEST(exec_may_end_its_own_connection),
        CLIENT_TEST(as_many_keys_are_watched_as_the_limit_tells),
        CLIENT_TEST(what_is_queued_is_limited),
        cmocka_unit_test(without_memory_nothing_is_forgotten_in_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
