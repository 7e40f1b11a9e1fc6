/* RESP as clients send it: whole, in pieces, malformed; and inline commands. */
#include "failing_heap.h"
#include "unit.h"

#include "kv/random.h"
#include "kv/resp.h"

#include <errno.h>

struct fixture {
    struct failing_heap heap;
    struct resp_reader reader;
    struct resp_limits limits;
    struct buffer scratch;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    failing_heap_init(&f->heap);
    buffer_init(&f->reader.words, &f->heap.heap);
    buffer_init(&f->scratch, &f->heap.heap);
    f->limits = (struct resp_limits){.words_max = 100, .word_bytes_max = 1000, .bytes_max = 5000};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    buffer_close(&f->reader.words);
    buffer_close(&f->scratch);
    bool leaked = f->heap.live != 0;
    free(f);
    return leaked;
}

static int64_t read_text(struct fixture *f, const char *text)
{
    return resp_read(&f->reader, bytes_text(text), &f->limits);
}

static struct bytes word(const struct fixture *f, size_t index)
{
    assert_true(index < resp_word_count(&f->reader));
    return resp_words(&f->reader)[index];
}

static void resp_reads_the_words_of_a_command(void **state)
{
    struct fixture *f = *state;
    const char *text = "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\r\nb\r\n*1\r\n";
    assert_int_equal(read_text(f, text), strlen(text) - 4);
    assert_int_equal(resp_word_count(&f->reader), 3);
    assert_bytes_are(word(f, 0), "SET");
    assert_bytes_are(word(f, 1), "");
    assert_bytes_are(word(f, 2), "a\r\nb");
}

