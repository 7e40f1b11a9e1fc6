/* Byte slices: comparing, numbers, globs, and the byte order of the formats. */
#include "unit.h"

#include "kv/random.h"

static void bytes_equal_compares_size_and_content(void **state)
{
    (void)state;
    assert_true(bytes_equal(bytes_text("ab"), bytes_text("ab")));
    assert_false(bytes_equal(bytes_text("ab"), bytes_text("ac")));
    assert_false(bytes_equal(bytes_text("ab"), bytes_text("abc")));
    assert_true(bytes_equal(bytes_of(NULL, 0), bytes_text("")));
    assert_false(bytes_equal(bytes_of("a\0b", 3), bytes_of("a\0c", 3)));
}

static void bytes_compare_puts_a_prefix_first(void **state)
{
    (void)state;
    static const char *const ASCENDING[] = {"", "a", "aa", "ab", "b", "b ", "\xff"};
    for (size_t i = 0; i < 7; i++) {
        for (size_t k = 0; k < 7; k++) {
            int order = bytes_compare(bytes_text(ASCENDING[i]), bytes_text(ASCENDING[k]));
            assert_true(i < k ? order < 0 : i > k ? order > 0 : order == 0);
        }
    }
    assert_int_equal(bytes_compare(bytes_of(NULL, 0), bytes_of(NULL, 0)), 0);
}

static void bytes_after_skips_from_the_front(void **state)
{
    (void)state;
    assert_bytes_are(bytes_after(bytes_text("abc"), 1), "bc");
    assert_bytes_are(bytes_after(bytes_text("abc"), 3), "");
    assert_null(bytes_after(bytes_of(NULL, 0), 0).data);
}

static void bytes_equal_ignoring_case_ignores_that_of_letters_only(void **state)
{
    (void)state;
    assert_true(bytes_equal_ignoring_case(bytes_text("GeT"), bytes_text("gEt")));
    assert_false(bytes_equal_ignoring_case(bytes_text("GET"), bytes_text("GETS")));
    assert_false(bytes_equal_ignoring_case(bytes_text("["), bytes_text("{")));
    assert_false(bytes_equal_ignoring_case(bytes_text("@"), bytes_text("`")));
}

/* --- numbers ------------------------------------------------------------------------------- */

static void bytes_parse_u64_takes_whole_numbers(void **state)
{
    (void)state;
    uint64_t n = 7;
    assert_true(bytes_parse_u64(bytes_text("0"), &n) && n == 0);
    assert_true(bytes_parse_u64(bytes_text("007"), &n) && n == 7);
    assert_true(bytes_parse_u64(bytes_text("18446744073709551615"), &n) && n == UINT64_MAX);
}

static void bytes_parse_u64_refuses_anything_else(void **state)
{
    (void)state;
    static const char *const BAD[] = {"",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "x",
                                      "0x10",
                                      "1e3",
                                      "18446744073709551616",
                                      "99999999999999999999999"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        uint64_t n = 7;
        assert_false(bytes_parse_u64(bytes_text(BAD[i]), &n));
        assert_int_equal(n, 7);
    }
}

static void bytes_parse_i64_takes_both_signs(void **state)
{
    (void)state;
    int64_t n = 7;
    assert_true(bytes_parse_i64(bytes_text("-12"), &n) && n == -12);
    assert_true(bytes_parse_i64(bytes_text("9223372036854775807"), &n) && n == INT64_MAX);
    assert_true(bytes_parse_i64(bytes_text("-9223372036854775807"), &n) && n == -INT64_MAX);
    assert_true(bytes_parse_i64(bytes_text("-0"), &n) && n == 0);
}

static void bytes_parse_i64_refuses_anything_else(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "", "-", "--1", "- 1", "9223372036854775808", "-99999999999999999999", "1-"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        int64_t n = 7;
        assert_false(bytes_parse_i64(bytes_text(BAD[i]), &n));
        assert_int_equal(n, 7);
    }
}

static void bytes_put_and_get_are_little_endian(void **state)
{
    (void)state;
    uint8_t at[8];
    put_u64(at, 0x0102030405060708);
    assert_true(at[0] == 8 && at[7] == 1 && get_u64(at) == 0x0102030405060708);
    assert_true(get_u32(at) == 0x05060708 && get_u16(at) == 0x0708);
    put_u16(at, 0xabcd);
    put_u32(at + 2, 0x12345678);
    assert_true(at[0] == 0xcd && at[1] == 0xab && at[2] == 0x78 && at[5] == 0x12);
}

/* --- globs --------------------------------------------------------------------------------- */

static bool matches(const char *glob, const char *text)
{
    return bytes_match_glob(bytes_text(glob), bytes_text(text));
}

