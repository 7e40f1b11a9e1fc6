/* Lists at the receiver: what was deleted at the sender goes, what is merely not there yet stays; and
 * however much there is to check, a turn of the loop stays short. */
#include "comparing.h"
#include "unit.h"

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

/* The sender has all of FIRST that the node has and 100 stamps more, and of SECOND the first 500. */
static void begin(struct comparing *c, uint16_t flags)
{
    struct vector theirs;
    comparing_ask(c);
    comparing_vector(c, &theirs, PAST_STAMP + 100, 500);
    peer_delta_begin(&c->f.x, flags, &theirs);
    vector_close(&theirs);
    peer_mark(&c->f.x, c->partition);
}

static void list(struct comparing *c, const struct record *rec)
{
    struct peer_entry e = peer_entry_of(rec);
    peer_delta_list(&c->f.x, &e, 1);
}

static void end(struct comparing *c, const struct vector *dropped, uint64_t forced_stamp)
{
    peer_mark(&c->f.x, STORE_PARTITIONS);
    peer_delta_end(&c->f.x, dropped, forced_stamp);
    assert_int_equal(c->f.x.link.state, LINK_LIVE);
    assert_null(c->f.node->delta);
}

static bool was_told(struct node *n, const char *text)
{
    for (struct notice notice; notice_take(&n->notices, &notice);) {
        if (strstr(notice.text, text) != NULL)
            return true;
    }
    return false;
}

static void link_check_deletes_what_is_neither_listed_nor_sent(void **state)
{
    struct comparing *c = *state;
    struct record gone = comparing_record(c->keys[0], 10, FIRST_ORIGIN);
    struct record kept = comparing_record(c->keys[1], 11, FIRST_ORIGIN);
    comparing_hold(c, &gone);
    comparing_hold(c, &kept);
    begin(c, PEER_CHECKED | PEER_BEHIND);
    list(c, &kept);
    assert_true(comparing_has(c, c->keys[0], 10)); /* the partition is not complete yet */
    peer_mark_listed(&c->f.x, c->partition + 1);
    assert_true(comparing_deleted(c, c->keys[0], 10, FIRST_ORIGIN));
    assert_true(comparing_has(c, c->keys[1], 11));
    end(c, NULL, 0);
    assert_int_equal(c->f.node->counters.divergence_repaired, 0);
    assert_int_equal(c->f.node->counters.comparisons_received, 1);
    assert_true(was_told(c->f.node, "1 keys had been deleted meanwhile"));
}

static void link_check_keeps_what_the_sender_has_not_merged(void **state)
{
    struct comparing *c = *state;
    struct record late = comparing_record(c->keys[0], 600, SECOND_ORIGIN);
    struct record gone = comparing_record(c->keys[1], 500, SECOND_ORIGIN);
    struct record unknown = comparing_record(c->keys[2], 10, UNKNOWN_ORIGIN);
    comparing_hold(c, &late);
    comparing_hold(c, &gone);
    comparing_hold(c, &unknown);
    begin(c, PEER_CHECKED | PEER_BEHIND);
    peer_mark_listed(&c->f.x, c->partition + 1);
    assert_true(comparing_has(c, c->keys[0], 600));
    assert_true(comparing_deleted(c, c->keys[1], 500, SECOND_ORIGIN));
    assert_true(comparing_has(c, c->keys[2], 10));
}

static void link_check_keeps_what_was_sent_and_leaves_other_partitions_alone(void **state)
{
    struct comparing *c = *state;
    struct record old = comparing_record(c->keys[0], 10, FIRST_ORIGIN);
    struct record newer = comparing_record(c->keys[0], PAST_STAMP + 50, FIRST_ORIGIN);
    struct record elsewhere = comparing_record("k", 12, FIRST_ORIGIN);
    assert_true(store_partition(elsewhere.key) != c->partition);
    comparing_hold(c, &old);
    comparing_hold(c, &elsewhere);
    begin(c, PEER_CHECKED | PEER_BEHIND);
    peer_delta_records(&c->f.x, &newer, 1);
    peer_mark_listed(&c->f.x, c->partition + 1);
    end(c, NULL, 0);
    assert_true(comparing_has(c, c->keys[0], PAST_STAMP + 50));
    assert_true(comparing_has(c, "k", 12));
}

