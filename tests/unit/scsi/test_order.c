/* Task attributes through the life of commands: of several nexuses, at the owner and through the
 * partner; those that wait end in the right way, whatever happens. x and y are at B, z at A, the
 * volumes at A. */
#include "tests/unit/scsi/partner_rig.h"

#define LUN_GONE 0x052500

static struct job *begin(struct scsi_nexus *n, uint8_t attr, const uint8_t *cdb, const void *out)
{
	job_attr = attr;
	struct job *j = job_start(n, 0, cdb, out, 4096);
	job_attr = SCSI_SIMPLE;
	pair_run_for(10 * NS_PER_MS);
	return j;
}

static uint8_t ends(struct job *j)
{
	job_wait(j);
	uint8_t status = j->status;
	job_free(j);
	return status;
}

/* ---- a write whose data is long in coming: it runs, and does not end ---- */

static struct scsi_cmd held;

static void hold(struct scsi_nexus *n, uint8_t attr)
{
	memset(&held, 0xdd, sizeof(held));
	held.nexus = n;
	memset(held.lun, 0, 8);
	memcpy(held.cdb, WRITE8, 16);
	held.cdb_len = 10;
	held.attr = attr;
	held.out_expected = 4096;
	held.trace.received_ns = 0;
	ck_assert_int_eq(scsi_start(&held), SCSI_DATA_OUT);
}

static void finish(void *arg)
{
	for (int i = 0; i < held.out_iovcnt; i++)
		memset(held.out_iov[i].iov_base, 'h', held.out_iov[i].iov_len);
	enum scsi_next next = scsi_finish(&held);
	if (next == SCSI_WAIT)
		next = scsi_finish_wait(&held);
	ck_assert_int_eq(next, SCSI_DONE);
}

static uint8_t release(void)
{
	pair_task(finish, NULL);
	scsi_release(&held);
	pair_run_for(10 * NS_PER_MS);
	return held.status;
}

static struct task_set *set_of(struct scsi_nexus *n)
{
	return &view_find(n->view, 0)->lu->set;
}

static void expect_idle(void)
{
	for (unsigned i = 0; i < 2; i++) {
		struct task_set *s = set_of(i ? x : z);
		ck_assert(!s->strict);
		ck_assert_uint_eq(s->running + s->nwaiting + s->cells[0].running, 0);
	}
}

/* ---- what is told ---- */

START_TEST(attributes_that_are_not_there)
{
	struct scsi_nexus *const by[] = {x, z};
	for (unsigned i = 0; i < 2; i++) {
		job_attr = SCSI_ATTR_OTHER;
		ck_assert_int_eq(TUR(by[i]), SCSI_CHECK_CONDITION);
		ck_assert_uint_eq(job_sense(last), 0x054900);
		ck_assert_int_eq(pair_cmd(by[i], 0, WRITE8, page, 4096), SCSI_CHECK_CONDITION);
		ck_assert_uint_eq(job_sense(last), 0x054900);
		job_attr = SCSI_SIMPLE;
		/* NACA, SAM-5 5.2: there is no NORMACA */
		ck_assert_int_eq(pair_cmd(by[i], 0, CDB(0, 0, 0, 0, 0, 4), NULL, 0),
				 SCSI_CHECK_CONDITION);
		ck_assert_uint_eq(job_sense(last), INVALID_FIELD);
		/* extended INQUIRY data: HEADSUP, ORDSUP, SIMPSUP */
		ck_assert_int_eq(pair_cmd(by[i], 0, CDB(0x12, 1, 0x86, 0, 64), NULL, 64), 0);
		ck_assert_uint_eq(last->in[5] & 0x3f, 0x07);
		/* control mode page: one task set for all (TST 0), unrestricted reordering */
		ck_assert_int_eq(pair_cmd(by[i], 0, CDB(0x1a, 8, 0x0a, 0, 64), NULL, 64), 0);
		ck_assert_uint_eq(last->in[4 + 2] >> 5, 0);
		ck_assert_uint_eq(last->in[4 + 3] >> 4, 1);
	}
	ck_assert_uint_eq(pr->s[A].core->volumes[0].commits, 0);
	expect_idle();
}
END_TEST

/* ---- order ---- */

