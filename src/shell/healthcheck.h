/* --healthcheck: asks a running node whether it answers, as a container's health check does. */
#ifndef SHELL_HEALTHCHECK_H
#define SHELL_HEALTHCHECK_H

#include "options.h"

#define HEALTHCHECK_TIMEOUT_MS 3000 /* for everything together */

/* Connect to the bind address (0.0.0.0 and :: stand for the loopback address) and port, send PING,
 * and wait for +PONG. Blocks for up to HEALTHCHECK_TIMEOUT_MS.
 *
 * o        borrowed; bind and port are used.
 * Returns  an exit status: 0 if the node answered, else 1 with one line about it on standard
 *          error. */
int healthcheck_run(const struct options *o);

#endif
