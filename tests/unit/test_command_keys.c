/* Commands on keys, one and all. */
#include "client.h"

static void del_counts_what_was_there(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "SET a 1\nSET b 2", "OK\nOK");
    assert_answer(p, "DEL a x b a", "2");
    assert_answer(p, "UNLINK a", "0");
    assert_answer(p, "COUNT", "0");
}

static void exists_counts_every_word(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    pair_command(p, 0, "SET a 1");
    assert_answer(p, "EXISTS a b a", "2");
    assert_answer(p, "TOUCH b", "0");
    assert_answer(p, "TYPE a", "string");
    assert_answer(p, "TYPE b", "none");
}

/* The command and `count` keys from k0 on, each followed by `value` if that is not NULL. */
static const char *send_many(struct pair *p, const char *command, int count, const char *value)
{
    static char words[4096];
    size_t size = (size_t)snprintf(words, sizeof words, "%s", command);
    for (int i = 0; i < count; i++)
        size += (size_t)snprintf(words + size, sizeof words - size,
                                 value != NULL ? " k%d %s" : " k%d", i, value);
    return client_send(p, words);
}

/* They look ahead, some keys at a time. */
static void commands_of_many_keys_treat_each_of_them(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    for (int count = 1; count <= 3 * (int)STORE_PREFETCH_MAX + 2; count++) {
        char number[16], reply[16];
        snprintf(number, sizeof number, ":%d", count);
        snprintf(reply, sizeof reply, "*%d\r\n$1\r\nw", count);
        assert_string_equal(send_many(p, "MSETNX", count, "v"), ":1");
        assert_string_equal(send_many(p, "EXISTS", count, NULL), number);
        assert_string_equal(send_many(p, "MSETNX", count + 1, "v"), ":0");
        assert_string_equal(send_many(p, "MSET", count, "w"), "+OK");
        assert_string_equal(send_many(p, "TOUCH", count + 1, NULL), number);
        const char *values = send_many(p, "MGET", count, NULL);
        assert_memory_equal(values, reply, strlen(reply));
        assert_null(strstr(values, "$-1"));
        assert_string_equal(send_many(p, count % 2 ? "DEL" : "UNLINK", count + 1, NULL), number);
        assert_int_equal(store_live_count(p->nodes[0].node->store), 0);
    }
}

static void rename_moves_a_value(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "RENAME a b", "-ERR no such key");
    assert_resp(p, "RENAMENX a a", "-ERR no such key");
    assert_resp(p, "MSET a 1 b another-size", "+OK");
    assert_resp(p, "RENAME a a", "+OK");
    assert_resp(p, "RENAMENX a a", ":0");
    assert_resp(p, "RENAMENX a b", ":0");
    assert_resp(p, "RENAME a b", "+OK");
    assert_resp(p, "MGET a b", "*2\r\n$-1\r\n$1\r\n1");
    assert_resp(p, "RENAMENX b c", ":1");
    assert_resp(p, "MGET b c", "*2\r\n$-1\r\n$1\r\n1");
    assert_resp(p, "DBSIZE", ":1");
}

static void copy_writes_a_value_twice(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "COPY a a", "-ERR source and destination objects are the same");
    assert_resp(p, "COPY a b", ":0");
    assert_resp(p, "MSET a 1 b 2", "+OK");
    assert_resp(p, "COPY a b", ":0");
    assert_resp(p, "COPY a b DB 0 REPLACE", ":1");
    assert_resp(p, "MGET a b", "*2\r\n$1\r\n1\r\n$1\r\n1");
    assert_resp(p, "COPY a b DB 1", "-ERR DB index is out of range");
    assert_resp(p, "COPY a b DB x", "-ERR value is not an integer or out of range");
    assert_resp(p, "COPY a b DB 2147483648",
                "-ERR value is out of range, value must between -2147483648 and 2147483647");
    assert_resp(p, "COPY a b DB", "-ERR syntax error");
    assert_resp(p, "COPY a b FOO", "-ERR syntax error");
}

/* --- all keys ------------------------------------------------------------------------------ */

static void keys_lists_what_matches(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    pair_command(p, 0, "SET user:1 a\nSET user:2 b\nSET other c\nSET gone d\nDEL gone");
    assert_answer(p, "KEYS other", "1\nother");
    assert_answer(p, "KEYS nothing*", "0");
    const char *reply = pair_command(p, 0, "KEYS user:?");
    assert_true(strcmp(reply, "2\nuser:1\nuser:2") == 0 || strcmp(reply, "2\nuser:2\nuser:1") == 0);
    assert_int_equal(strtol(pair_command(p, 0, "KEYS *"), NULL, 10), 3);
    assert_resp(p, "KEYS other", "*1\r\n$5\r\nother");
}

