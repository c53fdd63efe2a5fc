/* Making a file system: layout by size, empty maps, the root directory; the superblock last. */
#include "nasfront/fs/memo.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdlib.h>

#define JOURNAL_MIN 1282	    /* blocks: headers and several batches */
#define JOURNAL_MAX (256 * 256 + 2) /* 256 MiB */
#define SUMMARY_MIN 64
#define RUN	    256

struct maker {
	struct env *env;
	struct bdev *dev;
	const struct fs_mkfs_opts *o;
	struct fs fs; /* layout only */
	uint8_t *buf;
	uint64_t memos; /* blocks behind the root inode block */
};

static int layout(struct maker *m)
{
	struct fs *fs = &m->fs;
	uint64_t journal = m->o->journal / BS;
	fs->blocks = m->dev->size / BS;
	if (!journal)
		journal = MIN(fs->blocks / 32, (uint64_t)JOURNAL_MAX);
	fs->journal_blocks = MAX(journal, (uint64_t)JOURNAL_MIN);
	fs->summary_start = SUMMARY_START;
	/* Room to grow fourfold, at least to 2 TiB. */
	fs->summary_blocks =
	    MAX(4 * (fs->blocks / AG_BLOCKS / SUM_PER_BLOCK + 1), (uint64_t)SUMMARY_MIN);
	fs->journal_start = fs->summary_start + fs->summary_blocks;
	fs->ag_start = fs->journal_start + fs->journal_blocks;
	if (fs->journal_blocks >= fs->blocks || fs->ag_start + AG_MIN * 4 > fs->blocks)
		return -EINVAL;
	uint64_t rest = (fs->blocks - 1 - fs->ag_start) % AG_BLOCKS;
	if (rest < AG_MIN)
		fs->blocks -= rest; /* too little for a group: left unused */
	fs->ag_count = (fs->blocks - 1 - fs->ag_start + AG_BLOCKS - 1) / AG_BLOCKS;
	fs->root_block = fs->ag_start + AG_META;
	m->memos = MIN(memo_ring_size(fs->blocks), (uint64_t)ag_size(fs, 0) / 16);
	return 0;
}

static int write_super(struct maker *m)
{
	struct fs *fs = &m->fs;
	const uint64_t copies[] = {fs->blocks - 1, SB_COPY_BLOCK, 0};
	uint8_t *d = m->buf;
	for (unsigned i = 0; i < ARRAY_LEN(copies); i++) {
		memset(d, 0, BS);
		block_header(fs, d, copies[i], BT_SUPER, 0);
		le32_put(d + SB_VERSION, FORMAT_VERSION);
		le64_put(d + SB_BLOCKS, fs->blocks);
		le64_put(d + SB_SUMMARY_START, fs->summary_start);
		le64_put(d + SB_SUMMARY_BLOCKS, fs->summary_blocks);
		le64_put(d + SB_JOURNAL_START, fs->journal_start);
		le64_put(d + SB_JOURNAL_BLOCKS, fs->journal_blocks);
		le64_put(d + SB_AG_START, fs->ag_start);
		le64_put(d + SB_AG_COUNT, fs->ag_count);
		le64_put(d + SB_ROOT_BLOCK, fs->root_block);
		memcpy(d + SB_HASH_KEY, fs->hash_key, 16);
		le64_put(d + SB_BIRTH, env_realtime_ns(m->env) / NS_PER_S);
		if (m->o->label)
			memcpy(d + SB_LABEL, m->o->label, strnlen(m->o->label, 63));
		block_seal(d, 0);
		int rc = bdev_write(m->dev, d, BS, copies[i] * BS, BDEV_FUA);
		if (rc)
			return rc;
	}
	return 0;
}

static int write_summary(struct maker *m)
{
	struct fs *fs = &m->fs;
	for (uint64_t i = 0; i < fs->summary_blocks; i++) {
		uint8_t *d = m->buf;
		memset(d, 0, BS);
		block_header(fs, d, fs->summary_start + i, BT_SUMMARY, 0);
		for (uint64_t k = 0; k < SUM_PER_BLOCK; k++) {
			uint64_t ag = i * SUM_PER_BLOCK + k;
			uint8_t *s = d + H_SIZE + k * SUM_SIZE;
			if (ag >= fs->ag_count)
				break;
			uint32_t used = AG_META + (ag ? 0 : 1 + (uint32_t)m->memos);
			le32_put(s + SUM_FREE, ag_size(fs, ag) - used);
			if (!ag) { /* the root inode block: orphans, root, quotas, memos */
				le32_put(s + SUM_INODES, 4);
				le32_put(s + SUM_FREE_SLOTS, 0);
			}
		}
		block_seal(d, 0);
		int rc = bdev_write(m->dev, d, BS, (fs->summary_start + i) * BS, 0);
		if (rc)
			return rc;
	}
	return 0;
}

