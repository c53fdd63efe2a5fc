/* The model file system: see model.h. */
#include "tests/unit/fs/model.h"

static uint64_t rnd(struct model *m, uint64_t below)
{
	m->rnd ^= m->rnd << 13;
	m->rnd ^= m->rnd >> 7;
	m->rnd ^= m->rnd << 17;
	return (m->rnd * 0x2545f4914f6cdd1dull >> 33) % below;
}

struct model *model_new(uint64_t seed)
{
	struct model *m = calloc(1, sizeof(*m));
	m->rnd = seed * 0x9e3779b97f4a7c15ull + 1;
	m->limited = 5000 + (uint32_t)seed;
	m->nodes[0] = (struct m_node){.used = true, .is_dir = true, .nlink = 2, .mode = 0777};
	m->nodes[0].fid = root_fid;
	return m;
}

struct model *model_copy(const struct model *m)
{
	struct model *n = malloc(sizeof(*n));
	*n = *m;
	for (int i = 0; i < M_NODES; i++) {
		if (!n->nodes[i].data)
			continue;
		n->nodes[i].data = malloc(M_SIZE);
		memcpy(n->nodes[i].data, m->nodes[i].data, M_SIZE);
	}
	return n;
}

void model_free(struct model *m)
{
	for (int i = 0; i < M_NODES; i++)
		free(m->nodes[i].data);
	free(m);
}

static struct m_name *name_find(struct model *m, int dir, const char *name)
{
	for (int i = 0; i < M_NAMES; i++)
		if (m->names[i].used && m->names[i].dir == dir && !strcmp(m->names[i].name, name))
			return &m->names[i];
	return NULL;
}

static int any_node(struct model *m, bool dir)
{
	for (int i = 0; i < 50; i++) {
		int n = (int)rnd(m, M_NODES);
		if (m->nodes[n].used && m->nodes[n].is_dir == dir && (dir || !m->nodes[n].is_link))
			return n;
	}
	return dir ? 0 : -1;
}

static void any_name(struct model *m, char *to)
{
	uint64_t k = rnd(m, 60);
	snprintf(to, 32, k % 3 ? "f%llu" : "a-rather-longer-name-%llu", (unsigned long long)k);
}

/* Mostly a name that exists. */
static void some_name(struct model *m, int *dir, char *to)
{
	for (int i = 0; i < 30 && rnd(m, 10); i++) {
		struct m_name *n = &m->names[rnd(m, M_NAMES)];
		if (!n->used)
			continue;
		*dir = n->dir;
		strcpy(to, n->name);
		return;
	}
	*dir = any_node(m, true);
	any_name(m, to);
}

static bool nearly_full(const struct model *m)
{
	int nodes = 0, names = 0;
	for (int i = 0; i < M_NODES; i++)
		nodes += !m->nodes[i].used;
	for (int i = 0; i < M_NAMES; i++)
		names += !m->names[i].used;
	return nodes < 8 || names < 8; /* some may be in flight */
}

bool m_is_data(enum m_kind k)
{
	return k == M_WRITE || k == M_RESIZE || k == M_ALLOCATE || k == M_PUNCH || k == M_CLONE;
}

/* Mostly one that can be done. */
static void plan_clone(struct model *m, struct m_op *op)
{
	op->node2 = any_node(m, false);
	if (op->node2 < 0)
		op->node2 = op->node;
	const struct m_node *x = &m->nodes[op->node], *from = &m->nodes[op->node2];
	op->off &= ~4095ull;
	op->off2 = from->size ? rnd(m, from->size) & ~4095ull : 0;
	uint64_t most = from->size - op->off2;
	op->size = (op->size + 4095) & ~4095ull;
	if (op->size > most)
		op->size = most;
	if (op->off + op->size > M_SIZE)
		op->off = (M_SIZE - op->size) & ~4095ull;
	if (op->off + op->size < x->size && rnd(m, 8))
		op->size &= ~4095ull;
}

