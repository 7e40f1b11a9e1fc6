/* The harness: wires between nodes, and a clock that only moves by hand. */
#include "pair.h"

#include "unit.h"

#include "kv/check.h"
#include "kv/hash.h"

#define START_WALL_MS    UINT64_C(1700000000000)
#define START_MONO_MS    UINT64_C(1000000)
#define SETTLE_TURNS_MAX 200000u
#define PORT             8080u

/* --- wires --------------------------------------------------------------------------------- */

static struct pair_end *other_end(struct pair_wire *w, const struct pair_end *e)
{
    return e == &w->dialer ? &w->acceptor : &w->dialer;
}

static void init_end(struct pair *p, struct pair_end *e, uint32_t node)
{
    buffer_init(&e->arriving, &p->heap.heap);
    e->node = node;
    e->open = true;
}

static void connect_nodes(struct pair *p, uint32_t from, uint32_t to, struct address *address)
{
    struct pair_wire *w = calloc(1, sizeof *w);
    assert_non_null(w);
    p->dials++;
    init_end(p, &w->dialer, from);
    init_end(p, &w->acceptor, to);
    w->dialer.sniffed = true;
    list_push_back(&p->wires, &w->all);
    link_open(&w->dialer.link, p->nodes[from].node, pair_now(p, from), address, p->nodes[to].name,
              p->nodes[to].host);
    link_open(&w->acceptor.link, p->nodes[to].node, pair_now(p, to), NULL, p->nodes[from].name,
              p->nodes[from].host);
}

static void close_end(struct pair *p, struct pair_end *e)
{
    link_close(&e->link, pair_now(p, e->node));
    e->open = false;
    buffer_close(&e->arriving);
}

static void free_wire(struct pair_wire *w)
{
    list_remove(&w->all);
    buffer_close(&w->dialer.arriving);
    buffer_close(&w->acceptor.arriving);
    free(w);
}

static bool send_from(struct pair *p, struct pair_wire *w, struct pair_end *e)
{
    if (!e->open)
        return false;
    struct pair_end *other = other_end(w, e);
    struct buffer *out = link_output(&e->link);
    size_t size = buffer_size(out);
    if (other->open)
        buffer_append(&other->arriving, buffer_bytes(out));
    buffer_consume(out, size);
    p->nodes[e->node].node->counters.peer_bytes_sent += size;
    return size > 0;
}

/* Skips the magic of a connection that was accepted: the shell never shows it to the link. */
static bool sniff(struct pair_end *e)
{
    if (e->sniffed || buffer_size(&e->arriving) < FRAME_MAGIC_BYTES)
        return e->sniffed;
    assert_memory_equal(buffer_bytes(&e->arriving).data, FRAME_MAGIC, FRAME_MAGIC_BYTES);
    buffer_consume(&e->arriving, FRAME_MAGIC_BYTES);
    e->sniffed = true;
    return true;
}

/* Keeps a copy of what arrives between the two nodes that are listened to. */
static void tap(struct pair *p, const struct pair_wire *w, const struct pair_end *e,
                struct bytes bytes)
{
    if (w->dialer.node != p->tap_dialer || w->acceptor.node != p->tap_acceptor)
        return;
    buffer_append(e == &w->acceptor ? &p->to_acceptor : &p->to_dialer, bytes);
}

static bool deliver_to(struct pair *p, struct pair_wire *w, struct pair_end *e)
{
    if (!e->open || p->stalled[other_end(w, e)->node][e->node] || !sniff(e))
        return false;
    struct bytes bytes = buffer_bytes(&e->arriving);
    if (p->chunk_bytes != 0 && bytes.size > p->chunk_bytes)
        bytes.size = p->chunk_bytes;
    if (bytes.size == 0)
        return false;
    tap(p, w, e, bytes);
    link_read(&e->link, pair_now(p, e->node), bytes);
    buffer_consume(&e->arriving, bytes.size);
    return true;
}

/* Ends what is finished, and what has seen the other end's end. */
static bool close_if_over(struct pair *p, struct pair_wire *w, struct pair_end *e)
{
    struct pair_end *other = other_end(w, e);
    if (!e->open)
        return false;
    if (!other->open && buffer_size(&e->arriving) == 0 && !p->stalled[other->node][e->node])
        link_fail(&e->link, "it closed the connection");
    else if (!link_is_finished(&e->link))
        return false;
    close_end(p, e);
    return true;
}

static bool turn_wires(struct pair *p)
{
    bool moved = false;
    list_for_each (item, &p->wires) {
        struct pair_wire *w = container_of(item, struct pair_wire, all);
        moved |= send_from(p, w, &w->dialer);
        moved |= send_from(p, w, &w->acceptor);
    }
    list_for_each (second, &p->wires) {
        struct pair_wire *w = container_of(second, struct pair_wire, all);
        moved |= deliver_to(p, w, &w->dialer);
        moved |= deliver_to(p, w, &w->acceptor);
        moved |= close_if_over(p, w, &w->dialer);
        moved |= close_if_over(p, w, &w->acceptor);
        if (!w->dialer.open && !w->acceptor.open)
            free_wire(w);
    }
    return moved;
}

