/* The way back: from the files of a directory to the node that wrote them.
 *
 * The newest snapshot and the segments after it are merged in their order. At the first damage that
 * stops; what follows is only surveyed for marks, since they tell how far the disk was known to have
 * everything. Damage behind that is a torn tail: what was being written when the machine died.
 * It is cut off. Any other damage means that something is missing that no one can name. Then all that is
 * intact is merged, but the vector is begun anew, so that peers bring everything and compare; and
 * until one has, the node serves nobody: it might show what was deleted. */
#include "storage_internal.h"

#include "kv/check.h"
#include "kv/mutation.h"
#include "kv/node.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

void storage_recover_init(struct storage *s)
{
    struct recovery *r = &s->recovery;
    buffer_init(&r->in, s->heap);
    vector_init(&r->vector, s->heap);
    vector_init(&r->dropped, s->heap);
    vector_init(&r->scratch_vector, s->heap);
    vector_init(&r->scratch_dropped, s->heap);
    vector_init(&r->dropped_all, s->heap);
}

static void close_file(struct storage *s)
{
    struct recovery *r = &s->recovery;
    if (r->file != NULL)
        s->disk->close(s->disk, r->file);
    r->file = NULL;
    buffer_close(&r->in);
}

void storage_recover_close(struct storage *s)
{
    struct recovery *r = &s->recovery;
    close_file(s);
    vector_close(&r->vector);
    vector_close(&r->dropped);
    vector_close(&r->scratch_vector);
    vector_close(&r->scratch_dropped);
    vector_close(&r->dropped_all);
}

struct storage_file *recovery_file(const struct storage *s, uint32_t index)
{
    size_t count;
    struct storage_file *files = storage_files(s, &count);
    return index < count ? &files[index] : NULL;
}

/* Ends the start. */
int recovery_give_up(struct storage *s, int error, const char *doing, const char *name)
{
    snprintf(s->reason, sizeof s->reason, "cannot start from the data directory: %s %.100s: %s",
             doing, name, s->disk->error_text(s->disk, error));
    return error;
}

int recovery_out_of_memory(struct storage *s)
{
    return recovery_give_up(s, -ENOMEM, "reading", "it");
}

/* --- which files, in which order ----------------------------------------------------------- */

/* The newest snapshot, NULL if there is none. */
static const struct storage_file *newest_snapshot(const struct storage *s)
{
    size_t count;
    const struct storage_file *files = storage_files(s, &count), *newest = NULL;
    for (size_t i = 0; i < count && files[i].kind == STORAGE_SNAPSHOT; i++)
        newest = &files[i];
    return newest;
}

/* Whether this pass reads the file. What a snapshot covers may be gone in part. */
static bool is_read(const struct storage *s, const struct storage_file *f)
{
    const struct storage_file *newest = newest_snapshot(s);
    if (s->recovery.pass == RECOVERY_SALVAGE || newest == NULL)
        return true;
    return f == newest || (f->kind == STORAGE_JOURNAL && f->number >= newest->number);
}

static void begin_pass(struct storage *s, enum recovery_pass pass)
{
    struct recovery *r = &s->recovery;
    r->pass = pass;
    r->index = 0;
    r->stage = RECOVERY_OPEN;
}

void recovery_next_file(struct storage *s)
{
    close_file(s);
    s->recovery.index++;
    s->recovery.stage = RECOVERY_OPEN;
}

/* --- files --------------------------------------------------------------------------------- */

/* The header is not to be believed. In a segment that is no loss if nothing follows it: it was created
 * ahead, or was to be begun when a write failed. Else entries are looked for all the same. */
static void suspect(struct storage *s, const char *what)
{
    struct recovery *r = &s->recovery;
    bool journal = recovery_file(s, r->index)->kind == STORAGE_JOURNAL;
    size_t size = buffer_size(&r->in);
    if (journal) {
        r->suspected = what;
        recovery_consume(r, size < SEGMENT_HEADER_BYTES ? size : SEGMENT_HEADER_BYTES);
        r->stage = RECOVERY_ZEROS;
    } else {
        recovery_note_damage(s, 0, 0, what);
        r->stage = RECOVERY_SEARCH;
    }
}

