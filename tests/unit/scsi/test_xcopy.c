/* EXTENDED COPY and RECEIVE COPY: data, who may copy what, every wrong list. */
#include <errno.h>
#include "runtime/err.h"
#include "tests/unit/scsi/suite.h"

#define NOT_REACHABLE	    0x0a0804
#define THIRD_PARTY_FAILURE 0x0a0d01

static uint8_t list[48 + 20 * 32 + 300 * 28];
static uint32_t targets, segments, header;
static bool lid4;

static void list_begin(bool four)
{
	memset(list, 0, sizeof(list));
	lid4 = four;
	targets = segments = 0;
	header = four ? 48 : 16;
	if (four) {
		list[0] = 1;
		list[3] = 0x20;
		list[16] = 0xff;
		be32_put(list + 20, 77);
	} else {
		list[0] = 77;
	}
}

/* A unit by its NAA (type 3) or EUI-64 (2) designator, as page 83h has it. */
static void add_target(uint32_t lun, uint8_t type)
{
	uint8_t *d = list + header + targets++ * 32;
	ck_assert_int_eq(run(fx->a, lun, CDB(0x12, 1, 0x83, 4, 0), NULL, 1024), 0);
	const uint8_t *p = fx->in + 4;
	while ((p[1] & 0x0f) != type)
		p += 4 + p[3];
	d[0] = 0xe4;
	d[4] = p[0];
	d[5] = p[1];
	d[7] = p[3];
	memcpy(d + 8, p + 4, p[3]);
}

static uint8_t *add_segment(uint16_t from, uint16_t to, uint16_t n, uint64_t from_lba,
			    uint64_t to_lba)
{
	uint8_t *d = list + header + targets * 32 + segments++ * 28;
	d[0] = 0x02;
	d[3] = 0x18;
	be16_put(d + 4, from);
	be16_put(d + 6, to);
	be16_put(d + 10, n);
	be64_put(d + 12, from_lba);
	be64_put(d + 20, to_lba);
	return d;
}

static uint32_t list_end(void)
{
	if (lid4) {
		be16_put(list + 42, (uint16_t)(targets * 32));
		be16_put(list + 44, (uint16_t)(segments * 28));
	} else {
		be16_put(list + 2, (uint16_t)(targets * 32));
		be32_put(list + 8, segments * 28);
	}
	return header + targets * 32 + segments * 28;
}

static uint8_t copy_len(uint32_t len)
{
	return run(fx->a, 0, CDB(0x83, lid4, 0, 0, 0, 0, 0, 0, 0, 0, BE32(len)), list, len);
}

static uint8_t copy(void)
{
	return copy_len(list_end());
}

static void fill(struct volume *v)
{
	for (uint64_t i = 0; i < v->size; i++)
		v->data[i] = (uint8_t)(i * 7 + (i >> 9) + v->id);
}

START_TEST(copies_between_units)
{
	for (int four = 0; four < 2; four++) {
		fill(fx->v1);
		memset(fx->v2->data, 0, fx->v2->size);
		list_begin(four);
		add_target(0, 3);
		add_target(1, 2);
		add_segment(0, 1, 4000, 8, 3);		 /* several pieces */
		add_segment(0xffff, 1, 8, 8184, 1023);	 /* the last blocks */
		add_segment(1, 0, 2, 2, 0)[1] = 0;	 /* counted in 4096 */
		add_segment(0, 1, 2, 16, 600)[1] = 0x02; /* DC: in the destination's */
		add_segment(0, 1, 0, 0, 0);		 /* nothing */
		ck_assert_int_eq(copy(), 0);
		ck_assert_mem_eq(fx->v2->data + 3 * 4096, fx->v1->data + 8 * 512, 4000 * 512 - 0);
		ck_assert_mem_eq(fx->v2->data + 1023 * 4096, fx->v1->data + 8184 * 512, 4096);
		ck_assert_mem_eq(fx->v1->data, fx->v2->data + 2 * 4096, 8192);
		ck_assert_mem_eq(fx->v2->data + 600 * 4096, fx->v1->data + 16 * 512, 8192);
	}
	ck_assert_int_eq(copy_len(0), 0);
}
END_TEST

