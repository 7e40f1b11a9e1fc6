/* What took long: the last slow commands (SLOWLOG), and the longest of each kind (LATENCY).
 *
 * Taking the time of a GET would cost a good part of what it costs. So a command's time is taken only
 * if it may be slow at all (COMMAND_SLOW, many words, large ones), or if the threshold is so low that
 * any may be. */
#ifndef KV_SLOWLOG_H
#define KV_SLOWLOG_H

#include "kv/bytes.h"
#include "kv/heap.h"

#include <stdbool.h>

/* As Redis has them by default: slowlog-log-slower-than, slowlog-max-len. */
#define SLOWLOG_THRESHOLD_US 10000
#define SLOWLOG_LENGTH       128u
#define SLOWLOG_LENGTH_MAX   10000u

/* Below this threshold every command's time is taken. */
#define SLOWLOG_ALWAYS_US 1000

struct command_call;
struct node;
struct slowlog;

/* NULL when out of memory. heap: borrowed for its life. */
struct slowlog *slowlog_new(struct heap *heap);
void slowlog_free(struct slowlog *log);

/* Whether the time of this call shall be taken. */
bool slowlog_wants(const struct slowlog *log, const struct command_call *call);

/* Told how long it took. */
void slowlog_note(struct slowlog *log, const struct command_call *call, uint64_t took_us);

#endif
