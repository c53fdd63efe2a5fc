/* Commits of several pages at once: compared, all or nothing, whoever reads or dies meanwhile. */
#include <pthread.h>
#include "tests/unit/cache/cache_rig.h"

#define MIB (1024 * 1024)

static struct rig R;

static void setup(void)
{
	memset(&R, 0, sizeof(R));
	rig_init(&R, 7, 1024, 8 * MIB);
	rig_open(&R);
}

static void run(task_fn *fn)
{
	ck_assert_int_eq(sim_run(R.sim, fn, NULL), 0);
}

static void end(void)
{
	ck_assert_int_eq(sim_run(R.sim, rig_close_task, &R), 0);
	rig_free(&R);
}

static void begin(struct cache_write *w, uint64_t off, uint32_t len, int byte)
{
	ck_assert_int_eq(cache_write_begin(R.vol, off, len, w), 0);
	for (int i = 0; i < w->n; i++)
		memset(w->iov[i].iov_base, byte, w->iov[i].iov_len);
}

static void compare_first(void *arg)
{
	struct cache_write w;
	static uint8_t expect[200 * 1024];
	uint32_t at = 7;
	memset(expect, 'a', sizeof(expect));
	/* sectors in the middle of pages, over two groups of pages */
	begin(&w, 512, sizeof(expect), 'b');
	ck_assert_int_eq(cache_write_commit_if(R.vol, &w, expect, &at), -EAGAIN);
	rig_write(&R, 0, 256 * 1024, 'a', false);
	expect[150000] = 'x';
	ck_assert_int_eq(cache_write_commit_if(R.vol, &w, expect, &at), -ERR_MISCOMPARE);
	ck_assert_uint_eq(at, 150000);
	ck_assert(rig_holds(&R, 0, 256 * 1024, 'a'));
	expect[150000] = 'a';
	ck_assert_int_eq(cache_write_commit_if(R.vol, &w, expect, &at), 0);
	ck_assert(rig_holds(&R, 0, 512, 'a'));
	ck_assert(rig_holds(&R, 512, sizeof(expect), 'b'));
	ck_assert(rig_holds(&R, 512 + sizeof(expect), 256 * 1024 - 512 - sizeof(expect), 'a'));
	/* one that was refused may be given up */
	begin(&w, 0, 4096, 'c');
	ck_assert_int_eq(cache_write_commit_if(R.vol, &w, expect, &at), -ERR_MISCOMPARE);
	ck_assert_uint_eq(at, 512);
	cache_write_abort(R.vol, &w);
	/* without comparing, where nothing is */
	begin(&w, 4 * MIB, MIB, 'd');
	ck_assert_int_eq(cache_write_commit_if(R.vol, &w, NULL, NULL), 0);
	ck_assert_int_eq(cache_flush(R.vol, 0, 0), 0);
	ck_assert(rig_holds(&R, 4 * MIB, MIB, 'd'));
}

START_TEST(compares)
{
	setup();
	run(compare_first);
	end();
}
END_TEST

/* ---- readers meanwhile ---- */

#define SPAN   (96 * 4096)
#define ROUNDS 4000
static _Atomic bool stop;
static _Atomic unsigned torn, reads, commits;

static void fill(void *arg)
{
	rig_write(&R, 0, SPAN, 0, false);
}

static void *writer(void *arg)
{
	struct cache_write w;
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (cache_write_try_begin(R.vol, 0, SPAN, &w))
			continue;
		for (int k = 0; k < w.n; k++)
			memset(w.iov[k].iov_base, (int)i, w.iov[k].iov_len);
		ck_assert_int_eq(cache_write_commit_if(R.vol, &w, NULL, NULL), 0);
		commits++;
	}
	stop = true;
	return NULL;
}

static void *reader(void *arg)
{
	struct cache_read r;
	while (!stop) {
		if (cache_read_try(R.vol, 0, SPAN, &r))
			continue;
		uint8_t first = *(uint8_t *)r.iov[0].iov_base;
		for (int i = 1; i < r.n; i++)
			torn += *(uint8_t *)r.iov[i].iov_base != first;
		reads++;
		cache_read_done(R.vol, &r);
	}
	return NULL;
}

START_TEST(nobody_sees_a_part)
{
	pthread_t t[3];
	setup();
	run(fill);
	stop = false;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, i ? reader : writer, NULL), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	ck_assert_uint_eq(torn, 0);
	ck_assert_uint_gt(commits, 0);
	end();
}
END_TEST

/* ---- death meanwhile ---- */

static void old_and_new(void *arg)
{
	struct cache_write w;
	rig_write(&R, 0, SPAN, 'o', false);
	begin(&w, 0, SPAN, 'n');
	ck_assert_int_eq(cache_write_commit_if(R.vol, &w, NULL, NULL), 0);
}

static void holds(void *arg)
{
	ck_assert(rig_holds(&R, 0, SPAN, *(int *)arg));
}

/* Makes of the segment what a kill leaves: the new versions of pages from `published` on are
 * STAGED, and their old ones still there. */
static void unmake(unsigned published, bool decided)
{
	struct cache_super *s = R.segment;
	struct cbe *e = (struct cbe *)((char *)R.segment + s->cbe_off);
	uint32_t spare = s->npages;
	for (uint32_t i = 0; i < s->npages; i++) {
		if (e[i].state != CBE_DIRTY || e[i].page < published)
			continue;
		while (e[--spare].state != CBE_FREE)
			;
		memcpy(&e[spare], &e[i], sizeof(e[i]));
		e[spare].generation = 1;
		memset((char *)R.segment + s->page_off + (size_t)spare * 4096, 'o', 4096);
		e[i].state = CBE_STAGED;
	}
	s->staged_true = decided;
}

START_TEST(a_death_leaves_all_or_nothing)
{
	static const struct {
		unsigned published;
		bool decided;
		int want;
	} cases[] = {{0, false, 'o'}, {0, true, 'n'}, {40, true, 'n'}, {95, true, 'n'}};
	int want = cases[_i].want;
	setup();
	run(old_and_new);
	ck_assert_int_eq(sim_run(R.sim, rig_abandon_task, &R), 0);
	unmake(cases[_i].published, cases[_i].decided);
	rig_open(&R);
	ck_assert_uint_eq(((struct cache_super *)R.segment)->staged_true, 0);
	ck_assert_int_eq(sim_run(R.sim, holds, &want), 0);
	end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cache_atomic");
	TCase *t = tcase_create("atomic");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, compares);
	tcase_add_test(t, nobody_sees_a_part);
	tcase_add_loop_test(t, a_death_leaves_all_or_nothing, 0, 4);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
