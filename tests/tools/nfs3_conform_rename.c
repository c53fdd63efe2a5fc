/* RENAME over things of every kind, LINK and what it counts: groups of nfs3_conform. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/tools/nfs3_conform.h"

#define MANY 8 /* clients at once */

enum kind { NOTHING, FILE_KIND, LINK_KIND, PIPE_KIND, EMPTY_DIR, FULL_DIR, KINDS };
static const char *const kinds[KINDS] = {
    "nothing", "a file", "a symbolic link", "a pipe", "an empty directory", "a full directory"};

static bool is_dir(enum kind k)
{
	return k == EMPTY_DIR || k == FULL_DIR;
}

static uint64_t put_kind(struct nc *c, const struct nc_fh *dir, const char *name, enum kind k)
{
	sattr3 s = sa_none();
	switch (k) {
	case NOTHING:
		return 0;
	case FILE_KIND:
		nc_create(c, dir, name, GUARDED, &s);
		break;
	case LINK_KIND:
		nc_symlink(c, dir, name, "target", &s);
		break;
	case PIPE_KIND:
		nc_mknod(c, dir, name, NF3FIFO, &s, 0, 0);
		break;
	default:
		nc_mkdir(c, dir, name, &s);
	}
	want_status(&c->res, NFS3_OK, "making %s", kinds[k]);
	uint64_t id = c->res.attr.fileid;
	if (k == FULL_DIR) {
		struct nc_fh d = c->res.fh;
		want_status(nc_mkdir(c, &d, "in", &s), NFS3_OK, "filling a directory");
	}
	return id;
}

static void drop(struct nc *c, const struct nc_fh *dir, const char *name)
{
	if (nc_lookup(c, dir, name)->status)
		return;
	struct nc_fh f = c->res.fh;
	if (c->res.attr.type != NF3DIR) {
		want_status(nc_remove(c, dir, name), NFS3_OK, "REMOVE");
		return;
	}
	if (nc_lookup(c, &f, "in")->status == NFS3_OK)
		want_status(nc_rmdir(c, &f, "in"), NFS3_OK, "RMDIR");
	want_status(nc_rmdir(c, dir, name), NFS3_OK, "RMDIR");
}

static int verdict(enum kind from, enum kind to)
{
	if (from == NOTHING)
		return NFS3ERR_NOENT;
	if (to == NOTHING)
		return NFS3_OK;
	if (is_dir(from) != is_dir(to))
		return is_dir(from) ? NFS3ERR_NOTDIR : NFS3ERR_ISDIR;
	return to == FULL_DIR ? NFS3ERR_NOTEMPTY : NFS3_OK;
}

static void one_pair(struct nc *c, const struct nc_fh *a, const struct nc_fh *b, enum kind from,
		     enum kind to)
{
	fattr3 wa = attr_of(c, a), wb = attr_of(c, b);
	uint64_t id = put_kind(c, a, "from", from), old = put_kind(c, b, "to", to);
	int must = verdict(from, to);
	bool same = fh_same(a, b);
	want_status(nc_rename(c, a, "from", b, "to"), must, "RENAME of %s over %s%s", kinds[from],
		    kinds[to], same ? "" : " elsewhere");
	nc_lookup(c, b, "to");
	uint64_t at = c->res.status ? 0 : c->res.attr.fileid;
	want(at == (must ? old : id), "what the new name leads to: %s over %s", kinds[from],
	     kinds[to]);
	nc_lookup(c, a, "from");
	want(c->res.status == (must && from != NOTHING ? NFS3_OK : NFS3ERR_NOENT),
	     "the old name: %s over %s", kinds[from], kinds[to]);
	if (!must && is_dir(from) && nc_lookup(c, b, "to")->status == NFS3_OK) {
		struct nc_fh d = c->res.fh;
		want_status(nc_lookup(c, &d, ".."), NFS3_OK, "LOOKUP of ..");
		want(fh_same(&c->res.fh, b), ".. follows a renamed directory");
	}
	drop(c, a, "from");
	drop(c, b, "to");
	want(attr_of(c, a).nlink == wa.nlink && attr_of(c, b).nlink == wb.nlink,
	     "links of the directories: %s over %s", kinds[from], kinds[to]);
}

static void below_itself(struct world *w)
{
	struct nc *c = w->c;
	sattr3 s = sa_none();
	struct nc_fh d = make_dir(w, "d", 0755);
	want_status(nc_mkdir(c, &d, "e", &s), NFS3_OK, "MKDIR");
	struct nc_fh e = c->res.fh;
	want_status(nc_rename(c, &w->dir, "d", &d, "x"), NFS3ERR_INVAL, "RENAME into itself");
	want_status(nc_rename(c, &w->dir, "d", &e, "x"), NFS3ERR_INVAL, "RENAME below itself");
	want_status(nc_rename(c, &w->dir, "d", &w->dir, "d"), NFS3_OK, "RENAME to the same name");
	want_status(nc_rename(c, &d, "e", &w->dir, "d"), NFS3ERR_NOTEMPTY,
		    "RENAME over the parent");
	struct nc_fh f = make_file(w, "f", 0644);
	want_status(nc_link(c, &f, &w->dir, "g"), NFS3_OK, "LINK");
	want_status(nc_rename(c, &w->dir, "f", &w->dir, "g"), NFS3_OK,
		    "RENAME over another name of it");
	want(attr_of(c, &f).nlink == 2, "RENAME between two names of one file does nothing");
	struct nc_fh gone = stale(w);
	want_status(nc_rename(c, &w->dir, "f", &gone, "x"), NFS3ERR_STALE,
		    "RENAME to what is gone");
}

