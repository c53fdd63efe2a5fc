/*
 * A small valid file system (fs_image.c) whose metadata blocks are changed as the input says, in
 * most runs under right checksums, so that the code behind them is reached: mount, walk, change,
 * verify, check and repair it, print it. Nothing may crash, hang or leak.
 *
 * Input: byte 0 bit 0: leave checksums wrong; bit 1: the file system that was unmounted. Then
 * records of { type of block u8 (enum block_type, 0: of the journal), which of these u8,
 * offset u16, length - 1 u8, bytes }. Types and numbers are taken modulo what there is.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/log.h"
#include "tests/fuzz/fs_image.h"
#include "tests/sim/sim_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static const struct fs_fid root = {FS_ROOT_INO, 1};
static struct fs_image images[2]; /* with a journal to replay; unmounted */
static const struct fs_fid *fids = images[0].fids;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_set_level(LOG_L_ERROR + 1);
	for (int i = 0; i < 2; i++)
		fs_image_make(&images[i], i);
	return 0;
}

static bool emit(void *arg, const char *name, uint32_t len, uint64_t ino, uint64_t cookie,
		 const struct fs_attr *attr)
{
	return ++*(int *)arg < 1000;
}

static const struct fs_cred named = {.uid = 7, .gid = 7};

static bool xattr_emit(void *arg, const char *name, uint32_t n, uint32_t len, uint64_t cookie)
{
	return ++*(int *)arg < 1000;
}

static void walk(struct fs *fs)
{
	static uint8_t value[FS_XATTR_MAX];
	static struct fs_read r;
	struct fs_attr a;
	char buf[FS_SYMLINK_MAX + 1];
	uint32_t n;
	int count = 0;
	bool eof;
	fs_readdir(fs, NULL, &root, 0, true, emit, &count, &eof, NULL);
	for (unsigned i = 0; i < FS_IMAGE_FIDS; i++) {
		fs_getattr(fs, &fids[i], &a);
		if (!fs_read(fs, NULL, &fids[i], 0, 65536, &r, &a))
			fs_read_done(fs, &r);
		unsigned have;
		bool stored;
		struct fs_ace got[FS_ACL_ROOM];
		fs_access(fs, &named, &fids[i], 7, &have);
		fs_acl_get(fs, &fids[i], got, &have, &stored);
		fs_xattr_list(fs, NULL, &fids[i], 0, xattr_emit, &count, &eof);
		fs_xattr_get(fs, NULL, &fids[i], i == IMG_XATTRS ? "small" : "other", 5, value,
			     sizeof(value), &n);
		fs_readlink(fs, &fids[i], buf, sizeof(buf), &n, NULL);
		fs_readdir(fs, NULL, &fids[i], 0, false, emit, &count, &eof, NULL);
	}
}

static const char text[3000];

static void put(struct fs *fs, unsigned f, uint64_t off, enum fs_stable stable)
{
	struct iovec iov = {"data", 4};
	fs_write(fs, NULL, &fids[f], off, &iov, 1, stable, NULL);
}

static void cut(struct fs *fs, unsigned f, uint64_t size)
{
	struct fs_setattr s = {.which = FS_SET_SIZE, .size = size};
	fs_setattr(fs, NULL, &fids[f], &s, NULL, NULL);
}

/* Whatever comes back: the file system may be damaged anywhere. */
static void change_data(struct fs *fs)
{
	uint64_t at;
	fs_seek(fs, NULL, &fids[IMG_HOLES], 0, FS_SEEK_HOLE, &at);
	put(fs, IMG_HOLES, 11 * BS, FS_WRITE_UNSTABLE);
	put(fs, IMG_ASIDE, 5000, FS_WRITE_UNSTABLE);
	fs_clone_range(fs, NULL, &fids[IMG_SHARE_A], 0, &fids[9], 0, 20 * BS, NULL);
	put(fs, IMG_SHARE_A, 2 * BS + 100, FS_WRITE_UNSTABLE);
	fs_deallocate(fs, NULL, &fids[IMG_SHARE_B], 3 * BS, 10000, NULL);
	put(fs, IMG_SHARE_MANY, 20 * BS, FS_WRITE_UNSTABLE);
	cut(fs, IMG_SHARE_MANY, 301 * BS);
	put(fs, IMG_SHARE_SOME, 100 * BS, FS_WRITE_UNSTABLE);
	fs_clone_range(fs, NULL, &fids[IMG_SHARE_OTHER], 0, &fids[IMG_SHARE_SOME], 0, 50 * BS,
		       NULL);
	cut(fs, IMG_SHARE_OTHER, 7 * BS + 1);
	fs_deallocate(fs, NULL, &fids[IMG_HOLES], 3 * BS, 100000, NULL);
	fs_allocate(fs, NULL, &fids[3], 0, 100000, NULL);
	cut(fs, IMG_HOLES, 5000);
	put(fs, IMG_SMALL, 4000, FS_WRITE_FILE_SYNC);
}

