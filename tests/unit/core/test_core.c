/* The core: opening by labels, volumes, closing, losing disks, removal while in use. */
#include "tests/unit/core/core_rig.h"

#define MIB (1024 * 1024ull)

RIG_TEST(empty_array)
{
	struct rig *r = arg;
	rig_open_ok(r);
	ck_assert_uint_eq(meta_get(core_meta(r->core))->n_pools, 0);
	ck_assert_ptr_null(core_volume_get(r->core, 1));
	ck_assert_ptr_null(core_volume_get_by_name(r->core, "v"));
	rig_close(r);
}

RIG_TEST(written_is_read_after_reopen)
{
	struct rig *r = arg;
	static const char *const levels[] = {"single", "raid0", "raid1",
					     "raid10", "raid5", "raid6"};
	static const unsigned ndisks[] = {1, 3, 2, 4, 4, 4};
	for (unsigned i = 0; i < ARRAY_LEN(levels); i++) {
		char name[16];
		rig_open_ok(r);
		snprintf(name, sizeof(name), "p%u", i);
		rig_pool(r, name, levels[i], 0, ndisks[i]);
		struct volume *v = rig_volume(r, name, "v", 20 * MIB);
		for (uint64_t off = 0; off < 20 * MIB; off += MIB)
			ck_assert_int_eq(rig_write(v, off, MIB, i + 1, false), 0);
		core_volume_put(v);
		rig_close(r);
		memset(r->segment, 0, RIG_SEGMENT);
		/* Other order of paths: the labels tell what is where. */
		const char *t = r->paths[0];
		r->paths[0] = r->paths[3];
		r->paths[3] = t;
		rig_open_ok(r);
		v = core_volume_get_by_name(r->core, "v");
		ck_assert_ptr_nonnull(v);
		ck_assert(!pool_resync_needed(core_pool_find(r->core, name)->pool));
		for (uint64_t off = 0; off < 20 * MIB; off += MIB)
			ck_assert_int_eq(rig_check(v, off, MIB, i + 1), 0);
		core_volume_put(v);
		ck_assert_int_eq(core_volume_remove(r->core, "v"), 0);
		char why[CORE_WHY_LEN];
		ck_assert_int_eq(core_pool_remove(r->core, name, why), 0);
		rig_close(r);
		t = r->paths[0];
		r->paths[0] = r->paths[3];
		r->paths[3] = t;
	}
}

/* Extents of a removed volume are somebody else's next: they must not show what they held. */
RIG_TEST(new_volume_reads_zeros)
{
	struct rig *r = arg;
	rig_open_ok(r);
	rig_pool(r, "p", "raid10", 0, 4);
	struct volume *v = rig_volume(r, "p", "old", 16 * MIB);
	for (uint64_t off = 0; off < 16 * MIB; off += MIB)
		ck_assert_int_eq(rig_write(v, off, MIB, 5, false), 0);
	ck_assert_int_eq(volume_flush(v, 0, 16 * MIB), 0);
	core_volume_put(v);
	ck_assert_int_eq(core_volume_remove(r->core, "old"), 0);
	v = rig_volume(r, "p", "new", 16 * MIB);
	for (uint64_t off = 0; off < 16 * MIB; off += MIB)
		ck_assert_int_eq(rig_check(v, off, MIB, UINT64_MAX), 0);
	core_volume_put(v);
	rig_close(r);
}

