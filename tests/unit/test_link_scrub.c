/* Digests: equal ones cost one message, others a comparison; what is late flows, what diverged is
 * repaired and counted, and what merely expired is neither. */
#include "comparing.h"
#include "unit.h"

#define GROUP_OF(partition) ((partition) / STORE_GROUP_PARTITIONS)

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

static void hold(struct comparing *c, const char *key, uint64_t stamp, uint64_t origin)
{
    struct record rec = comparing_record(key, stamp, origin);
    comparing_hold(c, &rec);
}

/* The digests of a store that has nothing. */
static void tell_nothing(struct comparing *c)
{
    struct store *nothing = store_new(&c->f.x.heap, 1);
    assert_non_null(nothing);
    peer_digest(&c->f.x, nothing);
    store_free(nothing);
}

/* Takes the request for a scrub. Returns its group, or -1 when there is none; origins: how many
 * entries the vector has that it gives. */
static int take_request(struct comparing *c, uint32_t *origins)
{
    struct frame_reader payload;
    if (!peer_take_until(&c->f.x, FRAME_DELTA_REQUEST, &payload))
        return -1;
    assert_int_equal(frame_read_u16(&payload) & PEER_SCRUBS, PEER_SCRUBS);
    int group = frame_read_u16(&payload);
    assert_int_equal(frame_read_u16(&payload), 1);
    *origins = frame_read_u32(&payload);
    size_t digests = payload.rest.size - 16 * *origins;
    assert_int_equal(digests, STORE_GROUP_PARTITIONS * 8);
    return group;
}

static int requested_group(struct comparing *c)
{
    uint32_t origins;
    return take_request(c, &origins);
}

/* A scrub that finds the sender to have what it lists. */
static void serve(struct comparing *c, uint32_t group, const struct vector *vector,
                  const struct peer_entry *entries, size_t count)
{
    const size_t most = LINK_FRAME_BYTES / sizeof *entries;
    peer_delta_begin(&c->f.x, PEER_CHECKED, vector);
    for (size_t i = 0; i < count; i += most)
        peer_delta_list(&c->f.x, entries + i, count - i < most ? count - i : most);
    peer_mark(&c->f.x, (group + 1) * STORE_GROUP_PARTITIONS);
    peer_delta_end(&c->f.x, NULL, 0);
    assert_int_equal(c->f.x.link.state, LINK_LIVE);
}

/* --- what is asked ------------------------------------------------------------------------- */

static void link_scrub_asks_nothing_when_digests_are_equal(void **state)
{
    struct comparing *c = *state;
    hold(c, c->keys[0], 10, FIRST_ORIGIN);
    hold(c, "k", 11, FIRST_ORIGIN);
    comparing_link(c);
    peer_digest(&c->f.x, c->f.node->store);
    assert_int_equal(requested_group(c), -1);
    assert_int_equal(c->f.node->counters.scrubs, 0);
    assert_null(c->f.node->delta);
}

static void link_scrub_asks_for_the_group_that_differs(void **state)
{
    struct comparing *c = *state;
    hold(c, c->keys[0], 10, FIRST_ORIGIN);
    comparing_link(c);
    tell_nothing(c);
    assert_int_equal(requested_group(c), GROUP_OF(c->partition));
    assert_ptr_equal(c->f.node->delta, &c->f.x.link);
    assert_int_equal(c->f.node->counters.scrubs, 1);
    /* Within it, nothing that the sender could raise. */
    struct vector more;
    comparing_vector(c, &more, 5 * PAST_STAMP, 0);
    struct record rec = comparing_record(c->keys[0], 10, FIRST_ORIGIN);
    struct peer_entry e = peer_entry_of(&rec);
    peer_delta_begin(&c->f.x, PEER_CHECKED, &more);
    peer_delta_list(&c->f.x, &e, 1);
    peer_mark(&c->f.x, (GROUP_OF(c->partition) + 1) * STORE_GROUP_PARTITIONS);
    peer_delta_end(&c->f.x, &more, 33);
    vector_close(&more);
    assert_null(c->f.node->delta);
    assert_int_equal(vector_get(&c->f.node->dropped, FIRST_ORIGIN), 0);
    assert_int_equal(c->f.node->forced_stamp, 33); /* what was deleted may come in from there */
    assert_int_equal(vector_get(&c->f.node->vector, FIRST_ORIGIN), PAST_STAMP);
    assert_int_equal(c->f.node->counters.deltas_received, 0);
}

