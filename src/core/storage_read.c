/* Reading a file of the data directory: its entries, where they end, and what follows damage. */
#include "storage_internal.h"

#include "kv/mutation.h"
#include "kv/node.h"

#include <errno.h>

/* --- damage -------------------------------------------------------------------------------- */

static uint64_t position_at(const struct recovery *r, uint64_t offset)
{
    return r->header.kind == SEGMENT_JOURNAL ? r->header.position + offset : offset;
}

/* The first damage ends the loading. In a snapshot it can be no torn tail: it got its name when all of
 * it was on the disk. */
void recovery_note_damage(struct storage *s, uint64_t offset, uint64_t position, const char *what)
{
    struct recovery *r = &s->recovery;
    struct storage_file *f = recovery_file(s, r->index);
    f->damaged = true;
    if (r->pass == RECOVERY_LOAD) {
        r->damaged = true;
        r->damaged_index = r->index;
        r->damaged_offset = offset;
        r->damaged_position = position;
        r->damage = what;
        r->pass = RECOVERY_SURVEY;
        if (f->kind == STORAGE_SNAPSHOT)
            r->synced = UINT64_MAX;
    }
}

static void search_on(struct storage *s, const char *what)
{
    struct recovery *r = &s->recovery;
    recovery_note_damage(s, r->offset, position_at(r, r->offset), what);
    if (buffer_size(&r->in) > 0)
        recovery_consume(r, 1);
    r->stage = RECOVERY_SEARCH;
}

/* --- reading ------------------------------------------------------------------------------- */

void recovery_consume(struct recovery *r, size_t size)
{
    buffer_consume(&r->in, size);
    r->offset += size;
}

/* Reads on until there are at least `wanted` bytes, or the file ends. 1, 0 when it has ended before,
 * or an error. */
int recovery_fetch(struct storage *s, uint64_t wanted)
{
    struct recovery *r = &s->recovery;
    while (buffer_size(&r->in) < wanted) {
        size_t missing = (size_t)(wanted - buffer_size(&r->in));
        size_t size = missing > STORAGE_READ_BYTES ? missing : STORAGE_READ_BYTES;
        uint8_t *at = buffer_reserve(&r->in, size);
        if (at == NULL)
            return recovery_out_of_memory(s);
        int64_t got = s->disk->read(s->disk, r->file, r->offset + buffer_size(&r->in), at, size);
        if (got < 0)
            return recovery_give_up(s, (int)got, "reading", recovery_file(s, r->index)->name);
        if (got == 0)
            return 0;
        buffer_added(&r->in, (size_t)got);
        r->bytes_read += (uint64_t)got;
    }
    return 1;
}

/* The entry at the front of what has been read. > 0 its size, 0 when the file ends before it does,
 * -EBADMSG, or another error, which ends the start. */
static int64_t next_entry(struct storage *s, struct segment_entry *e)
{
    struct recovery *r = &s->recovery;
    for (;;) {
        struct bytes in = buffer_bytes(&r->in);
        int64_t size = segment_entry_decode(e, in);
        if (size != 0)
            return size;
        int64_t claims = segment_entry_claims(in);
        uint64_t wanted = claims > 0 ? (uint64_t)claims : RECORD_HEADER_BYTES;
        if (claims == 0 && in.size >= RECORD_HEADER_BYTES)
            return -EBADMSG;
        if (r->offset + wanted > r->file_bytes)
            wanted = r->file_bytes - r->offset; /* it cannot be whole */
        if (wanted <= in.size)
            return 0;
        int got = recovery_fetch(s, wanted);
        if (got < 0)
            return got;
        if (got == 0)
            return 0;
    }
}

/* --- entries ------------------------------------------------------------------------------- */

static int take_record(struct storage *s, const struct record *rec)
{
    struct recovery *r = &s->recovery;
    r->file_records++;
    if (r->pass == RECOVERY_SURVEY)
        return 0;
    r->records++;
    if (s->restored_stamp < rec->stamp)
        s->restored_stamp = rec->stamp;
    int error = node_restore_record(s->node, rec);
    return error == 0 ? 0 : recovery_out_of_memory(s);
}

static int take_vectors(struct storage *s, const struct mark *m)
{
    struct recovery *r = &s->recovery;
    int error = mark_vectors(m, &r->scratch_vector, &r->scratch_dropped);
    if (error == 0)
        error = vector_merge(&r->dropped_all, &r->scratch_dropped);
    bool trusted = r->pass == RECOVERY_LOAD || MUTATED(DAMAGE_IS_TRUSTED);
    if (error == 0 && trusted)
        error = vector_merge(&r->vector, &r->scratch_vector);
    if (error == 0 && trusted)
        error = vector_merge(&r->dropped, &r->scratch_dropped);
    for (uint32_t i = 0; error == 0 && i < r->scratch_vector.count; i++) {
        uint64_t stamp = r->scratch_vector.entries[i].stamp;
        r->stamp_max = stamp > r->stamp_max ? stamp : r->stamp_max;
    }
    if (error == 0 && r->forced_stamp < m->forced_stamp)
        r->forced_stamp = m->forced_stamp;
    return error;
}

/* What ends a file: at its end mark, or where it just ends. */
static void end_file(struct storage *s, uint64_t offset)
{
    struct recovery *r = &s->recovery;
    struct storage_file *f = recovery_file(s, r->index);
    f->bytes = offset;
    if (f->kind == STORAGE_JOURNAL && r->pass == RECOVERY_LOAD) {
        r->expected = r->header.position + offset;
        /* What was preallocated and not used: else every start would leave so much behind. A failure costs
         * space alone. */
        if (!s->config.read_only && r->file_bytes > offset)
            (void)s->disk->truncate(s->disk, r->file, offset);
    }
    recovery_next_file(s);
}

