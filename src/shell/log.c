/* The log: formats an event and hands it to the kernel, or drops it. */
#include "log.h"

#include "escape.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TIME_BYTES_MAX 64

static const struct {
    const char *text, *json;
} LEVELS[] = {
    [LOG_LEVEL_DEBUG] = {"DEBUG", "debug"},
    [LOG_LEVEL_INFO] = {"INFO ", "info"},
    [LOG_LEVEL_WARN] = {"WARN ", "warn"},
    [LOG_LEVEL_ERROR] = {"ERROR", "error"},
};

/* The time now, such as 2026-11-22T21:36:12.123Z. */
static void format_time(char out[TIME_BYTES_MAX])
{
    struct timespec now;
    struct tm day;
    char seconds[TIME_BYTES_MAX - 8];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &day);
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &day);
    snprintf(out, TIME_BYTES_MAX, "%s.%03uZ", seconds, (unsigned)(now.tv_nsec / 1000000) % 1000);
}

/* Composes the whole line, newline included. Returns its bytes, at most LOG_LINE_BYTES_MAX. */
static size_t compose(char line[LOG_LINE_BYTES_MAX + 1], const struct log *log,
                      enum log_level level, const char *message)
{
    const int json = log->format == LOG_FORMAT_JSON;
    const char *tail = json ? "\"}\n" : "\n";
    const size_t bytes_max = LOG_LINE_BYTES_MAX + 1 - strlen(tail);
    char now[TIME_BYTES_MAX];
    format_time(now);
    int head = json ? snprintf(line, bytes_max, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"",
                               now, LEVELS[level].json)
                    : snprintf(line, bytes_max, "%s %s ", now, LEVELS[level].text);
    size_t used = (size_t)head;
    used += escape_text(line + used, bytes_max - used, message, strlen(message),
                        json ? ESCAPE_JSON : ESCAPE_TEXT);
    memcpy(line + used, tail, strlen(tail) + 1);
    return used + strlen(tail);
}

/* A full pipe would block; one that polls writable takes PIPE_BUF (more than a line) at once. */
static void deliver(int fd, const char *line, size_t bytes)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0)
        return;
    ssize_t written;
    do {
        written = write(fd, line, bytes);
    } while (written < 0 && errno == EINTR);
}

void log_write(const struct log *log, enum log_level level, const char *format, ...)
{
    if (level < log->level)
        return;
    const int saved_errno = errno;
    /* Escaping never shortens: a message cut here is cut again, and then marked, in the line. */
    char message[LOG_LINE_BYTES_MAX];
    char line[LOG_LINE_BYTES_MAX + 1];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    size_t bytes = compose(line, log, level, size < 0 ? format : message);
    deliver(log->fd, line, bytes);
    errno = saved_errno;
}
