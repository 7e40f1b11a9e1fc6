/* Commands about the members of the cluster, and what they have confirmed. */
#include "command_internal.h"
#include "kv/node.h"
#include "kv/storage.h"

#include <inttypes.h>

static void print_peer(struct command_call *call, const char *name, const char *address,
                       const struct member *m, const struct address *a, struct buffer *out)
{
    const struct node *n = call->node;
    const struct link *sender = m == NULL ? NULL : m->sender;
    const char *state = sender != NULL ? link_state_name(sender) : "down";
    const char *reason = a != NULL && sender == NULL && a->reason[0] != 0 ? a->reason : "-";
    if (sender == NULL && a != NULL && a->state == ADDRESS_LINKED)
        state = "hello";
    else if (sender == NULL && (m != NULL ? m->forgotten_ms != 0 : a->forgotten))
        state = "forgotten";
    else if (sender == NULL && a != NULL && a->refused)
        state = "refused";
    else if (sender == NULL && a != NULL && (a->state == ADDRESS_DIALING || a->reason[0] == 0))
        state = "connecting";
    buffer_printf(out, "name=%s address=%s state=%s", name, address, state);
    if (m != NULL) {
        buffer_printf(out, " origin=%016" PRIx64 " lag_ms=%" PRIu64, m->origin,
                      node_lag_ms(n, m, call->now));
        bool all;
        uint64_t records = node_lag_records(n, m, &all);
        buffer_printf(out, " lag_records=%" PRIu64 "%s", records, all ? "" : "+");
        buffer_printf(out, " queued_bytes=%" PRIu64 " clock_ms=%+" PRId64,
                      sender == NULL ? 0 : link_queued_bytes(sender), m->clock_difference_ms);
        if (m->contact_mono_ms != 0)
            buffer_printf(out, " contact_ms=%" PRIu64, call->now.mono_ms - m->contact_mono_ms);
    }
    buffer_printf(out, " reason=%s\n", reason);
}

/* The address that tells most about a member that is not linked. */
static const struct address *address_of(const struct members *members, const struct member *m)
{
    const struct address *found = NULL;
    for (uint32_t i = 0; i < members->address_count; i++) {
        const struct address *a = &members->addresses[i];
        if (a->member == m && (found == NULL || found->reason[0] == 0))
            found = a;
    }
    return found;
}

static void peers(struct command_call *call)
{
    const struct members *members = &call->node->members;
    char text[ADDRESS_TEXT_BYTES];
    struct buffer out;
    buffer_init(&out, call->node->heap);
    for (uint32_t i = 0; i < members->count; i++) {
        const struct member *m = members->list[i];
        address_text(m->host[0] == 0 ? "?" : m->host, m->port, text);
        print_peer(call, m->name, text, m, address_of(members, m), &out);
    }
    for (uint32_t i = 0; i < members->address_count; i++) {
        const struct address *a = &members->addresses[i];
        if (a->member != NULL || a->state == ADDRESS_SELF)
            continue;
        address_text(a->host, a->port, text);
        print_peer(call, "?", text, NULL, a, &out);
    }
    command_reply_text(call, &out);
}

/* --- WAIT and WAITAOF ----------------------------------------------------------------------- */

/* How long, or it has answered why not. people: what would be right. */
static bool read_timeout(struct command_call *call, size_t index, const char *people,
                         uint64_t *timeout_ms)
{
    int64_t number;
    bool parsed = command_parse_integer(call->words[index], &number);
    if (parsed && number >= 0 && number <= (int64_t)UINT32_MAX) {
        *timeout_ms = (uint64_t)number;
        return true;
    }
    reply_known_error(call->reply,
                      parsed && number < 0 ? "ERR timeout is negative"
                                           : "ERR timeout is not an integer or out of range",
                      "%s", people);
    return false;
}

