/* The journal on disk: batches and marks, syncs, segments, and what happens when the disk fails. */
#include "stored.h"
#include "unit.h"

#include <errno.h>

static void start(struct stored *t, enum storage_sync sync)
{
    stored_open(t, sync);
    assert_int_equal(stored_start(t), 0);
    stored_settle(t);
}

/* Starts anew after a crash, and looks whether all that was written is there. */
static void assert_survives(struct stored *t, enum memory_crash how)
{
    stored_crash(t, how);
    assert_int_equal(stored_start(t), 0);
    assert_false(t->node->refilling);
    assert_int_equal(stored_covered(t, t), t->write_count);
    stored_assert_holds(t, t, t->write_count);
}

/* A client whose reply is waited for. */
static void send(struct stored *t, struct session *s, const char *line)
{
    session_init(s, t->node);
    session_read(s, t->now, bytes_text(line));
}

static void assert_replied(struct session *s, const char *reply)
{
    assert_bytes_are(buffer_bytes(session_output(s)), reply);
}

static void storage_writes_each_batch_with_a_mark_behind_it(void **state)
{
    (void)state;
    struct stored t;
    struct segment_entry e;
    start(&t, STORAGE_SYNC_ALWAYS);
    stored_write(&t, 0);
    stored_write(&t, 1);
    assert_true(storage_has_batch(t.storage));
    stored_turn(&t);
    assert_false(storage_has_batch(t.storage));
    struct bytes rest =
        bytes_after(memory_file_bytes(stored_file(&t, "journal", 1)), SEGMENT_HEADER_BYTES);
    for (int i = 0; i < 2; i++) {
        int64_t size = segment_entry_decode(&e, rest);
        assert_true(size > 0 && e.kind == ENTRY_RECORD && e.record.stamp == t.writes[i].stamp);
        rest = bytes_after(rest, (size_t)size);
    }
    assert_true(segment_entry_decode(&e, rest) > 0);
    assert_int_equal(e.kind, ENTRY_MARK);
    assert_int_equal(e.mark.records, 2);
    stored_close(&t);
}

/* The first turn writes, the second brings nothing new: then the sync begins. */
static void begin_sync(struct stored *t)
{
    uint64_t syncs = t->storage->syncs;
    stored_turn(t);
    assert_int_equal(t->storage->syncs, syncs);
    assert_true(storage_is_busy(t->storage)); /* the next turn comes at once */
    stored_turn(t);
    assert_int_equal(t->storage->syncs, syncs + 1);
    assert_false(storage_is_busy(t->storage));
}

static void storage_holds_replies_under_always_until_one_sync_releases_all(void **state)
{
    (void)state;
    struct stored t;
    struct session clients[3];
    start(&t, STORAGE_SYNC_ALWAYS);
    uint64_t syncs = t.storage->syncs;
    for (int i = 0; i < 3; i++)
        send(&t, &clients[i], "SET a b\n");
    begin_sync(&t);
    node_release(t.node, t.now);
    for (int i = 0; i < 3; i++)
        assert_replied(&clients[i], "");
    assert_true(stored_finish(&t));
    node_release(t.node, t.now);
    for (int i = 0; i < 3; i++) {
        assert_replied(&clients[i], "OK\n");
        session_close(&clients[i]);
    }
    assert_int_equal(t.storage->syncs, syncs + 1);
    stored_close(&t);
}

static void storage_writes_under_way_during_a_sync_wait_for_the_next(void **state)
{
    (void)state;
    struct stored t;
    struct session first, second;
    start(&t, STORAGE_SYNC_ALWAYS);
    send(&t, &first, "SET a 1\n");
    begin_sync(&t);
    send(&t, &second, "SET a 2\n");
    stored_turn(&t);
    assert_true(stored_finish(&t));
    node_release(t.node, t.now);
    assert_replied(&first, "OK\n");
    assert_replied(&second, "");
    begin_sync(&t);
    assert_true(stored_finish(&t));
    node_release(t.node, t.now);
    assert_replied(&second, "OK\n");
    session_close(&first);
    session_close(&second);
    stored_close(&t);
}

static void storage_lets_writes_of_turn_after_turn_share_a_sync(void **state)
{
    (void)state;
    struct stored t;
    start(&t, STORAGE_SYNC_ALWAYS);
    uint64_t syncs = t.storage->syncs;
    for (uint32_t i = 0; i < 10; i++) {
        stored_write(&t, i % STORED_KEYS);
        stored_turn(&t);
        assert_int_equal(t.storage->syncs, syncs);
    }
    stored_turn(&t);
    assert_int_equal(t.storage->syncs, syncs + 1);
    assert_true(stored_finish(&t));
    for (uint32_t i = 0; i < 10; i++)
        assert_true(node_is_durable(t.node, t.writes[i].stamp));
    stored_close(&t);
}

