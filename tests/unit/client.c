/* A client of one node, in one process. */
#include "client.h"

int client_set_up(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    pair_open(p, 1);
    p->nodes[0].peers = 0;
    *state = p;
    return 0;
}

int client_tear_down(void **state)
{
    struct pair *p = *state;
    pair_close(p);
    free(p);
    return 0;
}

static void append_word(struct buffer *array, struct bytes word)
{
    if (bytes_equal(word, bytes_text("~")))
        word.size = 0;
    buffer_printf(array, "$%zu\r\n", word.size);
    buffer_append(array, word);
    buffer_append_text(array, "\r\n");
}

const char *client_send(struct pair *p, const char *words)
{
    struct buffer array;
    size_t count = 1;
    for (const char *c = words; *c != 0; c++)
        count += *c == ' ';
    buffer_init(&array, &p->heap.heap);
    buffer_printf(&array, "*%zu\r\n", count);
    for (const char *word = words; count > 0; count--) {
        size_t size = strcspn(word, " ");
        append_word(&array, bytes_of(word, size));
        word += size + 1;
    }
    session_read(&p->nodes[0].session, pair_now(p, 0), buffer_bytes(&array));
    buffer_close(&array);
    const char *reply = pair_replies(p, 0);
    size_t size = strlen(reply);
    if (size == 0)
        return reply; /* not yet */
    assert_true(reply[size - 1] == '\r');
    p->reply.data[p->reply.start + size - 1] = 0;
    return reply;
}

bool client_is_refused(struct pair *p, const char *line, const char *part)
{
    const char *reply = pair_command(p, 0, line);
    return strncmp(reply, "ERROR ", 6) == 0 && strstr(reply, part) != NULL &&
           strchr(reply, '\n') == NULL;
}

const char *client_finish(struct pair *p, uint32_t node)
{
    struct session *s = &p->nodes[node].session;
    while (s->flush != NULL)
        session_resume(s, pair_now(p, node));
    return pair_replies(p, node);
}
