/* Commands that make a new value out of the old one: numbers, and parts of values. They keep the
 * key's expiry. */
#include "kv/command.h"
#include "kv/node.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Enough for every long double without exponent: 4,933 digits before the point, 17 behind. */
#define FLOAT_BYTES_MAX (5 * 1024)

/* The old record, or an empty one that does not expire. */
static bool read_old(const struct command_call *call, struct record *old)
{
    bool found = command_look(call, call->words[1], old);
    if (!found)
        *old = (struct record){.key = call->words[1]};
    return found;
}

/* --- whole numbers ------------------------------------------------------------------------- */

static void add(struct command_call *call, int64_t delta)
{
    struct record old;
    char text[24];
    int64_t number = 0;
    if (read_old(call, &old) && !command_parse_integer(old.value, &number)) {
        reply_error_not_integer(call->reply);
        return;
    }
    if ((delta < 0 && number < INT64_MIN - delta) || (delta > 0 && number > INT64_MAX - delta)) {
        reply_error(call->reply, "increment or decrement would overflow");
        return;
    }
    number += delta;
    int size = snprintf(text, sizeof text, "%" PRId64, number);
    if (command_write(call, call->words[1], bytes_of(text, (size_t)size), old.expires_ms))
        reply_number(call->reply, number);
}

static void increment(struct command_call *call)
{
    add(call, 1);
}

static void decrement(struct command_call *call)
{
    add(call, -1);
}

static void increment_by(struct command_call *call)
{
    int64_t delta;
    if (command_integer(call, 2, &delta))
        add(call, delta);
}

static void decrement_by(struct command_call *call)
{
    int64_t delta;
    if (!command_integer(call, 2, &delta))
        return;
    if (delta == INT64_MIN)
        reply_error(call->reply, "decrement would overflow");
    else
        add(call, -delta);
}

/* --- floating point ------------------------------------------------------------------------ */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* As Redis reads them: what strtold takes, but no space, no NaN, and nothing that does not fit. */
static bool parse_float(struct bytes text, long double *number)
{
    char copy[FLOAT_BYTES_MAX];
    char *end;
    if (text.size == 0 || text.size >= sizeof copy)
        return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    errno = 0;
    long double value = strtold(copy, &end);
    bool extreme = value == 0 || __builtin_isinf(value);
    if (is_space(copy[0]) || end != copy + text.size || (errno == ERANGE && extreme) ||
        __builtin_isnan(value))
        return false;
    *number = value;
    return true;
}

/* As Redis writes them: 17 digits behind the point, without the zeros at their end. Returns the
 * size. */
static size_t print_float(char *text, long double number)
{
    size_t size = (size_t)snprintf(text, FLOAT_BYTES_MAX, "%.17Lf", number);
    while (text[size - 1] == '0')
        size--;
    if (text[size - 1] == '.')
        size--;
    if (size == 2 && memcmp(text, "-0", 2) == 0) {
        text[0] = '0';
        size = 1;
    }
    return size;
}

static void increment_by_float(struct command_call *call)
{
    struct record old;
    char text[FLOAT_BYTES_MAX];
    long double number = 0, delta;
    if ((read_old(call, &old) && !parse_float(old.value, &number)) ||
        !parse_float(call->words[2], &delta)) {
        reply_error(call->reply, "value is not a valid float");
        return;
    }
    number += delta;
    if (__builtin_isnan(number) || __builtin_isinf(number)) {
        reply_error(call->reply, "increment would produce NaN or Infinity");
        return;
    }
    struct bytes value = bytes_of(text, print_float(text, number));
    if (command_write(call, call->words[1], value, old.expires_ms))
        reply_value(call->reply, value);
}

/* --- parts of values ----------------------------------------------------------------------- */

/* Writes the old value with `part` at `offset`: what lies between is filled with zeros. Answers the
 * new size. */
static void write_part(struct command_call *call, const struct record *old, uint64_t offset,
                       struct bytes part)
{
    struct buffer value;
    size_t kept = offset < old->value.size ? (size_t)offset : old->value.size;
    uint64_t size = offset + part.size > old->value.size ? offset + part.size : old->value.size;
    if (!command_admits(call, call->words[1], size, old->expires_ms))
        return;
    buffer_init(&value, call->node->heap);
    uint8_t *at = size == 0 ? NULL : buffer_reserve(&value, (size_t)size);
    if (at != NULL) {
        if (kept > 0)
            memcpy(at, old->value.data, kept);
        memset(at + kept, 0, (size_t)offset - kept);
        if (part.size > 0)
            memcpy(at + offset, part.data, part.size);
        size_t end = (size_t)offset + part.size;
        if (end < size)
            memcpy(at + end, old->value.data + end, (size_t)size - end);
        buffer_added(&value, (size_t)size);
    }
    if (buffer_failed(&value))
        reply_error(call->reply, "out of memory; nothing was written");
    else if (command_put_or_answer(call, call->words[1], buffer_bytes(&value), old->expires_ms))
        reply_number(call->reply, (int64_t)size);
    buffer_close(&value);
}

static void append(struct command_call *call)
{
    struct record old;
    read_old(call, &old);
    write_part(call, &old, old.value.size, call->words[2]);
}

static void set_range(struct command_call *call)
{
    struct record old;
    int64_t offset;
    struct bytes part = call->words[3];
    if (!command_integer(call, 2, &offset))
        return;
    read_old(call, &old);
    if (offset < 0)
        reply_error(call->reply, "offset is out of range");
    else if (part.size == 0)
        reply_number(call->reply, (int64_t)old.value.size);
    else
        write_part(call, &old, (uint64_t)offset, part);
}

#define MIX  (COMMAND_WRITE | COMMAND_READS_FIRST)
#define FAST (MIX | COMMAND_FAST)

const struct command commands_numbers[] = {
    {"INCR", increment, 2, 1, 1, 1, FAST, 0, "string", "key",
     "add 1 to a whole number; a missing one is 0"},
    {"DECR", decrement, 2, 1, 1, 1, FAST, 0, "string", "key", "subtract 1 from a whole number"},
    {"INCRBY", increment_by, 3, 1, 1, 1, FAST, 0, "string", "key number",
     "add to a whole number; answers the sum"},
    {"DECRBY", decrement_by, 3, 1, 1, 1, FAST, 0, "string", "key number",
     "subtract from a whole number; answers the difference"},
    {"INCRBYFLOAT", increment_by_float, 3, 1, 1, 1, FAST, 0, "string", "key number",
     "add to a number; answers the sum"},
    {"APPEND", append, 3, 1, 1, 1, FAST, 2, "string", "key value",
     "add to the end of a value; answers its new size"},
    {"SETRANGE", set_range, 4, 1, 1, 1, MIX, 3, "string", "key offset value",
     "overwrite a part of a value; answers its new size"},
    {0},
};
