/* Serving lists: to whom, of what, and how far; and what a peer may ask for. */
#include "comparing.h"
#include "records.h"
#include "unit.h"

#define FLAGS_NONE 0u

static int set_up(void **state)
{
    struct comparing *c = calloc(1, sizeof *c);
    comparing_open(c);
    *state = c;
    return 0;
}

static int tear_down(void **state)
{
    struct comparing *c = *state;
    situation_close(&c->f);
    free(c);
    return 0;
}

/* Tombstones of FIRST up to stamp 50 were dropped at the node. */
static void note_dropped(struct comparing *c)
{
    assert_int_equal(vector_advance(&c->f.node->dropped, FIRST_ORIGIN, 50), 0);
}

static void hold(struct comparing *c, const char *key, uint64_t stamp, uint64_t origin)
{
    struct record rec = comparing_record(key, stamp, origin);
    comparing_hold(c, &rec);
}

/* A request for everything, from a receiver that has FIRST up to a stamp, and the data of `like`. */
static void request(struct comparing *c, uint16_t flags, uint64_t first, uint16_t groups,
                    const struct store *like)
{
    struct vector has;
    comparing_vector(c, &has, first, 0);
    peer_request(&c->f.x, flags, 0, groups, &has, like);
    vector_close(&has);
}

static uint16_t begin_flags(struct comparing *c)
{
    struct frame_reader payload;
    assert_true(peer_take_until(&c->f.x, FRAME_DELTA_BEGIN, &payload));
    return frame_read_u16(&payload);
}

/* What a delta brings, until its end. */
struct served {
    uint32_t records, entries, marks, listed_marks;
    uint32_t first_mark, last_mark;
    uint64_t forced_stamp, dropped_first;
    struct peer_entry entry; /* the last one */
    bool ended;
};

static void count_records(struct served *s, struct bytes rest)
{
    struct record rec;
    for (int64_t size; rest.size > 0; rest = bytes_after(rest, (size_t)size)) {
        size = record_decode(&rec, rest);
        assert_true(size > 0);
        s->records++;
    }
}

static void take_frame(struct served *s, enum frame_type type, struct frame_reader *payload,
                       struct heap *heap)
{
    struct vector dropped;
    uint32_t mark;
    switch (type) {
    case FRAME_DELTA_RECORDS:
        count_records(s, payload->rest);
        break;
    case FRAME_DELTA_LIST:
        for (; payload->rest.size > 0; s->entries++) {
            s->entry.key_hash = frame_read_u64(payload);
            s->entry.origin = frame_read_u64(payload);
            s->entry.stamp = frame_read_u64(payload);
        }
        break;
    case FRAME_DELTA_MARK:
        mark = frame_read_u32(payload);
        assert_true(mark > s->last_mark);
        s->first_mark = s->marks == 0 ? mark : s->first_mark;
        s->last_mark = mark;
        s->marks++;
        s->listed_marks += frame_read_u16(payload);
        break;
    case FRAME_DELTA_END:
        s->forced_stamp = frame_read_u64(payload);
        vector_init(&dropped, heap);
        assert_true(vector_decode(&dropped, payload->rest) > 0);
        s->dropped_first = vector_get(&dropped, FIRST_ORIGIN);
        vector_close(&dropped);
        s->ended = true;
        break;
    default:
        break;
    }
}

static void take(struct comparing *c, struct served *s)
{
    enum frame_type type;
    struct frame_reader payload;
    while (!s->ended && (type = peer_take(&c->f.x, &payload)) != 0)
        take_frame(s, type, &payload, &c->f.x.heap);
}

static struct served take_all(struct comparing *c)
{
    struct served s = {0};
    take(c, &s);
    assert_true(s.ended);
    return s;
}

/* --- who gets lists ------------------------------------------------------------------------ */

static void link_scan_asks_for_digests_who_missed_a_dropped_tombstone(void **state)
{
    struct comparing *c = *state;
    struct frame_reader payload;
    note_dropped(c);
    comparing_dial(c);
    request(c, FLAGS_NONE, 49, 0, NULL);
    assert_int_equal(c->f.node->scans, 0);
    assert_true(peer_take_until(&c->f.x, FRAME_DIGESTS_WANTED, &payload));
    assert_int_equal(c->f.x.link.state, LINK_HOLD);
    request(c, FLAGS_NONE, 49, STORE_GROUPS, NULL);
    assert_int_equal(begin_flags(c), PEER_CHECKED | PEER_BEHIND);
    assert_int_equal(c->f.x.link.state, LINK_LIVE);
}

