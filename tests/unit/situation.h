/* A real node with one link, brought into any situation that a link can be in; the test plays the
 * other end. */
#ifndef SITUATION_H
#define SITUATION_H

#include "pair.h"
#include "peer.h"

enum situation {
    RECEIVER_HELLO,
    RECEIVER_HOLD, /* in a gap, while a delta comes from somebody else */
    RECEIVER_LIVE,
    RECEIVER_DELTA, /* live, and asked for a delta */
    SENDER_HELLO,
    SENDER_HOLD,
    SENDER_LIVE,
    SITUATIONS
};

struct fixture {
    struct pair pair;
    struct node *node;
    struct peer x;
    struct peer other; /* in RECEIVER_HOLD: from whom the delta comes */
    bool has_other;
};

void situation_open(struct fixture *f, enum situation situation);
void situation_close(struct fixture *f);

/* The state of the link in that situation. */
enum link_state situation_state(enum situation situation);

/* Fails unless the link is over, and says why in one line that holds the reason. */
void situation_assert_ended(const struct fixture *f, const char *reason);

#endif
