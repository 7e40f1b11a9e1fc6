/* From reading to writing: what a start changes in the directory before the journal goes on.
 *
 * None of it is needed for what was read to be true, or durable. So a disk that takes no writes does not
 * end the start: the node serves what it has read and refuses writes, as it does when the disk fills up
 * while it runs, and this is tried again until all of it is done. In this order:
 *
 *     0. the directory is claimed: only then can no other process change it
 *     1. snapshots that were not finished are removed: they may take the room that is missing
 *     2. a torn tail is cut off: the marks to come say that everything before them was synced, and
 *        would turn it into damage
 *     3. what lies behind it is removed, and segments that were never used: the next one takes their
 *        numbers
 *     4. the first segment of this run is created, and its header written
 *
 * Nothing is appended to a segment of an earlier run. So as long as this has not come to its end, the
 * files are what the next start judges just as this one did. */
#include "storage_internal.h"

#include "kv/check.h"
#include "kv/mutation.h"
#include "kv/node.h"

#include <errno.h>
#include <stdio.h>

/* Remembers what could not be done. */
static int failed(struct storage *s, int error, const char *doing, const char *name)
{
    struct recovery *r = &s->recovery;
    if (error != 0) {
        r->failed_doing = doing;
        snprintf(r->failed_name, sizeof r->failed_name, "%s", name);
    }
    return error;
}

static int remove_file(struct storage *s, const char *name)
{
    return failed(s, s->disk->remove_now(s->disk, name), "removing", name);
}

/* --- 0: whose directory it is -------------------------------------------------------------- */

/* What another process has written since it was read, nobody here knows. */
static int claim(struct storage *s)
{
    int error = s->disk->claim(s->disk);
    if (error == -EBUSY) {
        s->fatal = true;
        snprintf(s->reason, sizeof s->reason,
                 "disk: it can be written again, but another process has taken the data directory "
                 "meanwhile; this node ends here");
    }
    return failed(s, error, "locking", "it for writing");
}

/* --- 1: unfinished snapshots --------------------------------------------------------------- */

/* The segments that such a one was to cover are all there. */
static int remove_unfinished(struct storage *s)
{
    struct buffer names;
    buffer_init(&names, s->heap);
    int error = s->disk->list(s->disk, &names);
    if (error == 0 && buffer_failed(&names))
        error = -ENOMEM;
    error = failed(s, error, "listing", "it");
    for (size_t at = 0; error == 0 && at < buffer_size(&names); at += DISK_NAME_BYTES) {
        const char *name = (const char *)buffer_bytes(&names).data + at;
        error = recovery_is_unfinished(name) ? remove_file(s, name) : 0;
    }
    buffer_close(&names);
    return error;
}

/* --- 2 and 3: what a crash has left -------------------------------------------------------- */

static int cut_file(struct storage *s, struct storage_file *f, uint64_t size)
{
    struct disk_file *file;
    uint64_t before;
    if (MUTATED(TORN_TAIL_KEPT))
        return 0;
    int error = s->disk->open(s->disk, f->name, &file, &before);
    if (error == 0) {
        error = s->disk->truncate(s->disk, file, size);
        int sync_error = error == 0 ? s->disk->sync_now(s->disk, file) : 0;
        s->disk->close(s->disk, file);
        if (sync_error != 0) {
            storage_fail_for_good(s, sync_error);
            error = sync_error;
        }
    }
    if (error == 0) {
        f->bytes = size;
        f->damaged = false;
    }
    return failed(s, error, "cutting the torn tail of", f->name);
}

bool recovery_is_surplus(const struct storage *s, uint32_t index)
{
    const struct recovery *r = &s->recovery;
    const struct storage_file *f = recovery_file(s, index);
    bool behind = r->torn && f->kind == STORAGE_JOURNAL &&
                  (index > r->damaged_index ||
                   (index == r->damaged_index && r->damaged_offset <= SEGMENT_HEADER_BYTES));
    return f->unused || behind;
}

