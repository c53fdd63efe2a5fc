/*
 * nfs3_storm SERVER PORT EXPORT SECONDS [CLIENTS [full]]: processes that make, link, rename, change
 * and remove names in shared directories at once, while somebody kills the server. Each has a model
 * of its own names; every answer must fit it, and at the end all that was acknowledged must be
 * there.
 *
 * A call without an answer is made again until there is one. When an earlier try was done, the
 * retry says EXIST or NOENT (the duplicate request cache died with the head): then what is there
 * must be what the call would have made. So the model is exact after every answer.
 *
 * full: somebody else fills the file system. What makes something may be refused with NOSPC then,
 * and must have done nothing; what removes, changes or looks may not.
 *
 * Names that all fight for ("x0" to "x15") have no owner: answers must be possible ones, and in the
 * end there must be as many as were made less those removed; calls made twice leave that open by
 * one each.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/tools/nfs3_fleet.h"

#define CLIENTS 16
#define OBJECTS 48
#define SLOTS	64
#define DIRS	4 /* two shared, two of the client's own */
#define FOUGHT	16

enum { MADE, REMOVED, RENAMED, LINKED, CHANGED, LISTED, LOOKED, FOUGHT_OVER, TANGLED, KINDS };

struct object {
	ftype3 type; /* 0: there is none */
	struct nc_fh fh;
	uint64_t fileid;
	uint32_t mode, names, content;
	nfstime3 mtime;
	bool mtime_known;
};

/* A name: slot i is in directory i % DIRS. */
struct storm {
	struct fleet_client k;
	struct nc_fh dirs[DIRS];
	struct object objects[OBJECTS];
	struct object *slots[SLOTS];
	unsigned long done[KINDS];
};

struct shared {
	_Atomic long made, removed, open, calls, retries, refused;
	_Atomic unsigned long longest_ms;
	_Atomic unsigned long done[KINDS];
};

static struct shared *shared;
static const char *server, *path;
static int port;
static double seconds;
static bool full;

static bool no_room(const struct nc_res *r)
{
	bool is = full && r->status == NFS3ERR_NOSPC;
	shared->refused += is;
	return is;
}

/* ---- names ---- */

static char *slot_name(const struct storm *s, int i, char to[64])
{
	snprintf(to, 64, "client%d-name%d", s->k.id, i);
	return to;
}

static const struct nc_fh *slot_dir(const struct storm *s, int i)
{
	return &s->dirs[i % DIRS];
}

static int pick(struct storm *s, bool there)
{
	for (int tries = 0; tries < 200; tries++) {
		int i = (int)fleet_dice(&s->k, SLOTS);
		if ((s->slots[i] != NULL) == there)
			return i;
	}
	return -1;
}

static void drop_name(struct storm *s, int i)
{
	struct object *o = s->slots[i];
	s->slots[i] = NULL;
	if (--o->names == 0)
		*o = (struct object){0};
}

/* What a name leads to; 0: nothing. */
static uint64_t leads_to(struct storm *s, int i)
{
	char name[64];
	const struct nc_res *r;
	ANSWERED(&s->k, r, nc_lookup(s->k.c, slot_dir(s, i), slot_name(s, i, name)));
	if (r->status && r->status != NFS3ERR_NOENT)
		fleet_bad(&s->k, "LOOKUP of %s: %d", name, r->status);
	return r->status ? 0 : r->attr.fileid;
}

/* ---- changes ---- */

static const struct nc_res *make_call(struct storm *s, int i, ftype3 type, const sattr3 *a)
{
	char name[64];
	slot_name(s, i, name);
	switch (type) {
	case NF3REG:
		return nc_create(s->k.c, slot_dir(s, i), name, GUARDED, a);
	case NF3DIR:
		return nc_mkdir(s->k.c, slot_dir(s, i), name, a);
	case NF3LNK:
		return nc_symlink(s->k.c, slot_dir(s, i), name, "target", a);
	default:
		return nc_mknod(s->k.c, slot_dir(s, i), name, type, a, 0, 0);
	}
}

