/* Snapshots: a walk over the store into a new file, while writes go on; then the files that it covers go.
 *
 * A new segment is begun first. Everything before it is in the store when the walk begins, so the
 * snapshot covers all older segments. They are removed only when the snapshot is on the disk under its
 * name, and oldest first: whatever is left of them at any time is a delete without its record,
 * never a record without its delete. */
#include "storage_internal.h"

#include "kv/check.h"
#include "kv/mutation.h"
#include "kv/node.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static void temporary_name(uint64_t number, char *name)
{
    char final[DISK_NAME_BYTES];
    storage_file_name(STORAGE_SNAPSHOT, number, final);
    snprintf(name, DISK_NAME_BYTES, "%.100s.tmp", final);
}

void storage_snapshot_init(struct storage *s)
{
    buffer_init(&s->snapshot.out, s->heap);
}

static void end_walk(struct storage *s)
{
    struct storage_snapshot *p = &s->snapshot;
    if (p->stage == SNAPSHOT_WRITING || p->stage == SNAPSHOT_SYNCING)
        snapshot_scan_end(&p->scan);
    buffer_close(&p->out);
}

void storage_snapshot_close(struct storage *s)
{
    end_walk(s);
    if (s->snapshot.file != NULL)
        s->disk->close(s->disk, s->snapshot.file);
    s->snapshot.file = NULL;
}

int storage_snapshot(struct storage *s)
{
    struct storage_snapshot *p = &s->snapshot;
    bool idle = p->stage == SNAPSHOT_IDLE || p->stage == SNAPSHOT_CLEANING;
    bool failed_before = p->retry_mono_ms != 0; /* … and waits: but who asks need not */
    if (!idle || (p->wanted && !failed_before))
        return -EALREADY;
    p->wanted = true;
    p->retry_mono_ms = 0;
    return 0;
}

static void abandon(struct storage *s, int error, struct moment now)
{
    struct storage_snapshot *p = &s->snapshot;
    char name[DISK_NAME_BYTES];
    end_walk(s);
    if (p->file != NULL)
        s->disk->close(s->disk, p->file);
    p->file = NULL;
    p->retry_mono_ms = now.mono_ms + STORAGE_SNAPSHOT_RETRY_MS;
    p->wanted = !s->stopping;
    s->snapshots_failed++;
    notice_add(&s->node->notices, NOTICE_WARN,
               "disk: the snapshot failed: %s; the journal goes on, the next try is in %u s",
               s->disk->error_text(s->disk, error), STORAGE_SNAPSHOT_RETRY_MS / 1000);
    temporary_name(p->number, name);
    p->stage = SNAPSHOT_ABANDONING;
    storage_begin(s, &p->request, DISK_REMOVE, name, NULL);
}

/* --- one after another --------------------------------------------------------------------- */

/* A node that has not been refilled yet may hold what is deleted elsewhere: no snapshot shall make it
 * forget that. */
static void begin(struct storage *s, struct moment now)
{
    struct storage_snapshot *p = &s->snapshot;
    char name[DISK_NAME_BYTES];
    if (!p->wanted || s->node->refilling || now.mono_ms < p->retry_mono_ms || s->error != 0 ||
        storage_flush(s, now) != 0)
        return;
    /* While the segment before it is not synced, the current one was only just begun, and will do: when
     * a load fills segments faster than they are created, there is no other moment. */
    int error = s->ended.file != NULL ? 0 : storage_rotate(s);
    if (error == -EBUSY) {
        /* The segment is being created, or will be; but a node that ends waits for none. */
        p->wanted = !s->stopping || s->next != NULL || s->creation.busy;
        return;
    }
    if (error != 0) {
        p->retry_mono_ms = now.mono_ms + STORAGE_SNAPSHOT_RETRY_MS;
        p->wanted = !s->stopping;
        return;
    }
    p->wanted = false;
    p->number = s->current.number;
    p->position = s->current.start;
    p->begun = now;
    p->offset = p->synced = 0;
    p->request.bytes = 0;
    temporary_name(p->number, name);
    p->stage = SNAPSHOT_CREATING;
    storage_begin(s, &p->request, DISK_CREATE, name, NULL);
}

static void begin_walk(struct storage *s)
{
    struct storage_snapshot *p = &s->snapshot;
    struct segment_header header = {.kind = SEGMENT_SNAPSHOT,
                                    .number = p->number,
                                    .position = p->position,
                                    .created_ms = p->begun.wall_ms,
                                    .origin = s->node->config.origin};
    p->file = p->request.file;
    p->commands = s->node->counters.commands;
    p->tombstones_dropped = s->node->counters.tombstones_dropped;
    p->journal_end = storage_end_of(&s->current);
    snapshot_scan_begin(&p->scan, s->node, &header);
    p->stage = SNAPSHOT_WRITING;
}

