/* NFSv4.0 as a client sees it: libnfs over loopback on a real file system in memory. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <nfsc/libnfs.h>
#include "tests/unit/nfs/nas_world.h"

static struct nas nas;

/* The library does not free the name it had. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:nfs4_set_client_name";
}

static void up(void)
{
	nas_up(&nas);
	nas_serve4(&nas);
}

static void down(void)
{
	nas_down(&nas);
}

static struct nfs_context *mount_as(const char *path, int uid)
{
	static unsigned made;
	char url[256], name[32];
	struct nfs_context *c = nfs_init_context();
	snprintf(url, sizeof(url), "nfs://127.0.0.1%s?version=4&nfsport=%u&uid=%d&gid=%d", path,
		 nas.port, uid, uid);
	struct nfs_url *u = nfs_parse_url_dir(c, url);
	ck_assert_ptr_nonnull(u);
	nfs_set_timeout(c, 10000);
	/* Of itself it makes one name a second: two clients would be one that was restarted. */
	snprintf(name, sizeof(name), "client %u", ++made);
	nfs4_set_client_name(c, name);
	int rc = nfs_mount(c, u->server, u->path);
	ck_assert_msg(rc == 0, "mount %s: %s", path, nfs_get_error(c));
	nfs_destroy_url(u);
	return c;
}

#define CHUNK	 1000 /* of larger ones it makes no request */
#define OK(call) ck_assert_msg((call) >= 0, #call ": %s", nfs_get_error(c))

START_TEST(files)
{
	struct nfs_context *c = mount_as("/demo", 0);
	size_t size = 100 * CHUNK + 77;
	char *data = malloc(size), *back = malloc(size);
	struct nfs_stat_64 st;
	struct nfsfh *fh;
	for (size_t i = 0; i < size; i++)
		data[i] = (char)(i * 31 + i / 4099);
	OK(nfs_creat(c, "/big", 0644, &fh));
	OK(nfs_close(c, fh));
	OK(nfs_open(c, "/big", O_RDWR, &fh)); /* what it makes it opens to read */
	for (size_t at = 0; at < size;) {
		int n = nfs_pwrite(c, fh, at, size - at < CHUNK ? size - at : CHUNK, data + at);
		ck_assert_msg(n > 0, "%s", nfs_get_error(c));
		at += (size_t)n;
	}
	OK(nfs_fsync(c, fh));
	OK(nfs_close(c, fh));
	/* Again, by an owner that is known. */
	for (int i = 0; i < 3; i++) {
		OK(nfs_open(c, "/big", O_RDONLY, &fh));
		for (size_t at = 0; at < size;) {
			int n = nfs_pread(c, fh, at, 20000, back + at);
			ck_assert_msg(n > 0, "%s", nfs_get_error(c));
			at += (size_t)n;
		}
		ck_assert_mem_eq(data, back, size);
		ck_assert_int_eq(nfs_pread(c, fh, size, 100, back), 0);
		OK(nfs_close(c, fh));
	}
	OK(nfs_stat64(c, "/big", &st));
	ck_assert_uint_eq(st.nfs_size, size);
	ck_assert_uint_eq(st.nfs_mode, S_IFREG | 0644);
	OK(nfs_truncate(c, "/big", 10));
	OK(nfs_stat64(c, "/big", &st));
	ck_assert_uint_eq(st.nfs_size, 10);
	OK(nfs_open(c, "/big", O_RDWR | O_TRUNC, &fh));
	OK(nfs_fstat64(c, fh, &st));
	ck_assert_uint_eq(st.nfs_size, 0);
	OK(nfs_close(c, fh));
	OK(nfs_unlink(c, "/big"));
	ck_assert_int_eq(nfs_stat64(c, "/big", &st), -ENOENT);
	/* The last: it does not count opens that fail. */
	ck_assert_int_eq(nfs_open(c, "/big", O_RDWR, &fh), -ENOENT);
	nfs_destroy_context(c);
	free(data);
	free(back);
}
END_TEST

