/* Backups that are pulled, and restores that are pushed, over a client's connection. */
#include "kv/backup.h"

#include "kv/node.h"
#include "kv/storage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static struct backup *new_in_state(struct node *n, enum backup_state state)
{
    struct backup *b = heap_zalloc(n->heap, sizeof *b);
    if (b == NULL)
        return NULL;
    b->node = n;
    b->state = state;
    return b;
}

struct backup *backup_new(struct node *n, struct moment now)
{
    struct backup *b = new_in_state(n, BACKUP_SENDING);
    if (b == NULL)
        return NULL;
    struct segment_header header = {
        .kind = SEGMENT_BACKUP, .created_ms = now.wall_ms, .origin = n->config.origin};
    snapshot_scan_begin(&b->scan, n, &header);
    n->backups++;
    return b;
}

struct backup *restore_new(struct node *n)
{
    struct backup *b = new_in_state(n, BACKUP_RESTORING);
    if (b != NULL)
        restore_resume(b);
    return b;
}

void backup_free(struct backup *b)
{
    if (b == NULL)
        return;
    if (b->scan.node != NULL) {
        snapshot_scan_end(&b->scan);
        b->node->backups--;
    }
    heap_free(b->node->heap, b);
}

void backup_send(struct backup *b, struct buffer *out)
{
    if (!snapshot_scan_read(&b->scan, BACKUP_TURN_BYTES / b->node->backups, out))
        b->state = BACKUP_COMPLETE;
}

/* --- restore ------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void fail(struct backup *b, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(b->reason, sizeof b->reason, format, arguments);
    va_end(arguments);
    b->state = BACKUP_FAILED;
    size_t at = used < 0 ? 0 : (size_t)used;
    if (at < sizeof b->reason)
        snprintf(b->reason + at, sizeof b->reason - at, "; %" PRIu64 " keys were written",
                 b->written);
}

static size_t read_header(struct backup *b, struct bytes from)
{
    struct segment_header header;
    int size = segment_header_decode(&header, from);
    if (size == -EPROTONOSUPPORT)
        fail(b, "the backup is of another format version than %u", SEGMENT_VERSION);
    else if (size < 0 || (size > 0 && header.kind == SEGMENT_JOURNAL))
        fail(b, "this is no backup, or its beginning is damaged");
    if (b->state == BACKUP_FAILED || size == 0)
        return 0;
    b->header_read = true;
    return (size_t)size;
}

/* Why this node takes no writes at this time, or NULL. */
static const char *refusal(const struct node *n)
{
    if (n->clock_disagrees)
        return "this node's clock differs from most peers' (PEERS)";
    if (n->storage != NULL && n->storage->error != 0)
        return "the disk takes no writes";
    return NULL;
}

static void write_record(struct backup *b, struct moment now, const struct record *read)
{
    struct node *n = b->node;
    struct record rec = {.key = read->key, .value = read->value, .expires_ms = read->expires_ms};
    const char *refused = refusal(n);
    if (refused != NULL) {
        fail(b, "%s; ended at offset %" PRIu64 " of the backup", refused, b->offset);
    } else if (!node_fits_memory(n, &rec)) {
        fail(b, "memory is full at %" PRIu64 " bytes (--max-memory) at offset %" PRIu64,
             n->config.max_memory_bytes, b->offset);
    } else {
        int error = node_write(n, now, &rec);
        if (error != 0) {
            fail(b, "%s at offset %" PRIu64,
                 error == -ENOMEM ? "out of memory" : "the disk takes no writes", b->offset);
            return;
        }
        b->stamp = rec.stamp;
        b->written++;
    }
}

static void take_record(struct backup *b, struct moment now, const struct record *rec)
{
    b->records++;
    b->turn_records--;
    if (!rec->tombstone && !record_expired(rec, now.wall_ms))
        write_record(b, now, rec);
}

static void take_mark(struct backup *b, const struct mark *m)
{
    if (m->position != b->offset || m->records != b->records)
        fail(b, "the backup is damaged: something is missing before offset %" PRIu64, b->offset);
    else if (m->type == MARK_END)
        b->state = BACKUP_COMPLETE;
}

/* A value that is longer than this node takes would have to be gathered in memory first. */
static bool fits_limits(struct backup *b, int64_t claims)
{
    uint64_t value_max = b->node->config.max_value_bytes;
    uint64_t overhead = RECORD_HEADER_BYTES + RECORD_EXPIRY_BYTES + RECORD_KEY_BYTES_MAX;
    uint64_t mark_max = 64 + 2 * 16u * (uint64_t)VECTOR_ORIGINS_MAX;
    uint64_t limit = value_max + overhead > mark_max ? value_max + overhead : mark_max;
    if (claims <= 0 || (uint64_t)claims <= limit)
        return true;
    fail(b, "a value at offset %" PRIu64 " is longer than %" PRIu64 " bytes (--max-value)",
         b->offset, value_max);
    return false;
}

/* Returns the bytes it took; 0 when the entry is not whole, or the restore has failed. */
static size_t take_entry(struct backup *b, struct moment now, struct bytes from)
{
    struct segment_entry entry;
    if (!fits_limits(b, segment_entry_claims(from)))
        return 0;
    int64_t size = segment_entry_decode(&entry, from);
    if (size == 0)
        return 0;
    if (size < 0 || entry.kind == ENTRY_ZEROS)
        fail(b, "the backup is damaged at offset %" PRIu64, b->offset);
    else if (entry.kind == ENTRY_MARK)
        take_mark(b, &entry.mark);
    else if (entry.record.value.size > b->node->config.max_value_bytes)
        fail(b, "a value at offset %" PRIu64 " is longer than %" PRIu64 " bytes (--max-value)",
             b->offset, b->node->config.max_value_bytes);
    else
        take_record(b, now, &entry.record);
    return b->state == BACKUP_FAILED ? 0 : (size_t)size;
}

bool restore_is_paused(const struct backup *b)
{
    return b->state == BACKUP_RESTORING && (b->turn_records == 0 || b->turn_bytes == 0);
}

void restore_resume(struct backup *b)
{
    b->turn_records = RESTORE_TURN_RECORDS;
    b->turn_bytes = RESTORE_TURN_BYTES;
}

size_t restore_read(struct backup *b, struct moment now, struct bytes from, bool ended)
{
    size_t taken = 0, size = 1;
    while (b->state == BACKUP_RESTORING && !restore_is_paused(b) && size > 0) {
        struct bytes rest = bytes_after(from, taken);
        size = b->header_read ? take_entry(b, now, rest) : read_header(b, rest);
        taken += size;
        b->offset += size;
        b->turn_bytes -= size < b->turn_bytes ? size : b->turn_bytes;
    }
    if (b->state == BACKUP_RESTORING && !restore_is_paused(b) && ended)
        fail(b, "the backup is cut off after %" PRIu64 " bytes", b->offset + (from.size - taken));
    return taken;
}
