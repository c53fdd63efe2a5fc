/* The service as a client sees it: libnfs over loopback on a real file system in memory. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <nfsc/libnfs.h>
#include "runtime/env.h"
#include "tests/unit/nfs/nas_world.h"

static struct nas nas;

static void setup(void)
{
	nas_up(&nas);
}

static void teardown(void)
{
	nas_down(&nas);
}

static struct nfs_context *mount_try(const char *path, int uid, int *rc)
{
	char url[256];
	struct nfs_context *c = nfs_init_context();
	snprintf(url, sizeof(url),
		 "nfs://127.0.0.1%s?version=3&nfsport=%u&mountport=%u&uid=%d&gid=%d", path,
		 nas.port, nas.port, uid, uid);
	struct nfs_url *u = nfs_parse_url_dir(c, url);
	ck_assert_ptr_nonnull(u);
	nfs_set_timeout(c, 10000);
	*rc = nfs_mount(c, u->server, u->path);
	nfs_destroy_url(u);
	return c;
}

static struct nfs_context *mount_as(const char *path, int uid)
{
	int rc;
	struct nfs_context *c = mount_try(path, uid, &rc);
	ck_assert_msg(rc == 0, "mount %s: %s", path, nfs_get_error(c));
	return c;
}

#define OK(call) ck_assert_msg((call) >= 0, #call ": %s", nfs_get_error(c))

START_TEST(files)
{
	struct nfs_context *c = mount_as("/demo", 0);
	struct nfsfh *fh;
	size_t size = 3 * 1024 * 1024 + 777;
	char *data = malloc(size), *back = malloc(size);
	for (size_t i = 0; i < size; i++)
		data[i] = (char)(i * 31 + i / 4099);
	OK(nfs_create(c, "/big", O_RDWR, 0640, &fh));
	for (size_t at = 0; at < size;) {
		int n = nfs_pwrite(c, fh, at, size - at < 700000 ? size - at : 700000, data + at);
		ck_assert_int_gt(n, 0);
		at += (size_t)n;
	}
	OK(nfs_fsync(c, fh));
	for (size_t at = 0; at < size;) {
		int n = nfs_pread(c, fh, at, 1 << 20, back + at);
		ck_assert_int_gt(n, 0);
		at += (size_t)n;
	}
	ck_assert_mem_eq(data, back, size);
	ck_assert_int_eq(nfs_pread(c, fh, size, 100, back), 0);
	struct nfs_stat_64 st;
	OK(nfs_fstat64(c, fh, &st));
	ck_assert_uint_eq(st.nfs_size, size);
	ck_assert_uint_eq(st.nfs_mode & 0777, 0640);
	OK(nfs_ftruncate(c, fh, 10));
	/* A hole. */
	ck_assert_int_eq(nfs_pwrite(c, fh, 100000, 3, "end"), 3);
	ck_assert_int_eq(nfs_pread(c, fh, 0, 100003, back), 100003);
	ck_assert_mem_eq(back, data, 10);
	for (size_t i = 10; i < 100000; i++)
		ck_assert_int_eq(back[i], 0);
	ck_assert_mem_eq(back + 100000, "end", 3);
	OK(nfs_close(c, fh));
	OK(nfs_unlink(c, "/big"));
	ck_assert_int_eq(nfs_stat64(c, "/big", &st), -ENOENT);
	free(data);
	free(back);
	nfs_destroy_context(c);
}
END_TEST

static unsigned count_dir(struct nfs_context *c, const char *path, uint8_t *seen, unsigned n)
{
	struct nfsdir *d;
	struct nfsdirent *e;
	unsigned count = 0;
	memset(seen, 0, n);
	OK(nfs_opendir(c, path, &d));
	while ((e = nfs_readdir(c, d))) {
		unsigned i;
		if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
			continue;
		ck_assert_int_eq(sscanf(e->name, "file-number-%u", &i), 1);
		ck_assert_uint_lt(i, n);
		ck_assert_uint_eq(seen[i]++, 0);
		count++;
	}
	nfs_closedir(c, d);
	return count;
}

