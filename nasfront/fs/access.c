/*
 * Who may do what: the access control list where there is one, else POSIX mode bits with groups;
 * uid 0 may all but execute what nobody may.
 */
#include "nasfront/fs/acl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>

bool cred_root(const struct fs_cred *c)
{
	return !c || c->uid == 0;
}

static bool list_has(const struct fs_cred *c, uint32_t gid)
{
	uint32_t lo = 0, hi = c->nlist;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (c->list[mid] < gid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < c->nlist && c->list[lo] == gid && (gid || !c->no_gid0);
}

bool cred_in_group(const struct fs_cred *c, uint32_t gid)
{
	if (!c || c->gid == gid)
		return true;
	if (c->list)
		return list_has(c, gid);
	for (uint32_t i = 0; i < c->ngroups && i < FS_GROUPS_MAX; i++)
		if (c->groups[i] == gid)
			return true;
	return false;
}

static unsigned have(const struct fs_cred *c, enum fs_type type, uint32_t mode, uint32_t uid,
		     uint32_t gid)
{
	if (cred_root(c))
		return type == FS_DIR || mode & 0111 ? 7 : 6;
	if (c->uid == uid)
		return mode >> 6 & 7;
	return cred_in_group(c, gid) ? mode >> 3 & 7 : mode & 7;
}

unsigned fs_access_attr(const struct fs_cred *c, const struct fs_attr *a, unsigned want)
{
	return want & have(c, a->type, a->mode, a->uid, a->gid);
}

static unsigned inode_have(const struct fs_cred *c, const struct inode *in)
{
	return have(c, IN_TYPE(in), IN32(in, I_MODE), IN32(in, I_UID), IN32(in, I_GID));
}

uint32_t mode_without_setid(uint32_t mode)
{
	/* Set-gid without group execute means mandatory locking. */
	return mode & (mode & 010 ? ~06000u : ~04000u);
}

bool inode_drop_setid(const struct fs_cred *c, struct inode *in)
{
	uint32_t mode = IN32(in, I_MODE);
	if (cred_root(c) || mode == mode_without_setid(mode))
		return false;
	IN_SET32(in, I_MODE, mode_without_setid(mode));
	return true;
}

static uint32_t rights_of(unsigned want)
{
	static const uint32_t masks[] = {FS_ACE_WRITE,	   FS_ACE_APPEND,      FS_ACE_DELETE_CHILD,
					 FS_ACE_WRITE_ACL, FS_ACE_WRITE_OWNER, FS_ACE_WRITE_ATTRS,
					 FS_ACE_DELETE};
	uint32_t m = acl_rights(want & 7, false);
	for (unsigned i = 0; i < ARRAY_LEN(masks); i++)
		if (want & (MAY_ADD_FILE << i))
			m |= masks[i];
	return m;
}

/* What the mode says of rights it has no bits for: all may look, owners may change. */
#define RIGHTS_ALL   (FS_ACE_READ_XATTRS | FS_ACE_READ_ATTRS | FS_ACE_READ_ACL | FS_ACE_SYNCHRONIZE)
#define RIGHTS_OWNER (RIGHTS_ALL | FS_ACE_WRITE_ATTRS | FS_ACE_WRITE_ACL)

int inode_rights(const struct fs_cred *c, const struct inode *in, uint32_t want, uint32_t *ret)
{
	struct inode copy = *in;
	struct fs_ace a[FS_ACL_ROOM];
	bool dir = IN_TYPE(in) == FS_DIR;
	unsigned n;
	uint32_t own = cred_root(c) || c->uid == IN32(in, I_UID) ? RIGHTS_OWNER : 0;
	if (cred_root(c)) {
		*ret = want & (inode_have(c, in) & 1 ? FS_ACE_MASK : FS_ACE_MASK & ~FS_ACE_EXECUTE);
		return 0;
	}
	if (!acl_has(in)) {
		*ret = want & (acl_rights(inode_have(c, in), dir) | RIGHTS_ALL | own);
		return 0;
	}
	int rc = acl_load(&copy, a, &n);
	if (rc)
		return rc == -ENODATA ? -ERR_CORRUPT : rc;
	*ret = want & (own | acl_grants(a, n, c, IN32(in, I_UID), IN32(in, I_GID), want));
	return 0;
}

int inode_may(const struct fs_cred *c, const struct inode *in, unsigned want)
{
	uint32_t rights, have;
	if (!acl_has(in) && want <= 7)
		return (want & ~inode_have(c, in)) ? -EACCES : 0;
	rights = rights_of(want);
	int rc = inode_rights(c, in, rights, &have);
	return rc ? rc : (rights & ~have) ? -EACCES : 0;
}

/* NFSv3 has no open: the owner of a file keeps what an open gave (RFC 1813 4.4), and who may
 * execute a file must be able to read it over the wire. */
int inode_may_data(const struct fs_cred *c, const struct inode *in, unsigned want)
{
	if (cred_root(c) || c->uid == IN32(in, I_UID))
		return 0;
	int rc = inode_may(c, in, want);
	return rc == -EACCES && want == 4 ? inode_may(c, in, 1) : rc;
}

struct access_args {
	const struct fs_cred *cred;
	const struct fs_fid *f;
	unsigned want, *ret_have;
};

static int access_body(struct fs *fs, const struct access_args *a)
{
	struct inode in;
	int rc = inode_get_fid(fs, a->f, &in);
	unsigned have = 0;
	for (unsigned bit = 1; bit <= 4 && !rc; bit <<= 1) {
		rc = a->want & bit ? inode_may(a->cred, &in, bit) : -EACCES;
		if (!rc)
			have |= bit;
		if (rc == -EACCES)
			rc = 0;
	}
	if (!rc)
		*a->ret_have = have;
	return rc;
}

int fs_access(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, unsigned want,
	      unsigned *ret_have)
{
	struct access_args a = {cred, f, want, ret_have};
	struct op op;
	int rc;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, access_body(fs, &a));
	op_end(&op);
	return rc;
}
