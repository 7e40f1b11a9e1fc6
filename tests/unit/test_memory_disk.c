/* The disk in memory: that it keeps what a real one keeps, and loses what a real one may lose. */
#include "unit.h"

#include "memory_disk.h"

#include "kv/heap.h"

#include <errno.h>

#define FILE_BYTES (4 * MEMORY_DISK_SECTOR_BYTES)

struct fixture {
    struct memory_disk m;
    struct disk *disk;
    struct disk_request request;
    struct disk_file *file;
};

static void open_disk(struct fixture *f, uint64_t seed)
{
    memset(f, 0, sizeof *f);
    memory_disk_init(&f->m, seed);
    f->disk = &f->m.disk;
}

static void close_disk(struct fixture *f)
{
    if (f->file != NULL)
        f->disk->close(f->disk, f->file);
    memory_disk_close(&f->m);
}

static void begin(struct fixture *f, struct disk_request *r, enum disk_operation operation,
                  const char *name, const char *new_name)
{
    *r = (struct disk_request){.operation = operation, .busy = true, .file = f->file};
    snprintf(r->name, sizeof r->name, "%s", name);
    snprintf(r->new_name, sizeof r->new_name, "%s", new_name);
    r->bytes = FILE_BYTES;
    f->disk->begin(f->disk, r);
}

static int run(struct fixture *f, enum disk_operation operation, const char *name,
               const char *new_name)
{
    int status;
    begin(f, &f->request, operation, name, new_name);
    assert_ptr_equal(memory_disk_finish(&f->m, &status), &f->request);
    f->request.busy = false;
    return status;
}

static void create(struct fixture *f, const char *name)
{
    assert_int_equal(run(f, DISK_CREATE, name, ""), 0);
    f->file = f->request.file;
}

static void write_text(struct fixture *f, uint64_t offset, const char *text)
{
    assert_int_equal(f->disk->write(f->disk, f->file, offset, bytes_text(text)), strlen(text));
}

static void crash(struct fixture *f, enum memory_crash how)
{
    memory_disk_crash(&f->m, how);
    f->disk->close(f->disk, f->file);
    f->file = NULL;
}

/* What the file of that name begins with, after a start. */
static void assert_begins(struct fixture *f, const char *name, const char *text)
{
    char read[64] = {0};
    struct disk_file *file;
    uint64_t size;
    assert_int_equal(f->disk->open(f->disk, name, &file, &size), 0);
    assert_true(f->disk->read(f->disk, file, 0, (uint8_t *)read, sizeof read) >= 0);
    f->disk->close(f->disk, file);
    assert_string_equal(read, text);
}

static void memory_disk_reads_what_was_written_and_zeros_behind_it(void **state)
{
    (void)state;
    struct fixture f;
    uint8_t read[8];
    open_disk(&f, 1);
    create(&f, "a");
    write_text(&f, 2, "xyz");
    assert_int_equal(f.disk->read(f.disk, f.file, 0, read, 8), 8);
    assert_memory_equal(read, "\0\0xyz\0\0\0", 8);
    assert_int_equal(f.disk->read(f.disk, f.file, FILE_BYTES - 3, read, 8), 3);
    assert_int_equal(f.disk->read(f.disk, f.file, FILE_BYTES, read, 8), 0);
    assert_int_equal(f.disk->truncate(f.disk, f.file, 4), 0);
    write_text(&f, 6, "!");
    assert_int_equal(f.disk->read(f.disk, f.file, 0, read, 8), 7);
    assert_memory_equal(read, "\0\0xy\0\0!", 7);
    close_disk(&f);
}

static void memory_disk_keeps_what_was_synced_through_every_crash(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct fixture f;
        open_disk(&f, seed);
        create(&f, "a");
        write_text(&f, 0, "synced");
        assert_int_equal(run(&f, DISK_SYNC, "", ""), 0);
        write_text(&f, MEMORY_DISK_SECTOR_BYTES, "not synced");
        crash(&f, (enum memory_crash)(seed % MEMORY_CRASHES));
        assert_begins(&f, "a", "synced");
        close_disk(&f);
    }
}

