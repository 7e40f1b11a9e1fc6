/* A start on a disk that can be read, and takes no writes: what was read is served, nothing is promised
 * that is not on the disk, and as soon as it takes writes all is as after any other start. */
#include "stored.h"
#include "unit.h"

#include <errno.h>

#define WRITES 12u

/* A journal of twelve writes; with a torn tail the last of them is cut short, and a segment that was
 * created ahead, as well as an unfinished snapshot, are there. The node has died. */
static void open_journal(struct stored *t, bool torn)
{
    stored_open(t, STORAGE_SYNC_ALWAYS);
    assert_int_equal(stored_start(t), 0);
    for (uint32_t i = 0; i < WRITES; i++) {
        if (i % 4 == 3)
            stored_delete(t, i % STORED_KEYS);
        else
            stored_write(t, i % STORED_KEYS);
        if (i % 3 == 2)
            stored_settle(t);
    }
    stored_crash(t, MEMORY_KILL);
    if (!torn)
        return;
    struct memory_file *f = stored_file(t, "journal", 1);
    memory_file_cut(f, memory_file_used(f) - 7);
    memory_disk_add(&t->disk, "journal-0000000000000002", bytes_text("torn"));
    memory_disk_add(&t->disk, "snapshot-0000000000000002.tmp", bytes_text("unfinished"));
}

static void open_copy(struct stored *t, const struct stored *of)
{
    stored_open(t, STORAGE_SYNC_ALWAYS);
    t->now = of->now;
    stored_take_disk(t, &of->disk, MEMORY_KILL);
}

/* As another run than any that a test compares with. */
static void start_again(struct stored *t)
{
    t->runs += 1000;
    assert_int_equal(stored_start(t), 0);
}

static void fill(struct stored *t)
{
    t->disk.dials.capacity_bytes = memory_disk_used(&t->disk) + 100;
}

/* Not even what a full disk may still take: cutting and removing. */
static void make_read_only(struct stored *t)
{
    t->disk.dials.write_error_one_in = t->disk.dials.request_error_one_in = 1;
}

static void mend(struct stored *t)
{
    t->disk.dials = (struct memory_dials){0};
}

static uint32_t told(struct stored *t, const char *words)
{
    struct notice notice;
    uint32_t count = 0;
    while (notice_take(&t->node->notices, &notice))
        count += strstr(notice.text, words) != NULL;
    return count;
}

static void pass(struct stored *t, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += 100) {
        stored_pass(t, 100);
        stored_turn(t);
        stored_finish(t);
    }
}

static void heal(struct stored *t)
{
    mend(t);
    pass(t, STORAGE_RETRY_MS + 1000);
    stored_settle(t);
    assert_int_equal(t->storage->error, 0);
}

/* The power is cut; then all is there that the first `count` writes were, and one written since. */
static void assert_is_whole(struct stored *t, const struct stored *of, uint32_t count)
{
    struct record rec = {.key = bytes_text("another"), .value = bytes_text("x")};
    assert_int_equal(node_write(t->node, t->now, &rec), 0);
    stored_settle(t);
    stored_crash(t, MEMORY_POWER_CUT_LOSES);
    t->runs++;
    assert_int_equal(stored_start(t), 0);
    assert_int_equal(t->storage->error, 0);
    assert_false(t->storage->recovery.damaged);
    assert_int_equal(stored_covered(t, of), count);
    stored_assert_holds(t, of, count);
    assert_true(store_find(t->node->store, bytes_text("another"), &rec));
}

static void storage_starts_on_a_full_disk_and_writes_when_there_is_space(void **state)
{
    (void)state;
    struct stored t;
    open_journal(&t, false);
    fill(&t);
    start_again(&t);
    assert_false(t.node->loading);
    assert_int_equal(t.storage->error, -ENOSPC);
    stored_assert_holds(&t, &t, WRITES);
    assert_int_equal(stored_covered(&t, &t), WRITES);
    assert_int_equal(told(&t, "make room"), 1);
    pass(&t, 5000);
    assert_int_equal(t.storage->error, -ENOSPC);
    assert_int_equal(told(&t, ""), 0); /* it was said */
    heal(&t);
    assert_int_equal(told(&t, "it can be written again"), 1);
    struct stored written = t;
    assert_is_whole(&t, &written, WRITES);
    stored_close(&t);
}

