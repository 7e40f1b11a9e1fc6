/* Commands about the disk, and what INFO tells of it. */
#include "kv/command.h"
#include "kv/node.h"
#include "kv/storage.h"

#include <inttypes.h>

void command_refuse_loading(struct command_call *call)
{
    const struct node *n = call->node;
    if (n->loading)
        reply_error(call->reply, "LOADING this node reads its data from disk: %u %% done",
                    n->storage == NULL ? 0 : storage_recover_percent(n->storage));
    else
        reply_error(call->reply, "LOADING this node is being refilled by its peers after damage to "
                                 "its disk (PEERS shows them)");
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
    if (error != NULL)
        reply_error(call->reply,
                    "the disk takes no writes (%s); reads go on, and writes as soon as "
                    "it does again",
                    error);
    return error != NULL;
}

void command_snapshot(struct command_call *call)
{
    struct storage *s = call->node->storage;
    if (s == NULL)
        reply_error(call->reply, "this node has no --data-dir: its data is in memory only");
    else if (command_refuse_unwritable(call))
        return;
    else if (storage_snapshot(s) != 0)
        reply_error(call->reply, "a snapshot is under way (INFO: snapshot_percent)");
    else
        reply_ok(call->reply);
}

void command_lastsave(struct command_call *call)
{
    const struct storage *s = call->node->storage;
    reply_number(call->reply, s == NULL ? 0 : (int64_t)(s->snapshot.last_saved_ms / 1000));
}

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
    return walking ? snapshot_scan_percent(&p->scan) : p->stage == SNAPSHOT_PUBLISHING ? 100 : 0;
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

void command_print_storage(const struct node *n, struct buffer *out)
{
    static const char *const modes[] = {[STORAGE_SYNC_ALWAYS] = "always",
                                        [STORAGE_SYNC_EVERYSEC] = "everysec",
                                        [STORAGE_SYNC_NO] = "no"};
    const struct storage *s = n->storage;
    const char *error = disk_error(n);
    buffer_printf(out, "data_dir:%s\nloading:%s\nrefilling:%s\n", yes_or_no(s != NULL),
                  yes_or_no(n->loading), yes_or_no(n->refilling));
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
