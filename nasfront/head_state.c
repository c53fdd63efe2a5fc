/* The head's part of the group's running state: opening the PIV, telling it what is served. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/channel/channel_client.h"
#include "nasfront/head.h"
#include "nasfront/nfs/nlm.h"
#include "nasfront/nfs4/nfs4.h"
#include "nasfront/piv/piv.h"
#include "runtime/bdev.h"
#include "runtime/err.h"
#include "runtime/log.h"

/* ---- what is served ---- */

static struct head_served *served_find(struct head *h, const char *fs, const char *path)
{
	struct head_served *s;
	TAILQ_FOREACH (s, &h->served, link)
		if (strcmp(s->fs, fs) == 0 && strcmp(s->path, path) == 0)
			return s;
	return NULL;
}

static void served_remove(struct head *h, struct head_served *s)
{
	TAILQ_REMOVE(&h->served, s, link);
	free(s->fs);
	free(s->path);
	free(s);
}

static void served_want(struct head *h, const char *fs, const char *path)
{
	struct head_served *s = served_find(h, fs, path);
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return;
		s->fs = strdup(fs);
		s->path = strdup(path);
		TAILQ_INSERT_TAIL(&h->served, s, link);
		if (!s->fs || !s->path) {
			served_remove(h, s);
			return;
		}
		piv_serves(h->piv, fs, path, false);
	}
	s->wanted = true;
}

static void served_tell(struct head *h, const Isthmus__NasConfig *cfg)
{
	struct head_served *s, *next;
	TAILQ_FOREACH (s, &h->served, link)
		s->wanted = false;
	for (size_t i = 0; i < cfg->n_exports; i++)
		served_want(h, cfg->exports[i]->fs, cfg->exports[i]->path);
	TAILQ_FOREACH_SAFE (s, &h->served, link, next) {
		if (s->wanted)
			continue;
		piv_serves(h->piv, s->fs, s->path, true);
		served_remove(h, s);
	}
}

/* ---- the volumes ---- */

static void volume_open(struct head *h, uint32_t id, const char *what, struct bdev **ret)
{
	*ret = NULL;
	if (!id)
		return;
	int rc = channel_volume_open(h->channel, id, ret);
	if (rc)
		event_write(LOG_L_WARN, "piv.volume", "%s of the group cannot be opened: %s", what,
			    err_text(rc));
}

static void state_close(struct head *h, bool write)
{
	struct head_served *s;
	/* XNFS 11: even while down. To whom we left what clients have, it is not a restart. */
	if (h->piv && write && h->stopping && !h->ledger)
		piv_set_nsm_state(h->piv, piv_nsm_state(h->piv) + 1);
	head_side_stop(h);
	head_store_close(h, write);
	if (write)
		piv_close(h->piv);
	else
		piv_abandon(h->piv);
	h->piv = NULL;
	while ((s = TAILQ_FIRST(&h->served)))
		served_remove(h, s);
	bdev_close(h->piv_main);
	bdev_close(h->piv_backup);
	h->piv_main = h->piv_backup = NULL;
	h->piv_volume = h->backup_volume = 0;
}

bool head_state_durable(const struct head *h, const Isthmus__NasConfig *cfg)
{
	return strcmp(h->config->durable_state, "on") == 0 &&
	       (cfg->piv_volume || cfg->backup_volume);
}

