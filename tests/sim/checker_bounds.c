/* What holds at any moment besides the records: memory, digests, streams, refusals, and what clients
 * read. */
#include "checker_internal.h"

#include "kv/check.h"
#include "kv/hash.h"

/* What either buffer of a link is filled to, and the frame or the lists that may come on top. */
#define LINK_BYTES_MAX (LINK_OUTPUT_BYTES + LINK_FRAME_BYTES + 2 * SIM_VALUE_BYTES)

void check_links(struct sim *s, struct sim_node *n)
{
    list_for_each (item, &n->node->links) {
        const struct link *l = container_of(item, struct link, all);
        size_t in = buffer_size(&l->in), out = buffer_size(&l->out) + l->unsent;
        if (in > LINK_BYTES_MAX || out > LINK_BYTES_MAX)
            sim_fail(s, 14, "a link of %s holds %zu bytes in, %zu out", n->name, in, out);
    }
}

void check_sessions(struct sim *s, struct sim_node *n)
{
    size_t most = n->config.max_output_bytes + 2 * SIM_VALUE_BYTES;
    list_for_each (item, &n->node->sessions) {
        const struct session *c = container_of(item, struct session, all);
        size_t out = buffer_size(&c->out) + buffer_size(&c->held) + buffer_size(&c->holds);
        if (out > most || buffer_size(&c->in) > most)
            sim_fail(s, 14, "a client of %s takes %zu bytes in, %zu out", n->name,
                     buffer_size(&c->in), out);
    }
}

/* The digests of the keys' partitions, counted again. checker_end.c looks at all partitions. */
void check_digests_of_keys(struct sim *s, const struct sim_node *n)
{
    const struct checker *c = s->checker;
    const struct seen *now = c->views[n->index].now;
    for (uint32_t k = 0; k < s->plan.keys; k++) {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < s->plan.keys; i++) {
            if (c->partitions[i] == c->partitions[k] && now[i].present && !now[i].tombstone)
                sum += hash_mix(hash_key(c->names[i]), hash_mix(now[i].origin, now[i].stamp));
        }
        if (sum != store_partition_digest(n->node->store, c->partitions[k]))
            sim_fail(s, 12, "%s has a false digest of k%u's partition", n->name, k);
    }
}

void check_stranger(struct sim *s, const struct sim_node *n)
{
    const struct sim_node *stranger = &s->nodes[SIM_NODES_MAX - 1];
    if (stranger->exists && stranger->stranger != STRANGER_NAME &&
        members_find(&n->node->members, bytes_text(stranger->name)) != NULL)
        sim_fail(s, 16, "%s counts a stranger among its members", n->name);
}

static bool flows_from(const struct sim_node *n, uint64_t origin)
{
    list_for_each (item, &n->node->links) {
        const struct link *l = container_of(item, struct link, all);
        if (l->role == LINK_RECEIVER && l->state == LINK_LIVE && l->origin == origin &&
            !l->gap_open)
            return true;
    }
    return false;
}

/* A live record has come. If its delete was gone before this run began, all had that delete, and
 * none may stream the record to it unless the delete's own stream flows, too. */
void check_stream(struct sim *s, const struct sim_node *n, uint32_t key, const struct seen *is)
{
    const struct checker *c = s->checker;
    uint64_t stamp = c->dropped[key].stamp, origin = c->dropped[key].origin;
    if (is->stamp < stamp && stamp > c->unseen_below[key] &&
        c->dropped[key].ms < c->views[n->index].started_ms && flows_from(n, is->origin) &&
        !flows_from(n, origin) && !vector_covers(&n->node->vector, origin, stamp))
        sim_fail(s, 8, "%s streams k%u, whose delete all had, without that delete", n->name, key);
}

static uint64_t mix_vector(uint64_t sum, const struct vector *v)
{
    for (uint32_t i = 0; i < v->count; i++)
        sum = hash_mix(sum, hash_mix(v->entries[i].origin, v->entries[i].stamp));
    return hash_mix(sum, v->count);
}

uint64_t checker_state(const struct sim_node *n)
{
    const struct node *node = n->node;
    uint64_t sum = hash_mix(store_digest(node->store), store_tombstone_count(node->store));
    sum = mix_vector(mix_vector(sum, &node->vector), &node->dropped);
    sum = hash_mix(sum, hash_mix(node->clock.last, node->members.count));
    for (uint32_t i = 0; i < node->members.count; i++) {
        const struct member *m = node->members.list[i];
        sum = mix_vector(mix_vector(sum, &m->confirmed), &m->durable);
        sum = hash_mix(hash_mix(sum, m->origin), m->forgotten_ms);
    }
    return sum | 1;
}

void checker_refused(struct sim *s, const struct sim_node *n, uint64_t state_before)
{
    if (checker_state(n) != state_before)
        sim_fail(s, 16, "%s has changed by a peer that was refused", n->name);
}

void checker_read(struct sim *s, const struct sim_node *n, uint32_t key, struct bytes reply)
{
    struct record rec;
    struct bytes value = bytes_of(reply.data, reply.size - 1);
    const struct issued *x = NULL;
    if (look_up(s, n, key, &rec) && !rec.tombstone)
        x = issued_find(s->checker, key, rec.stamp, rec.origin);
    if (x != NULL && x->expires_ms != 0 && x->expires_ms <= sim_now(s, n).wall_ms)
        x = NULL;
    if (x == NULL && !bytes_equal(value, bytes_text("NOT_FOUND")))
        sim_fail(s, 8, "a client of %s reads k%u, which is deleted or has expired", n->name, key);
    else if (x != NULL && hash_key(value) != x->value_hash)
        sim_fail(s, 2, "a client of %s reads another k%u than is there", n->name, key);
}
