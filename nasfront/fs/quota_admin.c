/* Quotas as an administrator sees them: limits, grace times, trees; and what a tree leaves free. */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>

static void record_get(const uint8_t *v, unsigned len, uint32_t id, struct fs_quota *q)
{
	unsigned n = MIN(len - Q_SIZE, (unsigned)FS_QUOTA_PATH_MAX);
	*q = (struct fs_quota){.id = id};
	for (unsigned i = 0; i < FS_QUOTA_UNITS; i++) {
		uint64_t unit = i == FS_QUOTA_BYTES ? BS : 1;
		q->used[i] = le64_get(v + Q_USED + 8 * i) * unit;
		q->soft[i] = le64_get(v + Q_SOFT + 8 * i) * unit;
		q->hard[i] = le64_get(v + Q_HARD + 8 * i) * unit;
		q->until[i] = le64_get(v + Q_UNTIL + 8 * i);
	}
	memcpy(q->path, v + Q_SIZE, n);
}

/* ---- reading ---- */

static int next_body(struct fs *fs, enum fs_quota_kind kind, uint32_t id, struct fs_quota *ret)
{
	struct inode holder;
	struct tree t;
	struct tree_pos pos;
	unsigned len;
	int rc = quota_records(fs, &holder, &t);
	if (!rc)
		rc = tree_seek(&t, quota_key(kind, id), &pos);
	if (rc)
		return rc;
	if (tree_key(&pos) >> 32 != (uint64_t)kind)
		return -ENOENT;
	const uint8_t *v = tree_value(&pos, &len);
	if (len < Q_SIZE)
		return -ERR_CORRUPT;
	record_get(v, len, (uint32_t)tree_key(&pos), ret);
	return 0;
}

int fs_quota_next(struct fs *fs, enum fs_quota_kind kind, uint32_t id, struct fs_quota *ret)
{
	struct op op;
	int rc;
	CHECK(fs, FS_MAGIC);
	if (fs->quota_off)
		return -ERR_CORRUPT;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, next_body(fs, kind, id, ret));
	op_end(&op);
	return rc;
}

int fs_quota_get(struct fs *fs, enum fs_quota_kind kind, uint32_t id, struct fs_quota *ret)
{
	int rc = fs_quota_next(fs, kind, id, ret);
	if ((rc && rc != -ENOENT) || (!rc && ret->id == id))
		return rc;
	*ret = (struct fs_quota){.id = id};
	return kind == FS_QUOTA_TREE ? -ENOENT : 0;
}

/* ---- limits ---- */

struct limit_args {
	enum fs_quota_kind kind;
	uint32_t id;
	const struct fs_quota_limits *l;
};

/* A new soft limit that is passed already: its grace time begins with the next growth. */
static int limits_put(uint8_t *v, const struct fs_quota_limits *l)
{
	for (unsigned i = 0; i < FS_QUOTA_UNITS; i++) {
		uint64_t unit = i == FS_QUOTA_BYTES ? BS : 1;
		uint64_t soft = le64_get(v + Q_SOFT + 8 * i), hard = le64_get(v + Q_HARD + 8 * i);
		if (l->set_soft[i])
			soft = l->soft[i] / unit + (l->soft[i] % unit != 0);
		if (l->set_hard[i])
			hard = l->hard[i] / unit + (l->hard[i] % unit != 0);
		if (soft && hard && soft > hard)
			return -EINVAL;
		le64_put(v + Q_SOFT + 8 * i, soft);
		le64_put(v + Q_HARD + 8 * i, hard);
		if (!soft || le64_get(v + Q_USED + 8 * i) <= soft || l->set_soft[i])
			le64_put(v + Q_UNTIL + 8 * i, 0);
	}
	return 0;
}

static int set_body(struct fs *fs, const struct limit_args *a)
{
	struct inode holder;
	struct tree t;
	struct tree_pos pos;
	uint8_t v[Q_SIZE] = {0}, *at;
	uint64_t key = quota_key(a->kind, a->id);
	int rc = quota_records(fs, &holder, &t);
	if (!rc)
		rc = quota_find(&t, key, &pos, &at);
	bool made = rc == -ENOENT;
	if (rc && (!made || a->kind == FS_QUOTA_TREE))
		return rc;
	if (!made)
		memcpy(v, at, Q_SIZE);
	rc = limits_put(v, a->l);
	if (rc)
		return rc;
	if (made)
		return quota_is_empty(v) ? 0 : tree_insert(&t, key, v, Q_SIZE);
	if (quota_is_empty(v))
		return tree_delete(&t, key);
	tree_touch_value(&t, &pos);
	memcpy(at, v, Q_SIZE);
	return 0;
}

