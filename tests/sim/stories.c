/* Stories: faults that are told one after another at the right moments, since by chance they meet
 * too rarely. Each leads up to the moment at which one rule alone keeps a deleted key deleted (see
 * docs/convergence.md); whom they strike, and what else goes wrong meanwhile, is drawn.
 *
 * The last key is theirs: the clients leave it alone. */
#include "stories.h"

#include "checker.h"

#include "kv/hash.h"

#include <string.h>

#define WAIT_MS    12000u /* for a step; then the story is given up */
#define RESTART_MS 300u
#define REQUEST_MS 1500u /* so long a request is on its way: more than a heartbeat */
#define DELTA_MS   4000u /* so long a delta stands still: less than a link's silence may last */

/* A step: true when it is done, and the next one's turn. */
typedef bool step(struct sim *s, struct story *t);

static uint32_t pick(struct sim *s, uint32_t bound)
{
    return (uint32_t)random_below(&s->story_told.random, bound);
}

static struct sim_node *role(struct sim *s, uint32_t index)
{
    return &s->nodes[s->story_told.roles[index]];
}

/* --- what is looked at --------------------------------------------------------------------- */

static bool finds(struct sim *s, const struct sim_node *n, struct record *rec)
{
    char key[16];
    workload_key(s->plan.keys - 1, key);
    return n->node != NULL && store_find(n->node->store, bytes_text(key), rec);
}

static bool lacks(struct sim *s, const struct sim_node *n)
{
    struct record rec;
    return n->node != NULL && !finds(s, n, &rec);
}

static bool holds_written(struct sim *s, const struct sim_node *n)
{
    struct record rec;
    return finds(s, n, &rec) && !rec.tombstone && rec.stamp == s->story_told.written_stamp;
}

/* Whether all hold what was written, but for one. */
static bool all_hold_but(struct sim *s, const struct sim_node *one)
{
    for (uint32_t i = 0; i < s->size; i++) {
        if (&s->nodes[i] != one && !holds_written(s, &s->nodes[i]))
            return false;
    }
    return true;
}

static bool is_calm(const struct sim *s)
{
    for (uint32_t i = 0; i < s->size; i++) {
        const struct node *n = s->nodes[i].node;
        if (n == NULL || node_linked_count(n) != s->size - 1 || n->delta != NULL || n->scans > 0)
            return false;
    }
    return true;
}

/* The delta that the node is receiving, of everything; NULL = none. */
static const struct link *delta_of(const struct sim_node *n)
{
    const struct link *l = n->node == NULL ? NULL : n->node->delta;
    return l != NULL && !l->delta.scrub && l->member != NULL ? l : NULL;
}

static struct sim_node *sender_of(struct sim *s, const struct link *l)
{
    for (uint32_t i = 0; i < s->size; i++) {
        if (strcmp(s->nodes[i].name, l->member->name) == 0)
            return &s->nodes[i];
    }
    return NULL;
}

/* Whether the node's vector covers the story's delete. */
static bool covers_delete(const struct sim *s, const struct sim_node *n)
{
    return n->node != NULL &&
           vector_covers(&n->node->vector, s->story_told.delete_origin, s->story_told.delete_stamp);
}

/* --- what is done -------------------------------------------------------------------------- */

static bool write(struct sim *s, struct sim_node *n)
{
    s->story_told.written_stamp = workload_order(s, n, s->plan.keys - 1, false);
    return s->story_told.written_stamp != 0;
}

static bool delete (struct sim *s, struct sim_node *n)
{
    if (!holds_written(s, n))
        return false;
    s->story_told.delete_stamp = workload_order(s, n, s->plan.keys - 1, true);
    s->story_told.delete_origin = n->config.origin;
    return s->story_told.delete_stamp != 0;
}

static void restart(struct sim *s, struct sim_node *n)
{
    faults_crash(s, n);
    if (n->node == NULL)
        n->restart_ms = s->now_ms + RESTART_MS;
}

/* What the node wrote is no longer in its ring, and whoever was to get it begins again. */
static void interrupt(struct sim *s, struct sim_node *from, const struct sim_node *to)
{
    journal_skip(&from->node->journal, from->node->journal.last);
    network_reset(s, from->index, to->index);
}