START_TEST(copies_over_itself)
{
	static uint8_t before[4 << 20];
	fill(fx->v1);
	memcpy(before, fx->v1->data, sizeof(before));
	list_begin(false);
	add_target(0, 3);
	add_segment(0, 0, 3000, 0, 100); /* onto its own end */
	ck_assert_int_eq(copy(), 0);
	ck_assert_mem_eq(fx->v1->data + 100 * 512, before, 3000 * 512);
	memcpy(before, fx->v1->data, sizeof(before));
	list_begin(false);
	add_target(0, 3);
	add_segment(0, 0, 3000, 100, 1);
	ck_assert_int_eq(copy(), 0);
	ck_assert_mem_eq(fx->v1->data + 512, before + 100 * 512, 3000 * 512);
}
END_TEST

static void one_segment(uint32_t from, uint32_t to)
{
	list_begin(false);
	add_target(from, 3);
	add_target(to, 3);
	add_segment(0, 1, 8, 0, 0);
}

START_TEST(access_is_checked)
{
	fill(fx->v1);
	one_segment(300, 0); /* from what is read-only: yes */
	ck_assert_int_eq(copy(), 0);
	one_segment(0, 300);
	ck_assert_int_eq(copy(), 2);
	ck_assert_uint_eq(sense_of(), THIRD_PARTY_FAILURE);
	ck_assert_uint_eq(fx->v3->commits, 0);
	/* another nexus's reservation */
	one_segment(0, 1);
	ck_assert_int_eq(run(fx->b, 1, CDB(0x16), NULL, 0), 0);
	ck_assert_int_eq(copy(), 2);
	ck_assert_uint_eq(sense_of(), THIRD_PARTY_FAILURE);
	one_segment(0, 1);
	ck_assert_int_eq(run(fx->b, 1, CDB(0x17), NULL, 0), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 0);
	one_segment(0, 1);
	ck_assert_int_eq(copy(), 0);
	/* software write protection of the destination */
	fx->a->view->luns[1].lu->swp = true;
	ck_assert_int_eq(copy(), 2);
	fx->a->view->luns[1].lu->swp = false;
	/* a unit that is wiped, on either side */
	fx->a->view->luns[1].lu->conditions = COND_WIPING;
	ck_assert_int_eq(copy(), 2);
	ck_assert_uint_eq(sense_of(), THIRD_PARTY_FAILURE);
	fx->a->view->luns[1].lu->conditions = 0;
	ck_assert_int_eq(copy(), 0);
}
END_TEST

/* A LUN the initiator is not shown cannot be named, whatever it knows of it. */
START_TEST(masked_units_are_not_reachable)
{
	one_segment(1, 0);
	Isthmus__Initiator *i = fake_initiator_add(fx->core, TARGET, HOST_A);
	fake_map_add(i, 0, 0, false);
	fake_meta_changed(fx->core);
	while (fx->a->view->luns[0].ua)
		run(fx->a, 0, CDB(0x03, 0, 0, 0, 96), NULL, 96);
	ck_assert_int_eq(copy(), 2);
	ck_assert_uint_eq(sense_of(), NOT_REACHABLE);
	/* shown read-only */
	fake_map_add(i, 1, 1, true);
	fake_meta_changed(fx->core);
	while (fx->a->view->luns[0].ua)
		run(fx->a, 0, CDB(0x03, 0, 0, 0, 96), NULL, 96);
	ck_assert_int_eq(copy(), 0);
	be16_put(list + header + 64 + 4, 1);
	be16_put(list + header + 64 + 6, 0);
	ck_assert_int_eq(copy(), 2);
	ck_assert_uint_eq(sense_of(), THIRD_PARTY_FAILURE);
}
END_TEST

