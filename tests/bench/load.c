/* bench-load: keeps a server busy with SET and GET, checks every reply, and says how fast it was.
 *
 * Each connection sends a batch of `--pipeline` requests, waits for all their replies, and sends
 * the next: so a latency is the round trip of one batch. One thread, epoll; speaks simple-kv's
 * line protocol, memcached's and Redis', so that both are measured by the same hand. */
#include "client.h"
#include "histogram.h"
#include "request.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX   10000
#define PIPELINE_MAX      65536
#define KEYS_MAX          UINT32_MAX
#define VALUE_BYTES_MAX   (512u << 20)
#define OUTPUT_BYTES_MAX  (1u << 30) /* batches being sent, all connections together */
#define SECONDS_MAX       86400
#define INPUT_BYTES       (256 * 1024)
#define EVENTS_MAX        64
#define SILENCE_MS        10000 /* a server that says nothing for so long is given up */
#define MIXED_GETS_OF_100 80

enum load_command { COMMAND_SET, COMMAND_GET, COMMAND_MIXED };

struct options {
    enum request_protocol protocol;
    enum load_command command;
    uint16_t port;
    size_t connections;
    size_t pipeline;
    uint64_t requests; /* 0: until `seconds` are over */
    uint64_t seconds_ns;
    uint64_t keys;
    size_t value_bytes;
    uint64_t seed;
    int sequential;
};

struct connection {
    int fd;
    int waits_to_write;
    size_t batch; /* requests in the batch under way, 0 when there is none */
    size_t replied; /* of them */
    size_t output_bytes;
    size_t output_sent;
    char *output; /* the batch, encoded */
    unsigned char *kinds; /* enum request_kind of each request in it */
    uint64_t started_ns;
    struct reply_reader reader;
};

struct load {
    struct options options;
    struct request_shape shape;
    struct connection *connections;
    int epoll;
    size_t busy; /* connections with a batch under way */
    uint64_t requests_begun;
    uint64_t random;
    uint64_t deadline_ns; /* UINT64_MAX: none */
    uint64_t operations;
    uint64_t misses;
    uint64_t errors;
    struct histogram latency;
    char input[INPUT_BYTES];
};

static const char usage[] =
    "usage: bench-load --port N [options]\n"
    "  --protocol line|memcached|redis  what the server speaks (line)\n"
    "  --command set|get|mixed    mixed: 80 of 100 are GETs (set)\n"
    "  --connections N            (50)\n"
    "  --pipeline N               requests sent before their replies are awaited (1)\n"
    "  --requests N               end after N requests, or\n"
    "  --seconds S                after S seconds, which may be a fraction (1)\n"
    "  --keys N                   keys are key:000000000000 to N-1, drawn at random (1000000)\n"
    "  --sequential               keys in order instead, each once and then again\n"
    "  --value-bytes N            (16)\n"
    "  --seed N                   of the random keys (1)\n"
    "Prints one line of name=value to stdout; exit status 1 if any reply was wrong.\n";

static enum request_kind next_kind(struct load *load)
{
    if (load->options.command == COMMAND_MIXED)
        return client_random(&load->random) % 100 < MIXED_GETS_OF_100 ? REQUEST_GET : REQUEST_SET;
    return load->options.command == COMMAND_GET ? REQUEST_GET : REQUEST_SET;
}

static uint64_t next_key(struct load *load)
{
    if (load->options.sequential)
        return load->requests_begun % load->options.keys;
    return ((client_random(&load->random) >> 32) * load->options.keys) >> 32;
}

static void wait_to_write(struct load *load, struct connection *c, int wait)
{
    struct epoll_event event = {.events = EPOLLIN | (wait ? EPOLLOUT : 0), .data.ptr = c};

    if (c->waits_to_write == wait)
        return;
    if (epoll_ctl(load->epoll, EPOLL_CTL_MOD, c->fd, &event) != 0)
        client_fail("epoll_ctl: %s", strerror(errno));
    c->waits_to_write = wait;
}