static void storage_waits_no_longer_for_writes_that_keep_coming(void **state)
{
    (void)state;
    struct stored t;
    start(&t, STORAGE_SYNC_ALWAYS);
    uint64_t syncs = t.storage->syncs;
    for (uint32_t ms = 0; ms <= STORAGE_GATHER_MS; ms++) {
        assert_int_equal(t.storage->syncs, syncs);
        stored_write(&t, 0);
        stored_turn(&t);
        t.now.mono_ms++;
    }
    assert_int_equal(t.storage->syncs, syncs + 1);
    stored_close(&t);
}

/* How many ms pass after a write until a sync begins. */
static uint64_t ms_until_sync(enum storage_sync sync)
{
    struct stored t;
    struct session client;
    uint64_t ms = 0;
    start(&t, sync);
    stored_pass(&t, 100);
    stored_settle(&t);
    uint64_t syncs = t.storage->syncs;
    send(&t, &client, "SET a b\n");
    stored_turn(&t);
    assert_replied(&client, "OK\n"); /* no reply waits for it */
    for (; t.storage->syncs == syncs && ms < 100000; ms += 100)
        stored_pass(&t, 100);
    session_close(&client);
    stored_close(&t);
    return ms;
}

static void storage_syncs_every_second_under_everysec_and_rarely_under_no(void **state)
{
    (void)state;
    assert_in_range(ms_until_sync(STORAGE_SYNC_EVERYSEC), 100, STORAGE_EVERYSEC_MS);
    assert_in_range(ms_until_sync(STORAGE_SYNC_NO), STORAGE_LAZY_MS - 1000, STORAGE_LAZY_MS);
}

static void storage_keeps_everything_synced_through_a_power_cut_and_all_through_a_kill(void **state)
{
    (void)state;
    for (int sync = STORAGE_SYNC_ALWAYS; sync <= STORAGE_SYNC_NO; sync++) {
        struct stored t;
        start(&t, (enum storage_sync)sync);
        for (uint32_t i = 0; i < 10; i++)
            stored_write(&t, i % STORED_KEYS);
        stored_delete(&t, 1);
        stored_turn(&t);
        assert_survives(&t, MEMORY_KILL);
        /* What was only written then has been synced by the start. */
        assert_survives(&t, MEMORY_POWER_CUT_LOSES);
        stored_close(&t);
    }
}

static void storage_goes_on_in_a_new_segment_when_one_is_full(void **state)
{
    (void)state;
    struct stored t;
    start(&t, STORAGE_SYNC_ALWAYS);
    for (uint32_t i = 0; i < STORED_WRITES; i++) {
        stored_write(&t, i % STORED_KEYS);
        stored_settle(&t);
    }
    assert_true(t.storage->current.number > 1);
    assert_non_null(stored_file(&t, "journal", 1));
    assert_null(t.storage->ended.file); /* it is synced */
    assert_survives(&t, MEMORY_POWER_CUT_LOSES);
    stored_close(&t);
}

static void storage_goes_on_in_a_full_segment_while_there_is_no_other(void **state)
{
    (void)state;
    struct stored t;
    start(&t, STORAGE_SYNC_ALWAYS);
    t.disk.dials.request_error_one_in = 1;
    for (uint32_t i = 0; i < STORED_WRITES; i++) {
        stored_write(&t, i % STORED_KEYS);
        stored_settle(&t);
        assert_int_equal(t.storage->error, 0);
    }
    assert_int_equal(t.storage->current.number, 1);
    t.disk.dials.request_error_one_in = 0;
    assert_survives(&t, MEMORY_POWER_CUT_LOSES);
    stored_close(&t);
}

static void storage_writes_on_after_every_short_write(void **state)
{
    (void)state;
    struct stored t;
    start(&t, STORAGE_SYNC_ALWAYS);
    t.disk.dials.short_one_in = 1;
    for (uint32_t i = 0; i < 20; i++) {
        stored_write(&t, i % STORED_KEYS);
        stored_settle(&t);
    }
    assert_true(t.disk.failures > 20);
    assert_survives(&t, MEMORY_POWER_CUT_LOSES);
    stored_close(&t);
}

