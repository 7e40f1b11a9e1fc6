/* Connections: bytes between a socket and a session or link. */
#include "conn.h"

#include "kv/check.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <sys/ioctl.h>

/* Further connections over --max-clients that may show within a second that they are peers. */
#define UNIDENTIFIED_EXTRA 64u
#define IDENTIFY_MS        1000u

/* How long an ended client may go on sending: closing earlier would reset the connection, and a
 * reset can take the last reply away from the client that it was for. */
#define LINGER_MS      2000u
#define STOP_LINGER_MS 300u

/* What the kernel is given at once. Sending a large piece takes it a while, a millisecond for 256 KiB
 * on a small machine, in which nobody else is served. */
#define WRITE_BYTES (64u << 10)

/* What is read of one connection in one turn: some hundred small commands. */
#define READ_BYTES (16u << 10)

/* A client whose machine has vanished is noticed after so long an idleness. */
#define KEEPALIVE_S 60u

/* "IP:port" and "IP" of the other end. */
static void name_other_end(const struct conn *c, char *who, char *host)
{
    struct sockaddr_storage address;
    int size = sizeof address;
    uint16_t port = 0;
    snprintf(host, LINK_WHO_BYTES, "?");
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&address, &size) == 0) {
        if (address.ss_family == AF_INET6) {
            const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;
            uv_ip6_name(v6, host, LINK_WHO_BYTES);
            port = ntohs(v6->sin6_port);
        } else {
            const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;
            uv_ip4_name(v4, host, LINK_WHO_BYTES);
            port = ntohs(v4->sin_port);
        }
    }
    snprintf(who, LINK_WHO_BYTES, strchr(host, ':') != NULL ? "[%.54s]:%u" : "%.56s:%u", host,
             (unsigned)port);
}

struct conn *conn_new(struct server *s)
{
    struct conn *c = heap_zalloc(&s->heap, sizeof *c);
    if (c == NULL)
        return NULL;
    c->server = s;
    c->opened_mono_ms = uv_now(&s->loop);
    buffer_init(&c->writing, &s->heap);
    CHECK(uv_tcp_init(&s->loop, &c->tcp) == 0);
    list_push_back(&s->conns, &c->all);
    return c;
}

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = container_of(handle, struct conn, tcp);
    buffer_close(&c->writing);
    heap_free(&c->server->heap, c);
}

