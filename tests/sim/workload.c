/* The clients: each sends a command, waits for its reply, thinks, and sends the next. */
#include "sim.h"

#include "checker.h"
#include "stories.h"

#include "kv/check.h"

#include <stdlib.h>

#define THINK_MS   250u
#define BIG_BYTES  (90u << 10) /* more than a frame is filled with */
#define LINE_BYTES (BIG_BYTES + 256u)
#define LAZY_GETS  50u /* in one piece */

/* How late a reply that was to come by some time may come: the node looks at the time now and then. */
#define REPLY_SLACK_MS (2 * SIM_TICK_MS)

void workload_key(uint32_t key, char text[16])
{
    snprintf(text, 16, "k%u", key);
}

void workload_open(struct sim *s, struct sim_node *n)
{
    for (uint32_t i = 0; i < s->plan.clients && !n->stranger; i++) {
        struct sim_client *c = &n->clients[i];
        *c = (struct sim_client){.open = true};
        c->next_ms = s->now_ms + random_below(&s->work, THINK_MS);
        session_init(&c->session, n->node);
    }
}

void workload_close(struct sim_node *n)
{
    for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++) {
        if (n->clients[i].open)
            session_close(&n->clients[i].session);
        n->clients[i].open = false;
    }
    if (n->lazy.open)
        session_close(&n->lazy.session);
    n->lazy.open = false;
}

void workload_lazy(struct sim *s, struct sim_node *n, bool reads)
{
    struct sim_client *c = &n->lazy;
    char lines[LAZY_GETS * 8];
    size_t size = 0;
    if (c->open && session_finished(&c->session)) {
        session_close(&c->session);
        c->open = false;
    }
    if (!c->open) {
        session_init(&c->session, n->node);
        c->open = true;
    }
    if (reads)
        buffer_consume(session_output(&c->session), buffer_size(session_output(&c->session)));
    for (uint32_t i = 0; i < LAZY_GETS; i++)
        size += (size_t)sprintf(lines + size, "GET k%u\n",
                                (unsigned)random_below(&s->work, s->plan.keys));
    if (session_wants_input(&c->session))
        session_read(&c->session, sim_now(s, n), bytes_of(lines, size));
}

/* Without peers to wait for nothing ends the wait for the disk but its syncs: of one that is under way, of a
 * segment that has ended meanwhile, and of the one that has the write. */
static uint64_t longest_wait_ms(const struct sim_node *n)
{
    uint64_t syncs_ms = 3 * n->disk.memory.dials.latency_ms, acks_ms = n->config.ack_timeout_ms;
    bool may_last = n->config.keeps_disk && n->config.min_acks == 0 && syncs_ms > acks_ms;
    return may_last ? syncs_ms : acks_ms;
}

static void send_line(struct sim *s, struct sim_node *n, struct sim_client *c, const char *line,
                      size_t size)
{
    uint64_t before = c->session.last_write;
    c->waiting = true;
    c->wrote = c->reads = false;
    c->acks_wanted = 0;
    c->due_ms = s->now_ms + longest_wait_ms(n) + REPLY_SLACK_MS;
    sim_trace(s, c->key * 8 + n->index);
    /* Now and then a line arrives in two pieces. */
    size_t cut = random_below(&s->work, 4) == 0 ? random_below(&s->work, size) : 0;
    session_read(&c->session, sim_now(s, n), bytes_of((const uint8_t *)line, cut));
    session_read(&c->session, sim_now(s, n), bytes_of((const uint8_t *)line + cut, size - cut));
    c->wrote = c->session.last_write != before;
    c->stamp = c->session.last_write;
    struct bytes value = bytes_of(line + size - 1 - c->value_bytes, c->value_bytes);
    if (c->wrote)
        checker_issued(s, n, c->key, c->stamp, (enum write_kind)c->write_kind, value);
}

/* A value nobody else writes: its number, and as much padding as is wanted. */
static size_t put_value(struct sim *s, char *at)
{
    size_t size = (size_t)sprintf(at, "%llu.", (unsigned long long)s->events);
    size_t pad = random_below(&s->work, 20);
    if (plan_has(&s->plan, FAULT_BIG_VALUES) && random_below(&s->work, 30) == 0)
        pad = BIG_BYTES;
    if (random_below(&s->work, 30) == 0)
        return 0; /* the empty value */
    memset(at + size, '.', pad);
    return size + pad;
}

static size_t put_write(struct sim *s, struct sim_client *c, const char *key, char *line)
{
    uint64_t kind = random_below(&s->work, 100);
    bool expiry = plan_has(&s->plan, FAULT_EXPIRY);
    size_t size, begun = 0;
    c->write_kind = WRITE_EXPIRY;
    if (kind < 35) {
        c->write_kind = WRITE_DELETE;
        size = (size_t)sprintf(line, "DEL %s", key);
    } else if (kind < 50 && expiry) {
        begun =
            (size_t)sprintf(line, "SETEX %s %u ", key, (unsigned)random_below(&s->work, 30) + 1);
        size = begun + put_value(s, line + begun);
    } else if (kind < 56 && expiry) {
        size = (size_t)sprintf(line, "EXPIRE %s %u", key, (unsigned)random_below(&s->work, 20));
    } else if (kind < 60 && expiry) {
        size = (size_t)sprintf(line, "PERSIST %s", key);
    } else {
        begun = (size_t)sprintf(line, "SET %s ", key);
        size = begun + put_value(s, line + begun);
    }
    if (begun > 0) {
        c->write_kind = WRITE_VALUE;
        c->value_bytes = size - begun;
    }
    return size;
}

