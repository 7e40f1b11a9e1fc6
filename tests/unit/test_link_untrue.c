/* Links that are sent well-formed frames whose content cannot be: odd names, records of others, holes
 * in the stream, deltas nobody asked for. Each closes the link. */
#include "situation.h"
#include "unit.h"

#define FAR_STAMP (STAMP_MAX + 1)

/* --- handshakes ---------------------------------------------------------------------------- */

static void link_ends_at_a_handshake_with_odd_names(void **state)
{
    (void)state;
    static const char *const NAMES[] = {
        "",
        "with space",
        "line\nend",
        "nul\x01",
        "equal=sign",
        "\xc3\xa4",
        "a-name-that-is-far-too-long-for-a-member-of-any-cluster-of-this-sort"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        struct fixture f;
        situation_open(&f, RECEIVER_HELLO);
        f.x.name = NAMES[i];
        peer_hello(&f.x, NULL, 0);
        situation_assert_ended(&f, "malformed handshake");
        situation_close(&f);
        situation_open(&f, RECEIVER_HELLO);
        f.x.cluster = NAMES[i];
        peer_hello(&f.x, NULL, 0);
        situation_assert_ended(&f, "malformed handshake");
        situation_close(&f);
        situation_open(&f, RECEIVER_HELLO);
        f.x.origin = 0;
        peer_hello(&f.x, NULL, 0);
        situation_assert_ended(&f, "malformed handshake");
        situation_close(&f);
    }
}

static void link_ends_at_members_with_odd_names(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"", "with space", "line\nend"};
    static const char *const HOSTS[] = {"with space", "line\nend", "\x1b[2J", "\r", "\x7f"};
    for (size_t i = 0; i < 8; i++) {
        struct fixture f;
        situation_open(&f, RECEIVER_LIVE);
        peer_members(&f.x, i < 3 ? NAMES[i] : "m", i < 3 ? "host" : HOSTS[i - 3], 1);
        situation_assert_ended(&f, "malformed frame of type 4");
        assert_null(members_find(&f.node->members, bytes_text("m")));
        situation_close(&f);
    }
}

/* --- records ------------------------------------------------------------------------------- */

static void link_ends_at_records_that_are_not_of_the_stream(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct fixture f;
        situation_open(&f, RECEIVER_LIVE);
        struct record rec = {
            .key = bytes_text("k"), .value = bytes_text("v"), .stamp = 15, .origin = f.x.origin};
        peer_records(&f.x, 0, 10, NULL, 0);
        uint64_t after = 10, through = 20;
        switch (i) {
        case 0:
            rec.origin = 1234;
            break;
        case 1:
            rec.stamp = 10;
            break;
        case 2:
            rec.stamp = 21;
            break;
        case 3:
            through = 9;
            break;
        default:
            through = FAR_STAMP;
        }
        peer_records(&f.x, after, through, &rec, 1);
        situation_assert_ended(&f, "");
        assert_int_equal(vector_get(&f.node->vector, f.x.origin), 10);
        assert_int_equal(store_live_count(f.node->store), 0);
        situation_close(&f);
    }
}

static void link_ends_at_a_hole_in_the_stream(void **state)
{
    (void)state;
    struct fixture f;
    situation_open(&f, RECEIVER_LIVE);
    peer_records(&f.x, 0, 10, NULL, 0);
    peer_records(&f.x, 11, 20, NULL, 0);
    situation_assert_ended(&f, "its stream has a hole");
    situation_close(&f);
    situation_open(&f, RECEIVER_DELTA);
    peer_records(&f.x, 200, 300, NULL, 0);
    peer_records(&f.x, 300, 400, NULL, 0);
    assert_int_equal(f.x.link.state, LINK_LIVE);
    peer_records(&f.x, 401, 500, NULL, 0);
    situation_assert_ended(&f, "its stream has a hole");
    assert_int_equal(vector_get(&f.node->vector, f.x.origin), 0);
    situation_close(&f);
}

