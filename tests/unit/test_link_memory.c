/* Links out of memory: at every allocation the link ends or nothing happens; never a crash, a leak,
 * or a vector that claims what the store has not got. */
#include "pair.h"
#include "situation.h"
#include "unit.h"

/* What the peer sends in one situation. */
typedef void script(struct fixture *f);

static void stream_records(struct fixture *f)
{
    struct record records[] = {
        {.key = bytes_text("one"), .value = bytes_text("1"), .stamp = 10, .origin = f->x.origin},
        {.key = bytes_text("two"), .value = bytes_text("2"), .stamp = 11, .origin = f->x.origin}};
    peer_records(&f->x, 0, 20, records, 2);
}

static void introduce(struct fixture *f)
{
    struct vector vector;
    vector_init(&vector, &f->x.heap);
    vector_advance(&vector, f->x.origin, 100);
    peer_hello(&f->x, &vector, 0);
    vector_close(&vector);
}

static void tell_members(struct fixture *f)
{
    peer_members(&f->x, "somebody", "192.0.2.7", 1);
}

static void beat(struct fixture *f)
{
    struct vector vector;
    vector_init(&vector, &f->x.heap);
    for (uint64_t origin = 1; origin < 20; origin++)
        vector_advance(&vector, origin, 5);
    peer_heartbeat(&f->x, &vector);
    vector_close(&vector);
}

static void send_delta(struct fixture *f)
{
    struct record records[] = {
        {.key = bytes_text("one"), .value = bytes_text("1"), .stamp = 10, .origin = 77},
        {.key = bytes_text("two"), .value = bytes_text("2"), .stamp = 11, .origin = 78}};
    struct vector vector;
    vector_init(&vector, &f->x.heap);
    vector_advance(&vector, 77, 50);
    vector_advance(&vector, 78, 50);
    peer_delta_begin(&f->x, 0, &vector);
    peer_delta_records(&f->x, records, 2);
    peer_delta_finish(&f->x);
    vector_close(&vector);
}

/* What the node has to say leaves; there is nothing when the link has failed over it. */
static void drain(struct fixture *f)
{
    struct buffer *out = link_output(&f->x.link);
    buffer_consume(out, buffer_size(out));
}

static void ask_delta(struct fixture *f)
{
    peer_ask(&f->x, NULL);
    drain(f);
}

static void ask_stream(struct fixture *f)
{
    peer_number(&f->x, FRAME_STREAM, 0);
    drain(f);
}

/* A delta with lists, which deletes what the node has, unless that is among what is listed. */
static void send_lists(struct fixture *f, bool all)
{
    struct record one = {
        .key = bytes_text("one"), .value = bytes_text("1"), .stamp = 10, .origin = 77};
    struct record k = {
        .key = bytes_text("k"), .stamp = f->node->last_write, .origin = f->node->config.origin};
    struct peer_entry entries[100] = {peer_entry_of(all ? &k : &one)};
    struct vector vector;
    vector_init(&vector, &f->x.heap);
    vector_advance(&vector, 77, 50);
    vector_advance(&vector, f->node->config.origin, f->node->last_write);
    peer_delta_begin(&f->x, PEER_CHECKED | PEER_BEHIND, &vector);
    peer_delta_records(&f->x, &one, 1);
    uint32_t partition = store_partition(bytes_text("k"));
    peer_mark(&f->x, partition);
    peer_delta_list(&f->x, entries, 100);
    peer_mark_listed(&f->x, partition + 1);
    peer_mark(&f->x, STORE_PARTITIONS);
    peer_delta_end(&f->x, &vector, 5);
    vector_close(&vector);
}

static void send_lists_without_k(struct fixture *f)
{
    send_lists(f, false);
}

static void send_lists_with_k(struct fixture *f)
{
    send_lists(f, true);
}

static void tell_digest(struct fixture *f)
{
    struct store *nothing = store_new(&f->x.heap, 1);
    assert_non_null(nothing);
    peer_digest(&f->x, nothing);
    store_free(nothing);
    drain(f);
}

static void want_digests(struct fixture *f)
{
    peer_begin(&f->x);
    peer_send(&f->x, FRAME_DIGESTS_WANTED);
    drain(f);
}

static void ask_lists(struct fixture *f)
{
    struct vector has;
    vector_init(&has, &f->x.heap);
    vector_advance(&has, f->node->config.origin, f->node->last_write);
    peer_request(&f->x, PEER_SCRUBS, 0, STORE_GROUPS, &has, NULL);
    vector_close(&has);
    while (f->node->scans != 0 && f->x.link.state != LINK_CLOSED)
        drain(f);
}

static void forget_member(struct fixture *f)
{
    peer_members_forgotten(&f->x, "peer", f->pair.now.wall_ms + 1);
}

/* V[o] = s must be true: with a peer that has sent a record of `origin` stamped `stamp`. */
static void assert_truthful(const struct fixture *f, uint64_t origin, uint64_t stamp,
                            const char *key)
{
    struct record rec;
    if (vector_covers(&f->node->vector, origin, stamp))
        assert_true(store_find(f->node->store, bytes_text(key), &rec));
}

/* With the vector of who dropped tombstones comes the knowledge that it did, or neither. */
static void assert_dropped_is_inherited(const struct fixture *f)
{
    struct record rec;
    if (!vector_covers(&f->node->vector, 77, 50))
        return;
    assert_true(vector_covers(&f->node->dropped, 77, 50));
    assert_true(store_find(f->node->store, bytes_text("k"), &rec) && rec.tombstone);
}

