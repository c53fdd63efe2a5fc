/* See partner_rig.h. */
#include "tests/unit/scsi/partner_rig.h"

struct scsi_nexus *x, *y, *z;
uint8_t page[1 << 21];

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

void expect_ua(struct scsi_nexus *n, uint32_t sense)
{
	ck_assert_int_eq(TUR(n), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(job_sense(last), sense);
}

void expect_none(struct scsi_nexus *n)
{
	ck_assert_int_eq(TUR(n), SCSI_GOOD);
}

void take_attentions(void)
{
	struct scsi_nexus *const all[] = {x, y, z};
	uint8_t asc, ascq;
	for (unsigned i = 0; i < ARRAY_LEN(all); i++)
		while (nexus_ua_take(all[i], 0, &asc, &ascq))
			;
}

void select_control(struct scsi_nexus *n, bool d_sense, bool tas)
{
	uint8_t list[4 + 12] = {0, 0, 0, 0, 0x0a, 0x0a};
	ck_assert_int_eq(pair_cmd(n, 0, CDB(0x1a, 8, 0x0a, 0, 255), NULL, 255), SCSI_GOOD);
	memcpy(list + 4, last->in + 4, 12);
	list[6] = (uint8_t)((list[6] & ~4) | (d_sense ? 4 : 0));
	list[9] = (uint8_t)((list[9] & ~0x40) | (tas ? 0x40 : 0));
	ck_assert_int_eq(pair_cmd(n, 0, CDB(0x15, 0x10, 0, 0, 16), list, 16), SCSI_GOOD);
}

void limit(unsigned iops)
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

struct job *stuck(struct scsi_nexus *n, const uint8_t *cdb, const void *out)
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

TCase *partner_case(const char *name)
{
	TCase *tc = tcase_create(name);
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	return tc;
}

int partner_suite(const char *name, const TTest *const *tests)
{
	TCase *tc = partner_case(name);
	for (; *tests; tests++)
		tcase_add_test(tc, *tests);
	return partner_run(name, tc);
}

int partner_run(const char *name, TCase *tc)
{
	Suite *suite = suite_create(name);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
