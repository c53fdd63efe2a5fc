/* READ, WRITE, WRITE AND VERIFY, VERIFY, SYNCHRONIZE CACHE: data, ranges, residuals, errors. */
#include <errno.h>
#include "runtime/err.h"
#include "runtime/task.h"
#include "tests/unit/scsi/suite.h"

static uint8_t buf[4 << 20];

static void pattern(uint8_t seed, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		buf[i] = (uint8_t)(seed + i * 7 + (i >> 9));
}

/* A read (0), write (1), write and verify (2) or verify (3) of each CDB size. */
static const uint8_t *rw_cdb(unsigned size, unsigned kind, uint64_t lba, uint32_t blocks,
			     uint8_t byte1)
{
	static const uint8_t codes[4][4] = {{0x08, 0x28, 0xa8, 0x88},
					    {0x0a, 0x2a, 0xaa, 0x8a},
					    {0, 0x2e, 0xae, 0x8e},
					    {0, 0x2f, 0xaf, 0x8f}};
	static uint8_t cdb[16];
	memset(cdb, 0, 16);
	cdb[0] = codes[kind][size];
	cdb[1] = byte1;
	switch (size) {
	case 0:
		be24_put(cdb + 1, (uint32_t)lba);
		cdb[4] = (uint8_t)blocks;
		break;
	case 1:
		be32_put(cdb + 2, (uint32_t)lba);
		be16_put(cdb + 7, (uint16_t)blocks);
		break;
	case 2:
		be32_put(cdb + 2, (uint32_t)lba);
		be32_put(cdb + 6, blocks);
		break;
	case 3:
		be64_put(cdb + 2, lba);
		be32_put(cdb + 10, blocks);
	}
	return cdb;
}

START_TEST(what_is_written_is_read)
{
	for (unsigned lun = 0; lun < 2; lun++) {
		uint32_t bs = lun ? 4096 : 512;
		uint8_t *data = lun ? fx->v2->data : fx->v1->data;
		for (unsigned size = 0; size < 4; size++) {
			for (int miss = 0; miss < 2; miss++) {
				fx->v1->miss = fx->v2->miss = miss;
				pattern((uint8_t)(size * 2 + miss), 9 * bs);
				ck_assert_int_eq(
				    run(fx->a, lun, rw_cdb(size, 1, 5, 9, 0), buf, 9 * bs), 0);
				ck_assert_int_eq(fx->waited, miss);
				ck_assert_mem_eq(data + 5 * bs, buf, 9 * bs);
				ck_assert_int_eq(
				    run(fx->a, lun, rw_cdb(size, 0, 5, 9, 0), NULL, 9 * bs), 0);
				ck_assert_int_eq(fx->waited, miss);
				ck_assert_uint_eq(fx->cmd->in_len, 9 * bs);
				ck_assert_mem_eq(fx->in, buf, 9 * bs);
			}
		}
	}
}
END_TEST

START_TEST(largest_transfers)
{
	pattern(3, CACHE_IO_MAX);
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, 1, 1, 2048, 0), buf, CACHE_IO_MAX), 0);
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, 0, 1, 2048, 0), NULL, CACHE_IO_MAX), 0);
	ck_assert_mem_eq(fx->in, buf, CACHE_IO_MAX);
	/* READ(6) of 0 blocks is one of 256 */
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(0, 0, 0, 0, 0), NULL, 256 * 512), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 256 * 512);
	fx->v1->size = 1ull << 40;
	run(fx->a, 0, CDB(0), NULL, 0);
	for (unsigned kind = 0; kind < 4; kind++) {
		for (unsigned size = 2; size < 4; size++) {
			ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, kind, 0, 32769, 0),
					     kind ? buf : NULL, 32769 * 512),
					 2);
			ck_assert_uint_eq(sense_of(), INVALID_FIELD);
			ck_assert_int_eq(sense_field(), size == 3 ? 10 : 6);
		}
	}
	fx->v1->size = 4 << 20;
}
END_TEST

