/* Going through all keys in steps of bounded work, with nothing kept between them.
 *
 * Keys are visited in the order of their hash_key, the same on every node; a position is its first
 * SCAN_POSITION_BITS bits, of which the first 12 are the partition. A step visits all positions from
 * one to another, and the next goes on there. Where a key is depends on nothing but the key, so one
 * that is present throughout is visited exactly once: whatever comes, goes, or grows meanwhile, after a
 * restart, and if another node answers the next step. */
#ifndef KV_SCAN_H
#define KV_SCAN_H

#include "kv/buffer.h"
#include "kv/store.h"

/* Positions are cursors of clients, some of which keep them in a double. */
#define SCAN_POSITION_BITS 53u
#define SCAN_POSITIONS     (UINT64_C(1) << SCAN_POSITION_BITS)

/* A step looks at so many entries, and to the end of the partition that it is in. */
#define SCAN_LOOKS_MAX 10000u

/* Keys, and what they add up to. They point into the store until its next change. */
struct scan_keys {
    struct buffer list; /* struct bytes each */
    uint64_t bytes;
};

void scan_keys_init(struct scan_keys *keys, struct heap *heap);
void scan_keys_close(struct scan_keys *keys);

/* A failed allocation sticks: buffer_failed(&keys->list). */
void scan_keys_add(struct scan_keys *keys, struct bytes key);
uint64_t scan_keys_count(const struct scan_keys *keys);
struct bytes scan_keys_at(const struct scan_keys *keys, uint64_t index);

/* Visits the live keys from position `from` on, about `count` (> 0) or more of them, or fewer if it had
 * to look at too much, and adds to `keys` those that match. glob: NULL = all do. Returns the position at
 * which to go on; 0 = that was the end. */
uint64_t scan_step(struct store *s, uint64_t wall_ms, uint64_t from, uint64_t count,
                   const struct bytes *glob, struct scan_keys *keys);

#endif
