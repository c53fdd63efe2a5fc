/* What happens to heads in the scenario `heads`. */
#ifndef ISTHMUS_TESTS_SIM_HEADS_PLAN_H
#define ISTHMUS_TESTS_SIM_HEADS_PLAN_H

#include "tests/sim/heads.h"

/* Some rounds of service, each with the end of a head; at the end one serves. */
void heads_plan_run(struct heads *w, uint64_t seed);

#endif
