/* Calls to a disk that hangs: left behind when it is given up, and no memory of theirs with them.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/disk/disk.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/task.h"
#include "tests/sim/sim_env.h"

#define SIZE (64 * 1024 * 1024ull)
#define MIB  (1024 * 1024u)

struct rig {
	struct sim *sim;
	struct sim_disk *sd;
	struct disk *d;
};

static void rig_init(struct rig *r)
{
	r->sim = sim_new(11);
	r->sd = sim_disk_new(r->sim, "d", SIZE);
	r->d = NULL;
	for (uint64_t i = DISK_DATA_OFF; i < SIZE - 4096; i++)
		sim_disk_bytes(r->sd)[i] = (uint8_t)(i * 13 + i / 4096);
	sim_disk_bytes_changed(r->sd, DISK_DATA_OFF, SIZE - 4096 - DISK_DATA_OFF);
}

static void open_labelled(struct rig *r, struct bdev *b)
{
	struct disk_label l = {.position = 1};
	memset(l.array_uuid, 0xa1, 16);
	memset(l.disk_uuid, 0xd2, 16);
	memset(l.pool_uuid, 0xb3, 16);
	ck_assert_int_eq(disk_open(&r->d, sim_env(r->sim), "d", b, NULL), 0);
	ck_assert_int_eq(disk_write_label(r->d, &l), 0);
}

static void stick(struct rig *r, bool stuck)
{
	sim_disk_set_faults(r->sd,
			    &(struct sim_disk_faults){.stuck = stuck, .latency_max_ns = NS_PER_MS});
}

static void pause_ms(struct rig *r, uint64_t ms)
{
	env_sleep_ns(sim_env(r->sim), ms * NS_PER_MS);
}

#define RIG_TEST(name)                                                                             \
	static void name##_task(void *arg);                                                        \
	START_TEST(name)                                                                           \
	{                                                                                          \
		struct rig r;                                                                      \
		rig_init(&r);                                                                      \
		ck_assert_int_eq(sim_run(r.sim, name##_task, &r), 0);                              \
		sim_free(r.sim);                                                                   \
	}                                                                                          \
	END_TEST                                                                                   \
	static void name##_task(void *arg)

/* A call of a task of its own; its memory is freed the moment it has ended. */
struct user {
	struct rig *r;
	bool write, flush, discard;
	uint64_t off;
	size_t len;
	int rc;
	bool done;
};

static void use(void *arg)
{
	struct user *u = arg;
	struct bdev *b = disk_bdev(u->r->d);
	uint8_t *buf = malloc(u->len + 1);
	memset(buf, 0x5a, u->len);
	if (u->flush)
		u->rc = bdev_flush(b);
	else if (u->discard)
		u->rc = bdev_discard(b, u->off, u->len);
	else if (u->write)
		u->rc = bdev_write(b, buf, u->len, u->off, 0);
	else
		u->rc = bdev_read(b, buf, u->len, u->off);
	size_t same = 0;
	while (same < u->len && buf[same] == 0x5a)
		same++;
	ck_assert(u->rc == 0 || same == u->len);
	free(buf);
	u->done = true;
}

static void begin(struct user *u)
{
	ck_assert_int_eq(task_start(use, u), 0);
}

/* What was read, of any size and in any pieces, is what the disk holds. */
RIG_TEST(reads_are_whole)
{
	struct rig *r = arg;
	static const size_t pieces[][3] = {{512, 0, 0},
					   {4096, 4096, 0},
					   {1000, 24, 7168},
					   {MIB, 512, 2 * MIB + 512},
					   {65536, 1, 511}};
	open_labelled(r, sim_disk_open(r->sd));
	for (unsigned i = 0; i < ARRAY_LEN(pieces); i++) {
		uint64_t off = DISK_DATA_OFF + 3584 * i, at = off;
		struct iovec iov[3];
		for (unsigned k = 0; k < 3; k++)
			iov[k] = (struct iovec){malloc(pieces[i][k] + 1), pieces[i][k]};
		ck_assert_int_eq(bdev_readv(disk_bdev(r->d), iov, 3, off), 0);
		for (unsigned k = 0; k < 3; k++) {
			ck_assert_mem_eq(iov[k].iov_base, sim_disk_bytes(r->sd) + at, pieces[i][k]);
			at += pieces[i][k];
			free(iov[k].iov_base);
		}
	}
	disk_close(r->d);
}

