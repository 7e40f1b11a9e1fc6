/* What commands on keys share: reading words, and the ways into the store and out of it. */
#include "kv/command.h"
#include "kv/node.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* 100 years: who asks for more has mistaken the unit. */
#define EXPIRE_SECONDS_MAX INT64_C(3162240000)

#define OUT_OF_MEMORY_TEXT "out of memory; nothing was written"

#define NOT_INTEGER_TEXT "ERR value is not an integer or out of range"

/* As much of a client's word as an error shows. */
#define SHOWN_BYTES_MAX 40u

/* --- words --------------------------------------------------------------------------------- */

void command_refuse_reply(struct command_call *call)
{
    reply_error(call->reply,
                "the answer would be over %" PRIu64
                " bytes (--max-reply); it takes several requests",
                call->node->config.max_reply_bytes);
}

bool command_word_is(const struct command_call *call, size_t index, const char *word)
{
    return bytes_equal_ignoring_case(call->words[index], bytes_text(word));
}

bool command_parse_integer(struct bytes text, int64_t *number)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    struct bytes digits = bytes_after(text, negative);
    bool padded = digits.size > 0 && digits.data[0] == '0' && text.size > 1;
    return !padded && bytes_parse_i64(text, number);
}

bool command_integer(struct command_call *call, size_t index, int64_t *number)
{
    if (command_parse_integer(call->words[index], number))
        return true;
    reply_error_not_integer(call->reply);
    return false;
}

void command_look_ahead(const struct command_call *call, size_t index)
{
    struct bytes keys[STORE_PREFETCH_MAX];
    size_t step = (size_t)call->command->key_step, count = 0;
    size_t number = (index - (size_t)call->command->key_first) / step;
    if (number == 0 || number % STORE_PREFETCH_MAX != 0)
        return;
    for (size_t i = index; i < call->word_count && count < STORE_PREFETCH_MAX; i += step)
        keys[count++] = call->words[i];
    store_prefetch(call->node->store, keys, count);
}

/* --- time ---------------------------------------------------------------------------------- */

static const char *const EXPECTED[] = {
    [COMMAND_SECONDS] = "a whole number of seconds, at most 3162240000, was expected",
    [COMMAND_MILLISECONDS] = "a whole number of milliseconds was expected",
    [COMMAND_UNIX_SECONDS] = "a Unix time in seconds was expected",
    [COMMAND_UNIX_MILLISECONDS] = "a Unix time in milliseconds was expected",
};
_Static_assert(EXPIRE_SECONDS_MAX == 3162240000, "the text above names the number");

static const char *const TOO_EARLY[] = {
    [COMMAND_SECONDS] = "a value can only expire after 1 second or more",
    [COMMAND_MILLISECONDS] = "a value can only expire after 1 millisecond or more",
    [COMMAND_UNIX_SECONDS] = "a value can only expire at a Unix time above 0",
    [COMMAND_UNIX_MILLISECONDS] = "a value can only expire at a Unix time above 0",
};

