/* Tombstones that go while snapshots are written and records come in any order: whatever a crash leaves
 * is a state in which the node was, or could have been. Random events on a few records of a few origins,
 * which all have ended. */
#include "records.h"
#include "stored.h"
#include "unit.h"

#include "kv/random.h"

#define ROUNDS        800u
#define EVENTS        80u
#define ORIGINS       3u
#define RECORDS       5u /* of an origin, in the order of their stamps */
#define KEYS          3u
#define OLD_ENOUGH_MS 60000u

struct issued {
    struct record rec;
    bool merged; /* here, or seen beaten; a crash may take that back */
    bool dropped; /* a tombstone that has gone once */
    bool unseen; /* a delete of it went when the vector did not cover it yet: so it may come in */
};

struct fixture {
    struct stored t;
    struct random random;
    char keys[KEYS][16];
    struct issued issued[ORIGINS * RECORDS];
    uint32_t crashes, drops_while_walking, unseen;
};

static uint32_t pick(struct fixture *f, uint32_t bound)
{
    return (uint32_t)random_below(&f->random, bound);
}

static struct issued *of_origin(struct fixture *f, uint32_t origin, uint32_t i)
{
    return &f->issued[origin * RECORDS + i];
}

/* Around the time at which the node starts: what comes may be newer than a walk, or older. */
static void issue(struct fixture *f)
{
    uint32_t apart = pick(f, 2) * STORE_PARTITIONS / KEYS;
    char keys[KEYS][16];
    for (uint32_t k = 0; k < KEYS; k++) {
        records_keys_of_partition(100 + apart * k, keys, KEYS);
        memcpy(f->keys[k], keys[k], sizeof keys[k]);
    }
    for (uint32_t o = 0; o < ORIGINS; o++) {
        uint64_t stamp = stamp_of_wall(f->t.now.wall_ms - 1000);
        for (uint32_t i = 0; i < RECORDS; i++) {
            bool tombstone = pick(f, 2) == 0;
            stamp += 1 + random_below(&f->random, stamp_of_wall(1000));
            *of_origin(f, o, i) = (struct issued){
                .rec = {.key = bytes_text(f->keys[pick(f, KEYS)]),
                        .value = tombstone ? bytes_of(NULL, 0) : bytes_text("value"),
                        .stamp = stamp,
                        .origin = 100 + o,
                        .tombstone = tombstone}};
        }
    }
}

static void start(struct fixture *f)
{
    assert_int_equal(stored_start(&f->t), 0);
    f->t.node->config.tombstone_memory_bytes = 1;
    f->t.storage->config.snapshot_step_bytes = 1;
}

/* --- what is so ---------------------------------------------------------------------------- */

static bool covers(const struct fixture *f, const struct issued *x)
{
    return vector_covers(&f->t.node->vector, x->rec.origin, x->rec.stamp);
}

static bool beats(const struct issued *z, const struct issued *y)
{
    return bytes_equal(z->rec.key, y->rec.key) && record_compare(&z->rec, &y->rec) > 0;
}

/* How what is held of its key compares with it; -1 also if nothing is. */
static int held(struct fixture *f, const struct issued *x)
{
    struct record rec;
    return store_find(f->t.node->store, x->rec.key, &rec) ? record_compare(&rec, &x->rec) : -1;
}

/* Whether the vector claims something greater. */
static bool is_behind(const struct fixture *f, const struct issued *y)
{
    for (uint32_t i = 0; i < ORIGINS * RECORDS; i++) {
        if (covers(f, &f->issued[i]) && beats(&f->issued[i], y))
            return true;
    }
    return false;
}

static bool delete_has_gone(const struct fixture *f, const struct issued *y)
{
    for (uint32_t i = 0; i < ORIGINS * RECORDS; i++) {
        const struct issued *z = &f->issued[i];
        if (z->dropped && (z == y || beats(z, y)))
            return true;
    }
    return false;
}

static void check(struct fixture *f, const char *after)
{
    for (uint32_t i = 0; i < ORIGINS * RECORDS; i++) {
        const struct issued *x = &f->issued[i];
        int is = held(f, x);
        if (covers(f, x) && is < 0 && !delete_has_gone(f, x))
            fail_msg("after %s: record %u is covered, and not there", after, i);
        bool comes = is == 0 || (is < 0 && !covers(f, x));
        if (!x->rec.tombstone && comes && is_behind(f, x) && !x->unseen)
            fail_msg("after %s: record %u is there, or can come, and was seen beaten", after, i);
    }
}

