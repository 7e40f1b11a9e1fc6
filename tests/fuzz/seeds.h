/* The inputs that fuzzing begins with. */
#ifndef FUZZ_SEEDS_H
#define FUZZ_SEEDS_H

#include "kv/bytes.h"

/* Writes one into the directory of that target. choices: input.h. */
void seeds_write(const char *target, uint8_t choices, struct bytes bytes);

/* seeds_texts.c: what clients and operators type. */
void seeds_of_texts(void);

#endif
