/*
 * Inodes without a name, and cuts that are not finished: kept in a tree (of inode 1) so that they
 * survive a crash. Small files are freed in the body that removes their last name; big ones are
 * left to the reaper, which frees a bounded number of extents in each body. A mount starts it. What
 * somebody has open stays (kept.c).
 */
#include "nasfront/fs/xattr.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <inttypes.h>

#define TREE_STEP 20 /* entries removed in one body */

static int orphan_tree(struct fs *fs, struct inode *in, struct tree *t)
{
	int rc = inode_get(fs, ORPHAN_INO, in);
	if (!rc)
		*t = tree_of(in);
	return rc;
}

int orphan_add(struct fs *fs, uint64_t ino, unsigned what)
{
	struct inode holder;
	struct tree t;
	uint8_t v = (uint8_t)what;
	fs->tx.last_blocks = true;
	int rc = orphan_tree(fs, &holder, &t);
	if (rc)
		return rc;
	rc = tree_insert(&t, ino, &v, 1);
	if (rc != -EEXIST)
		return rc;
	rc = tree_delete(&t, ino);
	return rc ? rc : tree_insert(&t, ino, &v, 1);
}

int orphan_del(struct fs *fs, uint64_t ino)
{
	struct inode holder;
	struct tree t;
	int rc = orphan_tree(fs, &holder, &t);
	return rc ? rc : tree_delete(&t, ino);
}

/* Some of a tree's entries; 1: there are more. */
static int tree_step(struct tree t)
{
	struct tree_pos pos;
	int rc = 0;
	for (int i = 0; i < TREE_STEP && !rc; i++) {
		rc = tree_seek(&t, 0, &pos);
		if (!rc)
			rc = tree_delete(&t, tree_key(&pos));
	}
	return rc == -ENOENT ? 0 : rc ? rc : 1;
}

/* Frees everything when it takes one step; 1 when more are needed. */
static int free_step(struct inode *in)
{
	int rc = 0;
	if (IN_TYPE(in) == FS_REG)
		rc = ext_cut(in, 0);
	else if (IN64(in, I_ROOT)) /* a long symbolic link, or what is left of a directory */
		rc = tree_step(tree_of(in));
	if (!rc && IN64(in, I_XROOT))
		rc = tree_step(xattr_tree(in));
	return rc ? rc : inode_free(in);
}

static bool is_small(const struct inode *in)
{
	if (IN32(in, I_XLEVEL))
		return false;
	if (IN_TYPE(in) == FS_REG)
		return !IN64(in, I_ROOT) && IN32(in, I_INLINE) <= 3;
	return IN32(in, I_LEVEL) == 0;
}

int inode_unlinked(struct inode *in)
{
	int keep = kept_take(in);
	if (keep < 0)
		return keep;
	inode_stamp(in, STAMP_CTIME);
	IN_SET32(in, I_NLINK, 0);
	if (!keep && is_small(in) && !(in->p[I_FLAGS] & IF_CUT)) {
		int rc = free_step(in);
		if (rc <= 0)
			return rc;
	}
	int rc = orphan_add(in->fs, in->ino, ORPHAN_FREE);
	if (!rc && !keep)
		orphan_reap_kick(in->fs, in->ino);
	return rc;
}

/* One body's worth of work on one orphan. 1: there is more of it. -EBUSY: somebody has it open. */
static int one_step(struct tree *t, uint64_t ino, unsigned what)
{
	struct fs *fs = t->fs;
	struct inode in;
	int rc = inode_get(fs, ino, &in);
	if (rc)
		return rc == -ESTALE ? tree_delete(t, ino) : rc;
	if (what == ORPHAN_FREE && !IN32(&in, I_NLINK)) {
		if (kept_in_use(&in))
			return -EBUSY;
		kept_drop(&in);
		rc = free_step(&in);
	} else {
		if (IN_TYPE(&in) == FS_REG)
			rc = ext_cut(&in, (IN64(&in, I_FILESIZE) + BS - 1) / BS);
		if (!rc) {
			inode_touch(&in);
			in.p[I_FLAGS] &= (uint8_t)~IF_CUT;
		}
	}
	return rc ? rc : tree_delete(t, ino);
}

/* The first orphan at or after `from`: it becomes *ret (else that stays). -ENOENT: there is none.*/
static int first_orphan(struct fs *fs, uint64_t from, struct inode *holder, struct tree *t,
			uint64_t *ret, unsigned *ret_what)
{
	struct tree_pos pos;
	unsigned len;
	fs->tx.last_blocks = true;
	int rc = orphan_tree(fs, holder, t);
	if (!rc)
		rc = tree_seek(t, from, &pos);
	if (rc)
		return rc;
	*ret = tree_key(&pos);
	*ret_what = tree_value(&pos, &len)[0];
	return 0;
}

