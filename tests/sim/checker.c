/* What holds at any moment. checker_end.c has what holds in the end. */
#include "checker_internal.h"

#include "kv/check.h"
#include "kv/hash.h"

#include <stdlib.h>

#define DEEP_LOOK_ONE_IN 8u /* of the looks at a node: all keys against its vector */
#define STILL_MS         500u /* without a turn: its process stands still; a tick is due every 100 ms */

/* --- what was issued ----------------------------------------------------------------------- */

int issued_compare(uint64_t stamp, uint64_t origin, const struct issued *x)
{
    if (stamp != x->stamp)
        return stamp < x->stamp ? -1 : 1;
    return (origin > x->origin) - (origin < x->origin);
}

/* Where it is, or would be: the records of a key stand in descending order. */
static uint32_t position_of(const struct key_history *h, uint64_t stamp, uint64_t origin)
{
    uint32_t low = 0, high = h->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (issued_compare(stamp, origin, &h->records[middle]) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct issued *issued_find(struct checker *c, uint32_t key, uint64_t stamp, uint64_t origin)
{
    struct key_history *h = &c->keys[key];
    uint32_t at = position_of(h, stamp, origin);
    return at < h->count && issued_compare(stamp, origin, &h->records[at]) == 0 ? &h->records[at]
                                                                                : NULL;
}

void checker_except_below(struct checker *c, uint32_t key, uint64_t stamp)
{
    if (c->unseen_below[key] < stamp)
        c->unseen_below[key] = stamp;
}

static void insert(struct key_history *h, struct issued x)
{
    if (h->count == h->capacity) {
        h->capacity = h->capacity == 0 ? 64 : h->capacity * 2;
        h->records = realloc(h->records, h->capacity * sizeof *h->records);
        CHECK(h->records != NULL);
    }
    uint32_t at = position_of(h, x.stamp, x.origin);
    memmove(h->records + at + 1, h->records + at, (h->count - at) * sizeof *h->records);
    h->records[at] = x;
    h->count++;
}

bool look_up(struct sim *s, const struct sim_node *n, uint32_t key, struct record *rec)
{
    return store_find(n->node->store, s->checker->names[key], rec);
}

/* Notes at the records that this delete was made with them in sight. */
static void note_delete(struct key_history *h, const struct sim_node *n, uint64_t stamp)
{
    for (uint32_t i = 0; i < h->count; i++) {
        struct issued *x = &h->records[i];
        if (x->stamp < stamp && vector_covers(&n->node->vector, x->origin, x->stamp)) {
            x->deleted_stamp = stamp;
            x->deleted_origin = n->config.origin;
        }
    }
}

/* Whether the record is what the client asked for. */
static bool is_as_issued(struct sim *s, const struct sim_node *n, uint32_t key,
                         const struct record *rec, enum write_kind kind, struct bytes value)
{
    const struct seen *was = &s->checker->views[n->index].now[key];
    const struct issued *x = issued_find(s->checker, key, was->stamp, was->origin);
    switch (kind) {
    case WRITE_VALUE:
        return !rec->tombstone && bytes_equal(rec->value, value);
    case WRITE_DELETE:
        return rec->tombstone;
    default: /* of what had been written before, time aside */
        return x != NULL && (rec->tombstone || hash_key(rec->value) == x->value_hash);
    }
}

void checker_issued(struct sim *s, const struct sim_node *n, uint32_t key, uint64_t stamp,
                    enum write_kind kind, struct bytes value)
{
    struct checker *c = s->checker;
    struct node_view *v = &c->views[n->index];
    uint64_t origin = n->config.origin;
    struct record rec;
    if (!look_up(s, n, key, &rec) || rec.stamp != stamp || rec.origin != origin ||
        !is_as_issued(s, n, key, &rec, kind, value)) {
        sim_fail(s, 2, "%s does not hold what it has just written to k%u", n->name, key);
        return;
    }
    if (stamp <= v->last_issued || stamp <= v->greatest_seen)
        sim_fail(s, 6, "%s stamps a write %llx after it has seen %llx", n->name,
                 (unsigned long long)stamp,
                 (unsigned long long)(v->last_issued > v->greatest_seen ? v->last_issued
                                                                        : v->greatest_seen));
    for (uint32_t k = 0; k < s->plan.keys; k++) {
        if (issued_find(c, k, stamp, origin) != NULL)
            sim_fail(s, 5, "two writes have stamp %llx of %s", (unsigned long long)stamp, n->name);
    }
    v->last_issued = stamp;
    /* A node that lost its memory and whose clock is too far behind writes what is older than deletes that
     * are gone by the rules: that, too, comes in. */
    if (stamp_wall_ms(stamp) + n->config.max_clock_drift_ms < SIM_START_WALL_MS + s->now_ms)
        checker_except_below(c, key, c->keys[key].count == 0 ? 0 : c->keys[key].records[0].stamp);
    if (rec.tombstone)
        note_delete(&c->keys[key], n, stamp);
    insert(&c->keys[key], (struct issued){.stamp = stamp,
                                          .origin = origin,
                                          .tombstone = rec.tombstone,
                                          .expires_ms = rec.expires_ms,
                                          .value_hash = hash_key(rec.value)});
}

void checker_acked(struct sim *s, const struct sim_node *n, uint64_t stamp, uint32_t peers)
{
    struct checker *c = s->checker;
    uint32_t holders = 0, key = 0;
    struct issued *x = NULL;
    for (; key < s->plan.keys && x == NULL; key++)
        x = issued_find(c, key, stamp, n->config.origin);
    if (x == NULL || peers == 0)
        return;
    key--;
    /* An impostor has what it confirmed, too, though nobody looks at it. */
    const struct sim_node *other = &s->nodes[SIM_NODES_MAX - 1];
    holders += other->exists && other->stranger == STRANGER_NAME;
    for (uint32_t i = 0; i < s->size; i++) {
        const struct node_view *v = &c->views[i];
        const struct sim_node *m = &s->nodes[i];
        /* One that has just ended may have confirmed what had been deleted and dropped on its way there. */
        const struct vector *claimed = m->node != NULL ? &m->node->vector : &v->before;
        bool claims = vector_covers(claimed, x->origin, stamp);
        holders += i != n->index &&
                   (issued_compare(v->ever[key].stamp, v->ever[key].origin, x) >= 0 || claims);
    }
    if (holders < peers)
        sim_fail(s, 11, "%s told a client that %u nodes have its write to k%u; %u do", n->name,
                 peers, key, holders);
}

/* --- runs ---------------------------------------------------------------------------------- */

void checker_open(struct sim *s)
{
    s->checker = calloc(1, sizeof *s->checker);
    CHECK(s->checker != NULL);
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        vector_init(&s->checker->views[i].before, &s->plain);
        vector_init(&s->checker->views[i].durable, &s->plain);
    }
    vector_init(&s->checker->nothing, &s->plain);
    for (uint32_t k = 0; k < SIM_KEYS_MAX; k++) {
        workload_key(k, s->checker->text[k]);
        s->checker->names[k] = bytes_text(s->checker->text[k]);
        s->checker->partitions[k] = store_partition(s->checker->names[k]);
    }
}

void checker_close(struct sim *s)
{
    for (uint32_t k = 0; k < SIM_KEYS_MAX; k++)
        free(s->checker->keys[k].records);
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        vector_close(&s->checker->views[i].before);
        vector_close(&s->checker->views[i].durable);
    }
    free(s->checker);
}