static int take_header(struct storage *s, const struct storage_file *f)
{
    struct recovery *r = &s->recovery;
    bool journal = f->kind == STORAGE_JOURNAL;
    int outcome = recovery_fetch(s, SEGMENT_HEADER_BYTES);
    if (outcome < 0)
        return outcome;
    outcome = segment_header_decode(&r->header, buffer_bytes(&r->in));
    if (outcome == -EPROTONOSUPPORT) {
        snprintf(s->reason, sizeof s->reason,
                 "cannot start from the data directory: %.100s was written by another version of "
                 "simple-kv, whose format this one does not know",
                 f->name);
        return outcome;
    }
    bool sound = outcome > 0;
    if (sound && (r->header.kind == SEGMENT_JOURNAL) != journal) {
        snprintf(
            s->reason, sizeof s->reason,
            "cannot start from the data directory: %.100s is no %s by what it holds, whatever its "
            "name; expected it elsewhere, or under its own name",
            f->name, journal ? "segment of a journal" : "snapshot");
        return -EINVAL;
    }
    if (!sound) /* where it should be: marks are known by their places */
        r->header = (struct segment_header){.kind = journal ? SEGMENT_JOURNAL : SEGMENT_SNAPSHOT,
                                            .position = journal ? r->expected : 0};
    uint64_t end = r->header.position + r->file_bytes;
    r->position_max = end > r->position_max ? end : r->position_max;
    if (!sound) {
        suspect(s, "a damaged header");
        return 1;
    }
    if (journal && r->pass == RECOVERY_LOAD && r->header.position != r->expected) {
        suspect(s, "the segment before it is missing, or ends too early");
        return 1;
    }
    if (!journal && r->pass == RECOVERY_LOAD)
        r->expected = r->header.kind == SEGMENT_SNAPSHOT ? r->header.position : 0;
    recovery_consume(r, SEGMENT_HEADER_BYTES);
    r->stage = RECOVERY_ENTRIES;
    return 1;
}

static int open_file(struct storage *s)
{
    struct recovery *r = &s->recovery;
    struct storage_file *f;
    while ((f = recovery_file(s, r->index)) != NULL && !is_read(s, f))
        r->index++;
    if (f == NULL) {
        r->stage = RECOVERY_JUDGE;
        return 1;
    }
    int error = s->disk->open(s->disk, f->name, &r->file, &r->file_bytes);
    if (error != 0)
        return recovery_give_up(s, error, "opening", f->name);
    /* After a kill its bytes may be in memory only, and they are about to be counted on. */
    if (f->kind == STORAGE_JOURNAL && !s->config.read_only && r->pass == RECOVERY_LOAD &&
        !MUTATED(RECOVERED_UNSYNCED) && (error = s->disk->sync_now(s->disk, r->file)) != 0)
        return recovery_give_up(s, error, "syncing", f->name);
    r->offset = 0;
    r->file_records = 0;
    r->suspected = NULL;
    return take_header(s, f);
}

/* --- the judgement ------------------------------------------------------------------------- */

static void tell_torn(struct storage *s)
{
    const struct recovery *r = &s->recovery;
    notice_add(&s->node->notices, NOTICE_WARN,
               "disk: %s has a torn tail at offset %" PRIu64 " (%s), as a crash leaves it; what is "
               "before it is kept, and it is cut off before anything is written",
               recovery_file(s, r->damaged_index)->name, r->damaged_offset, r->damage);
}

/* --check changes nothing, unless it was told to. */
static int repair_when_told(struct storage *s)
{
    struct recovery *r = &s->recovery;
    int error = r->torn && s->config.repair_tail ? recovery_repair(s) : 0;
    return error == 0 || s->fatal ? error
                                  : recovery_give_up(s, error, r->failed_doing, r->failed_name);
}

/* The files stay as they are until a snapshot of what could be read has taken their place. */
static int distrust(struct storage *s)
{
    struct recovery *r = &s->recovery;
    const struct storage_file *f = recovery_file(s, r->damaged_index);
    if (!s->config.salvage && !s->config.expects_peers && !s->config.read_only) {
        snprintf(
            s->reason, sizeof s->reason,
            "%.60s is damaged at offset %" PRIu64 " (%s), and there are no --peers to bring back "
            "what is missing; --salvage starts with what is intact, deleted keys may come back",
            f->name, r->damaged_offset, r->damage);
        return -EBADMSG;
    }
    notice_add(&s->node->notices, NOTICE_WARN, "disk: %s is damaged at offset %" PRIu64 " (%s); %s",
               f->name, r->damaged_offset, r->damage,
               s->config.salvage
                   ? "what is intact is served (--salvage)"
                   : "nobody is served until a peer has brought back what is missing");
    begin_pass(s, RECOVERY_SALVAGE);
    return 1;
}

