/* A growable run of bytes that is filled at its end and consumed from its front.
 *
 * An allocation failure sticks: later appends do nothing, and buffer_failed tells. So a writer of
 * many small pieces checks once, at the end. */
#ifndef KV_BUFFER_H
#define KV_BUFFER_H

#include "kv/bytes.h"
#include "kv/heap.h"

#include <stdbool.h>

struct buffer {
    struct heap *heap;
    uint8_t *data; /* owned; NULL while capacity is 0 */
    size_t start; /* the first byte not consumed yet */
    size_t end; /* one past the last byte */
    size_t capacity; /* bytes allocated */
    bool failed;
};

/* heap: borrowed for the buffer's life. Allocates nothing. */
void buffer_init(struct buffer *b, struct heap *heap);

/* Frees the memory; the buffer is empty and usable again, a failure forgotten. */
void buffer_close(struct buffer *b);

static inline size_t buffer_size(const struct buffer *b)
{
    return b->end - b->start;
}
static inline bool buffer_failed(const struct buffer *b)
{
    return b->failed;
}
/* Borrowed until the next change of the buffer. */
static inline struct bytes buffer_bytes(const struct buffer *b)
{
    return bytes_of(b->data == NULL ? NULL : b->data + b->start, buffer_size(b));
}

/* What buffer_reserve does when there is no room yet. */
uint8_t *buffer_grow(struct buffer *b, size_t size);

/* Room for `size` more bytes at the end. Returns where to write them (call buffer_added after),
 * NULL on failure. Here, and not in buffer.c, because every word of every command is put in a buffer. */
static inline uint8_t *buffer_reserve(struct buffer *b, size_t size)
{
    if (b->failed || b->data == NULL || b->capacity - b->end < size)
        return buffer_grow(b, size);
    return b->data + b->end;
}
static inline void buffer_added(struct buffer *b, size_t size)
{
    b->end += size;
}

/* Appends; the bytes are copied. */
void buffer_append(struct buffer *b, struct bytes bytes);
static inline void buffer_append_text(struct buffer *b, const char *text)
{
    buffer_append(b, bytes_text(text)); /* of a literal the compiler knows the length */
}
void buffer_append_u64(struct buffer *b, uint64_t number);
void buffer_append_i64(struct buffer *b, int64_t number);
__attribute__((format(printf, 2, 3))) void buffer_printf(struct buffer *b, const char *format, ...);

/* Drops `size` bytes (at most buffer_size) from the front. */
void buffer_consume(struct buffer *b, size_t size);

/* Drops everything past the first `size` bytes. */
void buffer_truncate(struct buffer *b, size_t size);

/* For a parser of a stream whose unfinished rest waits in `pending`: what there is to parse now.
 * Most often nothing is pending, and `arrived` is parsed where it lies, without a copy.
 * Borrowed until buffer_keep_rest. */
struct bytes buffer_join(struct buffer *pending, struct bytes arrived);

/* Ends what buffer_join began: `parsed` bytes of `joined` are done with, the rest is kept. */
void buffer_keep_rest(struct buffer *pending, struct bytes joined, size_t parsed);

/* Moves the contents of `from` (then empty) into `into`, whose own contents are freed. */
void buffer_move(struct buffer *into, struct buffer *from);

#endif
