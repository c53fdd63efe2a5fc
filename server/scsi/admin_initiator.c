/* Verbs initiator.add, list, set and remove: who may see a target, and what of it. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include "server/scsi/scsi_admin.h"

#define MAPS_MAX 1024 /* of one initiator */

struct initiator_change {
	char target[SCSI_NAME_MAX + 1], iqn[SCSI_NAME_MAX + 1];
	struct chap_args chap;
	bool all;		 /* the mask ends */
	struct target_map *maps; /* malloc'd */
	unsigned nmaps;
};

static bool map_number(const char **s, uint32_t *ret)
{
	uint32_t v = 0;
	const char *p = *s;
	if (!isdigit((unsigned char)*p))
		return false;
	for (; isdigit((unsigned char)*p); p++)
		if ((v = v * 10 + (uint32_t)(*p - '0')) > SCSI_LUN_MAX)
			return false;
	*s = p;
	*ret = v;
	return true;
}

/* "N", "SEEN=N", either with ":ro". */
static bool map_parse(const char *s, struct target_map *ret)
{
	struct target_map m = {0};
	if (!map_number(&s, &m.lun))
		return false;
	m.target_lun = m.lun;
	if (*s == '=' && (s++, !map_number(&s, &m.target_lun)))
		return false;
	if (!strcmp(s, ":ro"))
		m.read_only = true;
	else if (*s)
		return false;
	*ret = m;
	return true;
}

static int initiator_args(struct admin_call *c, struct initiator_change *x)
{
	int err;
	const char *s;
	memset(x, 0, sizeof(*x));
	if ((err = arg_name(c, "target", x->target)) || (err = arg_name(c, "iqn", x->iqn)) ||
	    (err = arg_chap(c, "chap-user", "chap-secret", &x->chap)))
		return err;
	x->maps = calloc(MAPS_MAX, sizeof(x->maps[0]));
	if (!x->maps)
		return -ENOMEM;
	for (unsigned i = 0; (s = admin_arg_list(c, "lun", i)); i++) {
		if (i == 0 && !strcasecmp(s, "all") && !admin_arg_list(c, "lun", 1)) {
			x->all = true;
			break;
		}
		if (i == MAPS_MAX)
			return admin_error(c, -E2BIG, NULL, "lun: at most %d are mapped", MAPS_MAX);
		if (!map_parse(s, &x->maps[i]))
			return admin_error(c, -EINVAL, "write N, SEEN=N or SEEN=N:ro; or all",
					   "lun: `%.64s` maps no LUN of 0 to %d", s, SCSI_LUN_MAX);
		for (unsigned k = 0; k < i; k++)
			if (x->maps[k].lun == x->maps[i].lun)
				return admin_error(c, -EINVAL, NULL, "lun: %u is given twice",
						   x->maps[i].lun);
		x->nmaps = i + 1;
	}
	return 0;
}

static int maps_apply(const Isthmus__Target *t, Isthmus__Initiator *e,
		      const struct initiator_change *x, char *why)
{
	while (e->n_luns) {
		Isthmus__LunMap *m = e->luns[e->n_luns - 1];
		pb_remove(&e->luns, &e->n_luns, e->n_luns - 1);
		isthmus__lun_map__free_unpacked(m, NULL);
	}
	for (unsigned i = 0; i < x->nmaps; i++) {
		if (!meta_lun(t, x->maps[i].target_lun)) {
			snprintf(why, WHY_SIZE, "the target has no LUN %u", x->maps[i].target_lun);
			return -ENOENT;
		}
		Isthmus__LunMap *m = malloc(sizeof(*m));
		if (!m)
			return -ENOMEM;
		isthmus__lun_map__init(m);
		m->lun = x->maps[i].lun;
		m->target_lun = x->maps[i].target_lun;
		m->read_only = x->maps[i].read_only;
		if (pb_append(&e->luns, &e->n_luns, m)) {
			free(m);
			return -ENOMEM;
		}
	}
	return 0;
}

static int initiator_apply(const Isthmus__ArrayMeta *am, const Isthmus__Target *t,
			   Isthmus__Initiator *e, const struct initiator_change *x, char *why)
{
	int err = x->nmaps || x->all ? maps_apply(t, e, x, why) : 0;
	if (!err)
		err = chap_apply(&x->chap, &e->chap_user, &e->chap_secret);
	return err ? err : chap_check(am, t, why);
}

