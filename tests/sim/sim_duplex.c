/*
 * Scenario `duplex`: two controllers, a pool and a volume of each, hosts that reach both volumes
 * through both, and everything that may happen to them: a controller killed at any instruction or
 * at a chosen crash point, stopped for a while, stopped in order; routes of the interconnect cut or
 * silent; pools given to the partner; bad blocks, slow disks; power lost. Judged by
 * tests/sim/history.h, and by what must hold whenever it is quiet.
 */
#include "tests/sim/history.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim_ctl.h"
#include "tests/sim/sim_faults.h"
#include "blockcore/control/meta.h"
#include "blockcore/core_impl.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOLUME_SIZE (4 * 1024 * 1024ull)
#define IO_MAX	    (64 * 1024u)
#define HOSTS	    4
#define USERS	    8
#define ROUNDS	    3
#define ANSWER_NS   (120 * NS_PER_S) /* longest wait of a host while controllers come and go */

struct pool_spec {
	const char *name, *volume, *level;
	const char *paths[4];
	unsigned ndisks;
	bool redundant;
};

struct user;

struct duplex {
	struct sim *sim;
	struct sim_cluster cluster;
	struct pool_spec pools[2];
	struct history *history[2];
	struct sim_host *hosts[HOSTS];
	bool stop, failed, verbose, power_off;
	struct user *users[USERS];
	unsigned users_left;
	struct scenario_result *result;
};

struct user {
	struct duplex *d;
	struct sim_host *host;
	unsigned number;
	uint64_t began[2]; /* of what is under way, for each history; 0: nothing */
	uint8_t *buf;
};