static void check_failing_writes(struct stored *t, int error)
{
    assert_int_equal(storage_flush(t->storage, t->now), error);
    assert_false(storage_has_written(t->storage, t->writes[t->write_count - 1].stamp));
    uint64_t tries = t->storage->write_errors;
    stored_turn(t);
    assert_int_equal(t->storage->write_errors, tries); /* not every turn */
    stored_pass(t, STORAGE_RETRY_MS);
    assert_int_equal(t->storage->write_errors, tries + 1);
}

static void storage_tries_again_until_there_is_space(void **state)
{
    (void)state;
    struct stored t;
    start(&t, STORAGE_SYNC_ALWAYS);
    stored_write(&t, 0);
    stored_settle(&t);
    struct memory_file *f = stored_file(&t, "journal", 1);
    memory_file_cut(f, memory_file_used(f)); /* nothing is preallocated any more */
    t.disk.dials.capacity_bytes = memory_disk_used(&t.disk) + 7;
    stored_write(&t, 1);
    check_failing_writes(&t, -ENOSPC);
    t.disk.dials.capacity_bytes = 0;
    stored_pass(&t, STORAGE_RETRY_MS);
    stored_settle(&t);
    assert_int_equal(t.storage->error, 0);
    assert_true(storage_has_written(t.storage, t.writes[1].stamp));
    assert_survives(&t, MEMORY_POWER_CUT_LOSES);
    stored_close(&t);
}

static void storage_tries_again_after_an_error(void **state)
{
    (void)state;
    struct stored t;
    start(&t, STORAGE_SYNC_EVERYSEC);
    t.disk.dials.write_error_one_in = 1;
    stored_write(&t, 1);
    check_failing_writes(&t, -EIO);
    t.disk.dials.write_error_one_in = 0;
    stored_pass(&t, STORAGE_RETRY_MS);
    assert_survives(&t, MEMORY_KILL);
    stored_close(&t);
}

static void storage_refuses_client_writes_while_the_disk_takes_none(void **state)
{
    (void)state;
    struct stored t;
    struct session client;
    start(&t, STORAGE_SYNC_EVERYSEC);
    t.disk.dials.write_error_one_in = 1;
    stored_write(&t, 1);
    stored_turn(&t);
    send(&t, &client, "SET a b\nGET key1\n");
    struct bytes out = buffer_bytes(session_output(&client));
    assert_true(out.size > 8 && memcmp(out.data, "ERROR ", 6) == 0);
    assert_memory_equal(out.data + out.size - 3, "\n0\n", 3); /* reads go on */
    session_close(&client);
    stored_close(&t);
}

static void storage_ends_for_good_after_a_failed_sync(void **state)
{
    (void)state;
    for (int again = 0; again < 2; again++) {
        struct stored t;
        start(&t, STORAGE_SYNC_ALWAYS);
        stored_write(&t, 0);
        stored_settle(&t);
        t.disk.dials.next_sync_fails = true;
        stored_write(&t, 1);
        stored_settle(&t);
        assert_true(t.storage->fatal);
        assert_non_null(strstr(t.storage->reason, "sync of the journal failed"));
        assert_false(node_is_durable(t.node, t.writes[1].stamp));
        uint64_t syncs = t.storage->syncs;
        stored_pass(&t, 5000);
        assert_int_equal(t.storage->syncs, syncs); /* never tried again */
        assert_true(storage_is_stopped(t.storage));
        stored_crash(&t, again == 0 ? MEMORY_KILL : MEMORY_POWER_CUT);
        assert_int_equal(stored_start(&t), 0);
        stored_assert_holds(&t, &t, 1);
        stored_close(&t);
    }
}

static void storage_takes_no_more_than_its_limit_while_the_disk_takes_nothing(void **state)
{
    (void)state;
    struct stored t;
    start(&t, STORAGE_SYNC_EVERYSEC);
    assert_int_equal(storage_reserve(t.storage, STORAGE_BATCH_BYTES_MAX + 1), 0);
    t.disk.dials.write_error_one_in = 1;
    stored_write(&t, 0);
    stored_turn(&t);
    assert_int_equal(storage_reserve(t.storage, STORAGE_BATCH_BYTES_MAX), -ENOSPC);
    assert_int_equal(storage_reserve(t.storage, 1000), 0);
    stored_close(&t);
}

static void storage_marks_what_the_vector_comes_to_cover_later(void **state)
{
    (void)state;
    struct stored t;
    struct record rec = {
        .key = bytes_text("key0"), .value = bytes_text("x"), .stamp = 77, .origin = 99};
    start(&t, STORAGE_SYNC_ALWAYS);
    assert_int_equal(node_receive(t.node, &rec), 0);
    stored_settle(&t);
    assert_false(vector_covers(&t.node->durable, 99, 77));
    assert_int_equal(vector_advance(&t.node->vector, 99, 80), 0);
    stored_pass(&t, 2000);
    stored_settle(&t);
    assert_true(vector_covers(&t.node->durable, 99, 80));
    uint64_t written = t.storage->bytes_written;
    assert_int_equal(vector_advance(&t.node->vector, 99, 90), 0);
    stored_pass(&t, 5000);
    assert_int_equal(t.storage->bytes_written, written); /* nothing of it is on the disk */
    stored_close(&t);
}

