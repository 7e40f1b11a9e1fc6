/* Links that are sent garbage: what is damaged, of a wrong size, or out of place closes the link, and
 * costs nothing else. */
#include "situation.h"
#include "unit.h"

/* --- no frames ----------------------------------------------------------------------------- */

static void link_ends_at_bytes_that_are_no_frame(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {"SET key value and more\n", "GET / HTTP/1.1\r\n\r\n",
                                        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"};
    for (size_t i = 0; i < 3; i++) {
        for (enum situation s = 0; s < SITUATIONS; s++) {
            struct fixture f;
            situation_open(&f, s);
            peer_feed(&f.x, bytes_text(TEXTS[i]));
            situation_assert_ended(&f, "it sent bytes that are no frame");
            peer_feed(&f.x, bytes_text("and reads nothing after that"));
            situation_close(&f);
        }
    }
}

static void link_survives_random_bytes(void **state)
{
    (void)state;
    struct random random;
    uint8_t bytes[300];
    random_init(&random, unit_seed(__func__));
    for (uint64_t round = unit_rounds(700); round > 0; round--) {
        struct fixture f;
        situation_open(&f, (enum situation)(round % SITUATIONS));
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)random_next(&random);
        /* Half of them begin as a frame does. */
        if (round % 2 == 0) {
            put_u32(bytes + 4, (uint32_t)random_below(&random, 300));
            bytes[8] = (uint8_t)(1 + random_below(&random, FRAME_TYPE_LAST));
            bytes[9] = bytes[10] = bytes[11] = 0;
        }
        size_t before = store_live_count(f.node->store);
        peer_feed(&f.x, bytes_of(bytes, sizeof bytes));
        assert_true(store_live_count(f.node->store) == before);
        situation_close(&f);
    }
}

/* --- frames out of place ------------------------------------------------------------------- */

/* A well-formed frame of each type. */
static void send_frame(struct peer *x, enum frame_type type)
{
    struct record rec = {
        .key = bytes_text("k"), .value = bytes_text("v"), .stamp = 5, .origin = x->origin};
    struct peer_entry entry;
    switch (type) {
    case FRAME_HELLO:
        peer_hello(x, NULL, 0);
        break;
    case FRAME_REFUSED:
        frame_put_u16(peer_begin(x), 3);
        frame_put_text(&x->frame, bytes_text("go away"));
        peer_send(x, type);
        break;
    case FRAME_HEARTBEAT:
        peer_heartbeat(x, NULL);
        break;
    case FRAME_MEMBERS:
        peer_members(x, "m", "", 0);
        break;
    case FRAME_STREAM:
    case FRAME_GAP:
        peer_number(x, type, 0);
        break;
    case FRAME_RECORDS:
        peer_records(x, 0, 10, &rec, 1);
        break;
    case FRAME_ACK_WANTED:
    case FRAME_DIGESTS_WANTED:
        peer_begin(x);
        peer_send(x, type);
        break;
    case FRAME_DELTA_REQUEST:
        peer_ask(x, NULL);
        break;
    case FRAME_DELTA_BEGIN:
        peer_delta_begin(x, 0, NULL);
        break;
    case FRAME_DELTA_RECORDS:
        peer_delta_records(x, &rec, 1);
        break;
    case FRAME_DELTA_LIST:
        entry = peer_entry_of(&rec);
        peer_delta_list(x, &entry, 1);
        break;
    case FRAME_DELTA_MARK:
        peer_mark(x, 5);
        break;
    case FRAME_DELTA_END:
        peer_delta_end(x, NULL, 0);
        break;
    case FRAME_DIGEST:
        peer_digest(x, x->node->store);
        break;
    }
}

