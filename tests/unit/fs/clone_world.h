/* Two files, one cloned of the other, for the tests of blocks that files share. */
#ifndef ISTHMUS_TESTS_UNIT_FS_CLONE_WORLD_H
#define ISTHMUS_TESTS_UNIT_FS_CLONE_WORLD_H

#include "nasfront/fs/impl.h"
#include "tests/unit/fs/fs_world.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

static const struct fs_cred user = {.uid = 100, .gid = 200}, other = {.uid = 101, .gid = 201};

static uint8_t buf[MIB];

static inline void fill(struct fs *fs, const struct fs_fid *f, uint64_t off, uint64_t len,
			uint8_t byte)
{
	memset(buf, byte, len);
	ck_assert_int_eq(put(fs, f, off, buf, len, FS_WRITE_FILE_SYNC), 0);
}

static inline void holds(struct fs *fs, const struct fs_fid *f, uint64_t off, uint64_t len,
			 uint8_t byte)
{
	ck_assert_int_eq(get(fs, f, off, buf, len), (int64_t)len);
	for (uint64_t i = 0; i < len; i++)
		if (buf[i] != byte)
			ck_abort_msg("byte %llu is %u not %u", (unsigned long long)(off + i),
				     buf[i], byte);
}

static inline int clone(struct fs *fs, const struct fs_fid *from, uint64_t from_off,
			const struct fs_fid *to, uint64_t to_off, uint64_t len)
{
	return fs_clone_range(fs, NULL, from, from_off, to, to_off, len, NULL);
}

static inline uint64_t free_bytes(struct fs *fs)
{
	struct fs_statfs st;
	space_wait(fs);
	ck_assert_int_eq(fs_statfs(fs, &st), 0);
	return fs->free_blocks * BS;
}

static inline uint64_t size_of(struct fs *fs, const struct fs_fid *f)
{
	struct fs_attr a;
	ck_assert_int_eq(fs_getattr(fs, f, &a), 0);
	return a.size;
}

static inline void two_files(struct world *w, struct fs_fid *a, struct fs_fid *b)
{
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "a", a), 0);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "b", b), 0);
	fill(w->fs, a, 0, 512 * KIB, 'a');
}

static inline void check_now(struct world *w)
{
	struct fs_check_report r;
	ck_assert_int_eq(fs_verify(w->fs, say_stderr, NULL, &r), 0);
	world_unmount(w);
	world_check(w);
	world_mount(w);
}

#endif
