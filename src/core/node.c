/* The node: what ties store, journal, sessions and links together. */
#include "kv/node.h"

#include "kv/check.h"
#include "kv/mutation.h"
#include "kv/slowlog.h"
#include "kv/storage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* Entries looked at for expiry at a time: a bound on how long it may take. */
#define EXPIRE_ENTRIES 300u

struct node *node_new(const struct node_config *config, struct heap *heap, struct moment now)
{
    CHECK(config->origin != 0 && config->max_clock_drift_ms != 0);
    struct node *n = heap_zalloc(heap, sizeof *n);
    if (n == NULL)
        return NULL;
    n->config = *config;
    n->heap = heap;
    n->started = now;
    vector_init(&n->vector, heap);
    vector_init(&n->durable, heap);
    vector_init(&n->dropped, heap);
    members_init(&n->members, heap);
    random_init(&n->random, config->random_seed);
    buffer_init(&n->scratch, heap);
    buffer_init(&n->inline_scratch, heap);
    buffer_init(&n->reader.words, heap);
    command_index_init(&n->commands);
    n->slowlog = slowlog_new(heap);
    list_init(&n->sessions);
    list_init(&n->waiting);
    list_init(&n->ready);
    list_init(&n->links);
    list_init(&n->walks);
    n->journal.heap = heap;
    n->store = store_new(heap, random_next(&n->random));
    if (n->store == NULL || n->slowlog == NULL ||
        journal_init(&n->journal, heap, config->journal_bytes) != 0 ||
        vector_advance(&n->vector, config->origin, stamp_next(&n->clock, now.wall_ms)) != 0) {
        node_free(n);
        return NULL;
    }
    return n;
}

void node_free(struct node *n)
{
    CHECK(list_is_empty(&n->sessions) && list_is_empty(&n->links) && list_is_empty(&n->walks));
    node_close_collection(n);
    if (n->store != NULL)
        store_free(n->store);
    journal_close(&n->journal);
    vector_close(&n->vector);
    vector_close(&n->durable);
    vector_close(&n->dropped);
    members_close(&n->members);
    buffer_close(&n->scratch);
    buffer_close(&n->inline_scratch);
    buffer_close(&n->reader.words);
    slowlog_free(n->slowlog);
    heap_free(n->heap, n);
}

int node_restore_record(struct node *n, const struct record *rec)
{
    int outcome = store_merge(n->store, rec, false);
    if (outcome < 0)
        return outcome;
    stamp_observe(&n->clock, rec->stamp);
    return 0;
}

int node_restore(struct node *n, const struct vector *vector, const struct vector *dropped)
{
    int error = vector_merge(&n->vector, vector);
    if (error == 0)
        error = vector_merge(&n->durable, vector);
    if (error == 0)
        error = vector_merge(&n->dropped, dropped);
    if (error != 0)
        return error;
    for (uint32_t i = 0; i < vector->count; i++)
        stamp_observe(&n->clock, vector->entries[i].stamp);
    /* Whatever this run writes comes after all that was restored. */
    uint64_t start = stamp_next(&n->clock, n->started.wall_ms);
    CHECK(vector_advance(&n->vector, n->config.origin, start) == 0);
    journal_skip(&n->journal, start);
    return 0;
}

int node_synced(struct node *n, const struct vector *vector)
{
    return vector_merge(&n->durable, vector);
}

/* Without anybody to read it, the journal need not be written. */
static bool has_readers(const struct node *n)
{
    return n->members.count > 0 || n->members.address_count > 0;
}

/* encoded: out: the record as it goes to the disk; empty when there is none, or it lost. */
static int merge(struct node *n, const struct record *rec, bool covered, struct bytes *encoded)
{
    int error = n->storage == NULL ? 0 : storage_reserve(n->storage, record_bytes(rec));
    *encoded = bytes_of(NULL, 0);
    if (error != 0)
        return error;
    int outcome = store_merge(n->store, rec, covered);
    if (outcome == STORE_MERGED && n->storage != NULL)
        *encoded = storage_append(n->storage, rec);
    return outcome;
}

