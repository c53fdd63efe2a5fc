/* Counters and latency of units and nexuses; the stages of a command's life, on a clock that goes
 * a microsecond further whenever it is looked at. */
#include "tests/unit/scsi/suite.h"

#define READ8  CDB(0x28, 0, BE32(0), 0, BE16(8))
#define WRITE8 CDB(0x2a, 0, BE32(0), 0, BE16(8))

static uint8_t out[4096];

static const struct lu_stats *stats_of(uint32_t lun)
{
	struct scsi_itl *l = view_find(fx->a->view, lun);
	ck_assert_ptr_nonnull(l);
	return &l->lu->stats;
}

static struct stats_sum lu_sum(uint32_t lun)
{
	struct stats_sum s = {0};
	run_done();
	lu_stats_merge(&s, stats_of(lun));
	return s;
}

static struct stages_sum stages(uint32_t lun)
{
	struct stages_sum s = {0};
	run_done();
	lu_stages_merge(&s, stats_of(lun));
	return s;
}

START_TEST(units_and_nexuses_are_counted)
{
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(run(fx->a, 0, READ8, NULL, 4096), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(run(fx->b, 0, WRITE8, out, 4096), 0);
	ck_assert_int_eq(run(fx->b, 0, CDB(0), NULL, 0), 0);
	ck_assert_int_eq(run(fx->a, 300, WRITE8, out, 4096), SCSI_CHECK_CONDITION);
	ck_assert_int_eq(run(fx->a, 7, READ8, NULL, 4096), SCSI_CHECK_CONDITION);
	struct stats_sum s = lu_sum(0);
	ck_assert_uint_eq(s.ops[KIND_READ], 5);
	ck_assert_uint_eq(s.ops[KIND_WRITE], 3);
	ck_assert_uint_eq(s.ops[KIND_OTHER], 1);
	ck_assert_uint_eq(s.bytes[KIND_READ], 5 * 4096);
	ck_assert_uint_eq(s.bytes[KIND_WRITE], 3 * 4096);
	ck_assert_uint_eq(s.errors, 0);
	ck_assert_uint_eq(s.latency[KIND_READ].count, 5);
	s = lu_sum(300);
	ck_assert_uint_eq(s.ops[KIND_WRITE], 1);
	ck_assert_uint_eq(s.bytes[KIND_WRITE], 0);
	ck_assert_uint_eq(s.errors, 1);
	/* of a nexus, all its units; also what no unit answers */
	memset(&s, 0, sizeof(s));
	stats_merge(&s, &fx->a->stats);
	ck_assert_uint_eq(s.ops[KIND_READ], 6);
	ck_assert_uint_eq(s.ops[KIND_WRITE], 1);
	ck_assert_uint_eq(s.errors, 2);
	ck_assert_uint_eq(s.bytes[KIND_READ], 5 * 4096);
}
END_TEST

START_TEST(latency_is_from_received_to_sent)
{
	/* not of the sample: the transport's two looks are the only ones */
	run(fx->a, 0, CDB(0), NULL, 0); /* the first of a unit is */
	lu_sum(0);
	struct stats_sum before = lu_sum(0);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(run(fx->a, 0, READ8, NULL, 4096), 0);
	struct stats_sum s = lu_sum(0);
	struct stages_sum g = stages(0);
	uint64_t looks = 0;
	for (unsigned i = 0; i < SCSI_STAGES; i++)
		looks += g.stages[KIND_READ][i].total_ns;
	ck_assert_uint_eq(before.latency[KIND_READ].count, 0);
	/* one tick each, and three more of those in the sample */
	ck_assert_uint_eq(s.latency[KIND_READ].total_ns,
			  1000 * CLOCK_TICK + g.samples[KIND_READ] * 3 * CLOCK_TICK);
	ck_assert_uint_eq(looks, g.samples[KIND_READ] * 4 * CLOCK_TICK);
}
END_TEST

START_TEST(the_sample_is_one_of_so_many)
{
	enum { N = 32000 };
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(run(fx->a, 0, i & 1 ? READ8 : WRITE8, i & 1 ? NULL : out, 4096),
				 0);
	struct stages_sum g = stages(0);
	for (unsigned k = KIND_READ; k <= KIND_WRITE; k++) { /* no pattern hides */
		ck_assert_uint_gt(g.samples[k], N / 2 / STATS_SAMPLE * 8 / 10);
		ck_assert_uint_lt(g.samples[k], N / 2 / STATS_SAMPLE * 12 / 10);
	}
}
END_TEST

/* Time in each stage of the commands of `kind` that were sampled, in ticks a command. */
static void expect_stages(enum stats_kind kind, const unsigned want[SCSI_STAGES])
{
	struct stages_sum g = stages(0);
	ck_assert_uint_gt(g.samples[kind], 0);
	for (unsigned i = 0; i < SCSI_STAGES; i++) {
		ck_assert_uint_eq(g.stages[kind][i].count, g.samples[kind]);
		ck_assert_msg(g.stages[kind][i].total_ns == g.samples[kind] * want[i] * CLOCK_TICK,
			      "%s: %lu ns in %lu samples", stats_stage_name(i),
			      (unsigned long)g.stages[kind][i].total_ns,
			      (unsigned long)g.samples[kind]);
	}
}

START_TEST(stages_of_a_read_hit)
{
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(run(fx->a, 0, READ8, NULL, 4096), 0);
	expect_stages(
	    KIND_READ,
	    (const unsigned[SCSI_STAGES]){
		[STAGE_START] = 1, [STAGE_CACHE] = 1, [STAGE_RESPOND] = 1, [STAGE_SEND] = 1});
}
END_TEST

START_TEST(stages_of_a_miss)
{
	fx->v1->miss = true;
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(run(fx->a, 0, READ8, NULL, 4096), 0);
	expect_stages(KIND_READ, (const unsigned[SCSI_STAGES]){[STAGE_START] = 1,
							       [STAGE_CACHE] = 1,
							       [STAGE_DISK] = 1,
							       [STAGE_RESPOND] = 1,
							       [STAGE_SEND] = 1});
}
END_TEST

START_TEST(stages_of_a_write)
{
	for (int i = 0; i < 100; i++) /* with FUA: it waits at its end */
		ck_assert_int_eq(run(fx->a, 0, CDB(0x2a, 0x08, BE32(0), 0, BE16(8)), out, 4096), 0);
	expect_stages(KIND_WRITE, (const unsigned[SCSI_STAGES]){[STAGE_START] = 1,
								[STAGE_CACHE] = 2,
								[STAGE_DATA] = 1,
								[STAGE_DISK] = 1,
								[STAGE_RESPOND] = 1,
								[STAGE_SEND] = 1});
}
END_TEST

START_TEST(what_the_transport_does_not_time_is_not_counted)
{
	ck_assert_int_eq(run(fx->a, 0, READ8, NULL, 4096), 0);
	fx->cmd->trace.received_ns = 0;
	struct stats_sum s = lu_sum(0);
	ck_assert_uint_eq(s.ops[KIND_READ], 0);
}
END_TEST

SUITE("stats", units_and_nexuses_are_counted, latency_is_from_received_to_sent,
      the_sample_is_one_of_so_many, stages_of_a_read_hit, stages_of_a_miss, stages_of_a_write,
      what_the_transport_does_not_time_is_not_counted)
