/* The codec of files: header, records, marks. */
#include "kv/segment.h"

#include "kv/hash.h"
#include "kv/stamp.h"

#include <errno.h>

enum {
    AT_VERSION = 8,
    AT_KIND = 12,
    AT_NUMBER = 16,
    AT_POSITION = 24,
    AT_CREATED = 32,
    AT_ORIGIN = 40,
    AT_ZEROS = 48,
    AT_HEADER_CHECKSUM = 60
};
_Static_assert(AT_HEADER_CHECKSUM + 4 == SEGMENT_HEADER_BYTES, "the checksum ends the header");

enum {
    MARK_AT_PAYLOAD_BYTES = 4,
    MARK_AT_FLAGS = 10,
    MARK_AT_TYPE = 11,
    MARK_AT_POSITION = 12,
    MARK_AT_SYNCED = 20,
    MARK_AT_FORCED = 28,
    MARK_AT_RECORDS = 36,
    MARK_AT_VECTORS = 44
};
#define MARK_FLAGS       0x80u
#define MARK_PAYLOAD_MIN (MARK_AT_VECTORS - SEGMENT_PREFIX_BYTES + 2 * 4u)
#define MARK_PAYLOAD_MAX (MARK_PAYLOAD_MIN + 2 * 16u * VECTOR_ORIGINS_MAX)
_Static_assert(MARK_FLAGS > RECORD_EXPIRES, "no record has the flags of a mark");

void segment_header_encode(const struct segment_header *h, uint8_t at[SEGMENT_HEADER_BYTES])
{
    memcpy(at, SEGMENT_MAGIC, SEGMENT_MAGIC_BYTES);
    put_u32(at + AT_VERSION, SEGMENT_VERSION);
    put_u32(at + AT_KIND, h->kind);
    put_u64(at + AT_NUMBER, h->number);
    put_u64(at + AT_POSITION, h->position);
    put_u64(at + AT_CREATED, h->created_ms);
    put_u64(at + AT_ORIGIN, h->origin);
    memset(at + AT_ZEROS, 0, AT_HEADER_CHECKSUM - AT_ZEROS);
    put_u32(at + AT_HEADER_CHECKSUM, hash_checksum(bytes_of(at, AT_HEADER_CHECKSUM)));
}

int segment_header_decode(struct segment_header *h, struct bytes from)
{
    const uint8_t *at = from.data;
    if (from.size < SEGMENT_HEADER_BYTES)
        return 0;
    if (memcmp(at, SEGMENT_MAGIC, SEGMENT_MAGIC_BYTES) != 0 ||
        get_u32(at + AT_HEADER_CHECKSUM) != hash_checksum(bytes_of(at, AT_HEADER_CHECKSUM)))
        return -EBADMSG;
    if (get_u32(at + AT_VERSION) != SEGMENT_VERSION)
        return -EPROTONOSUPPORT;
    uint32_t kind = get_u32(at + AT_KIND);
    *h = (struct segment_header){.kind = (enum segment_kind)kind,
                                 .number = get_u64(at + AT_NUMBER),
                                 .position = get_u64(at + AT_POSITION),
                                 .created_ms = get_u64(at + AT_CREATED),
                                 .origin = get_u64(at + AT_ORIGIN)};
    return kind < SEGMENT_JOURNAL || kind > SEGMENT_BACKUP ? -EBADMSG : (int)SEGMENT_HEADER_BYTES;
}

void mark_encode(const struct mark *m, const struct vector *vector, const struct vector *dropped,
                 struct buffer *out)
{
    size_t begun = buffer_size(out);
    uint8_t *at = buffer_reserve(out, MARK_AT_VECTORS);
    if (at == NULL)
        return;
    put_u16(at + 8, 0);
    at[MARK_AT_FLAGS] = MARK_FLAGS;
    at[MARK_AT_TYPE] = (uint8_t)m->type;
    put_u64(at + MARK_AT_POSITION, m->position);
    put_u64(at + MARK_AT_SYNCED, m->synced);
    put_u64(at + MARK_AT_FORCED, m->forced_stamp);
    put_u64(at + MARK_AT_RECORDS, m->records);
    buffer_added(out, MARK_AT_VECTORS);
    vector_encode(vector, out);
    vector_encode(dropped, out);
    if (buffer_failed(out)) {
        buffer_truncate(out, begun);
        return;
    }
    at = out->data + out->start + begun;
    size_t size = buffer_size(out) - begun;
    put_u32(at + MARK_AT_PAYLOAD_BYTES, (uint32_t)(size - SEGMENT_PREFIX_BYTES));
    put_u32(at, hash_checksum(bytes_of(at + 4, size - 4)));
}

