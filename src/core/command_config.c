/* CONFIG: what is set, under Redis' names. Only what is true has a name here, and only what may change
 * while the node runs can be set; it lasts until the node ends. */
#include "command_internal.h"
#include "kv/node.h"
#include "kv/slowlog.h"
#include "kv/storage.h"

#include <inttypes.h>
#include <stdio.h>

#define VALUE_BYTES    64u
#define PATTERN_BYTES  256u
#define SETTABLE_MAX   8u
#define SET_FAILED     "CONFIG SET failed (possibly related to argument '%s') - "
#define NO_MEMORY_TEXT "argument must be a memory value"

struct setting {
    const char *name;
    const char *text; /* its value, NULL = see read */
    int64_t (*read)(const struct node *n);
    const char *(*read_text)(const struct node *n); /* or this */
    void (*write)(struct node *n, int64_t value); /* NULL = cannot be set */
    int64_t least, most;
    bool memory; /* takes units: kb, mb, gb */
};

static int64_t max_memory(const struct node *n)
{
    return (int64_t)n->config.max_memory_bytes;
}

static void set_max_memory(struct node *n, int64_t value)
{
    n->config.max_memory_bytes = (uint64_t)value;
}

static int64_t slower_than(const struct node *n)
{
    return n->slowlog->threshold_us;
}

static void set_slower_than(struct node *n, int64_t value)
{
    n->slowlog->threshold_us = value;
}

static int64_t slow_length(const struct node *n)
{
    return (int64_t)n->slowlog->length_max;
}

static void set_slow_length(struct node *n, int64_t value)
{
    n->slowlog->length_max = (uint64_t)value;
}

static int64_t latency_threshold(const struct node *n)
{
    return (int64_t)n->slowlog->latency_threshold_ms;
}

static void set_latency_threshold(struct node *n, int64_t value)
{
    n->slowlog->latency_threshold_ms = (uint64_t)value;
}

static int64_t max_clients(const struct node *n)
{
    return n->config.max_clients;
}

static int64_t max_value(const struct node *n)
{
    return (int64_t)n->config.max_value_bytes;
}

static int64_t max_query(const struct node *n)
{
    return (int64_t)n->config.max_query_bytes;
}

static int64_t port(const struct node *n)
{
    struct node_process process = {.port = n->config.advertise_port};
    if (n->host.process != NULL)
        n->host.process(n->host.owner, &process);
    return process.port;
}

static const char *append_only(const struct node *n)
{
    return n->storage != NULL ? "yes" : "no";
}

static const char *append_sync(const struct node *n)
{
    static const char *const modes[] = {[STORAGE_SYNC_ALWAYS] = "always",
                                        [STORAGE_SYNC_EVERYSEC] = "everysec",
                                        [STORAGE_SYNC_NO] = "no"};
    return n->storage == NULL ? "no" : modes[n->storage->config.sync];
}

static const struct setting settings[] = {
    {.name = "appendfsync", .read_text = append_sync},
    {.name = "appendonly", .read_text = append_only},
    {.name = "client-query-buffer-limit", .read = max_query},
    {.name = "cluster-enabled", .text = "no"},
    {.name = "daemonize", .text = "no"},
    {.name = "databases", .text = "1"},
    {.name = "latency-monitor-threshold",
     .read = latency_threshold,
     .write = set_latency_threshold,
     .most = INT64_MAX},
    {.name = "maxclients", .read = max_clients},
    {.name = "maxmemory",
     .read = max_memory,
     .write = set_max_memory,
     .most = INT64_MAX,
     .memory = true},
    {.name = "maxmemory-policy", .text = "noeviction"},
    {.name = "notify-keyspace-events", .text = ""},
    {.name = "port", .read = port},
    {.name = "proto-max-bulk-len", .read = max_value},
    {.name = "replicaof", .text = ""},
    {.name = "requirepass", .text = ""},
    {.name = "save", .text = ""},
    {.name = "slowlog-log-slower-than",
     .read = slower_than,
     .write = set_slower_than,
     .least = -1,
     .most = INT64_MAX},
    {.name = "slowlog-max-len",
     .read = slow_length,
     .write = set_slow_length,
     .most = SLOWLOG_LENGTH_MAX},
    {.name = "timeout", .text = "0"},
};
#define SETTING_COUNT (sizeof settings / sizeof settings[0])

static void value_of(const struct node *n, const struct setting *s, char *text)
{
    if (s->read != NULL)
        snprintf(text, VALUE_BYTES, "%" PRId64, s->read(n));
    else
        snprintf(text, VALUE_BYTES, "%s", s->text != NULL ? s->text : s->read_text(n));
}

/* --- GET ------------------------------------------------------------------------------------ */

/* In lower case, as the names are. One that is longer than all names matches nothing. */
static bool matches(struct bytes pattern, const char *name)
{
    uint8_t lower[PATTERN_BYTES];
    if (pattern.size > sizeof lower)
        return false;
    for (size_t i = 0; i < pattern.size; i++) {
        uint8_t c = pattern.data[i];
        lower[i] = c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
    }
    return bytes_match_glob(bytes_of(lower, pattern.size), bytes_text(name));
}

