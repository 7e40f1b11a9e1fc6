/* COMMAND: the table, in the shapes that Redis' clients read. */
#include "client.h"

static void command_info_has_the_shape_of_redis(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_resp(
        p, "COMMAND INFO get nonsense",
        "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n*3\r\n"
        "+@read\r\n+@string\r\n+@fast\r\n*0\r\n*1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+RO\r\n"
        "+access\r\n$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n"
        "*2\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n"
        "$4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n"
        ":0\r\n*0\r\n$-1");
    client_send(p, "HELLO 3");
    assert_resp(p, "COMMAND INFO PING x",
                "*2\r\n*10\r\n$4\r\nping\r\n:-1\r\n~1\r\n+fast\r\n:0\r\n:0\r\n:0\r\n~2\r\n"
                "+@connection\r\n+@fast\r\n~0\r\n~0\r\n~0\r\n_");
}

static void command_docs_cut_the_usage_into_arguments(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    client_send(p, "HELLO 3");
    assert_resp(p, "COMMAND DOCS nonsense", "%0");
    const char *docs = client_send(p, "COMMAND DOCS del nonsense");
    assert_int_equal(strncmp(docs, "%1\r\n$3\r\ndel\r\n%4\r\n$7\r\nsummary\r\n", 30), 0);
    assert_non_null(strstr(docs, "$5\r\ngroup\r\n$7\r\ngeneric\r\n$9\r\narguments\r\n*2\r\n%3\r\n"
                                 "$4\r\nname\r\n$3\r\nkey\r\n$4\r\ntype\r\n$3\r\nkey\r\n$14\r\n"
                                 "key_spec_index\r\n:0\r\n%3\r\n$4\r\nname\r\n$7\r\nkey ...\r\n"
                                 "$4\r\ntype\r\n$6\r\nstring\r\n$5\r\nflags\r\n~1\r\n+optional"));
}

/* Replies that are announced wrongly would leave a client waiting, or out of step. */
static void command_tells_of_every_command(void **state)
{
    struct pair *p = *state;
    char count[32], text[64];
    pair_start(p, 0);
    const struct command_index *index = &p->nodes[0].node->commands;
    snprintf(count, sizeof count, "%zu", index->count);
    assert_answer(p, "COMMAND COUNT", count);
    snprintf(text, sizeof text, "%s\n", count);
    assert_int_equal(strncmp(pair_command(p, 0, "COMMAND LIST"), text, strlen(text)), 0);
    snprintf(text, sizeof text, "*%s\r\n*10\r\n", count);
    assert_int_equal(strncmp(client_send(p, "COMMAND"), text, strlen(text)), 0);
    size_t commands = 0;
    for (const char *at = client_send(p, "COMMAND INFO"); (at = strstr(at, "\r\n*10\r\n")) != NULL;
         at++)
        commands++;
    assert_int_equal(commands, index->count);
    client_send(p, "HELLO 3");
    snprintf(text, sizeof text, "%%%s\r\n", count);
    assert_int_equal(strncmp(client_send(p, "COMMAND DOCS"), text, strlen(text)), 0);
}

static void command_list_takes_filters(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "COMMAND LIST FILTERBY PATTERN P*NG", "1\nping");
    assert_answer(p, "COMMAND LIST FILTERBY ACLCAT transaction",
                  "5\ndiscard\nexec\nmulti\nunwatch\nwatch");
    assert_answer(p, "COMMAND LIST FILTERBY ACLCAT nonsense", "0");
    assert_answer(p, "COMMAND LIST FILTERBY MODULE x", "0");
    assert_answer(p, "COMMAND LIST FILTERBY x y", "ERROR syntax error");
    assert_answer(p, "COMMAND LIST x", "ERROR syntax error");
}

static void command_getkeys_finds_the_keys(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "COMMAND GETKEYS GET a", "1\na");
    assert_answer(p, "COMMAND GETKEYS mset a 1 b 2", "2\na\nb");
    assert_answer(p, "COMMAND GETKEYS DEL a b c", "3\na\nb\nc");
    assert_answer(p, "COMMAND GETKEYS GET a b",
                  "ERROR Invalid number of arguments specified for command");
    assert_answer(p, "COMMAND GETKEYS PING a", "ERROR The command has no key arguments");
    assert_answer(p, "COMMAND GETKEYS x a", "ERROR Invalid command specified");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(command_info_has_the_shape_of_redis),
        CLIENT_TEST(command_docs_cut_the_usage_into_arguments),
        CLIENT_TEST(command_tells_of_every_command),
        CLIENT_TEST(command_list_takes_filters),
        CLIENT_TEST(command_getkeys_finds_the_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
