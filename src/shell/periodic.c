/* Periodic backups: a walk over the store into a file, while all goes on. */
#define _GNU_SOURCE /* timegm */
#include "periodic.h"

#include "kv/check.h"
#include "server.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PREFIX_BYTES 96
#define SUFFIX       ".backup"
#define PART         ".part"
#define TIME_BYTES   16u /* YYYYMMDDTHHMMSSZ */

static bool is_wanted(const struct server *s)
{
    return s->options->backup_dir[0] != '\0';
}

static uint64_t pause_ms(const struct server *s)
{
    uint64_t interval_ms = s->options->backup_interval_ms;
    return interval_ms < PERIODIC_PAUSE_MS ? interval_ms : PERIODIC_PAUSE_MS;
}

/* --- names --------------------------------------------------------------------------------- */

/* What all backups of this node begin with; a name may hold what a file's name should not. */
static void put_prefix(const struct server *s, char prefix[PREFIX_BYTES])
{
    snprintf(prefix, PREFIX_BYTES, "simple-kv-%.64s-", s->node->config.name);
    for (char *c = prefix; *c != 0; c++) {
        bool plain = (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') ||
                     (*c >= 'A' && *c <= 'Z') || *c == '.' || *c == '_';
        *c = plain ? *c : '-';
    }
}

static void put_name(const struct server *s, uint64_t wall_ms, char name[DISK_NAME_BYTES])
{
    char prefix[PREFIX_BYTES], text[TIME_BYTES + 1] = "";
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc;
    if (gmtime_r(&seconds, &utc) != NULL)
        strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &utc);
    put_prefix(s, prefix);
    snprintf(name, DISK_NAME_BYTES, "%.95s%.16s" SUFFIX, prefix, text);
}

static void put_part(const char *name, char part[DISK_NAME_BYTES])
{
    snprintf(part, DISK_NAME_BYTES, "%.119s" PART, name);
}

/* When the backup of that name was begun; 0 when it is none of this node's. *part: out: whether
 * it is unfinished. */
static uint64_t time_of(const struct server *s, const char *name, bool *part)
{
    char prefix[PREFIX_BYTES], other[DISK_NAME_BYTES], unfinished[DISK_NAME_BYTES];
    struct tm utc = {0};
    put_prefix(s, prefix);
    size_t size = strlen(prefix);
    if (strncmp(name, prefix, size) != 0 ||
        sscanf(name + size, "%4d%2d%2dT%2d%2d%2dZ", &utc.tm_year, &utc.tm_mon, &utc.tm_mday,
               &utc.tm_hour, &utc.tm_min, &utc.tm_sec) != 6)
        return 0;
    utc.tm_year -= 1900;
    utc.tm_mon -= 1;
    uint64_t wall_ms = (uint64_t)timegm(&utc) * 1000;
    put_name(s, wall_ms, other);
    put_part(other, unfinished);
    *part = strcmp(name, unfinished) == 0;
    return *part || strcmp(name, other) == 0 ? wall_ms : 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b); /* by time, as they begin alike */
}

static size_t count_of(const struct periodic *p)
{
    return buffer_size(&p->names) / DISK_NAME_BYTES;
}

static void add_name(struct periodic *p, const char *name)
{
    char padded[DISK_NAME_BYTES] = "";
    snprintf(padded, sizeof padded, "%s", name);
    buffer_append(&p->names, bytes_of(padded, sizeof padded));
}

/* --- the start ----------------------------------------------------------------------------- */

static int take_listing(struct server *s, const struct buffer *listing)
{
    struct periodic *p = &s->periodic;
    for (size_t at = 0; at < buffer_size(listing); at += DISK_NAME_BYTES) {
        const char *name = (const char *)buffer_bytes(listing).data + at;
        bool part = false;
        uint64_t wall_ms = time_of(s, name, &part);
        int error = 0;
        if (wall_ms != 0 && part)
            error = p->disk.disk.remove_now(&p->disk.disk, name);
        else if (wall_ms != 0)
            add_name(p, name);
        if (error != 0)
            return error;
        if (wall_ms != 0 && !part && wall_ms + s->options->backup_interval_ms > p->due_wall_ms)
            p->due_wall_ms = wall_ms + s->options->backup_interval_ms;
    }
    if (buffer_failed(&p->names))
        return -ENOMEM;
    if (count_of(p) > 1)
        qsort(p->names.data + p->names.start, count_of(p), DISK_NAME_BYTES, compare_names);
    return 0;
}

static void on_done(struct file_disk *disk, struct disk_request *r, int status);

