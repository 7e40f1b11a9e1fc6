/* What the parts of the storage share: storage.c (the journal), storage_snapshot.c and
 * storage_recover.c. Private to these. */
#ifndef KV_STORAGE_INTERNAL_H
#define KV_STORAGE_INTERNAL_H

#include "kv/storage.h"

/* storage.c */
/* Begins a request; it must not be busy. Names: NULL = not needed. */
void storage_begin(struct storage *s, struct disk_request *r, enum disk_operation operation,
                   const char *name, const char *new_name);
/* "journal-…" or "snapshot-…" with the number, in DISK_NAME_BYTES. */
void storage_file_name(enum storage_file_kind kind, uint64_t number, char *name);
/* Writes all of it at that offset, however many calls it takes. 0 or an error; then some of it may
 * have been written. */
int storage_write_all(struct storage *s, struct disk_file *f, uint64_t offset, struct bytes bytes);
/* Begins to create the segment of that number, ahead of its use. */
void storage_create_segment(struct storage *s, uint64_t number);
/* Ends the current segment, if there is one, and goes on in the one created ahead. 0, -EBUSY when that is
 * not there yet or the one before is not synced yet, or the error of a write. */
int storage_rotate(struct storage *s);
/* All files that are known, oldest first in each kind. */
struct storage_file *storage_files(const struct storage *s, size_t *count);
/* Adds one. False when out of memory. */
bool storage_add_file(struct storage *s, enum storage_file_kind kind, uint64_t number,
                      uint64_t bytes);

/* storage_snapshot.c */
void storage_snapshot_init(struct storage *s);
void storage_snapshot_close(struct storage *s);
void storage_snapshot_tick(struct storage *s, struct moment now);
void storage_snapshot_step(struct storage *s, struct moment now);
bool storage_snapshot_is_busy(const struct storage *s);
/* Whether r was one of its requests. */
bool storage_snapshot_done(struct storage *s, struct disk_request *r, int status,
                           struct moment now);

/* storage_recover.c */
void storage_recover_init(struct storage *s);
void storage_recover_close(struct storage *s);

#endif
