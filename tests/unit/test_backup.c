/* Backups that are pulled out of a session, and restores that are pushed into one: cut at every byte,
 * damaged at every byte, out of memory at every allocation. */
#include "pair.h"
#include "unit.h"

#include "kv/backup.h"
#include "kv/session.h"

/* A node without peers, and the one client of it. */
static struct session *start(struct pair *p)
{
    pair_open(p, 1);
    pair_start(p, 0);
    return &p->nodes[0].session;
}

static void fill(struct pair *p, uint32_t keys)
{
    char line[64];
    for (uint32_t i = 0; i < keys; i++) {
        snprintf(line, sizeof line, "SET key%u value%u", i, i);
        assert_string_equal(pair_command(p, 0, line), "OK");
    }
}

/* Everything that the session sends until it ends, a turn after the other. Returned; to be freed. */
static struct bytes pull(struct pair *p, struct session *s, uint32_t *turns)
{
    uint8_t *all = NULL;
    size_t size = 0;
    *turns = 0;
    session_read(s, p->now, bytes_text("BACKUP\n"));
    while (!session_finished(s)) {
        struct buffer *out = session_output(s);
        session_resume(s, p->now);
        assert_true(buffer_size(out) > 0);
        assert_true(buffer_size(out) < BACKUP_TURN_BYTES + 100);
        all = realloc(all, size + buffer_size(out));
        assert_non_null(all);
        memcpy(all + size, buffer_bytes(out).data, buffer_size(out));
        size += buffer_size(out);
        buffer_consume(out, buffer_size(out));
        (*turns)++;
    }
    return bytes_of(all, size);
}

/* The backup of a node with a few keys, one of them deleted, one with an expiry. */
static struct bytes small_backup(void)
{
    struct pair p;
    struct session *s = start(&p);
    uint32_t turns;
    fill(&p, 5);
    pair_command(&p, 0, "DEL key1");
    pair_command(&p, 0, "SETEX short 100 lived");
    struct bytes data = pull(&p, s, &turns);
    pair_close(&p);
    return data;
}

static void release(struct bytes data)
{
    free((void *)(uintptr_t)data.data);
}

/* Pushes it, in pieces of that size, each as a turn would; its answer is borrowed from the pair. */
static const char *push(struct pair *p, struct bytes data, size_t piece, bool ended)
{
    struct session *s = &p->nodes[0].session;
    session_read(s, p->now, bytes_text("RESTORE\n"));
    for (size_t at = 0; at < data.size; at += piece) {
        size_t size = data.size - at < piece ? data.size - at : piece;
        session_read(s, p->now, bytes_of(data.data + at, size));
        while (!session_wants_input(s) && !s->closing)
            session_resume(s, p->now);
    }
    if (ended)
        session_read_end(s, p->now);
    return pair_replies(p, 0);
}

static void backup_is_sent_a_slice_a_turn_and_restores_to_the_same(void **state)
{
    struct pair from, to;
    uint32_t turns;
    (void)state;
    struct session *s = start(&from);
    fill(&from, 10000);
    struct bytes data = pull(&from, s, &turns);
    assert_true(turns > 3);
    start(&to);
    assert_string_equal(push(&to, data, 65536, false), "OK 10000 keys");
    assert_true(session_finished(&to.nodes[0].session) ||
                buffer_size(session_output(&to.nodes[0].session)) > 0);
    assert_string_equal((to.nodes[0].session.closing = false, pair_command(&to, 0, "GET key7777")),
                        "value7777");
    release(data);
    pair_close(&from);
    pair_close(&to);
}

