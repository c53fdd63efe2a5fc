/*
 * File handles: PUTFH, PUTROOTFH, GETFH, SAVEFH, RESTOREFH, LOOKUP, LOOKUPP, SECINFO (RFC 8881
 * 18.19 to 18.29, 18.45).
 *
 * The current object is a pseudo directory (only its number is kept: the tree may change) or a
 * file of an export (held). A handle is the one of version 3; a pseudo directory's names file
 * system 0 and no checksum of it is looked at, for there is nothing behind it that the caller's
 * address does not decide.
 */
#include <errno.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

static const struct fh_key pseudo_key = {{0x70736575646f2066, 0x732068616e646c65}};

/* ---- holding ---- */

void nfs4_fh_drop(struct nfs4_call *k)
{
	if (k->kind == FH_FILE)
		nfs_let_go(&k->c);
	if (k->kind == FH_ABSENT)
		nfs4_absent_drop(k);
	k->kind = FH_NONE;
	k->have_sid = false;
}

void nfs4_saved_drop(struct nfs4_call *k)
{
	struct nfs4_saved *s = &k->saved;
	if (s->kind == FH_FILE) {
		nfs_mount_release(s->mount);
		export_table_put(s->table);
		group_list_put(s->groups);
	}
	s->kind = FH_NONE;
}

void nfs4_fh_file(struct nfs4_call *k, const struct fs_attr *a)
{
	k->c.fid = (struct fs_fid){.ino = a->ino, .generation = a->generation};
	k->have_sid = false;
}

void nfs4_fh_pseudo(struct nfs4_call *k, const struct nfs4_pseudo *p)
{
	nfs4_fh_drop(k);
	k->kind = FH_PSEUDO;
	k->pseudo = p->id;
}

static enum nfs4_status file_opened(struct nfs4_call *k, int st)
{
	if (st == NFS3_OK)
		k->kind = FH_FILE;
	else
		nfs_let_go(&k->c);
	return st == NFS_FENCED ? NFS4_FENCED : st == NFS_AGAIN ? NFS4_AGAIN : (enum nfs4_status)st;
}

enum nfs4_status nfs4_fh_export(struct nfs4_call *k, const struct export *e)
{
	if (e->head)
		return nfs4_fh_absent(k, e, true);
	nfs4_fh_drop(k);
	k->c.peer = nfs_peer_of(k->n->o.nfs, k->req);
	if (!k->c.peer)
		return NFS4ERR_DELAY;
	return file_opened(k, nfs_call_open_export(&k->c, e));
}

void nfs4_put_fh(struct xdr_out *x, const struct nfs_mount *m, const struct export *e,
		 const struct fs_fid *f)
{
	struct fh fh = {.fs_id = m ? m->id : NFS4_PSEUDO_FS,
			.export_id = m ? e->id : 0,
			.ino = f->ino,
			.generation = f->generation};
	xdr_put_u32(x, FH_SIZE);
	uint8_t *p = xdr_take(x, FH_SIZE);
	if (p)
		fh_encode(&fh, m ? &m->key : &pseudo_key, p);
}

/* ---- PUTFH and its like ---- */

/* The root of all is a pseudo directory, or the export whose path is "/". */
static enum nfs4_status enter(struct nfs4_call *k, const struct nfs4_pseudo *p)
{
	if (!p->exp || !nfs4_pseudo_may_be(k, p->exp)) {
		nfs4_fh_pseudo(k, p);
		return NFS4_OK;
	}
	return k->may_wait ? nfs4_fh_export(k, p->exp) : NFS4_AGAIN;
}

enum nfs4_status nfs4_op_putrootfh(struct nfs4_call *k)
{
	const struct nfs4_pseudo *root = nfs4_pseudo_root(k->n);
	enum nfs4_status st = root ? enter(k, root) : NFS4ERR_DELAY;
	/* The export "/" is there, its directory not: no other error says so. */
	return st == NFS4ERR_NOENT || st == NFS4ERR_NOTDIR || st == NFS4ERR_ACCESS ||
		       st == NFS4ERR_IO || st == NFS4ERR_STALE
		   ? NFS4ERR_SERVERFAULT
		   : st;
}

