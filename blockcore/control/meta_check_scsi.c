/* Validation of array metadata: targets, LUNs, initiators, target ports, reservations. */
#include "blockcore/control/meta_check_impl.h"
#include "blockcore/control/meta.h"
#include "blockcore/control/meta_scsi.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- targets and initiators ---- */

static bool iqn_ok(const char *s)
{
	size_t n = strnlen(s, 224);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] <= ' ' || s[i] == 0x7f)
			return false;
	return n > 0 && n <= 223; /* RFC 7143 4.2.7.2: at most 223 bytes */
}

static int numbers_unique(const struct checker *k, uint32_t *v, size_t n, const char *what,
			  const char *whose)
{
	qsort(v, n, sizeof(*v), meta_u32_order);
	for (size_t i = 0; i < n; i++) {
		if (v[i] > META_LUN_MAX)
			return meta_bad(k, "%s %.80s: LUN %u is above %d", what, whose, v[i],
					META_LUN_MAX);
		if (i && v[i - 1] == v[i])
			return meta_bad(k, "%s %.80s: LUN %u stands there twice", what, whose,
					v[i]);
	}
	return 0;
}

static bool physical_ok(const Isthmus__Lun *l)
{
	uint32_t n = l->physical_size, block = l->block_size ? l->block_size : 512;
	return n == 0 || (n >= block && n <= 4096 && !(n & (n - 1)));
}

static int check_target(const struct checker *k, const Isthmus__Target *t)
{
	if (!iqn_ok(t->iqn))
		return meta_bad(k, "targets.iqn: '%.80s' is not an iSCSI name", t->iqn);
	if (strlen(t->chap_user) > 255 || strlen(t->chap_secret) > 255 ||
	    strlen(t->mutual_user) > 255 || strlen(t->mutual_secret) > 255)
		return meta_bad(k, "target %.80s: a CHAP name or secret is longer than 255",
				t->iqn);
	if (strlen(t->redirect) > META_ADDRESS_MAX)
		return meta_bad(k, "target %.80s: redirect is longer than %d", t->iqn,
				META_ADDRESS_MAX);
	for (size_t i = 0; i < t->n_portal_groups; i++)
		if (t->portal_groups[i] < 1 || t->portal_groups[i] > UINT16_MAX ||
		    i == META_PORTAL_GROUPS)
			return meta_bad(k, "target %.80s: portal group %u", t->iqn,
					t->portal_groups[i]);
	uint32_t *v = meta_array(t->n_luns, sizeof(*v));
	if (!v)
		return -ENOMEM;
	int rc = 0;
	for (size_t i = 0; i < t->n_luns && rc == 0; i++) {
		const Isthmus__Lun *l = t->luns[i];
		v[i] = l->lun;
		if (!meta_volume_known(k, l->volume_id))
			rc = meta_bad(k, "target %.80s: LUN %u: volume %u is not there", t->iqn,
				      l->lun, l->volume_id);
		else if (l->block_size != 0 && l->block_size != 512 && l->block_size != 4096)
			rc = meta_bad(k, "target %.80s: LUN %u: block_size %u", t->iqn, l->lun,
				      l->block_size);
		else if (!physical_ok(l))
			rc = meta_bad(k, "target %.80s: LUN %u: physical_size %u", t->iqn, l->lun,
				      l->physical_size);
		else if (strlen(l->serial) > 64)
			rc = meta_bad(k, "target %.80s: LUN %u: serial is longer than 64", t->iqn,
				      l->lun);
	}
	if (rc == 0)
		rc = numbers_unique(k, v, t->n_luns, "target", t->iqn);
	free(v);
	return rc;
}

static int lun_order(const void *a, const void *b)
{
	const Isthmus__Target *const *x = a, *const *y = b;
	return strcmp((*x)->iqn, (*y)->iqn);
}

static int check_initiator(const struct checker *k, const Isthmus__Initiator *in,
			   const Isthmus__Target *const *sorted)
{
	if (!iqn_ok(in->iqn))
		return meta_bad(k, "initiators.iqn: '%.80s' is not an iSCSI name", in->iqn);
	if (strlen(in->chap_user) > 255 || strlen(in->chap_secret) > 255)
		return meta_bad(k, "initiator %.80s: a CHAP name or secret is longer than 255",
				in->iqn);
	Isthmus__Target key = {.iqn = in->target}, *pkey = &key;
	if (!bsearch(&pkey, sorted, k->am->n_targets, sizeof(*sorted), lun_order))
		return meta_bad(k, "initiator %.80s: target '%.80s' is not there", in->iqn,
				in->target);
	uint32_t *v = meta_array(in->n_luns, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < in->n_luns; i++)
		v[i] = in->luns[i]->lun;
	int rc = numbers_unique(k, v, in->n_luns, "initiator", in->iqn);
	free(v);
	return rc;
}

