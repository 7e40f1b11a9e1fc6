/* The options: what values are taken, and what is said about those that are not. */
#include "options_fixture.h"

static void options_parse_takes_sizes_with_units(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } CASES[] = {{"0", 0},
                 {"1", 1},
                 {"0GiB", 0},
                 {"3KiB", 3 * KIB},
                 {"7MiB", 7 * MIB},
                 {"2GiB", 2048 * MIB},
                 {"2gib", 2048 * MIB},
                 {"007KIB", 7 * KIB},
                 {"1024GiB", 1024 * 1024 * MIB}};
    for (size_t i = 0; i < COUNT_OF(CASES); i++) {
        assert_accepted(f, ARGUMENTS("--max-memory", CASES[i].text), NULL);
        assert_int_equal(f->o.max_memory_bytes, CASES[i].bytes);
    }
}

static void options_parse_takes_times_with_units(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text;
        uint64_t ms;
    } CASES[] = {{"0", 0},       {"250", 250},    {"250ms", 250},   {"60s", 60000},
                 {"2m", 120000}, {"1h", 3600000}, {"1d", 86400000}, {"24h", 86400000}};
    for (size_t i = 0; i < COUNT_OF(CASES); i++) {
        assert_accepted(f, ARGUMENTS("--shutdown-timeout", CASES[i].text), NULL);
        assert_int_equal(f->o.shutdown_timeout_ms, CASES[i].ms);
    }
}

static void options_parse_takes_each_log_level(void **state)
{
    struct fixture *f = *state;
    static const char *const NAMES[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < COUNT_OF(NAMES); i++) {
        assert_accepted(f, ARGUMENTS("--log-level", NAMES[i]), NULL);
        assert_int_equal(f->o.log_level, i);
    }
}

static void options_parse_takes_addresses_of_every_kind(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text, *host;
        uint16_t port;
    } CASES[] = {
        {"kv-node2:8080", "kv-node2", 8080},
        {"10.0.0.1:1", "10.0.0.1", 1},
        {"[::1]:65535", "::1", 65535},
        {"[fe80::1%eth0]:80", "fe80::1%eth0", 80},
        {"Node_3.example.:80", "Node_3.example.", 80},
        {"[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1", 80},
    };
    for (size_t i = 0; i < COUNT_OF(CASES); i++) {
        assert_accepted(f, ARGUMENTS("--advertise", CASES[i].text, "--peers", CASES[i].text), NULL);
        assert_string_equal(f->o.advertise.host, CASES[i].host);
        assert_int_equal(f->o.advertise.port, CASES[i].port);
        assert_string_equal(f->o.peers[0].host, CASES[i].host);
        assert_int_equal(f->o.peers[0].port, CASES[i].port);
    }
}

static void options_parse_takes_the_brackets_off_a_bind_address(void **state)
{
    struct fixture *f = *state;
    assert_accepted(f, ARGUMENTS("--bind", "[::1]"), NULL);
    assert_string_equal(f->o.bind, "::1");
    assert_accepted(f, ARGUMENTS("--bind", "fe80::1%eth0"), NULL);
    assert_string_equal(f->o.bind, "fe80::1%eth0");
}

static void options_parse_takes_each_peer_once(void **state)
{
    struct fixture *f = *state;
    assert_accepted(f, ARGUMENTS("--peers", " a:1, b:2,A:1 ,a:2,"), NULL);
    assert_int_equal(f->o.peer_count, 3);
    assert_string_equal(f->o.peers[1].host, "b");
    assert_int_equal(f->o.peers[2].port, 2);
}

static void options_parse_takes_peers_up_to_the_maximum(void **state)
{
    struct fixture *f = *state;
    char peers[16 * (OPTIONS_PEERS_MAX + 1)] = "";
    for (int i = 1; i <= OPTIONS_PEERS_MAX; i++)
        snprintf(peers + strlen(peers), sizeof peers - strlen(peers), "node:%d,", i);
    assert_accepted(f, ARGUMENTS("--peers", peers), NULL);
    assert_int_equal(f->o.peer_count, OPTIONS_PEERS_MAX);
    strcat(peers, "late:1");
    assert_refused(f, ARGUMENTS("--peers", peers), NULL, "at most 64 peers",
                   "wrong from \"late:1\" on");
}

static void options_parse_limits_names_to_64_bytes(void **state)
{
    struct fixture *f = *state;
    char name[OPTIONS_NAME_BYTES_MAX + 2] = "";
    memset(name, 'n', OPTIONS_NAME_BYTES_MAX);
    assert_accepted(f, ARGUMENTS("--name", name), NULL);
    assert_string_equal(f->o.name, name);
    name[OPTIONS_NAME_BYTES_MAX] = 'n';
    assert_refused(f, ARGUMENTS("--name", name), NULL, "--name", "1 to 64");
}