/* What may come when, as docs/protocol.md and the table of states tell it. */
static bool is_allowed(enum situation s, enum frame_type type)
{
    bool receiver = s < SENDER_HELLO;
    switch (type) {
    case FRAME_HELLO:
        return situation_state(s) == LINK_HELLO;
    case FRAME_REFUSED:
        return true; /* it ends the link at any time */
    case FRAME_HEARTBEAT:
    case FRAME_MEMBERS:
        return situation_state(s) != LINK_HELLO;
    case FRAME_STREAM:
        return s == SENDER_HOLD;
    case FRAME_GAP:
    case FRAME_RECORDS:
        return receiver && situation_state(s) == LINK_LIVE;
    case FRAME_ACK_WANTED:
    case FRAME_DIGEST:
        return receiver && situation_state(s) != LINK_HELLO;
    case FRAME_DELTA_REQUEST:
        return s == SENDER_HOLD || s == SENDER_LIVE;
    case FRAME_DELTA_BEGIN:
    case FRAME_DIGESTS_WANTED:
        return s == RECEIVER_DELTA;
    case FRAME_DELTA_RECORDS:
    case FRAME_DELTA_LIST:
    case FRAME_DELTA_MARK:
    case FRAME_DELTA_END:
        return false; /* only after a BEGIN */
    }
    return false;
}

static void link_ends_at_every_frame_that_is_out_of_place(void **state)
{
    (void)state;
    for (enum situation s = 0; s < SITUATIONS; s++) {
        for (enum frame_type type = FRAME_HELLO; type <= FRAME_TYPE_LAST; type++) {
            struct fixture f;
            situation_open(&f, s);
            send_frame(&f.x, type);
            bool refused = type == FRAME_REFUSED && is_allowed(s, type);
            if ((f.x.link.state != LINK_CLOSED) != (is_allowed(s, type) && !refused))
                fail_msg("situation %d, frame %d: \"%s\"", (int)s, (int)type, f.x.link.reason);
            if (!is_allowed(s, type))
                assert_int_equal(store_live_count(f.node->store), 0);
            situation_close(&f);
        }
    }
}

/* --- sizes --------------------------------------------------------------------------------- */

/* A header that announces a payload of that size, and no payload. */
static void announce(struct peer *x, enum frame_type type, uint32_t payload_bytes)
{
    uint8_t header[FRAME_HEADER_BYTES] = {0};
    put_u32(header + 4, payload_bytes);
    header[8] = (uint8_t)type;
    peer_feed(x, bytes_of(header, sizeof header));
}

static void link_ends_at_the_header_of_an_oversized_frame(void **state)
{
    (void)state;
    static const struct {
        enum situation situation;
        enum frame_type type;
        uint32_t payload_bytes;
    } CASES[] = {{RECEIVER_HELLO, FRAME_HELLO, 2u << 20},
                 {SENDER_HELLO, FRAME_REFUSED, 1025},
                 {RECEIVER_LIVE, FRAME_HEARTBEAT, 8 + 2 * (4 + 16 * VECTOR_ORIGINS_MAX) + 1},
                 {SENDER_LIVE, FRAME_MEMBERS, (64u << 10) + 1},
                 {SENDER_HOLD, FRAME_STREAM, 9},
                 {RECEIVER_LIVE, FRAME_GAP, 9},
                 {RECEIVER_LIVE, FRAME_RECORDS, 600u << 20},
                 {RECEIVER_LIVE, FRAME_ACK_WANTED, 1},
                 {SENDER_LIVE, FRAME_DELTA_REQUEST, UINT32_MAX},
                 {RECEIVER_DELTA, FRAME_DELTA_BEGIN, UINT32_MAX},
                 {RECEIVER_DELTA, FRAME_DELTA_RECORDS, UINT32_MAX},
                 {RECEIVER_DELTA, FRAME_DELTA_LIST, LINK_FRAME_BYTES + 1},
                 {RECEIVER_DELTA, FRAME_DELTA_MARK, 7},
                 {RECEIVER_DELTA, FRAME_DELTA_END, 8 + 4 + 16 * VECTOR_ORIGINS_MAX + 1},
                 {RECEIVER_DELTA, FRAME_DIGESTS_WANTED, 1},
                 {RECEIVER_LIVE, FRAME_DIGEST, 8 * STORE_GROUPS + 1}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct fixture f;
        situation_open(&f, CASES[i].situation);
        announce(&f.x, CASES[i].type, CASES[i].payload_bytes);
        situation_assert_ended(&f, "are allowed");
        situation_close(&f);
    }
}

