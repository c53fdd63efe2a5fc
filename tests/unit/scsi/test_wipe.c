/* SANITIZE and FORMAT UNIT: what they do, what is refused meanwhile, what a restart finds. */
#include <errno.h>
#include "runtime/err.h"
#include "runtime/task.h"
#include "tests/unit/scsi/suite.h"

#define IN_PROGRESS	   0x02041b
#define FORMAT_IN_PROGRESS 0x020404
#define SANITIZE_FAILED	   0x033103
#define FORMAT_FAILED	   0x033101

static uint8_t buf[8192];

/* Commands that wait run in a task, as the wipe does. */
static struct sched *sched;
struct tasked {
	const uint8_t *cdb;
	const void *out;
	uint32_t len;
	uint8_t status;
	bool done;
};

static void tasked_run(void *arg)
{
	struct tasked *t = arg;
	t->status = run(fx->a, 0, t->cdb, t->out, t->len);
	t->done = true;
}

static void tasks_begin(void)
{
	ck_assert_int_eq(sched_new(&sched, 8, 0, NULL, NULL), 0);
	sched_set_current(sched);
}

static void tasks_end(void)
{
	sched_run(sched);
	ck_assert_uint_eq(fx->registry->background, 0);
	sched_set_current(NULL);
	sched_free(sched);
}

static uint8_t do_all(const uint8_t *cdb, const void *out, uint32_t len)
{
	struct tasked t = {cdb, out, len, 0xff, false};
	ck_assert_int_eq(task_start(tasked_run, &t), 0);
	sched_run(sched);
	ck_assert(t.done);
	return t.status;
}

/* Starts it with IMMED; the wipe itself has not run yet. */
static uint8_t begin(const uint8_t *cdb, const void *out, uint32_t len)
{
	struct tasked t = {cdb, out, len, 0xff, false};
	ck_assert_int_eq(task_start(tasked_run, &t), 0);
	sched_run_some(sched, 1);
	ck_assert(t.done);
	return t.status;
}

static const uint8_t *sanitize(uint8_t byte1, uint16_t len)
{
	static uint8_t cdb[16];
	memcpy(cdb, CDB(0x48, byte1, 0, 0, 0, 0, 0, BE16(len)), 16);
	return cdb;
}

static uint32_t pattern(uint8_t byte0, uint16_t len)
{
	memset(buf, 0, 4);
	buf[0] = byte0;
	be16_put(buf + 2, len);
	for (unsigned i = 0; i < len; i++)
		buf[4 + i] = (uint8_t)(i + 1);
	return len + 4u;
}

static bool holds(uint8_t (*want)(uint64_t i))
{
	for (uint64_t i = 0; i < fx->v1->size; i++)
		if (fx->v1->data[i] != want(i))
			return false;
	return true;
}
static uint8_t zero(uint64_t i)
{
	return 0;
}
static uint8_t third(uint64_t i)
{
	return (uint8_t)(i % 512 % 3 + 1);
}
static uint8_t third_inverted(uint64_t i)
{
	return (uint8_t)~third(i);
}

static Isthmus__Volume *meta_v1(void)
{
	return fake_meta(fx->core)->volumes[0];
}

START_TEST(overwrites_and_erases)
{
	tasks_begin();
	memset(fx->v1->data, 'x', fx->v1->size);
	uint32_t n = pattern(3, 3);
	ck_assert_int_eq(do_all(sanitize(0x01, (uint16_t)n), buf, n), 0);
	ck_assert(holds(third));
	ck_assert_uint_eq(fx->v1->flushes, 3); /* each pass */
	n = pattern(0x80 | 2, 3);
	ck_assert_int_eq(do_all(sanitize(0x01, (uint16_t)n), buf, n), 0);
	ck_assert(holds(third_inverted));
	ck_assert_int_eq(do_all(sanitize(0x02, 0), NULL, 0), 0);
	ck_assert(holds(zero));
	/* all of it is known to be erased, until something is written */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x9e, 0x12, BE64(7), BE32(64)), NULL, 64), 0);
	ck_assert_uint_eq(be32_get(fx->in + 16), 8185);
	ck_assert_uint_eq(fx->in[20], 2);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x2a, 0, BE32(8191), 0, BE16(1)), buf, 512), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x9e, 0x12, BE64(7), BE32(64)), NULL, 64), 0);
	ck_assert_uint_lt(be32_get(fx->in + 16), 8185);
	memset(fx->v1->data, 'x', fx->v1->size);
	ck_assert_int_eq(do_all(CDB(0x04, 0), NULL, 0), 0);
	ck_assert(holds(zero));
	ck_assert_ptr_null(meta_v1()->wipe);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 0);
	tasks_end();
}
END_TEST

