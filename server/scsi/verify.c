/*
 * VERIFY (SBC-4 5.36). BYTCHK: 0 the medium is read, 1 it is compared with as much
 * data, 3 each block is compared with one block of data.
 *
 * Verifying the medium reads every redundancy copy from the disks, past the cache.
 * Comparing is with what the array returns, for that is what an initiator wrote.
 */
#include <errno.h>
#include <stdlib.h>
#include "runtime/err.h"
#include "server/scsi/scsi_priv.h"

#define VERIFY_CHUNK (128u * 1024)
#define COPIES_MAX   16

static unsigned cdb_bytchk(const uint8_t *cdb)
{
	return cdb[1] >> 1 & 3;
}

/* One chunk of every copy. A copy whose disk is out is not looked at; one there must be. */
static int verify_chunk(struct volume *v, void *buf, uint32_t len, uint64_t off)
{
	unsigned read = 0;
	for (unsigned copy = 0; copy < COPIES_MAX; copy++) {
		int err = volume_read_copy(v, buf, len, off, copy);
		if (err == -ENOENT || err == -EOPNOTSUPP) /* no more copies */
			break;
		if (err == -ENODEV)
			continue;
		if (err)
			return err == -EIO ? -ERR_MEDIUM : err;
		read++;
	}
	return read ? 0 : -ERR_MEDIUM;
}

int verify_medium(struct scsi_cmd *c)
{
	struct volume *v = lu_volume(c->lu);
	/* whole 4 KiB: the disks may have blocks of that size */
	uint64_t off = ROUND_DOWN(c->off, 4096), end = ROUND_UP(c->off + c->len, 4096);
	end = MIN(end, volume_size(v));
	void *buf = aligned_alloc(4096, VERIFY_CHUNK);
	if (!buf)
		return -ENOMEM;
	int err = 0;
	for (; !err && off < end; off += VERIFY_CHUNK)
		err = verify_chunk(v, buf, (uint32_t)MIN(end - off, VERIFY_CHUNK), off);
	free(buf);
	return err;
}

/* want_len bytes repeat; *at is where among them the range begins, and then ends. */
static int verify_piece(struct scsi_cmd *c, uint64_t off, uint32_t len, const uint8_t *want,
			uint32_t want_len, uint32_t *at)
{
	struct volume *v = lu_volume(c->lu);
	int err = volume_read(v, off, len, &c->io.read);
	if (err)
		return err;
	for (int i = 0; !err && i < c->io.read.n; i++) {
		const uint8_t *have = c->io.read.iov[i].iov_base;
		size_t left = c->io.read.iov[i].iov_len;
		while (!err && left) { /* want repeats: all of it at once, or one block */
			size_t n = MIN(left, want_len - *at);
			if (memcmp(have, want + *at, n))
				err = -ERR_MISCOMPARE;
			have += n;
			left -= n;
			*at = (uint32_t)((*at + n) % want_len);
		}
	}
	volume_read_done(v, &c->io.read);
	return err;
}

int verify_data(struct scsi_cmd *c, const uint8_t *want, uint32_t want_len)
{
	uint32_t at = 0;
	int err = 0;
	for (uint32_t done = 0; !err && done < c->len; done += CACHE_IO_MAX)
		err = verify_piece(c, c->off + done, MIN(c->len - done, CACHE_IO_MAX), want,
				   want_len, &at);
	return err;
}

enum scsi_next op_verify(struct scsi_cmd *c)
{
	struct lba_range r = cdb_range(c->cdb);
	unsigned bytchk = cdb_bytchk(c->cdb);
	if (bytchk == 2)
		return cmd_bad_cdb(c, 1, 2);
	if (!cmd_range_ok(c, &r, SCSI_TRANSFER_MAX))
		return SCSI_DONE;
	if (!c->len)
		return cmd_good(c);
	if (bytchk == 0)
		return SCSI_WAIT;
	uint32_t want = bytchk == 3 ? c->lu->block_size : c->len;
	c->out_len = want;
	if (c->out_expected < want) /* what did not come cannot be compared */
		return cmd_short_data(c);
	if (bytchk == 3)
		return cmd_data_out(c, want) ? SCSI_DATA_OUT : cmd_status(c, SCSI_BUSY);
	part_first(c, PART_LOOK);
	return part_data_out(c);
}

enum scsi_next op_verify_wait(struct scsi_cmd *c)
{
	int err = verify_medium(c);
	return err ? cmd_error(c, err) : cmd_good(c);
}

enum scsi_next op_verify_finish(struct scsi_cmd *c)
{
	return SCSI_WAIT;
}

enum scsi_next op_verify_finish_wait(struct scsi_cmd *c)
{
	return part_finished(
	    c, verify_data(c, c->inline_iov.iov_base, (uint32_t)c->inline_iov.iov_len));
}
