/* What a node keeps on its disk: the journal in segments, snapshots, and the way back from both.
 *
 * Every record that wins a merge is encoded into a batch. Once a turn the batch is written, with a
 * mark of the vector behind it, before any reply of that turn may leave; a sync follows as --fsync asks.
 * A snapshot walks the store while writes go on, and then the segments that it covers are removed.
 * Formats: segment.h.
 *
 * Files of a data directory:
 *
 *     journal-0000000000000007     a segment; numbers rise by one
 *     snapshot-0000000000000007    covers every segment before that number
 *     snapshot-….tmp               being written
 *     NAME.damaged                 put aside, never read again
 *     lock                         the shell's
 *
 * The shell drives it: storage_recover until it is done, then storage_flush and storage_step every turn,
 * storage_tick every tick, storage_done for every request of the disk that has ended. */
#ifndef KV_STORAGE_H
#define KV_STORAGE_H

#include "kv/disk.h"
#include "kv/moment.h"
#include "kv/snapshot.h"

#define STORAGE_SEGMENT_BYTES_MIN (4u << 10)

/* A segment is made as large as this part of the live data, but not smaller than the first one, nor larger
 * than the configuration says: what is preallocated and not used yet is little, beside the data. */
#define STORAGE_SEGMENT_PART        16u
#define STORAGE_SEGMENT_BYTES_FIRST (1u << 20)

/* Records that wait while the disk takes no writes; beyond it, peers' records are refused too. */
#define STORAGE_BATCH_BYTES_MAX (64u << 20)

/* How long after a failed write the next one is tried, and after a failed snapshot. */
#define STORAGE_RETRY_MS          1000u
#define STORAGE_SNAPSHOT_RETRY_MS 60000u

/* Between syncs, with everysec; and with no, since tombstones wait for some sync. */
#define STORAGE_EVERYSEC_MS 1000u
#define STORAGE_LAZY_MS     30000u

/* With always: how long a sync may wait for writes that keep coming, turn after turn, to share it. */
#define STORAGE_GATHER_MS 2u

/* A snapshot file is synced every so many bytes, so that its end does not have to sync all of it. */
#define STORAGE_SNAPSHOT_SYNC_BYTES (16u << 20)

/* What one step of a snapshot does about while nobody is served, and has not been for so long. */
#define STORAGE_SNAPSHOT_STEP_BYTES (64u << 10)
#define STORAGE_SNAPSHOT_IDLE_MS    20u

/* While somebody is, he waits for every step: at least this, and so many times what the journal has grown
 * by since the step before, so that the snapshot ends while the journal has grown by a part of the
 * data. At most that, in any step. */
#define STORAGE_SNAPSHOT_SERVING_BYTES  (8u << 10)
#define STORAGE_SNAPSHOT_JOURNAL_TIMES  3u
#define STORAGE_SNAPSHOT_STEP_BYTES_MAX (512u << 10)

/* Growth of the journal after which it is compared with the data, as it is every tick. */
#define STORAGE_SNAPSHOT_LOOK_BYTES (1u << 20)

/* What one step of a recovery does about. */
#define STORAGE_RECOVER_STEP_BYTES (256u << 10)
#define STORAGE_READ_BYTES         (1u << 20)

#define STORAGE_REASON_BYTES 384u

struct node;

enum storage_sync { STORAGE_SYNC_ALWAYS, STORAGE_SYNC_EVERYSEC, STORAGE_SYNC_NO };

struct storage_config {
    enum storage_sync sync;
    uint64_t
        segment_bytes; /* at which a segment ends at the latest; at least STORAGE_SEGMENT_BYTES_MIN */
    uint64_t snapshot_bytes; /* journal beyond which a snapshot is made, … */
    uint32_t snapshot_percent; /* … if it and the last one are also so much of the live data */
    uint32_t snapshot_step_bytes; /* what a turn does about of one; 0 = as STORAGE_SNAPSHOT_… say */
    bool expects_peers; /* who may bring back what damage has cost */
    bool salvage; /* serve what can be read, damaged or not */
    bool read_only; /* --check: nothing is changed */
    bool repair_tail; /* with read_only: but a torn tail is cut off */
};

enum storage_file_kind { STORAGE_SNAPSHOT, STORAGE_JOURNAL };

struct storage_file {
    char name[DISK_NAME_BYTES];
    enum storage_file_kind kind;
    uint64_t number;
    uint64_t bytes; /* that hold data; of the segment being written 0 until its end */
    bool damaged; /* to be put aside, not removed */
    bool unused; /* a segment created ahead, of which nothing was ever written */
};

