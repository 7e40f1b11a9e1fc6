/* The journal: what readers get, what they are told when the ring has moved on, and where a reader
 * may start. */
#include "failing_heap.h"
#include "unit.h"

#include "kv/journal.h"

#include <errno.h>

static uint8_t filler[2u << 20];

struct fixture {
    struct failing_heap heap;
    struct journal journal;
    struct buffer out;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    failing_heap_init(&f->heap);
    buffer_init(&f->out, &f->heap.heap);
    *state = f;
    return journal_init(&f->journal, &f->heap.heap, JOURNAL_BYTES_MIN);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    journal_close(&f->journal);
    buffer_close(&f->out);
    bool leaked = f->heap.live != 0;
    free(f);
    return leaked;
}

static struct record make(uint64_t stamp, size_t value_bytes)
{
    return (struct record){.key = bytes_text("key"),
                           .value = bytes_of(filler, value_bytes),
                           .stamp = stamp,
                           .origin = 3};
}

static void append(struct fixture *f, uint64_t stamp, size_t value_bytes)
{
    struct record rec = make(stamp, value_bytes);
    journal_append(&f->journal, &rec);
}

/* Reads all there is; checks that it is the records with stamps first … last, step apart. */
static void assert_reads(struct fixture *f, struct journal_reader *reader, uint64_t first,
                         uint64_t last, uint64_t step)
{
    struct record rec;
    buffer_truncate(&f->out, 0);
    journal_read(&f->journal, reader, SIZE_MAX, &f->out);
    struct bytes rest = buffer_bytes(&f->out);
    for (uint64_t stamp = first; stamp <= last; stamp += step) {
        int64_t size = record_decode(&rec, rest);
        assert_true(size > 0);
        assert_int_equal(rec.stamp, stamp);
        rest = bytes_of(rest.data + size, rest.size - (size_t)size);
    }
    assert_int_equal(rest.size, 0);
    assert_false(journal_has_more(&f->journal, reader));
}

static void journal_read_gives_what_was_appended_since(void **state)
{
    struct fixture *f = *state;
    append(f, 10, 5);
    struct journal_reader reader = journal_end(&f->journal);
    assert_false(journal_has_more(&f->journal, &reader));
    append(f, 20, 7);
    append(f, 30, 0);
    assert_true(journal_has_more(&f->journal, &reader));
    assert_reads(f, &reader, 20, 30, 10);
    assert_int_equal(reader.after, 30);
}

static void journal_read_stops_after_the_bytes_wanted(void **state)
{
    struct fixture *f = *state;
    struct journal_reader reader = journal_end(&f->journal);
    for (uint64_t i = 1; i <= 10; i++)
        append(f, i, 69); /* 100 bytes each */
    journal_read(&f->journal, &reader, 250, &f->out);
    assert_int_equal(buffer_size(&f->out), 300);
    assert_int_equal(reader.after, 3);
    journal_read(&f->journal, &reader, 1, &f->out);
    assert_int_equal(buffer_size(&f->out), 400);
    assert_reads(f, &reader, 5, 10, 1);
}

static void journal_read_moves_nothing_without_memory(void **state)
{
    struct fixture *f = *state;
    struct journal_reader reader = journal_end(&f->journal), before = reader;
    append(f, 1, 100);
    failing_heap_arm(&f->heap, 1);
    journal_read(&f->journal, &reader, SIZE_MAX, &f->out);
    assert_true(failing_heap_disarm(&f->heap));
    assert_true(buffer_failed(&f->out));
    assert_memory_equal(&reader, &before, sizeof reader);
    buffer_close(&f->out);
    assert_reads(f, &reader, 1, 1, 1);
}

static void journal_of_no_records_has_its_floor_at_zero(void **state)
{
    struct fixture *f = *state;
    struct journal_reader reader;
    assert_int_equal(journal_floor(&f->journal), 0);
    assert_int_equal(journal_bytes(&f->journal), 0);
    assert_true(journal_seek(&f->journal, 0, &reader));
    assert_false(journal_has_more(&f->journal, &reader));
    append(f, 5, 1);
    assert_reads(f, &reader, 5, 5, 1);
}

static void journal_seek_goes_on_after_any_stamp_it_holds(void **state)
{
    struct fixture *f = *state;
    struct journal_reader reader;
    for (uint64_t i = 1; i <= 500; i++)
        append(f, 10 * i, 1000);
    for (uint64_t after = 0; after <= 5000; after++) {
        assert_true(journal_seek(&f->journal, after, &reader));
        assert_int_equal(reader.after, after);
        if (after % 10 < 2)
            assert_reads(f, &reader, (after / 10 + 1) * 10, 5000, 10);
    }
}

static void journal_seek_goes_on_after_a_stamp_later_than_all(void **state)
{
    struct fixture *f = *state;
    struct journal_reader reader;
    append(f, 10, 1);
    assert_true(journal_seek(&f->journal, 15, &reader));
    append(f, 20, 1);
    assert_reads(f, &reader, 20, 20, 10);
}

static void journal_overwrites_its_oldest_records_and_tells_their_readers(void **state)
{
    struct fixture *f = *state;
    struct journal_reader reader = journal_end(&f->journal), other;
    uint64_t stamp = 0;
    while (!journal_overtaken(&f->journal, &reader))
        append(f, ++stamp, 10000);
    assert_in_range(stamp, 95, 112); /* a ring of 1 MiB holds about 104 of these */
    assert_true(journal_floor(&f->journal) > 0);
    assert_true(journal_bytes(&f->journal) <= JOURNAL_BYTES_MIN);
    assert_false(journal_seek(&f->journal, journal_floor(&f->journal) - 1, &other));
    assert_true(journal_seek(&f->journal, journal_floor(&f->journal), &other));
    assert_reads(f, &other, journal_floor(&f->journal) + 1, stamp, 1);
}

