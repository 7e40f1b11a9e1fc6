/* The Redis protocol, as far as clients send it: arrays of bulk strings, and inline commands.
 * docs/protocol.md specifies it; its source is https://redis.io/docs/reference/protocol-spec/ . */
#ifndef KV_RESP_H
#define KV_RESP_H

#include "kv/buffer.h"

/* A command of which a part has been read. Zeroed, and `words` initialised, in the beginning. */
struct resp_reader {
    uint64_t left; /* words of it that are still to come; 0 = its first line is still to come */
    size_t at; /* bytes of it that were read */
    size_t needed; /* so many have to be there before there is more to read */
    struct buffer words; /* struct bytes each; data is where a word begins, counted from the command's
                            begin, until all are there */
};

struct resp_limits {
    uint64_t words_max; /* of one command */
    uint64_t word_bytes_max; /* of one of its words */
};

/* Reads the command at the front of `from`, or goes on reading it.
 *
 * from     begins with the command's '*', in every call, and is as long or longer in each
 * Returns  > 0 the bytes it takes: reader->words holds its words (none for an empty array, which is no
 *          command), pointing into `from`; or 0 when it has not arrived whole; or -EBADMSG: what comes
 *          is no command, *error is the reason as Redis' clients know it; or -ENOMEM. */
int64_t resp_read(struct resp_reader *reader, struct bytes from, const struct resp_limits *limits,
                  const char **error);

/* Forgets what was read, to read another command. */
void resp_reset(struct resp_reader *reader);

/* Splits an inline command into words as Redis does: "…" with \\n \\r \\t \\b \\a \\xHH \\" and \\\\, '…' with \\'.
 *
 * scratch  emptied first; grows to at most the line's size
 * words    emptied first; struct bytes each, pointing into scratch
 * Returns  0, -EBADMSG for unbalanced quotes, -ENOMEM. */
int resp_split_inline(struct bytes line, struct buffer *scratch, struct buffer *words);

#endif
