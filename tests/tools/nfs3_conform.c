/*
 * nfs3_conform SERVER PORT [GROUP...]: every procedure of NFSv3 and MOUNT over libnfs's raw calls,
 * its good ways and its errors. Ends with the number of checks; exit 1 when one failed.
 *
 * Around every call that changes something the objects' attributes are fetched: the call's wcc_data
 * must tell both, and what failed must have changed nothing.
 */
#include "tests/tools/nfs3_conform.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned long checks, failures;
static const char *group;

bool want(bool ok, const char *fmt, ...)
{
	checks++;
	if (ok)
		return true;
	va_list ap;
	va_start(ap, fmt);
	printf("    FAILED %s: ", group);
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	failures++;
	return false;
}

static const struct {
	int status;
	const char *name;
} names[] = {
    {-1, "no status"},
    {NFS3_OK, "OK"},
    {NFS3ERR_PERM, "PERM"},
    {NFS3ERR_NOENT, "NOENT"},
    {NFS3ERR_IO, "IO"},
    {NFS3ERR_NXIO, "NXIO"},
    {NFS3ERR_ACCES, "ACCES"},
    {NFS3ERR_EXIST, "EXIST"},
    {NFS3ERR_XDEV, "XDEV"},
    {NFS3ERR_NOTDIR, "NOTDIR"},
    {NFS3ERR_ISDIR, "ISDIR"},
    {NFS3ERR_INVAL, "INVAL"},
    {NFS3ERR_FBIG, "FBIG"},
    {NFS3ERR_NOSPC, "NOSPC"},
    {NFS3ERR_ROFS, "ROFS"},
    {NFS3ERR_MLINK, "MLINK"},
    {NFS3ERR_NAMETOOLONG, "NAMETOOLONG"},
    {NFS3ERR_NOTEMPTY, "NOTEMPTY"},
    {NFS3ERR_STALE, "STALE"},
    {NFS3ERR_BADHANDLE, "BADHANDLE"},
    {NFS3ERR_NOT_SYNC, "NOT_SYNC"},
    {NFS3ERR_BAD_COOKIE, "BAD_COOKIE"},
    {NFS3ERR_NOTSUPP, "NOTSUPP"},
    {NFS3ERR_TOOSMALL, "TOOSMALL"},
    {NFS3ERR_SERVERFAULT, "SERVERFAULT"},
    {NFS3ERR_BADTYPE, "BADTYPE"},
    {NFS3ERR_JUKEBOX, "JUKEBOX"},
};

const char *status_name(int status)
{
	static char other[32];
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].status == status)
			return names[i].name;
	snprintf(other, sizeof(other), "%d", status);
	return other;
}

bool want_status(const struct nc_res *r, int status, const char *fmt, ...)
{
	checks++;
	if (r->rpc == NC_OK && r->status == status) {
		table_mark(r);
		return true;
	}
	va_list ap;
	va_start(ap, fmt);
	printf("    FAILED %s: ", group);
	vprintf(fmt, ap);
	printf(": %s, not %s%s\n", status_name(r->status), status_name(status),
	       r->rpc == NC_REFUSED ? " (refused by RPC)"
	       : r->rpc == NC_LOST  ? " (connection lost)"
				    : "");
	va_end(ap);
	failures++;
	return false;
}

/* ---- weak cache consistency ---- */

static bool fetch(struct nc *c, const struct nc_fh *f, fattr3 *ret)
{
	bool known = f && nc_getattr(c, f)->status == NFS3_OK;
	if (known)
		*ret = c->res.attr;
	return known;
}

static void wcc_before(struct nc *c, const struct nc_fh *const fh[2])
{
	for (int i = 0; i < 2; i++)
		c->was_known[i] = fetch(c, fh[i], &c->was[i]);
}

static void wcc_one(struct nc *c, const struct nc_fh *f, const struct nc_wcc *w, const fattr3 *was,
		    bool was_known, int status, const char *call)
{
	fattr3 now;
	if (!was_known || !fetch(c, f, &now))
		return;
	if (status == NFS3_OK)
		want(w->has_pre && w->has_post, "%s: no wcc_data", call);
	if (w->has_pre)
		want(w->pre.size == was->size && w->pre.mtime.seconds == was->mtime.seconds &&
			 w->pre.mtime.nseconds == was->mtime.nseconds &&
			 w->pre.ctime.seconds == was->ctime.seconds &&
			 w->pre.ctime.nseconds == was->ctime.nseconds,
		     "%s (%s): pre_op_attr are not those of before", call, status_name(status));
	if (w->has_post)
		want(attr_same(&w->post, &now), "%s (%s): post_op_attr are not those of after",
		     call, status_name(status));
	if (status != NFS3_OK)
		want(attr_same(was, &now), "%s failed with %s and changed something", call,
		     status_name(status));
}

static void wcc_after(struct nc *c, const struct nc_fh *const fh[2], const char *call)
{
	struct nc_res r = c->res;
	for (int i = 0; i < 2 && r.rpc == NC_OK; i++)
		if (fh[i])
			wcc_one(c, fh[i], &r.wcc[i], &c->was[i], c->was_known[i], r.status, call);
}