/* --- nodes --------------------------------------------------------------------------------- */

struct moment pair_now(const struct pair *p, uint32_t node)
{
    struct moment now = p->now;
    now.wall_ms += (uint64_t)p->nodes[node].clock_ahead_ms;
    return now;
}

void pair_open(struct pair *p, uint32_t size)
{
    memset(p, 0, sizeof *p);
    assert_true(size <= PAIR_NODES_MAX);
    failing_heap_init(&p->heap);
    buffer_init(&p->reply, &p->heap.heap);
    buffer_init(&p->to_acceptor, &p->heap.heap);
    buffer_init(&p->to_dialer, &p->heap.heap);
    random_init(&p->random, 1);
    list_init(&p->wires);
    p->size = size;
    p->now = (struct moment){.wall_ms = START_WALL_MS, .mono_ms = START_MONO_MS};
    for (uint32_t i = 0; i < size; i++) {
        struct pair_node *n = &p->nodes[i];
        snprintf(n->name, sizeof n->name, "%c", (char)('a' + i));
        snprintf(n->host, sizeof n->host, "10.0.0.%c", (char)('1' + i));
        n->peers = ((1u << size) - 1) & ~(1u << i);
        n->config = (struct node_config){.name = n->name,
                                         .cluster = "test",
                                         .version = "0",
                                         .advertise_host = "",
                                         .advertise_port = PORT,
                                         .ack_timeout_ms = 1000,
                                         .max_clock_drift_ms = 5000,
                                         .max_value_bytes = 1u << 20,
                                         .journal_bytes = JOURNAL_BYTES_MIN,
                                         .keys_limit = 100000,
                                         .max_reply_bytes = 1u << 20,
                                         .max_query_bytes = 1 << 20,
                                         .max_words = 1024,
                                         .max_output_bytes = 1u << 20};
    }
}

void pair_start(struct pair *p, uint32_t node)
{
    struct pair_node *n = &p->nodes[node];
    n->config.origin = hash_mix(++p->runs, 0x5eed);
    n->config.random_seed = random_next(&p->random);
    n->node = node_new(&n->config, &p->heap.heap, pair_now(p, node));
    assert_non_null(n->node);
    session_init(&n->session, n->node);
    for (uint32_t i = 0; i < p->size; i++) {
        if ((n->peers & (1u << i)) != 0)
            members_add_address(&n->node->members, bytes_text(p->nodes[i].host), PORT, true);
    }
}

void pair_start_all(struct pair *p)
{
    for (uint32_t i = 0; i < p->size; i++)
        pair_start(p, i);
}

void pair_stop(struct pair *p, uint32_t node)
{
    struct pair_node *n = &p->nodes[node];
    list_for_each (item, &p->wires) {
        struct pair_wire *w = container_of(item, struct pair_wire, all);
        if (w->dialer.open && w->dialer.node == node)
            close_end(p, &w->dialer);
        if (w->acceptor.open && w->acceptor.node == node)
            close_end(p, &w->acceptor);
        if (!w->dialer.open && !w->acceptor.open)
            free_wire(w);
    }
    session_close(&n->session);
    node_free(n->node);
    n->node = NULL;
}

void pair_close(struct pair *p)
{
    for (uint32_t i = 0; i < p->size; i++) {
        if (p->nodes[i].node != NULL)
            pair_stop(p, i);
    }
    assert_true(list_is_empty(&p->wires));
    buffer_close(&p->reply);
    buffer_close(&p->to_acceptor);
    buffer_close(&p->to_dialer);
    assert_int_equal(p->heap.live, 0);
}

static bool dial(struct pair *p, uint32_t from)
{
    struct node *n = p->nodes[from].node;
    struct address *a = node_next_dial(n, pair_now(p, from));
    if (a == NULL)
        return false;
    for (uint32_t to = 0; to < p->size; to++) {
        bool named =
            strcmp(a->host, p->nodes[to].host) == 0 || strcmp(a->host, p->nodes[to].name) == 0;
        if (!named || p->nodes[to].node == NULL || p->unreachable[from][to])
            continue;
        connect_nodes(p, from, to, a);
        return true;
    }
    node_dial_failed(n, a, pair_now(p, from), "connection refused");
    return true;
}

