/*
 * A head's own slot: opening a volume, taking the slot, heartbeats, going over to the backup.
 *
 * `head` is the state as it should be on the volume; changes since the last write are marked in
 * `changed`, so that a tick writes one frame: a heartbeat and what changed. A volume that fails is
 * left for the other one: the slot is taken there and a checkpoint written. Once on the backup the
 * head stays there until it opens the PIV anew: what the failed volume holds is old by then.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/piv_layout.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include "runtime/task.h"

#define PIV_MAGIC	0x70697631
#define CLIENT_WRITE_NS (60 * NS_PER_S)	       /* "last seen" is this coarse on the volume */
#define CLIENT_GONE_NS	(24 * 3600 * NS_PER_S) /* not seen for so long: forgotten */
#define CHANGES_MAX	256

/* A serve or client record to write. Lists are small: found by comparing. */
struct change {
	bool client, monitor, gone;
	struct piv_serve serve;
	struct piv_client seen;
	struct piv_monitor who;
};

struct piv {
	uint32_t magic;
	struct env *env;
	struct piv_opts o;
	char name[PIV_NAME_MAX + 1], address[PIV_TEXT_MAX + 1];
	struct bdev *bdev; /* in use */
	bool on_backup, failing;
	bool inherited; /* what an earlier incarnation left is known: from now on we know better */
	uint64_t left_seq;
	struct piv_left left;
	struct piv_log log;
	struct piv_head head;
	struct change *changes;
	unsigned nchanges;
	uint64_t changed, stable; /* changes counted: made, and the last that is on the volume */
	bool overflow; /* more changes than are kept one by one: the next write is a checkpoint */
	struct task_mutex lock;
	bool running, stop;
	struct waitq wake, ended;
};

/* ---- the payloads ---- */

static void payload_changes(struct piv *p, struct piv_payload *out)
{
	piv_payload_member(out, &p->head);
	for (unsigned i = 0; i < p->nchanges; i++) {
		const struct change *c = &p->changes[i];
		if (c->monitor)
			piv_payload_monitor(out, &p->head, &c->who, c->gone);
		else if (c->client)
			piv_payload_client(out, &p->head, &c->seen, c->gone);
		else
			piv_payload_serve(out, &p->head, &c->serve, c->gone);
	}
}

static int later_seen(const void *a, const void *b)
{
	const struct piv_client *x = a, *y = b;
	return x->last_ns > y->last_ns ? -1 : x->last_ns < y->last_ns;
}

/* A small volume keeps fewer clients: the least lately seen go, an eighth at a time, until the
 * checkpoint fits. */
static int checkpoint_write(struct piv *p)
{
	int rc;
	do {
		struct piv_payload out = {0};
		piv_payload_checkpoint(&out, &p->head);
		rc = out.failed ? -ENOMEM : piv_log_checkpoint(&p->log, out.data, out.len);
		piv_payload_free(&out);
		if (rc != -ENOSPC || !p->head.nclients)
			break;
		qsort(p->head.clients, p->head.nclients, sizeof(*p->head.clients), later_seen);
		p->head.nclients -= (p->head.nclients + 7) / 8;
	} while (true);
	return rc;
}

/* Changes made while a write waits stay for the next one. */
static void changes_drop(struct piv *p, unsigned sent)
{
	memmove(p->changes, p->changes + sent, (p->nchanges - sent) * sizeof(*p->changes));
	p->nchanges -= sent;
}

/* One frame to the volume in use; stable when there was more than a heartbeat or `stable`. */
static int write_once(struct piv *p, bool stable)
{
	struct piv_payload out = {0};
	unsigned sent = p->nchanges;
	uint64_t changed = p->changed;
	bool whole = p->overflow;
	int rc;
	p->head.time_ns = env_realtime_ns(p->env);
	FAULT("piv.before_write");
	payload_changes(p, &out);
	p->overflow = false;
	if (out.failed)
		rc = -ENOMEM;
	else if (whole || !piv_log_fits(&p->log, out.len))
		rc = checkpoint_write(p);
	else
		rc = piv_log_append(&p->log, out.data, out.len);
	if (rc == 0 && (stable || sent || whole))
		rc = bdev_flush(p->bdev);
	FAULT("piv.after_write");
	piv_payload_free(&out);
	if (rc) {
		p->overflow = true; /* what was sent must be sent again: all of it */
		return rc;
	}
	p->head.seq = p->log.seq;
	changes_drop(p, sent);
	if (stable || sent || whole)
		p->stable = changed;
	return 0;
}

