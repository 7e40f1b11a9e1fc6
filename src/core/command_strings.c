/* Commands on values as a whole. */
#include "kv/command.h"
#include "kv/node.h"

/* --- reading ------------------------------------------------------------------------------- */

static void get(struct command_call *call)
{
    struct record rec;
    if (command_read(call, call->words[1], &rec))
        reply_value(call->reply, rec.value);
    else
        reply_missing(call->reply);
}

static void get_many(struct command_call *call)
{
    struct record rec;
    struct reply *reply = call->reply, begun = *reply;
    size_t before = buffer_size(reply->out);
    reply_list(reply, call->word_count - 1);
    for (size_t i = 1; i < call->word_count; i++) {
        command_look_ahead(call, i);
        if (command_read(call, call->words[i], &rec))
            reply_value(reply, rec.value);
        else
            reply_missing(reply);
        if (buffer_size(reply->out) - before > call->node->config.max_reply_bytes) {
            buffer_truncate(reply->out, before);
            *reply = begun;
            command_refuse_reply(call);
            return;
        }
    }
}

static void measure(struct command_call *call)
{
    struct record rec;
    bool found = command_read(call, call->words[1], &rec);
    reply_number(call->reply, found ? (int64_t)rec.value.size : 0);
}

/* Positions count from 0, negative ones from the end; both ends belong to the range. */
static struct bytes range_of(struct bytes value, int64_t first, int64_t last)
{
    int64_t size = (int64_t)value.size;
    if (first < 0 && last < 0 && first > last)
        return bytes_of(NULL, 0);
    /* Sizes are far below 2^63, so the sums do not overflow. */
    first = first < 0 ? first + size : first;
    last = last < 0 ? last + size : last;
    first = first < 0 ? 0 : first;
    last = last < 0 ? 0 : last;
    last = last >= size ? size - 1 : last;
    if (first > last)
        return bytes_of(NULL, 0);
    return bytes_of(value.data + first, (size_t)(last - first + 1));
}

static void get_range(struct command_call *call)
{
    int64_t first, last;
    struct record rec = {.value = bytes_of(NULL, 0)};
    if (!command_integer(call, 2, &first) || !command_integer(call, 3, &last))
        return;
    if (!command_read(call, call->words[1], &rec))
        rec.value = bytes_of(NULL, 0);
    reply_value(call->reply, range_of(rec.value, first, last));
}

/* --- options of SET and GETEX -------------------------------------------------------------- */

struct options {
    bool only_new, only_old; /* NX, XX */
    bool get, keeps_expiry, persists;
    size_t time_index; /* the word that says when it expires; 0 = none does */
    enum command_time time;
};

static const struct {
    const char *word;
    enum command_time time;
} TIMES[] = {{"EX", COMMAND_SECONDS},
             {"PX", COMMAND_MILLISECONDS},
             {"EXAT", COMMAND_UNIX_SECONDS},
             {"PXAT", COMMAND_UNIX_MILLISECONDS}};

/* Takes a time, with its number in the word behind, if there is one. */
static bool take_time(const struct command_call *call, size_t *index, struct options *o)
{
    for (size_t i = 0; i < sizeof TIMES / sizeof TIMES[0]; i++) {
        if (!command_word_is(call, *index, TIMES[i].word))
            continue;
        if (o->keeps_expiry || o->persists || *index + 1 == call->word_count ||
            (o->time_index != 0 && o->time != TIMES[i].time))
            return false;
        o->time = TIMES[i].time;
        o->time_index = ++*index;
        return true;
    }
    return false;
}

static bool take_set_option(const struct command_call *call, size_t *index, struct options *o)
{
    if (command_word_is(call, *index, "NX") && !o->only_old)
        return o->only_new = true;
    if (command_word_is(call, *index, "XX") && !o->only_new)
        return o->only_old = true;
    if (command_word_is(call, *index, "GET"))
        return o->get = true;
    if (command_word_is(call, *index, "KEEPTTL") && o->time_index == 0)
        return o->keeps_expiry = true;
    return take_time(call, index, o);
}

static bool take_getex_option(const struct command_call *call, size_t *index, struct options *o)
{
    if (command_word_is(call, *index, "PERSIST") && o->time_index == 0)
        return o->persists = true;
    return take_time(call, index, o);
}

