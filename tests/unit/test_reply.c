/* Replies as the line protocol writes them. */
#include "failing_heap.h"
#include "unit.h"

#include "kv/reply.h"

struct fixture {
    struct failing_heap heap;
    struct buffer out;
    struct reply reply;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    failing_heap_init(&f->heap);
    buffer_init(&f->out, &f->heap.heap);
    f->reply.out = &f->out;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    buffer_close(&f->out);
    bool leaked = f->heap.live != 0;
    free(f);
    return leaked;
}

#define assert_written(f, text) assert_bytes_are(buffer_bytes(&(f)->out), text)

static void reply_of_one_word_is_one_line(void **state)
{
    struct fixture *f = *state;
    reply_ok(&f->reply);
    reply_missing(&f->reply);
    reply_pong(&f->reply);
    reply_goodbye(&f->reply);
    assert_written(f, "OK\nNOT_FOUND\n+PONG\n+OK\n");
}

static void reply_number_takes_both_signs(void **state)
{
    struct fixture *f = *state;
    reply_number(&f->reply, 12);
    reply_number(&f->reply, -2);
    reply_number(&f->reply, 0);
    assert_written(f, "12\n-2\n0\n");
}

static void reply_value_is_the_bare_value(void **state)
{
    struct fixture *f = *state;
    reply_value(&f->reply, bytes_of("a\0b", 3));
    reply_value(&f->reply, bytes_of(NULL, 0));
    assert_bytes_equal(buffer_bytes(&f->out), bytes_of("a\0b\n\n", 5));
}

static void reply_list_announces_how_many_lines_follow(void **state)
{
    struct fixture *f = *state;
    reply_list(&f->reply, 2);
    reply_key(&f->reply, bytes_text("plain"));
    reply_key(&f->reply, bytes_text("two words"));
    reply_list(&f->reply, 0);
    assert_written(f, "2\nplain\n\"two words\"\n0\n");
}

static void reply_text_counts_its_lines(void **state)
{
    struct fixture *f = *state;
    reply_text(&f->reply, bytes_text("a\nb\nc\n"));
    reply_text(&f->reply, bytes_of(NULL, 0));
    assert_written(f, "3\na\nb\nc\n0\n");
}

static void reply_error_is_one_line_that_begins_with_error(void **state)
{
    struct fixture *f = *state;
    reply_error(&f->reply, "no %s, %d wanted", "room", 5);
    assert_written(f, "ERROR no room, 5 wanted\n");
}

static void reply_error_stays_one_line_whatever_it_quotes(void **state)
{
    struct fixture *f = *state;
    reply_error(&f->reply, "not '%s'", "a\nb\r\x1b");
    struct bytes written = buffer_bytes(&f->out);
    assert_int_equal(written.data[written.size - 1], '\n');
    assert_null(memchr(written.data, '\n', written.size - 1));
}

static void reply_error_cuts_a_reason_that_is_too_long(void **state)
{
    struct fixture *f = *state;
    reply_error(&f->reply, "%01000d", 1);
    struct bytes written = buffer_bytes(&f->out);
    assert_true(written.size < 600);
    assert_int_equal(written.data[written.size - 1], '\n');
}

static void reply_without_memory_fails_in_its_buffer(void **state)
{
    struct fixture *f = *state;
    failing_heap_arm(&f->heap, 1);
    reply_value(&f->reply, bytes_text("v"));
    assert_true(failing_heap_disarm(&f->heap));
    assert_true(buffer_failed(&f->out));
    reply_ok(&f->reply);
    assert_int_equal(buffer_size(&f->out), 0);
}

static void reply_of_lists_within_lists_counts_their_lines(void **state)
{
    struct fixture *f = *state;
    reply_list(&f->reply, 3);
    reply_value(&f->reply, bytes_text("0"));
    reply_list(&f->reply, 2);
    reply_key(&f->reply, bytes_text("a"));
    reply_missing(&f->reply);
    reply_list(&f->reply, 0);
    reply_ok(&f->reply);
    assert_written(f, "3\n0\na\nNOT_FOUND\nOK\n");
}

