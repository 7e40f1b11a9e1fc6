/* The ring. Records never straddle its end: the rest of a lap that is too small for the next record
 * stays unused, between lap_end and lap_start. One such seam at most lies between the oldest byte
 * and the newest, since together they span no more than one capacity. */
#include "kv/journal.h"

#include "kv/check.h"

#include <errno.h>

int journal_init(struct journal *j, struct heap *heap, uint64_t capacity_bytes)
{
    CHECK(capacity_bytes >= JOURNAL_BYTES_MIN);
    *j = (struct journal){.heap = heap, .capacity = capacity_bytes};
    j->mark_capacity = (uint32_t)(capacity_bytes / JOURNAL_BLOCK_BYTES) + 2;
    j->ring = heap_alloc(heap, capacity_bytes);
    j->marks = heap_alloc(heap, j->mark_capacity * sizeof *j->marks);
    if (j->ring == NULL || j->marks == NULL) {
        journal_close(j);
        return -ENOMEM;
    }
    return 0;
}

void journal_close(struct journal *j)
{
    heap_free(j->heap, j->ring);
    heap_free(j->heap, j->marks);
    *j = (struct journal){.heap = j->heap};
}

static const struct journal_mark *mark_at(const struct journal *j, uint32_t index)
{
    return &j->marks[(j->mark_first + index) % j->mark_capacity];
}

uint64_t journal_floor(const struct journal *j)
{
    return j->mark_count > 0 ? mark_at(j, 0)->after : j->last;
}

static uint64_t oldest_position(const struct journal *j)
{
    return j->mark_count > 0 ? mark_at(j, 0)->position : j->head;
}

uint64_t journal_bytes(const struct journal *j)
{
    return j->head - oldest_position(j);
}

void journal_skip(struct journal *j, uint64_t stamp)
{
    j->mark_count = 0;
    j->last = stamp;
    /* The position moves too, so that a reader from before counts as overtaken. */
    j->head++;
    j->lap_end = j->lap_start = 0;
}

/* Moves the head to where `size` bytes fit in one piece, and drops the blocks they overwrite. */
static void make_room(struct journal *j, uint64_t size)
{
    uint64_t left = j->capacity - j->head % j->capacity;
    if (left < size) {
        j->lap_end = j->head;
        j->lap_start = j->head + left;
        j->head = j->lap_start;
    }
    while (j->mark_count > 0 && j->head + size - mark_at(j, 0)->position > j->capacity) {
        j->mark_first = (j->mark_first + 1) % j->mark_capacity;
        j->mark_count--;
    }
}

static void mark_block(struct journal *j)
{
    if (j->mark_count > 0 &&
        j->head - mark_at(j, j->mark_count - 1)->position < JOURNAL_BLOCK_BYTES)
        return;
    CHECK(j->mark_count < j->mark_capacity);
    j->marks[(j->mark_first + j->mark_count) % j->mark_capacity] =
        (struct journal_mark){.position = j->head, .after = j->last, .records = j->records};
    j->mark_count++;
}

/* Where the next record goes, whose bytes are to be put there at once; NULL when it is too large. */
static uint8_t *place_next(struct journal *j, uint64_t stamp, size_t size)
{
    CHECK(stamp > j->last);
    if (size > j->capacity) {
        journal_skip(j, stamp);
        return NULL;
    }
    make_room(j, size);
    mark_block(j);
    uint8_t *at = j->ring + j->head % j->capacity;
    j->head += size;
    j->records++;
    j->last = stamp;
    return at;
}

void journal_append(struct journal *j, const struct record *rec)
{
    uint8_t *at = place_next(j, rec->stamp, record_bytes(rec));
    if (at != NULL)
        record_encode(rec, at);
}

void journal_append_encoded(struct journal *j, uint64_t stamp, struct bytes encoded)
{
    uint8_t *at = place_next(j, stamp, encoded.size);
    if (at != NULL)
        memcpy(at, encoded.data, encoded.size);
}

/* Past the seam, if the reader stands on it. */
static void step_over_seam(const struct journal *j, struct journal_reader *reader)
{
    if (reader->position == j->lap_end && j->lap_start > j->lap_end)
        reader->position = j->lap_start;
}

/* The last block that begins with a record stamped at most one after `after`. */
static const struct journal_mark *find_block(const struct journal *j, uint64_t after)
{
    uint32_t low = 0, high = j->mark_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (mark_at(j, middle)->after <= after)
            low = middle;
        else
            high = middle;
    }
    return mark_at(j, low);
}

/* Moves a reader at a block's beginning to the first record stamped after `after`, which there
 * must be. Returns how many it passed. */
static uint64_t pass_records(const struct journal *j, struct journal_reader *reader, uint64_t after)
{
    for (uint64_t passed = 0;; passed++) {
        step_over_seam(j, reader);
        const uint8_t *at = j->ring + reader->position % j->capacity;
        if (record_stamp_at(at) > after)
            return passed;
        reader->position += record_size_at(at);
    }
}

bool journal_seek(const struct journal *j, uint64_t after, struct journal_reader *reader)
{
    if (after < journal_floor(j))
        return false;
    if (after >= j->last) {
        *reader = (struct journal_reader){.position = j->head, .after = after};
        return true;
    }
    const struct journal_mark *block = find_block(j, after);
    *reader = (struct journal_reader){.position = block->position, .after = after};
    pass_records(j, reader, after);
    return true;
}

uint64_t journal_count_after(const struct journal *j, uint64_t after, bool *all)
{
    *all = after >= journal_floor(j);
    if (after >= j->last || j->mark_count == 0)
        return 0;
    if (!*all)
        return j->records - mark_at(j, 0)->records;
    const struct journal_mark *block = find_block(j, after);
    struct journal_reader reader = {.position = block->position, .after = after};
    return j->records - block->records - pass_records(j, &reader, after);
}

struct journal_reader journal_end(const struct journal *j)
{
    return (struct journal_reader){.position = j->head, .after = j->last};
}

bool journal_overtaken(const struct journal *j, const struct journal_reader *reader)
{
    return reader->position < oldest_position(j);
}

void journal_read(const struct journal *j, struct journal_reader *reader, size_t bytes_wanted,
                  struct buffer *out)
{
    CHECK(!journal_overtaken(j, reader));
    size_t copied = 0;
    while (reader->position < j->head && copied < bytes_wanted) {
        step_over_seam(j, reader);
        const uint8_t *at = j->ring + reader->position % j->capacity;
        size_t size = record_size_at(at);
        uint8_t *into = buffer_reserve(out, size);
        if (into == NULL)
            return;
        memcpy(into, at, size);
        buffer_added(out, size);
        reader->position += size;
        reader->after = record_stamp_at(at);
        copied += size;
    }
}