void conform_rename(struct world *w)
{
	struct nc_fh a = make_dir(w, "a", 0755), b = make_dir(w, "b", 0755);
	for (int from = 0; from < KINDS; from++)
		for (int to = 0; to < KINDS; to++) {
			one_pair(w->c, &a, &a, from, to);
			one_pair(w->c, &a, &b, from, to);
		}
	below_itself(w);
}

/* ---- LINK ---- */

void conform_link(struct world *w)
{
	struct nc *c = w->c;
	struct nc_fh f = make_file(w, "f", 0644), d = make_dir(w, "d", 0755);
	struct nc_fh l = make_link(w, "l", "f");
	char name[32];
	for (uint32_t i = 1; i <= 40; i++) {
		snprintf(name, sizeof(name), "link-%u", i);
		fattr3 was = attr_of(c, &f);
		const struct nc_res *r = nc_link(c, &f, i % 2 ? &d : &w->dir, name);
		want_status(r, NFS3_OK, "LINK");
		struct nc_res kept = *r;
		fattr3 a = attr_of(c, &f);
		want(kept.has_attr && attr_same(&kept.attr, &a), "LINK's file_attributes");
		want(a.nlink == i + 1, "the number of links");
		want(a.ctime.seconds != was.ctime.seconds || a.ctime.nseconds != was.ctime.nseconds,
		     "LINK moves ctime");
		want(a.mtime.seconds == was.mtime.seconds && a.mtime.nseconds == was.mtime.nseconds,
		     "LINK leaves mtime");
		want_status(nc_lookup(c, i % 2 ? &d : &w->dir, name), NFS3_OK, "LOOKUP of a link");
		want(c->res.attr.fileid == a.fileid && fh_same(&c->res.fh, &f), "one file");
	}
	want_status(nc_write(c, &f, 0, "shared", 6, FILE_SYNC), NFS3_OK, "WRITE");
	want_status(nc_remove(c, &w->dir, "f"), NFS3_OK, "REMOVE of the first name");
	want_status(nc_read(c, &f, 0, 100), NFS3_OK, "READ by the others");
	want(c->res.count == 6 && memcmp(c->data, "shared", 6) == 0, "the data of the others");
	want_status(nc_link(c, &f, &d, "link-1"), NFS3ERR_EXIST, "LINK over a name");
	want_status(nc_link(c, &d, &w->dir, "x"), NFS3ERR_PERM, "LINK to a directory");
	want_status(nc_link(c, &l, &w->dir, "l2"), NFS3_OK, "LINK to a symbolic link");
	want(attr_of(c, &l).nlink == 2, "links of a symbolic link");
	for (uint32_t i = 40; i >= 1; i--) {
		snprintf(name, sizeof(name), "link-%u", i);
		want(attr_of(c, &f).nlink == i, "the number of links, falling");
		want_status(nc_remove(c, i % 2 ? &d : &w->dir, name), NFS3_OK, "REMOVE of a link");
	}
	want_status(nc_getattr(c, &f), NFS3ERR_STALE, "the file after its last name");
}

/* LINK (or REMOVE) of n<from> to n<to - 1>, shared out to several clients at once: how many of
 * those did all of theirs. */
static unsigned many(struct world *w, const struct nc_fh *f, const struct nc_fh *d, uint32_t from,
		     uint32_t to)
{
	pid_t pids[MANY];
	unsigned good = 0;
	for (uint32_t p = 0; p < MANY; p++) {
		pids[p] = fork();
		if (pids[p])
			continue;
		struct nc *c = nc_open(w->server, w->port, NULL, false);
		bool ok = c != NULL;
		for (uint32_t i = from + p; ok && i < to; i += MANY) {
			char name[32];
			snprintf(name, sizeof(name), "n%u", i);
			ok =
			    (f ? nc_link(c, f, d, name) : nc_remove(c, d, name))->status == NFS3_OK;
		}
		_exit(!ok);
	}
	for (uint32_t p = 0; p < MANY; p++) {
		int status;
		good += pids[p] > 0 && waitpid(pids[p], &status, 0) == pids[p] && status == 0;
	}
	return good;
}

/* As many names as PATHCONF says, and not one more. */
void conform_mlink(struct world *w)
{
	struct nc_fh f = make_file(w, "f", 0644), d = make_dir(w, "many", 0755);
	want_status(nc_pathconf(w->c, &f), NFS3_OK, "PATHCONF");
	uint32_t max = w->c->res.pathconf.linkmax;
	want(many(w, &f, &d, 1, max) == MANY, "LINK to linkmax");
	want_status(nc_link(w->c, &f, &w->dir, "one-more"), NFS3ERR_MLINK, "LINK past linkmax");
	want(attr_of(w->c, &f).nlink == max, "linkmax links");
	want_status(nc_remove(w->c, &d, "n1"), NFS3_OK, "REMOVE of one");
	want_status(nc_link(w->c, &f, &w->dir, "one-more"), NFS3_OK, "LINK in its place");
	want(many(w, NULL, &d, 2, max) == MANY, "REMOVE of all");
	want(attr_of(w->c, &f).nlink == 2, "two links are left");
	want_status(nc_rmdir(w->c, &w->dir, "many"), NFS3_OK, "RMDIR");
}
