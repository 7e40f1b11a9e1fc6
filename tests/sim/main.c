/* simple-kv-sim: runs seeds, and tells what it found. */
#include "shrink.h"
#include "sim.h"
#include "stories.h"

#include "kv/hash.h"
#include "kv/mutation.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef KV_MUTATIONS
uint64_t kv_mutations = 0;
static const char *const mutation_names[] = {
#define MUTATION_TEXT(name, text) #name,
    MUTATIONS(MUTATION_TEXT)
#undef MUTATION_TEXT
};
#endif

struct options {
    uint64_t seed, seeds, seconds;
    bool verbose, once, no_shrink;
    struct sim_plan given; /* fields other than 0 were given */
    bool faults_given;
};

static int usage(void)
{
    fputs("Usage: simple-kv-sim [OPTION]…\n"
          "\n"
          "Runs clusters of simple-kv's core under faults drawn from a seed, and checks them.\n"
          "\n"
          "  --seed N          the first seed, or the only one [from the clock]\n"
          "  --seeds COUNT     how many [1 with --seed, else 100]\n"
          "  --seconds N       as many as fit\n"
          "  --events N        of the phase under faults [10000]\n"
          "  --nodes N         instead of what the seed draws; likewise\n"
          "  --keys N, --clients N, --min-acks N, --faults BITS (hexadecimal)\n"
          "  --story N         directed faults: 1 to 5, 0 = none; without it, none with --faults\n"
          "  --verbose         tell the story of the seed\n"
          "  --no-shrink       print a failing seed as it is\n"
#ifdef KV_MUTATIONS
          "  --mutate NAME     break a rule (--mutations lists them); may be given again\n"
#endif
          "\n"
          "Exit status: 0 all passed, 1 one failed, 2 usage.\n",
          stderr);
    return 2;
}

static struct sim_plan plan_of(const struct options *o, uint64_t seed)
{
    struct sim_plan plan;
    plan_draw(&plan, seed);
    if (o->given.story != 0)
        story_plan(&plan,
                   o->given.story == UINT32_MAX ? STORY_NONE : (enum story_kind)o->given.story);
    else if (!o->faults_given)
        story_plan(&plan, story_drawn(seed));
    if (o->given.events != 0)
        plan.events = o->given.events;
    if (o->given.nodes != 0)
        plan.nodes = o->given.nodes;
    if (o->given.keys != 0)
        plan.keys = o->given.keys;
    if (o->given.clients != 0)
        plan.clients = o->given.clients;
    if (o->given.min_acks != 0)
        plan.min_acks = o->given.min_acks == UINT32_MAX ? 0 : o->given.min_acks;
    if (o->faults_given)
        plan.faults = o->given.faults;
    return plan;
}

/* What the seeds of a call came to. */
struct tally {
    uint64_t seeds, failures, events;
    uint64_t trace; /* of all their traces, in order */
};

