/* The node: store, journal, vector, members, sessions and links, tied together.
 *
 * It does nothing by itself and calls nobody: the shell feeds sessions and links, calls node_tick
 * when its deadline comes, and drains what is ready. */
#ifndef KV_NODE_H
#define KV_NODE_H

#include "kv/command.h"
#include "kv/journal.h"
#include "kv/link.h"
#include "kv/list.h"
#include "kv/members.h"
#include "kv/moment.h"
#include "kv/notice.h"
#include "kv/random.h"
#include "kv/resp.h"
#include "kv/session.h"
#include "kv/stamp.h"
#include "kv/store.h"
#include "kv/vector.h"

#define NODE_TICK_MS 100u

/* How soon a sweep goes on when there is more to do. */
#define NODE_SWEEP_MS 10u

/* A link that ended over the clocks counts as a peer that disagrees for so long: more than the
 * longest pause between two attempts. */
#define NODE_CLOCK_REFUSED_MS 15000u

#define REFUSAL_TEXT_BYTES  256u
#define REFUSALS_REMEMBERED 8u

/* A refusal that was logged: the same one is not logged again and again. */
struct refusal_logged {
    char text[REFUSAL_TEXT_BYTES];
    uint64_t mono_ms;
};

/* Texts are borrowed for the node's life. */
struct node_config {
    const char *name; /* 1..MEMBER_NAME_BYTES bytes */
    const char *cluster; /* likewise */
    const char *version;
    const char *advertise_host; /* "" = as peers see it */
    uint16_t advertise_port; /* where peers reach this node */
    uint64_t origin; /* > 0, random, new at every start */
    uint64_t random_seed;
    uint32_t min_acks;
    uint64_t ack_timeout_ms;
    bool keeps_disk; /* node_synced tells what survives a crash; else nothing does */
    uint64_t max_memory_bytes; /* 0 = no limit */
    uint64_t tombstone_memory_bytes; /* beyond it they are dropped by force; 0 = no limit */
    uint64_t forget_after_ms; /* a member not linked for so long is forgotten; 0 = never */
    uint64_t max_clock_drift_ms; /* > 0: how far clocks may differ */
    uint64_t max_value_bytes;
    uint64_t journal_bytes;
    uint64_t keys_limit;
    uint32_t max_clients; /* for INFO; the shell refuses further ones */
    uint64_t max_output_bytes;
    uint64_t max_reply_bytes; /* of one list; a single value may have more */
    uint64_t max_query_bytes; /* of one command of a RESP client; of what MULTI queues too */
    uint64_t max_words; /* likewise */
    bool rmw_reject; /* commands that read first and then write are refused */
};

/* What is known of the periodic backups; the shell makes them, and keeps this. For INFO. */
struct node_periodic {
    bool wanted;
    uint64_t last_ms; /* when the last one of this run was begun, Unix ms; 0 = none */
    uint64_t last_bytes;
    uint64_t failed;
    char error[64]; /* of the last try; "" = it went well */
};

/* What the shell knows of the process, for INFO. */
struct node_process {
    uint32_t pid;
    uint16_t port;
    uint64_t resident_bytes;
    uint64_t cpu_user_us, cpu_system_us;
    uint64_t loop_turn_max_us; /* the longest since the start, or CONFIG RESETSTAT */
    char system[128]; /* "Linux 6.1 x86_64" */
    char executable[256];
};

/* Questions that only the shell can answer. */
struct node_host {
    void *owner;
    void (*process)(void *owner, struct node_process *process);
    void (*reset_statistics)(void *owner);
    uint64_t (*monotonic_us)(void *owner);
    /* A client's own address, and the address here that it uses: "IP:port", of `size` bytes at most. */
    void (*addresses)(void *owner, const struct session *s, char *theirs, char *ours, size_t size);
};

struct node_counters {
    uint64_t commands;
    uint64_t sessions; /* connections that have come, those of peers and those refused included */
    uint64_t sessions_refused; /* --max-clients */
    uint64_t errors; /* error replies */
    uint64_t client_bytes_received, client_bytes_sent;
    uint64_t hits, misses; /* of keys that were read */
    uint64_t expired;
    uint64_t peer_bytes_sent, peer_bytes_received;
    uint64_t records_received; /* from peers, won or not */
    uint64_t deltas_received, deltas_served;
    uint64_t comparisons_received; /* of those deltas, the ones with lists */
    uint64_t scrubs; /* groups compared since digests differed */
    uint64_t divergence_repaired; /* records on which two nodes differed without a reason */
    uint64_t tombstones_dropped, tombstones_forced; /* the latter are among the former */
};

struct slowlog;

