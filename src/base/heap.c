/* The C library's allocator behind the heap interface. */
#include "kv/heap.h"

#include <stdlib.h>
#include <string.h>

static void *c_library_resize(struct heap *heap, void *pointer, size_t size)
{
    (void)heap;
    return realloc(pointer, size);
}

static void c_library_release(struct heap *heap, void *pointer)
{
    (void)heap;
    free(pointer);
}

struct heap heap_of_c_library(void)
{
    return (struct heap){.resize = c_library_resize, .release = c_library_release};
}

void *heap_zalloc(struct heap *heap, size_t size)
{
    void *memory = heap_alloc(heap, size);
    if (memory != NULL)
        memset(memory, 0, size);
    return memory;
}
