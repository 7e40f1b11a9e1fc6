/* The last slow commands, and the latencies of commands. */
#include "kv/slowlog.h"

#include "command_internal.h"
#include "kv/check.h"
#include "kv/node.h"

#include <inttypes.h>
#include <stdio.h>

/* "... (18446744073709551615 more arguments)" and its NUL. */
#define LEFT_OUT_BYTES 48u

struct slowlog *slowlog_new(struct heap *heap)
{
    struct slowlog *log = heap_zalloc(heap, sizeof *log);
    if (log == NULL)
        return NULL;
    log->heap = heap;
    log->threshold_us = SLOWLOG_THRESHOLD_US;
    log->length_max = SLOWLOG_LENGTH;
    list_init(&log->commands);
    return log;
}

static void forget(struct slowlog *log, struct slow_command *slow)
{
    list_remove(&slow->all);
    log->length--;
    heap_free(log->heap, slow);
}

static void shorten(struct slowlog *log, uint64_t length)
{
    while (log->length > length)
        forget(log, container_of(log->commands.prev, struct slow_command, all));
}

void slowlog_reset(struct slowlog *log)
{
    shorten(log, 0);
}

void slowlog_free(struct slowlog *log)
{
    if (log == NULL)
        return;
    slowlog_reset(log);
    heap_free(log->heap, log);
}

bool slowlog_wants(const struct slowlog *log, const struct command_call *call)
{
    size_t bytes = 0;
    if (log->threshold_us < 0 && log->latency_threshold_ms == 0)
        return false;
    if ((log->threshold_us >= 0 && log->threshold_us < SLOWLOG_ALWAYS_US) ||
        call->word_count > SLOWLOG_MANY_WORDS ||
        (call->command != NULL && (call->command->flags & COMMAND_SLOW) != 0))
        return true;
    for (size_t i = 0; i < call->word_count; i++)
        bytes += call->words[i].size;
    return bytes > SLOWLOG_LARGE_BYTES;
}

/* --- slow commands -------------------------------------------------------------------------- */

/* Appends a word as it is kept: whole, or its begin and how much is missing. */
static void keep_word(struct slow_command *slow, size_t *at, struct bytes word)
{
    char left_out[LEFT_OUT_BYTES] = "";
    size_t kept = word.size < SLOWLOG_WORD_BYTES_MAX ? word.size : SLOWLOG_WORD_BYTES_MAX;
    if (kept < word.size)
        snprintf(left_out, sizeof left_out, "... (%zu more bytes)", word.size - kept);
    size_t added = strlen(left_out);
    if (kept > 0)
        memcpy(slow->words + *at, word.data, kept);
    memcpy(slow->words + *at + kept, left_out, added);
    slow->word_bytes[slow->word_count++] = (uint16_t)(kept + added);
    *at += kept + added;
}

static void keep_words(struct slow_command *slow, const struct command_call *call)
{
    size_t at = 0;
    bool all = call->word_count <= SLOWLOG_WORDS_MAX;
    size_t count = all ? call->word_count : SLOWLOG_WORDS_MAX - 1;
    char left_out[LEFT_OUT_BYTES];
    for (size_t i = 0; i < count; i++)
        keep_word(slow, &at, call->words[i]);
    if (all)
        return;
    snprintf(left_out, sizeof left_out, "... (%zu more arguments)", call->word_count - count);
    keep_word(slow, &at, bytes_text(left_out));
}

static size_t words_bytes_max(const struct command_call *call)
{
    size_t count = call->word_count < SLOWLOG_WORDS_MAX ? call->word_count : SLOWLOG_WORDS_MAX;
    return count * (SLOWLOG_WORD_BYTES_MAX + LEFT_OUT_BYTES);
}

static void keep_client(struct slow_command *slow, const struct command_call *call)
{
    const struct node_host *host = &call->node->host;
    struct bytes name = session_label(call->session, SESSION_NAME);
    char ours[SLOWLOG_ADDRESS_BYTES];
    if (host->addresses != NULL)
        host->addresses(host->owner, call->session, slow->address, ours, sizeof ours);
    snprintf(slow->name, sizeof slow->name, "%.*s", (int)name.size, (const char *)name.data);
}

static void log_command(struct slowlog *log, const struct command_call *call, uint64_t took_us)
{
    struct slow_command *slow = heap_zalloc(log->heap, sizeof *slow + words_bytes_max(call));
    if (slow == NULL)
        return;
    slow->id = log->next_id++;
    slow->time_s = call->now.wall_ms / 1000;
    slow->took_us = took_us;
    keep_client(slow, call);
    keep_words(slow, call);
    list_push_back(log->commands.next, &slow->all); /* before the first */
    log->length++;
}

/* --- latencies ------------------------------------------------------------------------------ */

static void add_sample(struct latency *l, uint64_t time_s, uint64_t ms)
{
    struct latency_sample *last =
        &l->samples[(l->next + LATENCY_SAMPLES_MAX - 1) % LATENCY_SAMPLES_MAX];
    l->max_ms = ms > l->max_ms ? ms : l->max_ms;
    if (l->count > 0 && last->time_s == time_s) {
        last->ms = ms > last->ms ? ms : last->ms;
        return;
    }
    l->samples[l->next] = (struct latency_sample){.time_s = time_s, .ms = ms};
    l->next = (l->next + 1) % LATENCY_SAMPLES_MAX;
    l->count += l->count < LATENCY_SAMPLES_MAX;
}

void slowlog_note(struct slowlog *log, const struct command_call *call, uint64_t took_us)
{
    uint64_t took_ms = took_us / 1000;
    bool fast = call->command != NULL && (call->command->flags & COMMAND_FAST) != 0;
    if (log->threshold_us >= 0 && took_us >= (uint64_t)log->threshold_us) {
        if (log->length_max > 0)
            log_command(log, call, took_us);
        shorten(log, log->length_max);
    }
    if (log->latency_threshold_ms > 0 && took_ms >= log->latency_threshold_ms)
        add_sample(&log->latency[fast ? LATENCY_FAST_COMMAND : LATENCY_COMMAND],
                   call->now.wall_ms / 1000, took_ms);
}
