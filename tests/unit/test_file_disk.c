/* The disk on real files: a directory of its own, and a loop that runs until its requests are done. */
#define _GNU_SOURCE /* SEEK_HOLE */
#include "file_disk.h"

#include "kv/check.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct file_disk disk;
    struct heap heap;
    uv_loop_t loop;
    char path[64];
    int status; /* of the request that was done last */
    uint32_t done;
};

static void on_done(struct file_disk *disk, struct disk_request *r, int status)
{
    struct fixture *f = container_of(disk, struct fixture, disk);
    r->busy = false;
    f->status = status;
    f->done++;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char reason[FILE_DISK_REASON_BYTES];
    assert_non_null(f);
    f->heap = heap_of_c_library();
    strcpy(f->path, "/tmp/simple-kv-disk-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(file_disk_open(&f->disk, f->path, FILE_DISK_OWN, &f->heap, &f->loop, reason),
                     0);
    f->disk.done = on_done;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];
    file_disk_close(&f->disk);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    snprintf(command, sizeof command, "rm -rf %s", f->path);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* Begins a request and waits for its end, which must not come before the loop has run. */
static int request(struct fixture *f, struct disk_request *r, enum disk_operation operation,
                   const char *name, const char *new_name)
{
    uint32_t before = f->done;
    r->operation = operation;
    r->busy = true;
    snprintf(r->name, sizeof r->name, "%s", name);
    snprintf(r->new_name, sizeof r->new_name, "%s", new_name);
    f->disk.disk.begin(&f->disk.disk, r);
    assert_int_equal(f->done, before);
    assert_true(file_disk_is_busy(&f->disk));
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(f->done, before + 1);
    assert_false(file_disk_is_busy(&f->disk));
    return f->status;
}

static int64_t size_of(struct fixture *f, const char *name)
{
    char path[256];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    return stat(path, &status) == 0 ? (int64_t)status.st_size : -1;
}

static void create_gives_a_file_of_zeros_with_that_room(void **state)
{
    struct fixture *f = *state;
    struct disk *d = &f->disk.disk;
    struct disk_request r = {.bytes = 100000};
    uint8_t bytes[8];
    assert_int_equal(request(f, &r, DISK_CREATE, "a", ""), 0);
    assert_int_equal(size_of(f, "a"), 100000);
    assert_int_equal(d->read(d, r.file, 99990, bytes, sizeof bytes), 8);
    assert_true(bytes_are_zero(bytes_of(bytes, sizeof bytes)));
    assert_int_equal(d->read(d, r.file, 99996, bytes, sizeof bytes), 4);
    assert_int_equal(d->read(d, r.file, 100000, bytes, sizeof bytes), 0);
    d->close(d, r.file);
}

/* What was only preallocated counts as a hole, where the file system can tell. */
static void create_fills_a_file_whose_zeros_are_to_be_on_the_disk(void **state)
{
    struct fixture *f = *state;
    struct disk *d = &f->disk.disk;
    struct disk_request r = {.bytes = (3u << 20) + 77, .filled = true};
    char path[256];
    assert_int_equal(request(f, &r, DISK_CREATE, "a", ""), 0);
    assert_int_equal(size_of(f, "a"), r.bytes);
    snprintf(path, sizeof path, "%s/a", f->path);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(lseek(fd, 0, SEEK_HOLE), r.bytes);
    close(fd);
    d->close(d, r.file);
}

static void create_refuses_a_name_that_is_there(void **state)
{
    struct fixture *f = *state;
    struct disk *d = &f->disk.disk;
    struct disk_request first = {.bytes = 10}, second = {.bytes = 0};
    assert_int_equal(request(f, &first, DISK_CREATE, "a", ""), 0);
    assert_int_equal(request(f, &second, DISK_CREATE, "a", ""), -EEXIST);
    assert_null(second.file);
    assert_int_equal(size_of(f, "a"), 10);
    d->close(d, first.file);
}

static void create_without_room_leaves_no_file(void **state)
{
    struct fixture *f = *state;
    struct disk_request r = {.bytes = INT64_MAX};
    assert_true(request(f, &r, DISK_CREATE, "a", "") < 0);
    assert_null(r.file);
    assert_int_equal(size_of(f, "a"), -1);
}

