/* Commands that make a new value out of the old one. */
#include "client.h"

#include <inttypes.h>

static void incr_counts_from_nothing(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "INCR k", "1");
    assert_answer(p, "INCRBY k 41", "42");
    assert_answer(p, "DECR k", "41");
    assert_answer(p, "DECRBY k 50", "-9");
    assert_answer(p, "GET k", "-9");
}

static void incr_takes_whole_numbers_only(void **state)
{
    struct pair *p = *state;
    static const char *const wrong[] = {
        "01", "+1", "1.0", "-0", "-", "~", "0x1", "1e3", "9223372036854775808"};
    char words[64];
    pair_start(p, 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(words, sizeof words, "SET k %s", wrong[i]);
        assert_resp(p, words, "+OK");
        assert_resp(p, "INCR k", "-ERR value is not an integer or out of range");
        snprintf(words, sizeof words, "INCRBY k %s", wrong[i]);
        assert_resp(p, words, "-ERR value is not an integer or out of range");
    }
}

static void incr_does_not_overflow(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "INCRBY k 9223372036854775807", ":9223372036854775807");
    assert_resp(p, "INCR k", "-ERR increment or decrement would overflow");
    assert_resp(p, "DECRBY k -1", "-ERR increment or decrement would overflow");
    assert_resp(p, "DECRBY k -9223372036854775808", "-ERR decrement would overflow");
    assert_resp(p, "SET k -9223372036854775808", "+OK");
    assert_resp(p, "DECR k", "-ERR increment or decrement would overflow");
    assert_resp(p, "INCRBY k -1", "-ERR increment or decrement would overflow");
    assert_resp(p, "INCRBY k 9223372036854775807", ":-1");
}

static void what_is_derived_keeps_the_expiry(void **state)
{
    struct pair *p = *state;
    static const char *const words[] = {"INCR k", "INCRBYFLOAT k 0.5", "APPEND k x",
                                        "SETRANGE k 1 y"};
    pair_start(p, 0);
    assert_resp(p, "SET k 1 PX 5000", "+OK");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        client_send(p, words[i]);
        assert_resp(p, "PTTL k", ":5000");
    }
    assert_resp(p, "GET k", "$4\r\n2y5x");
}

static void incrbyfloat_prints_as_redis_does(void **state)
{
    struct pair *p = *state;
    static const struct {
        const char *value, *delta, *sum;
    } cases[] = {
        {"10.50", "0.1", "10.6"},
        {"5.0e3", "2.0e2", "5200"},
        {"3", "1.0", "4"},
        {"0.1", "0.2", "0.3"},
        {"1", "-1", "0"},
        {"-0.5", "0.5", "0"},
        {"0", "-0.0", "0"},
        {"3.0", "1.000000000000000005", "4.00000000000000001"},
        {"1e17", "0.5", "100000000000000000.5"},
        {"0x10", "0", "16"},
        {"1e20", "1e20", "200000000000000000000"},
        {"0", "1e-20", "0"},
        {"0", "-1e-20", "0"},
    };
    char words[64];
    if (unit_in_valgrind())
        skip();
    pair_start(p, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(words, sizeof words, "SET k %s", cases[i].value);
        pair_command(p, 0, words);
        snprintf(words, sizeof words, "INCRBYFLOAT k %s", cases[i].delta);
        assert_answer(p, words, cases[i].sum);
        assert_answer(p, "GET k", cases[i].sum);
    }
}

static void incrbyfloat_takes_finite_numbers_only(void **state)
{
    struct pair *p = *state;
    static const char *const wrong[] = {"nan", "x", "~", "1x", "1e5000", "1e-5000", "-1e99999"};
    char words[64];
    if (unit_in_valgrind())
        skip();
    pair_start(p, 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(words, sizeof words, "INCRBYFLOAT k %s", wrong[i]);
        assert_resp(p, words, "-ERR value is not a valid float");
    }
    assert_resp(p, "INCRBYFLOAT k inf", "-ERR increment would produce NaN or Infinity");
    assert_resp(p, "SET k -inf", "+OK");
    assert_resp(p, "INCRBYFLOAT k inf", "-ERR increment would produce NaN or Infinity");
    assert_resp(p, "SET k \t1", "+OK");
    assert_resp(p, "INCRBYFLOAT k 1", "-ERR value is not a valid float");
    assert_resp(p, "SET k 1.18973149535723176502e+4932", "+OK");
    assert_resp(p, "INCRBYFLOAT k 1e4932", "-ERR increment would produce NaN or Infinity");
    assert_int_equal(strlen(client_send(p, "INCRBYFLOAT k 1")), strlen("$4933\r\n") + 4933);
}

