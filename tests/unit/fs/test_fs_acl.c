/*
 * Access control lists: what they grant, by each operation; in step with the mode both ways (RFC
 * 8881 6.3.2, 6.4.1.1); passed on to what is made; sizes, wrong ones, damage.
 */
#include "nasfront/fs/acl.h"
#include "nasfront/fs/xattr.h"
#include "tests/unit/fs/fs_world.h"

#define R FS_ACE_READ
#define W (FS_ACE_WRITE | FS_ACE_APPEND)
#define X FS_ACE_EXECUTE

static const struct fs_cred owner = {.uid = 100, .gid = 200}, ann = {.uid = 101, .gid = 300},
			    bob = {.uid = 102, .gid = 300, .ngroups = 1, .groups = {400}},
			    eve = {.uid = 103, .gid = 301};

static struct fs_ace ace(unsigned type, unsigned who, uint32_t id, unsigned flags, uint32_t mask)
{
	return (struct fs_ace){.type = (uint8_t)type,
			       .who = (uint8_t)who,
			       .flags = (uint16_t)flags,
			       .mask = mask,
			       .id = id};
}

/* ---- the pure part ---- */

START_TEST(mode_of_a_list)
{
	struct fs_ace a[] = {
	    ace(FS_ACE_DENY, FS_WHO_OWNER_GROUP, 0, 0, W),
	    ace(FS_ACE_ALLOW, FS_WHO_USER, 5, 0, R | W | X), /* does not count */
	    ace(FS_ACE_ALLOW, FS_WHO_OWNER, 0, 0, R | FS_ACE_WRITE),
	    ace(FS_ACE_ALLOW, FS_WHO_EVERYONE, 0, 0, R | FS_ACE_APPEND),
	    ace(FS_ACE_ALLOW, FS_WHO_EVERYONE, 0, FS_ACE_INHERIT_ONLY | FS_ACE_FILE_INHERIT, X),
	};
	/* the owner writes by two entries, the others append only */
	ck_assert_uint_eq(acl_mode(a, 5), 0644);
	ck_assert_uint_eq(acl_mode(a, 0), 0);
	a[0] = ace(FS_ACE_DENY, FS_WHO_EVERYONE, 0, 0, R);
	ck_assert_uint_eq(acl_mode(a, 5), 0200);
}
END_TEST

/* Whatever list there was: afterwards it says the mode, and nobody named has more than the group.
 */
START_TEST(every_mode_makes_a_list_that_says_it)
{
	uint64_t rnd = 88172645463325252ull + (uint64_t)_i;
	for (uint32_t mode = 0; mode < 01000; mode++) {
		struct fs_ace a[20], to[ACL_WORK], again[ACL_WORK];
		unsigned n = 0;
		bool dir = mode % 2;
		while (n < 20) {
			rnd ^= rnd << 13;
			rnd ^= rnd >> 7;
			rnd ^= rnd << 17;
			unsigned who = rnd % 5,
				 flags = dir && rnd >> 8 & 1 ? 1 + (rnd >> 9) % 3 : 0;
			if (flags && rnd >> 12 & 1)
				flags |= FS_ACE_INHERIT_ONLY;
			a[n++] = ace(rnd >> 16 & 1, who, who < FS_WHO_OWNER ? rnd >> 20 & 3 : 0,
				     flags, rnd >> 24 & FS_ACE_MASK);
		}
		ck_assert(acl_sound(a, n, dir));
		unsigned k = acl_chmod(a, n, mode, dir, to);
		ck_assert_uint_le(k, n + ACL_CHMOD);
		ck_assert(acl_sound(to, k, dir));
		ck_assert_uint_eq(acl_mode(to, k), mode);
		ck_assert_uint_eq(acl_chmod(to, k, mode, dir, again), k);
		ck_assert_mem_eq(to, again, k * sizeof(*to)); /* nothing grows */
		for (uint32_t uid = 0; uid < 4; uid++) {
			struct fs_cred c = {.uid = uid, .gid = 99};
			uint32_t most = acl_rights(mode >> 3 & 7, dir) | acl_rights(mode & 7, dir);
			ck_assert_uint_eq(acl_grants(to, k, &c, 50, 60, R | W | X) & ~most, 0);
			ck_assert_uint_eq(acl_grants(to, k, &c, uid, 60, R | W | X),
					  acl_rights(mode >> 6, dir) & (R | W | X));
		}
	}
}
END_TEST