/* ---- volumes and slots ---- */

static int slot_take(struct piv *p, struct bdev *b, const struct piv_header *h, unsigned *ret)
{
	struct piv_claim c = {.instance = p->o.instance};
	struct piv_area a = piv_slots(h);
	strcpy(c.name, p->name);
	return piv_claim_take(p->env, b, &a, &c, ret);
}

/* A blank volume becomes what `from` is. -ENODATA: that holds nothing of the group. */
static int volume_fill(struct piv *p, struct bdev *b, struct bdev *from, struct piv_header *h)
{
	struct piv_claim self = {.instance = p->o.instance};
	int rc = from ? piv_header_read(from, h) : -ENODEV;
	if (rc == -ENODEV || rc == -ENOSPC || rc == -ERR_CORRUPT ||
	    (rc == 0 && h->group_id != p->o.group_id))
		return -ENODATA;
	if (rc)
		return rc;
	strcpy(self.name, p->name);
	rc = piv_fill(p->env, &self, from, b, h);
	if (rc == 0)
		event_write(LOG_L_NOTICE, "piv.filled",
			    "the new processor-information volume %s was filled from %s", b->name,
			    from->name);
	return rc == -EEXIST ? piv_header_read(b, h) : rc;
}

/* The header of a volume; a blank one is made, from `from` where that holds the group's state. */
static int volume_prepare(struct piv *p, struct bdev *b, struct bdev *from, struct piv_header *h)
{
	int rc = piv_header_read(b, h);
	if (rc == -ENODATA) {
		rc = volume_fill(p, b, from, h);
		/* One that cannot be filled now is not to hide what the other has. */
		if (rc == -ENODATA)
			return piv_format(b, p->o.group_id, h);
	}
	if (rc)
		return rc;
	return h->group_id == p->o.group_id ? 0 : -ERR_FOREIGN;
}

/* What an earlier incarnation of this head left there is kept: its clients. */
static void slot_inherit(struct piv *p, struct piv_head *old)
{
	for (unsigned i = 0; i < old->nclients; i++)
		piv_head_client(&p->head, old->clients[i].address, old->clients[i].export_path,
				old->clients[i].first_ns, old->clients[i].last_ns, false);
	for (unsigned i = 0; i < old->nmonitors && !p->inherited; i++)
		piv_head_monitor(&p->head, old->monitors[i].name, old->monitors[i].address, false);
	p->head.nsm_state = MAX(p->head.nsm_state, old->nsm_state);
	if (!p->inherited && old->seq >= p->left_seq) {
		p->left_seq = old->seq;
		p->left.main_id = old->main_id;
	}
}

/* Makes b the volume in use: header, slot, checkpoint. */
static int volume_use(struct piv *p, struct bdev *b, struct bdev *from)
{
	struct piv_log log = {.bdev = b};
	struct piv_head old = {0};
	int rc = volume_prepare(p, b, from, &log.header);
	if (rc == 0)
		rc = slot_take(p, b, &log.header, &log.slot);
	if (rc) /* without header and slot nothing may be written */
		return rc;
	rc = piv_log_load(&log, &old);
	if (rc == -ERR_CORRUPT || rc == -ERR_VERSION) {
		/* Damaged beyond its checksums: our own slot is written anew. */
		p->left.damaged |= !p->inherited;
		rc = 0;
	}
	if (rc == 0) {
		struct bdev *was = p->bdev;
		struct piv_log was_log = p->log;
		unsigned sent = p->nchanges;
		uint64_t changed = p->changed;
		slot_inherit(p, &old);
		/* Never behind what was written elsewhere: readers take the higher number. */
		log.seq = MAX(log.seq, p->head.seq);
		p->log = log;
		p->bdev = b;
		p->head.time_ns = env_realtime_ns(p->env);
		p->overflow = false;
		rc = checkpoint_write(p);
		if (rc) {
			p->bdev = was;
			p->log = was_log;
			p->overflow = true;
		} else {
			p->head.seq = p->log.seq;
			p->stable = changed;
			changes_drop(p, sent);
		}
	}
	piv_head_clear(&old);
	return rc;
}