static void link_ends_at_a_stamp_that_no_clock_can_reach(void **state)
{
    (void)state;
    struct vector vector;
    for (int i = 0; i < 4; i++) {
        struct fixture f;
        situation_open(&f, i < 2 ? RECEIVER_LIVE : RECEIVER_DELTA);
        vector_init(&vector, &f.pair.heap.heap);
        vector_advance(&vector, 5, UINT64_MAX);
        struct record rec = {.key = bytes_text("k"), .stamp = FAR_STAMP, .origin = f.x.origin};
        if (i == 0)
            peer_records(&f.x, 0, STAMP_MAX, &rec, 1);
        else if (i == 1)
            peer_heartbeat(&f.x, &vector);
        else if (i == 2)
            peer_delta_begin(&f.x, 0, &vector);
        else
            peer_delta_begin(&f.x, 0, NULL);
        if (i == 3)
            peer_delta_records(&f.x, &rec, 1);
        situation_assert_ended(&f, "");
        assert_string_equal(pair_command(&f.pair, 0, "SET k v"), "OK");
        vector_close(&vector);
        situation_close(&f);
    }
}

static void link_ends_at_a_record_from_further_ahead_than_clocks_may_differ(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct fixture f;
        situation_open(&f, i < 2 ? RECEIVER_LIVE : RECEIVER_DELTA);
        uint64_t wall_ms =
            f.pair.now.wall_ms + f.node->config.max_clock_drift_ms + (i % 2 == 0 ? 0 : 1);
        struct record rec = {
            .key = bytes_text("k"), .stamp = wall_ms << STAMP_COUNTER_BITS, .origin = f.x.origin};
        if (i < 2) {
            peer_records(&f.x, 0, rec.stamp, &rec, 1);
        } else {
            peer_delta_begin(&f.x, 0, NULL);
            peer_delta_records(&f.x, &rec, 1);
        }
        if (i % 2 == 0)
            assert_int_equal(f.x.link.state, LINK_LIVE);
        else
            situation_assert_ended(&f, "ahead of a's");
        assert_int_equal(f.node->counters.records_received, i % 2 == 0);
        situation_close(&f);
    }
}

static void link_ends_at_a_delta_that_makes_no_sense(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct fixture f;
        situation_open(&f, RECEIVER_DELTA);
        peer_delta_begin(&f.x, 0, NULL);
        peer_mark(&f.x, 7);
        assert_int_equal(f.x.link.state, LINK_LIVE);
        if (i == 0)
            peer_mark(&f.x, 7);
        else if (i == 1)
            peer_mark(&f.x, STORE_PARTITIONS + 1);
        else if (i == 2)
            peer_delta_begin(&f.x, 0, NULL);
        else
            peer_mark(&f.x, 0);
        situation_assert_ended(&f, "");
        situation_close(&f);
    }
}

static void end_delta(struct peer *x, uint64_t forced_stamp, size_t vector_bytes)
{
    struct buffer *out = peer_begin(x);
    frame_put_u64(out, forced_stamp);
    frame_put_u32(out, 1);
    for (size_t i = 0; i < vector_bytes; i++)
        buffer_append(out, bytes_of("\1", 1));
    peer_send(x, FRAME_DELTA_END);
}

static void link_ends_at_the_end_of_a_delta_that_has_not_come(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct fixture f;
        situation_open(&f, RECEIVER_DELTA);
        peer_delta_begin(&f.x, 0, NULL);
        peer_mark(&f.x, STORE_PARTITIONS - (i == 0));
        assert_int_equal(f.x.link.state, LINK_LIVE);
        if (i == 0)
            peer_delta_end(&f.x, NULL, 0); /* a partition is missing */
        else if (i == 1)
            peer_delta_end(&f.x, NULL, STAMP_MAX + 1);
        else if (i == 2)
            end_delta(&f.x, 0, 15); /* half an entry of a vector */
        else if (i == 3)
            peer_mark(&f.x, STORE_PARTITIONS);
        else
            peer_delta_begin(&f.x, 0, NULL);
        situation_assert_ended(&f, i < 4 ? "malformed frame" : "not asked for");
        assert_int_equal(f.node->counters.deltas_received, 0);
        situation_close(&f);
    }
}