static void change_names(struct fs *fs)
{
	struct fs_attr a;
	struct fs_setattr mode = {.which = FS_SET_MODE, .mode = 0640};
	char name[FS_NAME_MAX + 1];
	fs_xattr_set(fs, NULL, &fids[IMG_XATTRS], "more", 4, text, 3000, FS_XATTR_EITHER, NULL);
	fs_xattr_set(fs, NULL, &fids[IMG_XTREE], "long", 4, text, 20, FS_XATTR_EITHER, NULL);
	fs_xattr_remove(fs, NULL, &fids[IMG_XTREE], "other", 5, NULL);
	fs_create(fs, NULL, &fids[IMG_DIR], "passed on", 9, FS_CREATE_UNCHECKED, NULL, 0, &a, NULL);
	fs_setattr(fs, NULL, &fids[IMG_ACL], &mode, NULL, NULL);
	fs_create(fs, NULL, &root, "new", 3, FS_CREATE_UNCHECKED, NULL, 0, &a, NULL);
	fs_create(fs, NULL, &fids[IMG_TREE], "new", 3, FS_CREATE_UNCHECKED, NULL, 0, &a, NULL);
	fs_create(fs, NULL, &fids[IMG_DIR_EMPTY], "new", 3, FS_CREATE_UNCHECKED, NULL, 0, &a, NULL);
	fs_rename(fs, NULL, &root, "file3", 5, &fids[IMG_DIR], "moved", 5, NULL, NULL);
	for (int i = 13; i < 40; i++) {
		int n = snprintf(name, sizeof(name), "file%d", i);
		fs_remove(fs, NULL, &root, name, (uint32_t)n, NULL);
	}
	memset(name, 'n', 200);
	for (int i = 0; i < 30; i++) {
		snprintf(name + 200, 10, "%d", i);
		fs_remove(fs, NULL, &fids[IMG_DIR_LONG], name, (uint32_t)strlen(name), NULL);
	}
	fs_remove(fs, NULL, &fids[IMG_DIR], "link", 4, NULL);
	fs_rmdir(fs, NULL, &root, "dir", 3, NULL);
}

struct run {
	struct sim *s;
	struct bdev *b;
};

static void count_line(void *arg, const char *line)
{
	++*(int *)arg;
}

static void run_task(void *arg)
{
	struct run *r = arg;
	struct fs_check_report rep;
	struct fs_dump_opts all = {.lines = 5000};
	int lines = 0;
	if (fs_dump_parse("all", &all))
		abort();
	fs_dump(sim_env(r->s), r->b, &all, count_line, &lines);
	if (lines > 5001)
		abort();
	struct fs_opts o = {.read_only = true};
	struct fs *fs;
	if (!fs_mount(&fs, sim_env(r->s), r->b, &o)) {
		walk(fs);
		fs_unmount(fs);
	}
	if (!fs_mount(&fs, sim_env(r->s), r->b, NULL)) {
		change_data(fs);
		change_names(fs);
		walk(fs);
		fs_verify(fs, NULL, NULL, &rep);
		fs_unmount(fs);
	}
	fs_check(sim_env(r->s), r->b, true, NULL, NULL, &rep);
}

static void mutate(const struct fs_image *m, uint8_t *disk, const uint8_t *p, size_t size,
		   bool seal)
{
	while (size >= 6) {
		uint8_t *d = disk + (size_t)fs_image_block(m, p[0], p[1]) * BS;
		unsigned off = le16_get(p + 2) % BS;
		size_t n = MIN(MIN((size_t)p[4] + 1, size - 5), (size_t)(BS - off));
		memcpy(d + off, p + 5, n);
		p += 5 + n;
		size -= 5 + n;
		if (!seal)
			continue;
		if (le32_get(d) == META_MAGIC) {
			block_seal(d, 1);
		} else if (le32_get(d) == JR_MAGIC) {
			size_t len = le32_get(d + JR_LENGTH),
			       room = FS_IMAGE_DISK - (size_t)(d - disk);
			le32_put(d + JR_CRC, 0);
			le32_put(d + JR_CRC, crc32c(d, MIN(len, room)));
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	const struct fs_image *m = &images[data[0] >> 1 & 1];
	struct run r = {.s = sim_new(2)};
	struct sim_disk *d = sim_disk_new(r.s, "disk", FS_IMAGE_DISK);
	struct sim_disk_faults none = {0};
	sim_disk_set_faults(d, &none);
	/* Most of it is zeros, and so is a new disk. */
	for (uint32_t i = 0; i < m->nused; i++)
		memcpy(sim_disk_bytes(d) + (size_t)m->used[i] * BS,
		       m->bytes + (size_t)m->used[i] * BS, BS);
	mutate(m, sim_disk_bytes(d), data + 1, size - 1, !(data[0] & 1));
	for (uint32_t i = 0; i < m->nused; i++)
		sim_disk_bytes_changed(d, (uint64_t)m->used[i] * BS, BS);
	r.b = sim_disk_open(d);
	if (sim_run(r.s, run_task, &r))
		abort(); /* hangs */
	sim_run_for(r.s, 60 * NS_PER_S);
	bdev_close(r.b);
	sim_free(r.s);
	return 0;
}
