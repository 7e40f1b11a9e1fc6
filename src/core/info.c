/* What INFO tells: Redis' sections, with those of their fields that are known here, and our own. */
#include "command_internal.h"
#include "kv/node.h"
#include "kv/storage.h"

#include <inttypes.h>

/* What is printed from. */
struct subject {
    const struct node *node;
    struct moment now;
    struct node_process process; /* zeroed when nobody can tell */
};

/* --- Redis' sections ------------------------------------------------------------------------ */

/* "1.50M" */
static void print_human(struct buffer *out, const char *field, uint64_t bytes)
{
    static const char units[] = "BKMGTP";
    double number = (double)bytes;
    size_t unit = 0;
    for (; number >= 1024 && unit + 2 < sizeof units; unit++)
        number /= 1024;
    if (unit == 0)
        buffer_printf(out, "%s:%" PRIu64 "B\n", field, bytes);
    else
        buffer_printf(out, "%s:%.2f%c\n", field, number, units[unit]);
}

static void print_server(const struct subject *s, struct buffer *out)
{
    const struct node *n = s->node;
    const struct node_process *p = &s->process;
    uint64_t uptime_s = (s->now.mono_ms - n->started.mono_ms) / 1000;
    buffer_printf(out, "redis_version:%s\nsimplekv_version:%s\n", REDIS_VERSION, n->config.version);
    buffer_printf(out, "redis_mode:standalone\nos:%s\narch_bits:%zu\n", p->system,
                  8 * sizeof(void *));
    buffer_printf(out, "process_id:%" PRIu32 "\nrun_id:%016" PRIx64 "%024d\n", p->pid,
                  n->config.origin, 0);
    buffer_printf(out, "tcp_port:%u\nserver_time_usec:%" PRIu64 "\n", (unsigned)p->port,
                  s->now.wall_ms * 1000);
    buffer_printf(out, "uptime_in_seconds:%" PRIu64 "\nuptime_in_days:%" PRIu64 "\n", uptime_s,
                  uptime_s / (24 * 3600));
    buffer_printf(out, "hz:%u\nconfigured_hz:%u\n", 1000 / NODE_TICK_MS, 1000 / NODE_TICK_MS);
    buffer_printf(out, "executable:%s\nio_threads_active:0\n", p->executable);
}

static void print_clients(const struct subject *s, struct buffer *out)
{
    const struct node *n = s->node;
    uint32_t waiting = 0;
    list_for_each (item, &n->waiting) {
        waiting++;
    }
    buffer_printf(out, "connected_clients:%" PRIu32 "\ncluster_connections:0\n", n->session_count);
    buffer_printf(out, "maxclients:%" PRIu32 "\nblocked_clients:%" PRIu32 "\n",
                  n->config.max_clients, waiting);
    buffer_append_text(out, "tracking_clients:0\nclients_in_timeout_table:0\n");
}

static void print_memory(const struct subject *s, struct buffer *out)
{
    const struct node *n = s->node;
    uint64_t used = store_memory_bytes(n->store), resident = s->process.resident_bytes;
    buffer_printf(out, "used_memory:%" PRIu64 "\n", used);
    print_human(out, "used_memory_human", used);
    buffer_printf(out, "used_memory_rss:%" PRIu64 "\n", resident);
    print_human(out, "used_memory_rss_human", resident);
    buffer_printf(out, "used_memory_dataset:%" PRIu64 "\n", used);
    buffer_printf(out, "maxmemory:%" PRIu64 "\n", n->config.max_memory_bytes);
    print_human(out, "maxmemory_human", n->config.max_memory_bytes);
    buffer_append_text(out, "maxmemory_policy:noeviction\n");
    if (used > 0)
        buffer_printf(out, "mem_fragmentation_ratio:%.2f\n", (double)resident / (double)used);
}

static void print_persistence(const struct subject *s, struct buffer *out)
{
    command_print_persistence(s->node, out);
}

static void print_stats(const struct subject *s, struct buffer *out)
{
    const struct node_counters *c = &s->node->counters;
    buffer_printf(out, "total_connections_received:%" PRIu64 "\n", c->sessions);
    buffer_printf(out, "total_commands_processed:%" PRIu64 "\n", c->commands);
    buffer_printf(out, "total_net_input_bytes:%" PRIu64 "\n", c->client_bytes_received);
    buffer_printf(out, "total_net_output_bytes:%" PRIu64 "\n", c->client_bytes_sent);
    buffer_printf(out, "total_net_repl_input_bytes:%" PRIu64 "\n", c->peer_bytes_received);
    buffer_printf(out, "total_net_repl_output_bytes:%" PRIu64 "\n", c->peer_bytes_sent);
    buffer_printf(out, "rejected_connections:%" PRIu64 "\n", c->sessions_refused);
    buffer_printf(out, "expired_keys:%" PRIu64 "\nevicted_keys:0\n", c->expired);
    buffer_printf(out, "keyspace_hits:%" PRIu64 "\n", c->hits);
    buffer_printf(out, "keyspace_misses:%" PRIu64 "\n", c->misses);
    buffer_append_text(out, "pubsub_channels:0\npubsub_patterns:0\n");
    buffer_append_text(out, "latest_fork_usec:0\ntotal_forks:0\n");
    buffer_printf(out, "total_error_replies:%" PRIu64 "\n", c->errors);
}

/* Every node is a master: each takes writes. Its peers are in the section simple-kv, and PEERS. */
static void print_replication(const struct subject *s, struct buffer *out)
{
    buffer_printf(out, "role:master\nconnected_slaves:0\nmaster_replid:%016" PRIx64 "%024d\n",
                  s->node->config.origin, 0);
}

