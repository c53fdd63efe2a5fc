/*
 * iscsi_keys PORT IQN LUN_MIB: every combination of the keys that shape data transfer, against a
 * running array: writes in the form the keys allow, reads back, compares; with a plain initiator
 * (tests/unit/iscsi/client.h) for all keys and with libiscsi for those it can set.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include "runtime/check.h"
#include "tests/unit/iscsi/client.h"

#define WRITE_BLOCKS 601 /* 300.5 KiB: no multiple of any burst */

static unsigned port;
static const char *iqn;
static uint32_t blocks_of_lun;

static const char *const no_yes[] = {"No", "Yes"};
static const char *const digests[] = {"None", "CRC32C"};
static const uint32_t bursts[][2] = {{512, 512}, {4096, 8192}, {65536, 262144}, {262144, 1048576}};
static const uint32_t segments[] = {512, 8192, 262144};
static const uint32_t outstanding[] = {1, 4};

struct combination {
	bool immediate, initial_r2t, header_digest, data_digest;
	uint32_t first, burst, segment, r2ts;
};

#define COMBINATIONS                                                                               \
	(16 * (int)ARRAY_LEN(bursts) * (int)ARRAY_LEN(segments) * (int)ARRAY_LEN(outstanding))

static struct combination combination(unsigned i)
{
	struct combination k = {i & 1, i & 2, i & 4, i & 8, 0, 0, 0, 0};
	i /= 16;
	k.first = bursts[i % ARRAY_LEN(bursts)][0];
	k.burst = bursts[i % ARRAY_LEN(bursts)][1];
	i /= ARRAY_LEN(bursts);
	k.segment = segments[i % ARRAY_LEN(segments)];
	k.r2ts = outstanding[i / ARRAY_LEN(segments)];
	return k;
}

static uint32_t number_of(const struct client *c, const char *key)
{
	const char *v = client_text(c, key);
	ck_assert_msg(v != NULL, "no answer to %s", key);
	return (uint32_t)strtoul(v, NULL, 0);
}

static void is(const struct client *c, const char *key, const char *want)
{
	const char *v = client_text(c, key);
	ck_assert_msg(v && strcmp(v, want) == 0, "%s=%s, not %s", key, v ? v : "(none)", want);
}

static void log_in(struct client *c, const struct combination *k)
{
	char text[9][64];
	const char *keys[10] = {0};
	snprintf(text[0], 64, "ImmediateData=%s", no_yes[k->immediate]);
	snprintf(text[1], 64, "InitialR2T=%s", no_yes[k->initial_r2t]);
	snprintf(text[2], 64, "HeaderDigest=%s", digests[k->header_digest]);
	snprintf(text[3], 64, "DataDigest=%s", digests[k->data_digest]);
	snprintf(text[4], 64, "FirstBurstLength=%u", k->first);
	snprintf(text[5], 64, "MaxBurstLength=%u", k->burst);
	snprintf(text[6], 64, "MaxRecvDataSegmentLength=%u", k->segment);
	snprintf(text[7], 64, "MaxOutstandingR2T=%u", k->r2ts);
	for (unsigned i = 0; i < 8; i++)
		keys[i] = text[i];
	ck_assert_uint_eq(client_login(c, iqn, keys), 0);
	is(c, "ImmediateData", no_yes[k->immediate]);
	is(c, "InitialR2T", no_yes[k->initial_r2t]);
	is(c, "HeaderDigest", digests[k->header_digest]);
	is(c, "DataDigest", digests[k->data_digest]);
	ck_assert_uint_le(number_of(c, "FirstBurstLength"), k->first);
	ck_assert_uint_le(number_of(c, "MaxBurstLength"), k->burst);
	ck_assert_uint_le(number_of(c, "MaxOutstandingR2T"), k->r2ts);
	client_ready(c);
}

/* Data-Outs of at most 8 KiB for one sequence. */
static void send_sequence(struct client *c, uint32_t itt, uint32_t ttt, const uint8_t *data,
			  uint32_t off, uint32_t end)
{
	for (uint32_t sn = 0; off < end; sn++) {
		uint32_t n = MIN(end - off, 8192u);
		client_data_out(c, itt, ttt, sn, off, data + off, n, off + n == end);
		off += n;
	}
}

/* As much unsolicited as the keys allow, the rest when asked for. */
static void write_all(struct client *c, const struct combination *k, uint32_t lba,
		      const uint8_t *data, uint32_t len)
{
	uint8_t cdb[16];
	uint32_t immediate = k->immediate ? MIN(MIN(len, k->first), 8192u) : 0;
	uint32_t first = k->initial_r2t ? immediate : MIN(len, k->first), asked = first;
	cdb_rw(cdb, true, lba, len / 512);
	bool more = first > immediate;
	uint32_t itt = client_command(c, more ? 0x20 : 0xa0, cdb, len, data, immediate);
	if (more)
		send_sequence(c, itt, PDU_NO_TAG, data, immediate, first);
	for (;;) {
		ck_assert(client_recv(c));
		ck_assert_uint_eq(be32_get(c->bhs.itt), itt);
		if (pdu_opcode(&c->bhs) == OP_SCSI_RSP)
			break;
		ck_assert_uint_eq(pdu_opcode(&c->bhs), OP_R2T);
		uint32_t off = be32_get(c->bhs.offset), n = be32_get(c->bhs.desired);
		ck_assert_uint_eq(off, asked);
		ck_assert_uint_gt(n, 0);
		ck_assert_uint_le(n, k->burst);
		ck_assert_uint_le(off + n, len);
		asked += n;
		send_sequence(c, itt, be32_get(c->bhs.ttt), data, off, off + n);
	}
	ck_assert_uint_eq(c->bhs.status, 0);
	ck_assert_uint_eq(asked, len);
}

