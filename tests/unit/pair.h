/* Two or more nodes in one process: the links' bytes are moved by hand, and so is the time.
 *
 * It stands where the shell stands: it dials what node_next_dial names, moves what link_output has
 * into link_read, closes what is finished. A connection keeps the order of its bytes; cutting the
 * network stops them, and they go on when it heals. */
#ifndef PAIR_H
#define PAIR_H

#include "failing_heap.h"

#include "kv/node.h"

#define PAIR_NODES_MAX 4u
#define PAIR_STEP_MS   50u

/* One end of a connection. */
struct pair_end {
    struct link link;
    struct buffer arriving; /* sent by the other end, not delivered yet */
    uint32_t node; /* the index of its node */
    bool open;
    bool sniffed; /* the bytes that tell a peer from a client have come */
};

struct pair_wire {
    struct list all;
    struct pair_end dialer, acceptor;
};

struct pair_node {
    struct node *node; /* NULL while it is down */
    struct node_config config; /* may be changed before pair_start */
    struct session session; /* the one client of pair_command */
    uint32_t peers; /* bit i: node i is in its --peers; may be changed before pair_start */
    int64_t clock_ahead_ms; /* its wall clock against pair.now */
    char name[8], host[16];
};

struct pair {
    struct failing_heap heap;
    struct moment now;
    struct random random;
    struct list wires;
    uint32_t size;
    uint32_t runs; /* every start takes another origin */
    uint32_t dials; /* connections made so far: a link that broke in silence shows here */
    size_t chunk_bytes; /* at most so many are delivered at once; 0 = all */
    bool stalled[PAIR_NODES_MAX][PAIR_NODES_MAX]; /* from, to: bytes stay on their way */
    bool unreachable[PAIR_NODES_MAX][PAIR_NODES_MAX]; /* from, to: dialling fails */
    struct pair_node nodes[PAIR_NODES_MAX];
    struct buffer reply;
    uint32_t tap_dialer, tap_acceptor; /* equal: nothing is recorded */
    struct buffer to_acceptor, to_dialer; /* what arrived on the links between those two */
};

/* size nodes named a, b, c, … all down. They are dialled as 10.0.0.1, 10.0.0.2, … at port 8080, and
 * by their names. */
void pair_open(struct pair *p, uint32_t size);
/* Stops the nodes; fails the test if anything was not given back. */
void pair_close(struct pair *p);

/* Starts a run of a node: empty, with an origin of its own. */
void pair_start(struct pair *p, uint32_t node);
void pair_start_all(struct pair *p);
/* Ends a run as a crash would: its connections break. */
void pair_stop(struct pair *p, uint32_t node);

struct moment pair_now(const struct pair *p, uint32_t node);

/* Every node takes one turn of its loop. Returns whether anything moved. */
bool pair_turn(struct pair *p);
/* Turns until nothing moves. No time passes. */
void pair_settle(struct pair *p);
/* PAIR_STEP_MS pass, and every node does what is due; nothing moves. */
void pair_tick(struct pair *p);
/* Lets that much time pass in steps of PAIR_STEP_MS, settling after each. */
void pair_run(struct pair *p, uint64_t ms);

/* The network between two nodes, both ways: connections stall, dialling fails. */
void pair_cut(struct pair *p, uint32_t a, uint32_t b);
void pair_heal(struct pair *p, uint32_t a, uint32_t b);
/* Breaks every connection between the two; both ends are told. */
void pair_reset(struct pair *p, uint32_t a, uint32_t b);

/* Runs a line as a client of the node. The reply is borrowed until the next call, its last line end
 * left out; "" when there is none (yet). */
const char *pair_command(struct pair *p, uint32_t node, const char *line);
/* What the client has got since. */
const char *pair_replies(struct pair *p, uint32_t node);
/* A number out of INFO, or of any reply of name:value lines; digests too. */
uint64_t pair_info(struct pair *p, uint32_t node, const char *field);

/* The open link of `role` at `node` whose other end is `other`, NULL when there is none. */
struct link *pair_link(struct pair *p, uint32_t node, uint32_t other, enum link_role role);

/* Whether each running node has both links to every other one, live, and no delta under way. */
bool pair_is_meshed(const struct pair *p);
/* Whether the running nodes hold the same live data and as many keys. */
bool pair_is_equal(const struct pair *p);

#endif
