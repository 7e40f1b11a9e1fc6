/* Greedy: each reduction is kept if the same invariant still fails. */
#include "shrink.h"

/* Takes the candidate if it fails alike. */
static bool keep(struct sim_plan *plan, struct sim_plan candidate, struct sim_result *result)
{
    struct sim_result r = sim_run(&candidate, NULL);
    if (r.passed || r.invariant != result->invariant)
        return false;
    *plan = candidate;
    *result = r;
    return true;
}

static bool shrink_faults(struct sim_plan *plan, struct sim_result *result)
{
    bool smaller = false;
    for (uint32_t f = 0; f < FAULT_COUNT; f++) {
        struct sim_plan less = *plan;
        less.faults &= ~(1u << f);
        smaller |= less.faults != plan->faults && keep(plan, less, result);
    }
    return smaller;
}

static bool shrink_numbers(struct sim_plan *plan, struct sim_result *result)
{
    bool smaller = false;
    struct sim_plan less = *plan;
    less.nodes--;
    smaller |= less.nodes >= 3 && keep(plan, less, result);
    less = *plan;
    less.clients = 1;
    smaller |= plan->clients > 1 && keep(plan, less, result);
    less = *plan;
    less.keys /= 2;
    smaller |= less.keys > 0 && keep(plan, less, result);
    less = *plan;
    less.min_acks = 0;
    smaller |= plan->min_acks > 0 && keep(plan, less, result);
    return smaller;
}

static bool shrink_events(struct sim_plan *plan, struct sim_result *result)
{
    bool smaller = false;
    for (uint32_t cut = plan->events / 2; cut >= 16; cut /= 2) {
        struct sim_plan less = *plan;
        less.events -= cut;
        smaller |= keep(plan, less, result);
    }
    return smaller;
}

void shrink(struct sim_plan *plan, struct sim_result *result)
{
    /* What failed under way needs no more events than it took. */
    if (result->events < plan->events)
        plan->events = result->events;
    while (shrink_events(plan, result) || shrink_faults(plan, result) ||
           shrink_numbers(plan, result)) {
    }
    printf("  shrunk: invariant %d: %s\n", result->invariant, result->failure);
}

void shrink_print(const struct sim_plan *plan)
{
    printf(
        "  simple-kv-sim --seed %llu --events %u --nodes %u --keys %u --clients %u --min-acks %u "
        "--faults %x --story %u\n   ",
        (unsigned long long)plan->seed, plan->events, plan->nodes, plan->keys, plan->clients,
        plan->min_acks, plan->faults, plan->story);
    for (uint32_t f = 0; f < FAULT_COUNT; f++) {
        if (plan_has(plan, (enum fault)f))
            printf(" %s", fault_name((enum fault)f));
    }
    printf("\n");
}
