/*
 * A medium that can be taken out (of units configured so): PREVENT ALLOW MEDIUM REMOVAL
 * (SBC-4 5.15), and ejecting and loading by START STOP UNIT (5.31).
 *
 * Each I_T nexus prevents for itself, until it allows, is lost, or the unit is reset; while any
 * does, nobody ejects. What is ejected is there for nobody.
 */
#include "server/scsi/scsi_priv.h"

enum scsi_next op_prevent_allow(struct scsi_cmd *c)
{
	unsigned prevent = c->cdb[4] & 0x03;
	if (prevent > 1) /* obsolete */
		return cmd_bad_cdb(c, 4, 1);
	nexus_prevent(c->nexus, c->itl->number, prevent);
	return cmd_good(c);
}

void nexus_prevent(struct scsi_nexus *n, uint32_t lun, bool prevents)
{
	pthread_mutex_lock(&n->lock);
	struct scsi_itl *l = view_find(n->view, lun);
	if (l)
		l->prevents = prevents;
	pthread_mutex_unlock(&n->lock);
}

void removal_reset(struct scsi_registry *r, const struct scsi_lu *lu)
{
	struct scsi_nexus *n;
	TAILQ_FOREACH (n, &r->nexuses, link) {
		pthread_mutex_lock(&n->lock);
		for (unsigned i = 0; i < n->view->n; i++)
			if (n->view->luns[i].lu == lu)
				n->view->luns[i].prevents = false;
		pthread_mutex_unlock(&n->lock);
	}
}

bool removal_prevented(struct scsi_registry *r, const struct scsi_lu *lu)
{
	struct scsi_nexus *n;
	bool prevented = false;
	pthread_mutex_lock(&r->lock);
	TAILQ_FOREACH (n, &r->nexuses, link) {
		pthread_mutex_lock(&n->lock);
		for (unsigned i = 0; i < n->view->n; i++)
			prevented |= n->view->luns[i].lu == lu && n->view->luns[i].prevents;
		pthread_mutex_unlock(&n->lock);
	}
	pthread_mutex_unlock(&r->lock);
	return prevented;
}

/* What is out stays out, too, while removal is prevented. */
enum scsi_next removal_load(struct scsi_cmd *c)
{
	if ((atomic_load(&c->lu->conditions) & COND_EJECTED) &&
	    removal_prevented(c->nexus->registry, c->lu))
		return cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x53, 0x02);
	if (atomic_fetch_and(&c->lu->conditions, ~COND_EJECTED) & COND_EJECTED)
		registry_ua_others(c->nexus->registry, c->nexus, c->lu, UA_MEDIUM);
	lu_changed(c->nexus->registry, c->lu);
	return cmd_good(c);
}

enum scsi_next removal_eject(struct scsi_cmd *c)
{
	if (removal_prevented(c->nexus->registry, c->lu))
		return cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x53, 0x02);
	atomic_fetch_or(&c->lu->conditions, COND_EJECTED);
	lu_changed(c->nexus->registry, c->lu);
	return cmd_good(c);
}
