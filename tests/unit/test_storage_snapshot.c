/* Snapshots: what they replace, what they need, and a crash at each of their steps. */
#include "records.h"
#include "stored.h"
#include "unit.h"

#include <errno.h>

static void start(struct stored *t)
{
    stored_open(t, STORAGE_SYNC_ALWAYS);
    assert_int_equal(stored_start(t), 0);
    stored_settle(t);
}

static void write_some(struct stored *t, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (t->write_count % 5 == 4)
            stored_delete(t, t->write_count % STORED_KEYS);
        else
            stored_write(t, t->write_count % STORED_KEYS);
        stored_settle(t);
    }
}

/* Values of a kilobyte, so that a walk takes many slices. Nothing is flushed. */
static void put_many(struct stored *t, uint32_t count, char fill)
{
    char key[16], value[1024];
    memset(value, fill, sizeof value);
    for (uint32_t i = 0; i < count; i++) {
        snprintf(key, sizeof key, "many%u", i);
        struct record rec = {.key = bytes_text(key), .value = bytes_of(value, sizeof value)};
        assert_int_equal(node_write(t->node, t->now, &rec), 0);
    }
}

static void write_many(struct stored *t, uint32_t count, char fill)
{
    put_many(t, count, fill);
    stored_turn(t);
}

static uint32_t files(const struct stored *t, const char *with)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->disk.file_count; i++)
        count += strstr(t->disk.files[i]->name, with) != NULL;
    return count;
}

/* A crash, a start, and the very same store as before. */
static void assert_comes_back(struct stored *t, enum memory_crash how)
{
    struct store *before = store_new(&t->heap.heap, 1);
    assert_non_null(before);
    records_copy_store(before, t->node->store);
    stored_crash(t, how);
    assert_int_equal(stored_start(t), 0);
    assert_false(t->node->refilling);
    assert_true(records_same_store(before, t->node->store));
    store_free(before);
}

static void storage_snapshot_replaces_the_segments_before_it(void **state)
{
    (void)state;
    struct stored t;
    start(&t);
    write_some(&t, 40);
    assert_int_equal(storage_snapshot(t.storage), 0);
    stored_settle(&t);
    assert_int_equal(files(&t, "snapshot-"), 1);
    assert_int_equal(files(&t, ".tmp"), 0);
    assert_null(stored_file(&t, "journal", 1));
    assert_int_equal(t.storage->snapshots, 1);
    write_some(&t, 3);
    assert_comes_back(&t, MEMORY_POWER_CUT_LOSES);
    assert_int_equal(stored_covered(&t, &t), t.write_count);
    /* And the one before is replaced by the next. */
    assert_int_equal(storage_snapshot(t.storage), 0);
    stored_settle(&t);
    assert_int_equal(files(&t, "snapshot-"), 1);
    assert_comes_back(&t, MEMORY_POWER_CUT_LOSES);
    stored_close(&t);
}

static void storage_snapshot_is_made_while_writes_go_on(void **state)
{
    (void)state;
    struct stored t;
    uint32_t slices = 0;
    start(&t);
    write_many(&t, 1000, 'a');
    stored_settle(&t);
    assert_int_equal(storage_snapshot(t.storage), 0);
    while (t.storage->snapshots == 0 && slices < 10000) {
        uint64_t before = t.storage->snapshot.offset;
        stored_turn(&t);
        if (t.storage->snapshot.stage == SNAPSHOT_WRITING && before > 0) {
            slices++;
            assert_in_range(t.storage->snapshot.offset - before, 0,
                            STORAGE_SNAPSHOT_STEP_BYTES + 2048);
            if (t.write_count < 30)
                stored_write(&t, slices % STORED_KEYS);
            write_many(&t, 3, (char)('b' + slices % 20));
        }
        stored_finish(&t);
    }
    assert_in_range(slices, 5, 1000);
    assert_comes_back(&t, MEMORY_KILL);
    assert_comes_back(&t, MEMORY_POWER_CUT_LOSES);
    stored_close(&t);
}

/* What the next turn writes of the snapshot. */
static uint64_t step_of(struct stored *t)
{
    uint64_t before = t->storage->snapshot.offset;
    stored_turn(t);
    return t->storage->snapshot.offset - before;
}