START_TEST(what_is_not_a_list_is_refused)
{
	struct fs_ace a[FS_ACL_ROOM], b[FS_ACL_ROOM];
	uint8_t bytes[ACL_BYTES];
	unsigned n;
	for (unsigned i = 0; i < FS_ACL_ROOM; i++)
		a[i] = ace(i % 2, FS_WHO_USER, i, i % 3, R << i % 3);
	unsigned len = acl_encode(a, FS_ACL_ROOM, bytes);
	ck_assert_uint_eq(len, ACL_BYTES);
	ck_assert_int_eq(acl_decode(bytes, len, true, b, &n), 0);
	ck_assert_uint_eq(n, FS_ACL_ROOM);
	ck_assert_mem_eq(a, b, sizeof(a));
	ck_assert_int_ne(acl_decode(bytes, len, false, b, &n), 0); /* files pass nothing on */
	ck_assert_int_ne(acl_decode(bytes, len - 1, true, b, &n), 0);
	ck_assert_int_ne(acl_decode(bytes, 3, true, b, &n), 0);
	const unsigned wrong[] = {0, ACL_HEAD, ACL_HEAD + 1, ACL_HEAD + 3, ACL_HEAD + 7};
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		uint8_t kept = bytes[wrong[i]];
		bytes[wrong[i]] = 0x77;
		ck_assert_int_ne(acl_decode(bytes, len, true, b, &n), 0);
		bytes[wrong[i]] = kept;
	}
}
END_TEST

/* ---- as POSIX has them ---- */

static uint64_t rnd_next(uint64_t *rnd)
{
	*rnd ^= *rnd << 13;
	*rnd ^= *rnd >> 7;
	*rnd ^= *rnd << 17;
	return *rnd >> 11;
}

static void posix_add(struct fs_posix_acl *l, unsigned tag, uint32_t id, uint64_t perm)
{
	l->e[l->n++] =
	    (struct fs_posix_ace){.tag = (uint8_t)tag, .perm = (uint8_t)(perm & 7), .id = id};
}

/* Names 10, 11, … as users and groups; a mask when there are names, and at times without. */
static void posix_random(struct fs_posix_acl *l, uint64_t *rnd)
{
	unsigned users = rnd_next(rnd) % 4, groups = rnd_next(rnd) % 4;
	bool mask = users || groups;
	l->n = 0;
	posix_add(l, FS_POSIX_USER_OBJ, 0, rnd_next(rnd));
	for (unsigned i = 0; i < users; i++)
		posix_add(l, FS_POSIX_USER, 10 + i, rnd_next(rnd));
	posix_add(l, FS_POSIX_GROUP_OBJ, 0, rnd_next(rnd));
	for (unsigned i = 0; i < groups; i++)
		posix_add(l, FS_POSIX_GROUP, 10 + i, rnd_next(rnd));
	/* Without names only a mask that takes something away is kept. */
	unsigned m = rnd_next(rnd) & 7;
	if (mask || (rnd_next(rnd) & 1 && m != 7 && m != l->e[1].perm))
		posix_add(l, FS_POSIX_MASK, 0, m);
	posix_add(l, FS_POSIX_OTHER, 0, rnd_next(rnd));
}

static unsigned posix_perm(const struct fs_posix_acl *l, unsigned tag, uint32_t id, bool *ret)
{
	*ret = false;
	for (unsigned i = 0; i < l->n; i++)
		if (l->e[i].tag == tag && l->e[i].id == id) {
			*ret = true;
			return l->e[i].perm;
		}
	return 0;
}

