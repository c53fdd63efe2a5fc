/*
 * TransportIDs of iSCSI (SPC-4 7.6.4.6), padded with zeros to a multiple of four:
 *
 *   0 format code (bits 7-6), protocol identifier 5   2-3 additional length   4 text, a zero
 *
 * The text of format 0 is the initiator's name, which stands for all its ports; of format 1 the
 * port's: name, ",i,0x" and the ISID in twelve hexadecimal digits.
 */
#include <stdio.h>
#include <stdlib.h>
#include "server/scsi/persistent.h"

#define PROTO_ISCSI 0x05
#define ADD_MIN	    20
#define ADD_MAX	    (TRANSPORT_ID_MAX - 4)

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Cuts ",i,0x..." off the text. */
static bool take_isid(char *text, uint8_t isid[6])
{
	static const char mark[] = ",i,0x";
	char *at = strstr(text, mark);
	if (!at)
		return false;
	const char *hex = at + strlen(mark);
	if (strlen(hex) != 12)
		return false;
	for (unsigned i = 0; i < 6; i++) {
		int high = hex_digit(hex[i * 2]), low = hex_digit(hex[i * 2 + 1]);
		if (high < 0 || low < 0)
			return false;
		isid[i] = (uint8_t)(high << 4 | low);
	}
	*at = 0;
	return true;
}

unsigned transport_id_parse(const uint8_t *b, size_t len, struct transport_id *ret)
{
	char text[ADD_MAX + 1], why[256];
	if (len < 4 + ADD_MIN || (b[0] & 0x3f) != PROTO_ISCSI || (b[0] & 0x80))
		return 0;
	unsigned add = be16_get(b + 2);
	if (add < ADD_MIN || add > ADD_MAX || add % 4 || add > len - 4)
		return 0;
	size_t n = strnlen((const char *)b + 4, add);
	if (n == add)
		return 0;
	for (size_t i = n; i < add; i++)
		if (b[4 + i])
			return 0;
	memcpy(text, b + 4, n + 1);
	ret->any_isid = !(b[0] & 0x40);
	memset(ret->isid, 0, 6);
	if (!ret->any_isid && !take_isid(text, ret->isid))
		return 0;
	if (iscsi_name_check(text, ret->initiator, why))
		return 0;
	return 4 + add;
}

unsigned transport_id_put(uint8_t b[TRANSPORT_ID_MAX], const char *initiator, const uint8_t *isid)
{
	char *text = (char *)b + 4;
	memset(b, 0, TRANSPORT_ID_MAX);
	b[0] = PROTO_ISCSI | (isid ? 0x40 : 0);
	int n = snprintf(text, ADD_MAX, "%.*s", SCSI_NAME_MAX, initiator);
	if (isid)
		n += snprintf(text + n, (size_t)(ADD_MAX - n), ",i,0x%02x%02x%02x%02x%02x%02x",
			      isid[0], isid[1], isid[2], isid[3], isid[4], isid[5]);
	unsigned add = MAX(ROUND_UP((unsigned)n + 1, 4), ADD_MIN);
	be16_put(b + 2, (uint16_t)add);
	return 4 + add;
}
