/* Makes the inputs that fuzzing begins with, out of what nodes, links and disks really write:
 *
 *     fuzz_seeds DIRECTORY        a directory for each target is made there */
#include "seeds.h"

#include "situation.h"
#include "stored.h"
#include "unit.h"

#include "kv/check.h"
#include "kv/segment.h"

#include <errno.h>
#include <sys/stat.h>

static const char *directory;
static unsigned written;

void seeds_write(const char *target, uint8_t choices, struct bytes bytes)
{
    char path[512];
    uint8_t prefix[4] = {choices, (uint8_t)written, (uint8_t)(written * 37), 1};
    snprintf(path, sizeof path, "%s/%s", directory, target);
    CHECK(mkdir(path, 0777) == 0 || errno == EEXIST);
    snprintf(path, sizeof path, "%s/%s/seed-%03u", directory, target, ++written);
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL);
    CHECK(fwrite(prefix, 1, sizeof prefix, file) == sizeof prefix);
    CHECK(fwrite(bytes.data, 1, bytes.size, file) == bytes.size);
    CHECK(fclose(file) == 0);
}

/* --- peers --------------------------------------------------------------------------------- */

#define KEPT_OF_A_TYPE 3u

/* The first few frames of each type, and the last of all: what comes in between is more of the same. */
static void thin(struct buffer *stream, struct buffer *thinned)
{
    uint32_t seen[FRAME_TYPE_LAST + 1] = {0};
    struct bytes rest = buffer_bytes(stream);
    struct frame frame;
    while (frame_header(rest, &frame) == 1) {
        size_t size = FRAME_HEADER_BYTES + frame.payload_bytes;
        if (seen[frame.type]++ < KEPT_OF_A_TYPE || size == rest.size)
            buffer_append(thinned, bytes_of(rest.data, size));
        rest = bytes_after(rest, size);
    }
}

/* Two nodes that write, are cut off, delete, and meet again; b's bytes are what a gets to read. Their
 * first frame is the handshake, which the other situations have behind them. */
static void seed_stream(struct buffer *stream, uint8_t hello, uint8_t first, uint8_t last)
{
    struct heap heap = heap_of_c_library();
    struct buffer thinned;
    buffer_init(&thinned, &heap);
    thin(stream, &thinned);
    struct bytes bytes = buffer_bytes(&thinned);
    seeds_write("peer", hello, bytes);
    struct bytes rest = bytes_after(bytes, FRAME_HEADER_BYTES + get_u32(bytes.data + 4));
    for (uint8_t situation = first; situation <= last; situation++) {
        seeds_write("peer", situation, rest);
        seeds_write("peer", situation | 0x40, rest); /* time passes */
    }
    buffer_close(&thinned);
}

static void live_and_meet_again(struct pair *p)
{
    pair_start_all(p);
    pair_run(p, 1500);
    pair_command(p, 1, "SET a 1");
    pair_command(p, 1, "SETEX b 100 2");
    pair_run(p, 1200);
    pair_cut(p, 0, 1);
    pair_run(p, 7000);
    for (char line[] = "SET key? value"; line[7] != 'z'; line[7]++)
        pair_command(p, 1, line);
    pair_command(p, 1, "DEL a");
    pair_command(p, 0, "SET c 3");
    pair_heal(p, 0, 1);
    pair_run(p, 9000);
}

static void seed_peers(bool a_dials)
{
    struct pair p;
    pair_open(&p, 2);
    p.tap_dialer = a_dials ? 0 : 1;
    p.tap_acceptor = a_dials ? 1 : 0;
    live_and_meet_again(&p);
    if (a_dials)
        seed_stream(&p.to_dialer, 4, 5, 6);
    else
        seed_stream(&p.to_acceptor, 0, 1, 3);
    pair_close(&p);
}

/* Frames that a link gets one after another, of a delta or around it: sent by hand, so that they are few. */
static void note_frame(struct peer *x, struct buffer *frames)
{
    buffer_append(frames, buffer_bytes(&x->frame));
}

static void send_delta(struct fixture *f, struct buffer *frames)
{
    struct peer *x = &f->x;
    struct record rec = {
        .key = bytes_text("k"), .value = bytes_text("v"), .stamp = 5, .origin = 99};
    struct peer_entry entry = peer_entry_of(&rec);
    peer_delta_begin(x, PEER_CHECKED, NULL);
    note_frame(x, frames);
    peer_delta_records(x, &rec, 1);
    note_frame(x, frames);
    peer_delta_list(x, &entry, 1);
    note_frame(x, frames);
    peer_mark_listed(x, STORE_PARTITIONS);
    note_frame(x, frames);
    peer_delta_end(x, NULL, 0);
    note_frame(x, frames);
    peer_members(x, "m", "h", 1);
    note_frame(x, frames);
    peer_digest(x, f->node->store);
    note_frame(x, frames);
}

