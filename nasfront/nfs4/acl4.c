/*
 * Access control lists on the wire: nfsace4 (RFC 8881 6.2.1).
 *
 *   u32 number of entries, { u32 type, u32 flags, u32 mask, string who }*
 *
 * Who is OWNER@, GROUP@, EVERYONE@, or as owners are (owner4.c): a user, or with
 * ACE4_IDENTIFIER_GROUP a group. What the file system cannot keep as it is (alarms, audits,
 * retention) is refused, not dropped: a list that says less than it did could let somebody in.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

#define IDENTIFIER_GROUP 0x40
#define INHERITED	 0x80 /* of version 4.1: says where an entry came from; not kept */

static const struct special {
	const char *name;
	enum fs_ace_who who;
} specials[] = {
    {"OWNER@", FS_WHO_OWNER},
    {"GROUP@", FS_WHO_OWNER_GROUP},
    {"EVERYONE@", FS_WHO_EVERYONE},
};

/* ---- writing ---- */

static const char *special_of(const struct fs_ace *a)
{
	for (unsigned i = 0; i < ARRAY_LEN(specials); i++)
		if (specials[i].who == a->who)
			return specials[i].name;
	return NULL;
}

size_t nfs4_acl_bytes(const struct nfs4_call *k, const struct nfs4_named_acl *acl)
{
	size_t bytes = 4;
	for (unsigned i = 0; i < acl->acl.n; i++) {
		uint32_t len =
		    nfs4_owner_len(k, acl->names[i]); /* of the special ones 10 at most */
		bytes += 16 + len + xdr_pad(len);
	}
	return bytes;
}

void nfs4_put_acl(const struct nfs4_call *k, struct xdr_out *x, const struct nfs4_named_acl *acl)
{
	xdr_put_u32(x, acl->acl.n);
	for (unsigned i = 0; i < acl->acl.n; i++) {
		const struct fs_ace *a = &acl->acl.aces[i];
		const char *special = special_of(a);
		bool group = a->who == FS_WHO_GROUP || a->who == FS_WHO_OWNER_GROUP;
		xdr_put_u32(x, a->type);
		xdr_put_u32(x, a->flags | (group ? IDENTIFIER_GROUP : 0));
		xdr_put_u32(x, a->mask);
		if (special)
			xdr_put_string(x, special);
		else
			nfs4_put_owner(k, x, acl->names[i], a->id);
	}
}

void nfs4_acl_pseudo(struct nfs4_acl *ret)
{
	ret->n = 1;
	ret->aces[0] = (struct fs_ace){.type = FS_ACE_ALLOW,
				       .who = FS_WHO_EVERYONE,
				       .mask = FS_ACE_READ | FS_ACE_EXECUTE | FS_ACE_READ_ATTRS |
					       FS_ACE_READ_ACL | FS_ACE_SYNCHRONIZE};
}

enum nfs4_status nfs4_acl_load(struct nfs4_call *k, struct nfs4_named_acl *ret)
{
	bool stored;
	int rc = fs_acl_get(k->c.mount->fs, &k->c.fid, ret->acl.aces, &ret->acl.n, &stored);
	if (rc)
		ret->acl.n = 0;
	enum nfs4_status st = nfs4_status_of(k, rc);
	for (unsigned i = 0; i < ret->acl.n && !st; i++) {
		const struct fs_ace *a = &ret->acl.aces[i];
		if (!special_of(a))
			st =
			    nfs4_owner_name(k, a->who == FS_WHO_GROUP, a->id, true, &ret->names[i]);
	}
	return st;
}

void nfs4_acl_free(struct nfs4_named_acl *acl)
{
	for (unsigned i = 0; acl && i < FS_ACL_ROOM; i++)
		name_put(acl->names[i]);
	free(acl);
}

/* ---- reading ---- */

static enum nfs4_status get_who(struct nfs4_call *k, struct xdr_in *x, bool group, struct fs_ace *a)
{
	struct xdr_in at = *x;
	const uint8_t *p;
	uint32_t len;
	if (!xdr_opaque(x, NFS4_OPAQUE_LIMIT, &p, &len))
		return NFS4ERR_BADXDR;
	for (unsigned i = 0; i < ARRAY_LEN(specials); i++)
		if (strlen(specials[i].name) == len && memcmp(specials[i].name, p, len) == 0) {
			a->who = specials[i].who;
			return NFS4_OK;
		}
	a->who = group ? FS_WHO_GROUP : FS_WHO_USER;
	return nfs4_get_owner(k, &at, group, &a->id);
}

static enum nfs4_status get_ace(struct nfs4_call *k, struct xdr_in *x, struct fs_ace *a)
{
	uint32_t type, flags, mask;
	memset(a, 0, sizeof(*a));
	if (!xdr_u32(x, &type) || !xdr_u32(x, &flags) || !xdr_u32(x, &mask))
		return NFS4ERR_BADXDR;
	enum nfs4_status st = get_who(k, x, flags & IDENTIFIER_GROUP, a);
	if (st)
		return st;
	flags &= ~(uint32_t)(IDENTIFIER_GROUP | INHERITED);
	if (type > FS_ACE_DENY || flags & ~(uint32_t)FS_ACE_FLAGS || mask & ~(uint32_t)FS_ACE_MASK)
		return NFS4ERR_ATTRNOTSUPP;
	a->type = (uint8_t)type;
	a->flags = (uint16_t)flags;
	a->mask = mask;
	return NFS4_OK;
}

enum nfs4_status nfs4_get_acl(struct nfs4_call *k, struct xdr_in *x, struct nfs4_acl *ret)
{
	if (!xdr_u32(x, &ret->n))
		return NFS4ERR_BADXDR;
	if (ret->n > FS_ACL_MAX)
		return NFS4ERR_FBIG;
	for (unsigned i = 0; i < ret->n; i++) {
		enum nfs4_status st = get_ace(k, x, &ret->aces[i]);
		if (st)
			return st;
	}
	return NFS4_OK;
}

enum nfs4_status nfs4_acl_store(struct nfs4_call *k, const struct fs_fid *f,
				const struct nfs4_acl *acl)
{
	int rc = fs_acl_set(k->c.mount->fs, &k->c.cred, f, acl->aces, acl->n, NULL);
	return rc == -EOPNOTSUPP ? NFS4ERR_ATTRNOTSUPP : nfs4_status_of(k, rc);
}