/* While the delta runs, another link brings records that the node's vector did not cover: if they
 * were live at the sender, it would send them. So they are looked for in every partition. */
static void link_check_judges_late_arrivals_in_partitions_that_are_not_listed_too(void **state)
{
    struct comparing *c = *state;
    struct vector theirs;
    struct record before = comparing_record(c->keys[0], 10, FIRST_ORIGIN);
    struct record gone = comparing_record(c->keys[1], PAST_STAMP + 5, FIRST_ORIGIN);
    struct record sent = comparing_record(c->keys[2], PAST_STAMP + 6, FIRST_ORIGIN);
    struct record beyond = comparing_record(c->keys[3], PAST_STAMP + 500, FIRST_ORIGIN);
    comparing_hold(c, &before);
    comparing_ask(c);
    comparing_vector(c, &theirs, PAST_STAMP + 100, 0);
    peer_delta_begin(&c->f.x, PEER_CHECKED, &theirs);
    vector_close(&theirs);
    peer_mark(&c->f.x, c->partition);
    assert_int_equal(node_receive(c->f.node, &gone), 0);
    assert_int_equal(node_receive(c->f.node, &sent), 0);
    assert_int_equal(node_receive(c->f.node, &beyond), 0);
    peer_delta_records(&c->f.x, &sent, 1);
    peer_mark(&c->f.x, c->partition + 1);
    assert_true(comparing_has(c, c->keys[0], 10));
    assert_true(comparing_deleted(c, c->keys[1], PAST_STAMP + 5, FIRST_ORIGIN));
    assert_true(comparing_has(c, c->keys[2], PAST_STAMP + 6));
    assert_true(comparing_has(c, c->keys[3], PAST_STAMP + 500));
    end(c, NULL, 0);
    assert_int_equal(c->f.node->counters.divergence_repaired, 0);
}

static void link_check_looks_at_nothing_in_a_delta_that_is_not_checked(void **state)
{
    struct comparing *c = *state;
    struct record rec = comparing_record(c->keys[0], 10, FIRST_ORIGIN);
    struct record late = comparing_record(c->keys[1], PAST_STAMP + 5, FIRST_ORIGIN);
    comparing_hold(c, &rec);
    begin(c, 0);
    /* If that was deleted at the sender, it has the tombstone still, and sends it. */
    assert_int_equal(node_receive(c->f.node, &late), 0);
    peer_mark(&c->f.x, c->partition + 1);
    end(c, NULL, 0);
    assert_true(comparing_has(c, c->keys[0], 10));
    assert_true(comparing_has(c, c->keys[1], PAST_STAMP + 5));
    assert_int_equal(c->f.node->counters.comparisons_received, 0);
}

/* Tombstones went by force while it was served: from there on it is listed, whatever it began as. */
static void link_check_follows_lists_in_a_delta_that_began_without(void **state)
{
    struct comparing *c = *state;
    struct record rec = comparing_record(c->keys[0], 10, FIRST_ORIGIN);
    comparing_hold(c, &rec);
    begin(c, 0);
    peer_mark_listed(&c->f.x, c->partition + 1);
    assert_true(comparing_deleted(c, c->keys[0], 10, FIRST_ORIGIN));
}

static void link_check_counts_a_divergence_only_where_nothing_explains_it(void **state)
{
    (void)state;
    static const struct {
        uint16_t flags;
        uint64_t forced_stamp, origin;
        int64_t expires_in_ms;
        bool counts;
    } CASES[] = {
        {PEER_CHECKED, 0, FIRST_ORIGIN, 0, true},
        {PEER_CHECKED | PEER_BEHIND, 0, FIRST_ORIGIN, 0, false}, /* its tombstone was dropped */
        {PEER_CHECKED, 9, FIRST_ORIGIN, 0, true},
        {PEER_CHECKED, 10, FIRST_ORIGIN, 0, false}, /* tombstones up to it went by force here */
        {PEER_CHECKED, 0, FIRST_ORIGIN, 4000, false}, /* the other clock may be that far ahead */
        {PEER_CHECKED, 0, FIRST_ORIGIN, 7000, true},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct comparing one, *c = &one;
        comparing_open(c);
        struct record rec = comparing_record(c->keys[0], 10, CASES[i].origin);
        if (CASES[i].expires_in_ms != 0)
            rec.expires_ms = c->f.pair.now.wall_ms + (uint64_t)CASES[i].expires_in_ms;
        comparing_hold(c, &rec);
        c->f.node->forced_stamp = CASES[i].forced_stamp;
        begin(c, CASES[i].flags);
        peer_mark_listed(&c->f.x, c->partition + 1);
        assert_true(comparing_deleted(c, c->keys[0], 10, CASES[i].origin));
        end(c, NULL, 0);
        if (c->f.node->counters.divergence_repaired != CASES[i].counts)
            fail_msg("case %zu", i);
        assert_int_equal(was_told(c->f.node, "1 records differed from peer's without a reason"),
                         CASES[i].counts);
        situation_close(&c->f);
    }
}

