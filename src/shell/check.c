/* A data directory is checked by what reads it at a start, on a node that nobody can talk to. */
#include "check.h"

#include "file_disk.h"
#include "kv/node.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define CHECK_JOURNAL_BYTES (1u << 20) /* the least; nothing is put there */

static struct moment now(void)
{
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    return (struct moment){
        .wall_ms = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / 1000000, .mono_ms = 1};
}

void check_print_vector(const char *title, const struct vector *v)
{
    printf("%-11s%" PRIu32 " origins\n", title, v->count);
    for (uint32_t i = 0; i < v->count; i++) {
        const struct vector_entry *e = &v->entries[i];
        uint64_t ms = stamp_wall_ms(e->stamp);
        time_t seconds = (time_t)(ms / 1000);
        struct tm utc;
        char text[32] = "?";
        if (gmtime_r(&seconds, &utc) != NULL)
            strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
        printf("  %016" PRIx64 "  %" PRIu64 "  %s.%03uZ\n", e->origin, e->stamp, text,
               (unsigned)(ms % 1000));
    }
}

static void print_files(const struct storage *s)
{
    const struct storage_file *files = (const void *)buffer_bytes(&s->files).data;
    size_t count = buffer_size(&s->files) / sizeof *files;
    for (size_t i = 0; i < count; i++)
        printf("%-11s%s  %" PRIu64 " bytes of data%s\n",
               files[i].kind == STORAGE_SNAPSHOT ? "snapshot" : "segment", files[i].name,
               files[i].bytes, files[i].damaged ? ", damaged" : "");
}

static int print_damage(const struct storage *s)
{
    const struct recovery *r = &s->recovery;
    const struct storage_file *files = (const void *)buffer_bytes(&s->files).data;
    if (!r->damaged) {
        puts("damage     none");
        return CHECK_CLEAN;
    }
    /* A torn tail may have been all there was in its file, which a repair has removed. */
    bool listed = r->damaged_index < buffer_size(&s->files) / sizeof *files;
    bool repaired = r->torn && s->config.repair_tail;
    printf("damage     %s at offset %" PRIu64 ": %s\n",
           listed ? files[r->damaged_index].name : "the last segment", r->damaged_offset,
           r->damage);
    if (repaired)
        puts("           a torn tail, as a crash leaves it: it was cut off");
    else if (r->torn)
        puts(
            "           a torn tail, as a crash leaves it: what is before it is kept; a start cuts "
            "it off,\n           and so does --repair-tail");
    else
        puts("           this was on the disk: what is missing can only come from peers, or a "
             "backup");
    return repaired ? CHECK_CLEAN : CHECK_DAMAGED;
}

static int report(const struct storage *s, const char *path, bool in_use)
{
    const struct recovery *r = &s->recovery;
    printf("directory  %s\n", path);
    if (in_use)
        puts("           in use by a running node: what it is writing now may look torn");
    print_files(s);
    if (!r->damaged)
        printf("records    %" PRIu64 "\n", r->records);
    printf("keys       %" PRIu64 "%s\n", store_live_count(s->node->store),
           r->damaged ? ", of what is intact" : "");
    printf("tombstones %" PRIu64 "\n", store_tombstone_count(s->node->store));
    check_print_vector("vector", &r->vector);
    return print_damage(s);
}

static int recover(struct node *n, struct file_disk *disk, const struct options *o)
{
    struct storage_config config = {
        .sync = STORAGE_SYNC_NO, .read_only = true, .repair_tail = o->repair_tail};
    int status = CHECK_UNREADABLE, outcome;
    struct storage *s = storage_new(n, &disk->disk, &config);
    if (s == NULL) {
        fputs("simple-kv: out of memory\n", stderr);
        return status;
    }
    do
        outcome = storage_recover(s, now());
    while (outcome > 0);
    if (outcome < 0)
        fprintf(stderr, "simple-kv: %s\n", s->reason);
    else if (buffer_size(&s->files) == 0 && !s->recovery.damaged)
        fprintf(stderr, "simple-kv: \"%s\" holds no data of simple-kv\n", o->check);
    else
        status = report(s, o->check, disk->in_use);
    storage_free(s);
    return status;
}

static int check_directory(const struct options *o)
{
    struct file_disk disk;
    struct heap heap = heap_of_c_library();
    char reason[FILE_DISK_REASON_BYTES];
    struct node_config config = {.name = "check",
                                 .cluster = "check",
                                 .version = "",
                                 .advertise_host = "",
                                 .origin = 1,
                                 .max_clock_drift_ms = 1,
                                 .max_value_bytes = RECORD_VALUE_BYTES_MAX,
                                 .journal_bytes = CHECK_JOURNAL_BYTES};
    enum file_disk_mode mode = o->repair_tail ? FILE_DISK_REPAIR : FILE_DISK_LOOK;
    if (file_disk_open(&disk, o->check, mode, &heap, NULL, reason) != 0) {
        fprintf(stderr, "simple-kv: %s\n", reason);
        return CHECK_UNREADABLE;
    }
    int status = CHECK_UNREADABLE;
    struct node *n = node_new(&config, &heap, now());
    if (n == NULL)
        fputs("simple-kv: out of memory\n", stderr);
    else
        status = recover(n, &disk, o);
    if (n != NULL)
        node_free(n);
    file_disk_close(&disk);
    return status;
}

int check_run(const struct options *o)
{
    struct stat status;
    if (stat(o->check, &status) != 0) {
        fprintf(stderr, "simple-kv: --check \"%s\": %s\n", o->check, strerror(errno));
        return CHECK_UNREADABLE;
    }
    if (S_ISDIR(status.st_mode))
        return check_directory(o);
    if (!S_ISREG(status.st_mode) || o->repair_tail) {
        fprintf(stderr, "simple-kv: --check \"%s\": expected a %s\n", o->check,
                o->repair_tail ? "data directory, since only there is a tail to be repaired"
                               : "data directory or a backup");
        return CHECK_UNREADABLE;
    }
    return check_file(o->check);
}
