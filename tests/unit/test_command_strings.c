/* Commands on values as a whole. */
#include "client.h"

#include <inttypes.h>

/* --- as lines ------------------------------------------------------------------------------ */

static void set_overwrites_and_takes_an_expiry_away(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "SETEX k 100 old", "OK");
    assert_answer(p, "SET k new", "OK");
    assert_answer(p, "GET k", "new");
    assert_answer(p, "TTL k", "-1");
    assert_answer(p, "COUNT", "1");
}

static void get_of_a_missing_key_says_so(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "GET k", "NOT_FOUND");
    assert_answer(p, "SET k ", "OK");
    assert_answer(p, "GET k", "");
}

static void keys_and_values_hold_any_bytes(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "SET \"\\x00\\n",
                  "ERROR malformed quoted string; it takes \\\" \\\\ \\xHH and "
                  "ends with \" and a space");
    assert_answer(p, "SET \"\\x00\\x0a\\xff\" v", "OK");
    assert_answer(p, "GET \"\\x00\\x0a\\xff\"", "v");
    assert_answer(p, "KEYS *", "1\n\"\\x00\\x0a\xff\"");
}

static void the_last_word_of_a_line_is_its_rest(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "SET k v NX", "OK");
    assert_answer(p, "GET k", "v NX");
    assert_answer(p, "SETEX k 5 a b", "OK");
    assert_answer(p, "PSETEX k 5000 a  b", "OK");
    assert_answer(p, "GET k", "a  b");
    assert_answer(p, "GETSET k c d", "a  b");
    assert_answer(p, "SETNX k x", "0");
    assert_answer(p, "SETNX other x y", "1");
    assert_answer(p, "MGET k other missing", "3\nc d\nx y\nNOT_FOUND");
}

/* --- as arrays ----------------------------------------------------------------------------- */

static void set_takes_conditions(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "SET k v XX", "$-1");
    assert_resp(p, "GET k", "$-1");
    assert_resp(p, "SET k v nx", "+OK");
    assert_resp(p, "SET k w NX", "$-1");
    assert_resp(p, "SET k w NX GET", "$1\r\nv");
    assert_resp(p, "SET k x XX GET", "$1\r\nv");
    assert_resp(p, "SET k ~ GET", "$1\r\nx");
    assert_resp(p, "GET k", "$0\r\n");
    assert_resp(p, "SET other x GET", "$-1");
    assert_resp(p, "GET other", "$1\r\nx");
    assert_resp(p, "SET third x XX GET", "$-1");
    assert_resp(p, "EXISTS third", ":0");
}

static void set_takes_an_expiry(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    char words[64];
    assert_resp(p, "SET k v EX 10", "+OK");
    assert_resp(p, "PTTL k", ":10000");
    assert_resp(p, "SET k v KEEPTTL", "+OK");
    assert_resp(p, "PTTL k", ":10000");
    assert_resp(p, "SET k v PX 70", "+OK");
    assert_resp(p, "PTTL k", ":70");
    uint64_t seconds = pair_now(p, 0).wall_ms / 1000 + 20;
    snprintf(words, sizeof words, "SET k v EXAT %" PRIu64, seconds);
    assert_resp(p, words, "+OK");
    snprintf(words, sizeof words, ":%" PRIu64, seconds);
    assert_resp(p, "EXPIRETIME k", words);
    assert_resp(p, "SET k v PXAT 1", "+OK"); /* is over */
    assert_resp(p, "DBSIZE", ":0");
    assert_resp(p, "GET k", "$-1");
    assert_resp(p, "SET k v KEEPTTL", "+OK");
    assert_resp(p, "PTTL k", ":-1");
}

