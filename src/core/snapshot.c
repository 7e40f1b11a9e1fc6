/* The walk over the store. */
#include "kv/snapshot.h"

#include "kv/check.h"
#include "kv/mutation.h"
#include "kv/node.h"

void snapshot_scan_begin(struct snapshot_scan *scan, struct node *n,
                         const struct segment_header *header)
{
    *scan = (struct snapshot_scan){.node = n, .header = *header};
    list_init(&scan->all);
    vector_init(&scan->promised, n->heap);
}

void snapshot_scan_end(struct snapshot_scan *scan)
{
    if (scan->cursor_open)
        store_cursor_close(&scan->cursor);
    scan->cursor_open = false;
    scan->ended = true;
    list_remove(&scan->all);
    vector_close(&scan->promised);
}

/* The vector as of now: everything that it covers is in the store, or beaten there, before the walk
 * begins, so the walk meets it, or what beats it. */
static void put_beginning(struct snapshot_scan *scan, struct buffer *out)
{
    struct node *n = scan->node;
    uint8_t *at = buffer_reserve(out, SEGMENT_HEADER_BYTES);
    struct mark mark = {
        .type = MARK_VECTOR, .position = SEGMENT_HEADER_BYTES, .forced_stamp = n->forced_stamp};
    if (at == NULL)
        return;
    segment_header_encode(&scan->header, at);
    buffer_added(out, SEGMENT_HEADER_BYTES);
    mark_encode(&mark, &n->vector, &n->dropped, out);
    scan->begun = true;
    if (vector_copy(&scan->promised, &n->vector) != 0)
        out->failed = true; /* what is promised has to be known while the walk goes on */
    scan->stamp_begun = n->clock.last;
    list_push_back(&n->walks, &scan->all);
}

/* The dropped vector as of now: a tombstone that was dropped before the walk came to it is in no file that
 * stays, and whoever serves others after a restart has to know of it. */
static void put_end(struct snapshot_scan *scan, uint64_t position, struct buffer *out)
{
    const struct node *n = scan->node;
    struct vector none;
    struct mark mark = {.type = MARK_END,
                        .position = position,
                        .forced_stamp = n->forced_stamp,
                        .records = scan->records};
    vector_init(&none, n->heap);
    mark_encode(&mark, MUTATED(SNAPSHOT_VECTOR_LATE) ? &n->vector : &none, &n->dropped, out);
}

static bool next_record(struct snapshot_scan *scan, struct record *rec)
{
    while (scan->partition < STORE_PARTITIONS) {
        if (!scan->cursor_open) {
            store_prefetch_partition(scan->node->store, scan->partition);
            store_cursor_open(&scan->cursor, scan->node->store, scan->partition);
            scan->cursor_open = true;
        }
        if (store_cursor_next(&scan->cursor, rec) &&
            !(MUTATED(SNAPSHOT_SKIPS) && scan->partition % 8 == 0))
            return true;
        store_cursor_close(&scan->cursor);
        scan->cursor_open = false;
        scan->partition++;
    }
    return false;
}

bool snapshot_scan_read(struct snapshot_scan *scan, size_t bytes, struct buffer *out)
{
    size_t before = buffer_size(out);
    uint32_t entries = 0;
    struct record rec;
    CHECK(!scan->ended);
    if (!scan->begun)
        put_beginning(scan, out);
    while (!buffer_failed(out) && buffer_size(out) - before < bytes &&
           entries++ < SNAPSHOT_SLICE_ENTRIES) {
        if (!next_record(scan, &rec)) {
            put_end(scan, scan->bytes + buffer_size(out) - before, out);
            snapshot_scan_end(scan);
            break;
        }
        size_t size = record_bytes(&rec);
        uint8_t *at = buffer_reserve(out, size);
        if (at == NULL)
            break;
        record_encode(&rec, at);
        buffer_added(out, size);
        scan->records++;
    }
    scan->bytes += buffer_size(out) - before;
    return !scan->ended;
}

uint64_t snapshot_scan_settled(const struct snapshot_scan *scan)
{
    return vector_covered_stamp(&scan->node->vector, &scan->promised);
}

/* What is newer is in a segment that stays. What the promised vector does not cover counts, too: a later mark
 * may cover it, and what it has beaten not yet. */
bool snapshot_scan_awaits(const struct snapshot_scan *scan, uint32_t partition, uint64_t stamp)
{
    return stamp <= scan->stamp_begun && partition >= scan->partition;
}
