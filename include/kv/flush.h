/* FLUSHALL: deletes all that a node holds, a part of it at a time. */
#ifndef KV_FLUSH_H
#define KV_FLUSH_H

#include "kv/buffer.h"
#include "kv/moment.h"
#include "kv/reply.h"
#include "kv/store.h"

struct node;

struct flush {
    struct node *node;
    uint64_t through; /* what was written later than this is not meant */
    uint32_t partition;
    bool cursor_open;
    struct store_cursor cursor;
    struct buffer key; /* a copy: the store's own goes with the record */
    uint64_t deleted;
    uint64_t written; /* the last delete's stamp, 0 = none */
};

/* Of all that the node holds now. f is the caller's memory, the node borrowed until flush_close. */
void flush_init(struct flush *f, struct node *node);
void flush_close(struct flush *f);

/* Deletes what is meant among the next `entries` of the store, expired records too; an empty partition
 * counts as one. Returns 1 while there may be more, 0 when all are deleted, or why a delete could not be
 * written: -ENOMEM, or -ENOSPC when the disk takes no writes. */
int flush_step(struct flush *f, struct moment now, uint64_t entries);

/* Answers what became of it. outcome: of the last step, 0 or an error. */
void flush_answer(const struct flush *f, int outcome, struct reply *reply);

#endif
