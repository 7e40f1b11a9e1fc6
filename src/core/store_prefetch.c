/* Looking ahead: the caches are asked for what will be read, for many keys at a time, so that their misses
 * overlap. A step for all keys, then the next: each reads what the one before has asked for. */
#include "store_internal.h"

#include "kv/check.h"
#include "kv/hash.h"

/* Entries of a chain that are asked for, at most: few are longer. */
#define PREFETCH_DEPTH 8

void store_prefetch(const struct store *s, const struct bytes *keys, size_t count)
{
    const struct partition *partitions[STORE_PREFETCH_MAX];
    const struct UT_hash_bucket *buckets[STORE_PREFETCH_MAX];
    const struct UT_hash_handle *chains[STORE_PREFETCH_MAX];
    unsigned hashes[STORE_PREFETCH_MAX];
    CHECK(count <= STORE_PREFETCH_MAX);
    for (size_t i = 0; i < count; i++) {
        partitions[i] = &s->partitions[store_partition(keys[i])];
        __builtin_prefetch(partitions[i]);
    }
    for (size_t i = 0; i < count; i++) {
        hashes[i] = (unsigned)hash_seeded(keys[i], s->hash_seed);
        buckets[i] = partitions[i]->buckets == NULL
                         ? NULL
                         : &partitions[i]->buckets[hashes[i] & partitions[i]->bucket_mask];
        __builtin_prefetch(buckets[i]);
    }
    for (size_t i = 0; i < count; i++) {
        chains[i] = buckets[i] == NULL ? NULL : buckets[i]->hh_head;
        __builtin_prefetch(chains[i]);
    }
    for (size_t depth = 0, left = count; depth < PREFETCH_DEPTH && left > 0; depth++) {
        left = 0;
        for (size_t i = 0; i < count; i++) {
            const struct UT_hash_handle *hh = chains[i];
            if (hh == NULL)
                continue;
            if (hh->hashv == hashes[i]) {
                /* The one that is looked for: its key and value lie in the cache lines behind. */
                __builtin_prefetch((const uint8_t *)hh + offsetof(struct entry, stamp));
                __builtin_prefetch((const uint8_t *)hh + offsetof(struct entry, data) +
                                   RECORD_EXPIRY_BYTES);
                chains[i] = NULL;
                continue;
            }
            chains[i] = hh->hh_next;
            __builtin_prefetch(chains[i]);
            left++;
        }
    }
}

static void prefetch_entry(const struct UT_hash_handle *hh)
{
    if (hh == NULL)
        return;
    __builtin_prefetch(hh);
    __builtin_prefetch((const uint8_t *)hh + offsetof(struct entry, stamp));
    __builtin_prefetch((const uint8_t *)hh + offsetof(struct entry, data) + RECORD_EXPIRY_BYTES);
}

/* So much fits in the second cache beside everything else. */
#define PREFETCH_PARTITION_BYTES (256u << 10)

void store_prefetch_partition(const struct store *s, uint32_t partition)
{
    const struct partition *p = &s->partitions[partition];
    const struct UT_hash_handle *chains[STORE_PREFETCH_MAX];
    if (p->entries == NULL ||
        p->entries->hh.tbl->num_items * sizeof(struct entry) > PREFETCH_PARTITION_BYTES)
        return;
    for (size_t first = 0; first <= p->bucket_mask; first += STORE_PREFETCH_MAX) {
        size_t count = p->bucket_mask + 1 - first, left = 0;
        count = count < STORE_PREFETCH_MAX ? count : STORE_PREFETCH_MAX;
        for (size_t i = 0; i < count; i++) {
            chains[i] = p->buckets[first + i].hh_head;
            prefetch_entry(chains[i]);
        }
        do { /* along all of these chains at a time: an entry leads to the next one of its own */
            left = 0;
            for (size_t i = 0; i < count; i++) {
                if (chains[i] == NULL)
                    continue;
                chains[i] = chains[i]->hh_next;
                prefetch_entry(chains[i]);
                left++;
            }
        } while (left > 0);
    }
}
