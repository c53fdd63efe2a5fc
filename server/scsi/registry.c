/*
 * The registry: targets and LUNs taken from the array metadata, and the nexuses
 * that look at them. The metadata belongs to one reactor; on every change it is
 * copied here into targets that never change, which any thread may read, and
 * every nexus gets a new view. Logical units are taken over from before where
 * volume, block size and serial number are the same, with their mode parameters.
 *
 * Locks: registry, then nexus. Neither is held across a wait or around a
 * reference's last put.
 */
#include <errno.h>
#include <stdlib.h>
#include <strings.h>
#include "blockcore/control/meta.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/task.h"
#include "server/scsi/alua.h"
#include "server/scsi/persistent.h"
#include "server/scsi/scsi_admin.h"

/* ---- logical units by volume number, while targets are being made ---- */

struct lu_index {
	unsigned mask, n;
	struct scsi_lu **slots; /* borrowed from targets */
};

static int lu_index_init(struct lu_index *x, size_t max)
{
	unsigned size = 16;
	while (size < max * 2)
		size *= 2;
	x->mask = size - 1;
	x->n = 0;
	x->slots = calloc(size, sizeof(x->slots[0]));
	return x->slots ? 0 : -ENOMEM;
}

static unsigned lu_index_start(const struct lu_index *x, uint32_t volume_id)
{
	return (volume_id * 2654435761u) & x->mask;
}

static struct scsi_lu *lu_index_find(const struct lu_index *x, const struct lu_config *cfg)
{
	for (unsigned i = lu_index_start(x, cfg->volume_id); x->slots[i]; i = (i + 1) & x->mask)
		if (lu_is(x->slots[i], cfg))
			return x->slots[i];
	return NULL;
}

static void lu_index_add(struct lu_index *x, struct scsi_lu *lu)
{
	unsigned i = lu_index_start(x, lu->volume_id);
	for (; x->slots[i]; i = (i + 1) & x->mask)
		if (x->slots[i] == lu)
			return;
	ASSERT(++x->n <= x->mask);
	x->slots[i] = lu;
}

/* ---- targets from metadata ---- */

static int copy_text(char **ret, const char *s)
{
	*ret = strdup(s ? s : "");
	return *ret ? 0 : -ENOMEM;
}

static int copy_lun(struct scsi_target *t, const Isthmus__ArrayMeta *am, const Isthmus__Lun *pb,
		    struct lu_index *x)
{
	if (pb->lun > SCSI_LUN_MAX)
		return 0;
	struct lu_config cfg = {.volume_id = pb->volume_id,
				.block_size = pb->block_size == 4096 ? 4096 : 512,
				.physical_size = pb->physical_size ? pb->physical_size : 4096,
				.removable = pb->removable,
				.no_unmap = pb->no_unmap,
				.serial = pb->serial ? pb->serial : ""};
	struct scsi_lu *lu = lu_index_find(x, &cfg);
	if (lu) {
		lu_get(lu);
	} else {
		int err = lu_new(&lu, t->registry->core, &cfg);
		if (err)
			return err;
		lu_index_add(x, lu);
		alua_place(t->registry, lu);
		const Isthmus__Volume *v = meta_volume(am, pb->volume_id);
		if (v)
			wipe_resume(t->registry, lu, v);
	}
	t->luns[t->nluns++] =
	    (struct target_lun){.number = pb->lun, .read_only = pb->read_only, .lu = lu};
	return 0;
}

static int copy_initiator(struct scsi_target *t, const Isthmus__Initiator *pb)
{
	struct target_initiator *i = &t->initiators[t->ninitiators++];
	if (copy_text(&i->iqn, pb->iqn) || copy_text(&i->chap_user, pb->chap_user) ||
	    copy_text(&i->chap_secret, pb->chap_secret))
		return -ENOMEM;
	i->maps = calloc(pb->n_luns + 1, sizeof(i->maps[0]));
	if (!i->maps)
		return -ENOMEM;
	for (size_t k = 0; k < pb->n_luns; k++) {
		if (pb->luns[k]->lun > SCSI_LUN_MAX)
			continue;
		i->maps[i->nmaps++] = (struct target_map){.lun = pb->luns[k]->lun,
							  .target_lun = pb->luns[k]->target_lun,
							  .read_only = pb->luns[k]->read_only};
	}
	return 0;
}

