/* LOOKUP and the rules of names; CREATE, MKDIR, SYMLINK, MKNOD: groups of nfs3_conform. */
#include <stdio.h>
#include <string.h>
#include "tests/tools/nfs3_conform.h"

/* ---- names ---- */

struct name_case {
	const char *what;
	const char *name;
	int lookup, make, unmake, rmdir; /* what these say to it */
};

static void all_with(struct world *w, const struct name_case *n)
{
	struct nc *c = w->c;
	sattr3 s = sa_none();
	struct nc_fh f;
	want_status(nc_lookup(c, &w->dir, n->name), n->lookup, "LOOKUP of %s", n->what);
	want_status(nc_create(c, &w->dir, n->name, UNCHECKED, &s), n->make, "CREATE of %s",
		    n->what);
	want_status(nc_create(c, &w->dir, n->name, GUARDED, &s), n->make, "CREATE of %s", n->what);
	want_status(nc_exclusive(c, &w->dir, n->name, 1), n->make, "CREATE of %s", n->what);
	want_status(nc_mkdir(c, &w->dir, n->name, &s), n->make, "MKDIR of %s", n->what);
	want_status(nc_symlink(c, &w->dir, n->name, "t", &s), n->make, "SYMLINK of %s", n->what);
	want_status(nc_mknod(c, &w->dir, n->name, NF3SOCK, &s, 0, 0), n->make, "MKNOD of %s",
		    n->what);
	want_status(nc_remove(c, &w->dir, n->name), n->unmake, "REMOVE of %s", n->what);
	want_status(nc_rmdir(c, &w->dir, n->name), n->rmdir, "RMDIR of %s", n->what);
	want_status(nc_rename(c, &w->dir, n->name, &w->dir, "to"), n->unmake, "RENAME of %s",
		    n->what);
	f = make_file(w, "from", 0644);
	int to = n->make == NFS3ERR_EXIST ? NFS3ERR_INVAL : n->make;
	want_status(nc_rename(c, &w->dir, "from", &w->dir, n->name), to, "RENAME to %s", n->what);
	want_status(nc_link(c, &f, &w->dir, n->name), n->make, "LINK to %s", n->what);
	want_status(nc_remove(c, &w->dir, "from"), NFS3_OK, "REMOVE");
}

/* Bytes that are no text but are good names. */
static void odd_names(struct world *w)
{
	static const char *const odd[] = {" ",	  "\n",	 "...", ".a",  "a.",  "\xff\xfe",
					  "\x80", "a b", "\\",	"*?",  "-rf", "\x01",
					  "ä",	  "A",	 "a",	"..a", ". .", "~"};
	sattr3 s = sa_none();
	unsigned n = sizeof(odd) / sizeof(odd[0]);
	for (unsigned i = 0; i < n; i++) {
		want_status(nc_create(w->c, &w->dir, odd[i], GUARDED, &s), NFS3_OK, "CREATE '%s'",
			    odd[i]);
		want_status(nc_lookup(w->c, &w->dir, odd[i]), NFS3_OK, "LOOKUP '%s'", odd[i]);
	}
	if (!want(nc_readdir_all(w->c, &w->dir, 4096, false), "READDIR of odd names"))
		return;
	for (unsigned i = 0; i < n; i++) {
		unsigned seen = 0;
		for (unsigned k = 0; k < w->c->nentries; k++)
			seen += strcmp(w->c->entries[k].name, odd[i]) == 0;
		want(seen == 1, "'%s' is listed %u times", odd[i], seen);
	}
	for (unsigned i = 0; i < n; i++)
		want_status(nc_remove(w->c, &w->dir, odd[i]), NFS3_OK, "REMOVE '%s'", odd[i]);
}

static void longest(struct world *w)
{
	char name[257], other[257];
	sattr3 s = sa_none();
	memset(name, 'n', sizeof(name));
	name[256] = name[255] = '\0';
	memcpy(other, name, sizeof(other));
	other[254] = 'o';
	struct nc_fh f = make_file(w, name, 0644);
	want_status(nc_lookup(w->c, &w->dir, name), NFS3_OK, "LOOKUP of 255 bytes");
	want(fh_same(&w->c->res.fh, &f), "the handle of 255 bytes");
	want_status(nc_lookup(w->c, &w->dir, other), NFS3ERR_NOENT, "LOOKUP of 255 other bytes");
	want_status(nc_rename(w->c, &w->dir, name, &w->dir, other), NFS3_OK, "RENAME of 255 bytes");
	want_status(nc_link(w->c, &f, &w->dir, name), NFS3_OK, "LINK of 255 bytes");
	want_status(nc_remove(w->c, &w->dir, name), NFS3_OK, "REMOVE of 255 bytes");
	want_status(nc_remove(w->c, &w->dir, other), NFS3_OK, "REMOVE of 255 bytes");
	want_status(nc_mkdir(w->c, &w->dir, name, &s), NFS3_OK, "MKDIR of 255 bytes");
	want_status(nc_rmdir(w->c, &w->dir, name), NFS3_OK, "RMDIR of 255 bytes");
	name[255] = 'n';
	const struct name_case too_long = {"256 bytes",		name,
					   NFS3ERR_NAMETOOLONG, NFS3ERR_NAMETOOLONG,
					   NFS3ERR_NAMETOOLONG, NFS3ERR_NAMETOOLONG};
	all_with(w, &too_long);
}

