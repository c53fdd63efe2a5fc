/*
 * Two controllers beyond single commands: task management, reservations, unit attentions, volumes
 * that move while commands run, a partner that dies, and one that sends anything.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <check.h>
#include "runtime/err.h"
#include "tests/unit/scsi/pair.h"

#define TUR(n)	     pair_cmd(n, 0, CDB(0), NULL, 0)
#define ACCESS	     0x062a06
#define MODE_CHANGED 0x062a01
#define WAS_RESET    0x062903
#define CONFLICT(n)  ck_assert_int_eq(pair_cmd(n, 0, READ8, NULL, 4096), SCSI_RESERVATION_CONFLICT)
#define READ8	     CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 8)
#define WRITE8	     CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 8)

/* The volumes are at A; x and y are at B, z at A. */
static struct scsi_nexus *x, *y, *z;
static uint8_t page[1 << 21];

static void setup(void)
{
	pair_setup(A);
	x = pair_login(B, HOST_A);
	y = pair_login(B, HOST_B);
	z = pair_login(A, HOST_A);
	for (unsigned i = 0; i < sizeof(page); i++)
		page[i] = (uint8_t)(i * 7 + i / 4096);
}

static void teardown(void)
{
	pair_logout(x);
	pair_logout(y);
	pair_logout(z);
	pair_teardown();
}

