/*
 * The file system's insides, by file; format in layout.h, invariants in README.md.
 *
 * Bodies: all that reads or changes metadata is a *body*: code between two waits. A body finds
 * its blocks with meta_get(), which never waits; when one is not in memory it notes which in
 * fs->need and returns -EAGAIN, the body gives up, op_retry() undoes its changes, waits for the
 * block and lets the body run again. So bodies are atomic towards each other and towards the
 * journal, need no locks, and any error leaves nothing half done.
 */
#ifndef ISTHMUS_NASFRONT_FS_IMPL_H
#define ISTHMUS_NASFRONT_FS_IMPL_H

#include "nasfront/fs/layout.h"
#include "runtime/bdev.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/task.h"
#include <bsd/sys/queue.h>
#include <errno.h>

/* ---- metadata blocks in memory: meta.c ---- */

#define BUF_MAGIC  0x62756620
#define BUF_CHUNKS 64 /* chunks of 64 bytes, one bit each in a mask */

/* By cache lines: what a look-up reads, what a change touches, the rest. */
struct buf {
	_Alignas(64) LIST_ENTRY(buf) hash_link;
	uint64_t block;
	uint64_t owner; /* as in the block's header */
	uint8_t *data;
	uint32_t magic;
	uint16_t type;
	bool reading;	 /* being loaded; data not valid */
	bool referenced; /* clock */
	unsigned pins;	 /* may not be evicted */
	bool dirty;	 /* differs from its place; on fs->dirty */
	bool image;	 /* the running batch logs all of it */
	bool op_new;	 /* made by the running body */
	bool op_in;	 /* in fs->tx.bufs */
	bool dropped;	 /* a spare without memory */

	_Alignas(64) uint64_t batch; /* sequence of the batch it is in, 0 none */
	uint64_t mask;		     /* chunks changed in that batch */
	uint64_t op_mask;	     /* chunks changed (and saved) by the running body */
	uint64_t first_pos; /* log position of its image since it became dirty; POS_UNSET */
	TAILQ_ENTRY(buf) batch_link, dirty_link;

	TAILQ_ENTRY(buf) lru_link;
	struct waitq waiters; /* for the end of reading */
};
TAILQ_HEAD(buf_list, buf);
LIST_HEAD(buf_bucket, buf);
STAILQ_HEAD(slabs, slab);
#define POS_UNSET UINT64_MAX

/* An operation's hold on what it needs across restarts of its body. */
#define OP_PINS	    64
#define OP_BUFS_MAX 128 /* blocks a body may change */
struct op {
	struct fs *fs;
	bool writes;
	int npins, next_pin;
	int space_tries, bad_tries;
	struct buf *pins[OP_PINS];
};

/* slab.c: a buffer with memory for its block. NULL: no memory. */
struct buf *slab_take(struct fs *fs);
void slab_free_all(struct fs *fs);
/* b->data, without reading *b. */
const uint8_t *slab_data(const struct buf *b);

int meta_init(struct fs *fs, uint64_t memory);
void meta_free_all(struct fs *fs);
/* Never waits. -EAGAIN: not in memory (noted in fs->need). -ERR_CORRUPT: not of that type/owner. */
int meta_get(struct fs *fs, uint64_t block, unsigned type, uint64_t owner, struct buf **ret);
/* In memory or NULL; no checks. */
struct buf *meta_find(struct fs *fs, uint64_t block);
/* Waits. Gives the block pinned. */
int meta_load(struct fs *fs, uint64_t block, unsigned type, struct buf **ret);
/* A zeroed buffer for `block`, in the cache; header filled in. */
struct buf *meta_insert(struct fs *fs, uint64_t block, unsigned type, uint64_t owner);
/* Forgets it. */
void meta_drop(struct fs *fs, struct buf *b);
void meta_trim(struct fs *fs);
/* Lets go of a block that is only a copy of what is on the volume: it is read again when wanted. */
void meta_forget_clean(struct fs *fs, uint64_t block);
void meta_unpin(struct buf *b);
/* Sets crc and sequence in `data`. */
void block_seal(uint8_t *data, uint64_t seq);
void block_header(struct fs *fs, uint8_t *data, uint64_t block, unsigned type, uint64_t owner);
/* NULL when sound, else what is wrong. `type` 0: any. */
const char *block_verify(const uint8_t *uuid, const uint8_t *data, uint64_t block, unsigned type);
/* The insides of a node or inode block: NULL or what is wrong. */
const char *tree_node_verify(const uint8_t *d);
const char *inode_block_verify(const uint8_t *d);
void corrupt_note(struct fs *fs, uint64_t block, uint64_t owner, const char *what);

