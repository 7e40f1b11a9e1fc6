/* Dropping tombstones that nobody needs any more.
 *
 * A tombstone is kept only as the messenger. It may go once
 *   - it is older than clocks may differ,
 *   - every member has confirmed it for good: then no store holds what it beat, or ever will again,
 *   - this node's vector has passed its stamp for every living origin: then nothing older is on its
 *     way here from a third node,
 *   - and no delta is being served or received, through which something older might come.
 * From then on the vector alone keeps the deleted key deleted: see store_merge.
 *
 * Whoever does not come would hold them for ever. So members that stay away are forgotten, and
 * beyond a limit of memory tombstones go by force, as soon as they are old enough. What was dropped
 * is noted in the dropped vector: whoever has not seen all of that compares lists (link_scan.c).
 *
 * A delta being served compares by the vector with which it began. A record that came since is not in
 * that, but the tombstone that has beaten it here may be: so the tombstone waits until the delta has
 * come past it. Those that are newer than the delta need not, so force keeps its bound.
 *
 * So it is with a snapshot or a backup: it promises the vector with which its walk began. What has come to
 * be covered since may be in no mark after a crash; the tombstone that has beaten it has to be in the
 * file then. Here it waits also when it goes by the rules, since those ask what members have, and not
 * whether this node's disk knows how much its vector covers. */
#include "kv/check.h"
#include "kv/mutation.h"
#include "kv/node.h"
#include "kv/snapshot.h"

/* Entries looked at at a time: a bound on how long it may take. */
#define COLLECT_ENTRIES 300u

/* What is decided for a whole pass: below which stamps what may go; 0 = nothing. */
struct collection {
    uint64_t passed; /* what all members have confirmed */
    uint64_t forced; /* everything */
    uint64_t settled; /* above it, nothing by force that a delta promises */
    uint64_t written; /* above it, nothing that a walk for the disk has not come to */
    uint64_t stranded; /* what no vector covers: its origin ended before all of it had arrived */
};

enum verdict { STAYS, GOES, GOES_STRANDED, GOES_BY_FORCE };

static uint64_t stamp_before(struct moment now, uint64_t age_ms)
{
    return now.wall_ms > age_ms ? (now.wall_ms - age_ms) << STAMP_COUNTER_BITS : 0;
}

/* Below this stamp, this node has everything that any living origin has written. */
static uint64_t passed_stamp(const struct node *n, uint64_t old_enough)
{
    uint64_t passed = old_enough;
    for (uint32_t i = 0; i < n->members.count; i++) {
        const struct member *m = n->members.list[i];
        if (m->forgotten_ms != 0 || MUTATED(DROP_UNPASSED))
            continue;
        uint64_t stamp = m->origin == 0 ? 0 : vector_get(&n->vector, m->origin);
        passed = stamp < passed ? stamp : passed;
    }
    return passed;
}

static bool confirmed_by_all(const struct node *n, const struct record *tombstone)
{
    const struct vector *own = n->config.keeps_disk ? &n->durable : &n->vector;
    if (MUTATED(DROP_UNCONFIRMED))
        return true;
    if (!MUTATED(APPLIED_AS_DURABLE) && !vector_covers(own, tombstone->origin, tombstone->stamp))
        return false;
    for (uint32_t i = 0; i < n->members.count; i++) {
        const struct member *m = n->members.list[i];
        if (m->forgotten_ms == 0 &&
            !vector_covers(member_kept(m), tombstone->origin, tombstone->stamp))
            return false;
    }
    return true;
}

/* Whether a delta being served promises that it is at the receiver, and may not tell of all that it has
 * beaten here. */
static bool is_promised(const struct node *n, const struct record *rec, const struct collection *c)
{
    if (rec->stamp <= c->settled || MUTATED(FORCED_PROMISED))
        return false;
    list_for_each (item, &n->links) {
        if (link_scan_promises(container_of(item, struct link, all), n->collect_next, rec))
            return true;
    }
    return false;
}

