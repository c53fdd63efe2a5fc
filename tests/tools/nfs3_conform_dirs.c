/* READDIR and READDIRPLUS, in buffers of every size, also while names come and go: groups of
 * nfs3_conform. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/tools/nfs3_conform.h"

#define NAMES 400

/* Lengths from 5 to 255. */
static void name_of(char *to, unsigned i, const char *prefix)
{
	int n = snprintf(to, 256, "%s%u.", prefix, i);
	unsigned len = i % 7 ? (unsigned)n : 5 + i * 37 % 251;
	while ((unsigned)n < len)
		to[n++] = (char)('a' + i % 26);
	to[n] = '\0';
}

static const struct nc_entry *entry_of(const struct nc *c, const char *name, unsigned *ret_times)
{
	const struct nc_entry *e = NULL;
	*ret_times = 0;
	for (unsigned i = 0; i < c->nentries; i++)
		if (strcmp(c->entries[i].name, name) == 0) {
			e = &c->entries[i];
			++*ret_times;
		}
	return e;
}

struct seen {
	uint64_t fileid, cookie;
	struct nc_fh fh;
};

static void plus_checks(struct world *w, struct nc *other)
{
	for (unsigned i = 0; i < w->c->nentries; i++) {
		const struct nc_entry *e = &w->c->entries[i];
		if (!want(e->has_attr && e->has_fh, "attributes and handle of %s", e->name) ||
		    i % 10)
			continue;
		want(e->attr.fileid == e->fileid, "the fileid of %s", e->name);
		fattr3 a = attr_of(other, &e->fh);
		want(attr_same(&a, &e->attr), "the attributes of %s", e->name);
		want_status(nc_lookup(other, &w->dir, e->name), NFS3_OK, "LOOKUP of %s", e->name);
		want(fh_same(&other->res.fh, &e->fh), "the handle of %s", e->name);
	}
}

static void sized(struct world *w, struct nc *other, struct seen *seen, uint32_t count, bool plus)
{
	char name[256];
	unsigned times;
	const char *what = plus ? "READDIRPLUS" : "READDIR";
	bool all = nc_readdir_all(w->c, &w->dir, count, plus);
	want(all, "%s in buffers of %u: %s", what, count, status_name(w->c->res.status));
	want(w->c->nentries == NAMES + 2, "%s in buffers of %u: %u entries", what, count,
	     w->c->nentries);
	entry_of(w->c, ".", &times);
	want(times == 1, "'.' is there once");
	entry_of(w->c, "..", &times);
	want(times == 1, "'..' is there once");
	for (unsigned i = 0; i < NAMES; i++) {
		name_of(name, i, "e");
		const struct nc_entry *e = entry_of(w->c, name, &times);
		if (!want(times == 1, "%s of %u: %s is there %u times", what, count, name, times))
			continue;
		want(e->fileid == seen[i].fileid, "the fileid of %s", name);
		want(!seen[i].cookie || e->cookie == seen[i].cookie, "the cookie of %s stays",
		     name);
		seen[i].cookie = e->cookie;
		want(e->cookie <= INT64_MAX, "the cookie of %s is a signed number", name);
	}
	if (plus)
		plus_checks(w, other);
}

/* The whole reply is no larger than was asked for, and as full as it can be. */
static void reply_sizes(struct world *w)
{
	for (uint32_t count = 200; count < 20000; count = count * 5 / 4) {
		struct nc_args a = {0};
		size_t bytes = 0;
		nc_put_fh(&a, &w->dir);
		nc_put64(&a, 0);
		nc_put64(&a, 0);
		nc_put32(&a, count);
		const struct nc_res *r =
		    nc_raw(w->c, 0x51000000 + count, 100003, 16, a.b, a.n, &bytes);
		want_status(r, NFS3_OK, "READDIR by hand");
		want(bytes - 24 <= count, "a READDIR reply of %zu for %u", bytes - 24, count);
		want(bytes - 24 + 300 >= count, "a READDIR reply of only %zu for %u", bytes - 24,
		     count);
		a.n -= 4;
		nc_put32(&a, 1u << 30);
		nc_put32(&a, count < 400 ? 400 : count);
		r = nc_raw(w->c, 0x52000000 + count, 100003, 17, a.b, a.n, &bytes);
		want_status(r, NFS3_OK, "READDIRPLUS by hand");
		want(bytes - 24 <= (count < 400 ? 400 : count), "a READDIRPLUS reply of %zu for %u",
		     bytes - 24, count);
	}
}

