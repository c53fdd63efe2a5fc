/* See pair.h. */
#include <stdlib.h>
#include "runtime/check.h"
#include "tests/unit/scsi/pair.h"

struct pair *pr;
struct job *last;
static LIST_HEAD(, job) jobs = LIST_HEAD_INITIALIZER(jobs);
struct fixture *fx; /* fixture.h's macros are used, not its world */

void pair_task(task_fn *fn, void *arg)
{
	ASSERT(sim_run(pr->sim, fn, arg) == 0);
}

void pair_run_for(uint64_t ns)
{
	sim_run_for(pr->sim, ns);
}

static uint64_t later(struct env *e)
{
	return FAKE_REALTIME_NS;
}

/* The simulated one, but for the date. */
static struct env *pair_env(void)
{
	static struct env_ops ops;
	struct env *e = sim_env(pr->sim);
	if (e->ops != &ops) {
		ops = *e->ops;
		ops.realtime_ns = later;
		e->ops = &ops;
	}
	return e;
}

static void add_volumes(struct core *c)
{
	fake_volume_add(c, 32 << 20);
	fake_volume_add(c, 4 << 20);
	fake_volume_add(c, 1 << 20);
	fake_volume_add(c, 1 << 20)->battery = true;
	pr->target = fake_target_add(c, TARGET, true);
	fake_lun_add(pr->target, 0, 1, "serial-1");
	fake_lun_add(pr->target, 1, 2, "serial-2")->block_size = 4096;
	fake_lun_add(pr->target, 4, 4, "serial-4")->removable = true;
	fake_lun_add(pr->target, 300, 3, "serial-3")->read_only = true;
}

static void open_partner(int side)
{
	struct scsi_partner p = {.link = pr->s[side].link,
				 .group = (uint16_t)(side + 1),
				 .partner_group = (uint16_t)(2 - side),
				 .tags = (const uint16_t[1]){(uint16_t)(2 - side)},
				 .ntags = 1};
	scsi_registry_set_groups(pr->s[side].registry, (const uint16_t[1]){(uint16_t)(side + 1)},
				 1);
	ASSERT(scsi_partner_open(pr->s[side].registry, &p) == 0);
}

static void open_all(void *arg)
{
	for (int i = 0; i < 2; i++)
		ASSERT(scsi_registry_new(&pr->s[i].registry, pr->s[i].core) == 0);
	for (int i = 0; i < 2; i++)
		open_partner(i);
}

static void tell_up(void *arg)
{
	for (int i = 0; i < 2; i++) {
		scsi_partner_memory(pr->s[i].registry, pr->s[1 - i].core->memory_id);
		scsi_partner_up(pr->s[i].registry);
	}
}

static void tell_down(void *arg)
{
	for (int i = 0; i < 2; i++)
		scsi_partner_down(pr->s[i].registry);
}

void pair_up(void)
{
	fake_link_up(pr->s[A].link);
	pair_task(tell_up, NULL);
}

void pair_down(void)
{
	fake_link_down(pr->s[A].link);
	pair_task(tell_down, NULL);
}

void pair_setup(int owner)
{
	pr = calloc(1, sizeof(*pr));
	pr->sim = sim_new(1);
	sim_run_for(pr->sim, NS_PER_S);
	pr->s[A].core = fake_core_new();
	pr->s[A].core->env = pair_env();
	add_volumes(pr->s[A].core);
	pr->s[B].core = fake_core_join(pr->s[A].core);
	struct sched *sched = sched_current();
	fake_link_pair(&pr->s[A].link, &pr->s[B].link, sched, sched);
	pair_task(open_all, NULL);
	pair_place(owner);
	pair_up();
}

static void close_all(void *arg)
{
	for (int i = 0; i < 2; i++)
		scsi_partner_close(pr->s[i].registry);
	for (int i = 0; i < 2; i++)
		scsi_registry_free(pr->s[i].registry);
}

