/* The loop: what happens once a turn, at a tick, at a signal, and at the end. */
#include "server.h"

#include "conn.h"
#include "dial.h"
#include "kv/check.h"
#include "version.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define LISTEN_BACKLOG 1024

/* Descriptors beside the clients': peers in both directions, the loop's own, standard streams. */
#define OTHER_DESCRIPTORS (2 * MEMBERS_MAX + 64)

/* The largest that glibc takes. */
#define MMAP_THRESHOLD_BYTES (32 << 20)

/* Turns of the loop after which everything that can be closed is. */
#define CLOSING_TURNS 3

struct moment server_now(struct server *s)
{
    struct timespec wall;
    /* libuv's time moves once a turn; asking the kernel again within it would only cost. */
    if (s->now.mono_ms != uv_now(&s->loop) || s->now.wall_ms == 0) {
        clock_gettime(CLOCK_REALTIME, &wall);
        s->now.wall_ms = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / 1000000;
        s->now.mono_ms = uv_now(&s->loop);
    }
    return s->now;
}

/* --- a turn -------------------------------------------------------------------------------- */

void server_log_notices(struct server *s)
{
    static const enum log_level levels[] = {[NOTICE_DEBUG] = LOG_LEVEL_DEBUG,
                                            [NOTICE_INFO] = LOG_LEVEL_INFO,
                                            [NOTICE_WARN] = LOG_LEVEL_WARN};
    struct notice notice;
    while (notice_take(&s->node->notices, &notice))
        log_write(&s->log, levels[notice.level], "%s", notice.text);
}

void server_check_disk(struct server *s)
{
    const struct storage *storage = s->persistence.storage;
    if (storage == NULL || !storage->fatal)
        return;
    server_log_notices(s);
    log_write(&s->log, LOG_LEVEL_ERROR, "%s", storage->reason);
    _exit(1);
}

static void flush_links(struct server *s)
{
    list_for_each (item, &s->node->links) {
        struct link *l = container_of(item, struct link, all);
        conn_flush(l->owner);
    }
}

/* Those that are ready now; who becomes ready meanwhile has his turn next time. */
static void flush_sessions(struct server *s)
{
    struct list ready;
    list_init(&ready);
    list_take_all(&ready, &s->node->ready);
    while (!list_is_empty(&ready)) {
        struct session *session = container_of(ready.next, struct session, ready);
        list_remove(&session->ready);
        conn_flush(container_of(session, struct conn, session));
    }
}

static void keep_awake(uv_idle_t *busy)
{
    (void)busy;
}

static void stop_step(struct server *s);
static void end_loop(struct server *s, int status);

static void dial_due(struct server *s, struct moment now)
{
    struct address *due;
    while (!s->stopping && !s->node->loading && (due = node_next_dial(s->node, now)) != NULL)
        dial_start(s, due);
}

static bool is_busy(const struct server *s)
{
    const struct storage *storage = s->persistence.storage;
    return node_is_busy(s->node) || !list_is_empty(&s->node->ready) ||
           (s->node->loading && !s->stopping) || (storage != NULL && storage_is_busy(storage)) ||
           periodic_is_busy(s);
}

/* What was written goes to the disk before anybody is told of it. Then peers first: a reply that
 * waits for them then waits less. */
static void on_turn(uv_prepare_t *turn)
{
    struct server *s = container_of(turn, struct server, turn);
    struct storage *storage = s->persistence.storage;
    struct moment now = server_now(s);
    input_run(s);
    if (s->node->loading && !s->stopping && !persistence_load(s)) {
        end_loop(s, 1);
        return;
    }
    node_release(s->node, now);
    if (storage != NULL && !s->node->loading)
        storage_flush(storage, now);
    flush_links(s);
    flush_sessions(s);
    dial_due(s, now);
    if (storage != NULL)
        storage_step(storage, now);
    periodic_step(s);
    server_check_disk(s);
    server_log_notices(s);
    if (is_busy(s))
        uv_idle_start(&s->busy, keep_awake);
    else
        uv_idle_stop(&s->busy);
    if (s->stopping)
        stop_step(s);
    host_end_turn(&s->host);
}

