/* Commands on the store as a whole, and on what it is made of. */
#include "command_internal.h"
#include "kv/flush.h"
#include "kv/node.h"
#include "kv/scan.h"

#include <inttypes.h>
#include <stdio.h>

/* Matching costs up to glob times key. */
#define GLOB_BYTES_MAX 256u

/* What a SCAN without COUNT visits. */
#define SCAN_COUNT_USUAL 10

static bool is_live(const struct command_call *call, const struct record *rec)
{
    return !rec->tombstone && !record_expired(rec, call->now.wall_ms);
}

static bool glob_fits(struct command_call *call, struct bytes glob)
{
    if (glob.size <= GLOB_BYTES_MAX)
        return true;
    reply_error(call->reply, "glob of %zu bytes; a glob takes at most %u", glob.size,
                GLOB_BYTES_MAX);
    return false;
}

static void reply_keys(struct reply *r, const struct scan_keys *keys)
{
    uint64_t count = scan_keys_count(keys);
    reply_list(r, count);
    for (uint64_t i = 0; i < count; i++)
        reply_key(r, scan_keys_at(keys, i));
}

/* --- KEYS ---------------------------------------------------------------------------------- */

static void find_matches(const struct command_call *call, struct scan_keys *keys)
{
    struct record rec;
    uint64_t most = call->node->config.max_reply_bytes;
    for (uint32_t p = 0; p < STORE_PARTITIONS && keys->bytes <= most; p++) {
        struct store_cursor cursor;
        store_cursor_open(&cursor, call->node->store, p);
        while (store_cursor_next(&cursor, &rec)) {
            if (is_live(call, &rec) && bytes_match_glob(call->words[1], rec.key))
                scan_keys_add(keys, rec.key);
        }
        store_cursor_close(&cursor);
    }
}

static void list_keys(struct command_call *call)
{
    struct scan_keys keys;
    uint64_t count = store_live_count(call->node->store);
    uint64_t limit = call->node->config.keys_limit;
    if (count > limit) {
        reply_error(call->reply,
                    "KEYS looks at every key, at most %" PRIu64
                    " (--keys-limit); there are %" PRIu64 "; SCAN goes through any number",
                    limit, count);
        return;
    }
    if (!glob_fits(call, call->words[1]))
        return;
    scan_keys_init(&keys, call->node->heap);
    find_matches(call, &keys);
    if (buffer_failed(&keys.list))
        reply_error(call->reply, "out of memory; a narrower glob is needed");
    else if (keys.bytes > call->node->config.max_reply_bytes)
        reply_error(call->reply,
                    "the answer would be over %" PRIu64
                    " bytes (--max-reply); a narrower glob is needed",
                    call->node->config.max_reply_bytes);
    else
        reply_keys(call->reply, &keys);
    scan_keys_close(&keys);
}

/* --- SCAN ---------------------------------------------------------------------------------- */

struct scan_options {
    uint64_t cursor;
    int64_t count;
    const struct bytes *glob; /* NULL = all keys match */
    bool none; /* TYPE: of a type that no value has */
};

/* Reads the words behind the cursor, or answers what is wrong. */
static bool read_scan_options(struct command_call *call, struct scan_options *o)
{
    for (size_t i = 2; i < call->word_count; i += 2) {
        bool followed = i + 1 < call->word_count;
        if (followed && command_word_is(call, i, "COUNT")) {
            if (!command_integer(call, i + 1, &o->count))
                return false;
            if (o->count >= 1)
                continue;
        } else if (followed && command_word_is(call, i, "MATCH")) {
            o->glob = &call->words[i + 1];
            continue;
        } else if (followed && command_word_is(call, i, "TYPE")) {
            o->none = !command_word_is(call, i + 1, "string");
            continue;
        }
        reply_error_syntax(call->reply);
        return false;
    }
    return o->glob == NULL || glob_fits(call, *o->glob);
}

/* As Redis reads it, with strtoul: it may have a sign, and none at all is 0. */
static bool parse_cursor(struct bytes word, uint64_t *cursor)
{
    bool negative = word.size > 0 && word.data[0] == '-';
    bool is_signed = negative || (word.size > 0 && word.data[0] == '+');
    *cursor = 0;
    if (word.size > 0 && !bytes_parse_u64(bytes_after(word, is_signed), cursor))
        return false;
    *cursor = negative ? 0 - *cursor : *cursor;
    return true;
}