static void send_requests(struct fixture *f, struct buffer *frames)
{
    struct peer *x = &f->x;
    peer_ask(x, NULL);
    note_frame(x, frames);
    peer_heartbeat_durable(x, &f->node->vector, &f->node->vector);
    note_frame(x, frames);
    peer_request(x, PEER_SCRUBS, 2, 1, NULL, f->node->store);
    note_frame(x, frames);
}

static void seed_situation(enum situation situation)
{
    struct fixture f;
    struct heap heap = heap_of_c_library();
    struct buffer frames;
    buffer_init(&frames, &heap);
    situation_open(&f, situation);
    if (situation == RECEIVER_DELTA)
        send_delta(&f, &frames);
    else
        send_requests(&f, &frames);
    seeds_write("peer", (uint8_t)situation, buffer_bytes(&frames));
    seeds_write("peer", (uint8_t)situation | 0x40, buffer_bytes(&frames));
    situation_close(&f);
    buffer_close(&frames);
}

/* --- files --------------------------------------------------------------------------------- */

static void append_file(const struct stored *t, const char *kind, unsigned number,
                        struct buffer *out)
{
    const struct memory_file *f = stored_file(t, kind, number);
    if (f == NULL)
        return;
    struct bytes bytes = memory_file_bytes(f);
    while (bytes.size > 0 && bytes.data[bytes.size - 1] == 0)
        bytes.size--;
    if (bytes.size < SEGMENT_HEADER_BYTES)
        return; /* a segment made ahead */
    uint8_t prefix[3] = {(uint8_t)(number | (kind[0] == 's' ? 64 : 128)), 0, 0};
    put_u16(prefix + 1, (uint16_t)bytes.size);
    buffer_append(out, bytes_of(prefix, sizeof prefix));
    buffer_append(out, bytes);
    if (kind[0] == 's') {
        seeds_write("backup", 0, bytes);
        seeds_write("backup", 4, bytes);
    }
    for (uint8_t decoder = 0; decoder < 4; decoder++)
        seeds_write("codec", decoder, bytes_after(bytes, decoder < 3 ? SEGMENT_HEADER_BYTES : 0));
}

static void seed_disk(const struct stored *t)
{
    struct heap heap = heap_of_c_library();
    struct buffer files;
    buffer_init(&files, &heap);
    for (unsigned number = 0; number < 8; number++) {
        append_file(t, "snapshot", number, &files);
        append_file(t, "journal", number, &files);
    }
    static const uint8_t choices[] = {0, 2, 4, 12, 16, 34};
    for (size_t i = 0; i < sizeof choices; i++)
        seeds_write("disk", choices[i], buffer_bytes(&files));
    buffer_close(&files);
}

/* As of a few writes, of two segments, and of a snapshot with what came after. */
static void seed_disks(void)
{
    struct stored t;
    stored_open(&t, STORAGE_SYNC_ALWAYS);
    CHECK(stored_start(&t) == 0);
    for (uint32_t i = 0; i < 60; i++) {
        CHECK((i % 5 == 4 ? stored_delete(&t, i % 6) : stored_write(&t, i % 6)) == 0);
        if (i % 3 == 0)
            stored_settle(&t);
        if (i == 6 || i == 59)
            seed_disk(&t);
    }
    stored_settle(&t);
    CHECK(storage_snapshot(t.storage) == 0);
    stored_settle(&t);
    CHECK(stored_write(&t, 1) == 0);
    stored_settle(&t);
    seed_disk(&t);
    stored_close(&t);
}

static void seed_vector(void)
{
    struct heap heap = heap_of_c_library();
    struct vector v;
    struct buffer out;
    vector_init(&v, &heap);
    buffer_init(&out, &heap);
    for (uint64_t origin = 1; origin < 5; origin++)
        CHECK(vector_advance(&v, origin * 7, origin * 1000) == 0);
    vector_encode(&v, &out);
    seeds_write("codec", 1, buffer_bytes(&out));
    vector_close(&v);
    buffer_close(&out);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    directory = argv[1];
    seeds_of_texts();
    seed_peers(false);
    seed_peers(true);
    seed_situation(RECEIVER_DELTA);
    seed_situation(SENDER_LIVE);
    seed_disks();
    seed_vector();
    return 0;
}
