/* backup.run, backup.list, backup.status, backup.verify, backup.restore, backup.policy */
#include "blockcore/core_admin.h"
#include "proto/channel.pb-c.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADS_MAX 64u

static int no_group(struct admin_call *call, const char *name)
{
	return admin_error(call, -ENOENT, "see `isthmus group list`", "there is no head group '%s'",
			   name);
}

/* Names of the groups a backup verb is about, to be freed; n 0 and an error answered. */
static int choose_groups(struct core *c, struct admin_call *call, bool all_by_default, char ***ret,
			 size_t *ret_n)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	const char *name = admin_arg_text(call, "group");
	bool all = !name && (all_by_default || admin_arg_flag(call, "all"));
	if (name && !meta_group_find(am, name))
		return no_group(call, name);
	if (!name && am->n_groups == 0 && !all_by_default)
		return admin_error(call, -ENOENT, "make one: `isthmus group create`",
				   "there is no head group");
	if (!name && !all && am->n_groups > 1)
		return admin_error(call, -EINVAL, "name one, or say --all",
				   "there are %zu head groups", am->n_groups);
	char **names = calloc(am->n_groups ? am->n_groups : 1, sizeof(*names));
	size_t n = 0;
	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < am->n_groups; i++)
		if (!name || strcmp(am->groups[i]->name, name) == 0)
			names[n++] = strdup(am->groups[i]->name);
	*ret = names;
	*ret_n = n;
	return 0;
}

