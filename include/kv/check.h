/* CHECK: an always-on check for programmer errors.
 *
 * Never for bytes from a network or a disk: those get an error path and a test. */
#ifndef KV_CHECK_H
#define KV_CHECK_H

#include <stddef.h>

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

/* The struct of type `type` whose field `member` is at `pointer`. */
#define container_of(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* Prints the condition and its place to standard error and aborts. */
_Noreturn void check_failed(const char *condition, const char *file, int line);

#endif
