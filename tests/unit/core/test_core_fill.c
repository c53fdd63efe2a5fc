/* Lost disks of a whole core: spares take over, replaced disks are filled, restarts go on with it.
 */
#include "tests/unit/core/core_rig.h"

#define MIB (1024 * 1024ull)

static void write_all(struct volume *v, uint64_t seed)
{
	for (uint64_t off = 0; off < 24 * MIB; off += MIB)
		ck_assert_int_eq(rig_write(v, off, MIB, seed, false), 0);
	ck_assert_int_eq(volume_flush(v, 0, 24 * MIB), 0);
}

/* The volume is three times the cache: most of it comes from the disks. */
static void check_all(struct rig *r, struct volume *v, uint64_t seed)
{
	ck_assert_int_eq(volume_flush(v, 0, 24 * MIB), 0);
	for (uint64_t off = 0; off < 24 * MIB; off += MIB)
		ck_assert_int_eq(rig_check(v, off, MIB, seed), 0);
}

static void kill_disk(struct rig *r, unsigned i)
{
	sim_disk_set_faults(r->disk[i], &(struct sim_disk_faults){.dead = true});
}

static struct pool *core_find_pool(struct rig *r)
{
	return core_pool_find(r->core, "p")->pool;
}

static void wait_state(struct rig *r, enum pool_state s)
{
	for (unsigned i = 0; i < 600; i++) {
		struct core_pool *cp = core_pool_find(r->core, "p");
		if (pool_state(cp->pool) == s && !cp->filling)
			return;
		env_sleep_ns(sim_env(r->sim), 100 * NS_PER_MS);
	}
	ck_abort_msg("the pool is %s",
		     pool_state_name(pool_state(core_pool_find(r->core, "p")->pool)));
}

static const char *const levels[] = {"raid10", "raid5", "raid6"};

static void add_spare(struct rig *r, unsigned i)
{
	char why[CORE_WHY_LEN] = "";
	int rc = core_spare_add(r->core, core_disk_find(r->core, r->paths[i]), why);
	ck_assert_msg(rc == 0, "%s", why);
}

/* Two disks die one after the other; two spares take their places; then everything is read again
 * without the cache, also after a restart. */
static void spares(struct rig *r, const char *level)
{
	char why[CORE_WHY_LEN] = "";
	rig_open_ok(r);
	ck_assert_int_ne(core_spare_add(r->core, r->core->disks[4], why), 0); /* for what pool? */
	rig_pool(r, "p", level, 0, 4);
	struct volume *v = rig_volume(r, "p", "v", 24 * MIB);
	add_spare(r, 4);
	ck_assert_int_eq(core_spare_add(r->core, r->core->disks[4], why), -EBUSY);
	ck_assert_int_eq(core_spare_add(r->core, r->core->disks[0], why), -EBUSY);
	ck_assert_int_eq(
	    core_pool_create(r->core, "q", "single", 65536, false, r->paths + 4, 1, why), -EBUSY);
	write_all(v, 1);
	kill_disk(r, 1);
	write_all(v, 2);
	wait_state(r, POOL_ONLINE);
	ck_assert(!core_disk_spare(r->core, r->core->disks[4]));
	check_all(r, v, 2);
	kill_disk(r, 0);
	write_all(v, 3);
	ck_assert_int_eq(pool_state(core_pool_find(r->core, "p")->pool), POOL_DEGRADED);
	check_all(r, v, 3);
	add_spare(r, 5); /* taken at once */
	wait_state(r, POOL_ONLINE);
	check_all(r, v, 3);
	core_volume_put(v);
	rig_close(r);
	memset(r->segment, 0, RIG_SEGMENT);
	rig_open_ok(r);
	v = core_volume_get_by_name(r->core, "v");
	ck_assert_int_eq(pool_state(core_pool_find(r->core, "p")->pool), POOL_ONLINE);
	check_all(r, v, 3);
	core_volume_put(v);
	rig_close(r);
}

RIG_TEST(spares_raid10)
{
	spares(arg, levels[0]);
}

RIG_TEST(spares_raid5)
{
	spares(arg, levels[1]);
}

RIG_TEST(spares_raid6)
{
	spares(arg, levels[2]);
}

