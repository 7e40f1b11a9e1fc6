/* Files and requests of the disk in memory. */
#include "memory_disk_internal.h"

#include "kv/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct disk_file {
    struct memory_file *file;
    uint64_t life;
};

static struct memory_disk *memory_of(struct disk *d)
{
    return (struct memory_disk *)(void *)d;
}

static bool happens(struct memory_disk *d, uint32_t one_in)
{
    bool it_does = one_in != 0 && random_below(&d->random, one_in) == 0;
    d->failures += it_does;
    return it_does;
}

/* --- files --------------------------------------------------------------------------------- */

struct memory_file *memory_disk_find(const struct memory_disk *d, const char *name)
{
    for (uint32_t i = 0; i < d->file_count; i++) {
        if (strcmp(d->files[i]->name, name) == 0)
            return d->files[i];
    }
    return NULL;
}

static struct memory_file *new_file(struct memory_disk *d, const char *name)
{
    struct memory_file *f = calloc(1, sizeof *f);
    CHECK(f != NULL && d->file_count < MEMORY_DISK_FILES_MAX);
    snprintf(f->name, sizeof f->name, "%s", name);
    d->files[d->file_count++] = f;
    return f;
}

static void free_if_unused(struct memory_disk *d, struct memory_file *f)
{
    uint32_t i = 0;
    if (f->name[0] != 0 || f->handles > 0)
        return;
    while (d->files[i] != f)
        i++;
    d->files[i] = d->files[--d->file_count];
    drop_changes(f, f->change_count);
    free(f->changes);
    free(f->now.at);
    free(f->synced.at);
    free(f);
}

static void unlink_file(struct memory_disk *d, const char *name)
{
    struct memory_file *f = memory_disk_find(d, name);
    if (f == NULL)
        return;
    f->name[0] = 0;
    free_if_unused(d, f);
}

static int rename_file(struct memory_disk *d, const char *name, const char *new_name)
{
    struct memory_file *f = memory_disk_find(d, name);
    if (f == NULL)
        return -ENOENT;
    if (strcmp(name, new_name) != 0)
        unlink_file(d, new_name);
    snprintf(f->name, sizeof f->name, "%s", new_name);
    return 0;
}

uint64_t memory_disk_used(const struct memory_disk *d)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < d->file_count; i++)
        bytes += d->files[i]->now.size;
    return bytes;
}

static bool has_room(const struct memory_disk *d, uint64_t bytes)
{
    return d->dials.capacity_bytes == 0 || memory_disk_used(d) + bytes <= d->dials.capacity_bytes;
}

static struct disk_file *open_handle(struct memory_disk *d, struct memory_file *f)
{
    struct disk_file *handle = must_resize(NULL, sizeof *handle);
    *handle = (struct disk_file){.file = f, .life = d->life};
    f->handles++;
    d->handles++;
    return handle;
}

static void close_handle(struct memory_disk *d, struct disk_file *handle)
{
    handle->file->handles--;
    d->handles--;
    free_if_unused(d, handle->file);
    free(handle);
}

static struct memory_file *file_of(const struct memory_disk *d, const struct disk_file *handle)
{
    CHECK(handle->life == d->life);
    return handle->file;
}

/* --- steps --------------------------------------------------------------------------------- */

/* Returns whether the copy was made just now. */
static bool step(struct memory_disk *d)
{
    bool now = d->copy != NULL && !d->copied && d->steps == d->copy_at;
    if (now) {
        memory_disk_copy(d->copy, d);
        d->copied = true;
    }
    d->steps++;
    return now;
}

void memory_disk_copy_at(struct memory_disk *d, uint64_t at, struct memory_disk *copy)
{
    d->copy = copy;
    d->copy_at = at;
    d->copied = false;
}

/* --- the calls ----------------------------------------------------------------------------- */

static void disk_begin(struct disk *disk, struct disk_request *r)
{
    struct memory_disk *d = memory_of(disk);
    uint32_t i = 0;
    CHECK(r->busy);
    step(d);
    while (d->requests[i].request != NULL) {
        CHECK(d->requests[i].request != r);
        CHECK(++i < MEMORY_DISK_REQUESTS_MAX);
    }
    bool has_file = r->operation == DISK_SYNC || r->operation == DISK_PUBLISH;
    d->requests[i] = (struct memory_request){
        .request = r,
        .due_ms = d->now_ms + random_below(&d->random, d->dials.latency_ms + 1),
        .order = d->begun++,
        .changes = has_file ? file_of(d, r->file)->change_count : 0};
}