static int change_add(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct initiator_change *x = arg;
	Isthmus__Target *t = meta_target(am, x->target);
	if (!t)
		return no_such_target(why, x->target);
	if (meta_initiator(am, x->target, x->iqn)) {
		snprintf(why, WHY_SIZE, "%.223s is admitted already", x->iqn);
		return -EEXIST;
	}
	Isthmus__Initiator *e = malloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	isthmus__initiator__init(e);
	if (pb_set_text(&e->iqn, x->iqn) || pb_set_text(&e->target, t->iqn) ||
	    pb_append(&am->initiators, &am->n_initiators, e)) {
		isthmus__initiator__free_unpacked(e, NULL);
		return -ENOMEM;
	}
	return initiator_apply(am, t, e, x, why);
}

static int not_admitted(char *why, const struct initiator_change *x)
{
	snprintf(why, WHY_SIZE, "%.223s is not admitted to this target", x->iqn);
	return -ENOENT;
}

static int change_set(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct initiator_change *x = arg;
	Isthmus__Target *t = meta_target(am, x->target);
	if (!t)
		return no_such_target(why, x->target);
	Isthmus__Initiator *e = meta_initiator(am, x->target, x->iqn);
	return e ? initiator_apply(am, t, e, x, why) : not_admitted(why, x);
}

static int change_remove(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct initiator_change *x = arg;
	Isthmus__Target *t = meta_target(am, x->target);
	if (!t)
		return no_such_target(why, x->target);
	Isthmus__Initiator *e = meta_initiator(am, x->target, x->iqn);
	if (!e)
		return not_admitted(why, x);
	for (size_t i = 0; i < am->n_initiators; i++)
		if (am->initiators[i] == e)
			pb_remove(&am->initiators, &am->n_initiators, i);
	isthmus__initiator__free_unpacked(e, NULL);
	return chap_check(am, t, why);
}

static int initiator_verb(struct admin_call *c, void *arg,
			  int (*change)(Isthmus__ArrayMeta *am, void *arg, char *why),
			  const char *remedy)
{
	struct initiator_change x;
	int err = initiator_args(c, &x);
	if (!err)
		err = admin_change(c, arg, change, &x, remedy);
	free(x.maps);
	return err;
}

int admin_initiator_add(struct admin_call *c, void *arg)
{
	return initiator_verb(c, arg, change_add,
			      "`isthmus initiator set` changes one that is admitted");
}

int admin_initiator_set(struct admin_call *c, void *arg)
{
	return initiator_verb(c, arg, change_set, "`isthmus initiator list` shows who is admitted");
}

int admin_initiator_remove(struct admin_call *c, void *arg)
{
	return initiator_verb(c, arg, change_remove,
			      "`isthmus initiator list` shows who is admitted");
}

static void put_maps(struct admin_call *c, const Isthmus__Initiator *e)
{
	char text[512] = "all";
	size_t n = 0;
	for (size_t i = 0; i < e->n_luns && n < sizeof(text) - 32; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%u=%u%s", i ? "," : "",
				      e->luns[i]->lun, e->luns[i]->target_lun,
				      e->luns[i]->read_only ? ":ro" : "");
	if (n >= sizeof(text) - 32)
		snprintf(text + n, sizeof(text) - n, ",...");
	admin_put_text(c, "luns", "%s", text);
}

int admin_initiator_list(struct admin_call *c, void *arg)
{
	struct scsi_registry *r = arg;
	const Isthmus__ArrayMeta *am = meta_get(core_meta(r->core));
	const char *only;
	int err = arg_target_filter(c, r, &only);
	if (err)
		return err;
	admin_table(c, "initiators", false);
	for (size_t i = 0; i < am->n_initiators; i++) {
		const Isthmus__Initiator *e = am->initiators[i];
		if (only && strcasecmp(only, e->target))
			continue;
		admin_row(c);
		admin_put_text(c, "target", "%s", e->target);
		admin_put_text(c, "iqn", "%s", e->iqn);
		put_maps(c, e);
		admin_put_text(c, "chap", "%s", e->chap_user[0] ? e->chap_user : "as the target");
		admin_put_number(c, "sessions", registry_sessions(r, e->target, e->iqn));
	}
	return 0;
}
