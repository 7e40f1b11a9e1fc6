/* bench-floor: a libuv server that answers every request with one constant reply.
 *
 * It looks at no byte of a request, as all have the same size; it stores nothing and allocates
 * nothing: what it costs is what the kernel and libuv cost, the floor under every figure of
 * tests/bench. Built as a server that cares would be: one read buffer for all connections, one
 * uv_try_write for each read.
 *
 * usage: bench-floor PORT REQUEST_BYTES REPLY
 *     PORT 0: any free one. REPLY: sent as it is, line ends and all. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define INPUT_BYTES       (64 * 1024)
#define REPLY_BYTES_MAX   1024
#define REQUEST_BYTES_MAX (1 << 30)
#define BACKLOG           512

/* All that the connections share: one buffer to read into, and as many replies in a row as one
 * read can end requests, so that any number of them is one write. */
struct floor_server {
    char *replies;
    size_t reply_bytes;
    size_t request_bytes;
    char input[INPUT_BYTES];
};

struct client {
    uv_tcp_t tcp;
    uv_write_t rest;
    size_t partial_bytes; /* read of a request that has not come whole */
};

static int check(int result, const char *doing)
{
    if (result < 0) {
        fprintf(stderr, "bench-floor: %s: %s\n", doing, uv_strerror(result));
        exit(1);
    }
    return result;
}

static void on_close(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct floor_server *server = handle->loop->data;

    (void)suggested;
    *buf = uv_buf_init(server->input, INPUT_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t bytes, const uv_buf_t *buf);

static void on_rest_written(uv_write_t *rest, int status)
{
    if (status == 0)
        uv_read_start(rest->handle, on_alloc, on_read);
    else if (!uv_is_closing((uv_handle_t *)rest->handle))
        uv_close((uv_handle_t *)rest->handle, on_close);
}

/* What the kernel does not take at once is queued, and nothing more is read until it is gone: a
 * client that reads no replies is owed those to one read, no more. */
static void reply(struct client *client, size_t requests)
{
    struct floor_server *server = client->tcp.loop->data;
    uv_stream_t *stream = (uv_stream_t *)&client->tcp;
    uv_buf_t buf = uv_buf_init(server->replies, (unsigned)(requests * server->reply_bytes));
    int written = uv_try_write(stream, &buf, 1);

    if (written < 0 && written != UV_EAGAIN) {
        uv_close((uv_handle_t *)stream, on_close);
        return;
    }
    size_t sent = written > 0 ? (size_t)written : 0;
    if (sent < buf.len) {
        buf = uv_buf_init(buf.base + sent, (unsigned)(buf.len - sent));
        uv_read_stop(stream);
        check(uv_write(&client->rest, stream, &buf, 1, on_rest_written), "write");
    }
}

static void on_read(uv_stream_t *stream, ssize_t bytes, const uv_buf_t *buf)
{
    (void)buf;
    if (bytes < 0) {
        uv_close((uv_handle_t *)stream, on_close);
        return;
    }
    struct client *client = stream->data;
    const struct floor_server *server = stream->loop->data;
    size_t pending = client->partial_bytes + (size_t)bytes;
    size_t requests = pending / server->request_bytes;
    client->partial_bytes = pending % server->request_bytes;
    if (requests > 0)
        reply(client, requests);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct client *client = calloc(1, sizeof *client);

    check(client == NULL ? UV_ENOMEM : status, "accept");
    uv_tcp_init(listener->loop, &client->tcp);
    client->tcp.data = client;
    if (uv_accept(listener, (uv_stream_t *)&client->tcp) != 0) {
        uv_close((uv_handle_t *)&client->tcp, on_close);
        return;
    }
    uv_tcp_nodelay(&client->tcp, 1);
    uv_read_start((uv_stream_t *)&client->tcp, on_alloc, on_read);
}

static void fill_replies(struct floor_server *server, const char *text)
{
    size_t count = INPUT_BYTES / server->request_bytes + 1;

    server->reply_bytes = strlen(text);
    check(server->reply_bytes <= REPLY_BYTES_MAX ? 0 : UV_E2BIG, "REPLY");
    server->replies = malloc(count * server->reply_bytes);
    check(server->replies == NULL ? UV_ENOMEM : 0, "replies");
    for (size_t i = 0; i < count; i++)
        memcpy(server->replies + i * server->reply_bytes, text, server->reply_bytes);
}

/* The number in `text`, which must lie within min..max; -1 otherwise. */
static long number(const char *text, long min, long max)
{
    char *end;
    long found = strtol(text, &end, 10);

    return end != text && *end == '\0' && found >= min && found <= max ? found : -1;
}

static int listen_on(uv_loop_t *loop, uv_tcp_t *listener, int port)
{
    struct sockaddr_in address;
    struct sockaddr_storage bound;
    int bound_bytes = sizeof bound;

    check(uv_ip4_addr("127.0.0.1", port, &address), "address");
    check(uv_tcp_init(loop, listener), "socket");
    check(uv_tcp_bind(listener, (const struct sockaddr *)&address, 0), "bind");
    check(uv_listen((uv_stream_t *)listener, BACKLOG, on_connection), "listen");
    check(uv_tcp_getsockname(listener, (struct sockaddr *)&bound, &bound_bytes), "getsockname");
    memcpy(&address, &bound, sizeof address);
    return ntohs(address.sin_port);
}

int main(int argc, char **argv)
{
    uv_loop_t loop;
    uv_tcp_t listener;
    long port = argc == 4 ? number(argv[1], 0, 65535) : -1;
    long request_bytes = argc == 4 ? number(argv[2], 1, REQUEST_BYTES_MAX) : -1;

    if (port < 0 || request_bytes < 0 || argv[3][0] == '\0') {
        fprintf(stderr, "usage: bench-floor PORT REQUEST_BYTES REPLY\n");
        return 2;
    }
    struct floor_server *server = calloc(1, sizeof *server);
    check(server == NULL ? UV_ENOMEM : 0, "start");
    server->request_bytes = (size_t)request_bytes;
    fill_replies(server, argv[3]);
    check(uv_loop_init(&loop), "loop");
    loop.data = server;
    fprintf(stderr, "listening on 127.0.0.1:%d\n", listen_on(&loop, &listener, (int)port));
    return uv_run(&loop, UV_RUN_DEFAULT);
}
