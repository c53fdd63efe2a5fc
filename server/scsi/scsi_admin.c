/*
 * The admin's verbs for targets, LUNs and initiators: the table, and what the
 * handlers share. They change array metadata; the registry follows by its watch.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include "runtime/err.h"
#include "server/scsi/scsi_admin.h"

static const struct {
	const char *verb;
	admin_handler *handle;
} verbs[] = {
    {"target.create", admin_target_create},
    {"target.list", admin_target_list},
    {"target.set", admin_target_set},
    {"target.remove", admin_target_remove},
    {"lun.add", admin_lun_add},
    {"lun.list", admin_lun_list},
    {"lun.remove", admin_lun_remove},
    {"lun.stats", admin_lun_stats},
    {"lun.latency", admin_lun_latency},
    {"lun.reservations", admin_lun_reservations},
    {"lun.release", admin_lun_release},
    {"lun.set", admin_lun_set},
    {"stats", admin_scsi_stats},
    {"status", admin_scsi_status},
    {"initiator.add", admin_initiator_add},
    {"initiator.list", admin_initiator_list},
    {"initiator.set", admin_initiator_set},
    {"initiator.remove", admin_initiator_remove},
    {"discovery.set", admin_discovery_set},
    {"discovery.show", admin_discovery_show},
};

int scsi_admin_register(struct scsi_registry *r, struct admin_server *a)
{
	for (unsigned i = 0; i < ARRAY_LEN(verbs); i++) {
		int err = admin_register(a, verbs[i].verb, verbs[i].handle, r);
		if (err)
			return err;
	}
	return 0;
}

/* ---- finding ---- */

Isthmus__Target *meta_target(const Isthmus__ArrayMeta *am, const char *iqn)
{
	for (size_t i = 0; i < am->n_targets; i++)
		if (!strcasecmp(am->targets[i]->iqn, iqn))
			return am->targets[i];
	return NULL;
}

Isthmus__Lun *meta_lun(const Isthmus__Target *t, uint32_t number)
{
	for (size_t i = 0; i < t->n_luns; i++)
		if (t->luns[i]->lun == number)
			return t->luns[i];
	return NULL;
}

Isthmus__Volume *meta_volume(const Isthmus__ArrayMeta *am, uint32_t id)
{
	for (size_t i = 0; i < am->n_volumes; i++)
		if (am->volumes[i]->id == id)
			return am->volumes[i];
	return NULL;
}

Isthmus__Initiator *meta_initiator(const Isthmus__ArrayMeta *am, const char *target,
				   const char *iqn)
{
	for (size_t i = 0; i < am->n_initiators; i++)
		if (!strcasecmp(am->initiators[i]->target, target) &&
		    !strcasecmp(am->initiators[i]->iqn, iqn))
			return am->initiators[i];
	return NULL;
}

unsigned registry_sessions(struct scsi_registry *r, const char *target, const char *initiator)
{
	unsigned n = 0;
	struct scsi_nexus *x;
	pthread_mutex_lock(&r->lock);
	TAILQ_FOREACH (x, &r->nexuses, link)
		if (!x->proxy && !strcasecmp(x->target, target) &&
		    (!initiator || !strcasecmp(x->initiator, initiator)))
			n++;
	pthread_mutex_unlock(&r->lock);
	return n;
}

/* ---- changing ---- */

int admin_change(struct admin_call *c, struct scsi_registry *r,
		 int (*change)(Isthmus__ArrayMeta *am, void *arg, char *why), void *arg,
		 const char *remedy)
{
	char why[WHY_SIZE] = "";
	int err = meta_update(core_meta(r->core), change, arg, why);
	if (!err)
		return 0;
	return admin_error(c, err, remedy, "%s", why[0] ? why : err_text(err));
}

int no_such_target(char *why, const char *iqn)
{
	snprintf(why, WHY_SIZE, "there is no target %.223s", iqn);
	return -ENOENT;
}

/* ---- arguments ---- */

int arg_name(struct admin_call *c, const char *arg, char name[SCSI_NAME_MAX + 1])
{
	char why[WHY_SIZE];
	const char *s = admin_arg_text(c, arg);
	if (!s)
		return admin_error(c, -EINVAL, NULL, "%s is missing", arg);
	if (iscsi_name_check(s, name, why))
		return admin_error(c, -EINVAL, "write it like iqn.2026-01.org.example:disk",
				   "%s: %s", arg, why);
	return 0;
}