bool periodic_open(struct server *s)
{
    char reason[FILE_DISK_REASON_BYTES];
    struct periodic *p = &s->periodic;
    struct buffer listing;
    if (!is_wanted(s))
        return true;
    if (file_disk_open(&p->disk, s->options->backup_dir, FILE_DISK_SHARED, &s->heap, &s->loop,
                       reason) != 0) {
        log_write(&s->log, LOG_LEVEL_ERROR, "--backup-dir: %s", reason);
        return false;
    }
    p->open = true;
    p->disk.done = on_done;
    buffer_init(&p->out, &s->heap);
    buffer_init(&p->names, &s->heap);
    buffer_init(&listing, &s->heap);
    int error = p->disk.disk.list(&p->disk.disk, &listing);
    if (error == 0 && buffer_failed(&listing))
        error = -ENOMEM;
    if (error == 0)
        error = take_listing(s, &listing);
    buffer_close(&listing);
    if (error != 0)
        log_write(&s->log, LOG_LEVEL_ERROR, "--backup-dir: cannot look through \"%s\": %s",
                  s->options->backup_dir, strerror(-error));
    s->node->periodic.wanted = true;
    uint64_t earliest_ms = server_now(s).wall_ms + pause_ms(s);
    p->due_wall_ms = p->due_wall_ms < earliest_ms ? earliest_ms : p->due_wall_ms;
    return error == 0;
}

/* --- one backup ---------------------------------------------------------------------------- */

static void request(struct periodic *p, enum disk_operation operation, const char *name,
                    const char *new_name)
{
    struct disk_request *r = &p->request;
    CHECK(!r->busy);
    r->operation = operation;
    r->bytes = 0;
    r->busy = true;
    if (name != NULL)
        snprintf(r->name, sizeof r->name, "%s", name);
    if (new_name != NULL)
        snprintf(r->new_name, sizeof r->new_name, "%s", new_name);
    p->disk.disk.begin(&p->disk.disk, r);
}

static void abandon(struct server *s, int error)
{
    struct periodic *p = &s->periodic;
    char name[DISK_NAME_BYTES], part[DISK_NAME_BYTES];
    uint64_t retry_ms = pause_ms(s);
    if (p->scan.node != NULL)
        snapshot_scan_end(&p->scan);
    if (p->file != NULL)
        p->disk.disk.close(&p->disk.disk, p->file);
    p->file = NULL;
    buffer_close(&p->out);
    p->due_wall_ms = server_now(s).wall_ms + retry_ms;
    s->node->periodic.failed++;
    snprintf(s->node->periodic.error, sizeof s->node->periodic.error, "%s", strerror(-error));
    log_write(&s->log, LOG_LEVEL_WARN,
              "the periodic backup failed: %s; the earlier ones stay, the next try is in %" PRIu64
              " s",
              strerror(-error), retry_ms / 1000);
    put_name(s, p->begun.wall_ms, name);
    put_part(name, part);
    p->stage = PERIODIC_ABANDONING;
    request(p, DISK_REMOVE, part, NULL);
}

/* Else backups of less and less would push out those of all. */
static bool holds_its_data(const struct server *s)
{
    const struct node *n = s->node;
    bool empty = store_live_count(n->store) == 0 && store_tombstone_count(n->store) == 0;
    return !n->loading && !n->refilling && n->delta == NULL &&
           !(empty && node_expected_count(n) > 0);
}

static void begin(struct server *s, struct moment now)
{
    struct periodic *p = &s->periodic;
    char name[DISK_NAME_BYTES], part[DISK_NAME_BYTES];
    if (now.wall_ms < p->due_wall_ms || s->stopping || !holds_its_data(s))
        return;
    p->begun = now;
    p->due_wall_ms = now.wall_ms + s->options->backup_interval_ms;
    p->offset = p->synced = 0;
    put_name(s, now.wall_ms, name);
    put_part(name, part);
    p->stage = PERIODIC_CREATING;
    request(p, DISK_CREATE, part, NULL);
}

static void begin_walk(struct server *s)
{
    struct periodic *p = &s->periodic;
    struct segment_header header = {
        .kind = SEGMENT_BACKUP, .created_ms = p->begun.wall_ms, .origin = s->node->config.origin};
    p->file = p->request.file;
    snapshot_scan_begin(&p->scan, s->node, &header);
    p->stage = PERIODIC_WRITING;
}

static int write_out(struct periodic *p)
{
    struct disk *d = &p->disk.disk;
    if (buffer_failed(&p->out))
        return -ENOMEM;
    while (buffer_size(&p->out) > 0) {
        int64_t written = d->write(d, p->file, p->offset, buffer_bytes(&p->out));
        if (written < 0)
            return (int)written;
        p->offset += (uint64_t)written;
        buffer_consume(&p->out, (size_t)written);
    }
    return 0;
}