/* What is longer than the cache lends at once goes piece by piece. */
START_TEST(long_transfers)
{
	uint32_t n = 6145, len = n * 512;
	for (unsigned size = 1; size < 4; size++) {
		pattern((uint8_t)size, len);
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, 1, 3, n, 0), buf, len), 0);
		ck_assert_mem_eq(fx->v1->data + 3 * 512, buf, len);
		ck_assert_uint_eq(fx->parts, 4);
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, 0, 3, n, 0), NULL, len), 0);
		ck_assert_mem_eq(fx->in, buf, len);
		ck_assert_uint_eq(fx->parts, 3);
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, 3, 3, n, 0x02), buf, len), 0);
		ck_assert_uint_eq(fx->parts, 13);
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, 3, 3, n, 0), NULL, 0), 0);
		pattern((uint8_t)(size + 9), len);
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, 2, 3, n, 0x02), buf, len), 0);
		ck_assert_mem_eq(fx->v1->data + 3 * 512, buf, len);
	}
	run_done();
	buf[len - 1] ^= 1;
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(3, 3, 3, n, 0x02), buf, len), 2);
	ck_assert_uint_eq(sense_of(), 0x0e1d00);
	/* FUA with each piece; blocks that do not come are not written */
	unsigned before = fx->v1->fuas;
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(3, 1, 3, n, 0x08), buf, len), 0);
	ck_assert_uint_eq(fx->v1->fuas, before + 4);
	memset(fx->v1->data, 0, 4 << 20);
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(3, 1, 0, n, 0), buf, 3 << 20), 0);
	ck_assert_mem_eq(fx->v1->data, buf, 3 << 20);
	ck_assert_uint_eq(fx->v1->data[3 << 20], 0);
	/* ORWRITE */
	memset(fx->v1->data, 0x80, 4 << 20);
	memset(buf, 0x01, len);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x8b, 0, BE64(0), BE32(n)), buf, len), 0);
	ck_assert_uint_eq(fx->v1->data[len - 1], 0x81);
	ck_assert_uint_eq(fx->v1->data[len], 0x80);
	fx->v1->read_err = -ERR_MEDIUM;
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(3, 0, 3, n, 0), NULL, len), 2);
	ck_assert_uint_eq(sense_of(), 0x031100);
	fx->v1->read_err = 0;
	fx->v1->write_err = -ENOSPC;
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(3, 1, 3, n, 0), buf, len), 2);
	ck_assert_uint_eq(sense_of(), 0x072707);
}
END_TEST

/* A long transfer holds what one of its parts needs, and between parts what others may take. */
START_TEST(parts_of_long_transfers)
{
	struct scsi_cmd *c = calloc(1, sizeof(*c));
	uint32_t n = 5000, len = n * 512;
	memset(fx->v1->data, 0, 4 << 20);
	c->nexus = fx->a;
	memcpy(c->cdb, rw_cdb(3, 1, 0, n, 0), 16);
	c->cdb_len = 16;
	c->out_expected = len;
	ck_assert_int_eq(scsi_start(c), SCSI_DATA_OUT);
	for (uint32_t at = 0; at < len; at += CACHE_IO_MAX) {
		uint32_t lent = 0;
		ck_assert_uint_eq(c->part_at, at);
		for (int i = 0; i < c->out_iovcnt; i++) {
			memset(c->out_iov[i].iov_base, 7, c->out_iov[i].iov_len);
			lent += (uint32_t)c->out_iov[i].iov_len;
		}
		ck_assert_uint_eq(lent, MIN(len - at, CACHE_IO_MAX));
		ck_assert_int_eq(fx->v1->writes, 1);
		/* pages that are not free are waited for by the part alone */
		fx->v1->miss = at == 0;
		enum scsi_next next = scsi_finish(c);
		ck_assert_int_eq(next == SCSI_WAIT, at == 0);
		ck_assert_int_eq(fx->v1->data[at + lent - 1], 7); /* it is written */
		ck_assert_int_eq(fx->v1->writes, at > 0 && at + lent < len);
		fx->v1->miss = false;
		if (next == SCSI_WAIT)
			next = scsi_finish_wait(c);
		ck_assert_int_eq(next, at + lent < len ? SCSI_DATA_OUT : SCSI_DONE);
	}
	ck_assert_int_eq(c->status, 0);
	ck_assert_uint_eq(c->out_len, len);
	scsi_release(c);
	/* one that is given up in the middle gives back what it holds */
	memcpy(c->cdb, rw_cdb(3, 0, 0, n, 0), 16);
	c->out_expected = 0;
	ck_assert_int_eq(scsi_start(c), SCSI_DONE);
	ck_assert(c->in_more);
	ck_assert_uint_eq(c->in_len, len);
	ck_assert_int_eq(fx->v1->pins, 1);
	ck_assert_int_eq(scsi_finish(c), SCSI_DONE);
	ck_assert_uint_eq(c->part_at, CACHE_IO_MAX);
	ck_assert_int_eq(fx->v1->pins, 1);
	scsi_release(c);
	ck_assert_int_eq(fx->v1->pins, 0);
	/* an error of a later part */
	ck_assert_int_eq(scsi_start(c), SCSI_DONE);
	fx->v1->read_err = -ERR_MEDIUM;
	fx->v1->miss = true;
	ck_assert_int_eq(scsi_finish(c), SCSI_WAIT);
	ck_assert_int_eq(scsi_finish_wait(c), SCSI_DONE);
	ck_assert_int_eq(c->status, SCSI_CHECK_CONDITION);
	ck_assert(!c->in_more);
	ck_assert_uint_eq(be32_get(c->sense + 3), CACHE_IO_MAX / 512);
	scsi_release(c);
	fx->v1->read_err = 0;
	free(c);
}
END_TEST