static void link_ends_at_a_part_of_an_entry_of_a_list(void **state)
{
    (void)state;
    static const uint8_t zeros[100];
    static const size_t SIZES[] = {25, 47, 49};
    for (size_t i = 0; i < 3; i++) {
        struct fixture f;
        situation_open(&f, RECEIVER_DELTA);
        peer_delta_begin(&f.x, PEER_CHECKED, NULL);
        buffer_append(peer_begin(&f.x), bytes_of(zeros, SIZES[i]));
        peer_send(&f.x, FRAME_DELTA_LIST);
        situation_assert_ended(&f, "malformed frame of type 12");
        situation_close(&f);
    }
}

/* As much as may be of one partition; one more, listed or sent, is too much. */
static void link_ends_at_a_list_that_never_ends(void **state)
{
    (void)state;
    const size_t a_frame = LINK_FRAME_BYTES / sizeof(struct peer_entry);
    struct peer_entry *entries = calloc(a_frame, sizeof *entries);
    assert_non_null(entries);
    for (int i = 0; i < 2; i++) {
        struct fixture f;
        situation_open(&f, RECEIVER_DELTA);
        struct record rec = {.key = bytes_text("k"), .stamp = 5, .origin = 77};
        peer_delta_begin(&f.x, PEER_CHECKED, NULL);
        for (size_t left = LINK_LIST_ENTRIES_MAX; left > 0;) {
            size_t count = left < a_frame ? left : a_frame;
            peer_delta_list(&f.x, entries, count);
            left -= count;
        }
        assert_int_equal(f.x.link.state, LINK_LIVE);
        if (i == 0)
            peer_delta_list(&f.x, entries, 1);
        else
            peer_delta_records(&f.x, &rec, 1);
        situation_assert_ended(&f, i == 0 ? "it sent a list of more than 4194304 keys"
                                          : "it sent more than 4194304 records of one partition");
        situation_close(&f);
    }
    free(entries);
}

static void want_digests(struct fixture *f)
{
    peer_begin(&f->x);
    peer_send(&f->x, FRAME_DIGESTS_WANTED);
}

static void link_ends_when_digests_are_wanted_of_a_delta_that_has_begun(void **state)
{
    (void)state;
    struct fixture f;
    situation_open(&f, RECEIVER_DELTA);
    want_digests(&f);
    want_digests(&f); /* odd, but it does no harm */
    assert_int_equal(f.x.link.state, LINK_LIVE);
    peer_delta_begin(&f.x, PEER_CHECKED, NULL);
    want_digests(&f);
    situation_assert_ended(&f, "it asked for digests without a delta to send");
    situation_close(&f);
}

static void link_ends_when_a_scrub_is_answered_by_something_else(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct fixture f;
        struct store *nothing;
        situation_open(&f, RECEIVER_LIVE);
        pair_command(&f.pair, 0, "SET k v");
        nothing = store_new(&f.x.heap, 1);
        peer_digest(&f.x, nothing);
        store_free(nothing);
        assert_ptr_equal(f.node->delta, &f.x.link);
        uint32_t group = store_partition(bytes_text("k")) / STORE_GROUP_PARTITIONS;
        if (i == 0) {
            want_digests(&f);
            situation_assert_ended(&f, "it asked for digests");
        } else {
            peer_delta_begin(&f.x, PEER_CHECKED, NULL);
            assert_int_equal(f.x.link.state, LINK_LIVE);
            uint32_t first = group * STORE_GROUP_PARTITIONS;
            peer_mark(&f.x, i == 1 ? first : first + STORE_GROUP_PARTITIONS + 1);
            situation_assert_ended(&f, "malformed frame");
        }
        assert_int_equal(store_live_count(f.node->store), 1);
        situation_close(&f);
    }
}

