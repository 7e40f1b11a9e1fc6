/* Client sessions: lines in, replies out in their order, some of them later. */
#include "kv/session.h"

#include "kv/backup.h"
#include "kv/command.h"
#include "kv/line.h"
#include "kv/mutation.h"
#include "kv/node.h"

#include <errno.h>
#include <inttypes.h>

/* A reply in `held` that waits for confirmations. The `success_bytes` after it are its text if
 * they come; then follow `tail_bytes` of replies that wait for nothing themselves. */
struct hold {
    struct command_wait wait;
    uint64_t deadline_mono_ms;
    size_t success_bytes;
    size_t tail_bytes;
};

/* More than the longest possible line around a value: a command and a key with every byte escaped. */
#define LINE_OVERHEAD_BYTES (4 * RECORD_KEY_BYTES_MAX + 64)

/* How long a client that has ended its side may wait without a limit of its own: it may be gone. */
#define ENDED_WAIT_MS 60000u

/* How far a look ahead goes: no further than what is run next. */
#define LOOK_AHEAD_BYTES (8u << 10)

/* Memory that a session keeps between commands. */
#define SCRATCH_KEPT_BYTES (64u << 10)

void session_init(struct session *s, struct node *node)
{
    *s = (struct session){.node = node};
    buffer_init(&s->in, node->heap);
    buffer_init(&s->out, node->heap);
    buffer_init(&s->held, node->heap);
    buffer_init(&s->holds, node->heap);
    list_init(&s->waiting);
    list_init(&s->ready);
    list_push_back(&node->sessions, &s->all);
    node->session_count++;
}

void session_close(struct session *s)
{
    list_remove(&s->all);
    list_remove(&s->waiting);
    list_remove(&s->ready);
    s->node->session_count--;
    backup_free(s->backup);
    buffer_close(&s->in);
    buffer_close(&s->out);
    buffer_close(&s->held);
    buffer_close(&s->holds);
}

static void make_ready(struct session *s)
{
    if (list_is_empty(&s->ready))
        list_push_back(&s->node->ready, &s->ready);
}

/* Appending to a buffer tells of a failure only when asked. */
static void note_failure(struct session *s)
{
    if (buffer_failed(&s->in) || buffer_failed(&s->out) || buffer_failed(&s->held) ||
        buffer_failed(&s->holds))
        s->failed = true;
}

/* --- held replies -------------------------------------------------------------------------- */

static struct hold *first_hold(const struct session *s)
{
    /* The queue's memory is only ever used for whole holds, so it is aligned as malloc gave it. */
    return (struct hold *)(void *)(s->holds.data + s->holds.start);
}

static bool has_holds(const struct session *s)
{
    return buffer_size(&s->holds) > 0;
}

static struct hold *last_hold(const struct session *s)
{
    return (struct hold *)(void *)(s->holds.data + s->holds.end - sizeof(struct hold));
}

static void hold_reply(struct session *s, struct moment now, const struct command_wait *wait,
                       size_t success_bytes)
{
    struct hold hold = {.wait = *wait,
                        .deadline_mono_ms =
                            wait->timeout_ms == 0 ? MOMENT_NEVER : now.mono_ms + wait->timeout_ms,
                        .success_bytes = success_bytes};
    if (s->input_ended && wait->timeout_ms == 0)
        hold.deadline_mono_ms = now.mono_ms + ENDED_WAIT_MS;
    buffer_append(&s->holds, bytes_of(&hold, sizeof hold));
    if (list_is_empty(&s->waiting))
        list_push_back(&s->node->waiting, &s->waiting);
    if (wait->peers > 0 && s->node->acks_wanted < wait->stamp)
        s->node->acks_wanted = wait->stamp;
}

static bool is_synced(const struct session *s, const struct hold *hold)
{
    return !hold->wait.synced || node_is_durable(s->node, hold->wait.stamp);
}

