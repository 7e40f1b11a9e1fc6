/* A smoke test of the whole: random commands on three nodes while links are cut, stall and break
 * and nodes restart empty. Then the network heals, and all must hold the same: for every key the
 * last word, and no zombie. The simulator (tests/sim) will do this thoroughly. */
#include "pair.h"
#include "unit.h"

#define NODES  3u
#define KEYS   12u
#define STEPS  300u
#define ROUNDS 200u

/* What is known of a key: the last write that was given on any node. Later stamps win, and this is
 * the order of stamps too as long as the clocks agree and the writers have heard of each other;
 * where they have not, only that all nodes agree can be checked. */
struct fixture {
    struct pair pair;
    struct random random;
    uint32_t restarts;
    uint32_t stranded; /* keys on which the nodes differ by what only scrub can mend */
    char line[128];
};

static uint32_t pick(struct fixture *f, uint32_t bound)
{
    return (uint32_t)random_below(&f->random, bound);
}

static uint32_t running(const struct fixture *f)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < NODES; i++)
        count += f->pair.nodes[i].node != NULL;
    return count;
}

static void run_command(struct fixture *f)
{
    uint32_t node = pick(f, NODES), key = pick(f, KEYS);
    if (f->pair.nodes[node].node == NULL)
        return;
    switch (pick(f, 8)) {
    case 0:
    case 1:
        snprintf(f->line, sizeof f->line, "DEL k%u", key);
        break;
    case 2:
        snprintf(f->line, sizeof f->line, "SETEX k%u %u soon gone %u", key, 1 + pick(f, 20),
                 pick(f, 100));
        break;
    case 3:
        snprintf(f->line, sizeof f->line, "%s k%u%s", pick(f, 2) == 0 ? "PERSIST" : "EXPIRE", key,
                 pick(f, 2) == 0 ? "" : " 10");
        break;
    default:
        snprintf(f->line, sizeof f->line, "SET k%u %u%.*s", key, pick(f, 1000), (int)pick(f, 50),
                 "..................................................");
    }
    pair_command(&f->pair, node, f->line);
}

static void change_network(struct fixture *f)
{
    struct pair *p = &f->pair;
    uint32_t a = pick(f, NODES), b = (a + 1 + pick(f, NODES - 1)) % NODES;
    switch (pick(f, 6)) {
    case 0:
        pair_cut(p, a, b);
        break;
    case 1:
        p->stalled[a][b] = !p->stalled[a][b];
        break;
    case 2:
        pair_reset(p, a, b);
        break;
    case 3:
        p->chunk_bytes = pick(f, 2) * (1 + pick(f, 500));
        break;
    default:
        pair_heal(p, a, b);
    }
}

/* Never the last one that runs: what only it has seen would be gone. */
static void change_nodes(struct fixture *f)
{
    uint32_t node = pick(f, NODES);
    if (f->pair.nodes[node].node == NULL) {
        pair_start(&f->pair, node);
    } else if (running(f) == NODES && pick(f, 2) == 0) {
        pair_stop(&f->pair, node);
        f->restarts++;
    }
}

static void step(struct fixture *f)
{
    uint32_t kind = pick(f, 100);
    if (kind < 60)
        run_command(f);
    else if (kind < 70)
        change_network(f);
    else if (kind < 72)
        change_nodes(f);
    else if (kind < 90)
        pair_turn(&f->pair);
    else
        pair_tick(&f->pair);
    if (kind >= 97)
        pair_run(&f->pair, PAIR_STEP_MS * pick(f, kind == 99 ? 200 : 40));
}

static void heal(struct fixture *f)
{
    struct pair *p = &f->pair;
    memset(p->stalled, 0, sizeof p->stalled);
    memset(p->unreachable, 0, sizeof p->unreachable);
    p->chunk_bytes = 0;
    for (uint32_t i = 0; i < NODES; i++) {
        if (p->nodes[i].node == NULL)
            pair_start(p, i);
    }
    pair_run(p, 25000);
}

/* Whether a record is one that its node holds without its vector saying so: the last writes of a run
 * that ended before their gap was closed. They reach the others by scrub, which is not there yet. */
static bool is_stranded(const struct node *n, const struct record *rec)
{
    return !vector_covers(&n->vector, rec->origin, rec->stamp);
}

