/* Walks over what looks like entries or frames, as their readers do. */
#include "repair.h"

#include "kv/frame.h"
#include "kv/hash.h"
#include "kv/segment.h"

#define HEADER_AT_CHECKSUM 60u
#define MARK_AT_POSITION   12u
#define MARK_AT_RECORDS    36u

static void repair_entry(uint8_t *at, size_t size)
{
    put_u32(at, hash_checksum(bytes_of(at + 4, size - 4)));
}

/* The size of the entry at the front, 0 when there is none that is whole. */
static size_t entry_size(const uint8_t *at, size_t size)
{
    int64_t claims = segment_entry_claims(bytes_of(at, size));
    return claims <= 0 || (uint64_t)claims > size ? 0 : (size_t)claims;
}

static bool is_mark(const uint8_t *entry)
{
    return entry[10] == 0x80;
}

void repair_records(uint8_t *at, size_t size)
{
    size_t one;
    while (size > 0 && (one = entry_size(at, size)) > SEGMENT_PREFIX_BYTES) {
        repair_entry(at, one);
        at += one;
        size -= one;
    }
}

void repair_file(uint8_t *at, size_t size, bool positions)
{
    struct segment_header header;
    uint64_t offset = SEGMENT_HEADER_BYTES, records = 0, start = 0;
    if (size < SEGMENT_HEADER_BYTES)
        return;
    put_u32(at + HEADER_AT_CHECKSUM, hash_checksum(bytes_of(at, HEADER_AT_CHECKSUM)));
    if (segment_header_decode(&header, bytes_of(at, size)) > 0 && header.kind == SEGMENT_JOURNAL)
        start = header.position;
    while (offset < size) {
        uint8_t *entry = at + offset;
        size_t one = entry_size(entry, size - offset);
        if (one == 0)
            break;
        if (is_mark(entry) && positions) {
            put_u64(entry + MARK_AT_POSITION, start + offset);
            put_u64(entry + MARK_AT_RECORDS, records);
        }
        if (one > SEGMENT_PREFIX_BYTES)
            repair_entry(entry, one);
        records += one > SEGMENT_PREFIX_BYTES && !is_mark(entry);
        offset += one;
    }
}

void repair_frames(struct bytes from, struct buffer *out)
{
    struct frame frame;
    while (frame_header(from, &frame) == 1 &&
           frame.payload_bytes <= from.size - FRAME_HEADER_BYTES) {
        size_t begun = frame_begin(out);
        size_t skip = frame.type == FRAME_RECORDS ? FRAME_RECORDS_PREFIX_BYTES : 0;
        size_t payload = buffer_size(out);
        buffer_append(out, bytes_of(from.data + FRAME_HEADER_BYTES, frame.payload_bytes));
        if ((frame.type == FRAME_RECORDS || frame.type == FRAME_DELTA_RECORDS) &&
            frame.payload_bytes > skip)
            repair_records(out->data + out->start + payload + skip, frame.payload_bytes - skip);
        frame_end(out, begun, frame.type);
        from = bytes_after(from, FRAME_HEADER_BYTES + frame.payload_bytes);
    }
    buffer_append(out, from);
}
