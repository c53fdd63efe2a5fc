/* Verbs of pools, but pool.move. */
#include "blockcore/core_admin.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static unsigned percent(uint64_t done, uint64_t total)
{
	return (unsigned)(total ? MIN(done, total) * 100 / total : 0);
}

/* What is being made right in the background. */
static void put_work(struct admin_call *call, const struct core_pool *cp)
{
	uint64_t done, total;
	if (cp && cp->pool && pool_resync_needed(cp->pool)) {
		pool_resync_progress(cp->pool, &done, &total);
		admin_put_text(call, "work", "resync %u%%", percent(done, total));
	} else if (cp && cp->filling) {
		pool_fill_progress(cp->pool, &done, &total);
		admin_put_text(call, "work", "rebuild %u%%", percent(done, total));
	} else if (cp && cp->scrubbing) {
		pool_resync_progress(cp->pool, &done, &total);
		admin_put_text(call, "work", "scrub %u%%", percent(done, total));
	} else {
		admin_put_text(call, "work", "%s", "");
	}
}

const char *core_admin_owner(struct core *c, const Isthmus__Pool *mp)
{
	const struct core_pool *cp = mp ? core_pool_find(c, mp->name) : NULL;
	if (!cp || cp->place == CORE_NOWHERE)
		return "";
	bool partner = c->duplex && cp->place == CORE_PARTNER;
	return partner ? c->duplex->partner : c->controller;
}

/* Of one that the partner has, only that has the state. */
static const char *pool_word(const struct core_pool *cp)
{
	if (cp && cp->place == CORE_PARTNER)
		return "partner";
	return cp && cp->pool ? pool_state_name(pool_state(cp->pool)) : "offline";
}

static void put_pool(struct core *c, struct admin_call *call, const Isthmus__Pool *mp)
{
	const struct core_pool *cp = core_pool_find(c, mp->name);
	uint64_t size = mp->extents * mp->extent_size;
	admin_row(call);
	admin_put_text(call, "pool", "%s", mp->name);
	admin_put_text(call, "state", "%s", pool_word(cp));
	admin_put_text(call, "level", "%s", mp->level);
	admin_put_text(call, "checksums", "%s", mp->checksums ? "on" : "off");
	admin_put_number(call, "disks", mp->n_disks);
	admin_put_bytes(call, "size", size);
	admin_put_bytes(call, "free", core_pool_free_bytes(c, mp->name));
	put_work(call, cp);
	admin_put_text(call, "owner", "%s", core_admin_owner(c, mp));
}

void core_admin_put_pools(struct core *c, struct admin_call *call, const char *only)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	admin_table(call, only ? "pool" : "pools", only != NULL);
	for (size_t i = 0; i < am->n_pools; i++)
		if (!only || strcmp(am->pools[i]->name, only) == 0)
			put_pool(c, call, am->pools[i]);
}

static int verb_list(struct admin_call *call, void *arg)
{
	core_admin_put_pools(arg, call, NULL);
	return 0;
}

static void put_word(struct admin_call *call, const struct core_pool *cp)
{
	struct gcm_owner w;
	bool known = cp && core_word(cp, &w);
	admin_put_number(call, "epoch", known ? w.epoch : 0);
	admin_put_text(call, "mirrored", "%s", known && w.mirrored ? "yes" : "no");
}

static int verb_show(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	const char *name = core_admin_text(call, "name");
	const Isthmus__Pool *mp = meta_pool_find(meta_get(c->meta), name);
	struct core_pool *cp = core_pool_find(c, name);
	if (!mp)
		return admin_error(call, -ENOENT, "see `isthmus pool list`",
				   "there is no pool '%s'", name);
	core_admin_put_pools(c, call, name);
	admin_put_bytes(call, "chunk", mp->chunk);
	admin_put_text(call, "preferred_owner", "%s", mp->owner);
	if (c->duplex)
		put_word(call, cp);
	admin_put_bytes(call, "extent_size", mp->extent_size);
	admin_put_number(call, "groups", MAX(mp->n_group_extents, 1));
	if (cp && cp->pool) {
		struct pool_stats st;
		pool_stats(cp->pool, &st);
		admin_put_number(call, "copies", pool_copies(cp->pool));
		admin_put_number(call, "read_repairs", st.read_repairs);
		admin_put_number(call, "resync_fixed", st.resync_fixed);
		admin_put_number(call, "wrong_data", st.wrong_data);
		if (pool_checksums(cp->pool)) {
			admin_put_number(call, "wrong_sums", st.wrong_sums);
			admin_put_number(call, "unmended", st.unmended);
			admin_put_number(call, "unjudged", st.unjudged);
			admin_put_number(call, "sums_lost", st.sums_lost);
			admin_put_number(call, "sum_reads", st.sum_reads);
			admin_put_number(call, "sum_writes", st.sum_writes);
		}
		admin_put_number(call, "rebuilt", st.filled);
		admin_put_number(call, "intent_regions", st.intent);
		admin_put_bytes(call, "rebuild_rate", mp->rebuild_rate);
		if (pool_parity(cp->pool)) {
			admin_put_text(call, "stripe_log", "%s",
				       mp->log_always ? "always" : "degraded");
			admin_put_number(call, "log_entries", st.log_entries);
			admin_put_bytes(call, "log_bytes", st.log_bytes);
			admin_put_number(call, "log_replayed", st.log_replayed);
		}
	} else if (cp) {
		admin_put_text(call, "why", "%s", cp->why);
	}
	core_admin_put_disks(c, call, name, false);
	for (size_t i = 0; i < mp->n_disks; i++) {
		struct disk *d = cp && cp->pool ? pool_disk(cp->pool, (unsigned)i) : NULL;
		if (!d)
			admin_note(call, "disk %zu of the pool, last seen as %s, is not there", i,
				   mp->disks[i]->path);
	}
	return 0;
}