static void on_tick(uv_timer_t *timer)
{
    struct server *s = container_of(timer, struct server, tick);
    struct moment now = server_now(s);
    /* While it loads nothing may be dropped from the store: what is read next may be older. */
    uint64_t due = s->node->loading ? now.mono_ms + NODE_TICK_MS : node_tick(s->node, now);
    if (s->persistence.storage != NULL)
        storage_tick(s->persistence.storage, now);
    server_check_disk(s);
    if (s->accept_waits)
        conn_accept(s);
    list_for_each (item, &s->conns) {
        conn_tick(container_of(item, struct conn, all), now);
    }
    list_for_each (dialing, &s->dials) {
        dial_tick(container_of(dialing, struct dial, all), now);
    }
    uv_timer_start(timer, on_tick, due > now.mono_ms ? due - now.mono_ms : 1, 0);
}

/* --- the end ------------------------------------------------------------------------------- */

static void close_handles(struct server *s)
{
    list_for_each (item, &s->conns) {
        conn_close(container_of(item, struct conn, all));
    }
    list_for_each (dialing, &s->dials) {
        dial_cancel(container_of(dialing, struct dial, all));
    }
    if (!uv_is_closing((uv_handle_t *)&s->listener))
        uv_close((uv_handle_t *)&s->listener, NULL);
    uv_close((uv_handle_t *)&s->turn, NULL);
    uv_close((uv_handle_t *)&s->tick, NULL);
    uv_close((uv_handle_t *)&s->busy, NULL);
    for (size_t i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&s->signals[i], NULL);
}

static void end_loop(struct server *s, int status)
{
    s->status = status;
    close_handles(s);
    /* A name that is being resolved cannot be called off, and may take longer than anybody wants to
     * wait: run_loop leaves without it. */
    uv_stop(&s->loop);
}

/* Once a turn: lets go of every client that has got its replies, then of the peers once they have
 * confirmed what was written here, then of the disk. */
static void stop_step(struct server *s)
{
    uint32_t waiting = 0;
    bool overdue = uv_now(&s->loop) >= s->stop_mono_ms;
    list_for_each (item, &s->conns) {
        struct conn *c = container_of(item, struct conn, all);
        conn_stop(c);
        waiting += !c->closing && c->kind == CONN_CLIENT;
    }
    bool owed = waiting > 0 || !node_is_drained(s->node);
    bool stopped = (overdue || !owed) && persistence_stop(s);
    if (!overdue && (owed || !stopped))
        return;
    if (owed || !stopped)
        log_write(&s->log, LOG_LEVEL_WARN,
                  "stopping without waiting any longer (--shutdown-timeout): %" PRIu32
                  " clients were owed replies, peers had%s confirmed every write%s",
                  waiting, node_is_drained(s->node) ? "" : " not",
                  stopped ? "" : ", the disk had not synced everything");
    end_loop(s, 0);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct server *s = container_of(handle, struct server, signals[number == SIGINT]);
    if (s->stopping) {
        log_write(&s->log, LOG_LEVEL_WARN, "second signal: exiting at once");
        _exit(1);
    }
    log_write(&s->log, LOG_LEVEL_INFO,
              "%s: no new connections; stopping once everything owed was sent",
              number == SIGINT ? "SIGINT" : "SIGTERM");
    s->stopping = true;
    s->stop_mono_ms = uv_now(&s->loop) + s->options->shutdown_timeout_ms;
    s->node->acks_wanted = s->node->last_write;
    uv_close((uv_handle_t *)&s->listener, NULL);
    list_for_each (dialing, &s->dials) {
        dial_cancel(container_of(dialing, struct dial, all));
    }
}

