/* The network: connections as pipes of segments, each due at a time of its own. Bytes of one direction
 * keep their order; everything else is up to the faults. */
#include "sim.h"

#include "checker.h"

#include "kv/check.h"

#include <stdlib.h>
#include <time.h>

/* What a connection's sockets take before its writer has to wait. */
#define SOCKET_BYTES (128u << 10)

/* Of what is sent at once. The least is what tells a peer from a client. */
#define SEGMENTS_MAX      4u
#define SEGMENT_BYTES_MIN FRAME_MAGIC_BYTES

static struct wire_end *other_end(struct wire *w, struct wire_end *e)
{
    return e == &w->dialer ? &w->acceptor : &w->dialer;
}

static void open_end(struct sim *s, struct wire_end *e, uint32_t node)
{
    e->node = node;
    e->open = true;
    buffer_init(&e->arriving.bytes, &s->plain);
    buffer_init(&e->arriving.segments, &s->plain);
    buffer_init(&e->unsent, &s->plain);
}

static void close_end(struct sim *s, struct wire *w, struct wire_end *e)
{
    struct sim_node *n = &s->nodes[e->node];
    if (e->link.reason[0] != 0)
        sim_tell(s, "%s: link %s %s ends: %s", n->name, e->link.role == LINK_SENDER ? "to" : "from",
                 s->nodes[other_end(w, e)->node].name, e->link.reason);
    checker_link_ended(s, e->link.reason);
    link_close(&e->link, sim_now(s, n));
    e->open = false;
    other_end(w, e)->arriving.ended = true;
    buffer_close(&e->unsent);
    buffer_close(&e->arriving.bytes);
    buffer_close(&e->arriving.segments);
}

static void free_wire(struct wire *w)
{
    list_remove(&w->all);
    buffer_close(&w->dialer.arriving.bytes);
    buffer_close(&w->dialer.arriving.segments);
    buffer_close(&w->acceptor.arriving.bytes);
    buffer_close(&w->acceptor.arriving.segments);
    free(w);
}

static struct sim_node *node_at(struct sim *s, const char *host)
{
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        if (strcmp(s->nodes[i].host, host) == 0)
            return &s->nodes[i];
    }
    return NULL;
}

bool network_dial(struct sim *s, struct sim_node *from)
{
    struct moment now = sim_now(s, from);
    struct address *a = node_next_dial(from->node, now);
    if (a == NULL)
        return false;
    struct sim_node *to = node_at(s, a->host);
    if (to == NULL || to->node == NULL || s->blocked[from->index][to->index] ||
        s->blocked[to->index][from->index]) {
        node_dial_failed(from->node, a, now, "connection timed out");
        return true;
    }
    struct wire *w = calloc(1, sizeof *w);
    CHECK(w != NULL);
    open_end(s, &w->dialer, from->index);
    open_end(s, &w->acceptor, to->index);
    w->dialer.sniffed = true;
    list_push_back(&s->wires, &w->all);
    link_open(&w->dialer.link, from->node, now, a, to->name, to->host);
    link_open(&w->acceptor.link, to->node, sim_now(s, to), NULL, from->name, from->host);
    return true;
}

/* Makes the HELLO, which is all that waits to be sent, one of the next version. */
static void raise_version(const struct wire_end *e, struct buffer *out)
{
    size_t begun = e->link.role == LINK_SENDER ? FRAME_MAGIC_BYTES : 0;
    CHECK(buffer_size(out) > begun + FRAME_HEADER_BYTES);
    put_u16(out->data + out->start + begun + FRAME_HEADER_BYTES, FRAME_PROTOCOL_VERSION + 1);
    frame_end(out, begun, FRAME_HELLO);
}

/* Mostly in one piece; now and then in several, so that others come between them. On a slow line each
 * is what it carries in half a second: whoever waits at its end hears something. */
