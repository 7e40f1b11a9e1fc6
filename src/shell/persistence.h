/* The disk of a server: from --data-dir to the node's storage, its recovery, and its end.
 *
 * Without --data-dir all of this does nothing. */
#ifndef SHELL_PERSISTENCE_H
#define SHELL_PERSISTENCE_H

#include "file_disk.h"
#include "kv/storage.h"
#include "prefault.h"

#define PERSISTENCE_PROGRESS_MS 1000u

/* What one turn of the loop gives to reading the data: clients that ask meanwhile are answered. */
#define PERSISTENCE_TURN_MS 10u

/* Files of so much and more are read with memory being readied beside it. */
#define PERSISTENCE_PREFAULT_BYTES (16u << 20)

struct server;
struct session;

struct persistence {
    struct file_disk disk;
    struct storage *storage; /* NULL = memory only; owned */
    struct prefault prefault; /* while much is loaded */
    bool stopping; /* storage_stop was called */
    uint64_t begun_mono_ms;
    uint64_t told_mono_ms; /* when progress was last logged, … */
    uint64_t told_bytes; /* … and how much had been read then */
};

/* Opens and locks the directory. False when it cannot be, which is in the log. */
bool persistence_open(struct server *s);

/* Gives the new node its storage. False when out of memory. */
bool persistence_begin(struct server *s);

/* While the node is loading, once a turn: reads on. False when the node cannot start, which is in the
 * log. */
bool persistence_load(struct server *s);

/* Before output of a session leaves: what it tells of must have been written. */
void persistence_before_output(struct server *s, struct session *session);

/* Begins the end. True once nothing is left to do. */
bool persistence_stop(struct server *s);

/* Frees everything; false when a request is still under way in a thread, which uses it. */
bool persistence_close(struct server *s);

#endif