/* 16 TiB with nothing in it but its ends and its middle. */
START_TEST(a_sparse_file_of_16_tib)
{
	static const uint64_t big = 16ull << 40, most = 1ull << 62;
	static char p[131072], q[4096];
	struct nfs_stat_64 st;
	struct nfsfh *fh;
	struct nfs_context *c = mount_as("/demo", 0);
	memset(q, 'q', sizeof(q));
	OK(nfs_create(c, "/sparse", O_RDWR, 0640, &fh));
	OK(nfs_pwrite(c, fh, 0, sizeof(q), q));
	ck_assert_int_eq(nfs_pwrite(c, fh, big / 2, sizeof(q), q), sizeof(q));
	ck_assert_int_eq(nfs_pwrite(c, fh, big - sizeof(q), sizeof(q), q), sizeof(q));
	OK(nfs_fsync(c, fh));
	OK(nfs_fstat64(c, fh, &st));
	ck_assert_uint_eq(st.nfs_size, big);
	ck_assert_uint_le(st.nfs_used, 16 * sizeof(q));
	ck_assert_int_eq(nfs_pread(c, fh, big / 2 - 65536, sizeof(p), p), sizeof(p));
	for (unsigned i = 0; i < sizeof(p); i++)
		ck_assert_int_eq(p[i], i >= 65536 && i < 65536 + sizeof(q) ? 'q' : 0);
	OK(nfs_ftruncate(c, fh, big / 2 + 10));
	OK(nfs_ftruncate(c, fh, big));
	ck_assert_int_eq(nfs_pread(c, fh, big / 2, sizeof(q), p), sizeof(q));
	for (unsigned i = 0; i < sizeof(q); i++)
		ck_assert_int_eq(p[i], i < 10 ? 'q' : 0);
	ck_assert_int_eq(nfs_pread(c, fh, big - 10, 100, p), 10);
	ck_assert_int_eq(p[9], 0);
	ck_assert_int_eq(nfs_pread(c, fh, big, 100, p), 0);
	/* The end of all files. */
	ck_assert_int_eq(nfs_ftruncate(c, fh, most + 1), -EFBIG);
	ck_assert_int_lt(nfs_pwrite(c, fh, most - 10, 20, q), 0); /* the library has no EFBIG */
	ck_assert_int_eq(nfs_pwrite(c, fh, most - 10, 10, q), 10);
	ck_assert_int_eq(nfs_pread(c, fh, most - 10, 20, p), 10);
	ck_assert_int_eq(p[9], 'q');
	OK(nfs_fstat64(c, fh, &st));
	ck_assert_uint_eq(st.nfs_size, most);
	OK(nfs_close(c, fh));
	OK(nfs_unlink(c, "/sparse"));
	nfs_destroy_context(c);
}
END_TEST

START_TEST(a_directory_of_5000)
{
	enum { N = 5000 };
	static uint8_t seen[N];
	struct nfs_context *c = mount_as("/demo", 0);
	struct nfsfh *fh;
	char name[64];
	OK(nfs_mkdir2(c, "/many", 0755));
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "/many/file-number-%u", i);
		OK(nfs_creat(c, name, 0644, &fh));
		OK(nfs_close(c, fh));
	}
	ck_assert_uint_eq(count_dir(c, "/many", seen, N), N);
	ck_assert_int_eq(nfs_rmdir(c, "/many"), -ENOTEMPTY);
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "/many/file-number-%u", i);
		OK(nfs_unlink(c, name));
	}
	ck_assert_uint_eq(count_dir(c, "/many", seen, N), 0);
	OK(nfs_rmdir(c, "/many"));
	nfs_destroy_context(c);
}
END_TEST