/* How many of so many bytes there is room for. */
static size_t room_for(const struct memory_disk *d, const struct memory_file *f, uint64_t offset,
                       size_t size)
{
    uint64_t inside = f->now.size > offset ? f->now.size - offset : 0;
    uint64_t used = memory_disk_used(d), capacity = d->dials.capacity_bytes;
    if (capacity == 0 || inside >= size)
        return size;
    uint64_t room = inside + (used < capacity ? capacity - used : 0);
    return room < size ? (size_t)room : size;
}

static int disk_claim(struct disk *disk)
{
    return memory_of(disk)->dials.claim_error;
}

static int64_t disk_write(struct disk *disk, struct disk_file *handle, uint64_t offset,
                          struct bytes bytes)
{
    struct memory_disk *d = memory_of(disk);
    struct memory_file *f = file_of(d, handle);
    CHECK(bytes.size > 0);
    if (step(d) && f->name[0] != 0) {
        size_t part = (size_t)random_below(&d->copy->random, bytes.size + 1);
        change_bytes(memory_disk_find(d->copy, f->name), offset, bytes.data, part);
    }
    if (happens(d, d->dials.write_error_one_in))
        return -EIO;
    size_t size = room_for(d, f, offset, bytes.size);
    d->failures += size < bytes.size;
    if (size == 0)
        return -ENOSPC;
    if (size > 1 && happens(d, d->dials.short_one_in))
        size = 1 + (size_t)random_below(&d->random, size - 1);
    change_bytes(f, offset, bytes.data, size);
    return (int64_t)size;
}

static int disk_truncate(struct disk *disk, struct disk_file *handle, uint64_t size)
{
    struct memory_disk *d = memory_of(disk);
    step(d);
    if (happens(d, d->dials.write_error_one_in))
        return -EIO;
    change_size(file_of(d, handle), size);
    return 0;
}

static void disk_close(struct disk *disk, struct disk_file *handle)
{
    close_handle(memory_of(disk), handle);
}

static const char *disk_error_text(struct disk *disk, int error)
{
    (void)disk;
    return error == -ENOSPC ? "no space" : error == -ENOMEM ? "no memory" : "an error";
}

static int disk_list(struct disk *disk, struct buffer *names)
{
    struct memory_disk *d = memory_of(disk);
    if (happens(d, d->dials.read_error_one_in))
        return -EIO;
    for (uint32_t i = 0; i < d->file_count; i++) {
        char padded[DISK_NAME_BYTES] = {0};
        snprintf(padded, sizeof padded, "%s", d->files[i]->name);
        if (padded[0] != 0)
            buffer_append(names, bytes_of(padded, sizeof padded));
    }
    return buffer_failed(names) ? -ENOMEM : 0;
}

static int disk_open(struct disk *disk, const char *name, struct disk_file **handle, uint64_t *size)
{
    struct memory_disk *d = memory_of(disk);
    struct memory_file *f = memory_disk_find(d, name);
    if (happens(d, d->dials.read_error_one_in))
        return -EIO;
    if (f == NULL)
        return -ENOENT;
    *handle = open_handle(d, f);
    *size = f->now.size;
    return 0;
}

static int64_t disk_read(struct disk *disk, struct disk_file *handle, uint64_t offset, uint8_t *at,
                         size_t size)
{
    struct memory_disk *d = memory_of(disk);
    if (happens(d, d->dials.read_error_one_in))
        return -EIO;
    size_t read = content_read(&file_of(d, handle)->now, offset, at, size);
    if (read > 1 && happens(d, d->dials.short_one_in))
        read = 1 + (size_t)random_below(&d->random, read - 1);
    return (int64_t)read;
}

/* A failed sync leaves the pages clean that it did not write: no later one writes them. */
static int sync_file(struct memory_disk *d, struct memory_file *f, uint32_t changes)
{
    if (d->dials.next_sync_fails) {
        d->dials.next_sync_fails = false;
        d->failures++;
        f->sync_failed = true;
        settle_changes(f, changes, &d->random);
        return -EIO;
    }
    sync_changes(f, changes);
    return 0;
}

