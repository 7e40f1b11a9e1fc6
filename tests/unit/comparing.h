/* A node with a past, and a peer by hand that compares with it: what the tests of lists and digests
 * begin with. */
#ifndef COMPARING_H
#define COMPARING_H

#include "situation.h"

/* Runs that have ended; the node has merged all of FIRST and SECOND up to PAST_STAMP. */
#define FIRST_ORIGIN   UINT64_C(77)
#define SECOND_ORIGIN  UINT64_C(78)
#define UNKNOWN_ORIGIN UINT64_C(88)
#define PAST_STAMP     UINT64_C(1000)

struct comparing {
    struct fixture f; /* to be closed with situation_close */
    char keys[8][16]; /* all of one partition */
    uint32_t partition;
};

/* A node whose vector says as much, without a link. */
void comparing_open(struct comparing *c);

/* A record that the node keeps of its past. */
struct record comparing_record(const char *key, uint64_t stamp, uint64_t origin);
void comparing_hold(struct comparing *c, const struct record *rec);

/* Makes a fresh vector of up to two entries; those of origin 0 are left out. To be closed. */
void comparing_vector(struct comparing *c, struct vector *v, uint64_t first, uint64_t second);

/* The peer dials, is ahead, and has been asked for a delta, which it has not begun. */
void comparing_ask(struct comparing *c);
/* The peer dials and is asked for its stream, which has nothing. */
void comparing_link(struct comparing *c);
/* The peer was dialled, and has introduced itself. */
void comparing_dial(struct comparing *c);

/* Whether the key is live at the node, with that stamp. */
bool comparing_has(struct comparing *c, const char *key, uint64_t stamp);
/* Whether a tombstone with that stamp and origin is there. */
bool comparing_deleted(struct comparing *c, const char *key, uint64_t stamp, uint64_t origin);

#endif