/* ---- bodies and their changes: txn.c ---- */

struct extent {
	uint64_t start, len;
};
struct undo {
	uint16_t buf;
	uint16_t chunk;
};
/* What the running body adds to the use of one owner, group or tree. */
struct quota_delta {
	uint64_t key;
	int64_t n[FS_QUOTA_UNITS]; /* blocks, inodes */
};
#define QUOTA_DELTAS 24

/* What the running body leaves as a memo (memo.c). */
struct memo_note {
	const struct fs_once *once; /* NULL: nothing */
	uint64_t ino;
	uint32_t generation, kind;
	struct buf *b; /* where it was entered */
	bool fresh;    /* in a block begun with it */
};

struct txn {
	bool open;
	bool last_blocks; /* may take the blocks kept back for removals */
	bool unlimited;	  /* root's: limits of owners and groups do not hold */
	unsigned nquotas;
	struct quota_delta quotas[QUOTA_DELTAS];
	struct memo_note memo;
	int64_t dfree, dinodes, dslots; /* changes of the file system's totals */
	unsigned nbufs, nundo, nfreed, nrevokes;
	struct buf *bufs[OP_BUFS_MAX];
	struct undo *undo;
	uint8_t *saved;
	struct extent freed[160]; /* blocks freed: busy until stable */
	uint64_t revokes[160];
};

/* A read or write of file data in flight: blocks freed since it began are not used again. */
struct io_hold {
	uint64_t began;
	TAILQ_ENTRY(io_hold) link;
};
TAILQ_HEAD(io_holds, io_hold);

void op_begin(struct op *op, struct fs *fs, bool writes);
/* First thing of every try. May wait (journal space). 0 or the error the file system is in. */
int op_try(struct op *op);
/* After a try: true: go round again. Otherwise *rc is final and the body's changes are in the
 * running batch (*rc == 0) or undone. */
bool op_retry(struct op *op, int *rc);
/* Lets go of what it held. */
void op_end(struct op *op);
/* op_end() and, when rc is 0, waits until what it did is stable. Returns rc or the error. */
int op_commit(struct op *op, int rc);
/* The same for unstable data: until batch `seq` would outlive this process. */
int op_commit_soft(struct op *op, uint64_t seq);

#define OP_LOOP(op, rc, body)                                                                      \
	do {                                                                                       \
		rc = op_try(op);                                                                   \
		if (!rc)                                                                           \
			rc = (body);                                                               \
	} while (op_retry(op, &rc))

/* Before changing bytes of a block. */
void txn_touch(struct fs *fs, struct buf *b, unsigned off, unsigned len);
/* A new metadata block, all of it logged. */
struct buf *txn_new(struct fs *fs, uint64_t block, unsigned type, uint64_t owner);
/* The block is metadata no more. */
void txn_revoke(struct fs *fs, struct buf *b);

bool space_wait(struct fs *fs);
void io_hold_begin(struct fs *fs, struct io_hold *h);
void io_hold_end(struct fs *fs, struct io_hold *h);

/* ---- journal.c, replay.c, checkpoint.c ---- */

struct batch {
	uint64_t seq;
	struct buf_list bufs;
	unsigned nbufs, nrevokes, ops;
	uint64_t *revokes;
	bool data_flush; /* data was written that its metadata points at */
	bool hard;	 /* somebody waits until it is stable */
};

