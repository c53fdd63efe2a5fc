/*
 * Blocks of data that several extents lead to, and how many: records in a tree of inode 4, which is
 * made with the first of them.
 *
 *   S1 blocks with more than one owner are in exactly one record, which counts them; every extent
 *      that leads to them is marked shared;
 *   S2 an extent that is marked may be its blocks' only owner (the others have gone): no record has
 *      them then. The mark goes when a write sees that;
 *   S3 a record changes in the body that changes an owner, so no crash parts them;
 *   S5 what was shared is written in place only when no crash can bring the other owners back and
 *      no read of theirs is under way: as for blocks used again (A1). (S4: README.md)
 *
 * Neighbouring records with the same count are one. What is free, unwritten or metadata is never in
 * one.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>

struct share {
	uint64_t start, len;
	uint32_t owners;
};

/* The records. -ENOENT: there were never any. */
static int share_tree(struct fs *fs, struct inode *holder, struct tree *t)
{
	int rc = inode_get(fs, SHARE_INO, holder);
	if (rc)
		return rc == -ESTALE ? -ENOENT : rc;
	if (IN_TYPE(holder) != SHARE_TYPE)
		return -ERR_CORRUPT;
	*t = tree_of(holder);
	return 0;
}

int share_holder(struct fs *fs, struct inode *ret)
{
	return inode_holder(fs, SHARE_INO, SHARE_TYPE, ret);
}

static int record_at(struct tree *t, const struct tree_pos *pos, struct share *ret)
{
	unsigned len;
	const uint8_t *v = tree_value(pos, &len);
	*ret = (struct share){tree_key(pos), le32_get(v), le32_get(v + 4)};
	if (ret->owners >= 2 && extent_is_data(t->fs, ret->start, ret->len))
		return 0;
	corrupt_note(t->fs, ret->start, SHARE_INO, "a record of shared blocks makes no sense");
	return -ERR_CORRUPT;
}

/* The last record that begins at or before the block. -ENOENT. */
static int record_le(struct tree *t, uint64_t block, struct share *ret)
{
	struct tree_pos pos;
	int rc = tree_seek_le(t, block, &pos);
	return rc ? rc : record_at(t, &pos, ret);
}

/* The first one that begins at it or after. -ENOENT. */
static int record_ge(struct tree *t, uint64_t block, struct share *ret)
{
	struct tree_pos pos;
	int rc = tree_seek(t, block, &pos);
	return rc ? rc : record_at(t, &pos, ret);
}

static uint64_t end_of(const struct share *s)
{
	return s->start + s->len;
}

int share_run(struct fs *fs, uint64_t start, uint64_t len, uint64_t *ret_len, uint32_t *ret_owners)
{
	struct inode holder;
	struct tree t;
	struct share s;
	*ret_len = len;
	*ret_owners = 1;
	int rc = share_tree(fs, &holder, &t);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	rc = record_le(&t, start, &s);
	if (!rc && start < end_of(&s)) {
		*ret_len = MIN(len, end_of(&s) - start);
		*ret_owners = s.owners;
		return 0;
	}
	if (rc && rc != -ENOENT)
		return rc;
	rc = record_ge(&t, start, &s);
	if (!rc)
		*ret_len = MIN(len, s.start - start);
	return rc == -ENOENT ? 0 : rc;
}

/* The last run of these blocks. */
static int run_last(struct fs *fs, uint64_t start, uint64_t len, uint64_t *ret_len,
		    uint32_t *ret_owners)
{
	struct inode holder;
	struct tree t;
	struct share s;
	uint64_t end = start + len;
	*ret_len = len;
	*ret_owners = 1;
	int rc = share_tree(fs, &holder, &t);
	if (!rc)
		rc = record_le(&t, end - 1, &s);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (end <= end_of(&s)) {
		*ret_len = end - MAX(start, s.start);
		*ret_owners = s.owners;
	} else {
		*ret_len = end - MAX(start, end_of(&s));
	}
	return 0;
}

static int record_insert(struct tree *t, const struct share *s)
{
	uint8_t v[SHARE_VALUE];
	le32_put(v, (uint32_t)s->len);
	le32_put(v + 4, s->owners);
	int rc = tree_insert(t, s->start, v, sizeof(v));
	return rc == -EEXIST ? -ERR_CORRUPT : rc;
}