static void expect_ua(struct scsi_nexus *n, uint32_t sense)
{
	ck_assert_int_eq(TUR(n), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(job_sense(last), sense);
}

static void expect_none(struct scsi_nexus *n)
{
	ck_assert_int_eq(TUR(n), SCSI_GOOD);
}

static void take_attentions(void)
{
	struct scsi_nexus *const all[] = {x, y, z};
	uint8_t asc, ascq;
	for (unsigned i = 0; i < ARRAY_LEN(all); i++)
		while (nexus_ua_take(all[i], 0, &asc, &ascq))
			;
}

/* Control mode page: D_SENSE, TAS. */
static void select_control(struct scsi_nexus *n, bool d_sense, bool tas)
{
	uint8_t list[4 + 12] = {0, 0, 0, 0, 0x0a, 0x0a};
	ck_assert_int_eq(pair_cmd(n, 0, CDB(0x1a, 8, 0x0a, 0, 255), NULL, 255), SCSI_GOOD);
	memcpy(list + 4, last->in + 4, 12);
	list[6] = (uint8_t)((list[6] & ~4) | (d_sense ? 4 : 0));
	list[9] = (uint8_t)((list[9] & ~0x40) | (tas ? 0x40 : 0));
	ck_assert_int_eq(pair_cmd(n, 0, CDB(0x15, 0x10, 0, 0, 16), list, 16), SCSI_GOOD);
}

/* ---- unit attentions ---- */

START_TEST(mode_changes_are_told_to_all_others_once)
{
	select_control(x, true, false);
	expect_none(x);
	expect_ua(y, MODE_CHANGED);
	expect_ua(z, MODE_CHANGED);
	expect_none(y);
	expect_none(z);
	/* what the front answers by itself has the format that was chosen */
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(pair_cmd(i ? z : x, 0, CDB(0x12, 0, 1, 0, 36), NULL, 36),
				 SCSI_CHECK_CONDITION);
		ck_assert_uint_eq(last->sense[0], 0x72);
	}
	/* and the other way */
	select_control(z, false, false);
	expect_none(z);
	expect_ua(x, MODE_CHANGED);
	expect_ua(y, MODE_CHANGED);
	ck_assert_int_eq(pair_cmd(x, 0, CDB(0x12, 0, 1, 0, 36), NULL, 36), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(last->sense[0], 0x70);
}
END_TEST

START_TEST(resets_go_first)
{
	select_control(z, true, false);
	ck_assert_int_eq(pair_tmf(z, 0, SCSI_TMF_LU_RESET), 0);
	expect_ua(x, WAS_RESET);
	expect_ua(x, MODE_CHANGED);
	expect_none(x);
	expect_ua(y, WAS_RESET);
	expect_ua(z, WAS_RESET); /* also who did it */
	/* REQUEST SENSE takes one by itself, and asks the owner when there is none */
	ck_assert_int_eq(pair_cmd(y, 0, CDB(3, 0, 0, 0, 252), NULL, 252), SCSI_GOOD);
	ck_assert_uint_eq(last->in[12] << 8 | last->in[13], 0x2a01);
	ck_assert_int_eq(pair_cmd(y, 0, CDB(3, 0, 0, 0, 252), NULL, 252), SCSI_GOOD);
	ck_assert_uint_eq(last->in[2], 0);
}
END_TEST

START_TEST(a_nexus_that_comes_late_is_known_before_its_first_command)
{
	struct scsi_nexus *late = pair_login(B, "iqn.2026-01.example:late");
	ck_assert_uint_eq(late->known, link_session(pr->s[B].link));
	select_control(z, true, false);
	expect_ua(late, MODE_CHANGED);
	pair_logout(late);
	ck_assert_uint_eq(pr->s[A].registry->forward->nproxies, 2);
}
END_TEST

START_TEST(luns_that_come_and_go_are_told_once)
{
	fake_lun_remove(pr->s[A].core->meta->am->targets[0], 2);
	fake_meta_changed(pr->s[A].core);
	expect_ua(x, 0x063f0e);
	expect_none(x);
	expect_ua(z, 0x063f0e);
	expect_none(z);
}
END_TEST

/* ---- reservations ---- */

START_TEST(reserve_holds_at_both)
{
	ck_assert_int_eq(pair_cmd(x, 0, CDB(0x16), NULL, 0), SCSI_GOOD);
	CONFLICT(y);
	CONFLICT(z);
	ck_assert_int_eq(pair_cmd(x, 0, READ8, NULL, 4096), SCSI_GOOD);
	/* it stays when the volume moves, either way */
	pair_place(B);
	expect_ua(x, ACCESS);
	CONFLICT(z); /* goes before the unit attention */
	CONFLICT(y);
	ck_assert_int_eq(pair_cmd(x, 0, READ8, NULL, 4096), SCSI_GOOD);
	pair_place(A);
	CONFLICT(z);
	expect_ua(x, ACCESS);
	ck_assert_int_eq(pair_cmd(x, 0, CDB(0x17), NULL, 0), SCSI_GOOD);
	expect_ua(z, ACCESS);
	ck_assert_int_eq(pair_cmd(z, 0, CDB(0x16), NULL, 0), SCSI_GOOD);
	CONFLICT(x);
}
END_TEST

START_TEST(reserve_ends_with_its_session)
{
	struct scsi_nexus *n = pair_login(B, "iqn.2026-01.example:short");
	ck_assert_int_eq(pair_cmd(n, 0, CDB(0x16), NULL, 0), SCSI_GOOD);
	CONFLICT(z);
	pair_logout(n);
	ck_assert_int_eq(pair_cmd(z, 0, READ8, NULL, 4096), SCSI_GOOD);
	/* and with its controller */
	ck_assert_int_eq(pair_cmd(x, 0, CDB(0x16), NULL, 0), SCSI_GOOD);
	CONFLICT(z);
	pair_down();
	expect_ua(z, ACCESS); /* to its ports */
	ck_assert_int_eq(pair_cmd(z, 0, READ8, NULL, 4096), SCSI_GOOD);
}
END_TEST

static uint8_t pr_out(struct scsi_nexus *n, uint8_t action, uint8_t type, uint64_t key,
		      uint64_t sa_key)
{
	uint8_t list[24] = {0};
	be64_put(list, key);
	be64_put(list + 8, sa_key);
	return pair_cmd(n, 0, CDB(0x5f, action, type, 0, 0, 0, 0, 0, 24), list, 24);
}

START_TEST(persistent_reservations_are_one_for_both)
{
	ck_assert_int_eq(pr_out(x, 0, 0, 0, 1), SCSI_GOOD);
	ck_assert_int_eq(pr_out(z, 0, 0, 0, 2), SCSI_GOOD); /* another nexus, by its tag */
	ck_assert_int_eq(pr_out(x, 1, 3, 1, 0), SCSI_GOOD);
	CONFLICT(z);
	CONFLICT(y);
	ck_assert_int_eq(pair_cmd(x, 0, READ8, NULL, 4096), SCSI_GOOD);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(
		    pair_cmd(i ? z : y, 0, CDB(0x5e, 0, 0, 0, 0, 0, 0, 1, 0), NULL, 256),
		    SCSI_GOOD);
		ck_assert_uint_eq(be32_get(last->in + 4), 16); /* two keys */
	}
	/* z takes it: x is told, once */
	ck_assert_int_eq(pr_out(z, 4, 3, 2, 1), SCSI_GOOD);
	expect_ua(x, 0x062a05);
	CONFLICT(x);
	ck_assert_int_eq(pair_cmd(z, 0, READ8, NULL, 4096), SCSI_GOOD);
	ck_assert_int_eq(pr_out(z, 3, 0, 2, 0), SCSI_GOOD);
	expect_none(x);
	expect_none(y);
}
END_TEST

