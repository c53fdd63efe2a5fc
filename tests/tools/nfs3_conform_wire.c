/* What libnfs cannot say: names with NUL, values that do not exist, the same call twice. Groups of
 * nfs3_conform. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/tools/nfs3_conform.h"

#define NFS   100003
#define MOUNT 100005

enum { SETATTR = 2, LOOKUP = 3, WRITE = 7, CREATE = 8, MKDIR = 9, SYMLINK = 10, MKNOD = 11 };
enum { REMOVE = 12, RMDIR = 13, RENAME = 14, LINK = 15 };

static uint32_t next_xid = 0x60000000;

static void put_none(struct nc_args *a)
{
	for (int i = 0; i < 6; i++)
		nc_put32(a, 0);
}

static struct nc_args dirop(const struct nc_fh *dir, const char *name, size_t len)
{
	struct nc_args a = {0};
	nc_put_fh(&a, dir);
	nc_put_opaque(&a, name, len);
	return a;
}

static const struct nc_res *raw(struct world *w, uint32_t proc, const struct nc_args *a)
{
	return nc_raw(w->c, next_xid++, NFS, proc, a->b, a->n, NULL);
}

static void nul_names(struct world *w)
{
	static const uint32_t procs[] = {LOOKUP, REMOVE, RMDIR};
	struct nc_args a = dirop(&w->dir, "a\0b", 3);
	make_file(w, "a", 0644);
	for (unsigned i = 0; i < 3; i++)
		want_status(raw(w, procs[i], &a), NFS3ERR_INVAL, "procedure %u of a NUL b",
			    procs[i]);
	nc_put32(&a, 0); /* UNCHECKED */
	put_none(&a);
	want_status(raw(w, CREATE, &a), NFS3ERR_INVAL, "CREATE of a NUL b");
	a = dirop(&w->dir, "\0", 1);
	put_none(&a);
	want_status(raw(w, MKDIR, &a), NFS3ERR_INVAL, "MKDIR of NUL");
	nc_put_opaque(&a, "target", 6);
	want_status(raw(w, SYMLINK, &a), NFS3ERR_INVAL, "SYMLINK of NUL");
	a = dirop(&w->dir, "link", 4);
	put_none(&a);
	nc_put_opaque(&a, "tar\0get", 7);
	want_status(raw(w, SYMLINK, &a), NFS3ERR_INVAL, "SYMLINK to a NUL b");
	a = dirop(&w->dir, "a", 1);
	nc_put_fh(&a, &w->dir);
	nc_put_opaque(&a, "b\0", 2);
	want_status(raw(w, RENAME, &a), NFS3ERR_INVAL, "RENAME to b NUL");
	want_status(nc_lookup(w->c, &w->dir, "a"), NFS3_OK, "the file is untouched");
}

static void want_garbage(const struct nc_res *r, const char *what)
{
	want(r->rpc == NC_REFUSED, "%s is garbage: %s", what, status_name(r->status));
}

static void no_such_values(struct world *w)
{
	struct nc_fh f = make_file(w, "f", 0644);
	struct nc_args a = dirop(&w->dir, "x", 1);
	nc_put32(&a, 3);
	put_none(&a);
	want_garbage(raw(w, CREATE, &a), "createmode 3");
	for (int t = 0; t < 3; t++) {
		static const uint32_t types[] = {0, 8, UINT32_MAX};
		a = dirop(&w->dir, "x", 1);
		nc_put32(&a, types[t]);
		put_none(&a);
		want_garbage(raw(w, MKNOD, &a), "MKNOD of no type");
	}
	a = (struct nc_args){0};
	nc_put_fh(&a, &f);
	for (int i = 0; i < 5; i++)
		nc_put32(&a, 0);
	nc_put32(&a, 3); /* mtime's time_how */
	nc_put32(&a, 0);
	want_garbage(raw(w, SETATTR, &a), "time_how 3");
	a = (struct nc_args){0};
	nc_put_fh(&a, &f);
	nc_put64(&a, 0);
	nc_put32(&a, 4);
	nc_put32(&a, 3); /* stable_how */
	nc_put_opaque(&a, "data", 4);
	want_garbage(raw(w, WRITE, &a), "stable_how 3");
	a = (struct nc_args){0};
	nc_put_fh(&a, &f);
	nc_put64(&a, 0);
	nc_put32(&a, 8); /* says eight, gives four */
	nc_put32(&a, 2);
	nc_put_opaque(&a, "data", 4);
	want_garbage(raw(w, WRITE, &a), "a WRITE with less data than it says");
	a = (struct nc_args){0};
	nc_put_opaque(&a, "/demo\0x", 7);
	want_garbage(nc_raw(w->c, next_xid++, MOUNT, 1, a.b, a.n, NULL), "MNT of a path with NUL");
	want(attr_of(w->c, &f).size == 0, "garbage changed nothing");
}

