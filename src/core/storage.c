/* The journal on disk: batches, marks, syncs, segments. */
#include "storage_internal.h"

#include "kv/check.h"
#include "kv/mutation.h"
#include "kv/node.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* A batch's memory that is kept for the next one. */
#define BATCH_BYTES_KEPT (1u << 20)

/* A mark without records, for what the vector covers meanwhile: not more often. */
#define MARK_ALONE_MS 1000u

/* At a clean stop, a snapshot of so little data costs nobody a wait. */
#define CHEAP_SNAPSHOT_BYTES (16u << 20)

struct storage *storage_new(struct node *n, struct disk *d, const struct storage_config *config)
{
    struct storage *s = heap_zalloc(n->heap, sizeof *s);
    if (s == NULL)
        return NULL;
    CHECK(config->segment_bytes >= STORAGE_SEGMENT_BYTES_MIN || config->read_only);
    s->node = n;
    s->disk = d;
    s->heap = n->heap;
    s->config = *config;
    buffer_init(&s->files, s->heap);
    buffer_init(&s->batch, s->heap);
    vector_init(&s->marked, s->heap);
    vector_init(&s->marked_dropped, s->heap);
    vector_init(&s->appended, s->heap);
    vector_init(&s->syncing, s->heap);
    storage_snapshot_init(s);
    storage_recover_init(s);
    n->storage = s;
    n->loading = true;
    return s;
}

static void close_file(struct storage *s, struct disk_file **f)
{
    if (*f != NULL)
        s->disk->close(s->disk, *f);
    *f = NULL;
}

void storage_free(struct storage *s)
{
    CHECK(!s->sync.busy && !s->creation.busy && !s->removal.busy && !s->snapshot.request.busy);
    storage_snapshot_close(s);
    storage_recover_close(s);
    close_file(s, &s->current.file);
    close_file(s, &s->ended.file);
    close_file(s, &s->next);
    buffer_close(&s->files);
    buffer_close(&s->batch);
    vector_close(&s->marked);
    vector_close(&s->marked_dropped);
    vector_close(&s->appended);
    vector_close(&s->syncing);
    s->node->storage = NULL;
    heap_free(s->heap, s);
}

/* --- the batch ----------------------------------------------------------------------------- */

int storage_reserve(struct storage *s, size_t bytes)
{
    if (s->error != 0 && buffer_size(&s->batch) + bytes > STORAGE_BATCH_BYTES_MAX)
        return -ENOSPC;
    if (buffer_reserve(&s->batch, bytes) != NULL)
        return 0;
    s->batch.failed = false; /* what it holds is good */
    return -ENOMEM;
}

/* Remembers per origin what was appended last; without memory, as if it had been recovered. */
static void note_appended(struct storage *s, const struct record *rec)
{
    if (vector_advance(&s->appended, rec->origin, rec->stamp) != 0 &&
        s->restored_stamp < rec->stamp)
        s->restored_stamp = rec->stamp;
}

struct bytes storage_append(struct storage *s, const struct record *rec)
{
    size_t size = record_bytes(rec);
    uint8_t *at = buffer_reserve(&s->batch, size);
    CHECK(at != NULL); /* it was reserved */
    record_encode(rec, at);
    buffer_added(&s->batch, size);
    s->batch_records++;
    note_appended(s, rec);
    return bytes_of(at, size);
}

/* What `ours` has more than `told`. */
static int changes_since(const struct vector *ours, const struct vector *told,
                         struct vector *changes)
{
    for (uint32_t i = 0; i < ours->count; i++) {
        const struct vector_entry *e = &ours->entries[i];
        int error = vector_covers(told, e->origin, e->stamp)
                        ? 0
                        : vector_advance(changes, e->origin, e->stamp);
        if (error != 0)
            return error;
    }
    return 0;
}

struct changes {
    struct vector vector, dropped;
};

/* Appends a mark of what has changed since the last one, and makes room to note that it was written:
 * what is on the disk and not known to be would keep a client waiting that nobody writes after. */
