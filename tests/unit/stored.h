/* A node with its storage on a disk in memory, driven by hand as the shell drives it. */
#ifndef STORED_H
#define STORED_H

#include "failing_heap.h"
#include "memory_disk.h"

#include "kv/node.h"
#include "kv/storage.h"

#define STORED_KEYS   6u
#define STORED_WRITES 128u

/* What was written, to be found again. */
struct stored_write {
    uint32_t key;
    bool tombstone;
    uint64_t stamp, origin;
    uint64_t written_step; /* of the disk, when it was in its files; UINT64_MAX = it was not */
    uint64_t synced_step; /* … when it was told to be durable */
};

struct stored {
    struct failing_heap heap;
    struct memory_disk disk;
    struct storage_config config;
    struct node *node; /* NULL = it does not run */
    struct storage *storage;
    struct moment now;
    uint64_t runs;
    struct stored_write writes[STORED_WRITES];
    uint32_t write_count;
};

/* An empty disk, and no node. */
void stored_open(struct stored *t, enum storage_sync sync);
void stored_close(struct stored *t);

/* Starts a node that has not recovered anything yet. 0, or -1 when out of memory. */
int stored_begin(struct stored *t);

/* Starts a node and recovers to the end. What storage_recover returned last. */
int stored_start(struct stored *t);

/* The process dies. */
void stored_crash(struct stored *t, enum memory_crash how);

/* Stops as by a signal, waiting for all of it. */
void stored_stop(struct stored *t);

/* One turn: what was written is flushed, a snapshot goes on. */
void stored_turn(struct stored *t);

/* The next request of the disk ends, if there is one. */
bool stored_finish(struct stored *t);

/* Turns and requests until there is nothing left to do. */
void stored_settle(struct stored *t);

/* Time passes, with its ticks. */
void stored_pass(struct stored *t, uint64_t ms);

/* Writes number write_count to the key; its value names it. Nothing is flushed.
 * What node_write returned. */
int stored_write(struct stored *t, uint32_t key);
int stored_delete(struct stored *t, uint32_t key);

/* Fails unless every key reads as after the first `count` writes, or as after a later one of its
 * writes. Whatever the node's vector covers must be among those. */
void stored_assert_holds(const struct stored *t, const struct stored *of, uint32_t count);

/* How many of the writes its vector covers: these are the first ones. */
uint32_t stored_covered(const struct stored *t, const struct stored *of);

/* As of that step of the disk: how many writes were in files, or durable. */
uint32_t stored_written_before(const struct stored *t, uint64_t step);
uint32_t stored_synced_before(const struct stored *t, uint64_t step);

/* t's disk becomes a copy of that one, which then crashed so. t must not run. */
void stored_take_disk(struct stored *t, const struct memory_disk *from, enum memory_crash how);

/* The segment or snapshot of that number. */
struct memory_file *stored_file(const struct stored *t, const char *kind, unsigned number);

#endif
