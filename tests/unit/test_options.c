/* The options: their sources and the order of these, the command line as a whole, and --help. */
#include "options_fixture.h"

/* -- sources */

static void options_parse_gives_every_option_its_default(void **state)
{
    struct fixture *f = *state;
    assert_accepted(f, NOTHING, NULL);
    const struct options *o = &f->o;
    assert_int_equal(o->port, 8080);
    assert_string_equal(o->bind, "127.0.0.1");
    assert_string_equal(o->name, "");
    assert_string_equal(o->cluster, "simple-kv");
    assert_int_equal(o->peer_count, 0);
    assert_string_equal(o->advertise.host, "");
    assert_string_equal(o->data_dir, "");
    assert_int_equal(o->fsync, STORAGE_SYNC_EVERYSEC);
    assert_int_equal(o->segment_bytes, 64 * MIB);
    assert_int_equal(o->snapshot_bytes, 64 * MIB);
    assert_int_equal(o->snapshot_percent, 150);
    assert_string_equal(o->check, "");
    assert_false(o->salvage || o->repair_tail);
    assert_int_equal(o->min_acks, 0);
    assert_int_equal(o->ack_timeout_ms, 1000);
    assert_int_equal(o->max_clock_drift_ms, 5000);
    assert_int_equal(o->tombstone_memory_bytes, 64 * MIB);
    assert_int_equal(o->forget_after_ms, 7 * UINT64_C(24) * 3600 * 1000);
    assert_int_equal(o->max_memory_bytes, 0);
    assert_int_equal(o->max_value_bytes, 16 * MIB);
    assert_int_equal(o->max_clients, 10000);
    assert_int_equal(o->journal_memory_bytes, 64 * MIB);
    assert_int_equal(o->keys_limit, 100000);
    assert_int_equal(o->max_reply_bytes, 64 * MIB);
    assert_int_equal(o->max_query_bytes, 1024 * MIB);
    assert_int_equal(o->max_arguments, 1048576);
    assert_int_equal(o->rmw, OPTIONS_RMW_LOCAL);
    assert_int_equal(o->max_output_bytes, MIB);
    assert_int_equal(o->output_timeout_ms, 60000);
    assert_int_equal(o->shutdown_timeout_ms, 5000);
    assert_int_equal(o->log_level, LOG_LEVEL_INFO);
    assert_int_equal(o->log_format, LOG_FORMAT_TEXT);
    assert_false(o->healthcheck || o->show_version || o->show_help);
}

static void options_parse_takes_flags_in_both_forms(void **state)
{
    struct fixture *f = *state;
    assert_accepted(f, ARGUMENTS("--port", "0", "--name=node1", "--log-format=json"), NULL);
    assert_int_equal(f->o.port, 0);
    assert_string_equal(f->o.name, "node1");
    assert_int_equal(f->o.log_format, LOG_FORMAT_JSON);
}

static void options_parse_takes_switches(void **state)
{
    struct fixture *f = *state;
    assert_accepted(f, ARGUMENTS("--healthcheck"), NULL);
    assert_true(f->o.healthcheck && !f->o.show_version && !f->o.show_help);
    assert_accepted(f, ARGUMENTS("--version", "--help"), NULL);
    assert_true(!f->o.healthcheck && f->o.show_version && f->o.show_help);
}

