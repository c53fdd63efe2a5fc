/*
 * What task management does to logical units (SAM-5 7): resets bring the default
 * mode parameters back, and nexuses learn of it by unit attentions.
 * Tasks themselves are the transport's; it is told whose to abort.
 */
#include <errno.h>
#include "runtime/err.h"
#include "server/scsi/forward.h"

struct affected {
	struct scsi_nexus *by;
	uint32_t ua;
	bool reset;
	void (*abort_others)(struct scsi_nexus *, const uint8_t[8], bool tas, void *);
	void *arg;
};

static void tmf_tell_nexus(struct scsi_nexus *n, const struct scsi_lu *lu, bool tas,
			   const struct affected *a)
{
	uint8_t lun[8];
	struct scsi_view *v = nexus_view(n);
	for (unsigned i = 0; i < v->n; i++) {
		if (v->luns[i].lu != lu)
			continue;
		lun_format(lun, v->luns[i].number);
		if (a->abort_others && n != a->by)
			a->abort_others(n, lun, tas, a->arg);
		nexus_ua_set(n, v->luns[i].number, a->ua);
	}
	view_put(v);
}

static void tmf_apply(struct scsi_lu *lu, const struct affected *a)
{
	struct scsi_registry *r = a->by->registry;
	struct scsi_nexus *n;
	bool tas = lu->tas; /* a reset ends it */
	if (a->reset)
		lu_reset(lu);
	pthread_mutex_lock(&r->lock);
	if (a->reset) {
		reservation_reset(r, lu);
		removal_reset(r, lu);
		lu_changed_locked(r, lu);
	}
	TAILQ_FOREACH (n, &r->nexuses, link)
		if (n != a->by || a->reset) /* SAM-5 6.3.3: a reset is told to every nexus */
			tmf_tell_nexus(n, lu, tas, a);
	pthread_mutex_unlock(&r->lock);
}

/* At the controller that owns the unit. 0; -ERR_NOT_OWNER: a proxy's, and it is not this one. */
static int tmf_do(struct scsi_itl *l, enum scsi_tmf what, const struct affected *a)
{
	struct forward *f = a->by->registry->forward;
	struct volume *v = f ? lu_volume(l->lu) : NULL;
	if (v && core_volume_place(v) != CORE_HERE) {
		uint8_t lun[8];
		lun_format(lun, l->number);
		int rc =
		    a->by->proxy
			? -ERR_NOT_OWNER
			: forward_tmf(f, a->by, l->lu, lun,
				      what == SCSI_TMF_TARGET_RESET ? SCSI_TMF_LU_RESET : what);
		if (rc != FORWARD_HERE)
			return rc;
	}
	tmf_apply(l->lu, a);
	return 0;
}

int scsi_task_management(struct scsi_nexus *n, const uint8_t lun[8], enum scsi_tmf what,
			 void (*abort_others)(struct scsi_nexus *other, const uint8_t lun[8],
					      bool tas, void *arg),
			 void *arg)
{
	CHECK(n, SCSI_NEXUS_MAGIC);
	bool reset = what != SCSI_TMF_CLEAR_TASK_SET;
	struct affected a = {.by = n,
			     .ua = reset ? UA_RESET : UA_CLEARED,
			     .reset = reset,
			     .abort_others = abort_others,
			     .arg = arg};
	struct scsi_view *v = nexus_view(n);
	int err = 0;
	if (what == SCSI_TMF_TARGET_RESET) {
		for (unsigned i = 0; i < v->n; i++) {
			int rc = tmf_do(&v->luns[i], what, &a);
			err = err ? err : rc;
		}
	} else {
		uint32_t number;
		struct scsi_itl *l = lun_parse(lun, &number) ? view_find(v, number) : NULL;
		err = l ? tmf_do(l, what, &a) : -ENOENT;
	}
	view_put(v);
	return err;
}