int journal_init(struct fs *fs);
void journal_free(struct fs *fs);
bool journal_room(const struct fs *fs);
/* Waits until a body may join the running batch. */
int journal_reserve(struct fs *fs);
/* Waits until the batch is stable. */
int journal_wait(struct fs *fs, uint64_t seq);
/* Waits until the batch is at least in the device's memory, where that has an identity. */
int journal_wait_soft(struct fs *fs, uint64_t seq);
/* Sees to it that what is in the running batch becomes stable before long. */
void journal_later(struct fs *fs);
int journal_head_write(struct fs *fs, uint64_t tail, bool clean);
/* bdev_flush(), and an error when the memory that held what was written is gone. */
int journal_flush(struct fs *fs);
/* The device failed: the next mount takes nothing for kept. Waits. */
void journal_give_up(struct fs *fs, int err);
/* The newer header. One that cannot be read may be that: only a repair goes on without. */
int journal_head_read(struct fs *fs, bool *ret_clean);
/* clean: the log is empty, whatever can be read of it. */
int journal_replay(struct fs *fs, bool clean, uint64_t *ret_batches);
/* A read failed so: what was there is lost. Another error may pass. */
static inline bool journal_unreadable(int64_t rc)
{
	return rc == -EIO || rc == -ERR_MEDIUM;
}
/* Writes over all of the log, which is empty. */
int journal_wipe(struct fs *fs);
/* Reads the record at `pos` into fs->log. Blocks it takes, 0 when there is none, or an error;
 * fs->log_lost says why when it is lost. */
int64_t journal_record_read(struct fs *fs, uint64_t pos);
/* Much of the log or of the memory is in use. */
bool checkpoint_due(const struct fs *fs);
void checkpoint_kick(struct fs *fs);
/* Waits. Writes dirty blocks home until little enough is in use; all: until none is dirty. */
int checkpoint_run(struct fs *fs, bool all);
/* The device failed or a structure of the journal did: no more changes. */
void fs_fail(struct fs *fs, int err);

/* ---- alloc.c ---- */

bool block_is_data(const struct fs *fs, uint64_t block);
bool extent_is_data(const struct fs *fs, uint64_t block, uint64_t len);
uint64_t ag_of(const struct fs *fs, uint64_t block);
uint64_t ag_first(const struct fs *fs, uint64_t ag);
uint32_t ag_size(const struct fs *fs, uint64_t ag);
/* In a body: one metadata block. */
int alloc_node(struct fs *fs, uint64_t goal, uint64_t *ret); /* among other nodes */
int alloc_block(struct fs *fs, uint64_t goal, uint64_t *ret);
/* Blocks for data: set aside in memory only, until alloc_claim() in the body that maps them, or
 * alloc_release(). -EAGAIN as a body. */
int alloc_reserve(struct fs *fs, uint64_t goal, uint64_t want, struct extent *ret);
int alloc_claim(struct fs *fs, uint64_t start, uint64_t len);
void alloc_unreserve(struct fs *fs, uint64_t start, uint64_t len);
/* In a body. -ERR_CORRUPT when they are not all in use. */
int alloc_free(struct fs *fs, uint64_t start, uint64_t len);
int alloc_inode(struct fs *fs, uint64_t ag_goal, uint64_t *ret_ino, uint32_t *ret_gen);
int alloc_free_inode(struct fs *fs, uint64_t ino);
/* In a body: one more inode of the root block is in use. */
void alloc_holder(struct fs *fs);
/* A block that a new inode was to go to cannot be read. */
void alloc_inode_block_bad(struct fs *fs, uint64_t block);
bool alloc_is_inode_block(struct fs *fs, uint64_t block, int *rc);
void busy_set(struct fs *fs, uint64_t start, uint64_t len, bool on);
void quarantine_add(struct fs *fs, uint64_t start, uint64_t len, uint64_t seq);
void quarantine_reap(struct fs *fs);
uint64_t alloc_data_avail(const struct fs *fs);
uint64_t alloc_dir_ag(struct fs *fs);
uint8_t *summary_of(struct fs *fs, uint64_t ag, struct buf **ret_b, unsigned *ret_off);

/* ---- inode.c ---- */