START_TEST(beyond_the_end)
{
	uint64_t end = (4 << 20) / 512;
	for (unsigned size = 1; size < 4; size++) {
		for (unsigned kind = 0; kind < 4; kind++) {
			const uint64_t lbas[] = {end - 1,     end,	  end + 1,
						 0x80000000u, UINT32_MAX, UINT64_MAX};
			for (unsigned i = 0; i < (size == 3 ? 6 : 5); i++) {
				ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, kind, lbas[i], 2, 0),
						     kind ? buf : NULL, 1024),
						 2);
				ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
				ck_assert_uint_eq(fx->residual_under, 1024);
			}
			/* no blocks: the address counts all the same */
			ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, kind, end + 1, 0, 0), NULL, 0),
					 2);
			ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
			ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, kind, 0, 0, 0), NULL, 0), 0);
		}
	}
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(0, 0, end, 1, 0), NULL, 512), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
	ck_assert_uint_eq(fx->v1->commits, 0);
}
END_TEST

START_TEST(protection_is_refused_dpo_and_fua_are_not)
{
	pattern(1, 512);
	for (unsigned size = 1; size < 4; size++) {
		for (unsigned kind = 0; kind < 4; kind++) {
			for (uint8_t p = 1; p < 8; p++) {
				ck_assert_int_eq(run(fx->a, 0,
						     rw_cdb(size, kind, 0, 1, (uint8_t)(p << 5)),
						     kind ? buf : NULL, 512),
						 2);
				ck_assert_uint_eq(sense_of(), INVALID_FIELD);
			}
			uint8_t bits = kind < 2 ? 0x18 : 0x10;
			ck_assert_int_eq(
			    run(fx->a, 0, rw_cdb(size, kind, 0, 1, bits), kind ? buf : NULL, 512),
			    0);
		}
	}
}
END_TEST

START_TEST(fua_waits_for_the_medium)
{
	pattern(1, 512);
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, 1, 0, 1, 0x08), buf, 512), 0);
	ck_assert(fx->waited);
	ck_assert_uint_eq(fx->v1->fuas, 1);
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, 0, 0, 1, 0x08), NULL, 512), 0);
	ck_assert(fx->waited);
	ck_assert_uint_eq(fx->v1->flushes, 1);
}
END_TEST

START_TEST(read_residuals)
{
	const struct {
		uint32_t blocks, edtl, over, under;
	} cases[] = {{1, 0, 512, 0}, {1, 10000, 0, 9488}, {1, 200, 312, 0}, {2, 512, 512, 0}};
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		ck_assert_int_eq(
		    run(fx->a, 0, rw_cdb(1, 0, 0, cases[i].blocks, 0), NULL, cases[i].edtl), 0);
		ck_assert_uint_eq(fx->residual_over, cases[i].over);
		ck_assert_uint_eq(fx->residual_under, cases[i].under);
	}
}
END_TEST

