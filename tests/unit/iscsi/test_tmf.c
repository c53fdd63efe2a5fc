/* Task management: what is aborted, whose, and when it is said. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/iscsi/peer.h"

static void setup(void)
{
	peer_setup(&(struct iscsi_opts){.max_connections = 4});
}

START_TEST(tasks_are_aborted)
{
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	cdb_rw(cdb, true, 0, 16);
	uint32_t itt = client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(c, OP_R2T);
	ck_assert_int_eq(target.volume->writes, 1);
	ck_assert_uint_eq(tmf(TMF_ABORT_TASK, itt, 0), TMF_COMPLETE);
	ck_assert_int_eq(target.volume->writes, 0);
	client_data_out(c, itt, 0, 0, 0, pattern, 8192, true); /* comes too late */
	ck_assert_uint_eq(tmf(TMF_ABORT_TASK, itt, 0), TMF_NO_TASK);
	client_ready(c);
	ck_assert_uint_eq(target.volume->commits, 0);
}
END_TEST

START_TEST(an_abort_waits_for_what_is_running)
{
	uint8_t cdb[16];
	login(NULL);
	target.volume->miss = true;
	wait_ms = 300;
	cdb_rw(cdb, false, 0, 1);
	uint32_t itt = client_command(c, 0xc0, cdb, 512, NULL, 0);
	uint64_t t0 = env_now_ns(env_real());
	ck_assert_uint_eq(tmf(TMF_ABORT_TASK, itt, 0), TMF_COMPLETE);
	ck_assert_uint_ge(env_now_ns(env_real()) - t0, 200 * NS_PER_MS);
	ck_assert(client_quiet(c, 100)); /* no response of the aborted one */
	client_ready(c);
}
END_TEST

START_TEST(functions_and_their_answers)
{
	static const struct {
		unsigned function;
		uint8_t lun, want;
	} cases[] = {
	    {TMF_ABORT_TASK_SET, 0, TMF_COMPLETE}, {TMF_ABORT_TASK_SET, 9, TMF_NO_LUN},
	    {TMF_CLEAR_TASK_SET, 0, TMF_COMPLETE}, {TMF_CLEAR_TASK_SET, 9, TMF_NO_LUN},
	    {TMF_LU_RESET, 0, TMF_COMPLETE},	   {TMF_LU_RESET, 9, TMF_NO_LUN},
	    {TMF_WARM_RESET, 0, TMF_COMPLETE},	   {TMF_TASK_REASSIGN, 0, TMF_NO_REASSIGN},
	    {TMF_CLEAR_ACA, 0, TMF_UNSUPPORTED},   {99, 0, TMF_UNSUPPORTED},
	};
	login(NULL);
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
		ck_assert_uint_eq(tmf(cases[i].function, PDU_NO_TAG, cases[i].lun), cases[i].want);
	client_ready(c);
	ck_assert_uint_eq(tmf(TMF_COLD_RESET, PDU_NO_TAG, 0), TMF_COMPLETE);
	ck_assert(!client_recv(c));
}
END_TEST

/* Commands that were sent behind the request are none of its business. */
START_TEST(later_commands_are_not_aborted)
{
	static const unsigned functions[] = {TMF_ABORT_TASK_SET, TMF_CLEAR_TASK_SET, TMF_LU_RESET,
					     TMF_WARM_RESET};
	static uint8_t back[512];
	struct bhs both[2] = {
	    {.opcode = OP_TMF_REQ | PDU_IMMEDIATE, .flags = (uint8_t)(PDU_FINAL | functions[_i])},
	    {.opcode = OP_SCSI_CMD, .flags = 0xc0}};
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	cdb_rw(cdb, true, 0, 16);
	client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(c, OP_R2T);
	target.volume->miss = true; /* the read waits, so that it could be aborted */
	wait_ms = 50;
	be32_put(both[0].itt, ++c->itt);
	be32_put(both[0].ref_tag, PDU_NO_TAG);
	be32_put(both[0].cmdsn, c->cmdsn);
	be32_put(both[1].itt, ++c->itt);
	be32_put(both[1].cmdsn, c->cmdsn++);
	be32_put(both[1].edtl, 512);
	cdb_rw(both[1].cdb, false, 0, 1);
	client_send_raw(c, both, sizeof(both));
	client_expect(c, OP_TMF_RSP);
	ck_assert_uint_eq(c->bhs.response, TMF_COMPLETE);
	ck_assert_int_eq(target.volume->writes, 0);
	ck_assert_uint_eq(take_data(c->itt, back), 512);
}
END_TEST

