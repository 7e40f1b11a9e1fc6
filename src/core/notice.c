/* A small queue of texts. */
#include "kv/notice.h"

#include <stdarg.h>
#include <stdio.h>

void notice_add(struct notices *n, enum notice_level level, const char *format, ...)
{
    if (n->count == NOTICES_MAX) {
        n->dropped++;
        return;
    }
    struct notice *notice = &n->queue[(n->first + n->count++) % NOTICES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(notice->text, sizeof notice->text, format, arguments);
    va_end(arguments);
    notice->level = level;
}

bool notice_take(struct notices *n, struct notice *out)
{
    if (n->count == 0) {
        if (n->dropped == 0)
            return false;
        out->level = NOTICE_WARN;
        snprintf(out->text, sizeof out->text, "%llu further events were not logged",
                 (unsigned long long)n->dropped);
        n->dropped = 0;
        return true;
    }
    *out = n->queue[n->first];
    n->first = (n->first + 1) % NOTICES_MAX;
    n->count--;
    return true;
}
