/* Who is there, and whether the two may link. */
#include "link_internal.h"

#include "kv/mutation.h"

#include <inttypes.h>
#include <stdio.h>

/* Why a node refuses another; the number goes over the wire. */
enum refusal {
    REFUSED_VERSION = 1,
    REFUSED_CLUSTER = 2,
    REFUSED_NAME = 3,
    REFUSED_SELF = 4, /* not a fault: all nodes may share one list of peers */
    REFUSED_FULL = 5,
    REFUSED_CLOCK = 6
};

/* Of the other end's reason; the rest of the text says who it was. */
#define REASON_SHOWN_BYTES 180u

/* HELLO's flags. */
#define HELLO_KEEPS_DISK 1u

/* The same refusal is logged again only after this long. */
#define REFUSAL_QUIET_MS 60000u

struct hello {
    uint16_t version, flags;
    uint64_t origin, wall_ms, floor;
    struct bytes cluster, name, host; /* borrowed from the payload */
    uint16_t port;
};

void link_send_hello(struct link *l, struct moment now)
{
    struct node *n = l->node;
    size_t begun = frame_begin(&l->out);
    frame_put_u16(&l->out, FRAME_PROTOCOL_VERSION);
    frame_put_u16(&l->out, n->config.keeps_disk ? HELLO_KEEPS_DISK : 0);
    frame_put_u64(&l->out, n->config.origin);
    frame_put_u64(&l->out, now.wall_ms);
    frame_put_u64(&l->out, journal_floor(&n->journal));
    frame_put_text(&l->out, bytes_text(n->config.cluster));
    frame_put_text(&l->out, bytes_text(n->config.name));
    frame_put_text(&l->out, bytes_text(n->config.advertise_host));
    frame_put_u16(&l->out, n->config.advertise_port);
    vector_encode(&n->vector, &l->out);
    frame_end(&l->out, begun, FRAME_HELLO);
    if (vector_copy(&l->told, &n->vector) != 0)
        link_fail(l, LINK_VECTOR_FULL);
}

static bool name_is_valid(struct bytes name)
{
    if (name.size < 1 || name.size > MEMBER_NAME_BYTES)
        return false;
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] <= ' ' || name.data[i] > '~' || name.data[i] == '=')
            return false;
    }
    return true;
}

/* Names go into logs and into PEERS: what has a byte that could confuse those is malformed. */
static bool host_is_valid(struct bytes host)
{
    if (host.size > ADDRESS_HOST_BYTES)
        return false;
    for (size_t i = 0; i < host.size; i++) {
        if (host.data[i] <= ' ' || host.data[i] > '~')
            return false;
    }
    return true;
}

/* False when malformed. With another protocol version only the version is read. */
static bool read_hello(struct link *l, struct frame_reader *payload, struct hello *h)
{
    *h = (struct hello){.version = frame_read_u16(payload)};
    if (h->version != FRAME_PROTOCOL_VERSION)
        return !payload->failed;
    h->flags = frame_read_u16(payload);
    h->origin = frame_read_u64(payload);
    h->wall_ms = frame_read_u64(payload);
    h->floor = frame_read_u64(payload);
    h->cluster = frame_read_text(payload);
    h->name = frame_read_text(payload);
    h->host = frame_read_text(payload);
    h->port = frame_read_u16(payload);
    if (payload->failed || h->origin == 0 || !name_is_valid(h->name) ||
        !name_is_valid(h->cluster) || !host_is_valid(h->host))
        return false;
    return link_read_vector(l, payload, &l->vector);
}

/* The same words serve both ends' logs: so they name both. Seconds, so that one reason stays one and
 * is not logged again and again. */