static bool stands_in(const struct fs *fs, uint64_t ino)
{
	const struct standin *s;
	LIST_FOREACH (s, &fs->standins, link)
		if (s->ino == ino)
			return true;
	return false;
}

/* -EBUSY: *ret is not to be freed yet. */
static int reap_step(struct fs *fs, uint64_t from, uint64_t *ret)
{
	struct inode holder;
	struct tree t;
	unsigned what;
	int rc = first_orphan(fs, from, &holder, &t, ret, &what);
	if (!rc && stands_in(fs, *ret))
		return -EBUSY;
	if (!rc)
		rc = one_step(&t, *ret, what);
	return MIN(rc, 0);
}

static void cannot_free(uint64_t ino)
{
	log_warn("fs: orphan inode %" PRIu64 " cannot be freed: check needed", ino);
}

/* A cut may be done at any time: between bodies no extent beyond the size is wanted. */
int orphan_reap(struct fs *fs)
{
	uint64_t from = 0;
	int rc;
	while (!fs->stopping && !fs->dead) {
		struct op op;
		uint64_t at = UINT64_MAX; /* the tree could not be read so far */
		op_begin(&op, fs, true);
		OP_LOOP(&op, rc, reap_step(fs, from, &at));
		op_end(&op);
		bool bad = rc == -ERR_CORRUPT && at < UINT64_MAX;
		if (bad)
			cannot_free(at);
		if (bad || rc == -EBUSY)
			from = at + 1;
		else if (rc)
			return rc == -ENOENT ? 0 : rc;
		task_yield();
	}
	return 0;
}

static int free_body(struct fs *fs, uint64_t ino, bool reaper, bool *ret_more)
{
	struct inode holder;
	struct tree t;
	uint64_t first;
	unsigned what;
	*ret_more = false;
	int rc = first_orphan(fs, ino, &holder, &t, &first, &what);
	if (rc || first != ino)
		return rc == -ENOENT ? 0 : rc; /* it is freed */
	if (reaper && stands_in(fs, ino))
		return -EBUSY;
	rc = one_step(&t, ino, what);
	*ret_more = rc > 0;
	return MIN(rc, 0);
}

static int free_all(struct fs *fs, uint64_t ino, bool reaper)
{
	bool more = true;
	int rc = 0;
	while (more && !rc && !(reaper && (fs->stopping || fs->dead))) {
		struct op op;
		op_begin(&op, fs, true);
		OP_LOOP(&op, rc, free_body(fs, ino, reaper, &more));
		op_end(&op);
		task_yield();
	}
	return rc;
}

int orphan_free(struct fs *fs, uint64_t ino)
{
	return free_all(fs, ino, false);
}

/* One of those that were named, unless it has to stay or is not there any more. */
static int reap_next(struct fs *fs)
{
	uint64_t ino = fs->reap_ring[fs->reap_first];
	fs->reap_first = (fs->reap_first + 1) % REAP_MAX;
	fs->reap_count--;
	int rc = free_all(fs, ino, true);
	if (rc == -ERR_CORRUPT)
		cannot_free(ino);
	return rc == -ERR_CORRUPT || rc == -EBUSY ? 0 : rc;
}

static int reap(struct fs *fs)
{
	int rc = 0;
	while (!rc && (fs->reap_all || fs->reap_count) && !fs->stopping && !fs->dead) {
		bool all = fs->reap_all;
		if (all) {
			fs->reap_all = false;
			fs->reap_count = 0;
		}
		rc = all ? orphan_reap(fs) : reap_next(fs);
	}
	fs->reap_all |= rc < 0; /* the next time */
	return rc;
}

static void reap_task(void *arg)
{
	struct fs *fs = arg;
	int rc = reap(fs);
	fs->reaping = false;
	waitq_wake_all(&fs->reap_q);
	if (rc && !fs->dead)
		log_warn("fs: freeing removed files stopped: %s", err_text(rc));
	journal_later(fs);
	fs_unref(fs);
}

static void reap_start(struct fs *fs)
{
	if (fs->stopping || fs->dead || fs->read_only || fs->reaping)
		return;
	fs->reaping = true;
	fs_ref(fs);
	if (task_start(reap_task, fs)) {
		fs->reaping = false;
		fs_unref(fs);
	}
}

void orphan_reap_kick(struct fs *fs, uint64_t ino)
{
	if (fs->reap_count == REAP_MAX)
		fs->reap_all = true;
	else
		fs->reap_ring[(fs->reap_first + fs->reap_count++) % REAP_MAX] = ino;
	reap_start(fs);
}

void orphan_reap_kick_all(struct fs *fs)
{
	fs->reap_all = true;
	reap_start(fs);
}
