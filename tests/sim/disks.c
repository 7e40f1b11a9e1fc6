/* The nodes' disks: the storage that ships, on a disk in memory, driven as the shell drives it. */
#include "sim.h"

#include "checker.h"

#include "kv/check.h"
#include "kv/hash.h"

#include <errno.h>

/* Small, so that a run sees many segments and snapshots. */
#define SEGMENT_BYTES  STORAGE_SEGMENT_BYTES_MIN
#define SNAPSHOT_BYTES (12u << 10)
#define STOP_STEPS_MAX 1000u
#define DOOM_STEPS     16u

static uint32_t draw(struct sim *s, uint32_t bound)
{
    return (uint32_t)random_below(&s->disks, bound);
}

void disk_open(struct sim *s, struct sim_node *n)
{
    struct sim_disk *d = &n->disk;
    memory_disk_init(&d->memory, hash_mix(s->plan.seed, 100 + n->index));
    memory_disk_init(&d->older, hash_mix(s->plan.seed, 200 + n->index));
    memory_disk_init(&d->copy, hash_mix(s->plan.seed, 300 + n->index));
    d->config = (struct storage_config){.segment_bytes = SEGMENT_BYTES,
                                        .snapshot_bytes = SNAPSHOT_BYTES,
                                        .snapshot_percent = 200,
                                        .snapshot_step_bytes = 1, /* a record a turn */
                                        .expects_peers = true};
    d->memory.dials.latency_ms = 5u << 3 * draw(s, 3);
}

void disk_close(struct sim_node *n)
{
    memory_disk_close(&n->disk.memory);
    memory_disk_close(&n->disk.older);
    memory_disk_close(&n->disk.copy);
}

enum memory_crash disk_crash_drawn(struct sim *s)
{
    if (!plan_has(&s->plan, FAULT_POWER) || draw(s, 2) == 0)
        return MEMORY_KILL;
    return draw(s, 4) == 0 ? MEMORY_POWER_CUT_LOSES : MEMORY_POWER_CUT;
}

static bool may_crash_in_recovery(const struct sim *s)
{
    return plan_has(&s->plan, FAULT_CRASH) && !s->healing;
}

/* The node dies at one of its disk's next steps: the disk is copied as it is then. */
static void doom(struct sim *s, struct sim_node *n, uint32_t steps)
{
    struct sim_disk *d = &n->disk;
    memory_disk_copy_at(&d->memory, d->memory.steps + draw(s, steps), &d->copy);
    d->dying = true;
    d->how = disk_crash_drawn(s);
}

bool disk_doom(struct sim *s, struct sim_node *n)
{
    if (n->disk.storage == NULL || n->disk.dying || draw(s, 2) == 0)
        return false;
    doom(s, n, DOOM_STEPS);
    return true;
}

static void finish_request(struct sim *s, struct sim_node *n)
{
    int status;
    struct disk_request *r = memory_disk_finish(&n->disk.memory, &status);
    if (r != NULL)
        storage_done(n->disk.storage, r, status, sim_now(s, n));
}

static bool has_failed_sync(const struct memory_disk *d)
{
    for (uint32_t i = 0; i < d->file_count; i++) {
        if (d->files[i]->sync_failed)
            return true;
    }
    return false;
}

void disk_stop(struct sim *s, struct sim_node *n, enum memory_crash how)
{
    struct sim_disk *d = &n->disk;
    if (d->storage == NULL)
        return;
    /* What had not been synced is gone then, as if the power had been cut. */
    if (how != MEMORY_KILL || has_failed_sync(&d->memory))
        checker_power_cut(s, n);
    bool copied = d->dying && d->memory.copied;
    memory_disk_crash(&d->memory, copied ? MEMORY_KILL : how);
    storage_free(d->storage);
    d->storage = NULL;
    if (copied) {
        memory_disk_copy(&d->memory, &d->copy);
        memory_disk_crash(&d->memory, how);
    }
    memory_disk_copy_at(&d->memory, 0, NULL);
    d->dying = false;
}

static void heal(struct sim_node *n)
{
    struct memory_dials *dials = &n->disk.memory.dials;
    *dials = (struct memory_dials){.latency_ms = dials->latency_ms};
    n->disk.failing_until_ms = 0;
}