static void write_slice(struct server *s)
{
    struct periodic *p = &s->periodic;
    char name[DISK_NAME_BYTES], part[DISK_NAME_BYTES];
    bool more = snapshot_scan_read(&p->scan, PERIODIC_STEP_BYTES, &p->out);
    int error = write_out(p);
    if (error != 0) {
        abandon(s, error);
    } else if (!more) {
        buffer_close(&p->out);
        put_name(s, p->begun.wall_ms, name);
        put_part(name, part);
        p->request.file = p->file;
        p->file = NULL; /* closed by it */
        p->stage = PERIODIC_PUBLISHING;
        request(p, DISK_PUBLISH, part, name);
    } else if (p->offset - p->synced >= PERIODIC_SYNC_BYTES) {
        p->synced = p->offset;
        p->request.file = p->file;
        p->stage = PERIODIC_SYNCING;
        request(p, DISK_SYNC, NULL, NULL);
    }
}

/* Removes the oldest of those that are too many. */
static void remove_oldest(struct server *s)
{
    struct periodic *p = &s->periodic;
    p->stage = PERIODIC_IDLE;
    if (count_of(p) <= s->options->backup_keep)
        return;
    p->stage = PERIODIC_REMOVING;
    request(p, DISK_REMOVE, (const char *)buffer_bytes(&p->names).data, NULL);
}

static void published(struct server *s)
{
    struct periodic *p = &s->periodic;
    struct moment now = server_now(s);
    char name[DISK_NAME_BYTES];
    put_name(s, p->begun.wall_ms, name);
    add_name(p, name);
    if (buffer_failed(&p->names))
        log_write(&s->log, LOG_LEVEL_WARN,
                  "out of memory: old periodic backups stay until the next start");
    s->node->periodic.last_ms = p->begun.wall_ms;
    s->node->periodic.last_bytes = p->offset;
    s->node->periodic.error[0] = 0;
    log_write(&s->log, LOG_LEVEL_INFO,
              "periodic backup %s: %" PRIu64 " records, %" PRIu64 " bytes, in %" PRIu64 " ms", name,
              p->scan.records, p->offset, now.mono_ms - p->begun.mono_ms);
    remove_oldest(s);
}

static void removed(struct server *s, int status)
{
    struct periodic *p = &s->periodic;
    if (status != 0)
        log_write(&s->log, LOG_LEVEL_WARN,
                  "cannot remove the old backup %s: %s; the next start tries again",
                  p->request.name, strerror(-status));
    buffer_consume(&p->names, DISK_NAME_BYTES);
    remove_oldest(s);
}

static void on_done(struct file_disk *disk, struct disk_request *r, int status)
{
    struct server *s = container_of(disk, struct server, periodic.disk);
    struct periodic *p = &s->periodic;
    r->busy = false;
    if (p->stage == PERIODIC_ABANDONING)
        p->stage = PERIODIC_IDLE;
    else if (p->stage == PERIODIC_REMOVING)
        removed(s, status);
    else if (status != 0)
        abandon(s, status);
    else if (p->stage == PERIODIC_CREATING)
        begin_walk(s);
    else if (p->stage == PERIODIC_SYNCING)
        p->stage = PERIODIC_WRITING;
    else
        published(s);
}

/* --- driven by the server ------------------------------------------------------------------ */

void periodic_step(struct server *s)
{
    struct periodic *p = &s->periodic;
    if (!p->open)
        return;
    if (p->stage == PERIODIC_IDLE)
        begin(s, server_now(s));
    else if (p->stage == PERIODIC_WRITING)
        write_slice(s);
}

bool periodic_is_busy(const struct server *s)
{
    return s->periodic.stage == PERIODIC_WRITING;
}

bool periodic_close(struct server *s)
{
    struct periodic *p = &s->periodic;
    if (!p->open)
        return true;
    if (p->scan.node != NULL)
        snapshot_scan_end(&p->scan);
    if (file_disk_is_busy(&p->disk))
        return false;
    if (p->stage == PERIODIC_CREATING || p->stage == PERIODIC_SYNCING)
        p->file = p->request.file;
    if (p->file != NULL)
        p->disk.disk.close(&p->disk.disk, p->file); /* the next start removes it */
    buffer_close(&p->out);
    buffer_close(&p->names);
    file_disk_close(&p->disk);
    p->open = false;
    return true;
}