static int initiator_order(const void *a, const void *b)
{
	const Isthmus__Initiator *const *x = a, *const *y = b;
	int c = strcmp((*x)->iqn, (*y)->iqn);
	return c ? c : strcmp((*x)->target, (*y)->target);
}

static int check_initiators(const struct checker *k, const Isthmus__Target *const *sorted)
{
	const Isthmus__ArrayMeta *am = k->am;
	for (size_t i = 0; i < am->n_initiators; i++) {
		int rc = check_initiator(k, am->initiators[i], sorted);
		if (rc)
			return rc;
	}
	const Isthmus__Initiator **v = meta_array(am->n_initiators, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < am->n_initiators; i++)
		v[i] = am->initiators[i];
	qsort(v, am->n_initiators, sizeof(*v), initiator_order);
	int rc = 0;
	for (size_t i = 1; i < am->n_initiators && rc == 0; i++)
		if (initiator_order(&v[i - 1], &v[i]) == 0)
			rc = meta_bad(k, "initiators: '%.80s' stands there twice for one target",
				      v[i]->iqn);
	free(v);
	return rc;
}

int meta_check_discovery(const struct checker *k)
{
	const Isthmus__DiscoveryAuth *d = k->am->discovery;
	if (d && (strlen(d->chap_user) > 255 || strlen(d->chap_secret) > 255 ||
		  strlen(d->mutual_user) > 255 || strlen(d->mutual_secret) > 255))
		return meta_bad(k, "discovery: a CHAP name or secret is longer than 255");
	return 0;
}

int meta_check_targets(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	const Isthmus__Target **sorted = meta_array(am->n_targets, sizeof(*sorted));
	int rc = sorted ? 0 : -ENOMEM;
	for (size_t i = 0; i < am->n_targets && rc == 0; i++) {
		sorted[i] = am->targets[i];
		rc = check_target(k, am->targets[i]);
	}
	if (rc == 0)
		rc = MEMBERS_UNIQUE(k, am->targets, am->n_targets, Isthmus__Target, iqn,
				    "targets.iqn");
	if (rc == 0) {
		qsort(sorted, am->n_targets, sizeof(*sorted), lun_order);
		rc = check_initiators(k, sorted);
	}
	free(sorted);
	return rc;
}

static int check_portal_groups(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	if (am->n_portal_groups > META_PORTAL_GROUPS)
		return meta_bad(k, "portal_groups: more than %d", META_PORTAL_GROUPS);
	for (size_t i = 0; i < am->n_portal_groups; i++) {
		const Isthmus__PortalGroup *g = am->portal_groups[i];
		if (g->tag < 1 || g->tag > UINT16_MAX)
			return meta_bad(k, "portal_groups.tag: %u", g->tag);
		if (g->controller[0] && !meta_name_ok(g->controller))
			return meta_bad(k, "portal_groups.controller: '%.80s' is not a name",
					g->controller);
		for (size_t m = 0; m < i; m++)
			if (am->portal_groups[m]->tag == g->tag)
				return meta_bad(k, "portal_groups.tag: %u stands there twice",
						g->tag);
	}
	return 0;
}

static bool group_known(const struct checker *k, uint32_t tag)
{
	for (size_t i = 0; i < k->am->n_portal_groups; i++)
		if (k->am->portal_groups[i]->tag == tag)
			return true;
	return false;
}

static int check_target_ports(const struct checker *k, const Isthmus__Target *t, uint32_t *v,
			      size_t *n)
{
	for (size_t i = 0; i < t->n_ports; i++) {
		const Isthmus__TargetPort *p = t->ports[i];
		if (!group_known(k, p->tag) || !meta_target_in_group(t, p->tag))
			return meta_bad(k, "target %.80s: port in portal group %u", t->iqn, p->tag);
		if (p->number == 0 || p->number > UINT16_MAX)
			return meta_bad(k,
					"target %.80s: port %u (an array has at most 65535 targets "
					"times portal groups)",
					t->iqn, p->number);
		for (size_t m = 0; m < i; m++)
			if (t->ports[m]->tag == p->tag)
				return meta_bad(k, "target %.80s: two ports in portal group %u",
						t->iqn, p->tag);
		v[(*n)++] = p->number;
	}
	return 0;
}

int meta_check_ports(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	size_t all = 0, n = 0;
	int rc = check_portal_groups(k);
	if (rc)
		return rc;
	for (size_t i = 0; i < am->n_targets; i++) {
		if (am->targets[i]->n_ports > META_PORTAL_GROUPS)
			return meta_bad(k, "target %.80s: %zu ports", am->targets[i]->iqn,
					am->targets[i]->n_ports);
		all += am->targets[i]->n_ports;
	}
	uint32_t *v = meta_array(all, sizeof(*v));
	rc = v ? 0 : -ENOMEM;
	for (size_t i = 0; i < am->n_targets && rc == 0; i++)
		rc = check_target_ports(k, am->targets[i], v, &n);
	if (rc == 0)
		qsort(v, n, sizeof(*v), meta_u32_order);
	for (size_t i = 1; i < n && rc == 0; i++)
		if (v[i - 1] == v[i])
			rc = meta_bad(k, "targets.ports: %u stands there twice", v[i]);
	free(v);
	return rc;
}

