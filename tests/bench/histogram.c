/* A histogram of durations: see histogram.h. */
#include "histogram.h"

static unsigned top_bit(uint64_t value)
{
    return 63u - (unsigned)__builtin_clzll(value);
}

/* Below HISTOGRAM_STEPS a bucket is one nanosecond wide; above, bucket 128*k + j begins at
 * (128 + j) << (k - 1). */
static unsigned bucket_of(uint64_t ns)
{
    if (ns < HISTOGRAM_STEPS)
        return (unsigned)ns;
    if (ns >> HISTOGRAM_NS_BITS)
        return HISTOGRAM_BUCKETS - 1;
    unsigned shift = top_bit(ns) - HISTOGRAM_STEP_BITS;
    return (shift + 1) * HISTOGRAM_STEPS + (unsigned)(ns >> shift) - HISTOGRAM_STEPS;
}

static uint64_t bucket_middle_ns(unsigned bucket)
{
    if (bucket < HISTOGRAM_STEPS)
        return bucket;
    unsigned shift = bucket / HISTOGRAM_STEPS - 1;
    uint64_t first = (uint64_t)(bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS) << shift;
    return first + ((UINT64_C(1) << shift) >> 1);
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->count[bucket_of(ns)]++;
    h->total++;
}

double histogram_us(const struct histogram *h, double part)
{
    uint64_t wanted = (uint64_t)(part * (double)h->total);
    uint64_t seen = 0;

    if (h->total == 0)
        return 0;
    if (wanted >= h->total)
        wanted = h->total - 1;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += h->count[bucket];
        if (seen > wanted)
            return (double)bucket_middle_ns(bucket) / 1000;
    }
    return 0;
}
