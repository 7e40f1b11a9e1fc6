/* Byte slices, and integers in the byte order of every format here: little-endian. */
#ifndef KV_BYTES_H
#define KV_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A borrowed run of bytes. Length-counted, may hold NUL; data may be NULL when size is 0. */
struct bytes {
    const uint8_t *data;
    size_t size;
};

static inline struct bytes bytes_of(const void *data, size_t size)
{
    return (struct bytes){.data = data, .size = size};
}

/* The bytes of a C string without its NUL. */
static inline struct bytes bytes_text(const char *text)
{
    return bytes_of(text, strlen(text));
}

/* What follows the first `skip` (at most b.size) bytes. */
static inline struct bytes bytes_after(struct bytes b, size_t skip)
{
    return skip == 0 ? b : bytes_of(b.data + skip, b.size - skip);
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* < 0, 0, > 0 as memcmp; a proper prefix is the smaller. */
int bytes_compare(struct bytes a, struct bytes b);

/* Equal but for the case of ASCII letters. */
bool bytes_equal_ignoring_case(struct bytes a, struct bytes b);

/* Whether all of them are 0. */
bool bytes_are_zero(struct bytes b);

/* A whole decimal number with nothing around it. False (and *out untouched) for anything else,
 * and for what does not fit. */
bool bytes_parse_u64(struct bytes text, uint64_t *out);
bool bytes_parse_i64(struct bytes text, int64_t *out);

/* Whether `text` matches `glob`: * any run, ? any byte, [a-z] [^a-z] classes, \ takes the next
 * byte literally. Work is bounded by glob.size * text.size. */
bool bytes_match_glob(struct bytes glob, struct bytes text);

/* The host writes and reads these formats without swapping. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the formats are little-endian");

static inline void put_u16(uint8_t *at, uint16_t value)
{
    memcpy(at, &value, sizeof value);
}
static inline void put_u32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof value);
}
static inline void put_u64(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, sizeof value);
}
static inline uint16_t get_u16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}
static inline uint32_t get_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}
static inline uint64_t get_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

#endif
