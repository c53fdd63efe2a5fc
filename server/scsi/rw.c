/*
 * READ, WRITE and WRITE AND VERIFY (SBC-4 5.x): the path that must be short.
 *
 *   read    pages pinned by volume_read_try() and lent to the transport; a miss waits
 *   write   new pages lent by volume_write_try_begin(), filled by the transport, made
 *           visible by the commit: nothing is copied here
 *
 * What is longer than the cache lends at once goes by large.c.
 *
 * FUA on a read first brings dirty data of the range to the medium; on a write the
 * commit waits until it is stable. DPO is a hint and not used.
 */
#include <errno.h>
#include "server/scsi/scsi_priv.h"

static bool cdb_fua(const uint8_t *cdb)
{
	return cdb[0] >> 5 != 0 && (cdb[1] & 0x08);
}

static enum scsi_next read_done(struct scsi_cmd *c)
{
	c->holds_read = true;
	c->in_iov = c->io.read.iov;
	c->in_iovcnt = c->io.read.n;
	c->in_len = c->len;
	return cmd_good(c);
}

enum scsi_next op_read(struct scsi_cmd *c)
{
	struct lba_range r = cdb_range(c->cdb);
	if (!cmd_range_ok(c, &r, SCSI_TRANSFER_MAX))
		return SCSI_DONE;
	if (!c->len)
		return cmd_good(c);
	c->fua = cdb_fua(c->cdb);
	if (c->fua || cmd_large(c))
		return SCSI_WAIT;
	int err = volume_read_try(lu_volume(c->lu), c->off, c->len, &c->io.read);
	if (!err)
		return read_done(c);
	return err == -EAGAIN ? SCSI_WAIT : cmd_error(c, err);
}

enum scsi_next op_read_wait(struct scsi_cmd *c)
{
	struct volume *v = lu_volume(c->lu);
	int err = c->fua ? volume_flush(v, c->off, c->len) : 0;
	if (!err && cmd_large(c))
		return large_read(c);
	if (!err)
		err = volume_read(v, c->off, c->len, &c->io.read);
	return err ? cmd_error(c, err) : read_done(c);
}

void scsi_hint(const struct scsi_cmd *c, const uint8_t lun[8], const uint8_t cdb[16], bool near)
{
	if ((!c->holds_read && !c->holds_write) || memcmp(lun, c->lun, 8) != 0)
		return;
	uint8_t op = cdb[0] & 0x1f; /* READ and WRITE of all but 6 bytes */
	if (cdb[0] < 0x20 || (op != 0x08 && op != 0x0a))
		return;
	volume_hint(lu_volume(c->lu), cdb_range(cdb).lba << c->lu->block_shift,
		    !near	 ? CACHE_HINT_FAR
		    : op == 0x08 ? CACHE_HINT_READ
				 : CACHE_HINT_WRITE);
}

/* ---- writes ---- */

enum scsi_next write_begun(struct scsi_cmd *c, int err)
{
	if (err == -EAGAIN)
		return SCSI_WAIT;
	if (err)
		return cmd_error(c, err);
	c->holds_write = true;
	c->out_iov = c->io.write.iov;
	c->out_iovcnt = c->io.write.n;
	return SCSI_DATA_OUT;
}

static enum scsi_next write_start(struct scsi_cmd *c)
{
	struct lba_range r = cdb_range(c->cdb);
	if (!cmd_range_ok(c, &r, SCSI_TRANSFER_MAX))
		return SCSI_DONE;
	c->out_len = c->len;
	if (c->out_expected < c->len) { /* write the blocks that come; but no part of one */
		if (c->out_expected & (c->lu->block_size - 1))
			return cmd_short_data(c);
		c->len = c->out_expected;
	}
	if (!c->len)
		return cmd_good(c);
	if (cmd_large(c))
		return SCSI_WAIT;
	return write_begun(c,
			   volume_write_try_begin(lu_volume(c->lu), c->off, c->len, &c->io.write));
}

enum scsi_next op_write(struct scsi_cmd *c)
{
	c->fua = cdb_fua(c->cdb) || c->lu->write_through;
	return write_start(c);
}

enum scsi_next op_write_wait(struct scsi_cmd *c)
{
	if (cmd_large(c))
		return large_data_out(c);
	int err = volume_write_begin(lu_volume(c->lu), c->off, c->len, &c->io.write);
	return err == -EAGAIN ? cmd_error(c, err) : write_begun(c, err);
}

static enum scsi_next write_commit(struct scsi_cmd *c)
{
	c->holds_write = false;
	int err =
	    c->large ? large_write(c) : volume_write_commit(lu_volume(c->lu), &c->io.write, c->fua);
	if (err == -EAGAIN && !c->large) { /* the commit has to wait, and this is no task */
		c->holds_write = true;
		return SCSI_WAIT;
	}
	return err ? cmd_error(c, err) : cmd_good(c);
}

enum scsi_next op_write_finish(struct scsi_cmd *c)
{
	return c->fua || c->large ? SCSI_WAIT : write_commit(c);
}

enum scsi_next op_write_finish_wait(struct scsi_cmd *c)
{
	return write_commit(c);
}

/* ---- WRITE AND VERIFY ---- */

enum scsi_next op_write_verify(struct scsi_cmd *c)
{
	c->fua = true;
	return write_start(c);
}

enum scsi_next op_write_verify_finish(struct scsi_cmd *c)
{
	return SCSI_WAIT;
}

/*
 * The write is made stable, then all copies of it are read from the disks; with BYTCHK what the
 * array now returns is compared with what came.
 */
enum scsi_next op_write_verify_finish_wait(struct scsi_cmd *c)
{
	uint8_t *sent = NULL;
	if ((c->cdb[1] & 0x02) && c->large) {
		sent = c->heap;
	} else if (c->cdb[1] & 0x02) {
		sent = cmd_heap(c, c->len);
		if (!sent)
			return cmd_error(c, -ENOMEM);
		size_t n = 0;
		for (int i = 0; i < c->io.write.n; i++) {
			memcpy(sent + n, c->io.write.iov[i].iov_base, c->io.write.iov[i].iov_len);
			n += c->io.write.iov[i].iov_len;
		}
	}
	if (write_commit(c) != SCSI_DONE || c->status != SCSI_GOOD)
		return SCSI_DONE;
	int err = verify_medium(c);
	if (!err && sent)
		err = verify_data(c, sent, c->len);
	return err ? cmd_error(c, err) : cmd_good(c);
}
