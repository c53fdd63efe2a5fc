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

int main(void)
{
	Suite *suite = suite_create("iscsi task management");
	TCase *tc = tcase_create("management");
	tcase_add_checked_fixture(tc, setup, peer_teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, tasks_are_aborted);
	tcase_add_test(tc, an_abort_waits_for_what_is_running);
	tcase_add_test(tc, functions_and_their_answers);
	tcase_add_test(tc, clear_task_set_reaches_other_sessions);
	suite_add_tcase(suite, tc);
	return peer_run(suite);
}
