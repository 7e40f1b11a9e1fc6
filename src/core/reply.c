/* Replies as lines and as RESP. In both, what is written is written once, in the end; only the number of
 * lines that a list takes is known when they are there. */
#include "kv/reply.h"

#include "kv/check.h"
#include "kv/line.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define REASON_BYTES_MAX 512

static bool is_line(const struct reply *r)
{
    return r->form == REPLY_LINE;
}

/* --- lists, as lines ----------------------------------------------------------------------- */

/* Puts the number of lines before the first of them. */
static void end_outermost(struct reply *r)
{
    char number[24];
    size_t digits = (size_t)snprintf(number, sizeof number, "%" PRIu64 "\n", r->lines);
    if (buffer_reserve(r->out, digits) == NULL)
        return;
    uint8_t *begin = r->out->data + r->out->start + r->begun;
    memmove(begin + digits, begin, buffer_size(r->out) - r->begun);
    memcpy(begin, number, digits);
    buffer_added(r->out, digits);
}

/* One element is complete, and with it perhaps the lists that it ends. */
static void element_done(struct reply *r, uint64_t lines)
{
    if (r->depth == 0)
        return;
    r->lines += lines;
    while (r->depth > 0 && --r->left[r->depth - 1] == 0)
        r->depth--;
    if (r->depth == 0)
        end_outermost(r);
}

static void begin_lines(struct reply *r, uint64_t count)
{
    if (count == 0) {
        if (r->depth == 0)
            buffer_append_text(r->out, "0\n");
        element_done(r, 0);
        return;
    }
    if (r->depth == 0) {
        r->begun = buffer_size(r->out);
        r->lines = 0;
    }
    CHECK(r->depth < REPLY_DEPTH_MAX);
    r->left[r->depth++] = count;
}

static void end_line(struct reply *r)
{
    buffer_append_text(r->out, "\n");
    element_done(r, 1);
}

static void line_of_text(struct reply *r, const char *text)
{
    buffer_append_text(r->out, text);
    end_line(r);
}

/* --- RESP ---------------------------------------------------------------------------------- */

/* Written by hand: it is part of every reply. */
static void append_length(struct buffer *out, char type, uint64_t number)
{
    uint8_t *at = buffer_reserve(out, 24);
    if (at == NULL)
        return;
    uint8_t digits[20];
    size_t count = 0, size = 0;
    at[size++] = (uint8_t)type;
    do {
        digits[count++] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0)
        at[size++] = digits[--count];
    at[size++] = '\r';
    at[size++] = '\n';
    buffer_added(out, size);
}

static void append_bulk(struct buffer *out, struct bytes value)
{
    append_length(out, '$', value.size);
    uint8_t *at = buffer_reserve(out, value.size + 2);
    if (at == NULL)
        return;
    if (value.size > 0)
        memcpy(at, value.data, value.size);
    memcpy(at + value.size, "\r\n", 2);
    buffer_added(out, value.size + 2);
}

static void append_null(struct reply *r, const char *resp2)
{
    buffer_append_text(r->out, r->form == REPLY_RESP3 ? "_\r\n" : resp2);
}

/* --- one element --------------------------------------------------------------------------- */

void reply_ok(struct reply *r)
{
    if (is_line(r))
        line_of_text(r, "OK");
    else
        buffer_append_text(r->out, "+OK\r\n");
}

void reply_status(struct reply *r, const char *text)
{
    if (is_line(r)) {
        line_of_text(r, text);
        return;
    }
    buffer_append_text(r->out, "+");
    buffer_append_text(r->out, text);
    buffer_append_text(r->out, "\r\n");
}

void reply_known_status(struct reply *r, const char *known, const char *people)
{
    reply_status(r, is_line(r) ? people : known);
}

void reply_pong(struct reply *r)
{
    /* The + is what load balancers' Redis checks look for; redis-benchmark looks for \r\n, too. */
    reply_known_status(r, "PONG", r->returns ? "+PONG\r" : "+PONG");
}

void reply_goodbye(struct reply *r)
{
    reply_known_status(r, "OK", r->returns ? "+OK\r" : "+OK");
}

void reply_value(struct reply *r, struct bytes value)
{
    if (is_line(r)) {
        buffer_append(r->out, value);
        end_line(r);
    } else {
        append_bulk(r->out, value);
    }
}

void reply_value_text(struct reply *r, const char *text)
{
    reply_value(r, bytes_text(text));
}

void reply_key(struct reply *r, struct bytes key)
{
    if (is_line(r)) {
        line_append_key(r->out, key);
        end_line(r);
    } else {
        append_bulk(r->out, key);
    }
}

void reply_missing(struct reply *r)
{
    if (is_line(r))
        line_of_text(r, "NOT_FOUND");
    else
        append_null(r, "$-1\r\n");
}