static bool is_asked_for(const struct command_call *call, const struct setting *s)
{
    for (size_t i = 2; i < call->word_count; i++) {
        if (matches(call->words[i], s->name))
            return true;
    }
    return false;
}

static void get(struct command_call *call)
{
    bool asked[SETTING_COUNT];
    char text[VALUE_BYTES];
    uint64_t count = 0;
    for (size_t i = 0; i < SETTING_COUNT; i++)
        count += asked[i] = is_asked_for(call, &settings[i]);
    reply_map(call->reply, count);
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (!asked[i])
            continue;
        value_of(call->node, &settings[i], text);
        reply_value_text(call->reply, settings[i].name);
        reply_value_text(call->reply, text);
    }
}

/* --- SET ------------------------------------------------------------------------------------ */

struct change {
    const struct setting *setting;
    int64_t value;
};

static const struct setting *find_setting(struct bytes name)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (bytes_equal_ignoring_case(name, bytes_text(settings[i].name)))
            return &settings[i];
    }
    return NULL;
}

/* A number with or without a unit: "100mb". */
static bool parse_memory(struct bytes text, int64_t *value)
{
    static const struct {
        const char *name;
        int64_t bytes;
    } units[] = {{"", 1},        {"b", 1},        {"k", 1000},       {"kb", 1 << 10},
                 {"m", 1000000}, {"mb", 1 << 20}, {"g", 1000000000}, {"gb", 1 << 30}};
    size_t digits = 0;
    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9')
        digits++;
    if (!bytes_parse_i64(bytes_of(text.data, digits), value))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (bytes_equal_ignoring_case(bytes_after(text, digits), bytes_text(units[i].name)))
            return !__builtin_mul_overflow(*value, units[i].bytes, value);
    }
    return false;
}

/* Reads what a setting shall be, or answers why it cannot be that. */
static bool parse_value(struct command_call *call, struct bytes word, struct change *change)
{
    const struct setting *s = change->setting;
    if (s->memory && !parse_memory(word, &change->value)) {
        reply_error(call->reply, SET_FAILED NO_MEMORY_TEXT, s->name);
        return false;
    }
    if (!s->memory && !command_parse_integer(word, &change->value)) {
        reply_error(call->reply, SET_FAILED "argument couldn't be parsed into an integer", s->name);
        return false;
    }
    if (change->value >= s->least && change->value <= s->most)
        return true;
    reply_error(call->reply,
                SET_FAILED "argument must be between %" PRId64 " and %" PRId64 " inclusive",
                s->name, s->least, s->most);
    return false;
}

/* Whether it may be set at all, or it has answered why not. What it is already may be said again. */
static bool may_be_set(struct command_call *call, const struct setting *s, size_t index,
                       const struct change *changes, size_t count)
{
    char text[VALUE_BYTES];
    struct bytes name = call->words[index];
    if (s == NULL) {
        reply_error(call->reply, "Unknown option or number of arguments for CONFIG SET - '%.*s'",
                    (int)(name.size < 128 ? name.size : 128), (const char *)name.data);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (changes[i].setting == s) {
            reply_error(call->reply, SET_FAILED "duplicate parameter", s->name);
            return false;
        }
    }
    if (s->write != NULL)
        return true;
    value_of(call->node, s, text);
    if (bytes_equal(call->words[index + 1], bytes_text(text)))
        return true;
    reply_error(call->reply, SET_FAILED "can't set immutable config", s->name);
    return false;
}

/* All of it is checked before any of it is done. */
static void set(struct command_call *call)
{
    struct change changes[SETTABLE_MAX];
    size_t count = 0;
    if (call->word_count % 2 != 0) {
        reply_error_syntax(call->reply);
        return;
    }
    for (size_t i = 2; i < call->word_count; i += 2) {
        const struct setting *s = find_setting(call->words[i]);
        if (!may_be_set(call, s, i, changes, count))
            return;
        if (s->write == NULL)
            continue;
        changes[count].setting = s;
        if (!parse_value(call, call->words[i + 1], &changes[count++]))
            return;
    }
    for (size_t i = 0; i < count; i++)
        changes[i].setting->write(call->node, changes[i].value);
    reply_ok(call->reply);
}

/* --- the others ----------------------------------------------------------------------------- */

/* What Redis counts; what peers sent each other is counted since the start. */
static void reset_statistics(struct command_call *call)
{
    struct node *n = call->node;
    struct node_counters *c = &n->counters;
    c->commands = c->sessions = c->sessions_refused = c->errors = 0;
    c->client_bytes_received = c->client_bytes_sent = 0;
    c->hits = c->misses = c->expired = 0;
    if (n->host.reset_statistics != NULL)
        n->host.reset_statistics(n->host.owner);
    reply_ok(call->reply);
}

static void rewrite(struct command_call *call)
{
    reply_error(call->reply, "The server is running without a config file");
}

static void help(struct command_call *call)
{
    static const char *const lines[] = {
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Refused: what CONFIG SET changes lasts until the node ends.",
    };
    subcommand_help(call, lines, sizeof lines / sizeof lines[0]);
}

const struct subcommand subcommands_config[] = {
    {"GET", get, -3},        {"HELP", help, 2}, {"RESETSTAT", reset_statistics, 2},
    {"REWRITE", rewrite, 2}, {"SET", set, -4},  {.name = NULL},
};
