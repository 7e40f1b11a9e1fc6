/* SET and GET as bytes, and what came back: simple-kv's line protocol, memcached's text one, Redis'.
 *
 *   line        SET key:000000123456 vvvv…\n               OK\n
 *               GET key:000000123456\n                     vvvv…\n | NOT_FOUND\n
 *   memcached   set key:000000123456 0 0 16\r\nvvvv…\r\n   STORED\r\n
 *               get key:000000123456\r\n                   VALUE … 16\r\nvvvv…\r\nEND\r\n | END\r\n
 *
 *   redis       *3\r\n$3\r\nSET\r\n$16\r\nkey:000000123456\r\n$16\r\nvvvv…\r\n   +OK\r\n
 *               *2\r\n$3\r\nGET\r\n$16\r\nkey:000000123456\r\n     $16\r\nvvvv…\r\n | $-1\r\n
 *
 * All requests of a kind have the same bytes but for the twelve digits, so a request is made by
 * copying: the load generator must not be slower than the servers it measures. */
#ifndef BENCH_REQUEST_H
#define BENCH_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#define REQUEST_KEY_DIGITS 12
#define REQUEST_TEXT_MAX   80

enum request_protocol { REQUEST_LINE, REQUEST_MEMCACHED, REQUEST_REDIS };
enum request_kind { REQUEST_SET, REQUEST_GET, REQUEST_KINDS };

/* What every request has around its key's digits. */
struct request_shape {
    enum request_protocol protocol;
    size_t value_bytes;
    const char *head[REQUEST_KINDS]; /* not owned */
    size_t head_bytes[REQUEST_KINDS];
    char *tail[REQUEST_KINDS];
    size_t tail_bytes[REQUEST_KINDS];
    size_t bytes_max; /* of the longest request */
};

enum reply {
    REPLY_PARTIAL, /* more bytes are needed */
    REPLY_DONE, /* stored, or a value of the right length */
    REPLY_MISS, /* no such key */
    REPLY_ERROR /* anything else: reply_reader.text says what */
};

/* One connection's place within a reply that has not come whole. All zero bytes at first. */
struct reply_reader {
    size_t line_bytes; /* of the line so far */
    size_t text_bytes; /* of its beginning, kept in text if it came in parts or is an error */
    unsigned lines_left; /* memcached, Redis: lines still to come after the first of a value */
    int wrong; /* the data line was not the value */
    char text[REQUEST_TEXT_MAX];
};

/* value_bytes  1 or more.
 * Returns      0, or -1 out of memory. Free with request_shape_free. */
int request_shape_init(struct request_shape *shape, enum request_protocol protocol,
                       size_t value_bytes);
void request_shape_free(struct request_shape *shape);

/* Writes a request for key number `key` (below 10^12) to `to`, which has room for
 * shape->bytes_max. Returns its bytes. */
size_t request_encode(const struct request_shape *shape, enum request_kind kind, uint64_t key,
                      char *to);

/* Consumes at most one line of a reply to a request of `kind` and says in *outcome how far it
 * has come. `bytes` at least 1. Returns the bytes consumed. */
size_t reply_read(struct reply_reader *reader, const struct request_shape *shape,
                  enum request_kind kind, const char *from, size_t bytes, enum reply *outcome);

#endif