/* Without APTPL they are in the memory of the controller that wrote them: the other knows it. */
START_TEST(reservations_outlive_their_owner)
{
	ck_assert_int_eq(pr_out(x, 0, 0, 0, 1), SCSI_GOOD);
	ck_assert_int_eq(pr_out(x, 1, 3, 1, 0), SCSI_GOOD);
	CONFLICT(y);
	ck_assert_uint_eq(fake_meta(pr->s[A].core)->reservations[0]->memory,
			  pr->s[A].core->memory_id);
	pair_down();
	pair_place(B);
	take_attentions();
	CONFLICT(y);
	ck_assert_int_eq(pair_cmd(x, 0, READ8, NULL, 4096), SCSI_GOOD);
	ck_assert_int_eq(pr_out(x, 2, 3, 1, 0), SCSI_GOOD);
	ck_assert_int_eq(pair_cmd(y, 0, READ8, NULL, 4096), SCSI_GOOD);
}
END_TEST

/* ---- commands that wait at the owner ---- */

/* One operation a second. */
static void limit(unsigned iops)
{
	Isthmus__Volume *v = fake_meta(pr->s[A].core)->volumes[0];
	if (!v->limits) {
		v->limits = malloc(sizeof(*v->limits));
		isthmus__limits__init(v->limits);
	}
	v->limits->iops = iops;
	v->limits->iops_burst = iops;
	fake_meta_changed(pr->s[A].core);
}

/* A command of n that waits at the owner for longer than any test. */
static struct job *stuck(struct scsi_nexus *n, const uint8_t *cdb, const void *out)
{
	limit(1);
	struct job *first = job_start(n, 0, READ8, NULL, 4096);
	job_wait(first);
	job_free(first);
	struct job *j = job_start(n, 0, cdb, out, 4096);
	pair_run_for(10 * NS_PER_MS);
	ck_assert(!j->done);
	return j;
}

START_TEST(an_abort_reaches_the_owner)
{
	struct job *j = stuck(x, WRITE8, page);
	scsi_abort(&j->c);
	pair_run_for(10 * NS_PER_MS);
	ck_assert(j->done);
	job_free(j);
	ck_assert_uint_eq(pr->s[A].core->volumes[0].commits, 0);
	ck_assert_uint_eq(fake_link_open(pr->s[A].link), 0);
}
END_TEST

START_TEST(limits_are_the_owners)
{
	limit(10);
	uint64_t t = env_now_ns(pr->s[A].core->env);
	for (int i = 0; i < 30; i++)
		ck_assert_int_eq(pair_cmd(i & 1 ? x : z, 0, READ8, NULL, 4096), SCSI_GOOD);
	t = env_now_ns(pr->s[A].core->env) - t;
	ck_assert_uint_gt(t, 15 * NS_PER_S / 10);
	ck_assert_uint_lt(t, 40 * NS_PER_S / 10);
}
END_TEST

