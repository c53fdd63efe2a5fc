/*
 * B+trees hanging from an inode (root block, level): extents, directory entries, long symbolic
 * links, orphans, quotas, extended attributes, shares. Unique 64-bit keys, values up to
 * TREE_VALUE_MAX bytes.
 *
 * All functions run in a body. Insertion splits one node at a time, the highest that must be, and
 * descends anew; an insertion past the last key leaves the full leaf full (files grow, cookies do
 * not). Deletion frees empty nodes and joins a node under a quarter full with a neighbour.
 * A child must carry the tree's type and owner and be one level below its parent, so a damaged
 * pointer ends in -ERR_CORRUPT and never in a loop.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>

#define NODE_ROOM  (BS - H_SIZE)
#define JOIN_BELOW (NODE_ROOM / 4)
#define JOIN_MAX   (NODE_ROOM * 3 / 4)

unsigned tree_type(unsigned inode_type)
{
	static const uint8_t types[16] = {
	    [FS_REG] = BT_EXTENTS,	[FS_DIR] = BT_DIR,	  [FS_LNK] = BT_SYMLINK,
	    [ORPHAN_TYPE] = BT_ORPHANS, [QUOTA_TYPE] = BT_QUOTAS, [SHARE_TYPE] = BT_SHARES,
	};
	return types[inode_type & 15];
}

struct tree tree_of(struct inode *in)
{
	return (struct tree){.fs = in->fs,
			     .in = in,
			     .type = tree_type(IN_TYPE(in)),
			     .root = I_ROOT,
			     .level = I_LEVEL,
			     .goal = ino_block(in->fs, in->ino)};
}

static uint64_t tree_owner(const struct tree *t)
{
	return inode_map_owner(t->in->p, t->in->ino);
}

static int node_get(struct tree *t, uint64_t block, unsigned level, struct buf **ret)
{
	int rc = meta_get(t->fs, block, t->type, tree_owner(t), ret);
	if (rc)
		return rc;
	if (node_level((*ret)->data) == level)
		return 0;
	corrupt_note(t->fs, block, t->in->ino, "tree node of the wrong level");
	return -ERR_CORRUPT;
}

/* Keys of directories are hashes, so spread evenly: where one lies among the n of a node follows
 * from the keys around the node. */
static unsigned key_guess(uint64_t key, uint64_t low, uint64_t high, unsigned n)
{
	if (key <= low)
		return 0;
	if (key >= high)
		return n;
	int shift = __builtin_clzll(high - low);
	return (unsigned)(((key - low) << shift >> 32) * n / ((high - low) << shift >> 32));
}

/* From the inode to the leaf where key is or belongs. -ENOENT: an empty tree. */
static int descend(struct tree *t, uint64_t key, struct tree_pos *pos)
{
	uint64_t block = IN64(t->in, t->root), low = 0, high = t->type == BT_DIR ? DIR_KEY_END : 0;
	unsigned level = IN32(t->in, t->level);
	pos->depth = 0;
	if (!block)
		return -ENOENT;
	for (;; level--) {
		int k = pos->depth, rc = node_get(t, block, level, &pos->b[k]);
		if (rc)
			return rc;
		const uint8_t *d = pos->b[k]->data;
		unsigned n = node_count(d), guess = key_guess(key, low, high, n), i;
		pos->depth++;
		if (!level) {
			pos->at[k] = leaf_seek(d, key, guess);
			return 0;
		}
		i = pos->at[k] = inner_seek(d, key, guess);
		block = inner_child(d, i);
		if (i)
			low = inner_key(d, i);
		if (i + 1 < n)
			high = inner_key(d, i + 1);
	}
}

static unsigned leaf_at(const struct tree_pos *pos)
{
	return pos->at[pos->depth - 1];
}

static struct buf *leaf_of(const struct tree_pos *pos)
{
	return pos->b[pos->depth - 1];
}

/* To the first (dir 1) or last (dir -1) entry of the next leaf that way. */
static int leaf_step(struct tree *t, struct tree_pos *pos, int dir)
{
	for (;;) {
		int k = pos->depth - 2;
		while (k >= 0 &&
		       (dir > 0 ? pos->at[k] + 1 >= node_count(pos->b[k]->data) : pos->at[k] == 0))
			k--;
		if (k < 0)
			return -ENOENT;
		pos->at[k] += (unsigned)dir;
		for (; k < pos->depth - 1; k++) {
			const uint8_t *d = pos->b[k]->data;
			int rc = node_get(t, inner_child(d, pos->at[k]), node_level(d) - 1,
					  &pos->b[k + 1]);
			if (rc)
				return rc;
			unsigned n = node_count(pos->b[k + 1]->data);
			pos->at[k + 1] = dir > 0 || !n ? 0 : n - 1;
		}
		if (node_count(leaf_of(pos)->data))
			return 0;
	}
}

