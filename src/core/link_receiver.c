/* The accepting side: decides how each gap is closed, and merges what arrives. */
#include "link_internal.h"

#include "kv/check.h"
#include "kv/hash.h"
#include "kv/mutation.h"
#include "kv/segment.h"

#include <errno.h>

/* --- how to close a gap -------------------------------------------------------------------- */

/* The link on which that origin's own stream flows to this node without a gap before it, or NULL. */
static const struct link *stream_of(const struct node *n, uint64_t origin)
{
    list_for_each (item, &n->links) {
        const struct link *l = container_of(item, struct link, all);
        if (l->role == LINK_RECEIVER && l->state == LINK_LIVE && l->origin == origin &&
            !l->gap_open)
            return l;
    }
    return NULL;
}

/* Whether the sender's stream from its ring closes all that is open between the two. It does not
 * if the sender knows of more than its own stream brings: those records, or a delete among them
 * that nobody holds any more, might beat what the ring still has. Nor does it after damage to this
 * node's disk: then everything has to be compared. */
static bool stream_suffices(const struct link *l)
{
    const struct node *n = l->node;
    if (vector_get(&n->vector, l->origin) < l->floor || n->refilling)
        return false;
    if (MUTATED(STREAM_ALWAYS))
        return true;
    for (uint32_t i = 0; i < l->vector.count; i++) {
        const struct vector_entry *e = &l->vector.entries[i];
        if (e->origin != l->origin && !vector_covers(&n->vector, e->origin, e->stamp) &&
            stream_of(n, e->origin) == NULL)
            return false;
    }
    return true;
}

static void ask_for_stream(struct link *l)
{
    size_t begun = frame_begin(&l->out);
    frame_put_u64(&l->out, vector_get(&l->node->vector, l->origin));
    frame_end(&l->out, begun, FRAME_STREAM);
    l->state = LINK_LIVE;
    l->gap_open = false;
}

static void open_gap(struct link *l)
{
    l->gap_open = true;
    l->pending_after = l->pending_through = 0;
}

static void ask_for_delta(struct link *l, struct moment now)
{
    l->delta_wanted = false;
    link_delta_ask(l, now.mono_ms, false, 0, 0);
    if (l->state == LINK_HOLD) {
        l->state = LINK_LIVE;
        open_gap(l);
    }
}

static void consider(struct link *l, struct moment now)
{
    struct node *n = l->node;
    if (l->state == LINK_HOLD && n->delta != l) {
        l->delta_wanted = !stream_suffices(l);
        if (!l->delta_wanted)
            ask_for_stream(l);
    }
    /* One at a time, with the vector as it is then: nothing is sent twice. */
    if (l->delta_wanted && n->delta == NULL)
        ask_for_delta(l, now);
}

void link_consider_all(struct node *n, struct moment now)
{
    list_for_each (item, &n->links) {
        struct link *l = container_of(item, struct link, all);
        if (l->role == LINK_RECEIVER && (l->state == LINK_HOLD || l->state == LINK_LIVE))
            consider(l, now);
    }
}

/* Whether something that was open when it was noted is open still and not on its way. */
static bool still_ahead(const struct link *l)
{
    const struct node *n = l->node;
    for (uint32_t i = 0; i < l->ahead_theirs.count; i++) {
        const struct vector_entry *e = &l->ahead_theirs.entries[i];
        uint64_t now_here = vector_get(&n->vector, e->origin);
        const struct link *stream = stream_of(n, e->origin);
        /* A frame that is arriving counts too: a large one on a slow link takes its time. */
        bool moves = stream != NULL && (now_here > vector_get(&l->ahead_ours, e->origin) ||
                                        buffer_size(&stream->in) > 0);
        if ((now_here < e->stamp && !moves) || MUTATED(ALWAYS_BEHIND))
            return true;
    }
    return false;
}

void link_receiver_tick(struct link *l, struct moment now)
{
    struct node *n = l->node;
    if (n->delta == l && !link_delta_has_work(l) && now.mono_ms - l->delta.mono_ms >= LINK_DELTA_MS)
        link_fail(l, "the delta that was asked for brought nothing for %u ms", LINK_DELTA_MS);
    link_scrub_next(l, now.mono_ms);
    if (l->state != LINK_LIVE || n->delta == l || l->delta_wanted)
        return;
    if (l->ahead_mono_ms != 0) {
        if (now.mono_ms - l->ahead_mono_ms < LINK_AHEAD_MS)
            return;
        l->ahead_mono_ms = 0;
        l->delta_wanted = still_ahead(l);
        if (l->delta_wanted)
            return;
    }
    if (vector_covers_vector(&n->vector, &l->vector))
        return;
    if (vector_copy(&l->ahead_theirs, &l->vector) != 0 ||
        vector_copy(&l->ahead_ours, &n->vector) != 0)
        return; /* out of memory: noted at a later tick */
    l->ahead_mono_ms = now.mono_ms;
}

