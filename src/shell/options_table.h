/* The table of options, which everything about them is derived from. Private to options*.c. */
#ifndef SHELL_OPTIONS_TABLE_H
#define SHELL_OPTIONS_TABLE_H

#include "options.h"

#include <stddef.h>
#include <stdint.h>

#define OPTIONS_KIB      UINT64_C(1024)
#define OPTIONS_MIB      (1024 * OPTIONS_KIB)
#define OPTIONS_TIB      (1024 * 1024 * OPTIONS_MIB)
#define OPTIONS_DAY_MS   UINT64_C(86400000)
#define OPTIONS_VARIABLE 64 /* bytes of KV_… of the longest option, with its NUL */

enum option_kind {
    OPTION_SWITCH, /* takes no value; on the command line only */
    OPTION_NUMBER, /* min..max */
    OPTION_SIZE, /* min..max bytes */
    OPTION_TIME, /* min..max milliseconds */
    OPTION_CHOICE, /* one of the words of the placeholder, stored as its place there */
    OPTION_NAME, /* 1..OPTIONS_NAME_BYTES_MAX printable characters */
    OPTION_BIND, /* a numeric address */
    OPTION_ADDRESS, /* one host:port or none */
    OPTION_PEERS, /* host:port,… */
    OPTION_PATH, /* of a file or directory; with min 0 it may be empty */
    OPTION_CONFIG /* the path of the file; not in the file itself */
};

#define OPTION_AT(field) offsetof(struct options, field), sizeof(((struct options *)0)->field)
#define OPTION_NOWHERE   0, 0

