/* What may go wrong, how much of it is drawn for a seed, and when it strikes. */
#include "sim.h"

#include "checker.h"
#include "stories.h"

#include "kv/hash.h"

#include <stdlib.h>

static const char *const fault_names[] = {
#define FAULT_TEXT(name, text) text,
    FAULTS(FAULT_TEXT)
#undef FAULT_TEXT
};

const char *fault_name(enum fault f)
{
    return fault_names[f];
}

bool plan_has(const struct sim_plan *plan, enum fault f)
{
    return (plan->faults & (1u << f)) != 0;
}

/* Swarm testing (Groce et al. 2012): each seed has only some of the faults, so that none hides what
 * another would show. */
void plan_draw(struct sim_plan *plan, uint64_t seed)
{
    struct random r;
    random_init(&r, hash_mix(seed, 0));
    *plan = (struct sim_plan){.seed = seed,
                              .nodes = 3 + (uint32_t)random_below(&r, 3),
                              .keys = 1 + (uint32_t)random_below(&r, SIM_KEYS_MAX),
                              .clients = 1 + (uint32_t)random_below(&r, SIM_CLIENTS_MAX),
                              .events = 10000,
                              .write_percent = 50 + (uint32_t)random_below(&r, 50),
                              .fault_one_in = 40u << random_below(&r, 4),
                              .mend_one_in = 4u << random_below(&r, 3)};
    if (random_below(&r, 8) == 0)
        plan->nodes = 3 + (uint32_t)random_below(&r, 7);
    if (random_below(&r, 3) == 0)
        plan->min_acks = 1 + (uint32_t)random_below(&r, plan->nodes - 1);
    uint64_t odds = 1 + random_below(&r, 4);
    for (uint32_t f = 0; f < FAULT_DISKS; f++) {
        if (random_below(&r, 5) < odds)
            plan->faults |= 1u << f;
    }
    /* Where members are forgotten or not known, the rules make an exception: in half of the runs
     * there shall be none. */
    if (random_below(&r, 2) == 0)
        plan->faults &= ~(1u << FAULT_JOIN | 1u << FAULT_SAME_NAME | 1u << FAULT_AWAY |
                          1u << FAULT_FORGET | 1u << FAULT_TOMBSTONES);
    /* A clock an hour ahead keeps a node out for the whole run: not every other run. */
    if (random_below(&r, 3) != 0)
        plan->faults &= ~(1u << FAULT_CLOCK);
    if (random_below(&r, 2) != 0)
        plan->faults &= ~(1u << FAULT_ALLOCATION);
    for (uint32_t f = FAULT_DISKS; f < FAULT_COUNT; f++) {
        if (plan_has(plan, FAULT_DISK) && random_below(&r, 5) < odds)
            plan->faults |= 1u << f;
    }
}

static uint32_t pick(struct sim *s, uint32_t bound)
{
    return (uint32_t)random_below(&s->faults, bound);
}

static bool has(const struct sim *s, enum fault f)
{
    return plan_has(&s->plan, f);
}

static void add_stranger(struct sim *s)
{
    struct sim_node *n = &s->nodes[SIM_NODES_MAX - 1];
    n->stranger = (enum stranger)(STRANGER_CLUSTER + pick(s, 3));
    /* A node with a wrong clock of its own would take it in, and for good. */
    if (n->stranger == STRANGER_CLOCK && has(s, FAULT_CLOCK))
        n->stranger = STRANGER_CLUSTER;
    n->peers = 1;
    if (n->stranger == STRANGER_CLUSTER)
        n->config.cluster = "another";
    if (n->stranger == STRANGER_CLOCK)
        n->clock.offset_ms = 3600000;
    sim_start_node(s, n);
}

