/* A strict reader of RESP2 and RESP3 (https://redis.io/docs/reference/protocol-spec/), apart from the
 * program's own code. */
#include "resp_replies.h"

#include "kv/check.h"

#include <stdlib.h>

#define DEPTH_MAX 16u

/* The bytes of a line, its type and its end included. The line is left in `line` without both. */
static size_t take_line(struct bytes from, struct bytes *line)
{
    const uint8_t *end = from.size < 3 ? NULL : memchr(from.data, '\r', from.size - 1);
    CHECK(end != NULL && end[1] == '\n');
    *line = bytes_of(from.data + 1, (size_t)(end - from.data) - 1);
    CHECK(line->size == 0 || memchr(line->data, '\n', line->size) == NULL);
    return line->size + 3;
}

static int64_t number_of(struct bytes line)
{
    int64_t number = 0;
    CHECK(bytes_parse_i64(line, &number));
    return number;
}

static void check_double(struct bytes line)
{
    char text[64], *end;
    CHECK(line.size > 0 && line.size < sizeof text);
    memcpy(text, line.data, line.size);
    text[line.size] = 0;
    strtod(text, &end);
    CHECK(*end == 0);
}

static void check_big_number(struct bytes line)
{
    size_t at = line.size > 0 && line.data[0] == '-';
    CHECK(at < line.size);
    for (; at < line.size; at++)
        CHECK(line.data[at] >= '0' && line.data[at] <= '9');
}

/* What follows the line of a text of a counted number of bytes. */
static size_t take_counted(struct bytes rest, struct bytes line, char type)
{
    int64_t size = number_of(line);
    if (size == -1 && type == '$')
        return 0;
    CHECK(size >= 0 && (uint64_t)size + 2 <= rest.size);
    CHECK(rest.data[size] == '\r' && rest.data[size + 1] == '\n');
    CHECK(type != '=' || (size >= 4 && rest.data[3] == ':'));
    return (size_t)size + 2;
}

/* The elements of replies that are not complete, outermost first. */
struct open_lists {
    uint64_t left[DEPTH_MAX];
    size_t depth;
};

static void open_list(struct open_lists *lists, struct bytes line, char type)
{
    int64_t count = number_of(line);
    if (count == -1 && type == '*')
        return;
    CHECK(count >= 0 && lists->depth < DEPTH_MAX);
    if (count > 0)
        lists->left[lists->depth++] = (uint64_t)count * (type == '%' ? 2 : 1);
}

/* Takes one line and what belongs to it. */
static size_t take_element(struct open_lists *lists, struct bytes from)
{
    struct bytes line;
    size_t taken = take_line(from, &line);
    char type = (char)from.data[0];
    if (lists->depth > 0)
        lists->left[lists->depth - 1]--;
    if (type == '$' || type == '=')
        taken += take_counted(bytes_after(from, taken), line, type);
    else if (type == '*' || type == '%' || type == '~' || type == '>')
        open_list(lists, line, type);
    else if (type == ':')
        number_of(line);
    else if (type == ',')
        check_double(line);
    else if (type == '(')
        check_big_number(line);
    else if (type == '_')
        CHECK(line.size == 0);
    else if (type == '#')
        CHECK(line.size == 1 && (line.data[0] == 't' || line.data[0] == 'f'));
    else
        CHECK(type == '+' || type == '-');
    while (lists->depth > 0 && lists->left[lists->depth - 1] == 0)
        lists->depth--;
    return taken;
}

size_t resp_replies_check(struct bytes bytes)
{
    struct open_lists lists = {.depth = 0};
    size_t count = 0;
    while (bytes.size > 0) {
        bytes = bytes_after(bytes, take_element(&lists, bytes));
        count += lists.depth == 0;
    }
    CHECK(lists.depth == 0);
    return count;
}
