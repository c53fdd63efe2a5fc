/* Limits of units on virtual time: rates, bursts, order, changes and aborts of what waits. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"
#include "server/scsi/qos.h"
#include "tests/sim/sim_env.h"

static struct sim *sim;
static struct qos q;
static unsigned done, started;

static void setup(void)
{
	sim = sim_new(1);
	qos_init(&q, sim_env(sim));
	done = started = 0;
	sim_run_for(sim, NS_PER_S); /* time does not begin at 0 */
}

static void teardown(void)
{
	qos_fini(&q);
	sim_free(sim);
}

static uint64_t now(void)
{
	return env_now_ns(sim_env(sim));
}

static void limit(uint64_t iops, uint64_t iops_burst, uint64_t bandwidth, uint64_t bandwidth_burst)
{
	qos_set(&q, &(struct qos_limits){iops, iops_burst, bandwidth, bandwidth_burst});
}

/* A command as the SCSI layer drives it. */
struct one {
	struct scsi_cmd c;
	uint64_t bytes, at; /* at: when it went */
	unsigned number;    /* in the order they went */
	bool went, ended;
};

static void one_waits(void *arg)
{
	struct one *o = arg;
	o->went = qos_wait(&q, &o->c);
	o->at = now();
	o->number = done++;
	o->ended = true;
}

static void issue(struct one *o, uint64_t bytes)
{
	o->went = o->ended = false;
	o->bytes = bytes;
	started++;
	if (qos_hold(&q, &o->c, bytes)) {
		ck_assert_int_eq(task_start(one_waits, o), 0);
		return;
	}
	o->went = o->ended = true;
	o->at = now();
	o->number = done++;
}

/* depth commands always outstanding, for that long; returns how many went. */

static unsigned load_for(unsigned depth, uint64_t bytes, uint64_t ns)
{
	struct one *all = calloc(depth, sizeof(*all));
	uint64_t end = now() + ns;
	unsigned went = 0;
	for (unsigned i = 0; i < depth; i++)
		issue(&all[i], bytes);
	while (now() < end) {
		bool any = false;
		for (unsigned i = 0; i < depth; i++) {
			if (!all[i].ended)
				continue;
			ck_assert(all[i].went);
			went++;
			any = true;
			issue(&all[i], bytes);
		}
		/* a timer of libuv is late by up to a millisecond: so is this loop */
		sim_run_for(sim, any ? 1000 : NS_PER_MS);
	}
	for (unsigned i = 0; i < depth; i++)
		if (!all[i].ended)
			qos_cancel(&q, &all[i].c);
	sim_run_for(sim, NS_PER_MS);
	for (unsigned i = 0; i < depth; i++)
		ck_assert(all[i].ended);
	free(all);
	return went;
}

START_TEST(no_limit_holds_nothing)
{
	struct one o = {0};
	for (int i = 0; i < 1000; i++) {
		issue(&o, 1 << 20);
		ck_assert(o.went);
	}
}
END_TEST

START_TEST(operations_a_second)
{
	limit(1000, 0, 0, 0);
	/* the bucket holds a tenth of a second's worth when it begins */
	unsigned n = load_for(32, 4096, 10 * NS_PER_S);
	ck_assert_uint_ge(n, 9950);
	ck_assert_uint_le(n, 10000 + 100 + 1);
	limit(20000, 0, 0, 0); /* far more than timers fire */
	n = load_for(128, 4096, 5 * NS_PER_S);
	ck_assert_uint_ge(n, 99000);
	ck_assert_uint_le(n, 100000 + 2000 + 1);
}
END_TEST

START_TEST(bytes_a_second)
{
	limit(0, 0, 10 << 20, 0);
	unsigned n = load_for(8, 65536, 10 * NS_PER_S);
	ck_assert_uint_ge(n, 1590);
	ck_assert_uint_le(n, 1600 + 16 + 1);
	/* commands larger than the bucket go when it is full */
	limit(0, 0, 1 << 20, 65536);
	n = load_for(4, 1 << 20, 20 * NS_PER_S);
	ck_assert_uint_ge(n, 19);
	ck_assert_uint_le(n, 22);
}
END_TEST

START_TEST(both_limits_hold)
{
	limit(100, 0, 10 << 20, 0);
	ck_assert_uint_le(load_for(8, 512, 10 * NS_PER_S), 1011);
	limit(100000, 0, 1 << 20, 0);
	ck_assert_uint_le(load_for(8, 65536, 10 * NS_PER_S), 163);
}
END_TEST

START_TEST(bursts_after_a_pause)
{
	struct one o[600] = {0};
	limit(100, 500, 0, 0);
	unsigned n = 0;
	for (unsigned i = 0; i < 600; i++) {
		issue(&o[i], 0);
		n += o[i].ended;
	}
	ck_assert_uint_eq(n, 500); /* at once; then a hundredth of a second each */
	sim_run_for(sim, NS_PER_S / 2);
	ck_assert_uint_ge(done, 549);
	ck_assert_uint_le(done, 551);
	sim_run_for(sim, NS_PER_S);
	ck_assert_uint_eq(done, 600);
	sim_run_for(sim, 60 * NS_PER_S); /* no more than the bucket holds is saved */
	n = 0;
	for (unsigned i = 0; i < 600; i++) {
		issue(&o[i], 0);
		n += o[i].ended;
	}
	ck_assert_uint_eq(n, 500);
	sim_run_for(sim, 2 * NS_PER_S);
}
END_TEST

