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
    bool open;
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
void peer_mark(struct peer *x, uint32_t partitions);
void peer_vector(struct peer *x, enum frame_type type, const struct vector *vector);
void peer_heartbeat(struct peer *x, const struct vector *changes);
void peer_members(struct peer *x, const char *name, const char *host, uint16_t port);

/* Takes the next frame that the node has sent; 0 when there is none. The payload is borrowed until
 * the next call. */
enum frame_type peer_take(struct peer *x, struct frame_reader *payload);
/* Takes frames up to the first of that type; false when there is none. */
bool peer_take_until(struct peer *x, enum frame_type type, struct frame_reader *payload);

#endif
