/* What clients sent, gathered over one turn of the loop, so that what several of them ask for can be asked
 * of the caches together: one by one, each command would wait for misses of its own. */
#ifndef SHELL_INPUT_H
#define SHELL_INPUT_H

#include "kv/store.h"

/* The most that is read at once. */
#define INPUT_READ_BYTES (64u << 10)

/* What is gathered, at most; then it is run. Small enough for the fast caches. */
#define INPUT_GATHERED_BYTES (32u << 10)

struct conn;
struct server;

struct input_piece {
    struct conn *conn; /* borrowed; NULL once that was closed */
    struct bytes bytes; /* in the buffer */
    bool has_more;
};

struct input {
    size_t used; /* bytes of the buffer that hold what was gathered */
    size_t count;
    bool running;
    struct input_piece pieces[STORE_PREFETCH_MAX];
    char buffer[INPUT_GATHERED_BYTES + INPUT_READ_BYTES];
};

/* Where the next bytes of any connection may be read to: INPUT_READ_BYTES of room. They stay only if
 * they are gathered. */
char *input_room(struct input *in);

/* Gathers what was read there last. The connection must be an identified client's, with nothing gathered
 * yet. has_more: as much was read as was asked for. */
void input_gather(struct conn *c, size_t size, bool has_more);

/* Lets the sessions read what was gathered, in the order in which it came. */
void input_run(struct server *s);

/* The connection ends: what it sent is not run any more. */
void input_drop(struct conn *c);

#endif
