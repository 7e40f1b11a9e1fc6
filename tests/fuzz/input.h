/* What the fuzz targets make of their input.
 *
 *     offset  bytes
 *          0      1  choices: each target's own
 *          1      3  a seed: for where the rest is cut, and which allocation fails
 *          4      …  what the code under test gets to read
 *
 * A target that finds something wrong aborts (CHECK); the sanitizers look for the rest. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include "failing_heap.h"

#include "kv/bytes.h"
#include "kv/check.h"
#include "kv/random.h"

#define FUZZ_PREFIX_BYTES 4u

struct fuzz_input {
    uint8_t choices;
    struct random random;
    struct bytes rest;
};

/* libFuzzer's entry, which each target defines. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* False when it is too short to be one. The bytes are borrowed. */
bool fuzz_input_begin(struct fuzz_input *in, const uint8_t *data, size_t size);

/* Takes the next piece of the rest, of a random size; in memory of exactly that size, so that a byte
 * read past its end is noticed. Returned, to be freed. */
uint8_t *fuzz_piece(struct fuzz_input *in, size_t *size);

/* Such a copy of these bytes. */
uint8_t *fuzz_copy(struct bytes bytes);

#define FUZZ_PATH_BYTES 64u

/* A file in memory of these bytes, and a path that names it. Returned, to be closed. */
int fuzz_file(struct bytes bytes, char path[FUZZ_PATH_BYTES]);

/* From now on, more than `bytes` above what is allocated now abort. */
void fuzz_limit(struct failing_heap *heap, uint64_t bytes);

/* Everything must have been given back. */
void fuzz_check_released(const struct failing_heap *heap);

#endif