static void set_up_node(struct sim *s, struct sim_node *n)
{
    uint32_t everybody = (1u << s->size) - 1;
    n->peers = everybody & ~(1u << n->index);
    if (has(s, FAULT_JOIN) && pick(s, 4) == 0)
        n->peers = 1u << ((n->index + 1) % s->size); /* the mesh has to find the rest */
    n->keeps_disk = has(s, FAULT_DISK) && pick(s, 2) == 0;
    n->config.keeps_disk = n->keeps_disk;
    if (has(s, FAULT_SKEW)) {
        n->clock.offset_ms = (int64_t)pick(s, 4000) - 2000;
        n->clock.drift_ppm = (int64_t)pick(s, 400) - 200;
    } else if (!has(s, FAULT_CLOCK)) {
        n->config.max_clock_drift_ms = s->drift_ms;
    }
    if (n->keeps_disk)
        n->disk.config.sync = (enum storage_sync)random_below(&s->disks, 3);
    if (has(s, FAULT_AWAY))
        n->config.forget_after_ms = 20000;
    if (has(s, FAULT_TOMBSTONES))
        n->config.tombstone_memory_bytes = s->plan.story == STORY_NONE ? 500 : 1;
    if (has(s, FAULT_MEMORY))
        n->config.max_memory_bytes = 64u << 10;
}

/* The others do not know of it until it comes. */
static void join_late(struct sim *s, uint32_t index)
{
    s->nodes[index].restart_ms = 1 + pick(s, 60000);
    for (uint32_t k = 0; k < s->size; k++) {
        uint32_t *peers = &s->nodes[k].peers;
        *peers &= ~(1u << index);
        if (*peers == 0)
            *peers = k == 0 ? 2 : 1;
    }
}

void faults_begin(struct sim *s)
{
    network_heal(s);
    /* Where clocks agree, a short limit lets tombstones go early: then nothing but the other rules
     * keeps what they deleted from coming back. */
    s->drift_ms = hash_mix(s->plan.seed, 5) % 2 == 0 ? 5000 : 300;
    if (s->plan.story != STORY_NONE)
        s->drift_ms = 300;
    for (uint32_t i = 0; i < s->size; i++)
        set_up_node(s, &s->nodes[i]);
    for (uint32_t i = 0; i < SIM_NODES_MAX && has(s, FAULT_DELAY); i++) {
        for (uint32_t k = 0; k < SIM_NODES_MAX; k++)
            s->delay_ms[i][k] = pick(s, 300);
    }
    for (uint32_t i = 2; i < s->size && has(s, FAULT_JOIN); i++) {
        if (pick(s, 2) == 0)
            join_late(s, i);
    }
    for (uint32_t i = 0; i < s->size; i++) {
        if (s->nodes[i].restart_ms == 0)
            sim_start_node(s, &s->nodes[i]);
    }
    if (has(s, FAULT_STRANGER))
        add_stranger(s);
}

/* --- one fault ----------------------------------------------------------------------------- */

static uint32_t running(const struct sim *s)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->size; i++)
        count += s->nodes[i].node != NULL;
    return count;
}

static void cut(struct sim *s, uint32_t a, uint32_t b, bool one_way)
{
    s->blocked[a][b] = true;
    if (!one_way)
        s->blocked[b][a] = true;
    sim_tell(s, "network: %s %s %s is cut", s->nodes[a].name, one_way ? "to" : "and",
             s->nodes[b].name);
}

/* Parts the nodes in two groups. */
static void part(struct sim *s)
{
    uint32_t group = pick(s, 1u << s->size);
    for (uint32_t i = 0; i < s->size; i++) {
        for (uint32_t k = 0; k < s->size; k++) {
            if (((group >> i) & 1) != ((group >> k) & 1))
                s->blocked[i][k] = true;
        }
    }
    sim_tell(s, "network: parted, group %x", group);
}

static void mend_network(struct sim *s)
{
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        for (uint32_t k = 0; k < SIM_NODES_MAX; k++) {
            bool mend = pick(s, 3) != 0;
            s->blocked[i][k] = s->blocked[i][k] && !mend;
            s->clogged[i][k] = s->clogged[i][k] && !mend;
            s->bytes_per_s[i][k] = mend ? 0 : s->bytes_per_s[i][k];
        }
    }
    sim_tell(s, "network: mended in part");
}