/* What POSIX 1003.1e grants, but that rights of several groups add up. */
static unsigned posix_grants(const struct fs_posix_acl *l, const struct fs_cred *c, uint32_t uid,
			     uint32_t gid)
{
	bool here, any;
	unsigned mask = posix_perm(l, FS_POSIX_MASK, 0, &here), sum = 0;
	if (!here)
		mask = 7;
	if (c->uid == uid)
		return posix_perm(l, FS_POSIX_USER_OBJ, 0, &here);
	sum = posix_perm(l, FS_POSIX_USER, c->uid, &here);
	if (here)
		return sum & mask;
	any = cred_in_group(c, gid);
	sum = any ? posix_perm(l, FS_POSIX_GROUP_OBJ, 0, &here) : 0;
	for (uint32_t g = 10; g < 14; g++)
		if (cred_in_group(c, g)) {
			sum |= posix_perm(l, FS_POSIX_GROUP, g, &here);
			any |= here;
		}
	return any ? sum & mask : posix_perm(l, FS_POSIX_OTHER, 0, &here);
}

static void posix_same(const struct fs_posix_acl *a, const struct fs_posix_acl *b)
{
	ck_assert_uint_eq(a->n, b->n);
	for (unsigned i = 0; i < a->n; i++)
		ck_assert(a->e[i].tag == b->e[i].tag && a->e[i].id == b->e[i].id &&
			  a->e[i].perm == b->e[i].perm);
}

START_TEST(posix_lists_there_and_back)
{
	uint64_t rnd = 0x9e3779b97f4a7c15ull;
	for (unsigned round = 0; round < 20000; round++) {
		struct fs_posix_acl a, d, a2, d2;
		struct fs_ace l[FS_ACL_MAX];
		unsigned n;
		bool dir = round & 1;
		posix_random(&a, &rnd);
		posix_random(&d, &rnd);
		if (!dir || round & 2)
			d.n = 0;
		ck_assert(acl_posix_sort(&a) && (!d.n || acl_posix_sort(&d)));
		ck_assert_int_eq(acl_from_posix(&a, &d, dir, l, FS_ACL_MAX, &n), 0);
		ck_assert(acl_sound(l, n, dir));
		acl_to_posix(l, n, &a2, &d2);
		posix_same(&a, &a2);
		posix_same(&d, &d2);
		for (uint32_t who = 0; who < 64; who++) {
			struct fs_cred c = {.uid = 8 + who % 8, .gid = 8 + who / 8 % 8};
			if (who & 1) {
				c.ngroups = 1;
				c.groups[0] = 11;
			}
			uint32_t have = acl_grants(l, n, &c, 8, 9, R | W | X);
			ck_assert_uint_eq(acl_rwx(have), posix_grants(&a, &c, 8, 9));
		}
	}
}
END_TEST

/* Whatever NFSv4 wrote: it is told as a list that can be set again, the three as the mode says. */
START_TEST(any_list_is_told_as_posix)
{
	uint64_t rnd = 0x2545f4914f6cdd1dull;
	for (unsigned round = 0; round < 20000; round++) {
		struct fs_posix_acl a, d;
		struct fs_ace l[30], back[FS_ACL_MAX];
		unsigned n = 0, k, want = rnd_next(&rnd) % 30;
		bool dir = round & 1, here;
		while (n < want) {
			unsigned who = rnd_next(&rnd) % 5, flags = 0;
			if (dir && rnd_next(&rnd) & 1)
				flags = 1 + rnd_next(&rnd) % 3;
			if (flags && rnd_next(&rnd) & 1)
				flags |= FS_ACE_INHERIT_ONLY;
			l[n++] = ace(rnd_next(&rnd) & 1, who,
				     who < FS_WHO_OWNER ? rnd_next(&rnd) & 3 : 0, flags,
				     rnd_next(&rnd) & FS_ACE_MASK);
		}
		acl_to_posix(l, n, &a, &d);
		uint32_t mode = acl_mode(l, n);
		ck_assert(acl_posix_sort(&a) && (!d.n || acl_posix_sort(&d)));
		ck_assert_int_eq(acl_from_posix(&a, &d, dir, back, FS_ACL_MAX, &k), 0);
		ck_assert(acl_sound(back, k, dir));
		ck_assert_uint_eq(acl_mode(back, k), mode);
		ck_assert_uint_eq(posix_perm(&a, FS_POSIX_USER_OBJ, 0, &here), mode >> 6);
		ck_assert_uint_eq(posix_perm(&a, FS_POSIX_OTHER, 0, &here), mode & 7);
	}
}
END_TEST