static int disk_sync_now(struct disk *disk, struct disk_file *handle)
{
    struct memory_disk *d = memory_of(disk);
    struct memory_file *f = file_of(d, handle);
    step(d);
    return sync_file(d, f, f->change_count);
}

static int disk_remove_now(struct disk *disk, const char *name)
{
    struct memory_disk *d = memory_of(disk);
    step(d);
    if (happens(d, d->dials.request_error_one_in))
        return -EIO;
    unlink_file(d, name);
    return 0;
}

static int disk_rename_now(struct disk *disk, const char *name, const char *new_name)
{
    struct memory_disk *d = memory_of(disk);
    step(d);
    if (happens(d, d->dials.request_error_one_in))
        return -EIO;
    return rename_file(d, name, new_name);
}

/* --- requests ------------------------------------------------------------------------------ */

static struct memory_request *next_request(const struct memory_disk *d)
{
    const struct memory_request *next = NULL;
    for (uint32_t i = 0; i < MEMORY_DISK_REQUESTS_MAX; i++) {
        const struct memory_request *r = &d->requests[i];
        if (r->request != NULL && (next == NULL || r->due_ms < next->due_ms ||
                                   (r->due_ms == next->due_ms && r->order < next->order)))
            next = r;
    }
    return (struct memory_request *)next;
}

uint64_t memory_disk_next(const struct memory_disk *d)
{
    const struct memory_request *next = next_request(d);
    return next == NULL ? MEMORY_DISK_NEVER : next->due_ms;
}

static int create_file(struct memory_disk *d, const char *name, uint64_t bytes,
                       struct memory_file **created)
{
    if (memory_disk_find(d, name) != NULL)
        return -EEXIST;
    if (!has_room(d, bytes)) {
        d->failures++;
        return -ENOSPC;
    }
    /* That the file is there is synced, how long it is is not. */
    *created = new_file(d, name);
    if (bytes > 0)
        change_size(*created, bytes);
    return 0;
}

static int perform(struct memory_disk *d, const struct memory_request *m)
{
    struct disk_request *r = m->request;
    struct memory_file *f = NULL;
    int status = 0;
    switch (r->operation) {
    case DISK_CREATE:
        status = create_file(d, r->name, r->bytes, &f);
        if (status == 0)
            r->file = open_handle(d, f);
        break;
    case DISK_SYNC:
        status = sync_file(d, file_of(d, r->file), m->changes);
        break;
    case DISK_PUBLISH:
        status = sync_file(d, file_of(d, r->file), m->changes);
        if (status == 0)
            status = rename_file(d, r->name, r->new_name);
        break;
    case DISK_REMOVE:
        unlink_file(d, r->name);
        break;
    case DISK_RENAME:
        status = rename_file(d, r->name, r->new_name);
        break;
    }
    return status;
}

struct disk_request *memory_disk_finish(struct memory_disk *d, int *status)
{
    struct memory_request *next = next_request(d);
    if (next == NULL)
        return NULL;
    step(d);
    struct memory_request m = *next;
    next->request = NULL;
    bool fails = m.request->operation != DISK_SYNC && happens(d, d->dials.request_error_one_in);
    *status = fails ? -EIO : perform(d, &m);
    /* Closed whatever came of it. */
    if (m.request->operation == DISK_PUBLISH)
        close_handle(d, m.request->file);
    return m.request;
}

/* --- crashes ------------------------------------------------------------------------------- */

/* It has got somewhere. Of a copy, the request's file is found by its name. */
static void interrupt(struct memory_disk *d, const struct memory_request *m, bool lossy)
{
    const struct disk_request *r = m->request;
    struct memory_file *f = memory_disk_find(d, r->name);
    bool happened = random_below(&d->random, 2) == 0;
    if (!happened)
        return;
    switch (r->operation) {
    case DISK_CREATE:
        if (create_file(d, r->name, r->bytes, &f) == 0 && lossy && random_below(&d->random, 2) == 0)
            content_resize(&f->now, 0);
        break;
    case DISK_SYNC:
        break; /* some of the changes are there: as always */
    case DISK_PUBLISH:
        if (f == NULL)
            break;
        sync_changes(f, m->changes);
        if (random_below(&d->random, 2) == 0)
            rename_file(d, r->name, r->new_name);
        break;
    case DISK_REMOVE:
        unlink_file(d, r->name);
        break;
    case DISK_RENAME:
        rename_file(d, r->name, r->new_name);
        break;
    }
}

