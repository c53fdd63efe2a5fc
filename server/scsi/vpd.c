/*
 * Vital product data (SPC-4 7.8, SBC-4 6.6).
 *
 * The names of a logical unit all come from the volume's UUID, so that a volume
 * seen through several targets is known to be one. NAA 6 and EUI-64 want a company
 * identifier: ours is a locally administered one (the X2 bit of the first byte), as
 * none is assigned.
 */
#include <stdio.h>
#include "server/scsi/alua.h"

#define LOCAL_OUI 0x024953u

static const uint8_t no_uuid[16];

static const uint8_t *lu_uuid(struct scsi_lu *lu)
{
	struct volume *v = lu_volume(lu);
	return v ? volume_uuid(v) : no_uuid;
}

/* ---- 83h device identification ---- */

enum { ASSOC_LU = 0x00, ASSOC_PORT = 0x10, ASSOC_TARGET = 0x20 };
enum { CODE_BINARY = 1, CODE_ASCII = 2, CODE_UTF8 = 3 };
#define PIV	    0x80 /* the protocol identifier (5: iSCSI) is valid */
#define PROTO_ISCSI 0x50

static unsigned put_desc(uint8_t *b, uint8_t code, uint8_t assoc_type, const void *id, unsigned len)
{
	bool port = assoc_type & 0x30;
	b[0] = (uint8_t)(code | (port ? PROTO_ISCSI : 0));
	b[1] = (uint8_t)(assoc_type | (port ? PIV : 0));
	b[2] = 0;
	b[3] = (uint8_t)len;
	memcpy(b + 4, id, len);
	return 4 + len;
}

/* UTF-8, ended by a zero, filled with zeros to four bytes (SPC-4 7.8.6.11). */
static unsigned put_name(uint8_t *b, uint8_t assoc, const char *name)
{
	uint8_t id[256] = {0};
	size_t n = strlen(name);
	ASSERT(n + 4 < sizeof(id));
	memcpy(id, name, n);
	return put_desc(b, CODE_UTF8, assoc | 8, id, (unsigned)ROUND_UP(n + 1, 4));
}

static void make_naa(uint8_t naa[16], const uint8_t *uuid)
{
	naa[0] = (uint8_t)(0x60 | LOCAL_OUI >> 20);
	naa[1] = (uint8_t)(LOCAL_OUI >> 12);
	naa[2] = (uint8_t)(LOCAL_OUI >> 4);
	naa[3] = (uint8_t)((LOCAL_OUI & 0x0f) << 4 | (uuid[15] & 0x0f));
	memcpy(naa + 4, uuid, 12);
}

static void make_eui(uint8_t eui[16], const uint8_t *uuid)
{
	memcpy(eui, uuid, 8); /* identifier extension, then company and its extension */
	be24_put(eui + 8, LOCAL_OUI);
	memcpy(eui + 11, uuid + 8, 5);
}

bool vpd_designates(struct scsi_lu *lu, uint8_t code, uint8_t assoc_type, const uint8_t *id,
		    unsigned len)
{
	uint8_t own[16];
	if (code != CODE_BINARY || len != sizeof(own) || !lu_volume(lu))
		return false;
	if (assoc_type == (ASSOC_LU | 3))
		make_naa(own, lu_uuid(lu));
	else if (assoc_type == (ASSOC_LU | 2))
		make_eui(own, lu_uuid(lu));
	else
		return false;
	return !memcmp(own, id, sizeof(own));
}

static unsigned put_lu_ids(uint8_t *b, struct scsi_lu *lu)
{
	const uint8_t *uuid = lu_uuid(lu);
	uint8_t id[8 + 16 + sizeof(lu->serial)];
	char name[4 + 32 + 1] = "naa.";
	unsigned n = 0;

	make_naa(id, uuid);
	for (int i = 0; i < 16; i++)
		snprintf(name + 4 + i * 2, 3, "%02x", id[i]);
	n += put_desc(b, CODE_BINARY, ASSOC_LU | 3, id, 16);

	memcpy(id, SCSI_VENDOR SCSI_PRODUCT, 24);
	size_t serial = strlen(lu->serial);
	memcpy(id + 24, lu->serial, serial);
	n += put_desc(b + n, CODE_ASCII, ASSOC_LU | 1, id, (unsigned)(24 + serial));

	make_eui(id, uuid);
	n += put_desc(b + n, CODE_BINARY, ASSOC_LU | 2, id, 16);
	return n + put_name(b + n, ASSOC_LU, name);
}

