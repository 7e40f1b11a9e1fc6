/* Frame headers and payload fields. */
#include "kv/frame.h"

#include "kv/check.h"
#include "kv/hash.h"

#include <errno.h>

enum { AT_CHECKSUM = 0, AT_PAYLOAD_BYTES = 4, AT_TYPE = 8, AT_ZERO = 9 };
_Static_assert(AT_ZERO + 3 == FRAME_HEADER_BYTES, "the header ends with three zero bytes");

size_t frame_begin(struct buffer *out)
{
    size_t begun = buffer_size(out);
    if (buffer_reserve(out, FRAME_HEADER_BYTES) != NULL)
        buffer_added(out, FRAME_HEADER_BYTES);
    return begun;
}

/* How much of the payload the frame's own checksum covers. */
static size_t guarded_bytes(enum frame_type type, size_t payload_bytes)
{
    if (type == FRAME_DELTA_RECORDS)
        return 0;
    if (type == FRAME_RECORDS && payload_bytes > FRAME_RECORDS_PREFIX_BYTES)
        return FRAME_RECORDS_PREFIX_BYTES;
    return payload_bytes;
}

static uint32_t checksum(const uint8_t *header, enum frame_type type, size_t payload_bytes)
{
    return hash_checksum(
        bytes_of(header + AT_PAYLOAD_BYTES,
                 FRAME_HEADER_BYTES - AT_PAYLOAD_BYTES + guarded_bytes(type, payload_bytes)));
}

void frame_end(struct buffer *out, size_t begun, enum frame_type type)
{
    if (buffer_failed(out))
        return;
    size_t payload_bytes = buffer_size(out) - begun - FRAME_HEADER_BYTES;
    CHECK(payload_bytes <= UINT32_MAX);
    uint8_t *header = out->data + out->start + begun;
    put_u32(header + AT_PAYLOAD_BYTES, (uint32_t)payload_bytes);
    header[AT_TYPE] = (uint8_t)type;
    memset(header + AT_ZERO, 0, 3);
    put_u32(header + AT_CHECKSUM, checksum(header, type, payload_bytes));
}

void frame_cancel(struct buffer *out, size_t begun)
{
    if (!buffer_failed(out))
        buffer_truncate(out, begun);
}

int frame_header(struct bytes from, struct frame *frame)
{
    if (from.size < FRAME_HEADER_BYTES)
        return 0;
    const uint8_t *at = from.data;
    if (at[AT_TYPE] == 0 || at[AT_TYPE] > FRAME_TYPE_LAST || at[AT_ZERO] != 0 ||
        at[AT_ZERO + 1] != 0 || at[AT_ZERO + 2] != 0)
        return -EBADMSG;
    frame->type = (enum frame_type)at[AT_TYPE];
    frame->payload_bytes = get_u32(at + AT_PAYLOAD_BYTES);
    return 1;
}

bool frame_is_intact(struct bytes from, const struct frame *frame)
{
    CHECK(from.size >= FRAME_HEADER_BYTES + frame->payload_bytes);
    return get_u32(from.data) == checksum(from.data, frame->type, frame->payload_bytes);
}

/* The next `size` bytes, or NULL past the end. */
static const uint8_t *take(struct frame_reader *r, size_t size)
{
    if (r->failed || r->rest.size < size) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *at = r->rest.data;
    r->rest = bytes_of(at + size, r->rest.size - size);
    return at;
}

uint16_t frame_read_u16(struct frame_reader *r)
{
    const uint8_t *at = take(r, 2);
    return at == NULL ? 0 : get_u16(at);
}

uint32_t frame_read_u32(struct frame_reader *r)
{
    const uint8_t *at = take(r, 4);
    return at == NULL ? 0 : get_u32(at);
}

uint64_t frame_read_u64(struct frame_reader *r)
{
    const uint8_t *at = take(r, 8);
    return at == NULL ? 0 : get_u64(at);
}

struct bytes frame_read_text(struct frame_reader *r)
{
    size_t size = frame_read_u16(r);
    const uint8_t *at = take(r, size);
    return at == NULL ? bytes_of(NULL, 0) : bytes_of(at, size);
}

void frame_put_u16(struct buffer *out, uint16_t value)
{
    uint8_t at[2];
    put_u16(at, value);
    buffer_append(out, bytes_of(at, sizeof at));
}

void frame_put_u32(struct buffer *out, uint32_t value)
{
    uint8_t at[4];
    put_u32(at, value);
    buffer_append(out, bytes_of(at, sizeof at));
}

void frame_put_u64(struct buffer *out, uint64_t value)
{
    uint8_t at[8];
    put_u64(at, value);
    buffer_append(out, bytes_of(at, sizeof at));
}

void frame_put_text(struct buffer *out, struct bytes text)
{
    CHECK(text.size <= UINT16_MAX);
    frame_put_u16(out, (uint16_t)text.size);
    buffer_append(out, text);
}