static void lookups(struct world *w)
{
	struct nc_fh d = make_dir(w, "sub", 0755), f;
	want_status(nc_lookup(w->c, &w->dir, "."), NFS3_OK, "LOOKUP of .");
	want(fh_same(&w->c->res.fh, &w->dir), "the handle of .");
	want_status(nc_lookup(w->c, &d, ".."), NFS3_OK, "LOOKUP of ..");
	want(fh_same(&w->c->res.fh, &w->dir), "the handle of ..");
	want_status(nc_lookup(w->c, &w->top, ".."), NFS3_OK, "LOOKUP of .. at the top");
	want(fh_same(&w->c->res.fh, &w->top), "the handle of .. at the top");
	f = make_file(w, "f", 0644);
	const struct nc_res *r = nc_lookup(w->c, &w->dir, "f");
	want_status(r, NFS3_OK, "LOOKUP");
	want(fh_same(&r->fh, &f) && r->has_attr && r->has_dir, "LOOKUP's handle and attributes");
	struct nc_res kept = *r;
	fattr3 a = attr_of(w->c, &f), b = attr_of(w->c, &w->dir);
	want(attr_same(&kept.attr, &a), "LOOKUP's obj_attributes are GETATTR's");
	want(attr_same(&kept.dir, &b), "LOOKUP's dir_attributes are GETATTR's");
	r = nc_lookup(w->c, &w->dir, "nothing");
	want_status(r, NFS3ERR_NOENT, "LOOKUP of nothing");
	want(r->has_dir && attr_same(&r->dir, &b), "a failed LOOKUP's dir_attributes");
}

void conform_names(struct world *w)
{
	static const struct name_case cases[] = {
	    {"'.'", ".", NFS3_OK, NFS3ERR_EXIST, NFS3ERR_INVAL, NFS3ERR_INVAL},
	    {"'..'", "..", NFS3_OK, NFS3ERR_EXIST, NFS3ERR_INVAL, NFS3ERR_EXIST},
	    {"an empty name", "", NFS3ERR_INVAL, NFS3ERR_INVAL, NFS3ERR_INVAL, NFS3ERR_INVAL},
	    {"a/b", "a/b", NFS3ERR_INVAL, NFS3ERR_INVAL, NFS3ERR_INVAL, NFS3ERR_INVAL},
	    {"/", "/", NFS3ERR_INVAL, NFS3ERR_INVAL, NFS3ERR_INVAL, NFS3ERR_INVAL},
	    {"../x", "../x", NFS3ERR_INVAL, NFS3ERR_INVAL, NFS3ERR_INVAL, NFS3ERR_INVAL},
	};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		all_with(w, &cases[i]);
	longest(w);
	odd_names(w);
	lookups(w);
}

/* ---- making ---- */

