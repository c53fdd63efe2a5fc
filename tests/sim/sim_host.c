/* See sim_host.h. */
#include "tests/sim/sim_host.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct path {
	struct scsi_nexus *nexus;
	struct scsi_registry *registry; /* that it was made with */
	uint64_t life;
	bool login; /* under way */
};

struct sim_host {
	struct sim *sim;
	char iqn[64];
	struct sim_portal *portals;
	unsigned nportals;
	uint32_t commands;
	struct path paths[SIM_PORTALS_MAX];
};

/* One command on one path. Both sides keep it: a host that has lost the path does not wait. */
struct attempt {
	struct sim_host *host;
	struct sim_portal *portal;
	struct path *path;
	struct scsi_registry *registry;
	unsigned refs;
	uint64_t life;
	bool done;
	int rc;
	struct waitq q;
	uint8_t lun, attr, cdb[16];
	uint8_t *out, *in;
	uint32_t out_len, in_len;
	uint8_t status;
	uint32_t sense;
	struct scsi_cmd cmd;
};

struct sim_host *sim_host_new(struct sim *s, const char *iqn, struct sim_portal *portals,
			      unsigned nportals)
{
	struct sim_host *h = calloc(1, sizeof(*h));
	ASSERT(h && nportals <= SIM_PORTALS_MAX);
	h->sim = s;
	h->portals = portals;
	h->nportals = nportals;
	snprintf(h->iqn, sizeof(h->iqn), "%s", iqn);
	return h;
}

void sim_host_free(struct sim_host *h)
{
	free(h);
}

void sim_host_logout(struct sim_host *h, struct sim_portal *p)
{
	struct path *path = &h->paths[p - h->portals];
	if (path->nexus)
		scsi_nexus_free(path->nexus);
	memset(path, 0, sizeof(*path));
}

/* ---- in the controller ---- */

static void attempt_put(struct attempt *a)
{
	if (--a->refs > 0)
		return;
	free(a->out);
	free(a->in);
	free(a);
}

static int login(struct attempt *a)
{
	struct path *p = a->path;
	static const uint8_t isid[6] = {0x40};
	while (p->login)
		env_sleep_ns(sim_node_env(a->portal->node), 10000);
	if (p->nexus && p->life == a->life && p->registry == a->registry)
		return 0;
	struct scsi_target *t = scsi_target_get(a->registry, a->portal->target);
	if (!t)
		return -ENOENT;
	p->login = true;
	int rc = scsi_nexus_new(&p->nexus, t, a->host->iqn, isid, a->portal->group);
	p->login = false;
	scsi_target_put(t);
	p->life = a->life;
	p->registry = a->registry;
	if (rc)
		p->nexus = NULL;
	return rc;
}

static void move(const struct iovec *iov, int n, uint8_t *buf, uint32_t len, bool to_iov)
{
	for (int i = 0; i < n && len > 0; i++) {
		uint32_t part = (uint32_t)MIN(iov[i].iov_len, len);
		memcpy(to_iov ? iov[i].iov_base : (void *)buf,
		       to_iov ? (void *)buf : iov[i].iov_base, part);
		buf += part;
		len -= part;
	}
}