static void scan(struct command_call *call)
{
    struct node *n = call->node;
    struct scan_options o = {.count = SCAN_COUNT_USUAL};
    struct scan_keys keys;
    char cursor[24];
    uint64_t next = 0;
    if (!parse_cursor(call->words[1], &o.cursor)) {
        reply_error(call->reply, "invalid cursor");
        return;
    }
    if (!read_scan_options(call, &o))
        return;
    scan_keys_init(&keys, n->heap);
    if (!o.none)
        next = scan_step(n->store, call->now.wall_ms, o.cursor, (uint64_t)o.count, o.glob, &keys);
    if (buffer_failed(&keys.list)) {
        reply_error(call->reply, "out of memory; a smaller COUNT is needed");
    } else {
        snprintf(cursor, sizeof cursor, "%" PRIu64, next);
        reply_list(call->reply, 2);
        reply_value_text(call->reply, cursor);
        reply_keys(call->reply, &keys);
    }
    scan_keys_close(&keys);
}

/* --- RANDOMKEY, DBSIZE --------------------------------------------------------------------- */

/* One of the partition's live keys takes the place of *key, or none: each of all `seen` so far has the
 * same chance (reservoir sampling). */
static void draw_key(struct command_call *call, uint32_t partition, uint64_t *seen,
                     struct bytes *key)
{
    struct record rec;
    struct store_cursor cursor;
    store_cursor_open(&cursor, call->node->store, partition);
    while (store_cursor_next(&cursor, &rec)) {
        if (is_live(call, &rec) && random_below(&call->node->random, ++*seen) == 0)
            *key = rec.key;
    }
    store_cursor_close(&cursor);
}

static void random_key(struct command_call *call)
{
    struct node *n = call->node;
    struct bytes key;
    uint64_t seen = 0;
    /* Few keys leave many partitions empty: then the next one's keys would be drawn more often. Of
     * many, one partition's are as good as any. */
    bool few = store_live_count(n->store) <= STORE_PARTITIONS;
    uint32_t first = (uint32_t)random_below(&n->random, STORE_PARTITIONS);
    for (uint32_t i = 0; i < STORE_PARTITIONS && (few || seen == 0); i++)
        draw_key(call, (first + i) % STORE_PARTITIONS, &seen, &key);
    if (seen == 0)
        reply_missing(call->reply);
    else
        reply_key(call->reply, key);
}

static void count_keys(struct command_call *call)
{
    reply_number(call->reply, (int64_t)store_live_count(call->node->store));
}

/* --- FLUSHALL ------------------------------------------------------------------------------ */

/* More entries than this, tombstones among them, are looked at in several turns of the loop. */
#define FLUSH_AT_ONCE_ENTRIES 128u

static void flush_at_once(struct command_call *call)
{
    struct flush f;
    flush_init(&f, call->node);
    flush_answer(&f, flush_step(&f, call->now, UINT64_MAX), call->reply);
    call->written = f.written;
    flush_close(&f);
}

static void flush(struct command_call *call)
{
    const struct store *s = call->node->store;
    bool many = store_live_count(s) + store_tombstone_count(s) > FLUSH_AT_ONCE_ENTRIES;
    if (call->word_count > 2 || (call->word_count == 2 && !command_word_is(call, 1, "ASYNC") &&
                                 !command_word_is(call, 1, "SYNC")))
        reply_error_syntax(call->reply);
    else if (!many || call->in_exec)
        flush_at_once(call);
    else if (!session_begin_flush(call->session))
        reply_error(call->reply, "out of memory; nothing was deleted");
}

/* --- OBJECT -------------------------------------------------------------------------------- */

/* As Redis keeps a value that was just SET: it keeps some others that way, this node none. */
#define INTEGER_BYTES_MAX  20u
#define EMBEDDED_BYTES_MAX 44u

#define NO_FREQUENCY_TEXT                                                                          \
    "An LFU maxmemory policy is not selected, access frequency not tracked. Please note that "     \
    "when switching between policies at runtime LRU and LFU data will take some time to adjust."

static const char *encoding_of(struct bytes value)
{
    int64_t number;
    if (value.size <= INTEGER_BYTES_MAX && command_parse_integer(value, &number))
        return "int";
    return value.size <= EMBEDDED_BYTES_MAX ? "embstr" : "raw";
}

static bool find_object(struct command_call *call, struct record *rec)
{
    bool found = command_look(call, call->words[2], rec);
    if (!found)
        reply_missing(call->reply);
    return found;
}

