/* Replies that are held back until their promise is kept, and those behind them. */
#include "session_internal.h"

#include "kv/mutation.h"

/* A reply in `held` that waits for confirmations. The `success_bytes` after it are its text if
 * they come; then follow `tail_bytes` of replies that wait for nothing themselves. */
struct hold {
    struct command_wait wait;
    uint64_t deadline_mono_ms;
    size_t success_bytes;
    size_t tail_bytes;
    enum reply_form form;
};

static struct hold *first_hold(const struct session *s)
{
    /* The queue's memory is only ever used for whole holds, so it is aligned as malloc gave it. */
    return (struct hold *)(void *)(s->holds.data + s->holds.start);
}

bool session_has_holds(const struct session *s)
{
    return buffer_size(&s->holds) > 0;
}

static struct hold *last_hold(const struct session *s)
{
    return (struct hold *)(void *)(s->holds.data + s->holds.end - sizeof(struct hold));
}

/* --ack-timeout is not the client's to choose; how long a WAIT may last is. */
static void limit_hold(struct hold *hold, uint64_t deadline_mono_ms)
{
    bool chosen = hold->wait.counts || hold->wait.counts_synced;
    if (hold->deadline_mono_ms == MOMENT_NEVER ||
        (chosen && hold->deadline_mono_ms > deadline_mono_ms))
        hold->deadline_mono_ms = deadline_mono_ms;
}

static void hold_reply(struct session *s, struct moment now, const struct command_wait *wait,
                       size_t success_bytes)
{
    struct hold hold = {.wait = *wait,
                        .deadline_mono_ms =
                            wait->timeout_ms == 0 ? MOMENT_NEVER : now.mono_ms + wait->timeout_ms,
                        .success_bytes = success_bytes,
                        .form = s->form};
    if (s->input_ended)
        limit_hold(&hold, now.mono_ms + SESSION_ENDED_WAIT_MS);
    buffer_append(&s->holds, bytes_of(&hold, sizeof hold));
    if (list_is_empty(&s->waiting))
        list_push_back(&s->node->waiting, &s->waiting);
    if (wait->peers > 0 && s->node->acks_wanted < wait->stamp)
        s->node->acks_wanted = wait->stamp;
}

static bool is_synced(const struct session *s, const struct hold *hold)
{
    if (!hold->wait.synced)
        return true;
    return hold->wait.counts_synced ? node_is_on_disk(s->node, hold->wait.stamp)
                                    : node_is_durable(s->node, hold->wait.stamp);
}

static uint32_t confirmations(const struct session *s, const struct hold *hold)
{
    return hold->wait.counts_synced ? node_disk_confirmations(s->node, hold->wait.stamp)
                                    : node_confirmations(s->node, hold->wait.stamp);
}

static void answer_hold(struct session *s, const struct hold *hold, uint32_t confirmed)
{
    struct reply reply = {.out = &s->out, .form = hold->form};
    if (hold->wait.counts_synced) {
        reply_list(&reply, 2);
        reply_number(&reply, node_is_on_disk(s->node, hold->wait.stamp));
        reply_number(&reply, confirmed);
    } else if (hold->wait.counts) {
        reply_number(&reply, confirmed);
    } else if (!is_synced(s, hold)) {
        reply_error(&reply, "the disk has not confirmed the write in time (--fsync always); the "
                            "write stands in this node's memory");
    } else if (confirmed >= hold->wait.peers) {
        buffer_append(&s->out, bytes_of(buffer_bytes(&s->held).data, hold->success_bytes));
    } else {
        reply_coded_error(
            &reply, "NOREPLICAS",
            "%u of %llu peers confirmed within %llu ms; the write stands on this node", confirmed,
            (unsigned long long)hold->wait.peers, (unsigned long long)hold->wait.timeout_ms);
    }
    s->node->counters.errors += reply.errors;
    buffer_consume(&s->held, hold->success_bytes);
    buffer_append(&s->out, bytes_of(buffer_bytes(&s->held).data, hold->tail_bytes));
    buffer_consume(&s->held, hold->tail_bytes);
}

void session_release(struct session *s, struct moment now)
{
    session_wake(s);
    /* After a failed allocation the queues need not agree any more; the shell will end it. */
    while (session_has_holds(s) && !s->failed) {
        const struct hold *hold = first_hold(s);
        uint32_t confirmed = confirmations(s, hold);
        bool kept = confirmed >= hold->wait.peers && is_synced(s, hold);
        if (!kept && now.mono_ms < hold->deadline_mono_ms)
            return;
        answer_hold(s, hold, confirmed);
        buffer_consume(&s->holds, sizeof *hold);
        session_note_failure(s);
    }
    session_close_holds(s);
}

bool session_is_waiting(const struct session *s)
{
    return session_has_holds(s) || s->flush != NULL;
}

void session_limit_holds(struct session *s, uint64_t deadline_mono_ms)
{
    for (size_t at = s->holds.start; at < s->holds.end; at += sizeof(struct hold)) {
        limit_hold((struct hold *)(void *)(s->holds.data + at), deadline_mono_ms);
    }
}

uint64_t session_deadline(const struct session *s)
{
    return session_has_holds(s) ? first_hold(s)->deadline_mono_ms : MOMENT_NEVER;
}

void session_close_holds(struct session *s)
{
    list_remove(&s->waiting);
    buffer_close(&s->held);
    buffer_close(&s->holds);
}

/* --- new replies ----------------------------------------------------------------------------- */

struct buffer *session_reply_buffer(struct session *s)
{
    return session_has_holds(s) ? &s->held : &s->out;
}

struct command_wait session_promise(const struct session *s, uint64_t written)
{
    uint32_t peers = s->node->config.min_acks;
    bool synced = !node_is_durable(s->node, written);
    return (struct command_wait){.wanted = peers > 0 || synced,
                                 .stamp = written,
                                 .peers = peers,
                                 .timeout_ms = peers > 0 ? s->node->config.ack_timeout_ms : 0,
                                 .synced = synced};
}

void session_settle(struct session *s, struct moment now, size_t before,
                    const struct command_wait *wait)
{
    bool behind = session_has_holds(s);
    struct buffer *out = session_reply_buffer(s);
    if (buffer_failed(out)) {
        buffer_truncate(out, before); /* the session ends: half a reply would be a false one */
        return;
    }
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
