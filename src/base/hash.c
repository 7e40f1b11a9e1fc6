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

uint32_t hash_checksum(struct bytes bytes)
{
    return (uint32_t)XXH3_64bits(bytes.data, bytes.size);
}
