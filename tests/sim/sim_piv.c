/*
 * Scenario `piv`: heads of a group keep their processor information (nasfront/piv) on a volume and
 * a backup of it, and the world ends: at a crash point, at a write, at any time, with the loss of
 * what was not flushed or without. Sometimes the volume takes no writes for a while.
 *
 * What a piv_sync() has promised is read back afterwards, by others and by the head that comes
 * back; what was asked for after it may be there or not.
 */
#include "nasfront/piv/piv.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_faults.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIVES	    12
#define HEADS	    2
#define NAMES	    96
#define VOLUME_SIZE (2ull << 20)
#define GROUP	    5
#define GONE	    1u
#define THERE	    2u

/* A head, and what may be read of it: of each client with locks GONE, THERE or either. */
struct head {
	struct piv_world *w;
	const char *name;
	struct piv *piv;
	unsigned latest[NAMES], may[NAMES];
	uint32_t state_done, state_asked; /* the status monitor's number */
	bool running;
};

struct piv_world {
	struct sim *sim;
	struct sim_disk *disks[2];
	struct bdev *volumes[2]; /* main, backup */
	struct head heads[HEADS];
	bool dead, failed, verbose;
	bool backed_up; /* one may have been on the backup: what it let go of there may come back */
	struct scenario_result *result;
};

static void fail(struct piv_world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct piv_world *w, const char *fmt, ...)
{
	va_list ap;
	if (w->failed)
		return;
	w->failed = true;
	va_start(ap, fmt);
	vsnprintf(w->result->why, sizeof(w->result->why), fmt, ap);
	va_end(ap);
}

static void say(struct piv_world *w, const char *what, const char *who)
{
	if (w->verbose)
		printf("  %9.3f ms  %s%s\n", (double)env_now_ns(sim_env(w->sim)) / 1e6, what, who);
}

static uint64_t below(struct piv_world *w, uint64_t n)
{
	return sim_random_below(w->sim, n);
}

/* ---- clients with locks ---- */

/* Long ones, so that a checkpoint takes several blocks. */
static void name_of(unsigned i, char *ret, size_t size)
{
	snprintf(ret, size, "client-%u-%0*u", i, 100 + (int)(i % 4) * 40, i);
}

static unsigned number_of(const char *name)
{
	unsigned i;
	return sscanf(name, "client-%u-", &i) == 1 && i < NAMES ? i : NAMES;
}

/* come: more of them come than go; else the other way. */
static void change_some(struct head *h, unsigned n, bool come)
{
	char name[PIV_TEXT_MAX + 1];
	while (n--) {
		unsigned i = (unsigned)below(h->w, NAMES);
		bool gone = below(h->w, 4) == 0 ? come : !come;
		name_of(i, name, sizeof(name));
		h->latest[i] = gone ? GONE : THERE;
		h->may[i] |= h->latest[i];
		if (piv_monitor(h->piv, name, "192.0.2.1", gone))
			fail(h->w, "%s: a client with locks is refused", h->name);
	}
}

static void promised(struct head *h, const unsigned latest[NAMES], uint32_t state)
{
	for (unsigned i = 0; i < NAMES; i++)
		h->may[i] = latest[i] | (h->latest[i] == latest[i] ? 0 : h->may[i]);
	h->state_done = state;
	h->w->result->writes++;
}

static void check_list(struct head *h, const struct piv_monitor *m, unsigned n, uint32_t state,
		       const char *by, bool adopt)
{
	unsigned is[NAMES];
	for (unsigned i = 0; i < NAMES; i++)
		is[i] = GONE;
	for (unsigned i = 0; i < n; i++) {
		unsigned k = number_of(m[i].name);
		if (k == NAMES) {
			fail(h->w, "%s, read by %s: a client nobody told of", h->name, by);
			return;
		}
		is[k] = THERE;
	}
	for (unsigned i = 0; i < NAMES; i++) {
		if (is[i] == THERE && h->may[i] == GONE && h->w->backed_up)
			h->may[i] = GONE | THERE;
		if (!(is[i] & h->may[i]))
			fail(h->w, "%s, read by %s: client %u is %s", h->name, by, i,
			     is[i] == GONE ? "lost" : "there although it went");
		if (adopt)
			h->latest[i] = h->may[i] = is[i];
	}
	if (state < h->state_done || state > h->state_asked)
		fail(h->w, "%s, read by %s: state %u, promised %u, asked for %u", h->name, by,
		     state, h->state_done, h->state_asked);
	if (adopt)
		h->state_done = h->state_asked = state;
	h->w->result->reads++;
}

