/* The world: nodes and their clocks, and what happens next. */
#include "sim.h"

#include "checker.h"

#include "kv/check.h"
#include "kv/hash.h"

#include <stdarg.h>
#include <stdlib.h>

#define START_MONO_MS UINT64_C(1000000)
#define TURNS_MAX     64u /* of one node in one step: what is left then waits for the next */
#define BUSY_MS       150u /* until then, at the most */

/* --- telling ------------------------------------------------------------------------------- */

void sim_trace(struct sim *s, uint64_t what)
{
    s->trace = hash_mix(s->trace, hash_mix(s->now_ms, what));
}

void sim_tell(struct sim *s, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    sim_trace(s, hash_key(bytes_text(text)));
    if (s->story != NULL)
        fprintf(s->story, "%8.3f s  %6u  %s\n", (double)s->now_ms / 1000, s->events, text);
}

void sim_fail(struct sim *s, int invariant, const char *format, ...)
{
    if (s->failed_invariant != 0)
        return; /* the first is what counts */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(s->failure, sizeof s->failure, format, arguments);
    va_end(arguments);
    s->failed_invariant = invariant;
    sim_tell(s, "FAILED, invariant %d: %s", invariant, s->failure);
}

/* --- memory -------------------------------------------------------------------------------- */

static void heap_release(struct heap *heap, void *pointer)
{
    ((struct sim_heap *)(void *)heap)->live--;
    free(pointer);
}

static void *heap_resize_or_fail(struct heap *heap, void *pointer, size_t size)
{
    struct sim_heap *h = (struct sim_heap *)(void *)heap;
    if (h->fail_one_in != 0 && random_below(&h->random, h->fail_one_in) == 0)
        return NULL;
    void *memory = realloc(pointer, size);
    CHECK(memory != NULL);
    h->live += pointer == NULL;
    return memory;
}

/* --- clocks -------------------------------------------------------------------------------- */

struct moment sim_now(const struct sim *s, const struct sim_node *n)
{
    const struct sim_clock *c = &n->clock;
    int64_t since = (int64_t)(s->now_ms - c->drift_since_ms);
    int64_t wall =
        (int64_t)(SIM_START_WALL_MS + s->now_ms) + c->offset_ms + since * c->drift_ppm / 1000000;
    if (c->frozen_ms != 0)
        wall = (int64_t)c->frozen_ms;
    return (struct moment){.wall_ms = (uint64_t)wall, .mono_ms = START_MONO_MS + s->now_ms};
}

/* --- nodes --------------------------------------------------------------------------------- */

bool sim_start_node(struct sim *s, struct sim_node *n)
{
    uint32_t run = MUTATED(RESTART_KEEPS_ORIGIN) ? 1 : n->runs + 1;
    n->runs++;
    n->config.origin = hash_mix(s->plan.seed, n->index * 1000 + run) | 1;
    n->config.random_seed = hash_mix(n->config.origin, 1);
    n->node = node_new(&n->config, &s->heap.heap, sim_now(s, n));
    if (n->node == NULL) {
        sim_tell(s, "%s: no memory to start", n->name);
        n->restart_ms = s->now_ms + 500;
        return false;
    }
    if (n->keeps_disk && !disk_start(s, n)) {
        node_free(n->node);
        n->node = NULL;
        n->restart_ms = s->now_ms + 500;
        return false;
    }
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        if ((n->peers & (1u << i)) != 0)
            members_add_address(&n->node->members, bytes_text(s->nodes[i].host), SIM_PORT, true);
    }
    n->exists = true;
    n->restart_ms = 0;
    n->tick_ms = s->now_ms;
    sim_tell(s, "%s: starts, run %u, %s", n->name, n->runs,
             !n->keeps_disk                ? "without a disk"
             : n->node->refilling          ? "its disk is damaged"
             : n->disk.storage->error != 0 ? "from its disk, which takes no writes"
                                           : "from its disk");
    checker_started(s, n);
    workload_open(s, n);
    return true;
}

