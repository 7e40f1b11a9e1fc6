/* Looking through the store: expired records become tombstones, partitions tell of themselves. */
#include "store_internal.h"

#include "kv/hash.h"
#include "kv/mutation.h"

/* --- expiry -------------------------------------------------------------------------------- */

static bool turn_into_tombstone(struct store *s, const struct record *rec)
{
    struct record gone = *rec;
    gone.tombstone = true;
    gone.expires_ms = 0;
    gone.value = bytes_of(NULL, 0);
    gone.stamp += MUTATED(EXPIRY_RESTAMPED);
    /* Out of memory: the record stays, reads as missing, and is met again. */
    return store_merge(s, &gone, false) == STORE_MERGED;
}

static void sweep_begin(struct store *s)
{
    store_cursor_open(&s->sweep, s, s->expire_next);
    s->sweeping = true;
    s->sweep_min = UINT64_MAX;
    s->partitions[s->expire_next].expires_min = UINT64_MAX; /* what comes meanwhile lowers it */
}

static void sweep_end(struct store *s)
{
    struct partition *p = &s->partitions[s->expire_next];
    store_cursor_close(&s->sweep);
    s->sweeping = false;
    s->expire_next = (s->expire_next + 1) % STORE_PARTITIONS;
    if (s->sweep_min < p->expires_min)
        p->expires_min = s->sweep_min;
}

/* Looks at up to so many entries of the partition under way. Returns how many it has. */
static uint64_t sweep_step(struct store *s, uint64_t wall_ms, uint64_t budget)
{
    struct record rec;
    for (uint64_t seen = 0; seen < budget; seen++) {
        if (!store_cursor_next(&s->sweep, &rec)) {
            sweep_end(s);
            return seen;
        }
        if (record_expired(&rec, wall_ms) && turn_into_tombstone(s, &rec))
            continue;
        if (rec.expires_ms != 0 && rec.expires_ms < s->sweep_min)
            s->sweep_min = rec.expires_ms;
    }
    return budget;
}

bool store_expire(struct store *s, uint64_t wall_ms, uint64_t budget)
{
    uint64_t seen = 0;
    /* One more than there are: the first may only have been the rest of one. */
    for (uint32_t i = 0; i <= STORE_PARTITIONS && seen < budget; i++) {
        if (!s->sweeping && s->partitions[s->expire_next].expires_min > wall_ms) {
            s->expire_next = (s->expire_next + 1) % STORE_PARTITIONS;
            continue;
        }
        if (!s->sweeping)
            sweep_begin(s);
        seen += sweep_step(s, wall_ms, budget - seen);
    }
    return seen >= budget;
}

/* --- counts and digests ------------------------------------------------------------------- */

uint64_t store_live_count(const struct store *s)
{
    return s->live;
}

uint64_t store_tombstone_count(const struct store *s)
{
    return s->tombstones;
}

uint64_t store_memory_bytes(const struct store *s)
{
    return s->memory;
}

uint64_t store_tombstone_bytes(const struct store *s)
{
    return s->tombstone_memory;
}

uint64_t store_live_bytes(const struct store *s)
{
    return s->live_bytes;
}

uint64_t store_table_share(const struct store *s, struct bytes key)
{
    const UT_hash_table *table = s->partitions[store_partition(key)].entries->hh.tbl;
    uint64_t bytes = sizeof *table + table->num_buckets * sizeof(UT_hash_bucket);
    return bytes / table->num_items;
}

uint64_t store_partition_digest(const struct store *s, uint32_t partition)
{
    return s->partitions[partition].digest;
}

uint64_t store_group_digest(const struct store *s, uint32_t group)
{
    uint64_t digest = 0;
    for (uint32_t i = 0; i < STORE_GROUP_PARTITIONS; i++)
        digest = hash_mix(digest, s->partitions[group * STORE_GROUP_PARTITIONS + i].digest);
    return digest;
}

uint64_t store_digest(const struct store *s)
{
    uint64_t digest = 0;
    for (uint32_t g = 0; g < STORE_GROUPS; g++)
        digest = hash_mix(digest, store_group_digest(s, g));
    return digest;
}

uint64_t store_partition_stamp_max(const struct store *s, uint32_t partition)
{
    return s->partitions[partition].stamp_max;
}

uint64_t store_partition_tombstone_min(const struct store *s, uint32_t partition)
{
    return s->partitions[partition].tombstone_min;
}

void store_partition_swept(struct store *s, uint32_t partition, uint64_t tombstone_min)
{
    s->partitions[partition].tombstone_min = tombstone_min;
}
