/* MULTI, EXEC and WATCH of one session. What is queued runs in one go on this node; to other nodes it is
 * plain records, which arrive one after another. */
#ifndef KV_TRANSACTION_H
#define KV_TRANSACTION_H

#include "kv/command.h"

/* Keys that one session may watch. */
#define TRANSACTION_WATCHES_MAX 10000u

/* Whether the command is to be queued, not run. */
bool transaction_takes(const struct command_call *call);

/* Queues it and answers so, or answers why it cannot be: then EXEC will refuse. */
void transaction_queue(struct command_call *call);

/* An EXEC with a wrong number of words: it ends the transaction all the same, and is answered. False when
 * the command is another one. */
bool transaction_abort(struct command_call *call);

/* How many commands are queued; -1 outside of MULTI. */
int64_t transaction_queued(const struct session *s);

/* Forgets what is queued and watched. */
void transaction_free(struct session *s);

#endif
