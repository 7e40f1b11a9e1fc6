/* Frames: the header's bytes, what is intact, and payloads that end early. */
#include "failing_heap.h"
#include "unit.h"

#include "kv/frame.h"
#include "kv/record.h"

#include <errno.h>

struct fixture {
    struct failing_heap heap;
    struct buffer out;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    failing_heap_init(&f->heap);
    buffer_init(&f->out, &f->heap.heap);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    buffer_close(&f->out);
    bool leaked = f->heap.live != 0;
    free(f);
    return leaked;
}

static void put_record(struct buffer *out)
{
    struct record rec = {
        .key = bytes_text("key"), .value = bytes_text("value"), .stamp = 7, .origin = 9};
    uint8_t *at = buffer_reserve(out, record_bytes(&rec));
    record_encode(&rec, at);
    buffer_added(out, record_bytes(&rec));
}

/* A frame of the type with a payload such as it has. */
static void make_frame(struct buffer *out, enum frame_type type)
{
    size_t begun = frame_begin(out);
    if (type == FRAME_RECORDS) {
        frame_put_u64(out, 1);
        frame_put_u64(out, 8);
    }
    if (type == FRAME_RECORDS || type == FRAME_DELTA_RECORDS)
        put_record(out);
    else if (type != FRAME_ACK_WANTED)
        frame_put_text(out, bytes_text("a payload"));
    frame_end(out, begun, type);
}

static void frame_end_writes_the_header_as_drawn(void **state)
{
    struct fixture *f = *state;
    size_t begun = frame_begin(&f->out);
    frame_put_u16(&f->out, 0x1234);
    frame_put_u32(&f->out, 0x56789abc);
    frame_put_u64(&f->out, 0x1122334455667788);
    frame_put_text(&f->out, bytes_text("hi"));
    frame_end(&f->out, begun, FRAME_MEMBERS);
    struct bytes bytes = buffer_bytes(&f->out);
    assert_int_equal(bytes.size, 12 + 2 + 4 + 8 + 4);
    static const uint8_t EXPECTED[] = {18,   0,    0,    0,    4,    0,    0,    0,    0x34,
                                       0x12, 0xbc, 0x9a, 0x78, 0x56, 0x88, 0x77, 0x66, 0x55,
                                       0x44, 0x33, 0x22, 0x11, 2,    0,    'h',  'i'};
    assert_memory_equal(bytes.data + 4, EXPECTED, sizeof EXPECTED);
}

static void frame_header_reads_what_frame_end_wrote(void **state)
{
    struct fixture *f = *state;
    for (enum frame_type type = FRAME_HELLO; type <= FRAME_TYPE_LAST; type++) {
        struct frame frame;
        buffer_truncate(&f->out, 0);
        make_frame(&f->out, type);
        struct bytes bytes = buffer_bytes(&f->out);
        assert_int_equal(frame_header(bytes, &frame), 1);
        assert_int_equal(frame.type, type);
        assert_int_equal(frame.payload_bytes, bytes.size - FRAME_HEADER_BYTES);
        assert_true(frame_is_intact(bytes, &frame));
    }
}

static void frame_header_asks_for_more_at_every_prefix(void **state)
{
    struct fixture *f = *state;
    struct frame frame;
    make_frame(&f->out, FRAME_HEARTBEAT);
    for (size_t size = 0; size < FRAME_HEADER_BYTES; size++) {
        uint8_t *copy = malloc(size + 1);
        memcpy(copy, buffer_bytes(&f->out).data, size);
        assert_int_equal(frame_header(bytes_of(copy, size), &frame), 0);
        free(copy);
    }
}

static void frame_header_refuses_unknown_types_and_padding(void **state)
{
    (void)state;
    struct frame frame;
    uint8_t header[FRAME_HEADER_BYTES] = {0};
    for (unsigned type = 0; type < 256; type++) {
        header[8] = (uint8_t)type;
        assert_int_equal(frame_header(bytes_of(header, sizeof header), &frame),
                         type >= 1 && type <= FRAME_TYPE_LAST ? 1 : -EBADMSG);
    }
    for (size_t at = 9; at < 12; at++) {
        memset(header, 0, sizeof header);
        header[8] = FRAME_HELLO;
        header[at] = 1;
        assert_int_equal(frame_header(bytes_of(header, sizeof header), &frame), -EBADMSG);
    }
}