START_TEST(ordered_waits_for_all_and_all_for_it)
{
	struct scsi_nexus *const by[] = {z, x, y};
	struct scsi_nexus *n = by[_i]; /* of the ORDERED one */
	hold(z, SCSI_SIMPLE);
	struct job *o = begin(n, SCSI_ORDERED, WRITE8, page);
	struct job *s[3];
	for (unsigned i = 0; i < 3; i++) {
		s[i] = begin(by[i], SCSI_SIMPLE, READ8, NULL);
		ck_assert(!o->done && !s[i]->done);
	}
	/* these do not take part, and HEAD OF QUEUE passes */
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(pair_cmd(by[i], 0, CDB(0x12, 0, 0, 0, 36), NULL, 36), 0);
		ck_assert_int_eq(pair_cmd(by[i], 0, CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 1), NULL, 256),
				 0);
		ck_assert_int_eq(pair_cmd(by[i], 0, CDB(0x03, 0, 0, 0, 252), NULL, 252), 0);
		ck_assert_int_eq(ends(begin(by[i], SCSI_HEAD, READ8, NULL)), 0);
	}
	/* another unit is another matter */
	ck_assert_int_eq(pair_cmd(n, 1, CDB(0), NULL, 0), 0);
	ck_assert(!o->done && !s[0]->done && !s[1]->done && !s[2]->done);
	ck_assert_int_eq(release(), 0);
	ck_assert_int_eq(ends(o), 0);
	for (unsigned i = 0; i < 3; i++) {
		job_wait(s[i]);
		ck_assert_int_eq(s[i]->status, 0);
		ck_assert(!memcmp(s[i]->in, page, 4096)); /* what the ORDERED one wrote */
		job_free(s[i]);
	}
	expect_idle();
}
END_TEST

/* The front keeps what it has of a session in order, though the owner has not heard of it: a write
 * goes there when its data has come. */
START_TEST(the_front_keeps_order)
{
	hold(x, SCSI_SIMPLE);
	uint64_t served = view_find(z->view, 0)->lu->forward.served;
	struct job *o = begin(x, SCSI_ORDERED, WRITE8, page);
	struct job *s = begin(y, SCSI_SIMPLE, READ8, NULL);
	ck_assert(!o->done && !s->done);
	ck_assert_uint_eq(view_find(z->view, 0)->lu->forward.served, served);
	ck_assert_int_eq(pair_cmd(z, 0, READ8, NULL, 4096), 0); /* nothing of it is known there */
	ck_assert_int_eq(release(), 0);
	ck_assert_int_eq(ends(o), 0);
	job_wait(s);
	ck_assert(!memcmp(s->in, page, 4096));
	job_free(s);
	expect_idle();
}
END_TEST

START_TEST(head_of_queue_keeps_back_what_comes)
{
	hold(z, SCSI_HEAD);
	struct job *s = begin(z, SCSI_SIMPLE, READ8, NULL);
	struct job *t = begin(x, SCSI_SIMPLE, READ8, NULL);
	ck_assert(!s->done && !t->done);
	ck_assert_int_eq(release(), 0);
	ck_assert_int_eq(ends(s), 0);
	ck_assert_int_eq(ends(t), 0);
	expect_idle();
}
END_TEST

/* What waits for the limit runs; HEAD OF QUEUE goes first there, too. */
START_TEST(limits_and_order)
{
	struct job *s = stuck(z, READ8, NULL);
	struct job *t = begin(z, SCSI_SIMPLE, READ8, NULL);
	struct job *o = begin(x, SCSI_ORDERED, WRITE8, page);
	struct job *h = begin(y, SCSI_HEAD, READ8, NULL);
	job_wait(h);
	ck_assert(!s->done && !t->done && !o->done);
	ck_assert_int_eq(ends(h), 0);
	job_wait(s);
	ck_assert(!t->done && !o->done);
	job_wait(t);
	ck_assert(!o->done);
	ck_assert_int_eq(ends(o), 0);
	ck_assert_int_eq(ends(s), 0);
	ck_assert_int_eq(ends(t), 0);
	limit(0);
	expect_idle();
}
END_TEST