static unsigned put_port_ids(uint8_t *b, const struct scsi_nexus *nexus)
{
	uint8_t id[4] = {0};
	char port[sizeof(nexus->target) + 16];
	unsigned n = 0;
	be16_put(id + 2, nexus->port);
	n += put_desc(b, CODE_BINARY, ASSOC_PORT | 4, id, 4); /* relative target port */
	be16_put(id + 2, alua_group(nexus));
	n += put_desc(b + n, CODE_BINARY, ASSOC_PORT | 5, id, 4); /* target port group */
	snprintf(port, sizeof(port), "%s,t,0x%04x", nexus->target, nexus->tpgt);
	n += put_name(b + n, ASSOC_PORT, port);
	return n + put_name(b + n, ASSOC_TARGET, nexus->target);
}

static unsigned page_ids(struct scsi_cmd *c, uint8_t *b)
{
	unsigned n = put_lu_ids(b, c->lu);
	return n + put_port_ids(b + n, c->nexus);
}

/* ---- the others ---- */

static unsigned page_serial(struct scsi_cmd *c, uint8_t *b)
{
	size_t n = strlen(c->lu->serial);
	memcpy(b, c->lu->serial, n);
	return (unsigned)n;
}

/* 86h extended INQUIRY data */
static unsigned page_extended(struct scsi_cmd *c, uint8_t *b)
{
	memset(b, 0, 60);
	b[1] = 0x07;	       /* HEADSUP, ORDSUP, SIMPSUP */
	b[2] = 0x01;	       /* V_SUP: there is a volatile cache */
	b[3] = 0x01;	       /* LUICLR: nexus loss clears unit attentions */
	b[9] = SCSI_SENSE_MAX; /* MAXIMUM SUPPORTED SENSE DATA LENGTH */
	return 60;
}

static void unmap_limits(uint8_t *b, unsigned shift)
{
	be32_put(b + 16, SCSI_UNMAP_MAX >> shift); /* MAXIMUM UNMAP LBA COUNT */
	be32_put(b + 20, SCSI_UNMAP_DESCS);
	be32_put(b + 24, 4096 >> shift); /* OPTIMAL UNMAP GRANULARITY */
	be32_put(b + 28, 0x80000000u);	 /* UGAVALID: aligned to block 0 */
}

/* 87h mode page policy: all pages are shared by all nexuses */
static unsigned page_mode_policy(struct scsi_cmd *c, uint8_t *b)
{
	memset(b, 0, 4);
	b[0] = 0x3f;
	b[1] = 0xff;
	return 4;
}

static unsigned put_scsi_port(uint8_t *b, const char *target, const struct target_port *p)
{
	char port[SCSI_NAME_MAX + 16];
	snprintf(port, sizeof(port), "%s,t,0x%04x", target, p->tag);
	memset(b, 0, 12);
	be16_put(b + 2, p->number); /* relative target port */
	unsigned n = put_name(b + 12, ASSOC_PORT, port);
	be16_put(b + 10, (uint16_t)n);
	return 12 + n;
}

#define PORTS_ROOM (4096 - 4 - 12 - 256) /* of the page, before the last of them */

/* 88h SCSI ports: those of the target (SPC-4 7.8.14); of a target that is gone this nexus's */
static unsigned page_ports(struct scsi_cmd *c, uint8_t *b)
{
	struct scsi_nexus *nexus = c->nexus;
	struct scsi_target *t = scsi_target_get(nexus->registry, nexus->target);
	struct target_port own = {nexus->tpgt, nexus->port};
	unsigned n = 0;
	for (unsigned i = 0; t && i < t->nports && n <= PORTS_ROOM; i++)
		n += put_scsi_port(b + n, nexus->target, &t->ports[i]);
	scsi_target_put(t);
	return n ? n : put_scsi_port(b, nexus->target, &own);
}

