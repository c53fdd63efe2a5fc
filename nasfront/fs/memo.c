/*
 * Memos: a call that came with a key (struct fs_once) is remembered in the transaction of what it
 * changed, so that after a crash or a takeover it is not carried out twice.
 *
 * A body notes that it makes its call true (memo_note()). When it has ended well op_retry() enters
 * the note into the ring (memo_enter(), after the quotas), as one changed chunk of the block that
 * the last memo went to; a body that is undone leaves no memo, and the place in the ring moves on
 * only when a body's changes join the running batch (memo_entered()), so none is lost or used
 * twice. That block is pinned: it is never read for a memo. The next one is begun without being
 * read: nothing of it is kept.
 *
 * README.md has the invariants (M1 to M6).
 */
#include "nasfront/fs/memo.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/siphash.h"
#include <errno.h>

/* ---- calls ---- */

uint64_t memo_hash(const struct fs *fs, const uint8_t key[32])
{
	const uint64_t k[2] = {le64_get(fs->hash_key), le64_get(fs->hash_key + 8)};
	return siphash(k, key, 32);
}

/* kind 0: of any. */
static const struct memo_known *known(const struct fs *fs, const struct fs_cred *c,
				      enum memo_kind kind)
{
	const struct memos *m = fs->memos;
	if (!c || !c->once || !m || !m->nknown)
		return NULL;
	const struct memo_known *k = NULL;
	for (uint32_t i = m->index[memo_hash(fs, c->once->key) & m->mask]; i; i = k->next) {
		k = &m->known[i - 1];
		if ((!kind || k->kind == kind) && memcmp(k->key, c->once->key, sizeof(k->key)) == 0)
			return k;
	}
	return NULL;
}

bool memo_find(struct fs *fs, const struct fs_cred *c, enum memo_kind kind, struct fs_fid *ret)
{
	const struct memo_known *k = known(fs, c, kind);
	if (k && ret)
		*ret = (struct fs_fid){k->ino, k->generation};
	return k;
}

bool fs_done_before(const struct fs *fs, const struct fs_cred *cred)
{
	return known(fs, cred, 0);
}

void memo_note(const struct fs_cred *c, enum memo_kind kind, const struct inode *in)
{
	if (!c || !c->once || !in->fs->memos)
		return;
	in->fs->tx.memo = (struct memo_note){
	    .once = c->once, .ino = in->ino, .generation = IN32(in, I_GENERATION), .kind = kind};
}

int memo_wcc(struct fs *fs, const struct fs_fid *f, struct fs_wcc *wcc)
{
	struct fs_attr a;
	int rc = fs_getattr(fs, f, wcc ? &wcc->post : &a);
	if (wcc) {
		wcc->have_pre = false;
		wcc->have_post = !rc;
	}
	return rc == -ESTALE ? 0 : rc;
}

/* ---- the end of a body ---- */

/* The block that was written last, or the one after it. */
static int block_for(struct fs *fs, struct memos *m, struct memo_note *note)
{
	unsigned at = m->used;
	if (m->b && at < ME_PER_BLOCK) {
		note->b = m->b;
		txn_touch(fs, m->b, H_SIZE + at * ME_SIZE, ME_SIZE);
		return 0;
	}
	note->fresh = true;
	return memo_block_new(fs, m->blocks[(m->at + 1) % m->n], &note->b);
}

int memo_enter(struct fs *fs)
{
	struct memos *m = fs->memos;
	struct memo_note *note = &fs->tx.memo;
	note->b = NULL;
	note->fresh = false;
	int rc = m->n && m->seq + 1 < ME_SEQ_MAX ? block_for(fs, m, note) : -ENOSPC;
	if (rc == -ENOSPC || rc == -ERR_CORRUPT) { /* the ring is no use: all goes on without */
		m->n = 0;
		note->once = NULL;
		return 0;
	}
	if (rc)
		return rc;
	uint8_t *p = note->b->data + H_SIZE + (note->fresh ? 0 : m->used) * ME_SIZE;
	le64_put(p + ME_SEQ, m->seq + 1);
	memcpy(p + ME_KEY, note->once->key, sizeof(note->once->key));
	le64_put(p + ME_INO, note->ino);
	le32_put(p + ME_GENERATION, note->generation);
	le32_put(p + ME_KIND, note->kind);
	return 0;
}

void memo_entered(struct fs *fs)
{
	struct memos *m = fs->memos;
	const struct memo_note *note = &fs->tx.memo;
	if (note->fresh) {
		note->b->pins++;
		if (m->b)
			meta_unpin(m->b);
		m->b = note->b;
		m->at = (m->at + 1) % m->n;
		m->used = 0;
	}
	m->used++;
	m->seq++;
}

int memo_block_new(struct fs *fs, uint64_t block, struct buf **ret)
{
	struct buf *b = meta_find(fs, block);
	if (b && b->reading) {
		fs->need.block = block;
		fs->need.type = BT_MEMOS;
		fs->need.alloc = false;
		return -EAGAIN;
	}
	if (b && b->type != BT_MEMOS) {
		corrupt_note(fs, block, MEMO_INO, "belongs to another owner");
		return -ERR_CORRUPT;
	}
	if (b) {
		txn_touch(fs, b, 0, BS);
		memset(b->data, 0, BS);
		block_header(fs, b->data, block, BT_MEMOS, MEMO_INO);
		b->owner = MEMO_INO;
	} else {
		b = txn_new(fs, block, BT_MEMOS, MEMO_INO);
	}
	*ret = b;
	return b ? 0 : -ENOMEM;
}
