/*
 * The verbs quota.list, quota.set, quota.grace and quota.tree: quotas of a mounted file system.
 * Owners and groups are numbers, as in NFS.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/fs/fs.h"
#include "nasfront/head.h"
#include "runtime/admin.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"

#define ROWS_MAX  100000
#define GRACE_MAX (10ull * 365 * 86400)

static const char *const kinds[] = {
    [FS_QUOTA_USER] = "user", [FS_QUOTA_GROUP] = "group", [FS_QUOTA_TREE] = "tree"};

struct quota_call {
	struct admin_call *call;
	int (*fn)(struct quota_call *q, struct fs *fs);
	bool mounted;
	const char *fs, *path;
	enum fs_quota_kind kind; /* 0: all */
	uint32_t id;
	struct fs_quota_limits limits;
	bool set_grace[FS_QUOTA_UNITS];
	uint64_t grace[FS_QUOTA_UNITS];
};

static int run(void *arg, struct fs *fs)
{
	struct quota_call *q = arg;
	q->mounted = true;
	return q->fn(q, fs);
}

static int use_fs(struct head *h, struct quota_call *q,
		  int (*fn)(struct quota_call *q, struct fs *fs))
{
	q->fn = fn;
	int rc = nfs_mount_use(h->nfs, q->fs, run, q);
	if (!q->mounted)
		return admin_error(q->call, rc, "isthmus fs list shows which head serves it",
				   "head %s has not mounted file system %.64s", h->config->name,
				   q->fs);
	if (rc == -ERR_CORRUPT)
		return admin_error(q->call, rc, "unmount it and run fs check --device … --repair",
				   "the quota records of file system %.64s are damaged", q->fs);
	return rc;
}

static int begin(struct quota_call *q, struct admin_call *call)
{
	*q = (struct quota_call){.call = call, .fs = admin_arg_text(call, "fs")};
	const char *kind = admin_arg_text(call, "kind");
	if (!q->fs)
		return admin_error(call, -EINVAL, NULL, "which file system?");
	for (unsigned k = FS_QUOTA_USER; kind && k <= FS_QUOTA_TREE; k++)
		if (strcmp(kind, kinds[k]) == 0)
			q->kind = k;
	if (kind && !q->kind)
		return admin_error(call, -EINVAL, "say user, group or tree",
				   "'%.64s' is no kind of quota", kind);
	return 0;
}

/* The id of the kind it is given as: --user 1000. -ENOENT: none is given. */
static int which(struct quota_call *q)
{
	uint64_t id = 0;
	int found = 0;
	for (unsigned k = FS_QUOTA_USER; k <= FS_QUOTA_TREE; k++) {
		uint64_t n;
		int rc = admin_arg_u64(q->call, kinds[k], &n);
		if (rc == -ENOENT)
			continue;
		if (rc)
			return rc;
		if (n > UINT32_MAX)
			return admin_error(q->call, -EINVAL, NULL, "--%s: there is no such number",
					   kinds[k]);
		id = n;
		q->kind = k;
		found++;
	}
	if (found != 1)
		return admin_error(q->call, -EINVAL, "give one of --user, --group and --tree",
				   "whose quota?");
	q->id = (uint32_t)id;
	return 0;
}

/* ---- list ---- */

static void put_unit(struct admin_call *call, const struct fs_quota *q, unsigned unit)
{
	static const char *const names[][4] = {
	    {"used", "soft", "hard", "grace"},
	    {"files", "soft_files", "hard_files", "grace_files"}};
	const uint64_t v[] = {q->used[unit], q->soft[unit], q->hard[unit]};
	for (unsigned i = 0; i < ARRAY_LEN(v); i++) {
		if (i && !v[i])
			admin_put_text(call, names[unit][i], "%s", "");
		else if (unit == FS_QUOTA_BYTES)
			admin_put_bytes(call, names[unit][i], v[i]);
		else
			admin_put_number(call, names[unit][i], v[i]);
	}
	if (q->until[unit])
		admin_put_time(call, names[unit][3], q->until[unit] * NS_PER_S);
	else
		admin_put_text(call, names[unit][3], "%s", "");
}