void m_fills(struct model *m, const struct m_op *op)
{
	struct m_node *x = &m->nodes[op->node];
	if (op->kind == M_WRITE)
		x->fills[op->fill / 32] |= 1u << (op->fill % 32);
	for (int i = 0; i < 8 && op->kind == M_CLONE; i++)
		x->fills[i] |= m->nodes[op->node2].fills[i];
}

void model_plan(struct model *m, struct m_op *op)
{
	static const uint8_t weights[M_KINDS] = {
	    [M_CREATE] = 20,   [M_MKDIR] = 6, [M_SYMLINK] = 3,	[M_REMOVE] = 12, [M_RMDIR] = 4,
	    [M_RENAME] = 12,   [M_LINK] = 5,  [M_WRITE] = 30,	[M_RESIZE] = 6,	 [M_CHMOD] = 4,
	    [M_CHOWN] = 6,     [M_LIMIT] = 2, [M_ALLOCATE] = 6, [M_PUNCH] = 6,	 [M_XATTR_SET] = 14,
	    [M_XATTR_DEL] = 5, [M_ACL] = 5,   [M_CLONE] = 14};
	uint64_t w = rnd(m, 160);
	memset(op, 0, sizeof(*op));
	for (int k = 0; k < M_KINDS; w -= weights[k++]) {
		op->kind = (enum m_kind)k;
		if (w < weights[k])
			break;
	}
	if (nearly_full(m) && (op->kind <= M_SYMLINK || op->kind == M_LINK))
		op->kind = M_REMOVE;
	op->dir = any_node(m, true);
	op->dir2 = any_node(m, true);
	any_name(m, op->name);
	any_name(m, op->name2);
	if (op->kind == M_REMOVE || op->kind == M_RMDIR || op->kind == M_RENAME)
		some_name(m, &op->dir, op->name);
	op->node = any_node(m, false);
	if (op->node < 0 && (m_is_data(op->kind) || op->kind == M_LINK))
		op->kind = M_REMOVE;
	op->fill = (uint8_t)(1 + rnd(m, 255));
	if (op->fill == M_NEVER)
		op->fill--;
	op->stable = rnd(m, 3) == 0;
	op->mode = (uint32_t)rnd(m, 01000);
	op->uid = (uint32_t)rnd(m, 6);
	op->gid = (uint32_t)rnd(m, 3);
	op->off = rnd(m, M_SIZE - 1);
	op->size = 1 + rnd(m, rnd(m, 4) ? 9000 : M_SIZE);
	if (rnd(m, 3) == 0) {
		op->off &= ~4095ull;
		op->size = (op->size + 4095) & ~4095ull;
	}
	if (op->off + op->size > M_SIZE)
		op->size = M_SIZE - op->off;
	if (op->kind == M_RESIZE)
		op->size = rnd(m, M_SIZE);
	if (op->kind == M_CLONE)
		plan_clone(m, op);
	if (op->kind == M_XATTR_SET) {
		static const uint32_t most[] = {60,  60,  60,  60,  60,	 60,  60,   60,
						200, 200, 200, 200, 400, 400, 6000, 65536};
		op->size = rnd(m, most[rnd(m, 16)] + 1);
	}
	op->how = rnd(m, 3) ? FS_XATTR_EITHER : rnd(m, 2) ? FS_XATTR_CREATE : FS_XATTR_REPLACE;
	op->xattr = (int)rnd(m, M_XATTRS);
	if ((op->kind == M_CHOWN || op->kind == M_XATTR_SET || op->kind == M_XATTR_DEL ||
	     op->kind == M_ACL || (op->kind == M_CHMOD && rnd(m, 2))) &&
	    op->node >= 0 && rnd(m, 4))
		op->dir = op->node; /* mostly of files */
	m->ops++;
}

/* ---- on the model ---- */

static int node_new(struct model *m)
{
	for (int i = 1; i < M_NODES; i++)
		if (!m->nodes[i].used)
			return i;
	return -1;
}

static int name_new(struct model *m, int dir, const char *name, int node)
{
	for (int i = 0; i < M_NAMES; i++)
		if (!m->names[i].used) {
			m->names[i] = (struct m_name){.used = true, .dir = dir, .node = node};
			strcpy(m->names[i].name, name);
			return 0;
		}
	return -1;
}