/* The sender lists a write that nobody had seen, and that a delete would beat which went by force:
 * it may have beaten what is here. And what is newer there may be deleted elsewhere already. */
static void link_check_minds_that_a_delete_may_have_gone_by_force(void **state)
{
    (void)state;
    static const struct {
        uint16_t flags;
        uint64_t forced_stamp, listed_stamp;
        bool deletes, fetches;
    } CASES[] = {
        {PEER_CHECKED, 0, 30, false, false}, /* the other link brings the newer one there */
        {PEER_CHECKED | PEER_BEHIND, 0, 30, true, false},
        {PEER_CHECKED, 39, 30, false, false},
        {PEER_CHECKED, 40, 30, true, false},
        {PEER_CHECKED, 0, 40, false, false}, /* the same */
        {PEER_CHECKED | PEER_BEHIND, 0, 40, false, false},
        {PEER_CHECKED, 0, 50, false, true},
        {PEER_CHECKED | PEER_BEHIND, 0, 50, false, false},
        {PEER_CHECKED, 49, 50, false, true},
        {PEER_CHECKED, 50, 50, false, false},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct comparing one, *c = &one;
        comparing_open(c);
        struct record here = comparing_record(c->keys[0], 40, FIRST_ORIGIN);
        struct record there = comparing_record(c->keys[0], CASES[i].listed_stamp, FIRST_ORIGIN);
        comparing_hold(c, &here);
        c->f.node->forced_stamp = CASES[i].forced_stamp;
        begin(c, CASES[i].flags);
        list(c, &there);
        peer_mark_listed(&c->f.x, c->partition + 1);
        if (comparing_deleted(c, c->keys[0], 40, FIRST_ORIGIN) != CASES[i].deletes ||
            comparing_has(c, c->keys[0], 40) == CASES[i].deletes ||
            c->f.x.link.scrub.whole != CASES[i].fetches ||
            c->f.node->counters.divergence_repaired != CASES[i].fetches)
            fail_msg("case %zu", i);
        situation_close(&c->f);
    }
}

/* What it compared by, it claims to know from now on: so it has to say what was dropped of it. */
static void link_delta_inherits_the_dropped_vector_with_the_vector(void **state)
{
    struct comparing *c = *state;
    struct vector dropped;
    begin(c, PEER_CHECKED | PEER_BEHIND);
    comparing_vector(c, &dropped, 40, 30);
    assert_int_equal(vector_advance(&c->f.node->dropped, FIRST_ORIGIN, 90), 0);
    c->f.node->forced_stamp = 20;
    end(c, &dropped, 25);
    assert_int_equal(vector_get(&c->f.node->dropped, FIRST_ORIGIN), 90);
    assert_int_equal(vector_get(&c->f.node->dropped, SECOND_ORIGIN), 30);
    assert_int_equal(c->f.node->forced_stamp, 25);
    vector_close(&dropped);
}

static void link_delta_takes_nothing_over_when_it_breaks(void **state)
{
    struct comparing *c = *state;
    struct vector theirs;
    comparing_ask(c);
    comparing_vector(c, &theirs, 2 * PAST_STAMP, 0);
    peer_delta_begin(&c->f.x, PEER_CHECKED | PEER_BEHIND, &theirs);
    vector_close(&theirs);
    peer_mark(&c->f.x, STORE_PARTITIONS);
    link_fail(&c->f.x.link, "the test ends it");
    peer_close(&c->f.x);
    assert_null(c->f.node->delta);
    assert_int_equal(vector_get(&c->f.node->vector, FIRST_ORIGIN), PAST_STAMP);
}

