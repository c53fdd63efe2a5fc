/* A core on simulated disks, for its tests. */
#ifndef ISTHMUS_TESTS_CORE_RIG_H
#define ISTHMUS_TESTS_CORE_RIG_H

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/core_impl.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "tests/sim/sim_env.h"

#define RIG_DISKS     6
#define RIG_DISK_SIZE (96 * 1024 * 1024ull)
#define RIG_SEGMENT   (8 * 1024 * 1024)

struct rig {
	struct sim *sim;
	struct sim_disk *disk[RIG_DISKS];
	const char *paths[RIG_DISKS];
	unsigned ndisks; /* that the next core gets */
	void *segment;
	bool battery;
	struct core *core;
	int rc;
};

static inline void rig_init(struct rig *r, uint64_t seed)
{
	static const char *const names[RIG_DISKS] = {"d0", "d1", "d2", "d3", "d4", "d5"};
	memset(r, 0, sizeof(*r));
	r->sim = sim_new(seed);
	for (unsigned i = 0; i < RIG_DISKS; i++) {
		r->paths[i] = names[i];
		r->disk[i] = sim_disk_new(r->sim, names[i], RIG_DISK_SIZE);
	}
	r->ndisks = RIG_DISKS;
	ck_assert_int_eq(posix_memalign(&r->segment, 4096, RIG_SEGMENT), 0);
	memset(r->segment, 0, RIG_SEGMENT);
}

static inline void rig_fini(struct rig *r)
{
	sim_run_for(r->sim, 10 * NS_PER_S);
	sim_free(r->sim);
	free(r->segment);
}

static inline int rig_open(struct rig *r)
{
	return core_open(&r->core, &(struct core_opts){.env = sim_env(r->sim),
						       .controller = "a",
						       .disks = r->paths,
						       .ndisks = r->ndisks,
						       .segment = r->segment,
						       .segment_size = RIG_SEGMENT,
						       .battery = r->battery,
						       .array_name = "test"});
}

static inline void rig_open_ok(struct rig *r)
{
	ck_assert_int_eq(rig_open(r), 0);
}

static inline void rig_close(struct rig *r)
{
	ck_assert_int_eq(core_close(r->core), 0);
	r->core = NULL;
}

static inline void rig_pool(struct rig *r, const char *name, const char *level, unsigned first,
			    unsigned n)
{
	char why[CORE_WHY_LEN] = "";
	int rc = core_pool_create(r->core, name, level, 65536, false, r->paths + first, n, why);
	ck_assert_msg(rc == 0, "%s", why);
}

static inline struct volume *rig_volume(struct rig *r, const char *pool, const char *name,
					uint64_t size)
{
	uint32_t id;
	ck_assert_int_eq(core_volume_create(r->core, pool, name, size, &id), 0);
	struct volume *v = core_volume_get(r->core, id);
	ck_assert_ptr_nonnull(v);
	return v;
}

/* The byte a pattern has at an offset of a volume. */
static inline uint8_t pattern(uint64_t seed, uint64_t off)
{
	return (uint8_t)((seed * 31 + off / 512 * 7 + off) ^ (off >> 12));
}

static inline int rig_write(struct volume *v, uint64_t off, uint32_t len, uint64_t seed, bool fua)
{
	struct cache_write *w = malloc(sizeof(*w));
	int rc = volume_write_begin(v, off, len, w);
	if (rc == 0) {
		uint64_t at = off;
		for (int i = 0; i < w->n; i++)
			for (size_t j = 0; j < w->iov[i].iov_len; j++)
				((uint8_t *)w->iov[i].iov_base)[j] = pattern(seed, at++);
		rc = volume_write_commit(v, w, fua);
	}
	free(w);
	return rc;
}

/* 0, a read error, or -ERR_MISCOMPARE. seed UINT64_MAX: zeros. */
static inline int rig_check(struct volume *v, uint64_t off, uint32_t len, uint64_t seed)
{
	struct cache_read *c = malloc(sizeof(*c));
	int rc = volume_read(v, off, len, c);
	if (rc == 0) {
		uint64_t at = off;
		for (int i = 0; i < c->n; i++)
			for (size_t j = 0; j < c->iov[i].iov_len; j++, at++) {
				uint8_t want = seed == UINT64_MAX ? 0 : pattern(seed, at);
				if (((uint8_t *)c->iov[i].iov_base)[j] != want)
					rc = -ERR_MISCOMPARE;
			}
		volume_read_done(v, c);
	}
	free(c);
	return rc;
}

/* Runs a test body as a task. */
#define RIG_TEST(name)                                                                             \
	static void name##_task(void *arg);                                                        \
	START_TEST(name)                                                                           \
	{                                                                                          \
		struct rig r;                                                                      \
		rig_init(&r, 1);                                                                   \
		ck_assert_int_eq(sim_run(r.sim, name##_task, &r), 0);                              \
		rig_fini(&r);                                                                      \
	}                                                                                          \
	END_TEST                                                                                   \
	static void name##_task(void *arg)

#endif
