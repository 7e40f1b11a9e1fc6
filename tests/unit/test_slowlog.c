/* What took long: SLOWLOG and LATENCY. */
#include "client.h"

#include "kv/slowlog.h"

/* Every look at the clock finds it so many microseconds later. */
struct clock {
    uint64_t now_us, step_us;
};

static uint64_t monotonic_us(void *owner)
{
    struct clock *c = owner;
    c->now_us += c->step_us;
    return c->now_us;
}

static struct slowlog *start(struct pair *p, struct clock *clock)
{
    pair_start(p, 0);
    struct node *n = p->nodes[0].node;
    n->host.owner = clock;
    n->host.monotonic_us = monotonic_us;
    p->now.wall_ms = 1700000000000;
    return n->slowlog;
}

static void slowlog_takes_no_time_of_what_is_quick(void **state)
{
    struct pair *p = *state;
    struct clock clock = {.step_us = 20000};
    struct slowlog *log = start(p, &clock);
    pair_command(p, 0, "SET a 1\nGET a");
    assert_int_equal(clock.now_us, 0);
    log->threshold_us = SLOWLOG_ALWAYS_US - 1;
    pair_command(p, 0, "GET a");
    assert_int_equal(clock.now_us, 40000);
    assert_answer(p, "SLOWLOG LEN", "1");
}

static void slowlog_takes_the_time_of_what_may_be_slow(void **state)
{
    struct pair *p = *state;
    struct clock clock = {.step_us = 20000};
    static char line[SLOWLOG_LARGE_BYTES + 16];
    struct slowlog *log = start(p, &clock);
    snprintf(line, sizeof line, "SET a %0*d", (int)SLOWLOG_LARGE_BYTES, 1);
    pair_command(p, 0, line);
    assert_int_equal(log->length, 1);
    size_t size = (size_t)snprintf(line, sizeof line, "EXISTS");
    for (uint32_t i = 0; i < SLOWLOG_MANY_WORDS; i++)
        size += (size_t)snprintf(line + size, sizeof line - size, " k");
    pair_command(p, 0, line);
    assert_int_equal(log->length, 2);
    log->threshold_us = -1;
    pair_command(p, 0, line);
    assert_int_equal(log->length, 2);
    assert_int_equal(clock.now_us, 80000);
}

static void slowlog_get_answers_the_newest_first(void **state)
{
    struct pair *p = *state;
    struct clock clock = {.step_us = 15};
    struct slowlog *log = start(p, &clock);
    log->threshold_us = 0;
    pair_command(p, 0, "CLIENT SETNAME me\nSET a 1");
    p->now.wall_ms += 2000;
    pair_command(p, 0, "GET a");
    log->threshold_us = -1;
    assert_resp(
        p, "SLOWLOG GET 2",
        "*2\r\n*6\r\n:2\r\n:1700000002\r\n:15\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n$0\r\n\r\n"
        "$2\r\nme\r\n*6\r\n:1\r\n:1700000000\r\n:15\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1"
        "\r\n$0\r\n\r\n$2\r\nme");
    assert_resp(p, "SLOWLOG LEN", ":3");
    assert_resp(p, "SLOWLOG GET 0", "*0");
    assert_int_equal(strncmp(client_send(p, "SLOWLOG GET -1"), "*3\r\n", 4), 0);
    assert_resp(p, "SLOWLOG RESET", "+OK");
    assert_resp(p, "SLOWLOG GET", "*0");
    assert_resp(p, "SLOWLOG GET -2", "-ERR count should be greater than or equal to -1");
    assert_resp(
        p, "SLOWLOG GET 1 2",
        "-ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.");
}

/* As Redis does: 32 words, 128 bytes of each, and how much is missing. */
static void slowlog_keeps_a_part_of_a_long_command(void **state)
{
    struct pair *p = *state;
    struct clock clock = {.step_us = 15};
    char line[512], expected[512];
    struct slowlog *log = start(p, &clock);
    log->threshold_us = 0;
    snprintf(line, sizeof line, "SET a %0300d", 1);
    pair_command(p, 0, line);
    snprintf(expected, sizeof expected, "\nSET\na\n\"%0128d... (172 more bytes)\"\n", 0);
    assert_non_null(strstr(pair_command(p, 0, "SLOWLOG GET 1"), expected));
    size_t size = (size_t)snprintf(line, sizeof line, "EXISTS");
    for (uint32_t i = 1; i < 40; i++)
        size += (size_t)snprintf(line + size, sizeof line - size, " k%u", i);
    pair_command(p, 0, line);
    assert_non_null(
        strstr(pair_command(p, 0, "SLOWLOG GET 1"), "\nk29\nk30\n\"... (9 more arguments)\"\n"));
}