/* The same unit in another method of addressing (SAM-5 4.7.7.3). */
START_TEST(luns_are_compared_by_what_they_name)
{
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	cdb_rw(cdb, true, 0, 16);
	client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(c, OP_R2T);
	struct bhs b = {.opcode = OP_TMF_REQ | PDU_IMMEDIATE,
			.flags = PDU_FINAL | TMF_ABORT_TASK_SET,
			.lun = {0x40, 0}};
	be32_put(b.itt, ++c->itt);
	be32_put(b.ref_tag, PDU_NO_TAG);
	be32_put(b.cmdsn, c->cmdsn);
	client_send(c, &b, NULL, 0);
	client_expect(c, OP_TMF_RSP);
	ck_assert_uint_eq(c->bhs.response, TMF_COMPLETE);
	ck_assert_int_eq(target.volume->writes, 0);
}
END_TEST

START_TEST(clear_task_set_reaches_other_sessions)
{
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	cdb_rw(cdb, true, 0, 16);
	client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(c, OP_R2T);
	struct client *first = c;
	c = client_connect(target.port);
	c->isid[5] = 2;
	login(NULL);
	ck_assert_uint_eq(tmf(TMF_CLEAR_TASK_SET, PDU_NO_TAG, 0), TMF_COMPLETE);
	ck_assert_int_eq(target.volume->writes, 0);
	client_free(c);
	c = first;
	client_expect(c, OP_NOP_IN); /* the window, as no response will tell it */
	client_ready(c);
}
END_TEST

/* ---- aborted by another, with TAS: TASK ABORTED (SAM-5 5.3.1) ---- */

/* A command with a short parameter list; its status. */
static unsigned list_command(const uint8_t *cdb, const uint8_t *list, uint32_t len)
{
	client_command(c, 0xa0, cdb, len, list, len);
	client_expect(c, OP_SCSI_RSP);
	return c->bhs.status;
}

static void set_tas(void)
{
	const uint8_t cdb[16] = {0x15, 0x10, 0, 0, 16};
	const uint8_t list[16] = {0, 0, 0, 0, 0x0a, 10, 0, 0x10, 0, 0x40, 0, 0, 0xff, 0xff};
	ck_assert_uint_eq(list_command(cdb, list, 16), SCSI_GOOD);
}

static unsigned pr_out(uint8_t action, uint8_t type, uint8_t key, uint8_t sa_key)
{
	const uint8_t cdb[16] = {0x5f, action, type, 0, 0, 0, 0, 0, 24};
	const uint8_t list[24] = {[7] = key, [15] = sa_key};
	return list_command(cdb, list, 24);
}

/* Two sessions; c is the second one, the first has a write under way that waits for its data. */
static struct client *two_sessions(uint32_t *ret_itt, bool keys)
{
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=Yes", NULL});
	set_tas();
	if (keys)
		ck_assert_uint_eq(pr_out(0, 0, 0, 1), SCSI_GOOD);
	cdb_rw(cdb, true, 0, 16);
	*ret_itt = client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(c, OP_R2T);
	struct client *first = c;
	c = client_connect(target.port);
	c->isid[5] = 2;
	login(NULL);
	if (keys)
		ck_assert_uint_eq(pr_out(0, 0, 0, 2), SCSI_GOOD);
	return first;
}

