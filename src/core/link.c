/* A link's frames, states and heartbeats. */
#include "link_internal.h"

#include "kv/check.h"
#include "kv/mutation.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define IN(state)        (1u << (state))
#define VECTOR_BYTES_MAX (4u + 16u * VECTOR_ORIGINS_MAX)

/* Which frame may come to whom, in which states, and how large. Whatever is not here ends the link:
 * a peer that speaks garbage costs no more than a closed connection. */
struct rule {
    enum frame_type type;
    unsigned roles; /* by IN(role): who may get it */
    unsigned states; /* by IN(state) */
    size_t payload_min, payload_max;
    link_handler *handle;
};

static link_handler on_heartbeat;

#define BOTH        (IN(LINK_SENDER) | IN(LINK_RECEIVER))
#define TO_SENDER   IN(LINK_SENDER)
#define TO_RECEIVER IN(LINK_RECEIVER)
#define LINKED      (IN(LINK_HOLD) | IN(LINK_LIVE))

static const struct rule rules[] = {
    {FRAME_HELLO, BOTH, IN(LINK_HELLO), 2, 4096 + VECTOR_BYTES_MAX, link_on_hello},
    {FRAME_REFUSED, BOTH, IN(LINK_HELLO) | IN(LINK_HOLD) | IN(LINK_LIVE), 6, 1024, link_on_refused},
    {FRAME_HEARTBEAT, BOTH, LINKED, 16, 8 + 2 * VECTOR_BYTES_MAX, on_heartbeat},
    {FRAME_MEMBERS, BOTH, LINKED, 2, 64u << 10, link_on_members},
    {FRAME_STREAM, TO_SENDER, IN(LINK_HOLD), 8, 8, link_on_stream},
    {FRAME_GAP, TO_RECEIVER, IN(LINK_LIVE), 8, 8, link_on_gap},
    {FRAME_RECORDS, TO_RECEIVER, IN(LINK_LIVE), FRAME_RECORDS_PREFIX_BYTES,
     FRAME_RECORDS_PREFIX_BYTES + LINK_FRAME_BYTES + RECORD_BYTES_MAX, link_on_records},
    {FRAME_ACK_WANTED, TO_RECEIVER, LINKED, 0, 0, link_on_ack_wanted},
    {FRAME_DELTA_REQUEST, TO_SENDER, LINKED, 10, 6 + VECTOR_BYTES_MAX + 8 * STORE_PARTITIONS,
     link_on_delta_request},
    {FRAME_DELTA_BEGIN, TO_RECEIVER, LINKED, 6, 2 + VECTOR_BYTES_MAX, link_on_delta_begin},
    {FRAME_DELTA_RECORDS, TO_RECEIVER, LINKED, RECORD_HEADER_BYTES,
     LINK_FRAME_BYTES + RECORD_BYTES_MAX, link_on_delta_records},
    {FRAME_DELTA_LIST, TO_RECEIVER, LINKED, sizeof(struct list_entry), LINK_FRAME_BYTES,
     link_on_delta_list},
    {FRAME_DELTA_MARK, TO_RECEIVER, LINKED, 6, 6, link_on_delta_mark},
    {FRAME_DELTA_END, TO_RECEIVER, LINKED, 12, 8 + VECTOR_BYTES_MAX, link_on_delta_end},
    {FRAME_DIGESTS_WANTED, TO_RECEIVER, LINKED, 0, 0, link_on_digests_wanted},
    {FRAME_DIGEST, TO_RECEIVER, LINKED, 8 * STORE_GROUPS, 8 * STORE_GROUPS, link_on_digest},
};

_Static_assert(2 + MEMBERS_MAX * (2 + MEMBER_NAME_BYTES + 2 + ADDRESS_HOST_BYTES + 2 + 8) <=
                   64u << 10,
               "a MEMBERS frame holds all members");

static const struct rule *find_rule(const struct link *l, enum frame_type type)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const struct rule *r = &rules[i];
        if (r->type == type && (r->roles & IN(l->role)) != 0 && (r->states & IN(l->state)) != 0)
            return r;
    }
    return NULL;
}

