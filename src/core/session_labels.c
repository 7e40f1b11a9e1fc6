/* What clients say of themselves: CLIENT SETNAME and SETINFO. */
#include "command_internal.h"
#include "kv/node.h"

static struct buffer *buffer_of(struct session_labels *labels, enum session_label which)
{
    switch (which) {
    case SESSION_NAME:
        return &labels->name;
    case SESSION_LIBRARY_NAME:
        return &labels->library_name;
    case SESSION_LIBRARY_VERSION:
        break;
    }
    return &labels->library_version;
}

bool session_label_is_valid(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '!' || text.data[i] > '~')
            return false;
    }
    return true;
}

static struct session_labels *labels_new(struct heap *heap)
{
    struct session_labels *labels = heap_alloc(heap, sizeof *labels);
    if (labels == NULL)
        return NULL;
    buffer_init(&labels->name, heap);
    buffer_init(&labels->library_name, heap);
    buffer_init(&labels->library_version, heap);
    return labels;
}

bool session_set_label(struct session *s, enum session_label which, struct bytes text)
{
    struct buffer fresh;
    if (s->labels == NULL && text.size == 0)
        return true;
    if (s->labels == NULL)
        s->labels = labels_new(s->node->heap);
    if (s->labels == NULL)
        return false;
    buffer_init(&fresh, s->node->heap);
    buffer_append(&fresh, text);
    if (buffer_failed(&fresh)) {
        buffer_close(&fresh);
        return false;
    }
    buffer_move(buffer_of(s->labels, which), &fresh);
    return true;
}

struct bytes session_label(const struct session *s, enum session_label which)
{
    return s->labels == NULL ? bytes_of(NULL, 0) : buffer_bytes(buffer_of(s->labels, which));
}