START_TEST(segments_are_checked)
{
	static const struct {
		uint16_t from, to, n;
		uint64_t from_lba, to_lba;
		uint32_t sense;
	} cases[] = {
	    {0, 2, 8, 0, 0, NOT_REACHABLE},	    {2, 0, 8, 0, 0, NOT_REACHABLE},
	    {0xfffe, 0, 8, 0, 0, NOT_REACHABLE},    {0, 1, 8, 8185, 0, 0x0a0000},
	    {0, 1, 8, 0, 1024, 0x0a0000},	    {0, 1, 8, UINT64_MAX, 0, 0x0a0000},
	    {0, 1, 8, 0, UINT64_MAX - 7, 0x0a0000}, {0, 1, 7, 0, 0, 0x0a260a},
	    {0, 1, 0xffff, 0, 0, 0x0a260a},
	};
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		list_begin(false);
		add_target(0, 3);
		add_target(1, 3);
		add_segment(0, 1, 8, 0, 0); /* the one before is carried out */
		add_segment(cases[i].from, cases[i].to, cases[i].n, cases[i].from_lba,
			    cases[i].to_lba);
		ck_assert_int_eq(copy(), 2);
		ck_assert_uint_eq(sense_of(), cases[i].sense);
		ck_assert_uint_eq(be32_get(fx->cmd->sense + 8), 1); /* its number */
		ck_assert_int_eq(sense_field(), 16 + 64 + 28);
	}
	list_begin(false);
	add_target(0, 3);
	list[16 + 1] = 0x20; /* NUL */
	add_segment(0, 0, 8, 0, 8);
	ck_assert_int_eq(copy(), 2);
	ck_assert_uint_eq(sense_of(), NOT_REACHABLE);
	one_segment(0, 1);
	fx->v1->read_err = -ERR_MEDIUM;
	ck_assert_int_eq(copy(), 2);
	ck_assert_uint_eq(sense_of(), THIRD_PARTY_FAILURE);
	fx->v1->read_err = 0;
	fx->v2->write_err = -ENOSPC;
	ck_assert_int_eq(copy(), 2);
	ck_assert_uint_eq(sense_of(), THIRD_PARTY_FAILURE);
}
END_TEST

static void refused(uint32_t sense, int field)
{
	uint32_t len = header + targets * 32 + segments * 28;
	ck_assert_int_eq(copy_len(len), 2);
	ck_assert_uint_eq(sense_of(), sense);
	if (field >= 0)
		ck_assert_int_eq(sense_field(), field);
	ck_assert_uint_eq(fx->v1->commits + fx->v2->commits, 0);
}

START_TEST(lists_are_checked)
{
	one_segment(0, 1);
	uint32_t len = list_end();
	for (uint32_t n = 1; n < len; n++) { /* cut anywhere */
		ck_assert_int_eq(copy_len(n), 2);
		ck_assert_uint_eq(sense_of(), 0x051a00);
	}
	ck_assert_int_eq(run(fx->a, 0, CDB(0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, BE32(len)), list, 20),
			 2);
	ck_assert_uint_eq(sense_of(), 0x051a00);
	ck_assert_int_eq(copy_len(1 << 20), 2);
	ck_assert_uint_eq(sense_of(), 0x051a00);
	list[16] = 0xe0;
	refused(0x052607, 16);
	list[16] = 0xe4;
	list[16 + 7] = 21;
	refused(INVALID_PARAM, 16 + 7);
	list[16 + 7] = 16;
	list[16 + 64] = 0x03;
	refused(0x052609, 80);
	list[16 + 64] = 0x02;
	list[16 + 64 + 3] = 0x17;
	refused(INVALID_PARAM, 80);
	list[16 + 64 + 3] = 0x18;
	be32_put(list + 8, 27);
	refused(INVALID_PARAM, 80);
	be32_put(list + 8, 0xfffffff0);
	refused(0x051a00, -1);
	be32_put(list + 8, 28);
	be16_put(list + 2, 63);
	refused(INVALID_PARAM, 2);
	be16_put(list + 2, 64);
	be32_put(list + 12, 1); /* inline data */
	refused(0x05260b, 12);
	be32_put(list + 12, 0);
	list[1] = 0x08; /* LIST ID USAGE 01b */
	refused(INVALID_PARAM, 1);
	list[1] = 0x18; /* 11b wants identifier 0 */
	refused(INVALID_PARAM, 0);
	list[0] = 0;
	ck_assert_int_eq(copy_len(len), 0);
	fx->v2->commits = 0;

	list_begin(false);
	for (int i = 0; i < 17; i++)
		add_target(0, 3);
	add_segment(0, 0, 1, 0, 1);
	list_end();
	refused(0x052606, 2);
	list_begin(false);
	add_target(0, 3);
	for (int i = 0; i < 257; i++)
		add_segment(0, 0, 1, 0, 1);
	list_end();
	refused(0x052608, -1);
	list_begin(false);
	for (int i = 0; i < 17; i++)
		add_target(0, 3);
	for (int i = 0; i < 257; i++)
		add_segment(0, 0, 1, 0, 1);
	list_end();
	refused(0x051a00, -1);
}
END_TEST

