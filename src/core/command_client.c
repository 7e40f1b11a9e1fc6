/* CLIENT: who is connected, and what a connection says of itself. */
#include "command_internal.h"
#include "kv/check.h"
#include "kv/node.h"
#include "kv/transaction.h"

#include <inttypes.h>

/* "[IPv6]:port" and its NUL. */
#define ADDRESS_BYTES 64u

/* Which connections are meant. */
struct client_filter {
    int64_t id; /* 0 = any */
    const struct bytes *theirs, *ours; /* addresses; NULL = any */
    bool none; /* of a type that there is not */
    bool skips_self;
};

static void addresses_of(const struct session *s, char *theirs, char *ours)
{
    const struct node_host *host = &s->node->host;
    theirs[0] = ours[0] = 0;
    if (host->addresses != NULL)
        host->addresses(host->owner, s, theirs, ours, ADDRESS_BYTES);
}

/* --- INFO and LIST -------------------------------------------------------------------------- */

static size_t output_bytes(const struct session *s)
{
    return buffer_size(&s->out) + buffer_size(&s->held) + s->unsent;
}

static size_t memory_bytes(const struct session *s)
{
    return sizeof *s + s->in.capacity + s->out.capacity + s->held.capacity + s->holds.capacity +
           s->unsent;
}

static void print_text(struct buffer *out, const char *field, struct bytes text)
{
    buffer_append_text(out, field);
    buffer_append(out, text);
}

static void print_flags(const struct session *s, struct buffer *out)
{
    size_t before = buffer_size(out);
    if (transaction_queued(s) >= 0)
        buffer_append_text(out, "x");
    if (session_is_waiting(s))
        buffer_append_text(out, "b");
    if (s->closing)
        buffer_append_text(out, "c");
    if (s->killed)
        buffer_append_text(out, "A");
    if (buffer_size(out) == before)
        buffer_append_text(out, "N");
}

/* The command's name as "client|list": it is the one that is being run, or was last. */
static void print_command(const struct command_call *call, const struct session *s,
                          struct buffer *out)
{
    static const char *const own[] = {"info", "list", "kill", NULL};
    const struct command *c = s == call->session ? call->command : s->last_command;
    buffer_append_text(out, " cmd=");
    for (const char *at = c == NULL ? "NULL" : c->name; *at != 0; at++) {
        char lower = c != NULL && *at >= 'A' && *at <= 'Z' ? (char)(*at - 'A' + 'a') : *at;
        buffer_append(out, bytes_of(&lower, 1));
    }
    for (size_t i = 0; s == call->session && own[i] != NULL; i++) {
        if (bytes_equal_ignoring_case(call->words[1], bytes_text(own[i])))
            buffer_printf(out, "|%s", own[i]);
    }
}

/* The fields of Redis that there is something to say of. */
static void print_client(const struct command_call *call, const struct session *s,
                         struct buffer *out)
{
    char theirs[ADDRESS_BYTES], ours[ADDRESS_BYTES];
    uint64_t now = call->now.mono_ms;
    addresses_of(s, theirs, ours);
    buffer_printf(out, "id=%" PRIu64 " addr=%s laddr=%s", s->id, theirs, ours);
    print_text(out, " name=", session_label(s, SESSION_NAME));
    buffer_printf(out, " age=%" PRIu64 " idle=%" PRIu64 " flags=", (now - s->opened_mono_ms) / 1000,
                  (now - s->active_mono_ms) / 1000);
    print_flags(s, out);
    buffer_printf(out, " db=0 sub=0 psub=0 ssub=0 multi=%" PRId64, transaction_queued(s));
    buffer_printf(out, " qbuf=%zu qbuf-free=%zu", buffer_size(&s->in),
                  s->in.capacity - buffer_size(&s->in));
    buffer_printf(out, " obl=%zu oll=0 omem=%zu tot-mem=%zu events=%s%s", output_bytes(s),
                  output_bytes(s), memory_bytes(s), session_wants_input(s) ? "r" : "",
                  output_bytes(s) > 0 ? "w" : "");
    print_command(call, s, out);
    buffer_printf(out, " user=default redir=-1 resp=%d", s->form == REPLY_RESP3 ? 3 : 2);
    print_text(out, " lib-name=", session_label(s, SESSION_LIBRARY_NAME));
    print_text(out, " lib-ver=", session_label(s, SESSION_LIBRARY_VERSION));
    buffer_append_text(out, "\n");
}

static void info(struct command_call *call)
{
    struct buffer text;
    buffer_init(&text, call->node->heap);
    print_client(call, call->session, &text);
    command_reply_text(call, &text);
}

/* All connections are of the type "normal": there are no replicas and no subscribers. False when it
 * is no type. */
