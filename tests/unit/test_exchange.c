/* Base64, and backups as JSON lines and back. */
#include "unit.h"

#include "base64.h"
#include "exchange.h"
#include "kv/heap.h"

#include <errno.h>

static void base64_is_that_of_the_rfc(void **state)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    struct heap heap = heap_of_c_library();
    struct buffer out;
    (void)state;
    buffer_init(&out, &heap);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        buffer_truncate(&out, 0);
        base64_encode(bytes_text(pairs[i][0]), &out);
        assert_bytes_are(buffer_bytes(&out), pairs[i][1]);
        buffer_truncate(&out, 0);
        assert_int_equal(base64_decode(bytes_text(pairs[i][1]), &out), 0);
        assert_bytes_are(buffer_bytes(&out), pairs[i][0]);
    }
    buffer_close(&out);
}

static void base64_returns_every_byte(void **state)
{
    struct heap heap = heap_of_c_library();
    struct buffer text, back;
    uint8_t all[512];
    (void)state;
    buffer_init(&text, &heap);
    buffer_init(&back, &heap);
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (uint8_t)(i * 7 + i / 256);
    for (size_t size = 0; size <= sizeof all; size++) {
        buffer_truncate(&text, 0);
        buffer_truncate(&back, 0);
        base64_encode(bytes_of(all, size), &text);
        assert_int_equal(base64_decode(buffer_bytes(&text), &back), 0);
        assert_bytes_equal(buffer_bytes(&back), bytes_of(all, size));
    }
    buffer_close(&text);
    buffer_close(&back);
}

static void base64_refuses_what_is_none(void **state)
{
    static const char *const bad[] = {
        "Z",    "Zg",    "Zg=",  "Zg==Zg==", "=Zg=", "Zh==",    "Zm9=",
        "Zm9 ", "Zm9\n", "Z===", "====",     "Zm-_", "Zm9vYg= "};
    struct heap heap = heap_of_c_library();
    struct buffer out;
    (void)state;
    buffer_init(&out, &heap);
    buffer_append_text(&out, "kept");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(base64_decode(bytes_text(bad[i]), &out), -EINVAL);
        assert_bytes_are(buffer_bytes(&out), "kept");
    }
    buffer_close(&out);
}

/* Runs one of the two on `in`. *out: returned, to be freed. */
static int run(int (*exchange)(FILE *, FILE *, FILE *), const char *in, size_t in_bytes, char **out,
               size_t *out_bytes)
{
    char *messages = NULL;
    size_t messages_bytes;
    FILE *from = tmpfile(), *to = open_memstream(out, out_bytes);
    FILE *said = open_memstream(&messages, &messages_bytes);
    assert_int_equal(fwrite(in, 1, in_bytes, from), in_bytes);
    rewind(from);
    int status = exchange(from, to, said);
    fclose(from);
    fclose(to);
    fclose(said);
    assert_true((status == 0) == (messages_bytes == 0));
    free(messages);
    return status;
}

static void exchange_returns_the_lines_that_it_was_given(void **state)
{
    static const char lines[] = "{\"key\":\"a\",\"value\":\"\"}\n"
                                "{\"key\":\"b\",\"value\":\"\\u0000 \\\" \\\\ \\n\"}\n"
                                "{\"key_base64\":\"/w==\",\"value_base64\":\"gA==\"}\n"
                                "{\"key\":\"c\",\"value\":\"x\",\"expires_ms\":9999999999999}\n";
    char *backup = NULL, *back = NULL;
    size_t backup_bytes, back_bytes;
    (void)state;
    assert_int_equal(run(exchange_import, lines, sizeof lines - 1, &backup, &backup_bytes), 0);
    assert_int_equal(run(exchange_export, backup, backup_bytes, &back, &back_bytes), 0);
    assert_bytes_are(bytes_of(back, back_bytes), lines);
    free(backup);
    free(back);
}

static void exchange_leaves_out_what_has_expired(void **state)
{
    static const char line[] = "{\"key\":\"a\",\"value\":\"x\",\"expires_ms\":1}\n";
    char *backup = NULL, *back = NULL;
    size_t backup_bytes, back_bytes;
    (void)state;
    assert_int_equal(run(exchange_import, line, sizeof line - 1, &backup, &backup_bytes), 0);
    assert_int_equal(run(exchange_export, backup, backup_bytes, &back, &back_bytes), 0);
    assert_int_equal(back_bytes, 0);
    free(backup);
    free(back);
}

static void exchange_finds_every_flipped_byte_and_every_cut(void **state)
{
    static const char lines[] =
        "{\"key\":\"a\",\"value\":\"one\"}\n{\"key\":\"b\",\"value\":\"2\"}\n";
    char *backup = NULL, *back = NULL;
    size_t backup_bytes, back_bytes;
    (void)state;
    assert_int_equal(run(exchange_import, lines, sizeof lines - 1, &backup, &backup_bytes), 0);
    for (size_t at = 0; at < backup_bytes; at++) {
        backup[at] = (char)(backup[at] ^ (1 << at % 8));
        assert_int_equal(run(exchange_export, backup, backup_bytes, &back, &back_bytes), 1);
        backup[at] = (char)(backup[at] ^ (1 << at % 8));
        free(back);
        assert_int_equal(run(exchange_export, backup, at, &back, &back_bytes), 1);
        free(back);
    }
    free(backup);
}

/* What is wrong with a line is told by quoting it; the line may hold anything. */
static void exchange_tells_of_a_malformed_line_in_one_clean_line(void **state)
{
    static char lines[] = "{\"key\":\"a\",\"value\":\"\\\n\x1b\n";
    char *backup = NULL, *messages = NULL;
    size_t backup_bytes, messages_bytes;
    (void)state;
    FILE *in = fmemopen(lines, sizeof lines - 1, "r"), *out, *said;
    out = open_memstream(&backup, &backup_bytes);
    said = open_memstream(&messages, &messages_bytes);
    assert_int_equal(exchange_import(in, out, said), 1);
    fclose(in);
    fclose(out);
    fclose(said);
    assert_non_null(strstr(messages, "simple-kv: line 1: this is no JSON object: "));
    for (size_t i = 0; i + 1 < messages_bytes; i++)
        assert_true((unsigned char)messages[i] >= ' ');
    assert_int_equal(messages[messages_bytes - 1], '\n');
    free(backup);
    free(messages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_is_that_of_the_rfc),
        cmocka_unit_test(base64_returns_every_byte),
        cmocka_unit_test(base64_refuses_what_is_none),
        cmocka_unit_test(exchange_returns_the_lines_that_it_was_given),
        cmocka_unit_test(exchange_leaves_out_what_has_expired),
        cmocka_unit_test(exchange_finds_every_flipped_byte_and_every_cut),
        cmocka_unit_test(exchange_tells_of_a_malformed_line_in_one_clean_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