static void link_scan_serves_without_lists_who_has_seen_all_that_was_dropped(void **state)
{
    struct comparing *c = *state;
    note_dropped(c);
    hold(c, c->keys[0], 10, FIRST_ORIGIN);
    hold(c, c->keys[1], 60, FIRST_ORIGIN);
    comparing_dial(c);
    request(c, FLAGS_NONE, 50, 0, NULL);
    assert_int_equal(begin_flags(c), 0);
    struct served s = take_all(c);
    assert_int_equal(s.records, 1);
    assert_int_equal(s.entries, 0);
    assert_int_equal(s.listed_marks, 0);
    assert_int_equal(s.last_mark, STORE_PARTITIONS);
    assert_int_equal(s.dropped_first, 50);
}

static void link_scan_needs_no_digests_of_an_empty_receiver(void **state)
{
    struct comparing *c = *state;
    note_dropped(c);
    hold(c, c->keys[0], 60, FIRST_ORIGIN);
    comparing_dial(c);
    request(c, PEER_IS_EMPTY, 0, 0, NULL);
    assert_int_equal(begin_flags(c), PEER_CHECKED | PEER_BEHIND);
    struct served s = take_all(c);
    assert_int_equal(s.records, 1);
    assert_int_equal(s.listed_marks, 0);
}

/* --- what is listed ------------------------------------------------------------------------ */

static void link_scan_lists_the_live_records_that_the_receiver_is_said_to_have(void **state)
{
    struct comparing *c = *state;
    struct record gone = comparing_record(c->keys[2], 12, FIRST_ORIGIN);
    note_dropped(c);
    hold(c, c->keys[0], 10, FIRST_ORIGIN); /* listed */
    hold(c, c->keys[1], 45, FIRST_ORIGIN); /* sent */
    hold(c, c->keys[3], 5, SECOND_ORIGIN); /* sent */
    gone.tombstone = true; /* covered and dead: neither */
    gone.value = bytes_of(NULL, 0);
    comparing_hold(c, &gone);
    comparing_dial(c);
    request(c, FLAGS_NONE, 40, STORE_GROUPS, NULL);
    struct served s = take_all(c);
    assert_int_equal(s.records, 2);
    assert_int_equal(s.entries, 1);
    assert_int_equal(s.entry.stamp, 10);
    assert_true(s.entry.origin == FIRST_ORIGIN);
    struct record listed = comparing_record(c->keys[0], 10, FIRST_ORIGIN);
    assert_true(s.entry.key_hash == peer_entry_of(&listed).key_hash);
}

static void link_scan_does_not_list_partitions_of_equal_digest(void **state)
{
    struct comparing *c = *state;
    struct store *like = store_new(&c->f.x.heap, 1);
    assert_non_null(like);
    note_dropped(c);
    hold(c, c->keys[0], 10, FIRST_ORIGIN);
    hold(c, c->keys[1], 11, FIRST_ORIGIN);
    hold(c, "k", 12, FIRST_ORIGIN);
    hold(c, "l", 13, FIRST_ORIGIN);
    records_copy_store(like, c->f.node->store);
    hold(c, c->keys[2], 14, FIRST_ORIGIN); /* only here: so its partition is listed */
    comparing_dial(c);
    request(c, FLAGS_NONE, 40, STORE_GROUPS, like);
    struct served s = take_all(c);
    assert_int_equal(s.listed_marks, 1);
    assert_int_equal(s.entries, 3);
    assert_int_equal(s.records, 0);
    store_free(like);
}

static void link_scan_of_a_group_stays_within_it(void **state)
{
    struct comparing *c = *state;
    struct vector has;
    uint16_t group = (uint16_t)(c->partition / STORE_GROUP_PARTITIONS);
    hold(c, c->keys[0], 10, FIRST_ORIGIN);
    hold(c, "k", 12, FIRST_ORIGIN);
    assert_true(store_partition(bytes_text("k")) / STORE_GROUP_PARTITIONS != group);
    comparing_dial(c);
    comparing_vector(c, &has, PAST_STAMP, 0);
    peer_request(&c->f.x, PEER_SCRUBS, group, 1, &has, NULL);
    vector_close(&has);
    assert_int_equal(begin_flags(c), PEER_CHECKED);
    assert_int_equal(c->f.x.link.state, LINK_HOLD); /* a scrub closes no gap */
    struct served s = take_all(c);
    assert_int_equal(s.entries, 1);
    assert_true(s.first_mark > group * STORE_GROUP_PARTITIONS);
    assert_int_equal(s.last_mark, (group + 1) * STORE_GROUP_PARTITIONS);
    assert_int_equal(c->f.node->counters.deltas_served, 0);
    assert_int_equal(c->f.node->scans, 0);
}