static const struct user kinds[] = {
    {.off = DISK_DATA_OFF, .len = 4096},
    {.off = DISK_DATA_OFF, .len = 3 * MIB},
    {.off = DISK_DATA_OFF + 8192, .len = 65536, .write = true},
    {.flush = true},
    {.off = DISK_DATA_OFF + MIB, .len = 4096, .discard = true},
};

/* Each kind of call, alone and all at once: the callers go on when the disk is given up, and
 * nothing is written to what was theirs when it answers at last. */
static void given_up(struct rig *r, unsigned first, unsigned n)
{
	struct user u[ARRAY_LEN(kinds)];
	open_labelled(r, sim_disk_open(r->sd));
	stick(r, true);
	for (unsigned i = 0; i < n; i++) {
		u[i] = kinds[first + i];
		u[i].r = r;
		begin(&u[i]);
	}
	pause_ms(r, 3000);
	for (unsigned i = 0; i < n; i++)
		ck_assert(!u[i].done);
	ck_assert_uint_eq(disk_in_flight(r->d), n);
	ck_assert_uint_eq(disk_left(r->d), 0);
	disk_fail(r->d, "test");
	pause_ms(r, 1);
	for (unsigned i = 0; i < n; i++) {
		ck_assert(u[i].done);
		ck_assert_int_eq(u[i].rc, -EIO);
	}
	ck_assert_uint_eq(disk_in_flight(r->d), 0);
	ck_assert_uint_eq(disk_left(r->d), n);
	ck_assert_uint_ge(disk_waits_ns(r->d), 3 * NS_PER_S);
	ck_assert_int_eq(disk_wipe(r->d), -EBUSY);
	ck_assert_int_eq(disk_state(r->d), DISK_FAILED);
	stick(r, false);
	pause_ms(r, 10);
	ck_assert_uint_eq(disk_left(r->d), 0);
	ck_assert_uint_eq(disk_waits_ns(r->d), 0);
	ck_assert_int_eq(disk_wipe(r->d), 0);
	disk_close(r->d);
}

RIG_TEST(all_at_once)
{
	given_up(arg, 0, ARRAY_LEN(kinds));
}

RIG_TEST(a_read_alone)
{
	given_up(arg, 0, 1);
}

RIG_TEST(a_write_alone)
{
	given_up(arg, 2, 1);
}

/* Memory of the calls is bounded: who waits for it goes on, too; and what the disk still has is
 * given to nobody. */
RIG_TEST(more_reads_than_memory)
{
	struct rig *r = arg;
	struct user u[40];
	open_labelled(r, sim_disk_open(r->sd));
	stick(r, true);
	for (unsigned i = 0; i < ARRAY_LEN(u); i++) {
		u[i] = (struct user){.r = r, .off = DISK_DATA_OFF, .len = MIB};
		begin(&u[i]);
	}
	pause_ms(r, 1000);
	disk_fail(r->d, "test");
	pause_ms(r, 1);
	for (unsigned i = 0; i < ARRAY_LEN(u); i++)
		ck_assert(u[i].done && u[i].rc == -EIO);
	ck_assert_uint_eq(disk_left(r->d), 16); /* MiB: what was sent */
	stick(r, false);
	pause_ms(r, 10);
	ck_assert_uint_eq(disk_left(r->d), 0);
	disk_close(r->d);
}

/* Back-pressure only, while the disk answers; of all sizes, so that memory changes its size. */
RIG_TEST(memory_goes_round)
{
	struct rig *r = arg;
	struct user u[120];
	open_labelled(r, sim_disk_open(r->sd));
	stick(r, false);
	for (unsigned n = 0; n < 3; n++) {
		for (unsigned i = 0; i < ARRAY_LEN(u); i++) {
			u[i] = (struct user){.r = r, .off = DISK_DATA_OFF + i * 4096ull};
			u[i].len = 4096u << (i * 7 + n) % 9;
			begin(&u[i]);
		}
		pause_ms(r, 2000);
		for (unsigned i = 0; i < ARRAY_LEN(u); i++)
			ck_assert(u[i].done && u[i].rc == 0);
	}
	disk_close(r->d);
}