static void free_names(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

static int verb_backup_run(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	struct core_progress p = {call, "copying"};
	char why[CORE_WHY_LEN], **names;
	size_t n;
	int rc = choose_groups(c, call, false, &names, &n);
	if (rc)
		return rc;
	admin_table(call, "backups", false);
	for (size_t i = 0; i < n && rc == 0; i++) {
		struct backup_result r;
		rc = core_backup_group(c, names[i], core_admin_progress, &p, &r, why);
		if (rc) {
			core_admin_fail(call, rc, why);
			break;
		}
		admin_row(call);
		admin_put_text(call, "group", "%s", names[i]);
		admin_put_number(call, "backup", r.seq);
		admin_put_bytes(call, "copied", r.bytes_copied);
		admin_put_bytes(call, "of", r.bytes_total);
		admin_put_duration(call, "took", r.duration_ns);
	}
	free_names(names, n);
	return rc;
}

/* Where its heads live, when not all live on the volume alone. */
static void put_sides(struct admin_call *call, const Isthmus__HeadGroup *g)
{
	static const char *const names[] = {"on volume", "on backup", "on both", "moving"};
	char text[256] = "";
	size_t at = 0;
	for (size_t i = 0; i < g->n_sides && at < sizeof(text); i++)
		at += (size_t)snprintf(
		    text + at, sizeof(text) - at, "%s%.40s %s", i ? ", " : "", g->sides[i]->head,
		    g->sides[i]->side < ARRAY_LEN(names) ? names[g->sides[i]->side] : "?");
	admin_put_text(call, "heads", "%s", g->unfilled && !at ? "volume not filled yet" : text);
}

static void put_backup(struct core *c, struct admin_call *call, const Isthmus__HeadGroup *g,
		       bool status)
{
	const Isthmus__Volume *b = meta_volume_by_id(meta_get(c->meta), g->backup_volume);
	struct volume *v = core_volume_get(c, g->piv_volume);
	uint64_t done = 0, total = 0;
	bool running = v && volume_backup_progress(v, &done, &total);
	admin_row(call);
	admin_put_text(call, "group", "%s", g->name);
	if (status) {
		admin_put_text(call, "state", "%s", running ? "copying" : "idle");
		admin_put_bytes(call, "done", running ? done : 0);
		admin_put_bytes(call, "of", running ? total : 0);
		put_sides(call, g);
	}
	admin_put_number(call, "backup", b ? b->backup_seq : 0);
	if (b && b->backup_seq)
		admin_put_time(call, "time", b->backup_time_ns);
	else
		admin_put_text(call, "time", "%s", "never");
	if (!status) {
		admin_put_duration(call, "took", b ? b->backup_duration_ns : 0);
		admin_put_bytes(call, "copied", b ? b->backup_bytes : 0);
		admin_put_bytes(call, "size", b ? b->size : 0);
		if (b && b->backup_crc)
			admin_put_text(call, "checksum", "%08x", b->backup_crc);
		else
			admin_put_text(call, "checksum", "%s", "");
	}
	core_volume_put(v);
}

static int list_backups(struct core *c, struct admin_call *call, bool status)
{
	char **names;
	size_t n;
	int rc = choose_groups(c, call, true, &names, &n);
	if (rc)
		return rc;
	admin_table(call, "backups", false);
	for (size_t i = 0; i < n; i++)
		put_backup(c, call, meta_group_find(meta_get(c->meta), names[i]), status);
	free_names(names, n);
	return 0;
}

static int verb_backup_list(struct admin_call *call, void *arg)
{
	return list_backups(arg, call, false);
}

static int verb_backup_status(struct admin_call *call, void *arg)
{
	return list_backups(arg, call, true);
}

/* Who may write the volume alone keeps the two from being the same. */
static bool all_write_along(struct core *c, const Isthmus__HeadGroup *g)
{
	struct core_head *heads = calloc(HEADS_MAX, sizeof(*heads));
	unsigned n = heads && c->hooks.heads ? c->hooks.heads(c->hooks.arg, heads, HEADS_MAX) : 0;
	bool all = heads;
	for (unsigned i = 0; i < MIN(n, HEADS_MAX); i++)
		if (strcmp(heads[i].group, g->name) == 0)
			all = all && core_side_of(g, heads[i].name) == ISTHMUS__SIDE__ON_BOTH;
	free(heads);
	return all;
}

/* Why there is nothing to compare a backup with; NULL: there is, when *ret_both the volume, else
 * its checksum. */
static const char *cannot_verify(struct core *c, const Isthmus__HeadGroup *g,
				 const Isthmus__Volume *b, bool *ret_both)
{
	bool both = false;
	for (size_t i = 0; i < g->n_sides; i++) {
		if (g->sides[i]->side != ISTHMUS__SIDE__ON_BOTH)
			return "heads live on it";
		both = true;
	}
	*ret_both = both;
	if (!b->backup_seq)
		return "none yet";
	if (both)
		return all_write_along(c, g) ? NULL : "not all heads write it";
	return b->backup_crc ? NULL : "heads wrote it since";
}

/* ok, why there is nothing to compare with, or the damage, for one group. */
static int verify_one(struct core *c, struct admin_call *call, const char *name)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	const Isthmus__HeadGroup *g = meta_group_find(am, name);
	const Isthmus__Volume *b = g ? meta_volume_by_id(am, g->backup_volume) : NULL;
	if (!b)
		return 0;
	uint64_t seq = b->backup_seq;
	bool both = false;
	const char *cannot = cannot_verify(c, g, b, &both);
	/* Where heads write it, its checksum is that of a moment that is gone. */
	int rc = cannot ? 0
		 : both ? core_backup_compare(c, g->piv_volume, b->id)
			: core_backup_verify(c, b->id, b->backup_crc);
	admin_row(call);
	admin_put_text(call, "group", "%s", name);
	admin_put_number(call, "backup", seq);
	admin_put_text(call, "result", "%s", cannot ? cannot : rc ? err_text(rc) : "ok");
	return rc;
}

static int verb_backup_verify(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	char **names;
	size_t n;
	int bad = 0, rc = choose_groups(c, call, true, &names, &n);
	if (rc)
		return rc;
	admin_table(call, "backups", false);
	for (size_t i = 0; i < n; i++) {
		rc = verify_one(c, call, names[i]);
		bad = rc ? rc : bad;
	}
	free_names(names, n);
	if (!bad)
		return 0;
	return admin_error(call, bad, "run `isthmus backup run` and look at `isthmus event list`",
			   "a backup does not hold: %s", err_text(bad));
}

