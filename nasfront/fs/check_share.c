/*
 * The shares' part of a check: blocks that several extents lead to, which must all be marked
 * shared, against the records that count their owners (share.c). A repair builds the records anew
 * from the extents, once no inode's tree is damaged. Online the two cannot be compared: both
 * change.
 */
#include "nasfront/fs/check.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static int list_add(struct share_list *l, uint64_t start, uint64_t len, uint32_t owners)
{
	if (l->n == l->room) {
		size_t room = MAX(2 * l->room, (size_t)256);
		struct share_rec *v = realloc(l->v, room * sizeof(*v));
		if (!v)
			return -ENOMEM;
		l->v = v;
		l->room = room;
	}
	l->v[l->n++] = (struct share_rec){start, len, owners};
	return 0;
}

void check_shares_free(struct checker *c)
{
	free(c->shared);
	free(c->shares.v);
	free(c->records.v);
	c->shared = NULL;
	c->shares = c->records = (struct share_list){0};
}

static bool bit(const uint64_t *map, uint64_t i)
{
	return map[i / 64] >> (i % 64) & 1;
}

int check_share_claim(struct checker *c, uint64_t start, uint64_t len, bool *ret_good)
{
	*ret_good = false;
	if (!extent_is_data(c->fs, start, len))
		return 0;
	if (!c->shared)
		c->shared = calloc(c->fs->blocks / 64 + 1, sizeof(uint64_t));
	if (!c->shared)
		return -ENOMEM;
	for (uint64_t i = start; i < start + len; i++)
		if (bit(c->owned, i) && !bit(c->shared, i))
			return 0;
	for (uint64_t i = start; i < start + len; i++) {
		c->report->blocks_used += !bit(c->owned, i);
		c->owned[i / 64] |= 1ull << (i % 64);
		c->shared[i / 64] |= 1ull << (i % 64);
	}
	c->claimed += len;
	*ret_good = true;
	return list_add(&c->shares, start, len, 1);
}

int check_share_entry(struct checker *c, uint64_t key, const uint8_t *v, unsigned len)
{
	return list_add(&c->records, key, le32_get(v), le32_get(v + 4));
}

/* ---- what the extents say ---- */

struct edge {
	uint64_t at;
	int step;
};

static int by_place(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;
	return x->at < y->at ? -1 : x->at > y->at;
}

/* Runs of blocks with two owners or more, each in one group, in order. */
static int count_owners(struct checker *c, struct share_rec **ret, size_t *ret_n)
{
	size_t n = 2 * c->shares.n;
	struct edge *e = malloc((n + 1) * sizeof(*e));
	struct share_rec *out = malloc((n + 1) * sizeof(*out));
	uint32_t owners = 0;
	*ret_n = 0;
	*ret = out;
	if (!e || !out) {
		free(e);
		free(out);
		return -ENOMEM;
	}
	for (size_t i = 0; i < c->shares.n; i++) {
		const struct share_rec *s = &c->shares.v[i];
		e[2 * i] = (struct edge){s->start, 1};
		e[2 * i + 1] = (struct edge){s->start + s->len, -1};
	}
	qsort(e, n, sizeof(*e), by_place);
	for (size_t i = 0; i < n;) {
		uint64_t at = e[i].at;
		for (; i < n && e[i].at == at; i++)
			owners += (uint32_t)e[i].step;
		if (i == n || owners < 2)
			continue;
		struct share_rec *last = *ret_n ? &out[*ret_n - 1] : NULL;
		if (last && last->owners == owners && last->start + last->len == at)
			last->len += e[i].at - at;
		else
			out[(*ret_n)++] = (struct share_rec){at, e[i].at - at, owners};
	}
	free(e);
	return 0;
}

/* Neighbours with the same number are one, as count_owners() has them. */
static size_t records_join(struct share_rec *v, size_t n)
{
	size_t k = 0;
	for (size_t i = 0; i < n; i++) {
		if (k && v[k - 1].owners == v[i].owners &&
		    v[k - 1].start + v[k - 1].len == v[i].start)
			v[k - 1].len += v[i].len;
		else
			v[k++] = v[i];
	}
	return k;
}

/* ---- repair ---- */

static int holder_body(struct fs *fs)
{
	struct inode in;
	int rc = share_holder(fs, &in);
	return rc || IN_TYPE(&in) == SHARE_TYPE ? rc : -ERR_CORRUPT;
}

static int keep_all(struct checker *c, const struct share_rec *v, size_t n)
{
	int rc = 0;
	c->kept_size = 0;
	for (size_t i = 0; i < n && !rc; i++) {
		uint8_t value[SHARE_VALUE];
		le32_put(value, (uint32_t)v[i].len);
		le32_put(value + 4, v[i].owners);
		rc = check_keep(c, v[i].start, value, sizeof(value));
	}
	return rc;
}

static int records_mend(struct checker *c, const struct share_rec *v, size_t n)
{
	struct rec holder = {.ino = SHARE_INO, .type = SHARE_TYPE};
	struct op op;
	int rc;
	op_begin(&op, c->fs, true);
	OP_LOOP(&op, rc, holder_body(c->fs));
	op_end(&op);
	if (rc == -ERR_CORRUPT) { /* another inode stands in its place */
		check_fixed(c, rc, SHARE_INO);
		return 0;
	}
	if (!rc)
		rc = keep_all(c, v, n);
	return rc ? rc : check_rebuild_later(c, &holder);
}

int check_shares(struct checker *c)
{
	struct share_rec *want;
	size_t n, have = records_join(c->records.v, c->records.n);
	const struct share_rec *r = c->records.v;
	int rc = count_owners(c, &want, &n);
	if (rc)
		return rc;
	size_t i = 0;
	while (i < n && i < have && r[i].start == want[i].start && r[i].len == want[i].len &&
	       r[i].owners == want[i].owners)
		i++;
	if (i < n || i < have) {
		const struct share_rec *at = i < n ? &want[i] : &r[i];
		check_error(c, SHARE_INO,
			    "%" PRIu64 " blocks from %" PRIu64
			    " on: their owners are not as counted",
			    at->len, at->start);
		if (c->repair)
			rc = records_mend(c, want, n);
	}
	free(want);
	return rc;
}
