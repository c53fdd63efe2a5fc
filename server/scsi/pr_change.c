/*
 * What the service actions of PERSISTENT RESERVE OUT do to a volume's record (SPC-4
 * 5.12.6 to 5.12.11). Nothing here waits or looks at anything but its arguments.
 *
 * A registration is an I_T nexus with a key. A reservation of type 1, 3, 5 or 6 has one
 * holder, marked in its registration; of type 7 and 8 every registrant is one, and none is marked.
 */
#include <stdlib.h>
#include <strings.h>
#include "blockcore/control/meta.h"
#include "server/scsi/persistent.h"

/* ---- finding ---- */

struct pr_port pr_port_of(const struct scsi_nexus *n)
{
	struct pr_port p = {.initiator = n->initiator, .target = n->target, .tpgt = n->tpgt};
	memcpy(p.isid, n->isid, 6);
	return p;
}

bool pr_port_is(const Isthmus__Registration *g, const struct pr_port *p)
{
	return g->tpgt == p->tpgt && p->any_isid == !g->isid.len &&
	       (p->any_isid || !memcmp(g->isid.data, p->isid, 6)) &&
	       !strcasecmp(g->initiator, p->initiator) && !strcasecmp(g->target, p->target);
}

static int find_exact(const Isthmus__Reservation *v, const struct pr_port *p)
{
	for (size_t i = 0; i < v->n_registrations; i++)
		if (pr_port_is(v->registrations[i], p))
			return (int)i;
	return -1;
}

static int find(const Isthmus__Reservation *v, const struct pr_port *p)
{
	int i = find_exact(v, p);
	struct pr_port any = *p;
	any.any_isid = true;
	return i < 0 && !p->any_isid ? find_exact(v, &any) : i;
}

Isthmus__Registration *pr_find(const Isthmus__Reservation *v, const struct pr_port *p)
{
	int i = find(v, p);
	return i < 0 ? NULL : v->registrations[i];
}

bool pr_holds(const Isthmus__Reservation *v, const Isthmus__Registration *g)
{
	return v->type && (meta_type_all(v->type) || g->holder);
}

/* ---- parts of changes ---- */

static Isthmus__Registration *registration_new(const struct pr_port *p, uint64_t key)
{
	Isthmus__Registration *g = malloc(sizeof(*g));
	if (!g)
		return NULL;
	isthmus__registration__init(g);
	g->key = key;
	g->tpgt = p->tpgt;
	if (pb_set_text(&g->initiator, p->initiator) || pb_set_text(&g->target, p->target) ||
	    (!p->any_isid && pb_set_bytes(&g->isid, p->isid, 6))) {
		isthmus__registration__free_unpacked(g, NULL);
		return NULL;
	}
	return g;
}

static Isthmus__Registration *add(Isthmus__Reservation *v, const struct pr_port *p, uint64_t key)
{
	Isthmus__Registration *g = registration_new(p, key);
	if (g && pb_append(&v->registrations, &v->n_registrations, g)) {
		isthmus__registration__free_unpacked(g, NULL);
		return NULL;
	}
	return g;
}

/* The reservation ends; those that stay registered learn of it (SPC-4 5.12.11.2.2). */
static void release(Isthmus__Reservation *v)
{
	v->last->released |= meta_type_registrants(v->type);
	for (size_t i = 0; i < v->n_registrations; i++)
		v->registrations[i]->holder = false;
	v->type = 0;
}

static void remove_at(Isthmus__Reservation *v, size_t i)
{
	Isthmus__Registration *g = v->registrations[i];
	if (g->holder || (v->type && v->n_registrations == 1))
		release(v);
	pb_remove(&v->registrations, &v->n_registrations, i);
	isthmus__registration__free_unpacked(g, NULL);
}

/* Removes registrations with the key (0: all), but that of `but`. Returns how many have it. */
static unsigned remove_keys(Isthmus__Reservation *v, uint64_t key, const Isthmus__Registration *but)
{
	unsigned n = 0;
	for (size_t i = v->n_registrations; i-- > 0;) {
		if (key && v->registrations[i]->key != key)
			continue;
		n++;
		if (v->registrations[i] != but)
			remove_at(v, i);
	}
	return n;
}

static void establish(Isthmus__Reservation *v, Isthmus__Registration *g, uint32_t type)
{
	v->type = type;
	g->holder = !meta_type_all(type);
}

/* ---- REGISTER, REGISTER AND IGNORE EXISTING KEY (5.12.7, table 51) ---- */

/* As if the request had come through this port alone; false: no memory. */
static bool register_port(Isthmus__Reservation *v, const struct pr_out *x, const struct pr_port *p)
{
	bool ignore = x->action == PR_REGISTER_IGNORE;
	int i = find(v, p);
	if (i < 0)
		return !x->sa_key || (x->key && !ignore) || add(v, p, x->sa_key);
	if (!ignore && v->registrations[i]->key != x->key)
		return true;
	if (x->sa_key)
		v->registrations[i]->key = x->sa_key;
	else
		remove_at(v, (size_t)i);
	return true;
}

static bool room_for(const Isthmus__Reservation *v, const struct pr_out *x)
{
	unsigned n = pr_find(v, &x->self) ? 0 : 1;
	for (unsigned i = 0; i < x->nports; i++)
		n += !pr_find(v, &x->ports[i]);
	return n <= x->room && v->n_registrations + n <= META_KEYS_VOLUME;
}

