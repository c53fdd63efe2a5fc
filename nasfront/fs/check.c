/*
 * Checking a file system, unmounted or serving.
 *
 *   inodes  every inode block the maps know; every inode's tree; each block they lead to has one
 *           owner (check_inodes.c); every block of memos (check_memo.c)
 *   shares  blocks that several extents lead to have the owners that are counted (check_share.c)
 *   names   every entry leads to an inode of its type, every inode has its number of names,
 *           directories hang together (check_dirs.c)
 *   maps    bitmaps and summary say the same as the above (check_maps.c)
 *   quotas  the records count what the inodes use (check_quota.c)
 *
 * A repair mends what a round of these found and goes round again until one finds nothing: a
 * damaged tree is built anew from what can be read of it, entries to nothing are removed, what has
 * no name goes to lost+found, maps are set to what is reached. Blocks that nothing owns are freed
 * only in a round without damaged trees.
 *
 * Online nothing is held still: what changed while the walk went on (watch.c) is not judged.
 */
#include "nasfront/fs/check.h"
#include "nasfront/fs/watch.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS	     6
#define OTHERS_FIRST 256 /* blocks: where nothing is waited for, a yield alone would not do */
#define MEMORY	     (256ull << 20) /* of metadata held; no more than there is */

static void say_va(struct checker *c, uint64_t ino, const char *fmt, va_list ap)
{
	char line[256];
	int n = ino ? snprintf(line, sizeof(line), "inode %" PRIu64 ": ", ino) : 0;
	vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
	if (c->say)
		c->say(c->arg, line);
}

void check_say(struct checker *c, uint64_t ino, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	say_va(c, ino, fmt, ap);
	va_end(ap);
}

bool check_error(struct checker *c, uint64_t ino, const char *fmt, ...)
{
	va_list ap;
	if (c->online && ino && (ino == ORPHAN_INO || watch_inode_changed(c->fs, ino)))
		return false;
	c->errors++;
	va_start(ap, fmt);
	say_va(c, ino, fmt, ap);
	va_end(ap);
	return true;
}

void check_fixed(struct checker *c, int rc, uint64_t ino)
{
	if (!rc)
		c->fixed++;
	else
		check_say(c, ino, "cannot be repaired: %s", err_text(rc));
}

static int by_ino(const void *a, const void *b)
{
	uint64_t x = ((const struct rec *)a)->ino, y = ((const struct rec *)b)->ino;
	return x < y ? -1 : x > y;
}

struct rec *check_rec(struct checker *c, uint64_t ino)
{
	struct rec want = {.ino = ino};
	return c->nrecs ? bsearch(&want, c->recs, c->nrecs, sizeof(want), by_ino) : NULL;
}

static int fetch_body(struct checker *c, uint64_t block, unsigned type, uint64_t owner, uint8_t *to)
{
	struct buf *b;
	int rc = meta_get(c->fs, block, type, owner, &b);
	if (!rc)
		memcpy(to, b->data, BS);
	return rc;
}

int check_fetch(struct checker *c, uint64_t block, unsigned type, uint64_t owner, uint8_t *to)
{
	struct op op;
	int rc;
	if (c->online && ++c->fetched % OTHERS_FIRST == 0)
		env_sleep_ns(c->fs->env, NS_PER_MS);
	if (c->fs->checking)
		meta_forget_clean(c->fs, block); /* what is on the disks counts */
	op_begin(&op, c->fs, false);
	OP_LOOP(&op, rc, fetch_body(c, block, type, owner, to));
	op_end(&op);
	return rc;
}

/* ---- one round ---- */

static void round_free(struct checker *c)
{
	struct rebuild *r;
	while ((r = c->rebuilds)) {
		c->rebuilds = r->next;
		free(r->kept);
		free(r);
	}
	check_shares_free(c);
	free(c->owned);
	free(c->inode_blocks);
	free(c->recs);
	c->owned = c->inode_blocks = NULL;
	c->recs = NULL;
	c->nrecs = c->room = 0;
}

static int check_round(struct checker *c)
{
	uint64_t words = c->fs->blocks / 64 + 1;
	c->errors = c->fixed = 0;
	c->report->inodes = c->report->directories = c->report->files = c->report->blocks_used = 0;
	c->owned = calloc(words, sizeof(uint64_t));
	c->inode_blocks = calloc(words, sizeof(uint64_t));
	int rc = c->owned && c->inode_blocks ? check_inodes(c) : -ENOMEM;
	if (!rc && !c->online && !(c->repair && c->rebuilds)) /* else in the next round */
		rc = check_shares(c);
	bool damaged = c->rebuilds != NULL;
	if (!rc && c->repair && damaged) { /* nothing reached may be allocated to what is rebuilt */
		rc = check_maps(c, true);
		if (!rc)
			rc = check_rebuild(c);
	}
	if (!rc && !(c->repair && damaged)) {
		rc = check_dirs(c);
		if (!rc)
			rc = check_maps(c, false);
		/* Repairs are not counted where they are done, but by the round that found nothing.
		 */
		if (!rc && (!c->repair || !c->errors))
			rc = check_quotas(c);
	}
	round_free(c);
	return rc;
}