/* A call whose turn has not come is never sent. */
RIG_TEST(given_up_before_it_was_sent)
{
	struct rig *r = arg;
	struct sim_disk_stats before, after;
	open_labelled(r, sim_disk_open(r->sd));
	sim_disk_stats(r->sd, &before);
	struct user u = {.r = r, .off = DISK_DATA_OFF, .len = 4096, .write = true};
	begin(&u);
	task_yield();
	disk_fail(r->d, "test");
	pause_ms(r, 10);
	ck_assert(u.done);
	ck_assert_int_eq(u.rc, -EIO);
	sim_disk_stats(r->sd, &after);
	ck_assert_uint_eq(after.writes, before.writes);
	ck_assert_uint_eq(disk_left(r->d), 0);
	disk_close(r->d);
}

/* ---- memory that is lent ---- */

struct lent {
	struct rig *r;
	uint8_t *bytes;
	struct disk_lender l;
	unsigned left, back;
	int rc;
	bool done;
};

static void lent_left(void *arg, const struct iovec *iov, int iovcnt)
{
	struct lent *x = arg;
	ck_assert(!x->done && iovcnt == 2 && iov[1].iov_base == x->bytes + 8192);
	x->left++;
}

static void lent_back(void *arg, const struct iovec *iov, int iovcnt)
{
	struct lent *x = arg;
	ck_assert(iovcnt == 2 && iov[0].iov_base == x->bytes);
	x->back++;
}

static void lent_init(struct lent *x, struct rig *r)
{
	*x = (struct lent){.r = r};
	ck_assert_int_eq(posix_memalign((void **)&x->bytes, 4096, MIB), 0);
	x->l = (struct disk_lender){x->bytes, x->bytes + MIB, lent_left, lent_back, x};
	disk_set_lender(r->d, &x->l);
}

static void lent_read(void *arg)
{
	struct lent *x = arg;
	struct iovec iov[2] = {{x->bytes, 4096}, {x->bytes + 8192, 4096}};
	memset(x->bytes, 0x5a, MIB);
	x->rc = bdev_readv(disk_bdev(x->r->d), iov, 2, DISK_DATA_OFF);
	x->done = true;
}

static bool holds_data(const struct lent *x)
{
	const uint8_t *at = sim_disk_bytes(x->r->sd) + DISK_DATA_OFF;
	return memcmp(x->bytes, at, 4096) == 0 && memcmp(x->bytes + 8192, at + 4096, 4096) == 0;
}

/* It is read into straight; its owner is told what is left behind, and when it is back. */
RIG_TEST(lent_memory_is_left_behind)
{
	struct rig *r = arg;
	struct lent x;
	open_labelled(r, sim_disk_open(r->sd));
	lent_init(&x, r);
	lent_read(&x);
	ck_assert(x.rc == 0 && holds_data(&x) && x.left == 0 && x.back == 0);
	x.done = false;
	stick(r, true);
	ck_assert_int_eq(task_start(lent_read, &x), 0);
	pause_ms(r, 1000);
	ck_assert(!x.done);
	disk_fail(r->d, "test");
	pause_ms(r, 1);
	ck_assert(x.done && x.left == 1 && x.back == 0);
	ck_assert_int_eq(x.rc, -ERR_LEFT);
	ck_assert_uint_eq(x.bytes[0], 0x5a);
	stick(r, false);
	pause_ms(r, 10);
	ck_assert(x.back == 1 && holds_data(&x));
	disk_close(r->d);
	free(x.bytes);
}

/* The lender may go first. */
RIG_TEST(lent_memory_is_not_wanted_back)
{
	struct rig *r = arg;
	struct lent x;
	open_labelled(r, sim_disk_open(r->sd));
	lent_init(&x, r);
	stick(r, true);
	ck_assert_int_eq(task_start(lent_read, &x), 0);
	pause_ms(r, 10);
	disk_fail(r->d, "test");
	pause_ms(r, 10);
	disk_set_lender(r->d, NULL);
	stick(r, false);
	pause_ms(r, 10);
	ck_assert(x.left == 1 && x.back == 0 && disk_left(r->d) == 0);
	disk_close(r->d);
	free(x.bytes);
}

