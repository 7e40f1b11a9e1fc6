/* Frames by hand. */
#include "peer.h"

#include "unit.h"

#include "kv/hash.h"

#define PORT 9999u

void peer_open(struct peer *x, struct node *n, struct moment now, enum link_role role)
{
    struct address *address = NULL;
    *x = (struct peer){.heap = heap_of_c_library(),
                       .node = n,
                       .now = now,
                       .name = "peer",
                       .cluster = n->config.cluster,
                       .origin = PEER_ORIGIN,
                       .open = true};
    buffer_init(&x->frame, &x->heap);
    buffer_init(&x->got, &x->heap);
    if (role == LINK_SENDER) {
        address = members_add_address(&n->members, bytes_text("192.0.2.1"), PORT, true);
        address->state = ADDRESS_DIALING;
    }
    link_open(&x->link, n, now, address, "192.0.2.1:9999", "192.0.2.1");
    if (role == LINK_SENDER)
        buffer_consume(&x->link.out, FRAME_MAGIC_BYTES);
}

void peer_close(struct peer *x)
{
    if (x->open)
        link_close(&x->link, x->now);
    x->open = false;
    buffer_close(&x->frame);
    buffer_close(&x->got);
}

void peer_feed(struct peer *x, struct bytes bytes)
{
    uint8_t *copy = malloc(bytes.size == 0 ? 1 : bytes.size);
    assert_non_null(copy);
    if (bytes.size > 0)
        memcpy(copy, bytes.data, bytes.size);
    link_read(&x->link, x->now, bytes_of(copy, bytes.size));
    free(copy);
}

struct buffer *peer_begin(struct peer *x)
{
    buffer_close(&x->frame);
    x->begun = frame_begin(&x->frame);
    return &x->frame;
}

void peer_end(struct peer *x, enum frame_type type)
{
    frame_end(&x->frame, x->begun, type);
}

void peer_send(struct peer *x, enum frame_type type)
{
    peer_end(x, type);
    peer_feed(x, buffer_bytes(&x->frame));
}

static void put_vector(struct buffer *out, const struct vector *vector)
{
    if (vector != NULL)
        vector_encode(vector, out);
    else
        frame_put_u32(out, 0);
}

static void put_records(struct buffer *out, const struct record *records, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t *at = buffer_reserve(out, record_bytes(&records[i]));
        record_encode(&records[i], at);
        buffer_added(out, record_bytes(&records[i]));
    }
}

static uint64_t clock_of(const struct peer *x)
{
    return x->now.wall_ms + (uint64_t)x->clock_ahead_ms;
}

void peer_hello(struct peer *x, const struct vector *vector, uint64_t floor)
{
    struct buffer *out = peer_begin(x);
    frame_put_u16(out, FRAME_PROTOCOL_VERSION);
    frame_put_u16(out, x->keeps_disk);
    frame_put_u64(out, x->origin);
    frame_put_u64(out, clock_of(x));
    frame_put_u64(out, floor);
    frame_put_text(out, bytes_text(x->cluster));
    frame_put_text(out, bytes_text(x->name));
    frame_put_text(out, bytes_text(""));
    frame_put_u16(out, PORT);
    put_vector(out, vector);
    peer_send(x, FRAME_HELLO);
}

void peer_records(struct peer *x, uint64_t after, uint64_t through, const struct record *records,
                  size_t count)
{
    struct buffer *out = peer_begin(x);
    frame_put_u64(out, after);
    frame_put_u64(out, through);
    put_records(out, records, count);
    peer_send(x, FRAME_RECORDS);
}

void peer_delta_records(struct peer *x, const struct record *records, size_t count)
{
    put_records(peer_begin(x), records, count);
    peer_send(x, FRAME_DELTA_RECORDS);
}

void peer_number(struct peer *x, enum frame_type type, uint64_t number)
{
    frame_put_u64(peer_begin(x), number);
    peer_send(x, type);
}

void peer_ask(struct peer *x, const struct vector *vector)
{
    peer_request(x, 0, 0, 0, vector, NULL);
}

void peer_request(struct peer *x, uint16_t flags, uint16_t first, uint16_t groups,
                  const struct vector *vector, const struct store *like)
{
    struct buffer *out = peer_begin(x);
    frame_put_u16(out, flags);
    frame_put_u16(out, first);
    frame_put_u16(out, groups);
    put_vector(out, vector);
    for (uint32_t i = 0; i < groups * STORE_GROUP_PARTITIONS; i++)
        frame_put_u64(out, like == NULL
                               ? 1
                               : store_partition_digest(like, first * STORE_GROUP_PARTITIONS + i));
    peer_send(x, FRAME_DELTA_REQUEST);
}

