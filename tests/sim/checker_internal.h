/* The checker's model. Private to checker*.c. */
#ifndef CHECKER_INTERNAL_H
#define CHECKER_INTERNAL_H

#include "checker.h"

/* A write that a client was seen to make. */
struct issued {
    uint64_t stamp, origin;
    uint64_t expires_ms;
    uint64_t value_hash;
    bool tombstone;
    bool came_late; /* to some node, or will, after what beat it had come and gone there by force */
    bool killed; /* a node has made a tombstone of it, with a reason */
    bool promised; /* its client was told that it is done, … */
    uint32_t promised_by; /* … by this node … */
    uint64_t promised_ms; /* … then */
    /* That node has met damage since, or dropped by force what its vector never came to cover: the vector
     * need not tell of it any more. */
    bool unvouched;
    uint64_t deleted_stamp, deleted_origin; /* the last delete by a node that had it; 0 = none */
};

struct key_history {
    struct issued *records; /* owned, the greatest first */
    uint32_t count, capacity;
};

/* A key as a node has it. */
struct seen {
    bool present, tombstone;
    uint64_t stamp, origin;
};

struct node_view {
    struct seen now[SIM_KEYS_MAX];
    struct seen
        greatest[SIM_KEYS_MAX]; /* that this run has seen, or the vector it began with covers */
    struct seen ever[SIM_KEYS_MAX]; /* that any run has seen */
    uint64_t last_issued, greatest_seen; /* stamps, in this run */
    uint64_t started_ms; /* this run */
    uint64_t deltas; /* received by the last look */
    uint64_t forced; /* tombstones dropped so by then */
    bool forces; /* it has dropped some since, or somebody is forgotten */
    /* The key's record came when the vector said already that something greater had been here. */
    bool late[SIM_KEYS_MAX];
    struct vector before; /* the node's vector at the last look */
    struct vector durable; /* … and what it had on its disk */
    uint64_t ran_ms; /* when it last had a turn … */
    uint64_t resumed_ms; /* … and when it had one again after a while without */
    bool power_cut; /* since then */
    bool disk_void; /* the disk owes nothing of what was before */
    bool returned; /* this run began from such a disk */
    bool refilling; /* at the last look */
};

struct checker {
    struct key_history keys[SIM_KEYS_MAX];
    struct node_view views[SIM_NODES_MAX];
    /* Of each key the greatest tombstone that was dropped without everybody's consent: a write that it beat,
     * and that nobody had seen, may come in. The one exception that the rules make. */
    uint64_t unseen_below[SIM_KEYS_MAX];
    /* Of each key the greatest tombstone that was dropped by the rules, and when that was first so. */
    struct {
        uint64_t stamp, origin, ms;
    } dropped[SIM_KEYS_MAX];
    uint64_t looks;
    struct bytes names[SIM_KEYS_MAX]; /* the keys as clients write them … */
    char text[SIM_KEYS_MAX][16]; /* … */
    uint32_t partitions[SIM_KEYS_MAX]; /* … and where they are */
    uint64_t latest_wall_ms; /* any node's */
    struct vector nothing;
};

int issued_compare(uint64_t stamp, uint64_t origin, const struct issued *x);
struct issued *issued_find(struct checker *c, uint32_t key, uint64_t stamp, uint64_t origin);
bool look_up(struct sim *s, const struct sim_node *n, uint32_t key, struct record *rec);
/* Of that key a tombstone with that stamp may be missing somewhere. */
void checker_except_below(struct checker *c, uint32_t key, uint64_t stamp);
bool has_expired(const struct sim *s, const struct issued *x);
/* Whether it may be that the key is absent, or deleted by what is older, though x was here. */
bool may_be_gone(const struct sim *s, const struct sim_node *n, uint32_t key,
                 const struct issued *x);

/* checker_disk.c */
void checker_note_durable(struct sim *s, const struct sim_node *n);
void checker_look_at_refilling(struct sim *s, const struct sim_node *n);
/* Whether the node brings back what a dropped tombstone had beaten. */
void checker_except_returned(struct sim *s, const struct sim_node *n, uint32_t key);
/* What the node has begun with is what its disk owes. */
void checker_recovered(struct sim *s, const struct sim_node *n);

/* checker_bounds.c: memory of links and of clients, digests counted again, who is no member, and what a
 * stream must not bring. */
void check_links(struct sim *s, struct sim_node *n);
void check_sessions(struct sim *s, struct sim_node *n);
void check_digests_of_keys(struct sim *s, const struct sim_node *n);
void check_stranger(struct sim *s, const struct sim_node *n);
void check_stream(struct sim *s, const struct sim_node *n, uint32_t key, const struct seen *is);

#endif