static void options_parse_limits_paths_to_255_bytes(void **state)
{
    struct fixture *f = *state;
    char path[OPTIONS_TEXT_MAX + 1] = "";
    memset(path, 'p', OPTIONS_TEXT_MAX - 1);
    assert_accepted(f, ARGUMENTS("--data-dir", path), NULL);
    assert_string_equal(f->o.data_dir, path);
    path[OPTIONS_TEXT_MAX - 1] = 'p';
    assert_refused(f, ARGUMENTS("--data-dir", path), NULL, "--data-dir", "at most 255 bytes");
}

/* Values that are refused, with a word of what would be right. */
static const struct {
    const char *option, *value, *expected;
} BAD_VALUES[] = {
    {"check", "", "a path"},
    {"fsync", "", "always|everysec|no"},
    {"fsync", "often", "always|everysec|no"},
    {"segment-size", "63KiB", "from 64KiB"},
    {"snapshot-size", "0", "from 64KiB"},
    {"snapshot-percent", "100001", "from 0 to 100000"},
    {"snapshot-percent", "2%", "from 0 to 100000"},
    {"port", "", "from 0 to 65535"},
    {"port", "x", "from 0 to 65535"},
    {"port", "-1", "from 0 to 65535"},
    {"port", "+1", "from 0 to 65535"},
    {"port", "65536", "from 0 to 65535"},
    {"port", "80x", "from 0 to 65535"},
    {"port", "0x50", "from 0 to 65535"},
    {"port", "8080 ", "from 0 to 65535"},
    {"port", " 8080", "from 0 to 65535"},
    {"port", "1.5", "from 0 to 65535"},
    {"port", "1e3", "from 0 to 65535"},
    {"port", "99999999999999999999", "from 0 to 65535"},
    {"port", "18446744073709551616", "from 0 to 65535"},
    {"bind", "", "numeric address"},
    {"bind", "localhost", "numeric address"},
    {"bind", "999.1.1.1", "numeric address"},
    {"bind", "127.1", "numeric address"},
    {"bind", "8080", "numeric address"},
    {"bind", "127.0.0.1:80", "numeric address"},
    {"bind", "[127.0.0.1]", "numeric address"},
    {"bind", "[::1", "numeric address"},
    {"bind", "::1]", "numeric address"},
    {"bind", "[]", "numeric address"},
    {"bind", ":::", "numeric address"},
    {"bind", "::1%", "numeric address"},
    {"bind", "127.0.0.1%lo", "numeric address"},
    {"bind", "*", "numeric address"},
    {"name", "", "printable ASCII"},
    {"name", "two words", "printable ASCII"},
    {"name", "a=b", "printable ASCII"},
    {"name", "tab bed", "printable ASCII"},
    {"cluster", "", "printable ASCII"},
    {"cluster", "a b", "printable ASCII"},
    {"cluster", "a=b", "printable ASCII"},
    {"peers", "noport", "such as kv-node2:8080"},
    {"peers", "host:", "such as kv-node2:8080"},
    {"peers", "host:0", "such as kv-node2:8080"},
    {"peers", "host:65536", "such as kv-node2:8080"},
    {"peers", "host:x", "such as kv-node2:8080"},
    {"peers", "host:-1", "such as kv-node2:8080"},
    {"peers", "host: 80", "such as kv-node2:8080"},
    {"peers", ":8080", "such as kv-node2:8080"},
    {"peers", ",", "such as kv-node2:8080"},
    {"peers", ",a:1", "such as kv-node2:8080"},
    {"peers", "a:1,,b:2", "such as kv-node2:8080"},
    {"peers", "a:1,b", "such as kv-node2:8080"},
    {"peers", "a:1 b:2", "such as kv-node2:8080"},
    {"peers", "a:1;b:2", "such as kv-node2:8080"},
    {"peers", "::1:80", "such as kv-node2:8080"},
    {"peers", "[::1]", "such as kv-node2:8080"},
    {"peers", "[::1]80", "such as kv-node2:8080"},
    {"peers", "[host]:80", "such as kv-node2:8080"},
    {"peers", "[]:80", "such as kv-node2:8080"},
    {"peers", "a b:80", "such as kv-node2:8080"},
    {"peers", "-a:80", "such as kv-node2:8080"},
    {"peers", "http://a:80", "such as kv-node2:8080"},
    {"peers", "a/b:80", "such as kv-node2:8080"},
    {"advertise", "noport", "host:port"},
    {"advertise", "host:0", "host:port"},
    {"advertise", "host:99999", "host:port"},
    {"advertise", "a:1,b:2", "host:port"},
    {"advertise", "::1:80", "host:port"},
    {"advertise", " a:1", "host:port"},
    {"min-acks", "", "from 0 to 64"},
    {"min-acks", "-1", "from 0 to 64"},
    {"min-acks", "x", "from 0 to 64"},
    {"min-acks", "1.5", "from 0 to 64"},
    {"min-acks", "65", "from 0 to 64"},
    {"min-acks", "4294967296", "from 0 to 64"},
    {"ack-timeout", "", "from 1ms to 1d"},
    {"ack-timeout", "0", "from 1ms to 1d"},
    {"ack-timeout", "soon", "from 1ms to 1d"},
    {"ack-timeout", "-5", "from 1ms to 1d"},
    {"ack-timeout", "10x", "from 1ms to 1d"},
    {"ack-timeout", "1KiB", "from 1ms to 1d"},
    {"ack-timeout", "1e3", "from 1ms to 1d"},
    {"ack-timeout", "1.5s", "from 1ms to 1d"},
    {"ack-timeout", "5 s", "from 1ms to 1d"},
    {"ack-timeout", "5S", "from 1ms to 1d"},
    {"ack-timeout", "s", "from 1ms to 1d"},
    {"ack-timeout", "25h", "from 1ms to 1d"},
    {"ack-timeout", "2d", "from 1ms to 1d"},
    {"ack-timeout", "86400001", "from 1ms to 1d"},
    {"ack-timeout", "213503982335d", "from 1ms to 1d"},
    {"ack-timeout", "99999999999999999999d", "from 1ms to 1d"},
    {"ack-timeout", "18446744073709551616", "from 1ms to 1d"},
    {"max-clock-drift", "", "from 10ms to 1d"},
    {"max-clock-drift", "0", "from 10ms to 1d"},
    {"max-clock-drift", "9", "from 10ms to 1d"},
    {"max-clock-drift", "-1s", "from 10ms to 1d"},
    {"max-clock-drift", "25h", "from 10ms to 1d"},
    {"max-clock-drift", "5KiB", "from 10ms to 1d"},
    {"tombstone-memory", "", "from 1KiB to 1024GiB"},
    {"tombstone-memory", "0", "from 1KiB to 1024GiB"},
    {"tombstone-memory", "1023", "from 1KiB to 1024GiB"},
    {"tombstone-memory", "1025GiB", "from 1KiB to 1024GiB"},
    {"tombstone-memory", "7d", "from 1KiB to 1024GiB"},
    {"forget-after", "", "from 1s to 3650d"},
    {"forget-after", "0", "from 1s to 3650d"},
    {"forget-after", "999", "from 1s to 3650d"},
    {"forget-after", "never", "from 1s to 3650d"},
    {"forget-after", "3651d", "from 1s to 3650d"},
    {"output-timeout", "0", "from 1ms to 1d"},
    {"output-timeout", "5MiB", "from 1ms to 1d"},
    {"shutdown-timeout", "x", "from 0ms to 1d"},
    {"shutdown-timeout", "-1s", "from 0ms to 1d"},
    {"max-memory", "", "from 0 to 1024GiB"},
    {"max-memory", "x", "from 0 to 1024GiB"},
    {"max-memory", "-1", "from 0 to 1024GiB"},
    {"max-memory", "10s", "from 0 to 1024GiB"},
    {"max-memory", "5XiB", "from 0 to 1024GiB"},
    {"max-memory", "5K", "from 0 to 1024GiB"},
    {"max-memory", "5MB", "from 0 to 1024GiB"},
    {"max-memory", "5 MiB", "from 0 to 1024GiB"},
    {"max-memory", "MiB", "from 0 to 1024GiB"},
    {"max-memory", "1.5GiB", "from 0 to 1024GiB"},
    {"max-memory", "1025GiB", "from 0 to 1024GiB"},
    {"max-memory", "17179869184GiB", "from 0 to 1024GiB"},
    {"max-memory", "17179869185GiB", "from 0 to 1024GiB"},
    {"max-memory", "99999999999999999999GiB", "from 0 to 1024GiB"},
    {"max-value", "0", "from 1 to 512MiB"},
    {"max-value", "513MiB", "from 1 to 512MiB"},
    {"max-value", "1GiB", "from 1 to 512MiB"},
    {"max-value", "536870913", "from 1 to 512MiB"},
    {"max-clients", "", "from 1 to 1000000"},
    {"max-clients", "0", "from 1 to 1000000"},
    {"max-clients", "-1", "from 1 to 1000000"},
    {"max-clients", "many", "from 1 to 1000000"},
    {"max-clients", "1MiB", "from 1 to 1000000"},
    {"max-clients", "1000001", "from 1 to 1000000"},
    {"journal-memory", "0", "from 1MiB to 1024GiB"},
    {"journal-memory", "1048575", "from 1MiB to 1024GiB"},
    {"journal-memory", "1023KiB", "from 1MiB to 1024GiB"},
    {"journal-memory", "x", "from 1MiB to 1024GiB"},
    {"max-reply", "65535", "from 64KiB to 1024GiB"},
    {"max-query", "65535", "from 64KiB to 1024GiB"},
    {"max-query", "x", "from 64KiB to 1024GiB"},
    {"max-arguments", "7", "from 8 to 4294967295"},
    {"max-arguments", "x", "from 8 to 4294967295"},
    {"rmw", "", "one of local|reject"},
    {"rmw", "yes", "one of local|reject"},
    {"keys-limit", "", "from 0 to 4294967295"},
    {"keys-limit", "-1", "from 0 to 4294967295"},
    {"keys-limit", "x", "from 0 to 4294967295"},
    {"keys-limit", "4294967296", "from 0 to 4294967295"},
    {"max-output", "0", "from 1KiB to 1024GiB"},
    {"max-output", "1023", "from 1KiB to 1024GiB"},
    {"max-output", "1m", "from 1KiB to 1024GiB"},
    {"max-output", "x", "from 1KiB to 1024GiB"},
    {"log-level", "", "debug|info|warn|error"},
    {"log-level", "verbose", "debug|info|warn|error"},
    {"log-level", "INFO", "debug|info|warn|error"},
    {"log-level", "debug|info", "debug|info|warn|error"},
    {"log-level", "inf", "debug|info|warn|error"},
    {"log-level", "info|", "debug|info|warn|error"},
    {"log-level", "|", "debug|info|warn|error"},
    {"log-format", "", "text|json"},
    {"log-format", "xml", "text|json"},
    {"log-format", "text|json", "text|json"},
    {"log-format", "jsonx", "text|json"},
};