struct inode { /* valid within one body */
	struct fs *fs;
	uint64_t ino;
	struct buf *b;
	uint8_t *p;
};
uint64_t ino_block(const struct fs *fs, uint64_t ino);
uint64_t block_ino(const struct fs *fs, uint64_t block, unsigned slot);
/* -ESTALE when free. */
int inode_get(struct fs *fs, uint64_t ino, struct inode *ret);
int inode_get_fid(struct fs *fs, const struct fs_fid *f, struct inode *ret);
int inode_get_dir(struct fs *fs, const struct fs_fid *f, struct inode *ret); /* -ENOTDIR */
void inode_touch(struct inode *in); /* the fixed part is about to change */
void inode_touch_area(struct inode *in);
void inode_attr(const struct inode *in, struct fs_attr *ret);
enum inode_stamp { STAMP_ATIME = 1, STAMP_MTIME = 2, STAMP_CTIME = 4 };
/* Times := now; the change counter moves with mtime or ctime. Touches. */
void inode_stamp(struct inode *in, unsigned which);
void inode_time_get(const struct inode *in, unsigned sec, unsigned nsec, struct fs_time *ret);
void inode_time_set(struct inode *in, unsigned sec, unsigned nsec, const struct fs_time *t);
/* Makes one; the caller sets the rest. */
int inode_new(struct fs *fs, uint64_t ag_goal, enum fs_type type, uint32_t mode, uint32_t uid,
	      uint32_t gid, uint32_t tree, struct inode *ret);
/* One of the root block's, that holds the file system's own records: made when it is not there. */
int inode_holder(struct fs *fs, uint64_t ino, unsigned type, struct inode *ret);
/* Gives the number back; no blocks may be left. */
int inode_free(struct inode *in);

/* Whose the nodes of an inode's map say they are. */
static inline uint64_t inode_map_owner(const uint8_t *p, uint64_t ino)
{
	return p[I_FLAGS] & IF_STANDIN ? le64_get(p + I_PARENT) : ino;
}

#define IN16(in, f)	   le16_get((in)->p + (f))
#define IN32(in, f)	   le32_get((in)->p + (f))
#define IN64(in, f)	   le64_get((in)->p + (f))
#define IN_SET32(in, f, v) le32_put((in)->p + (f), (v))
#define IN_SET64(in, f, v) le64_put((in)->p + (f), (v))
#define IN_TYPE(in)	   ((in)->p[I_TYPE])

/* ---- tree_node.c, tree.c: B+trees of variable values under 64-bit keys ---- */

struct tree {
	struct fs *fs;
	struct inode *in;
	unsigned type;	      /* BT_EXTENTS ... */
	unsigned root, level; /* where the inode keeps them */
	uint64_t goal;	      /* near which to allocate */
};
struct tree_pos {
	int depth; /* number of nodes; 0: empty tree */
	struct buf *b[TREE_MAX_LEVEL + 1];
	unsigned at[TREE_MAX_LEVEL + 1]; /* child or slot */
};
unsigned node_count(const uint8_t *d);
unsigned node_level(const uint8_t *d);
uint64_t leaf_key(const uint8_t *d, unsigned i);
uint8_t *leaf_value(uint8_t *d, unsigned i, unsigned *ret_len);
/* A node is about to be sought in. */
void node_prefetch(const uint8_t *d);
/* First slot with a key >= key; a good guess makes it fast. */
unsigned leaf_seek(const uint8_t *d, uint64_t key, unsigned guess);
unsigned leaf_used(const uint8_t *d);
bool leaf_fits(const uint8_t *d, unsigned vlen);
void leaf_insert(struct fs *fs, struct buf *b, unsigned i, uint64_t key, const void *v,
		 unsigned vlen);
void leaf_delete(struct fs *fs, struct buf *b, unsigned i);
void leaf_compact(struct fs *fs, struct buf *b);
/* Moves slots from..count of b to the end of `to`. */
void leaf_move(struct fs *fs, struct buf *b, unsigned from, struct buf *to);
uint64_t inner_key(const uint8_t *d, unsigned i);
uint64_t inner_child(const uint8_t *d, unsigned i);
unsigned inner_seek(const uint8_t *d, uint64_t key, unsigned guess);
void inner_set_key(struct fs *fs, struct buf *b, unsigned i, uint64_t key);
void inner_insert(struct fs *fs, struct buf *b, unsigned i, uint64_t key, uint64_t child);
void inner_delete(struct fs *fs, struct buf *b, unsigned i);
void inner_move(struct fs *fs, struct buf *b, unsigned from, struct buf *to);

