/* What the process tells the core: its memory, its time, whose connection is whose; and how long the
 * turns of the loop take.
 *
 * A turn lasts from the moment the kernel has something for the loop until the loop waits again:
 * nobody else is served meanwhile. libuv tells how long it has waited (UV_METRICS_IDLE_TIME); what is
 * left between the ends of two turns is the turn. That costs three looks at the clock a turn, two of
 * them libuv's own. A check handle would not do: libuv runs it after the callbacks of all sockets. */
#ifndef SHELL_HOST_H
#define SHELL_HOST_H

#include "kv/node.h"

#include <uv.h>

struct host {
    uv_loop_t *loop; /* borrowed */
    uint16_t port; /* that is listened on */
    uint64_t turn_end_ns; /* when the last turn ended; 0 = none has yet */
    uint64_t idle_ns; /* how long the loop had waited until then */
    uint64_t longest_ns; /* turn */
};

/* Begins to measure, and to answer the node. h, loop and node: borrowed until the loop ends. */
void host_begin(struct host *h, uv_loop_t *loop, struct node *n, uint16_t port);

/* To be called last in every turn. */
void host_end_turn(struct host *h);

#endif