static void options_parse_names_a_bad_value_and_what_is_right(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(BAD_VALUES); i++) {
        char shown[128];
        snprintf(shown, sizeof shown, "--%s \"%s\" (command line)", BAD_VALUES[i].option,
                 BAD_VALUES[i].value);
        char flag[64];
        snprintf(flag, sizeof flag, "--%s", BAD_VALUES[i].option);
        assert_refused(f, ARGUMENTS(flag, BAD_VALUES[i].value), NULL, shown,
                       BAD_VALUES[i].expected);
    }
}

static void options_parse_names_the_variable_of_a_bad_value(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, NOTHING, ARGUMENTS("KV_ACK_TIMEOUT=soon"),
                   "--ack-timeout \"soon\" (environment variable KV_ACK_TIMEOUT)", "ms, s, m");
}

static void options_parse_shows_a_bad_value_on_one_line_and_cut_short(void **state)
{
    struct fixture *f = *state;
    char endless[4096];
    memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    assert_refused(f, ARGUMENTS("--name", "two\nlines\x1b[31m\xff"), NULL,
                   "\"two\\nlines\\x1b[31m\\xff\"", "printable");
    assert_refused(f, ARGUMENTS("--bind", endless), NULL, "--bind \"xxx", "numeric");
    assert_refused(f, ARGUMENTS("--peers", endless), NULL, "--peers \"xxx", "host:port");
    assert_refused(f, ARGUMENTS("--config", endless), NULL, "--config \"xxx", "INI file");
    assert_refused(f, ARGUMENTS(endless), NULL, "xxx", "--option value");
}

static void options_parse_cuts_the_error_to_its_room(void **state)
{
    struct fixture *f = *state;
    char program[] = "simple-kv", flag[] = "--port=x";
    char *argv[] = {program, flag, NULL}, *env[] = {NULL};
    assert_int_equal(options_parse(&f->o, 2, argv, env, f->error, 12), -EINVAL);
    assert_string_equal(f->error, "--port \"\xe2\x80\xa6");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(options_parse_takes_sizes_with_units, set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_takes_times_with_units, set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_takes_each_log_level, set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_takes_addresses_of_every_kind, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_takes_the_brackets_off_a_bind_address, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_takes_each_peer_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_takes_peers_up_to_the_maximum, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_limits_paths_to_255_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_limits_names_to_64_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_names_a_bad_value_and_what_is_right, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_names_the_variable_of_a_bad_value, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_shows_a_bad_value_on_one_line_and_cut_short,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_cuts_the_error_to_its_room, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
