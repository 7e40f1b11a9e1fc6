/* The line protocol's words: line ends, spaces, quoted strings, and keys typed back. */
#include "failing_heap.h"
#include "unit.h"

#include "kv/line.h"
#include "kv/random.h"

#include <errno.h>

static struct failing_heap heap;
static struct buffer scratch;
static struct bytes words[LINE_WORDS_MAX];

static int set_up(void **state)
{
    (void)state;
    failing_heap_init(&heap);
    buffer_init(&scratch, &heap.heap);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buffer_close(&scratch);
    return heap.live != 0;
}

static int split(const char *line, size_t rest_index)
{
    return line_split(bytes_text(line), rest_index, words, &scratch);
}

/* --- lines --------------------------------------------------------------------------------- */

static void line_next_ends_at_either_line_end(void **state)
{
    (void)state;
    struct bytes line;
    assert_int_equal(line_next(bytes_text("GET a\nGET b\n"), 0, &line), 6);
    assert_bytes_are(line, "GET a");
    assert_int_equal(line_next(bytes_text("GET a\r\n"), 0, &line), 7);
    assert_bytes_are(line, "GET a");
    assert_int_equal(line_next(bytes_text("\n"), 0, &line), 1);
    assert_int_equal(line.size, 0);
    assert_int_equal(line_next(bytes_text("\r\n"), 0, &line), 2);
    assert_int_equal(line.size, 0);
    assert_int_equal(line_next(bytes_text("a\r\r\n"), 0, &line), 4);
    assert_bytes_are(line, "a\r");
}

static void line_next_asks_for_more_without_a_line_end(void **state)
{
    (void)state;
    struct bytes line;
    assert_int_equal(line_next(bytes_text("GET a"), 0, &line), 0);
    assert_int_equal(line_next(bytes_text("GET a\r"), 0, &line), 0);
    assert_int_equal(line_next(bytes_of(NULL, 0), 0, &line), 0);
}

static void line_next_goes_on_where_it_searched(void **state)
{
    (void)state;
    struct bytes line;
    assert_int_equal(line_next(bytes_text("GET a\n"), 5, &line), 6);
    assert_int_equal(line_next(bytes_text("GET a\r\n"), 6, &line), 7);
    assert_bytes_are(line, "GET a");
    assert_int_equal(line_next(bytes_text("GET a"), 5, &line), 0);
}

static void line_last_leaves_a_return_out(void **state)
{
    (void)state;
    assert_bytes_are(line_last(bytes_text("GET a")), "GET a");
    assert_bytes_are(line_last(bytes_text("GET a\r")), "GET a");
    assert_bytes_are(line_last(bytes_text("\r")), "");
    assert_int_equal(line_last(bytes_of(NULL, 0)).size, 0);
}

static void line_first_word_skips_spaces(void **state)
{
    (void)state;
    assert_bytes_are(line_first_word(bytes_text(" \t GET a")), "GET");
    assert_bytes_are(line_first_word(bytes_text("GET")), "GET");
    assert_int_equal(line_first_word(bytes_text("  \t")).size, 0);
    assert_int_equal(line_first_word(bytes_of(NULL, 0)).size, 0);
}

/* --- words --------------------------------------------------------------------------------- */

static void line_split_separates_at_spaces_and_tabs(void **state)
{
    (void)state;
    assert_int_equal(split("  DEL a\t\tb  c ", LINE_NO_REST), 4);
    assert_bytes_are(words[0], "DEL");
    assert_bytes_are(words[1], "a");
    assert_bytes_are(words[2], "b");
    assert_bytes_are(words[3], "c");
    assert_int_equal(split("", LINE_NO_REST), 0);
    assert_int_equal(split("   ", LINE_NO_REST), 0);
}

static void line_split_takes_the_rest_verbatim(void **state)
{
    (void)state;
    assert_int_equal(split("SET k  two \"words\" ", 2), 3);
    assert_bytes_are(words[2], " two \"words\" ");
    assert_int_equal(split("SET  k v", 2), 3);
    assert_bytes_are(words[1], "k");
    assert_bytes_are(words[2], "v");
    assert_int_equal(split("SET k ", 2), 3);
    assert_int_equal(words[2].size, 0);
    assert_int_equal(split("SET k", 2), 2);
    assert_int_equal(split("SET", 2), 1);
    assert_int_equal(split("SET \"a b\" v w", 2), 3);
    assert_bytes_are(words[1], "a b");
    assert_bytes_are(words[2], "v w");
}

static void line_split_reads_quoted_strings(void **state)
{
    (void)state;
    assert_int_equal(split("DEL \"a b\" \"\" \"\\\"\\\\\\x00\\xFf\" c\"d\"", LINE_NO_REST), 5);
    assert_bytes_are(words[1], "a b");
    assert_int_equal(words[2].size, 0);
    assert_bytes_equal(words[3], bytes_of("\"\\\0\xff", 4));
    assert_bytes_are(words[4], "c\"d\"");
}

static void line_split_refuses_malformed_quoted_strings(void **state)
{
    (void)state;
    static const char *const BAD[] = {"GET \"",      "GET \"a",     "GET \"a\\\"",  "GET \"\\",
                                      "GET \"\\n\"", "GET \"\\x\"", "GET \"\\x1\"", "GET \"\\x1g\"",
                                      "GET \"a\"b",  "\"GET\"x a"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        size_t size = strlen(BAD[i]);
        uint8_t *copy = malloc(size);
        memcpy(copy, BAD[i], size);
        assert_int_equal(line_split(bytes_of(copy, size), LINE_NO_REST, words, &scratch), -EBADMSG);
        free(copy);
    }
}

