/* The journal: one bounded ring of record bytes in memory, in the order of their stamps.
 *
 * Everything that must learn of a write reads the ring from a position of its own. The ring never
 * waits for a reader: it overwrites its oldest records, and a reader that is overtaken learns so
 * and is caught up from the store. A slow or dead peer therefore costs nothing but its position.
 *
 * The ring holds the records of this node's own clients: peers are owed those and no others. */
#ifndef KV_JOURNAL_H
#define KV_JOURNAL_H

#include "kv/buffer.h"
#include "kv/record.h"

#define JOURNAL_BYTES_MIN (1u << 20)

/* One mark a block of this many bytes: where a reader may start, and what may be overwritten. */
#define JOURNAL_BLOCK_BYTES (64u << 10)

struct journal_mark {
    uint64_t position; /* of the block's first record */
    uint64_t after; /* the stamp of the record before it */
    uint64_t records; /* appended before it */
};

struct journal {
    struct heap *heap;
    uint8_t *ring; /* owned, `capacity` bytes */
    uint64_t capacity; /* bytes */
    uint64_t head; /* position of the next record; positions only grow, offset = mod capacity */
    uint64_t lap_end; /* the position at which the ring's previous lap ended … */
    uint64_t lap_start; /* … and at which this one began: nothing lies between the two */
    uint64_t last; /* the stamp of the newest record, or the floor when there is none */
    uint64_t records; /* appended so far */
    struct journal_mark *marks; /* owned; a ring of `mark_capacity`, oldest at mark_first */
    uint32_t mark_capacity;
    uint32_t mark_first;
    uint32_t mark_count;
};

/* A reader's place: what it has read is every record up to the stamp `after`. */
struct journal_reader {
    uint64_t position;
    uint64_t after;
};

/* capacity_bytes: at least JOURNAL_BYTES_MIN. Touches the memory only as it fills.
 * 0 or -ENOMEM. */
int journal_init(struct journal *j, struct heap *heap, uint64_t capacity_bytes);
void journal_close(struct journal *j);

/* The stamp after which the ring still holds every record. */
uint64_t journal_floor(const struct journal *j);

/* How many bytes it holds now. */
uint64_t journal_bytes(const struct journal *j);

/* Appends one record; its stamp must exceed every earlier one. It is copied. A record larger than
 * the ring empties the ring: then every reader is overtaken. */
void journal_append(struct journal *j, const struct record *rec);

/* Likewise one that has been encoded already. */
void journal_append_encoded(struct journal *j, uint64_t stamp, struct bytes encoded);

/* Forgets everything up to `stamp` without having held it: for when nobody reads. */
void journal_skip(struct journal *j, uint64_t stamp);

/* A reader that goes on after the stamp `after`. False when the ring no longer holds all of that. */
bool journal_seek(const struct journal *j, uint64_t after, struct journal_reader *reader);

/* How many records it holds that are stamped after `after`. O(marks + one block).
 * all: out: whether it still holds every one that there was. */
uint64_t journal_count_after(const struct journal *j, uint64_t after, bool *all);

/* A reader that has read everything so far. */
struct journal_reader journal_end(const struct journal *j);

/* Whether the reader has been overtaken. */
bool journal_overtaken(const struct journal *j, const struct journal_reader *reader);

static inline bool journal_has_more(const struct journal *j, const struct journal_reader *reader)
{
    return reader->position < j->head;
}

/* Copies whole records to `out` until there are no more or at least bytes_wanted were copied, and
 * moves the reader. It must not be overtaken. */
void journal_read(const struct journal *j, struct journal_reader *reader, size_t bytes_wanted,
                  struct buffer *out);

#endif
