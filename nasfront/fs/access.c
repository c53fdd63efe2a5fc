/* Who may do what: POSIX mode bits with groups; uid 0 may all but execute what nobody may. */
#include "nasfront/fs/impl.h"
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

int inode_may(const struct fs_cred *c, const struct inode *in, unsigned want)
{
	return (want & ~inode_have(c, in)) ? -EACCES : 0;
}

/* NFSv3 has no open: the owner of a file keeps what an open gave (RFC 1813 4.4), and who may
 * execute a file must be able to read it over the wire. */
int inode_may_data(const struct fs_cred *c, const struct inode *in, unsigned want)
{
	unsigned h = inode_have(c, in);
	if (cred_root(c) || c->uid == IN32(in, I_UID))
		return 0;
	if (want == 4 && h & 5)
		return 0;
	return (want & ~h) ? -EACCES : 0;
}

int fs_access(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, unsigned want,
	      unsigned *ret_have)
{
	struct fs_attr a;
	int rc = fs_getattr(fs, f, &a);
	if (!rc)
		*ret_have = fs_access_attr(cred, &a, want);
	return rc;
}
