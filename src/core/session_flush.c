/* FLUSHALL of many keys: some of them in each turn of the loop, so that others are served meanwhile. */
#include "session_internal.h"

#include "kv/store.h"

#include <inttypes.h>

/* Entries that one turn looks at. */
#define STEP_ENTRIES 128u

struct flush {
    uint64_t through; /* what was written later than this is not meant */
    uint32_t partition;
    bool cursor_open;
    struct store_cursor cursor;
    struct buffer key; /* a copy: the store's own goes with the record */
    uint64_t deleted;
    uint64_t written; /* the last delete's stamp */
    bool silent;
    enum reply_form form;
};

bool session_begin_flush(struct session *s)
{
    struct node *n = s->node;
    s->flush = heap_zalloc(n->heap, sizeof *s->flush);
    if (s->flush == NULL)
        return false;
    s->flush->through = n->clock.last;
    s->flush->form = s->form;
    buffer_init(&s->flush->key, n->heap);
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
    if (s->flush->cursor_open)
        store_cursor_close(&s->flush->cursor);
    buffer_close(&s->flush->key);
    heap_free(s->node->heap, s->flush);
    s->flush = NULL;
}

static int delete_record(struct session *s, struct moment now, const struct record *rec)
{
    struct flush *f = s->flush;
    buffer_truncate(&f->key, 0);
    buffer_append(&f->key, rec->key);
    if (buffer_failed(&f->key))
        return -1;
    struct record gone = {.key = buffer_bytes(&f->key), .tombstone = true};
    int error = node_write(s->node, now, &gone);
    if (error == 0) {
        f->written = gone.stamp;
        f->deleted++;
    }
    return error;
}

/* Returns whether there is more to do. */
static bool step(struct session *s, struct moment now, int *error)
{
    struct flush *f = s->flush;
    struct record rec;
    for (uint32_t looked_at = 0; looked_at < STEP_ENTRIES && *error == 0; looked_at++) {
        if (f->partition == STORE_PARTITIONS)
            return false;
        if (!f->cursor_open)
            store_cursor_open(&f->cursor, s->node->store, f->partition);
        f->cursor_open = true;
        if (!store_cursor_next(&f->cursor, &rec)) {
            store_cursor_close(&f->cursor);
            f->cursor_open = false;
            f->partition++;
        } else if (!rec.tombstone && rec.stamp <= f->through) {
            *error = delete_record(s, now, &rec);
        }
    }
    return *error == 0;
}

void session_go_on_flushing(struct session *s, struct moment now)
{
    struct flush *f = s->flush;
    int error = 0;
    if (step(s, now, &error))
        return;
    struct buffer *out = session_reply_buffer(s);
    size_t before = buffer_size(out);
    struct reply reply = {.out = out, .form = f->form};
    struct command_wait wait = {.wanted = false};
    if (error == 0)
        reply_ok(&reply);
    else
        reply_error(&reply, "out of memory; %" PRIu64 " keys were deleted", f->deleted);
    s->node->counters.errors += reply.errors;
    if (f->written != 0) {
        s->last_write = f->written;
        wait = session_promise(s, f->written);
    }
    if (f->silent) {
        buffer_truncate(out, before);
        wait.wanted = false;
    }
    session_end_flush(s);
    session_settle(s, now, before, &wait);
    session_note_failure(s);
}
