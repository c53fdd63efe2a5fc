/* The inodes' pass of a check: inode blocks, trees, who owns which block; damaged trees rebuilt. */
#include "nasfront/fs/check.h"
#include "nasfront/fs/watch.h"
#include "nasfront/fs/xattr.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* Enters blocks as owned. False when one is already, or is none to own. */
static bool claim(struct checker *c, uint64_t start, uint64_t len)
{
	if (!extent_is_data(c->fs, start, len))
		return false;
	for (uint64_t i = start; i < start + len; i++)
		if (c->owned[i / 64] >> (i % 64) & 1)
			return false;
	for (uint64_t i = start; i < start + len; i++)
		c->owned[i / 64] |= 1ull << (i % 64);
	c->report->blocks_used += len;
	c->claimed += len;
	return true;
}

void check_damaged(struct checker *c, struct rec *r, const char *what, uint64_t block)
{
	if (check_error(c, r->ino, "block %" PRIu64 ": %s", block, what))
		r->damaged = true;
}

int check_keep(struct checker *c, uint64_t key, const uint8_t *v, unsigned len)
{
	size_t n = ROUND_UP(sizeof(struct kept) + len, (size_t)8);
	if (!c->repair)
		return 0;
	if (c->kept_size + n > c->kept_room) {
		size_t room = MAX(c->kept_room * 2, (size_t)65536);
		uint8_t *p = realloc(c->kept, room);
		if (!p)
			return -ENOMEM;
		c->kept = p;
		c->kept_room = room;
	}
	struct kept *k = (struct kept *)(c->kept + c->kept_size);
	k->key = key;
	k->len = (uint16_t)len;
	k->xattr = c->keeping_xattrs;
	memcpy(k->v, v, len);
	c->kept_size += n;
	return 0;
}

/* ---- trees ---- */

struct span {
	uint64_t lo, hi; /* keys allowed */
	unsigned type;	 /* of the nodes */
	bool claim;
	check_entry *entry;
};

static int walk(struct checker *c, uint64_t block, unsigned level, struct span s)
{
	uint8_t *d = c->nodes[level];
	struct rec *r = c->cur;
	int rc = s.type ? check_fetch(c, block, s.type, r->map_owner, d) : -ERR_CORRUPT;
	if (rc == -ERR_CORRUPT || rc == -EIO || rc == -ERR_MEDIUM) {
		check_damaged(c, r, "tree node cannot be read", block);
		return 0;
	}
	if (rc)
		return rc;
	if (node_level(d) != level || !node_count(d)) {
		check_damaged(c, r, "tree node of wrong level or empty", block);
		return 0;
	}
	if (s.claim && !claim(c, block, 1)) {
		check_damaged(c, r, "tree node has another owner too", block);
		return 0;
	}
	for (unsigned i = 0; i < node_count(d) && !rc; i++) {
		uint64_t key = level ? inner_key(d, i) : leaf_key(d, i);
		if ((key < s.lo && (!level || i)) || key > s.hi) {
			check_damaged(c, r, "key outside its node's span", block);
			continue;
		}
		if (!level) {
			unsigned len;
			const uint8_t *v = leaf_value(d, i, &len);
			rc = s.entry(c, key, v, len);
			continue;
		}
		struct span sub = s;
		if (i)
			sub.lo = key;
		if (i + 1 < node_count(d))
			sub.hi = MIN(s.hi, inner_key(d, i + 1) - 1);
		rc = walk(c, inner_child(d, i), level - 1, sub);
	}
	return rc;
}

int check_tree(struct checker *c, struct rec *r, const uint8_t *p, bool claim_nodes,
	       check_entry *entry)
{
	uint64_t root = le64_get(p + I_ROOT);
	struct span s = {0, UINT64_MAX, tree_type(r->type), claim_nodes, entry};
	c->cur = r;
	return root ? walk(c, root, le32_get(p + I_LEVEL), s) : 0;
}

