/* What the parts of a session share. */
#ifndef CORE_SESSION_INTERNAL_H
#define CORE_SESSION_INTERNAL_H

#include "kv/command.h"
#include "kv/node.h"
#include "kv/session.h"

/* Memory of the node's, used by one session after another, that is kept between commands. */
#define SCRATCH_KEPT_BYTES (64u << 10)

/* session.c */
/* Appending to a buffer tells of a failure only when asked. */
void session_note_failure(struct session *s);

/* Runs one command, or queues it within MULTI, and answers it in its turn. command: as words[0] names it. */
void session_run(struct session *s, struct moment now, const struct command *command,
                 const struct bytes *words, size_t count);

/* Answers, in its turn, what is no command. */
void session_refuse(struct session *s, const char *known, const char *reason);

/* Whether the next command may be run. */
bool session_may_run(const struct session *s);

/* session_line.c, session_resp.c: each runs commands at the front of `input` as long as they are of its
 * kind, which the first is. Returns how many bytes they took; 0 when the first has not arrived whole. */
size_t session_run_lines(struct session *s, struct moment now, struct bytes input);
size_t session_run_arrays(struct session *s, struct moment now, struct bytes input);
size_t session_run_inline(struct session *s, struct moment now, struct bytes input);

/* Likewise each: the key of the command at the front of `input`, see session_first_key. */
bool session_line_key(struct session *s, struct bytes input, struct bytes *key);
bool session_array_key(struct session *s, struct bytes input, struct bytes *key);

/* session_resp.c */
/* Before the next command is read after one that had not arrived whole. */
void session_forget_partial(struct session *s);

/* session_hold.c */
/* Where the next reply goes: behind those that are held, or to those that may leave. */
struct buffer *session_reply_buffer(struct session *s);
bool session_has_holds(const struct session *s);
/* What a reply to a write with that stamp has to wait for. */
struct command_wait session_promise(const struct session *s, uint64_t written);
/* A reply has been put behind the first `before` bytes of session_reply_buffer: it may leave in its turn,
 * or has to wait. */
void session_settle(struct session *s, struct moment now, size_t before,
                    const struct command_wait *wait);
void session_close_holds(struct session *s);
/* Holds without a time limit get one, and those whose limit the client has chosen none that is longer. */
void session_limit_holds(struct session *s, uint64_t deadline_mono_ms);

/* How long a client that has ended its side may wait without a limit of its own: it may be gone. */
#define SESSION_ENDED_WAIT_MS 60000u

/* session_flush.c: of a session that has one under way, see session_begin_flush */
void session_go_on_flushing(struct session *s, struct moment now);
void session_silence_flush(struct session *s); /* it is not answered: CLIENT REPLY */
void session_end_flush(struct session *s);

/* session_backup.c */
/* Returns how much of `from` is done with. */
size_t session_run_backup(struct session *s, struct moment now, struct bytes from);
void session_send_backup(struct session *s);

#endif
