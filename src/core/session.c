/* Client sessions: lines in, replies out in their order, some of them later. */
#include "kv/session.h"

#include "kv/command.h"
#include "kv/line.h"
#include "kv/mutation.h"
#include "kv/node.h"

#include <errno.h>

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
    if (s->node->acks_wanted < wait->stamp)
        s->node->acks_wanted = wait->stamp;
}

static void answer_hold(struct session *s, const struct hold *hold, uint32_t confirmed)
{
    struct reply reply = {.out = &s->out};
    if (hold->wait.counts)
        reply_number(&reply, confirmed);
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
        if (confirmed < hold->wait.peers && now.mono_ms < hold->deadline_mono_ms)
            return;
        answer_hold(s, hold, confirmed);
        buffer_consume(&s->holds, sizeof *hold);
        note_failure(s);
    }
    list_remove(&s->waiting);
    buffer_close(&s->held);
    buffer_close(&s->holds);
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

static void run_words(struct session *s, struct moment now, const struct command *command,
                      const struct bytes *words, size_t count)
{
    bool behind = has_holds(s);
    struct buffer *out = behind ? &s->held : &s->out;
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
        if (s->node->config.min_acks > 0)
            call.wait = (struct command_wait){.wanted = true,
                                              .stamp = call.written,
                                              .peers = s->node->config.min_acks,
                                              .timeout_ms = s->node->config.ack_timeout_ms};
    }
    s->closing = s->closing || call.quit;
    size_t added = buffer_size(out) - before;
    if (call.wait.wanted) {
        if (!behind) {
            buffer_append(&s->held, bytes_after(buffer_bytes(out), before));
            buffer_truncate(out, before);
        }
        hold_reply(s, now, &call.wait, added);
    } else if (behind) {
        last_hold(s)->tail_bytes += added;
    }
}

/* Answers, in its turn, what is no command. */
static void refuse(struct session *s, const char *reason)
{
    bool behind = has_holds(s);
    struct buffer *out = behind ? &s->held : &s->out;
    size_t before = buffer_size(out);
    reply_error(&(struct reply){.out = out}, "%s", reason);
    if (behind)
        last_hold(s)->tail_bytes += buffer_size(out) - before;
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
    return !s->closing && !s->input_ended && !output_is_full(s);
}

/* Runs the complete lines at the front of `input`. Returns how many bytes they took. */
static size_t run_lines(struct session *s, struct moment now, struct bytes input)
{
    size_t parsed = 0;
    while (!s->closing && !output_is_full(s)) {
        struct bytes line, rest = bytes_after(input, parsed);
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

static void run_input(struct session *s, struct moment now, struct bytes arrived)
{
    struct bytes joined = buffer_join(&s->in, arrived);
    size_t parsed = run_lines(s, now, joined);
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
    return !s->closing && !s->failed && !output_is_full(s) &&
           (pending > s->in_searched || (s->input_ended && pending > 0));
}

void session_resume(struct session *s, struct moment now)
{
    if (can_resume(s))
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
    bool ended = s->closing || (s->input_ended && buffer_size(&s->in) == 0);
    return ended && buffer_size(&s->out) == 0 && s->unsent == 0 && !has_holds(s);
}
