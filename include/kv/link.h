/* A link: one connection between two nodes.
 *
 * The node that dialled is its sender: it pushes the writes of its own clients, and serves deltas
 * from its store. The node that accepted is its receiver: it merges, acknowledges, and asks. So
 * two nodes that know each other have two links, one each way.
 *
 *     sender                                     receiver
 *       | 00 'K' 'V' 'P'  HELLO ------------------> |   state HELLO
 *       | <------------------------ HELLO / REFUSED |
 *       |                                           |   state HOLD: heartbeats only
 *       | <--------------------------- STREAM after |   the ring may go on from there, or
 *       | <------------------- DELTA_REQUEST vector |   something else is missing too
 *       | DELTA_BEGIN, DELTA_RECORDS…, DELTA_MARK…, |   state LIVE
 *       | DELTA_END                                 |
 *       | RECORDS… --------------------------------> |
 *       | GAP -------------------------------------> |   the ring was too short: back to HOLD
 *       | DIGEST ----------------------------------> |   every 10 s: are we equal?
 *       | <------------- DELTA_REQUEST for one group |   if not: a scrub
 *
 * What each frame may be sent by and in which state is the table `rules` in link.c.
 *
 * Where the receiver's vector does not tell enough (it has not seen every tombstone that the sender
 * has dropped), or where digests differ, a delta carries lists as well: of the live records that
 * the receiver is said to have. What it has and neither list nor stream brings was deleted. A
 * receiver mends only itself; the other way round is the other link's. */
#ifndef KV_LINK_H
#define KV_LINK_H

#include "kv/frame.h"
#include "kv/journal.h"
#include "kv/list.h"
#include "kv/moment.h"
#include "kv/record.h"
#include "kv/store.h"
#include "kv/vector.h"

#define LINK_HEARTBEAT_MS 1000u
#define LINK_SILENCE_MS   5000u

/* A link's output is filled up to about this, from ring or store, whenever there is less. */
#define LINK_OUTPUT_BYTES (256u << 10)

/* What has arrived and has to wait: beyond it the link is not read from. */
#define LINK_INPUT_BYTES (256u << 10)

/* A RECORDS or DELTA_RECORDS frame is closed when it has this much; one record may be larger. */
#define LINK_FRAME_BYTES (64u << 10)

/* Entries that delta scans, and checks, look at in one turn of the loop: at 10 million keys each is a
 * miss of every cache. */
#define LINK_SCAN_ENTRIES 128u

/* How long a peer's vector may stay ahead before the difference is fetched from that peer. */
#define LINK_AHEAD_MS 2000u

/* How long a delta that was asked for may bring nothing before its link is closed. */
#define LINK_DELTA_MS 10000u

/* How often digests are told. */
#define LINK_DIGEST_MS 10000u

/* Entries a scrub may bring before the groups that are left wait for the next digest. */
#define LINK_SCRUB_ENTRIES 20000u

/* Entries of one partition's list that a receiver takes: more than 10^10 keys would have. */
#define LINK_LIST_ENTRIES_MAX (4u << 20)

/* Answers and requests that a peer may leave unread: it is closed when there are more. */
#define LINK_UNREAD_BYTES_MAX (8u << 20)

#define LINK_REASON_BYTES 256u
#define LINK_WHO_BYTES    64u

struct node;
struct member;
struct address;

enum link_role { LINK_SENDER, LINK_RECEIVER };

enum link_state {
    LINK_HELLO, /* the handshake */
    LINK_HOLD, /* heartbeats only: the receiver has not said yet how to close the gap */
    LINK_LIVE, /* the sender's writes flow */
    LINK_CLOSED /* to be disconnected; the reason says why */
};

/* A delta being served: of all partitions, or, for a scrub, of one group. */
struct link_scan {
    bool active;
    bool scrub;
    bool checked; /* the receiver looks for what is deleted here */
    bool list_all; /* tombstones went by force meanwhile: every partition from here on is listed */
    bool listing; /* the partition being scanned is */
    bool cursor_open;
    uint32_t partition; /* being scanned, or next */
    uint32_t end; /* the partition to stop before */
    uint64_t stamp_covered; /* partitions without a stamp above this have nothing to send */
    struct vector wanted; /* the receiver's vector: what it has */
    struct vector promised; /* this node's when it began: what the receiver's will cover */
    struct buffer digests; /* the receiver's, of the partitions digests_first …, 8 bytes each */
    uint32_t digests_first;
    struct buffer list; /* of the partition being scanned */
    struct store_cursor cursor;
};

/* A delta being received. */
struct link_delta {
    bool scrub; /* of one group, since digests differed: it raises no vector */
    bool whole; /* … and brings also what this node's vector covers */
    bool begun;
    bool checked; /* as the sender said: look for what is deleted there, and … */
    bool behind; /* … that is to be expected: tombstones were dropped there that are news here */
    uint64_t mono_ms; /* when it was asked for, or brought something last */
    struct vector asked; /* this node's vector as it asked */
    struct vector vector; /* the sender's when the scan began */
    struct vector dropped; /* the sender's dropped vector at the end */
    uint64_t forced_stamp; /* likewise */
    uint64_t covered_stamp; /* without a stamp above this, a partition needs no check by itself */
    uint32_t partitions; /* complete so far: all before this one */
    uint32_t first, end; /* what was asked for */
    struct buffer seen; /* struct list_entry: of the partition under way, listed and sent */
    uint32_t check_next, check_end; /* complete, to be checked before anything else is read */
    bool check_listed; /* the last of these was listed */
    bool check_cursor_open;
    struct store_cursor check_cursor; /* in check_next */
    uint32_t looked_at; /* entries, in this turn of the loop */
    uint64_t records; /* received so far */
    uint64_t entries; /* listed so far */
    bool listed; /* a partition was, be its list empty */
    uint64_t deleted; /* found to be deleted at the sender, of which … */
    uint64_t diverged; /* … without a reason */
};