static void print_cpu(const struct subject *s, struct buffer *out)
{
    const struct node_process *p = &s->process;
    buffer_printf(out, "used_cpu_sys:%" PRIu64 ".%06" PRIu64 "\n", p->cpu_system_us / 1000000,
                  p->cpu_system_us % 1000000);
    buffer_printf(out, "used_cpu_user:%" PRIu64 ".%06" PRIu64 "\n", p->cpu_user_us / 1000000,
                  p->cpu_user_us % 1000000);
}

static void print_cluster(const struct subject *s, struct buffer *out)
{
    (void)s;
    buffer_append_text(out, "cluster_enabled:0\n");
}

static void print_keyspace(const struct subject *s, struct buffer *out)
{
    const struct store *store = s->node->store;
    if (store_live_count(store) > 0)
        buffer_printf(out, "db0:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=0\n",
                      store_live_count(store), store_expiring_count(store));
}

/* --- our own -------------------------------------------------------------------------------- */

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

static void print_peers(const struct subject *s, struct buffer *out)
{
    const struct node *n = s->node;
    const struct node_counters *c = &n->counters;
    buffer_printf(out, "members:%" PRIu32 "\n", n->members.count);
    buffer_printf(out, "members_forgotten:%" PRIu32 "\n", forgotten_count(n));
    buffer_printf(out, "peers_linked:%" PRIu32 "\n", node_linked_count(n));
    buffer_printf(out, "peers_expected:%" PRIu32 "\n", node_expected_count(n));
    buffer_printf(out, "lag_ms:%" PRIu64 "\n", lag_max_ms(n, s->now));
    buffer_printf(out, "peer_bytes_sent:%" PRIu64 "\n", c->peer_bytes_sent);
    buffer_printf(out, "peer_bytes_received:%" PRIu64 "\n", c->peer_bytes_received);
    buffer_printf(out, "records_received:%" PRIu64 "\n", c->records_received);
    buffer_printf(out, "deltas_received:%" PRIu64 "\n", c->deltas_received);
    buffer_printf(out, "deltas_served:%" PRIu64 "\n", c->deltas_served);
    buffer_printf(out, "comparisons_received:%" PRIu64 "\n", c->comparisons_received);
    buffer_printf(out, "scrubs:%" PRIu64 "\n", c->scrubs);
    buffer_printf(out, "divergence_repaired:%" PRIu64 "\n", c->divergence_repaired);
}

static void print_own(const struct subject *s, struct buffer *out)
{
    const struct node *n = s->node;
    const struct node_counters *c = &n->counters;
    buffer_printf(out, "version:%s\nname:%s\ncluster:%s\norigin:%016" PRIx64 "\n",
                  n->config.version, n->config.name, n->config.cluster, n->config.origin);
    buffer_printf(out, "uptime_seconds:%" PRIu64 "\n",
                  (s->now.mono_ms - n->started.mono_ms) / 1000);
    buffer_printf(out, "clients:%" PRIu32 "\n", n->session_count);
    buffer_printf(out, "keys:%" PRIu64 "\n", store_live_count(n->store));
    buffer_printf(out, "tombstones:%" PRIu64 "\n", store_tombstone_count(n->store));
    buffer_printf(out, "tombstone_bytes:%" PRIu64 "\n", store_tombstone_bytes(n->store));
    buffer_printf(out, "tombstones_dropped:%" PRIu64 "\n", c->tombstones_dropped);
    buffer_printf(out, "tombstones_dropped_by_force:%" PRIu64 "\n", c->tombstones_forced);
    buffer_printf(out, "memory_bytes:%" PRIu64 "\n", store_memory_bytes(n->store));
    buffer_printf(out, "digest:%016" PRIx64 "\n", store_digest(n->store));
    buffer_printf(out, "ready:%s\n", is_ready(n) ? "yes" : "no");
    buffer_printf(out, "journal_bytes:%" PRIu64 "\n", journal_bytes(&n->journal));
    buffer_printf(out, "commands:%" PRIu64 "\n", c->commands);
    buffer_printf(out, "loop_turn_max_us:%" PRIu64 "\n", s->process.loop_turn_max_us);
    print_peers(s, out);
    command_print_storage(n, out);
}

/* --- the whole ------------------------------------------------------------------------------ */

static bool is_asked_for(const struct command_call *call, const char *section)
{
    static const char *const all[] = {"all", "default", "everything"};
    if (call->word_count == 1)
        return true;
    for (size_t i = 1; i < call->word_count; i++) {
        if (command_word_is(call, i, section))
            return true;
        for (size_t j = 0; j < sizeof all / sizeof all[0]; j++) {
            if (command_word_is(call, i, all[j]))
                return true;
        }
    }
    return false;
}

void command_info(struct command_call *call)
{
    static const struct {
        const char *name;
        void (*print)(const struct subject *s, struct buffer *out);
    } sections[] = {
        {"Server", print_server},     {"Clients", print_clients},
        {"Memory", print_memory},     {"Persistence", print_persistence},
        {"Stats", print_stats},       {"Replication", print_replication},
        {"CPU", print_cpu},           {"Cluster", print_cluster},
        {"Keyspace", print_keyspace}, {"simple-kv", print_own},
    };
    struct subject s = {.node = call->node, .now = call->now};
    const struct node_host *host = &call->node->host;
    struct buffer text;
    if (host->process != NULL)
        host->process(host->owner, &s.process);
    buffer_init(&text, call->node->heap);
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
        if (!is_asked_for(call, sections[i].name))
            continue;
        buffer_printf(&text, "%s# %s\n", buffer_size(&text) == 0 ? "" : "\n", sections[i].name);
        sections[i].print(&s, &text);
    }
    if (buffer_failed(&text))
        reply_error(call->reply, "out of memory");
    else
        reply_info(call->reply, buffer_bytes(&text));
    buffer_close(&text);
}