static void link_ends_at_a_delta_request_while_one_is_served(void **state)
{
    (void)state;
    struct fixture f;
    situation_open(&f, SENDER_HOLD);
    pair_command(&f.pair, 0, "SET k v");
    peer_ask(&f.x, NULL);
    assert_int_equal(f.node->scans, 1);
    peer_ask(&f.x, NULL);
    situation_assert_ended(&f, "");
    situation_close(&f);
}

static void link_ends_when_a_delta_brings_nothing_for_long(void **state)
{
    (void)state;
    struct fixture f;
    situation_open(&f, RECEIVER_DELTA);
    for (uint32_t passed = 0; passed < LINK_DELTA_MS; passed += 1000) {
        assert_int_equal(f.x.link.state, LINK_LIVE);
        f.x.now.mono_ms += 1000;
        peer_heartbeat(&f.x, NULL);
        link_tick(&f.x.link, f.x.now);
    }
    situation_assert_ended(&f, "delta");
    situation_close(&f);
}

static void link_ends_when_its_answers_are_not_read(void **state)
{
    (void)state;
    struct fixture f;
    struct vector vector;
    situation_open(&f, RECEIVER_LIVE);
    vector_init(&vector, &f.pair.heap.heap);
    peer_begin(&f.x);
    peer_end(&f.x, FRAME_ACK_WANTED);
    for (uint32_t i = 0; i < 100000; i++) {
        link_read(&f.x.link, f.x.now, buffer_bytes(&f.x.frame));
        if (i % 4 == 0) /* something to answer */
            vector_advance(&f.node->vector, 5000 + i % 97, i + 1);
    }
    assert_true(buffer_size(&f.x.link.out) <= LINK_UNREAD_BYTES_MAX + 100);
    for (uint64_t origin = 1; origin <= 60000; origin++)
        vector_advance(&vector, origin, 1);
    vector_merge(&f.node->vector, &vector);
    for (uint32_t i = 0; i < 20; i++) {
        for (uint64_t origin = 1; origin <= 60000; origin++)
            vector_advance(&f.node->vector, origin, i + 2);
        link_read(&f.x.link, f.x.now, buffer_bytes(&f.x.frame));
    }
    situation_assert_ended(&f, "it does not read");
    vector_close(&vector);
    situation_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(link_ends_at_a_handshake_with_odd_names),
        cmocka_unit_test(link_ends_at_members_with_odd_names),
        cmocka_unit_test(link_ends_at_records_that_are_not_of_the_stream),
        cmocka_unit_test(link_ends_at_a_hole_in_the_stream),
        cmocka_unit_test(link_ends_at_a_stamp_that_no_clock_can_reach),
        cmocka_unit_test(link_ends_at_a_record_from_further_ahead_than_clocks_may_differ),
        cmocka_unit_test(link_ends_at_a_delta_that_makes_no_sense),
        cmocka_unit_test(link_ends_at_the_end_of_a_delta_that_has_not_come),
        cmocka_unit_test(link_ends_at_a_part_of_an_entry_of_a_list),
        cmocka_unit_test(link_ends_at_a_list_that_never_ends),
        cmocka_unit_test(link_ends_when_digests_are_wanted_of_a_delta_that_has_begun),
        cmocka_unit_test(link_ends_when_a_scrub_is_answered_by_something_else),
        cmocka_unit_test(link_ends_at_a_delta_request_while_one_is_served),
        cmocka_unit_test(link_ends_when_a_delta_brings_nothing_for_long),
        cmocka_unit_test(link_ends_when_its_answers_are_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