int fs_quota_set(struct fs *fs, enum fs_quota_kind kind, uint32_t id,
		 const struct fs_quota_limits *l)
{
	struct limit_args a = {kind, id, l};
	struct op op;
	int rc;
	CHECK(fs, FS_MAGIC);
	if (fs->quota_off)
		return -ERR_CORRUPT;
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, set_body(fs, &a));
	return op_commit(&op, rc);
}

/* ---- grace times ---- */

static int grace_body(struct fs *fs, enum fs_quota_kind kind, uint64_t *ret)
{
	struct inode holder;
	struct tree t;
	struct tree_pos pos;
	uint8_t *v;
	int rc = quota_records(fs, &holder, &t);
	if (!rc)
		rc = quota_find(&t, quota_key(0, kind), &pos, &v);
	for (unsigned i = 0; i < FS_QUOTA_UNITS && (!rc || rc == -ENOENT); i++)
		ret[i] = rc ? QUOTA_GRACE : le64_get(v + 8 * i);
	return rc == -ENOENT ? 0 : rc;
}

int fs_quota_grace(struct fs *fs, enum fs_quota_kind kind, uint64_t ret[FS_QUOTA_UNITS])
{
	struct op op;
	int rc;
	CHECK(fs, FS_MAGIC);
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, grace_body(fs, kind, ret));
	op_end(&op);
	return rc;
}

static int grace_set_body(struct fs *fs, enum fs_quota_kind kind, const uint64_t *grace)
{
	struct inode holder;
	struct tree t;
	uint8_t v[Q_SIZE] = {0};
	uint64_t key = quota_key(0, kind);
	int rc = quota_records(fs, &holder, &t);
	if (!rc)
		rc = tree_delete(&t, key);
	if (rc && rc != -ENOENT)
		return rc;
	for (unsigned i = 0; i < FS_QUOTA_UNITS; i++)
		le64_put(v + 8 * i, grace[i]);
	return tree_insert(&t, key, v, Q_SIZE);
}

int fs_quota_grace_set(struct fs *fs, enum fs_quota_kind kind, const uint64_t grace[FS_QUOTA_UNITS])
{
	struct op op;
	int rc;
	CHECK(fs, FS_MAGIC);
	if (fs->quota_off)
		return -ERR_CORRUPT;
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, grace_set_body(fs, kind, grace));
	return op_commit(&op, rc);
}

/* ---- trees ---- */

struct tree_args {
	const struct fs_fid *dir;
	const char *path;
	uint32_t id;
};

/* One more than the highest id. */
static int tree_id(struct tree *t, uint32_t *ret)
{
	struct tree_pos pos;
	int rc = tree_seek_le(t, quota_key(FS_QUOTA_TREE, UINT32_MAX), &pos);
	*ret = 1;
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (tree_key(&pos) >> 32 == FS_QUOTA_TREE)
		*ret = (uint32_t)tree_key(&pos) + 1;
	return *ret ? 0 : -ENOSPC;
}

static int tree_body(struct fs *fs, struct tree_args *a)
{
	struct inode holder, dir, parent;
	struct tree t;
	uint8_t v[Q_SIZE + FS_QUOTA_PATH_MAX] = {0};
	size_t len = strnlen(a->path, FS_QUOTA_PATH_MAX);
	int rc = inode_get_dir(fs, a->dir, &dir);
	if (rc || dir.ino == FS_ROOT_INO)
		return rc ? rc : -EINVAL;
	rc = inode_get(fs, IN64(&dir, I_PARENT), &parent);
	if (!rc)
		rc = quota_records(fs, &holder, &t);
	if (rc)
		return rc == -ESTALE ? -ERR_CORRUPT : rc;
	if (IN32(&dir, I_TREE) != IN32(&parent, I_TREE))
		return -EEXIST;
	if (IN64(&dir, I_ENTRIES))
		return -ENOTEMPTY;
	rc = tree_id(&t, &a->id);
	if (rc)
		return rc;
	memcpy(v + Q_SIZE, a->path, len);
	rc = tree_insert(&t, quota_key(FS_QUOTA_TREE, a->id), v, (unsigned)(Q_SIZE + len));
	if (rc)
		return rc;
	quota_move(&dir, I_TREE, a->id); /* the use of the record that was just made */
	inode_stamp(&dir, STAMP_CTIME);
	IN_SET32(&dir, I_TREE, a->id);
	return 0;
}

int fs_quota_tree(struct fs *fs, const struct fs_fid *dir, const char *path, uint32_t *ret_id)
{
	struct tree_args a = {.dir = dir, .path = path};
	struct op op;
	int rc;
	CHECK(fs, FS_MAGIC);
	if (fs->quota_off)
		return -ERR_CORRUPT;
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, tree_body(fs, &a));
	*ret_id = a.id;
	return op_commit(&op, rc);
}

