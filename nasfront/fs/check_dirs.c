/* The names' pass of a check: entries, link counts, parents, what has no name. */
#include "nasfront/fs/check.h"
#include "nasfront/fs/watch.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int bytes_body(struct fs *fs, uint64_t ino, uint8_t *to)
{
	struct inode in;
	int rc = inode_get(fs, ino, &in);
	if (!rc)
		memcpy(to, in.p, INODE_SIZE);
	return rc;
}

int check_inode_bytes(struct checker *c, uint64_t ino, uint8_t *to)
{
	struct op op;
	int rc;
	op_begin(&op, c->fs, false);
	OP_LOOP(&op, rc, bytes_body(c->fs, ino, to));
	op_end(&op);
	return rc;
}

/* ---- entries ---- */

static int bad_entry_add(struct checker *c, uint64_t key, uint64_t ino, uint8_t type)
{
	struct bad_entry *b = malloc(sizeof(*b));
	if (!b)
		return -ENOMEM;
	*b = (struct bad_entry){c->cur->ino, key, ino, type, c->bad};
	c->bad = b;
	return 0;
}

static int tree_body(struct fs *fs, uint64_t ino, uint32_t tree)
{
	struct inode in;
	int rc = inode_get(fs, ino, &in);
	if (rc)
		return rc;
	inode_touch(&in);
	IN_SET32(&in, I_TREE, tree);
	return 0;
}

/* What is in a directory is of its quota tree; another directory may be the top of another one.
 * A file with several names is judged by the first. */
static void tree_check(struct checker *c, const struct rec *dir, struct rec *r)
{
	if (r->tree == dir->tree || r->refs > 1 || (r->type == FS_DIR && r->tree))
		return;
	if (!check_error(c, r->ino, "is of quota tree %u in a directory of %u", r->tree,
			 dir->tree) ||
	    !c->repair)
		return;
	struct op op;
	int rc;
	op_begin(&op, c->fs, true);
	OP_LOOP(&op, rc, tree_body(c->fs, r->ino, dir->tree));
	rc = op_commit(&op, rc);
	if (!rc)
		r->tree = dir->tree;
	check_fixed(c, rc, r->ino);
}

static int name_entry(struct checker *c, uint64_t key, const uint8_t *v, unsigned len)
{
	struct dirent_ref e;
	struct rec *dir = c->cur, *r;
	bool parsed = !dirent_parse(v, len, &e);
	uint8_t type = 0;
	r = check_rec(c, e.ino);
	if (!parsed || name_check(e.name, e.namelen) ||
	    (dir_hash(c->fs, e.name, e.namelen) ^ key) >> 8) {
		if (!check_error(c, dir->ino, "an entry's name makes no sense"))
			return 0;
	} else if (!r || r->type >= HOLDER_TYPE) {
		if (!check_error(c, dir->ino, "entry %.*s leads to no inode (%" PRIu64 ")",
				 (int)e.namelen, e.name, e.ino))
			return 0;
	} else if (r->type == FS_DIR && (r->refs || e.ino == FS_ROOT_INO)) {
		if (!check_error(c, dir->ino, "entry %.*s is another name of a directory",
				 (int)e.namelen, e.name))
			return 0;
	} else {
		r->refs++;
		tree_check(c, dir, r);
		if (r->type == FS_DIR) {
			r->entry_dir = dir->ino;
			r->entry_key = key;
			dir->subdirs++;
		}
		if (r->type == e.type)
			return 0;
		if (!check_error(c, dir->ino, "entry %.*s is of another type than its inode",
				 (int)e.namelen, e.name))
			return 0;
		type = r->type;
	}
	return c->repair ? bad_entry_add(c, key, e.ino, type) : 0;
}

static int orphan_entry(struct checker *c, uint64_t key, const uint8_t *v, unsigned len)
{
	struct rec *r = check_rec(c, key);
	if (r && r->type < HOLDER_TYPE && key != FS_ROOT_INO)
		r->orphan = true;
	else if (check_error(c, ORPHAN_INO, "an orphan that is no inode: %" PRIu64, key) &&
		 c->repair)
		return bad_entry_add(c, key, key, 0);
	return 0;
}

static int entries_walk(struct checker *c)
{
	uint8_t p[INODE_SIZE];
	for (size_t i = 0; i < c->nrecs; i++) {
		struct rec *r = &c->recs[i];
		if (r->type != FS_DIR && r->type != ORPHAN_TYPE)
			continue;
		int rc = check_inode_bytes(c, r->ino, p);
		if (rc == -ESTALE && c->online)
			continue; /* removed meanwhile */
		if (!rc && p[I_TYPE] == r->type)
			rc = check_tree(c, r, p, false,
					r->type == FS_DIR ? name_entry : orphan_entry);
		if (rc)
			return rc;
	}
	return 0;
}

/* ---- repairs ---- */

static int bad_entry_body(struct fs *fs, const struct bad_entry *b)
{
	struct inode dir;
	int rc = inode_get(fs, b->dir, &dir);
	if (rc)
		return rc;
	if (b->type)
		return dir_set(&dir, b->key, b->ino, b->type);
	if (IN_TYPE(&dir) == FS_DIR)
		return dir_del(&dir, b->key);
	struct tree t = tree_of(&dir);
	return tree_delete(&t, b->key);
}

static void entries_mend(struct checker *c)
{
	struct bad_entry *b;
	while ((b = c->bad)) {
		struct op op;
		int rc;
		c->bad = b->next;
		op_begin(&op, c->fs, true);
		OP_LOOP(&op, rc, bad_entry_body(c->fs, b));
		check_fixed(c, op_commit(&op, rc), b->dir);
		free(b);
	}
}

