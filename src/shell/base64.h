/* Base64 (RFC 4648, section 4), with padding and without line breaks. */
#ifndef SHELL_BASE64_H
#define SHELL_BASE64_H

#include "kv/buffer.h"

/* Appends. A failure sticks in `out`. */
void base64_encode(struct bytes bytes, struct buffer *out);

/* Appends what `text` stands for. 0, or -EINVAL when it is no base64; then `out` is as it was.
 * A failure of memory sticks in `out`. */
int base64_decode(struct bytes text, struct buffer *out);

#endif