void reply_missing_list(struct reply *r)
{
    if (is_line(r))
        line_of_text(r, "NOT_FOUND");
    else
        append_null(r, "*-1\r\n");
}

void reply_number(struct reply *r, int64_t number)
{
    if (is_line(r)) {
        buffer_append_i64(r->out, number);
        end_line(r);
    } else if (number >= 0) {
        append_length(r->out, ':', (uint64_t)number);
    } else {
        buffer_append_text(r->out, ":");
        buffer_append_i64(r->out, number);
        buffer_append_text(r->out, "\r\n");
    }
}

/* --- several ------------------------------------------------------------------------------- */

static void begin(struct reply *r, char type, uint64_t count)
{
    if (is_line(r))
        begin_lines(r, count);
    else
        append_length(r->out, type, count);
}

void reply_list(struct reply *r, uint64_t count)
{
    begin(r, '*', count);
}

void reply_set(struct reply *r, uint64_t count)
{
    begin(r, r->form == REPLY_RESP3 ? '~' : '*', count);
}

void reply_map(struct reply *r, uint64_t count)
{
    if (r->form == REPLY_RESP3)
        begin(r, '%', count);
    else
        begin(r, '*', 2 * count);
}

static void append_text_lines(struct reply *r, struct bytes lines)
{
    uint64_t count = 0;
    for (size_t i = 0; i < lines.size; i++)
        count += lines.data[i] == '\n';
    if (r->depth == 0) {
        buffer_append_u64(r->out, count);
        buffer_append_text(r->out, "\n");
    }
    buffer_append(r->out, lines);
    element_done(r, count);
}

void reply_text(struct reply *r, struct bytes lines)
{
    if (is_line(r)) {
        append_text_lines(r, lines);
    } else if (r->form == REPLY_RESP2) {
        append_bulk(r->out, lines);
    } else {
        append_length(r->out, '=', lines.size + 4);
        buffer_append_text(r->out, "txt:");
        buffer_append(r->out, lines);
        buffer_append_text(r->out, "\r\n");
    }
}

void reply_info(struct reply *r, struct bytes lines)
{
    size_t count = 0, size = lines.size;
    if (is_line(r)) {
        append_text_lines(r, lines);
        return;
    }
    for (size_t i = 0; i < size; i++)
        count += lines.data[i] == '\n';
    append_length(r->out, r->form == REPLY_RESP3 ? '=' : '$',
                  size + count + (r->form == REPLY_RESP3 ? strlen("txt:") : 0));
    if (r->form == REPLY_RESP3)
        buffer_append_text(r->out, "txt:");
    for (size_t begin = 0, i = 0; i < size; i++) {
        if (lines.data[i] != '\n')
            continue;
        buffer_append(r->out, bytes_of(lines.data + begin, i - begin));
        buffer_append_text(r->out, "\r\n");
        begin = i + 1;
    }
    buffer_append_text(r->out, "\r\n");
}

/* --- errors -------------------------------------------------------------------------------- */

/* It may quote what a client sent, and is one line all the same. */
static void clean(const struct reply *r, char *reason)
{
    for (char *c = reason; *c != 0; c++) {
        if (is_line(r) && (unsigned char)*c < ' ')
            *c = '?';
        else if (*c == '\r' || *c == '\n')
            *c = ' ';
    }
}

/* code: NULL = the reason begins with it. */
static void append_error(struct reply *r, const char *code, char *reason)
{
    clean(r, reason);
    r->errors++;
    buffer_append_text(r->out, is_line(r) ? "ERROR " : "-");
    if (!is_line(r) && code != NULL) {
        buffer_append_text(r->out, code);
        buffer_append_text(r->out, " ");
    }
    buffer_append_text(r->out, reason);
    if (is_line(r))
        end_line(r);
    else
        buffer_append_text(r->out, "\r\n");
}

void reply_error(struct reply *r, const char *format, ...)
{
    char reason[REASON_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    append_error(r, "ERR", reason);
}

void reply_coded_error(struct reply *r, const char *code, const char *format, ...)
{
    char reason[REASON_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    append_error(r, code, reason);
}

void reply_known_error(struct reply *r, const char *known, const char *format, ...)
{
    char reason[REASON_BYTES_MAX];
    va_list arguments;
    if (is_line(r)) {
        va_start(arguments, format);
        vsnprintf(reason, sizeof reason, format, arguments);
        va_end(arguments);
        append_error(r, NULL, reason);
    } else {
        snprintf(reason, sizeof reason, "%s", known);
        append_error(r, NULL, reason);
    }
}

void reply_error_syntax(struct reply *r)
{
    reply_error(r, "syntax error");
}

void reply_error_not_integer(struct reply *r)
{
    reply_error(r, "value is not an integer or out of range");
}
