/*
 * isthmus-sim [--scenario NAME] [--first SEED] [--count N] [--faults] [--verbose]
 *
 * Runs simulated worlds, one a seed, and stops at the first that fails with the command that
 * plays it again. --faults: at the end, how often each crash point was passed and crashed at.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/sim/scenario.h"
#include "tests/sim/sim_faults.h"

static const struct {
	const char *name;
	int (*run)(uint64_t seed, bool verbose, struct scenario_result *ret);
} scenarios[] = {
#ifdef SIM_OF_HEADS
    {"heads", scenario_heads},
#else
    {"array", scenario_array}, {"pools", scenario_pools}, {"duplex", scenario_duplex},
    {"piv", scenario_piv},     {"heads", NULL}, /* of another program, which lies beside this one */
#endif
};
#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static struct {
	const char *scenario;
	uint64_t seed;
} now;

/* An assertion, or worse: which seed it was. The process ends at once, so that what stdio has at
 * this moment does not matter. */
static void crashed(int sig)
{
	signal(sig, SIG_DFL);
	printf("%s seed %" PRIu64 " FAILED: signal %d\n", now.scenario, now.seed, sig);
	fflush(stdout);
	_Exit(1);
}

#ifndef SIM_OF_HEADS
/* With the same arguments. last: nothing is left to do here. */
static int run_beside(char **argv, bool last)
{
	char path[4096];
	int status = 0;
	snprintf(path, sizeof(path), "%s-heads", argv[0]);
	fflush(stdout);
	pid_t pid = last ? 0 : fork();
	if (pid == 0) {
		execv(path, argv);
		_exit(127);
	}
	return pid < 0 || waitpid(pid, &status, 0) != pid || status;
}
#else
static int run_beside(char **argv, bool last)
{
	return 1;
}
#endif

static int run_seeds(unsigned s, uint64_t first, uint64_t count, bool verbose)
{
	struct scenario_result sum = {0};
	for (uint64_t seed = first; seed < first + count; seed++) {
		struct scenario_result r = {0};
		now.scenario = scenarios[s].name;
		now.seed = seed;
		if (verbose)
			printf("%s seed %" PRIu64 "\n", scenarios[s].name, seed);
		int rc = scenarios[s].run(seed, verbose, &r);
		sim_faults_disarm();
		if (rc) {
			printf("%s seed %" PRIu64 " FAILED: %s\n", scenarios[s].name, seed, r.why);
			printf("replay: ./quickstart sim --scenario %s --first %" PRIu64
			       " --count 1 --verbose\n",
			       scenarios[s].name, seed);
			fflush(stdout);
			/* The failed world's tasks are still there: leave without looking. */
			_Exit(1);
		}
		sum.reads += r.reads, sum.writes += r.writes;
		sum.flushes += r.flushes, sum.crashes += r.crashes;
	}
	printf("%s: %" PRIu64 " seeds from %" PRIu64 ": %" PRIu64 " writes, %" PRIu64
	       " reads, %" PRIu64 " flushes, %" PRIu64 " crashes, nothing lost\n",
	       scenarios[s].name, count, first, sum.writes, sum.reads, sum.flushes, sum.crashes);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"first", required_argument, NULL, 'f'}, {"count", required_argument, NULL, 'n'},
	    {"faults", no_argument, NULL, 'c'},	     {"scenario", required_argument, NULL, 's'},
	    {"verbose", no_argument, NULL, 'v'},     {NULL, 0, NULL, 0}};
	uint64_t first = 1, count = 100;
	const char *only = NULL;
	bool verbose = false, found = false, faults = false;
	int opt;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'f')
			first = strtoull(optarg, NULL, 0);
		else if (opt == 'n')
			count = strtoull(optarg, NULL, 0);
		else if (opt == 's')
			only = optarg;
		else if (opt == 'c')
			faults = true;
		else if (opt == 'v')
			verbose = true;
		else
			return 2;
	}
	signal(SIGABRT, crashed);
	signal(SIGSEGV, crashed);
	/* A crash makes every disk fail: what the dying core says of it is noise. */
	if (!verbose && !freopen("/dev/null", "w", stderr))
		return 1;
	for (unsigned s = 0; s < SCENARIOS; s++) {
		if (only && strcmp(only, scenarios[s].name) != 0)
			continue;
		found = true;
		bool bad =
		    scenarios[s].run ? run_seeds(s, first, count, verbose) : run_beside(argv, only);
		if (bad)
			return 1;
	}
	if (found && faults && sim_faults_report(stdout, ""))
		printf("some were never crashed at\n");
	if (!found)
		fprintf(stderr, "isthmus-sim: no scenario '%s'\n", only);
	return found ? 0 : 2;
}