static void backup_and_restore_share_out_a_turn(void **state)
{
    struct pair p;
    uint32_t turns;
    (void)state;
    struct session *s = start(&p);
    fill(&p, 5000);
    p.nodes[0].node->backups = 9; /* nine others are under way */
    session_read(s, p.now, bytes_text("BACKUP\n"));
    session_resume(s, p.now);
    assert_true(buffer_size(session_output(s)) <= BACKUP_TURN_BYTES / 10 + 100);
    buffer_consume(session_output(s), buffer_size(session_output(s)));
    session_refuse_output(s, "enough");
    assert_int_equal(p.nodes[0].node->backups, 9);
    p.nodes[0].node->backups = 0;
    s->closing = false;
    buffer_consume(session_output(s), buffer_size(session_output(s)));
    struct bytes data = pull(&p, s, &turns);
    s->closing = false;
    session_read(s, p.now, bytes_text("RESTORE\n"));
    session_read(s, p.now, data);
    assert_int_equal(s->backup->written, RESTORE_TURN_RECORDS);
    assert_false(session_wants_input(s));
    session_resume(s, p.now);
    assert_int_equal(s->backup->written, 2 * RESTORE_TURN_RECORDS);
    release(data);
    pair_close(&p);
}

static void restore_takes_input_cut_at_any_byte(void **state)
{
    struct bytes data = small_backup();
    (void)state;
    for (size_t piece = 1; piece <= data.size; piece++) {
        struct pair p;
        start(&p);
        assert_string_equal(push(&p, data, piece, false), "OK 5 keys");
        assert_int_equal(store_live_count(p.nodes[0].node->store), 5);
        pair_close(&p);
    }
    release(data);
}

static void restore_of_a_part_is_an_error_at_every_size(void **state)
{
    struct bytes data = small_backup();
    (void)state;
    for (size_t size = 0; size < data.size; size++) {
        struct pair p;
        char expected[128];
        start(&p);
        const char *reply = push(&p, bytes_of(data.data, size), 1000, true);
        snprintf(expected, sizeof expected,
                 "ERROR the backup is cut off after %zu bytes; %llu keys were written", size,
                 (unsigned long long)store_live_count(p.nodes[0].node->store));
        assert_string_equal(reply, expected);
        pair_close(&p);
    }
    release(data);
}

static void restore_finds_every_flipped_byte(void **state)
{
    struct bytes data = small_backup();
    uint8_t *bad = malloc(data.size);
    (void)state;
    for (size_t at = 0; at < data.size; at++) {
        struct pair p;
        memcpy(bad, data.data, data.size);
        bad[at] ^= (uint8_t)(1u << at % 8);
        start(&p);
        const char *reply = push(&p, bytes_of(bad, data.size), 1000, true);
        assert_memory_equal(reply, "ERROR ", 6);
        assert_non_null(strstr(reply, "keys were written"));
        pair_close(&p);
    }
    free(bad);
    release(data);
}

static void restore_is_refused_while_the_clock_disagrees(void **state)
{
    struct bytes data = small_backup();
    struct pair p;
    (void)state;
    struct session *s = start(&p);
    p.nodes[0].node->clock_disagrees = true;
    session_read(s, p.now, bytes_text("RESTORE\n"));
    assert_null(s->backup);
    assert_memory_equal(pair_replies(&p, 0), "ERROR this node's clock", 23);
    p.nodes[0].node->clock_disagrees = false;
    session_read(s, p.now, bytes_text("RESTORE\n"));
    p.nodes[0].node->clock_disagrees = true;
    session_read(s, p.now, data);
    assert_non_null(strstr(pair_replies(&p, 0), "0 keys were written"));
    release(data);
    pair_close(&p);
}

static void restore_waits_for_its_peers(void **state)
{
    struct bytes data = small_backup();
    struct pair p;
    (void)state;
    pair_open(&p, 2);
    p.nodes[0].config.min_acks = 1;
    p.nodes[0].config.ack_timeout_ms = 60000;
    pair_start_all(&p);
    pair_run(&p, 3000);
    assert_true(pair_is_meshed(&p));
    struct session *s = &p.nodes[0].session;
    session_read(s, p.now, bytes_text("RESTORE\n"));
    session_read(s, p.now, data);
    assert_true(session_is_waiting(s));
    assert_false(session_finished(s));
    pair_run(&p, 2000);
    assert_string_equal(pair_replies(&p, 0), "OK 5 keys");
    assert_true(pair_is_equal(&p));
    release(data);
    pair_close(&p);
}

