/* bench-delay: how long until a write on one node is visible on the others.
 *
 * Sends a SET to one node and from that moment asks all the others, again and again on open
 * connections, until each answers with the new value. The delay therefore holds what a client would
 * see, so at least half a round trip to the writer and one to the reader. For comparison the plain
 * round trip of the SET itself is reported too. Line protocol. */
#include "client.h"
#include "histogram.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READERS_MAX      16
#define WRITES_MAX       10000000
#define LINE_BYTES       256
#define VALUE_TEXT_BYTES 24
#define DEADLINE_NS      UINT64_C(5000000000)
#define SILENCE_MS       5000
#define PAUSE_NS_MAX     2000000

/* A connection with at most one request under way. */
struct node {
    int fd;
    uint16_t port;
    size_t line_bytes;
    char line[LINE_BYTES];
};

struct delay {
    struct node writer;
    struct node readers[READERS_MAX];
    size_t readers_count;
    uint64_t writes;
    uint64_t random;
    uint64_t polls;
    struct histogram visible;
    struct histogram written;
};

static const char usage[] =
    "usage: bench-delay --write PORT --read PORT [--read PORT …] [--writes N] [--seed N]\n"
    "Writes N times (2000) to one node and polls the others until all of them show it.\n"
    "Prints one line of name=value to stdout.\n";

static void node_send(struct node *node, const char *line)
{
    size_t bytes = strlen(line);
    ssize_t sent = send(node->fd, line, bytes, MSG_NOSIGNAL);

    if (sent < 0)
        client_fail("port %u: send: %s", node->port, strerror(errno));
    if ((size_t)sent != bytes)
        client_fail("port %u: took only a part of a short line", node->port);
}

/* Waits for the reply line, which stays in node->line without its end. */
static void node_receive(struct node *node)
{
    struct pollfd poll_fd = {.fd = node->fd, .events = POLLIN};
    char *newline;

    node->line_bytes = 0;
    do {
        size_t room = sizeof node->line - node->line_bytes;
        if (room == 0)
            client_fail("port %u: a reply that is no reply: %.60s", node->port, node->line);
        if (poll(&poll_fd, 1, SILENCE_MS) == 0)
            client_fail("port %u: no reply for %d s", node->port, SILENCE_MS / 1000);
        ssize_t bytes = recv(node->fd, node->line + node->line_bytes, room, 0);
        if (bytes <= 0)
            client_fail("port %u: connection lost", node->port);
        node->line_bytes += (size_t)bytes;
        newline = memchr(node->line, '\n', node->line_bytes);
    } while (newline == NULL);
    *newline = '\0';
}

/* Asks all that do not show it yet at once, so that one more reader is not one more round trip. */
static void wait_until_visible(struct delay *delay, const char *value, uint64_t sent_ns)
{
    int shows[READERS_MAX] = {0};
    size_t missing = delay->readers_count;

    while (missing > 0) {
        for (size_t i = 0; i < delay->readers_count; i++)
            if (!shows[i])
                node_send(&delay->readers[i], "GET bench:delay\n");
        for (size_t i = 0; i < delay->readers_count; i++) {
            if (shows[i])
                continue;
            node_receive(&delay->readers[i]);
            delay->polls++;
            shows[i] = strcmp(delay->readers[i].line, value) == 0;
            missing -= (size_t)shows[i];
        }
        if (missing > 0 && client_now_ns() - sent_ns > DEADLINE_NS)
            client_fail("%s was not visible on every node after 5 s", value);
    }
}

static void write_once(struct delay *delay, uint64_t number)
{
    char set[LINE_BYTES], value[VALUE_TEXT_BYTES];

    snprintf(value, sizeof value, "%" PRIu64, number);
    snprintf(set, sizeof set, "SET bench:delay %s\n", value);

    uint64_t sent_ns = client_now_ns();
    node_send(&delay->writer, set);
    wait_until_visible(delay, value, sent_ns);
    histogram_add(&delay->visible, client_now_ns() - sent_ns);
    node_receive(&delay->writer);
    if (strcmp(delay->writer.line, "OK") != 0)
        client_fail("port %u: SET answered %.60s", delay->writer.port, delay->writer.line);
}

/* The same write with nobody polling: the part of the delay that any SET costs its client. */
static void write_alone(struct delay *delay)
{
    uint64_t sent_ns = client_now_ns();

    node_send(&delay->writer, "SET bench:alone v\n");
    node_receive(&delay->writer);
    histogram_add(&delay->written, client_now_ns() - sent_ns);
}

/* A pause of random length: without it the polling would fall into step with the servers. */
static void pause_briefly(struct delay *delay)
{
    struct timespec pause = {.tv_nsec = (long)(client_random(&delay->random) % PAUSE_NS_MAX)};

    nanosleep(&pause, NULL);
}

static void node_open(struct node *node)
{
    node->fd = client_connect(node->port);
}

static void options_read(struct delay *delay, int argc, char **argv)
{
    static const struct option known[] = {
        {"write", required_argument, NULL, 'w'},  {"read", required_argument, NULL, 'r'},
        {"writes", required_argument, NULL, 'n'}, {"seed", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    int letter;

    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (letter == 'w') {
            delay->writer.port = (uint16_t)client_number("write", optarg, 1, 65535);
        } else if (letter == 'r' && delay->readers_count < READERS_MAX) {
            struct node *reader = &delay->readers[delay->readers_count++];
            reader->port = (uint16_t)client_number("read", optarg, 1, 65535);
        } else if (letter == 'n') {
            delay->writes = client_number("writes", optarg, 1, WRITES_MAX);
        } else if (letter == 's') {
            delay->random = client_number("seed", optarg, 0, UINT64_MAX);
        } else {
            fputs(usage, letter == 'h' ? stdout : stderr);
            exit(letter == 'h' ? 0 : 2);
        }
    }
    if (delay->writer.port == 0 || delay->readers_count == 0 || optind != argc) {
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct delay *delay = calloc(1, sizeof *delay);

    if (delay == NULL)
        client_fail("out of memory");
    delay->writes = 2000;
    options_read(delay, argc, argv);
    node_open(&delay->writer);
    for (size_t i = 0; i < delay->readers_count; i++)
        node_open(&delay->readers[i]);
    /* Counting on from the clock: an earlier run's last value is never taken for this run's. */
    uint64_t first = client_now_ns();
    for (uint64_t i = 0; i < delay->writes; i++) {
        pause_briefly(delay);
        write_once(delay, first + i);
        pause_briefly(delay);
        write_alone(delay);
    }
    printf("writes=%" PRIu64 " readers=%zu p50_us=%.1f p99_us=%.1f polls_per_write=%.2f "
           "set_p50_us=%.1f set_p99_us=%.1f\n",
           delay->writes, delay->readers_count, histogram_us(&delay->visible, 0.50),
           histogram_us(&delay->visible, 0.99), (double)delay->polls / (double)delay->writes,
           histogram_us(&delay->written, 0.50), histogram_us(&delay->written, 0.99));
    free(delay);
    return 0;
}
