/* Buffers: filled at the end, consumed from the front, and failures that stick. */
#include "failing_heap.h"
#include "unit.h"

#include "kv/buffer.h"
#include "kv/random.h"

struct fixture {
    struct failing_heap heap;
    struct buffer b;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    failing_heap_init(&f->heap);
    buffer_init(&f->b, &f->heap.heap);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    buffer_close(&f->b);
    bool leaked = f->heap.live != 0;
    free(f);
    return leaked;
}

static void buffer_that_is_new_owns_nothing(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(buffer_size(&f->b), 0);
    assert_null(buffer_bytes(&f->b).data);
    buffer_append(&f->b, bytes_of(NULL, 0));
    assert_int_equal(f->heap.calls, 0);
}

static void buffer_append_keeps_the_order(void **state)
{
    struct fixture *f = *state;
    buffer_append(&f->b, bytes_text("ab"));
    buffer_append_text(&f->b, "cd");
    buffer_append(&f->b, bytes_of("\0e", 2));
    assert_bytes_equal(buffer_bytes(&f->b), bytes_of("abcd\0e", 6));
}

static void buffer_append_of_numbers_writes_decimals(void **state)
{
    struct fixture *f = *state;
    buffer_append_u64(&f->b, 0);
    buffer_append_text(&f->b, " ");
    buffer_append_u64(&f->b, UINT64_MAX);
    buffer_append_text(&f->b, " ");
    buffer_append_i64(&f->b, INT64_MIN);
    buffer_append_text(&f->b, " ");
    buffer_append_i64(&f->b, INT64_MAX);
    buffer_append_text(&f->b, " ");
    buffer_append_i64(&f->b, -1);
    assert_bytes_are(buffer_bytes(&f->b), "0 18446744073709551615 -9223372036854775808 "
                                          "9223372036854775807 -1");
}

static void buffer_printf_appends_without_its_nul(void **state)
{
    struct fixture *f = *state;
    buffer_printf(&f->b, "%s=%d", "x", 5);
    buffer_printf(&f->b, "%s", "");
    buffer_printf(&f->b, ";%0300d", 1);
    assert_int_equal(buffer_size(&f->b), 3 + 1 + 300);
    assert_int_equal(buffer_bytes(&f->b).data[303], '1');
}

static void buffer_consume_and_truncate_take_from_both_ends(void **state)
{
    struct fixture *f = *state;
    buffer_append_text(&f->b, "0123456789");
    buffer_consume(&f->b, 3);
    assert_bytes_are(buffer_bytes(&f->b), "3456789");
    buffer_truncate(&f->b, 4);
    assert_bytes_are(buffer_bytes(&f->b), "3456");
    buffer_append_text(&f->b, "x");
    assert_bytes_are(buffer_bytes(&f->b), "3456x");
    buffer_consume(&f->b, 5);
    assert_int_equal(buffer_size(&f->b), 0);
    assert_int_equal(f->b.start, 0);
}

static void buffer_reserve_gives_room_at_the_end(void **state)
{
    struct fixture *f = *state;
    for (size_t size = 0; size < 3000; size += 7) {
        uint8_t *at = buffer_reserve(&f->b, size);
        assert_non_null(at);
        memset(at, (int)(size % 251), size);
        buffer_added(&f->b, size);
    }
    const uint8_t *at = buffer_bytes(&f->b).data;
    for (size_t size = 0; size < 3000; size += 7) {
        for (size_t i = 0; i < size; i++)
            assert_int_equal(*at++, size % 251);
    }
}

static void buffer_reserve_too_large_fails_and_sticks(void **state)
{
    struct fixture *f = *state;
    buffer_append_text(&f->b, "x");
    uint64_t calls = f->heap.calls;
    assert_null(buffer_reserve(&f->b, SIZE_MAX - 5));
    assert_true(buffer_failed(&f->b));
    assert_int_equal(f->heap.calls, calls);
}

static void buffer_failure_sticks_until_it_is_closed(void **state)
{
    struct fixture *f = *state;
    buffer_append_text(&f->b, "kept");
    failing_heap_arm(&f->heap, 1);
    uint8_t large[1000] = {0};
    buffer_append(&f->b, bytes_of(large, sizeof large));
    assert_true(failing_heap_disarm(&f->heap));
    assert_true(buffer_failed(&f->b));
    buffer_append_text(&f->b, "not");
    buffer_append_u64(&f->b, 1);
    buffer_printf(&f->b, "not");
    assert_bytes_are(buffer_bytes(&f->b), "kept");
    buffer_close(&f->b);
    assert_false(buffer_failed(&f->b));
    buffer_append_text(&f->b, "again");
    assert_bytes_are(buffer_bytes(&f->b), "again");
}

