/* Replies in the line protocol's form: one line each; one that has more lines begins with their
 * number. */
#include "kv/reply.h"

#include "kv/line.h"

#include <stdarg.h>
#include <stdio.h>

#define REASON_BYTES_MAX 512

void reply_ok(struct reply *r)
{
    buffer_append_text(r->out, "OK\n");
}

void reply_pong(struct reply *r)
{
    /* The + is what load balancers' Redis checks look for. */
    buffer_append_text(r->out, "+PONG\n");
}

void reply_goodbye(struct reply *r)
{
    buffer_append_text(r->out, "+OK\n");
}

void reply_value(struct reply *r, struct bytes value)
{
    uint8_t *at = buffer_reserve(r->out, value.size + 1);
    if (at == NULL)
        return;
    if (value.size > 0)
        memcpy(at, value.data, value.size);
    at[value.size] = '\n';
    buffer_added(r->out, value.size + 1);
}

void reply_missing(struct reply *r)
{
    buffer_append_text(r->out, "NOT_FOUND\n");
}

void reply_number(struct reply *r, int64_t number)
{
    buffer_append_i64(r->out, number);
    buffer_append_text(r->out, "\n");
}

void reply_list(struct reply *r, uint64_t count)
{
    buffer_append_u64(r->out, count);
    buffer_append_text(r->out, "\n");
}

void reply_key(struct reply *r, struct bytes key)
{
    line_append_key(r->out, key);
    buffer_append_text(r->out, "\n");
}

void reply_text(struct reply *r, struct bytes lines)
{
    uint64_t count = 0;
    for (size_t i = 0; i < lines.size; i++)
        count += lines.data[i] == '\n';
    reply_list(r, count);
    buffer_append(r->out, lines);
}

void reply_error(struct reply *r, const char *format, ...)
{
    char reason[REASON_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    /* It may quote what a client sent, and is one line all the same. */
    for (char *c = reason; *c != 0; c++) {
        if ((unsigned char)*c < ' ')
            *c = '?';
    }
    buffer_append_text(r->out, "ERROR ");
    buffer_append_text(r->out, reason);
    buffer_append_text(r->out, "\n");
}