/* ---- on a file system ---- */

static int set_acl(struct fs *fs, const struct fs_cred *c, const struct fs_fid *f,
		   const struct fs_ace *a, unsigned n)
{
	return fs_acl_set(fs, c, f, a, n, NULL);
}

static uint32_t mode_of(struct fs *fs, const struct fs_fid *f)
{
	struct fs_attr a;
	ck_assert_int_eq(fs_getattr(fs, f, &a), 0);
	return a.mode;
}

static struct fs_fid make_as(struct fs *fs, const struct fs_cred *c, const struct fs_fid *dir,
			     const char *name, bool is_dir, uint32_t mode)
{
	struct fs_setattr s = {.which = FS_SET_MODE, .mode = mode};
	struct fs_attr a;
	uint32_t n = (uint32_t)strlen(name);
	int rc = is_dir ? fs_mkdir(fs, c, dir, name, n, &s, &a, NULL)
			: fs_create(fs, c, dir, name, n, FS_CREATE_GUARDED, &s, 0, &a, NULL);
	ck_assert_int_eq(rc, 0);
	return fid_of(&a);
}

static int write_as(struct fs *fs, const struct fs_cred *c, const struct fs_fid *f)
{
	struct iovec iov = {"x", 1};
	return fs_write(fs, c, f, 0, &iov, 1, FS_WRITE_UNSTABLE, NULL);
}

static int read_as(struct fs *fs, const struct fs_cred *c, const struct fs_fid *f)
{
	struct fs_read r;
	int rc = fs_read(fs, c, f, 0, 1, &r, NULL);
	if (!rc)
		fs_read_done(fs, &r);
	return rc;
}

