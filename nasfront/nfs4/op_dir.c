/*
 * READDIR (RFC 8881 18.23).
 *
 *   result: verifier, { 1, cookie, name, attributes }*, 0, eof
 *
 * Cookies are the file system's and never go stale (1 and 2 are "." and "..", which this protocol
 * does not show); those of pseudo directories count their children from 3.
 */
#include <errno.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

#define DIR_TAIL     8
#define DIR_HEAD     8
#define COOKIE_FIRST 3
#define NAMES_ROUNDS 2

struct fill {
	struct nfs4_call *k;
	struct xdr_out x;
	struct nfs4_bitmap want;
	struct nfs4_object o; /* what is the same for all entries; names of the last */
	unsigned entries;
	uint64_t last; /* entry's cookie */
	bool ask;      /* it ended before one whose owner's or group's name is not known yet */
	bool numbers;  /* such a one goes by his number */
};

/* False: no room; nothing is left of it. */
static bool put_entry(struct fill *f, const char *name, uint32_t len, uint64_t cookie)
{
	uint8_t *at = f->x.p;
	struct nfs4_bitmap want = f->want;
	if (f->o.error && !f->o.absent) { /* nothing but that is known */
		memset(&want, 0, sizeof(want));
		bitmap_set(&want, FATTR4_RDATTR_ERROR);
	}
	xdr_put_bool(&f->x, true);
	xdr_put_u64(&f->x, cookie);
	xdr_put_opaque(&f->x, name, len);
	nfs4_put_fattr(f->k, &f->x, &want, &f->o);
	if (!f->x.full) {
		f->entries++;
		return true;
	}
	f->x.p = at;
	f->x.full = false;
	return false;
}

/* ---- directories of an export ---- */

/* Looks for them without waiting. False: somebody has to ask. */
static bool names_known(struct fill *f)
{
	return nfs4_object_names(f->k, &f->want, &f->o, false) == NFS4_OK || f->numbers;
}

static bool emit(void *arg, const char *name, uint32_t len, uint64_t ino, uint64_t cookie,
		 const struct fs_attr *a)
{
	struct fill *f = arg;
	if (cookie < COOKIE_FIRST)
		return true;
	f->o.error = a ? 0 : NFS4ERR_IO;
	if (a)
		f->o.a = *a;
	else if (!bitmap_has(&f->want, FATTR4_RDATTR_ERROR))
		return false;
	f->ask = a && !names_known(f);
	if (f->ask || !put_entry(f, name, len, cookie))
		return false;
	f->last = cookie;
	return true;
}

/* The names of the entry it stopped at. When they cannot be had in time it goes on without. */
static void names_ask(struct fill *f, unsigned *rounds, unsigned *entries)
{
	*rounds = f->entries == *entries ? *rounds + 1 : 0;
	*entries = f->entries;
	nfs4_object_names(f->k, &f->want, &f->o, true);
	f->numbers = *rounds >= NAMES_ROUNDS;
}

static enum nfs4_status read_entries(struct fill *f, uint64_t cookie, bool *eof)
{
	struct nfs4_call *k = f->k;
	unsigned rounds = 0, entries = 0;
	struct fs_attr dir;
	f->last = cookie;
	for (;;) {
		f->ask = false;
		int rc = fs_readdir(k->c.mount->fs, &k->c.cred, &k->c.fid, f->last, true, emit, f,
				    eof, &dir);
		if (rc || !f->ask)
			return nfs4_status_of(k, rc);
		names_ask(f, &rounds, &entries);
	}
}

static enum nfs4_status read_file_dir(struct fill *f, uint64_t cookie, bool *eof)
{
	struct nfs4_call *k = f->k;
	f->o.mount = k->c.mount;
	f->o.exp = k->c.exp;
	if (nfs4_attrs_need_space(&f->want)) {
		int rc = fs_statfs_at(k->c.mount->fs, &k->c.fid, &f->o.space);
		if (rc)
			return nfs4_status_of(k, rc);
	}
	return read_entries(f, cookie, eof);
}

/* ---- pseudo directories ---- */

/* A child's attributes: where an export begins, those of its directory. May wait; the current
 * object is a pseudo directory, so the call's file is free. */
static void child_object(struct fill *f, const struct nfs4_pseudo *p)
{
	struct nfs4_call *k = f->k;
	struct fs_attr a;
	nfs4_object_end(&f->o);
	f->o = (struct nfs4_object){.mount = NULL};
	nfs4_pseudo_attr(k->n, p, &f->o.a);
	if (!p->exp || !nfs4_pseudo_mine(k, p->exp))
		return;
	f->o.mounted_on = p->id;
	if (p->exp->head) { /* RFC 8881 11.3.2: it is an error unless it is asked where it is */
		f->o.absent = p->exp;
		f->o.error = nfs4_absent_asked(k, &f->want) ? 0 : NFS4ERR_MOVED;
		return;
	}
	k->c.peer = nfs_peer_of(k->n->o.nfs, k->req);
	int st = k->c.peer ? nfs_call_open_export(&k->c, p->exp) : NFS3ERR_JUKEBOX;
	if (st == NFS3_OK) {
		int rc = fs_getattr(k->c.mount->fs, &k->c.fid, &a);
		if (rc == 0 && nfs4_attrs_need_space(&f->want))
			rc = fs_statfs_at(k->c.mount->fs, &k->c.fid, &f->o.space);
		st = nfs3_status(rc);
	}
	f->o.error = (uint32_t)st;
	if (st == NFS3_OK) {
		f->o.a = a;
		f->o.mount = k->c.mount;
		f->o.exp = k->c.exp;
	}
}

