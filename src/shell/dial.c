/* Resolve, connect to each address found, one after the other. */
#include "dial.h"

#include "kv/check.h"

#include <stdio.h>

static void end(struct dial *d)
{
    list_remove(&d->all);
    uv_freeaddrinfo(d->found);
    heap_free(&d->server->heap, d);
}

static void fail(struct dial *d, const char *reason)
{
    node_dial_failed(d->server->node, d->address, server_now(d->server), reason);
    end(d);
}

static void try_next(struct dial *d);

static void on_connected(uv_connect_t *connect, int status)
{
    struct dial *d = connect->data;
    struct conn *c = d->conn;
    d->conn = NULL;
    if (status == 0) {
        conn_begin_link(c, d->address);
        end(d);
        return;
    }
    d->error = status;
    conn_close(c);
    try_next(d);
}

static void try_next(struct dial *d)
{
    struct server *s = d->server;
    while (d->next != NULL && !s->stopping && uv_now(&s->loop) < d->deadline_mono_ms) {
        const struct addrinfo *found = d->next;
        d->next = found->ai_next;
        d->conn = conn_new(s);
        if (d->conn == NULL)
            break;
        d->connect.data = d;
        d->error = uv_tcp_connect(&d->connect, &d->conn->tcp, found->ai_addr, on_connected);
        if (d->error == 0)
            return;
        conn_close(d->conn);
        d->conn = NULL;
    }
    fail(d, d->error == UV_ECANCELED || d->error == 0 ? "no connection within 5 s"
                                                      : uv_strerror(d->error));
}

static void on_resolved(uv_getaddrinfo_t *resolve, int status, struct addrinfo *found)
{
    struct dial *d = container_of(resolve, struct dial, resolve);
    char reason[MEMBER_REASON_BYTES];
    d->resolving = false;
    d->found = d->next = found;
    if (status == 0) {
        try_next(d);
        return;
    }
    snprintf(reason, sizeof reason, "the name does not resolve (%s)",
             status == UV_ECANCELED ? "no answer within 5 s" : uv_strerror(status));
    fail(d, reason);
}

void dial_start(struct server *s, struct address *address)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    char port[8];
    struct dial *d = heap_zalloc(&s->heap, sizeof *d);
    if (d == NULL) {
        node_dial_failed(s->node, address, server_now(s), "out of memory");
        return;
    }
    d->server = s;
    d->address = address;
    d->deadline_mono_ms = uv_now(&s->loop) + DIAL_TIMEOUT_MS;
    list_push_back(&s->dials, &d->all);
    snprintf(port, sizeof port, "%u", (unsigned)address->port);
    d->resolving = true;
    int error = uv_getaddrinfo(&s->loop, &d->resolve, on_resolved, address->host, port, &hints);
    if (error != 0)
        fail(d, uv_strerror(error));
}

void dial_cancel(struct dial *d)
{
    d->next = NULL;
    if (d->resolving)
        uv_cancel((uv_req_t *)&d->resolve);
    else if (d->conn != NULL)
        conn_close(d->conn); /* on_connected follows, with UV_ECANCELED */
}

void dial_tick(struct dial *d, struct moment now)
{
    if (now.mono_ms >= d->deadline_mono_ms)
        dial_cancel(d);
}