static void block(struct sim *s, uint32_t a, bool blocked)
{
    for (uint32_t i = 0; i < s->size; i++) {
        if (i != a)
            s->blocked[a][i] = s->blocked[i][a] = blocked;
    }
}

/* --- an older record is in a delta while its delete is confirmed by all --------------------- */

/* What role 0 writes reaches all but role 1 before role 0 ends. */
static bool overtaken_begin(struct sim *s, struct story *t)
{
    (void)t;
    if (s->size < 4 || !is_calm(s))
        return false;
    network_stand(s, role(s, 0)->index, role(s, 1)->index, false, true);
    return write(s, role(s, 0));
}

static bool overtaken_end_origin(struct sim *s, struct story *t)
{
    (void)t;
    if (!all_hold_but(s, role(s, 1)))
        return false;
    network_reset(s, role(s, 0)->index, role(s, 1)->index);
    restart(s, role(s, 0));
    return true;
}

/* Role 1 asks somebody for a delta. He gets the request late, and later still the delete. */
static bool overtaken_delete(struct sim *s, struct story *t)
{
    const struct link *l = delta_of(role(s, 1));
    if (l == NULL || l->delta.begun)
        return false;
    const struct sim_node *sender = sender_of(s, l);
    for (uint32_t i = 0; i < s->size && sender != NULL; i++) {
        struct sim_node *n = &s->nodes[i];
        if (n == sender || n == role(s, 1) || !delete (s, n))
            continue;
        t->roles[2] = sender->index;
        t->roles[3] = i;
        t->served = sender->node->counters.deltas_served;
        network_stand(s, sender->index, role(s, 1)->index, true, true);
        network_stand(s, i, sender->index, false, true);
        t->due_ms = s->now_ms + REQUEST_MS;
        return true;
    }
    return false;
}

static bool overtaken_serve(struct sim *s, struct story *t)
{
    const struct sim_node *to = role(s, 1), *sender = role(s, 2);
    if (s->now_ms < t->due_ms || to->node == NULL ||
        vector_get(&to->node->vector, sender->config.origin) < t->delete_stamp)
        return false;
    network_stand(s, sender->index, to->index, true, false);
    network_stand(s, sender->index, to->index, false, true);
    t->due_ms = s->now_ms + DELTA_MS;
    return true;
}

static bool overtaken_confirm(struct sim *s, struct story *t)
{
    const struct node *sender = role(s, 2)->node;
    if (sender == NULL || sender->counters.deltas_served == t->served || sender->scans > 0)
        return false;
    network_stand(s, t->roles[3], t->roles[2], false, false);
    return true;
}

static bool wait_until_due(struct sim *s, struct story *t)
{
    return s->now_ms >= t->due_ms;
}

/* --- a third node, served by one that has not held the tombstones itself ------------------- */

static bool third_begin(struct sim *s, struct story *t)
{
    (void)t;
    return is_calm(s) && write(s, role(s, 0));
}

static bool third_leave(struct sim *s, struct story *t)
{
    (void)t;
    if (!all_hold_but(s, NULL) || !delete (s, role(s, 0)))
        return false;
    block(s, role(s, 2)->index, true);
    return true;
}

static bool third_forget(struct sim *s, struct story *t)
{
    const char *name = role(s, 2)->name;
    (void)t;
    for (uint32_t i = 0; i < s->size; i++) {
        const struct node *n = s->nodes[i].node;
        const struct member *m = n == NULL ? NULL : members_find(&n->members, bytes_text(name));
        if (&s->nodes[i] != role(s, 2) && (m == NULL || m->sender != NULL || m->receiver != NULL))
            return false;
    }
    for (uint32_t i = 0; i < s->size; i++) {
        if (&s->nodes[i] != role(s, 2))
            faults_forget(s, &s->nodes[i], role(s, 2));
    }
    return true;
}

static bool third_restart(struct sim *s, struct story *t)
{
    (void)t;
    for (uint32_t i = 0; i < s->size; i++) {
        if (&s->nodes[i] != role(s, 2) && !lacks(s, &s->nodes[i]))
            return false;
    }
    restart(s, role(s, 1));
    return true;
}

