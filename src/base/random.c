/* SplitMix64. */
#include "kv/random.h"

#include "kv/check.h"
#include "kv/hash.h"

void random_init(struct random *r, uint64_t seed)
{
    r->state = seed;
}

uint64_t random_next(struct random *r)
{
    r->state += UINT64_C(0x9e3779b97f4a7c15);
    return hash_mix(r->state, 0);
}

uint64_t random_below(struct random *r, uint64_t bound)
{
    CHECK(bound > 0);
    return random_next(r) % bound;
}
