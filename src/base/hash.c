/* XXH3 under the names by which this program uses it. */
#include "kv/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t hash_key(struct bytes key)
{
    return XXH3_64bits(key.data, key.size);
}

uint64_t hash_seeded(struct bytes key, uint64_t seed)
{
    return XXH3_64bits_withSeed(key.data, key.size, seed);
}

uint64_t hash_mix(uint64_t a, uint64_t b)
{
    /* The finalizer of SplitMix64 (Steele, Lea, Flood 2014) over both words. */
    uint64_t z = a + b * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint32_t hash_checksum(struct bytes bytes)
{
    return (uint32_t)XXH3_64bits(bytes.data, bytes.size);
}
