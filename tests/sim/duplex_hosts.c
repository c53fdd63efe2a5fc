/* Hosts of the scenario `duplex` at work (duplex.h): reads, writes, flushes, judged by history.h.
 */
#include "tests/sim/duplex.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	int rc = sim_host_io(u->host, io, (unsigned)duplex_below(d, 2), ANSWER_NS);
	if (d->power_off || d->failed)
		return false;
	if (rc)
		duplex_fail(d, "%s of LUN %u waits for ever", what, io->lun);
	else if (io->status != SCSI_GOOD)
		duplex_fail(d, "%s of LUN %u failed: status %02x, sense %06x, by controller %s",
			    what, io->lun, io->status, io->sense, d->cluster.ctl[io->portal].name);
	return rc == 0 && io->status == SCSI_GOOD;
}

static void pick_range(struct duplex *d, uint64_t *first, uint64_t *n)
{
	uint64_t sectors = VOLUME_SIZE / HISTORY_SECTOR;
	/* Half of all requests go to a small hot range, so that they meet. */
	if (duplex_below(d, 2))
		sectors /= 64;
	*n = 1 + duplex_below(d, duplex_below(d, 4) ? 16 : IO_MAX / 512);
	*first = duplex_below(d, sectors - MIN(*n, sectors - 1));
}

/* One attempt, with data of its own: so that one which was given up and happens later is seen. 0:
 * it is acknowledged; 1: once more. */
static int write_once(struct user *u, unsigned lun, uint64_t first, uint64_t n, unsigned portal)
{
	struct duplex *d = u->d;
	struct history *h = d->history[lun];
	uint64_t id = history_next_id(h);
	bool fua = duplex_below(d, 8) == 0, watch = watched(lun, first, n);
	struct sim_io io = {.lun = (uint8_t)lun, .out = u->buf, .out_len = (uint32_t)n * 512};
	history_fill(u->buf, first, n, id);
	history_begin(h, first, n, id);
	rw_cdb(&io, 0x8a, first, n, fua);
	if (watch)
		duplex_say(d, "write %llu of [%llu, +%llu) to %s%s", (unsigned long long)id,
			   (unsigned long long)first, (unsigned long long)n,
			   d->cluster.ctl[portal].name, fua ? ", FUA" : "");
	int rc = sim_host_once(u->host, &io, portal, ANSWER_NS);
	if (d->power_off || d->failed)
		return -1;
	if (watch)
		duplex_say(d, "write %llu: %s, status %02x, sense %06x", (unsigned long long)id,
			   rc ? err_name(rc) : "answered", io.status, io.sense);
	if (rc == -ENOTCONN || rc == -EAGAIN) {
		env_sleep_ns(sim_env(d->sim), 2 * NS_PER_MS);
		history_lost(h, first, n, id);
		return 1;
	}
	if (rc || io.status != SCSI_GOOD) {
		duplex_fail(d, "a write of LUN %u to %s: %s, status %02x, sense %06x", lun,
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
	unsigned portal = (unsigned)duplex_below(d, 2);
	pick_range(d, &first, &n);
	while (write_once(u, lun, first, n, portal) > 0) {
		portal = 1 - portal;
		if (env_now_ns(sim_env(d->sim)) > until)
			duplex_fail(d, "a write of LUN %u is never carried out", lun);
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
		duplex_say(d, "a read of [%llu, +%llu) is answered by %s, %u attempts",
			   (unsigned long long)first, (unsigned long long)n,
			   d->cluster.ctl[io.portal].name, io.attempts);
	if (history_read(d->history[lun], first, n, began, u->buf, why, sizeof(why)))
		duplex_fail(d, "LUN %u through %s: %s", lun, d->cluster.ctl[io.portal].name, why);
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
	int rc = sim_host_once(u->host, &io, (unsigned)duplex_below(d, 2), ANSWER_NS);
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
		duplex_fail(d, "COMPARE AND WRITE of LUN %u: %s, status %02x, sense %06x", lun,
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

/* What a change of may concern requests under way. */
static uint64_t signature(struct duplex *d)
{
	uint64_t sig = 0;
	for (unsigned i = 0; i < 2; i++) {
		struct sim_ctl *ctl = &d->cluster.ctl[i];
		sig = sig * 64 + sim_node_life(ctl->node);
		sig = sig * 4 + sim_node_stopped(ctl->node) * 2 + ctl->up;
		if (!ctl->up)
			continue;
		sig =
		    sig * 8 + link_is_up(ctl->link) * 4 + cache_mirror_state(core_cache(ctl->core));
		for (unsigned p = 0; p < 2; p++) {
			struct volume *v = core_volume_get_by_name(ctl->core, d->pools[p].volume);
			sig = sig * 8 + (v ? core_volume_place(v) : 7);
			if (v)
				core_volume_put(v);
		}
	}
	return sig;
}

/* Dense load around whatever happens, thin load while nothing does. */
static uint64_t think_ns(struct duplex *d)
{
	uint64_t sig = signature(d), now = env_now_ns(sim_env(d->sim));
	if (sig != d->signature)
		d->busy_until = now + BUSY_NS;
	d->signature = sig;
	if (duplex_below(d, 20) == 0)
		return duplex_below(d, 20 * NS_PER_MS);
	return duplex_below(d, now < d->busy_until ? NS_PER_MS / 2 : 8 * NS_PER_MS);
}

static void user_task(void *arg)
{
	struct user *u = arg;
	struct duplex *d = u->d;
	while (!d->stop && !d->failed && !d->power_off) {
		uint64_t first, n, dice = duplex_below(d, 100);
		unsigned lun = (unsigned)duplex_below(d, 2);
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
		env_sleep_ns(sim_env(d->sim), think_ns(d));
	}
	d->users_left--;
	d->users[u->number] = NULL;
	free(u->buf);
	free(u);
}

void duplex_users_start(struct duplex *d)
{
	d->stop = false;
	d->busy_until = env_now_ns(sim_env(d->sim)) + BUSY_NS;
	for (unsigned i = 0; i < USERS; i++, d->users_left++) {
		struct user *u = malloc(sizeof(*u));
		ASSERT(u);
		*u = (struct user){
		    .d = d, .number = i, .host = d->hosts[i % HOSTS], .buf = malloc(IO_MAX)};
		d->users[i] = u;
		ASSERT(u->buf && task_start(user_task, u) == 0);
	}
}

void duplex_users_stop(struct duplex *d)
{
	d->stop = true;
	for (unsigned i = 0; i < 1500 && d->users_left && !d->failed; i++) {
		if (!d->power_off)
			duplex_revive_dead(d);
		sim_run_for(d->sim, 200 * NS_PER_MS);
	}
	if (d->users_left)
		duplex_fail(d, "%u requests wait for ever", d->users_left);
}

void duplex_verify_task(void *arg)
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