START_TEST(resets_end_what_waits_at_the_owner)
{
	struct scsi_nexus *const by[] = {x, y, z};
	for (unsigned i = 0; i < ARRAY_LEN(by); i++) {
		struct job *j = stuck(x, WRITE8, page);
		pair_job_aborts(true);
		if (by[i] == x) /* the transport aborts its own before it asks */
			scsi_abort(&j->c);
		ck_assert_int_eq(
		    pair_tmf(by[i], 0, i == 1 ? SCSI_TMF_CLEAR_TASK_SET : SCSI_TMF_LU_RESET), 0);
		ck_assert(j->done); /* before the function was answered */
		job_free(j);
		limit(0);
		while (TUR(x) != SCSI_GOOD || TUR(y) != SCSI_GOOD || TUR(z) != SCSI_GOOD)
			;
	}
	ck_assert_uint_eq(pr->s[A].core->volumes[0].commits, 0);
}
END_TEST

START_TEST(preempt_and_abort_ends_what_waits_at_the_owner)
{
	ck_assert_int_eq(pr_out(x, 0, 0, 0, 1), SCSI_GOOD);
	ck_assert_int_eq(pr_out(z, 0, 0, 0, 2), SCSI_GOOD);
	ck_assert_int_eq(pr_out(x, 1, 5, 1, 0), SCSI_GOOD);
	struct job *j = stuck(x, WRITE8, page);
	pair_job_aborts(true);
	ck_assert_int_eq(pr_out(z, 5, 5, 2, 1), SCSI_GOOD);
	ck_assert(j->done);
	job_free(j);
	ck_assert_uint_eq(pr->s[A].core->volumes[0].commits, 0);
	limit(0);
	expect_ua(x, 0x062a05);
}
END_TEST

START_TEST(a_target_reset_reaches_units_of_both)
{
	fake_core_place(pr->s[A].core, 2, CORE_PARTNER); /* LUN 1 is at B */
	expect_none(x);					 /* LUN 0's */
	select_control(x, true, false);
	expect_ua(y, MODE_CHANGED);
	expect_ua(z, MODE_CHANGED);
	ck_assert_int_eq(pair_tmf(x, 0, SCSI_TMF_TARGET_RESET), 0);
	expect_ua(z, WAS_RESET);
	expect_ua(y, WAS_RESET);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(pair_cmd(i ? z : y, 1, CDB(0), NULL, 0), SCSI_CHECK_CONDITION);
		ck_assert_uint_eq(job_sense(last), WAS_RESET);
	}
	ck_assert(!view_find(x->view, 0)->lu->d_sense);
}
END_TEST

/* ---- volumes that move ---- */

START_TEST(commands_are_held_while_a_volume_moves)
{
	struct scsi_nexus *const all[] = {x, z};
	for (unsigned i = 0; i < 2; i++) {
		fake_core_place(pr->s[A].core, 1, CORE_MOVING);
		take_attentions();
		struct job *w = job_start(all[i], 0, WRITE8, page + i * 512, 4096);
		struct job *r =
		    job_start(all[i], 0, CDB(0x28, 0, 0, 0, 1, 0, 0, 8, 0), NULL, 1 << 20);
		pair_run_for(3 * NS_PER_S);
		ck_assert(!w->done && !r->done);
		ck_assert_uint_eq(view_find(all[i]->view, 0)->lu->forward.held, 2);
		/* ALUA says why */
		ck_assert_int_eq(
		    pair_cmd(all[i], 0, CDB(0xa3, 0x0a, 0, 0, 0, 0, BE32(255)), NULL, 255),
		    SCSI_GOOD);
		ck_assert_uint_eq(last->in[4] & 0x0f, ALUA_TRANSITIONING);
		/* it comes to B: for x here, for z there */
		fake_core_place(pr->s[A].core, 1, i ? CORE_HERE : CORE_PARTNER);
		job_wait(w);
		job_wait(r);
		ck_assert_int_eq(w->status, SCSI_GOOD);
		ck_assert_int_eq(r->status, SCSI_GOOD);
		ck_assert_uint_eq(r->in_len, 1 << 20);
		ck_assert_int_eq(memcmp(pr->s[A].core->volumes[0].data, page + i * 512, 4096), 0);
		job_free(w);
		job_free(r);
		expect_ua(all[i], ACCESS);
		expect_none(all[i]);
	}
}
END_TEST

