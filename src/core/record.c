/* The record's order and its codec. */
#include "kv/record.h"

#include "kv/check.h"
#include "kv/hash.h"
#include "kv/stamp.h"

#include <errno.h>

enum {
    AT_CHECKSUM = 0,
    AT_VALUE_BYTES = 4,
    AT_KEY_BYTES = 8,
    AT_FLAGS = 10,
    AT_ZERO = 11,
    AT_STAMP = 12,
    AT_ORIGIN = 20,
    AT_EXPIRES = 28
};
_Static_assert(AT_EXPIRES == RECORD_HEADER_BYTES, "the expiry follows the header");

static int order(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

int record_compare(const struct record *a, const struct record *b)
{
    if (a->stamp != b->stamp)
        return order(a->stamp, b->stamp);
    if (a->origin != b->origin)
        return order(a->origin, b->origin);
    if (a->tombstone != b->tombstone)
        return a->tombstone ? 1 : -1;
    if (a->expires_ms != b->expires_ms)
        return order(a->expires_ms, b->expires_ms);
    return bytes_compare(a->value, b->value);
}

void record_encode(const struct record *rec, uint8_t *at)
{
    CHECK(rec->key.size >= 1 && rec->key.size <= RECORD_KEY_BYTES_MAX);
    CHECK(rec->value.size <= RECORD_VALUE_BYTES_MAX);
    CHECK(!rec->tombstone || (rec->value.size == 0 && rec->expires_ms == 0));
    size_t size = record_bytes(rec);
    put_u32(at + AT_VALUE_BYTES, (uint32_t)rec->value.size);
    put_u16(at + AT_KEY_BYTES, (uint16_t)rec->key.size);
    at[AT_FLAGS] = (uint8_t)((rec->tombstone ? RECORD_TOMBSTONE : 0) |
                             (rec->expires_ms != 0 ? RECORD_EXPIRES : 0));
    at[AT_ZERO] = 0;
    put_u64(at + AT_STAMP, rec->stamp);
    put_u64(at + AT_ORIGIN, rec->origin);
    uint8_t *body = at + RECORD_HEADER_BYTES;
    if (rec->expires_ms != 0) {
        put_u64(body, rec->expires_ms);
        body += RECORD_EXPIRY_BYTES;
    }
    memcpy(body, rec->key.data, rec->key.size);
    if (rec->value.size > 0)
        memcpy(body + rec->key.size, rec->value.data, rec->value.size);
    put_u32(at, hash_checksum(bytes_of(at + AT_VALUE_BYTES, size - AT_VALUE_BYTES)));
}

size_t record_size_at(const uint8_t *from)
{
    return RECORD_HEADER_BYTES + ((from[AT_FLAGS] & RECORD_EXPIRES) ? RECORD_EXPIRY_BYTES : 0) +
           (size_t)get_u16(from + AT_KEY_BYTES) + (size_t)get_u32(from + AT_VALUE_BYTES);
}

struct bytes record_key_at(const uint8_t *from)
{
    size_t expiry = (from[AT_FLAGS] & RECORD_EXPIRES) ? RECORD_EXPIRY_BYTES : 0;
    return bytes_of(from + RECORD_HEADER_BYTES + expiry, get_u16(from + AT_KEY_BYTES));
}

uint64_t record_stamp_at(const uint8_t *from)
{
    return get_u64(from + AT_STAMP);
}

int64_t record_decode(struct record *rec, struct bytes from)
{
    if (from.size < RECORD_HEADER_BYTES)
        return 0;
    const uint8_t *at = from.data;
    uint8_t flags = at[AT_FLAGS];
    size_t key_bytes = get_u16(at + AT_KEY_BYTES);
    size_t value_bytes = get_u32(at + AT_VALUE_BYTES);
    *rec = (struct record){.stamp = get_u64(at + AT_STAMP),
                           .origin = get_u64(at + AT_ORIGIN),
                           .tombstone = (flags & RECORD_TOMBSTONE) != 0};
    /* Judged before the rest has arrived: a damaged size must not make anybody wait for it. */
    if (flags > RECORD_EXPIRES || at[AT_ZERO] != 0 || key_bytes == 0 ||
        value_bytes > RECORD_VALUE_BYTES_MAX || (rec->tombstone && value_bytes != 0) ||
        rec->stamp == 0 || rec->stamp > STAMP_MAX || rec->origin == 0)
        return -EBADMSG;
    size_t size = record_size_at(at);
    if (from.size < size)
        return 0;
    if (hash_checksum(bytes_of(at + AT_VALUE_BYTES, size - AT_VALUE_BYTES)) != get_u32(at))
        return -EBADMSG;
    const uint8_t *body = at + RECORD_HEADER_BYTES;
    if (flags & RECORD_EXPIRES) {
        rec->expires_ms = get_u64(body);
        if (rec->expires_ms == 0)
            return -EBADMSG;
        body += RECORD_EXPIRY_BYTES;
    }
    rec->key = bytes_of(body, key_bytes);
    rec->value = bytes_of(body + key_bytes, value_bytes);
    return (int64_t)size;
}
