/* Who may do what: mode bits against owner, groups and others; sticky, set-id bits; who may change
 * attributes. Groups of nfs3_conform. */
#include <stdio.h>
#include "tests/tools/nfs3_conform.h"

#define OWNER 1000
#define GROUP 2000

static const struct user {
	const char *name;
	uint32_t uid, gid, ngroups, groups[16];
	int shift; /* of the mode bits that count; -1: root */
} users[] = {
    {"root", 0, 0, 0, {0}, -1},
    {"the owner", OWNER, 5000, 0, {0}, 6},
    {"the owner in the group", OWNER, GROUP, 0, {0}, 6},
    {"a user in the group", 1001, GROUP, 0, {0}, 3},
    {"a user with it among two", 1002, 5000, 2, {7, GROUP}, 3},
    {"a user with it as the 16th",
     1002,
     5000,
     16,
     {11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, GROUP},
     3},
    {"another", 1003, 5000, 3, {0, 1999, 2001}, 0},
};
#define USERS (sizeof(users) / sizeof(users[0]))

static void become(struct nc *c, const struct user *u)
{
	nc_user(c, u->uid, u->gid, u->ngroups, u->groups);
}

static void as_root(struct nc *c)
{
	nc_user(c, 0, 0, 0, NULL);
}

static void own(struct nc *c, const struct nc_fh *f, uint32_t uid, uint32_t gid, uint32_t mode)
{
	sattr3 s = sa_uid(uid);
	s.gid = sa_gid(gid).gid;
	want_status(nc_setattr(c, f, &s, NULL), NFS3_OK, "chown by root");
	s = sa_mode(mode);
	want_status(nc_setattr(c, f, &s, NULL), NFS3_OK, "chmod by root");
}

static unsigned bits(const struct user *u, uint32_t mode, bool dir)
{
	if (u->shift < 0)
		return dir || mode & 0111 ? 7 : 6;
	return mode >> u->shift & 7;
}

static int allowed(bool yes)
{
	return yes ? NFS3_OK : NFS3ERR_ACCES;
}

/* An owner goes on with what an open gave; who may execute may read (RFC 1813 4.4). */
static void file_as(struct nc *c, const struct nc_fh *f, const struct user *u, uint32_t mode)
{
	unsigned b = bits(u, mode, false);
	bool mine = u->uid == 0 || u->uid == OWNER;
	uint32_t must = (b & 4 ? ACCESS3_READ : 0) | (b & 1 ? ACCESS3_EXECUTE : 0) |
			(b & 2 ? ACCESS3_MODIFY | ACCESS3_EXTEND : 0);
	become(c, u);
	want_status(nc_access(c, f, 63), NFS3_OK, "ACCESS");
	want(c->res.access == must, "ACCESS of a file %04o by %s: %#x, not %#x", mode, u->name,
	     c->res.access, must);
	want(nc_access(c, f, ACCESS3_READ)->access == (must & ACCESS3_READ), "ACCESS of one bit");
	want_status(nc_read(c, f, 0, 10), allowed(mine || b & 5), "READ of %04o by %s", mode,
		    u->name);
	want_status(nc_write(c, f, 0, "x", 1, UNSTABLE), allowed(mine || b & 2),
		    "WRITE of %04o by %s", mode, u->name);
	sattr3 s = sa_size(3);
	want_status(nc_setattr(c, f, &s, NULL), allowed(mine || b & 2), "the size of %04o by %s",
		    mode, u->name);
	as_root(c);
}