static void clock_reason(const struct link *l, struct bytes name, uint64_t ahead_ms, char *reason)
{
    const struct node *n = l->node;
    snprintf(reason, LINK_REASON_BYTES,
             "the clock of %.*s, or a stamp it sent, is about %" PRIu64 " s ahead of %s's; "
             "at most %" PRIu64 " ms are allowed (--max-clock-drift)",
             (int)name.size, (const char *)name.data, (ahead_ms + 500) / 1000, n->config.name,
             n->config.max_clock_drift_ms);
}

/* How far its clock, or a stamp in its vector, is ahead of this node's clock; 0 = it is not. */
static uint64_t clock_ahead_ms(const struct link *l, const struct hello *h, struct moment now)
{
    uint64_t latest = h->wall_ms;
    for (uint32_t i = 0; i < l->vector.count; i++) {
        uint64_t wall_ms = stamp_wall_ms(l->vector.entries[i].stamp);
        latest = wall_ms > latest ? wall_ms : latest;
    }
    return latest > now.wall_ms ? latest - now.wall_ms : 0;
}

/* Why the other end may not link, 0 when it may. */
static enum refusal judge(const struct link *l, const struct hello *h, struct moment now,
                          char *reason)
{
    const struct node *n = l->node;
    const size_t size = LINK_REASON_BYTES;
    if (h->version != FRAME_PROTOCOL_VERSION) {
        snprintf(reason, size, "peer protocol version %u, this node speaks %u", h->version,
                 FRAME_PROTOCOL_VERSION);
        return REFUSED_VERSION;
    }
    if (!bytes_equal(h->cluster, bytes_text(n->config.cluster))) {
        snprintf(reason, size, "cluster name '%.*s', this node is of cluster '%s'",
                 (int)h->cluster.size, (const char *)h->cluster.data, n->config.cluster);
        return REFUSED_CLUSTER;
    }
    if (h->origin == n->config.origin)
        return REFUSED_SELF;
    const struct member *m = members_find(&n->members, h->name);
    bool alive = m != NULL && (m->sender != NULL || m->receiver != NULL);
    if (bytes_equal(h->name, bytes_text(n->config.name)) || (alive && m->origin != h->origin)) {
        snprintf(reason, size, "name '%.*s' is in use by another live node; --name gives another",
                 (int)h->name.size, (const char *)h->name.data);
        return REFUSED_NAME;
    }
    uint64_t ahead_ms = clock_ahead_ms(l, h, now);
    if (ahead_ms > n->config.max_clock_drift_ms && !MUTATED(NO_CLOCK_FENCE)) {
        clock_reason(l, h->name, ahead_ms, reason);
        return REFUSED_CLOCK;
    }
    return 0;
}

/* Logs a refusal, but the same one not again and again: whoever is refused keeps trying. */
static void warn_once(struct node *n, struct moment now, const char *text)
{
    for (uint32_t i = 0; i < REFUSALS_REMEMBERED; i++) {
        const struct refusal_logged *r = &n->refusals[i];
        if (strcmp(r->text, text) == 0 && now.mono_ms - r->mono_ms < REFUSAL_QUIET_MS)
            return;
    }
    struct refusal_logged *r = &n->refusals[n->refusals_next];
    n->refusals_next = (n->refusals_next + 1) % REFUSALS_REMEMBERED;
    snprintf(r->text, sizeof r->text, "%s", text);
    r->mono_ms = now.mono_ms;
    notice_add(&n->notices, NOTICE_WARN, "%s", text);
}

/* For the node's own judgement of its clock: node.c. */
static void note_clock(struct link *l, struct moment now, struct member *m)
{
    if (m == NULL && l->address != NULL)
        m = l->address->member;
    if (m != NULL)
        m->clock_refused_mono_ms = now.mono_ms;
    else if (l->address != NULL)
        l->address->clock_refused_mono_ms = now.mono_ms;
}

