/* What every unit test includes: cmocka, what it wants before it, and what cmocka lacks. */
#ifndef UNIT_H
#define UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv/bytes.h"

/* The seed of a test on random input: KV_SEED of the environment, else another one each time. It is
 * printed, since a failure without its seed is lost. */
uint64_t unit_seed(const char *test);

/* How many rounds a long random test shall run: KV_ROUNDS of the environment, else `usual`, or a
 * twentieth of that in valgrind. */
uint64_t unit_rounds(uint64_t usual);

/* There long doubles are doubles, so what depends on them cannot be tested. */
bool unit_in_valgrind(void);

/* Both slices, byte by byte; a failure shows them. */
#define assert_bytes_equal(actual, expected)                                                       \
    unit_assert_bytes((actual), (expected), __FILE__, __LINE__)
#define assert_bytes_are(actual, text)                                                             \
    unit_assert_bytes((actual), bytes_text(text), __FILE__, __LINE__)
void unit_assert_bytes(struct bytes actual, struct bytes expected, const char *file, int line);

#endif