/* It is checked when its turn comes: what went before it counts. */
START_TEST(judged_when_its_turn_comes)
{
	struct scsi_nexus *const by[] = {z, x};
	hold(z, SCSI_SIMPLE);
	struct job *r = begin(z, SCSI_ORDERED, CDB(0x16), NULL); /* RESERVE */
	struct job *s = begin(x, SCSI_SIMPLE, WRITE8, page);
	ck_assert(!r->done && !s->done);
	ck_assert_int_eq(release(), 0);
	ck_assert_int_eq(ends(r), 0);
	ck_assert_int_eq(ends(s), SCSI_RESERVATION_CONFLICT);
	ck_assert_int_eq(pair_cmd(z, 0, CDB(0x17), NULL, 0), 0);
	/* one that is wrong waits like any other, and keeps nobody for longer */
	for (unsigned i = 0; i < 2; i++) {
		hold(z, SCSI_SIMPLE);
		struct job *w = begin(by[i], SCSI_ORDERED, CDB(0xee), NULL);
		ck_assert(!w->done);
		ck_assert_int_eq(release(), 0);
		job_wait(w);
		ck_assert_uint_eq(job_sense(w), INVALID_OPCODE);
		job_free(w);
	}
	expect_idle();
}
END_TEST

/* ---- ends of those that wait ---- */

START_TEST(aborted_ones)
{
	struct scsi_nexus *const by[] = {z, x, y};
	hold(z, SCSI_SIMPLE);
	struct job *o = begin(by[_i], SCSI_ORDERED, WRITE8, page);
	struct job *p = begin(by[_i], SCSI_ORDERED, WRITE8, page);
	struct job *s = begin(by[_i], SCSI_SIMPLE, READ8, NULL);
	scsi_abort(&p->c);
	pair_run_for(10 * NS_PER_MS);
	ck_assert_int_eq(ends(p), SCSI_TASK_ABORTED);
	ck_assert(!o->done && !s->done);
	scsi_abort(&o->c);
	pair_run_for(10 * NS_PER_MS);
	ck_assert_int_eq(ends(o), SCSI_TASK_ABORTED);
	ck_assert_int_eq(ends(s), 0); /* nothing is in its way any more */
	ck_assert_int_eq(release(), 0);
	ck_assert_uint_eq(pr->s[A].core->volumes[0].commits, 1);
	expect_idle();
}
END_TEST

START_TEST(resets)
{
	struct scsi_nexus *const by[] = {z, x, y};
	pair_job_aborts(true);
	hold(z, SCSI_SIMPLE);
	struct job *j[6];
	for (unsigned i = 0; i < 6; i++)
		j[i] = begin(by[i % 3], i % 2 ? SCSI_SIMPLE : SCSI_ORDERED, WRITE8, page);
	scsi_release(&held); /* a transport aborts its own before it asks */
	for (unsigned i = 0; i < 6; i++)
		if (by[i % 3] == by[_i] && !j[i]->done)
			scsi_abort(&j[i]->c);
	ck_assert_int_eq(pair_tmf(by[_i], 0, SCSI_TMF_LU_RESET), 0);
	for (unsigned i = 0; i < 6; i++) {
		ck_assert(j[i]->done); /* before the function was answered */
		job_free(j[i]);
	}
	expect_idle();
	take_attentions();
	ck_assert_int_eq(TUR(x), 0);
}
END_TEST

START_TEST(the_front_dies)
{
	hold(z, SCSI_SIMPLE);
	struct job *o = begin(x, SCSI_ORDERED, WRITE8, page);
	struct job *s = begin(z, SCSI_SIMPLE, READ8, NULL);
	ck_assert(!o->done && !s->done);
	pair_down();
	pair_run_for(10 * NS_PER_MS);
	ck_assert_int_eq(ends(s), 0); /* the other's ORDERED one is gone */
	job_wait(o);
	ck_assert_uint_eq(job_sense(o), ACCESS);
	job_free(o);
	ck_assert_int_eq(release(), 0);
	ck_assert_uint_eq(pr->s[A].core->volumes[0].commits, 1);
	expect_idle();
}
END_TEST

/* The one nexus loses its unit; others go on. */
START_TEST(a_unit_is_taken_away)
{
	hold(z, SCSI_SIMPLE);
	struct job *o = begin(z, SCSI_ORDERED, WRITE8, page);
	struct job *s = begin(x, SCSI_SIMPLE, READ8, NULL);
	fake_lun_remove(pr->s[A].core->meta->am->targets[0], 0);
	fake_meta_changed(pr->s[A].core);
	pair_run_for(10 * NS_PER_MS);
	ck_assert(o->done && s->done);
	ck_assert_uint_eq(job_sense(o), LUN_GONE);
	job_free(o);
	ck_assert_uint_eq(job_sense(s), LUN_GONE);
	job_free(s);
	ck_assert_int_eq(release(), 0); /* it began before */
}
END_TEST

