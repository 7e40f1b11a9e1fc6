/* Gathering what clients sent. */
#include "input.h"

#include "conn.h"
#include "kv/check.h"

char *input_room(struct input *in)
{
    return in->buffer + in->used;
}

void input_gather(struct conn *c, size_t size, bool has_more)
{
    struct input *in = &c->server->input;
    CHECK(in->count < STORE_PREFETCH_MAX && !c->has_input && !in->running);
    c->has_input = true;
    in->pieces[in->count++] = (struct input_piece){
        .conn = c, .bytes = bytes_of(input_room(in), size), .has_more = has_more};
    in->used += size;
    if (in->count == STORE_PREFETCH_MAX || in->used > INPUT_GATHERED_BYTES)
        input_run(c->server);
}

/* One alone would wait for the caches as long either way. */
static void look_ahead(struct server *s)
{
    const struct input *in = &s->input;
    struct bytes keys[STORE_PREFETCH_MAX];
    size_t count = 0;
    for (size_t i = 0; in->count > 1 && i < in->count; i++) {
        struct conn *c = in->pieces[i].conn;
        if (c != NULL && session_first_key(&c->session, in->pieces[i].bytes, &keys[count]))
            count++;
    }
    if (count > 1)
        store_prefetch(s->node->store, keys, count);
}

void input_run(struct server *s)
{
    struct input *in = &s->input;
    if (in->count == 0)
        return;
    look_ahead(s);
    in->running = true;
    for (size_t i = 0; i < in->count; i++) {
        struct conn *c = in->pieces[i].conn;
        if (c == NULL)
            continue;
        c->has_input = false;
        conn_read(c, in->pieces[i].bytes, in->pieces[i].has_more);
    }
    in->running = false;
    in->count = in->used = 0;
}

void input_drop(struct conn *c)
{
    struct input *in = &c->server->input;
    for (size_t i = 0; c->has_input && i < in->count; i++) {
        if (in->pieces[i].conn == c)
            in->pieces[i].conn = NULL;
    }
    c->has_input = false;
}
