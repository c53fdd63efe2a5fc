/* Pools that grow by RAID groups while they are in use: volumes go on in the new one, disks of each
 * group are lost, replaced and found again. */
#include "tests/unit/core/core_rig.h"
#include "runtime/bdev.h"
#include "runtime/task.h"

#define MIB  (1024 * 1024ull)
#define SPAN (24 * MIB)
#define OLD  (8 * MIB) /* of the volume, in the first group */

static void write_all(struct volume *v, uint64_t seed)
{
	uint64_t off = 0;
	ck_assert_int_eq(rig_write(v, off, MIB / 2, seed, false), 0);
	for (off = MIB / 2; off < SPAN - MIB; off += MIB) /* one of them crosses */
		ck_assert_int_eq(rig_write(v, off, MIB, seed, false), 0);
	ck_assert_int_eq(rig_write(v, off, MIB / 2, seed, false), 0);
	ck_assert_int_eq(volume_flush(v, 0, SPAN), 0);
}

/* The volume is three times the cache: most of it comes from the disks. */
static void check_all(struct volume *v, uint64_t seed)
{
	for (uint64_t off = 0; off < SPAN; off += MIB)
		ck_assert_int_eq(rig_check(v, off, MIB, seed), 0);
}

static struct core_pool *the_pool(struct rig *r)
{
	return core_pool_find(r->core, "p");
}

static const Isthmus__Pool *in_meta(struct rig *r)
{
	return meta_pool_find(meta_get(core_meta(r->core)), "p");
}

static void wait_online(struct rig *r)
{
	for (unsigned i = 0; i < 600; i++) {
		if (pool_state(the_pool(r)->pool) == POOL_ONLINE && !the_pool(r)->filling)
			return;
		env_sleep_ns(sim_env(r->sim), 100 * NS_PER_MS);
	}
	ck_abort_msg("the pool is not online");
}

/* OLD bytes are left for volume v; another has the rest. */
static struct volume *full_pool(struct rig *r, const char *level, unsigned n)
{
	uint32_t id;
	rig_open_ok(r);
	rig_pool(r, "p", level, 0, n);
	uint64_t es = in_meta(r)->extent_size, left = ROUND_UP(OLD, es);
	uint64_t rest = core_pool_free_bytes(r->core, "p") - left;
	ck_assert_int_eq(core_volume_create(r->core, "p", "rest", rest, &id), 0);
	struct volume *v = rig_volume(r, "p", "v", OLD);
	ck_assert_uint_eq(core_pool_free_bytes(r->core, "p"), 0);
	for (uint64_t off = 0; off < OLD; off += MIB)
		ck_assert_int_eq(rig_write(v, off, MIB, 1, false), 0);
	return v;
}

static void grow(struct rig *r, unsigned first, unsigned n)
{
	char why[CORE_WHY_LEN] = "";
	int rc = core_pool_grow(r->core, "p", r->paths + first, n, why);
	ck_assert_msg(rc == 0, "%s", why);
}

static struct volume *open_again(struct rig *r, struct volume *v)
{
	core_volume_put(v);
	rig_close(r);
	memset(r->segment, 0, RIG_SEGMENT);
	rig_open_ok(r);
	v = core_volume_get_by_name(r->core, "v");
	ck_assert_ptr_nonnull(v);
	return v;
}

/* One disk of each group is lost at the same time. */
static void grows(struct rig *r, const char *level, unsigned n)
{
	char why[CORE_WHY_LEN] = "";
	struct volume *v = full_pool(r, level, n);
	ck_assert_int_eq(core_volume_extend(r->core, "v", SPAN, why), -ENOSPC);
	uint64_t before = in_meta(r)->extents;
	grow(r, n, n);
	ck_assert_uint_eq(in_meta(r)->n_disks, 2 * n);
	ck_assert_uint_eq(in_meta(r)->n_group_extents, 2);
	ck_assert_uint_eq(in_meta(r)->group_extents[0], before);
	ck_assert_uint_eq(in_meta(r)->extents, before + in_meta(r)->group_extents[1]);
	ck_assert_int_eq(core_volume_extend(r->core, "v", SPAN, why), 0);
	for (uint64_t off = 0; off < SPAN; off += MIB)
		ck_assert_int_eq(rig_check(v, off, MIB, off < OLD ? 1 : UINT64_MAX), 0);
	write_all(v, 2);
	check_all(v, 2);
	sim_disk_set_faults(r->disk[0], &(struct sim_disk_faults){.dead = true});
	sim_disk_set_faults(r->disk[n], &(struct sim_disk_faults){.dead = true});
	write_all(v, 3);
	ck_assert_int_eq(pool_state(the_pool(r)->pool), POOL_DEGRADED);
	check_all(v, 3);
	ck_assert(in_meta(r)->disks[0]->failed && in_meta(r)->disks[n]->failed);
	v = open_again(r, v);
	check_all(v, 3);
	/* Both are there again, with what they missed. */
	for (unsigned i = 0; i < 2; i++) {
		sim_disk_set_faults(r->disk[i * n], &(struct sim_disk_faults){0});
		struct disk *d =
		    core_disk_reopen(r->core, core_disk_find(r->core, r->paths[i * n]));
		ck_assert_ptr_nonnull(d);
		task_mutex_lock(&r->core->disks_lock);
		ck_assert_int_eq(core_fill_onto(&(struct pool_place){the_pool(r), i * n}, d, why),
				 0);
		task_mutex_unlock(&r->core->disks_lock);
	}
	wait_online(r);
	for (unsigned i = 0; i < 2; i++)
		sim_disk_set_faults(r->disk[i * n + 1], &(struct sim_disk_faults){.dead = true});
	check_all(v, 3);
	write_all(v, 4);
	check_all(v, 4);
	v = open_again(r, v);
	check_all(v, 4);
	core_volume_put(v);
	rig_close(r);
}

