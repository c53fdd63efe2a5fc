/* MOUNT and what exports promise: squashing, read-only, hosts, ports, subdirectories. Groups of
 * nfs3_conform; the exports are those of tests/system/test_nfs_conform.sh. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/tools/nfs3_conform.h"

/* ---- MOUNT ---- */

static bool has_line(const struct nc *c, const char *line)
{
	char want_line[2048];
	snprintf(want_line, sizeof(want_line), "\n%s\n", line);
	char all[65536];
	snprintf(all, sizeof(all), "\n%s", c->data);
	return strstr(all, want_line) != NULL;
}

static void paths(struct world *w)
{
	static const struct {
		const char *path;
		int status;
	} cases[] = {
	    {"/demo", MNT3_OK},
	    {"/demo/", MNT3_OK},
	    {"/demo///", MNT3_OK},
	    {"/demo/mount", MNT3_OK},
	    {"/demo//mount/dir/", MNT3_OK},
	    {"/demo/mount/./dir", MNT3_OK},
	    {"/demo/mount/file", MNT3ERR_NOTDIR},
	    {"/demo/mount/link", MNT3ERR_NOTDIR},
	    {"/demo/mount/link/x", MNT3ERR_NOTDIR},
	    {"/demo/mount/nothing", MNT3ERR_NOENT},
	    {"/demo/mount/nothing/x", MNT3ERR_NOENT},
	    {"/demo/..", MNT3ERR_ACCES},
	    {"/demo/mount/..", MNT3ERR_ACCES},
	    {"/sub/..", MNT3ERR_ACCES},
	    {"/sub/../mount", MNT3ERR_ACCES},
	    {"/", MNT3ERR_ACCES},
	    {"", MNT3ERR_ACCES},
	    {"demo", MNT3ERR_ACCES},
	    {"/dem", MNT3ERR_ACCES},
	    {"/demos", MNT3ERR_ACCES},
	    {"/DEMO", MNT3ERR_ACCES},
	    {"/nobody", MNT3ERR_ACCES},
	};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		want_status(nc_mnt(w->c, cases[i].path), cases[i].status, "MNT %s", cases[i].path);
	char path[1100];
	snprintf(path, sizeof(path), "/demo/%0300d", 0);
	want_status(nc_mnt(w->c, path), MNT3ERR_NAMETOOLONG, "MNT of a name of 300 bytes");
	memset(path, '/', sizeof(path));
	memcpy(path, "/demo", 5);
	path[1024] = '\0';
	want_status(nc_mnt(w->c, path), MNT3_OK, "MNT of 1024 bytes");
	path[1024] = '/';
	path[1025] = '\0';
	want(nc_mnt(w->c, path)->rpc == NC_REFUSED, "MNT of 1025 bytes is garbage");
}