static int verb_backup_restore(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	struct core_progress p = {call, "zeroing"};
	char why[CORE_WHY_LEN] = "", **names;
	size_t n;
	int rc = choose_groups(c, call, false, &names, &n);
	if (rc)
		return rc;
	if (n == 1)
		rc = core_piv_renew(c, names[0], admin_arg_text(call, "pool"), core_admin_progress,
				    &p, why);
	free_names(names, n);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

/* ---- policy ---- */

/* "90", "90s", "15m", "2h", "1d": seconds. */
static int parse_interval(const char *text, uint64_t *ret)
{
	static const struct {
		const char *unit;
		uint64_t seconds;
	} units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 24 * 3600}};
	char *end;
	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (strcmp(end, units[i].unit) == 0 && !errno && n > 0 &&
		    n <= BACKUP_INTERVAL_MAX / units[i].seconds) {
			*ret = n * units[i].seconds;
			return 0;
		}
	return -EINVAL;
}

struct policy {
	char *const *groups;
	size_t n;
	bool manual, load, continuous;
	uint64_t interval; /* 0: as it was */
};

static const char *mode_of(const Isthmus__HeadGroup *g)
{
	return g->backup_continuous ? "continuous"
	       : g->backup_manual   ? "manual"
	       : g->backup_load	    ? "load"
				    : "interval";
}

static int change_policy(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct policy *p = arg;
	for (size_t i = 0; i < p->n; i++) {
		Isthmus__HeadGroup *g = (Isthmus__HeadGroup *)meta_group_find(am, p->groups[i]);
		if (!g)
			return -ENOENT;
		g->backup_manual = p->manual;
		g->backup_load = p->load;
		g->backup_continuous = p->continuous;
		g->backup_interval = p->interval ? p->interval : g->backup_interval;
	}
	return 0;
}

static void put_policy(struct core *c, struct admin_call *call, const char *name)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	const Isthmus__HeadGroup *g = meta_group_find(am, name);
	const Isthmus__Volume *b = g ? meta_volume_by_id(am, g->backup_volume) : NULL;
	if (!g)
		return;
	admin_row(call);
	admin_put_text(call, "group", "%s", g->name);
	admin_put_text(call, "policy", "%s", mode_of(g));
	if (g->backup_manual)
		admin_put_text(call, "interval", "%s", "");
	else
		admin_put_duration(call, "interval", meta_backup_interval(g) * NS_PER_S);
	if (b && b->backup_seq)
		admin_put_time(call, "last", b->backup_time_ns);
	else
		admin_put_text(call, "last", "%s", "never");
}

static int verb_backup_policy(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	const char *interval = admin_arg_text(call, "interval");
	char why[CORE_WHY_LEN] = "", **names;
	struct policy p = {.manual = admin_arg_flag(call, "manual"),
			   .load = admin_arg_flag(call, "load"),
			   .continuous = admin_arg_flag(call, "continuous")};
	bool set = interval || p.manual || p.load || p.continuous;
	size_t n;
	if ((interval && p.manual) || p.manual + p.load + p.continuous > 1)
		return admin_error(call, -EINVAL,
				   "say one of the modes; --interval goes with --load and "
				   "--continuous",
				   "--manual, --load and --continuous exclude each other, and "
				   "--interval excludes --manual");
	if (interval && parse_interval(interval, &p.interval))
		return admin_error(call, -EINVAL, "write 90s, 15m, 2h or 1d, at most 365d",
				   "'%s' is not an interval", interval);
	int rc = choose_groups(c, call, !set, &names, &n);
	if (rc)
		return rc;
	p.groups = names;
	p.n = n;
	if (set)
		rc = meta_update(c->meta, change_policy, &p, why);
	admin_table(call, "policies", false);
	for (size_t i = 0; i < n && rc == 0; i++)
		put_policy(c, call, names[i]);
	free_names(names, n);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

int core_admin_backup(struct core *c, struct admin_server *s)
{
	static const struct core_verb verbs[] = {
	    {"backup.run", verb_backup_run},	   {"backup.list", verb_backup_list},
	    {"backup.status", verb_backup_status}, {"backup.verify", verb_backup_verify},
	    {"backup.policy", verb_backup_policy}, {"backup.restore", verb_backup_restore},
	};
	return core_admin_add(c, s, verbs, ARRAY_LEN(verbs));
}
