/* Trust, and verify: the sender tells digests of its live records, the receiver compares a group of
 * partitions where they differ. Most differences are records on their way. What remains are those
 * that no vector tells of, such as the last writes of a node that died while only some had them. */
#include "link_internal.h"

#include "kv/mutation.h"

void link_send_digest(struct link *l, struct moment now)
{
    size_t begun = frame_begin(&l->out);
    for (uint32_t g = 0; g < STORE_GROUPS; g++)
        frame_put_u64(&l->out, store_group_digest(l->node->store, g));
    frame_end(&l->out, begun, FRAME_DIGEST);
    l->digest_mono_ms = now.mono_ms;
}

void link_on_digest(struct link *l, struct moment now, struct frame_reader *payload)
{
    struct link_scrub *s = &l->scrub;
    for (uint32_t g = 0; g < STORE_GROUPS; g++)
        s->told[g] = frame_read_u64(payload);
    s->under_way = !payload->failed && !MUTATED(NO_SCRUB);
    s->left = STORE_GROUPS;
    s->budget = LINK_SCRUB_ENTRIES;
    link_scrub_next(l, now.mono_ms);
}

static bool may_ask(const struct link *l)
{
    return l->state == LINK_LIVE && !l->gap_open && !l->delta_wanted && l->node->delta == NULL;
}

static void ask(struct link *l, uint64_t mono_ms, uint32_t group)
{
    l->node->counters.scrubs++;
    link_delta_ask(l, mono_ms, true, group, 1);
}

void link_scrub_next(struct link *l, uint64_t mono_ms)
{
    struct link_scrub *s = &l->scrub;
    if (!s->under_way || !may_ask(l))
        return;
    if (s->whole) {
        ask(l, mono_ms, (s->group + STORE_GROUPS - 1) % STORE_GROUPS);
        s->whole = false;
        return;
    }
    while (s->left > 0 && s->budget > 0) {
        uint32_t group = s->group;
        s->group = (group + 1) % STORE_GROUPS;
        s->left--;
        if (store_group_digest(l->node->store, group) != s->told[group]) {
            ask(l, mono_ms, group);
            return;
        }
    }
    s->under_way = false;
}
