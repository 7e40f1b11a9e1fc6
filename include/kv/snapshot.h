/* Walking the store, partition by partition, into the bytes of a snapshot or a backup, while writes go on.
 *
 * What comes out is no point in time, and need not be: merging is idempotent. It holds every record
 * that the vector in its first mark covers, or one that beats it, and some that came meanwhile.
 * Its last mark has the dropped vector as of its end. For the promise to hold, tombstones may have to wait
 * for the walk: collect.c. */
#ifndef KV_SNAPSHOT_H
#define KV_SNAPSHOT_H

#include "kv/list.h"
#include "kv/segment.h"
#include "kv/store.h"

/* Entries looked at in one slice, at most: a bound on how long it may take. */
#define SNAPSHOT_SLICE_ENTRIES 2000u

struct node;

struct snapshot_scan {
    struct node *node; /* borrowed */
    struct segment_header header;
    bool begun, ended;
    bool cursor_open;
    uint32_t partition; /* being walked, or next */
    struct store_cursor cursor;
    uint64_t bytes; /* so far */
    uint64_t records;
    struct list all; /* in the node's walks, from the first slice to the last */
    struct vector promised; /* the node's when the walk began … */
    uint64_t stamp_begun; /* … and the greatest stamp that it had merged */
};

/* header: copied. scan: the caller's memory, to be ended by snapshot_scan_end before the node is freed. */
void snapshot_scan_begin(struct snapshot_scan *scan, struct node *n,
                         const struct segment_header *header);
void snapshot_scan_end(struct snapshot_scan *scan);

/* Appends a slice: until there are at least `bytes` more in `out`, or SNAPSHOT_SLICE_ENTRIES were looked
 * at; one record may be larger. False when the file is complete. A failure sticks in `out`. */
bool snapshot_scan_read(struct snapshot_scan *scan, size_t bytes, struct buffer *out);

/* Nothing up to this stamp has come to be covered by the node's vector since the walk began. */
uint64_t snapshot_scan_settled(const struct snapshot_scan *scan);

/* Whether a tombstone of the partition with that stamp may have been there when the walk began, and has not
 * been written yet. */
bool snapshot_scan_awaits(const struct snapshot_scan *scan, uint32_t partition, uint64_t stamp);

/* About how far it is, 0 … 100. */
static inline unsigned snapshot_scan_percent(const struct snapshot_scan *scan)
{
    return scan->partition * 100 / STORE_PARTITIONS;
}

#endif