/* ---- what is free ---- */

/* Whose records a file counts in, by kind. */
struct holders {
	uint32_t id[FS_QUOTA_TREE + 1];
};

static int holders_body(struct fs *fs, const struct fs_fid *f, struct holders *ret)
{
	struct inode in;
	int rc = inode_get_fid(fs, f, &in);
	if (rc)
		return rc;
	ret->id[FS_QUOTA_USER] = IN32(&in, I_UID);
	ret->id[FS_QUOTA_GROUP] = IN32(&in, I_GID);
	ret->id[FS_QUOTA_TREE] = IN32(&in, I_TREE);
	return 0;
}

static int holders_get(struct fs *fs, const struct fs_fid *f, struct holders *ret)
{
	struct op op;
	int rc;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, holders_body(fs, f, ret));
	op_end(&op);
	return rc;
}

static uint64_t left(const struct fs_quota *q, unsigned unit, uint64_t limit)
{
	return limit > q->used[unit] ? limit - q->used[unit] : 0;
}

int fs_statfs_at(struct fs *fs, const struct fs_fid *f, struct fs_statfs *ret)
{
	struct fs_quota q;
	struct holders h;
	int rc = fs_statfs(fs, ret);
	if (rc)
		return rc;
	rc = holders_get(fs, f, &h);
	if (rc || !h.id[FS_QUOTA_TREE] || fs->quota_off)
		return rc;
	rc = fs_quota_get(fs, FS_QUOTA_TREE, h.id[FS_QUOTA_TREE], &q);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	uint64_t bytes = q.hard[FS_QUOTA_BYTES] ? q.hard[FS_QUOTA_BYTES] : q.soft[FS_QUOTA_BYTES];
	uint64_t files = q.hard[FS_QUOTA_FILES] ? q.hard[FS_QUOTA_FILES] : q.soft[FS_QUOTA_FILES];
	if (bytes && bytes < ret->total_bytes) {
		ret->total_bytes = bytes;
		ret->free_bytes = MIN(ret->free_bytes, left(&q, FS_QUOTA_BYTES, bytes));
		ret->avail_bytes = MIN(ret->avail_bytes, left(&q, FS_QUOTA_BYTES, bytes));
	}
	if (files && files < ret->total_files) {
		ret->total_files = files;
		ret->free_files = MIN(ret->free_files, left(&q, FS_QUOTA_FILES, files));
	}
	return 0;
}

/* One record's part. *nearest: what the nearest limit so far leaves. */
static void room_take(const struct fs *fs, const struct fs_quota *q, struct fs_quota_room *r,
		      uint64_t *nearest)
{
	uint64_t hard = q->hard[FS_QUOTA_BYTES], soft = q->soft[FS_QUOTA_BYTES],
		 until = q->until[FS_QUOTA_BYTES], now = env_realtime_ns(fs->env) / NS_PER_S,
		 to_hard = hard ? left(q, FS_QUOTA_BYTES, hard) : UINT64_MAX,
		 to_soft = soft ? left(q, FS_QUOTA_BYTES, soft) : UINT64_MAX;
	/* A soft limit whose grace time is over holds as a hard one does. */
	if (until && now >= until)
		to_hard = 0;
	r->hard = MIN(r->hard, to_hard);
	r->soft = MIN(r->soft, MIN(to_soft, to_hard));
	if (MIN(to_soft, to_hard) < *nearest) {
		*nearest = MIN(to_soft, to_hard);
		r->used = q->used[FS_QUOTA_BYTES];
	}
}

int fs_quota_at(struct fs *fs, const struct fs_fid *f, struct fs_quota_room *ret)
{
	struct holders h;
	struct fs_statfs s;
	struct fs_quota q;
	uint64_t nearest = UINT64_MAX;
	CHECK(fs, FS_MAGIC);
	int rc = fs_statfs(fs, &s);
	if (!rc)
		rc = holders_get(fs, f, &h);
	if (rc)
		return rc;
	*ret = (struct fs_quota_room){.hard = s.avail_bytes, .soft = s.avail_bytes};
	for (unsigned kind = FS_QUOTA_USER; kind <= FS_QUOTA_TREE && !fs->quota_off; kind++) {
		if (kind == FS_QUOTA_TREE && !h.id[kind])
			continue;
		rc = fs_quota_get(fs, kind, h.id[kind], &q);
		if (rc && rc != -ENOENT) /* a tree's that is neither used nor limited */
			return rc;
		if (rc)
			continue;
		if (kind == FS_QUOTA_USER)
			ret->used = q.used[FS_QUOTA_BYTES];
		room_take(fs, &q, ret, &nearest);
	}
	return 0;
}
