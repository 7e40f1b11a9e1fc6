/* A link's frames, states and heartbeats. */
#include "link_internal.h"

#include "kv/check.h"

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
    {FRAME_REFUSED, BOTH, IN(LINK_HELLO) | IN(LINK_HOLD) | IN(LINK_LIVE), 4, 1024, link_on_refused},
    {FRAME_HEARTBEAT, BOTH, LINKED, 12, 8 + VECTOR_BYTES_MAX, on_heartbeat},
    {FRAME_MEMBERS, BOTH, LINKED, 2, 64u << 10, link_on_members},
    {FRAME_STREAM, TO_SENDER, IN(LINK_HOLD), 8, 8, link_on_stream},
    {FRAME_GAP, TO_RECEIVER, IN(LINK_LIVE), 8, 8, link_on_gap},
    {FRAME_RECORDS, TO_RECEIVER, IN(LINK_LIVE), FRAME_RECORDS_PREFIX_BYTES,
     FRAME_RECORDS_PREFIX_BYTES + LINK_FRAME_BYTES + RECORD_BYTES_MAX, link_on_records},
    {FRAME_ACK_WANTED, TO_RECEIVER, LINKED, 0, 0, link_on_ack_wanted},
    {FRAME_DELTA_REQUEST, TO_SENDER, LINKED, 4, VECTOR_BYTES_MAX, link_on_delta_request},
    {FRAME_DELTA_BEGIN, TO_RECEIVER, LINKED, 4, VECTOR_BYTES_MAX, link_on_delta_begin},
    {FRAME_DELTA_RECORDS, TO_RECEIVER, LINKED, RECORD_HEADER_BYTES,
     LINK_FRAME_BYTES + RECORD_BYTES_MAX, link_on_delta_records},
    {FRAME_DELTA_MARK, TO_RECEIVER, LINKED, 4, 4, link_on_delta_mark},
};

_Static_assert(2 + MEMBERS_MAX * (2 + MEMBER_NAME_BYTES + 2 + ADDRESS_HOST_BYTES + 2) <= 64u << 10,
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
                       .heard_mono_ms = now.mono_ms};
    snprintf(l->who, sizeof l->who, "%s", who);
    snprintf(l->host, sizeof l->host, "%s", host);
    buffer_init(&l->in, n->heap);
    buffer_init(&l->out, n->heap);
    vector_init(&l->vector, n->heap);
    vector_init(&l->told, n->heap);
    vector_init(&l->scan.wanted, n->heap);
    vector_init(&l->delta_vector, n->heap);
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
    vector_close(&l->scan.wanted);
    vector_close(&l->delta_vector);
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

static void handle_frame(struct link *l, struct moment now, const struct rule *rule,
                         struct bytes payload)
{
    struct frame_reader reader = {.rest = payload};
    if (l->member != NULL)
        l->member->contact_mono_ms = now.mono_ms;
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

void link_read(struct link *l, struct moment now, struct bytes bytes)
{
    if (l->state == LINK_CLOSED)
        return;
    l->node->counters.peer_bytes_received += bytes.size;
    /* Any byte counts: on a slow link one frame can take longer than the silence allowed. */
    l->heard_mono_ms = now.mono_ms;
    if (buffer_size(&l->in) > 0)
        l->delta_mono_ms = now.mono_ms;
    struct bytes joined = buffer_join(&l->in, bytes);
    size_t parsed = 0;
    while (l->state != LINK_CLOSED) {
        size_t taken = read_frame(l, now, bytes_after(joined, parsed));
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

/* --- heartbeats ---------------------------------------------------------------------------- */

/* Appends those entries of this node's vector that the other end was not told yet. */
static void put_vector_changes(struct link *l, struct buffer *out)
{
    const struct vector *ours = &l->node->vector;
    struct vector changes;
    vector_init(&changes, l->node->heap);
    for (uint32_t i = 0; i < ours->count; i++) {
        const struct vector_entry *e = &ours->entries[i];
        if (!vector_covers(&l->told, e->origin, e->stamp) &&
            vector_advance(&changes, e->origin, e->stamp) != 0)
            break; /* out of memory: the rest is told the next time */
    }
    vector_encode(&changes, out);
    if (vector_merge(&l->told, &changes) != 0)
        link_fail(l, LINK_VECTOR_FULL);
    vector_close(&changes);
}

void link_send_heartbeat(struct link *l, struct moment now)
{
    size_t begun = frame_begin(&l->out);
    frame_put_u64(&l->out, now.wall_ms);
    put_vector_changes(l, &l->out);
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
    }
    frame_end(&l->out, begun, FRAME_MEMBERS);
    l->members_told = members->generation;
}

static void on_heartbeat(struct link *l, struct moment now, struct frame_reader *payload)
{
    struct vector changes;
    uint64_t wall_ms = frame_read_u64(payload);
    vector_init(&changes, l->node->heap);
    if (vector_decode(&changes, payload->rest) < 0)
        payload->failed = true;
    else if (vector_merge(&l->vector, &changes) != 0 ||
             (!of_ended_run(l) && vector_merge(&l->member->confirmed, &changes) != 0))
        link_fail(l, LINK_VECTOR_FULL);
    vector_close(&changes);
    l->member->clock_difference_ms = (int64_t)(wall_ms - now.wall_ms);
    l->node->acks_arrived = true;
    if (l->role == LINK_SENDER)
        l->address->backoff_ms = 0;
    else
        link_consider_all(l->node, now);
}

void link_tick(struct link *l, struct moment now)
{
    if (l->state == LINK_CLOSED)
        return;
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
}

struct buffer *link_output(struct link *l)
{
    if (l->role == LINK_SENDER && (l->state == LINK_HOLD || l->state == LINK_LIVE))
        link_sender_fill(l);
    if (buffer_failed(&l->out))
        link_fail(l, "out of memory");
    return &l->out;
}

bool link_is_busy(const struct link *l)
{
    return l->role == LINK_SENDER && l->unsent == 0 && (l->scan.active || link_stream_has_more(l));
}

uint64_t link_queued_bytes(const struct link *l)
{
    uint64_t ring = l->role == LINK_SENDER && l->state == LINK_LIVE
                        ? l->node->journal.head - l->reader.position
                        : 0;
    return ring + buffer_size(&l->out) + l->unsent;
}

const char *link_state_name(const struct link *l)
{
    static const char *const names[] = {"hello", "hold", "live", "closed"};
    return l->scan.active ? "delta" : names[l->state];
}