static void buffer_reuses_its_front_before_it_grows(void **state)
{
    struct fixture *f = *state;
    uint8_t part[100] = {0};
    for (int i = 0; i < 10000; i++) {
        buffer_append(&f->b, bytes_of(part, sizeof part));
        if (i > 0)
            buffer_consume(&f->b, sizeof part);
    }
    assert_true(f->b.capacity <= 1024);
    assert_true(f->heap.calls <= 4);
}

static void buffer_behaves_as_a_queue_of_bytes(void **state)
{
    struct fixture *f = *state;
    struct random random;
    uint64_t written = 0, read = 0;
    random_init(&random, unit_seed(__func__));
    for (uint64_t round = unit_rounds(20000); round > 0; round--) {
        uint64_t size = random_below(&random, 90);
        if (random_below(&random, 2) == 0) {
            for (uint64_t i = 0; i < size; i++, written++)
                buffer_append(&f->b, bytes_of(&(uint8_t){(uint8_t)(written * 7)}, 1));
            continue;
        }
        size = size < buffer_size(&f->b) ? size : buffer_size(&f->b);
        for (uint64_t i = 0; i < size; i++, read++)
            assert_int_equal(buffer_bytes(&f->b).data[i], (uint8_t)(read * 7));
        buffer_consume(&f->b, size);
        assert_int_equal(buffer_size(&f->b), written - read);
    }
}

static void buffer_move_empties_the_one_and_frees_the_others_content(void **state)
{
    struct fixture *f = *state;
    struct buffer into;
    buffer_init(&into, &f->heap.heap);
    buffer_append_text(&into, "old");
    buffer_append_text(&f->b, "new");
    buffer_consume(&f->b, 1);
    buffer_move(&into, &f->b);
    assert_bytes_are(buffer_bytes(&into), "ew");
    assert_int_equal(f->b.capacity, 0);
    assert_int_equal(f->heap.live, 1);
    buffer_close(&into);
}

/* --- what is pending ----------------------------------------------------------------------- */

static void buffer_join_borrows_what_arrived_when_nothing_is_pending(void **state)
{
    struct fixture *f = *state;
    struct bytes arrived = bytes_text("whole"), joined = buffer_join(&f->b, arrived);
    assert_ptr_equal(joined.data, arrived.data);
    buffer_keep_rest(&f->b, joined, 5);
    assert_int_equal(f->heap.calls, 0);
}

static void buffer_keep_rest_keeps_what_was_not_parsed(void **state)
{
    struct fixture *f = *state;
    struct bytes joined = buffer_join(&f->b, bytes_text("abcd"));
    buffer_keep_rest(&f->b, joined, 1);
    joined = buffer_join(&f->b, bytes_text("ef"));
    assert_bytes_are(joined, "bcdef");
    buffer_keep_rest(&f->b, joined, 3);
    joined = buffer_join(&f->b, bytes_of(NULL, 0));
    assert_bytes_are(joined, "ef");
    buffer_keep_rest(&f->b, joined, 0);
    joined = buffer_join(&f->b, bytes_text("g"));
    assert_bytes_are(joined, "efg");
    buffer_keep_rest(&f->b, joined, 3);
    assert_int_equal(f->b.capacity, 0);
}

static void buffer_keep_rest_does_not_forget_a_failure(void **state)
{
    struct fixture *f = *state;
    uint8_t large[1000] = {0};
    buffer_keep_rest(&f->b, buffer_join(&f->b, bytes_text("ab")), 0);
    failing_heap_arm(&f->heap, 1);
    struct bytes joined = buffer_join(&f->b, bytes_of(large, sizeof large));
    assert_bytes_are(joined, "ab");
    buffer_keep_rest(&f->b, joined, 2);
    assert_true(buffer_failed(&f->b));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(buffer_that_is_new_owns_nothing),
        TEST(buffer_append_keeps_the_order),
        TEST(buffer_append_of_numbers_writes_decimals),
        TEST(buffer_printf_appends_without_its_nul),
        TEST(buffer_consume_and_truncate_take_from_both_ends),
        TEST(buffer_reserve_gives_room_at_the_end),
        TEST(buffer_reserve_too_large_fails_and_sticks),
        TEST(buffer_failure_sticks_until_it_is_closed),
        TEST(buffer_reuses_its_front_before_it_grows),
        TEST(buffer_behaves_as_a_queue_of_bytes),
        TEST(buffer_move_empties_the_one_and_frees_the_others_content),
        TEST(buffer_join_borrows_what_arrived_when_nothing_is_pending),
        TEST(buffer_keep_rest_keeps_what_was_not_parsed),
        TEST(buffer_keep_rest_does_not_forget_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
