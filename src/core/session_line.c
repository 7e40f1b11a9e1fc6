/* Commands as lines. */
#include "session_internal.h"

#include "kv/line.h"

#include <errno.h>

/* More than the longest possible line around a value: a command and a key with every byte escaped. */
#define LINE_OVERHEAD_BYTES (4 * RECORD_KEY_BYTES_MAX + 64)

/* How far a look ahead goes: no further than what is run next. */
#define LOOK_AHEAD_BYTES (8u << 10)

/* What a browser sends when a web page makes it talk to this port. */
static bool looks_like_http(struct bytes first_word)
{
    return bytes_equal_ignoring_case(first_word, bytes_text("POST")) ||
           bytes_equal_ignoring_case(first_word, bytes_text("Host:"));
}

static void run_line(struct session *s, struct moment now, struct bytes line)
{
    struct bytes words[LINE_WORDS_MAX];
    struct bytes name = line_first_word(line);
    if (name.size == 0)
        return;
    if (looks_like_http(name)) {
        session_refuse(s, NULL, "this is not an HTTP server; the connection ends here");
        s->closing = true;
        return;
    }
    const struct command *command = command_find(&s->node->commands, name);
    int count = line_split(line, command == NULL ? LINE_NO_REST : command->rest_index, words,
                           &s->node->scratch);
    if (count == -E2BIG)
        session_refuse(s, NULL, "too many words; a line takes at most 1024");
    else if (count == -EBADMSG)
        session_refuse(
            s, NULL,
            "malformed quoted string; it takes \\\" \\\\ \\xHH and ends with \" and a space");
    else if (count < 0)
        session_refuse(s, NULL, "out of memory");
    else
        session_run(s, now, command, words, (size_t)count);
    if (s->node->scratch.capacity > SCRATCH_KEPT_BYTES || buffer_failed(&s->node->scratch))
        buffer_close(&s->node->scratch);
}
_Static_assert(LINE_WORDS_MAX == 1024, "the refusal above names the number");

static uint64_t line_bytes_max(const struct session *s)
{
    return s->node->config.max_value_bytes + LINE_OVERHEAD_BYTES;
}

/* Of a pipeline, the commands that follow each other wait for the caches together, not in turn. Returns
 * how many lines it has looked at. */
static size_t look_ahead(struct session *s, struct bytes input)
{
    struct bytes keys[STORE_PREFETCH_MAX];
    input.size = input.size < LOOK_AHEAD_BYTES ? input.size : LOOK_AHEAD_BYTES;
    size_t count = line_second_words(input, keys, STORE_PREFETCH_MAX);
    if (count > 1)
        store_prefetch(s->node->store, keys, count);
    return count;
}

bool session_line_key(struct session *s, struct bytes input, struct bytes *key)
{
    (void)s;
    return line_second_words(input, key, 1) == 1;
}

size_t session_run_lines(struct session *s, struct moment now, struct bytes input)
{
    size_t parsed = 0, ahead = 0;
    while (session_may_run(s)) {
        struct bytes line, rest = bytes_after(input, parsed);
        if (rest.size > 0 && rest.data[0] == '*')
            return parsed;
        if (ahead == 0)
            ahead = look_ahead(s, rest);
        ahead -= ahead > 0;
        size_t taken = line_next(rest, s->in_searched, &line);
        s->in_searched = taken == 0 ? rest.size : 0;
        s->line_returns = taken > 0 && taken > line.size + 1;
        if ((taken == 0 ? rest.size : line.size) > line_bytes_max(s)) {
            session_refuse(s, NULL,
                           "line too long: a value takes at most --max-value bytes, a key 65535; "
                           "the connection ends here");
            s->closing = true;
        } else if (taken == 0) {
            if (s->input_ended && rest.size > 0)
                run_line(s, now, line_last(rest));
            return s->input_ended ? input.size : parsed;
        } else {
            run_line(s, now, line);
        }
        parsed += taken;
    }
    return parsed;
}
