/*
 * A head's life: what isthmus-head does with its services, on a node of the simulated world. Its
 * death leaves its tasks to end by their error paths; what they do reaches nobody.
 */
#include <stdlib.h>
#include <string.h>
#include "nasfront/fs/fs.h"
#include "nasfront/nfs/nlm.h"
#include "nasfront/nfs4/nfs4.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "tests/sim/heads.h"

static struct server *server_of(struct head *h)
{
	return container_of(h, struct server, h);
}

/* ---- what head_main.c and others have for these parts of a head ---- */

void head_on_fenced(void *arg)
{
	struct head *h = arg;
	struct server *v = server_of(h);
	if (h->fenced)
		return;
	h->fenced = true;
	if (!sim_node_dead(v->node))
		heads_say(v->w, "head %u is fenced", v->number);
	heads_kill(v);
}

static bool is_fenced(void *arg)
{
	struct head *h = arg;
	if (!h->fenced && channel_fenced(h->channel))
		head_on_fenced(h);
	return h->fenced;
}

void head_in_service(struct head *h)
{
	struct server *v = server_of(h);
	h->up = true;
	/* Who is called then is not it, whatever it does before it finds out. */
	if (sim_node_dead(v->node) || h->stopping || is_fenced(h))
		return;
	heads_say(v->w, "head %u serves", v->number);
	sim_net_serve(v->w->net, v->rpc);
}

/* ---- start ---- */

static void start_services(struct server *v)
{
	struct head *h = &v->h;
	const struct config_head *c = h->config;
	size_t area = MAX(nfs_area_size(), nfs4_area_size());
	struct nfs_opts no = {.reactor = h->reactor,
			      .env = h->env,
			      .fenced = is_fenced,
			      .on_fenced = head_on_fenced,
			      .client_seen = head_state_client_seen,
			      .arg = h};
	struct nlm_opts lo = {.reactor = h->reactor,
			      .env = h->env,
			      .name = "server",
			      .address = c->address,
			      .grace_ns = LEASE_NS,
			      .monitor = head_state_monitor,
			      .arg = h};
	struct nfs4_opts o = {.env = h->env,
			      .reactor = h->reactor,
			      .name = "server",
			      .lease_ns = LEASE_NS,
			      .keep = head_state_keep,
			      .arg = h};
	v->rpc = h->rpc = sim_server_new(v->w->net, h->reactor, area);
	ASSERT(nfs_new(&h->nfs, &no) == 0 && nfs_serve(h->nfs, h->rpc) == 0);
	lo.nfs = o.nfs = h->nfs;
	ASSERT(nlm_new(&h->nlm, &lo) == 0 && nlm_serve(h->nlm, h->rpc) == 0);
	o.nlm = h->nlm;
	ASSERT(nfs4_new(&h->nfs4, &o) == 0 && nfs4_serve(h->nfs4, h->rpc) == 0);
}

static void head_main(void *arg)
{
	struct server *v = arg;
	struct head *h = &v->h;
	Isthmus__NasConfigApplied r = ISTHMUS__NAS_CONFIG_APPLIED__INIT;
	struct channel *c = sim_channel_open(v->w->array, v->node);
	h->channel = c;
	Isthmus__NasConfig cfg = *v->w->cfg;
	cfg.side = sim_array_side(v->w->array);
	start_services(v);
	if (!sim_node_dead(v->node))
		head_config_apply(h, &cfg, &r);
	for (size_t i = 0; i < r.n_filesystems; i++)
		isthmus__nas_fs_state__free_unpacked(r.filesystems[i], NULL);
	free(r.filesystems);
	v->started = true;
}

static struct server *free_server(struct heads *w)
{
	for (unsigned i = 0; i < HEADS; i++)
		if (!w->servers[i].runs)
			return &w->servers[i];
	return NULL;
}

struct server *heads_start(struct heads *w)
{
	struct server *v = free_server(w);
	ASSERT(v);
	if (sim_node_dead(v->node))
		sim_node_reborn(v->node);
	struct head *h = &v->h;
	memset(h, 0, sizeof(*h));
	v->reactor = (struct reactor){.node = v->node, .net = w->net};
	h->reactor = &v->reactor;
	h->config = &w->config;
	h->env = sim_node_env(v->node);
	h->instance = sim_random(w->sim);
	TAILQ_INIT(&h->filesystems);
	TAILQ_INIT(&h->served);
	task_mutex_init(&h->config_lock);
	task_mutex_init(&h->piv_lock);
	v->runs = true;
	v->started = v->ending = false;
	w->now = v;
	heads_say(w, "head %u starts", v->number);
	sim_node_start(v->node, head_main, v);
	return v;
}

/* ---- end ---- */

/* Nothing is written: its process is dead. */
static void abandon(struct head *h)
{
	struct head_fs *f;
	TAILQ_FOREACH (f, &h->filesystems, link) {
		struct fs *fs = nfs_mount_take(h->nfs, f->id);
		if (fs)
			fs_abandon(fs);
		f->fs = NULL;
		bdev_close(f->bdev);
		f->bdev = NULL;
	}
	h->fenced = true;
	head_config_close(h);
	head_state_close(h);
}

static void free_services(struct server *v)
{
	struct head *h = &v->h;
	head_backup_join(h);
	head_side_join(h);
	nfs4_free(h->nfs4);
	nlm_free(h->nlm);
	nfs_free(h->nfs);
	sim_channel_free(h->channel);
}

static void end_task(void *arg)
{
	struct server *v = arg;
	struct head *h = &v->h;
	while (!v->started)
		env_sleep_ns(h->env, NS_PER_MS);
	sim_server_end(v->rpc);
	/* Killed while it was stopping in order: nothing waits for anything by now. */
	if (h->stopping && !sim_node_dead(v->node)) {
		head_config_close(h);
		head_state_close(h);
	} else {
		abandon(h);
	}
	free_services(v);
	if (!sim_node_dead(v->node))
		sim_node_kill(v->node);
	v->runs = false;
	heads_say(v->w, "head %u has ended", v->number);
}

static void begin_end(struct server *v)
{
	if (v->ending)
		return;
	v->ending = true;
	sim_node_start(v->node, end_task, v);
}

void heads_kill(struct server *v)
{
	if (!v->runs || sim_node_dead(v->node))
		return;
	v->h.stopping = v->h.fenced = true;
	v->w->result->crashes++;
	sim_node_kill(v->node);
	if (v->rpc)
		sim_server_cut(v->rpc);
	begin_end(v);
}

void heads_stop(struct server *v)
{
	if (!v->runs || v->ending || sim_node_dead(v->node))
		return;
	v->h.stopping = true;
	if (v->rpc)
		sim_server_cut(v->rpc);
	begin_end(v);
}

bool heads_serves(const struct server *v)
{
	return v && v->runs && !v->ending && v->h.up && !sim_node_dead(v->node) &&
	       !sim_node_stopped(v->node);
}

bool heads_all_ended(const struct heads *w)
{
	for (unsigned i = 0; i < HEADS; i++)
		if (w->servers[i].runs)
			return false;
	return true;
}
