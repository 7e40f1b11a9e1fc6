/* The command table, and what each command does. Commands know no protocol. */
#ifndef KV_COMMAND_H
#define KV_COMMAND_H

#include "kv/bytes.h"
#include "kv/moment.h"
#include "kv/reply.h"

#include <stdbool.h>

struct command;
struct node;
struct record;
struct session;

/* A promise that a reply has to wait for. */
struct command_wait {
    bool wanted;
    bool counts; /* WAIT: the reply is the count itself, whatever it is */
    bool counts_synced; /* WAITAOF: the reply is a list of two: synced here, and the count */
    uint64_t stamp; /* of the write that is to be confirmed */
    uint64_t peers; /* how many have to */
    uint64_t timeout_ms; /* 0 = none */
    bool synced; /* … and whether it has to be on this node's disk (--fsync always) */
};

struct command_call {
    struct node *node;
    struct session *session;
    const struct command *command; /* as words[0] named it; NULL = none */
    const struct bytes *words; /* words[0] is the command's name; borrowed for the call */
    size_t word_count;
    struct moment now;
    bool in_exec; /* EXEC runs it: nothing may come between it and the next one */
    struct reply *reply;
    uint64_t written; /* out: the stamp of the last record the command wrote, 0 = none */
    struct command_wait wait; /* out */
    bool quit; /* out: the connection ends once all was sent */
};

enum command_flag {
    COMMAND_WRITE = 1, /* refused while the disk takes none, or the clock is off */
    COMMAND_READS_FIRST = 2, /* writes what follows from what it reads: see --rmw reject */
    COMMAND_LOADING = 4, /* taken while the node loads, or is refilled by its peers */
    COMMAND_NO_MULTI = 8, /* not within MULTI */
    COMMAND_AT_ONCE = 16, /* within MULTI it is run, not queued */
    COMMAND_SLOW = 32, /* may take long whatever its words are: its time is always taken */
    COMMAND_READONLY = 64, /* reads keys; for COMMAND INFO */
    COMMAND_FAST = 128, /* likewise: takes constant time */
    COMMAND_ADMIN = 256, /* likewise */
    COMMAND_OWN = 512, /* simple-kv's own: unknown to Redis */
    COMMAND_SUBCOMMANDS = 1024 /* the second word, if there is one, names one of its subcommands */
};

/* One row of the table. Arity, key positions and summary mean what they do in Redis' COMMAND. */
struct command {
    const char *name; /* in capitals, at most COMMAND_NAME_BYTES_MAX */
    void (*run)(struct command_call *call);
    int arity; /* the number of words, the name included; -n = at least n */
    /* Which words are keys; 0, 0, 0 = none; last < 0: counted from the end. */
    int key_first, key_last, key_step;
    unsigned flags;
    unsigned rest_index; /* which word takes the rest of a line; 0 = none */
    const char *group; /* of COMMAND DOCS: string, generic, connection, server, transactions */
    const char *usage; /* the words after the name */
    const char *summary;
};

#define COMMAND_NAME_BYTES_MAX 15u

/* All commands, for finding them by name. About 150 rows; a node has one index. */
#define COMMAND_COUNT_MAX 256u
#define COMMAND_SLOTS     1024u /* a power of two, some times more than there are rows */

struct command_index {
    const struct command *sorted[COMMAND_COUNT_MAX]; /* by name */
    size_t count;
    const struct command *slots[COMMAND_SLOTS]; /* by a hash of the name, with linear probing */
};

/* Gathers the parts of the table. */
void command_index_init(struct command_index *index);

/* NULL when there is no such command. Any case. */
const struct command *command_find(const struct command_index *index, struct bytes name);

/* Runs call->command, or answers why not. */
void command_run(struct command_call *call);

/* Whether a known command has as many words as it takes; of its subcommand, nothing is told. */
bool command_has_its_words(const struct command_call *call);

/* Whether it could be run as far as its name, its subcommand's name and the number of words tell; if not, it
 * has answered so. */
bool command_is_well_formed(struct command_call *call);

/* Answers that the answer would be too long (--max-reply). */
void command_refuse_reply(struct command_call *call);

/* Answers that the number of words is wrong. */
void command_refuse_arity(struct command_call *call);