int node_merge(struct node *n, const struct record *rec, bool covered)
{
    struct bytes encoded;
    return merge(n, rec, covered, &encoded);
}

bool node_is_durable(const struct node *n, uint64_t stamp)
{
    return n->storage == NULL || n->storage->config.sync != STORAGE_SYNC_ALWAYS ||
           MUTATED(REPLY_BEFORE_SYNC) || vector_covers(&n->durable, n->config.origin, stamp);
}

bool node_fits_memory(const struct node *n, const struct record *rec)
{
    uint64_t limit = n->config.max_memory_bytes;
    struct record old;
    if (limit == 0)
        return true;
    uint64_t used = store_memory_bytes(n->store);
    uint64_t wanted = store_entry_bytes(rec->key.size, rec->value.size, rec->expires_ms != 0);
    if (used + wanted <= limit)
        return true;
    if (!store_find(n->store, rec->key, &old))
        return false;
    return wanted <= store_entry_bytes(old.key.size, old.value.size, old.expires_ms != 0);
}

int node_write(struct node *n, struct moment now, struct record *rec)
{
    rec->origin = n->config.origin;
    rec->stamp = stamp_next(&n->clock, now.wall_ms);
    struct bytes encoded;
    int outcome = merge(n, rec, false, &encoded);
    if (outcome < 0)
        return outcome;
    CHECK(outcome == STORE_MERGED);
    if (!has_readers(n))
        journal_skip(&n->journal, rec->stamp);
    else if (encoded.size > 0)
        journal_append_encoded(&n->journal, rec->stamp, encoded);
    else
        journal_append(&n->journal, rec);
    /* The own entry exists since node_new, so this allocates nothing. */
    CHECK(vector_advance(&n->vector, rec->origin, rec->stamp) == 0);
    n->last_write = rec->stamp;
    return 0;
}

/* Whether some vector says that the record was merged here before. While a delta is received, the
 * partitions it has completed count as covered by its sender's vector too. */
static bool is_covered(const struct node *n, const struct record *rec)
{
    if (vector_covers(&n->vector, rec->origin, rec->stamp))
        return true;
    if (n->delta == NULL || !n->delta->delta.begun)
        return false;
    const struct link_delta *d = &n->delta->delta;
    uint32_t partition = store_partition(rec->key);
    return partition >= d->first && partition < d->partitions &&
           vector_covers(&d->vector, rec->origin, rec->stamp);
}

static int receive(struct node *n, const struct record *rec, bool covered)
{
    struct record taken = *rec;
    taken.expires_ms += rec->expires_ms != 0 && MUTATED(EXPIRY_ADJUSTED);
    int outcome = node_merge(n, &taken, covered);
    if (outcome < 0)
        return outcome;
    if (!MUTATED(STAMPS_NOT_OBSERVED))
        stamp_observe(&n->clock, rec->stamp);
    n->counters.records_received++;
    if (MUTATED(RECEIVED_IS_FORWARDED) && outcome == STORE_MERGED && rec->stamp > n->journal.last)
        journal_append(&n->journal, rec);
    return 0;
}

int node_receive(struct node *n, const struct record *rec)
{
    return receive(n, rec, is_covered(n, rec));
}

int node_repair(struct node *n, const struct record *rec)
{
    struct record old;
    bool live = store_find(n->store, rec->key, &old) && !old.tombstone;
    return receive(n, rec, !live && is_covered(n, rec));
}

uint32_t node_confirmations(const struct node *n, uint64_t stamp)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->members.count; i++) {
        const struct member *m = n->members.list[i];
        /* Nothing written yet: whoever is there has all of it. */
        bool has =
            stamp == 0 ? m->sender != NULL : vector_covers(&m->confirmed, n->config.origin, stamp);
        count += has;
    }
    return count + MUTATED(ACK_COUNTS_ITSELF);
}

bool node_is_on_disk(const struct node *n, uint64_t stamp)
{
    return n->storage != NULL && vector_covers(&n->durable, n->config.origin, stamp);
}

