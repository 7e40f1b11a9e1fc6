/* The reader of RESP alone: however its bytes are cut, it reads the same words, and takes no more memory
 * than the bytes that have come account for. */
#include "input.h"

#include "kv/resp.h"

#include <stdlib.h>

#define MOVES        1u /* the reader is replaced by another in the middle of a command */
#define SPLITS_LINES 2u /* what begins with no '*' is an inline command */

/* As the program's own, whose greatest values are far above what an input can hold. */
static const struct resp_limits LIMITS = {
    .words_max = 1u << 20, .word_bytes_max = 512u << 20, .bytes_max = UINT64_C(1) << 30};

/* Words of a reader: a struct bytes for every five bytes of an array ("$0\r\n\r\n" has six), twice while
 * they grow; and room for the first of those announced. */
#define MEMORY_BYTES(input) (8192u + 16u * (input))

/* What was read, so that it can be compared: each word with its size, each command with its count. */
struct transcript {
    struct failing_heap heap;
    struct resp_reader reader;
    struct buffer scratch;
    struct heap own;
    struct buffer text;
    bool ended; /* what came was no command */
};

static void open_transcript(struct transcript *t, size_t input_bytes)
{
    memset(t, 0, sizeof *t);
    failing_heap_init(&t->heap);
    t->own = heap_of_c_library();
    buffer_init(&t->reader.words, &t->heap.heap);
    buffer_init(&t->scratch, &t->heap.heap);
    buffer_init(&t->text, &t->own);
    fuzz_limit(&t->heap, MEMORY_BYTES(input_bytes));
}

static void close_transcript(struct transcript *t)
{
    buffer_close(&t->reader.words);
    buffer_close(&t->scratch);
    buffer_close(&t->text);
    fuzz_check_released(&t->heap);
}

static void note_words(struct transcript *t, size_t first)
{
    const struct bytes *words = resp_words(&t->reader);
    size_t count = resp_word_count(&t->reader);
    buffer_printf(&t->text, "%zu words:", count - first);
    for (size_t i = first; i < count; i++) {
        buffer_printf(&t->text, " %zu ", words[i].size);
        buffer_append(&t->text, words[i]);
    }
    buffer_append_text(&t->text, "\n");
}

/* Reads what is there of an array. Returns how much it has taken. */
static size_t read_array(struct transcript *t, struct bytes from)
{
    int64_t taken = resp_read(&t->reader, from, &LIMITS);
    if (taken < 0) {
        CHECK(memchr(t->reader.error, 0, sizeof t->reader.error) != NULL);
        buffer_printf(&t->text, "%s\n", t->reader.error);
        t->ended = true;
        return 0;
    }
    CHECK((uint64_t)taken <= from.size);
    if (taken > 0)
        note_words(t, t->reader.first);
    return (size_t)taken;
}

static size_t read_inline(struct transcript *t, struct bytes from)
{
    const uint8_t *end = memchr(from.data, '\n', from.size);
    if (end == NULL)
        return 0;
    struct bytes line = bytes_of(from.data, (size_t)(end - from.data));
    uint8_t *copy = fuzz_copy(line);
    int error = resp_split_inline(bytes_of(copy, line.size), &t->scratch, &t->reader);
    CHECK(buffer_size(&t->scratch) <= line.size);
    if (error == 0)
        note_words(t, 0);
    else
        buffer_append_text(&t->text, "unbalanced\n");
    free(copy);
    resp_reset(&t->reader);
    return line.size + 1;
}

/* Reads all that has arrived whole. Returns how much of it. */
static size_t read_some(struct transcript *t, struct bytes from, uint8_t choices)
{
    size_t parsed = 0, taken = 1;
    while (taken > 0 && parsed < from.size && !t->ended) {
        struct bytes rest = bytes_after(from, parsed);
        bool is_array = (choices & SPLITS_LINES) == 0 || rest.data[0] == '*';
        taken = is_array ? read_array(t, rest) : read_inline(t, rest);
        parsed += taken;
    }
    return parsed;
}

/* As a session does between two reads: whole commands are forgotten, the one under way goes on. */
static void next_batch(struct transcript *t, bool moves)
{
    struct resp_reader other = {.first = 0};
    buffer_init(&other.words, &t->heap.heap);
    CHECK(resp_move(&other, &t->reader) == 0);
    if (moves) {
        buffer_close(&t->reader.words);
        t->reader = other;
    } else {
        CHECK(resp_move(&t->reader, &other) == 0);
        buffer_close(&other.words);
    }
}

static void read_pieces(struct transcript *t, struct fuzz_input in)
{
    struct buffer pending;
    size_t size;
    buffer_init(&pending, &t->own);
    while (in.rest.size > 0 && !t->ended) {
        uint8_t *piece = fuzz_piece(&in, &size);
        buffer_append(&pending, bytes_of(piece, size));
        free(piece);
        /* Elsewhere each time, and of exactly that size. */
        uint8_t *all = fuzz_copy(buffer_bytes(&pending));
        buffer_consume(&pending, read_some(t, bytes_of(all, buffer_size(&pending)), in.choices));
        free(all);
        if (!t->ended)
            next_batch(t, (in.choices & MOVES) != 0);
    }
    buffer_close(&pending);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in;
    struct transcript whole, cut;
    if (!fuzz_input_begin(&in, data, size))
        return 0;
    open_transcript(&whole, in.rest.size);
    open_transcript(&cut, in.rest.size);
    uint8_t *copy = fuzz_copy(in.rest);
    read_some(&whole, bytes_of(copy, in.rest.size), in.choices);
    read_pieces(&cut, in);
    CHECK(whole.ended == cut.ended);
    CHECK(bytes_equal(buffer_bytes(&whole.text), buffer_bytes(&cut.text)));
    free(copy);
    close_transcript(&whole);
    close_transcript(&cut);
    return 0;
}