static void node_drop(struct model *m, int n)
{
	struct m_node *x = &m->nodes[n];
	if (x->is_dir)
		m->nodes[x->parent].nlink--;
	else if (--x->nlink > 0)
		return;
	free(x->data);
	*x = (struct m_node){0};
}

static bool dir_empty(struct model *m, int dir)
{
	for (int i = 0; i < M_NAMES; i++)
		if (m->names[i].used && m->names[i].dir == dir)
			return false;
	return true;
}

static int apply_make(struct model *m, const struct m_op *op, const struct fs_fid *made)
{
	if (name_find(m, op->dir, op->name))
		return -EEXIST;
	int n = node_new(m);
	struct m_node *x = &m->nodes[n];
	*x = (struct m_node){
	    .used = true, .fid = *made, .nlink = 1, .mode = op->mode, .gid = m->nodes[op->dir].gid};
	x->is_dir = op->kind == M_MKDIR;
	x->is_link = op->kind == M_SYMLINK;
	if (x->is_dir) {
		x->nlink = 2;
		x->parent = op->dir;
		m->nodes[op->dir].nlink++;
	} else if (!x->is_link) {
		x->data = calloc(1, M_SIZE);
	} else {
		x->size = strlen(op->name2);
		x->mode = op->mode;
	}
	return name_new(m, op->dir, op->name, n);
}

static int apply_remove(struct model *m, const struct m_op *op)
{
	struct m_name *e = name_find(m, op->dir, op->name);
	if (!e)
		return -ENOENT;
	bool is_dir = m->nodes[e->node].is_dir;
	if (is_dir != (op->kind == M_RMDIR))
		return is_dir ? -EISDIR : -ENOTDIR;
	if (is_dir && !dir_empty(m, e->node))
		return -ENOTEMPTY;
	node_drop(m, e->node);
	e->used = false;
	return 0;
}

static int apply_rename(struct model *m, const struct m_op *op)
{
	struct m_name *e = name_find(m, op->dir, op->name), *t = name_find(m, op->dir2, op->name2);
	if (!e)
		return -ENOENT;
	struct m_node *x = &m->nodes[e->node];
	if (t && t->node == e->node)
		return 0;
	if (x->is_dir && op->dir != op->dir2)
		for (int d = op->dir2; d; d = m->nodes[d].parent)
			if (d == e->node)
				return -EINVAL;
	if (t && m->nodes[t->node].is_dir != x->is_dir)
		return x->is_dir ? -ENOTDIR : -EISDIR;
	if (t && x->is_dir && !dir_empty(m, t->node))
		return -ENOTEMPTY;
	if (t) {
		node_drop(m, t->node);
		t->used = false;
	}
	if (x->is_dir) {
		m->nodes[op->dir].nlink--;
		m->nodes[op->dir2].nlink++;
		x->parent = op->dir2;
	}
	e->dir = op->dir2;
	strcpy(e->name, op->name2);
	return 0;
}

static void blocks_set(struct m_node *x, uint64_t from, uint64_t to, enum m_block what)
{
	for (uint64_t i = from; i < to; i++)
		if (what != M_SET_ASIDE || x->blocks[i] == M_HOLE)
			x->blocks[i] = (uint8_t)what;
}

static void apply_space(struct m_node *x, const struct m_op *op)
{
	uint64_t end = op->off + op->size;
	if (op->kind == M_ALLOCATE) {
		blocks_set(x, op->off / FS_BLOCK_SIZE, (end + FS_BLOCK_SIZE - 1) / FS_BLOCK_SIZE,
			   M_SET_ASIDE);
		if (end > x->size)
			x->size = end;
		return;
	}
	if (op->off >= x->size)
		return;
	memset(x->data + op->off, 0, op->size);
	if (end >= x->size) /* what is past the end goes too */
		end = x->size + FS_BLOCK_SIZE - 1;
	blocks_set(x, (op->off + FS_BLOCK_SIZE - 1) / FS_BLOCK_SIZE, end / FS_BLOCK_SIZE, M_HOLE);
}

