/* Replies: what a command answers, in terms that name no protocol. */
#ifndef KV_REPLY_H
#define KV_REPLY_H

#include "kv/buffer.h"

/* Where a command's one reply goes. */
struct reply {
    struct buffer *out; /* borrowed; a failed allocation sticks there */
};

void reply_ok(struct reply *r);
void reply_pong(struct reply *r);
void reply_goodbye(struct reply *r); /* the answer to QUIT */
void reply_value(struct reply *r, struct bytes value);
void reply_missing(struct reply *r);
void reply_number(struct reply *r, int64_t number);

/* Announces `count` items, each to follow by reply_key. */
void reply_list(struct reply *r, uint64_t count);
void reply_key(struct reply *r, struct bytes key);

/* A text of several lines, each ended by \n. */
void reply_text(struct reply *r, struct bytes lines);

/* The reason says what was wrong and what would be right. Control bytes in it become '?'. */
__attribute__((format(printf, 2, 3))) void reply_error(struct reply *r, const char *format, ...);

#endif
