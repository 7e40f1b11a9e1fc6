/* Answers that wait for the disk, of a node with its storage on a disk in memory. */
#include "stored.h"
#include "unit.h"

#include "kv/session.h"

struct fixture {
    struct stored stored;
    struct session session;
};

static struct fixture *start(void **state, enum storage_sync sync)
{
    struct fixture *f = *state;
    stored_open(&f->stored, sync);
    assert_int_equal(stored_start(&f->stored), 0);
    stored_settle(&f->stored);
    session_init(&f->session, f->stored.node);
    return f;
}

static int set_up(void **state)
{
    *state = calloc(1, sizeof(struct fixture));
    return *state == NULL;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    session_close(&f->session);
    stored_close(&f->stored);
    free(f);
    return 0;
}

static void ask(struct fixture *f, const char *lines)
{
    session_read(&f->session, f->stored.now, bytes_text(lines));
}

static void assert_replies(struct fixture *f, const char *replies)
{
    node_release(f->stored.node, f->stored.now);
    struct buffer *out = session_output(&f->session);
    assert_int_equal(buffer_size(out), strlen(replies));
    if (replies[0] != 0)
        assert_memory_equal(buffer_bytes(out).data, replies, strlen(replies));
    buffer_consume(out, buffer_size(out));
}

/* Neither what was only written leaves, nor what was asked behind it. */
static void assert_waits_for_the_sync(struct fixture *f, const char *lines, const char *replies)
{
    ask(f, lines);
    assert_replies(f, "");
    stored_turn(&f->stored);
    assert_replies(f, "");
    stored_settle(&f->stored);
    assert_replies(f, replies);
}

static void with_fsync_always_every_write_waits_for_the_sync(void **state)
{
    struct fixture *f = start(state, STORAGE_SYNC_ALWAYS);
    assert_waits_for_the_sync(f, "SET a 1\nGET a\n", "OK\n1\n");
    assert_waits_for_the_sync(f, "DEL a\nGET a\n", "1\nNOT_FOUND\n");
    ask(f, "GET a\n");
    assert_replies(f, "NOT_FOUND\n");
}

static void with_fsync_always_exec_waits_for_the_sync(void **state)
{
    struct fixture *f = start(state, STORAGE_SYNC_ALWAYS);
    ask(f, "MULTI\nSET a 1\nGET a\n");
    assert_replies(f, "OK\nQUEUED\nQUEUED\n");
    assert_waits_for_the_sync(f, "EXEC\nPING\n", "2\nOK\n1\n+PONG\n");
}

static void waitaof_waits_for_the_sync_if_it_is_asked_to(void **state)
{
    struct fixture *f = start(state, STORAGE_SYNC_EVERYSEC);
    ask(f, "SET a 1\nWAITAOF 0 0 0\n");
    assert_replies(f, "OK\n2\n0\n0\n");
    ask(f, "WAITAOF 1 0 0\n");
    assert_replies(f, "");
    stored_pass(&f->stored, 1500);
    stored_settle(&f->stored);
    assert_replies(f, "2\n1\n0\n");
    ask(f, "WAITAOF 1 0 0\n");
    assert_replies(f, "2\n1\n0\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(with_fsync_always_every_write_waits_for_the_sync),
        TEST(with_fsync_always_exec_waits_for_the_sync),
        TEST(waitaof_waits_for_the_sync_if_it_is_asked_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