START_TEST(names)
{
	struct nfs_context *c = mount_as("/demo", 0);
	struct nfs_stat_64 st;
	struct nfsdir *dir;
	struct nfsdirent *e;
	char text[64], name[32];
	unsigned seen = 0;
	OK(nfs_mkdir(c, "/d"));
	for (int i = 0; i < 300; i++) {
		struct nfsfh *fh;
		snprintf(name, sizeof(name), "/d/file %d", i);
		OK(nfs_creat(c, name, 0600, &fh));
		OK(nfs_close(c, fh));
	}
	OK(nfs_opendir(c, "/d", &dir));
	while ((e = nfs_readdir(c, dir)))
		seen += strncmp(e->name, "file ", 5) == 0;
	nfs_closedir(c, dir);
	ck_assert_uint_eq(seen, 300);
	OK(nfs_symlink(c, "file 7", "/d/link"));
	OK(nfs_readlink(c, "/d/link", text, sizeof(text)));
	ck_assert_str_eq(text, "file 7");
	OK(nfs_link(c, "/d/file 7", "/other name"));
	OK(nfs_stat64(c, "/other name", &st));
	ck_assert_uint_eq(st.nfs_nlink, 2);
	OK(nfs_rename(c, "/other name", "/d/file 8"));
	OK(nfs_chmod(c, "/d/file 9", 0444));
	OK(nfs_stat64(c, "/d/file 9", &st));
	ck_assert_uint_eq(st.nfs_mode & 07777, 0444);
	OK(nfs_chown(c, "/d/file 9", 1001, 1002));
	OK(nfs_stat64(c, "/d/file 9", &st));
	ck_assert_uint_eq(st.nfs_uid, 1001);
	ck_assert_uint_eq(st.nfs_gid, 1002);
	ck_assert_int_eq(nfs_rmdir(c, "/d"), -ENOTEMPTY);
	nfs_destroy_context(c);
}
END_TEST

/* The library's owners do not count what was denied, nor the open-owner a LOCK, as RFC 7530 9.1.7
 * wants: so either is the last of each of them. */
START_TEST(locks_of_clients)
{
	struct nfs_context *c = mount_as("/demo", 0), *d = mount_as("/demo", 0),
			   *e = mount_as("/demo", 0);
	struct nfs4_flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = UINT64_MAX};
	struct nfs4_flock part = {
	    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 10};
	struct nfsfh *fh, *other, *third;
	OK(nfs_creat(c, "/f", 0644, &fh));
	OK(nfs_close(c, fh));
	OK(nfs_open(c, "/f", O_RDWR, &fh));
	ck_assert_int_eq(nfs_open(d, "/f", O_RDWR, &other), 0);
	ck_assert_int_eq(nfs_open(e, "/f", O_RDWR, &third), 0);
	OK(nfs_fcntl(c, fh, NFS4_F_SETLK, &whole));
	ck_assert_int_lt(nfs_fcntl(d, other, NFS4_F_SETLK, &part), 0);
	whole.l_type = F_UNLCK;
	OK(nfs_fcntl(c, fh, NFS4_F_SETLK, &whole));
	ck_assert_int_eq(nfs_fcntl(e, third, NFS4_F_SETLK, &part), 0);
	whole.l_type = F_WRLCK;
	ck_assert_int_lt(nfs_fcntl(c, fh, NFS4_F_SETLK, &whole), 0);
	/* Only to free what it has: see above. */
	nfs_close(c, fh);
	nfs_close(d, other);
	nfs_close(e, third);
	nfs_destroy_context(c);
	nfs_destroy_context(d);
	nfs_destroy_context(e);
}
END_TEST

static int open_as(int uid, int flags)
{
	struct nfs_context *c = mount_as("/demo", uid);
	struct nfsfh *fh;
	int rc = nfs_open(c, "/secret", flags, &fh);
	if (rc == 0)
		OK(nfs_close(c, fh));
	nfs_destroy_context(c);
	return rc;
}

START_TEST(rights)
{
	struct nfs_context *c = mount_as("/demo", 0);
	struct nfsfh *fh;
	OK(nfs_creat(c, "/secret", 0644, &fh));
	OK(nfs_close(c, fh));
	OK(nfs_chmod(c, "/secret", 0600)); /* it makes files of mode 0644 whatever it is told */
	ck_assert_int_eq(open_as(1000, O_RDONLY), -EACCES);
	OK(nfs_chmod(c, "/secret", 0604));
	ck_assert_int_eq(open_as(1000, O_RDONLY), 0);
	ck_assert_int_eq(open_as(1000, O_RDWR), -EACCES);
	ck_assert_int_eq(open_as(0, O_RDWR), 0);
	nfs_destroy_context(c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nfs40 client");
	TCase *t = tcase_create("libnfs");
	tcase_add_checked_fixture(t, up, down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, files);
	tcase_add_test(t, names);
	tcase_add_test(t, locks_of_clients);
	tcase_add_test(t, rights);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