static int append_mark(struct storage *s, struct changes *c)
{
    const struct node *n = s->node;
    bool first = MUTATED(MARK_BEFORE_RECORDS);
    struct mark mark = {.type = MARK_VECTOR,
                        .position =
                            storage_end_of(&s->current) + (first ? 0 : buffer_size(&s->batch)),
                        .synced = s->synced,
                        .forced_stamp = n->forced_stamp,
                        .records = s->records + (first ? 0 : s->batch_records)};
    int error = changes_since(&n->vector, &s->marked, &c->vector);
    if (error == 0)
        error = changes_since(&n->dropped, &s->marked_dropped, &c->dropped);
    if (error == 0)
        error = vector_reserve_merge(&s->marked, &c->vector);
    if (error == 0)
        error = vector_reserve_merge(&s->marked_dropped, &c->dropped);
    if (error != 0)
        return error;
    mark_encode(&mark, &c->vector, &c->dropped, &s->batch);
    if (!buffer_failed(&s->batch))
        return 0;
    s->batch.failed = false;
    return -ENOMEM;
}

static void batch_written(struct storage *s, const struct changes *c, struct moment now)
{
    s->current.bytes += buffer_size(&s->batch);
    if (s->batch_records > 0)
        s->records_end = storage_end_of(&s->current);
    else if (s->synced >= s->records_end)
        s->records_end = 0;
    s->records += s->batch_records;
    s->batch_records = 0;
    if (s->batch.capacity > BATCH_BYTES_KEPT)
        buffer_close(&s->batch);
    else
        buffer_truncate(&s->batch, 0);
    CHECK(vector_merge(&s->marked, &c->vector) == 0); /* there is room */
    CHECK(vector_merge(&s->marked_dropped, &c->dropped) == 0);
    s->stamp_written = s->node->last_write;
    s->mark_mono_ms = now.mono_ms;
    if (MUTATED(DURABLE_BEFORE_SYNC))
        (void)node_synced(s->node, &s->marked);
}

static int write_out(struct storage *s, size_t records_bytes)
{
    struct bytes batch = buffer_bytes(&s->batch), mark = bytes_after(batch, records_bytes);
    if (!MUTATED(MARK_BEFORE_RECORDS))
        return storage_write_all(s, s->current.file, s->current.bytes, batch);
    int error = storage_write_all(s, s->current.file, s->current.bytes, mark);
    return error != 0 ? error
                      : storage_write_all(s, s->current.file, s->current.bytes + mark.size,
                                          bytes_of(batch.data, records_bytes));
}

static int write_batch(struct storage *s, struct moment now)
{
    if (s->current.bytes >= s->current.limit) {
        int error = storage_rotate(s);
        if (error != 0 && error != -EBUSY)
            return error;
    }
    struct changes c;
    size_t records_bytes = buffer_size(&s->batch);
    vector_init(&c.vector, s->heap);
    vector_init(&c.dropped, s->heap);
    int error = append_mark(s, &c);
    if (error == 0)
        error = write_out(s, records_bytes);
    if (error == 0) {
        batch_written(s, &c, now);
    } else {
        /* The mark is made anew. What was written in part is cut off, or else written over. */
        buffer_truncate(&s->batch, records_bytes);
        (void)s->disk->truncate(s->disk, s->current.file, s->current.bytes);
    }
    vector_close(&c.vector);
    vector_close(&c.dropped);
    return error;
}

/* `now` is that of the turn's begin: what has failed may have taken long, and shall not be all that the next
 * turns do. */
static uint64_t next_try_mono_ms(const struct node *n, struct moment now)
{
    uint64_t clock_ms =
        n->host.monotonic_us == NULL ? 0 : n->host.monotonic_us(n->host.owner) / 1000;
    return (clock_ms > now.mono_ms ? clock_ms : now.mono_ms) + STORAGE_RETRY_MS;
}

static void note_outcome(struct storage *s, int error, struct moment now)
{
    if (error != 0) {
        s->write_errors++;
        s->retry_mono_ms = next_try_mono_ms(s->node, now);
        if (s->error != error)
            notice_add(
                &s->node->notices, NOTICE_WARN,
                "disk: writing the journal failed: %s; client writes are refused, reads go on; "
                "trying again every second",
                s->disk->error_text(s->disk, error));
    } else if (s->error != 0) {
        notice_add(&s->node->notices, NOTICE_INFO,
                   "disk: it can be written again; client writes are taken");
    }
    s->error = error;
}

/* --- syncs --------------------------------------------------------------------------------- */