void sim_stop_node(struct sim *s, struct sim_node *n, enum memory_crash how)
{
    sim_tell(s, "%s: crashes%s", n->name,
             n->disk.storage == NULL || how == MEMORY_KILL ? "" : ", and its power is cut");
    checker_stopped(s, n);
    n->stamp_last = n->node->clock.last;
    workload_close(n);
    network_drop_node(s, n);
    disk_stop(s, n, how);
    node_free(n->node);
    n->node = NULL;
}

static void tell_notices(struct sim *s, struct sim_node *n)
{
    struct notice notice;
    while (notice_take(&n->node->notices, &notice))
        sim_tell(s, "%s says: %s", n->name, notice.text);
}

static void die(struct sim *s, struct sim_node *n)
{
    sim_stop_node(s, n, n->disk.how);
    n->restart_ms = s->now_ms + 1 + random_below(&s->disks, 3000);
    n->paused_until_ms = 0;
}

void sim_turn(struct sim *s, struct sim_node *n)
{
    bool slow = plan_has(&s->plan, FAULT_BUSY) && !s->healing;
    for (uint32_t i = 0; i < (slow ? 1 : TURNS_MAX); i++) {
        struct moment now = sim_now(s, n);
        node_release(n->node, now);
        while (!list_is_empty(&n->node->ready)) {
            struct session *session = container_of(n->node->ready.next, struct session, ready);
            list_remove(&session->ready);
            session_resume(session, now);
        }
        if (!disk_turn(s, n)) {
            die(s, n);
            return;
        }
        workload_replies(s, n);
        network_flush(s, n);
        while (network_dial(s, n)) {
        }
        if (!node_is_busy(n->node))
            break;
    }
    uint64_t next_ms = s->now_ms + 1 + random_below(&s->network, slow ? BUSY_MS : 1);
    if (node_is_busy(n->node) && next_ms < n->tick_ms)
        n->tick_ms = next_ms;
    /* Others have their turns in between. */
    if (n->disk.storage != NULL && storage_is_busy(n->disk.storage) && n->tick_ms > s->now_ms + 1)
        n->tick_ms = s->now_ms + 1;
    tell_notices(s, n);
    checker_look(s, n);
}

/* --- what happens next --------------------------------------------------------------------- */

static bool is_paused(const struct sim *s, const struct sim_node *n)
{
    return n->paused_until_ms > s->now_ms;
}

struct next {
    uint64_t ms;
    struct sim_node *node; /* to be ticked, or restarted; or whose client acts */
    struct sim_client *client;
    bool disk; /* a request of its disk ends */
    struct wire *wire;
    struct wire_end *end;
};

static void consider_node(const struct sim *s, struct sim_node *n, struct next *next)
{
    uint64_t not_before = is_paused(s, n) ? n->paused_until_ms : 0;
    if (n->node == NULL) {
        if (n->restart_ms != 0 && n->restart_ms < next->ms)
            *next = (struct next){.ms = n->restart_ms, .node = n};
        return;
    }
    uint64_t tick = n->tick_ms > not_before ? n->tick_ms : not_before;
    if (tick < next->ms)
        *next = (struct next){.ms = tick, .node = n};
    uint64_t done = disk_next(n);
    done = done > not_before ? done : not_before;
    if (done < next->ms)
        *next = (struct next){.ms = done, .node = n, .disk = true};
    for (uint32_t i = 0; i < s->plan.clients && !n->stranger && !s->healing; i++) {
        struct sim_client *c = &n->clients[i];
        uint64_t ms = c->next_ms > not_before ? c->next_ms : not_before;
        if (c->open && !c->waiting && ms < next->ms)
            *next = (struct next){.ms = ms, .node = n, .client = c};
    }
}

static void tick_node(struct sim *s, struct sim_node *n)
{
    struct moment now = sim_now(s, n);
    s->heap.fail_one_in = n->failing_until_ms > s->now_ms ? 50 : 0;
    uint64_t due = node_tick(n->node, now);
    if (n->disk.storage != NULL)
        storage_tick(n->disk.storage, now);
    uint64_t in_ms = due > now.mono_ms ? due - now.mono_ms : 1;
    n->tick_ms = s->now_ms + in_ms;
}

