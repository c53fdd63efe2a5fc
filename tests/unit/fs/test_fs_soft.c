/*
 * Soft records, one step at a time: what an unstable write changed outlives the head as long as the
 * memory of the device does, and goes with it.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "tests/unit/fs/fs_world.h"

struct soft {
	struct world w;
	struct fs_fid f;
	uint64_t verifier;
	uint64_t want; /* bytes that must be there */
	bool same_verifier;
	bool then_create; /* a stable change follows */
};

#define SOFT_BYTES (300 * 1000)

static void soft_write_task(void *arg)
{
	struct soft *t = arg;
	uint8_t *p = malloc(SOFT_BYTES);
	memset(p, 0x55, SOFT_BYTES);
	world_mkfs(&t->w);
	world_mount(&t->w);
	ck_assert_int_eq(make_file(t->w.fs, &root_fid, "f", &t->f), 0);
	struct sim_disk_stats a, b;
	sim_disk_stats(t->w.disk, &a);
	ck_assert_int_eq(put(t->w.fs, &t->f, 0, p, SOFT_BYTES, FS_WRITE_UNSTABLE), 0);
	sim_disk_stats(t->w.disk, &b);
	ck_assert_uint_eq(a.flushes, b.flushes);
	ck_assert_uint_gt(t->w.fs->soft, t->w.fs->stable);
	if (t->then_create)
		ck_assert_int_eq(make_file(t->w.fs, &root_fid, "g", NULL), 0);
	t->verifier = fs_write_verifier(t->w.fs);
	sim_power_off(t->w.sim);
	fs_abandon(t->w.fs);
	free(p);
}

static void soft_look_task(void *arg)
{
	struct soft *t = arg;
	struct fs_attr a;
	uint8_t *p = malloc(SOFT_BYTES);
	world_mount(&t->w);
	ck_assert_int_eq(fs_getattr(t->w.fs, &t->f, &a), 0);
	ck_assert_uint_eq(a.size, t->want);
	ck_assert_int_eq(get(t->w.fs, &t->f, 0, p, SOFT_BYTES), (int64_t)t->want);
	for (uint64_t i = 0; i < t->want; i++)
		ck_assert_uint_eq(p[i], 0x55);
	ck_assert(t->same_verifier == (fs_write_verifier(t->w.fs) == t->verifier));
	free(p);
}

static void soft_end_task(void *arg)
{
	struct soft *t = arg;
	soft_look_task(t);
	world_unmount(&t->w);
	world_check(&t->w);
}

static void soft_begin(struct soft *t, bool then_create)
{
	memset(t, 0, sizeof(*t));
	world_new(&t->w, 7, 32 << 20);
	sim_disk_memory_known(t->w.disk);
	t->then_create = then_create;
	ck_assert_int_eq(sim_run(t->w.sim, soft_write_task, t), 0);
	sim_run_for(t->w.sim, NS_PER_S);
}

static void soft_end(struct soft *t, enum sim_loss how, uint64_t want)
{
	sim_power_on(t->w.sim, how, 0);
	t->want = want;
	t->same_verifier = how == SIM_KILL;
	ck_assert_int_eq(sim_run(t->w.sim, soft_end_task, t), 0);
	world_free(&t->w);
}

START_TEST(unstable_growth_outlives_the_head)
{
	struct soft t;
	soft_begin(&t, false);
	soft_end(&t, SIM_KILL, SOFT_BYTES);
}
END_TEST

START_TEST(soft_records_go_with_their_memory)
{
	struct soft t;
	soft_begin(&t, false);
	soft_end(&t, SIM_LOSE_NONE, 0); /* the record is there, not believed */
}
END_TEST

START_TEST(stable_change_takes_soft_ones_along)
{
	struct soft t;
	soft_begin(&t, true);
	soft_end(&t, SIM_LOSE_ALL, SOFT_BYTES);
}
END_TEST

static void soft_mount_die_task(void *arg)
{
	struct soft *t = arg;
	soft_look_task(t);
	sim_power_off(t->w.sim);
	fs_abandon(t->w.fs);
}

START_TEST(replayed_soft_records_are_stable)
{
	struct soft t;
	soft_begin(&t, false);
	sim_power_on(t.w.sim, SIM_KILL, 0);
	t.want = SOFT_BYTES;
	t.same_verifier = true;
	ck_assert_int_eq(sim_run(t.w.sim, soft_mount_die_task, &t), 0);
	sim_run_for(t.w.sim, NS_PER_S);
	sim_power_on(t.w.sim, SIM_LOSE_ALL, 0);
	t.same_verifier = false;
	ck_assert_int_eq(sim_run(t.w.sim, soft_end_task, &t), 0);
	world_free(&t.w);
}
END_TEST

