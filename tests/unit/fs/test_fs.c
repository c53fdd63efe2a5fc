/* The file system's calls one by one: names, attributes, data, rights, limits. */
#include "tests/unit/fs/fs_world.h"

static struct world w;

/* Each test is a task on a fresh file system, which is checked after it. */
#define FS_TEST(name)                                                                              \
	static void name##_body(void);                                                             \
	static void name##_task(void *arg)                                                         \
	{                                                                                          \
		world_mkfs(&w);                                                                    \
		world_mount(&w);                                                                   \
		name##_body();                                                                     \
		world_unmount(&w);                                                                 \
		world_check(&w);                                                                   \
	}                                                                                          \
	START_TEST(name)                                                                           \
	{                                                                                          \
		world_new(&w, 7, 64 << 20);                                                        \
		ck_assert_int_eq(sim_run(w.sim, name##_task, NULL), 0);                            \
		world_free(&w);                                                                    \
	}                                                                                          \
	END_TEST                                                                                   \
	static void name##_body(void)

static void remount(void)
{
	world_unmount(&w);
	world_mount(&w);
}

FS_TEST(a_new_file_is_found_and_survives)
{
	struct fs_fid f;
	struct fs_attr a, b;
	ck_assert_int_eq(make_file(w.fs, &root_fid, "hello", &f), 0);
	ck_assert_int_eq(find(w.fs, &root_fid, "hello", &a), 0);
	ck_assert_uint_eq(a.ino, f.ino);
	ck_assert_int_eq(a.type, FS_REG);
	ck_assert_uint_eq(a.nlink, 1);
	ck_assert_int_eq(find(w.fs, &root_fid, "hallo", &a), -ENOENT);
	ck_assert_int_eq(make_file(w.fs, &root_fid, "hello", NULL), -EEXIST);
	remount();
	ck_assert_int_eq(find(w.fs, &root_fid, "hello", &b), 0);
	ck_assert_uint_eq(b.ino, f.ino);
	ck_assert_uint_eq(b.generation, f.generation);
}

FS_TEST(a_handle_of_a_removed_file_is_stale)
{
	struct fs_fid f, g;
	struct fs_attr a;
	ck_assert_int_eq(make_file(w.fs, &root_fid, "x", &f), 0);
	ck_assert_int_eq(fs_remove(w.fs, NULL, &root_fid, "x", 1, NULL), 0);
	ck_assert_int_eq(fs_getattr(w.fs, &f, &a), -ESTALE);
	ck_assert_int_eq(make_file(w.fs, &root_fid, "y", &g), 0);
	ck_assert_int_eq(fs_getattr(w.fs, &f, &a), -ESTALE);
	struct fs_fid odd = {1ull << 60, 1}, orphans = {1, 1}, data = {100000, 1};
	ck_assert_int_eq(fs_getattr(w.fs, &odd, &a), -ESTALE);
	ck_assert_int_eq(fs_getattr(w.fs, &orphans, &a), -ESTALE);
	ck_assert_int_eq(fs_getattr(w.fs, &data, &a), -ESTALE);
}

FS_TEST(data_is_read_back_in_any_alignment)
{
	enum { N = 300000 };
	static uint8_t in[N], out[N];
	struct fs_fid f;
	for (int i = 0; i < N; i++)
		in[i] = (uint8_t)(i * 7 + i / 251);
	ck_assert_int_eq(make_file(w.fs, &root_fid, "data", &f), 0);
	for (int at = 0, n = 1; at < N; at += n, n = n * 3 % 9973 + 1) {
		n = n < N - at ? n : N - at;
		ck_assert_int_eq(put(w.fs, &f, (uint64_t)at, in + at, (size_t)n, at % 3), 0);
	}
	ck_assert_int_eq(get(w.fs, &f, 0, out, N), N);
	ck_assert_mem_eq(in, out, N);
	ck_assert_int_eq(fs_commit(w.fs, &f, 0, 0, NULL), 0);
	remount();
	ck_assert_int_eq(get(w.fs, &f, 12345, out, 100000), 100000);
	ck_assert_mem_eq(in + 12345, out, 100000);
	ck_assert_int_eq(get(w.fs, &f, N - 10, out, 100), 10);
	ck_assert_int_eq(get(w.fs, &f, N, out, 100), 0);
}

FS_TEST(holes_and_cut_tails_are_zeros)
{
	static uint8_t ones[20000], out[40000];
	struct fs_fid f;
	struct fs_attr a;
	memset(ones, 0xff, sizeof(ones));
	ck_assert_int_eq(make_file(w.fs, &root_fid, "f", &f), 0);
	ck_assert_int_eq(put(w.fs, &f, 0, ones, 10000, FS_WRITE_FILE_SYNC), 0);
	resize_to(w.fs, &f, 5000);
	resize_to(w.fs, &f, 20000);
	ck_assert_int_eq(get(w.fs, &f, 0, out, sizeof(out)), 20000);
	for (int i = 0; i < 20000; i++)
		ck_assert_uint_eq(out[i], i < 5000 ? 0xff : 0);
	resize_to(w.fs, &f, 4500);
	ck_assert_int_eq(put(w.fs, &f, 30000, ones, 10, FS_WRITE_UNSTABLE), 0);
	ck_assert_int_eq(get(w.fs, &f, 0, out, sizeof(out)), 30010);
	for (int i = 0; i < 30010; i++)
		ck_assert_uint_eq(out[i], i < 4500 || i >= 30000 ? 0xff : 0);
	ck_assert_int_eq(fs_getattr(w.fs, &f, &a), 0);
	ck_assert_uint_eq(a.used, 3 * 4096);
	resize_to(w.fs, &f, 0);
	ck_assert_int_eq(fs_getattr(w.fs, &f, &a), 0);
	ck_assert_uint_eq(a.used, 0);
}

FS_TEST(a_file_of_many_extents_is_cut_and_removed)
{
	struct fs_fid f;
	struct fs_attr a;
	struct fs_statfs before, after;
	uint8_t b[4096], out[4096];
	ck_assert_int_eq(fs_statfs(w.fs, &before), 0);
	ck_assert_int_eq(make_file(w.fs, &root_fid, "f", &f), 0);
	for (uint64_t i = 0; i < 1000; i++) { /* every other block, from the end */
		memset(b, (int)i, sizeof(b));
		ck_assert_int_eq(put(w.fs, &f, (999 - i) * 8192, b, sizeof(b), 0), 0);
	}
	for (uint64_t i = 0; i < 1000; i++) {
		memset(b, (int)i, sizeof(b));
		ck_assert_int_eq(get(w.fs, &f, (999 - i) * 8192, out, 4096), 4096);
		ck_assert_mem_eq(b, out, 4096);
	}
	resize_to(w.fs, &f, 8192 * 500);
	ck_assert_int_eq(fs_getattr(w.fs, &f, &a), 0);
	ck_assert_uint_ge(a.used, 500 * 4096);
	ck_assert_uint_lt(a.used, 520 * 4096);
	remount();
	ck_assert_int_eq(fs_remove(w.fs, NULL, &root_fid, "f", 1, NULL), 0);
	remount();
	ck_assert_int_eq(fs_remove(w.fs, NULL, &root_fid, "f", 1, NULL), -ENOENT);
	ck_assert_int_eq(fs_mkdir(w.fs, NULL, &root_fid, "d", 1, NULL, &a, NULL), 0);
	ck_assert_int_eq(fs_rmdir(w.fs, NULL, &root_fid, "d", 1, NULL), 0);
	env_sleep_ns(sim_env(w.sim), 5 * NS_PER_S); /* big files are freed by and by */
	ck_assert_int_eq(fs_statfs(w.fs, &after), 0);
	ck_assert_uint_le(before.free_bytes - after.free_bytes, 3 * 4096);
}

FS_TEST(renames_follow_posix)
{
	struct fs_fid d1, d2, sub, f, g;
	struct fs_attr a;
	struct fs *fs = w.fs;
	ck_assert_int_eq(make_dir(fs, &root_fid, "d1", &d1), 0);
	ck_assert_int_eq(make_dir(fs, &root_fid, "d2", &d2), 0);
	ck_assert_int_eq(make_dir(fs, &d1, "sub", &sub), 0);
	ck_assert_int_eq(make_file(fs, &d1, "f", &f), 0);
	ck_assert_int_eq(make_file(fs, &d2, "g", &g), 0);
	ck_assert_int_eq(fs_rename(fs, NULL, &root_fid, "d1", 2, &sub, "x", 1, NULL, NULL),
			 -EINVAL);
	ck_assert_int_eq(fs_rename(fs, NULL, &d1, "f", 1, &d1, "sub", 3, NULL, NULL), -EISDIR);
	ck_assert_int_eq(fs_rename(fs, NULL, &d1, "sub", 3, &d2, "g", 1, NULL, NULL), -ENOTDIR);
	ck_assert_int_eq(fs_rename(fs, NULL, &root_fid, "d2", 2, &root_fid, "d1", 2, NULL, NULL),
			 -ENOTEMPTY);
	ck_assert_int_eq(fs_rename(fs, NULL, &d1, "f", 1, &d2, "g", 1, NULL, NULL), 0);
	ck_assert_int_eq(fs_getattr(fs, &g, &a), -ESTALE);
	ck_assert_int_eq(find(fs, &d2, "g", &a), 0);
	ck_assert_uint_eq(a.ino, f.ino);
	ck_assert_int_eq(fs_rename(fs, NULL, &d1, "sub", 3, &d2, "sub", 3, NULL, NULL), 0);
	ck_assert_int_eq(find(fs, &sub, "..", &a), 0);
	ck_assert_uint_eq(a.ino, d2.ino);
	ck_assert_uint_eq(a.nlink, 3);
	ck_assert_int_eq(fs_getattr(fs, &d1, &a), 0);
	ck_assert_uint_eq(a.nlink, 2);
	ck_assert_int_eq(fs_rename(fs, NULL, &d2, "sub", 3, &root_fid, "d1", 2, NULL, NULL), 0);
	ck_assert_int_eq(fs_getattr(fs, &d1, &a), -ESTALE);
	ck_assert_int_eq(fs_getattr(fs, &root_fid, &a), 0);
	ck_assert_uint_eq(a.nlink, 4);
	ck_assert_int_eq(fs_rmdir(fs, NULL, &root_fid, "d2", 2, NULL), -ENOTEMPTY);
	ck_assert_int_eq(fs_remove(fs, NULL, &root_fid, "d2", 2, NULL), -EISDIR);
	ck_assert_int_eq(fs_link(fs, NULL, &f, &d2, "h", 1, &a, NULL), 0);
	ck_assert_uint_eq(a.nlink, 2);
	ck_assert_int_eq(fs_rename(fs, NULL, &d2, "h", 1, &d2, "g", 1, NULL, NULL), 0);
	ck_assert_int_eq(find(fs, &d2, "h", &a), 0);
	ck_assert_int_eq(fs_remove(fs, NULL, &d2, "g", 1, NULL), 0);
	ck_assert_int_eq(fs_getattr(fs, &f, &a), 0);
	ck_assert_uint_eq(a.nlink, 1);
}

FS_TEST(symbolic_links_of_every_length)
{
	static char target[FS_SYMLINK_MAX + 1], out[FS_SYMLINK_MAX + 1];
	const uint32_t lens[] = {1, 303, 304, 305, 4000, FS_SYMLINK_MAX};
	struct fs_attr a;
	uint32_t n;
	for (uint32_t i = 0; i < sizeof(target); i++)
		target[i] = (char)('a' + i % 26);
	for (unsigned i = 0; i < 6; i++) {
		char name[2] = {(char)('0' + i), 0};
		ck_assert_int_eq(
		    fs_symlink(w.fs, NULL, &root_fid, name, 1, target, lens[i], NULL, &a, NULL), 0);
		struct fs_fid f = fid_of(&a);
		ck_assert_uint_eq(a.size, lens[i]);
		ck_assert_int_eq(fs_readlink(w.fs, &f, out, sizeof(out), &n, NULL), 0);
		ck_assert_uint_eq(n, lens[i]);
		ck_assert_mem_eq(out, target, n);
	}
	ck_assert_int_eq(
	    fs_symlink(w.fs, NULL, &root_fid, "l", 1, target, FS_SYMLINK_MAX + 1, NULL, &a, NULL),
	    -ENAMETOOLONG);
	for (unsigned i = 0; i < 6; i += 2) {
		char name[2] = {(char)('0' + i), 0};
		ck_assert_int_eq(fs_remove(w.fs, NULL, &root_fid, name, 1, NULL), 0);
	}
}

FS_TEST(names_have_limits)
{
	char name[300];
	memset(name, 'n', sizeof(name));
	name[255] = 0;
	ck_assert_int_eq(make_file(w.fs, &root_fid, name, NULL), 0);
	name[255] = 'n';
	name[256] = 0;
	ck_assert_int_eq(make_file(w.fs, &root_fid, name, NULL), -ENAMETOOLONG);
	ck_assert_int_eq(make_file(w.fs, &root_fid, "a/b", NULL), -EINVAL);
	ck_assert_int_eq(make_file(w.fs, &root_fid, "", NULL), -EINVAL);
	ck_assert_int_eq(make_file(w.fs, &root_fid, "..", NULL), -EEXIST);
	ck_assert_int_eq(fs_rmdir(w.fs, NULL, &root_fid, ".", 1, NULL), -EINVAL);
}

FS_TEST(exclusive_creates_may_be_repeated)
{
	struct fs_attr a, b;
	ck_assert_int_eq(
	    fs_create(w.fs, NULL, &root_fid, "e", 1, FS_CREATE_EXCLUSIVE, NULL, 42, &a, NULL), 0);
	remount();
	ck_assert_int_eq(
	    fs_create(w.fs, NULL, &root_fid, "e", 1, FS_CREATE_EXCLUSIVE, NULL, 42, &b, NULL), 0);
	ck_assert_uint_eq(a.ino, b.ino);
	ck_assert_int_eq(
	    fs_create(w.fs, NULL, &root_fid, "e", 1, FS_CREATE_EXCLUSIVE, NULL, 43, &b, NULL),
	    -EEXIST);
	struct fs_setattr s = {.which = FS_SET_SIZE, .size = 0};
	struct fs_fid f = fid_of(&a);
	ck_assert_int_eq(put(w.fs, &f, 0, "abc", 3, FS_WRITE_FILE_SYNC), 0);
	ck_assert_int_eq(
	    fs_create(w.fs, NULL, &root_fid, "e", 1, FS_CREATE_UNCHECKED, &s, 0, &b, NULL), 0);
	ck_assert_uint_eq(b.size, 0);
}

FS_TEST(rights_are_posix)
{
	struct fs *fs = w.fs;
	struct fs_cred alice = {.uid = 1000, .gid = 100}, bob = {.uid = 1001, .gid = 100},
		       eve = {.uid = 1002, .gid = 200, .ngroups = 1, .groups = {100}};
	struct fs_setattr s = {.which = FS_SET_MODE, .mode = 0640};
	struct fs_attr a;
	unsigned have;
	ck_assert_int_eq(
	    fs_create(fs, &alice, &root_fid, "a", 1, FS_CREATE_GUARDED, &s, 0, &a, NULL), 0);
	struct fs_fid f = fid_of(&a);
	ck_assert_uint_eq(a.uid, 1000);
	ck_assert_int_eq(fs_access(fs, &bob, &f, 7, &have), 0);
	ck_assert_uint_eq(have, 4);
	ck_assert_int_eq(fs_access(fs, &eve, &f, 7, &have), 0);
	ck_assert_uint_eq(have, 4);
	s.mode = 04777;
	ck_assert_int_eq(fs_setattr(fs, &bob, &f, &s, NULL, NULL), -EPERM);
	ck_assert_int_eq(fs_setattr(fs, &alice, &f, &s, NULL, NULL), 0);
	struct iovec iov = {"x", 1};
	ck_assert_int_eq(fs_write(fs, &bob, &f, 0, &iov, 1, FS_WRITE_UNSTABLE, NULL), 0);
	ck_assert_int_eq(fs_getattr(fs, &f, &a), 0);
	ck_assert_uint_eq(a.mode, 0777); /* a write by another took the set-id bit */
	s = (struct fs_setattr){.which = FS_SET_UID, .uid = 1001};
	ck_assert_int_eq(fs_setattr(fs, &alice, &f, &s, NULL, NULL), -EPERM);
	s = (struct fs_setattr){.which = FS_SET_GID, .gid = 200};
	ck_assert_int_eq(fs_setattr(fs, &alice, &f, &s, NULL, NULL), -EPERM);
	s = (struct fs_setattr){.which = FS_SET_MODE, .mode = 01777};
	ck_assert_int_eq(fs_setattr(fs, NULL, &root_fid, &s, NULL, NULL), 0);
	ck_assert_int_eq(fs_remove(fs, &bob, &root_fid, "a", 1, NULL), -EPERM);
	ck_assert_int_eq(fs_rename(fs, &bob, &root_fid, "a", 1, &root_fid, "b", 1, NULL, NULL),
			 -EPERM);
	ck_assert_int_eq(fs_remove(fs, &alice, &root_fid, "a", 1, NULL), 0);
	s = (struct fs_setattr){.which = FS_SET_MODE, .mode = 0700};
	ck_assert_int_eq(fs_mkdir(fs, &alice, &root_fid, "p", 1, &s, &a, NULL), 0);
	struct fs_fid p = fid_of(&a);
	ck_assert_int_eq(fs_lookup(fs, &bob, &p, "x", 1, &a, NULL), -EACCES);
	s = (struct fs_setattr){.which = FS_SET_MODE | FS_SET_GID, .mode = 02777, .gid = 300};
	ck_assert_int_eq(fs_setattr(fs, NULL, &p, &s, NULL, NULL), 0);
	ck_assert_int_eq(fs_mkdir(fs, &bob, &p, "q", 1, NULL, &a, NULL), 0);
	ck_assert_uint_eq(a.gid, 300);
	ck_assert_uint_eq(a.mode & 02000, 02000);
}

FS_TEST(attributes_change_as_told)
{
	struct fs_fid f;
	struct fs_attr a, b;
	struct fs_wcc wcc;
	ck_assert_int_eq(make_file(w.fs, &root_fid, "t", &f), 0);
	ck_assert_int_eq(fs_getattr(w.fs, &f, &a), 0);
	struct fs_setattr s = {
	    .which = FS_SET_ATIME | FS_SET_MTIME, .atime = {-5, 7}, .mtime = {9, 8}};
	struct fs_time wrong = {1, 2};
	ck_assert_int_eq(fs_setattr(w.fs, NULL, &f, &s, &wrong, NULL), -ERR_MISCOMPARE);
	ck_assert_int_eq(fs_setattr(w.fs, NULL, &f, &s, &a.ctime, &wcc), 0);
	ck_assert(wcc.have_pre && wcc.have_post);
	ck_assert_int_eq(fs_getattr(w.fs, &f, &b), 0);
	ck_assert_int_eq(b.atime.sec, -5);
	ck_assert_uint_eq(b.mtime.nsec, 8);
	ck_assert_uint_gt(b.change, a.change);
	ck_assert_uint_eq(wcc.pre.change, a.change);
	ck_assert_uint_eq(wcc.post.change, b.change);
}

struct listing {
	int n;
	uint64_t cookie;
	int limit;
	uint8_t *seen;
};

static bool list_emit(void *arg, const char *name, uint32_t len, uint64_t ino, uint64_t cookie,
		      const struct fs_attr *attr)
{
	struct listing *l = arg;
	if (l->limit-- == 0)
		return false;
	ck_assert_uint_gt(cookie, l->cookie);
	l->cookie = cookie;
	l->n++;
	char copy[16] = "";
	memcpy(copy, name, len);
	if (name[0] == 'k')
		l->seen[atoi(copy + 1)]++;
	if (attr)
		ck_assert_uint_eq(attr->ino, ino);
	return true;
}

FS_TEST(a_listing_gives_what_stays_exactly_once)
{
	enum { N = 2000 };
	static uint8_t seen[N];
	char name[16];
	bool eof = false;
	memset(seen, 0, sizeof(seen));
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "k%d", i);
		ck_assert_int_eq(make_file(w.fs, &root_fid, name, NULL), 0);
		snprintf(name, sizeof(name), "v%d", i);
		ck_assert_int_eq(make_file(w.fs, &root_fid, name, NULL), 0);
	}
	struct listing l = {.seen = seen};
	for (int round = 0; !eof; round++) {
		l.limit = 37;
		ck_assert_int_eq(fs_readdir(w.fs, NULL, &root_fid, l.cookie, round % 2, list_emit,
					    &l, &eof, NULL),
				 0);
		for (int i = round * 16; i < round * 16 + 16 && i < N; i++) {
			snprintf(name, sizeof(name), "v%d", i);
			ck_assert_int_eq(
			    fs_remove(w.fs, NULL, &root_fid, name, (uint32_t)strlen(name), NULL),
			    0);
			snprintf(name, sizeof(name), "w%d", i);
			ck_assert_int_eq(make_file(w.fs, &root_fid, name, NULL), 0);
		}
		ck_assert_int_lt(round, 1000);
	}
	for (int i = 0; i < N; i++)
		ck_assert_uint_eq(seen[i], 1);
}

int main(void)
{
	Suite *s = suite_create("fs");
	TCase *t = tcase_create("fs");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, a_new_file_is_found_and_survives);
	tcase_add_test(t, a_handle_of_a_removed_file_is_stale);
	tcase_add_test(t, data_is_read_back_in_any_alignment);
	tcase_add_test(t, holes_and_cut_tails_are_zeros);
	tcase_add_test(t, a_file_of_many_extents_is_cut_and_removed);
	tcase_add_test(t, renames_follow_posix);
	tcase_add_test(t, symbolic_links_of_every_length);
	tcase_add_test(t, names_have_limits);
	tcase_add_test(t, exclusive_creates_may_be_repeated);
	tcase_add_test(t, rights_are_posix);
	tcase_add_test(t, attributes_change_as_told);
	tcase_add_test(t, a_listing_gives_what_stays_exactly_once);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