static enum pr_answer do_register(Isthmus__Reservation *v, const struct pr_out *x)
{
	const Isthmus__Registration *me = pr_find(v, &x->self);
	bool ignore = x->action == PR_REGISTER_IGNORE;
	if (!ignore && (me ? me->key : 0) != x->key)
		return PR_CONFLICT;
	if (x->spec_i_pt && (me || ignore))
		return PR_BAD_SPEC;
	if (!me && !x->sa_key)
		return PR_GOOD;
	if (x->sa_key && !room_for(v, x))
		return PR_FULL;
	if (!register_port(v, x, &x->self))
		return PR_NO_MEMORY;
	unsigned own = x->nports - x->nothers;
	for (unsigned i = 0; i < x->nports; i++) {
		const struct pr_port *p = &x->ports[i];
		if (i < own ? !register_port(v, x, p) : !pr_find(v, p) && !add(v, p, x->sa_key))
			return PR_NO_MEMORY;
	}
	v->aptpl = x->aptpl;
	v->generation++;
	return PR_CHANGED;
}

/* ---- the others ---- */

static enum pr_answer do_reserve(Isthmus__Reservation *v, const struct pr_out *x,
				 Isthmus__Registration *me)
{
	if (v->type)
		return pr_holds(v, me) && v->type == x->type ? PR_GOOD : PR_CONFLICT;
	establish(v, me, x->type);
	return PR_CHANGED;
}

static enum pr_answer do_release(Isthmus__Reservation *v, const struct pr_out *x,
				 const Isthmus__Registration *me)
{
	if (!pr_holds(v, me))
		return PR_GOOD;
	if (v->type != x->type)
		return PR_BAD_RELEASE;
	release(v);
	return PR_CHANGED;
}

static enum pr_answer do_clear(Isthmus__Reservation *v)
{
	v->type = 0;
	for (size_t i = 0; i < v->n_registrations; i++)
		isthmus__registration__free_unpacked(v->registrations[i], NULL);
	v->n_registrations = 0;
	v->last->lost = 2;
	v->generation++;
	return PR_CHANGED;
}

static const Isthmus__Registration *holder(const Isthmus__Reservation *v)
{
	for (size_t i = 0; i < v->n_registrations; i++)
		if (v->registrations[i]->holder)
			return v->registrations[i];
	return NULL;
}

/* 5.12.11.2.4: the reservation goes to the one that preempts, whose registration stays. */
static enum pr_answer preempt_reservation(Isthmus__Reservation *v, const struct pr_out *x,
					  Isthmus__Registration *me)
{
	if (!x->type || !meta_type_ok(x->type))
		return PR_BAD_TYPE;
	uint32_t was = v->type;
	release(v);
	remove_keys(v, x->sa_key, me);
	establish(v, me, x->type);
	v->last->released = was != x->type;
	return PR_CHANGED;
}

static enum pr_answer do_preempt(Isthmus__Reservation *v, const struct pr_out *x,
				 Isthmus__Registration *me)
{
	enum pr_answer a = PR_CHANGED;
	const Isthmus__Registration *h = holder(v);
	bool all = meta_type_all(v->type);
	if (all ? !x->sa_key : h && h->key == x->sa_key)
		a = preempt_reservation(v, x, me);
	else if (!x->sa_key)
		a = PR_BAD_KEY;
	else if (!remove_keys(v, x->sa_key, NULL)) /* its own too: 5.12.11.2.3 */
		a = PR_CONFLICT;
	if (a != PR_CHANGED)
		return a;
	v->last->lost = 1;
	v->last->abort = x->action == PR_PREEMPT_ABORT;
	v->generation++;
	return PR_CHANGED;
}

/* 5.12.8 */
static enum pr_answer do_move(Isthmus__Reservation *v, const struct pr_out *x,
			      Isthmus__Registration *me)
{
	if (!me->holder)
		return PR_CONFLICT;
	if (!x->sa_key)
		return PR_BAD_KEY;
	Isthmus__Registration *to = pr_find(v, &x->ports[0]);
	if (to == me || pr_port_is(me, &x->ports[0]))
		return PR_BAD_PORT;
	if (!to && (!x->room || v->n_registrations >= META_KEYS_VOLUME))
		return PR_FULL;
	if (!to && !(to = add(v, &x->ports[0], x->sa_key)))
		return PR_NO_MEMORY;
	to->key = x->sa_key;
	to->holder = true;
	me->holder = false;
	if (x->unreg)
		remove_at(v, (size_t)find(v, &x->self));
	v->aptpl = x->aptpl;
	v->generation++;
	return PR_CHANGED;
}

/* What the last change meant is forgotten; this one is done by self (NULL: the admin). */
static bool begin(Isthmus__Reservation *v, const struct pr_port *self)
{
	if (v->last)
		isthmus__reservation_change__free_unpacked(v->last, NULL);
	v->last = malloc(sizeof(*v->last));
	if (!v->last)
		return false;
	isthmus__reservation_change__init(v->last);
	v->last->by = self ? registration_new(self, 0) : NULL;
	return !self || v->last->by;
}

bool pr_clear(Isthmus__Reservation *v)
{
	return begin(v, NULL) && do_clear(v) == PR_CHANGED;
}

enum pr_answer pr_apply(Isthmus__Reservation *v, const struct pr_out *x)
{
	if (!begin(v, &x->self))
		return PR_NO_MEMORY;
	if (x->action == PR_REGISTER || x->action == PR_REGISTER_IGNORE)
		return do_register(v, x);
	Isthmus__Registration *me = pr_find(v, &x->self);
	if (!me || me->key != x->key)
		return PR_CONFLICT;
	switch (x->action) {
	case PR_RESERVE:
		return do_reserve(v, x, me);
	case PR_RELEASE:
		return do_release(v, x, me);
	case PR_CLEAR:
		return do_clear(v);
	case PR_REGISTER_MOVE:
		return do_move(v, x, me);
	default:
		return do_preempt(v, x, me);
	}
}
