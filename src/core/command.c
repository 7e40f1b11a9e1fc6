/* The command table as a whole: finding a command, and what is checked before it runs. */
#include "command_internal.h"
#include "kv/check.h"
#include "kv/node.h"
#include "kv/transaction.h"

#include <stdio.h>

#define CLOCK_TEXT                                                                                 \
    "this node's clock differs from most peers' by more than --max-clock-drift; it takes no "      \
    "writes until that is set right (PEERS tells by how much)"

/* Words that an error about an unknown command quotes, in bytes. */
#define QUOTED_BYTES_MAX 128u

/* --- finding ------------------------------------------------------------------------------- */

static uint8_t upper(uint8_t c)
{
    return c >= 'a' && c <= 'z' ? (uint8_t)(c - 'a' + 'A') : c;
}

/* Few steps for a short name, in any case: this is part of every command. */
static size_t slot_of(struct bytes name)
{
    uint32_t hash = (uint32_t)name.size;
    for (size_t i = 0; i < name.size; i++)
        hash = hash * 31 + (name.data[i] & 0xdfu); /* without the bit that tells the case */
    return (hash ^ hash >> 10) % COMMAND_SLOTS;
}

static bool is_named(const struct command *c, struct bytes name)
{
    for (size_t i = 0; i < name.size; i++) {
        if (c->name[i] == 0 || upper(name.data[i]) != (uint8_t)c->name[i])
            return false;
    }
    return c->name[name.size] == 0;
}

const struct command *command_find(const struct command_index *index, struct bytes name)
{
    if (name.size == 0 || name.size > COMMAND_NAME_BYTES_MAX)
        return NULL;
    for (size_t slot = slot_of(name);; slot = (slot + 1) % COMMAND_SLOTS) {
        const struct command *c = index->slots[slot];
        if (c == NULL || is_named(c, name))
            return c;
    }
}

static void add(struct command_index *index, const struct command *c)
{
    size_t at = index->count++, slot = slot_of(bytes_text(c->name));
    CHECK(at < COMMAND_COUNT_MAX && strlen(c->name) <= COMMAND_NAME_BYTES_MAX);
    for (; at > 0 && strcmp(index->sorted[at - 1]->name, c->name) > 0; at--)
        index->sorted[at] = index->sorted[at - 1];
    index->sorted[at] = c;
    while (index->slots[slot] != NULL)
        slot = (slot + 1) % COMMAND_SLOTS;
    index->slots[slot] = c;
}

void command_index_init(struct command_index *index)
{
    static const struct command *const parts[] = {
        commands_strings,    commands_numbers, commands_keys,         commands_keyspace,
        commands_connection, commands_client,  commands_server,       commands_introspection,
        commands_monitoring, commands_storage, commands_transactions, commands_cluster};
    *index = (struct command_index){0};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        for (const struct command *c = parts[i]; c->name != NULL; c++)
            add(index, c);
    }
}

/* --- running ------------------------------------------------------------------------------- */

/* As Redis does: the words in quotes, as many as fit. */
static void refuse_unknown(struct command_call *call)
{
    char known[QUOTED_BYTES_MAX * 2 + 128];
    struct bytes name = call->words[0];
    int shown = name.size < QUOTED_BYTES_MAX ? (int)name.size : (int)QUOTED_BYTES_MAX;
    size_t size = (size_t)snprintf(known, sizeof known,
                                   "ERR unknown command '%.*s', with args beginning with: ", shown,
                                   (const char *)name.data);
    size_t begin = size;
    for (size_t i = 1; i < call->word_count && size - begin < QUOTED_BYTES_MAX; i++) {
        struct bytes word = call->words[i];
        size_t room = QUOTED_BYTES_MAX - (size - begin);
        int quoted = word.size < room ? (int)word.size : (int)room;
        size += (size_t)snprintf(known + size, sizeof known - size, "'%.*s' ", quoted,
                                 (const char *)word.data);
    }
    reply_known_error(call->reply, known, "unknown command '%.*s'; HELP lists the commands",
                      name.size < 64 ? (int)name.size : 64, (const char *)name.data);
}