static void wait_for_peers(struct command_call *call)
{
    static const char people[] = "WAIT takes a number of peers and milliseconds up to 4294967295";
    uint64_t timeout_ms, stamp = call->session->last_write;
    int64_t peers;
    if (!command_parse_integer(call->words[1], &peers)) {
        reply_known_error(call->reply, "ERR value is not an integer or out of range", "%s", people);
        return;
    }
    if (!read_timeout(call, 2, people, &timeout_ms))
        return;
    uint32_t confirmed = node_confirmations(call->node, stamp);
    if (peers <= (int64_t)confirmed) {
        reply_number(call->reply, confirmed);
        return;
    }
    call->wait = (struct command_wait){.wanted = true,
                                       .counts = true,
                                       .stamp = stamp,
                                       .peers = (uint64_t)peers,
                                       .timeout_ms = timeout_ms};
}

static void wait_for_disks(struct command_call *call)
{
    static const char people[] = "WAITAOF takes 0 or 1, a number of peers, and milliseconds up to "
                                 "4294967295";
    uint64_t timeout_ms, stamp = call->session->last_write;
    int64_t here, peers;
    if (!command_parse_integer(call->words[1], &here) || here < 0 || here > 1) {
        reply_known_error(call->reply, "ERR value is out of range, must be between 0 and 1", "%s",
                          people);
        return;
    }
    if (!command_parse_integer(call->words[2], &peers) || peers < 0) {
        reply_known_error(call->reply, "ERR value is out of range, must be positive", "%s", people);
        return;
    }
    if (!read_timeout(call, 3, people, &timeout_ms))
        return;
    if (here == 1 && call->node->storage == NULL) {
        reply_known_error(
            call->reply,
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
            "this node has no --data-dir: its data is in memory only");
        return;
    }
    uint32_t confirmed = node_disk_confirmations(call->node, stamp);
    bool synced = node_is_on_disk(call->node, stamp);
    if (confirmed >= (uint64_t)peers && synced >= here) {
        reply_list(call->reply, 2);
        reply_number(call->reply, synced);
        reply_number(call->reply, confirmed);
        return;
    }
    call->wait = (struct command_wait){.wanted = true,
                                       .counts_synced = true,
                                       .stamp = stamp,
                                       .peers = (uint64_t)peers,
                                       .timeout_ms = timeout_ms,
                                       .synced = here == 1};
}

static void forget(struct command_call *call)
{
    struct node *n = call->node;
    struct bytes name = call->words[1];
    int shown = (int)(name.size < MEMBER_NAME_BYTES ? name.size : MEMBER_NAME_BYTES);
    struct member *m = members_find(&n->members, name);
    struct address *unmet = m == NULL ? members_find_unmet(&n->members, name) : NULL;
    if (m == NULL && unmet == NULL) {
        reply_error(call->reply, "no member '%.*s'; PEERS lists them", shown,
                    (const char *)name.data);
        return;
    }
    if (m != NULL && (m->sender != NULL || m->receiver != NULL)) {
        reply_error(call->reply, "member '%.*s' is linked; only one that is gone can be forgotten",
                    shown, (const char *)name.data);
        return;
    }
    if (unmet != NULL)
        unmet->forgotten = true;
    else if (m->forgotten_ms == 0)
        node_forget(n, m, call->now.wall_ms);
    reply_ok(call->reply);
}

static void cluster(struct command_call *call)
{
    reply_error(call->reply, "This instance has cluster support disabled");
}

const struct command commands_cluster[] = {
    {"CLUSTER", cluster, -2, 0, 0, 0, COMMAND_LOADING, 0, "cluster", "subcommand [argument ...]",
     "refused: there are no slots, every node holds every key; PEERS shows the members"},
    {"FORGET", forget, 2, 0, 0, 0, COMMAND_OWN | COMMAND_ADMIN, 0, "server", "member",
     "keep no deletes for a member that is gone for good"},
    {"PEERS", peers, 1, 0, 0, 0, COMMAND_OWN | COMMAND_LOADING, 0, "server", "",
     "the other members, as this node sees them"},
    {"WAIT", wait_for_peers, 3, 0, 0, 0, 0, 0, "generic", "peers milliseconds",
     "wait until so many peers have this connection's last write; answers how many do"},
    {"WAITAOF", wait_for_disks, 4, 0, 0, 0, 0, 0, "generic", "0|1 peers milliseconds",
     "likewise until it is on this node's disk (1) and on so many peers' disks; answers both"},
    {0},
};
