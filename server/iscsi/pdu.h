/*
 * iSCSI PDUs on the wire (RFC 7143 11): the 48-byte basic header segment with
 * the names its words have in the several PDUs, opcodes, flags, reason codes.
 * All integers are big endian; every field is a byte array, so a header may
 * stand at any address.
 */
#ifndef ISTHMUS_ISCSI_PDU_H
#define ISTHMUS_ISCSI_PDU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/bytes.h"

enum pdu_opcode {
	OP_NOP_OUT = 0x00,
	OP_SCSI_CMD = 0x01,
	OP_TMF_REQ = 0x02,
	OP_LOGIN_REQ = 0x03,
	OP_TEXT_REQ = 0x04,
	OP_DATA_OUT = 0x05,
	OP_LOGOUT_REQ = 0x06,
	OP_SNACK = 0x10,
	OP_NOP_IN = 0x20,
	OP_SCSI_RSP = 0x21,
	OP_TMF_RSP = 0x22,
	OP_LOGIN_RSP = 0x23,
	OP_TEXT_RSP = 0x24,
	OP_DATA_IN = 0x25,
	OP_LOGOUT_RSP = 0x26,
	OP_R2T = 0x31,
	OP_ASYNC = 0x32,
	OP_REJECT = 0x3f,
};

#define PDU_OPCODE_MASK 0x3f
#define PDU_IMMEDIATE	0x40
#define PDU_NO_TAG	0xffffffffu
#define PDU_DSL_DEFAULT 8192	 /* MaxRecvDataSegmentLength before it is declared */
#define PDU_DSL_LIMIT	0xffffff /* what 24 bits hold */
#define PDU_AHS_MAX	1020

#define PDU_FINAL	   0x80
#define PDU_CONTINUE	   0x40 /* text, login */
#define CMD_READ	   0x40
#define CMD_WRITE	   0x20
#define CMD_ATTR	   0x07 /* task attribute */
#define RSP_BIDI_OVERFLOW  0x10
#define RSP_BIDI_UNDERFLOW 0x08
#define RSP_OVERFLOW	   0x04
#define RSP_UNDERFLOW	   0x02
#define DATA_IN_STATUS	   0x01
#define LOGIN_CSG_SHIFT	   2

/* RFC 7143 11.17.1 */
enum reject_reason {
	REJECT_DATA_DIGEST = 0x02,
	REJECT_SNACK = 0x03,
	REJECT_PROTOCOL = 0x04,
	REJECT_UNSUPPORTED = 0x05,
	REJECT_IMMEDIATE = 0x06, /* too many immediate commands */
	REJECT_TASK_IN_PROGRESS = 0x07,
	REJECT_INVALID_ACK = 0x08,
	REJECT_INVALID_FIELD = 0x09,
	REJECT_LONG_OPERATION = 0x0a, /* cannot generate a target transfer tag */
	REJECT_NEGOTIATION_RESET = 0x0b,
	REJECT_WAIT_LOGOUT = 0x0c,
};

/* RFC 7143 11.5.1, 11.6.1 */
enum tmf_function {
	TMF_ABORT_TASK = 1,
	TMF_ABORT_TASK_SET = 2,
	TMF_CLEAR_ACA = 3,
	TMF_CLEAR_TASK_SET = 4,
	TMF_LU_RESET = 5,
	TMF_WARM_RESET = 6,
	TMF_COLD_RESET = 7,
	TMF_TASK_REASSIGN = 8,
};
enum tmf_response {
	TMF_COMPLETE = 0,
	TMF_NO_TASK = 1,
	TMF_NO_LUN = 2,
	TMF_ALLEGIANT = 3,
	TMF_NO_REASSIGN = 4,
	TMF_UNSUPPORTED = 5,
	TMF_NOT_AUTHORIZED = 6,
	TMF_REJECTED = 255,
};

/* RFC 7143 11.14.1, 11.15.1 */
enum logout_reason { LOGOUT_SESSION = 0, LOGOUT_CONNECTION = 1, LOGOUT_RECOVERY = 2 };
enum logout_response {
	LOGOUT_OK = 0,
	LOGOUT_NO_CID = 1,
	LOGOUT_NO_RECOVERY = 2,
	LOGOUT_CLEANUP_FAILED = 3
};

/* RFC 7143 11.9.1 */
enum async_event {
	ASYNC_SCSI = 0,
	ASYNC_LOGOUT_REQUESTED = 1,
	ASYNC_DROP_CONNECTION = 2,
	ASYNC_DROP_SESSION = 3,
	ASYNC_NEGOTIATE = 4,
};