/* EXCLUSIVE, as open(O_EXCL) has it: made again with the same verifier it succeeds, also by a head
 * that has no memory of the first time. SETATTR gives the mode. */
static const struct nc_res *make_exclusive(struct storm *s, int i, const sattr3 *a)
{
	char name[64];
	const struct nc_res *r;
	uint64_t verifier = (uint64_t)s->k.id << 56 ^ s->k.seed;
	slot_name(s, i, name);
	ANSWERED(&s->k, r, nc_exclusive(s->k.c, slot_dir(s, i), name, verifier));
	if (r->status)
		return r;
	struct nc_fh f = r->fh;
	ANSWERED(&s->k, r, nc_setattr(s->k.c, &f, a, NULL));
	if (r->status == NFS3_OK)
		ANSWERED(&s->k, r, nc_lookup(s->k.c, slot_dir(s, i), name));
	return r;
}

static void make(struct storm *s)
{
	static const ftype3 types[] = {NF3REG, NF3REG, NF3REG, NF3DIR, NF3LNK, NF3FIFO, NF3SOCK};
	ftype3 type = types[fleet_dice(&s->k, 7)];
	uint32_t mode = 0400 | fleet_dice(&s->k, 0400);
	sattr3 a = sa_mode(mode);
	char name[64];
	const struct nc_res *r;
	struct object *o = NULL;
	int i = pick(s, false);
	for (int k = 0; k < OBJECTS && !o; k++)
		o = s->objects[k].type ? NULL : &s->objects[k];
	if (i < 0 || !o)
		return;
	bool exclusive = type == NF3REG && fleet_dice(&s->k, 2);
	if (exclusive)
		r = make_exclusive(s, i, &a);
	else
		ANSWERED(&s->k, r, make_call(s, i, type, &a));
	if (r->status == NFS3ERR_EXIST && s->k.retried && !exclusive)
		ANSWERED(&s->k, r, nc_lookup(s->k.c, slot_dir(s, i), slot_name(s, i, name)));
	if (no_room(r))
		return;
	if (r->status || !r->has_fh || !r->has_attr) {
		fleet_bad(&s->k, "making name %d: %d", i, r->status);
		return;
	}
	if (r->attr.type != type || r->attr.mode != mode ||
	    r->attr.size != (type == NF3LNK ? 6 : r->attr.size))
		fleet_bad(&s->k, "name %d was made as type %d mode %o, not %d %o", i, r->attr.type,
			  r->attr.mode, type, mode);
	*o = (struct object){
	    .type = type, .fh = r->fh, .fileid = r->attr.fileid, .mode = mode, .names = 1};
	s->slots[i] = o;
	s->done[MADE]++;
}

static void take_away(struct storm *s, int i)
{
	char name[64];
	const struct nc_res *r;
	if (i < 0)
		return;
	bool dir = s->slots[i]->type == NF3DIR;
	slot_name(s, i, name);
	ANSWERED(&s->k, r,
		 dir ? nc_rmdir(s->k.c, slot_dir(s, i), name)
		     : nc_remove(s->k.c, slot_dir(s, i), name));
	if (r->status && !(r->status == NFS3ERR_NOENT && s->k.retried))
		fleet_bad(&s->k, "removing name %d: %d", i, r->status);
	drop_name(s, i);
	s->done[REMOVED]++;
}