static void state_open(struct head *h, const Isthmus__NasConfig *cfg)
{
	volume_open(h, cfg->piv_volume, "the processor-information volume", &h->piv_main);
	volume_open(h, cfg->backup_volume, "the backup of the processor-information volume",
		    &h->piv_backup);
	h->piv_volume = cfg->piv_volume;
	h->backup_volume = cfg->backup_volume;
	h->group_id = cfg->group_id;
	head_side_begin(h, cfg);
	head_side_volume(h, &h->piv_main);
	struct piv_opts o = {.env = h->env,
			     .main = h->piv_main,
			     .backup = h->piv_backup,
			     .group_id = cfg->group_id,
			     .head = h->config->name,
			     .address = h->config->address,
			     .instance = h->instance};
	head_side_opts(h, &o);
	int rc = piv_open(&h->piv, &o);
	if (rc == 0)
		rc = piv_start(h->piv);
	if (rc) {
		event_write(LOG_L_ERROR, "piv.unusable", "head %s serves without shared state: %s",
			    h->config->name, err_text(rc));
		state_close(h, false);
		return;
	}
	h->piv_opened++;
	if (head_state_durable(h, cfg))
		head_store_open(h);
	if (h->kept) { /* another volume: it goes on under the same number */
		piv_set_nsm_state(h->piv, h->ledger_number);
		head_store_begin(h, h->ledger_number, h->ledger_owed);
		head_side_open(h);
	} /* else when it is decided what a predecessor left: monitored_take() */
	piv_set_state(h->piv, "up");
}

/* ---- locks ---- */

/* In a record's place of an address: a client of NFSv4, which nobody calls. No address is this. */
#define NFS4_RECORD "nfs4"

/* It has again what it held. */
static bool is_here(struct head *h, const struct piv_monitor *m)
{
	if (strcmp(m->address, NFS4_RECORD))
		return nlm_host_kept(h->nlm, m->name, m->address);
	return h->nfs4 && nfs4_kept_here(h->nfs4, m->name);
}

/* Who is not here, and held nothing, as all that was held is: not kept any longer. */
static void monitored_prune(struct head *h)
{
	unsigned n = 0;
	const struct piv_monitor *m = piv_monitors(h->piv, &n);
	struct piv_monitor *gone = calloc(n + 1, sizeof(*gone));
	unsigned ngone = 0;
	for (unsigned i = 0; gone && i < n; i++)
		if (!is_here(h, &m[i]))
			gone[ngone++] = m[i];
	for (unsigned i = 0; i < ngone; i++)
		piv_monitor(h->piv, gone[i].name, gone[i].address, true);
	free(gone);
}

/* The predecessor ended in its grace period: who is here may have reclaimed only a part. */
static bool in_grace(const struct head *h)
{
	return h->ledger_loaded && h->ledger_owed == OWED_GRACE;
}

static bool reclaims(const struct head *h, const struct piv_monitor *m)
{
	return in_grace(h) && strcmp(m->address, NFS4_RECORD) == 0 &&
	       nfs4_reclaims(h->nfs4, m->name);
}

/* Those of the status monitor into `list`, those of NFSv4 to the service. True: all were. */
static bool monitored_sort(struct head *h, const struct piv_monitor *m, unsigned n,
			   struct nlm_monitored *list, unsigned *ret_nlm, unsigned *ret_nfs4)
{
	bool all = true;
	*ret_nlm = *ret_nfs4 = 0;
	for (unsigned i = 0; i < n; i++) {
		if (h->ledger_loaded && is_here(h, &m[i]) && !reclaims(h, &m[i]))
			continue;
		if (strcmp(m[i].address, NFS4_RECORD)) {
			struct nlm_monitored *to = &list[(*ret_nlm)++];
			snprintf(to->name, sizeof(to->name), "%s", m[i].name);
			snprintf(to->address, sizeof(to->address), "%.63s", m[i].address);
		} else if (h->nfs4) {
			(*ret_nfs4)++;
			all = nfs4_kept(h->nfs4, m[i].name) == 0 && all;
		}
	}
	return all;
}