static void what_is_written_can_be_read_synced_and_cut(void **state)
{
    struct fixture *f = *state;
    struct disk *d = &f->disk.disk;
    struct disk_request r = {.bytes = 0};
    uint8_t bytes[8];
    assert_int_equal(request(f, &r, DISK_CREATE, "a", ""), 0);
    assert_int_equal(d->write(d, r.file, 3, bytes_text("hello")), 5);
    assert_int_equal(d->read(d, r.file, 0, bytes, sizeof bytes), 8);
    assert_memory_equal(bytes, "\0\0\0hello", 8);
    assert_int_equal(request(f, &r, DISK_SYNC, "", ""), 0);
    assert_int_equal(d->truncate(d, r.file, 5), 0);
    assert_int_equal(d->sync_now(d, r.file), 0);
    assert_int_equal(size_of(f, "a"), 5);
    d->close(d, r.file);
}

static void publish_renames_and_closes(void **state)
{
    struct fixture *f = *state;
    struct disk *d = &f->disk.disk;
    struct disk_request r = {.bytes = 0};
    assert_int_equal(request(f, &r, DISK_CREATE, "a.tmp", ""), 0);
    assert_int_equal(d->write(d, r.file, 0, bytes_text("x")), 1);
    assert_int_equal(request(f, &r, DISK_PUBLISH, "a.tmp", "a"), 0);
    assert_null(r.file);
    assert_int_equal(size_of(f, "a.tmp"), -1);
    assert_int_equal(size_of(f, "a"), 1);
}

static void remove_and_rename_tell_what_is_missing(void **state)
{
    struct fixture *f = *state;
    struct disk *d = &f->disk.disk;
    struct disk_request r = {.bytes = 0};
    assert_int_equal(request(f, &r, DISK_CREATE, "a", ""), 0);
    d->close(d, r.file);
    assert_int_equal(request(f, &r, DISK_RENAME, "a", "b"), 0);
    assert_int_equal(request(f, &r, DISK_RENAME, "a", "b"), -ENOENT);
    assert_int_equal(size_of(f, "b"), 0);
    assert_int_equal(request(f, &r, DISK_REMOVE, "b", ""), 0);
    assert_int_equal(request(f, &r, DISK_REMOVE, "b", ""), 0); /* if there is one */
    assert_int_equal(size_of(f, "b"), -1);
    assert_int_equal(d->rename_now(d, "a", "b"), -ENOENT);
    assert_int_equal(d->remove_now(d, "a"), 0);
}

static void requests_at_the_same_time_all_end(void **state)
{
    struct fixture *f = *state;
    struct disk *d = &f->disk.disk;
    struct disk_request r[FILE_DISK_REQUESTS_MAX];
    memset(r, 0, sizeof r);
    for (size_t i = 0; i < FILE_DISK_REQUESTS_MAX; i++) {
        r[i].operation = DISK_CREATE;
        r[i].busy = true;
        snprintf(r[i].name, sizeof r[i].name, "f%zu", i);
        d->begin(d, &r[i]);
    }
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(f->done, FILE_DISK_REQUESTS_MAX);
    for (size_t i = 0; i < FILE_DISK_REQUESTS_MAX; i++) {
        assert_false(r[i].busy);
        d->close(d, r[i].file);
    }
}

static void list_names_the_plain_files(void **state)
{
    struct fixture *f = *state;
    struct disk *d = &f->disk.disk;
    struct disk_request r = {.bytes = 0};
    struct buffer names;
    char path[256];
    assert_int_equal(request(f, &r, DISK_CREATE, "a", ""), 0);
    d->close(d, r.file);
    snprintf(path, sizeof path, "%s/directory", f->path);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/link", f->path);
    assert_int_equal(symlink("a", path), 0);
    buffer_init(&names, &f->heap);
    assert_int_equal(d->list(d, &names), 0);
    assert_int_equal(buffer_size(&names), 2 * DISK_NAME_BYTES);
    const char *first = (const char *)buffer_bytes(&names).data;
    const char *second = first + DISK_NAME_BYTES;
    bool a_first = strcmp(first, "a") == 0;
    assert_string_equal(a_first ? first : second, "a");
    assert_string_equal(a_first ? second : first, FILE_DISK_LOCK);
    buffer_close(&names);
}

