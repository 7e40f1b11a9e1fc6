/* What holds when all is calm. */
#include "checker_internal.h"

#include "kv/hash.h"

#include <stdlib.h>

static bool is_live(const struct sim *s, uint32_t node, uint32_t key)
{
    const struct seen *is = &s->checker->views[node].now[key];
    if (!is->present || is->tombstone)
        return false;
    const struct issued *x = issued_find(s->checker, key, is->stamp, is->origin);
    return x == NULL || !has_expired(s, x);
}

/* Whether two nodes read the same for a key, value and all. */
static bool reads_equal(struct sim *s, uint32_t a, uint32_t b, uint32_t key)
{
    struct record of_a, of_b;
    bool live = is_live(s, a, key);
    if (live != is_live(s, b, key))
        return false;
    if (!live)
        return true;
    return look_up(s, &s->nodes[a], key, &of_a) && look_up(s, &s->nodes[b], key, &of_b) &&
           record_compare(&of_a, &of_b) == 0;
}

/* A disk that takes writes again is written to again, by itself. */
static bool takes_writes(const struct node *n)
{
    return n->storage == NULL || n->storage->error == 0;
}

static bool is_linked(const struct sim *s)
{
    for (uint32_t i = 0; i < s->size; i++) {
        const struct node *n = s->nodes[i].node;
        if (n == NULL || !takes_writes(n) || node_linked_count(n) != s->size - 1 ||
            n->delta != NULL || n->scans > 0)
            return false;
        for (uint32_t k = 0; k < s->size; k++) {
            const struct node *m = s->nodes[k].node;
            if (m != NULL && vector_get(&n->vector, m->config.origin) < m->last_write)
                return false;
        }
    }
    return true;
}

bool checker_is_converged(struct sim *s)
{
    if (!is_linked(s))
        return false;
    for (uint32_t i = 1; i < s->size; i++) {
        if (store_digest(s->nodes[i].node->store) != store_digest(s->nodes[0].node->store))
            return false;
        for (uint32_t k = 0; k < s->plan.keys; k++) {
            if (!reads_equal(s, 0, i, k))
                return false;
        }
    }
    return true;
}

bool checker_is_swept(struct sim *s)
{
    for (uint32_t i = 0; i < s->size; i++) {
        const struct sim_node *n = &s->nodes[i];
        for (uint32_t k = 0; k < s->plan.keys; k++) {
            const struct seen *is = &s->checker->views[i].now[k];
            if (n->node != NULL && is->present && is->tombstone &&
                vector_covers(&n->node->vector, is->origin, is->stamp))
                return false;
        }
    }
    return true;
}

/* The greatest record of the key that anybody who runs has seen is the one that all hold. */
static void check_greatest(struct sim *s, uint32_t key)
{
    struct checker *c = s->checker;
    struct seen greatest = {0};
    for (uint32_t i = 0; i < s->size; i++) {
        const struct seen *g = &c->views[i].greatest[key];
        if (g->stamp > greatest.stamp ||
            (g->stamp == greatest.stamp && g->origin > greatest.origin))
            greatest = *g;
    }
    const struct issued *x = issued_find(c, key, greatest.stamp, greatest.origin);
    if (x == NULL)
        return;
    bool dead = x->tombstone || x->killed || has_expired(s, x);
    for (uint32_t i = 0; i < s->size; i++) {
        const struct seen *is = &c->views[i].now[key];
        bool holds = is->present && is->stamp == x->stamp && is->origin == x->origin;
        if (dead && x->stamp > c->unseen_below[key] && is_live(s, i, key))
            sim_fail(s, 8, "%s has k%u, which was deleted", s->nodes[i].name, key);
        if (!dead && !holds)
            sim_fail(s, 2, "%s does not hold the greatest record of k%u", s->nodes[i].name, key);
    }
}

static void check_equal(struct sim *s)
{
    for (uint32_t i = 1; i < s->size; i++) {
        for (uint32_t k = 0; k < s->plan.keys; k++) {
            if (!reads_equal(s, 0, i, k))
                sim_fail(s, 1, "%s and %s differ in k%u", s->nodes[0].name, s->nodes[i].name, k);
        }
        if (store_digest(s->nodes[0].node->store) != store_digest(s->nodes[i].node->store))
            sim_fail(s, 1, "%s and %s have unequal digests", s->nodes[0].name, s->nodes[i].name);
    }
}

/* Digests counted again from what each node reads. */
static void check_digests(struct sim *s, const struct sim_node *n)
{
    uint64_t *sums = calloc(STORE_PARTITIONS, sizeof *sums);
    uint64_t live = 0;
    for (uint32_t k = 0; sums != NULL && k < s->plan.keys; k++) {
        struct record rec;
        if (!look_up(s, n, k, &rec) || rec.tombstone)
            continue;
        live++;
        sums[store_partition(rec.key)] +=
            hash_mix(hash_key(rec.key), hash_mix(rec.origin, rec.stamp));
    }
    for (uint32_t p = 0; sums != NULL && p < STORE_PARTITIONS; p++) {
        if (sums[p] != store_partition_digest(n->node->store, p))
            sim_fail(s, 12, "%s has a false digest of partition %u", n->name, p);
    }
    if (live != store_live_count(n->node->store))
        sim_fail(s, 12, "%s counts %llu keys and holds %llu", n->name,
                 (unsigned long long)store_live_count(n->node->store), (unsigned long long)live);
    free(sums);
}

/* --- the laws of merging, on the records of the run ---------------------------------------- */

#define LAW_RECORDS 16u

static void merge_shuffled(struct sim *s, struct store *store, const struct record *records,
                           uint32_t count)
{
    for (uint32_t i = 0; i < 3 * count; i++)
        store_merge(store, &records[random_below(&s->faults, count)], false);
    for (uint32_t i = 0; i < count; i++)
        store_merge(store, &records[i], false);
}

static void check_laws(struct sim *s, uint32_t key)
{
    const struct key_history *h = &s->checker->keys[key];
    struct record records[LAW_RECORDS];
    uint32_t count = h->count < LAW_RECORDS ? h->count : LAW_RECORDS;
    char text[16];
    workload_key(key, text);
    for (uint32_t i = 0; i < count; i++) {
        const struct issued *x = &h->records[random_below(&s->faults, h->count)];
        records[i] = (struct record){.key = bytes_text(text),
                                     .stamp = x->stamp,
                                     .origin = x->origin,
                                     .value = bytes_of(&x->value_hash, x->tombstone ? 0 : 8),
                                     .expires_ms = x->expires_ms,
                                     .tombstone = x->tombstone};
    }
    struct store *a = store_new(&s->plain, 1), *b = store_new(&s->plain, 2);
    if (count > 0 && a != NULL && b != NULL) {
        struct record of_a, of_b;
        merge_shuffled(s, a, records, count);
        merge_shuffled(s, b, records, count);
        if (!store_find(a, bytes_text(text), &of_a) || !store_find(b, bytes_text(text), &of_b) ||
            record_compare(&of_a, &of_b) != 0)
            sim_fail(s, 3, "merging the records of k%u in two orders gives two results", key);
    }
    store_free(a);
    store_free(b);
}

void checker_quiescent(struct sim *s)
{
    if (s->failed_invariant != 0)
        return;
    check_equal(s);
    for (uint32_t k = 0; k < s->plan.keys; k++)
        check_greatest(s, k);
    for (uint32_t i = 0; i < s->size; i++)
        check_digests(s, &s->nodes[i]);
    check_laws(s, (uint32_t)random_below(&s->faults, s->plan.keys));
}