/* --- writing ------------------------------------------------------------------------------- */

/* Writes, and answers what was there before. old: NULL = nothing. */
static void exchange(struct command_call *call, uint64_t expires_ms, const struct record *old)
{
    struct buffer copy;
    buffer_init(&copy, call->node->heap);
    if ((old == NULL || command_copy(call, old->value, &copy)) &&
        command_write(call, call->words[1], call->words[2], expires_ms)) {
        if (old == NULL)
            reply_missing(call->reply);
        else
            reply_value(call->reply, buffer_bytes(&copy));
    }
    buffer_close(&copy);
}

static void set_with_options(struct command_call *call)
{
    struct options o = {.time_index = 0};
    struct record old;
    uint64_t expires_ms = 0;
    for (size_t i = 3; i < call->word_count; i++) {
        if (!take_set_option(call, &i, &o)) {
            reply_error_syntax(call->reply);
            return;
        }
    }
    if (o.time_index != 0 && !command_expiry(call, o.time_index, o.time, &expires_ms))
        return;
    if ((o.only_new || o.only_old || o.get || o.keeps_expiry) && command_refuse_rmw(call))
        return;
    bool found =
        o.get ? command_read(call, call->words[1], &old) : command_look(call, call->words[1], &old);
    if (found && o.keeps_expiry)
        expires_ms = old.expires_ms;
    if ((o.only_new && found) || (o.only_old && !found)) {
        if (o.get && found)
            reply_value(call->reply, old.value);
        else
            reply_missing(call->reply);
    } else if (o.get) {
        exchange(call, expires_ms, found ? &old : NULL);
    } else if (command_write(call, call->words[1], call->words[2], expires_ms)) {
        reply_ok(call->reply);
    }
}

static void set(struct command_call *call)
{
    if (call->word_count > 3)
        set_with_options(call);
    else if (command_write(call, call->words[1], call->words[2], 0))
        reply_ok(call->reply);
}

static void set_with_expiry(struct command_call *call, enum command_time time)
{
    uint64_t expires_ms;
    if (command_expiry(call, 2, time, &expires_ms) &&
        command_write(call, call->words[1], call->words[3], expires_ms))
        reply_ok(call->reply);
}

static void set_for_seconds(struct command_call *call)
{
    set_with_expiry(call, COMMAND_SECONDS);
}

static void set_for_milliseconds(struct command_call *call)
{
    set_with_expiry(call, COMMAND_MILLISECONDS);
}

static void set_new(struct command_call *call)
{
    struct record old;
    if (command_look(call, call->words[1], &old))
        reply_number(call->reply, 0);
    else if (command_write(call, call->words[1], call->words[2], 0))
        reply_number(call->reply, 1);
}

static void get_and_set(struct command_call *call)
{
    struct record old;
    exchange(call, 0, command_read(call, call->words[1], &old) ? &old : NULL);
}

static void get_and_delete(struct command_call *call)
{
    struct record old;
    struct buffer copy;
    if (!command_read(call, call->words[1], &old)) {
        reply_missing(call->reply);
        return;
    }
    if (command_copy(call, old.value, &copy) && command_delete(call, call->words[1]) == 1)
        reply_value(call->reply, buffer_bytes(&copy));
    buffer_close(&copy);
}

/* Gives the key another expiry (0 = none), and answers its value. */
static void get_and_expire(struct command_call *call, const struct record *rec, uint64_t expires_ms)
{
    struct buffer copy;
    if (command_copy(call, rec->value, &copy) &&
        command_put_or_answer(call, call->words[1], buffer_bytes(&copy), expires_ms))
        reply_value(call->reply, buffer_bytes(&copy));
    buffer_close(&copy);
}

static void get_with_options(struct command_call *call)
{
    struct options o = {.time_index = 0};
    struct record rec;
    uint64_t expires_ms = 0;
    for (size_t i = 2; i < call->word_count; i++) {
        if (!take_getex_option(call, &i, &o)) {
            reply_error_syntax(call->reply);
            return;
        }
    }
    if (!command_read(call, call->words[1], &rec)) {
        reply_missing(call->reply);
        return;
    }
    if (o.time_index != 0 && !command_expiry(call, o.time_index, o.time, &expires_ms))
        return;
    if ((o.time_index != 0 || o.persists) && command_refuse_rmw(call))
        return;
    if (expires_ms != rec.expires_ms && (o.time_index != 0 || o.persists))
        get_and_expire(call, &rec, expires_ms);
    else
        reply_value(call->reply, rec.value);
}