static void link_scan_lists_in_frames_of_bounded_size_and_turns_of_bounded_work(void **state)
{
    struct comparing *c = *state;
    const uint32_t count = 4 * LINK_SCAN_ENTRIES;
    char(*keys)[16] = calloc(count, sizeof *keys);
    assert_non_null(keys);
    for (uint32_t i = 0; i < count; i++) {
        snprintf(keys[i], sizeof keys[i], "k%u", i);
        hold(c, keys[i], 1 + i % 40, FIRST_ORIGIN);
    }
    note_dropped(c);
    comparing_dial(c);
    request(c, FLAGS_NONE, 40, STORE_GROUPS, NULL);
    struct served s = {0};
    uint32_t turns = 0;
    for (; c->f.node->scans != 0; turns++) {
        uint32_t before = s.entries;
        struct buffer *out = link_output(&c->f.x.link);
        assert_true(buffer_size(out) < LINK_OUTPUT_BYTES + LINK_FRAME_BYTES);
        buffer_append(&c->f.x.got, buffer_bytes(out));
        buffer_consume(out, buffer_size(out));
        struct frame frame;
        while (frame_header(buffer_bytes(&c->f.x.got), &frame) == 1) {
            struct frame_reader payload = {
                .rest = bytes_of(buffer_bytes(&c->f.x.got).data + FRAME_HEADER_BYTES,
                                 frame.payload_bytes)};
            take_frame(&s, frame.type, &payload, &c->f.x.heap);
            buffer_consume(&c->f.x.got, FRAME_HEADER_BYTES + frame.payload_bytes);
        }
        assert_true(s.entries - before <= LINK_SCAN_ENTRIES + 30);
    }
    assert_int_equal(s.entries, count);
    assert_true(turns >= 4);
    free(keys);
}

/* The receiver may have to look at what is skipped here. */
static void link_scan_takes_turns_for_partitions_that_it_skips_too(void **state)
{
    struct comparing *c = *state;
    comparing_dial(c);
    request(c, FLAGS_NONE, 40, 0, NULL);
    for (uint32_t before = 0; c->f.x.link.scan.active;) {
        link_output(&c->f.x.link);
        uint32_t now = c->f.x.link.scan.partition;
        assert_true(now <= before + LINK_SCAN_ENTRIES + 64);
        before = now;
    }
    assert_int_equal(take_all(c).last_mark, STORE_PARTITIONS);
}

/* With more keys than ever were, a partition takes several turns. */
static void link_scan_of_a_huge_partition_takes_several_turns(void **state)
{
    struct comparing *c = *state;
    const struct link_scan *scan = &c->f.x.link.scan;
    const uint32_t count = 3 * LINK_SCAN_ENTRIES + 100;
    char(*keys)[16] = calloc(count, sizeof *keys);
    assert_non_null(keys);
    records_keys_of_partition(c->partition, keys, count);
    for (uint32_t i = 0; i < count; i++)
        hold(c, keys[i], 10, FIRST_ORIGIN);
    free(keys);
    note_dropped(c);
    comparing_dial(c);
    request(c, FLAGS_NONE, 40, STORE_GROUPS, NULL);
    uint32_t turns_within = 0;
    for (size_t before = 0; scan->partition <= c->partition && scan->active;) {
        link_output(&c->f.x.link);
        size_t listed = buffer_size(&scan->list) / sizeof(struct peer_entry);
        assert_true(listed <= before + LINK_SCAN_ENTRIES);
        turns_within += listed > 0;
        before = listed;
    }
    assert_in_range(turns_within, 3, 4);
    assert_int_equal(take_all(c).entries, count);
}

/* --- tombstones that go by force meanwhile ------------------------------------------------- */

/* Partition 100 takes more than one filling of the output. */
static void hold_much(struct comparing *c)
{
    static uint8_t value[100000];
    for (uint32_t i = 0; i < 8; i++) {
        struct record rec = comparing_record(c->keys[i], 60 + i, FIRST_ORIGIN);
        rec.value = bytes_of(value, sizeof value);
        comparing_hold(c, &rec);
    }
}

/* Turns until the output is full in the middle of it. */
static void fill_until_in(struct comparing *c)
{
    const struct link_scan *scan = &c->f.x.link.scan;
    while (!(scan->cursor_open && scan->partition == c->partition)) {
        assert_int_equal(c->f.node->scans, 1);
        link_output(&c->f.x.link);
    }
}