static void create_modes(struct world *w)
{
	struct nc *c = w->c;
	sattr3 s = sa_mode(0604);
	want_status(nc_create(c, &w->dir, "u", UNCHECKED, &s), NFS3_OK, "CREATE UNCHECKED");
	struct nc_res r = c->res;
	want(r.has_fh && r.has_attr && r.attr.mode == 0604, "CREATE's handle and attributes");
	fattr3 a = attr_of(c, &r.fh);
	want(attr_same(&r.attr, &a), "CREATE's attributes are GETATTR's");
	want_status(nc_write(c, &r.fh, 0, "12345", 5, FILE_SYNC), NFS3_OK, "WRITE");
	s = sa_mode(0777);
	want_status(nc_create(c, &w->dir, "u", UNCHECKED, &s), NFS3_OK, "CREATE UNCHECKED again");
	want(fh_same(&c->res.fh, &r.fh) && c->res.attr.size == 5, "the same file, whole");
	s = sa_size(2);
	want_status(nc_create(c, &w->dir, "u", UNCHECKED, &s), NFS3_OK, "CREATE UNCHECKED, size 2");
	want(c->res.has_attr && c->res.attr.size == 2, "the file was cut");
	want_status(nc_create(c, &w->dir, "u", GUARDED, &s), NFS3ERR_EXIST, "CREATE GUARDED");
	want_status(nc_exclusive(c, &w->dir, "u", 5), NFS3ERR_EXIST, "CREATE EXCLUSIVE of a file");
	want_status(nc_exclusive(c, &w->dir, "x", 5), NFS3_OK, "CREATE EXCLUSIVE");
	r = c->res;
	want_status(nc_exclusive(c, &w->dir, "x", 5), NFS3_OK, "the same verifier again");
	want(fh_same(&c->res.fh, &r.fh), "the same file");
	want_status(nc_exclusive(c, &w->dir, "x", 6), NFS3ERR_EXIST, "another verifier");
	s = sa_times(SET_TO_SERVER_TIME, (nfstime3){0, 0}, (nfstime3){0, 0});
	want_status(nc_setattr(c, &r.fh, &s, NULL), NFS3_OK, "SETATTR after EXCLUSIVE");
	want_status(nc_exclusive(c, &w->dir, "x", 6), NFS3ERR_EXIST, "another verifier later");
	want_status(nc_exclusive(c, &w->dir, "zero", 0), NFS3_OK, "a verifier of zeros");
	want_status(nc_exclusive(c, &w->dir, "zero", 0), NFS3_OK, "a verifier of zeros again");
	s = sa_none();
	want_status(nc_create(c, &w->dir, "plain", GUARDED, &s), NFS3_OK, "CREATE");
	want_status(nc_exclusive(c, &w->dir, "plain", 0), NFS3ERR_EXIST,
		    "a verifier of zeros for what was made without");
}

static void over_others(struct world *w)
{
	static const char *const there[] = {"f", "d", "l", "p"};
	struct nc *c = w->c;
	sattr3 s = sa_none();
	make_file(w, "f", 0644);
	make_dir(w, "d", 0755);
	make_link(w, "l", "f");
	want_status(nc_mknod(c, &w->dir, "p", NF3FIFO, &s, 0, 0), NFS3_OK, "MKNOD");
	for (unsigned i = 0; i < 4; i++) {
		const char *n = there[i];
		if (i)
			want_status(nc_create(c, &w->dir, n, UNCHECKED, &s), NFS3ERR_EXIST,
				    "CREATE UNCHECKED over %s", n);
		want_status(nc_create(c, &w->dir, n, GUARDED, &s), NFS3ERR_EXIST, "CREATE over %s",
			    n);
		want_status(nc_exclusive(c, &w->dir, n, 9), NFS3ERR_EXIST, "EXCLUSIVE over %s", n);
		want_status(nc_mkdir(c, &w->dir, n, &s), NFS3ERR_EXIST, "MKDIR over %s", n);
		want_status(nc_symlink(c, &w->dir, n, "x", &s), NFS3ERR_EXIST, "SYMLINK over %s",
			    n);
		want_status(nc_mknod(c, &w->dir, n, NF3SOCK, &s, 0, 0), NFS3ERR_EXIST,
			    "MKNOD over %s", n);
	}
	want_status(nc_rmdir(c, &w->dir, "f"), NFS3ERR_NOTDIR, "RMDIR of a file");
	want_status(nc_rmdir(c, &w->dir, "l"), NFS3ERR_NOTDIR, "RMDIR of a link");
	want_status(nc_remove(c, &w->dir, "d"), NFS3ERR_ISDIR, "REMOVE of a directory");
	want_status(nc_remove(c, &w->dir, "nothing"), NFS3ERR_NOENT, "REMOVE of nothing");
	want_status(nc_rmdir(c, &w->dir, "nothing"), NFS3ERR_NOENT, "RMDIR of nothing");
	for (unsigned i = 0; i < 4; i++)
		want_status(i == 1 ? nc_rmdir(c, &w->dir, there[i])
				   : nc_remove(c, &w->dir, there[i]),
			    NFS3_OK, "REMOVE of %s", there[i]);
}

static void directories(struct world *w)
{
	struct nc *c = w->c;
	sattr3 s = sa_mode(0711);
	fattr3 was = attr_of(c, &w->dir);
	want_status(nc_mkdir(c, &w->dir, "d", &s), NFS3_OK, "MKDIR");
	struct nc_fh d = c->res.fh;
	want(c->res.attr.mode == 0711 && c->res.attr.nlink == 2, "MKDIR's attributes");
	want(attr_of(c, &w->dir).nlink == was.nlink + 1, "the parent's links");
	want_status(nc_mkdir(c, &d, "e", &s), NFS3_OK, "MKDIR below");
	want(attr_of(c, &d).nlink == 3, "links of a directory with one below");
	want_status(nc_rmdir(c, &w->dir, "d"), NFS3ERR_NOTEMPTY, "RMDIR of what is not empty");
	want_status(nc_rmdir(c, &d, "e"), NFS3_OK, "RMDIR");
	want(attr_of(c, &d).nlink == 2, "links after RMDIR");
	s = sa_none();
	want_status(nc_create(c, &d, "f", GUARDED, &s), NFS3_OK, "CREATE below");
	want_status(nc_rmdir(c, &w->dir, "d"), NFS3ERR_NOTEMPTY, "RMDIR with a file");
	want_status(nc_remove(c, &d, "f"), NFS3_OK, "REMOVE");
	want_status(nc_rmdir(c, &w->dir, "d"), NFS3_OK, "RMDIR of what is empty again");
	want_status(nc_create(c, &d, "f", GUARDED, &s), NFS3ERR_STALE, "CREATE in what is gone");
	want(attr_of(c, &w->dir).nlink == was.nlink, "the parent's links at the end");
}

