/* Receiving a delta: asking, merging, checking, and what is known when all of it has come. */
#include "link_internal.h"

#include "kv/check.h"
#include "kv/mutation.h"

#include <inttypes.h>

void link_delta_init(struct link *l)
{
    struct link_delta *d = &l->delta;
    struct heap *heap = l->node->heap;
    *d = (struct link_delta){0};
    vector_init(&d->asked, heap);
    vector_init(&d->vector, heap);
    vector_init(&d->dropped, heap);
    buffer_init(&d->seen, heap);
}

void link_delta_close(struct link *l)
{
    struct link_delta *d = &l->delta;
    link_check_end(l);
    vector_close(&d->asked);
    vector_close(&d->vector);
    vector_close(&d->dropped);
    buffer_close(&d->seen);
}

/* --- asking -------------------------------------------------------------------------------- */

static void put_digests(struct link *l, uint32_t first, uint32_t groups)
{
    uint32_t end = (first + groups) * STORE_GROUP_PARTITIONS;
    for (uint32_t p = first * STORE_GROUP_PARTITIONS; p < end; p++)
        frame_put_u64(&l->out, store_partition_digest(l->node->store, p));
}

static void send_request(struct link *l, uint32_t first, uint32_t groups)
{
    const struct node *n = l->node;
    bool empty = store_live_count(n->store) == 0;
    size_t begun = frame_begin(&l->out);
    frame_put_u16(&l->out, (uint16_t)((empty ? LINK_REQUEST_EMPTY : 0) |
                                      (l->delta.scrub ? LINK_REQUEST_SCRUB : 0)));
    frame_put_u16(&l->out, (uint16_t)first);
    frame_put_u16(&l->out, (uint16_t)groups);
    vector_encode(&l->delta.asked, &l->out);
    put_digests(l, first, groups);
    frame_end(&l->out, begun, FRAME_DELTA_REQUEST);
}

void link_delta_ask(struct link *l, uint64_t mono_ms, bool scrub, uint32_t first, uint32_t groups)
{
    struct node *n = l->node;
    struct link_delta *d = &l->delta;
    CHECK(n->delta == NULL || n->delta == l);
    link_delta_close(l);
    link_delta_init(l);
    d->scrub = scrub;
    d->mono_ms = mono_ms;
    d->first = scrub ? first * STORE_GROUP_PARTITIONS : 0;
    d->end = scrub ? (first + groups) * STORE_GROUP_PARTITIONS : STORE_PARTITIONS;
    d->partitions = d->first;
    /* As if it had nothing: then all of the group comes. */
    d->whole = scrub && l->scrub.whole;
    if (!d->whole && vector_copy(&d->asked, &n->vector) != 0) {
        link_fail(l, LINK_VECTOR_FULL);
        return;
    }
    n->delta = l;
    send_request(l, first, groups);
}

void link_on_digests_wanted(struct link *l, struct moment now, struct frame_reader *payload)
{
    (void)payload;
    if (l->node->delta != l || l->delta.begun || l->delta.scrub) {
        link_fail(l, "it asked for digests without a delta to send");
        return;
    }
    link_delta_ask(l, now.mono_ms, false, 0, STORE_GROUPS);
}

/* --- what comes ---------------------------------------------------------------------------- */

static bool delta_expected(struct link *l, struct moment now, bool begun)
{
    l->delta.mono_ms = now.mono_ms;
    if (l->node->delta == l && l->delta.begun == begun)
        return true;
    link_fail(l, "it sent a delta that was not asked for");
    return false;
}

void link_on_delta_begin(struct link *l, struct moment now, struct frame_reader *payload)
{
    struct link_delta *d = &l->delta;
    if (!delta_expected(l, now, false))
        return;
    uint16_t flags = frame_read_u16(payload);
    if (!link_read_vector(l, payload, &d->vector) || !link_vector_fits(l, now, &d->vector))
        return;
    d->begun = true;
    d->checked = (flags & LINK_BEGIN_CHECKED) != 0;
    d->behind = (flags & LINK_BEGIN_BEHIND) != 0;
    d->covered_stamp = vector_covered_stamp(&d->vector, &d->asked);
}

void link_on_delta_records(struct link *l, struct moment now, struct frame_reader *payload)
{
    uint64_t before = l->node->counters.records_received;
    if (delta_expected(l, now, true) && link_merge_records(l, now, payload->rest, NULL))
        l->delta.records += l->node->counters.records_received - before;
}

void link_on_delta_list(struct link *l, struct moment now, struct frame_reader *payload)
{
    struct link_delta *d = &l->delta;
    if (!delta_expected(l, now, true))
        return;
    size_t size = payload->rest.size, entry = sizeof(struct list_entry);
    if (size % entry != 0) {
        payload->failed = true;
    } else if (buffer_size(&d->seen) + size > LINK_LIST_ENTRIES_MAX * entry) {
        link_fail(l, "it sent a list of more than %u keys for one partition",
                  LINK_LIST_ENTRIES_MAX);
    } else {
        buffer_append(&d->seen, payload->rest);
        d->entries += size / entry;
    }
}