static void move(struct storm *s)
{
	char a[64], b[64];
	const struct nc_res *r;
	int from = pick(s, true), to = (int)fleet_dice(&s->k, SLOTS);
	if (from < 0 || from == to)
		return;
	struct object *o = s->slots[from], *over = s->slots[to];
	if (over && (over->type == NF3DIR) != (o->type == NF3DIR))
		return;
	slot_name(s, from, a);
	slot_name(s, to, b);
	ANSWERED(&s->k, r, nc_rename(s->k.c, slot_dir(s, from), a, slot_dir(s, to), b));
	bool twice = r->status == NFS3ERR_NOENT && s->k.retried;
	if (no_room(r))
		return;
	if (r->status && !twice) {
		fleet_bad(&s->k, "RENAME of name %d to %d: %d", from, to, r->status);
		return;
	}
	if (over == o) /* two names of one file: nothing happens */
		return;
	if (over)
		drop_name(s, to);
	s->slots[to] = o;
	s->slots[from] = NULL;
	if (twice && leads_to(s, to) != o->fileid)
		fleet_bad(&s->k, "name %d was renamed and does not lead to it", to);
	s->done[RENAMED]++;
}

static void add_link(struct storm *s)
{
	char name[64];
	const struct nc_res *r;
	int from = pick(s, true), to = pick(s, false);
	if (from < 0 || to < 0 || s->slots[from]->type == NF3DIR)
		return;
	struct object *o = s->slots[from];
	slot_name(s, to, name);
	ANSWERED(&s->k, r, nc_link(s->k.c, &o->fh, slot_dir(s, to), name));
	bool twice = r->status == NFS3ERR_EXIST && s->k.retried;
	if (no_room(r))
		return;
	if (r->status && !twice) {
		fleet_bad(&s->k, "LINK of name %d to %d: %d", from, to, r->status);
		return;
	}
	o->names++;
	s->slots[to] = o;
	if (twice && leads_to(s, to) != o->fileid)
		fleet_bad(&s->k, "name %d was linked and does not lead to it", to);
	s->done[LINKED]++;
}

static void change(struct storm *s)
{
	const struct nc_res *r;
	int i = pick(s, true);
	if (i < 0)
		return;
	struct object *o = s->slots[i];
	if (o->type == NF3REG && fleet_dice(&s->k, 2)) {
		uint32_t content = o->content + 1;
		stable_how how = (stable_how)fleet_dice(&s->k, 3);
		ANSWERED(&s->k, r, nc_write(s->k.c, &o->fh, 0, &content, 4, how));
		if (!o->content && no_room(r)) /* what has its block may be written again */
			return;
		o->content = content;
		o->mtime_known = false;
	} else {
		nfstime3 t = {fleet_dice(&s->k, 1u << 31), fleet_dice(&s->k, 1000000000)};
		o->mode = 0400 | fleet_dice(&s->k, 0400);
		sattr3 a = sa_times(SET_TO_CLIENT_TIME, t, t);
		a.mode = sa_mode(o->mode).mode;
		ANSWERED(&s->k, r, nc_setattr(s->k.c, &o->fh, &a, NULL));
		o->mtime = t;
		/* Adding names to a directory moves its mtime, but nothing does in these. */
		o->mtime_known = true;
	}
	if (r->status)
		fleet_bad(&s->k, "changing name %d: %d", i, r->status);
	s->done[CHANGED]++;
}

/* ---- looks ---- */

static void look_at(struct storm *s, int i)
{
	char name[64];
	const struct nc_res *r;
	struct object *o = s->slots[i];
	ANSWERED(&s->k, r, nc_lookup(s->k.c, slot_dir(s, i), slot_name(s, i, name)));
	s->done[LOOKED]++;
	if (!o) {
		if (r->status != NFS3ERR_NOENT)
			fleet_bad(&s->k, "name %d should not be there: %d", i, r->status);
		return;
	}
	if (r->status) {
		fleet_bad(&s->k, "name %d is not there: %d", i, r->status);
		return;
	}
	const fattr3 *a = &r->attr;
	uint32_t names = o->type == NF3DIR ? 2 : o->names;
	if (a->fileid != o->fileid || a->type != o->type || a->mode != o->mode ||
	    a->nlink != names || !fh_same(&r->fh, &o->fh))
		fleet_bad(
		    &s->k,
		    "name %d: inode %" PRIu64 " type %d mode %o links %u, not %" PRIu64 " %d %o %u",
		    i, a->fileid, a->type, a->mode, a->nlink, o->fileid, o->type, o->mode, names);
	if (o->mtime_known &&
	    (a->mtime.seconds != o->mtime.seconds || a->mtime.nseconds != o->mtime.nseconds))
		fleet_bad(&s->k, "name %d: mtime is not what was set", i);
	if (o->type == NF3REG && o->content) {
		ANSWERED(&s->k, r, nc_read(s->k.c, &o->fh, 0, 100));
		if (r->status || r->count != 4 || memcmp(s->k.c->data, &o->content, 4))
			fleet_bad(&s->k, "name %d: other content: %d, %u bytes", i, r->status,
				  r->count);
	}
	if (o->type == NF3DIR) {
		ANSWERED(&s->k, r, nc_lookup(s->k.c, &o->fh, ".."));
		if (r->status || !fh_same(&r->fh, slot_dir(s, i)))
			fleet_bad(&s->k, "name %d: .. leads elsewhere", i);
	}
}