static void bytes_match_glob_knows_stars_and_question_marks(void **state)
{
    (void)state;
    assert_true(matches("", "") && !matches("", "a") && !matches("a", ""));
    assert_true(matches("*", "") && matches("*", "anything") && matches("**", "x"));
    assert_true(matches("user:*", "user:") && matches("user:*", "user:10"));
    assert_false(matches("user:*", "use"));
    assert_true(matches("*:10", "user:10") && !matches("*:10", "user:100"));
    assert_true(matches("a*b*c", "a--b--b--c") && !matches("a*b*c", "a--c--b"));
    assert_true(matches("a?c", "abc") && !matches("a?c", "ac") && !matches("?", ""));
}

static void bytes_match_glob_knows_classes(void **state)
{
    (void)state;
    assert_true(matches("k[0-9]", "k5") && !matches("k[0-9]", "kx"));
    assert_true(matches("k[9-0]", "k5"));
    assert_true(matches("[abc]", "b") && !matches("[abc]", "d"));
    assert_true(matches("[^abc]", "d") && !matches("[^abc]", "b"));
    assert_true(matches("[]]", "]") && matches("[^]]", "x") && !matches("[^]]", "]"));
    assert_true(matches("[a-]", "-") && matches("[a-]", "a") && !matches("[a-]", "b"));
    assert_true(matches("[\\]]", "]") && matches("[a\\-z]", "-"));
}

static void bytes_match_glob_takes_the_byte_after_a_backslash_literally(void **state)
{
    (void)state;
    assert_true(matches("\\*", "*") && !matches("\\*", "x"));
    assert_true(matches("a\\?b", "a?b") && !matches("a\\?b", "axb"));
    assert_true(matches("\\\\", "\\") && matches("\\", "\\"));
    assert_true(matches("\\[a]", "[a]"));
}

static void bytes_match_glob_survives_a_class_that_does_not_end(void **state)
{
    (void)state;
    static const char *const GLOBS[] = {"[", "[^", "[a", "[a-", "[\\", "[]", "[^]", "a[", "*["};
    for (size_t i = 0; i < sizeof GLOBS / sizeof GLOBS[0]; i++) {
        size_t size = strlen(GLOBS[i]);
        uint8_t *copy = malloc(size);
        memcpy(copy, GLOBS[i], size);
        bytes_match_glob(bytes_of(copy, size), bytes_text("a"));
        bytes_match_glob(bytes_of(copy, size), bytes_text("aa]["));
        free(copy);
    }
}

/* Obviously right, and exponential. */
static bool plain_match(const char *glob, const char *text)
{
    if (*glob == 0)
        return *text == 0;
    if (*glob == '*')
        return plain_match(glob + 1, text) || (*text != 0 && plain_match(glob, text + 1));
    return *text != 0 && (*glob == '?' || *glob == *text) && plain_match(glob + 1, text + 1);
}

static void bytes_match_glob_agrees_with_a_plain_matcher(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, unit_seed(__func__));
    for (uint64_t round = unit_rounds(50000); round > 0; round--) {
        char glob[10] = {0}, text[12] = {0};
        for (uint64_t i = random_below(&random, sizeof glob); i > 0; i--)
            glob[i - 1] = "ab?*"[random_below(&random, 4)];
        for (uint64_t i = random_below(&random, sizeof text); i > 0; i--)
            text[i - 1] = "ab"[random_below(&random, 2)];
        if (matches(glob, text) != plain_match(glob, text))
            fail_msg("glob %s, text %s", glob, text);
    }
}

static void bytes_match_glob_of_many_stars_takes_bounded_time(void **state)
{
    (void)state;
    char glob[2001], text[20001];
    for (size_t i = 0; i < 2000; i++)
        glob[i] = i % 2 == 0 ? '*' : 'a';
    memset(text, 'a', 20000);
    glob[2000] = text[20000] = 0;
    text[19999] = 'b';
    assert_false(matches(glob, text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_equal_compares_size_and_content),
        cmocka_unit_test(bytes_compare_puts_a_prefix_first),
        cmocka_unit_test(bytes_after_skips_from_the_front),
        cmocka_unit_test(bytes_equal_ignoring_case_ignores_that_of_letters_only),
        cmocka_unit_test(bytes_parse_u64_takes_whole_numbers),
        cmocka_unit_test(bytes_parse_u64_refuses_anything_else),
        cmocka_unit_test(bytes_parse_i64_takes_both_signs),
        cmocka_unit_test(bytes_parse_i64_refuses_anything_else),
        cmocka_unit_test(bytes_put_and_get_are_little_endian),
        cmocka_unit_test(bytes_match_glob_knows_stars_and_question_marks),
        cmocka_unit_test(bytes_match_glob_knows_classes),
        cmocka_unit_test(bytes_match_glob_takes_the_byte_after_a_backslash_literally),
        cmocka_unit_test(bytes_match_glob_survives_a_class_that_does_not_end),
        cmocka_unit_test(bytes_match_glob_agrees_with_a_plain_matcher),
        cmocka_unit_test(bytes_match_glob_of_many_stars_takes_bounded_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