static void memory_disk_keeps_after_a_kill_what_was_written(void **state)
{
    (void)state;
    struct fixture f;
    open_disk(&f, 1);
    create(&f, "a");
    write_text(&f, 0, "written");
    crash(&f, MEMORY_KILL);
    assert_begins(&f, "a", "written");
    /* And loses it if the power is cut then. */
    memory_disk_crash(&f.m, MEMORY_POWER_CUT_LOSES);
    assert_begins(&f, "a", "");
    close_disk(&f);
}

static void memory_disk_does_not_sync_what_was_written_after_the_sync_began(void **state)
{
    (void)state;
    struct fixture f;
    int status;
    open_disk(&f, 1);
    create(&f, "a");
    write_text(&f, 0, "before");
    begin(&f, &f.request, DISK_SYNC, "", "");
    write_text(&f, 0, "behind");
    assert_ptr_equal(memory_disk_finish(&f.m, &status), &f.request);
    crash(&f, MEMORY_POWER_CUT_LOSES);
    assert_begins(&f, "a", "before");
    close_disk(&f);
}

/* Counts what becomes of three sectors. */
static void memory_disk_tears_what_was_not_synced_in_every_way(void **state)
{
    (void)state;
    uint32_t seen[16] = {0};
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct fixture f;
        uint32_t is = 0;
        open_disk(&f, seed);
        create(&f, "a");
        assert_int_equal(run(&f, DISK_SYNC, "", ""), 0);
        for (uint32_t i = 0; i < 3; i++)
            write_text(&f, i * MEMORY_DISK_SECTOR_BYTES, "x");
        write_text(&f, 0, "y"); /* over the first */
        crash(&f, MEMORY_POWER_CUT);
        const struct memory_content *c = &memory_disk_find(&f.m, "a")->now;
        for (uint32_t i = 0; i < 3; i++) {
            uint64_t at = i * MEMORY_DISK_SECTOR_BYTES;
            is |= (uint32_t)(at < c->stored && c->at[at] != 0) << i;
        }
        is |= (uint32_t)(c->stored > 0 && c->at[0] == 'y') << 3;
        seen[is]++;
        close_disk(&f);
    }
    for (uint32_t i = 0; i < 16; i++)
        assert_true((seen[i] > 0) == ((i & 9) != 8)); /* no y where nothing is */
}

static void memory_disk_may_lose_the_size_of_a_new_file_but_not_the_file(void **state)
{
    (void)state;
    uint32_t sizes[2] = {0};
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct fixture f;
        open_disk(&f, seed);
        create(&f, "a");
        crash(&f, MEMORY_POWER_CUT);
        struct memory_file *file = memory_disk_find(&f.m, "a");
        assert_non_null(file);
        assert_true(file->now.size == 0 || file->now.size == FILE_BYTES);
        sizes[file->now.size != 0]++;
        close_disk(&f);
    }
    assert_true(sizes[0] > 0 && sizes[1] > 0);
}

static void memory_disk_may_have_done_a_request_that_was_under_way(void **state)
{
    (void)state;
    uint32_t done[3][2] = {0};
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct fixture f;
        struct disk_request other[2];
        open_disk(&f, seed);
        memory_disk_add(&f.m, "b", bytes_text("x"));
        create(&f, "a.tmp");
        write_text(&f, 0, "x");
        begin(&f, &f.request, DISK_PUBLISH, "a.tmp", "a");
        f.file = NULL;
        begin(&f, &other[0], DISK_CREATE, "c", "");
        begin(&f, &other[1], DISK_REMOVE, "b", "");
        memory_disk_crash(&f.m, MEMORY_POWER_CUT);
        assert_false(f.request.busy || other[0].busy || other[1].busy);
        assert_true(memory_disk_next(&f.m) == MEMORY_DISK_NEVER);
        struct memory_file *a = memory_disk_find(&f.m, "a");
        assert_true((a == NULL) == (memory_disk_find(&f.m, "a.tmp") != NULL));
        if (a != NULL)
            assert_begins(&f, "a", "x"); /* it has its name only with its content */
        done[0][a != NULL]++;
        done[1][memory_disk_find(&f.m, "b") == NULL]++;
        done[2][memory_disk_find(&f.m, "c") != NULL]++;
        close_disk(&f);
    }
    for (int i = 0; i < 3; i++)
        assert_true(done[i][0] > 0 && done[i][1] > 0);
}