static void publish(struct storage *s)
{
    struct storage_snapshot *p = &s->snapshot;
    char name[DISK_NAME_BYTES], new_name[DISK_NAME_BYTES];
    temporary_name(p->number, name);
    storage_file_name(STORAGE_SNAPSHOT, p->number, new_name);
    p->request.file = p->file;
    p->file = NULL; /* closed by it */
    p->stage = SNAPSHOT_PUBLISHING;
    storage_begin(s, &p->request, DISK_PUBLISH, name, new_name);
}

/* A tombstone newer than the walk may be gone before the walk comes to it, and what it had beaten with
 * it: then it is in the journal alone, which has to have it for good before the snapshot counts. */
static void await_journal(struct storage *s, struct moment now)
{
    struct storage_snapshot *p = &s->snapshot;
    bool needed = s->node->counters.tombstones_dropped != p->tombstones_dropped &&
                  !MUTATED(SNAPSHOT_PROMISED);
    int error = needed ? storage_flush(s, now) : 0;
    if (error != 0) {
        abandon(s, error, now);
        return;
    }
    p->journal_needed = needed ? storage_end_of(&s->current) : 0;
    p->stage = SNAPSHOT_WAITING;
}

static void publish_when_synced(struct storage *s, struct moment now)
{
    if (s->synced >= s->snapshot.journal_needed)
        publish(s);
    else
        storage_begin_sync(s, now);
}

/* What this turn does about. */
static uint64_t step_bytes(struct storage *s, struct moment now)
{
    struct storage_snapshot *p = &s->snapshot;
    uint64_t commands = s->node->counters.commands, end = storage_end_of(&s->current);
    uint64_t wanted = (end - p->journal_end) * STORAGE_SNAPSHOT_JOURNAL_TIMES;
    if (commands != p->commands || end != p->journal_end)
        p->served_mono_ms = now.mono_ms;
    p->commands = commands;
    p->journal_end = end;
    if (s->config.snapshot_step_bytes != 0)
        return s->config.snapshot_step_bytes;
    if (now.mono_ms - p->served_mono_ms >= STORAGE_SNAPSHOT_IDLE_MS)
        return STORAGE_SNAPSHOT_STEP_BYTES;
    if (wanted < STORAGE_SNAPSHOT_SERVING_BYTES)
        return STORAGE_SNAPSHOT_SERVING_BYTES;
    return wanted < STORAGE_SNAPSHOT_STEP_BYTES_MAX ? wanted : STORAGE_SNAPSHOT_STEP_BYTES_MAX;
}

static void write_slice(struct storage *s, struct moment now)
{
    struct storage_snapshot *p = &s->snapshot;
    uint64_t bytes = step_bytes(s, now);
    bool more = true;
    while (more && buffer_size(&p->out) < bytes && !buffer_failed(&p->out))
        more = snapshot_scan_read(&p->scan, bytes - buffer_size(&p->out), &p->out);
    int error = buffer_failed(&p->out)
                    ? -ENOMEM
                    : storage_write_all(s, p->file, p->offset, buffer_bytes(&p->out));
    if (error != 0) {
        abandon(s, error, now);
        return;
    }
    p->offset += buffer_size(&p->out);
    buffer_truncate(&p->out, 0);
    if (!more) {
        buffer_close(&p->out);
        await_journal(s, now);
        if (p->stage == SNAPSHOT_WAITING)
            publish_when_synced(s, now);
    } else if (p->offset - p->synced >= STORAGE_SNAPSHOT_SYNC_BYTES) {
        p->synced = p->offset;
        p->request.file = p->file;
        p->stage = SNAPSHOT_SYNCING;
        storage_begin(s, &p->request, DISK_SYNC, NULL, NULL);
    }
}

static void published(struct storage *s, struct moment now)
{
    struct storage_snapshot *p = &s->snapshot;
    s->snapshots++;
    p->retry_mono_ms = 0;
    p->last_saved_ms = p->begun.wall_ms;
    p->last_bytes = p->offset;
    p->last_ms = now.mono_ms - p->begun.mono_ms;
    if (!storage_add_file(s, STORAGE_SNAPSHOT, p->number, p->offset))
        notice_add(&s->node->notices, NOTICE_WARN,
                   "out of memory: the next start removes old files");
    notice_add(&s->node->notices, NOTICE_INFO,
               "disk: snapshot of %" PRIu64 " records, %" PRIu64 " bytes, in %" PRIu64 " ms",
               p->scan.records, p->offset, p->last_ms);
    p->stage = SNAPSHOT_CLEANING;
}

/* --- removing what is covered -------------------------------------------------------------- */

