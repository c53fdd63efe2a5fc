/* The model file system, and what is done to it next: see model.h. */
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
	m->grace_kind = (unsigned)(seed % 10 < 3 ? seed % 10 + 1 : 0);
	m->nodes[0] = (struct m_node){.used = true, .is_dir = true, .nlink = 2, .mode = 0777};
	m->nodes[0].fid = root_fid;
	return m;
}

struct model *model_copy(const struct model *m)
{
	struct model *n = malloc(sizeof(*n));
	*n = *m;
	for (int i = 0; i < M_NODES; i++) {
		if (n->nodes[i].target)
			n->nodes[i].target = strdup(n->nodes[i].target);
		if (!n->nodes[i].data)
			continue;
		n->nodes[i].data = malloc(M_SIZE);
		memcpy(n->nodes[i].data, m->nodes[i].data, M_SIZE);
	}
	return n;
}

void model_free(struct model *m)
{
	for (int i = 0; i < M_NODES; i++) {
		free(m->nodes[i].data);
		free(m->nodes[i].target);
	}
	free(m);
}

bool m_is_open(const struct model *m, const struct fs_fid *f)
{
	for (int i = 0; i < M_NODES; i++)
		if (m->nodes[i].open && m->nodes[i].fid.ino == f->ino &&
		    m->nodes[i].fid.generation == f->generation)
			return true;
	return false;
}

unsigned model_files(const struct model *m)
{
	unsigned n = 0;
	for (int i = 1; i < M_NODES; i++)
		n += m->nodes[i].used;
	return n;
}

static int any_open(struct model *m)
{
	for (int i = 0, n = (int)rnd(m, M_NODES); i < M_NODES; i++, n++)
		if (m->nodes[n % M_NODES].open)
			return n % M_NODES;
	return -1;
}