static void connection_write(struct load *load, struct connection *c)
{
    while (c->output_sent < c->output_bytes) {
        ssize_t sent =
            send(c->fd, c->output + c->output_sent, c->output_bytes - c->output_sent, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            client_fail("send: %s", strerror(errno));
        if (sent < 0)
            break;
        c->output_sent += (size_t)sent;
    }
    wait_to_write(load, c, c->output_sent < c->output_bytes);
}

/* Sends the next batch, unless the work or the time is over. */
static void connection_begin(struct load *load, struct connection *c, uint64_t now_ns)
{
    size_t batch = load->options.pipeline;

    if (load->options.requests > 0 && load->options.requests - load->requests_begun < batch)
        batch = (size_t)(load->options.requests - load->requests_begun);
    if (now_ns >= load->deadline_ns)
        batch = 0;
    c->batch = batch;
    c->replied = 0;
    c->output_bytes = 0;
    c->output_sent = 0;
    if (batch == 0)
        return;
    for (size_t i = 0; i < batch; i++) {
        enum request_kind kind = next_kind(load);
        c->kinds[i] = (unsigned char)kind;
        c->output_bytes +=
            request_encode(&load->shape, kind, next_key(load), c->output + c->output_bytes);
        load->requests_begun++;
    }
    load->busy++;
    c->started_ns = client_now_ns();
    connection_write(load, c);
}

static void count_error(struct load *load, const struct reply_reader *reader)
{
    int bytes = (int)reader->text_bytes;

    while (bytes > 0 && (reader->text[bytes - 1] == '\n' || reader->text[bytes - 1] == '\r'))
        bytes--;
    if (load->errors++ == 0)
        fprintf(stderr, "bench: first wrong reply: %.*s\n", bytes, reader->text);
}

static void replies_read(struct load *load, struct connection *c, const char *at, size_t bytes)
{
    while (bytes > 0) {
        enum reply outcome;
        if (c->replied == c->batch)
            client_fail("the server sent more than it was asked for: %.*s", (int)bytes, at);
        size_t consumed = reply_read(&c->reader, &load->shape,
                                     (enum request_kind)c->kinds[c->replied], at, bytes, &outcome);
        at += consumed;
        bytes -= consumed;
        if (outcome == REPLY_PARTIAL)
            continue;
        c->replied++;
        load->operations++;
        if (outcome == REPLY_MISS)
            load->misses++;
        if (outcome == REPLY_ERROR)
            count_error(load, &c->reader);
    }
}

static void connection_read(struct load *load, struct connection *c)
{
    ssize_t bytes = recv(c->fd, load->input, sizeof load->input, 0);

    if (bytes < 0 && errno == EAGAIN)
        return;
    if (bytes < 0)
        client_fail("recv: %s", strerror(errno));
    if (bytes == 0)
        client_fail("the server closed the connection, %zu replies short", c->batch - c->replied);
    replies_read(load, c, load->input, (size_t)bytes);
    if (c->replied == c->batch) {
        uint64_t now_ns = client_now_ns();
        histogram_add(&load->latency, now_ns - c->started_ns);
        load->busy--;
        connection_begin(load, c, now_ns);
    }
}

static void connections_open(struct load *load)
{
    const struct options *o = &load->options;

    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->connections = calloc(o->connections, sizeof *load->connections);
    if (load->epoll < 0 || load->connections == NULL)
        client_fail("cannot start: %s", strerror(errno));
    for (size_t i = 0; i < o->connections; i++) {
        struct connection *c = &load->connections[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        c->fd = client_connect(o->port);
        c->output = malloc(o->pipeline * load->shape.bytes_max);
        c->kinds = malloc(o->pipeline);
        if (c->output == NULL || c->kinds == NULL)
            client_fail("out of memory");
        if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0 ||
            epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
            client_fail("cannot start: %s", strerror(errno));
    }
}

static void connections_close(struct load *load)
{
    for (size_t i = 0; i < load->options.connections; i++) {
        close(load->connections[i].fd);
        free(load->connections[i].output);
        free(load->connections[i].kinds);
    }
    free(load->connections);
    close(load->epoll);
}

/* Returns the nanoseconds it took. */
static uint64_t load_run(struct load *load)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t started_ns = client_now_ns();

    if (load->options.requests == 0)
        load->deadline_ns = started_ns + load->options.seconds_ns;
    for (size_t i = 0; i < load->options.connections; i++)
        connection_begin(load, &load->connections[i], started_ns);
    while (load->busy > 0) {
        int ready = epoll_wait(load->epoll, events, EVENTS_MAX, SILENCE_MS);
        if (ready < 0 && errno != EINTR)
            client_fail("epoll_wait: %s", strerror(errno));
        if (ready == 0)
            client_fail("no reply for %d s", SILENCE_MS / 1000);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->waits_to_write && (events[i].events & EPOLLOUT))
                connection_write(load, c);
            if (events[i].events & ~(uint32_t)EPOLLOUT)
                connection_read(load, c);
        }
    }
    return client_now_ns() - started_ns;
}

