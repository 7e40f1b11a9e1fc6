/* Finding a subcommand, and the errors that all of them share. */
#include "command_internal.h"
#include "kv/check.h"

#include <stdio.h>

/* As much of a client's word as an error tells, as in Redis. */
#define SHOWN_BYTES_MAX 128u

void command_reply_text(struct command_call *call, struct buffer *text)
{
    /* A part of it would be a false answer. */
    if (buffer_failed(text))
        reply_error(call->reply, "out of memory");
    else
        reply_text(call->reply, buffer_bytes(text));
    buffer_close(text);
}

static int shown(struct bytes word)
{
    return (int)(word.size < SHOWN_BYTES_MAX ? word.size : SHOWN_BYTES_MAX);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static void refuse_arity(struct command_call *call, const struct subcommand *subcommand)
{
    char name[64];
    snprintf(name, sizeof name, "%s|%s", call->command->name, subcommand->name);
    for (char *c = name; *c != 0; c++)
        *c = lower(*c);
    reply_error(call->reply, "wrong number of arguments for '%s' command", name);
}

static void refuse_unknown(struct command_call *call)
{
    struct bytes word = call->words[1];
    reply_error(call->reply, "unknown subcommand '%.*s'. Try %s HELP.", shown(word),
                (const char *)word.data, call->command->name);
}

void subcommand_refuse(struct command_call *call)
{
    struct bytes word = call->words[1];
    reply_error(call->reply,
                "unknown subcommand or wrong number of arguments for '%.*s'. Try %s HELP.",
                shown(word), (const char *)word.data, call->command->name);
}

static bool arity_fits(int arity, size_t words)
{
    return arity >= 0 ? words == (size_t)arity : words >= (size_t)-arity;
}

/* NULL when words[1] names none. */
static const struct subcommand *find(const struct command_call *call)
{
    static const struct {
        const char *command;
        const struct subcommand *subcommands;
    } tables[] = {
        {"CLIENT", subcommands_client},   {"COMMAND", subcommands_command},
        {"CONFIG", subcommands_config},   {"FUNCTION", subcommands_function},
        {"LATENCY", subcommands_latency}, {"MEMORY", subcommands_memory},
        {"OBJECT", subcommands_object},   {"SLOWLOG", subcommands_slowlog},
    };
    size_t i = 0;
    while (strcmp(tables[i].command, call->command->name) != 0)
        CHECK(++i < sizeof tables / sizeof tables[0]);
    const struct subcommand *found = tables[i].subcommands;
    while (found->name != NULL && !command_word_is(call, 1, found->name))
        found++;
    return found->name == NULL ? NULL : found;
}

bool subcommand_is_well_formed(struct command_call *call)
{
    if (call->word_count < 2)
        return true;
    const struct subcommand *found = find(call);
    if (found == NULL)
        refuse_unknown(call);
    else if (!arity_fits(found->arity, call->word_count))
        refuse_arity(call, found);
    else
        return true;
    return false;
}

void subcommand_run(struct command_call *call)
{
    find(call)->run(call);
}

void subcommand_help(struct command_call *call, const char *const *lines, size_t count)
{
    char first[96];
    snprintf(first, sizeof first,
             "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", call->command->name);
    reply_list(call->reply, count + 3);
    reply_status(call->reply, first);
    for (size_t i = 0; i < count; i++)
        reply_status(call->reply, lines[i]);
    reply_status(call->reply, "HELP");
    reply_status(call->reply, "    Prints this help.");
}
