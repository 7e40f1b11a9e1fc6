/* Hashes and checksums: XXH3 of the xxhash library. */
#ifndef KV_HASH_H
#define KV_HASH_H

#include "kv/bytes.h"

/* The same on every node: names a key in partitions, digests and comparisons. */
uint64_t hash_key(struct bytes key);

/* Differs from process to process by `seed`, so that nobody can choose keys that share a bucket. */
uint64_t hash_seeded(struct bytes key, uint64_t seed);

/* Mixes two words into one, order-sensitive. Used in digests; not secret. */
static inline uint64_t hash_mix(uint64_t a, uint64_t b)
{
    /* The finalizer of SplitMix64 (Steele, Lea, Flood 2014) over both words. */
    uint64_t z = a + b * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Guards a record or a frame against damage (not against malice). */
uint32_t hash_checksum(struct bytes bytes);

#endif