static void errors(struct world *w)
{
	struct nc *c = w->c;
	struct nc_fh f = make_file(w, "f", 0644), d = make_dir(w, "d", 0755);
	want_status(nc_readdir(c, &f, 0, 0, 4096), NFS3ERR_NOTDIR, "READDIR of a file");
	for (uint32_t n = 0; n < 110; n += 10)
		want_status(nc_readdir(c, &d, 0, 0, n), NFS3ERR_TOOSMALL, "READDIR in %u bytes", n);
	want_status(nc_readdirplus(c, &d, 0, 0, 100, 150), NFS3ERR_TOOSMALL, "READDIRPLUS in 150");
	want_status(nc_readdirplus(c, &d, 0, 0, 0, 4096), NFS3_OK, "READDIRPLUS with dircount 0");
	want(c->res.count >= 1, "READDIRPLUS with dircount 0 gives an entry");
	nc_entries_clear(c);
	want_status(nc_readdir(c, &d, 0, 0, 4096), NFS3_OK, "READDIR of an empty directory");
	want(c->res.count == 2 && c->res.eof, "an empty directory");
	uint64_t verf = c->res.verf, last = c->entries[1].cookie;
	fattr3 a = c->res.attr, now = attr_of(c, &d);
	want(attr_same(&a, &now), "READDIR's attributes");
	want_status(nc_readdir(c, &d, last, verf, 4096), NFS3_OK, "READDIR after the last");
	want(c->res.count == 0 && c->res.eof, "nothing after the last");
	want_status(nc_readdir(c, &d, UINT64_MAX, verf, 4096), NFS3_OK, "READDIR from 2^64-1");
	want(c->res.count == 0 && c->res.eof, "nothing after 2^64-1");
	want_status(nc_readdir(c, &d, last, verf ^ 1, 4096), NFS3ERR_BAD_COOKIE,
		    "another verifier");
	want_status(nc_readdirplus(c, &d, last, verf ^ 1, 4096, 4096), NFS3ERR_BAD_COOKIE,
		    "another verifier");
	nc_entries_clear(c);
}

void conform_dirs(struct world *w)
{
	static const uint32_t sizes[] = {400,  411,  512,   1000,    1024,
					 4096, 8192, 32768, 1 << 20, UINT32_MAX};
	struct nc *other = world_open(w, NULL, true);
	struct seen *seen = calloc(NAMES, sizeof(*seen));
	char name[256];
	if (!seen)
		abort();
	errors(w);
	want_status(nc_remove(w->c, &w->dir, "f"), NFS3_OK, "REMOVE");
	want_status(nc_rmdir(w->c, &w->dir, "d"), NFS3_OK, "RMDIR");
	for (unsigned i = 0; i < NAMES; i++) {
		sattr3 s = sa_none();
		name_of(name, i, "e");
		want_status(i % 5 ? nc_create(other, &w->dir, name, GUARDED, &s)
				  : nc_mkdir(other, &w->dir, name, &s),
			    NFS3_OK, "making %s", name);
		seen[i].fileid = other->res.attr.fileid;
	}
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		sized(w, other, seen, sizes[i], false);
		sized(w, other, seen, sizes[i] < 600 ? 600 : sizes[i], true);
	}
	reply_sizes(w);
	nc_close(other);
	free(seen);
}

/* ---- names that come and go ---- */

#define STAY 300
#define MOVE 300