RIG_TEST(refusals)
{
	struct rig *r = arg;
	char why[CORE_WHY_LEN] = "";
	uint32_t id;
	rig_open_ok(r);
	rig_pool(r, "p", "raid1", 0, 2);
	ck_assert_int_eq(core_volume_create(r->core, "q", "v", MIB, &id), -ENOENT);
	ck_assert_int_eq(core_volume_create(r->core, "p", "v", 100, &id), -EINVAL);
	ck_assert_int_eq(core_volume_create(r->core, "p", "-v", MIB, &id), -EINVAL);
	ck_assert_int_eq(core_volume_create(r->core, "p", "v", 1ull << 40, &id), -ENOSPC);
	ck_assert_int_eq(core_volume_create(r->core, "p", "v", UINT64_MAX - 4095, &id), -ENOSPC);
	struct volume *v = rig_volume(r, "p", "v", MIB);
	ck_assert_int_eq(core_volume_create(r->core, "p", "v", MIB, &id), -EEXIST);
	ck_assert_int_eq(core_volume_resize(r->core, "v", 4096), -EINVAL);
	ck_assert_int_eq(core_volume_resize(r->core, "w", MIB), -ENOENT);
	ck_assert_int_eq(core_volume_remove(r->core, "w"), -ENOENT);
	ck_assert_int_eq(core_pool_remove(r->core, "p", why), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why, "'v'"));
	ck_assert_int_eq(
	    core_pool_create(r->core, "p", "raid0", 65536, false, r->paths + 2, 2, why), -EEXIST);
	ck_assert_int_eq(
	    core_pool_create(r->core, "q", "raid0", 65536, false, r->paths + 1, 2, why), -EBUSY);
	ck_assert_int_eq(
	    core_pool_create(r->core, "q", "raid4", 65536, false, r->paths + 2, 3, why), -EINVAL);
	ck_assert_int_eq(
	    core_pool_create(r->core, "q", "raid10", 65536, false, r->paths + 2, 3, why), -EINVAL);
	ck_assert_int_eq(rig_write(v, MIB, 512, 1, false), -EINVAL);
	ck_assert_int_eq(rig_write(v, 100, 512, 1, false), -EINVAL);
	core_volume_put(v);
	rig_close(r);
}

RIG_TEST(grows_while_in_use)
{
	struct rig *r = arg;
	rig_open_ok(r);
	rig_pool(r, "p", "raid10", 0, 4);
	struct volume *v = rig_volume(r, "p", "v", 6 * MIB);
	struct volume *w = rig_volume(r, "p", "w", 6 * MIB); /* in the way: a second run */
	ck_assert_int_eq(rig_write(v, 5 * MIB, MIB, 1, false), 0);
	ck_assert_int_eq(rig_write(v, 6 * MIB, MIB, 1, false), -EINVAL);
	uint64_t epoch = volume_epoch(v);
	ck_assert_int_eq(core_volume_resize(r->core, "v", 30 * MIB), 0);
	ck_assert_uint_eq(volume_size(v), 30 * MIB);
	ck_assert_uint_gt(volume_epoch(v), epoch);
	for (uint64_t off = 6 * MIB; off < 30 * MIB; off += MIB) {
		ck_assert_int_eq(rig_check(v, off, MIB, UINT64_MAX), 0);
		ck_assert_int_eq(rig_write(v, off, MIB, 1, false), 0);
	}
	ck_assert_int_eq(rig_write(w, 0, MIB, 2, false), 0);
	core_volume_put(v);
	core_volume_put(w);
	rig_close(r);
	rig_open_ok(r);
	v = core_volume_get_by_name(r->core, "v");
	for (uint64_t off = 5 * MIB; off < 30 * MIB; off += MIB)
		ck_assert_int_eq(rig_check(v, off, MIB, 1), 0);
	core_volume_put(v);
	rig_close(r);
}

struct pinned {
	struct rig *r;
	struct volume *v;
	struct cache_read *read;
	bool removed, let_go;
};

static void let_go_task(void *arg)
{
	struct pinned *p = arg;
	env_sleep_ns(sim_env(p->r->sim), 50 * NS_PER_MS);
	ck_assert(!p->removed);
	ck_assert_int_eq(rig_write(p->v, 0, 4096, 1, false), -ERR_SHUTDOWN);
	p->let_go = true;
	volume_read_done(p->v, p->read);
}

