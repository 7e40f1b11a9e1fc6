/* The content of one file of the disk in memory, and what a power cut leaves of its changes. */
#include "memory_disk_internal.h"

#include "kv/check.h"

#include <stdlib.h>

void *must_resize(void *pointer, size_t size)
{
    void *memory = realloc(pointer, size);
    CHECK(memory != NULL);
    return memory;
}

/* --- content ------------------------------------------------------------------------------- */

void content_resize(struct memory_content *c, uint64_t size)
{
    c->size = size;
    if (c->stored > size)
        c->stored = size;
}

void content_write(struct memory_content *c, uint64_t offset, const uint8_t *bytes, size_t size)
{
    uint64_t end = offset + size;
    if (end > c->capacity) {
        c->capacity = end * 2;
        c->at = must_resize(c->at, c->capacity);
    }
    if (offset > c->stored)
        memset(c->at + c->stored, 0, offset - c->stored);
    if (size > 0)
        memcpy(c->at + offset, bytes, size);
    c->stored = end > c->stored ? end : c->stored;
    c->size = end > c->size ? end : c->size;
}

void content_copy(struct memory_content *into, const struct memory_content *from)
{
    into->size = into->stored = 0;
    if (from->stored > 0)
        content_write(into, 0, from->at, from->stored);
    into->size = from->size;
}

size_t content_read(const struct memory_content *c, uint64_t offset, uint8_t *at, size_t size)
{
    if (offset >= c->size)
        return 0;
    if (size > c->size - offset)
        size = (size_t)(c->size - offset);
    size_t stored = offset < c->stored ? (size_t)(c->stored - offset) : 0;
    stored = stored < size ? stored : size;
    if (stored > 0)
        memcpy(at, c->at + offset, stored);
    memset(at + stored, 0, size - stored);
    return size;
}

/* --- changes ------------------------------------------------------------------------------- */

void add_change(struct memory_file *f, struct memory_change change)
{
    if (f->change_count == f->change_capacity) {
        f->change_capacity = f->change_capacity == 0 ? 16 : f->change_capacity * 2;
        f->changes = must_resize(f->changes, f->change_capacity * sizeof *f->changes);
    }
    f->changes[f->change_count++] = change;
}

void change_size(struct memory_file *f, uint64_t size)
{
    add_change(f, (struct memory_change){.resizes = true, .offset = size});
    content_resize(&f->now, size);
}

void change_bytes(struct memory_file *f, uint64_t offset, const uint8_t *bytes, size_t size)
{
    struct memory_change change = {.offset = offset, .size = size};
    if (size == 0)
        return;
    change.bytes = must_resize(NULL, size);
    memcpy(change.bytes, bytes, size);
    add_change(f, change);
    content_write(&f->now, offset, bytes, size);
}

/* The first `count` are done with. */
void drop_changes(struct memory_file *f, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free(f->changes[i].bytes);
    f->change_count -= count;
    if (f->change_count > 0)
        memmove(f->changes, f->changes + count, f->change_count * sizeof *f->changes);
}

void sync_changes(struct memory_file *f, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct memory_change *c = &f->changes[i];
        if (c->resizes)
            content_resize(&f->synced, c->offset);
        else
            content_write(&f->synced, c->offset, c->bytes, c->size);
    }
    drop_changes(f, count);
}

/* Applies to one sector what the change does there. */
static void change_sector(struct memory_content *to, const struct memory_change *c, uint64_t sector)
{
    uint64_t begin = sector * MEMORY_DISK_SECTOR_BYTES, end = begin + MEMORY_DISK_SECTOR_BYTES;
    static const uint8_t zeros[MEMORY_DISK_SECTOR_BYTES];
    uint64_t from = c->offset > begin ? c->offset : begin;
    uint64_t until = c->resizes ? to->stored : c->offset + c->size;
    until = until < end ? until : end;
    if (from >= until)
        return;
    content_write(to, from, c->resizes ? zeros : c->bytes + (from - c->offset),
                  (size_t)(until - from));
}

static uint64_t end_of_changes(const struct memory_file *f, uint32_t count)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct memory_change *c = &f->changes[i];
        uint64_t until = c->resizes ? f->synced.stored : c->offset + c->size;
        end = until > end ? until : end;
    }
    return end;
}

static uint64_t size_after(const struct memory_file *f, uint32_t count)
{
    uint64_t size = f->synced.size;
    for (uint32_t i = 0; i < count; i++) {
        const struct memory_change *c = &f->changes[i];
        size = c->resizes ? c->offset : c->offset + c->size > size ? c->offset + c->size : size;
    }
    return size;
}

/* Of the first `count` changes, chance decides which have come to be: sectors reach the disk one by one, in
 * any order, and each as it was at some time. Now and then all, or all up to some time. */
void settle_changes(struct memory_file *f, uint32_t count, struct random *r)
{
    uint64_t sectors = end_of_changes(f, count) / MEMORY_DISK_SECTOR_BYTES + 1;
    bool alike = random_below(r, 3) == 0;
    uint32_t all = random_below(r, 2) == 0 ? count : (uint32_t)random_below(r, count + 1u);
    uint64_t size = size_after(f, alike ? all : (uint32_t)random_below(r, count + 1u));
    struct memory_content result = {0};
    content_copy(&result, &f->synced);
    for (uint64_t s = 0; s < sectors; s++) {
        uint32_t until = alike ? all : (uint32_t)random_below(r, count + 1u);
        for (uint32_t i = 0; i < until; i++)
            change_sector(&result, &f->changes[i], s);
    }
    content_resize(&result, size);
    free(f->synced.at);
    f->synced = result;
    drop_changes(f, count);
}

/* --- for tests ----------------------------------------------------------------------------- */

uint64_t memory_file_used(const struct memory_file *f)
{
    return f->now.stored;
}

struct bytes memory_file_bytes(const struct memory_file *f)
{
    return bytes_of(f->now.at, memory_file_used(f));
}

void memory_file_put(struct memory_file *f, uint64_t offset, struct bytes bytes)
{
    CHECK(offset + bytes.size <= f->now.size);
    sync_changes(f, f->change_count);
    content_write(&f->now, offset, bytes.data, bytes.size);
    content_copy(&f->synced, &f->now);
}

void memory_file_flip(struct memory_file *f, uint64_t bit)
{
    uint8_t byte;
    CHECK(content_read(&f->now, bit / 8, &byte, 1) == 1);
    byte ^= (uint8_t)(1u << bit % 8);
    memory_file_put(f, bit / 8, bytes_of(&byte, 1));
}

void memory_file_cut(struct memory_file *f, uint64_t size)
{
    CHECK(size <= f->now.size);
    sync_changes(f, f->change_count);
    content_resize(&f->now, size);
    content_copy(&f->synced, &f->now);
}
