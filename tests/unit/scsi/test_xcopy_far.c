/* EXTENDED COPY between units of two controllers. */
#include "tests/unit/scsi/partner_rig.h"

#define NOT_REACHABLE	    0x0a0804
#define THIRD_PARTY_FAILURE 0x0a0d01
#define LIST		    (16 + 2 * 32 + 28)

static uint8_t list[LIST];

/* By its NAA designator. */
static void target(struct scsi_nexus *n, unsigned i, uint32_t lun)
{
	uint8_t *d = list + 16 + i * 32;
	ck_assert_int_eq(pair_cmd(n, lun, CDB(0x12, 1, 0x83, 4, 0), NULL, 1024), SCSI_GOOD);
	const uint8_t *p = last->in + 4;
	while ((p[1] & 0x0f) != 3)
		p += 4 + p[3];
	d[0] = 0xe4;
	d[4] = p[0];
	d[5] = p[1];
	d[7] = p[3];
	memcpy(d + 8, p + 4, p[3]);
}

/* One segment of so many blocks of 512 from LUN 0, or of 4096 from LUN 1, to the other. */
static void make_list(struct scsi_nexus *n, uint32_t from, uint16_t blocks, uint64_t from_lba,
		      uint64_t to_lba)
{
	memset(list, 0, sizeof(list));
	list[0] = 7;
	be16_put(list + 2, 64);
	be32_put(list + 8, 28);
	target(n, 0, from);
	target(n, 1, !from);
	uint8_t *d = list + 16 + 64;
	d[0] = 0x02;
	d[3] = 0x18;
	be16_put(d + 6, 1);
	be16_put(d + 10, blocks);
	be64_put(d + 12, from_lba);
	be64_put(d + 20, to_lba);
}

#define COPY CDB(0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, BE32(LIST))

static struct volume *vol(int side, unsigned id)
{
	return &pr->s[side].core->volumes[id - 1];
}

static void fill(uint8_t seed)
{
	for (uint64_t i = 0; i < vol(A, 1)->size; i++)
		vol(A, 1)->data[i] = (uint8_t)(i * 7 + (i >> 9) + seed);
	memset(vol(A, 2)->data, 0, vol(A, 2)->size);
}

/* LUN 0 is at A, LUN 1 at B. */
static void split(void)
{
	fake_core_place(pr->s[A].core, 2, CORE_PARTNER);
	pair_run_for(NS_PER_MS);
	for (unsigned lun = 0; lun < 2; lun++) {
		struct scsi_nexus *const all[] = {x, y, z};
		uint8_t asc, ascq;
		for (unsigned i = 0; i < ARRAY_LEN(all); i++)
			while (nexus_ua_take(all[i], lun, &asc, &ascq))
				;
	}
}

/* By either portal, addressed to the source or the destination, both ways. */
START_TEST(copies_between_controllers)
{
	split();
	for (unsigned i = 0; i < 8; i++) {
		struct scsi_nexus *n = i & 1 ? x : z;
		uint32_t at = i >> 1 & 1;
		unsigned calls = vol(A, 1)->far + vol(B, 2)->far;
		fill((uint8_t)i);
		if (i & 4) { /* from LUN 1 to LUN 0 */
			memcpy(vol(A, 2)->data, vol(A, 1)->data, vol(A, 2)->size);
			make_list(n, 1, 100, 2, 16);
			ck_assert_int_eq(pair_cmd(n, at, COPY, list, LIST), SCSI_GOOD);
			ck_assert_mem_eq(vol(A, 1)->data + 16 * 512, vol(A, 2)->data + 2 * 4096,
					 100 * 4096);
		} else {
			make_list(n, 0, 1600, 16, 3); /* several pieces */
			ck_assert_int_eq(pair_cmd(n, at, COPY, list, LIST), SCSI_GOOD);
			ck_assert_mem_eq(vol(A, 2)->data + 3 * 4096, vol(A, 1)->data + 16 * 512,
					 1600 * 512);
		}
		ck_assert_uint_gt(vol(A, 1)->far + vol(B, 2)->far, calls);
	}
}
END_TEST

