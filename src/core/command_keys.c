/* Commands on keys, whatever their values are. */
#include "kv/command.h"
#include "kv/node.h"

/* --- there or not -------------------------------------------------------------------------- */

static void delete_keys(struct command_call *call)
{
    int64_t deleted = 0;
    for (size_t i = 1; i < call->word_count; i++) {
        command_look_ahead(call, i);
        int outcome = command_delete(call, call->words[i]);
        if (outcome < 0)
            return;
        deleted += outcome;
    }
    reply_number(call->reply, deleted);
}

static void count_present(struct command_call *call)
{
    struct record rec;
    int64_t found = 0;
    for (size_t i = 1; i < call->word_count; i++) {
        command_look_ahead(call, i);
        found += command_read(call, call->words[i], &rec);
    }
    reply_number(call->reply, found);
}

static void tell_type(struct command_call *call)
{
    struct record rec;
    reply_status(call->reply, command_read(call, call->words[1], &rec) ? "string" : "none");
}

/* --- expiry -------------------------------------------------------------------------------- */

struct conditions {
    bool none, some, later, sooner; /* NX, XX, GT, LT */
};

static bool read_conditions(struct command_call *call, struct conditions *c)
{
    for (size_t i = 3; i < call->word_count; i++) {
        struct bytes word = call->words[i];
        if (command_word_is(call, i, "NX")) {
            c->none = true;
        } else if (command_word_is(call, i, "XX")) {
            c->some = true;
        } else if (command_word_is(call, i, "GT")) {
            c->later = true;
        } else if (command_word_is(call, i, "LT")) {
            c->sooner = true;
        } else {
            reply_error(call->reply, "Unsupported option %.*s",
                        (int)(word.size < 128 ? word.size : 128), (const char *)word.data);
            return false;
        }
    }
    if (c->none && (c->some || c->later || c->sooner))
        reply_error(call->reply, "NX and XX, GT or LT options at the same time are not compatible");
    else if (c->later && c->sooner)
        reply_error(call->reply, "GT and LT options at the same time are not compatible");
    else
        return true;
    return false;
}

/* Whether an expiry may be changed to `when_ms`. No expiry counts as one that is never reached. */
static bool conditions_hold(const struct conditions *c, uint64_t expires_ms, int64_t when_ms)
{
    bool expires = expires_ms != 0;
    if ((c->none && expires) || (c->some && !expires))
        return false;
    if (c->later && (!expires || when_ms <= (int64_t)expires_ms))
        return false;
    return !c->sooner || !expires || when_ms < (int64_t)expires_ms;
}

static void expire(struct command_call *call, enum command_time time)
{
    struct conditions conditions = {.none = false};
    struct record rec;
    int64_t when_ms;
    if (!read_conditions(call, &conditions) || !command_time(call, 2, time, &when_ms))
        return;
    if (!command_look(call, call->words[1], &rec) ||
        !conditions_hold(&conditions, rec.expires_ms, when_ms)) {
        reply_number(call->reply, 0);
    } else if (when_ms <= (int64_t)call->now.wall_ms) {
        if (command_delete(call, call->words[1]) == 1)
            reply_number(call->reply, 1);
    } else if (command_rewrite(call, call->words[1], rec.value, (uint64_t)when_ms)) {
        reply_number(call->reply, 1);
    }
}

static void expire_in_seconds(struct command_call *call)
{
    expire(call, COMMAND_SECONDS);
}

static void expire_in_milliseconds(struct command_call *call)
{
    expire(call, COMMAND_MILLISECONDS);
}

static void expire_at_seconds(struct command_call *call)
{
    expire(call, COMMAND_UNIX_SECONDS);
}

static void expire_at_milliseconds(struct command_call *call)
{
    expire(call, COMMAND_UNIX_MILLISECONDS);
}

static void persist(struct command_call *call)
{
    struct record rec;
    if (!command_look(call, call->words[1], &rec) || rec.expires_ms == 0)
        reply_number(call->reply, 0);
    else if (command_rewrite(call, call->words[1], rec.value, 0))
        reply_number(call->reply, 1);
}

/* base_ms: what the time is counted from. */
static void tell_expiry(struct command_call *call, uint64_t base_ms, bool seconds)
{
    struct record rec;
    if (!command_read(call, call->words[1], &rec)) {
        reply_number(call->reply, -2);
    } else if (rec.expires_ms == 0) {
        reply_number(call->reply, -1);
    } else {
        uint64_t ms = rec.expires_ms - base_ms;
        reply_number(call->reply, (int64_t)(seconds ? (ms + 500) / 1000 : ms));
    }
}

static void tell_seconds_left(struct command_call *call)
{
    tell_expiry(call, call->now.wall_ms, true);
}

static void tell_milliseconds_left(struct command_call *call)
{
    tell_expiry(call, call->now.wall_ms, false);
}

static void tell_expiry_seconds(struct command_call *call)
{
    tell_expiry(call, 0, true);
}

static void tell_expiry_milliseconds(struct command_call *call)
{
    tell_expiry(call, 0, false);
}

/* --- other names --------------------------------------------------------------------------- */

/* Moves words[1] to words[2]. True: it was, or it need not be. False: answered. */
static bool move_key(struct command_call *call, const struct record *rec)
{
    return command_rewrite(call, call->words[2], rec->value, rec->expires_ms) &&
           command_delete(call, call->words[1]) == 1;
}

static bool find_source(struct command_call *call, struct record *rec)
{
    if (command_look(call, call->words[1], rec))
        return true;
    reply_error(call->reply, "no such key");
    return false;
}