/* Reads a value and writes another that is made of it. */
static size_t put_modified(struct sim *s, struct sim_node *n, struct sim_client *c, const char *key,
                           char *line)
{
    struct record rec;
    size_t begun = (size_t)sprintf(line, "SET %s ", key), size = begun;
    if (store_get(n->node->store, bytes_text(key), sim_now(s, n).wall_ms, &rec) &&
        rec.value.size < 60) {
        memcpy(line + size, rec.value.data, rec.value.size);
        size += rec.value.size;
    }
    line[size++] = '+';
    c->write_kind = WRITE_VALUE;
    c->value_bytes = size - begun;
    return size;
}

uint64_t workload_order(struct sim *s, struct sim_node *n, uint32_t key, bool is_delete)
{
    char name[16], line[64];
    if (n->node == NULL || n->paused_until_ms > s->now_ms)
        return 0;
    workload_key(key, name);
    for (uint32_t i = 0; i < s->plan.clients; i++) {
        struct sim_client *c = &n->clients[i];
        if (!c->open || c->waiting)
            continue;
        size_t begun = (size_t)sprintf(line, is_delete ? "DEL %s" : "SET %s ", name), size = begun;
        if (!is_delete)
            size += (size_t)sprintf(line + size, "%u.", s->events);
        c->key = key;
        c->write_kind = is_delete ? WRITE_DELETE : WRITE_VALUE;
        c->value_bytes = size - begun;
        sim_tell(s, "%s: %s", n->name, line);
        line[size++] = '\n';
        send_line(s, n, c, line, size);
        uint64_t stamp = c->wrote ? c->stamp : 0;
        sim_turn(s, n);
        return stamp;
    }
    return 0;
}

void workload_step(struct sim *s, struct sim_node *n, struct sim_client *c)
{
    static char line[LINE_BYTES]; /* one at a time: there are no threads */
    char key[16];
    size_t size;
    bool spare = s->plan.story != STORY_NONE && s->plan.keys > 1;
    c->key = (uint32_t)random_below(&s->work, s->plan.keys - spare);
    workload_key(c->key, key);
    c->value_bytes = 0;
    bool reads = random_below(&s->work, 100) >= s->plan.write_percent;
    if (reads)
        size = (size_t)sprintf(line, "GET %s", key);
    else if (random_below(&s->work, 10) == 0)
        size = put_modified(s, n, c, key, line);
    else
        size = put_write(s, c, key, line);
    if (c->session.last_write != 0 && random_below(&s->work, 40) == 0) {
        uint64_t stamp = c->session.last_write;
        c->value_bytes = 0;
        /* One after the other: the order in which a call's arguments are drawn is the compiler's. */
        unsigned timeout_ms = (unsigned)random_below(&s->work, 500) + 1;
        unsigned peers = (unsigned)random_below(&s->work, s->size);
        size = (size_t)sprintf(line, "WAIT %u %u\n", peers, timeout_ms);
        send_line(s, n, c, line, size);
        c->stamp = stamp;
        c->acks_wanted = UINT32_MAX; /* its time is shorter than that of a write */
        return;
    }
    sim_tell(s, "%s: %.*s", n->name, (int)(size < 60 ? size : 60), line);
    line[size++] = '\n';
    send_line(s, n, c, line, size);
    c->reads = reads;
}

static void take_reply(struct sim *s, struct sim_node *n, struct sim_client *c)
{
    struct bytes reply = buffer_bytes(session_output(&c->session));
    bool error = reply.size >= 5 && memcmp(reply.data, "ERROR", 5) == 0;
    if (error)
        sim_tell(s, "%s answers: %.*s", n->name, (int)reply.size - 1, (const char *)reply.data);
    if (c->acks_wanted == UINT32_MAX && !error)
        checker_acked(s, n, c->stamp, (uint32_t)strtoul((const char *)reply.data, NULL, 10));
    else if (c->wrote && !error)
        checker_acked(s, n, c->stamp, s->plan.min_acks);
    else if (c->reads && !error)
        checker_read(s, n, c->key, reply);
    if (c->wrote && !error)
        checker_promised(s, n, c->stamp);
    buffer_consume(session_output(&c->session), reply.size);
    c->waiting = false;
    c->next_ms = s->now_ms + 1 + random_below(&s->work, THINK_MS);
}

void workload_replies(struct sim *s, struct sim_node *n)
{
    for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++) {
        struct sim_client *c = &n->clients[i];
        if (!c->open)
            continue;
        if (c->waiting && buffer_size(session_output(&c->session)) > 0)
            take_reply(s, n, c);
        if (session_finished(&c->session)) {
            session_close(&c->session);
            session_init(&c->session, n->node);
            c->waiting = false;
            c->next_ms = s->now_ms + THINK_MS;
        } else if (c->waiting && !session_is_waiting(&c->session)) {
            sim_fail(s, 14, "%s owes a client a reply that waits for nothing", n->name);
        } else if (c->waiting && s->now_ms > c->due_ms) {
            sim_fail(s, 14, "%s lets a client wait for longer than it may", n->name);
        }
    }
}