/* What no protocol could read, nor a restore: shorter and longer than a backup's header. */
#define NOISE "0123456789012345678901234567890123456789012345678901234567890123456789"
static const char *const MALFORMED[] = {"*x\r\n",
                                        "*x\r\n" NOISE "\r\n",
                                        "*1\r\n$x\r\n" NOISE,
                                        "*1\r\n$4\r\nPI",
                                        "*1\r\n$4\r\nPING\r\n*x\r\n",
                                        "SET \"a\r\n" NOISE "\r\n",
                                        "POST " NOISE "\r\n",
                                        "QUIT\r\n*x\r\n"};
#define MALFORMED_COUNT (sizeof MALFORMED / sizeof MALFORMED[0])

/* In one piece, as a client that does not wait sends it: PING, the command, and then that. */
static void send_behind(struct pair *p, bool resp, const char *command, struct bytes behind)
{
    struct session *s = &p->nodes[0].session;
    struct buffer all;
    buffer_init(&all, &p->heap.heap);
    if (resp)
        buffer_printf(&all, "*1\r\n$4\r\nPING\r\n*1\r\n$%zu\r\n%s\r\n", strlen(command), command);
    else
        buffer_printf(&all, "PING\n%s\n", command);
    buffer_append(&all, behind);
    session_read(s, p->now, buffer_bytes(&all));
    buffer_close(&all);
}

static void what_is_malformed_behind_backup_changes_nothing_of_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * MALFORMED_COUNT; i++) {
        struct pair p, to;
        struct session *s = start(&p);
        bool resp = i % 2 == 1;
        size_t pong = resp ? strlen("+PONG\r\n") : strlen("+PONG\n");
        fill(&p, 5);
        send_behind(&p, resp, "BACKUP", bytes_text(MALFORMED[i / 2]));
        for (int turns = 0; s->backup != NULL && turns < 100; turns++)
            session_resume(s, p.now);
        assert_null(s->backup);
        struct bytes sent = buffer_bytes(session_output(s));
        assert_memory_equal(sent.data, "+PONG", 5);
        start(&to);
        session_read(&to.nodes[0].session, to.now, bytes_text("RESTORE\n"));
        session_read(&to.nodes[0].session, to.now, bytes_after(sent, pong));
        assert_string_equal(pair_replies(&to, 0), "OK 5 keys");
        buffer_consume(session_output(s), sent.size);
        assert_true(session_finished(s));
        pair_close(&to);
        pair_close(&p);
    }
}

static void what_is_malformed_behind_restore_is_answered_in_its_turn(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * MALFORMED_COUNT; i++) {
        struct pair p;
        struct session *s = start(&p);
        struct bytes behind = bytes_text(MALFORMED[i / 2]);
        bool resp = i % 2 == 1, is_header = behind.size >= 64;
        char expected[200];
        send_behind(&p, resp, "RESTORE", behind);
        assert_true(s->closing == is_header);
        session_read_end(s, p.now);
        char reason[64] = "this is no backup, or its beginning is damaged";
        if (!is_header)
            snprintf(reason, sizeof reason, "the backup is cut off after %zu bytes", behind.size);
        snprintf(expected, sizeof expected, "%s %s; 0 keys were written%s",
                 resp ? "+PONG\r\n-ERR" : "+PONG\nERROR", reason, resp ? "\r" : "");
        assert_string_equal(pair_replies(&p, 0), expected);
        assert_true(session_finished(s));
        pair_close(&p);
    }
}

static void what_is_malformed_behind_a_whole_restore_is_not_read(void **state)
{
    struct bytes data = small_backup();
    (void)state;
    for (size_t i = 0; i < 2 * MALFORMED_COUNT; i++) {
        struct pair p;
        struct session *s = start(&p);
        bool resp = i % 2 == 1;
        struct buffer behind;
        buffer_init(&behind, &p.heap.heap);
        buffer_append(&behind, data);
        buffer_append_text(&behind, MALFORMED[i / 2]);
        send_behind(&p, resp, "RESTORE", buffer_bytes(&behind));
        buffer_close(&behind);
        assert_string_equal(pair_replies(&p, 0),
                            resp ? "+PONG\r\n+OK 5 keys\r" : "+PONG\nOK 5 keys");
        assert_true(session_finished(s));
        pair_close(&p);
    }
    release(data);
}

