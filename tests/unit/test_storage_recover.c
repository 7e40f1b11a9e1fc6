/* The way back from a disk: whatever was done to its files, what comes back is true, and what is lost
 * is told. */
#include "stored.h"
#include "unit.h"

#include "kv/hash.h"

#include <errno.h>

/* A small journal: twelve writes in five batches, each synced before the next but the last. */
#define BATCHES 5u

/* … and how many fill one segment and begin another. */
#define WRITES 64u

static const uint32_t BATCH_ENDS[BATCHES] = {3, 5, 6, 10, 12};

static void write_small(struct stored *t)
{
    for (uint32_t b = 0; b < BATCHES; b++) {
        while (t->write_count < BATCH_ENDS[b]) {
            if (t->write_count % 4 == 3)
                stored_delete(t, t->write_count % STORED_KEYS);
            else
                stored_write(t, t->write_count % STORED_KEYS);
        }
        stored_settle(t);
    }
}

/* t has written a small journal, and died. */
static void open_small(struct stored *t)
{
    stored_open(t, STORAGE_SYNC_ALWAYS);
    assert_int_equal(stored_start(t), 0);
    stored_settle(t);
    write_small(t);
    stored_crash(t, MEMORY_KILL);
}

/* A second one, on a copy of its disk. */
static void open_copy(struct stored *t, const struct stored *of)
{
    stored_open(t, STORAGE_SYNC_ALWAYS);
    t->now = of->now;
    stored_take_disk(t, &of->disk, MEMORY_KILL);
}

static bool is_end_of_batch(uint32_t count)
{
    for (uint32_t b = 0; b < BATCHES; b++) {
        if (BATCH_ENDS[b] == count)
            return true;
    }
    return count == 0;
}

/* The node has started from files that were tampered with. Either all that its vector covers is
 * there, up to some mark, and what is missing was told to be a torn tail; or it trusts nothing and
 * serves nobody. */
static void assert_nothing_is_silent(struct stored *t, const struct stored *of)
{
    const struct recovery *r = &t->storage->recovery;
    uint32_t covered = stored_covered(t, of);
    stored_assert_holds(t, of, 0);
    if (t->node->refilling) {
        assert_true(r->damaged && !r->torn);
        assert_int_equal(covered, 0);
        return;
    }
    assert_true(is_end_of_batch(covered));
    if (covered < of->write_count)
        assert_true(r->torn && r->damaged_position >= r->synced);
}

/* After a torn tail was cut off nothing is wrong any more. */
static void assert_starts_cleanly(struct stored *t, const struct stored *of)
{
    uint32_t before = stored_covered(t, of);
    struct record rec = {.key = bytes_text("another"), .value = bytes_text("x")};
    assert_int_equal(node_write(t->node, t->now, &rec), 0);
    stored_settle(t);
    stored_crash(t, MEMORY_POWER_CUT_LOSES);
    t->runs++;
    assert_int_equal(stored_start(t), 0);
    assert_false(t->storage->recovery.damaged);
    assert_int_equal(stored_covered(t, of), before);
    stored_assert_holds(t, of, before);
}

static void storage_recover_gives_back_what_was_written(void **state)
{
    (void)state;
    struct stored t, copy;
    open_small(&t);
    open_copy(&copy, &t);
    assert_int_equal(stored_start(&copy), 0);
    assert_false(copy.node->refilling || copy.node->loading);
    assert_false(copy.storage->recovery.damaged);
    assert_int_equal(stored_covered(&copy, &t), 12);
    stored_assert_holds(&copy, &t, 12);
    assert_int_equal(copy.storage->recovery.records, 12);
    assert_int_equal(storage_recover_percent(copy.storage), 100);
    /* What it writes now comes after all that. */
    stored_write(&copy, 0);
    assert_true(copy.writes[0].stamp > t.writes[11].stamp);
    stored_close(&copy);
    stored_close(&t);
}

static void storage_recover_of_an_empty_directory_is_an_empty_node(void **state)
{
    (void)state;
    struct stored t;
    stored_open(&t, STORAGE_SYNC_ALWAYS);
    assert_int_equal(stored_start(&t), 0);
    assert_int_equal(store_live_count(t.node->store), 0);
    assert_non_null(stored_file(&t, "journal", 1));
    stored_close(&t);
}