/* Of the nodes of an inode of that type; 0: it has no tree. */
unsigned tree_type(unsigned inode_type);
struct tree tree_of(struct inode *in);
/* To the first entry with a key >= key. -ENOENT when there is none. */
int tree_seek(struct tree *t, uint64_t key, struct tree_pos *ret);
/* To the last entry with a key <= key. -ENOENT when there is none. */
int tree_seek_le(struct tree *t, uint64_t key, struct tree_pos *ret);
int tree_next(struct tree *t, struct tree_pos *pos);
uint64_t tree_key(const struct tree_pos *pos);
uint8_t *tree_value(const struct tree_pos *pos, unsigned *ret_len);
void tree_touch_value(struct tree *t, const struct tree_pos *pos);
int tree_insert(struct tree *t, uint64_t key, const void *v, unsigned vlen); /* -EEXIST */
int tree_delete(struct tree *t, uint64_t key);				     /* -ENOENT */
int tree_nodes(struct tree *t, uint64_t *ret);				     /* how many it has */

/* ---- extent.c ---- */

struct map {
	uint64_t fblk, phys, len; /* phys 0: a hole */
	bool unwritten;		  /* blocks that read as zeros */
	bool shared;		  /* others may lead to them too: not to be written in place */
};
/* What is at fblk: at most `max` blocks of one extent or hole. */
int ext_map(struct inode *in, uint64_t fblk, uint64_t max, struct map *ret);
/* fblk.. must be a hole. Joins neighbours. flags: EXT_UNWRITTEN or 0. */
int ext_insert(struct inode *in, uint64_t fblk, uint64_t phys, uint64_t len, uint32_t flags);
/* A part of an unwritten extent is data now. */
int ext_written(struct inode *in, uint64_t fblk, uint64_t len);
/* The extent that covers fblk may be shared from now on. */
int ext_share(struct inode *in, uint64_t fblk);
/* A part of a shared extent is data of this file alone from now on, at phys. */
int ext_alone(struct inode *in, uint64_t fblk, uint64_t len, uint64_t phys);
/* Frees blocks from ... to - 1, from the end, a bounded number of extents. 1: there is more. */
int ext_punch(struct inode *in, uint64_t from, uint64_t to);
/* The same from fblk on. */
int ext_cut(struct inode *in, uint64_t fblk);
/* Each has the other's extents; of I_BLOCKS the caller sees to. */
int ext_exchange(struct inode *a, struct inode *standin);
/* Where to allocate for fblk. */
uint64_t ext_goal(struct inode *in, uint64_t fblk);

/* ---- share.c: in a body ---- */

/* How many own the blocks from start on: for how many of len that holds. */
int share_run(struct fs *fs, uint64_t start, uint64_t len, uint64_t *ret_len, uint32_t *ret_owners);
/* One owner more of blocks that share_run() gave as one run. -EMLINK. */
int share_add(struct fs *fs, uint64_t start, uint64_t len);
/* One owner less of the first (last) run of these blocks; it is freed with the last one. */
int share_drop(struct fs *fs, uint64_t start, uint64_t len, uint64_t *ret_len);
int share_drop_last(struct fs *fs, uint64_t start, uint64_t len, uint64_t *ret_len);
/* Waits until no crash brings back an owner that went, and none of its reads is under way: then
 * what has one owner left may be written in place. The caller holds no io_hold. */
int share_settle(struct fs *fs);
/* Makes the holder of the records when there is none. */
int share_holder(struct fs *fs, struct inode *ret);

/* ---- unshare.c ---- */

/* Blocks from ... to - 1 of a file are no other's afterwards. The caller holds their range. */
int file_unshare(struct fs *fs, const struct fs_fid *f, uint64_t from, uint64_t to);

/* ---- dir.c ---- */

struct dirent_ref {
	uint64_t key, ino;
	enum fs_type type;
	const char *name; /* in the block */
	unsigned namelen;
};
int name_check(const char *name, uint32_t len);
int dir_find(struct inode *dir, const char *name, uint32_t len, struct dirent_ref *ret);
/* A name that dir_find() did not find, under the key it gave. */
int dir_add_new(struct inode *dir, uint64_t key, const char *name, uint32_t len, uint64_t ino,
		enum fs_type type);
int dir_add(struct inode *dir, const char *name, uint32_t len, uint64_t ino, enum fs_type type);
int dir_del(struct inode *dir, uint64_t key);
int dir_set(struct inode *dir, uint64_t key, uint64_t ino, enum fs_type type);
int dirent_parse(const uint8_t *v, unsigned vlen, struct dirent_ref *ret);
uint64_t dir_hash(const struct fs *fs, const char *name, uint32_t len);