void conn_close(struct conn *c)
{
    if (c->closing)
        return;
    c->closing = true;
    input_drop(c);
    list_remove(&c->all);
    if (c->link != NULL) {
        link_close(c->link, server_now(c->server));
        heap_free(&c->server->heap, c->link);
        c->link = NULL;
    }
    if (c->kind == CONN_CLIENT)
        session_close(&c->session);
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

/* --- reading ------------------------------------------------------------------------------- */

/* Of a pipeline, or of what a peer sends, no more is taken in one turn than this: the others have their
 * turn too. A value that is longer comes in larger pieces. */
static size_t read_size(const struct conn *c)
{
    const struct buffer *in = c->kind == CONN_PEER ? &c->link->in : &c->session.in;
    return buffer_size(in) < READ_BYTES ? READ_BYTES : INPUT_READ_BYTES;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct conn *c = container_of(handle, struct conn, tcp);
    (void)suggested;
    *buf = uv_buf_init(input_room(&c->server->input), (unsigned)read_size(c));
}

static void become_peer(struct conn *c, struct address *address)
{
    struct server *s = c->server;
    char who[LINK_WHO_BYTES], host[LINK_WHO_BYTES];
    if (c->kind == CONN_CLIENT)
        session_close(&c->session);
    c->kind = CONN_DIALING;
    c->identified = true;
    c->link = heap_alloc(&s->heap, sizeof *c->link);
    if (c->link == NULL) {
        if (address != NULL)
            node_dial_failed(s->node, address, server_now(s), "out of memory");
        conn_close(c);
        return;
    }
    name_other_end(c, who, host);
    link_open(c->link, s->node, server_now(s), address, who, host);
    c->link->owner = c;
    c->kind = CONN_PEER;
}

static void refuse_client(struct conn *c, bool speaks_resp)
{
    static const char line[] = "ERROR too many clients (--max-clients); try again later\n";
    static const char resp[] = "-ERR max number of clients reached\r\n";
    uv_buf_t buf = speaks_resp ? uv_buf_init((char *)(uintptr_t)resp, sizeof resp - 1)
                               : uv_buf_init((char *)(uintptr_t)line, sizeof line - 1);
    uv_try_write((uv_stream_t *)&c->tcp, &buf, 1);
    c->server->node->counters.sessions_refused++;
    conn_close(c);
}

/* Looks at a connection's first bytes. Returns how many of `bytes` it used up; the rest, if the
 * connection lives on, is for the session or the link. */
static size_t identify(struct conn *c, struct bytes bytes)
{
    static const uint8_t magic[] = FRAME_MAGIC;
    size_t used = 0;
    while (used < bytes.size && c->sniffed_bytes < FRAME_MAGIC_BYTES &&
           bytes.data[used] == magic[c->sniffed_bytes])
        c->sniffed[c->sniffed_bytes++] = bytes.data[used++];
    if (c->sniffed_bytes == FRAME_MAGIC_BYTES) {
        if (c->server->node->loading)
            conn_close(c); /* there is nothing to say to a peer yet; it tries again */
        else
            become_peer(c, NULL);
        return used;
    }
    if (used == bytes.size)
        return used;
    c->identified = true;
    if (c->over_limit)
        refuse_client(c, c->sniffed_bytes == 0 && bytes.data[used] == '*');
    else if (c->sniffed_bytes > 0)
        session_read(&c->session, server_now(c->server), bytes_of(c->sniffed, c->sniffed_bytes));
    return used;
}

static void feed(struct conn *c, struct bytes bytes)
{
    struct moment now = server_now(c->server);
    if (c->lingering)
        return;
    if (!c->identified) {
        size_t used = identify(c, bytes);
        bytes = bytes_after(bytes, used);
        if (c->closing || !c->identified)
            return;
    }
    if (c->kind == CONN_PEER)
        link_read(c->link, now, bytes);
    else
        session_read(&c->session, now, bytes);
}

static void stop_reading(struct conn *c)
{
    if (c->reading)
        uv_read_stop((uv_stream_t *)&c->tcp);
    c->reading = false;
}

static void end_of_input(struct conn *c, ssize_t reason)
{
    if (c->kind == CONN_PEER) {
        link_fail(c->link, "%s",
                  reason == UV_EOF ? "it closed the connection" : uv_strerror((int)reason));
        conn_close(c);
    } else if (reason != UV_EOF || c->lingering) {
        conn_close(c); /* it is gone: nobody is left to answer */
    } else {
        stop_reading(c);
        if (!c->identified && c->sniffed_bytes > 0)
            session_read(&c->session, server_now(c->server),
                         bytes_of(c->sniffed, c->sniffed_bytes));
        session_read_end(&c->session, server_now(c->server));
    }
}

/* Not while there is enough to do with what came before. */
static bool wants_input(const struct conn *c)
{
    if (c->kind == CONN_PEER)
        return link_wants_input(c->link);
    return c->kind == CONN_CLIENT && session_wants_input(&c->session);
}

void conn_read(struct conn *c, struct bytes bytes, bool has_more)
{
    feed(c, bytes);
    if (!c->closing && !c->lingering && (has_more || !wants_input(c)))
        stop_reading(c); /* conn_flush starts it again */
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct conn *c = container_of(stream, struct conn, tcp);
    /* If it was all that fits, libuv would go on reading in the same turn. */
    bool has_more = size >= 0 && (size_t)size == buf->len;
    if (size > 0 && !c->has_input && c->kind == CONN_CLIENT && c->identified && !c->lingering) {
        if (has_more)
            stop_reading(c);
        input_gather(c, (size_t)size, has_more);
        return;
    }
    if (c->has_input)
        input_run(c->server); /* what came before comes first; these bytes stay where they are */
    if (c->closing)
        return;
    if (size < 0)
        end_of_input(c, size);
    else
        conn_read(c, bytes_of(buf->base, (size_t)size), has_more);
}

static void start_reading(struct conn *c)
{
    if (c->reading || (c->server->stopping && c->kind == CONN_CLIENT && !c->lingering))
        return;
    c->reading = uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) == 0;
}

