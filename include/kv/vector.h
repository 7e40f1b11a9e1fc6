/* A vector: per origin, the stamp through which everything has been merged.
 *
 * V[o] = s says: every record of origin o stamped up to s has been merged here, or one that beats
 * it. (Parker et al. 1983, as used in version-vector replication.)
 *
 * Its byte format, sorted by origin, each origin once:
 *
 *     offset  bytes
 *          0      4  count, 0 … VECTOR_ORIGINS_MAX
 *          4     16  first entry: origin (8), stamp (8), both > 0; stamp at most STAMP_MAX
 *          …
 */
#ifndef KV_VECTOR_H
#define KV_VECTOR_H

#include "kv/buffer.h"

/* Every start of a member adds an origin: this is years of restarts. */
#define VECTOR_ORIGINS_MAX 65536u

struct vector_entry {
    uint64_t origin;
    uint64_t stamp;
};

struct vector {
    struct heap *heap;
    struct vector_entry *entries; /* owned, sorted by origin */
    uint32_t count;
    uint32_t capacity;
    uint32_t advanced; /* the entry that was raised last: most often it is the next one, too */
};

/* heap: borrowed for the vector's life. Allocates nothing. */
void vector_init(struct vector *v, struct heap *heap);
void vector_close(struct vector *v);

/* The stamp of an origin; 0 when it has none. O(log origins). */
uint64_t vector_get(const struct vector *v, uint64_t origin);

static inline bool vector_covers(const struct vector *v, uint64_t origin, uint64_t stamp)
{
    return vector_get(v, origin) >= stamp;
}

/* Raises v[origin] to `stamp`, never lowers it. 0, -ENOMEM, or -E2BIG with more than
 * VECTOR_ORIGINS_MAX origins; v is unchanged then. */
int vector_advance(struct vector *v, uint64_t origin, uint64_t stamp);

/* Raises v to the entry-wise maximum with `other`. 0, -ENOMEM or -E2BIG; v is unchanged then. */
int vector_merge(struct vector *v, const struct vector *other);

/* Makes sure that a vector_merge(v, other) cannot fail, as long as neither is given other origins
 * before. 0, -ENOMEM or -E2BIG. */
int vector_reserve_merge(struct vector *v, const struct vector *other);

/* Makes v equal to `other`. On an error v is unchanged. */
int vector_copy(struct vector *v, const struct vector *other);

/* Whether v[o] >= other[o] for every origin. */
bool vector_covers_vector(const struct vector *v, const struct vector *other);

/* Records that `has` covers and `wanted` does not have greater stamps; UINT64_MAX when there are none. */
uint64_t vector_covered_stamp(const struct vector *has, const struct vector *wanted);

/* Appends the byte format. A failure sticks in `out`. */
void vector_encode(const struct vector *v, struct buffer *out);

/* Reads the vector at the front of `from` into v, replacing what it held.
 * Returns > 0 the bytes it takes, -EBADMSG when malformed or cut short, -ENOMEM. */
int64_t vector_decode(struct vector *v, struct bytes from);

#endif
