/* The codec of files: headers, records and marks, and what is not taken for one. */
#include "failing_heap.h"
#include "records.h"
#include "unit.h"

#include "kv/hash.h"
#include "kv/segment.h"
#include "kv/stamp.h"

#include <errno.h>

static const struct segment_header HEADER = {.kind = SEGMENT_JOURNAL,
                                             .number = 7,
                                             .position = 0x1122334455667788,
                                             .created_ms = 1700000000000,
                                             .origin = 0x99aabbccddeeff00};

struct fixture {
    struct failing_heap heap;
    struct vector vector, dropped;
    struct buffer out;
};

static void open_fixture(struct fixture *f)
{
    failing_heap_init(&f->heap);
    vector_init(&f->vector, &f->heap.heap);
    vector_init(&f->dropped, &f->heap.heap);
    buffer_init(&f->out, &f->heap.heap);
    assert_int_equal(vector_advance(&f->vector, 5, 50), 0);
    assert_int_equal(vector_advance(&f->vector, 6, 60), 0);
    assert_int_equal(vector_advance(&f->dropped, 5, 40), 0);
}

static void close_fixture(struct fixture *f)
{
    vector_close(&f->vector);
    vector_close(&f->dropped);
    buffer_close(&f->out);
    assert_int_equal(f->heap.live, 0);
}

static struct mark some_mark(void)
{
    return (struct mark){.type = MARK_VECTOR,
                         .position = 0x0102030405060708,
                         .synced = 0x1112131415161718,
                         .forced_stamp = 0x21222324252627,
                         .records = 9};
}

static void put_mark(struct fixture *f)
{
    struct mark m = some_mark();
    mark_encode(&m, &f->vector, &f->dropped, &f->out);
    assert_false(buffer_failed(&f->out));
}

static void put_record(struct fixture *f, const struct record *rec)
{
    uint8_t *at = buffer_reserve(&f->out, record_bytes(rec));
    record_encode(rec, at);
    buffer_added(&f->out, record_bytes(rec));
}

/* The first `size` bytes, in memory of exactly that size. To be freed. */
static uint8_t *prefix_of(struct bytes bytes, size_t size)
{
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    assert_non_null(copy);
    if (size > 0)
        memcpy(copy, bytes.data, size);
    return copy;
}

static int64_t decode_prefix(struct bytes bytes, size_t size)
{
    struct segment_entry e;
    uint8_t *copy = prefix_of(bytes, size);
    int64_t outcome = segment_entry_decode(&e, bytes_of(copy, size));
    free(copy);
    return outcome;
}

/* --- headers ------------------------------------------------------------------------------- */

static void segment_header_has_the_bytes_as_drawn(void **state)
{
    (void)state;
    uint8_t at[SEGMENT_HEADER_BYTES];
    static const uint8_t EXPECTED[60] = {'S',  'I',  'M',  'P',  'L',  'E',  'K',  'V',  1,    0,
                                         0,    0,    1,    0,    0,    0,    7,    0,    0,    0,
                                         0,    0,    0,    0,    0x88, 0x77, 0x66, 0x55, 0x44, 0x33,
                                         0x22, 0x11, 0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01, 0,    0,
                                         0x00, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99};
    segment_header_encode(&HEADER, at);
    assert_memory_equal(at, EXPECTED, sizeof EXPECTED);
    assert_int_equal(get_u32(at + 60), hash_checksum(bytes_of(at, 60)));
}

static void segment_header_is_read_back_whole_and_asks_for_more_before(void **state)
{
    (void)state;
    uint8_t at[SEGMENT_HEADER_BYTES];
    struct segment_header h;
    segment_header_encode(&HEADER, at);
    for (size_t size = 0; size < sizeof at; size++) {
        uint8_t *copy = prefix_of(bytes_of(at, sizeof at), size);
        assert_int_equal(segment_header_decode(&h, bytes_of(copy, size)), 0);
        free(copy);
    }
    assert_int_equal(segment_header_decode(&h, bytes_of(at, sizeof at)), SEGMENT_HEADER_BYTES);
    assert_int_equal(h.kind, SEGMENT_JOURNAL);
    assert_true(h.number == HEADER.number && h.position == HEADER.position &&
                h.created_ms == HEADER.created_ms && h.origin == HEADER.origin);
}