static bool read_type(struct command_call *call, size_t index, bool *none)
{
    static const char *const types[] = {"normal", "slave", "replica", "pubsub", "master"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (command_word_is(call, index, types[i])) {
            *none = i != 0;
            return true;
        }
    }
    struct bytes word = call->words[index];
    reply_error(call->reply, "Unknown client type '%.*s'", (int)(word.size < 128 ? word.size : 128),
                (const char *)word.data);
    return false;
}

static void list_all(struct command_call *call)
{
    struct buffer text;
    buffer_init(&text, call->node->heap);
    list_for_each (item, &call->node->sessions) {
        print_client(call, container_of(item, struct session, all), &text);
    }
    command_reply_text(call, &text);
}

static struct session *find_client(const struct node *n, uint64_t id)
{
    list_for_each (item, &n->sessions) {
        struct session *s = container_of(item, struct session, all);
        if (s->id == id)
            return s;
    }
    return NULL;
}

static void list_by_id(struct command_call *call)
{
    struct buffer text;
    int64_t id;
    buffer_init(&text, call->node->heap);
    for (size_t i = 3; i < call->word_count; i++) {
        if (!bytes_parse_i64(call->words[i], &id)) {
            reply_error(call->reply, "Invalid client ID");
            buffer_close(&text);
            return;
        }
        const struct session *s = id <= 0 ? NULL : find_client(call->node, (uint64_t)id);
        if (s != NULL)
            print_client(call, s, &text);
    }
    command_reply_text(call, &text);
}

static void list(struct command_call *call)
{
    bool none = false;
    if (call->word_count > 3 && command_word_is(call, 2, "ID")) {
        list_by_id(call);
    } else if (call->word_count == 4 && command_word_is(call, 2, "TYPE")) {
        if (!read_type(call, 3, &none))
            return;
        if (none)
            reply_text(call->reply, bytes_of(NULL, 0));
        else
            list_all(call);
    } else if (call->word_count > 2) {
        reply_error_syntax(call->reply);
    } else {
        list_all(call);
    }
}

/* --- KILL ----------------------------------------------------------------------------------- */

static bool is_meant(const struct command_call *call, const struct session *s,
                     const struct client_filter *filter)
{
    char theirs[ADDRESS_BYTES], ours[ADDRESS_BYTES];
    if (filter->none || s->killed || (filter->skips_self && s == call->session) ||
        (filter->id != 0 && s->id != (uint64_t)filter->id))
        return false;
    addresses_of(s, theirs, ours);
    return (filter->theirs == NULL || bytes_equal(*filter->theirs, bytes_text(theirs))) &&
           (filter->ours == NULL || bytes_equal(*filter->ours, bytes_text(ours)));
}

/* Ends those that are meant; the own connection once it has its answer. Returns how many. */
static int64_t kill_all(struct command_call *call, const struct client_filter *filter)
{
    int64_t killed = 0;
    list_for_each (item, &call->node->sessions) {
        struct session *s = container_of(item, struct session, all);
        if (!is_meant(call, s, filter))
            continue;
        killed++;
        if (s == call->session) {
            call->quit = true;
        } else {
            s->killed = true;
            session_wake(s);
        }
    }
    return killed;
}

static bool read_user(struct command_call *call, size_t index)
{
    struct bytes word = call->words[index];
    if (bytes_equal(word, bytes_text("default")))
        return true;
    reply_error(call->reply, "No such user '%.*s'", (int)(word.size < 128 ? word.size : 128),
                (const char *)word.data);
    return false;
}

/* Reads the pair at words[index], or answers why not. */
static bool read_filter(struct command_call *call, size_t index, struct client_filter *filter)
{
    const struct bytes *value = &call->words[index + 1];
    if (command_word_is(call, index, "ID")) {
        if (bytes_parse_i64(*value, &filter->id) && filter->id > 0)
            return true;
        reply_error(call->reply, "client-id should be greater than 0");
        return false;
    }
    if (command_word_is(call, index, "TYPE"))
        return read_type(call, index + 1, &filter->none);
    if (command_word_is(call, index, "USER"))
        return read_user(call, index + 1);
    if (command_word_is(call, index, "ADDR")) {
        filter->theirs = value;
        return true;
    }
    if (command_word_is(call, index, "LADDR")) {
        filter->ours = value;
        return true;
    }
    if (command_word_is(call, index, "SKIPME") &&
        (command_word_is(call, index + 1, "YES") || command_word_is(call, index + 1, "NO"))) {
        filter->skips_self = command_word_is(call, index + 1, "YES");
        return true;
    }
    reply_error_syntax(call->reply);
    return false;
}

/* The old form, with an address alone, may mean the own connection, and answers OK. */
static void kill_address(struct command_call *call)
{
    struct client_filter filter = {.theirs = &call->words[2]};
    if (kill_all(call, &filter) == 0)
        reply_error(call->reply, "No such client");
    else
        reply_ok(call->reply);
}

