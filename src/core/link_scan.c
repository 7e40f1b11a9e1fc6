/* Serving deltas: what the receiver's vector does not cover, partition by partition; and, where that
 * does not tell enough, lists of what it does. */
#include "link_internal.h"

#include "kv/check.h"
#include "kv/hash.h"
#include "kv/mutation.h"

#define DIGEST_BYTES 8u

/* A scan that skips partitions still says how far it is, for the receiver's checks. */
#define MARK_PARTITIONS_MAX 64u

void link_scan_end(struct link *l)
{
    struct link_scan *scan = &l->scan;
    if (scan->cursor_open)
        store_cursor_close(&scan->cursor);
    if (scan->active)
        l->node->scans--;
    scan->cursor_open = scan->active = false;
    buffer_close(&scan->list);
    buffer_close(&scan->digests);
}

bool link_scan_allows(struct link *l, uint32_t partition)
{
    struct link_scan *scan = &l->scan;
    if (!scan->active || scan->checked)
        return true; /* lists tell of what is gone */
    if (scan->cursor_open && !scan->listing && scan->partition == partition)
        return false;
    scan->list_all = !MUTATED(FORCED_UNLISTED);
    return true;
}

/* A scrub raises no vector: it promises nothing. */
static bool promises(const struct link_scan *scan)
{
    return scan->active && !scan->scrub;
}

uint64_t link_scan_settled(const struct link *l)
{
    const struct link_scan *scan = &l->scan;
    return promises(scan) ? vector_covered_stamp(&l->node->vector, &scan->promised) : UINT64_MAX;
}

bool link_scan_promises(const struct link *l, uint32_t partition, const struct record *tombstone)
{
    const struct link_scan *scan = &l->scan;
    return promises(scan) && partition >= scan->partition &&
           vector_covers(&scan->promised, tombstone->origin, tombstone->stamp);
}

/* --- the request --------------------------------------------------------------------------- */

struct request {
    uint16_t flags, first_group, groups;
};

static bool read_request(struct link *l, struct frame_reader *payload, struct request *r)
{
    struct link_scan *scan = &l->scan;
    r->flags = frame_read_u16(payload);
    r->first_group = frame_read_u16(payload);
    r->groups = frame_read_u16(payload);
    if (!link_read_vector(l, payload, &scan->wanted) || r->first_group + r->groups > STORE_GROUPS)
        return false;
    struct bytes digests = payload->rest;
    if (digests.size != (size_t)r->groups * STORE_GROUP_PARTITIONS * DIGEST_BYTES)
        return false;
    if ((r->flags & LINK_REQUEST_SCRUB) != 0 && r->groups == 0)
        return false;
    buffer_truncate(&scan->digests, 0);
    buffer_append(&scan->digests, digests);
    if (buffer_failed(&scan->digests))
        link_fail(l, "out of memory");
    scan->digests_first = r->first_group * STORE_GROUP_PARTITIONS;
    return l->state != LINK_CLOSED;
}

static void begin_scan(struct link *l, const struct request *r, bool behind)
{
    struct node *n = l->node;
    struct link_scan *scan = &l->scan;
    bool scrub = (r->flags & LINK_REQUEST_SCRUB) != 0;
    bool checked = scrub || behind;
    if (vector_copy(&scan->promised, &n->vector) != 0) {
        link_fail(l, LINK_VECTOR_FULL);
        return;
    }
    size_t begun = frame_begin(&l->out);
    frame_put_u16(
        &l->out, (uint16_t)((checked ? LINK_BEGIN_CHECKED : 0) | (behind ? LINK_BEGIN_BEHIND : 0)));
    vector_encode(&n->vector, &l->out);
    frame_end(&l->out, begun, FRAME_DELTA_BEGIN);
    scan->active = true;
    scan->scrub = scrub;
    scan->checked = checked;
    scan->list_all = scan->listing = false;
    scan->partition = scrub ? r->first_group * STORE_GROUP_PARTITIONS : 0;
    scan->end =
        scrub ? (uint32_t)(r->first_group + r->groups) * STORE_GROUP_PARTITIONS : STORE_PARTITIONS;
    /* So a partition in which nothing was merged since is left out: a gap of seconds costs no walk. */
    scan->stamp_covered = vector_covered_stamp(&n->vector, &scan->wanted);
    n->scans++;
    n->counters.deltas_served += !scrub;
    if (l->state == LINK_HOLD && !scrub) {
        /* What was written until now comes by the scan, what is written from now on live. */
        l->reader = journal_end(&n->journal);
        l->reader.after = vector_get(&n->vector, n->config.origin);
        l->state = LINK_LIVE;
    }
}

void link_on_delta_request(struct link *l, struct moment now, struct frame_reader *payload)
{
    struct node *n = l->node;
    struct request r;
    (void)now;
    if (l->scan.active) {
        link_fail(l, "it asked for a delta while it was getting one");
        return;
    }
    if (!read_request(l, payload, &r)) {
        payload->failed = true; /* a link that has failed already keeps its reason */
        return;
    }
    if (n->refilling) {
        /* It would hand on what is deleted elsewhere; and whoever needs refilling too would take that for a
         * comparison. */
        link_fail(l, "%s has to be refilled itself first, after damage to its disk",
                  n->config.name);
        return;
    }
    bool behind =
        !vector_covers_vector(&l->scan.wanted, &n->dropped) && !MUTATED(NO_DROPPED_VECTOR);
    if (behind && (r.flags & (LINK_REQUEST_EMPTY | LINK_REQUEST_SCRUB)) == 0 && r.groups == 0) {
        /* It may hold what was deleted by a tombstone that is gone. */
        frame_end(&l->out, frame_begin(&l->out), FRAME_DIGESTS_WANTED);
        return;
    }
    begin_scan(l, &r, behind);
}