START_TEST(refuses_commands_meanwhile)
{
	tasks_begin();
	ck_assert_int_eq(begin(sanitize(0x82, 0), NULL, 0), 0); /* IMMED */
	ck_assert_ptr_nonnull(meta_v1()->wipe);			/* before the first block */
	static const uint8_t refused[][16] = {{0x00},	    {0x28},
					      {0x2a},	    {0x1b, 0, 0, 0, 1},
					      {0x25},	    {0x1a, 0, 0x3f, 0, 255},
					      {0x35},	    {0x48, 0x02},
					      {0x48, 0x1f}, {0x04},
					      {0x41}};
	for (unsigned i = 0; i < ARRAY_LEN(refused); i++) {
		ck_assert_int_eq(run(fx->b, 0, refused[i], NULL, 255), 2);
		ck_assert_uint_eq(sense_of(), IN_PROGRESS);
		ck_assert_uint_eq(fx->cmd->sense[15], 0x80); /* progress */
	}
	static const uint8_t allowed[][16] = {{0x12, 0, 0, 0, 96},
					      {0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64},
					      {0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0, 64},
					      {0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 64}};
	for (unsigned i = 0; i < ARRAY_LEN(allowed); i++)
		ck_assert_int_eq(run(fx->b, 0, allowed[i], NULL, 255), 0);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x03, 0, 0, 0, 96), NULL, 96), 0);
	ck_assert_uint_eq(sense_in(fx->in), IN_PROGRESS);
	ck_assert_uint_eq(fx->in[15], 0x80);
	/* a reset does not end it */
	scsi_task_management(fx->a, (const uint8_t[8]){0}, SCSI_TMF_LU_RESET, NULL, NULL);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), 0x062903);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), IN_PROGRESS);
	sched_run(sched);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 0);
	ck_assert_int_eq(begin(CDB(0x04, 0x10), (const uint8_t[4]){0, 2}, 4), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), FORMAT_IN_PROGRESS);
	tasks_end();
}
END_TEST

/* A write whose data comes after the wipe began is not written into it. */
START_TEST(data_that_comes_late_is_refused)
{
	struct scsi_cmd *c = calloc(1, sizeof(*c));
	tasks_begin();
	c->nexus = fx->b;
	memcpy(c->cdb, CDB(0x2a, 0, BE32(0), 0, BE16(1)), 16);
	c->cdb_len = 10;
	c->out_expected = 512;
	ck_assert_int_eq(scsi_start(c), SCSI_DATA_OUT);
	memset(c->out_iov[0].iov_base, 'l', 512);
	ck_assert_int_eq(begin(sanitize(0x82, 0), NULL, 0), 0);
	ck_assert_int_eq(scsi_finish(c), SCSI_DONE);
	ck_assert_int_eq(c->status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_in(c->sense), IN_PROGRESS);
	scsi_release(c);
	sched_run(sched);
	ck_assert(holds(zero));
	tasks_end();
	free(c);
}
END_TEST

/* The transport gives the command up; the wipe goes on. */
static void wait_for_wipe(void *arg)
{
	struct scsi_cmd *c = arg;
	ck_assert_int_eq(scsi_start_wait(c), SCSI_DONE);
	c->transport = NULL;
}

