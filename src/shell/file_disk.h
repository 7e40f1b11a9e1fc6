/* The disk of kv/disk.h on POSIX files: one directory, and libuv's thread pool for what may take
 * long. */
#ifndef SHELL_FILE_DISK_H
#define SHELL_FILE_DISK_H

#include "kv/disk.h"

#include <uv.h>

#define FILE_DISK_LOCK         "lock"
#define FILE_DISK_REASON_BYTES 512u

/* Requests at a time: one for each of storage's. */
#define FILE_DISK_REQUESTS_MAX 8u

enum file_disk_mode {
    FILE_DISK_OWN, /* created if missing, locked, read and written. Where the file system takes no writes:
                      must be there, and is written once that does and claim() has succeeded */
    FILE_DISK_SHARED, /* created if missing, read and written, but not locked: for backups */
    FILE_DISK_REPAIR, /* must be there and not in use; read and written */
    FILE_DISK_LOOK /* must be there; read only, whether in use or not */
};

struct file_disk_work {
    uv_work_t work;
    struct file_disk *disk;
    struct disk_request *request; /* NULL = this slot is free */
    int status;
};

struct file_disk {
    struct disk disk;
    struct heap *heap; /* borrowed */
    uv_loop_t *loop; /* borrowed; NULL = no requests will be made */
    int directory; /* descriptors; -1 = none */
    int lock;
    enum file_disk_mode mode;
    bool unclaimed; /* locked for reading alone, since the file system was read-only */
    bool in_use; /* by another process, which a look does not mind */
    struct file_disk_work works[FILE_DISK_REQUESTS_MAX];

    /* Told in the loop's thread of each request's end. */
    void (*done)(struct file_disk *d, struct disk_request *r, int status);
};

/* Opens the directory, and locks it against every other process.
 *
 * d        the caller's memory, which must stay where it is; heap and loop: borrowed.
 * Returns  0; or a negative errno with nothing left open, and `reason` saying in one line what is
 *          wrong with which path, and what would be right. -EBUSY: another process has it. */
int file_disk_open(struct file_disk *d, const char *path, enum file_disk_mode mode,
                   struct heap *heap, uv_loop_t *loop, char reason[FILE_DISK_REASON_BYTES]);

/* No request may be under way, and every file must have been closed. */
void file_disk_close(struct file_disk *d);

/* Whether a request is under way. */
bool file_disk_is_busy(const struct file_disk *d);

#endif