void conn_accept(struct server *s)
{
    struct conn *c = conn_new(s);
    /* libuv offers no further connection before this one was taken: it is tried again. */
    s->accept_waits = c == NULL;
    if (c == NULL) {
        log_write(&s->log, LOG_LEVEL_ERROR, "out of memory: new connections have to wait");
        return;
    }
    if (uv_accept((uv_stream_t *)&s->listener, (uv_stream_t *)&c->tcp) != 0) {
        conn_close(c);
        return;
    }
    session_init(&c->session, s->node);
    c->session.opened_mono_ms = c->session.active_mono_ms = c->opened_mono_ms;
    c->kind = CONN_CLIENT;
    uv_tcp_nodelay(&c->tcp, 1);
    uv_tcp_keepalive(&c->tcp, 1, KEEPALIVE_S);
    c->over_limit = s->node->session_count > s->options->max_clients;
    if (s->node->session_count > s->options->max_clients + UNIDENTIFIED_EXTRA)
        refuse_client(c, false);
    else
        start_reading(c);
}

void conn_begin_link(struct conn *c, struct address *address)
{
    uv_tcp_nodelay(&c->tcp, 1);
    become_peer(c, address);
    if (!c->closing)
        start_reading(c);
}

/* --- writing ------------------------------------------------------------------------------- */

static size_t *unsent_of(struct conn *c)
{
    return c->kind == CONN_PEER ? &c->link->unsent : &c->session.unsent;
}

static void count_sent(struct conn *c, size_t size)
{
    struct node_counters *counters = &c->server->node->counters;
    if (c->kind == CONN_PEER)
        counters->peer_bytes_sent += size;
    else
        counters->client_bytes_sent += size;
}

static void on_written(uv_write_t *write, int status);

static uv_buf_t piece_of(struct bytes bytes)
{
    size_t size = bytes.size < WRITE_BYTES ? bytes.size : WRITE_BYTES;
    return uv_buf_init((char *)(uintptr_t)bytes.data, (unsigned)size);
}

/* Leaves the next piece of what is being written to libuv. False when it failed. */
static bool write_piece(struct conn *c)
{
    uv_buf_t piece = piece_of(buffer_bytes(&c->writing));
    c->piece_bytes = piece.len;
    return uv_write(&c->write, (uv_stream_t *)&c->tcp, &piece, 1, on_written) == 0;
}

static void on_written(uv_write_t *write, int status)
{
    struct conn *c = container_of(write, struct conn, write);
    if (c->closing)
        return;
    if (status < 0) {
        if (c->kind == CONN_PEER)
            link_fail(c->link, "%s", uv_strerror(status));
        conn_close(c);
        return;
    }
    *unsent_of(c) -= c->piece_bytes;
    count_sent(c, c->piece_bytes);
    buffer_consume(&c->writing, c->piece_bytes);
    if (buffer_size(&c->writing) > 0) {
        if (!write_piece(c))
            conn_close(c);
        return;
    }
    buffer_close(&c->writing);
    /* A link goes on in the next turn, which comes at once: one slice of a scan a turn. */
    if (c->kind == CONN_CLIENT)
        conn_flush(c);
}

/* Sends what the kernel takes at once, and leaves the rest to libuv. False when it failed. */
static bool send_output(struct conn *c, struct buffer *out)
{
    uv_buf_t piece = piece_of(buffer_bytes(out));
    int sent = uv_try_write((uv_stream_t *)&c->tcp, &piece, 1);
    if (sent < 0 && sent != UV_EAGAIN)
        return false;
    if (sent > 0) {
        count_sent(c, (size_t)sent);
        buffer_consume(out, (size_t)sent);
    }
    if (buffer_size(out) == 0) {
        buffer_close(out);
        return true;
    }
    buffer_move(&c->writing, out);
    *unsent_of(c) += buffer_size(&c->writing);
    c->untaken_bytes = buffer_size(&c->writing);
    c->progress_mono_ms = uv_now(&c->server->loop);
    return write_piece(c);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    struct conn *c = container_of(request, struct conn, shutdown);
    if (!c->closing && status < 0)
        conn_close(c);
}