static void isolate(struct sim *s, uint32_t a)
{
    for (uint32_t k = 0; k < s->size; k++) {
        if (k != a)
            s->blocked[a][k] = s->blocked[k][a] = true;
    }
    sim_tell(s, "network: %s is cut off", s->nodes[a].name);
}

void faults_crash(struct sim *s, struct sim_node *n)
{
    if (n->node == NULL || running(s) < 2)
        return;
    if (disk_doom(s, n))
        return;
    if (n->disk.storage == NULL || !disk_stop_cleanly(s, n))
        sim_stop_node(s, n, disk_crash_drawn(s));
    n->restart_ms = s->now_ms + 1 + pick(s, pick(s, 3) == 0 ? 40000 : 2000);
    n->paused_until_ms = 0;
}

static void upset_clock(struct sim *s, struct sim_node *n)
{
    struct moment now = sim_now(s, n);
    switch (pick(s, 5)) {
    case 0:
        n->clock.offset_ms += 3600000;
        break;
    case 1:
        n->clock.offset_ms -= 3600000;
        break;
    case 2:
        n->clock.frozen_ms = now.wall_ms;
        break;
    case 3:
        n->clock = (struct sim_clock){.drift_ppm = 50000, .drift_since_ms = s->now_ms};
        break;
    default:
        n->clock = (struct sim_clock){0};
    }
    sim_tell(s, "%s: its clock now differs by %lld ms%s", n->name, (long long)n->clock.offset_ms,
             n->clock.frozen_ms != 0 ? " and stands" : "");
}

static void impersonate(struct sim *s, uint32_t of)
{
    struct sim_node *n = &s->nodes[SIM_NODES_MAX - 1];
    if (n->node != NULL || n->exists)
        return;
    n->stranger = STRANGER_NAME;
    n->config.name = s->nodes[of].name;
    n->peers = ((1u << s->size) - 1) & ~(1u << of);
    sim_tell(s, "another node calls itself %s", s->nodes[of].name);
    sim_start_node(s, n);
}

void faults_forget(struct sim *s, struct sim_node *n, const struct sim_node *other)
{
    struct member *m = members_find(&n->node->members, bytes_text(other->name));
    if (m == NULL || m->sender != NULL || m->receiver != NULL || m->forgotten_ms != 0)
        return;
    sim_tell(s, "%s is told to forget %s", n->name, other->name);
    node_forget(n->node, m, sim_now(s, n).wall_ms);
}

static void upset_network(struct sim *s, enum fault f, uint32_t a, uint32_t b)
{
    switch (f) {
    case FAULT_DELAY:
        s->delay_ms[a][b] = pick(s, pick(s, 5) == 0 ? 3000 : 100);
        break;
    case FAULT_RESET:
        network_reset(s, a, b);
        break;
    case FAULT_PARTITION:
        if (pick(s, 2) == 0)
            part(s);
        else
            cut(s, a, b, false);
        break;
    case FAULT_ONE_WAY:
        cut(s, a, b, true);
        break;
    case FAULT_SLOW:
        s->bytes_per_s[a][b] = 1000;
        break;
    case FAULT_CLOG:
        for (uint32_t i = 0; i < s->size; i++) {
            for (uint32_t k = 0; k < s->size; k++)
                s->clogged[i][k] = s->clogged[i][k] || pick(s, 2) == 0;
        }
        sim_tell(s, "network: clogged");
        break;
    case FAULT_HALF_OPEN:
        network_half_open(s, a, b);
        break;
    case FAULT_AWAY:
        isolate(s, a);
        break;
    default:
        break;
    }
}

static void pause_node(struct sim *s, struct sim_node *n, uint32_t ms)
{
    n->paused_until_ms = s->now_ms + ms;
    for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++)
        n->clients[i].due_ms += ms;
    sim_tell(s, "%s: pauses for %u ms", n->name, ms);
}

