/* The simulator: whole clusters of the production core in one process, without threads and without
 * real time. Everything that happens is drawn from one seed, so a seed is a story that can be told again.
 *
 * It stands where the shell stands: it moves bytes between links, feeds sessions, calls node_tick, and
 * dials what node_next_dial names. Networks, clocks and disks are its own. */
#ifndef SIM_H
#define SIM_H

#include "memory_disk.h"

#include "kv/buffer.h"
#include "kv/list.h"
#include "kv/node.h"
#include "kv/random.h"
#include "kv/session.h"
#include "kv/storage.h"

#include <stdio.h>

#define SIM_NODES_MAX   10u /* members, and a stranger */
#define SIM_CLIENTS_MAX 3u
#define SIM_KEYS_MAX    24u
#define SIM_PORT        8080u
#define SIM_TICK_MS     100u

#define SIM_START_WALL_MS UINT64_C(1700000000000) /* by a clock that is right */
#define SIM_VALUE_BYTES   (92u << 10) /* of a large value, its key and what else it needs */

/* What may go wrong in a run, as bits. Those of disks come last and are drawn apart, so that stories without
 * disks stay as they were. */
#define FAULTS(X)                                                                                  \
    X(DELAY, "delay")                                                                              \
    X(RESET, "reset")                                                                              \
    X(PARTITION, "partition")                                                                      \
    X(ONE_WAY, "one-way")                                                                          \
    X(SLOW, "slow")                                                                                \
    X(CLOG, "clog")                                                                                \
    X(HALF_OPEN, "half-open")                                                                      \
    X(PAUSE, "pause")                                                                              \
    X(CRASH, "crash")                                                                              \
    X(DISK, "disk")                                                                                \
    X(ROLLBACK, "rollback")                                                                        \
    X(SAME_NAME, "same-name")                                                                      \
    X(STRANGER, "stranger")                                                                        \
    X(SKEW, "skew")                                                                                \
    X(CLOCK, "clock")                                                                              \
    X(JOIN, "join")                                                                                \
    X(AWAY, "away")                                                                                \
    X(FORGET, "forget")                                                                            \
    X(TOMBSTONES, "tombstones")                                                                    \
    X(MEMORY, "memory")                                                                            \
    X(ALLOCATION, "allocation")                                                                    \
    X(BIG_VALUES, "big-values")                                                                    \
    X(EXPIRY, "expiry")                                                                            \
    X(SMALL_RING, "small-ring")                                                                    \
    X(LAZY_CLIENT, "lazy-client")                                                                  \
    X(BUSY, "busy")                                                                                \
    X(POWER, "power")                                                                              \
    X(DISK_FULL, "disk-full")                                                                      \
    X(DISK_ERRORS, "disk-errors")                                                                  \
    X(FAILED_SYNC, "failed-sync")                                                                  \
    X(BIT_FLIP, "bit-flip")                                                                        \
    X(LOST_FILE, "lost-file")

enum fault {
#define FAULT_NAME(name, text) FAULT_##name,
    FAULTS(FAULT_NAME)
#undef FAULT_NAME
        FAULT_COUNT,
    FAULT_DISKS = FAULT_POWER /* the first of them */
};

/* What a run is made of; all of it is drawn from the seed unless it is given. */
struct sim_plan {
    uint64_t seed;
    uint32_t nodes; /* 3 .. 9 members */
    uint32_t keys;
    uint32_t clients; /* per node */
    uint32_t events; /* of the phase under faults */
    uint32_t faults; /* bits of enum fault */
    uint32_t min_acks;
    uint32_t write_percent; /* of the clients' commands */
    uint32_t fault_one_in; /* events */
    uint32_t mend_one_in; /* faults */
    uint32_t story; /* enum story_kind */
};

/* A node that is none of the members, in the place behind them. */
enum stranger {
    STRANGER_NONE,
    STRANGER_CLUSTER, /* of another cluster */
    STRANGER_VERSION, /* speaks another version of the protocol */
    STRANGER_CLOCK, /* an hour ahead */
    STRANGER_NAME /* calls itself as a member does */
};

/* A node's disk, and what it may come to. */
struct sim_disk {
    struct memory_disk memory;
    struct memory_disk older; /* an image of it as it was once */
    bool older_taken;
    struct memory_disk copy; /* as of a step at which the node is going to have died */
    bool dying; /* there will be such a step */
    bool harmed; /* something in it is damaged, and nothing sound has taken its place yet */
    enum memory_crash how; /* … and this becomes of it then */
    struct storage_config config;
    struct storage *storage; /* NULL while the node is down, or has no disk */
    uint64_t failing_until_ms; /* with the dials as they are */
    uint64_t trouble_ms; /* when it last was so */
};