static void keys_refuses_a_store_over_the_limit(void **state)
{
    struct pair *p = *state;
    p->nodes[0].config.keys_limit = 2;
    pair_start(p, 0);
    pair_command(p, 0, "SET a 1\nSET b 1");
    assert_int_equal(strtol(pair_command(p, 0, "KEYS *"), NULL, 10), 2);
    pair_command(p, 0, "SET c 1");
    assert_true(
        client_is_refused(p, "KEYS *", "at most 2 (--keys-limit); there are 3; SCAN goes through"));
    assert_answer(p, "COUNT", "3");
}

static void keys_refuses_a_glob_that_is_too_long(void **state)
{
    struct pair *p = *state;
    char line[300] = "KEYS ";
    pair_start(p, 0);
    memset(line + 5, 'g', 257);
    assert_true(client_is_refused(p, line, "256"));
    line[5 + 256] = 0;
    assert_answer(p, line, "0");
}

static void count_is_right_after_every_kind_of_change(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "COUNT", "0");
    pair_command(p, 0, "SET a 1\nSET a 2\nSET b 1\nSETEX c 1 1\nDEL b");
    assert_answer(p, "COUNT", "2");
    pair_run(p, 1100);
    assert_answer(p, "COUNT", "1");
    assert_answer(p, "DBSIZE", "1");
}

static void randomkey_draws_every_key_alike(void **state)
{
    struct pair *p = *state;
    char line[32];
    uint32_t drawn[10] = {0};
    pair_start(p, 0);
    assert_answer(p, "RANDOMKEY", "NOT_FOUND");
    for (int i = 0; i < 10; i++) {
        snprintf(line, sizeof line, "SET %d v", i);
        pair_command(p, 0, line);
    }
    pair_command(p, 0, "SET gone v\nDEL gone\nPSETEX over 1 v");
    p->now.wall_ms += 1;
    random_init(&p->nodes[0].node->random, unit_seed(__func__));
    for (int i = 0; i < 1000; i++) {
        const char *key = pair_command(p, 0, "RANDOMKEY");
        assert_true(key[0] >= '0' && key[0] <= '9' && key[1] == 0);
        drawn[key[0] - '0']++;
    }
    /* 100 each, with a deviation of 9.5: these bounds are over five of them away. */
    for (int i = 0; i < 10; i++)
        assert_in_range(drawn[i], 50, 160);
}

static void randomkey_draws_every_key_of_a_partition_alike(void **state)
{
    struct pair *p = *state;
    char line[32];
    int names[4] = {0}, count = 1;
    uint32_t drawn[4] = {0};
    pair_start(p, 0);
    pair_command(p, 0, "SET 0 v");
    for (int i = 1; count < 4; i++) {
        snprintf(line, sizeof line, "%d", i);
        if (store_partition(bytes_text(line)) != store_partition(bytes_text("0")))
            continue;
        names[count++] = i;
        snprintf(line, sizeof line, "SET %d v", i);
        pair_command(p, 0, line);
    }
    random_init(&p->nodes[0].node->random, unit_seed(__func__));
    for (int i = 0; i < 1000; i++) {
        int key = atoi(pair_command(p, 0, "RANDOMKEY"));
        for (int j = 0; j < 4; j++)
            drawn[j] += names[j] == key;
    }
    /* 250 each, with a deviation of 13.7: these bounds are over five of them away. */
    for (int j = 0; j < 4; j++)
        assert_in_range(drawn[j], 175, 325);
}

static void randomkey_finds_one_among_many(void **state)
{
    struct pair *p = *state;
    char line[32];
    pair_start(p, 0);
    for (int i = 0; i < 5000; i++) {
        snprintf(line, sizeof line, "SET key%d v", i);
        pair_command(p, 0, line);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(line, sizeof line, "EXISTS %s", pair_command(p, 0, "RANDOMKEY"));
        assert_answer(p, line, "1");
    }
}

static void flushall_leaves_a_tombstone_for_every_key(void **state)
{
    struct pair *p = *state;
    char line[32];
    pair_start(p, 0);
    for (int i = 0; i < 5000; i++) {
        snprintf(line, sizeof line, "SET key%d v", i);
        pair_command(p, 0, line);
    }
    pair_command(p, 0, "PSETEX over 1 v");
    p->now.wall_ms += 1;
    assert_resp(p, "FLUSHALL NOW", "-ERR syntax error");
    assert_resp(p, "FLUSHALL SYNC ASYNC", "-ERR syntax error");
    assert_resp(p, "DBSIZE", ":5001");
    assert_resp(p, "FLUSHALL ASYNC", "");
    assert_string_equal(client_finish(p, 0), "+OK\r");
    assert_resp(p, "DBSIZE", ":0");
    struct store *s = p->nodes[0].node->store;
    assert_int_equal(store_tombstone_count(s), 5001);
    struct record rec;
    assert_true(store_find(s, bytes_text("key7"), &rec) && rec.tombstone);
    assert_true(rec.stamp >= stamp_of_wall(p->now.wall_ms));
    assert_resp(p, "SET key7 again", "+OK");
    assert_resp(p, "FLUSHDB", "");
    assert_string_equal(client_finish(p, 0), "+OK\r");
    assert_resp(p, "EXISTS key7", ":0");
}

