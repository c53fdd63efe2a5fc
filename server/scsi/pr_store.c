/*
 * Copies of the persistent reservations in the array metadata, which belongs to one
 * reactor, for commands on every reactor; and what a change means to the nexuses
 * that are logged in.
 *
 * A change is durable before its copy is made, and the copy is there, with every
 * nexus's rights, before the command is answered. A copy never changes.
 *
 * A record without APTPL names the memory it was written into (core_memory_id()): it
 * outlives the controller's process, and is over when that memory is lost. With a partner it may be
 * the partner's memory.
 */
#include <errno.h>
#include <stdlib.h>
#include "blockcore/control/meta.h"
#include "runtime/log.h"
#include "runtime/task.h"
#include "server/scsi/persistent.h"

/* ---- copies ---- */

/* Is what was written into that memory still there? */
static bool memory_there(const struct scsi_registry *r, uint64_t memory)
{
	return memory == core_memory_id(r->core) || (memory && memory == r->partner_memory);
}

static struct pr_copy *copy_new(const struct scsi_registry *r, const Isthmus__Reservation *v)
{
	size_t len = isthmus__reservation__get_packed_size(v);
	uint8_t *b = malloc(len + 1);
	struct pr_copy *p = calloc(1, sizeof(*p));
	if (b && p) {
		isthmus__reservation__pack(v, b);
		p->pb = isthmus__reservation__unpack(NULL, len, b);
	}
	free(b);
	if (!p || !p->pb) {
		free(p);
		return NULL;
	}
	p->refs = 1;
	p->number = v->number;
	if (!memory_there(r, v->memory))
		p->pb->generation = 0; /* SPC-4 5.12.6.1: zero after a power on */
	return p;
}

void pr_copy_put(struct pr_copy *p)
{
	if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	isthmus__reservation__free_unpacked(p->pb, NULL);
	free(p);
}

static int copy_order(const void *a, const void *b)
{
	uint32_t x = (*(struct pr_copy *const *)a)->pb->volume_id;
	uint32_t y = (*(struct pr_copy *const *)b)->pb->volume_id;
	return (x > y) - (x < y);
}