/* A whole directory in pieces; a piece is asked for again from the same cookie. */
static void list(struct storm *s, int d)
{
	uint64_t cookie = 0, verf = 0;
	const struct nc_res *r;
	unsigned seen[SLOTS] = {0}, strangers = 0;
	bool plus = fleet_dice(&s->k, 2), eof = false;
	uint32_t count = 700 + fleet_dice(&s->k, 4000);
	while (!eof) {
		ANSWERED(&s->k, r,
			 (nc_entries_clear(s->k.c),
			  plus ? nc_readdirplus(s->k.c, &s->dirs[d], cookie, verf, count, count)
			       : nc_readdir(s->k.c, &s->dirs[d], cookie, verf, count)));
		if (r->status || (!r->count && !r->eof)) {
			fleet_bad(&s->k, "READDIR of directory %d: %d", d, r->status);
			return;
		}
		verf = r->verf;
		eof = r->eof;
		for (unsigned e = 0; e < s->k.c->nentries; e++) {
			const struct nc_entry *x = &s->k.c->entries[e];
			int id, i;
			cookie = x->cookie;
			if (sscanf(x->name, "client%d-name%d", &id, &i) != 2 || id != s->k.id) {
				strangers++;
				continue;
			}
			if (i < 0 || i >= SLOTS || !s->slots[i] || i % DIRS != d ||
			    s->slots[i]->fileid != x->fileid)
				fleet_bad(&s->k, "READDIR shows %s", x->name);
			else
				seen[i]++;
		}
	}
	for (int i = d; i < SLOTS; i += DIRS)
		if (seen[i] != (s->slots[i] != NULL))
			fleet_bad(&s->k, "READDIR shows name %d %u times", i, seen[i]);
	if (d >= 2 && strangers != 2)
		fleet_bad(&s->k, "%u strangers in an own directory", strangers);
	s->done[LISTED]++;
}

/* ---- names all fight for ---- */

static void fight(struct storm *s)
{
	char a[16], b[16];
	const struct nc_res *r;
	sattr3 none = sa_none();
	const struct nc_fh *d = &s->dirs[fleet_dice(&s->k, 2)], *e = &s->dirs[fleet_dice(&s->k, 2)];
	uint32_t what = fleet_dice(&s->k, 4);
	struct nc_fh f;
	snprintf(a, sizeof(a), "x%u", fleet_dice(&s->k, FOUGHT));
	snprintf(b, sizeof(b), "x%u", fleet_dice(&s->k, FOUGHT));
	s->done[FOUGHT_OVER]++;
	if (what == 0) {
		ANSWERED(&s->k, r, nc_remove(s->k.c, d, a));
		shared->removed += r->status == NFS3_OK;
		if (r->status && r->status != NFS3ERR_NOENT)
			fleet_bad(&s->k, "REMOVE of %s: %d", a, r->status);
	} else if (what < 3) {
		ANSWERED(&s->k, r, nc_create(s->k.c, d, a, GUARDED, &none));
		shared->made += r->status == NFS3_OK;
		if (r->status && r->status != NFS3ERR_EXIST && !no_room(r))
			fleet_bad(&s->k, "CREATE of %s: %d", a, r->status);
	} else {
		ANSWERED(&s->k, r, nc_lookup(s->k.c, d, a));
		if (r->status)
			return;
		f = r->fh;
		ANSWERED(&s->k, r, nc_link(s->k.c, &f, e, b));
		shared->made += r->status == NFS3_OK;
		if (r->status && r->status != NFS3ERR_EXIST && r->status != NFS3ERR_STALE &&
		    !no_room(r))
			fleet_bad(&s->k, "LINK of %s: %d", b, r->status);
	}
	shared->open += s->k.retried;
}