/* Everything was sent. A client that may still be sending gets the time to see it. */
static void finish(struct conn *c)
{
    if (c->kind != CONN_CLIENT || c->session.failed || c->session.input_ended) {
        conn_close(c);
        return;
    }
    if (c->lingering)
        return;
    c->lingering = true;
    c->linger_mono_ms =
        uv_now(&c->server->loop) + (c->server->stopping ? STOP_LINGER_MS : LINGER_MS);
    if (uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, on_shutdown) != 0)
        conn_close(c);
    else
        start_reading(c);
}

void conn_flush(struct conn *c)
{
    struct moment now = server_now(c->server);
    bool finished;
    if (c->closing || c->kind == CONN_DIALING)
        return;
    if (buffer_size(&c->writing) == 0) {
        if (c->kind == CONN_CLIENT) {
            session_resume(&c->session, now);
            persistence_before_output(c->server, &c->session);
        }
        struct buffer *out =
            c->kind == CONN_PEER ? link_output(c->link) : session_output(&c->session);
        if (buffer_size(out) > 0 && !send_output(c, out)) {
            if (c->kind == CONN_PEER)
                link_fail(c->link, "it closed the connection");
            conn_close(c);
            return;
        }
    }
    if (c->kind == CONN_CLIENT && buffer_size(&c->writing) == 0)
        session_ask_turn(&c->session);
    finished = c->kind == CONN_PEER ? link_is_finished(c->link) : session_finished(&c->session);
    if (finished)
        finish(c);
    else if (!c->lingering && wants_input(c))
        start_reading(c);
}

void conn_stop(struct conn *c)
{
    if (c->kind != CONN_CLIENT || c->lingering)
        return;
    stop_reading(c);
    if (buffer_size(&c->session.out) == 0 && c->session.unsent == 0 &&
        !session_is_waiting(&c->session))
        finish(c);
}

/* What the other end has not taken yet: here, in libuv's queue and in the kernel's. The latter alone
 * can hold minutes' worth of a slow reader's bytes. */
static size_t untaken_bytes(const struct conn *c)
{
    int fd = -1, in_kernel = 0;
    size_t queued = uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp);
    if (queued == 0)
        return 0;
    size_t left = buffer_size(&c->writing) - c->piece_bytes + queued;
    if (uv_fileno((const uv_handle_t *)&c->tcp, &fd) != 0 || ioctl(fd, SIOCOUTQ, &in_kernel) != 0)
        return left;
    return left + (size_t)in_kernel;
}

void conn_tick(struct conn *c, struct moment now)
{
    size_t left = untaken_bytes(c);
    if (left != c->untaken_bytes) {
        c->untaken_bytes = left;
        c->progress_mono_ms = now.mono_ms;
    }
    if (c->lingering) {
        if (now.mono_ms >= c->linger_mono_ms)
            conn_close(c);
    } else if (c->over_limit && !c->identified && now.mono_ms - c->opened_mono_ms >= IDENTIFY_MS) {
        refuse_client(c, false);
    } else if (c->kind == CONN_CLIENT && left > 0 &&
               now.mono_ms - c->progress_mono_ms >= c->server->options->output_timeout_ms) {
        char who[LINK_WHO_BYTES], host[LINK_WHO_BYTES];
        name_other_end(c, who, host);
        log_write(&c->server->log, LOG_LEVEL_WARN,
                  "client %s has taken none of its replies for %" PRIu64
                  " ms (--output-timeout); its connection was closed",
                  who, c->server->options->output_timeout_ms);
        conn_close(c);
    }
}
