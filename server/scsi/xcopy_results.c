/*
 * What became of copies (SPC-4 6.24 to 6.28): RECEIVE COPY STATUS, OPERATING PARAMETERS,
 * FAILURE DETAILS; COPY OPERATION ABORT. A nexus keeps the last ones; a new copy with the same
 * identifier, or one that needs the place, takes the oldest that has ended.
 */
#include "server/scsi/xcopy.h"

/* ---- the nexus's list; its lock ---- */

static struct copy_result *find(struct scsi_nexus *n, bool lid4, uint32_t list_id)
{
	for (unsigned i = 0; i < COPY_RESULTS; i++) {
		struct copy_result *r = &n->copies[i];
		if (r->used && !r->nameless && r->lid4 == lid4 && r->list_id == list_id)
			return r;
	}
	return NULL;
}

static unsigned running(const struct scsi_nexus *n)
{
	unsigned count = 0;
	for (unsigned i = 0; i < COPY_RESULTS; i++)
		count += n->copies[i].used && n->copies[i].running;
	return count;
}

/* Free, or the oldest that has ended; more places than may run, so there is one. */
static struct copy_result *place(struct scsi_nexus *n)
{
	struct copy_result *best = NULL;
	for (unsigned i = 0; i < COPY_RESULTS; i++) {
		struct copy_result *r = &n->copies[i];
		if (!r->used)
			return r;
		if (!r->running && (!best || r->number < best->number))
			best = r;
	}
	return best;
}
_Static_assert(COPY_RESULTS > XCOPY_RUNNING, "a place for each that runs, and one");

struct copy_result *copy_begin(struct scsi_cmd *c, bool lid4, uint32_t list_id, bool nameless)
{
	struct scsi_nexus *n = c->nexus;
	pthread_mutex_lock(&n->lock);
	struct copy_result *r = nameless ? NULL : find(n, lid4, list_id);
	bool in_use = r && r->running, busy = running(n) >= XCOPY_RUNNING;
	if (!r)
		r = place(n);
	if (!in_use && !busy)
		*r = (struct copy_result){.used = true,
					  .running = true,
					  .nameless = nameless,
					  .lid4 = lid4,
					  .list_id = list_id,
					  .number = ++n->copies_begun};
	pthread_mutex_unlock(&n->lock);
	if (in_use)
		cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x00, 0x16); /* operation in progress */
	else if (busy)
		cmd_status(c, SCSI_BUSY);
	return in_use || busy ? NULL : r;
}

bool copy_progress(struct scsi_nexus *n, struct copy_result *r, uint16_t segments, uint64_t bytes)
{
	pthread_mutex_lock(&n->lock);
	r->segments = (uint16_t)(r->segments + segments);
	r->bytes += bytes;
	bool go = !r->abort;
	pthread_mutex_unlock(&n->lock);
	return go;
}

void copy_end(struct scsi_cmd *c, struct copy_result *r)
{
	struct scsi_nexus *n = c->nexus;
	pthread_mutex_lock(&n->lock);
	r->running = false;
	r->used = !r->nameless;
	r->status = c->status;
	r->sense_len = c->sense_len;
	memcpy(r->sense, c->sense, c->sense_len);
	pthread_mutex_unlock(&n->lock);
}

/* A copy of what is kept; false: nothing is. */
static bool look(struct scsi_cmd *c, bool lid4, struct copy_result *ret)
{
	struct scsi_nexus *n = c->nexus;
	uint32_t list_id = lid4 ? be32_get(c->cdb + 2) : c->cdb[2];
	pthread_mutex_lock(&n->lock);
	struct copy_result *r = find(n, lid4, list_id);
	if (r)
		*ret = *r;
	pthread_mutex_unlock(&n->lock);
	return r;
}

/* ---- the commands ---- */

static uint8_t operation_status(const struct copy_result *r)
{
	return r->running ? 0x00 : r->status == SCSI_GOOD ? 0x01 : 0x02;
}

/* Units of 1024 until it fits. */
static uint8_t transfer_units(uint64_t *bytes, uint64_t max)
{
	uint8_t units = 0;
	for (; *bytes > max; units++)
		*bytes >>= 10;
	return units;
}

enum scsi_next op_copy_status(struct scsi_cmd *c)
{
	struct copy_result r;
	uint8_t *b = c->data;
	bool lid4 = (c->cdb[1] & 0x1f) == 0x05;
	uint32_t alloc = be32_get(c->cdb + 10);
	if (!look(c, lid4, &r))
		return cmd_bad_cdb(c, 2, -1);
	uint64_t bytes = r.bytes;
	memset(b, 0, 32);
	if (!lid4) {
		be32_put(b, 8);
		b[4] = operation_status(&r);
		be16_put(b + 5, r.segments);
		b[7] = transfer_units(&bytes, UINT32_MAX);
		be32_put(b + 8, (uint32_t)bytes);
		return cmd_data_in(c, b, 12, alloc);
	}
	be32_put(b, 28u + r.sense_len);
	b[4] = 0x01; /* the service action of EXTENDED COPY(LID4) */
	b[5] = operation_status(&r);
	be16_put(b + 6, 1);
	b[12] = r.status;
	b[13] = b[14] = r.sense_len;
	b[15] = transfer_units(&bytes, UINT64_MAX);
	be64_put(b + 16, bytes);
	be16_put(b + 24, r.segments);
	memcpy(b + 32, r.sense, r.sense_len);
	return cmd_data_in(c, b, 32u + r.sense_len, alloc);
}