/* Returns how many allocations there were. */
static uint64_t check_script(enum situation situation, script *run)
{
    for (uint64_t n = 1;; n++) {
        struct fixture f;
        situation_open(&f, situation);
        pair_command(&f.pair, 0, "SET k v");
        failing_heap_arm(&f.pair.heap, n);
        run(&f);
        bool failed = failing_heap_disarm(&f.pair.heap);
        assert_truthful(&f, f.x.origin, 10, "one");
        assert_truthful(&f, f.x.origin, 11, "two");
        assert_truthful(&f, 77, 10, "one");
        assert_truthful(&f, 78, 11, "two");
        if (run == send_lists_without_k)
            assert_dropped_is_inherited(&f);
        if (run == send_lists_with_k)
            assert_string_equal(pair_command(&f.pair, 0, "GET k"), "v");
        if (!failed)
            assert_int_not_equal(f.x.link.state, LINK_CLOSED);
        situation_close(&f);
        if (!failed)
            return n - 1;
    }
}

static void link_survives_a_failure_at_every_allocation(void **state)
{
    (void)state;
    static const struct {
        enum situation situation;
        script *run;
    } CASES[] = {{RECEIVER_HELLO, introduce},
                 {SENDER_HELLO, introduce},
                 {RECEIVER_LIVE, stream_records},
                 {RECEIVER_LIVE, tell_members},
                 {SENDER_LIVE, beat},
                 {RECEIVER_LIVE, beat},
                 {RECEIVER_DELTA, send_delta},
                 {SENDER_HOLD, ask_delta},
                 {SENDER_HOLD, ask_stream},
                 {RECEIVER_DELTA, send_lists_without_k},
                 {RECEIVER_DELTA, send_lists_with_k},
                 {RECEIVER_LIVE, tell_digest},
                 {RECEIVER_DELTA, want_digests},
                 {SENDER_HOLD, ask_lists},
                 {SENDER_LIVE, ask_lists},
                 {SENDER_LIVE, forget_member}};
    uint64_t allocations = 0;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        allocations += check_script(CASES[i].situation, CASES[i].run);
    assert_true(allocations > 30);
}

/* A frame that comes in three pieces has to be kept meanwhile. */
static void link_ends_when_it_cannot_keep_a_part_of_a_frame(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 2; n++) {
        struct fixture f;
        situation_open(&f, RECEIVER_LIVE);
        uint8_t zeros[4000] = {0};
        frame_put_u64(peer_begin(&f.x), 0);
        buffer_append(&f.x.frame, bytes_of(zeros, sizeof zeros));
        peer_end(&f.x, FRAME_RECORDS);
        struct bytes whole = buffer_bytes(&f.x.frame);
        failing_heap_arm(&f.pair.heap, n);
        peer_feed(&f.x, bytes_of(whole.data, 20));
        peer_feed(&f.x, bytes_of(whole.data + 20, 3000));
        assert_true(failing_heap_disarm(&f.pair.heap));
        situation_assert_ended(&f, "out of memory");
        situation_close(&f);
    }
}

/* Whoever is refused since there is no memory to note him is no member, and a member stays as he was. */
static void link_refused_without_memory_changes_no_member(void **state)
{
    (void)state;
    uint32_t refused = 0;
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct fixture f;
        situation_open(&f, RECEIVER_HELLO);
        struct member *known = members_add(&f.node->members, bytes_text(n % 2 == 0 ? "peer" : "b"));
        assert_non_null(known);
        known->origin = 5;
        assert_int_equal(vector_advance(&known->confirmed, 5, 50), 0);
        failing_heap_arm(&f.pair.heap, n / 2 + 1);
        introduce(&f);
        failed = failing_heap_disarm(&f.pair.heap);
        if (f.x.link.refused) {
            refused++;
            assert_int_equal(f.node->members.count, 1);
            assert_true(known->origin == 5 && vector_get(&known->confirmed, 5) == 50);
        }
        situation_close(&f);
    }
    assert_true(refused >= 3); /* of both kinds */
}

/* Two nodes that meet and catch up while every single allocation fails once: they end up equal. */
static void nodes_converge_whichever_allocation_fails_once(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct pair p;
        pair_open(&p, 2);
        pair_start(&p, 0);
        pair_command(&p, 0, "SET early 1");
        pair_start(&p, 1);
        failing_heap_arm(&p.heap, n);
        pair_settle(&p);
        pair_command(&p, 1, "SET later 2");
        pair_run(&p, 300);
        failed = failing_heap_disarm(&p.heap);
        pair_run(&p, 12000);
        assert_true(pair_is_meshed(&p));
        assert_true(pair_is_equal(&p));
        pair_close(&p);
    }
}

static void node_new_returns_null_without_memory(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, 1);
    p.nodes[0].config.origin = 1;
    for (uint64_t n = 1;; n++) {
        failing_heap_arm(&p.heap, n);
        struct node *node = node_new(&p.nodes[0].config, &p.heap.heap, p.now);
        bool failed = failing_heap_disarm(&p.heap);
        assert_int_equal(node == NULL, failed);
        if (node != NULL)
            node_free(node);
        assert_int_equal(p.heap.live, 0);
        if (!failed)
            break;
    }
    pair_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(link_survives_a_failure_at_every_allocation),
        cmocka_unit_test(link_ends_when_it_cannot_keep_a_part_of_a_frame),
        cmocka_unit_test(link_refused_without_memory_changes_no_member),
        cmocka_unit_test(nodes_converge_whichever_allocation_fails_once),
        cmocka_unit_test(node_new_returns_null_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