int arg_target_filter(struct admin_call *c, struct scsi_registry *r, const char **ret)
{
	const char *only = admin_arg_text(c, "target");
	if (only && !meta_target(meta_get(core_meta(r->core)), only))
		return admin_error(c, -ENOENT, "`isthmus target list` shows targets",
				   "there is no target %.223s", only);
	*ret = only;
	return 0;
}

int arg_one_lun(struct admin_call *c, struct one_lun *ret)
{
	uint64_t lun;
	int err = arg_name(c, "target", ret->target);
	if (!err)
		err = admin_arg_u64(c, "lun", &lun);
	if (err == -ENOENT)
		return admin_error(c, -EINVAL, NULL, "lun is missing");
	if (!err && lun > SCSI_LUN_MAX)
		return admin_error(c, -EINVAL, NULL, "lun: numbers are 0 to %d", SCSI_LUN_MAX);
	if (!err)
		ret->lun = (uint32_t)lun;
	return err;
}

int arg_yes_no(struct admin_call *c, const char *arg, bool *ret)
{
	const char *s = admin_arg_text(c, arg);
	if (!s)
		return -ENOENT;
	if (!strcasecmp(s, "yes") || !strcasecmp(s, "true"))
		*ret = true;
	else if (!strcasecmp(s, "no") || !strcasecmp(s, "false"))
		*ret = false;
	else
		return admin_error(c, -EINVAL, "say yes or no", "%s: `%.64s` is neither yes nor no",
				   arg, s);
	return 0;
}

int arg_chap(struct admin_call *c, const char *user_arg, const char *secret_arg,
	     struct chap_args *ret)
{
	char why[WHY_SIZE];
	*ret = (struct chap_args){admin_arg_text(c, user_arg), admin_arg_text(c, secret_arg)};
	if (ret->user && strlen(ret->user) > 255)
		return admin_error(c, -EINVAL, NULL, "%s: a user name has at most 255 bytes",
				   user_arg);
	if (ret->secret && chap_secret_check(ret->secret, why))
		return admin_error(c, -EINVAL, "make one with: openssl rand -hex 16", "%s: %s",
				   secret_arg, why);
	if (ret->user && ret->user[0] && !ret->secret)
		return admin_error(c, -EINVAL, "give the secret too, as @FILE or - to be asked",
				   "%s wants --%s", user_arg, secret_arg);
	if (ret->secret && ret->user && !ret->user[0])
		return admin_error(c, -EINVAL, NULL,
				   "%s is empty, which ends CHAP; --%s is then not wanted",
				   user_arg, secret_arg);
	return 0;
}

int chap_apply(const struct chap_args *a, char **user, char **secret)
{
	int err = 0;
	if (a->user)
		err = pb_set_text(user, a->user);
	if (!err && a->user && !a->user[0])
		err = pb_set_text(secret, "");
	if (!err && a->secret)
		err = pb_set_text(secret, a->secret);
	return err;
}

int chap_check(const Isthmus__ArrayMeta *am, const Isthmus__Target *t, char *why)
{
	const char *wrong = NULL;
	bool any = t->chap_user[0];
	for (size_t i = 0; i < am->n_initiators; i++) {
		const Isthmus__Initiator *e = am->initiators[i];
		if (strcasecmp(e->target, t->iqn))
			continue;
		any |= e->chap_user[0] != 0;
		if (!e->chap_user[0] != !e->chap_secret[0])
			wrong = "a CHAP user and its secret go together";
		if (t->mutual_secret[0] && !strcmp(e->chap_secret, t->mutual_secret))
			wrong = "the secret of an initiator and the target's own must differ";
	}
	if (!t->chap_user[0] != !t->chap_secret[0] || !t->mutual_user[0] != !t->mutual_secret[0])
		wrong = "a CHAP user and its secret go together";
	else if (t->mutual_user[0] && !any)
		wrong = "mutual CHAP needs a user and secret for initiators as well";
	else if (t->mutual_secret[0] && !strcmp(t->chap_secret, t->mutual_secret))
		wrong = "the secrets of the two directions must differ";
	if (!wrong)
		return 0;
	snprintf(why, WHY_SIZE, "%s", wrong);
	return -EINVAL;
}