static void refuse(struct link *l, struct moment now, enum refusal code, const char *reason)
{
    struct node *n = l->node;
    char text[REFUSAL_TEXT_BYTES];
    size_t begun = frame_begin(&l->out);
    frame_put_u16(&l->out, (uint16_t)code);
    frame_put_text(&l->out, bytes_text(reason));
    frame_put_text(&l->out, bytes_text(n->config.name));
    frame_end(&l->out, begun, FRAME_REFUSED);
    if (l->role == LINK_SENDER && code == REFUSED_SELF)
        l->address->state = ADDRESS_SELF;
    l->refused = true;
    link_fail(l, "%s", reason);
    l->finishing = true;
    if (code == REFUSED_CLOCK)
        note_clock(l, now, l->member);
    if (code == REFUSED_SELF)
        return;
    snprintf(text, sizeof text, "refused a link %s %s: %s",
             l->role == LINK_RECEIVER ? "from" : "to", l->host, reason);
    warn_once(n, now, text);
}

void link_refuse_clock(struct link *l, struct moment now, uint64_t ahead_ms)
{
    char reason[LINK_REASON_BYTES];
    clock_reason(l, bytes_text(l->member->name), ahead_ms, reason);
    refuse(l, now, REFUSED_CLOCK, reason);
}

/* What it advertises; or else where it was seen, which tells more than what was dialled. */
static void set_address(const struct link *l, struct member *m, const struct hello *h)
{
    struct members *members = &l->node->members;
    if (h->host.size > 0)
        members_set_address(members, m, h->host, h->port);
    else if (l->role == LINK_RECEIVER)
        members_set_address(members, m, bytes_text(l->host), h->port);
    else if (m->host[0] == 0)
        members_set_address(members, m, bytes_text(l->address->host), h->port);
}

/* What the member will have confirmed. False when out of memory. */
static bool put_confirmed(struct link *l, const struct hello *h, struct vector *confirmed)
{
    const struct member *m = members_find(&l->node->members, h->name);
    bool same_run = m != NULL && m->origin == h->origin;
    return vector_copy(confirmed, &l->vector) == 0 &&
           (!same_run || vector_merge(confirmed, &m->confirmed) == 0);
}

/* Notes who it is that has been let in. False when there is no room for another member: then nothing
 * has changed. */
static bool admit(struct link *l, struct moment now, const struct hello *h)
{
    struct node *n = l->node;
    struct vector confirmed;
    vector_init(&confirmed, n->heap);
    struct member *m = put_confirmed(l, h, &confirmed) ? members_add(&n->members, h->name) : NULL;
    if (m == NULL) {
        vector_close(&confirmed);
        return false;
    }
    vector_close(&m->confirmed);
    m->confirmed = confirmed;
    if (m->origin != h->origin) {
        /* Another run: what the one before had confirmed may be gone with it. */
        m->origin = h->origin;
        vector_close(&m->durable);
    }
    m->keeps_disk = (h->flags & HELLO_KEEPS_DISK) != 0;
    if (m->forgotten_ms != 0) {
        m->forgotten_ms = 0;
        n->members.generation++;
    }
    set_address(l, m, h);
    m->contact_mono_ms = now.mono_ms;
    m->contact_wall_ms = now.wall_ms;
    m->clock_difference_ms = (int64_t)(h->wall_ms - now.wall_ms);
    l->member = m;
    l->origin = h->origin;
    l->floor = h->floor;
    l->state = LINK_HOLD;
    n->acks_arrived = true;
    return true;
}

/* Who refuses, or is refused, does not become a member by it. But if it is one, this address is its
 * own: it shall not count, nor be shown, as somebody else. */
static void identify(struct link *l, struct bytes name)
{
    if (l->address != NULL && l->address->member == NULL)
        l->address->member = members_find(&l->node->members, name);
}