/* The window may be told before. */
static void expect_task_aborted(void)
{
	do
		ck_assert(client_recv(c));
	while (pdu_opcode(&c->bhs) == OP_NOP_IN);
	ck_assert_uint_eq(pdu_opcode(&c->bhs), OP_SCSI_RSP);
	ck_assert_uint_eq(c->bhs.status, SCSI_TASK_ABORTED);
}

/* The data that was asked for still comes, and goes nowhere. */
static void expect_aborted(struct client *first, uint32_t itt)
{
	unsigned commits = target.volume->commits;
	client_free(c);
	c = first;
	client_data_out(c, itt, be32_get(c->bhs.ttt), 0, 0, pattern, 8192, true);
	expect_task_aborted();
	ck_assert_uint_eq(target.volume->commits, commits);
	ck_assert_int_eq(target.volume->writes, 0);
	client_ready(c);
}

START_TEST(clear_task_set_with_tas)
{
	uint32_t itt;
	struct client *first = two_sessions(&itt, false);
	ck_assert_uint_eq(tmf(TMF_CLEAR_TASK_SET, PDU_NO_TAG, 0), TMF_COMPLETE);
	expect_aborted(first, itt);
}
END_TEST

START_TEST(preempt_and_abort_with_tas)
{
	uint32_t itt;
	struct client *first = two_sessions(&itt, true);
	ck_assert_uint_eq(pr_out(5, 1, 2, 1), SCSI_GOOD);
	expect_aborted(first, itt);
}
END_TEST

/* PREEMPT AND ABORT is not answered before a write of the other that runs has come back. */
START_TEST(preempt_and_abort_waits)
{
	uint8_t cdb[16];
	login(NULL);
	set_tas();
	ck_assert_uint_eq(pr_out(0, 0, 0, 1), SCSI_GOOD);
	struct client *first = c, *second = client_connect(target.port);
	c = second;
	c->isid[5] = 2;
	login(NULL);
	ck_assert_uint_eq(pr_out(0, 0, 0, 2), SCSI_GOOD);
	wait_ms = 300;
	target.volume->miss = true;
	cdb_rw(cdb, true, 0, 8);
	for (int i = 0; i < 4; i++)
		client_command(first, 0xa0, cdb, 4096, pattern, 4096);
	usleep(50000);
	ck_assert_uint_eq(pr_out(5, 1, 2, 1), SCSI_GOOD);
	ck_assert_int_eq(target.volume->writes, 0);
	unsigned commits = target.volume->commits;
	wait_ms = 0;
	target.volume->miss = false;
	client_free(c);
	c = first;
	for (int i = 0; i < 4; i++)
		expect_task_aborted();
	ck_assert_uint_eq(target.volume->commits, commits);
	client_ready(c);
}
END_TEST

/* The registry follows the metadata, at this change and at every later one. */
static void limit_iops(uint64_t iops, uint64_t burst)
{
	Isthmus__Volume *v = fake_meta(target.core)->volumes[0];
	if (!v->limits) {
		v->limits = malloc(sizeof(*v->limits));
		ck_assert_ptr_nonnull(v->limits);
		isthmus__limits__init(v->limits);
	}
	v->limits->iops = iops;
	v->limits->iops_burst = burst;
	fake_meta_changed(target.core);
}

START_TEST(what_a_limit_holds_back_is_aborted)
{
	uint8_t cdb[16];
	uint32_t itt[6];
	login(NULL);
	limit_iops(1, 1);
	cdb_rw(cdb, true, 0, 1);
	/* one goes, the others wait: with their data, short or long */
	for (int i = 0; i < 6; i++) {
		unsigned blocks = i % 2 ? 16 : 1;
		cdb_rw(cdb, true, 0, blocks);
		itt[i] = client_command(c, 0xa0, cdb, blocks * 512, pattern, blocks * 512);
	}
	client_expect(c, OP_SCSI_RSP);
	ck_assert_int_eq(target.volume->writes, 0); /* no page is held meanwhile */
	ck_assert_uint_eq(tmf(TMF_ABORT_TASK, itt[3], 0), TMF_COMPLETE);
	ck_assert_uint_eq(tmf(TMF_LU_RESET, PDU_NO_TAG, 0), TMF_COMPLETE);
	ck_assert_uint_le(target.volume->commits, 2); /* a second may have passed */
	for (int i = 0; i < 3; i++) {
		cdb_rw(cdb, true, 0, 8);
		client_command(c, 0xa0, cdb, 4096, pattern, 4096);
	}
	limit_iops(0, 0); /* ends it for those that wait */
	for (int i = 0; i < 3; i++)
		client_expect(c, OP_SCSI_RSP);
	client_ready(c);
	check_volume(0, 4096);
	/* a session that ends takes them along: peer_teardown() looks */
	limit_iops(1, 1);
	for (int i = 0; i < 4; i++)
		client_command(c, 0xa0, cdb, 4096, pattern, 4096);
}
END_TEST

