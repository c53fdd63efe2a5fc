/* What there is to say of the medium: GET LBA STATUS (SBC-4 5.6), READ DEFECT DATA (5.18, 5.19). */
#include <errno.h>
#include "server/scsi/scsi_priv.h"

/* PROVISIONING STATUS */
#define MAPPED	 0x0
#define ANCHORED 0x2

#define SCAN_MAX (256u * 1024) /* looked at by one command */
#define HEADER	 8
#define DESC	 16

/*
 * A volume has the space of all its blocks and does not record which of them were unmapped. But
 * a block of zeros cannot be told from one that was (LBPRZ), so such blocks are called anchored:
 * who asks in order to skip them may. Where there is no provisioning all are mapped.
 */
static enum scsi_next lba_status(struct scsi_cmd *c, unsigned n)
{
	be32_put(c->data, n * DESC + 4);
	memset(c->data + 4, 0, 4);
	return cmd_data_in(c, c->data, HEADER + n * DESC, be32_get(c->cdb + 10));
}

static void put_status(uint8_t *d, uint64_t lba, uint64_t blocks, uint8_t status)
{
	memset(d, 0, DESC);
	be64_put(d, lba);
	be32_put(d + 8, (uint32_t)MIN(blocks, UINT32_MAX));
	d[12] = status;
}

static bool zeros(const uint8_t *b, size_t n)
{
	return b[0] == 0 && !memcmp(b, b + 1, n - 1);
}

/* Nothing was written since it was erased as a whole. */
static bool still_blank(struct scsi_lu *lu)
{
	struct volume_stats now;
	if (!lu->blank)
		return false;
	volume_stats(lu_volume(lu), &now);
	return now.writes == lu->blank_writes;
}

/* Blocks do not cross pages. */
static enum scsi_next lba_status_read(struct scsi_cmd *c)
{
	uint32_t bs = c->lu->block_size, most = (sizeof(c->data) - HEADER) / DESC;
	uint64_t lba = be64_get(c->cdb + 2), from = lba;
	uint8_t status = 0xff;
	unsigned n = 0;
	for (int i = 0; i < c->io.read.n && n < most; i++) {
		const uint8_t *b = c->io.read.iov[i].iov_base;
		for (size_t at = 0; at < c->io.read.iov[i].iov_len && n < most; at += bs, lba++) {
			uint8_t now = zeros(b + at, bs) ? ANCHORED : MAPPED;
			if (now != status && lba > from)
				put_status(c->data + HEADER + n++ * DESC, from, lba - from, status);
			if (now != status)
				from = lba;
			status = now;
		}
	}
	if (n < most)
		put_status(c->data + HEADER + n++ * DESC, from, lba - from, status);
	volume_read_done(lu_volume(c->lu), &c->io.read);
	return lba_status(c, n);
}

enum scsi_next op_get_lba_status(struct scsi_cmd *c)
{
	uint64_t lba = be64_get(c->cdb + 2), blocks = lu_blocks(c->lu);
	if (lba >= blocks)
		return cmd_out_of_range(c);
	if (!(lu_features(c->lu) & LU_UNMAP)) {
		put_status(c->data + HEADER, lba, blocks - lba, MAPPED);
		return lba_status(c, 1);
	}
	if (still_blank(c->lu)) {
		put_status(c->data + HEADER, lba, blocks - lba, ANCHORED);
		return lba_status(c, 1);
	}
	c->off = lba << c->lu->block_shift;
	c->len = (uint32_t)MIN((blocks - lba) << c->lu->block_shift, SCAN_MAX);
	int err = volume_read_try(lu_volume(c->lu), c->off, c->len, &c->io.read);
	if (err == -EAGAIN)
		return SCSI_WAIT;
	return err ? cmd_error(c, err) : lba_status_read(c);
}

enum scsi_next op_get_lba_status_wait(struct scsi_cmd *c)
{
	int err = volume_read(lu_volume(c->lu), c->off, c->len, &c->io.read);
	return err ? cmd_error(c, err) : lba_status_read(c);
}

/* Disks look after their defects themselves: the lists that are asked for are there and empty. */
enum scsi_next op_read_defects(struct scsi_cmd *c)
{
	bool twelve = c->cdb[0] == 0xb7;
	uint8_t want = c->cdb[twelve ? 1 : 2], format = want & 0x07;
	if (format > 5) /* vendor specific, reserved */
		return cmd_bad_cdb(c, twelve ? 1 : 2, 2);
	memset(c->data, 0, 8);
	c->data[1] = want & 0x1f;
	if (twelve) {
		if (be32_get(c->cdb + 2)) /* an index of an address descriptor: there are none */
			return cmd_bad_cdb(c, 2, -1);
		return cmd_data_in(c, c->data, 8, be32_get(c->cdb + 6));
	}
	return cmd_data_in(c, c->data, 4, be16_get(c->cdb + 7));
}
