/* See meta_scsi.h. */
#include "blockcore/control/meta_scsi.h"
#include "blockcore/control/meta.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- reservations ---- */

unsigned meta_keys(const Isthmus__ArrayMeta *am)
{
	size_t n = 0;
	for (size_t i = 0; i < am->n_reservations; i++)
		n += am->reservations[i]->n_registrations;
	return (unsigned)n;
}

Isthmus__Reservation *meta_reservation(const Isthmus__ArrayMeta *am, uint32_t volume_id)
{
	for (size_t i = 0; i < am->n_reservations; i++)
		if (am->reservations[i]->volume_id == volume_id)
			return am->reservations[i];
	return NULL;
}

static int target_order(const void *a, const void *b)
{
	const Isthmus__Target *const *x = a, *const *y = b;
	return strcasecmp((*x)->iqn, (*y)->iqn);
}

struct ports {
	Isthmus__Target **sorted;
	size_t n;
	const Isthmus__Target *last; /* the answer for it: shows the volume? */
	uint32_t volume_id;
	bool shows;
};

static bool port_shows(struct ports *p, const Isthmus__Registration *g, uint32_t volume_id)
{
	Isthmus__Target key = {.iqn = g->target}, *pkey = &key;
	Isthmus__Target **found =
	    bsearch(&pkey, p->sorted, p->n, sizeof(p->sorted[0]), target_order);
	if (!found)
		return false;
	const Isthmus__Target *t = *found;
	if (!meta_target_in_group(t, g->tpgt))
		return false;
	if (t == p->last && volume_id == p->volume_id)
		return p->shows;
	p->last = t;
	p->volume_id = volume_id;
	p->shows = false;
	for (size_t i = 0; i < t->n_luns && !p->shows; i++)
		p->shows = t->luns[i]->volume_id == volume_id;
	return p->shows;
}

static void prune_one(struct ports *p, Isthmus__Reservation *v)
{
	bool changed = false, held = false;
	for (size_t i = v->n_registrations; i-- > 0;) {
		Isthmus__Registration *g = v->registrations[i];
		if (port_shows(p, g, v->volume_id))
			continue;
		held |= g->holder;
		pb_remove(&v->registrations, &v->n_registrations, i);
		isthmus__registration__free_unpacked(g, NULL);
		changed = true;
	}
	if (!changed)
		return;
	bool over = held || !v->n_registrations;
	if (v->last)
		isthmus__reservation_change__free_unpacked(v->last, NULL);
	v->last = NULL;
	if (over && meta_type_registrants(v->type) && (v->last = malloc(sizeof(*v->last)))) {
		isthmus__reservation_change__init(v->last);
		v->last->released = true;
	}
	if (over)
		v->type = 0;
	v->number++;
}

static bool volume_there(const Isthmus__ArrayMeta *am, uint32_t id)
{
	for (size_t i = 0; i < am->n_volumes; i++)
		if (am->volumes[i]->id == id)
			return true;
	return false;
}

int meta_reservations_prune(Isthmus__ArrayMeta *am)
{
	if (!am->n_reservations)
		return 0;
	struct ports p = {.n = am->n_targets};
	p.sorted = calloc(p.n + 1, sizeof(p.sorted[0]));
	if (!p.sorted)
		return -ENOMEM;
	for (size_t i = 0; i < p.n; i++)
		p.sorted[i] = am->targets[i];
	qsort(p.sorted, p.n, sizeof(p.sorted[0]), target_order);
	for (size_t i = am->n_reservations; i-- > 0;) {
		Isthmus__Reservation *v = am->reservations[i];
		if (volume_there(am, v->volume_id)) {
			prune_one(&p, v);
			continue;
		}
		pb_remove(&am->reservations, &am->n_reservations, i);
		isthmus__reservation__free_unpacked(v, NULL);
	}
	free(p.sorted);
	return 0;
}