static void resp_keeps_the_words_of_several_commands(void **state)
{
    struct fixture *f = *state;
    assert_true(read_text(f, "*1\r\n$4\r\nPING\r\n") > 0);
    assert_int_equal(f->reader.first, 0);
    assert_true(read_text(f, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n") > 0);
    assert_int_equal(f->reader.first, 1);
    assert_int_equal(resp_word_count(&f->reader), 3);
    assert_bytes_are(word(f, 0), "PING");
    assert_bytes_are(word(f, 2), "k");
    resp_reset(&f->reader);
    assert_int_equal(resp_word_count(&f->reader), 0);
}

static void resp_takes_an_empty_array_as_no_command(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(read_text(f, "*0\r\n*1\r\n"), 4);
    assert_int_equal(resp_word_count(&f->reader), 0);
    assert_int_equal(read_text(f, "*-1\r\n"), 5);
    assert_int_equal(resp_word_count(&f->reader), 0);
}

/* Every split of a command into two, and one byte at a time. */
static void resp_goes_on_where_the_bytes_ended(void **state)
{
    struct fixture *f = *state;
    const char *text = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\nhello\r\nworld\r\n";
    size_t size = strlen(text);
    for (size_t cut = 1; cut < size; cut++) {
        resp_reset(&f->reader);
        assert_int_equal(resp_read(&f->reader, bytes_of(text, cut), &f->limits), 0);
        /* The bytes may have been moved meanwhile. */
        char *moved = strdup(text);
        assert_int_equal(resp_read(&f->reader, bytes_text(moved), &f->limits), size);
        assert_int_equal(resp_word_count(&f->reader), 3);
        assert_bytes_are(word(f, 2), "hello\r\nworld");
        free(moved);
    }
    resp_reset(&f->reader);
    for (size_t cut = 1; cut < size; cut++)
        assert_int_equal(resp_read(&f->reader, bytes_of(text, cut), &f->limits), 0);
    assert_int_equal(read_text(f, text), size);
    assert_bytes_are(word(f, 0), "SET");
}

static void resp_moves_what_it_is_in_the_middle_of(void **state)
{
    struct fixture *f = *state;
    struct resp_reader other = {.left = 0};
    buffer_init(&other.words, &f->heap.heap);
    assert_true(read_text(f, "*1\r\n$4\r\nPING\r\n") > 0);
    assert_int_equal(read_text(f, "*2\r\n$3\r\nGET\r\n$1\r"), 0);
    assert_int_equal(resp_move(&other, &f->reader), 0);
    const char *text = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    assert_int_equal(resp_read(&other, bytes_text(text), &f->limits), strlen(text));
    assert_int_equal(resp_word_count(&other), 2);
    assert_bytes_are(resp_words(&other)[0], "GET");
    assert_bytes_are(resp_words(&other)[1], "k");
    buffer_close(&other.words);
}

/* A value that arrives in many pieces is looked at when it is there, not at each of them. */
static void resp_waits_for_all_of_a_long_word(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(read_text(f, "*1\r\n$1000\r\nabc"), 0);
    assert_int_equal(f->reader.needed, 4 + 7 + 1000 + 2);
}

struct refusal {
    const char *text, *error;
};

static void assert_refused(struct fixture *f, const struct refusal *refusals, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char expected[120];
        resp_reset(&f->reader);
        assert_int_equal(read_text(f, refusals[i].text), -EBADMSG);
        snprintf(expected, sizeof expected, "Protocol error: %s", refusals[i].error);
        assert_string_equal(f->reader.error, expected);
    }
}

static void resp_refuses_what_is_no_command(void **state)
{
    static const struct refusal cases[] = {
        {"*x\r\n", "invalid multibulk length"},
        {"*\r\n", "invalid multibulk length"},
        {"*1 \r\n", "invalid multibulk length"},
        {"*101\r\n", "invalid multibulk length"},
        {"*99999999999999999999999\r\n", "invalid multibulk length"},
        {"*1\rx", "invalid multibulk length"},
        {"*1\r\nPING\r\n", "expected '$', got 'P'"},
        {"*1\r\n$x\r\n", "invalid bulk length"},
        {"*1\r\n$-1\r\n", "invalid bulk length"},
        {"*1\r\n$1001\r\n", "invalid bulk length: longer than --max-value allows"},
        {"*1\r\n$3\r\nabcde\r\n", "expected CRLF behind a bulk string"},
    };
    struct fixture *f = *state;
    assert_refused(f, cases, sizeof cases / sizeof cases[0]);
}

/* Those that are there as a whole are read another way: it says the same. */
static void resp_refuses_whole_commands_alike(void **state)
{
    static const struct refusal cases[] = {
        {"*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n", "invalid multibulk length"},
        {"*1\r\n$:\r\n0123456789\r\n", "invalid bulk length"},
        {"*1\r\n$0:\r\n0123456789\r\n", "invalid bulk length"},
        {"*1\rx$1\r\na\r\n", "invalid multibulk length"},
        {"*01\rx$1\r\na\r\n", "invalid multibulk length"},
        {"*1\r\n$11\r\n01234567890\r\n", "invalid bulk length: longer than --max-value allows"},
        {"*3\r\n$9\r\n123456789\r\n$9\r\n123456789\r\n$9\r\n123456789\r\n",
         "command longer than --max-query allows"},
        {"*1\r\n:1\r\na\r\n", "expected '$', got ':'"},
        {"*1\r\n$3\r\nabcx\n", "expected CRLF behind a bulk string"},
        {"*1\r\n$3\r\nabc\rx", "expected CRLF behind a bulk string"},
    };
    struct fixture *f = *state;
    f->limits = (struct resp_limits){.words_max = 3, .word_bytes_max = 10, .bytes_max = 40};
    assert_refused(f, cases, sizeof cases / sizeof cases[0]);
}

static void resp_limits_all_words_together(void **state)
{
    struct fixture *f = *state;
    struct buffer text;
    buffer_init(&text, &f->heap.heap);
    buffer_append_text(&text, "*6\r\n");
    for (int i = 0; i < 4; i++)
        buffer_printf(&text, "$1000\r\n%01000d\r\n", i);
    assert_int_equal(resp_read(&f->reader, buffer_bytes(&text), &f->limits), 0);
    buffer_printf(&text, "$1000\r\n");
    assert_int_equal(resp_read(&f->reader, buffer_bytes(&text), &f->limits), -EBADMSG);
    assert_non_null(strstr(f->reader.error, "--max-query"));
    buffer_close(&text);
}

/* Whoever announces many words gets no memory for them before they come. */
static void resp_takes_memory_for_words_as_they_come(void **state)
{
    struct fixture *f = *state;
    f->limits.words_max = UINT32_MAX;
    static const char *const texts[] = {"*60000\r\n$1\r\na\r\n", "*4000000000\r\n$1\r\na\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        resp_reset(&f->reader);
        assert_int_equal(read_text(f, texts[i]), 0);
        assert_true(f->reader.words.capacity < 10000);
    }
}

static void resp_without_memory_says_so(void **state)
{
    struct fixture *f = *state;
    failing_heap_arm(&f->heap, 1);
    assert_int_equal(read_text(f, "*1\r\n$4\r\nPING\r\n"), -ENOMEM);
    assert_true(failing_heap_disarm(&f->heap));
}

static void resp_survives_random_bytes(void **state)
{
    struct fixture *f = *state;
    static const char alphabet[] = "*$0123456789-\r\n\r\nab";
    struct random random;
    random_init(&random, unit_seed("resp"));
    for (uint64_t round = 0; round < unit_rounds(20000); round++) {
        char text[64];
        size_t size = 1 + random_next(&random) % sizeof text;
        for (size_t i = 0; i < size; i++)
            text[i] = alphabet[random_next(&random) % (sizeof alphabet - 1)];
        text[0] = '*';
        resp_reset(&f->reader);
        int64_t whole = resp_read(&f->reader, bytes_of(text, size), &f->limits);
        assert_true(whole <= (int64_t)size);
        /* In pieces it is the same. */
        resp_reset(&f->reader);
        int64_t outcome = 0;
        for (size_t end = 1; end <= size && outcome == 0; end++)
            outcome = resp_read(&f->reader, bytes_of(text, end), &f->limits);
        assert_int_equal(outcome, whole);
    }
}

/* --- inline -------------------------------------------------------------------------------- */

static void inline_command_is_split_as_redis_does(void **state)
{
    static const struct {
        const char *line, *words; /* separated by | */
    } cases[] = {
        {"PING", "PING"},
        {"  SET  a\tb ", "SET|a|b"},
        {"SET a \"two words\"", "SET|a|two words"},
        {"SET a \"\\x41\\n\\\"\\\\\\z\"", "SET|a|A\n\"\\z"},
        {"SET a 'it\\'s \\n'", "SET|a|it's \\n"},
        {"SET a\"b c\" d", "SET|ab c|d"},
        {"SET \"\"", "SET|"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char joined[100] = "";
        assert_int_equal(resp_split_inline(bytes_text(cases[i].line), &f->scratch, &f->reader), 0);
        for (size_t w = 0; w < resp_word_count(&f->reader); w++) {
            size_t used = strlen(joined);
            snprintf(joined + used, sizeof joined - used, "%s%.*s", w == 0 ? "" : "|",
                     (int)word(f, w).size, (const char *)word(f, w).data);
        }
        assert_string_equal(joined, cases[i].words);
    }
}

static void inline_command_with_unbalanced_quotes_is_refused(void **state)
{
    static const char *const lines[] = {"SET \"a", "SET 'a", "SET \"a\"b", "SET 'a'b", "\"\\"};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_int_equal(resp_split_inline(bytes_text(lines[i]), &f->scratch, &f->reader),
                         -EBADMSG);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(resp_reads_the_words_of_a_command),
        TEST(resp_keeps_the_words_of_several_commands),
        TEST(resp_takes_an_empty_array_as_no_command),
        TEST(resp_goes_on_where_the_bytes_ended),
        TEST(resp_moves_what_it_is_in_the_middle_of),
        TEST(resp_waits_for_all_of_a_long_word),
        TEST(resp_refuses_what_is_no_command),
        TEST(resp_refuses_whole_commands_alike),
        TEST(resp_limits_all_words_together),
        TEST(resp_takes_memory_for_words_as_they_come),
        TEST(resp_without_memory_says_so),
        TEST(resp_survives_random_bytes),
        TEST(inline_command_is_split_as_redis_does),
        TEST(inline_command_with_unbalanced_quotes_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
