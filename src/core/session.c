/* Client sessions: commands in, replies out in their order, some of them later. */
#include "session_internal.h"

#include "kv/backup.h"
#include "kv/mutation.h"
#include "kv/resp.h"
#include "kv/slowlog.h"
#include "kv/transaction.h"

/* What is longer holds several commands, or a value to which one miss of the caches is little. */
#define FIRST_KEY_BYTES_MAX 512u

void session_init(struct session *s, struct node *node)
{
    *s = (struct session){.node = node, .id = ++node->last_session_id};
    buffer_init(&s->in, node->heap);
    buffer_init(&s->out, node->heap);
    buffer_init(&s->held, node->heap);
    buffer_init(&s->holds, node->heap);
    list_init(&s->waiting);
    list_init(&s->ready);
    list_push_back(&node->sessions, &s->all);
    node->session_count++;
    node->counters.sessions++;
}

static void free_labels(struct session *s)
{
    if (s->labels == NULL)
        return;
    buffer_close(&s->labels->name);
    buffer_close(&s->labels->library_name);
    buffer_close(&s->labels->library_version);
    heap_free(s->node->heap, s->labels);
    s->labels = NULL;
}

void session_close(struct session *s)
{
    list_remove(&s->all);
    list_remove(&s->waiting);
    list_remove(&s->ready);
    s->node->session_count--;
    backup_free(s->backup);
    session_end_flush(s);
    transaction_free(s);
    session_forget_partial(s);
    free_labels(s);
    buffer_close(&s->in);
    buffer_close(&s->out);
    buffer_close(&s->held);
    buffer_close(&s->holds);
}

void session_wake(struct session *s)
{
    if (list_is_empty(&s->ready))
        list_push_back(&s->node->ready, &s->ready);
}

void session_note_failure(struct session *s)
{
    if (buffer_failed(&s->in) || buffer_failed(&s->out) || buffer_failed(&s->held) ||
        buffer_failed(&s->holds))
        s->failed = true;
}

/* --- commands ------------------------------------------------------------------------------ */

static void run_timed(struct command_call *call)
{
    struct node *n = call->node;
    if (n->host.monotonic_us == NULL || !slowlog_wants(n->slowlog, call)) {
        command_run(call);
        return;
    }
    uint64_t begin_us = n->host.monotonic_us(n->host.owner);
    command_run(call);
    slowlog_note(n->slowlog, call, n->host.monotonic_us(n->host.owner) - begin_us);
}

/* Whether the next reply is the one that CLIENT REPLY SKIP leaves out. */
static bool take_skip(struct session *s)
{
    bool skipped = s->replies == SESSION_SKIPS_NEXT;
    if (skipped)
        s->replies = SESSION_REPLIES;
    return skipped;
}

/* Whether the reply is wanted, which CLIENT REPLY tells; SKIP is about that command and the next. */
static bool is_silent(const struct session *s, bool skipped)
{
    return skipped || s->replies != SESSION_REPLIES;
}

void session_run(struct session *s, struct moment now, const struct command *command,
                 const struct bytes *words, size_t count)
{
    struct buffer *out = session_reply_buffer(s);
    size_t before = buffer_size(out);
    struct reply reply = {.out = out, .form = s->form, .returns = s->line_returns};
    struct command_call call = {.node = s->node,
                                .session = s,
                                .command = command,
                                .words = words,
                                .word_count = count,
                                .now = now,
                                .reply = &reply};
    bool skipped = take_skip(s);
    s->last_command = command;
    if (transaction_takes(&call))
        transaction_queue(&call);
    else
        run_timed(&call);
    if (call.written != 0) {
        s->last_write = call.written;
        call.wait = session_promise(s, call.written);
    }
    s->node->counters.errors += reply.errors;
    s->closing = s->closing || call.quit;
    if (is_silent(s, skipped)) {
        buffer_truncate(out, before);
        call.wait.wanted = false;
    }
    if (s->flush != NULL && is_silent(s, skipped))
        session_silence_flush(s);
    session_settle(s, now, before, &call.wait);
}

void session_refuse(struct session *s, const char *known, const char *reason)
{
    struct buffer *out = session_reply_buffer(s);
    size_t before = buffer_size(out);
    struct reply reply = {.out = out, .form = s->form};
    if (known != NULL)
        reply_known_error(&reply, known, "%s", reason);
    else
        reply_error(&reply, "%s", reason);
    s->node->counters.errors += reply.errors;
    if (is_silent(s, take_skip(s)))
        buffer_truncate(out, before);
    session_settle(s, (struct moment){0}, before, &(struct command_wait){.wanted = false});
}

