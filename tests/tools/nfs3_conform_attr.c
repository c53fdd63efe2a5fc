/* Handles, GETATTR, SETATTR, FSSTAT, FSINFO, PATHCONF: groups of nfs3_conform. */
#include <stdio.h>
#include <string.h>
#include "tests/tools/nfs3_conform.h"

/* ---- handles: what every procedure says to one that is wrong ---- */

struct given {
	const struct nc_fh *fh; /* the one in question */
	const struct nc_fh *dir, *file;
};
typedef const struct nc_res *handle_call(struct nc *c, const struct given *g);

#define CALL(NAME, EXPR)                                                                           \
	static const struct nc_res *NAME(struct nc *c, const struct given *g)                      \
	{                                                                                          \
		sattr3 s = sa_none();                                                              \
		(void)s;                                                                           \
		return EXPR;                                                                       \
	}
CALL(on_getattr, nc_getattr(c, g->fh))
CALL(on_setattr, nc_setattr(c, g->fh, &s, NULL))
CALL(on_lookup, nc_lookup(c, g->fh, "x"))
CALL(on_access, nc_access(c, g->fh, 63))
CALL(on_readlink, nc_readlink(c, g->fh))
CALL(on_read, nc_read(c, g->fh, 0, 10))
CALL(on_write, nc_write(c, g->fh, 0, "x", 1, FILE_SYNC))
CALL(on_create, nc_create(c, g->fh, "x", UNCHECKED, &s))
CALL(on_mkdir, nc_mkdir(c, g->fh, "x", &s))
CALL(on_symlink, nc_symlink(c, g->fh, "x", "y", &s))
CALL(on_mknod, nc_mknod(c, g->fh, "x", NF3FIFO, &s, 0, 0))
CALL(on_remove, nc_remove(c, g->fh, "x"))
CALL(on_rmdir, nc_rmdir(c, g->fh, "x"))
CALL(on_rename_from, nc_rename(c, g->fh, "x", g->dir, "y"))
CALL(on_rename_to, nc_rename(c, g->dir, "there", g->fh, "y"))
CALL(on_link_file, nc_link(c, g->fh, g->dir, "y"))
CALL(on_link_dir, nc_link(c, g->file, g->fh, "y"))
CALL(on_readdir, nc_readdir(c, g->fh, 0, 0, 4096))
CALL(on_readdirplus, nc_readdirplus(c, g->fh, 0, 0, 4096, 4096))
CALL(on_fsstat, nc_fsstat(c, g->fh))
CALL(on_fsinfo, nc_fsinfo(c, g->fh))
CALL(on_pathconf, nc_pathconf(c, g->fh))
CALL(on_commit, nc_commit(c, g->fh, 0, 0))

static const struct {
	const char *name;
	handle_call *call;
	bool dir; /* wants a directory */
} calls[] = {
    {"GETATTR", on_getattr, false},
    {"SETATTR", on_setattr, false},
    {"LOOKUP", on_lookup, true},
    {"ACCESS", on_access, false},
    {"READLINK", on_readlink, false},
    {"READ", on_read, false},
    {"WRITE", on_write, false},
    {"CREATE", on_create, true},
    {"MKDIR", on_mkdir, true},
    {"SYMLINK", on_symlink, true},
    {"MKNOD", on_mknod, true},
    {"REMOVE", on_remove, true},
    {"RMDIR", on_rmdir, true},
    {"RENAME from", on_rename_from, true},
    {"RENAME to", on_rename_to, true},
    {"LINK file", on_link_file, false},
    {"LINK directory", on_link_dir, true},
    {"READDIR", on_readdir, true},
    {"READDIRPLUS", on_readdirplus, true},
    {"FSSTAT", on_fsstat, false},
    {"FSINFO", on_fsinfo, false},
    {"PATHCONF", on_pathconf, false},
    {"COMMIT", on_commit, false},
};

