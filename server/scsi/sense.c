/*
 * Sense data (SPC-4 4.5) in the fixed and the descriptor format: key, additional
 * sense code, and where it applies the INFORMATION field and a field pointer.
 *
 *   fixed (18 bytes)   0 response code 70h | VALID  2 key  3-6 information
 *                      7 additional length  12 ASC  13 ASCQ  15-17 sense key specific
 *   descriptor         0 response code 72h  1 key  2 ASC  3 ASCQ  7 additional length
 *                      then descriptors: 00h information (12), 01h command-specific (12), 02h sense
 * key specific (8)
 */
#include "server/scsi/scsi_priv.h"

static void sense_key_specific(uint8_t b[3], const struct sense *s)
{
	b[0] = 0x80 | (s->in_cdb ? 0x40 : 0);
	if (!s->has_progress && s->bit >= 0)
		b[0] |= 0x08 | (s->bit & 7);
	be16_put(b + 1, s->field);
}

static unsigned sense_fixed(uint8_t *b, const struct sense *s)
{
	memset(b, 0, 18);
	b[0] = 0x70;
	b[2] = s->key;
	/* SPC-4 4.5.3: a value of more than four bytes is not valid here */
	if (s->has_info && s->info <= UINT32_MAX) {
		b[0] |= 0x80;
		be32_put(b + 3, (uint32_t)s->info);
	}
	b[7] = 10;
	if (s->has_specific)
		be32_put(b + 8, s->specific);
	b[12] = s->asc;
	b[13] = s->ascq;
	if (s->has_field || s->has_progress)
		sense_key_specific(b + 15, s);
	return 18;
}

static unsigned sense_descriptor(uint8_t *b, const struct sense *s)
{
	unsigned n = 8;
	memset(b, 0, 40);
	b[0] = 0x72;
	b[1] = s->key;
	b[2] = s->asc;
	b[3] = s->ascq;
	if (s->has_info) {
		b[n] = 0x00;
		b[n + 1] = 10;
		b[n + 2] = 0x80;
		be64_put(b + n + 4, s->info);
		n += 12;
	}
	if (s->has_specific) {
		b[n] = 0x01;
		b[n + 1] = 10;
		be64_put(b + n + 4, s->specific);
		n += 12;
	}
	if (s->has_field || s->has_progress) {
		b[n] = 0x02;
		b[n + 1] = 6;
		sense_key_specific(b + n + 4, s);
		n += 8;
	}
	b[7] = (uint8_t)(n - 8);
	return n;
}

unsigned sense_build(uint8_t *buf, bool descriptor, const struct sense *s)
{
	return descriptor ? sense_descriptor(buf, s) : sense_fixed(buf, s);
}