/* Newest first, so that what is left at any time is a journal without a hole. */
static int remove_surplus(struct storage *s)
{
    size_t count;
    struct storage_file *files = storage_files(s, &count);
    for (size_t i = count; i > 0; i--) {
        int error =
            recovery_is_surplus(s, (uint32_t)(i - 1)) ? remove_file(s, files[i - 1].name) : 0;
        if (error != 0)
            return error;
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!recovery_is_surplus(s, (uint32_t)i))
            files[kept++] = files[i];
    }
    buffer_truncate(&s->files, kept * sizeof *files);
    return 0;
}

int recovery_repair(struct storage *s)
{
    struct recovery *r = &s->recovery;
    struct storage_file *f = r->torn ? recovery_file(s, r->damaged_index) : NULL;
    int error = 0;
    if (f != NULL && r->damaged_offset > SEGMENT_HEADER_BYTES)
        error = cut_file(s, f, r->damaged_offset);
    return error != 0 ? error : remove_surplus(s);
}

/* Once: after that the places of the files are others. */
static int tidy(struct storage *s)
{
    struct recovery *r = &s->recovery;
    if (r->tidied)
        return 0;
    r->tidied = MUTATED(TIDIED_ONCE);
    int error = claim(s);
    if (error == 0)
        error = remove_unfinished(s);
    if (error == 0)
        error = recovery_repair(s);
    r->tidied = r->tidied || error == 0;
    return error;
}

/* --- 4: the first segment ------------------------------------------------------------------ */

/* The name is free, unless a creation has failed and could not take back what there was of it. */
static int begin_creation(struct storage *s)
{
    char name[DISK_NAME_BYTES];
    uint64_t number = s->current.number + 1;
    storage_file_name(STORAGE_JOURNAL, number, name);
    int error = s->creation_error == -EEXIST && s->recovery.waits ? remove_file(s, name) : 0;
    if (error != 0)
        return error;
    s->recovery.creating = true;
    storage_create_segment(s, number);
    return -EINPROGRESS;
}

int storage_resume(struct storage *s, struct moment now)
{
    struct recovery *r = &s->recovery;
    if (s->creation.busy || (r->waits && MUTATED(STARTED_FULL_FOR_EVER)))
        return -EINPROGRESS;
    if (r->creating && s->next == NULL) {
        r->creating = false;
        return failed(s, s->creation_error, "creating", s->creation.name);
    }
    int error = tidy(s);
    if (error == 0 && s->next == NULL)
        return begin_creation(s);
    if (error == 0)
        error = failed(s, storage_rotate(s), "writing", s->creation.name);
    if (error != 0)
        return error;
    if (s->snapshot.number != 0)
        s->snapshot.stage = SNAPSHOT_CLEANING;
    s->mark_mono_ms = s->sync_mono_ms = now.mono_ms;
    return 0;
}

/* --- the start ----------------------------------------------------------------------------- */

/* What has to do with the disk, not with whose directory it is. */
static bool may_pass(int error)
{
    return error == -ENOSPC || error == -EDQUOT || error == -EFBIG || error == -EROFS ||
           error == -EIO;
}

int recovery_begin_writing(struct storage *s, struct moment now)
{
    struct recovery *r = &s->recovery;
    int error = storage_resume(s, now);
    if (error == -EINPROGRESS)
        return 1;
    if (s->fatal)
        return error;
    if (error != 0 && !may_pass(error))
        return recovery_give_up(s, error, r->failed_doing, r->failed_name);
    if (error != 0) {
        notice_add(&s->node->notices, NOTICE_WARN,
                   "disk: what it holds was read, but it takes no writes (%s %.100s: %s); client "
                   "writes are refused; make room, or mend it: this is tried again every second",
                   r->failed_doing, r->failed_name, s->disk->error_text(s->disk, error));
        s->error = error;
        s->write_errors++;
        s->retry_mono_ms = now.mono_ms + STORAGE_RETRY_MS;
        r->waits = true;
    }
    s->node->loading = false;
    r->stage = RECOVERY_DONE;
    return 0;
}