/* ---- the world ---- */

static void quit(const char *what)
{
	printf("nfs3_conform: %s: cannot go on\n", what);
	exit(1);
}

struct nc *world_open(const struct world *w, const char *source, bool low)
{
	struct nc *c = nc_open(w->server, w->port, source, low);
	if (!c)
		quit("connect");
	c->before = wcc_before;
	c->after = wcc_after;
	return c;
}

struct nc_fh world_mount(struct nc *c, const char *path)
{
	if (!want_status(nc_mnt(c, path), MNT3_OK, "MNT %s", path))
		quit(path);
	return c->res.fh;
}

static struct nc_fh made(struct nc *c, const char *name)
{
	if (!want_status(&c->res, NFS3_OK, "making %s", name) || !c->res.has_fh)
		quit(name);
	return c->res.fh;
}

/* The mode is set afterwards: what groups test with should not rest on CREATE's handling of it. */
struct nc_fh make_file(struct world *w, const char *name, uint32_t mode)
{
	sattr3 s = sa_mode(mode);
	nc_create(w->c, &w->dir, name, GUARDED, &s);
	return made(w->c, name);
}

struct nc_fh make_dir(struct world *w, const char *name, uint32_t mode)
{
	sattr3 s = sa_mode(mode);
	nc_mkdir(w->c, &w->dir, name, &s);
	return made(w->c, name);
}

struct nc_fh make_link(struct world *w, const char *name, const char *target)
{
	sattr3 s = sa_none();
	nc_symlink(w->c, &w->dir, name, target, &s);
	return made(w->c, name);
}

fattr3 attr_of(struct nc *c, const struct nc_fh *f)
{
	static const fattr3 none;
	return nc_getattr(c, f)->status == NFS3_OK ? c->res.attr : none;
}

struct nc_fh forged(const struct nc_fh *f)
{
	struct nc_fh x = *f;
	x.data[x.len - 1] ^= 1;
	return x;
}

struct nc_fh stale(struct world *w)
{
	struct nc_fh f = make_file(w, "to-be-stale", 0644);
	want_status(nc_remove(w->c, &w->dir, "to-be-stale"), NFS3_OK, "REMOVE");
	return f;
}

static const struct {
	const char *name;
	void (*run)(struct world *w);
} all[] = {
    {"handles", conform_handles}, {"attr", conform_attr},
    {"names", conform_names},	  {"make", conform_make},
    {"rename", conform_rename},	  {"link", conform_link},
    {"mlink", conform_mlink},	  {"data", conform_data},
    {"dirs", conform_dirs},	  {"changing-dir", conform_changing_dir},
    {"rights", conform_rights},	  {"setid", conform_setid},
    {"wire", conform_wire},	  {"again", conform_again},
    {"mount", conform_mount},	  {"squash", conform_squash},
    {"hosts", conform_hosts},	  {"subdir", conform_subdir},
    {"live", conform_live},
};

static bool chosen(int argc, char **argv, const char *name)
{
	for (int i = 3; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return true;
	return argc == 3;
}

/* Everything below a directory, so that a second run begins as the first one did. */
static void clear(struct nc *c, const struct nc_fh *dir)
{
	struct nc *mine = nc_open(c->server, c->port, NULL, true);
	if (!mine || !nc_readdir_all(mine, dir, 32768, true))
		quit("clear");
	for (unsigned i = 0; i < mine->nentries; i++) {
		const struct nc_entry *e = &mine->entries[i];
		if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
			continue;
		if (e->has_attr && e->attr.type == NF3DIR) {
			clear(c, &e->fh);
			nc_rmdir(mine, dir, e->name);
		} else {
			nc_remove(mine, dir, e->name);
		}
	}
	nc_close(mine);
}

static void enter(struct world *w, const char *name)
{
	sattr3 s = sa_mode(0777);
	group = name;
	if (nc_lookup(w->c, &w->top, name)->status == NFS3_OK)
		w->dir = w->c->res.fh;
	else if (nc_mkdir(w->c, &w->top, name, &s)->status == NFS3_OK)
		w->dir = w->c->res.fh;
	else
		quit("scratch directory");
	clear(w->c, &w->dir);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 3) {
		fprintf(stderr, "usage: nfs3_conform SERVER PORT [GROUP...]\n");
		return 2;
	}
	struct world w = {.server = argv[1], .port = atoi(argv[2])};
	group = "mount";
	w.c = world_open(&w, NULL, true);
	w.top = world_mount(w.c, "/demo");
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (!chosen(argc, argv, all[i].name))
			continue;
		unsigned long before = checks, bad = failures;
		enter(&w, all[i].name);
		all[i].run(&w);
		printf("%-4s %s: %lu checks\n", failures == bad ? "ok" : "FAIL", all[i].name,
		       checks - before);
		if (w.c->dead)
			quit("the connection is gone");
	}
	nc_close(w.c);
	group = "table";
	if (argc == 3) /* all of them */
		table_whole();
	printf("%lu checks, %lu failed\n", checks, failures);
	return failures || !checks ? 1 : 0;
}