int tree_seek(struct tree *t, uint64_t key, struct tree_pos *pos)
{
	int rc = descend(t, key, pos);
	if (rc)
		return rc;
	return leaf_at(pos) < node_count(leaf_of(pos)->data) ? 0 : leaf_step(t, pos, 1);
}

int tree_seek_le(struct tree *t, uint64_t key, struct tree_pos *pos)
{
	int rc = descend(t, key, pos);
	if (rc)
		return rc;
	const uint8_t *d = leaf_of(pos)->data;
	unsigned at = leaf_at(pos);
	if (at < node_count(d) && leaf_key(d, at) == key)
		return 0;
	if (!at)
		return leaf_step(t, pos, -1);
	pos->at[pos->depth - 1]--;
	return 0;
}

int tree_next(struct tree *t, struct tree_pos *pos)
{
	if (++pos->at[pos->depth - 1] < node_count(leaf_of(pos)->data))
		return 0;
	return leaf_step(t, pos, 1);
}

uint64_t tree_key(const struct tree_pos *pos)
{
	return leaf_key(leaf_of(pos)->data, leaf_at(pos));
}

uint8_t *tree_value(const struct tree_pos *pos, unsigned *ret_len)
{
	return leaf_value(leaf_of(pos)->data, leaf_at(pos), ret_len);
}

void tree_touch_value(struct tree *t, const struct tree_pos *pos)
{
	unsigned len;
	uint8_t *v = tree_value(pos, &len);
	txn_touch(t->fs, leaf_of(pos), (unsigned)(v - leaf_of(pos)->data), len);
}

static int count_nodes(struct tree *t, uint64_t block, unsigned level, uint64_t *n)
{
	struct buf *b;
	int rc = level ? node_get(t, block, level, &b) : 0;
	++*n;
	if (rc || !level)
		return rc;
	for (unsigned i = 0; i < node_count(b->data) && !rc; i++)
		rc = count_nodes(t, inner_child(b->data, i), level - 1, n);
	return rc;
}

int tree_nodes(struct tree *t, uint64_t *ret)
{
	uint64_t root = IN64(t->in, t->root);
	*ret = 0;
	return root ? count_nodes(t, root, IN32(t->in, t->level), ret) : 0;
}

/* ---- growing ---- */

static int node_new(struct tree *t, unsigned level, struct buf **ret)
{
	uint64_t block;
	int rc = alloc_node(t->fs, t->goal, &block);
	if (rc)
		return rc;
	struct buf *b = txn_new(t->fs, block, t->type, tree_owner(t));
	if (!b)
		return -ENOMEM;
	le16_put(b->data + H_LEVEL, (uint16_t)level);
	if (!level)
		le16_put(b->data + H_HEAP, BS);
	inode_touch(t->in);
	IN_SET64(t->in, I_BLOCKS, IN64(t->in, I_BLOCKS) + 1);
	quota_add(t->in, 1, 0);
	*ret = b;
	return 0;
}

static void root_set(struct tree *t, uint64_t block, unsigned level)
{
	inode_touch(t->in);
	IN_SET64(t->in, t->root, block);
	IN_SET32(t->in, t->level, level);
}

static int root_grow(struct tree *t, uint64_t left, uint64_t right_key, uint64_t right)
{
	struct buf *b;
	unsigned level = IN32(t->in, t->level) + 1;
	if (level > TREE_MAX_LEVEL)
		return -EFBIG;
	int rc = node_new(t, level, &b);
	if (rc)
		return rc;
	inner_insert(t->fs, b, 0, 0, left);
	inner_insert(t->fs, b, 1, right_key, right);
	root_set(t, b->block, level);
	return 0;
}

static unsigned leaf_middle(const uint8_t *d)
{
	unsigned n = node_count(d), sum = 0, i, len;
	for (i = 0; i < n - 1 && sum < leaf_used(d) / 2; i++) {
		leaf_value((uint8_t *)d, i, &len);
		sum += len + LEAF_ENTRY + 2;
	}
	return i ? i : 1;
}

static bool at_right_edge(const struct tree_pos *pos)
{
	for (int k = 0; k < pos->depth - 1; k++)
		if (pos->at[k] + 1 != node_count(pos->b[k]->data))
			return false;
	return leaf_at(pos) == node_count(leaf_of(pos)->data);
}

