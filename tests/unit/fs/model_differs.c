/* Whether a file system holds what the model does: see model.h. */
#include <stdarg.h>
#include "nasfront/fs/impl.h"
#include "tests/unit/fs/model.h"

static char why[200];

__attribute__((format(printf, 1, 2))) static const char *differs(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return why;
}

/* ---- data ---- */

static bool flying_byte(const struct m_node *x, uint64_t i, uint8_t got)
{
	return i >= x->fly_off && i < x->fly_end && got == x->fly_fill;
}

/* A write in flight may have moved the end, in steps. */
static bool size_right(const struct m_node *x, uint64_t got)
{
	return got == x->size || (got > x->size && got <= x->fly_end);
}

/* Data and holes are where they were made. */
static const char *holes_differ(const struct m_node *x, struct fs *fs, int n)
{
	for (int what = FS_SEEK_DATA; what <= FS_SEEK_HOLE; what++)
		for (uint64_t i = 0; i * FS_BLOCK_SIZE < x->size; i++) {
			uint64_t off = i * FS_BLOCK_SIZE, got = 0, k = i;
			while (k * FS_BLOCK_SIZE < x->size &&
			       (x->blocks[k] == M_DATA) != (what == FS_SEEK_DATA))
				k++;
			bool end = k * FS_BLOCK_SIZE >= x->size;
			bool none = end && what == FS_SEEK_DATA;
			uint64_t want = end ? x->size : k * FS_BLOCK_SIZE;
			int rc = fs_seek(fs, NULL, &x->fid, off, (enum fs_seek_what)what, &got);
			if (none ? rc != -ENXIO : rc || got != want)
				return differs("node %d: %s from %d: rc %d, at %d not %d of %d", n,
					       what == FS_SEEK_DATA ? "data" : "hole", (int)off, rc,
					       (int)got, none ? -1 : (int)want, (int)x->size);
		}
	return NULL;
}

static const char *loose_differs(const struct m_node *x, const uint8_t *buf, int64_t got, int n)
{
	for (int64_t i = 0; i < got; i++)
		if (buf[i] && !(x->fills[buf[i] / 32] >> (buf[i] % 32) & 1))
			return differs("node %d: byte %lld is %u: never written", n, (long long)i,
				       buf[i]);
	return got < 0 ? differs("node %d: reading gives %d", n, (int)got) : NULL;
}

static const char *data_differs(const struct m_node *x, struct fs *fs, int n,
				const struct fs_attr *a)
{
	static uint8_t buf[M_SIZE];
	int64_t got = get(fs, &x->fid, 0, buf, M_SIZE);
	if (x->loose)
		return loose_differs(x, buf, got, n);
	if (got == (int64_t)x->size && !memcmp(buf, x->data, x->size))
		return x->fly_end ? NULL : holes_differ(x, fs, n);
	if (got != (int64_t)a->size)
		return differs("node %d (inode %llu): %d bytes read of %d", n,
			       (unsigned long long)a->ino, (int)got, (int)a->size);
	for (uint64_t i = 0; i < a->size; i++)
		if (buf[i] != x->data[i] && !flying_byte(x, i, buf[i]))
			return differs("node %d (inode %llu): byte %llu is %u not %u", n,
				       (unsigned long long)a->ino, (unsigned long long)i, buf[i],
				       x->data[i]);
	return NULL;
}

/* ---- attributes ---- */

static bool xattr_emit(void *arg, const char *name, uint32_t n, uint32_t len, uint64_t cookie)
{
	++*(int *)arg;
	return true;
}

static const char *xattrs_differ(const struct m_node *x, struct fs *fs, int n)
{
	static uint8_t buf[FS_XATTR_MAX];
	int want = 0, got = 0;
	bool eof;
	for (int k = 0; k < M_XATTRS; k++) {
		const struct m_xattr *a = &x->xattrs[k];
		char name[256];
		uint32_t len = 0, i = 0;
		int rc = fs_xattr_get(fs, NULL, &x->fid, name, m_xattr_name(k, name), buf,
				      sizeof(buf), &len);
		want += a->used;
		while (!rc && i < len && buf[i] == m_xattr_byte(a->fill, i))
			i++;
		if (a->used ? rc || len != a->len || i < len : rc != -ENODATA)
			return differs("node %d: attribute %d: rc %d, %u bytes not %u", n, k, rc,
				       len, a->used ? a->len : 0);
	}
	int rc = fs_xattr_list(fs, NULL, &x->fid, 0, xattr_emit, &got, &eof);
	if (rc || !eof || got != want)
		return differs("node %d: %d attributes listed of %d", n, got, want);
	return NULL;
}

static const char *link_differs(const struct m_node *x, struct fs *fs, int n)
{
	char buf[FS_SYMLINK_MAX + 1];
	uint32_t len = 0;
	int rc = fs_readlink(fs, &x->fid, buf, sizeof(buf), &len, NULL);
	if (rc || len != x->size || memcmp(buf, x->target, len))
		return differs("node %d: rc %d, leads to %u bytes not %d", n, rc, len,
			       (int)x->size);
	return NULL;
}

/* The user the lists name has the rights they give. */
static const char *rights_differ(const struct m_node *x, struct fs *fs, int n, bool acl)
{
	const struct fs_cred named = {.uid = M_NAMED, .gid = 99};
	unsigned have = 0, want = (x->mode | (x->acl ? x->named : 0)) & 7;
	int rc = fs_access(fs, &named, &x->fid, 7, &have);
	if (rc || have != want || acl != x->acl)
		return differs("node %d: rc %d, user %d has %u not %u, list %d/%d", n, rc, M_NAMED,
			       have, want, acl, x->acl);
	return NULL;
}

