/* What an operation does to the file system: see model.h. */
#include "tests/unit/fs/model.h"

/* Root's, who has the group that one without credentials is given. */
struct who {
	struct fs_once once;
	struct fs_cred cred;
	const struct fs_cred *c;
};

static void who_is(const struct model *m, const struct m_op *op, struct who *w)
{
	*w = (struct who){.cred = {.gid = m->nodes[op->dir].gid, .once = &w->once}};
	memcpy(w->once.key + 8, &op->serial, sizeof(op->serial));
	w->c = op->keyed ? &w->cred : NULL;
}

static int run_make(const struct model *m, struct fs *fs, const struct m_op *op,
		    const struct fs_cred *c, struct fs_fid *made)
{
	struct fs_setattr s = {.which = FS_SET_MODE, .mode = op->mode};
	struct fs_attr a;
	const struct fs_fid *d = &m->nodes[op->dir].fid;
	uint32_t len = (uint32_t)strlen(op->name);
	char target[M_TARGET_MAX + 1];
	int rc;
	if (op->kind == M_CREATE)
		rc = fs_create(fs, c, d, op->name, len, op->create, &s, op->fill, &a, NULL);
	else if (op->kind == M_MKNOD)
		rc = fs_mknod(fs, c, d, op->name, len, m_special(op), op->uid, op->fill, &s, &a,
			      NULL);
	else if (op->kind == M_MKDIR)
		rc = fs_mkdir(fs, c, d, op->name, len, &s, &a, NULL);
	else
		rc =
		    fs_symlink(fs, c, d, op->name, len, target, m_target(op, target), &s, &a, NULL);
	if (!rc)
		*made = fid_of(&a);
	return rc;
}

static int run_file(const struct model *m, struct fs *fs, const struct m_op *op,
		    const struct fs_cred *c)
{
	const struct fs_fid *f = &m->nodes[op->node].fid;
	if (op->kind == M_RESIZE) {
		struct fs_setattr s = {.which = FS_SET_SIZE, .size = op->size};
		return fs_setattr(fs, c, f, &s, NULL, NULL);
	}
	if (op->kind == M_ALLOCATE)
		return fs_allocate(fs, c, f, op->off, op->size, NULL);
	if (op->kind == M_PUNCH)
		return fs_deallocate(fs, c, f, op->off, op->size, NULL);
	if (op->kind == M_CLONE)
		return fs_clone_range(fs, c, &m->nodes[op->node2].fid, op->off2, f, op->off,
				      op->size, NULL);
	uint8_t *p = malloc(op->size);
	memset(p, op->fill, op->size);
	int rc = put(fs, f, op->off, p, op->size, op->stable ? FS_WRITE_FILE_SYNC : 0);
	free(p);
	return rc;
}

static int run_xattr(const struct model *m, struct fs *fs, const struct m_op *op,
		     const struct fs_cred *c)
{
	const struct fs_fid *f = &m->nodes[op->dir].fid;
	char name[256];
	uint32_t n = m_xattr_name(op->xattr, name);
	if (op->kind == M_XATTR_DEL)
		return fs_xattr_remove(fs, c, f, name, n, NULL);
	uint8_t *p = malloc(op->size + 1);
	for (uint32_t i = 0; i < op->size; i++)
		p[i] = m_xattr_byte(op->fill, i);
	int rc = fs_xattr_set(fs, c, f, name, n, p, (uint32_t)op->size, op->how, NULL);
	free(p);
	return rc;
}

static struct fs_ace ace(unsigned type, unsigned who, unsigned rwx)
{
	return (struct fs_ace){.type = (uint8_t)type,
			       .who = (uint8_t)who,
			       .id = who == FS_WHO_USER ? M_NAMED : 0,
			       .mask = (rwx & 4 ? FS_ACE_READ : 0) |
				       (rwx & 2 ? FS_ACE_WRITE | FS_ACE_APPEND : 0) |
				       (rwx & 1 ? FS_ACE_EXECUTE : 0)};
}

/* No entry of a directory's is passed on. Every third list is too long for the inode. */
static int run_acl(const struct model *m, struct fs *fs, const struct m_op *op,
		   const struct fs_cred *c)
{
	unsigned u = op->mode >> 6, g = op->mode >> 3 & 7, n = op->fill % 3 ? 0 : op->fill % 60;
	struct fs_ace a[6 + 60] = {
	    ace(FS_ACE_ALLOW, FS_WHO_OWNER, u), ace(FS_ACE_DENY, FS_WHO_OWNER, 7 & ~u),
	    ace(FS_ACE_ALLOW, FS_WHO_USER, op->uid + 1), ace(FS_ACE_ALLOW, FS_WHO_OWNER_GROUP, g),
	    ace(FS_ACE_DENY, FS_WHO_OWNER_GROUP, 7 & ~g)};
	for (unsigned i = 0; i < n; i++) {
		a[5 + i] = ace(FS_ACE_ALLOW, FS_WHO_USER, 1 + i % 7);
		a[5 + i].id = M_NAMED + 1 + i;
	}
	a[5 + n] = ace(FS_ACE_ALLOW, FS_WHO_EVERYONE, op->mode & 7);
	return fs_acl_set(fs, c, &m->nodes[op->dir].fid, a, 6 + n, NULL);
}

