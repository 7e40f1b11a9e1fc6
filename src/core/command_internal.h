/* What the files of commands share beside command.h. */
#ifndef CORE_COMMAND_INTERNAL_H
#define CORE_COMMAND_INTERNAL_H

#include "kv/command.h"

/* The Redis whose commands these are. Clients decide by it what they may send. */
#define REDIS_VERSION "7.0.15"

/* Answers with a text, and frees it. */
void command_reply_text(struct command_call *call, struct buffer *text);

/* command_config.c, info.c: too long to be beside the others of their table */
void command_config(struct command_call *call);
void command_info(struct command_call *call);

/* --- subcommands: what the second word says ------------------------------------------------- */

struct subcommand {
    const char *name; /* in capitals; NULL ends a table */
    void (*run)(struct command_call *call);
    int arity; /* words, the command's two names included; -n = at least n */
};

/* Runs the one that words[1] names, or answers why not. */
void subcommand_run(struct command_call *call, const struct subcommand *table);

/* Answers that words[1] is none of the command's subcommands, or that its words are too many. */
void subcommand_refuse(struct command_call *call);

/* The reply of HELP: `lines` between the two that every command's has. */
void subcommand_help(struct command_call *call, const char *const *lines, size_t count);

/* --- session_labels.c: what a client says of itself ----------------------------------------- */

enum session_label { SESSION_NAME, SESSION_LIBRARY_NAME, SESSION_LIBRARY_VERSION };

#define SESSION_NAME_TEXT "Client names cannot contain spaces, newlines or special characters."

/* Whether it holds only printable ASCII without spaces; "" is valid. */
bool session_label_is_valid(struct bytes text);

/* An empty text takes it away. False when out of memory: nothing has changed. */
bool session_set_label(struct session *s, enum session_label which, struct bytes text);

/* Empty when there is none. Borrowed until the next change. */
struct bytes session_label(const struct session *s, enum session_label which);

#endif