/* --- checks -------------------------------------------------------------------------------- */

bool link_delta_has_work(const struct link *l)
{
    return l->node->delta == l && l->delta.check_next < l->delta.check_end &&
           l->state != LINK_CLOSED;
}

void link_delta_work(struct link *l)
{
    struct link_delta *d = &l->delta;
    while (link_delta_has_work(l) && d->looked_at < LINK_SCAN_ENTRIES) {
        uint32_t p = d->check_next;
        bool last = p + 1 == d->check_end;
        bool listed = last && d->check_listed;
        bool shown = last && buffer_size(&d->seen) > 0;
        bool late = shown || store_partition_stamp_max(l->node->store, p) > d->covered_stamp;
        bool checked = listed || (late && !MUTATED(LATE_UNCHECKED));
        if (checked && !link_check_partition(l, p, listed))
            return;
        d->check_next++;
        if (last)
            buffer_truncate(&d->seen, 0);
    }
}

static void complete_delta(struct link *l)
{
    struct node *n = l->node;
    struct link_delta *d = &l->delta;
    n->delta = NULL;
    l->ahead_mono_ms = 0;
    if (d->deleted > 0)
        notice_add(&n->notices, NOTICE_INFO,
                   "compared with %s: %" PRIu64 " keys had been deleted meanwhile", l->member->name,
                   d->deleted);
    if (d->diverged > 0)
        notice_add(&n->notices, NOTICE_WARN,
                   "%" PRIu64 " records differed from %s's without a reason, and were repaired: "
                   "a disk, memory or this program has a fault",
                   d->diverged, l->member->name);
    if (n->forced_stamp < d->forced_stamp)
        n->forced_stamp = d->forced_stamp;
    if (d->scrub) {
        uint64_t brought = d->records + d->entries;
        l->scrub.budget -= brought < l->scrub.budget ? brought : l->scrub.budget;
        return;
    }
    const struct vector *promised = MUTATED(DELTA_VECTOR_LATE) ? &l->vector : &d->vector;
    /* In this order: without memory, better to know of drops that one has not inherited yet. */
    if ((!MUTATED(DROPPED_NOT_INHERITED) && vector_merge(&n->dropped, &d->dropped) != 0) ||
        vector_merge(&n->vector, promised) != 0) {
        link_fail(l, LINK_VECTOR_FULL);
        return;
    }
    link_close_gap(l);
    if (n->refilling) {
        n->refilling = false;
        notice_add(&n->notices, NOTICE_INFO,
                   "refilled by %s after the damage to the disk: clients are served",
                   l->member->name);
    }
    n->counters.deltas_received++;
    n->counters.comparisons_received += d->listed;
    if (d->records > 0)
        notice_add(&n->notices, NOTICE_INFO, "caught up from %s: %" PRIu64 " records",
                   l->member->name, d->records);
}

static void finish(struct link *l, struct moment now)
{
    bool scrub = l->delta.scrub;
    complete_delta(l);
    if (l->state == LINK_CLOSED)
        return;
    if (!scrub)
        link_send_heartbeat(l, now);
    /* What others lack comes first. */
    link_consider_all(l->node, now);
    link_scrub_next(l, now.mono_ms);
}

void link_on_delta_mark(struct link *l, struct moment now, struct frame_reader *payload)
{
    struct link_delta *d = &l->delta;
    uint32_t partitions = frame_read_u32(payload), from = d->partitions;
    uint16_t listed = frame_read_u16(payload);
    if (payload->failed || !delta_expected(l, now, true))
        return;
    if (partitions <= from || partitions > d->end) {
        payload->failed = true;
        return;
    }
    /* From here on, what arrives late by another link is judged by the sender's vector. */
    d->partitions = partitions;
    if (buffer_failed(&d->seen)) {
        link_fail(l, "out of memory");
    } else if (d->checked || listed != 0) {
        d->check_next = from;
        d->check_end = partitions;
        d->check_listed = listed != 0;
        d->listed = d->listed || listed != 0;
        link_check_sort(l);
        link_delta_work(l);
    } else {
        buffer_truncate(&d->seen, 0);
    }
}

void link_on_delta_end(struct link *l, struct moment now, struct frame_reader *payload)
{
    struct link_delta *d = &l->delta;
    uint64_t forced_stamp = frame_read_u64(payload);
    if (payload->failed || !delta_expected(l, now, true))
        return;
    if (d->partitions != d->end || forced_stamp > STAMP_MAX) {
        payload->failed = true;
        return;
    }
    if (!link_read_vector(l, payload, &d->dropped) || !link_vector_fits(l, now, &d->dropped) ||
        !link_stamp_fits(l, now, forced_stamp))
        return;
    d->forced_stamp = forced_stamp;
    finish(l, now);
}