/* The target has all that was sent before when it answers a ping; commands answered until then. */
static int answered_before_ping(void)
{
	struct bhs b = {.opcode = OP_NOP_OUT | PDU_IMMEDIATE, .flags = PDU_FINAL};
	int n = 0;
	be32_put(b.itt, 0x70696e67);
	be32_put(b.ttt, PDU_NO_TAG);
	be32_put(b.cmdsn, c->cmdsn);
	client_send(c, &b, NULL, 0);
	for (;;) {
		ck_assert(client_recv(c));
		if (pdu_opcode(&c->bhs) == OP_SCSI_RSP)
			n++;
		else if (be32_get(c->bhs.itt) == 0x70696e67)
			return n;
	}
}

/* PREEMPT AND ABORT does not wait until a limit would have let the commands through. */
START_TEST(preempt_and_abort_of_what_a_limit_holds_back)
{
	uint8_t cdb[16];
	login(NULL);
	set_tas();
	ck_assert_uint_eq(pr_out(0, 0, 0, 1), SCSI_GOOD);
	struct client *first = c, *second = client_connect(target.port);
	c = second;
	c->isid[5] = 2;
	login(NULL);
	ck_assert_uint_eq(pr_out(0, 0, 0, 2), SCSI_GOOD);
	limit_iops(1, 1);
	cdb_rw(cdb, true, 0, 8);
	for (int i = 0; i < 60; i++) /* twice the time this test has */
		client_command(first, 0xa0, cdb, 4096, pattern, 4096);
	c = first;
	int through = answered_before_ping();
	c = second;
	ck_assert_uint_eq(pr_out(5, 1, 2, 1), SCSI_GOOD);
	client_free(c);
	c = first;
	int aborted = 0;
	for (int i = through; i < 60; i++) {
		do
			ck_assert(client_recv(c));
		while (pdu_opcode(&c->bhs) == OP_NOP_IN);
		ck_assert_uint_eq(pdu_opcode(&c->bhs), OP_SCSI_RSP);
		aborted += c->bhs.status == SCSI_TASK_ABORTED;
		ck_assert(c->bhs.status == SCSI_TASK_ABORTED || c->bhs.status == SCSI_GOOD);
	}
	ck_assert_int_ge(aborted, 50);
	limit_iops(0, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iscsi task management");
	TCase *tc = tcase_create("management");
	tcase_add_checked_fixture(tc, setup, peer_teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, tasks_are_aborted);
	tcase_add_test(tc, an_abort_waits_for_what_is_running);
	tcase_add_test(tc, functions_and_their_answers);
	tcase_add_test(tc, preempt_and_abort_of_what_a_limit_holds_back);
	tcase_add_loop_test(tc, later_commands_are_not_aborted, 0, 4);
	tcase_add_test(tc, luns_are_compared_by_what_they_name);
	tcase_add_test(tc, clear_task_set_reaches_other_sessions);
	tcase_add_test(tc, clear_task_set_with_tas);
	tcase_add_test(tc, preempt_and_abort_with_tas);
	tcase_add_test(tc, preempt_and_abort_waits);
	tcase_add_test(tc, what_a_limit_holds_back_is_aborted);
	suite_add_tcase(suite, tc);
	return peer_run(suite);
}