static void happen(struct sim *s, const struct next *next)
{
    struct sim_node *n = next->node != NULL ? next->node : &s->nodes[next->end->node];
    if (n->node == NULL) {
        if (n->disk.older_taken && random_below(&s->disks, 3) == 0)
            disk_roll_back(s, n);
        if (!sim_start_node(s, n))
            return;
    }
    s->heap.fail_one_in = n->failing_until_ms > s->now_ms ? 50 : 0;
    if (next->client != NULL)
        workload_step(s, n, next->client);
    else if (next->disk)
        disk_happen(s, n);
    else if (next->wire != NULL)
        network_deliver(s, next->wire, next->end);
    else
        tick_node(s, n);
    sim_turn(s, n);
    s->heap.fail_one_in = 0;
}

bool sim_step(struct sim *s, uint64_t until_ms)
{
    struct next next = {.ms = MOMENT_NEVER};
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        if (s->nodes[i].exists || s->nodes[i].restart_ms != 0)
            consider_node(s, &s->nodes[i], &next);
    }
    struct wire *wire = NULL;
    struct wire_end *end = NULL;
    uint64_t due = network_next(s, &wire, &end);
    if (due <= next.ms)
        next = (struct next){.ms = due, .wire = wire, .end = end};
    if (next.ms > until_ms || next.ms == MOMENT_NEVER) {
        s->now_ms = until_ms > s->now_ms && until_ms != MOMENT_NEVER ? until_ms : s->now_ms;
        return false;
    }
    if (next.ms > s->now_ms)
        s->now_ms = next.ms;
    s->events++;
    happen(s, &next);
    return true;
}

/* --- beginning and end --------------------------------------------------------------------- */

static void init_node(struct sim *s, uint32_t index)
{
    struct sim_node *n = &s->nodes[index];
    n->index = index;
    snprintf(n->name, sizeof n->name, "node%u", index + 1);
    snprintf(n->host, sizeof n->host, "10.0.0.%u", index + 1);
    disk_open(s, n);
    n->config = (struct node_config){.name = n->name,
                                     .cluster = "sim",
                                     .version = "0",
                                     .advertise_host = "",
                                     .advertise_port = SIM_PORT,
                                     .min_acks = s->plan.min_acks,
                                     .ack_timeout_ms = 700,
                                     .max_value_bytes = 1u << 20,
                                     .journal_bytes = JOURNAL_BYTES_MIN,
                                     .keys_limit = 100000,
                                     .max_reply_bytes = 1u << 20,
                                     .max_query_bytes = 1u << 20,
                                     .max_words = 1024,
                                     .max_output_bytes = 64u << 10,
                                     .max_clock_drift_ms = 5000};
}

void sim_open(struct sim *s, const struct sim_plan *plan, FILE *story)
{
    memset(s, 0, sizeof *s);
    s->plan = *plan;
    s->size = plan->nodes;
    s->story = story;
    s->plain = heap_of_c_library();
    s->heap.heap = (struct heap){.resize = heap_resize_or_fail, .release = heap_release};
    random_init(&s->heap.random, hash_mix(plan->seed, 1));
    random_init(&s->work, hash_mix(plan->seed, 2));
    random_init(&s->network, hash_mix(plan->seed, 3));
    random_init(&s->faults, hash_mix(plan->seed, 4));
    random_init(&s->disks, hash_mix(plan->seed, 5));
    buffer_init(&s->scratch, &s->plain);
    list_init(&s->wires);
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++)
        init_node(s, i);
    checker_open(s);
}

void sim_close(struct sim *s)
{
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        struct sim_node *n = &s->nodes[i];
        if (n->node != NULL)
            sim_stop_node(s, n, MEMORY_KILL);
        disk_close(n);
    }
    CHECK(list_is_empty(&s->wires));
    if (s->heap.live != 0)
        sim_fail(s, 14, "%llu allocations were not given back", (unsigned long long)s->heap.live);
    buffer_close(&s->scratch);
    checker_close(s);
}
