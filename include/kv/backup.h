/* A backup that a client pulls, or one that it pushes back: what takes a session's connection over
 * after the commands BACKUP and RESTORE.
 *
 * A backup is a file of the format in segment.h, made as fast as the client takes it. A restore
 * reads such a file: each live record of it becomes a new write of this node, so it wins against
 * whatever was written before; tombstones and marks are not applied. */
#ifndef KV_BACKUP_H
#define KV_BACKUP_H

#include "kv/moment.h"
#include "kv/snapshot.h"

/* What all backups under way read in one turn together, about. */
#define BACKUP_TURN_BYTES (16u << 10)

/* What one restore does in a turn, at most: a bound on how long others wait. */
#define RESTORE_TURN_RECORDS 200u
#define RESTORE_TURN_BYTES   (64u << 10)

#define BACKUP_REASON_BYTES 256u

struct node;

enum backup_state {
    BACKUP_SENDING,
    BACKUP_RESTORING,
    BACKUP_COMPLETE, /* the end mark was sent, or read */
    BACKUP_FAILED /* a restore; `reason` says why */
};

struct backup {
    struct node *node; /* borrowed */
    enum backup_state state;
    struct snapshot_scan scan; /* of a backup */
    /* Of a restore: */
    bool header_read;
    uint64_t offset; /* in the file, of what comes next */
    uint64_t records; /* read */
    uint64_t written; /* of these, written anew */
    uint64_t stamp; /* of the last write, 0 = none */
    uint32_t turn_records; /* that may still be read in this turn … */
    uint64_t turn_bytes; /* … and bytes */
    char reason[BACKUP_REASON_BYTES];
};

/* The node is borrowed until backup_free. Returned, NULL when out of memory. */
struct backup *backup_new(struct node *n, struct moment now);
struct backup *restore_new(struct node *n);

/* b may be NULL. */
void backup_free(struct backup *b);

/* Appends what is due in this turn. A failure sticks in `out`. */
void backup_send(struct backup *b, struct buffer *out);

/* Whether it has done enough for this turn, and more has arrived: nothing is read from the client
 * then. */
bool restore_is_paused(const struct backup *b);

/* Goes on in a new turn. */
void restore_resume(struct backup *b);

/* Reads whole entries at the front of `from` until the turn is over, the file is, or it has failed.
 * ended: no more will come. Returns how many bytes it took. */
size_t restore_read(struct backup *b, struct moment now, struct bytes from, bool ended);

#endif
