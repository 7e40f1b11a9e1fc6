/* The options: the configuration file. */
#include "options_fixture.h"

static void options_parse_reads_a_file_with_comments_and_a_section(void **state)
{
    struct fixture *f = *state;
    const char *path = write_file(f, "\xef\xbb\xbf# a comment\r\n; another = one\r\n\r\n"
                                     "port=1\r\n[simple-kv]\r\n  ack-timeout =  5s ; so long\r\n"
                                     "name: node1\r\ncluster = a;b");
    assert_accepted(f, ARGUMENTS("--config", path), NULL);
    assert_int_equal(f->o.port, 1);
    assert_int_equal(f->o.ack_timeout_ms, 5000);
    assert_string_equal(f->o.name, "node1");
    assert_string_equal(f->o.cluster, "a;b");
}

static void options_parse_takes_a_byte_order_mark_before_a_section(void **state)
{
    struct fixture *f = *state;
    assert_accepted(f, ARGUMENTS("--config", write_file(f, "\xef\xbb\xbf[simple-kv]\nport = 1\n")),
                    NULL);
    assert_int_equal(f->o.port, 1);
}

static void options_parse_reads_peers_over_several_lines(void **state)
{
    struct fixture *f = *state;
    const char *path = write_file(f, "peers = a:1, ; the first\n\tb:2 , c:3,\n\n # no peer\n"
                                     "    d:4 ; the last\n  port = 1\n");
    assert_accepted(f, ARGUMENTS("--config", path), NULL);
    assert_int_equal(f->o.peer_count, 4);
    assert_string_equal(f->o.peers[3].host, "d");
    assert_int_equal(f->o.peers[3].port, 4);
    assert_int_equal(f->o.port, 1);
}

static void options_parse_finds_the_file_by_flag_before_environment(void **state)
{
    struct fixture *f = *state;
    char variable[128];
    snprintf(variable, sizeof variable, "KV_CONFIG=%s", write_file(f, "port = 1\n"));
    assert_accepted(f, NOTHING, ARGUMENTS(variable));
    assert_int_equal(f->o.port, 1);
    assert_accepted(f, ARGUMENTS("--config", f->path), ARGUMENTS("KV_CONFIG=/no/such/file"));
    assert_int_equal(f->o.port, 1);
}

static void options_parse_names_the_line_of_a_bad_setting(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text;
        int line;
        const char *named;
    } CASES[] = {
        {"port = x", 1, "--port \"x\""},
        {"\n# c\nport = 65536\n", 3, "--port \"65536\""},
        {"port = 80 # no comment", 1, "80 # no comment"},
        {"prot = 80\n", 1, "\"prot\" = \"80\" is no option here: did you mean port?"},
        {"port = 1\n\nfrobnicate = 7\nport = x\n", 3, "frobnicate"},
        {"help = 1\n", 1, "help"},
        {"healthcheck = 1\n", 1, "healthcheck"},
        {"config = other.ini\n", 1, "config"},
        {"port = 1\nwhatever\n", 2, "\"whatever\": expected option = value"},
        {"  whatever\n", 1, "whatever"},
        {"[simple-kv\nport = 1\n", 1, "[simple-kv"},
        {"port = 1\n[other]\nport = 2\n", 3, "\"other\": expected the section [simple-kv]"},
        {"peers = a:1,\n  b\n", 2, "wrong from \"b\" on"},
        {"port = 1\n  2\n", 2, "expected no indent"},
        {"port = 1\n[simple-kv]\n  whatever\n", 3, "whatever"},
        {"= 1\n", 1, "is no option here"},
    };
    for (size_t i = 0; i < COUNT_OF(CASES); i++) {
        char place[128];
        const char *path = write_file(f, CASES[i].text);
        snprintf(place, sizeof place, "%s:%d", path, CASES[i].line);
        assert_refused(f, ARGUMENTS("--config", path), NULL, place, CASES[i].named);
    }
}

static void options_parse_refuses_a_file_with_an_endless_line(void **state)
{
    struct fixture *f = *state;
    char text[400] = "port = 1\npeers = ";
    memset(text + strlen(text), 'a', sizeof text - strlen(text) - 1);
    text[sizeof text - 1] = '\0';
    assert_refused(f, ARGUMENTS("--config", write_file(f, text)), NULL, ":2:", "a shorter line");
}

static void options_parse_refuses_a_file_with_nul_bytes(void **state)
{
    struct fixture *f = *state;
    const char *path = write_bytes(f, "po\0rt = 1\n", 10);
    assert_refused(f, ARGUMENTS("--config", path), NULL, ":1:", "NUL");
}

static void options_parse_refuses_a_file_that_cannot_be_read(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, ARGUMENTS("--config", "/no/such/file"), NULL, "--config \"/no/such/file\"",
                   "No such file");
    assert_refused(f, NOTHING, ARGUMENTS("KV_CONFIG=/tmp"),
                   "\"/tmp\" (environment variable KV_CONFIG)", "directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(options_parse_reads_a_file_with_comments_and_a_section,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_takes_a_byte_order_mark_before_a_section,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_reads_peers_over_several_lines, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_finds_the_file_by_flag_before_environment,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_parse_names_the_line_of_a_bad_setting, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_refuses_a_file_with_an_endless_line, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_refuses_a_file_with_nul_bytes, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_parse_refuses_a_file_that_cannot_be_read, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