RIG_TEST(removal_waits_for_users)
{
	struct rig *r = arg;
	struct pinned p = {.r = r, .read = malloc(sizeof(struct cache_read))};
	rig_open_ok(r);
	rig_pool(r, "p", "raid1", 0, 2);
	p.v = rig_volume(r, "p", "v", 8 * MIB);
	ck_assert_int_eq(rig_write(p.v, 0, 8192, 1, false), 0);
	ck_assert_int_eq(volume_read(p.v, 0, 8192, p.read), 0);
	ck_assert_int_eq(task_start(let_go_task, &p), 0);
	ck_assert_int_eq(core_volume_remove(r->core, "v"), 0);
	p.removed = true;
	ck_assert(p.let_go);
	/* A reference may outlive the volume. */
	ck_assert_int_eq(rig_check(p.v, 0, 4096, 1), -ERR_SHUTDOWN);
	ck_assert_ptr_null(core_volume_get_by_name(r->core, "v"));
	core_volume_put(p.v);
	free(p.read);
	rig_close(r);
}

/* A disk dies under writes: nothing is lost, the metadata knows, the old disk is not believed. */
RIG_TEST(disk_fails_under_writes)
{
	struct rig *r = arg;
	rig_open_ok(r);
	rig_pool(r, "p", "raid10", 0, 4);
	struct volume *v = rig_volume(r, "p", "v", 16 * MIB);
	for (uint64_t i = 0; i < 16; i++) {
		if (i == 6)
			sim_disk_set_faults(r->disk[2], &(struct sim_disk_faults){.dead = true});
		ck_assert_int_eq(rig_write(v, i * MIB, MIB, 9, i % 3 == 0), 0);
	}
	ck_assert_int_eq(volume_flush(v, 0, 16 * MIB), 0);
	struct core_pool *cp = core_pool_find(r->core, "p");
	ck_assert_int_eq(pool_state(cp->pool), POOL_DEGRADED);
	ck_assert(meta_get(core_meta(r->core))->pools[0]->disks[2]->failed);
	core_volume_put(v);
	core_abandon(r->core); /* power loss with everything flushed */
	memset(r->segment, 0, RIG_SEGMENT);
	sim_disk_set_faults(r->disk[2], &(struct sim_disk_faults){0});
	rig_open_ok(r); /* the disk is back, with old data */
	cp = core_pool_find(r->core, "p");
	ck_assert_int_eq(pool_state(cp->pool), POOL_DEGRADED);
	v = core_volume_get_by_name(r->core, "v");
	for (uint64_t i = 0; i < 16; i++)
		ck_assert_int_eq(rig_check(v, i * MIB, MIB, 9), 0);
	core_volume_put(v);
	rig_close(r);
}

RIG_TEST(missing_disks)
{
	struct rig *r = arg;
	rig_open_ok(r);
	rig_pool(r, "p", "raid10", 0, 4);
	rig_pool(r, "s", "raid0", 4, 2);
	struct volume *v = rig_volume(r, "p", "v", 8 * MIB), *s = rig_volume(r, "s", "s", 8 * MIB);
	ck_assert_int_eq(rig_write(v, 0, MIB, 3, false), 0);
	ck_assert_int_eq(rig_write(s, 0, MIB, 4, false), 0);
	core_volume_put(v);
	core_volume_put(s);
	rig_close(r);
	r->paths[1] = "gone1";
	r->paths[5] = "gone5";
	rig_open_ok(r);
	ck_assert_int_eq(pool_state(core_pool_find(r->core, "p")->pool), POOL_DEGRADED);
	ck_assert_int_eq(pool_state(core_pool_find(r->core, "s")->pool), POOL_OFFLINE);
	v = core_volume_get_by_name(r->core, "v");
	s = core_volume_get_by_name(r->core, "s");
	ck_assert_int_eq(rig_check(v, 0, MIB, 3), 0);
	ck_assert_int_eq(rig_check(s, 0, MIB, 4), -EIO);
	ck_assert_int_eq(rig_write(v, MIB, MIB, 3, true), 0);
	core_volume_put(v);
	core_volume_put(s);
	rig_close(r);
	r->paths[1] = "d1";
	r->paths[5] = "d5";
	rig_open_ok(r);
	ck_assert_int_eq(pool_state(core_pool_find(r->core, "p")->pool), POOL_DEGRADED);
	ck_assert_int_eq(pool_state(core_pool_find(r->core, "s")->pool), POOL_ONLINE);
	s = core_volume_get_by_name(r->core, "s");
	ck_assert_int_eq(rig_check(s, 0, MIB, 4), 0);
	core_volume_put(s);
	rig_close(r);
}