START_TEST(they_go_in_the_order_they_came)
{
	struct one o[200] = {0};
	limit(200, 1, 1 << 20, 0);
	for (unsigned i = 0; i < 200; i++)
		issue(&o[i], i % 7 * 10000); /* small ones do not overtake */
	sim_run_for(sim, 20 * NS_PER_S);
	ck_assert_uint_eq(done, 200);
	for (unsigned i = 0; i < 200; i++)
		ck_assert_uint_eq(o[i].number, i);
	struct qos_stats s;
	qos_stats(&q, &s);
	ck_assert_uint_eq(s.waiting, 0);
	ck_assert_uint_gt(s.held, 190);
	ck_assert_uint_gt(s.held_ns, 0);
}
END_TEST

START_TEST(aborted_ones_leave_at_once)
{
	struct one o[20] = {0};
	limit(10, 1, 0, 0);
	for (unsigned i = 0; i < 20; i++)
		issue(&o[i], 0);
	unsigned at_once = done;
	sim_run_for(sim, 1000);
	qos_cancel(&q, &o[at_once].c); /* the first */
	qos_cancel(&q, &o[10].c);      /* one of the middle */
	qos_cancel(&q, &o[19].c);      /* the last */
	sim_run_for(sim, 1000);
	ck_assert(o[at_once].ended && !o[at_once].went);
	ck_assert(o[10].ended && !o[10].went && o[19].ended && !o[19].went);
	ck_assert_uint_eq(done, at_once + 3);
	sim_run_for(sim, 3 * NS_PER_S);
	ck_assert_uint_eq(done, 20); /* they cost nothing, and the others were not forgotten */
	for (unsigned i = 0; i < 20; i++)
		ck_assert(i == at_once || i == 10 || i == 19 || o[i].went);
}
END_TEST

START_TEST(aborted_before_its_task_ran)
{
	struct one o[4] = {0};
	limit(10, 1, 0, 0);
	for (unsigned i = 0; i < 4; i++)
		issue(&o[i], 0);
	ck_assert(!o[3].ended);
	qos_cancel(&q, &o[3].c);
	sim_run_for(sim, 1000);
	ck_assert(o[3].ended && !o[3].went);
	/* and one whose transport found no task for it */
	struct one p = {0};
	ck_assert(qos_hold(&q, &p.c, 0));
	qos_forget(&q, &p.c);
	sim_run_for(sim, NS_PER_S);
	ck_assert_uint_eq(done, 4);
}
END_TEST

static bool odd(const struct scsi_cmd *c)
{
	return c->lun[1] & 1;
}

START_TEST(dropped_ones_leave_the_others)
{
	struct one o[20] = {0};
	limit(10, 1, 0, 0);
	for (unsigned i = 0; i < 20; i++) {
		o[i].c.lun[1] = (uint8_t)i;
		issue(&o[i], 0);
	}
	unsigned at_once = done;
	qos_drop(&q, odd); /* before their tasks ran */
	sim_run_for(sim, 1000);
	for (unsigned i = at_once; i < 20; i++)
		ck_assert(!(i & 1) || (o[i].ended && !o[i].went));
	sim_run_for(sim, 3 * NS_PER_S);
	ck_assert_uint_eq(done, 20);
	for (unsigned i = at_once; i < 20; i++)
		ck_assert_int_eq(o[i].went, !(i & 1));
	qos_drop(&q, odd); /* nobody waits */
}
END_TEST

START_TEST(changes_reach_those_that_wait)
{
	struct one o[50] = {0};
	limit(1, 0, 0, 0);
	for (unsigned i = 0; i < 50; i++)
		issue(&o[i], 0);
	sim_run_for(sim, NS_PER_S);
	ck_assert_uint_lt(done, 5);
	limit(100, 1, 0, 0); /* raised */
	sim_run_for(sim, NS_PER_S / 10);
	ck_assert_uint_ge(done, 9);
	ck_assert_uint_lt(done, 20);
	limit(0, 0, 0, 0); /* ended */
	sim_run_for(sim, 1000);
	ck_assert_uint_eq(done, 50);
	for (unsigned i = 1; i < 50; i++)
		ck_assert_uint_eq(o[i].number, i);
	ck_assert(!q.on);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("qos");
	TCase *t = tcase_create("qos");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, no_limit_holds_nothing);
	tcase_add_test(t, operations_a_second);
	tcase_add_test(t, bytes_a_second);
	tcase_add_test(t, both_limits_hold);
	tcase_add_test(t, bursts_after_a_pause);
	tcase_add_test(t, they_go_in_the_order_they_came);
	tcase_add_test(t, aborted_ones_leave_at_once);
	tcase_add_test(t, aborted_before_its_task_ran);
	tcase_add_test(t, dropped_ones_leave_the_others);
	tcase_add_test(t, changes_reach_those_that_wait);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
