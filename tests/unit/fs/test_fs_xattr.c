/*
 * Extended attributes: in the inode, in a tree, and from one to the other; lists that go on from a
 * cookie; limits, rights, quotas; removal with their file; damage.
 */
#include "nasfront/fs/xattr.h"
#include "tests/unit/fs/fs_world.h"

static const struct fs_cred user = {.uid = 100, .gid = 200}, other = {.uid = 101, .gid = 201};

static int set_as(struct fs *fs, const struct fs_cred *c, const struct fs_fid *f, const char *name,
		  const char *value, enum fs_xattr_how how)
{
	return fs_xattr_set(fs, c, f, name, (uint32_t)strlen(name), value, (uint32_t)strlen(value),
			    how, NULL);
}

static int set(struct fs *fs, const struct fs_fid *f, const char *name, const char *value)
{
	return set_as(fs, NULL, f, name, value, FS_XATTR_EITHER);
}

static void is(struct fs *fs, const struct fs_fid *f, const char *name, const char *value)
{
	char buf[1000];
	uint32_t len = 0;
	ck_assert_int_eq(
	    fs_xattr_get(fs, NULL, f, name, (uint32_t)strlen(name), buf, sizeof(buf), &len), 0);
	ck_assert_uint_eq(len, strlen(value));
	ck_assert_mem_eq(buf, value, len);
}

static uint64_t blocks_of(struct fs *fs, const struct fs_fid *f)
{
	struct fs_attr a;
	ck_assert_int_eq(fs_getattr(fs, f, &a), 0);
	return a.used / FS_BLOCK_SIZE;
}

/* Small ones cost no block; extents and attributes share the inode's area and leave it in turn. */
static void places_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid f;
	struct fs_attr a, b;
	struct fs_wcc wcc;
	char big[300];
	world_mkfs(w);
	world_mount(w);
	memset(big, 'b', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	ck_assert_int_eq(make_file(w->fs, &root_fid, "f", &f), 0);
	ck_assert_int_eq(fs_getattr(w->fs, &f, &a), 0);
	ck_assert_int_eq(fs_xattr_set(w->fs, NULL, &f, "one", 3, "first", 5, FS_XATTR_CREATE, &wcc),
			 0);
	ck_assert(wcc.have_pre && wcc.have_post && wcc.post.change > wcc.pre.change);
	ck_assert_int_eq(set(w->fs, &f, "two", ""), 0);
	ck_assert_int_eq(fs_getattr(w->fs, &f, &b), 0);
	ck_assert_uint_gt(b.change, a.change);
	ck_assert(b.mtime.sec == a.mtime.sec && b.mtime.nsec == a.mtime.nsec);
	ck_assert_uint_eq(blocks_of(w->fs, &f), 0);
	/* Extents up to where the attributes begin, then a tree for them. */
	for (uint64_t i = 0; i < 12; i++)
		ck_assert_int_eq(put(w->fs, &f, i * 8192, "x", 1, 0), 0);
	ck_assert_uint_eq(blocks_of(w->fs, &f), 13);
	is(w->fs, &f, "one", "first");
	is(w->fs, &f, "two", "");
	ck_assert_int_eq(set(w->fs, &f, "one", "second and longer"), 0);
	ck_assert_uint_eq(blocks_of(w->fs, &f), 13);
	ck_assert_int_eq(set(w->fs, &f, "three", big), 0); /* all of them to a tree */
	ck_assert_uint_eq(blocks_of(w->fs, &f), 14);
	is(w->fs, &f, "one", "second and longer");
	is(w->fs, &f, "two", "");
	is(w->fs, &f, "three", big);
	world_unmount(w);
	world_check(w);
	world_mount(w);
	is(w->fs, &f, "three", big);
	ck_assert_int_eq(fs_xattr_remove(w->fs, NULL, &f, "three", 5, NULL), 0);
	ck_assert_int_eq(fs_xattr_remove(w->fs, NULL, &f, "three", 5, NULL), -ENODATA);
	is(w->fs, &f, "one", "second and longer");
	ck_assert_int_eq(fs_xattr_remove(w->fs, NULL, &f, "one", 3, NULL), 0);
	ck_assert_int_eq(fs_xattr_remove(w->fs, NULL, &f, "two", 3, NULL), 0);
	ck_assert_uint_eq(blocks_of(w->fs, &f), 13);
	ck_assert_int_eq(set(w->fs, &f, "back", "in the inode"), 0);
	ck_assert_uint_eq(blocks_of(w->fs, &f), 13);
	world_unmount(w);
	world_check(w);
}

START_TEST(few_lie_in_the_inode_many_in_a_tree)
{
	world_run(places_task, 1);
}
END_TEST

#define MANY 3000

