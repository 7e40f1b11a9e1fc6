/* Replies that must hold whatever the input shows and whatever memory is there. */
#include "pair.h"
#include "unit.h"

#include "kv/line.h"

static void an_error_is_one_line_whatever_it_shows(void **state)
{
    (void)state;
    static const char *const lines[] = {"\"a\\x0ab\"", "EXPIRE k \"1\\x0aOK\"",
                                        "SETEX k \"1\\x0aOK\" v"};
    struct pair p;
    pair_open(&p, 1);
    pair_start(&p, 0);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        const char *reply = pair_command(&p, 0, lines[i]);
        if (strncmp(reply, "ERROR ", 6) != 0 || strchr(reply, '\n') != NULL)
            fail_msg("%s was answered: %s", lines[i], reply);
    }
    pair_close(&p);
}

/* Returns whether an allocation failed; the reply was then the whole one, or an error, or none. */
static bool check_text(const char *command, uint64_t n)
{
    struct pair p;
    char whole[4096];
    pair_open(&p, 1);
    pair_start(&p, 0);
    members_add_address(&p.nodes[0].node->members, bytes_text("host"), 80, true);
    snprintf(whole, sizeof whole, "%s", pair_command(&p, 0, command));
    buffer_reserve(session_output(&p.nodes[0].session), 1u << 16);
    failing_heap_arm(&p.heap, n);
    session_read(&p.nodes[0].session, p.now, bytes_text(command));
    session_read(&p.nodes[0].session, p.now, bytes_text("\n"));
    bool failed = failing_heap_disarm(&p.heap);
    const char *reply = pair_replies(&p, 0);
    if (!p.nodes[0].session.failed && strncmp(reply, "ERROR ", 6) != 0)
        assert_int_equal(strtoul(reply, NULL, 10), strtoul(whole, NULL, 10));
    pair_close(&p);
    return failed;
}

static void a_text_without_memory_is_not_cut_short_in_silence(void **state)
{
    (void)state;
    static const char *const commands[] = {"INFO", "HELP", "PEERS"};
    for (size_t i = 0; i < 3; i++) {
        for (uint64_t n = 1; check_text(commands[i], n); n++) {
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_is_one_line_whatever_it_shows),
        cmocka_unit_test(a_text_without_memory_is_not_cut_short_in_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