static void link_scrub_waits_for_a_delta_under_way(void **state)
{
    struct comparing *c = *state;
    hold(c, c->keys[0], 10, FIRST_ORIGIN);
    comparing_ask(c);
    tell_nothing(c);
    assert_int_equal(requested_group(c), -1);
    peer_delta_begin(&c->f.x, 0, NULL);
    struct record rec = comparing_record(c->keys[1], 2000, c->f.x.origin);
    peer_delta_records(&c->f.x, &rec, 1);
    peer_delta_finish(&c->f.x);
    assert_int_equal(requested_group(c), GROUP_OF(c->partition));
}

static void link_scrub_goes_on_where_it_stopped_when_it_has_brought_enough(void **state)
{
    struct comparing *c = *state;
    static struct peer_entry entries[LINK_SCRUB_ENTRIES];
    char key[16];
    for (uint32_t i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "k%u", i);
        hold(c, key, 2000, UNKNOWN_ORIGIN);
    }
    comparing_link(c);
    tell_nothing(c);
    assert_int_equal(requested_group(c), 0);
    serve(c, 0, NULL, entries, LINK_SCRUB_ENTRIES - 1); /* one is left: so there is a next group */
    assert_int_equal(requested_group(c), 1);
    serve(c, 1, NULL, entries, 1);
    assert_int_equal(requested_group(c), -1);
    tell_nothing(c);
    for (uint32_t i = 0; i < STORE_GROUPS; i++) {
        uint32_t group = (2 + i) % STORE_GROUPS; /* … and round once */
        assert_int_equal(requested_group(c), group);
        serve(c, group, NULL, NULL, 0);
    }
    assert_int_equal(requested_group(c), -1);
    assert_int_equal(c->f.node->counters.divergence_repaired, 0);
}

/* --- what is found ------------------------------------------------------------------------- */

static void link_scrub_lets_what_is_late_flow_and_counts_nothing(void **state)
{
    struct comparing *c = *state;
    struct record late = comparing_record(c->keys[0], 10, UNKNOWN_ORIGIN);
    hold(c, c->keys[1], 11, UNKNOWN_ORIGIN); /* late at the other end, for its own link to fetch */
    comparing_link(c);
    tell_nothing(c);
    int group = requested_group(c);
    peer_delta_begin(&c->f.x, PEER_CHECKED, NULL);
    peer_delta_records(&c->f.x, &late, 1);
    peer_mark_listed(&c->f.x, ((uint32_t)group + 1) * STORE_GROUP_PARTITIONS);
    peer_delta_end(&c->f.x, NULL, 0);
    assert_true(comparing_has(c, c->keys[0], 10));
    assert_true(comparing_has(c, c->keys[1], 11));
    assert_int_equal(c->f.node->counters.divergence_repaired, 0);
    assert_false(vector_covers(&c->f.node->vector, UNKNOWN_ORIGIN, 1));
}