START_TEST(an_abort_ends_the_wait_only)
{
	struct scsi_cmd *c = calloc(1, sizeof(*c));
	tasks_begin();
	memset(fx->v1->data, 'x', fx->v1->size);
	c->nexus = fx->a;
	c->transport = c;
	memcpy(c->cdb, sanitize(0x02, 0), 16);
	c->cdb_len = 10;
	ck_assert_int_eq(scsi_start(c), SCSI_WAIT);
	ck_assert_int_eq(task_start(wait_for_wipe, c), 0);
	sched_run_some(sched, 1);
	ck_assert_ptr_nonnull(c->transport);
	/* nor does one that is to come after it wait for hours */
	fx->attr = SCSI_ORDERED;
	ck_assert_int_eq(run(fx->b, 0, CDB(0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), IN_PROGRESS);
	ck_assert(!fx->waited);
	fx->attr = SCSI_SIMPLE;
	scsi_abort(c);
	sched_run(sched);
	ck_assert_ptr_null(c->transport);
	scsi_release(c);
	ck_assert(holds(zero));
	tasks_end();
	free(c);
}
END_TEST

START_TEST(a_failure_stays_until_it_is_ended)
{
	tasks_begin();
	fx->v1->discard_err = -EIO;
	ck_assert_int_eq(do_all(sanitize(0x02, 0), NULL, 0), 2); /* without AUSE */
	ck_assert_uint_eq(sense_of(), SANITIZE_FAILED);
	ck_assert(meta_v1()->wipe->failed);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), SANITIZE_FAILED);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x12, 0, 0, 0, 96), NULL, 96), 0);
	ck_assert_int_eq(do_all(sanitize(0x1f, 0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(do_all(sanitize(0x22, 0), NULL, 0), 2); /* AUSE; fails again */
	ck_assert_int_eq(do_all(sanitize(0x1f, 0), NULL, 0), 0);
	ck_assert_ptr_null(meta_v1()->wipe);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 0);
	ck_assert_int_eq(do_all(sanitize(0x1f, 0), NULL, 0), 0); /* nothing to end */
	ck_assert_int_eq(do_all(CDB(0x04), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), FORMAT_FAILED);
	ck_assert_int_eq(do_all(sanitize(0x1f, 0), NULL, 0), 2);
	fx->v1->discard_err = 0;
	ck_assert_int_eq(do_all(CDB(0x04), NULL, 0), 0); /* one that ends well */
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 0);
	/* not begun when it cannot be recorded */
	fx->core->meta->update_err = -EIO;
	memset(fx->v1->data, 'x', fx->v1->size);
	ck_assert_int_eq(do_all(sanitize(0x02, 0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), 0x044400);
	ck_assert_uint_eq(fx->v1->data[0], 'x');
	fx->core->meta->update_err = 0;
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 0);
	tasks_end();
}
END_TEST

static void restart(void)
{
	run_done();
	scsi_nexus_free(fx->a);
	scsi_nexus_free(fx->b);
	scsi_registry_free(fx->registry);
	ck_assert_int_eq(scsi_registry_new(&fx->registry, fx->core), 0);
	fx->a = fixture_login(HOST_A);
	fx->b = fixture_login(HOST_B);
	while (fx->a->view->luns[0].ua)
		run(fx->a, 0, CDB(0x03, 0, 0, 0, 96), NULL, 96);
}

START_TEST(a_restart_takes_it_up_again)
{
	tasks_begin();
	memset(fx->v1->data, 'x', fx->v1->size);
	uint32_t n = pattern(0x80 | 2, 3);
	ck_assert_int_eq(begin(sanitize(0x81, (uint16_t)n), buf, n), 0);
	/* the process ends: the task stops without having done it */
	atomic_store(&fx->registry->closing, true);
	sched_run(sched);
	ck_assert(!meta_v1()->wipe->failed);
	restart();
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), IN_PROGRESS);
	sched_run(sched);
	ck_assert(holds(third_inverted));
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 0);
	ck_assert_ptr_null(meta_v1()->wipe);
	/* so is that it failed */
	fx->v1->discard_err = -EIO;
	ck_assert_int_eq(do_all(sanitize(0x22, 0), NULL, 0), 2);
	restart();
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), SANITIZE_FAILED);
	ck_assert_int_eq(do_all(sanitize(0x1f, 0), NULL, 0), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 0);
	tasks_end();
}
END_TEST