int check_tree_at(struct checker *c, struct rec *r, uint64_t root, unsigned level, unsigned type,
		  check_entry *entry)
{
	struct span s = {0, UINT64_MAX, type, true, entry};
	c->cur = r;
	return walk(c, root, level, s);
}

static int extent_entry(struct checker *c, uint64_t key, const uint8_t *v, unsigned len)
{
	uint64_t phys = le64_get(v), n = le32_get(v + 8);
	uint32_t flags = le32_get(v + 12);
	bool good = false;
	if (flags & ~EXT_FLAGS || flags == EXT_FLAGS || (flags && c->cur->type == MEMO_TYPE))
		check_damaged(c, c->cur, "extent of unknown kind", phys);
	else if (!n || key < c->cur_end || key >= FILE_BLOCKS_MAX)
		check_damaged(c, c->cur, "extents overlap in the file", phys);
	else {
		int rc = flags & EXT_SHARED ? check_share_claim(c, phys, n, &good) : 0;
		if (rc)
			return rc;
		if (flags & EXT_SHARED ? !good : !claim(c, phys, n)) {
			check_damaged(c, c->cur, "extent has another owner too, or is none", phys);
			return 0;
		}
		c->cur_end = key + n;
		return check_keep(c, key, v, len);
	}
	return 0;
}

static int any_entry(struct checker *c, uint64_t key, const uint8_t *v, unsigned len)
{
	c->cur->entries++;
	return check_keep(c, key, v, len);
}

static int inline_extents(struct checker *c, const uint8_t *p)
{
	int rc = 0;
	for (unsigned i = 0; i < le32_get(p + I_INLINE) && !rc; i++) {
		const uint8_t *e = p + I_AREA + i * EXT_INLINE_SIZE;
		rc = extent_entry(c, le64_get(e), e + 8, EXT_VALUE);
	}
	return rc;
}

/* ---- inodes ---- */

int check_rebuild_later(struct checker *c, const struct rec *r)
{
	struct rebuild *b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->ino = r->ino;
	b->kept = malloc(c->kept_size + 1);
	if (!b->kept) {
		free(b);
		return -ENOMEM;
	}
	if (c->kept_size)
		memcpy(b->kept, c->kept, c->kept_size);
	b->size = c->kept_size;
	b->next = c->rebuilds;
	c->rebuilds = b;
	return 0;
}

static struct rec *rec_add(struct checker *c, uint64_t ino, const uint8_t *p)
{
	if (c->nrecs == c->room) {
		size_t room = MAX(c->room * 2, (size_t)1024);
		struct rec *n = realloc(c->recs, room * sizeof(*n));
		if (!n)
			return NULL;
		c->recs = n;
		c->room = room;
	}
	struct rec *r = &c->recs[c->nrecs++];
	*r = (struct rec){.ino = ino,
			  .type = p[I_TYPE],
			  .nlink = le32_get(p + I_NLINK),
			  .uid = le32_get(p + I_UID),
			  .gid = le32_get(p + I_GID),
			  .tree = le32_get(p + I_TREE),
			  .parent = le64_get(p + I_PARENT),
			  .standin = p[I_FLAGS] & IF_STANDIN,
			  .map_owner = inode_map_owner(p, ino)};
	c->report->inodes++;
	c->report->directories += r->type == FS_DIR;
	c->report->files += r->type == FS_REG;
	return r;
}

static int counts_body(struct fs *fs, uint64_t ino, uint64_t blocks, uint64_t entries)
{
	struct inode in;
	int rc = inode_get(fs, ino, &in);
	if (rc)
		return rc;
	inode_touch(&in);
	IN_SET64(&in, I_BLOCKS, blocks);
	if (IN_TYPE(&in) == FS_DIR)
		IN_SET64(&in, I_ENTRIES, entries);
	return 0;
}

