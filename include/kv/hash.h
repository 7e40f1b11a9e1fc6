/* Hashes and checksums: XXH3 of the xxhash library. */
#ifndef KV_HASH_H
#define KV_HASH_H

#include "kv/bytes.h"

/* The same on every node: names a key in partitions, digests and comparisons. */
uint64_t hash_key(struct bytes key);

/* Differs from process to process by `seed`, so that nobody can choose keys that share a bucket. */
uint64_t hash_seeded(struct bytes key, uint64_t seed);

/* Mixes two words into one, order-sensitive. Used in digests; not secret. */
uint64_t hash_mix(uint64_t a, uint64_t b);

/* Guards a record or a frame against damage (not against malice). */
uint32_t hash_checksum(struct bytes bytes);

#endif