START_TEST(rights_are_checked_wherever_the_units_are)
{
	split();
	fill(1);
	/* another has reserved what is written, or what is read */
	for (uint32_t lun = 0; lun < 2; lun++) {
		ck_assert_int_eq(pair_cmd(y, lun, CDB(0x16), NULL, 0), SCSI_GOOD);
		for (int i = 0; i < 2; i++) {
			struct scsi_nexus *n = i ? x : z;
			make_list(n, 0, 16, 0, 0);
			ck_assert_int_eq(pair_cmd(n, !lun, COPY, list, LIST), SCSI_CHECK_CONDITION);
			ck_assert_uint_eq(job_sense(last), THIRD_PARTY_FAILURE);
		}
		ck_assert_int_eq(pair_cmd(y, lun, CDB(0x17), NULL, 0), SCSI_GOOD);
	}
	ck_assert_uint_eq(vol(A, 1)->commits + vol(B, 2)->commits, 0);
	ck_assert_uint_eq(vol(A, 1)->far + vol(B, 2)->far, 0);
	/* what fails there fails here */
	make_list(z, 0, 16, 0, 0);
	vol(B, 2)->write_err = -EIO;
	ck_assert_int_eq(pair_cmd(z, 0, COPY, list, LIST), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(job_sense(last), THIRD_PARTY_FAILURE);
	vol(B, 2)->write_err = 0;
}
END_TEST

/* The other unit moves: it is waited for, and used where it comes to rest; not for ever. */
START_TEST(a_unit_that_moves_is_waited_for)
{
	split();
	for (int i = 0; i < 2; i++) {
		fill((uint8_t)(i + 2));
		make_list(z, 0, 16, 0, 0);
		fake_core_place(pr->s[A].core, 2, CORE_MOVING);
		struct job *j = job_start(z, 0, COPY, list, LIST);
		pair_run_for(3 * NS_PER_S);
		ck_assert(!j->done);
		fake_core_place(pr->s[A].core, 2, i ? CORE_PARTNER : CORE_HERE);
		job_wait(j);
		ck_assert_int_eq(j->status, SCSI_GOOD);
		ck_assert_mem_eq(vol(A, 2)->data, vol(A, 1)->data, 8192);
		job_free(j);
	}
	make_list(z, 0, 16, 0, 0);
	fake_core_place(pr->s[A].core, 2, CORE_NOWHERE);
	struct job *j = job_start(z, 0, COPY, list, LIST);
	pair_run_for(30 * NS_PER_S);
	ck_assert(j->done);
	ck_assert_uint_eq(job_sense(j), THIRD_PARTY_FAILURE);
	job_free(j);
	fake_core_place(pr->s[A].core, 2, CORE_PARTNER);
}
END_TEST

/* The link goes down under a write there: it may be carried out yet, so the command does not end.
 */
START_TEST(a_write_that_may_yet_be_carried_out_is_waited_for)
{
	split();
	fill(5);
	make_list(z, 0, 16, 0, 0);
	vol(B, 2)->far_hangs = true;
	struct job *j = job_start(z, 0, COPY, list, LIST);
	pair_run_for(100 * NS_PER_MS);
	fake_link_down(pr->s[A].link);
	pair_run_for(3 * NS_PER_S);
	ck_assert(!j->done);
	pair_up();
	job_wait(j);
	ck_assert_uint_eq(job_sense(j), THIRD_PARTY_FAILURE);
	job_free(j);
	vol(B, 2)->far_hangs = false;
}
END_TEST

/*
 * A copy at each controller that writes at the other, and behind it more commands from there than
 * are at the partner at a time: each copy needs the link that the commands behind the other fill.
 */
START_TEST(copies_that_cross_go_on_however_much_waits_for_them)
{
	enum { BEHIND = FORWARD_WINDOW / (1 << 20) + 1 };
	struct job *copies[2], *writes[2][BEHIND];
	uint8_t lists[2][LIST];
	split();
	struct scsi_nexus *w = pair_login(A, HOST_B);
	fill(6);
	for (uint32_t lun = 0; lun < 2; lun++) {
		make_list(lun ? x : z, lun, lun ? 200 : 1600, 0, lun ? 2048 : 256);
		memcpy(lists[lun], list, LIST);
	}
	vol(A, 1)->far_hangs = vol(B, 2)->far_hangs = true;
	job_attr = SCSI_ORDERED;
	for (uint32_t lun = 0; lun < 2; lun++)
		copies[lun] = job_start(lun ? x : z, lun, COPY, lists[lun], LIST);
	pair_run_for(NS_PER_MS);
	job_attr = SCSI_SIMPLE;
	for (uint32_t lun = 0; lun < 2; lun++)
		for (unsigned i = 0; i < BEHIND; i++)
			writes[lun][i] =
			    job_start(lun ? w : y, lun, CDB(0x2a, 0, 0, 0, 0, 0, 0, lun ? 1 : 8, 0),
				      page, 1 << 20);
	pair_run_for(NS_PER_MS);
	ck_assert_uint_gt(pr->s[A].registry->forward->window.used, FORWARD_WINDOW - (1 << 20));
	ck_assert_uint_gt(pr->s[B].registry->forward->window.used, FORWARD_WINDOW - (1 << 20));
	vol(A, 1)->far_hangs = vol(B, 2)->far_hangs = false;
	pair_run_for(NS_PER_S);
	for (uint32_t lun = 0; lun < 2; lun++) {
		ck_assert(copies[lun]->done);
		ck_assert_int_eq(copies[lun]->status, SCSI_GOOD);
		job_free(copies[lun]);
		for (unsigned i = 0; i < BEHIND; i++) {
			ck_assert(writes[lun][i]->done);
			ck_assert_int_eq(writes[lun][i]->status, SCSI_GOOD);
			job_free(writes[lun][i]);
		}
	}
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(pr->s[i].registry->forward->window.used, 0);
		ck_assert_uint_eq(pr->s[i].registry->forward->copies.used, 0);
	}
	pair_logout(w);
}
END_TEST

PARTNER_SUITE("xcopy_far", copies_between_controllers, rights_are_checked_wherever_the_units_are,
	      a_unit_that_moves_is_waited_for, a_write_that_may_yet_be_carried_out_is_waited_for,
	      copies_that_cross_go_on_however_much_waits_for_them)
