/* The dialling side: pushes this node's own writes, and serves deltas (link_scan.c) between them. */
#include "link_internal.h"

#include "kv/mutation.h"

bool link_has_room(const struct link *l)
{
    bool room = buffer_size(&l->out) + l->unsent < LINK_OUTPUT_BYTES || MUTATED(LINK_UNBOUNDED);
    return room && !buffer_failed(&l->out);
}

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
    if (journal_overtaken(&n->journal, &l->reader) && MUTATED(GAP_UNTOLD))
        l->reader.position = n->journal.head;
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

void link_sender_tick(struct link *l, struct moment now)
{
    bool due = l->digest_mono_ms == 0 || now.mono_ms - l->digest_mono_ms >= LINK_DIGEST_MS;
    /* Whoever is still being caught up is told when that is done. */
    if (due && l->state == LINK_LIVE && !l->scan.active && !MUTATED(NO_SCRUB))
        link_send_digest(l, now);
}

void link_sender_fill(struct link *l)
{
    uint32_t scans = l->node->scans, entries = 0;
    bool more = true;
    if (scans > 1) /* they share what a turn may take */
        entries = LINK_SCAN_ENTRIES - LINK_SCAN_ENTRIES / scans;
    /* In turns: neither shall starve the other on a link that is always full. */
    while (more && link_has_room(l) && l->state != LINK_CLOSED) {
        more = stream_step(l);
        if (l->scan.active && entries < LINK_SCAN_ENTRIES && link_has_room(l)) {
            link_scan_step(l, &entries);
            more = true;
        }
    }
}
