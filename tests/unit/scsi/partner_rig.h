/* Two controllers with the volumes at A, and three nexuses: what tests of a partner share. */
#ifndef ISTHMUS_TESTS_PARTNER_RIG_H
#define ISTHMUS_TESTS_PARTNER_RIG_H

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "runtime/err.h"
#include "tests/unit/scsi/pair.h"

#define TUR(n)	     pair_cmd(n, 0, CDB(0), NULL, 0)
#define ACCESS	     0x062a06
#define MODE_CHANGED 0x062a01
#define WAS_RESET    0x062903
#define CONFLICT(n)  ck_assert_int_eq(pair_cmd(n, 0, READ8, NULL, 4096), SCSI_RESERVATION_CONFLICT)
#define READ8	     CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 8)
#define WRITE8	     CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 8)

/* x and y are at B, z at A. */
extern struct scsi_nexus *x, *y, *z;
extern uint8_t page[1 << 21];

/* The next command of n is told that; the next is told nothing. */
void expect_ua(struct scsi_nexus *n, uint32_t sense);
void expect_none(struct scsi_nexus *n);
/* Those of all three are forgotten. */
void take_attentions(void);
/* Control mode page: D_SENSE, TAS. */
void select_control(struct scsi_nexus *n, bool d_sense, bool tas);
/* The volume of LUN 0 does so many operations a second; 0: as many as come. */
void limit(unsigned iops);
/* A command of n that waits at the owner for longer than any test. */
struct job *stuck(struct scsi_nexus *n, const uint8_t *cdb, const void *out);

/* A case of tests with this fixture; runs it: main()'s result. */
TCase *partner_case(const char *name);
int partner_run(const char *name, TCase *tc);
/* main() of a test program. */
int partner_suite(const char *name, const TTest *const *tests);
#define PARTNER_SUITE(name, ...)                                                                   \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests[] = {__VA_ARGS__, NULL};                                  \
		return partner_suite(name, tests);                                                 \
	}

#endif
