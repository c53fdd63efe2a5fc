/* See extent_map.h. Works on runs, never on single extents: cost follows the number of volumes. */
#include "blockcore/pool/extent_map.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdlib.h>

void extent_map_init(struct extent_map *m, uint64_t extents)
{
	*m = (struct extent_map){.extents = extents};
}

void extent_map_fini(struct extent_map *m)
{
	free(m->used);
	m->used = NULL;
}

static int runs_add(struct extent_run **runs, size_t *n, size_t *cap, struct extent_run r)
{
	if (*n == *cap) {
		size_t c = *cap ? *cap * 2 : 16;
		struct extent_run *p = realloc(*runs, c * sizeof(*p));
		if (!p)
			return -ENOMEM;
		*runs = p;
		*cap = c;
	}
	(*runs)[(*n)++] = r;
	return 0;
}

int extent_map_add(struct extent_map *m, uint64_t first, uint64_t count)
{
	return runs_add(&m->used, &m->n, &m->cap, (struct extent_run){first, count});
}

static int run_order(const void *a, const void *b)
{
	const struct extent_run *x = a, *y = b;
	return (x->first > y->first) - (x->first < y->first);
}

void extent_map_sort(struct extent_map *m)
{
	size_t out = 0;
	if (m->n == 0)
		return;
	qsort(m->used, m->n, sizeof(*m->used), run_order);
	for (size_t i = 1; i < m->n; i++) {
		struct extent_run *last = &m->used[out], *r = &m->used[i];
		uint64_t end = last->first + last->count;
		if (r->first <= end)
			last->count = MAX(end, r->first + r->count) - last->first;
		else
			m->used[++out] = *r;
	}
	m->n = out + 1;
}

/* Free run number i lies before used run i (i == n: behind the last). */
static struct extent_run free_run(const struct extent_map *m, size_t i)
{
	uint64_t first = i == 0 ? 0 : m->used[i - 1].first + m->used[i - 1].count;
	uint64_t end = i == m->n ? m->extents : m->used[i].first;
	return (struct extent_run){first, end > first ? end - first : 0};
}

uint64_t extent_map_free(const struct extent_map *m)
{
	uint64_t n = 0;
	for (size_t i = 0; i <= m->n; i++)
		n += free_run(m, i).count;
	return n;
}

/* skip: where a free run starts that is taken already. */
static bool find_whole(const struct extent_map *m, uint64_t count, uint64_t skip,
		       struct extent_run *ret)
{
	for (size_t i = 0; i <= m->n; i++) {
		struct extent_run r = free_run(m, i);
		if (r.count >= count && r.first != skip) {
			*ret = (struct extent_run){r.first, count};
			return true;
		}
	}
	return false;
}

int extent_map_find(const struct extent_map *m, uint64_t count, uint64_t near,
		    struct extent_run **ret, size_t *ret_n)
{
	struct extent_run *runs = NULL, whole, next = {near, 0};
	size_t n = 0, cap = 0;
	int rc = 0;
	if (count == 0)
		return -EINVAL;
	if (extent_map_free(m) < count)
		return -ENOSPC;
	for (size_t i = 0; i <= m->n && near != UINT64_MAX; i++)
		if (free_run(m, i).first == near)
			next.count = MIN(free_run(m, i).count, count);
	if (next.count)
		rc = runs_add(&runs, &n, &cap, next);
	count -= next.count;
	if (rc == 0 && count && find_whole(m, count, next.count ? near : UINT64_MAX, &whole)) {
		rc = runs_add(&runs, &n, &cap, whole);
		count = 0;
	}
	for (size_t i = 0; i <= m->n && count && rc == 0; i++) {
		struct extent_run r = free_run(m, i);
		if (r.count == 0 || (next.count && r.first == next.first))
			continue;
		r.count = MIN(r.count, count);
		rc = runs_add(&runs, &n, &cap, r);
		count -= r.count;
	}
	if (rc == 0 && count) /* only when the run at `near` was shorter than its gap: not so */
		rc = -ENOSPC;
	if (rc) {
		free(runs);
		return rc;
	}
	*ret = runs;
	*ret_n = n;
	return 0;
}