static void lists(struct world *w)
{
	struct nc *c = world_open(w, "127.0.0.9", true), *d = world_open(w, "127.0.0.10", true);
	want_status(nc_mount_null(c), 0, "MOUNT NULL");
	want_status(nc_mnt(c, "/demo"), MNT3_OK, "MNT");
	want(c->res.has_fh && c->res.fh.len && c->res.fh.len <= 64 && c->res.count == 1,
	     "MNT's handle and flavour");
	want_status(nc_mnt(c, "/demo"), MNT3_OK, "MNT again");
	want_status(nc_mnt(c, "/sub"), MNT3_OK, "MNT");
	want_status(nc_mnt(c, "/nobody"), MNT3ERR_ACCES, "MNT of nothing");
	want_status(nc_mnt(d, "/demo"), MNT3_OK, "MNT");
	want_status(nc_dump(c), 0, "DUMP");
	want(has_line(c, "127.0.0.9 /demo") && has_line(c, "127.0.0.9 /sub") &&
		 !strstr(c->data, "127.0.0.10"),
	     "DUMP tells what the caller mounted: %s", c->data);
	want(!strstr(c->data, "nobody"), "DUMP tells no failures");
	want_status(nc_umnt(c, "/sub"), 0, "UMNT");
	want_status(nc_umnt(c, "/nobody"), 0, "UMNT of what was not mounted");
	want_status(nc_dump(c), 0, "DUMP");
	want(has_line(c, "127.0.0.9 /demo") && !has_line(c, "127.0.0.9 /sub"), "after UMNT");
	want_status(nc_umntall(c), 0, "UMNTALL");
	want_status(nc_dump(c), 0, "DUMP");
	want(!*c->data, "after UMNTALL");
	want_status(nc_dump(d), 0, "DUMP");
	want(has_line(d, "127.0.0.10 /demo"), "what others mounted stays");
	want_status(nc_umntall(d), 0, "UMNTALL");
	want_status(nc_exports(c), 0, "EXPORT");
	want(has_line(c, "/demo *") && !strstr(c->data, "/hosts") && has_line(c, "/sub *"),
	     "EXPORT's list: %s", c->data);
	struct nc *e = world_open(w, "127.0.4.9", true);
	want_status(nc_exports(e), 0, "EXPORT");
	want(has_line(e, "/demo *") && has_line(e, "/hosts 127.0.0.2 127.0.4.0/24"),
	     "EXPORT's list of one who is in another: %s", e->data);
	nc_close(e);
	nc_close(c);
	nc_close(d);
}

void conform_mount(struct world *w)
{
	make_dir(w, "dir", 0700);
	make_file(w, "file", 0644);
	make_link(w, "link", "dir");
	lists(w);
	paths(w);
}

/* ---- squashing, read-only exports ---- */

static void made_as(struct nc *c, const struct nc_fh *dir, uint32_t uid, uint32_t gid,
		    uint32_t want_uid, uint32_t want_gid, const char *where)
{
	sattr3 s = sa_none();
	nc_user(c, uid, gid, 0, NULL);
	want_status(nc_create(c, dir, "who", GUARDED, &s), NFS3_OK, "CREATE on %s by %u", where,
		    uid);
	want(c->res.attr.uid == want_uid && c->res.attr.gid == want_gid,
	     "%u:%u on %s makes files of %u:%u", uid, gid, where, c->res.attr.uid, c->res.attr.gid);
	want_status(nc_remove(c, dir, "who"), NFS3_OK, "REMOVE");
	nc_user(c, 0, 0, 0, NULL);
}

/* The group's directory, seen through another export. */
static struct nc_fh seen(struct nc *c, const char *path)
{
	struct nc_fh top = world_mount(c, path);
	want_status(nc_lookup(c, &top, "squash"), NFS3_OK, "LOOKUP on %s", path);
	return c->res.fh;
}

static void squashed(struct world *w)
{
	struct nc *c = w->c;
	struct nc_fh d = seen(c, "/squash"), a = seen(c, "/all");
	uint32_t zero = 0;
	made_as(c, &w->dir, 0, 0, 0, 0, "/demo");
	made_as(c, &d, 0, 0, 65534, 65534, "/squash");
	made_as(c, &d, 0, 300, 65534, 300, "/squash");
	made_as(c, &d, 300, 0, 300, 65534, "/squash");
	made_as(c, &d, 1000, 2000, 1000, 2000, "/squash");
	made_as(c, &a, 0, 0, 1234, 2345, "/all");
	made_as(c, &a, 1000, 2000, 1234, 2345, "/all");
	struct nc_fh f = make_file(w, "secret", 0640);
	want_status(nc_read(c, &f, 0, 1), NFS3_OK, "READ by root");
	want_status(nc_lookup(c, &d, "secret"), NFS3_OK, "LOOKUP");
	f = c->res.fh;
	want_status(nc_read(c, &f, 0, 1), NFS3ERR_ACCES, "READ by a squashed root");
	nc_user(c, 1000, 1000, 1, &zero);
	want_status(nc_read(c, &f, 0, 1), NFS3ERR_ACCES, "READ by who says to be in group 0");
	nc_user(c, 0, 0, 0, NULL);
	sattr3 s = sa_uid(0);
	want_status(nc_setattr(c, &f, &s, NULL), NFS3ERR_PERM, "chown by a squashed root");
	want_status(nc_mknod(c, &d, "dev", NF3BLK, &s, 1, 1), NFS3ERR_PERM,
		    "MKNOD by a squashed root");
}