/* A restart in the middle of a fill, and of one disk that was away and comes back. */
static void restarts(struct rig *r, const char *level)
{
	char why[CORE_WHY_LEN] = "";
	rig_open_ok(r);
	rig_pool(r, "p", level, 0, 4);
	struct volume *v = rig_volume(r, "p", "v", 24 * MIB);
	write_all(v, 1);
	kill_disk(r, 2);
	write_all(v, 2);
	core_volume_put(v);
	rig_close(r);
	sim_disk_set_faults(r->disk[2], &(struct sim_disk_faults){0});
	memset(r->segment, 0, RIG_SEGMENT);
	rig_open_ok(r); /* it is there again, with old data: not used */
	struct core_pool *cp = core_pool_find(r->core, "p");
	ck_assert_int_eq(pool_state(cp->pool), POOL_DEGRADED);
	v = core_volume_get_by_name(r->core, "v");
	check_all(r, v, 2);
	pool_set_rate(cp->pool, 2 * MIB);
	ck_assert_int_eq(core_fill_onto(&(struct pool_place){cp, 2}, r->core->disks[2], why), 0);
	env_sleep_ns(sim_env(r->sim), NS_PER_S);
	ck_assert(cp->filling);
	core_volume_put(v);
	rig_close(r);
	rig_open_ok(r); /* goes on */
	v = core_volume_get_by_name(r->core, "v");
	write_all(v, 3);
	wait_state(r, POOL_ONLINE);
	kill_disk(r, 3);
	check_all(r, v, 3);
	core_volume_put(v);
	rig_close(r);
}

RIG_TEST(restarts_raid10)
{
	restarts(arg, levels[0]);
}

RIG_TEST(restarts_raid5)
{
	restarts(arg, levels[1]);
}

/* The metadata names the disks that the pool uses, each once. */
static void check_places(struct rig *r)
{
	const Isthmus__Pool *mp = meta_pool_find(meta_get(r->core->meta), "p");
	const struct core_pool *cp = core_pool_find(r->core, "p");
	for (unsigned i = 0; i < mp->n_disks; i++) {
		const struct disk *d = pool_disk(cp->pool, i);
		ck_assert_msg(d && !strcmp(mp->disks[i]->path, disk_path(d)),
			      "position %u: the metadata says %s", i, mp->disks[i]->path);
		ck_assert_int_eq(memcmp(mp->disks[i]->uuid.data, disk_label(d)->disk_uuid, 16), 0);
		ck_assert_int_eq(disk_label(d)->position, i);
	}
}

static void close_and_check(struct rig *r, struct volume *v, uint64_t seed)
{
	wait_state(r, POOL_ONLINE);
	check_places(r);
	core_volume_put(v);
	rig_close(r);
	memset(r->segment, 0, RIG_SEGMENT);
	rig_open_ok(r);
	v = core_volume_get_by_name(r->core, "v");
	ck_assert_int_eq(pool_state(core_pool_find(r->core, "p")->pool), POOL_ONLINE);
	check_all(r, v, seed);
	core_volume_put(v);
	rig_close(r);
}

/* Two disks are lost at once, and two spares are there: each gets one place. */
RIG_TEST(two_lost_at_once)
{
	struct rig *r = arg;
	rig_open_ok(r);
	rig_pool(r, "p", "raid6", 0, 4);
	struct volume *v = rig_volume(r, "p", "v", 24 * MIB);
	add_spare(r, 4);
	add_spare(r, 5);
	write_all(v, 1);
	struct core_pool *cp = core_pool_find(r->core, "p");
	ck_assert_int_eq(pool_drop(cp->pool, r->core->disks[1], "test"), 0);
	env_sleep_ns(sim_env(r->sim), NS_PER_MS); /* while the first is recorded */
	ck_assert_int_eq(pool_drop(cp->pool, r->core->disks[0], "test"), 0);
	write_all(v, 2);
	close_and_check(r, v, 2);
}

static unsigned recorded_lost(struct rig *r)
{
	const Isthmus__Pool *mp = meta_pool_find(meta_get(r->core->meta), "p");
	unsigned n = 0;
	for (size_t i = 0; i < mp->n_disks; i++)
		n += mp->disks[i]->failed;
	return n;
}