/* X(id, name, kind, min, max, field, default, placeholder, help) */
#define OPTIONS(X)                                                                                 \
    X(PORT, "port", NUMBER, 0, UINT16_MAX, OPTION_AT(port), "8080", "N",                           \
      "TCP port for clients and peers; 0 takes any free one")                                      \
    X(BIND, "bind", BIND, 0, 0, OPTION_AT(bind), "127.0.0.1", "ADDRESS",                           \
      "numeric address to listen on; 0.0.0.0 or :: for all")                                       \
    X(NAME, "name", NAME, 0, 0, OPTION_AT(name), NULL, "NAME",                                     \
      "name of this node, its own in the cluster (default: host name:port)")                       \
    X(PEERS, "peers", PEERS, 0, 0, OPTION_AT(peers), NULL, "HOST:PORT,…",                          \
      "nodes to join; one is enough, and this node may be among them")                             \
    X(ADVERTISE, "advertise", ADDRESS, 0, 0, OPTION_AT(advertise), NULL, "HOST:PORT",              \
      "where peers reach this node (default: the address they see)")                               \
    X(CLUSTER, "cluster", NAME, 0, 0, OPTION_AT(cluster), "simple-kv", "NAME",                     \
      "name of the cluster; nodes of another one are refused")                                     \
    X(DATA_DIR, "data-dir", PATH, 0, 0, OPTION_AT(data_dir), NULL, "PATH",                         \
      "directory of this node's data (default: none, it is in memory only)")                       \
    X(FSYNC, "fsync", CHOICE, 0, 0, OPTION_AT(fsync), "everysec", "always|everysec|no",            \
      "when writes are synced: before the reply, or each second")                                  \
    X(SEGMENT_SIZE, "segment-size", SIZE, 64 * OPTIONS_KIB, OPTIONS_TIB, OPTION_AT(segment_bytes), \
      "64MiB", "SIZE", "the largest file of the journal in --data-dir")                            \
    X(SNAPSHOT_SIZE, "snapshot-size", SIZE, 64 * OPTIONS_KIB, OPTIONS_TIB,                         \
      OPTION_AT(snapshot_bytes), "64MiB", "SIZE",                                                  \
      "a snapshot replaces a journal of more than this …")                                         \
    X(SNAPSHOT_PERCENT, "snapshot-percent", NUMBER, 0, 100000, OPTION_AT(snapshot_percent), "150", \
      "N", "… that, with the last one, is over N percent of the live data")                        \
    X(BACKUP_DIR, "backup-dir", PATH, 0, 0, OPTION_AT(backup_dir), NULL, "PATH",                   \
      "directory of periodic backups (default: none are made)")                                    \
    X(BACKUP_INTERVAL, "backup-interval", TIME, 1000, 3650 * OPTIONS_DAY_MS,                       \
      OPTION_AT(backup_interval_ms), "1d", "TIME", "how often one is made")                        \
    X(BACKUP_KEEP, "backup-keep", NUMBER, 1, 1000000, OPTION_AT(backup_keep), "7", "N",            \
      "how many of this node's are kept there; older ones are removed")                            \
    X(MIN_ACKS, "min-acks", NUMBER, 0, OPTIONS_PEERS_MAX, OPTION_AT(min_acks), "0", "N",           \
      "peers that must confirm a write before its reply")                                          \
    X(ACK_TIMEOUT, "ack-timeout", TIME, 1, OPTIONS_DAY_MS, OPTION_AT(ack_timeout_ms), "1000ms",    \
      "TIME", "how long a reply waits for --min-acks")                                             \
    X(MAX_CLOCK_DRIFT, "max-clock-drift", TIME, 10, OPTIONS_DAY_MS, OPTION_AT(max_clock_drift_ms), \
      "5000ms", "TIME", "how far clocks may differ; peers further ahead are refused")              \
    X(TOMBSTONE_MEMORY, "tombstone-memory", SIZE, OPTIONS_KIB, OPTIONS_TIB,                        \
      OPTION_AT(tombstone_memory_bytes), "64MiB", "SIZE",                                          \
      "deletes kept for nodes that are away; more are dropped")                                    \
    X(FORGET_AFTER, "forget-after", TIME, 1000, 3650 * OPTIONS_DAY_MS, OPTION_AT(forget_after_ms), \
      "7d", "TIME", "how long deletes are kept for a node that is away")                           \
    X(MAX_MEMORY, "max-memory", SIZE, 0, OPTIONS_TIB, OPTION_AT(max_memory_bytes), "0", "SIZE",    \
      "data beyond which writes that add to it are refused; 0 = no limit")                         \
    X(MAX_VALUE, "max-value", SIZE, 1, 512 * OPTIONS_MIB, OPTION_AT(max_value_bytes), "16MiB",     \
      "SIZE", "longest value taken from a client, at most 512MiB")                                 \
    X(MAX_QUERY, "max-query", SIZE, 64 * OPTIONS_KIB, OPTIONS_TIB, OPTION_AT(max_query_bytes),     \
      "1GiB", "SIZE", "longest command of a Redis client, all its words together")                 \
    X(MAX_REPLY, "max-reply", SIZE, 64 * OPTIONS_KIB, OPTIONS_TIB, OPTION_AT(max_reply_bytes),     \
      "64MiB", "SIZE", "longest list in one reply: MGET, KEYS, EXEC")                              \
    X(MAX_ARGUMENTS, "max-arguments", NUMBER, 8, UINT32_MAX, OPTION_AT(max_arguments), "1048576",  \
      "N", "most words of a Redis client's command")                                               \
    X(RMW, "rmw", CHOICE, 0, 0, OPTION_AT(rmw), "local", "local|reject",                           \
      "commands that read first, such as INCR: run them here, or not")                             \
    X(MAX_CLIENTS, "max-clients", NUMBER, 1, 1000000, OPTION_AT(max_clients), "10000", "N",        \
      "client connections at a time")                                                              \
    X(JOURNAL_MEMORY, "journal-memory", SIZE, OPTIONS_MIB, OPTIONS_TIB,                            \
      OPTION_AT(journal_memory_bytes), "64MiB", "SIZE",                                            \
      "recent writes kept to stream to peers from")                                                \
    X(KEYS_LIMIT, "keys-limit", NUMBER, 0, UINT32_MAX, OPTION_AT(keys_limit), "100000", "N",       \
      "KEYS is refused when the store holds more keys")                                            \
    X(MAX_OUTPUT, "max-output", SIZE, OPTIONS_KIB, OPTIONS_TIB, OPTION_AT(max_output_bytes),       \
      "1MiB", "SIZE", "unsent replies at which a client's next commands wait")                     \
    X(OUTPUT_TIMEOUT, "output-timeout", TIME, 1, OPTIONS_DAY_MS, OPTION_AT(output_timeout_ms),     \
      "60s", "TIME", "a client that takes no reply byte for so long is closed")                    \
    X(SHUTDOWN_TIMEOUT, "shutdown-timeout", TIME, 0, OPTIONS_DAY_MS,                               \
      OPTION_AT(shutdown_timeout_ms), "5s", "TIME",                                                \
      "how long a stop waits for clients and peers to take what is owed")                          \
    X(LOG_LEVEL, "log-level", CHOICE, 0, 0, OPTION_AT(log_level), "info", "debug|info|warn|error", \
      "least severe events logged")                                                                \
    X(LOG_FORMAT, "log-format", CHOICE, 0, 0, OPTION_AT(log_format), "text", "text|json",          \
      "form of the log on standard error")                                                         \
    X(CONFIG, "config", CONFIG, 0, 0, OPTION_NOWHERE, NULL, "FILE",                                \
      "INI file of options, such as: port = 8080")                                                 \
    X(SALVAGE, "salvage", SWITCH, 0, 0, OPTION_AT(salvage), NULL, "",                              \
      "start with what is intact of a damaged --data-dir")                                         \
    X(CHECK, "check", PATH, 1, 0, OPTION_AT(check), NULL, "PATH",                                  \
      "verify a data directory or a backup; exit 0, 1 or 2")                                       \
    X(REPAIR_TAIL, "repair-tail", SWITCH, 0, 0, OPTION_AT(repair_tail), NULL, "",                  \
      "with --check: cut off the torn tail that a crash has left")                                 \
    X(HEALTHCHECK, "healthcheck", SWITCH, 0, 0, OPTION_AT(healthcheck), NULL, "",                  \
      "ask the node at --bind and --port whether it answers; exit 0 or 1")                         \
    X(EXPORT, "export", SWITCH, 0, 0, OPTION_AT(export_json), NULL, "",                            \
      "turn a backup on standard input into JSON lines on standard output")                        \
    X(IMPORT, "import", SWITCH, 0, 0, OPTION_AT(import_json), NULL, "",                            \
      "turn JSON lines on standard input into a backup on standard output")                        \
    X(VERSION, "version", SWITCH, 0, 0, OPTION_AT(show_version), NULL, "", "print the version")    \
    X(HELP, "help", SWITCH, 0, 0, OPTION_AT(show_help), NULL, "", "print this text")