struct listing {
	uint8_t seen[MANY];
	unsigned n, stop;
	uint64_t cookie;
};

static bool list_emit(void *arg, const char *name, uint32_t n, uint32_t len, uint64_t cookie)
{
	struct listing *l = arg;
	char text[16] = {0};
	memcpy(text, name, n);
	if (l->n == l->stop)
		return false;
	ck_assert_uint_gt(cookie, l->cookie);
	l->cookie = cookie;
	l->seen[atoi(text + 1)]++;
	l->n++;
	return true;
}

static void many_task(void *arg)
{
	struct world *w = arg;
	struct listing *l = calloc(1, sizeof(*l));
	struct fs_fid d;
	char name[16];
	bool eof = false;
	world_mkfs(w);
	world_mount_mem(w, 1);
	ck_assert_int_eq(make_dir(w->fs, &root_fid, "d", &d), 0);
	for (int i = 0; i < MANY; i++) {
		sprintf(name, "n%d", i);
		ck_assert_int_eq(set(w->fs, &d, name, name), 0);
	}
	/* In portions, while some go and some change. */
	while (!eof) {
		l->stop = l->n + 100;
		ck_assert_int_eq(fs_xattr_list(w->fs, NULL, &d, l->cookie, list_emit, l, &eof), 0);
		sprintf(name, "n%u", l->n / 100 * 7);
		ck_assert_int_eq(set(w->fs, &d, name, "changed meanwhile, and longer than before"),
				 0);
	}
	ck_assert_uint_eq(l->n, MANY);
	for (int i = 0; i < MANY; i++)
		ck_assert_uint_eq(l->seen[i], 1);
	ck_assert_int_eq(fs_xattr_list(w->fs, NULL, &d, UINT64_MAX, list_emit, l, &eof), 0);
	ck_assert(eof);
	is(w->fs, &d, "n2999", "n2999");
	ck_assert_int_eq(fs_rmdir(w->fs, NULL, &root_fid, "d", 1, NULL), 0);
	ck_assert_int_eq(orphan_reap(w->fs), 0);
	struct fs_statfs st;
	ck_assert_int_eq(fs_statfs(w->fs, &st), 0);
	world_unmount(w);
	world_check(w);
	free(l);
}

START_TEST(thousands_are_listed_in_portions)
{
	world_run(many_task, 2);
}
END_TEST

static void limits_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid f;
	struct fs_attr a;
	uint8_t *p = malloc(FS_XATTR_MAX + 1), *q = malloc(FS_XATTR_MAX + 1);
	uint32_t len;
	char name[300];
	memset(name, 'n', sizeof(name));
	world_mkfs(w);
	world_mount(w);
	for (unsigned i = 0; i <= FS_XATTR_MAX; i++)
		p[i] = (uint8_t)(i * 7 + i / 256);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "f", &f), 0);
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(fs_xattr_set(w->fs, NULL, &f, name, 255, p + round,
					      FS_XATTR_MAX - (uint32_t)round, FS_XATTR_EITHER,
					      NULL),
				 0);
		ck_assert_int_eq(fs_xattr_get(w->fs, NULL, &f, name, 255, q, FS_XATTR_MAX, &len),
				 0);
		ck_assert_uint_eq(len, FS_XATTR_MAX - round);
		ck_assert_mem_eq(q, p + round, len);
	}
	ck_assert_int_eq(fs_xattr_get(w->fs, NULL, &f, name, 255, NULL, 0, &len), 0);
	ck_assert_uint_eq(len, FS_XATTR_MAX - 2);
	ck_assert_int_eq(fs_xattr_get(w->fs, NULL, &f, name, 255, q, 100, &len), -ERANGE);
	ck_assert_int_eq(fs_xattr_set(w->fs, NULL, &f, "n", 1, p, FS_XATTR_MAX + 1, 0, NULL),
			 -E2BIG);
	ck_assert_int_eq(fs_xattr_set(w->fs, NULL, &f, name, 256, p, 1, 0, NULL), -ENAMETOOLONG);
	ck_assert_int_eq(fs_xattr_set(w->fs, NULL, &f, name, 0, p, 1, 0, NULL), -EINVAL);
	ck_assert_int_eq(fs_xattr_set(w->fs, NULL, &f, "a\0b", 3, p, 1, 0, NULL), -EINVAL);
	ck_assert_int_eq(set_as(w->fs, NULL, &f, "n", "v", FS_XATTR_REPLACE), -ENODATA);
	ck_assert_int_eq(set_as(w->fs, NULL, &f, "n", "v", FS_XATTR_CREATE), 0);
	ck_assert_int_eq(set_as(w->fs, NULL, &f, "n", "w", FS_XATTR_CREATE), -EEXIST);
	is(w->fs, &f, "n", "v");
	ck_assert_int_eq(fs_symlink(w->fs, NULL, &root_fid, "l", 1, "f", 1, NULL, &a, NULL), 0);
	struct fs_fid l = fid_of(&a);
	ck_assert_int_eq(set(w->fs, &l, "n", "v"), -EPERM);
	ck_assert_int_eq(fs_xattr_get(w->fs, NULL, &l, "n", 1, q, 10, &len), -ENODATA);
	/* Gone with the file, which has a tree of them only. */
	struct fs_statfs before, after;
	ck_assert_int_eq(fs_statfs(w->fs, &before), 0);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "f", 1, NULL), 0);
	ck_assert_int_eq(orphan_reap(w->fs), 0);
	ck_assert_int_eq(fs_statfs(w->fs, &after), 0);
	ck_assert_uint_ge(after.free_bytes, before.free_bytes + FS_XATTR_MAX);
	world_unmount(w);
	world_check(w);
	free(p);
	free(q);
}