static uint32_t dice(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void churn(struct world *w, struct nc *other, bool *there, uint32_t *seed)
{
	sattr3 s = sa_none();
	char name[256], to[256];
	for (int i = 0; i < 3; i++) {
		unsigned k = dice(seed) % MOVE, j = dice(seed) % MOVE;
		name_of(name, k, "m");
		name_of(to, j, "m");
		if (!there[k]) {
			nc_create(other, &w->dir, name, GUARDED, &s);
			there[k] = true;
		} else if (!there[j]) {
			nc_rename(other, &w->dir, name, &w->dir, to);
			there[k] = false;
			there[j] = true;
		} else {
			nc_remove(other, &w->dir, name);
			there[k] = false;
		}
		want_status(&other->res, NFS3_OK, "a change while the directory is read");
	}
}

static void one_walk(struct world *w, struct nc *other, bool *there, uint32_t *seed, bool plus,
		     uint32_t count, uint64_t *cookies)
{
	struct nc *c = w->c;
	uint64_t cookie = 0, verf = 0;
	char name[256];
	unsigned times;
	nc_entries_clear(c);
	do {
		const struct nc_res *r =
		    plus ? nc_readdirplus(c, &w->dir, cookie, verf, count, count)
			 : nc_readdir(c, &w->dir, cookie, verf, count);
		if (!want_status(r, NFS3_OK, "reading a directory that changes"))
			return;
		verf = r->verf;
		if (c->nentries)
			cookie = c->entries[c->nentries - 1].cookie;
		churn(w, other, there, seed);
	} while (!c->res.eof);
	for (unsigned i = 0; i < STAY; i++) {
		name_of(name, i, "s");
		const struct nc_entry *e = entry_of(c, name, &times);
		want(times == 1, "%s stayed and was given %u times", name, times);
		if (!e)
			continue;
		want(!cookies[i] || cookies[i] == e->cookie, "the cookie of %s stays", name);
		cookies[i] = e->cookie;
	}
	for (unsigned i = 0; i + 1 < c->nentries; i++)
		want(c->entries[i].cookie != c->entries[i + 1].cookie, "cookies differ");
}

/* What rm -r does: removes what was listed, and goes on from the last cookie. */
static void emptied(struct world *w, uint32_t count, bool plus)
{
	struct nc *c = w->c;
	uint64_t cookie = 0, verf = 0;
	char name[256];
	bool eof = false;
	struct nc_fh d = make_dir(w, "emptied", 0755);
	sattr3 s = sa_none();
	for (unsigned i = 0; i < 500; i++) {
		name_of(name, i, "g");
		want_status(nc_create(c, &d, name, GUARDED, &s), NFS3_OK, "making %s", name);
	}
	while (!eof) {
		nc_entries_clear(c);
		const struct nc_res *r = plus ? nc_readdirplus(c, &d, cookie, verf, count, count)
					      : nc_readdir(c, &d, cookie, verf, count);
		if (!want_status(r, NFS3_OK, "reading a directory that is emptied"))
			return;
		verf = r->verf;
		eof = r->eof;
		for (unsigned i = 0; i < c->nentries; i++) {
			const struct nc_entry *e = &c->entries[i];
			cookie = e->cookie;
			if (strcmp(e->name, ".") && strcmp(e->name, ".."))
				want_status(nc_remove(c, &d, e->name), NFS3_OK, "REMOVE");
		}
	}
	want_status(nc_rmdir(c, &w->dir, "emptied"), NFS3_OK, "RMDIR of what was emptied");
}

void conform_changing_dir(struct world *w)
{
	struct nc *other = world_open(w, NULL, true);
	static bool there[MOVE];
	static uint64_t cookies[STAY];
	uint32_t seed = 4711;
	char name[256];
	sattr3 s = sa_none();
	memset(there, 0, sizeof(there));
	memset(cookies, 0, sizeof(cookies));
	other->before = NULL;
	other->after = NULL;
	for (unsigned i = 0; i < STAY; i++) {
		name_of(name, i, "s");
		want_status(nc_create(other, &w->dir, name, GUARDED, &s), NFS3_OK, "making %s",
			    name);
	}
	for (int i = 0; i < 3; i++) {
		one_walk(w, other, there, &seed, false, 400, cookies);
		one_walk(w, other, there, &seed, true, 700, cookies);
		one_walk(w, other, there, &seed, false, 1500, cookies);
	}
	nc_close(other);
	emptied(w, 400, false);
	emptied(w, 8192, true);
}