START_TEST(lid4_headers_are_checked)
{
	static const struct {
		unsigned at;
		uint8_t value;
		int field;
	} cases[] = {{0, 0, 0}, {3, 0x1f, 2}, {15, 2, 15}, {16, 0xfe, 16}, {1, 0x18, 20}};
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		list_begin(true);
		add_target(0, 3);
		add_segment(0, 0, 1, 0, 1);
		list_end();
		list[cases[i].at] = cases[i].value;
		refused(INVALID_PARAM, cases[i].field);
	}
	list_begin(true);
	ck_assert_int_eq(copy_len(16), 2);
	ck_assert_uint_eq(sense_of(), 0x051a00);
}
END_TEST

static uint8_t receive(uint8_t action, uint32_t id)
{
	uint8_t cdb[16] = {0x84, action};
	if (action == 5)
		be32_put(cdb + 2, id);
	else
		cdb[2] = (uint8_t)id;
	be32_put(cdb + 10, 512);
	return run(fx->a, 0, cdb, NULL, 512);
}

START_TEST(results_are_kept)
{
	ck_assert_int_eq(receive(0, 77), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(sense_field(), 2);
	one_segment(0, 1);
	ck_assert_int_eq(copy(), 0);
	ck_assert_int_eq(receive(0, 77), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 12);
	ck_assert_uint_eq(fx->in[4], 0x01);
	ck_assert_uint_eq(be16_get(fx->in + 5), 1);
	ck_assert_uint_eq(be32_get(fx->in + 8), 4096);
	ck_assert_int_eq(receive(4, 77), 2); /* nothing failed */
	ck_assert_int_eq(receive(5, 77), 2); /* another kind of identifier */
	ck_assert_int_eq(run(fx->b, 0, CDB(0x84, 0, 77, 0, 0, 0, 0, 0, 0, 0, BE32(64)), NULL, 64),
			 2); /* another's */
	one_segment(0, 300);
	ck_assert_int_eq(copy(), 2);
	ck_assert_int_eq(receive(0, 77), 0);
	ck_assert_uint_eq(fx->in[4], 0x02);
	ck_assert_int_eq(receive(4, 77), 0);
	ck_assert_uint_eq(fx->in[56], SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_in(fx->in + 60), THIRD_PARTY_FAILURE);
	ck_assert_int_eq(receive(4, 77), 2); /* told once */
	list_begin(true);
	add_target(0, 3);
	add_segment(0, 0, 1, 0, 8192);
	ck_assert_int_eq(copy(), 2);
	ck_assert_int_eq(receive(5, 77), 0);
	ck_assert_uint_eq(fx->in[5], 0x02);
	ck_assert_uint_eq(fx->in[12], SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_in(fx->in + 32), 0x0a0000);
	/* so many, then the oldest goes */
	for (unsigned id = 0; id < COPY_RESULTS; id++) {
		one_segment(0, 1);
		list[0] = (uint8_t)id;
		ck_assert_int_eq(copy(), 0);
	}
	for (unsigned id = 0; id < COPY_RESULTS; id++)
		ck_assert_int_eq(receive(0, id), 0);
	ck_assert_int_eq(receive(5, 77), 2);
	ck_assert_int_eq(receive(3, 0), 0);
	ck_assert_uint_eq(be32_get(fx->in) + 4, fx->cmd->in_len);
	ck_assert_uint_eq(be16_get(fx->in + 8), 16);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x83, 0x1c, BE32(77)), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
}
END_TEST

START_TEST(identifiers_in_use)
{
	one_segment(0, 1);
	ck_assert_int_eq(copy(), 0);
	fx->a->copies[0].running = true;
	ck_assert_int_eq(copy(), 2);
	ck_assert_uint_eq(sense_of(), 0x050016);
	for (unsigned i = 0; i < 8; i++)
		fx->a->copies[i] =
		    (struct copy_result){.used = true, .running = true, .list_id = 100 + i};
	ck_assert_int_eq(copy(), SCSI_BUSY);
	ck_assert_int_eq(receive(0, 101), 0);
	ck_assert_uint_eq(fx->in[4], 0x00); /* in progress */
}
END_TEST

SUITE("xcopy", copies_between_units, copies_over_itself, access_is_checked,
      masked_units_are_not_reachable, segments_are_checked, lists_are_checked,
      lid4_headers_are_checked, results_are_kept, identifiers_in_use)