/* Whether a snapshot or backup being written promises it, or what it has beaten. */
static bool is_awaited(const struct node *n, const struct record *rec, const struct collection *c)
{
    if (rec->stamp <= c->written || MUTATED(SNAPSHOT_PROMISED))
        return false;
    list_for_each (item, &n->walks) {
        const struct snapshot_scan *scan = container_of(item, struct snapshot_scan, all);
        if (snapshot_scan_awaits(scan, n->collect_next, rec->stamp))
            return true;
    }
    return false;
}

static enum verdict judge(const struct node *n, const struct record *rec,
                          const struct collection *c)
{
    if (is_awaited(n, rec, c))
        return STAYS;
    if (rec->stamp < c->passed && confirmed_by_all(n, rec))
        return GOES;
    if (rec->stamp < c->stranded && !vector_covers(&n->vector, rec->origin, rec->stamp))
        return GOES_STRANDED;
    return rec->stamp < c->forced && !is_promised(n, rec, c) ? GOES_BY_FORCE : STAYS;
}

/* Then no drop has everybody's consent. */
static bool somebody_is_forgotten(const struct node *n)
{
    for (uint32_t i = 0; i < n->members.count; i++) {
        if (n->members.list[i]->forgotten_ms != 0)
            return true;
    }
    for (uint32_t i = 0; i < n->members.address_count; i++) {
        if (n->members.addresses[i].forgotten)
            return true;
    }
    return false;
}

/* False when out of memory: then it stays. */
static bool drop(struct node *n, const struct record *rec, enum verdict verdict)
{
    /* Nobody's vector can ever cover a stranded one: it would only send everybody to compare. */
    if (verdict != GOES_STRANDED && vector_advance(&n->dropped, rec->origin, rec->stamp) != 0)
        return false;
    if ((verdict != GOES || somebody_is_forgotten(n)) && n->forced_stamp < rec->stamp)
        n->forced_stamp = rec->stamp;
    n->counters.tombstones_forced += verdict != GOES;
    n->counters.tombstones_dropped++;
    store_drop_tombstone(n->store, rec);
    return true;
}

static void pass_begin(struct node *n)
{
    store_cursor_open(&n->collect_cursor, n->store, n->collect_next);
    n->collecting = true;
    n->collect_least = UINT64_MAX;
    store_partition_swept(n->store, n->collect_next, UINT64_MAX); /* what comes lowers it */
}

static void pass_end(struct node *n)
{
    uint64_t come = store_partition_tombstone_min(n->store, n->collect_next);
    store_cursor_close(&n->collect_cursor);
    n->collecting = false;
    store_partition_swept(n->store, n->collect_next,
                          n->collect_least < come ? n->collect_least : come);
    n->collect_next = (n->collect_next + 1) % STORE_PARTITIONS;
}

/* Looks at up to so many entries of the partition under way. Returns how many it has. */
static uint64_t pass_step(struct node *n, const struct collection *c, uint64_t budget)
{
    struct record rec;
    for (uint64_t seen = 0; seen < budget; seen++) {
        if (!store_cursor_next(&n->collect_cursor, &rec)) {
            pass_end(n);
            return seen;
        }
        if (!rec.tombstone)
            continue;
        uint64_t stamp = rec.stamp;
        enum verdict verdict = judge(n, &rec, c);
        bool gone = verdict != STAYS && drop(n, &rec, verdict);
        if (!gone && stamp < n->collect_least)
            n->collect_least = stamp;
    }
    return budget;
}

/* Whether every delta being served bears that tombstones of the partition go by force. */
static bool scans_allow(const struct node *n, uint32_t partition)
{
    bool allow = true;
    list_for_each (item, &n->links) {
        allow = link_scan_allows(container_of(item, struct link, all), partition) && allow;
    }
    return allow;
}

/* Somebody is to be there of whom nothing is known: no tombstone is confirmed by him. */
static bool somebody_is_unknown(const struct node *n)
{
    uint32_t known = 0;
    for (uint32_t i = 0; i < n->members.count; i++)
        known += n->members.list[i]->forgotten_ms == 0;
    return node_expected_count(n) > known && !MUTATED(DROP_UNCONFIRMED);
}