static void file_task(void *arg)
{
	struct world *w = arg;
	struct fs_ace got[FS_ACL_ROOM];
	struct fs_attr at;
	unsigned n, have;
	bool stored;
	world_mkfs(w);
	world_mount(w);
	struct fs_fid f = make_as(w->fs, &owner, &root_fid, "f", false, 0640);
	ck_assert_int_eq(fs_acl_get(w->fs, &f, got, &n, &stored), 0);
	ck_assert(!stored && acl_mode(got, n) == 0640);
	ck_assert_int_eq(read_as(w->fs, &ann, &f), -EACCES);
	/* ann reads and writes, group 400 reads, bob (of it) does not */
	const struct fs_ace a[] = {ace(FS_ACE_ALLOW, FS_WHO_OWNER, 0, 0, R | W),
				   ace(FS_ACE_ALLOW, FS_WHO_USER, 101, 0, R | W),
				   ace(FS_ACE_DENY, FS_WHO_USER, 102, 0, R),
				   ace(FS_ACE_ALLOW, FS_WHO_GROUP, 400, 0, R),
				   ace(FS_ACE_ALLOW, FS_WHO_OWNER_GROUP, 0, 0, R | W)};
	ck_assert_int_eq(set_acl(w->fs, &ann, &f, a, 5), -EPERM);
	struct fs_wcc wcc;
	ck_assert_int_eq(fs_acl_set(w->fs, &owner, &f, a, 5, &wcc), 0);
	ck_assert(wcc.post.change > wcc.pre.change && wcc.post.acl && !wcc.pre.acl);
	ck_assert_uint_eq(mode_of(w->fs, &f), 0660);
	ck_assert_int_eq(fs_acl_get(w->fs, &f, got, &n, &stored), 0);
	ck_assert(stored && n == 5 && !memcmp(got, a, sizeof(a)));
	ck_assert_int_eq(write_as(w->fs, &ann, &f), 0);
	ck_assert_int_eq(read_as(w->fs, &ann, &f), 0);
	ck_assert_int_eq(read_as(w->fs, &bob, &f), -EACCES);
	const struct fs_cred carl = {.uid = 104, .gid = 400};
	ck_assert_int_eq(read_as(w->fs, &carl, &f), 0);
	ck_assert_int_eq(write_as(w->fs, &carl, &f), -EACCES);
	ck_assert_int_eq(read_as(w->fs, &eve, &f), -EACCES);
	ck_assert_int_eq(fs_access(w->fs, &ann, &f, 7, &have), 0);
	ck_assert_uint_eq(have, 6);
	ck_assert_int_eq(fs_access(w->fs, &bob, &f, 7, &have), 0);
	ck_assert_uint_eq(have, 0);
	/* The list counts after a mount too; it is no attribute that callers see. */
	world_unmount(w);
	world_check(w);
	world_mount(w);
	ck_assert_int_eq(read_as(w->fs, &bob, &f), -EACCES);
	uint32_t len;
	ck_assert_int_eq(fs_xattr_get(w->fs, NULL, &f, "acl", 3, NULL, 0, &len), -ENODATA);
	/* A mode that takes the group's rights takes ann's; the denial stays. */
	struct fs_setattr s = {.which = FS_SET_MODE, .mode = 0604};
	ck_assert_int_eq(fs_setattr(w->fs, &owner, &f, &s, NULL, NULL), 0);
	ck_assert_uint_eq(mode_of(w->fs, &f), 0604);
	ck_assert_int_eq(write_as(w->fs, &ann, &f), -EACCES);
	ck_assert_int_eq(read_as(w->fs, &bob, &f), -EACCES);
	ck_assert_int_eq(read_as(w->fs, &eve, &f), 0);
	ck_assert_int_eq(fs_getattr(w->fs, &f, &at), 0);
	ck_assert(at.acl);
	/* One that is a mode and no more goes with the next mode. */
	ck_assert_int_eq(set_acl(w->fs, &owner, &f, a, 1), 0);
	ck_assert_uint_eq(mode_of(w->fs, &f), 0600);
	ck_assert_int_eq(fs_setattr(w->fs, &owner, &f, &s, NULL, NULL), 0);
	ck_assert_int_eq(fs_getattr(w->fs, &f, &at), 0);
	ck_assert(!at.acl);
	world_unmount(w);
	world_check(w);
}

START_TEST(lists_of_files)
{
	world_run(file_task, 1);
}
END_TEST