struct storage_segment {
    struct disk_file *file; /* NULL = none */
    uint64_t number;
    uint64_t start; /* position of its first byte */
    uint64_t bytes; /* written */
    uint64_t limit; /* of these; it ends there, or as soon as the next one can be begun */
};

enum recovery_stage {
    RECOVERY_LIST,
    RECOVERY_OPEN, /* the file at `index` comes next */
    RECOVERY_ENTRIES,
    RECOVERY_ZEROS, /* behind what seems to be the end of a segment there should be nothing else */
    RECOVERY_SEARCH, /* for the next entry behind damage */
    RECOVERY_JUDGE, /* all files have been read */
    RECOVERY_SEGMENT, /* the directory is made ready for this run's journal */
    RECOVERY_DONE
};

/* What a pass over the files is for. */
enum recovery_pass {
    RECOVERY_LOAD, /* merging, up to the first damage */
    RECOVERY_SURVEY, /* behind it: only to learn whether it had been synced */
    RECOVERY_SALVAGE /* it had: merging whatever is intact */
};

struct recovery {
    enum recovery_stage stage;
    enum recovery_pass pass;
    uint32_t index; /* into storage.files: of the file being read, or the next one */
    struct disk_file *file;
    struct segment_header header;
    uint64_t file_bytes;
    uint64_t offset; /* in the file, of the first byte in `in` */
    uint64_t file_records;
    const char
        *suspected; /* what is wrong with this file, unless nothing is in it; NULL = nothing */
    struct buffer in;
    uint64_t expected; /* the position at which the next segment has to begin */
    uint64_t synced; /* the greatest position that any mark says was on the disk */
    uint64_t position_max; /* beyond all that the files hold */
    struct vector vector, dropped; /* as of the last mark before any damage */
    struct vector scratch_vector, scratch_dropped;
    struct vector dropped_all; /* of all marks */
    uint64_t forced_stamp;
    uint64_t stamp_max; /* of all vectors' */
    /* The first damage. */
    bool damaged, torn; /* torn: behind all that is known to have been synced */
    uint32_t damaged_index;
    uint64_t damaged_offset, damaged_position;
    const char *damage; /* what was found there */
    /* On the way to this run's first segment (storage_resume.c). */
    bool tidied; /* what the runs before have left and nobody needs is gone */
    bool
        creating; /* the segment: its creation was begun, and what came of it was not looked at yet */
    bool waits; /* it could not be done at the start, since the disk takes no writes */
    const char *failed_doing; /* what could not be done, … */
    char failed_name[DISK_NAME_BYTES]; /* … and to which file */
    /* Progress, and the report of --check. */
    uint64_t bytes_total, bytes_read;
    uint64_t records; /* merged, or tried */
    struct moment begun;
};

enum snapshot_stage {
    SNAPSHOT_IDLE,
    SNAPSHOT_CREATING,
    SNAPSHOT_WRITING,
    SNAPSHOT_SYNCING, /* in between; writing goes on after */
    SNAPSHOT_WAITING, /* written; for the journal's sync */
    SNAPSHOT_PUBLISHING,
    SNAPSHOT_ABANDONING, /* it has failed: what there is of it is being removed */
    SNAPSHOT_CLEANING /* removing what it covers */
};

struct storage_snapshot {
    enum snapshot_stage stage;
    bool wanted; /* as soon as that can be */
    struct snapshot_scan scan;
    struct disk_file *file;
    uint64_t number; /* of the first segment it does not cover, … */
    uint64_t position; /* … and of that one's first byte */
    uint64_t offset; /* of what was written */
    uint64_t synced; /* of that */
    uint64_t looked; /* the journal's end, when it was last compared with the data */
    /* As of the last step: what was served, and the journal's end; and when either last changed. */
    uint64_t commands, journal_end;
    uint64_t served_mono_ms;
    uint64_t tombstones_dropped; /* by the node, when the walk began */
    uint64_t journal_needed; /* to be synced as far before the snapshot gets its name */
    struct buffer out;
    struct disk_request request;
    uint64_t retry_mono_ms; /* not before */
    struct moment begun;
    uint64_t last_saved_ms; /* Unix time of the last one completed; 0 = none */
    uint64_t last_bytes, last_ms; /* its size, and how long it took */
};

struct storage {
    struct node *node; /* borrowed */
    struct disk *disk; /* borrowed */
    struct heap *heap;
    struct storage_config config;
    struct buffer files; /* struct storage_file: the directory's, oldest first in each kind */
    struct recovery recovery;