static void dir_as(struct nc *c, const struct nc_fh *d, const struct nc_fh *f, const struct user *u,
		   uint32_t mode)
{
	unsigned b = bits(u, mode, true);
	sattr3 s = sa_none();
	uint32_t must = (b & 4 ? ACCESS3_READ : 0) | (b & 1 ? ACCESS3_LOOKUP : 0) |
			(b & 2 ? ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE : 0);
	int change = allowed((b & 3) == 3);
	become(c, u);
	want_status(nc_access(c, d, 63), NFS3_OK, "ACCESS");
	want(c->res.access == must, "ACCESS of a directory %04o by %s: %#x, not %#x", mode, u->name,
	     c->res.access, must);
	want_status(nc_lookup(c, d, "in"), allowed(b & 1), "LOOKUP in %04o by %s", mode, u->name);
	want_status(nc_readdir(c, d, 0, 0, 4096), allowed(b & 4), "READDIR of %04o by %s", mode,
		    u->name);
	want_status(nc_readdirplus(c, d, 0, 0, 4096, 8192), allowed(b & 4),
		    "READDIRPLUS of %04o by %s", mode, u->name);
	want_status(nc_create(c, d, "new", GUARDED, &s), change, "CREATE in %04o by %s", mode,
		    u->name);
	want_status(nc_rename(c, d, "in", d, "out"), change, "RENAME in %04o by %s", mode, u->name);
	want_status(nc_rename(c, d, "out", d, "in"), change, "RENAME in %04o by %s", mode, u->name);
	want_status(nc_mkdir(c, d, "newdir", &s), change, "MKDIR in %04o by %s", mode, u->name);
	want_status(nc_symlink(c, d, "newlink", "x", &s), change, "SYMLINK in %04o", mode);
	want_status(nc_remove(c, d, "newlink"), change, "REMOVE in %04o by %s", mode, u->name);
	want_status(nc_mknod(c, d, "newpipe", NF3FIFO, &s, 0, 0), change, "MKNOD in %04o", mode);
	want_status(nc_remove(c, d, "newpipe"), change, "REMOVE in %04o by %s", mode, u->name);
	want_status(nc_link(c, f, d, "newname"), change, "LINK in %04o by %s", mode, u->name);
	want_status(nc_remove(c, d, "newname"), change, "REMOVE in %04o by %s", mode, u->name);
	want_status(nc_rmdir(c, d, "newdir"), change, "RMDIR in %04o by %s", mode, u->name);
	want_status(nc_remove(c, d, "new"), change, "REMOVE in %04o by %s", mode, u->name);
	as_root(c);
	nc_entries_clear(c);
}

static void matrix(struct world *w)
{
	struct nc_fh f = make_file(w, "f", 0644), d = make_dir(w, "d", 0755);
	sattr3 s = sa_none();
	want_status(nc_create(w->c, &d, "in", GUARDED, &s), NFS3_OK, "CREATE");
	for (int shift = 0; shift <= 6; shift += 3)
		for (uint32_t bit = 0; bit < 8; bit++) {
			/* One class with some rights, the others with all or none. */
			uint32_t mode = bit << shift | (bit & 1 ? 0 : 0777 & ~(7u << shift));
			own(w->c, &f, OWNER, GROUP, mode);
			own(w->c, &d, OWNER, GROUP, mode);
			for (unsigned u = 0; u < USERS; u++) {
				file_as(w->c, &f, &users[u], mode);
				dir_as(w->c, &d, &f, &users[u], mode);
			}
		}
}

static void set_as(struct nc *c, const struct nc_fh *f, const struct user *u, const sattr3 *s,
		   int status, const char *what)
{
	become(c, u);
	want_status(nc_setattr(c, f, s, NULL), status, "%s by %s", what, u->name);
	as_root(c);
}

