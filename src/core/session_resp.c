/* Commands as RESP: arrays, many of them at a time, and inline ones between them. */
#include "session_internal.h"

#include "kv/line.h"
#include "kv/resp.h"
#include "kv/store.h"

#include <errno.h>

/* Of a pipeline, so many commands are read before the first is run, so that their keys can be asked for
 * together. */
#define BATCH_COMMANDS STORE_PREFETCH_MAX

#define INLINE_BYTES_MAX (64u << 10)

struct parsed {
    const struct command *command;
    size_t first, count; /* its words */
    size_t end; /* of its bytes, in the input */
};

struct batch {
    struct resp_reader *reader;
    struct parsed commands[BATCH_COMMANDS];
    size_t count;
    int64_t stopped_by; /* what resp_read returned last: > 0 while there may be more */
    size_t end; /* of all that were read */
};

void session_forget_partial(struct session *s)
{
    if (s->reader == NULL)
        return;
    buffer_close(&s->reader->words);
    heap_free(s->node->heap, s->reader);
    s->reader = NULL;
}

/* The array at the end of the input has not arrived whole: what was read of it is kept. */
static void keep_partial(struct session *s, struct resp_reader *reader)
{
    if (s->reader != NULL)
        return; /* it is the one that goes on */
    s->reader = heap_zalloc(s->node->heap, sizeof *s->reader);
    if (s->reader == NULL) {
        s->failed = true;
        return;
    }
    buffer_init(&s->reader->words, s->node->heap);
    if (resp_move(s->reader, reader) != 0)
        s->failed = true;
}

/* --- a batch ------------------------------------------------------------------------------- */

static struct resp_limits limits_of(const struct session *s)
{
    const struct node_config *config = &s->node->config;
    return (struct resp_limits){.words_max = config->max_words,
                                .word_bytes_max = config->max_value_bytes > RECORD_KEY_BYTES_MAX
                                                      ? config->max_value_bytes
                                                      : RECORD_KEY_BYTES_MAX,
                                .bytes_max = config->max_query_bytes};
}

static void read_batch(struct session *s, struct bytes input, struct batch *b)
{
    struct resp_limits limits = limits_of(s);
    /* One that goes on from earlier input is read alone. */
    size_t most = s->reader != NULL ? 1 : BATCH_COMMANDS;
    b->stopped_by = 1;
    while (b->count < most && b->end < input.size && input.data[b->end] == '*') {
        b->stopped_by = resp_read(b->reader, bytes_after(input, b->end), &limits);
        if (b->stopped_by <= 0)
            return;
        b->end += (size_t)b->stopped_by;
        b->commands[b->count++] =
            (struct parsed){.first = b->reader->first,
                            .count = resp_word_count(b->reader) - b->reader->first,
                            .end = b->end};
    }
}

/* Finds each command, and asks the caches for their keys. */
static void look_up(struct session *s, struct batch *b)
{
    struct bytes keys[STORE_PREFETCH_MAX];
    const struct bytes *words = resp_words(b->reader);
    struct bytes name = bytes_of(NULL, 0);
    const struct command *found = NULL;
    size_t key_count = 0;
    for (size_t i = 0; i < b->count; i++) {
        struct parsed *p = &b->commands[i];
        if (p->count == 0)
            continue;
        /* Most often it is the one before again. */
        if (!bytes_equal(name, words[p->first])) {
            name = words[p->first];
            found = command_find(&s->node->commands, name);
        }
        p->command = found;
        if (p->command == NULL || p->command->key_first == 0)
            continue;
        size_t step = (size_t)p->command->key_step;
        size_t last = p->command->key_last < 0 ? p->count - 1 : (size_t)p->command->key_last;
        for (size_t k = (size_t)p->command->key_first;
             k <= last && k < p->count && key_count < STORE_PREFETCH_MAX; k += step)
            keys[key_count++] = words[p->first + k];
    }
    if (key_count > 1)
        store_prefetch(s->node->store, keys, key_count);
}

