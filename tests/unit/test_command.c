/* The command table: every command is found, counts its words, judges its keys, and has its help. */
#include "pair.h"
#include "unit.h"

#include "kv/command.h"

/* The commands of the specification, and a right way to call each. */
static const char *const COMMANDS[][2] = {
    {"BACKUP", "BACKUP"},     {"BGSAVE", "BGSAVE"},     {"COUNT", "COUNT"},
    {"DEL", "DEL k"},         {"EXISTS", "EXISTS k"},   {"EXPIRE", "EXPIRE k 5"},
    {"FORGET", "FORGET b"},   {"GET", "GET k"},         {"HELP", "HELP"},
    {"INFO", "INFO"},         {"KEYS", "KEYS *"},       {"LASTSAVE", "LASTSAVE"},
    {"PEERS", "PEERS"},       {"PERSIST", "PERSIST k"}, {"PING", "PING"},
    {"QUIT", "QUIT"},         {"RESTORE", "RESTORE"},   {"SET", "SET k v"},
    {"SETEX", "SETEX k 5 v"}, {"SNAPSHOT", "SNAPSHOT"}, {"TTL", "TTL k"},
    {"WAIT", "WAIT 0 1"}};
#define COMMAND_COUNT (sizeof COMMANDS / sizeof COMMANDS[0])

static int set_up(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    pair_open(p, 1);
    p->nodes[0].peers = 0;
    pair_start(p, 0);
    assert_non_null(members_add(&p->nodes[0].node->members, bytes_text("b"))); /* to be forgotten */
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *p = *state;
    pair_close(p);
    free(p);
    return 0;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void command_find_knows_every_command_in_any_case(void **state)
{
    struct command_index index;
    (void)state;
    command_index_init(&index);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        char name[16];
        const struct command *command = command_find(&index, bytes_text(COMMANDS[i][0]));
        assert_non_null(command);
        assert_string_equal(command->name, COMMANDS[i][0]);
        for (size_t k = 0; k <= strlen(COMMANDS[i][0]); k++)
            name[k] = COMMANDS[i][0][k] == 0 || k % 2 == 0 ? COMMANDS[i][0][k]
                                                           : (char)(COMMANDS[i][0][k] | 0x20);
        assert_ptr_equal(command_find(&index, bytes_text(name)), command);
    }
}

static void command_find_knows_no_others(void **state)
{
    struct command_index index;
    (void)state;
    command_index_init(&index);
    static const char *const OTHERS[] = {
        "",     "GE",   "GETT",  "AAAA",
        "ZZZZ", "S ET", "GET\n", "a name that is far too long to be a command's"};
    for (size_t i = 0; i < sizeof OTHERS / sizeof OTHERS[0]; i++)
        assert_null(command_find(&index, bytes_text(OTHERS[i])));
    assert_null(command_find(&index, bytes_of("GET\0", 4)));
}

/* Those that end the connection or take it over, and those that a node in memory refuses. */
static bool ends_or_needs_a_disk(const char *name)
{
    static const char *const NAMES[] = {"BACKUP", "BGSAVE", "QUIT", "RESTORE", "SNAPSHOT"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (strcmp(NAMES[i], name) == 0)
            return true;
    }
    return false;
}

static void command_run_takes_every_command_with_the_right_words(void **state)
{
    struct pair *p = *state;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (!ends_or_needs_a_disk(COMMANDS[i][0]))
            assert_false(starts_with(pair_command(p, 0, COMMANDS[i][1]), "ERROR"));
    }
    assert_string_equal(pair_command(p, 0, "QUIT"), "+OK");
}