static void object_encoding(struct command_call *call)
{
    struct record rec;
    if (find_object(call, &rec))
        reply_value_text(call->reply, encoding_of(rec.value));
}

static void object_frequency(struct command_call *call)
{
    struct record rec;
    if (find_object(call, &rec))
        reply_error(call->reply, NO_FREQUENCY_TEXT);
}

/* Since it was written: reading leaves no trace. */
static void object_idle_time(struct command_call *call)
{
    struct record rec;
    if (!find_object(call, &rec))
        return;
    uint64_t written_ms = stamp_wall_ms(rec.stamp), now_ms = call->now.wall_ms;
    reply_number(call->reply, written_ms > now_ms ? 0 : (int64_t)((now_ms - written_ms) / 1000));
}

static void object_references(struct command_call *call)
{
    struct record rec;
    if (find_object(call, &rec))
        reply_number(call->reply, 1);
}

static void object_help(struct command_call *call)
{
    static const char *const lines[] = {
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
    };
    subcommand_help(call, lines, sizeof lines / sizeof lines[0]);
}

const struct subcommand subcommands_object[] = {
    {"ENCODING", object_encoding, 3},  {"FREQ", object_frequency, 3},
    {"IDLETIME", object_idle_time, 3}, {"REFCOUNT", object_references, 3},
    {"HELP", object_help, 2},          {0},
};

/* --- MEMORY -------------------------------------------------------------------------------- */

static bool read_samples(struct command_call *call)
{
    for (size_t i = 3; i < call->word_count; i += 2) {
        int64_t samples;
        if (!command_word_is(call, i, "SAMPLES") || i + 1 == call->word_count) {
            reply_error_syntax(call->reply);
            return false;
        }
        if (!command_integer(call, i + 1, &samples))
            return false;
        if (samples < 0) {
            reply_error_syntax(call->reply);
            return false;
        }
    }
    return true;
}

static void memory_usage(struct command_call *call)
{
    struct record rec;
    if (!read_samples(call) || !find_object(call, &rec))
        return;
    uint64_t bytes = store_entry_bytes(rec.key.size, rec.value.size, rec.expires_ms != 0);
    reply_number(call->reply, (int64_t)(bytes + store_table_share(call->node->store, rec.key)));
}

static void memory_help(struct command_call *call)
{
    static const char *const lines[] = {
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value.",
    };
    subcommand_help(call, lines, sizeof lines / sizeof lines[0]);
}

const struct subcommand subcommands_memory[] = {
    {"USAGE", memory_usage, -3}, {"HELP", memory_help, 2}, {0}};

#define SLOW COMMAND_SLOW

const struct command commands_keyspace[] = {
    {"COUNT", count_keys, 1, 0, 0, 0, COMMAND_OWN | COMMAND_READONLY | COMMAND_FAST, 0, "server",
     "", "the number of keys"},
    {"DBSIZE", count_keys, 1, 0, 0, 0, COMMAND_READONLY | COMMAND_FAST, 0, "server", "",
     "the same as COUNT"},
    {"KEYS", list_keys, 2, 0, 0, 0, COMMAND_READONLY | SLOW, 0, "generic", "glob",
     "the keys that match, such as user:*"},
    {"SCAN", scan, -2, 0, 0, 0, COMMAND_READONLY | SLOW, 0, "generic",
     "cursor [MATCH glob] [COUNT number] [TYPE type]",
     "some keys, and the cursor for the next ones; begins and ends with 0"},
    {"RANDOMKEY", random_key, 1, 0, 0, 0, COMMAND_READONLY | SLOW, 0, "generic", "",
     "one of the keys"},
    {"FLUSHALL", flush, -1, 0, 0, 0, COMMAND_WRITE | SLOW, 0, "server", "[ASYNC|SYNC]",
     "delete every key that this node has, everywhere"},
    {"FLUSHDB", flush, -1, 0, 0, 0, COMMAND_WRITE | SLOW, 0, "server", "[ASYNC|SYNC]",
     "the same as FLUSHALL"},
    {"OBJECT", subcommand_run, -2, 0, 0, 0, COMMAND_READONLY | COMMAND_SUBCOMMANDS, 0, "generic",
     "ENCODING|FREQ|IDLETIME|REFCOUNT key, or HELP", "what is known of a value"},
    {"MEMORY", subcommand_run, -2, 0, 0, 0, COMMAND_READONLY | COMMAND_SUBCOMMANDS, 0, "server",
     "USAGE key [SAMPLES number], or HELP", "what a key takes in memory, in bytes"},
    {0},
};