enum nfs4_status nfs4_op_putfh(struct nfs4_call *k)
{
	const uint8_t *data;
	uint32_t len;
	struct fh fh;
	if (!xdr_opaque(k->in, NFS4_FHSIZE, &data, &len))
		return NFS4ERR_BADXDR;
	nfs4_fh_drop(k);
	if (fh_parse(data, len, &fh))
		return NFS4ERR_BADHANDLE;
	if (fh.fs_id == NFS4_PSEUDO_FS) {
		const struct nfs4_pseudo *p = nfs4_pseudo_find(k->n, fh.ino);
		if (!fh_verify(data, &pseudo_key))
			return NFS4ERR_BADHANDLE;
		if (!p)
			return NFS4ERR_STALE;
		nfs4_fh_pseudo(k, p);
		return NFS4_OK;
	}
	k->c.peer = nfs_peer_of(k->n->o.nfs, k->req);
	if (!k->c.peer)
		return NFS4ERR_DELAY;
	int found = nfs_call_open(&k->c, data, len, 0);
	enum nfs4_status st =
	    found == NFS_ELSEWHERE ? nfs4_fh_absent(k, k->c.exp, false) : file_opened(k, found);
	return st == NFS4ERR_ACCESS ? NFS4ERR_STALE
				    : st; /* of an export that is not the caller's */
}

enum nfs4_status nfs4_op_getfh(struct nfs4_call *k)
{
	struct fs_fid pseudo = {.ino = k->pseudo};
	if (k->kind == FH_FILE)
		nfs4_put_fh(k->out, k->c.mount, k->c.exp, &k->c.fid);
	else
		nfs4_put_fh(k->out, NULL, NULL, &pseudo);
	return NFS4_OK;
}

/* The current file is held a second time: as the saved one. */
static void hold_more(struct nfs4_call *k)
{
	nfs_mount_hold(k->c.mount);
	export_table_get(k->c.table);
	if (k->c.groups)
		k->c.groups->answer.refs++;
}

enum nfs4_status nfs4_op_savefh(struct nfs4_call *k)
{
	nfs4_saved_drop(k);
	k->saved = (struct nfs4_saved){.kind = k->kind,
				       .pseudo = k->pseudo,
				       .mount = k->c.mount,
				       .table = k->c.table,
				       .exp = k->c.exp,
				       .rule = k->c.rule,
				       .cred = k->c.cred,
				       .groups = k->c.groups,
				       .fid = k->c.fid,
				       .sid = k->sid,
				       .have_sid = k->have_sid,
				       .weak = k->c.weak};
	if (k->kind == FH_FILE)
		hold_more(k);
	return NFS4_OK;
}

enum nfs4_status nfs4_op_restorefh(struct nfs4_call *k)
{
	const struct nfs4_saved *s = &k->saved;
	if (s->kind == FH_NONE)
		return NFS4ERR_NOFILEHANDLE;
	nfs4_fh_drop(k);
	k->kind = s->kind;
	k->pseudo = s->pseudo;
	k->sid = s->sid;
	k->have_sid = s->have_sid;
	if (s->kind != FH_FILE)
		return NFS4_OK;
	k->c.mount = s->mount;
	k->c.table = s->table;
	k->c.exp = s->exp;
	k->c.rule = s->rule;
	k->c.cred = s->cred;
	k->c.groups = s->groups;
	k->c.fid = s->fid;
	k->c.weak = s->weak;
	hold_more(k);
	return NFS4_OK;
}

/* ---- LOOKUP ---- */