struct node {
    struct node_config config;
    struct heap *heap;
    struct store *store;
    struct storage *storage; /* NULL = memory only; borrowed, see storage_new */
    struct journal journal;
    struct vector vector; /* what has been merged here */
    struct vector durable; /* of that, what survives a crash; with keeps_disk only */
    struct vector dropped; /* per origin, the greatest stamp of a tombstone dropped here, or on a
                              node whose vector was taken over */
    uint64_t forced_stamp; /* likewise of all that were dropped by force */
    struct stamp_clock clock;
    struct members members;
    struct random random;
    struct notices notices;
    struct node_counters counters;
    struct node_periodic periodic;
    struct node_host host; /* set by the shell before the first session; NULL calls in unit tests */
    struct command_index commands;
    struct slowlog *slowlog; /* owned, slowlog.h */
    uint64_t last_session_id;
    struct resp_reader reader; /* of arrays that arrive whole, of one session after another */
    struct list sessions, waiting; /* struct session, by .all and .waiting */
    struct list ready; /* likewise by .ready: the shell empties it every turn */
    struct list links; /* struct link, by .all */
    struct list walks; /* struct snapshot_scan, by .all: snapshots and backups being written */
    uint32_t session_count;
    uint64_t last_write; /* the stamp of the last record written here */
    uint64_t acks_wanted; /* peers shall confirm this stamp at once: somebody waits for it */
    bool acks_arrived; /* held replies may be due */
    bool clock_disagrees; /* with most peers: writes are refused */
    bool loading; /* reading its data from the disk: nobody is served */
    bool refilling; /* what was read had damage: nobody is served before a peer has compared */
    struct link *delta; /* the one link through which a delta is being received, or NULL */
    uint32_t scans; /* deltas being served */
    uint32_t backups; /* being sent to clients */
    uint32_t collect_next; /* the partition at which the search for tombstones goes on */
    bool collecting; /* it is in the middle of that one */
    struct store_cursor collect_cursor;
    uint64_t collect_least; /* the least stamp of a tombstone that it has passed there */
    uint64_t sweep_mono_ms; /* when it and expiry go on; 0 = with the next tick */
    uint64_t heartbeat_mono_ms;
    uint64_t tick_mono_ms;
    struct moment started;
    struct refusal_logged refusals[REFUSALS_REMEMBERED]; /* a ring … */
    uint32_t refusals_next; /* … whose oldest is here */
    struct buffer inline_scratch; /* of inline commands: their unquoted words */
    struct buffer scratch; /* for one call at a time: unquoted words, texts */
};

/* heap and config's texts: borrowed. Returned, NULL when out of memory. */
struct node *node_new(const struct node_config *config, struct heap *heap, struct moment now);

/* Every session and link must have been closed before. */
void node_free(struct node *n);

/* Puts what was kept of an earlier run into a fresh node, before any session or link. The origin
 * stays the new run's own. rec: borrowed, tombstones too. 0, -ENOMEM or -E2BIG. */
int node_restore_record(struct node *n, const struct record *rec);
int node_restore(struct node *n, const struct vector *vector, const struct vector *dropped);

/* With keeps_disk: this part of the node's vector survives a crash from now on. Copied. 0, -ENOMEM
 * or -E2BIG. */
int node_synced(struct node *n, const struct vector *vector);

/* Stamps a record of this node's clients, merges it and journals it. rec's key, value, expiry and
 * kind are given. 0 with rec's stamp and origin filled in, or -ENOMEM with nothing changed. */
int node_write(struct node *n, struct moment now, struct record *rec);

/* Whether a write of it stays within --max-memory. */
bool node_fits_memory(const struct node *n, const struct record *rec);

/* Merges a record that a peer sent. 0; or with nothing changed -ENOMEM, or -ENOSPC when too much waits
 * for a disk that takes no writes. */
int node_receive(struct node *n, const struct record *rec);

/* Likewise one that was fetched since the vector covers it, and something older is live here. */
int node_repair(struct node *n, const struct record *rec);

/* store_merge, and on to the disk if the record has won. rec's bytes must not be the store's own.
 * What store_merge returns, or -ENOSPC. */
int node_merge(struct node *n, const struct record *rec, bool covered);

/* Whether what was written here up to that stamp survives a crash, as far as --fsync promises it. */
bool node_is_durable(const struct node *n, uint64_t stamp);

/* Likewise whatever --fsync promises: whether it is on a disk that was synced since. Never without
 * --data-dir. */
bool node_is_on_disk(const struct node *n, uint64_t stamp);

/* How many members have told that their disk holds everything written here up to `stamp`. */
uint32_t node_disk_confirmations(const struct node *n, uint64_t stamp);

/* How many members have confirmed everything written here up to `stamp`. */
uint32_t node_confirmations(const struct node *n, uint64_t stamp);

/* Everything that is due at this time. Returns the monotonic time of the next call. */
uint64_t node_tick(struct node *n, struct moment now);

/* Releases held replies whose acks have come. Called by the shell once a turn, before it drains
 * the sessions. */
void node_release(struct node *n, struct moment now);

/* The next address to dial now, or NULL. The caller dials it and calls link_open or
 * node_dial_failed. It is in state ADDRESS_DIALING from here on. */
struct address *node_next_dial(struct node *n, struct moment now);

/* The shell could not resolve or reach an address. reason: copied. */
void node_dial_failed(struct node *n, struct address *a, struct moment now, const char *reason);

/* Whether some link has more to send at once: then the loop should not sleep. */
bool node_is_busy(const struct node *n);

/* Whether every linked peer has confirmed all that was written here. */
bool node_is_drained(const struct node *n);

/* How far, in milliseconds, a member is behind in what was written here. */
uint64_t node_lag_ms(const struct node *n, const struct member *m, struct moment now);

/* Likewise in records. all: out: whether that is all of them; the ring may hold no more. */
uint64_t node_lag_records(const struct node *n, const struct member *m, bool *all);

/* A member that stays away shall not hold up the dropping of tombstones any longer; it must not be
 * linked. It is one again as soon as it is met again. Peers are told. */
void node_forget(struct node *n, struct member *m, uint64_t wall_ms);

/* Members to whom links stand in both directions. */
uint32_t node_linked_count(const struct node *n);

/* Members, and addresses at which nobody was identified yet. */
uint32_t node_expected_count(const struct node *n);

/* collect.c: drops, in rotation over the partitions, tombstones that nobody needs any more: so many
 * at a time. True when there is more to drop. */
bool node_collect(struct node *n, struct moment now);
/* Before the store goes. */
void node_close_collection(struct node *n);

/* Likewise: forgets members that have been away for too long. */
void node_forget_absent(struct node *n, struct moment now);

#endif
