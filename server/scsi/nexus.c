/*
 * I_T nexuses: what one initiator port sees of one target, and its unit attentions.
 *
 * The view (LUN numbers -> logical units) is replaced whole when the metadata
 * changes; a command keeps the view it started with until it is released, so a
 * LUN that is taken away stays usable for the commands that run on it.
 *
 * What is pending for a nexus (attention.c; at its begin away.c) and what reservations refuse it
 * (reservation.c) goes from the old view into the new one.
 */
#include <errno.h>
#include <stdlib.h>
#include "server/scsi/forward.h"

/* ---- views ---- */

struct scsi_view *view_new(unsigned max)
{
	struct scsi_view *v = calloc(1, sizeof(*v) + max * sizeof(v->luns[0]));
	if (v)
		v->refs = 1;
	return v;
}

void view_add(struct scsi_view *v, uint32_t number, struct scsi_lu *lu, bool read_only)
{
	struct scsi_itl *l = &v->luns[v->n++];
	l->number = number;
	l->read_only = read_only;
	l->lu = lu_get(lu);
	struct volume *vol = lu_volume(lu);
	l->size = vol ? volume_size(vol) : 0;
}

static int itl_compare(const void *a, const void *b)
{
	const struct scsi_itl *x = a, *y = b;
	return x->number < y->number ? -1 : x->number > y->number;
}

void view_sort(struct scsi_view *v)
{
	qsort(v->luns, v->n, sizeof(v->luns[0]), itl_compare);
}

void view_put(struct scsi_view *v)
{
	if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < v->n; i++)
		lu_put(v->luns[i].lu);
	free(v);
}

struct scsi_itl *view_find(struct scsi_view *v, uint32_t number)
{
	/* LUNs are mostly numbered without gaps */
	if (number < v->n && v->luns[number].number == number)
		return &v->luns[number];
	unsigned lo = 0, hi = v->n;
	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;
		if (v->luns[mid].number == number)
			return &v->luns[mid];
		if (v->luns[mid].number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

struct scsi_itl *view_find_lu(struct scsi_view *v, const struct scsi_lu *lu)
{
	for (unsigned i = 0; i < v->n; i++)
		if (v->luns[i].lu == lu)
			return &v->luns[i];
	return NULL;
}

/* ---- nexuses ---- */

int nexus_make(struct scsi_nexus **ret, struct scsi_target *t, const char *initiator,
	       const uint8_t isid[6], uint16_t group, struct proxy *proxy)
{
	CHECK(t, SCSI_TARGET_MAGIC);
	struct scsi_registry *r = t->registry;
	struct scsi_nexus *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->magic = SCSI_NEXUS_MAGIC;
	n->registry = r;
	n->proxy = proxy;
	n->number = r->forward ? atomic_fetch_add(&r->forward->next_id, 1) + 1 : 0;
	n->tpgt = group;
	text_copy(n->target, t->iqn, sizeof(n->target));
	text_copy(n->initiator, initiator, sizeof(n->initiator));
	memcpy(n->isid, isid, 6);
	pthread_mutex_init(&n->lock, NULL);

	int err = registry_add_nexus(r, n);
	if (err) {
		pthread_mutex_destroy(&n->lock);
		free(n);
		return err;
	}
	*ret = n;
	return 0;
}

int scsi_nexus_new(struct scsi_nexus **ret, struct scsi_target *t, const char *initiator,
		   const uint8_t isid[6], uint16_t group)
{
	int err = nexus_make(ret, t, initiator, isid, group, NULL);
	if (!err && t->registry->forward)
		forward_nexus_new(t->registry->forward, *ret);
	return err;
}

bool scsi_nexus_abort(struct scsi_nexus *n, const uint8_t lun[8], bool tas, void (*done)(void *arg),
		      void *arg)
{
	struct scsi_registry *r = n->registry;
	if (n->proxy)
		return forward_end(r->forward, n->proxy, lun, tas, done, arg);
	return r->abort && n->transport && r->abort(n->transport, lun, tas, done, arg);
}

void scsi_nexus_free(struct scsi_nexus *n)
{
	if (!n)
		return;
	CHECK(n, SCSI_NEXUS_MAGIC);
	struct scsi_registry *r = n->registry;
	pthread_mutex_lock(&r->lock);
	TAILQ_REMOVE(&r->nexuses, n, link);
	reservation_nexus_gone(n);
	if (!n->proxy)
		away_left(r, n);
	pthread_mutex_unlock(&r->lock);
	if (r->forward && !n->proxy)
		forward_nexus_gone(r->forward, n);
	view_put(n->view);
	pthread_mutex_destroy(&n->lock);
	n->magic = 0;
	free(n->echo);
	free(n);
}

void scsi_nexus_set_transport(struct scsi_nexus *n, void *transport)
{
	n->transport = transport;
}

void *scsi_nexus_transport(const struct scsi_nexus *n)
{
	return n->transport;
}

void scsi_nexus_set_gone(struct scsi_nexus *n, void (*gone)(void *transport))
{
	pthread_mutex_lock(&n->registry->lock);
	n->gone = gone;
	pthread_mutex_unlock(&n->registry->lock);
}

struct scsi_view *nexus_view(struct scsi_nexus *n)
{
	pthread_mutex_lock(&n->lock);
	struct scsi_view *v = n->view;
	atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
	pthread_mutex_unlock(&n->lock);
	return v;
}

bool scsi_lun_exists(struct scsi_nexus *n, const uint8_t lun[8])
{
	uint32_t number;
	if (!lun_parse(lun, &number))
		return false;
	struct scsi_view *v = nexus_view(n);
	bool there = view_find(v, number) != NULL;
	view_put(v);
	return there;
}

/* Carries over what was pending; true when a LUN came or went. */
static bool view_carry_over(struct scsi_view *was, struct scsi_view *now)
{
	bool luns_changed = was->n != now->n;
	for (unsigned i = 0; i < now->n; i++) {
		struct scsi_itl *l = &now->luns[i], *old = view_find(was, l->number);
		if (!old) {
			itl_ua_add(l, UA_POWER_ON);
			luns_changed = true;
			continue;
		}
		itl_ua_copy(l, old);
		if (old->lu != l->lu) {
			itl_ua_add(l, UA_INQUIRY | UA_CAPACITY);
			continue;
		}
		l->size = old->size;
		l->prevents = old->prevents;
		if (old->read_only != l->read_only) /* WP in the mode parameter header */
			itl_ua_add(l, UA_MODE);
	}
	return luns_changed;
}

/* The front of a proxy sees the same change, and tells of it. */
static void view_carry_over_proxy(struct scsi_view *was, struct scsi_view *now)
{
	for (unsigned i = 0; was && i < now->n; i++) {
		struct scsi_itl *l = &now->luns[i], *old = view_find(was, l->number);
		if (old && old->lu == l->lu)
			l->prevents = old->prevents;
	}
}

void nexus_view_replace(struct scsi_nexus *n, struct scsi_view *v)
{
	reservation_view_fill(n, v);
	pthread_mutex_lock(&n->lock);
	struct scsi_view *was = n->view;
	if (n->proxy) {
		view_carry_over_proxy(was, v);
	} else if (!was) { /* it begins */
		away_back(n->registry, n, v);
	} else if (view_carry_over(was, v)) {
		for (unsigned i = 0; i < v->n; i++)
			if (!(v->luns[i].ua & UA_POWER_ON))
				itl_ua_add(&v->luns[i], UA_LUNS_CHANGED);
	}
	n->view = v;
	pthread_mutex_unlock(&n->lock);
	if (was)
		reservation_view_left(n, was);
	view_put(was);
}
