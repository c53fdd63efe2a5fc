/* See peer.h. */
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"
#include "tests/unit/iscsi/peer.h"

struct target target;
struct client *c;
uint8_t pattern[1 << 20];
_Atomic unsigned wait_ms;

/* Linked in place of the SCSI layer's. */
enum scsi_next __real_scsi_start_wait(struct scsi_cmd *cmd);
enum scsi_next __wrap_scsi_start_wait(struct scsi_cmd *cmd);
enum scsi_next __wrap_scsi_start_wait(struct scsi_cmd *cmd)
{
	if (wait_ms)
		env_sleep_ns(env_real(), wait_ms * NS_PER_MS);
	return __real_scsi_start_wait(cmd);
}

void peer_setup(const struct iscsi_opts *limits)
{
	wait_ms = 0;
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + i / 512);
	target_make(&target, PEER_VOLUME);
	target_start(&target, 2, "127.0.0.1:0", limits);
	c = client_connect(target.port);
}

void peer_teardown(void)
{
	client_free(c);
	target_stop(&target);
	ck_assert_int_eq(target.volume->pins, 0);
	ck_assert_int_eq(target.volume->writes, 0);
	target_free(&target);
}

int peer_run(Suite *suite)
{
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

void login(const char *const *keys)
{
	ck_assert_uint_eq(client_login(c, TARGET_OPEN, keys), 0);
	client_ready(c);
}

uint32_t take_data(uint32_t itt, uint8_t *to)
{
	uint32_t got = 0, sn = 0;
	for (;;) {
		ck_assert(client_recv(c));
		ck_assert_uint_eq(be32_get(c->bhs.itt), itt);
		if (pdu_opcode(&c->bhs) == OP_SCSI_RSP)
			return got;
		ck_assert_uint_eq(pdu_opcode(&c->bhs), OP_DATA_IN);
		ck_assert_uint_eq(be32_get(c->bhs.datasn), sn++);
		ck_assert_uint_eq(be32_get(c->bhs.offset), got);
		memcpy(to + got, c->data, c->len);
		got += c->len;
		if (c->bhs.flags & DATA_IN_STATUS) {
			ck_assert_uint_ne(c->bhs.flags & PDU_FINAL, 0);
			return got;
		}
	}
}

uint32_t read_blocks(uint32_t lba, unsigned blocks, uint32_t edtl, uint8_t *to)
{
	uint8_t cdb[16];
	cdb_rw(cdb, false, lba, blocks);
	return take_data(client_command(c, 0xc0, cdb, edtl, NULL, 0), to);
}

unsigned serve_r2ts(uint32_t itt, const uint8_t *data, uint32_t dsl)
{
	unsigned n = 0;
	for (;;) {
		ck_assert(client_recv(c));
		ck_assert_uint_eq(be32_get(c->bhs.itt), itt);
		if (pdu_opcode(&c->bhs) == OP_SCSI_RSP)
			return n;
		ck_assert_uint_eq(pdu_opcode(&c->bhs), OP_R2T);
		ck_assert_uint_eq(be32_get(c->bhs.r2tsn), n++);
		uint32_t off = be32_get(c->bhs.offset), len = be32_get(c->bhs.desired);
		uint32_t ttt = be32_get(c->bhs.ttt), sn = 0;
		for (uint32_t at = 0; at < len; at += dsl) {
			uint32_t piece = MIN(dsl, len - at);
			client_data_out(c, itt, ttt, sn++, off + at, data + off + at, piece,
					at + piece == len);
		}
	}
}

unsigned write_blocks(uint32_t lba, unsigned blocks, uint32_t immediate, uint32_t first,
		      uint32_t dsl)
{
	uint32_t len = blocks * 512, sn = 0;
	uint8_t cdb[16];
	cdb_rw(cdb, true, lba, blocks);
	bool more = first > immediate;
	uint32_t itt = client_command(c, more ? 0x20 : 0xa0, cdb, len, pattern, immediate);
	for (uint32_t at = immediate; at < first; at += dsl) {
		uint32_t piece = MIN(dsl, first - at);
		client_data_out(c, itt, PDU_NO_TAG, sn++, at, pattern + at, piece,
				at + piece == first);
	}
	return serve_r2ts(itt, pattern, dsl);
}

void check_volume(uint32_t lba, uint32_t len)
{
	ck_assert_mem_eq(target.volume->data + lba * 512, pattern, len);
}

unsigned tmf(unsigned function, uint32_t ref, uint8_t lun)
{
	struct bhs b = {.opcode = OP_TMF_REQ | PDU_IMMEDIATE,
			.flags = (uint8_t)(PDU_FINAL | function),
			.lun = {0, lun}};
	be32_put(b.itt, ++c->itt);
	be32_put(b.ref_tag, ref);
	be32_put(b.cmdsn, c->cmdsn);
	be32_put(b.expstatsn, c->statsn);
	client_send(c, &b, NULL, 0);
	client_expect(c, OP_TMF_RSP);
	ck_assert_uint_eq(be32_get(c->bhs.itt), c->itt);
	return c->bhs.response;
}
