/*
 * What is on the file system: extents in the inode and in trees, holes, blocks set aside, blocks
 * that files share (in runs, and so often or so scattered that extents and records take two
 * levels), directories without a block, with one leaf and with many, symbolic links of both forms,
 * attributes of both, access control lists, a quota tree, orphans.
 */
#include "tests/fuzz/fs_image.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/sim/sim_env.h"

static const struct fs_fid root = {FS_ROOT_INO, 1};
static char bytes[40 * BS], ones[2000];

static const struct fs_ace aces[] = {
    {.type = FS_ACE_ALLOW, .who = FS_WHO_OWNER, .mask = FS_ACE_READ},
    {.type = FS_ACE_ALLOW, .who = FS_WHO_USER, .id = 7, .mask = FS_ACE_READ | FS_ACE_WRITE},
    {.type = FS_ACE_DENY, .who = FS_WHO_EVERYONE, .mask = FS_ACE_READ}};

static void must(int rc)
{
	if (rc)
		abort();
}

static struct fs_fid fid(const struct fs_attr *a)
{
	return (struct fs_fid){a->ino, a->generation};
}

static struct fs_fid file_new(struct fs *fs, const struct fs_fid *dir, const char *name)
{
	struct fs_attr a;
	must(fs_create(fs, NULL, dir, name, (uint32_t)strlen(name), FS_CREATE_GUARDED, NULL, 0, &a,
		       NULL));
	return fid(&a);
}

static struct fs_fid dir_new(struct fs *fs, const struct fs_fid *dir, const char *name)
{
	struct fs_attr a;
	must(fs_mkdir(fs, NULL, dir, name, (uint32_t)strlen(name), NULL, &a, NULL));
	return fid(&a);
}

static struct fs_fid link_new(struct fs *fs, const struct fs_fid *dir, const char *name,
			      uint32_t len)
{
	struct fs_attr a;
	must(fs_symlink(fs, NULL, dir, name, (uint32_t)strlen(name), ones, len, NULL, &a, NULL));
	return fid(&a);
}

static void put(struct fs *fs, const struct fs_fid *f, uint64_t off, size_t len)
{
	struct iovec iov = {bytes, len};
	must(fs_write(fs, NULL, f, off, &iov, 1, FS_WRITE_UNSTABLE, NULL));
}

static void share(struct fs *fs, const struct fs_fid *from, uint64_t blk, const struct fs_fid *to,
		  uint64_t to_blk, uint64_t n)
{
	must(fs_clone_range(fs, NULL, from, blk * BS, to, to_blk * BS, n * BS, NULL));
}

static void xattr(struct fs *fs, const struct fs_fid *f, const char *name, uint32_t len)
{
	must(fs_xattr_set(fs, NULL, f, name, (uint32_t)strlen(name), ones, len, FS_XATTR_CREATE,
			  NULL));
}

static void make_names(struct fs *fs, struct fs_fid *f)
{
	char name[FS_NAME_MAX + 1];
	for (int i = 0; i < 150; i++) {
		snprintf(name, sizeof(name), "file%d", i);
		struct fs_fid made = file_new(fs, &root, name);
		if (i < FS_IMAGE_FILES)
			f[i] = made;
	}
	f[IMG_DIR] = dir_new(fs, &root, "dir");
	f[IMG_LINK] = link_new(fs, &f[IMG_DIR], "link", sizeof(ones));
	f[IMG_LINK_SHORT] = link_new(fs, &f[IMG_DIR], "short", 20);
	f[IMG_DIR_EMPTY] = dir_new(fs, &root, "empty");
	f[IMG_DIR_LONG] = dir_new(fs, &root, "long");
	memset(name, 'n', 200);
	for (int i = 0; i < 80; i++) {
		snprintf(name + 200, 10, "%d", i);
		file_new(fs, &f[IMG_DIR_LONG], name);
	}
	f[IMG_TREE] = dir_new(fs, &root, "tree");
	uint32_t id;
	must(fs_quota_tree(fs, &f[IMG_TREE], "/tree", &id));
	struct fs_fid in = file_new(fs, &f[IMG_TREE], "in");
	put(fs, &in, 0, 3 * BS);
}