/* Nobody else gets the disk before it has given its calls back. */
RIG_TEST(the_claim_is_kept)
{
	struct rig *r = arg;
	static const uint8_t pool[16] = {1};
	struct bdev *other = sim_disk_open(r->sd);
	open_labelled(r, sim_disk_open(r->sd));
	ck_assert_int_eq(disk_claim(r->d, pool), 0);
	stick(r, true);
	struct user u = {.r = r, .off = DISK_DATA_OFF, .len = 4096, .write = true};
	begin(&u);
	pause_ms(r, 10);
	disk_fail(r->d, "test");
	disk_unclaim(r->d);
	pause_ms(r, 10);
	ck_assert(u.done && !disk_claimed(r->d));
	ck_assert_int_eq(bdev_claim(other, true), -EBUSY);
	ck_assert_int_eq(disk_claim(r->d, pool), 0); /* but by the same */
	disk_unclaim(r->d);
	ck_assert_int_eq(bdev_claim(other, true), -EBUSY);
	stick(r, false);
	pause_ms(r, 10);
	ck_assert_int_eq(bdev_claim(other, true), 0);
	bdev_close(other);
	disk_close(r->d);
}

static void close_it(void *arg)
{
	struct user *u = arg;
	disk_close(u->r->d);
	u->done = true;
}

RIG_TEST(closing_waits_for_them)
{
	struct rig *r = arg;
	open_labelled(r, sim_disk_open(r->sd));
	stick(r, true);
	struct user u = {.r = r, .off = DISK_DATA_OFF, .len = 4096}, c = {.r = r};
	begin(&u);
	pause_ms(r, 10);
	disk_fail(r->d, "test");
	pause_ms(r, 10);
	ck_assert(u.done);
	ck_assert_int_eq(task_start(close_it, &c), 0);
	pause_ms(r, 1000);
	ck_assert(!c.done);
	stick(r, false);
	pause_ms(r, 10);
	ck_assert(c.done);
}

/* Where nothing stands in for the disk its callers wait, and it reads into their memory. */
RIG_TEST(a_disk_that_cannot_be_spared)
{
	struct rig *r = arg;
	open_labelled(r, sim_disk_open(r->sd));
	disk_set_may_leave(r->d, false);
	stick(r, true);
	struct user u = {.r = r, .off = DISK_DATA_OFF, .len = 4096};
	begin(&u);
	pause_ms(r, 60000);
	ck_assert(!u.done);
	stick(r, false);
	pause_ms(r, 10);
	ck_assert(u.done && u.rc == 0);
	disk_close(r->d);
}

/* ---- a device that asks for aligned memory, and looks at what it gets ---- */

struct picky {
	struct bdev b;
	const void *last;
	unsigned writes;
	uint8_t got[8192];
};

static int picky_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off,
			unsigned flags)
{
	struct picky *p = container_of(b, struct picky, b);
	size_t n = 0;
	for (int i = 0; i < iovcnt; n += iov[i++].iov_len) {
		ck_assert_uint_eq((uintptr_t)iov[i].iov_base % 512, 0);
		ck_assert_uint_eq(iov[i].iov_len % 512, 0);
		if (n + iov[i].iov_len <= sizeof(p->got))
			memcpy(p->got + n, iov[i].iov_base, iov[i].iov_len);
	}
	p->last = iov[0].iov_base;
	p->writes++;
	return 0;
}

static int picky_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	for (int i = 0; i < iovcnt; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
	return 0;
}

static int picky_flush(struct bdev *b)
{
	return 0;
}

static void picky_close(struct bdev *b)
{
}