/* Each right of a directory by itself. */
static void dir_task(void *arg)
{
	struct world *w = arg;
	struct fs_attr a;
	world_mkfs(w);
	world_mount(w);
	struct fs_fid d = make_as(w->fs, &owner, &root_fid, "d", true, 0700);
	struct fs_fid f = make_as(w->fs, &owner, &d, "f", false, 0600);
	struct fs_ace l[] = {ace(FS_ACE_ALLOW, FS_WHO_OWNER, 0, 0, R | W | X | FS_ACE_DELETE_CHILD),
			     ace(FS_ACE_ALLOW, FS_WHO_USER, 101, 0, X | FS_ACE_WRITE)};
	ck_assert_int_eq(set_acl(w->fs, &owner, &d, l, 2), 0);
	ck_assert_int_eq(fs_create(w->fs, &ann, &d, "a", 1, FS_CREATE_GUARDED, NULL, 0, &a, NULL),
			 0);
	ck_assert_int_eq(fs_mkdir(w->fs, &ann, &d, "s", 1, NULL, &a, NULL), -EACCES);
	ck_assert_int_eq(fs_remove(w->fs, &ann, &d, "a", 1, NULL), -EACCES);
	ck_assert_int_eq(fs_remove(w->fs, &ann, &d, "none", 4, NULL), -EACCES);
	ck_assert_int_eq(fs_rename(w->fs, &ann, &d, "a", 1, &d, "b", 1, NULL, NULL), -EACCES);
	l[1].mask = X | FS_ACE_APPEND;
	ck_assert_int_eq(set_acl(w->fs, &owner, &d, l, 2), 0);
	ck_assert_int_eq(fs_mkdir(w->fs, &ann, &d, "s", 1, NULL, &a, NULL), 0);
	ck_assert_int_eq(fs_create(w->fs, &ann, &d, "b", 1, FS_CREATE_GUARDED, NULL, 0, &a, NULL),
			 -EACCES);
	ck_assert_int_eq(fs_link(w->fs, &ann, &f, &d, "l", 1, NULL, NULL), -EACCES);
	l[1].mask = X | FS_ACE_DELETE_CHILD;
	ck_assert_int_eq(set_acl(w->fs, &owner, &d, l, 2), 0);
	ck_assert_int_eq(fs_remove(w->fs, &ann, &d, "a", 1, NULL), 0);
	ck_assert_int_eq(fs_remove(w->fs, &ann, &d, "none", 4, NULL), -ENOENT);
	ck_assert_int_eq(fs_rename(w->fs, &ann, &d, "f", 1, &d, "g", 1, NULL, NULL), -EACCES);
	/* The file itself may be deleted, whatever the directory says. */
	l[1].mask = X;
	ck_assert_int_eq(set_acl(w->fs, &owner, &d, l, 2), 0);
	ck_assert_int_eq(fs_remove(w->fs, &ann, &d, "f", 1, NULL), -EACCES);
	struct fs_ace fl[] = {
	    ace(FS_ACE_ALLOW, FS_WHO_OWNER, 0, 0, R | W),
	    ace(FS_ACE_ALLOW, FS_WHO_USER, 101, 0,
		FS_ACE_DELETE | FS_ACE_WRITE_ACL | FS_ACE_WRITE_OWNER | FS_ACE_WRITE_ATTRS)};
	ck_assert_int_eq(set_acl(w->fs, &owner, &f, fl, 2), 0);
	/* What belongs to owners only, given to another. */
	struct fs_setattr s = {.which = FS_SET_MTIME, .mtime = {.sec = 5}};
	ck_assert_int_eq(fs_setattr(w->fs, &eve, &f, &s, NULL, NULL), -EPERM);
	ck_assert_int_eq(fs_setattr(w->fs, &ann, &f, &s, NULL, NULL), 0);
	ck_assert_int_eq(set_acl(w->fs, &ann, &f, fl, 2), 0);
	s = (struct fs_setattr){.which = FS_SET_UID, .uid = 103};
	ck_assert_int_eq(fs_setattr(w->fs, &ann, &f, &s, NULL, NULL), -EPERM);
	s.uid = 101;
	ck_assert_int_eq(fs_setattr(w->fs, &eve, &f, &s, NULL, NULL), -EPERM);
	ck_assert_int_eq(fs_setattr(w->fs, &ann, &f, &s, NULL, NULL), 0);
	ck_assert_int_eq(fs_remove(w->fs, &ann, &d, "f", 1, NULL), 0);
	/* Search and list. */
	bool eof;
	l[1].mask = R;
	ck_assert_int_eq(set_acl(w->fs, &owner, &d, l, 2), 0);
	ck_assert_int_eq(fs_lookup(w->fs, &ann, &d, "s", 1, &a, NULL), -EACCES);
	ck_assert_int_eq(fs_lookup(w->fs, &owner, &d, "s", 1, &a, NULL), 0);
	l[1].mask = X;
	ck_assert_int_eq(set_acl(w->fs, &owner, &d, l, 2), 0);
	ck_assert_int_eq(fs_lookup(w->fs, &ann, &d, "s", 1, &a, NULL), 0);
	ck_assert_int_eq(fs_readdir(w->fs, &ann, &d, 0, false, NULL, NULL, &eof, NULL), -EACCES);
	world_unmount(w);
	world_check(w);
}

START_TEST(rights_of_directories)
{
	world_run(dir_task, 2);
}
END_TEST

