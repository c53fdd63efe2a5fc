/* The mounted file system: coming and going, and its numbers. */
#include "nasfront/fs/memo.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define BOUNCE (256 * BS) /* blocks of one checkpoint round */

/* ---- superblock ---- */

bool super_sound(const uint8_t *d, uint64_t dev_blocks)
{
	uint64_t blocks = le64_get(d + SB_BLOCKS), ss = le64_get(d + SB_SUMMARY_START),
		 sn = le64_get(d + SB_SUMMARY_BLOCKS), js = le64_get(d + SB_JOURNAL_START),
		 jn = le64_get(d + SB_JOURNAL_BLOCKS), as = le64_get(d + SB_AG_START),
		 an = le64_get(d + SB_AG_COUNT);
	if (blocks > dev_blocks || ss != SUMMARY_START || sn > blocks || js != ss + sn ||
	    jn > blocks || jn < 4 || as != js + jn || as + AG_MIN >= blocks)
		return false;
	uint64_t room = blocks - 1 - as;
	return an == (room + AG_BLOCKS - 1) / AG_BLOCKS && sn * SUM_PER_BLOCK >= an &&
	       le64_get(d + SB_ROOT_BLOCK) == as + AG_META;
}

static int super_at(struct bdev *dev, uint64_t block, uint8_t *d, bool quiet)
{
	const char *why = NULL;
	int rc = bdev_read(dev, d, BS, block * BS);
	if (!rc)
		why = block_verify(NULL, d, block, BT_SUPER);
	for (unsigned c = 0; (rc || why) && c < COPIES; c++) {
		int r = bdev_read_copy(dev, d, BS, block * BS, c);
		if (r == -ENOENT || r == -EOPNOTSUPP)
			break;
		rc = r;
		why = r ? NULL : block_verify(NULL, d, block, BT_SUPER);
	}
	if (rc)
		return rc;
	uint32_t version = le32_get(d + SB_VERSION);
	if (!why && (version < FORMAT_OLDEST || version > FORMAT_VERSION)) {
		if (!quiet)
			event_write(
			    LOG_L_ERROR, "fs.version",
			    "%s: made in format %u, this program reads formats %u to %u: copy the "
			    "data with the program that made it, or make a new file system",
			    dev->name, version, FORMAT_OLDEST, FORMAT_VERSION);
		return -ERR_VERSION;
	}
	if (!why && !super_sound(d, dev->size / BS))
		why = "superblock makes no sense";
	return why ? -ERR_CORRUPT : 0;
}

int super_read(struct bdev *dev, uint8_t *d, bool quiet)
{
	uint64_t n = dev->size / BS;
	if (n < AG_MIN)
		return -ERR_CORRUPT;
	int rc = 0;
	/* The last copy is in the device's last block, or before what is too little for a group. */
	for (unsigned i = 0; i < 2 + AG_MIN; i++) {
		uint64_t at = i < 2 ? i * SB_COPY_BLOCK : n - (i - 1);
		rc = super_at(dev, at, d, quiet);
		if (!rc && i && !quiet)
			event_write(LOG_L_WARN, "fs.superblock",
				    "%s: superblock damaged, copy in block %" PRIu64 " used",
				    dev->name, at);
		if (!rc || rc == -ERR_VERSION)
			return rc;
	}
	if (!quiet)
		event_write(LOG_L_ERROR, "fs.corrupt", "%s: block 0: no superblock", dev->name);
	return rc;
}

void super_take(struct fs *fs, const uint8_t *d)
{
	memcpy(fs->uuid, d + H_UUID, 16);
	memcpy(fs->hash_key, d + SB_HASH_KEY, 16);
	fs->version = le32_get(d + SB_VERSION);
	fs->blocks = le64_get(d + SB_BLOCKS);
	fs->summary_start = le64_get(d + SB_SUMMARY_START);
	fs->summary_blocks = le64_get(d + SB_SUMMARY_BLOCKS);
	fs->journal_start = le64_get(d + SB_JOURNAL_START);
	fs->journal_blocks = le64_get(d + SB_JOURNAL_BLOCKS);
	fs->ag_start = le64_get(d + SB_AG_START);
	fs->ag_count = le64_get(d + SB_AG_COUNT);
	fs->root_block = le64_get(d + SB_ROOT_BLOCK);
}

/* ---- life ---- */