static struct seen seen_of(bool found, const struct record *rec)
{
    if (!found)
        return (struct seen){0};
    return (struct seen){
        .present = true, .tombstone = rec->tombstone, .stamp = rec->stamp, .origin = rec->origin};
}

void checker_stopped(struct sim *s, const struct sim_node *n)
{
    struct node_view *v = &s->checker->views[n->index];
    memset(v->now, 0, sizeof v->now);
}

/* --- one key of one node has changed ------------------------------------------------------- */

/* The greatest record of the key that a vector says is here, or was seen beaten. */
static const struct issued *greatest_covered(const struct sim *s, const struct vector *by,
                                             uint32_t key)
{
    const struct key_history *h = &s->checker->keys[key];
    for (uint32_t i = 0; i < h->count; i++) {
        if (vector_covers(by, h->records[i].origin, h->records[i].stamp))
            return &h->records[i];
    }
    return NULL;
}

static int seen_compare(const struct seen *a, const struct seen *b)
{
    if (a->stamp != b->stamp)
        return a->stamp < b->stamp ? -1 : 1;
    if (a->origin != b->origin)
        return a->origin < b->origin ? -1 : 1;
    return (int)a->tombstone - (int)b->tombstone;
}

bool has_expired(const struct sim *s, const struct issued *x)
{
    uint64_t latest = 0;
    /* An impostor's clock, too, can let a record expire. */
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        const struct sim_node *n = &s->nodes[i];
        uint64_t now = sim_now(s, n).wall_ms;
        if (i >= s->size && n->stranger != STRANGER_NAME)
            continue;
        latest = now > latest ? now : latest;
    }
    latest = s->checker->latest_wall_ms > latest ? s->checker->latest_wall_ms : latest;
    s->checker->latest_wall_ms = latest;
    return x->expires_ms != 0 && x->expires_ms <= latest;
}

