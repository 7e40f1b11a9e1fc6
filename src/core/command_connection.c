/* Commands about the connection itself. */
#include "command_internal.h"
#include "kv/node.h"
#include "kv/transaction.h"

/* There are no passwords: every connection is the user "default", whoever it says it is. */
#define USER_DEFAULT "default"

#define NO_PASSWORD_TEXT                                                                           \
    "AUTH <password> called without any password configured for the default user. Are you sure "   \
    "your configuration is correct?"
#define WRONG_PASSWORD_TEXT "invalid username-password pair or user is disabled."

static void ping(struct command_call *call)
{
    /* On a line, a space behind PING is how people type, not an empty text. */
    bool typed = call->session->form == REPLY_LINE && call->words[call->word_count - 1].size == 0;
    if (call->word_count > 2)
        command_refuse_arity(call);
    else if (call->word_count == 2 && !typed)
        reply_value(call->reply, call->words[1]);
    else
        reply_pong(call->reply);
}

static void echo(struct command_call *call)
{
    reply_value(call->reply, call->words[1]);
}

static void quit(struct command_call *call)
{
    reply_goodbye(call->reply);
    call->quit = true;
}

static void select_database(struct command_call *call)
{
    int64_t index;
    if (!command_integer(call, 1, &index))
        return;
    if (index < INT32_MIN || index > INT32_MAX)
        reply_error(call->reply,
                    "value is out of range, value must between -2147483648 and 2147483647");
    else if (index != 0)
        reply_error(call->reply, "DB index is out of range");
    else
        reply_ok(call->reply);
}

/* Answers when that user, with whatever password, is none. */
static bool user_is_valid(struct command_call *call, struct bytes user)
{
    if (bytes_equal(user, bytes_text(USER_DEFAULT)))
        return true;
    reply_coded_error(call->reply, "WRONGPASS", WRONG_PASSWORD_TEXT);
    return false;
}

static void auth(struct command_call *call)
{
    if (call->word_count > 3)
        reply_error_syntax(call->reply);
    else if (call->word_count == 2)
        reply_error(call->reply, NO_PASSWORD_TEXT);
    else if (user_is_valid(call, call->words[1]))
        reply_ok(call->reply);
}

static void greet(struct command_call *call)
{
    struct reply *r = call->reply;
    reply_map(r, 7);
    reply_value_text(r, "server");
    reply_value_text(r, "redis");
    reply_value_text(r, "version");
    reply_value_text(r, REDIS_VERSION);
    reply_value_text(r, "proto");
    reply_number(r, call->session->form == REPLY_RESP3 ? 3 : 2);
    reply_value_text(r, "id");
    reply_number(r, (int64_t)call->session->id);
    reply_value_text(r, "mode");
    reply_value_text(r, "standalone");
    reply_value_text(r, "role");
    reply_value_text(r, "master");
    reply_value_text(r, "modules");
    reply_list(r, 0);
}

/* Reads the options of HELLO, or answers why not. name: out: data is NULL when none was given. */
static bool read_hello(struct command_call *call, struct bytes *name)
{
    *name = bytes_of(NULL, 0);
    for (size_t i = 2; i < call->word_count; i++) {
        size_t left = call->word_count - i - 1;
        if (command_word_is(call, i, "AUTH") && left >= 2) {
            if (!user_is_valid(call, call->words[i + 1]))
                return false;
            i += 2;
        } else if (command_word_is(call, i, "SETNAME") && left >= 1) {
            *name = call->words[++i];
            if (!session_label_is_valid(*name)) {
                reply_error(call->reply, SESSION_NAME_TEXT);
                return false;
            }
        } else {
            struct bytes word = call->words[i];
            reply_error(call->reply, "Syntax error in HELLO option '%.*s'",
                        (int)(word.size < 128 ? word.size : 128), (const char *)word.data);
            return false;
        }
    }
    return true;
}

/* Who asks for a version of RESP on a line is answered in it from then on. */
static void hello(struct command_call *call)
{
    struct session *s = call->session;
    struct bytes name;
    int64_t version = 0;
    if (call->word_count > 1 && !bytes_parse_i64(call->words[1], &version)) {
        reply_error(call->reply, "Protocol version is not an integer or out of range");
        return;
    }
    if (call->word_count > 1 && version != 2 && version != 3) {
        reply_coded_error(call->reply, "NOPROTO", "unsupported protocol version");
        return;
    }
    if (!read_hello(call, &name))
        return;
    if (name.data != NULL && !session_set_label(s, SESSION_NAME, name)) {
        reply_error(call->reply, "out of memory");
        return;
    }
    if (version != 0)
        s->form = call->reply->form = version == 3 ? REPLY_RESP3 : REPLY_RESP2;
    greet(call);
}

static void reset(struct command_call *call)
{
    struct session *s = call->session;
    transaction_free(s);
    session_set_label(s, SESSION_NAME, bytes_of(NULL, 0));
    s->replies = SESSION_REPLIES;
    if (s->form != REPLY_LINE)
        s->form = call->reply->form = REPLY_RESP2;
    reply_status(call->reply, "RESET");
}

static void help(struct command_call *call)
{
    const struct command_index *index = &call->node->commands;
    const struct command *only = NULL;
    struct buffer text;
    if (call->word_count > 2) {
        command_refuse_arity(call);
        return;
    }
    if (call->word_count == 2 && (only = command_find(index, call->words[1])) == NULL) {
        reply_error(call->reply, "no such command; HELP lists the commands");
        return;
    }
    buffer_init(&text, call->node->heap);
    command_help(index, &text, only);
    command_reply_text(call, &text);
}

#define ALWAYS (COMMAND_LOADING | COMMAND_FAST)

const struct command commands_connection[] = {
    {"AUTH", auth, -2, 0, 0, 0, ALWAYS, 0, "connection", "[username] password",
     "authenticate; there are no passwords, and one user, \"default\""},
    {"ECHO", echo, 2, 0, 0, 0, ALWAYS, 1, "connection", "text", "the text"},
    {"HELLO", hello, -1, 0, 0, 0, ALWAYS, 0, "connection",
     "[version [AUTH username password] [SETNAME name]]", "choose RESP 2 or 3, and who is there"},
    {"HELP", help, -1, 0, 0, 0, COMMAND_LOADING | COMMAND_OWN, 0, "server", "[command]",
     "this list, or one command's line of it"},
    {"PING", ping, -1, 0, 0, 0, COMMAND_FAST, 1, "connection", "[text]", "+PONG, or the text"},
    {"QUIT", quit, -1, 0, 0, 0, ALWAYS | COMMAND_AT_ONCE, 0, "connection", "",
     "end the connection"},
    {"RESET", reset, 1, 0, 0, 0, ALWAYS | COMMAND_AT_ONCE, 0, "connection", "",
     "begin anew: RESP 2, no name, no transaction"},
    {"SELECT", select_database, 2, 0, 0, 0, ALWAYS, 0, "connection", "index",
     "choose database 0, the only one"},
    {0},
};