static void in_use(struct piv *p, struct bdev *b)
{
	p->on_backup = b == p->o.backup;
	if (p->o.moved)
		p->o.moved(p->o.arg);
}

/* The volume in use failed: the other one. */
static int fail_over(struct piv *p, int why)
{
	struct bdev *to = p->on_backup ? p->o.main : p->o.backup;
	struct bdev *was = p->bdev;
	if (!to)
		return why;
	int rc = p->o.leaving && to == p->o.backup ? p->o.leaving(p->o.arg) : 0;
	if (rc == 0)
		rc = volume_use(p, to, NULL);
	if (rc)
		return why;
	in_use(p, to);
	event_write(LOG_L_WARN, p->on_backup ? "piv.backup_in_use" : "piv.main_in_use",
		    "head %s cannot use %s (%s) and goes on with %s", p->name,
		    was ? was->name : "its volume", err_text(why), to->name);
	return 0;
}

int piv_leave(struct piv *p, bool backup, int why)
{
	CHECK(p, PIV_MAGIC);
	task_mutex_lock(&p->lock);
	int rc = p->on_backup == backup ? fail_over(p, why) : 0;
	task_mutex_unlock(&p->lock);
	return rc;
}

/* With the lock, so that nothing is promised in between. */
static int return_locked(struct piv *p, int (*settled)(void *arg), void *arg)
{
	struct bdev *from = p->bdev;
	int rc = volume_use(p, p->o.main, p->o.backup);
	if (rc)
		return rc;
	p->on_backup = false;
	rc = settled(arg);
	if (rc == 0) {
		in_use(p, p->o.main);
		event_write(LOG_L_NOTICE, "piv.main_in_use", "head %s uses %s again", p->name,
			    p->o.main->name);
		return 0;
	}
	if (volume_use(p, from, NULL))
		in_use(p, p->o.main); /* it cannot be undone either */
	else
		p->on_backup = true;
	return rc;
}

/* Filling takes its time: heartbeats go on. */
int piv_prepare_main(struct piv *p)
{
	CHECK(p, PIV_MAGIC);
	struct piv_header h;
	return p->o.main ? volume_prepare(p, p->o.main, p->o.backup, &h) : -ENODEV;
}

int piv_return(struct piv *p, int (*settled)(void *arg), void *arg)
{
	CHECK(p, PIV_MAGIC);
	int rc = piv_prepare_main(p);
	if (rc)
		return rc;
	task_mutex_lock(&p->lock);
	rc = p->on_backup ? return_locked(p, settled, arg) : 0;
	task_mutex_unlock(&p->lock);
	return rc;
}

int piv_set_main(struct piv *p, struct bdev *main, uint64_t id)
{
	CHECK(p, PIV_MAGIC);
	task_mutex_lock(&p->lock);
	int rc = p->on_backup ? 0 : -EBUSY;
	if (rc == 0) {
		p->o.main = main;
		p->head.main_id = id;
	}
	task_mutex_unlock(&p->lock);
	return rc;
}

void piv_get_left(const struct piv *p, struct piv_left *ret)
{
	*ret = p->left;
}

static int write_state(struct piv *p, bool stable)
{
	CHECK(p, PIV_MAGIC);
	uint64_t want = p->changed;
	task_mutex_lock(&p->lock);
	/* The one before took ours along. */
	if (stable && p->stable >= want) {
		task_mutex_unlock(&p->lock);
		return 0;
	}
	int rc = write_once(p, stable);
	if (rc == -ERR_EPOCH_STALE) {
		task_mutex_unlock(&p->lock);
		return rc; /* fenced: another writes for us now */
	}
	if (rc)
		rc = fail_over(p, rc);
	if (rc && !p->failing)
		event_write(LOG_L_ERROR, "piv.unusable",
			    "head %s can write its state to neither volume: %s", p->name,
			    err_text(rc));
	p->failing = rc;
	task_mutex_unlock(&p->lock);
	return rc;
}

