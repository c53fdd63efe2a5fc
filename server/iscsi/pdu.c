/* iSCSI PDUs: digests, extended CDBs, names (server/iscsi/pdu.h). */
#include "server/iscsi/pdu.h"
#include "runtime/crc32c.h"

const char *pdu_name(unsigned opcode)
{
	switch (opcode) {
	case OP_NOP_OUT:
		return "nop-out";
	case OP_SCSI_CMD:
		return "command";
	case OP_TMF_REQ:
		return "task-management";
	case OP_LOGIN_REQ:
		return "login";
	case OP_TEXT_REQ:
		return "text";
	case OP_DATA_OUT:
		return "data-out";
	case OP_LOGOUT_REQ:
		return "logout";
	case OP_SNACK:
		return "snack";
	}
	return "unknown";
}

void pdu_digest_put(uint8_t ret[4], uint32_t crc)
{
	le32_put(ret, crc);
}

uint32_t pdu_digest_get(const uint8_t digest[4])
{
	return le32_get(digest);
}

void pdu_header_digest(const void *hdr, uint32_t len, uint8_t ret[4])
{
	pdu_digest_put(ret, crc32c(hdr, len));
}

bool pdu_header_digest_ok(const void *hdr, uint32_t len, const uint8_t digest[4])
{
	return crc32c(hdr, len) == pdu_digest_get(digest);
}

#define AHS_EXTENDED_CDB 1
#define AHS_BIDI_LEN	 2

/*
 * RFC 7143 11.2.2: each segment is AHSLength (2 bytes: what follows the type), AHSType, and that
 * many bytes, padded to four. An extended CDB's first byte is reserved.
 */
unsigned pdu_cdb(const struct bhs *b, const uint8_t *ahs, uint8_t ret[PDU_CDB_MAX])
{
	unsigned len = 16, total = b->ahs_words * 4u, at = 0;
	memcpy(ret, b->cdb, 16);
	while (at + 4 <= total) {
		unsigned n = be16_get(ahs + at);
		if (n == 0 || at + 3 + n > total)
			return 0;
		if ((ahs[at + 2] & 0x3f) == AHS_EXTENDED_CDB) {
			if (len != 16 || n < 2 || n - 1 > PDU_CDB_MAX - 16)
				return 0;
			memcpy(ret + 16, ahs + at + 4, n - 1);
			len = 16 + n - 1;
		}
		at += (3 + n + 3) & ~3u;
	}
	return len;
}

uint32_t pdu_bidi_len(const struct bhs *b, const uint8_t *ahs)
{
	unsigned total = b->ahs_words * 4u;
	for (unsigned at = 0; at + 8 <= total;) {
		unsigned n = be16_get(ahs + at);
		if (n == 0 || at + 3 + n > total)
			return 0;
		if ((ahs[at + 2] & 0x3f) == AHS_BIDI_LEN && n == 5)
			return be32_get(ahs + at + 4);
		at += (3 + n + 3) & ~3u;
	}
	return 0;
}
