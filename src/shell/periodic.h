/* Periodic backups: every --backup-interval a backup of this node into --backup-dir, of which the
 * last --backup-keep stay.
 *
 * Each is written to a name of its own with ".part" behind, synced, and renamed. The names are
 * simple-kv-NAME-YYYYMMDDTHHMMSSZ.backup, so that several nodes may share a directory. */
#ifndef SHELL_PERIODIC_H
#define SHELL_PERIODIC_H

#include "file_disk.h"
#include "kv/moment.h"
#include "kv/snapshot.h"

/* After a failed one the next is tried so soon, or after the interval if that is shorter; and the
 * first is made no sooner after a start, so that peers can bring what the node lacks. */
#define PERIODIC_PAUSE_MS 60000u

#define PERIODIC_STEP_BYTES (32u << 10)
#define PERIODIC_SYNC_BYTES (16u << 20)

enum periodic_stage {
    PERIODIC_IDLE,
    PERIODIC_CREATING,
    PERIODIC_WRITING,
    PERIODIC_SYNCING, /* in between; writing goes on after */
    PERIODIC_PUBLISHING,
    PERIODIC_REMOVING, /* the oldest, one at a time */
    PERIODIC_ABANDONING /* removing what there is of one that has failed */
};

struct periodic {
    struct file_disk disk;
    bool open;
    enum periodic_stage stage;
    struct disk_request request;
    struct disk_file *file; /* being written */
    struct snapshot_scan scan;
    struct buffer out;
    uint64_t offset, synced;
    struct buffer names; /* finished ones, each in DISK_NAME_BYTES, oldest first */
    struct moment begun;
    uint64_t due_wall_ms; /* when the next one begins */
};

struct server;

/* Opens the directory, and removes what an earlier run has left unfinished. False when it cannot,
 * which is in the log. Without --backup-dir nothing is done, here and below. */
bool periodic_open(struct server *s);

/* Once a turn. */
void periodic_step(struct server *s);

/* Whether periodic_step has something to do at once. */
bool periodic_is_busy(const struct server *s);

/* The node ends: one that is under way is given up. To be called before node_free; false when a
 * request is still under way in a thread, which uses the memory. */
bool periodic_close(struct server *s);

#endif
