/*
 * REPORT and SET IDENTIFYING INFORMATION (SPC-4 6.32, 6.41): bytes and a text that somebody gives
 * a logical unit, kept with its volume in the array metadata.
 */
#include <errno.h>
#include <stdio.h>
#include "blockcore/control/meta.h"
#include "server/scsi/scsi_priv.h"

enum { TYPE_INFO = 0x00, TYPE_TEXT = 0x02, TYPE_SUPPORTED = 0x7f };
#define TEXT_MAX 256 /* with its zero */

static unsigned info_max(unsigned type)
{
	return type == TYPE_TEXT ? TEXT_MAX : LU_IDENTIFYING_MAX;
}

static unsigned put_supported(uint8_t *b)
{
	static const uint8_t types[] = {TYPE_INFO, TYPE_TEXT};
	memset(b, 0, 4 + sizeof(types) * 4);
	be16_put(b + 2, sizeof(types) * 4);
	for (unsigned i = 0; i < sizeof(types); i++) {
		b[4 + i * 4] = (uint8_t)(types[i] << 1);
		be16_put(b + 6 + i * 4, (uint16_t)info_max(types[i]));
	}
	return 4 + sizeof(types) * 4;
}

/* The metadata belongs to one reactor: it is looked at there, by a change that changes nothing. */
struct info {
	uint32_t volume_id;
	unsigned type;
	bool set;
	unsigned len;
	uint8_t bytes[LU_IDENTIFYING_MAX];
};

static int info_look(const Isthmus__Volume *v, struct info *x)
{
	const void *from = x->type == TYPE_TEXT ? (const void *)v->identifying_text
						: (const void *)v->identifying.data;
	size_t n = x->type == TYPE_TEXT ? strlen(v->identifying_text) : v->identifying.len;
	if (x->type == TYPE_TEXT && n)
		n++; /* it ends with a zero (SPC-4 4.3.2) */
	x->len = (unsigned)MIN(n, sizeof(x->bytes));
	if (x->len)
		memcpy(x->bytes, from, x->len);
	return -ECANCELED;
}

static int info_change(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct info *x = arg;
	for (size_t i = 0; i < am->n_volumes; i++) {
		Isthmus__Volume *v = am->volumes[i];
		if (v->id != x->volume_id)
			continue;
		if (!x->set)
			return info_look(v, x);
		return x->type == TYPE_TEXT ? pb_set_text(&v->identifying_text, (char *)x->bytes)
					    : pb_set_bytes(&v->identifying, x->bytes, x->len);
	}
	snprintf(why, 256, "volume %u is not there", x->volume_id);
	return -ENOENT;
}

static int info_run(struct scsi_cmd *c, struct info *x)
{
	char why[256];
	x->volume_id = c->lu->volume_id;
	x->type = c->cdb[10] >> 1;
	int err = meta_update(core_meta(c->lu->core), info_change, x, why);
	return err == -ECANCELED ? 0 : err;
}

enum scsi_next op_report_info(struct scsi_cmd *c)
{
	switch (c->cdb[10] >> 1) {
	case TYPE_INFO:
	case TYPE_TEXT:
		return SCSI_WAIT;
	case TYPE_SUPPORTED:
		return cmd_data_in(c, c->data, put_supported(c->data), be32_get(c->cdb + 6));
	}
	return cmd_bad_cdb(c, 10, 7);
}

enum scsi_next op_report_info_wait(struct scsi_cmd *c)
{
	struct info x = {0};
	int err = info_run(c, &x);
	if (err)
		return cmd_error(c, err);
	be32_put(c->data, x.len); /* reserved (2), length (2) */
	memcpy(c->data + 4, x.bytes, x.len);
	return cmd_data_in(c, c->data, 4 + x.len, be32_get(c->cdb + 6));
}

enum scsi_next op_set_info(struct scsi_cmd *c)
{
	unsigned type = c->cdb[10] >> 1;
	uint32_t len = be32_get(c->cdb + 6);
	if (type != TYPE_INFO && type != TYPE_TEXT)
		return cmd_bad_cdb(c, 10, 7);
	if (len > info_max(type))
		return cmd_bad_cdb(c, 6, -1);
	if (!len)
		return SCSI_WAIT; /* takes it away */
	c->out_len = len;
	if (c->out_expected < len)
		return cmd_bad_length(c);
	return cmd_data_out(c, len) ? SCSI_DATA_OUT : cmd_status(c, SCSI_BUSY);
}

enum scsi_next op_set_info_finish(struct scsi_cmd *c)
{
	const uint8_t *b = c->inline_iov.iov_base;
	/* SPC-4 6.41: text ends with a zero, and has none before */
	if (c->cdb[10] >> 1 == TYPE_TEXT && strnlen((const char *)b, c->out_len) != c->out_len - 1)
		return cmd_bad_param(c, c->out_len - 1, -1);
	return SCSI_WAIT;
}

enum scsi_next op_set_info_wait(struct scsi_cmd *c)
{
	struct info x = {.set = true, .len = c->out_len};
	if (x.len)
		memcpy(x.bytes, c->inline_iov.iov_base, x.len);
	int err = info_run(c, &x);
	if (err)
		return cmd_error(c, err);
	registry_ua_others(c->nexus->registry, c->nexus, c->lu, UA_IDENTIFIER);
	return cmd_good(c);
}