enum nfs4_status nfs4_get_name(struct xdr_in *x, struct nfs4_name *ret)
{
	const uint8_t *p;
	if (!xdr_opaque(x, UINT32_MAX, &p, &ret->len))
		return NFS4ERR_BADXDR;
	ret->p = (const char *)p;
	if (ret->len == 0)
		return NFS4ERR_INVAL;
	if (ret->len > FS_NAME_MAX)
		return NFS4ERR_NAMETOOLONG;
	if (memchr(p, 0, ret->len) || memchr(p, '/', ret->len))
		return NFS4ERR_BADCHAR;
	if (p[0] == '.' && (ret->len == 1 || (ret->len == 2 && p[1] == '.')))
		return NFS4ERR_BADNAME;
	return NFS4_OK;
}

static enum nfs4_status lookup_pseudo(struct nfs4_call *k, const struct nfs4_name *name)
{
	const struct nfs4_pseudo *p = nfs4_pseudo_find(k->n, k->pseudo);
	if (!p)
		return NFS4ERR_STALE;
	p = nfs4_pseudo_child(p, name->p, name->len);
	if (!p)
		return NFS4ERR_NOENT;
	enum nfs4_status st = nfs4_pseudo_look(k, p);
	/* What wants TLS is not listed, but says so when asked. */
	if (st)
		return nfs4_pseudo_wants_xprt(k, p) ? NFS4ERR_WRONGSEC : st;
	return enter(k, p);
}

static bool is_name(const struct nfs4_name *n, const char *s)
{
	return strlen(s) == n->len && memcmp(s, n->p, n->len) == 0;
}

static bool fid_same(const struct fs_fid *a, const struct fs_fid *b)
{
	return a->ino == b->ino && a->generation == b->generation;
}

/* Of a pseudo node below `top`: is the current directory the one its path leads to in top's
 * export? Waits. */
static bool leads_here(struct nfs4_call *k, const struct nfs4_pseudo *top,
		       const struct nfs4_pseudo *dir)
{
	char path[EXPORT_PATH_MAX + 1];
	size_t at = sizeof(path) - 1;
	struct fs_fid root, fid;
	path[at] = '\0';
	for (const struct nfs4_pseudo *p = dir; p != top; p = p->parent) {
		size_t len = strlen(p->name);
		if (at < len + 1)
			return false;
		at -= len;
		memcpy(path + at, p->name, len);
		path[--at] = '/';
	}
	return nfs_export_find(k->c.mount, k->c.exp, &root) == 0 &&
	       nfs_walk(k->c.mount->fs, &root, path + at, &fid) == 0 && fid_same(&fid, &k->c.fid);
}

/*
 * An export may begin below another: at a directory of that one, by path. Names of the tree below
 * the current export that equal the one looked for, and lie in the directory that the current one
 * is. Hardly any configuration has such exports, so hardly any look-up goes through here.
 */
static const struct nfs4_pseudo *nested(struct nfs4_call *k, const struct nfs4_pseudo *top,
					const struct nfs4_pseudo *dir, const struct nfs4_name *name)
{
	for (const struct nfs4_pseudo *p = dir->child; p; p = p->next) {
		const struct nfs4_pseudo *found;
		if (p->exp && is_name(name, p->name) && nfs4_pseudo_may_be(k, p->exp) &&
		    leads_here(k, top, dir))
			return p;
		found = p->exp && nfs4_pseudo_may_be(k, p->exp) ? NULL : nested(k, top, p, name);
		if (found)
			return found;
	}
	return NULL;
}

static bool lookup_nested(struct nfs4_call *k, const struct nfs4_pseudo *top,
			  const struct nfs4_name *name, enum nfs4_status *ret)
{
	struct nfs4_tree *t = nfs4_tree_get(k->n);
	const struct nfs4_pseudo *p = nested(k, top, top, name);
	if (p)
		*ret = nfs4_fh_export(k, p->exp);
	nfs4_tree_put(t);
	return p;
}