bool pair_turn(struct pair *p)
{
    bool moved = turn_wires(p);
    for (uint32_t i = 0; i < p->size; i++) {
        struct node *n = p->nodes[i].node;
        if (n == NULL)
            continue;
        node_release(n, pair_now(p, i));
        while (!list_is_empty(&n->ready))
            list_remove(n->ready.next);
        while (dial(p, i))
            moved = true;
    }
    return moved;
}

void pair_settle(struct pair *p)
{
    uint32_t turns = 0;
    while (pair_turn(p))
        assert_true(++turns < SETTLE_TURNS_MAX);
}

void pair_tick(struct pair *p)
{
    p->now.wall_ms += PAIR_STEP_MS;
    p->now.mono_ms += PAIR_STEP_MS;
    for (uint32_t i = 0; i < p->size; i++) {
        if (p->nodes[i].node != NULL)
            node_tick(p->nodes[i].node, pair_now(p, i));
    }
}

void pair_run(struct pair *p, uint64_t ms)
{
    for (uint64_t passed = 0; passed < ms; passed += PAIR_STEP_MS) {
        pair_tick(p);
        pair_settle(p);
    }
}

/* --- the network --------------------------------------------------------------------------- */

static void set_network(struct pair *p, uint32_t a, uint32_t b, bool cut)
{
    p->stalled[a][b] = p->stalled[b][a] = cut;
    p->unreachable[a][b] = p->unreachable[b][a] = cut;
}

void pair_cut(struct pair *p, uint32_t a, uint32_t b)
{
    set_network(p, a, b, true);
}

void pair_heal(struct pair *p, uint32_t a, uint32_t b)
{
    set_network(p, a, b, false);
}

static bool is_between(const struct pair_wire *w, uint32_t a, uint32_t b)
{
    return (w->dialer.node == a && w->acceptor.node == b) ||
           (w->dialer.node == b && w->acceptor.node == a);
}

void pair_reset(struct pair *p, uint32_t a, uint32_t b)
{
    list_for_each (item, &p->wires) {
        struct pair_wire *w = container_of(item, struct pair_wire, all);
        if (!is_between(w, a, b))
            continue;
        if (w->dialer.open)
            close_end(p, &w->dialer);
        if (w->acceptor.open)
            close_end(p, &w->acceptor);
        free_wire(w);
    }
}

/* --- looking at it ------------------------------------------------------------------------- */

const char *pair_replies(struct pair *p, uint32_t node)
{
    struct buffer *out = session_output(&p->nodes[node].session);
    size_t size = buffer_size(out);
    buffer_truncate(&p->reply, 0);
    buffer_append(&p->reply, buffer_bytes(out));
    buffer_consume(out, size);
    if (size > 0)
        buffer_truncate(&p->reply, size - 1);
    buffer_append(&p->reply, bytes_of("", 1));
    return (const char *)buffer_bytes(&p->reply).data;
}

const char *pair_command(struct pair *p, uint32_t node, const char *line)
{
    struct session *s = &p->nodes[node].session;
    session_read(s, pair_now(p, node), bytes_text(line));
    session_read(s, pair_now(p, node), bytes_text("\n"));
    return pair_replies(p, node);
}

uint64_t pair_info(struct pair *p, uint32_t node, const char *field)
{
    const char *at = pair_command(p, node, "INFO");
    size_t size = strlen(field);
    for (; at != NULL; at = strchr(at + 1, '\n')) {
        at += *at == '\n';
        if (strncmp(at, field, size) == 0 && at[size] == ':')
            return strtoull(at + size + 1, NULL, strcmp(field, "digest") == 0 ? 16 : 10);
    }
    fail_msg("INFO has no %s", field);
    return 0;
}

struct link *pair_link(struct pair *p, uint32_t node, uint32_t other, enum link_role role)
{
    list_for_each (item, &p->wires) {
        struct pair_wire *w = container_of(item, struct pair_wire, all);
        struct pair_end *e = role == LINK_SENDER ? &w->dialer : &w->acceptor;
        if (e->open && e->node == node && other_end(w, e)->node == other)
            return &e->link;
    }
    return NULL;
}

bool pair_is_meshed(const struct pair *p)
{
    uint32_t up = 0;
    for (uint32_t i = 0; i < p->size; i++)
        up += p->nodes[i].node != NULL;
    for (uint32_t i = 0; i < p->size; i++) {
        const struct node *n = p->nodes[i].node;
        if (n != NULL && (node_linked_count(n) != up - 1 || n->scans != 0 || n->delta != NULL))
            return false;
    }
    return true;
}

bool pair_is_equal(const struct pair *p)
{
    const struct node *first = NULL;
    for (uint32_t i = 0; i < p->size; i++) {
        const struct node *n = p->nodes[i].node;
        if (n == NULL)
            continue;
        if (first == NULL)
            first = n;
        if (store_digest(n->store) != store_digest(first->store) ||
            store_live_count(n->store) != store_live_count(first->store))
            return false;
    }
    return true;
}