static void read_all(struct client *c, const struct combination *k, uint32_t lba, uint8_t *to,
		     uint32_t len)
{
	uint8_t cdb[16];
	cdb_rw(cdb, false, lba, len / 512);
	uint32_t itt = client_command(c, 0xc0, cdb, len, NULL, 0), got = 0, sequence = 0;
	for (;;) {
		client_expect(c, OP_DATA_IN);
		ck_assert_uint_eq(be32_get(c->bhs.itt), itt);
		ck_assert_uint_eq(be32_get(c->bhs.offset), got);
		ck_assert_uint_le(c->len, k->segment);
		memcpy(to + got, c->data, c->len);
		got += c->len;
		sequence += c->len;
		ck_assert_uint_le(sequence, k->burst);
		if (c->bhs.flags & PDU_FINAL)
			sequence = 0;
		if (c->bhs.flags & DATA_IN_STATUS)
			break;
	}
	ck_assert_uint_eq(got, len);
}

static void fill(uint8_t *data, uint32_t len, unsigned seed)
{
	for (uint32_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 31 + i / 512 + seed * 101 + (seed >> 3));
}

START_TEST(what_is_written_is_read)
{
	static uint8_t data[WRITE_BLOCKS * 512], back[sizeof(data)];
	struct combination k = combination((unsigned)_i);
	struct client *c = client_connect(port);
	uint32_t lba = (unsigned)_i * WRITE_BLOCKS % (blocks_of_lun - WRITE_BLOCKS);
	log_in(c, &k);
	fill(data, sizeof(data), (unsigned)_i);
	write_all(c, &k, lba, data, sizeof(data));
	read_all(c, &k, lba, back, sizeof(back));
	ck_assert_mem_eq(data, back, sizeof(data));
	client_free(c);
}
END_TEST

START_TEST(libiscsi_writes_and_reads)
{
	static uint8_t data[WRITE_BLOCKS * 512];
	char portal[64];
	struct iscsi_context *ic = iscsi_create_context("iqn.2026-01.org.isthmus:keys");
	snprintf(portal, sizeof(portal), "127.0.0.1:%u", port);
	iscsi_set_targetname(ic, iqn);
	iscsi_set_session_type(ic, ISCSI_SESSION_NORMAL);
	iscsi_set_immediate_data(ic, _i & 1 ? ISCSI_IMMEDIATE_DATA_YES : ISCSI_IMMEDIATE_DATA_NO);
	iscsi_set_initial_r2t(ic, _i & 2 ? ISCSI_INITIAL_R2T_YES : ISCSI_INITIAL_R2T_NO);
	iscsi_set_header_digest(ic, _i & 4 ? ISCSI_HEADER_DIGEST_CRC32C : ISCSI_HEADER_DIGEST_NONE);
	ck_assert_msg(iscsi_full_connect_sync(ic, portal, 0) == 0, "%s", iscsi_get_error(ic));
	for (uint32_t len = 512, lba = 0; len <= sizeof(data); lba += len / 512, len = len * 3) {
		fill(data, len, len);
		struct scsi_task *t = iscsi_write10_sync(ic, 0, lba, data, len, 512, 0, 0, 0, 0, 0);
		ck_assert_msg(t && t->status == SCSI_STATUS_GOOD, "%s", iscsi_get_error(ic));
		scsi_free_scsi_task(t);
		t = iscsi_read10_sync(ic, 0, lba, len, 512, 0, 0, 0, 0, 0);
		ck_assert_msg(t && t->status == SCSI_STATUS_GOOD, "%s", iscsi_get_error(ic));
		ck_assert_int_eq(t->datain.size, (int)len);
		ck_assert_mem_eq(t->datain.data, data, len);
		scsi_free_scsi_task(t);
	}
	iscsi_logout_sync(ic);
	iscsi_destroy_context(ic);
}
END_TEST

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: iscsi_keys PORT IQN LUN_MIB\n");
		return 2;
	}
	port = (unsigned)atoi(argv[1]);
	iqn = argv[2];
	blocks_of_lun = (uint32_t)atoi(argv[3]) * 2048;
	Suite *suite = suite_create("iscsi keys");
	TCase *tc = tcase_create("keys");
	tcase_set_timeout(tc, 20);
	tcase_add_loop_test(tc, what_is_written_is_read, 0, COMBINATIONS);
	tcase_add_loop_test(tc, libiscsi_writes_and_reads, 0, 8);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
