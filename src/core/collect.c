/* Dropping tombstones that nobody needs any more.
 *
 * A tombstone is kept only as the messenger. It may go once
 *   - it is older than clocks may differ,
 *   - every member has confirmed it: then no store holds what it beat,
 *   - this node's vector has passed its stamp for every living origin: then nothing older is on its
 *     way here from a third node,
 *   - and no delta is being served or received, through which something older might come.
 * From then on the vector alone keeps the deleted key deleted: see store_merge. */
#include "kv/node.h"

/* Entries looked at in one tick, up to one partition more: a bound on how long it may take. */
#define COLLECT_ENTRIES_A_TICK 2000u

/* Below this stamp, this node has everything that any living origin has written. */
static uint64_t passed_stamp(const struct node *n, struct moment now)
{
    uint64_t passed = 0;
    if (now.wall_ms > NODE_CLOCK_DRIFT_MS)
        passed = (now.wall_ms - NODE_CLOCK_DRIFT_MS) << STAMP_COUNTER_BITS;
    for (uint32_t i = 0; i < n->members.count; i++) {
        uint64_t origin = n->members.list[i]->origin;
        uint64_t stamp = origin == 0 ? 0 : vector_get(&n->vector, origin);
        passed = stamp < passed ? stamp : passed;
    }
    return passed;
}

static bool confirmed_by_all(const struct node *n, const struct record *tombstone)
{
    for (uint32_t i = 0; i < n->members.count; i++) {
        if (!vector_covers(&n->members.list[i]->confirmed, tombstone->origin, tombstone->stamp))
            return false;
    }
    return true;
}

/* Somebody is to be there of whom nothing is known: no tombstone is confirmed by him. */
static bool somebody_is_unknown(const struct node *n)
{
    return node_expected_count(n) > n->members.count;
}

static uint64_t collect_partition(struct node *n, uint32_t partition, uint64_t passed)
{
    struct store_cursor cursor;
    struct record rec;
    uint64_t seen = 0, least = UINT64_MAX;
    store_cursor_open(&cursor, n->store, partition);
    while (store_cursor_next(&cursor, &rec)) {
        seen++;
        if (!rec.tombstone)
            continue;
        if (rec.stamp < passed && confirmed_by_all(n, &rec))
            store_drop_tombstone(n->store, &rec);
        else if (rec.stamp < least)
            least = rec.stamp;
    }
    store_cursor_close(&cursor);
    store_partition_swept(n->store, partition, least);
    return seen;
}

void node_collect(struct node *n, struct moment now)
{
    if (store_tombstone_count(n->store) == 0 || n->scans > 0 || n->delta != NULL ||
        somebody_is_unknown(n))
        return;
    uint64_t passed = passed_stamp(n, now), seen = 0;
    for (uint32_t i = 0; i < STORE_PARTITIONS && seen < COLLECT_ENTRIES_A_TICK; i++) {
        uint32_t p = n->collect_next;
        n->collect_next = (p + 1) % STORE_PARTITIONS;
        if (store_partition_tombstone_min(n->store, p) < passed)
            seen += collect_partition(n, p, passed);
    }
}
