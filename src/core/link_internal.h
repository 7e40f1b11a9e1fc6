/* What the parts of a link share: link.c (frames, states, heartbeats), link_handshake.c,
 * link_sender.c and link_receiver.c. Private to these. */
#ifndef KV_LINK_INTERNAL_H
#define KV_LINK_INTERNAL_H

#include "kv/link.h"
#include "kv/members.h"
#include "kv/node.h"

/* A vector could not take another entry. */
#define LINK_VECTOR_FULL "out of memory, or more than 65536 past runs of nodes are known"

/* One frame for a handler: it reads the payload, and answers an error by link_fail. */
typedef void link_handler(struct link *l, struct moment now, struct frame_reader *payload);

/* An entry of a list: names a live record. 24 bytes, as on the wire. */
struct list_entry {
    uint64_t key_hash, origin, stamp;
};

/* DELTA_REQUEST's flags. */
#define LINK_REQUEST_EMPTY 1u /* the receiver holds no live record */
#define LINK_REQUEST_SCRUB 2u /* only the groups whose digests it gives */

/* DELTA_BEGIN's flags. */
#define LINK_BEGIN_CHECKED 1u
#define LINK_BEGIN_BEHIND  2u

/* link.c */
void link_send_members(struct link *l);
/* Whether the vector's stamps are not ahead of this node's clock; else the link ends over it. */
bool link_vector_fits(struct link *l, struct moment now, const struct vector *v);
/* Reads the vector at the front of the payload. False when that is malformed or memory is out. */
bool link_read_vector(struct link *l, struct frame_reader *payload, struct vector *v);
bool link_stamp_fits(struct link *l, struct moment now, uint64_t stamp);

/* link_handshake.c */
void link_send_hello(struct link *l, struct moment now);
/* Ends the link since the other end's clock, or a stamp of its, is so far ahead of ours. */
void link_refuse_clock(struct link *l, struct moment now, uint64_t ahead_ms);
link_handler link_on_hello, link_on_refused, link_on_members;

/* link_sender.c */
link_handler link_on_stream;
bool link_has_room(const struct link *l);
void link_sender_fill(struct link *l);
bool link_stream_has_more(const struct link *l);
void link_sender_tick(struct link *l, struct moment now);

/* link_scan.c */
link_handler link_on_delta_request;
/* Sends one frame or so. entries: in and out: how many were looked at in this turn. */
void link_scan_step(struct link *l, uint32_t *entries);
void link_scan_end(struct link *l);

/* link_receiver.c */
link_handler link_on_gap, link_on_records, link_on_ack_wanted;
/* A run of the sender's own stream: everything of it after one stamp and through another. */
struct link_run {
    uint64_t after, through;
};
/* Merges the records of a payload; those of the stream, if run is given, which they must be in. */
bool link_merge_records(struct link *l, struct moment now, struct bytes from,
                        const struct link_run *run);
/* The link ends since a record could not be merged: -ENOMEM or -ENOSPC. */
void link_fail_merge(struct link *l, int error);
void link_receiver_tick(struct link *l, struct moment now);
/* The gap before the live records is closed, as far as the vector now says. */
void link_close_gap(struct link *l);

/* link_delta.c */
link_handler link_on_delta_begin, link_on_delta_records, link_on_delta_list, link_on_delta_mark,
    link_on_delta_end, link_on_digests_wanted;
void link_delta_init(struct link *l);
void link_delta_close(struct link *l);
/* Asks for everything, or, with groups > 0, for a scrub of so many groups from `first` on. */
void link_delta_ask(struct link *l, uint64_t mono_ms, bool scrub, uint32_t first, uint32_t groups);
/* Goes on with checks, as far as may be in one turn of the loop. */
void link_delta_work(struct link *l);
/* Whether checks are left: until they are done, no further frame is read. */
bool link_delta_has_work(const struct link *l);

/* link_check.c */
/* To be called before, once what the delta has shown of it is complete. */
void link_check_sort(struct link *l);
/* Compares a partition with what the delta has shown of it, or goes on with that, as far as may be in one
 * turn of the loop. listed: lists of all live records that this node is said to have were among that.
 * Returns whether it has come to the partition's end. */
bool link_check_partition(struct link *l, uint32_t partition, bool listed);
/* The comparison under way, if any, is not gone on with. */
void link_check_end(struct link *l);

/* link_scrub.c */
link_handler link_on_digest;
void link_send_digest(struct link *l, struct moment now);
/* Asks for the next group that differs, if that may be asked now. */
void link_scrub_next(struct link *l, uint64_t mono_ms);

#endif