/* ---- access.c ---- */

bool cred_root(const struct fs_cred *c);
bool cred_in_group(const struct fs_cred *c, uint32_t gid);
/* Rights beside R=4 W=2 X=1; without a list the first three are W, the others the owner's. */
enum may {
	MAY_ADD_FILE = 8,
	MAY_ADD_DIR = 16,
	MAY_DELETE_CHILD = 32,
	MAY_SET_ACL = 64,
	MAY_SET_OWNER = 128,
	MAY_SET_TIMES = 256,
	MAY_DELETE = 512, /* whatever its directory says; only lists give it */
};
/* In a body, by list or mode: 0, -EACCES, or as reading the list failed. */
int inode_may(const struct fs_cred *c, const struct inode *in, unsigned want);
/* The same of enum fs_ace_mask: those it has. */
int inode_rights(const struct fs_cred *c, const struct inode *in, uint32_t want, uint32_t *ret);
/* The same where the owner may always (data of files NFS clients hold open). */
/* What is left of a mode when the file was written or given away by who is not root. */
uint32_t mode_without_setid(uint32_t mode);
bool inode_drop_setid(const struct fs_cred *c, struct inode *in); /* true: it changed */
int inode_may_data(const struct fs_cred *c, const struct inode *in, unsigned want);

/* ---- range.c ---- */

#define RANGE_BUCKETS 512
#define RANGE_PARTS   2
struct range_lock;
/* A short lock in the bucket of one grain that it touches. */
struct range_part {
	TAILQ_ENTRY(range_part) link;
	struct range_lock *lock;
};
/* Lies with the task that holds or wants it. */
struct range_lock {
	uint64_t ino, start, end, seq;
	struct waitq q;
	unsigned nparts; /* 0: wide */
	struct range_part parts[RANGE_PARTS];
	TAILQ_ENTRY(range_lock) wide_link;
};
TAILQ_HEAD(range_bucket, range_part);
struct ranges {
	struct range_bucket buckets[RANGE_BUCKETS];
	TAILQ_HEAD(, range_lock) wide;
	unsigned nshort;
	uint64_t seq;
};
void ranges_init(struct ranges *r);
/* Bytes start ... end - 1 of the inode. Waits for who came before; true: it did wait. */
bool range_lock(struct fs *fs, struct range_lock *l, uint64_t ino, uint64_t start, uint64_t end);
void range_unlock(struct fs *fs, struct range_lock *l);

/* ---- setattr.c ---- */

/* fs_setattr() for a call that is remembered as `kind`. */
int setattr_as(struct fs *fs, enum memo_kind kind, const struct fs_cred *cred,
	       const struct fs_fid *f, const struct fs_setattr *set, const struct fs_time *guard,
	       struct fs_wcc *wcc);
/* In a body: mode, owner and times (not size); checks rights. */
int attr_check(const struct fs_cred *c, const struct inode *in, const struct fs_setattr *set);
void attr_apply(const struct fs_cred *c, struct inode *in, const struct fs_setattr *set);
void wcc_pre(struct fs_wcc *wcc, const struct inode *in);
void wcc_post(struct fs_wcc *wcc, const struct inode *in);
/* Frees what lies past the size of a file whose cut is not finished. */
int file_cut(struct fs *fs, const struct fs_fid *f);
/* Zeroes bytes from ... to - 1 of one block of a file where it has data. The caller holds its
 * range. */
int file_zero(struct fs *fs, const struct fs_fid *f, uint64_t from, uint64_t to);
/* Zeroes the rest of the block that `size` ends in. */
int file_zero_tail(struct fs *fs, const struct fs_fid *f, uint64_t size);
/* Locks from block of min(off, size) to end (UINT64_MAX: all), so that extending is safe. */
int file_lock(struct fs *fs, const struct fs_fid *f, uint64_t off, uint64_t end,
	      struct range_lock *l, uint64_t *ret_size);
/* The same for who knows the file's size: *size, seen without a wait since. */
int file_lock_sized(struct fs *fs, const struct fs_fid *f, uint64_t off, uint64_t end,
		    struct range_lock *l, uint64_t *size);