static int write_groups(struct maker *m)
{
	struct fs *fs = &m->fs;
	for (uint64_t ag = 0; ag < fs->ag_count; ag++) {
		uint8_t *d = m->buf;
		group_maps(fs, ag, d);
		for (uint64_t i = AG_META; !ag && i <= AG_META + m->memos; i++)
			d[H_SIZE + i / 8] |= (uint8_t)(1 << (i % 8));
		if (!ag)
			d[BS + H_SIZE] = 0x08;
		for (unsigned k = 0; k < AG_META; k++)
			block_seal(d + k * BS, 0);
		int rc = bdev_write(m->dev, d, AG_META * BS, ag_first(fs, ag) * BS, 0);
		if (rc)
			return rc;
	}
	return 0;
}

static void root_inode(struct maker *m, uint8_t *p)
{
	uint64_t now = env_realtime_ns(m->env);
	p[I_TYPE] = FS_DIR;
	le32_put(p + I_MODE, m->o->root_mode ? m->o->root_mode & 07777 : 0755);
	le32_put(p + I_NLINK, 2);
	le32_put(p + I_UID, m->o->root_uid);
	le32_put(p + I_GID, m->o->root_gid);
	le64_put(p + I_CHANGE, 1);
	le64_put(p + I_PARENT, FS_ROOT_INO);
	for (unsigned i = 0; i < 4; i++) {
		le64_put(p + I_ATIME + 8 * i, now / NS_PER_S);
		le32_put(p + I_ATIME_NS + 4 * i, (uint32_t)(now % NS_PER_S));
	}
}

static void memo_inode(struct maker *m, uint8_t *p)
{
	p[I_TYPE] = MEMO_TYPE;
	le32_put(p + I_NLINK, 1);
	le64_put(p + I_BLOCKS, m->memos);
	le32_put(p + I_INLINE, 1);
	le64_put(p + I_AREA + 8, m->fs.root_block + 1);
	le32_put(p + I_AREA + 16, (uint32_t)m->memos);
}

static int write_root(struct maker *m)
{
	struct fs *fs = &m->fs;
	uint8_t *d = m->buf;
	memset(d, 0, BS);
	block_header(fs, d, fs->root_block, BT_INODES, 0);
	for (unsigned i = 0; i < INODES_PER_BLOCK; i++) {
		uint8_t *p = d + H_SIZE + i * INODE_SIZE;
		le16_put(p + I_MAGIC, INODE_MAGIC);
		le32_put(p + I_GENERATION, 1);
		if (i == ORPHAN_INO || i == QUOTA_INO) {
			p[I_TYPE] = i == ORPHAN_INO ? ORPHAN_TYPE : QUOTA_TYPE;
			le32_put(p + I_NLINK, 1);
		}
		if (i == FS_ROOT_INO)
			root_inode(m, p);
		if (i == MEMO_INO)
			memo_inode(m, p);
	}
	block_seal(d, 0);
	return bdev_write(m->dev, d, BS, fs->root_block * BS, 0);
}

static int write_journal(struct maker *m)
{
	struct fs *fs = &m->fs;
	fs->nonce = env_random_u64(m->env);
	fs->verifier = env_random_u64(m->env);
	memset(m->buf, 0, BS);
	int rc = bdev_write(m->dev, m->buf, BS, (fs->journal_start + 2) * BS, 0);
	for (int i = 0; i < 2 && !rc; i++)
		rc = journal_head_write(fs, 0, true);
	return rc;
}

int fs_mkfs(struct env *env, struct bdev *dev, const struct fs_mkfs_opts *o)
{
	static const struct fs_mkfs_opts none;
	struct maker *m = calloc(1, sizeof(*m));
	int rc = -ENOMEM;
	if (!m)
		return rc;
	m->env = m->fs.env = env;
	task_mutex_init(&m->fs.head_lock);
	m->dev = m->fs.dev = dev;
	m->o = o ? o : &none;
	if (posix_memalign((void **)&m->buf, BS, RUN * BS))
		goto out;
	memcpy(m->fs.uuid, m->o->uuid, 16);
	if (!memcmp(m->fs.uuid, none.uuid, 16))
		env_random(env, m->fs.uuid, 16);
	env_random(env, m->fs.hash_key, 16);
	rc = layout(m);
	if (!rc) { /* no superblock while it is half made */
		memset(m->buf, 0, BS);
		rc = bdev_write(dev, m->buf, BS, 0, BDEV_FUA);
	}
	if (!rc)
		rc = write_summary(m);
	if (!rc)
		rc = write_groups(m);
	if (!rc)
		rc = memo_blank(&m->fs, m->fs.root_block + 1, m->memos);
	if (!rc)
		rc = write_root(m);
	if (!rc)
		rc = write_journal(m);
	if (!rc)
		rc = bdev_flush(dev);
	if (!rc)
		rc = write_super(m);
	free(m->buf);
out:
	free(m);
	return rc;
}