/* It waits behind an answer that waits for a peer, and takes its place behind it. */
static void what_is_malformed_behind_restore_waits_for_the_answers_before(void **state)
{
    (void)state;
    for (int resp = 0; resp < 2; resp++) {
        struct pair p;
        pair_open(&p, 1);
        p.nodes[0].config.min_acks = 1;
        p.nodes[0].config.ack_timeout_ms = 1000;
        pair_start(&p, 0);
        struct session *s = &p.nodes[0].session;
        session_read(s, p.now,
                     bytes_text(resp ? "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n" : "SET a 1\n"));
        send_behind(&p, resp, "RESTORE", bytes_text(MALFORMED[1]));
        assert_string_equal(pair_replies(&p, 0), "");
        assert_false(session_finished(s));
        pair_run(&p, 1500);
        const char *replies = pair_replies(&p, 0);
        assert_non_null(strstr(replies, "0 of 1 peers confirmed"));
        assert_non_null(strstr(replies, resp ? "\r\n+PONG\r\n-ERR this is no backup"
                                             : "\n+PONG\nERROR this is no backup"));
        assert_true(session_finished(s));
        pair_close(&p);
    }
}

static void backup_and_restore_survive_a_failure_at_every_allocation(void **state)
{
    struct bytes data = small_backup();
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct pair p;
        struct session *s = start(&p);
        failing_heap_arm(&p.heap, n);
        session_read(s, p.now, bytes_text("RESTORE\n"));
        session_read(s, p.now, bytes_of(data.data, 100));
        session_read(s, p.now, bytes_after(data, 100));
        bool failed = failing_heap_disarm(&p.heap);
        const char *reply = s->failed ? "" : pair_replies(&p, 0);
        uint64_t live = store_live_count(p.nodes[0].node->store);
        /* Either it is all there, or that is said, or the connection ends without a word. */
        assert_true(s->failed || live == 5 || memcmp(reply, "ERROR ", 6) == 0);
        assert_true(strstr(reply, "OK 5 keys") == NULL || live == 5);
        pair_close(&p);
        if (!failed) {
            assert_true(n > 8);
            break;
        }
    }
    for (uint64_t n = 1;; n++) {
        struct pair p;
        struct session *s = start(&p);
        fill(&p, 3);
        failing_heap_arm(&p.heap, n);
        session_read(s, p.now, bytes_text("BACKUP\n"));
        while (s->backup != NULL && !s->failed)
            session_resume(s, p.now);
        bool failed = failing_heap_disarm(&p.heap);
        if (failed && !s->failed)
            assert_non_null(strstr(pair_replies(&p, 0), "ERROR out of memory"));
        pair_close(&p);
        if (!failed) {
            assert_true(n > 2);
            break;
        }
    }
    release(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backup_is_sent_a_slice_a_turn_and_restores_to_the_same),
        cmocka_unit_test(backup_and_restore_share_out_a_turn),
        cmocka_unit_test(restore_takes_input_cut_at_any_byte),
        cmocka_unit_test(restore_of_a_part_is_an_error_at_every_size),
        cmocka_unit_test(restore_finds_every_flipped_byte),
        cmocka_unit_test(restore_is_refused_while_the_clock_disagrees),
        cmocka_unit_test(restore_waits_for_its_peers),
        cmocka_unit_test(what_is_malformed_behind_backup_changes_nothing_of_it),
        cmocka_unit_test(what_is_malformed_behind_restore_is_answered_in_its_turn),
        cmocka_unit_test(what_is_malformed_behind_a_whole_restore_is_not_read),
        cmocka_unit_test(what_is_malformed_behind_restore_waits_for_the_answers_before),
        cmocka_unit_test(backup_and_restore_survive_a_failure_at_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
