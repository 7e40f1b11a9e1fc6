/* The handshakes and frames that lead into each situation. */
#include "situation.h"

#include "unit.h"

static void bring_into(struct fixture *f, enum situation situation)
{
    struct peer *x = &f->x;
    struct vector vector;
    vector_init(&vector, &f->pair.heap.heap);
    vector_advance(&vector, 99, 1000);
    enum link_role role = situation >= SENDER_HELLO ? LINK_SENDER : LINK_RECEIVER;
    if (situation == RECEIVER_HOLD) {
        f->has_other = true;
        peer_open(&f->other, f->node, f->pair.now, LINK_RECEIVER);
        f->other.name = "other";
        f->other.origin = 2;
        peer_hello(&f->other, &vector, 0);
        assert_ptr_equal(f->node->delta, &f->other.link);
    }
    peer_open(x, f->node, f->pair.now, role);
    if (situation == RECEIVER_HELLO || situation == SENDER_HELLO)
        goto done;
    bool gap = situation == RECEIVER_HOLD || situation == RECEIVER_DELTA;
    peer_hello(x, gap ? &vector : NULL, gap ? 100 : 0);
    if (situation == SENDER_LIVE)
        peer_number(x, FRAME_STREAM, 0);
done:
    vector_close(&vector);
}

static const enum link_state STATES[SITUATIONS] = {LINK_HELLO, LINK_HOLD, LINK_LIVE, LINK_LIVE,
                                                   LINK_HELLO, LINK_HOLD, LINK_LIVE};

enum link_state situation_state(enum situation situation)
{
    return STATES[situation];
}

void situation_open(struct fixture *f, enum situation situation)
{
    memset(f, 0, sizeof *f);
    pair_open(&f->pair, 1);
    pair_start(&f->pair, 0);
    f->node = f->pair.nodes[0].node;
    bring_into(f, situation);
    assert_int_equal(f->x.link.state, STATES[situation]);
    assert_int_equal(f->node->delta == &f->x.link, situation == RECEIVER_DELTA);
}

void situation_close(struct fixture *f)
{
    peer_close(&f->x);
    if (f->has_other)
        peer_close(&f->other);
    assert_null(f->node->delta);
    assert_int_equal(f->node->scans, 0);
    pair_close(&f->pair);
}

void situation_assert_ended(const struct fixture *f, const char *reason)
{
    assert_int_equal(f->x.link.state, LINK_CLOSED);
    if (strstr(f->x.link.reason, reason) == NULL)
        fail_msg("ended by \"%s\", not \"%s\"", f->x.link.reason, reason);
    assert_null(strchr(f->x.link.reason, '\n'));
}