static void storage_marks_what_was_recovered_before_it_was_covered(void **state)
{
    (void)state;
    struct stored t;
    struct record rec = {
        .key = bytes_text("key0"), .value = bytes_text("x"), .stamp = 77, .origin = 99};
    start(&t, STORAGE_SYNC_ALWAYS);
    assert_int_equal(node_receive(t.node, &rec), 0);
    stored_settle(&t);
    stored_crash(&t, MEMORY_KILL);
    assert_int_equal(stored_start(&t), 0);
    assert_int_equal(vector_advance(&t.node->vector, 99, 80), 0);
    stored_pass(&t, 2000);
    stored_settle(&t);
    assert_true(vector_covers(&t.node->durable, 99, 80));
    stored_close(&t);
}

static void storage_stops_though_a_snapshot_cannot_be_begun(void **state)
{
    (void)state;
    struct stored t;
    start(&t, STORAGE_SYNC_ALWAYS);
    t.disk.dials.request_error_one_in = 1; /* there will be no other segment */
    for (uint32_t i = 0; i < 50; i++) {
        stored_write(&t, i % STORED_KEYS);
        stored_settle(&t);
    }
    stored_stop(&t);
    t.disk.dials.request_error_one_in = 0;
    assert_int_equal(stored_start(&t), 0);
    stored_assert_holds(&t, &t, 50);
    stored_close(&t);
}

static void storage_stops_with_everything_synced_and_starts_without_a_word(void **state)
{
    (void)state;
    for (int sync = STORAGE_SYNC_ALWAYS; sync <= STORAGE_SYNC_NO; sync++) {
        struct stored t;
        start(&t, (enum storage_sync)sync);
        for (uint32_t i = 0; i < 50; i++)
            stored_write(&t, i % STORED_KEYS);
        stored_stop(&t);
        assert_int_equal(stored_start(&t), 0);
        assert_false(t.storage->recovery.damaged);
        stored_assert_holds(&t, &t, t.write_count);
        stored_close(&t);
    }
}

static void storage_stops_also_while_the_disk_takes_no_writes(void **state)
{
    (void)state;
    struct stored t;
    start(&t, STORAGE_SYNC_EVERYSEC);
    t.disk.dials.write_error_one_in = 1;
    t.disk.dials.request_error_one_in = 1;
    stored_write(&t, 0);
    stored_turn(&t);
    stored_stop(&t);
    stored_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(storage_writes_each_batch_with_a_mark_behind_it),
        cmocka_unit_test(storage_holds_replies_under_always_until_one_sync_releases_all),
        cmocka_unit_test(storage_writes_under_way_during_a_sync_wait_for_the_next),
        cmocka_unit_test(storage_lets_writes_of_turn_after_turn_share_a_sync),
        cmocka_unit_test(storage_waits_no_longer_for_writes_that_keep_coming),
        cmocka_unit_test(storage_syncs_every_second_under_everysec_and_rarely_under_no),
        cmocka_unit_test(
            storage_keeps_everything_synced_through_a_power_cut_and_all_through_a_kill),
        cmocka_unit_test(storage_goes_on_in_a_new_segment_when_one_is_full),
        cmocka_unit_test(storage_goes_on_in_a_full_segment_while_there_is_no_other),
        cmocka_unit_test(storage_writes_on_after_every_short_write),
        cmocka_unit_test(storage_tries_again_until_there_is_space),
        cmocka_unit_test(storage_tries_again_after_an_error),
        cmocka_unit_test(storage_refuses_client_writes_while_the_disk_takes_none),
        cmocka_unit_test(storage_ends_for_good_after_a_failed_sync),
        cmocka_unit_test(storage_takes_no_more_than_its_limit_while_the_disk_takes_nothing),
        cmocka_unit_test(storage_marks_what_the_vector_comes_to_cover_later),
        cmocka_unit_test(storage_marks_what_was_recovered_before_it_was_covered),
        cmocka_unit_test(storage_stops_though_a_snapshot_cannot_be_begun),
        cmocka_unit_test(storage_stops_with_everything_synced_and_starts_without_a_word),
        cmocka_unit_test(storage_stops_also_while_the_disk_takes_no_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