static void link_scrub_fetches_a_group_whole_when_something_covered_is_missing(void **state)
{
    struct comparing *c = *state;
    uint32_t origins, group = GROUP_OF(c->partition);
    struct vector theirs;
    struct record newer = comparing_record(c->keys[0], 20, FIRST_ORIGIN);
    struct peer_entry e = peer_entry_of(&newer);
    hold(c, c->keys[0], 10, FIRST_ORIGIN);
    comparing_link(c);
    tell_nothing(c);
    assert_int_equal(take_request(c, &origins), group);
    assert_true(origins > 0);
    comparing_vector(c, &theirs, PAST_STAMP, 0);
    peer_delta_begin(&c->f.x, PEER_CHECKED, &theirs);
    peer_mark(&c->f.x, c->partition);
    peer_delta_list(&c->f.x, &e, 1);
    peer_mark_listed(&c->f.x, c->partition + 1);
    peer_mark(&c->f.x, (group + 1) * STORE_GROUP_PARTITIONS);
    peer_delta_end(&c->f.x, NULL, 0);
    assert_int_equal(c->f.node->counters.divergence_repaired, 1);
    assert_int_equal(take_request(c, &origins), group);
    assert_int_equal(origins, 0); /* as if it had nothing: then it is sent */
    peer_delta_begin(&c->f.x, PEER_CHECKED, &theirs);
    peer_mark(&c->f.x, c->partition);
    peer_delta_records(&c->f.x, &newer, 1);
    peer_mark(&c->f.x, (group + 1) * STORE_GROUP_PARTITIONS);
    peer_delta_end(&c->f.x, NULL, 0);
    assert_true(comparing_has(c, c->keys[0], 20));
    assert_int_equal(c->f.node->counters.divergence_repaired, 1);
    assert_int_equal(requested_group(c), -1);
    vector_close(&theirs);
}

/* --- when it is told ----------------------------------------------------------------------- */

static uint32_t digests_told(struct comparing *c, uint64_t ms)
{
    uint32_t count = 0;
    struct frame_reader payload;
    enum frame_type type;
    for (uint64_t passed = 0; passed < ms; passed += 500) {
        c->f.x.now.wall_ms += 500;
        c->f.x.now.mono_ms += 500;
        peer_heartbeat(&c->f.x, NULL);
        link_tick(&c->f.x.link, c->f.x.now);
        while ((type = peer_take(&c->f.x, &payload)) != 0)
            count += type == FRAME_DIGEST;
    }
    return count;
}

static void link_tells_digests_at_once_and_every_ten_seconds(void **state)
{
    struct comparing *c = *state;
    struct frame_reader payload;
    comparing_dial(c);
    assert_int_equal(digests_told(c, 1000), 0); /* nobody knows yet what is missing */
    peer_ask(&c->f.x, NULL);
    assert_true(peer_take_until(&c->f.x, FRAME_DELTA_END, &payload));
    assert_int_equal(digests_told(c, 500), 1);
    assert_int_equal(digests_told(c, LINK_DIGEST_MS - 500), 0);
    assert_int_equal(digests_told(c, 3 * LINK_DIGEST_MS), 3);
    assert_int_equal(digests_told(c, 3000), 1);
    /* After a delta it is known soonest whether that was all. */
    peer_ask(&c->f.x, NULL);
    assert_true(peer_take_until(&c->f.x, FRAME_DELTA_END, &payload));
    assert_int_equal(digests_told(c, 500), 1);
    assert_int_equal(digests_told(c, 500), 0);
}

/* --- real nodes ---------------------------------------------------------------------------- */

static void nodes_open(struct pair *p, uint32_t count)
{
    pair_open(p, count);
    pair_start_all(p);
    pair_run(p, 3000);
    assert_true(pair_is_meshed(p));
}

static uint64_t repaired(struct pair *p)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < p->size; i++)
        sum += p->nodes[i].node->counters.divergence_repaired;
    return sum;
}

/* The last write of a node that has died, which came here beyond a gap: no vector will cover it. */
static void nodes_pass_on_what_no_vector_tells_of(void **state)
{
    (void)state;
    struct pair p;
    nodes_open(&p, 3);
    struct record rec =
        comparing_record("k", (p.now.wall_ms - 1000) << STAMP_COUNTER_BITS, UNKNOWN_ORIGIN);
    assert_int_equal(node_receive(p.nodes[1].node, &rec), 0);
    pair_run(&p, LINK_DIGEST_MS + 1000);
    for (uint32_t i = 0; i < 3; i++)
        assert_string_equal(pair_command(&p, i, "GET k"), "value");
    assert_true(pair_is_equal(&p));
    assert_int_equal(repaired(&p), 0);
    pair_close(&p);
}

