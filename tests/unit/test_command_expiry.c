/* Commands on when keys expire. */
#include "client.h"

#include <inttypes.h>

static void setex_expires_to_the_millisecond(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "SETEX k 2 v", "OK");
    p->now.wall_ms += 1999;
    assert_answer(p, "GET k", "v");
    p->now.wall_ms += 1;
    assert_answer(p, "GET k", "NOT_FOUND");
    assert_answer(p, "EXISTS k", "0");
    assert_answer(p, "TTL k", "-2");
    assert_answer(p, "DEL k", "0");
    assert_answer(p, "KEYS *", "0");
    assert_answer(p, "EXPIRE k 5", "0");
    assert_answer(p, "PERSIST k", "0");
    assert_answer(p, "TYPE k", "none");
    assert_answer(p, "SETNX k new", "1");
}

static void setex_refuses_odd_times(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_true(client_is_refused(p, "SETEX k 0 v", "1 second or more"));
    assert_true(client_is_refused(p, "SETEX k -5 v", "1 second or more"));
    assert_true(client_is_refused(p, "SETEX k 1.5 v", "whole number of seconds"));
    assert_true(client_is_refused(p, "SETEX k soon v", "not 'soon'"));
    assert_true(client_is_refused(p, "SETEX k 3162240001 v", "at most 3162240000"));
    assert_true(client_is_refused(p, "SETEX k 99999999999999999999 v", "whole number"));
    assert_true(client_is_refused(p, "PSETEX k 0 v", "1 millisecond or more"));
    assert_answer(p, "SETEX k 3162240000 v", "OK");
    assert_answer(p, "TTL k", "3162240000");
}

static void expire_sets_changes_and_ends_a_life(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "EXPIRE k 5", "0");
    pair_command(p, 0, "SET k some value");
    assert_answer(p, "EXPIRE k 100", "1");
    assert_answer(p, "TTL k", "100");
    assert_answer(p, "EXPIRE k 10", "1");
    assert_answer(p, "TTL k", "10");
    assert_answer(p, "GET k", "some value");
    assert_answer(p, "EXPIRE k 0", "1");
    assert_answer(p, "GET k", "NOT_FOUND");
    assert_answer(p, "EXPIRE k -1", "0");
    assert_true(client_is_refused(p, "EXPIRE k x", "not 'x'"));
}

static void persist_takes_the_expiry_away(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "PERSIST k", "0");
    pair_command(p, 0, "SETEX k 5 v");
    assert_answer(p, "PERSIST k", "1");
    assert_answer(p, "TTL k", "-1");
    assert_answer(p, "PERSIST k", "0");
    p->now.wall_ms += 10000;
    assert_answer(p, "GET k", "v");
}

static void ttl_rounds_to_the_nearest_second(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    pair_command(p, 0, "SETEX k 10 v");
    assert_answer(p, "TTL k", "10");
    p->now.wall_ms += 499;
    assert_answer(p, "TTL k", "10");
    p->now.wall_ms += 2;
    assert_answer(p, "TTL k", "9");
    assert_answer(p, "PTTL k", "9499");
}

static void every_clock_and_unit_names_the_same_time(void **state)
{
    struct pair *p = *state;
    char words[64], answer[32];
    pair_start(p, 0);
    p->now.wall_ms += 1000 - p->now.wall_ms % 1000;
    uint64_t now_ms = pair_now(p, 0).wall_ms;
    const struct {
        const char *name;
        uint64_t time;
    } cases[] = {{"EXPIRE", 7},
                 {"PEXPIRE", 7000},
                 {"EXPIREAT", now_ms / 1000 + 7},
                 {"PEXPIREAT", now_ms + 7000}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_resp(p, "SET k v", "+OK");
        assert_resp(p, "EXPIRETIME k", ":-1");
        snprintf(words, sizeof words, "%s k %" PRIu64, cases[i].name, cases[i].time);
        assert_resp(p, words, ":1");
        assert_resp(p, "TTL k", ":7");
        assert_resp(p, "PTTL k", ":7000");
        snprintf(answer, sizeof answer, ":%" PRIu64, now_ms / 1000 + 7);
        assert_resp(p, "EXPIRETIME k", answer);
        snprintf(answer, sizeof answer, ":%" PRIu64, now_ms + 7000);
        assert_resp(p, "PEXPIRETIME k", answer);
    }
    assert_resp(p, "PTTL missing", ":-2");
    assert_resp(p, "PEXPIRETIME missing", ":-2");
}