static void storage_snapshot_takes_small_steps_while_somebody_is_served(void **state)
{
    (void)state;
    struct stored t;
    const uint64_t record = 1024 + 64;
    start(&t);
    write_many(&t, 3000, 'a');
    stored_settle(&t);
    assert_int_equal(storage_snapshot(t.storage), 0);
    while (t.storage->snapshot.offset == 0) {
        stored_turn(&t);
        stored_finish(&t);
    }
    for (uint32_t i = 0; i < 20; i++) {
        t.node->counters.commands++; /* reads, say */
        assert_in_range(step_of(&t), STORAGE_SNAPSHOT_SERVING_BYTES,
                        STORAGE_SNAPSHOT_SERVING_BYTES + record);
    }
    /* Not at full speed in each turn that happens to bring nothing. */
    t.now.mono_ms += STORAGE_SNAPSHOT_IDLE_MS - 1;
    assert_in_range(step_of(&t), 1, STORAGE_SNAPSHOT_SERVING_BYTES + record);
    t.now.mono_ms++;
    assert_in_range(step_of(&t), STORAGE_SNAPSHOT_STEP_BYTES, STORAGE_SNAPSHOT_STEP_BYTES + record);
    /* It gains on the journal, whoever writes that; but within a bound. */
    uint64_t journal = t.storage->current.bytes;
    put_many(&t, 20, 'b');
    uint64_t step = step_of(&t), grown = t.storage->current.bytes - journal;
    assert_in_range(grown, 20 * 1024, 30 * 1024);
    assert_in_range(step, STORAGE_SNAPSHOT_JOURNAL_TIMES * grown,
                    STORAGE_SNAPSHOT_JOURNAL_TIMES * grown + record);
    put_many(&t, 500, 'c');
    assert_in_range(step_of(&t), STORAGE_SNAPSHOT_STEP_BYTES_MAX,
                    STORAGE_SNAPSHOT_STEP_BYTES_MAX + record);
    stored_close(&t);
}

/* The room that a segment was made with. */
static uint64_t room_of(const struct stored *t, unsigned number)
{
    const struct memory_file *f = stored_file(t, "journal", number);
    assert_non_null(f);
    return f->now.size;
}

static void storage_segments_grow_with_the_data(void **state)
{
    (void)state;
    struct stored t;
    const uint64_t slack = 64u << 10;
    stored_open(&t, STORAGE_SYNC_ALWAYS);
    t.config.segment_bytes = 2u << 20;
    assert_int_equal(stored_start(&t), 0);
    stored_settle(&t);
    assert_int_equal(room_of(&t, 1), STORAGE_SEGMENT_BYTES_FIRST + slack);
    put_many(&t, 21000, 'a'); /* 22 MB: a sixteenth is between the first and the largest */
    stored_settle(&t);
    write_many(&t, 100, 'b'); /* in a segment that was made when there was nothing yet */
    stored_settle(&t);
    uint64_t part = store_live_bytes(t.node->store) / STORAGE_SEGMENT_PART;
    for (uint32_t i = 0; i < 20; i++) {
        write_many(&t, 100, 'b');
        stored_settle(&t);
    }
    assert_int_equal(room_of(&t, (unsigned)t.storage->current.number), part + slack);
    put_many(&t, 42000, 'c');
    stored_settle(&t);
    for (uint32_t i = 0; i < 40; i++) {
        write_many(&t, 100, 'd');
        stored_settle(&t);
    }
    assert_int_equal(room_of(&t, (unsigned)t.storage->current.number), (2u << 20) + slack);
    stored_close(&t);
}

static void storage_snapshot_begins_when_the_journal_has_outgrown_the_data(void **state)
{
    (void)state;
    struct stored t;
    start(&t);
    t.storage->config.snapshot_bytes = 3000;
    write_some(&t, 10);
    assert_int_equal(t.storage->snapshots, 0);
    write_some(&t, 40);
    stored_pass(&t, 200);
    stored_settle(&t);
    assert_int_equal(t.storage->snapshots, 1);
    assert_true(storage_journal_bytes(t.storage) < 3000);
    /* Not, if there is so much more data. */
    write_many(&t, 10, 'x');
    stored_settle(&t);
    stored_pass(&t, 200);
    stored_settle(&t);
    assert_int_equal(t.storage->snapshots, 1);
    stored_close(&t);
}

static void storage_snapshot_is_one_at_a_time_and_none_before_the_node_is_refilled(void **state)
{
    (void)state;
    struct stored t;
    start(&t);
    write_some(&t, 3);
    t.node->refilling = true;
    assert_int_equal(storage_snapshot(t.storage), 0);
    assert_int_equal(storage_snapshot(t.storage), -EALREADY);
    stored_settle(&t);
    assert_int_equal(t.storage->snapshots, 0);
    t.node->refilling = false;
    stored_settle(&t);
    assert_int_equal(t.storage->snapshots, 1);
    stored_close(&t);
}