/* ---- a tree all move about in ---- */

/* Some directory of it. */
static struct nc_fh wander(struct storm *s)
{
	struct nc_fh at = s->dirs[0];
	const struct nc_res *r;
	char name[16];
	for (uint32_t depth = fleet_dice(&s->k, 4); depth; depth--) {
		snprintf(name, sizeof(name), "t%u", fleet_dice(&s->k, 4));
		ANSWERED(&s->k, r, nc_lookup(s->k.c, &at, name));
		if (r->status)
			break;
		at = r->fh;
	}
	return at;
}

/* Directories go below others from all sides at once: none may end below itself, or nowhere. The
 * check of the file system tells. */
static void tangle(struct storm *s)
{
	char a[16], b[16];
	const struct nc_res *r;
	sattr3 mode = sa_mode(0755);
	struct nc_fh from = wander(s), to = wander(s);
	uint32_t what = fleet_dice(&s->k, 8);
	snprintf(a, sizeof(a), "t%u", fleet_dice(&s->k, 4));
	snprintf(b, sizeof(b), "t%u", fleet_dice(&s->k, 4));
	if (what < 2)
		ANSWERED(&s->k, r, nc_mkdir(s->k.c, &from, a, &mode));
	else if (what < 4)
		ANSWERED(&s->k, r, nc_rmdir(s->k.c, &from, a));
	else
		ANSWERED(&s->k, r, nc_rename(s->k.c, &from, a, &to, b));
	s->done[TANGLED]++;
	bool made = what < 2 && r->status == NFS3ERR_EXIST;
	bool gone = r->status == NFS3ERR_STALE || (what >= 2 && r->status == NFS3ERR_NOENT);
	bool kept = (what >= 2 && r->status == NFS3ERR_NOTEMPTY) ||
		    (what >= 4 && r->status == NFS3ERR_INVAL);
	if (r->status && !made && !gone && !kept && !no_room(r))
		fleet_bad(&s->k, "a change %u in the common tree: %d", what, r->status);
}

/* ---- a client's life ---- */

static struct nc_fh dir_of(struct fleet_client *k, const struct nc_fh *in, const char *name)
{
	const struct nc_res *r;
	sattr3 s = sa_mode(0755);
	ANSWERED(k, r, nc_mkdir(k->c, in, name, &s));
	if (r->status == NFS3ERR_EXIST)
		ANSWERED(k, r, nc_lookup(k->c, in, name));
	if (r->status)
		fleet_bad(k, "directory %s: %d", name, r->status);
	return r->fh;
}

static void step(struct storm *s)
{
	uint32_t dice = fleet_dice(&s->k, 100);
	if (dice < 22)
		make(s);
	else if (dice < 36)
		take_away(s, pick(s, true));
	else if (dice < 52)
		move(s);
	else if (dice < 62)
		add_link(s);
	else if (dice < 76)
		change(s);
	else if (dice < 88)
		look_at(s, (int)fleet_dice(&s->k, SLOTS));
	else if (dice < 90)
		list(s, (int)fleet_dice(&s->k, DIRS));
	else if (dice < 97)
		fight(s);
	else
		tangle(s);
}