static void storage_recover_from_a_journal_cut_at_every_byte(void **state)
{
    (void)state;
    struct stored t;
    open_small(&t);
    uint64_t size = memory_file_used(stored_file(&t, "journal", 1));
    uint64_t stride = unit_rounds(20) < 20 ? 7 : 1;
    for (uint64_t cut = 0; cut < size; cut += stride) {
        struct stored copy;
        open_copy(&copy, &t);
        memory_file_cut(stored_file(&copy, "journal", 1), cut);
        assert_int_equal(stored_start(&copy), 0);
        assert_false(
            copy.node->refilling); /* the end alone is missing: nothing says it was there */
        uint32_t covered = stored_covered(&copy, &t);
        assert_true(is_end_of_batch(covered));
        stored_assert_holds(&copy, &t, covered);
        assert_starts_cleanly(&copy, &t);
        stored_close(&copy);
    }
    stored_close(&t);
}

static void flip_every_bit(struct stored *t, const char *kind)
{
    uint64_t bits = 8 * memory_file_used(stored_file(t, kind, kind[0] == 's' ? 2 : 1));
    uint64_t stride = unit_rounds(20) < 20 ? 61 : 1;
    uint32_t torn = 0, refilling = 0;
    for (uint64_t bit = 0; bit < bits; bit += stride) {
        struct stored copy;
        open_copy(&copy, t);
        memory_file_flip(stored_file(&copy, kind, kind[0] == 's' ? 2 : 1), bit);
        assert_int_equal(stored_start(&copy), 0);
        assert_true(copy.storage->recovery.damaged);
        assert_nothing_is_silent(&copy, t);
        torn += copy.storage->recovery.torn;
        refilling += copy.node->refilling;
        if (copy.storage->recovery.torn)
            assert_starts_cleanly(&copy, t);
        stored_close(&copy);
    }
    assert_true(refilling > 0);
    assert_int_equal(torn > 0, kind[0] == 'j');
}

static void storage_recover_never_loads_a_flipped_bit_of_a_journal(void **state)
{
    (void)state;
    struct stored t;
    open_small(&t);
    flip_every_bit(&t, "journal");
    stored_close(&t);
}

static void storage_recover_never_loads_a_flipped_bit_of_a_snapshot(void **state)
{
    (void)state;
    struct stored t;
    stored_open(&t, STORAGE_SYNC_ALWAYS);
    assert_int_equal(stored_start(&t), 0);
    stored_settle(&t);
    write_small(&t);
    assert_int_equal(storage_snapshot(t.storage), 0);
    stored_settle(&t);
    stored_crash(&t, MEMORY_KILL);
    assert_null(stored_file(&t, "journal", 1));
    flip_every_bit(&t, "snapshot");
    stored_close(&t);
}

/* A journal of two segments, all synced. */
static void open_segments(struct stored *t)
{
    stored_open(t, STORAGE_SYNC_ALWAYS);
    assert_int_equal(stored_start(t), 0);
    for (uint32_t i = 0; i < WRITES; i++) {
        stored_write(t, i % STORED_KEYS);
        stored_settle(t);
    }
    assert_true(t->storage->current.number >= 2);
    stored_crash(t, MEMORY_KILL);
}

static void storage_recover_takes_a_lost_segment_for_damage(void **state)
{
    (void)state;
    struct stored t, copy;
    open_segments(&t);
    open_copy(&copy, &t);
    memory_disk_lose(&copy.disk, stored_file(&copy, "journal", 1)->name);
    assert_int_equal(stored_start(&copy), 0);
    assert_true(copy.node->refilling);
    assert_nothing_is_silent(&copy, &t);
    assert_non_null(strstr(copy.storage->recovery.damage, "the segment before it is missing"));
    /* What follows the hole stays, too. */
    stored_settle(&copy);
    assert_non_null(stored_file(&copy, "journal", 2));
    stored_crash(&copy, MEMORY_POWER_CUT_LOSES);
    assert_int_equal(stored_start(&copy), 0);
    assert_true(copy.node->refilling);
    stored_close(&copy);
    stored_close(&t);
}

static void storage_recover_keeps_damaged_files_until_a_snapshot_has_replaced_them(void **state)
{
    (void)state;
    struct stored t, copy;
    char aside[DISK_NAME_BYTES];
    open_segments(&t);
    open_copy(&copy, &t);
    struct memory_file *f = stored_file(&copy, "journal", 1);
    snprintf(aside, sizeof aside, "%.100s.damaged", f->name);
    memory_file_flip(f, 8 * 200);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(stored_start(&copy), 0);
        assert_true(copy.node->refilling);
        stored_settle(&copy);
        assert_non_null(stored_file(&copy, "journal", 1));
        stored_crash(&copy, MEMORY_KILL);
    }
    assert_int_equal(stored_start(&copy), 0);
    copy.node->refilling = false; /* a peer has compared */
    stored_settle(&copy);
    assert_null(stored_file(&copy, "journal", 1));
    assert_non_null(memory_disk_find(&copy.disk, aside));
    stored_crash(&copy, MEMORY_KILL);
    assert_int_equal(stored_start(&copy), 0);
    assert_false(copy.node->refilling);
    stored_close(&copy);
    stored_close(&t);
}