static void load_report(const struct load *load, uint64_t took_ns)
{
    double seconds = (double)took_ns / 1e9;

    printf("operations=%" PRIu64 " seconds=%.6f ops_per_second=%.0f p50_us=%.1f p99_us=%.1f "
           "p999_us=%.1f misses=%" PRIu64 " errors=%" PRIu64 "\n",
           load->operations, seconds, (double)load->operations / seconds,
           histogram_us(&load->latency, 0.50), histogram_us(&load->latency, 0.99),
           histogram_us(&load->latency, 0.999), load->misses, load->errors);
}

/* The place of `text` in `words`; ends the program with one line if it is not there. */
static int option_word(const char *option, const char *text, const char *const *words)
{
    for (int i = 0; words[i] != NULL; i++)
        if (strcmp(words[i], text) == 0)
            return i;
    fprintf(stderr, "bench: --%s %s: must be one of:", option, text);
    for (int i = 0; words[i] != NULL; i++)
        fprintf(stderr, " %s", words[i]);
    fputc('\n', stderr);
    exit(2);
}

static uint64_t option_seconds_ns(const char *text)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end != '\0' || !(seconds > 0 && seconds <= SECONDS_MAX)) {
        fprintf(stderr, "bench: --seconds %s: must be above 0 and at most %d\n", text, SECONDS_MAX);
        exit(2);
    }
    return (uint64_t)(seconds * 1e9);
}

static void option_set(struct options *o, char letter, const char *name, const char *text)
{
    static const char *const protocols[] = {"line", "memcached", "redis", NULL};
    static const char *const commands[] = {"set", "get", "mixed", NULL};

    if (letter == 'p')
        o->port = (uint16_t)client_number(name, text, 1, 65535);
    else if (letter == 'P')
        o->protocol = (enum request_protocol)option_word(name, text, protocols);
    else if (letter == 'c')
        o->command = (enum load_command)option_word(name, text, commands);
    else if (letter == 'n')
        o->connections = client_number(name, text, 1, CONNECTIONS_MAX);
    else if (letter == 'b')
        o->pipeline = client_number(name, text, 1, PIPELINE_MAX);
    else if (letter == 'r')
        o->requests = client_number(name, text, 1, UINT64_MAX);
    else if (letter == 't')
        o->seconds_ns = option_seconds_ns(text);
    else if (letter == 'k')
        o->keys = client_number(name, text, 1, KEYS_MAX);
    else if (letter == 'v')
        o->value_bytes = client_number(name, text, 1, VALUE_BYTES_MAX);
    else if (letter == 's')
        o->seed = client_number(name, text, 0, UINT64_MAX);
    else
        o->sequential = 1;
}

static void options_read(struct options *o, int argc, char **argv)
{
    static const struct option known[] = {{"port", required_argument, NULL, 'p'},
                                          {"protocol", required_argument, NULL, 'P'},
                                          {"command", required_argument, NULL, 'c'},
                                          {"connections", required_argument, NULL, 'n'},
                                          {"pipeline", required_argument, NULL, 'b'},
                                          {"requests", required_argument, NULL, 'r'},
                                          {"seconds", required_argument, NULL, 't'},
                                          {"keys", required_argument, NULL, 'k'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"value-bytes", required_argument, NULL, 'v'},
                                          {"sequential", no_argument, NULL, 'q'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int letter;
    int at;

    while ((letter = getopt_long(argc, argv, "", known, &at)) != -1) {
        if (letter == 'h') {
            fputs(usage, stdout);
            exit(0);
        }
        if (letter == '?')
            exit(2);
        option_set(o, (char)letter, known[at].name, optarg);
    }
    if (o->port == 0 || optind != argc) {
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct load *load = calloc(1, sizeof *load);

    if (load == NULL)
        client_fail("out of memory");
    load->options = (struct options){.connections = 50,
                                     .pipeline = 1,
                                     .seconds_ns = 1000000000,
                                     .keys = 1000000,
                                     .value_bytes = 16,
                                     .seed = 1};
    struct options *o = &load->options;
    options_read(o, argc, argv);
    load->random = o->seed;
    load->deadline_ns = UINT64_MAX;
    if (request_shape_init(&load->shape, o->protocol, o->value_bytes) != 0)
        client_fail("out of memory");
    if (o->connections * o->pipeline > OUTPUT_BYTES_MAX / load->shape.bytes_max)
        client_fail("connections * pipeline * request bytes must be at most %u", OUTPUT_BYTES_MAX);
    connections_open(load);
    load_report(load, load_run(load));
    int status = load->errors > 0;
    connections_close(load);
    request_shape_free(&load->shape);
    free(load);
    return status;
}