static int restore_node(struct storage *s)
{
    struct recovery *r = &s->recovery;
    struct node *n = s->node;
    bool trusted = r->pass != RECOVERY_SALVAGE || MUTATED(DAMAGE_IS_TRUSTED);
    struct vector none;
    vector_init(&none, s->heap);
    stamp_observe(&n->clock, r->stamp_max);
    n->forced_stamp = r->forced_stamp;
    if (node_restore(n, trusted ? &r->vector : &none, trusted ? &r->dropped : &r->dropped_all) != 0)
        return recovery_out_of_memory(s);
    n->refilling = !trusted && !s->config.salvage && !MUTATED(REFILLED_AT_ONCE);
    s->snapshot.wanted = !trusted;
    return 0;
}

/* Where the journal goes on. The marks go on from what was restored; all of it is on the disk. */
static int go_on_writing(struct storage *s)
{
    struct recovery *r = &s->recovery;
    const struct storage_file *newest = newest_snapshot(s);
    bool trusted = r->pass != RECOVERY_SALVAGE;
    uint64_t number = newest == NULL ? 0 : newest->number - 1, position = r->expected;
    size_t count;
    const struct storage_file *files = storage_files(s, &count);
    for (size_t i = 0; i < count; i++) {
        bool stays = files[i].kind == STORAGE_JOURNAL && !recovery_is_surplus(s, (uint32_t)i);
        if (stays && files[i].number > number)
            number = files[i].number;
    }
    if (r->torn && r->damaged_offset <= SEGMENT_HEADER_BYTES)
        position = r->damaged_position - r->damaged_offset; /* the whole segment is gone */
    else if (r->torn)
        position = r->damaged_position;
    else if (!trusted)
        position = r->position_max;
    if (trusted && (vector_copy(&s->marked, &r->vector) != 0 ||
                    vector_copy(&s->marked_dropped, &r->dropped) != 0))
        return recovery_out_of_memory(s);
    s->snapshot.number = trusted && newest != NULL ? newest->number : 0;
    s->current = (struct storage_segment){.number = number, .start = position};
    s->synced = position;
    r->stage = RECOVERY_SEGMENT;
    return 1;
}

static int judge(struct storage *s)
{
    struct recovery *r = &s->recovery;
    if (r->damaged && r->pass == RECOVERY_SURVEY) {
        r->torn = r->damaged_position >= r->synced || MUTATED(DAMAGE_IS_TORN);
        if (MUTATED(CRASH_IS_DAMAGE))
            r->torn = false;
        if (!r->torn)
            return distrust(s);
    }
    if (r->torn && (!s->config.read_only || s->config.repair_tail))
        tell_torn(s);
    int error = restore_node(s);
    if (error != 0)
        return error;
    if (!s->config.read_only)
        return go_on_writing(s);
    r->stage = RECOVERY_DONE;
    return repair_when_told(s);
}

/* --- driven by the storage ----------------------------------------------------------------- */

static void total_bytes(struct storage *s)
{
    struct recovery *r = &s->recovery;
    size_t count;
    const struct storage_file *files = storage_files(s, &count);
    for (size_t i = 0; i < count; i++) {
        struct disk_file *f;
        uint64_t size;
        if (!is_read(s, &files[i]) || s->disk->open(s->disk, files[i].name, &f, &size) != 0)
            continue; /* what cannot be opened ends the start when its turn comes */
        s->disk->close(s->disk, f);
        r->bytes_total += size;
    }
}

int storage_recover(struct storage *s, struct moment now)
{
    struct recovery *r = &s->recovery;
    switch (r->stage) {
    case RECOVERY_LIST: {
        int error = recovery_list(s);
        if (error != 0)
            return error;
        r->begun = now;
        total_bytes(s);
        begin_pass(s, RECOVERY_LOAD);
        return 1;
    }
    case RECOVERY_OPEN:
        return open_file(s);
    case RECOVERY_ENTRIES:
        return recovery_read_entries(s);
    case RECOVERY_ZEROS:
        return recovery_read_zeros(s);
    case RECOVERY_SEARCH:
        return recovery_search(s);
    case RECOVERY_JUDGE:
        return judge(s);
    case RECOVERY_SEGMENT:
        return recovery_begin_writing(s, now);
    case RECOVERY_DONE:
        break;
    }
    return 0;
}

unsigned storage_recover_percent(const struct storage *s)
{
    const struct recovery *r = &s->recovery;
    if (r->bytes_total == 0)
        return 0;
    uint64_t percent = r->bytes_read * 100 / r->bytes_total;
    return percent > 100 ? 100 : (unsigned)percent;
}