/* Who says nothing of himself is nobody. */
static void nobody(struct world *w)
{
	struct nc_fh f = make_file(w, "secret", 0600);
	struct nc_args a = dirop(&w->dir, "nobodys", 7);
	nc_put32(&a, 1);
	put_none(&a);
	w->c->raw_none = true;
	want_status(raw(w, CREATE, &a), NFS3_OK, "CREATE with AUTH_NONE");
	a = (struct nc_args){0};
	nc_put_fh(&a, &f);
	nc_put64(&a, 0);
	nc_put32(&a, 4);
	want_status(raw(w, 6, &a), NFS3ERR_ACCES, "READ with AUTH_NONE");
	w->c->raw_none = false;
	want_status(nc_lookup(w->c, &w->dir, "nobodys"), NFS3_OK, "LOOKUP");
	want(w->c->res.attr.uid == 65534 && w->c->res.attr.gid == 65534, "AUTH_NONE is nobody");
}

void conform_wire(struct world *w)
{
	nobody(w);
	nul_names(w);
	no_such_values(w);
}

/* ---- the duplicate request cache ---- */

/* Three times under one xid, other calls in between: one answer, done once. */
static void thrice(struct world *w, const char *what, uint32_t proc, const struct nc_args *a,
		   int status)
{
	static uint32_t first[4096];
	size_t n0 = 0, n = 0;
	uint32_t xid = next_xid++;
	for (int i = 0; i < 3; i++) {
		want_status(nc_raw(w->c, xid, NFS, proc, a->b, a->n, &n), status, "%s, time %d",
			    what, i + 1);
		if (i == 0) {
			n0 = n;
			memcpy(first, w->c->data, n - 24);
		} else {
			want(n == n0 && memcmp(first, w->c->data, n - 24) == 0,
			     "%s: answer %d is the first one", what, i + 1);
		}
		for (int k = 0; k < 20; k++)
			nc_getattr(w->c, &w->dir);
		sattr3 s = sa_none();
		nc_create(w->c, &w->dir, "between", UNCHECKED, &s);
	}
}

/* A client whose connection broke sends again from the same port, as Linux does. */
static void after_reconnecting(struct world *w)
{
	struct nc *c = w->c;
	struct nc_args a = dirop(&w->dir, "dir", 3);
	for (int i = 0; i < 10; i++) {
		uint32_t xid = next_xid++;
		sattr3 s = sa_none();
		want_status(nc_mkdir(c, &w->dir, "dir", &s), NFS3_OK, "MKDIR");
		if (i % 2) /* the answer is not waited for */
			want(nc_raw_send(c, xid, NFS, RMDIR, a.b, a.n), "sending");
		else
			want_status(nc_raw(c, xid, NFS, RMDIR, a.b, a.n, NULL), NFS3_OK, "RMDIR");
		if (!want(nc_reconnect(c), "connecting again from the same port"))
			return;
		/* A reset may overtake the call, which then is new: done once in any case. */
		want_status(nc_raw(c, xid, NFS, RMDIR, a.b, a.n, NULL), NFS3_OK,
			    "RMDIR again after reconnecting");
		want_status(nc_lookup(c, &w->dir, "dir"), NFS3ERR_NOENT, "it was done");
	}
}

