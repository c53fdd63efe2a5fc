/*
 * Counting what owners, groups and directory trees use, and holding their limits.
 *
 * What changes an inode's blocks, or makes, frees or gives one away, notes it in the running body's
 * transaction (quota_add(), quota_move()). When the body has ended well, its sums are entered into
 * the records (quota_apply()) as its last change, in the same transaction: so no crash parts use
 * from what is used, and a body over a limit is undone whole. Only growth is ever refused.
 *
 * A record is made by the first use and goes when nothing is used or limited (a tree's stays while
 * it has limits). The records are a tree of inode QUOTA_INO; its blocks are nobody's.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>

static const unsigned fields[] = {
    [FS_QUOTA_USER] = I_UID, [FS_QUOTA_GROUP] = I_GID, [FS_QUOTA_TREE] = I_TREE};

static void delta_add(struct fs *fs, unsigned kind, uint32_t id, int64_t blocks, int64_t inodes)
{
	struct txn *tx = &fs->tx;
	uint64_t key = quota_key(kind, id);
	unsigned i = 0;
	if (kind == FS_QUOTA_TREE && !id)
		return;
	while (i < tx->nquotas && tx->quotas[i].key != key)
		i++;
	ASSERT(tx->open && i < QUOTA_DELTAS);
	if (i == tx->nquotas)
		tx->quotas[tx->nquotas++] = (struct quota_delta){.key = key};
	tx->quotas[i].n[FS_QUOTA_BYTES] += blocks;
	tx->quotas[i].n[FS_QUOTA_FILES] += inodes;
}

void quota_add(const struct inode *in, int64_t blocks, int64_t inodes)
{
	if (!quota_counts(in->ino) || in->fs->quota_off || in->p[I_FLAGS] & IF_STANDIN)
		return;
	for (unsigned kind = FS_QUOTA_USER; kind <= FS_QUOTA_TREE; kind++)
		delta_add(in->fs, kind, IN32(in, fields[kind]), blocks, inodes);
}

void quota_move(const struct inode *in, unsigned field, uint32_t to)
{
	int64_t blocks = (int64_t)IN64(in, I_BLOCKS);
	if (!quota_counts(in->ino) || in->fs->quota_off || IN32(in, field) == to)
		return;
	for (unsigned kind = FS_QUOTA_USER; kind <= FS_QUOTA_TREE; kind++)
		if (fields[kind] == field) {
			delta_add(in->fs, kind, IN32(in, field), -blocks, -1);
			delta_add(in->fs, kind, to, blocks, 1);
		}
}

/* ---- records ---- */

int quota_records(struct fs *fs, struct inode *holder, struct tree *t)
{
	int rc = inode_get(fs, QUOTA_INO, holder);
	if (!rc && IN_TYPE(holder) != QUOTA_TYPE)
		rc = -ERR_CORRUPT;
	if (!rc)
		*t = tree_of(holder);
	return rc;
}

int quota_find(struct tree *t, uint64_t key, struct tree_pos *pos, uint8_t **ret)
{
	unsigned len;
	int rc = tree_seek(t, key, pos);
	if (rc || tree_key(pos) != key)
		return rc ? rc : -ENOENT;
	*ret = tree_value(pos, &len);
	return len < Q_SIZE ? -ERR_CORRUPT : 0;
}

/* s from now on that more than a soft limit may be used. */
static int grace_end(struct tree *t, unsigned kind, unsigned unit, uint64_t now, uint64_t *ret)
{
	struct tree_pos pos;
	uint8_t *v;
	int rc = quota_find(t, quota_key(0, kind), &pos, &v);
	*ret = now + (rc ? QUOTA_GRACE : le64_get(v + 8 * unit));
	return rc == -ENOENT ? 0 : rc;
}

/* One unit of a record: use, and the grace time it begins or ends. v is a copy. */
static int unit_add(struct tree *t, uint64_t key, uint8_t *v, unsigned unit, int64_t n)
{
	struct fs *fs = t->fs;
	unsigned kind = (unsigned)(key >> 32);
	uint64_t used = le64_get(v + Q_USED + 8 * unit), soft = le64_get(v + Q_SOFT + 8 * unit),
		 hard = le64_get(v + Q_HARD + 8 * unit), until = le64_get(v + Q_UNTIL + 8 * unit);
	bool holds = n > 0 && !fs->quota_silent && (!fs->tx.unlimited || kind == FS_QUOTA_TREE);
	if (n < 0 && (uint64_t)-n > used) {
		corrupt_note(fs, t->in->b->block, QUOTA_INO, "less is counted than was used");
		n = -(int64_t)used;
	}
	used += (uint64_t)n;
	if (holds && hard && used > hard)
		return -EDQUOT;
	if (!soft || used <= soft) {
		until = 0;
	} else if (n > 0) {
		uint64_t now = env_realtime_ns(fs->env) / NS_PER_S;
		int rc = until ? 0 : grace_end(t, kind, unit, now, &until);
		if (rc)
			return rc;
		if (holds && now >= until)
			return -EDQUOT;
	}
	le64_put(v + Q_USED + 8 * unit, used);
	le64_put(v + Q_UNTIL + 8 * unit, until);
	return 0;
}

bool quota_is_empty(const uint8_t *v)
{
	for (unsigned i = 0; i < Q_SIZE; i++)
		if (v[i])
			return false;
	return true;
}

static int delta_enter(struct tree *t, const struct quota_delta *d)
{
	struct tree_pos pos;
	uint8_t v[Q_SIZE] = {0}, *at;
	int rc = quota_find(t, d->key, &pos, &at);
	bool made = rc == -ENOENT;
	if (rc && !made)
		return rc;
	if (!made)
		memcpy(v, at, Q_SIZE);
	rc = 0;
	for (unsigned i = 0; i < FS_QUOTA_UNITS && !rc; i++)
		if (d->n[i])
			rc = unit_add(t, d->key, v, i, d->n[i]);
	if (rc)
		return rc;
	if (made)
		return quota_is_empty(v) ? 0 : tree_insert(t, d->key, v, Q_SIZE);
	if (quota_is_empty(v))
		return tree_delete(t, d->key);
	struct buf *leaf = pos.b[pos.depth - 1];
	txn_touch(t->fs, leaf, (unsigned)(at - leaf->data), Q_CHANGING);
	memcpy(at, v, Q_CHANGING);
	return 0;
}

int quota_apply(struct fs *fs)
{
	struct txn *tx = &fs->tx;
	struct inode holder;
	struct tree t;
	if (!tx->nquotas || fs->quota_off)
		return 0;
	int rc = quota_records(fs, &holder, &t);
	for (unsigned i = 0; i < tx->nquotas && !rc; i++)
		if (tx->quotas[i].n[FS_QUOTA_BYTES] || tx->quotas[i].n[FS_QUOTA_FILES])
			rc = delta_enter(&t, &tx->quotas[i]);
	if (rc == -ERR_CORRUPT) {
		quota_give_up(fs);
		rc = 0;
	}
	return rc;
}

void quota_give_up(struct fs *fs)
{
	fs->quota_off = true;
	event_write(
	    LOG_L_ERROR, "fs.quota",
	    "%s: the quota records are damaged: nothing is counted or limited until a check "
	    "has repaired them",
	    fs->dev->name);
}
