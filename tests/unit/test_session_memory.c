/* Sessions out of memory: at every allocation there is an error or an ended connection, never a
 * crash, a leak, or a reply that is not true. */
#include "pair.h"
#include "unit.h"

#include "kv/line.h"
#include "kv/session.h"

#include <errno.h>

static const char PIPELINE[] =
    "SET a 1\nGET a\nSET \"b c\" a longer value than that\nSETEX d 100 x\n"
    "EXPIRE a 50\nPERSIST a\nKEYS *\nINFO\nPEERS\nHELP\nDEL a\nGET a\n";

/* What the store tells after all of it went well. */
static bool is_complete(struct pair *p)
{
    return store_live_count(p->nodes[0].node->store) == 2;
}

static void session_survives_a_failure_at_every_allocation(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct pair p;
        pair_open(&p, 1);
        pair_start(&p, 0);
        struct session *s = &p.nodes[0].session;
        failing_heap_arm(&p.heap, n);
        /* In two pieces, so that input is kept as well. */
        session_read(s, p.now, bytes_of(PIPELINE, 60));
        session_read(s, p.now, bytes_of(PIPELINE + 60, sizeof PIPELINE - 61));
        bool failed = failing_heap_disarm(&p.heap);
        bool said = strstr(pair_replies(&p, 0), "ERROR out of memory") != NULL;
        if (failed && !s->failed && !said)
            assert_true(is_complete(&p)); /* a table that would have grown, or the like */
        if (s->failed)
            assert_true(session_finished(s));
        pair_close(&p);
        if (!failed) {
            assert_true(n > 20);
            return;
        }
    }
}

static void session_del_without_memory_does_not_claim_the_key_was_missing(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct pair p;
        struct record rec;
        pair_open(&p, 1);
        pair_start(&p, 0);
        pair_command(&p, 0, "SET k a value that is longer than a tombstone would be");
        failing_heap_arm(&p.heap, n);
        session_read(&p.nodes[0].session, p.now, bytes_text("DEL k\n"));
        bool failed = failing_heap_disarm(&p.heap);
        bool there = store_get(p.nodes[0].node->store, bytes_text("k"), 0, &rec);
        const char *reply = pair_replies(&p, 0);
        assert_true(p.nodes[0].session.failed || there == (strcmp(reply, "1") != 0));
        assert_true(!there || strncmp(reply, "ERROR out of memory", 19) == 0);
        pair_close(&p);
        if (!failed)
            return;
    }
}

/* A reply is written in parts; what is there of one when memory ends would read as another. */
static void session_without_memory_gives_no_half_a_reply(void **state)
{
    static const char *const REQUESTS[] = {
        "GET k\nGET k\n", "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        for (int size = 1; size < 300; size++) {
            char set[400], one[400];
            struct pair p;
            pair_open(&p, 1);
            pair_start(&p, 0);
            struct session *s = &p.nodes[0].session;
            snprintf(set, sizeof set, "SET k %0*d", size, 1);
            pair_command(&p, 0, set);
            int bytes = i == 0 ? snprintf(one, sizeof one, "%0*d\n", size, 1)
                               : snprintf(one, sizeof one, "$%d\r\n%0*d\r\n", size, size, 1);
            failing_heap_arm(&p.heap, 2); /* the first makes room for some of it */
            session_read(s, p.now, bytes_text(REQUESTS[i]));
            failing_heap_disarm(&p.heap);
            struct bytes out = buffer_bytes(session_output(s));
            assert_int_equal(out.size % (size_t)bytes, 0);
            for (size_t at = 0; at < out.size; at += (size_t)bytes)
                assert_memory_equal(out.data + at, one, (size_t)bytes);
            pair_close(&p);
        }
    }
}

/* Lets acks or the deadline come before the shell has ended the failed connection. */
static void check_held(uint64_t n, bool acks, const char *input, bool *failed)
{
    struct pair p;
    pair_open(&p, 2);
    p.nodes[0].config.min_acks = 1;
    pair_start_all(&p);
    pair_run(&p, 2000);
    if (!acks)
        pair_cut(&p, 0, 1);
    struct session *s = &p.nodes[0].session;
    failing_heap_arm(&p.heap, n);
    session_read(s, p.now, bytes_text(input));
    *failed = failing_heap_disarm(&p.heap);
    if (acks)
        pair_settle(&p);
    else
        pair_run(&p, 3000);
    if (!*failed)
        assert_false(s->failed);
    pair_close(&p);
}

static void session_survives_a_failure_while_replies_are_held(void **state)
{
    (void)state;
    static const char *const INPUTS[] = {"SET k v\nGET k\nSET k w\nWAIT 1 10\nPING\n",
                                         "SET k v\nGET k\nQUIT\n", "SET k v\nPOST /\n"};
    for (size_t i = 0; i < 6; i++) {
        bool failed = true;
        for (uint64_t n = 1; failed; n++)
            check_held(n, i % 2 == 0, INPUTS[i / 2], &failed);
    }
}

static void session_that_cannot_release_a_reply_ends(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct pair p;
        pair_open(&p, 2);
        p.nodes[0].config.min_acks = 1;
        pair_start_all(&p);
        pair_run(&p, 2000);
        pair_cut(&p, 0, 1);
        struct session *s = &p.nodes[0].session;
        session_read(s, p.now, bytes_text("SET k v\nGET k\n"));
        p.now.mono_ms += 1000;
        failing_heap_arm(&p.heap, n);
        session_release(s, p.now);
        bool failed = failing_heap_disarm(&p.heap);
        if (failed)
            assert_true(session_finished(s));
        else
            assert_true(strncmp(pair_replies(&p, 0), "ERROR 0 of 1", 12) == 0);
        pair_close(&p);
        if (!failed)
            return;
    }
}

static void line_split_says_so_without_memory(void **state)
{
    (void)state;
    struct failing_heap heap;
    struct buffer scratch;
    struct bytes words[LINE_WORDS_MAX];
    failing_heap_init(&heap);
    buffer_init(&scratch, &heap.heap);
    failing_heap_arm(&heap, 1);
    assert_int_equal(line_split(bytes_text("GET \"a b\""), LINE_NO_REST, words, &scratch), -ENOMEM);
    assert_true(failing_heap_disarm(&heap));
    buffer_close(&scratch);
    assert_int_equal(line_split(bytes_text("GET \"a b\""), LINE_NO_REST, words, &scratch), 2);
    assert_bytes_are(words[1], "a b");
    buffer_close(&scratch);
    assert_int_equal(heap.live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(session_survives_a_failure_at_every_allocation),
        cmocka_unit_test(session_del_without_memory_does_not_claim_the_key_was_missing),
        cmocka_unit_test(session_without_memory_gives_no_half_a_reply),
        cmocka_unit_test(session_survives_a_failure_while_replies_are_held),
        cmocka_unit_test(session_that_cannot_release_a_reply_ends),
        cmocka_unit_test(line_split_says_so_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
