/* What the files of commands share beside command.h. */
#ifndef CORE_COMMAND_INTERNAL_H
#define CORE_COMMAND_INTERNAL_H

#include "kv/command.h"

/* The Redis whose commands these are. Clients decide by it what they may send. */
#define REDIS_VERSION "7.0.15"

/* Answers with a text, and frees it. */
void command_reply_text(struct command_call *call, struct buffer *text);

/* info.c: too long to be beside the others of its table */
void command_info(struct command_call *call);

/* --- subcommands: what the second word says ------------------------------------------------- */

struct subcommand {
    const char *name; /* in capitals; NULL ends a table */
    void (*run)(struct command_call *call);
    int arity; /* words, the command's two names included; -n = at least n */
};

/* Those of one command each, where it is; which is whose: subcommand.c */
extern const struct subcommand subcommands_client[], subcommands_command[], subcommands_config[],
    subcommands_function[], subcommands_latency[], subcommands_memory[], subcommands_object[],
    subcommands_slowlog[];

/* Whether words[1], if it is there, names a subcommand that takes so many words; if not, it has answered
 * so. */
bool subcommand_is_well_formed(struct command_call *call);

/* Runs the one that words[1] names, of a call that is well-formed. */
void subcommand_run(struct command_call *call);

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