int piv_tick(struct piv *p)
{
	return write_state(p, false);
}

int piv_sync(struct piv *p)
{
	return write_state(p, true);
}

bool piv_on_backup(const struct piv *p)
{
	return p->on_backup;
}

/* ---- changes ---- */

static void change_add(struct piv *p, const struct change *c)
{
	p->changed++;
	if (p->nchanges < CHANGES_MAX)
		p->changes[p->nchanges++] = *c;
	else
		p->overflow = true;
}

void piv_set_state(struct piv *p, const char *state)
{
	CHECK(p, PIV_MAGIC);
	snprintf(p->head.state, sizeof(p->head.state), "%s", state);
	p->changed++;
}

void piv_serves(struct piv *p, const char *fs, const char *export_path, bool gone)
{
	CHECK(p, PIV_MAGIC);
	struct change c = {.gone = gone};
	snprintf(c.serve.fs, sizeof(c.serve.fs), "%s", fs);
	snprintf(c.serve.export_path, sizeof(c.serve.export_path), "%s", export_path);
	if (piv_head_serve(&p->head, fs, export_path, gone) == 0)
		change_add(p, &c);
}

void piv_client_seen(struct piv *p, const char *address, const char *export_path)
{
	CHECK(p, PIV_MAGIC);
	uint64_t now = env_realtime_ns(p->env);
	struct piv_client *k = NULL;
	for (unsigned i = 0; i < p->head.nclients && !k; i++)
		if (strcmp(p->head.clients[i].address, address) == 0 &&
		    strcmp(p->head.clients[i].export_path, export_path) == 0)
			k = &p->head.clients[i];
	if (k && now - k->last_ns < CLIENT_WRITE_NS)
		return;
	struct change c = {.client = true};
	snprintf(c.seen.address, sizeof(c.seen.address), "%s", address);
	snprintf(c.seen.export_path, sizeof(c.seen.export_path), "%s", export_path);
	c.seen.first_ns = k ? k->first_ns : now;
	c.seen.last_ns = now;
	if (piv_head_client(&p->head, address, export_path, c.seen.first_ns, now, false) == 0)
		change_add(p, &c);
}

/* A checkpoint has to fit into a half of the slot, with what is served and room for frames. */
static size_t monitor_room(const struct piv *p)
{
	return (size_t)piv_half_blocks(&p->log.header) * PIV_BLOCK / 4 * 3;
}

int piv_monitor(struct piv *p, const char *name, const char *address, bool gone)
{
	CHECK(p, PIV_MAGIC);
	struct change c = {.monitor = true, .gone = gone};
	snprintf(c.who.name, sizeof(c.who.name), "%s", name);
	snprintf(c.who.address, sizeof(c.who.address), "%s", address);
	unsigned had = p->head.nmonitors;
	int rc = piv_head_monitor(&p->head, name, address, gone);
	/* Those that are kept stay, also when the volume in use has less room than the one before.
	 */
	if (rc == 0 && p->head.nmonitors > had && p->head.monitor_bytes > monitor_room(p)) {
		piv_head_monitor(&p->head, name, address, true);
		rc = -ENOSPC;
	}
	if (rc == 0)
		change_add(p, &c);
	return rc;
}

void piv_set_nsm_state(struct piv *p, uint32_t state)
{
	CHECK(p, PIV_MAGIC);
	p->head.nsm_state = state;
	p->changed++;
}

uint32_t piv_nsm_state(const struct piv *p)
{
	return p->head.nsm_state;
}

const struct piv_monitor *piv_monitors(const struct piv *p, unsigned *ret_n)
{
	*ret_n = p->head.nmonitors;
	return p->head.monitors;
}