/* As another head reads it. */
static void check_state_task(void *arg)
{
	struct piv_world *w = arg;
	struct piv_state *s;
	int rc = piv_state_read(w->volumes[0], w->volumes[1], &s);
	if (rc == -ENODATA)
		return; /* it ended before anybody was there */
	if (rc) {
		fail(w, "the state cannot be read: %s", err_name(rc));
		return;
	}
	for (unsigned i = 0; i < HEADS; i++) {
		struct head *h = &w->heads[i];
		struct piv_head *r = NULL;
		for (unsigned k = 0; k < s->count; k++)
			if (strcmp(s->heads[k].name, h->name) == 0)
				r = &s->heads[k];
		check_list(h, r ? r->monitors : NULL, r ? r->nmonitors : 0, r ? r->nsm_state : 0,
			   "others", false);
	}
	piv_state_free(s);
}

/* ---- lives ---- */

static bool over(const struct piv_world *w)
{
	return w->dead || w->failed || sim_power_is_off(w->sim);
}

static int open_head(struct head *h)
{
	struct piv_world *w = h->w;
	struct piv_opts o = {.env = sim_env(w->sim),
			     .main = w->volumes[0],
			     .backup = w->volumes[1],
			     .group_id = GROUP,
			     .head = h->name,
			     .address = "192.0.2.7",
			     .instance = sim_random(w->sim)};
	return piv_open(&h->piv, &o);
}

/* Changes, now and then promised. */
static void work(struct head *h)
{
	struct piv_world *w = h->w;
	unsigned latest[NAMES];
	bool come = below(w, 3);
	if (below(w, 3))
		change_some(h, 1 + (unsigned)below(w, below(w, 3) ? 4 : 64), come);
	if (below(w, 4) == 0)
		piv_set_nsm_state(h->piv, ++h->state_asked);
	if (below(w, 3) == 0)
		piv_client_seen(h->piv, "192.0.2.9", "/demo");
	bool sync = below(w, 2);
	uint32_t state = h->state_asked;
	memcpy(latest, h->latest, sizeof(latest));
	int rc = sync ? piv_sync(h->piv) : piv_tick(h->piv);
	if (over(w))
		return;
	if (rc)
		fail(w, "%s: %s", h->name, err_name(rc));
	else if (sync)
		promised(h, latest, state);
}

static void head_task(void *arg)
{
	struct head *h = arg;
	struct piv_world *w = h->w;
	int rc = open_head(h);
	if (rc && !over(w))
		fail(w, "%s cannot open: %s", h->name, err_name(rc));
	if (rc == 0 && !over(w)) {
		unsigned n;
		const struct piv_monitor *m = piv_monitors(h->piv, &n);
		check_list(h, m, n, piv_nsm_state(h->piv), "itself", true);
	}
	while (rc == 0 && !over(w)) {
		work(h);
		if (below(w, 3) == 0)
			env_sleep_ns(sim_env(w->sim), below(w, 20 * NS_PER_MS));
	}
	if (rc == 0)
		piv_abandon(h->piv);
	h->piv = NULL;
	h->running = false;
}

/* From here on nothing reaches a volume. */
static void end_now(struct piv_world *w)
{
	if (w->dead)
		return;
	w->dead = true;
	sim_power_off(w->sim);
	w->result->crashes++;
}