static void fs_free(struct fs *fs)
{
	struct quarantined *q;
	while ((q = STAILQ_FIRST(&fs->quarantine))) {
		STAILQ_REMOVE_HEAD(&fs->quarantine, link);
		free(q);
	}
	for (uint64_t i = 0; fs->ags && i < fs->ag_count; i++)
		free(fs->ags[i].busy);
	free(fs->ags);
	free(fs->summary);
	kept_free(fs);
	memo_free(fs);
	read_free_pool(fs);
	write_free_pool(fs);
	journal_free(fs);
	meta_free_all(fs);
	free(fs->bounce);
	fs->magic = 0;
	free(fs);
}

void fs_ref(struct fs *fs)
{
	fs->refs++;
}

void fs_unref(struct fs *fs)
{
	ASSERT(fs->refs > 0);
	if (--fs->refs == 0)
		fs_free(fs);
	else if (fs->refs == 1)
		waitq_wake_all(&fs->idle_q);
}

static int fs_new(struct fs **ret, struct env *env, struct bdev *dev, const struct fs_opts *o)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	if (!fs)
		return -ENOMEM;
	fs->magic = FS_MAGIC;
	fs->refs = 1;
	fs->env = env;
	fs->dev = dev;
	fs->read_only = o && o->read_only;
	fs->quiet = o && o->quiet;
	STAILQ_INIT(&fs->quarantine);
	TAILQ_INIT(&fs->ios);
	TAILQ_INIT(&fs->run.bufs);
	STAILQ_INIT(&fs->slabs);
	ranges_init(&fs->ranges);
	LIST_INIT(&fs->standins);
	fs->clone_bufs = OP_BUFS_MAX / 2;
	struct waitq *qs[] = {&fs->quarantine_q, &fs->commit_q[0], &fs->commit_q[1], &fs->space_q,
			      &fs->checkpoint_q, &fs->reap_q,	   &fs->idle_q};
	for (unsigned i = 0; i < ARRAY_LEN(qs); i++)
		waitq_init(qs[i]);
	task_mutex_init(&fs->head_lock);
	*ret = fs;
	return 0;
}

static int fs_memory(struct fs *fs, const struct fs_opts *o)
{
	int rc = meta_init(fs, o ? o->metadata_memory : 0);
	if (rc)
		return rc;
	fs->summary = calloc(fs->summary_blocks, sizeof(*fs->summary));
	if (!fs->summary || posix_memalign((void **)&fs->bounce, BS, BOUNCE))
		return -ENOMEM;
	return journal_init(fs);
}

/* After the replay, which may have found that it grew. */
static int summary_load(struct fs *fs)
{
	fs->ags = calloc(fs->ag_count, sizeof(*fs->ags));
	if (!fs->ags)
		return -ENOMEM;
	if (fs->blocks > fs->dev->size / BS)
		return -ERR_CORRUPT;
	for (uint64_t i = 0; i < fs->summary_blocks; i++) {
		int rc = meta_load(fs, fs->summary_start + i, BT_SUMMARY, &fs->summary[i]);
		if (rc)
			return rc;
	}
	for (uint64_t ag = 0; ag < fs->ag_count; ag++) {
		const uint8_t *s = summary_of(fs, ag, NULL, NULL);
		if (le32_get(s + SUM_FREE) > ag_size(fs, ag)) {
			corrupt_note(fs, fs->summary[ag / SUM_PER_BLOCK]->block, 0,
				     "more free blocks than a group has");
			return -ERR_CORRUPT;
		}
		fs->free_blocks += le32_get(s + SUM_FREE);
		fs->used_inodes += le32_get(s + SUM_INODES);
		fs->free_slots += le32_get(s + SUM_FREE_SLOTS);
	}
	return 0;
}

/* Before the header is written anew. */
static void memory_judge(struct fs *fs, bool clean)
{
	fs->memory_lives = fs->memory_id && fs->memory_id == fs->dev->memory_id;
	if (!clean && !fs->memory_lives)
		fs->verifier = env_random_u64(fs->env); /* unstable data may be gone */
	fs->memory_id = fs->dev->memory_id;
}

/* After the replay: all of it to its place, and a nonce that no old record bears. */
static int journal_start(struct fs *fs)
{
	if (fs->read_only)
		return 0;
	int rc = checkpoint_run(fs, true);
	if (!rc && fs->log_lost)
		rc = journal_wipe(fs);
	fs->nonce = env_random_u64(fs->env);
	return rc ? rc : journal_head_write(fs, fs->head, false);
}