/* Of a foreign array nothing is written, not even a repaired label. */
RIG_TEST(foreign_disk)
{
	struct rig *r = arg;
	r->ndisks = 3;
	memcpy(r->paths, (const char *[]){"d3", "d4", "d5"}, sizeof(char *) * 3);
	rig_open_ok(r);
	rig_pool(r, "other", "single", 0, 1);
	rig_close(r);
	memset(r->segment, 0, RIG_SEGMENT);
	memcpy(r->paths, (const char *[]){"d0", "d1", "d2"}, sizeof(char *) * 3);
	rig_open_ok(r);
	rig_pool(r, "p", "raid1", 0, 2);
	rig_close(r);
	uint8_t *b = sim_disk_bytes(r->disk[3]);
	b[20] ^= 1; /* its first label copy is damaged as well */
	sim_disk_bytes_changed(r->disk[3], 0, 4096);
	uint8_t *before = malloc(RIG_DISK_SIZE);
	memcpy(before, b, RIG_DISK_SIZE);
	r->paths[2] = "d3";
	rig_open_ok(r);
	char why[CORE_WHY_LEN] = "";
	ck_assert_int_eq(disk_state(core_disk_find(r->core, "d3")), DISK_FOREIGN);
	ck_assert_int_eq(
	    core_pool_create(r->core, "q", "single", 65536, false, r->paths + 2, 1, why),
	    -ERR_FOREIGN);
	rig_close(r);
	ck_assert_mem_eq(before, sim_disk_bytes(r->disk[3]), RIG_DISK_SIZE);
	free(before);
}

/* Power is lost under writes; the copies may differ; afterwards they are equal again. */
RIG_TEST(resync_after_power_loss)
{
	struct rig *r = arg;
	rig_open_ok(r);
	rig_pool(r, "p", "raid1", 0, 3);
	struct volume *v = rig_volume(r, "p", "v", 8 * MIB);
	for (uint64_t i = 0; i < 8; i++)
		ck_assert_int_eq(rig_write(v, i * MIB, MIB, 1, true), 0);
	core_volume_put(v);
	core_abandon(r->core);
	memset(r->segment, 0, RIG_SEGMENT);
	uint64_t at = DISK_DATA_OFF + 3 * MIB; /* of the volume's first extent run */
	for (unsigned d = 1; d < 3; d++) {
		memset(sim_disk_bytes(r->disk[d]) + at, (int)d, 4096);
		sim_disk_bytes_changed(r->disk[d], at, 4096);
	}
	rig_open_ok(r);
	struct core_pool *cp = core_pool_find(r->core, "p");
	ck_assert(pool_resync_needed(cp->pool));
	v = core_volume_get_by_name(r->core, "v");
	ck_assert_int_eq(rig_check(v, 3 * MIB, MIB, 1), 0);
	for (unsigned i = 0; i < 10000 && cp->resyncing; i++)
		env_sleep_ns(sim_env(r->sim), NS_PER_MS);
	ck_assert(!pool_resync_needed(cp->pool));
	ck_assert(!meta_get(core_meta(r->core))->pools[0]->resync);
	for (unsigned d = 1; d < 3; d++)
		ck_assert_mem_eq(sim_disk_bytes(r->disk[0]) + DISK_DATA_OFF,
				 sim_disk_bytes(r->disk[d]) + DISK_DATA_OFF, 8 * MIB);
	core_volume_put(v);
	rig_close(r);
}

