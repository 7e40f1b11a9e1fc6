/* A histogram of durations in nanoseconds, from which percentiles are read.
 *
 * Every power of two is cut into 128 equal buckets, so a percentile is at most 1 % off; durations
 * of 2^40 ns (18 minutes) and more all count in the last bucket. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEP_BITS 7
#define HISTOGRAM_STEPS     (1u << HISTOGRAM_STEP_BITS)
#define HISTOGRAM_NS_BITS   40
#define HISTOGRAM_BUCKETS   ((HISTOGRAM_NS_BITS - HISTOGRAM_STEP_BITS + 1) * HISTOGRAM_STEPS)

/* All zero bytes is an empty histogram. */
struct histogram {
    uint64_t total;
    uint64_t count[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t ns);

/* The duration, in microseconds, that `part` (0..1) of all added ones do not exceed; 0 if none
 * was added. */
double histogram_us(const struct histogram *h, double part);

#endif
