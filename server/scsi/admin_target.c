/* Verbs target.create, list, set and remove. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include "server/scsi/scsi_admin.h"

#define TPGT_DEFAULT 1

struct target_change {
	char iqn[SCSI_NAME_MAX + 1];
	bool has_open, open, has_discovery, discovery;
	struct chap_args chap, mutual;
};

static int target_args(struct admin_call *c, struct target_change *x)
{
	int err;
	memset(x, 0, sizeof(*x));
	if ((err = arg_name(c, "iqn", x->iqn)))
		return err;
	if ((err = arg_yes_no(c, "open", &x->open)) == -EINVAL)
		return err;
	x->has_open = !err;
	if ((err = arg_yes_no(c, "discovery", &x->discovery)) == -EINVAL)
		return err;
	x->has_discovery = !err;
	if ((err = arg_chap(c, "chap-user", "chap-secret", &x->chap)))
		return err;
	return arg_chap(c, "mutual-user", "mutual-secret", &x->mutual);
}

static int target_apply(const Isthmus__ArrayMeta *am, Isthmus__Target *t,
			const struct target_change *x, char *why)
{
	if (x->has_open)
		t->open = x->open;
	if (x->has_discovery)
		t->discovery_open = x->discovery;
	if (chap_apply(&x->chap, &t->chap_user, &t->chap_secret) ||
	    chap_apply(&x->mutual, &t->mutual_user, &t->mutual_secret))
		return -ENOMEM;
	return chap_check(am, t, why);
}

static int change_create(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct target_change *x = arg;
	if (meta_target(am, x->iqn)) {
		snprintf(why, WHY_SIZE, "there is a target %s already", x->iqn);
		return -EEXIST;
	}
	Isthmus__Target *t = malloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	isthmus__target__init(t);
	t->tpgt = TPGT_DEFAULT;
	if (pb_set_text(&t->iqn, x->iqn) || pb_append(&am->targets, &am->n_targets, t)) {
		isthmus__target__free_unpacked(t, NULL);
		return -ENOMEM;
	}
	return target_apply(am, t, x, why);
}

int admin_target_create(struct admin_call *c, void *arg)
{
	struct target_change x;
	int err = target_args(c, &x);
	return err ? err : admin_change(c, arg, change_create, &x, NULL);
}

static int change_set(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct target_change *x = arg;
	Isthmus__Target *t = meta_target(am, x->iqn);
	return t ? target_apply(am, t, x, why) : no_such_target(why, x->iqn);
}

int admin_target_set(struct admin_call *c, void *arg)
{
	struct target_change x;
	int err = target_args(c, &x);
	return err ? err
		   : admin_change(c, arg, change_set, &x, "`isthmus target list` shows targets");
}

static int change_remove(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const char *iqn = arg;
	Isthmus__Target *t = meta_target(am, iqn);
	if (!t)
		return no_such_target(why, iqn);
	for (size_t i = 0; i < am->n_targets; i++)
		if (am->targets[i] == t)
			pb_remove(&am->targets, &am->n_targets, i);
	isthmus__target__free_unpacked(t, NULL);
	for (size_t i = am->n_initiators; i-- > 0;) {
		Isthmus__Initiator *e = am->initiators[i];
		if (strcasecmp(e->target, iqn))
			continue;
		pb_remove(&am->initiators, &am->n_initiators, i);
		isthmus__initiator__free_unpacked(e, NULL);
	}
	return 0;
}

int admin_target_remove(struct admin_call *c, void *arg)
{
	struct scsi_registry *r = arg;
	char iqn[SCSI_NAME_MAX + 1];
	int err = arg_name(c, "iqn", iqn);
	if (err)
		return err;
	unsigned sessions = registry_sessions(r, iqn, NULL);
	if (sessions && !admin_arg_flag(c, "force"))
		return admin_error(
		    c, -EBUSY, "log initiators out, or add --force: their sessions end",
		    "%u session%s on %s", sessions, sessions == 1 ? " is" : "s are", iqn);
	return admin_change(c, r, change_remove, iqn, "`isthmus target list` shows targets");
}

static const char *chap_kind(const Isthmus__Target *t)
{
	if (t->mutual_user[0])
		return "mutual";
	return t->chap_user[0] ? "one-way" : "none";
}

int admin_target_list(struct admin_call *c, void *arg)
{
	struct scsi_registry *r = arg;
	const Isthmus__ArrayMeta *am = meta_get(core_meta(r->core));
	admin_table(c, "targets", false);
	for (size_t i = 0; i < am->n_targets; i++) {
		const Isthmus__Target *t = am->targets[i];
		unsigned initiators = 0;
		for (size_t k = 0; k < am->n_initiators; k++)
			initiators += !strcasecmp(am->initiators[k]->target, t->iqn);
		admin_row(c);
		admin_put_text(c, "iqn", "%s", t->iqn);
		admin_put_number(c, "tpgt", t->tpgt);
		admin_put_number(c, "luns", t->n_luns);
		admin_put_number(c, "initiators", initiators);
		admin_put_number(c, "sessions", registry_sessions(r, t->iqn, NULL));
		admin_put_flag(c, "open", t->open);
		admin_put_flag(c, "discovery", t->discovery_open);
		admin_put_text(c, "chap", "%s", chap_kind(t));
	}
	return 0;
}
