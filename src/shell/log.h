/* The log: one event, one line, one write to standard error.
 *
 *   text   2026-11-22T21:36:12.123Z INFO  listening on 127.0.0.1:8080
 *   json   {"time":"2026-11-22T21:36:12.123Z","level":"info","message":"listening on …"} */
#ifndef SHELL_LOG_H
#define SHELL_LOG_H

#define LOG_LINE_BYTES_MAX 1024 /* with the newline */

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* A plain value, no resources: fill it in, copy it, drop it. */
struct log {
    enum log_level level; /* less severe events are not written */
    enum log_format format;
    int fd; /* borrowed; usually STDERR_FILENO */
};

/* Write one event, the time in UTC before it.
 *
 * log      borrowed; not changed.
 * format   as printf, without a newline at its end. Whatever its arguments hold, the result is one
 *          line of valid UTF-8: control bytes and broken UTF-8 are escaped. A line longer than
 *          LOG_LINE_BYTES_MAX is cut and ends in an ellipsis (still valid JSON).
 * Errors   none. An event that the descriptor cannot take now (a pipe that nobody reads is full)
 *          or ever (closed) is lost: the log never holds up the loop. errno is left as it was.
 *          The process must ignore SIGPIPE. */
__attribute__((format(printf, 3, 4))) void log_write(const struct log *log, enum log_level level,
                                                     const char *format, ...);

#endif