void conform_handles(struct world *w)
{
	struct nc_fh file = make_file(w, "there", 0644), gone = stale(w), bad = forged(&file);
	struct nc_fh link = make_link(w, "link", "there");
	struct nc_fh empty = {.len = 0}, wide = {.len = 64}, other = file;
	struct nc_fh lost_dir = make_dir(w, "lost", 0755);
	want_status(nc_rmdir(w->c, &w->dir, "lost"), NFS3_OK, "RMDIR");
	other.data[0] = 7; /* a version that is not ours */
	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		const char *name = calls[i].name;
		struct given g = {.dir = &w->dir, .file = &file};
#define TRY(HANDLE, STATUS)                                                                        \
	g.fh = HANDLE;                                                                             \
	want_status(calls[i].call(w->c, &g), STATUS, "%s of a %s handle", name, #HANDLE)
		TRY(&gone, NFS3ERR_STALE);
		TRY(&lost_dir, NFS3ERR_STALE);
		TRY(&bad, NFS3ERR_BADHANDLE);
		TRY(&empty, NFS3ERR_BADHANDLE);
		TRY(&wide, NFS3ERR_BADHANDLE);
		TRY(&other, NFS3ERR_BADHANDLE);
		if (calls[i].dir) {
			TRY(&file, NFS3ERR_NOTDIR);
			TRY(&link, NFS3ERR_NOTDIR);
		}
#undef TRY
	}
	want_status(nc_null(w->c), 0, "NULL");
	/* A number used again has another generation: the old handle stays stale. */
	for (int i = 0; i < 50; i++) {
		char name[32];
		snprintf(name, sizeof(name), "again-%d", i);
		make_file(w, name, 0644);
	}
	want_status(nc_getattr(w->c, &gone), NFS3ERR_STALE,
		    "GETATTR when the number may be another's");
}

/* ---- attributes ---- */

static void every_type(struct world *w)
{
	static const struct {
		const char *name;
		ftype3 type;
	} types[] = {{"blk", NF3BLK}, {"chr", NF3CHR}, {"sock", NF3SOCK}, {"fifo", NF3FIFO}};
	sattr3 s = sa_mode(0640);
	struct nc_fh f = make_file(w, "reg", 0640), d = make_dir(w, "dir", 0750);
	struct nc_fh l = make_link(w, "lnk", "somewhere");
	fattr3 a = attr_of(w->c, &f), top = attr_of(w->c, &w->top);
	want(a.type == NF3REG && a.mode == 0640 && a.nlink == 1 && a.size == 0 && a.used == 0,
	     "attributes of a new file");
	want(a.fsid == top.fsid && a.fileid != top.fileid, "fsid and fileid");
	a = attr_of(w->c, &d);
	want(a.type == NF3DIR && a.mode == 0750 && a.nlink == 2, "attributes of a new directory");
	a = attr_of(w->c, &l);
	want(a.type == NF3LNK && a.nlink == 1 && a.size == 9, "attributes of a new symbolic link");
	for (unsigned i = 0; i < 4; i++) {
		want_status(nc_mknod(w->c, &w->dir, types[i].name, types[i].type, &s, 8, 17),
			    NFS3_OK, "MKNOD %s", types[i].name);
		a = w->c->res.attr;
		bool device = types[i].type == NF3BLK || types[i].type == NF3CHR;
		want(a.type == types[i].type && a.mode == 0640 && a.nlink == 1,
		     "attributes of a new %s", types[i].name);
		want(a.rdev.specdata1 == (device ? 8 : 0) && a.rdev.specdata2 == (device ? 17 : 0),
		     "device numbers of a %s", types[i].name);
	}
}

static bool later(const nfstime3 *a, const nfstime3 *b)
{
	return a->seconds > b->seconds || (a->seconds == b->seconds && a->nseconds > b->nseconds);
}