static void lose_unsynced(struct memory_disk *d, struct memory_file *f, enum memory_crash how)
{
    if (how == MEMORY_KILL && !f->sync_failed)
        return;
    f->sync_failed = false;
    if (how != MEMORY_POWER_CUT_LOSES)
        settle_changes(f, f->change_count, &d->random);
    else
        drop_changes(f, f->change_count);
    content_copy(&f->now, &f->synced);
}

void memory_disk_crash(struct memory_disk *d, enum memory_crash how)
{
    struct memory_request *m;
    while ((m = next_request(d)) != NULL) {
        struct disk_request *r = m->request;
        interrupt(d, m, how != MEMORY_KILL);
        if (r->operation == DISK_PUBLISH && r->file != NULL && r->file->life == d->life)
            close_handle(d, r->file);
        r->busy = false;
        m->request = NULL;
    }
    for (uint32_t i = 0; i < d->file_count; i++)
        lose_unsynced(d, d->files[i], how);
    d->life++;
}

/* --- for tests ----------------------------------------------------------------------------- */

void memory_disk_lose(struct memory_disk *d, const char *name)
{
    CHECK(memory_disk_find(d, name) != NULL);
    unlink_file(d, name);
}

struct memory_file *memory_disk_add(struct memory_disk *d, const char *name, struct bytes bytes)
{
    CHECK(memory_disk_find(d, name) == NULL);
    struct memory_file *f = new_file(d, name);
    change_bytes(f, 0, bytes.data, bytes.size);
    sync_changes(f, f->change_count);
    return f;
}

/* --- copies -------------------------------------------------------------------------------- */

static void empty_disk(struct memory_disk *d)
{
    for (uint32_t i = d->file_count; i > 0; i--) {
        d->files[i - 1]->name[0] = 0;
        free_if_unused(d, d->files[i - 1]);
    }
}

static void copy_file(struct memory_disk *into, const struct memory_file *from)
{
    struct memory_file *f = new_file(into, from->name);
    content_copy(&f->now, &from->now);
    content_copy(&f->synced, &from->synced);
    f->sync_failed = from->sync_failed;
    for (uint32_t i = 0; i < from->change_count; i++) {
        struct memory_change c = from->changes[i];
        if (c.bytes != NULL) {
            c.bytes = must_resize(NULL, c.size);
            memcpy(c.bytes, from->changes[i].bytes, c.size);
        }
        add_change(f, c);
    }
}

void memory_disk_copy(struct memory_disk *into, const struct memory_disk *from)
{
    empty_disk(into);
    for (uint32_t i = 0; i < from->file_count; i++) {
        if (from->files[i]->name[0] != 0)
            copy_file(into, from->files[i]);
    }
    memset(into->requests, 0, sizeof into->requests);
    for (uint32_t i = 0; i < MEMORY_DISK_REQUESTS_MAX; i++) {
        if (from->requests[i].request == NULL)
            continue;
        into->copies[i] = *from->requests[i].request;
        into->copies[i].file = NULL;
        into->requests[i] = from->requests[i];
        into->requests[i].request = &into->copies[i];
    }
}

void memory_disk_init(struct memory_disk *d, uint64_t seed)
{
    *d = (struct memory_disk){.disk = {.begin = disk_begin,
                                       .claim = disk_claim,
                                       .write = disk_write,
                                       .truncate = disk_truncate,
                                       .close = disk_close,
                                       .error_text = disk_error_text,
                                       .list = disk_list,
                                       .open = disk_open,
                                       .read = disk_read,
                                       .sync_now = disk_sync_now,
                                       .remove_now = disk_remove_now,
                                       .rename_now = disk_rename_now}};
    random_init(&d->random, seed);
}

void memory_disk_close(struct memory_disk *d)
{
    CHECK(d->handles == 0);
    empty_disk(d);
    CHECK(d->file_count == 0);
}
