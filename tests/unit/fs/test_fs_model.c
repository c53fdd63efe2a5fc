/* Thousands of random operations on the file system and on a model in memory; remounts between. */
#include "tests/unit/fs/model.h"

struct run {
	struct world w;
	uint64_t seed;
	int ops;
	uint64_t memory;
};

static void model_task(void *arg)
{
	struct run *r = arg;
	struct model *m = model_new(r->seed);
	world_mkfs(&r->w);
	world_mount_mem(&r->w, r->memory);
	for (int i = 0; i < r->ops; i++) {
		struct m_op op;
		struct fs_fid made;
		model_plan(m, &op);
		int got = model_run(m, r->w.fs, &op, &made);
		int want = model_apply(m, &op, &made);
		if (got != want)
			ck_abort_msg("seed %llu op %d kind %d: %d not %d",
				     (unsigned long long)r->seed, i, op.kind, got, want);
		if (i % 500 == 499) {
			const char *d = model_differs(m, r->w.fs, true);
			if (d)
				ck_abort_msg("seed %llu op %d: %s", (unsigned long long)r->seed, i,
					     d);
		}
		if (i % 1000 == 999) {
			struct fs_check_report rep;
			ck_assert_int_eq(fs_verify(r->w.fs, say_stderr, NULL, &rep), 0);
			world_unmount(&r->w);
			world_check(&r->w);
			world_mount_mem(&r->w, r->memory);
			const char *d = model_differs(m, r->w.fs, true);
			if (d)
				ck_abort_msg("seed %llu op %d, mounted anew: %s",
					     (unsigned long long)r->seed, i, d);
		}
	}
	world_unmount(&r->w);
	world_check(&r->w);
	model_free(m);
}

static void run_one(uint64_t seed, int ops)
{
	struct run *r = calloc(1, sizeof(*r));
	world_new(&r->w, seed, 48 << 20);
	r->seed = seed;
	r->ops = ops;
	ck_assert_int_eq(sim_run(r->w.sim, model_task, r), 0);
	world_free(&r->w);
	free(r);
}

START_TEST(random_operations_do_what_the_model_does)
{
	run_one((uint64_t)_i + 1, 3000);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_model");
	TCase *t = tcase_create("model");
	tcase_set_timeout(t, 300);
	tcase_add_loop_test(t, random_operations_do_what_the_model_does, 0, 6);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