static int any_node(struct model *m, bool dir)
{
	for (int i = 0; i < 50; i++) {
		int n = (int)rnd(m, M_NODES);
		if (m->nodes[n].used && m->nodes[n].is_dir == dir && (dir || m->nodes[n].data))
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

bool m_is_whole(enum m_kind k)
{
	return !m_is_data(k) || k == M_CLONE;
}

bool m_makes(enum m_kind k)
{
	return k <= M_MKNOD || k == M_TREE;
}

bool m_heeds_key(enum m_kind k)
{
	return k < M_LIMIT && k != M_WRITE;
}

bool m_is_remembered(enum m_kind k)
{
	return m_heeds_key(k) && k != M_CREATE && k != M_RENAME && k != M_PUNCH && k != M_CLONE;
}

bool m_wants_room(enum m_kind k)
{
	return k != M_REMOVE && k != M_RMDIR && k != M_OPEN && k != M_CLOSE;
}

uint32_t m_target(const struct m_op *op, char to[M_TARGET_MAX + 1])
{
	uint32_t len =
	    op->fill % 3 ? 1u + op->fill : 1 + (uint32_t)(op->serial * 37 % M_TARGET_MAX);
	memset(to, 'a' + op->fill % 26, len);
	to[len] = 0;
	return len;
}

enum fs_type m_special(const struct m_op *op)
{
	static const enum fs_type types[] = {FS_BLK, FS_CHR, FS_SOCK, FS_FIFO};
	return types[op->gid + (op->fill & 1)];
}

/* No name is a part of another; one is long. */
uint32_t m_xattr_name(int n, char *to)
{
	return (uint32_t)(n ? sprintf(to, "x%d", n) : sprintf(to, "%0200d", 7));
}

uint8_t m_xattr_byte(uint8_t fill, uint32_t i)
{
	return (uint8_t)(fill + i / 251 + i);
}

void m_tree_path(const struct m_op *op, char to[64])
{
	snprintf(to, 64, "/tree/%llu", (unsigned long long)op->serial);
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

static enum m_kind plan_kind(struct model *m)
{
	static const uint8_t weights[M_KINDS] = {
	    [M_CREATE] = 20,	[M_MKDIR] = 6,	  [M_SYMLINK] = 3, [M_MKNOD] = 3,
	    [M_REMOVE] = 13,	[M_RMDIR] = 5,	  [M_RENAME] = 13, [M_LINK] = 5,
	    [M_WRITE] = 30,	[M_RESIZE] = 6,	  [M_CHMOD] = 4,   [M_CHOWN] = 6,
	    [M_TIMES] = 2,	[M_LIMIT] = 3,	  [M_GRACE] = 1,   [M_TREE] = 2,
	    [M_TREE_LIMIT] = 2, [M_ALLOCATE] = 6, [M_PUNCH] = 6,   [M_XATTR_SET] = 14,
	    [M_XATTR_DEL] = 5,	[M_ACL] = 5,	  [M_CLONE] = 14,  [M_OPEN] = 8,
	    [M_CLOSE] = 7};
	unsigned all = 0, k = 0;
	for (unsigned i = 0; i < M_KINDS; i++)
		all += weights[i];
	uint64_t w = rnd(m, all);
	while (w >= weights[k])
		w -= weights[k++];
	enum m_kind kind = (enum m_kind)k;
	if (nearly_full(m) && (kind <= M_MKNOD || kind == M_LINK))
		return M_REMOVE;
	if (kind == M_GRACE && !m->grace_kind)
		return M_LIMIT;
	if ((kind == M_OPEN || kind == M_CLOSE) && !m->opens)
		return M_WRITE;
	return kind;
}

static void plan_where(struct model *m, struct m_op *op)
{
	op->dir = any_node(m, true);
	op->dir2 = any_node(m, true);
	any_name(m, op->name);
	any_name(m, op->name2);
	if (op->kind == M_REMOVE || op->kind == M_RMDIR || op->kind == M_RENAME ||
	    (op->kind == M_CREATE && rnd(m, 8) == 0))
		some_name(m, &op->dir, op->name);
	if (op->kind == M_RENAME && rnd(m, 3) == 0) /* over what is there */
		some_name(m, &op->dir2, op->name2);
	op->node = op->kind == M_CLOSE ? any_open(m) : any_node(m, false);
	if (op->node < 0 && (m_is_data(op->kind) || op->kind == M_LINK || op->kind == M_OPEN ||
			     op->kind == M_CLOSE))
		op->kind = M_REMOVE;
	if (op->kind == M_CLOSE)
		op->fid = m->nodes[op->node].fid;
	if (op->kind == M_TREE && op->dir == 0)
		op->kind = M_MKDIR;
	if (op->kind == M_MKDIR && nearly_full(m))
		op->kind = M_RMDIR;
}

static void plan_range(struct model *m, struct m_op *op)
{
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
}

void model_plan(struct model *m, struct m_op *op)
{
	memset(op, 0, sizeof(*op));
	op->kind = plan_kind(m);
	op->serial = m->limited * 1000000000ull + ++m->ops;
	plan_where(m, op);
	op->fill = (uint8_t)(1 + rnd(m, 255));
	if (op->fill == M_NEVER)
		op->fill--;
	op->stable = rnd(m, 3) == 0;
	op->mode = (uint32_t)rnd(m, 01000);
	op->uid = (uint32_t)rnd(m, 6);
	op->gid = (uint32_t)rnd(m, 3);
	plan_range(m, op);
	op->how = rnd(m, 3) ? FS_XATTR_EITHER : rnd(m, 2) ? FS_XATTR_CREATE : FS_XATTR_REPLACE;
	op->create = rnd(m, 2)	 ? FS_CREATE_GUARDED
		     : rnd(m, 2) ? FS_CREATE_UNCHECKED
				 : FS_CREATE_EXCLUSIVE;
	op->xattr = (int)rnd(m, M_XATTRS);
	if ((op->kind == M_CHOWN || op->kind == M_XATTR_SET || op->kind == M_XATTR_DEL ||
	     op->kind == M_ACL || op->kind == M_TIMES || (op->kind == M_CHMOD && rnd(m, 2))) &&
	    op->node >= 0 && rnd(m, 4))
		op->dir = op->node; /* mostly of files */
}