static enum nfs4_status lookup_file(struct nfs4_call *k, const struct nfs4_name *name)
{
	const struct nfs4_pseudo *p = nfs4_pseudo_of(k->n, k->c.exp);
	enum nfs4_status in;
	struct fs_attr a;
	int rc;
	if (p && p->child) {
		if (!k->may_wait)
			return NFS4_AGAIN;
		if (lookup_nested(k, p, name, &in))
			return in;
	}
	/* Whether there is such a name is not for who comes with this flavour: all of this export
	 * wants another. */
	if (k->c.weak)
		return NFS4ERR_WRONGSEC;
	rc = k->may_wait
		 ? fs_lookup(k->c.mount->fs, &k->c.cred, &k->c.fid, name->p, name->len, &a, NULL)
		 : fs_lookup_try(k->c.mount->fs, &k->c.cred, &k->c.fid, name->p, name->len, &a,
				 NULL);
	if (rc == -EAGAIN && !k->may_wait)
		return NFS4_AGAIN;
	if (rc == -ENOTDIR && fs_getattr_try(k->c.mount->fs, &k->c.fid, &a) == 0 &&
	    a.type == FS_LNK)
		return NFS4ERR_SYMLINK;
	enum nfs4_status st = nfs4_status_of(k, rc);
	if (!st)
		nfs4_fh_file(k, &a);
	return st;
}

enum nfs4_status nfs4_op_lookup(struct nfs4_call *k)
{
	struct nfs4_name name;
	enum nfs4_status st = nfs4_get_name(k->in, &name);
	if (st)
		return st;
	return k->kind == FH_PSEUDO ? lookup_pseudo(k, &name) : lookup_file(k, &name);
}

/* Up from where an export begins: to the pseudo directory above it, or for an export that lies
 * in another to what is above it there. */
static enum nfs4_status up_from_export(struct nfs4_call *k)
{
	const struct nfs4_pseudo *p = nfs4_pseudo_of(k->n, k->c.exp), *outer;
	if (!p)
		return NFS4ERR_STALE;
	if (!p->parent)
		return NFS4ERR_NOENT;
	for (outer = p->parent; outer->parent && !outer->exp; outer = outer->parent)
		;
	if (!outer->exp || !nfs4_pseudo_may_be(k, outer->exp)) {
		nfs4_fh_pseudo(k, p->parent);
		return NFS4_OK;
	}
	/* By the path between the two. */
	char path[EXPORT_PATH_MAX + 1] = "";
	size_t skip = strlen(outer->exp->path) > 1 ? strlen(outer->exp->path) : 0;
	strncpy(path, p->exp->path + skip, sizeof(path) - 1);
	*strrchr(path, '/') = '\0';
	enum nfs4_status st = nfs4_fh_export(k, outer->exp);
	if (st)
		return st;
	if (k->kind == FH_ABSENT) {
		k->absent.root = !path[0];
		return NFS4_OK;
	}
	return nfs4_status_of(k, nfs_walk(k->c.mount->fs, &k->c.fid, path, &k->c.fid));
}

enum nfs4_status nfs4_op_lookupp(struct nfs4_call *k)
{
	struct fs_attr a;
	bool top;
	if (k->kind == FH_PSEUDO) {
		const struct nfs4_pseudo *p = nfs4_pseudo_find(k->n, k->pseudo);
		if (!p)
			return NFS4ERR_STALE;
		if (!p->parent)
			return NFS4ERR_NOENT;
		return enter(k, p->parent);
	}
	if (!k->may_wait)
		return NFS4_AGAIN;
	if (k->c.weak) /* nothing else of it is told */
		return nfs_inside(&k->c, &k->c.fid, &top) == 0 && top ? up_from_export(k)
								      : NFS4ERR_WRONGSEC;
	int rc = fs_getattr(k->c.mount->fs, &k->c.fid, &a);
	if (rc == 0 && a.type != FS_DIR)
		return a.type == FS_LNK ? NFS4ERR_SYMLINK : NFS4ERR_NOTDIR;
	rc = rc ?: nfs_inside(&k->c, &k->c.fid, &top);
	if (rc == 0 && top)
		return up_from_export(k);
	rc = rc ?: fs_lookup(k->c.mount->fs, &k->c.cred, &k->c.fid, "..", 2, &a, NULL);
	enum nfs4_status st = nfs4_status_of(k, rc);
	if (!st)
		nfs4_fh_file(k, &a);
	return st;
}

/* ---- SECINFO ---- */