static int apply_clone(struct model *m, const struct m_op *op)
{
	struct m_node *x = &m->nodes[op->node];
	const struct m_node *from = &m->nodes[op->node2];
	uint64_t size = op->size ? op->size : from->size - op->off2, end = op->off + size;
	uint64_t blocks = (size + FS_BLOCK_SIZE - 1) / FS_BLOCK_SIZE,
		 gap = op->off > op->off2 ? op->off - op->off2 : op->off2 - op->off;
	if (end > M_SIZE)
		abort(); /* not planned */
	if (size % FS_BLOCK_SIZE && op->off2 + size != from->size)
		return -EINVAL;
	if (x == from && gap < blocks * FS_BLOCK_SIZE)
		return -EINVAL;
	/* whole blocks: zeros lie behind the source's end */
	memcpy(x->data + op->off, from->data + op->off2, blocks * FS_BLOCK_SIZE);
	for (uint64_t i = 0; i < blocks; i++)
		x->blocks[op->off / FS_BLOCK_SIZE + i] =
		    from->blocks[op->off2 / FS_BLOCK_SIZE + i] == M_DATA ? M_DATA : M_HOLE;
	if (size && end > x->size)
		x->size = end;
	m_fills(m, op);
	return 0;
}

static int apply_file(struct model *m, const struct m_op *op)
{
	struct m_node *x = &m->nodes[op->node];
	if (op->kind == M_CLONE)
		return apply_clone(m, op);
	if (op->kind == M_ALLOCATE || op->kind == M_PUNCH) {
		apply_space(x, op);
	} else if (op->kind == M_WRITE) {
		memset(x->data + op->off, op->fill, op->size);
		m_fills(m, op);
		blocks_set(x, op->off / FS_BLOCK_SIZE,
			   (op->off + op->size + FS_BLOCK_SIZE - 1) / FS_BLOCK_SIZE, M_DATA);
		if (op->off + op->size > x->size)
			x->size = op->off + op->size;
	} else {
		blocks_set(x, (op->size + FS_BLOCK_SIZE - 1) / FS_BLOCK_SIZE, M_BLOCKS, M_HOLE);
		if (op->size < x->size)
			memset(x->data + op->size, 0, M_SIZE - op->size);
		x->size = op->size;
	}
	return 0;
}

static int apply_xattr(struct model *m, const struct m_op *op)
{
	struct m_xattr *x = &m->nodes[op->dir].xattrs[op->xattr];
	bool set = op->kind == M_XATTR_SET;
	if (set && op->how == FS_XATTR_CREATE && x->used)
		return -EEXIST;
	if (!x->used && (!set || op->how == FS_XATTR_REPLACE))
		return -ENODATA;
	*x = (struct m_xattr){.used = set, .len = (uint32_t)op->size, .fill = op->fill};
	return 0;
}

int model_apply(struct model *m, const struct m_op *op, const struct fs_fid *made)
{
	switch (op->kind) {
	case M_CREATE:
	case M_MKDIR:
	case M_SYMLINK:
		return apply_make(m, op, made);
	case M_REMOVE:
	case M_RMDIR:
		return apply_remove(m, op);
	case M_RENAME:
		return apply_rename(m, op);
	case M_LINK:
		if (name_find(m, op->dir, op->name))
			return -EEXIST;
		m->nodes[op->node].nlink++;
		return name_new(m, op->dir, op->name, op->node);
	case M_CHMOD:
		m->nodes[op->dir].mode = op->mode;
		m->nodes[op->dir].named &= op->mode >> 3;
		return 0;
	case M_ACL:
		m->nodes[op->dir].mode = op->mode;
		m->nodes[op->dir].named = op->uid + 1;
		m->nodes[op->dir].acl = true;
		return 0;
	case M_CHOWN:
		m->nodes[op->dir].uid = op->uid;
		m->nodes[op->dir].gid = op->gid;
		return 0;
	case M_XATTR_SET:
	case M_XATTR_DEL:
		return apply_xattr(m, op);
	case M_LIMIT:
		m->limit = op->size;
		return 0;
	default:
		return apply_file(m, op);
	}
}