static int copy_groups(struct scsi_target *t, const Isthmus__Target *pb)
{
	t->groups = calloc(pb->n_portal_groups + 1, sizeof(t->groups[0]));
	if (!t->groups)
		return -ENOMEM;
	for (size_t i = 0; i < pb->n_portal_groups; i++)
		t->groups[t->ngroups++] = (uint16_t)pb->portal_groups[i];
	t->ports = calloc(pb->n_ports + 1, sizeof(t->ports[0]));
	if (!t->ports)
		return -ENOMEM;
	for (size_t i = 0; i < pb->n_ports; i++)
		t->ports[t->nports++] = (struct target_port){(uint16_t)pb->ports[i]->tag,
							     (uint16_t)pb->ports[i]->number};
	return 0;
}

static int copy_target(struct scsi_target **ret, struct scsi_registry *r,
		       const Isthmus__ArrayMeta *am, const Isthmus__Target *pb, struct lu_index *x)
{
	int err = -ENOMEM;
	struct scsi_target *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->magic = SCSI_TARGET_MAGIC;
	t->refs = 1;
	t->registry = r;
	t->redirect_permanent = pb->redirect_permanent;
	t->open = pb->open;
	t->discovery_open = pb->discovery_open;
	t->luns = calloc(pb->n_luns + 1, sizeof(t->luns[0]));
	t->initiators = calloc(am->n_initiators + 1, sizeof(t->initiators[0]));
	if (!t->luns || !t->initiators || copy_groups(t, pb) || copy_text(&t->iqn, pb->iqn) ||
	    copy_text(&t->redirect, pb->redirect) || copy_text(&t->chap_user, pb->chap_user) ||
	    copy_text(&t->chap_secret, pb->chap_secret) ||
	    copy_text(&t->mutual_user, pb->mutual_user) ||
	    copy_text(&t->mutual_secret, pb->mutual_secret))
		goto fail;
	for (size_t i = 0; i < pb->n_luns; i++)
		if ((err = copy_lun(t, am, pb->luns[i], x)))
			goto fail;
	for (size_t i = 0; i < am->n_initiators; i++)
		if (!strcasecmp(am->initiators[i]->target, pb->iqn) &&
		    (err = copy_initiator(t, am->initiators[i])))
			goto fail;
	target_sort(t);
	*ret = t;
	return 0;
fail:
	scsi_target_put(t);
	return err;
}

static void targets_free(struct scsi_target **targets, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		scsi_target_put(targets[i]);
	free(targets);
}

static int targets_make(struct scsi_registry *r, const Isthmus__ArrayMeta *am,
			struct scsi_target ***ret, unsigned *ret_n)
{
	size_t max = 0;
	for (unsigned i = 0; i < r->ntargets; i++)
		max += r->targets[i]->nluns;
	for (size_t i = 0; i < am->n_targets; i++)
		max += am->targets[i]->n_luns;
	struct lu_index x;
	struct scsi_target **targets = calloc(am->n_targets + 1, sizeof(targets[0]));
	unsigned n = 0;
	int err = lu_index_init(&x, max + 1);
	if (!targets)
		err = -ENOMEM;
	for (unsigned i = 0; !err && i < r->ntargets; i++)
		for (unsigned k = 0; k < r->targets[i]->nluns; k++)
			lu_index_add(&x, r->targets[i]->luns[k].lu);
	for (size_t i = 0; !err && i < am->n_targets; i++)
		if (!(err = copy_target(&targets[n], r, am, am->targets[i], &x)))
			n++;
	free(x.slots);
	if (err) {
		targets_free(targets, n);
		return err;
	}
	*ret = targets;
	*ret_n = n;
	return 0;
}

/* ---- the current state ---- */

struct scsi_target *registry_find(struct scsi_registry *r, const char *iqn)
{
	for (unsigned i = 0; i < r->ntargets; i++)
		if (!strcasecmp(r->targets[i]->iqn, iqn))
			return r->targets[i];
	return NULL;
}