static void clients_forget(struct piv *p)
{
	uint64_t now = env_realtime_ns(p->env);
	for (unsigned i = p->head.nclients; i-- > 0;) {
		struct change c = {.client = true, .gone = true, .seen = p->head.clients[i]};
		if (now < c.seen.last_ns || now - c.seen.last_ns < CLIENT_GONE_NS)
			continue;
		p->head.clients[i] = p->head.clients[--p->head.nclients];
		change_add(p, &c);
	}
}

/* ---- life ---- */

static void heartbeat(void *arg)
{
	struct piv *p = arg;
	while (!p->stop) {
		clients_forget(p);
		write_state(p, false);
		if (!p->stop)
			env_waitq_wait(p->env, &p->wake, PIV_HEARTBEAT_NS);
	}
	p->running = false;
	waitq_wake_all(&p->ended);
}

static void piv_free(struct piv *p)
{
	piv_head_clear(&p->head);
	free(p->changes);
	p->magic = 0;
	free(p);
}

static int piv_alloc(struct piv **ret, const struct piv_opts *o)
{
	if (!*o->head || strlen(o->head) > PIV_NAME_MAX)
		return -EINVAL;
	struct piv *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->changes = calloc(CHANGES_MAX, sizeof(*p->changes));
	if (!p->changes) {
		free(p);
		return -ENOMEM;
	}
	p->magic = PIV_MAGIC;
	p->env = o->env;
	p->o = *o;
	strcpy(p->name, o->head);
	snprintf(p->address, sizeof(p->address), "%s", o->address ? o->address : "");
	strcpy(p->head.name, p->name);
	strcpy(p->head.address, p->address);
	strcpy(p->head.state, "joining");
	p->head.instance = o->instance;
	p->head.lease_ns = PIV_LEASE_NS;
	p->head.main_id = o->main_id;
	task_mutex_init(&p->lock);
	waitq_init(&p->wake);
	waitq_init(&p->ended);
	*ret = p;
	return 0;
}

/* What a volume holds of ours: the backup may hold newer state than the main volume, as it was in
 * use when we ended, and a main volume that takes no writes any more is left with what it holds. */
static int inherit_from(struct piv *p, struct bdev *b)
{
	struct piv_state *s;
	struct piv_header h;
	int rc = b ? piv_header_read(b, &h) : -ENODEV;
	if (rc || piv_state_read(NULL, b, &s))
		return rc;
	for (unsigned i = 0; i < s->count; i++) {
		if (strcmp(s->heads[i].name, p->name))
			continue;
		slot_inherit(p, &s->heads[i]);
		p->head.seq = MAX(p->head.seq, s->heads[i].seq);
	}
	piv_state_free(s);
	return 0;
}

int piv_open(struct piv **ret, const struct piv_opts *o)
{
	struct piv *p;
	int rc = piv_alloc(&p, o);
	if (rc)
		return rc;
	p->left.backup_rc = inherit_from(p, o->backup);
	p->left.main_rc = inherit_from(p, o->main);
	rc = o->main ? volume_use(p, o->main, o->backup) : -ENODEV;
	if (rc == -ERR_EPOCH_STALE) {
		piv_free(p);
		return rc;
	}
	if (rc)
		rc = fail_over(p, rc);
	if (rc) {
		piv_free(p);
		return rc;
	}
	p->inherited = true;
	*ret = p;
	return 0;
}

int piv_start(struct piv *p)
{
	CHECK(p, PIV_MAGIC);
	int rc = task_start(heartbeat, p);
	p->running = rc == 0;
	return rc;
}

static void piv_end(struct piv *p)
{
	p->stop = true;
	waitq_wake_all(&p->wake);
	while (p->running)
		waitq_wait(&p->ended);
	piv_free(p);
}

void piv_close(struct piv *p)
{
	if (!p)
		return;
	CHECK(p, PIV_MAGIC);
	for (unsigned i = p->head.nserves; i-- > 0;) {
		struct piv_serve s = p->head.serves[i];
		piv_serves(p, s.fs, s.export_path, true);
	}
	piv_set_state(p, "leaving");
	write_state(p, true);
	piv_end(p);
}

void piv_abandon(struct piv *p)
{
	if (!p)
		return;
	CHECK(p, PIV_MAGIC);
	piv_end(p);
}