static void rename_key(struct command_call *call)
{
    struct record rec;
    if (find_source(call, &rec) &&
        (bytes_equal(call->words[1], call->words[2]) || move_key(call, &rec)))
        reply_ok(call->reply);
}

static void rename_new(struct command_call *call)
{
    struct record rec, other;
    if (!find_source(call, &rec))
        return;
    if (command_look(call, call->words[2], &other)) /* itself, too */
        reply_number(call->reply, 0);
    else if (move_key(call, &rec))
        reply_number(call->reply, 1);
}

/* There is one database, 0. */
static bool database_exists(struct command_call *call, size_t index)
{
    int64_t number;
    if (!command_integer(call, index, &number))
        return false;
    if (number < INT32_MIN || number > INT32_MAX)
        reply_error(call->reply, "value is out of range, value must between %d and %d", INT32_MIN,
                    INT32_MAX);
    else if (number != 0)
        reply_error(call->reply, "DB index is out of range");
    else
        return true;
    return false;
}

static bool read_copy_options(struct command_call *call, bool *replace)
{
    *replace = false;
    for (size_t i = 3; i < call->word_count; i++) {
        if (command_word_is(call, i, "REPLACE")) {
            *replace = true;
        } else if (command_word_is(call, i, "DB") && i + 1 < call->word_count) {
            if (!database_exists(call, ++i))
                return false;
        } else {
            reply_error_syntax(call->reply);
            return false;
        }
    }
    return true;
}

static void copy(struct command_call *call)
{
    struct record rec, other;
    bool replace;
    if (!read_copy_options(call, &replace))
        return;
    if (bytes_equal(call->words[1], call->words[2])) {
        reply_error(call->reply, "source and destination objects are the same");
    } else if (!command_read(call, call->words[1], &rec) ||
               (!replace && command_look(call, call->words[2], &other))) {
        reply_number(call->reply, 0);
    } else if (command_admits(call, call->words[2], rec.value.size, rec.expires_ms) &&
               command_rewrite(call, call->words[2], rec.value, rec.expires_ms)) {
        reply_number(call->reply, 1);
    }
}

#define READ  (COMMAND_READONLY | COMMAND_FAST)
#define WRITE COMMAND_WRITE
#define MIX   (COMMAND_WRITE | COMMAND_READS_FIRST)
#define FAST  COMMAND_FAST

#define CONDITIONS " [NX|XX|GT|LT]"

const struct command commands_keys[] = {
    {"DEL", delete_keys, -2, 1, -1, 1, WRITE, 0, "generic", "key [key ...]",
     "delete keys; answers how many there were"},
    {"UNLINK", delete_keys, -2, 1, -1, 1, WRITE | FAST, 0, "generic", "key [key ...]",
     "the same as DEL"},
    {"EXISTS", count_present, -2, 1, -1, 1, READ, 0, "generic", "key [key ...]",
     "how many of the keys there are"},
    {"TOUCH", count_present, -2, 1, -1, 1, READ, 0, "generic", "key [key ...]",
     "the same as EXISTS"},
    {"TYPE", tell_type, 2, 1, 1, 1, READ, 0, "generic", "key", "string, or none"},
    {"EXPIRE", expire_in_seconds, -3, 1, 1, 1, MIX | FAST, 0, "generic", "key seconds" CONDITIONS,
     "let a key expire; 1, or 0 if there is no such key"},
    {"PEXPIRE", expire_in_milliseconds, -3, 1, 1, 1, MIX | FAST, 0, "generic",
     "key milliseconds" CONDITIONS, "let a key expire; 1, or 0 if there is no such key"},
    {"EXPIREAT", expire_at_seconds, -3, 1, 1, 1, MIX | FAST, 0, "generic",
     "key unix-seconds" CONDITIONS, "let a key expire; 1, or 0 if there is no such key"},
    {"PEXPIREAT", expire_at_milliseconds, -3, 1, 1, 1, MIX | FAST, 0, "generic",
     "key unix-ms" CONDITIONS, "let a key expire; 1, or 0 if there is no such key"},
    {"PERSIST", persist, 2, 1, 1, 1, MIX | FAST, 0, "generic", "key",
     "take a key's expiry away; 1, or 0 if it had none"},
    {"TTL", tell_seconds_left, 2, 1, 1, 1, READ, 0, "generic", "key",
     "seconds until the key expires; -1 never, -2 no such key"},
    {"PTTL", tell_milliseconds_left, 2, 1, 1, 1, READ, 0, "generic", "key",
     "milliseconds until the key expires; -1 never, -2 no such key"},
    {"EXPIRETIME", tell_expiry_seconds, 2, 1, 1, 1, READ, 0, "generic", "key",
     "when the key expires, in Unix seconds; -1 never, -2 no such key"},
    {"PEXPIRETIME", tell_expiry_milliseconds, 2, 1, 1, 1, READ, 0, "generic", "key",
     "when the key expires, in Unix milliseconds; -1 never, -2 no such key"},
    {"RENAME", rename_key, 3, 1, 2, 1, MIX, 0, "generic", "key new-key",
     "give a value another key"},
    {"RENAMENX", rename_new, 3, 1, 2, 1, MIX | FAST, 0, "generic", "key new-key",
     "give a value another key, if there is no such key; 1, or 0"},
    {"COPY", copy, -3, 1, 2, 1, MIX, 0, "generic", "key new-key [DB 0] [REPLACE]",
     "write a value under another key too; 1, or 0"},
    {0},
};