static int counts_check(struct checker *c, struct rec *r, const uint8_t *p, uint64_t blocks)
{
	bool bad = false;
	if (le64_get(p + I_BLOCKS) != blocks)
		bad |= check_error(c, r->ino, "counts %" PRIu64 " blocks, has %" PRIu64,
				   le64_get(p + I_BLOCKS), blocks);
	if (r->type == FS_DIR && le64_get(p + I_ENTRIES) != r->entries)
		bad |= check_error(c, r->ino, "counts %" PRIu64 " entries, has %" PRIu64,
				   le64_get(p + I_ENTRIES), r->entries);
	if (!bad || !c->repair)
		return 0;
	struct op op;
	int rc;
	op_begin(&op, c->fs, true);
	OP_LOOP(&op, rc, counts_body(c->fs, r->ino, blocks, r->entries));
	check_fixed(c, op_commit(&op, rc), r->ino);
	return 0;
}

static int standin_body(struct fs *fs, uint64_t ino)
{
	struct inode in;
	int rc = inode_get(fs, ino, &in);
	if (rc)
		return rc;
	inode_touch(&in);
	in.p[I_FLAGS] &= (uint8_t)~IF_STANDIN;
	return 0;
}

/* Only a file without a name is one. */
static void standin_check(struct checker *c, const struct rec *r)
{
	struct op op;
	int rc;
	if (!r->standin || (r->type == FS_REG && !r->nlink) ||
	    !check_error(c, r->ino, "stands in for another, and is no orphan") || !c->repair)
		return;
	op_begin(&op, c->fs, true);
	OP_LOOP(&op, rc, standin_body(c->fs, r->ino));
	check_fixed(c, op_commit(&op, rc), r->ino);
}

static int inode_check(struct checker *c, uint64_t ino, const uint8_t *p)
{
	struct rec *r = rec_add(c, ino, p);
	uint64_t before = c->claimed;
	if (!r)
		return -ENOMEM;
	standin_check(c, r);
	c->kept_size = 0;
	c->cur_end = 0;
	c->cur = r;
	int rc = r->type == FS_REG || r->type == MEMO_TYPE ? inline_extents(c, p) : 0;
	if (!rc)
		rc = check_tree(c, r, p, true,
				r->type == FS_REG	? extent_entry
				: r->type == SHARE_TYPE ? check_share_entry
							: any_entry);
	if (!rc)
		rc = check_xattrs(c, r, p);
	if (rc)
		return rc;
	r->blocks = c->claimed - before;
	if (r->damaged)
		return c->repair ? check_rebuild_later(c, r) : 0;
	rc = counts_check(c, r, p, r->blocks);
	if (!rc && r->type == MEMO_TYPE)
		rc = check_memos(c, p);
	return rc ? rc : check_acl(c, r, p);
}

static int inode_block_check(struct checker *c, uint64_t block)
{
	uint8_t d[BS];
	int rc = check_fetch(c, block, BT_INODES, 0, d);
	if (rc == -ERR_CORRUPT || rc == -EIO || rc == -ERR_MEDIUM) {
		check_error(c, 0, "inode block %" PRIu64 " cannot be read: its inodes are lost",
			    block);
		return 0;
	}
	if (rc)
		return rc;
	if (!claim(c, block, 1)) {
		check_error(c, 0, "inode block %" PRIu64 " has another owner too", block);
		return 0;
	}
	c->inode_blocks[block / 64] |= 1ull << (block % 64);
	for (unsigned i = 0; i < INODES_PER_BLOCK && !rc; i++) {
		const uint8_t *p = d + H_SIZE + i * INODE_SIZE;
		if (p[I_TYPE])
			rc = inode_check(c, block_ino(c->fs, block, i), p);
	}
	return rc;
}

/* The inode map is gone: every block of the group that says it is an inode block is one. */
static int group_search(struct checker *c, uint64_t ag)
{
	struct fs *fs = c->fs;
	uint8_t *d = c->block;
	int rc = 0;
	for (uint32_t i = AG_META; i < ag_size(fs, ag) && !rc; i++) {
		uint64_t block = ag_first(fs, ag) + i;
		if (bdev_read(fs->dev, d, BS, block * BS) ||
		    block_verify(fs->uuid, d, block, BT_INODES))
			continue;
		rc = inode_block_check(c, block);
	}
	return rc;
}