static void let_dials_end(const struct sim *s, struct sim_node *n)
{
    struct sim_disk *d = &n->disk;
    if (d->failing_until_ms != 0 && d->failing_until_ms <= s->now_ms)
        heal(n);
    if (d->failing_until_ms != 0 || d->memory.dials.next_sync_fails)
        d->trouble_ms = s->now_ms;
}

bool disk_start(struct sim *s, struct sim_node *n)
{
    struct sim_disk *d = &n->disk;
    int left;
    let_dials_end(s, n);
    d->memory.now_ms = s->now_ms;
    d->storage = storage_new(n->node, &d->memory.disk, &d->config);
    if (d->storage == NULL)
        return false;
    if (may_crash_in_recovery(s) && draw(s, 8) == 0)
        doom(s, n, DOOM_STEPS);
    while ((left = storage_recover(d->storage, sim_now(s, n))) > 0 && !d->memory.copied)
        finish_request(s, n);
    if (left == 0 && !(d->dying && d->memory.copied))
        return true;
    sim_tell(s, "%s: does not start: %s", n->name,
             left < 0 ? d->storage->reason : "it crashes once more");
    disk_stop(s, n, d->memory.copied ? d->how : MEMORY_KILL);
    return false;
}

/* A reply may only leave when what it answers for is written. */
static void refuse_unwritten(struct sim_node *n)
{
    for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++) {
        struct sim_client *c = &n->clients[i];
        if (c->open && !storage_has_written(n->disk.storage, c->session.last_write))
            session_refuse_output(&c->session, "the disk takes no writes");
    }
}

static void note_health(struct sim_node *n)
{
    const struct storage *storage = n->disk.storage;
    bool replaced = storage->recovery.pass != RECOVERY_SALVAGE || storage->snapshots > 0;
    if (n->disk.harmed && replaced && storage->snapshot.stage == SNAPSHOT_IDLE)
        n->disk.harmed = false;
}

bool disk_turn(struct sim *s, struct sim_node *n)
{
    struct sim_disk *d = &n->disk;
    if (d->storage == NULL)
        return true;
    struct moment now = sim_now(s, n);
    let_dials_end(s, n);
    d->memory.now_ms = s->now_ms;
    storage_flush(d->storage, now);
    refuse_unwritten(n);
    storage_step(d->storage, now);
    note_health(n);
    if (d->storage->fatal && !d->memory.copied) {
        sim_tell(s, "%s: %s", n->name, d->storage->reason);
        d->how = disk_crash_drawn(s);
        return false;
    }
    return !(d->dying && d->memory.copied);
}

uint64_t disk_next(const struct sim_node *n)
{
    if (n->disk.storage == NULL)
        return MOMENT_NEVER;
    uint64_t due = memory_disk_next(&n->disk.memory);
    return due == MEMORY_DISK_NEVER ? MOMENT_NEVER : due;
}

void disk_happen(struct sim *s, struct sim_node *n)
{
    n->disk.memory.now_ms = s->now_ms;
    sim_trace(s, n->disk.memory.steps);
    finish_request(s, n);
}

bool disk_stop_cleanly(struct sim *s, struct sim_node *n)
{
    struct storage *storage = n->disk.storage;
    struct moment now = sim_now(s, n);
    if (n->disk.dying || draw(s, 3) != 0)
        return false;
    storage_stop(storage, now);
    for (uint32_t i = 0; i < STOP_STEPS_MAX && !storage_is_stopped(storage); i++) {
        storage_tick(storage, now);
        storage_step(storage, now);
        finish_request(s, n);
        now.mono_ms += SIM_TICK_MS;
    }
    if (!storage_is_stopped(storage))
        sim_fail(s, 18, "%s does not come to its end", n->name);
    sim_tell(s, "%s: stops cleanly", n->name);
    sim_stop_node(s, n, MEMORY_KILL);
    return true;
}

/* --- faults -------------------------------------------------------------------------------- */

void disk_end_faults(struct sim_node *n)
{
    heal(n);
    memory_disk_copy_at(&n->disk.memory, 0, NULL);
    n->disk.dying = n->disk.memory.copied = false;
    n->disk.older_taken = false;
}