/* Comparing digests, at the receiver. */
struct link_scrub {
    bool under_way; /* the sender's digests are being gone through */
    bool whole; /* this group is fetched whole: something the vector covers is missing here */
    uint32_t group; /* at which the next comparison goes on */
    uint32_t left; /* groups not looked at yet */
    uint64_t budget; /* entries that may still come before the next digest */
    uint64_t told[STORE_GROUPS]; /* the sender's */
};

struct link {
    struct node *node;
    struct list all; /* among the node's links */
    void *owner; /* the shell's, for finding its connection; NULL in the beginning */
    enum link_role role;
    enum link_state state;
    struct address *address; /* sender: what was dialled; borrowed */
    struct member *member; /* once past the handshake; borrowed */
    char who[LINK_WHO_BYTES]; /* the other end, for people: "IP:port" */
    char host[LINK_WHO_BYTES]; /* its IP */
    char reason[LINK_REASON_BYTES]; /* why it was closed; "" = quietly */
    bool refused; /* closed by the rules of the handshake, not by a fault */
    bool finishing; /* closed once its output has left */
    bool proven; /* receiver: a frame came after the handshake */
    uint64_t origin; /* the other end's run */
    struct moment now; /* of the last call that told it */
    struct buffer
        in; /* a frame that has not arrived whole, or frames that have to wait for checks */
    struct buffer out;
    size_t unsent; /* bytes of output taken by the shell that it has not sent yet */
    uint64_t heard_mono_ms;
    uint64_t members_told; /* the generation of members last sent */
    struct vector vector; /* the other end's, as it last told */
    struct vector told; /* ours, as the other end was last told */
    struct vector told_durable; /* likewise what of it survives a crash */

    /* sender */
    struct journal_reader reader;
    uint64_t acks_asked; /* the stamp for which an ack was last asked for */
    struct link_scan scan;
    uint64_t digest_mono_ms; /* when the digests were last told; 0 = to be told at once */

    /* receiver */
    uint64_t floor; /* the sender cannot stream from before this stamp */
    bool gap_open; /* live, but what came before is only being fetched by a delta */
    uint64_t pending_after, pending_through; /* live records beyond that gap; 0, 0 = none */
    struct link_delta delta; /* valid while node->delta is this link */
    struct link_scrub scrub;
    bool delta_wanted; /* something is missing that only a delta brings */
    uint64_t ahead_mono_ms; /* when the next two were noted; 0 = not noted */
    struct vector ahead_theirs, ahead_ours;
};

/* Begins a link on a connection that stands: after dialling `address`, or, with NULL, after
 * accepting a connection that began with FRAME_MAGIC (which is not fed to the link). l is the
 * caller's memory; the node is borrowed; the rest is copied. who: the other end as "IP:port". */
void link_open(struct link *l, struct node *n, struct moment now, struct address *address,
               const char *who, const char *host);

/* The connection is gone or about to be: plans the next dial, aborts what was under way. */
void link_close(struct link *l, struct moment now);

/* Bytes that arrived; borrowed for the call. */
void link_read(struct link *l, struct moment now, struct bytes bytes);

/* False while there is enough to do with what has arrived: the link shall not be read from. */
bool link_wants_input(const struct link *l);

/* Fills the link's output from ring and store while there is room, and goes on with checks. The
 * shell sends and consumes
 * it; or moves the buffer away to send later, adds its size to l->unsent, and subtracts it when it
 * has left. */
struct buffer *link_output(struct link *l);

/* Tells the other end this node's clock, and what its vector has gained since it was last told. */
void link_send_heartbeat(struct link *l, struct moment now);

/* Decides for every receiving link of the node how its gap shall be closed, and asks. */
void link_consider_all(struct node *n, struct moment now);

/* Silences, and questions that are due. */
void link_tick(struct link *l, struct moment now);

/* Whether the connection shall be ended now. */
bool link_is_finished(const struct link *l);

/* Whether there is more to send at once, without waiting for anything to arrive or to leave. */
bool link_is_busy(const struct link *l);

/* Told before tombstones of a partition go by force: a delta that is being served lists what is left
 * from here on. False while it is in the middle of that very partition: then they have to wait. */
bool link_scan_allows(struct link *l, uint32_t partition);

/* Nothing up to this stamp has come to be covered here since the delta being served began: what its
 * receiver holds of that, the delta tells about. Without one: UINT64_MAX. */
uint64_t link_scan_settled(const struct link *l);

/* Whether a delta being served promises that this tombstone, or what beats it, is at the receiver, and
 * has not come past its partition yet. */
bool link_scan_promises(const struct link *l, uint32_t partition, const struct record *tombstone);

/* What waits to be sent: output and ring. */
uint64_t link_queued_bytes(const struct link *l);

/* hello, hold, live, delta, closed */
const char *link_state_name(const struct link *l);

/* Ends a link by this node's own decision. An empty reason closes it without a word in the log. */
__attribute__((format(printf, 2, 3))) void link_fail(struct link *l, const char *reason, ...);

#endif
