/* FLUSHALL of many keys: some of them in each turn of the loop, so that others are served meanwhile. */
#include "session_internal.h"

#include "kv/flush.h"

/* Entries that one turn looks at. */
#define STEP_ENTRIES 128u

struct session_flush {
    struct flush flush;
    bool silent;
    enum reply_form form;
};

bool session_begin_flush(struct session *s)
{
    s->flush = heap_zalloc(s->node->heap, sizeof *s->flush);
    if (s->flush == NULL)
        return false;
    flush_init(&s->flush->flush, s->node);
    s->flush->form = s->form;
    return true;
}

void session_silence_flush(struct session *s)
{
    s->flush->silent = true;
}

void session_end_flush(struct session *s)
{
    if (s->flush == NULL)
        return;
    flush_close(&s->flush->flush);
    heap_free(s->node->heap, s->flush);
    s->flush = NULL;
}

void session_go_on_flushing(struct session *s, struct moment now)
{
    struct flush *f = &s->flush->flush;
    int outcome = flush_step(f, now, STEP_ENTRIES);
    if (outcome > 0)
        return;
    struct buffer *out = session_reply_buffer(s);
    size_t before = buffer_size(out);
    struct reply reply = {.out = out, .form = s->flush->form};
    struct command_wait wait = {.wanted = false};
    flush_answer(f, outcome, &reply);
    s->node->counters.errors += reply.errors;
    if (f->written != 0) {
        s->last_write = f->written;
        wait = session_promise(s, f->written);
    }
    if (s->flush->silent) {
        buffer_truncate(out, before);
        wait.wanted = false;
    }
    session_end_flush(s);
    session_settle(s, now, before, &wait);
    session_note_failure(s);
}