static void options_parse_takes_every_option_from_the_environment(void **state)
{
    struct fixture *f = *state;
    static const char *const ENV[] = {"KV_PORT=1",
                                      "KV_BIND=::",
                                      "KV_NAME=n",
                                      "KV_PEERS=a:1",
                                      "KV_ADVERTISE=b:2",
                                      "KV_CLUSTER=c",
                                      "KV_DATA_DIR=/d",
                                      "KV_FSYNC=always",
                                      "KV_SEGMENT_SIZE=64KiB",
                                      "KV_SNAPSHOT_SIZE=65KiB",
                                      "KV_SNAPSHOT_PERCENT=300",
                                      "KV_CHECK=/c",
                                      "KV_MIN_ACKS=3",
                                      "KV_ACK_TIMEOUT=4",
                                      "KV_MAX_CLOCK_DRIFT=13",
                                      "KV_TOMBSTONE_MEMORY=14KiB",
                                      "KV_FORGET_AFTER=15d",
                                      "KV_MAX_MEMORY=5MiB",
                                      "KV_MAX_VALUE=6",
                                      "KV_MAX_CLIENTS=7",
                                      "KV_JOURNAL_MEMORY=8MiB",
                                      "KV_KEYS_LIMIT=9",
                                      "KV_MAX_OUTPUT=10KiB",
                                      "KV_OUTPUT_TIMEOUT=11",
                                      "KV_SHUTDOWN_TIMEOUT=12",
                                      "KV_LOG_LEVEL=debug",
                                      "KV_LOG_FORMAT=json",
                                      NULL};
    assert_accepted(f, NOTHING, ENV);
    const struct options *o = &f->o;
    assert_int_equal(o->port, 1);
    assert_string_equal(o->bind, "::");
    assert_string_equal(o->name, "n");
    assert_string_equal(o->peers[0].host, "a");
    assert_string_equal(o->advertise.host, "b");
    assert_int_equal(o->advertise.port, 2);
    assert_string_equal(o->cluster, "c");
    assert_string_equal(o->data_dir, "/d");
    assert_int_equal(o->fsync, STORAGE_SYNC_ALWAYS);
    assert_int_equal(o->segment_bytes, 64 * KIB);
    assert_int_equal(o->snapshot_bytes, 65 * KIB);
    assert_int_equal(o->snapshot_percent, 300);
    assert_string_equal(o->check, "/c");
    assert_int_equal(o->min_acks, 3);
    assert_int_equal(o->ack_timeout_ms, 4);
    assert_int_equal(o->max_clock_drift_ms, 13);
    assert_int_equal(o->tombstone_memory_bytes, 14 * KIB);
    assert_int_equal(o->forget_after_ms, 15 * UINT64_C(24) * 3600 * 1000);
    assert_int_equal(o->max_memory_bytes, 5 * MIB);
    assert_int_equal(o->max_value_bytes, 6);
    assert_int_equal(o->max_clients, 7);
    assert_int_equal(o->journal_memory_bytes, 8 * MIB);
    assert_int_equal(o->keys_limit, 9);
    assert_int_equal(o->max_output_bytes, 10 * KIB);
    assert_int_equal(o->output_timeout_ms, 11);
    assert_int_equal(o->shutdown_timeout_ms, 12);
    assert_int_equal(o->log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(o->log_format, LOG_FORMAT_JSON);
}

static void options_parse_ignores_variables_that_are_not_its_own(void **state)
{
    struct fixture *f = *state;
    assert_accepted(f, NOTHING,
                    ARGUMENTS("KV_NODES=a b", "KV_HELP=1", "KV_HEALTHCHECK=1", "KV_PORTS=x",
                              "PORT=1", "KV_PORT_8080_TCP=tcp://10.0.0.1", "KV_PORT"));
    assert_int_equal(f->o.port, 8080);
    assert_false(f->o.show_help || f->o.healthcheck);
}

static void options_parse_takes_an_empty_variable_as_not_set(void **state)
{
    struct fixture *f = *state;
    assert_accepted(f, NOTHING, ARGUMENTS("KV_PORT=", "KV_PEERS=", "KV_CONFIG=", "KV_NAME="));
    assert_int_equal(f->o.port, 8080);
}

static void options_parse_prefers_flag_to_environment_to_file_to_default(void **state)
{
    struct fixture *f = *state;
    const char *path = write_file(f, "port = 1\nname = file\ncluster = file\n");
    assert_accepted(f, ARGUMENTS("--config", path, "--port=3"),
                    ARGUMENTS("KV_PORT=2", "KV_NAME=environment"));
    assert_int_equal(f->o.port, 3);
    assert_string_equal(f->o.name, "environment");
    assert_string_equal(f->o.cluster, "file");
    assert_string_equal(f->o.bind, "127.0.0.1");
}

static void options_parse_replaces_the_peers_of_a_lower_source(void **state)
{
    struct fixture *f = *state;
    assert_accepted(f, ARGUMENTS("--peers", "c:3"), ARGUMENTS("KV_PEERS=a:1,b:2"));
    assert_int_equal(f->o.peer_count, 1);
    assert_string_equal(f->o.peers[0].host, "c");
    assert_accepted(f, ARGUMENTS("--peers", ""), ARGUMENTS("KV_PEERS=a:1,b:2"));
    assert_int_equal(f->o.peer_count, 0);
}

static void options_parse_answers_help_whatever_else_is_wrong(void **state)
{
    struct fixture *f = *state;
    assert_accepted(f, ARGUMENTS("--port", "x", "--help", "--config", "/no/such/file"),
                    ARGUMENTS("KV_PORT=x"));
    assert_true(f->o.show_help);
}

static void options_parse_takes_the_last_of_repeated_flags(void **state)
{
    struct fixture *f = *state;
    assert_accepted(f, ARGUMENTS("--port=1", "--peers=a:1,b:2", "--port=2", "--peers=c:3"), NULL);
    assert_int_equal(f->o.port, 2);
    assert_int_equal(f->o.peer_count, 1);
    assert_string_equal(f->o.peers[0].host, "c");
}

/* -- the command line as a whole */

static void options_parse_suggests_the_option_that_was_meant(void **state)
{
    struct fixture *f = *state;
    static const char *const CASES[][2] = {
        {"--prot", "--port"},
        {"--por", "--port"},
        {"--ack_timeout", "--ack-timeout"},
        {"--PORT", "--port"},
        {"-port", "--port"},
        {"--max-mem", "--max-memory"},
        {"--peer", "--peers"},
        {"--journal", "--journal-memory"},
        {"--help-me", "--help"},
        {"--max-clientss", "--max-clients"},
    };
    for (size_t i = 0; i < COUNT_OF(CASES); i++) {
        char suggestion[64], joined[64];
        snprintf(suggestion, sizeof suggestion, "did you mean %s?", CASES[i][1]);
        assert_refused(f, ARGUMENTS(CASES[i][0], "1"), NULL, CASES[i][0], suggestion);
        snprintf(joined, sizeof joined, "%s=1", CASES[i][0]);
        assert_refused(f, ARGUMENTS(joined), NULL, CASES[i][0], suggestion);
    }
}

static void options_parse_names_an_option_like_no_other(void **state)
{
    struct fixture *f = *state;
    static const char *const CASES[] = {"--frobnicate", "--http-port", "-x", "-", "--", "--=1"};
    for (size_t i = 0; i < COUNT_OF(CASES); i++)
        assert_refused(f, ARGUMENTS(CASES[i]), NULL, "is no option", "--help lists them");
}

static void options_parse_refuses_arguments_that_are_no_options(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, ARGUMENTS("stray"), NULL, "\"stray\" is no option", "--port 8080");
    assert_refused(f, ARGUMENTS("--port=1", "2"), NULL, "\"2\" is no option", "--port 8080");
    assert_refused(f, ARGUMENTS(""), NULL, "\"\" is no option", "--port 8080");
}