void link_open(struct link *l, struct node *n, struct moment now, struct address *address,
               const char *who, const char *host)
{
    *l = (struct link){.node = n,
                       .role = address != NULL ? LINK_SENDER : LINK_RECEIVER,
                       .state = LINK_HELLO,
                       .address = address,
                       .now = now,
                       .heard_mono_ms = now.mono_ms};
    snprintf(l->who, sizeof l->who, "%s", who);
    snprintf(l->host, sizeof l->host, "%s", host);
    buffer_init(&l->in, n->heap);
    buffer_init(&l->out, n->heap);
    vector_init(&l->vector, n->heap);
    vector_init(&l->told, n->heap);
    vector_init(&l->told_durable, n->heap);
    vector_init(&l->scan.wanted, n->heap);
    vector_init(&l->scan.promised, n->heap);
    buffer_init(&l->scan.digests, n->heap);
    buffer_init(&l->scan.list, n->heap);
    link_delta_init(l);
    vector_init(&l->ahead_theirs, n->heap);
    vector_init(&l->ahead_ours, n->heap);
    list_push_back(&n->links, &l->all);
    if (address != NULL) {
        address->state = ADDRESS_LINKED;
        buffer_append(&l->out, bytes_of(FRAME_MAGIC, FRAME_MAGIC_BYTES));
        link_send_hello(l, now);
    }
}

static void leave_address(struct link *l, struct moment now)
{
    struct address *a = l->address;
    if (a->state == ADDRESS_SELF)
        return;
    a->refused = l->refused;
    address_failed(a, now.mono_ms, &l->node->random, l->reason);
}

static void say_goodbye(struct link *l)
{
    bool never_used = l->role == LINK_RECEIVER && !l->proven;
    if (l->member == NULL || l->reason[0] == 0 || l->refused || never_used)
        return;
    const char *what = l->role == LINK_SENDER ? "link to" : "link from";
    const char *next = l->role == LINK_SENDER ? "; dialling again" : "";
    notice_add(&l->node->notices, NOTICE_WARN, "%s %s at %s ended: %s%s", what, l->member->name,
               l->who, l->reason, next);
}

void link_close(struct link *l, struct moment now)
{
    struct node *n = l->node;
    say_goodbye(l);
    if (l->address != NULL)
        leave_address(l, now);
    if (n->delta == l)
        n->delta = NULL;
    if (l->member != NULL && l->member->sender == l)
        l->member->sender = NULL;
    if (l->member != NULL && l->member->receiver == l)
        l->member->receiver = NULL;
    link_scan_end(l);
    list_remove(&l->all);
    buffer_close(&l->in);
    buffer_close(&l->out);
    vector_close(&l->vector);
    vector_close(&l->told);
    vector_close(&l->told_durable);
    vector_close(&l->scan.wanted);
    vector_close(&l->scan.promised);
    link_delta_close(l);
    vector_close(&l->ahead_theirs);
    vector_close(&l->ahead_ours);
}

void link_fail(struct link *l, const char *reason, ...)
{
    if (l->state == LINK_CLOSED)
        return;
    va_list arguments;
    va_start(arguments, reason);
    vsnprintf(l->reason, sizeof l->reason, reason, arguments);
    va_end(arguments);
    /* It may quote what the other end sent, and goes into PEERS, where a line is a line. */
    for (char *c = l->reason; *c != 0; c++) {
        if ((unsigned char)*c < ' ')
            *c = '?';
    }
    l->state = LINK_CLOSED;
}

bool link_is_finished(const struct link *l)
{
    return l->state == LINK_CLOSED &&
           (!l->finishing || (buffer_size(&l->out) == 0 && l->unsent == 0));
}

/* Whether the member has come back as another run since this link was made. */
static bool of_ended_run(const struct link *l)
{
    return l->origin != l->member->origin;
}

/* A second link from the same run takes the place of the first only when it has shown that it is
 * meant: a peer that dialled us twice by two addresses drops one of them after the handshake. */
static void prove(struct link *l)
{
    if (l->role != LINK_RECEIVER || l->proven || l->member == NULL || of_ended_run(l))
        return;
    l->proven = true;
    if (l->member->receiver != NULL && l->member->receiver != l)
        link_fail(l->member->receiver, "%s", "");
    l->member->receiver = l;
}

static void note_contact(struct member *m, struct moment now)
{
    m->contact_mono_ms = now.mono_ms;
    m->contact_wall_ms = now.wall_ms;
}

static void handle_frame(struct link *l, struct moment now, const struct rule *rule,
                         struct bytes payload)
{
    struct frame_reader reader = {.rest = payload};
    if (l->member != NULL)
        note_contact(l->member, now);
    prove(l);
    rule->handle(l, now, &reader);
    if (reader.failed && l->state != LINK_CLOSED)
        link_fail(l, "malformed frame of type %u", (unsigned)rule->type);
}

/* Handles the frame at the front of `from`. Returns the bytes it took, 0 for more needed or for a
 * link that has failed. */
