/* Scenarios of isthmus-sim: each a whole world from one seed. */
#ifndef ISTHMUS_TESTS_SIM_SCENARIO_H
#define ISTHMUS_TESTS_SIM_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>

struct scenario_result {
	uint64_t reads, writes, flushes, crashes;
	char why[256];
};

/* 0, or -1 with `why`. The same seed gives the same run. */
int scenario_array(uint64_t seed, bool verbose, struct scenario_result *ret);
int scenario_pools(uint64_t seed, bool verbose, struct scenario_result *ret);
int scenario_piv(uint64_t seed, bool verbose, struct scenario_result *ret);
int scenario_heads(uint64_t seed, bool verbose, struct scenario_result *ret);
int scenario_duplex(uint64_t seed, bool verbose, struct scenario_result *ret);

#endif
