/* SLOWLOG and LATENCY: what took long. */
#include "command_internal.h"
#include "kv/check.h"
#include "kv/node.h"
#include "kv/slowlog.h"

/* Of SLOWLOG GET without a number. */
#define ENTRIES_DEFAULT 10

/* --- SLOWLOG -------------------------------------------------------------------------------- */

static void slowlog_length(struct command_call *call)
{
    reply_number(call->reply, (int64_t)call->node->slowlog->length);
}

static void slowlog_forget(struct command_call *call)
{
    slowlog_reset(call->node->slowlog);
    reply_ok(call->reply);
}

static void reply_slow(struct reply *r, const struct slow_command *slow)
{
    const char *word = slow->words;
    reply_list(r, 6);
    reply_number(r, (int64_t)slow->id);
    reply_number(r, (int64_t)slow->time_s);
    reply_number(r, (int64_t)slow->took_us);
    reply_list(r, slow->word_count);
    for (uint32_t i = 0; i < slow->word_count; i++) {
        reply_key(r, bytes_of(word, slow->word_bytes[i]));
        word += slow->word_bytes[i];
    }
    reply_value_text(r, slow->address);
    reply_value_text(r, slow->name);
}

static void slowlog_get(struct command_call *call)
{
    const struct slowlog *log = call->node->slowlog;
    int64_t wanted = ENTRIES_DEFAULT;
    if (call->word_count > 3) {
        subcommand_refuse(call);
        return;
    }
    if (call->word_count == 3 && (!bytes_parse_i64(call->words[2], &wanted) || wanted < -1)) {
        reply_error(call->reply, "count should be greater than or equal to -1");
        return;
    }
    uint64_t left = wanted < 0 || (uint64_t)wanted > log->length ? log->length : (uint64_t)wanted;
    reply_list(call->reply, left);
    list_for_each (item, &log->commands) {
        if (left-- == 0)
            break;
        reply_slow(call->reply, container_of(item, struct slow_command, all));
    }
}

static void slowlog_help(struct command_call *call)
{
    static const char *const lines[] = {
        "GET [<count>]",
        "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
        "    Entries are made of:",
        "    id, timestamp, time in microseconds, arguments array, client IP and port,",
        "    client name",
        "LEN",
        "    Return the length of the slowlog.",
        "RESET",
        "    Reset the slowlog.",
    };
    subcommand_help(call, lines, sizeof lines / sizeof lines[0]);
}

const struct subcommand subcommands_slowlog[] = {
    {"GET", slowlog_get, -2},
    {"HELP", slowlog_help, 2},
    {"LEN", slowlog_length, 2},
    {"RESET", slowlog_forget, 2},
    {.name = NULL},
};

/* --- LATENCY -------------------------------------------------------------------------------- */

static const char *const event_names[LATENCY_EVENTS] = {
    [LATENCY_COMMAND] = "command", [LATENCY_FAST_COMMAND] = "fast-command"};

/* The i-th sample, oldest first. */
static const struct latency_sample *sample_at(const struct latency *l, uint32_t i)
{
    return &l->samples[(l->next + LATENCY_SAMPLES_MAX - l->count + i) % LATENCY_SAMPLES_MAX];
}

static void latency_latest(struct command_call *call)
{
    const struct slowlog *log = call->node->slowlog;
    uint64_t count = 0;
    for (uint32_t i = 0; i < LATENCY_EVENTS; i++)
        count += log->latency[i].count > 0;
    reply_list(call->reply, count);
    for (uint32_t i = 0; i < LATENCY_EVENTS; i++) {
        const struct latency *l = &log->latency[i];
        if (l->count == 0)
            continue;
        const struct latency_sample *last = sample_at(l, l->count - 1);
        reply_list(call->reply, 4);
        reply_value_text(call->reply, event_names[i]);
        reply_number(call->reply, (int64_t)last->time_s);
        reply_number(call->reply, (int64_t)last->ms);
        reply_number(call->reply, (int64_t)l->max_ms);
    }
}

/* NULL when nothing was ever kept under that name. */
static struct latency *find_event(struct command_call *call, size_t index)
{
    for (uint32_t i = 0; i < LATENCY_EVENTS; i++) {
        if (bytes_equal(call->words[index], bytes_text(event_names[i])))
            return &call->node->slowlog->latency[i];
    }
    return NULL;
}

static void latency_history(struct command_call *call)
{
    const struct latency *l = find_event(call, 2);
    uint32_t count = l == NULL ? 0 : l->count;
    reply_list(call->reply, count);
    for (uint32_t i = 0; i < count; i++) {
        reply_list(call->reply, 2);
        reply_number(call->reply, (int64_t)sample_at(l, i)->time_s);
        reply_number(call->reply, (int64_t)sample_at(l, i)->ms);
    }
}

/* Answers how many events there were to forget. */
static void latency_reset(struct command_call *call)
{
    int64_t count = 0;
    for (size_t i = 2; i < call->word_count || (call->word_count == 2 && i < 2 + LATENCY_EVENTS);
         i++) {
        struct latency *l =
            call->word_count == 2 ? &call->node->slowlog->latency[i - 2] : find_event(call, i);
        if (l == NULL || l->count == 0)
            continue;
        *l = (struct latency){.count = 0};
        count++;
    }
    reply_number(call->reply, count);
}

static void latency_help(struct command_call *call)
{
    static const char *const lines[] = {
        "HISTORY <event>",
        "    Return time-latency samples for the <event> class.",
        "LATEST",
        "    Return the latest latency samples for all events.",
        "RESET [<event> ...]",
        "    Reset latency data of one or more <event> classes.",
        "    (default: reset all data for all event classes)",
    };
    subcommand_help(call, lines, sizeof lines / sizeof lines[0]);
}

const struct subcommand subcommands_latency[] = {
    {"HELP", latency_help, 2},
    {"HISTORY", latency_history, 3},
    {"LATEST", latency_latest, 2},
    {"RESET", latency_reset, -2},
    {.name = NULL},
};

const struct command commands_monitoring[] = {
    {"LATENCY", subcommand_run, -2, 0, 0, 0, COMMAND_ADMIN | COMMAND_LOADING | COMMAND_SUBCOMMANDS,
     0, "server", "subcommand [argument ...]",
     "how long slow commands took, by the second; LATENCY HELP"},
    {"SLOWLOG", subcommand_run, -2, 0, 0, 0,
     COMMAND_ADMIN | COMMAND_LOADING | COMMAND_SLOW | COMMAND_SUBCOMMANDS, 0, "server",
     "subcommand [argument ...]", "the last commands that took long; SLOWLOG HELP"},
    {0},
};