/* Everything that shows or changes data has to wait for it. */
static void command_run_answers_loading_but_to_what_tells_of_the_node(void **state)
{
    struct pair *p = *state;
    static const char *const TAKEN[] = {"HELP", "INFO", "PEERS", "QUIT"};
    struct node *n = p->nodes[0].node;
    for (int refilling = 0; refilling <= 1; refilling++) {
        n->loading = !refilling;
        n->refilling = refilling;
        for (size_t i = 0; i < COMMAND_COUNT; i++) {
            bool taken = false;
            for (size_t k = 0; k < sizeof TAKEN / sizeof TAKEN[0]; k++)
                taken = taken || strcmp(COMMANDS[i][0], TAKEN[k]) == 0;
            if (strcmp(COMMANDS[i][0], "QUIT") != 0)
                assert_int_equal(
                    starts_with(pair_command(p, 0, COMMANDS[i][1]), "ERROR LOADING this node"),
                    !taken);
        }
    }
    assert_int_equal(store_live_count(n->store), 0);
    assert_string_equal(pair_command(p, 0, "QUIT"), "+OK");
    n->loading = n->refilling = false;
}

static void command_run_tells_the_usage_when_words_are_missing_or_too_many(void **state)
{
    struct pair *p = *state;
    static const char *const WRONG[] = {
        "COUNT x", "DEL",       "EXISTS",  "EXPIRE k", "GET",         "GET k l", "HELP a b",
        "KEYS",    "KEYS a b",  "PEERS x", "PERSIST",  "PERSIST k l", "SET",     "SET k",
        "SETEX k", "SETEX k 5", "TTL",     "TTL k l",  "WAIT",        "WAIT 1",  "WAIT 1 2 3"};
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        char expected[64];
        int name_bytes = (int)strcspn(WRONG[i], " ");
        snprintf(expected, sizeof expected, "ERROR wrong number of words for %.*s; usage: %.*s",
                 name_bytes, WRONG[i], name_bytes, WRONG[i]);
        const char *reply = pair_command(p, 0, WRONG[i]);
        if (!starts_with(reply, expected))
            fail_msg("%s: %s", WRONG[i], reply);
    }
    assert_false(p->nodes[0].session.closing);
}

static void command_run_names_what_it_does_not_know(void **state)
{
    struct pair *p = *state;
    assert_string_equal(pair_command(p, 0, "FROB a b"),
                        "ERROR unknown command 'FROB'; HELP lists the commands");
    char line[300];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = 0;
    assert_true(strlen(pair_command(p, 0, line)) < 120);
}

static void command_run_refuses_an_empty_key_and_one_that_is_too_long(void **state)
{
    struct pair *p = *state;
    static const char *const FORMS[] = {"GET %s",      "SET %s v",    "SETEX %s 5 v", "DEL a %s",
                                        "EXISTS %s b", "EXPIRE %s 5", "TTL %s",       "PERSIST %s"};
    char *key = malloc(RECORD_KEY_BYTES_MAX + 2), *line = malloc(RECORD_KEY_BYTES_MAX + 32);
    memset(key, 'k', RECORD_KEY_BYTES_MAX + 1);
    key[RECORD_KEY_BYTES_MAX + 1] = 0;
    for (size_t i = 0; i < sizeof FORMS / sizeof FORMS[0]; i++) {
        const char *at = strchr(FORMS[i], '%');
        for (int k = 0; k < 2; k++) {
            snprintf(line, RECORD_KEY_BYTES_MAX + 32, "%.*s%s%s", (int)(at - FORMS[i]), FORMS[i],
                     k == 0 ? "\"\"" : key, at + 2);
            assert_string_equal(pair_command(p, 0, line),
                                k == 0 ? "ERROR key of 0 bytes; a key takes 1 to 65535"
                                       : "ERROR key of 65536 bytes; a key takes 1 to 65535");
        }
    }
    free(key);
    free(line);
    assert_int_equal(store_live_count(p->nodes[0].node->store), 0);
}

static void command_run_counts_commands(void **state)
{
    struct pair *p = *state;
    uint64_t before = p->nodes[0].node->counters.commands;
    pair_command(p, 0, "PING\n\n  \nNOSUCH\nGET");
    assert_int_equal(p->nodes[0].node->counters.commands - before, 3);
}

