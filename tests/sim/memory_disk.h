/* A disk in memory, which loses what a real one may lose.
 *
 * It tells apart what was written from what is synced. Of every file it keeps its content as the process
 * sees it, the content as of its last sync, and the list of changes between the two. What a power cut
 * leaves of those is drawn sector by sector: each sector is as it was after any number of them, and so is
 * the file's size. Creating, renaming and removing are requests; one that is not done when the process
 * dies has happened, or has not.
 *
 * Everything is drawn from the seed. It is no part of a node's memory: it uses the C library's, and ends the
 * program when there is none. */
#ifndef MEMORY_DISK_H
#define MEMORY_DISK_H

#include "kv/disk.h"
#include "kv/random.h"

#define MEMORY_DISK_SECTOR_BYTES 512u
#define MEMORY_DISK_FILES_MAX    64u
#define MEMORY_DISK_REQUESTS_MAX 8u
#define MEMORY_DISK_NEVER        UINT64_MAX

/* Bytes of which those behind `stored` are 0. */
struct memory_content {
    uint8_t *at; /* owned */
    uint64_t size, stored, capacity;
};

struct memory_change {
    bool resizes; /* the file, to `offset` bytes; else it writes there */
    uint64_t offset;
    size_t size;
    uint8_t *bytes; /* owned */
};

struct memory_file {
    char name[DISK_NAME_BYTES]; /* "" = it is in no directory any more */
    struct memory_content now, synced;
    struct memory_change *changes; /* owned: from `synced` to `now` */
    uint32_t change_count, change_capacity;
    uint32_t handles; /* that are open */
    bool sync_failed; /* the kernel may show what it will never write */
};

struct memory_request {
    struct disk_request *request; /* NULL = none */
    uint64_t due_ms;
    uint64_t order;
    uint32_t changes; /* of its file, when it was begun */
};

/* What goes wrong; all 0 = nothing. `one_in`: on average. */
struct memory_dials {
    uint64_t latency_ms; /* how long a request takes, at most */
    uint64_t
        capacity_bytes; /* of all files' sizes; 0 = no limit. Beyond it: ENOSPC, or a short write */
    uint32_t short_one_in; /* writes take less than was given */
    uint32_t write_error_one_in; /* EIO */
    uint32_t read_error_one_in;
    uint32_t request_error_one_in; /* of creations, publications, renames and removals */
    int claim_error; /* of every claim; 0 = they succeed */
    bool next_sync_fails; /* once; of what was to be synced then, some is gone for good */
};

struct memory_disk {
    struct disk disk; /* what is handed to the code under test */
    struct memory_dials dials;
    uint64_t now_ms; /* the owner's: when requests are begun */
    struct random random;
    struct memory_file *files[MEMORY_DISK_FILES_MAX]; /* owned */
    uint32_t file_count;
    struct memory_request requests[MEMORY_DISK_REQUESTS_MAX];
    struct disk_request copies[MEMORY_DISK_REQUESTS_MAX]; /* of a copy: the requests themselves */
    uint64_t begun; /* requests */
    uint64_t life; /* counts crashes: handles of an earlier life are good for closing only */
    uint64_t handles; /* open ones */
    uint64_t steps; /* calls that change something, and ends of requests */
    uint64_t failures; /* calls and requests that the dials have made fail */
    struct memory_disk *copy; /* where to copy it … */
    uint64_t copy_at; /* … before the step of that number */
    bool copied; /* done */
};

/* What becomes of a disk when its process ends. */
enum memory_crash {
    MEMORY_KILL, /* nothing that was written is lost, unless its sync has failed */
    MEMORY_POWER_CUT, /* what was not synced is there, or not, or in part */
    MEMORY_POWER_CUT_LOSES, /* … and nothing of it is there */
    MEMORY_CRASHES
};

/* d: the caller's memory. Empty. */
void memory_disk_init(struct memory_disk *d, uint64_t seed);

/* Every handle must have been closed. */
void memory_disk_close(struct memory_disk *d);

/* When the next request ends; MEMORY_DISK_NEVER when none is under way. */
uint64_t memory_disk_next(const struct memory_disk *d);

/* Ends the request that is next, whatever the time. Its status is to be told by storage_done. NULL when
 * none is under way. */
struct disk_request *memory_disk_finish(struct memory_disk *d, int *status);

/* The process has died. No request is under way any more; open handles are good for closing only. */
void memory_disk_crash(struct memory_disk *d, enum memory_crash how);

/* Makes `into` (initialised; what it held is gone) what `from` is, with its requests under way, but without
 * its handles and dials. A crash has to follow before it is used. */
void memory_disk_copy(struct memory_disk *into, const struct memory_disk *from);

/* Copies d into `copy` when it comes to the step of that number (from 0), just before it; a write that would
 * be that step is in the copy in part. Until then nothing changes in `copy`. */
void memory_disk_copy_at(struct memory_disk *d, uint64_t step, struct memory_disk *copy);

/* --- for tests, on a disk that nobody uses at the time ------------------------------------- */

/* The file of that name; NULL = none. */
struct memory_file *memory_disk_find(const struct memory_disk *d, const char *name);

/* How many bytes of it were ever written. */
uint64_t memory_file_used(const struct memory_file *f);

/* What is at these places, for good. The file must be as large. */
void memory_file_flip(struct memory_file *f, uint64_t bit);
void memory_file_put(struct memory_file *f, uint64_t offset, struct bytes bytes);
void memory_file_cut(struct memory_file *f, uint64_t size);
struct bytes memory_file_bytes(const struct memory_file *f); /* these; borrowed */

/* Of all files' sizes. */
uint64_t memory_disk_used(const struct memory_disk *d);

/* The file is no more. */
void memory_disk_lose(struct memory_disk *d, const char *name);

/* A new file, synced. Its bytes are copied. */
struct memory_file *memory_disk_add(struct memory_disk *d, const char *name, struct bytes bytes);

#endif