static void read_only(struct world *w)
{
	struct nc *c = w->c;
	sattr3 s = sa_mode(0600);
	make_file(w, "file", 0666);
	struct nc_fh d = seen(c, "/ro");
	want_status(nc_lookup(c, &d, "file"), NFS3_OK, "LOOKUP");
	struct nc_fh f = c->res.fh;
	want_status(nc_setattr(c, &f, &s, NULL), NFS3ERR_ROFS, "SETATTR");
	want_status(nc_write(c, &f, 0, "x", 1, UNSTABLE), NFS3ERR_ROFS, "WRITE");
	want_status(nc_create(c, &d, "x", UNCHECKED, &s), NFS3ERR_ROFS, "CREATE");
	want_status(nc_create(c, &d, "file", UNCHECKED, &s), NFS3ERR_ROFS, "CREATE");
	want_status(nc_mkdir(c, &d, "x", &s), NFS3ERR_ROFS, "MKDIR");
	want_status(nc_symlink(c, &d, "x", "y", &s), NFS3ERR_ROFS, "SYMLINK");
	want_status(nc_mknod(c, &d, "x", NF3FIFO, &s, 0, 0), NFS3ERR_ROFS, "MKNOD");
	want_status(nc_remove(c, &d, "file"), NFS3ERR_ROFS, "REMOVE");
	want_status(nc_rmdir(c, &d, "x"), NFS3ERR_ROFS, "RMDIR");
	want_status(nc_rename(c, &d, "file", &d, "x"), NFS3ERR_ROFS, "RENAME");
	want_status(nc_link(c, &f, &d, "x"), NFS3ERR_ROFS, "LINK");
	want_status(nc_access(c, &f, 63), NFS3_OK, "ACCESS");
	want(c->res.access == ACCESS3_READ, "ACCESS on a read-only export: %#x", c->res.access);
	want_status(nc_access(c, &d, 63), NFS3_OK, "ACCESS");
	want(c->res.access == (ACCESS3_READ | ACCESS3_LOOKUP), "of a directory: %#x",
	     c->res.access);
	want_status(nc_read(c, &f, 0, 10), NFS3_OK, "READ");
	want(nc_readdir_all(c, &d, 4096, true), "READDIRPLUS");
	want_status(nc_fsstat(c, &f), NFS3_OK, "FSSTAT");
	/* One object, two exports: what one may the other may not. */
	want_status(nc_lookup(c, &w->dir, "file"), NFS3_OK, "LOOKUP on /demo");
	struct nc_fh rw = c->res.fh;
	want(!fh_same(&rw, &f), "handles name their export");
	want_status(nc_write(c, &rw, 0, "x", 1, UNSTABLE), NFS3_OK, "WRITE on /demo");
	want_status(nc_rename(c, &w->dir, "file", &d, "x"), NFS3ERR_XDEV,
		    "RENAME to another export");
	want_status(nc_link(c, &rw, &d, "x"), NFS3ERR_XDEV, "LINK into another export");
}

static void two_file_systems(struct world *w)
{
	struct nc *c = w->c;
	sattr3 s = sa_none();
	struct nc_fh other = world_mount(c, "/other"), f = make_file(w, "f", 0644);
	fattr3 a = attr_of(c, &other), b = attr_of(c, &w->top);
	want(a.fsid != b.fsid, "two file systems have two fsids");
	want_status(nc_rename(c, &w->dir, "f", &other, "f"), NFS3ERR_XDEV, "RENAME between them");
	want_status(nc_rename(c, &w->top, "squash", &other, "f"), NFS3ERR_XDEV,
		    "RENAME between them");
	want_status(nc_link(c, &f, &other, "f"), NFS3ERR_XDEV, "LINK between them");
	/* The other's top has this one's inode number: its attributes must not be shown for it. */
	want_status(nc_rename(c, &other, "f", &w->top, "f"), NFS3ERR_XDEV, "RENAME between tops");
	want_status(nc_create(c, &other, "f", UNCHECKED, &s), NFS3_OK, "CREATE on the other");
	want_status(nc_remove(c, &other, "f"), NFS3_OK, "REMOVE on the other");
}

