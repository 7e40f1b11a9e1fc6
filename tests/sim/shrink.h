/* Making a failing seed small: fewer nodes, faults, clients, keys and events that still break the same rule. */
#ifndef SHRINK_H
#define SHRINK_H

#include "sim.h"

/* Reduces *plan, which failed with *result, as long as the same invariant fails; *result is then the
 * reduced one's. */
void shrink(struct sim_plan *plan, struct sim_result *result);

/* The command that runs the plan. */
void shrink_print(const struct sim_plan *plan);

#endif
