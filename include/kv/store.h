/* The store: every record, live or tombstone, in partitions of uthash tables.
 *
 * The partition of a key is the same on every node; it is the unit of all work that must not stall
 * the loop: table growth, delta scans, sweeps. The bucket within it is chosen by a seeded hash. */
#ifndef KV_STORE_H
#define KV_STORE_H

#include "kv/list.h"
#include "kv/record.h"

#include "kv/heap.h"

#define STORE_PARTITIONS 4096u

/* Digests of partitions are compared by groups first. */
#define STORE_GROUPS           64u
#define STORE_GROUP_PARTITIONS (STORE_PARTITIONS / STORE_GROUPS)

struct store;
struct entry;

enum store_outcome {
    STORE_MERGED = 1, /* the record won and is in the store */
    STORE_STALE = 2 /* it lost, or is here already, or was here and is gone: nothing changed */
};

/* heap: borrowed for the store's life. hash_seed: from a good source of randomness.
 * Returned, to be freed with store_free; NULL when out of memory. */
struct store *store_new(struct heap *heap, uint64_t hash_seed);
void store_free(struct store *s);

/* Merge one record: the only way into the store.
 *
 * rec      borrowed; its bytes are copied. They may be the store's own (as store_find gave them),
 *          and are gone then after the call. Key 1..RECORD_KEY_BYTES_MAX, value
 *          0..RECORD_VALUE_BYTES_MAX.
 * covered  whether this node's vectors say that the record was merged here before. If a live one
 *          is not here then, something newer removed it, and it is discarded: the rule that keeps
 *          deleted keys deleted. So also if its key is here with something older, which came later,
 *          or is a tombstone that a comparison made. A covered tombstone counts where its key is.
 * Returns  STORE_MERGED, STORE_STALE, or -ENOMEM with the store unchanged.
 * Cost     O(key + value). Reads no clock. */
int store_merge(struct store *s, const struct record *rec, bool covered);

/* How many keys are worth asking for at a time. */
#define STORE_PREFETCH_MAX 64u

/* Asks the caches for what finding or merging these keys will read: the misses of all of them then
 * overlap, where one merge after another would wait for each of its own. Changes nothing. count: at
 * most STORE_PREFETCH_MAX. */
void store_prefetch(const struct store *s, const struct bytes *keys, size_t count);

/* Likewise for a cursor that is about to visit a partition: entries lie anywhere in memory, and a cursor
 * comes to know the next one only from the one before. A large partition is left alone: before the
 * cursor came to its end, the caches would have forgotten it. */
void store_prefetch_partition(const struct store *s, uint32_t partition);

/* Finds a live record that has not expired. *rec points into the store until its next change. */
bool store_get(struct store *s, struct bytes key, uint64_t wall_ms, struct record *rec);

/* Finds whatever the store holds for the key, tombstone or expired included. */
bool store_find(struct store *s, struct bytes key, struct record *rec);

/* Removes the key's entry if it is a tombstone with that very stamp and origin. The caller answers
 * for the rules by which a tombstone may go. */
void store_drop_tombstone(struct store *s, const struct record *tombstone);

/* Turns records that have expired into tombstones with their own stamps, in rotation over the
 * partitions, until `budget` entries were looked at: true then, as there may be more. Every node
 * does the same by itself, so these tombstones need not be sent. */
bool store_expire(struct store *s, uint64_t wall_ms, uint64_t budget);

uint64_t store_live_count(const struct store *s); /* those expired but not yet swept included */
uint64_t store_expiring_count(const struct store *s); /* of these, those with an expiry */
uint64_t store_tombstone_count(const struct store *s);
uint64_t store_memory_bytes(const struct store *s); /* entries and tables, as asked of the heap */
uint64_t store_tombstone_bytes(const struct store *s); /* entries of tombstones among these */
uint64_t store_live_bytes(const struct store *s); /* live records, as encoded */

/* What a record of these sizes takes in the store. */
uint64_t store_entry_bytes(size_t key_bytes, size_t value_bytes, bool expires);

/* The part of its partition's table that falls to one key, which must be in the store: in bytes. */
uint64_t store_table_share(const struct store *s, struct bytes key);

/* Equal on stores with the same live (key, origin, stamp)s, whatever their history. */
uint64_t store_digest(const struct store *s);

/* Likewise of one partition, and of the partitions of one group (0 … STORE_GROUPS - 1). */
uint64_t store_partition_digest(const struct store *s, uint32_t partition);
uint64_t store_group_digest(const struct store *s, uint32_t group);

/* Which partition holds the key. */
uint32_t store_partition(struct bytes key);

/* The greatest stamp ever merged into the partition; 0 when none was. */
uint64_t store_partition_stamp_max(const struct store *s, uint32_t partition);

/* No tombstone of the partition has a stamp below this; UINT64_MAX when there never was one. */
uint64_t store_partition_tombstone_min(const struct store *s, uint32_t partition);

/* Told by who has looked at every tombstone of the partition and dropped some: the least stamp of
 * those that stay. */
void store_partition_swept(struct store *s, uint32_t partition, uint64_t tombstone_min);

/* A cursor over one partition that stays valid while the store changes. It visits every record
 * that was there throughout, and possibly some that came or changed meanwhile. */
struct store_cursor {
    struct list active; /* among the store's cursors */
    struct entry *next; /* borrowed */
    struct store *store;
};

/* The cursor is the caller's memory and must be closed before the store is freed. */
void store_cursor_open(struct store_cursor *c, struct store *s, uint32_t partition);
void store_cursor_close(struct store_cursor *c);

/* False at the end. *rec points into the store until its next change. */
bool store_cursor_next(struct store_cursor *c, struct record *rec);

#endif
