/* The harness of the storage's tests. */
#include "stored.h"

#include "unit.h"

#define START_WALL_MS UINT64_C(1700000000000)
#define SETTLE_MAX    10000u

void stored_open(struct stored *t, enum storage_sync sync)
{
    memset(t, 0, sizeof *t);
    failing_heap_init(&t->heap);
    memory_disk_init(&t->disk, 1);
    t->now = (struct moment){.wall_ms = START_WALL_MS, .mono_ms = 1000000};
    t->config = (struct storage_config){.sync = sync,
                                        .segment_bytes = STORAGE_SEGMENT_BYTES_MIN,
                                        .snapshot_bytes = 1u << 20,
                                        .snapshot_percent = 200,
                                        .expects_peers = true};
}

void stored_close(struct stored *t)
{
    if (t->node != NULL)
        stored_crash(t, MEMORY_KILL);
    memory_disk_close(&t->disk);
    assert_int_equal(t->heap.live, 0);
}

static bool start_node(struct stored *t)
{
    struct node_config config = {.name = "node",
                                 .cluster = "test",
                                 .version = "0",
                                 .advertise_host = "",
                                 .origin = ++t->runs,
                                 .keeps_disk = true,
                                 .max_value_bytes = 1u << 20,
                                 .journal_bytes = JOURNAL_BYTES_MIN,
                                 .keys_limit = 1000,
                                 .max_reply_bytes = 1u << 20,
                                 .max_query_bytes = 1 << 20,
                                 .max_words = 1024,
                                 .max_output_bytes = 1u << 20,
                                 .max_clock_drift_ms = 5000};
    t->node = node_new(&config, &t->heap.heap, t->now);
    if (t->node == NULL)
        return false;
    t->storage = storage_new(t->node, &t->disk.disk, &t->config);
    if (t->storage != NULL)
        return true;
    node_free(t->node);
    t->node = NULL;
    return false;
}

int stored_begin(struct stored *t)
{
    assert_null(t->node);
    return start_node(t) ? 0 : -1;
}

int stored_start(struct stored *t)
{
    int left;
    if (stored_begin(t) != 0)
        return -1;
    while ((left = storage_recover(t->storage, t->now)) > 0)
        stored_finish(t);
    return left;
}

void stored_crash(struct stored *t, enum memory_crash how)
{
    memory_disk_crash(&t->disk, how);
    storage_free(t->storage);
    node_free(t->node);
    t->storage = NULL;
    t->node = NULL;
}

bool stored_finish(struct stored *t)
{
    int status;
    t->disk.now_ms = t->now.mono_ms;
    struct disk_request *r = memory_disk_finish(&t->disk, &status);
    if (r != NULL)
        storage_done(t->storage, r, status, t->now);
    return r != NULL;
}

/* When which of the writes has come how far. */
static void note_progress(struct stored *t)
{
    for (uint32_t i = 0; i < t->write_count; i++) {
        struct stored_write *w = &t->writes[i];
        if (w->origin != t->node->config.origin)
            continue;
        if (w->written_step == UINT64_MAX && storage_has_written(t->storage, w->stamp))
            w->written_step = t->disk.steps;
        if (w->synced_step == UINT64_MAX && vector_covers(&t->node->durable, w->origin, w->stamp))
            w->synced_step = t->disk.steps;
    }
}

void stored_turn(struct stored *t)
{
    storage_flush(t->storage, t->now);
    storage_step(t->storage, t->now);
    note_progress(t);
}

void stored_settle(struct stored *t)
{
    for (uint32_t i = 0; i < SETTLE_MAX; i++) {
        stored_turn(t);
        bool ended = stored_finish(t);
        note_progress(t);
        if (ended || storage_is_busy(t->storage))
            continue;
        stored_pass(t, 100); /* some things are begun by the tick */
        if (memory_disk_next(&t->disk) == MEMORY_DISK_NEVER)
            return;
    }
    fail_msg("the storage does not come to rest");
}

void stored_pass(struct stored *t, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += 100) {
        t->now.mono_ms += 100;
        t->now.wall_ms += 100;
        storage_tick(t->storage, t->now);
        note_progress(t);
    }
}