    struct buffer batch; /* entries not written yet */
    uint64_t batch_records;
    struct storage_segment current; /* being written; no file until the disk has taken its header */
    struct storage_segment ended; /* the one before it, until that is synced */
    struct disk_file *next; /* the one after it, created ahead */
    struct disk_request creation; /* of that */
    uint64_t records; /* in the current segment */
    struct vector marked, marked_dropped; /* as of the last mark written */
    struct vector appended; /* per origin, the greatest stamp of a record appended */
    uint64_t restored_stamp; /* no record exceeds it that was recovered, or that `appended` lacks */
    uint64_t stamp_written; /* of the node's own writes, the last that is written */
    uint64_t mark_mono_ms; /* when the last mark was written */
    uint64_t records_end; /* behind the last records; 0 = a mark has told that they are synced */
    uint64_t creation_mono_ms; /* no segment is created before */
    int creation_error; /* of the last one; 0 = it was created */

    struct disk_request sync;
    bool syncing_ended; /* of the segment that ended, not of the current one */
    struct vector syncing; /* what will survive when that is done … */
    uint64_t syncing_position; /* … and up to where */
    uint64_t synced; /* position before which all is on the disk */
    uint64_t sync_mono_ms; /* when the last sync was begun */
    bool gathering; /* a sync is due, and waits for writes that keep coming: … */
    uint64_t gathered; /* … the end of what was written by the last turn, … */
    uint64_t gather_mono_ms; /* … and since when */

    int error; /* writes fail with it: negative errno; 0 = they do not */
    uint64_t retry_mono_ms;
    bool fatal; /* a sync has failed: the process has to end, and `reason` says why */
    char reason[STORAGE_REASON_BYTES];

    struct storage_snapshot snapshot;
    struct disk_request removal;
    bool stopping;
    bool stopped_synced; /* … and the last mark says that all before it was on the disk */

    /* Counters, for INFO. */
    uint64_t bytes_written, syncs, write_errors, snapshots, snapshots_failed;
};

/* Gives the node a disk: until storage_recover is done, the node is loading. All borrowed, config copied.
 * Returned, NULL when out of memory. */
struct storage *storage_new(struct node *n, struct disk *d, const struct storage_config *config);

/* No request may be under way. */
void storage_free(struct storage *s);

/* Reads what the directory holds into the node, a step at a time. > 0 there is more to do (some of it
 * may wait for a request: call it again every turn), 0 done, < 0 it cannot start: `reason` says why,
 * and what would help. A disk that can be read but takes no writes is no reason: then `error` is set, as
 * when that happens later, and storage_flush tries again. With read_only the result is s->recovery, and
 * nothing was changed. */
int storage_recover(struct storage *s, struct moment now);

/* How far it is, 0 … 100. */
unsigned storage_recover_percent(const struct storage *s);

/* Makes sure that the next storage_append of that many bytes cannot fail. 0, -ENOMEM; or -ENOSPC when
 * too much waits for a disk that takes no writes. */
int storage_reserve(struct storage *s, size_t bytes);

/* A record that has won its merge. Copied. Its encoded bytes are borrowed until the next call. */
struct bytes storage_append(struct storage *s, const struct record *rec);

/* Whether something waits to be written. */
static inline bool storage_has_batch(const struct storage *s)
{
    return s->batch_records > 0;
}

/* Writes what waits. 0, or the error for which it could not; then it is kept, and tried again. */
int storage_flush(struct storage *s, struct moment now);

/* Whether a write of this node's client, of that stamp, may be answered as far as the disk goes. */
bool storage_has_written(const struct storage *s, uint64_t stamp);

/* What is due by time: retries, syncs, snapshots. */
void storage_tick(struct storage *s, struct moment now);

/* Goes on with a snapshot, as far as may be in one turn. */
void storage_step(struct storage *s, struct moment now);

/* Whether storage_step has something to do at once. */
bool storage_is_busy(const struct storage *s);

/* A request that was begun has ended. status: 0 or a negative errno. */
void storage_done(struct storage *s, struct disk_request *r, int status, struct moment now);

/* A snapshot, as soon as one can be begun. -EALREADY when one is under way. */
int storage_snapshot(struct storage *s);

/* The node ends: makes a snapshot if that is cheap, and syncs. Done when storage_is_stopped. */
void storage_stop(struct storage *s, struct moment now);
bool storage_is_stopped(const struct storage *s);

/* Bytes in the directory: the journal since the last snapshot, and that snapshot. */
uint64_t storage_journal_bytes(const struct storage *s);
uint64_t storage_snapshot_bytes(const struct storage *s);

#endif