/* ---- quota.c ---- */

/* In a body: blocks or the inode itself come or go, to whom it belongs now. */
void quota_add(const struct inode *in, int64_t blocks, int64_t inodes);
/* In a body, before the inode's owner, group or tree becomes another. */
void quota_move(const struct inode *in, unsigned field, uint32_t to);
/* At the end of a body: enters what it added. -EDQUOT, -EAGAIN. */
int quota_apply(struct fs *fs);
/* The records cannot be read: nothing is counted until the next mount; a check mends it. */
void quota_give_up(struct fs *fs);
/* For quota*.c: the records' tree, and one of them (its value, in the block). */
int quota_records(struct fs *fs, struct inode *holder, struct tree *t);
int quota_find(struct tree *t, uint64_t key, struct tree_pos *pos, uint8_t **ret);
bool quota_is_empty(const uint8_t *v);
static inline uint64_t quota_key(unsigned kind, uint32_t id)
{
	return (uint64_t)kind << 32 | id;
}
/* Not counted: the root block's own (root directory, orphans, these records). */
static inline bool quota_counts(uint64_t ino)
{
	return ino >= INODES_PER_BLOCK;
}

/* ---- orphan.c ---- */

int orphan_add(struct fs *fs, uint64_t ino, unsigned what);
int orphan_del(struct fs *fs, uint64_t ino);
/* In a body: the last name is gone. Frees the inode now, or leaves it to the reaper. */
int inode_unlinked(struct inode *in);
/* This one may be freed: by and by. */
void orphan_reap_kick(struct fs *fs, uint64_t ino);
/* All that may be. */
void orphan_reap_kick_all(struct fs *fs);
/* Waits until all are freed that may be. */
int orphan_reap(struct fs *fs);
/* Waits until this one is freed. */
int orphan_free(struct fs *fs, uint64_t ino);
/* One that is not to be freed yet: of a clone under way (standin.c). */
struct standin {
	uint64_t ino;
	LIST_ENTRY(standin) link;
};
LIST_HEAD(standins, standin);

/* ---- kept.c ---- */

/* In a body, when the last name goes: 1 when somebody has the file open; then it stays. 0: nobody.
 * -ENOMEM: it cannot be kept, so its name has to stay. */
int kept_take(const struct inode *in);
void kept_drop(const struct inode *in);
bool kept_has(const struct inode *in);
bool kept_in_use(const struct inode *in); /* still */
void kept_free(struct fs *fs);

/* ---- the mounted file system: mount.c ---- */

struct ag_state {
	uint64_t *busy; /* bits: not to be allocated though the bitmap says free; NULL: none */
	uint32_t nbusy;
	uint32_t rover;	     /* where the last allocation ended */
	uint32_t inode_hint; /* where an inode block with a free slot was seen */
	struct extent nodes; /* set aside for tree nodes, absolute: alloc_node() */
	uint64_t spill;	     /* full: the group its inodes go to, plus one; 0: none yet */
};

struct quarantined {
	uint64_t start, len, seq, io;
	STAILQ_ENTRY(quarantined) link;
};
STAILQ_HEAD(quarantine, quarantined);

struct verify_watch;

#define FS_MAGIC	 0x49534653
#define BAD_INODE_BLOCKS 64
#define REAP_MAX	 1024
#define COPIES		 16 /* that are asked of the device at most */

struct fs {
	uint32_t magic;
	unsigned refs; /* the mount, and each of its own tasks */
	struct env *env;
	struct bdev *dev;
	bool read_only, dead, abandoned, stopping;
	bool quiet;   /* until it is mounted */
	bool salvage; /* a repair: what a damaged journal has lost does not keep it from mounting */
	const char *log_lost; /* why what the journal's last records changed is lost, or NULL */
	/* Inode blocks that could not be read since the mount (a ring): no new inode goes there. */
	uint64_t bad_inodes[BAD_INODE_BLOCKS];
	unsigned nbad_inodes;
	unsigned checking; /* blocks read now are looked at on every mirror */
	int error;	   /* why no changes are possible any more */
	uint8_t uuid[16], hash_key[16];
	uint32_t version; /* of the format */
	uint64_t blocks, summary_start, summary_blocks, journal_start, journal_blocks, ag_start,
	    ag_count, root_block;