/* The second while the first is being recorded, and nothing is written after. */
RIG_TEST(lost_while_one_is_recorded)
{
	struct rig *r = arg;
	rig_open_ok(r);
	ck_assert_int_eq(core_watch_start(r->core), 0);
	rig_pool(r, "p", "raid6", 0, 4);
	struct volume *v = rig_volume(r, "p", "v", 24 * MIB);
	write_all(v, 1);
	ck_assert_int_eq(volume_flush(v, 0, 24 * MIB), 0);
	struct core_pool *cp = core_pool_find(r->core, "p");
	ck_assert_int_eq(pool_drop(cp->pool, r->core->disks[1], "test"), 0);
	env_sleep_ns(sim_env(r->sim), NS_PER_MS / 5);
	ck_assert_uint_eq(atomic_load(&cp->recordings), 1);
	ck_assert_int_eq(pool_drop(cp->pool, r->core->disks[0], "test"), 0);
	env_sleep_ns(sim_env(r->sim), 3 * NS_PER_S);
	ck_assert_uint_eq(recorded_lost(r), 2);
	ck_assert(!pool_unrecorded(cp->pool));
	check_all(r, v, 1);
	core_volume_put(v);
	rig_close(r);
}

/* A disk is taken out for another one, while a spare waits for a place. */
RIG_TEST(replaced_beside_a_spare)
{
	struct rig *r = arg;
	char why[CORE_WHY_LEN] = "";
	rig_open_ok(r);
	rig_pool(r, "p", "raid6", 0, 4);
	struct volume *v = rig_volume(r, "p", "v", 24 * MIB);
	add_spare(r, 4);
	write_all(v, 1);
	struct core_pool *cp = core_pool_find(r->core, "p");
	task_mutex_lock(&r->core->disks_lock);
	ck_assert_int_eq(pool_drop(cp->pool, r->core->disks[0], "test"), 0);
	int rc = core_fill_onto(&(struct pool_place){cp, 0}, r->core->disks[5], why);
	task_mutex_unlock(&r->core->disks_lock);
	ck_assert_msg(rc == 0, "%s", why);
	ck_assert(core_disk_spare(r->core, r->core->disks[4]));
	write_all(v, 2);
	close_and_check(r, v, 2);
}

/* A disk that was to be filled goes on after a restart, once the resync is over; wiped and given to
 * another place meanwhile, it is not filled for both. */
RIG_TEST(one_disk_one_place)
{
	struct rig *r = arg;
	char why[CORE_WHY_LEN] = "";
	rig_open_ok(r);
	rig_pool(r, "p", "raid6", 0, 4);
	struct volume *v = rig_volume(r, "p", "v", 24 * MIB);
	write_all(v, 1);
	struct core_pool *cp = core_pool_find(r->core, "p");
	ck_assert_int_eq(pool_drop(cp->pool, r->core->disks[0], "test"), 0);
	ck_assert_int_eq(pool_drop(cp->pool, r->core->disks[2], "test"), 0);
	write_all(v, 2);
	pool_set_rate(cp->pool, 1 * MIB);
	task_mutex_lock(&r->core->disks_lock);
	ck_assert_int_eq(core_fill_onto(&(struct pool_place){cp, 0}, r->core->disks[4], why), 0);
	task_mutex_unlock(&r->core->disks_lock);
	env_sleep_ns(sim_env(r->sim), NS_PER_S);
	core_volume_put(v);
	rig_close(r);
	rig_open_ok(r);
	cp = core_pool_find(r->core, "p");
	v = core_volume_get_by_name(r->core, "v");
	pool_set_rate(cp->pool, 1 * MIB);
	ck_assert(pool_filling(cp->pool, 0));
	ck_assert_int_eq(pool_fill_begin(cp->pool, 2, r->core->disks[4]), -EBUSY);
	ck_assert_int_eq(pool_drop(cp->pool, r->core->disks[4], "test"), 0);
	ck_assert(!pool_filling(cp->pool, 0));
	while (cp->filling)
		env_sleep_ns(sim_env(r->sim), 10 * NS_PER_MS);
	ck_assert_int_eq(disk_wipe(r->core->disks[4]), 0);
	task_mutex_lock(&r->core->disks_lock);
	pool_set_rate(cp->pool, 0);
	ck_assert_int_eq(core_fill_onto(&(struct pool_place){cp, 2}, r->core->disks[4], why), 0);
	task_mutex_unlock(&r->core->disks_lock);
	core_fill_resume(cp);
	ck_assert(!pool_filling(cp->pool, 0));
	/* what is dropped is the place it has, not the one it had */
	ck_assert_int_eq(pool_drop(cp->pool, r->core->disks[4], "test"), 0);
	ck_assert(!pool_filling(cp->pool, 2));
	while (cp->filling)
		env_sleep_ns(sim_env(r->sim), 10 * NS_PER_MS);
	check_all(r, v, 2);
	core_volume_put(v);
	rig_close(r);
}

