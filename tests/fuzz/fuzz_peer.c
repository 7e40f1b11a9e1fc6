/* A peer's frames, in every situation that a link can be in: whatever they are, the node survives them,
 * its memory is bounded, and what it answers are frames. */
#include "input.h"
#include "repair.h"
#include "situation.h"

#include <stdlib.h>

#define RAW          0x80u /* checksums stay as they are */
#define TIME_PASSES  0x40u
#define MEMORY_BYTES (16u << 20)

/* What is sent has to be frames; nobody reads them here. */
static void take_answers(struct peer *x)
{
    struct frame_reader payload;
    while (peer_take(x, &payload) != 0) {
    }
}

/* Time, and what is due by it. */
static void pass(struct fixture *f, uint64_t ms)
{
    f->pair.now.wall_ms += ms;
    f->pair.now.mono_ms += ms;
    f->x.now = f->pair.now;
    node_tick(f->node, f->pair.now);
    take_answers(&f->x);
}

static void play(struct fixture *f, struct fuzz_input *in)
{
    size_t size;
    while (in->rest.size > 0 && !link_is_finished(&f->x.link)) {
        uint8_t *piece = fuzz_piece(in, &size);
        link_read(&f->x.link, f->x.now, bytes_of(piece, size));
        free(piece);
        if ((in->choices & TIME_PASSES) != 0)
            pass(f, random_below(&in->random, 3000));
        /* Its checks go on, a turn after the other, and come to an end. */
        do
            take_answers(&f->x);
        while (!link_wants_input(&f->x.link) && !link_is_finished(&f->x.link));
    }
    pass(f, NODE_TICK_MS);
    pass(f, LINK_DELTA_MS);
}

/* Something to compare with, and to be asked for. */
static void write_keys(struct fixture *f)
{
    for (unsigned i = 0; i < 8; i++) {
        char key[2] = {(char)('a' + i), 0};
        struct record rec = {.key = bytes_text(key), .value = bytes_text("x"), .tombstone = i == 7};
        if (rec.tombstone)
            rec.value.size = 0;
        CHECK(node_write(f->node, f->pair.now, &rec) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in;
    struct fixture f;
    struct heap heap = heap_of_c_library();
    struct buffer frames;
    if (!fuzz_input_begin(&in, data, size))
        return 0;
    buffer_init(&frames, &heap);
    if ((in.choices & RAW) == 0) {
        repair_frames(in.rest, &frames);
        in.rest = buffer_bytes(&frames);
    }
    situation_open(&f, (enum situation)((in.choices & 0x3f) % SITUATIONS));
    write_keys(&f);
    fuzz_limit(&f.pair.heap, MEMORY_BYTES);
    play(&f, &in);
    situation_close(&f);
    buffer_close(&frames);
    return 0;
}
