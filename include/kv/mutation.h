/* Mutations: rules broken on purpose, one at a time, to show that the simulator's invariants find it.
 * Production code is compiled without KV_MUTATIONS: then every MUTATED() is 0 and costs nothing. */
#ifndef KV_MUTATION_H
#define KV_MUTATION_H

#include <stdint.h>

/* X(name, what is broken) */
#define MUTATIONS(X)                                                                               \
    X(NONE, "nothing")                                                                             \
    X(NO_ZOMBIE_RULE, "an absent record that the vector covers is merged again")                   \
    X(COVERED_OVER_OLDER, "so is one that the vector covers where something older is")             \
    X(LAST_ARRIVAL_WINS, "a merge keeps what came last, not what is greater")                      \
    X(DIGEST_FORGETS, "an update in place leaves the digest as it was")                            \
    X(VALUE_NOT_COPIED, "an update in place takes the stamp and leaves the value")                 \
    X(STAMPS_NOT_OBSERVED, "own stamps need not exceed those received")                            \
    X(RECEIVED_IS_FORWARDED, "what a peer sent is sent on as if own")                              \
    X(EXPIRY_ADJUSTED, "an expiry is taken by the clock of whoever receives it")                   \
    X(EXPIRED_IS_READ, "what has expired is readable until it is swept")                           \
    X(ACK_COUNTS_ITSELF, "min-acks counts one confirmation too many")                              \
    X(HELD_WITHOUT_END, "a reply is held until peers confirm, however long that takes")            \
    X(SESSION_UNBOUNDED, "a client that does not read goes on being served")                       \
    X(LINK_UNBOUNDED, "a peer that does not read goes on being sent to")                           \
    X(RESTART_KEEPS_ORIGIN, "a run that lost its memory goes on as the run before")                \
    X(APPLIED_AS_DURABLE, "a tombstone is dropped when peers have it in memory only")              \
    X(DROP_UNCONFIRMED, "a tombstone is dropped without asking what members have")                 \
    X(DROP_UNPASSED, "a tombstone is dropped though older records may be on their way")            \
    X(DROP_DURING_DELTA, "tombstones are dropped while deltas run")                                \
    X(NO_DROPPED_VECTOR, "a delta serves also whoever missed dropped tombstones")                  \
    X(DROPPED_NOT_INHERITED, "the dropped vector is not taken over with a peer's vector")          \
    X(STREAM_ALWAYS, "the ring goes on whatever else is missing")                                  \
    X(GAP_UNTOLD, "the ring was too short, and the receiver is not told")                          \
    X(LATE_UNCHECKED, "what arrives during a delta by other links is not checked")                 \
    X(FORCED_UNLISTED, "tombstones go by force during a delta, and it lists nothing")              \
    X(FORCED_PROMISED, "a tombstone goes by force on which a delta being served relies")           \
    X(DELTA_VECTOR_LATE, "a delta promises the vector of its end, not of its beginning")           \
    X(VECTOR_SKIPS_HOLES, "a live record counts though records before it are missing")             \
    X(DELETED_IS_FETCHED, "a scrub fetches also what a dropped tombstone may have beaten")         \
    X(NO_SCRUB, "digests are never compared")                                                      \
    X(ALWAYS_BEHIND, "whatever a peer had more is asked of it, though it has come since")          \
    X(BACKOFF_UNBOUNDED, "the pauses between attempts to dial grow without bound")                 \
    X(NO_CLOCK_FENCE, "stamps from the future are merged")                                         \
    X(REFUSED_IS_ADMITTED, "a refused peer is noted as a member")                                  \
    X(EXPIRY_RESTAMPED, "an expired record's tombstone takes a stamp of its own")                  \
    X(MARK_BEFORE_RECORDS, "a mark is written before the records it speaks of")                    \
    X(WRITTEN_AFTER_REPLY, "replies leave before the journal is written")                          \
    X(REPLY_BEFORE_SYNC, "with --fsync always a reply does not wait for the sync")                 \
    X(DURABLE_BEFORE_SYNC, "what is written counts as synced")                                     \
    X(ENDED_NOT_SYNCED, "a segment that has ended is not synced")                                  \
    X(NEVER_SYNCED, "with --fsync everysec only the end of a segment is synced")                   \
    X(SYNC_FAILURE_IGNORED, "a sync that failed counts as one that did not")                       \
    X(SNAPSHOT_PUBLISHED_LATE, "a snapshot's segments are removed before it has its name")         \
    X(SNAPSHOT_VECTOR_LATE, "a snapshot promises the vector of its end")                           \
    X(SNAPSHOT_PROMISED, "a tombstone goes on which a snapshot relies, and is not synced first")   \
    X(SNAPSHOT_SKIPS, "a snapshot leaves out a partition")                                         \
    X(TORN_TAIL_KEPT, "a torn tail is not cut off")                                                \
    X(DAMAGE_IS_TORN, "all damage is taken for a torn tail")                                       \
    X(DAMAGE_IS_TRUSTED, "after damage the vector counts as if nothing were missing")              \
    X(REFILLED_AT_ONCE, "a node whose disk is damaged serves before a peer has compared")          \
    X(RECOVERED_UNSYNCED, "what a killed run wrote counts as synced")                              \
    X(TIDIED_ONCE, "a torn tail that could not be cut off at a start is not tried again")          \
    X(STARTED_FULL_FOR_EVER, "a node started on a disk that takes no writes never tries again")    \
    X(CRASH_IS_DAMAGE, "a torn tail is taken for damage")                                          \
    X(STORY_LEAKS, "the simulator draws from the machine's clock")

enum mutation {
#define MUTATION_NAME(name, text) MUTATION_##name,
    MUTATIONS(MUTATION_NAME)
#undef MUTATION_NAME
        MUTATION_COUNT
};
_Static_assert(MUTATION_COUNT <= 64, "a bit for each");

#ifdef KV_MUTATIONS
extern uint64_t kv_mutations; /* bits: usually one; or one and the rule that makes it good */
#define MUTATED(name) ((kv_mutations >> MUTATION_##name & 1) != 0)
#else
#define MUTATED(name) 0
#endif

#endif