static void reply_in_resp2(void **state)
{
    struct fixture *f = *state;
    f->reply.form = REPLY_RESP2;
    reply_ok(&f->reply);
    reply_pong(&f->reply);
    reply_status(&f->reply, "string");
    reply_value(&f->reply, bytes_of("a\0\r\n", 4));
    reply_value(&f->reply, bytes_of(NULL, 0));
    reply_key(&f->reply, bytes_text("two words"));
    reply_missing(&f->reply);
    reply_missing_list(&f->reply);
    static const char expected[] = "+OK\r\n+PONG\r\n+string\r\n$4\r\na\0\r\n\r\n$0\r\n\r\n"
                                   "$9\r\ntwo words\r\n$-1\r\n*-1\r\n";
    assert_bytes_equal(buffer_bytes(&f->out), bytes_of(expected, sizeof expected - 1));
}

static void reply_in_resp2_of_several(void **state)
{
    struct fixture *f = *state;
    f->reply.form = REPLY_RESP2;
    reply_list(&f->reply, 2);
    reply_number(&f->reply, 12);
    reply_number(&f->reply, -2);
    reply_set(&f->reply, 0);
    reply_map(&f->reply, 1);
    reply_text(&f->reply, bytes_text("a\nb\n"));
    reply_number(&f->reply, INT64_MIN);
    assert_written(f, "*2\r\n:12\r\n:-2\r\n*0\r\n*2\r\n$4\r\na\nb\n\r\n"
                      ":-9223372036854775808\r\n");
}

static void reply_in_resp3(void **state)
{
    struct fixture *f = *state;
    f->reply.form = REPLY_RESP3;
    reply_missing(&f->reply);
    reply_missing_list(&f->reply);
    reply_list(&f->reply, 1);
    reply_set(&f->reply, 1);
    reply_map(&f->reply, 1);
    reply_value_text(&f->reply, "n");
    reply_text(&f->reply, bytes_text("a\n"));
    assert_written(f, "_\r\n_\r\n*1\r\n~1\r\n%1\r\n$1\r\nn\r\n=6\r\ntxt:a\n\r\n");
}

static void reply_errors_have_a_code_in_resp_and_a_text_for_people_in_lines(void **state)
{
    struct fixture *f = *state;
    reply_known_error(&f->reply, "WRONGTYPE no", "%s is none", "x");
    reply_coded_error(&f->reply, "OOM", "full");
    f->reply.form = REPLY_RESP2;
    reply_error(&f->reply, "not '%s'", "a\r\nb");
    reply_known_error(&f->reply, "WRONGTYPE no", "%s is none", "x");
    reply_coded_error(&f->reply, "OOM", "full");
    reply_error_syntax(&f->reply);
    reply_error_not_integer(&f->reply);
    assert_written(f,
                   "ERROR x is none\nERROR full\n-ERR not 'a  b'\r\n-WRONGTYPE no\r\n-OOM full\r\n"
                   "-ERR syntax error\r\n-ERR value is not an integer or out of range\r\n");
    assert_int_equal(f->reply.errors, 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reply_of_one_word_is_one_line),
        TEST(reply_number_takes_both_signs),
        TEST(reply_value_is_the_bare_value),
        TEST(reply_list_announces_how_many_lines_follow),
        TEST(reply_text_counts_its_lines),
        TEST(reply_error_is_one_line_that_begins_with_error),
        TEST(reply_error_stays_one_line_whatever_it_quotes),
        TEST(reply_error_cuts_a_reason_that_is_too_long),
        TEST(reply_of_lists_within_lists_counts_their_lines),
        TEST(reply_in_resp2),
        TEST(reply_in_resp2_of_several),
        TEST(reply_in_resp3),
        TEST(reply_errors_have_a_code_in_resp_and_a_text_for_people_in_lines),
        TEST(reply_without_memory_fails_in_its_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