static const char *tree_differs(const struct m_node *x, struct fs *fs, int n)
{
	struct fs_quota q;
	uint64_t want = x->limit ? x->limit + 1000000 : 0;
	int rc = fs_quota_get(fs, FS_QUOTA_TREE, x->tree, &q);
	if (rc || q.hard[FS_QUOTA_FILES] != want || q.used[FS_QUOTA_FILES] < 1)
		return differs("node %d: tree %u: rc %d, limit %d not %d, %d used", n, x->tree, rc,
			       (int)q.hard[FS_QUOTA_FILES], (int)want, (int)q.used[FS_QUOTA_FILES]);
	return NULL;
}

static const char *node_differs(const struct model *m, struct fs *fs, int n, bool data)
{
	const struct m_node *x = &m->nodes[n];
	struct fs_attr a = {0};
	const char *d;
	int rc = fs_getattr(fs, &x->fid, &a);
	if (rc || (int)a.nlink != x->nlink || (!x->is_dir && !x->loose && !size_right(x, a.size)) ||
	    a.mode != x->mode || a.uid != x->uid || a.gid != x->gid)
		return differs("node %d: rc %d nlink %d/%d size %d/%d mode %o/%o", n, rc,
			       (int)a.nlink, x->nlink, (int)a.size, (int)x->size, a.mode, x->mode);
	if (x->atime && a.atime.sec != x->atime)
		return differs("node %d: atime %lld not %lld", n, (long long)a.atime.sec,
			       (long long)x->atime);
	if (x->is_special && (a.type != (enum fs_type)x->type || a.rdev_major != x->major ||
			      a.rdev_minor != x->minor))
		return differs("node %d: type %d not %d", n, (int)a.type, x->type);
	if ((d = rights_differ(x, fs, n, a.acl)))
		return d;
	if (n && x->is_dir && x->tree && x->tree != m->nodes[x->parent].tree &&
	    (d = tree_differs(x, fs, n)))
		return d;
	if (!data)
		return NULL;
	if (x->is_link)
		return link_differs(x, fs, n);
	if (!x->is_special && (d = xattrs_differ(x, fs, n)))
		return d;
	return x->data ? data_differs(x, fs, n, &a) : NULL;
}

/* ---- names and limits ---- */

/* The root and the holders of trees are in the root block. */
unsigned files_in_use(struct fs *fs)
{
	struct fs_statfs st;
	struct buf *root;
	ck_assert_int_eq(fs_statfs(fs, &st), 0);
	ck_assert_int_eq(meta_get(fs, fs->root_block, BT_INODES, 0, &root), 0);
	unsigned n = (unsigned)(st.total_files - st.free_files);
	for (unsigned i = 0; i < INODES_PER_BLOCK; i++)
		n -= root->data[H_SIZE + i * INODE_SIZE + I_TYPE] != 0;
	return n;
}

static bool count_emit(void *arg, const char *name, uint32_t len, uint64_t ino, uint64_t cookie,
		       const struct fs_attr *attr)
{
	++*(int *)arg;
	return true;
}

static const char *dir_differs(const struct model *m, struct fs *fs, int n)
{
	int got = 0, want = 2;
	bool eof = false;
	for (int k = 0; k < M_NAMES; k++)
		want += m->names[k].used && m->names[k].dir == n;
	int rc = fs_readdir(fs, NULL, &m->nodes[n].fid, 0, false, count_emit, &got, &eof, NULL);
	if (rc || !eof || got != want)
		return differs("directory %d: rc %d, %d entries not %d", n, rc, got, want);
	return NULL;
}

static const char *limits_differ(const struct model *m, struct fs *fs)
{
	struct fs_quota q = {0};
	uint64_t grace[FS_QUOTA_UNITS];
	int rc = fs_quota_get(fs, m->limited % 2 ? FS_QUOTA_USER : FS_QUOTA_GROUP, m->limited, &q);
	if (rc || q.hard[FS_QUOTA_FILES] != m->limit || q.soft[FS_QUOTA_FILES] != m->soft)
		return differs("limit: rc %d, %d not %d, %d not %d", rc,
			       (int)q.hard[FS_QUOTA_FILES], (int)m->limit,
			       (int)q.soft[FS_QUOTA_FILES], (int)m->soft);
	if (!m->grace)
		return NULL;
	rc = fs_quota_grace(fs, (enum fs_quota_kind)m->grace_kind, grace);
	if (rc || grace[FS_QUOTA_BYTES] != m->grace)
		return differs("grace: rc %d, %d not %d", rc, (int)grace[FS_QUOTA_BYTES],
			       (int)m->grace);
	return NULL;
}

const char *model_differs(const struct model *m, struct fs *fs, bool data)
{
	const char *d = limits_differ(m, fs);
	for (int i = 0; i < M_NODES && !d; i++) {
		if (m->nodes[i].used)
			d = node_differs(m, fs, i, data);
		if (m->nodes[i].used && m->nodes[i].is_dir && !d)
			d = dir_differs(m, fs, i);
	}
	for (int k = 0; k < M_NAMES && !d; k++) {
		const struct m_name *e = &m->names[k];
		struct fs_attr a;
		if (!e->used)
			continue;
		int rc = find(fs, &m->nodes[e->dir].fid, e->name, &a);
		if (rc || a.ino != m->nodes[e->node].fid.ino)
			d = differs("name %s in %d: rc %d", e->name, e->dir, rc);
	}
	return d;
}
