/* One file, read from its beginning to its end mark, as it is or through zstd. */
#include "check.h"

#include "kv/check.h"
#include "kv/segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <zstd.h>

#define READ_BYTES (1u << 20)

struct reader {
    const char *path;
    FILE *file;
    ZSTD_DStream *zstd; /* NULL = not compressed */
    ZSTD_inBuffer packed;
    uint8_t *packed_bytes; /* owned; READ_BYTES of them */
    size_t frame_left; /* what zstd wants more of its frame; 0 = it is complete */
    struct buffer in;
    bool ended;

    struct segment_header header;
    uint64_t offset; /* in the file, unpacked, of the first byte of `in` */
    uint64_t records, live, tombstones;
    struct vector vector, dropped;
    bool complete; /* the end mark has come */
    const char *damage; /* NULL = none so far */
};

/* --- bytes --------------------------------------------------------------------------------- */

/* Unpacks until something comes out. Returns how much, 0 at the end. */
static size_t unpack(struct reader *r, uint8_t *at, size_t size)
{
    ZSTD_outBuffer out = {.dst = at, .size = size};
    while (out.pos == 0) {
        if (r->packed.pos == r->packed.size) {
            r->packed.size = fread(r->packed_bytes, 1, READ_BYTES, r->file);
            r->packed.pos = 0;
            if (r->packed.size == 0 && r->frame_left != 0)
                r->damage = "the compressed file ends too early";
            if (r->packed.size == 0)
                return 0;
        }
        r->frame_left = ZSTD_decompressStream(r->zstd, &out, &r->packed);
        if (ZSTD_isError(r->frame_left)) {
            r->damage = "what was compressed is damaged";
            return 0;
        }
    }
    return out.pos;
}

/* False when out of memory. */
static bool read_more(struct reader *r)
{
    uint8_t *at = buffer_reserve(&r->in, READ_BYTES);
    if (at == NULL)
        return false;
    size_t got = r->zstd == NULL ? fread(at, 1, READ_BYTES, r->file) : unpack(r, at, READ_BYTES);
    buffer_added(&r->in, got);
    r->ended = got == 0;
    return true;
}

/* --- entries ------------------------------------------------------------------------------- */

static void take_mark(struct reader *r, const struct mark *m)
{
    struct vector vector, dropped;
    uint64_t start = r->header.kind == SEGMENT_JOURNAL ? r->header.position : 0;
    vector_init(&vector, r->in.heap);
    vector_init(&dropped, r->in.heap);
    if (m->position != start + r->offset)
        r->damage = "a mark of another place";
    else if (m->records != r->records)
        r->damage = "records are missing before this mark";
    else if (mark_vectors(m, &vector, &dropped) != 0 || vector_merge(&r->vector, &vector) != 0 ||
             vector_merge(&r->dropped, &dropped) != 0)
        r->damage = "a malformed mark, or no memory for it";
    vector_close(&vector);
    vector_close(&dropped);
    r->complete = r->damage == NULL && m->type == MARK_END;
}

/* Where zeros begin, in a segment, all that follows has to be zeros. */
static bool take_zeros(struct reader *r)
{
    while (!r->ended && bytes_are_zero(buffer_bytes(&r->in))) {
        buffer_truncate(&r->in, 0);
        if (!read_more(r))
            return false;
    }
    if (!bytes_are_zero(buffer_bytes(&r->in)))
        r->damage = "an entry that is cut short, or missing";
    r->complete = r->damage == NULL;
    return true;
}

/* False when out of memory. */
static bool take_entry(struct reader *r)
{
    struct segment_entry e;
    int64_t size = segment_entry_decode(&e, buffer_bytes(&r->in));
    bool journal = r->header.kind == SEGMENT_JOURNAL;
    if (size == 0 && !r->ended)
        return read_more(r);
    if (size == 0 && journal && bytes_are_zero(buffer_bytes(&r->in)))
        r->complete = true;
    else if (size == 0 && r->damage == NULL)
        r->damage = "the file ends too early";
    else if (size < 0 || (e.kind == ENTRY_ZEROS && !journal))
        r->damage = "a damaged entry";
    if (r->damage != NULL || r->complete)
        return true;
    if (e.kind == ENTRY_ZEROS)
        return take_zeros(r);
    if (e.kind == ENTRY_MARK) {
        take_mark(r, &e.mark);
    } else {
        r->records++;
        r->live += !e.record.tombstone;
        r->tombstones += e.record.tombstone;
    }
    if (r->damage == NULL) {
        buffer_consume(&r->in, (size_t)size);
        r->offset += (uint64_t)size;
    }
    return true;
}