/* --- the start ----------------------------------------------------------------------------- */

static void on_connection(uv_stream_t *listener, int status)
{
    struct server *s = container_of(listener, struct server, listener);
    if (status == 0)
        conn_accept(s);
    else
        log_write(&s->log, LOG_LEVEL_WARN, "cannot accept a connection: %s", uv_strerror(status));
}

static void raise_descriptor_limit(struct server *s)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)s->options->max_clients + OTHER_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted)
        log_write(&s->log, LOG_LEVEL_WARN,
                  "only %llu open files are allowed, --max-clients %u needs %llu: raise the limit "
                  "(ulimit -n) or lower --max-clients",
                  (unsigned long long)limit.rlim_cur, (unsigned)s->options->max_clients,
                  (unsigned long long)wanted);
}

static int resolve_bind(const struct options *o, struct sockaddr_storage *address)
{
    if (strchr(o->bind, ':') != NULL)
        return uv_ip6_addr(o->bind, o->port, (struct sockaddr_in6 *)address);
    return uv_ip4_addr(o->bind, o->port, (struct sockaddr_in *)address);
}

/* The port that is listened on; 0 when it could not be. */
static uint16_t start_listening(struct server *s)
{
    struct sockaddr_storage address;
    int size = sizeof address;
    char text[ADDRESS_TEXT_BYTES];
    const struct options *o = s->options;
    CHECK(uv_tcp_init(&s->loop, &s->listener) == 0);
    address_text(o->bind, o->port, text);
    int error = resolve_bind(o, &address);
    if (error == 0)
        error = uv_tcp_bind(&s->listener, (struct sockaddr *)&address, 0);
    if (error == 0)
        error = uv_listen((uv_stream_t *)&s->listener, LISTEN_BACKLOG, on_connection);
    if (error == 0)
        error = uv_tcp_getsockname(&s->listener, (struct sockaddr *)&address, &size);
    if (error != 0) {
        log_write(&s->log, LOG_LEVEL_ERROR,
                  "cannot listen on %s: %s; choose another --port or --bind", text,
                  uv_strerror(error));
        return 0;
    }
    /* The port is at the same place in both families. */
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

static void choose_name(struct server *s, uint16_t port)
{
    char host[OPTIONS_NAME_BYTES_MAX - 5] = "localhost";
    if (s->options->name[0] != 0) {
        snprintf(s->name, sizeof s->name, "%s", s->options->name);
        return;
    }
    gethostname(host, sizeof host - 1);
    host[sizeof host - 1] = 0;
    snprintf(s->name, sizeof s->name, "%s:%u", host, (unsigned)port);
}

static struct node *make_node(struct server *s, uint16_t port)
{
    const struct options *o = s->options;
    uint64_t random[2];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return NULL;
    choose_name(s, port);
    struct node_config config = {
        .name = s->name,
        .cluster = o->cluster,
        .version = VERSION_TEXT,
        .advertise_host = o->advertise.host,
        .advertise_port = o->advertise.host[0] == 0 ? port : o->advertise.port,
        .origin = random[0] == 0 ? 1 : random[0],
        .random_seed = random[1],
        .min_acks = o->min_acks,
        .ack_timeout_ms = o->ack_timeout_ms,
        .keeps_disk = o->data_dir[0] != '\0',
        .max_memory_bytes = o->max_memory_bytes,
        .tombstone_memory_bytes = o->tombstone_memory_bytes,
        .forget_after_ms = o->forget_after_ms,
        .max_clock_drift_ms = o->max_clock_drift_ms,
        .max_value_bytes = o->max_value_bytes,
        .journal_bytes = o->journal_memory_bytes,
        .keys_limit = o->keys_limit,
        .max_clients = o->max_clients,
        .max_reply_bytes = o->max_reply_bytes,
        .max_query_bytes = o->max_query_bytes,
        .max_words = o->max_arguments,
        .rmw_reject = o->rmw == OPTIONS_RMW_REJECT,
        .max_output_bytes = o->max_output_bytes,
    };
    struct node *n = node_new(&config, &s->heap, server_now(s));
    for (size_t i = 0; n != NULL && i < o->peer_count; i++)
        members_add_address(&n->members, bytes_text(o->peers[i].host), o->peers[i].port, true);
    return n;
}

static void start_handles(struct server *s)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    uv_prepare_init(&s->loop, &s->turn);
    uv_timer_init(&s->loop, &s->tick);
    uv_idle_init(&s->loop, &s->busy);
    uv_prepare_start(&s->turn, on_turn);
    uv_timer_start(&s->tick, on_tick, 0, 0);
    for (size_t i = 0; i < 2; i++) {
        uv_signal_init(&s->loop, &s->signals[i]);
        uv_signal_start(&s->signals[i], on_signal, numbers[i]);
    }
}

