/* The node: writing, receiving, dialling, and what is due when. */
#include "pair.h"
#include "unit.h"

#include <errno.h>

static int set_up(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    pair_open(p, 2);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *p = *state;
    pair_close(p);
    free(p);
    return 0;
}

static struct record make(const char *key, const char *value)
{
    return (struct record){.key = bytes_text(key), .value = bytes_text(value)};
}

static void node_write_stamps_merges_and_journals(void **state)
{
    struct pair *p = *state;
    struct record rec = make("k", "v"), found;
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    assert_int_equal(node_write(n, p->now, &rec), 0);
    assert_true(rec.origin == n->config.origin && rec.stamp != 0);
    assert_int_equal(stamp_wall_ms(rec.stamp), p->now.wall_ms);
    assert_true(store_get(n->store, bytes_text("k"), 0, &found));
    assert_true(found.stamp == rec.stamp && found.origin == rec.origin);
    assert_true(vector_get(&n->vector, rec.origin) == rec.stamp);
    assert_true(n->last_write == rec.stamp);
    assert_int_equal(journal_bytes(&n->journal), record_bytes(&rec));
}

static void node_write_exceeds_every_stamp_ever_seen(void **state)
{
    struct pair *p = *state;
    struct record ahead = make("k", "from ahead"), mine = make("k", "mine"), found;
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    ahead.origin = UINT64_MAX;
    ahead.stamp = (p->now.wall_ms + 60000) << STAMP_COUNTER_BITS;
    assert_int_equal(node_receive(n, &ahead), 0);
    p->now.wall_ms -= 120000;
    assert_int_equal(node_write(n, p->now, &mine), 0);
    assert_true(mine.stamp > ahead.stamp);
    assert_true(store_get(n->store, bytes_text("k"), 0, &found));
    assert_bytes_are(found.value, "mine");
}

static void node_write_without_memory_changes_nothing(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    pair_command(p, 0, "SET first 1");
    uint64_t digest = store_digest(n->store), position = n->journal.head, last = n->last_write;
    struct record rec = make("k", "v");
    failing_heap_arm(&p->heap, 1);
    assert_int_equal(node_write(n, p->now, &rec), -ENOMEM);
    assert_true(failing_heap_disarm(&p->heap));
    assert_true(store_digest(n->store) == digest && n->journal.head == position);
    assert_true(n->last_write == last && vector_get(&n->vector, n->config.origin) == last);
    assert_int_equal(node_write(n, p->now, &rec), 0);
}

static void node_write_of_a_node_alone_keeps_no_journal(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 0;
    pair_start(p, 0);
    for (int i = 0; i < 100; i++)
        pair_command(p, 0, "SET k v");
    assert_int_equal(journal_bytes(&p->nodes[0].node->journal), 0);
    assert_true(journal_floor(&p->nodes[0].node->journal) == p->nodes[0].node->last_write);
}

static void node_receive_counts_and_does_not_journal(void **state)
{
    struct pair *p = *state;
    struct record rec = make("k", "v");
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    rec.origin = 5;
    rec.stamp = 7;
    assert_int_equal(node_receive(n, &rec), 0);
    assert_int_equal(node_receive(n, &rec), 0);
    assert_int_equal(n->counters.records_received, 2);
    assert_int_equal(journal_bytes(&n->journal), 0);
    assert_int_equal(store_live_count(n->store), 1);
    assert_int_equal(vector_get(&n->vector, 5), 0); /* one record says nothing of those before it */
}

/* Of a divergence: it comes in where something older lives, and nowhere else. */
static void node_repair_brings_a_covered_record_over_a_live_one(void **state)
{
    struct pair *p = *state;
    struct record rec = make("k", "v"), found;
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    rec.origin = 5;
    rec.stamp = 7;
    assert_int_equal(vector_advance(&n->vector, 5, 20), 0);
    assert_int_equal(node_repair(n, &rec), 0);
    assert_false(store_find(n->store, rec.key, &found));
    assert_int_equal(store_merge(n->store, &rec, false), STORE_MERGED);
    rec.stamp = 8;
    assert_int_equal(node_receive(n, &rec), 0);
    assert_true(store_find(n->store, rec.key, &found) && found.stamp == 7);
    assert_int_equal(node_repair(n, &rec), 0);
    assert_true(store_find(n->store, rec.key, &found) && found.stamp == 8);
    found.tombstone = true;
    found.value = bytes_text("");
    assert_int_equal(store_merge(n->store, &found, false), STORE_MERGED);
    rec.stamp = 9;
    assert_int_equal(node_repair(n, &rec), 0);
    assert_true(store_find(n->store, rec.key, &found) && found.tombstone);
}

static void node_receive_without_memory_changes_nothing(void **state)
{
    struct pair *p = *state;
    struct record rec = make("k", "v");
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    rec.origin = 5;
    rec.stamp = 7;
    failing_heap_arm(&p->heap, 1);
    assert_int_equal(node_receive(n, &rec), -ENOMEM);
    failing_heap_disarm(&p->heap);
    assert_int_equal(store_live_count(n->store), 0);
    assert_int_equal(n->counters.records_received, 0);
}

/* --- time ---------------------------------------------------------------------------------- */

static void node_tick_is_due_again_after_a_while(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    assert_int_equal(node_tick(n, p->now), p->now.mono_ms + NODE_TICK_MS);
    p->now.mono_ms += 30;
    assert_int_equal(node_tick(n, p->now), p->now.mono_ms - 30 + NODE_TICK_MS);
}

