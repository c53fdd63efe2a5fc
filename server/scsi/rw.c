/*
 * READ, WRITE and WRITE AND VERIFY (SBC-4 5.x): the path that must be short.
 *
 *   read    pages pinned by volume_read_try() and lent to the transport; a miss waits
 *   write   new pages lent by volume_write_try_begin(), filled by the transport, made
 *           visible by the commit: nothing is copied here
 *
 * What is longer than the cache lends at once goes in parts (part.c).
 *
 * FUA on a read first brings dirty data of the range to the medium; on a write the
 * commit waits until it is stable. DPO is a hint and not used.
 */
#include <errno.h>
#include "runtime/bdev.h"
#include "runtime/copy.h"
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
	c->in_len = c->part_at + c->len + c->rest;
	c->in_more = c->rest > 0;
	return cmd_good(c);
}

static enum scsi_next read_try(struct scsi_cmd *c)
{
	if (c->fua)
		return SCSI_WAIT;
	int err = volume_read_try(lu_volume(c->lu), c->off, c->len, &c->io.read);
	if (!err)
		return read_done(c);
	return err == -EAGAIN ? SCSI_WAIT : cmd_error(c, err);
}

enum scsi_next op_read(struct scsi_cmd *c)
{
	struct lba_range r = cdb_range(c->cdb);
	if (!cmd_range_ok(c, &r, SCSI_TRANSFER_MAX))
		return SCSI_DONE;
	if (!c->len)
		return cmd_good(c);
	c->fua = cdb_fua(c->cdb);
	part_first(c, CACHE_IO_MAX);
	return read_try(c);
}

enum scsi_next op_read_wait(struct scsi_cmd *c)
{
	struct volume *v = lu_volume(c->lu);
	int err = c->fua ? volume_flush(v, c->off, c->len) : 0;
	if (!err)
		err = volume_read(v, c->off, c->len, &c->io.read);
	return err ? cmd_error(c, err) : read_done(c);
}

/* A part was sent. */
enum scsi_next op_read_next(struct scsi_cmd *c)
{
	cmd_drop_io(c);
	part_next(c);
	return read_try(c);
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
	part_first(c, CACHE_IO_MAX);
	return write_begun(c,
			   volume_write_try_begin(lu_volume(c->lu), c->off, c->len, &c->io.write));
}

enum scsi_next op_write(struct scsi_cmd *c)
{
	c->fua = cdb_fua(c->cdb) || c->lu->write_through;
	return write_start(c);
}

/* Also of a part that is not the first. */
enum scsi_next op_write_wait(struct scsi_cmd *c)
{
	int err = volume_write_begin(lu_volume(c->lu), c->off, c->len, &c->io.write);
	return err == -EAGAIN ? cmd_error(c, err) : write_begun(c, err);
}

/* The pages lent for a write, and nothing else. */
static bool lends_pages(const struct scsi_cmd *c)
{
	return c->holds_write && c->out_iov == c->io.write.iov;
}

void scsi_data_copy(struct scsi_cmd *c, int i, size_t off, const void *from, size_t n)
{
	if (lends_pages(c))
		volume_write_copy(lu_volume(c->lu), &c->io.write, (unsigned)i, off, from, n);
	else
		copy_past_cache((char *)c->out_iov[i].iov_base + off, from, n);
}

void scsi_data_received(struct scsi_cmd *c, int n)
{
	if (lends_pages(c) && n)
		volume_write_received(lu_volume(c->lu), &c->io.write,
				      (uint32_t)iov_bytes(c->out_iov, n));
}

static int write_commit(struct scsi_cmd *c)
{
	int err = volume_write_commit(lu_volume(c->lu), &c->io.write, c->fua);
	c->holds_write = err == -EAGAIN; /* it has to wait, and this is no task */
	return err;
}

/* The part is written, or err: the next takes pages, or the command ends. */
static enum scsi_next write_next(struct scsi_cmd *c, int err)
{
	if (err)
		return cmd_error(c, err);
	if (__builtin_expect(!part_next(c), 1))
		return cmd_good(c);
	return write_begun(c,
			   volume_write_try_begin(lu_volume(c->lu), c->off, c->len, &c->io.write));
}

enum scsi_next op_write_finish(struct scsi_cmd *c)
{
	int err = c->fua ? -EAGAIN : write_commit(c);
	return err == -EAGAIN ? SCSI_WAIT : write_next(c, err);
}

enum scsi_next op_write_finish_wait(struct scsi_cmd *c)
{
	enum scsi_next next = SCSI_WAIT;
	if (c->holds_write) /* else the part was committed at once, and pages are waited for */
		next = write_next(c, write_commit(c));
	return next == SCSI_WAIT ? op_write_wait(c) : next;
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
 * The part is made stable, then all copies of it are read from the disks; with BYTCHK what the
 * array now returns is compared with what came.
 */
static int verify_written(struct scsi_cmd *c)
{
	uint8_t *sent = NULL;
	if (c->cdb[1] & 0x02) {
		if (!c->heap && !cmd_heap(c, c->len)) /* the first part is the longest */
			return -ENOMEM;
		sent = c->heap;
		size_t n = 0;
		for (int i = 0; i < c->io.write.n; i++) {
			memcpy(sent + n, c->io.write.iov[i].iov_base, c->io.write.iov[i].iov_len);
			n += c->io.write.iov[i].iov_len;
		}
	}
	int err = write_commit(c);
	if (!err)
		err = verify_medium(c);
	return !err && sent ? verify_data(c, sent, c->len) : err;
}

enum scsi_next op_write_verify_finish_wait(struct scsi_cmd *c)
{
	enum scsi_next next = write_next(c, verify_written(c));
	return next == SCSI_WAIT ? op_write_wait(c) : next;
}
