/* Commands about the connection, the node and its peers. */
#include "kv/backup.h"
#include "kv/command.h"
#include "kv/node.h"
#include "kv/storage.h"

#include <inttypes.h>

void command_ping(struct command_call *call)
{
    /* A space behind PING is how people type, not an empty text. */
    if (call->word_count > 1 && call->words[1].size > 0)
        reply_value(call->reply, call->words[1]);
    else
        reply_pong(call->reply);
}

void command_quit(struct command_call *call)
{
    reply_goodbye(call->reply);
    call->quit = true;
}

/* Both answer only when they cannot begin; what follows is the session's business. */
void command_backup(struct command_call *call)
{
    call->session->backup = backup_new(call->node, call->now);
    if (call->session->backup == NULL)
        reply_error(call->reply, "out of memory");
}

void command_restore(struct command_call *call)
{
    call->session->backup = restore_new(call->node);
    if (call->session->backup == NULL)
        reply_error(call->reply, "out of memory");
}

/* Answers with a text, and frees it. A part of it would be a false answer. */
static void reply_lines(struct command_call *call, struct buffer *text)
{
    if (buffer_failed(text))
        reply_error(call->reply, "out of memory");
    else
        reply_text(call->reply, buffer_bytes(text));
    buffer_close(text);
}

void command_help_reply(struct command_call *call)
{
    struct buffer text;
    const struct command *only = NULL;
    if (call->word_count > 1) {
        only = command_find(call->words[1]);
        if (only == NULL) {
            reply_error(call->reply, "no such command; HELP lists the commands");
            return;
        }
    }
    buffer_init(&text, call->node->heap);
    command_help(&text, only);
    reply_lines(call, &text);
}

static uint64_t lag_max_ms(const struct node *n, struct moment now)
{
    uint64_t lag = 0;
    for (uint32_t i = 0; i < n->members.count; i++) {
        uint64_t one = node_lag_ms(n, n->members.list[i], now);
        lag = one > lag ? one : lag;
    }
    return lag;
}

static uint32_t forgotten_count(const struct node *n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->members.count; i++)
        count += n->members.list[i]->forgotten_ms != 0;
    return count;
}

/* Whether it takes reads and writes. */
static bool is_ready(const struct node *n)
{
    return !n->clock_disagrees && !n->loading && !n->refilling &&
           (n->storage == NULL || n->storage->error == 0);
}

static void print_info(const struct node *n, struct moment now, struct buffer *out)
{
    const struct node_counters *c = &n->counters;
    buffer_printf(out, "version:%s\nname:%s\ncluster:%s\norigin:%016" PRIx64 "\nrole:master\n",
                  n->config.version, n->config.name, n->config.cluster, n->config.origin);
    buffer_printf(out, "uptime_seconds:%" PRIu64 "\n", (now.mono_ms - n->started.mono_ms) / 1000);
    buffer_printf(out, "clients:%" PRIu32 "\n", n->session_count);
    buffer_printf(out, "keys:%" PRIu64 "\n", store_live_count(n->store));
    buffer_printf(out, "tombstones:%" PRIu64 "\n", store_tombstone_count(n->store));
    buffer_printf(out, "tombstone_bytes:%" PRIu64 "\n", store_tombstone_bytes(n->store));
    buffer_printf(out, "tombstones_dropped:%" PRIu64 "\n", c->tombstones_dropped);
    buffer_printf(out, "tombstones_dropped_by_force:%" PRIu64 "\n", c->tombstones_forced);
    buffer_printf(out, "memory_bytes:%" PRIu64 "\n", store_memory_bytes(n->store));
    buffer_printf(out, "digest:%016" PRIx64 "\n", store_digest(n->store));
    buffer_printf(out, "ready:%s\n", is_ready(n) ? "yes" : "no");
    buffer_printf(out, "members:%" PRIu32 "\n", n->members.count);
    buffer_printf(out, "members_forgotten:%" PRIu32 "\n", forgotten_count(n));
    buffer_printf(out, "peers_linked:%" PRIu32 "\n", node_linked_count(n));
    buffer_printf(out, "peers_expected:%" PRIu32 "\n", node_expected_count(n));
    buffer_printf(out, "lag_ms:%" PRIu64 "\n", lag_max_ms(n, now));
    buffer_printf(out, "journal_bytes:%" PRIu64 "\n", journal_bytes(&n->journal));
    buffer_printf(out, "commands:%" PRIu64 "\n", c->commands);
    buffer_printf(out, "peer_bytes_sent:%" PRIu64 "\n", c->peer_bytes_sent);
    buffer_printf(out, "peer_bytes_received:%" PRIu64 "\n", c->peer_bytes_received);
    buffer_printf(out, "records_received:%" PRIu64 "\n", c->records_received);
    buffer_printf(out, "deltas_received:%" PRIu64 "\n", c->deltas_received);
    buffer_printf(out, "deltas_served:%" PRIu64 "\n", c->deltas_served);
    buffer_printf(out, "comparisons_received:%" PRIu64 "\n", c->comparisons_received);
    buffer_printf(out, "scrubs:%" PRIu64 "\n", c->scrubs);
    buffer_printf(out, "divergence_repaired:%" PRIu64 "\n", c->divergence_repaired);
}

void command_info(struct command_call *call)
{
    struct buffer text;
    buffer_init(&text, call->node->heap);
    print_info(call->node, call->now, &text);
    command_print_storage(call->node, &text);
    reply_lines(call, &text);
}

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

void command_peers(struct command_call *call)
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
    reply_lines(call, &out);
}

void command_wait(struct command_call *call)
{
    uint64_t peers, timeout_ms, stamp = call->session->last_write;
    if (!bytes_parse_u64(call->words[1], &peers) || !bytes_parse_u64(call->words[2], &timeout_ms) ||
        timeout_ms > UINT32_MAX) {
        reply_error(call->reply, "WAIT takes a number of peers and milliseconds up to 4294967295");
        return;
    }
    uint32_t confirmed = node_confirmations(call->node, stamp);
    if (confirmed >= peers) {
        reply_number(call->reply, confirmed);
        return;
    }
    call->wait = (struct command_wait){
        .wanted = true, .counts = true, .stamp = stamp, .peers = peers, .timeout_ms = timeout_ms};
}

void command_forget(struct command_call *call)
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
