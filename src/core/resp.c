/* RESP as clients send it, and inline commands. */
#include "kv/resp.h"

#include "kv/line.h"

#include <errno.h>
#include <stdio.h>

/* A count with its sign, its type and \r\n takes less. */
#define COUNT_BYTES_MAX 24u

/* Of a count, in what is read in one go: a longer word mostly comes in pieces. */
#define SHORT_COUNT_DIGITS 5

/* Words for which there is room at once: who announces more has to send them first. */
#define WORDS_RESERVED_MAX 64u

void resp_reset(struct resp_reader *reader)
{
    buffer_truncate(&reader->words, 0);
    reader->first = 0;
    reader->left = 0;
    reader->at = reader->needed = 0;
}

int resp_move(struct resp_reader *into, struct resp_reader *from)
{
    struct bytes all = buffer_bytes(&from->words);
    resp_reset(into);
    buffer_append(&into->words, bytes_after(all, from->first * sizeof(struct bytes)));
    if (buffer_failed(&into->words))
        return -ENOMEM;
    into->left = from->left;
    into->at = from->at;
    into->needed = from->needed;
    resp_reset(from);
    return 0;
}

/* --- arrays of bulk strings ---------------------------------------------------------------- */

static int64_t fail(struct resp_reader *reader, const char *reason)
{
    snprintf(reader->error, sizeof reader->error, "Protocol error: %s", reason);
    return -EBADMSG;
}

/* Reads the number that follows the type byte at `at`. Returns how far the line goes, 0 when it has not
 * arrived whole, -EBADMSG. */
static int64_t read_count(struct bytes from, size_t at, int64_t *count)
{
    size_t i = at + 1, end = from.size - at < COUNT_BYTES_MAX ? from.size : at + COUNT_BYTES_MAX;
    bool negative = i < end && from.data[i] == '-';
    int64_t number = 0;
    i += negative;
    size_t digits = i;
    for (; i < end && from.data[i] >= '0' && from.data[i] <= '9'; i++) {
        if (number > INT64_MAX / 10 - 1)
            return -EBADMSG;
        number = number * 10 + (from.data[i] - '0');
    }
    if (i + 1 >= end)
        return end == from.size && (i == end || from.data[i] == '\r') ? 0 : -EBADMSG;
    if (i == digits || from.data[i] != '\r' || from.data[i + 1] != '\n')
        return -EBADMSG;
    *count = negative ? -number : number;
    return (int64_t)i + 2;
}

static int64_t read_begin(struct resp_reader *reader, struct bytes from,
                          const struct resp_limits *limits)
{
    int64_t count = 0, end = read_count(from, 0, &count);
    if (end == 0)
        return 0;
    if (end < 0 || (count > 0 && (uint64_t)count > limits->words_max))
        return fail(reader, "invalid multibulk length");
    size_t wanted =
        count < WORDS_RESERVED_MAX ? (size_t)(count > 0 ? count : 0) : WORDS_RESERVED_MAX;
    reader->first = resp_word_count(reader);
    if (wanted > 0 && buffer_reserve(&reader->words, wanted * sizeof(struct bytes)) == NULL)
        return -ENOMEM;
    reader->left = count > 0 ? (uint64_t)count : 0;
    reader->at = (size_t)end;
    return end;
}

/* Reads one word. > 0 when it is there, else what resp_read shall return. */
static int64_t read_word(struct resp_reader *reader, struct bytes from,
                         const struct resp_limits *limits)
{
    int64_t size = 0;
    if (reader->at >= from.size)
        return 0;
    if (from.data[reader->at] != '$') {
        snprintf(reader->error, sizeof reader->error, "Protocol error: expected '$', got '%c'",
                 from.data[reader->at]);
        return -EBADMSG;
    }
    int64_t begin = read_count(from, reader->at, &size);
    if (begin == 0)
        return 0;
    if (begin < 0 || size < 0)
        return fail(reader, "invalid bulk length");
    if ((uint64_t)size > limits->word_bytes_max)
        return fail(reader, "invalid bulk length: longer than --max-value allows");
    if ((uint64_t)begin + (uint64_t)size > limits->bytes_max)
        return fail(reader, "command longer than --max-query allows");
    size_t end = (size_t)begin + (size_t)size + 2;
    if (end > from.size) {
        reader->needed = end;
        return 0;
    }
    if (memcmp(from.data + end - 2, "\r\n", 2) != 0)
        return fail(reader, "expected CRLF behind a bulk string");
    /* Until all of them are here, where a word begins is counted from the command's begin. */
    struct bytes word = bytes_of((const uint8_t *)(uintptr_t)begin, (size_t)size);
    uint8_t *at = buffer_reserve(&reader->words, sizeof word);
    if (at == NULL)
        return -ENOMEM;
    memcpy(at, &word, sizeof word);
    buffer_added(&reader->words, sizeof word);
    reader->at = end;
    reader->left--;
    return 1;
}

/* Reads a number of few digits and its \r\n. Returns how many bytes they take, 0 when it is another. */
static size_t read_few_digits(const uint8_t *d, const uint8_t *end, size_t *count)
{
    const uint8_t *at = d;
    size_t number = 0, digit;
    for (; at < end && at - d < SHORT_COUNT_DIGITS && (digit = (size_t)*at - '0') <= 9; at++)
        number = number * 10 + digit;
    if (at == d || end - at < 2 || at[0] != '\r' || at[1] != '\n')
        return 0;
    *count = number;
    return (size_t)(at - d) + 2;
}