static int checker_init(struct checker *c)
{
	*c->report = (struct fs_check_report){0};
	c->nodes = calloc(TREE_MAX_LEVEL + 1, BS);
	c->block = calloc(1, BS);
	return c->nodes && c->block ? 0 : -ENOMEM;
}

static void checker_free(struct checker *c)
{
	free(c->nodes);
	free(c->block);
	free(c->kept);
}

static int check_rounds(struct checker *c)
{
	int rc = 0;
	for (int i = 0; i < ROUNDS && !rc; i++) {
		c->fs->checking += !i; /* the disks' copies are looked at once */
		rc = check_round(c);
		c->fs->checking -= !i;
		if (!i)
			c->report->errors = c->errors;
		c->report->repaired += c->fixed;
		if (!c->repair || !c->errors)
			break;
	}
	c->report->mirror_repairs = c->fs->st.metadata_repaired;
	return rc ? rc : c->errors ? -ERR_CORRUPT : 0;
}

/* ---- offline ---- */

static int super_copies(struct checker *c)
{
	struct fs *fs = c->fs;
	uint8_t *good = c->nodes[0], *d = c->nodes[1];
	const uint64_t places[] = {0, SB_COPY_BLOCK, fs->blocks - 1};
	int rc = super_read(fs->dev, good, false);
	for (unsigned i = 0; i < ARRAY_LEN(places) && !rc; i++) {
		const struct buf *b = meta_find(fs, places[i]);
		if (b && b->dirty)
			continue; /* replayed, not written: this is a look only */
		int r = bdev_read(fs->dev, d, BS, places[i] * BS);
		if (!r && !block_verify(fs->uuid, d, places[i], BT_SUPER))
			continue;
		for (unsigned k = 0; k < COPIES && r != -ENOENT && r != -EOPNOTSUPP; k++) {
			r = bdev_read_copy(fs->dev, d, BS, places[i] * BS, k);
			if (!r && !block_verify(fs->uuid, d, places[i], BT_SUPER))
				break;
		}
		if (!r && !block_verify(fs->uuid, d, places[i], BT_SUPER)) {
			c->report->mirror_repairs++;
			if (c->repair)
				rc = bdev_write(fs->dev, d, BS, places[i] * BS, BDEV_FUA);
			continue;
		}
		c->report->errors++;
		check_say(c, 0, "superblock in block %" PRIu64 " is damaged", places[i]);
		if (!c->repair)
			continue;
		memcpy(d, good, BS);
		le64_put(d + H_BLOCK, places[i]);
		block_seal(d, 0);
		r = bdev_write(fs->dev, d, BS, places[i] * BS, BDEV_FUA);
		c->report->repaired += !r;
		rc = r;
	}
	return rc;
}

int fs_check(struct env *env, struct bdev *dev, bool repair,
	     void (*say)(void *arg, const char *line), void *arg, struct fs_check_report *ret)
{
	struct checker c = {.repair = repair, .say = say, .arg = arg, .report = ret};
	struct fs_opts o = {.read_only = !repair, .metadata_memory = MIN(dev->size, MEMORY)};
	int rc = checker_init(&c);
	if (!rc)
		rc = mount_raw(&c.fs, env, dev, &o, false);
	if (rc) {
		ret->errors++;
		check_say(&c, 0, "cannot be mounted: %s", err_text(rc));
		checker_free(&c);
		return rc;
	}
	c.fs->quota_silent = true;
	if (repair)
		rc = orphan_reap(c.fs);
	if (rc == -ERR_CORRUPT)
		rc = 0; /* the rounds will find why */
	c.fs->quota_off = true;
	int rounds = rc ? rc : check_rounds(&c);
	if (c.fs->log_lost) { /* the mount left it behind */
		check_say(&c, 0, "the journal was damaged: what its last records changed is lost");
		ret->errors++;
		ret->repaired++;
	}
	uint64_t errors = ret->errors;
	rc = super_copies(&c);
	if (!repair && !rc && ret->errors > errors)
		rc = -ERR_CORRUPT;
	int r = fs_unmount(c.fs);
	checker_free(&c);
	return rounds ? rounds : rc ? rc : r;
}

/* ---- online ---- */

int fs_verify(struct fs *fs, void (*say)(void *arg, const char *line), void *arg,
	      struct fs_check_report *ret)
{
	struct checker c = {.fs = fs, .online = true, .say = say, .arg = arg, .report = ret};
	uint64_t repaired = fs->st.metadata_repaired;
	int rc = watch_start(fs);
	if (rc)
		return rc;
	fs_ref(fs);
	rc = checker_init(&c);
	if (!rc)
		rc = check_rounds(&c);
	ret->mirror_repairs = fs->st.metadata_repaired - repaired;
	if (!rc && ret->mirror_repairs)
		rc = bdev_flush(fs->dev); /* so that the next check finds it done */
	watch_stop(fs);
	checker_free(&c);
	fs_unref(fs);
	return rc;
}