static enum nfs4_status read_children(struct fill *f, const struct nfs4_pseudo *dir,
				      uint64_t cookie, bool *eof)
{
	struct nfs4_call *k = f->k;
	uint64_t i = COOKIE_FIRST;
	for (const struct nfs4_pseudo *p = dir->child; p; p = p->next, i++) {
		if (i <= cookie || !nfs4_pseudo_visible(k, p))
			continue;
		child_object(f, p);
		nfs4_object_names(k, &f->want, &f->o, true);
		enum nfs4_status st = f->o.error && !bitmap_has(&f->want, FATTR4_RDATTR_ERROR)
					  ? (enum nfs4_status)f->o.error
					  : NFS4_OK;
		if (st == NFS4ERR_NOENT || st == NFS4ERR_NOTDIR) { /* nor does LOOKUP find it */
			nfs_let_go(&k->c);
			continue;
		}
		bool fits = !st && put_entry(f, p->name, (uint32_t)strlen(p->name), i);
		nfs_let_go(&k->c);
		if (st)
			return st == (enum nfs4_status)NFS_FENCED ? NFS4_FENCED : st;
		if (!fits)
			return NFS4_OK;
	}
	*eof = true;
	return NFS4_OK;
}

static enum nfs4_status read_pseudo_dir(struct fill *f, uint64_t cookie, bool *eof)
{
	struct nfs4_tree *t = nfs4_tree_get(f->k->n); /* its nodes stay while we wait */
	const struct nfs4_pseudo *dir = nfs4_pseudo_find(f->k->n, f->k->pseudo);
	enum nfs4_status st = dir ? read_children(f, dir, cookie, eof) : NFS4ERR_STALE;
	nfs4_tree_put(t);
	return st;
}

/* ---- READDIR ---- */

static enum nfs4_status read_dir(struct fill *f, uint64_t cookie, bool *eof)
{
	enum nfs4_status st = f->k->kind == FH_PSEUDO ? read_pseudo_dir(f, cookie, eof)
						      : read_file_dir(f, cookie, eof);
	return !st && !f->entries && !*eof ? NFS4ERR_TOOSMALL : st;
}

enum nfs4_status nfs4_op_readdir(struct nfs4_call *k)
{
	struct fill f = {.k = k};
	uint64_t cookie, verifier, mine;
	uint32_t dircount, max;
	bool eof = false, cut;
	if (!xdr_u64(k->in, &cookie) || !xdr_u64(k->in, &verifier) || !xdr_u32(k->in, &dircount) ||
	    !xdr_u32(k->in, &max) || !nfs4_get_bitmap(k->in, &f.want))
		return NFS4ERR_BADXDR;
	if (bitmap_has(&f.want, FATTR4_TIME_ACCESS_SET) ||
	    bitmap_has(&f.want, FATTR4_TIME_MODIFY_SET))
		return NFS4ERR_INVAL; /* only for setting */
	mine = k->kind == FH_PSEUDO ? k->n->born_s : k->c.mount->dir_verifier;
	if (cookie == 1 || cookie == 2)
		return NFS4ERR_BAD_COOKIE;
	/* Cookies never go stale, so none is refused for want of a verifier: some clients of
	 * version 4.0 do not keep it. */
	if (cookie && verifier && verifier != mine && k->kind != FH_PSEUDO)
		return NFS4ERR_NOT_SAME;
	/* maxcount is of all of the result; less is given where the reply would be too big. */
	max = MIN(max, (uint32_t)NFS4_DIR_MAX);
	cut = nfs4_reply_left(k) < max;
	if (cut)
		max = (uint32_t)nfs4_reply_left(k);
	if (max < DIR_HEAD + DIR_TAIL)
		return cut ? NFS4ERR_REP_TOO_BIG : NFS4ERR_TOOSMALL;
	if (!nfs4_room(k, max))
		return NFS4ERR_DELAY;
	xdr_put_u64(k->out, mine);
	f.x = xdr_out_of(k->out->p, max - DIR_HEAD - DIR_TAIL);
	enum nfs4_status st = read_dir(&f, cookie, &eof);
	nfs4_object_end(&f.o);
	if (st)
		return st == NFS4ERR_TOOSMALL && cut ? NFS4ERR_REP_TOO_BIG : st;
	k->out->p = f.x.p;
	xdr_put_bool(k->out, false);
	xdr_put_bool(k->out, eof);
	return NFS4_OK;
}
