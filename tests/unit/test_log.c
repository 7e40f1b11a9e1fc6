/* The log: its two forms, and that nothing which is logged can break a line or stall the caller. */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TEXT_HEAD_BYTES 31 /* "2026-11-22T21:36:12.123Z INFO  " */
#define ELLIPSIS        "\xe2\x80\xa6"

/* A log that writes into a pipe. */
struct fixture {
    int ends[2];
    struct log log;
    char line[2 * LOG_LINE_BYTES_MAX];
};

static void open_log(struct fixture *f, enum log_format format)
{
    assert_int_equal(pipe(f->ends), 0);
    assert_int_equal(fcntl(f->ends[0], F_SETFL, O_NONBLOCK), 0);
    f->log = (struct log){.level = LOG_LEVEL_DEBUG, .format = format, .fd = f->ends[1]};
}

static void close_log(struct fixture *f)
{
    close(f->ends[0]);
    close(f->ends[1]);
}

/* What has been written since the last call, NUL-terminated. Returns its bytes. */
static size_t written(struct fixture *f)
{
    ssize_t bytes = read(f->ends[0], f->line, sizeof f->line - 1);
    f->line[bytes > 0 ? bytes : 0] = '\0';
    return bytes > 0 ? (size_t)bytes : 0;
}

/* What a message becomes in a line of this form, without what stands around it. */
static const char *logged(struct fixture *f, enum log_format format, const char *message)
{
    const char *start = f->line + TEXT_HEAD_BYTES;
    open_log(f, format);
    log_write(&f->log, LOG_LEVEL_INFO, "%s", message);
    size_t bytes = written(f);
    close_log(f);
    assert_true(bytes > TEXT_HEAD_BYTES);
    assert_ptr_equal(strchr(f->line, '\n'), f->line + bytes - 1);
    f->line[bytes - 1] = '\0';
    if (format == LOG_FORMAT_JSON) {
        start = strstr(f->line, "\"message\":\"");
        assert_non_null(start);
        start += strlen("\"message\":\"");
        assert_string_equal(f->line + bytes - 3, "\"}");
        f->line[bytes - 3] = '\0';
    }
    return start;
}

/* A time such as 2026-11-22T21:36:12.123Z stands at text. */
static void assert_time(const char *text)
{
    static const char PATTERN[] = "dddd-dd-ddTdd:dd:dd.dddZ";
    for (size_t i = 0; PATTERN[i] != '\0'; i++) {
        if (PATTERN[i] == 'd')
            assert_in_range(text[i], '0', '9');
        else
            assert_int_equal(text[i], PATTERN[i]);
    }
}

static void log_write_writes_time_level_and_message(void **state)
{
    (void)state;
    static const char *const LEVELS[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};
    struct fixture f;
    open_log(&f, LOG_FORMAT_TEXT);
    for (int level = LOG_LEVEL_DEBUG; level <= LOG_LEVEL_ERROR; level++) {
        char expected[64];
        log_write(&f.log, (enum log_level)level, "listening on %s:%d", "127.0.0.1", 8080);
        written(&f);
        assert_time(f.line);
        snprintf(expected, sizeof expected, " %s listening on 127.0.0.1:8080\n", LEVELS[level]);
        assert_string_equal(f.line + 24, expected);
    }
    close_log(&f);
}

static void log_write_writes_json_when_told(void **state)
{
    (void)state;
    static const char *const LEVELS[] = {"debug", "info", "warn", "error"};
    struct fixture f;
    open_log(&f, LOG_FORMAT_JSON);
    for (int level = LOG_LEVEL_DEBUG; level <= LOG_LEVEL_ERROR; level++) {
        char expected[64];
        log_write(&f.log, (enum log_level)level, "node %d", 1);
        written(&f);
        assert_memory_equal(f.line, "{\"time\":\"", 9);
        assert_time(f.line + 9);
        snprintf(expected, sizeof expected, "\",\"level\":\"%s\",\"message\":\"node 1\"}\n",
                 LEVELS[level]);
        assert_string_equal(f.line + 33, expected);
    }
    close_log(&f);
}

static void log_write_leaves_out_what_is_below_the_level(void **state)
{
    (void)state;
    struct fixture f;
    open_log(&f, LOG_FORMAT_TEXT);
    f.log.level = LOG_LEVEL_WARN;
    log_write(&f.log, LOG_LEVEL_DEBUG, "no");
    log_write(&f.log, LOG_LEVEL_INFO, "no");
    assert_int_equal(written(&f), 0);
    log_write(&f.log, LOG_LEVEL_WARN, "yes");
    assert_true(written(&f) > 0);
    log_write(&f.log, LOG_LEVEL_ERROR, "yes");
    assert_true(written(&f) > 0);
    close_log(&f);
}

static void log_write_makes_every_byte_harmless(void **state)
{
    (void)state;
    static const struct {
        const char *message, *text, *json;
    } CASES[] = {
        {"", "", ""},
        {"two\nlines\r\n\tand", "two\\nlines\\r\\n\\tand", "two\\nlines\\r\\n\\tand"},
        {"\x01\x1b[31m\x7f", "\\x01\\x1b[31m\\x7f", "\\u0001\\u001b[31m\\u007f"},
        {"a \"b\" \\c", "a \"b\" \\c", "a \\\"b\\\" \\\\c"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
         "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
         "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xc2\x9b", "\\xc2\\x9b", "\\u009b"}, /* a control character, as UTF-8 */
        {"\xc2\xa0", "\xc2\xa0", "\xc2\xa0"}, /* the first that is none */
        {"a\xff", "a\\xff", "a\\ufffd"}, /* never a byte of UTF-8 */
        {"\x80", "\\x80", "\\ufffd"}, /* a continuation of nothing */
        {"\xc3", "\\xc3", "\\ufffd"}, /* the end within a character */
        {"\xe2\x82", "\\xe2\\x82", "\\ufffd\\ufffd"}, /* the same, one further */
        {"\xc3\"", "\\xc3\"", "\\ufffd\\\""}, /* a quote inside a character */
        {"\xc0\xaf", "\\xc0\\xaf", "\\ufffd\\ufffd"}, /* overlong '/' */
        {"\xe0\x80\xaf", "\\xe0\\x80\\xaf", "\\ufffd\\ufffd\\ufffd"}, /* overlong '/' */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80", "\\ufffd\\ufffd\\ufffd"}, /* a surrogate */
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct fixture f;
        assert_string_equal(logged(&f, LOG_FORMAT_TEXT, CASES[i].message), CASES[i].text);
        assert_string_equal(logged(&f, LOG_FORMAT_JSON, CASES[i].message), CASES[i].json);
    }
}

