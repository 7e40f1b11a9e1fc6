/* The line protocol, cut anywhere: whatever pieces the input comes in, the answers are the same. */
#include "pair.h"
#include "unit.h"

#include "kv/session.h"

#define TEXT(literal)                                                                              \
    {                                                                                              \
        (const uint8_t *)(literal), sizeof(literal) - 1                                            \
    }

struct transcript {
    struct bytes input, output;
};

static const struct transcript TRANSCRIPTS[] = {
    {TEXT("SET a 1\nGET a\nSET a 22\r\nGET a\r\nDEL a b\nGET a\nCOUNT\n"),
     TEXT("OK\n1\nOK\n22\n1\nNOT_FOUND\n0\n")},
    {TEXT("SET \"a key\" v w\nSET \"\\x00\\xfF\\\"\\\\\" z\nGET \"a key\"\nEXISTS \"a key\" "
          "\"\\x00\\xff\\\"\\\\\" x\nKEYS a*\n"),
     TEXT("OK\nOK\nv w\n2\n1\n\"a key\"\n")},
    {TEXT("SET e \nGET e\nSET e\nSET s  x \nGET s\nSETEX t 100  v\nTTL t\nGET t\n"),
     TEXT("OK\n\nERROR wrong number of words for SET; usage: SET key value\nOK\n x \nOK\n100\n "
          "v\n")},
    {TEXT("\r\n\n \t \nPING\nPING  a b \nping \"x\nget \"x\nGET \"x\"y\nGET \"\\xg0\"\nGET a b\n"),
     TEXT("+PONG\n a b \n\"x\n"
          "ERROR malformed quoted string; it takes \\\" \\\\ \\xHH and ends with \" and a space\n"
          "ERROR malformed quoted string; it takes \\\" \\\\ \\xHH and ends with \" and a space\n"
          "ERROR malformed quoted string; it takes \\\" \\\\ \\xHH and ends with \" and a space\n"
          "ERROR wrong number of words for GET; usage: GET key\n")},
    {TEXT("SET b \x00\x01\xff\r\xfe\nGET b\n\x00\xff\nEXPIRE b x\nEXPIRE b -1\nTTL b\n"),
     TEXT("OK\n\x00\x01\xff\r\xfe\nERROR unknown command '"
          "'; HELP lists the commands\n"
          "ERROR a whole number of seconds, at most 3162240000, was expected, not 'x'\n1\n-2\n")},
    {TEXT("SET a 1\nQUIT\nSET a 2\n"), TEXT("OK\n+OK\n")},
    {TEXT("SET a 1\nPOST / HTTP/1.1\r\nSET a 2\r\n"),
     TEXT("OK\nERROR this is not an HTTP server; the connection ends here\n")},
    {TEXT("SET a 1\nGET a"), TEXT("OK\n1\n")},
    {TEXT("SET a 1\r\nGET a\r"), TEXT("OK\n1\n")},
    {TEXT("WAIT 0 10\nWAIT x 1\nPERSIST a\nEXPIRE a 10\nHELP get\nHELP nosuch\n"),
     TEXT("0\nERROR WAIT takes a number of peers and milliseconds up to 4294967295\n0\n0\n1\n"
          "GET           key                             the key's value, or NOT_FOUND\n"
          "ERROR no such command; HELP lists the commands\n")},
};
#define TRANSCRIPT_COUNT (sizeof TRANSCRIPTS / sizeof TRANSCRIPTS[0])

/* A copy of exactly that size, so that a byte read past its end is noticed. */
static void feed_piece(struct session *s, struct moment now, struct bytes piece)
{
    uint8_t *copy = malloc(piece.size == 0 ? 1 : piece.size);
    assert_non_null(copy);
    if (piece.size > 0)
        memcpy(copy, piece.data, piece.size);
    session_read(s, now, bytes_of(copy, piece.size));
    free(copy);
}

/* Feeds the input cut at the ascending positions, and compares what comes out. */
static void check_pieces(const struct transcript *t, const size_t *cuts, size_t count)
{
    struct pair p;
    pair_open(&p, 1);
    pair_start(&p, 0);
    struct session *s = &p.nodes[0].session;
    size_t at = 0;
    for (size_t i = 0; i <= count; i++) {
        size_t end = i < count ? cuts[i] : t->input.size;
        feed_piece(s, p.now, bytes_of(t->input.data + at, end - at));
        at = end;
    }
    session_read_end(s, p.now);
    assert_bytes_equal(buffer_bytes(session_output(s)), t->output);
    assert_int_equal(buffer_size(&s->in), 0);
    pair_close(&p);
}

static void session_answers_the_same_to_every_transcript_in_one_piece(void **state)
{
    (void)state;
    for (size_t i = 0; i < TRANSCRIPT_COUNT; i++)
        check_pieces(&TRANSCRIPTS[i], NULL, 0);
}

static void session_answers_the_same_when_cut_in_two_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < TRANSCRIPT_COUNT; i++) {
        for (size_t cut = 0; cut <= TRANSCRIPTS[i].input.size; cut++)
            check_pieces(&TRANSCRIPTS[i], &cut, 1);
    }
}

static void session_answers_the_same_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < TRANSCRIPT_COUNT; i++) {
        size_t cuts[512], count = TRANSCRIPTS[i].input.size;
        assert_true(count <= 512);
        for (size_t k = 0; k < count; k++)
            cuts[k] = k;
        check_pieces(&TRANSCRIPTS[i], cuts, count);
    }
}

static void session_answers_the_same_when_cut_at_random(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, unit_seed(__func__));
    for (uint64_t round = unit_rounds(500); round > 0; round--) {
        const struct transcript *t = &TRANSCRIPTS[round % TRANSCRIPT_COUNT];
        size_t cuts[64], count = 0, at = 0;
        while (at < t->input.size && count < 64) {
            cuts[count++] = at;
            at += random_below(&random, 12);
        }
        check_pieces(t, cuts, count);
    }
}

/* A full output stops the work in the middle of a piece; going on later must change nothing. */
static void session_answers_the_same_whatever_its_output_limit(void **state)
{
    (void)state;
    for (size_t i = 0; i < TRANSCRIPT_COUNT; i++) {
        const struct transcript *t = &TRANSCRIPTS[i];
        for (uint64_t limit = 1; limit < 40; limit++) {
            struct pair p;
            struct buffer all;
            pair_open(&p, 1);
            p.nodes[0].config.max_output_bytes = limit;
            pair_start(&p, 0);
            struct session *s = &p.nodes[0].session;
            buffer_init(&all, &p.heap.heap);
            session_read(s, p.now, t->input);
            session_read_end(s, p.now);
            while (!session_finished(s)) {
                struct buffer *out = session_output(s);
                size_t part = buffer_size(out) < 3 ? buffer_size(out) : 3;
                buffer_append(&all, bytes_of(buffer_bytes(out).data, part));
                buffer_consume(out, part);
                session_resume(s, p.now);
            }
            assert_bytes_equal(buffer_bytes(&all), t->output);
            buffer_close(&all);
            pair_close(&p);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(session_answers_the_same_to_every_transcript_in_one_piece),
        cmocka_unit_test(session_answers_the_same_when_cut_in_two_anywhere),
        cmocka_unit_test(session_answers_the_same_byte_by_byte),
        cmocka_unit_test(session_answers_the_same_when_cut_at_random),
        cmocka_unit_test(session_answers_the_same_whatever_its_output_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
