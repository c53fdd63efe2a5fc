/* PERSISTENT RESERVE IN (SPC-4 6.13). */
#include "server/scsi/persistent.h"

static uint32_t alloc_len(const struct scsi_cmd *c)
{
	return be16_get(c->cdb + 7);
}

static unsigned put_header(uint8_t *b, const struct pr_copy *p, unsigned len)
{
	be32_put(b, p ? p->pb->generation : 0);
	be32_put(b + 4, len);
	return 8;
}

_Static_assert(8 + META_KEYS_VOLUME * 8 <= SCSI_INLINE_DATA, "all keys of a volume");

enum scsi_next op_pr_read_keys(struct scsi_cmd *c)
{
	struct pr_copy *p = pr_copy_get(c->nexus->registry, c->lu->volume_id);
	size_t keys = p ? p->pb->n_registrations : 0;
	unsigned n = put_header(c->data, p, (unsigned)(keys * 8));
	for (size_t i = 0; i < keys; i++, n += 8)
		be64_put(c->data + n, p->pb->registrations[i]->key);
	pr_copy_put(p);
	return cmd_data_in(c, c->data, n, alloc_len(c));
}

enum scsi_next op_pr_read_reservation(struct scsi_cmd *c)
{
	struct pr_copy *p = pr_copy_get(c->nexus->registry, c->lu->volume_id);
	const Isthmus__Reservation *v = p ? p->pb : NULL;
	unsigned n = put_header(c->data, p, v && v->type ? 16 : 0);
	if (v && v->type) {
		memset(c->data + n, 0, 16);
		/* with all registrants as holders: key 0 */
		for (size_t i = 0; i < v->n_registrations; i++)
			if (v->registrations[i]->holder)
				be64_put(c->data + n, v->registrations[i]->key);
		c->data[n + 13] = (uint8_t)v->type;
		n += 16;
	}
	pr_copy_put(p);
	return cmd_data_in(c, c->data, n, alloc_len(c));
}

enum scsi_next op_pr_report_capabilities(struct scsi_cmd *c)
{
	struct pr_copy *p = pr_copy_get(c->nexus->registry, c->lu->volume_id);
	uint8_t *b = c->data;
	memset(b, 0, 8);
	be16_put(b, 8);
	b[2] = 0x10 | 0x08 | 0x04 | 0x01; /* CRH, SIP_C, ATP_C, PTPL_C */
	/* TMV; ALLOW COMMANDS 011b: write exclusive lets TEST UNIT READY and what reads through */
	b[3] = 0x80 | 0x30 | (p && p->pb->aptpl ? 0x01 : 0);
	b[4] = 0x80 | 0x40 | 0x20 | 0x08 | 0x02; /* WR_EX_AR EX_AC_RO WR_EX_RO EX_AC WR_EX */
	b[5] = 0x01;				 /* EX_AC_AR */
	pr_copy_put(p);
	return cmd_data_in(c, b, 8, alloc_len(c));
}

/* ---- READ FULL STATUS ---- */

static unsigned put_status(uint8_t *b, const Isthmus__Reservation *v,
			   const Isthmus__Registration *g, uint16_t port)
{
	memset(b, 0, 24);
	be64_put(b, g->key);
	if (pr_holds(v, g)) {
		b[12] = 0x01; /* R_HOLDER */
		b[13] = (uint8_t)v->type;
	}
	be16_put(b + 18, port);
	unsigned n = transport_id_put(b + 24, g->initiator, g->isid.len ? g->isid.data : NULL);
	be32_put(b + 20, n);
	return 24 + n;
}

static unsigned put_all(struct scsi_registry *r, const Isthmus__Reservation *v, uint8_t *b)
{
	unsigned n = 0;
	for (size_t i = 0; i < v->n_registrations; i++) {
		const Isthmus__Registration *g = v->registrations[i];
		struct scsi_target *t = scsi_target_get(r, g->target);
		n += put_status(b + n, v, g, t ? target_port(t, (uint16_t)g->tpgt) : 0);
		scsi_target_put(t);
	}
	return n;
}

enum scsi_next op_pr_read_full_status(struct scsi_cmd *c)
{
	struct scsi_registry *r = c->nexus->registry;
	struct pr_copy *p = pr_copy_get(r, c->lu->volume_id);
	size_t keys = p ? p->pb->n_registrations : 0;
	uint8_t *b = c->data;
	if (8 + keys * (24 + TRANSPORT_ID_MAX) > sizeof(c->data))
		b = cmd_heap(c, (uint32_t)(8 + keys * (24 + TRANSPORT_ID_MAX)));
	if (!b) {
		pr_copy_put(p);
		return cmd_status(c, SCSI_BUSY);
	}
	unsigned len = keys ? put_all(r, p->pb, b + 8) : 0;
	put_header(b, p, len);
	pr_copy_put(p);
	return cmd_data_in(c, b, 8 + len, alloc_len(c));
}
