/* Links and the bytes on the wire: a recorded connection, cut anywhere, gives the same; and a bit
 * that flips anywhere is noticed, never taken for something else. */
#include "pair.h"
#include "records.h"
#include "unit.h"

#include "kv/hash.h"

#define DIALER   0u
#define ACCEPTOR 1u

#define PAST_ORIGIN UINT64_C(77) /* of a run that both know … */
#define GONE_ORIGIN UINT64_C(78) /* … and of one whose deletes only the dialer has known */

/* What was kept, and what was deleted: of one partition, so that a list is not empty. */
static char past_keys[2][16];

/* What flows besides the live records: nothing, what only a delta brings, or lists. */
enum kind { PLAIN, DELTA, COMPARISON, KINDS };

/* Both directions of one connection, and what the two nodes were when it was opened. */
struct recording {
    struct pair pair; /* stays open: its clock and configurations are used again */
    struct buffer to_acceptor, to_dialer;
    enum kind kind;
    struct moment now;
    uint64_t digest; /* of both nodes at the end */
    uint64_t origin, through; /* of the dialer: what the acceptor's vector said at the end */
};

/* A past in which something was deleted, of which the acceptor does not know. */
static void give_past(struct node *n, enum kind kind, uint32_t role)
{
    struct vector past, dropped;
    struct record rec = {.key = bytes_text(past_keys[0]), .stamp = 6, .origin = PAST_ORIGIN};
    struct heap heap = heap_of_c_library();
    if (kind != COMPARISON)
        return;
    vector_init(&past, &heap);
    vector_init(&dropped, &heap);
    assert_int_equal(vector_advance(&past, PAST_ORIGIN, 10), 0);
    assert_int_equal(node_restore_record(n, &rec), 0);
    if (role == DIALER) {
        assert_int_equal(vector_advance(&past, GONE_ORIGIN, 5), 0);
        assert_int_equal(vector_advance(&dropped, GONE_ORIGIN, 5), 0);
    } else {
        rec.key = bytes_text(past_keys[1]);
        assert_int_equal(node_restore_record(n, &rec), 0);
    }
    assert_int_equal(node_restore(n, &past, &dropped), 0);
    vector_close(&past);
    vector_close(&dropped);
}

/* dialer and acceptor link, records flow, and what is of that kind. */
static void record(struct recording *r, enum kind kind)
{
    struct pair *p = &r->pair;
    memset(r, 0, sizeof *r);
    r->kind = kind;
    pair_open(p, 2);
    r->now = p->now;
    p->nodes[DIALER].peers = 1u << ACCEPTOR;
    p->nodes[ACCEPTOR].peers = 0;
    p->unreachable[ACCEPTOR][DIALER] = true; /* one connection only */
    if (kind != PLAIN)
        p->nodes[DIALER].peers = 0;
    pair_start_all(p);
    give_past(p->nodes[DIALER].node, kind, DIALER);
    give_past(p->nodes[ACCEPTOR].node, kind, ACCEPTOR);
    pair_command(p, DIALER, "SET early 1");
    pair_command(p, DIALER, "SETEX expires 1000 soon");
    if (kind != PLAIN)
        members_add_address(&p->nodes[DIALER].node->members, bytes_text(p->nodes[ACCEPTOR].host),
                            8080, true);
    p->tap_dialer = DIALER;
    p->tap_acceptor = ACCEPTOR;
    pair_settle(p);
    pair_command(p, DIALER, "SET live some value");
    pair_command(p, DIALER, "DEL early");
    p->nodes[DIALER].node->acks_wanted = p->nodes[DIALER].node->last_write;
    pair_settle(p);
    pair_tick(p);
    pair_settle(p);
    p->tap_acceptor = DIALER;
    r->digest = store_digest(p->nodes[ACCEPTOR].node->store);
    assert_int_equal(store_live_count(p->nodes[ACCEPTOR].node->store), 2 + (kind == COMPARISON));
    assert_int_equal(p->nodes[ACCEPTOR].node->counters.comparisons_received, kind == COMPARISON);
    r->origin = p->nodes[DIALER].config.origin;
    r->through = vector_get(&p->nodes[ACCEPTOR].node->vector, r->origin);
    assert_true(r->through >= p->nodes[DIALER].node->last_write);
    buffer_init(&r->to_acceptor, &p->heap.heap);
    buffer_init(&r->to_dialer, &p->heap.heap);
    buffer_move(&r->to_acceptor, &p->to_acceptor);
    buffer_move(&r->to_dialer, &p->to_dialer);
}

