/*
 * Reading directories: a walk of the tree in cookie order that can stop and go on anywhere.
 * When the body must wait for a block it goes on behind the last entry given, so none is given
 * twice; before it waits for an inode block it asks for the ones that will follow.
 */
#include "nasfront/fs/impl.h"
#include "runtime/err.h"
#include <errno.h>

#define COOKIE_DOT    1
#define COOKIE_DOTDOT 2
#define AHEAD	      64

struct readdir_args {
	const struct fs_cred *cred;
	const struct fs_fid *dir;
	uint64_t cookie;
	bool want_attr;
	fs_emit *emit;
	void *arg;
	bool eof;
	struct fs_attr *dir_post;
};

static void ahead(struct fs *fs, struct tree *t, struct tree_pos pos)
{
	unsigned len;
	for (int i = 0; i < AHEAD; i++) {
		uint64_t block = ino_block(fs, le64_get(tree_value(&pos, &len)));
		if (block_is_data(fs, block) && !meta_find(fs, block))
			bdev_prefetch(fs->dev, block * BS, BS);
		if (pos.at[pos.depth - 1] + 1 >= node_count(pos.b[pos.depth - 1]->data))
			return;
		pos.at[pos.depth - 1]++;
	}
}

/* 1: given, go on. 0: the reader has had enough. */
static int give(struct fs *fs, struct readdir_args *a, const char *name, unsigned len, uint64_t ino,
		uint64_t cookie)
{
	struct fs_attr attr;
	struct inode in;
	bool have = false;
	if (a->want_attr) {
		int rc = inode_get(fs, ino, &in);
		if (rc == -EAGAIN)
			return rc;
		have = !rc;
		if (have)
			inode_attr(&in, &attr);
	}
	if (!a->emit(a->arg, name, len, ino, cookie, have ? &attr : NULL))
		return 0;
	a->cookie = cookie;
	return 1;
}

static int readdir_body(struct fs *fs, struct readdir_args *a)
{
	struct inode dir;
	struct tree_pos pos;
	int rc = inode_get_dir(fs, a->dir, &dir);
	if (rc)
		return rc;
	if (a->dir_post)
		inode_attr(&dir, a->dir_post);
	rc = inode_may(a->cred, &dir, 4);
	if (rc)
		return rc;
	if (a->cookie < COOKIE_DOT) {
		rc = give(fs, a, ".", 1, dir.ino, COOKIE_DOT);
		if (rc <= 0)
			return rc;
	}
	if (a->cookie < COOKIE_DOTDOT) {
		rc = give(fs, a, "..", 2, IN64(&dir, I_PARENT), COOKIE_DOTDOT);
		if (rc <= 0)
			return rc;
	}
	struct tree t = tree_of(&dir);
	rc = a->cookie == UINT64_MAX ? -ENOENT : tree_seek(&t, a->cookie + 1, &pos);
	for (; !rc; rc = tree_next(&t, &pos)) {
		struct dirent_ref e;
		unsigned len;
		const uint8_t *v = tree_value(&pos, &len);
		rc = dirent_parse(v, len, &e);
		if (rc)
			return rc;
		rc = give(fs, a, e.name, e.namelen, e.ino, tree_key(&pos));
		if (rc == -EAGAIN)
			ahead(fs, &t, pos);
		if (rc <= 0)
			return rc;
	}
	if (rc != -ENOENT)
		return rc;
	a->eof = true;
	return 0;
}

int fs_readdir(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir, uint64_t cookie,
	       bool want_attr, fs_emit *emit, void *arg, bool *ret_eof, struct fs_attr *dir_post)
{
	struct readdir_args a = {.cred = cred,
				 .dir = dir,
				 .cookie = cookie,
				 .want_attr = want_attr,
				 .emit = emit,
				 .arg = arg,
				 .dir_post = dir_post};
	struct op op;
	int rc;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, readdir_body(fs, &a));
	op_end(&op);
	if (!rc)
		*ret_eof = a.eof;
	return rc;
}
