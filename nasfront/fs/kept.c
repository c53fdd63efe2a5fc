/*
 * Files that lost their last name while somebody had them open: they stay until nobody has. Their
 * inodes are in the orphan tree as those of all removed files are; here is which of them the reaper
 * must leave alone. A mount after a crash frees them, but for those that somebody still has open
 * then (fs_set_used() told before the reaper's first turn). One that nobody had open when its last
 * name went is not here, and nothing reaches it any more.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdlib.h>

#define KEPT_BUCKETS 1024

struct kept {
	LIST_ENTRY(kept) link;
	struct fs_fid fid;
};

struct kept_files {
	unsigned count;
	LIST_HEAD(, kept) buckets[KEPT_BUCKETS];
};

static struct kept *kept_find(const struct fs *fs, const struct fs_fid *f)
{
	struct kept *k;
	if (fs->kept && fs->kept->count)
		LIST_FOREACH (k, &fs->kept->buckets[f->ino % KEPT_BUCKETS], link)
			if (k->fid.ino == f->ino && k->fid.generation == f->generation)
				return k;
	return NULL;
}

static struct fs_fid fid_of(const struct inode *in)
{
	return (struct fs_fid){.ino = in->ino, .generation = IN32(in, I_GENERATION)};
}

static bool used(const struct fs *fs, const struct fs_fid *f)
{
	return fs->used && fs->used(fs->used_arg, f);
}

/* Of one that is open without a name it need not have been this mount that kept it: who has it open
 * may have it from before. */
bool kept_has(const struct inode *in)
{
	struct fs_fid f = fid_of(in);
	return kept_find(in->fs, &f) ||
	       (IN_TYPE(in) == FS_REG && used(in->fs, &f) && kept_take(in) > 0);
}

int kept_take(const struct inode *in)
{
	struct fs *fs = in->fs;
	struct fs_fid f = fid_of(in);
	if (IN_TYPE(in) != FS_REG || !used(fs, &f)) {
		kept_drop(in);
		return 0;
	}
	if (kept_find(fs, &f))
		return 1; /* a body that is run again */
	if (!fs->kept)
		fs->kept = calloc(1, sizeof(*fs->kept));
	struct kept *k = fs->kept ? calloc(1, sizeof(*k)) : NULL;
	if (!k)
		return -ENOMEM;
	k->fid = f;
	LIST_INSERT_HEAD(&fs->kept->buckets[f.ino % KEPT_BUCKETS], k, link);
	fs->kept->count++;
	return 1;
}

void kept_drop(const struct inode *in)
{
	struct fs_fid f = fid_of(in);
	struct kept *k = kept_find(in->fs, &f);
	if (!k)
		return;
	LIST_REMOVE(k, link);
	in->fs->kept->count--;
	free(k);
}

bool kept_in_use(const struct inode *in)
{
	struct fs_fid f = fid_of(in);
	return kept_has(in) && used(in->fs, &f);
}

void kept_free(struct fs *fs)
{
	struct kept *k;
	for (unsigned i = 0; fs->kept && i < KEPT_BUCKETS; i++)
		while ((k = LIST_FIRST(&fs->kept->buckets[i]))) {
			LIST_REMOVE(k, link);
			free(k);
		}
	free(fs->kept);
	fs->kept = NULL;
}

void fs_set_used(struct fs *fs, fs_used_fn *used_fn, void *arg)
{
	CHECK(fs, FS_MAGIC);
	fs->used = used_fn;
	fs->used_arg = arg;
	if (fs->kept && fs->kept->count)
		orphan_reap_kick_all(fs);
}

void fs_unused(struct fs *fs, const struct fs_fid *f)
{
	CHECK(fs, FS_MAGIC);
	if (kept_find(fs, f))
		orphan_reap_kick(fs, f->ino);
}