/* ---- on the file system ---- */

static int run_make(const struct model *m, struct fs *fs, const struct m_op *op,
		    struct fs_fid *made)
{
	struct fs_setattr s = {.which = FS_SET_MODE, .mode = op->mode};
	struct fs_attr a;
	const struct fs_fid *d = &m->nodes[op->dir].fid;
	uint32_t len = (uint32_t)strlen(op->name);
	int rc;
	if (op->kind == M_CREATE)
		rc = fs_create(fs, NULL, d, op->name, len, FS_CREATE_GUARDED, &s, 0, &a, NULL);
	else if (op->kind == M_MKDIR)
		rc = fs_mkdir(fs, NULL, d, op->name, len, &s, &a, NULL);
	else
		rc = fs_symlink(fs, NULL, d, op->name, len, op->name2, (uint32_t)strlen(op->name2),
				&s, &a, NULL);
	if (!rc)
		*made = fid_of(&a);
	return rc;
}

static int run_file(const struct model *m, struct fs *fs, const struct m_op *op)
{
	const struct fs_fid *f = &m->nodes[op->node].fid;
	if (op->kind == M_RESIZE) {
		struct fs_setattr s = {.which = FS_SET_SIZE, .size = op->size};
		return fs_setattr(fs, NULL, f, &s, NULL, NULL);
	}
	if (op->kind == M_ALLOCATE)
		return fs_allocate(fs, NULL, f, op->off, op->size, NULL);
	if (op->kind == M_PUNCH)
		return fs_deallocate(fs, NULL, f, op->off, op->size, NULL);
	if (op->kind == M_CLONE)
		return fs_clone_range(fs, NULL, &m->nodes[op->node2].fid, op->off2, f, op->off,
				      op->size, NULL);
	uint8_t *p = malloc(op->size);
	memset(p, op->fill, op->size);
	int rc = put(fs, f, op->off, p, op->size, op->stable ? FS_WRITE_FILE_SYNC : 0);
	free(p);
	return rc;
}

/* No name is a part of another; one is long. */
static uint32_t xattr_name(int n, char *to)
{
	return (uint32_t)(n ? sprintf(to, "x%d", n) : sprintf(to, "%0200d", 7));
}

static uint8_t xattr_byte(uint8_t fill, uint32_t i)
{
	return (uint8_t)(fill + i / 251 + i);
}