START_TEST(long_writes_that_were_held_are_carried_out_here)
{
	fake_core_place(pr->s[A].core, 1, CORE_MOVING);
	struct job *w = job_start(x, 0, CDB(0x8a, 0, BE64(8), BE32(4096)), page, 2 << 20);
	struct job *v = job_start(x, 0, CDB(0x8a, 8, BE64(8192), BE32(512)), page, 256 << 10);
	pair_run_for(NS_PER_S);
	fake_core_place(pr->s[A].core, 1, CORE_PARTNER);
	job_wait(w);
	job_wait(v);
	ck_assert_int_eq(w->status, SCSI_GOOD);
	ck_assert_int_eq(memcmp(pr->s[A].core->volumes[0].data + 8 * 512, page, 2 << 20), 0);
	ck_assert_int_eq(memcmp(pr->s[A].core->volumes[0].data + 8192 * 512, page, 256 << 10), 0);
	job_free(w);
	job_free(v);
	struct job *r = job_start(x, 0, CDB(0x88, 0, BE64(8), BE32(4096)), NULL, 2 << 20);
	job_wait(r);
	ck_assert_int_eq(r->status, SCSI_CHECK_CONDITION); /* told of the move first */
	job_free(r);
	r = job_start(x, 0, CDB(0x88, 0, BE64(8), BE32(4096)), NULL, 2 << 20);
	job_wait(r);
	ck_assert_int_eq(memcmp(r->in, page, 2 << 20), 0);
	job_free(r);
}
END_TEST

START_TEST(nobody_is_held_for_ever)
{
	struct scsi_nexus *const all[] = {x, z};
	fake_core_place(pr->s[A].core, 1, CORE_MOVING);
	for (unsigned i = 0; i < 2; i++) {
		struct job *j = job_start(all[i], 0, WRITE8, page, 4096);
		pair_run_for(25 * NS_PER_S);
		ck_assert(j->done);
		ck_assert_uint_eq(job_sense(j), 0x02040a);
		job_free(j);
		j = job_start(all[i], 0, WRITE8, page, 4096);
		pair_run_for(NS_PER_S);
		ck_assert(!j->done);
		scsi_abort(&j->c);
		pair_run_for(NS_PER_MS);
		ck_assert(j->done);
		job_free(j);
	}
	fake_core_place(pr->s[A].core, 1, CORE_HERE);
}
END_TEST

/* The look says here, the use says not any more. */
START_TEST(a_volume_that_leaves_between_the_look_and_the_use)
{
	struct volume *v = &pr->s[A].core->volumes[0];
	struct scsi_nexus *const all[] = {x, z};
	for (unsigned i = 0; i < 2; i++) {
		v->refusals = 1;
		ck_assert_int_eq(pair_cmd(all[i], 0, READ8, NULL, 4096), SCSI_GOOD);
		v->refusals = 1;
		ck_assert_int_eq(pair_cmd(all[i], 0, WRITE8, page + i, 4096), SCSI_GOOD);
		ck_assert_int_eq(memcmp(v->data, page + i, 4096), 0);
		v->miss = true;
		v->refusals = 1;
		ck_assert_int_eq(pair_cmd(all[i], 0, WRITE8, page, 4096), SCSI_GOOD);
		v->miss = false;
		/* something may have been done */
		v->commit_refusals = 1;
		ck_assert_int_eq(pair_cmd(all[i], 0, WRITE8, page, 4096), SCSI_CHECK_CONDITION);
		ck_assert_uint_eq(job_sense(last), ACCESS);
		v->refusals = 1;
		ck_assert_int_eq(pair_cmd(all[i], 0, CDB(0x93, 1, BE64(0), BE32(8)), NULL, 0),
				 SCSI_CHECK_CONDITION);
		ck_assert_uint_eq(job_sense(last), ACCESS);
		ck_assert_int_eq(pair_cmd(all[i], 0, READ8, NULL, 4096), SCSI_GOOD);
	}
	ck_assert_uint_eq(v->refusals, 0);
}
END_TEST

