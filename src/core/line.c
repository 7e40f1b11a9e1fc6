/* Lines, words and quoted strings. */
#include "kv/line.h"

#include <errno.h>

struct bytes line_last(struct bytes from)
{
    bool returns = from.size > 0 && from.data[from.size - 1] == '\r';
    return bytes_of(from.data, from.size - returns);
}

size_t line_next(struct bytes from, size_t searched, struct bytes *line)
{
    if (searched >= from.size)
        return 0;
    const uint8_t *end = memchr(from.data + searched, '\n', from.size - searched);
    if (end == NULL)
        return 0;
    size_t size = (size_t)(end - from.data);
    *line = line_last(bytes_of(from.data, size));
    return size + 1;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static size_t skip_spaces(struct bytes line, size_t at)
{
    while (at < line.size && is_space(line.data[at]))
        at++;
    return at;
}

static size_t skip_word(struct bytes line, size_t at)
{
    while (at < line.size && !is_space(line.data[at]))
        at++;
    return at;
}

struct bytes line_first_word(struct bytes line)
{
    size_t start = skip_spaces(line, 0);
    struct bytes word = bytes_after(line, start);
    word.size = skip_word(line, start) - start;
    return word;
}

size_t line_second_words(struct bytes from, struct bytes *words, size_t max)
{
    struct bytes line;
    size_t count = 0, taken;
    while (count < max && (taken = line_next(from, 0, &line)) > 0) {
        size_t start = skip_spaces(line, skip_word(line, skip_spaces(line, 0)));
        words[count] = bytes_after(line, start);
        words[count].size = skip_word(line, start) - start;
        count++;
        from = bytes_after(from, taken);
    }
    return count;
}

int line_hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Reads the escape whose backslash is at `at`. Returns the bytes it takes, 0 when malformed. */
static size_t read_escape(struct bytes line, size_t at, uint8_t *byte)
{
    if (at + 1 >= line.size)
        return 0;
    uint8_t kind = line.data[at + 1];
    if (kind == '"' || kind == '\\') {
        *byte = kind;
        return 2;
    }
    if (kind != 'x' || at + 3 >= line.size)
        return 0;
    int high = line_hex_digit(line.data[at + 2]), low = line_hex_digit(line.data[at + 3]);
    if (high < 0 || low < 0)
        return 0;
    *byte = (uint8_t)(high * 16 + low);
    return 4;
}

/* Reads the quoted string that opens at `at` into scratch. Returns one past its closing quote, 0
 * when malformed. The scratch already has the room. */
static size_t read_quoted(struct bytes line, size_t at, struct buffer *scratch, struct bytes *word)
{
    uint8_t *out = scratch->data + scratch->end;
    size_t size = 0;
    at++;
    while (at < line.size && line.data[at] != '"') {
        size_t taken = 1;
        out[size] = line.data[at];
        if (line.data[at] == '\\')
            taken = read_escape(line, at, &out[size]);
        if (taken == 0)
            return 0;
        size++;
        at += taken;
    }
    if (at >= line.size || (at + 1 < line.size && !is_space(line.data[at + 1])))
        return 0;
    buffer_added(scratch, size);
    *word = bytes_of(out, size);
    return at + 1;
}

int line_split(struct bytes line, size_t rest_index, struct bytes *words, struct buffer *scratch)
{
    size_t count = 0, at = 0;
    buffer_truncate(scratch, 0);
    for (;;) {
        size_t word_end = at;
        at = skip_spaces(line, at);
        if (count > 0 && count == rest_index && word_end < line.size) {
            words[count++] = bytes_of(line.data + word_end + 1, line.size - word_end - 1);
            return (int)count;
        }
        if (at >= line.size)
            return (int)count;
        if (count == LINE_WORDS_MAX)
            return -E2BIG;
        if (line.data[at] == '"') {
            /* Room for all that may come, so that words given out earlier stay where they are. */
            if (buffer_reserve(scratch, line.size - at) == NULL)
                return -ENOMEM;
            at = read_quoted(line, at, scratch, &words[count++]);
            if (at == 0)
                return -EBADMSG;
        } else {
            size_t end = skip_word(line, at);
            words[count++] = bytes_of(line.data + at, end - at);
            at = end;
        }
    }
}

static bool needs_quotes(struct bytes key)
{
    if (key.size == 0 || key.data[0] == '"')
        return true;
    for (size_t i = 0; i < key.size; i++) {
        if (key.data[i] <= ' ' || key.data[i] == 0x7f)
            return true;
    }
    return false;
}

void line_append_key(struct buffer *out, struct bytes key)
{
    static const char hex[] = "0123456789abcdef";
    if (!needs_quotes(key)) {
        buffer_append(out, key);
        return;
    }
    buffer_append_text(out, "\"");
    for (size_t i = 0; i < key.size; i++) {
        uint8_t c = key.data[i];
        char escape[5] = {'\\', 'x', hex[c >> 4], hex[c & 15], 0};
        if (c == '"' || c == '\\')
            buffer_append(out, bytes_of((const uint8_t[]){'\\', c}, 2));
        else if (c < ' ' || c == 0x7f)
            buffer_append_text(out, escape);
        else
            buffer_append(out, bytes_of(&c, 1));
    }
    buffer_append_text(out, "\"");
}