uint32_t node_disk_confirmations(const struct node *n, uint64_t stamp)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->members.count; i++) {
        const struct member *m = n->members.list[i];
        bool told = stamp != 0 || m->sender != NULL;
        count += told && m->keeps_disk && vector_covers(&m->durable, n->config.origin, stamp);
    }
    return count;
}

void node_release(struct node *n, struct moment now)
{
    if (!n->acks_arrived)
        return;
    n->acks_arrived = false;
    list_for_each (item, &n->waiting) {
        session_release(container_of(item, struct session, waiting), now);
    }
}

/* --- what is due --------------------------------------------------------------------------- */

static void heartbeat(struct node *n, struct moment now)
{
    n->heartbeat_mono_ms = now.mono_ms;
    /* "Nothing of mine up to now but what you have": this lets idle nodes' vectors move on. */
    CHECK(vector_advance(&n->vector, n->config.origin, stamp_next(&n->clock, now.wall_ms)) == 0);
    list_for_each (item, &n->links) {
        struct link *l = container_of(item, struct link, all);
        if (l->state == LINK_HOLD || l->state == LINK_LIVE)
            link_send_heartbeat(l, now);
    }
}

/* Whether a link ended over the clocks of late and none stands since. */
static bool refused_of_late(uint64_t refused_mono_ms, const struct link *sender, struct moment now)
{
    return refused_mono_ms != 0 && now.mono_ms - refused_mono_ms < NODE_CLOCK_REFUSED_MS &&
           (sender == NULL || sender->state != LINK_LIVE);
}

/* One of two nodes cannot tell whose clock is wrong, and either goes on taking writes. Of three or
 * more, the one that disagrees with most is wrong: what it wrote would be kept from the others. */
static void compare_clocks(struct node *n, struct moment now)
{
    uint32_t disagree = 0, peers = node_expected_count(n);
    for (uint32_t i = 0; i < n->members.count; i++) {
        const struct member *m = n->members.list[i];
        disagree +=
            m->forgotten_ms == 0 && refused_of_late(m->clock_refused_mono_ms, m->sender, now);
    }
    for (uint32_t i = 0; i < n->members.address_count; i++) {
        const struct address *a = &n->members.addresses[i];
        disagree += a->member == NULL && !a->forgotten && a->state != ADDRESS_SELF &&
                    refused_of_late(a->clock_refused_mono_ms, NULL, now);
    }
    bool disagrees = disagree >= 2 && disagree * 2 > peers;
    if (disagrees && !n->clock_disagrees)
        notice_add(&n->notices, NOTICE_WARN,
                   "the clock differs from %u of %u peers' by more than %" PRIu64
                   " ms (--max-clock-drift); writes are refused until it is set right",
                   disagree, peers, n->config.max_clock_drift_ms);
    if (!disagrees && n->clock_disagrees)
        notice_add(&n->notices, NOTICE_INFO,
                   "the clock agrees with most peers' again; writes are taken");
    n->clock_disagrees = disagrees;
}

static void release_overdue(struct node *n, struct moment now)
{
    list_for_each (item, &n->waiting) {
        struct session *s = container_of(item, struct session, waiting);
        if (session_deadline(s) <= now.mono_ms && !MUTATED(HELD_WITHOUT_END))
            session_release(s, now);
    }
}

/* By turns of the loop, however much there is. */
static void sweep(struct node *n, struct moment now)
{
    uint64_t live = store_live_count(n->store);
    bool more = store_expire(n->store, now.wall_ms, EXPIRE_ENTRIES);
    n->counters.expired += live - store_live_count(n->store);
    more = node_collect(n, now) || more;
    n->sweep_mono_ms = more ? now.mono_ms + NODE_SWEEP_MS : 0;
}

