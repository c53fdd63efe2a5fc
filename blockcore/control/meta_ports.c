/*
 * Target ports: a target in a portal group. Each has a relative target port identifier of its own,
 * unique in the array (SPC-4 4.3.3), whatever controller the group's portals are of.
 *
 * The array's portal groups are those its controllers have told of (meta_set_groups()); every
 * change of the metadata gives new ports the lowest free numbers and takes away those of ports that
 * are not there any more. Up to version 7 a target had one number, for its port in group 1.
 */
#include "blockcore/control/meta.h"
#include "blockcore/control/meta_check.h"
#include "blockcore/control/meta_scsi.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool meta_target_in_group(const Isthmus__Target *t, uint32_t tag)
{
	for (size_t i = 0; i < t->n_portal_groups; i++)
		if (t->portal_groups[i] == tag)
			return true;
	return t->n_portal_groups == 0;
}

uint16_t meta_target_port(const Isthmus__Target *t, uint32_t tag)
{
	for (size_t i = 0; i < t->n_ports; i++)
		if (t->ports[i]->tag == tag)
			return (uint16_t)t->ports[i]->number;
	return 0;
}

/* ---- portal groups ---- */

static int group_add(Isthmus__ArrayMeta *am, uint32_t tag, const char *controller)
{
	Isthmus__PortalGroup *g = malloc(sizeof(*g));
	if (!g)
		return -ENOMEM;
	isthmus__portal_group__init(g);
	g->tag = tag;
	int rc = pb_set_text(&g->controller, controller);
	if (rc == 0)
		rc = pb_append(&am->portal_groups, &am->n_portal_groups, g);
	if (rc)
		isthmus__portal_group__free_unpacked(g, NULL);
	return rc;
}

static Isthmus__PortalGroup *group_find(const Isthmus__ArrayMeta *am, uint32_t tag)
{
	for (size_t i = 0; i < am->n_portal_groups; i++)
		if (am->portal_groups[i]->tag == tag)
			return am->portal_groups[i];
	return NULL;
}

static bool group_wanted(uint32_t tag, const uint16_t *tags, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (tags[i] == tag)
			return true;
	return false;
}

bool meta_has_groups(const Isthmus__ArrayMeta *am, const char *controller, const uint16_t *tags,
		     unsigned n)
{
	unsigned own = 0;
	for (size_t i = 0; i < am->n_portal_groups; i++)
		own += !strcmp(am->portal_groups[i]->controller, controller);
	for (unsigned i = 0; i < n; i++) {
		const Isthmus__PortalGroup *g = group_find(am, tags[i]);
		if (!g || strcmp(g->controller, controller))
			return false;
	}
	return own == n;
}

int meta_set_groups(Isthmus__ArrayMeta *am, const char *controller, bool alone,
		    const uint16_t *tags, unsigned n, char *why)
{
	for (size_t i = am->n_portal_groups; i-- > 0;) {
		Isthmus__PortalGroup *g = am->portal_groups[i];
		bool ours = alone || !g->controller[0] || !strcmp(g->controller, controller);
		bool wanted = group_wanted(g->tag, tags, n);
		if (!ours && wanted) {
			snprintf(why, META_WHY_LEN,
				 "portal group %u belongs to controller %s: give the portals of %s "
				 "another group",
				 g->tag, g->controller, controller);
			return -EEXIST;
		}
		if (!ours || wanted)
			continue;
		pb_remove(&am->portal_groups, &am->n_portal_groups, i);
		isthmus__portal_group__free_unpacked(g, NULL);
	}
	int rc = 0;
	for (unsigned i = 0; i < n && rc == 0; i++) {
		Isthmus__PortalGroup *g = group_find(am, tags[i]);
		rc = g ? pb_set_text(&g->controller, controller)
		       : group_add(am, tags[i], controller);
	}
	return rc;
}

/* ---- numbers ---- */

static int port_add(Isthmus__Target *t, uint32_t tag, uint32_t number)
{
	Isthmus__TargetPort *p = malloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	isthmus__target_port__init(p);
	p->tag = tag;
	p->number = number;
	int rc = pb_append(&t->ports, &t->n_ports, p);
	if (rc)
		free(p);
	return rc;
}

/* Takes away what is not there any more. True: ports are missing. */
static bool ports_prune(const Isthmus__ArrayMeta *am, Isthmus__Target *t)
{
	size_t want = 0;
	for (size_t i = 0; i < am->n_portal_groups; i++)
		want += meta_target_in_group(t, am->portal_groups[i]->tag);
	for (size_t i = t->n_ports; i-- > 0;) {
		Isthmus__TargetPort *p = t->ports[i];
		if (group_find(am, p->tag) && meta_target_in_group(t, p->tag))
			continue;
		pb_remove(&t->ports, &t->n_ports, i);
		isthmus__target_port__free_unpacked(p, NULL);
	}
	return t->n_ports < want;
}

static int ports_complete(const Isthmus__ArrayMeta *am, Isthmus__Target *t, const bool *taken,
			  uint32_t *next)
{
	int rc = 0;
	for (size_t i = 0; i < am->n_portal_groups && rc == 0; i++) {
		uint32_t tag = am->portal_groups[i]->tag;
		if (!meta_target_in_group(t, tag) || meta_target_port(t, tag))
			continue;
		while (*next <= UINT16_MAX && taken[*next])
			++*next;
		rc = port_add(t, tag, (*next)++); /* beyond 65535: meta_check() refuses it */
	}
	return rc;
}

static int numbers_give(Isthmus__ArrayMeta *am)
{
	bool *taken = calloc(UINT16_MAX + 1, sizeof(*taken));
	uint32_t next = 1;
	int rc = taken ? 0 : -ENOMEM;
	for (size_t i = 0; i < am->n_targets && rc == 0; i++)
		for (size_t k = 0; k < am->targets[i]->n_ports; k++)
			if (am->targets[i]->ports[k]->number <= UINT16_MAX)
				taken[am->targets[i]->ports[k]->number] = true;
	for (size_t i = 0; i < am->n_targets && rc == 0; i++)
		rc = ports_complete(am, am->targets[i], taken, &next);
	free(taken);
	return rc;
}

int meta_number_ports(Isthmus__ArrayMeta *am)
{
	bool missing = false;
	int rc = am->n_portal_groups ? 0 : group_add(am, 1, "");
	if (am->n_portal_groups > META_PORTAL_GROUPS)
		return 0; /* meta_check() refuses it */
	for (size_t i = 0; i < am->n_targets && rc == 0; i++) {
		Isthmus__Target *t = am->targets[i];
		if (t->n_portal_groups > META_PORTAL_GROUPS || t->n_ports > META_PORTAL_GROUPS)
			return 0;
		if (t->port && !t->n_ports)
			rc = port_add(t, 1, t->port);
		t->port = 0;
		missing |= ports_prune(am, t);
	}
	return rc == 0 && missing ? numbers_give(am) : rc;
}