static void log_write_marks_where_a_long_message_was_cut(void **state)
{
    (void)state;
    char message[3 * LOG_LINE_BYTES_MAX];
    struct fixture f;
    memset(message, 'a', sizeof message - 1);
    message[sizeof message - 1] = '\0';
    const char *text = logged(&f, LOG_FORMAT_TEXT, message);
    assert_int_equal(strlen(text), LOG_LINE_BYTES_MAX - TEXT_HEAD_BYTES - 1);
    assert_string_equal(text + strlen(text) - 4, "a" ELLIPSIS);
    const char *json = logged(&f, LOG_FORMAT_JSON, message);
    assert_int_equal(strlen(f.line), LOG_LINE_BYTES_MAX - 3);
    assert_string_equal(json + strlen(json) - 4, "a" ELLIPSIS);
}

static void log_write_leaves_a_message_whole_that_just_fits(void **state)
{
    (void)state;
    char message[LOG_LINE_BYTES_MAX];
    const size_t fits = LOG_LINE_BYTES_MAX - TEXT_HEAD_BYTES - 1;
    struct fixture f;
    memset(message, 'a', sizeof message);
    message[fits] = '\0';
    assert_string_equal(logged(&f, LOG_FORMAT_TEXT, message), message);
    memcpy(message + fits, "a", 2);
    const char *cut = logged(&f, LOG_FORMAT_TEXT, message);
    assert_int_equal(strlen(cut), fits);
    assert_string_equal(cut + fits - 3, ELLIPSIS);
}

static void log_write_cuts_behind_a_whole_character(void **state)
{
    (void)state;
    /* An escape of 6 bytes in JSON and a character of 3, moved along byte by byte. */
    for (size_t shift = 0; shift < 9; shift++) {
        char message[LOG_LINE_BYTES_MAX];
        struct fixture f;
        memset(message, 'a', shift);
        size_t used = shift;
        while (used + 5 <= sizeof message) {
            memcpy(message + used, "\x01\xe2\x82\xac", 5);
            used += 4;
        }
        const char *json = logged(&f, LOG_FORMAT_JSON, message);
        assert_true(strlen(f.line) > LOG_LINE_BYTES_MAX - 16);
        assert_true(strlen(f.line) <= LOG_LINE_BYTES_MAX - 3);
        for (json += shift; strcmp(json, ELLIPSIS) != 0;) {
            bool escape = strncmp(json, "\\u0001", 6) == 0;
            assert_true(escape || strncmp(json, "\xe2\x82\xac", 3) == 0);
            json += escape ? 6 : 3;
        }
    }
}

static void log_write_drops_an_event_rather_than_wait_for_a_full_pipe(void **state)
{
    (void)state;
    char filler[512] = {0};
    struct fixture f;
    open_log(&f, LOG_FORMAT_TEXT);
    assert_int_equal(fcntl(f.ends[1], F_SETFL, O_NONBLOCK), 0);
    while (write(f.ends[1], filler, sizeof filler) > 0)
        ;
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(fcntl(f.ends[1], F_SETFL, 0), 0); /* now a write would block */
    log_write(&f.log, LOG_LEVEL_ERROR, "lost");
    size_t bytes;
    while ((bytes = written(&f)) > 0)
        assert_null(memchr(f.line, 'l', bytes));
    log_write(&f.log, LOG_LEVEL_ERROR, "kept");
    assert_true(written(&f) > 0);
    close_log(&f);
}

static void log_write_survives_a_closed_descriptor(void **state)
{
    (void)state;
    struct fixture f;
    open_log(&f, LOG_FORMAT_TEXT);
    close_log(&f);
    log_write(&f.log, LOG_LEVEL_ERROR, "into nothing");
}

static void log_write_leaves_errno_as_it_was(void **state)
{
    (void)state;
    int fd = open("/dev/null", O_RDONLY); /* polls writable, and is not */
    struct log log = {.level = LOG_LEVEL_INFO, .format = LOG_FORMAT_TEXT, .fd = fd};
    assert_true(fd >= 0);
    errno = ENOSPC;
    log_write(&log, LOG_LEVEL_ERROR, "into nothing");
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_write_writes_time_level_and_message),
        cmocka_unit_test(log_write_writes_json_when_told),
        cmocka_unit_test(log_write_leaves_out_what_is_below_the_level),
        cmocka_unit_test(log_write_makes_every_byte_harmless),
        cmocka_unit_test(log_write_marks_where_a_long_message_was_cut),
        cmocka_unit_test(log_write_leaves_a_message_whole_that_just_fits),
        cmocka_unit_test(log_write_cuts_behind_a_whole_character),
        cmocka_unit_test(log_write_drops_an_event_rather_than_wait_for_a_full_pipe),
        cmocka_unit_test(log_write_survives_a_closed_descriptor),
        cmocka_unit_test(log_write_leaves_errno_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