static void kill(struct command_call *call)
{
    struct client_filter filter = {.skips_self = true};
    if (call->word_count == 3) {
        kill_address(call);
        return;
    }
    if (call->word_count % 2 != 0) {
        reply_error_syntax(call->reply);
        return;
    }
    for (size_t i = 2; i < call->word_count; i += 2) {
        if (!read_filter(call, i, &filter))
            return;
    }
    reply_number(call->reply, kill_all(call, &filter));
}

/* --- the own connection --------------------------------------------------------------------- */

static void id(struct command_call *call)
{
    reply_number(call->reply, (int64_t)call->session->id);
}

static void get_name(struct command_call *call)
{
    struct bytes name = session_label(call->session, SESSION_NAME);
    if (name.size == 0)
        reply_missing(call->reply);
    else
        reply_value(call->reply, name);
}

static void set_label(struct command_call *call, enum session_label which, struct bytes text)
{
    if (session_set_label(call->session, which, text))
        reply_ok(call->reply);
    else
        reply_error(call->reply, "out of memory");
}

static void set_name(struct command_call *call)
{
    if (session_label_is_valid(call->words[2]))
        set_label(call, SESSION_NAME, call->words[2]);
    else
        reply_error(call->reply, SESSION_NAME_TEXT);
}

/* As Redis 7.2 has it: client libraries of today send it. */
static void set_info(struct command_call *call)
{
    bool name = command_word_is(call, 2, "LIB-NAME");
    struct bytes option = call->words[2];
    if (!name && !command_word_is(call, 2, "LIB-VER"))
        reply_error(call->reply, "Unrecognized option '%.*s'",
                    (int)(option.size < 128 ? option.size : 128), (const char *)option.data);
    else if (!session_label_is_valid(call->words[3]))
        reply_error(call->reply, "%s cannot contain spaces, newlines or special characters.",
                    name ? "lib-name" : "lib-ver");
    else
        set_label(call, name ? SESSION_LIBRARY_NAME : SESSION_LIBRARY_VERSION, call->words[3]);
}

/* Nothing is ever evicted, and no client closed for want of memory. */
static void no_evict(struct command_call *call)
{
    if (command_word_is(call, 2, "ON") || command_word_is(call, 2, "OFF"))
        reply_ok(call->reply);
    else
        reply_error_syntax(call->reply);
}

/* Only ON has a reply. */
static void reply(struct command_call *call)
{
    struct session *s = call->session;
    if (command_word_is(call, 2, "ON")) {
        s->replies = SESSION_REPLIES;
        reply_ok(call->reply);
    } else if (command_word_is(call, 2, "OFF")) {
        s->replies = SESSION_SILENT;
    } else if (command_word_is(call, 2, "SKIP")) {
        if (s->replies == SESSION_REPLIES)
            s->replies = SESSION_SKIPS_NEXT;
    } else {
        reply_error_syntax(call->reply);
    }
}

static void help(struct command_call *call)
{
    static const char *const lines[] = {
        "GETNAME",
        "    Return the name of the current connection.",
        "ID",
        "    Return the ID of the current connection.",
        "INFO",
        "    Return information about the current client connection.",
        "KILL <ip:port>",
        "    Kill connection made from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Kill connections. Options are:",
        "    * ADDR <ip:port>",
        "      Kill connections made from the specified address",
        "    * ID <client-id>",
        "      Kill the connection with that ID",
        "    * LADDR <ip:port>",
        "      Kill connections made to specified local address",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Kill connections by type.",
        "    * USER <username>",
        "      Kill connections authenticated by <username>.",
        "    * SKIPME (YES|NO)",
        "      Skip killing current connection (default: yes).",
        "LIST [options ...]",
        "    Return information about client connections. Options:",
        "    * ID <client-id> [<client-id> [...]]",
        "      Return the clients with these IDs.",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Return clients of specified type.",
        "NO-EVICT (ON|OFF)",
        "    Accepted: no client connection is ever evicted.",
        "REPLY (ON|OFF|SKIP)",
        "    Control the replies sent to the current connection.",
        "SETINFO (LIB-NAME|LIB-VER) <value>",
        "    Tell which client library the current connection uses.",
        "SETNAME <name>",
        "    Assign the name <name> to the current connection.",
    };
    subcommand_help(call, lines, sizeof lines / sizeof lines[0]);
}

const struct subcommand subcommands_client[] = {
    {"GETNAME", get_name, 2},  {"HELP", help, 2},   {"ID", id, 2},
    {"INFO", info, 2},         {"KILL", kill, -3},  {"LIST", list, -2},
    {"NO-EVICT", no_evict, 3}, {"REPLY", reply, 3}, {"SETINFO", set_info, 4},
    {"SETNAME", set_name, 3},  {.name = NULL},
};

const struct command commands_client[] = {
    {"CLIENT", subcommand_run, -2, 0, 0, 0, COMMAND_LOADING | COMMAND_SLOW | COMMAND_SUBCOMMANDS, 0,
     "connection", "subcommand [argument ...]",
     "who is connected, and what a connection says of itself; CLIENT HELP"},
    {0},
};
