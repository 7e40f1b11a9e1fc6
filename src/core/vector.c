/* Vectors as sorted arrays: they are small, read often, and change length only with a new run of
 * some member. */
#include "kv/vector.h"

#include "kv/stamp.h"

#include <errno.h>

#define ENTRY_BYTES 16u
_Static_assert(sizeof(struct vector_entry) == ENTRY_BYTES, "entries are two words");

void vector_init(struct vector *v, struct heap *heap)
{
    *v = (struct vector){.heap = heap};
}

void vector_close(struct vector *v)
{
    heap_free(v->heap, v->entries);
    vector_init(v, v->heap);
}

/* The index of the first entry whose origin is not below `origin`. */
static uint32_t lower_bound(const struct vector *v, uint64_t origin)
{
    uint32_t low = 0, high = v->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (v->entries[middle].origin < origin)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t vector_get(const struct vector *v, uint64_t origin)
{
    uint32_t at = lower_bound(v, origin);
    return at < v->count && v->entries[at].origin == origin ? v->entries[at].stamp : 0;
}

static int reserve(struct vector *v, uint32_t count)
{
    if (count <= v->capacity)
        return 0;
    if (count > VECTOR_ORIGINS_MAX)
        return -E2BIG;
    uint32_t capacity = v->capacity < 8 ? 8 : v->capacity * 2;
    if (capacity < count)
        capacity = count;
    struct vector_entry *entries =
        heap_resize(v->heap, v->entries, capacity * sizeof(struct vector_entry));
    if (entries == NULL)
        return -ENOMEM;
    v->entries = entries;
    v->capacity = capacity;
    return 0;
}

/* Not inlined: what is called for every write shall stay short. */
static __attribute__((noinline)) int insert(struct vector *v, uint32_t at,
                                            struct vector_entry entry)
{
    int error = reserve(v, v->count + 1);
    if (error != 0)
        return error;
    memmove(v->entries + at + 1, v->entries + at, (v->count - at) * sizeof *v->entries);
    v->entries[at] = entry;
    v->count++;
    return 0;
}

int vector_advance(struct vector *v, uint64_t origin, uint64_t stamp)
{
    if (stamp == 0)
        return 0;
    uint32_t at = v->advanced;
    if (at >= v->count || v->entries[at].origin != origin)
        at = lower_bound(v, origin);
    if (at >= v->count || v->entries[at].origin != origin)
        return insert(v, at, (struct vector_entry){.origin = origin, .stamp = stamp});
    if (v->entries[at].stamp < stamp)
        v->entries[at].stamp = stamp;
    v->advanced = at;
    return 0;
}

int vector_reserve_merge(struct vector *v, const struct vector *other)
{
    uint32_t count = v->count;
    for (uint32_t i = 0; i < other->count; i++)
        count += vector_get(v, other->entries[i].origin) == 0;
    return reserve(v, count);
}

/* Half of another vector may cover a record, and not the delete that has beaten it. */
int vector_merge(struct vector *v, const struct vector *other)
{
    int error = vector_reserve_merge(v, other);
    for (uint32_t i = 0; i < other->count && error == 0; i++)
        error = vector_advance(v, other->entries[i].origin, other->entries[i].stamp);
    return error;
}

int vector_copy(struct vector *v, const struct vector *other)
{
    int error = reserve(v, other->count);
    if (error != 0)
        return error;
    if (other->count > 0)
        memcpy(v->entries, other->entries, other->count * sizeof *v->entries);
    v->count = other->count;
    return 0;
}

bool vector_covers_vector(const struct vector *v, const struct vector *other)
{
    for (uint32_t i = 0; i < other->count; i++) {
        if (!vector_covers(v, other->entries[i].origin, other->entries[i].stamp))
            return false;
    }
    return true;
}

/* The least that `wanted` has of an origin of which `has` has more. */
uint64_t vector_covered_stamp(const struct vector *has, const struct vector *wanted)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < has->count; i++) {
        const struct vector_entry *e = &has->entries[i];
        uint64_t other = vector_get(wanted, e->origin);
        if (other < e->stamp && other < least)
            least = other;
    }
    return least;
}

void vector_encode(const struct vector *v, struct buffer *out)
{
    size_t size = 4 + (size_t)v->count * ENTRY_BYTES;
    uint8_t *at = buffer_reserve(out, size);
    if (at == NULL)
        return;
    put_u32(at, v->count);
    if (v->count > 0)
        memcpy(at + 4, v->entries, (size_t)v->count * ENTRY_BYTES);
    buffer_added(out, size);
}

int64_t vector_decode(struct vector *v, struct bytes from)
{
    if (from.size < 4)
        return -EBADMSG;
    uint32_t count = get_u32(from.data);
    if (count > VECTOR_ORIGINS_MAX || from.size - 4 < (size_t)count * ENTRY_BYTES)
        return -EBADMSG;
    uint64_t previous = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *at = from.data + 4 + (size_t)i * ENTRY_BYTES;
        uint64_t origin = get_u64(at);
        uint64_t stamp = get_u64(at + 8);
        if (origin <= previous || stamp == 0 || stamp > STAMP_MAX)
            return -EBADMSG;
        previous = origin;
    }
    int error = reserve(v, count);
    if (error != 0)
        return error;
    if (count > 0)
        memcpy(v->entries, from.data + 4, (size_t)count * ENTRY_BYTES);
    v->count = count;
    return 4 + (int64_t)count * ENTRY_BYTES;
}