static size_t read_frame(struct link *l, struct moment now, struct bytes from)
{
    struct frame frame;
    int found = frame_header(from, &frame);
    if (found == 0)
        return 0;
    const struct rule *rule = found < 0 ? NULL : find_rule(l, frame.type);
    if (found < 0) {
        link_fail(l, "it sent bytes that are no frame");
    } else if (rule == NULL) {
        link_fail(l, "it sent a frame of type %u out of place", (unsigned)frame.type);
    } else if (frame.payload_bytes < rule->payload_min || frame.payload_bytes > rule->payload_max) {
        link_fail(l, "it sent a frame of type %u with %zu bytes; %zu to %zu are allowed",
                  (unsigned)frame.type, frame.payload_bytes, rule->payload_min, rule->payload_max);
    } else {
        size_t size = FRAME_HEADER_BYTES + frame.payload_bytes;
        if (from.size < size)
            return 0;
        if (frame_is_intact(from, &frame)) {
            handle_frame(l, now, rule,
                         bytes_of(from.data + FRAME_HEADER_BYTES, frame.payload_bytes));
            return size;
        }
        link_fail(l, "a frame of type %u arrived damaged", (unsigned)frame.type);
    }
    return 0;
}

/* Handles the frames there are, until one of them leaves something to be done first. */
static void read_frames(struct link *l, struct bytes bytes)
{
    struct bytes joined = buffer_join(&l->in, bytes);
    size_t parsed = 0;
    while (l->state != LINK_CLOSED && !link_delta_has_work(l)) {
        size_t taken = read_frame(l, l->now, bytes_after(joined, parsed));
        if (taken == 0)
            break;
        parsed += taken;
    }
    buffer_keep_rest(&l->in, joined, parsed);
    if (l->role == LINK_RECEIVER && buffer_size(&l->out) + l->unsent > LINK_UNREAD_BYTES_MAX)
        link_fail(l, "it does not read the answers to what it sends");
    if (buffer_failed(&l->in) || buffer_failed(&l->out))
        link_fail(l, "out of memory");
}

void link_read(struct link *l, struct moment now, struct bytes bytes)
{
    if (l->state == LINK_CLOSED)
        return;
    l->now = now;
    l->node->counters.peer_bytes_received += bytes.size;
    /* Any byte counts: on a slow link one frame can take longer than the silence allowed. */
    l->heard_mono_ms = now.mono_ms;
    if (buffer_size(&l->in) > 0)
        l->delta.mono_ms = now.mono_ms;
    read_frames(l, bytes);
}

bool link_wants_input(const struct link *l)
{
    return !link_delta_has_work(l) || buffer_size(&l->in) < LINK_INPUT_BYTES;
}

/* Goes on with what had to be done first, and then with the frames that waited for it. */
static void resume(struct link *l)
{
    l->delta.looked_at = 0;
    if (!link_delta_has_work(l))
        return;
    l->heard_mono_ms = l->delta.mono_ms = l->now.mono_ms;
    link_delta_work(l);
    if (!link_delta_has_work(l) && buffer_size(&l->in) > 0)
        read_frames(l, bytes_of(NULL, 0));
}

/* --- heartbeats ---------------------------------------------------------------------------- */

bool link_stamp_fits(struct link *l, struct moment now, uint64_t stamp)
{
    uint64_t wall_ms = stamp_wall_ms(stamp);
    if (wall_ms <= now.wall_ms + l->node->config.max_clock_drift_ms || MUTATED(NO_CLOCK_FENCE))
        return true;
    link_refuse_clock(l, now, wall_ms - now.wall_ms);
    return false;
}

bool link_read_vector(struct link *l, struct frame_reader *payload, struct vector *v)
{
    int64_t size = payload->failed ? -EBADMSG : vector_decode(v, payload->rest);
    if (size >= 0)
        payload->rest = bytes_after(payload->rest, (size_t)size);
    else if (size == -EBADMSG)
        payload->failed = true;
    else
        link_fail(l, "out of memory");
    return size >= 0;
}

bool link_vector_fits(struct link *l, struct moment now, const struct vector *v)
{
    uint64_t greatest = 0;
    for (uint32_t i = 0; i < v->count; i++)
        greatest = v->entries[i].stamp > greatest ? v->entries[i].stamp : greatest;
    return link_stamp_fits(l, now, greatest);
}

/* Appends those entries of a vector of this node's that the other end was not told yet. */
static void put_changes(struct link *l, const struct vector *ours, struct vector *told,
                        struct buffer *out)
{
    struct vector changes;
    vector_init(&changes, l->node->heap);
    for (uint32_t i = 0; i < ours->count; i++) {
        const struct vector_entry *e = &ours->entries[i];
        if (!vector_covers(told, e->origin, e->stamp) &&
            vector_advance(&changes, e->origin, e->stamp) != 0)
            break; /* out of memory: the rest is told the next time */
    }
    vector_encode(&changes, out);
    if (vector_merge(told, &changes) != 0)
        link_fail(l, LINK_VECTOR_FULL);
    vector_close(&changes);
}

