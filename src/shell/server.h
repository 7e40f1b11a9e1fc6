/* The server: one libuv loop around one node. It feeds the node what arrives, and once a turn
 * drains what the node has ready. */
#ifndef SHELL_SERVER_H
#define SHELL_SERVER_H

#include "host.h"
#include "input.h"
#include "kv/node.h"
#include "log.h"
#include "options.h"
#include "periodic.h"
#include "persistence.h"

#include <uv.h>

struct server {
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_prepare_t turn; /* runs once a turn, before the loop waits */
    uv_timer_t tick;
    uv_idle_t busy; /* keeps the loop from waiting while a scan has work */
    uv_signal_t signals[2];
    const struct options *options; /* borrowed */
    struct log log;
    struct heap heap;
    struct node *node;
    struct host host;
    struct persistence persistence;
    struct periodic periodic;
    struct list conns; /* struct conn */
    struct list dials; /* struct dial */
    struct moment now; /* see server_now */
    bool accept_waits; /* a connection could not be accepted for want of memory */
    bool stopping;
    int status; /* to exit with */
    uint64_t stop_mono_ms; /* when to give up waiting for what is owed */
    char name[OPTIONS_TEXT_MAX];
    struct input input; /* of all connections */
};

/* Runs a node until a signal ends it. options: borrowed. Returns the process's exit status; what
 * went wrong is in the log. */
int server_run(const struct options *options);

/* The time of this turn of the loop. */
struct moment server_now(struct server *s);

/* Writes what the core has to say to the log. */
void server_log_notices(struct server *s);

/* Ends the process, at once, when a sync has failed: what is on the disk then cannot be known. */
void server_check_disk(struct server *s);

#endif
