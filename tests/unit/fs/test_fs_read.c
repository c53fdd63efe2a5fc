/* Reading without a wait gives what reading gives, or says that it would have to wait. */
#include <sys/param.h>
#include "nasfront/fs/impl.h"
#include "tests/unit/fs/fs_world.h"

#define DATA   (8 * BS) /* then as much of a hole, then an odd end */
#define END    (2 * DATA + 1234)
#define ROUNDS 300

/* A device that lends its memory, when it has it. */
struct lender {
	struct bdev b;
	struct bdev *under;
	struct sim_disk *disk;
	bool has;
	unsigned lent;
};

static struct lender lender;
static struct world w;
static uint8_t content[END];

static int lend_readv(struct bdev *b, const struct iovec *iov, int n, uint64_t off)
{
	return bdev_readv(lender.under, iov, n, off);
}

static int lend_writev(struct bdev *b, const struct iovec *iov, int n, uint64_t off, unsigned flags)
{
	return bdev_writev(lender.under, iov, n, off, flags);
}

static int lend_flush(struct bdev *b)
{
	return bdev_flush(lender.under);
}

static int lend(struct bdev *b, uint64_t off, uint32_t len, struct bdev_ref *ret)
{
	ret->iov[0] = (struct iovec){sim_disk_bytes(lender.disk) + off, len};
	ret->iovcnt = 1;
	lender.lent++;
	return 0;
}

static int lend_try(struct bdev *b, uint64_t off, uint32_t len, struct bdev_ref *ret)
{
	return lender.has ? lend(b, off, len, ret) : -EAGAIN;
}

static void lend_put(struct bdev *b, struct bdev_ref *ref)
{
	ck_assert_uint_gt(lender.lent--, 0);
}

static void lend_close(struct bdev *b)
{
	bdev_close(lender.under);
}

static const struct bdev_ops ops = {.readv = lend_readv,
				    .writev = lend_writev,
				    .flush = lend_flush,
				    .read_ref = lend,
				    .read_ref_try = lend_try,
				    .ref_put = lend_put,
				    .close = lend_close};

static void same_as_content(const struct fs_read *r, uint64_t off)
{
	uint64_t at = off;
	for (int i = 0; i < r->iovcnt; at += r->iov[i++].iov_len)
		ck_assert(memcmp(r->iov[i].iov_base, content + at, r->iov[i].iov_len) == 0);
	ck_assert_uint_eq(at - off, r->len);
}

/* 0, or what was said. */
static int try_at(const struct fs_cred *cred, const struct fs_fid *f, uint64_t off, uint32_t len)
{
	static struct fs_read r;
	struct fs_attr post;
	int rc = fs_read_try(w.fs, cred, f, off, len, &r, &post);
	if (rc)
		return rc;
	uint64_t left = off < END ? END - off : 0;
	ck_assert_uint_eq(r.len, MIN(len, left));
	ck_assert_int_eq(r.eof, len >= left);
	ck_assert_uint_eq(post.size, END);
	same_as_content(&r, off);
	fs_read_done(w.fs, &r);
	ck_assert_uint_eq(lender.lent, 0);
	return 0;
}

static void make_content(struct fs_fid *f)
{
	for (unsigned i = 0; i < END; i++)
		content[i] = i < DATA || i >= 2 * DATA ? (uint8_t)(i * 13 + i / 251) : 0;
	ck_assert_int_eq(make_file(w.fs, &root_fid, "f", f), 0);
	ck_assert_int_eq(put(w.fs, f, 0, content, DATA, FS_WRITE_UNSTABLE), 0);
	ck_assert_int_eq(put(w.fs, f, 2 * DATA, content + 2 * DATA, 1234, FS_WRITE_UNSTABLE), 0);
}

static void read_task(void *arg)
{
	static const struct fs_cred other = {.uid = 7, .gid = 7};
	static const struct fs_setattr mine = {.which = FS_SET_MODE, .mode = 0600};
	struct fs_fid f;
	char *all = malloc(END);
	world_mkfs(&w);
	world_mount(&w);
	make_content(&f);
	lender.has = true;
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t off = sim_random_below(w.sim, END + 1000);
		ck_assert_int_eq(try_at(NULL, &f, off, (uint32_t)sim_random_below(w.sim, END)), 0);
	}
	ck_assert_int_eq(try_at(NULL, &f, UINT64_MAX, 1), 0);
	/* A part that cannot be lent: nothing is kept of the others. */
	lender.has = false;
	ck_assert_int_eq(try_at(NULL, &f, 0, END), -EAGAIN);
	ck_assert_uint_eq(lender.lent, 0);
	ck_assert_int_eq(try_at(NULL, &f, DATA, DATA), 0);
	/* Refused as fs_read() refuses. */
	ck_assert_int_eq(try_at(NULL, &root_fid, 0, 1), -EISDIR);
	ck_assert_int_eq(fs_setattr(w.fs, NULL, &f, &mine, NULL, NULL), 0);
	ck_assert_int_eq(try_at(&other, &f, 0, 1), -EACCES);
	ck_assert_int_eq(try_at(NULL, &(struct fs_fid){f.ino, f.generation + 1}, 0, 1), -ESTALE);
	world_unmount(&w);
	/* The inode is not in memory: it is not waited for either. */
	world_mount(&w);
	lender.has = true;
	ck_assert_int_eq(try_at(NULL, &f, 0, 100), -EAGAIN);
	ck_assert_int_eq(get(w.fs, &f, 0, all, END), END);
	ck_assert_mem_eq(all, content, END);
	ck_assert_int_eq(try_at(NULL, &f, 0, END), 0);
	world_unmount(&w);
	free(all);
}

START_TEST(without_a_wait_it_is_the_same)
{
	world_new(&w, 5, 64 << 20);
	lender = (struct lender){.b = *w.dev, .under = w.dev, .disk = w.disk};
	lender.b.ops = &ops;
	w.dev = &lender.b;
	ck_assert_int_eq(sim_run(w.sim, read_task, NULL), 0);
	world_free(&w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_read");
	TCase *t = tcase_create("read");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, without_a_wait_it_is_the_same);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
