/*
 * I_T nexuses: what one initiator port sees of one target, and its unit attentions.
 *
 * The view (LUN numbers -> logical units) is replaced whole when the metadata
 * changes; a command keeps the view it started with until it is released, so a
 * LUN that is taken away stays usable for the commands that run on it.
 *
 * Unit attentions (SAM-5 5.14) are bits in the view's entries, so none is ever
 * queued twice, and the lowest bit is reported first. They are set and taken under
 * the nexus lock; that there are none is seen without it.
 */
#include <errno.h>
#include <stdlib.h>
#include "server/scsi/scsi_priv.h"

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

int scsi_nexus_new(struct scsi_nexus **ret, struct scsi_target *t, const char *initiator,
		   const uint8_t isid[6])
{
	CHECK(t, SCSI_TARGET_MAGIC);
	struct scsi_registry *r = t->registry;
	struct scsi_nexus *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->magic = SCSI_NEXUS_MAGIC;
	n->registry = r;
	n->tpgt = t->tpgt;
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

void scsi_nexus_free(struct scsi_nexus *n)
{
	if (!n)
		return;
	CHECK(n, SCSI_NEXUS_MAGIC);
	struct scsi_registry *r = n->registry;
	pthread_mutex_lock(&r->lock);
	TAILQ_REMOVE(&r->nexuses, n, link);
	pthread_mutex_unlock(&r->lock);
	view_put(n->view);
	pthread_mutex_destroy(&n->lock);
	n->magic = 0;
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

/* ---- unit attentions ---- */

static const struct {
	uint8_t asc, ascq;
} ua_codes[] = {{0x29, 0x00}, {0x29, 0x03}, {0x2f, 0x00}, {0x3f, 0x0e},
		{0x3f, 0x03}, {0x2a, 0x09}, {0x2a, 0x01}};

void nexus_ua_set(struct scsi_nexus *n, uint32_t lun, uint32_t uas)
{
	pthread_mutex_lock(&n->lock);
	struct scsi_itl *l = view_find(n->view, lun);
	if (l)
		atomic_fetch_or(&l->ua, uas);
	pthread_mutex_unlock(&n->lock);
}

void itl_watch_size(struct scsi_nexus *n, struct scsi_itl *l)
{
	struct volume *v = lu_volume(l->lu);
	if (!v)
		return;
	uint64_t size = volume_size(v), told = l->size;
	if (__builtin_expect(size == told, 1))
		return;
	/* one of two commands that notice queues it; a LUN whose volume was missing has told none
	 */
	if (atomic_compare_exchange_strong(&l->size, &told, size) && told)
		nexus_ua_set(n, l->number, UA_CAPACITY);
}

bool nexus_ua_take(struct scsi_nexus *n, uint32_t lun, uint8_t *ret_asc, uint8_t *ret_ascq)
{
	bool taken = false;
	pthread_mutex_lock(&n->lock);
	struct scsi_itl *l = view_find(n->view, lun);
	if (l && l->ua) {
		unsigned bit = (unsigned)__builtin_ctz(l->ua);
		ASSERT(bit < ARRAY_LEN(ua_codes));
		*ret_asc = ua_codes[bit].asc;
		*ret_ascq = ua_codes[bit].ascq;
		atomic_fetch_and(&l->ua, ~(1u << bit));
		taken = true;
	}
	pthread_mutex_unlock(&n->lock);
	return taken;
}

void nexus_ua_luns_told(struct scsi_nexus *n)
{
	pthread_mutex_lock(&n->lock);
	for (unsigned i = 0; i < n->view->n; i++)
		atomic_fetch_and(&n->view->luns[i].ua, ~(uint32_t)UA_LUNS_CHANGED);
	pthread_mutex_unlock(&n->lock);
}

/* Carries over what was pending; true when a LUN came or went. */
static bool view_carry_over(struct scsi_view *was, struct scsi_view *now)
{
	bool luns_changed = was->n != now->n;
	for (unsigned i = 0; i < now->n; i++) {
		struct scsi_itl *l = &now->luns[i], *old = view_find(was, l->number);
		if (!old) {
			l->ua = UA_POWER_ON;
			luns_changed = true;
			continue;
		}
		l->ua = old->ua;
		if (old->lu != l->lu) {
			l->ua |= UA_INQUIRY | UA_CAPACITY;
			continue;
		}
		l->size = old->size;
		if (old->read_only != l->read_only) /* WP in the mode parameter header */
			l->ua |= UA_MODE;
	}
	return luns_changed;
}

void nexus_view_replace(struct scsi_nexus *n, struct scsi_view *v)
{
	pthread_mutex_lock(&n->lock);
	struct scsi_view *was = n->view;
	if (!was) { /* a new nexus */
		for (unsigned i = 0; i < v->n; i++)
			v->luns[i].ua = UA_POWER_ON;
	} else if (view_carry_over(was, v)) {
		for (unsigned i = 0; i < v->n; i++)
			if (!(v->luns[i].ua & UA_POWER_ON))
				v->luns[i].ua |= UA_LUNS_CHANGED;
	}
	n->view = v;
	pthread_mutex_unlock(&n->lock);
	view_put(was);
}

void registry_ua_others(struct scsi_registry *r, const struct scsi_nexus *not_this,
			const struct scsi_lu *lu, uint32_t uas)
{
	struct scsi_nexus *n;
	pthread_mutex_lock(&r->lock);
	TAILQ_FOREACH (n, &r->nexuses, link) {
		if (n == not_this)
			continue;
		pthread_mutex_lock(&n->lock);
		for (unsigned i = 0; i < n->view->n; i++)
			if (n->view->luns[i].lu == lu)
				atomic_fetch_or(&n->view->luns[i].ua, uas);
		pthread_mutex_unlock(&n->lock);
	}
	pthread_mutex_unlock(&r->lock);
}