/* The cache segment survives a killed controller: its dirty pages are written, no resync. */
RIG_TEST(killed_and_restarted)
{
	struct rig *r = arg;
	r->battery = true;
	rig_open_ok(r);
	rig_pool(r, "p", "raid10", 0, 4);
	struct volume *v = rig_volume(r, "p", "v", 8 * MIB);
	ck_assert_int_eq(rig_write(v, 0, MIB, 6, true), 0);
	ck_assert_int_eq(rig_write(v, 4 * MIB, MIB, 7, false), 0);
	core_volume_put(v);
	core_abandon(r->core);
	rig_open_ok(r);
	ck_assert(!pool_resync_needed(core_pool_find(r->core, "p")->pool));
	v = core_volume_get_by_name(r->core, "v");
	ck_assert_int_eq(rig_check(v, 0, MIB, 6), 0);
	ck_assert_int_eq(rig_check(v, 4 * MIB, MIB, 7), 0);
	core_volume_put(v);
	rig_close(r);
	memset(r->segment, 0, RIG_SEGMENT);
	rig_open_ok(r);
	v = core_volume_get_by_name(r->core, "v");
	ck_assert_int_eq(rig_check(v, 0, MIB, 6), 0);
	ck_assert_int_eq(rig_check(v, 4 * MIB, MIB, 7), 0);
	core_volume_put(v);
	rig_close(r);
}

static void flip(struct rig *r, unsigned disk, uint64_t off)
{
	sim_disk_bytes(r->disk[disk])[off] ^= 0x10;
	sim_disk_bytes_changed(r->disk[disk], off, 1);
}

/* Labels and slots that rot while they are in use are mended before anybody needs them. */
RIG_TEST(damage_in_use_is_mended)
{
	struct rig *r = arg;
	const uint64_t end = RIG_DISK_SIZE - 4096;
	const uint64_t slot[2] = {1024 * 1024, 8 * 1024 * 1024};
	static uint8_t label[2][4096];
	rig_open_ok(r);
	rig_pool(r, "p", "raid1", 0, 2);
	struct volume *v = rig_volume(r, "p", "v", 8 * MIB);
	ck_assert_int_eq(core_watch_start(r->core), 0);
	memcpy(label[0], sim_disk_bytes(r->disk[0]), 4096);
	memcpy(label[1], sim_disk_bytes(r->disk[1]) + end, 4096);
	flip(r, 0, 50);
	flip(r, 1, end + 33);
	flip(r, 0, slot[0] + 20);
	flip(r, 0, slot[1] + 4096);
	flip(r, 1, slot[1] + 200);
	env_sleep_ns(sim_env(r->sim), 15 * NS_PER_S);
	ck_assert(memcmp(label[0], sim_disk_bytes(r->disk[0]), 4096) == 0);
	ck_assert(memcmp(label[1], sim_disk_bytes(r->disk[1]) + end, 4096) == 0);
	ck_assert_int_eq(pool_state(core_pool_find(r->core, "p")->pool), POOL_ONLINE);
	/* Each slot of each disk holds again: any one of them is enough. */
	for (unsigned keep = 0; keep < 4; keep++) {
		ck_assert_int_eq(rig_write(v, keep * MIB, 4096, keep, true), 0);
		for (unsigned i = 0; i < 4; i++)
			if (i != keep)
				flip(r, i / 2, slot[i % 2] + 20);
		core_volume_put(v);
		core_abandon(r->core);
		memset(r->segment, 0, RIG_SEGMENT);
		rig_open_ok(r);
		ck_assert_int_eq(core_watch_start(r->core), 0);
		v = core_volume_get_by_name(r->core, "v");
		ck_assert_ptr_nonnull(v);
		ck_assert_int_eq(rig_check(v, keep * MIB, 4096, keep), 0);
	}
	core_volume_put(v);
	rig_close(r);
}