static void expire_takes_conditions(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "SET k v", "+OK");
    assert_resp(p, "EXPIRE k 10 XX", ":0");
    assert_resp(p, "EXPIRE k 10 GT", ":0"); /* no expiry is later than any */
    assert_resp(p, "EXPIRE k 10 LT", ":1");
    assert_resp(p, "EXPIRE k 20 LT", ":0");
    assert_resp(p, "EXPIRE k 10 LT", ":0");
    assert_resp(p, "EXPIRE k 10 GT", ":0");
    assert_resp(p, "EXPIRE k 20 gt", ":1");
    assert_resp(p, "EXPIRE k 30 NX", ":0");
    assert_resp(p, "EXPIRE k 5 XX LT", ":1");
    assert_resp(p, "TTL k", ":5");
    assert_resp(p, "PERSIST k", ":1");
    assert_resp(p, "EXPIRE k 30 NX", ":1");
    assert_resp(p, "EXPIRE k -1 GT", ":0");
    assert_resp(p, "EXPIRE k -1 LT", ":1");
    assert_resp(p, "EXISTS k", ":0");
}

static void expire_refuses_odd_words(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "EXPIRE k 10 FOO", "-ERR Unsupported option FOO");
    assert_resp(p, "EXPIRE k x FOO", "-ERR Unsupported option FOO");
    assert_resp(p, "EXPIRE k 10 NX XX",
                "-ERR NX and XX, GT or LT options at the same time are not compatible");
    assert_resp(p, "PEXPIREAT k 10 NX LT",
                "-ERR NX and XX, GT or LT options at the same time are not compatible");
    assert_resp(p, "EXPIRE k 10 GT XX LT",
                "-ERR GT and LT options at the same time are not compatible");
    assert_resp(p, "EXPIRE k x", "-ERR value is not an integer or out of range");
    assert_resp(p, "EXPIRE k 9223372036854775807", "-ERR invalid expire time in 'expire' command");
    assert_resp(p, "EXPIREAT k -9223372036854775808",
                "-ERR invalid expire time in 'expireat' command");
    assert_resp(p, "PEXPIRE k 9223372036854775807",
                "-ERR invalid expire time in 'pexpire' command");
    assert_resp(p, "PEXPIREAT k 9223372036854775807", ":0");
    assert_resp(p, "EXPIREAT k 9223372036854776", "-ERR invalid expire time in 'expireat' command");
    assert_resp(p, "PEXPIREAT k -9223372036854775808", ":0");
}

static void a_renamed_or_copied_key_keeps_its_expiry(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "SET k v PX 4000", "+OK");
    assert_resp(p, "SET l w", "+OK");
    assert_resp(p, "RENAME k l", "+OK");
    assert_resp(p, "PTTL l", ":4000");
    assert_resp(p, "COPY l m", ":1");
    assert_resp(p, "PTTL m", ":4000");
}

static void a_time_may_be_as_far_away_as_a_number_can_tell(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "SET k v PXAT 9223372036854775807", "+OK");
    assert_resp(p, "PEXPIRETIME k", ":9223372036854775807");
    assert_resp(p, "GET k", "$1\r\nv");
    assert_resp(p, "EXPIREAT k 9223372036854775 LT", ":1");
    assert_resp(p, "EXPIRETIME k", ":9223372036854775");
    assert_resp(p, "PEXPIREAT k -9223372036854775808", ":1");
    assert_resp(p, "EXISTS k", ":0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(setex_expires_to_the_millisecond),
        CLIENT_TEST(setex_refuses_odd_times),
        CLIENT_TEST(expire_sets_changes_and_ends_a_life),
        CLIENT_TEST(persist_takes_the_expiry_away),
        CLIENT_TEST(ttl_rounds_to_the_nearest_second),
        CLIENT_TEST(every_clock_and_unit_names_the_same_time),
        CLIENT_TEST(expire_takes_conditions),
        CLIENT_TEST(expire_refuses_odd_words),
        CLIENT_TEST(a_time_may_be_as_far_away_as_a_number_can_tell),
        CLIENT_TEST(a_renamed_or_copied_key_keeps_its_expiry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