/* Everything between an open loop and its end. Returns the exit status. */
static int run_loop(struct server *s)
{
    if (!persistence_open(s))
        return 1;
    uint16_t port = start_listening(s);
    if (port == 0) {
        uv_close((uv_handle_t *)&s->listener, NULL);
        uv_run(&s->loop, UV_RUN_DEFAULT);
        persistence_close(s);
        return 1;
    }
    s->node = make_node(s, port);
    if (s->node == NULL || !persistence_begin(s)) {
        log_write(&s->log, LOG_LEVEL_ERROR, "cannot start: out of memory or of randomness");
        return 1;
    }
    if (!periodic_open(s)) {
        uv_close((uv_handle_t *)&s->listener, NULL);
        uv_run(&s->loop, UV_RUN_DEFAULT);
        periodic_close(s);
        persistence_close(s);
        node_free(s->node);
        return 1;
    }
    host_begin(&s->host, &s->loop, s->node, port);
    start_handles(s);
    char text[ADDRESS_TEXT_BYTES];
    address_text(s->options->bind, port, text);
    log_write(&s->log, LOG_LEVEL_INFO,
              "listening on %s as \"%s\" of cluster \"%s\", %zu peers given, simple-kv %s", text,
              s->name, s->options->cluster, s->options->peer_count, VERSION_TEXT);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    /* Close callbacks come in the next turns, and those of what could be called off. */
    for (int turn = 0; turn < CLOSING_TURNS; turn++)
        uv_run(&s->loop, UV_RUN_NOWAIT);
    if (s->status == 0)
        log_write(&s->log, LOG_LEVEL_INFO, "stopped");
    bool backups_closed = periodic_close(s);
    if (!list_is_empty(&s->dials) || !backups_closed || !persistence_close(s))
        _exit(s->status); /* a thread of the pool still uses what would be freed */
    node_free(s->node);
    return s->status;
}

/* glibc moves both by itself, as far as this, once it has got so large a block back. Before that each
 * large value and each large reply takes its pages from the kernel anew, which costs as much as all else. */
static void keep_freed_memory(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES);
    mallopt(M_TRIM_THRESHOLD, 2 * MMAP_THRESHOLD_BYTES);
#endif
}

int server_run(const struct options *options)
{
    struct server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return 1;
    s->options = options;
    s->log = (struct log){
        .level = options->log_level, .format = options->log_format, .fd = STDERR_FILENO};
    s->heap = heap_of_c_library();
    keep_freed_memory();
    list_init(&s->conns);
    list_init(&s->dials);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit (ulimit -f) is an error like a full disk */
    raise_descriptor_limit(s);
    int error = uv_loop_init(&s->loop);
    if (error != 0) {
        log_write(&s->log, LOG_LEVEL_ERROR, "cannot start the event loop: %s", uv_strerror(error));
        free(s);
        return 1;
    }
    int status = run_loop(s);
    uv_loop_close(&s->loop);
    free(s);
    return status;
}
