/* Comparing a partition with what a delta has shown of it.
 *
 * What the sender's vector covers, it has merged: if such a record is live here, and the sender
 * neither listed nor sent it, something has beaten it there that is gone since. Then it goes here
 * too: a tombstone with its own stamp and origin takes its place, by the one way in. */
#include "link_internal.h"

#include "kv/hash.h"
#include "kv/mutation.h"

#include <errno.h>
#include <stdlib.h>

static int compare_entries(const void *a, const void *b)
{
    const struct list_entry *x = a, *y = b;
    return (x->key_hash > y->key_hash) - (x->key_hash < y->key_hash);
}

/* The entry of that key, or NULL. */
static const struct list_entry *find_entry(const struct list_entry *entries, size_t count,
                                           uint64_t key_hash)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (entries[middle].key_hash < key_hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && entries[low].key_hash == key_hash ? &entries[low] : NULL;
}

/* A difference that both vectors cover has no reason but a fault; unless something was dropped by
 * force, or one clock has let the record expire before the other. */
static bool is_divergence(const struct link *l, const struct record *rec)
{
    const struct node *n = l->node;
    uint64_t soon_ms = stamp_wall_ms(n->clock.last) + n->config.max_clock_drift_ms;
    bool expiring = rec->expires_ms != 0 && rec->expires_ms <= soon_ms;
    return !l->delta.behind && !expiring && rec->stamp > n->forced_stamp &&
           vector_covers(&l->delta.asked, rec->origin, rec->stamp);
}

static void delete_record(struct link *l, const struct record *rec)
{
    struct node *n = l->node;
    struct record gone = *rec;
    bool divergence = is_divergence(l, rec);
    gone.tombstone = true;
    gone.expires_ms = 0;
    gone.value = bytes_of(NULL, 0);
    /* The entry, and its key with it, is freed by the merge. */
    buffer_truncate(&n->scratch, 0);
    buffer_append(&n->scratch, rec->key);
    gone.key = buffer_bytes(&n->scratch);
    int outcome = buffer_failed(&n->scratch) ? -ENOMEM : node_merge(n, &gone, false);
    if (outcome < 0) {
        buffer_close(&n->scratch);
        link_fail_merge(l, outcome);
        return;
    }
    l->delta.deleted++;
    l->delta.diverged += divergence;
    n->counters.divergence_repaired += divergence;
}

static bool is_newer(const struct list_entry *e, const struct record *rec)
{
    return e->stamp > rec->stamp || (e->stamp == rec->stamp && e->origin > rec->origin);
}

static bool is_older(const struct list_entry *e, const struct record *rec)
{
    return !is_newer(e, rec) && (e->stamp != rec->stamp || e->origin != rec->origin);
}

/* Whether a delete that went by force may have beaten what has that stamp. Then a write that nobody
 * had seen may have come in since, and stands there though it is older. */
static bool may_be_deleted(const struct link *l, uint64_t stamp)
{
    return l->delta.behind || (stamp <= l->node->forced_stamp && !MUTATED(DELETED_IS_FETCHED));
}

static void check_record(struct link *l, const struct record *rec, bool listed,
                         const struct list_entry *entries, size_t count)
{
    struct link_delta *d = &l->delta;
    bool was_here = vector_covers(&d->asked, rec->origin, rec->stamp);
    if (rec->tombstone || (was_here && !listed) ||
        !vector_covers(&d->vector, rec->origin, rec->stamp))
        return;
    const struct list_entry *e = find_entry(entries, count, hash_key(rec->key));
    if (e == NULL || (is_older(e, rec) && may_be_deleted(l, rec->stamp))) {
        /* Of two nodes that met the same write, which nobody had seen, only one had met the delete. */
        delete_record(l, rec);
    } else if (is_newer(e, rec) && vector_covers(&d->asked, e->origin, e->stamp) &&
               !may_be_deleted(l, e->stamp)) {
        /* The vector says that the newer one was merged here. It was not: so it is fetched. */
        l->scrub.whole = true;
        d->diverged++;
        l->node->counters.divergence_repaired++;
    }
}

void link_check_sort(struct link *l)
{
    struct buffer *seen = &l->delta.seen;
    size_t count = buffer_size(seen) / sizeof(struct list_entry);
    if (count > 1)
        qsort(seen->data + seen->start, count, sizeof(struct list_entry), compare_entries);
}

bool link_check_partition(struct link *l, uint32_t partition, bool listed)
{
    struct link_delta *d = &l->delta;
    struct bytes seen = buffer_bytes(&d->seen);
    const struct list_entry *entries = (const struct list_entry *)(const void *)seen.data;
    size_t count = seen.size / sizeof *entries;
    struct record rec;
    if (!d->check_cursor_open)
        store_cursor_open(&d->check_cursor, l->node->store, partition);
    d->check_cursor_open = true;
    while (d->looked_at < LINK_SCAN_ENTRIES && l->state != LINK_CLOSED) {
        if (!store_cursor_next(&d->check_cursor, &rec)) {
            link_check_end(l);
            return true;
        }
        d->looked_at++;
        check_record(l, &rec, listed, entries, count);
    }
    return false;
}

void link_check_end(struct link *l)
{
    struct link_delta *d = &l->delta;
    if (d->check_cursor_open)
        store_cursor_close(&d->check_cursor);
    d->check_cursor_open = false;
}