/* What a link would make of these bytes: whether it would act on the frame. */
static bool is_accepted(struct bytes bytes)
{
    struct frame frame;
    struct record rec;
    if (frame_header(bytes, &frame) != 1 || bytes.size < FRAME_HEADER_BYTES + frame.payload_bytes ||
        !frame_is_intact(bytes, &frame))
        return false;
    size_t before = frame.type == FRAME_RECORDS         ? FRAME_RECORDS_PREFIX_BYTES
                    : frame.type == FRAME_DELTA_RECORDS ? 0
                                                        : frame.payload_bytes;
    if (before == frame.payload_bytes)
        return true;
    size_t from = FRAME_HEADER_BYTES + before;
    return record_decode(&rec, bytes_of(bytes.data + from, frame.payload_bytes - before)) ==
           (int64_t)(frame.payload_bytes - before);
}

static void frame_with_any_bit_flipped_is_never_accepted(void **state)
{
    struct fixture *f = *state;
    for (enum frame_type type = FRAME_HELLO; type <= FRAME_TYPE_LAST; type++) {
        buffer_truncate(&f->out, 0);
        make_frame(&f->out, type);
        size_t size = buffer_size(&f->out);
        make_frame(&f->out, type); /* something follows */
        uint8_t *bytes = f->out.data + f->out.start;
        assert_true(is_accepted(bytes_of(bytes, size)));
        for (size_t bit = 0; bit < 8 * size; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_false(is_accepted(bytes_of(bytes, size)));
            assert_false(is_accepted(bytes_of(bytes, 2 * size)));
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

static void frame_cancel_takes_the_frame_back(void **state)
{
    struct fixture *f = *state;
    make_frame(&f->out, FRAME_HEARTBEAT);
    size_t size = buffer_size(&f->out);
    size_t begun = frame_begin(&f->out);
    frame_put_u64(&f->out, 1);
    frame_cancel(&f->out, begun);
    assert_int_equal(buffer_size(&f->out), size);
}

static void frame_end_leaves_a_failed_buffer_alone(void **state)
{
    struct fixture *f = *state;
    for (uint64_t n = 1; n <= 2; n++) {
        buffer_close(&f->out);
        failing_heap_arm(&f->heap, n);
        size_t begun = frame_begin(&f->out);
        for (int i = 0; i < 60; i++)
            frame_put_u64(&f->out, 1);
        frame_end(&f->out, begun, FRAME_HEARTBEAT);
        frame_cancel(&f->out, begun);
        assert_true(failing_heap_disarm(&f->heap));
        assert_true(buffer_failed(&f->out));
    }
}

static void frame_reader_reads_zeros_past_the_end(void **state)
{
    struct fixture *f = *state;
    frame_put_u16(&f->out, 5);
    frame_put_u16(&f->out, 0xffff);
    frame_put_u16(&f->out, 7);
    struct frame_reader r = {.rest = buffer_bytes(&f->out)};
    assert_int_equal(frame_read_u16(&r), 5);
    assert_false(r.failed);
    assert_int_equal(frame_read_u64(&r), 0);
    assert_true(r.failed);
    assert_int_equal(frame_read_u16(&r), 0);
    assert_int_equal(frame_read_u32(&r), 0);
    assert_int_equal(frame_read_text(&r).size, 0);
    assert_true(r.failed);
}

static void frame_read_text_fails_when_the_text_is_cut(void **state)
{
    struct fixture *f = *state;
    frame_put_text(&f->out, bytes_text("text"));
    struct bytes whole = buffer_bytes(&f->out);
    for (size_t size = 0; size < whole.size; size++) {
        struct frame_reader r = {.rest = bytes_of(whole.data, size)};
        assert_int_equal(frame_read_text(&r).size, 0);
        assert_true(r.failed);
    }
    struct frame_reader r = {.rest = whole};
    assert_bytes_are(frame_read_text(&r), "text");
    assert_false(r.failed);
    assert_int_equal(r.rest.size, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frame_end_writes_the_header_as_drawn),
        TEST(frame_header_reads_what_frame_end_wrote),
        TEST(frame_header_asks_for_more_at_every_prefix),
        TEST(frame_header_refuses_unknown_types_and_padding),
        TEST(frame_with_any_bit_flipped_is_never_accepted),
        TEST(frame_cancel_takes_the_frame_back),
        TEST(frame_end_leaves_a_failed_buffer_alone),
        TEST(frame_reader_reads_zeros_past_the_end),
        TEST(frame_read_text_fails_when_the_text_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