START_TEST(names)
{
	struct nfs_context *c = mount_as("/demo", 0);
	struct nfsfh *fh;
	struct nfs_stat_64 st;
	char buf[128];
	OK(nfs_mkdir(c, "/d1"));
	OK(nfs_mkdir(c, "/d2"));
	ck_assert_int_eq(nfs_mkdir(c, "/d1"), -EEXIST);
	OK(nfs_creat(c, "/d1/a", 0600, &fh));
	ck_assert_int_eq(nfs_write(c, fh, 5, "hello"), 5);
	OK(nfs_close(c, fh));
	OK(nfs_rename(c, "/d1/a", "/d2/b"));
	ck_assert_int_eq(nfs_stat64(c, "/d1/a", &st), -ENOENT);
	OK(nfs_link(c, "/d2/b", "/d1/c"));
	OK(nfs_stat64(c, "/d1/c", &st));
	ck_assert_uint_eq(st.nfs_nlink, 2);
	ck_assert_uint_eq(st.nfs_size, 5);
	OK(nfs_unlink(c, "/d2/b"));
	OK(nfs_stat64(c, "/d1/c", &st));
	ck_assert_uint_eq(st.nfs_nlink, 1);
	OK(nfs_symlink(c, "../d1/c", "/d2/link"));
	OK(nfs_readlink(c, "/d2/link", buf, sizeof(buf)));
	ck_assert_str_eq(buf, "../d1/c");
	OK(nfs_lstat64(c, "/d2/link", &st));
	ck_assert(S_ISLNK(st.nfs_mode));
	OK(nfs_mknod(c, "/d1/pipe", S_IFIFO | 0644, 0));
	OK(nfs_lstat64(c, "/d1/pipe", &st));
	ck_assert(S_ISFIFO(st.nfs_mode));
	OK(nfs_chmod(c, "/d1/c", 04755));
	OK(nfs_chown(c, "/d1/c", 7, 8));
	struct timeval tv[2] = {{1000000000, 5000}, {1500000000, 7000}};
	OK(nfs_utimes(c, "/d1/c", tv));
	OK(nfs_stat64(c, "/d1/c", &st));
	ck_assert_uint_eq(st.nfs_uid, 7);
	ck_assert_uint_eq(st.nfs_gid, 8);
	ck_assert_uint_eq(st.nfs_mtime, 1500000000);
	ck_assert_uint_eq(st.nfs_mtime_nsec, 7000000);
	char longname[300];
	memset(longname, 'x', sizeof(longname));
	longname[0] = '/';
	longname[256] = '\0'; /* 255 characters */
	OK(nfs_mkdir(c, longname));
	OK(nfs_rmdir(c, longname));
	longname[256] = 'x';
	longname[257] = '\0';
	ck_assert_int_eq(nfs_mkdir(c, longname), -ENAMETOOLONG);
	ck_assert_int_eq(nfs_rmdir(c, "/d1/c"), -ENOTDIR);
	ck_assert_int_lt(nfs_unlink(c, "/d1"), 0);
	/* Exclusive: a file that is there is refused. */
	ck_assert_int_lt(nfs_open2(c, "/d1/c", O_CREAT | O_EXCL | O_RDWR, 0644, &fh), 0);
	struct nfs_statvfs_64 vfs;
	OK(nfs_statvfs64(c, "/", &vfs));
	ck_assert_uint_gt(vfs.f_blocks, 0);
	ck_assert_uint_le(vfs.f_bfree, vfs.f_blocks);
	nfs_destroy_context(c);
}
END_TEST