int mark_vectors(const struct mark *m, struct vector *vector, struct vector *dropped)
{
    int64_t size = vector_decode(vector, m->vectors);
    if (size < 0)
        return (int)size;
    struct bytes rest = bytes_after(m->vectors, (size_t)size);
    size = vector_decode(dropped, rest);
    if (size < 0)
        return (int)size;
    return (size_t)size == rest.size ? 0 : -EBADMSG;
}

int64_t segment_entry_claims(struct bytes from)
{
    const uint8_t *at = from.data;
    if (from.size < SEGMENT_PREFIX_BYTES)
        return 0;
    if (at[MARK_AT_FLAGS] == MARK_FLAGS) {
        uint32_t payload = get_u32(at + MARK_AT_PAYLOAD_BYTES);
        bool fits =
            payload >= MARK_PAYLOAD_MIN && payload <= MARK_PAYLOAD_MAX && get_u16(at + 8) == 0;
        return fits ? (int64_t)(SEGMENT_PREFIX_BYTES + payload) : -EBADMSG;
    }
    if (bytes_are_zero(bytes_of(at, SEGMENT_PREFIX_BYTES)))
        return SEGMENT_PREFIX_BYTES;
    struct record rec;
    /* With no more than the header it judges the header alone. */
    int64_t size = record_decode(
        &rec, bytes_of(at, from.size < RECORD_HEADER_BYTES ? from.size : RECORD_HEADER_BYTES));
    if (size < 0)
        return size;
    return from.size < RECORD_HEADER_BYTES ? 0 : (int64_t)record_size_at(at);
}

size_t segment_keys(struct bytes from, struct bytes *keys, size_t max)
{
    size_t count = 0;
    while (count < max) {
        int64_t size = segment_entry_claims(from);
        if (size <= 0 || (uint64_t)size > from.size)
            break;
        /* More than a prefix, and no mark: the header of a record was judged. */
        if (size > (int64_t)SEGMENT_PREFIX_BYTES && from.data[MARK_AT_FLAGS] != MARK_FLAGS)
            keys[count++] = record_key_at(from.data);
        from = bytes_after(from, (size_t)size);
    }
    return count;
}

static int64_t decode_mark(struct mark *m, struct bytes from, size_t size)
{
    const uint8_t *at = from.data;
    if (hash_checksum(bytes_of(at + 4, size - 4)) != get_u32(at))
        return -EBADMSG;
    *m = (struct mark){.type = (enum mark_type)at[MARK_AT_TYPE],
                       .position = get_u64(at + MARK_AT_POSITION),
                       .synced = get_u64(at + MARK_AT_SYNCED),
                       .forced_stamp = get_u64(at + MARK_AT_FORCED),
                       .records = get_u64(at + MARK_AT_RECORDS),
                       .vectors = bytes_of(at + MARK_AT_VECTORS, size - MARK_AT_VECTORS)};
    bool known = at[MARK_AT_TYPE] == MARK_VECTOR || at[MARK_AT_TYPE] == MARK_END;
    return known && m->forced_stamp <= STAMP_MAX ? (int64_t)size : -EBADMSG;
}

int64_t segment_entry_decode(struct segment_entry *e, struct bytes from)
{
    int64_t size = segment_entry_claims(from);
    if (size <= 0)
        return size;
    if (from.size < (uint64_t)size)
        return 0;
    if (from.data[MARK_AT_FLAGS] == MARK_FLAGS) {
        e->kind = ENTRY_MARK;
        return decode_mark(&e->mark, from, (size_t)size);
    }
    if (bytes_are_zero(bytes_of(from.data, SEGMENT_PREFIX_BYTES))) {
        e->kind = ENTRY_ZEROS;
        return size;
    }
    e->kind = ENTRY_RECORD;
    return record_decode(&e->record, bytes_of(from.data, (size_t)size));
}