START_TEST(write_residuals)
{
	for (unsigned kind = 1; kind < 3; kind++) {
		uint8_t *d = fx->v1->data;
		memset(d, 'a', 2048);
		memset(buf, 'b', 10000);
		/* nothing comes: nothing is written */
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, kind, 0, 1, 0), buf, 0), 0);
		ck_assert_uint_eq(fx->residual_over, 512);
		ck_assert_uint_eq(d[0], 'a');
		/* part of a block: refused */
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, kind, 0, 1, 0), buf, 200), 2);
		ck_assert_uint_eq(sense_of(), SHORT_DATA);
		ck_assert_uint_eq(fx->residual_over, 312);
		ck_assert_uint_eq(d[0], 'a');
		/* one block of two: that one is written */
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, kind, 0, 2, 0), buf, 512), 0);
		ck_assert_uint_eq(fx->residual_over, 512);
		ck_assert_uint_eq(d[0], 'b');
		ck_assert_uint_eq(d[511], 'b');
		ck_assert_uint_eq(d[512], 'a');
		/* more than one block for one */
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, kind, 2, 1, 0), buf, 1024), 0);
		ck_assert_uint_eq(fx->residual_under, 512);
		ck_assert_uint_eq(d[1024], 'b');
		ck_assert_uint_eq(d[1536], 'a');
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, kind, 0, 1, 0), buf, 10000), 0);
		ck_assert_uint_eq(fx->residual_under, 9488);
	}
}
END_TEST

START_TEST(abandoned_commands_give_their_pages_back)
{
	struct scsi_cmd *c = fx->cmd;
	c->nexus = fx->a;
	memset(c->lun, 0, 8);
	memset(c->cdb, 0, sizeof(c->cdb));
	memcpy(c->cdb, rw_cdb(1, 1, 0, 8, 0), 16);
	c->cdb_len = 16;
	c->out_expected = 4096;
	ck_assert_int_eq(scsi_start(c), SCSI_DATA_OUT);
	ck_assert_int_eq(fx->v1->writes, 1);
	ck_assert_uint_eq(c->out_len, 4096);
	scsi_release(c);
	ck_assert_int_eq(fx->v1->writes, 0);
	ck_assert_uint_eq(fx->v1->commits, 0);
	/* and one that fails in the transport before its data came */
	ck_assert_int_eq(scsi_start(c), SCSI_DATA_OUT);
	scsi_fail(c, KEY_ABORTED_COMMAND, 0x4b, 0x00);
	ck_assert_int_eq(fx->v1->writes, 0);
	scsi_release(c);
}
END_TEST

static struct scsi_cmd *start_write(const uint8_t *cdb, uint32_t len)
{
	struct scsi_cmd *c = fx->cmd;
	c->nexus = fx->a;
	memset(c->lun, 0, 8);
	memcpy(c->cdb, cdb, 16);
	c->cdb_len = 16;
	c->out_expected = len;
	enum scsi_next next = scsi_start(c);
	if (next == SCSI_WAIT)
		next = scsi_start_wait(c);
	ck_assert_msg(next == SCSI_DATA_OUT, "opcode %02x: status %u", cdb[0], c->status);
	for (int i = 0; i < c->out_iovcnt; i++)
		memset(c->out_iov[i].iov_base, 0xee, c->out_iov[i].iov_len);
	return c;
}

/* Aborted while its data came, or before its task ran: whoever sent it may have sent it again by
 * another path, and later writes behind that. It changes nothing any more. */
START_TEST(aborted_commands_change_nothing)
{
	static const uint8_t none[4096];
	const uint8_t *cdbs[] = {CDB(0x2a, 0, BE32(0), 0, BE16(8)), /* WRITE */
				 CDB(0x2a, 8, BE32(0), 0, BE16(8)), /* with FUA */
				 CDB(0x2e, 0, BE32(0), 0, BE16(8)), /* AND VERIFY */
				 CDB(0x93, 0, BE64(0), BE32(8))};   /* SAME */
	const uint32_t lens[] = {4096, 4096, 4096, 512};
	memset(fx->v1->data, 0, sizeof(none));
	for (unsigned i = 0; i < ARRAY_LEN(cdbs); i++) {
		for (int waits = 0; waits < 2; waits++) {
			struct scsi_cmd *c = start_write(cdbs[i], lens[i]);
			enum scsi_next next = SCSI_WAIT;
			if (waits)
				next = scsi_finish(c);
			scsi_abort(c);
			if (waits && next == SCSI_DONE) { /* it was all done: not aborted */
				memset(fx->v1->data, 0, sizeof(none));
			} else {
				next = waits ? scsi_finish_wait(c) : scsi_finish(c);
				ck_assert_int_eq(next, SCSI_DONE);
				ck_assert_uint_eq(c->status, SCSI_TASK_ABORTED);
			}
			ck_assert_mem_eq(fx->v1->data, none, sizeof(none));
			ck_assert_int_eq(fx->v1->writes, 0); /* its pages are given back */
			ck_assert_int_eq(fx->v1->pins, 0);
			scsi_release(c);
		}
	}
	ck_assert_uint_eq(fx->v1->fuas, 0);
}
END_TEST