static void discard(struct recording *r)
{
    buffer_close(&r->to_acceptor);
    buffer_close(&r->to_dialer);
    pair_close(&r->pair);
}

/* A node with the identity of one of the recorded ones, and its end of the connection. */
struct replay {
    struct failing_heap heap;
    struct node *node;
    struct link link;
};

static void open_replay(struct replay *y, const struct recording *r, uint32_t role)
{
    failing_heap_init(&y->heap);
    struct node_config config = r->pair.nodes[role].config;
    y->node = node_new(&config, &y->heap.heap, r->now);
    assert_non_null(y->node);
    give_past(y->node, r->kind, role);
    struct address *address = NULL;
    if (role == DIALER)
        address = members_add_address(&y->node->members, bytes_text("10.0.0.2"), 8080, true);
    link_open(&y->link, y->node, r->now, address, "x", "x");
}

static void close_replay(struct replay *y, const struct recording *r)
{
    link_close(&y->link, r->now);
    node_free(y->node);
    assert_int_equal(y->heap.live, 0);
}

/* From memory of exactly that size; takes what the link answers, as the shell would. */
static void feed(struct replay *y, const struct recording *r, struct bytes bytes)
{
    uint8_t *copy = malloc(bytes.size == 0 ? 1 : bytes.size);
    assert_non_null(copy);
    if (bytes.size > 0)
        memcpy(copy, bytes.data, bytes.size);
    link_read(&y->link, r->now, bytes_of(copy, bytes.size));
    free(copy);
    struct buffer *out = link_output(&y->link);
    buffer_consume(out, buffer_size(out));
}

static void feed_in_two(struct replay *y, const struct recording *r, struct bytes bytes, size_t cut)
{
    feed(y, r, bytes_of(bytes.data, cut));
    feed(y, r, bytes_of(bytes.data + cut, bytes.size - cut));
}

static void assert_accepted(const struct replay *y, const struct recording *r)
{
    assert_int_equal(y->link.state, LINK_LIVE);
    assert_int_equal(buffer_size(&y->link.in), 0);
    assert_true(store_digest(y->node->store) == r->digest);
    assert_true(vector_get(&y->node->vector, r->origin) == r->through);
}

static void link_receives_the_same_when_cut_in_two_anywhere(void **state)
{
    (void)state;
    for (enum kind kind = PLAIN; kind < KINDS; kind++) {
        struct recording r;
        record(&r, kind);
        struct bytes bytes = buffer_bytes(&r.to_acceptor);
        assert_in_range(bytes.size, 300, 4000);
        for (size_t cut = 0; cut <= bytes.size; cut++) {
            struct replay y;
            open_replay(&y, &r, ACCEPTOR);
            feed_in_two(&y, &r, bytes, cut);
            assert_accepted(&y, &r);
            close_replay(&y, &r);
        }
        discard(&r);
    }
}

static void link_receives_the_same_byte_by_byte(void **state)
{
    (void)state;
    for (enum kind kind = PLAIN; kind < KINDS; kind++) {
        struct recording r;
        struct replay y;
        record(&r, kind);
        struct bytes bytes = buffer_bytes(&r.to_acceptor);
        open_replay(&y, &r, ACCEPTOR);
        for (size_t i = 0; i < bytes.size; i++)
            feed(&y, &r, bytes_of(bytes.data + i, 1));
        assert_accepted(&y, &r);
        close_replay(&y, &r);
        discard(&r);
    }
}

/* A request with digests is long and looks everywhere the same. */
static size_t step_at(size_t at)
{
    return at < 1500 ? 1 : 211;
}