/* Of the segment that ended first: nothing in the current one counts without it. */
void storage_begin_sync(struct storage *s, struct moment now)
{
    if (s->sync.busy || s->fatal)
        return;
    s->gathering = false;
    if (MUTATED(ENDED_NOT_SYNCED))
        close_file(s, &s->ended.file);
    s->syncing_ended = s->ended.file != NULL;
    s->sync.complete = s->syncing_ended;
    if (s->syncing_ended) {
        s->sync.file = s->ended.file;
    } else {
        /* Without memory to note what it will have made durable, it begins at a later turn. */
        if (storage_end_of(&s->current) == s->synced || vector_copy(&s->syncing, &s->marked) != 0 ||
            vector_reserve_merge(&s->node->durable, &s->syncing) != 0)
            return;
        s->syncing_position = storage_end_of(&s->current);
        s->sync.file = s->current.file;
    }
    s->sync_mono_ms = now.mono_ms;
    s->syncs++;
    storage_begin(s, &s->sync, DISK_SYNC, NULL, NULL);
}

void storage_fail_for_good(struct storage *s, int status)
{
    s->fatal = true;
    snprintf(
        s->reason, sizeof s->reason,
        "disk: a sync of the journal failed: %s. What the kernel has dropped by that cannot be "
        "known, so this node ends here; start it again once the disk is sound",
        s->disk->error_text(s->disk, status));
}

static void sync_done(struct storage *s, int status, struct moment now)
{
    if (status != 0 && !MUTATED(SYNC_FAILURE_IGNORED)) {
        storage_fail_for_good(s, status);
        return;
    }
    if (s->syncing_ended) {
        s->synced = storage_end_of(&s->ended);
        close_file(s, &s->ended.file);
        storage_begin_sync(s, now);
        return;
    }
    s->synced = s->syncing_position;
    CHECK(node_synced(s->node, &s->syncing) == 0); /* there is room */
    s->node->acks_arrived = true; /* replies may have waited for it */
    if (s->ended.file != NULL)
        storage_begin_sync(s, now);
}

/* With always, once a turn: a sync waits as long as turn after turn brings writes, so that it serves all
 * of them. Clients that wait for their replies before they write again would else settle into two
 * halves, each writing while the other's sync is under way: twice the syncs, for half as many each. */
static void sync_when_gathered(struct storage *s, struct moment now)
{
    uint64_t end = storage_end_of(&s->current);
    if (s->config.sync != STORAGE_SYNC_ALWAYS || s->sync.busy || end == s->synced)
        return;
    if (s->gathering &&
        (end == s->gathered || now.mono_ms - s->gather_mono_ms >= STORAGE_GATHER_MS)) {
        storage_begin_sync(s, now);
        return;
    }
    if (!s->gathering)
        s->gather_mono_ms = now.mono_ms;
    s->gathering = true;
    s->gathered = end;
}

/* --- what is due --------------------------------------------------------------------------- */

int storage_flush(struct storage *s, struct moment now)
{
    /* After an error a mark alone is enough to see whether the disk takes writes again. */
    if ((!storage_has_batch(s) && s->error == 0) || s->fatal)
        return s->error;
    if (s->error != 0 && now.mono_ms < s->retry_mono_ms)
        return s->error;
    if (MUTATED(WRITTEN_AFTER_REPLY) && now.mono_ms - s->mark_mono_ms < MARK_ALONE_MS)
        return 0;
    /* The disk may have taken no writes since the start. */
    int error = s->current.file == NULL ? storage_resume(s, now) : 0;
    if (error == -EINPROGRESS)
        return s->error;
    if (error == 0)
        error = write_batch(s, now);
    if (s->fatal)
        s->error = error; /* s->reason says all there is to say */
    else
        note_outcome(s, error, now);
    return s->error;
}

bool storage_has_written(const struct storage *s, uint64_t stamp)
{
    return stamp <= s->stamp_written || MUTATED(WRITTEN_AFTER_REPLY);
}

/* Whether a mark would vouch for something that was appended, or recovered, before it was covered; or tell
 * of tombstones that are gone; or that the last records are on the disk by now, so that damage to them
 * is not taken for a torn tail. */
static bool mark_is_due(const struct storage *s, struct moment now)
{
    const struct node *n = s->node;
    if (now.mono_ms - s->mark_mono_ms < MARK_ALONE_MS || s->error != 0)
        return false;
    if (s->records_end != 0 && s->synced >= s->records_end)
        return true;
    if (!vector_covers_vector(&s->marked_dropped, &n->dropped))
        return true;
    for (uint32_t i = 0; i < s->appended.count; i++) {
        const struct vector_entry *e = &s->appended.entries[i];
        uint64_t marked = vector_get(&s->marked, e->origin);
        if (marked < e->stamp && vector_get(&n->vector, e->origin) > marked)
            return true;
    }
    for (uint32_t i = 0; i < n->vector.count; i++) {
        const struct vector_entry *e = &n->vector.entries[i];
        uint64_t marked = vector_get(&s->marked, e->origin);
        if (marked < s->restored_stamp && e->stamp > marked)
            return true;
    }
    return false;
}