/* A disk that takes five seconds to fail. */
static uint64_t five_seconds_later_us(void *owner)
{
    const struct stored *t = owner;
    return (t->now.mono_ms + 5000) * 1000;
}

static void storage_tries_again_a_second_after_the_last_try_has_ended(void **state)
{
    (void)state;
    struct stored t;
    open_journal(&t, false);
    fill(&t);
    start_again(&t);
    t.node->host = (struct node_host){.owner = &t, .monotonic_us = five_seconds_later_us};
    pass(&t, 2 * STORAGE_RETRY_MS);
    assert_true(t.storage->retry_mono_ms > t.now.mono_ms + 4000);
    stored_close(&t);
}

static void storage_refuses_client_writes_until_then_and_reads_go_on(void **state)
{
    (void)state;
    struct stored t;
    struct session client;
    const char *refusal =
        "ERROR the disk takes no writes (no space); reads go on, and writes as soon "
        "as it does again\n10\n";
    open_journal(&t, false);
    fill(&t);
    start_again(&t);
    session_init(&client, t.node);
    session_read(&client, t.now, bytes_text("SET a b\nGET key4\n"));
    assert_bytes_are(buffer_bytes(session_output(&client)), refusal);
    session_close(&client);
    heal(&t);
    session_init(&client, t.node);
    session_read(&client, t.now, bytes_text("SET a b\n"));
    stored_settle(&t);
    session_release(&client, t.now);
    assert_bytes_are(buffer_bytes(session_output(&client)), "OK\n");
    session_close(&client);
    stored_close(&t);
}

/* What peers send meanwhile is in memory only, and nobody is told otherwise. */
static void storage_vouches_for_nothing_that_came_while_it_could_not_write(void **state)
{
    (void)state;
    const uint64_t origin = 77;
    for (int healed = 0; healed < 2; healed++) {
        struct stored t;
        struct record rec = {.key = bytes_text("of a peer"), .value = bytes_text("x")};
        open_journal(&t, true);
        make_read_only(&t);
        t.runs += 1000;
        assert_int_equal(stored_start(&t), 0);
        uint32_t count = stored_covered(&t, &t);
        assert_int_equal(t.storage->error, -EIO);
        rec.origin = origin;
        rec.stamp = t.node->clock.last + 1;
        assert_int_equal(node_receive(t.node, &rec), 0);
        assert_int_equal(vector_advance(&t.node->vector, origin, rec.stamp), 0);
        pass(&t, 3000);
        assert_int_equal(vector_get(&t.node->durable, origin), 0);
        if (healed) {
            heal(&t);
            assert_int_equal(vector_get(&t.node->durable, origin), rec.stamp);
        }
        stored_crash(&t, MEMORY_POWER_CUT_LOSES);
        mend(&t);
        assert_int_equal(stored_start(&t), 0);
        assert_int_equal(t.storage->recovery.damaged, !healed); /* the torn tail is as it was */
        assert_int_equal(stored_covered(&t, &t), count);
        assert_int_equal(vector_get(&t.node->vector, origin), healed ? rec.stamp : 0);
        assert_int_equal(store_find(t.node->store, rec.key, &rec), healed);
        stored_close(&t);
    }
}

static void storage_cuts_a_torn_tail_before_it_writes_however_late_that_is(void **state)
{
    (void)state;
    struct stored t;
    open_journal(&t, true);
    struct stored copy;
    open_copy(&copy, &t);
    make_read_only(&copy);
    assert_int_equal(stored_start(&copy), 0);
    uint32_t covered = stored_covered(&copy, &t);
    assert_true(covered > 0 && covered < WRITES);
    pass(&copy, 3000);
    assert_non_null(memory_disk_find(&copy.disk, "snapshot-0000000000000002.tmp"));
    assert_int_equal(stored_file(&copy, "journal", 2)->now.size, 4);
    heal(&copy);
    assert_null(memory_disk_find(&copy.disk, "snapshot-0000000000000002.tmp"));
    assert_is_whole(&copy, &t, covered);
    stored_close(&copy);
    stored_close(&t);
}

