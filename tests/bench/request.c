/* SET and GET as bytes, and what came back: see request.h. */
#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Values are all 'v': no reply of a protocol begins with it but a value. */
#define VALUE_BYTE 'v'

static char *set_tail(enum request_protocol protocol, size_t value_bytes, size_t *tail_bytes)
{
    char before[40];
    static const char *const formats[] = {[REQUEST_LINE] = " ",
                                          [REQUEST_MEMCACHED] = " 0 0 %zu\r\n",
                                          [REQUEST_REDIS] = "\r\n$%zu\r\n"};
    const char *after = protocol == REQUEST_LINE ? "\n" : "\r\n";
    int before_bytes = snprintf(before, sizeof before, formats[protocol], value_bytes);
    char *tail = malloc((size_t)before_bytes + value_bytes + strlen(after));

    if (tail == NULL)
        return NULL;
    memcpy(tail, before, (size_t)before_bytes);
    memset(tail + before_bytes, VALUE_BYTE, value_bytes);
    memcpy(tail + (size_t)before_bytes + value_bytes, after, strlen(after));
    *tail_bytes = (size_t)before_bytes + value_bytes + strlen(after);
    return tail;
}

int request_shape_init(struct request_shape *shape, enum request_protocol protocol,
                       size_t value_bytes)
{
    static const char *const heads[][REQUEST_KINDS] = {
        [REQUEST_LINE] = {"SET key:", "GET key:"},
        [REQUEST_MEMCACHED] = {"set key:", "get key:"},
        [REQUEST_REDIS] = {"*3\r\n$3\r\nSET\r\n$16\r\nkey:", "*2\r\n$3\r\nGET\r\n$16\r\nkey:"}};
    int line = protocol == REQUEST_LINE;

    memset(shape, 0, sizeof *shape);
    shape->protocol = protocol;
    shape->value_bytes = value_bytes;
    for (int kind = 0; kind < REQUEST_KINDS; kind++) {
        shape->head[kind] = heads[protocol][kind];
        shape->head_bytes[kind] = strlen(heads[protocol][kind]);
    }
    shape->tail[REQUEST_SET] = set_tail(protocol, value_bytes, &shape->tail_bytes[REQUEST_SET]);
    shape->tail[REQUEST_GET] = strdup(line ? "\n" : "\r\n");
    if (shape->tail[REQUEST_SET] == NULL || shape->tail[REQUEST_GET] == NULL) {
        request_shape_free(shape);
        return -1;
    }
    shape->tail_bytes[REQUEST_GET] = strlen(shape->tail[REQUEST_GET]);
    shape->bytes_max =
        shape->head_bytes[REQUEST_SET] + REQUEST_KEY_DIGITS + shape->tail_bytes[REQUEST_SET];
    return 0;
}

void request_shape_free(struct request_shape *shape)
{
    for (int kind = 0; kind < REQUEST_KINDS; kind++)
        free(shape->tail[kind]);
}

size_t request_encode(const struct request_shape *shape, enum request_kind kind, uint64_t key,
                      char *to)
{
    size_t head_bytes = shape->head_bytes[kind];
    char *digits = to + head_bytes;

    memcpy(to, shape->head[kind], head_bytes);
    for (int i = REQUEST_KEY_DIGITS - 1; i >= 0; i--) {
        digits[i] = (char)('0' + key % 10);
        key /= 10;
    }
    memcpy(digits + REQUEST_KEY_DIGITS, shape->tail[kind], shape->tail_bytes[kind]);
    return head_bytes + REQUEST_KEY_DIGITS + shape->tail_bytes[kind];
}

static int starts(const char *line, size_t bytes, const char *with)
{
    return bytes >= 2 && line[0] == with[0] && line[1] == with[1];
}