static void sync_when_due(struct storage *s, struct moment now)
{
    static const uint64_t pauses[] = {[STORAGE_SYNC_ALWAYS] = 0,
                                      [STORAGE_SYNC_EVERYSEC] = STORAGE_EVERYSEC_MS,
                                      [STORAGE_SYNC_NO] = STORAGE_LAZY_MS};
    uint64_t pause_ms = s->stopping ? 0 : pauses[s->config.sync];
    if (MUTATED(NEVER_SYNCED) && s->config.sync == STORAGE_SYNC_EVERYSEC)
        pause_ms = UINT64_MAX;
    if (s->ended.file != NULL || now.mono_ms - s->sync_mono_ms >= pause_ms)
        storage_begin_sync(s, now);
}

static void create_ahead(struct storage *s, struct moment now)
{
    bool half_full = s->current.bytes >= s->current.limit / 2;
    if (s->current.file != NULL && (half_full || s->snapshot.wanted) && !s->stopping &&
        now.mono_ms >= s->creation_mono_ms)
        storage_create_segment(s, s->current.number + 1);
}

/* The last mark says that everything before it is on the disk: then the next start knows that damage
 * to it is no torn tail. */
static void mark_the_stop(struct storage *s, struct moment now)
{
    bool snapshots = s->snapshot.wanted || s->snapshot.stage != SNAPSHOT_IDLE;
    if (s->current.file == NULL || !s->stopping || s->stopped_synced || snapshots || s->sync.busy ||
        storage_has_batch(s) || s->synced != storage_end_of(&s->current))
        return;
    note_outcome(s, write_batch(s, now), now);
    /* What was preallocated and not used. A failure costs space alone. */
    (void)s->disk->truncate(s->disk, s->current.file, s->current.bytes);
    s->stopped_synced = true;
}

void storage_tick(struct storage *s, struct moment now)
{
    if (s->recovery.stage != RECOVERY_DONE || s->fatal || s->config.read_only)
        return;
    storage_flush(s, now);
    if (mark_is_due(s, now))
        note_outcome(s, write_batch(s, now), now);
    sync_when_due(s, now);
    create_ahead(s, now);
    storage_snapshot_tick(s, now);
}

void storage_step(struct storage *s, struct moment now)
{
    if (s->recovery.stage != RECOVERY_DONE || s->fatal || s->config.read_only)
        return;
    sync_when_gathered(s, now);
    create_ahead(s, now);
    if (s->ended.file != NULL) /* until that is synced, no other segment can end */
        storage_begin_sync(s, now);
    storage_snapshot_step(s, now);
    mark_the_stop(s, now);
}

bool storage_is_busy(const struct storage *s)
{
    return s->recovery.stage == RECOVERY_DONE && (s->gathering || storage_snapshot_is_busy(s));
}

void storage_done(struct storage *s, struct disk_request *r, int status, struct moment now)
{
    CHECK(r->busy);
    r->busy = false;
    if (r == &s->sync)
        sync_done(s, status, now);
    else if (r == &s->creation)
        storage_segment_created(s, status, now);
    else
        CHECK(storage_snapshot_done(s, r, status, now));
}

/* --- the end ------------------------------------------------------------------------------- */

void storage_stop(struct storage *s, struct moment now)
{
    if (s->recovery.stage != RECOVERY_DONE)
        return;
    storage_flush(s, now);
    bool cheap = storage_snapshot_bytes(s) <= CHEAP_SNAPSHOT_BYTES &&
                 store_memory_bytes(s->node->store) <= CHEAP_SNAPSHOT_BYTES &&
                 storage_journal_bytes(s) > 2 * SEGMENT_HEADER_BYTES + s->config.segment_bytes / 2;
    s->snapshot.wanted =
        cheap && s->error == 0 && !s->node->refilling && now.mono_ms >= s->snapshot.retry_mono_ms;
    create_ahead(s, now);
    s->stopping = true;
    storage_begin_sync(s, now);
}

bool storage_is_stopped(const struct storage *s)
{
    bool busy = s->sync.busy || s->creation.busy || s->removal.busy || s->snapshot.request.busy;
    if (s->recovery.stage != RECOVERY_DONE || s->fatal)
        return !busy;
    if (busy)
        return false;
    return s->error != 0 || s->stopped_synced;
}
