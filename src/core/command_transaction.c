/* MULTI and EXEC, WATCH. */
#include "session_internal.h"

#include "kv/transaction.h"

/* What a watched key was when it was watched: any write to it, here or elsewhere, changes the stamp. One that
 * was not there has none: its tombstone may be dropped meanwhile, and that is no change. */
struct watch {
    uint64_t stamp, origin;
    size_t key_bytes; /* the key follows */
};

struct transaction {
    bool open; /* between MULTI and EXEC */
    bool failed; /* a command could not be queued */
    size_t count; /* of commands queued */
    struct buffer queue; /* per command: how many words, then each one's size and bytes */
    size_t watch_count;
    struct buffer watches; /* struct watch and key, one behind the other */
};

static struct transaction *transaction_of(struct session *s)
{
    if (s->transaction != NULL)
        return s->transaction;
    struct transaction *t = heap_zalloc(s->node->heap, sizeof *t);
    if (t == NULL)
        return NULL;
    buffer_init(&t->queue, s->node->heap);
    buffer_init(&t->watches, s->node->heap);
    s->transaction = t;
    return t;
}

static void free_transaction(struct session *s, struct transaction *t)
{
    buffer_close(&t->queue);
    buffer_close(&t->watches);
    heap_free(s->node->heap, t);
}

void transaction_free(struct session *s)
{
    if (s->transaction != NULL)
        free_transaction(s, s->transaction);
    s->transaction = NULL;
}

int64_t transaction_queued(const struct session *s)
{
    return s->transaction == NULL || !s->transaction->open ? -1 : (int64_t)s->transaction->count;
}

/* --- queueing ------------------------------------------------------------------------------ */

bool transaction_takes(const struct command_call *call)
{
    const struct transaction *t = call->session->transaction;
    if (t == NULL || !t->open)
        return false;
    return call->command == NULL || (call->command->flags & COMMAND_AT_ONCE) == 0 ||
           !command_has_its_words(call);
}

static void append_size(struct buffer *b, uint64_t size)
{
    buffer_append(b, bytes_of(&size, sizeof size));
}

static uint64_t take_size(struct bytes *from)
{
    uint64_t size = get_u64(from->data);
    *from = bytes_after(*from, sizeof size);
    return size;
}

void transaction_queue(struct command_call *call)
{
    struct transaction *t = call->session->transaction;
    size_t bytes = sizeof(uint64_t);
    for (size_t i = 0; i < call->word_count; i++)
        bytes += sizeof(uint64_t) + call->words[i].size;
    bool failed_before = t->failed;
    t->failed = true;
    if (!command_is_well_formed(call))
        return;
    if ((call->command->flags & COMMAND_NO_MULTI) != 0) {
        reply_error(call->reply, "Command not allowed inside a transaction");
        return;
    }
    if (buffer_size(&t->queue) + bytes > call->node->config.max_query_bytes) {
        reply_error(call->reply, "a transaction takes at most %llu bytes (--max-query)",
                    (unsigned long long)call->node->config.max_query_bytes);
        return;
    }
    if (buffer_reserve(&t->queue, bytes) == NULL) {
        t->queue.failed = false; /* what it holds is good */
        reply_error(call->reply, "out of memory; the command was not queued");
        return;
    }
    append_size(&t->queue, call->word_count);
    for (size_t i = 0; i < call->word_count; i++) {
        append_size(&t->queue, call->words[i].size);
        buffer_append(&t->queue, call->words[i]);
    }
    t->failed = failed_before;
    t->count++;
    reply_status(call->reply, "QUEUED");
}

/* --- watching ------------------------------------------------------------------------------ */

static struct watch look_at(struct command_call *call, struct bytes key)
{
    struct record rec;
    struct watch w = {.key_bytes = key.size};
    if (command_look(call, key, &rec)) {
        w.stamp = rec.stamp;
        w.origin = rec.origin;
    }
    return w;
}

static void watch(struct command_call *call)
{
    struct transaction *t = transaction_of(call->session);
    if (t == NULL) {
        reply_error(call->reply, "out of memory");
        return;
    }
    if (t->open) {
        reply_error(call->reply, "WATCH inside MULTI is not allowed");
        return;
    }
    if (t->watch_count + call->word_count - 1 > TRANSACTION_WATCHES_MAX) {
        reply_error(call->reply, "at most %u keys can be watched", TRANSACTION_WATCHES_MAX);
        return;
    }
    for (size_t i = 1; i < call->word_count; i++) {
        struct watch w = look_at(call, call->words[i]);
        buffer_append(&t->watches, bytes_of(&w, sizeof w));
        buffer_append(&t->watches, call->words[i]);
        t->watch_count++;
    }
    if (buffer_failed(&t->watches)) {
        /* Half a promise is none. */
        transaction_free(call->session);
        reply_error(call->reply, "out of memory; nothing is watched");
        return;
    }
    reply_ok(call->reply);
}

static void unwatch(struct command_call *call)
{
    transaction_free(call->session);
    reply_ok(call->reply);
}

static bool watched_changed(struct command_call *call, const struct transaction *t)
{
    struct bytes rest = buffer_bytes(&t->watches);
    while (rest.size > 0) {
        struct watch was;
        memcpy(&was, rest.data, sizeof was);
        rest = bytes_after(rest, sizeof was);
        struct watch is = look_at(call, bytes_of(rest.data, was.key_bytes));
        if (is.stamp != was.stamp || is.origin != was.origin)
            return true;
        rest = bytes_after(rest, was.key_bytes);
    }
    return false;
}

