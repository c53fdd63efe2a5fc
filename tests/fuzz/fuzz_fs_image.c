/*
 * A small valid file system whose metadata blocks are changed as the input says, in most runs
 * under right checksums, so that the code behind them is reached: mount, walk, change, verify,
 * check and repair it, print it. Nothing may crash, hang or leak.
 *
 * Input: byte 0 bit 0: leave checksums wrong. Then records of
 * { which block u16, offset u16, length u8, bytes }.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/log.h"
#include "tests/sim/sim_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define DISK (7u << 20)

static const struct fs_fid root = {FS_ROOT_INO, 1};
static uint8_t *image;
static uint32_t meta[DISK / BS];
static unsigned nmeta;
static struct fs_fid fids[64];
static unsigned nfids;

static const struct fs_ace aces[] = {
    {.type = FS_ACE_ALLOW, .who = FS_WHO_OWNER, .mask = FS_ACE_READ},
    {.type = FS_ACE_ALLOW, .who = FS_WHO_USER, .id = 7, .mask = FS_ACE_READ | FS_ACE_WRITE},
    {.type = FS_ACE_DENY, .who = FS_WHO_EVERYONE, .mask = FS_ACE_READ}};

static void make_all(struct fs *fs)
{
	struct fs_attr a;
	char name[32], target[2000];
	memset(target, 't', sizeof(target));
	for (int i = 0; i < 150; i++) {
		int n = snprintf(name, sizeof(name), "file%d", i);
		if (fs_create(fs, NULL, &root, name, (uint32_t)n, FS_CREATE_GUARDED, NULL, 0, &a,
			      NULL))
			abort();
		if (nfids < 60)
			fids[nfids++] = (struct fs_fid){a.ino, a.generation};
	}
	if (fs_mkdir(fs, NULL, &root, "dir", 3, NULL, &a, NULL))
		abort();
	fids[nfids++] = (struct fs_fid){a.ino, a.generation};
	if (fs_symlink(fs, NULL, &fids[nfids - 1], "link", 4, target, sizeof(target), NULL, &a,
		       NULL))
		abort();
	fids[nfids++] = (struct fs_fid){a.ino, a.generation};
	for (uint64_t i = 0; i < 40; i++) {
		struct iovec iov = {target, 10};
		if (fs_write(fs, NULL, &fids[0], i * 8192, &iov, 1, FS_WRITE_UNSTABLE, NULL))
			abort();
	}
	if (fs_allocate(fs, NULL, &fids[0], 10 * 4096, 20 * 4096, NULL) ||
	    fs_allocate(fs, NULL, &fids[2], 0, 65536, NULL) ||
	    fs_clone_range(fs, NULL, &fids[0], 0, &fids[7], 0, 30 * 4096, NULL) ||
	    fs_clone_range(fs, NULL, &fids[0], 0, &fids[8], 4096, 10 * 4096, NULL) ||
	    fs_acl_set(fs, NULL, &fids[6], aces, 3, NULL) ||
	    fs_acl_set(fs, NULL, &fids[60], aces, 3, NULL) ||
	    fs_xattr_set(fs, NULL, &fids[4], "small", 5, target, 100, FS_XATTR_CREATE, NULL) ||
	    fs_xattr_set(fs, NULL, &fids[5], "long", 4, target, 1500, FS_XATTR_CREATE, NULL) ||
	    fs_xattr_set(fs, NULL, &fids[5], "other", 5, target, 700, FS_XATTR_CREATE, NULL))
		abort();
}

static void image_task(void *arg)
{
	struct sim *s = arg;
	struct bdev *b = sim_disk_open(sim_disk_find(s, "disk"));
	struct fs *fs;
	if (fs_mkfs(sim_env(s), b, NULL) || fs_mount(&fs, sim_env(s), b, NULL))
		abort();
	make_all(fs);
	/* Abandoned, not unmounted: there is something to replay. */
	if (fs_commit(fs, &fids[0], 0, 0, NULL))
		abort();
	checkpoint_run(fs, true);
	for (int i = 100; i < 110; i++) {
		char name[16];
		int n = snprintf(name, sizeof(name), "file%d", i);
		if (fs_remove(fs, NULL, &root, name, (uint32_t)n, NULL))
			abort();
	}
	fs_abandon(fs);
	bdev_close(b);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct sim *s = sim_new(1);
	struct sim_disk *d = sim_disk_new(s, "disk", DISK);
	log_set_level(LOG_L_ERROR + 1);
	if (sim_run(s, image_task, s))
		abort();
	sim_run_for(s, 60 * NS_PER_S);
	image = malloc(DISK);
	memcpy(image, sim_disk_bytes(d), DISK);
	for (uint32_t i = 0; i < DISK / BS; i++)
		if (le32_get(image + (size_t)i * BS) == META_MAGIC ||
		    le32_get(image + (size_t)i * BS) == JR_MAGIC)
			meta[nmeta++] = i;
	sim_free(s);
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
	for (unsigned i = 0; i < nfids; i++) {
		fs_getattr(fs, &fids[i], &a);
		if (!fs_read(fs, NULL, &fids[i], 0, 65536, &r, &a))
			fs_read_done(fs, &r);
		unsigned have;
		bool stored;
		struct fs_ace got[FS_ACL_ROOM];
		fs_access(fs, &named, &fids[i], 7, &have);
		fs_acl_get(fs, &fids[i], got, &have, &stored);
		fs_xattr_list(fs, NULL, &fids[i], 0, xattr_emit, &count, &eof);
		fs_xattr_get(fs, NULL, &fids[i], i == 4 ? "small" : "other", 5, value,
			     sizeof(value), &n);
		fs_readlink(fs, &fids[i], buf, sizeof(buf), &n, NULL);
		fs_readdir(fs, NULL, &fids[i], 0, false, emit, &count, &eof, NULL);
	}
}