void link_on_gap(struct link *l, struct moment now, struct frame_reader *payload)
{
    l->floor = frame_read_u64(payload);
    open_gap(l);
    /* A delta that was asked for meanwhile closes this gap too. One that has begun does not: its
     * sender's vector is from before. */
    if (l->node->delta == l && !l->delta.begun && !l->delta.scrub)
        return;
    l->state = LINK_HOLD;
    link_consider_all(l->node, now);
}

/* --- the live stream ----------------------------------------------------------------------- */

static void note_seen(struct link *l, const struct record *rec)
{
    struct list_entry e = {hash_key(rec->key), rec->origin, rec->stamp};
    if (buffer_size(&l->delta.seen) < LINK_LIST_ENTRIES_MAX * sizeof e)
        buffer_append(&l->delta.seen, bytes_of((const uint8_t *)&e, sizeof e));
    else
        link_fail(l, "it sent more than %u records of one partition", LINK_LIST_ENTRIES_MAX);
}

void link_fail_merge(struct link *l, int error)
{
    if (error == -ENOSPC)
        link_fail(l, "the disk of %s takes no writes, and too many of its records wait for it",
                  l->node->config.name);
    else
        link_fail(l, "out of memory while merging its records");
}

/* Merges the records of a payload; those of the stream, if run is given, which they must be in. */
bool link_merge_records(struct link *l, struct moment now, struct bytes from,
                        const struct link_run *run)
{
    struct bytes keys[STORE_PREFETCH_MAX];
    struct record rec;
    bool repair = run == NULL && l->delta.whole;
    size_t ahead = 0;
    while (from.size > 0) {
        if (ahead == 0) {
            ahead = segment_keys(from, keys, STORE_PREFETCH_MAX);
            store_prefetch(l->node->store, keys, ahead);
        }
        ahead -= ahead > 0;
        int64_t size = record_decode(&rec, from);
        if (size <= 0) {
            link_fail(l, "a record arrived damaged");
            return false;
        }
        if (run != NULL &&
            (rec.origin != l->origin || rec.stamp <= run->after || rec.stamp > run->through)) {
            link_fail(l, "it sent a record that is not of its stream");
            return false;
        }
        if (!link_stamp_fits(l, now, rec.stamp))
            return false;
        int error = repair ? node_repair(l->node, &rec) : node_receive(l->node, &rec);
        if (error != 0) {
            link_fail_merge(l, error);
            return false;
        }
        if (run == NULL)
            note_seen(l, &rec);
        from = bytes_of(from.data + size, from.size - (size_t)size);
    }
    return true;
}

void link_on_records(struct link *l, struct moment now, struct frame_reader *payload)
{
    struct node *n = l->node;
    struct link_run run = {.after = frame_read_u64(payload), .through = 0};
    run.through = frame_read_u64(payload);
    if (run.through < run.after || run.through > STAMP_MAX)
        payload->failed = true;
    if (payload->failed || !link_stamp_fits(l, now, run.through) ||
        !link_merge_records(l, now, payload->rest, &run))
        return;
    uint64_t after = run.after, through = run.through;
    if (vector_get(&n->vector, l->origin) >= after || MUTATED(VECTOR_SKIPS_HOLES)) {
        if (vector_advance(&n->vector, l->origin, through) != 0)
            link_fail(l, LINK_VECTOR_FULL);
    } else if (l->gap_open && (l->pending_through == 0 || l->pending_through == after)) {
        /* It counts when the delta is complete. */
        l->pending_after = l->pending_through == 0 ? after : l->pending_after;
        l->pending_through = through;
    } else {
        link_fail(l, "its stream has a hole");
    }
    /* Its writes are also what it has merged itself. */
    if (vector_advance(&l->vector, l->origin, through) != 0)
        link_fail(l, LINK_VECTOR_FULL);
}

void link_on_ack_wanted(struct link *l, struct moment now, struct frame_reader *payload)
{
    (void)payload;
    /* What was told already is on its way. */
    if (!vector_covers_vector(&l->told, &l->node->vector))
        link_send_heartbeat(l, now);
}

void link_close_gap(struct link *l)
{
    struct node *n = l->node;
    if (l->state != LINK_LIVE || !l->gap_open)
        return;
    l->gap_open = false;
    /* The live records have to begin where the sender stood when the scan began. */
    if (vector_get(&n->vector, l->origin) < l->pending_after)
        link_fail(l, "its stream has a hole");
    else if (vector_advance(&n->vector, l->origin, l->pending_through) != 0)
        link_fail(l, LINK_VECTOR_FULL);
}
