/* Commands about the disk, and what INFO tells of it. */
#include "command_internal.h"
#include "kv/backup.h"
#include "kv/node.h"
#include "kv/storage.h"

#include <inttypes.h>
#include <stdio.h>

#define REFILLING_TEXT                                                                             \
    "LOADING this node is being refilled by its peers after damage to its disk (PEERS shows them)"

void command_refuse_loading(struct command_call *call)
{
    const struct node *n = call->node;
    if (n->loading)
        reply_known_error(call->reply, "LOADING Redis is loading the dataset in memory",
                          "LOADING this node reads its data from disk: %u %% done",
                          n->storage == NULL ? 0 : storage_recover_percent(n->storage));
    else
        reply_known_error(call->reply, REFILLING_TEXT, REFILLING_TEXT);
}

/* Why the disk takes no writes; NULL while it does. */
static const char *disk_error(const struct node *n)
{
    struct storage *s = n->storage;
    return s == NULL || s->error == 0 ? NULL : s->disk->error_text(s->disk, s->error);
}

bool command_refuse_unwritable(struct command_call *call)
{
    const char *error = disk_error(call->node);
    char known[160];
    if (error == NULL)
        return false;
    snprintf(known, sizeof known, "MISCONF Errors writing to the AOF file: %s", error);
    reply_known_error(call->reply, known,
                      "the disk takes no writes (%s); reads go on, and writes as soon as it does "
                      "again",
                      error);
    return true;
}

static void snapshot(struct command_call *call)
{
    struct storage *s = call->node->storage;
    if (s == NULL)
        reply_error(call->reply, "this node has no --data-dir: its data is in memory only");
    else if (command_refuse_unwritable(call))
        return;
    else if (storage_snapshot(s) != 0)
        reply_known_error(call->reply, "ERR Background save already in progress",
                          "a snapshot is under way (INFO: snapshot_percent)");
    else
        reply_known_status(call->reply, "Background saving started", "OK");
}

static void background_save(struct command_call *call)
{
    bool plain =
        call->word_count == 1 || (call->word_count == 2 && command_word_is(call, 1, "SCHEDULE"));
    if (plain)
        snapshot(call);
    else
        reply_error_syntax(call->reply);
}

static void last_save(struct command_call *call)
{
    const struct storage *s = call->node->storage;
    reply_number(call->reply, s == NULL ? 0 : (int64_t)(s->snapshot.last_saved_ms / 1000));
}

/* Both answer only when they cannot begin; what follows is the session's business. */
static void backup(struct command_call *call)
{
    call->session->backup = backup_new(call->node, call->now);
    if (call->session->backup == NULL)
        reply_error(call->reply, "out of memory");
}

static void restore(struct command_call *call)
{
    call->session->backup = restore_new(call->node);
    if (call->session->backup == NULL)
        reply_error(call->reply, "out of memory");
}

/* --- INFO ----------------------------------------------------------------------------------- */

static const char *yes_or_no(bool value)
{
    return value ? "yes" : "no";
}

static bool snapshot_is_running(const struct storage_snapshot *p)
{
    return p->wanted || (p->stage != SNAPSHOT_IDLE && p->stage != SNAPSHOT_CLEANING);
}

static unsigned snapshot_percent(const struct storage_snapshot *p)
{
    bool walking = p->stage == SNAPSHOT_WRITING || p->stage == SNAPSHOT_SYNCING;
    bool walked = p->stage == SNAPSHOT_WAITING || p->stage == SNAPSHOT_PUBLISHING;
    return walking ? snapshot_scan_percent(&p->scan) : walked ? 100 : 0;
}

static void print_backups(const struct node *n, struct buffer *out)
{
    const struct node_periodic *p = &n->periodic;
    buffer_printf(out, "backups_running:%" PRIu32 "\n", n->backups);
    if (!p->wanted)
        return;
    buffer_printf(out, "last_backup:%" PRIu64 "\n", p->last_ms / 1000);
    buffer_printf(out, "last_backup_bytes:%" PRIu64 "\n", p->last_bytes);
    buffer_printf(out, "last_backup_error:%s\n", p->error[0] == 0 ? "none" : p->error);
    buffer_printf(out, "backups_failed:%" PRIu64 "\n", p->failed);
}