/* With --rmw reject: answers that the command is refused, and returns true. For those that only read
 * first with some options; COMMAND_READS_FIRST is checked before. */
bool command_refuse_rmw(struct command_call *call);

/* Adds every command's usage and summary to `out`, a line each; or one command's. */
void command_help(const struct command_index *index, struct buffer *out,
                  const struct command *only);

/* --- what commands share: command_shared.c --------------------------------------------------- */

/* For a command of many keys, before it comes to words[index], which is one: asks the caches for it and
 * those that follow, some at a time. The first ones were asked for before the command was run. */
void command_look_ahead(const struct command_call *call, size_t index);

/* Whether that word of the call is this one, in any case. */
bool command_word_is(const struct command_call *call, size_t index, const char *word);

/* A whole number as Redis writes it: no +, no leading zeros. False when it is none. */
bool command_parse_integer(struct bytes text, int64_t *number);

/* Likewise a word of the call, or it has answered that it is none. */
bool command_integer(struct command_call *call, size_t index, int64_t *number);

/* What a word says of time: how long from now, or a point in Unix time. */
enum command_time {
    COMMAND_SECONDS,
    COMMAND_MILLISECONDS,
    COMMAND_UNIX_SECONDS,
    COMMAND_UNIX_MILLISECONDS
};

/* The Unix ms that a word names, past ones included, or it has answered why it names none. */
bool command_time(struct command_call *call, size_t index, enum command_time time,
                  int64_t *when_ms);

/* Likewise when a value that is written is to expire: neither 0 ms from now nor before. */
bool command_expiry(struct command_call *call, size_t index, enum command_time time,
                    uint64_t *expires_ms);

/* Whether a value of that size may be written (--max-value, --max-memory), or it has answered why
 * not. expires_ms: Unix ms, 0 = never. */
bool command_admits(struct command_call *call, struct bytes key, uint64_t value_bytes,
                    uint64_t expires_ms);

/* Writes without asking whether it may; what would have expired already deletes the key. The bytes
 * must not be the store's own. 0, or -ENOMEM with nothing changed: not answered. */
int command_put(struct command_call *call, struct bytes key, struct bytes value,
                uint64_t expires_ms);

/* Likewise, but answered. */
bool command_put_or_answer(struct command_call *call, struct bytes key, struct bytes value,
                           uint64_t expires_ms);

/* Writes what a client sent, within the limits, or answers why not. The bytes must not be the
 * store's own. */
bool command_write(struct command_call *call, struct bytes key, struct bytes value,
                   uint64_t expires_ms);

/* Writes a value that the store holds once more, with another expiry or under another key, or
 * answers why not. It is copied first, and no limit refuses it. */
bool command_rewrite(struct command_call *call, struct bytes key, struct bytes value,
                     uint64_t expires_ms);

/* Copies what the store holds, to outlive a write; false when out of memory, answered. The caller
 * closes the copy in any case. */
bool command_copy(struct command_call *call, struct bytes bytes, struct buffer *copy);

/* 1 when it was there and is deleted, 0 when it was not there; -ENOMEM, answered. The key must not be
 * the store's own. */
int command_delete(struct command_call *call, struct bytes key);

/* Reads a live record, and counts whether it was there. *rec points into the store until its next
 * change. */
bool command_read(const struct command_call *call, struct bytes key, struct record *rec);

/* Likewise without counting: for commands that write. */
bool command_look(const struct command_call *call, struct bytes key, struct record *rec);

/* Where the parts of the table are, by topic; each ends with a row without a name. */
extern const struct command commands_strings[], commands_numbers[], commands_keys[],
    commands_keyspace[], commands_connection[], commands_client[], commands_server[],
    commands_introspection[], commands_monitoring[], commands_transactions[], commands_storage[],
    commands_cluster[];

/* command_storage.c */
/* Answers that the node serves nobody yet. */
void command_refuse_loading(struct command_call *call);
/* Whether the disk takes no writes; then it has answered so. */
bool command_refuse_unwritable(struct command_call *call);
/* What INFO tells of the disk. */
void command_print_storage(const struct node *n, struct buffer *out);
void command_print_persistence(const struct node *n, struct buffer *out);

#endif