/* Whether all nodes hold the same of a key, or one of them something stranded. */
static bool agree_on(struct fixture *f, uint32_t key)
{
    struct record first, rec;
    bool had_first = false, equal = true, stranded = false;
    snprintf(f->line, sizeof f->line, "k%u", key);
    for (uint32_t i = 0; i < NODES; i++) {
        struct node *n = f->pair.nodes[i].node;
        bool found = store_find(n->store, bytes_text(f->line), &rec);
        stranded = stranded || (found && is_stranded(n, &rec));
        found = found && !rec.tombstone;
        if (i == 0) {
            had_first = found;
            first = rec;
        } else {
            equal = equal && found == had_first && (!found || record_compare(&rec, &first) == 0);
        }
    }
    f->stranded += !equal && stranded;
    return equal || stranded;
}

static uint64_t tombstones_left(struct node *n)
{
    uint64_t count = 0;
    for (uint32_t p = 0; p < STORE_PARTITIONS; p++) {
        struct store_cursor cursor;
        struct record rec;
        store_cursor_open(&cursor, n->store, p);
        while (store_cursor_next(&cursor, &rec))
            count += rec.tombstone && !is_stranded(n, &rec);
        store_cursor_close(&cursor);
    }
    return count;
}

/* All agree, and go on agreeing: after every expiry, with every tombstone dropped. */
static void check(struct fixture *f, uint64_t seed)
{
    struct pair *p = &f->pair;
    bool equal = pair_is_meshed(p);
    uint64_t tombstones = 0;
    for (uint32_t key = 0; key < KEYS; key++)
        equal = agree_on(f, key) && equal;
    if (!equal)
        fail_msg("KV_SEED=%llu: the nodes differ", (unsigned long long)seed);
    for (uint32_t i = 0; i < NODES; i++) {
        struct node *n = p->nodes[i].node;
        tombstones += tombstones_left(n);
        for (uint32_t k = 0; k < NODES; k++) {
            const struct node *other = p->nodes[k].node;
            assert_true(vector_get(&n->vector, other->config.origin) >= other->last_write);
        }
    }
    if (tombstones != 0)
        fail_msg("KV_SEED=%llu: tombstones stay", (unsigned long long)seed);
}

/* A deleted key stays deleted on every node. */
static void check_deletes(struct fixture *f, uint64_t seed)
{
    struct pair *p = &f->pair;
    for (uint32_t key = 0; key < KEYS; key++) {
        snprintf(f->line, sizeof f->line, "DEL k%u", key);
        for (uint32_t i = 0; i < NODES; i++)
            pair_command(p, (key + i) % NODES, f->line);
    }
    pair_settle(p);
    pair_stop(p, (uint32_t)(seed % NODES));
    pair_run(p, 500);
    pair_start(p, (uint32_t)(seed % NODES));
    pair_run(p, 15000);
    for (uint32_t i = 0; i < NODES; i++) {
        if (store_live_count(p->nodes[i].node->store) != 0)
            fail_msg("KV_SEED=%llu: a zombie", (unsigned long long)seed);
    }
}

static void run_seed(struct fixture *f, uint64_t seed)
{
    random_init(&f->random, seed);
    pair_open(&f->pair, NODES);
    bool joins = seed % 4 == 1; /* the third node is new to the others when it comes */
    for (uint32_t i = 0; i < NODES; i++) {
        if (joins)
            f->pair.nodes[i].peers &= 3u;
        if (!joins || i < 2)
            pair_start(&f->pair, i);
    }
    if (seed % 2 == 0)
        pair_run(&f->pair, 2000);
    for (uint32_t i = 0; i < STEPS; i++)
        step(f);
    heal(f);
    check(f, seed);
    check_deletes(f, seed);
    pair_close(&f->pair);
}

static void nodes_converge_after_random_faults(void **state)
{
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    uint64_t seed = unit_seed(__func__);
    uint64_t rounds = unit_rounds(ROUNDS);
    for (uint64_t round = 0; round < rounds; round++)
        run_seed(f, seed + round);
    print_message("%llu seeds from that one on, %u restarts, %u keys differ by stranded records\n",
                  (unsigned long long)rounds, f->restarts, f->stranded);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_converge_after_random_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