/* A live record became a tombstone without a client: it has expired, or something beat it elsewhere. */
static void check_made_tombstone(struct sim *s, const struct sim_node *n, uint32_t key,
                                 struct issued *x)
{
    const struct key_history *h = &s->checker->keys[key];
    bool beaten = issued_compare(x->stamp, x->origin, &h->records[0]) < 0;
    if (!has_expired(s, x) && !beaten && !x->killed)
        sim_fail(s, 4, "%s deleted k%u, which nobody asked for", n->name, key);
    x->killed = true;
}

static void check_origin_of(struct sim *s, const struct sim_node *n, uint32_t key,
                            const struct record *rec)
{
    struct issued *x = issued_find(s->checker, key, rec->stamp, rec->origin);
    if (x == NULL)
        sim_fail(s, 4, "%s holds a record of k%u that no client wrote", n->name, key);
    else if (rec->tombstone && !x->tombstone)
        check_made_tombstone(s, n, key, x);
    else if (rec->tombstone != x->tombstone || rec->expires_ms != x->expires_ms ||
             (!rec->tombstone && hash_key(rec->value) != x->value_hash))
        sim_fail(s, 5, "%s holds k%u with another content than was written", n->name, key);
}

static void check_growth(struct sim *s, const struct sim_node *n, uint32_t key,
                         const struct seen *is)
{
    struct node_view *v = &s->checker->views[n->index];
    const struct seen *was = &v->now[key], *greatest = &v->greatest[key];
    struct moment now = sim_now(s, n);
    if (was->present && seen_compare(is, was) < 0)
        sim_fail(s, 3, "%s replaced k%u by something older", n->name, key);
    if (seen_compare(is, greatest) < 0 && !is->tombstone &&
        greatest->stamp > s->checker->unseen_below[key])
        sim_fail(s, 8, "%s has k%u back, which it had seen beaten", n->name, key);
    bool same = was->present && was->stamp == is->stamp && was->origin == is->origin;
    if (!same && !is->tombstone && vector_covers(&v->before, is->origin, is->stamp))
        sim_fail(s, 8, "%s took in a record of k%u that its vector covered", n->name, key);
    if (is->origin != n->config.origin && !same &&
        stamp_wall_ms(is->stamp) > now.wall_ms + n->config.max_clock_drift_ms)
        sim_fail(s, 7, "%s merged k%u from %llu ms ahead", n->name, key,
                 (unsigned long long)(stamp_wall_ms(is->stamp) - now.wall_ms));
    if (!is->tombstone && is->origin != n->config.origin)
        check_stream(s, n, key, is);
    if (n->node->clock.last < is->stamp)
        sim_fail(s, 6, "%s merged k%u and its clock did not follow", n->name, key);
    if (seen_compare(is, greatest) > 0)
        v->greatest[key] = *is;
    if (seen_compare(is, &v->ever[key]) > 0)
        v->ever[key] = *is;
    if (v->greatest_seen < is->stamp)
        v->greatest_seen = is->stamp;
    const struct issued *x = greatest_covered(s, &v->before, key);
    v->late[key] = x != NULL && issued_compare(is->stamp, is->origin, x) < 0;
    struct issued *came = issued_find(s->checker, key, is->stamp, is->origin);
    if (came != NULL && v->late[key])
        came->came_late = true;
}

