/* Stamps: a hybrid logical clock (Kulkarni et al. 2014) in one word that orders as it compares.
 *
 *      63                16 15         0
 *     +--------------------+------------+
 *     | wall clock, ms     | counter    |
 *     +--------------------+------------+
 *
 * The counter carries into the milliseconds when it overflows. 0 is before every stamp. */
#ifndef KV_STAMP_H
#define KV_STAMP_H

#include <stdint.h>

#define STAMP_COUNTER_BITS 16

/* No stamp from outside may exceed this: what a node issues afterwards must not overflow. */
#define STAMP_MAX (UINT64_MAX / 2)

struct stamp_clock {
    uint64_t last; /* the greatest stamp issued or seen */
};

/* A stamp greater than every one issued or seen before, whatever the wall clock does. */
uint64_t stamp_next(struct stamp_clock *clock, uint64_t wall_ms);

/* Later stamps will exceed `stamp`, one that somebody else issued. */
static inline void stamp_observe(struct stamp_clock *clock, uint64_t stamp)
{
    if (clock->last < stamp)
        clock->last = stamp;
}

/* The first stamp of a millisecond; one that no stamp can name counts as the last that can. */
static inline uint64_t stamp_of_wall(uint64_t wall_ms)
{
    return wall_ms > STAMP_MAX >> STAMP_COUNTER_BITS ? STAMP_MAX : wall_ms << STAMP_COUNTER_BITS;
}

static inline uint64_t stamp_wall_ms(uint64_t stamp)
{
    return stamp >> STAMP_COUNTER_BITS;
}

#endif