void disk_take_image(struct sim *s, struct sim_node *n)
{
    memory_disk_copy(&n->disk.older, &n->disk.memory);
    memory_disk_crash(&n->disk.older, disk_crash_drawn(s));
    n->disk.older_taken = true;
}

void disk_roll_back(struct sim *s, struct sim_node *n)
{
    sim_tell(s, "%s: its disk is an old one", n->name);
    memory_disk_copy(&n->disk.memory, &n->disk.older);
    memory_disk_crash(&n->disk.memory, MEMORY_KILL);
    checker_disk_void(s, n);
}

static void fail_for_a_while(struct sim *s, struct sim_node *n)
{
    n->disk.failing_until_ms = s->now_ms + 1 + draw(s, 15000);
}

static void fill(struct sim *s, struct sim_node *n)
{
    struct memory_disk *d = &n->disk.memory;
    d->dials.capacity_bytes = memory_disk_used(d) + 1 + draw(s, 3000);
    fail_for_a_while(s, n);
    sim_tell(s, "%s: its disk is full", n->name);
}

static void make_unreliable(struct sim *s, struct sim_node *n)
{
    static const uint32_t odds[] = {0, 2, 10, 40};
    struct memory_dials *dials = &n->disk.memory.dials;
    dials->short_one_in = odds[draw(s, 4)];
    dials->write_error_one_in = odds[draw(s, 4)];
    dials->read_error_one_in = odds[draw(s, 4)];
    dials->request_error_one_in = odds[draw(s, 4)];
    fail_for_a_while(s, n);
    sim_tell(s, "%s: its disk fails now and then", n->name);
}

/* Peers have to bring back what damage costs, so only one node at a time may need that: were all disks
 * damaged, somebody would have to decide (--salvage). */
static bool somebody_is_harmed(const struct sim *s)
{
    for (uint32_t i = 0; i < s->size; i++) {
        if (s->nodes[i].disk.harmed)
            return true;
    }
    return false;
}

static void flip_a_bit(struct sim *s, struct memory_disk *d)
{
    if (d->file_count == 0)
        return;
    struct memory_file *f = d->files[draw(s, d->file_count)];
    uint64_t bytes = memory_file_used(f) + 16;
    bytes = bytes < f->now.size ? bytes : f->now.size;
    if (bytes == 0)
        return;
    uint64_t bit = random_below(&s->disks, bytes * 8);
    memory_file_flip(f, bit);
    sim_tell(s, "  bit %u of byte %llu of %s flips", (unsigned)(bit % 8),
             (unsigned long long)(bit / 8), f->name);
}

static void lose_files(struct sim *s, struct memory_disk *d)
{
    bool all = draw(s, 4) == 0;
    for (uint32_t i = d->file_count; i > 0; i--) {
        if (!all && draw(s, d->file_count) != 0)
            continue;
        sim_tell(s, "  %s is lost", d->files[i - 1]->name);
        memory_disk_lose(d, d->files[i - 1]->name);
    }
}

static void damage(struct sim *s, struct sim_node *n, enum fault f)
{
    if (somebody_is_harmed(s) || n->disk.dying)
        return;
    n->disk.harmed = true;
    sim_tell(s, "%s: its disk takes harm", n->name);
    sim_stop_node(s, n, disk_crash_drawn(s));
    n->restart_ms = s->now_ms + 1 + draw(s, 3000);
    n->paused_until_ms = 0;
    if (f == FAULT_BIT_FLIP)
        flip_a_bit(s, &n->disk.memory);
    else
        lose_files(s, &n->disk.memory);
    checker_disk_void(s, n);
}

void disk_fault(struct sim *s, struct sim_node *n, enum fault f)
{
    switch (f) {
    case FAULT_DISK_FULL:
        fill(s, n);
        break;
    case FAULT_DISK_ERRORS:
        make_unreliable(s, n);
        break;
    case FAULT_FAILED_SYNC:
        n->disk.memory.dials.next_sync_fails = true;
        break;
    case FAULT_BIT_FLIP:
    case FAULT_LOST_FILE:
        damage(s, n, f);
        break;
    default:
        break; /* FAULT_POWER: whenever a node crashes */
    }
}