static void fail(struct duplex *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void fail(struct duplex *d, const char *fmt, ...)
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

static void say(struct duplex *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct duplex *d, const char *fmt, ...)
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

static uint64_t below(struct duplex *d, uint64_t n)
{
	return sim_random_below(d->sim, n);
}

/* ---- hosts at work ---- */

static void rw_cdb(struct sim_io *io, uint8_t op, uint64_t first, uint64_t n, bool fua)
{
	io->cdb[0] = op;
	io->cdb[1] = fua ? 8 : 0;
	be64_put(io->cdb + 2, first);
	be32_put(io->cdb + 10, (uint32_t)n);
}

/* With SIM_WATCH=LUN:SECTOR in the environment a replay tells all that happens to a sector. */
static bool watched(unsigned lun, uint64_t first, uint64_t n)
{
	const char *w = getenv("SIM_WATCH");
	unsigned l;
	unsigned long long s;
	return w && sscanf(w, "%u:%llu", &l, &s) == 2 && l == lun && s >= first && s < first + n;
}

/* Before a request: the history may forget what nobody asks for any more. */
static void begin(struct user *u, unsigned lun)
{
	struct duplex *d = u->d;
	struct history *h = d->history[lun];
	uint64_t oldest = u->began[lun] = history_now(h);
	for (unsigned i = 0; i < USERS; i++)
		if (d->users[i] && d->users[i]->began[lun])
			oldest = MIN(oldest, d->users[i]->began[lun]);
	history_horizon(h, oldest);
}

/* True: GOOD. */
static bool command(struct user *u, struct sim_io *io, const char *what)
{
	struct duplex *d = u->d;
	int rc = sim_host_io(u->host, io, (unsigned)below(d, 2), ANSWER_NS);
	if (d->power_off || d->failed)
		return false;
	if (rc)
		fail(d, "%s of LUN %u waits for ever", what, io->lun);
	else if (io->status != SCSI_GOOD)
		fail(d, "%s of LUN %u failed: status %02x, sense %06x, by controller %s", what,
		     io->lun, io->status, io->sense, d->cluster.ctl[io->portal].name);
	return rc == 0 && io->status == SCSI_GOOD;
}

static void pick_range(struct duplex *d, uint64_t *first, uint64_t *n)
{
	uint64_t sectors = VOLUME_SIZE / HISTORY_SECTOR;
	/* Half of all requests go to a small hot range, so that they meet. */
	if (below(d, 2))
		sectors /= 64;
	*n = 1 + below(d, below(d, 4) ? 16 : IO_MAX / 512);
	*first = below(d, sectors - MIN(*n, sectors - 1));
}

/* One attempt, with data of its own: so that one which was given up and happens later is seen. 0:
 * it is acknowledged; 1: once more. */
static int write_once(struct user *u, unsigned lun, uint64_t first, uint64_t n, unsigned portal)
{
	struct duplex *d = u->d;
	struct history *h = d->history[lun];
	uint64_t id = history_next_id(h);
	bool fua = below(d, 8) == 0, watch = watched(lun, first, n);
	struct sim_io io = {.lun = (uint8_t)lun, .out = u->buf, .out_len = (uint32_t)n * 512};
	history_fill(u->buf, first, n, id);
	history_begin(h, first, n, id);
	rw_cdb(&io, 0x8a, first, n, fua);
	if (watch)
		say(d, "write %llu of [%llu, +%llu) to %s%s", (unsigned long long)id,
		    (unsigned long long)first, (unsigned long long)n, d->cluster.ctl[portal].name,
		    fua ? ", FUA" : "");
	int rc = sim_host_once(u->host, &io, portal, ANSWER_NS);
	if (d->power_off || d->failed)
		return -1;
	if (watch)
		say(d, "write %llu: %s, status %02x, sense %06x", (unsigned long long)id,
		    rc ? err_name(rc) : "answered", io.status, io.sense);
	if (rc == -ENOTCONN || rc == -EAGAIN) {
		env_sleep_ns(sim_env(d->sim), 2 * NS_PER_MS);
		history_lost(h, first, n, id);
		return 1;
	}
	if (rc || io.status != SCSI_GOOD) {
		fail(d, "a write of LUN %u to %s: %s, status %02x, sense %06x", lun,
		     d->cluster.ctl[portal].name, rc ? err_name(rc) : "answered", io.status,
		     io.sense);
		return -1;
	}
	history_ack(h, first, n, id);
	if (fua)
		history_durable(h, first, n, id);
	d->result->writes++;
	return 0;
}

static void user_write(struct user *u, unsigned lun)
{
	struct duplex *d = u->d;
	uint64_t first, n, until = env_now_ns(sim_env(d->sim)) + ANSWER_NS;
	unsigned portal = (unsigned)below(d, 2);
	pick_range(d, &first, &n);
	while (write_once(u, lun, first, n, portal) > 0) {
		portal = 1 - portal;
		if (env_now_ns(sim_env(d->sim)) > until)
			fail(d, "a write of LUN %u is never carried out", lun);
	}
}

static void user_read(struct user *u, unsigned lun, uint64_t first, uint64_t n)
{
	struct duplex *d = u->d;
	char why[160];
	struct sim_io io = {.lun = (uint8_t)lun, .in = u->buf, .in_len = (uint32_t)n * 512};
	rw_cdb(&io, 0x88, first, n, false);
	uint64_t began = history_now(d->history[lun]);
	if (!command(u, &io, "a read"))
		return;
	if (watched(lun, first, n))
		say(d, "a read of [%llu, +%llu) is answered by %s, %u attempts",
		    (unsigned long long)first, (unsigned long long)n,
		    d->cluster.ctl[io.portal].name, io.attempts);
	if (history_read(d->history[lun], first, n, began, u->buf, why, sizeof(why)))
		fail(d, "LUN %u through %s: %s", lun, d->cluster.ctl[io.portal].name, why);
	d->result->reads++;
}

/* COMPARE AND WRITE of what a read has just shown: another may have been quicker. */
static void user_compare(struct user *u, unsigned lun)
{
	struct duplex *d = u->d;
	struct history *h = d->history[lun];
	uint64_t first, n, id;
	pick_range(d, &first, &n);
	n = MIN(n, 16);
	user_read(u, lun, first, n);
	if (d->failed || d->power_off)
		return;
	id = history_next_id(h);
	history_fill(u->buf + n * 512, first, n, id);
	history_begin(h, first, n, id);
	struct sim_io io = {.lun = (uint8_t)lun, .out = u->buf, .out_len = (uint32_t)n * 1024};
	io.cdb[0] = 0x89;
	be64_put(io.cdb + 2, first);
	io.cdb[13] = (uint8_t)n;
	int rc = sim_host_once(u->host, &io, (unsigned)below(d, 2), ANSWER_NS);
	if (d->power_off || d->failed)
		return;
	if (rc == -ENOTCONN || rc == -EAGAIN) {
		env_sleep_ns(sim_env(d->sim), 2 * NS_PER_MS);
		history_lost(h, first, n, id);
	} else if (rc == 0 && io.status == SCSI_GOOD) {
		history_ack(h, first, n, id);
	} else if (rc == 0 && io.sense == 0x0e1d00) { /* miscompare */
		history_forget(h, first, n, id);
	} else {
		fail(d, "COMPARE AND WRITE of LUN %u: %s, status %02x, sense %06x", lun,
		     rc ? err_name(rc) : "answered", io.status, io.sense);
	}
}

static void user_flush(struct user *u, unsigned lun)
{
	struct duplex *d = u->d;
	uint64_t sent = history_now(d->history[lun]);
	struct sim_io io = {.lun = (uint8_t)lun};
	rw_cdb(&io, 0x91, 0, 0, false);
	if (!command(u, &io, "a flush"))
		return;
	history_flushed(d->history[lun], 0, VOLUME_SIZE / 512, sent);
	d->result->flushes++;
}

static void user_task(void *arg)
{
	struct user *u = arg;
	struct duplex *d = u->d;
	while (!d->stop && !d->failed && !d->power_off) {
		uint64_t first, n, dice = below(d, 100);
		unsigned lun = (unsigned)below(d, 2);
		begin(u, lun);
		if (dice < 45) {
			user_write(u, lun);
		} else if (dice < 50) {
			user_compare(u, lun);
		} else if (dice < 95) {
			pick_range(d, &first, &n);
			user_read(u, lun, first, n);
		} else {
			user_flush(u, lun);
		}
		u->began[lun] = 0;
		env_sleep_ns(sim_env(d->sim), below(d, below(d, 20) ? 500000 : 20000000));
	}
	d->users_left--;
	d->users[u->number] = NULL;
	free(u->buf);
	free(u);
}

static void start_users(struct duplex *d)
{
	d->stop = false;
	for (unsigned i = 0; i < USERS; i++, d->users_left++) {
		struct user *u = malloc(sizeof(*u));
		ASSERT(u);
		*u = (struct user){
		    .d = d, .number = i, .host = d->hosts[i % HOSTS], .buf = malloc(IO_MAX)};
		d->users[i] = u;
		ASSERT(u->buf && task_start(user_task, u) == 0);
	}
}

static void revive_dead(struct duplex *d)
{
	for (unsigned i = 0; i < 2; i++) {
		struct sim_ctl *ctl = &d->cluster.ctl[i];
		if (sim_node_dead(ctl->node) && sim_ctl_reap(ctl) && !ctl->why[0]) {
			say(d, "%s starts", ctl->name);
			sim_ctl_start(ctl);
		}
	}
}

static void stop_users(struct duplex *d)
{
	d->stop = true;
	for (unsigned i = 0; i < 1500 && d->users_left && !d->failed; i++) {
		if (!d->power_off)
			revive_dead(d);
		sim_run_for(d->sim, 200 * NS_PER_MS);
	}
	if (d->users_left)
		fail(d, "%u requests wait for ever", d->users_left);
}

/* ---- life of controllers ---- */

/* Runs the world until cond() holds; false: it does not within `ns`. */
static bool run_until(struct duplex *d, bool (*cond)(struct duplex *d), uint64_t ns)
{
	for (uint64_t t = 0; t < ns && !d->failed; t += 10 * NS_PER_MS) {
		if (cond(d))
			return true;
		revive_dead(d);
		sim_run_for(d->sim, 10 * NS_PER_MS);
	}
	return !d->failed && cond(d);
}

static bool both_up(struct duplex *d)
{
	return d->cluster.ctl[0].up && d->cluster.ctl[1].up;
}

static bool both_linked(struct duplex *d)
{
	return both_up(d) && link_is_up(d->cluster.ctl[0].link) &&
	       link_is_up(d->cluster.ctl[1].link);
}

/* The controller where the volume of a pool is; NULL: none, or it moves. */
static struct sim_ctl *owner_of(struct duplex *d, unsigned pool)
{
	struct sim_ctl *owner = NULL;
	for (unsigned i = 0; i < 2; i++) {
		struct sim_ctl *ctl = &d->cluster.ctl[i];
		struct volume *v =
		    ctl->up ? core_volume_get_by_name(ctl->core, d->pools[pool].volume) : NULL;
		if (v && core_volume_place(v) == CORE_HERE && owner)
			fail(d, "both controllers have %s", d->pools[pool].volume);
		if (v && core_volume_place(v) == CORE_HERE)
			owner = ctl;
		if (v)
			core_volume_put(v);
	}
	return owner;
}

static bool settled(struct duplex *d)
{
	for (unsigned i = 0; i < 2; i++)
		if (!d->cluster.ctl[i].up || !owner_of(d, i) ||
		    cache_mirror_state(core_cache(d->cluster.ctl[i].core)) != MIRROR_ON)
			return false;
	return true;
}

/* What was killed is taken away and begins again; what stands still goes on. */
static void revive(struct duplex *d)
{
	for (unsigned i = 0; i < 2 && !d->failed; i++) {
		struct sim_ctl *ctl = &d->cluster.ctl[i];
		if (sim_node_stopped(ctl->node))
			sim_node_continue(ctl->node);
		for (unsigned t = 0; sim_node_dead(ctl->node) && !sim_ctl_reap(ctl); t++) {
			if (t > 60000) {
				fail(d, "the dead controller %s never ends", ctl->name);
				return;
			}
			sim_run_for(d->sim, NS_PER_MS);
		}
		if (sim_node_dead(ctl->node)) {
			say(d, "%s starts", ctl->name);
			sim_ctl_start(ctl);
		}
	}
}

static void check_started(struct duplex *d)
{
	for (unsigned i = 0; i < 2; i++)
		if (d->cluster.ctl[i].why[0])
			fail(d, "controller %s cannot start: %s", d->cluster.ctl[i].name,
			     d->cluster.ctl[i].why);
}

static void describe(struct duplex *d, char *ret, size_t size)
{
	size_t at = 0;
	ret[0] = '\0';
	for (unsigned i = 0; i < 2; i++) {
		struct sim_ctl *ctl = &d->cluster.ctl[i];
		at += (size_t)snprintf(ret + at, size - at, "%s%s %s", i ? "; " : "", ctl->name,
				       ctl->up ? "up" : "down");
		if (ctl->up && at < size)
			at += (size_t)snprintf(ret + at, size - at, ", mirror %d, link %s",
					       (int)cache_mirror_state(core_cache(ctl->core)),
					       link_is_up(ctl->link) ? "up" : "down");
		for (unsigned p = 0; p < 2 && ctl->up && at < size; p++) {
			struct volume *v = core_volume_get_by_name(ctl->core, d->pools[p].volume);
			at += (size_t)snprintf(ret + at, size - at, ", %s %d", d->pools[p].volume,
					       v ? (int)core_volume_place(v) : -1);
			if (v)
				core_volume_put(v);
		}
	}
}

/* must: else it is only waited for. */
static void heal(struct duplex *d, const char *when, uint64_t ns, bool must)
{
	char text[160];
	sim_net_restore_all(d->cluster.net);
	revive(d);
	bool whole = run_until(d, settled, ns);
	describe(d, text, sizeof(text));
	say(d, "%s: %s", whole ? "whole" : "not whole", text);
	if (whole || !must)
		return;
	check_started(d);
	fail(d, "%s: not whole again within %llu s: %s", when, (unsigned long long)(ns / NS_PER_S),
	     text);
}

/* ---- faults ---- */

static void kill_a(void *arg)
{
	struct sim_ctl *ctl = arg;
	sim_node_kill(ctl->node);
}

/* Whoever passes the crash point dies there. */
static void kill_current(void *arg)
{
	struct duplex *d = arg;
	struct sim_node *n = sim_node_current(d->sim);
	if (!n || sim_node_dead(n))
		return;
	say(d, "%s is killed at the crash point", sim_node_name(n));
	sim_node_kill(n);
}

static struct sim_ctl *some_ctl(struct duplex *d)
{
	return &d->cluster.ctl[below(d, 2)];
}

static void fault_kill(struct duplex *d)
{
	struct sim_ctl *ctl = some_ctl(d);
	if (sim_node_dead(ctl->node))
		return;
	say(d, "%s is killed", ctl->name);
	kill_a(ctl);
}

static void fault_stop_awhile(struct duplex *d)
{
	struct sim_ctl *ctl = some_ctl(d);
	if (sim_node_dead(ctl->node) || !ctl->up)
		return;
	uint64_t ns = below(d, 3 * NS_PER_S);
	say(d, "%s stands still for %llu ms", ctl->name, (unsigned long long)(ns / NS_PER_MS));
	sim_node_stop(ctl->node);
	sim_run_for(d->sim, ns);
	if (sim_node_stopped(ctl->node))
		sim_node_continue(ctl->node);
}

static void fault_restart(struct duplex *d)
{
	struct sim_ctl *ctl = some_ctl(d);
	if (sim_node_dead(ctl->node) || !ctl->up)
		return;
	say(d, "%s is stopped in order", ctl->name);
	sim_ctl_stop(ctl);
}

static void fault_route(struct duplex *d)
{
	struct sim_ctl *ctl = some_ctl(d);
	unsigned r = (unsigned)below(d, 4);
	enum sim_cut how = below(d, 2) ? SIM_CUT_RESET : SIM_CUT_SILENT;
	if (!ctl->route[r][0])
		return;
	say(d, "route %s is %s", ctl->route[r], how == SIM_CUT_RESET ? "cut" : "silent");
	sim_net_cut(d->cluster.net, ctl->route[r], how);
}

static void fault_all_routes(struct duplex *d)
{
	struct sim_ctl *ctl = some_ctl(d);
	say(d, "all routes are cut");
	for (unsigned r = 0; r < 4; r++)
		if (ctl->route[r][0])
			sim_net_cut(d->cluster.net, ctl->route[r],
				    below(d, 2) ? SIM_CUT_RESET : SIM_CUT_SILENT);
}

struct give {
	struct duplex *d;
	struct sim_ctl *ctl;
	const char *pool;
};

static void give_task(void *arg)
{
	struct give *g = arg;
	char why[CORE_WHY_LEN] = "";
	int rc = g->ctl->core ? core_pool_give(g->ctl->core, g->pool, why) : -ERR_SHUTDOWN;
	g->ctl->calls--;
	say(g->d, "%s gave %s: %s %s", g->ctl->name, g->pool, err_name(rc), why);
	free(g);
}

static void fault_give(struct duplex *d)
{
	struct sim_ctl *ctl = some_ctl(d);
	if (sim_node_dead(ctl->node) || !ctl->up)
		return;
	struct give *g = malloc(sizeof(*g));
	ASSERT(g);
	*g = (struct give){d, ctl, d->pools[below(d, 2)].name};
	say(d, "%s is to give %s", ctl->name, g->pool);
	ctl->calls++;
	sim_node_start(ctl->node, give_task, g);
}

/* A change of the metadata, so that crash points in it are passed. */
static int change_rate(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	for (size_t i = 0; i < am->n_pools; i++)
		am->pools[i]->rebuild_rate = *(uint64_t *)arg;
	return 0;
}

static void change_task(void *arg)
{
	struct sim_ctl *ctl = arg;
	char why[CORE_WHY_LEN];
	uint64_t rate = sim_random_below(ctl->cluster->sim, 1000) << 20;
	if (ctl->core)
		meta_update(core_meta(ctl->core), change_rate, &rate, why);
	ctl->calls--;
}

static void fault_meta(struct duplex *d)
{
	struct sim_ctl *ctl = some_ctl(d);
	if (sim_node_dead(ctl->node) || !ctl->up)
		return;
	ctl->calls++;
	sim_node_start(ctl->node, change_task, ctl);
}

/* What makes a point be passed, where hosts at work do not. */
static void kill_at_point(struct duplex *d)
{
	unsigned i = (unsigned)below(d, sim_faults_count());
	const char *name = sim_fault_name(i);
	bool own = strncmp(name, "own.", 4) == 0, meta = strncmp(name, "meta.", 5) == 0;
	say(d, "whoever passes %s next dies", name);
	sim_fault_arm(i, own || meta ? 1 + below(d, 2) : 1 + below(d, 20), kill_current, d);
	if (meta)
		fault_meta(d);
	else if (own && below(d, 2))
		fault_give(d);
	else if (own || strcmp(name, "mirror.adopted") == 0)
		fault_kill(d);
	sim_run_for(d->sim, own ? 2 * NS_PER_S : 20 * NS_PER_MS);
}

static void fault_disk(struct duplex *d)
{
	struct pool_spec *p = &d->pools[below(d, 2)];
	struct sim_disk *disk = sim_disk_find(d->sim, p->paths[below(d, p->ndisks)]);
	if (below(d, 2)) {
		struct sim_disk_faults f;
		sim_disk_get_faults(disk, &f);
		f.latency_max_ns = (below(d, 2) ? 1 : 50) * 200000ull;
		sim_disk_set_faults(disk, &f);
		say(d, "a disk of %s answers within %llu us", p->name,
		    (unsigned long long)(f.latency_max_ns / 1000));
	} else if (p->redundant) {
		/* The first disk only: two in one row are more than the pool promises to bear. */
		disk = sim_disk_find(d->sim, p->paths[0]);
		sim_disk_bad_range(disk, DISK_DATA_OFF + below(d, VOLUME_SIZE / 8192) * 4096, 4096);
		say(d, "a block of %s goes bad", p->name);
	}
}

static void fault_revive(struct duplex *d)
{
	revive(d);
	sim_net_restore_all(d->cluster.net);
}

static void one_fault(struct duplex *d)
{
	static void (*const faults[])(struct duplex * d) = {
	    fault_kill,	   kill_at_point, kill_at_point,    fault_stop_awhile,
	    fault_restart, fault_route,	  fault_all_routes, fault_give,
	    fault_disk,	   fault_revive,  fault_revive};
	faults[below(d, ARRAY_LEN(faults))](d);
	d->result->crashes++;
}

/* ---- power ---- */

static void power_loss(struct duplex *d)
{
	say(d, "power is lost");
	d->power_off = true;
	sim_power_off(d->sim);
	for (unsigned i = 0; i < 2; i++) {
		history_crash(d->history[i], !d->cluster.battery);
		sim_node_kill(d->cluster.ctl[i].node);
	}
	stop_users(d);
	for (unsigned i = 0; i < 2; i++)
		for (unsigned t = 0; !sim_ctl_reap(&d->cluster.ctl[i]) && !d->failed; t++) {
			if (t > 60000)
				fail(d, "a dead controller never ends");
			sim_run_for(d->sim, NS_PER_MS);
		}
	if (!d->cluster.battery) {
		sim_memory_clear(d->cluster.control);
		for (unsigned i = 0; i < 2; i++)
			sim_memory_clear(d->cluster.ctl[i].segment);
	}
	sim_power_on(d->sim, SIM_LOSE_RANDOM, 0);
	d->power_off = false;
}

/* ---- what must hold when it is quiet ---- */

static void verify_task(void *arg)
{
	struct duplex *d = arg;
	struct user u = {.d = d, .host = d->hosts[0], .buf = malloc(IO_MAX)};
	ASSERT(u.buf);
	for (unsigned lun = 0; lun < 2; lun++)
		for (uint64_t s = 0; s < VOLUME_SIZE / 512 && !d->failed; s += IO_MAX / 512) {
			begin(&u, lun);
			user_read(&u, lun, s, IO_MAX / 512);
		}
	free(u.buf);
}

/* Every dirty page has an equal copy in the partner's memory. */
static void compare_mirrors(struct duplex *d)
{
	for (unsigned i = 0; i < 2 && !d->failed; i++) {
		char why[160];
		if (!sim_mirror_equal(&d->cluster, i, why, sizeof(why)))
			fail(d, "mirror of %s: %s", d->cluster.ctl[i].name, why);
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
		fail(d, "%u pages stay dirty", s.dirty);
	for (uint64_t off = 0; off < VOLUME_SIZE && !d->failed; off += IO_MAX) {
		int err = volume_read(v, off, IO_MAX, r);
		if (err == -ERR_NOT_OWNER)
			goto out;
		if (err) {
			fail(d, "a read failed: %s", err_name(err));
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
			if (rc == 0 && memcmp(buf, buf + IO_MAX, IO_MAX) != 0)
				fail(d, "%s: copy %u differs from what is read, 64 KiB at %llu",
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
	int rc = sim_run(d->sim, verify_task, d);
	if (rc)
		fail(d, "verifying: no end");
	if (!d->failed)
		compare_mirrors(d);
	for (unsigned i = 0; i < 2 && !d->failed; i++) {
		struct compare x = {d, i, owner_of(d, i)};
		if (!x.owner)
			fail(d, "%s went away while it was quiet", d->pools[i].name);
		else if (sim_node_run(x.owner->node, compare_task, &x))
			fail(d, "comparing copies: no end");
	}
}

/* ---- the world ---- */

static void choose_pool(struct duplex *d, unsigned i)
{
	static const struct {
		const char *level;
		unsigned disks;
		bool redundant;
	} levels[] = {{"single", 1, false}, {"raid0", 2, false}, {"raid1", 2, true},
		      {"raid10", 4, true},  {"raid5", 3, false}, {"raid6", 4, false}};
	static const char *const names[2][4] = {{"d0", "d1", "d2", "d3"}, {"d4", "d5", "d6", "d7"}};
	struct pool_spec *p = &d->pools[i];
	uint64_t l = below(d, ARRAY_LEN(levels));
	*p = (struct pool_spec){.name = i ? "pb" : "pa",
				.volume = i ? "vb" : "va",
				.level = levels[l].level,
				.ndisks = levels[l].disks,
				.redundant = levels[l].redundant};
	for (unsigned k = 0; k < p->ndisks; k++) {
		p->paths[k] = names[i][k];
		sim_disk_new(d->sim, names[i][k], DISK_SIZE_MIN);
		d->cluster.disks[d->cluster.ndisks++] = names[i][k];
	}
}

struct create {
	struct duplex *d;
	unsigned i;
};

static int add_lun(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct create *x = arg;
	Isthmus__Target *t = am->n_targets ? am->targets[0] : NULL;
	Isthmus__Lun *l = malloc(sizeof(*l));
	if (!t) {
		t = malloc(sizeof(*t));
		ASSERT(t);
		isthmus__target__init(t);
		ASSERT(pb_set_text(&t->iqn, SIM_TARGET) == 0);
		t->open = true;
		ASSERT(pb_append(&am->targets, &am->n_targets, t) == 0);
	}
	ASSERT(l);
	isthmus__lun__init(l);
	l->lun = x->i;
	l->volume_id = meta_volume_find(am, x->d->pools[x->i].volume)->id;
	ASSERT(pb_set_text(&l->serial, x->d->pools[x->i].volume) == 0);
	return pb_append(&t->luns, &t->n_luns, l);
}

static void create_task(void *arg)
{
	struct create *x = arg;
	struct duplex *d = x->d;
	struct pool_spec *p = &d->pools[x->i];
	struct core *core = d->cluster.ctl[x->i].core;
	char why[CORE_WHY_LEN] = "";
	uint32_t id;
	if (core_pool_create(core, p->name, p->level, 65536, p->paths, p->ndisks, why) ||
	    core_volume_create(core, p->name, p->volume, VOLUME_SIZE, &id) ||
	    meta_update(core_meta(core), add_lun, x, why))
		fail(d, "cannot make %s and its volume: %s", p->name, why);
}

static void build(struct duplex *d)
{
	uint32_t pages[2];
	for (unsigned i = 0; i < 2; i++)
		pages[i] = 320 + (uint32_t)below(d, 384);
	d->cluster.battery = below(d, 3) == 0;
	d->cluster.lone_write_through = below(d, 3) == 0;
	sim_cluster_init(&d->cluster, d->sim, pages);
	for (unsigned i = 0; i < 2; i++)
		choose_pool(d, i);
	d->cluster.hosts = d->hosts;
	d->cluster.nhosts = HOSTS;
	for (unsigned i = 0; i < HOSTS; i++) {
		char iqn[64];
		snprintf(iqn, sizeof(iqn), "iqn.2026-11.example:host-%u", i);
		d->hosts[i] = sim_host_new(d->sim, iqn, d->cluster.portals, 2);
	}
	say(d, "%s and %s, memory %s, %u and %u pages, alone %s", d->pools[0].level,
	    d->pools[1].level, d->cluster.battery ? "battery" : "volatile", pages[0], pages[1],
	    d->cluster.lone_write_through ? "write-through" : "write-back");
	for (unsigned i = 0; i < 2; i++)
		sim_ctl_start(&d->cluster.ctl[i]);
	if (!run_until(d, both_linked, 120 * NS_PER_S)) {
		check_started(d);
		fail(d, "the controllers do not start");
	}
	for (unsigned i = 0; i < 2 && !d->failed; i++) {
		struct create x = {d, i};
		if (sim_node_run(d->cluster.ctl[i].node, create_task, &x))
			fail(d, "making pools: no end");
	}
	if (!d->failed)
		heal(d, "at the beginning", 60 * NS_PER_S, true);
}

static void one_round(struct duplex *d)
{
	start_users(d);
	unsigned n = 2 + (unsigned)below(d, 2);
	for (unsigned i = 0; i < n && !d->failed; i++) {
		sim_run_for(d->sim, 1000000 + below(d, 30 * NS_PER_MS));
		one_fault(d);
	}
	sim_run_for(d->sim, 1000000 + below(d, below(d, 3) ? 30 * NS_PER_MS : 2 * NS_PER_S));
	sim_faults_disarm();
	if (!d->failed && below(d, 6) == 0)
		power_loss(d);
	if (!d->failed)
		heal(d, "under load", 5 * NS_PER_S, false);
	stop_users(d);
	if (!d->failed)
		heal(d, "without load", 120 * NS_PER_S, true);
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
				fail(d, "controller %s does not stop", ctl->name);
			sim_run_for(d->sim, NS_PER_MS);
		}
	sim_run_for(d->sim, 10 * NS_PER_S);
}

int scenario_duplex(uint64_t seed, bool verbose, struct scenario_result *ret)
{
	struct duplex d = {.verbose = verbose, .result = ret};
	d.sim = sim_new(seed);
	for (unsigned i = 0; i < 2; i++)
		d.history[i] = history_new(VOLUME_SIZE / HISTORY_SECTOR);
	build(&d);
	for (unsigned r = 0; r < ROUNDS && !d.failed; r++)
		one_round(&d);
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
