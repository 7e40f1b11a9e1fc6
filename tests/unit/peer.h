/* A peer played by hand: one link of a real node, whose other end is the test. */
#ifndef PEER_H
#define PEER_H

#include "kv/node.h"

#define PEER_ORIGIN UINT64_C(0x0123456789abcdef)

struct peer {
    struct heap heap; /* its own: the node's may be made to fail */
    struct node *node; /* borrowed */
    struct link link; /* the node's end */
    struct moment now;
    struct buffer frame; /* what is sent next */
    size_t begun;
    struct buffer got; /* what the node has sent and nobody has looked at */
    const char *name, *cluster; /* as it introduces itself */
    uint64_t origin;
    int64_t clock_ahead_ms; /* its clock against x->now */
    bool keeps_disk;
    bool open;
};

/* What a DELTA_REQUEST and a DELTA_BEGIN may say, as docs/protocol.md has it. */
#define PEER_IS_EMPTY 1u
#define PEER_SCRUBS   2u
#define PEER_CHECKED  1u
#define PEER_BEHIND   2u

/* Names a live record in a DELTA_LIST. */
struct peer_entry {
    uint64_t key_hash, origin, stamp;
};

/* The node's link is a receiver when the peer dialled, a sender when it was dialled. */
void peer_open(struct peer *x, struct node *n, struct moment now, enum link_role role);
void peer_close(struct peer *x);

/* Starts a frame; its payload is appended to what is returned. */
struct buffer *peer_begin(struct peer *x);
/* Completes it, and lets the node read it. */
void peer_send(struct peer *x, enum frame_type type);
/* Completes it only: the bytes are in x->frame. */
void peer_end(struct peer *x, enum frame_type type);
/* Any bytes, from memory of exactly that size. */
void peer_feed(struct peer *x, struct bytes bytes);

/* Whole frames. A NULL vector is an empty one. */
void peer_hello(struct peer *x, const struct vector *vector, uint64_t floor);
void peer_records(struct peer *x, uint64_t after, uint64_t through, const struct record *records,
                  size_t count);
void peer_delta_records(struct peer *x, const struct record *records, size_t count);
void peer_number(struct peer *x, enum frame_type type, uint64_t number); /* STREAM, GAP */
/* Asks for everything that the vector does not cover. */
void peer_ask(struct peer *x, const struct vector *vector);
/* Likewise with flags, and with the digests of `groups` groups from `first` on, which are those of
 * `like`, or all 1 if that is NULL. */
void peer_request(struct peer *x, uint16_t flags, uint16_t first, uint16_t groups,
                  const struct vector *vector, const struct store *like);
void peer_delta_begin(struct peer *x, uint16_t flags, const struct vector *vector);
struct peer_entry peer_entry_of(const struct record *rec);
void peer_delta_list(struct peer *x, const struct peer_entry *entries, size_t count);
void peer_mark(struct peer *x, uint32_t partitions);
void peer_mark_listed(struct peer *x, uint32_t partitions);
void peer_delta_end(struct peer *x, const struct vector *dropped, uint64_t forced_stamp);
/* Ends a delta of all partitions, none of which was listed or dropped from. */
void peer_delta_finish(struct peer *x);
/* The digests of a store's groups. */
void peer_digest(struct peer *x, const struct store *like);
void peer_heartbeat(struct peer *x, const struct vector *changes);
void peer_heartbeat_durable(struct peer *x, const struct vector *changes,
                            const struct vector *durable);
void peer_members(struct peer *x, const char *name, const char *host, uint16_t port);
/* Likewise, of a member that was forgotten at that time. */
void peer_members_forgotten(struct peer *x, const char *name, uint64_t wall_ms);

/* Takes the next frame that the node has sent; 0 when there is none. The payload is borrowed until
 * the next call. */
enum frame_type peer_take(struct peer *x, struct frame_reader *payload);
/* Takes frames up to the first of that type; false when there is none. */
bool peer_take_until(struct peer *x, enum frame_type type, struct frame_reader *payload);

#endif