/* What the node's vector does not cover by now is to it as if nobody had seen it. */
static void note_forced_drop(struct sim *s, const struct sim_node *n, uint32_t key)
{
    struct key_history *h = &s->checker->keys[key];
    uint64_t stamp = s->checker->views[n->index].now[key].stamp;
    checker_except_below(s->checker, key, stamp);
    for (uint32_t i = 0; i < h->count; i++) {
        struct issued *x = &h->records[i];
        if (x->stamp > stamp || vector_covers(&n->node->vector, x->origin, x->stamp))
            continue;
        x->came_late = x->came_late || x->stamp < stamp;
        x->unvouched = x->unvouched || (x->promised && x->promised_by == n->index);
    }
}

/* The node has dropped a tombstone: nobody it counts on may still need it. */
static void check_drop(struct sim *s, const struct sim_node *n, uint32_t key)
{
    struct checker *c = s->checker;
    const struct seen *was = &c->views[n->index].now[key];
    struct moment now = sim_now(s, n);
    const struct issued *x = issued_find(c, key, was->stamp, was->origin);
    /* An expired record may become a tombstone and be dropped in one go. */
    if (!was->tombstone && (x == NULL || !has_expired(s, x))) {
        sim_fail(s, 9, "%s lost k%u, which was not deleted", n->name, key);
        return;
    }
    if (stamp_wall_ms(was->stamp) + n->config.max_clock_drift_ms >= now.wall_ms)
        sim_fail(s, 9, "%s dropped the tombstone of k%u too early", n->name, key);
    if (c->views[n->index].forces)
        note_forced_drop(s, n, key);
    if (was->stamp <= c->unseen_below[key])
        return;
    if (was->stamp > c->dropped[key].stamp) {
        c->dropped[key].stamp = was->stamp;
        c->dropped[key].origin = was->origin;
        c->dropped[key].ms = s->now_ms;
    }
    for (uint32_t i = 0; i < s->size; i++) {
        const struct sim_node *m = &s->nodes[i];
        const struct member *member = members_find(&n->node->members, bytes_text(m->name));
        if (member == NULL || member->origin != m->config.origin) {
            checker_except_returned(s, m, key);
            continue;
        }
        const struct vector *durable = m->node != NULL ? &m->node->durable : &c->views[i].durable;
        if (m->keeps_disk && !c->views[i].disk_void &&
            !vector_covers(durable, was->origin, was->stamp))
            sim_fail(s, 9, "%s dropped the tombstone of k%u, which is not on the disk of %s",
                     n->name, key, m->name);
        if (m->node == NULL)
            continue;
        const struct seen *there = &c->views[i].now[key];
        /* The same record, still to expire there, will do so by itself. */
        bool same = there->stamp == was->stamp && there->origin == was->origin;
        if (there->present && !there->tombstone && !same && seen_compare(there, was) < 0)
            sim_fail(s, 9, "%s dropped the tombstone of k%u, and %s still has the key", n->name,
                     key, m->name);
    }
}

static void look_at_key(struct sim *s, struct sim_node *n, uint32_t key)
{
    struct node_view *v = &s->checker->views[n->index];
    struct record rec;
    bool found = look_up(s, n, key, &rec);
    struct seen is = seen_of(found, &rec);
    if (found == v->now[key].present && (!found || seen_compare(&is, &v->now[key]) == 0))
        return;
    if (found) {
        check_origin_of(s, n, key, &rec);
        check_growth(s, n, key, &is);
    } else {
        check_drop(s, n, key);
    }
    v->now[key] = is;
    sim_trace(s, is.stamp);
    if (s->story != NULL)
        fprintf(s->story, "                    %s: k%u is now %s %llx/%04llx\n", n->name, key,
                !found         ? "absent"
                : is.tombstone ? "deleted"
                               : "set",
                (unsigned long long)is.stamp, (unsigned long long)(is.origin >> 48));
}