static const char text[3000];

static void change(struct fs *fs)
{
	struct fs_attr a;
	struct fs_setattr s = {.which = FS_SET_SIZE, .size = 5000};
	struct fs_setattr mode = {.which = FS_SET_MODE, .mode = 0640};
	struct iovec iov = {"data", 4};
	uint64_t at;
	fs_xattr_set(fs, NULL, &fids[4], "more", 4, text, 3000, FS_XATTR_EITHER, NULL);
	fs_xattr_set(fs, NULL, &fids[5], "long", 4, text, 20, FS_XATTR_EITHER, NULL);
	fs_xattr_remove(fs, NULL, &fids[5], "other", 5, NULL);
	fs_create(fs, NULL, &fids[60], "passed on", 9, FS_CREATE_UNCHECKED, NULL, 0, &a, NULL);
	fs_setattr(fs, NULL, &fids[6], &mode, NULL, NULL);
	fs_seek(fs, NULL, &fids[0], 0, FS_SEEK_HOLE, &at);
	fs_write(fs, NULL, &fids[0], 11 * 4096, &iov, 1, FS_WRITE_UNSTABLE, NULL);
	fs_write(fs, NULL, &fids[2], 5000, &iov, 1, FS_WRITE_UNSTABLE, NULL);
	fs_clone_range(fs, NULL, &fids[7], 0, &fids[9], 0, 20 * 4096, NULL);
	fs_write(fs, NULL, &fids[7], 4096 * 2 + 100, &iov, 1, FS_WRITE_UNSTABLE, NULL);
	fs_deallocate(fs, NULL, &fids[8], 3 * 4096, 10000, NULL);
	fs_deallocate(fs, NULL, &fids[0], 3 * 4096, 100000, NULL);
	fs_allocate(fs, NULL, &fids[3], 0, 100000, NULL);
	fs_setattr(fs, NULL, &fids[0], &s, NULL, NULL);
	fs_create(fs, NULL, &root, "new", 3, FS_CREATE_UNCHECKED, NULL, 0, &a, NULL);
	fs_write(fs, NULL, &fids[1], 4000, &iov, 1, FS_WRITE_FILE_SYNC, NULL);
	fs_rename(fs, NULL, &root, "file3", 5, &fids[60], "moved", 5, NULL, NULL);
	for (int i = 10; i < 40; i++) {
		char name[16];
		int n = snprintf(name, sizeof(name), "file%d", i);
		fs_remove(fs, NULL, &root, name, (uint32_t)n, NULL);
	}
	fs_remove(fs, NULL, &fids[60], "link", 4, NULL);
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
		change(fs);
		walk(fs);
		fs_verify(fs, NULL, NULL, &rep);
		fs_unmount(fs);
	}
	fs_check(sim_env(r->s), r->b, true, NULL, NULL, &rep);
}

static void mutate(uint8_t *disk, const uint8_t *p, size_t size, bool seal)
{
	while (size >= 6) {
		uint8_t *d = disk + (size_t)meta[le16_get(p) % nmeta] * BS;
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
			size_t len = le32_get(d + JR_LENGTH), room = DISK - (size_t)(d - disk);
			le32_put(d + JR_CRC, 0);
			le32_put(d + JR_CRC, crc32c(d, MIN(len, room)));
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct run r = {.s = sim_new(2)};
	struct sim_disk *d = sim_disk_new(r.s, "disk", DISK);
	struct sim_disk_faults none = {0};
	sim_disk_set_faults(d, &none);
	memcpy(sim_disk_bytes(d), image, DISK);
	mutate(sim_disk_bytes(d), data + 1, size - 1, !(data[0] & 1));
	sim_disk_bytes_changed(d, 0, DISK);
	r.b = sim_disk_open(d);
	if (sim_run(r.s, run_task, &r))
		abort(); /* hangs */
	sim_run_for(r.s, 60 * NS_PER_S);
	bdev_close(r.b);
	sim_free(r.s);
	return 0;
}