static int run_quota(const struct model *m, struct fs *fs, const struct m_op *op,
		     struct fs_fid *made)
{
	const struct m_node *x = &m->nodes[op->dir];
	struct fs_quota_limits l = {.set_hard[FS_QUOTA_FILES] = true};
	const uint64_t grace[] = {op->size, op->off};
	char path[64];
	uint32_t id = 0;
	int rc;
	m_tree_path(op, path);
	l.hard[FS_QUOTA_FILES] = op->size;
	switch (op->kind) {
	case M_LIMIT:
		l.set_soft[FS_QUOTA_FILES] = true;
		l.soft[FS_QUOTA_FILES] = op->off;
		return fs_quota_set(fs, m->limited % 2 ? FS_QUOTA_USER : FS_QUOTA_GROUP, m->limited,
				    &l);
	case M_GRACE:
		return fs_quota_grace_set(fs, (enum fs_quota_kind)m->grace_kind, grace);
	case M_TREE:
		rc = fs_quota_tree(fs, &x->fid, path, &id);
		made->ino = id;
		return rc;
	default:
		if (!x->tree || x->tree == m->nodes[x->parent].tree || !op->dir)
			return 0;
		if (op->size) /* far away */
			l.hard[FS_QUOTA_FILES] += 1000000;
		return fs_quota_set(fs, FS_QUOTA_TREE, x->tree, &l);
	}
}

static int run_attr(const struct model *m, struct fs *fs, const struct m_op *op,
		    const struct fs_cred *c)
{
	struct fs_setattr s = {.which = FS_SET_MODE, .mode = op->mode};
	if (op->kind == M_CHOWN)
		s = (struct fs_setattr){
		    .which = FS_SET_UID | FS_SET_GID, .uid = op->uid, .gid = op->gid};
	if (op->kind == M_TIMES)
		s = (struct fs_setattr){.which = FS_SET_ATIME | FS_SET_MTIME,
					.atime.sec = (int64_t)op->size,
					.mtime.sec = (int64_t)op->off};
	return fs_setattr(fs, c, &m->nodes[op->dir].fid, &s, NULL, NULL);
}

int model_run(const struct model *m, struct fs *fs, const struct m_op *op, struct fs_fid *made)
{
	const struct fs_fid *d = &m->nodes[op->dir].fid, *d2 = &m->nodes[op->dir2].fid;
	uint32_t len = (uint32_t)strlen(op->name), len2 = (uint32_t)strlen(op->name2);
	struct who w;
	who_is(m, op, &w);
	switch (op->kind) {
	case M_CREATE:
	case M_MKDIR:
	case M_SYMLINK:
	case M_MKNOD:
		return run_make(m, fs, op, w.c, made);
	case M_REMOVE:
		return fs_remove(fs, w.c, d, op->name, len, NULL);
	case M_RMDIR:
		return fs_rmdir(fs, w.c, d, op->name, len, NULL);
	case M_RENAME:
		return fs_rename(fs, w.c, d, op->name, len, d2, op->name2, len2, NULL, NULL);
	case M_LINK:
		return fs_link(fs, w.c, &m->nodes[op->node].fid, d, op->name, len, NULL, NULL);
	case M_CHMOD:
	case M_CHOWN:
	case M_TIMES:
		return run_attr(m, fs, op, w.c);
	case M_ACL:
		return run_acl(m, fs, op, w.c);
	case M_XATTR_SET:
	case M_XATTR_DEL:
		return run_xattr(m, fs, op, w.c);
	case M_LIMIT:
	case M_GRACE:
	case M_TREE:
	case M_TREE_LIMIT:
		return run_quota(m, fs, op, made);
	case M_OPEN:
	case M_CLOSE:
		return 0;
	default:
		return run_file(m, fs, op, w.c);
	}
}

int model_reload(struct model *m, struct fs *fs, int node)
{
	struct m_node *x = &m->nodes[node];
	struct fs_attr a;
	uint64_t at, end;
	int rc = fs_getattr(fs, &x->fid, &a);
	if (rc)
		return rc;
	if (a.size > M_SIZE)
		return -EFBIG;
	memset(x->data, 0, M_SIZE);
	memset(x->blocks, M_HOLE, sizeof(x->blocks));
	x->size = a.size;
	int64_t got = get(fs, &x->fid, 0, x->data, M_SIZE);
	if (got != (int64_t)a.size)
		return got < 0 ? (int)got : -EIO;
	for (uint64_t off = 0; !fs_seek(fs, NULL, &x->fid, off, FS_SEEK_DATA, &at); off = end) {
		rc = fs_seek(fs, NULL, &x->fid, at, FS_SEEK_HOLE, &end);
		if (rc)
			return rc;
		for (uint64_t i = at / FS_BLOCK_SIZE; i * FS_BLOCK_SIZE < end; i++)
			x->blocks[i] = M_DATA;
	}
	return 0;
}