START_TEST(set_target_port_groups_moves_the_pool)
{
	uint8_t list[8] = {0, 0, 0, 0, ALUA_OPTIMIZED, 0, 0, 2};
	ck_assert_int_eq(pair_cmd(x, 0, CDB(0xa4, 0x0a, 0, 0, 0, 0, BE32(8)), list, 8), SCSI_GOOD);
	ck_assert_int_eq(core_volume_place(&pr->s[B].core->volumes[0]), CORE_HERE);
	expect_none(x); /* it knows */
	expect_ua(y, ACCESS);
	expect_ua(z, ACCESS);
	expect_none(y);
	/* another unit of the pool, which it did not ask for */
	ck_assert_int_eq(pair_cmd(x, 1, CDB(0), NULL, 0), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(job_sense(last), ACCESS);
	uint8_t at_b[64];
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(
		    pair_cmd(i ? z : x, 0, CDB(0xa3, 0x0a, 0, 0, 0, 0, BE32(255)), NULL, 255),
		    SCSI_GOOD);
		ck_assert_uint_eq(be32_get(last->in), 2 * 12);
		ck_assert_uint_eq(last->in[4] & 0x0f, ALUA_NON_OPTIMIZED);
		ck_assert_uint_eq(be16_get(last->in + 6), 1);
		ck_assert_uint_eq(last->in[16], 0x80 | ALUA_OPTIMIZED);
		ck_assert_uint_eq(be16_get(last->in + 18), 2);
		ck_assert_uint_ne(be16_get(last->in + 14), be16_get(last->in + 26));
		if (i)
			ck_assert_int_eq(memcmp(at_b, last->in, 28), 0);
		memcpy(at_b, last->in, 28);
	}
	/* back, asked for through the other; and what fails says so */
	list[7] = 1;
	pr->s[B].core->give_err = -EIO;
	ck_assert_int_eq(pair_cmd(z, 0, CDB(0xa4, 0x0a, 0, 0, 0, 0, BE32(8)), list, 8),
			 SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(job_sense(last), 0x04670a);
	pr->s[B].core->give_err = 0;
	ck_assert_int_eq(pair_cmd(z, 0, CDB(0xa4, 0x0a, 0, 0, 0, 0, BE32(8)), list, 8), SCSI_GOOD);
	ck_assert_int_eq(core_volume_place(&pr->s[A].core->volumes[0]), CORE_HERE);
}
END_TEST

START_TEST(ports_are_told_apart)
{
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(pair_cmd(i ? z : x, 0, CDB(0x12, 1, 0x83, 4, 0), NULL, 1024),
				 SCSI_GOOD);
		unsigned group = 0, port = 0;
		for (unsigned at = 4; at < 4u + be16_get(last->in + 2);
		     at += 4 + last->in[at + 3]) {
			if ((last->in[at + 1] & 0x3f) == 0x15)
				group = be16_get(last->in + at + 6);
			if ((last->in[at + 1] & 0x3f) == 0x14)
				port = be16_get(last->in + at + 6);
		}
		ck_assert_uint_eq(group, i ? 1 : 2);
		ck_assert_uint_eq(port, i ? z->port : x->port);
	}
	ck_assert_uint_ne(x->port, z->port);
}
END_TEST