struct maker {
	struct rig *r;
	const char *name;
	int rc;
	unsigned *left;
};

static void make_pool(void *arg)
{
	struct maker *m = arg;
	char why[CORE_WHY_LEN] = "";
	m->rc = core_pool_create(m->r->core, m->name, "raid1", 65536, false, m->r->paths, 2, why);
	--*m->left;
}

/* Two admins want the same disks at the same time: one gets them, and keeps them. */
RIG_TEST(two_pools_of_the_same_disks)
{
	struct rig *r = arg;
	rig_open_ok(r);
	unsigned left = 2;
	struct maker m[2] = {{r, "p", 1, &left}, {r, "q", 1, &left}};
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(task_start(make_pool, &m[i]), 0);
	while (left)
		env_sleep_ns(sim_env(r->sim), NS_PER_MS);
	ck_assert_int_eq(m[0].rc, 0);
	ck_assert_int_eq(m[1].rc, -EBUSY);
	struct volume *v = rig_volume(r, "p", "v", 24 * MIB);
	write_all(v, 1);
	close_and_check(r, v, 1);
}

/* A rebuild that cannot be finished is tried again after a while, not at once and not never. */
RIG_TEST(a_failed_rebuild_is_tried_again)
{
	struct rig *r = arg;
	struct sim_disk_faults bad = {.latency_min_ns = 1000, .latency_max_ns = 20000};
	rig_open_ok(r);
	ck_assert_int_eq(core_watch_start(r->core), 0);
	rig_pool(r, "p", "raid1", 0, 2);
	struct core_pool *cp = core_pool_find(r->core, "p");
	struct volume *v = rig_volume(r, "p", "v", 24 * MIB);
	write_all(v, 1);
	add_spare(r, 4);
	bad.read_error_ppm = 1000000; /* there is nothing to fill it from */
	sim_disk_set_faults(r->disk[0], &bad);
	ck_assert_int_eq(pool_drop(cp->pool, r->core->disks[1], "test"), 0);
	env_sleep_ns(sim_env(r->sim), 25 * NS_PER_S);
	ck_assert_int_eq(pool_state(cp->pool), POOL_DEGRADED);
	struct disk_stats st;
	disk_stats(r->core->disks[0], &st);
	ck_assert_uint_lt(st.read_errors, 5000);
	bad.read_error_ppm = 0;
	sim_disk_set_faults(r->disk[0], &bad);
	add_spare(r, 5); /* the one it was tried with is a disk of the pool by now */
	wait_state(r, POOL_ONLINE);
	check_all(r, v, 1);
	core_volume_put(v);
	rig_close(r);
}

/* A disk that is out of its pool and well otherwise carries the metadata; when it dies, changes
 * must go on without it. */
RIG_TEST(a_disk_that_is_out_dies)
{
	struct rig *r = arg;
	uint32_t id;
	r->ndisks = 2;
	rig_open_ok(r);
	rig_pool(r, "p", "raid1", 0, 2);
	ck_assert_int_eq(pool_drop(core_find_pool(r), core_disk_find(r->core, r->paths[0]), "test"),
			 0);
	env_sleep_ns(sim_env(r->sim), NS_PER_S);
	rig_close(r);
	rig_open_ok(r); /* there again, and out by the metadata */
	ck_assert_int_eq(core_watch_start(r->core), 0);
	ck_assert_int_eq(disk_state(r->core->disks[0]), DISK_ONLINE);
	ck_assert_int_eq(pool_state(core_find_pool(r)), POOL_DEGRADED);
	kill_disk(r, 0);
	env_sleep_ns(sim_env(r->sim), 3 * NS_PER_S);
	ck_assert_int_eq(disk_state(r->core->disks[0]), DISK_FAILED);
	ck_assert_int_eq(core_volume_create(r->core, "p", "v", MIB, &id), 0);
	rig_close(r);
}

struct stuck_user {
	struct volume *v;
	uint64_t off;
	int rc;
	bool done;
};

static void stuck_write(void *arg)
{
	struct stuck_user *u = arg;
	u->rc = rig_write(u->v, u->off, 65536, 2, true);
	u->done = true;
}

/* What the first writing left, which is not in the cache any more. */
static void stuck_read(void *arg)
{
	struct stuck_user *u = arg;
	u->rc = rig_check(u->v, u->off, MIB, 1);
	u->done = true;
}

