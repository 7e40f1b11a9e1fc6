/* A heap that fails where it is told to, knows what was not given back, and may have a limit.
 *
 * A growing allocation always moves, so that a pointer kept too long is found by the sanitizer. */
#ifndef FAILING_HEAP_H
#define FAILING_HEAP_H

#include "kv/heap.h"

#include <stdbool.h>
#include <stdint.h>

struct failing_heap {
    struct heap heap; /* what is handed to the code under test */
    uint64_t calls; /* allocations and growths asked for */
    uint64_t fail_at; /* the call that fails; 0 = none */
    bool failed; /* whether it has come to that */
    uint64_t live; /* allocations not given back */
    uint64_t live_bytes;
    uint64_t limit_bytes; /* more of them at a time abort; 0 = no limit */
};

void failing_heap_init(struct failing_heap *h);

/* Makes the n-th call from now fail (1 = the next), that one only; 0 makes none fail. */
void failing_heap_arm(struct failing_heap *h, uint64_t n);

/* Ends what failing_heap_arm began. Returns whether the call was reached and failed. */
bool failing_heap_disarm(struct failing_heap *h);

#endif
