/* hiredis: run with the ports of two nodes of one cluster. What it writes on the first it reads on the
 * other. Exit status 0 if all was right. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PIPELINE   1000
#define DEADLINE_S 20

static void fail(const char *what, const redisContext *c, const redisReply *reply)
{
    fprintf(stderr, "%s: %s, %s\n", what, c->err ? c->errstr : "no error of the connection",
            reply == NULL        ? "no reply"
            : reply->str == NULL ? "a reply without a text"
                                 : reply->str);
    exit(1);
}

static redisContext *connect_to(const char *port)
{
    redisContext *c = redisConnect("127.0.0.1", atoi(port));
    if (c == NULL || c->err) {
        fprintf(stderr, "cannot connect to port %s\n", port);
        exit(1);
    }
    return c;
}

static void expect_text(redisContext *c, redisReply *reply, int type, const char *text)
{
    if (reply == NULL || reply->type != type || strcmp(reply->str, text) != 0)
        fail(text, c, reply);
    freeReplyObject(reply);
}

static void expect_number(redisContext *c, redisReply *reply, long long number)
{
    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER || reply->integer != number)
        fail("a number", c, reply);
    freeReplyObject(reply);
}

/* The write arrives at the other node by itself. */
static void expect_eventually(redisContext *c, const char *key, const char *value, size_t size)
{
    time_t end = time(NULL) + DEADLINE_S;
    for (;;) {
        redisReply *reply = redisCommand(c, "GET %s", key);
        if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
            fail(key, c, reply);
        int same = reply->type == REDIS_REPLY_STRING && reply->len == size &&
                   memcmp(reply->str, value, size) == 0;
        if (!same && time(NULL) > end)
            fail("not on the other node", c, reply);
        freeReplyObject(reply);
        if (same)
            return;
    }
}

static void check_pipeline(redisContext *c)
{
    for (int i = 0; i < PIPELINE; i++)
        redisAppendCommand(c, "SET many:%d %d", i, i);
    for (int i = 0; i < PIPELINE; i++) {
        redisReply *reply = NULL;
        redisGetReply(c, (void **)&reply);
        expect_text(c, reply, REDIS_REPLY_STATUS, "OK");
    }
}

static void check_lists(redisContext *c)
{
    redisReply *reply = redisCommand(c, "MGET greeting nothing");
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING || reply->element[1]->type != REDIS_REPLY_NIL)
        fail("MGET", c, reply);
    freeReplyObject(reply);
    reply = redisCommand(c, "INCR greeting");
    expect_text(c, reply, REDIS_REPLY_ERROR, "ERR value is not an integer or out of range");
}

int main(int argc, char **argv)
{
    static const char binary[] = {0, 1, '\r', '\n', '"', (char)0xfe, (char)0xff};
    if (argc != 3)
        return 2;
    redisContext *one = connect_to(argv[1]), *other = connect_to(argv[2]);
    expect_text(one, redisCommand(one, "PING"), REDIS_REPLY_STATUS, "PONG");
    expect_text(one, redisCommand(one, "SET greeting %s", "hello wide world"), REDIS_REPLY_STATUS,
                "OK");
    expect_eventually(other, "greeting", "hello wide world", strlen("hello wide world"));
    expect_text(one, redisCommand(one, "SET binary %b", binary, sizeof binary), REDIS_REPLY_STATUS,
                "OK");
    expect_eventually(other, "binary", binary, sizeof binary);
    check_lists(one);
    check_pipeline(one);
    expect_number(one, redisCommand(one, "INCRBY count 42"), 42);
    expect_number(one, redisCommand(one, "DEL greeting nothing"), 1);
    redisFree(one);
    redisFree(other);
    puts("all right");
    return 0;
}