static int run_xattr(const struct model *m, struct fs *fs, const struct m_op *op)
{
	const struct fs_fid *f = &m->nodes[op->dir].fid;
	char name[256];
	uint32_t n = xattr_name(op->xattr, name);
	if (op->kind == M_XATTR_DEL)
		return fs_xattr_remove(fs, NULL, f, name, n, NULL);
	uint8_t *p = malloc(op->size + 1);
	for (uint32_t i = 0; i < op->size; i++)
		p[i] = xattr_byte(op->fill, i);
	int rc = fs_xattr_set(fs, NULL, f, name, n, p, (uint32_t)op->size, op->how, NULL);
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

/* No entry of a directory's is passed on. */
static int run_acl(const struct model *m, struct fs *fs, const struct m_op *op)
{
	unsigned u = op->mode >> 6, g = op->mode >> 3 & 7;
	const struct fs_ace a[] = {ace(FS_ACE_ALLOW, FS_WHO_OWNER, u),
				   ace(FS_ACE_DENY, FS_WHO_OWNER, 7 & ~u),
				   ace(FS_ACE_ALLOW, FS_WHO_USER, op->uid + 1),
				   ace(FS_ACE_ALLOW, FS_WHO_OWNER_GROUP, g),
				   ace(FS_ACE_DENY, FS_WHO_OWNER_GROUP, 7 & ~g),
				   ace(FS_ACE_ALLOW, FS_WHO_EVERYONE, op->mode & 7)};
	return fs_acl_set(fs, NULL, &m->nodes[op->dir].fid, a, 6, NULL);
}

int model_run(const struct model *m, struct fs *fs, const struct m_op *op, struct fs_fid *made)
{
	const struct fs_fid *d = &m->nodes[op->dir].fid, *d2 = &m->nodes[op->dir2].fid;
	uint32_t len = (uint32_t)strlen(op->name), len2 = (uint32_t)strlen(op->name2);
	struct fs_setattr s = {.which = FS_SET_MODE, .mode = op->mode};
	struct fs_quota_limits l = {0};
	switch (op->kind) {
	case M_CREATE:
	case M_MKDIR:
	case M_SYMLINK:
		return run_make(m, fs, op, made);
	case M_REMOVE:
		return fs_remove(fs, NULL, d, op->name, len, NULL);
	case M_RMDIR:
		return fs_rmdir(fs, NULL, d, op->name, len, NULL);
	case M_RENAME:
		return fs_rename(fs, NULL, d, op->name, len, d2, op->name2, len2, NULL, NULL);
	case M_LINK:
		return fs_link(fs, NULL, &m->nodes[op->node].fid, d, op->name, len, NULL, NULL);
	case M_CHMOD:
		return fs_setattr(fs, NULL, d, &s, NULL, NULL);
	case M_CHOWN:
		s = (struct fs_setattr){
		    .which = FS_SET_UID | FS_SET_GID, .uid = op->uid, .gid = op->gid};
		return fs_setattr(fs, NULL, d, &s, NULL, NULL);
	case M_ACL:
		return run_acl(m, fs, op);
	case M_XATTR_SET:
	case M_XATTR_DEL:
		return run_xattr(m, fs, op);
	case M_LIMIT:
		l.hard[FS_QUOTA_FILES] = op->size;
		l.set_hard[FS_QUOTA_FILES] = true;
		return fs_quota_set(fs, FS_QUOTA_USER, m->limited, &l);
	default:
		return run_file(m, fs, op);
	}
}

/* ---- comparing ---- */

static char why[200];

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
			uint64_t want = end ? x->size : k * FS_BLOCK_SIZE;
			int rc = fs_seek(fs, NULL, &x->fid, off, (enum fs_seek_what)what, &got);
			snprintf(why, sizeof(why), "node %d: %s from %d: rc %d, at %d not %d of %d",
				 n, what == FS_SEEK_DATA ? "data" : "hole", (int)off, rc, (int)got,
				 end && what == FS_SEEK_DATA ? -1 : (int)want, (int)x->size);
			if (end && what == FS_SEEK_DATA ? rc != -ENXIO : rc || got != want)
				return why;
		}
	return NULL;
}

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
		int rc = fs_xattr_get(fs, NULL, &x->fid, name, xattr_name(k, name), buf,
				      sizeof(buf), &len);
		want += a->used;
		while (!rc && i < len && buf[i] == xattr_byte(a->fill, i))
			i++;
		snprintf(why, sizeof(why), "node %d: attribute %d: rc %d, %u bytes not %u", n, k,
			 rc, len, a->used ? a->len : 0);
		if (a->used ? rc || len != a->len || i < len : rc != -ENODATA)
			return why;
	}
	int rc = fs_xattr_list(fs, NULL, &x->fid, 0, xattr_emit, &got, &eof);
	snprintf(why, sizeof(why), "node %d: %d attributes listed of %d", n, got, want);
	return rc || !eof || got != want ? why : NULL;
}