static void open_tells_the_size_and_what_is_missing(void **state)
{
    struct fixture *f = *state;
    struct disk *d = &f->disk.disk;
    struct disk_request r = {.bytes = 77};
    struct disk_file *file;
    uint64_t size = 0;
    assert_int_equal(request(f, &r, DISK_CREATE, "a", ""), 0);
    d->close(d, r.file);
    assert_int_equal(d->open(d, "a", &file, &size), 0);
    assert_int_equal(size, 77);
    d->close(d, file);
    assert_int_equal(d->open(d, "b", &file, &size), -ENOENT);
    assert_string_equal(d->error_text(d, -ENOENT), "No such file or directory");
}

/* Locks are told apart by open file, so that one process can play two. */
static void a_directory_is_locked_for_one_and_may_be_looked_at(void **state)
{
    struct fixture *f = *state;
    struct file_disk other;
    struct disk_file *file;
    struct disk_request r = {.bytes = 1};
    uint64_t size;
    char reason[FILE_DISK_REASON_BYTES] = "";
    assert_int_equal(request(f, &r, DISK_CREATE, "a", ""), 0);
    f->disk.disk.close(&f->disk.disk, r.file);
    assert_int_equal(file_disk_open(&other, f->path, FILE_DISK_OWN, &f->heap, NULL, reason),
                     -EBUSY);
    assert_non_null(strstr(reason, "in use by another process"));
    assert_int_equal(file_disk_open(&other, f->path, FILE_DISK_REPAIR, &f->heap, NULL, reason),
                     -EBUSY);
    assert_int_equal(file_disk_open(&other, f->path, FILE_DISK_LOOK, &f->heap, NULL, reason), 0);
    assert_true(other.in_use);
    assert_int_equal(other.disk.open(&other.disk, "a", &file, &size), 0);
    assert_int_equal(other.disk.write(&other.disk, file, 0, bytes_text("x")), -EBADF);
    other.disk.close(&other.disk, file);
    file_disk_close(&other);
    file_disk_close(&f->disk);
    assert_int_equal(file_disk_open(&other, f->path, FILE_DISK_LOOK, &f->heap, NULL, reason), 0);
    assert_false(other.in_use);
    file_disk_close(&other);
    assert_int_equal(file_disk_open(&other, f->path, FILE_DISK_OWN, &f->heap, NULL, reason), 0);
    file_disk_close(&other);
}

static void what_is_no_directory_is_refused_with_its_path(void **state)
{
    struct fixture *f = *state;
    struct file_disk other;
    char reason[FILE_DISK_REASON_BYTES] = "", path[256];
    snprintf(path, sizeof path, "%s/lock", f->path);
    assert_int_equal(file_disk_open(&other, path, FILE_DISK_OWN, &f->heap, NULL, reason), -ENOTDIR);
    assert_non_null(strstr(reason, path));
    assert_non_null(strstr(reason, "expected a directory"));
    snprintf(path, sizeof path, "%s/no/such", f->path);
    assert_int_equal(file_disk_open(&other, path, FILE_DISK_OWN, &f->heap, NULL, reason), -ENOENT);
    snprintf(path, sizeof path, "%s/none", f->path);
    assert_int_equal(file_disk_open(&other, path, FILE_DISK_LOOK, &f->heap, NULL, reason), -ENOENT);
    assert_int_equal(size_of(f, "none"), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(create_gives_a_file_of_zeros_with_that_room),
        TEST(create_fills_a_file_whose_zeros_are_to_be_on_the_disk),
        TEST(create_refuses_a_name_that_is_there),
        TEST(create_without_room_leaves_no_file),
        TEST(what_is_written_can_be_read_synced_and_cut),
        TEST(publish_renames_and_closes),
        TEST(remove_and_rename_tell_what_is_missing),
        TEST(requests_at_the_same_time_all_end),
        TEST(list_names_the_plain_files),
        TEST(open_tells_the_size_and_what_is_missing),
        TEST(a_directory_is_locked_for_one_and_may_be_looked_at),
        TEST(what_is_no_directory_is_refused_with_its_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
