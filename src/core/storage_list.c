/* What a data directory holds, by the names of its files. */
#include "storage_internal.h"

#include "kv/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* "journal-" or "snapshot-" and 16 hexadecimal digits, nothing behind. */
static bool parse_name(const char *name, const char *prefix, uint64_t *number)
{
    size_t size = strlen(prefix);
    if (strncmp(name, prefix, size) != 0 || strlen(name) != size + 16)
        return false;
    *number = 0;
    for (const char *c = name + size; *c != 0; c++) {
        int digit = *c >= '0' && *c <= '9' ? *c - '0' : *c >= 'a' && *c <= 'f' ? *c - 'a' + 10 : -1;
        if (digit < 0)
            return false;
        *number = *number << 4 | (uint64_t)digit;
    }
    return true;
}

static bool ends_with(const char *name, const char *end)
{
    size_t size = strlen(name), end_size = strlen(end);
    return size >= end_size && strcmp(name + size - end_size, end) == 0;
}

bool recovery_is_unfinished(const char *name)
{
    return strncmp(name, "snapshot-", 9) == 0 && ends_with(name, ".tmp");
}

static int compare_files(const void *a, const void *b)
{
    const struct storage_file *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind == STORAGE_SNAPSHOT ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

/* What a walk over the names finds. */
struct listing {
    uint32_t others;
    char other[DISK_NAME_BYTES]; /* the last of the files whose names tell nothing */
};

static int take_name(struct storage *s, const char *name, struct listing *found)
{
    uint64_t number;
    if (parse_name(name, "journal-", &number)) {
        return storage_add_file(s, STORAGE_JOURNAL, number, 0) ? 0 : recovery_out_of_memory(s);
    } else if (parse_name(name, "snapshot-", &number)) {
        return storage_add_file(s, STORAGE_SNAPSHOT, number, 0) ? 0 : recovery_out_of_memory(s);
    } else if (!recovery_is_unfinished(name) && strcmp(name, "lock") != 0 && name[0] != '.' &&
               !ends_with(name, ".damaged")) {
        found->others++;
        snprintf(found->other, sizeof found->other, "%s", name);
    }
    return 0;
}

static int read_header(struct storage *s, struct disk_file *f, struct segment_header *h)
{
    uint8_t at[SEGMENT_HEADER_BYTES];
    size_t size = 0;
    while (size < sizeof at) {
        int64_t got = s->disk->read(s->disk, f, size, at + size, sizeof at - size);
        if (got < 0)
            return (int)got;
        if (got == 0)
            break;
        size += (size_t)got;
    }
    int outcome = segment_header_decode(h, bytes_of(at, size));
    return outcome == 0 ? -EBADMSG : outcome;
}

/* A backup, or another node's snapshot, alone in the directory under whatever name: it is what to start
 * from. */
static int adopt_backup(struct storage *s, const char *name)
{
    struct segment_header h;
    struct disk_file *f;
    uint64_t size;
    char new_name[DISK_NAME_BYTES];
    int error = s->disk->open(s->disk, name, &f, &size);
    if (error != 0)
        return recovery_give_up(s, error, "opening", name);
    int outcome = read_header(s, f, &h);
    s->disk->close(s->disk, f);
    if (outcome < 0 || h.kind == SEGMENT_JOURNAL)
        return 0; /* it is something else */
    uint64_t number = h.kind == SEGMENT_SNAPSHOT ? h.number : 1;
    storage_file_name(STORAGE_SNAPSHOT, number, new_name);
    error = s->config.read_only ? 0 : s->disk->rename_now(s->disk, name, new_name);
    if (error != 0)
        return recovery_give_up(s, error, "renaming", name);
    if (!storage_add_file(s, STORAGE_SNAPSHOT, number, 0))
        return recovery_out_of_memory(s);
    if (s->config.read_only)
        snprintf(recovery_file(s, 0)->name, DISK_NAME_BYTES, "%s", name);
    notice_add(&s->node->notices, NOTICE_INFO, "disk: starting from the backup %s", name);
    return 0;
}

/* Nobody means to begin with nothing beside files that are not used. */
static int refuse_others(struct storage *s, const struct listing *found)
{
    snprintf(s->reason, sizeof s->reason,
             "cannot start from the data directory: it holds no data, but %s%.100s, which is no "
             "backup, or "
             "one whose beginning is damaged; expected nothing, or one backup",
             found->others > 1 ? "more than one other file, such as " : "", found->other);
    return -EINVAL;
}

int recovery_list(struct storage *s)
{
    struct buffer names;
    struct listing found = {0};
    size_t count;
    buffer_init(&names, s->heap);
    int error = s->disk->list(s->disk, &names);
    if (error == 0 && buffer_failed(&names))
        error = -ENOMEM;
    if (error != 0)
        error = recovery_give_up(s, error, "listing", "it");
    for (size_t at = 0; error == 0 && at < buffer_size(&names); at += DISK_NAME_BYTES)
        error = take_name(s, (const char *)buffer_bytes(&names).data + at, &found);
    buffer_close(&names);
    if (error == 0 && buffer_size(&s->files) == 0 && found.others == 1)
        error = adopt_backup(s, found.other);
    if (error == 0 && buffer_size(&s->files) == 0 && found.others > 0)
        error = refuse_others(s, &found);
    struct storage_file *files = storage_files(s, &count);
    if (count > 1)
        qsort(files, count, sizeof *files, compare_files);
    return error;
}
