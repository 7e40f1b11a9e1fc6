/* Commands on keys and their values. */
#include "kv/command.h"
#include "kv/node.h"

#include <inttypes.h>

/* Far enough for anybody, near enough that milliseconds do not overflow. */
#define EXPIRE_SECONDS_MAX (UINT64_C(100) * 366 * 24 * 3600)

#define OUT_OF_MEMORY_TEXT "out of memory; nothing was written"

/* What the keys of one KEYS reply may add up to. */
#define KEYS_BYTES_MAX (64u << 20)

/* Matching costs up to glob times key. */
#define GLOB_BYTES_MAX 256u

#define NO_SECONDS_TEXT "a whole number of seconds, at most 3162240000, was expected, not '%.*s'"
_Static_assert(EXPIRE_SECONDS_MAX == 3162240000, "the text above names the number");

/* Writes a record, or answers why not. */
static bool write_record(struct command_call *call, struct record *rec)
{
    if (node_write(call->node, call->now, rec) != 0) {
        reply_error(call->reply, OUT_OF_MEMORY_TEXT);
        return false;
    }
    call->written = rec->stamp;
    return true;
}

/* Writes what a client sent, within the limits, or answers why not. */
static bool write_value(struct command_call *call, struct bytes key, struct bytes value,
                        uint64_t expires_ms)
{
    struct node *n = call->node;
    struct record rec = {.key = key, .value = value, .expires_ms = expires_ms};
    if (value.size > n->config.max_value_bytes) {
        reply_error(call->reply,
                    "value of %zu bytes; a value takes at most %" PRIu64 " (--max-value)",
                    value.size, n->config.max_value_bytes);
        return false;
    }
    if (!node_fits_memory(n, &rec)) {
        reply_error(call->reply,
                    "memory is full at %" PRIu64 " bytes (--max-memory); delete keys "
                    "or raise the limit",
                    n->config.max_memory_bytes);
        return false;
    }
    return write_record(call, &rec);
}

/* 1 when it was there, 0 when not, -ENOMEM. */
static int delete_key(struct command_call *call, struct bytes key)
{
    struct record rec;
    if (!store_get(call->node->store, key, call->now.wall_ms, &rec))
        return 0;
    rec = (struct record){.key = key, .tombstone = true};
    int error = node_write(call->node, call->now, &rec);
    if (error != 0)
        return error;
    call->written = rec.stamp;
    return 1;
}

/* Deletes the keys and answers how many there were, or what went wrong. */
static void delete_keys(struct command_call *call, const struct bytes *keys, size_t count)
{
    int64_t deleted = 0;
    for (size_t i = 0; i < count; i++) {
        int outcome = delete_key(call, keys[i]);
        if (outcome < 0) {
            reply_error(call->reply, "out of memory; %zu of %zu keys were looked at", i, count);
            return;
        }
        deleted += outcome;
    }
    reply_number(call->reply, deleted);
}

static bool parse_seconds(struct command_call *call, struct bytes word, int64_t *seconds)
{
    if (bytes_parse_i64(word, seconds) && *seconds <= (int64_t)EXPIRE_SECONDS_MAX)
        return true;
    reply_error(call->reply, NO_SECONDS_TEXT, (int)(word.size < 40 ? word.size : 40),
                (const char *)word.data);
    return false;
}

static uint64_t expiry_at(const struct command_call *call, int64_t seconds)
{
    return call->now.wall_ms + (uint64_t)seconds * 1000;
}

void command_set(struct command_call *call)
{
    if (write_value(call, call->words[1], call->words[2], 0))
        reply_ok(call->reply);
}

void command_setex(struct command_call *call)
{
    int64_t seconds;
    if (!parse_seconds(call, call->words[2], &seconds))
        return;
    if (seconds <= 0)
        reply_error(call->reply, "a value can only expire after 1 second or more");
    else if (write_value(call, call->words[1], call->words[3], expiry_at(call, seconds)))
        reply_ok(call->reply);
}

void command_get(struct command_call *call)
{
    struct record rec;
    if (store_get(call->node->store, call->words[1], call->now.wall_ms, &rec))
        reply_value(call->reply, rec.value);
    else
        reply_missing(call->reply);
}

void command_del(struct command_call *call)
{
    delete_keys(call, call->words + 1, call->word_count - 1);
}

