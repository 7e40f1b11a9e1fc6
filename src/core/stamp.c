/* The hybrid logical clock. */
#include "kv/stamp.h"

uint64_t stamp_next(struct stamp_clock *clock, uint64_t wall_ms)
{
    uint64_t stamp = wall_ms << STAMP_COUNTER_BITS;
    if (stamp <= clock->last)
        stamp = clock->last + 1;
    clock->last = stamp;
    return stamp;
}