static bool client(int id, void *arg)
{
	static struct storm s;
	char name[64];
	fleet_open(&s.k, id, server, port, path);
	s.dirs[0] = dir_of(&s.k, &s.k.top, "storm0");
	s.dirs[1] = dir_of(&s.k, &s.k.top, "storm1");
	snprintf(name, sizeof(name), "client%d-a", id);
	s.dirs[2] = dir_of(&s.k, &s.k.top, name);
	snprintf(name, sizeof(name), "client%d-b", id);
	s.dirs[3] = dir_of(&s.k, &s.k.top, name);
	for (double until = fleet_now() + seconds; fleet_now() < until && s.k.bad < 10;)
		step(&s);
	for (int i = 0; i < SLOTS; i++)
		look_at(&s, i);
	for (int d = 0; d < DIRS; d++)
		list(&s, d);
	/* Nothing stays, so that storms may follow one another. */
	for (int i = 0; i < SLOTS; i++)
		take_away(&s, s.slots[i] ? i : -1);
	shared->calls += (long)s.k.calls;
	shared->retries += (long)s.k.retries;
	if (s.k.longest * 1000 > (double)shared->longest_ms)
		shared->longest_ms = (unsigned long)(s.k.longest * 1000);
	for (int i = 0; i < KINDS; i++)
		shared->done[i] += s.done[i];
	fleet_close(&s.k);
	return !s.k.bad;
}

/* How many of the names that were fought for are there. */
static long fought_count(struct fleet_client *k, bool clear)
{
	const struct nc_res *r;
	char name[16];
	long n = 0;
	for (int d = 0; d < 2; d++) {
		struct nc_fh dir = dir_of(k, &k->top, d ? "storm1" : "storm0");
		for (int i = 0; i < FOUGHT; i++) {
			snprintf(name, sizeof(name), "x%d", i);
			ANSWERED(k, r,
				 clear ? nc_remove(k->c, &dir, name) : nc_lookup(k->c, &dir, name));
			n += r->status == NFS3_OK;
		}
	}
	return n;
}

int main(int argc, char **argv)
{
	if (argc < 5) {
		fprintf(stderr, "usage: nfs3_storm SERVER PORT EXPORT SECONDS [CLIENTS [full]]\n");
		return 2;
	}
	server = argv[1];
	port = atoi(argv[2]);
	path = argv[3];
	seconds = atof(argv[4]);
	int n = argc > 5 ? atoi(argv[5]) : 8;
	if (n < 1 || n > CLIENTS)
		return 2;
	full = argc > 6 && strcmp(argv[6], "full") == 0;
	struct fleet_client k;
	shared = fleet_shared(sizeof(*shared));
	fleet_open(&k, -1, server, port, path);
	fought_count(&k, true);
	unsigned failed = fleet_run(n, client, NULL);
	long there = fought_count(&k, false), open = shared->open;
	if (labs(shared->made - shared->removed - there) > open)
		fleet_bad(&k, "%ld names made, %ld removed, %ld (+-%ld) are there",
			  (long)shared->made, (long)shared->removed, there, open);
	unsigned long *d = (unsigned long *)shared->done;
	printf("made %lu, removed %lu, renamed %lu, linked %lu, changed %lu, listed %lu, looked at "
	       "%lu, "
	       "fought over %lu, tangled %lu\n",
	       d[MADE], d[REMOVED], d[RENAMED], d[LINKED], d[CHANGED], d[LISTED], d[LOOKED],
	       d[FOUGHT_OVER], d[TANGLED]);
	printf("%d clients: %ld calls answered, %ld sent again, longest wait %.2f s; %u failures\n",
	       n, (long)shared->calls, (long)shared->retries, (double)shared->longest_ms / 1000,
	       failed + (unsigned)k.bad);
	fleet_close(&k);
	if (full)
		printf("%ld refused for space\n", (long)shared->refused);
	return failed || k.bad || !shared->calls || (full && !shared->refused);
}
