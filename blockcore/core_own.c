/*
 * Where pools and their volumes are (core_own.h): places, epochs, watches, claims of disks.
 *
 * Places and watches change on the core's reactor alone; places are read from any thread.
 */
#include "blockcore/core_own.h"
#include "blockcore/control/meta_share.h"
#include "blockcore/core_impl.h"
#include "blockcore/far.h"
#include "blockcore/link/link.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLAIM_NS      (10 * NS_PER_S) /* the last I/O of a process that died has long ended */
#define CLAIM_TELL_NS (1 * NS_PER_S)

/* ---- places ---- */

enum core_place core_volume_place(const struct volume *v)
{
	return (enum core_place)atomic_load(&v->place);
}

uint64_t core_volume_owner_epoch(const struct volume *v)
{
	return atomic_load(&v->owner_epoch);
}

int core_volume_settle(struct volume *v, uint64_t timeout_ns)
{
	uint64_t until = env_now_ns(v->env) + timeout_ns;
	while (core_volume_place(v) == CORE_MOVING) {
		if (env_now_ns(v->env) >= until)
			return -ETIMEDOUT;
		env_sleep_ns(v->env, NS_PER_MS);
	}
	return 0;
}

/* ---- watches ---- */

struct core_own_watch {
	void (*fn)(void *arg, struct volume *v);
	void *arg;
	bool dead;
	TAILQ_ENTRY(core_own_watch) link;
};

int core_own_watch(struct core *c, void (*fn)(void *arg, struct volume *v), void *arg,
		   struct core_own_watch **ret)
{
	CHECK(c, CORE_MAGIC);
	struct core_own_watch *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->fn = fn;
	w->arg = arg;
	TAILQ_INSERT_TAIL(&c->own_watches, w, link);
	*ret = w;
	return 0;
}

static void free_dead(struct core *c)
{
	struct core_own_watch *w, *next;
	TAILQ_FOREACH_SAFE (w, &c->own_watches, link, next)
		if (w->dead) {
			TAILQ_REMOVE(&c->own_watches, w, link);
			free(w);
		}
}

void core_own_unwatch(struct core *c, struct core_own_watch *w)
{
	CHECK(c, CORE_MAGIC);
	w->dead = true;
	if (!c->own_telling)
		free_dead(c);
}

void core_own_tell(struct core *c, struct volume *v)
{
	struct core_own_watch *w;
	c->own_telling++;
	TAILQ_FOREACH (w, &c->own_watches, link)
		if (!w->dead)
			w->fn(w->arg, v);
	if (--c->own_telling == 0)
		free_dead(c);
}

void core_own_free(struct core *c)
{
	struct core_own_watch *w;
	while ((w = TAILQ_FIRST(&c->own_watches))) {
		TAILQ_REMOVE(&c->own_watches, w, link);
		free(w);
	}
}

struct link *core_link(struct core *c)
{
	CHECK(c, CORE_MAGIC);
	return c->link;
}

void core_set_link(struct core *c, struct link *l)
{
	CHECK(c, CORE_MAGIC);
	if (c->link && !l && c->duplex) {
		meta_link_serve(c->meta_link, c->link, NULL);
		link_serve(c->link, LINK_SVC_OWNER, NULL, NULL);
		core_far_serve(NULL, c->link);
		c->partner_up = false;
		core_partner_unlink(c);
	}
	c->link = l;
}

/* ---- claims ---- */

/* The pool's word is not the one that its disks are claimed for. */
static bool word_changed(struct core *c, const uint8_t pool[16], const struct gcm_owner *was)
{
	struct gcm_owner w;
	return was && c->duplex->gcm->ops->owner(c->duplex->gcm, pool, &w) &&
	       (w.epoch != was->epoch || w.controller != was->controller);
}

static int claim(struct core *c, struct disk *d, const uint8_t pool[16],
		 const struct gcm_owner *was)
{
	uint64_t begun = env_now_ns(c->env), now;
	bool told = false;
	int rc;
	while ((rc = disk_claim(d, pool)) == -EBUSY) {
		now = env_now_ns(c->env);
		if (now - begun >= CLAIM_NS || c->closing)
			break;
		if (word_changed(c, pool, was))
			return -ERR_EPOCH_STALE;
		if (now - begun >= CLAIM_TELL_NS && !told)
			event_write(LOG_L_WARN, "disk.claimed",
				    "disk %s is in use by another process (another controller of "
				    "this array, or another array); waiting for it",
				    disk_path(d));
		told |= now - begun >= CLAIM_TELL_NS;
		env_sleep_ns(c->env, NS_PER_MS);
	}
	if (rc && rc != -EBUSY && !c->duplex) {
		/* Alone it goes without; with a partner nothing else keeps late writes off. */
		event_write(LOG_L_WARN, "disk.not_claimed",
			    "disk %s cannot be locked against other processes: %s", disk_path(d),
			    err_text(rc));
		return 0;
	}
	return rc;
}

int core_disk_claim(struct core *c, struct disk *d, const uint8_t pool[16])
{
	return claim(c, d, pool, NULL);
}

/* A disk that the pool has lost is not waited for: perhaps it hangs, with calls of whoever had it.
 * It is claimed before it is filled (core_fill.c). */
static int claim_lost(struct core *c, struct disk *d, const uint8_t pool[16])
{
	int rc = disk_claim(d, pool);
	if (rc != -EBUSY)
		return rc ? claim(c, d, pool, NULL) : 0;
	event_write(LOG_L_WARN, "disk.claimed",
		    "disk %s, which its pool has lost, has calls of another process yet; it is not "
		    "used before they have ended",
		    disk_path(d));
	return 0;
}

static const char *claim_failure(int rc)
{
	if (rc == -EBUSY)
		return "is in use by another process";
	return rc == -ERR_EPOCH_STALE ? "is its owner's again" : "cannot be locked";
}

int core_pool_claim(struct core *c, const Isthmus__Pool *mp, const struct gcm_owner *was, char *why,
		    size_t size)
{
	struct {
		uint8_t disk[16];
		bool lost;
	} ids[POOL_DISKS_MAX];
	uint8_t pool[16];
	size_t n = MIN(mp->n_disks, (size_t)POOL_DISKS_MAX); /* mp goes when claiming waits */
	memcpy(pool, mp->uuid.data, 16);
	for (size_t i = 0; i < n; i++) {
		memcpy(ids[i].disk, mp->disks[i]->uuid.data, 16);
		ids[i].lost = mp->disks[i]->failed && !mp->disks[i]->filling;
	}
	for (size_t i = 0; i < n; i++) {
		struct disk *d = core_disk_by_uuid(c, ids[i].disk);
		int rc = !d ? 0 : ids[i].lost ? claim_lost(c, d, pool) : claim(c, d, pool, was);
		if (rc == 0)
			continue;
		snprintf(why, size, "disk %.80s %s", disk_path(d), claim_failure(rc));
		core_pool_unclaim(c, pool);
		return rc;
	}
	return 0;
}

void core_pool_unclaim(struct core *c, const uint8_t pool[16])
{
	for (unsigned i = 0; i < c->ndisks; i++)
		if (disk_claimed_for(c->disks[i], pool))
			disk_unclaim(c->disks[i]);
	for (unsigned i = 0; i < c->nretired; i++)
		if (disk_claimed_for(c->retired[i], pool))
			disk_unclaim(c->retired[i]);
}