	/* metadata cache */
	struct buf_bucket *hash;
	size_t hash_mask;
	struct buf_list lru; /* all but those being read; clock hand at the head */
	struct buf_list dirty;
	struct buf_list spare; /* buffers with memory and no block */
	struct slabs slabs;
	uint64_t nbufs, max_bufs, ndirty;
	uint64_t resident; /* buffers whose block has memory: nbufs, and spares */
	struct {
		uint64_t block;
		unsigned type;
		bool alloc; /* for a new inode: another block would do */
	} need;

	/* allocation */
	struct buf **summary; /* pinned */
	struct ag_state *ags;
	uint64_t next_ag, last_dir_ag;
	uint64_t free_blocks, used_inodes, free_slots; /* sums of the summary */
	uint64_t nbusy;				       /* bits set in all busy maps */
	unsigned nodes_runs;			       /* groups with blocks set aside for nodes */
	struct quarantine quarantine;
	struct waitq quarantine_q;
	struct io_holds ios;
	uint64_t io_seq;
	/* The last time an owner of shared blocks went and others stayed: its batch, reads and
	 * writes begun until then. */
	uint64_t share_seq, share_io;
	unsigned share_waiters;

	/* journal */
	struct txn tx;
	struct batch run;
	uint8_t *log; /* the batch being written */
	size_t log_size;
	uint64_t log_blocks; /* of the circular log */
	unsigned batch_max;  /* blocks */
	uint64_t head, tail; /* positions */
	uint64_t nonce, jgen, verifier;
	uint64_t stable; /* highest stable batch */
	uint64_t soft;	 /* highest batch written, >= stable; those between are soft */
	bool writing;
	uint64_t write_seq; /* the batch being written, 0: none sealed yet */
	bool write_hard;
	struct task_mutex head_lock;
	uint64_t memory_id; /* of the device at the mount; before: as the header says */
	uint64_t hard_pos;  /* records before it are stable */
	bool memory_lives;  /* it is the one of the mount before */
	struct waitq commit_q[2];
	struct waitq space_q;
	struct env_timer commit_timer, checkpoint_timer;
	bool commit_timer_on, checkpoint_timer_on;
	bool checkpointing, checkpoint_wanted;
	uint64_t checkpoint_to; /* the tail is to come here, however little is in use */
	struct waitq checkpoint_q;
	uint8_t *bounce;

	/* data */
	struct ranges ranges;
	struct fs_read_part *free_parts;
	struct write_ctx *free_wctx;

	bool growing;
	bool quota_off;	   /* nothing is counted: a repair counts anew, or the records are lost */
	bool quota_silent; /* limits do not hold */
	bool reaping, reap_all;	      /* all orphans are to be looked at */
	uint64_t reap_ring[REAP_MAX]; /* these are */
	unsigned reap_first, reap_count;
	struct standins standins;
	unsigned clone_bufs; /* blocks a clone's body may have changed when it goes on */
	struct waitq reap_q, idle_q;
	struct kept_files *kept; /* NULL until there is one */
	struct memos *memos;	 /* NULL: none are written or known */
	fs_used_fn *used;
	void *used_arg;
	struct verify_watch *watch;
	struct fs_stats st;
};

void fs_ref(struct fs *fs);
void fs_unref(struct fs *fs);
void read_free_pool(struct fs *fs);
void write_free_pool(struct fs *fs);
/* Hooks of fs_verify(): what changed while it looked. */
void watch_block(struct fs *fs, uint64_t start, uint64_t len);
void watch_inode(struct fs *fs, uint64_t ino);

/* A mount that fs_check() drives: no reaper. */
int mount_raw(struct fs **ret, struct env *env, struct bdev *dev, const struct fs_opts *o,
	      bool reap);
/* quiet: without events. */
int super_read(struct bdev *dev, uint8_t *sb, bool quiet);
bool super_sound(const uint8_t *sb, uint64_t dev_blocks);
void super_take(struct fs *fs, const uint8_t *d);
/* upgrade.c: to this program's format. The mount's last step; changes nothing when read-only. */
int fs_upgrade(struct fs *fs);
/* grow.c: the AG_META maps of an empty group, not sealed. */
void group_maps(struct fs *fs, uint64_t ag, uint8_t *d);

#endif