static void slowlog_is_as_long_as_it_may_be(void **state)
{
    struct pair *p = *state;
    struct clock clock = {.step_us = 15};
    struct slowlog *log = start(p, &clock);
    log->threshold_us = 0;
    log->length_max = 3;
    for (int i = 0; i < 10; i++)
        pair_command(p, 0, "PING");
    assert_int_equal(log->length, 3);
    assert_int_equal(log->next_id, 10);
    log->length_max = 0;
    pair_command(p, 0, "PING");
    assert_int_equal(log->length, 0);
}

static void slowlog_without_memory_logs_nothing(void **state)
{
    struct pair *p = *state;
    struct clock clock = {.step_us = 15};
    struct slowlog *log = start(p, &clock);
    struct bytes word = bytes_text("PING");
    struct command_call call = {.node = p->nodes[0].node,
                                .session = &p->nodes[0].session,
                                .words = &word,
                                .word_count = 1,
                                .now = p->now};
    failing_heap_arm(&p->heap, 1);
    slowlog_note(log, &call, 20000);
    assert_true(failing_heap_disarm(&p->heap));
    assert_int_equal(log->length, 0);
    slowlog_note(log, &call, 20000);
    assert_int_equal(log->length, 1);
}

static void latency_is_kept_by_the_second(void **state)
{
    struct pair *p = *state;
    struct clock clock = {.step_us = 9000};
    struct slowlog *log = start(p, &clock);
    struct bytes word = bytes_text("KEYS");
    struct command_call call = {.node = p->nodes[0].node,
                                .session = &p->nodes[0].session,
                                .words = &word,
                                .word_count = 1,
                                .now = p->now};
    slowlog_note(log, &call, 9000000);
    assert_answer(p, "LATENCY LATEST", "0");
    log->latency_threshold_ms = 10;
    slowlog_note(log, &call, 9999);
    slowlog_note(log, &call, 12000);
    slowlog_note(log, &call, 30000);
    slowlog_note(log, &call, 20000);
    call.now.wall_ms += 1000;
    slowlog_note(log, &call, 15000);
    assert_answer(p, "LATENCY HISTORY command", "4\n1700000000\n30\n1700000001\n15");
    assert_answer(p, "LATENCY LATEST", "4\ncommand\n1700000001\n15\n30");
    assert_answer(p, "LATENCY HISTORY x", "0");
    assert_answer(p, "LATENCY RESET x fast-command", "0");
    assert_answer(p, "LATENCY RESET", "1");
    assert_answer(p, "LATENCY LATEST", "0");
}

static void latency_keeps_so_many_samples(void **state)
{
    struct pair *p = *state;
    struct clock clock = {.step_us = 0};
    struct slowlog *log = start(p, &clock);
    struct bytes word = bytes_text("KEYS");
    struct command_call call = {.node = p->nodes[0].node,
                                .session = &p->nodes[0].session,
                                .words = &word,
                                .word_count = 1,
                                .now = p->now};
    log->latency_threshold_ms = 1;
    for (uint32_t i = 0; i < LATENCY_SAMPLES_MAX + 5; i++) {
        call.now.wall_ms += 1000;
        slowlog_note(log, &call, 1000 * (i + 1));
    }
    assert_resp(p, "LATENCY LATEST", "*1\r\n*4\r\n$7\r\ncommand\r\n:1700000165\r\n:165\r\n:165");
    const char *history = client_send(p, "LATENCY HISTORY command");
    assert_int_equal(strncmp(history, "*160\r\n*2\r\n:1700000006\r\n:6\r\n", 27), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(slowlog_takes_no_time_of_what_is_quick),
        CLIENT_TEST(slowlog_takes_the_time_of_what_may_be_slow),
        CLIENT_TEST(slowlog_get_answers_the_newest_first),
        CLIENT_TEST(slowlog_keeps_a_part_of_a_long_command),
        CLIENT_TEST(slowlog_is_as_long_as_it_may_be),
        CLIENT_TEST(slowlog_without_memory_logs_nothing),
        CLIENT_TEST(latency_is_kept_by_the_second),
        CLIENT_TEST(latency_keeps_so_many_samples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