/* Loses a record, as a fault would. */
static void lose(struct store *s, const char *key)
{
    struct record rec;
    assert_true(store_find(s, bytes_text(key), &rec));
    rec.tombstone = true;
    rec.value = bytes_of(NULL, 0);
    rec.key = bytes_text(key);
    assert_int_equal(store_merge(s, &rec, false), STORE_MERGED);
    store_drop_tombstone(s, &rec);
    assert_false(store_find(s, bytes_text(key), &rec));
}

static void nodes_repair_what_diverged_and_count_it(void **state)
{
    (void)state;
    struct pair p;
    struct record old;
    char key[8];
    nodes_open(&p, 2);
    for (uint32_t i = 0; i < 50; i++) {
        char line[32];
        snprintf(line, sizeof line, "SET k%u one", i);
        pair_command(&p, 0, line);
    }
    pair_run(&p, 2000);
    assert_true(store_find(p.nodes[1].node->store, bytes_text("k7"), &old));
    uint64_t stamp = old.stamp;
    pair_command(&p, 0, "SET k7 two\nDEL k8");
    pair_run(&p, 10000);
    assert_int_equal(store_tombstone_count(p.nodes[1].node->store), 0);
    /* b falls back to an older value, and keeps what was deleted. */
    lose(p.nodes[1].node->store, "k7");
    for (uint32_t i = 7; i <= 8; i++) {
        snprintf(key, sizeof key, "k%u", i);
        old = comparing_record(key, stamp + (i - 7), p.nodes[0].config.origin);
        assert_int_equal(store_merge(p.nodes[1].node->store, &old, false), STORE_MERGED);
    }
    pair_run(&p, 2 * LINK_DIGEST_MS);
    assert_true(pair_is_equal(&p));
    assert_string_equal(pair_command(&p, 1, "GET k7"), "two");
    assert_string_equal(pair_command(&p, 1, "GET k8"), "NOT_FOUND");
    assert_int_equal(repaired(&p), 2);
    uint64_t scrubs = p.nodes[0].node->counters.scrubs + p.nodes[1].node->counters.scrubs;
    pair_run(&p, 3 * LINK_DIGEST_MS);
    assert_int_equal(p.nodes[0].node->counters.scrubs + p.nodes[1].node->counters.scrubs, scrubs);
    pair_close(&p);
}

static void nodes_of_different_clocks_see_no_divergence_in_what_expires(void **state)
{
    (void)state;
    struct pair p;
    char line[64];
    pair_open(&p, 2);
    p.nodes[1].clock_ahead_ms = 4000;
    pair_start_all(&p);
    pair_run(&p, 3000);
    assert_true(pair_is_meshed(&p));
    for (uint32_t i = 0; i < 400; i++) {
        snprintf(line, sizeof line, "SETEX k%u %u value", i, 1 + i / 10);
        assert_string_equal(pair_command(&p, i % 2, line), "OK");
    }
    for (uint32_t i = 0; i < 50; i++) {
        pair_run(&p, 1000);
        assert_int_equal(repaired(&p), 0);
    }
    assert_true(p.nodes[0].node->counters.scrubs + p.nodes[1].node->counters.scrubs > 0);
    assert_true(pair_is_equal(&p));
    assert_int_equal(pair_info(&p, 0, "keys"), 0);
    pair_close(&p);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(link_scrub_asks_nothing_when_digests_are_equal),
        TEST(link_scrub_asks_for_the_group_that_differs),
        TEST(link_scrub_waits_for_a_delta_under_way),
        TEST(link_scrub_goes_on_where_it_stopped_when_it_has_brought_enough),
        TEST(link_scrub_lets_what_is_late_flow_and_counts_nothing),
        TEST(link_scrub_fetches_a_group_whole_when_something_covered_is_missing),
        TEST(link_tells_digests_at_once_and_every_ten_seconds),
        cmocka_unit_test(nodes_pass_on_what_no_vector_tells_of),
        cmocka_unit_test(nodes_repair_what_diverged_and_count_it),
        cmocka_unit_test(nodes_of_different_clocks_see_no_divergence_in_what_expires),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