void pair_teardown(void)
{
	if (last)
		job_free(last);
	last = NULL;
	fake_link_down(pr->s[A].link);
	pair_task(tell_down, NULL);
	pair_task(close_all, NULL);
	pair_run_for(NS_PER_S);
	fake_core_free(pr->s[B].core);
	fake_core_free(pr->s[A].core);
	fake_link_free(pr->s[A].link, pr->s[B].link);
	sim_free(pr->sim);
	free(pr);
	pr = NULL;
}

void pair_place(int owner)
{
	for (unsigned i = 0; i < pr->s[A].core->nvolumes; i++)
		fake_core_place(pr->s[A].core, i + 1, owner == A ? CORE_HERE : CORE_PARTNER);
	pair_run_for(NS_PER_MS);
}

/* ---- initiators ---- */

struct logging {
	int side;
	const char *initiator;
	struct scsi_nexus *n;
};

static void login(void *arg)
{
	struct logging *l = arg;
	struct scsi_target *t = scsi_target_get(pr->s[l->side].registry, TARGET);
	ASSERT(t);
	ASSERT(!scsi_nexus_new(&l->n, t, l->initiator, (const uint8_t[6]){0x40},
			       (uint16_t)(l->side + 1)));
	scsi_nexus_set_transport(l->n, l->n);
	scsi_target_put(t);
}

struct scsi_nexus *pair_login(int side, const char *initiator)
{
	struct logging l = {side, initiator, NULL};
	uint8_t asc, ascq;
	pair_task(login, &l);
	for (unsigned i = 0; i < l.n->view->n; i++)
		while (nexus_ua_take(l.n, l.n->view->luns[i].number, &asc, &ascq))
			;
	return l.n;
}

static void logout(void *arg)
{
	scsi_nexus_free(arg);
}

void pair_logout(struct scsi_nexus *n)
{
	if (last)
		job_free(last);
	last = NULL;
	pair_task(logout, n);
	pair_run_for(NS_PER_MS);
}

/* ---- commands ---- */

static void job_fill(struct job *j)
{
	size_t at = j->c.part_at;
	for (int i = 0; i < j->c.out_iovcnt; i++) {
		ASSERT(at + j->c.out_iov[i].iov_len <= j->edtl);
		memcpy(j->c.out_iov[i].iov_base, j->out + at, j->c.out_iov[i].iov_len);
		at += j->c.out_iov[i].iov_len;
	}
	ASSERT(at <= j->c.out_len);
}

/* (The next part of) data-in. */
static void job_take(struct job *j)
{
	const struct scsi_cmd *c = &j->c;
	size_t at = c->in_iovcnt ? c->part_at : 0;
	if (!j->in)
		j->in = malloc(c->in_len + 1u);
	for (int i = 0; i < c->in_iovcnt; i++) {
		ASSERT(at + c->in_iov[i].iov_len <= c->in_len);
		memcpy(j->in + at, c->in_iov[i].iov_base, c->in_iov[i].iov_len);
		at += c->in_iov[i].iov_len;
	}
	ASSERT(at == c->in_len || c->in_more || j->out);
	j->in_iovcnt += (unsigned)c->in_iovcnt;
}

static void job_run(void *arg)
{
	struct job *j = arg;
	struct scsi_cmd *c = &j->c;
	enum scsi_next next = scsi_start(c);
	if (next == SCSI_WAIT) {
		j->waited = true;
		next = scsi_start_wait(c);
	}
	while (next == SCSI_DATA_OUT || (next == SCSI_DONE && c->in_more)) {
		if (next == SCSI_DATA_OUT)
			job_fill(j);
		else
			job_take(j);
		next = scsi_finish(c);
		if (next == SCSI_WAIT) {
			j->waited = true;
			next = scsi_finish_wait(c);
		}
	}
	ASSERT(next == SCSI_DONE);
	j->status = c->status;
	j->in_len = c->in_len;
	j->out_len = c->out_len;
	if (c->status == SCSI_CHECK_CONDITION)
		memcpy(j->sense, c->sense, c->sense_len);
	job_take(j);
	scsi_release(c);
	j->done = true;
}

uint8_t job_attr;