#define STUCK 16

/* The first half writes, the other reads. */
static void begin_stuck(struct stuck_user u[STUCK], struct volume *v)
{
	for (unsigned i = 0; i < STUCK; i++) {
		u[i] = (struct stuck_user){.v = v, .off = i % 8 * MIB + (i < 8 ? 0 : 9 * MIB)};
		ck_assert_int_eq(task_start(i < 8 ? stuck_write : stuck_read, &u[i]), 0);
	}
}

static void check_stuck(struct rig *r, struct volume *v)
{
	for (unsigned i = 0; i < 24; i++) {
		bool new = i < 8 || i == 20;
		ck_assert_int_eq(rig_check(v, i * MIB, 65536, new ? 2 : 1), 0);
		ck_assert_int_eq(rig_check(v, i * MIB + 65536, MIB - 65536, 1), 0);
	}
}

/* It has calls of before: it is opened and wiped by nobody; then as any other that missed
 * something. */
static void comes_back(struct rig *r, struct volume *v)
{
	char why[CORE_WHY_LEN] = "";
	struct core_pool *cp = core_pool_find(r->core, "p");
	struct disk *d = r->core->disks[1];
	ck_assert_uint_gt(disk_left(d), 0);
	ck_assert_ptr_null(core_disk_reopen(r->core, d));
	ck_assert_int_eq(disk_wipe(d), -EBUSY);
	ck_assert(core_disk_stalled(d, why, sizeof(why)));
	ck_assert_ptr_nonnull(strstr(why, "were left behind"));
	sim_disk_set_faults(r->disk[1], &(struct sim_disk_faults){.latency_max_ns = 1000});
	env_sleep_ns(sim_env(r->sim), NS_PER_S);
	ck_assert_uint_eq(disk_left(d), 0);
	ck_assert(!core_disk_stalled(d, why, sizeof(why)));
	ck_assert_int_eq(pool_state(cp->pool), POOL_DEGRADED);
	check_stuck(r, v);
	d = core_disk_reopen(r->core, d);
	ck_assert_ptr_nonnull(d);
	int rc = core_fill_onto(&(struct pool_place){cp, 1}, d, why);
	ck_assert_msg(rc == 0, "%s", why);
	wait_state(r, POOL_ONLINE);
	kill_disk(r, 0); /* what it was filled with is needed now */
	check_stuck(r, v);
}

/* A disk that hangs: it is told within seconds, given up after the time-out; from then on not only
 * new commands go on without it, but those as well that it holds and never gives back. */
static void hangs(struct rig *r, const char *level)
{
	char why[128];
	struct sim_disk_faults f = {.stuck = true};
	rig_open_ok(r);
	ck_assert_int_eq(core_watch_start(r->core), 0);
	rig_pool(r, "p", level, 0, 4);
	struct core_pool *cp = core_pool_find(r->core, "p");
	struct volume *v = rig_volume(r, "p", "v", 24 * MIB);
	write_all(v, 1);
	struct disk *d = r->core->disks[1];
	sim_disk_set_faults(r->disk[1], &f);
	struct stuck_user u[STUCK];
	begin_stuck(u, v);
	ck_assert(!core_disk_stalled(d, why, sizeof(why)));
	env_sleep_ns(sim_env(r->sim), 4 * NS_PER_S);
	ck_assert(core_disk_stalled(d, why, sizeof(why)));
	ck_assert_ptr_nonnull(strstr(why, "calls wait for it"));
	ck_assert_int_eq(pool_state(cp->pool), POOL_ONLINE);
	unsigned held = 0;
	for (unsigned i = 0; i < STUCK; i++)
		held += !u[i].done;
	ck_assert_uint_gt(held, 0);
	env_sleep_ns(sim_env(r->sim), 12 * NS_PER_S); /* 16: a second more than the time-out */
	ck_assert_int_eq(pool_state(cp->pool), POOL_DEGRADED);
	ck_assert_int_eq(disk_state(d), DISK_FAILED);
	for (unsigned i = 0; i < STUCK; i++) {
		ck_assert(u[i].done);
		ck_assert_int_eq(u[i].rc, 0);
	}
	struct stuck_user more = {.v = v, .off = 20 * MIB};
	stuck_write(&more); /* in this task: it must not hang */
	ck_assert_int_eq(more.rc, 0);
	check_stuck(r, v);
	comes_back(r, v);
	core_volume_put(v);
	rig_close(r);
}

