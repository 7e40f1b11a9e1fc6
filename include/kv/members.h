/* Who is in the mesh, where they are dialled, and what each has confirmed.
 *
 * A member is a node's name. An address is somewhere to dial: given by --peers, or learned from a
 * member. The two meet when a handshake tells who answers at an address. */
#ifndef KV_MEMBERS_H
#define KV_MEMBERS_H

#include "kv/moment.h"
#include "kv/random.h"
#include "kv/vector.h"

#define MEMBERS_MAX         128u
#define ADDRESSES_MAX       256u
#define MEMBER_NAME_BYTES   64u /* longest name, without NUL */
#define ADDRESS_HOST_BYTES  253u /* longest host name (RFC 1035), without NUL */
#define ADDRESS_TEXT_BYTES  (ADDRESS_HOST_BYTES + 10u)
#define MEMBER_REASON_BYTES 256u

#define DIAL_BACKOFF_MIN_MS 100u
#define DIAL_BACKOFF_MAX_MS 5000u

struct link;
struct address;

struct member {
    char name[MEMBER_NAME_BYTES + 1];
    char host[ADDRESS_HOST_BYTES + 1]; /* as advertised, or as seen; "" when not known */
    uint16_t port;
    uint64_t origin; /* of its latest run known here; 0 before any */
    struct vector confirmed; /* what it told to have merged in that run */
    bool keeps_disk; /* that run has a data directory: what it merged may be lost in a crash … */
    struct vector durable; /* … and only this survives; empty when it has none */
    struct link *sender; /* our link to it once past the handshake, or NULL; borrowed */
    struct link *receiver; /* its link to us once past the handshake, or NULL; borrowed */
    uint64_t contact_mono_ms; /* when it was last heard; 0 = never */
    uint64_t contact_wall_ms; /* likewise */
    uint64_t absent_mono_ms; /* since when no link stands; 0 = one does, or not looked yet */
    uint64_t forgotten_ms; /* Unix time at which it was forgotten; 0 = it counts */
    uint64_t clock_refused_mono_ms; /* when a link last ended over the clocks; 0 = never */
    int64_t clock_difference_ms; /* its wall clock minus ours when last told */
};

enum address_state {
    ADDRESS_IDLE, /* to be dialled at dial_mono_ms */
    ADDRESS_DIALING, /* the shell is resolving or connecting */
    ADDRESS_LINKED, /* a link exists, handshake included */
    ADDRESS_SELF /* this node itself; not dialled unless a member says it is there now */
};

struct address {
    char host[ADDRESS_HOST_BYTES + 1];
    uint16_t port;
    bool configured; /* from --peers: kept as it is, even if nobody is there */
    enum address_state state;
    uint64_t dial_mono_ms;
    uint32_t backoff_ms;
    struct member *member; /* who answered there, or was said to be there; NULL = not known */
    bool refused; /* the last attempt ended in a refusal */
    bool forgotten; /* nobody was ever met there, and nobody is waited for any more */
    uint64_t clock_refused_mono_ms; /* as of a member, while none is known */
    char reason[MEMBER_REASON_BYTES]; /* why the last attempt failed; "" = it did not */
};

struct members {
    struct heap *heap;
    struct member *list[MEMBERS_MAX]; /* owned; never removed, so pointers stay good */
    uint32_t count;
    struct address addresses[ADDRESSES_MAX];
    uint32_t address_count;
    uint64_t generation; /* rises with every change that peers should hear of */
};

void members_init(struct members *m, struct heap *heap);
void members_close(struct members *m);

struct member *members_find(const struct members *m, struct bytes name);

/* Finds or adds. NULL when full or out of memory. name: 1..MEMBER_NAME_BYTES bytes, checked. */
struct member *members_add(struct members *m, struct bytes name);

/* Notes where a member is to be dialled, and makes sure that this address is among the addresses.
 * host may be empty: then nothing is known and nothing changes. */
void members_set_address(struct members *m, struct member *member, struct bytes host,
                         uint16_t port);

/* What of it survives a crash of the member: only that lets tombstones go. */
const struct vector *member_kept(const struct member *m);

/* The address without a member that reads "host:port", or NULL. */
struct address *members_find_unmet(struct members *m, struct bytes text);

/* Adds an address to dial at once; it is copied. An equal one is returned if there is one.
 * NULL when full. */
struct address *members_add_address(struct members *m, struct bytes host, uint16_t port,
                                    bool configured);

/* Whether it is time to dial the address: it is idle, due, and does not lead to a member to whom
 * another link already stands. */
bool address_is_due(const struct address *a, uint64_t mono_ms);

/* The attempt, or the link, is over: plan the next one, later each time, with jitter.
 * reason: copied; "" when the link ended without a fault. */
void address_failed(struct address *a, uint64_t mono_ms, struct random *random, const char *reason);

/* "host:port" or "[v6]:port" in text, which holds ADDRESS_TEXT_BYTES. */
void address_text(const char *host, uint16_t port, char *text);

#endif