static void link_scan_allows_force_except_in_the_partition_it_is_in(void **state)
{
    struct comparing *c = *state;
    struct link *l = &c->f.x.link;
    char later[1][16];
    records_keys_of_partition(c->partition + 50, later, 1);
    hold_much(c);
    hold(c, later[0], 5, FIRST_ORIGIN); /* the receiver is said to have it */
    comparing_dial(c);
    assert_true(link_scan_allows(l, c->partition)); /* no scan, no objection */
    request(c, FLAGS_NONE, 50, 0, NULL);
    assert_int_equal(begin_flags(c), 0);
    struct served s = {0};
    fill_until_in(c);
    assert_false(link_scan_allows(l, c->partition));
    assert_false(l->scan.list_all);
    assert_true(link_scan_allows(l, c->partition + 50));
    take(c, &s);
    assert_true(s.ended);
    assert_int_equal(s.records, 8);
    assert_int_equal(s.entries, 1); /* though it began as a delta without lists */
    assert_true(s.listed_marks > 1);
}

static void link_scan_that_compares_anyway_allows_all_force(void **state)
{
    struct comparing *c = *state;
    struct link *l = &c->f.x.link;
    hold_much(c);
    note_dropped(c);
    comparing_dial(c);
    request(c, FLAGS_NONE, 40, STORE_GROUPS, NULL);
    fill_until_in(c);
    assert_true(link_scan_allows(l, c->partition));
    assert_false(l->scan.list_all);
    c->f.node->forced_stamp = 33;
    assert_int_equal(take_all(c).forced_stamp, 33);
}

/* Whatever leaves before the link ends over it is believed: a mark without its list would delete. */
static void link_scan_marks_nothing_as_listed_whose_list_it_had_no_memory_for(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct comparing one, *c = &one;
        comparing_open(c);
        note_dropped(c);
        for (uint32_t i = 0; i < 8; i++)
            hold(c, c->keys[i], 10, FIRST_ORIGIN);
        hold(c, "k", 100, FIRST_ORIGIN);
        comparing_dial(c);
        failing_heap_arm(&c->f.pair.heap, n);
        request(c, FLAGS_NONE, 40, STORE_GROUPS, NULL);
        struct served s = {0};
        take(c, &s);
        failed = failing_heap_disarm(&c->f.pair.heap);
        assert_true(s.entries == 8 || s.last_mark <= c->partition);
        assert_int_equal(s.ended, !failed);
        assert_int_equal(c->f.x.link.state == LINK_CLOSED, failed);
        situation_close(&c->f);
    }
}

/* --- what may be asked --------------------------------------------------------------------- */

static void link_scan_ends_at_a_request_that_makes_no_sense(void **state)
{
    (void)state;
    static const struct {
        uint16_t flags, first, groups;
        size_t digests; /* bytes of them */
    } CASES[] = {{0, 1, STORE_GROUPS, STORE_PARTITIONS * 8},
                 {0, STORE_GROUPS + 1, 0, 0},
                 {0, 65535, 65535, 0},
                 {0, 0, 1, 0},
                 {0, 0, 1, STORE_GROUP_PARTITIONS * 8 - 1},
                 {0, 0, 1, STORE_GROUP_PARTITIONS * 8 + 8},
                 {0, 0, 0, 8},
                 {PEER_SCRUBS, 0, 0, 0}};
    static const uint8_t zeros[STORE_PARTITIONS * 8];
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct comparing one, *c = &one;
        comparing_open(c);
        comparing_dial(c);
        struct buffer *out = peer_begin(&c->f.x);
        frame_put_u16(out, CASES[i].flags);
        frame_put_u16(out, CASES[i].first);
        frame_put_u16(out, CASES[i].groups);
        frame_put_u32(out, 0);
        buffer_append(out, bytes_of(zeros, CASES[i].digests));
        peer_send(&c->f.x, FRAME_DELTA_REQUEST);
        situation_assert_ended(&c->f, "malformed frame of type 9");
        situation_close(&c->f);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(link_scan_asks_for_digests_who_missed_a_dropped_tombstone),
        TEST(link_scan_serves_without_lists_who_has_seen_all_that_was_dropped),
        TEST(link_scan_needs_no_digests_of_an_empty_receiver),
        TEST(link_scan_lists_the_live_records_that_the_receiver_is_said_to_have),
        TEST(link_scan_does_not_list_partitions_of_equal_digest),
        TEST(link_scan_of_a_group_stays_within_it),
        TEST(link_scan_lists_in_frames_of_bounded_size_and_turns_of_bounded_work),
        TEST(link_scan_takes_turns_for_partitions_that_it_skips_too),
        TEST(link_scan_of_a_huge_partition_takes_several_turns),
        TEST(link_scan_allows_force_except_in_the_partition_it_is_in),
        TEST(link_scan_that_compares_anyway_allows_all_force),
        cmocka_unit_test(link_scan_marks_nothing_as_listed_whose_list_it_had_no_memory_for),
        cmocka_unit_test(link_scan_ends_at_a_request_that_makes_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