/* ---- reservations ---- */

static int check_registration(const struct checker *k, uint32_t volume,
			      const Isthmus__Registration *g)
{
	if (!iqn_ok(g->initiator) || !iqn_ok(g->target))
		return meta_bad(k,
				"reservation of volume %u: '%.60s' at '%.60s' are not iSCSI names",
				volume, g->initiator, g->target);
	if (g->isid.len != 0 && g->isid.len != 6)
		return meta_bad(k, "reservation of volume %u: isid has %zu bytes", volume,
				g->isid.len);
	if (g->key == 0 || g->tpgt > UINT16_MAX)
		return meta_bad(k, "reservation of volume %u: key or tpgt of %.80s", volume,
				g->initiator);
	return 0;
}

static int registration_order(const void *a, const void *b)
{
	const Isthmus__Registration *x = *(Isthmus__Registration *const *)a;
	const Isthmus__Registration *y = *(Isthmus__Registration *const *)b;
	int c = strcasecmp(x->initiator, y->initiator);
	if (c == 0)
		c = strcasecmp(x->target, y->target);
	if (c == 0)
		c = (x->tpgt > y->tpgt) - (x->tpgt < y->tpgt);
	if (c == 0)
		c = (x->isid.len > y->isid.len) - (x->isid.len < y->isid.len);
	return c || !x->isid.len ? c : memcmp(x->isid.data, y->isid.data, 6);
}

/* A nexus has one key. */
static int nexuses_unique(const struct checker *k, const Isthmus__Reservation *v)
{
	Isthmus__Registration **s = meta_array(v->n_registrations, sizeof(*s));
	if (!s)
		return -ENOMEM;
	if (v->n_registrations)
		memcpy(s, v->registrations, v->n_registrations * sizeof(*s));
	qsort(s, v->n_registrations, sizeof(*s), registration_order);
	int rc = 0;
	for (size_t i = 1; i < v->n_registrations && rc == 0; i++)
		if (registration_order(&s[i - 1], &s[i]) == 0)
			rc = meta_bad(k, "reservation of volume %u: %.80s has two keys",
				      v->volume_id, s[i]->initiator);
	free(s);
	return rc;
}

static int check_reservation(const struct checker *k, const Isthmus__Reservation *v)
{
	unsigned holders = 0;
	if (!meta_volume_known(k, v->volume_id))
		return meta_bad(k, "reservations: volume %u is not there", v->volume_id);
	if (!meta_type_ok(v->type))
		return meta_bad(k, "reservation of volume %u: type %u", v->volume_id, v->type);
	if (v->n_registrations > META_KEYS_VOLUME)
		return meta_bad(k, "reservation of volume %u: %zu registrations, at most %d",
				v->volume_id, v->n_registrations, META_KEYS_VOLUME);
	for (size_t i = 0; i < v->n_registrations; i++) {
		int rc = check_registration(k, v->volume_id, v->registrations[i]);
		if (rc)
			return rc;
		holders += v->registrations[i]->holder;
	}
	bool one = v->type && !meta_type_all(v->type);
	if (holders != one || (v->type && !v->n_registrations))
		return meta_bad(k, "reservation of volume %u: %u holders of type %u", v->volume_id,
				holders, v->type);
	if (v->last && v->last->by &&
	    (v->last->by->isid.len != 6 || strlen(v->last->by->initiator) > 223 ||
	     strlen(v->last->by->target) > 223))
		return meta_bad(k, "reservation of volume %u: last.by", v->volume_id);
	return nexuses_unique(k, v);
}

int meta_check_reservations(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	if (meta_keys(am) > META_KEYS)
		return meta_bad(k, "reservations: %u registrations, at most %d", meta_keys(am),
				META_KEYS);
	uint32_t *v = meta_array(am->n_reservations, sizeof(*v));
	int rc = v ? 0 : -ENOMEM;
	for (size_t i = 0; i < am->n_reservations && rc == 0; i++) {
		v[i] = am->reservations[i]->volume_id;
		rc = check_reservation(k, am->reservations[i]);
	}
	if (rc == 0)
		qsort(v, am->n_reservations, sizeof(*v), meta_u32_order);
	for (size_t i = 1; i < am->n_reservations && rc == 0; i++)
		if (v[i - 1] == v[i])
			rc = meta_bad(k, "reservations: volume %u stands there twice", v[i]);
	free(v);
	return rc;
}
