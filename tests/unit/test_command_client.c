/* What a connection may ask and say of itself, and of others: HELLO, AUTH, RESET, CLIENT. */
#include "client.h"

/* Addresses as a shell would tell them: by the session's number. */
static void tell_addresses(void *owner, const struct session *s, char *theirs, char *ours,
                           size_t size)
{
    (void)owner;
    snprintf(theirs, size, "10.0.0.9:%u", (unsigned)s->id);
    snprintf(ours, size, "10.0.0.1:8080");
}

static void start(struct pair *p)
{
    pair_start(p, 0);
    p->nodes[0].node->host.addresses = tell_addresses;
}

#define GREETING(kind, proto)                                                                      \
    kind "\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$"                   \
         "5\r\nproto\r\n:" proto                                                                   \
         "\r\n$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\n"           \
         "master\r\n$7\r\nmodules\r\n*0"

static void command_hello_chooses_the_protocol(void **state)
{
    struct pair *p = *state;
    start(p);
    assert_resp(p, "HELLO", GREETING("*14", "2"));
    assert_resp(p, "HELLO 3", GREETING("%7", "3"));
    assert_resp(p, "CLIENT GETNAME", "_");
    assert_resp(p, "HELLO 2 AUTH default x SETNAME me", GREETING("*14", "2"));
    assert_resp(p, "CLIENT GETNAME", "$2\r\nme");
}

static void command_hello_refuses_and_changes_nothing(void **state)
{
    struct pair *p = *state;
    start(p);
    assert_resp(p, "HELLO 4", "-NOPROTO unsupported protocol version");
    assert_resp(p, "HELLO x", "-ERR Protocol version is not an integer or out of range");
    assert_resp(p, "HELLO 3 AUTH root x",
                "-WRONGPASS invalid username-password pair or user is disabled.");
    assert_resp(p, "HELLO 3 AUTH default", "-ERR Syntax error in HELLO option 'AUTH'");
    assert_resp(p, "HELLO 3 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'");
    assert_resp(p, "HELLO 3 SETNAME a\tb",
                "-ERR Client names cannot contain spaces, newlines or special characters.");
    assert_resp(p, "CLIENT GETNAME", "$-1");
}

static void command_auth_knows_one_user_and_no_password(void **state)
{
    struct pair *p = *state;
    start(p);
    assert_resp(p, "AUTH default x", "+OK");
    assert_resp(p, "AUTH x",
                "-ERR AUTH <password> called without any password configured for the default user. "
                "Are you sure your configuration is correct?");
    assert_resp(p, "AUTH root x", "-WRONGPASS invalid username-password pair or user is disabled.");
    assert_resp(p, "AUTH a b c", "-ERR syntax error");
}

static void command_reset_begins_anew(void **state)
{
    struct pair *p = *state;
    start(p);
    client_send(p, "HELLO 3 SETNAME me");
    client_send(p, "MULTI");
    assert_resp(p, "RESET", "+RESET");
    assert_resp(p, "CLIENT GETNAME", "$-1");
    assert_resp(p, "EXEC", "-ERR EXEC without MULTI");
}

static void command_client_names_are_kept_and_taken_away(void **state)
{
    struct pair *p = *state;
    start(p);
    assert_resp(p, "CLIENT ID", ":1");
    assert_resp(p, "CLIENT SETNAME me", "+OK");
    assert_resp(p, "CLIENT GETNAME", "$2\r\nme");
    assert_resp(p, "CLIENT SETNAME ~", "+OK");
    assert_resp(p, "CLIENT GETNAME", "$-1");
    assert_resp(p, "CLIENT SETINFO LIB-NAME lib", "+OK");
    assert_resp(p, "CLIENT SETINFO lib-ver a\tb",
                "-ERR lib-ver cannot contain spaces, newlines or special characters.");
    assert_resp(p, "CLIENT SETINFO x y", "-ERR Unrecognized option 'x'");
}

static void command_client_errors_are_those_of_redis(void **state)
{
    struct pair *p = *state;
    start(p);
    assert_resp(p, "CLIENT", "-ERR wrong number of arguments for 'client' command");
    assert_resp(p, "CLIENT frob x", "-ERR unknown subcommand 'frob'. Try CLIENT HELP.");
    assert_resp(p, "CLIENT id x", "-ERR wrong number of arguments for 'client|id' command");
    assert_resp(p, "CLIENT NO-EVICT x", "-ERR syntax error");
    assert_resp(p, "CLIENT NO-EVICT on", "+OK");
    assert_resp(p, "CLIENT LIST TYPE x", "-ERR Unknown client type 'x'");
    assert_resp(p, "CLIENT LIST ID x", "-ERR Invalid client ID");
    assert_resp(p, "CLIENT KILL ID 0", "-ERR client-id should be greater than 0");
    assert_resp(p, "CLIENT KILL ID 1 x", "-ERR syntax error");
    assert_resp(p, "CLIENT KILL USER x", "-ERR No such user 'x'");
    assert_resp(p, "CLIENT KILL 10.0.0.9:7", "-ERR No such client");
}