/* It gives up, cleans up behind itself, and is made a minute later. */
static void check_abandoned(struct stored *t)
{
    assert_int_equal(t->storage->snapshots, 0);
    assert_int_equal(t->storage->snapshots_failed, 1);
    assert_int_equal(files(t, "snapshot-"), 0);
    t->disk.dials = (struct memory_dials){0};
    write_some(t, 3);
    stored_settle(t);
    assert_int_equal(t->storage->snapshots, 0);
    stored_pass(t, STORAGE_SNAPSHOT_RETRY_MS);
    stored_settle(t);
    assert_int_equal(t->storage->snapshots, 1);
    assert_comes_back(t, MEMORY_POWER_CUT_LOSES);
}

static void turns_until(struct stored *t, enum snapshot_stage stage)
{
    for (uint32_t i = 0; i < 1000 && t->storage->snapshot.stage != stage; i++) {
        stored_turn(t);
        if (t->storage->snapshot.stage != stage)
            stored_finish(t);
    }
    assert_int_equal(t->storage->snapshot.stage, stage);
}

static void storage_snapshot_without_space_is_given_up_and_made_later(void **state)
{
    (void)state;
    struct stored t;
    start(&t);
    write_some(&t, 3);
    assert_int_equal(storage_snapshot(t.storage), 0);
    turns_until(&t, SNAPSHOT_CREATING);
    t.disk.dials.capacity_bytes = memory_disk_used(&t.disk) + 100;
    stored_settle(&t);
    check_abandoned(&t);
    stored_close(&t);
}

static void storage_snapshot_whose_sync_fails_is_given_up_and_the_node_goes_on(void **state)
{
    (void)state;
    struct stored t;
    start(&t);
    t.storage->config.snapshot_step_bytes = 1; /* the segments' syncs end meanwhile */
    write_some(&t, 10);
    assert_int_equal(storage_snapshot(t.storage), 0);
    turns_until(&t, SNAPSHOT_PUBLISHING);
    assert_false(t.storage->sync.busy); /* the next sync is the snapshot's */
    t.disk.dials.next_sync_fails = true;
    stored_finish(&t);
    stored_settle(&t);
    assert_false(t.storage->fatal);
    check_abandoned(&t);
    stored_close(&t);
}

static void storage_snapshot_bears_every_failing_allocation(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct stored t;
        start(&t);
        write_some(&t, 20);
        failing_heap_arm(&t.heap, n);
        assert_int_equal(storage_snapshot(t.storage), 0);
        stored_settle(&t);
        failed = failing_heap_disarm(&t.heap);
        stored_pass(&t, STORAGE_SNAPSHOT_RETRY_MS);
        stored_settle(&t);
        assert_int_equal(t.storage->snapshots, 1);
        assert_comes_back(&t, MEMORY_POWER_CUT_LOSES);
        stored_close(&t);
    }
}

static void storage_snapshot_leaves_to_the_next_start_what_it_cannot_remove(void **state)
{
    (void)state;
    struct stored t;
    start(&t);
    write_some(&t, 40);
    assert_int_equal(storage_snapshot(t.storage), 0);
    turns_until(&t, SNAPSHOT_CLEANING);
    t.disk.dials.request_error_one_in = 1;
    stored_settle(&t);
    assert_non_null(stored_file(&t, "journal", 1));
    t.disk.dials.request_error_one_in = 0;
    assert_comes_back(&t, MEMORY_POWER_CUT_LOSES);
    stored_settle(&t);
    assert_null(stored_file(&t, "journal", 1));
    stored_close(&t);
}

/* A tombstone that is dropped while the walk goes on is in no file that stays: the end of the snapshot has to
 * tell of it. */
static void storage_snapshot_ends_with_the_dropped_vector_of_its_end(void **state)
{
    (void)state;
    struct stored t;
    start(&t);
    write_many(&t, 500, 'a');
    stored_settle(&t);
    assert_int_equal(storage_snapshot(t.storage), 0);
    turns_until(&t, SNAPSHOT_WRITING);
    stored_turn(&t);
    assert_int_equal(vector_advance(&t.node->dropped, 77, 7), 0);
    stored_settle(&t);
    assert_int_equal(t.storage->snapshots, 1);
    stored_crash(&t, MEMORY_POWER_CUT_LOSES);
    assert_int_equal(stored_start(&t), 0);
    assert_true(vector_covers(&t.node->dropped, 77, 7));
    stored_close(&t);
}

