/* Options from a file, the environment and the command line: what is wrong is refused in one clean line;
 * and what a value is, it is again once it was written out.
 *
 * The input is texts that end with NUL: the file, then arguments; those that begin with "KV_" are the
 * environment. */
#include "input.h"

#include "options.h"
#include "value.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_IS_READ 1u
#define TEXTS_MAX    16u

struct texts {
    char *at[TEXTS_MAX + 2]; /* each owned; NULL behind the last */
    uint32_t count;
};

static void add(struct texts *texts, struct bytes text)
{
    char *copy = malloc(text.size + 1);
    CHECK(copy != NULL);
    if (text.size > 0)
        memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    texts->at[texts->count++] = copy;
}

static void release(struct texts *texts)
{
    for (uint32_t i = 0; i < texts->count; i++)
        free(texts->at[i]);
}

static struct bytes next_text(struct bytes *rest)
{
    const uint8_t *end = rest->size == 0 ? NULL : memchr(rest->data, 0, rest->size);
    struct bytes text = *rest;
    if (end != NULL)
        text.size = (size_t)(end - rest->data);
    *rest = bytes_after(*rest, end == NULL ? rest->size : text.size + 1);
    return text;
}

/* Parsed back, it is the same. */
static void check_measures(const char *text)
{
    char again[VALUE_TEXT_BYTES_MAX];
    uint64_t value = 0, other = 1;
    if (value_parse_size(text, &value) == 0) {
        value_format_size(again, value);
        CHECK(value_parse_size(again, &other) == 0 && value == other);
    }
    if (value_parse_time(text, &value) == 0) {
        value_format_time(again, value);
        CHECK(value_parse_time(again, &other) == 0 && value == other);
    }
}

static void check_value(const char *text)
{
    char host[OPTIONS_TEXT_MAX];
    uint16_t port = 0;
    check_measures(text);
    if (value_parse_address(text, strlen(text), host, sizeof host, &port) == 0)
        CHECK(port > 0 && host[0] != 0 && strlen(host) < strlen(text));
    if (value_parse_bind(text, host, sizeof host) == 0)
        CHECK(strpbrk(host, "[] ") == NULL);
    if (value_is_name(text, OPTIONS_NAME_BYTES_MAX))
        CHECK(strlen(text) <= OPTIONS_NAME_BYTES_MAX);
}

/* What was accepted is within what the table says. */
static void check_accepted(const struct options *o)
{
    CHECK(o->peer_count <= OPTIONS_PEERS_MAX && o->min_acks <= OPTIONS_PEERS_MAX);
    if (o->show_help || o->show_version)
        return;
    CHECK(o->ack_timeout_ms >= 1 && o->max_clients >= 1 && o->max_value_bytes >= 1);
    CHECK(memchr(o->name, 0, sizeof o->name) != NULL && o->cluster[0] != 0);
    for (size_t i = 0; i < o->peer_count; i++)
        CHECK(o->peers[i].port > 0 && o->peers[i].host[0] != 0);
}

static void check_refused(const char *error)
{
    CHECK(memchr(error, 0, OPTIONS_ERROR_BYTES) != NULL && error[0] != 0);
    for (; *error != 0; error++)
        CHECK((unsigned char)*error >= ' ' && *error != 0x7f);
}

static void parse(struct bytes file, bool reads_file, struct texts *arguments, struct texts *env)
{
    struct options o;
    char error[OPTIONS_ERROR_BYTES], path[FUZZ_PATH_BYTES], argument[FUZZ_PATH_BYTES + 16];
    int fd = -1;
    if (reads_file) {
        fd = fuzz_file(file, path);
        snprintf(argument, sizeof argument, "--config=%s", path);
        add(arguments, bytes_text(argument));
    }
    arguments->at[arguments->count] = env->at[env->count] = NULL;
    memset(error, 'x', sizeof error);
    int result =
        options_parse(&o, (int)arguments->count, arguments->at, env->at, error, sizeof error);
    CHECK(result == 0 || result == -EINVAL);
    if (result == 0)
        check_accepted(&o);
    else
        check_refused(error);
    if (fd >= 0)
        close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in;
    struct texts arguments = {.count = 0}, env = {.count = 0};
    if (!fuzz_input_begin(&in, data, size))
        return 0;
    struct bytes file = next_text(&in.rest);
    add(&arguments, bytes_text("simple-kv"));
    while (in.rest.size > 0 && arguments.count < TEXTS_MAX && env.count < TEXTS_MAX) {
        struct bytes text = next_text(&in.rest);
        bool names_file = text.size >= 8 && memcmp(text.data, "--config", 8) == 0;
        bool is_env = text.size >= 3 && memcmp(text.data, "KV_", 3) == 0;
        if (is_env && text.size >= 9 && memcmp(text.data, "KV_CONFIG", 9) == 0)
            continue; /* no other files than the one here */
        if (!names_file)
            add(is_env ? &env : &arguments, text);
    }
    for (uint32_t i = 1; i < arguments.count; i++)
        check_value(arguments.at[i]);
    parse(file, (in.choices & FILE_IS_READ) != 0, &arguments, &env);
    release(&arguments);
    release(&env);
    return 0;
}