static bool third_meet(struct sim *s, struct story *t)
{
    (void)t;
    if (!covers_delete(s, role(s, 1)))
        return false;
    uint32_t a = role(s, 1)->index, b = role(s, 2)->index;
    s->blocked[a][b] = s->blocked[b][a] = false;
    return true;
}

static bool third_end(struct sim *s, struct story *t)
{
    (void)t;
    return covers_delete(s, role(s, 2));
}

/* --- a deleted record arrives by another link while a delta is received --------------------- */

static bool late_begin(struct sim *s, struct story *t)
{
    (void)t;
    if (!is_calm(s))
        return false;
    network_stand(s, role(s, 0)->index, role(s, 1)->index, false, true);
    return write(s, role(s, 0));
}

static bool late_delete(struct sim *s, struct story *t)
{
    (void)t;
    if (!delete (s, role(s, 2)))
        return false;
    network_stand(s, role(s, 2)->index, role(s, 1)->index, false, true);
    return true;
}

static bool late_interrupt(struct sim *s, struct story *t)
{
    (void)t;
    if (!lacks(s, role(s, 2)))
        return false;
    interrupt(s, role(s, 2), role(s, 1));
    return true;
}

static bool late_arrive(struct sim *s, struct story *t)
{
    const struct link *l = delta_of(role(s, 1));
    if (l == NULL || !l->delta.begun || sender_of(s, l) != role(s, 2))
        return false;
    network_stand(s, role(s, 2)->index, role(s, 1)->index, false, true);
    network_stand(s, role(s, 0)->index, role(s, 1)->index, false, false);
    t->due_ms = s->now_ms + 1000;
    return true;
}

/* --- tombstones go by force while a delta is served ----------------------------------------- */

static bool forced_delete(struct sim *s, struct story *t)
{
    (void)t;
    if (!all_hold_but(s, NULL))
        return false;
    network_stand(s, role(s, 0)->index, role(s, 1)->index, false, true);
    if (!delete (s, role(s, 0)))
        return false;
    interrupt(s, role(s, 0), role(s, 1));
    return true;
}

/* --- a tombstone is dropped while a snapshot that relies on it is written ------------------- */

/* Role 1 gets the delete, but not yet what it deletes; role 0, who wrote that, not the delete. */
static bool walked_delete(struct sim *s, struct story *t)
{
    if (!delete (s, role(s, 2)))
        return false;
    t->due_ms = s->now_ms + s->drift_ms + pick(s, SIM_TICK_MS);
    network_stand(s, role(s, 2)->index, role(s, 0)->index, false, true);
    return true;
}

static bool walked_snapshot(struct sim *s, struct story *t)
{
    struct storage *storage = role(s, 1)->disk.storage;
    if (storage == NULL || s->now_ms < t->due_ms || !covers_delete(s, role(s, 1)) ||
        lacks(s, role(s, 1)) || storage_snapshot(storage) != 0)
        return false;
    t->served = storage->snapshots;
    return true;
}

static bool walked_arrive(struct sim *s, struct story *t)
{
    const struct storage *storage = role(s, 1)->disk.storage;
    (void)t;
    if (storage == NULL || storage->snapshot.stage != SNAPSHOT_WRITING ||
        !storage->snapshot.scan.begun)
        return false;
    network_stand(s, role(s, 0)->index, role(s, 1)->index, false, false);
    return true;
}

/* After that it meets role 0 before it meets role 2. */
static bool walked_restart(struct sim *s, struct story *t)
{
    const struct storage *storage = role(s, 1)->disk.storage;
    if (storage == NULL || storage->snapshots == t->served || !lacks(s, role(s, 1)))
        return false;
    restart(s, role(s, 1));
    block(s, role(s, 2)->index, true);
    t->due_ms = s->now_ms + 2 * REQUEST_MS;
    return true;
}

/* --- telling them -------------------------------------------------------------------------- */

#define STEPS_MAX 7u