/* What is to be done to the medium goes on with the next owner. */
START_TEST(a_wipe_goes_on_where_the_volume_is)
{
	memset(pr->s[A].core->volumes[0].data, 0x77, 32 << 20);
	pr->s[A].core->volumes[0].slow = true;
	ck_assert_int_eq(pair_cmd(x, 0, CDB(0x48, 0x82), NULL, 0), SCSI_GOOD); /* IMMED */
	ck_assert_int_eq(TUR(x), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(job_sense(last), 0x02041b);
	pr->s[B].core->volumes[0].slow = true;
	pair_place(B);
	expect_ua(x, ACCESS);
	ck_assert_int_eq(TUR(x), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(job_sense(last), 0x02041b);
	pair_run_for(10 * NS_PER_S);
	ck_assert_int_eq(TUR(x), SCSI_GOOD);
	expect_ua(z, ACCESS);
	ck_assert_int_eq(TUR(z), SCSI_GOOD);
	for (unsigned i = 0; i < 32 << 20; i += 511)
		ck_assert_uint_eq(pr->s[A].core->volumes[0].data[i], 0);
}
END_TEST

/* ---- the partner dies, or cannot be reached ---- */

START_TEST(an_owner_that_dies_with_commands)
{
	struct job *w = stuck(x, WRITE8, page);
	struct job *big = job_start(y, 0, CDB(0x8a, 0, BE64(8), BE32(4096)), page, 2 << 20);
	pair_run_for(NS_PER_MS);
	pair_down();
	pair_run_for(10 * NS_PER_MS);
	ck_assert(w->done && big->done);
	ck_assert_uint_eq(job_sense(w), ACCESS);
	ck_assert_uint_eq(job_sense(big), ACCESS);
	job_free(w);
	job_free(big);
	take_attentions(); /* the partner's ports are away */
	/* new ones wait for the takeover */
	struct job *j = job_start(x, 0, READ8, NULL, 4096);
	pair_run_for(NS_PER_S);
	ck_assert(!j->done);
	limit(0);
	pair_place(B);
	job_wait(j);
	ck_assert_int_eq(j->status, SCSI_GOOD);
	job_free(j);
	expect_ua(x, ACCESS);
	ck_assert_int_eq(pair_cmd(x, 0, CDB(0xa3, 0x0a, 0, 0, 0, 0, BE32(255)), NULL, 255),
			 SCSI_GOOD);
	ck_assert_uint_eq(last->in[4] & 0x0f, ALUA_UNAVAILABLE);
	ck_assert_uint_eq(last->in[16] & 0x0f, ALUA_OPTIMIZED);
	/* its nexuses, too, here; and those here, there */
	ck_assert_uint_eq(pr->s[A].registry->forward->nproxies, 0);
	ck_assert_uint_eq(pr->s[B].registry->forward->nproxies, 0);
	pair_up();
	ck_assert_uint_eq(pr->s[A].registry->forward->nproxies, 2);
	ck_assert_uint_eq(pr->s[B].registry->forward->nproxies, 1);
	ck_assert_int_eq(pair_cmd(z, 0, CDB(3, 0, 0, 0, 252), NULL, 252), SCSI_GOOD);
	while (TUR(z) != SCSI_GOOD)
		;
	ck_assert_int_eq(pair_cmd(z, 0, READ8, NULL, 4096), SCSI_GOOD);
}
END_TEST

START_TEST(a_partner_that_cannot_be_reached_is_waited_for)
{
	pair_down();
	take_attentions(); /* of the ports that are away */
	struct job *w = job_start(x, 0, WRITE8, page, 4096);
	pair_run_for(5 * NS_PER_S);
	ck_assert(!w->done);
	pair_up();
	job_wait(w);
	ck_assert_int_eq(w->status, SCSI_GOOD);
	ck_assert_int_eq(memcmp(pr->s[A].core->volumes[0].data, page, 4096), 0);
	job_free(w);
	pair_down();
	take_attentions();
	w = job_start(x, 0, WRITE8, page, 4096);
	pair_run_for(30 * NS_PER_S);
	ck_assert_uint_eq(job_sense(w), 0x02040c);
	job_free(w);
}
END_TEST

START_TEST(mode_pages_outlive_their_owner)
{
	select_control(x, true, true);
	expect_ua(y, MODE_CHANGED);
	pair_down();
	pair_place(B);
	while (TUR(x) != SCSI_GOOD)
		;
	ck_assert_int_eq(pair_cmd(x, 0, CDB(0x1a, 8, 0x0a, 0, 255), NULL, 255), SCSI_GOOD);
	ck_assert_uint_eq(last->in[6] & 4, 4);
	ck_assert_uint_eq(last->in[9] & 0x40, 0x40);
}
END_TEST

/* ---- a partner that sends anything ---- */

struct injecting {
	int side;
	uint16_t type;
	bool call;
	uint8_t head[LINK_HEAD_MAX];
	uint32_t head_len, data_len;
};

static void inject(void *arg)
{
	struct injecting *i = arg;
	fake_link_inject(pr->s[i->side].link, LINK_DATA, i->type, i->call, i->head, i->head_len,
			 page, i->data_len);
}

static uint64_t seed;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(seed >> 33) % below;
}

START_TEST(whatever_the_partner_sends)
{
	static const uint32_t lens[] = {0,
					1,
					2,
					FWD_ITEM_LEN,
					FWD_NEXUS_LEN,
					FWD_CMD_LEN + 6,
					FWD_CMD_LEN + 16,
					FWD_DONE_LEN,
					FWD_UNIT_LEN,
					4096};
	static const uint8_t ops[] = {0, 3, 0x12, 0x28, 0x2a, 0x88, 0x8a, 0x5f, 0xa3, 0x83, 0x89};
	seed = 5;
	for (int i = 0; i < 20000; i++) {
		struct injecting m = {.side = (int)rnd(2),
				      .type = (uint16_t)rnd(14),
				      .call = rnd(4) ? rnd(2) : true,
				      .head_len = lens[rnd(ARRAY_LEN(lens))],
				      .data_len = rnd(3) ? 0 : rnd(8193)};
		for (unsigned k = 0; k < m.head_len; k++)
			m.head[k] = (uint8_t)(rnd(3) ? 0 : rnd(256));
		if (rnd(8))
			le16_put(m.head, FWD_VERSION);
		if (rnd(4) && m.type == FWD_CMD) {
			le16_put(m.head + 2, (uint16_t)(m.head_len - FWD_CMD_LEN));
			le64_put(m.head + 8, 1 + rnd(4));
			memset(m.head + 24, 0, 20);
			m.head[FWD_CMD_LEN] = ops[rnd(ARRAY_LEN(ops))];
			le32_put(m.head + 32, m.data_len);
			le32_put(m.head + 36, m.data_len);
			le32_put(m.head + 40, rnd(8192));
		} else if (rnd(2)) {
			le64_put(m.head + 4, 1 + rnd(4));
		}
		pair_task(inject, &m);
		if (i % 64 == 0)
			pair_run_for(NS_PER_MS);
	}
	pair_run_for(NS_PER_S);
	/* what it asked for may have been done; nobody is hurt otherwise */
	pair_down();
	pair_up();
	for (int i = 0; i < 100 && TUR(x) != SCSI_GOOD; i++)
		;
	ck_assert_int_eq(TUR(x), SCSI_GOOD);
}
END_TEST

static TCase *tests(void)
{
	TCase *tc = tcase_create("partner");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, mode_changes_are_told_to_all_others_once);
	tcase_add_test(tc, resets_go_first);
	tcase_add_test(tc, a_nexus_that_comes_late_is_known_before_its_first_command);
	tcase_add_test(tc, luns_that_come_and_go_are_told_once);
	tcase_add_test(tc, reserve_holds_at_both);
	tcase_add_test(tc, reserve_ends_with_its_session);
	tcase_add_test(tc, persistent_reservations_are_one_for_both);
	tcase_add_test(tc, reservations_outlive_their_owner);
	tcase_add_test(tc, an_abort_reaches_the_owner);
	tcase_add_test(tc, limits_are_the_owners);
	tcase_add_test(tc, resets_end_what_waits_at_the_owner);
	tcase_add_test(tc, preempt_and_abort_ends_what_waits_at_the_owner);
	tcase_add_test(tc, a_target_reset_reaches_units_of_both);
	tcase_add_test(tc, commands_are_held_while_a_volume_moves);
	tcase_add_test(tc, long_writes_that_were_held_are_carried_out_here);
	tcase_add_test(tc, nobody_is_held_for_ever);
	tcase_add_test(tc, a_volume_that_leaves_between_the_look_and_the_use);
	tcase_add_test(tc, set_target_port_groups_moves_the_pool);
	tcase_add_test(tc, ports_are_told_apart);
	tcase_add_test(tc, a_wipe_goes_on_where_the_volume_is);
	tcase_add_test(tc, an_owner_that_dies_with_commands);
	tcase_add_test(tc, a_partner_that_cannot_be_reached_is_waited_for);
	tcase_add_test(tc, mode_pages_outlive_their_owner);
	tcase_add_test(tc, whatever_the_partner_sends);
	return tc;
}

int main(void)
{
	Suite *suite = suite_create("partner");
	suite_add_tcase(suite, tests());
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