void peer_delta_begin(struct peer *x, uint16_t flags, const struct vector *vector)
{
    struct buffer *out = peer_begin(x);
    frame_put_u16(out, flags);
    put_vector(out, vector);
    peer_send(x, FRAME_DELTA_BEGIN);
}

struct peer_entry peer_entry_of(const struct record *rec)
{
    return (struct peer_entry){hash_key(rec->key), rec->origin, rec->stamp};
}

void peer_delta_list(struct peer *x, const struct peer_entry *entries, size_t count)
{
    struct buffer *out = peer_begin(x);
    for (size_t i = 0; i < count; i++) {
        frame_put_u64(out, entries[i].key_hash);
        frame_put_u64(out, entries[i].origin);
        frame_put_u64(out, entries[i].stamp);
    }
    peer_send(x, FRAME_DELTA_LIST);
}

static void send_mark(struct peer *x, uint32_t partitions, uint16_t listed)
{
    struct buffer *out = peer_begin(x);
    frame_put_u32(out, partitions);
    frame_put_u16(out, listed);
    peer_send(x, FRAME_DELTA_MARK);
}

void peer_mark(struct peer *x, uint32_t partitions)
{
    send_mark(x, partitions, 0);
}

void peer_mark_listed(struct peer *x, uint32_t partitions)
{
    send_mark(x, partitions, 1);
}

void peer_delta_end(struct peer *x, const struct vector *dropped, uint64_t forced_stamp)
{
    struct buffer *out = peer_begin(x);
    frame_put_u64(out, forced_stamp);
    put_vector(out, dropped);
    peer_send(x, FRAME_DELTA_END);
}

void peer_delta_finish(struct peer *x)
{
    peer_mark(x, STORE_PARTITIONS);
    peer_delta_end(x, NULL, 0);
}

void peer_digest(struct peer *x, const struct store *like)
{
    struct buffer *out = peer_begin(x);
    for (uint32_t g = 0; g < STORE_GROUPS; g++)
        frame_put_u64(out, store_group_digest(like, g));
    peer_send(x, FRAME_DIGEST);
}

void peer_heartbeat(struct peer *x, const struct vector *changes)
{
    peer_heartbeat_durable(x, changes, NULL);
}

void peer_heartbeat_durable(struct peer *x, const struct vector *changes,
                            const struct vector *durable)
{
    struct buffer *out = peer_begin(x);
    frame_put_u64(out, clock_of(x));
    put_vector(out, changes);
    put_vector(out, durable);
    peer_send(x, FRAME_HEARTBEAT);
}

static void send_member(struct peer *x, const char *name, const char *host, uint16_t port,
                        uint64_t forgotten_ms)
{
    struct buffer *out = peer_begin(x);
    frame_put_u16(out, 1);
    frame_put_text(out, bytes_text(name));
    frame_put_text(out, bytes_text(host));
    frame_put_u16(out, port);
    frame_put_u64(out, forgotten_ms);
    peer_send(x, FRAME_MEMBERS);
}

void peer_members(struct peer *x, const char *name, const char *host, uint16_t port)
{
    send_member(x, name, host, port, 0);
}

void peer_members_forgotten(struct peer *x, const char *name, uint64_t wall_ms)
{
    send_member(x, name, "", 0, wall_ms);
}

enum frame_type peer_take(struct peer *x, struct frame_reader *payload)
{
    struct frame frame;
    struct buffer *out = link_output(&x->link);
    buffer_append(&x->got, buffer_bytes(out));
    buffer_consume(out, buffer_size(out));
    struct bytes bytes = buffer_bytes(&x->got);
    if (bytes.size == 0)
        return (enum frame_type)0;
    assert_int_equal(frame_header(bytes, &frame), 1);
    assert_true(frame_is_intact(bytes, &frame));
    *payload = (struct frame_reader){
        .rest = bytes_of(bytes.data + FRAME_HEADER_BYTES, frame.payload_bytes)};
    buffer_consume(&x->got, FRAME_HEADER_BYTES + frame.payload_bytes);
    return frame.type;
}

bool peer_take_until(struct peer *x, enum frame_type type, struct frame_reader *payload)
{
    enum frame_type got;
    while ((got = peer_take(x, payload)) != 0) {
        if (got == type)
            return true;
    }
    return false;
}