static void put_segments(struct sim *s, struct pipe *pipe, size_t size, uint32_t rate,
                         uint32_t delay)
{
    size_t most = rate == 0 ? size : rate / 2;
    uint32_t cuts = random_below(&s->network, 4) == 0 ? SEGMENTS_MAX - 1 : 0;
    while (size > 0) {
        size_t part = size < most ? size : most;
        if (cuts > 0 && part > SEGMENT_BYTES_MIN) {
            part = SEGMENT_BYTES_MIN + random_below(&s->network, part - SEGMENT_BYTES_MIN);
            cuts--;
        }
        pipe->free_ms += rate == 0 ? 0 : part * 1000 / rate;
        struct segment segment = {.due_ms = pipe->free_ms + random_below(&s->network, delay + 1),
                                  .size = part};
        if (MUTATED(STORY_LEAKS))
            segment.due_ms += (uint64_t)clock() % 3;
        buffer_append(&pipe->segments, bytes_of((const uint8_t *)&segment, sizeof segment));
        size -= part;
    }
}

/* Gives the socket as much as it takes. */
static void give(struct sim *s, struct wire *w, struct wire_end *e, struct buffer *from)
{
    struct wire_end *to = other_end(w, e);
    struct pipe *pipe = &to->arriving;
    size_t size = buffer_size(from), in_use = buffer_size(&pipe->bytes);
    if (!to->open || pipe->dead) {
        buffer_consume(from, size);
        return;
    }
    size_t room = in_use < SOCKET_BYTES ? SOCKET_BYTES - in_use : 0;
    size = size < room ? size : room;
    pipe->free_ms = pipe->free_ms > s->now_ms ? pipe->free_ms : s->now_ms;
    buffer_append(&pipe->bytes, bytes_of(buffer_bytes(from).data, size));
    put_segments(s, pipe, size, s->bytes_per_s[e->node][to->node], s->delay_ms[e->node][to->node]);
    buffer_consume(from, size);
}

/* Puts what an end has to say on its way. What the socket does not take waits, as in the shell. */
static void send_from(struct sim *s, struct wire *w, struct wire_end *e)
{
    if (buffer_size(&e->unsent) > 0)
        give(s, w, e, &e->unsent);
    e->link.unsent = buffer_size(&e->unsent);
    if (e->link.unsent > 0)
        return;
    struct buffer *out = link_output(&e->link);
    if (buffer_size(out) == 0)
        return;
    if (!e->greeted && s->nodes[e->node].stranger == STRANGER_VERSION)
        raise_version(e, out);
    e->greeted = true;
    s->nodes[e->node].node->counters.peer_bytes_sent += buffer_size(out);
    give(s, w, e, out);
    e->link.unsent = buffer_size(out);
    buffer_append(&e->unsent, buffer_bytes(out));
    buffer_consume(out, buffer_size(out));
}

static void flush_end(struct sim *s, struct wire *w, struct wire_end *e, uint32_t node)
{
    if (!e->open || e->node != node)
        return;
    send_from(s, w, e);
    if (link_is_finished(&e->link))
        close_end(s, w, e);
}

void network_flush(struct sim *s, struct sim_node *n)
{
    list_for_each (item, &s->wires) {
        struct wire *w = container_of(item, struct wire, all);
        flush_end(s, w, &w->dialer, n->index);
        flush_end(s, w, &w->acceptor, n->index);
        if (!w->dialer.open && !w->acceptor.open)
            free_wire(w);
    }
}

static bool is_stalled(const struct sim *s, const struct wire_end *e, uint32_t from)
{
    return e->arriving.dead || e->arriving.stands || !link_wants_input(&e->link) ||
           s->blocked[from][e->node] || s->clogged[from][e->node] ||
           s->nodes[e->node].paused_until_ms > s->now_ms;
}

static uint64_t due_at(const struct sim *s, struct wire *w, struct wire_end *e)
{
    const struct pipe *pipe = &e->arriving;
    if (!e->open || is_stalled(s, e, other_end(w, e)->node))
        return MOMENT_NEVER;
    if (buffer_size(&pipe->segments) > 0) {
        struct segment segment;
        memcpy(&segment, buffer_bytes(&pipe->segments).data, sizeof segment);
        return segment.due_ms;
    }
    return pipe->ended ? s->now_ms : MOMENT_NEVER;
}

uint64_t network_next(struct sim *s, struct wire **wire, struct wire_end **end)
{
    uint64_t next = MOMENT_NEVER;
    list_for_each (item, &s->wires) {
        struct wire *w = container_of(item, struct wire, all);
        struct wire_end *ends[] = {&w->dialer, &w->acceptor};
        for (int i = 0; i < 2; i++) {
            uint64_t due = due_at(s, w, ends[i]);
            if (due < next) {
                next = due;
                *wire = w;
                *end = ends[i];
            }
        }
    }
    return next;
}

