/* Frames: what peers say to each other, cut into pieces. docs/protocol.md draws every payload.
 *
 *     offset  bytes
 *          0      4  checksum: hash_checksum of the header from offset 4 on and of the payload;
 *                    of payloads that hold records only what stands before the records, since
 *                    each record carries a checksum of its own
 *          4      4  payload_bytes
 *          8      1  type
 *          9      3  0
 *         12         payload
 */
#ifndef KV_FRAME_H
#define KV_FRAME_H

#include "kv/buffer.h"

/* What a dialling node sends before its first frame: tells a peer from a client. */
#define FRAME_MAGIC       "\0KVP"
#define FRAME_MAGIC_BYTES 4u

#define FRAME_HEADER_BYTES 12u

/* Raised with every change of a payload or of its meaning. Unequal versions refuse each other. */
#define FRAME_PROTOCOL_VERSION 2u

enum frame_type {
    FRAME_HELLO = 1,
    FRAME_REFUSED,
    FRAME_HEARTBEAT,
    FRAME_MEMBERS,
    FRAME_STREAM,
    FRAME_GAP,
    FRAME_RECORDS,
    FRAME_ACK_WANTED,
    FRAME_DELTA_REQUEST,
    FRAME_DELTA_BEGIN,
    FRAME_DELTA_RECORDS,
    FRAME_DELTA_LIST,
    FRAME_DELTA_MARK,
    FRAME_DELTA_END,
    FRAME_DIGESTS_WANTED,
    FRAME_DIGEST
};
#define FRAME_TYPE_LAST FRAME_DIGEST

/* In a RECORDS payload, what stands before the records. */
#define FRAME_RECORDS_PREFIX_BYTES 16u

struct frame {
    enum frame_type type;
    size_t payload_bytes;
};

/* Starts a frame at the end of `out`; its payload is appended after. Returns what frame_end wants. */
size_t frame_begin(struct buffer *out);

/* Completes the frame. Failures of `out` stick there. */
void frame_end(struct buffer *out, size_t begun, enum frame_type type);

/* Takes a begun frame back. */
void frame_cancel(struct buffer *out, size_t begun);

/* Reads the header at the front of `from`.
 * Returns 1, 0 when more bytes are needed, -EBADMSG when it is no header. */
int frame_header(struct bytes from, struct frame *frame);

/* Whether the checksum of the whole frame at the front of `from` is right. */
bool frame_is_intact(struct bytes from, const struct frame *frame);

/* Reading a payload: each call takes a field from the front; past the end, all read as 0 or empty
 * and `failed` is set. */
struct frame_reader {
    struct bytes rest;
    bool failed;
};

uint16_t frame_read_u16(struct frame_reader *r);
uint32_t frame_read_u32(struct frame_reader *r);
uint64_t frame_read_u64(struct frame_reader *r);
/* A u16 length and that many bytes; borrowed from the payload. */
struct bytes frame_read_text(struct frame_reader *r);

void frame_put_u16(struct buffer *out, uint16_t value);
void frame_put_u32(struct buffer *out, uint32_t value);
void frame_put_u64(struct buffer *out, uint64_t value);
/* text: at most 65535 bytes. */
void frame_put_text(struct buffer *out, struct bytes text);

#endif
