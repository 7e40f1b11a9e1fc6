/* Each allocation is preceded by its size, so that growing can move it by hand. */
#include "failing_heap.h"

#include "kv/check.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX_BYTES 16u /* keeps what follows aligned as malloc would */

static size_t size_of(const void *pointer)
{
    size_t size;
    memcpy(&size, (const uint8_t *)pointer - PREFIX_BYTES, sizeof size);
    return size;
}

static void failing_release(struct heap *heap, void *pointer)
{
    struct failing_heap *h = (struct failing_heap *)(void *)heap;
    h->live--;
    h->live_bytes -= size_of(pointer);
    free((uint8_t *)pointer - PREFIX_BYTES);
}

static void *failing_resize(struct heap *heap, void *pointer, size_t size)
{
    struct failing_heap *h = (struct failing_heap *)(void *)heap;
    h->calls++;
    if (h->calls == h->fail_at) {
        h->failed = true;
        return NULL;
    }
    CHECK(h->limit_bytes == 0 || size <= h->limit_bytes - h->live_bytes);
    uint8_t *memory = malloc(PREFIX_BYTES + size);
    if (memory == NULL)
        return NULL;
    memcpy(memory, &size, sizeof size);
    h->live++;
    h->live_bytes += size;
    if (pointer != NULL) {
        size_t old = size_of(pointer);
        memcpy(memory + PREFIX_BYTES, pointer, old < size ? old : size);
        failing_release(heap, pointer);
    }
    return memory + PREFIX_BYTES;
}

void failing_heap_init(struct failing_heap *h)
{
    *h = (struct failing_heap){.heap = {.resize = failing_resize, .release = failing_release}};
}

void failing_heap_arm(struct failing_heap *h, uint64_t n)
{
    h->failed = false;
    h->fail_at = n == 0 ? 0 : h->calls + n;
}

bool failing_heap_disarm(struct failing_heap *h)
{
    bool failed = h->failed;
    failing_heap_arm(h, 0);
    return failed;
}