/* --- the scan ------------------------------------------------------------------------------ */

static void send_mark(struct link *l, uint32_t partitions, bool listed)
{
    size_t begun = frame_begin(&l->out);
    frame_put_u32(&l->out, partitions);
    frame_put_u16(&l->out, listed);
    frame_end(&l->out, begun, FRAME_DELTA_MARK);
}

static void send_end(struct link *l)
{
    struct node *n = l->node;
    size_t begun = frame_begin(&l->out);
    frame_put_u64(&l->out, n->forced_stamp);
    vector_encode(&n->dropped, &l->out);
    frame_end(&l->out, begun, FRAME_DELTA_END);
    if (!l->scan.scrub)
        l->digest_mono_ms = 0; /* caught up: now the digests tell whether that was all */
    link_scan_end(l);
}

/* Whether the receiver gave its digest of the partition, and it is another than ours. */
static bool digests_differ(const struct link *l, uint32_t partition)
{
    const struct link_scan *scan = &l->scan;
    size_t at = (size_t)(partition - scan->digests_first) * DIGEST_BYTES;
    if (partition < scan->digests_first || at >= buffer_size(&scan->digests))
        return false;
    return get_u64(buffer_bytes(&scan->digests).data + at) !=
           store_partition_digest(l->node->store, partition);
}

static bool has_something(const struct link *l, uint32_t partition)
{
    const struct link_scan *scan = &l->scan;
    return scan->list_all || digests_differ(l, partition) ||
           store_partition_stamp_max(l->node->store, partition) > scan->stamp_covered;
}

/* Opens the next partition that may hold something to send; or says how many were skipped. */
static void next_partition(struct link *l)
{
    struct link_scan *scan = &l->scan;
    uint32_t skipped = 0;
    while (scan->partition < scan->end && skipped < MARK_PARTITIONS_MAX &&
           !has_something(l, scan->partition)) {
        scan->partition++;
        skipped++;
    }
    if (scan->partition < scan->end && skipped < MARK_PARTITIONS_MAX) {
        scan->listing = scan->list_all || digests_differ(l, scan->partition);
        store_cursor_open(&scan->cursor, l->node->store, scan->partition);
        scan->cursor_open = true;
    } else {
        send_mark(l, scan->partition, false);
    }
}

static void list_record(struct link_scan *scan, const struct record *rec)
{
    struct list_entry e = {hash_key(rec->key), rec->origin, rec->stamp};
    buffer_append(&scan->list, bytes_of((const uint8_t *)&e, sizeof e));
}

/* Appends what the receiver lacks to the frame that was begun. Returns whether there is more. */
static bool scan_entries(struct link *l, size_t begun, uint32_t *entries)
{
    struct link_scan *scan = &l->scan;
    struct record rec;
    while (*entries < LINK_SCAN_ENTRIES && buffer_size(&l->out) - begun < LINK_FRAME_BYTES &&
           !buffer_failed(&l->out)) {
        if (!store_cursor_next(&scan->cursor, &rec))
            return false;
        (*entries)++;
        if (vector_covers(&scan->wanted, rec.origin, rec.stamp)) {
            if (scan->listing && !rec.tombstone)
                list_record(scan, &rec);
            continue;
        }
        uint8_t *at = buffer_reserve(&l->out, record_bytes(&rec));
        if (at == NULL)
            return true; /* the link fails */
        record_encode(&rec, at);
        buffer_added(&l->out, record_bytes(&rec));
    }
    return true;
}

static void send_list(struct link *l)
{
    struct link_scan *scan = &l->scan;
    const size_t most = LINK_FRAME_BYTES / sizeof(struct list_entry) * sizeof(struct list_entry);
    if (buffer_failed(&scan->list)) {
        link_fail(l, "out of memory");
        return;
    }
    struct bytes rest = buffer_bytes(&scan->list);
    while (rest.size > 0) {
        struct bytes part = bytes_of(rest.data, rest.size < most ? rest.size : most);
        size_t begun = frame_begin(&l->out);
        buffer_append(&l->out, part);
        frame_end(&l->out, begun, FRAME_DELTA_LIST);
        rest = bytes_after(rest, part.size);
    }
    buffer_truncate(&scan->list, 0);
}

void link_scan_step(struct link *l, uint32_t *entries)
{
    struct link_scan *scan = &l->scan;
    if (!scan->cursor_open) {
        if (scan->partition == scan->end)
            send_end(l);
        else
            next_partition(l);
        /* So that skipping takes turns too: the receiver may have to look at what is skipped here. */
        *entries += MARK_PARTITIONS_MAX;
        return;
    }
    size_t begun = frame_begin(&l->out);
    bool more = scan_entries(l, begun, entries);
    if (buffer_size(&l->out) - begun > FRAME_HEADER_BYTES)
        frame_end(&l->out, begun, FRAME_DELTA_RECORDS);
    else
        frame_cancel(&l->out, begun);
    if (more)
        return;
    store_cursor_close(&scan->cursor);
    scan->cursor_open = false;
    scan->partition++;
    send_list(l);
    /* What is said before a link ends is believed: no mark without the list. */
    if (l->state != LINK_CLOSED)
        send_mark(l, scan->partition, scan->listing);
}