void conform_squash(struct world *w)
{
	squashed(w);
	read_only(w);
	two_file_systems(w);
}

/* ---- hosts and ports ---- */

void conform_hosts(struct world *w)
{
	static const struct {
		const char *from;
		int mount, read, write;
	} cases[] = {
	    {"127.0.0.2", MNT3_OK, NFS3_OK, NFS3_OK},
	    {"127.0.0.3", MNT3ERR_ACCES, NFS3ERR_ACCES, NFS3ERR_ACCES},
	    {"127.0.4.1", MNT3_OK, NFS3_OK, NFS3ERR_ROFS},
	    {"127.0.4.255", MNT3_OK, NFS3_OK, NFS3ERR_ROFS},
	    {"127.0.3.255", MNT3ERR_ACCES, NFS3ERR_ACCES, NFS3ERR_ACCES},
	    {"127.0.5.0", MNT3ERR_ACCES, NFS3ERR_ACCES, NFS3ERR_ACCES},
	    {"127.0.0.20", MNT3ERR_ACCES, NFS3ERR_ACCES, NFS3ERR_ACCES},
	};
	struct nc *good = world_open(w, "127.0.0.2", true);
	struct nc_fh top = world_mount(good, "/hosts");
	sattr3 s = sa_none();
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct nc *c = world_open(w, cases[i].from, true);
		const char *from = cases[i].from;
		want_status(nc_mnt(c, "/hosts"), cases[i].mount, "MNT from %s", from);
		want_status(nc_getattr(c, &top), cases[i].read, "GETATTR from %s", from);
		want_status(nc_readdir(c, &top, 0, 0, 4096), cases[i].read, "READDIR from %s",
			    from);
		want_status(nc_create(c, &top, "hosts-file", UNCHECKED, &s), cases[i].write,
			    "CREATE from %s", from);
		want_status(nc_mnt(c, "/demo"), MNT3_OK, "MNT of another export from %s", from);
		nc_close(c);
	}
	want_status(nc_remove(good, &top, "hosts-file"), NFS3_OK, "REMOVE");
	nc_close(good);
	struct nc *low = world_open(w, NULL, true), *high = world_open(w, NULL, false);
	struct nc_fh secure = world_mount(low, "/secure");
	want_status(nc_getattr(low, &secure), NFS3_OK, "GETATTR from a port below 1024");
	want_status(nc_mnt(high, "/secure"), MNT3ERR_ACCES, "MNT from a port above");
	want_status(nc_getattr(high, &secure), NFS3ERR_ACCES, "GETATTR from a port above");
	want_status(nc_mnt(high, "/demo"), MNT3_OK, "MNT of /demo from a port above");
	nc_close(low);
	nc_close(high);
}

/* ---- subdirectories ---- */

static void no_way_up(struct nc *c, const struct nc_fh *d, const struct nc_fh *outside,
		      const char *what)
{
	nc_lookup(c, d, "..");
	want(c->res.status != NFS3_OK || fh_same(&c->res.fh, d), "LOOKUP of .. of %s leads out",
	     what);
	fattr3 out = attr_of(c, outside);
	want(nc_readdir_all(c, d, 4096, true), "READDIRPLUS of %s", what);
	for (unsigned i = 0; i < c->nentries; i++) {
		const struct nc_entry *e = &c->entries[i];
		if (strcmp(e->name, "..") == 0)
			want(!e->has_fh && !e->has_attr && e->fileid != out.fileid,
			     "READDIRPLUS shows .. of %s", what);
	}
}

