/* A session: one client's connection, from its bytes to the replies it may have.
 *
 * The shell feeds what arrives, and takes what may leave. A write's reply is held back until its
 * promise is kept (--min-acks); replies behind it wait with it, since answers keep their order. */
#ifndef KV_SESSION_H
#define KV_SESSION_H

#include "kv/buffer.h"
#include "kv/list.h"
#include "kv/moment.h"

#include "kv/reply.h"

struct backup;
struct command;
struct node;
struct resp_reader;
struct session_flush;
struct transaction;

/* CLIENT REPLY */
enum session_replies {
    SESSION_REPLIES, /* ON */
    SESSION_SKIPS_NEXT, /* SKIP: this command's reply and the next one's are left out */
    SESSION_SILENT /* OFF */
};

/* What a client says of itself: CLIENT SETNAME and SETINFO. */
struct session_labels {
    struct buffer name, library_name, library_version;
};

struct session {
    struct node *node;
    struct list all; /* among the node's sessions */
    struct list waiting; /* among those with held replies */
    struct list ready; /* among those with something to send, or finished */
    struct buffer in; /* a command that has not arrived whole, or commands that must wait */
    size_t in_searched; /* bytes of `in` known to hold no line end */
    struct buffer out; /* replies that may leave */
    struct buffer held; /* replies behind the first hold */
    struct buffer holds; /* a queue of struct hold, oldest first */
    uint64_t id; /* counts from 1 on this node */
    bool line_returns; /* the line that is being run ended with \r\n */
    enum reply_form form; /* of its replies: RESP as soon as it has sent an array */
    enum session_replies replies;
    struct resp_reader *reader; /* of an array that has not arrived whole; owned; NULL = none */
    struct transaction *transaction; /* MULTI or WATCH; owned; NULL = none */
    struct session_labels *labels; /* owned; NULL = none given */
    const struct command *last_command; /* NULL = none yet */
    uint64_t opened_mono_ms, active_mono_ms; /* when it came, and when it sent something last */
    bool killed; /* CLIENT KILL: the connection ends at once */
    uint64_t last_write; /* the stamp of this session's last write, 0 = none */
    struct backup *backup; /* or restore, that has taken the connection over; owned; NULL = none */
    struct session_flush *flush; /* FLUSHALL under way: commands wait; owned; NULL = none */
    size_t unsent; /* bytes taken by the shell that it has not sent yet */
    bool input_ended; /* the client will send no more */
    bool closing; /* nothing more is read; the connection ends once all was sent */
    bool failed; /* out of memory: the connection ends at once */
};

/* s is the caller's memory, the node borrowed for its life. */
void session_init(struct session *s, struct node *node);
void session_close(struct session *s);

/* Bytes that arrived; borrowed for the call. Executes what is complete. */
void session_read(struct session *s, struct moment now, struct bytes bytes);

/* The key that session_read with these bytes would look for first. To be asked before it, so that the
 * keys of several sessions can be asked for together (store_prefetch).
 * False when there is none, or it would take longer to tell than it is worth: behind what came before,
 * or in a pipeline, which looks ahead by itself. *key points into the bytes. */
bool session_first_key(struct session *s, struct bytes bytes, struct bytes *key);

/* The client has ended its side. What came last counts even without its line end. */
void session_read_end(struct session *s, struct moment now);

/* The replies that may leave. The shell sends and consumes them in place; or it moves the buffer
 * away to send later, adds its size to s->unsent, and subtracts it when it has left. */
static inline struct buffer *session_output(struct session *s)
{
    return &s->out;
}

/* Goes on with commands that had to wait until replies were sent. */
void session_resume(struct session *s, struct moment now);

/* Puts the session among the node's ready ones again if it could be resumed: a client's deep
 * pipeline goes on in the next turn, after the others. */
void session_ask_turn(struct session *s);

/* False while the client is not reading its replies: then its commands wait, and it shall not be
 * read from. */
bool session_wants_input(const struct session *s);

/* Whether the connection shall be ended now. */
bool session_finished(const struct session *s);

/* Releases the held replies whose promise is kept or whose time is over. Called by the node. */
void session_release(struct session *s, struct moment now);

/* The replies that have not left would promise what is not so: they are discarded, the client gets
 * this error instead, and the connection ends. */
void session_refuse_output(struct session *s, const char *reason);

/* Puts it among the node's ready ones: the shell looks at it in this turn or the next. */
void session_wake(struct session *s);

/* Begins to delete all that is in the store now, some of it in each turn; the answer comes in the end.
 * False when out of memory. */
bool session_begin_flush(struct session *s);

/* Whether an answer is owed that has to wait: for peers, the disk, or the end of FLUSHALL. */
bool session_is_waiting(const struct session *s);

/* When the next held reply's time is over; MOMENT_NEVER when none is held. Monotonic ms. */
uint64_t session_deadline(const struct session *s);

#endif