/* What an earlier incarnation kept of clients with locks; once, at the start. */
static void monitored_take(struct head *h)
{
	unsigned n = 0, nlm = 0, nfs4 = 0;
	if (h->ledger_loaded && !h->ledger_owed)
		monitored_prune(h);
	const struct piv_monitor *m = piv_monitors(h->piv, &n);
	struct nlm_monitored *list = calloc(n + 1, sizeof(*list));
	/* The next odd number: after a kill it was odd, after an orderly end even. Who has all
	 * again that was held is no other, as its clients see it. */
	uint32_t state = (piv_nsm_state(h->piv) + !h->ledger_loaded) | 1;
	bool all = list && monitored_sort(h, m, n, list, &nlm, &nfs4);
	if (in_grace(h)) /* hosts do not say when they have reclaimed */
		all = false;
	if (!head_side_newest(h, true, true)) {
		all = false;
		event_write(LOG_L_WARN, "piv.older",
			    "head %s has an older state of its clients than there was: what was "
			    "newer is lost with its volume, clients reclaim what they hold",
			    h->config->name);
	}
	piv_set_nsm_state(h->piv, state);
	/* Stable before anybody hears the number. */
	bool kept = piv_sync(h->piv) == 0;
	head_store_begin(h, state, !all || !kept || nlm || nfs4 ? OWED_GRACE : OWED_NOTHING);
	/* Nobody is served yet, and a successor would know what was decided here. */
	head_side_open(h);
	h->locking = h->kept = true;
	/* Clients of NFSv4 are not told, they find out; but what they held is theirs to reclaim. */
	nlm_begin(h->nlm, state, list, list ? nlm : 0, !all || !kept, nfs4);
	free(list);
}

/*
 * Without shared state nobody is told of a restart: the grace period alone protects what was held.
 * Where nothing is exported nobody can lock: it begins when something is, or with shared state.
 * What is exported for the first time while the head runs nobody has anything in to reclaim: no
 * grace period then, unless there is state that could not be read.
 */
static void locking_begin(struct head *h, const Isthmus__NasConfig *cfg)
{
	bool configured = cfg->piv_volume || cfg->backup_volume;
	if (h->piv && !h->kept)
		monitored_take(h);
	if (h->locking || !cfg->n_exports)
		return;
	h->locking = true;
	event_write(
	    LOG_L_WARN, "nlm.not_kept",
	    "head %s keeps no list of clients with locks: after a restart they are not told%s",
	    h->config->name, configured ? "" : "; make a head group: isthmus group create");
	nlm_begin(h->nlm, (uint32_t)(env_realtime_ns(h->env) / NS_PER_S) | 1, NULL, 0,
		  configured || !h->applied, false);
}

/*
 * The change is made before the lock is waited for: the write of one who has it takes along what
 * others wait to have written. One that is made to state that goes meanwhile is made again.
 */
int head_state_monitor(void *arg, const char *name, const char *address, bool gone)
{
	struct head *h = arg;
	uint64_t opened = h->piv_opened;
	int rc = h->piv ? piv_monitor(h->piv, name, address, gone) : 0;
	task_mutex_lock(&h->piv_lock);
	if (h->piv_opened != opened)
		rc = h->piv ? piv_monitor(h->piv, name, address, gone) : 0;
	if (h->piv && rc == 0)
		rc = piv_sync(h->piv);
	task_mutex_unlock(&h->piv_lock);
	return rc;
}

int head_state_keep(void *arg, const char *name, bool gone)
{
	return head_state_monitor(arg, name, NFS4_RECORD, gone);
}

void head_state_apply(struct head *h, const Isthmus__NasConfig *cfg)
{
	task_mutex_lock(&h->piv_lock);
	bool backup = h->piv && h->backup_volume == cfg->backup_volume;
	bool same = backup && h->piv_volume == cfg->piv_volume;
	if (backup && !same && h->piv_backup && cfg->piv_volume && h->group_id == cfg->group_id)
		same = head_side_replace(h, cfg) == 0;
	if (!same && (h->piv || cfg->piv_volume || cfg->backup_volume)) {
		state_close(h, true);
		if (cfg->piv_volume || cfg->backup_volume)
			state_open(h, cfg);
	}
	if (h->piv) {
		head_side_apply(h, cfg);
		served_tell(h, cfg);
		piv_sync(h->piv);
	}
	locking_begin(h, cfg);
	h->applied = true;
	task_mutex_unlock(&h->piv_lock);
}

void head_state_close(struct head *h)
{
	task_mutex_lock(&h->piv_lock);
	state_close(h, !h->fenced);
	task_mutex_unlock(&h->piv_lock);
}

void head_state_client_seen(void *arg, const char *address, const char *export_path)
{
	struct head *h = arg;
	if (h->piv)
		piv_client_seen(h->piv, address, export_path);
}
