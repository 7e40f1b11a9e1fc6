/* The one allocator interface. Production uses the C library's; tests use one that fails at the
 * n-th call. */
#ifndef KV_HEAP_H
#define KV_HEAP_H

#include <stddef.h>

struct heap {
    /* As realloc: NULL in means allocate, NULL out means failure with `pointer` still valid. */
    void *(*resize)(struct heap *heap, void *pointer, size_t size);
    void (*release)(struct heap *heap, void *pointer);
};

/* The C library's allocator. */
struct heap heap_of_c_library(void);

/* Returned memory is the caller's, to be given back with heap_free. NULL when there is none. */
static inline void *heap_alloc(struct heap *heap, size_t size)
{
    return heap->resize(heap, NULL, size);
}
static inline void *heap_resize(struct heap *heap, void *pointer, size_t size)
{
    return heap->resize(heap, pointer, size);
}
static inline void heap_free(struct heap *heap, void *pointer)
{
    if (pointer != NULL)
        heap->release(heap, pointer);
}

/* Zeroed memory. */
void *heap_zalloc(struct heap *heap, size_t size);

#endif