/* Told once. */
enum scsi_next op_copy_failure(struct scsi_cmd *c)
{
	struct copy_result r;
	uint8_t *b = c->data;
	if (!look(c, false, &r) || r.running || r.status == SCSI_GOOD)
		return cmd_bad_cdb(c, 2, -1);
	memset(b, 0, 60);
	be32_put(b, 56u + r.sense_len);
	b[56] = r.status;
	be16_put(b + 58, r.sense_len);
	memcpy(b + 60, r.sense, r.sense_len);
	pthread_mutex_lock(&c->nexus->lock);
	struct copy_result *kept = find(c->nexus, false, r.list_id);
	if (kept && kept->number == r.number)
		kept->used = false;
	pthread_mutex_unlock(&c->nexus->lock);
	return cmd_data_in(c, b, 60u + r.sense_len, be32_get(c->cdb + 10));
}

enum scsi_next op_copy_parameters(struct scsi_cmd *c)
{
	uint8_t *b = c->data;
	memset(b, 0, 46);
	be32_put(b, 42);
	b[4] = 0x01; /* SNLID: no list identifier is needed */
	be16_put(b + 8, XCOPY_TARGETS);
	be16_put(b + 10, XCOPY_SEGMENTS);
	be32_put(b + 12, XCOPY_LIST_MAX);
	be32_put(b + 16, 65535u * c->lu->block_size); /* MAXIMUM SEGMENT LENGTH */
	be16_put(b + 34, XCOPY_RUNNING);	      /* TOTAL CONCURRENT COPIES */
	b[36] = XCOPY_RUNNING;
	b[37] = (uint8_t)c->lu->block_shift; /* DATA SEGMENT GRANULARITY */
	b[43] = 2;
	b[44] = XCOPY_TYPE_BLOCK;
	b[45] = XCOPY_TYPE_ID;
	return cmd_data_in(c, b, 46, be32_get(c->cdb + 10));
}

enum scsi_next op_copy_abort(struct scsi_cmd *c)
{
	struct scsi_nexus *n = c->nexus;
	pthread_mutex_lock(&n->lock);
	struct copy_result *r = find(n, true, be32_get(c->cdb + 2));
	if (r)
		r->abort = true;
	pthread_mutex_unlock(&n->lock);
	return r ? cmd_good(c) : cmd_bad_cdb(c, 2, -1);
}

/* ---- VPD 8Fh: third-party copy (SPC-4 7.8.17) ---- */

static unsigned put(uint8_t *b, uint16_t type, unsigned len)
{
	memset(b, 0, 4 + len);
	be16_put(b, type);
	be16_put(b + 2, (uint16_t)len);
	return 4 + len;
}

unsigned vpd_third_party(struct scsi_cmd *c, uint8_t *b)
{
	static const uint8_t commands[] = {12,	 0x83, 3,    0x00, 0x01, 0x1c,
					   0x84, 4,    0x00, 0x03, 0x04, 0x05};
	unsigned n = put(b, 0x0001, (unsigned)ROUND_UP(sizeof(commands), 4));
	memcpy(b + 4, commands, sizeof(commands));
	b[4] = sizeof(commands) - 1;

	uint8_t *d = b + n; /* parameter data */
	n += put(d, 0x0004, 28);
	be16_put(d + 8, XCOPY_TARGETS);
	be16_put(d + 10, XCOPY_SEGMENTS);
	be32_put(d + 12, XCOPY_LIST_MAX);

	d = b + n; /* supported descriptors */
	n += put(d, 0x0008, 4);
	d[4] = 2;
	d[5] = XCOPY_TYPE_BLOCK;
	d[6] = XCOPY_TYPE_ID;

	d = b + n; /* supported CSCD descriptor identifiers */
	n += put(d, 0x000c, 4);
	be16_put(d + 4, 2);
	be16_put(d + 6, 0xffff);

	d = b + n; /* general copy operations */
	n += put(d, 0x8001, 32);
	be32_put(d + 4, XCOPY_RUNNING);
	be32_put(d + 8, XCOPY_RUNNING);
	be32_put(d + 12, 65535u * c->lu->block_size);
	d[16] = (uint8_t)c->lu->block_shift;
	return n;
}