static void memory_disk_ends_requests_in_the_order_of_their_times(void **state)
{
    (void)state;
    uint32_t overtaken = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct fixture f;
        struct disk_request other;
        int status;
        open_disk(&f, seed);
        f.m.dials.latency_ms = 10;
        f.m.now_ms = 100;
        begin(&f, &f.request, DISK_CREATE, "a", "");
        begin(&f, &other, DISK_CREATE, "b", "");
        uint64_t first_ms = memory_disk_next(&f.m);
        struct disk_request *first = memory_disk_finish(&f.m, &status);
        uint64_t second_ms = memory_disk_next(&f.m);
        assert_true(first_ms >= 100 && first_ms <= second_ms && second_ms <= 110);
        assert_non_null(memory_disk_finish(&f.m, &status));
        assert_null(memory_disk_finish(&f.m, &status));
        overtaken += first == &other;
        f.disk->close(f.disk, f.request.file);
        f.file = other.file;
        close_disk(&f);
    }
    assert_true(overtaken > 0 && overtaken < 50);
}

static void memory_disk_is_full_at_its_capacity_and_not_within_files(void **state)
{
    (void)state;
    struct fixture f;
    open_disk(&f, 1);
    f.m.dials.capacity_bytes = FILE_BYTES + 2;
    create(&f, "a");
    write_text(&f, FILE_BYTES - 4, "four");
    assert_int_equal(f.disk->write(f.disk, f.file, FILE_BYTES, bytes_text("four")), 2);
    assert_int_equal(f.disk->write(f.disk, f.file, FILE_BYTES + 2, bytes_text("r")), -ENOSPC);
    f.request = (struct disk_request){0};
    assert_int_equal(run(&f, DISK_CREATE, "b", ""), -ENOSPC);
    assert_int_equal(f.disk->truncate(f.disk, f.file, 10), 0);
    assert_int_equal(f.disk->write(f.disk, f.file, 10, bytes_text("four")), 4);
    close_disk(&f);
}

static void memory_disk_writes_nothing_again_after_a_failed_sync(void **state)
{
    (void)state;
    uint32_t lost = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct fixture f;
        open_disk(&f, seed);
        create(&f, "a");
        assert_int_equal(run(&f, DISK_SYNC, "", ""), 0);
        write_text(&f, 0, "written");
        f.m.dials.next_sync_fails = true;
        assert_int_equal(run(&f, DISK_SYNC, "", ""), -EIO);
        assert_begins(&f, "a", "written"); /* the kernel still shows it */
        assert_int_equal(run(&f, DISK_SYNC, "", ""), 0);
        crash(&f, MEMORY_POWER_CUT);
        lost += memory_file_bytes(memory_disk_find(&f.m, "a")).size == 0;
        close_disk(&f);
    }
    assert_true(lost > 0);
}

static void memory_disk_fails_and_falls_short_as_often_as_it_is_told(void **state)
{
    (void)state;
    struct fixture f;
    int64_t errors = 0, shorter = 0;
    open_disk(&f, 1);
    create(&f, "a");
    f.m.dials.write_error_one_in = 4;
    f.m.dials.short_one_in = 2;
    for (int i = 0; i < 400; i++) {
        int64_t written = f.disk->write(f.disk, f.file, 0, bytes_text("some bytes"));
        assert_true(written == -EIO || (written > 0 && written <= 10));
        errors += written < 0;
        shorter += written > 0 && written < 10;
    }
    assert_in_range(errors, 60, 140);
    assert_in_range(shorter, 100, 200);
    close_disk(&f);
}