/* Skips the magic of a connection that was accepted: the shell never shows it to the link. */
static struct bytes sniff(struct wire_end *e, struct bytes bytes)
{
    if (e->sniffed)
        return bytes;
    CHECK(bytes.size >= FRAME_MAGIC_BYTES);
    e->sniffed = true;
    return bytes_after(bytes, FRAME_MAGIC_BYTES);
}

void network_deliver(struct sim *s, struct wire *w, struct wire_end *e)
{
    struct pipe *pipe = &e->arriving;
    struct sim_node *n = &s->nodes[e->node];
    struct segment segment;
    if (buffer_size(&pipe->segments) == 0) {
        link_fail(&e->link, "it closed the connection");
        close_end(s, w, e);
        if (!other_end(w, e)->open)
            free_wire(w);
        return;
    }
    memcpy(&segment, buffer_bytes(&pipe->segments).data, sizeof segment);
    struct bytes bytes = bytes_of(buffer_bytes(&pipe->bytes).data, segment.size);
    sim_trace(s, segment.size * 64 + e->node);
    uint64_t state = e->link.state == LINK_HELLO ? checker_state(n) : 0;
    link_read(&e->link, sim_now(s, n), sniff(e, bytes));
    if (state != 0 && e->link.refused)
        checker_refused(s, n, state);
    buffer_consume(&pipe->bytes, segment.size);
    buffer_consume(&pipe->segments, sizeof segment);
}

void network_drop_node(struct sim *s, struct sim_node *n)
{
    list_for_each (item, &s->wires) {
        struct wire *w = container_of(item, struct wire, all);
        if (w->dialer.open && w->dialer.node == n->index)
            close_end(s, w, &w->dialer);
        if (w->acceptor.open && w->acceptor.node == n->index)
            close_end(s, w, &w->acceptor);
        if (!w->dialer.open && !w->acceptor.open)
            free_wire(w);
    }
}

static bool is_between(const struct wire *w, uint32_t a, uint32_t b)
{
    return (w->dialer.node == a && w->acceptor.node == b) ||
           (w->dialer.node == b && w->acceptor.node == a);
}

void network_reset(struct sim *s, uint32_t a, uint32_t b)
{
    list_for_each (item, &s->wires) {
        struct wire *w = container_of(item, struct wire, all);
        if (!is_between(w, a, b))
            continue;
        if (w->dialer.open)
            close_end(s, w, &w->dialer);
        if (w->acceptor.open)
            close_end(s, w, &w->acceptor);
        free_wire(w);
    }
}

void network_half_open(struct sim *s, uint32_t a, uint32_t b)
{
    list_for_each (item, &s->wires) {
        struct wire *w = container_of(item, struct wire, all);
        if (is_between(w, a, b))
            w->dialer.arriving.dead = w->acceptor.arriving.dead = true;
    }
}

void network_stand(struct sim *s, uint32_t dialer, uint32_t acceptor, bool back, bool stands)
{
    list_for_each (item, &s->wires) {
        struct wire *w = container_of(item, struct wire, all);
        if (w->dialer.node == dialer && w->acceptor.node == acceptor)
            (back ? &w->dialer : &w->acceptor)->arriving.stands = stands;
    }
}

/* The line is quick again: what it has been given arrives at once. */
static void hurry(const struct sim *s, struct pipe *pipe)
{
    pipe->free_ms = s->now_ms;
    pipe->stands = false;
    for (size_t at = pipe->segments.start; at < pipe->segments.end; at += sizeof(struct segment)) {
        struct segment segment;
        memcpy(&segment, pipe->segments.data + at, sizeof segment);
        segment.due_ms = s->now_ms;
        memcpy(pipe->segments.data + at, &segment, sizeof segment);
    }
}

void network_heal(struct sim *s)
{
    list_for_each (item, &s->wires) {
        struct wire *w = container_of(item, struct wire, all);
        hurry(s, &w->dialer.arriving);
        hurry(s, &w->acceptor.arriving);
    }
    memset(s->blocked, 0, sizeof s->blocked);
    memset(s->clogged, 0, sizeof s->clogged);
    memset(s->bytes_per_s, 0, sizeof s->bytes_per_s);
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        for (uint32_t k = 0; k < SIM_NODES_MAX; k++)
            s->delay_ms[i][k] = 3;
    }
}
