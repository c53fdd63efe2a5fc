/*
 * Writes that nothing may come between (SBC-4 4.29, 5.3, 5.13, 5.49): COMPARE AND WRITE,
 * ORWRITE, WRITE ATOMIC. All end in one commit of all pages at once.
 *
 *   COMPARE AND WRITE   data-out is what is expected, then what to write; the commit compares
 *   ORWRITE             read, or, and commit if what was read is still there, piece by piece
 *   WRITE ATOMIC        received into the new pages as WRITE is
 *
 * WRITE ATOMIC promises all or nothing over a loss of power too, so a unit has it only where the
 * cache survives one.
 */
#include <errno.h>
#include <stdlib.h>
#include "runtime/err.h"
#include "server/scsi/scsi_priv.h"

#define OR_PIECE (128u * 1024)
#define TRIES	 1000 /* pages that are read and evicted again before they can be compared */

static void copy_in(struct cache_write *w, const uint8_t *from)
{
	for (int i = 0; i < w->n; i++) {
		memcpy(w->iov[i].iov_base, from, w->iov[i].iov_len);
		from += w->iov[i].iov_len;
	}
}

/* ---- COMPARE AND WRITE ---- */

static enum scsi_next miscompare(struct scsi_cmd *c, uint32_t at)
{
	return cmd_check(c, &(struct sense){.key = KEY_MISCOMPARE,
					    .asc = 0x1d, /* during verify operation */
					    .has_info = true,
					    .info = at});
}

enum scsi_next op_compare_write(struct scsi_cmd *c)
{
	struct lba_range r = {be64_get(c->cdb + 2), c->cdb[13], 13};
	if (!cmd_range_ok(c, &r, SCSI_COMPARE_MAX))
		return SCSI_DONE;
	c->fua = (c->cdb[1] & 0x08) || c->lu->write_through;
	c->out_len = 2 * c->len;
	if (c->out_expected < c->out_len)
		return cmd_short_data(c);
	if (c->out_expected > c->out_len) /* who sends it means another number of blocks */
		return cmd_bad_cdb(c, 13, -1);
	if (!c->len)
		return cmd_good(c);
	return cmd_data_out(c, c->out_len) ? SCSI_DATA_OUT : cmd_status(c, SCSI_BUSY);
}

/* The pages are there and filled. -EAGAIN: what is to be compared is not in the cache. */
static int compare_commit(struct scsi_cmd *c, uint32_t *ret_at)
{
	const uint8_t *data = c->inline_iov.iov_base;
	struct volume *v = lu_volume(c->lu);
	copy_in(&c->io.write, data + c->len);
	int err = volume_write_commit_if(v, &c->io.write, data, ret_at);
	if (err)
		volume_write_abort(v, &c->io.write);
	return err;
}

static enum scsi_next compare_end(struct scsi_cmd *c, int err, uint32_t at)
{
	if (err == -ERR_MISCOMPARE)
		return miscompare(c, at);
	return err ? cmd_error(c, err) : cmd_good(c);
}

enum scsi_next op_compare_write_finish(struct scsi_cmd *c)
{
	uint32_t at = 0;
	if (c->fua || volume_write_try_begin(lu_volume(c->lu), c->off, c->len, &c->io.write))
		return SCSI_WAIT;
	int err = compare_commit(c, &at);
	return err == -EAGAIN ? SCSI_WAIT : compare_end(c, err, at);
}

enum scsi_next op_compare_write_finish_wait(struct scsi_cmd *c)
{
	struct volume *v = lu_volume(c->lu);
	struct cache_read r;
	uint32_t at = 0;
	int err = -EAGAIN;
	for (unsigned i = 0; err == -EAGAIN && i < TRIES; i++) {
		err = volume_write_begin(v, c->off, c->len, &c->io.write);
		if (!err)
			err = compare_commit(c, &at);
		if (err != -EAGAIN)
			break;
		int rc = volume_read(v, c->off, c->len, &r);
		if (rc)
			err = rc;
		else
			volume_read_done(v, &r);
	}
	if (!err && c->fua)
		err = volume_flush(v, c->off, c->len);
	return compare_end(c, err, at);
}