/* --- what happens -------------------------------------------------------------------------- */

static void receive(struct fixture *f)
{
    struct issued *x = &f->issued[pick(f, ORIGINS * RECORDS)];
    assert_int_equal(node_receive(f->t.node, &x->rec), 0);
    x->merged = true;
}

static bool is_merged(const struct fixture *f, const struct issued *x)
{
    if (x->merged || covers(f, x))
        return true;
    for (uint32_t i = 0; i < ORIGINS * RECORDS; i++) {
        if (f->issued[i].merged && beats(&f->issued[i], x))
            return true;
    }
    return false;
}

/* The vector says of an origin what it may. */
static void close_gap(struct fixture *f)
{
    uint32_t origin = pick(f, ORIGINS), upto = 1 + pick(f, RECORDS);
    for (uint32_t i = 0; i < upto && is_merged(f, of_origin(f, origin, i)); i++) {
        const struct record *rec = &of_origin(f, origin, i)->rec;
        assert_int_equal(vector_advance(&f->t.node->vector, rec->origin, rec->stamp), 0);
    }
}

static void note_drop(struct fixture *f, struct issued *tombstone)
{
    tombstone->dropped = true;
    f->drops_while_walking += !list_is_empty(&f->t.node->walks);
    for (uint32_t i = 0; i < ORIGINS * RECORDS; i++) {
        struct issued *y = &f->issued[i];
        if (beats(tombstone, y) && !covers(f, y)) {
            f->unseen += !y->unseen;
            y->unseen = true;
        }
    }
}

static void collect(struct fixture *f)
{
    bool had[ORIGINS * RECORDS];
    struct moment later = f->t.now;
    later.wall_ms += OLD_ENOUGH_MS;
    for (uint32_t i = 0; i < ORIGINS * RECORDS; i++)
        had[i] = held(f, &f->issued[i]) == 0;
    node_collect(f->t.node, later);
    for (uint32_t i = 0; i < ORIGINS * RECORDS; i++) {
        if (had[i] && held(f, &f->issued[i]) < 0)
            note_drop(f, &f->issued[i]);
    }
}

static void crash(struct fixture *f)
{
    stored_crash(&f->t, (enum memory_crash)pick(f, MEMORY_CRASHES));
    f->crashes++;
    start(f);
    assert_false(f->t.node->refilling);
    for (uint32_t i = 0; i < ORIGINS * RECORDS; i++)
        f->issued[i].merged = held(f, &f->issued[i]) >= 0;
}

static const char *event(struct fixture *f)
{
    switch (pick(f, 16)) {
    case 0:
    case 1:
    case 2:
    case 3:
        receive(f);
        return "a record";
    case 4:
    case 5:
        close_gap(f);
        return "a gap that closed";
    case 6:
    case 7:
        collect(f);
        return "a sweep";
    case 8:
    case 9:
        storage_snapshot(f->t.storage);
        return "a wish for a snapshot";
    case 10:
        stored_pass(&f->t, 100 * (1 + pick(f, 12)));
        return "some time";
    case 11:
        if (f->t.storage->snapshots == 0 && pick(f, 4) != 0)
            return "nothing";
        crash(f);
        return "a crash";
    default:
        stored_turn(&f->t);
        stored_finish(&f->t);
        return "a turn";
    }
}

static void storage_comes_back_without_what_it_had_seen_beaten(void **state)
{
    (void)state;
    static struct fixture f;
    uint64_t rounds = unit_rounds(ROUNDS);
    memset(&f, 0, sizeof f);
    random_init(&f.random, unit_seed("storage_drops"));
    for (uint64_t round = 0; round < rounds; round++) {
        stored_open(&f.t, (enum storage_sync)pick(&f, STORAGE_SYNC_NO + 1));
        issue(&f);
        start(&f);
        for (uint32_t i = 0; i < EVENTS; i++)
            check(&f, event(&f));
        crash(&f);
        check(&f, "the last crash");
        stored_close(&f.t);
    }
    assert_true(f.crashes > 2 * rounds && f.drops_while_walking > rounds / 20);
    assert_true(f.unseen > rounds / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(storage_comes_back_without_what_it_had_seen_beaten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
