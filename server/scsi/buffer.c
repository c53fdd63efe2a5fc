/*
 * READ BUFFER and WRITE BUFFER in echo and descriptor modes (SPC-4 6.18, 6.43), SEND and RECEIVE
 * DIAGNOSTIC (6.40, 6.23), REPORT TIMESTAMP (6.36).
 *
 * The echo buffer is the nexus's own (EBOS): what it wrote it reads, until its session ends.
 */
#include <stdlib.h>
#include "runtime/env.h"
#include "server/scsi/scsi_priv.h"

enum { MODE_DESCRIPTOR = 0x03, MODE_ECHO = 0x0a, MODE_ECHO_DESCRIPTOR = 0x0b };

static unsigned buffer_mode(const struct scsi_cmd *c)
{
	return c->cdb[1] & 0x1f;
}

/* ---- READ BUFFER ---- */

enum scsi_next op_read_buffer(struct scsi_cmd *c)
{
	uint32_t alloc = be24_get(c->cdb + 6);
	struct scsi_nexus *n = c->nexus;
	memset(c->data, 0, 4);
	switch (buffer_mode(c)) {
	case MODE_DESCRIPTOR: /* no buffer but the echo one: OFFSET BOUNDARY none, capacity 0 */
		c->data[0] = 0xff;
		return cmd_data_in(c, c->data, 4, alloc);
	case MODE_ECHO_DESCRIPTOR:
		c->data[0] = 0x01; /* EBOS */
		be16_put(c->data + 2, SCSI_ECHO_SIZE);
		return cmd_data_in(c, c->data, 4, alloc);
	case MODE_ECHO:
		break;
	default:
		return cmd_bad_cdb(c, 1, 4);
	}
	pthread_mutex_lock(&n->lock);
	uint32_t len = n->echo_len;
	if (len)
		memcpy(c->data, n->echo, len);
	pthread_mutex_unlock(&n->lock);
	if (!len) /* SPC-4 6.18.8: nothing was written to it */
		return cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x2c, 0x00);
	return cmd_data_in(c, c->data, len, alloc);
}

/* ---- WRITE BUFFER ---- */

enum scsi_next op_write_buffer(struct scsi_cmd *c)
{
	uint32_t len = be24_get(c->cdb + 6);
	if (buffer_mode(c) != MODE_ECHO)
		return cmd_bad_cdb(c, 1, 4);
	if (len > SCSI_ECHO_SIZE)
		return cmd_bad_cdb(c, 6, -1);
	if (!len)
		return cmd_good(c);
	c->out_len = len;
	if (c->out_expected < len)
		return cmd_bad_length(c);
	return cmd_data_out(c, len) ? SCSI_DATA_OUT : cmd_status(c, SCSI_BUSY);
}

enum scsi_next op_write_buffer_finish(struct scsi_cmd *c)
{
	struct scsi_nexus *n = c->nexus;
	pthread_mutex_lock(&n->lock);
	if (!n->echo)
		n->echo = malloc(SCSI_ECHO_SIZE);
	bool there = n->echo;
	if (there) {
		memcpy(n->echo, c->inline_iov.iov_base, c->out_len);
		n->echo_len = c->out_len;
	}
	pthread_mutex_unlock(&n->lock);
	return there ? cmd_good(c) : cmd_status(c, SCSI_BUSY);
}

/* ---- diagnostics: the default self-test (no SELF-TEST CODE), and the page of supported pages ----
 */

enum scsi_next op_send_diagnostic(struct scsi_cmd *c)
{
	uint16_t len = be16_get(c->cdb + 3);
	bool self_test = c->cdb[1] & 0x04;
	if (self_test && len)
		return cmd_bad_cdb(c, 3, -1);
	if (self_test) /* the unit is as sound as its volume is reachable */
		return lu_volume(c->lu) ? cmd_good(c)
					: cmd_sense(c, KEY_HARDWARE_ERROR, 0x3e, 0x03);
	if (!len)
		return cmd_good(c);
	if (!(c->cdb[1] & 0x10)) /* PF */
		return cmd_bad_cdb(c, 1, 4);
	c->out_len = len;
	if (len < 4 || c->out_expected < len)
		return cmd_bad_length(c);
	return cmd_data_out(c, len) ? SCSI_DATA_OUT : cmd_status(c, SCSI_BUSY);
}

/* Page 00h asks for nothing; there is no other. */
enum scsi_next op_send_diagnostic_finish(struct scsi_cmd *c)
{
	const uint8_t *b = c->inline_iov.iov_base;
	if (b[0])
		return cmd_bad_param(c, 0, -1);
	if (be16_get(b + 2) != c->out_len - 4)
		return cmd_bad_length(c);
	return c->out_len > 4 ? cmd_bad_param(c, 2, -1) : cmd_good(c);
}

enum scsi_next op_receive_diagnostic(struct scsi_cmd *c)
{
	if (c->cdb[2]) /* also without PCV: the last page sent can only have been 00h */
		return cmd_bad_cdb(c, 2, -1);
	memset(c->data, 0, 5);
	be16_put(c->data + 2, 1);
	return cmd_data_in(c, c->data, 5, be16_get(c->cdb + 3));
}

/* ---- REPORT TIMESTAMP ---- */

/* Milliseconds since 1970 (the array's clock; SPC-4 5.2 origin 010b: set outside this standard). */
enum scsi_next op_report_timestamp(struct scsi_cmd *c)
{
	uint64_t ms = env_realtime_ns(core_env(c->lu->core)) / NS_PER_MS;
	memset(c->data, 0, 12);
	be16_put(c->data, 10);
	c->data[2] = 0x02;
	be16_put(c->data + 4, (uint16_t)(ms >> 32));
	be32_put(c->data + 6, (uint32_t)ms);
	return cmd_data_in(c, c->data, 12, be32_get(c->cdb + 6));
}