static void attributes(struct world *w)
{
	const struct user *owner = &users[1], *member = &users[3], *other = &users[6];
	const struct user groups = {"the owner in 77", OWNER, 5000, 2, {77, GROUP}, 6};
	struct nc *c = w->c;
	struct nc_fh f = make_file(w, "attributes", 0644);
	nfstime3 t = {1000, 2000};
	sattr3 mode = sa_mode(0640), given = sa_times(SET_TO_CLIENT_TIME, t, t),
	       now = sa_times(SET_TO_SERVER_TIME, t, t), uid = sa_uid(1003), gid = sa_gid(77),
	       same = sa_uid(OWNER);
	own(c, &f, OWNER, GROUP, 0664);
	set_as(c, &f, other, &mode, NFS3ERR_PERM, "chmod");
	set_as(c, &f, member, &mode, NFS3ERR_PERM, "chmod");
	set_as(c, &f, other, &uid, NFS3ERR_PERM, "chown to oneself");
	set_as(c, &f, owner, &uid, NFS3ERR_PERM, "chown to another");
	set_as(c, &f, owner, &same, NFS3_OK, "chown to oneself");
	set_as(c, &f, owner, &gid, NFS3ERR_PERM, "chgrp to a foreign group");
	set_as(c, &f, member, &gid, NFS3ERR_PERM, "chgrp");
	set_as(c, &f, &groups, &gid, NFS3_OK, "chgrp");
	want(attr_of(c, &f).gid == 77, "the group");
	own(c, &f, OWNER, GROUP, 0664);
	set_as(c, &f, member, &given, NFS3ERR_PERM, "times given");
	set_as(c, &f, member, &now, NFS3_OK, "times of now, who may write,");
	set_as(c, &f, other, &now, NFS3ERR_ACCES, "times of now");
	set_as(c, &f, other, &given, NFS3ERR_PERM, "times given");
	set_as(c, &f, owner, &given, NFS3_OK, "times given");
	set_as(c, &f, owner, &mode, NFS3_OK, "chmod");
	want(attr_of(c, &f).mode == 0640, "the mode");
}

static void sticky(struct world *w)
{
	const struct user *a = &users[1], *b = &users[3];
	struct nc *c = w->c;
	sattr3 s = sa_none();
	struct nc_fh d = make_dir(w, "sticky", 01777);
	become(c, a);
	want_status(nc_create(c, &d, "a", GUARDED, &s), NFS3_OK, "CREATE in a sticky directory");
	want_status(nc_mkdir(c, &d, "ad", &s), NFS3_OK, "MKDIR in a sticky directory");
	become(c, b);
	want_status(nc_create(c, &d, "b", GUARDED, &s), NFS3_OK, "CREATE in a sticky directory");
	want_status(nc_remove(c, &d, "a"), NFS3ERR_PERM, "REMOVE of another's");
	want_status(nc_rmdir(c, &d, "ad"), NFS3ERR_PERM, "RMDIR of another's");
	want_status(nc_rename(c, &d, "a", &d, "x"), NFS3ERR_PERM, "RENAME of another's");
	want_status(nc_rename(c, &d, "b", &d, "a"), NFS3ERR_PERM, "RENAME over another's");
	want_status(nc_rename(c, &d, "b", &d, "c"), NFS3_OK, "RENAME of one's own");
	want_status(nc_remove(c, &d, "c"), NFS3_OK, "REMOVE of one's own");
	as_root(c);
	own(c, &d, b->uid, GROUP, 01777);
	become(c, b);
	want_status(nc_rename(c, &d, "a", &d, "x"), NFS3_OK, "RENAME by the directory's owner");
	want_status(nc_remove(c, &d, "x"), NFS3_OK, "REMOVE by the directory's owner");
	as_root(c);
	want_status(nc_rmdir(c, &d, "ad"), NFS3_OK, "RMDIR by root");
}

void conform_rights(struct world *w)
{
	matrix(w);
	attributes(w);
	sticky(w);
}

/* ---- set-id bits ---- */

static uint32_t mode_after(struct world *w, const struct nc_fh *f, uint32_t mode,
			   const struct user *u, int what)
{
	sattr3 size = sa_size(1), gid = sa_gid(77), uid = sa_uid(OWNER);
	own(w->c, f, OWNER, GROUP, mode);
	become(w->c, u);
	switch (what) {
	case 0:
		nc_write(w->c, f, 0, "xy", 2, FILE_SYNC);
		break;
	case 1:
		nc_setattr(w->c, f, &size, NULL);
		break;
	case 2:
		nc_setattr(w->c, f, &gid, NULL);
		break;
	default:
		nc_setattr(w->c, f, &uid, NULL);
	}
	want_status(&w->c->res, NFS3_OK, "change %d by %s", what, u->name);
	as_root(w->c);
	return attr_of(w->c, f).mode;
}