/*
 * o waits at A for the held one, and s of B's session behind o. When the volume goes to B, o goes
 * after it, and waits there for s, which is of B's task set: s must not wait at A for o.
 */
START_TEST(the_volume_moves_under_them)
{
	hold(z, SCSI_SIMPLE);
	struct job *o = begin(z, SCSI_ORDERED, WRITE8, page);
	struct job *s = begin(x, _i ? SCSI_ORDERED : SCSI_SIMPLE, READ8, NULL);
	ck_assert(!o->done && !s->done);
	pair_place(B);
	pair_run_for(10 * NS_PER_MS);
	ck_assert(s->done && !o->done);
	ck_assert_int_eq(ends(s), 0);
	release();
	ck_assert_int_eq(ends(o), 0);
	/* and a young one that came by B meanwhile keeps to the order there */
	take_attentions();
	struct job *t = begin(y, SCSI_SIMPLE, READ8, NULL);
	job_wait(t);
	ck_assert(!memcmp(t->in, page, 4096));
	job_free(t);
	expect_idle();
}
END_TEST

/* It leaves and is there again before those that wait have looked: the partner's go on. */
START_TEST(the_volume_leaves_and_comes_back)
{
	hold(z, SCSI_SIMPLE);
	struct job *o = begin(x, SCSI_ORDERED, WRITE8, page);
	struct job *s = begin(y, SCSI_SIMPLE, READ8, NULL);
	fake_core_place(pr->s[A].core, 1, CORE_PARTNER);
	fake_core_place(pr->s[A].core, 1, CORE_HERE);
	pair_run_for(10 * NS_PER_MS);
	ck_assert(!o->done && !s->done);
	ck_assert_int_eq(release(), 0);
	ck_assert_int_eq(ends(o), 0);
	job_wait(s);
	ck_assert_int_eq(s->status, 0);
	ck_assert(!memcmp(s->in, page, 4096));
	job_free(s);
	expect_idle();
}
END_TEST

/* Nobody has the volume: all are held as long as one is, not one after the other. */
START_TEST(held_together)
{
	struct job *j[5];
	fake_core_place(pr->s[A].core, 1, CORE_MOVING);
	for (unsigned i = 0; i < 5; i++)
		j[i] = begin(_i ? x : z, i < 3 ? SCSI_ORDERED : SCSI_SIMPLE, WRITE8, page);
	pair_run_for(15 * NS_PER_S);
	for (unsigned i = 0; i < 5; i++)
		ck_assert(!j[i]->done);
	pair_run_for(8 * NS_PER_S);
	for (unsigned i = 0; i < 5; i++) {
		ck_assert(j[i]->done);
		ck_assert_uint_eq(job_sense(j[i]), 0x02040a);
		job_free(j[i]);
	}
	expect_idle();
	/* and where it comes back they go on, in order */
	fake_core_place(pr->s[A].core, 1, CORE_HERE);
	take_attentions();
	hold(z, SCSI_SIMPLE);
	struct job *o = begin(_i ? x : z, SCSI_ORDERED, WRITE8, page);
	struct job *s = begin(_i ? x : z, SCSI_SIMPLE, READ8, NULL);
	ck_assert_int_eq(release(), 0);
	ck_assert_int_eq(ends(o), 0);
	ck_assert_int_eq(ends(s), 0);
}
END_TEST

int main(void)
{
	static const struct {
		const TTest *const *test;
		int times;
	} tests[] = {
	    {&attributes_that_are_not_there, 1},
	    {&ordered_waits_for_all_and_all_for_it, 3},
	    {&the_front_keeps_order, 1},
	    {&head_of_queue_keeps_back_what_comes, 1},
	    {&limits_and_order, 1},
	    {&judged_when_its_turn_comes, 1},
	    {&aborted_ones, 3},
	    {&resets, 3},
	    {&the_front_dies, 1},
	    {&a_unit_is_taken_away, 1},
	    {&the_volume_moves_under_them, 2},
	    {&held_together, 2},
	    {&the_volume_leaves_and_comes_back, 1},
	};
	TCase *tc = partner_case("order");
	for (unsigned i = 0; i < ARRAY_LEN(tests); i++)
		tcase_add_loop_test(tc, *tests[i].test, 0, tests[i].times);
	return partner_run("order", tc);
}