struct job *job_start(struct scsi_nexus *n, uint32_t lun, const uint8_t *cdb, const void *out,
		      uint32_t edtl)
{
	struct job *j = calloc(1, sizeof(*j));
	memset(&j->c, 0xdd, sizeof(j->c));
	j->nexus = n;
	j->out = out;
	j->edtl = edtl;
	j->c.nexus = n;
	LIST_INSERT_HEAD(&jobs, j, link);
	lun_format(j->c.lun, lun);
	memset(j->c.cdb, 0, sizeof(j->c.cdb));
	memcpy(j->c.cdb, cdb, 16);
	j->c.cdb_len = 16;
	j->c.attr = job_attr;
	j->c.out_expected = out ? edtl : 0;
	j->c.trace.received_ns = 0;
	ASSERT(task_start(job_run, j) == 0);
	return j;
}

void job_wait(struct job *j)
{
	for (int i = 0; !j->done && i < 100000; i++)
		pair_run_for(i < 1000 ? NS_PER_US : 10 * NS_PER_MS);
	ASSERT(j->done);
}

void job_free(struct job *j)
{
	ASSERT(j->done);
	LIST_REMOVE(j, link);
	free(j->in);
	free(j);
}

/* ---- what the transport does for others ---- */

struct ending {
	struct scsi_nexus *n;
	uint8_t lun[8];
	void (*done)(void *arg);
	void *arg;
};

static bool runs(const struct ending *e, const struct job *j)
{
	return !j->done && j->nexus == e->n && !memcmp(j->c.lun, e->lun, 8);
}

static void end_jobs(void *arg)
{
	struct ending *e = arg;
	struct job *j;
	bool any = true;
	LIST_FOREACH (j, &jobs, link)
		if (runs(e, j))
			scsi_abort(&j->c);
	while (any) {
		any = false;
		LIST_FOREACH (j, &jobs, link)
			any |= runs(e, j);
		if (any)
			env_sleep_ns(pr->s[A].core->env, NS_PER_US);
	}
	if (e->done)
		e->done(e->arg);
	free(e);
}

static bool abort_jobs(void *transport, const uint8_t lun[8], bool tas, void (*done)(void *arg),
		       void *arg)
{
	struct ending *e = malloc(sizeof(*e));
	*e = (struct ending){.n = transport, .done = done, .arg = arg};
	memcpy(e->lun, lun, 8);
	return !task_start(end_jobs, e);
}

void pair_job_aborts(bool on)
{
	for (int i = 0; i < 2; i++)
		scsi_registry_set_abort(pr->s[i].registry, on ? abort_jobs : NULL);
}

uint8_t pair_cmd(struct scsi_nexus *n, uint32_t lun, const uint8_t *cdb, const void *out,
		 uint32_t edtl)
{
	if (last)
		job_free(last);
	last = job_start(n, lun, cdb, out, edtl);
	job_wait(last);
	return last->status;
}

uint32_t job_sense(const struct job *j)
{
	const uint8_t *b = j->sense;
	ASSERT(j->status == SCSI_CHECK_CONDITION);
	if ((b[0] & 0x7f) == 0x72)
		return (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
	ASSERT((b[0] & 0x7f) == 0x70);
	return (uint32_t)b[2] << 16 | (uint32_t)b[12] << 8 | b[13];
}

struct managing {
	struct scsi_nexus *n;
	uint8_t lun[8];
	enum scsi_tmf what;
	int rc;
	struct task *task;
	unsigned pending;
};

static void other_done(void *arg)
{
	struct managing *m = arg;
	m->pending--;
	task_wake(m->task);
}

static void other(struct scsi_nexus *n, const uint8_t lun[8], bool tas, void *arg)
{
	struct managing *m = arg;
	m->pending++;
	if (!scsi_nexus_abort(n, lun, tas, other_done, m))
		m->pending--;
}

static void manage(void *arg)
{
	struct managing *m = arg;
	m->task = task_self();
	m->rc = scsi_task_management(m->n, m->lun, m->what, other, m);
	while (m->pending)
		task_park();
}

int pair_tmf(struct scsi_nexus *n, uint32_t lun, enum scsi_tmf what)
{
	struct managing m = {.n = n, .what = what};
	lun_format(m.lun, lun);
	pair_task(manage, &m);
	return m.rc;
}