static int record_delete(struct tree *t, const struct share *s)
{
	int rc = tree_delete(t, s->start);
	return rc == -ENOENT ? -ERR_CORRUPT : rc;
}

/* Takes a run out of the record it lies in. */
static int run_out(struct tree *t, uint64_t start, uint64_t len)
{
	struct share s, left, right;
	int rc = record_le(t, start, &s);
	if (rc)
		return rc == -ENOENT ? -ERR_CORRUPT : rc;
	if (start + len > end_of(&s))
		return -ERR_CORRUPT;
	left = (struct share){s.start, start - s.start, s.owners};
	right = (struct share){start + len, end_of(&s) - (start + len), s.owners};
	rc = record_delete(t, &s);
	if (!rc && left.len)
		rc = record_insert(t, &left);
	if (!rc && right.len)
		rc = record_insert(t, &right);
	return rc;
}

/* Enters a run that is in no record, joined with its neighbours. */
static int run_in(struct tree *t, struct share s)
{
	struct share o;
	int rc = record_le(t, s.start, &o);
	if (!rc && end_of(&o) > s.start)
		return -ERR_CORRUPT;
	if (!rc && end_of(&o) == s.start && o.owners == s.owners &&
	    extent_is_data(t->fs, o.start, o.len + s.len)) {
		rc = record_delete(t, &o);
		s.start = o.start;
		s.len += o.len;
	}
	if (rc && rc != -ENOENT)
		return rc;
	rc = record_ge(t, s.start, &o);
	if (!rc && o.start < end_of(&s))
		return -ERR_CORRUPT;
	if (!rc && o.start == end_of(&s) && o.owners == s.owners &&
	    extent_is_data(t->fs, s.start, s.len + o.len)) {
		rc = record_delete(t, &o);
		s.len += o.len;
	}
	return rc && rc != -ENOENT ? rc : record_insert(t, &s);
}

/* A run of blocks with `from` owners has `to` of them. */
static int run_set(struct fs *fs, uint64_t start, uint64_t len, uint32_t from, uint32_t to)
{
	struct inode holder;
	int rc = share_holder(fs, &holder);
	if (!rc && IN_TYPE(&holder) != SHARE_TYPE)
		rc = -ERR_CORRUPT;
	if (rc)
		return rc;
	struct tree t = tree_of(&holder);
	if (from >= 2)
		rc = run_out(&t, start, len);
	if (!rc && to >= 2)
		rc = run_in(&t, (struct share){start, len, to});
	return rc;
}

int share_add(struct fs *fs, uint64_t start, uint64_t len)
{
	uint64_t n;
	uint32_t owners;
	int rc = share_run(fs, start, len, &n, &owners);
	if (rc)
		return rc;
	if (n != len || !extent_is_data(fs, start, len))
		return -ERR_CORRUPT;
	return owners == UINT32_MAX ? -EMLINK : run_set(fs, start, len, owners, owners + 1);
}

static int run_drop(struct fs *fs, uint64_t start, uint64_t len, uint32_t owners)
{
	if (owners == 1)
		return alloc_free(fs, start, len);
	fs->share_seq = fs->run.seq;
	fs->share_io = fs->io_seq;
	return run_set(fs, start, len, owners, owners - 1);
}

int share_settle(struct fs *fs)
{
	uint64_t seq = fs->share_seq, io = fs->share_io;
	struct io_hold *oldest;
	int rc = fs->stable < seq ? journal_wait(fs, seq) : 0;
	fs->share_waiters++;
	while (!rc && (oldest = TAILQ_FIRST(&fs->ios)) && oldest->began <= io) {
		waitq_wait(&fs->quarantine_q);
		rc = fs->error;
	}
	fs->share_waiters--;
	return rc;
}

int share_drop(struct fs *fs, uint64_t start, uint64_t len, uint64_t *ret_len)
{
	uint32_t owners;
	int rc = share_run(fs, start, len, ret_len, &owners);
	return rc ? rc : run_drop(fs, start, *ret_len, owners);
}

int share_drop_last(struct fs *fs, uint64_t start, uint64_t len, uint64_t *ret_len)
{
	uint32_t owners;
	int rc = run_last(fs, start, len, ret_len, &owners);
	return rc ? rc : run_drop(fs, start + len - *ret_len, *ret_len, owners);
}