static void segment_header_with_any_bit_flipped_is_none(void **state)
{
    (void)state;
    uint8_t at[SEGMENT_HEADER_BYTES];
    struct segment_header h;
    segment_header_encode(&HEADER, at);
    for (size_t bit = 0; bit < 8 * sizeof at; bit++) {
        at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(segment_header_decode(&h, bytes_of(at, sizeof at)), -EBADMSG);
        at[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static int decode_with(size_t offset, uint32_t value)
{
    uint8_t at[SEGMENT_HEADER_BYTES];
    struct segment_header h;
    segment_header_encode(&HEADER, at);
    put_u32(at + offset, value);
    put_u32(at + 60, hash_checksum(bytes_of(at, 60)));
    return segment_header_decode(&h, bytes_of(at, sizeof at));
}

static void segment_header_of_another_version_is_told_apart_from_damage(void **state)
{
    (void)state;
    assert_int_equal(decode_with(8, SEGMENT_VERSION + 1), -EPROTONOSUPPORT);
    assert_int_equal(decode_with(8, 0), -EPROTONOSUPPORT);
}

static void segment_header_has_one_of_three_kinds(void **state)
{
    (void)state;
    assert_int_equal(decode_with(12, 0), -EBADMSG);
    assert_int_equal(decode_with(12, SEGMENT_SNAPSHOT), SEGMENT_HEADER_BYTES);
    assert_int_equal(decode_with(12, SEGMENT_BACKUP), SEGMENT_HEADER_BYTES);
    assert_int_equal(decode_with(12, 4), -EBADMSG);
    assert_int_equal(decode_with(12, UINT32_MAX), -EBADMSG);
}

/* --- marks --------------------------------------------------------------------------------- */

static void mark_has_the_bytes_as_drawn(void **state)
{
    (void)state;
    struct fixture f;
    static const uint8_t EXPECTED[] = {32 + 4 + 32 + 4 + 16,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0x80,
                                       1, /* payload_bytes … type */
                                       8,
                                       7,
                                       6,
                                       5,
                                       4,
                                       3,
                                       2,
                                       1, /* position */
                                       0x18,
                                       0x17,
                                       0x16,
                                       0x15,
                                       0x14,
                                       0x13,
                                       0x12,
                                       0x11, /* synced */
                                       0x27,
                                       0x26,
                                       0x25,
                                       0x24,
                                       0x23,
                                       0x22,
                                       0x21,
                                       0, /* forced_stamp */
                                       9,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0, /* records */
                                       2,
                                       0,
                                       0,
                                       0,
                                       5,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       50,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0, /* vector */
                                       6,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       60,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0, /* … */
                                       1,
                                       0,
                                       0,
                                       0,
                                       5,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       40,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0}; /* dropped */
    open_fixture(&f);
    put_mark(&f);
    struct bytes mark = buffer_bytes(&f.out);
    assert_bytes_equal(bytes_after(mark, 4), bytes_of(EXPECTED, sizeof EXPECTED));
    assert_int_equal(get_u32(mark.data), hash_checksum(bytes_of(EXPECTED, sizeof EXPECTED)));
    close_fixture(&f);
}

static void mark_is_read_back_with_its_vectors(void **state)
{
    (void)state;
    struct fixture f;
    struct segment_entry e;
    struct vector vector, dropped;
    struct mark m = some_mark();
    open_fixture(&f);
    put_mark(&f);
    vector_init(&vector, &f.heap.heap);
    vector_init(&dropped, &f.heap.heap);
    assert_int_equal(segment_entry_decode(&e, buffer_bytes(&f.out)), buffer_size(&f.out));
    assert_int_equal(e.kind, ENTRY_MARK);
    assert_true(e.mark.type == m.type && e.mark.position == m.position &&
                e.mark.synced == m.synced && e.mark.forced_stamp == m.forced_stamp &&
                e.mark.records == m.records);
    assert_int_equal(mark_vectors(&e.mark, &vector, &dropped), 0);
    assert_true(vector_covers_vector(&vector, &f.vector) && vector.count == 2);
    assert_true(vector_covers_vector(&dropped, &f.dropped) && dropped.count == 1);
    vector_close(&vector);
    vector_close(&dropped);
    close_fixture(&f);
}

static void mark_without_memory_appends_nothing_and_the_failure_sticks(void **state)
{
    (void)state;
    struct fixture f;
    struct mark m = some_mark();
    open_fixture(&f);
    /* So that it has to grow at each place in turn. */
    for (uint64_t origin = 100; origin < 200; origin++)
        assert_int_equal(vector_advance(&f.vector, origin, 1), 0);
    for (uint64_t n = 1;; n++) {
        buffer_append_text(&f.out, "before");
        failing_heap_arm(&f.heap, n);
        mark_encode(&m, &f.vector, &f.dropped, &f.out);
        if (!failing_heap_disarm(&f.heap))
            break;
        assert_true(buffer_failed(&f.out));
        assert_bytes_are(buffer_bytes(&f.out), "before");
        buffer_close(&f.out);
    }
    assert_false(buffer_failed(&f.out));
    close_fixture(&f);
}

static void mark_vectors_without_memory_says_so(void **state)
{
    (void)state;
    struct fixture f;
    struct segment_entry e;
    open_fixture(&f);
    put_mark(&f);
    assert_true(segment_entry_decode(&e, buffer_bytes(&f.out)) > 0);
    uint64_t n = 0;
    int error;
    do {
        struct vector vector, dropped;
        vector_init(&vector, &f.heap.heap);
        vector_init(&dropped, &f.heap.heap);
        failing_heap_arm(&f.heap, ++n);
        error = mark_vectors(&e.mark, &vector, &dropped);
        assert_int_equal(error, failing_heap_disarm(&f.heap) ? -ENOMEM : 0);
        vector_close(&vector);
        vector_close(&dropped);
    } while (error != 0);
    assert_int_equal(n, 3);
    close_fixture(&f);
}

/* With a checksum that fits. */
static int64_t decode_patched_mark(const struct fixture *f, size_t offset, const void *patch,
                                   size_t patch_bytes)
{
    struct bytes mark = buffer_bytes(&f->out);
    struct segment_entry e;
    struct vector vector, dropped;
    uint8_t *copy = prefix_of(mark, mark.size);
    memcpy(copy + offset, patch, patch_bytes);
    put_u32(copy, hash_checksum(bytes_of(copy + 4, mark.size - 4)));
    int64_t outcome = segment_entry_decode(&e, bytes_of(copy, mark.size));
    vector_init(&vector, f->vector.heap);
    vector_init(&dropped, f->vector.heap);
    if (outcome > 0)
        outcome = mark_vectors(&e.mark, &vector, &dropped);
    vector_close(&vector);
    vector_close(&dropped);
    free(copy);
    return outcome;
}

static void mark_of_no_known_type_or_with_malformed_vectors_is_none(void **state)
{
    (void)state;
    struct fixture f;
    static const uint8_t END = MARK_END, NONE = 0, UNKNOWN = 3, FLAGS = 0x81;
    static const uint64_t FAR = STAMP_MAX + 1, ZERO = 0;
    static const uint32_t ONE = 1, FIVE = 5, MANY = VECTOR_ORIGINS_MAX + 1;
    open_fixture(&f);
    put_mark(&f);
    assert_int_equal(decode_patched_mark(&f, 11, &END, 1), 0);
    assert_int_equal(decode_patched_mark(&f, 11, &NONE, 1), -EBADMSG);
    assert_int_equal(decode_patched_mark(&f, 11, &UNKNOWN, 1), -EBADMSG);
    assert_int_equal(decode_patched_mark(&f, 10, &FLAGS, 1), -EBADMSG);
    assert_int_equal(decode_patched_mark(&f, 8, &END, 1), -EBADMSG);
    assert_int_equal(decode_patched_mark(&f, 28, &FAR, 8), -EBADMSG);
    assert_int_equal(decode_patched_mark(&f, 44, &ONE, 4), -EBADMSG); /* something is left */
    assert_int_equal(decode_patched_mark(&f, 44, &FIVE, 4), -EBADMSG);
    assert_int_equal(decode_patched_mark(&f, 44, &MANY, 4), -EBADMSG);
    assert_int_equal(decode_patched_mark(&f, 48, &ZERO, 8), -EBADMSG); /* no origin */
    close_fixture(&f);
}

/* --- entries ------------------------------------------------------------------------------- */

static void segment_entry_asks_for_more_at_every_prefix(void **state)
{
    (void)state;
    struct random random;
    struct records_space space = {.keys = 16, .stamps = 9, .origins = 9, .value_bytes = 60};
    random_init(&random, unit_seed(__func__));
    for (uint64_t round = unit_rounds(30); round > 0; round--) {
        struct fixture f;
        struct record rec = records_random(&random, &space);
        open_fixture(&f);
        if (round % 3 == 0)
            put_mark(&f);
        else
            put_record(&f, &rec);
        struct bytes entry = buffer_bytes(&f.out);
        for (size_t size = 0; size < entry.size; size++) {
            uint8_t *copy = prefix_of(entry, size);
            int64_t claims = segment_entry_claims(bytes_of(copy, size));
            assert_int_equal(decode_prefix(entry, size), 0);
            assert_true(claims == 0 || claims == (int64_t)entry.size);
            assert_true(claims != 0 || size < RECORD_HEADER_BYTES);
            free(copy);
        }
        assert_int_equal(decode_prefix(entry, entry.size), entry.size);
        close_fixture(&f);
    }
}

static void segment_entry_with_any_bit_flipped_is_never_accepted(void **state)
{
    (void)state;
    struct fixture f;
    struct segment_entry e;
    struct record rec = {
        .key = bytes_text("key"), .value = bytes_text("v"), .stamp = 7, .origin = 9};
    open_fixture(&f);
    put_record(&f, &rec);
    size_t first = buffer_size(&f.out);
    put_mark(&f);
    uint8_t *all = prefix_of(buffer_bytes(&f.out), buffer_size(&f.out));
    size_t size = buffer_size(&f.out);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        size_t begin = bit / 8 < first ? 0 : first;
        all[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(segment_entry_decode(&e, bytes_of(all + begin, size - begin)) <= 0);
        all[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(segment_entry_decode(&e, bytes_of(all, size)), first);
    free(all);
    close_fixture(&f);
}

static void segment_entry_takes_a_prefix_of_zeros_for_the_end(void **state)
{
    (void)state;
    struct segment_entry e;
    uint8_t zeros[SEGMENT_PREFIX_BYTES] = {0};
    for (size_t size = 0; size < sizeof zeros; size++)
        assert_int_equal(decode_prefix(bytes_of(zeros, sizeof zeros), size), 0);
    assert_int_equal(segment_entry_decode(&e, bytes_of(zeros, sizeof zeros)), sizeof zeros);
    assert_int_equal(e.kind, ENTRY_ZEROS);
    for (size_t bit = 0; bit < 8 * sizeof zeros; bit++) {
        zeros[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(segment_entry_decode(&e, bytes_of(zeros, sizeof zeros)) <= 0);
        zeros[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void segment_entries_are_read_one_after_another(void **state)
{
    (void)state;
    struct fixture f;
    struct segment_entry e;
    struct record rec = {.key = bytes_text("a"), .stamp = 7, .origin = 9, .tombstone = true};
    open_fixture(&f);
    put_record(&f, &rec);
    put_mark(&f);
    rec = (struct record){
        .key = bytes_text("b"), .value = bytes_text("x"), .stamp = 8, .origin = 9, .expires_ms = 5};
    put_record(&f, &rec);
    struct bytes rest = buffer_bytes(&f.out);
    int64_t size = segment_entry_decode(&e, rest);
    assert_true(size > 0 && e.kind == ENTRY_RECORD && e.record.tombstone);
    rest = bytes_after(rest, (size_t)size);
    size = segment_entry_decode(&e, rest);
    assert_true(size > 0 && e.kind == ENTRY_MARK);
    rest = bytes_after(rest, (size_t)size);
    assert_int_equal(segment_entry_decode(&e, rest), rest.size);
    assert_true(e.kind == ENTRY_RECORD && records_equal(&e.record, &rec));
    close_fixture(&f);
}

static void segment_keys_are_those_of_whole_records_between_marks(void **state)
{
    (void)state;
    struct fixture f;
    struct bytes keys[3];
    struct record a = {.key = bytes_text("a"), .stamp = 1, .origin = 5};
    struct record b = {.key = bytes_text("bb"), .stamp = 2, .origin = 5, .expires_ms = 9};
    open_fixture(&f);
    put_record(&f, &a);
    put_mark(&f);
    put_record(&f, &b);
    put_record(&f, &a);
    struct bytes all = buffer_bytes(&f.out);
    assert_int_equal(segment_keys(all, keys, 3), 3);
    assert_true(bytes_equal(keys[0], a.key) && bytes_equal(keys[1], b.key));
    assert_int_equal(segment_keys(all, keys, 2), 2);
    all.size--; /* the last one is cut short */
    assert_int_equal(segment_keys(all, keys, 3), 2);
    assert_int_equal(segment_keys(bytes_of(NULL, 0), keys, 3), 0);
    close_fixture(&f);
}

static void segment_entry_bears_garbage(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, unit_seed(__func__));
    for (uint64_t round = unit_rounds(20000); round > 0; round--) {
        struct segment_entry e;
        uint8_t garbage[96];
        for (size_t i = 0; i < sizeof garbage; i += 8)
            put_u64(garbage + i, random_next(&random));
        garbage[10] = random_below(&random, 2) == 0 ? 0x80 : 0;
        size_t size = (size_t)random_below(&random, sizeof garbage + 1);
        uint8_t *copy = prefix_of(bytes_of(garbage, sizeof garbage), size);
        assert_true(segment_entry_decode(&e, bytes_of(copy, size)) <= 0);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segment_header_has_the_bytes_as_drawn),
        cmocka_unit_test(segment_header_is_read_back_whole_and_asks_for_more_before),
        cmocka_unit_test(segment_header_with_any_bit_flipped_is_none),
        cmocka_unit_test(segment_header_of_another_version_is_told_apart_from_damage),
        cmocka_unit_test(segment_header_has_one_of_three_kinds),
        cmocka_unit_test(mark_has_the_bytes_as_drawn),
        cmocka_unit_test(mark_is_read_back_with_its_vectors),
        cmocka_unit_test(mark_without_memory_appends_nothing_and_the_failure_sticks),
        cmocka_unit_test(mark_vectors_without_memory_says_so),
        cmocka_unit_test(mark_of_no_known_type_or_with_malformed_vectors_is_none),
        cmocka_unit_test(segment_entry_asks_for_more_at_every_prefix),
        cmocka_unit_test(segment_entry_with_any_bit_flipped_is_never_accepted),
        cmocka_unit_test(segment_entry_takes_a_prefix_of_zeros_for_the_end),
        cmocka_unit_test(segment_entries_are_read_one_after_another),
        cmocka_unit_test(segment_keys_are_those_of_whole_records_between_marks),
        cmocka_unit_test(segment_entry_bears_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