static uint32_t sense_code(const uint8_t *b)
{
	if ((b[0] & 0x7f) == 0x72)
		return (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
	return (uint32_t)b[2] << 16 | (uint32_t)b[12] << 8 | b[13];
}

static void execute(struct attempt *a)
{
	struct scsi_cmd *c = &a->cmd;
	c->nexus = a->path->nexus;
	c->lun[1] = a->lun;
	memcpy(c->cdb, a->cdb, 16);
	c->cdb_len = 16;
	c->attr = a->attr;
	c->out_expected = a->out_len;
	enum scsi_next next = scsi_start(c);
	if (next == SCSI_WAIT)
		next = scsi_start_wait(c);
	if (next == SCSI_DATA_OUT) {
		move(c->out_iov, c->out_iovcnt, a->out, a->out_len, true);
		next = scsi_finish(c);
		if (next == SCSI_WAIT)
			next = scsi_finish_wait(c);
	}
	scsi_responding(c);
	a->status = c->status;
	a->sense = c->sense_len ? sense_code(c->sense) : 0;
	if (c->status == SCSI_GOOD)
		move(c->in_iov, c->in_iovcnt, a->in, MIN(a->in_len, c->in_len), false);
	scsi_release(c);
}

static void attempt_task(void *arg)
{
	struct attempt *a = arg;
	struct sim_portal *p = a->portal;
	p->commands++;
	a->registry = p->registry; /* lives as long as commands do */
	a->rc = a->registry ? login(a) : -ECONNREFUSED;
	if (a->rc == 0)
		execute(a);
	p->commands--;
	if (!sim_node_dead(p->node) && sim_node_life(p->node) == a->life) {
		a->done = true;
		waitq_wake_all(&a->q);
	}
	attempt_put(a);
}

/* ---- in the host ---- */

static void *copy(const void *p, uint32_t len)
{
	uint8_t *b = calloc(1, len ? len : 1);
	ASSERT(b);
	if (p)
		memcpy(b, p, len);
	return b;
}

/* Most are SIMPLE, one in 16 each ORDERED and HEAD OF QUEUE. */
static uint8_t next_attr(struct sim_host *h)
{
	uint32_t n = h->commands++ * 2654435769u >> 28;
	return n == 0 ? SCSI_ORDERED : n == 1 ? SCSI_HEAD : SCSI_SIMPLE;
}

/* 0: answered; -ENOTCONN: the path is lost; -ETIMEDOUT. */
static int try_path(struct sim_host *h, struct sim_io *io, unsigned portal, uint64_t until)
{
	struct sim_portal *p = &h->portals[portal];
	if (sim_node_dead(p->node) || !p->registry)
		return -ENOTCONN;
	struct attempt *a = calloc(1, sizeof(*a));
	ASSERT(a);
	*a = (struct attempt){.host = h,
			      .portal = p,
			      .path = &h->paths[portal],
			      .refs = 2,
			      .life = sim_node_life(p->node),
			      .lun = io->lun,
			      .attr = next_attr(h),
			      .out_len = io->out_len,
			      .in_len = io->in_len};
	memcpy(a->cdb, io->cdb, 16);
	a->out = copy(io->out, io->out_len);
	a->in = copy(NULL, io->in_len);
	waitq_init(&a->q);
	io->attempts++;
	sim_node_start(p->node, attempt_task, a);
	int rc = 0;
	while (!a->done && rc == 0) {
		env_waitq_wait(sim_env(h->sim), &a->q, 10 * NS_PER_MS);
		if (sim_node_dead(p->node) || sim_node_life(p->node) != a->life)
			rc = -ENOTCONN;
		else if (!a->done && env_now_ns(sim_env(h->sim)) > until)
			rc = -ETIMEDOUT;
	}
	if (a->done) {
		rc = a->rc ? -ENOTCONN : 0;
		io->status = a->status;
		io->sense = a->sense;
		io->portal = portal;
		if (rc == 0 && io->in_len)
			memcpy(io->in, a->in, io->in_len);
	}
	attempt_put(a);
	return rc;
}

/* What a host tries again: busy, attentions, a unit that is not ready just now. */
static bool again(const struct sim_io *io)
{
	if (io->status == SCSI_BUSY || io->status == SCSI_TASK_SET_FULL ||
	    io->status == SCSI_TASK_ABORTED)
		return true;
	uint32_t key = io->sense >> 16;
	return io->status == SCSI_CHECK_CONDITION &&
	       (key == 0x6 || (key == 0x2 && (io->sense >> 8 & 0xff) == 0x04) || key == 0xb);
}

int sim_host_once(struct sim_host *h, struct sim_io *io, unsigned portal, uint64_t timeout_ns)
{
	io->attempts = 0;
	int rc = try_path(h, io, portal % h->nportals, env_now_ns(sim_env(h->sim)) + timeout_ns);
	return rc == 0 && again(io) ? -EAGAIN : rc;
}

int sim_host_io(struct sim_host *h, struct sim_io *io, unsigned first, uint64_t timeout_ns)
{
	struct env *e = sim_env(h->sim);
	uint64_t until = env_now_ns(e) + timeout_ns;
	unsigned portal = first % h->nportals;
	io->attempts = 0;
	for (;;) {
		int rc = try_path(h, io, portal, until);
		if (rc == 0 && !again(io))
			return 0;
		if (sim_power_is_off(h->sim))
			return -EHOSTDOWN;
		if (rc == -ETIMEDOUT || env_now_ns(e) > until)
			return -ETIMEDOUT;
		bool attention = rc == 0 && io->sense >> 16 == 0x6;
		if (attention) /* at once, on the same path */
			continue;
		portal = (portal + 1) % h->nportals;
		env_sleep_ns(e, 2 * NS_PER_MS);
	}
}