static void answer_hold(struct session *s, const struct hold *hold, uint32_t confirmed)
{
    struct reply reply = {.out = &s->out};
    if (hold->wait.counts)
        reply_number(&reply, confirmed);
    else if (!is_synced(s, hold))
        reply_error(&reply, "the disk has not confirmed the write in time (--fsync always); the "
                            "write stands in this node's memory");
    else if (confirmed >= hold->wait.peers)
        buffer_append(&s->out, bytes_of(buffer_bytes(&s->held).data, hold->success_bytes));
    else
        reply_error(&reply,
                    "%u of %llu peers confirmed within %llu ms; the write stands on this node",
                    confirmed, (unsigned long long)hold->wait.peers,
                    (unsigned long long)hold->wait.timeout_ms);
    buffer_consume(&s->held, hold->success_bytes);
    buffer_append(&s->out, bytes_of(buffer_bytes(&s->held).data, hold->tail_bytes));
    buffer_consume(&s->held, hold->tail_bytes);
}

void session_release(struct session *s, struct moment now)
{
    make_ready(s);
    /* After a failed allocation the queues need not agree any more; the shell will end it. */
    while (has_holds(s) && !s->failed) {
        const struct hold *hold = first_hold(s);
        uint32_t confirmed = node_confirmations(s->node, hold->wait.stamp);
        bool kept = confirmed >= hold->wait.peers && is_synced(s, hold);
        if (!kept && now.mono_ms < hold->deadline_mono_ms)
            return;
        answer_hold(s, hold, confirmed);
        buffer_consume(&s->holds, sizeof *hold);
        note_failure(s);
    }
    list_remove(&s->waiting);
    buffer_close(&s->held);
    buffer_close(&s->holds);
}

void session_refuse_output(struct session *s, const char *reason)
{
    list_remove(&s->waiting);
    buffer_close(&s->held);
    buffer_close(&s->holds);
    buffer_close(&s->in);
    backup_free(s->backup);
    s->backup = NULL;
    buffer_truncate(&s->out, 0);
    reply_error(&(struct reply){.out = &s->out}, "%s", reason);
    s->last_write = 0; /* nothing is owed for it any more */
    s->closing = true;
    note_failure(s);
    make_ready(s);
}

bool session_is_waiting(const struct session *s)
{
    return has_holds(s);
}

/* Holds without a time limit get one. */
static void limit_holds(struct session *s, uint64_t deadline_mono_ms)
{
    for (size_t at = s->holds.start; at < s->holds.end; at += sizeof(struct hold)) {
        struct hold *hold = (struct hold *)(void *)(s->holds.data + at);
        if (hold->deadline_mono_ms == MOMENT_NEVER)
            hold->deadline_mono_ms = deadline_mono_ms;
    }
}

uint64_t session_deadline(const struct session *s)
{
    return has_holds(s) ? first_hold(s)->deadline_mono_ms : MOMENT_NEVER;
}

/* --- commands ------------------------------------------------------------------------------ */

static struct buffer *reply_buffer(struct session *s)
{
    return has_holds(s) ? &s->held : &s->out;
}

/* What a reply to a write has to wait for. */
static struct command_wait promise_of(const struct session *s, uint64_t written)
{
    uint32_t peers = s->node->config.min_acks;
    bool synced = !node_is_durable(s->node, written);
    return (struct command_wait){.wanted = peers > 0 || synced,
                                 .stamp = written,
                                 .peers = peers,
                                 .timeout_ms = peers > 0 ? s->node->config.ack_timeout_ms : 0,
                                 .synced = synced};
}

/* A reply has been put behind the first `before` bytes of reply_buffer: it may leave in its turn,
 * or has to wait. */
static void settle_reply(struct session *s, struct moment now, size_t before,
                         const struct command_wait *wait)
{
    bool behind = has_holds(s);
    struct buffer *out = reply_buffer(s);
    size_t added = buffer_size(out) - before;
    if (wait->wanted) {
        if (!behind) {
            buffer_append(&s->held, bytes_after(buffer_bytes(out), before));
            buffer_truncate(out, before);
        }
        hold_reply(s, now, wait, added);
    } else if (behind) {
        last_hold(s)->tail_bytes += added;
    }
}

