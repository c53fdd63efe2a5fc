/* One simulated disk with a file system on it, for the tests of nasfront/fs. */
#ifndef ISTHMUS_TESTS_UNIT_FS_WORLD_H
#define ISTHMUS_TESTS_UNIT_FS_WORLD_H

#include <check.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/fs/fs.h"
#include "runtime/err.h"
#include "tests/sim/sim_env.h"

struct world {
	struct sim *sim;
	struct sim_disk *disk;
	struct bdev *dev;
	struct fs *fs;
};

static const struct fs_fid root_fid = {FS_ROOT_INO, 1};

static inline struct fs_fid fid_of(const struct fs_attr *a)
{
	return (struct fs_fid){a->ino, a->generation};
}

static inline void world_new(struct world *w, uint64_t seed, uint64_t size)
{
	memset(w, 0, sizeof(*w));
	w->sim = sim_new(seed);
	sim_power_keep(w->sim);
	w->disk = sim_disk_new(w->sim, "disk", size);
	w->dev = sim_disk_open(w->disk);
}

/* For programs that mount a thousand times: memory that is given back is kept for the next. */
static inline void keep_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, INT32_MAX);
}

static inline void world_free(struct world *w)
{
	bdev_close(w->dev);
	sim_free(w->sim);
}

/* A task in a world of its own, which is its argument. */
static inline void world_run(task_fn *task, uint64_t seed)
{
	struct world w;
	world_new(&w, seed, 64 << 20);
	ck_assert_int_eq(sim_run(w.sim, task, &w), 0);
	world_free(&w);
}

static inline void say_stderr(void *arg, const char *line)
{
	fprintf(stderr, "check: %s\n", line);
}

/* All that follow are for tasks. */

static inline void world_mkfs(struct world *w)
{
	struct fs_mkfs_opts o = {.label = "test", .root_mode = 0777};
	ck_assert_int_eq(fs_mkfs(sim_env(w->sim), w->dev, &o), 0);
}

static inline void world_mount_mem(struct world *w, uint64_t memory)
{
	struct fs_opts o = {.metadata_memory = memory};
	ck_assert_int_eq(fs_mount(&w->fs, sim_env(w->sim), w->dev, &o), 0);
}

static inline void world_mount(struct world *w)
{
	world_mount_mem(w, 0);
}

static inline void world_unmount(struct world *w)
{
	ck_assert_int_eq(fs_unmount(w->fs), 0);
	w->fs = NULL;
}

static inline void world_check(struct world *w)
{
	struct fs_check_report r;
	ck_assert_int_eq(fs_check(sim_env(w->sim), w->dev, false, say_stderr, NULL, &r), 0);
	ck_assert_uint_eq(r.errors, 0);
}

static inline int make_file(struct fs *fs, const struct fs_fid *dir, const char *name,
			    struct fs_fid *ret)
{
	struct fs_attr a;
	int rc = fs_create(fs, NULL, dir, name, (uint32_t)strlen(name), FS_CREATE_GUARDED, NULL, 0,
			   &a, NULL);
	if (!rc && ret)
		*ret = fid_of(&a);
	return rc;
}

static inline int make_dir(struct fs *fs, const struct fs_fid *dir, const char *name,
			   struct fs_fid *ret)
{
	struct fs_attr a;
	int rc = fs_mkdir(fs, NULL, dir, name, (uint32_t)strlen(name), NULL, &a, NULL);
	if (!rc && ret)
		*ret = fid_of(&a);
	return rc;
}

static inline int find(struct fs *fs, const struct fs_fid *dir, const char *name,
		       struct fs_attr *ret)
{
	return fs_lookup(fs, NULL, dir, name, (uint32_t)strlen(name), ret, NULL);
}

static inline int put(struct fs *fs, const struct fs_fid *f, uint64_t off, const void *p, size_t n,
		      enum fs_stable stable)
{
	struct iovec iov = {(void *)p, n};
	return fs_write(fs, NULL, f, off, &iov, 1, stable, NULL);
}

/* Bytes read, or an error. */
static inline int64_t get(struct fs *fs, const struct fs_fid *f, uint64_t off, void *p, size_t n)
{
	struct fs_read r;
	int64_t len = 0;
	int rc = fs_read(fs, NULL, f, off, (uint32_t)n, &r, NULL);
	if (rc)
		return rc;
	for (int i = 0; i < r.iovcnt; i++) {
		memcpy((char *)p + len, r.iov[i].iov_base, r.iov[i].iov_len);
		len += (int64_t)r.iov[i].iov_len;
	}
	ck_assert_int_eq(len, r.len);
	fs_read_done(fs, &r);
	return len;
}

static inline void resize_to(struct fs *fs, const struct fs_fid *f, uint64_t size)
{
	struct fs_setattr s = {.which = FS_SET_SIZE, .size = size};
	ck_assert_int_eq(fs_setattr(fs, NULL, f, &s, NULL, NULL), 0);
}

#endif