static const char *node_differs(const struct m_node *x, struct fs *fs, int n, bool data)
{
	static uint8_t buf[M_SIZE];
	struct fs_attr a;
	int rc = fs_getattr(fs, &x->fid, &a);
	snprintf(why, sizeof(why), "node %d: rc %d nlink %d/%d size %d/%d mode %o/%o", n, rc,
		 rc ? -1 : (int)a.nlink, x->nlink, rc ? -1 : (int)a.size, (int)x->size,
		 rc ? 0 : a.mode, x->mode);
	if (rc || (int)a.nlink != x->nlink || (!x->is_dir && !x->loose && !size_right(x, a.size)) ||
	    a.mode != x->mode || a.uid != x->uid || a.gid != x->gid)
		return why;
	const struct fs_cred named = {.uid = M_NAMED, .gid = 99};
	unsigned have = 0, want = (x->mode | (x->acl ? x->named : 0)) & 7;
	rc = fs_access(fs, &named, &x->fid, 7, &have);
	snprintf(why, sizeof(why), "node %d: rc %d, user %d has %u not %u, list %d/%d", n, rc,
		 M_NAMED, have, want, a.acl, x->acl);
	if (rc || have != want || a.acl != x->acl)
		return why;
	if (data && !x->is_link && xattrs_differ(x, fs, n))
		return why;
	if (!data || x->is_dir || x->is_link)
		return NULL;
	int64_t got = get(fs, &x->fid, 0, buf, M_SIZE);
	if (x->loose) {
		for (int64_t i = 0; i < got; i++)
			if (buf[i] && !(x->fills[buf[i] / 32] >> (buf[i] % 32) & 1)) {
				snprintf(why, sizeof(why),
					 "node %d: byte %lld is %u: never written", n, (long long)i,
					 buf[i]);
				return why;
			}
		return got < 0 ? why : NULL;
	}
	snprintf(why, sizeof(why), "node %d (inode %llu): data", n, (unsigned long long)a.ino);
	if (got == (int64_t)x->size && !memcmp(buf, x->data, x->size))
		return x->fly_end ? NULL : holes_differ(x, fs, n);
	bool same = got == (int64_t)a.size;
	for (uint64_t i = 0; got > 0 && i < a.size; i++)
		if (buf[i] != x->data[i] && !flying_byte(x, i, buf[i])) {
			same = false;
			snprintf(why, sizeof(why), "node %d (inode %llu): byte %llu is %u not %u",
				 n, (unsigned long long)a.ino, (unsigned long long)i, buf[i],
				 x->data[i]);
			break;
		}
	return same ? NULL : why;
}

struct counting {
	int n;
};

static bool count_emit(void *arg, const char *name, uint32_t len, uint64_t ino, uint64_t cookie,
		       const struct fs_attr *attr)
{
	((struct counting *)arg)->n++;
	return true;
}

const char *model_differs(const struct model *m, struct fs *fs, bool data)
{
	struct model *mm = (struct model *)m;
	const char *d;
	struct fs_quota q;
	int lrc = fs_quota_get(fs, FS_QUOTA_USER, m->limited, &q);
	snprintf(why, sizeof(why), "limit: rc %d, %d not %d", lrc,
		 lrc ? -1 : (int)q.hard[FS_QUOTA_FILES], (int)m->limit);
	if (lrc || q.hard[FS_QUOTA_FILES] != m->limit)
		return why;
	for (int i = 0; i < M_NODES; i++) {
		const struct m_node *x = &m->nodes[i];
		if (!x->used)
			continue;
		if ((d = node_differs(x, fs, i, data)))
			return d;
		if (!x->is_dir)
			continue;
		struct counting c = {0};
		bool eof = false;
		int want = 2;
		for (int k = 0; k < M_NAMES; k++)
			want += mm->names[k].used && mm->names[k].dir == i;
		int rc = fs_readdir(fs, NULL, &x->fid, 0, false, count_emit, &c, &eof, NULL);
		snprintf(why, sizeof(why), "directory %d: rc %d, %d entries not %d", i, rc, c.n,
			 want);
		if (rc || !eof || c.n != want)
			return why;
	}
	for (int k = 0; k < M_NAMES; k++) {
		const struct m_name *e = &m->names[k];
		struct fs_attr a;
		if (!e->used)
			continue;
		int rc = find(fs, &m->nodes[e->dir].fid, e->name, &a);
		snprintf(why, sizeof(why), "name %s in %d: rc %d", e->name, e->dir, rc);
		if (rc || a.ino != m->nodes[e->node].fid.ino)
			return why;
	}
	return NULL;
}