static void link_ends_at_the_header_of_an_undersized_frame(void **state)
{
    (void)state;
    for (enum situation s = 0; s < SITUATIONS; s++) {
        for (enum frame_type type = FRAME_HELLO; type <= FRAME_TYPE_LAST; type++) {
            struct fixture f;
            if (type == FRAME_ACK_WANTED || type == FRAME_DIGESTS_WANTED)
                continue; /* which carry nothing */
            situation_open(&f, s);
            announce(&f.x, type, 1);
            situation_assert_ended(&f, "");
            situation_close(&f);
        }
    }
}

static void link_ends_at_a_damaged_frame(void **state)
{
    (void)state;
    struct fixture f;
    situation_open(&f, RECEIVER_LIVE);
    frame_put_u64(peer_begin(&f.x), f.pair.now.wall_ms);
    frame_put_u32(&f.x.frame, 0);
    frame_put_u32(&f.x.frame, 0);
    peer_end(&f.x, FRAME_HEARTBEAT);
    f.x.frame.data[FRAME_HEADER_BYTES] ^= 1;
    peer_feed(&f.x, buffer_bytes(&f.x.frame));
    situation_assert_ended(&f, "a frame of type 3 arrived damaged");
    situation_close(&f);
}

/* Every payload, cut short at every byte, in a frame that is right otherwise. */
static void link_ends_at_every_payload_that_is_cut_short(void **state)
{
    (void)state;
    static const struct {
        enum situation situation;
        enum frame_type type;
    } CASES[] = {{RECEIVER_HELLO, FRAME_HELLO},        {SENDER_HELLO, FRAME_HELLO},
                 {SENDER_HELLO, FRAME_REFUSED},        {RECEIVER_LIVE, FRAME_HEARTBEAT},
                 {SENDER_LIVE, FRAME_MEMBERS},         {SENDER_HOLD, FRAME_STREAM},
                 {RECEIVER_LIVE, FRAME_GAP},           {RECEIVER_LIVE, FRAME_RECORDS},
                 {SENDER_LIVE, FRAME_DELTA_REQUEST},   {RECEIVER_DELTA, FRAME_DELTA_BEGIN},
                 {RECEIVER_LIVE, FRAME_DELTA_RECORDS}, {RECEIVER_LIVE, FRAME_DIGEST}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        for (size_t size = 0;; size++) {
            struct fixture f, full;
            situation_open(&full, CASES[i].situation);
            send_frame(&full.x, CASES[i].type); /* for its bytes */
            struct bytes whole = buffer_bytes(&full.x.frame);
            bool last = FRAME_HEADER_BYTES + size >= whole.size;
            /* Behind its prefix, a RECORDS frame may hold any number of records. */
            bool fits = CASES[i].type == FRAME_RECORDS && size == FRAME_RECORDS_PREFIX_BYTES;
            if (!last && !fits) {
                situation_open(&f, CASES[i].situation);
                buffer_append(peer_begin(&f.x), bytes_of(whole.data + FRAME_HEADER_BYTES, size));
                peer_send(&f.x, CASES[i].type);
                situation_assert_ended(&f, "");
                situation_close(&f);
            }
            situation_close(&full);
            if (last)
                break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(link_ends_at_bytes_that_are_no_frame),
        cmocka_unit_test(link_survives_random_bytes),
        cmocka_unit_test(link_ends_at_every_frame_that_is_out_of_place),
        cmocka_unit_test(link_ends_at_the_header_of_an_oversized_frame),
        cmocka_unit_test(link_ends_at_the_header_of_an_undersized_frame),
        cmocka_unit_test(link_ends_at_a_damaged_frame),
        cmocka_unit_test(link_ends_at_every_payload_that_is_cut_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
