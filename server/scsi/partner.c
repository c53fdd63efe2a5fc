/* The partner in a cluster of two (forward.h): set up and taken down; it comes and goes; volumes
 * move. */
#include <errno.h>
#include <stdlib.h>
#include "runtime/err.h"
#include "runtime/log.h"
#include "server/scsi/alua.h"
#include "server/scsi/forward.h"
#include "server/scsi/persistent.h"
#include "server/scsi/scsi_admin.h"

/* ---- volumes that move ---- */

/* Calls fn for each unit of a volume (NULL: of all); with the registry lock. */
static void each_unit(struct forward *f, const struct volume *v,
		      void (*fn)(struct forward *f, struct scsi_lu *lu))
{
	struct scsi_registry *r = f->registry;
	for (unsigned i = 0; i < r->ntargets; i++)
		for (unsigned k = 0; k < r->targets[i]->nluns; k++) {
			struct scsi_lu *lu = r->targets[i]->luns[k].lu;
			if (!v || lu->volume_id == volume_id(v))
				fn(f, lu);
		}
}

static void unit_moved(struct forward *f, struct scsi_lu *lu)
{
	struct scsi_registry *r = f->registry;
	struct volume *v = lu_volume(lu);
	alua_follow(r, lu);
	lu_drop_stranded(lu);
	const Isthmus__Volume *pb = meta_volume(meta_get(core_meta(r->core)), lu->volume_id);
	if (pb && v && core_volume_place(v) == CORE_HERE)
		wipe_resume(r, lu, pb);
}

/* On the core's reactor, which is the metadata's. */
static void moved(void *arg, struct volume *v)
{
	struct forward *f = arg;
	pthread_mutex_lock(&f->registry->lock);
	each_unit(f, v, unit_moved);
	pthread_mutex_unlock(&f->registry->lock);
	forward_wake(f);
}

static void unit_placed(struct forward *f, struct scsi_lu *lu)
{
	alua_place(f->registry, lu);
	alua_prefer(f->registry, lu, meta_get(core_meta(f->registry->core)));
}

/* ---- the partner ---- */

struct remembering {
	struct scsi_registry *registry;
	uint64_t memory_id;
	struct task *task;
	_Atomic bool done;
};

/* On the metadata's reactor. */
static void remember(void *arg)
{
	struct remembering *x = arg;
	struct task *waiter = x->task;
	struct scsi_registry *r = x->registry;
	r->partner_memory = x->memory_id;
	int err = pr_follow(r, meta_get(core_meta(r->core)));
	if (err)
		log_error("scsi: reservations not renewed for the partner's memory err=%s",
			  err_name(err));
	atomic_store(&x->done, true);
	task_wake(waiter);
}

void scsi_partner_memory(struct scsi_registry *r, uint64_t memory_id)
{
	struct remembering x = {.registry = r, .memory_id = memory_id, .task = task_self()};
	int err = task_start_on(r->sched, remember, &x);
	if (err)
		log_error("scsi: the partner's memory is not known err=%s", err_name(err));
	while (!err && !atomic_load(&x.done))
		task_park();
}

void scsi_partner_up(struct scsi_registry *r)
{
	struct forward *f = r->forward;
	if (!f)
		return;
	atomic_store(&f->down_ns, 0);
	alua_set_reach(r, f->partner_group, ALUA_OPTIMIZED);
	forward_announce_all(f);
	pthread_mutex_lock(&r->lock);
	forward_tell_units(f);
	pthread_mutex_unlock(&r->lock);
	forward_wake(f);
}

void scsi_partner_down(struct scsi_registry *r)
{
	struct forward *f = r->forward;
	if (!f)
		return;
	proxies_gone(f);
	atomic_store(&f->down_ns, env_now_ns(f->env));
	alua_set_reach(r, f->partner_group, ALUA_UNAVAILABLE);
	forward_wake(f);
}

/* ---- set up and taken down ---- */

/* Tags of the two are ports of different groups. */
static int add_tags(struct scsi_registry *r, const struct scsi_partner *p)
{
	for (unsigned i = 0; i < p->ntags; i++) {
		for (unsigned k = 0; k < r->ntags; k++)
			if (r->tags[k] == p->tags[i])
				return -EEXIST;
		if (alua_add_ports(&r->alua, p->tags[i], p->partner_group))
			return -ENOSPC;
	}
	return 0;
}

static void forward_free(struct forward *f)
{
	served_free(f);
	pool_blocks_fini(&f->pool);
	forward_window_fini(&f->copies);
	forward_window_fini(&f->window);
	pthread_mutex_destroy(&f->tell_lock);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

int scsi_partner_open(struct scsi_registry *r, const struct scsi_partner *p)
{
	struct forward *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->registry = r;
	f->link = p->link;
	f->env = core_env(r->core);
	f->group = p->group;
	f->partner_group = p->partner_group;
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_init(&f->tell_lock, NULL);
	waitq_init(&f->held);
	waitq_init(&f->spare_wait);
	TAILQ_INIT(&f->lent);
	pool_blocks_init(&f->pool);
	forward_window_init(&f->window, FORWARD_WINDOW);
	forward_window_init(&f->copies, FORWARD_COPIES);
	alua_set_group(&r->alua, p->group);
	int err = add_tags(r, p);
	if (!err)
		err = core_own_watch(r->core, moved, f, &f->watch);
	if (err) {
		forward_free(f);
		return err;
	}
	r->forward = f;
	pthread_mutex_lock(&r->lock);
	each_unit(f, NULL, unit_placed);
	pthread_mutex_unlock(&r->lock);
	if (!link_is_up(f->link)) {
		atomic_store(&f->down_ns, env_now_ns(f->env));
		alua_set_reach(r, f->partner_group, ALUA_UNAVAILABLE);
	}
	link_serve(f->link, LINK_SVC_SCSI, forward_message, f);
	return 0;
}

void scsi_partner_abandon(struct scsi_registry *r)
{
	struct forward *f = r->forward;
	if (!f)
		return;
	atomic_store(&f->stopping, true);
	forward_wake(f);
}

void scsi_partner_close(struct scsi_registry *r)
{
	struct forward *f = r->forward;
	if (!f)
		return;
	scsi_partner_abandon(r);
	link_serve(f->link, LINK_SVC_SCSI, NULL, NULL);
	core_own_unwatch(r->core, f->watch);
	proxies_gone(f);
	do /* at least once: handlers that are queued run */
		env_sleep_ns(f->env, NS_PER_MS);
	while (f->nproxies || atomic_load(&f->jobs));
	r->forward = NULL;
	forward_free(f);
}
