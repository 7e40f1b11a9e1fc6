/* The command table, and what each command does. Commands know no protocol. */
#ifndef KV_COMMAND_H
#define KV_COMMAND_H

#include "kv/bytes.h"
#include "kv/moment.h"
#include "kv/reply.h"

#include <stdbool.h>

struct command;
struct node;
struct session;

/* A promise that a reply has to wait for. */
struct command_wait {
    bool wanted;
    bool counts; /* WAIT: the reply is the count itself, whatever it is */
    uint64_t stamp; /* of the write that is to be confirmed */
    uint64_t peers; /* how many have to */
    uint64_t timeout_ms; /* 0 = none */
    bool synced; /* … and whether it has to be on this node's disk (--fsync always) */
};

struct command_call {
    struct node *node;
    struct session *session;
    const struct command *command; /* as words[0] named it before unquoting; NULL = none */
    const struct bytes *words; /* words[0] is the command's name */
    size_t word_count;
    struct moment now;
    struct reply *reply;
    uint64_t written; /* out: the stamp of the last record the command wrote, 0 = none */
    struct command_wait wait; /* out */
    bool quit; /* out: the client has asked to leave */
};

/* Every word from key_first on is a key. */
#define COMMAND_ALL_KEYS SIZE_MAX

struct command {
    const char *name;
    void (*run)(struct command_call *call);
    bool writes; /* refused while the disk takes none, or the clock differs from most peers' */
    bool loading; /* taken while the node reads its data, or is being refilled by its peers */
    size_t words_min, words_max; /* the name included */
    size_t rest_index; /* which word takes the rest of a line; 0 = none */
    size_t key_first, key_last; /* which words are keys; 0 = none, last = COMMAND_ALL_KEYS */
    const char *usage; /* the words after the name */
    const char *summary;
};

/* NULL when there is no such command. Any case. */
const struct command *command_find(struct bytes name);

/* Runs call->command, or answers why not. */
void command_run(struct command_call *call);

/* Adds every command's usage and summary to `out`, a line each; or one command's. */
void command_help(struct buffer *out, const struct command *only);

/* command_keys.c */
void command_set(struct command_call *call);
void command_get(struct command_call *call);
void command_del(struct command_call *call);
void command_exists(struct command_call *call);
void command_setex(struct command_call *call);
void command_expire(struct command_call *call);
void command_ttl(struct command_call *call);
void command_persist(struct command_call *call);
void command_keys(struct command_call *call);
void command_count(struct command_call *call);

/* command_server.c */
void command_ping(struct command_call *call);
void command_info(struct command_call *call);
void command_peers(struct command_call *call);
void command_forget(struct command_call *call);
void command_wait(struct command_call *call);
void command_help_reply(struct command_call *call);
void command_quit(struct command_call *call);
void command_backup(struct command_call *call);
void command_restore(struct command_call *call);

/* command_storage.c */
void command_snapshot(struct command_call *call);
void command_lastsave(struct command_call *call);
/* Answers that the node serves nobody yet. */
void command_refuse_loading(struct command_call *call);
/* Whether the disk takes no writes; then it has answered so. */
bool command_refuse_unwritable(struct command_call *call);
/* What INFO tells of the disk. */
void command_print_storage(const struct node *n, struct buffer *out);

#endif
