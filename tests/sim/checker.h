/* The checker: a small model of what every node may hold, made of what clients were seen to write. It shares
 * no code with the store; it only looks at it.
 *
 * The invariants, by their numbers:
 *   1 quiescent nodes hold the same, and their digests are equal
 *   2 every key holds the greatest record that anybody who still runs has seen
 *   3 a key's record at a node only ever grows; merging in any order gives the same
 *   4 nothing is there that no client wrote, and nothing is deleted without a reason
 *   5 (origin, stamp) names one content
 *   6 a node's stamps increase, and exceed all it has merged
 *   7 nothing is merged from further ahead than clocks may differ
 *   8 what was deleted or has expired is not readable again
 *   9 a tombstone is dropped by the rules only
 *  10 a vector covers nothing that is neither here nor beaten
 *  11 an acknowledged write is where the acknowledgement says, and survives what --fsync says it does
 *  12 digests are what a recount gives
 *  13 peers keep to the protocol: own records in order, nothing unasked for
 *  14 memory is bounded and given back, and clients get their replies
 *  15 after healing all converge in time, and then are silent
 *  16 who is refused changes nothing
 *  17 the same seed tells the same story
 *  18 a disk gives back what was said to be durable, and is not taken for damaged when it is not */
#ifndef CHECKER_H
#define CHECKER_H

#include "sim.h"

#include "kv/mutation.h"

void checker_open(struct sim *s);
void checker_close(struct sim *s);

enum write_kind { WRITE_VALUE, WRITE_DELETE, WRITE_EXPIRY };

/* A client of the node has just written the record with that stamp to that key.
 * value: what it gave; borrowed. Of WRITE_VALUE only. */
void checker_issued(struct sim *s, const struct sim_node *n, uint32_t key, uint64_t stamp,
                    enum write_kind kind, struct bytes value);

/* A client was told that its write with that stamp is on so many other nodes. */
void checker_acked(struct sim *s, const struct sim_node *n, uint64_t stamp, uint32_t peers);

/* A run has begun, with what its disk has given; or is about to end. */
void checker_started(struct sim *s, const struct sim_node *n);
void checker_stopped(struct sim *s, const struct sim_node *n);

/* checker_disk.c */
/* A client was told that its write with that stamp is done. */
void checker_promised(struct sim *s, const struct sim_node *n, uint64_t stamp);
/* Power was cut since the last start. */
void checker_power_cut(struct sim *s, const struct sim_node *n);
/* The disk was harmed, or is an older one: it owes nothing of what was. */
void checker_disk_void(struct sim *s, const struct sim_node *n);

/* Something has happened at the node: what holds at any moment is checked. */
void checker_look(struct sim *s, struct sim_node *n);

/* What a node holds and whom it counts among its members, as one number that is not 0; and that a
 * peer was refused since, which shall have changed nothing of it. */
uint64_t checker_state(const struct sim_node *n);
void checker_refused(struct sim *s, const struct sim_node *n, uint64_t state_before);

/* A GET was answered. */
void checker_read(struct sim *s, const struct sim_node *n, uint32_t key, struct bytes reply);

/* A link was ended with a reason. */
void checker_link_ended(struct sim *s, const char *reason);

/* All is calm: what holds then is checked. */
void checker_quiescent(struct sim *s);

/* Whether all nodes hold the same by now; for waiting. */
bool checker_is_converged(struct sim *s);

/* Whether no node holds a tombstone that could go. */
bool checker_is_swept(struct sim *s);

#endif
