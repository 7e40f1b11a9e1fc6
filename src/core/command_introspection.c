/* COMMAND: the table of commands, in the shapes that Redis' clients read. */
#include "command_internal.h"
#include "kv/node.h"

#include <stdio.h>

/* A usage is cut into so many arguments at most. */
#define ARGUMENTS_MAX 16u
#define NAME_BYTES    (COMMAND_NAME_BYTES_MAX + 1)
#define TEXTS_MAX     8u

/* A few words that make up a set. */
struct texts {
    const char *list[TEXTS_MAX];
    size_t count;
};

static void add(struct texts *t, bool wanted, const char *text)
{
    if (wanted)
        t->list[t->count++] = text;
}

static void reply_texts(struct reply *r, const struct texts *t)
{
    reply_set(r, t->count);
    for (size_t i = 0; i < t->count; i++)
        reply_status(r, t->list[i]);
}

static void reply_name(struct reply *r, const struct command *c)
{
    char name[NAME_BYTES];
    size_t size = 0;
    for (; c->name[size] != 0; size++)
        name[size] = (char)(c->name[size] >= 'A' && c->name[size] <= 'Z' ? c->name[size] | 0x20
                                                                         : c->name[size]);
    reply_value(r, bytes_of(name, size));
}

static bool has(const struct command *c, unsigned flag)
{
    return (c->flags & flag) != 0;
}

/* --- INFO ----------------------------------------------------------------------------------- */

static struct texts flags_of(const struct command *c)
{
    struct texts t = {.count = 0};
    add(&t, has(c, COMMAND_WRITE), "write");
    add(&t, has(c, COMMAND_READONLY), "readonly");
    add(&t, has(c, COMMAND_ADMIN), "admin");
    add(&t, has(c, COMMAND_LOADING), "loading");
    add(&t, has(c, COMMAND_FAST), "fast");
    add(&t, has(c, COMMAND_NO_MULTI), "no_multi");
    return t;
}

static bool is_of_group(const struct command *c, const char *group)
{
    return bytes_equal(bytes_text(c->group), bytes_text(group));
}

static struct texts categories_of(const struct command *c)
{
    struct texts t = {.count = 0};
    add(&t, is_of_group(c, "generic") && c->key_first > 0, "@keyspace");
    add(&t, has(c, COMMAND_WRITE), "@write");
    add(&t, has(c, COMMAND_READONLY), "@read");
    add(&t, is_of_group(c, "string"), "@string");
    add(&t, has(c, COMMAND_ADMIN), "@admin");
    add(&t, has(c, COMMAND_ADMIN), "@dangerous");
    add(&t, is_of_group(c, "connection"), "@connection");
    add(&t, is_of_group(c, "transactions"), "@transaction");
    add(&t, true, has(c, COMMAND_FAST) ? "@fast" : "@slow");
    return t;
}

/* One key specification says where keys begin, and where they end. */
static void reply_keys(struct reply *r, const struct command *c)
{
    static const struct texts reads = {{"RO", "access"}, 2}, writes = {{"RW", "update"}, 2};
    reply_set(r, c->key_first > 0);
    if (c->key_first == 0)
        return;
    reply_map(r, 3);
    reply_value_text(r, "flags");
    reply_texts(r, has(c, COMMAND_WRITE) ? &writes : &reads);
    reply_value_text(r, "begin_search");
    reply_map(r, 2);
    reply_value_text(r, "type");
    reply_value_text(r, "index");
    reply_value_text(r, "spec");
    reply_map(r, 1);
    reply_value_text(r, "index");
    reply_number(r, c->key_first);
    reply_value_text(r, "find_keys");
    reply_map(r, 2);
    reply_value_text(r, "type");
    reply_value_text(r, "range");
    reply_value_text(r, "spec");
    reply_map(r, 3);
    reply_value_text(r, "lastkey");
    reply_number(r, c->key_last < 0 ? c->key_last : c->key_last - c->key_first);
    reply_value_text(r, "keystep");
    reply_number(r, c->key_step);
    reply_value_text(r, "limit");
    reply_number(r, 0);
}

static void reply_command(struct reply *r, const struct command *c)
{
    struct texts flags = flags_of(c), categories = categories_of(c);
    reply_list(r, 10);
    reply_name(r, c);
    reply_number(r, c->arity);
    reply_texts(r, &flags);
    reply_number(r, c->key_first);
    reply_number(r, c->key_last);
    reply_number(r, c->key_step);
    reply_texts(r, &categories);
    reply_set(r, 0); /* tips */
    reply_keys(r, c);
    reply_set(r, 0); /* subcommands */
}