RIG_TEST(a_disk_hangs_raid10)
{
	hangs(arg, "raid10");
}

RIG_TEST(a_disk_hangs_raid5)
{
	hangs(arg, "raid5");
}

RIG_TEST(a_disk_hangs_raid6)
{
	hangs(arg, "raid6");
}

static uint64_t disk_reads(struct rig *r)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < r->ndisks; i++) {
		struct disk_stats st;
		disk_stats(r->core->disks[i], &st);
		n += st.reads;
	}
	return n;
}

static void wait_clean(struct rig *r)
{
	struct cache_stats st;
	for (unsigned i = 0; i < 600; i++) {
		cache_stats(r->core->cache, &st);
		if (st.dirty == 0)
			return;
		env_sleep_ns(sim_env(r->sim), 100 * NS_PER_MS);
	}
	ck_abort_msg("%u pages stay dirty", st.dirty);
}

/* What is written in order goes to disk in whole rows, however it comes by sweeps, high water and
 * pauses: nothing is read, but by the look at the volume's last row. */
static void in_order(struct rig *r, const char *level, unsigned n, uint32_t step)
{
	char why[CORE_WHY_LEN] = "";
	rig_open_ok(r);
	ck_assert_int_eq(core_pool_create(r->core, "p", level, 65536, false, r->paths, n, why), 0);
	struct pool *p = core_pool_find(r->core, "p")->pool;
	uint64_t row = pool_bdev(p)->stripe;
	ck_assert_uint_eq(row, (n - pool_parity(p)) * 65536ull);
	ck_assert_uint_eq(pool_extent_size(p) % row, 0);
	/* A volume between others: its first extent is not the pool's first. */
	core_volume_put(rig_volume(r, "p", "a", 5 * MIB));
	struct volume *v = rig_volume(r, "p", "v", 100 * row);
	uint64_t before = disk_reads(r);
	for (uint64_t off = 0; off < 100 * row; off += step) {
		ck_assert_int_eq(rig_write(v, off, (uint32_t)MIN(step, 100 * row - off), 1, false),
				 0);
		if (sim_random_below(r->sim, 8) == 0)
			env_sleep_ns(sim_env(r->sim), sim_random_below(r->sim, 8)
							  ? 20 * NS_PER_MS
							  : 900 * NS_PER_MS);
	}
	wait_clean(r);
	ck_assert_uint_eq(disk_reads(r), before);
	/* A part of a row is written all the same, if nothing comes. */
	ck_assert_int_eq(rig_write(v, row + 4096, 8192, 2, false), 0);
	wait_clean(r);
	ck_assert_uint_gt(disk_reads(r), before);
	for (uint64_t off = 2 * row; off < 100 * row; off += row)
		ck_assert_int_eq(rig_check(v, off, (uint32_t)row, 1), 0);
	ck_assert_int_eq(rig_check(v, row + 4096, 8192, 2), 0);
	core_volume_put(v);
	rig_close(r);
}

RIG_TEST(in_order_raid5)
{
	in_order(arg, "raid5", 4, 65536);
}

RIG_TEST(in_order_raid5_small)
{
	in_order(arg, "raid5", 6, 4096);
}

RIG_TEST(in_order_raid6)
{
	in_order(arg, "raid6", 6, 131072);
}

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("core_fill");
	TCase *tc = tcase_create("core_fill");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, spares_raid10);
	tcase_add_test(tc, spares_raid5);
	tcase_add_test(tc, spares_raid6);
	tcase_add_test(tc, two_lost_at_once);
	tcase_add_test(tc, lost_while_one_is_recorded);
	tcase_add_test(tc, replaced_beside_a_spare);
	tcase_add_test(tc, one_disk_one_place);
	tcase_add_test(tc, two_pools_of_the_same_disks);
	tcase_add_test(tc, restarts_raid10);
	tcase_add_test(tc, restarts_raid5);
	tcase_add_test(tc, in_order_raid5);
	tcase_add_test(tc, in_order_raid5_small);
	tcase_add_test(tc, in_order_raid6);
	tcase_add_test(tc, a_failed_rebuild_is_tried_again);
	tcase_add_test(tc, a_disk_hangs_raid10);
	tcase_add_test(tc, a_disk_hangs_raid5);
	tcase_add_test(tc, a_disk_hangs_raid6);
	tcase_add_test(tc, a_disk_that_is_out_dies);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
