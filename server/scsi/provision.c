/*
 * UNMAP and WRITE SAME (SBC-4 5.35, 5.48). Unmapped blocks read as zeros (LBPRZ), so
 * WRITE SAME of zeros is a discard whether it has UNMAP set or not; of anything else it
 * writes. A volume keeps the space of what is unmapped, so that every such block is anchored,
 * whether ANCHOR is set or not.
 */
#include <errno.h>
#include "server/scsi/scsi_priv.h"

/* ---- WRITE SAME ---- */

static bool write_same_without_data(const struct scsi_cmd *c)
{
	return c->cdb[0] == 0x93 && (c->cdb[1] & 0x01); /* NDOB */
}

enum scsi_next op_write_same(struct scsi_cmd *c)
{
	struct lba_range r = cdb_range(c->cdb);
	if (!cmd_range_ok(c, &r, SCSI_WRITE_SAME_MAX))
		return SCSI_DONE;
	if ((c->cdb[1] & 0x18) == 0x10) /* ANCHOR without UNMAP */
		return cmd_bad_cdb(c, 1, 4);
	if (!c->len) /* WSNZ is set in the Block Limits page */
		return cmd_bad_cdb(c, r.blocks_at, -1);
	memset(c->data, 0, c->lu->block_size);
	if (write_same_without_data(c))
		return SCSI_WAIT;
	c->out_len = c->lu->block_size;
	if (c->out_expected != c->lu->block_size)
		return cmd_short_data(c);
	cmd_data_out(c, c->lu->block_size);
	return SCSI_DATA_OUT;
}

enum scsi_next op_write_same_finish(struct scsi_cmd *c)
{
	return SCSI_WAIT;
}

static bool all_zeros(const uint8_t *b, size_t n)
{
	return b[0] == 0 && !memcmp(b, b + 1, n - 1);
}

/* Between two pieces of long work: what was begun before does not go on into a wipe. */
static bool still_allowed(const struct scsi_cmd *c)
{
	return !(atomic_load_explicit(&c->lu->conditions, memory_order_relaxed) & COND_WIPING);
}

static int write_pattern(struct scsi_cmd *c, uint64_t off, uint32_t len)
{
	if (!still_allowed(c))
		return -EBUSY;
	struct volume *v = lu_volume(c->lu);
	struct cache_write *w = &c->io.write;
	uint32_t bs = c->lu->block_size, at = 0;
	int err = volume_write_begin(v, off, len, w);
	if (err)
		return err;
	for (int i = 0; i < w->n; i++) {
		uint8_t *to = w->iov[i].iov_base;
		for (size_t left = w->iov[i].iov_len; left;) {
			size_t n = MIN(left, bs - at);
			memcpy(to, c->data + at, n);
			to += n;
			left -= n;
			at = (uint32_t)((at + n) % bs);
		}
	}
	return volume_write_commit(v, w, false);
}

enum scsi_next op_write_same_wait(struct scsi_cmd *c)
{
	int err = 0;
	if (all_zeros(c->data, c->lu->block_size)) {
		err = volume_discard(lu_volume(c->lu), c->off, c->len);
	} else {
		for (uint32_t done = 0; !err && done < c->len; done += CACHE_IO_MAX)
			err = write_pattern(c, c->off + done, MIN(c->len - done, CACHE_IO_MAX));
	}
	if (!err && c->lu->write_through)
		err = volume_flush(lu_volume(c->lu), c->off, c->len);
	return err ? cmd_error(c, err) : cmd_good(c);
}

/* ---- UNMAP ---- */

#define UNMAP_HEADER 8
#define UNMAP_DESC   16

enum scsi_next op_unmap(struct scsi_cmd *c)
{
	uint16_t len = be16_get(c->cdb + 7);
	if (!len)
		return cmd_good(c);
	if (len < UNMAP_HEADER)
		return cmd_bad_length(c);
	c->out_len = len;
	if (c->out_expected < len)
		return cmd_bad_length(c);
	return cmd_data_out(c, len) ? SCSI_DATA_OUT : cmd_status(c, SCSI_BUSY);
}

enum scsi_next op_unmap_finish(struct scsi_cmd *c)
{
	return SCSI_WAIT;
}

/* All descriptors are checked before the first is carried out. */
static bool unmap_ok(struct scsi_cmd *c, const uint8_t *list, unsigned n)
{
	uint64_t blocks = lu_blocks(c->lu), total = 0;
	if (n > SCSI_UNMAP_DESCS) {
		cmd_bad_param(c, 2, -1);
		return false;
	}
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *d = list + UNMAP_HEADER + i * UNMAP_DESC;
		uint64_t lba = be64_get(d);
		uint32_t count = be32_get(d + 8);
		total += count;
		if (count && (lba >= blocks || count > blocks - lba)) {
			cmd_out_of_range(c);
			return false;
		}
		if (total << c->lu->block_shift > SCSI_UNMAP_MAX) {
			cmd_bad_param(c, UNMAP_HEADER + i * UNMAP_DESC + 8, -1);
			return false;
		}
	}
	return true;
}

enum scsi_next op_unmap_finish_wait(struct scsi_cmd *c)
{
	const uint8_t *list = c->inline_iov.iov_base;
	unsigned n = MIN(be16_get(list + 2), c->out_len - UNMAP_HEADER) / UNMAP_DESC;
	if (!unmap_ok(c, list, n))
		return SCSI_DONE;
	int err = 0;
	for (unsigned i = 0; !err && i < n; i++) {
		const uint8_t *d = list + UNMAP_HEADER + i * UNMAP_DESC;
		uint64_t len = (uint64_t)be32_get(d + 8) << c->lu->block_shift;
		c->off = be64_get(d) << c->lu->block_shift;
		if (!still_allowed(c))
			err = -EBUSY;
		else if (len)
			err = volume_discard(lu_volume(c->lu), c->off, len);
	}
	return err ? cmd_error(c, err) : cmd_good(c);
}