static void run_words(struct session *s, struct moment now, const struct command *command,
                      const struct bytes *words, size_t count)
{
    struct buffer *out = reply_buffer(s);
    size_t before = buffer_size(out);
    struct reply reply = {.out = out};
    struct command_call call = {.node = s->node,
                                .session = s,
                                .command = command,
                                .words = words,
                                .word_count = count,
                                .now = now,
                                .reply = &reply};
    command_run(&call);
    if (call.written != 0) {
        s->last_write = call.written;
        call.wait = promise_of(s, call.written);
    }
    s->closing = s->closing || call.quit;
    settle_reply(s, now, before, &call.wait);
}

/* Answers, in its turn, what is no command. */
static void refuse(struct session *s, const char *reason)
{
    struct buffer *out = reply_buffer(s);
    size_t before = buffer_size(out);
    reply_error(&(struct reply){.out = out}, "%s", reason);
    settle_reply(s, (struct moment){0}, before, &(struct command_wait){.wanted = false});
}

/* What a browser sends when a web page makes it talk to this port. */
static bool looks_like_http(struct bytes first_word)
{
    return bytes_equal_ignoring_case(first_word, bytes_text("POST")) ||
           bytes_equal_ignoring_case(first_word, bytes_text("Host:"));
}

static void run_line(struct session *s, struct moment now, struct bytes line)
{
    struct bytes words[LINE_WORDS_MAX];
    struct bytes name = line_first_word(line);
    if (name.size == 0)
        return;
    if (looks_like_http(name)) {
        refuse(s, "this is not an HTTP server; the connection ends here");
        s->closing = true;
        return;
    }
    const struct command *command = command_find(name);
    int count = line_split(line, command == NULL ? LINE_NO_REST : command->rest_index, words,
                           &s->node->scratch);
    if (count == -E2BIG)
        refuse(s, "too many words; a line takes at most 1024");
    else if (count == -EBADMSG)
        refuse(s, "malformed quoted string; it takes \\\" \\\\ \\xHH and ends with \" and a space");
    else if (count < 0)
        refuse(s, "out of memory");
    else
        run_words(s, now, command, words, (size_t)count);
    if (s->node->scratch.capacity > SCRATCH_KEPT_BYTES || buffer_failed(&s->node->scratch))
        buffer_close(&s->node->scratch);
}
_Static_assert(LINE_WORDS_MAX == 1024, "the refusal above names the number");

static uint64_t line_bytes_max(const struct session *s)
{
    return s->node->config.max_value_bytes + LINE_OVERHEAD_BYTES;
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
    return !s->closing && !s->input_ended && !output_is_full(s) && !held_up;
}

/* Of a pipeline, the commands that follow each other wait for the caches together, not in turn. Returns
 * how many lines it has looked at. */
static size_t look_ahead(struct session *s, struct bytes input)
{
    struct bytes keys[STORE_PREFETCH_MAX];
    input.size = input.size < LOOK_AHEAD_BYTES ? input.size : LOOK_AHEAD_BYTES;
    size_t count = line_second_words(input, keys, STORE_PREFETCH_MAX);
    if (count > 1)
        store_prefetch(s->node->store, keys, count);
    return count;
}

/* Runs the complete lines at the front of `input`. Returns how many bytes they took. */
static size_t run_lines(struct session *s, struct moment now, struct bytes input)
{
    size_t parsed = 0, ahead = 0;
    while (!s->closing && s->backup == NULL && !output_is_full(s)) {
        struct bytes line, rest = bytes_after(input, parsed);
        if (ahead == 0)
            ahead = look_ahead(s, rest);
        ahead -= ahead > 0;
        size_t taken = line_next(rest, s->in_searched, &line);
        s->in_searched = taken == 0 ? rest.size : 0;
        if ((taken == 0 ? rest.size : line.size) > line_bytes_max(s)) {
            refuse(s, "line too long: a value takes at most --max-value bytes, a key 65535; "
                      "the connection ends here");
            s->closing = true;
        } else if (taken == 0) {
            if (s->input_ended && rest.size > 0)
                run_line(s, now, line_last(rest));
            return s->input_ended ? input.size : parsed;
        } else {
            run_line(s, now, line);
        }
        parsed += taken;
    }
    return parsed;
}