/* libnfs encodes no call larger than 4 KiB or so: by hand. */
static int symlink_by_hand(struct world *w, const char *name, const char *target)
{
	static uint32_t xid = 0x53000000;
	struct nc_args a = {0};
	nc_put_fh(&a, &w->dir);
	nc_put_opaque(&a, name, strlen(name));
	for (int i = 0; i < 6; i++)
		nc_put32(&a, 0);
	nc_put_opaque(&a, target, strlen(target));
	int status = nc_raw(w->c, xid++, 100003, 10, a.b, a.n, NULL)->status;
	return status ? status : nc_lookup(w->c, &w->dir, name)->status;
}

static void links_and_nodes(struct world *w)
{
	static char target[8192];
	static const unsigned lengths[] = {1,	2,    59,   60,	  100,	255,
					   256, 1000, 1023, 1024, 4094, 4095};
	struct nc *c = w->c;
	sattr3 s = sa_none();
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		for (unsigned k = 0; k < lengths[i]; k++)
			target[k] = (char)('a' + (k + i) % 26);
		target[lengths[i]] = '\0';
		if (lengths[i] < 2000)
			nc_symlink(c, &w->dir, "l", target, &s);
		else
			symlink_by_hand(w, "l", target);
		want_status(&c->res, NFS3_OK, "SYMLINK of %u bytes", lengths[i]);
		struct nc_fh l = c->res.fh;
		want(c->res.attr.size == lengths[i], "the size of a link of %u bytes", lengths[i]);
		want_status(nc_readlink(c, &l), NFS3_OK, "READLINK of %u bytes", lengths[i]);
		want(strcmp(c->data, target) == 0, "the target of %u bytes", lengths[i]);
		struct nc_res r = c->res;
		fattr3 a = attr_of(c, &l);
		want(r.has_attr && attr_same(&r.attr, &a), "READLINK's attributes");
		want_status(nc_remove(c, &w->dir, "l"), NFS3_OK, "REMOVE of a link");
		want_status(nc_readlink(c, &l), NFS3ERR_STALE, "READLINK of what is gone");
	}
	memset(target, 'x', 4096);
	target[4096] = '\0';
	want(symlink_by_hand(w, "l", target) == NFS3ERR_NAMETOOLONG, "SYMLINK of 4096 bytes");
	want_status(nc_symlink(c, &w->dir, "l", "", &s), NFS3ERR_INVAL, "SYMLINK to nothing");
	struct nc_fh f = make_file(w, "f", 0644);
	want_status(nc_readlink(c, &f), NFS3ERR_INVAL, "READLINK of a file");
	want_status(nc_readlink(c, &w->dir), NFS3ERR_INVAL, "READLINK of a directory");
	want_status(nc_mknod(c, &w->dir, "n", NF3REG, &s, 0, 0), NFS3ERR_BADTYPE,
		    "MKNOD of a file");
	want_status(nc_mknod(c, &w->dir, "n", NF3DIR, &s, 0, 0), NFS3ERR_BADTYPE,
		    "MKNOD of a directory");
	want_status(nc_mknod(c, &w->dir, "n", NF3LNK, &s, 0, 0), NFS3ERR_BADTYPE,
		    "MKNOD of a link");
	nc_user(c, 4000, 4000, 0, NULL);
	want_status(nc_mknod(c, &w->dir, "n", NF3BLK, &s, 1, 1), NFS3ERR_PERM, "MKNOD by a user");
	want_status(nc_mknod(c, &w->dir, "n", NF3CHR, &s, 1, 1), NFS3ERR_PERM, "MKNOD by a user");
	want_status(nc_mknod(c, &w->dir, "n", NF3FIFO, &s, 0, 0), NFS3_OK, "a pipe by a user");
	nc_user(c, 0, 0, 0, NULL);
}

void conform_make(struct world *w)
{
	create_modes(w);
	over_others(w);
	directories(w);
	links_and_nodes(w);
}
