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

/* link.c */
void link_send_members(struct link *l);

/* link_handshake.c */
void link_send_hello(struct link *l, struct moment now);
link_handler link_on_hello, link_on_refused, link_on_members;

/* link_sender.c */
link_handler link_on_stream, link_on_delta_request;
void link_sender_fill(struct link *l);
bool link_stream_has_more(const struct link *l);
void link_scan_end(struct link *l);

/* link_receiver.c */
link_handler link_on_gap, link_on_records, link_on_delta_begin, link_on_delta_records,
    link_on_delta_mark, link_on_ack_wanted;
void link_receiver_tick(struct link *l, struct moment now);

#endif
