/*
 * Discard: zeros, written as any data is, so that readers, writers, destage
 * and a kill meet nothing new. Where the backing can discard, pages that are zero as a whole are
 * put on disk by its discard instead of a write; the page's version is claimed as for a write,
 * so the two are ordered among each other by the same rule.
 */
#include "blockcore/cache/cache_priv.h"
#include <errno.h>

static int zero_pages(struct cache_vol *v, uint64_t off, uint32_t len, bool give_back)
{
	struct cache_write w;
	struct cache_run run;
	int rc = cache_write_begin(v, off, len, &w);
	if (rc)
		return rc;
	for (int i = 0; i < w.n; i++)
		memset(w.iov[i].iov_base, 0, w.iov[i].iov_len);
	if (!give_back)
		return cache_write_commit(v, &w, false);
	struct cache_commit_result r = cache_commit(v, &w, &run);
	/* Where it fails they are still claimed, and dirty: written as zeros. An error keeps them
	 * in the cache, as it does with any write. */
	if (cache_run_discard(&run))
		cache_run_write(&run);
	return r.bare && v->c->mirror.write_through ? cache_write_through(v, &w) : 0;
}

int cache_discard(struct cache_vol *v, uint64_t off, uint64_t len)
{
	CHECK(v, CACHE_VOL_MAGIC);
	struct cache *c = v->c;
	int rc = cache_vol_check_range(v, off, len);
	uint64_t end = off + len;
	uint32_t max = MIN(CACHE_RUN_PAGES, MIN(c->nown / 8, MAX(mirror_io_pages(c) / 2, 1)))
		       << c->page_shift;
	while (rc == 0 && off < end) {
		uint64_t part = MIN(end - off, max - off % max);
		bool whole = off % c->page_size == 0;
		/* The whole pages first, then what is left of the last one. */
		if (whole && part >= c->page_size && part % c->page_size)
			part -= part % c->page_size;
		else if (!whole)
			part = MIN(part, c->page_size - off % c->page_size);
		bool give_back = v->backing->discard_zeroes && whole && part >= c->page_size;
		rc = zero_pages(v, off, (uint32_t)part, give_back);
		off += part;
	}
	return rc;
}