static bool is_over_limit(const struct node *n)
{
    return n->config.tombstone_memory_bytes != 0 &&
           store_tombstone_bytes(n->store) > n->config.tombstone_memory_bytes;
}

static uint64_t settled_stamp(const struct node *n)
{
    uint64_t settled = UINT64_MAX;
    list_for_each (item, &n->links) {
        uint64_t stamp = link_scan_settled(container_of(item, struct link, all));
        settled = stamp < settled ? stamp : settled;
    }
    return settled;
}

static uint64_t written_stamp(const struct node *n)
{
    uint64_t written = UINT64_MAX;
    list_for_each (item, &n->walks) {
        uint64_t stamp = snapshot_scan_settled(container_of(item, struct snapshot_scan, all));
        written = stamp < written ? stamp : written;
    }
    return written;
}

static struct collection plan(const struct node *n, struct moment now)
{
    struct collection c = {.written = written_stamp(n)};
    uint64_t old_enough = stamp_before(now, n->config.max_clock_drift_ms);
    bool delta = (n->scans > 0 || n->delta != NULL) && !MUTATED(DROP_DURING_DELTA);
    if (!delta && !somebody_is_unknown(n))
        c.passed = passed_stamp(n, old_enough);
    if (!delta && n->config.forget_after_ms != 0)
        c.stranded = stamp_before(now, n->config.forget_after_ms);
    if (is_over_limit(n)) {
        c.forced = old_enough;
        c.settled = settled_stamp(n);
    }
    return c;
}

/* Opens the partition that is next, if there may be something in it to drop; else passes it. */
static bool pass_opened(struct node *n, const struct collection *c)
{
    uint64_t below = c->passed > c->stranded ? c->passed : c->stranded;
    below = c->forced > below ? c->forced : below;
    if (store_partition_tombstone_min(n->store, n->collect_next) < below &&
        (c->forced == 0 || scans_allow(n, n->collect_next))) {
        pass_begin(n);
        return true;
    }
    n->collect_next = (n->collect_next + 1) % STORE_PARTITIONS;
    return false;
}

bool node_collect(struct node *n, struct moment now)
{
    if (store_tombstone_count(n->store) == 0)
        return false;
    struct collection c = plan(n, now);
    uint64_t seen = 0, dropped = n->counters.tombstones_dropped;
    /* A delta that has begun since may be in the middle of the partition that this pass is in. */
    if (n->collecting && c.forced != 0 && !scans_allow(n, n->collect_next))
        c.forced = 0;
    for (uint32_t i = 0; i <= STORE_PARTITIONS && seen < COLLECT_ENTRIES; i++) {
        if (!n->collecting && !pass_opened(n, &c))
            continue;
        seen += pass_step(n, &c, COLLECT_ENTRIES - seen);
        if (c.forced != 0 && !is_over_limit(n))
            return false; /* the next tick drops by the rules */
    }
    return seen >= COLLECT_ENTRIES && n->counters.tombstones_dropped > dropped;
}

void node_close_collection(struct node *n)
{
    if (n->collecting)
        store_cursor_close(&n->collect_cursor);
    n->collecting = false;
}

void node_forget_absent(struct node *n, struct moment now)
{
    uint64_t limit_ms = n->config.forget_after_ms;
    if (limit_ms == 0)
        return;
    for (uint32_t i = 0; i < n->members.count; i++) {
        struct member *m = n->members.list[i];
        if (m->sender != NULL || m->receiver != NULL)
            m->absent_mono_ms = 0;
        else if (m->absent_mono_ms == 0)
            m->absent_mono_ms = now.mono_ms;
        else if (m->forgotten_ms == 0 && now.mono_ms - m->absent_mono_ms >= limit_ms)
            node_forget(n, m, now.wall_ms);
    }
    for (uint32_t i = 0; i < n->members.address_count; i++) {
        struct address *a = &n->members.addresses[i];
        if (a->member == NULL && !a->forgotten && now.mono_ms - n->started.mono_ms >= limit_ms)
            a->forgotten = true;
    }
}
