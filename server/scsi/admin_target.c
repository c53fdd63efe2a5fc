/* Verbs target.create, list, set and remove. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "server/scsi/scsi_admin.h"

#define GROUPS_MAX 64

struct target_change {
	char iqn[SCSI_NAME_MAX + 1];
	bool has_open, open, has_discovery, discovery, has_permanent, permanent;
	struct chap_args chap, mutual;
	const char *redirect; /* NULL: not given */
	bool has_groups;
	uint32_t groups[GROUPS_MAX]; /* none: all */
	unsigned ngroups;
};

/* "all" alone, or tags. */
static int group_args(struct admin_call *c, struct target_change *x)
{
	const char *s;
	for (unsigned i = 0; (s = admin_arg_list(c, "portal-group", i)); i++) {
		char *end;
		unsigned long tag = strtoul(s, &end, 10);
		x->has_groups = true;
		if (i == 0 && !strcasecmp(s, "all") && !admin_arg_list(c, "portal-group", 1))
			return 0;
		if (i == GROUPS_MAX)
			return admin_error(c, -E2BIG, NULL, "portal-group: at most %d", GROUPS_MAX);
		if (s[0] < '0' || s[0] > '9' || *end || tag < 1 || tag > UINT16_MAX)
			return admin_error(c, -EINVAL,
					   "write tags of 1 to 65535 as portals have in the "
					   "configuration; or all",
					   "portal-group: `%.64s` is no tag", s);
		x->groups[x->ngroups++] = (uint32_t)tag;
	}
	return 0;
}

static int redirect_args(struct admin_call *c, struct target_change *x)
{
	int err = arg_yes_no(c, "redirect-permanent", &x->permanent);
	if (err == -EINVAL)
		return err;
	x->has_permanent = !err;
	x->redirect = admin_arg_text(c, "redirect");
	if (x->redirect && x->redirect[0] && !iscsi_address_ok(x->redirect))
		return admin_error(c, -EINVAL,
				   "write ADDRESS or ADDRESS:PORT; IPv6 addresses in brackets",
				   "redirect: `%.64s` is no address", x->redirect);
	return 0;
}

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
	if ((err = group_args(c, x)) || (err = redirect_args(c, x)) ||
	    (err = arg_chap(c, "chap-user", "chap-secret", &x->chap)))
		return err;
	return arg_chap(c, "mutual-user", "mutual-secret", &x->mutual);
}

static int groups_apply(Isthmus__Target *t, const struct target_change *x)
{
	uint32_t *groups = malloc((x->ngroups + 1) * sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	memcpy(groups, x->groups, x->ngroups * sizeof(*groups));
	free(t->portal_groups);
	t->portal_groups = groups;
	t->n_portal_groups = x->ngroups;
	return 0;
}

static int target_apply(const Isthmus__ArrayMeta *am, Isthmus__Target *t,
			const struct target_change *x, char *why)
{
	if (x->has_open)
		t->open = x->open;
	if (x->has_discovery)
		t->discovery_open = x->discovery;
	if (x->has_permanent)
		t->redirect_permanent = x->permanent;
	if ((x->has_groups && groups_apply(t, x)) ||
	    (x->redirect && pb_set_text(&t->redirect, x->redirect)))
		return -ENOMEM;
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

static void put_groups(struct admin_call *c, const Isthmus__Target *t)
{
	char text[GROUPS_MAX * 6 + 8] = "all";
	size_t n = 0;
	for (size_t i = 0; i < t->n_portal_groups && n < sizeof(text) - 8; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%u", i ? "," : "",
				      t->portal_groups[i]);
	admin_put_text(c, "portal_groups", "%s", text);
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
		put_groups(c, t);
		admin_put_number(c, "luns", t->n_luns);
		admin_put_number(c, "initiators", initiators);
		admin_put_number(c, "sessions", registry_sessions(r, t->iqn, NULL));
		admin_put_flag(c, "open", t->open);
		admin_put_flag(c, "discovery", t->discovery_open);
		admin_put_text(c, "chap", "%s", chap_kind(t));
		admin_put_text(c, "redirect", "%s%s", t->redirect,
			       t->redirect[0] && t->redirect_permanent ? " (for good)" : "");
	}
	return 0;
}
