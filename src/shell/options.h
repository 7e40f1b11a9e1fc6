/* The options of the server: from the command line, the environment, a file, or their defaults. */
#ifndef SHELL_OPTIONS_H
#define SHELL_OPTIONS_H

#include "log.h"

#include "kv/storage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define OPTIONS_PEERS_MAX      64
#define OPTIONS_TEXT_MAX       256 /* bytes of any text here, with its NUL */
#define OPTIONS_NAME_BYTES_MAX 64 /* bytes of a member's or cluster's name, without the NUL */
#define OPTIONS_ERROR_BYTES    1024 /* room for an error line of options_parse; a longer one is cut */

/* What is done with commands that read first and then write. */
enum options_rmw { OPTIONS_RMW_LOCAL, OPTIONS_RMW_REJECT };

/* Where a member can be dialled. */
struct options_address {
    char host[OPTIONS_TEXT_MAX]; /* a name, an IPv4 address, or an IPv6 one without brackets */
    uint16_t port; /* 1..65535 */
};

/* A plain value that owns nothing. All text is NUL-terminated. */
struct options {
    char bind[OPTIONS_TEXT_MAX]; /* a numeric IPv4 or IPv6 address, without brackets */
    uint16_t port; /* 0 = any free one */
    char name[OPTIONS_TEXT_MAX]; /* "" = not given: host name and port, known once bound */
    char cluster[OPTIONS_TEXT_MAX]; /* 1..64 bytes of printable ASCII without spaces and '=' */
    struct options_address peers[OPTIONS_PEERS_MAX]; /* no two alike */
    size_t peer_count;
    struct options_address advertise; /* host "" = not given */
    char data_dir[OPTIONS_TEXT_MAX]; /* "" = memory only */
    enum storage_sync fsync;
    uint64_t segment_bytes; /* at least 64 KiB */
    uint64_t snapshot_bytes;
    uint32_t snapshot_percent;
    bool salvage;
    char backup_dir[OPTIONS_TEXT_MAX]; /* "" = no periodic backups */
    uint64_t backup_interval_ms; /* at least 1000 */
    uint32_t backup_keep; /* at least 1 */
    char check[OPTIONS_TEXT_MAX]; /* "" = not asked for */
    bool repair_tail; /* only with check */
    uint32_t min_acks; /* 0..OPTIONS_PEERS_MAX */
    uint64_t ack_timeout_ms; /* at least 1 */
    uint64_t max_clock_drift_ms; /* at least 10 */
    uint64_t tombstone_memory_bytes;
    uint64_t forget_after_ms;
    uint64_t max_memory_bytes; /* 0 = no limit */
    uint64_t max_value_bytes; /* 1..512 MiB */
    uint32_t max_clients; /* at least 1 */
    uint64_t journal_memory_bytes; /* at least 1 MiB */
    uint64_t keys_limit; /* of the KEYS command */
    uint64_t max_reply_bytes; /* at least 64 KiB */
    uint64_t max_query_bytes; /* likewise */
    uint32_t max_arguments; /* at least 8 */
    enum options_rmw rmw;
    uint64_t max_output_bytes; /* at least 1 KiB */
    uint64_t output_timeout_ms; /* at least 1 */
    uint64_t shutdown_timeout_ms; /* 0 = at once */
    enum log_level log_level;
    enum log_format log_format;
    bool healthcheck, show_version, show_help;
    bool export_json, import_json;
};

/* Read all sources; a flag comes before the environment, that before the file, that before the
 * default. With --help or --version only the names of the flags are looked at, so that these work
 * whatever else is wrong.
 *
 * o       written; complete on success only.
 * argv    borrowed; argc entries and a NULL; the first is the program and is skipped.
 * env     borrowed; "NAME=value" entries, NULL-terminated. An empty value counts as not given.
 * error   written on -EINVAL: one line, without its end and escaped, that names the option, where
 *         it was set, the value, and what would be right. error_bytes is at least 4.
 * Returns 0 or -EINVAL. Reads the file that --config or KV_CONFIG names, nothing else. */
int options_parse(struct options *o, int argc, char **argv, char **env, char *error,
                  size_t error_bytes);

/* The text of --help: each option with its values and default. */
void options_print_help(FILE *out);

#endif