static void make_data(struct fs *fs, const struct fs_fid *f)
{
	for (uint64_t i = 0; i < 40; i++)
		put(fs, &f[IMG_HOLES], 2 * i * BS, 10);
	must(fs_allocate(fs, NULL, &f[IMG_HOLES], 10 * BS, 20 * BS, NULL));
	must(fs_allocate(fs, NULL, &f[IMG_ASIDE], 0, 16 * BS, NULL));
	share(fs, &f[IMG_HOLES], 0, &f[IMG_SHARE_A], 0, 30);
	share(fs, &f[IMG_HOLES], 0, &f[IMG_SHARE_B], 1, 10);
	put(fs, &f[IMG_SHARE_MANY], 0, BS);
	for (uint64_t i = 1; i < 200; i++)
		share(fs, &f[IMG_SHARE_MANY], 0, &f[IMG_SHARE_MANY], 2 * i, 1);
	for (uint64_t i = 0; i < 440; i += 40)
		put(fs, &f[IMG_SHARE_SOME], i * BS, 40 * BS);
	for (uint64_t i = 0; i < 440; i += 2)
		share(fs, &f[IMG_SHARE_SOME], i, &f[IMG_SHARE_OTHER], i / 2, 1);
	put(fs, &f[IMG_GONE], 0, BS);
	for (uint64_t i = 1; i < 400; i++)
		share(fs, &f[IMG_GONE], 0, &f[IMG_GONE], 2 * i, 1);
}

static void make_all(struct fs *fs, struct fs_fid *f)
{
	memset(ones, 't', sizeof(ones));
	make_names(fs, f);
	f[IMG_GONE] = file_new(fs, &root, "gone");
	make_data(fs, f);
	must(fs_acl_set(fs, NULL, &f[IMG_ACL], aces, 3, NULL));
	must(fs_acl_set(fs, NULL, &f[IMG_DIR], aces, 3, NULL));
	xattr(fs, &f[IMG_XATTRS], "small", 100);
	xattr(fs, &f[IMG_XTREE], "long", 1500);
	xattr(fs, &f[IMG_XTREE], "other", 700);
	must(fs_commit(fs, &f[0], 0, 0, NULL));
	must(checkpoint_run(fs, true));
}

/* A file whose cut is not finished; and, only in the journal, names and blocks gone and changed. */
static void change(struct fs *fs, const struct fs_fid *f)
{
	char name[16];
	struct op op;
	int rc;
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, orphan_add(fs, f[IMG_HOLES].ino, ORPHAN_CUT));
	must(op_commit(&op, rc));
	must(checkpoint_run(fs, true));
	must(fs_remove(fs, NULL, &root, "gone", 4, NULL));
	for (int i = 100; i < 110; i++) {
		snprintf(name, sizeof(name), "file%d", i);
		must(fs_remove(fs, NULL, &root, name, (uint32_t)strlen(name), NULL));
	}
	put(fs, &f[IMG_SHARE_B], 2 * BS, BS);
	share(fs, &f[IMG_SHARE_A], 0, &f[IMG_SHARE_B], 40, 4);
	must(fs_commit(fs, &f[0], 0, 0, NULL));
}

struct making {
	struct fs_image *m;
	struct sim *s;
	bool unmounted;
};

static void image_task(void *arg)
{
	struct making *k = arg;
	struct bdev *b = sim_disk_open(sim_disk_find(k->s, "disk"));
	struct fs *fs;
	must(fs_mkfs(sim_env(k->s), b, NULL));
	must(fs_mount(&fs, sim_env(k->s), b, NULL));
	make_all(fs, k->m->fids);
	if (k->unmounted) {
		must(fs_unmount(fs));
	} else {
		change(fs, k->m->fids);
		fs_abandon(fs);
	}
	bdev_close(b);
}

static void look(struct fs_image *m)
{
	static const uint8_t zeros[BS];
	for (uint32_t i = 0; i < FS_IMAGE_BLOCKS; i++) {
		const uint8_t *d = m->bytes + (size_t)i * BS;
		unsigned type = le32_get(d) == META_MAGIC ? le16_get(d + H_TYPE) : 0;
		if (memcmp(d, zeros, BS) == 0)
			continue;
		m->used[m->nused++] = i;
		if (type >= BT_LAST)
			abort();
		if (type || le32_get(d) == JR_MAGIC)
			m->blocks[type][m->n[type]++] = i;
	}
}

void fs_image_make(struct fs_image *m, bool unmounted)
{
	struct making k = {m, sim_new(1), unmounted};
	struct sim_disk *d = sim_disk_new(k.s, "disk", FS_IMAGE_DISK);
	must(sim_run(k.s, image_task, &k));
	sim_run_for(k.s, 60 * NS_PER_S);
	m->bytes = malloc(FS_IMAGE_DISK);
	if (!m->bytes)
		abort();
	memcpy(m->bytes, sim_disk_bytes(d), FS_IMAGE_DISK);
	sim_free(k.s);
	look(m);
	for (unsigned type = 0; type < BT_LAST; type++)
		if (!m->n[type] && !(unmounted && type == BT_ORPHANS))
			abort();
}

uint32_t fs_image_block(const struct fs_image *m, unsigned type, unsigned nth)
{
	type %= BT_LAST;
	while (!m->n[type])
		type--;
	return m->blocks[type][nth % m->n[type]];
}