/* The same. Nearly all are of one digit or two. */
static inline size_t read_short_count(const uint8_t *d, const uint8_t *end, size_t *count)
{
    if (end - d >= 4 && d[0] >= '0' && d[0] <= '9') {
        size_t low = (size_t)d[1] - '0';
        *count = (size_t)d[0] - '0';
        if (d[1] == '\r' && d[2] == '\n')
            return 3;
        *count = *count * 10 + low;
        if (low <= 9 && d[2] == '\r' && d[3] == '\n')
            return 4;
    }
    return read_few_digits(d, end, count);
}

/* Reads a command as nearly all are: it is whole, and of few words. Returns 0, with nothing changed, for
 * any other, whatever is wrong with it. */
static int64_t read_whole(struct resp_reader *reader, struct bytes from,
                          const struct resp_limits *limits)
{
    const uint8_t *at = from.data + 1, *end = from.data + from.size;
    size_t count = 0, size = 0, digits = read_short_count(at, end, &count);
    if (digits == 0 || count > WORDS_RESERVED_MAX || count > limits->words_max)
        return 0;
    struct bytes *words =
        (struct bytes *)(void *)buffer_reserve(&reader->words, count * sizeof(struct bytes));
    if (words == NULL)
        return 0;
    at += digits;
    for (size_t i = 0; i < count; i++) {
        if (at == end || at[0] != '$' || (digits = read_short_count(at + 1, end, &size)) == 0)
            return 0;
        at += 1 + digits;
        if ((size_t)(end - at) < size + 2 || at[size] != '\r' || at[size + 1] != '\n' ||
            size > limits->word_bytes_max)
            return 0;
        words[i] = bytes_of(at, size);
        at += size + 2;
    }
    size_t taken = (size_t)(at - from.data);
    if (taken > limits->bytes_max)
        return 0;
    reader->first = resp_word_count(reader);
    buffer_added(&reader->words, count * sizeof(struct bytes));
    return (int64_t)taken;
}

int64_t resp_read(struct resp_reader *reader, struct bytes from, const struct resp_limits *limits)
{
    if (from.size < reader->needed)
        return 0;
    if (reader->left == 0) {
        int64_t taken = read_whole(reader, from, limits);
        if (taken > 0)
            return taken;
        int64_t begun = read_begin(reader, from, limits);
        if (begun <= 0)
            return begun;
    }
    while (reader->left > 0) {
        int64_t outcome = read_word(reader, from, limits);
        if (outcome <= 0)
            return outcome;
    }
    struct bytes *words = resp_words(reader);
    size_t count = resp_word_count(reader);
    for (size_t i = reader->first; i < count; i++)
        words[i].data = from.data + (uintptr_t)words[i].data;
    int64_t taken = (int64_t)reader->at;
    reader->at = reader->needed = 0;
    return taken;
}

/* --- inline commands ----------------------------------------------------------------------- */

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || c == 0;
}

/* Reads the escape behind the backslash at `at`, within "…". Returns how many bytes it takes. */
static size_t read_escape(struct bytes line, size_t at, uint8_t *byte)
{
    static const char letters[] = "nrtba", bytes[] = "\n\r\t\b\a";
    int high, low;
    uint8_t c = line.data[at + 1];
    if (c == 'x' && at + 3 < line.size && (high = line_hex_digit(line.data[at + 2])) >= 0 &&
        (low = line_hex_digit(line.data[at + 3])) >= 0) {
        *byte = (uint8_t)(high * 16 + low);
        return 4;
    }
    *byte = c;
    for (size_t i = 0; i < sizeof letters - 1; i++) {
        if (c == (uint8_t)letters[i])
            *byte = (uint8_t)bytes[i];
    }
    return 2;
}

/* Reads what is between the quotes that open at `at`. Returns one past the closing one, 0 when there is
 * none, or when something follows it. */
static size_t read_quoted(struct bytes line, size_t at, struct buffer *scratch)
{
    uint8_t quote = line.data[at++];
    while (at < line.size && line.data[at] != quote) {
        uint8_t byte = line.data[at];
        size_t taken = 1;
        if (byte == '\\' && at + 1 < line.size) {
            if (quote == '"')
                taken = read_escape(line, at, &byte);
            else if (line.data[at + 1] == quote)
                byte = line.data[at + 1], taken = 2;
        }
        buffer_append(scratch, bytes_of(&byte, 1));
        at += taken;
    }
    if (at >= line.size || (at + 1 < line.size && !is_space(line.data[at + 1])))
        return 0;
    return at + 1;
}

/* A word may be quoted in parts: a"b c" is one. Returns where it ends, 0 when malformed. */
static size_t read_inline_word(struct bytes line, size_t at, struct buffer *scratch)
{
    while (at < line.size && !is_space(line.data[at])) {
        uint8_t c = line.data[at];
        if (c == '"' || c == '\'')
            return read_quoted(line, at, scratch);
        buffer_append(scratch, bytes_of(&c, 1));
        at++;
    }
    return at;
}

int resp_split_inline(struct bytes line, struct buffer *scratch, struct resp_reader *reader)
{
    size_t at = 0;
    resp_reset(reader);
    buffer_truncate(scratch, 0);
    /* Room for all that may come, so that words given out earlier stay where they are. */
    if (buffer_reserve(scratch, line.size + 1) == NULL)
        return -ENOMEM;
    for (;;) {
        while (at < line.size && is_space(line.data[at]))
            at++;
        if (at >= line.size)
            return buffer_failed(&reader->words) ? -ENOMEM : 0;
        size_t before = buffer_size(scratch);
        at = read_inline_word(line, at, scratch);
        if (at == 0)
            return -EBADMSG;
        struct bytes word = bytes_after(buffer_bytes(scratch), before);
        buffer_append(&reader->words, bytes_of(&word, sizeof word));
    }
}