static void set_refuses_options_that_exclude_each_other(void **state)
{
    struct pair *p = *state;
    static const char *const wrong[] = {"SET k v NX XX",
                                        "SET k v XX NX",
                                        "SET k v EX",
                                        "SET k v EX 5 PX 5",
                                        "SET k v EX 5 KEEPTTL",
                                        "SET k v FOO",
                                        "SET k v PERSIST",
                                        "SET k v KEEPTTL PXAT 5",
                                        "SET k v ~",
                                        "GETEX k KEEPTTL",
                                        "GETEX k NX",
                                        "GETEX k EX",
                                        "GETEX k PERSIST EX 10",
                                        "GETEX k EX 5 EXAT",
                                        "GETEX k EX 5 GET",
                                        "GETEX k PX 5 PERSIST"};
    pair_start(p, 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_resp(p, wrong[i], "-ERR syntax error");
    assert_resp(p, "SET k v EX 5 EX 7", "+OK"); /* as in Redis */
    assert_resp(p, "TTL k", ":7");
}

static void expiry_of_a_write_is_a_number_above_0(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "SET k v EX 0", "-ERR invalid expire time in 'set' command");
    assert_resp(p, "SET k v PXAT -5", "-ERR invalid expire time in 'set' command");
    assert_resp(p, "SET k v EX 01", "-ERR value is not an integer or out of range");
    assert_resp(p, "SETEX k 0 v", "-ERR invalid expire time in 'setex' command");
    assert_resp(p, "PSETEX k -1 v", "-ERR invalid expire time in 'psetex' command");
    assert_resp(p, "PSETEX k x v", "-ERR value is not an integer or out of range");
    assert_resp(p, "SET k v PX 9223372036854775807", "-ERR invalid expire time in 'set' command");
    assert_resp(p, "SET k v EX -9223372036854775808", "-ERR invalid expire time in 'set' command");
    assert_resp(p, "GETEX k EX 0", "$-1");
    assert_resp(p, "SET k v", "+OK");
    assert_resp(p, "GETEX k EX 0", "-ERR invalid expire time in 'getex' command");
}

static void getex_changes_the_expiry_only(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "SET k v", "+OK");
    assert_resp(p, "GETEX k", "$1\r\nv");
    assert_resp(p, "TTL k", ":-1");
    assert_resp(p, "GETEX k EX 10", "$1\r\nv");
    assert_resp(p, "TTL k", ":10");
    assert_resp(p, "GETEX k", "$1\r\nv");
    assert_resp(p, "TTL k", ":10");
    assert_resp(p, "GETEX k PERSIST", "$1\r\nv");
    assert_resp(p, "TTL k", ":-1");
    assert_resp(p, "GETEX k PXAT 1", "$1\r\nv");
    assert_resp(p, "DBSIZE", ":0");
    assert_resp(p, "GET k", "$-1");
}

static void getset_and_getdel_answer_what_was_there(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "GETSET k v", "$-1");
    assert_resp(p, "EXPIRE k 10", ":1");
    assert_resp(p, "GETSET k longer-than-before", "$1\r\nv");
    assert_resp(p, "TTL k", ":-1");
    assert_resp(p, "GETDEL k", "$18\r\nlonger-than-before");
    assert_resp(p, "GETDEL k", "$-1");
}

static void getrange_counts_from_both_ends(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "GETRANGE k 0 -1", "$0\r\n");
    assert_resp(p, "SET k 0123456789", "+OK");
    assert_resp(p, "GETRANGE k 0 -1", "$10\r\n0123456789");
    assert_resp(p, "SUBSTR k 2 4", "$3\r\n234");
    assert_resp(p, "GETRANGE k -3 100", "$3\r\n789");
    assert_resp(p, "GETRANGE k -3 -3", "$1\r\n7");
    assert_resp(p, "GETRANGE k -100 1", "$2\r\n01");
    assert_resp(p, "GETRANGE k -100 -50", "$1\r\n0");
    assert_resp(p, "GETRANGE k -50 -100", "$0\r\n");
    assert_resp(p, "GETRANGE k 5 4", "$0\r\n");
    assert_resp(p, "GETRANGE k 10 12", "$0\r\n");
    assert_resp(p, "GETRANGE k -9223372036854775808 9223372036854775807", "$10\r\n0123456789");
    assert_resp(p, "GETRANGE k x 1", "-ERR value is not an integer or out of range");
    assert_resp(p, "GETRANGE k 1 +1", "-ERR value is not an integer or out of range");
    assert_resp(p, "STRLEN k", ":10");
    assert_resp(p, "STRLEN missing", ":0");
}

static void mset_writes_all_or_none(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "MSET a 1 b", "-ERR wrong number of arguments for 'mset' command");
    assert_resp(p, "MSETNX a 1 b", "-ERR wrong number of arguments for 'msetnx' command");
    assert_resp(p, "MSET a 1 b 2 a 3", "+OK");
    assert_resp(p, "MGET a b c", "*3\r\n$1\r\n3\r\n$1\r\n2\r\n$-1");
    assert_resp(p, "MSETNX c 1 b 2", ":0");
    assert_resp(p, "MSETNX c 1 d 2", ":1");
    assert_resp(p, "MGET c d", "*2\r\n$1\r\n1\r\n$1\r\n2");
}