static void storage_recover_refuses_damage_without_peers_and_says_what_helps(void **state)
{
    (void)state;
    struct stored t, copy;
    open_segments(&t);
    open_copy(&copy, &t);
    memory_file_flip(stored_file(&copy, "journal", 1), 8 * 200);
    copy.config.expects_peers = false;
    assert_int_equal(stored_start(&copy), -EBADMSG);
    assert_non_null(strstr(copy.storage->reason, "journal-0000000000000001 is damaged at offset"));
    assert_non_null(strstr(copy.storage->reason, "--salvage"));
    stored_crash(&copy, MEMORY_KILL);
    copy.config.salvage = true;
    assert_int_equal(stored_start(&copy), 0);
    assert_false(copy.node->refilling);
    assert_int_equal(store_live_count(copy.node->store), STORED_KEYS); /* all but one write */
    stored_assert_holds(&copy, &t, 0);
    stored_close(&copy);
    stored_close(&t);
}

static void storage_recover_refuses_another_format_version(void **state)
{
    (void)state;
    struct stored t;
    uint8_t header[SEGMENT_HEADER_BYTES];
    open_small(&t);
    struct memory_file *f = stored_file(&t, "journal", 1);
    memcpy(header, memory_file_bytes(f).data, sizeof header);
    header[8]++;
    put_u32(header + 60, hash_checksum(bytes_of(header, 60)));
    memory_file_put(f, 0, bytes_of(header, sizeof header));
    assert_int_equal(stored_start(&t), -EPROTONOSUPPORT);
    assert_non_null(strstr(t.storage->reason, "another version"));
    stored_crash(&t, MEMORY_KILL);
    stored_close(&t);
}

/* Everything on the disk is as it was. */
static void assert_same_disk(const struct memory_disk *a, const struct memory_disk *b)
{
    assert_int_equal(a->file_count, b->file_count);
    for (uint32_t i = 0; i < a->file_count; i++) {
        const struct memory_file *f = memory_disk_find(b, a->files[i]->name);
        assert_non_null(f);
        assert_bytes_equal(memory_file_bytes(f), memory_file_bytes(a->files[i]));
    }
}

static void storage_recover_read_only_changes_nothing_and_tells_all(void **state)
{
    (void)state;
    for (int damage = 0; damage < 3; damage++) {
        struct stored t, copy;
        open_segments(&t);
        struct memory_file *f = stored_file(&t, "journal", damage == 1 ? 1 : 2);
        if (damage > 0)
            memory_file_flip(f, 8 * (damage == 1 ? 200 : memory_file_used(f) - 60));
        open_copy(&copy, &t);
        copy.config.read_only = true;
        assert_int_equal(stored_start(&copy), 0);
        const struct recovery *r = &copy.storage->recovery;
        assert_int_equal(r->damaged, damage > 0);
        if (damage > 0)
            assert_int_equal(r->torn, damage == 2);
        stored_pass(&copy, 5000);
        stored_crash(&copy, MEMORY_KILL);
        assert_same_disk(&copy.disk, &t.disk);
        stored_close(&copy);
        stored_close(&t);
    }
}

static void storage_recover_repairs_a_torn_tail_when_told_to(void **state)
{
    (void)state;
    struct stored t;
    open_segments(&t);
    struct memory_file *f = stored_file(&t, "journal", 2);
    memory_file_flip(f, 8 * (memory_file_used(f) - 60));
    t.config.read_only = t.config.repair_tail = true;
    assert_int_equal(stored_start(&t), 0);
    assert_true(t.storage->recovery.torn);
    stored_crash(&t, MEMORY_KILL);
    t.config.repair_tail = false;
    assert_int_equal(stored_start(&t), 0);
    assert_false(t.storage->recovery.damaged);
    stored_close(&t);
}

static void storage_recover_starts_from_a_snapshot_of_any_name_alone_in_the_directory(void **state)
{
    (void)state;
    struct stored t, copy;
    stored_open(&t, STORAGE_SYNC_ALWAYS);
    assert_int_equal(stored_start(&t), 0);
    stored_settle(&t);
    write_small(&t);
    assert_int_equal(storage_snapshot(t.storage), 0);
    stored_settle(&t);
    stored_crash(&t, MEMORY_KILL);
    stored_open(&copy, STORAGE_SYNC_ALWAYS);
    memory_disk_add(&copy.disk, "backup of monday",
                    memory_file_bytes(stored_file(&t, "snapshot", 2)));
    copy.runs = 50;
    assert_int_equal(stored_start(&copy), 0);
    stored_assert_holds(&copy, &t, 12);
    stored_close(&copy);
    stored_close(&t);
}

