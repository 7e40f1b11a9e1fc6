/* What the server does about its disk. */
#include "persistence.h"

#include "kv/check.h"
#include "server.h"
#include "unpack.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define MIB (1024.0 * 1024.0)

bool persistence_open(struct server *s)
{
    char reason[FILE_DISK_REASON_BYTES];
    struct persistence *p = &s->persistence;
    if (s->options->data_dir[0] == '\0')
        return true;
    char unpacked[DISK_NAME_BYTES] = "";
    int error =
        file_disk_open(&p->disk, s->options->data_dir, FILE_DISK_OWN, &s->heap, &s->loop, reason);
    if (error == 0) {
        error = unpack_backup(&p->disk, unpacked, reason);
        if (error != 0)
            file_disk_close(&p->disk);
    }
    if (error != 0)
        log_write(&s->log, LOG_LEVEL_ERROR, "%s", reason);
    else if (unpacked[0] != '\0')
        log_write(&s->log, LOG_LEVEL_INFO, "unpacked the backup %s in the data directory",
                  unpacked);
    return error == 0;
}

static void on_done(struct file_disk *disk, struct disk_request *r, int status)
{
    struct server *s = container_of(disk, struct server, persistence.disk);
    storage_done(s->persistence.storage, r, status, server_now(s));
    server_check_disk(s);
}

bool persistence_begin(struct server *s)
{
    const struct options *o = s->options;
    struct persistence *p = &s->persistence;
    struct storage_config config = {
        .sync = o->fsync,
        .segment_bytes = o->segment_bytes,
        .snapshot_bytes = o->snapshot_bytes,
        .snapshot_percent = o->snapshot_percent,
        .expects_peers = o->peer_count > 0,
        .salvage = o->salvage,
    };
    if (o->data_dir[0] == '\0')
        return true;
    p->disk.done = on_done;
    p->storage = storage_new(s->node, &p->disk.disk, &config);
    p->begun_mono_ms = p->told_mono_ms = server_now(s).mono_ms;
    return p->storage != NULL;
}

/* --- loading ------------------------------------------------------------------------------- */

static void tell_progress(struct server *s, struct moment now)
{
    struct persistence *p = &s->persistence;
    const struct recovery *r = &p->storage->recovery;
    uint64_t ms = now.mono_ms - p->told_mono_ms;
    if (ms < PERSISTENCE_PROGRESS_MS)
        return;
    log_write(&s->log, LOG_LEVEL_INFO,
              "reading the data directory: %u %%, %" PRIu64 " records, %.0f MiB/s",
              storage_recover_percent(p->storage), r->records,
              (double)(r->bytes_read - p->told_bytes) / MIB * 1000 / (double)ms);
    p->told_mono_ms = now.mono_ms;
    p->told_bytes = r->bytes_read;
}

static void tell_result(struct server *s, struct moment now)
{
    const struct persistence *p = &s->persistence;
    const struct recovery *r = &p->storage->recovery;
    log_write(&s->log, LOG_LEVEL_INFO,
              "read \"%s\": %" PRIu64 " keys from %" PRIu64 " records, %.1f MiB, in %" PRIu64
              " ms%s",
              s->options->data_dir, store_live_count(s->node->store), r->records,
              (double)r->bytes_read / MIB, now.mono_ms - p->begun_mono_ms,
              s->node->refilling ? "; damaged: waiting for a peer to bring what is missing" : "");
}

/* A step; where there is much to read, beside a thread that readies memory for it. */
static int read_on(struct server *s, struct moment now)
{
    struct persistence *p = &s->persistence;
    bool first = p->storage->recovery.stage == RECOVERY_LIST;
    int outcome = storage_recover(p->storage, now);
    if (first && p->storage->recovery.bytes_total >= PERSISTENCE_PREFAULT_BYTES) {
        prefault_begin(&p->prefault);
        log_write(&s->log, LOG_LEVEL_DEBUG, "reading the data directory with %s",
                  p->prefault.running ? "two threads: one reads, one readies memory"
                                      : "one thread");
    }
    prefault_ahead(&p->prefault, &s->heap);
    return outcome;
}

bool persistence_load(struct server *s)
{
    struct persistence *p = &s->persistence;
    struct moment now = server_now(s);
    uint64_t end_ns = uv_hrtime() + PERSISTENCE_TURN_MS * UINT64_C(1000000);
    int outcome = 1;
    do
        outcome = read_on(s, now);
    while (outcome > 0 && p->storage->recovery.stage != RECOVERY_SEGMENT && uv_hrtime() < end_ns);
    if (outcome <= 0)
        prefault_end(&p->prefault);
    if (outcome < 0) {
        server_log_notices(s);
        log_write(&s->log, LOG_LEVEL_ERROR, "%s", p->storage->reason);
        return false;
    }
    if (outcome > 0) {
        tell_progress(s, now);
    } else {
        uv_update_time(&s->loop);
        server_log_notices(s); /* what it has found comes before what it has come to */
        tell_result(s, server_now(s));
    }
    return true;
}

/* --- serving ------------------------------------------------------------------------------- */

/* A session may have gone on with its commands since the turn's batch was written. */
void persistence_before_output(struct server *s, struct session *session)
{
    struct storage *storage = s->persistence.storage;
    char reason[STORAGE_REASON_BYTES];
    if (storage == NULL)
        return;
    if (storage_has_batch(storage))
        storage_flush(storage, server_now(s));
    if (storage_has_written(storage, session->last_write))
        return;
    snprintf(reason, sizeof reason,
             "the disk takes no writes (%s): the last writes of this connection are in memory only "
             "until it does again; the connection ends here",
             storage->disk->error_text(storage->disk, storage->error));
    session_refuse_output(session, reason);
}

/* --- the end ------------------------------------------------------------------------------- */

bool persistence_stop(struct server *s)
{
    struct persistence *p = &s->persistence;
    if (p->storage == NULL)
        return true;
    if (!p->stopping)
        storage_stop(p->storage, server_now(s));
    p->stopping = true;
    return storage_is_stopped(p->storage);
}

bool persistence_close(struct server *s)
{
    struct persistence *p = &s->persistence;
    if (s->options->data_dir[0] == '\0')
        return true;
    prefault_end(&p->prefault); /* it was still reading */
    if (file_disk_is_busy(&p->disk))
        return false;
    if (p->storage != NULL)
        storage_free(p->storage);
    p->storage = NULL;
    file_disk_close(&p->disk);
    return true;
}