static int registry_look(struct scsi_registry *r, struct scsi_nexus *n)
{
	struct scsi_target *t = registry_find(r, n->target);
	struct scsi_view *v = t ? target_view(t, n->initiator) : view_new(0);
	if (!v)
		return -ENOMEM;
	nexus_view_replace(n, v);
	n->port = t ? target_port(t, n->tpgt) : 0;
	if (n->gone && !(t && target_admits(t, n->initiator) && scsi_target_in_group(t, n->tpgt)))
		n->gone(n->transport);
	return 0;
}

int registry_add_nexus(struct scsi_registry *r, struct scsi_nexus *n)
{
	pthread_mutex_lock(&r->lock);
	int err = registry_look(r, n);
	if (!err)
		TAILQ_INSERT_TAIL(&r->nexuses, n, link);
	pthread_mutex_unlock(&r->lock);
	return err;
}

static void take_discovery(struct scsi_registry *r, const Isthmus__ArrayMeta *am)
{
	const Isthmus__DiscoveryAuth *d = am->discovery;
	struct scsi_auth a = {0};
	if (d) {
		text_copy(a.user, d->chap_user, sizeof(a.user));
		text_copy(a.secret, d->chap_secret, sizeof(a.secret));
		text_copy(a.mutual_user, d->mutual_user, sizeof(a.mutual_user));
		text_copy(a.mutual_secret, d->mutual_secret, sizeof(a.mutual_secret));
	}
	pthread_mutex_lock(&r->lock);
	r->discovery = a;
	pthread_mutex_unlock(&r->lock);
}

void scsi_discovery_auth(struct scsi_registry *r, struct scsi_auth *ret)
{
	pthread_mutex_lock(&r->lock);
	*ret = r->discovery;
	pthread_mutex_unlock(&r->lock);
}

/* Are targets and initiators as they were? Reservations change often, and nothing of these. */
static bool targets_same(struct scsi_registry *r, const Isthmus__ArrayMeta *am)
{
	Isthmus__ArrayMeta part = ISTHMUS__ARRAY_META__INIT;
	part.n_targets = am->n_targets;
	part.targets = am->targets;
	part.n_initiators = am->n_initiators;
	part.initiators = am->initiators;
	size_t len = isthmus__array_meta__get_packed_size(&part);
	uint8_t *b = malloc(len + 1);
	if (b)
		isthmus__array_meta__pack(&part, b);
	bool same = b && r->packed && len == r->packed_len && !memcmp(b, r->packed, len);
	free(r->packed);
	r->packed = b;
	r->packed_len = len;
	return same;
}

/* What waits for its turn, or the limit, of a unit that was taken away has nothing to wait for. */
static void drop_stranded(struct scsi_target *const *targets, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < targets[i]->nluns; k++)
			lu_drop_stranded(targets[i]->luns[k].lu);
}

static int targets_follow(struct scsi_registry *r, const Isthmus__ArrayMeta *am)
{
	struct scsi_target **now, **was;
	unsigned n_now, n_was;
	if (targets_same(r, am))
		return 0;
	/* Only this reactor changes r->targets, so it may read them without the lock. */
	int err = targets_make(r, am, &now, &n_now);
	if (err) {
		free(r->packed);
		r->packed = NULL; /* the next change tries again */
		return err;
	}
	pthread_mutex_lock(&r->lock);
	was = r->targets;
	n_was = r->ntargets;
	r->targets = now;
	r->ntargets = n_now;
	struct scsi_nexus *n;
	TAILQ_FOREACH (n, &r->nexuses, link)
		if (registry_look(r, n))
			log_error("scsi: LUNs of a session not renewed initiator=%s err=ENOMEM",
				  n->initiator);
	drop_stranded(was, n_was);
	pthread_mutex_unlock(&r->lock);
	targets_free(was, n_was);
	return 0;
}

/* Limits stand with the volumes; a change of them does not change the unit. */
static void set_limits(const struct lu_index *x, const Isthmus__ArrayMeta *am)
{
	for (unsigned i = 0; i <= x->mask; i++)
		if (x->slots[i])
			x->slots[i]->limits = (struct qos_limits){0};
	for (size_t k = 0; k < am->n_volumes; k++) {
		const Isthmus__Volume *v = am->volumes[k];
		const Isthmus__Limits *l = v->limits;
		for (unsigned i = lu_index_start(x, v->id); l && x->slots[i]; i = (i + 1) & x->mask)
			if (x->slots[i]->volume_id == v->id)
				x->slots[i]->limits = (struct qos_limits){
				    l->iops, l->iops_burst, l->bandwidth, l->bandwidth_burst};
	}
	for (unsigned i = 0; i <= x->mask; i++)
		if (x->slots[i])
			qos_set(&x->slots[i]->qos, &x->slots[i]->limits);
}

