/* Stories: directed faults, see stories.c. */
#ifndef STORIES_H
#define STORIES_H

#include "sim.h"

enum story_kind {
    STORY_NONE,
    STORY_OVERTAKEN, /* an older record is in a delta while its delete is confirmed by all */
    STORY_THIRD, /* a node comes back to one that never held the tombstones it missed */
    STORY_LATE, /* a deleted record arrives by another link while a delta is received */
    STORY_FORCED, /* tombstones go by force while a delta is served */
    STORY_WALKED, /* a tombstone is dropped while a snapshot that relies on it is written */
    STORY_COUNT
};

/* Which one is told in the run of that seed. */
enum story_kind story_drawn(uint64_t seed);

/* Makes the plan one in which the story can be told. */
void story_plan(struct sim_plan *plan, enum story_kind kind);

void story_open(struct sim *s);

/* To be called after each step of the phase under faults. */
void story_step(struct sim *s);

#endif