static step *const stories[STORY_COUNT][STEPS_MAX] = {
    [STORY_OVERTAKEN] = {overtaken_begin, overtaken_end_origin, overtaken_delete, overtaken_serve,
                         overtaken_confirm, wait_until_due},
    [STORY_THIRD] = {third_begin, third_leave, third_forget, third_restart, third_meet, third_end},
    [STORY_LATE] = {late_begin, late_delete, late_interrupt, late_arrive, wait_until_due},
    [STORY_FORCED] = {third_begin, forced_delete},
    [STORY_WALKED] = {late_begin, walked_delete, walked_snapshot, walked_arrive, walked_restart,
                      wait_until_due},
};

static const char *const names[STORY_COUNT] = {"none", "overtaken", "third",
                                               "late", "forced",    "walked"};

enum story_kind story_drawn(uint64_t seed)
{
    uint64_t drawn = hash_mix(seed, 6);
    return drawn % 4 != 0 ? STORY_NONE : (enum story_kind)(1 + drawn / 4 % (STORY_COUNT - 1));
}

void story_plan(struct sim_plan *plan, enum story_kind kind)
{
    plan->story = (uint32_t)kind;
    if (kind == STORY_NONE)
        return;
    if (kind == STORY_OVERTAKEN && plan->nodes < 4)
        plan->nodes = 4;
    if (plan->keys < 2)
        plan->keys = 2;
    /* What would keep the story from being told, or let the checker make an exception. */
    plan->faults &=
        ~(1u << FAULT_SKEW | 1u << FAULT_CLOCK | 1u << FAULT_MEMORY | 1u << FAULT_ALLOCATION |
          1u << FAULT_DISK | 1u << FAULT_ROLLBACK | 1u << FAULT_JOIN | 1u << FAULT_SAME_NAME |
          1u << FAULT_AWAY | 1u << FAULT_FORGET | 1u << FAULT_TOMBSTONES);
    if (kind == STORY_LATE || kind == STORY_FORCED || kind == STORY_WALKED)
        plan->faults |= 1u << FAULT_TOMBSTONES;
    if (kind == STORY_FORCED || kind == STORY_WALKED)
        plan->faults |= 1u << FAULT_BUSY; /* so that a scan takes its time */
    if (kind == STORY_WALKED)
        plan->faults |= 1u << FAULT_DISK | 1u << FAULT_POWER;
    plan->fault_one_in *= 16;
}

void story_open(struct sim *s)
{
    random_init(&s->story_told.random, hash_mix(s->plan.seed, 7));
    s->story_told.next_ms = 2000;
}

static void begin(struct sim *s, struct story *t)
{
    uint32_t order[SIM_NODES_MAX];
    for (uint32_t i = 0; i < s->size; i++)
        order[i] = i;
    for (uint32_t i = 0; i < STORY_ROLES; i++) {
        uint32_t k = i < s->size ? i + pick(s, s->size - i) : 0, other = order[k];
        order[k] = order[i % s->size];
        t->roles[i] = order[i % s->size] = other;
    }
    t->under_way = true;
    t->step = 0;
    t->give_up_ms = s->now_ms + WAIT_MS;
}

static void end(struct sim *s, struct story *t, const char *how)
{
    sim_tell(s, "story '%s': %s at step %u", names[s->plan.story], how, t->step);
    for (uint32_t i = 0; i < s->size; i++) {
        for (uint32_t k = 0; k < s->size; k++) {
            network_stand(s, i, k, false, false);
            network_stand(s, i, k, true, false);
        }
    }
    if (s->plan.story == STORY_THIRD || s->plan.story == STORY_WALKED)
        block(s, role(s, 2)->index, false);
    t->under_way = false;
    t->next_ms = s->now_ms + 500 + pick(s, 4000);
}

void story_step(struct sim *s)
{
    struct story *t = &s->story_told;
    if (s->plan.story == STORY_NONE || s->now_ms < t->next_ms)
        return;
    if (!t->under_way)
        begin(s, t);
    step *const *steps = stories[s->plan.story];
    if (steps[t->step](s, t)) {
        t->step++;
        t->give_up_ms = s->now_ms + WAIT_MS;
        sim_tell(s, "story '%s': step %u", names[s->plan.story], t->step);
    }
    if (steps[t->step] == NULL)
        end(s, t, "told");
    else if (s->now_ms >= t->give_up_ms)
        end(s, t, "given up");
}