static void flushall_deletes_on_every_node(void **state)
{
    (void)state;
    struct pair p;
    char line[80];
    pair_open(&p, 2);
    pair_start_all(&p);
    for (int i = 0; i < 500; i++) {
        snprintf(line, sizeof line, "SET key%d %040d", i, i); /* a tombstone is smaller */
        pair_command(&p, (uint32_t)i % 2, line);
    }
    pair_run(&p, 2000);
    assert_string_equal(pair_command(&p, 1, "COUNT"), "500");
    pair_command(&p, 0, "FLUSHALL");
    assert_string_equal(client_finish(&p, 0), "OK");
    pair_run(&p, 2000);
    assert_string_equal(pair_command(&p, 1, "COUNT"), "0");
    assert_true(pair_is_equal(&p));
    pair_close(&p);
}

/* --- OBJECT and MEMORY --------------------------------------------------------------------- */

static void object_tells_of_a_value(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "OBJECT ENCODING k", "$-1");
    assert_resp(p, "MSET k 12 l 012 m 123456789012345678901234567890123456789012345", "+OK");
    assert_resp(p, "OBJECT encoding k", "$3\r\nint");
    assert_resp(p, "OBJECT ENCODING l", "$6\r\nembstr");
    assert_resp(p, "OBJECT ENCODING m", "$3\r\nraw");
    assert_resp(p, "SET m 12345678901234567890123456789012345678901234", "+OK");
    assert_resp(p, "OBJECT ENCODING m", "$6\r\nembstr");
    assert_resp(p, "OBJECT REFCOUNT k", ":1");
    p->now.wall_ms += 3999;
    assert_resp(p, "OBJECT IDLETIME k", ":3");
    assert_non_null(strstr(client_send(p, "OBJECT FREQ k"), "-ERR An LFU maxmemory policy is not"));
    assert_resp(p, "OBJECT FREQ missing", "$-1");
    assert_resp(p, "OBJECT FOO k", "-ERR unknown subcommand 'FOO'. Try OBJECT HELP.");
    assert_resp(p, "OBJECT ENCODING",
                "-ERR wrong number of arguments for 'object|encoding' command");
    assert_int_equal(strncmp(client_send(p, "OBJECT HELP"), "*15\r\n+OBJECT <sub", 16), 0);
}

static void memory_usage_adds_up_to_what_the_store_takes(void **state)
{
    struct pair *p = *state;
    char line[80];
    uint64_t sum = 0;
    pair_start(p, 0);
    assert_resp(p, "MEMORY USAGE missing", "$-1");
    assert_resp(p, "MEMORY USAGE k SAMPLES", "-ERR syntax error");
    assert_resp(p, "MEMORY USAGE k SAMPLES x", "-ERR value is not an integer or out of range");
    assert_resp(p, "MEMORY USAGE k SAMPLES -1", "-ERR syntax error");
    for (int i = 0; i < 20000; i++) {
        snprintf(line, sizeof line, "SET key%d %0*d", i, i % 50 + 1, i);
        client_send(p, line);
    }
    for (int i = 0; i < 20000; i++) {
        snprintf(line, sizeof line, "MEMORY USAGE key%d", i);
        sum += strtoull(client_send(p, line) + 1, NULL, 10);
    }
    /* Each key's share of its table is rounded down. */
    uint64_t memory = store_memory_bytes(p->nodes[0].node->store);
    assert_in_range(sum, memory - 20000, memory);
}

static void errors_are_one_line_whatever_was_sent(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_true(client_is_refused(p, "EXPIRE a \"1\\x0a2\"", "whole number"));
    assert_true(client_is_refused(p, "\"FR\\x0aOB\" x", "unknown command"));
    assert_true(client_is_refused(p, "SETEX a \"\\x0a\\x0a\" v", "whole number"));
    assert_true(client_is_refused(p, "EXPIRE a 1 \"\\x0a\"", "Unsupported"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(del_counts_what_was_there),
        CLIENT_TEST(exists_counts_every_word),
        CLIENT_TEST(rename_moves_a_value),
        CLIENT_TEST(copy_writes_a_value_twice),
        CLIENT_TEST(keys_lists_what_matches),
        CLIENT_TEST(keys_refuses_a_store_over_the_limit),
        CLIENT_TEST(keys_refuses_a_glob_that_is_too_long),
        CLIENT_TEST(count_is_right_after_every_kind_of_change),
        CLIENT_TEST(randomkey_draws_every_key_alike),
        CLIENT_TEST(randomkey_draws_every_key_of_a_partition_alike),
        CLIENT_TEST(randomkey_finds_one_among_many),
        CLIENT_TEST(commands_of_many_keys_treat_each_of_them),
        CLIENT_TEST(flushall_leaves_a_tombstone_for_every_key),
        cmocka_unit_test(flushall_deletes_on_every_node),
        CLIENT_TEST(object_tells_of_a_value),
        CLIENT_TEST(memory_usage_adds_up_to_what_the_store_takes),
        CLIENT_TEST(errors_are_one_line_whatever_was_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
