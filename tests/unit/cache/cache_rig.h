/* A cache over one simulated disk, for the tests of the cache. */
#ifndef ISTHMUS_TESTS_CACHE_RIG_H
#define ISTHMUS_TESTS_CACHE_RIG_H

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/cache/cache.h"
#include "blockcore/cache/cache_layout.h"
#include "runtime/err.h"
#include "tests/sim/sim_env.h"

struct rig {
	struct sim *sim;
	struct sim_disk *disk;
	struct bdev *bdev;
	void *segment;
	size_t segment_size;
	struct cache *cache;
	struct cache_vol *vol;
	bool battery;
	uint32_t adopted;
};

static inline struct cache_opts rig_opts(struct rig *r)
{
	return (struct cache_opts){.env = sim_env(r->sim),
				   .segment = r->segment,
				   .segment_size = r->segment_size,
				   .page_size = 4096,
				   .array_uuid = "array-uuid-here",
				   .controller = "a",
				   .battery = r->battery};
}

static inline void rig_open(struct rig *r)
{
	struct cache_opts o = rig_opts(r);
	ck_assert_int_eq(cache_open(&r->cache, &o, &r->adopted), 0);
	ck_assert_int_eq(cache_vol_attach(r->cache, 1, r->bdev, &r->vol), 0);
}

/* A cache of about `pages` pages. */
static inline void rig_init(struct rig *r, uint64_t seed, unsigned pages, uint64_t disk_size)
{
	r->sim = sim_new(seed);
	r->disk = sim_disk_new(r->sim, "disk0", disk_size);
	r->bdev = sim_disk_open(r->disk);
	r->segment_size = (pages + 2) * (4096 + 72) + 512 * 8;
	ck_assert_int_eq(posix_memalign(&r->segment, 4096, r->segment_size), 0);
	memset(r->segment, 0, r->segment_size);
}

struct rig_call {
	void (*fn)(struct rig *);
	struct rig *r;
};

static inline void rig_close_task(void *arg)
{
	struct rig *r = arg;
	ck_assert_int_eq(cache_close(r->cache, false), 0);
}

static inline void rig_abandon_task(void *arg)
{
	struct rig *r = arg;
	cache_close(r->cache, true);
}

static inline void rig_free(struct rig *r)
{
	bdev_close(r->bdev);
	sim_free(r->sim);
	free(r->segment);
}

static inline void rig_write(struct rig *r, uint64_t off, uint32_t len, int byte, bool fua)
{
	struct cache_write w;
	ck_assert_int_eq(cache_write_begin(r->vol, off, len, &w), 0);
	for (int i = 0; i < w.n; i++)
		memset(w.iov[i].iov_base, byte, w.iov[i].iov_len);
	ck_assert_int_eq(cache_write_commit(r->vol, &w, fua), 0);
}

/* All bytes of the range are `byte`. */
static inline bool rig_holds(struct rig *r, uint64_t off, uint32_t len, int byte)
{
	struct cache_read rd;
	bool ok = true;
	ck_assert_int_eq(cache_read(r->vol, off, len, &rd), 0);
	ck_assert_uint_eq(iov_bytes(rd.iov, rd.n), len);
	for (int i = 0; i < rd.n; i++)
		for (size_t k = 0; k < rd.iov[i].iov_len; k++)
			ok = ok && ((unsigned char *)rd.iov[i].iov_base)[k] == byte;
	cache_read_done(r->vol, &rd);
	return ok;
}

#endif
