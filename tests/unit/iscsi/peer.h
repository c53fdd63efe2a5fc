/*
 * What tests of connections share: a whole target, a plain initiator that talks to it, commands in
 * all forms of data transfer, and a SCSI layer whose waits can be made long.
 *
 * A test program that uses it is linked with --wrap=scsi_start_wait.
 */
#ifndef ISTHMUS_TESTS_ISCSI_PEER_H
#define ISTHMUS_TESTS_ISCSI_PEER_H

#include <check.h>
#include <stdatomic.h>
#include "runtime/env.h"
#include "server/scsi/scsi.h"
#include "tests/unit/iscsi/client.h"
#include "tests/unit/iscsi/target.h"

#define PEER_VOLUME (4 << 20)

extern struct target target;
extern struct client *c;
extern uint8_t pattern[1 << 20];
/* Commands that wait in the SCSI layer wait so long. */
extern _Atomic unsigned wait_ms;

/* Two reactors, a portal on the loopback; c is connected and not logged in. */
void peer_setup(const struct iscsi_opts *limits);
/* Closes, stops; nothing of the volume may be held. */
void peer_teardown(void);
/* Runs the suite: main()'s result. */
int peer_run(Suite *suite);

/* To the open target; takes the unit attentions. */
void login(const char *const *keys);
/* Takes Data-In up to the status; returns the bytes that came. */
uint32_t take_data(uint32_t itt, uint8_t *to);
uint32_t read_blocks(uint32_t lba, unsigned blocks, uint32_t edtl, uint8_t *to);
/* Sends the data of R2Ts, in PDUs of dsl bytes, until the response; R2Ts seen. */
unsigned serve_r2ts(uint32_t itt, const uint8_t *data, uint32_t dsl);
/* A write of all forms: immediate bytes, unsolicited up to `first`, the rest asked for. */
unsigned write_blocks(uint32_t lba, unsigned blocks, uint32_t immediate, uint32_t first,
		      uint32_t dsl);
/* The volume holds the pattern there. */
void check_volume(uint32_t lba, uint32_t len);
/* An immediate task management request; its response. */
unsigned tmf(unsigned function, uint32_t ref, uint8_t lun);

#endif