bool session_array_key(struct session *s, struct bytes input, struct bytes *key)
{
    struct resp_reader *reader = &s->node->reader;
    struct resp_limits limits = limits_of(s);
    resp_reset(reader);
    if (resp_read(reader, input, &limits) <= 0 || resp_word_count(reader) == 0) {
        if (buffer_failed(&reader->words))
            buffer_close(&reader->words); /* no session has failed yet */
        return false;
    }
    const struct bytes *words = resp_words(reader);
    const struct command *command = command_find(&s->node->commands, words[0]);
    if (command == NULL || command->key_first == 0 ||
        (size_t)command->key_first >= resp_word_count(reader))
        return false;
    *key = words[command->key_first];
    return true;
}

/* Returns how many bytes the commands took that were run; all, unless the session had to stop. */
static size_t run_batch(struct session *s, struct moment now, const struct batch *b)
{
    const struct bytes *words = resp_words(b->reader);
    size_t end = 0;
    for (size_t i = 0; i < b->count && session_may_run(s); i++) {
        const struct parsed *p = &b->commands[i];
        if (p->count > 0)
            session_run(s, now, p->command, words + p->first, p->count);
        end = p->end;
    }
    return end;
}

size_t session_run_arrays(struct session *s, struct moment now, struct bytes input)
{
    struct batch b = {.reader = s->reader != NULL ? s->reader : &s->node->reader};
    if (s->form == REPLY_LINE)
        s->form = REPLY_RESP2;
    if (s->reader == NULL)
        resp_reset(b.reader);
    s->in_searched = 0;
    read_batch(s, input, &b);
    look_up(s, &b);
    size_t end = run_batch(s, now, &b);
    bool all = end == b.end;
    if (b.count > 0)
        session_forget_partial(s);
    if (all && b.stopped_by == 0 && b.end < input.size) {
        keep_partial(s, b.reader);
        s->in_searched = input.size - b.end;
    } else if (all && b.stopped_by < 0 && session_may_run(s)) {
        /* (Behind QUIT, BACKUP and RESTORE it is not for this protocol; behind FLUSHALL it waits.) */
        session_refuse(s, NULL, b.stopped_by == -ENOMEM ? "out of memory" : b.reader->error);
        s->closing = true;
        end = input.size;
    }
    if (all && s->input_ended && b.stopped_by == 0)
        end = input.size; /* its rest will not come */
    if (s->node->reader.words.capacity > SCRATCH_KEPT_BYTES ||
        buffer_failed(&s->node->reader.words))
        buffer_close(&s->node->reader.words);
    return end;
}

/* --- inline commands ----------------------------------------------------------------------- */

static void run_inline(struct session *s, struct moment now, struct bytes line)
{
    struct resp_reader *reader = &s->node->reader;
    struct buffer *scratch = &s->node->inline_scratch;
    int error = resp_split_inline(line, scratch, reader);
    size_t count = resp_word_count(reader);
    if (error == -EBADMSG) {
        session_refuse(s, NULL, "Protocol error: unbalanced quotes in request");
        s->closing = true;
    } else if (error != 0) {
        s->failed = true;
    } else if (count > 0) {
        const struct bytes *words = resp_words(reader);
        session_run(s, now, command_find(&s->node->commands, words[0]), words, count);
    }
    if (scratch->capacity > SCRATCH_KEPT_BYTES || buffer_failed(scratch))
        buffer_close(scratch);
}

size_t session_run_inline(struct session *s, struct moment now, struct bytes input)
{
    struct bytes line;
    size_t taken = line_next(input, s->in_searched, &line);
    s->in_searched = taken == 0 ? input.size : 0;
    if ((taken == 0 ? input.size : line.size) > INLINE_BYTES_MAX) {
        session_refuse(s, NULL, "Protocol error: too big inline request");
        s->closing = true;
        return input.size;
    }
    if (taken > 0)
        run_inline(s, now, line);
    else if (s->input_ended)
        taken = input.size; /* Redis takes no line without its end either */
    return taken;
}
