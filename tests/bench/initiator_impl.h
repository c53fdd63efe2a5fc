/* What login (initiator.c) and data path (initiator_io.c) share. */
#ifndef ISTHMUS_TESTS_BENCH_INITIATOR_IMPL_H
#define ISTHMUS_TESTS_BENCH_INITIATOR_IMPL_H

#include <stddef.h>
#include <bsd/sys/queue.h>
#include "runtime/bytes.h"
#include "tests/bench/initiator.h"
#include "tests/bench/wire.h"

#define BHS	    48
#define RECV_BUF    (256 * 1024)
#define RECV_DSL    (256 * 1024) /* MaxRecvDataSegmentLength that is declared */
#define SEND_PDUS   (WIRE_IOV / 3)
#define SEND_BYTES  (2u << 20)
#define SEND_HEADER (BHS + 8) /* with both digests */

/* Basic header segment: offsets of what is used (RFC 7143 11). */
enum {
	AT_OPCODE = 0,
	AT_FLAGS = 1,
	AT_STATUS = 3,
	AT_AHS = 4,
	AT_DSL = 5,
	AT_LUN = 8,
	AT_ITT = 16,
	AT_TTT = 20,
	AT_EDTL = 20,
	AT_CMDSN = 24,
	AT_STATSN = 24, /* of the target's PDUs */
	AT_EXPSTATSN = 28,
	AT_MAXCMDSN = 32, /* of the target's PDUs */
	AT_CDB = 32,
	AT_DATASN = 36,
	AT_OFFSET = 40,
	AT_DESIRED = 44, /* R2T */
};
enum {
	OP_NOP_OUT = 0x00,
	OP_COMMAND = 0x01,
	OP_LOGIN = 0x03,
	OP_DATA_OUT = 0x05,
	OP_NOP_IN = 0x20,
	OP_RESPONSE = 0x21,
	OP_LOGIN_RESPONSE = 0x23,
	OP_DATA_IN = 0x25,
	OP_R2T = 0x31,
	OP_IMMEDIATE = 0x40,
	FLAG_FINAL = 0x80,
	FLAG_READ = 0x40,
	FLAG_WRITE = 0x20,
	FLAG_STATUS = 0x01, /* Data-In: with status */
};
#define NO_TAG 0xffffffffu

/* A command in flight; its task tag is its number. */
struct slot {
	uint64_t off; /* in the LUN */
	bool write, busy;
	uint8_t *buf; /* with `check`: the data written */
	/* Data still to be sent: solicited, or not (ttt NO_TAG). */
	uint32_t ttt, out_at, out_end, datasn;
	STAILQ_ENTRY(slot) link; /* in `free`, or in `out` */
};
STAILQ_HEAD(slots, slot);

struct initiator {
	int fd;
	char name[128]; /* for messages */
	bool failed;
	uint8_t lun[8];
	uint64_t capacity;
	uint32_t block_size;

	/* negotiated */
	bool header_digest, data_digest, immediate, initial_r2t;
	uint32_t max_send, first_burst;

	uint32_t cmdsn, maxcmdsn, expstatsn;

	/* received: bytes [head, tail) of rbuf are not looked at yet */
	uint8_t *rbuf;
	size_t head, tail;
	bool in_data; /* in the middle of the PDU bhs */
	uint8_t bhs[BHS];
	uint32_t left;	    /* of its data */
	uint64_t data_off;  /* where in the LUN the data that comes next belongs */
	uint8_t trailer[8]; /* its padding and digest */
	uint32_t trailer_len, trailer_need, crc;

	/* being sent: one batch */
	uint8_t *headers;
	unsigned nheaders;
	struct wire_out out_batch;

	/* the load */
	const struct initiator_load *load;
	struct slot slots[INITIATOR_DEPTH_MAX];
	struct slots free, out;
	unsigned in_flight;
	uint64_t next_off, seed;
	int64_t done;
	bool ping; /* a NOP-In wants an answer */
	uint8_t ping_lun[8], ping_ttt[4];
};

/* Tells why on stderr and fails it. Returns -1. */
int initiator_fail(struct initiator *in, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
