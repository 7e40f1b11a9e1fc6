/* Commands about the server as a whole. */
#include "command_internal.h"
#include "kv/node.h"

#include <inttypes.h>
#include <stdio.h>

/* Seconds and microseconds; the node's clock has milliseconds. */
static void tell_time(struct command_call *call)
{
    char seconds[24], rest[24];
    uint64_t ms = call->now.wall_ms;
    snprintf(seconds, sizeof seconds, "%" PRIu64, ms / 1000);
    snprintf(rest, sizeof rest, "%" PRIu64, ms % 1000 * 1000);
    reply_list(call->reply, 2);
    reply_value_text(call->reply, seconds);
    reply_value_text(call->reply, rest);
}

/* There are no functions; tools that empty a server ask for this beside FLUSHALL. */
static void flush_functions(struct command_call *call)
{
    if (call->word_count > 3)
        subcommand_refuse(call);
    else if (call->word_count == 3 && !command_word_is(call, 2, "SYNC") &&
             !command_word_is(call, 2, "ASYNC"))
        reply_error(call->reply, "FUNCTION FLUSH only supports SYNC|ASYNC option");
    else
        reply_ok(call->reply);
}

const struct subcommand subcommands_function[] = {{"FLUSH", flush_functions, -2}, {.name = NULL}};

const struct command commands_server[] = {
    {"CONFIG", subcommand_run, -2, 0, 0, 0, COMMAND_ADMIN | COMMAND_LOADING | COMMAND_SUBCOMMANDS,
     0, "server", "subcommand [argument ...]", "what is set, under Redis' names; CONFIG HELP"},
    {"FUNCTION", subcommand_run, -2, 0, 0, 0, COMMAND_SUBCOMMANDS, 0, "scripting",
     "FLUSH [ASYNC|SYNC]", "FLUSH: OK, as there are no functions"},
    {"INFO", command_info, -1, 0, 0, 0, COMMAND_LOADING, 0, "server", "[section ...]",
     "facts and counters of this node, name:value"},
    {"TIME", tell_time, 1, 0, 0, 0, COMMAND_LOADING | COMMAND_FAST, 0, "server", "",
     "this node's clock: Unix seconds, and microseconds"},
    {0},
};