/* --- several keys -------------------------------------------------------------------------- */

/* Words are key, value, key, value, …; or it has answered that they are not. */
static bool are_pairs(struct command_call *call)
{
    bool pairs = call->word_count % 2 == 1;
    if (!pairs)
        command_refuse_arity(call);
    return pairs;
}

/* All or none are written, as far as limits go: each must fit as things are. False: answered. */
static bool write_pairs(struct command_call *call)
{
    const struct bytes *words = call->words;
    for (size_t i = 1; i < call->word_count; i += 2) {
        if (!command_admits(call, words[i], words[i + 1].size, 0))
            return false;
    }
    for (size_t i = 1; i < call->word_count; i += 2) {
        command_look_ahead(call, i);
        if (command_put(call, words[i], words[i + 1], 0) == 0)
            continue;
        reply_error(call->reply, "out of memory; %zu of %zu keys were written", i / 2,
                    call->word_count / 2);
        return false;
    }
    return true;
}

static void set_many(struct command_call *call)
{
    if (are_pairs(call) && write_pairs(call))
        reply_ok(call->reply);
}

static void set_many_new(struct command_call *call)
{
    struct record old;
    if (!are_pairs(call))
        return;
    for (size_t i = 1; i < call->word_count; i += 2) {
        command_look_ahead(call, i);
        if (command_look(call, call->words[i], &old)) {
            reply_number(call->reply, 0);
            return;
        }
    }
    if (write_pairs(call))
        reply_number(call->reply, 1);
}

#define READ  (COMMAND_READONLY | COMMAND_FAST)
#define WRITE COMMAND_WRITE
#define MIX   (COMMAND_WRITE | COMMAND_READS_FIRST)
#define FAST  COMMAND_FAST

const struct command commands_strings[] = {
    {"GET", get, 2, 1, 1, 1, READ, 0, "string", "key", "the key's value, or NOT_FOUND"},
    {"GETEX", get_with_options, -2, 1, 1, 1, WRITE | FAST, 0, "string",
     "key [EX seconds|PX ms|EXAT unix-seconds|PXAT unix-ms|PERSIST]",
     "the key's value; and when it expires, or that it does not"},
    {"GETDEL", get_and_delete, 2, 1, 1, 1, MIX | FAST, 0, "string", "key",
     "the key's value; and delete it"},
    {"GETSET", get_and_set, 3, 1, 1, 1, MIX | FAST, 2, "string", "key value",
     "store a value; answers the one before"},
    {"GETRANGE", get_range, 4, 1, 1, 1, COMMAND_READONLY, 0, "string", "key first last",
     "a part of the value: positions from 0, or from -1 backwards"},
    {"SUBSTR", get_range, 4, 1, 1, 1, COMMAND_READONLY, 0, "string", "key first last",
     "the same as GETRANGE"},
    {"MGET", get_many, -2, 1, -1, 1, READ, 0, "string", "key [key ...]", "the keys' values"},
    {"STRLEN", measure, 2, 1, 1, 1, READ, 0, "string", "key", "the size of the value in bytes"},
    {"SET", set, -3, 1, 1, 1, WRITE, 2, "string",
     "key value [NX|XX] [GET] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]",
     "store a value: on a line, all the rest of it"},
    {"SETNX", set_new, 3, 1, 1, 1, MIX | FAST, 2, "string", "key value",
     "store a value if there is no such key; 1, or 0"},
    {"SETEX", set_for_seconds, 4, 1, 1, 1, WRITE, 3, "string", "key seconds value",
     "store a value that expires"},
    {"PSETEX", set_for_milliseconds, 4, 1, 1, 1, WRITE, 3, "string", "key milliseconds value",
     "store a value that expires"},
    {"MSET", set_many, -3, 1, -1, 2, WRITE, 0, "string", "key value [key value ...]",
     "store several values"},
    {"MSETNX", set_many_new, -3, 1, -1, 2, MIX, 0, "string", "key value [key value ...]",
     "store several values if there is none of the keys; 1, or 0"},
    {0},
};