static struct pr_copy *copy_find(struct pr_copy *const *copies, unsigned n, uint32_t volume_id)
{
	unsigned lo = 0, hi = n;
	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;
		uint32_t id = copies[mid]->pb->volume_id;
		if (id == volume_id)
			return copies[mid];
		if (id < volume_id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

const Isthmus__Reservation *pr_look(const struct scsi_registry *r, uint32_t volume_id)
{
	const struct pr_copy *p = copy_find(r->prs, r->nprs, volume_id);
	return p ? p->pb : NULL;
}

struct pr_copy *pr_copy_get(struct scsi_registry *r, uint32_t volume_id)
{
	pthread_mutex_lock(&r->lock);
	struct pr_copy *p = copy_find(r->prs, r->nprs, volume_id);
	if (p)
		atomic_fetch_add(&p->refs, 1);
	pthread_mutex_unlock(&r->lock);
	return p;
}

static void copies_free(struct pr_copy **copies, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		pr_copy_put(copies[i]);
	free(copies);
}

void pr_store_free(struct scsi_registry *r)
{
	copies_free(r->prs, r->nprs);
}

/* ---- what a change means to nexuses; registry lock ---- */

static void aborted(void *arg)
{
	struct pr_doing *d = arg;
	struct task *waiter = d->task; /* d is gone once aborting drops */
	atomic_fetch_sub(&d->aborting, 1);
	task_wake(waiter);
}

static void abort_commands(struct scsi_nexus *n, const struct scsi_itl *l, struct pr_doing *d)
{
	uint8_t lun[8];
	lun_format(lun, l->number);
	if (d)
		atomic_fetch_add(&d->aborting, 1);
	if (!scsi_nexus_abort(n, lun, l->lu->tas, d ? aborted : NULL, d) && d)
		atomic_fetch_sub(&d->aborting, 1);
}

uint32_t pr_loss_ua(const Isthmus__ReservationChange *x)
{
	return !x ? 0 : x->lost == 1 ? UA_REG_PREEMPTED : x->lost == 2 ? UA_RES_PREEMPTED : 0;
}

static void tell_itl(struct scsi_nexus *n, struct scsi_itl *l, const Isthmus__ReservationChange *x,
		     struct pr_doing *d)
{
	bool was = l->res & RES_REGISTERED;
	reservation_refresh(n, l);
	bool is = l->res & RES_REGISTERED;
	struct pr_port p = pr_port_of(n);
	if (!x || !was || (x->by && pr_port_is(x->by, &p)))
		return;
	uint32_t ua = is && x->released ? UA_RES_RELEASED : 0;
	if (!is)
		ua = pr_loss_ua(x);
	pthread_mutex_lock(&n->lock);
	if (!n->proxy) /* its front has the same metadata */
		itl_ua_add(l, ua);
	pthread_mutex_unlock(&n->lock);
	if (!is && x->abort)
		abort_commands(n, l, d);
}

/* v: NULL when the record is gone. */
static void tell_all(struct scsi_registry *r, uint32_t volume_id, const Isthmus__Reservation *v)
{
	struct pr_doing *d = r->doing;
	struct scsi_nexus *n;
	if (d && (!v || d->volume_id != volume_id || d->number != v->number))
		d = NULL;
	TAILQ_FOREACH (n, &r->nexuses, link)
		for (unsigned i = 0; i < n->view->n; i++)
			if (n->view->luns[i].lu->volume_id == volume_id)
				tell_itl(n, &n->view->luns[i], v ? v->last : NULL, d);
}

/* ---- following the metadata ---- */

static int copies_make(struct scsi_registry *r, const Isthmus__ArrayMeta *am, struct pr_copy ***ret,
		       unsigned *ret_n)
{
	struct pr_copy **now = calloc(am->n_reservations + 1, sizeof(now[0]));
	unsigned n = 0;
	if (!now)
		return -ENOMEM;
	for (size_t i = 0; i < am->n_reservations; i++) {
		const Isthmus__Reservation *v = am->reservations[i];
		if (!v->aptpl && !memory_there(r, v->memory))
			continue;
		struct pr_copy *p = copy_find(r->prs, r->nprs, v->volume_id);
		if (p && p->number == v->number)
			atomic_fetch_add(&p->refs, 1);
		else
			p = copy_new(r, v);
		if (!p) {
			copies_free(now, n);
			return -ENOMEM;
		}
		now[n++] = p;
	}
	qsort(now, n, sizeof(now[0]), copy_order);
	*ret = now;
	*ret_n = n;
	return 0;
}

int pr_follow(struct scsi_registry *r, const Isthmus__ArrayMeta *am)
{
	struct pr_copy **was = r->prs, **now; /* only this reactor changes them */
	unsigned nwas = r->nprs, n;
	int err = copies_make(r, am, &now, &n);
	if (err)
		return err;
	pthread_mutex_lock(&r->lock);
	r->prs = now;
	r->nprs = n;
	for (unsigned i = 0; i < n; i++) {
		struct pr_copy *before = copy_find(was, nwas, now[i]->pb->volume_id);
		if (before == now[i])
			continue;
		tell_all(r, now[i]->pb->volume_id, now[i]->pb);
		away_changed(r, before ? before->pb : NULL, now[i]->pb);
	}
	for (unsigned i = 0; i < nwas; i++)
		if (!copy_find(now, n, was[i]->pb->volume_id))
			tell_all(r, was[i]->pb->volume_id, NULL);
	pthread_mutex_unlock(&r->lock);
	copies_free(was, nwas);
	return 0;
}

/* ---- changing a record ---- */

static void record_empty(Isthmus__Reservation *v)
{
	uint32_t volume_id = v->volume_id;
	uint64_t number = v->number;
	for (size_t i = 0; i < v->n_registrations; i++)
		isthmus__registration__free_unpacked(v->registrations[i], NULL);
	free(v->registrations);
	if (v->last)
		isthmus__reservation_change__free_unpacked(v->last, NULL);
	isthmus__reservation__init(v);
	v->volume_id = volume_id;
	v->number = number;
}

Isthmus__Reservation *pr_record(struct scsi_registry *r, Isthmus__ArrayMeta *am, uint32_t volume_id)
{
	uint64_t memory_id = core_memory_id(r->core);
	Isthmus__Reservation *v = meta_reservation(am, volume_id);
	if (v && !memory_there(r, v->memory)) {
		if (!v->aptpl)
			record_empty(v);
		v->generation = 0;
	}
	if (!v && (v = malloc(sizeof(*v)))) {
		isthmus__reservation__init(v);
		v->volume_id = volume_id;
		if (pb_append(&am->reservations, &am->n_reservations, v)) {
			free(v);
			return NULL;
		}
	}
	if (v)
		v->memory = memory_id;
	return v;
}

void pr_changed(struct scsi_registry *r, Isthmus__Reservation *v, struct pr_doing *d)
{
	v->number++;
	d->volume_id = v->volume_id;
	d->number = v->number;
	d->aborting = 0;
	pthread_mutex_lock(&r->lock);
	r->doing = d;
	pthread_mutex_unlock(&r->lock);
}

void pr_done(struct scsi_registry *r, struct pr_doing *d)
{
	pthread_mutex_lock(&r->lock);
	if (r->doing == d)
		r->doing = NULL;
	pthread_mutex_unlock(&r->lock);
	while (atomic_load(&d->aborting))
		task_park();
}