START_TEST(errors_of_the_block_core)
{
	const struct {
		int err;
		uint32_t sense; /* 0: BUSY */
	} cases[] = {{-ERR_MEDIUM, 0x031100},
		     {-ERR_CORRUPT, 0x031100},
		     {-EIO, 0x044400},
		     {-ENOSPC, 0x072707},
		     {-ERR_SHUTDOWN, 0x020400},
		     {-ERR_WRITE_PROTECT, 0x072700},
		     {-EINVAL, 0x052100},
		     {-ENOMEM, 0},
		     {-ERR_EPOCH_STALE, 0x020400}};
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		for (int miss = 0; miss < 2; miss++) {
			fx->v1->miss = miss;
			fx->v1->read_err = fx->v1->write_err = cases[i].err;
			for (unsigned kind = 0; kind < 2; kind++) {
				uint8_t st = run(fx->a, 0, rw_cdb(1, kind, 77, 1, 0),
						 kind ? buf : NULL, 512);
				ck_assert_uint_eq(st, cases[i].sense ? SCSI_CHECK_CONDITION
								     : SCSI_BUSY);
				if (cases[i].sense)
					ck_assert_uint_eq(sense_of(), cases[i].sense);
				if (cases[i].err == -ERR_MEDIUM)
					ck_assert_uint_eq(be32_get(fx->cmd->sense + 3), 77);
			}
		}
	}
	fx->v1->read_err = fx->v1->write_err = 0;
	fx->v1->miss = false;
	fx->v1->flush_err = -EIO;
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, 1, 0, 1, 0x08), buf, 512), 2);
	ck_assert_uint_eq(sense_of(), 0x044400);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x35), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), 0x044400);
}
END_TEST

START_TEST(verify_compares)
{
	for (unsigned size = 1; size < 4; size++) {
		pattern(9, 4096);
		memcpy(fx->v1->data + 1024, buf, 4096);
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, 3, 2, 8, 0x02), buf, 4096), 0);
		buf[4095] ^= 1;
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, 3, 2, 8, 0x02), buf, 4096), 2);
		ck_assert_uint_eq(sense_of(), 0x0e1d00);
		/* without BYTCHK only the medium is read: all copies of it */
		fx->v1->copy_reads = 0;
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, 3, 2, 8, 0), NULL, 0), 0);
		ck_assert_uint_eq(fx->v1->copy_reads, 2);
		/* one block against all */
		memset(fx->v1->data + 1024, 'x', 4096);
		memset(buf, 'x', 512);
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, 3, 2, 8, 0x06), buf, 512), 0);
		fx->v1->data[1024 + 4000] = 'y';
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, 3, 2, 8, 0x06), buf, 512), 2);
		ck_assert_uint_eq(sense_of(), 0x0e1d00);
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, 3, 2, 8, 0x04), buf, 512), 2);
		ck_assert_uint_eq(sense_of(), INVALID_FIELD);
		/* less data than there is to compare */
		ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, 3, 2, 8, 0x02), buf, 512), 2);
		ck_assert_uint_eq(sense_of(), SHORT_DATA);
	}
	fx->v1->copy_err = -ERR_MEDIUM;
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, 3, 2, 8, 0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), 0x031100);
	fx->v1->copy_err = -EIO;
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, 3, 2, 8, 0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), 0x031100);
	fx->v1->copy_err = -ENODEV; /* all disks are out */
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, 3, 2, 8, 0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), 0x031100);
	/* the largest */
	fx->v1->copy_err = 0;
	memcpy(buf, fx->v1->data + 512, CACHE_IO_MAX);
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, 3, 1, 2048, 0x02), buf, CACHE_IO_MAX), 0);
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, 3, 1, 2048, 0), NULL, 0), 0);
}
END_TEST