static void storage_recover_bears_every_failing_allocation(void **state)
{
    (void)state;
    struct stored t;
    bool failed = true;
    open_segments(&t);
    for (uint64_t n = 1; failed; n++) {
        struct stored copy;
        open_copy(&copy, &t);
        failing_heap_arm(&copy.heap, n);
        int outcome = stored_start(&copy);
        failed = failing_heap_disarm(&copy.heap);
        assert_true(outcome == 0 || failed);
        if (outcome == 0)
            stored_assert_holds(&copy, &t, WRITES);
        if (copy.node != NULL)
            stored_crash(&copy, MEMORY_KILL);
        /* It has done no harm. */
        assert_int_equal(stored_start(&copy), 0);
        assert_false(copy.storage->recovery.damaged);
        stored_assert_holds(&copy, &t, WRITES);
        stored_close(&copy);
    }
    stored_close(&t);
}

static void storage_recover_ends_with_a_reason_when_the_disk_cannot_be_read(void **state)
{
    (void)state;
    struct stored t;
    uint32_t ended = 0;
    open_segments(&t);
    for (uint64_t round = 0; round < 50; round++) {
        struct stored copy;
        open_copy(&copy, &t);
        random_init(&copy.disk.random, round);
        copy.disk.dials.read_error_one_in = 6;
        int outcome = stored_start(&copy);
        copy.disk.dials.read_error_one_in = 0;
        ended += outcome != 0;
        assert_int_equal(outcome, outcome == 0 ? 0 : -EIO);
        if (outcome != 0)
            assert_non_null(strstr(copy.storage->reason, "cannot start from the data directory"));
        stored_crash(&copy, MEMORY_KILL);
        assert_int_equal(stored_start(&copy), 0);
        stored_assert_holds(&copy, &t, WRITES);
        stored_close(&copy);
    }
    assert_true(ended > 10);
    stored_close(&t);
}

/* The same with a torn tail to be cut, unfinished files to be removed, and another crash on the way. */
static void storage_recover_bears_a_crash_at_each_of_its_own_steps(void **state)
{
    (void)state;
    struct stored t;
    open_segments(&t);
    struct memory_file *f = stored_file(&t, "journal", 2);
    memory_file_cut(f, memory_file_used(f) - 7);
    memory_disk_add(&t.disk, "snapshot-0000000000000003.tmp", bytes_text("unfinished"));
    if (stored_file(&t, "journal", 3) != NULL)
        memory_disk_lose(&t.disk, "journal-0000000000000003");
    memory_disk_add(&t.disk, "journal-0000000000000003", bytes_text("torn"));
    for (int how = 0; how < MEMORY_CRASHES; how++) {
        bool more = true;
        for (uint64_t step = 0; more; step++) {
            struct stored copy, second;
            open_copy(&copy, &t);
            open_copy(&second, &t);
            memory_disk_copy_at(&copy.disk, step, &second.disk);
            assert_int_equal(stored_start(&copy), 0);
            uint32_t covered = stored_covered(&copy, &t);
            more = copy.disk.copied;
            memory_disk_crash(&second.disk, (enum memory_crash)how);
            assert_int_equal(stored_start(&second), 0);
            assert_false(second.node->refilling);
            assert_int_equal(stored_covered(&second, &t), covered);
            stored_assert_holds(&second, &t, covered);
            stored_close(&copy);
            stored_close(&second);
        }
    }
    stored_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(storage_recover_gives_back_what_was_written),
        cmocka_unit_test(storage_recover_of_an_empty_directory_is_an_empty_node),
        cmocka_unit_test(storage_recover_from_a_journal_cut_at_every_byte),
        cmocka_unit_test(storage_recover_never_loads_a_flipped_bit_of_a_journal),
        cmocka_unit_test(storage_recover_never_loads_a_flipped_bit_of_a_snapshot),
        cmocka_unit_test(storage_recover_takes_a_lost_segment_for_damage),
        cmocka_unit_test(storage_recover_keeps_damaged_files_until_a_snapshot_has_replaced_them),
        cmocka_unit_test(storage_recover_refuses_damage_without_peers_and_says_what_helps),
        cmocka_unit_test(storage_recover_refuses_another_format_version),
        cmocka_unit_test(storage_recover_read_only_changes_nothing_and_tells_all),
        cmocka_unit_test(storage_recover_repairs_a_torn_tail_when_told_to),
        cmocka_unit_test(storage_recover_starts_from_a_snapshot_of_any_name_alone_in_the_directory),
        cmocka_unit_test(storage_recover_bears_every_failing_allocation),
        cmocka_unit_test(storage_recover_ends_with_a_reason_when_the_disk_cannot_be_read),
        cmocka_unit_test(storage_recover_bears_a_crash_at_each_of_its_own_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
