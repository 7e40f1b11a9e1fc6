/* A client's bytes: whatever they are and however they are cut, the node survives them, its memory is
 * bounded, its replies are well formed, and the same bytes get the same replies. */
#include "input.h"
#include "pair.h"
#include "resp_replies.h"

#include <stdlib.h>

/* What a target's choices say; none of them: the cut input is compared with the whole one. */
#define ALLOCATION_FAILS 1u
#define TIME_PASSES      2u
#define STAYS_OPEN       4u /* the client does not end its side */

/* Limits low enough to be met by inputs of some kilobytes. */
#define VALUE_BYTES_MAX  4096u
#define OUTPUT_BYTES_MAX 8192u
#define KEYS_LIMIT       100u

/* What all this may take: a line around a value twice, while it grows; and the replies to the longest
 * command, or transaction, of an input: a value for every two of its bytes. */
#define MEMORY_BYTES (1u << 20)

#ifdef FUZZ_RESP
static const char GREETING[] = "*1\r\n$4\r\nPING\r\n";
#else
static const char GREETING[] = "";
#endif

struct run {
    struct pair pair;
    struct node *node;
    struct session *session;
    struct heap heap; /* of the test's own */
    struct buffer replies;
    bool is_backup; /* what came is no replies alone */
};

static struct session *session_of(struct run *r)
{
    return r->session;
}

static void open_run(struct run *r, size_t input_bytes)
{
    pair_open(&r->pair, 1);
    struct node_config *config = &r->pair.nodes[0].config;
    config->max_value_bytes = VALUE_BYTES_MAX;
    config->max_output_bytes = OUTPUT_BYTES_MAX;
    config->keys_limit = KEYS_LIMIT;
    pair_start(&r->pair, 0);
    r->node = r->pair.nodes[0].node;
    r->session = &r->pair.nodes[0].session;
    r->is_backup = false;
    r->heap = heap_of_c_library();
    buffer_init(&r->replies, &r->heap);
    fuzz_limit(&r->pair.heap, MEMORY_BYTES + input_bytes * VALUE_BYTES_MAX);
}

static void close_run(struct run *r)
{
    pair_close(&r->pair);
    fuzz_check_released(&r->pair.heap);
    buffer_close(&r->replies);
}

static void take_replies(struct run *r)
{
    struct buffer *out = session_output(session_of(r));
    r->is_backup = r->is_backup || session_of(r)->backup != NULL;
    buffer_append(&r->replies, buffer_bytes(out));
    buffer_consume(out, buffer_size(out));
}

/* Turns of the loop, as the shell takes them, until nothing moves. */
static void settle(struct run *r)
{
    struct session *s = session_of(r);
    do {
        node_release(r->node, r->pair.now);
        take_replies(r);
        while (!list_is_empty(&r->node->ready))
            list_remove(r->node->ready.next);
        session_resume(s, r->pair.now);
        take_replies(r);
        session_ask_turn(s);
    } while (!list_is_empty(&r->node->ready));
}

static void pass(struct run *r, uint64_t ms)
{
    r->pair.now.wall_ms += ms;
    r->pair.now.mono_ms += ms;
    node_tick(r->node, r->pair.now);
    settle(r);
}

static void read_piece(struct run *r, uint8_t *piece, size_t size)
{
    session_read(session_of(r), r->pair.now, bytes_of(piece, size));
    free(piece);
    settle(r);
}

/* Whatever has been asked, somebody who has ended his side is done with in a minute. */
static void end(struct run *r)
{
    session_read_end(session_of(r), r->pair.now);
    settle(r);
    pass(r, 61000);
    CHECK(session_finished(session_of(r)));
}

static void check_replies(const struct run *r)
{
    struct bytes replies = buffer_bytes(&r->replies);
    if (r->is_backup || replies.size == 0)
        return;
#ifdef FUZZ_RESP
    resp_replies_check(replies);
#else
    CHECK(replies.data[replies.size - 1] == '\n');
#endif
}

/* The whole input, cut as the seed says. False when not all of it was taken: replies that fill the output
 * wait for peers, and so does what comes behind them. */
static bool play(struct run *r, struct fuzz_input in)
{
    size_t size;
    if ((in.choices & ALLOCATION_FAILS) != 0)
        failing_heap_arm(&r->pair.heap, 1 + random_below(&in.random, 64));
    while (in.rest.size > 0 && session_wants_input(session_of(r)) &&
           !session_finished(session_of(r))) {
        uint8_t *piece = fuzz_piece(&in, &size);
        read_piece(r, piece, size);
        if ((in.choices & TIME_PASSES) != 0)
            pass(r, random_below(&in.random, 3000));
    }
    bool taken = in.rest.size == 0 || session_of(r)->closing;
    if ((in.choices & STAYS_OPEN) == 0)
        end(r);
    return taken;
}

/* Commands that tell of the connection's state, or of time that only the shell tells. */
static bool may_differ(struct bytes input)
{
    static const char *const words[] = {"client", "info", "memory"};
    for (size_t at = 0; at < input.size; at++) {
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
            struct bytes word = bytes_after(input, at);
            size_t size = strlen(words[i]);
            word.size = word.size < size ? word.size : size;
            if (bytes_equal_ignoring_case(word, bytes_text(words[i])))
                return true;
        }
    }
    return false;
}

static void compare_with_whole(struct run *cut, struct bytes input)
{
    struct run whole;
    open_run(&whole, input.size);
    read_piece(&whole, fuzz_copy(bytes_text(GREETING)), strlen(GREETING));
    read_piece(&whole, fuzz_copy(input), input.size);
    end(&whole);
    CHECK(may_differ(input) ||
          bytes_equal(buffer_bytes(&whole.replies), buffer_bytes(&cut->replies)));
    close_run(&whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in;
    struct run run;
    if (!fuzz_input_begin(&in, data, size))
        return 0;
    open_run(&run, in.rest.size);
    read_piece(&run, fuzz_copy(bytes_text(GREETING)), strlen(GREETING));
    bool taken = play(&run, in);
    bool failed = failing_heap_disarm(&run.pair.heap);
    if (!failed)
        check_replies(&run);
    if (taken && (in.choices & (ALLOCATION_FAILS | TIME_PASSES | STAYS_OPEN)) == 0)
        compare_with_whole(&run, in.rest);
    close_run(&run);
    return 0;
}
