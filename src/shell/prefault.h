/* Readies memory ahead of the heap, in a thread of its own.
 *
 * Close to half of what a restart from a snapshot takes is not the reading: the heap grows by hundreds of
 * megabytes, and the kernel zeroes each page at its first touch. Another processor can do that beside the
 * reading, a little ahead of it, and leaves the heap to the one thread that uses it.
 *
 * It is a hint and no more: a kernel that does not know how (Linux before 5.14) readies nothing, and
 * an allocator that hands out other memory than was asked about finds that it has to touch it itself. */
#ifndef SHELL_PREFAULT_H
#define SHELL_PREFAULT_H

#include "kv/heap.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* How far ahead. Enough for the thread to wake, and little beside what makes it worth while. */
#define PREFAULT_AHEAD_BYTES (2u << 20)

struct prefault {
    bool running;
    uv_thread_t thread;
    uv_mutex_t mutex;
    uv_cond_t told;
    int beside; /* the processor of who tells it, which it is kept off; -1 = none yet */
    /* Under the mutex. */
    uintptr_t begun, from, until; /* of what was told last: ready up to `from` */
    bool ending;
};

/* Starts the thread, if there is a processor for it besides this one, and memory. p: the caller's, zeroed,
 * which must stay where it is until prefault_end. */
void prefault_begin(struct prefault *p);

/* The bytes from that address on will be written soon: what was told before counts no more. Their contents
 * stay as they are, and they need not be there any more when their turn comes. Without a thread it
 * does nothing. */
void prefault_range(struct prefault *p, uintptr_t from, size_t bytes);

/* Likewise, what the heap will hand out next. To be told again at least every PREFAULT_AHEAD_BYTES / 2. */
void prefault_ahead(struct prefault *p, struct heap *heap);

/* Ends the thread, if it was started. */
void prefault_end(struct prefault *p);

#endif
