/* A connection: a socket with a client's session or a peer's link behind it. */
#ifndef SHELL_CONN_H
#define SHELL_CONN_H

#include "server.h"

enum conn_kind {
    CONN_DIALING, /* being connected */
    CONN_CLIENT, /* has a session; may still show that it is a peer */
    CONN_PEER /* has a link */
};

struct conn {
    uv_tcp_t tcp;
    struct list all; /* among the server's */
    struct server *server;
    enum conn_kind kind;
    struct session session;
    struct link *link; /* of a peer; owned */
    uint8_t sniffed[FRAME_MAGIC_BYTES]; /* the first bytes, as far as they are a peer's magic */
    uint8_t sniffed_bytes;
    bool identified; /* what it is is known */
    bool has_input; /* in the server's struct input */
    bool reading;
    bool closing;
    bool over_limit; /* one client too many, unless it is a peer */
    bool lingering; /* everything was said; what still comes is thrown away */
    uint64_t opened_mono_ms;
    uint64_t linger_mono_ms; /* until then */
    uv_shutdown_t shutdown;
    uv_write_t write;
    struct buffer writing; /* the bytes being written; empty = none are */
    size_t piece_bytes; /* of these, what libuv was given */
    size_t untaken_bytes; /* what the other end had not taken when last looked at */
    uint64_t progress_mono_ms; /* when that last became less */
};

/* Accepts one from the server's listener. */
void conn_accept(struct server *s);

/* A connection for dialling out, not yet connected; NULL when out of memory. */
struct conn *conn_new(struct server *s);

/* The dialled connection stands: a link to that address begins. */
void conn_begin_link(struct conn *c, struct address *address);

/* What has arrived goes to its session or link. has_more: there may be more to read. */
void conn_read(struct conn *c, struct bytes bytes, bool has_more);

/* Sends what its session or link has ready; ends it when it is finished. */
void conn_flush(struct conn *c);

/* What is due by time: limits and lingering. */
void conn_tick(struct conn *c, struct moment now);

/* The server ends: reads no more commands; closes once everything owed was sent. */
void conn_stop(struct conn *c);

/* Ends it at once. Its memory goes when libuv is done with it. */
void conn_close(struct conn *c);

#endif