static void node_tick_moves_an_idle_nodes_vector(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    pair_run(p, 10000);
    uint64_t stamp = vector_get(&n->vector, n->config.origin);
    assert_in_range(stamp_wall_ms(stamp), p->now.wall_ms - 1200, p->now.wall_ms);
    assert_int_equal(n->last_write, 0);
}

static void node_tick_sweeps_expired_records(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    pair_command(p, 0, "SETEX k 1 v");
    pair_run(p, 1200);
    assert_int_equal(store_live_count(p->nodes[0].node->store), 0);
}

static void node_tick_survives_a_wall_clock_that_jumps(void **state)
{
    struct pair *p = *state;
    pair_start_all(p);
    pair_run(p, 2000);
    for (int i = 0; i < 6; i++) {
        p->now.wall_ms = i % 2 == 0 ? p->now.wall_ms + 7200000 : p->now.wall_ms - 7200000;
        assert_string_equal(pair_command(p, i % 2 == 0 ? 0 : 1, "SET k v"), "OK");
        pair_run(p, 7000);
        /* Back again, the nodes' own stamps are ahead of the time: until that has come up with
         * them, nobody takes them, and nothing of theirs is lost. */
        assert_int_equal(pair_is_meshed(p), i % 2 == 0);
        assert_true(i % 2 != 0 || pair_is_equal(p));
    }
}

static void node_tick_survives_a_process_that_was_stopped(void **state)
{
    struct pair *p = *state;
    pair_start_all(p);
    pair_run(p, 2000);
    pair_command(p, 0, "SET k v");
    p->now.wall_ms += 3600000;
    p->now.mono_ms += 3600000;
    pair_run(p, 8000);
    assert_true(pair_is_meshed(p));
    assert_true(pair_is_equal(p));
}

/* --- dialling ------------------------------------------------------------------------------ */

static void node_next_dial_gives_each_due_address_once(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 0;
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    struct address *one = members_add_address(&n->members, bytes_text("one"), 1, true);
    struct address *two = members_add_address(&n->members, bytes_text("two"), 1, true);
    assert_ptr_equal(node_next_dial(n, p->now), one);
    assert_int_equal(one->state, ADDRESS_DIALING);
    assert_ptr_equal(node_next_dial(n, p->now), two);
    assert_null(node_next_dial(n, p->now));
    node_dial_failed(n, one, p->now, "no route");
    assert_null(node_next_dial(n, p->now));
    p->now.mono_ms += DIAL_BACKOFF_MIN_MS;
    assert_ptr_equal(node_next_dial(n, p->now), one);
}

static void node_dial_failed_tells_every_reason_once(void **state)
{
    struct pair *p = *state;
    struct notice notice;
    p->nodes[0].peers = 0;
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    struct address *a = members_add_address(&n->members, bytes_text("one"), 1, true);
    for (int i = 0; i < 10; i++)
        node_dial_failed(n, a, p->now, i < 5 ? "no such host" : "connection refused");
    assert_true(notice_take(&n->notices, &notice));
    assert_string_equal(notice.text,
                        "cannot reach peer one:1: no such host; trying again within 5 s");
    assert_true(notice_take(&n->notices, &notice));
    assert_non_null(strstr(notice.text, "connection refused"));
    assert_false(notice_take(&n->notices, &notice));
}

static void node_expected_count_counts_members_and_unknown_addresses(void **state)
{
    struct pair *p = *state;
    pair_start_all(p);
    struct node *n = p->nodes[0].node;
    assert_int_equal(node_expected_count(n), 1);
    pair_run(p, 1000);
    assert_int_equal(node_expected_count(n), 1);
    members_add_address(&n->members, bytes_text("elsewhere"), 1, true);
    assert_int_equal(node_expected_count(n), 2);
    pair_stop(p, 1);
    pair_run(p, 1000);
    assert_int_equal(node_expected_count(n), 2);
    assert_int_equal(node_linked_count(n), 0);
}

static void node_is_drained_once_the_linked_peers_have_all(void **state)
{
    struct pair *p = *state;
    pair_start_all(p);
    pair_run(p, 2000);
    struct node *n = p->nodes[0].node;
    assert_true(node_is_drained(n));
    pair_command(p, 0, "SET k v");
    assert_false(node_is_drained(n));
    n->acks_wanted = n->last_write;
    pair_settle(p);
    assert_true(node_is_drained(n));
    pair_command(p, 0, "SET k w");
    pair_stop(p, 1);
    pair_settle(p);
    assert_true(node_is_drained(n)); /* nobody is there to wait for */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(node_write_stamps_merges_and_journals),
        TEST(node_write_exceeds_every_stamp_ever_seen),
        TEST(node_write_without_memory_changes_nothing),
        TEST(node_write_of_a_node_alone_keeps_no_journal),
        TEST(node_receive_counts_and_does_not_journal),
        TEST(node_repair_brings_a_covered_record_over_a_live_one),
        TEST(node_receive_without_memory_changes_nothing),
        TEST(node_tick_is_due_again_after_a_while),
        TEST(node_tick_moves_an_idle_nodes_vector),
        TEST(node_tick_sweeps_expired_records),
        TEST(node_tick_survives_a_wall_clock_that_jumps),
        TEST(node_tick_survives_a_process_that_was_stopped),
        TEST(node_next_dial_gives_each_due_address_once),
        TEST(node_dial_failed_tells_every_reason_once),
        TEST(node_expected_count_counts_members_and_unknown_addresses),
        TEST(node_is_drained_once_the_linked_peers_have_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