/* A write goes out from the caller's memory, but for what does not suit the device. */
RIG_TEST(writes_are_copied_only_to_align_them)
{
	struct rig *r = arg;
	static const struct bdev_ops ops = {.readv = picky_readv,
					    .writev = picky_writev,
					    .flush = picky_flush,
					    .close = picky_close};
	struct picky p = {.b = {.ops = &ops, .size = SIZE, .block_size = 512, .mem_align = 512}};
	uint8_t *buf;
	open_labelled(r, &p.b);
	ck_assert_int_eq(posix_memalign((void **)&buf, 4096, 16384), 0);
	for (unsigned i = 0; i < 16384; i++)
		buf[i] = (uint8_t)(i * 7 + i / 512);
	ck_assert_int_eq(bdev_write(disk_bdev(r->d), buf, 8192, DISK_DATA_OFF, 0), 0);
	ck_assert_ptr_eq(p.last, buf);
	ck_assert_int_eq(bdev_write(disk_bdev(r->d), buf + 8, 8192, DISK_DATA_OFF, 0), 0);
	ck_assert_ptr_ne(p.last, buf + 8);
	ck_assert_mem_eq(p.got, buf + 8, 8192);
	/* more pieces than a call keeps */
	struct iovec iov[1024];
	for (unsigned i = 0; i < 1024; i++)
		iov[i] = (struct iovec){buf + 8 * i, 8};
	p.writes = 0;
	ck_assert_int_eq(bdev_writev(disk_bdev(r->d), iov, 1024, DISK_DATA_OFF, 0), 0);
	ck_assert_uint_eq(p.writes, 1);
	ck_assert_mem_eq(p.got, buf, 8192);
	free(buf);
	disk_close(r->d);
}

/* A disk whose short calls are prompt; who makes the calls. */
struct prompt {
	struct bdev b, *under;
	struct task *by;
};

static struct prompt *prompt_of(struct bdev *b)
{
	struct prompt *p = container_of(b, struct prompt, b);
	p->by = task_self();
	return p;
}

static int prompt_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	return bdev_readv(prompt_of(b)->under, iov, iovcnt, off);
}

static int prompt_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off,
			 unsigned flags)
{
	return bdev_writev(prompt_of(b)->under, iov, iovcnt, off, flags);
}

static int prompt_flush(struct bdev *b)
{
	return bdev_flush(prompt_of(b)->under);
}

static int prompt_discard(struct bdev *b, uint64_t off, uint64_t len)
{
	return bdev_discard(prompt_of(b)->under, off, len);
}

static void prompt_close(struct bdev *b)
{
	bdev_close(prompt_of(b)->under);
}

/* Nobody carries what is back at once: the caller calls. All else can be left behind. */
RIG_TEST(prompt_calls_are_the_callers_own)
{
	static const struct bdev_ops ops = {.readv = prompt_readv,
					    .writev = prompt_writev,
					    .flush = prompt_flush,
					    .discard = prompt_discard,
					    .close = prompt_close};
	static uint8_t buf[16 * 1024] __attribute__((aligned(4096)));
	struct rig *r = arg;
	struct prompt p = {.under = sim_disk_open(r->sd)};
	p.b = *p.under;
	p.b.ops = &ops;
	p.b.prompt = 8192;
	open_labelled(r, &p.b);
	struct bdev *d = disk_bdev(r->d);
	struct task *self = task_self();
	ck_assert_int_eq(bdev_write(d, buf, 8192, DISK_DATA_OFF, 0), 0);
	ck_assert(p.by == self);
	ck_assert_int_eq(bdev_write(d, buf, 12288, DISK_DATA_OFF, 0), 0);
	ck_assert(p.by != self);
	ck_assert_int_eq(bdev_read(d, buf, 8192, DISK_DATA_OFF), 0);
	ck_assert(p.by == self);
	ck_assert_int_eq(bdev_discard(d, DISK_DATA_OFF, 4096), 0);
	ck_assert(p.by != self);
	ck_assert_int_eq(bdev_flush(d), 0);
	ck_assert(p.by == self);
	disk_close(r->d);
}

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("disk_call");
	TCase *tc = tcase_create("disk_call");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, reads_are_whole);
	tcase_add_test(tc, all_at_once);
	tcase_add_test(tc, a_read_alone);
	tcase_add_test(tc, a_write_alone);
	tcase_add_test(tc, more_reads_than_memory);
	tcase_add_test(tc, memory_goes_round);
	tcase_add_test(tc, given_up_before_it_was_sent);
	tcase_add_test(tc, lent_memory_is_left_behind);
	tcase_add_test(tc, lent_memory_is_not_wanted_back);
	tcase_add_test(tc, the_claim_is_kept);
	tcase_add_test(tc, closing_waits_for_them);
	tcase_add_test(tc, a_disk_that_cannot_be_spared);
	tcase_add_test(tc, prompt_calls_are_the_callers_own);
	tcase_add_test(tc, writes_are_copied_only_to_align_them);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