static void inherit_task(void *arg)
{
	struct world *w = arg;
	struct fs_ace got[FS_ACL_ROOM];
	struct fs_attr at;
	unsigned n;
	bool stored;
	world_mkfs(w);
	world_mount(w);
	struct fs_fid d = make_as(w->fs, &owner, &root_fid, "d", true, 0755);
	const struct fs_ace l[] = {
	    ace(FS_ACE_ALLOW, FS_WHO_OWNER, 0, 0, R | W | X | FS_ACE_DELETE_CHILD),
	    ace(FS_ACE_ALLOW, FS_WHO_EVERYONE, 0, 0, R | X),
	    ace(FS_ACE_ALLOW, FS_WHO_USER, 101, FS_ACE_FILE_INHERIT | FS_ACE_INHERIT_ONLY, R | W),
	    ace(FS_ACE_ALLOW, FS_WHO_USER, 102, FS_ACE_DIR_INHERIT | FS_ACE_NO_PROPAGATE,
		R | W | X)};
	ck_assert_int_eq(set_acl(w->fs, &owner, &d, l, 4), 0);
	ck_assert_uint_eq(mode_of(w->fs, &d), 0755);
	struct fs_fid f = make_as(w->fs, &owner, &d, "f", false, 0660);
	ck_assert_uint_eq(mode_of(w->fs, &f), 0660);
	ck_assert_int_eq(write_as(w->fs, &ann, &f), 0);
	ck_assert_int_eq(read_as(w->fs, &bob, &f), -EACCES);
	/* The mode it is made with bounds what is passed on. */
	f = make_as(w->fs, &owner, &d, "g", false, 0640);
	ck_assert_int_eq(write_as(w->fs, &ann, &f), -EACCES);
	ck_assert_int_eq(read_as(w->fs, &ann, &f), 0);
	/* Below: ann's goes on to files, bob's ends with the directory. */
	struct fs_fid s = make_as(w->fs, &owner, &d, "s", true, 0770);
	unsigned have;
	ck_assert_int_eq(fs_access(w->fs, &bob, &s, 7, &have), 0);
	ck_assert_uint_eq(have, 7);
	ck_assert_int_eq(fs_access(w->fs, &ann, &s, 7, &have), 0);
	ck_assert_uint_eq(have, 0);
	f = make_as(w->fs, &owner, &s, "f", false, 0660);
	ck_assert_int_eq(write_as(w->fs, &ann, &f), 0);
	struct fs_fid t = make_as(w->fs, &owner, &s, "t", true, 0770);
	ck_assert_int_eq(fs_access(w->fs, &bob, &t, 7, &have), 0);
	ck_assert_uint_eq(have, 0);
	/* Nothing is passed to a link; a file of a directory that passes nothing on has none. */
	ck_assert_int_eq(fs_symlink(w->fs, NULL, &d, "l", 1, "f", 1, NULL, &at, NULL), 0);
	ck_assert(!at.acl);
	f = make_as(w->fs, &owner, &root_fid, "f", false, 0660);
	ck_assert_int_eq(fs_acl_get(w->fs, &f, got, &n, &stored), 0);
	ck_assert(!stored);
	/* A full list, passed on from directory to directory, always fits. */
	static struct fs_ace full[FS_ACL_MAX];
	for (unsigned i = 0; i < FS_ACL_MAX; i++)
		full[i] = ace(i % 2, i % 5, i % 5 < FS_WHO_OWNER ? 1000 + i : 0, 3, R | X);
	ck_assert_int_eq(set_acl(w->fs, NULL, &d, full, FS_ACL_MAX), 0);
	for (int i = 0; i < 4; i++) {
		d = make_as(w->fs, NULL, &d, "below", true, 0750);
		ck_assert_int_eq(fs_acl_get(w->fs, &d, got, &n, &stored), 0);
		ck_assert(stored && n >= FS_ACL_MAX && n <= FS_ACL_ROOM);
		ck_assert_uint_eq(acl_mode(got, n), 0750);
	}
	ck_assert_int_eq(set_acl(w->fs, NULL, &d, full, FS_ACL_MAX + 1), -E2BIG);
	ck_assert_int_eq(set_acl(w->fs, NULL, &f, full, 1), -EINVAL);
	struct fs_ace odd = ace(2, 0, 0, 0, R);
	ck_assert_int_eq(set_acl(w->fs, NULL, &f, &odd, 1), -EINVAL);
	struct fs_fid link = fid_of(&at);
	ck_assert_int_eq(set_acl(w->fs, NULL, &link, l, 1), -EOPNOTSUPP);
	/* None at all: nobody but root. */
	ck_assert_int_eq(set_acl(w->fs, NULL, &f, NULL, 0), 0);
	ck_assert_uint_eq(mode_of(w->fs, &f), 0);
	ck_assert_int_eq(read_as(w->fs, &eve, &f), -EACCES);
	ck_assert_int_eq(read_as(w->fs, NULL, &f), 0);
	world_unmount(w);
	world_check(w);
}