static bool time_is(const nfstime3 *a, uint32_t sec, uint32_t nsec)
{
	return a->seconds == sec && a->nseconds == nsec;
}

static void times(struct world *w)
{
	struct nc_fh f = make_file(w, "times", 0644);
	static const nfstime3 kept[] = {
	    {0, 0},	     {1, 1},	       {0, 999999999},		{1234567890, 987654321},
	    {2147483647, 5}, {2147483648u, 6}, {4294967295u, 999999999}};
	for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		nfstime3 back = kept[sizeof(kept) / sizeof(kept[0]) - 1 - i];
		sattr3 s = sa_times(SET_TO_CLIENT_TIME, kept[i], back);
		fattr3 was = attr_of(w->c, &f);
		want_status(nc_setattr(w->c, &f, &s, NULL), NFS3_OK, "SETATTR of times");
		fattr3 a = attr_of(w->c, &f);
		want(time_is(&a.atime, kept[i].seconds, kept[i].nseconds), "atime as given");
		want(time_is(&a.mtime, back.seconds, back.nseconds), "mtime as given");
		want(later(&a.ctime, &was.ctime), "ctime moves with SETATTR");
	}
	sattr3 s = sa_times(SET_TO_SERVER_TIME, (nfstime3){0, 0}, (nfstime3){0, 0});
	want_status(nc_setattr(w->c, &f, &s, NULL), NFS3_OK, "SETATTR to the server's time");
	fattr3 a = attr_of(w->c, &f);
	want(a.mtime.seconds >= a.ctime.seconds - 1 && a.atime.seconds >= a.ctime.seconds - 1,
	     "the server's time");
	s.atime.set_it = DONT_CHANGE;
	s.mtime.set_it = SET_TO_CLIENT_TIME;
	s.mtime.set_mtime_u.mtime = (nfstime3){77, 88};
	want_status(nc_setattr(w->c, &f, &s, NULL), NFS3_OK, "SETATTR of mtime alone");
	fattr3 b = attr_of(w->c, &f);
	want(time_is(&b.atime, a.atime.seconds, a.atime.nseconds) && time_is(&b.mtime, 77, 88),
	     "mtime alone");
}

static void sizes(struct world *w)
{
	struct nc_fh f = make_file(w, "sizes", 0644);
	struct nc_fh d = make_dir(w, "sizes.d", 0755), l = make_link(w, "sizes.l", "sizes");
	static const uint64_t all[] = {0,	1,	    4095,	4096, 4097,
				       1 << 20, 1ull << 32, 1ull << 40, 3,    0};
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		sattr3 s = sa_size(all[i]);
		fattr3 was = attr_of(w->c, &f);
		want_status(nc_setattr(w->c, &f, &s, NULL), NFS3_OK, "SETATTR of the size");
		fattr3 a = attr_of(w->c, &f);
		want(a.size == all[i], "the size");
		want(later(&a.mtime, &was.mtime), "mtime moves with the size");
	}
	want_status(nc_fsinfo(w->c, &f), NFS3_OK, "FSINFO");
	uint64_t max = w->c->res.fsinfo.maxfilesize;
	sattr3 s = sa_size(max);
	want_status(nc_setattr(w->c, &f, &s, NULL), NFS3_OK, "SETATTR to maxfilesize");
	want(attr_of(w->c, &f).size == max, "maxfilesize");
	s = sa_size(max + 1);
	want_status(nc_setattr(w->c, &f, &s, NULL), NFS3ERR_FBIG, "SETATTR past maxfilesize");
	s = sa_size(UINT64_MAX);
	want_status(nc_setattr(w->c, &f, &s, NULL), NFS3ERR_FBIG, "SETATTR to 2^64-1");
	want_status(nc_create(w->c, &w->dir, "too-big", GUARDED, &s), NFS3ERR_FBIG,
		    "CREATE of 2^64-1 bytes");
	want_status(nc_lookup(w->c, &w->dir, "too-big"), NFS3ERR_NOENT, "what CREATE refused");
	s = sa_size(0);
	want_status(nc_setattr(w->c, &f, &s, NULL), NFS3_OK, "SETATTR to 0");
	want_status(nc_setattr(w->c, &d, &s, NULL), NFS3ERR_ISDIR, "SETATTR of a directory's size");
	want_status(nc_setattr(w->c, &l, &s, NULL), NFS3ERR_INVAL, "SETATTR of a link's size");
}