/* Splits node k of the path; its parent has room. */
static int node_split(struct tree *t, struct tree_pos *pos, int k, uint64_t new_key)
{
	struct buf *b = pos->b[k], *right;
	unsigned level = node_level(b->data), n = node_count(b->data);
	uint64_t key;
	int rc = node_new(t, level, &right);
	if (rc)
		return rc;
	if (at_right_edge(pos)) {
		if (level) { /* the last child must come along: a node is never without one */
			key = inner_key(b->data, n - 1);
			inner_move(t->fs, b, n - 1, right);
		} else {
			key = new_key;
		}
	} else if (level) {
		key = inner_key(b->data, n / 2);
		inner_move(t->fs, b, n / 2, right);
	} else {
		unsigned m = leaf_middle(b->data);
		key = leaf_key(b->data, m);
		leaf_move(t->fs, b, m, right);
	}
	if (k == 0)
		return root_grow(t, b->block, key, right->block);
	struct buf *parent = pos->b[k - 1];
	unsigned at = pos->at[k - 1];
	/* The first child also holds keys below its own, which may now be too high. */
	if (key <= inner_key(parent->data, at))
		inner_set_key(t->fs, parent, at,
			      level ? inner_key(b->data, 0) : leaf_key(b->data, 0));
	inner_insert(t->fs, parent, at + 1, key, right->block);
	return 0;
}

int tree_insert(struct tree *t, uint64_t key, const void *v, unsigned vlen)
{
	struct tree_pos pos;
	for (;;) {
		int rc = descend(t, key, &pos);
		if (rc == -ENOENT) {
			struct buf *b;
			rc = node_new(t, 0, &b);
			if (rc)
				return rc;
			root_set(t, b->block, 0);
			continue;
		}
		if (rc)
			return rc;
		struct buf *leaf = leaf_of(&pos);
		unsigned at = leaf_at(&pos);
		if (at < node_count(leaf->data) && leaf_key(leaf->data, at) == key)
			return -EEXIST;
		if (leaf_fits(leaf->data, vlen)) {
			leaf_insert(t->fs, leaf, at, key, v, vlen);
			return 0;
		}
		int k = pos.depth - 1;
		while (k > 0 && node_count(pos.b[k - 1]->data) == INNER_MAX)
			k--;
		rc = node_split(t, &pos, k, key);
		if (rc)
			return rc;
	}
}

/* ---- shrinking ---- */

static int node_free(struct tree *t, struct buf *b)
{
	uint64_t block = b->block;
	int rc = alloc_free(t->fs, block, 1);
	if (rc)
		return rc;
	txn_revoke(t->fs, b);
	inode_touch(t->in);
	IN_SET64(t->in, I_BLOCKS, IN64(t->in, I_BLOCKS) - 1);
	quota_add(t->in, -1, 0);
	return 0;
}

static unsigned node_used(const uint8_t *d)
{
	return node_level(d) ? node_count(d) * INNER_PAIR : leaf_used(d);
}

/* Node k with its neighbour under the same parent, where both fit in one with room to spare. */
static int node_join(struct tree *t, struct tree_pos *pos, int k)
{
	struct buf *parent = pos->b[k - 1], *b = pos->b[k], *other;
	unsigned at = pos->at[k - 1], n = node_count(parent->data);
	bool right = at + 1 < n;
	if (n < 2)
		return 0;
	int rc = node_get(t, inner_child(parent->data, right ? at + 1 : at - 1),
			  node_level(b->data), &other);
	if (rc)
		return rc;
	if (node_used(b->data) + node_used(other->data) > JOIN_MAX)
		return 0;
	struct buf *to = right ? b : other, *from = right ? other : b;
	if (node_level(b->data))
		inner_move(t->fs, from, 0, to);
	else
		leaf_move(t->fs, from, 0, to);
	inner_delete(t->fs, parent, right ? at + 1 : at);
	return node_free(t, from);
}

static int root_shrink(struct tree *t)
{
	while (IN32(t->in, t->level)) {
		struct buf *b;
		int rc = node_get(t, IN64(t->in, t->root), IN32(t->in, t->level), &b);
		if (rc)
			return rc;
		if (node_count(b->data) > 1)
			return 0;
		root_set(t, inner_child(b->data, 0), IN32(t->in, t->level) - 1);
		rc = node_free(t, b);
		if (rc)
			return rc;
	}
	return 0;
}

int tree_delete(struct tree *t, uint64_t key)
{
	struct tree_pos pos;
	int rc = descend(t, key, &pos);
	if (rc)
		return rc;
	struct buf *b = leaf_of(&pos);
	unsigned at = leaf_at(&pos);
	if (at >= node_count(b->data) || leaf_key(b->data, at) != key)
		return -ENOENT;
	leaf_delete(t->fs, b, at);
	for (int k = pos.depth - 1; k >= 0; k--) {
		b = pos.b[k];
		if (!node_count(b->data)) {
			if (k == 0)
				root_set(t, 0, 0);
			else
				inner_delete(t->fs, pos.b[k - 1], pos.at[k - 1]);
			rc = node_free(t, b);
		} else if (k > 0 && node_used(b->data) < JOIN_BELOW) {
			rc = node_join(t, &pos, k);
		} else {
			break;
		}
		if (rc)
			return rc;
	}
	return root_shrink(t);
}
