/* The line protocol: bytes to words. docs/protocol.md specifies it. */
#ifndef KV_LINE_H
#define KV_LINE_H

#include "kv/buffer.h"

/* Words of one line at most: a command with more keys than that is sent as several. */
#define LINE_WORDS_MAX 1024u

/* No word of a line takes the rest of it. */
#define LINE_NO_REST 0u

/* Finds the line at the front of `from`: ends at \n; a \r before it is not part of the line.
 *
 * searched  how many bytes at the front are known to hold no \n (0 if unknown)
 * Returns   > 0 the bytes consumed, *line being the line without its end; 0 when the end of the
 *           line is not in `from` yet. */
size_t line_next(struct bytes from, size_t searched, struct bytes *line);

/* The line that the end of the input ends, instead of a \n. */
struct bytes line_last(struct bytes from);

/* The first word of a line, empty for a blank line. */
struct bytes line_first_word(struct bytes line);

/* The second words of the complete lines at the front of `from`, which are keys most often: for a look
 * ahead that may be wrong. Returns how many there are in `words`, at most `max`. Borrowed. */
size_t line_second_words(struct bytes from, struct bytes *words, size_t max);

/* Splits a line into words at spaces and tabs.
 *
 * A word that begins with " is a quoted string: \" \\ \xHH stand for the bytes they name. Word
 * number rest_index (if not LINE_NO_REST) is everything after the single space that follows the
 * word before it, verbatim and possibly empty.
 *
 * words    at least LINE_WORDS_MAX; they point into the line, or into scratch for quoted ones
 * scratch  emptied first; grows to at most the line's size
 * Returns  the number of words, -E2BIG when there are more than LINE_WORDS_MAX, -EBADMSG for a
 *          malformed quoted string, -ENOMEM. */
int line_split(struct bytes line, size_t rest_index, struct bytes *words, struct buffer *scratch);

/* The value of a hexadecimal digit; -1 for any other byte. */
int line_hex_digit(uint8_t c);

/* Appends a key as a person could type it back: as it is, or quoted if it needs that. */
void line_append_key(struct buffer *out, struct bytes key);

#endif