/* --- bounded work -------------------------------------------------------------------------- */

static uint32_t fill(struct comparing *c, uint32_t records)
{
    char key[16];
    for (uint32_t i = 0; i < records; i++) {
        snprintf(key, sizeof key, "k%u", i);
        struct record rec = comparing_record(key, PAST_STAMP + 1 + i, SECOND_ORIGIN);
        comparing_hold(c, &rec);
    }
    return records;
}

static void link_check_takes_as_many_turns_as_it_needs_and_reads_nothing_meanwhile(void **state)
{
    struct comparing *c = *state;
    struct link *l = &c->f.x.link;
    struct vector theirs;
    uint32_t count = fill(c, 5 * LINK_SCAN_ENTRIES);
    comparing_ask(c);
    comparing_vector(c, &theirs, 0, 100 * PAST_STAMP);
    peer_delta_begin(&c->f.x, PEER_CHECKED, &theirs);
    vector_close(&theirs);
    peer_mark(&c->f.x, STORE_PARTITIONS);
    peer_delta_end(&c->f.x, NULL, 0);
    uint64_t left = store_live_count(c->f.node->store);
    assert_true(left < count && count - left <= LINK_SCAN_ENTRIES);
    uint32_t turns = 1;
    for (; c->f.node->delta == l; turns++) {
        assert_true(link_is_busy(l) && node_is_busy(c->f.node));
        link_output(l);
        uint64_t now_left = store_live_count(c->f.node->store);
        assert_true(left - now_left <= LINK_SCAN_ENTRIES);
        left = now_left;
    }
    assert_in_range(turns, 5, 11); /* what is replaced may be met twice */
    assert_int_equal(left, 0);
    assert_false(link_is_busy(l));
    assert_int_equal(vector_get(&c->f.node->vector, SECOND_ORIGIN), 100 * PAST_STAMP);
}

static void link_wants_no_more_input_while_much_waits_for_checks(void **state)
{
    struct comparing *c = *state;
    struct link *l = &c->f.x.link;
    struct vector theirs;
    fill(c, 2 * LINK_SCAN_ENTRIES);
    comparing_ask(c);
    comparing_vector(c, &theirs, 0, 100 * PAST_STAMP);
    peer_delta_begin(&c->f.x, PEER_CHECKED, &theirs);
    vector_close(&theirs);
    peer_mark(&c->f.x, STORE_PARTITIONS);
    assert_true(link_is_busy(l));
    uint64_t sent = 0;
    for (; link_wants_input(l); sent++) {
        peer_heartbeat(&c->f.x, NULL);
        assert_true(sent < LINK_INPUT_BYTES && buffer_size(&l->in) < LINK_INPUT_BYTES + 100);
    }
    assert_true(sent * 30 > LINK_INPUT_BYTES / 2);
    while (link_is_busy(l))
        link_output(l);
    assert_true(link_wants_input(l));
    assert_int_equal(buffer_size(&l->in), 0);
    peer_delta_end(&c->f.x, NULL, 0);
    assert_null(c->f.node->delta);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(link_check_deletes_what_is_neither_listed_nor_sent),
        TEST(link_check_keeps_what_the_sender_has_not_merged),
        TEST(link_check_keeps_what_was_sent_and_leaves_other_partitions_alone),
        TEST(link_check_judges_late_arrivals_in_partitions_that_are_not_listed_too),
        TEST(link_check_looks_at_nothing_in_a_delta_that_is_not_checked),
        TEST(link_check_follows_lists_in_a_delta_that_began_without),
        cmocka_unit_test(link_check_counts_a_divergence_only_where_nothing_explains_it),
        cmocka_unit_test(link_check_minds_that_a_delete_may_have_gone_by_force),
        TEST(link_delta_inherits_the_dropped_vector_with_the_vector),
        TEST(link_delta_takes_nothing_over_when_it_breaks),
        TEST(link_check_takes_as_many_turns_as_it_needs_and_reads_nothing_meanwhile),
        TEST(link_wants_no_more_input_while_much_waits_for_checks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