static void reply_all(struct command_call *call)
{
    const struct command_index *index = &call->node->commands;
    reply_list(call->reply, index->count);
    for (size_t i = 0; i < index->count; i++)
        reply_command(call->reply, index->sorted[i]);
}

static void info(struct command_call *call)
{
    if (call->word_count == 2) {
        reply_all(call);
        return;
    }
    reply_list(call->reply, call->word_count - 2);
    for (size_t i = 2; i < call->word_count; i++) {
        const struct command *c = command_find(&call->node->commands, call->words[i]);
        if (c != NULL)
            reply_command(call->reply, c);
        else
            reply_missing(call->reply);
    }
}

/* --- DOCS ----------------------------------------------------------------------------------- */

/* The next of a usage's arguments: a word, or all of a pair of brackets. Empty at the end. */
static struct bytes next_argument(const char **usage)
{
    while (**usage == ' ')
        (*usage)++;
    const char *begin = *usage;
    int depth = 0;
    for (; **usage != 0 && (depth > 0 || **usage != ' '); (*usage)++)
        depth += **usage == '[' ? 1 : **usage == ']' ? -1 : 0;
    return bytes_of(begin, (size_t)(*usage - begin));
}

static size_t split_usage(const char *usage, struct bytes *arguments)
{
    size_t count = 0;
    while (count < ARGUMENTS_MAX && (arguments[count] = next_argument(&usage)).size > 0)
        count++;
    return count;
}

static void reply_argument(struct reply *r, struct bytes argument)
{
    bool optional = argument.data[0] == '[' && argument.data[argument.size - 1] == ']';
    bool key = bytes_equal(argument, bytes_text("key"));
    if (optional)
        argument = bytes_of(argument.data + 1, argument.size - 2);
    reply_map(r, 2u + key + optional);
    reply_value_text(r, "name");
    reply_value(r, argument);
    reply_value_text(r, "type");
    reply_value_text(r, key ? "key" : "string");
    if (key) {
        reply_value_text(r, "key_spec_index");
        reply_number(r, 0);
    }
    if (optional) {
        reply_value_text(r, "flags");
        reply_set(r, 1);
        reply_status(r, "optional");
    }
}

static void reply_docs(struct command_call *call, const struct command *c)
{
    struct bytes arguments[ARGUMENTS_MAX];
    size_t count = split_usage(c->usage, arguments);
    struct reply *r = call->reply;
    reply_name(r, c);
    reply_map(r, 3u + (count > 0));
    reply_value_text(r, "summary");
    reply_value_text(r, c->summary);
    reply_value_text(r, "since");
    reply_value_text(r, call->node->config.version);
    reply_value_text(r, "group");
    reply_value_text(r, c->group);
    if (count == 0)
        return;
    reply_value_text(r, "arguments");
    reply_list(r, count);
    for (size_t i = 0; i < count; i++)
        reply_argument(r, arguments[i]);
}

/* Of names that are no command there is nothing to say. */
static void docs(struct command_call *call)
{
    const struct command_index *index = &call->node->commands;
    size_t named = call->word_count - 2;
    uint64_t count = 0;
    for (size_t i = 0; i < named; i++)
        count += command_find(index, call->words[2 + i]) != NULL;
    reply_map(call->reply, named == 0 ? index->count : count);
    for (size_t i = 0; i < (named == 0 ? index->count : named); i++) {
        const struct command *c =
            named == 0 ? index->sorted[i] : command_find(index, call->words[2 + i]);
        if (c != NULL)
            reply_docs(call, c);
    }
}

/* --- COUNT and LIST ------------------------------------------------------------------------- */

static void count(struct command_call *call)
{
    reply_number(call->reply, (int64_t)call->node->commands.count);
}

enum filter { FILTER_NONE, FILTER_PATTERN, FILTER_CATEGORY, FILTER_MODULE };

static bool is_of_category(const struct command *c, struct bytes category)
{
    struct texts categories = categories_of(c);
    for (size_t i = 0; i < categories.count; i++) {
        if (bytes_equal_ignoring_case(category, bytes_text(categories.list[i] + 1)))
            return true;
    }
    return false;
}

static bool matches(const struct command *c, struct bytes pattern)
{
    uint8_t lower[256];
    char name[NAME_BYTES];
    size_t size = strlen(c->name);
    if (pattern.size > sizeof lower)
        return false;
    for (size_t i = 0; i < pattern.size; i++) {
        uint8_t byte = pattern.data[i];
        lower[i] = byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
    }
    for (size_t i = 0; i < size; i++)
        name[i] = (char)(c->name[i] >= 'A' && c->name[i] <= 'Z' ? c->name[i] | 0x20 : c->name[i]);
    return bytes_match_glob(bytes_of(lower, pattern.size), bytes_of(name, size));
}

