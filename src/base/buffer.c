/* The growable byte buffer. */
#include "kv/buffer.h"

#include "kv/check.h"

#include <stdarg.h>
#include <stdio.h>

#define BUFFER_BYTES_MIN 256

void buffer_init(struct buffer *b, struct heap *heap)
{
    *b = (struct buffer){.heap = heap};
}

void buffer_close(struct buffer *b)
{
    heap_free(b->heap, b->data);
    buffer_init(b, b->heap);
}

/* Makes room by moving the contents to the front, or by growing to at least twice the size. */
static bool make_room(struct buffer *b, size_t size)
{
    size_t used = buffer_size(b);
    if (b->start > 0 && b->capacity - used >= size && b->start >= used) {
        memcpy(b->data, b->data + b->start, used);
        b->start = 0;
        b->end = used;
        return true;
    }
    if (size > SIZE_MAX / 2 - b->end)
        return false;
    size_t capacity = b->capacity < BUFFER_BYTES_MIN ? BUFFER_BYTES_MIN : b->capacity * 2;
    if (capacity < b->end + size)
        capacity = b->end + size;
    uint8_t *data = heap_resize(b->heap, b->data, capacity);
    if (data == NULL)
        return false;
    b->data = data;
    b->capacity = capacity;
    return true;
}

uint8_t *buffer_grow(struct buffer *b, size_t size)
{
    if (b->failed)
        return NULL;
    if (!make_room(b, size)) {
        b->failed = true;
        return NULL;
    }
    return b->data + b->end;
}

void buffer_append(struct buffer *b, struct bytes bytes)
{
    if (bytes.size == 0)
        return;
    uint8_t *at = buffer_reserve(b, bytes.size);
    if (at == NULL)
        return;
    memcpy(at, bytes.data, bytes.size);
    b->end += bytes.size;
}

void buffer_append_u64(struct buffer *b, uint64_t number)
{
    uint8_t digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    buffer_append(b, bytes_of(digits + at, sizeof digits - at));
}

void buffer_append_i64(struct buffer *b, int64_t number)
{
    if (number < 0)
        buffer_append_text(b, "-");
    buffer_append_u64(b, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

void buffer_printf(struct buffer *b, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    CHECK(size >= 0);
    uint8_t *at = buffer_reserve(b, (size_t)size + 1);
    if (at == NULL)
        return;
    va_start(arguments, format);
    vsnprintf((char *)at, (size_t)size + 1, format, arguments);
    va_end(arguments);
    b->end += (size_t)size;
}

void buffer_consume(struct buffer *b, size_t size)
{
    CHECK(size <= buffer_size(b));
    b->start += size;
    if (b->start == b->end)
        b->start = b->end = 0;
}

void buffer_truncate(struct buffer *b, size_t size)
{
    CHECK(size <= buffer_size(b));
    b->end = b->start + size;
}

void buffer_move(struct buffer *into, struct buffer *from)
{
    buffer_close(into);
    *into = *from;
    buffer_init(from, from->heap);
}

struct bytes buffer_join(struct buffer *pending, struct bytes arrived)
{
    if (buffer_size(pending) == 0)
        return arrived;
    buffer_append(pending, arrived);
    return buffer_bytes(pending);
}

void buffer_keep_rest(struct buffer *pending, struct bytes joined, size_t parsed)
{
    if (buffer_size(pending) > 0) {
        buffer_consume(pending, parsed);
        if (buffer_size(pending) == 0 && !buffer_failed(pending))
            buffer_close(pending);
    } else {
        buffer_append(pending, bytes_after(joined, parsed));
    }
}
