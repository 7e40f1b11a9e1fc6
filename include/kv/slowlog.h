/* What took long: the last slow commands (SLOWLOG), and the longest of each kind (LATENCY).
 *
 * Taking the time of a GET would cost a good part of what it costs. So a command's time is taken only
 * if it may be slow at all (COMMAND_SLOW, many words, large ones), or if the threshold is so low that
 * any may be. */
#ifndef KV_SLOWLOG_H
#define KV_SLOWLOG_H

#include "kv/bytes.h"
#include "kv/heap.h"
#include "kv/list.h"

#include <stdbool.h>

/* As Redis has them by default: slowlog-log-slower-than, slowlog-max-len. */
#define SLOWLOG_THRESHOLD_US 10000
#define SLOWLOG_LENGTH       128u
#define SLOWLOG_LENGTH_MAX   10000u

/* Below this threshold every command's time is taken. */
#define SLOWLOG_ALWAYS_US 1000

/* Beyond these a command may be slow for its size. */
#define SLOWLOG_MANY_WORDS  64u
#define SLOWLOG_LARGE_BYTES (64u << 10)

/* What is kept of a command, as in Redis: so many words, of each so many bytes; the last one, or the
 * end of a word, tells what was left out. */
#define SLOWLOG_WORDS_MAX      32u
#define SLOWLOG_WORD_BYTES_MAX 128u

/* "[IPv6]:port" and its NUL; names of clients are cut at the second. */
#define SLOWLOG_ADDRESS_BYTES 64u
#define SLOWLOG_NAME_BYTES    64u

/* Samples kept of an event, one a second at most. */
#define LATENCY_SAMPLES_MAX 160u

struct command_call;
struct node;

/* A command that took long; one allocation, its words behind it. */
struct slow_command {
    struct list all; /* among the log's, newest first */
    uint64_t id; /* counts from 0 */
    uint64_t time_s; /* Unix time at which it ended */
    uint64_t took_us;
    char address[SLOWLOG_ADDRESS_BYTES], name[SLOWLOG_NAME_BYTES]; /* the client's; "" = none */
    uint32_t word_count;
    uint16_t word_bytes[SLOWLOG_WORDS_MAX];
    char words[]; /* one behind the other */
};

struct latency_sample {
    uint64_t time_s; /* Unix time */
    uint64_t ms; /* the longest in that second */
};

/* Commands that Redis counts as fast have an event of their own. */
enum latency_event { LATENCY_COMMAND, LATENCY_FAST_COMMAND, LATENCY_EVENTS };

struct latency {
    struct latency_sample samples[LATENCY_SAMPLES_MAX]; /* a ring */
    uint32_t count, next;
    uint64_t max_ms; /* since the last reset */
};

struct slowlog {
    struct heap *heap; /* borrowed */
    int64_t threshold_us; /* < 0: nothing is logged */
    uint64_t length_max; /* 0..SLOWLOG_LENGTH_MAX */
    uint64_t latency_threshold_ms; /* 0: no latency is kept */
    struct list commands; /* struct slow_command */
    uint64_t length;
    uint64_t next_id;
    struct latency latency[LATENCY_EVENTS];
};

/* NULL when out of memory. heap: borrowed for its life. */
struct slowlog *slowlog_new(struct heap *heap);
/* log may be NULL. */
void slowlog_free(struct slowlog *log);

/* Forgets the slow commands. */
void slowlog_reset(struct slowlog *log);

/* Whether the time of this call shall be taken. */
bool slowlog_wants(const struct slowlog *log, const struct command_call *call);

/* Told how long it took. Without memory for it the command is not logged. */
void slowlog_note(struct slowlog *log, const struct command_call *call, uint64_t took_us);

#endif