/* The next file that the snapshot covers, segments before snapshots, or NULL. */
static struct storage_file *next_covered(const struct storage *s)
{
    size_t count;
    struct storage_file *files = storage_files(s, &count), *found = NULL;
    for (size_t i = 0; i < count; i++) {
        struct storage_file *f = &files[i];
        if (f->number >= s->snapshot.number)
            continue;
        if (found == NULL || (f->kind == STORAGE_JOURNAL && found->kind == STORAGE_SNAPSHOT) ||
            (f->kind == found->kind && f->number < found->number))
            found = f;
    }
    return found;
}

/* The segment before the current one stays until its own sync is over. */
static bool may_clean(const struct storage *s)
{
    const struct storage_file *f = next_covered(s);
    bool synced = f == NULL || f->kind != STORAGE_JOURNAL || s->ended.file == NULL ||
                  f->number != s->ended.number;
    return !s->removal.busy && synced;
}

static void clean(struct storage *s)
{
    char aside[DISK_NAME_BYTES];
    struct storage_file *f = next_covered(s);
    if (!may_clean(s))
        return;
    if (f == NULL) {
        s->snapshot.stage = SNAPSHOT_IDLE;
        return;
    }
    if (f->damaged) {
        snprintf(aside, sizeof aside, "%.100s.damaged", f->name);
        storage_begin(s, &s->removal, DISK_RENAME, f->name, aside);
    } else {
        storage_begin(s, &s->removal, DISK_REMOVE, f->name, NULL);
    }
    /* It is no longer ours, whether that succeeds or not: the next start looks again. */
    size_t count;
    struct storage_file *files = storage_files(s, &count);
    size_t after = count - (size_t)(f - files) - 1;
    memmove(f, f + 1, after * sizeof *f);
    buffer_truncate(&s->files, (count - 1) * sizeof *f);
}

static void removed(struct storage *s, int status)
{
    if (status != 0)
        notice_add(&s->node->notices, NOTICE_WARN,
                   "disk: cannot remove %s: %s; the next start tries again", s->removal.name,
                   s->disk->error_text(s->disk, status));
}

/* --- driven by the storage ----------------------------------------------------------------- */

bool storage_snapshot_done(struct storage *s, struct disk_request *r, int status, struct moment now)
{
    struct storage_snapshot *p = &s->snapshot;
    if (r == &s->removal) {
        removed(s, status);
        return true;
    }
    if (r != &p->request)
        return false;
    if (p->stage == SNAPSHOT_ABANDONING)
        p->stage = SNAPSHOT_IDLE;
    else if (status != 0)
        abandon(s, status, now);
    else if (p->stage == SNAPSHOT_CREATING)
        begin_walk(s);
    else if (p->stage == SNAPSHOT_SYNCING)
        p->stage = SNAPSHOT_WRITING;
    else
        published(s, now);
    return true;
}

void storage_snapshot_tick(struct storage *s, struct moment now)
{
    struct storage_snapshot *p = &s->snapshot;
    p->looked = storage_end_of(&s->current);
    uint64_t journal = storage_journal_bytes(s);
    /* Of the whole directory: the next snapshot is made beside all that is there. */
    uint64_t all = journal + storage_snapshot_bytes(s);
    uint64_t live = store_live_bytes(s->node->store);
    if (p->stage == SNAPSHOT_IDLE && !p->wanted && !s->stopping && s->error == 0 &&
        now.mono_ms >= p->retry_mono_ms && journal > s->config.snapshot_bytes &&
        all > live / 100 * s->config.snapshot_percent)
        p->wanted = true;
}

void storage_snapshot_step(struct storage *s, struct moment now)
{
    switch (s->snapshot.stage) {
    case SNAPSHOT_IDLE:
        if (storage_end_of(&s->current) - s->snapshot.looked >= STORAGE_SNAPSHOT_LOOK_BYTES)
            storage_snapshot_tick(s, now);
        begin(s, now);
        break;
    case SNAPSHOT_WRITING:
        write_slice(s, now);
        break;
    case SNAPSHOT_CLEANING:
        clean(s);
        break;
    case SNAPSHOT_WAITING:
        publish_when_synced(s, now);
        break;
    case SNAPSHOT_PUBLISHING:
        if (MUTATED(SNAPSHOT_PUBLISHED_LATE))
            clean(s);
        break;
    case SNAPSHOT_CREATING:
    case SNAPSHOT_SYNCING:
    case SNAPSHOT_ABANDONING:
        break; /* their requests are under way */
    }
}

bool storage_snapshot_is_busy(const struct storage *s)
{
    return s->snapshot.stage == SNAPSHOT_WRITING ||
           (s->snapshot.stage == SNAPSHOT_CLEANING && may_clean(s));
}
