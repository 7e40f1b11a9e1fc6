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
#include "kv/node.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

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

static struct storage_file *file_at(const struct storage *s, uint32_t index)
{
    size_t count;
    struct storage_file *files = storage_files(s, &count);
    return index < count ? &files[index] : NULL;
}

/* Ends the start. */
static int give_up(struct storage *s, int error, const char *doing, const char *name)
{
    snprintf(s->reason, sizeof s->reason, "cannot start from the data directory: %s %.100s: %s",
             doing, name, s->disk->error_text(s->disk, error));
    return error;
}

static int out_of_memory(struct storage *s)
{
    return give_up(s, -ENOMEM, "reading", "it");
}

/* --- what there is ------------------------------------------------------------------------- */

/* "journal-" or "snapshot-" and 16 hexadecimal digits, nothing behind. */
static bool parse_name(const char *name, const char *prefix, uint64_t *number)
{
    size_t size = strlen(prefix);
    if (strncmp(name, prefix, size) != 0 || strlen(name) != size + 16)
        return false;
    *number = 0;
    for (const char *c = name + size; *c != 0; c++) {
        int digit = *c >= '0' && *c <= '9' ? *c - '0' : *c >= 'a' && *c <= 'f' ? *c - 'a' + 10 : -1;
        if (digit < 0)
            return false;
        *number = *number << 4 | (uint64_t)digit;
    }
    return true;
}

static bool ends_with(const char *name, const char *end)
{
    size_t size = strlen(name), end_size = strlen(end);
    return size >= end_size && strcmp(name + size - end_size, end) == 0;
}

