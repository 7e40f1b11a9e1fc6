/* The Redis protocol, as far as clients send it: arrays of bulk strings, and inline commands.
 * docs/protocol.md specifies it; its source is https://redis.io/docs/reference/protocol-spec/ . */
#ifndef KV_RESP_H
#define KV_RESP_H

#include "kv/buffer.h"

/* Reads commands one after another. Zeroed, and `words` initialised, in the beginning. */
struct resp_reader {
    struct buffer words; /* struct bytes each: of all commands read since resp_reset */
    size_t first; /* among them, of the command that was read last, or is being read */
    uint64_t left; /* words of it that are still to come; 0 = it begins */
    size_t at; /* bytes of it that were read */
    size_t needed; /* so many have to be there before there is more to read */
    char error[96]; /* why something was no command, as Redis' clients know it */
};

struct resp_limits {
    uint64_t words_max; /* of one command */
    uint64_t word_bytes_max; /* of one of its words */
    uint64_t bytes_max; /* of all of it */
};

/* Reads the command at the front of `from`, or goes on reading it.
 *
 * from     begins with the command's '*'; while it is gone on with, the same, or the same and more
 * Returns  > 0 the bytes it takes: words from reader->first on are its words (none for an empty array,
 *          which is no command), pointing into `from`; or 0 when it has not arrived whole; or -EBADMSG:
 *          what comes is no command, reader->error says why; or -ENOMEM. */
int64_t resp_read(struct resp_reader *reader, struct bytes from, const struct resp_limits *limits);

/* Forgets the words of all commands, and the one that is being read. */
void resp_reset(struct resp_reader *reader);

/* Takes over the command that `from` is in the middle of, without its earlier ones. 0 or -ENOMEM. */
int resp_move(struct resp_reader *into, struct resp_reader *from);

static inline size_t resp_word_count(const struct resp_reader *reader)
{
    return buffer_size(&reader->words) / sizeof(struct bytes);
}
static inline struct bytes *resp_words(const struct resp_reader *reader)
{
    /* The buffer's memory holds nothing else, so it is aligned as malloc gave it. */
    return (struct bytes *)(void *)(uintptr_t)buffer_bytes(&reader->words).data;
}

/* Splits an inline command into words as Redis does: "…" with \n \r \t \b \a \xHH, and any other byte
 * behind a backslash as it is; '…' with \'.
 *
 * scratch  emptied first; grows to at most the line's size
 * reader   reset first; the words are put there, pointing into scratch
 * Returns  0, -EBADMSG for unbalanced quotes, -ENOMEM. */
int resp_split_inline(struct bytes line, struct buffer *scratch, struct resp_reader *reader);

#endif