static void journal_holds_all_but_a_block_of_its_capacity(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 5000; i++) {
        append(f, i, 1000);
        if (i > 2000)
            assert_in_range(journal_bytes(&f->journal), JOURNAL_BYTES_MIN - 70000,
                            JOURNAL_BYTES_MIN);
    }
}

static void journal_append_of_a_record_larger_than_the_ring_overtakes_everybody(void **state)
{
    struct fixture *f = *state;
    append(f, 1, 10);
    struct journal_reader reader = journal_end(&f->journal), fresh;
    append(f, 2, JOURNAL_BYTES_MIN);
    assert_true(journal_overtaken(&f->journal, &reader));
    assert_int_equal(journal_floor(&f->journal), 2);
    assert_int_equal(journal_bytes(&f->journal), 0);
    assert_false(journal_seek(&f->journal, 1, &fresh));
    assert_true(journal_seek(&f->journal, 2, &fresh));
    append(f, 3, 10);
    assert_reads(f, &fresh, 3, 3, 1);
}

static void journal_append_takes_a_record_that_just_fills_the_ring(void **state)
{
    struct fixture *f = *state;
    struct record rec = make(0, 0);
    size_t whole = JOURNAL_BYTES_MIN - record_bytes(&rec);
    for (uint64_t stamp = 1; stamp < 10; stamp += 2) {
        struct journal_reader reader = journal_end(&f->journal);
        append(f, stamp, whole);
        assert_int_equal(journal_bytes(&f->journal), JOURNAL_BYTES_MIN);
        assert_true(journal_seek(&f->journal, stamp - 1, &reader));
        assert_reads(f, &reader, stamp, stamp, 1);
        append(f, stamp + 1, 1);
        assert_reads(f, &reader, stamp + 1, stamp + 1, 1);
    }
}

static void journal_skip_overtakes_readers_and_moves_the_floor(void **state)
{
    struct fixture *f = *state;
    struct journal_reader fresh;
    append(f, 1, 10);
    struct journal_reader reader = journal_end(&f->journal);
    journal_skip(&f->journal, 2);
    assert_true(journal_overtaken(&f->journal, &reader));
    assert_int_equal(journal_floor(&f->journal), 2);
    assert_false(journal_seek(&f->journal, 1, &fresh));
    assert_true(journal_seek(&f->journal, 2, &fresh));
    for (uint64_t stamp = 3; stamp < 300; stamp++)
        append(f, stamp, 10000);
    assert_true(journal_overtaken(&f->journal, &fresh));
}

static void journal_count_after_tells_how_many_and_whether_that_is_all(void **state)
{
    struct fixture *f = *state;
    bool all;
    assert_int_equal(journal_count_after(&f->journal, 0, &all), 0);
    assert_true(all);
    for (uint64_t stamp = 10; stamp <= 3000; stamp += 10) /* several blocks */
        append(f, stamp, 1000);
    for (uint64_t after = 0; after <= 3005; after += 5) {
        assert_int_equal(journal_count_after(&f->journal, after, &all),
                         300 - (after > 3000 ? 3000 : after) / 10);
        assert_true(all);
    }
    /* The ring goes round: what was overwritten is not counted, and it says so. */
    for (uint64_t stamp = 3010; stamp <= 30000; stamp += 10)
        append(f, stamp, 1000);
    uint64_t floor = journal_floor(&f->journal);
    assert_true(floor > 3000);
    for (uint64_t after = 0; after <= 30005; after += 5) {
        uint64_t from = after < floor ? floor : after > 30000 ? 30000 : after;
        assert_int_equal(journal_count_after(&f->journal, after, &all), 3000 - from / 10);
        assert_int_equal(all, after >= floor);
    }
}

static void journal_count_after_forgets_what_was_skipped(void **state)
{
    struct fixture *f = *state;
    bool all;
    append(f, 1, 10);
    append(f, 2, 10);
    journal_skip(&f->journal, 5);
    assert_int_equal(journal_count_after(&f->journal, 1, &all), 0);
    assert_false(all);
    append(f, 6, 10);
    assert_int_equal(journal_count_after(&f->journal, 1, &all), 1);
    assert_false(all);
    assert_int_equal(journal_count_after(&f->journal, 5, &all), 1);
    assert_true(all);
}

static void journal_init_without_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    struct failing_heap heap;
    struct journal j;
    failing_heap_init(&heap);
    for (uint64_t n = 1; n <= 2; n++) {
        failing_heap_arm(&heap, n);
        assert_int_equal(journal_init(&j, &heap.heap, JOURNAL_BYTES_MIN), -ENOMEM);
        assert_int_equal(heap.live, 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(journal_read_gives_what_was_appended_since),
        TEST(journal_read_stops_after_the_bytes_wanted),
        TEST(journal_read_moves_nothing_without_memory),
        TEST(journal_of_no_records_has_its_floor_at_zero),
        TEST(journal_seek_goes_on_after_any_stamp_it_holds),
        TEST(journal_seek_goes_on_after_a_stamp_later_than_all),
        TEST(journal_overwrites_its_oldest_records_and_tells_their_readers),
        TEST(journal_holds_all_but_a_block_of_its_capacity),
        TEST(journal_append_of_a_record_larger_than_the_ring_overtakes_everybody),
        TEST(journal_append_takes_a_record_that_just_fills_the_ring),
        TEST(journal_skip_overtakes_readers_and_moves_the_floor),
        TEST(journal_count_after_tells_how_many_and_whether_that_is_all),
        TEST(journal_count_after_forgets_what_was_skipped),
        cmocka_unit_test(journal_init_without_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
