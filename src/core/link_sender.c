/* The dialling side: pushes this node's own writes, and serves deltas. */
#include "link_internal.h"

#include "kv/check.h"

static bool has_room(const struct link *l)
{
    return buffer_size(&l->out) + l->unsent < LINK_OUTPUT_BYTES && !buffer_failed(&l->out);
}

/* --- the live stream ----------------------------------------------------------------------- */

static void send_gap(struct link *l)
{
    size_t begun = frame_begin(&l->out);
    frame_put_u64(&l->out, journal_floor(&l->node->journal));
    frame_end(&l->out, begun, FRAME_GAP);
    l->state = LINK_HOLD;
}

void link_on_stream(struct link *l, struct moment now, struct frame_reader *payload)
{
    uint64_t after = frame_read_u64(payload);
    (void)now;
    l->state = LINK_LIVE;
    if (!journal_seek(&l->node->journal, after, &l->reader))
        send_gap(l);
}

bool link_stream_has_more(const struct link *l)
{
    const struct node *n = l->node;
    return l->state == LINK_LIVE && l->reader.after < vector_get(&n->vector, n->config.origin);
}

/* One RECORDS frame: everything of this node's clients after `after` and through `through`. */
static void send_records(struct link *l)
{
    const struct journal *j = &l->node->journal;
    size_t begun = frame_begin(&l->out);
    uint64_t after = l->reader.after;
    frame_put_u64(&l->out, after);
    size_t through_at = buffer_size(&l->out);
    frame_put_u64(&l->out, 0);
    journal_read(j, &l->reader, LINK_FRAME_BYTES, &l->out);
    /* At the end of the ring, this node's vector says more than the last record: that up to now
     * there was no other. */
    if (!journal_has_more(j, &l->reader))
        l->reader.after = vector_get(&l->node->vector, l->node->config.origin);
    if (buffer_failed(&l->out))
        return;
    put_u64(l->out.data + l->out.start + through_at, l->reader.after);
    frame_end(&l->out, begun, FRAME_RECORDS);
}

/* Sends one frame of the stream. False when there was nothing to send. */
static bool stream_step(struct link *l)
{
    struct node *n = l->node;
    if (l->state != LINK_LIVE)
        return false;
    if (journal_overtaken(&n->journal, &l->reader)) {
        send_gap(l);
        return true;
    }
    if (link_stream_has_more(l)) {
        send_records(l);
        return true;
    }
    if (l->acks_asked < n->acks_wanted) {
        l->acks_asked = n->acks_wanted;
        frame_end(&l->out, frame_begin(&l->out), FRAME_ACK_WANTED);
        return true;
    }
    return false;
}

/* --- serving a delta ----------------------------------------------------------------------- */

/* Every record that this node's vector covers and `wanted` does not has a stamp above this: it is
 * the least that `wanted` has of an origin of which this node has more. So a partition in which
 * nothing was merged since can be left out, and a gap of seconds costs no walk over the store. */
static uint64_t covered_stamp(const struct node *n, const struct vector *wanted)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < n->vector.count; i++) {
        const struct vector_entry *e = &n->vector.entries[i];
        uint64_t has = vector_get(wanted, e->origin);
        if (has < e->stamp && has < least)
            least = has;
    }
    return least;
}

void link_scan_end(struct link *l)
{
    if (l->scan.cursor_open)
        store_cursor_close(&l->scan.cursor);
    if (l->scan.active)
        l->node->scans--;
    l->scan.cursor_open = l->scan.active = false;
}

void link_on_delta_request(struct link *l, struct moment now, struct frame_reader *payload)
{
    struct node *n = l->node;
    struct link_scan *scan = &l->scan;
    (void)now;
    if (scan->active) {
        link_fail(l, "it asked for a delta while it was getting one");
        return;
    }
    if (vector_decode(&scan->wanted, payload->rest) < 0) {
        payload->failed = true;
        return;
    }
    size_t begun = frame_begin(&l->out);
    vector_encode(&n->vector, &l->out);
    frame_end(&l->out, begun, FRAME_DELTA_BEGIN);
    scan->active = true;
    scan->partition = 0;
    scan->stamp_covered = covered_stamp(n, &scan->wanted);
    n->scans++;
    n->counters.deltas_served++;
    if (l->state == LINK_HOLD) {
        /* What was written until now comes by the scan, what is written from now on live. */
        l->reader = journal_end(&n->journal);
        l->reader.after = vector_get(&n->vector, n->config.origin);
        l->state = LINK_LIVE;
    }
}

static void send_mark(struct link *l, uint32_t partitions)
{
    size_t begun = frame_begin(&l->out);
    frame_put_u32(&l->out, partitions);
    frame_end(&l->out, begun, FRAME_DELTA_MARK);
}

/* Opens the next partition that may hold something to send. False when there is none left. */
static bool next_partition(struct link *l)
{
    struct link_scan *scan = &l->scan;
    while (scan->partition < STORE_PARTITIONS &&
           store_partition_stamp_max(l->node->store, scan->partition) <= scan->stamp_covered)
        scan->partition++;
    if (scan->partition == STORE_PARTITIONS)
        return false;
    store_cursor_open(&scan->cursor, l->node->store, scan->partition);
    scan->cursor_open = true;
    return true;
}

/* Sends one frame of records, or one mark. */
static void scan_step(struct link *l, uint32_t *entries)
{
    struct link_scan *scan = &l->scan;
    struct record rec;
    bool more = true;
    if (!scan->cursor_open && !next_partition(l)) {
        send_mark(l, STORE_PARTITIONS);
        link_scan_end(l);
        return;
    }
    size_t begun = frame_begin(&l->out);
    while (*entries < LINK_SCAN_ENTRIES && buffer_size(&l->out) - begun < LINK_FRAME_BYTES &&
           !buffer_failed(&l->out) && (more = store_cursor_next(&scan->cursor, &rec))) {
        (*entries)++;
        if (vector_covers(&scan->wanted, rec.origin, rec.stamp))
            continue;
        uint8_t *at = buffer_reserve(&l->out, record_bytes(&rec));
        if (at == NULL)
            break;
        record_encode(&rec, at);
        buffer_added(&l->out, record_bytes(&rec));
    }
    if (buffer_size(&l->out) - begun > FRAME_HEADER_BYTES)
        frame_end(&l->out, begun, FRAME_DELTA_RECORDS);
    else
        frame_cancel(&l->out, begun);
    if (more)
        return;
    store_cursor_close(&scan->cursor);
    scan->cursor_open = false;
    scan->partition++;
    send_mark(l, scan->partition);
    if (scan->partition == STORE_PARTITIONS)
        link_scan_end(l);
}

void link_sender_fill(struct link *l)
{
    uint32_t entries = 0;
    bool more = true;
    /* In turns: neither shall starve the other on a link that is always full. */
    while (more && has_room(l)) {
        more = stream_step(l);
        if (l->scan.active && entries < LINK_SCAN_ENTRIES && has_room(l)) {
            scan_step(l, &entries);
            more = true;
        }
    }
}