static void append_adds_to_the_end(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "APPEND k a b", "3");
    assert_answer(p, "APPEND k  c", "5");
    assert_answer(p, "GET k", "a b c");
    assert_resp(p, "APPEND k ~", ":5");
    assert_resp(p, "APPEND empty ~", ":0");
    assert_resp(p, "EXISTS empty", ":1");
}

static void setrange_overwrites_and_fills_up(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "SETRANGE k 5 ~", ":0");
    assert_resp(p, "EXISTS k", ":0");
    assert_resp(p, "SETRANGE k 0 hello", ":5");
    assert_resp(p, "SETRANGE k 1 ipp", ":5");
    assert_resp(p, "GET k", "$5\r\nhippo");
    assert_resp(p, "SETRANGE k 4 y!", ":6");
    assert_resp(p, "GET k", "$6\r\nhippy!");
    assert_resp(p, "SETRANGE k 99 ~", ":6");
    assert_resp(p, "SETRANGE k -1 x", "-ERR offset is out of range");
    assert_resp(p, "SETRANGE k x x", "-ERR value is not an integer or out of range");
    assert_resp(p, "SETRANGE k 8 z", ":9");
    struct record rec;
    assert_true(store_get(p->nodes[0].node->store, bytes_text("k"), 0, &rec));
    assert_bytes_equal(rec.value, bytes_of("hippy!\0\0z", 9));
}

/* Every allocation in turn fails: then a command answers so and changes nothing. Returns whether one
 * has failed. */
static bool check_without_memory(const char *words, uint64_t n)
{
    struct pair p;
    pair_open(&p, 1);
    p.nodes[0].peers = 0;
    pair_start(&p, 0);
    client_send(&p, "SET k 1");
    buffer_reserve(session_output(&p.nodes[0].session), 4096);
    char array[256];
    snprintf(array, sizeof array, "%s\r\n", words); /* inline: client_send itself needs memory */
    failing_heap_arm(&p.heap, n);
    session_read(&p.nodes[0].session, p.now, bytes_text(array));
    bool failed = failing_heap_disarm(&p.heap);
    bool refused = strstr(pair_replies(&p, 0), "out of memory") != NULL;
    if (!p.nodes[0].session.failed) {
        struct record rec;
        assert_true(!failed || refused);
        bool same = store_find(p.nodes[0].node->store, bytes_text("k"), &rec) &&
                    bytes_equal(rec.value, bytes_text("1")) && rec.expires_ms == 0;
        assert_int_equal(same, refused);
    }
    pair_close(&p);
    return failed;
}

static void without_memory_nothing_changes(void **state)
{
    (void)state;
    static const char *const commands[] = {
        "APPEND k a-longer-value-than-there-was",  "SETRANGE k 50 x",  "EXPIRE k 10",
        "GETSET k a-longer-value-than-there-was",  "GETDEL k",         "GETEX k EX 10",
        "SET k a-longer-value-than-there-was GET", "RENAME k another", "INCRBYFLOAT k 1e100"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        uint64_t n = 1;
        while (check_without_memory(commands[i], n))
            n++;
        assert_true(n > 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(incr_counts_from_nothing),
        CLIENT_TEST(incr_takes_whole_numbers_only),
        CLIENT_TEST(incr_does_not_overflow),
        CLIENT_TEST(what_is_derived_keeps_the_expiry),
        CLIENT_TEST(incrbyfloat_prints_as_redis_does),
        CLIENT_TEST(incrbyfloat_takes_finite_numbers_only),
        CLIENT_TEST(append_adds_to_the_end),
        CLIENT_TEST(setrange_overwrites_and_fills_up),
        cmocka_unit_test(without_memory_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