/* --- the vector ---------------------------------------------------------------------------- */

/* Whether this run has seen the record beaten by what is deleted, expired and dropped since. */
static bool was_beaten(const struct sim *s, const struct sim_node *n, uint32_t key,
                       const struct issued *x)
{
    const struct seen *greatest = &s->checker->views[n->index].greatest[key];
    const struct issued *g = issued_find(s->checker, key, greatest->stamp, greatest->origin);
    bool dead = greatest->tombstone || (g != NULL && has_expired(s, g));
    return dead && issued_compare(greatest->stamp, greatest->origin, x) >= 0;
}

/* Whether some delete is greater: dropped by force before a vector covered it, it still counts. */
static bool is_beaten_by_delete(const struct sim *s, uint32_t key, const struct issued *x)
{
    const struct key_history *h = &s->checker->keys[key];
    for (uint32_t i = 0; i < h->count && &h->records[i] != x; i++) {
        const struct issued *z = &h->records[i];
        if (z->stamp <= s->checker->unseen_below[key] &&
            (z->tombstone || z->killed || has_expired(s, z)))
            return true;
    }
    return false;
}

/* Whether the delete that the node's vector covers was made by somebody who had the record, and all to
 * whom it came had not yet lost that delete: else it is the one that may come in, and that they list
 * to those who compare with them, until a scrub finds it. */
static bool was_seen(const struct sim *s, const struct sim_node *n, uint32_t key)
{
    const struct seen *is = &s->checker->views[n->index].now[key];
    const struct issued *p = issued_find(s->checker, key, is->stamp, is->origin);
    return p != NULL && p->deleted_stamp != 0 && !p->came_late &&
           vector_covers(&n->node->vector, p->deleted_origin, p->deleted_stamp);
}

bool may_be_gone(const struct sim *s, const struct sim_node *n, uint32_t key,
                 const struct issued *x)
{
    return x->tombstone || x->killed || has_expired(s, x) || was_beaten(s, n, key, x) ||
           is_beaten_by_delete(s, key, x);
}

static void check_covered(struct sim *s, const struct sim_node *n, uint32_t key)
{
    const struct node_view *v = &s->checker->views[n->index];
    const struct seen *is = &v->now[key];
    const struct issued *x = greatest_covered(s, &n->node->vector, key);
    if (x == NULL || (is->present && issued_compare(is->stamp, is->origin, x) >= 0))
        return;
    bool excused =
        x->stamp <= s->checker->unseen_below[key] && (v->late[key] || !was_seen(s, n, key));
    /* What comes back from a disk may have expired, and not have been swept yet. */
    const struct issued *held = issued_find(s->checker, key, is->stamp, is->origin);
    bool live = is->present && !is->tombstone && (held == NULL || !has_expired(s, held));
    if (live && !excused)
        sim_fail(s, x->tombstone ? 8 : 10, "%s holds an older k%u than its vector says", n->name,
                 key);
    else if (!live && !may_be_gone(s, n, key, x))
        sim_fail(s, 10, "%s does not hold k%u, which its vector covers", n->name, key);
}

/* What a run begins with is as true as what it comes to hold later. */
static void take_over(struct sim *s, const struct sim_node *n, uint32_t key)
{
    struct node_view *v = &s->checker->views[n->index];
    struct record rec;
    bool found = look_up(s, n, key, &rec);
    const struct issued *x = greatest_covered(s, &n->node->vector, key);
    v->now[key] = v->greatest[key] = seen_of(found, &rec);
    /* The run before it may have merged this in its last turn, of which nobody saw the end. */
    if (seen_compare(&v->now[key], &v->ever[key]) > 0)
        v->ever[key] = v->now[key];
    if (found) {
        check_origin_of(s, n, key, &rec);
        v->greatest_seen = rec.stamp > v->greatest_seen ? rec.stamp : v->greatest_seen;
    }
    /* What the vector covers has been seen, though a tombstone of it may be gone. */
    if (x != NULL && (!found || issued_compare(rec.stamp, rec.origin, x) < 0))
        v->greatest[key] = (struct seen){.present = true,
                                         .tombstone = x->tombstone || x->killed,
                                         .stamp = x->stamp,
                                         .origin = x->origin};
}