/* --- backups ------------------------------------------------------------------------------- */

static void end_backup(struct session *s)
{
    backup_free(s->backup);
    s->backup = NULL;
    s->closing = true;
}

static void send_backup(struct session *s)
{
    backup_send(s->backup, &s->out);
    if (s->backup->state == BACKUP_COMPLETE)
        end_backup(s);
    note_failure(s);
}

/* Its answer promises as much as that of a write. */
static void answer_restore(struct session *s, struct moment now)
{
    const struct backup *b = s->backup;
    struct buffer *out = reply_buffer(s);
    size_t before = buffer_size(out);
    struct command_wait wait = {.wanted = false};
    if (b->state == BACKUP_COMPLETE)
        buffer_printf(out, "OK %" PRIu64 " keys\n", b->written);
    else
        reply_error(&(struct reply){.out = out}, "%s", b->reason);
    if (b->stamp != 0) {
        s->last_write = b->stamp;
        wait = promise_of(s, b->stamp);
    }
    settle_reply(s, now, before, &wait);
    end_backup(s);
}

/* Returns how much of `from` is done with. */
static size_t run_backup(struct session *s, struct moment now, struct bytes from)
{
    if (s->backup->state != BACKUP_RESTORING)
        return from.size; /* whatever was asked behind BACKUP has no place for an answer */
    size_t taken = restore_read(s->backup, now, from, s->input_ended);
    if (s->backup->state != BACKUP_RESTORING)
        answer_restore(s, now);
    return taken;
}

/* --- input --------------------------------------------------------------------------------- */

static void run_input(struct session *s, struct moment now, struct bytes arrived)
{
    struct bytes joined = buffer_join(&s->in, arrived);
    size_t parsed = s->backup == NULL ? run_lines(s, now, joined) : 0;
    if (s->backup != NULL)
        parsed += run_backup(s, now, bytes_after(joined, parsed));
    buffer_keep_rest(&s->in, joined, parsed);
    note_failure(s);
    if (s->closing)
        buffer_close(&s->in);
}

void session_read(struct session *s, struct moment now, struct bytes bytes)
{
    if (!s->closing && !s->failed)
        run_input(s, now, bytes);
    make_ready(s);
}

void session_read_end(struct session *s, struct moment now)
{
    s->input_ended = true;
    limit_holds(s, now.mono_ms + ENDED_WAIT_MS);
    session_read(s, now, bytes_of(NULL, 0));
}

/* Whether there is something to run, and room for its replies. */
static bool can_resume(const struct session *s)
{
    size_t pending = buffer_size(&s->in);
    if (s->closing || s->failed || output_is_full(s))
        return false;
    if (s->backup != NULL)
        return s->backup->state == BACKUP_SENDING ? !has_holds(s) : restore_is_paused(s->backup);
    return pending > s->in_searched || (s->input_ended && pending > 0);
}

void session_resume(struct session *s, struct moment now)
{
    if (!can_resume(s))
        return;
    if (s->backup != NULL && s->backup->state == BACKUP_SENDING) {
        send_backup(s);
        return;
    }
    if (s->backup != NULL)
        restore_resume(s->backup);
    session_read(s, now, bytes_of(NULL, 0));
}

void session_ask_turn(struct session *s)
{
    if (can_resume(s))
        make_ready(s);
}

bool session_finished(const struct session *s)
{
    if (s->failed)
        return true;
    bool ended = s->closing || (s->input_ended && buffer_size(&s->in) == 0 && s->backup == NULL);
    return ended && buffer_size(&s->out) == 0 && s->unsent == 0 && !has_holds(s);
}