static int compare_files(const void *a, const void *b)
{
    const struct storage_file *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind == STORAGE_SNAPSHOT ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

/* What a walk over the names finds. */
struct listing {
    uint32_t others;
    char other[DISK_NAME_BYTES]; /* the last of the files whose names tell nothing */
};

static int take_name(struct storage *s, const char *name, struct listing *found)
{
    uint64_t number;
    if (parse_name(name, "journal-", &number)) {
        return storage_add_file(s, STORAGE_JOURNAL, number, 0) ? 0 : out_of_memory(s);
    } else if (parse_name(name, "snapshot-", &number)) {
        return storage_add_file(s, STORAGE_SNAPSHOT, number, 0) ? 0 : out_of_memory(s);
    } else if (strncmp(name, "snapshot-", 9) == 0 && ends_with(name, ".tmp")) {
        /* A snapshot that was not finished: the segments that it was to cover are all there. */
        int error = s->config.read_only ? 0 : s->disk->remove_now(s->disk, name);
        return error == 0 ? 0 : give_up(s, error, "removing", name);
    } else if (strcmp(name, "lock") != 0 && name[0] != '.' && !ends_with(name, ".damaged")) {
        found->others++;
        snprintf(found->other, sizeof found->other, "%s", name);
    }
    return 0;
}

static int read_header(struct storage *s, struct disk_file *f, struct segment_header *h)
{
    uint8_t at[SEGMENT_HEADER_BYTES];
    size_t size = 0;
    while (size < sizeof at) {
        int64_t got = s->disk->read(s->disk, f, size, at + size, sizeof at - size);
        if (got < 0)
            return (int)got;
        if (got == 0)
            break;
        size += (size_t)got;
    }
    int outcome = segment_header_decode(h, bytes_of(at, size));
    return outcome == 0 ? -EBADMSG : outcome;
}

/* A backup, or another node's snapshot, alone in the directory under whatever name: it is what to start
 * from. */
static int adopt_backup(struct storage *s, const char *name)
{
    struct segment_header h;
    struct disk_file *f;
    uint64_t size;
    char new_name[DISK_NAME_BYTES];
    int error = s->disk->open(s->disk, name, &f, &size);
    if (error != 0)
        return give_up(s, error, "opening", name);
    int outcome = read_header(s, f, &h);
    s->disk->close(s->disk, f);
    if (outcome < 0 || h.kind == SEGMENT_JOURNAL)
        return 0; /* it is something else */
    uint64_t number = h.kind == SEGMENT_SNAPSHOT ? h.number : 1;
    storage_file_name(STORAGE_SNAPSHOT, number, new_name);
    error = s->config.read_only ? 0 : s->disk->rename_now(s->disk, name, new_name);
    if (error != 0)
        return give_up(s, error, "renaming", name);
    if (!storage_add_file(s, STORAGE_SNAPSHOT, number, 0))
        return out_of_memory(s);
    if (s->config.read_only)
        snprintf(file_at(s, 0)->name, DISK_NAME_BYTES, "%s", name);
    notice_add(&s->node->notices, NOTICE_INFO, "disk: starting from the backup %s", name);
    return 0;
}

static int list_files(struct storage *s)
{
    struct buffer names;
    struct listing found = {0};
    size_t count;
    buffer_init(&names, s->heap);
    int error = s->disk->list(s->disk, &names);
    if (error == 0 && buffer_failed(&names))
        error = -ENOMEM;
    if (error != 0)
        error = give_up(s, error, "listing", "it");
    for (size_t at = 0; error == 0 && at < buffer_size(&names); at += DISK_NAME_BYTES)
        error = take_name(s, (const char *)buffer_bytes(&names).data + at, &found);
    buffer_close(&names);
    if (error == 0 && buffer_size(&s->files) == 0 && found.others == 1)
        error = adopt_backup(s, found.other);
    struct storage_file *files = storage_files(s, &count);
    if (count > 1)
        qsort(files, count, sizeof *files, compare_files);
    return error;
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

static void next_file(struct storage *s)
{
    close_file(s);
    s->recovery.index++;
    s->recovery.stage = RECOVERY_OPEN;
}

/* --- damage -------------------------------------------------------------------------------- */

static uint64_t position_at(const struct recovery *r, uint64_t offset)
{
    return r->header.kind == SEGMENT_JOURNAL ? r->header.position + offset : offset;
}

/* The first damage ends the loading. In a snapshot it can be no torn tail: it got its name when all of
 * it was on the disk. */
static void note_damage(struct storage *s, uint64_t offset, uint64_t position, const char *what)
{
    struct recovery *r = &s->recovery;
    struct storage_file *f = file_at(s, r->index);
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
    note_damage(s, r->offset, position_at(r, r->offset), what);
    r->stage = RECOVERY_SEARCH;
}

/* --- reading ------------------------------------------------------------------------------- */

static void consume(struct recovery *r, size_t size)
{
    buffer_consume(&r->in, size);
    r->offset += size;
}

/* Reads on until there are at least `wanted` bytes, or the file ends. 1, 0 when it has ended before,
 * or an error. */
static int fetch(struct storage *s, uint64_t wanted)
{
    struct recovery *r = &s->recovery;
    while (buffer_size(&r->in) < wanted) {
        size_t missing = (size_t)(wanted - buffer_size(&r->in));
        size_t size = missing > STORAGE_READ_BYTES ? missing : STORAGE_READ_BYTES;
        uint8_t *at = buffer_reserve(&r->in, size);
        if (at == NULL)
            return out_of_memory(s);
        int64_t got = s->disk->read(s->disk, r->file, r->offset + buffer_size(&r->in), at, size);
        if (got < 0)
            return give_up(s, (int)got, "reading", file_at(s, r->index)->name);
        if (got == 0)
            return 0;
        buffer_added(&r->in, (size_t)got);
        r->bytes_read += (uint64_t)got;
    }
    return 1;
}

static bool is_all_zero(struct bytes b)
{
    for (size_t i = 0; i < b.size; i++) {
        if (b.data[i] != 0)
            return false;
    }
    return true;
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
        int got = fetch(s, wanted);
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
    int error = node_restore_record(s->node, rec);
    return error == 0 ? 0 : out_of_memory(s);
}

static int take_vectors(struct storage *s, const struct mark *m)
{
    struct recovery *r = &s->recovery;
    int error = mark_vectors(m, &r->scratch_vector, &r->scratch_dropped);
    if (error == 0)
        error = vector_merge(&r->dropped_all, &r->scratch_dropped);
    if (error == 0 && r->pass == RECOVERY_LOAD)
        error = vector_merge(&r->vector, &r->scratch_vector);
    if (error == 0 && r->pass == RECOVERY_LOAD)
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
    struct storage_file *f = file_at(s, r->index);
    f->bytes = offset;
    if (f->kind == STORAGE_JOURNAL && r->pass == RECOVERY_LOAD)
        r->expected = r->header.position + offset;
    next_file(s);
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
        return out_of_memory(s);
    consume(r, size);
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

static int read_entries(struct storage *s)
{
    struct recovery *r = &s->recovery;
    uint64_t until = r->offset + STORAGE_RECOVER_STEP_BYTES;
    uint64_t records_until = r->file_records + 2 * SNAPSHOT_SLICE_ENTRIES;
    while (r->stage == RECOVERY_ENTRIES && r->offset < until && r->file_records < records_until) {
        struct segment_entry e;
        int error = 0;
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
            consume(r, (size_t)size);
        }
        if (error != 0)
            return error;
    }
    return 1;
}

/* Zeros up to the end of the file are what was preallocated. Anything else says that something is
 * missing before it, or that an entry was cut short. */
static int read_zeros(struct storage *s)
{
    struct recovery *r = &s->recovery;
    uint64_t end = r->offset; /* where the entries end, if all goes well */
    uint64_t at = end;
    for (;;) {
        struct bytes in = buffer_bytes(&r->in);
        if (!is_all_zero(in)) {
            note_damage(s, end, position_at(r, end), "an entry that is cut short, or missing");
            r->stage = RECOVERY_SEARCH;
            return 1;
        }
        if (at + in.size >= r->file_bytes)
            break;
        at += in.size;
        buffer_truncate(&r->in, 0);
        r->offset = at;
        int got = fetch(s, 1);
        if (got < 0)
            return got;
        if (got == 0)
            break;
    }
    end_file(s, end);
    return 1;
}

/* One byte after another, until something intact begins. */
static int search(struct storage *s)
{
    struct recovery *r = &s->recovery;
    for (uint32_t tried = 0; tried < STORAGE_RECOVER_STEP_BYTES / 16; tried++) {
        struct segment_entry e;
        if (buffer_size(&r->in) > 0)
            consume(r, 1);
        if (r->offset >= r->file_bytes) {
            file_at(s, r->index)->bytes = r->file_bytes;
            next_file(s);
            return 1;
        }
        int got = fetch(s, 1);
        if (got < 0)
            return got;
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
    }
    return 1;
}

/* --- files --------------------------------------------------------------------------------- */

/* A segment created ahead has zeros for a header. */
static int is_unused(struct storage *s)
{
    struct recovery *r = &s->recovery;
    int got = fetch(s, r->file_bytes < SEGMENT_HEADER_BYTES ? r->file_bytes : SEGMENT_HEADER_BYTES);
    if (got < 0)
        return got;
    struct bytes in = buffer_bytes(&r->in);
    return is_all_zero(
        bytes_of(in.data, in.size < SEGMENT_HEADER_BYTES ? in.size : SEGMENT_HEADER_BYTES));
}

/* Where the header is not to be believed, entries are looked for all the same. */
static void no_header(struct storage *s, const struct storage_file *f)
{
    struct recovery *r = &s->recovery;
    r->header = (struct segment_header){.kind = f->kind == STORAGE_JOURNAL ? SEGMENT_JOURNAL
                                                                           : SEGMENT_SNAPSHOT};
    note_damage(s, 0, f->kind == STORAGE_JOURNAL ? r->expected : 0, "a damaged header");
    r->stage = RECOVERY_SEARCH;
}

static int take_header(struct storage *s, struct storage_file *f)
{
    struct recovery *r = &s->recovery;
    int unused = f->kind == STORAGE_JOURNAL ? is_unused(s) : 0;
    if (unused < 0)
        return unused;
    if (unused > 0) {
        f->unused = true;
        next_file(s);
        return 1;
    }
    int outcome = fetch(s, SEGMENT_HEADER_BYTES);
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
    bool journal = f->kind == STORAGE_JOURNAL;
    if (outcome <= 0 || (r->header.kind == SEGMENT_JOURNAL) != journal) {
        no_header(s, f);
        return 1;
    }
    if (journal && r->pass == RECOVERY_LOAD && r->header.position != r->expected)
        note_damage(s, 0, r->expected, "the segment before it is missing, or ends too early");
    uint64_t end = r->header.position + r->file_bytes;
    r->position_max = end > r->position_max ? end : r->position_max;
    if (!journal && r->pass == RECOVERY_LOAD)
        r->expected = r->header.kind == SEGMENT_SNAPSHOT ? r->header.position : 0;
    consume(r, SEGMENT_HEADER_BYTES);
    r->stage = RECOVERY_ENTRIES;
    return 1;
}

static int open_file(struct storage *s)
{
    struct recovery *r = &s->recovery;
    struct storage_file *f;
    while ((f = file_at(s, r->index)) != NULL && !is_read(s, f))
        r->index++;
    if (f == NULL) {
        r->stage = RECOVERY_JUDGE;
        return 1;
    }
    int error = s->disk->open(s->disk, f->name, &r->file, &r->file_bytes);
    if (error != 0)
        return give_up(s, error, "opening", f->name);
    /* After a kill its bytes may be in memory only, and they are about to be counted on. */
    if (f->kind == STORAGE_JOURNAL && !s->config.read_only && r->pass == RECOVERY_LOAD &&
        (error = s->disk->sync_now(s->disk, r->file)) != 0)
        return give_up(s, error, "syncing", f->name);
    r->offset = 0;
    r->file_records = 0;
    return take_header(s, f);
}

/* --- the judgement ------------------------------------------------------------------------- */

static int remove_file(struct storage *s, const struct storage_file *f)
{
    int error = s->disk->remove_now(s->disk, f->name);
    return error == 0 ? 0 : give_up(s, error, "removing", f->name);
}

static int cut_file(struct storage *s, struct storage_file *f, uint64_t size)
{
    struct disk_file *file;
    uint64_t before;
    int error = s->disk->open(s->disk, f->name, &file, &before);
    if (error == 0) {
        error = s->disk->truncate(s->disk, file, size);
        if (error == 0)
            error = s->disk->sync_now(s->disk, file);
        s->disk->close(s->disk, file);
    }
    f->bytes = size;
    f->damaged = false;
    return error == 0 ? 0 : give_up(s, error, "cutting the torn tail of", f->name);
}

/* Whether the file goes: nothing was ever written to it, or it lies behind a torn tail. */
static bool is_surplus(const struct recovery *r, const struct storage_file *f, uint32_t index)
{
    bool behind = r->torn && f->kind == STORAGE_JOURNAL &&
                  (index > r->damaged_index ||
                   (index == r->damaged_index && r->damaged_offset <= SEGMENT_HEADER_BYTES));
    return f->unused || behind;
}

/* Newest first, so that what is left at any time is a journal without a hole. */
static int remove_surplus(struct storage *s)
{
    size_t count;
    struct storage_file *files = storage_files(s, &count);
    for (size_t i = count; i > 0; i--) {
        int error = is_surplus(&s->recovery, &files[i - 1], (uint32_t)(i - 1))
                        ? remove_file(s, &files[i - 1])
                        : 0;
        if (error != 0)
            return error;
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_surplus(&s->recovery, &files[i], (uint32_t)i))
            files[kept++] = files[i];
    }
    buffer_truncate(&s->files, kept * sizeof *files);
    return 0;
}

static int repair(struct storage *s)
{
    struct recovery *r = &s->recovery;
    struct storage_file *f = r->torn ? file_at(s, r->damaged_index) : NULL;
    if (s->config.read_only && !(r->torn && s->config.repair_tail))
        return 0;
    if (f != NULL) {
        notice_add(&s->node->notices, NOTICE_WARN,
                   "disk: %s has a torn tail at offset %" PRIu64
                   " (%s), as a crash leaves it; it is cut "
                   "off, and nothing before it is lost",
                   f->name, r->damaged_offset, r->damage);
        int error =
            r->damaged_offset > SEGMENT_HEADER_BYTES ? cut_file(s, f, r->damaged_offset) : 0;
        if (error != 0)
            return error;
    }
    return remove_surplus(s);
}

/* The files stay as they are until a snapshot of what could be read has taken their place. */
static int distrust(struct storage *s)
{
    struct recovery *r = &s->recovery;
    const struct storage_file *f = file_at(s, r->damaged_index);
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
    bool trusted = r->pass != RECOVERY_SALVAGE;
    struct vector none;
    vector_init(&none, s->heap);
    stamp_observe(&n->clock, r->stamp_max);
    n->forced_stamp = r->forced_stamp;
    if (node_restore(n, trusted ? &r->vector : &none, trusted ? &r->dropped : &r->dropped_all) != 0)
        return out_of_memory(s);
    n->refilling = !trusted && !s->config.salvage;
    s->snapshot.wanted = !trusted;
    return 0;
}

/* The marks go on from what was restored; all of it is on the disk. */
static int go_on_writing(struct storage *s)
{
    struct recovery *r = &s->recovery;
    const struct storage_file *newest = newest_snapshot(s);
    bool trusted = r->pass != RECOVERY_SALVAGE;
    uint64_t number = newest == NULL ? 0 : newest->number - 1, position = r->expected;
    size_t count;
    const struct storage_file *files = storage_files(s, &count);
    for (size_t i = 0; i < count; i++) {
        if (files[i].kind == STORAGE_JOURNAL && files[i].number > number)
            number = files[i].number;
    }
    if (r->torn)
        position = r->damaged_position;
    else if (!trusted)
        position = r->position_max;
    if (trusted && (vector_copy(&s->marked, &r->vector) != 0 ||
                    vector_copy(&s->marked_dropped, &r->dropped) != 0))
        return out_of_memory(s);
    s->snapshot.number = trusted && newest != NULL ? newest->number : 0;
    s->current = (struct storage_segment){.number = number, .start = position};
    s->synced = position;
    r->stage = RECOVERY_SEGMENT;
    storage_create_segment(s, number + 1);
    return 1;
}

static int judge(struct storage *s)
{
    struct recovery *r = &s->recovery;
    if (r->damaged && r->pass == RECOVERY_SURVEY) {
        r->torn = r->damaged_position >= r->synced;
        if (!r->torn)
            return distrust(s);
    }
    int error = repair(s);
    if (error == 0)
        error = restore_node(s);
    if (error != 0)
        return error;
    if (!s->config.read_only)
        return go_on_writing(s);
    r->stage = RECOVERY_DONE;
    return 0;
}

static int begin_segment(struct storage *s, struct moment now)
{
    struct recovery *r = &s->recovery;
    if (s->creation.busy)
        return 1;
    if (s->next == NULL)
        return give_up(s, -EIO, "creating", s->creation.name);
    int error = storage_rotate(s);
    if (error != 0)
        return give_up(s, error, "writing", s->creation.name);
    if (s->snapshot.number != 0)
        s->snapshot.stage = SNAPSHOT_CLEANING;
    s->mark_mono_ms = s->sync_mono_ms = now.mono_ms;
    s->node->loading = false;
    r->stage = RECOVERY_DONE;
    return 0;
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
        int error = list_files(s);
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
        return read_entries(s);
    case RECOVERY_ZEROS:
        return read_zeros(s);
    case RECOVERY_SEARCH:
        return search(s);
    case RECOVERY_JUDGE:
        return judge(s);
    case RECOVERY_SEGMENT:
        return begin_segment(s, now);
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
