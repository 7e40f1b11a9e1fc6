/* What the parts of the storage share: storage.c (the journal), storage_snapshot.c, and
 * storage_recover.c with what follows it at a start, storage_resume.c. Private to these. */
#ifndef KV_STORAGE_INTERNAL_H
#define KV_STORAGE_INTERNAL_H

#include "kv/storage.h"

/* storage.c */
/* A sync has failed. The process has to end; says why in s->reason. */
void storage_fail_for_good(struct storage *s, int status);
/* Syncs the journal, unless that is under way, or there is nothing to sync, or no memory to note it. */
void storage_begin_sync(struct storage *s, struct moment now);

/* storage_segment.c */
/* Begins a request; it must not be busy. Names: NULL = not needed. */
void storage_begin(struct storage *s, struct disk_request *r, enum disk_operation operation,
                   const char *name, const char *new_name);
/* "journal-…" or "snapshot-…" with the number, in DISK_NAME_BYTES. */
void storage_file_name(enum storage_file_kind kind, uint64_t number, char *name);
/* Writes all of it at that offset, however many calls it takes. 0 or an error; then some of it may
 * have been written. */
int storage_write_all(struct storage *s, struct disk_file *f, uint64_t offset, struct bytes bytes);
/* All files that are known, oldest first in each kind. */
struct storage_file *storage_files(const struct storage *s, size_t *count);
/* Adds one. False when out of memory. */
bool storage_add_file(struct storage *s, enum storage_file_kind kind, uint64_t number,
                      uint64_t bytes);
/* The position behind what was written to it. */
uint64_t storage_end_of(const struct storage_segment *segment);
/* Begins to create the segment of that number, ahead of its use. */
void storage_create_segment(struct storage *s, uint64_t number);
void storage_segment_created(struct storage *s, int status, struct moment now);
/* Ends the current segment, if there is one, and goes on in the one created ahead. 0, -EBUSY when that is
 * not there yet or the one before is not synced yet, or the error of a write. */
int storage_rotate(struct storage *s);

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
/* Ends the start: says so in s->reason, and returns the error. */
int recovery_give_up(struct storage *s, int error, const char *doing, const char *name);
int recovery_out_of_memory(struct storage *s);
/* By its place in s->files; NULL when there are not so many. */
struct storage_file *recovery_file(const struct storage *s, uint32_t index);
/* Done with the file that is open. */
void recovery_next_file(struct storage *s);

/* storage_list.c: fills s->files. 0, or the start has ended. */
int recovery_list(struct storage *s);
/* Whether it is the name of a snapshot that is being written, or was not finished. */
bool recovery_is_unfinished(const char *name);

/* storage_resume.c */
/* Makes the directory ready for this run's journal. 0 it is, -EINPROGRESS that waits for a request: call it
 * again; or an error, which r->failed_… name. May be tried again after any error, unless s->fatal. */
int storage_resume(struct storage *s, struct moment now);
/* The same as a stage of the recovery. > 0 go on, 0 done: the node can serve, whether it may write or not;
 * < 0 the start has ended. */
int recovery_begin_writing(struct storage *s, struct moment now);
/* Cuts a torn tail off, and removes what lies behind it. 0 or an error, as above. */
int recovery_repair(struct storage *s);
/* Whether that file goes: nothing was ever written to it, or it lies behind a torn tail. */
bool recovery_is_surplus(const struct storage *s, uint32_t index);

/* storage_read.c: the stages of a recovery that read a file. > 0 go on, < 0 the start has ended. */
int recovery_read_entries(struct storage *s);
int recovery_read_zeros(struct storage *s);
int recovery_search(struct storage *s);
/* Reads on until there are at least `wanted` bytes, or the file ends. 1, 0 when it has ended before,
 * or an error. */
int recovery_fetch(struct storage *s, uint64_t wanted);
void recovery_consume(struct recovery *r, size_t size);
void recovery_note_damage(struct storage *s, uint64_t offset, uint64_t position, const char *what);

#endif