static int mount_steps(struct fs *fs, struct bdev *dev, const struct fs_opts *o)
{
	uint8_t *sb;
	uint64_t batches = 0;
	bool clean = false;
	if (posix_memalign((void **)&sb, BS, BS))
		return -ENOMEM;
	int rc = super_read(dev, sb, fs->quiet);
	if (!rc)
		super_take(fs, sb);
	free(sb);
	if (!rc)
		rc = fs_memory(fs, o);
	if (!rc)
		rc = journal_head_read(fs, &clean);
	memory_judge(fs, clean);
	if (!rc)
		rc = journal_replay(fs, clean, &batches);
	if (!rc)
		rc = summary_load(fs);
	struct buf *root;
	if (!rc)
		rc = meta_load(fs, fs->root_block, BT_INODES, &root); /* pinned for good */
	if (!rc)
		rc = journal_start(fs);
	if (!rc)
		rc = fs_upgrade(fs);
	if (!rc && batches)
		log_info("fs: %s: journal replayed, %" PRIu64 " records", dev->name, batches);
	return rc;
}

int mount_raw(struct fs **ret, struct env *env, struct bdev *dev, const struct fs_opts *o,
	      bool reap)
{
	struct fs *fs;
	int rc = fs_new(&fs, env, dev, o);
	if (rc)
		return rc;
	fs->salvage = !reap && !fs->read_only;
	rc = mount_steps(fs, dev, o);
	if (!rc && reap)
		rc = memo_start(fs);
	if (rc) {
		fs_abandon(fs);
		return rc;
	}
	fs->quiet = false;
	if (reap)
		orphan_reap_kick_all(fs);
	*ret = fs;
	return 0;
}

int fs_mount(struct fs **ret, struct env *env, struct bdev *dev, const struct fs_opts *o)
{
	return mount_raw(ret, env, dev, o, true);
}

static void timers_stop(struct fs *fs)
{
	if (fs->commit_timer_on)
		env_timer_stop(fs->env, &fs->commit_timer);
	if (fs->checkpoint_timer_on)
		env_timer_stop(fs->env, &fs->checkpoint_timer);
	fs->commit_timer_on = fs->checkpoint_timer_on = false;
	memo_stop(fs);
}

int fs_unmount(struct fs *fs)
{
	CHECK(fs, FS_MAGIC);
	int rc = fs->error;
	fs->stopping = true;
	while (fs->reaping)
		waitq_wait(&fs->reap_q);
	if (!fs->read_only && !rc) {
		fs->run.data_flush = true;
		rc = journal_wait(fs, fs->run.seq);
		if (!rc)
			rc = checkpoint_run(fs, true);
		if (!rc)
			rc = journal_head_write(fs, fs->head, true);
	}
	fs->dead = true;
	timers_stop(fs);
	while (fs->refs > 1)
		waitq_wait(&fs->idle_q);
	fs_unref(fs);
	return rc;
}

void fs_abandon(struct fs *fs)
{
	CHECK(fs, FS_MAGIC);
	fs->abandoned = fs->dead = fs->stopping = true;
	timers_stop(fs);
	fs_fail(fs, -ERR_SHUTDOWN);
	fs_unref(fs);
}

/* ---- numbers ---- */

int fs_statfs(struct fs *fs, struct fs_statfs *ret)
{
	CHECK(fs, FS_MAGIC);
	if (fs->dead)
		return -ERR_SHUTDOWN;
	*ret = (struct fs_statfs){
	    .total_bytes = (fs->blocks - fs->ag_start - fs->ag_count * AG_META) * BS,
	    .free_bytes = fs->free_blocks * BS,
	};
	ret->avail_bytes = alloc_data_avail(fs) * BS;
	ret->free_files = fs->free_slots + ret->avail_bytes / BS * INODES_PER_BLOCK;
	ret->total_files = fs->used_inodes + ret->free_files;
	memcpy(ret->uuid, fs->uuid, 16);
	return 0;
}

void fs_stats(const struct fs *fs, struct fs_stats *ret)
{
	*ret = fs->st;
	ret->blocks_cached = fs->nbufs;
	ret->blocks_resident = fs->resident;
	ret->blocks_max = fs->max_bufs;
	ret->blocks_dirty = fs->ndirty;
	ret->journal_used = (fs->head - fs->tail) * BS;
	ret->journal_size = fs->log_blocks * BS;
}