static void options_parse_names_an_option_without_its_value(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, ARGUMENTS("--port"), NULL, "--port has no value", "from 0 to 65535");
    assert_refused(f, ARGUMENTS("--name", "--port", "1"), NULL, "--name has no value", "printable");
    assert_refused(f, ARGUMENTS("--config"), NULL, "--config has no value", "INI file");
}

static void options_parse_refuses_a_value_for_a_switch(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, ARGUMENTS("--healthcheck=1"), NULL, "--healthcheck \"1\"", "no value");
    assert_refused(f, ARGUMENTS("--help="), NULL, "--help \"\"", "no value");
}

static void options_parse_refuses_values_longer_than_the_memory(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, ARGUMENTS("--max-value=2MiB"), ARGUMENTS("KV_MAX_MEMORY=1MiB"),
                   "--max-value \"2MiB\" (command line)",
                   "--max-memory, which is \"1MiB\" (environment variable KV_MAX_MEMORY)");
    assert_accepted(f, ARGUMENTS("--max-value=2MiB", "--max-memory=2MiB"), NULL);
    assert_accepted(f, ARGUMENTS("--max-value=2MiB", "--max-memory=0"), NULL);
    assert_accepted(f, ARGUMENTS("--max-memory=1MiB"), NULL); /* the default may be longer */
}

static void options_parse_refuses_a_healthcheck_of_any_free_port(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, ARGUMENTS("--healthcheck", "--port=0"), NULL, "--healthcheck",
                   "--port \"0\"");
}

/* Options of a disk that there is not: each is named, with where it was set. */
static void options_parse_refuses_options_of_the_disk_without_a_data_dir(void **state)
{
    struct fixture *f = *state;
    static const char *const CASES[][2] = {{"--fsync", "always"},
                                           {"--segment-size", "1MiB"},
                                           {"--snapshot-size", "1MiB"},
                                           {"--snapshot-percent", "100"}};
    for (size_t i = 0; i < COUNT_OF(CASES); i++) {
        char start[64];
        snprintf(start, sizeof start, "%s (command line) without --data-dir", CASES[i][0]);
        assert_refused(f, ARGUMENTS(CASES[i][0], CASES[i][1]), NULL, start,
                       "expected a directory for --data-dir");
        assert_accepted(f, ARGUMENTS(CASES[i][0], CASES[i][1], "--data-dir=d"), NULL);
        assert_accepted(f, ARGUMENTS(CASES[i][0], CASES[i][1], "--check=d"), NULL);
    }
    assert_refused(f, ARGUMENTS("--data-dir="), ARGUMENTS("KV_DATA_DIR=/data", "KV_FSYNC=no"),
                   "--fsync (environment variable KV_FSYNC)", "--data-dir");
    assert_accepted(f, ARGUMENTS("--healthcheck"), ARGUMENTS("KV_FSYNC=no"));
    assert_refused(f, ARGUMENTS("--salvage"), NULL, "--salvage", "--data-dir");
    assert_accepted(f, ARGUMENTS("--salvage", "--data-dir=d"), NULL);
    assert_true(f->o.salvage);
}

