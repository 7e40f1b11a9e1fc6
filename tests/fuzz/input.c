/* Inputs cut to pieces, and limits on memory. */
#define _GNU_SOURCE /* memfd_create */
#include "input.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* cmocka, whose checks the shared fixtures use, ends the program quietly otherwise. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return setenv("CMOCKA_TEST_ABORT", "1", 1);
}

bool fuzz_input_begin(struct fuzz_input *in, const uint8_t *data, size_t size)
{
    if (size < FUZZ_PREFIX_BYTES)
        return false;
    in->choices = data[0];
    in->rest = bytes_of(data + FUZZ_PREFIX_BYTES, size - FUZZ_PREFIX_BYTES);
    random_init(&in->random, get_u32(data) >> 8);
    return true;
}

uint8_t *fuzz_copy(struct bytes bytes)
{
    uint8_t *copy = malloc(bytes.size == 0 ? 1 : bytes.size);
    CHECK(copy != NULL);
    if (bytes.size > 0)
        memcpy(copy, bytes.data, bytes.size);
    return copy;
}

uint8_t *fuzz_piece(struct fuzz_input *in, size_t *size)
{
    /* Bytes one by one, words, lines, and a lot at once. */
    static const uint16_t spans[] = {1, 8, 64, 1024};
    uint64_t span = spans[random_below(&in->random, sizeof spans / sizeof spans[0])];
    *size = 1 + random_below(&in->random, span);
    if (*size > in->rest.size)
        *size = in->rest.size;
    uint8_t *piece = fuzz_copy(bytes_of(in->rest.data, *size));
    in->rest = bytes_after(in->rest, *size);
    return piece;
}

int fuzz_file(struct bytes bytes, char path[FUZZ_PATH_BYTES])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, bytes.data, bytes.size) == (ssize_t)bytes.size);
    snprintf(path, FUZZ_PATH_BYTES, "/proc/self/fd/%d", fd);
    return fd;
}

void fuzz_limit(struct failing_heap *heap, uint64_t bytes)
{
    heap->limit_bytes = heap->live_bytes + bytes;
}

void fuzz_check_released(const struct failing_heap *heap)
{
    CHECK(heap->live == 0);
    CHECK(heap->live_bytes == 0);
}