void session_refuse_output(struct session *s, const char *reason)
{
    session_close_holds(s);
    buffer_close(&s->in);
    backup_free(s->backup);
    s->backup = NULL;
    buffer_truncate(&s->out, 0);
    reply_error(&(struct reply){.out = &s->out, .form = s->form}, "%s", reason);
    s->last_write = 0; /* nothing is owed for it any more */
    s->closing = true;
    session_note_failure(s);
    session_wake(s);
}

static bool output_is_full(const struct session *s)
{
    return buffer_size(&s->out) + buffer_size(&s->held) + buffer_size(&s->holds) + s->unsent >=
               s->node->config.max_output_bytes &&
           !MUTATED(SESSION_UNBOUNDED);
}

bool session_wants_input(const struct session *s)
{
    bool held_up =
        s->backup != NULL && (s->backup->state != BACKUP_RESTORING || restore_is_paused(s->backup));
    return !s->closing && !s->input_ended && !output_is_full(s) && !held_up && s->flush == NULL;
}

/* --- input --------------------------------------------------------------------------------- */

bool session_may_run(const struct session *s)
{
    return !s->closing && !s->killed && s->backup == NULL && s->flush == NULL && !output_is_full(s);
}

/* Runs commands at the front of `input`, each in the protocol that it begins like. Returns how many bytes
 * they took. */
static size_t run_commands(struct session *s, struct moment now, struct bytes input)
{
    size_t parsed = 0, taken = 1;
    while (taken > 0 && parsed < input.size && session_may_run(s)) {
        struct bytes rest = bytes_after(input, parsed);
        if (rest.data[0] == '*')
            taken = session_run_arrays(s, now, rest);
        else if (s->form != REPLY_LINE)
            taken = session_run_inline(s, now, rest);
        else
            taken = session_run_lines(s, now, rest);
        parsed += taken;
    }
    return parsed;
}

static void run_input(struct session *s, struct moment now, struct bytes arrived)
{
    struct bytes joined = buffer_join(&s->in, arrived);
    size_t parsed = s->backup == NULL ? run_commands(s, now, joined) : 0;
    if (s->backup != NULL)
        parsed += session_run_backup(s, now, bytes_after(joined, parsed));
    buffer_keep_rest(&s->in, joined, parsed);
    session_note_failure(s);
    if (s->closing)
        buffer_close(&s->in);
}

void session_read(struct session *s, struct moment now, struct bytes bytes)
{
    s->active_mono_ms = bytes.size > 0 ? now.mono_ms : s->active_mono_ms;
    s->node->counters.client_bytes_received += bytes.size;
    if (!s->closing && !s->failed)
        run_input(s, now, bytes);
    session_wake(s);
}

bool session_first_key(struct session *s, struct bytes bytes, struct bytes *key)
{
    if (bytes.size == 0 || bytes.size > FIRST_KEY_BYTES_MAX || buffer_size(&s->in) > 0)
        return false;
    return bytes.data[0] == '*' ? session_array_key(s, bytes, key)
                                : session_line_key(s, bytes, key);
}

void session_read_end(struct session *s, struct moment now)
{
    s->input_ended = true;
    session_limit_holds(s, now.mono_ms + SESSION_ENDED_WAIT_MS);
    session_read(s, now, bytes_of(NULL, 0));
}

/* Whether there is something to run, and room for its replies. */
static bool can_resume(const struct session *s)
{
    size_t pending = buffer_size(&s->in);
    if (s->closing || s->failed || s->killed || output_is_full(s))
        return false;
    if (s->flush != NULL)
        return true;
    if (s->backup != NULL)
        return s->backup->state == BACKUP_SENDING ? !session_has_holds(s)
                                                  : restore_is_paused(s->backup);
    return pending > s->in_searched || (s->input_ended && pending > 0);
}

void session_resume(struct session *s, struct moment now)
{
    if (!can_resume(s))
        return;
    if (s->flush != NULL) {
        session_go_on_flushing(s, now);
        if (s->flush != NULL)
            return;
    }
    if (s->backup != NULL && s->backup->state == BACKUP_SENDING) {
        session_send_backup(s);
        return;
    }
    if (s->backup != NULL)
        restore_resume(s->backup);
    session_read(s, now, bytes_of(NULL, 0));
}

void session_ask_turn(struct session *s)
{
    if (can_resume(s))
        session_wake(s);
}

bool session_finished(const struct session *s)
{
    if (s->failed || s->killed)
        return true;
    bool ended = s->closing || (s->input_ended && buffer_size(&s->in) == 0 && s->backup == NULL &&
                                s->flush == NULL);
    return ended && buffer_size(&s->out) == 0 && s->unsent == 0 && !session_has_holds(s);
}
