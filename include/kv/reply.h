/* Replies: what a command answers, in terms that name no protocol. docs/protocol.md says what each
 * looks like as lines and as RESP.
 *
 * A command gives one reply: one element, or one list or map whose elements are announced by their
 * number and then given one after another; they may be lists themselves. In the line protocol a reply
 * is one line; a list begins with the number of lines that follow, and lists within it are not told
 * apart. */
#ifndef KV_REPLY_H
#define KV_REPLY_H

#include "kv/buffer.h"

enum reply_form { REPLY_LINE, REPLY_RESP2, REPLY_RESP3 };

/* Lists within lists. */
#define REPLY_DEPTH_MAX 8u

/* Where a command's one reply goes. */
struct reply {
    struct buffer *out; /* borrowed; a failed allocation sticks there */
    enum reply_form form;
    uint32_t depth; /* lists that are not complete, as lines only */
    uint64_t left[REPLY_DEPTH_MAX]; /* elements that each of them still takes */
    uint64_t lines; /* in the outermost one */
    size_t begun; /* where that begins in `out` */
    uint32_t errors; /* replied so far */
    bool returns; /* the request was a line ended by \r\n: what Redis' tools wait for is, too */
};

void reply_ok(struct reply *r);

/* A word that says what is the case, such as a type: +text in RESP, the text as a line. */
void reply_status(struct reply *r, const char *text);
/* Likewise where people and Redis' clients know it by other words. */
void reply_known_status(struct reply *r, const char *known, const char *people);
void reply_pong(struct reply *r);
void reply_goodbye(struct reply *r); /* the answer to QUIT */

/* Bytes of a client's. */
void reply_value(struct reply *r, struct bytes value);
void reply_value_text(struct reply *r, const char *text);
/* Likewise a key: as a line, quoted where a person would have to. */
void reply_key(struct reply *r, struct bytes key);

void reply_missing(struct reply *r); /* no such value */
void reply_missing_list(
    struct reply *r); /* likewise where a list was due: EXEC that was called off */
void reply_number(struct reply *r, int64_t number);

/* Announces `count` elements, each to follow by a call of its own. */
void reply_list(struct reply *r, uint64_t count);
void reply_set(struct reply *r, uint64_t count); /* likewise, in no order: ~ in RESP3 */
/* Announces `count` pairs: twice as many elements follow, name and value in turn. */
void reply_map(struct reply *r, uint64_t count);

/* A text of several lines, each ended by \n. */
void reply_text(struct reply *r, struct bytes lines);

/* Likewise INFO's, which RESP clients split at \r\n. */
void reply_info(struct reply *r, struct bytes lines);

/* The reason says what was wrong and what would be right. Control bytes in it become '?'. */
__attribute__((format(printf, 2, 3))) void reply_error(struct reply *r, const char *format, ...);

/* Likewise an error that Redis' clients know by its text: `known` is that text with its code, which
 * RESP gets ("WRONGTYPE Operation against …"); the format is for people, who get it as a line. */
__attribute__((format(printf, 3, 4))) void reply_known_error(struct reply *r, const char *known,
                                                             const char *format, ...);

/* Likewise with a code other than ERR, which only RESP gets: "OOM", "NOREPLICAS". */
__attribute__((format(printf, 3, 4))) void reply_coded_error(struct reply *r, const char *code,
                                                             const char *format, ...);

/* Errors that several commands have. */
void reply_error_syntax(struct reply *r);
void reply_error_not_integer(struct reply *r);

#endif