/* secinfo4: AUTH_SYS, or RPCSEC_GSS with Kerberos (RFC 4121), the default quality, a service. */
static void put_flavor(struct xdr_out *x, unsigned sec)
{
	static const uint8_t krb5[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02};
	xdr_put_u32(x, sec == SEC_SYS ? RPC_FLAVOR_SYS : RPC_FLAVOR_GSS);
	if (sec == SEC_SYS)
		return;
	xdr_put_opaque(x, krb5, sizeof(krb5));
	xdr_put_u32(x, 0);
	xdr_put_u32(x, sec);
}

/* What is found out on the way to an answer, as SECINFO and SECINFO_NO_NAME may say it. */
static enum nfs4_status secinfo_status(enum nfs4_status st)
{
	switch (st) {
	case NFS4ERR_SYMLINK:
		return NFS4ERR_NOTDIR;
	case NFS4ERR_IO:
		return NFS4ERR_SERVERFAULT;
	case NFS4ERR_WRONGSEC:
		return NFS4ERR_ACCESS;
	default:
		return st;
	}
}

/* Pseudo directories take all that any export takes. */
static void put_flavors(struct nfs4_call *k)
{
	uint64_t generation;
	unsigned mask = nfs_table(k->n->o.nfs, &generation)->sec_mask;
	const struct export_rule *r = k->kind == FH_FILE ? k->c.rule
				      : k->kind == FH_ABSENT
					  ? nfs_rule_of(k->n->o.nfs, k->req, k->absent.exp)
					  : NULL;
	xdr_put_u32(k->out, r ? r->nsec : (unsigned)__builtin_popcount(mask));
	for (unsigned i = 0; r && i < r->nsec; i++)
		put_flavor(k->out, r->sec[i]);
	for (unsigned i = 0; !r && i < SEC_COUNT; i++)
		if (mask >> i & 1)
			put_flavor(k->out, i);
	if (k->minor)
		nfs4_fh_drop(k); /* RFC 8881 18.29.3: it is used up */
}

/*
 * What a name leads to, for its flavours. With a flavour that the export does not take the name is
 * not looked for: what it would lead to takes those of the export, but for another that begins
 * there.
 */
static enum nfs4_status secinfo_find(struct nfs4_call *k, const struct nfs4_name *name)
{
	bool weak = k->kind == FH_FILE && k->c.weak;
	enum nfs4_status st = k->kind == FH_PSEUDO ? lookup_pseudo(k, name) : lookup_file(k, name);
	return weak && st == NFS4ERR_WRONGSEC ? NFS4_OK : secinfo_status(st);
}

/* Version 4.0: the directory stays the current object, whatever is found. */
static enum nfs4_status secinfo_v40(struct nfs4_call *k, const struct nfs4_name *name)
{
	struct nfs4_saved saved = k->saved;
	k->saved.kind = FH_NONE;
	nfs4_op_savefh(k);
	enum nfs4_status st = secinfo_find(k, name);
	if (!st)
		put_flavors(k);
	nfs4_op_restorefh(k);
	nfs4_saved_drop(k);
	k->saved = saved;
	return st;
}

enum nfs4_status nfs4_op_secinfo(struct nfs4_call *k)
{
	struct nfs4_name name;
	enum nfs4_status st = nfs4_get_name(k->in, &name);
	if (!st && k->minor == 0)
		return secinfo_v40(k, &name);
	st = st ?: secinfo_find(k, &name);
	if (!st)
		put_flavors(k);
	return st;
}

enum nfs4_status nfs4_op_secinfo_no_name(struct nfs4_call *k)
{
	uint32_t style;
	if (!xdr_u32(k->in, &style) || style > 1)
		return NFS4ERR_BADXDR;
	if (style == 1) {
		bool weak = k->kind == FH_FILE && k->c.weak;
		enum nfs4_status st = nfs4_op_lookupp(k);
		if (st && !(weak && st == NFS4ERR_WRONGSEC))
			return secinfo_status(st);
	}
	put_flavors(k);
	return NFS4_OK;
}
