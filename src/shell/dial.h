/* Dialling: from a peer's address to a connection with a link. */
#ifndef SHELL_DIAL_H
#define SHELL_DIAL_H

#include "conn.h"

#define DIAL_TIMEOUT_MS 5000u

struct dial {
    struct list all; /* among the server's */
    struct server *server;
    struct address *address; /* in state ADDRESS_DIALING; borrowed */
    uv_getaddrinfo_t resolve;
    uv_connect_t connect;
    struct addrinfo *found; /* owned; what the name resolved to */
    struct addrinfo *next; /* to be tried next */
    struct conn *conn; /* being connected, or NULL */
    int error; /* of the last try */
    uint64_t deadline_mono_ms;
    bool resolving;
};

/* Begins to dial. The outcome goes to the node: a link, or a failure with its reason. */
void dial_start(struct server *s, struct address *address);

/* Ends it if its time is over. */
void dial_tick(struct dial *d, struct moment now);

/* Ends it at once. */
void dial_cancel(struct dial *d);

#endif
