/* Verbs lun.reservations and lun.release: what holds initiators off a LUN, and its end by force. */
#include <errno.h>
#include <stdio.h>
#include "runtime/log.h"
#include "runtime/task.h"
#include "server/scsi/persistent.h"
#include "server/scsi/scsi_admin.h"

static const char *const type_names[META_TYPE_MAX + 1] = {
    [0] = "none",
    [1] = "write exclusive",
    [3] = "exclusive access",
    [5] = "write exclusive, registrants only",
    [6] = "exclusive access, registrants only",
    [7] = "write exclusive, all registrants",
    [8] = "exclusive access, all registrants",
};

/* 0 and a reference, or the error, which is set. */
static int lu_of_call(struct admin_call *c, struct scsi_registry *r, struct one_lun *ret_which,
		      struct scsi_lu **ret)
{
	int err = arg_one_lun(c, ret_which);
	if (err)
		return err;
	const struct target_lun *l = registry_lun(r, ret_which->target, ret_which->lun);
	if (!l)
		return admin_error(c, -ENOENT, "`isthmus lun list` shows LUNs",
				   "there is no LUN %u of %.200s", ret_which->lun,
				   ret_which->target);
	*ret = lu_get(l->lu);
	return 0;
}

/* ---- reservations ---- */

static void put_isid(struct admin_call *c, const Isthmus__Registration *g)
{
	const uint8_t *i = g->isid.data;
	if (g->isid.len == 6)
		admin_put_text(c, "isid", "%02x%02x%02x%02x%02x%02x", i[0], i[1], i[2], i[3], i[4],
			       i[5]);
	else
		admin_put_text(c, "isid", "any");
}

static void put_keys(struct admin_call *c, const Isthmus__Reservation *v)
{
	admin_table(c, "keys", false);
	for (size_t i = 0; v && i < v->n_registrations; i++) {
		const Isthmus__Registration *g = v->registrations[i];
		admin_row(c);
		admin_put_text(c, "key", "0x%016llx", (unsigned long long)g->key);
		admin_put_text(c, "initiator", "%s", g->initiator);
		put_isid(c, g);
		admin_put_text(c, "target", "%s", g->target);
		admin_put_flag(c, "holder", pr_holds(v, g));
	}
}

int admin_lun_reservations(struct admin_call *c, void *arg)
{
	struct scsi_registry *r = arg;
	struct one_lun which;
	struct scsi_lu *lu;
	int err = lu_of_call(c, r, &which, &lu);
	if (err)
		return err;
	struct pr_copy *p = pr_copy_get(r, lu->volume_id);
	const Isthmus__Reservation *v = p ? p->pb : NULL;
	const Isthmus__Volume *vol = meta_volume(meta_get(core_meta(r->core)), lu->volume_id);
	char by[224] = "";
	pthread_mutex_lock(&r->lock);
	if (lu->reserved_by)
		text_copy(by, lu->reserved_by->initiator, sizeof(by));
	pthread_mutex_unlock(&r->lock);

	admin_table(c, "reservation", true);
	admin_row(c);
	admin_put_text(c, "volume", "%s", vol ? vol->name : "?");
	admin_put_text(c, "type", "%s", type_names[v ? v->type : 0]);
	admin_put_flag(c, "aptpl", v && v->aptpl);
	admin_put_number(c, "generation", v ? v->generation : 0);
	admin_put_text(c, "reserved_by", "%s", by);
	put_keys(c, v);
	pr_copy_put(p);
	lu_put(lu);
	return 0;
}

/* ---- release ---- */

struct forced {
	struct scsi_registry *r;
	uint32_t volume_id;
	size_t keys;
	uint32_t type;
	struct pr_doing doing;
};

static int change_release(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct forced *f = arg;
	Isthmus__Reservation *v = meta_reservation(am, f->volume_id);
	if (!v)
		return -ECANCELED;
	v = pr_record(f->r, am, f->volume_id);
	f->keys = v->n_registrations;
	f->type = v->type;
	if (!f->keys)
		return -ECANCELED;
	if (!pr_clear(v))
		return -ENOMEM;
	pr_changed(f->r, v, &f->doing);
	return 0;
}

/* The nexus is told as if it had been preempted. True: there was one. */
static bool release_legacy(struct scsi_registry *r, struct scsi_lu *lu)
{
	pthread_mutex_lock(&r->lock);
	struct scsi_nexus *by = lu->reserved_by;
	struct scsi_itl *l = by ? view_find_lu(by->view, lu) : NULL;
	reservation_reset(r, lu);
	if (l)
		nexus_ua_set(by, l->number, UA_RES_PREEMPTED);
	pthread_mutex_unlock(&r->lock);
	return by;
}

int admin_lun_release(struct admin_call *c, void *arg)
{
	struct scsi_registry *r = arg;
	struct one_lun which;
	char why[WHY_SIZE] = "";
	struct scsi_lu *lu;
	int err = lu_of_call(c, r, &which, &lu);
	if (err)
		return err;
	struct forced f = {.r = r, .volume_id = lu->volume_id, .doing.task = task_self()};
	err = meta_update(core_meta(r->core), change_release, &f, why);
	pr_done(r, &f.doing);
	bool legacy = (!err || err == -ECANCELED) && release_legacy(r, lu);
	lu_put(lu);
	if (err && err != -ECANCELED)
		return admin_error(c, err, NULL, "%s", why);
	if (!err || legacy)
		event_write(LOG_L_WARN, "lun.released",
			    "LUN %u of %s: %zu reservation keys and a reservation of type \"%s\"%s "
			    "were dropped by the admin",
			    which.lun, which.target, f.keys, type_names[f.type],
			    legacy ? " and a RESERVE" : "");
	admin_table(c, "released", true);
	admin_row(c);
	admin_put_number(c, "keys", f.keys);
	admin_put_text(c, "type", "%s", type_names[f.type]);
	admin_put_flag(c, "reserve", legacy);
	return 0;
}