void stored_stop(struct stored *t)
{
    storage_stop(t->storage, t->now);
    for (uint32_t i = 0; i < SETTLE_MAX && !storage_is_stopped(t->storage); i++) {
        stored_turn(t);
        stored_finish(t);
    }
    assert_true(storage_is_stopped(t->storage));
    stored_crash(t, MEMORY_POWER_CUT_LOSES);
}

/* --- writes -------------------------------------------------------------------------------- */

static void key_text(uint32_t key, char text[16])
{
    snprintf(text, 16, "key%u", key);
}

static int write_record(struct stored *t, uint32_t key, bool tombstone)
{
    char name[16], value[16];
    key_text(key, name);
    snprintf(value, sizeof value, "%u", t->write_count);
    struct record rec = {.key = bytes_text(name),
                         .value = bytes_text(tombstone ? "" : value),
                         .tombstone = tombstone};
    int error = node_write(t->node, t->now, &rec);
    if (error != 0)
        return error;
    assert_true(t->write_count < STORED_WRITES);
    t->writes[t->write_count++] = (struct stored_write){.key = key,
                                                        .tombstone = tombstone,
                                                        .stamp = rec.stamp,
                                                        .origin = rec.origin,
                                                        .written_step = UINT64_MAX,
                                                        .synced_step = UINT64_MAX};
    return 0;
}

int stored_write(struct stored *t, uint32_t key)
{
    return write_record(t, key, false);
}

int stored_delete(struct stored *t, uint32_t key)
{
    return write_record(t, key, true);
}

/* The number of the write that the key shows; -1 = none. */
static int64_t shown(const struct stored *t, const struct stored *of, uint32_t key)
{
    char name[16], value[16];
    struct record rec;
    key_text(key, name);
    if (!store_find(t->node->store, bytes_text(name), &rec))
        return -1;
    for (uint32_t i = 0; i < of->write_count; i++) {
        const struct stored_write *w = &of->writes[i];
        if (w->stamp != rec.stamp || w->origin != rec.origin)
            continue;
        snprintf(value, sizeof value, "%u", i);
        assert_int_equal(w->key, key);
        assert_int_equal(w->tombstone, rec.tombstone);
        assert_bytes_are(rec.value, rec.tombstone ? "" : value);
        return i;
    }
    fail_msg("%s holds what nobody wrote", name);
    return -1;
}

void stored_assert_holds(const struct stored *t, const struct stored *of, uint32_t count)
{
    uint32_t covered = stored_covered(t, of);
    count = covered > count ? covered : count;
    for (uint32_t key = 0; key < STORED_KEYS; key++) {
        int64_t wanted = -1;
        for (uint32_t i = 0; i < count; i++)
            wanted = of->writes[i].key == key ? (int64_t)i : wanted;
        if (shown(t, of, key) < wanted)
            fail_msg("key%u shows write %lld of %u, not %lld", key, (long long)shown(t, of, key),
                     of->write_count, (long long)wanted);
    }
}

uint32_t stored_covered(const struct stored *t, const struct stored *of)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < of->write_count; i++) {
        const struct stored_write *w = &of->writes[i];
        if (!vector_covers(&t->node->vector, w->origin, w->stamp))
            break;
        count = i + 1;
    }
    return count;
}

uint32_t stored_written_before(const struct stored *t, uint64_t step)
{
    uint32_t count = 0;
    while (count < t->write_count && t->writes[count].written_step <= step)
        count++;
    return count;
}

uint32_t stored_synced_before(const struct stored *t, uint64_t step)
{
    uint32_t count = 0;
    while (count < t->write_count && t->writes[count].synced_step <= step)
        count++;
    return count;
}

/* --- disks --------------------------------------------------------------------------------- */

void stored_take_disk(struct stored *t, const struct memory_disk *from, enum memory_crash how)
{
    assert_null(t->node);
    memory_disk_copy(&t->disk, from);
    memory_disk_crash(&t->disk, how);
    t->runs += 1000; /* other origins than the run before had */
}

struct memory_file *stored_file(const struct stored *t, const char *kind, unsigned number)
{
    char name[DISK_NAME_BYTES];
    snprintf(name, sizeof name, "%s-%016x", kind, number);
    return memory_disk_find(&t->disk, name);
}
