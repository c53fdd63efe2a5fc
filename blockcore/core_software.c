/* The software volume: found, made, read and written through the cache (core_software.h). */
#include "blockcore/core_software.h"
#include "blockcore/volume/volume.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/iov_cursor.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOLUME_NAME  "software"
#define VOLUME_SIZE  (128 * 1024 * 1024ull) /* a dozen programs with their symbols */
#define VOLUME_LEAST SOFTWARE_VOLUME_MIN
#define POOL_PART    4 /* of what a small pool has free */

/* ---- as a device ---- */

/* One request at a time: whoever opened it waits for each. */
struct software_bdev {
	struct bdev b;
	struct volume *v;
	struct cache_read r;
	struct cache_write w;
};

static struct software_bdev *of(struct bdev *b)
{
	return container_of(b, struct software_bdev, b);
}

static int sw_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct software_bdev *s = of(b);
	struct iov_cursor to = {iov, iovcnt, 0};
	size_t left = iov_bytes(iov, iovcnt);
	while (left > 0) {
		uint32_t n = (uint32_t)MIN(left, CACHE_IO_MAX);
		int rc = volume_read(s->v, off, n, &s->r);
		if (rc)
			return rc;
		for (int i = 0; i < s->r.n; i++)
			iov_scatter(&to, s->r.iov[i].iov_base, s->r.iov[i].iov_len);
		volume_read_done(s->v, &s->r);
		off += n;
		left -= n;
	}
	return 0;
}

static int sw_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off,
		     unsigned flags)
{
	struct software_bdev *s = of(b);
	struct iov_cursor from = {iov, iovcnt, 0};
	size_t left = iov_bytes(iov, iovcnt);
	while (left > 0) {
		uint32_t n = (uint32_t)MIN(left, CACHE_IO_MAX);
		int rc = volume_write_begin(s->v, off, n, &s->w);
		if (rc)
			return rc;
		for (int i = 0; i < s->w.n; i++)
			iov_gather(&from, s->w.iov[i].iov_base, s->w.iov[i].iov_len);
		rc = volume_write_commit(s->v, &s->w, flags & BDEV_FUA);
		if (rc)
			return rc;
		off += n;
		left -= n;
	}
	return 0;
}

static int sw_flush(struct bdev *b)
{
	return volume_flush(of(b)->v, 0, b->size);
}

static void sw_close(struct bdev *b)
{
	core_volume_put(of(b)->v);
	free(of(b));
}

static const struct bdev_ops ops = {
    .readv = sw_readv, .writev = sw_writev, .flush = sw_flush, .close = sw_close};

static int open_volume(struct core *c, uint32_t id, struct bdev **ret)
{
	struct software_bdev *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->v = core_volume_get(c, id);
	if (!s->v) {
		free(s);
		return -ENOENT;
	}
	if (core_volume_place(s->v) != CORE_HERE) {
		core_volume_put(s->v);
		free(s);
		return -ERR_NOT_OWNER;
	}
	s->b = (struct bdev){
	    .ops = &ops, .size = volume_size(s->v), .block_size = 4096, .mem_align = 1};
	snprintf(s->b.name, sizeof(s->b.name), "%s", VOLUME_NAME);
	*ret = &s->b;
	return 0;
}

/* ---- finding and making ---- */

const Isthmus__Volume *core_software_find(const Isthmus__ArrayMeta *am)
{
	for (size_t i = 0; i < am->n_volumes; i++)
		if (strcmp(am->volumes[i]->purpose, "software") == 0)
			return am->volumes[i];
	return NULL;
}

static bool loses_a_disk(const Isthmus__Pool *mp)
{
	return strcmp(mp->level, "single") != 0 && strcmp(mp->level, "raid0") != 0;
}

const Isthmus__Pool *core_software_pool(struct core *c)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	const Isthmus__Pool *best = NULL;
	uint64_t most = 0;
	for (size_t i = 0; i < am->n_pools; i++) {
		const Isthmus__Pool *mp = am->pools[i];
		uint64_t room = core_pool_free_bytes(c, mp->name);
		bool better =
		    best && loses_a_disk(mp) != loses_a_disk(best) ? loses_a_disk(mp) : room > most;
		if (room < VOLUME_LEAST || !better)
			continue;
		best = mp;
		most = room;
	}
	return best;
}

int core_software_make(struct core *c, const char *pool, struct core_progress *p, char *why)
{
	uint64_t room = core_pool_free_bytes(c, pool), align = SOFTWARE_VOLUME_MIN;
	uint32_t id;
	struct volume_want w = {.name = VOLUME_NAME,
				.pool = pool,
				.purpose = "software",
				.size =
				    MIN(VOLUME_SIZE, MAX(align, room / POOL_PART / align * align)),
				.progress = core_admin_progress,
				.arg = p};
	return core_volume_make(c, &w, &id, why);
}

/* It can be dropped as a plain one. */
static int change_purpose(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	for (size_t i = 0; i < am->n_volumes; i++)
		if (strcmp(am->volumes[i]->purpose, "software") == 0)
			return pb_set_text(&am->volumes[i]->purpose, "lun");
	return -ENOENT;
}

int core_software_drop(struct core *c, char *why)
{
	char name[64];
	const Isthmus__Volume *mv = core_software_find(meta_get(c->meta));
	const struct core_pool *cp = mv ? core_pool_find(c, mv->pool) : NULL;
	if (!cp || cp->place != CORE_HERE)
		return mv ? -ERR_NOT_OWNER : -ENOENT;
	snprintf(name, sizeof(name), "%s", mv->name);
	int rc = meta_update(c->meta, change_purpose, NULL, why);
	return rc ? rc : core_volume_drop(c, name, why);
}

int core_software_open(struct core *c, struct bdev **ret, struct software_table *t, char *why)
{
	const Isthmus__Volume *mv = core_software_find(meta_get(c->meta));
	if (!mv) {
		snprintf(why, CORE_WHY_LEN,
			 "nothing is installed; see isthmus help software install");
		return -ENOENT;
	}
	char name[64];
	snprintf(name, sizeof(name), "%s", mv->name);
	int rc = open_volume(c, mv->id, ret);
	if (rc == 0) {
		rc = software_load(*ret, t);
		if (rc == -ENODATA)
			rc = software_format(*ret, t);
		if (rc)
			bdev_close(*ret);
	}
	if (rc)
		snprintf(why, CORE_WHY_LEN,
			 "the table of software volume '%.63s' cannot be used: %s%s", name,
			 err_text(rc),
			 rc == -ERR_CORRUPT
			     ? "; isthmus software remove --volume --force, and install them again"
			     : "");
	return rc;
}