START_TEST(refuses_what_is_wrong)
{
	tasks_begin();
	uint32_t n = pattern(1, 512);
	for (unsigned len = 0; len < 5; len++) {
		ck_assert_int_eq(run(fx->a, 0, sanitize(0x01, (uint16_t)len), buf, len), 2);
		ck_assert_uint_eq(sense_of(), INVALID_FIELD);
		ck_assert_int_eq(sense_field(), 7);
	}
	ck_assert_int_eq(run(fx->a, 0, sanitize(0x01, 517), buf, 517), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(run(fx->a, 0, sanitize(0x01, (uint16_t)n), buf, 100), 2);
	ck_assert_uint_eq(sense_of(), 0x051a00);
	ck_assert_int_eq(run(fx->a, 0, sanitize(0x02, 8), buf, 8), 2);
	ck_assert_int_eq(sense_field(), 8);
	ck_assert_int_eq(run(fx->a, 0, sanitize(0x1f, 8), buf, 8), 2);
	ck_assert_int_eq(run(fx->a, 0, sanitize(0x03, 0), NULL, 0), 2); /* cryptographic erase */
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(sense_field(), 1);
	ck_assert_int_eq(run(fx->a, 0, sanitize(0x42, 0), NULL, 0), 2); /* ZNR */
	ck_assert_int_eq(sense_field(), 1);
	pattern(0, 512); /* no passes */
	ck_assert_int_eq(run(fx->a, 0, sanitize(0x01, (uint16_t)n), buf, n), 2);
	ck_assert_uint_eq(sense_of(), INVALID_PARAM);
	ck_assert_int_eq(sense_field(), 0);
	pattern(0x21, 512); /* TEST */
	ck_assert_int_eq(run(fx->a, 0, sanitize(0x01, (uint16_t)n), buf, n), 2);
	static const uint16_t lengths[] = {0, 511, 513, 65535};
	for (unsigned i = 0; i < ARRAY_LEN(lengths); i++) {
		pattern(1, 512);
		be16_put(buf + 2, lengths[i]);
		ck_assert_int_eq(run(fx->a, 0, sanitize(0x01, (uint16_t)n), buf, n), 2);
		ck_assert_uint_eq(sense_of(), INVALID_PARAM);
		ck_assert_int_eq(sense_field(), 2);
	}
	ck_assert_int_eq(run(fx->a, 300, sanitize(0x02, 0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), WRITE_PROTECTED);
	tasks_end();
}
END_TEST

START_TEST(format_refuses_what_it_cannot)
{
	tasks_begin();
	static const struct {
		uint8_t byte1, list[8], len;
		uint32_t sense;
		int field;
	} cases[] = {
	    {0x20, {0}, 0, INVALID_FIELD, 1},	       /* LONGLIST without FMTDATA */
	    {0x14, {0}, 4, INVALID_FIELD, 1},	       /* address descriptors */
	    {0x50, {0}, 4, INVALID_FIELD, 1},	       /* FMTPINFO */
	    {0x10, {1}, 4, INVALID_PARAM, 0},	       /* protection */
	    {0x10, {0, 8}, 4, INVALID_PARAM, 1},       /* initialization pattern */
	    {0x10, {0, 0x20}, 4, INVALID_PARAM, 1},    /* DCRT without FOV */
	    {0x10, {0, 0, 0, 8}, 4, INVALID_PARAM, 2}, /* a defect list */
	    {0x30, {0, 0, 0, 0, 0, 0, 0, 8}, 8, INVALID_PARAM, 4},
	    {0x30, {0, 0, 0, 1}, 8, INVALID_PARAM, 3},
	    {0x10, {0}, 3, 0x051a00, -1},
	};
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		ck_assert_int_eq(
		    run(fx->a, 0, CDB(0x04, cases[i].byte1), cases[i].list, cases[i].len), 2);
		ck_assert_uint_eq(sense_of(), cases[i].sense);
		ck_assert_int_eq(sense_field(), cases[i].field);
	}
	ck_assert_int_eq(do_all(CDB(0x04, 0x38), (const uint8_t[8]){0, 0xa0}, 8), 0);
	tasks_end();
}
END_TEST

SUITE("wipe", overwrites_and_erases, refuses_commands_meanwhile, data_that_comes_late_is_refused,
      an_abort_ends_the_wait_only, a_failure_stays_until_it_is_ended, a_restart_takes_it_up_again,
      refuses_what_is_wrong, format_refuses_what_it_cannot)