void link_send_heartbeat(struct link *l, struct moment now)
{
    size_t begun = frame_begin(&l->out);
    frame_put_u64(&l->out, now.wall_ms);
    put_changes(l, &l->node->vector, &l->told, &l->out);
    put_changes(l, &l->node->durable, &l->told_durable, &l->out);
    frame_end(&l->out, begun, FRAME_HEARTBEAT);
}

void link_send_members(struct link *l)
{
    const struct members *members = &l->node->members;
    size_t begun = frame_begin(&l->out);
    frame_put_u16(&l->out, (uint16_t)members->count);
    for (uint32_t i = 0; i < members->count; i++) {
        const struct member *m = members->list[i];
        frame_put_text(&l->out, bytes_text(m->name));
        frame_put_text(&l->out, bytes_text(m->host));
        frame_put_u16(&l->out, m->port);
        frame_put_u64(&l->out, m->forgotten_ms);
    }
    frame_end(&l->out, begun, FRAME_MEMBERS);
    l->members_told = members->generation;
}

/* Reads changes of a vector and merges them into both, where given. */
static bool take_changes(struct link *l, struct moment now, struct frame_reader *payload,
                         struct vector *into, struct vector *also)
{
    struct vector changes;
    vector_init(&changes, l->node->heap);
    bool read = link_read_vector(l, payload, &changes);
    if (read && link_vector_fits(l, now, &changes) &&
        ((into != NULL && vector_merge(into, &changes) != 0) ||
         (also != NULL && vector_merge(also, &changes) != 0)))
        link_fail(l, LINK_VECTOR_FULL);
    vector_close(&changes);
    return read && l->state != LINK_CLOSED;
}

static void on_heartbeat(struct link *l, struct moment now, struct frame_reader *payload)
{
    uint64_t wall_ms = frame_read_u64(payload);
    l->member->clock_difference_ms = (int64_t)(wall_ms - now.wall_ms);
    /* On its way it can only fall behind: a clock that is ahead here is ahead. One that is behind
     * finds so itself. */
    if (!link_stamp_fits(l, now, stamp_of_wall(wall_ms)))
        return;
    struct vector *confirmed = of_ended_run(l) ? NULL : &l->member->confirmed;
    struct vector *durable = of_ended_run(l) ? NULL : &l->member->durable;
    if (!take_changes(l, now, payload, &l->vector, confirmed) ||
        !take_changes(l, now, payload, NULL, durable))
        return;
    l->node->acks_arrived = true;
    if (l->role == LINK_SENDER)
        l->address->backoff_ms = 0;
    else
        link_consider_all(l->node, now);
}

void link_tick(struct link *l, struct moment now)
{
    l->now = now;
    if (l->state == LINK_CLOSED) {
        /* Last words are not waited for without end. */
        l->finishing = l->finishing && now.mono_ms - l->heard_mono_ms < LINK_SILENCE_MS;
        return;
    }
    if (now.mono_ms - l->heard_mono_ms >= LINK_SILENCE_MS) {
        link_fail(l,
                  l->state == LINK_HELLO ? "no answer to the handshake for %u ms"
                                         : "nothing was heard for %u ms",
                  LINK_SILENCE_MS);
        return;
    }
    if (l->state == LINK_HELLO)
        return;
    if (l->members_told != l->node->members.generation)
        link_send_members(l);
    if (l->role == LINK_RECEIVER)
        link_receiver_tick(l, now);
    else
        link_sender_tick(l, now);
}

struct buffer *link_output(struct link *l)
{
    if (l->role == LINK_SENDER && (l->state == LINK_HOLD || l->state == LINK_LIVE))
        link_sender_fill(l);
    else if (l->role == LINK_RECEIVER)
        resume(l);
    if (buffer_failed(&l->out)) {
        link_fail(l, "out of memory");
        buffer_close(&l->out); /* half a frame would look like a fault of this node */
    }
    return &l->out;
}

bool link_is_busy(const struct link *l)
{
    if (l->role == LINK_RECEIVER)
        return l->unsent == 0 && link_delta_has_work(l);
    return l->unsent == 0 && (l->scan.active || link_stream_has_more(l));
}

uint64_t link_queued_bytes(const struct link *l)
{
    const struct journal *j = &l->node->journal;
    bool streams = l->role == LINK_SENDER && l->state == LINK_LIVE;
    uint64_t ring = streams ? j->head - l->reader.position : 0;
    if (ring > journal_bytes(j))
        ring = journal_bytes(j); /* the rest is overwritten: the store will bring it */
    return ring + buffer_size(&l->out) + l->unsent;
}

const char *link_state_name(const struct link *l)
{
    static const char *const names[] = {"hello", "hold", "live", "closed"};
    return l->scan.active ? "delta" : names[l->state];
}
