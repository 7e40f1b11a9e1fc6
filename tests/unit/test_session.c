/* Sessions: commands in, answers out in their order; what is held, refused, and put off. */
#include "pair.h"
#include "unit.h"

#include "kv/line.h"
#include "kv/session.h"

static int set_up(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    pair_open(p, 1);
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

static struct session *session_of(struct pair *p)
{
    return &p->nodes[0].session;
}

static void feed(struct pair *p, const char *text)
{
    session_read(session_of(p), p->now, bytes_text(text));
}

/* Everything that may leave now, and takes it away. */
#define assert_output(p, text)                                                                     \
    do {                                                                                           \
        struct buffer *output = session_output(session_of(p));                                     \
        assert_bytes_are(buffer_bytes(output), text);                                              \
        buffer_consume(output, buffer_size(output));                                               \
    } while (0)

static void session_answers_a_pipeline_in_order(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    feed(p, "SET a 1\nGET a\nGET b\nPING\nDEL a\nCOUNT\n");
    assert_output(p, "OK\n1\nNOT_FOUND\n+PONG\n1\n0\n");
}

static void session_waits_for_the_rest_of_a_line(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    feed(p, "SET a ");
    assert_output(p, "");
    feed(p, "some value");
    assert_output(p, "");
    feed(p, "\nGE");
    assert_output(p, "OK\n");
    feed(p, "T a\n");
    assert_output(p, "some value\n");
}

static void session_takes_both_line_ends_and_any_case(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    feed(p, "set a 1\r\nGeT a\r\n  get   a  \nget\ta\r\n");
    assert_output(p, "OK\n1\n1\n1\n");
}

static void session_ignores_blank_lines(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    feed(p, "\n\r\n   \n\t\nPING\n");
    assert_output(p, "+PONG\n");
}

static void session_ends_a_pong_as_the_ping_was_ended(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    feed(p, "PING\r\nPING\nQUIT\r\n");
    assert_output(p, "+PONG\r\n+PONG\n+OK\r\n");
}

static void session_keeps_a_value_verbatim(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    feed(p, "SET a  two  spaces \"and quotes\" \nGET a\nSET e \nGET e\n");
    assert_output(p, "OK\n two  spaces \"and quotes\" \nOK\n\n");
}

static void session_keeps_any_byte_of_a_value(void **state)
{
    struct pair *p = *state;
    struct buffer *out;
    static const uint8_t line[] = "SET a \x00\xff\x01\r\x80 x\nGET a\n";
    pair_start(p, 0);
    session_read(session_of(p), p->now, bytes_of(line, sizeof line - 1));
    out = session_output(session_of(p));
    assert_bytes_equal(buffer_bytes(out), bytes_of("OK\n\x00\xff\x01\r\x80 x\n", 11));
    buffer_consume(out, 11);
}

static void session_answers_errors_and_goes_on(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    feed(p, "FROB x\nGET\nGET \"a\nPING\n");
    assert_output(p,
                  "ERROR unknown command 'FROB'; HELP lists the commands\n"
                  "ERROR wrong number of words for GET; usage: GET key\n"
                  "ERROR malformed quoted string; it takes \\\" \\\\ \\xHH and ends with \" and a "
                  "space\n+PONG\n");
}

static void session_refuses_too_many_words_and_goes_on(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    feed(p, "EXISTS");
    for (uint32_t i = 0; i < LINE_WORDS_MAX - 1; i++)
        feed(p, " k");
    feed(p, "\nEXISTS");
    for (uint32_t i = 0; i < LINE_WORDS_MAX; i++)
        feed(p, " k");
    feed(p, "\nPING\n");
    assert_output(p, "0\nERROR too many words; a line takes at most 1024\n+PONG\n");
}

static void session_runs_what_comes_last_without_a_line_end(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    feed(p, "SET a 1\nGET a");
    assert_false(session_finished(session_of(p)));
    session_read_end(session_of(p), p->now);
    assert_false(session_finished(session_of(p)));
    assert_output(p, "OK\n1\n");
    assert_true(session_finished(session_of(p)));
}

static void session_that_ends_without_input_is_finished(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    session_read_end(session_of(p), p->now);
    assert_output(p, "");
    assert_true(session_finished(session_of(p)));
    assert_false(session_wants_input(session_of(p)));
}

static void session_ends_after_quit_and_reads_nothing_more(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    feed(p, "PING\nQUIT\nSET a 1\n");
    feed(p, "SET a 1\n");
    assert_false(session_wants_input(session_of(p)));
    assert_output(p, "+PONG\n+OK\n");
    assert_true(session_finished(session_of(p)));
    assert_int_equal(store_live_count(p->nodes[0].node->store), 0);
}

static void session_says_nothing_of_what_is_malformed_behind_quit(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    feed(p, "*1\r\n$4\r\nQUIT\r\n*x\r\n");
    assert_output(p, "+OK\r\n");
    assert_true(session_finished(session_of(p)));
}

static void session_ends_at_what_a_browser_sends(void **state)
{
    struct pair *p = *state;
    static const char *const FORMS[] = {"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a 1\r\n",
                                        "GET / HTTP/1.1\r\nhost: x\r\n\r\nSET a 1\r\n"};
    static const char *const ANSWERS[] = {
        "ERROR this is not an HTTP server; the connection ends here\n",
        "ERROR wrong number of words for GET; usage: GET key\n"
        "ERROR this is not an HTTP server; the connection ends here\n"};
    for (size_t i = 0; i < 2; i++) {
        pair_start(p, 0);
        feed(p, FORMS[i]);
        assert_output(p, ANSWERS[i]);
        assert_true(session_finished(session_of(p)));
        assert_int_equal(store_live_count(p->nodes[0].node->store), 0);
        pair_stop(p, 0);
    }
}

/* --- limits -------------------------------------------------------------------------------- */

static void session_ends_at_a_line_that_is_too_long(void **state)
{
    struct pair *p = *state;
    char piece[4096];
    size_t fed = 0;
    memset(piece, 'x', sizeof piece);
    p->nodes[0].config.max_value_bytes = 1000;
    pair_start(p, 0);
    feed(p, "PING\nSET k ");
    while (session_wants_input(session_of(p))) {
        session_read(session_of(p), p->now, bytes_of(piece, sizeof piece));
        fed += sizeof piece;
        assert_true(fed < 400000);
    }
    assert_true(fed > 262140 + 1000);
    assert_int_equal(buffer_size(&session_of(p)->in), 0);
    assert_output(p, "+PONG\nERROR line too long: a value takes at most --max-value bytes, a key "
                     "65535; the connection ends here\n");
    assert_true(session_finished(session_of(p)));
}

static void session_takes_a_value_and_a_key_of_the_greatest_size(void **state)
{
    struct pair *p = *state;
    struct buffer line;
    p->nodes[0].config.max_value_bytes = 1000;
    pair_start(p, 0);
    buffer_init(&line, &p->heap.heap);
    buffer_append_text(&line, "SET \"");
    for (uint32_t i = 0; i < RECORD_KEY_BYTES_MAX; i++)
        buffer_append_text(&line, "\\x01");
    buffer_append_text(&line, "\" ");
    for (uint32_t i = 0; i < 1000; i++)
        buffer_append_text(&line, "v");
    buffer_append_text(&line, "\n");
    session_read(session_of(p), p->now, buffer_bytes(&line));
    assert_output(p, "OK\n");
    assert_int_equal(p->nodes[0].node->scratch.capacity, 0);
    buffer_close(&line);
}

static void session_refuses_a_value_and_a_key_over_the_limit(void **state)
{
    struct pair *p = *state;
    struct buffer line;
    p->nodes[0].config.max_value_bytes = 5;
    pair_start(p, 0);
    buffer_init(&line, &p->heap.heap);
    buffer_append_text(&line, "SET ");
    for (uint32_t i = 0; i < RECORD_KEY_BYTES_MAX + 1; i++)
        buffer_append_text(&line, "k");
    buffer_append_text(&line, " v\nSET k 123456\nSET \"\" v\nSET k 12345\n");
    session_read(session_of(p), p->now, buffer_bytes(&line));
    assert_output(p, "ERROR key of 65536 bytes; a key takes 1 to 65535\n"
                     "ERROR value of 6 bytes; a value takes at most 5 (--max-value)\n"
                     "ERROR key of 0 bytes; a key takes 1 to 65535\nOK\n");
    buffer_close(&line);
}

static void session_puts_commands_off_while_replies_are_not_taken(void **state)
{
    struct pair *p = *state;
    p->nodes[0].config.max_output_bytes = 20;
    pair_start(p, 0);
    struct session *s = session_of(p);
    feed(p, "PING\nPING\nPING\nPING\nPING\nSET a 1\nGET a\n");
    assert_int_equal(buffer_size(session_output(s)), 24);
    assert_false(session_wants_input(s));
    session_resume(s, p->now);
    assert_int_equal(buffer_size(session_output(s)), 24);
    assert_output(p, "+PONG\n+PONG\n+PONG\n+PONG\n");
    session_resume(s, p->now);
    assert_true(session_wants_input(s));
    assert_output(p, "+PONG\nOK\n1\n");
}

static void session_counts_what_the_shell_has_not_sent_yet(void **state)
{
    struct pair *p = *state;
    p->nodes[0].config.max_output_bytes = 10;
    pair_start(p, 0);
    struct session *s = session_of(p);
    feed(p, "PING\nPING\nPING\n");
    s->unsent = buffer_size(session_output(s));
    buffer_consume(session_output(s), s->unsent);
    session_resume(s, p->now);
    assert_output(p, "");
    assert_false(session_finished(s));
    s->unsent -= 12;
    session_resume(s, p->now);
    assert_output(p, "+PONG\n");
}

static void session_that_ends_while_its_output_is_full_answers_the_rest_later(void **state)
{
    struct pair *p = *state;
    p->nodes[0].config.max_output_bytes = 6;
    pair_start(p, 0);
    struct session *s = session_of(p);
    feed(p, "PING\nPING\nPING");
    session_read_end(s, p->now);
    for (int i = 0; i < 3; i++) {
        assert_false(session_finished(s));
        assert_output(p, "+PONG\n");
        session_resume(s, p->now);
    }
    assert_true(session_finished(s));
}

static void session_asks_for_a_turn_only_when_it_could_go_on(void **state)
{
    struct pair *p = *state;
    p->nodes[0].config.max_output_bytes = 6;
    pair_start(p, 0);
    struct session *s = session_of(p);
    feed(p, "PING\nPING\nPI");
    list_remove(&s->ready);
    session_ask_turn(s);
    assert_true(list_is_empty(&p->nodes[0].node->ready));
    assert_output(p, "+PONG\n");
    session_ask_turn(s);
    assert_false(list_is_empty(&p->nodes[0].node->ready));
    session_resume(s, p->now);
    assert_output(p, "+PONG\n");
    session_resume(s, p->now);
    list_remove(&s->ready);
    session_ask_turn(s);
    assert_true(list_is_empty(&p->nodes[0].node->ready));
}

static void session_is_ready_after_anything_was_read(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    struct session *s = session_of(p);
    feed(p, "PING\n");
    assert_ptr_equal(p->nodes[0].node->ready.next, &s->ready);
    feed(p, "PING\n");
    list_remove(&s->ready);
    assert_true(list_is_empty(&p->nodes[0].node->ready));
}

static void session_owns_no_memory_between_commands(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    feed(p, "SET a 1");
    assert_true(session_of(p)->in.capacity > 0);
    feed(p, "\n");
    assert_int_equal(session_of(p)->in.capacity, 0);
    assert_int_equal(session_of(p)->held.capacity, 0);
    assert_int_equal(session_of(p)->holds.capacity, 0);
}

static void session_count_follows_open_and_close(void **state)
{
    struct pair *p = *state;
    struct session second;
    pair_start(p, 0);
    session_init(&second, p->nodes[0].node);
    assert_int_equal(p->nodes[0].node->session_count, 2);
    session_read(&second, p->now, bytes_text("SET a 1\nGE"));
    session_close(&second);
    assert_int_equal(p->nodes[0].node->session_count, 1);
    assert_true(list_is_empty(&p->nodes[0].node->ready));
}

/* What session_first_key says of a text; "" when it says nothing. */
static const char *first_key(struct pair *p, const char *text)
{
    static char key[64];
    struct bytes found;
    if (!session_first_key(session_of(p), bytes_text(text), &found))
        return "";
    snprintf(key, sizeof key, "%.*s", (int)found.size, (const char *)found.data);
    return key;
}

static void session_tells_which_key_comes_first(void **state)
{
    struct pair *p = *state;
    char large[1024];
    pair_start(p, 0);
    assert_string_equal(first_key(p, "GET a\n"), "a");
    assert_string_equal(first_key(p, "SET bc some value\nGET d\n"), "bc");
    assert_string_equal(first_key(p, "*2\r\n$3\r\nGET\r\n$2\r\nab\r\n"), "ab");
    assert_string_equal(first_key(p, "*3\r\n$4\r\nmset\r\n$1\r\na\r\n$1\r\nv\r\n"), "a");
    assert_string_equal(first_key(p, ""), "");
    assert_string_equal(first_key(p, "GET a"), ""); /* more of it may come */
    assert_string_equal(first_key(p, "*2\r\n$3\r\nGET\r\n$2\r\na"), "");
    assert_string_equal(first_key(p, "*1\r\n$3\r\nGET\r\n"), "");
    assert_string_equal(first_key(p, "*1\r\n$4\r\nPING\r\n"), "");
    assert_string_equal(first_key(p, "*2\r\n$4\r\nPING\r\n$1\r\na\r\n"), "");
    assert_string_equal(first_key(p, "*2\r\n$6\r\nnosuch\r\n$1\r\na\r\n"), "");
    assert_string_equal(first_key(p, "*x\r\n"), "");
    assert_string_equal(first_key(p, "*0\r\n"), "");
    memset(large, 'v', sizeof large);
    memcpy(large, "SET a ", 6);
    memcpy(large + sizeof large - 2, "\n", 2);
    assert_string_equal(first_key(p, large), "");
    assert_output(p, ""); /* asking runs nothing */
    feed(p, "GET a\nSET b");
    assert_string_equal(first_key(p, "c d\n"), ""); /* "bc" by now */
    assert_output(p, "NOT_FOUND\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(session_answers_a_pipeline_in_order),
        TEST(session_waits_for_the_rest_of_a_line),
        TEST(session_takes_both_line_ends_and_any_case),
        TEST(session_ignores_blank_lines),
        TEST(session_ends_a_pong_as_the_ping_was_ended),
        TEST(session_keeps_a_value_verbatim),
        TEST(session_keeps_any_byte_of_a_value),
        TEST(session_answers_errors_and_goes_on),
        TEST(session_refuses_too_many_words_and_goes_on),
        TEST(session_runs_what_comes_last_without_a_line_end),
        TEST(session_that_ends_without_input_is_finished),
        TEST(session_ends_after_quit_and_reads_nothing_more),
        TEST(session_says_nothing_of_what_is_malformed_behind_quit),
        TEST(session_ends_at_what_a_browser_sends),
        TEST(session_ends_at_a_line_that_is_too_long),
        TEST(session_takes_a_value_and_a_key_of_the_greatest_size),
        TEST(session_refuses_a_value_and_a_key_over_the_limit),
        TEST(session_puts_commands_off_while_replies_are_not_taken),
        TEST(session_counts_what_the_shell_has_not_sent_yet),
        TEST(session_that_ends_while_its_output_is_full_answers_the_rest_later),
        TEST(session_asks_for_a_turn_only_when_it_could_go_on),
        TEST(session_is_ready_after_anything_was_read),
        TEST(session_owns_no_memory_between_commands),
        TEST(session_count_follows_open_and_close),
        TEST(session_tells_which_key_comes_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
