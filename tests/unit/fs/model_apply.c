/* What an operation does to the model: see model.h. */
#include "tests/unit/fs/model.h"

static struct m_name *name_find(struct model *m, int dir, const char *name)
{
	for (int i = 0; i < M_NAMES; i++)
		if (m->names[i].used && m->names[i].dir == dir && !strcmp(m->names[i].name, name))
			return &m->names[i];
	return NULL;
}

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

static void node_free(struct m_node *x)
{
	free(x->data);
	free(x->target);
	*x = (struct m_node){0};
}

static void node_drop(struct model *m, int n)
{
	struct m_node *x = &m->nodes[n];
	if (x->is_dir)
		m->nodes[x->parent].nlink--;
	else if (--x->nlink > 0 || x->open)
		return;
	node_free(x);
}

static int apply_open(struct model *m, const struct m_op *op)
{
	struct m_node *x = &m->nodes[op->node];
	/* opening what is kept is to have it open no more than before */
	x->open = op->kind == M_OPEN;
	if (!x->open && !x->nlink)
		node_free(x);
	return 0;
}

void model_closed(const struct m_op *op, struct fs *fs)
{
	if (op->kind == M_CLOSE)
		fs_unused(fs, &op->fid);
}

void model_unmounted(struct model *m)
{
	for (int i = 0; i < M_NODES; i++) {
		m->nodes[i].open = false;
		if (m->nodes[i].used && !m->nodes[i].nlink)
			node_free(&m->nodes[i]);
	}
}

static bool dir_empty(struct model *m, int dir)
{
	for (int i = 0; i < M_NAMES; i++)
		if (m->names[i].used && m->names[i].dir == dir)
			return false;
	return true;
}

/* A file that is there: is it what was asked for? */
static int apply_existing(const struct m_node *x, const struct m_op *op)
{
	if (op->kind != M_CREATE || op->create == FS_CREATE_GUARDED || !x->data)
		return -EEXIST;
	return op->create == FS_CREATE_UNCHECKED || x->verifier == op->fill ? 0 : -EEXIST;
}

static int apply_make(struct model *m, const struct m_op *op, const struct fs_fid *made)
{
	char target[M_TARGET_MAX + 1];
	struct m_name *e = name_find(m, op->dir, op->name);
	if (e)
		return apply_existing(&m->nodes[e->node], op);
	int n = node_new(m);
	struct m_node *x = &m->nodes[n];
	*x = (struct m_node){
	    .used = true, .fid = *made, .nlink = 1, .mode = op->mode, .gid = m->nodes[op->dir].gid};
	x->tree = m->nodes[op->dir].tree;
	x->is_dir = op->kind == M_MKDIR;
	x->is_link = op->kind == M_SYMLINK;
	x->is_special = op->kind == M_MKNOD;
	if (x->is_dir) {
		x->nlink = 2;
		x->parent = op->dir;
		m->nodes[op->dir].nlink++;
	} else if (x->is_link) {
		x->size = m_target(op, target);
		x->target = strdup(target);
	} else if (x->is_special) {
		x->type = (uint8_t)m_special(op);
		x->major = op->uid;
		x->minor = op->fill;
	} else {
		x->data = calloc(1, M_SIZE);
		x->verifier = op->create == FS_CREATE_EXCLUSIVE ? op->fill : 0;
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
	if (x->tree == m->nodes[op->dir].tree && x->tree != m->nodes[op->dir2].tree)
		return -EXDEV;
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

static int apply_link(struct model *m, const struct m_op *op)
{
	struct m_node *x = &m->nodes[op->node];
	if (!x->nlink)
		return -ENOENT;
	if (x->tree != m->nodes[op->dir].tree)
		return -EXDEV;
	if (name_find(m, op->dir, op->name))
		return -EEXIST;
	x->nlink++;
	return name_new(m, op->dir, op->name, op->node);
}

static int apply_quota(struct model *m, const struct m_op *op, const struct fs_fid *made)
{
	struct m_node *x = &m->nodes[op->dir];
	switch (op->kind) {
	case M_LIMIT:
		if (op->size && op->off > op->size)
			return -EINVAL;
		m->limit = op->size;
		m->soft = op->off;
		return 0;
	case M_GRACE:
		m->grace = op->size;
		return 0;
	case M_TREE:
		if (x->tree != m->nodes[x->parent].tree)
			return -EEXIST;
		if (!dir_empty(m, op->dir))
			return -ENOTEMPTY;
		x->tree = (uint32_t)made->ino;
		x->limit = 0;
		return 0;
	default:
		if (!x->tree || x->tree == m->nodes[x->parent].tree || !op->dir)
			return 0; /* not run: it is no top */
		x->limit = op->size;
		return 0;
	}
}

static int apply_attr(struct model *m, const struct m_op *op)
{
	struct m_node *x = &m->nodes[op->dir];
	switch (op->kind) {
	case M_CHMOD:
		x->mode = op->mode;
		x->named &= op->mode >> 3;
		return 0;
	case M_ACL:
		x->mode = op->mode;
		x->named = op->uid + 1;
		x->acl = true;
		return 0;
	case M_TIMES:
		x->atime = (int64_t)op->size;
		return 0;
	default:
		x->uid = op->uid;
		x->gid = op->gid;
		return 0;
	}
}

int model_apply(struct model *m, const struct m_op *op, const struct fs_fid *made)
{
	switch (op->kind) {
	case M_CREATE:
	case M_MKDIR:
	case M_SYMLINK:
	case M_MKNOD:
		return apply_make(m, op, made);
	case M_REMOVE:
	case M_RMDIR:
		return apply_remove(m, op);
	case M_RENAME:
		return apply_rename(m, op);
	case M_LINK:
		return apply_link(m, op);
	case M_CHMOD:
	case M_ACL:
	case M_CHOWN:
	case M_TIMES:
		return apply_attr(m, op);
	case M_XATTR_SET:
	case M_XATTR_DEL:
		return apply_xattr(m, op);
	case M_OPEN:
	case M_CLOSE:
		return apply_open(m, op);
	case M_LIMIT:
	case M_GRACE:
	case M_TREE:
	case M_TREE_LIMIT:
		return apply_quota(m, op, made);
	default:
		return apply_file(m, op);
	}
}

bool model_applied(struct model *m, const struct m_op *op, const struct fs_fid *made, int rc)
{
	if (m->tight && (rc == -ENOSPC || rc == -EDQUOT) && m_wants_room(op->kind)) {
		if (m_is_data(op->kind))
			m_fills(m, op);
		return true;
	}
	return rc == model_apply(m, op, made);
}