void checker_started(struct sim *s, const struct sim_node *n)
{
    struct node_view *v = &s->checker->views[n->index];
    if (!n->keeps_disk)
        memset(v->late, 0, sizeof v->late);
    CHECK(vector_copy(&v->before, &n->node->vector) == 0);
    v->last_issued = v->greatest_seen = v->forced = 0;
    v->started_ms = s->now_ms;
    for (uint32_t k = 0; k < s->plan.keys; k++) {
        take_over(s, n, k);
        check_covered(s, n, k);
    }
    checker_recovered(s, n);
}

/* Whether what the node drops now may be dropped without everybody's consent. */
static void note_forced(struct sim *s, const struct sim_node *n)
{
    struct node_view *v = &s->checker->views[n->index];
    uint64_t forced = n->node->counters.tombstones_forced;
    /* Whoever may be left out of the count can come back with what the others have dropped. */
    v->forces = forced != v->forced || plan_has(&s->plan, FAULT_JOIN) ||
                plan_has(&s->plan, FAULT_SAME_NAME);
    v->forced = forced;
    const struct members *members = &n->node->members;
    for (uint32_t i = 0; i < members->count && !v->forces; i++)
        v->forces = members->list[i]->forgotten_ms != 0;
    for (uint32_t i = 0; i < members->address_count && !v->forces; i++)
        v->forces = members->addresses[i].forgotten;
}

static void note_turn(struct sim *s, const struct sim_node *n)
{
    struct node_view *v = &s->checker->views[n->index];
    if (s->now_ms - v->ran_ms > STILL_MS)
        v->resumed_ms = s->now_ms;
    v->ran_ms = s->now_ms;
}

/* Nothing is asked of a node under another's name. But a delete that it drops may be missing to whoever
 * takes it for the other. */
static void look_at_impostor(struct sim *s, const struct sim_node *n)
{
    struct seen *now = s->checker->views[n->index].now;
    for (uint32_t k = 0; k < s->plan.keys; k++) {
        struct record rec;
        bool found = look_up(s, n, k, &rec);
        if (!found && now[k].present)
            note_forced_drop(s, n, k);
        now[k] = seen_of(found, &rec);
    }
}

void checker_look(struct sim *s, struct sim_node *n)
{
    if (n->node != NULL && n->stranger == STRANGER_NAME)
        look_at_impostor(s, n);
    if (n->stranger || n->node == NULL)
        return;
    note_forced(s, n);
    note_turn(s, n);
    for (uint32_t k = 0; k < s->plan.keys; k++)
        look_at_key(s, n, k);
    CHECK(vector_copy(&s->checker->views[n->index].before, &n->node->vector) == 0);
    checker_note_durable(s, n);
    checker_look_at_refilling(s, n);
    /* While it is being caught up is when a vector might say too much. */
    struct node_view *v = &s->checker->views[n->index];
    bool caught_up = v->deltas != n->node->counters.deltas_received;
    v->deltas = n->node->counters.deltas_received;
    if (++s->checker->looks % DEEP_LOOK_ONE_IN != 0 && n->node->delta == NULL && !caught_up)
        return;
    for (uint32_t k = 0; k < s->plan.keys; k++)
        check_covered(s, n, k);
    check_links(s, n);
    check_sessions(s, n);
    check_digests_of_keys(s, n);
    check_stranger(s, n);
}

void checker_link_ended(struct sim *s, const char *reason)
{
    static const char *const faults[] = {
        "hole",      "not of its stream", "not asked for", "place",       "damaged",
        "malformed", "no frame",          "getting one",   "are allowed", "for digests"};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        if (strstr(reason, faults[i]) != NULL && strstr(reason, "--max-clock-drift") == NULL)
            sim_fail(s, 13, "a link ended since %s", reason);
    }
}