/* One direction of a connection. */
struct pipe {
    struct buffer bytes; /* sent, not delivered yet */
    struct buffer segments; /* a queue of struct segment */
    uint64_t free_ms; /* when the line has sent what was given to it */
    bool ended; /* no more will be sent: the other end is told after the last byte */
    bool stands; /* nothing is delivered until it goes on */
    bool dead; /* nothing is delivered any more, and nobody is told */
};

struct segment {
    uint64_t due_ms;
    size_t size;
};

struct wire_end {
    struct link link;
    struct pipe arriving;
    struct buffer unsent; /* taken from the link, and not taken by the socket */
    uint32_t node;
    bool open, sniffed;
    bool greeted; /* its first bytes are on their way */
};

struct wire {
    struct list all;
    struct wire_end dialer, acceptor;
};

struct sim_client {
    struct session session;
    bool open;
    bool waiting; /* a command's reply has not come */
    bool wrote; /* that command wrote … */
    uint64_t stamp; /* … this */
    uint32_t key;
    bool reads; /* that command was a GET */
    int write_kind; /* or another: enum write_kind */
    size_t value_bytes; /* at the end of the line, with WRITE_VALUE */
    uint32_t acks_wanted; /* of WAIT: UINT32_MAX = the count is the reply */
    uint64_t due_ms; /* when its reply has to be there at the latest */
    uint64_t next_ms;
};

struct sim_clock {
    int64_t offset_ms;
    int64_t drift_ppm;
    uint64_t drift_since_ms;
    uint64_t frozen_ms; /* wall time at which it stands; 0 = it runs */
};

struct sim_node {
    struct node *node; /* NULL while it is down */
    struct node_config config;
    char name[16], host[16];
    uint32_t index;
    uint32_t runs;
    uint32_t peers; /* bits: whose addresses it is given */
    bool exists; /* has been started before, or will be when it joins */
    bool keeps_disk;
    enum stranger stranger; /* holds nothing of ours */
    uint64_t paused_until_ms;
    uint64_t tick_ms; /* when it shall be ticked next */
    uint64_t restart_ms; /* down until then; 0 = until somebody starts it */
    uint64_t failing_until_ms; /* allocations fail now and then */
    struct sim_clock clock;
    uint64_t stamp_last; /* of its clock, when it stopped */
    struct sim_disk disk;
    struct sim_client clients[SIM_CLIENTS_MAX];
    struct sim_client lazy; /* sends, and does not read what is answered */
};

struct sim_heap {
    struct heap heap;
    uint64_t live; /* allocations not given back */
    uint64_t fail_one_in; /* 0 = none fails */
    struct random random;
};

#define STORY_ROLES 4u

/* A story that is being told: stories.c. */
struct story {
    struct random random;
    bool under_way;
    uint32_t step;
    uint64_t next_ms, give_up_ms, due_ms;
    uint32_t roles[STORY_ROLES]; /* nodes */
    uint64_t written_stamp, delete_stamp, delete_origin;
    uint64_t served; /* deltas, by role 2, before */
};

struct checker;

struct sim {
    struct sim_plan plan;
    struct sim_heap heap; /* of the nodes */
    struct heap plain; /* of the simulator itself: never fails */
    uint64_t now_ms; /* simulated, from 0 */
    uint32_t events;
    struct random work, network, faults, disks;
    struct sim_node nodes[SIM_NODES_MAX];
    uint32_t size; /* members; a stranger sits behind them */
    struct list wires;
    bool blocked[SIM_NODES_MAX][SIM_NODES_MAX]; /* from, to */
    uint32_t delay_ms[SIM_NODES_MAX][SIM_NODES_MAX]; /* upper bound */
    uint32_t bytes_per_s[SIM_NODES_MAX][SIM_NODES_MAX]; /* 0 = no bound */
    bool clogged[SIM_NODES_MAX][SIM_NODES_MAX]; /* connections stall, and go on later */
    uint32_t drift_ms; /* --max-clock-drift where clocks agree */
    bool healing; /* the faults are over */
    struct story story_told;
    struct buffer scratch;
    struct checker *checker;
    uint64_t trace; /* hash of all that happened */
    FILE *story; /* NULL = silent */
    char failure[512]; /* "" = none */
    int failed_invariant;
};

