/*
 * Transfers of more than the cache lends at once go in parts: `off` and `len` say what part the
 * command is at, `rest` what follows it. A part is received and committed, or read and sent,
 * before the next takes pages. So a long transfer holds no more than a short one: a peer that asks
 * for much and moves nothing takes from others what one of its short commands would take.
 *
 * What is only looked at (VERIFY, ORWRITE) is received into memory of its own, in smaller parts.
 */
#include <stdlib.h>
#include "server/scsi/scsi_priv.h"

void part_first(struct scsi_cmd *c, uint32_t max)
{
	c->rest = c->len > max ? c->len - max : 0;
	c->len -= c->rest;
}

bool part_next(struct scsi_cmd *c)
{
	if (!c->rest)
		return false;
	c->off += c->len;
	c->part_at += c->len;
	c->len = MIN(c->len, c->rest);
	c->rest -= c->len;
	return true;
}

enum scsi_next part_data_out(struct scsi_cmd *c)
{
	if (!c->heap && !cmd_heap(c, c->len)) /* the first is the longest */
		return cmd_status(c, SCSI_BUSY);
	c->inline_iov = (struct iovec){.iov_base = c->heap, .iov_len = c->len};
	c->out_iov = &c->inline_iov;
	c->out_iovcnt = 1;
	return SCSI_DATA_OUT;
}

enum scsi_next part_finished(struct scsi_cmd *c, int err)
{
	if (err)
		return cmd_error(c, err);
	return part_next(c) ? part_data_out(c) : cmd_good(c);
}
