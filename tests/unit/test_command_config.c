/* CONFIG: what is set, under Redis' names. */
#include "client.h"

#include "kv/slowlog.h"

#define FAILED(name) "-ERR CONFIG SET failed (possibly related to argument '" name "') - "

static void command_config_get_tells_what_matches(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "CONFIG GET databases", "2\ndatabases\n1");
    assert_answer(p, "CONFIG GET SLOWLOG*",
                  "4\nslowlog-log-slower-than\n10000\nslowlog-max-len\n128");
    assert_answer(p, "CONFIG GET maxmemor[xy] save appendonly save",
                  "6\nappendonly\nno\nmaxmemory\n0\nsave\n");
    assert_answer(p, "CONFIG GET nonsense", "0");
    client_send(p, "HELLO 3");
    assert_resp(p, "CONFIG GET save", "%1\r\n$4\r\nsave\r\n$0\r\n");
}

static void command_config_set_changes_what_it_names(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    assert_answer(p,
                  "CONFIG SET slowlog-log-slower-than -1 SLOWLOG-MAX-LEN 5 "
                  "latency-monitor-threshold 7 maxmemory 2kb",
                  "OK");
    assert_int_equal(n->slowlog->threshold_us, -1);
    assert_int_equal(n->slowlog->length_max, 5);
    assert_int_equal(n->slowlog->latency_threshold_ms, 7);
    assert_int_equal(n->config.max_memory_bytes, 2048);
    assert_answer(p, "CONFIG GET maxmemory", "2\nmaxmemory\n2048");
}

static void command_config_set_reads_units_of_memory(void **state)
{
    struct pair *p = *state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } GOOD[] = {{"0", 0},          {"7", 7},           {"7b", 7},
                {"1k", 1000},      {"1KB", 1024},      {"2m", 2000000},
                {"2mb", 2u << 20}, {"1g", 1000000000}, {"1Gb", 1u << 30}};
    static const char *const BAD[] = {"x", "-1", "1t", "1gbx", "mb", "9223372036854775807gb"};
    char line[80];
    pair_start(p, 0);
    for (size_t i = 0; i < sizeof GOOD / sizeof GOOD[0]; i++) {
        snprintf(line, sizeof line, "CONFIG SET maxmemory %s", GOOD[i].text);
        assert_answer(p, line, "OK");
        assert_int_equal(p->nodes[0].node->config.max_memory_bytes, GOOD[i].bytes);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        snprintf(line, sizeof line, "CONFIG SET maxmemory %s", BAD[i]);
        assert_resp(p, line, FAILED("maxmemory") "argument must be a memory value");
    }
    assert_int_equal(p->nodes[0].node->config.max_memory_bytes, 1u << 30);
}

static void command_config_set_does_all_or_nothing(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    struct slowlog *log = p->nodes[0].node->slowlog;
    assert_resp(p, "CONFIG SET slowlog-max-len 5 nonsense 1",
                "-ERR Unknown option or number of arguments for CONFIG SET - 'nonsense'");
    assert_resp(p, "CONFIG SET slowlog-max-len 5 databases 2",
                FAILED("databases") "can't set immutable config");
    assert_resp(p, "CONFIG SET slowlog-max-len 5 slowlog-max-len 6",
                FAILED("slowlog-max-len") "duplicate parameter");
    assert_resp(p, "CONFIG SET slowlog-log-slower-than 5 slowlog-max-len 1x",
                FAILED("slowlog-max-len") "argument couldn't be parsed into an integer");
    assert_resp(p, "CONFIG SET slowlog-max-len 10001",
                FAILED("slowlog-max-len") "argument must be between 0 and 10000 inclusive");
    assert_resp(p, "CONFIG SET slowlog-log-slower-than -2",
                FAILED("slowlog-log-slower-than") "argument must be between -1 and "
                                                  "9223372036854775807 inclusive");
    assert_resp(p, "CONFIG SET slowlog-max-len 5 x", "-ERR syntax error");
    assert_int_equal(log->length_max, SLOWLOG_LENGTH);
    assert_int_equal(log->threshold_us, SLOWLOG_THRESHOLD_US);
}

/* Tools switch saving and the append-only file off before they begin. */
static void command_config_set_takes_what_is_so_already(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "CONFIG SET appendonly no timeout 0", "OK");
    assert_resp(p, "CONFIG SET save ~", "+OK");
    assert_resp(p, "CONFIG SET appendonly yes", FAILED("appendonly") "can't set immutable config");
}

static void command_config_errors_are_those_of_redis(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(p, "CONFIG", "-ERR wrong number of arguments for 'config' command");
    assert_resp(p, "CONFIG GET", "-ERR wrong number of arguments for 'config|get' command");
    assert_resp(p, "CONFIG x", "-ERR unknown subcommand 'x'. Try CONFIG HELP.");
    assert_resp(p, "CONFIG REWRITE", "-ERR The server is running without a config file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(command_config_get_tells_what_matches),
        CLIENT_TEST(command_config_set_changes_what_it_names),
        CLIENT_TEST(command_config_set_reads_units_of_memory),
        CLIENT_TEST(command_config_set_does_all_or_nothing),
        CLIENT_TEST(command_config_set_takes_what_is_so_already),
        CLIENT_TEST(command_config_errors_are_those_of_redis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