static bool at_point(void *arg)
{
	struct piv_world *w = arg;
	if (w->dead)
		return false;
	say(w, "the end at a crash point", "");
	end_now(w);
	return true;
}

static bool any_running(const struct piv_world *w)
{
	for (unsigned i = 0; i < HEADS; i++)
		if (w->heads[i].running)
			return true;
	return false;
}

/* How it is to end, decided at its beginning. */
static void plan_end(struct piv_world *w)
{
	static const char *const points[] = {"piv.before_write", "piv.after_write"};
	uint64_t dice = below(w, 3);
	int i = sim_fault_find(points[below(w, 2)]);
	if (dice == 0 && i >= 0)
		sim_fault_arm((unsigned)i, 1 + below(w, 12), at_point, w);
	else if (dice == 1)
		sim_power_off_at_write(w->sim, 1 + below(w, 16));
}

/* The volume in use takes no writes, for this life. */
static void break_volume(struct piv_world *w, bool broken)
{
	struct sim_disk_faults f = {.latency_min_ns = 10000,
				    .latency_max_ns = 200000,
				    .write_error_ppm = broken ? 1000000 : 0};
	if (broken) {
		say(w, "the volume takes no writes", "");
		w->backed_up = true;
	}
	sim_disk_set_faults(w->disks[0], &f);
}

static void one_life(struct piv_world *w)
{
	uint64_t ns = below(w, below(w, 2) ? 4 * NS_PER_MS : 100 * NS_PER_MS);
	bool power = below(w, 3);
	w->dead = false;
	plan_end(w);
	for (unsigned i = 0; i < HEADS; i++) {
		struct head *h = &w->heads[i];
		h->running = true;
		ASSERT(task_start(head_task, h) == 0);
	}
	bool broken = below(w, 8) == 0;
	for (uint64_t t = 0; t < 60 * NS_PER_MS + ns && !w->dead && !w->failed; t += 100000) {
		if (broken && t > ns / 2) {
			break_volume(w, true);
			broken = false;
		}
		sim_run_for(w->sim, 100000);
		if (sim_power_is_off(w->sim))
			end_now(w);
	}
	sim_faults_disarm();
	sim_power_off_at_write(w->sim, 0);
	end_now(w);
	say(w, power ? "power is lost" : "all are killed", "");
	for (unsigned i = 0; i < 1000 && any_running(w); i++)
		sim_run_for(w->sim, NS_PER_MS);
	if (any_running(w))
		fail(w, "a head never ends");
	break_volume(w, false);
	sim_power_on(w->sim, power ? SIM_LOSE_RANDOM : SIM_KILL, 0);
	if (!w->failed && sim_run(w->sim, check_state_task, w))
		fail(w, "reading the state: no end");
}

int scenario_piv(uint64_t seed, bool verbose, struct scenario_result *ret)
{
	static const char *const names[HEADS] = {"h1", "h2"};
	struct piv_world *w = calloc(1, sizeof(*w));
	ASSERT(w);
	*w = (struct piv_world){.sim = sim_new(seed), .verbose = verbose, .result = ret};
	for (unsigned i = 0; i < 2; i++) {
		w->disks[i] = sim_disk_new(w->sim, i ? "backup" : "main", VOLUME_SIZE);
		w->volumes[i] = sim_disk_open(w->disks[i]);
	}
	for (unsigned i = 0; i < HEADS; i++) {
		struct head *h = &w->heads[i];
		*h = (struct head){.w = w, .name = names[i]};
		for (unsigned k = 0; k < NAMES; k++)
			h->latest[k] = h->may[k] = GONE;
	}
	for (unsigned i = 0; i < LIVES && !w->failed; i++)
		one_life(w);
	/* A failed run leaves tasks behind: nothing can be freed in order. */
	if (w->failed)
		return -1;
	for (unsigned i = 0; i < 2; i++)
		bdev_close(w->volumes[i]);
	sim_free(w->sim);
	free(w);
	return 0;
}
