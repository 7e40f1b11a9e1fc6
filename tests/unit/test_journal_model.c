/* The journal against a simple model: a list of everything that was ever appended. Random record
 * sizes, laps, skips and several readers; whoever is not overtaken must read on without a gap. */
#include "failing_heap.h"
#include "unit.h"

#include "kv/journal.h"
#include "kv/random.h"

#define READERS       5u
#define ROUNDS        40u
#define RECORDS_MAX   1500u
#define SIZE_MAX_TINY 3000u

static uint8_t filler[3u << 20];

struct model {
    struct failing_heap heap;
    struct journal journal;
    struct random random;
    uint64_t capacity;
    struct buffer out;
    uint64_t stamps[RECORDS_MAX + 1]; /* ascending, from index 1; stamps[0] is 0 */
    size_t sizes[RECORDS_MAX + 1]; /* of the value; SIZE_MAX for one that was skipped */
    uint32_t count;
    struct journal_reader readers[READERS];
    uint32_t seen[READERS]; /* the index of the last record each has read */
};

/* Mostly small ones, some that take a good part of the ring, some that do not fit at all. */
static size_t random_size(struct model *m)
{
    switch (random_below(&m->random, 40)) {
    case 0:
        return random_below(&m->random, m->capacity + 1000);
    case 1:
        return m->capacity - 31 + random_below(&m->random, 2); /* fits just, or just not */
    case 2:
    case 3:
    case 4:
        return random_below(&m->random, 200000);
    default:
        return random_below(&m->random, SIZE_MAX_TINY);
    }
}

static void append(struct model *m)
{
    uint32_t i = ++m->count;
    m->stamps[i] = m->stamps[i - 1] + 1 + random_below(&m->random, 3);
    m->sizes[i] = random_size(m);
    if (random_below(&m->random, 300) == 0) {
        m->sizes[i] = SIZE_MAX;
        journal_skip(&m->journal, m->stamps[i]);
        return;
    }
    struct record rec = {.key = bytes_text("key"),
                         .value = bytes_of(filler + m->stamps[i] % 251, m->sizes[i]),
                         .stamp = m->stamps[i],
                         .origin = 9};
    journal_append(&m->journal, &rec);
}

/* The records in `out` are those that follow index `seen`. Returns the index of the last. */
static uint32_t check_output(struct model *m, uint32_t seen)
{
    struct bytes rest = buffer_bytes(&m->out);
    while (rest.size > 0) {
        struct record rec;
        int64_t size = record_decode(&rec, rest);
        assert_true(size > 0 && ++seen <= m->count);
        assert_int_equal(rec.stamp, m->stamps[seen]);
        assert_int_equal(rec.value.size, m->sizes[seen]);
        if (rec.value.size > 0)
            assert_int_equal(rec.value.data[rec.value.size - 1],
                             filler[m->stamps[seen] % 251 + rec.value.size - 1]);
        rest = bytes_of(rest.data + size, rest.size - (size_t)size);
    }
    buffer_truncate(&m->out, 0);
    return seen;
}

/* Whether the ring must have lost something that comes after record `seen`: it claims by its floor
 * to hold all after that. */
static bool is_lost(const struct model *m, uint32_t seen)
{
    return m->stamps[seen] < journal_floor(&m->journal);
}

static void read_some(struct model *m, uint32_t i)
{
    struct journal_reader *r = &m->readers[i];
    if (is_lost(m, m->seen[i]))
        assert_true(journal_overtaken(&m->journal, r));
    if (journal_overtaken(&m->journal, r)) {
        /* Caught up from the store, and going on from there. */
        *r = journal_end(&m->journal);
        m->seen[i] = m->count;
        return;
    }
    assert_int_equal(journal_has_more(&m->journal, r), m->seen[i] < m->count);
    journal_read(&m->journal, r, 1 + random_below(&m->random, 300000), &m->out);
    uint32_t seen = check_output(m, m->seen[i]);
    assert_true(seen > m->seen[i] || m->seen[i] == m->count);
    m->seen[i] = seen;
    assert_int_equal(r->after, m->stamps[seen]);
}

/* From every stamp that the ring claims to hold, and from those it does not. */
static void seek_everywhere(struct model *m)
{
    uint64_t floor = journal_floor(&m->journal);
    for (uint32_t i = 0; i <= m->count; i++) {
        struct journal_reader r;
        bool found = journal_seek(&m->journal, m->stamps[i], &r);
        assert_int_equal(found, m->stamps[i] >= floor);
        if (!found)
            continue;
        assert_false(journal_overtaken(&m->journal, &r));
        journal_read(&m->journal, &r, 1, &m->out);
        assert_int_equal(check_output(m, i), i < m->count ? i + 1 : i);
    }
}

/* The floor is honest: it is no higher than what the capacity forces, give or take a block, the
 * unused end of a lap, and the largest record that may have had to fit in. */
static void check_floor(const struct model *m)
{
    uint64_t held = 0, largest = 0;
    uint32_t i = m->count;
    for (; i > 0 && m->sizes[i] != SIZE_MAX && m->sizes[i] + 31 <= m->capacity; i--) {
        uint64_t size = m->sizes[i] + 31;
        largest = size > largest ? size : largest;
        if (held + size + 2 * largest + 2 * JOURNAL_BLOCK_BYTES > m->capacity)
            break;
        held += size;
    }
    assert_true(journal_floor(&m->journal) <= m->stamps[i]);
    assert_true(journal_bytes(&m->journal) <= m->capacity);
}

static void run(struct model *m)
{
    for (uint32_t i = 0; i < READERS; i++)
        m->readers[i] = journal_end(&m->journal);
    while (m->count < RECORDS_MAX) {
        /* Readers of different diligence: the last one is nearly always overtaken. */
        uint32_t reader = (uint32_t)random_below(&m->random, READERS);
        if (random_below(&m->random, (1u << reader)) == 0)
            read_some(m, reader);
        append(m);
        check_floor(m);
        if (random_below(&m->random, 200) == 0)
            seek_everywhere(m);
    }
    seek_everywhere(m);
    for (uint32_t i = 0; i < READERS; i++) {
        while (m->seen[i] < m->count)
            read_some(m, i);
    }
}

static void journal_readers_miss_nothing_unless_they_are_told(void **state)
{
    (void)state;
    struct model *m = calloc(1, sizeof *m);
    failing_heap_init(&m->heap);
    buffer_init(&m->out, &m->heap.heap);
    random_init(&m->random, unit_seed(__func__));
    for (uint64_t round = unit_rounds(ROUNDS); round > 0; round--) {
        m->capacity = JOURNAL_BYTES_MIN + random_below(&m->random, 3) * 77777;
        assert_int_equal(journal_init(&m->journal, &m->heap.heap, m->capacity), 0);
        m->count = 0;
        memset(m->seen, 0, sizeof m->seen);
        run(m);
        journal_close(&m->journal);
    }
    buffer_close(&m->out);
    assert_int_equal(m->heap.live, 0);
    free(m);
}

int main(void)
{
    for (size_t i = 0; i < sizeof filler; i++)
        filler[i] = (uint8_t)(i * 31 + i / 251);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(journal_readers_miss_nothing_unless_they_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
