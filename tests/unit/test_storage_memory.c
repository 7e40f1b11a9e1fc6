/* The journal on disk when memory ends: nothing is lost by it, and nobody waits longer than for memory. */
#include "stored.h"
#include "unit.h"

#include <errno.h>

static void start(struct stored *t, enum storage_sync sync)
{
    stored_open(t, sync);
    assert_int_equal(stored_start(t), 0);
    stored_settle(t);
}

static void storage_bears_every_failing_allocation(void **state)
{
    (void)state;
    struct stored t;
    start(&t, STORAGE_SYNC_ALWAYS);
    for (uint64_t n = 1;; n++) {
        uint32_t before = t.write_count;
        failing_heap_arm(&t.heap, n);
        int error = stored_write(&t, 0);
        stored_turn(&t);
        stored_settle(&t);
        stored_pass(&t, 100);
        bool failed = failing_heap_disarm(&t.heap);
        assert_true(error == 0 || error == -ENOMEM);
        assert_int_equal(t.write_count, before + (error == 0));
        stored_pass(&t, 2 * STORAGE_RETRY_MS);
        stored_settle(&t);
        assert_int_equal(t.storage->error, 0);
        if (!failed)
            break;
    }
    stored_crash(&t, MEMORY_POWER_CUT_LOSES);
    assert_int_equal(stored_start(&t), 0);
    assert_false(t.node->refilling);
    assert_int_equal(stored_covered(&t, &t), t.write_count);
    stored_assert_holds(&t, &t, t.write_count);
    stored_close(&t);
}

/* A record of another node's, which the vector covers from the start or not yet. */
static int receive(struct stored *t, uint64_t origin, bool covered)
{
    struct record rec = {
        .key = bytes_text("key0"), .value = bytes_text("x"), .stamp = 77, .origin = origin};
    int error = node_receive(t->node, &rec);
    if (error == 0 && covered)
        assert_int_equal(vector_advance(&t->node->vector, origin, 77), 0);
    return error;
}

/* All vectors have to grow. Nobody writes afterwards, and no later mark is waited for. */
static void storage_tells_what_is_durable_after_every_failing_allocation(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct stored t;
        start(&t, STORAGE_SYNC_ALWAYS);
        for (uint64_t origin = 1; origin <= 8; origin++)
            assert_int_equal(receive(&t, origin, true), 0);
        failing_heap_arm(&t.heap, n);
        bool written = stored_write(&t, 1) == 0;
        stored_settle(&t);
        failed = failing_heap_disarm(&t.heap);
        stored_pass(&t, t.storage->error == 0 ? 100 : STORAGE_RETRY_MS);
        stored_settle(&t);
        for (uint64_t origin = 1; origin <= 8; origin++)
            assert_true(vector_covers(&t.node->durable, origin, 77));
        if (written)
            assert_true(node_is_durable(t.node, t.writes[0].stamp));
        stored_close(&t);
    }
}

static void storage_marks_later_also_what_it_had_no_memory_to_note(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct stored t;
        start(&t, STORAGE_SYNC_ALWAYS);
        failing_heap_arm(&t.heap, n);
        bool received = receive(&t, 99, false) == 0;
        stored_settle(&t);
        failed = failing_heap_disarm(&t.heap);
        stored_pass(&t, 2 * STORAGE_RETRY_MS);
        stored_settle(&t);
        assert_int_equal(vector_advance(&t.node->vector, 99, 80), 0);
        stored_pass(&t, 2000);
        stored_settle(&t);
        if (received)
            assert_true(vector_covers(&t.node->durable, 99, 80));
        stored_close(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(storage_bears_every_failing_allocation),
        cmocka_unit_test(storage_tells_what_is_durable_after_every_failing_allocation),
        cmocka_unit_test(storage_marks_later_also_what_it_had_no_memory_to_note),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