static void options_parse_refuses_a_repair_without_a_check(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, ARGUMENTS("--repair-tail", "--data-dir=d"), NULL, "--repair-tail", "--check");
    assert_accepted(f, ARGUMENTS("--repair-tail", "--check=d"), NULL);
    assert_true(f->o.repair_tail);
    assert_string_equal(f->o.check, "d");
}

static void options_parse_takes_an_empty_data_dir_for_none(void **state)
{
    struct fixture *f = *state;
    assert_accepted(f, ARGUMENTS("--data-dir="), ARGUMENTS("KV_DATA_DIR=/data"));
    assert_string_equal(f->o.data_dir, "");
}

/* -- help */

static void options_print_help_shows_each_option_with_its_default(void **state)
{
    (void)state;
    static const char *const WORDS[] = {
        "--port N ",
        "[8080]",
        "--bind ADDRESS",
        "[127.0.0.1]",
        "--name NAME",
        "host name:port",
        "--peers HOST:PORT,",
        "--advertise HOST:PORT",
        "--cluster NAME",
        "[simple-kv]",
        "--data-dir PATH",
        "--fsync always|everysec|no",
        "[everysec]",
        "--segment-size SIZE",
        "--snapshot-size SIZE",
        "--snapshot-percent N",
        "[150]",
        "--salvage ",
        "--check PATH",
        "--repair-tail ",
        "--min-acks N",
        "[0]",
        "--ack-timeout TIME",
        "[1000ms]",
        "--max-clock-drift TIME",
        "[5000ms]",
        "--tombstone-memory SIZE",
        "--forget-after TIME",
        "[7d]",
        "--max-memory SIZE",
        "--max-value SIZE",
        "[16MiB]",
        "--max-query SIZE",
        "[1GiB]",
        "--max-reply SIZE",
        "[64MiB]",
        "--max-arguments N",
        "[1048576]",
        "--rmw local|reject",
        "[local]",
        "--max-clients N",
        "[10000]",
        "--journal-memory SIZE",
        "[64MiB]",
        "--keys-limit N",
        "[100000]",
        "--max-output SIZE",
        "[1MiB]",
        "--output-timeout TIME",
        "[60s]",
        "--shutdown-timeout TIME",
        "[5s]",
        "--log-level debug|info|warn|error",
        "[info]",
        "--log-format text|json",
        "[text]",
        "--config FILE",
        "--healthcheck ",
        "--version ",
        "--help ",
        "KV_ACK_TIMEOUT",
        "[simple-kv]",
    };
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    options_print_help(out);
    assert_int_equal(fclose(out), 0);
    for (size_t i = 0; i < COUNT_OF(WORDS); i++) {
        if (strstr(text, WORDS[i]) == NULL)
            fail_msg("no \"%s\" in the help", WORDS[i]);
    }
    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 102); /* 100 columns, and a character of 3 bytes */
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(options_parse_gives_every_option_its_default, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_takes_flags_in_both_forms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_takes_switches, set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_takes_every_option_from_the_environment,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_ignores_variables_that_are_not_its_own,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_takes_an_empty_variable_as_not_set, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            options_parse_prefers_flag_to_environment_to_file_to_default, set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_replaces_the_peers_of_a_lower_source, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_answers_help_whatever_else_is_wrong, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_takes_the_last_of_repeated_flags, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_suggests_the_option_that_was_meant, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_names_an_option_like_no_other, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_refuses_arguments_that_are_no_options, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_names_an_option_without_its_value, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_refuses_a_value_for_a_switch, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_refuses_values_longer_than_the_memory, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_refuses_a_healthcheck_of_any_free_port,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            options_parse_refuses_options_of_the_disk_without_a_data_dir, set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_refuses_a_repair_without_a_check, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_takes_an_empty_data_dir_for_none, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_print_help_shows_each_option_with_its_default,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