static void link_that_dialled_understands_the_same_however_the_answers_are_cut(void **state)
{
    (void)state;
    for (enum kind kind = PLAIN; kind < KINDS; kind++) {
        struct recording r;
        record(&r, kind);
        struct bytes bytes = buffer_bytes(&r.to_dialer);
        assert_in_range(bytes.size, 100, kind == COMPARISON ? 40000 : 2000);
        for (size_t cut = 0; cut <= bytes.size + 1; cut += step_at(cut)) {
            struct replay y;
            open_replay(&y, &r, DIALER);
            if (cut <= bytes.size)
                feed_in_two(&y, &r, bytes, cut);
            for (size_t i = 0; cut > bytes.size && i < bytes.size; i++)
                feed(&y, &r, bytes_of(bytes.data + i, 1));
            assert_int_equal(y.link.state, LINK_LIVE);
            assert_int_equal(buffer_size(&y.link.in), 0);
            assert_int_equal(y.node->counters.deltas_served, kind != PLAIN);
            assert_true(vector_covers(&y.link.member->confirmed, r.origin,
                                      r.pair.nodes[DIALER].node->last_write));
            close_replay(&y, &r);
        }
        discard(&r);
    }
}

/* Every record in the store is one that the recorded node had. */
static void assert_nothing_invented(const struct replay *y, struct store *truth)
{
    struct record rec, real;
    for (uint32_t p = 0; p < STORE_PARTITIONS; p++) {
        struct store_cursor c;
        if (store_partition_stamp_max(y->node->store, p) == 0)
            continue;
        store_cursor_open(&c, y->node->store, p);
        while (store_cursor_next(&c, &rec)) {
            if (bytes_equal(rec.key, bytes_text(past_keys[1])))
                continue; /* deleted or not yet */
            assert_true(store_find(truth, rec.key, &real));
            /* A record that a later one has replaced there by now is no invention. */
            assert_true(record_compare(&rec, &real) <= 0);
            if (rec.stamp == real.stamp)
                assert_int_equal(record_compare(&rec, &real), 0);
        }
        store_cursor_close(&c);
    }
}

/* One bit of every byte flips, another one in every run. (test_frame flips them all, without links.) */
static void check_flips(const struct recording *r, uint32_t role, struct random *random)
{
    struct bytes bytes = buffer_bytes(role == ACCEPTOR ? &r->to_acceptor : &r->to_dialer);
    uint8_t *flipped = malloc(bytes.size);
    assert_non_null(flipped);
    for (size_t at = 0; at < bytes.size; at += step_at(at)) {
        struct replay y;
        unsigned bit = (unsigned)random_below(random, 8);
        open_replay(&y, r, role);
        memcpy(flipped, bytes.data, bytes.size);
        flipped[at] ^= (uint8_t)(1u << bit);
        feed(&y, r, bytes_of(flipped, bytes.size));
        /* Refused, or waiting for the rest of what has become too long. */
        if (y.link.state != LINK_CLOSED && buffer_size(&y.link.in) == 0)
            fail_msg("bit %u of byte %zu flipped and nobody noticed", bit, at);
        assert_nothing_invented(&y, r->pair.nodes[DIALER].node->store);
        close_replay(&y, r);
    }
    free(flipped);
}

static void link_notices_a_bit_that_flips_in_any_byte(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, unit_seed(__func__));
    for (enum kind kind = PLAIN; kind < KINDS; kind++) {
        struct recording r;
        record(&r, kind);
        check_flips(&r, ACCEPTOR, &random);
        check_flips(&r, DIALER, &random);
        discard(&r);
    }
}

static void link_survives_a_connection_that_ends_anywhere(void **state)
{
    (void)state;
    struct recording r;
    record(&r, COMPARISON);
    struct bytes bytes = buffer_bytes(&r.to_acceptor);
    for (size_t end = 0; end < bytes.size; end++) {
        struct replay y;
        open_replay(&y, &r, ACCEPTOR);
        feed(&y, &r, bytes_of(bytes.data, end));
        assert_int_not_equal(y.link.state, LINK_CLOSED);
        assert_nothing_invented(&y, r.pair.nodes[DIALER].node->store);
        link_close(&y.link, r.now);
        assert_null(y.node->delta);
        node_free(y.node);
        assert_int_equal(y.heap.live, 0);
    }
    discard(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(link_receives_the_same_when_cut_in_two_anywhere),
        cmocka_unit_test(link_receives_the_same_byte_by_byte),
        cmocka_unit_test(link_that_dialled_understands_the_same_however_the_answers_are_cut),
        cmocka_unit_test(link_notices_a_bit_that_flips_in_any_byte),
        cmocka_unit_test(link_survives_a_connection_that_ends_anywhere),
    };
    records_keys_of_partition(9, past_keys, 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
