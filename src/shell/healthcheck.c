/* The health check: one connection, one PING, against one deadline. */
#include "healthcheck.h"

#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NOT_READY        "ERROR LOADING "
#define ANSWER_BYTES_MAX 160 /* of an answer that is looked at and shown */

struct check {
    const char *host;
    uint16_t port;
    int fd; /* owned; -1 = none */
    uint64_t deadline_ms;
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

__attribute__((format(printf, 2, 3))) static int unhealthy(const struct check *c,
                                                           const char *format, ...)
{
    char reason[2 * ANSWER_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    fprintf(stderr, "simple-kv: health check of %s port %u failed: %s\n", c->host,
            (unsigned)c->port, reason);
    return -1;
}

/* Waits until the socket is ready. 0 or -ETIMEDOUT. */
static int wait_for(const struct check *c, short events)
{
    for (;;) {
        uint64_t now = now_ms();
        if (now >= c->deadline_ms)
            return -ETIMEDOUT;
        struct pollfd ready = {.fd = c->fd, .events = events};
        if (poll(&ready, 1, (int)(c->deadline_ms - now)) > 0)
            return 0;
    }
}

static int start_connect(struct check *c, const struct addrinfo *address)
{
    c->fd = socket(address->ai_family, SOCK_STREAM, 0);
    if (c->fd < 0 || fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0)
        return -errno;
    if (connect(c->fd, address->ai_addr, address->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS && errno != EINTR)
        return -errno;
    int problem = 0;
    socklen_t size = sizeof problem;
    if (wait_for(c, POLLOUT) != 0)
        return -ETIMEDOUT;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &problem, &size) != 0)
        return -errno;
    return -problem;
}

static int connect_to_node(struct check *c)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *address = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)c->port);
    int result = getaddrinfo(c->host, port, &hints, &address);
    if (result != 0)
        return unhealthy(c, "%s", gai_strerror(result));
    result = start_connect(c, address);
    freeaddrinfo(address);
    if (result != 0)
        return unhealthy(c, "cannot connect: %s", strerror(-result));
    return 0;
}

/* Reads one line, its end cut off, into answer. */
static int read_answer(const struct check *c, char answer[ANSWER_BYTES_MAX])
{
    size_t used = 0;
    while (used < ANSWER_BYTES_MAX - 1) {
        if (wait_for(c, POLLIN) != 0)
            return unhealthy(c, "no answer within %d ms", HEALTHCHECK_TIMEOUT_MS);
        ssize_t bytes = recv(c->fd, answer + used, ANSWER_BYTES_MAX - 1 - used, 0);
        if (bytes < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (bytes < 0)
            return unhealthy(c, "cannot read the answer: %s", strerror(errno));
        if (bytes == 0)
            return unhealthy(c, "the connection was closed without an answer");
        char *end = memchr(answer + used, '\n', (size_t)bytes);
        used += (size_t)bytes;
        if (end != NULL) {
            used = (size_t)(end - answer);
            break;
        }
    }
    if (used > 0 && answer[used - 1] == '\r')
        used--;
    answer[used] = '\0';
    return 0;
}

static int ping(struct check *c)
{
    static const char PING[] = "PING\r\n";
    char answer[ANSWER_BYTES_MAX], shown[ANSWER_BYTES_MAX];
    if (connect_to_node(c) != 0)
        return -1;
    /* A new connection's send buffer takes so few bytes at once. */
    if (send(c->fd, PING, strlen(PING), MSG_NOSIGNAL) != (ssize_t)strlen(PING))
        return unhealthy(c, "cannot send PING: %s", strerror(errno));
    if (read_answer(c, answer) != 0)
        return -1;
    if (strcmp(answer, "+PONG") == 0)
        return 0;
    if (strncmp(answer, NOT_READY, strlen(NOT_READY)) == 0) {
        const char *why = answer + strlen(NOT_READY);
        escape_text(shown, sizeof shown, why, strlen(why), ESCAPE_TEXT);
        return unhealthy(c, "it is not ready: %s", shown);
    }
    escape_text(shown, sizeof shown, answer, strlen(answer), ESCAPE_TEXT);
    return unhealthy(c, "expected +PONG, got \"%s\"", shown);
}

/* The address to connect to in order to reach what listens on `bind`. */
static const char *reachable(const char *bind)
{
    /* Every way to write the IPv6 unspecified address is made of these. */
    if (strchr(bind, ':') != NULL && bind[strspn(bind, "0:")] == '\0')
        return "::1";
    return strcmp(bind, "0.0.0.0") == 0 ? "127.0.0.1" : bind;
}

int healthcheck_run(const struct options *o)
{
    struct check c = {.host = reachable(o->bind), .port = o->port, .fd = -1};
    c.deadline_ms = now_ms() + HEALTHCHECK_TIMEOUT_MS;
    int result = ping(&c);
    if (c.fd >= 0)
        close(c.fd);
    return result == 0 ? 0 : 1;
}