static int list_run(struct quota_call *c, struct fs *fs)
{
	unsigned rows = 0;
	admin_table(c->call, "quotas", false);
	for (unsigned k = FS_QUOTA_USER; k <= FS_QUOTA_TREE; k++) {
		struct fs_quota q = {0};
		bool more = !c->kind || c->kind == k;
		for (uint32_t id = 0; more; id = q.id + 1) {
			int rc = fs_quota_next(fs, (enum fs_quota_kind)k, id, &q);
			if (rc == -ENOENT)
				break;
			if (rc)
				return rc;
			if (rows++ == ROWS_MAX) {
				admin_note(c->call, "There are more than %d; say --kind.",
					   ROWS_MAX);
				return 0;
			}
			admin_row(c->call);
			admin_put_text(c->call, "kind", "%s", kinds[k]);
			admin_put_number(c->call, "id", q.id);
			put_unit(c->call, &q, FS_QUOTA_BYTES);
			put_unit(c->call, &q, FS_QUOTA_FILES);
			admin_put_text(c->call, "path", "%s", q.path);
			more = q.id != UINT32_MAX;
		}
	}
	return 0;
}

static int verb_list(struct admin_call *call, void *arg)
{
	struct quota_call q;
	int rc = begin(&q, call);
	return rc ? rc : use_fs(arg, &q, list_run);
}

/* ---- set ---- */

static int limit_arg(struct quota_call *q, const char *name, bool bytes, bool *set, uint64_t *ret)
{
	int rc = bytes ? admin_arg_size(q->call, name, ret) : admin_arg_u64(q->call, name, ret);
	*set = rc == 0;
	return rc == -ENOENT ? 0 : rc;
}

static int set_run(struct quota_call *q, struct fs *fs)
{
	int rc = fs_quota_set(fs, q->kind, q->id, &q->limits);
	if (rc == -EINVAL)
		return admin_error(q->call, rc, "see isthmus quota list",
				   "the soft limit would be above the hard one");
	if (rc == -ENOENT)
		return admin_error(q->call, rc, "see isthmus quota list, and quota tree",
				   "file system %.64s has no tree %u", q->fs, q->id);
	return rc;
}

static int verb_set(struct admin_call *call, void *arg)
{
	struct quota_call q;
	struct fs_quota_limits *l = &q.limits;
	int rc = begin(&q, call);
	if (!rc)
		rc = which(&q);
	if (!rc)
		rc = limit_arg(&q, "soft", true, &l->set_soft[0], &l->soft[0]);
	if (!rc)
		rc = limit_arg(&q, "hard", true, &l->set_hard[0], &l->hard[0]);
	if (!rc)
		rc = limit_arg(&q, "soft-files", false, &l->set_soft[1], &l->soft[1]);
	if (!rc)
		rc = limit_arg(&q, "hard-files", false, &l->set_hard[1], &l->hard[1]);
	if (rc)
		return rc;
	if (!l->set_soft[0] && !l->set_hard[0] && !l->set_soft[1] && !l->set_hard[1])
		return admin_error(call, -EINVAL,
				   "give --soft, --hard, --soft-files or --hard-files",
				   "no limit is given");
	return use_fs(arg, &q, set_run);
}

/* ---- grace ---- */

