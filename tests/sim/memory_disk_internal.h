/* What the parts of the disk in memory share. Private to memory_*.c. */
#ifndef MEMORY_DISK_INTERNAL_H
#define MEMORY_DISK_INTERNAL_H

#include "memory_disk.h"

/* Returned, as of realloc; the program ends when there is none. */
void *must_resize(void *pointer, size_t size);

void content_resize(struct memory_content *c, uint64_t size);
void content_write(struct memory_content *c, uint64_t offset, const uint8_t *bytes, size_t size);
void content_copy(struct memory_content *into, const struct memory_content *from);
/* At most `size` bytes. Returns how many. */
size_t content_read(const struct memory_content *c, uint64_t offset, uint8_t *at, size_t size);

/* Changes of what the process sees, noted as not synced. */
void change_size(struct memory_file *f, uint64_t size);
void change_bytes(struct memory_file *f, uint64_t offset, const uint8_t *bytes, size_t size);
/* Notes one. Its bytes are taken. */
void add_change(struct memory_file *f, struct memory_change change);

/* The first `count` changes are synced; or forgotten, and what the process sees stays; or chance decides which
 * have come to be. */
void sync_changes(struct memory_file *f, uint32_t count);
void drop_changes(struct memory_file *f, uint32_t count);
void settle_changes(struct memory_file *f, uint32_t count, struct random *r);

#endif