static void command_client_list_shows_each_connection(void **state)
{
    struct pair *p = *state;
    struct session second;
    start(p);
    session_init(&second, p->nodes[0].node);
    p->now.mono_ms += 5000;
    second.active_mono_ms = second.opened_mono_ms = p->now.mono_ms;
    p->now.mono_ms += 2000;
    pair_command(p, 0, "CLIENT SETNAME me");
    assert_non_null(strstr(pair_command(p, 0, "CLIENT LIST"),
                           "2\nid=1 addr=10.0.0.9:1 laddr=10.0.0.1:8080 name=me age="));
    assert_non_null(strstr(pair_command(p, 0, "CLIENT LIST"), " cmd=client|list user=default "));
    assert_non_null(strstr(pair_command(p, 0, "CLIENT LIST ID 7 2"),
                           "1\nid=2 addr=10.0.0.9:2 laddr=10.0.0.1:8080 name= age=2 idle=2 "
                           "flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=0 "));
    assert_non_null(strstr(pair_command(p, 0, "CLIENT LIST ID 2"), " cmd=NULL user=default "));
    assert_string_equal(pair_command(p, 0, "CLIENT LIST TYPE pubsub"), "0");
    assert_string_equal(pair_command(p, 0, "CLIENT LIST ID 3"), "0");
    pair_command(p, 0, "MULTI\nPING");
    pair_command(p, 0, "CLIENT INFO");
    assert_non_null(strstr(pair_command(p, 0, "EXEC"), " name=me "));
    session_close(&second);
}

/* Another connection ends at once; the own one when it has its answer. */
static void command_client_kill_ends_who_is_meant(void **state)
{
    struct pair *p = *state;
    struct session others[3];
    start(p);
    for (size_t i = 0; i < 3; i++)
        session_init(&others[i], p->nodes[0].node);
    assert_answer(p, "CLIENT KILL ID 2 ADDR 10.0.0.9:3", "0");
    assert_answer(p, "CLIENT KILL ID 2 ADDR 10.0.0.9:2 LADDR 10.0.0.1:8080 USER default", "1");
    assert_true(others[0].killed && session_finished(&others[0]));
    assert_false(list_is_empty(&others[0].ready));
    assert_answer(p, "CLIENT KILL TYPE pubsub", "0");
    assert_answer(p, "CLIENT KILL 10.0.0.9:3", "OK");
    assert_true(others[1].killed && !others[2].killed);
    assert_answer(p, "CLIENT KILL TYPE normal", "1");
    assert_true(others[2].killed);
    assert_false(session_finished(&p->nodes[0].session));
    assert_answer(p, "CLIENT KILL SKIPME no", "1");
    assert_true(session_finished(&p->nodes[0].session));
    for (size_t i = 0; i < 3; i++)
        session_close(&others[i]);
}

static void command_client_reply_leaves_replies_out(void **state)
{
    struct pair *p = *state;
    start(p);
    assert_answer(p, "CLIENT REPLY OFF\nSET a 1\nCLIENT REPLY ON\nGET a", "OK\n1");
    assert_answer(p, "CLIENT REPLY SKIP\nSET a 2\nGET a", "2");
    assert_answer(p, "CLIENT REPLY OFF\nCLIENT REPLY SKIP\nGET a\nGET a\nCLIENT REPLY ON", "OK");
    assert_answer(p, "CLIENT REPLY x", "ERROR syntax error");
}

/* Of RESP it ends the connection; of a line, it takes the place of an answer. */
static void command_client_reply_leaves_out_the_errors_of_malformed_requests(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "CLIENT REPLY SKIP\nGET \"a\nPING", "+PONG");
    assert_answer(
        p, "CLIENT REPLY OFF\nGET \"a\nCLIENT REPLY ON\nGET \"a",
        "OK\nERROR malformed quoted string; it takes \\\" \\\\ \\xHH and ends with \" and a "
        "space");
    assert_resp(p, "CLIENT REPLY OFF", "");
    assert_answer(p, "*x\r", "");
    assert_true(session_finished(&p->nodes[0].session));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(command_hello_chooses_the_protocol),
        CLIENT_TEST(command_hello_refuses_and_changes_nothing),
        CLIENT_TEST(command_auth_knows_one_user_and_no_password),
        CLIENT_TEST(command_reset_begins_anew),
        CLIENT_TEST(command_client_names_are_kept_and_taken_away),
        CLIENT_TEST(command_client_errors_are_those_of_redis),
        CLIENT_TEST(command_client_list_shows_each_connection),
        CLIENT_TEST(command_client_kill_ends_who_is_meant),
        CLIENT_TEST(command_client_reply_leaves_replies_out),
        CLIENT_TEST(command_client_reply_leaves_out_the_errors_of_malformed_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
