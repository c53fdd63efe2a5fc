/*
 * Unit attentions (SAM-5 5.14): one queue an I_T_L nexus, kept in the view's entry.
 *
 * A kind is never queued twice, so a queue is bounded by the number of kinds. What
 * tells of a power on or reset goes first (SAM-5 5.3.3), the rest in the order it came; a
 * power on makes all that was queued before pointless. Queues change under the nexus lock;
 * that one is empty is seen without it.
 */
#include "server/scsi/forward.h"

static const struct {
	uint8_t asc, ascq;
} ua_codes[] = {
    {0x29, 0x00}, {0x29, 0x03}, {0x2f, 0x00}, {0x3f, 0x0e}, {0x3f, 0x03}, {0x2a, 0x09},
    {0x2a, 0x01}, {0x2a, 0x03}, {0x2a, 0x04}, {0x2a, 0x05}, {0x2a, 0x06}, {0x2c, 0x09},
    {0x2c, 0x0a}, {0x2c, 0x0b}, {0x28, 0x00}, {0x3f, 0x05}, {0x2a, 0x02}, {0x29, 0x07},
};
_Static_assert(ARRAY_LEN(ua_codes) == UA_KINDS, "a code for each kind");

/* ---- one queue; nexus lock ---- */

void itl_ua_add(struct scsi_itl *l, uint32_t uas)
{
	if (uas & UA_POWER_ON) {
		l->nqueue = 0;
		l->ua = UA_POWER_ON;
		return;
	}
	for (uint32_t new = uas & ~l->ua; new; new &= new - 1)
		l->queue[l->nqueue++] = (uint8_t)__builtin_ctz(new);
	atomic_fetch_or(&l->ua, uas);
}

void itl_ua_copy(struct scsi_itl *l, const struct scsi_itl *from)
{
	memcpy(l->queue, from->queue, sizeof(l->queue));
	l->nqueue = from->nqueue;
	l->ua = from->ua;
}

static void itl_ua_remove(struct scsi_itl *l, uint32_t uas)
{
	unsigned n = 0;
	for (unsigned i = 0; i < l->nqueue; i++)
		if (!(uas >> l->queue[i] & 1))
			l->queue[n++] = l->queue[i];
	l->nqueue = (uint8_t)n;
	atomic_fetch_and(&l->ua, ~uas);
}

/* The number of the kind that is reported next; there is one. */
static unsigned itl_ua_first(const struct scsi_itl *l)
{
	uint32_t resets = l->ua & UA_RESETS;
	return resets ? (unsigned)__builtin_ctz(resets) : l->queue[0];
}

/* ---- of nexuses ---- */

void nexus_ua_set(struct scsi_nexus *n, uint32_t lun, uint32_t uas)
{
	if (__builtin_expect(n->proxy != NULL, 0)) { /* its front has the queue */
		forward_tell(n->registry->forward, n->proxy, lun, uas);
		return;
	}
	pthread_mutex_lock(&n->lock);
	struct scsi_itl *l = view_find(n->view, lun);
	if (l)
		itl_ua_add(l, uas);
	pthread_mutex_unlock(&n->lock);
}

static bool ua_report(struct scsi_nexus *n, uint32_t lun, bool keep, uint8_t *ret_asc,
		      uint8_t *ret_ascq)
{
	pthread_mutex_lock(&n->lock);
	struct scsi_itl *l = view_find(n->view, lun);
	bool any = l && l->ua;
	if (any) {
		unsigned kind = itl_ua_first(l);
		*ret_asc = ua_codes[kind].asc;
		*ret_ascq = ua_codes[kind].ascq;
		if (!keep)
			itl_ua_remove(l, 1u << kind);
	}
	pthread_mutex_unlock(&n->lock);
	return any;
}

bool nexus_ua_take(struct scsi_nexus *n, uint32_t lun, uint8_t *ret_asc, uint8_t *ret_ascq)
{
	return ua_report(n, lun, false, ret_asc, ret_ascq);
}

bool nexus_ua_look(struct scsi_nexus *n, uint32_t lun, uint8_t *ret_asc, uint8_t *ret_ascq)
{
	return ua_report(n, lun, true, ret_asc, ret_ascq);
}

void nexus_ua_drop(struct scsi_nexus *n, uint32_t lun, uint32_t uas)
{
	pthread_mutex_lock(&n->lock);
	struct scsi_itl *l = view_find(n->view, lun);
	if (l)
		itl_ua_remove(l, uas);
	pthread_mutex_unlock(&n->lock);
}

void nexus_ua_luns_told(struct scsi_nexus *n)
{
	pthread_mutex_lock(&n->lock);
	for (unsigned i = 0; i < n->view->n; i++)
		itl_ua_remove(&n->view->luns[i], UA_LUNS_CHANGED);
	pthread_mutex_unlock(&n->lock);
}

void itl_watch_size(struct scsi_nexus *n, struct scsi_itl *l)
{
	struct volume *v = lu_volume(l->lu);
	if (!v || __builtin_expect(n->proxy != NULL, 0))
		return;
	uint64_t size = volume_size(v), told = l->size;
	if (__builtin_expect(size == told, 1))
		return;
	/* one of two commands that notice queues it; a LUN whose volume was missing has told none
	 */
	if (atomic_compare_exchange_strong(&l->size, &told, size) && told)
		nexus_ua_set(n, l->number, UA_CAPACITY);
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
		for (unsigned i = 0; i < n->view->n; i++) {
			struct scsi_itl *l = &n->view->luns[i];
			if (l->lu == lu && n->proxy)
				forward_tell(r->forward, n->proxy, l->number, uas);
			else if (l->lu == lu)
				itl_ua_add(l, uas);
		}
		pthread_mutex_unlock(&n->lock);
	}
	pthread_mutex_unlock(&r->lock);
}