void link_on_hello(struct link *l, struct moment now, struct frame_reader *payload)
{
    struct hello h;
    char reason[LINK_REASON_BYTES] = "";
    if (!read_hello(l, payload, &h)) {
        link_fail(l, "it sent a malformed handshake");
        return;
    }
    enum refusal code = judge(l, &h, now, reason);
    if (code == 0 && !admit(l, now, &h)) {
        code = REFUSED_FULL;
        snprintf(reason, sizeof reason, "no room for another member; at most %u", MEMBERS_MAX);
    }
    if (MUTATED(REFUSED_IS_ADMITTED) && (code == REFUSED_CLOCK || code == REFUSED_CLUSTER))
        members_add(&l->node->members, h.name);
    if (code != 0) {
        identify(l, h.name);
        refuse(l, now, code, reason);
        return;
    }
    if (l->role == LINK_RECEIVER) {
        if (l->member->receiver == NULL)
            l->member->receiver = l;
        link_send_hello(l, now);
        link_send_members(l);
        link_consider_all(l->node, now);
        return;
    }
    l->address->member = l->member;
    l->address->refused = false;
    if (l->member->sender != NULL) {
        /* Two addresses lead to one member: one link is enough. */
        link_fail(l, "%s", "");
        return;
    }
    l->address->reason[0] = 0;
    l->member->sender = l;
    link_send_members(l);
    notice_add(&l->node->notices, NOTICE_INFO, "linked to %s at %s", l->member->name, l->who);
}

void link_on_refused(struct link *l, struct moment now, struct frame_reader *payload)
{
    struct node *n = l->node;
    enum refusal code = (enum refusal)frame_read_u16(payload);
    struct bytes text = frame_read_text(payload);
    struct bytes name = frame_read_text(payload);
    char reason[LINK_REASON_BYTES];
    identify(l, name);
    if (code == REFUSED_SELF) {
        if (l->address != NULL)
            l->address->state = ADDRESS_SELF;
        link_fail(l, "%s", "");
        return;
    }
    if (code == REFUSED_CLOCK)
        note_clock(l, now, l->member);
    snprintf(reason, sizeof reason, "refused by %s: %.*s",
             l->role == LINK_SENDER ? l->who : l->host,
             (int)(text.size < REASON_SHOWN_BYTES ? text.size : REASON_SHOWN_BYTES),
             (const char *)text.data);
    l->refused = true;
    link_fail(l, "%s", reason);
    if (l->role == LINK_RECEIVER)
        warn_once(n, now, reason);
    else if (strcmp(l->address->reason, reason) != 0)
        notice_add(&n->notices, NOTICE_WARN, "%s; trying again within %u s", reason,
                   DIAL_BACKOFF_MAX_MS / 1000);
}

/* Somebody has forgotten a member. So do we, if nothing was heard of it here since. */
static void hear_forgotten(struct node *n, struct bytes name, uint64_t forgotten_ms)
{
    struct member *m = members_find(&n->members, name);
    if (m != NULL && m->forgotten_ms == 0 && m->sender == NULL && m->receiver == NULL &&
        m->contact_wall_ms < forgotten_ms)
        node_forget(n, m, forgotten_ms);
}

void link_on_members(struct link *l, struct moment now, struct frame_reader *payload)
{
    struct members *members = &l->node->members;
    uint16_t count = frame_read_u16(payload);
    (void)now;
    for (uint16_t i = 0; i < count && !payload->failed; i++) {
        struct bytes name = frame_read_text(payload);
        struct bytes host = frame_read_text(payload);
        uint16_t port = frame_read_u16(payload);
        uint64_t forgotten_ms = frame_read_u64(payload);
        if (payload->failed || !name_is_valid(name) || !host_is_valid(host)) {
            payload->failed = true;
            return;
        }
        if (bytes_equal(name, bytes_text(l->node->config.name)))
            continue;
        if (forgotten_ms != 0) {
            hear_forgotten(l->node, name, forgotten_ms);
            continue;
        }
        struct member *m = members_add(members, name);
        /* Hearsay fills what is not known; who was met has told better. */
        if (m != NULL && m->host[0] == 0)
            members_set_address(members, m, host, port);
    }
}