/* An export of a path follows the path: its directory may go, come again, be another one. */
static void remade(struct world *w)
{
	struct nc *c = w->c;
	sattr3 s = sa_mode(0755);
	nc_rmdir(c, &w->top, "later");
	want_status(nc_mnt(c, "/later"), MNT3ERR_NOENT, "MNT of a directory that is not there yet");
	for (int i = 0; i < 3; i++) {
		want_status(nc_mkdir(c, &w->top, "later", &s), NFS3_OK, "MKDIR");
		uint64_t id = c->res.attr.fileid;
		want_status(nc_mnt(c, "/later"), MNT3_OK, "MNT of what was made");
		struct nc_fh f = c->res.fh;
		want_status(nc_getattr(c, &f), NFS3_OK, "GETATTR of what was mounted");
		want(c->res.attr.fileid == id, "it is the directory of that name");
		want_status(nc_mkdir(c, &f, "in", &s), NFS3_OK, "MKDIR inside");
		struct nc_fh in = c->res.fh;
		want_status(nc_lookup(c, &in, ".."), NFS3_OK, "LOOKUP of ..");
		want(fh_same(&c->res.fh, &f), ".. leads to where it begins");
		if (i == 1) { /* another takes its place */
			want_status(nc_rename(c, &w->top, "later", &w->dir, "old"), NFS3_OK,
				    "RENAME");
			want_status(nc_mkdir(c, &w->top, "later", &s), NFS3_OK, "MKDIR");
			id = c->res.attr.fileid;
			want_status(nc_mnt(c, "/later"), MNT3_OK, "MNT of the other one");
			struct nc_fh other = c->res.fh;
			want(attr_of(c, &other).fileid == id, "MNT gives the one of that name now");
			nc_lookup(c, &f, "..");
			want(c->res.status != NFS3_OK || fh_same(&c->res.fh, &f), "no way up");
			want_status(nc_rmdir(c, &w->top, "later"), NFS3_OK, "RMDIR");
			want_status(nc_rename(c, &w->dir, "old", &w->top, "later"), NFS3_OK,
				    "RENAME back");
		}
		want_status(nc_rmdir(c, &f, "in"), NFS3_OK, "RMDIR");
		want_status(nc_rmdir(c, &w->top, "later"), NFS3_OK, "RMDIR");
		want_status(nc_getattr(c, &f), NFS3ERR_STALE, "GETATTR of what is gone");
		want_status(nc_mnt(c, "/later"), MNT3ERR_NOENT, "MNT of what is gone");
	}
}

void conform_subdir(struct world *w)
{
	struct nc *c = w->c;
	sattr3 s = sa_mode(0755);
	struct nc_fh real, top = world_mount(c, "/sub"), in, out;
	want_status(nc_lookup(c, &w->top, "sub"), NFS3_OK, "LOOKUP of the directory itself");
	real = c->res.fh;
	fattr3 a = attr_of(c, &top), b = attr_of(c, &real);
	want(a.fileid == b.fileid && a.fsid == b.fsid, "the export begins with its directory");
	no_way_up(c, &top, &w->top, "a subdirectory export");
	nc_rmdir(c, &top, "in");
	want_status(nc_mkdir(c, &top, "in", &s), NFS3_OK, "MKDIR");
	in = c->res.fh;
	want_status(nc_lookup(c, &in, ".."), NFS3_OK, "LOOKUP of .. inside");
	want(fh_same(&c->res.fh, &top), ".. inside leads to the export's beginning");
	want_status(nc_mnt(c, "/sub/in"), MNT3_OK, "MNT below");
	want(fh_same(&c->res.fh, &in), "the handle of a mount below");
	/* A handle of the one export with the other's number. */
	struct nc_fh mixed = top;
	memcpy(mixed.data + 16, w->top.data + 16, 8);
	want_status(nc_getattr(c, &mixed), NFS3ERR_BADHANDLE, "a handle with another export");
	mixed = top;
	memcpy(mixed.data + 24, w->top.data + 24, 8);
	want_status(nc_getattr(c, &mixed), NFS3ERR_BADHANDLE, "a handle with another number");
	want_status(nc_rename(c, &top, "in", &w->dir, "x"), NFS3ERR_XDEV, "RENAME out of it");
	want_status(nc_rename(c, &w->dir, "x", &top, "in"), NFS3ERR_XDEV, "RENAME into it");
	/* Somebody with more rights moves it out: its old handle is no way up. */
	want_status(nc_mkdir(c, &in, "deep", &s), NFS3_OK, "MKDIR");
	struct nc_fh deep = c->res.fh;
	want_status(nc_rename(c, &real, "in", &w->dir, "moved"), NFS3_OK, "RENAME by /demo");
	out = w->dir;
	no_way_up(c, &in, &out, "a directory moved out");
	want(nc_lookup(c, &deep, "..")->status != NFS3_OK, "LOOKUP of .. below one moved out");
	want_status(nc_rename(c, &w->dir, "moved", &real, "in"), NFS3_OK, "RENAME back");
	want_status(nc_lookup(c, &in, ".."), NFS3_OK, "LOOKUP of .. inside again");
	want(fh_same(&c->res.fh, &top), "back again");
	want_status(nc_rmdir(c, &in, "deep"), NFS3_OK, "RMDIR");
	want_status(nc_rmdir(c, &top, "in"), NFS3_OK, "RMDIR");
	remade(w);
}

