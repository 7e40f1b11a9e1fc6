/* One seed from its beginning to its end: faults, healing, calm. */
#include "checker.h"
#include "sim.h"
#include "stories.h"

#include <string.h>

/* How long all may take once the faults are over, in heartbeats. Most runs need 2 or 3; digests are
 * told every 10, and a link that ends then waits up to 5 before it is dialled again. */
#define CONVERGE_MS      (45u * LINK_HEARTBEAT_MS)
#define SWEEP_MS         (60u * LINK_HEARTBEAT_MS)
#define SILENCE_MS       (15u * LINK_HEARTBEAT_MS)
#define CONVERGE_STEP_MS 500u

static bool failed(const struct sim *s)
{
    return s->failed_invariant != 0;
}

static void run_until(struct sim *s, uint64_t ms)
{
    while (!failed(s) && sim_step(s, ms)) {
    }
}

static void run_faults(struct sim *s)
{
    while (s->events < s->plan.events && !failed(s)) {
        if (random_below(&s->faults, s->plan.fault_one_in) == 0)
            faults_inject(s);
        sim_step(s, MOMENT_NEVER);
        story_step(s);
    }
}

static void run_until_true(struct sim *s, bool (*holds)(struct sim *), uint64_t limit_ms,
                           const char *otherwise)
{
    uint64_t end = s->now_ms + limit_ms;
    while (!failed(s) && !holds(s)) {
        if (s->now_ms >= end) {
            checker_quiescent(s); /* it knows best what is wrong */
            sim_fail(s, 15, "%s %llu heartbeats after the last fault", otherwise,
                     (unsigned long long)limit_ms / LINK_HEARTBEAT_MS);
            return;
        }
        run_until(s, s->now_ms + CONVERGE_STEP_MS);
    }
    if (!failed(s))
        sim_tell(s, "%llu ms: not so that %s", (unsigned long long)(s->now_ms + limit_ms - end),
                 otherwise);
}

static uint64_t records_received(const struct sim *s)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < s->size; i++) {
        if (s->nodes[i].node == NULL)
            continue;
        const struct node_counters *c = &s->nodes[i].node->counters;
        count += c->records_received + c->deltas_received;
    }
    return count;
}

static bool is_silent(struct sim *s)
{
    uint64_t before = records_received(s);
    run_until(s, s->now_ms + SILENCE_MS);
    return records_received(s) == before;
}

static void run_calm(struct sim *s)
{
    run_until_true(s, checker_is_converged, CONVERGE_MS, "the nodes have not converged");
    checker_quiescent(s);
    if (failed(s))
        return;
    run_until_true(s, checker_is_swept, SWEEP_MS, "tombstones are kept");
    if (!failed(s) && !is_silent(s) && !is_silent(s))
        sim_fail(s, 15, "records still flow though nothing is written");
    /* What expired meanwhile did so by several clocks. */
    run_until_true(s, checker_is_converged, CONVERGE_MS, "the nodes have not stayed equal");
    checker_quiescent(s);
}

struct sim_result sim_run(const struct sim_plan *plan, FILE *story)
{
    static struct sim s; /* large; one at a time */
    sim_open(&s, plan, story);
    faults_begin(&s);
    story_open(&s);
    run_faults(&s);
    if (!failed(&s)) {
        faults_end(&s);
        run_calm(&s);
    }
    struct sim_result result = {.trace = s.trace, .events = s.events};
    sim_close(&s);
    result.passed = !failed(&s);
    result.invariant = s.failed_invariant;
    memcpy(result.failure, s.failure, sizeof result.failure);
    return result;
}