static bool is_listed(const struct command_call *call, enum filter filter, const struct command *c)
{
    switch (filter) {
    case FILTER_NONE:
        return true;
    case FILTER_PATTERN:
        return matches(c, call->words[4]);
    case FILTER_CATEGORY:
        return is_of_category(c, call->words[4]);
    case FILTER_MODULE: /* there are no modules */
        break;
    }
    return false;
}

static bool read_filter(struct command_call *call, enum filter *filter)
{
    *filter = FILTER_NONE;
    if (call->word_count == 2)
        return true;
    if (call->word_count == 5 && command_word_is(call, 2, "FILTERBY")) {
        if (command_word_is(call, 3, "PATTERN"))
            *filter = FILTER_PATTERN;
        else if (command_word_is(call, 3, "ACLCAT"))
            *filter = FILTER_CATEGORY;
        else if (command_word_is(call, 3, "MODULE"))
            *filter = FILTER_MODULE;
    }
    if (*filter != FILTER_NONE)
        return true;
    reply_error_syntax(call->reply);
    return false;
}

static void list(struct command_call *call)
{
    const struct command_index *index = &call->node->commands;
    enum filter filter;
    uint64_t listed = 0;
    if (!read_filter(call, &filter))
        return;
    for (size_t i = 0; i < index->count; i++)
        listed += is_listed(call, filter, index->sorted[i]);
    reply_list(call->reply, listed);
    for (size_t i = 0; i < index->count; i++) {
        if (is_listed(call, filter, index->sorted[i]))
            reply_name(call->reply, index->sorted[i]);
    }
}

/* --- GETKEYS -------------------------------------------------------------------------------- */

/* The command that begins at words[2]; NULL when there is none with keys, and it has answered so. */
static const struct command *command_with_keys(struct command_call *call)
{
    const struct command *c = command_find(&call->node->commands, call->words[2]);
    size_t words = call->word_count - 2, least = 0;
    if (c != NULL)
        least = (size_t)(c->arity < 0 ? -c->arity : c->arity);
    if (c == NULL)
        reply_error(call->reply, "Invalid command specified");
    else if (c->key_first == 0)
        reply_error(call->reply, "The command has no key arguments");
    else if (words < least || (c->arity > 0 && words != least))
        reply_error(call->reply, "Invalid number of arguments specified for command");
    else
        return c;
    return NULL;
}

/* Which word of the call is the last key of the command at words[2]. */
static size_t last_key(const struct command_call *call, const struct command *c)
{
    return c->key_last < 0 ? call->word_count - (size_t)-c->key_last : 2 + (size_t)c->key_last;
}

static uint64_t count_keys(const struct command_call *call, const struct command *c)
{
    size_t first = 2 + (size_t)c->key_first;
    return (last_key(call, c) - first) / (size_t)c->key_step + 1;
}

static void get_keys(struct command_call *call)
{
    const struct command *c = command_with_keys(call);
    if (c == NULL)
        return;
    reply_list(call->reply, count_keys(call, c));
    for (size_t i = 2 + (size_t)c->key_first; i <= last_key(call, c); i += (size_t)c->key_step)
        reply_key(call->reply, call->words[i]);
}

static void help(struct command_call *call)
{
    static const char *const lines[] = {
        "(no subcommand)",
        "    Return details about all commands.",
        "COUNT",
        "    Return the total number of commands in this server.",
        "LIST [FILTERBY (PATTERN <pattern>|ACLCAT <category>|MODULE <name>)]",
        "    Return a list of all commands in this server.",
        "INFO [<command-name> ...]",
        "    Return details about multiple commands.",
        "    If no command names are given, details for all commands are returned.",
        "DOCS [<command-name> ...]",
        "    Return documentation details about multiple commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "GETKEYS <full-command>",
        "    Return the keys from a full command.",
    };
    subcommand_help(call, lines, sizeof lines / sizeof lines[0]);
}

const struct subcommand subcommands_command[] = {
    {"COUNT", count, 2}, {"DOCS", docs, -2}, {"GETKEYS", get_keys, -4},
    {"HELP", help, 2},   {"INFO", info, -2}, {"LIST", list, -2},
    {.name = NULL},
};

static void command(struct command_call *call)
{
    if (call->word_count == 1)
        reply_all(call);
    else
        subcommand_run(call);
}

const struct command commands_introspection[] = {
    {"COMMAND", command, -1, 0, 0, 0, COMMAND_LOADING | COMMAND_SUBCOMMANDS, 0, "server",
     "[subcommand [argument ...]]", "the commands, for Redis' clients; COMMAND HELP"},
    {0},
};