/* ---- changes while clients are there ---- */

static void admin(const char *arguments)
{
	char line[512];
	snprintf(line, sizeof(line), "$ISTHMUS %s", arguments);
	want(system(line) == 0, "isthmus %s", arguments);
}

/* The answer is the one wanted before long: the change comes to the head by itself. */
static void becomes(struct nc *c, const struct nc_fh *f, bool write, int status, const char *what)
{
	for (int i = 0; i < 100; i++) {
		sattr3 s = sa_mode(0777);
		const struct nc_res *r = write ? nc_setattr(c, f, &s, NULL) : nc_getattr(c, f);
		if (r->rpc == NC_OK && r->status == status)
			break;
		usleep(50000);
	}
	want_status(&c->res, status, "%s", what);
}

void conform_live(struct world *w)
{
	struct nc *c = w->c;
	if (!getenv("ISTHMUS")) {
		printf("    left out: ISTHMUS is not set\n");
		return;
	}
	admin("export add /live --fs demo --client '*:rw,no_root_squash'");
	for (int i = 0; i < 100 && nc_mnt(c, "/live")->status; i++)
		usleep(50000);
	struct nc_fh f = world_mount(c, "/live");
	want_status(nc_getattr(c, &f), NFS3_OK, "GETATTR");
	admin("export set /live --client '*:ro,no_root_squash'");
	becomes(c, &f, true, NFS3ERR_ROFS, "SETATTR when it became read-only");
	want_status(nc_getattr(c, &f), NFS3_OK, "GETATTR when it became read-only");
	admin("export set /live --client '127.0.0.2:rw'");
	becomes(c, &f, false, NFS3ERR_ACCES, "GETATTR when it became another's");
	admin("export set /live --client '127.0.0.0/8:rw,no_root_squash'");
	becomes(c, &f, true, NFS3_OK, "SETATTR when it came back");
	admin("export remove /live");
	becomes(c, &f, false, NFS3ERR_STALE, "GETATTR when it is gone");
	want_status(nc_mnt(c, "/live"), MNT3ERR_ACCES, "MNT when it is gone");
	admin("export add /live --fs demo --client '*:rw,no_root_squash'");
	for (int i = 0; i < 100 && nc_mnt(c, "/live")->status; i++)
		usleep(50000);
	want_status(nc_getattr(c, &f), NFS3ERR_STALE, "an old handle of a new export");
	f = world_mount(c, "/live");
	want_status(nc_getattr(c, &f), NFS3_OK, "a new handle");
	admin("export remove /live");
	want_status(nc_getattr(c, &w->dir), NFS3_OK, "others are untouched");
}
