/* FLUSHALL: each record that was there when it began becomes a tombstone. */
#include "kv/flush.h"

#include "kv/node.h"

#include <errno.h>
#include <inttypes.h>

void flush_init(struct flush *f, struct node *node)
{
    *f = (struct flush){.node = node, .through = node->clock.last};
    buffer_init(&f->key, node->heap);
}

void flush_close(struct flush *f)
{
    if (f->cursor_open)
        store_cursor_close(&f->cursor);
    buffer_close(&f->key);
}

static int delete_record(struct flush *f, struct moment now, const struct record *rec)
{
    buffer_truncate(&f->key, 0);
    buffer_append(&f->key, rec->key);
    if (buffer_failed(&f->key))
        return -ENOMEM;
    struct record gone = {.key = buffer_bytes(&f->key), .tombstone = true};
    int error = node_write(f->node, now, &gone);
    if (error == 0) {
        f->written = gone.stamp;
        f->deleted++;
    }
    return error;
}

int flush_step(struct flush *f, struct moment now, uint64_t entries)
{
    struct record rec;
    int error = 0;
    for (; entries > 0 && error == 0; entries--) {
        if (f->partition == STORE_PARTITIONS)
            return 0;
        if (!f->cursor_open)
            store_cursor_open(&f->cursor, f->node->store, f->partition);
        f->cursor_open = true;
        if (!store_cursor_next(&f->cursor, &rec)) {
            store_cursor_close(&f->cursor);
            f->cursor_open = false;
            f->partition++;
        } else if (!rec.tombstone && rec.stamp <= f->through) {
            error = delete_record(f, now, &rec);
        }
    }
    return error == 0 ? 1 : error;
}

void flush_answer(const struct flush *f, int outcome, struct reply *reply)
{
    if (outcome == 0)
        reply_ok(reply);
    else
        reply_error(reply, "%s; %" PRIu64 " keys were deleted",
                    outcome == -ENOMEM ? "out of memory" : "the disk takes no writes", f->deleted);
}