/* On its way to the first segment after all. */
static void storage_bears_a_crash_at_each_step_of_becoming_whole(void **state)
{
    (void)state;
    struct stored t;
    open_journal(&t, true);
    for (int how = 0; how < MEMORY_CRASHES; how++) {
        bool more = true;
        uint64_t steps = 0;
        for (; more; steps++) {
            struct stored copy, second;
            open_copy(&copy, &t);
            open_copy(&second, &t);
            make_read_only(&copy);
            assert_int_equal(stored_start(&copy), 0);
            uint32_t covered = stored_covered(&copy, &t);
            memory_disk_copy_at(&copy.disk, copy.disk.steps + steps, &second.disk);
            heal(&copy);
            more = copy.disk.copied;
            memory_disk_crash(&second.disk, (enum memory_crash)how);
            assert_int_equal(stored_start(&second), 0);
            assert_false(second.node->refilling);
            assert_int_equal(stored_covered(&second, &t), covered);
            stored_assert_holds(&second, &t, covered);
            stored_close(&copy);
            stored_close(&second);
        }
        assert_true(steps > 6);
    }
    stored_close(&t);
}

static void storage_becomes_whole_though_any_allocation_fails_on_the_way(void **state)
{
    (void)state;
    struct stored t;
    bool failed = true;
    open_journal(&t, true);
    for (uint64_t n = 1; failed; n++) {
        struct stored copy;
        open_copy(&copy, &t);
        make_read_only(&copy);
        assert_int_equal(stored_start(&copy), 0);
        uint32_t covered = stored_covered(&copy, &t);
        mend(&copy);
        failing_heap_arm(&copy.heap, n);
        pass(&copy, STORAGE_RETRY_MS);
        failed = failing_heap_disarm(&copy.heap);
        heal(&copy);
        assert_is_whole(&copy, &t, covered);
        stored_close(&copy);
    }
    stored_close(&t);
}

static void storage_ends_for_good_if_the_cut_cannot_be_synced(void **state)
{
    (void)state;
    struct stored t;
    open_journal(&t, true);
    make_read_only(&t);
    start_again(&t);
    mend(&t);
    t.disk.dials.next_sync_fails = true;
    pass(&t, STORAGE_RETRY_MS);
    assert_true(t.storage->fatal);
    assert_non_null(strstr(t.storage->reason, "sync"));
    assert_int_equal(told(&t, "trying again"), 0); /* it is not */
    assert_int_equal(t.storage->current.bytes, 0); /* no segment was begun behind it */
    stored_close(&t);
}

/* The file system was mounted for reading only, and is mounted anew. */
static void storage_changes_nothing_before_the_directory_is_claimed(void **state)
{
    (void)state;
    struct stored t;
    open_journal(&t, true);
    t.disk.dials.claim_error = -EROFS;
    start_again(&t);
    uint64_t steps = t.disk.steps;
    pass(&t, 3000);
    assert_int_equal(t.storage->error, -EROFS);
    assert_int_equal(t.disk.steps, steps);
    uint32_t covered = stored_covered(&t, &t);
    heal(&t);
    struct stored written = t;
    assert_is_whole(&t, &written, covered);
    stored_close(&t);
}

static void storage_ends_for_good_if_another_process_has_claimed_it(void **state)
{
    (void)state;
    struct stored t;
    open_journal(&t, true);
    t.disk.dials.claim_error = -EROFS;
    start_again(&t);
    uint64_t steps = t.disk.steps;
    t.disk.dials.claim_error = -EBUSY;
    pass(&t, STORAGE_RETRY_MS);
    assert_true(t.storage->fatal);
    assert_non_null(strstr(t.storage->reason, "another process"));
    assert_int_equal(told(&t, "trying again"), 0);
    mend(&t);
    pass(&t, 3 * STORAGE_RETRY_MS);
    assert_int_equal(t.disk.steps, steps);
    stored_close(&t);
}