static int take_mark(struct storage *s, const struct mark *m, size_t size)
{
    struct recovery *r = &s->recovery;
    bool journal = r->header.kind == SEGMENT_JOURNAL;
    bool fits = m->position == position_at(r, r->offset);
    if (journal && fits && r->synced < m->synced)
        r->synced = m->synced;
    if (r->pass == RECOVERY_LOAD && !fits) {
        search_on(s, "a mark of another place");
        return 0;
    }
    if (r->pass == RECOVERY_LOAD && m->records != r->file_records) {
        search_on(s, "records are missing");
        return 0;
    }
    int error = fits ? take_vectors(s, m) : 0;
    if (error == -EBADMSG) {
        search_on(s, "a malformed mark");
        return 0;
    }
    if (error != 0)
        return recovery_out_of_memory(s);
    recovery_consume(r, size);
    if (m->type == MARK_END && fits)
        end_file(s, r->offset);
    return 0;
}

/* Where an entry should begin there is none. */
static int at_end(struct storage *s)
{
    struct recovery *r = &s->recovery;
    if (r->header.kind != SEGMENT_JOURNAL)
        search_on(s, "the file ends before its end mark");
    else
        r->stage = RECOVERY_ZEROS;
    return 0;
}

static void look_ahead(struct storage *s)
{
    struct bytes keys[STORE_PREFETCH_MAX];
    size_t count = segment_keys(buffer_bytes(&s->recovery.in), keys, STORE_PREFETCH_MAX);
    store_prefetch(s->node->store, keys, count);
}

int recovery_read_entries(struct storage *s)
{
    struct recovery *r = &s->recovery;
    uint64_t until = r->offset + STORAGE_RECOVER_STEP_BYTES;
    uint64_t records_until = r->file_records + 2 * SNAPSHOT_SLICE_ENTRIES;
    while (r->stage == RECOVERY_ENTRIES && r->offset < until && r->file_records < records_until) {
        struct segment_entry e;
        int error = 0;
        /* A snapshot comes partition by partition: its places are in the caches already. */
        if (r->header.kind == SEGMENT_JOURNAL && r->file_records % STORE_PREFETCH_MAX == 0)
            look_ahead(s);
        int64_t size = next_entry(s, &e);
        if (size == -EBADMSG) {
            search_on(s, "a damaged entry");
        } else if (size < 0) {
            return (int)size;
        } else if (size == 0) {
            error = at_end(s);
        } else if (e.kind == ENTRY_ZEROS) {
            error = at_end(s);
        } else if (e.kind == ENTRY_MARK) {
            error = take_mark(s, &e.mark, (size_t)size);
        } else {
            error = take_record(s, &e.record);
            recovery_consume(r, (size_t)size);
        }
        if (error != 0)
            return error;
    }
    return 1;
}

static void something_follows(struct storage *s, uint64_t end)
{
    struct recovery *r = &s->recovery;
    if (r->suspected == NULL)
        recovery_note_damage(s, end, position_at(r, end), "an entry that is cut short, or missing");
    else
        recovery_note_damage(s, 0, r->expected, r->suspected);
    r->suspected = NULL; /* it is no longer one that was never used */
    r->stage = RECOVERY_SEARCH;
}

/* Zeros up to the end of the file are what was preallocated. Anything else says that something is
 * missing before it, or that an entry was cut short. */
int recovery_read_zeros(struct storage *s)
{
    struct recovery *r = &s->recovery;
    uint64_t end = r->offset; /* where the entries end, if all goes well */
    uint64_t at = end;
    for (;;) {
        struct bytes in = buffer_bytes(&r->in);
        if (!bytes_are_zero(in)) {
            something_follows(s, end);
            return 1;
        }
        if (at + in.size >= r->file_bytes)
            break;
        at += in.size;
        buffer_truncate(&r->in, 0);
        r->offset = at;
        int got = recovery_fetch(s, 1);
        if (got < 0)
            return got;
        if (got == 0)
            break;
    }
    if (r->suspected != NULL) {
        recovery_file(s, r->index)->unused = true;
        recovery_next_file(s);
    } else {
        end_file(s, end);
    }
    return 1;
}

/* One byte after another, until something intact begins. */
int recovery_search(struct storage *s)
{
    struct recovery *r = &s->recovery;
    for (uint32_t tried = 0; tried < STORAGE_RECOVER_STEP_BYTES / 16; tried++) {
        struct segment_entry e;
        if (r->offset >= r->file_bytes) {
            recovery_file(s, r->index)->bytes = r->file_bytes;
            recovery_next_file(s);
            return 1;
        }
        int got = recovery_fetch(s, 1);
        if (got < 0)
            return got;
        if (got == 0) {
            r->file_bytes = r->offset; /* it has become shorter */
            continue;
        }
        int64_t size = next_entry(s, &e);
        if (size < 0 && size != -EBADMSG)
            return (int)size;
        /* A mark knows its place: bytes in a value that look like one do not. */
        bool entry =
            size > 0 && (e.kind == ENTRY_RECORD ||
                         (e.kind == ENTRY_MARK && e.mark.position == position_at(r, r->offset)));
        if (entry) {
            r->stage = RECOVERY_ENTRIES;
            return 1;
        }
        recovery_consume(r, 1);
    }
    return 1;
}
