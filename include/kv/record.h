/* A record: a key with its value or its tombstone, and when and by whom it was written.
 *
 * Its one byte format, on the wire, on disk and in backups (all little-endian):
 *
 *     offset  bytes
 *          0      4  checksum: hash_checksum of all that follows
 *          4      4  value_bytes  0 … RECORD_VALUE_BYTES_MAX; 0 for a tombstone
 *          8      2  key_bytes    1 … RECORD_KEY_BYTES_MAX
 *         10      1  flags        1 tombstone, 2 has an expiry; no others; never both
 *         11      1  0
 *         12      8  stamp        > 0, at most STAMP_MAX
 *         20      8  origin       > 0
 *        (28      8  expires_ms   > 0; only with flag 2)
 *          …         key, value
 */
#ifndef KV_RECORD_H
#define KV_RECORD_H

#include "kv/bytes.h"

#define RECORD_KEY_BYTES_MAX   65535u
#define RECORD_VALUE_BYTES_MAX (512u << 20)
#define RECORD_HEADER_BYTES    28u
#define RECORD_EXPIRY_BYTES    8u
#define RECORD_BYTES_MAX                                                                           \
    (RECORD_HEADER_BYTES + RECORD_EXPIRY_BYTES + RECORD_KEY_BYTES_MAX + RECORD_VALUE_BYTES_MAX)

enum record_flag { RECORD_TOMBSTONE = 1, RECORD_EXPIRES = 2 };

struct record {
    struct bytes key; /* borrowed */
    struct bytes value; /* borrowed; empty for a tombstone */
    uint64_t stamp; /* of the origin's clock, see stamp.h */
    uint64_t origin; /* the run of a member that wrote it */
    uint64_t expires_ms; /* Unix milliseconds, 0 = never; 0 for a tombstone */
    bool tombstone;
};

/* < 0, 0, > 0: the total order of which the greatest record of a key wins. Keys are not compared. */
int record_compare(const struct record *a, const struct record *b);

/* Whether the record no longer reads as present at that time. */
static inline bool record_expired(const struct record *rec, uint64_t wall_ms)
{
    return rec->expires_ms != 0 && rec->expires_ms <= wall_ms;
}

/* How many bytes record_encode writes. */
static inline size_t record_bytes(const struct record *rec)
{
    return RECORD_HEADER_BYTES + (rec->expires_ms != 0 ? RECORD_EXPIRY_BYTES : 0) + rec->key.size +
           rec->value.size;
}

/* Writes record_bytes(rec) bytes at `at`. The record's sizes must be in range. */
void record_encode(const struct record *rec, uint8_t *at);

/* Reads the record at the front of `from`.
 *
 * rec      key and value point into `from`.
 * Returns  > 0 the bytes it takes, 0 when `from` does not hold all of it yet, -EBADMSG when it is
 *          damaged or malformed. */
int64_t record_decode(struct record *rec, struct bytes from);

/* The bytes the record at the front of `from` takes, judged by its header alone, which `from` must
 * hold (RECORD_HEADER_BYTES). For bytes this program encoded itself. */
size_t record_size_at(const uint8_t *from);

/* Likewise its key. Borrowed. */
struct bytes record_key_at(const uint8_t *from);

/* Likewise its stamp. */
uint64_t record_stamp_at(const uint8_t *from);

#endif