START_TEST(who_may)
{
	int rc;
	struct nfs_stat_64 st;
	struct nfsfh *fh;
	struct nfs_context *c = mount_as("/demo", 0);
	OK(nfs_mkdir2(c, "/dir", 0777));
	OK(nfs_mkdir2(c, "/dir/below", 0777));
	OK(nfs_mkdir2(c, "/private", 0700));
	OK(nfs_creat(c, "/private/f", 0600, &fh));
	OK(nfs_close(c, fh));
	OK(nfs_chmod(c, "/dir/below", 0777));
	OK(nfs_chmod(c, "/dir", 0777));
	nfs_destroy_context(c);

	c = mount_try("/nowhere", 0, &rc);
	ck_assert_int_lt(rc, 0);
	nfs_destroy_context(c);
	c = mount_try("/secret", 0, &rc);
	ck_assert_int_lt(rc, 0);
	nfs_destroy_context(c);
	c = mount_try("/demo/missing", 0, &rc);
	ck_assert_int_lt(rc, 0);
	nfs_destroy_context(c);

	c = mount_as("/ro", 0);
	OK(nfs_stat64(c, "/private/f", &st));
	ck_assert_int_eq(nfs_mkdir(c, "/x"), -EROFS);
	ck_assert_int_eq(nfs_unlink(c, "/private/f"), -EROFS);
	ck_assert_int_eq(nfs_access(c, "/private/f", W_OK), -EACCES);
	nfs_destroy_context(c);

	c = mount_as("/squash", 0);
	ck_assert_int_eq(nfs_stat64(c, "/private/f", &st), -EACCES);
	OK(nfs_creat(c, "/dir/by-nobody", 0644, &fh));
	OK(nfs_fstat64(c, fh, &st));
	ck_assert_uint_eq(st.nfs_uid, 65534);
	OK(nfs_close(c, fh));
	nfs_destroy_context(c);

	c = mount_as("/all", 500);
	OK(nfs_creat(c, "/dir/by-1234", 0644, &fh));
	OK(nfs_fstat64(c, fh, &st));
	ck_assert_uint_eq(st.nfs_uid, 1234);
	OK(nfs_close(c, fh));
	nfs_destroy_context(c);

	/* An owner goes on writing what it made unwritable. */
	c = mount_as("/demo", 500);
	OK(nfs_creat(c, "/dir/mine", 0600, &fh));
	OK(nfs_chmod(c, "/dir/mine", 0));
	ck_assert_int_eq(nfs_write(c, fh, 2, "ok"), 2);
	char two[2];
	ck_assert_int_eq(nfs_pread(c, fh, 0, 2, two), 2);
	OK(nfs_close(c, fh));
	nfs_destroy_context(c);
	/* And others do not. */
	c = mount_as("/demo", 501);
	ck_assert_int_lt(nfs_open(c, "/dir/mine", O_RDONLY, &fh), 0);
	nfs_destroy_context(c);

	/* Below an export: its directory is the top, there is no way up. */
	c = mount_as("/sub", 0);
	OK(nfs_mkdir(c, "/inside"));
	nfs_destroy_context(c);
	c = mount_as("/demo/dir/below", 0);
	OK(nfs_stat64(c, "/inside", &st));
	nfs_destroy_context(c);
}
END_TEST

static void take_step(struct nas *n)
{
	ck_assert_ptr_eq(nfs_mount_take(n->nfs, NAS_FS_ID), n->fs);
	ck_assert_int_eq(fs_unmount(n->fs), 0);
}

static void give_step(struct nas *n)
{
	struct fs_opts o = {0};
	ck_assert_int_eq(fs_mount(&n->fs, env_real(), n->bdev, &o), 0);
	ck_assert_int_eq(nfs_mount_add(n->nfs, NAS_FS_ID, "fs0", n->fs), 0);
}

START_TEST(handles_live_on_after_a_remount)
{
	struct nfs_context *c = mount_as("/demo", 0);
	struct nfsfh *fh;
	char buf[16];
	OK(nfs_creat(c, "/kept", 0644, &fh));
	ck_assert_int_eq(nfs_write(c, fh, 4, "data"), 4);
	OK(nfs_fsync(c, fh));
	nas_run(&nas, take_step);
	nas_run(&nas, give_step);
	ck_assert_int_eq(nfs_pread(c, fh, 0, 4, buf), 4);
	ck_assert_mem_eq(buf, "data", 4);
	OK(nfs_close(c, fh));
	nfs_destroy_context(c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("nfs_client");
	TCase *tc = tcase_create("libnfs");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_sparse_file_of_16_tib);
	tcase_add_test(tc, files);
	tcase_add_test(tc, a_directory_of_5000);
	tcase_add_test(tc, names);
	tcase_add_test(tc, who_may);
	tcase_add_test(tc, handles_live_on_after_a_remount);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
