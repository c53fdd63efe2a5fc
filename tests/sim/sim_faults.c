/* See sim_faults.h. The lists are made from the sources: one line for each FAULT("..."). */
#include "tests/sim/sim_faults.h"
#include "runtime/check.h"
#include "runtime/fault.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct point {
	const char *name;
	uint64_t passed, hit;
};

static struct point points[] = {
#include "tests/sim/fault_points.inc"
#include "tests/sim/fault_points_heads.inc"
};
#define POINTS (sizeof(points) / sizeof(points[0]))

/* Only counted. */
__attribute__((unused)) static const struct point of_heads[] = {
#include "tests/sim/fault_points_heads.inc"
};
#define CORE_POINTS (POINTS - sizeof(of_heads) / sizeof(of_heads[0]))

static struct {
	struct point *at;
	uint64_t left;
	sim_fault_fn *hit;
	void *arg;
} armed;

unsigned sim_faults_count(void)
{
	return CORE_POINTS;
}

unsigned sim_faults_of_heads(unsigned *ret_first)
{
	*ret_first = CORE_POINTS;
#ifdef WITH_FAULTS
	return POINTS - CORE_POINTS;
#else
	return 0;
#endif
}

const char *sim_fault_name(unsigned i)
{
	return points[i].name;
}

static uint64_t lot(const char *name, uint64_t random)
{
	uint64_t x = random;
	while (*name)
		x = (x ^ (uint8_t)*name++) * 0x100000001b3ull;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

bool sim_fault_choose(uint64_t random, bool (*wanted)(const void *arg, const char *name),
		      const void *arg, unsigned *ret)
{
	uint64_t best = 0;
	bool found = false;
	for (unsigned i = 0; i < CORE_POINTS; i++) {
		uint64_t l = lot(points[i].name, random);
		if ((wanted && !wanted(arg, points[i].name)) || (found && l <= best))
			continue;
		best = l;
		*ret = i;
		found = true;
	}
	return found;
}

#ifdef WITH_FAULTS
static int compare(const void *key, const void *p)
{
	return strcmp(key, ((const struct point *)p)->name);
}

static struct point *find(const char *name)
{
	struct point *p = bsearch(name, points, CORE_POINTS, sizeof(points[0]), compare);
	return p ? p
		 : bsearch(name, points + CORE_POINTS, POINTS - CORE_POINTS, sizeof(points[0]),
			   compare);
}

#endif

int sim_fault_find(const char *name)
{
#ifdef WITH_FAULTS
	const struct point *p = find(name);
	ASSERT(p);
	return (int)(p - points);
#else
	return -1;
#endif
}

#ifdef WITH_FAULTS
static void passed(const char *name, void *arg)
{
	struct point *p = find(name);
	if (!p)
		return;
	p->passed++;
	if (p != armed.at || --armed.left > 0)
		return;
	armed.at = NULL;
	p->hit += armed.hit(armed.arg);
}
#endif

void sim_fault_arm(unsigned i, uint64_t nth, sim_fault_fn *hit, void *arg)
{
#ifdef WITH_FAULTS
	fault_set_hook(passed, NULL);
#endif
	armed.at = hit ? &points[i] : NULL;
	armed.left = nth;
	armed.hit = hit;
	armed.arg = arg;
}

bool sim_fault_armed(void)
{
	return armed.at != NULL;
}

void sim_faults_disarm(void)
{
	armed.at = NULL;
}

unsigned sim_faults_report(FILE *out, const char *scope)
{
	unsigned never = 0;
	fprintf(out, "%-32s %12s %8s\n", "fault point", "passed", "crashed");
	for (unsigned i = 0; i < POINTS; i++) {
		const struct point *p = &points[i];
		if (strncmp(p->name, scope, strlen(scope)) != 0)
			continue;
		fprintf(out, "%-32s %12" PRIu64 " %8" PRIu64 "\n", p->name, p->passed, p->hit);
		never += p->hit == 0;
	}
	return never;
}
