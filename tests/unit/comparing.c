/* The node with a past. */
#include "comparing.h"

#include "records.h"
#include "unit.h"

void comparing_vector(struct comparing *c, struct vector *v, uint64_t first, uint64_t second)
{
    vector_init(v, &c->f.x.heap);
    if (first != 0)
        assert_int_equal(vector_advance(v, FIRST_ORIGIN, first), 0);
    if (second != 0)
        assert_int_equal(vector_advance(v, SECOND_ORIGIN, second), 0);
}

void comparing_open(struct comparing *c)
{
    struct vector past, nothing;
    memset(c, 0, sizeof *c);
    c->f.x.heap = heap_of_c_library();
    pair_open(&c->f.pair, 1);
    pair_start(&c->f.pair, 0);
    c->f.node = c->f.pair.nodes[0].node;
    c->partition = 100;
    records_keys_of_partition(c->partition, c->keys, 8);
    comparing_vector(c, &past, PAST_STAMP, PAST_STAMP);
    vector_init(&nothing, &c->f.x.heap);
    assert_int_equal(node_restore(c->f.node, &past, &nothing), 0);
    vector_close(&past);
}

struct record comparing_record(const char *key, uint64_t stamp, uint64_t origin)
{
    return (struct record){
        .key = bytes_text(key), .value = bytes_text("value"), .stamp = stamp, .origin = origin};
}

void comparing_hold(struct comparing *c, const struct record *rec)
{
    assert_int_equal(node_restore_record(c->f.node, rec), 0);
}

void comparing_ask(struct comparing *c)
{
    struct vector ahead;
    struct frame_reader payload;
    peer_open(&c->f.x, c->f.node, c->f.pair.now, LINK_RECEIVER);
    vector_init(&ahead, &c->f.x.heap);
    assert_int_equal(vector_advance(&ahead, c->f.x.origin, 100), 0);
    peer_hello(&c->f.x, &ahead, 100);
    vector_close(&ahead);
    assert_ptr_equal(c->f.node->delta, &c->f.x.link);
    assert_true(peer_take_until(&c->f.x, FRAME_DELTA_REQUEST, &payload));
}

void comparing_link(struct comparing *c)
{
    struct frame_reader payload;
    peer_open(&c->f.x, c->f.node, c->f.pair.now, LINK_RECEIVER);
    peer_hello(&c->f.x, NULL, 0);
    assert_int_equal(c->f.x.link.state, LINK_LIVE);
    assert_true(peer_take_until(&c->f.x, FRAME_STREAM, &payload));
}

void comparing_dial(struct comparing *c)
{
    struct frame_reader payload;
    peer_open(&c->f.x, c->f.node, c->f.pair.now, LINK_SENDER);
    peer_hello(&c->f.x, NULL, 0);
    assert_int_equal(c->f.x.link.state, LINK_HOLD);
    assert_true(peer_take_until(&c->f.x, FRAME_MEMBERS, &payload));
}

bool comparing_has(struct comparing *c, const char *key, uint64_t stamp)
{
    struct record rec;
    return store_find(c->f.node->store, bytes_text(key), &rec) && !rec.tombstone &&
           rec.stamp == stamp;
}

bool comparing_deleted(struct comparing *c, const char *key, uint64_t stamp, uint64_t origin)
{
    struct record rec;
    return store_find(c->f.node->store, bytes_text(key), &rec) && rec.tombstone &&
           rec.stamp == stamp && rec.origin == origin && rec.value.size == 0;
}