/* How much of the usage is so in a line too: whatever follows the word that takes the rest of the line is
 * part of that. */
static int line_usage_bytes(const struct command *c)
{
    const char *end = c->usage;
    for (unsigned words = c->rest_index; words > 0 && end[0] != 0; words--)
        end += strcspn(end + (end[0] == ' '), " ") + (end[0] == ' ');
    return (int)(c->rest_index > 0 ? (size_t)(end - c->usage) : strlen(c->usage));
}

void command_refuse_arity(struct command_call *call)
{
    const struct command *c = call->command;
    char known[80], lower[COMMAND_NAME_BYTES_MAX + 1] = "";
    for (size_t i = 0; c->name[i] != 0; i++)
        lower[i] = (char)(c->name[i] >= 'A' && c->name[i] <= 'Z' ? c->name[i] | 0x20 : c->name[i]);
    snprintf(known, sizeof known, "ERR wrong number of arguments for '%s' command", lower);
    reply_known_error(call->reply, known, "wrong number of words for %s; usage: %s%s%.*s", c->name,
                      c->name, c->usage[0] == 0 ? "" : " ", line_usage_bytes(c), c->usage);
}

bool command_has_its_words(const struct command_call *call)
{
    int arity = call->command->arity;
    return arity < 0 ? call->word_count >= (size_t)-arity : call->word_count == (size_t)arity;
}

bool command_is_well_formed(struct command_call *call)
{
    const struct command *c = call->command;
    if (c == NULL) {
        refuse_unknown(call);
        return false;
    }
    if (!command_has_its_words(call)) {
        if (!transaction_abort(call))
            command_refuse_arity(call);
        return false;
    }
    return (c->flags & COMMAND_SUBCOMMANDS) == 0 || subcommand_is_well_formed(call);
}

/* Answers when one of the keys cannot be a key. */
static bool keys_are_valid(const struct command_call *call)
{
    const struct command *c = call->command;
    if (c->key_first == 0)
        return true;
    size_t last = c->key_last < 0 ? call->word_count - 1 : (size_t)c->key_last;
    for (size_t i = (size_t)c->key_first; i <= last && i < call->word_count;
         i += (size_t)c->key_step) {
        size_t size = call->words[i].size;
        if (size >= 1 && size <= RECORD_KEY_BYTES_MAX)
            continue;
        reply_error(call->reply, "key of %zu bytes; a key takes 1 to %u", size,
                    RECORD_KEY_BYTES_MAX);
        return false;
    }
    return true;
}

bool command_refuse_rmw(struct command_call *call)
{
    if (!call->node->config.rmw_reject)
        return false;
    reply_error(call->reply,
                "%s reads and then writes: of two at a time on two nodes, one would be lost; this "
                "node refuses such commands (--rmw reject)",
                call->command->name);
    return true;
}

void command_run(struct command_call *call)
{
    const struct node *n = call->node;
    call->node->counters.commands++;
    if (!command_is_well_formed(call))
        return;
    unsigned flags = call->command->flags;
    if ((n->loading || n->refilling) && (flags & COMMAND_LOADING) == 0)
        command_refuse_loading(call);
    else if ((flags & COMMAND_WRITE) != 0 && n->clock_disagrees)
        reply_error(call->reply, CLOCK_TEXT);
    else if ((flags & COMMAND_WRITE) != 0 && command_refuse_unwritable(call))
        return;
    else if ((flags & COMMAND_READS_FIRST) != 0 && command_refuse_rmw(call))
        return;
    else if (keys_are_valid(call))
        call->command->run(call);
}

void command_help(const struct command_index *index, struct buffer *out, const struct command *only)
{
    for (size_t i = 0; i < index->count; i++) {
        const struct command *c = index->sorted[i];
        if (only == NULL || only == c)
            buffer_printf(out, "%-13s %-31.*s %s\n", c->name, line_usage_bytes(c), c->usage,
                          c->summary);
    }
}