/* A whole line of simple-kv: `line` is its beginning, line_bytes its length with the newline. */
static enum reply line_reply(const struct request_shape *shape, enum request_kind kind,
                             const char *line, size_t bytes, size_t line_bytes)
{
    if (kind == REQUEST_SET)
        return starts(line, bytes, "OK") ? REPLY_DONE : REPLY_ERROR;
    if (line[0] == VALUE_BYTE && line_bytes == shape->value_bytes + 1)
        return REPLY_DONE;
    return starts(line, bytes, "NO") ? REPLY_MISS : REPLY_ERROR;
}

/* The same of memcached, where a value comes as three lines. */
static enum reply memcached_reply(struct reply_reader *reader, const struct request_shape *shape,
                                  enum request_kind kind, const char *line, size_t bytes,
                                  size_t line_bytes)
{
    if (kind == REQUEST_SET)
        return starts(line, bytes, "ST") ? REPLY_DONE : REPLY_ERROR;
    if (reader->lines_left == 2) {
        reader->wrong = line[0] != VALUE_BYTE || line_bytes != shape->value_bytes + 2;
        reader->lines_left = 1;
        return REPLY_PARTIAL;
    }
    if (reader->lines_left == 1) {
        reader->lines_left = 0;
        return !reader->wrong && starts(line, bytes, "EN") ? REPLY_DONE : REPLY_ERROR;
    }
    if (starts(line, bytes, "VA")) {
        reader->lines_left = 2;
        return REPLY_PARTIAL;
    }
    /* "END" and "ERROR" differ in their second byte. */
    return starts(line, bytes, "EN") ? REPLY_MISS : REPLY_ERROR;
}

/* And of Redis, where it comes as two. */
static enum reply redis_reply(struct reply_reader *reader, const struct request_shape *shape,
                              enum request_kind kind, const char *line, size_t bytes,
                              size_t line_bytes)
{
    if (kind == REQUEST_SET)
        return starts(line, bytes, "+O") ? REPLY_DONE : REPLY_ERROR;
    if (reader->lines_left == 1) {
        reader->lines_left = 0;
        return line[0] == VALUE_BYTE && line_bytes == shape->value_bytes + 2 ? REPLY_DONE
                                                                             : REPLY_ERROR;
    }
    if (starts(line, bytes, "$-"))
        return REPLY_MISS;
    if (line[0] != '$')
        return REPLY_ERROR;
    reader->lines_left = 1;
    return REPLY_PARTIAL;
}

static void keep_text(struct reply_reader *reader, const char *from, size_t bytes)
{
    size_t room = sizeof reader->text - reader->text_bytes;
    size_t kept = bytes < room ? bytes : room;

    memcpy(reader->text + reader->text_bytes, from, kept);
    reader->text_bytes += kept;
}

size_t reply_read(struct reply_reader *reader, const struct request_shape *shape,
                  enum request_kind kind, const char *from, size_t bytes, enum reply *outcome)
{
    const char *newline = memchr(from, '\n', bytes);
    size_t consumed = newline == NULL ? bytes : (size_t)(newline - from) + 1;
    int whole = newline != NULL && reader->line_bytes == 0;

    if (reader->line_bytes == 0)
        reader->text_bytes = 0;
    if (!whole)
        keep_text(reader, from, consumed);
    reader->line_bytes += consumed;
    if (newline == NULL) {
        *outcome = REPLY_PARTIAL;
        return consumed;
    }
    /* Nearly every line comes whole; only the others are judged by their kept beginning. */
    const char *line = whole ? from : reader->text;
    size_t line_kept = whole ? consumed : reader->text_bytes;
    if (shape->protocol == REQUEST_LINE)
        *outcome = line_reply(shape, kind, line, line_kept, reader->line_bytes);
    else if (shape->protocol == REQUEST_MEMCACHED)
        *outcome = memcached_reply(reader, shape, kind, line, line_kept, reader->line_bytes);
    else
        *outcome = redis_reply(reader, shape, kind, line, line_kept, reader->line_bytes);
    if (*outcome == REPLY_ERROR && whole)
        keep_text(reader, from, consumed);
    reader->line_bytes = 0;
    return consumed;
}
