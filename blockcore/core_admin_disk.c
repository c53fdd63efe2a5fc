/* disk.list, disk.wipe */
#include "blockcore/core_admin.h"
#include "blockcore/control/meta_share.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The word for the admin: an online disk that its pool does without is "out", one that is not
 * what was opened and cannot be done without, or returns errors, "failing". */
static const char *state_word(struct core *c, const struct disk *d, const Isthmus__Pool *mp,
			      size_t position)
{
	enum disk_state s = disk_state(d);
	if (s != DISK_ONLINE)
		return disk_state_name(s);
	if (!mp)
		return core_disk_spare(c, d) ? "spare" : "free";
	const struct core_pool *cp = core_pool_find(c, mp->name);
	char reason[160];
	if (cp && cp->place == CORE_PARTNER)
		return "online"; /* more is known there */
	if (cp && cp->pool && pool_filling(cp->pool, (unsigned)position))
		return "filling";
	if (!cp || !cp->pool || !pool_disk_in(cp->pool, (unsigned)position))
		return "out";
	if (core_disk_stalled(d, reason, sizeof(reason)))
		return "slow";
	disk_reason((struct disk *)d, reason);
	return reason[0] ? "failing" : "online";
}

static void put_disk(struct core *c, struct admin_call *call, struct disk *d,
		     const Isthmus__Pool *mp, size_t position)
{
	char reason[160];
	struct disk_stats st;
	const char *state = state_word(c, d, mp, position);
	disk_stats(d, &st);
	disk_reason(d, reason);
	if (strcmp(state, "slow") == 0)
		core_disk_stalled(d, reason, sizeof(reason));
	if (strcmp(state, "out") == 0)
		snprintf(reason, sizeof(reason), "was missing or failed before: its data is old");
	admin_row(call);
	admin_put_text(call, "disk", "%s", disk_path(d));
	admin_put_text(call, "state", "%s", state);
	admin_put_text(call, "pool", "%s", mp ? mp->name : "");
	if (mp)
		admin_put_number(call, "position", position);
	else
		admin_put_text(call, "position", "%s", "");
	admin_put_bytes(call, "size", disk_bdev(d)->size);
	admin_put_number(call, "reads", st.reads);
	admin_put_number(call, "writes", st.writes);
	admin_put_number(call, "read_errors", st.read_errors);
	admin_put_number(call, "write_errors", st.write_errors);
	admin_put_number(call, "wrong_data", st.wrong_data);
	admin_put_text(call, "why", "%s", reason);
	admin_put_text(call, "owner", "%s", core_admin_owner(c, mp));
}

void core_admin_put_disks(struct core *c, struct admin_call *call, const char *pool, bool bad)
{
	bool table = !bad;
	if (table)
		admin_table(call, "disks", false);
	for (unsigned i = 0; i < c->ndisks; i++) {
		struct disk *d = c->disks[i];
		size_t position = 0;
		const Isthmus__Pool *mp = core_disk_pool(c, d, &position);
		if (pool && (!mp || strcmp(mp->name, pool) != 0))
			continue;
		const char *state = state_word(c, d, mp, position);
		bool well = strcmp(state, "online") == 0 || strcmp(state, "free") == 0 ||
			    strcmp(state, "blank") == 0 || strcmp(state, "spare") == 0;
		if (bad && well)
			continue;
		if (!table)
			admin_table(call, "bad_disks", false);
		table = true;
		put_disk(c, call, d, mp, position);
	}
}

static int verb_list(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	const char *pool = admin_arg_text(call, "pool");
	if (pool && !meta_pool_find(meta_get(c->meta), pool))
		return admin_error(call, -ENOENT, "see `isthmus pool list`",
				   "there is no pool '%s'", pool);
	core_admin_put_disks(c, call, pool, false);
	return 0;
}

/* With disks_lock. */
static int wipe(struct admin_call *call, struct core *c)
{
	const char *path = core_admin_text(call, "disk");
	struct disk *d = core_disk_find(c, path);
	size_t position;
	char why[160];
	if (!d)
		return admin_error(call, -ENOENT,
				   "see `isthmus disk list`; disks are added in the configuration "
				   "file",
				   "disk '%s' is not configured", path);
	const Isthmus__Pool *mp = core_disk_pool(c, d, &position);
	const struct core_pool *cp = mp ? core_pool_find(c, mp->name) : NULL;
	if (cp && cp->pool &&
	    (pool_disk_in(cp->pool, (unsigned)position) ||
	     pool_filling(cp->pool, (unsigned)position) || mp->disks[position]->filling))
		return admin_error(call, -EBUSY, "remove the pool first",
				   "disk '%s' is in use by pool '%s'", path, mp->name);
	if (cp && cp->place == CORE_PARTNER)
		return admin_error(call, -ERR_NOT_OWNER, "say it there",
				   "disk '%s' is in pool '%s' of controller '%s'", path, mp->name,
				   c->duplex->partner);
	if (core_disk_spare(c, d))
		return admin_error(call, -EBUSY, "`isthmus disk spare --remove` frees it",
				   "disk '%s' is a spare", path);
	if (disk_left(d))
		return admin_error(
		    call, -EBUSY, "wait until it answers, or detach it",
		    "disk '%s' was given up while it did not answer: %u calls are not "
		    "back, and might yet write to it",
		    path, disk_left(d));
	disk_reason(d, why);
	enum disk_state s = disk_state(d);
	if (s == DISK_MISSING)
		return admin_error(call, -ENODEV, "attach it and restart the controller",
				   "disk '%s' is missing: %s", path, why);
	if ((s == DISK_FOREIGN || s == DISK_FAILED || mp) && !admin_arg_flag(call, "force"))
		return admin_error(
		    call, -ERR_FOREIGN, "--force wipes it all the same; what it holds is lost",
		    "disk '%s' %s%s", path, mp ? "belongs to pool " : "", mp ? mp->name : why);
	meta_disk_remove(c->meta, d);
	int rc = disk_wipe(d);
	if (rc)
		return admin_error(call, rc, NULL, "disk '%s' cannot be wiped: %s", path,
				   err_text(rc));
	meta_tell_labels(c->meta);
	event_write(LOG_L_NOTICE, "disk.wiped", "disk %s", path);
	return 0;
}

static int verb_wipe(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	task_mutex_lock(&c->disks_lock);
	int rc = wipe(call, c);
	task_mutex_unlock(&c->disks_lock);
	return rc;
}

static int verb_spare(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	const char *path = core_admin_text(call, "disk");
	struct disk *d = core_disk_find(c, path);
	char why[CORE_WHY_LEN] = "";
	int rc;
	if (admin_arg_flag(call, "remove"))
		rc = core_spare_remove(c, path, why);
	else if (d)
		rc = core_spare_add(c, d, why);
	else
		return admin_error(call, -ENOENT,
				   "see `isthmus disk list`; disks are added in the configuration "
				   "file",
				   "disk '%s' is not configured", path);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

int core_admin_disk(struct core *c, struct admin_server *s)
{
	static const struct core_verb verbs[] = {
	    {"disk.list", verb_list},
	    {"disk.wipe", verb_wipe},
	    {"disk.spare", verb_spare},
	};
	return core_admin_add(c, s, verbs, ARRAY_LEN(verbs));
}
