/* Pseudo-random numbers from a given seed (SplitMix64): for jitter and choices, not for secrets. */
#ifndef KV_RANDOM_H
#define KV_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t state;
};

void random_init(struct random *r, uint64_t seed);
uint64_t random_next(struct random *r);

/* Uniform in [0, bound); bound > 0. The bias is below bound / 2^64. */
uint64_t random_below(struct random *r, uint64_t bound);

#endif
