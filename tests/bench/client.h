/* What both measuring clients need: a connection to a local server, a clock, option numbers. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdint.h>

/* A connected, blocking socket to 127.0.0.1:port without Nagle's delay; returned, to be closed
 * by the caller. Ends the program with a message if there is no connection to be had. */
int client_connect(uint16_t port);

/* Monotonic time. */
uint64_t client_now_ns(void);

/* The number in `text`, which must lie within min..max; ends the program with one line that names
 * `option` otherwise. */
uint64_t client_number(const char *option, const char *text, uint64_t min, uint64_t max);

/* The next of a sequence of pseudo-random numbers (splitmix64); *state is the seed at first. */
uint64_t client_random(uint64_t *state);

/* Prints "bench: message" to stderr and exits with status 1. */
__attribute__((noreturn, format(printf, 1, 2))) void client_fail(const char *format, ...);

#endif
