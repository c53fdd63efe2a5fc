/* One target with three LUNs, two nexuses, and a way to run a command to its end. */
#ifndef ISTHMUS_TESTS_SCSI_FIXTURE_H
#define ISTHMUS_TESTS_SCSI_FIXTURE_H

#include "runtime/env.h"
#include "server/scsi/scsi_priv.h"
#include "tests/unit/scsi/fake_volume.h"

#define TARGET "iqn.2026-01.example:disks"
#define HOST_A "iqn.2026-01.example:host-a"
#define HOST_B "iqn.2026-01.example:host-b"

struct fixture {
	struct core *core;
	struct scsi_registry *registry;
	struct scsi_nexus *a, *b;
	struct volume *v1, *v2, *v3;
	Isthmus__Target *target;
	struct scsi_cmd *cmd; /* the last one; released by the next */
	uint8_t attr;	      /* of commands to come: enum scsi_attr */
	bool held, waited;    /* it is not yet released; it needed a task */
	unsigned parts;	      /* times its data went on */
	uint8_t in[1 << 22];  /* its data-in */
	uint32_t residual_over, residual_under;
	struct env env;
	_Atomic uint64_t clock_ns; /* each look at the clock takes a microsecond */
};
#define CLOCK_TICK 1000
extern struct fixture *fx;

/* LUN 0: v1, 512 bytes; LUN 1: v2, 4096 bytes; LUN 300: v3, read-only. UAs of logins are taken. */
void fixture_setup(void);
void fixture_teardown(void);
struct scsi_nexus *fixture_login(const char *initiator);
void fixture_logout(struct scsi_nexus *n);

/* Runs a command; returns its status. edtl: what the initiator expects in either direction. */
uint8_t run(struct scsi_nexus *n, uint32_t lun, const uint8_t *cdb, const void *out, uint32_t edtl);
/* The same with the LUN as on the wire. */
uint8_t run_wire(struct scsi_nexus *n, const uint8_t lun[8], const uint8_t *cdb, const void *out,
		 uint32_t edtl);
void run_done(void);
/* (key << 16 | asc << 8 | ascq) of the last command's sense data, of either format. */
uint32_t sense_of(void);
uint32_t sense_in(const uint8_t *b);
/* Field pointer: byte, -1 when there is none. */
int sense_field(void);

#define CDB(...) ((const uint8_t[16]){__VA_ARGS__})
#define BE16(x)	 (uint8_t)((x) >> 8), (uint8_t)(x)
#define BE32(x)	 (uint8_t)((x) >> 24), (uint8_t)((x) >> 16), (uint8_t)((x) >> 8), (uint8_t)(x)
#define BE64(x)	 BE32((uint64_t)(x) >> 32), BE32((uint64_t)(x)&0xffffffff)

#define LBA_OUT_OF_RANGE 0x052100
#define INVALID_FIELD	 0x052400
#define INVALID_PARAM	 0x052600
#define INVALID_OPCODE	 0x052000
#define NO_SUCH_LUN	 0x052500
#define WRITE_PROTECTED	 0x072700
#define SHORT_DATA	 0x050e03

#endif
