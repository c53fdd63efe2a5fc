/* B+trees by themselves: random and ordered keys, values of every length, undo of a body. */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "tests/unit/fs/fs_world.h"

#define KEYS 6000

static struct world w;
static struct {
	uint64_t key;
	unsigned len; /* 0: not there */
} have[KEYS];

/* What is done in one body. */
struct step {
	uint64_t ino, key;
	unsigned len; /* 0: delete */
	bool fail;    /* undo it */
};

static int step_body(struct step *s)
{
	struct inode in;
	uint8_t v[TREE_VALUE_MAX];
	int rc = inode_get(w.fs, s->ino, &in);
	if (rc)
		return rc;
	struct tree t = tree_of(&in);
	memset(v, (int)s->key, sizeof(v));
	rc = s->len ? tree_insert(&t, s->key, v, s->len) : tree_delete(&t, s->key);
	return !rc && s->fail ? -ECANCELED : rc;
}

static int step_run(struct step *s)
{
	struct op op;
	int rc;
	op_begin(&op, w.fs, true);
	OP_LOOP(&op, rc, step_body(s));
	op_end(&op);
	return rc;
}

struct scan {
	uint64_t ino, blocks;
	unsigned n;
};

/* Entries in order, forward, from every kept key and behind it. */
static int scan_body(struct scan *s)
{
	struct inode in;
	struct tree_pos pos;
	uint64_t last = 0;
	int rc = inode_get(w.fs, s->ino, &in);
	if (rc)
		return rc;
	struct tree t = tree_of(&in);
	s->n = 0;
	s->blocks = IN64(&in, I_BLOCKS);
	for (rc = tree_seek(&t, 0, &pos); !rc; rc = tree_next(&t, &pos)) {
		unsigned len;
		const uint8_t *v = tree_value(&pos, &len);
		uint64_t key = tree_key(&pos), i = key % KEYS;
		ck_assert(s->n == 0 || key > last);
		ck_assert_uint_eq(have[i].key, key);
		ck_assert_uint_eq(have[i].len, len);
		ck_assert_uint_eq(v[len - 1], (uint8_t)key);
		last = key;
		s->n++;
	}
	if (rc != -ENOENT)
		return rc;
	for (unsigned i = 0; i < KEYS; i += 37) {
		rc = tree_seek_le(&t, have[i].key, &pos);
		if (rc && rc != -ENOENT)
			return rc;
		ck_assert(!have[i].len || (!rc && tree_key(&pos) == have[i].key));
		ck_assert(rc || tree_key(&pos) <= have[i].key);
	}
	return 0;
}

static uint64_t scan(uint64_t ino)
{
	struct scan s = {.ino = ino};
	struct op op;
	unsigned want = 0;
	int rc;
	for (unsigned i = 0; i < KEYS; i++)
		want += have[i].len != 0;
	op_begin(&op, w.fs, false);
	OP_LOOP(&op, rc, scan_body(&s));
	op_end(&op);
	ck_assert_int_eq(rc, 0);
	ck_assert_uint_eq(s.n, want);
	return s.blocks;
}

static void toggle(uint64_t ino, unsigned i, bool fail)
{
	struct step s = {.ino = ino, .key = have[i].key, .fail = fail};
	if (!have[i].len)
		s.len = 10 + (unsigned)sim_random_below(w.sim, 200);
	ck_assert_int_eq(step_run(&s), fail ? -ECANCELED : 0);
	if (!fail)
		have[i].len = s.len;
}

/* A tree of directory type, whose values may have any length. */
static void tree_task(void *arg)
{
	bool ordered = *(bool *)arg;
	struct fs_fid d = {0};
	world_mkfs(&w);
	world_mount(&w);
	ck_assert_int_eq(make_dir(w.fs, &root_fid, "d", &d), 0);
	memset(have, 0, sizeof(have));
	for (uint64_t i = 0; i < KEYS; i++) /* key % KEYS is the place in the table */
		have[i].key = (ordered ? i : sim_random_below(w.sim, 1u << 30)) * KEYS + i;
	for (unsigned i = 0; i < KEYS; i++)
		toggle(d.ino, i, false);
	uint64_t full = scan(d.ino);
	ck_assert_uint_lt(full, ordered ? 230 : 300); /* well filled */
	for (int i = 0; i < 20000; i++)
		toggle(d.ino, (unsigned)sim_random_below(w.sim, KEYS), i % 7 == 0);
	scan(d.ino);
	struct step twice = {.ino = d.ino, .key = have[0].key, .len = 12};
	if (have[0].len)
		ck_assert_int_eq(step_run(&twice), -EEXIST);
	unsigned left = KEYS;
	for (unsigned i = 0; i < KEYS; i++, left--) {
		if (have[i].len)
			toggle(d.ino, i, false);
		if (i % 1000 == 999)
			ck_assert_uint_le(scan(d.ino), left / 8 + 8); /* shrinks as it empties */
	}
	ck_assert_uint_eq(scan(d.ino), 0);
	world_unmount(&w);
	world_check(&w);
}

static void run(bool ordered)
{
	world_new(&w, 9, 64 << 20);
	ck_assert_int_eq(sim_run(w.sim, tree_task, &ordered), 0);
	world_free(&w);
}

START_TEST(random_keys)
{
	run(false);
}
END_TEST

START_TEST(ordered_keys)
{
	run(true);
}
END_TEST

/* A seek finds the same whatever place it was told to begin at. */
static unsigned first_at_least(const uint64_t *keys, unsigned n, uint64_t key)
{
	unsigned i = 0;
	while (i < n && keys[i] < key)
		i++;
	return i;
}

static void node_fill(uint8_t *d, bool leaf, const uint64_t *keys, unsigned n)
{
	memset(d, 0, BS);
	le16_put(d + H_COUNT, (uint16_t)n);
	for (unsigned i = 0; i < n; i++) {
		unsigned at = BS - (i + 1) * 16;
		if (leaf)
			le16_put(d + H_SIZE + 2 * i, (uint16_t)at);
		le64_put(d + (leaf ? at : H_SIZE + INNER_PAIR * i), keys[i]);
	}
}

START_TEST(seeks_from_any_guess)
{
	static const unsigned counts[] = {0, 1, 2, 7, 16, 17, 40, 200};
	static uint8_t leaf[BS], inner[BS];
	uint64_t keys[200];
	for (unsigned c = 0; c < ARRAY_LEN(counts); c++) {
		unsigned n = counts[c];
		for (unsigned i = 0; i < n; i++)
			keys[i] = 10 + i * i * 3;
		if (n == 200)
			keys[n - 1] = UINT64_MAX;
		node_fill(leaf, true, keys, n);
		node_fill(inner, false, keys, n);
		for (unsigned k = 0; k < 3 * n + 2; k++) {
			uint64_t key = k < 3 * n    ? keys[k / 3] + k % 3 - 1
				       : k == 3 * n ? 0
						    : UINT64_MAX;
			unsigned at = first_at_least(keys, n, key);
			unsigned under = at < n && keys[at] == key ? at : at ? at - 1 : 0;
			for (unsigned guess = 0; guess <= n; guess++) {
				ck_assert_uint_eq(leaf_seek(leaf, key, guess), at);
				if (n)
					ck_assert_uint_eq(inner_seek(inner, key, guess), under);
			}
		}
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_tree");
	TCase *t = tcase_create("tree");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, random_keys);
	tcase_add_test(t, ordered_keys);
	tcase_add_test(t, seeks_from_any_guess);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