uint64_t node_tick(struct node *n, struct moment now)
{
    release_overdue(n, now);
    if (now.mono_ms - n->tick_mono_ms >= NODE_TICK_MS) {
        n->tick_mono_ms = now.mono_ms;
        if (now.mono_ms - n->heartbeat_mono_ms >= LINK_HEARTBEAT_MS)
            heartbeat(n, now);
        list_for_each (item, &n->links) {
            link_tick(container_of(item, struct link, all), now);
        }
        link_consider_all(n, now);
        compare_clocks(n, now);
        node_forget_absent(n, now);
        sweep(n, now);
    } else if (n->sweep_mono_ms != 0 && n->sweep_mono_ms <= now.mono_ms) {
        sweep(n, now);
    }
    uint64_t due = n->tick_mono_ms + NODE_TICK_MS;
    if (n->sweep_mono_ms != 0 && n->sweep_mono_ms < due)
        due = n->sweep_mono_ms;
    list_for_each (item, &n->waiting) {
        uint64_t deadline = session_deadline(container_of(item, struct session, waiting));
        due = deadline < due ? deadline : due;
    }
    return due;
}

struct address *node_next_dial(struct node *n, struct moment now)
{
    for (uint32_t i = 0; i < n->members.address_count; i++) {
        struct address *a = &n->members.addresses[i];
        if (address_is_due(a, now.mono_ms)) {
            a->state = ADDRESS_DIALING;
            return a;
        }
    }
    return NULL;
}

void node_dial_failed(struct node *n, struct address *a, struct moment now, const char *reason)
{
    bool repeated = strncmp(a->reason, reason, sizeof a->reason - 1) == 0;
    char text[ADDRESS_TEXT_BYTES];
    a->refused = false;
    address_failed(a, now.mono_ms, &n->random, reason);
    if (repeated)
        return;
    address_text(a->host, a->port, text);
    notice_add(&n->notices, NOTICE_WARN, "cannot reach peer %s: %s; trying again within %u s", text,
               reason, DIAL_BACKOFF_MAX_MS / 1000);
}

bool node_is_busy(const struct node *n)
{
    list_for_each (item, &n->links) {
        if (link_is_busy(container_of(item, struct link, all)))
            return true;
    }
    return false;
}

/* --- how the peers are doing --------------------------------------------------------------- */

bool node_is_drained(const struct node *n)
{
    list_for_each (item, &n->links) {
        const struct link *l = container_of(item, struct link, all);
        if (l->role == LINK_SENDER && l->member != NULL && l->state != LINK_CLOSED &&
            !vector_covers(&l->member->confirmed, n->config.origin, n->last_write))
            return false;
    }
    return true;
}

uint64_t node_lag_ms(const struct node *n, const struct member *m, struct moment now)
{
    uint64_t confirmed = vector_get(&m->confirmed, n->config.origin);
    if (confirmed >= n->last_write)
        return 0;
    uint64_t since_ms = confirmed == 0 ? n->started.wall_ms : stamp_wall_ms(confirmed);
    return now.wall_ms > since_ms ? now.wall_ms - since_ms : 0;
}

uint64_t node_lag_records(const struct node *n, const struct member *m, bool *all)
{
    return journal_count_after(&n->journal, vector_get(&m->confirmed, n->config.origin), all);
}

uint32_t node_linked_count(const struct node *n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->members.count; i++) {
        const struct member *m = n->members.list[i];
        count += m->sender != NULL && m->sender->state == LINK_LIVE && m->receiver != NULL &&
                 m->receiver->state == LINK_LIVE;
    }
    return count;
}

uint32_t node_expected_count(const struct node *n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->members.count; i++)
        count += n->members.list[i]->forgotten_ms == 0;
    for (uint32_t i = 0; i < n->members.address_count; i++) {
        const struct address *a = &n->members.addresses[i];
        count += a->member == NULL && a->state != ADDRESS_SELF && !a->forgotten;
    }
    return count;
}

void node_forget(struct node *n, struct member *m, uint64_t wall_ms)
{
    CHECK(m->sender == NULL && m->receiver == NULL);
    m->forgotten_ms = wall_ms;
    n->members.generation++;
    notice_add(&n->notices, NOTICE_WARN,
               "forgot member %s: deletes are no longer kept for it; it is welcome to return",
               m->name);
}
