/* Two controllers: volumes that move while commands run, a partner that dies, and one that sends
 * anything. */
#include "tests/unit/scsi/partner_rig.h"

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
		/* whose it is to be is no host's to say */
		ck_assert_uint_eq(last->in[4], 0x80 | ALUA_NON_OPTIMIZED);
		ck_assert_uint_eq(be16_get(last->in + 6), 1);
		ck_assert_uint_eq(last->in[16], ALUA_OPTIMIZED);
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
	pr->s[B].core->partner_ended = true;
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
	pr->s[B].core->partner_ended = false;
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

static void groups_are(struct scsi_nexus *n, uint8_t a, uint8_t b)
{
	ck_assert_int_eq(pair_cmd(n, 0, CDB(0xa3, 0x0a, 0, 0, 0, 0, BE32(255)), NULL, 255),
			 SCSI_GOOD);
	ck_assert_uint_eq(last->in[4] & 0x0f, a);
	ck_assert_uint_eq(last->in[16] & 0x0f, b);
}

/* The owner works and cannot be reached by the link: hosts can reach it, and are sent there. What
 * either says of both groups is believed of both. */
START_TEST(of_a_cut_link_hosts_are_told)
{
	pr->s[A].core->partner_works = pr->s[B].core->partner_works = true;
	pair_down();
	take_attentions();
	struct job *w = job_start(x, 0, WRITE8, page, 4096);
	groups_are(x, ALUA_OPTIMIZED, ALUA_NON_OPTIMIZED);
	pair_run_for(NS_PER_S / 2);
	ck_assert(!w->done);
	pair_run_for(NS_PER_S);
	ck_assert(w->done);
	ck_assert_uint_eq(job_sense(w), 0x02040c);
	job_free(w);
	w = job_start(x, 0, READ8, NULL, 4096);
	pair_run_for(NS_PER_MS);
	ck_assert(w->done);
	ck_assert_uint_eq(job_sense(w), 0x02040c);
	job_free(w);
	groups_are(x, ALUA_OPTIMIZED, ALUA_UNAVAILABLE);
	groups_are(z, ALUA_OPTIMIZED, ALUA_UNAVAILABLE);
	/* it does not beat any more: now this one may have to take over */
	pr->s[B].core->partner_works = false;
	w = job_start(x, 0, READ8, NULL, 4096);
	pair_run_for(5 * NS_PER_S);
	ck_assert(!w->done);
	pair_up();
	job_wait(w);
	job_free(w);
	take_attentions();
	groups_are(x, ALUA_OPTIMIZED, ALUA_NON_OPTIMIZED);
	groups_are(z, ALUA_OPTIMIZED, ALUA_NON_OPTIMIZED);
}
END_TEST

/* The front knows that the link is down, the owner does not yet: it may still carry out what it
 * has. Was the initiator told, it would send that again by the owner, and this could come after it.
 */
START_TEST(what_the_owner_may_still_do_is_waited_for)
{
	struct volume *v = &pr->s[A].core->volumes[0];
	struct job *w = stuck(x, WRITE8, page);
	struct job *aborted = job_start(y, 0, WRITE8, page, 4096);
	pair_run_for(NS_PER_MS);
	fake_link_down(pr->s[A].link);
	pair_run_for(100 * NS_PER_MS);
	ck_assert(!w->done);
	/* who does not want it any more is not told sooner that it is gone */
	scsi_abort(&aborted->c);
	pair_run_for(100 * NS_PER_MS);
	ck_assert(!w->done && !aborted->done);
	unsigned commits = v->commits;
	pair_up();
	job_wait(w);
	job_wait(aborted);
	ck_assert_uint_eq(job_sense(w), ACCESS);
	limit(0);
	pair_run_for(5 * NS_PER_S);
	ck_assert_uint_eq(v->commits, commits);
	ck_assert_uint_eq(v->writes, 0);
	job_free(w);
	job_free(aborted);
	/* its end is as good, and an end of waiting there is */
	for (int i = 0; i < 2; i++) {
		take_attentions();
		w = stuck(x, WRITE8, page);
		fake_link_down(pr->s[A].link);
		pair_run_for(3 * NS_PER_S);
		ck_assert(!w->done);
		pr->s[B].core->partner_ended = i;
		pair_run_for(i ? 200 * NS_PER_MS : 20 * NS_PER_S);
		ck_assert(w->done);
		ck_assert_uint_eq(job_sense(w), ACCESS);
		job_free(w);
		pr->s[B].core->partner_ended = false;
		pair_down();
		pair_up();
	}
}
END_TEST

/* It was aborted at the owner, and is in the middle of its work there. */
START_TEST(what_the_owner_cannot_stop_is_waited_for)
{
	uint8_t zeros[512] = {0};
	struct volume *v = &pr->s[A].core->volumes[0];
	v->stuck = true;
	struct job *w = job_start(x, 0, CDB(0x93, 0, BE64(0), BE32(8)), zeros, sizeof(zeros));
	pair_run_for(NS_PER_MS);
	pair_down();
	pair_up();
	struct job *r = job_start(x, 0, READ8, NULL, 4096);
	pair_run_for(3 * NS_PER_S);
	ck_assert(!w->done);
	/* others go on */
	while (TUR(y) != SCSI_GOOD)
		;
	ck_assert_int_eq(pair_cmd(y, 0, READ8, NULL, 4096), SCSI_GOOD);
	ck_assert(!w->done);
	v->stuck = false;
	job_wait(w);
	job_wait(r);
	ck_assert_uint_eq(job_sense(w), ACCESS);
	job_free(w);
	job_free(r);
	while (TUR(x) != SCSI_GOOD)
		;
	ck_assert_int_eq(pair_cmd(x, 0, WRITE8, page, 4096), SCSI_GOOD);
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

PARTNER_SUITE("partner_moves", commands_are_held_while_a_volume_moves,
	      long_writes_that_were_held_are_carried_out_here, nobody_is_held_for_ever,
	      a_volume_that_leaves_between_the_look_and_the_use,
	      set_target_port_groups_moves_the_pool, ports_are_told_apart,
	      a_wipe_goes_on_where_the_volume_is, an_owner_that_dies_with_commands,
	      a_partner_that_cannot_be_reached_is_waited_for, of_a_cut_link_hosts_are_told,
	      what_the_owner_may_still_do_is_waited_for, what_the_owner_cannot_stop_is_waited_for,
	      mode_pages_outlive_their_owner, whatever_the_partner_sends)