/* B6h zoned block device characteristics: there are no zones */
static unsigned page_zones(struct scsi_cmd *c, uint8_t *b)
{
	memset(b, 0, 60);
	memset(b + 4, 0xff, 12); /* optimal and maximum numbers of open zones: not reported */
	return 60;
}

/* B0h block limits */
static unsigned page_limits(struct scsi_cmd *c, uint8_t *b)
{
	unsigned shift = c->lu->block_shift;
	memset(b, 0, 60);
	b[0] = 0x01; /* WSNZ */
	b[1] = (uint8_t)MIN(SCSI_COMPARE_MAX >> shift, 255);
	be16_put(b + 2, (uint16_t)(4096 >> shift));  /* OPTIMAL TRANSFER LENGTH GRANULARITY */
	be32_put(b + 4, SCSI_TRANSFER_MAX >> shift); /* MAXIMUM TRANSFER LENGTH */
	be32_put(b + 8, (256u * 1024) >> shift);     /* OPTIMAL TRANSFER LENGTH */
	if (lu_features(c->lu) & LU_UNMAP)
		unmap_limits(b, shift);
	be64_put(b + 32, SCSI_WRITE_SAME_MAX >> shift);
	if (lu_features(c->lu) & LU_ATOMIC) { /* any block, any number of them, no boundaries */
		be32_put(b + 40, SCSI_ATOMIC_MAX >> shift);
		be32_put(b + 44, 1);
		be32_put(b + 48, 1);
	}
	return 60;
}

/* B1h block device characteristics */
static unsigned page_characteristics(struct scsi_cmd *c, uint8_t *b)
{
	memset(b, 0, 60);
	be16_put(b, 1); /* MEDIUM ROTATION RATE: none */
	b[3] = 0x40;	/* WABEREQ: what was erased can be read */
	return 60;
}

/* B2h logical block provisioning */
static unsigned page_provisioning(struct scsi_cmd *c, uint8_t *b)
{
	memset(b, 0, 4);
	if (!(lu_features(c->lu) & LU_UNMAP)) /* fully provisioned */
		return 4;
	b[1] = 0x80 | 0x40 | 0x20 | 0x04 | 0x02; /* LBPU, LBPWS, LBPWS10, LBPRZ, ANC_SUP */
	b[2] = 0x01; /* resource provisioned: a volume has all its space */
	return 4;
}

static unsigned page_supported(struct scsi_cmd *c, uint8_t *b);

static const struct {
	uint8_t page;
	bool any; /* also without a logical unit */
	unsigned (*fill)(struct scsi_cmd *c, uint8_t *b);
} pages[] = {
    {0x00, true, page_supported},
    {0x80, false, page_serial},
    {0x83, false, page_ids},
    {0x86, false, page_extended},
    {0x87, false, page_mode_policy},
    {0x88, false, page_ports},
    {0x8f, false, vpd_third_party},
    {0xb0, false, page_limits},
    {0xb1, false, page_characteristics},
    {0xb2, false, page_provisioning},
    {0xb6, false, page_zones},
};

static unsigned page_supported(struct scsi_cmd *c, uint8_t *b)
{
	unsigned n = 0;
	for (unsigned i = 0; i < ARRAY_LEN(pages); i++)
		if (c->lu || pages[i].any)
			b[n++] = pages[i].page;
	return n;
}

unsigned vpd_page(struct scsi_cmd *c, uint8_t page, uint8_t *buf)
{
	for (unsigned i = 0; i < ARRAY_LEN(pages); i++) {
		if (pages[i].page != page || !(c->lu || pages[i].any))
			continue;
		unsigned n = pages[i].fill(c, buf + 4);
		buf[0] = c->lu ? 0x00 : 0x7f;
		buf[1] = page;
		be16_put(buf + 2, (uint16_t)n);
		return n + 4;
	}
	return 0;
}
