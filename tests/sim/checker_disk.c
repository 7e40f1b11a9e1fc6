/* What disks have to give back.
 *
 * Of a write that a client was told is done, and of every vector that peers were told is durable:
 *   --fsync always     it survives every crash of its node
 *   everysec, no       it survives the end of the process; with everysec, a cut of the power too once it is
 *                      older than about a second
 * unless the disk itself was harmed or replaced by an older image since. Such a disk owes nothing any more, but
 * what comes from it still has to be true: invariants 4, 8 and 10 go on. */
#include "checker_internal.h"

#include "kv/check.h"

/* everysec: a second, a tick, and what a sync may take. */
#define UNSYNCED_MS 2000u

static struct node_view *view_of(struct sim *s, const struct sim_node *n)
{
    return &s->checker->views[n->index];
}

void checker_promised(struct sim *s, const struct sim_node *n, uint64_t stamp)
{
    for (uint32_t k = 0; k < s->plan.keys; k++) {
        struct issued *x = issued_find(s->checker, k, stamp, n->config.origin);
        if (x == NULL || x->promised)
            continue;
        x->promised = true;
        x->promised_by = n->index;
        x->promised_ms = s->now_ms;
    }
}

void checker_power_cut(struct sim *s, const struct sim_node *n)
{
    view_of(s, n)->power_cut = true;
}

void checker_disk_void(struct sim *s, const struct sim_node *n)
{
    struct node_view *v = view_of(s, n);
    v->disk_void = true;
    CHECK(vector_copy(&v->durable, &s->checker->nothing) == 0);
    for (uint32_t k = 0; k < s->plan.keys; k++) {
        struct key_history *h = &s->checker->keys[k];
        for (uint32_t i = 0; i < h->count; i++) {
            if (h->records[i].promised_by == n->index)
                h->records[i].promised = false;
        }
    }
}

/* What peers may have been told by now. */
void checker_note_durable(struct sim *s, const struct sim_node *n)
{
    if (n->disk.storage != NULL)
        CHECK(vector_copy(&view_of(s, n)->durable, &n->node->durable) == 0);
}

/* Whoever was damaged serves again only when somebody who was not has compared. */
void checker_look_at_refilling(struct sim *s, const struct sim_node *n)
{
    struct node_view *v = view_of(s, n);
    bool ended = v->refilling && !n->node->refilling, sound = false;
    v->refilling = n->node->refilling;
    for (uint32_t i = 0; i < s->size && ended; i++) {
        const struct sim_node *m = &s->nodes[i];
        /* One that has just ended counts: its last words may have been on their way. */
        sound = sound || (m != n && m->exists && !s->checker->views[i].refilling);
    }
    if (ended && !sound)
        sim_fail(s, 8, "%s was refilled by nobody who could", n->name);
}

/* Whether some other node would take it for a write that it has not seen yet. */
static bool is_news(const struct sim *s, const struct sim_node *n, const struct issued *x)
{
    for (uint32_t i = 0; i < s->size; i++) {
        const struct sim_node *m = &s->nodes[i];
        const struct vector *seen =
            m->node != NULL ? &m->node->vector : &s->checker->views[i].durable;
        if (m != n && (m->node != NULL || m->keeps_disk) &&
            !vector_covers(seen, x->origin, x->stamp))
            return true;
    }
    return false;
}

/* The tombstone went since this node, too, had it for good; then the disk was harmed, or replaced by an older
 * one. What that holds and no vector covers, since the node itself had lost it, nobody can know to be beaten. */
void checker_except_returned(struct sim *s, const struct sim_node *n, uint32_t key)
{
    struct checker *c = s->checker;
    const struct node_view *v = &c->views[n->index];
    const struct seen *is = &v->now[key];
    struct issued *x = issued_find(c, key, is->stamp, is->origin);
    if (!v->returned || n->node == NULL || x == NULL || is->tombstone ||
        x->stamp >= c->dropped[key].stamp || !is_news(s, n, x))
        return;
    x->came_late = true;
    checker_except_below(c, key, c->dropped[key].stamp);
}

static bool has_to_survive(const struct sim *s, const struct sim_node *n, const struct issued *x)
{
    const struct node_view *v = &s->checker->views[n->index];
    bool calm = n->disk.trouble_ms == 0 || n->disk.trouble_ms + UNSYNCED_MS < x->promised_ms;
    /* Nobody syncs for a process that stands still. */
    uint64_t since_ms = x->promised_ms > v->resumed_ms ? x->promised_ms : v->resumed_ms;
    switch (n->disk.config.sync) {
    case STORAGE_SYNC_ALWAYS:
        return true;
    case STORAGE_SYNC_EVERYSEC:
        return !v->power_cut ||
               (calm && since_ms + UNSYNCED_MS + n->disk.memory.dials.latency_ms < v->ran_ms);
    default:
        return !v->power_cut;
    }
}

/* It, or what beats it. */
static bool is_held(const struct sim *s, const struct sim_node *n, uint32_t key,
                    const struct issued *x)
{
    const struct seen *is = &s->checker->views[n->index].now[key];
    return is->present && issued_compare(is->stamp, is->origin, x) >= 0;
}

static bool survived(const struct sim *s, const struct sim_node *n, uint32_t key,
                     const struct issued *x)
{
    if (is_held(s, n, key, x))
        return true;
    /* After damage the vector says nothing of what was dropped; but of a live record it need not. */
    if (n->node->refilling)
        return x != &s->checker->keys[key].records[0] || x->tombstone || may_be_gone(s, n, key, x);
    return (x->unvouched || vector_covers(&n->node->vector, x->origin, x->stamp)) &&
           may_be_gone(s, n, key, x);
}

static void check_promises(struct sim *s, const struct sim_node *n, uint32_t key)
{
    struct key_history *h = &s->checker->keys[key];
    for (uint32_t i = 0; i < h->count; i++) {
        struct issued *x = &h->records[i];
        if (!x->promised || x->promised_by != n->index)
            continue;
        if (!survived(s, n, key, x) && has_to_survive(s, n, x))
            sim_fail(s, 11, "%s has lost an acknowledged write to k%u in a crash", n->name, key);
        /* What is lost, or may be when nobody can tell after damage, no later crash owes. */
        x->unvouched = x->unvouched || n->node->refilling;
        x->promised = is_held(s, n, key, x) || (!n->node->refilling && survived(s, n, key, x));
    }
}

void checker_recovered(struct sim *s, const struct sim_node *n)
{
    struct node_view *v = view_of(s, n);
    v->refilling = n->node->refilling;
    v->returned = v->disk_void;
    if (!n->keeps_disk)
        return;
    if (n->node->refilling && !v->disk_void)
        sim_fail(s, 18, "%s takes its disk for damaged, which it is not: %s", n->name,
                 n->disk.storage->recovery.damage);
    if (!n->node->refilling && !vector_covers_vector(&n->node->vector, &v->durable))
        sim_fail(s, 18, "%s does not come back with what it had said is durable", n->name);
    for (uint32_t k = 0; k < s->plan.keys; k++)
        check_promises(s, n, k);
    for (uint32_t k = 0; k < s->plan.keys; k++)
        checker_except_returned(s, n, k);
    /* Damage stays until a snapshot has taken its place. */
    v->disk_void = v->disk_void && n->node->refilling;
    v->power_cut = false;
}
