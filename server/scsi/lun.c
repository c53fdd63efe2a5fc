/*
 * LUN addresses (SAM-5 4.7): eight bytes of which single-level devices use the
 * first two. Understood are the peripheral device method (00b, bus 0: LUN 0 to
 * 255) and flat space (01b: 0 to 16383); told in REPORT LUNS is the former where
 * it reaches, as initiators expect.
 */
#include "server/scsi/scsi_priv.h"

bool lun_parse(const uint8_t lun[8], uint32_t *ret)
{
	for (int i = 2; i < 8; i++)
		if (lun[i])
			return false;
	switch (lun[0] >> 6) {
	case 0:
		if (lun[0] & 0x3f) /* a bus of its own: there is none */
			return false;
		*ret = lun[1];
		return true;
	case 1:
		*ret = be16_get(lun) & 0x3fff;
		return true;
	}
	return false;
}

void lun_format(uint8_t lun[8], uint32_t number)
{
	memset(lun, 0, 8);
	be16_put(lun, (uint16_t)(number < 256 ? number : 0x4000 | number));
}

bool scsi_lun_same(const uint8_t a[8], const uint8_t b[8])
{
	uint32_t x, y;
	if (memcmp(a, b, 8) == 0)
		return true;
	return lun_parse(a, &x) && lun_parse(b, &y) && x == y;
}