/* As if so much had been written at once that it overran the ring: whoever has not read it yet is
 * overtaken. */
static void overrun_ring(struct sim *s, struct sim_node *n)
{
    sim_tell(s, "%s: its ring is overrun", n->name);
    journal_skip(&n->node->journal, n->node->journal.last);
}

static void upset_node(struct sim *s, enum fault f, struct sim_node *n, uint32_t other)
{
    if (n->node == NULL)
        return;
    switch (f) {
    case FAULT_PAUSE:
        pause_node(s, n, pick(s, 12000));
        break;
    case FAULT_CRASH:
        faults_crash(s, n);
        break;
    case FAULT_CLOCK:
        upset_clock(s, n);
        break;
    case FAULT_FORGET:
        faults_forget(s, n, &s->nodes[other]);
        break;
    case FAULT_ALLOCATION:
        n->failing_until_ms = s->now_ms + pick(s, 2000);
        break;
    case FAULT_SMALL_RING:
        overrun_ring(s, n);
        break;
    case FAULT_LAZY_CLIENT:
        for (uint32_t i = 0; i < 40; i++)
            workload_lazy(s, n, i == 0);
        break;
    case FAULT_SAME_NAME:
        if (!has(s, FAULT_STRANGER))
            impersonate(s, other);
        break;
    default:
        break;
    }
}

/* Disks have draws of their own. */
static void upset_disk(struct sim *s, struct sim_node *n)
{
    uint32_t kinds = FAULT_COUNT - FAULT_DISKS;
    enum fault f = (enum fault)(FAULT_DISKS + random_below(&s->disks, kinds));
    if (n->disk.storage == NULL)
        return;
    if (has(s, FAULT_ROLLBACK) && random_below(&s->disks, 4) == 0)
        disk_take_image(s, n);
    else if (has(s, f))
        disk_fault(s, n, f);
}

void faults_inject(struct sim *s)
{
    enum fault f = (enum fault)pick(s, FAULT_DISKS);
    uint32_t a = pick(s, s->size), b = (a + 1 + pick(s, s->size - 1)) % s->size;
    if (pick(s, s->plan.mend_one_in) == 0) {
        mend_network(s);
    } else if (has(s, f)) {
        upset_network(s, f, a, b);
        upset_node(s, f, &s->nodes[a], b);
    }
    if (has(s, FAULT_DISK))
        upset_disk(s, &s->nodes[b]);
}

static void end_of_clocks(struct sim *s)
{
    /* Stamps that were made ahead of time stay ahead: the clocks follow, together. */
    uint64_t latest = 0;
    int64_t ahead = 0;
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        struct sim_node *n = &s->nodes[i];
        n->clock = (struct sim_clock){0};
        uint64_t stamp = n->node != NULL ? n->node->clock.last : n->keeps_disk ? n->stamp_last : 0;
        latest = stamp_wall_ms(stamp) > latest ? stamp_wall_ms(stamp) : latest;
    }
    uint64_t now = sim_now(s, &s->nodes[0]).wall_ms;
    ahead = latest > now ? (int64_t)(latest - now) : 0;
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++)
        s->nodes[i].clock.offset_ms = ahead;
}

void faults_end(struct sim *s)
{
    sim_tell(s, "the faults are over");
    s->healing = true;
    network_heal(s);
    struct sim_node *stranger = &s->nodes[SIM_NODES_MAX - 1];
    if (stranger->node != NULL)
        sim_stop_node(s, stranger, MEMORY_KILL);
    end_of_clocks(s);
    for (uint32_t i = 0; i < s->size; i++) {
        struct sim_node *n = &s->nodes[i];
        n->paused_until_ms = n->failing_until_ms = 0;
        disk_end_faults(n);
        if (n->node == NULL)
            sim_start_node(s, n);
    }
}