/* Twice in one breath: the second is dropped or answered alike. */
static void at_once(struct world *w)
{
	struct nc *c = w->c;
	for (int i = 0; i < 20; i++) {
		char name[32];
		int n = snprintf(name, sizeof(name), "once-%d", i), answers = 0;
		struct nc_args a = dirop(&w->dir, name, (size_t)n);
		uint32_t xid = next_xid++, null = next_xid++;
		nc_put32(&a, 1);
		put_none(&a);
		for (int k = 0; k < 3; k++)
			nc_raw_send(c, xid, NFS, CREATE, a.b, a.n);
		while (answers < 4 && nc_raw_receive(c, xid, NULL)->rpc == NC_OK) {
			want(c->res.status == NFS3_OK, "CREATE sent thrice at once: %s",
			     status_name(c->res.status));
			/* Then something else, behind which no answer can come late. */
			if (answers++ == 0)
				nc_raw_send(c, null, NFS, 0, NULL, 0);
		}
		want(answers >= 1 && answers <= 3, "%d answers to three calls", answers);
		want_status(nc_lookup(c, &w->dir, name), NFS3_OK, "LOOKUP");
	}
}

void conform_again(struct world *w)
{
	struct nc_fh f = make_file(w, "f", 0644);
	struct nc *c = w->c;
	c->before = NULL; /* the calls in between are not looked at */
	c->after = NULL;
	struct nc_args a = dirop(&w->dir, "new", 3);
	nc_put32(&a, 1); /* GUARDED */
	put_none(&a);
	thrice(w, "CREATE", CREATE, &a, NFS3_OK);
	thrice(w, "CREATE of what is there", CREATE, &a, NFS3ERR_EXIST);
	a = dirop(&w->dir, "dir", 3);
	put_none(&a);
	thrice(w, "MKDIR", MKDIR, &a, NFS3_OK);
	a = dirop(&w->dir, "link", 4);
	put_none(&a);
	nc_put_opaque(&a, "target", 6);
	thrice(w, "SYMLINK", SYMLINK, &a, NFS3_OK);
	a = dirop(&w->dir, "pipe", 4);
	nc_put32(&a, NF3FIFO);
	put_none(&a);
	thrice(w, "MKNOD", MKNOD, &a, NFS3_OK);
	a = (struct nc_args){0};
	nc_put_fh(&a, &f);
	nc_put_fh(&a, &w->dir);
	nc_put_opaque(&a, "hard", 4);
	thrice(w, "LINK", LINK, &a, NFS3_OK);
	want(attr_of(c, &f).nlink == 2, "LINK was done once");
	a = dirop(&w->dir, "new", 3);
	nc_put_fh(&a, &w->dir);
	nc_put_opaque(&a, "newer", 5);
	thrice(w, "RENAME", RENAME, &a, NFS3_OK);
	a = dirop(&w->dir, "newer", 5);
	thrice(w, "REMOVE", REMOVE, &a, NFS3_OK);
	thrice(w, "REMOVE of what is gone", REMOVE, &a, NFS3ERR_NOENT);
	a = dirop(&w->dir, "dir", 3);
	thrice(w, "RMDIR", RMDIR, &a, NFS3_OK);
	fattr3 was = attr_of(c, &f);
	a = (struct nc_args){0};
	nc_put_fh(&a, &f);
	nc_put32(&a, 1);
	nc_put32(&a, 0600); /* mode */
	for (int i = 0; i < 5; i++)
		nc_put32(&a, 0);
	nc_put32(&a, 1);
	nc_put32(&a, was.ctime.seconds);
	nc_put32(&a, was.ctime.nseconds);
	thrice(w, "SETATTR with its guard", SETATTR, &a, NFS3_OK);
	thrice(w, "SETATTR with an old guard", SETATTR, &a, NFS3ERR_NOT_SYNC);
	/* A connection from another port is another client: its call is new. */
	struct nc *other = world_open(w, NULL, false);
	a = dirop(&w->dir, "between", 7);
	uint32_t xid = next_xid++;
	want_status(nc_raw(c, xid, NFS, REMOVE, a.b, a.n, NULL), NFS3_OK, "REMOVE");
	want_status(nc_raw(other, xid, NFS, REMOVE, a.b, a.n, NULL), NFS3ERR_NOENT,
		    "the same xid of another client");
	c->before = other->before;
	c->after = other->after;
	nc_close(other);
	at_once(w);
	after_reconnecting(w);
}