enum option_id {
#define OPTION_ID(id, ...) OPTION_##id##_ID,
    OPTIONS(OPTION_ID)
#undef OPTION_ID
        OPTION_COUNT
};

struct option {
    const char *name; /* without dashes */
    enum option_kind kind;
    uint64_t min, max; /* of numbers, sizes and times */
    size_t offset, size; /* of the field of struct options */
    const char *default_text; /* parsed like any other value; NULL = the field stays zero */
    const char *placeholder; /* stands for the value in --help; "" for a switch */
    const char *help; /* one line */
};

#define OPTIONS_EXPECTED_BYTES 160

/* options_store.c: what a right value of the option looks like. */
void option_describe_expected(const struct option *option, char out[OPTIONS_EXPECTED_BYTES]);

/* Stores the value that text stands for in the option's field. 0, or -EINVAL and nothing stored. Not
 * for peers, whose list may come in parts. */
int option_store(struct options *o, const struct option *option, const char *text);

/* Adds host:port,… to the peers. Spaces around and a comma behind the last one are fine, so that a
 * list may go on on the next line of a file. Returns where text is wrong, NULL if nowhere. */
const char *option_add_peers(struct options *o, const char *text);

/* Indexed by enum option_id. */
extern const struct option OPTION_TABLE[OPTION_COUNT];

/* The option of that name (name_bytes bytes, without dashes), NULL if there is none. */
const struct option *option_find(const char *name, size_t name_bytes);

/* The option whose name is most like a misspelt one, NULL if none is much like it. */
const struct option *option_nearest(const char *name, size_t name_bytes);

/* The environment variable of an option: KV_ACK_TIMEOUT. */
void option_variable(const struct option *option, char out[OPTIONS_VARIABLE]);

#endif