/* ---- ORWRITE ---- */

enum scsi_next op_orwrite(struct scsi_cmd *c)
{
	struct lba_range r = cdb_range(c->cdb);
	if (!cmd_range_ok(c, &r, SCSI_TRANSFER_MAX))
		return SCSI_DONE;
	if (!c->len)
		return cmd_good(c);
	c->fua = (c->cdb[1] & 0x08) || c->lu->write_through;
	c->out_len = c->len;
	if (c->out_expected < c->len) /* all or none of it, as nothing says which blocks come */
		return cmd_short_data(c);
	part_first(c, PART_LOOK);
	return part_data_out(c);
}

enum scsi_next op_orwrite_finish(struct scsi_cmd *c)
{
	return SCSI_WAIT;
}

struct or_piece {
	struct cache_read read;
	struct cache_write write;
	uint8_t was[OR_PIECE], now[OR_PIECE];
};

static int or_read(struct or_piece *p, struct volume *v, uint64_t off, const uint8_t *with,
		   uint32_t len)
{
	int err = volume_read(v, off, len, &p->read);
	if (err)
		return err;
	for (int i = 0, at = 0; i < p->read.n; at += (int)p->read.iov[i].iov_len, i++)
		memcpy(p->was + at, p->read.iov[i].iov_base, p->read.iov[i].iov_len);
	volume_read_done(v, &p->read);
	for (uint32_t i = 0; i < len; i++)
		p->now[i] = p->was[i] | with[i];
	return 0;
}

static int or_one(struct or_piece *p, struct volume *v, uint64_t off, const uint8_t *with,
		  uint32_t len)
{
	uint32_t at;
	int err = -EAGAIN;
	for (unsigned i = 0; (err == -EAGAIN || err == -ERR_MISCOMPARE) && i < TRIES; i++) {
		err = or_read(p, v, off, with, len);
		if (!err)
			err = volume_write_begin(v, off, len, &p->write);
		if (err)
			return err;
		copy_in(&p->write, p->now);
		err = volume_write_commit_if(v, &p->write, p->was, &at);
		if (err)
			volume_write_abort(v, &p->write);
	}
	return err == -ERR_MISCOMPARE ? -EBUSY : err;
}

enum scsi_next op_orwrite_finish_wait(struct scsi_cmd *c)
{
	struct volume *v = lu_volume(c->lu);
	const uint8_t *with = c->inline_iov.iov_base;
	struct or_piece *p = malloc(sizeof(*p));
	int err = p ? 0 : -ENOMEM;
	for (uint32_t done = 0; !err && done < c->len; done += OR_PIECE)
		err = or_one(p, v, c->off + done, with + done, MIN(c->len - done, OR_PIECE));
	free(p);
	if (!err && c->fua)
		err = volume_flush(v, c->off, c->len);
	return part_finished(c, err);
}

/* ---- WRITE ATOMIC ---- */

enum scsi_next op_write_atomic(struct scsi_cmd *c)
{
	struct lba_range r = {be64_get(c->cdb + 2), be16_get(c->cdb + 12), 12};
	if (!cmd_range_ok(c, &r, SCSI_ATOMIC_MAX))
		return SCSI_DONE;
	if (!c->len)
		return cmd_good(c);
	c->out_len = c->len;
	if (c->out_expected < c->len)
		return cmd_short_data(c);
	return write_begun(c,
			   volume_write_try_begin(lu_volume(c->lu), c->off, c->len, &c->io.write));
}

/* FUA asks for nothing more: the cache is where it survives. */
enum scsi_next op_write_atomic_finish(struct scsi_cmd *c)
{
	int err = volume_write_commit_if(lu_volume(c->lu), &c->io.write, NULL, NULL);
	c->holds_write = err != 0;
	if (err == -EAGAIN) /* the commit has to wait, and this is no task */
		return SCSI_WAIT;
	return err ? cmd_error(c, err) : cmd_good(c);
}

enum scsi_next op_write_atomic_finish_wait(struct scsi_cmd *c)
{
	return op_write_atomic_finish(c);
}
