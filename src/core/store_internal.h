/* What the store is made of. Private to store.c, which owns the tables, store_prefetch.c and
 * store_sweep.c. */
#ifndef KV_STORE_INTERNAL_H
#define KV_STORE_INTERNAL_H

#include "kv/store.h"

#include <uthash.h>

struct entry {
    UT_hash_handle hh;
    uint64_t stamp;
    uint32_t origin_index;
    uint32_t size_and_flags;
    uint8_t data[];
};

struct origin {
    uint64_t id;
    uint32_t index;
    UT_hash_handle hh;
};

struct partition {
    struct entry *entries; /* the uthash head */
    /* Its table's, borrowed, for finding: uthash leads there from the head through the table, and each
     * of these steps would be one more miss of the caches. NULL without entries. */
    const struct UT_hash_bucket *buckets;
    unsigned bucket_mask; /* how many buckets there are, less one: a power of two */
    uint64_t stamp_max;
    uint64_t digest; /* sum over live records, see record_digest */
    uint64_t expires_min; /* no record expires before this, but for those that a sweep under way has
                             passed; UINT64_MAX when none does */
    uint64_t tombstone_min; /* no tombstone's stamp is below this */
};

struct store {
    struct heap *heap;
    uint64_t hash_seed;
    uint64_t live, tombstones;
    uint64_t expiring; /* of the live ones, those that expire */
    uint64_t memory; /* of entries and of partitions' tables; origins are not counted */
    uint64_t tombstone_memory; /* of which entries of tombstones */
    uint64_t live_bytes; /* of live records, as encoded */
    struct origin *origins; /* the uthash head, by id */
    struct origin **by_index; /* owned array of borrowed pointers */
    struct origin *origin_last; /* the one asked for last: runs of records share theirs */
    uint32_t origin_count, origin_capacity;
    uint32_t expire_next; /* the partition at which the sweep for expired records goes on */
    bool sweeping; /* it is in the middle of that one */
    struct store_cursor sweep;
    uint64_t sweep_min; /* of what it has passed there, none expires before this */
    struct list cursors;
    struct partition partitions[STORE_PARTITIONS];
};

#endif
