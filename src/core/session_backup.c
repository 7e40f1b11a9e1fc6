/* A session whose connection a backup or restore has taken over. */
#include "session_internal.h"

#include "kv/backup.h"

#include <inttypes.h>
#include <stdio.h>

static void end_backup(struct session *s)
{
    backup_free(s->backup);
    s->backup = NULL;
    s->closing = true;
}

void session_send_backup(struct session *s)
{
    backup_send(s->backup, &s->out);
    if (s->backup->state == BACKUP_COMPLETE)
        end_backup(s);
    session_note_failure(s);
}

/* Its answer promises as much as that of a write. */
static void answer_restore(struct session *s, struct moment now)
{
    const struct backup *b = s->backup;
    struct buffer *out = session_reply_buffer(s);
    size_t before = buffer_size(out);
    struct reply reply = {.out = out, .form = s->form};
    struct command_wait wait = {.wanted = false};
    char text[48];
    snprintf(text, sizeof text, "OK %" PRIu64 " keys", b->written);
    if (b->state == BACKUP_COMPLETE)
        reply_status(&reply, text);
    else
        reply_error(&reply, "%s", b->reason);
    if (b->stamp != 0) {
        s->last_write = b->stamp;
        wait = session_promise(s, b->stamp);
    }
    session_settle(s, now, before, &wait);
    end_backup(s);
}

size_t session_run_backup(struct session *s, struct moment now, struct bytes from)
{
    if (s->backup->state != BACKUP_RESTORING)
        return from.size; /* whatever was asked behind BACKUP has no place for an answer */
    size_t taken = restore_read(s->backup, now, from, s->input_ended);
    if (s->backup->state != BACKUP_RESTORING)
        answer_restore(s, now);
    return taken;
}
