/* Notices: what the core has to say to the operator. It writes no log; the shell takes these and
 * does. */
#ifndef KV_NOTICE_H
#define KV_NOTICE_H

#include <stdbool.h>
#include <stdint.h>

#define NOTICE_TEXT_BYTES 320
/* More than that between two turns of the loop are counted and dropped. */
#define NOTICES_MAX 64

enum notice_level { NOTICE_DEBUG, NOTICE_INFO, NOTICE_WARN };

struct notice {
    enum notice_level level;
    char text[NOTICE_TEXT_BYTES];
};

struct notices {
    struct notice queue[NOTICES_MAX];
    uint32_t first, count;
    uint64_t dropped;
};

/* text: what happened, to whom, and what happens next; one line. */
__attribute__((format(printf, 3, 4))) void notice_add(struct notices *n, enum notice_level level,
                                                      const char *format, ...);

/* Takes the oldest. False when there is none. */
bool notice_take(struct notices *n, struct notice *out);

#endif