START_TEST(long_values_and_wrong_calls)
{
	world_run(limits_task, 3);
}
END_TEST

static void rights_task(void *arg)
{
	struct world *w = arg;
	struct fs_setattr s = {.which = FS_SET_MODE, .mode = 0644};
	struct fs_quota_limits l = {0};
	struct fs_quota q;
	struct fs_attr a;
	static char p[FS_XATTR_MAX], buf[100];
	uint32_t len;
	bool eof;
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(
	    fs_create(w->fs, &user, &root_fid, "f", 1, FS_CREATE_GUARDED, &s, 0, &a, NULL), 0);
	struct fs_fid f = fid_of(&a);
	ck_assert_int_eq(set_as(w->fs, &user, &f, "n", "v", 0), 0);
	ck_assert_int_eq(set_as(w->fs, &other, &f, "n", "w", 0), -EACCES);
	ck_assert_int_eq(fs_xattr_remove(w->fs, &other, &f, "n", 1, NULL), -EACCES);
	ck_assert_int_eq(fs_xattr_get(w->fs, &other, &f, "n", 1, buf, 100, &len), 0);
	s.mode = 0600;
	ck_assert_int_eq(fs_setattr(w->fs, NULL, &f, &s, NULL, NULL), 0);
	ck_assert_int_eq(fs_xattr_get(w->fs, &other, &f, "n", 1, buf, 100, &len), -EACCES);
	struct listing *none = NULL;
	ck_assert_int_eq(fs_xattr_list(w->fs, &other, &f, 0, list_emit, none, &eof), -EACCES);
	/* Who may write in a sticky directory may not do so about it. */
	s.mode = 01777;
	ck_assert_int_eq(fs_mkdir(w->fs, NULL, &root_fid, "tmp", 3, &s, &a, NULL), 0);
	struct fs_fid d = fid_of(&a);
	ck_assert_int_eq(set_as(w->fs, &other, &d, "n", "w", 0), -EPERM);
	l.set_hard[FS_QUOTA_BYTES] = true;
	l.hard[FS_QUOTA_BYTES] = 10 * FS_BLOCK_SIZE;
	ck_assert_int_eq(fs_quota_set(w->fs, FS_QUOTA_USER, user.uid, &l), 0);
	ck_assert_int_eq(fs_xattr_set(w->fs, &user, &f, "big", 3, p, 20000, 0, NULL), 0);
	ck_assert_int_eq(fs_xattr_set(w->fs, &user, &f, "big", 3, p, 65536, 0, NULL), -EDQUOT);
	ck_assert_int_eq(fs_xattr_get(w->fs, &user, &f, "big", 3, NULL, 0, &len), 0);
	ck_assert_uint_eq(len, 20000);
	ck_assert_int_eq(fs_quota_get(w->fs, FS_QUOTA_USER, user.uid, &q), 0);
	ck_assert_uint_ge(q.used[FS_QUOTA_BYTES], 5 * FS_BLOCK_SIZE);
	world_unmount(w);
	world_check(w);
}

START_TEST(rights_and_quotas_hold)
{
	world_run(rights_task, 4);
}
END_TEST

/* ---- damage ---- */

static void say_count(void *arg, const char *line)
{
	++*(int *)arg;
}