static bool run_seed(const struct options *o, uint64_t seed, struct tally *tally)
{
    struct sim_plan plan = plan_of(o, seed);
    struct sim_result result = sim_run(&plan, o->verbose ? stdout : NULL);
    tally->events += result.events;
    tally->trace = hash_mix(tally->trace, result.trace);
    /* Every 16th is told twice. */
    if (result.passed && (o->once || seed % 16 == 0)) {
        struct sim_result again = sim_run(&plan, NULL);
        if (again.trace != result.trace) {
            printf("seed %llu FAILED, invariant 17: its story is not the same the second time\n",
                   (unsigned long long)seed);
            return false;
        }
    }
    if (result.passed)
        return true;
    printf("seed %llu FAILED, invariant %d: %s\n", (unsigned long long)seed, result.invariant,
           result.failure);
    if (!o->no_shrink)
        shrink(&plan, &result);
    shrink_print(&plan);
    return false;
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int run(const struct options *o)
{
    double begin = seconds_now(), spent = 0;
    struct tally t = {0};
    printf("first seed %llu\n", (unsigned long long)o->seed);
    while (o->seconds != 0 ? spent < (double)o->seconds : t.seeds < o->seeds) {
        t.failures += !run_seed(o, o->seed + t.seeds, &t);
        t.seeds++;
        spent = seconds_now() - begin;
        fflush(stdout);
        if (t.failures >= 5)
            break;
    }
    printf("%llu seeds from %llu, %llu events, trace %016llx, %.0f seeds a minute, %llu failed\n",
           (unsigned long long)t.seeds, (unsigned long long)o->seed, (unsigned long long)t.events,
           (unsigned long long)t.trace, (double)t.seeds * 60 / (spent > 0 ? spent : 1),
           (unsigned long long)t.failures);
    return t.failures != 0;
}

#ifdef KV_MUTATIONS
static bool set_mutation(const char *name)
{
    for (size_t i = 0; i < MUTATION_COUNT; i++) {
        if (strcmp(mutation_names[i], name) == 0) {
            kv_mutations |= UINT64_C(1) << i;
            return true;
        }
    }
    return false;
}
#endif

/* Takes an option that has a number; false when it is another. */
static bool take_number(struct options *o, const char *name, uint64_t number)
{
    struct sim_plan *g = &o->given;
    if (strcmp(name, "--seed") == 0) {
        o->seed = number;
        o->seeds = o->seeds == 0 ? 1 : o->seeds;
    } else if (strcmp(name, "--seeds") == 0) {
        o->seeds = number;
    } else if (strcmp(name, "--seconds") == 0) {
        o->seconds = number;
    } else if (strcmp(name, "--events") == 0) {
        g->events = (uint32_t)number;
    } else if (strcmp(name, "--nodes") == 0 && number >= 3 && number < SIM_NODES_MAX) {
        g->nodes = (uint32_t)number;
    } else if (strcmp(name, "--keys") == 0 && number >= 1 && number <= SIM_KEYS_MAX) {
        g->keys = (uint32_t)number;
    } else if (strcmp(name, "--clients") == 0 && number >= 1 && number <= SIM_CLIENTS_MAX) {
        g->clients = (uint32_t)number;
    } else if (strcmp(name, "--story") == 0 && number < STORY_COUNT) {
        g->story = number == 0 ? UINT32_MAX : (uint32_t)number;
    } else if (strcmp(name, "--min-acks") == 0) {
        g->min_acks = number == 0 ? UINT32_MAX : (uint32_t)number;
    } else {
        return false;
    }
    return true;
}

static bool parse(struct options *o, int count, char **words)
{
    for (int i = 1; i < count; i++) {
        char *end = NULL;
        if (strcmp(words[i], "--verbose") == 0) {
            o->verbose = true;
        } else if (strcmp(words[i], "--no-shrink") == 0) {
            o->no_shrink = true;
#ifdef KV_MUTATIONS
        } else if (strcmp(words[i], "--mutations") == 0) {
            for (size_t m = 1; m < MUTATION_COUNT; m++)
                puts(mutation_names[m]);
            exit(0);
        } else if (strcmp(words[i], "--mutate") == 0 && i + 1 < count) {
            if (!set_mutation(words[++i]))
                return false;
#endif
        } else if (strcmp(words[i], "--faults") == 0 && i + 1 < count) {
            o->given.faults = (uint32_t)strtoul(words[++i], &end, 16);
            o->faults_given = true;
            if (*end != 0)
                return false;
        } else if (i + 1 < count) {
            uint64_t number = strtoull(words[i + 1], &end, 10);
            if (*words[i + 1] == 0 || *end != 0 || !take_number(o, words[i], number))
                return false;
            i++;
        } else {
            return false;
        }
    }
    return true;
}

int main(int count, char **words)
{
    struct options o = {0};
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    o.seed = (uint64_t)t.tv_sec * 1000 % 1000000000;
    if (!parse(&o, count, words))
        return usage();
    o.once = o.seeds == 1;
    o.seeds = o.seeds == 0 ? 100 : o.seeds;
    return run(&o);
}
