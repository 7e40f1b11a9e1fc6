/* The files of a data directory, and how one segment follows another. */
#include "storage_internal.h"

#include "kv/check.h"
#include "kv/node.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* Beyond a segment's size, so that the end of one need not ask for space. */
#define SEGMENT_SLACK_BYTES (64u << 10)

/* --- files --------------------------------------------------------------------------------- */

void storage_file_name(enum storage_file_kind kind, uint64_t number, char *name)
{
    snprintf(name, DISK_NAME_BYTES, "%s-%016" PRIx64,
             kind == STORAGE_SNAPSHOT ? "snapshot" : "journal", number);
}

struct storage_file *storage_files(const struct storage *s, size_t *count)
{
    *count = buffer_size(&s->files) / sizeof(struct storage_file);
    return (struct storage_file *)(void *)(uintptr_t)buffer_bytes(&s->files).data;
}

bool storage_add_file(struct storage *s, enum storage_file_kind kind, uint64_t number,
                      uint64_t bytes)
{
    struct storage_file f = {.kind = kind, .number = number, .bytes = bytes};
    storage_file_name(kind, number, f.name);
    buffer_append(&s->files, bytes_of(&f, sizeof f));
    bool added = !buffer_failed(&s->files);
    s->files.failed = false; /* what it holds is good: the next one may fit */
    return added;
}

void storage_begin(struct storage *s, struct disk_request *r, enum disk_operation operation,
                   const char *name, const char *new_name)
{
    CHECK(!r->busy);
    r->operation = operation;
    r->busy = true;
    snprintf(r->name, sizeof r->name, "%s", name == NULL ? "" : name);
    snprintf(r->new_name, sizeof r->new_name, "%s", new_name == NULL ? "" : new_name);
    s->disk->begin(s->disk, r);
}

int storage_write_all(struct storage *s, struct disk_file *f, uint64_t offset, struct bytes bytes)
{
    while (bytes.size > 0) {
        int64_t written = s->disk->write(s->disk, f, offset, bytes);
        if (written < 0)
            return (int)written;
        offset += (uint64_t)written;
        bytes = bytes_after(bytes, (size_t)written);
        s->bytes_written += (uint64_t)written;
    }
    return 0;
}

/* --- segments ------------------------------------------------------------------------------ */

uint64_t storage_end_of(const struct storage_segment *segment)
{
    return segment->start + segment->bytes;
}

static uint64_t segment_bytes(const struct storage *s)
{
    uint64_t bytes = store_live_bytes(s->node->store) / STORAGE_SEGMENT_PART;
    if (s->recovery.waits && s->current.file == NULL)
        return STORAGE_SEGMENT_BYTES_MIN; /* there was no room for more; the next one may have it */
    bytes = bytes < STORAGE_SEGMENT_BYTES_FIRST ? STORAGE_SEGMENT_BYTES_FIRST : bytes;
    return bytes < s->config.segment_bytes ? bytes : s->config.segment_bytes;
}

void storage_create_segment(struct storage *s, uint64_t number)
{
    char name[DISK_NAME_BYTES];
    if (s->creation.busy || s->next != NULL)
        return;
    storage_file_name(STORAGE_JOURNAL, number, name);
    s->creation.bytes = segment_bytes(s) + SEGMENT_SLACK_BYTES;
    s->creation.filled = s->config.sync == STORAGE_SYNC_ALWAYS;
    storage_begin(s, &s->creation, DISK_CREATE, name, NULL);
}

void storage_segment_created(struct storage *s, int status, struct moment now)
{
    s->creation_error = status;
    if (status == 0) {
        s->next = s->creation.file;
        return;
    }
    if (s->current.file == NULL)
        return; /* the first one: storage_resume looks at it */
    s->creation_mono_ms = now.mono_ms + STORAGE_SNAPSHOT_RETRY_MS;
    s->snapshot.wanted = s->snapshot.wanted && !s->stopping;
    notice_add(&s->node->notices, NOTICE_WARN,
               "disk: cannot create %s: %s; going on in the segment before it", s->creation.name,
               s->disk->error_text(s->disk, status));
}

/* The last entry of the current segment: nothing after it counts. */
static int write_end(struct storage *s)
{
    struct buffer out;
    struct vector none;
    struct mark mark = {.type = MARK_END,
                        .position = storage_end_of(&s->current),
                        .synced = s->synced,
                        .forced_stamp = s->node->forced_stamp,
                        .records = s->records};
    vector_init(&none, s->heap);
    buffer_init(&out, s->heap);
    mark_encode(&mark, &none, &none, &out);
    int error = buffer_failed(&out)
                    ? -ENOMEM
                    : storage_write_all(s, s->current.file, s->current.bytes, buffer_bytes(&out));
    uint64_t size = buffer_size(&out);
    buffer_close(&out);
    if (error == 0)
        s->current.bytes += size;
    return error;
}

static int write_header(struct storage *s, uint64_t number, uint64_t position, uint64_t wall_ms)
{
    uint8_t header[SEGMENT_HEADER_BYTES];
    struct segment_header h = {.kind = SEGMENT_JOURNAL,
                               .number = number,
                               .position = position,
                               .created_ms = wall_ms,
                               .origin = s->node->config.origin};
    segment_header_encode(&h, header);
    return storage_write_all(s, s->next, 0, bytes_of(header, sizeof header));
}

/* The size of the current segment, among the files, as of its end. */
static void note_end(struct storage *s)
{
    size_t count;
    struct storage_file *files = storage_files(s, &count);
    for (size_t i = 0; i < count; i++) {
        if (files[i].kind == STORAGE_JOURNAL && files[i].number == s->current.number)
            files[i].bytes = s->current.bytes;
    }
}

int storage_rotate(struct storage *s)
{
    struct storage_segment old = s->current;
    uint64_t number = old.number + 1;
    if (s->next == NULL || s->ended.file != NULL)
        return -EBUSY;
    /* First, since nothing may fail once the header is there: the two would not fit together. */
    if (!storage_add_file(s, STORAGE_JOURNAL, number, 0))
        return -ENOMEM;
    int error = old.file == NULL ? 0 : write_end(s);
    if (error == 0)
        error = write_header(s, number, storage_end_of(&s->current),
                             stamp_wall_ms(s->node->clock.last));
    if (error != 0) {
        s->current = old; /* what was written behind its end is written over */
        buffer_truncate(&s->files, buffer_size(&s->files) - sizeof(struct storage_file));
        return error;
    }
    if (old.file != NULL) {
        note_end(s);
        /* What was preallocated and not used. A failure costs space alone. */
        (void)s->disk->truncate(s->disk, s->current.file, s->current.bytes);
        s->ended = s->current;
    }
    s->current = (struct storage_segment){.file = s->next,
                                          .number = number,
                                          .start = storage_end_of(&s->current),
                                          .bytes = SEGMENT_HEADER_BYTES,
                                          .limit = s->creation.bytes - SEGMENT_SLACK_BYTES};
    s->next = NULL;
    s->records = 0;
    return 0;
}

uint64_t storage_journal_bytes(const struct storage *s)
{
    size_t count;
    const struct storage_file *files = storage_files(s, &count);
    uint64_t bytes = s->current.bytes;
    for (size_t i = 0; i < count; i++)
        bytes += files[i].kind == STORAGE_JOURNAL ? files[i].bytes : 0;
    return bytes;
}

uint64_t storage_snapshot_bytes(const struct storage *s)
{
    size_t count;
    const struct storage_file *files = storage_files(s, &count);
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += files[i].kind == STORAGE_SNAPSHOT ? files[i].bytes : 0;
    return bytes;
}
