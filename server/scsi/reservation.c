/*
 * What reservations allow each I_T_L nexus, and the RESERVE and RELEASE commands of
 * SPC-2. Persistent reservations (persistent.h) are only enforced here.
 *
 * Every entry of a view carries what is refused to its nexus (itl_res), so a command
 * looks at one byte. The bytes are made anew, with the registry lock, whenever a
 * reservation, a nexus or its view changes.
 *
 * A RESERVE belongs to a session: it is over when the session ends, the logical unit is
 * reset, or the LUN is taken from the nexus. It lives in memory only.
 */
#include "server/scsi/persistent.h"

/* ---- enforcement ---- */

/* SBC-3 4.17 table 15: START with no power condition, and allowing removal, matter to nobody. */
static bool cdb_harmless(const uint8_t *cdb)
{
	if (cdb[0] == 0x1b)
		return (cdb[4] & 0xf1) == 0x01;
	return !(cdb[4] & 0x03); /* PREVENT ALLOW MEDIUM REMOVAL */
}

static bool res_refuses(unsigned res, const struct scsi_cmd *c, const struct scsi_op *op)
{
	if (__builtin_expect(!(res & (RES_NO_READ | RES_NO_WRITE | RES_LEGACY)), 1))
		return false;
	bool harmless = (op->flags & OP_RES_CDB) && cdb_harmless(c->cdb);
	if ((res & RES_LEGACY) && !(op->flags & OP_LEGACY_OK) && !harmless)
		return true;
	if ((op->flags & OP_RES_FREE) || harmless)
		return false;
	return res & (op->flags & OP_RES_READ ? RES_NO_READ : RES_NO_WRITE);
}

bool reservation_conflicts(const struct scsi_cmd *c, const struct scsi_op *op)
{
	return res_refuses(atomic_load_explicit(&c->itl->res, memory_order_acquire), c, op);
}

bool reservation_refuses_now(struct scsi_cmd *c)
{
	struct scsi_view *v = nexus_view(c->nexus);
	const struct scsi_itl *l = view_find_lu(v, c->lu);
	bool refuses = !l || res_refuses(atomic_load(&l->res), c, c->op);
	view_put(v);
	return refuses;
}

/* ---- what a nexus may; registry lock ---- */

/* Types of persistent reservation, and what those who do not hold it are refused. */
static uint8_t refused(const Isthmus__Reservation *v, const Isthmus__Registration *g)
{
	bool read_too = v->type == 3 || v->type == 6 || v->type == 8; /* exclusive access */
	bool shared = meta_type_registrants(v->type);
	if (!v->type || (g && (shared || pr_holds(v, g))))
		return 0;
	return RES_NO_WRITE | (read_too ? RES_NO_READ : 0);
}

static uint8_t rights(const struct scsi_nexus *n, const struct scsi_lu *lu)
{
	const struct scsi_nexus *by = lu->reserved_by;
	const Isthmus__Reservation *v = pr_look(n->registry, lu->volume_id);
	uint8_t res = by && by != n ? RES_LEGACY : 0;
	if (!v || !v->n_registrations)
		return res;
	struct pr_port p = pr_port_of(n);
	const Isthmus__Registration *g = pr_find(v, &p);
	return res | RES_REGISTRANTS | (g ? RES_REGISTERED : 0) | refused(v, g);
}

void reservation_refresh(const struct scsi_nexus *n, struct scsi_itl *l)
{
	l->res = rights(n, l->lu);
}

static void refresh_lu(struct scsi_registry *r, const struct scsi_lu *lu)
{
	struct scsi_nexus *n;
	TAILQ_FOREACH (n, &r->nexuses, link)
		for (unsigned i = 0; i < n->view->n; i++)
			if (n->view->luns[i].lu == lu)
				reservation_refresh(n, &n->view->luns[i]);
}

static void legacy_set(struct scsi_registry *r, struct scsi_lu *lu, struct scsi_nexus *by)
{
	lu->reserved_by = by;
	refresh_lu(r, lu);
	lu_changed_locked(r, lu);
}

static void legacy_release(struct scsi_registry *r, struct scsi_lu *lu)
{
	legacy_set(r, lu, NULL);
}

void reservation_set(struct scsi_registry *r, struct scsi_lu *lu, struct scsi_nexus *by)
{
	if (lu->reserved_by == by)
		return;
	lu->reserved_by = by;
	refresh_lu(r, lu);
}

void reservation_nexus_gone(struct scsi_nexus *n)
{
	for (unsigned i = 0; i < n->view->n; i++)
		if (n->view->luns[i].lu->reserved_by == n)
			legacy_release(n->registry, n->view->luns[i].lu);
}

void reservation_view_fill(const struct scsi_nexus *n, struct scsi_view *v)
{
	for (unsigned i = 0; i < v->n; i++)
		reservation_refresh(n, &v->luns[i]);
}

void reservation_view_left(struct scsi_nexus *n, struct scsi_view *was)
{
	for (unsigned i = 0; i < was->n; i++) {
		struct scsi_lu *lu = was->luns[i].lu;
		if (lu->reserved_by == n && !view_find_lu(n->view, lu))
			legacy_release(n->registry, lu);
	}
}

void reservation_reset(struct scsi_registry *r, struct scsi_lu *lu)
{
	if (lu->reserved_by)
		legacy_release(r, lu);
}

/* ---- RESERVE and RELEASE (SPC-2 7.21 to 7.24) ---- */

/* SPC-4 5.12.3: beside persistent reservations the commands change nothing; registrants are told
 * GOOD, others conflict (CRH). False: the command has ended. */
static bool legacy_applies(struct scsi_cmd *c)
{
	unsigned res = c->itl->res;
	if (!(res & RES_REGISTRANTS))
		return true;
	cmd_status(c, res & RES_REGISTERED ? SCSI_GOOD : SCSI_RESERVATION_CONFLICT);
	return false;
}

enum scsi_next op_reserve(struct scsi_cmd *c)
{
	struct scsi_registry *r = c->nexus->registry;
	pthread_mutex_lock(&r->lock);
	struct scsi_nexus *by = c->lu->reserved_by;
	if (legacy_applies(c)) {
		cmd_status(c, by && by != c->nexus ? SCSI_RESERVATION_CONFLICT : SCSI_GOOD);
		/* a LUN that was taken away meanwhile would never be released */
		if (!by && view_find_lu(c->nexus->view, c->lu))
			legacy_set(r, c->lu, c->nexus);
	}
	pthread_mutex_unlock(&r->lock);
	return SCSI_DONE;
}

enum scsi_next op_release(struct scsi_cmd *c)
{
	struct scsi_registry *r = c->nexus->registry;
	pthread_mutex_lock(&r->lock);
	if (legacy_applies(c)) {
		if (c->lu->reserved_by == c->nexus)
			legacy_release(r, c->lu);
		cmd_good(c);
	}
	pthread_mutex_unlock(&r->lock);
	return SCSI_DONE;
}