/* One attribute loses a piece: it goes, the others stay, whatever is wrong about it. */
static void damage_task(void *arg)
{
	struct world *w = arg;
	struct fs_check_report r;
	struct fs_fid f;
	static char p[2000];
	int lines = 0;
	uint32_t len;
	memset(p, 'p', sizeof(p));
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "f", &f), 0);
	ck_assert_int_eq(put(w->fs, &f, 0, "data", 4, 0), 0);
	ck_assert_int_eq(fs_xattr_set(w->fs, NULL, &f, "big", 3, p, sizeof(p), 0, NULL), 0);
	ck_assert_int_eq(set(w->fs, &f, "a", "va"), 0);
	ck_assert_int_eq(set(w->fs, &f, "b", "vb"), 0);
	world_unmount(w);
	bool done = false;
	for (uint64_t b = 0; b < sim_disk_size(w->disk) / BS && !done; b++) {
		uint8_t *d = sim_disk_bytes(w->disk) + b * BS;
		if (le32_get(d) != META_MAGIC || le16_get(d + H_TYPE) != BT_XATTRS)
			continue;
		for (unsigned i = 0; i < node_count(d) && !done; i++) {
			uint8_t *v = leaf_value(d, i, &len);
			if ((leaf_key(d, i) & X_PIECES) || le32_get(v) != sizeof(p))
				continue;
			le32_put(v, sizeof(p) + 300); /* as if a piece more were there */
			block_seal(d, 1);
			sim_disk_bytes_changed(w->disk, b * BS, BS);
			done = true;
		}
	}
	ck_assert(done);
	world_mount(w);
	ck_assert_int_eq(fs_xattr_get(w->fs, NULL, &f, "big", 3, p, 0, &len), 0);
	static char q[FS_XATTR_MAX];
	ck_assert_int_eq(fs_xattr_get(w->fs, NULL, &f, "big", 3, q, sizeof(q), &len), -ERR_CORRUPT);
	world_unmount(w);
	ck_assert_int_eq(fs_check(sim_env(w->sim), w->dev, false, say_count, &lines, &r),
			 -ERR_CORRUPT);
	ck_assert_int_gt(lines, 0);
	ck_assert_int_eq(fs_check(sim_env(w->sim), w->dev, true, say_count, &lines, &r), 0);
	world_check(w);
	world_mount(w);
	is(w->fs, &f, "a", "va");
	is(w->fs, &f, "b", "vb");
	ck_assert_int_eq(fs_xattr_get(w->fs, NULL, &f, "big", 3, p, 0, &len), -ENODATA);
	ck_assert_int_eq(get(w->fs, &f, 0, q, 100), 4);
	world_unmount(w);
}

START_TEST(what_is_not_whole_is_taken_out)
{
	world_run(damage_task, 5);
}
END_TEST

static void long_task(void *arg)
{
	struct world *w = arg;
	static char value[60000];
	struct fs_fid f;
	memset(value, 'v', sizeof(value));
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "f", &f), 0);
	ck_assert_int_eq(
	    fs_xattr_set(w->fs, NULL, &f, "long", 4, value, sizeof(value), FS_XATTR_CREATE, NULL),
	    0);
	world_unmount(w);
}

/* The reaper frees it a few pieces a body; each is made stable, so that the power goes between. */
static uint64_t off_at; /* writes after the mount */

static void remove_task(void *arg)
{
	struct world *w = arg;
	world_mount(w);
	sim_power_off_at_write(w->sim, off_at);
	fs_remove(w->fs, NULL, &root_fid, "f", 1, NULL);
	while (!sim_power_is_off(w->sim) && w->fs->reaping) {
		journal_wait(w->fs, w->fs->run.seq);
		env_sleep_ns(sim_env(w->sim), NS_PER_MS);
	}
	if (!sim_power_is_off(w->sim))
		sim_power_off(w->sim);
	fs_abandon(w->fs);
}

static void sound_task(void *arg)
{
	struct world *w = arg;
	world_check(w);
	world_mount(w);
	env_sleep_ns(sim_env(w->sim), NS_PER_S);
	world_unmount(w);
	world_check(w);
}

/* A crash while a file is freed: what is left of its attributes is no damage. */
START_TEST(attributes_of_what_is_being_freed)
{
	for (off_at = 1; off_at < 20; off_at++) {
		struct world w;
		world_new(&w, 20 + off_at, 32 << 20);
		ck_assert_int_eq(sim_run(w.sim, long_task, &w), 0);
		sim_run_for(w.sim, 60 * NS_PER_S);
		ck_assert_int_eq(sim_run(w.sim, remove_task, &w), 0);
		sim_power_off_at_write(w.sim, 0);
		sim_run_for(w.sim, 60 * NS_PER_S);
		sim_power_on(w.sim, SIM_LOSE_ALL, 0);
		ck_assert_int_eq(sim_run(w.sim, sound_task, &w), 0);
		world_free(&w);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_xattr");
	TCase *t = tcase_create("xattr");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, few_lie_in_the_inode_many_in_a_tree);
	tcase_add_test(t, thousands_are_listed_in_portions);
	tcase_add_test(t, long_values_and_wrong_calls);
	tcase_add_test(t, rights_and_quotas_hold);
	tcase_add_test(t, what_is_not_whole_is_taken_out);
	tcase_add_test(t, attributes_of_what_is_being_freed);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