/* --- the end ------------------------------------------------------------------------------- */

static void multi(struct command_call *call)
{
    struct transaction *t = transaction_of(call->session);
    if (t == NULL) {
        reply_error(call->reply, "out of memory");
    } else if (t->open) {
        reply_error(call->reply, "MULTI calls can not be nested");
    } else {
        t->open = true;
        reply_ok(call->reply);
    }
}

static void discard(struct command_call *call)
{
    struct transaction *t = call->session->transaction;
    if (t == NULL || !t->open) {
        reply_error(call->reply, "DISCARD without MULTI");
        return;
    }
    transaction_free(call->session);
    reply_ok(call->reply);
}

/* A shorter answer is not left out: saying so would take as much. */
#define REFUSAL_BYTES 128u

/* WAIT and WAITAOF do not wait here. */
static void answer_at_once(struct command_call *call)
{
    const struct command_wait *wait = &call->wait;
    if (wait->counts_synced) {
        reply_list(call->reply, 2);
        reply_number(call->reply, node_is_on_disk(call->node, wait->stamp));
        reply_number(call->reply, node_disk_confirmations(call->node, wait->stamp));
    } else {
        reply_number(call->reply, node_confirmations(call->node, wait->stamp));
    }
}

/* Runs the command at the front of `queue`, and takes it away. exec_begun: where the answer to all of them
 * begins. */
static void run_queued(struct command_call *exec, size_t exec_begun, struct bytes *queue,
                       struct resp_reader *words)
{
    size_t count = (size_t)take_size(queue);
    resp_reset(words);
    for (size_t i = 0; i < count; i++) {
        size_t size = (size_t)take_size(queue);
        struct bytes word = bytes_of(queue->data, size);
        buffer_append(&words->words, bytes_of(&word, sizeof word));
        *queue = bytes_after(*queue, size);
    }
    if (buffer_failed(&words->words)) {
        reply_error(exec->reply, "out of memory");
        return;
    }
    struct command_call call = *exec;
    call.words = resp_words(words);
    call.word_count = count;
    call.command = command_find(&exec->node->commands, call.words[0]);
    call.written = 0;
    call.in_exec = true;
    call.wait = (struct command_wait){.wanted = false};
    struct reply begun = *exec->reply;
    size_t before = buffer_size(begun.out);
    command_run(&call);
    if (call.wait.wanted)
        answer_at_once(&call);
    size_t size = buffer_size(begun.out);
    if (size - exec_begun > exec->node->config.max_reply_bytes && size - before > REFUSAL_BYTES) {
        buffer_truncate(begun.out, before); /* it was run all the same */
        *exec->reply = begun;
        command_refuse_reply(exec);
    }
    exec->written = call.written != 0 ? call.written : exec->written;
    exec->quit = exec->quit || call.quit;
}

static void run_all(struct command_call *call, const struct transaction *t)
{
    struct resp_reader words = {0};
    struct bytes queue = buffer_bytes(&t->queue);
    buffer_init(&words.words, call->node->heap);
    size_t begun = buffer_size(call->reply->out);
    reply_list(call->reply, t->count);
    for (size_t i = 0; i < t->count; i++)
        run_queued(call, begun, &queue, &words);
    buffer_close(&words.words);
}

static void exec(struct command_call *call)
{
    struct session *s = call->session;
    struct transaction *t = s->transaction;
    if (t == NULL || !t->open) {
        reply_error(call->reply, "EXEC without MULTI");
        return;
    }
    /* What is run is in no transaction any more: UNWATCH among it shall not free this one. */
    s->transaction = NULL;
    if (t->failed)
        reply_coded_error(call->reply, "EXECABORT",
                          "Transaction discarded because of previous errors.");
    else if (watched_changed(call, t))
        reply_missing_list(call->reply);
    else
        run_all(call, t);
    free_transaction(s, t);
}

bool transaction_abort(struct command_call *call)
{
    if (call->command->run != exec)
        return false;
    transaction_free(call->session);
    reply_coded_error(
        call->reply, "EXECABORT",
        "Transaction discarded because of: wrong number of arguments for 'exec' command");
    return true;
}

#define AT_ONCE (COMMAND_AT_ONCE | COMMAND_FAST | COMMAND_LOADING)

const struct command commands_transactions[] = {
    {"DISCARD", discard, 1, 0, 0, 0, AT_ONCE, 0, "transactions", "",
     "forget the commands since MULTI"},
    {"EXEC", exec, 1, 0, 0, 0, COMMAND_AT_ONCE | COMMAND_LOADING | COMMAND_SLOW, 0, "transactions",
     "", "run the commands since MULTI in one go; none if a watched key has changed"},
    {"MULTI", multi, 1, 0, 0, 0, AT_ONCE | COMMAND_READS_FIRST, 0, "transactions", "",
     "queue the commands that follow until EXEC"},
    {"UNWATCH", unwatch, 1, 0, 0, 0, COMMAND_FAST | COMMAND_LOADING, 0, "transactions", "",
     "watch no key any more"},
    {"WATCH", watch, -2, 1, -1, 1, AT_ONCE, 0, "transactions", "key [key ...]",
     "let the next EXEC do nothing if one of the keys changes before"},
    {0},
};
