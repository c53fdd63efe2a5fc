/* Which calls have been carried out: see memo.c. */
#ifndef ISTHMUS_NASFRONT_FS_MEMO_H
#define ISTHMUS_NASFRONT_FS_MEMO_H

#include "nasfront/fs/impl.h"

/* ---- for calls ---- */

/* Was it carried out before the mount? Gives its object (ret may be NULL). */
bool memo_find(struct fs *fs, const struct fs_cred *c, enum memo_kind kind, struct fs_fid *ret);
/* In the body that makes it true, with its object: the key it came with, if it did, becomes stable
 * with what the body changes. */
void memo_note(const struct fs_cred *c, enum memo_kind kind, const struct inode *in);
/* The attributes of an answer: 0 as well when the object has gone (then there are none). Waits. */
int memo_wcc(struct fs *fs, const struct fs_fid *f, struct fs_wcc *wcc);

/* ---- for txn.c ---- */

/* At the end of a body: enters what it noted. -EAGAIN, -ENOMEM. */
int memo_enter(struct fs *fs);
/* The body's changes have joined the running batch. */
void memo_entered(struct fs *fs);

/* ---- the ring: memo_ring.c ---- */

/* What is known of it while it is mounted. */
struct memos {
	uint64_t *blocks; /* the ring */
	unsigned n;	  /* 0: none is written */
	unsigned at;	  /* the block written last, and the memos in it */
	unsigned used;
	struct buf *b; /* that block, pinned; NULL: the next memo begins another */
	uint64_t seq;  /* the highest number */

	struct memo_known *known; /* memos that were there at the mount */
	uint32_t *index;	  /* by hash of the key: number in known plus one, 0: none */
	size_t nknown, room, mask;
	struct env_timer timer;
	bool timer_on;
};
struct memo_known {
	uint8_t key[32];
	uint64_t seq, ino;
	uint32_t generation;
	uint32_t next; /* as the index */
	uint8_t kind;
};
uint64_t memo_hash(const struct fs *fs, const uint8_t key[32]);

/* How many blocks a file system of so many has for memos. */
uint64_t memo_ring_size(uint64_t blocks);
/* Writes blocks without memos to their places. Waits. */
int memo_blank(struct fs *fs, uint64_t start, uint64_t len);
/* The mount's last step: makes the ring when there is none, reads it. */
int memo_start(struct fs *fs);
/* No timer runs afterwards. */
void memo_stop(struct fs *fs);
void memo_free(struct fs *fs);
/* In a body: a block of the ring without memos, not read. -EAGAIN: somebody reads it. */
int memo_block_new(struct fs *fs, uint64_t block, struct buf **ret);
/* NULL or what is wrong. */
const char *memo_block_verify(const uint8_t *d);

#endif