/* A tombstone in the partition that the walk comes to last, and an older record of its key. */
struct delete_and_older {
    char key[1][16];
    struct record deleted, older;
};

static void merge_covered(struct node *n, const struct record *rec, int outcome)
{
    assert_int_equal(node_merge(n, rec, false), outcome);
    assert_int_equal(vector_advance(&n->vector, rec->origin, rec->stamp), 0);
}

/* The tombstone could go, and the snapshot is at its beginning. */
static void delete_and_begin_to_walk(struct stored *t, struct delete_and_older *d)
{
    write_many(t, 500, 'a');
    records_keys_of_partition(STORE_PARTITIONS - 1, d->key, 1);
    d->deleted = (struct record){
        .key = bytes_text(d->key[0]), .stamp = t->node->last_write, .origin = 7, .tombstone = true};
    d->older = (struct record){.key = d->deleted.key,
                               .value = bytes_text("old"),
                               .stamp = d->deleted.stamp - 1,
                               .origin = 8};
    merge_covered(t->node, &d->deleted, STORE_MERGED);
    stored_settle(t);
    assert_true(vector_covers(&t->node->durable, 7, d->deleted.stamp));
    t->now.wall_ms += t->node->config.max_clock_drift_ms + 1000;
    t->storage->config.snapshot_step_bytes = 1;
    assert_int_equal(storage_snapshot(t->storage), 0);
    turns_until(t, SNAPSHOT_WRITING);
    stored_turn(t);
    assert_true(t->storage->snapshot.scan.begun);
}

/* Else what is loaded claims the delete, and lets in what it had taken away. */
static void storage_snapshot_has_the_tombstones_that_its_vector_relies_on(void **state)
{
    (void)state;
    struct stored t;
    struct delete_and_older d;
    start(&t);
    delete_and_begin_to_walk(&t, &d);
    merge_covered(t.node, &d.older, STORE_STALE);
    node_collect(t.node, t.now);
    assert_int_equal(store_tombstone_count(t.node->store), 1);
    turns_until(&t, SNAPSHOT_CLEANING);
    node_collect(t.node, t.now);
    assert_int_equal(store_tombstone_count(t.node->store), 0);
    stored_crash(&t, MEMORY_POWER_CUT_LOSES);
    assert_int_equal(stored_start(&t), 0);
    assert_true(vector_covers(&t.node->vector, 7, d.deleted.stamp));
    assert_false(vector_covers(&t.node->vector, 8, d.older.stamp));
    assert_int_equal(node_merge(t.node, &d.older, false), STORE_STALE);
    stored_close(&t);
}

static void storage_snapshot_keeps_no_tombstones_otherwise(void **state)
{
    (void)state;
    struct stored t;
    struct delete_and_older d;
    start(&t);
    delete_and_begin_to_walk(&t, &d);
    /* Nothing older has come. */
    node_collect(t.node, t.now);
    assert_int_equal(store_tombstone_count(t.node->store), 0);
    /* It has; but the delete is newer than the snapshot, and in the segment that stays. */
    d.deleted.stamp = t.node->clock.last + 1;
    merge_covered(t.node, &d.deleted, STORE_MERGED);
    stored_turn(&t);
    stored_finish(&t);
    merge_covered(t.node, &d.older, STORE_STALE);
    t.node->config.tombstone_memory_bytes = 1;
    node_collect(t.node, t.now);
    assert_int_equal(store_tombstone_count(t.node->store), 0);
    assert_in_range(t.storage->snapshot.scan.partition, 0, STORE_PARTITIONS / 2);
    stored_close(&t);
}

/* What went during the walk and is newer than it is in no snapshot: the journal has to have it first. */
static void storage_snapshot_waits_for_the_sync_of_deletes_that_have_gone(void **state)
{
    (void)state;
    struct stored t;
    struct delete_and_older d;
    struct record found;
    start(&t);
    delete_and_begin_to_walk(&t, &d);
    t.storage->config.sync = STORAGE_SYNC_NO;
    while (stored_finish(&t)) {
    }
    d.deleted.stamp = t.node->clock.last + 1;
    merge_covered(t.node, &d.deleted, STORE_MERGED);
    t.node->config.tombstone_memory_bytes = 1;
    node_collect(t.node, t.now);
    assert_int_equal(store_tombstone_count(t.node->store), 0);
    turns_until(&t, SNAPSHOT_CLEANING);
    stored_crash(&t, MEMORY_POWER_CUT_LOSES);
    assert_int_equal(stored_start(&t), 0);
    assert_true(store_find(t.node->store, d.deleted.key, &found));
    assert_true(found.tombstone && found.stamp == d.deleted.stamp);
    stored_close(&t);
}

