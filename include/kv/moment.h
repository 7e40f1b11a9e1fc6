/* A moment, as the outside tells it to the core, which reads no clock itself. */
#ifndef KV_MOMENT_H
#define KV_MOMENT_H

#include <stdint.h>

struct moment {
    uint64_t wall_ms; /* Unix milliseconds; may jump. For stamps and expiry. */
    uint64_t mono_ms; /* never goes back, from any start. For deadlines and silences. */
};

/* No deadline. */
#define MOMENT_NEVER UINT64_MAX

#endif
