/* Escaping for log lines and error messages. */
#include "escape.h"

#include "kv/check.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define UNIT_BYTES_MAX 8 /* the longest escape, \u0000, and its NUL */

static const char ELLIPSIS[] = "\xe2\x80\xa6";

static bool is_continuation(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

/* The length of the well-formed UTF-8 character that begins at `at`, 0 if there is none. The
 * ranges of the second byte are those of the Unicode standard, table 3-7: no overlong forms, no
 * surrogates, nothing above U+10FFFF. */
static size_t utf8_bytes(const uint8_t *at, size_t left)
{
    uint8_t first = at[0];
    if (first < 0x80)
        return 1;
    size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || left < bytes || !is_continuation(at[1]))
        return 0;
    if ((first == 0xe0 && at[1] < 0xa0) || (first == 0xed && at[1] > 0x9f) ||
        (first == 0xf0 && at[1] < 0x90) || (first == 0xf4 && at[1] > 0x8f))
        return 0;
    for (size_t i = 2; i < bytes; i++) {
        if (!is_continuation(at[i]))
            return 0;
    }
    return bytes;
}

/* The letter of a two-character escape, 0 if the byte has none in this form. */
static char escape_letter(uint8_t byte, enum escape_form form)
{
    switch (byte) {
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    case '"':
    case '\\':
        return form == ESCAPE_JSON ? (char)byte : '\0';
    default:
        return '\0';
    }
}

/* Writes what the first character of `at` becomes. Returns how many bytes of `at` that was. */
static size_t escape_one(char unit[UNIT_BYTES_MAX], const uint8_t *at, size_t left,
                         enum escape_form form)
{
    size_t bytes = utf8_bytes(at, left);
    char letter = escape_letter(at[0], form);
    /* U+0080 to U+009F are control characters too: terminals obey them. */
    bool high_control = bytes == 2 && at[0] == 0xc2 && at[1] < 0xa0;
    bool control = at[0] < 0x20 || at[0] == 0x7f || high_control;
    if (letter != '\0')
        snprintf(unit, UNIT_BYTES_MAX, "\\%c", letter);
    else if (form == ESCAPE_JSON && bytes == 0)
        snprintf(unit, UNIT_BYTES_MAX, "\\ufffd");
    else if (form == ESCAPE_JSON && control)
        snprintf(unit, UNIT_BYTES_MAX, "\\u%04x", high_control ? at[1] : at[0]);
    else if (bytes == 0 || control)
        snprintf(unit, UNIT_BYTES_MAX, "\\x%02x", at[0]);
    else
        snprintf(unit, UNIT_BYTES_MAX, "%.*s", (int)bytes, (const char *)at);
    bool by_byte = bytes == 0 || (form == ESCAPE_TEXT && high_control);
    return by_byte ? 1 : bytes;
}

size_t escape_text(char *out, size_t out_bytes, const char *text, size_t text_bytes,
                   enum escape_form form)
{
    CHECK(out_bytes >= sizeof ELLIPSIS);
    const size_t room = out_bytes - 1;
    size_t used = 0;
    size_t cut = 0; /* the last end of a character behind which an ellipsis fits */
    for (size_t i = 0; i < text_bytes;) {
        char unit[UNIT_BYTES_MAX];
        i += escape_one(unit, (const uint8_t *)text + i, text_bytes - i, form);
        size_t unit_bytes = strlen(unit);
        if (used + unit_bytes > room) {
            memcpy(out + cut, ELLIPSIS, sizeof ELLIPSIS);
            return cut + sizeof ELLIPSIS - 1;
        }
        memcpy(out + used, unit, unit_bytes);
        used += unit_bytes;
        if (used + sizeof ELLIPSIS - 1 <= room)
            cut = used;
    }
    out[used] = '\0';
    return used;
}