START_TEST(lists_are_passed_on)
{
	world_run(inherit_task, 3);
}
END_TEST

/* ---- damage ---- */

static void say_count(void *arg, const char *line)
{
	++*(int *)arg;
}

/* what: 0 the flag is lost, 1 the list makes no sense, 2 a flag without a list */
static void damage_inode(struct world *w, const struct fs_fid *f, int what)
{
	uint64_t block = f->ino / INODES_PER_BLOCK;
	uint8_t *d = sim_disk_bytes(w->disk) + block * BS;
	uint8_t *p = d + H_SIZE + f->ino % INODES_PER_BLOCK * INODE_SIZE;
	if (what == 0)
		p[I_FLAGS] &= (uint8_t)~IF_ACL;
	else if (what == 1)
		p[I_AREA + I_AREA_SIZE - 1] ^= 0xff, p[I_AREA + I_AREA_SIZE - 5] = 0xff;
	else
		le32_put(p + I_XINLINE, 0);
	block_seal(d, 1);
	sim_disk_bytes_changed(w->disk, block * BS, BS);
}

static void damage_task(void *arg)
{
	struct world *w = arg;
	struct fs_check_report r;
	const struct fs_ace a[] = {ace(FS_ACE_ALLOW, FS_WHO_OWNER, 0, 0, R | W),
				   ace(FS_ACE_ALLOW, FS_WHO_USER, 101, 0, R)};
	world_mkfs(w);
	for (int what = 0; what < 3; what++) {
		int lines = 0;
		char name[2] = {(char)('a' + what), 0};
		world_mount(w);
		struct fs_fid f = make_as(w->fs, &owner, &root_fid, name, false, 0600);
		ck_assert_int_eq(set_acl(w->fs, &owner, &f, a, 2), 0);
		world_unmount(w);
		damage_inode(w, &f, what);
		world_mount(w);
		ck_assert_int_eq(read_as(w->fs, &ann, &f), what ? -ERR_CORRUPT : -EACCES);
		world_unmount(w);
		ck_assert_int_eq(fs_check(sim_env(w->sim), w->dev, false, say_count, &lines, &r),
				 -ERR_CORRUPT);
		ck_assert_int_gt(lines, 0);
		ck_assert_int_eq(fs_check(sim_env(w->sim), w->dev, true, say_count, &lines, &r), 0);
		world_check(w);
		world_mount(w);
		ck_assert_int_eq(read_as(w->fs, &ann, &f), what ? -EACCES : 0);
		ck_assert_uint_eq(mode_of(w->fs, &f), 0600);
		world_unmount(w);
	}
}

START_TEST(lists_that_are_damaged_grant_nothing)
{
	world_run(damage_task, 4);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_acl");
	TCase *t = tcase_create("acl");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, mode_of_a_list);
	tcase_add_loop_test(t, every_mode_makes_a_list_that_says_it, 0, 4);
	tcase_add_test(t, what_is_not_a_list_is_refused);
	tcase_add_test(t, posix_lists_there_and_back);
	tcase_add_test(t, any_list_is_told_as_posix);
	tcase_add_test(t, lists_of_files);
	tcase_add_test(t, rights_of_directories);
	tcase_add_test(t, lists_are_passed_on);
	tcase_add_test(t, lists_that_are_damaged_grant_nothing);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