static int inode_mend_body(struct fs *fs, uint64_t ino, uint32_t nlink, uint64_t parent)
{
	struct inode in;
	int rc = inode_get(fs, ino, &in);
	if (rc)
		return rc;
	inode_touch(&in);
	IN_SET32(&in, I_NLINK, nlink);
	IN_SET64(&in, I_PARENT, parent);
	return 0;
}

static void inode_mend(struct checker *c, const struct rec *r, uint32_t nlink, uint64_t parent)
{
	struct op op;
	int rc;
	op_begin(&op, c->fs, true);
	OP_LOOP(&op, rc, inode_mend_body(c->fs, r->ino, nlink, parent));
	check_fixed(c, op_commit(&op, rc), r->ino);
}

static int lost_body(struct fs *fs, const struct fs_fid *lost, const struct rec *r)
{
	struct inode dir, in;
	char name[32];
	int n = snprintf(name, sizeof(name), "#%" PRIu64, r->ino);
	int rc = inode_get_dir(fs, lost, &dir);
	if (!rc)
		rc = inode_get(fs, r->ino, &in);
	if (!rc)
		rc = dir_add(&dir, name, (uint32_t)n, r->ino, IN_TYPE(&in));
	if (rc)
		return rc;
	inode_touch(&in);
	IN_SET32(&in, I_NLINK, r->type == FS_DIR ? 2 + r->subdirs : 1);
	if (r->type == FS_DIR) {
		IN_SET64(&in, I_PARENT, dir.ino);
		IN_SET32(&dir, I_NLINK, IN32(&dir, I_NLINK) + 1);
	} else {
		IN_SET32(&in, I_TREE, IN32(&dir, I_TREE));
	}
	return 0;
}

static void to_lost_and_found(struct checker *c, const struct rec *r)
{
	static const struct fs_fid none;
	struct fs_fid root = none, lost;
	struct fs_attr a;
	struct op op;
	uint8_t p[INODE_SIZE];
	int rc = check_inode_bytes(c, FS_ROOT_INO, p);
	root.ino = FS_ROOT_INO;
	root.generation = le32_get(p + I_GENERATION);
	if (!rc)
		rc = fs_lookup(c->fs, NULL, &root, "lost+found", 10, &a, NULL);
	if (rc == -ENOENT) {
		struct fs_setattr s = {.which = FS_SET_MODE, .mode = 0700};
		rc = fs_mkdir(c->fs, NULL, &root, "lost+found", 10, &s, &a, NULL);
	}
	if (rc) {
		check_fixed(c, rc, r->ino);
		return;
	}
	lost = (struct fs_fid){a.ino, a.generation};
	op_begin(&op, c->fs, true);
	OP_LOOP(&op, rc, lost_body(c->fs, &lost, r));
	check_fixed(c, op_commit(&op, rc), r->ino);
	check_say(c, r->ino, "now in lost+found");
}

static int cut_off_body(struct fs *fs, const struct rec *r)
{
	struct inode dir;
	int rc = inode_get(fs, r->entry_dir, &dir);
	return rc ? rc : dir_del(&dir, r->entry_key);
}

/* ---- what hangs together ---- */

static void links_check(struct checker *c, struct rec *r)
{
	bool root = r->ino == FS_ROOT_INO, is_dir = r->type == FS_DIR, bad = false;
	uint32_t want = is_dir ? 2 + r->subdirs : r->refs;
	uint64_t parent = !is_dir ? r->parent : root ? FS_ROOT_INO : r->entry_dir;
	if (r->type >= HOLDER_TYPE || (r->orphan && !r->refs && !root))
		return;
	if (!r->refs && !root) {
		if (check_error(c, r->ino, "has no name") && c->repair)
			to_lost_and_found(c, r);
		return;
	}
	if (r->nlink != want)
		bad |= check_error(c, r->ino, "counts %u links, has %u", r->nlink, want);
	if (r->parent != parent)
		bad |= check_error(c, r->ino, "takes %" PRIu64 " for its parent, is in %" PRIu64,
				   r->parent, parent);
	if (bad && c->repair)
		inode_mend(c, r, want, parent);
}

enum { UNSEEN, ON_PATH, HANGS };

/* From each directory up: to one known to hang below the root, or round in a circle. */
static void circle_check(struct checker *c, struct rec *start)
{
	struct rec *r = start;
	while (r && r->colour == UNSEEN && r->ino != FS_ROOT_INO) {
		r->colour = ON_PATH;
		r = r->entry_dir ? check_rec(c, r->entry_dir) : NULL;
	}
	if (r && r->colour == ON_PATH && check_error(c, r->ino, "directory hangs below itself") &&
	    c->repair) {
		struct op op;
		int rc;
		op_begin(&op, c->fs, true);
		OP_LOOP(&op, rc, cut_off_body(c->fs, r));
		check_fixed(c, op_commit(&op, rc), r->ino);
	}
	for (r = start; r && r->colour == ON_PATH;) {
		r->colour = HANGS;
		r = r->entry_dir ? check_rec(c, r->entry_dir) : NULL;
	}
}

int check_dirs(struct checker *c)
{
	int rc = entries_walk(c);
	uint64_t before = c->errors;
	for (size_t i = 0; i < c->nrecs && !rc; i++)
		if (c->recs[i].type == FS_DIR)
			circle_check(c, &c->recs[i]);
	/* Links are counted anew in the next round when entries change in this one. */
	bool changes = c->repair && (c->bad || c->errors != before);
	for (size_t i = 0; i < c->nrecs && !rc && !changes; i++)
		links_check(c, &c->recs[i]);
	entries_mend(c);
	return rc;
}