/* The error that Redis has for times that it does not take. */
static void invalid_time(const struct command_call *call, char *text, size_t size)
{
    char name[COMMAND_NAME_BYTES_MAX + 1];
    snprintf(name, sizeof name, "%s", call->command->name);
    for (char *c = name; *c != 0; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
    snprintf(text, size, "ERR invalid expire time in '%s' command", name);
}

static void refuse_time(struct command_call *call, size_t index, enum command_time time,
                        const char *known)
{
    struct bytes word = call->words[index];
    reply_known_error(call->reply, known, "%s, not '%.*s'", EXPECTED[time],
                      (int)(word.size < SHOWN_BYTES_MAX ? word.size : SHOWN_BYTES_MAX),
                      (const char *)word.data);
}

static int64_t now_ms(const struct command_call *call)
{
    return (int64_t)call->now.wall_ms;
}

static bool is_absolute(enum command_time time)
{
    return time == COMMAND_UNIX_SECONDS || time == COMMAND_UNIX_MILLISECONDS;
}

bool command_time(struct command_call *call, size_t index, enum command_time time, int64_t *when_ms)
{
    char known[64];
    int64_t number;
    int64_t unit = time == COMMAND_SECONDS || time == COMMAND_UNIX_SECONDS ? 1000 : 1;
    int64_t base = is_absolute(time) ? 0 : now_ms(call);
    int64_t most = time == COMMAND_SECONDS ? EXPIRE_SECONDS_MAX : (INT64_MAX - base) / unit;
    if (!command_parse_integer(call->words[index], &number)) {
        refuse_time(call, index, time, NOT_INTEGER_TEXT);
        return false;
    }
    if (number > most || number < INT64_MIN / unit) {
        invalid_time(call, known, sizeof known);
        refuse_time(call, index, time, known);
        return false;
    }
    *when_ms = number * unit + base;
    return true;
}

bool command_expiry(struct command_call *call, size_t index, enum command_time time,
                    uint64_t *expires_ms)
{
    char known[64];
    int64_t when_ms;
    if (!command_time(call, index, time, &when_ms))
        return false;
    if (when_ms <= (is_absolute(time) ? 0 : now_ms(call))) {
        invalid_time(call, known, sizeof known);
        reply_known_error(call->reply, known, "%s", TOO_EARLY[time]);
        return false;
    }
    *expires_ms = (uint64_t)when_ms;
    return true;
}

/* --- writing ------------------------------------------------------------------------------- */

bool command_admits(struct command_call *call, struct bytes key, uint64_t value_bytes,
                    uint64_t expires_ms)
{
    struct node *n = call->node;
    if (value_bytes > n->config.max_value_bytes) {
        reply_known_error(
            call->reply, "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            "value of %" PRIu64 " bytes; a value takes at most %" PRIu64 " (--max-value)",
            value_bytes, n->config.max_value_bytes);
        return false;
    }
    /* Only the sizes count. */
    struct record rec = {
        .key = key, .value = bytes_of(NULL, (size_t)value_bytes), .expires_ms = expires_ms};
    if (!node_fits_memory(n, &rec)) {
        reply_known_error(call->reply, "OOM command not allowed when used memory > 'maxmemory'.",
                          "memory is full at %" PRIu64 " bytes (--max-memory); delete keys "
                          "or raise the limit",
                          n->config.max_memory_bytes);
        return false;
    }
    return true;
}

/* 1 when it was there and is deleted, 0 when it was not there, -ENOMEM. */
static int delete_key(struct command_call *call, struct bytes key)
{
    struct record rec;
    if (!command_look(call, key, &rec))
        return 0;
    rec = (struct record){.key = key, .tombstone = true};
    int error = node_write(call->node, call->now, &rec);
    if (error != 0)
        return error;
    call->written = rec.stamp;
    return 1;
}

int command_put(struct command_call *call, struct bytes key, struct bytes value,
                uint64_t expires_ms)
{
    struct record rec = {.key = key, .value = value, .expires_ms = expires_ms};
    /* What has expired already need not be kept, nor counted, until a sweep meets it. */
    if (record_expired(&rec, call->now.wall_ms))
        return delete_key(call, key) < 0 ? -ENOMEM : 0;
    int error = node_write(call->node, call->now, &rec);
    if (error == 0)
        call->written = rec.stamp;
    return error;
}

bool command_put_or_answer(struct command_call *call, struct bytes key, struct bytes value,
                           uint64_t expires_ms)
{
    if (command_put(call, key, value, expires_ms) == 0)
        return true;
    reply_error(call->reply, OUT_OF_MEMORY_TEXT);
    return false;
}

bool command_write(struct command_call *call, struct bytes key, struct bytes value,
                   uint64_t expires_ms)
{
    return command_admits(call, key, value.size, expires_ms) &&
           command_put_or_answer(call, key, value, expires_ms);
}

bool command_copy(struct command_call *call, struct bytes bytes, struct buffer *copy)
{
    buffer_init(copy, call->node->heap);
    buffer_append(copy, bytes);
    if (buffer_failed(copy))
        reply_error(call->reply, OUT_OF_MEMORY_TEXT);
    return !buffer_failed(copy);
}

bool command_rewrite(struct command_call *call, struct bytes key, struct bytes value,
                     uint64_t expires_ms)
{
    struct buffer copy;
    bool written = command_copy(call, value, &copy) &&
                   command_put_or_answer(call, key, buffer_bytes(&copy), expires_ms);
    buffer_close(&copy);
    return written;
}

int command_delete(struct command_call *call, struct bytes key)
{
    int outcome = delete_key(call, key);
    if (outcome < 0)
        reply_error(call->reply, "out of memory; a key was not deleted");
    return outcome;
}

/* --- reading ------------------------------------------------------------------------------- */

bool command_look(const struct command_call *call, struct bytes key, struct record *rec)
{
    return store_get(call->node->store, key, call->now.wall_ms, rec);
}

bool command_read(const struct command_call *call, struct bytes key, struct record *rec)
{
    bool found = command_look(call, key, rec);
    if (found)
        call->node->counters.hits++;
    else
        call->node->counters.misses++;
    return found;
}