static void guard(struct world *w)
{
	struct nc_fh f = make_file(w, "guard", 0644);
	fattr3 a = attr_of(w->c, &f);
	nfstime3 wrong = a.ctime;
	sattr3 s = sa_mode(0600), size = sa_size(5);
	wrong.nseconds ^= 1;
	want_status(nc_setattr(w->c, &f, &s, &wrong), NFS3ERR_NOT_SYNC, "SETATTR, another ctime");
	want_status(nc_setattr(w->c, &f, &size, &wrong), NFS3ERR_NOT_SYNC,
		    "the size, another ctime");
	want_status(nc_setattr(w->c, &f, &s, &a.ctime), NFS3_OK, "SETATTR, the same ctime");
	want_status(nc_setattr(w->c, &f, &size, &a.ctime), NFS3ERR_NOT_SYNC,
		    "SETATTR, an old ctime");
	a = attr_of(w->c, &f);
	want(a.mode == 0600 && a.size == 0, "a guarded SETATTR");
}

static void nothing_set(struct world *w)
{
	struct nc_fh f = make_file(w, "nothing", 0600);
	sattr3 s = sa_none();
	fattr3 a = attr_of(w->c, &f);
	nc_user(w->c, 4000, 4000, 0, NULL);
	want_status(nc_setattr(w->c, &f, &s, NULL), NFS3_OK, "SETATTR of nothing");
	nc_user(w->c, 0, 0, 0, NULL);
	fattr3 b = attr_of(w->c, &f);
	want(attr_same(&a, &b), "SETATTR of nothing by a stranger changes nothing");
}

static void infos(struct world *w)
{
	struct nc_fh f = make_file(w, "infos", 0644);
	const struct nc_res *r = nc_fsinfo(w->c, &w->top);
	const FSINFO3resok *i = &r->fsinfo;
	want_status(r, NFS3_OK, "FSINFO");
	want(r->has_attr, "FSINFO's attributes");
	want(i->rtmax >= 65536 && i->rtpref <= i->rtmax && i->rtmult && i->wtmax >= 65536 &&
		 i->wtpref <= i->wtmax && i->wtmult && i->dtpref >= 1024,
	     "FSINFO's sizes");
	want(i->time_delta.seconds == 0 && i->time_delta.nseconds == 1, "FSINFO's time_delta");
	want((i->properties & (FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME)) ==
		 (FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME),
	     "FSINFO's properties");
	r = nc_fsstat(w->c, &f);
	const FSSTAT3resok *s = &r->fsstat;
	want_status(r, NFS3_OK, "FSSTAT");
	want(r->has_attr && s->tbytes >= s->fbytes && s->fbytes >= s->abytes && s->abytes &&
		 s->tfiles >= s->ffiles && s->ffiles >= s->afiles && s->afiles,
	     "FSSTAT's figures");
	r = nc_pathconf(w->c, &f);
	want_status(r, NFS3_OK, "PATHCONF");
	want(r->pathconf.linkmax >= 32000 && r->pathconf.name_max == 255 && r->pathconf.no_trunc &&
		 r->pathconf.chown_restricted && !r->pathconf.case_insensitive &&
		 r->pathconf.case_preserving,
	     "PATHCONF's values");
}

void conform_attr(struct world *w)
{
	every_type(w);
	times(w);
	sizes(w);
	guard(w);
	nothing_set(w);
	infos(w);
}