RIG_TEST(grows_raid1)
{
	grows(arg, "raid1", 2);
}

RIG_TEST(grows_raid5)
{
	grows(arg, "raid5", 3);
}

/* A spare serves whichever group loses a disk; a pool without redundancy grows disk by disk. */
RIG_TEST(a_spare_in_the_second_group)
{
	struct rig *r = arg;
	char why[CORE_WHY_LEN] = "";
	struct volume *v = full_pool(r, "raid1", 2);
	grow(r, 2, 2);
	ck_assert_int_eq(core_volume_extend(r->core, "v", SPAN, why), 0);
	ck_assert_int_eq(core_spare_add(r->core, core_disk_find(r->core, "d4"), why), 0);
	write_all(v, 5);
	sim_disk_set_faults(r->disk[3], &(struct sim_disk_faults){.dead = true});
	write_all(v, 6);
	wait_online(r);
	ck_assert_str_eq(in_meta(r)->disks[3]->path, "d4");
	sim_disk_set_faults(r->disk[2], &(struct sim_disk_faults){.dead = true});
	check_all(v, 6);
	ck_assert_int_eq(core_pool_scrub(r->core, "p", why), 0);
	core_volume_put(v);
	rig_close(r);
}

RIG_TEST(disk_by_disk)
{
	struct rig *r = arg;
	char why[CORE_WHY_LEN] = "";
	struct volume *v = full_pool(r, "single", 1);
	for (unsigned i = 1; i < RIG_DISKS; i++)
		grow(r, i, 1);
	ck_assert_int_eq(core_volume_extend(r->core, "v", SPAN, why), 0);
	write_all(v, 7);
	v = open_again(r, v);
	ck_assert_uint_eq(pool_groups(the_pool(r)->pool), RIG_DISKS);
	check_all(v, 7);
	core_volume_put(v);
	rig_close(r);
}

static void refused(struct rig *r, const char *pool, unsigned first, unsigned n, int want)
{
	char why[CORE_WHY_LEN] = "";
	ck_assert_int_eq(core_pool_grow(r->core, pool, r->paths + first, n, why), want);
	ck_assert_str_ne(why, "");
}

/* What is refused changes nothing. */
RIG_TEST(refusals)
{
	struct rig *r = arg;
	const char *twice[] = {"d4", "d4"}, *nowhere[] = {"d4", "d9"};
	char why[CORE_WHY_LEN] = "";
	struct volume *v = full_pool(r, "raid1", 2);
	refused(r, "q", 2, 2, -ENOENT);
	refused(r, "p", 2, 1, -EINVAL);
	refused(r, "p", 2, 3, -EINVAL);
	refused(r, "p", 1, 2, -EBUSY);
	ck_assert_int_eq(core_pool_grow(r->core, "p", twice, 2, why), -EINVAL);
	ck_assert_int_eq(core_pool_grow(r->core, "p", nowhere, 2, why), -ENOENT);
	/* One that cannot be labelled. */
	sim_disk_set_faults(r->disk[3], &(struct sim_disk_faults){.dead = true});
	refused(r, "p", 2, 2, -EIO);
	ck_assert_uint_eq(in_meta(r)->n_disks, 2);
	ck_assert_uint_eq(in_meta(r)->n_group_extents, 0);
	ck_assert_int_eq(disk_state(core_disk_find(r->core, "d2")), DISK_BLANK);
	grow(r, 4, 2);
	ck_assert_int_eq(core_volume_extend(r->core, "v", SPAN, why), 0);
	write_all(v, 8);
	check_all(v, 8);
	core_volume_put(v);
	rig_close(r);
}

struct flusher {
	struct pool *p;
	int rc;
	bool done;
};

static void flush_task(void *arg)
{
	struct flusher *f = arg;
	f->rc = bdev_flush(pool_bdev(f->p));
	f->done = true;
}

/* A group is taken away again while a flush waits in it for a lost disk to be recorded. */
RIG_TEST(a_dropped_group_holds_nobody_up)
{
	struct rig *r = arg;
	struct disk *d[2];
	struct volume *v = full_pool(r, "raid1", 2);
	struct flusher f = {.p = the_pool(r)->pool};
	for (unsigned i = 0; i < 2; i++) {
		struct disk_label l = {.position = 2 + i};
		l.disk_uuid[0] = (uint8_t)(1 + i);
		d[i] = core_disk_find(r->core, r->paths[2 + i]);
		ck_assert_int_eq(disk_write_label(d[i], &l), 0);
	}
	ck_assert_int_eq(pool_add_group(f.p, d, 8), 0);
	sim_disk_set_faults(r->disk[3], &(struct sim_disk_faults){.dead = true});
	ck_assert_int_eq(task_start(flush_task, &f), 0);
	while (pool_disk_in(f.p, 3))
		env_sleep_ns(sim_env(r->sim), 1000);
	ck_assert(!f.done);
	pool_drop_group(f.p);
	ck_assert_uint_eq(pool_groups(f.p), 1);
	env_sleep_ns(sim_env(r->sim), 10 * NS_PER_S);
	ck_assert(f.done);
	core_volume_put(v);
	rig_close(r);
}

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("core_grow");
	TCase *tc = tcase_create("core_grow");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, grows_raid1);
	tcase_add_test(tc, grows_raid5);
	tcase_add_test(tc, a_spare_in_the_second_group);
	tcase_add_test(tc, disk_by_disk);
	tcase_add_test(tc, refusals);
	tcase_add_test(tc, a_dropped_group_holds_nobody_up);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