/* --- a file -------------------------------------------------------------------------------- */

static int say(const struct reader *r, const char *what)
{
    fprintf(stderr, "simple-kv: --check \"%s\": %s\n", r->path, what);
    return CHECK_UNREADABLE;
}

static int report(const struct reader *r)
{
    static const char *const kinds[] = {[SEGMENT_JOURNAL] = "segment",
                                        [SEGMENT_SNAPSHOT] = "snapshot",
                                        [SEGMENT_BACKUP] = "backup"};
    printf("%-11s%s  %" PRIu64 " bytes of data\n", kinds[r->header.kind], r->path, r->offset);
    printf("records    %" PRIu64 "\n", r->records);
    printf("keys       %" PRIu64 "%s\n", r->live,
           r->header.kind == SEGMENT_JOURNAL ? " at most: the same may come again" : "");
    printf("tombstones %" PRIu64 "\n", r->tombstones);
    check_print_vector("vector", &r->vector);
    if (r->damage == NULL) {
        puts("damage     none");
        return CHECK_CLEAN;
    }
    printf("damage     %s at offset %" PRIu64 "%s: %s\n", r->path, r->offset,
           r->zstd != NULL ? " of what was compressed" : "", r->damage);
    return CHECK_DAMAGED;
}

static int read_file(struct reader *r)
{
    int header = 0;
    while (header == 0 && !r->ended) {
        if (!read_more(r))
            return say(r, "out of memory");
        header = segment_header_decode(&r->header, buffer_bytes(&r->in));
    }
    if (ferror(r->file))
        return say(r, strerror(errno));
    if (header == -EPROTONOSUPPORT)
        return say(r, "it was written by another version of simple-kv");
    if (header <= 0) {
        struct bytes in = buffer_bytes(&r->in);
        if (in.size < SEGMENT_MAGIC_BYTES ||
            memcmp(in.data, SEGMENT_MAGIC, SEGMENT_MAGIC_BYTES) != 0)
            return say(r, r->damage != NULL ? r->damage : "this is no file of simple-kv");
        r->header.kind = SEGMENT_BACKUP;
        r->damage = "a damaged header";
        return report(r);
    }
    buffer_consume(&r->in, SEGMENT_HEADER_BYTES);
    r->offset = SEGMENT_HEADER_BYTES;
    while (r->damage == NULL && !r->complete) {
        if (!take_entry(r))
            return say(r, "out of memory");
    }
    return ferror(r->file) ? say(r, strerror(errno)) : report(r);
}

static bool is_packed(FILE *file)
{
    uint8_t magic[4];
    bool packed =
        fread(magic, 1, sizeof magic, file) == sizeof magic && get_u32(magic) == ZSTD_MAGICNUMBER;
    rewind(file);
    return packed;
}

int check_file(const char *path)
{
    struct heap heap = heap_of_c_library();
    struct reader r = {.path = path, .file = fopen(path, "rb")};
    int status = CHECK_UNREADABLE;
    if (r.file == NULL)
        return say(&r, strerror(errno));
    buffer_init(&r.in, &heap);
    vector_init(&r.vector, &heap);
    vector_init(&r.dropped, &heap);
    bool packed = is_packed(r.file);
    if (packed) {
        r.zstd = ZSTD_createDStream();
        r.packed_bytes = heap_alloc(&heap, READ_BYTES);
        r.packed.src = r.packed_bytes;
    }
    if (packed && (r.zstd == NULL || r.packed_bytes == NULL))
        say(&r, "out of memory");
    else
        status = read_file(&r);
    ZSTD_freeDStream(r.zstd);
    heap_free(&heap, r.packed_bytes);
    buffer_close(&r.in);
    vector_close(&r.vector);
    vector_close(&r.dropped);
    fclose(r.file);
    return status;
}
