/* The command table. */
#include "kv/command.h"

#include "kv/line.h"
#include "kv/node.h"

/* Sorted by name: command_find searches by halves. */
static const struct command commands[] = {
    {"BACKUP", command_backup, false, false, 1, 1, 0, 0, 0, "",
     "take this connection over and send a backup; it ends with that"},
    {"BGSAVE", command_snapshot, false, false, 1, 1, 0, 0, 0, "", "the same as SNAPSHOT"},
    {"COUNT", command_count, false, false, 1, 1, 0, 0, 0, "", "the number of keys"},
    {"DEL", command_del, true, false, 2, LINE_WORDS_MAX, 0, 1, COMMAND_ALL_KEYS, "key [key ...]",
     "delete keys; answers how many there were"},
    {"EXISTS", command_exists, false, false, 2, LINE_WORDS_MAX, 0, 1, COMMAND_ALL_KEYS,
     "key [key ...]", "how many of the keys there are"},
    {"EXPIRE", command_expire, true, false, 3, 3, 0, 1, 1, "key seconds",
     "let a key expire; 1, or 0 if there is no such key"},
    {"FORGET", command_forget, false, false, 2, 2, 0, 0, 0, "member",
     "keep no deletes for a member that is gone for good"},
    {"GET", command_get, false, false, 2, 2, 0, 1, 1, "key", "the key's value, or NOT_FOUND"},
    {"HELP", command_help_reply, false, true, 1, 2, 0, 0, 0, "[command]",
     "this list, or one command's line of it"},
    {"INFO", command_info, false, true, 1, 2, 0, 0, 0, "[section]",
     "facts and counters of this node, name:value"},
    {"KEYS", command_keys, false, false, 2, 2, 0, 0, 0, "glob",
     "the keys that match, such as user:*"},
    {"LASTSAVE", command_lastsave, false, false, 1, 1, 0, 0, 0, "",
     "when the last snapshot was begun, in Unix seconds; 0 = none by this run"},
    {"PEERS", command_peers, false, true, 1, 1, 0, 0, 0, "",
     "the other members, as this node sees them"},
    {"PERSIST", command_persist, true, false, 2, 2, 0, 1, 1, "key",
     "take a key's expiry away; 1, or 0 if it had none"},
    {"PING", command_ping, false, false, 1, 2, 1, 0, 0, "[text]", "+PONG, or the text"},
    {"QUIT", command_quit, false, true, 1, 1, 0, 0, 0, "", "end the connection"},
    {"RESTORE", command_restore, true, false, 1, 1, 0, 0, 0, "",
     "take this connection over and write what a backup sent on it holds"},
    {"SET", command_set, true, false, 3, 3, 2, 1, 1, "key value",
     "store a value: the rest of the line"},
    {"SETEX", command_setex, true, false, 4, 4, 3, 1, 1, "key seconds value",
     "store a value that expires"},
    {"SNAPSHOT", command_snapshot, false, false, 1, 1, 0, 0, 0, "",
     "write all data to a new file in --data-dir, while all goes on"},
    {"TTL", command_ttl, false, false, 2, 2, 0, 1, 1, "key",
     "seconds until the key expires; -1 never, -2 no such key"},
    {"WAIT", command_wait, false, false, 3, 3, 0, 0, 0, "peers milliseconds",
     "wait until so many peers have this connection's last write; answers how many do"},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

#define CLOCK_TEXT                                                                                 \
    "this node's clock differs from most peers' by more than --max-clock-drift; it takes no "      \
    "writes until that is set right (PEERS tells by how much)"

/* Longer than any command's name. */
#define NAME_BYTES_MAX 16

const struct command *command_find(struct bytes name)
{
    uint8_t upper[NAME_BYTES_MAX];
    if (name.size > sizeof upper)
        return NULL;
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        upper[i] = c >= 'a' && c <= 'z' ? (uint8_t)(c - 'a' + 'A') : c;
    }
    size_t low = 0, high = COMMAND_COUNT;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = bytes_compare(bytes_of(upper, name.size), bytes_text(commands[middle].name));
        if (order == 0)
            return &commands[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* Answers when one of the keys cannot be a key. */
static bool keys_are_valid(const struct command_call *call, const struct command *command)
{
    size_t last = command->key_last < call->word_count ? command->key_last : call->word_count - 1;
    for (size_t i = command->key_first; i > 0 && i <= last; i++) {
        size_t size = call->words[i].size;
        if (size >= 1 && size <= RECORD_KEY_BYTES_MAX)
            continue;
        reply_error(call->reply, "key of %zu bytes; a key takes 1 to %u", size,
                    RECORD_KEY_BYTES_MAX);
        return false;
    }
    return true;
}

void command_run(struct command_call *call)
{
    struct bytes name = call->words[0];
    const struct command *command = call->command;
    call->node->counters.commands++;
    if (command == NULL) {
        int shown = name.size < 64 ? (int)name.size : 64;
        reply_error(call->reply, "unknown command '%.*s'; HELP lists the commands", shown,
                    (const char *)name.data);
    } else if (call->word_count < command->words_min || call->word_count > command->words_max) {
        reply_error(call->reply, "wrong number of words for %s; usage: %s%s%s", command->name,
                    command->name, command->usage[0] == 0 ? "" : " ", command->usage);
    } else if ((call->node->loading || call->node->refilling) && !command->loading) {
        command_refuse_loading(call);
    } else if (command->writes && call->node->clock_disagrees) {
        reply_error(call->reply, CLOCK_TEXT);
    } else if (command->writes && command_refuse_unwritable(call)) {
        return;
    } else if (keys_are_valid(call, command)) {
        command->run(call);
    }
}

void command_help(struct buffer *out, const struct command *only)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const struct command *c = &commands[i];
        if (only == NULL || only == c)
            buffer_printf(out, "%-8s%-22s%s\n", c->name, c->usage, c->summary);
    }
}