/* on or off; off where it is not given. */
static int arg_checksums(struct admin_call *call, bool *ret)
{
	const char *text = admin_arg_text(call, "checksums");
	*ret = text && strcmp(text, "on") == 0;
	if (text && !*ret && strcmp(text, "off") != 0)
		return admin_error(call, -EINVAL, "--checksums on, or off",
				   "'%s' says neither on nor off", text);
	return 0;
}

static int verb_create(struct admin_call *call, void *arg)
{
	const char *paths[POOL_DISKS_MAX + 1];
	unsigned n = 0;
	uint64_t chunk = POOL_CHUNK_DEFAULT;
	char why[CORE_WHY_LEN] = "";
	const char *d;
	bool checksums;
	int rc = admin_arg_size(call, "chunk", &chunk);
	if (rc == 0 || rc == -ENOENT)
		rc = arg_checksums(call, &checksums);
	if (rc)
		return rc;
	for (unsigned i = 0; i <= POOL_DISKS_MAX && (d = admin_arg_list(call, "disk", i)); i++)
		paths[n++] = d;
	if (n > POOL_DISKS_MAX)
		return admin_error(call, -EINVAL, "make several pools",
				   "a pool has at most %d disks", POOL_DISKS_MAX);
	rc = core_pool_create(arg, core_admin_text(call, "name"), core_admin_text(call, "level"),
			      (uint32_t)MIN(chunk, UINT32_MAX), checksums, paths, n, why);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

static int verb_grow(struct admin_call *call, void *arg)
{
	const char *paths[POOL_DISKS_MAX + 1], *d;
	unsigned n = 0;
	char why[CORE_WHY_LEN] = "";
	while (n <= POOL_DISKS_MAX && (d = admin_arg_list(call, "disk", n)))
		paths[n++] = d;
	int rc = core_pool_grow(arg, core_admin_text(call, "name"), paths, n, why);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

static int verb_remove(struct admin_call *call, void *arg)
{
	char why[CORE_WHY_LEN] = "";
	int rc = core_pool_remove(arg, core_admin_text(call, "name"), why);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

/* The position a path names: where the pool last saw it. */
static int find_place(struct admin_call *call, struct core *c, struct pool_place *ret)
{
	const char *name = core_admin_text(call, "name"), *path = core_admin_text(call, "disk");
	const Isthmus__Pool *mp = meta_pool_find(meta_get(c->meta), name);
	ret->cp = core_pool_find(c, name);
	if (!mp || !ret->cp)
		return admin_error(call, -ENOENT, "see `isthmus pool list`",
				   "there is no pool '%s'", name);
	if (!ret->cp->pool || pool_state(ret->cp->pool) == POOL_OFFLINE)
		return admin_error(
		    call, -EIO, "attach the disks that are missing and restart the controller",
		    "pool '%s' is offline: there is nothing to fill a disk from", name);
	for (ret->position = 0; ret->position < mp->n_disks; ret->position++)
		if (strcmp(mp->disks[ret->position]->path, path) == 0)
			return 0;
	return admin_error(call, -ENOENT, "see `isthmus pool show`", "pool '%s' knows no disk '%s'",
			   name, path);
}

/* The disk to fill: there, and nobody else's. What failed or was missing is opened once more. */
static int find_fresh(struct admin_call *call, struct core *c, const struct pool_place *at,
		      struct disk **ret)
{
	const char *path = admin_arg_text(call, "new");
	size_t position;
	path = path ? path : core_admin_text(call, "disk");
	struct disk *d = core_disk_find(c, path);
	if (!d)
		return admin_error(call, -ENOENT,
				   "add it to the configuration file and restart the controller",
				   "disk '%s' is not configured", path);
	struct disk *old = d;
	if (disk_state(d) == DISK_FAILED || disk_state(d) == DISK_MISSING)
		d = core_disk_reopen(c, d);
	if (!d && disk_left(old))
		return admin_error(
		    call, -EBUSY, "wait until it answers, detach it, or name another disk",
		    "disk '%s' was given up while it did not answer: %u calls are not "
		    "back, and might yet write to it",
		    path, disk_left(old));
	if (!d)
		return admin_error(call, -EIO, "attach it, or name another disk",
				   "disk '%s' cannot be opened", path);
	if (disk_state(d) == DISK_FOREIGN)
		return admin_error(call, -ERR_FOREIGN, "`isthmus disk wipe --force` makes it blank",
				   "disk '%s' carries another label", path);
	const Isthmus__Pool *mp = core_disk_pool(c, d, &position);
	if (mp && (strcmp(mp->name, at->cp->name) != 0 || position != at->position))
		return admin_error(call, -EBUSY, "name a disk that is free",
				   "disk '%s' is in pool '%s'", path, mp->name);
	*ret = d;
	return 0;
}

/* With disks_lock. */
static int replace(struct admin_call *call, struct core *c)
{
	struct pool_place at;
	struct disk *d = NULL;
	char why[CORE_WHY_LEN] = "";
	int rc = find_place(call, c, &at);
	if (rc)
		return rc;
	if (pool_filling(at.cp->pool, at.position))
		return admin_error(call, -EBUSY, "see `isthmus pool list`",
				   "the place of disk '%s' is being filled already",
				   core_admin_text(call, "disk"));
	/* before anything is taken out: a wrong name must not cost redundancy */
	rc = find_fresh(call, c, &at, &d);
	if (rc)
		return rc;
	if (!pool_disk_fits(at.cp->pool, at.position, d))
		return admin_error(call, -ENOSPC, "name a larger disk",
				   "disk '%s' is too small for pool '%s', or has larger blocks",
				   disk_path(d), at.cp->name);
	if (pool_disk_in(at.cp->pool, at.position)) {
		if (!admin_arg_flag(call, "force"))
			return admin_error(
			    call, -EBUSY,
			    "--force takes it out first: until the new one is filled "
			    "the pool has less redundancy",
			    "disk '%s' is in use", core_admin_text(call, "disk"));
		rc = pool_drop(at.cp->pool, pool_disk(at.cp->pool, at.position),
			       "taken out to be replaced");
		if (rc)
			return admin_error(call, rc, "replace the failed disk first",
					   "the pool cannot spare disk '%s'",
					   core_admin_text(call, "disk"));
		rc = find_fresh(call, c, &at, &d); /* the same disk, opened anew */
		if (rc)
			return rc;
	}
	rc = core_fill_onto(&at, d, why);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

static int verb_replace(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	task_mutex_lock(&c->disks_lock);
	int rc = replace(call, c);
	task_mutex_unlock(&c->disks_lock);
	return rc;
}

static int verb_scrub(struct admin_call *call, void *arg)
{
	char why[CORE_WHY_LEN] = "";
	int rc = core_pool_scrub(arg, core_admin_text(call, "name"), why);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

/* always or degraded. 0; -ENOENT: not given. */
static int arg_log(struct admin_call *call, bool *ret_always)
{
	const char *text = admin_arg_text(call, "stripe-log");
	if (!text)
		return -ENOENT;
	*ret_always = strcmp(text, "always") == 0;
	if (!*ret_always && strcmp(text, "degraded") != 0)
		return admin_error(call, -EINVAL, "--stripe-log always, or degraded",
				   "'%s' is no way to log stripes", text);
	return 0;
}

static int verb_set(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	const char *name = core_admin_text(call, "name");
	char why[CORE_WHY_LEN] = "";
	uint64_t rate = 0;
	bool always = false;
	int rate_rc = admin_arg_size(call, "rebuild-rate", &rate), log_rc = arg_log(call, &always);
	if (rate_rc == -ENOENT && log_rc == -ENOENT)
		return admin_error(
		    call, -EINVAL,
		    "--rebuild-rate SIZE, 0 for no limit; --stripe-log always or degraded",
		    "nothing to set");
	if ((rate_rc && rate_rc != -ENOENT) || (log_rc && log_rc != -ENOENT))
		return rate_rc && rate_rc != -ENOENT ? rate_rc : log_rc;
	int rc = log_rc ? 0 : core_pool_set_log(c, name, always, why);
	if (rc == 0 && rate_rc == 0)
		rc = core_pool_set_rate(c, name, rate, why);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

int core_admin_pool(struct core *c, struct admin_server *s)
{
	static const struct core_verb verbs[] = {
	    {"pool.create", verb_create}, {"pool.list", verb_list},	  {"pool.show", verb_show},
	    {"pool.remove", verb_remove}, {"pool.replace", verb_replace}, {"pool.set", verb_set},
	    {"pool.scrub", verb_scrub},	  {"pool.grow", verb_grow},
	};
	return core_admin_add(c, s, verbs, ARRAY_LEN(verbs));
}
