/* The disk as the core sees it: the files of one directory, which this node alone uses.
 *
 * The shell implements it with POSIX files and libuv's thread pool, the simulator with memory that
 * loses what was not synced. What may take long is a request: it is begun here, and whoever
 * implements the disk tells of its end by storage_done, in a later turn, never from within. */
#ifndef KV_DISK_H
#define KV_DISK_H

#include "kv/buffer.h"

/* Of a file's name, without a slash, with its NUL. */
#define DISK_NAME_BYTES 128u

struct disk_file; /* the implementation's */

enum disk_operation {
    DISK_CREATE, /* out: file. A new one of that name, with room for `bytes`, which read as 0 as long
                    as nothing is written; the directory is synced. -EEXIST if there is one. With
                    `filled` the zeros are on the disk: a sync of what is written over them later
                    has data to write, and nothing to say about where in the file it is. */
    DISK_SYNC, /* what was written to file before is on the disk */
    DISK_PUBLISH, /* file is synced and closed, renamed to new_name, and the directory synced */
    DISK_REMOVE, /* the file of that name, if there is one; the directory is synced */
    DISK_RENAME /* name to new_name; the directory is synced */
};

/* Owned by whoever began it, who keeps it where it is until it is done. */
struct disk_request {
    enum disk_operation operation;
    bool busy; /* begun, and not done */
    char name[DISK_NAME_BYTES];
    char new_name[DISK_NAME_BYTES];
    uint64_t bytes;
    bool filled; /* see DISK_CREATE */
    bool complete; /* of DISK_SYNC: nobody writes to the file any more, nor reads it before the next
                      start, so that it need not stay in memory */
    struct disk_file *file;
};

/* Errors are negative errno values. Names are borrowed for the call. */
struct disk {
    /* Begins r; its end is told by storage_done(…, r, 0 or an error, …). Requests may end in any
     * order. r->busy has been set by the caller. */
    void (*begin)(struct disk *d, struct disk_request *r);

    /* To be called, and to succeed, before anything is changed once the files were read: the directory is
     * this process's to write.
     * One that could only be read when it was opened may have become another's: -EBUSY, then nothing
     * may be changed any more. Any other error: not yet, as -EROFS. */
    int (*claim)(struct disk *d);

    /* At most bytes.size bytes, at least 1, at that offset. Returns how many. What was written can be
     * read at once, and survives the end of this process; only a sync makes it survive the machine's. */
    int64_t (*write)(struct disk *d, struct disk_file *f, uint64_t offset, struct bytes bytes);

    /* Cuts the file off behind its first `size` bytes. 0 or an error. */
    int (*truncate)(struct disk *d, struct disk_file *f, uint64_t size);

    /* Nothing is synced by it. */
    void (*close)(struct disk *d, struct disk_file *f);

    /* In words; borrowed until the next call. */
    const char *(*error_text)(struct disk *d, int error);

    /* These are used before a node serves, or while it waits for the disk to take writes again, and may
     * take their time. */

    /* Appends the names of all plain files, each in DISK_NAME_BYTES padded with NUL. Longer names are
     * left out. */
    int (*list)(struct disk *d, struct buffer *names);

    /* For reading and writing. size: out. */
    int (*open)(struct disk *d, const char *name, struct disk_file **f, uint64_t *size);

    /* At most `size` bytes. Returns how many, 0 at the end. */
    int64_t (*read)(struct disk *d, struct disk_file *f, uint64_t offset, uint8_t *at, size_t size);

    /* Waits for a sync of f (see DISK_SYNC). */
    int (*sync_now)(struct disk *d, struct disk_file *f);

    /* As DISK_REMOVE and DISK_RENAME, at once. */
    int (*remove_now)(struct disk *d, const char *name);
    int (*rename_now)(struct disk *d, const char *name, const char *new_name);
};

#endif