static void memory_disk_is_copied_before_the_step_that_was_named(void **state)
{
    (void)state;
    struct fixture f, copy;
    open_disk(&f, 1);
    open_disk(&copy, 2);
    create(&f, "a");
    write_text(&f, 0, "1");
    memory_disk_copy_at(&f.m, f.m.steps + 1, &copy.m);
    write_text(&f, 1, "2");
    assert_false(f.m.copied);
    begin(&f, &f.request, DISK_SYNC, "", "");
    assert_true(f.m.copied);
    write_text(&f, 2, "3");
    memory_disk_crash(&copy.m, MEMORY_KILL);
    assert_true(f.request.busy); /* the copy's requests are its own */
    assert_begins(&copy, "a", "12");
    int status;
    assert_non_null(memory_disk_finish(&f.m, &status));
    assert_begins(&f, "a", "123");
    close_disk(&copy);
    close_disk(&f);
}

static void memory_disk_does_the_same_from_the_same_seed(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct fixture f[2];
        for (int i = 0; i < 2; i++) {
            open_disk(&f[i], seed);
            create(&f[i], "a");
            for (uint32_t k = 0; k < 40; k++)
                write_text(&f[i], k * 50, "some of many bytes");
            crash(&f[i], MEMORY_POWER_CUT);
        }
        assert_bytes_equal(memory_file_bytes(memory_disk_find(&f[0].m, "a")),
                           memory_file_bytes(memory_disk_find(&f[1].m, "a")));
        close_disk(&f[0]);
        close_disk(&f[1]);
    }
}

static void memory_disk_lists_renames_and_removes_at_once(void **state)
{
    (void)state;
    struct fixture f;
    struct heap heap = heap_of_c_library();
    struct buffer names;
    open_disk(&f, 1);
    buffer_init(&names, &heap);
    memory_disk_add(&f.m, "a", bytes_text("A"));
    memory_disk_add(&f.m, "b", bytes_text("B"));
    assert_int_equal(f.disk->rename_now(f.disk, "a", "b"), 0); /* in its place */
    assert_int_equal(f.disk->rename_now(f.disk, "a", "c"), -ENOENT);
    assert_int_equal(f.disk->list(f.disk, &names), 0);
    assert_int_equal(buffer_size(&names), DISK_NAME_BYTES);
    assert_string_equal((const char *)buffer_bytes(&names).data, "b");
    assert_begins(&f, "b", "A");
    assert_int_equal(f.disk->remove_now(f.disk, "b"), 0);
    assert_int_equal(f.disk->remove_now(f.disk, "b"), 0);
    assert_null(memory_disk_find(&f.m, "b"));
    buffer_close(&names);
    close_disk(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_disk_reads_what_was_written_and_zeros_behind_it),
        cmocka_unit_test(memory_disk_keeps_what_was_synced_through_every_crash),
        cmocka_unit_test(memory_disk_keeps_after_a_kill_what_was_written),
        cmocka_unit_test(memory_disk_does_not_sync_what_was_written_after_the_sync_began),
        cmocka_unit_test(memory_disk_tears_what_was_not_synced_in_every_way),
        cmocka_unit_test(memory_disk_may_lose_the_size_of_a_new_file_but_not_the_file),
        cmocka_unit_test(memory_disk_may_have_done_a_request_that_was_under_way),
        cmocka_unit_test(memory_disk_ends_requests_in_the_order_of_their_times),
        cmocka_unit_test(memory_disk_is_full_at_its_capacity_and_not_within_files),
        cmocka_unit_test(memory_disk_writes_nothing_again_after_a_failed_sync),
        cmocka_unit_test(memory_disk_fails_and_falls_short_as_often_as_it_is_told),
        cmocka_unit_test(memory_disk_is_copied_before_the_step_that_was_named),
        cmocka_unit_test(memory_disk_does_the_same_from_the_same_seed),
        cmocka_unit_test(memory_disk_lists_renames_and_removes_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