static int units_follow(struct scsi_registry *r, const Isthmus__ArrayMeta *am)
{
	struct lu_index x;
	size_t max = 0;
	for (unsigned i = 0; i < r->ntargets; i++)
		max += r->targets[i]->nluns;
	int err = lu_index_init(&x, max + 1);
	if (err)
		return err;
	for (unsigned i = 0; i < r->ntargets; i++)
		for (unsigned k = 0; k < r->targets[i]->nluns; k++)
			lu_index_add(&x, r->targets[i]->luns[k].lu);
	for (unsigned i = 0; i <= x.mask; i++)
		if (x.slots[i])
			alua_prefer(r, x.slots[i], am);
	set_limits(&x, am);
	free(x.slots);
	return 0;
}

static void registry_changed(void *arg, const Isthmus__ArrayMeta *am)
{
	struct scsi_registry *r = arg;
	take_discovery(r, am);
	int err = targets_follow(r, am);
	if (err)
		log_error("scsi: targets not renewed after a change err=%s", err_name(err));
	err = units_follow(r, am);
	if (err)
		log_error("scsi: units not renewed after a change err=%s", err_name(err));
	err = pr_follow(r, am);
	if (err)
		log_error("scsi: reservations not renewed after a change err=%s", err_name(err));
	groups_follow(r, am);
}

static void registry_free(struct scsi_registry *r)
{
	targets_free(r->targets, r->ntargets);
	pr_store_free(r);
	away_fini(&r->away);
	pthread_mutex_destroy(&r->lock);
	free(r->packed);
	ASSERT(!r->forward);
	free(r);
}

int scsi_registry_new(struct scsi_registry **ret, struct core *core)
{
	struct scsi_registry *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->core = core;
	r->sched = sched_current();
	pthread_mutex_init(&r->lock, NULL);
	TAILQ_INIT(&r->nexuses);
	away_init(&r->away);
	alua_init(&r->alua);
	r->tags[0] = 1;
	r->ntags = 1;
	const Isthmus__ArrayMeta *am = meta_get(core_meta(core));
	int err = pr_follow(r, am); /* before there is anything to protect */
	if (!err)
		err = targets_follow(r, am);
	take_discovery(r, am);
	if (!err)
		err = units_follow(r, am);
	if (!err)
		err = meta_watch(core_meta(core), registry_changed, r, &r->watch);
	if (err) {
		registry_free(r);
		return err;
	}
	*ret = r;
	return 0;
}

void scsi_registry_free(struct scsi_registry *r)
{
	if (!r)
		return;
	ASSERT(TAILQ_EMPTY(&r->nexuses));
	meta_unwatch(core_meta(r->core), r->watch);
	atomic_store(&r->closing, true);
	/* Flushes that were answered before they ended (IMMED) still use the volumes. */
	while (atomic_load(&r->background) && task_self())
		env_sleep_ns(core_env(r->core), NS_PER_MS);
	registry_free(r);
}

void scsi_registry_set_abort(struct scsi_registry *r, scsi_abort_fn *abort)
{
	pthread_mutex_lock(&r->lock);
	r->abort = abort;
	pthread_mutex_unlock(&r->lock);
}

struct scsi_target *scsi_target_get(struct scsi_registry *r, const char *iqn)
{
	pthread_mutex_lock(&r->lock);
	struct scsi_target *t = registry_find(r, iqn);
	if (t)
		atomic_fetch_add(&t->refs, 1);
	pthread_mutex_unlock(&r->lock);
	return t;
}

void scsi_target_each(struct scsi_registry *r, const char *initiator,
		      void (*each)(void *arg, const struct scsi_target *t), void *arg)
{
	pthread_mutex_lock(&r->lock);
	for (unsigned i = 0; i < r->ntargets; i++)
		if (target_listed(r->targets[i], initiator))
			each(arg, r->targets[i]);
	pthread_mutex_unlock(&r->lock);
}
