/*
 * Scenario `duplex`: two controllers, a pool and a volume of each, hosts that reach both volumes
 * through both, and everything that may happen to them: a controller killed at any instruction or
 * at a chosen crash point, stopped for a while, stopped in order; routes of the interconnect cut or
 * silent; pools given to the partner; bad blocks, slow disks; power lost. Judged by
 * tests/sim/history.h, and by what must hold whenever it is quiet (duplex.h).
 */
#include "tests/sim/duplex.h"
#include "tests/sim/sim_faults.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 3 /* of faults by chance; and one more */

void duplex_fail(struct duplex *d, const char *fmt, ...)
{
	va_list ap;
	if (d->failed)
		return;
	d->failed = true;
	va_start(ap, fmt);
	vsnprintf(d->result->why, sizeof(d->result->why), fmt, ap);
	va_end(ap);
	sim_stop(d->sim);
}

void duplex_say(struct duplex *d, const char *fmt, ...)
{
	va_list ap;
	if (!d->verbose)
		return;
	printf("  %9.3f ms  ", (double)env_now_ns(sim_env(d->sim)) / 1e6);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

uint64_t duplex_below(struct duplex *d, uint64_t n)
{
	return sim_random_below(d->sim, n);
}

/* ---- what must hold when it is quiet ---- */

/* Every dirty page has an equal copy in the partner's memory. */
static void compare_mirrors(struct duplex *d)
{
	for (unsigned i = 0; i < 2 && !d->failed; i++) {
		char why[160];
		if (!sim_mirror_equal(&d->cluster, i, why, sizeof(why)))
			duplex_fail(d, "mirror of %s: %s", d->cluster.ctl[i].name, why);
	}
}

struct compare {
	struct duplex *d;
	unsigned pool;
	struct sim_ctl *owner;
};

/* On the owner: every redundancy copy holds what is read. */
static void compare_task(void *arg)
{
	struct compare *x = arg;
	struct duplex *d = x->d;
	struct core *core = x->owner->core;
	struct volume *v = core_volume_get_by_name(core, d->pools[x->pool].volume);
	struct core_pool *cp = core_pool_find(core, d->pools[x->pool].name);
	struct cache_stats s;
	uint8_t *buf = malloc(2 * IO_MAX);
	struct cache_read *r = malloc(sizeof(*r));
	ASSERT(buf && r && v && cp);
	for (unsigned i = 0; i < 600; i++) {
		cache_stats(core_cache(core), &s);
		if (!cp->pool) /* it is handed back just now */
			goto out;
		if (s.dirty == 0 && !cp->resyncing && !pool_resync_needed(cp->pool))
			break;
		env_sleep_ns(sim_node_env(x->owner->node), NS_PER_S);
	}
	if (s.dirty)
		duplex_fail(d, "%u pages stay dirty", s.dirty);
	for (uint64_t off = 0; off < VOLUME_SIZE && !d->failed; off += IO_MAX) {
		int err = volume_read(v, off, IO_MAX, r);
		if (err == -ERR_NOT_OWNER)
			goto out;
		if (err) {
			duplex_fail(d, "a read failed: %s", err_name(err));
			break;
		}
		uint8_t *p = buf;
		for (int i = 0; i < r->n; p += r->iov[i++].iov_len)
			memcpy(p, r->iov[i].iov_base, r->iov[i].iov_len);
		volume_read_done(v, r);
		for (unsigned copy = 0; !d->failed; copy++) {
			int rc = volume_read_copy(v, buf + IO_MAX, IO_MAX, off, copy);
			if (rc == -ENOENT)
				break;
			if (rc == -ERR_NOT_OWNER)
				goto out;
			if (rc == 0 && memcmp(buf, buf + IO_MAX, IO_MAX) != 0)
				duplex_fail(d,
					    "%s: copy %u differs from what is read, 64 KiB at %llu",
					    d->pools[x->pool].name, copy, (unsigned long long)off);
		}
	}
out:
	core_volume_put(v);
	free(buf);
	free(r);
}

static void quiet_checks(struct duplex *d)
{
	int rc = sim_run(d->sim, duplex_verify_task, d);
	if (rc)
		duplex_fail(d, "verifying: no end");
	/* A cut of before may be noticed only now: the link comes up anew. */
	if (!d->failed && !duplex_run_until(d, duplex_settled, 60 * NS_PER_S))
		duplex_fail(d, "not whole while it was quiet");
	if (!d->failed)
		compare_mirrors(d);
	for (unsigned i = 0; i < 2 && !d->failed; i++) {
		/* One may just be on its way back to its preferred owner. */
		bool whole = duplex_run_until(d, duplex_settled, 60 * NS_PER_S);
		struct compare x = {d, i, duplex_owner(d, i)};
		if (!whole || !x.owner)
			duplex_fail(d, "%s went away while it was quiet", d->pools[i].name);
		else if (sim_node_run(x.owner->node, compare_task, &x))
			duplex_fail(d, "comparing copies: no end");
	}
}

static void some_faults(struct duplex *d)
{
	unsigned n = 2 + (unsigned)duplex_below(d, 2);
	for (unsigned i = 0; i < n && !d->failed; i++) {
		sim_run_for(d->sim, 1000000 + duplex_below(d, 30 * NS_PER_MS));
		duplex_fault(d);
	}
}

/* The last round is for the crash point of the seed. */
static void one_round(struct duplex *d, uint64_t seed, bool last)
{
	duplex_users_start(d);
	if (last)
		duplex_point(d, seed);
	else
		some_faults(d);
	sim_run_for(d->sim,
		    1000000 + duplex_below(d, duplex_below(d, 3) ? 30 * NS_PER_MS : 2 * NS_PER_S));
	sim_faults_disarm();
	if (!d->failed && duplex_below(d, 6) == 0)
		duplex_power_loss(d);
	if (!d->failed)
		duplex_heal(d, "under load", 5 * NS_PER_S, false);
	duplex_users_stop(d);
	if (!d->failed)
		duplex_heal(d, "without load", 120 * NS_PER_S, true);
	if (!d->failed)
		quiet_checks(d);
}

static void finish(struct duplex *d)
{
	for (unsigned i = 0; i < 2; i++)
		sim_ctl_stop(&d->cluster.ctl[i]);
	for (unsigned i = 0; i < 2; i++)
		for (unsigned t = 0; !d->failed; t++) {
			struct sim_ctl *ctl = &d->cluster.ctl[i];
			if (sim_node_dead(ctl->node) && sim_ctl_reap(ctl))
				break;
			if (t > 60000)
				duplex_fail(d, "controller %s does not stop", ctl->name);
			sim_run_for(d->sim, NS_PER_MS);
		}
	sim_run_for(d->sim, 10 * NS_PER_S);
}

int scenario_duplex(uint64_t seed, bool verbose, struct scenario_result *ret)
{
	struct duplex d = {.verbose = verbose, .result = ret, .checksums = seed % 5 == 3};
	d.sim = sim_new(seed);
	for (unsigned i = 0; i < 2; i++)
		d.history[i] = history_new(VOLUME_SIZE / HISTORY_SECTOR);
	duplex_build(&d);
	for (unsigned r = 0; r <= ROUNDS && !d.failed; r++)
		one_round(&d, seed, r == ROUNDS);
	if (!d.failed)
		finish(&d);
	/* A failed run leaves tasks behind: nothing can be freed in order. */
	if (d.failed)
		return -1;
	for (unsigned i = 0; i < HOSTS; i++)
		sim_host_free(d.hosts[i]);
	sim_net_free(d.cluster.net);
	sim_free(d.sim);
	for (unsigned i = 0; i < 2; i++)
		history_free(d.history[i]);
	return 0;
}