/* --- limits -------------------------------------------------------------------------------- */

static void no_value_is_larger_than_max_value(void **state)
{
    struct pair *p = *state;
    p->nodes[0].config.max_value_bytes = 8;
    pair_start(p, 0);
    assert_true(client_is_refused(p, "SET k 123456789",
                                  "value of 9 bytes; a value takes at most 8 (--max-value)"));
    assert_resp(p, "MSET a 1 k 123456789",
                "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    assert_resp(p, "MSET k 123456789 a 1",
                "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    assert_resp(p, "DBSIZE", ":0");
    assert_resp(p, "SET k 12345678", "+OK");
    assert_resp(p, "APPEND k 9", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    assert_resp(p, "SETRANGE k 8 x",
                "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    assert_resp(p, "SETRANGE k 9223372036854775807 x",
                "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    assert_resp(p, "SETRANGE k 7 x", ":8");
}

static void full_memory_refuses_what_adds_to_it(void **state)
{
    struct pair *p = *state;
    p->nodes[0].config.max_memory_bytes = 1;
    pair_start(p, 0);
    struct record rec = {
        .key = bytes_text("k"), .value = bytes_text("12345678"), .stamp = 5, .origin = 5};
    assert_int_equal(node_receive(p->nodes[0].node, &rec), 0); /* peers' records go on */
    static const char *const refused[] = {"SET other 1",    "SETEX other 5 1",  "MSET k 1 other 1",
                                          "MSETNX a 1 b 1", "SETNX other 1",    "INCR other",
                                          "APPEND other 1", "SETRANGE k 99 1",  "COPY k other",
                                          "SETRANGE a 1 1", "INCRBYFLOAT a 1.5"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        assert_resp(p, refused[i], "-OOM command not allowed when used memory > 'maxmemory'.");
    assert_resp(p, "GET k", "$8\r\n12345678");
    assert_resp(p, "SET k 87654321", "+OK");
    assert_resp(p, "INCR k", ":87654322");
    assert_resp(p, "EXPIRE k 100", ":1");
    assert_resp(p, "PERSIST k", ":1");
    assert_resp(p, "RENAME k other", "+OK");
    assert_resp(p, "DEL other", ":1");
}

static void set_refuses_more_than_the_memory_limit(void **state)
{
    struct pair *p = *state;
    char line[64];
    p->nodes[0].config.max_memory_bytes = 200000;
    pair_start(p, 0);
    uint32_t written = 0;
    for (; written < 100000; written++) {
        snprintf(line, sizeof line, "SET key%u some value", written);
        if (strcmp(pair_command(p, 0, line), "OK") != 0)
            break;
    }
    assert_in_range(written, 100, 2000);
    assert_true(store_memory_bytes(p->nodes[0].node->store) <= 200000 + 2000);
    assert_true(
        client_is_refused(p, "SET another value", "memory is full at 200000 bytes (--max-memory)"));
    assert_true(client_is_refused(p, "SETEX another 5 value", "memory is full"));
}

static void what_reads_first_is_refused_if_the_node_is_told_to(void **state)
{
    struct pair *p = *state;
    static const char *const refused[] = {
        "SET k v NX", "SET k v XX",  "SET k v GET", "SET k v KEEPTTL", "SETNX k v",
        "GETSET k v", "GETDEL k",    "MSETNX k v",  "INCR k",          "INCRBYFLOAT k 1",
        "APPEND k v", "DECRBY k 10", "RENAME k l",  "SETRANGE k 0 v",  "COPY k l"};
    p->nodes[0].config.rmw_reject = true;
    pair_start(p, 0);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        assert_non_null(strstr(client_send(p, refused[i]), "--rmw reject"));
    assert_resp(p, "SET k v EX 10", "+OK");
    assert_resp(p, "MSET k v l w", "+OK");
    assert_resp(p, "DEL k", ":1");
}

static void reads_count_hits_and_misses(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    const struct node_counters *c = &p->nodes[0].node->counters;
    client_send(p, "SET k v");
    client_send(p, "SETNX k v");
    client_send(p, "APPEND other v");
    assert_int_equal(c->hits + c->misses, 0);
    client_send(p, "MGET k missing k");
    client_send(p, "GET k");
    client_send(p, "STRLEN missing");
    assert_int_equal(c->hits, 3);
    assert_int_equal(c->misses, 2);
}

static void a_list_that_is_too_long_is_refused(void **state)
{
    struct pair *p = *state;
    char set[300], two[600];
    p->nodes[0].config.max_reply_bytes = 500;
    pair_start(p, 0);
    snprintf(set, sizeof set, "SET a %0200d", 1);
    snprintf(two, sizeof two, "*2\r\n$200\r\n%0200d\r\n$200\r\n%0200d", 1, 1);
    assert_resp(p, set, "+OK");
    assert_resp(p, "MGET a a", two);
    assert_resp(p, "MGET a a a",
                "-ERR the answer would be over 500 bytes (--max-reply); it takes "
                "several requests");
    /* Of a transaction, what does not fit is left out, and all of it is run. */
    assert_resp(p, "MULTI", "+OK");
    assert_resp(p, "MGET a a", "+QUEUED");
    assert_resp(p, "GETDEL a", "+QUEUED");
    assert_resp(p, "SET b 1", "+QUEUED");
    const char *reply = client_send(p, "EXEC");
    assert_memory_equal(reply, "*3\r\n*2\r\n$200", 12);
    assert_non_null(strstr(reply,
                           "\r\n-ERR the answer would be over 500 bytes (--max-reply); it takes "
                           "several requests\r\n+OK"));
    assert_resp(p, "MGET a b", "*2\r\n$-1\r\n$1\r\n1");
}

static void a_list_that_is_too_long_is_refused_in_a_line_too(void **state)
{
    struct pair *p = *state;
    p->nodes[0].config.max_reply_bytes = 60;
    pair_start(p, 0);
    assert_answer(p, "SET a 12345678901234567890", "OK");
    assert_true(client_is_refused(p, "MGET a a a a", "--max-reply"));
    assert_answer(p, "MGET a b", "2\n12345678901234567890\nNOT_FOUND");
}

static void what_reads_first_is_refused_with_rmw_reject(void **state)
{
    static const char *const LINES[] = {"EXPIRE k 5",    "PEXPIRE k 5", "EXPIREAT k 5",
                                        "PEXPIREAT k 5", "PERSIST k",   "GETEX k PERSIST",
                                        "GETDEL k",      "INCR k",      "APPEND k v",
                                        "SETNX k v",     "MULTI"};
    struct pair *p = *state;
    p->nodes[0].config.rmw_reject = true;
    pair_start(p, 0);
    assert_answer(p, "SETEX k 100 1", "OK");
    for (size_t i = 0; i < sizeof LINES / sizeof LINES[0]; i++)
        assert_true(client_is_refused(p, LINES[i], "--rmw reject"));
    assert_answer(p, "GETEX k", "1");
    assert_answer(p, "TTL k", "100");
    assert_answer(p, "DEL k", "1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(set_overwrites_and_takes_an_expiry_away),
        CLIENT_TEST(get_of_a_missing_key_says_so),
        CLIENT_TEST(keys_and_values_hold_any_bytes),
        CLIENT_TEST(the_last_word_of_a_line_is_its_rest),
        CLIENT_TEST(set_takes_conditions),
        CLIENT_TEST(set_takes_an_expiry),
        CLIENT_TEST(set_refuses_options_that_exclude_each_other),
        CLIENT_TEST(expiry_of_a_write_is_a_number_above_0),
        CLIENT_TEST(getex_changes_the_expiry_only),
        CLIENT_TEST(getset_and_getdel_answer_what_was_there),
        CLIENT_TEST(getrange_counts_from_both_ends),
        CLIENT_TEST(mset_writes_all_or_none),
        CLIENT_TEST(no_value_is_larger_than_max_value),
        CLIENT_TEST(full_memory_refuses_what_adds_to_it),
        CLIENT_TEST(set_refuses_more_than_the_memory_limit),
        CLIENT_TEST(what_reads_first_is_refused_if_the_node_is_told_to),
        CLIENT_TEST(reads_count_hits_and_misses),
        CLIENT_TEST(a_list_that_is_too_long_is_refused),
        CLIENT_TEST(a_list_that_is_too_long_is_refused_in_a_line_too),
        CLIENT_TEST(what_reads_first_is_refused_with_rmw_reject),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