/* A disk whose end is gone goes out of use; where it holds the only copy it stays, and is told. */
RIG_TEST(lost_ends_are_noticed)
{
	struct rig *r = arg;
	char why[160];
	rig_open_ok(r);
	rig_pool(r, "p", "raid1", 0, 2);
	struct volume *v = rig_volume(r, "p", "v", 8 * MIB);
	ck_assert_int_eq(core_watch_start(r->core), 0);
	struct disk *d[2] = {core_disk_find(r->core, "d0"), core_disk_find(r->core, "d1")};
	ck_assert_int_eq(rig_write(v, 0, MIB, 1, true), 0);
	for (unsigned i = 0; i < 2; i++) {
		memset(sim_disk_bytes(r->disk[i]) + RIG_DISK_SIZE - 4096, 0, 4096);
		sim_disk_bytes_changed(r->disk[i], RIG_DISK_SIZE - 4096, 4096);
		env_sleep_ns(sim_env(r->sim), 3 * NS_PER_S);
		disk_reason(d[i], why);
		ck_assert_ptr_nonnull(strstr(why, "its end was lost"));
		ck_assert_int_eq(disk_state(d[i]), i ? DISK_ONLINE : DISK_FAILED);
		ck_assert_int_eq(pool_state(core_pool_find(r->core, "p")->pool), POOL_DEGRADED);
		ck_assert_int_eq(rig_check(v, 0, MIB, 1), 0);
		ck_assert_int_eq(rig_write(v, MIB, MIB, 2, true), 0);
	}
	core_volume_put(v);
	rig_close(r);
}

/* Errors of a disk that the pool cannot do without are told, and forgotten when they stop. */
RIG_TEST(errors_in_use_are_told)
{
	struct rig *r = arg;
	char why[160];
	rig_open_ok(r);
	rig_pool(r, "p", "single", 0, 1);
	struct volume *v = rig_volume(r, "p", "v", 8 * MIB);
	struct disk *d = core_disk_find(r->core, "d0");
	ck_assert_int_eq(core_watch_start(r->core), 0);
	sim_disk_bad_range(r->disk[0], DISK_DATA_OFF, 8 * MIB);
	env_sleep_ns(sim_env(r->sim), 3 * NS_PER_S);
	disk_reason(d, why);
	ck_assert_str_eq(why, "");
	ck_assert_int_ne(rig_check(v, 0, 4096, UINT64_MAX), 0);
	env_sleep_ns(sim_env(r->sim), 3 * NS_PER_S);
	disk_reason(d, why);
	ck_assert_msg(strstr(why, "read and 0 write errors") != NULL, "%s", why);
	ck_assert_int_eq(disk_state(d), DISK_ONLINE);
	ck_assert_int_eq(rig_write(v, 0, MIB, 3, true), 0);
	ck_assert_int_eq(rig_check(v, 0, MIB, 3), 0);
	env_sleep_ns(sim_env(r->sim), 700 * NS_PER_S);
	disk_reason(d, why);
	ck_assert_str_eq(why, "");
	core_volume_put(v);
	rig_close(r);
}

static void no_move(void *arg, struct volume *v)
{
	ck_abort_msg("nothing moves without a partner");
}