/* Without a known memory nothing is soft. */
static void unknown_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid f;
	char p[8192] = "x";
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "f", &f), 0);
	uint64_t before = sim_writes_issued(w->sim);
	ck_assert_int_eq(put(w->fs, &f, 0, p, sizeof(p), FS_WRITE_UNSTABLE), 0);
	ck_assert_uint_eq(sim_writes_issued(w->sim), before + 1);
	ck_assert_int_eq(fs_commit(w->fs, &f, 0, 0, NULL), 0);
	ck_assert_uint_eq(w->fs->soft, w->fs->stable);
	world_unmount(w);
}

START_TEST(unknown_memory_waits_for_nothing)
{
	world_run(unknown_task, 9);
}
END_TEST

/* Its memory went while it was mounted: nothing may be built on what is missing. */
static void memory_gone_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid f;
	char p[8192] = "x";
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "f", &f), 0);
	ck_assert_int_eq(put(w->fs, &f, 0, p, sizeof(p), FS_WRITE_UNSTABLE), 0);
	uint64_t verifier = fs_write_verifier(w->fs);
	sim_disk_memory_known(w->disk);
	ck_assert_int_ne(fs_commit(w->fs, &f, 0, 0, NULL), 0);
	ck_assert_int_ne(make_file(w->fs, &root_fid, "g", NULL), 0);
	ck_assert(fs_write_verifier(w->fs) != verifier);
	fs_abandon(w->fs);
	world_mount(w);
	ck_assert(fs_write_verifier(w->fs) != verifier);
	world_unmount(w);
}

START_TEST(mount_ends_with_its_memory)
{
	struct world w;
	world_new(&w, 11, 32 << 20);
	sim_disk_memory_known(w.disk);
	ck_assert_int_eq(sim_run(w.sim, memory_gone_task, &w), 0);
	world_free(&w);
}
END_TEST

/* A device that loses its memory between the two writes of a record that goes round the log's end.
 */
struct losing {
	struct bdev b, *under;
	struct sim_disk *disk;
	bool lost;
};

static int losing_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	return bdev_readv(container_of(b, struct losing, b)->under, iov, iovcnt, off);
}

static int losing_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off,
			 unsigned flags)
{
	struct losing *l = container_of(b, struct losing, b);
	int rc = bdev_writev(l->under, iov, iovcnt, off, flags);
	bool record = le32_get(iov->iov_base) == JR_MAGIC;
	if (rc == 0 && record && !(flags & BDEV_FUA) && !l->lost) {
		l->lost = true;
		sim_disk_memory_known(l->disk); /* another one */
		l->b.memory_id = l->under->memory_id;
	}
	return rc;
}

static int losing_flush(struct bdev *b)
{
	return bdev_flush(container_of(b, struct losing, b)->under);
}

static void losing_close(struct bdev *b)
{
}

static void record_lost_task(void *arg)
{
	static const struct bdev_ops ops = {.readv = losing_readv,
					    .writev = losing_writev,
					    .flush = losing_flush,
					    .close = losing_close};
	struct world *w = arg;
	struct losing l = {.b = *w->dev, .under = w->dev, .disk = w->disk};
	char name[16];
	int rc = 0;
	l.b.ops = &ops;
	w->dev = &l.b;
	world_mkfs(w);
	world_mount(w);
	for (int i = 0; i < 100000 && !l.lost; i++) {
		snprintf(name, sizeof(name), "%d", i);
		rc = make_file(w->fs, &root_fid, name, NULL);
		ck_assert(rc == 0 || l.lost);
	}
	ck_assert(l.lost);
	ck_assert_int_ne(rc, 0); /* half of its record is gone */
	fs_abandon(w->fs);
	w->dev = l.under;
	world_mount(w);
	world_unmount(w);
	world_check(w);
}

START_TEST(half_a_record_is_not_stable)
{
	struct world w;
	world_new(&w, 12, 32 << 20);
	sim_disk_memory_known(w.disk);
	ck_assert_int_eq(sim_run(w.sim, record_lost_task, &w), 0);
	world_free(&w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_soft");
	TCase *t = tcase_create("soft");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, unstable_growth_outlives_the_head);
	tcase_add_test(t, soft_records_go_with_their_memory);
	tcase_add_test(t, stable_change_takes_soft_ones_along);
	tcase_add_test(t, replayed_soft_records_are_stable);
	tcase_add_test(t, unknown_memory_waits_for_nothing);
	tcase_add_test(t, mount_ends_with_its_memory);
	tcase_add_test(t, half_a_record_is_not_stable);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