static void cleared(struct world *w)
{
	const struct user owner = {"the owner", OWNER, 5000, 2, {77, GROUP}, 6};
	struct nc_fh f = make_file(w, "f", 0644);
	want(mode_after(w, &f, 06755, &owner, 0) == 0755, "set-id bits go with a write");
	want(mode_after(w, &f, 06755, &users[0], 0) == 06755, "but not with root's");
	want(mode_after(w, &f, 06755, &owner, 1) == 0755, "set-id bits go with a cut");
	want(mode_after(w, &f, 02745, &owner, 0) == 02745, "set-gid without group execute stays");
	want(mode_after(w, &f, 04666, &owner, 0) == 0666, "set-uid goes with a write");
	want(mode_after(w, &f, 06755, &owner, 2) == 0755, "set-id bits go with chgrp");
	want(mode_after(w, &f, 06755, &users[0], 3) == 0755, "set-id bits go with root's chown");
	own(w->c, &f, OWNER, GROUP, 0755);
	sattr3 s = sa_mode(06755);
	become(w->c, &users[1]);
	want_status(nc_setattr(w->c, &f, &s, NULL), NFS3_OK, "chmod g+s for a foreign group");
	as_root(w->c);
	want(attr_of(w->c, &f).mode == 04755, "nobody gives a group's rights but its members");
}

static void inherited(struct world *w)
{
	const struct user *stranger = &users[6], *member = &users[4];
	struct nc *c = w->c;
	struct nc_fh d = make_dir(w, "setgid", 0755), plain = make_dir(w, "plain", 0777);
	sattr3 s = sa_mode(0775), bits = sa_mode(06775);
	own(c, &d, 0, GROUP, 02777);
	become(c, stranger);
	want_status(nc_create(c, &d, "f", GUARDED, &s), NFS3_OK, "CREATE");
	want(c->res.attr.gid == GROUP && c->res.attr.mode == 0775, "a file takes the group");
	want_status(nc_mkdir(c, &d, "d", &s), NFS3_OK, "MKDIR");
	want(c->res.attr.gid == GROUP && c->res.attr.mode == 02775,
	     "a directory takes group and bit");
	want_status(nc_symlink(c, &d, "l", "x", &s), NFS3_OK, "SYMLINK");
	want(c->res.attr.gid == GROUP, "a link takes the group");
	want_status(nc_create(c, &d, "g", GUARDED, &bits), NFS3_OK, "CREATE of a set-gid file");
	want(c->res.attr.mode == 04775, "a stranger makes no set-gid file of the group: %04o",
	     c->res.attr.mode);
	want_status(nc_mknod(c, &d, "p", NF3FIFO, &bits, 0, 0), NFS3_OK, "MKNOD, set-gid");
	want(c->res.attr.mode == 04775, "nor a pipe: %04o", c->res.attr.mode);
	become(c, member);
	want_status(nc_create(c, &d, "h", GUARDED, &bits), NFS3_OK, "CREATE of a set-gid file");
	want(c->res.attr.mode == 06775 && c->res.attr.gid == GROUP, "a member may");
	bits.gid = sa_gid(GROUP).gid;
	want_status(nc_create(c, &plain, "i", GUARDED, &bits), NFS3_OK, "CREATE with a group");
	want(c->res.attr.mode == 06775 && c->res.attr.gid == GROUP, "CREATE in one's group");
	become(c, stranger);
	want_status(nc_create(c, &plain, "j", GUARDED, &bits), NFS3ERR_PERM,
		    "CREATE in a foreign group");
	want_status(nc_create(c, &plain, "k", GUARDED, &s), NFS3_OK, "CREATE");
	want(c->res.attr.gid == stranger->gid && c->res.attr.uid == stranger->uid,
	     "owner and group of what a user makes");
	s = sa_uid(OWNER);
	want_status(nc_create(c, &plain, "m", GUARDED, &s), NFS3ERR_PERM, "CREATE for another");
	as_root(c);
	want_status(nc_lookup(c, &plain, "m"), NFS3ERR_NOENT, "what was refused is not there");
}

void conform_setid(struct world *w)
{
	cleared(w);
	inherited(w);
}