void command_exists(struct command_call *call)
{
    struct record rec;
    int64_t found = 0;
    for (size_t i = 1; i < call->word_count; i++)
        found += store_get(call->node->store, call->words[i], call->now.wall_ms, &rec);
    reply_number(call->reply, found);
}

/* Writes a record that is in the store again, with another expiry. Answers 1, or why not. */
static void rewrite(struct command_call *call, const struct record *rec, uint64_t expires_ms)
{
    struct buffer value; /* a copy: the merge frees what rec points to */
    buffer_init(&value, call->node->heap);
    buffer_append(&value, rec->value);
    struct record renewed = {
        .key = call->words[1], .value = buffer_bytes(&value), .expires_ms = expires_ms};
    if (buffer_failed(&value))
        reply_error(call->reply, OUT_OF_MEMORY_TEXT);
    else if (write_record(call, &renewed))
        reply_number(call->reply, 1);
    buffer_close(&value);
}

void command_expire(struct command_call *call)
{
    int64_t seconds;
    struct record rec;
    if (!parse_seconds(call, call->words[2], &seconds))
        return;
    if (!store_get(call->node->store, call->words[1], call->now.wall_ms, &rec))
        reply_number(call->reply, 0);
    else if (seconds <= 0)
        delete_keys(call, call->words + 1, 1);
    else
        rewrite(call, &rec, expiry_at(call, seconds));
}

void command_persist(struct command_call *call)
{
    struct record rec;
    if (!store_get(call->node->store, call->words[1], call->now.wall_ms, &rec) ||
        rec.expires_ms == 0)
        reply_number(call->reply, 0);
    else
        rewrite(call, &rec, 0);
}

void command_ttl(struct command_call *call)
{
    struct record rec;
    if (!store_get(call->node->store, call->words[1], call->now.wall_ms, &rec))
        reply_number(call->reply, -2);
    else if (rec.expires_ms == 0)
        reply_number(call->reply, -1);
    else
        reply_number(call->reply, (int64_t)((rec.expires_ms - call->now.wall_ms + 500) / 1000));
}

/* Replies every live key that matches, as long as these have at most KEYS_BYTES_MAX. Returns their
 * number. */
static uint64_t reply_matches(const struct command_call *call, struct reply *reply)
{
    uint64_t count = 0;
    struct record rec;
    for (uint32_t p = 0; p < STORE_PARTITIONS && buffer_size(reply->out) <= KEYS_BYTES_MAX; p++) {
        struct store_cursor cursor;
        store_cursor_open(&cursor, call->node->store, p);
        while (store_cursor_next(&cursor, &rec)) {
            if (rec.tombstone || record_expired(&rec, call->now.wall_ms) ||
                !bytes_match_glob(call->words[1], rec.key))
                continue;
            count++;
            reply_key(reply, rec.key);
        }
        store_cursor_close(&cursor);
    }
    return count;
}

static void reply_keys(struct command_call *call)
{
    struct buffer keys; /* apart, since their number comes first */
    struct reply reply = *call->reply;
    buffer_init(&keys, call->node->heap);
    reply.out = &keys;
    uint64_t count = reply_matches(call, &reply);
    if (buffer_failed(&keys)) {
        reply_error(call->reply, "out of memory; a narrower glob is needed");
    } else if (buffer_size(&keys) > KEYS_BYTES_MAX) {
        reply_error(call->reply, "the answer would be over %u bytes; a narrower glob is needed",
                    KEYS_BYTES_MAX);
    } else {
        reply_list(call->reply, count);
        buffer_append(call->reply->out, buffer_bytes(&keys));
    }
    buffer_close(&keys);
}

void command_keys(struct command_call *call)
{
    uint64_t keys = store_live_count(call->node->store);
    uint64_t limit = call->node->config.keys_limit;
    if (keys > limit)
        reply_error(call->reply,
                    "KEYS looks at every key, at most %" PRIu64
                    " (--keys-limit); there are %" PRIu64,
                    limit, keys);
    else if (call->words[1].size > GLOB_BYTES_MAX)
        reply_error(call->reply, "glob of %zu bytes; a glob takes at most %u", call->words[1].size,
                    GLOB_BYTES_MAX);
    else
        reply_keys(call);
}

void command_count(struct command_call *call)
{
    reply_number(call->reply, (int64_t)store_live_count(call->node->store));
}