/* Without a partner everything is here, and a disk of a pool is nobody else's. */
RIG_TEST(alone)
{
	struct rig *r = arg;
	struct core_own_watch *w;
	char why[CORE_WHY_LEN];
	rig_open_ok(r);
	rig_pool(r, "p", "raid1", 0, 2);
	struct volume *v = rig_volume(r, "p", "v", 1 << 20);
	ck_assert_int_eq(core_own_watch(r->core, no_move, NULL, &w), 0);
	ck_assert_int_eq(core_volume_place(v), CORE_HERE);
	ck_assert_int_eq(core_volume_settle(v, 0), 0);
	ck_assert_ptr_null(core_link(r->core));
	ck_assert_int_eq(core_pool_give(r->core, "p", why), -EINVAL);
	ck_assert_int_eq(rig_write(v, 0, 4096, 1, true), 0);
	/* Another that opens the same disks waits, and then goes without the pool. */
	struct rig other = *r;
	ck_assert_int_eq(posix_memalign(&other.segment, 4096, RIG_SEGMENT), 0);
	memset(other.segment, 0, RIG_SEGMENT);
	uint64_t begun = env_now_ns(sim_env(r->sim));
	struct core *mine = r->core;
	ck_assert_int_eq(rig_open(&other), 0);
	ck_assert_uint_ge(env_now_ns(sim_env(r->sim)) - begun, 5 * NS_PER_S);
	const struct core_pool *cp = core_pool_find(other.core, "p");
	ck_assert_ptr_null(cp->pool);
	ck_assert_ptr_nonnull(strstr(cp->why, "in use by another process"));
	struct volume *o = core_volume_get_by_name(other.core, "v");
	ck_assert_int_eq(rig_write(o, 0, 4096, 2, true), -EIO);
	core_volume_put(o);
	core_abandon(other.core);
	free(other.segment);
	ck_assert_int_eq(rig_check(v, 0, 4096, 1), 0);
	core_volume_put(v);
	core_own_unwatch(mine, w);
	rig_close(r);
	/* given up with it */
	rig_open_ok(r);
	ck_assert_ptr_nonnull(core_pool_find(r->core, "p")->pool);
	rig_close(r);
}

struct resizer {
	struct rig *r;
	int rc;
	bool done;
};

static void resize_task(void *arg)
{
	struct resizer *z = arg;
	z->rc = core_volume_resize(z->r->core, "v", 24 * MIB);
	z->done = true;
}

/* Two at once reserve nothing twice: one does it, the other is told. */
RIG_TEST(two_resizes_at_once)
{
	struct rig *r = arg;
	rig_open_ok(r);
	rig_pool(r, "p", "raid1", 0, 2);
	core_volume_put(rig_volume(r, "p", "v", 8 * MIB));
	uint64_t free_bytes = core_pool_free_bytes(r->core, "p");
	struct resizer z[2] = {{.r = r}, {.r = r}};
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(task_start(resize_task, &z[i]), 0);
	while (!z[0].done || !z[1].done)
		env_sleep_ns(sim_env(r->sim), NS_PER_MS);
	ck_assert_int_eq(MIN(z[0].rc, z[1].rc), -EBUSY);
	ck_assert_int_eq(MAX(z[0].rc, z[1].rc), 0);
	ck_assert_uint_eq(core_pool_free_bytes(r->core, "p"), free_bytes - 16 * MIB);
	ck_assert_int_eq(core_volume_resize(r->core, "v", 24 * MIB), 0);
	ck_assert_uint_eq(core_pool_free_bytes(r->core, "p"), free_bytes - 16 * MIB);
	rig_close(r);
}

int main(void)
{
	Suite *s = suite_create("core");
	TCase *tc = tcase_create("core");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, alone);
	tcase_add_test(tc, empty_array);
	tcase_add_test(tc, written_is_read_after_reopen);
	tcase_add_test(tc, new_volume_reads_zeros);
	tcase_add_test(tc, refusals);
	tcase_add_test(tc, grows_while_in_use);
	tcase_add_test(tc, removal_waits_for_users);
	tcase_add_test(tc, disk_fails_under_writes);
	tcase_add_test(tc, missing_disks);
	tcase_add_test(tc, foreign_disk);
	tcase_add_test(tc, resync_after_power_loss);
	tcase_add_test(tc, killed_and_restarted);
	tcase_add_test(tc, damage_in_use_is_mended);
	tcase_add_test(tc, lost_ends_are_noticed);
	tcase_add_test(tc, errors_in_use_are_told);
	tcase_add_test(tc, two_resizes_at_once);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