/* RFC 7143 11.13.5: class << 8 | detail */
enum login_status {
	LOGIN_SUCCESS = 0x0000,
	LOGIN_MOVED = 0x0101, /* for the time being */
	LOGIN_MOVED_FOR_GOOD = 0x0102,
	LOGIN_INITIATOR_ERROR = 0x0200,
	LOGIN_AUTH_FAILED = 0x0201,
	LOGIN_FORBIDDEN = 0x0202,
	LOGIN_NOT_FOUND = 0x0203,
	LOGIN_REMOVED = 0x0204,
	LOGIN_BAD_VERSION = 0x0205,
	LOGIN_TOO_MANY_CONNECTIONS = 0x0206,
	LOGIN_MISSING_PARAMETER = 0x0207,
	LOGIN_CANNOT_INCLUDE = 0x0208,
	LOGIN_SESSION_TYPE = 0x0209,
	LOGIN_NO_SESSION = 0x020a,
	LOGIN_INVALID_REQUEST = 0x020b,
	LOGIN_TARGET_ERROR = 0x0300,
	LOGIN_UNAVAILABLE = 0x0301,
	LOGIN_NO_RESOURCES = 0x0302,
};

struct bhs {
	uint8_t opcode; /* with PDU_IMMEDIATE */
	uint8_t flags;
	union {
		uint8_t response; /* SCSI, TMF, logout */
		uint8_t reason;	  /* reject */
		uint8_t version_max;
	};
	union {
		uint8_t status; /* SCSI response, Data-In */
		uint8_t version_min;
		uint8_t version_active;
	};
	uint8_t ahs_words;
	uint8_t dsl[3];
	union {
		uint8_t lun[8];
		struct {
			uint8_t isid[6];
			uint8_t tsih[2];
		};
	};
	uint8_t itt[4];
	union { /* 20 */
		uint8_t ttt[4];
		uint8_t edtl[4];
		uint8_t ref_tag[4];
		uint8_t cid[2];
	};
	union { /* 24 */
		uint8_t cmdsn[4];
		uint8_t statsn[4];
	};
	union { /* 28 */
		uint8_t expstatsn[4];
		uint8_t expcmdsn[4];
	};
	union { /* 32 */
		uint8_t cdb[16];
		struct {
			union {
				uint8_t maxcmdsn[4];
				uint8_t refcmdsn[4];
			};
			union { /* 36 */
				uint8_t datasn[4];
				uint8_t r2tsn[4];
				uint8_t expdatasn[4];
				struct {
					uint8_t event, event_code;
					uint8_t parameter1[2];
				};
				struct {
					uint8_t status_class, status_detail;
				};
			};
			union { /* 40 */
				uint8_t offset[4];
				struct {
					uint8_t parameter2[2], parameter3[2];
				};
				struct {
					uint8_t time2wait[2], time2retain[2];
				};
			};
			union { /* 44 */
				uint8_t residual[4];
				uint8_t desired[4]; /* R2T */
			};
		};
	};
};
_Static_assert(sizeof(struct bhs) == 48, "BHS");
_Static_assert(offsetof(struct bhs, lun) == 8, "BHS LUN");
_Static_assert(offsetof(struct bhs, itt) == 16, "BHS ITT");
_Static_assert(offsetof(struct bhs, cmdsn) == 24, "BHS CmdSN");
_Static_assert(offsetof(struct bhs, cdb) == 32, "BHS CDB");
_Static_assert(offsetof(struct bhs, datasn) == 36, "BHS DataSN");
_Static_assert(offsetof(struct bhs, offset) == 40, "BHS Buffer Offset");
_Static_assert(offsetof(struct bhs, residual) == 44, "BHS Residual");

static inline unsigned pdu_opcode(const struct bhs *b)
{
	return b->opcode & PDU_OPCODE_MASK;
}
static inline bool pdu_immediate(const struct bhs *b)
{
	return b->opcode & PDU_IMMEDIATE;
}
static inline uint32_t pdu_dsl(const struct bhs *b)
{
	return be24_get(b->dsl);
}
static inline uint32_t pdu_pad(uint32_t len)
{
	return -len & 3;
}

/* Serial number arithmetic (RFC 1982): a is before b. */
static inline bool sn_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

/* A name for logs; never NULL. */
const char *pdu_name(unsigned opcode);

/* The digest over a header (with its additional segments), as its four bytes on the wire. */
void pdu_header_digest(const void *hdr, uint32_t len, uint8_t ret[4]);
bool pdu_header_digest_ok(const void *hdr, uint32_t len, const uint8_t digest[4]);
/* CRC32C goes onto the wire with its least significant byte first (RFC 7143 13.1). */
void pdu_digest_put(uint8_t ret[4], uint32_t crc);
uint32_t pdu_digest_get(const uint8_t digest[4]);

#define PDU_CDB_MAX 260
/*
 * The CDB of a SCSI command: 16 bytes of the header, longer ones continued in an additional
 * header segment. ahs: bhs.ahs_words * 4 bytes. Returns its length, 0 when the segments are
 * malformed.
 */
unsigned pdu_cdb(const struct bhs *b, const uint8_t *ahs, uint8_t ret[PDU_CDB_MAX]);
/* What a command that reads and writes expects to read (RFC 7143 11.2.2.4); 0: it does not say. */
uint32_t pdu_bidi_len(const struct bhs *b, const uint8_t *ahs);

#endif