/* A request that writes, for each command that does; before it there are keys n = 1, and e that expires. */
static const char *const WRITES[] = {
    "APPEND n 1",       "COPY n c",        "DECR n",         "DECRBY n 2",   "DEL n",
    "DEL n gone",       "EXPIRE n 100",    "EXPIRE n -1",    "EXPIREAT n 1", "FLUSHALL",
    "FLUSHDB",          "GETDEL n",        "GETEX n EX 100", "GETSET n 2",   "INCR n",
    "INCRBY n 2",       "INCRBYFLOAT n 1", "MSET n 2 m 3",   "MSETNX l 1",   "PERSIST e",
    "PEXPIRE n 100000", "PEXPIREAT n 1",   "PSETEX n 100 v", "RENAME n m",   "RENAMENX n m",
    "SET n 2",          "SET n 2 GET",     "SETEX n 100 v",  "SETNX new 1",  "SETRANGE n 1 x",
    "UNLINK n"};

static void every_command_that_writes_waits_for_its_promise(void **state)
{
    struct pair *p = *state;
    struct node *n = p->nodes[0].node;
    bool seen[COMMAND_COUNT_MAX] = {false};
    for (size_t i = 0; i < sizeof WRITES / sizeof WRITES[0]; i++) {
        n->config.min_acks = 0;
        pair_command(p, 0, "FLUSHALL\nMSET n 1\nSETEX e 100 v");
        n->config.min_acks = 1;
        n->config.ack_timeout_ms = 1000;
        assert_string_equal(pair_command(p, 0, WRITES[i]), "");
        pair_run(p, 1500);
        assert_non_null(strstr(pair_replies(p, 0), "0 of 1 peers confirmed"));
        const struct command *c =
            command_find(&n->commands, bytes_of(WRITES[i], strcspn(WRITES[i], " ")));
        for (size_t j = 0; j < n->commands.count; j++)
            seen[j] = seen[j] || n->commands.sorted[j] == c;
    }
    for (size_t j = 0; j < n->commands.count; j++) {
        bool writes = (n->commands.sorted[j]->flags & COMMAND_WRITE) != 0;
        assert_true(writes == seen[j] || strcmp(n->commands.sorted[j]->name, "RESTORE") == 0);
    }
}

static void command_help_has_a_line_for_every_command(void **state)
{
    struct pair *p = *state;
    char reply[16384], start[16];
    size_t count = p->nodes[0].node->commands.count;
    snprintf(reply, sizeof reply, "%s", pair_command(p, 0, "HELP"));
    assert_int_equal(strtol(reply, NULL, 10), count);
    size_t lines = 0;
    for (const char *at = reply; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, count);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        snprintf(start, sizeof start, "\n%s ", COMMANDS[i][0]);
        assert_non_null(strstr(reply, start));
    }
}

static void command_help_of_one_command_is_one_line(void **state)
{
    struct pair *p = *state;
    assert_true(
        starts_with(pair_command(p, 0, "HELP setex"),
                    "1\nSETEX         key seconds value               store a value that expires"));
    assert_string_equal(pair_command(p, 0, "HELP nosuch"),
                        "ERROR no such command; HELP lists the commands");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(command_find_knows_every_command_in_any_case),
        TEST(command_find_knows_no_others),
        TEST(command_run_takes_every_command_with_the_right_words),
        TEST(command_run_answers_loading_but_to_what_tells_of_the_node),
        TEST(command_run_tells_the_usage_when_words_are_missing_or_too_many),
        TEST(command_run_names_what_it_does_not_know),
        TEST(command_run_refuses_an_empty_key_and_one_that_is_too_long),
        TEST(command_run_counts_commands),
        TEST(every_command_that_writes_waits_for_its_promise),
        TEST(command_help_has_a_line_for_every_command),
        TEST(command_help_of_one_command_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
