/*
 * The quotas' pass of a check: every record counts what the inodes of its owner, group or tree
 * use, and makes sense. Offline only: a serving file system never stands still for the count.
 */
#include "nasfront/fs/check.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* What one key's record must count. */
struct use {
	uint64_t key;
	uint64_t n[FS_QUOTA_UNITS];
	bool seen;
};

struct quota_pass {
	struct checker *c;
	struct use *uses;
	size_t count;
	struct wrong {
		uint64_t key;
		uint64_t n[FS_QUOTA_UNITS];
		bool remove; /* no record at all */
	} * wrong;
	size_t nwrong, room;
};

static const char *const kinds[] = {"grace times", "user", "group", "tree"};

static int by_key(const void *a, const void *b)
{
	uint64_t x = ((const struct use *)a)->key, y = ((const struct use *)b)->key;
	return x < y ? -1 : x > y;
}

/* Three an inode, then sorted and summed up. */
static int count_uses(struct quota_pass *q)
{
	struct checker *c = q->c;
	size_t n = 0;
	q->uses = calloc(c->nrecs * 3 + 1, sizeof(*q->uses));
	if (!q->uses)
		return -ENOMEM;
	for (size_t i = 0; i < c->nrecs; i++) {
		const struct rec *r = &c->recs[i];
		const uint32_t ids[] = {0, r->uid, r->gid, r->tree};
		if (!quota_counts(r->ino) || r->standin)
			continue;
		for (unsigned k = FS_QUOTA_USER; k <= FS_QUOTA_TREE; k++)
			if (k != FS_QUOTA_TREE || r->tree)
				q->uses[n++] =
				    (struct use){quota_key(k, ids[k]), {r->blocks, 1}, false};
	}
	qsort(q->uses, n, sizeof(*q->uses), by_key);
	for (size_t i = 0; i < n; i++) {
		struct use *last = q->count ? &q->uses[q->count - 1] : NULL;
		if (last && last->key == q->uses[i].key) {
			last->n[FS_QUOTA_BYTES] += q->uses[i].n[FS_QUOTA_BYTES];
			last->n[FS_QUOTA_FILES]++;
		} else {
			q->uses[q->count++] = q->uses[i];
		}
	}
	return 0;
}

static int wrong_add(struct quota_pass *q, uint64_t key, const struct use *u, bool gone)
{
	if (!q->c->repair)
		return 0;
	if (q->nwrong == q->room) {
		size_t room = MAX(q->room * 2, (size_t)64);
		struct wrong *w = realloc(q->wrong, room * sizeof(*w));
		if (!w)
			return -ENOMEM;
		q->wrong = w;
		q->room = room;
	}
	struct wrong *w = &q->wrong[q->nwrong++];
	*w = (struct wrong){.key = key, .remove = gone};
	if (u)
		memcpy(w->n, u->n, sizeof(w->n));
	return 0;
}

static bool record_sound(uint64_t key, const uint8_t *v, unsigned len)
{
	unsigned kind = (unsigned)(key >> 32);
	if (len < Q_SIZE || len > Q_SIZE + FS_QUOTA_PATH_MAX || key >> 32 > FS_QUOTA_TREE ||
	    (len > Q_SIZE && kind != FS_QUOTA_TREE))
		return false;
	if (!kind)
		return (uint32_t)key >= FS_QUOTA_USER && (uint32_t)key <= FS_QUOTA_TREE;
	for (unsigned i = 0; i < FS_QUOTA_UNITS; i++) {
		uint64_t soft = le64_get(v + Q_SOFT + 8 * i), hard = le64_get(v + Q_HARD + 8 * i);
		if (soft && hard && soft > hard)
			return false;
	}
	return kind != FS_QUOTA_TREE || (uint32_t)key;
}

static int record_entry(struct checker *c, uint64_t key, const uint8_t *v, unsigned len)
{
	struct quota_pass *q = c->quotas;
	struct use want = {.key = key}, *u;
	const uint32_t id = (uint32_t)key;
	u = bsearch(&want, q->uses, q->count, sizeof(want), by_key);
	if (!record_sound(key, v, len)) {
		check_error(c, QUOTA_INO, "a quota record makes no sense (%" PRIx64 ")", key);
		return wrong_add(q, key, u, true);
	}
	if (u)
		u->seen = true;
	if (!(key >> 32))
		return 0;
	const uint64_t *n = u ? u->n : want.n;
	if (le64_get(v + Q_USED) == n[0] && le64_get(v + Q_USED + 8) == n[1])
		return 0;
	check_error(c, QUOTA_INO,
		    "%s %u: %" PRIu64 " blocks and %" PRIu64 " files are counted, %" PRIu64
		    " and %" PRIu64 " used",
		    kinds[key >> 32], id, le64_get(v + Q_USED), le64_get(v + Q_USED + 8), n[0],
		    n[1]);
	return wrong_add(q, key, u, false);
}

static int unseen(struct quota_pass *q)
{
	int rc = 0;
	for (size_t i = 0; i < q->count && !rc; i++) {
		const struct use *u = &q->uses[i];
		if (u->seen)
			continue;
		check_error(q->c, QUOTA_INO, "%s %u: its use is not counted", kinds[u->key >> 32],
			    (uint32_t)u->key);
		rc = wrong_add(q, u->key, u, false);
	}
	return rc;
}

/* ---- repair ---- */

static int mend_body(struct fs *fs, const struct wrong *w)
{
	struct inode holder;
	struct tree t;
	struct tree_pos pos;
	uint8_t v[Q_SIZE] = {0}, *at;
	int rc = quota_records(fs, &holder, &t);
	if (!rc)
		rc = w->remove ? tree_delete(&t, w->key) : quota_find(&t, w->key, &pos, &at);
	if (rc && rc != -ENOENT)
		return rc;
	if (!rc && !w->remove) {
		tree_touch_value(&t, &pos);
		le64_put(at + Q_USED, w->n[0]);
		le64_put(at + Q_USED + 8, w->n[1]);
		return quota_is_empty(at) ? tree_delete(&t, w->key) : 0;
	}
	le64_put(v + Q_USED, w->n[0]);
	le64_put(v + Q_USED + 8, w->n[1]);
	return quota_is_empty(v) ? 0 : tree_insert(&t, w->key, v, Q_SIZE);
}

static void records_mend(struct quota_pass *q)
{
	for (size_t i = 0; i < q->nwrong; i++) {
		struct op op;
		int rc;
		op_begin(&op, q->c->fs, true);
		OP_LOOP(&op, rc, mend_body(q->c->fs, &q->wrong[i]));
		check_fixed(q->c, op_commit(&op, rc), QUOTA_INO);
	}
}

int check_quotas(struct checker *c)
{
	struct quota_pass q = {.c = c};
	uint8_t p[INODE_SIZE];
	struct rec *r = check_rec(c, QUOTA_INO);
	if (c->online)
		return 0;
	if (!r || r->type != QUOTA_TYPE) {
		check_error(c, QUOTA_INO, "is not the holder of the quota records");
		return 0;
	}
	int rc = count_uses(&q);
	if (!rc)
		rc = check_inode_bytes(c, QUOTA_INO, p);
	c->quotas = &q;
	if (!rc && !r->damaged)
		rc = check_tree(c, r, p, false, record_entry);
	c->quotas = NULL;
	if (!rc && !r->damaged)
		rc = unseen(&q);
	if (!rc)
		records_mend(&q);
	free(q.uses);
	free(q.wrong);
	return rc;
}