static int group_check(struct checker *c, uint64_t ag)
{
	struct fs *fs = c->fs;
	uint8_t map[BS];
	int rc = check_fetch(c, ag_first(fs, ag) + AG_INODE_MAP, BT_INODE_MAP, 0, map);
	if (rc == -ERR_CORRUPT || rc == -EIO || rc == -ERR_MEDIUM) {
		check_error(c, 0, "inode map of group %" PRIu64 " cannot be read", ag);
		return group_search(c, ag);
	}
	for (uint32_t i = AG_META; i < ag_size(fs, ag) && !rc; i++)
		if (map[H_SIZE + i / 8] >> (i % 8) & 1)
			rc = inode_block_check(c, ag_first(fs, ag) + i);
	return rc;
}

int check_inodes(struct checker *c)
{
	int rc = 0;
	for (uint64_t ag = 0; ag < c->fs->ag_count && !rc; ag++)
		rc = group_check(c, ag);
	return rc;
}

/* ---- building damaged trees anew ---- */

static int empty_body(struct fs *fs, uint64_t ino)
{
	struct inode in;
	int rc = inode_get(fs, ino, &in);
	if (rc)
		return rc;
	bool target = IN_TYPE(&in) == FS_LNK && !IN64(&in, I_ROOT); /* it is in the inode: kept */
	inode_touch(&in);
	IN_SET64(&in, I_ROOT, 0);
	IN_SET32(&in, I_LEVEL, 0);
	if (!target)
		IN_SET32(&in, I_INLINE, 0);
	IN_SET64(&in, I_XROOT, 0);
	IN_SET32(&in, I_XLEVEL, 0);
	if (!check_xattrs_inline(fs, in.p))
		IN_SET32(&in, I_XINLINE, 0);
	IN_SET64(&in, I_BLOCKS, 0);
	IN_SET64(&in, I_ENTRIES, 0);
	if (IN_TYPE(&in) == FS_LNK && !target)
		IN_SET64(&in, I_FILESIZE, 0);
	return 0;
}

static int put_body(struct fs *fs, uint64_t ino, const struct kept *k)
{
	struct inode in;
	int rc = inode_get(fs, ino, &in);
	if (rc)
		return rc;
	if (k->xattr) {
		struct tree xattrs = xattr_tree(&in);
		return tree_insert(&xattrs, k->key, k->v, k->len);
	}
	if (IN_TYPE(&in) == FS_REG || IN_TYPE(&in) == MEMO_TYPE)
		return ext_insert(&in, k->key, le64_get(k->v), le32_get(k->v + 8),
				  le32_get(k->v + 12));
	struct tree t = tree_of(&in);
	rc = tree_insert(&t, k->key, k->v, k->len);
	inode_touch(&in);
	if (IN_TYPE(&in) == FS_DIR)
		IN_SET64(&in, I_ENTRIES, IN64(&in, I_ENTRIES) + 1);
	if (IN_TYPE(&in) == FS_LNK)
		IN_SET64(&in, I_FILESIZE, IN64(&in, I_FILESIZE) + k->len);
	return rc;
}

static int rebuild(struct checker *c, const struct rebuild *b)
{
	struct op op;
	int rc;
	op_begin(&op, c->fs, true);
	OP_LOOP(&op, rc, empty_body(c->fs, b->ino));
	op_end(&op);
	for (size_t at = 0; at < b->size && !rc;) {
		const struct kept *k = (const struct kept *)(b->kept + at);
		op_begin(&op, c->fs, true);
		OP_LOOP(&op, rc, put_body(c->fs, b->ino, k));
		op_end(&op);
		at += ROUND_UP(sizeof(*k) + k->len, (size_t)8);
	}
	check_say(c, b->ino, "its tree was built anew from what could be read");
	check_fixed(c, rc, b->ino);
	return 0;
}

int check_rebuild(struct checker *c)
{
	int rc = 0;
	for (struct rebuild *b = c->rebuilds; b && !rc; b = b->next)
		rc = rebuild(c, b);
	return rc ? rc : journal_wait(c->fs, c->fs->run.seq);
}