START_TEST(write_and_verify)
{
	for (unsigned size = 1; size < 4; size++) {
		for (uint8_t bytchk = 0; bytchk < 4; bytchk += 2) {
			pattern((uint8_t)(size + bytchk), 3 * 512);
			fx->v1->fuas = fx->v1->copy_reads = 0;
			ck_assert_int_eq(run(fx->a, 0, rw_cdb(size, 2, 3, 3, bytchk), buf, 3 * 512),
					 0);
			ck_assert_mem_eq(fx->v1->data + 3 * 512, buf, 3 * 512);
			ck_assert_uint_eq(fx->v1->fuas, 1);
			ck_assert_uint_eq(fx->v1->copy_reads, 2);
		}
	}
	fx->v1->copy_err = -ERR_MEDIUM;
	ck_assert_int_eq(run(fx->a, 0, rw_cdb(1, 2, 3, 3, 0), buf, 3 * 512), 2);
	ck_assert_uint_eq(sense_of(), 0x031100);
}
END_TEST

START_TEST(synchronize_cache)
{
	ck_assert_int_eq(run(fx->a, 0, CDB(0x35), NULL, 0), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x35, 0, BE32(8191), 0, BE16(1)), NULL, 0), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x91, 0, BE64(0), BE32(8192)), NULL, 0), 0);
	ck_assert_uint_eq(fx->v1->flushes, 3);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x35, 0, BE32(8191), 0, BE16(2)), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x91, 0, BE64(8192), BE32(0)), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
	/* a volume that only reads may be synchronized too */
	ck_assert_int_eq(run(fx->a, 300, CDB(0x35), NULL, 0), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x34, 0, BE32(0), 0, BE16(8)), NULL, 0), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x90, 2, BE64(0), BE32(8)), NULL, 0), 0);
	ck_assert_uint_eq(fx->v1->prefetches, 2);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x34, 0, BE32(8192), 0, BE16(8)), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
}
END_TEST

START_TEST(immediate_synchronize_runs_on)
{
	struct sched *s;
	ck_assert_int_eq(sched_new(&s, 8, 0, NULL, NULL), 0);
	sched_set_current(s);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x35, 2), NULL, 0), 0);
	ck_assert(!fx->waited);
	ck_assert_uint_eq(fx->v1->flushes, 0);
	ck_assert_uint_eq(fx->registry->background, 1);
	sched_run(s);
	ck_assert_uint_eq(fx->v1->flushes, 1);
	ck_assert_uint_eq(fx->registry->background, 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x35, 2, BE32(8192)), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
	sched_set_current(NULL);
	sched_free(s);
}
END_TEST

START_TEST(read_only_refuses_all_that_writes)
{
	memset(buf, 1, 512);
	const uint8_t *cdbs[] = {CDB(0x0a, 0, 0, 0, 1),
				 CDB(0x2a, 0, BE32(0), 0, BE16(1)),
				 CDB(0xaa, 0, BE32(0), BE32(1)),
				 CDB(0x8a, 0, BE64(0), BE32(1)),
				 CDB(0x2e, 0, BE32(0), 0, BE16(1)),
				 CDB(0x41, 0, BE32(0), 0, BE16(1)),
				 CDB(0x93, 8, BE64(0), BE32(1)),
				 CDB(0x42, 0, 0, 0, 0, 0, 0, BE16(24))};
	for (unsigned i = 0; i < ARRAY_LEN(cdbs); i++) {
		ck_assert_int_eq(run(fx->a, 300, cdbs[i], buf, 512), 2);
		ck_assert_uint_eq(sense_of(), WRITE_PROTECTED);
	}
	ck_assert_int_eq(run(fx->a, 300, rw_cdb(1, 0, 0, 1, 0), NULL, 512), 0);
	ck_assert_int_eq(run(fx->a, 300, rw_cdb(1, 3, 0, 1, 0), NULL, 0), 0);
}
END_TEST

SUITE("rw", what_is_written_is_read, largest_transfers, long_transfers, parts_of_long_transfers,
      beyond_the_end, protection_is_refused_dpo_and_fua_are_not, fua_waits_for_the_medium,
      read_residuals, write_residuals, abandoned_commands_give_their_pages_back,
      aborted_commands_change_nothing, errors_of_the_block_core, verify_compares, write_and_verify,
      synchronize_cache, immediate_synchronize_runs_on, read_only_refuses_all_that_writes)
