/* Commands on keys: what they do, answer and refuse. */
#include "pair.h"
#include "unit.h"

static int set_up(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    pair_open(p, 1);
    p->nodes[0].peers = 0;
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

#define assert_answer(p, line, answer) assert_string_equal(pair_command(p, 0, line), answer)

static bool is_error(struct pair *p, const char *line, const char *part)
{
    const char *reply = pair_command(p, 0, line);
    return strncmp(reply, "ERROR ", 6) == 0 && strstr(reply, part) != NULL &&
           strchr(reply, '\n') == NULL;
}

static void command_set_overwrites_and_takes_an_expiry_away(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "SETEX k 100 old", "OK");
    assert_answer(p, "SET k new", "OK");
    assert_answer(p, "GET k", "new");
    assert_answer(p, "TTL k", "-1");
    assert_answer(p, "COUNT", "1");
}

static void command_get_of_a_missing_key_says_so(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "GET k", "NOT_FOUND");
    assert_answer(p, "SET k ", "OK");
    assert_answer(p, "GET k", "");
}

static void command_keys_and_values_hold_any_bytes(void **state)
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

static void command_del_counts_what_was_there(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "SET a 1\nSET b 2", "OK\nOK");
    assert_answer(p, "DEL a x b a", "2");
    assert_answer(p, "DEL a", "0");
    assert_answer(p, "COUNT", "0");
}

static void command_exists_counts_every_word(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    pair_command(p, 0, "SET a 1");
    assert_answer(p, "EXISTS a b a", "2");
    assert_answer(p, "EXISTS b", "0");
}

static void command_setex_expires_to_the_millisecond(void **state)
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
}

static void command_setex_refuses_odd_times(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_true(is_error(p, "SETEX k 0 v", "1 second or more"));
    assert_true(is_error(p, "SETEX k -5 v", "1 second or more"));
    assert_true(is_error(p, "SETEX k 1.5 v", "whole number of seconds"));
    assert_true(is_error(p, "SETEX k soon v", "not 'soon'"));
    assert_true(is_error(p, "SETEX k 3162240001 v", "at most 3162240000"));
    assert_true(is_error(p, "SETEX k 99999999999999999999 v", "whole number"));
    assert_answer(p, "SETEX k 3162240000 v", "OK");
    assert_answer(p, "TTL k", "3162240000");
}

static void command_expire_sets_changes_and_ends_a_life(void **state)
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
    assert_true(is_error(p, "EXPIRE k x", "not 'x'"));
}

static void command_persist_takes_the_expiry_away(void **state)
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

static void command_ttl_rounds_to_the_nearest_second(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    pair_command(p, 0, "SETEX k 10 v");
    assert_answer(p, "TTL k", "10");
    p->now.wall_ms += 499;
    assert_answer(p, "TTL k", "10");
    p->now.wall_ms += 2;
    assert_answer(p, "TTL k", "9");
}

/* --- KEYS and COUNT ------------------------------------------------------------------------ */

static void command_keys_lists_what_matches(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    pair_command(p, 0, "SET user:1 a\nSET user:2 b\nSET other c\nSET gone d\nDEL gone");
    assert_answer(p, "KEYS other", "1\nother");
    assert_answer(p, "KEYS nothing*", "0");
    const char *reply = pair_command(p, 0, "KEYS user:?");
    assert_true(strcmp(reply, "2\nuser:1\nuser:2") == 0 || strcmp(reply, "2\nuser:2\nuser:1") == 0);
    assert_int_equal(strtol(pair_command(p, 0, "KEYS *"), NULL, 10), 3);
}

static void command_keys_refuses_a_store_over_the_limit(void **state)
{
    struct pair *p = *state;
    p->nodes[0].config.keys_limit = 2;
    pair_start(p, 0);
    pair_command(p, 0, "SET a 1\nSET b 1");
    assert_int_equal(strtol(pair_command(p, 0, "KEYS *"), NULL, 10), 2);
    pair_command(p, 0, "SET c 1");
    assert_true(is_error(p, "KEYS *", "at most 2 (--keys-limit); there are 3"));
    assert_answer(p, "COUNT", "3");
}

static void command_keys_refuses_a_glob_that_is_too_long(void **state)
{
    struct pair *p = *state;
    char line[300] = "KEYS ";
    pair_start(p, 0);
    memset(line + 5, 'g', 257);
    assert_true(is_error(p, line, "256"));
    line[5 + 256] = 0;
    assert_answer(p, line, "0");
}

static void command_count_is_right_after_every_kind_of_change(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "COUNT", "0");
    pair_command(p, 0, "SET a 1\nSET a 2\nSET b 1\nSETEX c 1 1\nDEL b");
    assert_answer(p, "COUNT", "2");
    pair_run(p, 1100);
    assert_answer(p, "COUNT", "1");
}

/* --- limits -------------------------------------------------------------------------------- */

static void command_set_refuses_more_than_the_memory_limit(void **state)
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
    assert_true(is_error(p, "SET another value", "memory is full at 200000 bytes (--max-memory)"));
    assert_true(is_error(p, "SETEX another 5 value", "memory is full"));
}

static void command_set_over_the_memory_limit_still_replaces_reads_and_deletes(void **state)
{
    struct pair *p = *state;
    p->nodes[0].config.max_memory_bytes = 1;
    pair_start(p, 0);
    struct record rec = {
        .key = bytes_text("k"), .value = bytes_text("12345678"), .stamp = 5, .origin = 5};
    assert_int_equal(node_receive(p->nodes[0].node, &rec), 0); /* peers' records go on */
    assert_answer(p, "SET k 87654321", "OK");
    assert_true(is_error(p, "SET k a value that takes more room than before", "memory is full"));
    assert_answer(p, "GET k", "87654321");
    assert_answer(p, "EXPIRE k 100", "1");
    assert_answer(p, "PERSIST k", "1");
    assert_answer(p, "DEL k", "1");
}

static void command_errors_are_one_line_whatever_was_sent(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_true(is_error(p, "EXPIRE a \"1\\x0a2\"", "whole number"));
    assert_true(is_error(p, "\"FR\\x0aOB\" x", "unknown command"));
    assert_true(is_error(p, "SETEX a \"\\x0a\\x0a\" v", "whole number"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(command_set_overwrites_and_takes_an_expiry_away),
        TEST(command_get_of_a_missing_key_says_so),
        TEST(command_keys_and_values_hold_any_bytes),
        TEST(command_del_counts_what_was_there),
        TEST(command_exists_counts_every_word),
        TEST(command_setex_expires_to_the_millisecond),
        TEST(command_setex_refuses_odd_times),
        TEST(command_expire_sets_changes_and_ends_a_life),
        TEST(command_persist_takes_the_expiry_away),
        TEST(command_ttl_rounds_to_the_nearest_second),
        TEST(command_keys_lists_what_matches),
        TEST(command_keys_refuses_a_store_over_the_limit),
        TEST(command_keys_refuses_a_glob_that_is_too_long),
        TEST(command_count_is_right_after_every_kind_of_change),
        TEST(command_set_refuses_more_than_the_memory_limit),
        TEST(command_set_over_the_memory_limit_still_replaces_reads_and_deletes),
        TEST(command_errors_are_one_line_whatever_was_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