/* --- a crash at every step ----------------------------------------------------------------- */

/* Writes through several rotations and two snapshots, with requests ending late. */
static void run_story(struct stored *t)
{
    t->disk.dials.latency_ms = 300;
    t->storage->config.snapshot_step_bytes = 1; /* writes go on between the steps */
    for (uint32_t i = 0; i < STORED_WRITES; i++) {
        if (i % 20 == 19)
            stored_delete(t, i % STORED_KEYS);
        else
            stored_write(t, i % STORED_KEYS);
        if (i == 60 || i == 95)
            storage_snapshot(t->storage);
        stored_turn(t);
        stored_pass(t, 100);
        while (memory_disk_next(&t->disk) <= t->now.mono_ms) {
            stored_finish(t);
            stored_turn(t);
        }
    }
    stored_settle(t);
}

/* The story, up to that step; then the crash. False when there is no such step. */
static bool crash_at(uint64_t step, enum storage_sync sync, enum memory_crash how)
{
    struct stored t, after;
    stored_open(&t, sync);
    stored_open(&after, sync);
    random_init(&after.disk.random, step);
    memory_disk_copy_at(&t.disk, step, &after.disk);
    assert_int_equal(stored_start(&t), 0);
    run_story(&t);
    bool reached = t.disk.copied;
    if (reached) {
        uint32_t owed =
            how == MEMORY_KILL ? stored_written_before(&t, step) : stored_synced_before(&t, step);
        memory_disk_crash(&after.disk, how);
        after.now = t.now;
        after.runs = 1000;
        assert_int_equal(stored_start(&after), 0);
        if (after.node->refilling)
            fail_msg("step %llu: taken for damage: %s", (unsigned long long)step,
                     after.storage->recovery.damage);
        if (stored_covered(&after, &t) < owed)
            fail_msg("step %llu: %u writes of %u", (unsigned long long)step,
                     stored_covered(&after, &t), owed);
        stored_assert_holds(&after, &t, owed);
    }
    stored_close(&after);
    stored_close(&t);
    return reached;
}

static void crash_at_every_step(enum storage_sync sync)
{
    uint64_t stride = unit_rounds(20) < 20 ? 17 : 1, steps = 0;
    for (int how = 0; how < MEMORY_CRASHES; how++) {
        for (uint64_t step = 0; crash_at(step, sync, (enum memory_crash)how); step += stride)
            steps++;
    }
    assert_true(steps * stride > 3 * 100);
}

static void storage_keeps_what_it_had_confirmed_when_it_dies_at_any_step_under_always(void **state)
{
    (void)state;
    crash_at_every_step(STORAGE_SYNC_ALWAYS);
}

static void
storage_keeps_what_it_had_confirmed_when_it_dies_at_any_step_under_everysec(void **state)
{
    (void)state;
    crash_at_every_step(STORAGE_SYNC_EVERYSEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(storage_snapshot_replaces_the_segments_before_it),
        cmocka_unit_test(storage_snapshot_is_made_while_writes_go_on),
        cmocka_unit_test(storage_snapshot_takes_small_steps_while_somebody_is_served),
        cmocka_unit_test(storage_segments_grow_with_the_data),
        cmocka_unit_test(storage_snapshot_begins_when_the_journal_has_outgrown_the_data),
        cmocka_unit_test(storage_snapshot_is_one_at_a_time_and_none_before_the_node_is_refilled),
        cmocka_unit_test(storage_snapshot_without_space_is_given_up_and_made_later),
        cmocka_unit_test(storage_snapshot_whose_sync_fails_is_given_up_and_the_node_goes_on),
        cmocka_unit_test(storage_snapshot_bears_every_failing_allocation),
        cmocka_unit_test(storage_snapshot_leaves_to_the_next_start_what_it_cannot_remove),
        cmocka_unit_test(storage_snapshot_ends_with_the_dropped_vector_of_its_end),
        cmocka_unit_test(storage_snapshot_has_the_tombstones_that_its_vector_relies_on),
        cmocka_unit_test(storage_snapshot_keeps_no_tombstones_otherwise),
        cmocka_unit_test(storage_snapshot_waits_for_the_sync_of_deletes_that_have_gone),
        cmocka_unit_test(storage_keeps_what_it_had_confirmed_when_it_dies_at_any_step_under_always),
        cmocka_unit_test(
            storage_keeps_what_it_had_confirmed_when_it_dies_at_any_step_under_everysec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