/* world.c */
void sim_open(struct sim *s, const struct sim_plan *plan, FILE *story);
void sim_close(struct sim *s);
struct moment sim_now(const struct sim *s, const struct sim_node *n);
bool sim_start_node(struct sim *s, struct sim_node *n);
/* how: what becomes of its disk. */
void sim_stop_node(struct sim *s, struct sim_node *n, enum memory_crash how);
/* One turn of a node's loop: what is due leaves. */
void sim_turn(struct sim *s, struct sim_node *n);
/* One step: whatever comes next. False when time would pass until_ms. */
bool sim_step(struct sim *s, uint64_t until_ms);
__attribute__((format(printf, 2, 3))) void sim_tell(struct sim *s, const char *format, ...);
__attribute__((format(printf, 3, 4))) void sim_fail(struct sim *s, int invariant,
                                                    const char *format, ...);
void sim_trace(struct sim *s, uint64_t what);

/* disks.c */
void disk_open(struct sim *s, struct sim_node *n);
void disk_close(struct sim_node *n);
/* Gives a new node what its disk holds. False when it cannot start now. */
bool disk_start(struct sim *s, struct sim_node *n);
/* What was written in this turn goes to the disk. False when the node has died of it: then it is to be stopped
 * as n->disk.how says, and nothing of this turn has left it. */
bool disk_turn(struct sim *s, struct sim_node *n);
/* When its next request ends; MOMENT_NEVER when none is under way. */
uint64_t disk_next(const struct sim_node *n);
void disk_happen(struct sim *s, struct sim_node *n);
void disk_stop(struct sim *s, struct sim_node *n, enum memory_crash how);
/* The node ends as it would by a signal to end. False when it cannot just now. */
bool disk_stop_cleanly(struct sim *s, struct sim_node *n);
/* The node shall die in one of its next steps. False when it has no disk. */
bool disk_doom(struct sim *s, struct sim_node *n);
void disk_fault(struct sim *s, struct sim_node *n, enum fault f);
void disk_take_image(struct sim *s, struct sim_node *n);
void disk_roll_back(struct sim *s, struct sim_node *n);
void disk_end_faults(struct sim_node *n);
enum memory_crash disk_crash_drawn(struct sim *s);

/* network.c */
bool network_dial(struct sim *s, struct sim_node *from);
void network_flush(struct sim *s, struct sim_node *n);
/* When the next segment is due that can be delivered, and where; MOMENT_NEVER when none. */
uint64_t network_next(struct sim *s, struct wire **wire, struct wire_end **end);
void network_deliver(struct sim *s, struct wire *w, struct wire_end *e);
void network_drop_node(struct sim *s, struct sim_node *n);
void network_reset(struct sim *s, uint32_t a, uint32_t b);
void network_half_open(struct sim *s, uint32_t a, uint32_t b);
void network_heal(struct sim *s);
/* What one node sends on the connections it has dialled, or with `back` what is answered there,
 * stands still from now on, or goes on. */
void network_stand(struct sim *s, uint32_t dialer, uint32_t acceptor, bool back, bool stands);

/* faults.c */
void plan_draw(struct sim_plan *plan, uint64_t seed);
const char *fault_name(enum fault f);
bool plan_has(const struct sim_plan *plan, enum fault f);
void faults_begin(struct sim *s);
void faults_inject(struct sim *s);
void faults_end(struct sim *s);
void faults_crash(struct sim *s, struct sim_node *n);
void faults_forget(struct sim *s, struct sim_node *n, const struct sim_node *other);

/* workload.c */
void workload_open(struct sim *s, struct sim_node *n);
void workload_close(struct sim_node *n);
void workload_step(struct sim *s, struct sim_node *n, struct sim_client *c);
void workload_replies(struct sim *s, struct sim_node *n);
/* A client sends more, and reads its replies only if told so. */
void workload_lazy(struct sim *s, struct sim_node *n, bool reads);
/* A client writes the key at once, or deletes it. Returns the stamp; 0 = it was not written. */
uint64_t workload_order(struct sim *s, struct sim_node *n, uint32_t key, bool is_delete);
void workload_key(uint32_t key, char text[16]);

/* run.c: one seed from its beginning to its end. Returns whether it passed; what failed is in
 * failure, 512 bytes. */
struct sim_result {
    bool passed;
    int invariant;
    char failure[512];
    uint64_t trace;
    uint32_t events;
};
struct sim_result sim_run(const struct sim_plan *plan, FILE *story);

#endif