/* The fields that Redis has for it. Its append-only file is our journal, its RDB file our snapshot. */
void command_print_persistence(const struct node *n, struct buffer *out)
{
    const struct storage *s = n->storage;
    bool serves = !n->loading && !n->refilling;
    buffer_printf(out, "loading:%d\nasync_loading:0\n", !serves);
    if (n->loading && s != NULL)
        buffer_printf(out, "loading_loaded_perc:%u.00\n", storage_recover_percent(s));
    buffer_printf(out, "rdb_bgsave_in_progress:%d\nrdb_last_save_time:%" PRIu64 "\n",
                  s != NULL && snapshot_is_running(&s->snapshot),
                  s == NULL ? 0 : s->snapshot.last_saved_ms / 1000);
    buffer_printf(out, "rdb_saves:%" PRIu64 "\n", s == NULL ? 0 : s->snapshots);
    buffer_printf(out, "aof_enabled:%d\naof_rewrite_in_progress:0\naof_rewrite_scheduled:0\n",
                  s != NULL);
    buffer_printf(out, "aof_last_write_status:%s\n", disk_error(n) == NULL ? "ok" : "err");
}

void command_print_storage(const struct node *n, struct buffer *out)
{
    static const char *const modes[] = {[STORAGE_SYNC_ALWAYS] = "always",
                                        [STORAGE_SYNC_EVERYSEC] = "everysec",
                                        [STORAGE_SYNC_NO] = "no"};
    const struct storage *s = n->storage;
    const char *error = disk_error(n);
    buffer_printf(out, "data_dir:%s\nrefilling:%s\n", yes_or_no(s != NULL),
                  yes_or_no(n->refilling));
    print_backups(n, out);
    if (s == NULL)
        return;
    const struct storage_snapshot *p = &s->snapshot;
    uint64_t end = s->current.start + s->current.bytes;
    buffer_printf(out, "fsync:%s\n", modes[s->config.sync]);
    buffer_printf(out, "loading_percent:%u\n", n->loading ? storage_recover_percent(s) : 100);
    buffer_printf(out, "journal_bytes_on_disk:%" PRIu64 "\n", storage_journal_bytes(s));
    buffer_printf(out, "snapshot_bytes:%" PRIu64 "\n", storage_snapshot_bytes(s));
    buffer_printf(out, "snapshot_running:%s\n", yes_or_no(snapshot_is_running(p)));
    buffer_printf(out, "snapshot_percent:%u\n", snapshot_percent(p));
    buffer_printf(out, "snapshot_last_save:%" PRIu64 "\n", p->last_saved_ms / 1000);
    buffer_printf(out, "snapshot_last_ms:%" PRIu64 "\n", p->last_ms);
    buffer_printf(out, "snapshots:%" PRIu64 "\n", s->snapshots);
    buffer_printf(out, "snapshots_failed:%" PRIu64 "\n", s->snapshots_failed);
    buffer_printf(out, "disk_error:%s\n", error == NULL ? "none" : error);
    buffer_printf(out, "disk_write_errors:%" PRIu64 "\n", s->write_errors);
    buffer_printf(out, "disk_bytes_written:%" PRIu64 "\n", s->bytes_written);
    buffer_printf(out, "disk_syncs:%" PRIu64 "\n", s->syncs);
    buffer_printf(out, "disk_unsynced_bytes:%" PRIu64 "\n", end > s->synced ? end - s->synced : 0);
}

const struct command commands_storage[] = {
    {"BACKUP", backup, 1, 0, 0, 0, COMMAND_OWN | COMMAND_ADMIN | COMMAND_NO_MULTI, 0, "server", "",
     "take this connection over and send a backup; it ends with that"},
    {"BGSAVE", background_save, -1, 0, 0, 0, COMMAND_ADMIN, 0, "server", "[SCHEDULE]",
     "the same as SNAPSHOT"},
    {"LASTSAVE", last_save, 1, 0, 0, 0, COMMAND_FAST, 0, "server", "",
     "when the last snapshot was begun, in Unix seconds; 0 = none by this run"},
    {"RESTORE", restore, 1, 0, 0, 0, COMMAND_OWN | COMMAND_ADMIN | COMMAND_WRITE | COMMAND_NO_MULTI,
     0, "server", "", "take this connection over and write what a backup sent on it holds"},
    {"SNAPSHOT", snapshot, 1, 0, 0, 0, COMMAND_OWN | COMMAND_ADMIN, 0, "server", "",
     "write all data to a new file in --data-dir, while all goes on"},
    {0},
};
