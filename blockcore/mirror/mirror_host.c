/*
 * Mirroring between two controllers of one host: the partner's segment is mapped here, a copy is a
 * memcpy, and the partner does nothing.
 */
#include "blockcore/cache/cache_priv.h"

int mirror_host_map(const struct cache *c, void *segment, uint64_t size, struct mirror_area *ret,
		    _Atomic uint32_t **ret_closed)
{
	struct cache_super *s = segment;
	int rc = size < sizeof(*s) ? -ERR_FOREIGN : cache_super_check(s, size);
	if (rc)
		return rc;
	if (s->page_size != c->page_size ||
	    memcmp(s->array_uuid, c->super->array_uuid, sizeof(s->array_uuid)) != 0 ||
	    memcmp(s->controller, c->super->controller, sizeof(s->controller)) == 0)
		return -ERR_FOREIGN;
	uint32_t nown = cache_split_own(atomic_load(&s->split));
	char *base = segment;
	*ret = (struct mirror_area){
	    .cbe = (struct cbe *)(base + s->cbe_off) + nown,
	    .data = base + s->page_off + ((size_t)nown << c->page_shift),
	    .staged_true = &s->mirror_staged_true,
	    .npages = s->npages - nown,
	    .page_shift = c->page_shift,
	};
	*ret_closed = &s->area_closed;
	return 0;
}

static int host_copy(struct mirror *m, const struct mirror_copy *pages, unsigned n, bool atomic)
{
	mirror_area_put(&m->area, pages, n, atomic);
	return 0;
}

static void *host_at(struct mirror *m, uint32_t page)
{
	return m->area.data + ((size_t)page << m->area.page_shift);
}

static bool host_fill(struct mirror *m, uint32_t to, const void *data)
{
	mirror_area_fill(&m->area, to, data);
	return true;
}

static bool host_clear(struct mirror *m, uint32_t page)
{
	mirror_area_free(&m->area, page);
	return true;
}

const struct mirror_ops mirror_host_ops = {
    .copy = host_copy,
    .at = host_at,
    .fill = host_fill,
    .clear = host_clear,
};