static void line_split_keeps_every_quoted_word_where_it_is(void **state)
{
    (void)state;
    char line[4000] = "DEL", expected[8];
    for (int i = 0; i < 300; i++)
        snprintf(line + strlen(line), sizeof line - strlen(line), " \"k %d\"", i);
    assert_int_equal(split(line, LINE_NO_REST), 301);
    for (int i = 0; i < 300; i++) {
        snprintf(expected, sizeof expected, "k %d", i);
        assert_bytes_are(words[i + 1], expected);
    }
}

static void line_split_counts_words_up_to_its_limit(void **state)
{
    (void)state;
    char *line = malloc(2 * LINE_WORDS_MAX + 3);
    for (size_t i = 0; i <= LINE_WORDS_MAX; i++)
        memcpy(line + 2 * i, "k ", 2);
    line[2 * LINE_WORDS_MAX + 2] = 0;
    assert_int_equal(split(line, LINE_NO_REST), -E2BIG);
    line[2 * LINE_WORDS_MAX] = 0;
    assert_int_equal(split(line, LINE_NO_REST), LINE_WORDS_MAX);
    free(line);
}

static void line_split_survives_a_line_cut_anywhere(void **state)
{
    (void)state;
    static const char LINE[] = "SETEX \"k\\x41\\\"\\\\ \" 100  some \"value\" ";
    for (size_t rest = 0; rest < 5; rest++) {
        for (size_t size = 0; size < sizeof LINE; size++) {
            uint8_t *copy = malloc(size + 1);
            memcpy(copy, LINE, size);
            int count = line_split(bytes_of(copy, size), rest, words, &scratch);
            assert_true(count == -EBADMSG || (count >= 0 && count <= 7));
            free(copy);
        }
    }
}

/* --- keys typed back ----------------------------------------------------------------------- */

static void line_append_key_quotes_only_what_needs_it(void **state)
{
    (void)state;
    static const char *const KEYS[][2] = {{"plain", "plain"},
                                          {"user:10", "user:10"},
                                          {"a\"b", "a\"b"},
                                          {"a\\b", "a\\b"},
                                          {"\"a", "\"\\\"a\""},
                                          {"a b", "\"a b\""},
                                          {"\n", "\"\\x0a\""},
                                          {"\x7f", "\"\\x7f\""},
                                          {"a \\", "\"a \\\\\""},
                                          {"\xc3\xa4", "\xc3\xa4"},
                                          {"", "\"\""}};
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        buffer_truncate(&scratch, 0);
        line_append_key(&scratch, bytes_text(KEYS[i][0]));
        assert_bytes_are(buffer_bytes(&scratch), KEYS[i][1]);
    }
}

static void line_append_key_writes_what_line_split_reads_back(void **state)
{
    (void)state;
    struct random random;
    struct buffer line;
    random_init(&random, unit_seed(__func__));
    buffer_init(&line, &heap.heap);
    for (uint64_t round = unit_rounds(20000); round > 0; round--) {
        uint8_t key[12];
        struct bytes found, typed = bytes_of(key, 1 + random_below(&random, sizeof key));
        for (size_t i = 0; i < typed.size; i++)
            key[i] = random_below(&random, 3) == 0
                         ? (uint8_t)random_next(&random)
                         : (uint8_t) " \"\\x\na"[random_below(&random, 6)];
        buffer_truncate(&line, 0);
        buffer_append_text(&line, "GET ");
        line_append_key(&line, typed);
        buffer_append_text(&line, "\n");
        assert_int_equal(line_next(buffer_bytes(&line), 0, &found), buffer_size(&line));
        assert_int_equal(line_split(found, LINE_NO_REST, words, &scratch), 2);
        assert_bytes_equal(words[1], typed);
    }
    buffer_close(&line);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void line_second_words_are_those_of_complete_lines(void **state)
{
    (void)state;
    struct bytes seconds[3];
    struct bytes text = bytes_text("SET key value\r\n\nPING\n  GET\tb  \nGET cut");
    assert_int_equal(line_second_words(text, seconds, 3), 3);
    assert_true(bytes_equal(seconds[0], bytes_text("key")));
    assert_int_equal(seconds[1].size, 0);
    assert_int_equal(seconds[2].size, 0);
    text = bytes_text("  GET\tb  \nGET cut");
    assert_int_equal(line_second_words(text, seconds, 3), 1);
    assert_true(bytes_equal(seconds[0], bytes_text("b")));
    assert_int_equal(line_second_words(bytes_of(NULL, 0), seconds, 3), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(line_next_ends_at_either_line_end),
        TEST(line_next_asks_for_more_without_a_line_end),
        TEST(line_next_goes_on_where_it_searched),
        TEST(line_last_leaves_a_return_out),
        TEST(line_first_word_skips_spaces),
        TEST(line_split_separates_at_spaces_and_tabs),
        TEST(line_split_takes_the_rest_verbatim),
        TEST(line_split_reads_quoted_strings),
        TEST(line_split_refuses_malformed_quoted_strings),
        TEST(line_split_keeps_every_quoted_word_where_it_is),
        TEST(line_split_counts_words_up_to_its_limit),
        TEST(line_split_survives_a_line_cut_anywhere),
        TEST(line_append_key_quotes_only_what_needs_it),
        TEST(line_second_words_are_those_of_complete_lines),
        TEST(line_append_key_writes_what_line_split_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
