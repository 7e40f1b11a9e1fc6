/* Text of unknown origin made harmless for one line: no control bytes, no broken UTF-8, an end. */
#ifndef SHELL_ESCAPE_H
#define SHELL_ESCAPE_H

#include <stddef.h>

enum escape_form {
    ESCAPE_TEXT, /* for a terminal: \n \r \t, any other harmful byte as \xHH */
    ESCAPE_JSON /* the inside of a JSON string; a byte that is not UTF-8 becomes U+FFFD */
};

/* Writes the escaped text and a NUL; what does not fit is cut off behind a whole character and
 * marked with an ellipsis (U+2026).
 *
 * out        borrowed; out_bytes at least 4 (the ellipsis and the NUL).
 * text       borrowed; text_bytes of anything, NUL included.
 * Returns    the bytes written, without the NUL: less than out_bytes. */
size_t escape_text(char *out, size_t out_bytes, const char *text, size_t text_bytes,
                   enum escape_form form);

#endif