/* A creation that failed could not take back what there was of the file. */
static void storage_replaces_a_segment_that_an_earlier_try_has_left(void **state)
{
    (void)state;
    struct stored t;
    open_journal(&t, false);
    fill(&t);
    start_again(&t);
    memory_disk_add(&t.disk, t.storage->creation.name, bytes_text(""));
    mend(&t);
    pass(&t, 3 * STORAGE_RETRY_MS);
    struct stored written = t;
    heal(&t);
    assert_is_whole(&t, &written, WRITES);
    stored_close(&t);
}

/* That is nothing which passes by itself, and perhaps not ours to remove. */
static void storage_does_not_start_where_its_file_is_there_already(void **state)
{
    (void)state;
    struct stored t;
    int left;
    open_journal(&t, false);
    t.runs += 1000;
    assert_int_equal(stored_begin(&t), 0);
    while ((left = storage_recover(t.storage, t.now)) > 0 && !t.storage->creation.busy) {
    }
    assert_true(left > 0);
    memory_disk_add(&t.disk, t.storage->creation.name, bytes_text("whose?"));
    stored_finish(&t);
    assert_int_equal(storage_recover(t.storage, t.now), -EEXIST);
    assert_non_null(strstr(t.storage->reason, "cannot start from the data directory: creating"));
    stored_close(&t);
}

static void storage_begins_a_small_segment_where_there_is_no_room_for_more(void **state)
{
    (void)state;
    struct stored t;
    open_journal(&t, false);
    t.config.segment_bytes = STORAGE_SEGMENT_BYTES_FIRST;
    t.disk.dials.capacity_bytes = memory_disk_used(&t.disk) + STORAGE_SEGMENT_BYTES_FIRST / 2;
    start_again(&t);
    assert_int_equal(t.storage->error, -ENOSPC);
    pass(&t, STORAGE_RETRY_MS + 1000);
    assert_int_equal(t.storage->error, 0);
    stored_crash(&t, MEMORY_POWER_CUT_LOSES);
    mend(&t);
    assert_int_equal(stored_start(&t), 0);
    stored_assert_holds(&t, &t, WRITES);
    stored_close(&t);
}

static void storage_stops_at_once_while_it_waits_for_space(void **state)
{
    (void)state;
    struct stored t;
    open_journal(&t, false);
    fill(&t);
    start_again(&t);
    stored_stop(&t);
    mend(&t);
    assert_int_equal(stored_start(&t), 0);
    stored_assert_holds(&t, &t, WRITES);
    stored_close(&t);
}

static void storage_of_an_empty_directory_on_a_full_disk_waits_for_space(void **state)
{
    (void)state;
    struct stored t, nothing;
    stored_open(&t, STORAGE_SYNC_ALWAYS);
    t.disk.dials.capacity_bytes = 1;
    assert_int_equal(stored_start(&t), 0);
    assert_int_equal(t.storage->error, -ENOSPC);
    heal(&t);
    nothing = t;
    assert_is_whole(&t, &nothing, 0);
    stored_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(storage_starts_on_a_full_disk_and_writes_when_there_is_space),
        cmocka_unit_test(storage_tries_again_a_second_after_the_last_try_has_ended),
        cmocka_unit_test(storage_refuses_client_writes_until_then_and_reads_go_on),
        cmocka_unit_test(storage_vouches_for_nothing_that_came_while_it_could_not_write),
        cmocka_unit_test(storage_cuts_a_torn_tail_before_it_writes_however_late_that_is),
        cmocka_unit_test(storage_bears_a_crash_at_each_step_of_becoming_whole),
        cmocka_unit_test(storage_becomes_whole_though_any_allocation_fails_on_the_way),
        cmocka_unit_test(storage_ends_for_good_if_the_cut_cannot_be_synced),
        cmocka_unit_test(storage_changes_nothing_before_the_directory_is_claimed),
        cmocka_unit_test(storage_ends_for_good_if_another_process_has_claimed_it),
        cmocka_unit_test(storage_replaces_a_segment_that_an_earlier_try_has_left),
        cmocka_unit_test(storage_does_not_start_where_its_file_is_there_already),
        cmocka_unit_test(storage_begins_a_small_segment_where_there_is_no_room_for_more),
        cmocka_unit_test(storage_stops_at_once_while_it_waits_for_space),
        cmocka_unit_test(storage_of_an_empty_directory_on_a_full_disk_waits_for_space),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