/* 90s, 15m, 2h, 7d */
static int grace_arg(struct quota_call *q, const char *name, bool *set, uint64_t *ret)
{
	static const struct {
		char unit;
		uint64_t s;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	const char *text = admin_arg_text(q->call, name);
	char *end;
	if (!text)
		return 0;
	errno = 0;
	uint64_t n = strtoull(text, &end, 10);
	for (unsigned i = 0; i < ARRAY_LEN(units); i++)
		if (text[0] >= '0' && text[0] <= '9' && !errno && *end == units[i].unit &&
		    !end[1] && n <= GRACE_MAX / units[i].s) {
			*ret = n * units[i].s;
			*set = true;
			return 0;
		}
	return admin_error(q->call, -EINVAL, "say 90s, 15m, 2h or 7d; at most ten years",
			   "--%s: '%.64s' is not a time", name, text);
}

static int grace_run(struct quota_call *q, struct fs *fs)
{
	admin_table(q->call, "grace", false);
	for (unsigned k = FS_QUOTA_USER; k <= FS_QUOTA_TREE; k++) {
		uint64_t grace[FS_QUOTA_UNITS];
		if (q->kind && q->kind != k)
			continue;
		int rc = fs_quota_grace(fs, (enum fs_quota_kind)k, grace);
		for (unsigned i = 0; i < FS_QUOTA_UNITS; i++)
			if (q->set_grace[i])
				grace[i] = q->grace[i];
		if (!rc && (q->set_grace[0] || q->set_grace[1]))
			rc = fs_quota_grace_set(fs, (enum fs_quota_kind)k, grace);
		if (rc)
			return rc;
		admin_row(q->call);
		admin_put_text(q->call, "kind", "%s", kinds[k]);
		admin_put_duration(q->call, "bytes", grace[FS_QUOTA_BYTES] * NS_PER_S);
		admin_put_duration(q->call, "files", grace[FS_QUOTA_FILES] * NS_PER_S);
	}
	return 0;
}

static int verb_grace(struct admin_call *call, void *arg)
{
	struct quota_call q;
	int rc = begin(&q, call);
	if (!rc)
		rc = grace_arg(&q, "bytes", &q.set_grace[FS_QUOTA_BYTES], &q.grace[FS_QUOTA_BYTES]);
	if (!rc)
		rc = grace_arg(&q, "files", &q.set_grace[FS_QUOTA_FILES], &q.grace[FS_QUOTA_FILES]);
	return rc ? rc : use_fs(arg, &q, grace_run);
}

/* ---- tree ---- */

static int path_find(struct fs *fs, const char *path, struct fs_attr *ret)
{
	struct fs_fid at = {FS_ROOT_INO, 1};
	int rc = fs_getattr(fs, &at, ret);
	for (const char *p = path; !rc && *p;) {
		size_t n = strcspn(p, "/");
		if (n > FS_NAME_MAX)
			return -ENAMETOOLONG;
		if (n)
			rc = fs_lookup(fs, NULL, &at, p, (uint32_t)n, ret, NULL);
		at = (struct fs_fid){ret->ino, ret->generation};
		p += n + (p[n] == '/');
	}
	return rc;
}

static int tree_run(struct quota_call *q, struct fs *fs)
{
	struct fs_attr a;
	int rc = path_find(fs, q->path, &a);
	struct fs_fid dir = {a.ino, a.generation};
	if (rc)
		return admin_error(q->call, rc,
				   "make the directory first; the path begins at the file system's "
				   "root",
				   "%.200s: %s", q->path, err_text(rc));
	rc = fs_quota_tree(fs, &dir, q->path, &q->id);
	if (rc == -ENOTEMPTY)
		return admin_error(q->call, rc, "make a new directory and move the files into it",
				   "%.200s is not empty: only an empty directory becomes a tree",
				   q->path);
	if (rc == -EEXIST)
		return admin_error(q->call, rc, "see isthmus quota list",
				   "%.200s is a tree already", q->path);
	if (rc == -EINVAL)
		return admin_error(q->call, rc, "name a directory below it",
				   "the root of a file system is no tree");
	if (rc)
		return rc;
	admin_table(q->call, "tree", true);
	admin_row(q->call);
	admin_put_text(q->call, "fs", "%s", q->fs);
	admin_put_number(q->call, "tree", q->id);
	admin_put_text(q->call, "path", "%s", q->path);
	return 0;
}

static int verb_tree(struct admin_call *call, void *arg)
{
	struct quota_call q;
	int rc = begin(&q, call);
	q.path = admin_arg_text(call, "path");
	if (!rc && (!q.path || !*q.path || strlen(q.path) > FS_QUOTA_PATH_MAX))
		rc = admin_error(call, -EINVAL, NULL, "the path is empty or longer than %d bytes",
				 FS_QUOTA_PATH_MAX);
	return rc ? rc : use_fs(arg, &q, tree_run);
}

int head_quota_register(struct head *h)
{
	static const struct {
		const char *verb;
		admin_handler *fn;
	} verbs[] = {
	    {"quota.list", verb_list},
	    {"quota.set", verb_set},
	    {"quota.grace", verb_grace},
	    {"quota.tree", verb_tree},
	};
	int rc = 0;
	for (unsigned i = 0; i < ARRAY_LEN(verbs) && !rc; i++)
		rc = admin_register(h->admin, verbs[i].verb, verbs[i].fn, h);
	return rc;
}
