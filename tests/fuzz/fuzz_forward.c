/*
 * What a partner may send about SCSI (server/scsi/forward_wire.h): any bytes, as calls and one-way
 * messages, to either of two controllers that work together. Nothing may be read or written outside
 * of volumes and messages, every call is answered, and nothing stays behind when the link is down.
 *
 * Input: records of  0 side (bit 0), call (bit 1), one with a version (bit 2), a real nexus number
 * (bit 3), a real unit moves first (bit 4), time passes (bit 5)  1 type  2-3 length of the head
 * (big endian)  4-5 of the data, then the head and the data.
 */
#include <stdlib.h>
#include "runtime/log.h"
#include "tests/unit/scsi/pair.h"

#define RECORD 6
#define MOST   64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct message {
	int side;
	uint16_t type;
	bool call;
	uint8_t head[LINK_HEAD_MAX];
	uint32_t head_len, data_len;
	const uint8_t *data;
};

static void inject(void *arg)
{
	struct message *m = arg;
	fake_link_inject(pr->s[m->side].link, LINK_DATA, m->type, m->call, m->head, m->head_len,
			 m->data, m->data_len);
}

/* Bytes of the record that were used; 0: it is not whole. */
static size_t take(struct message *m, const uint8_t *b, size_t size, uint64_t nexus)
{
	if (size < RECORD)
		return 0;
	m->side = b[0] & 1;
	m->call = b[0] & 2;
	m->type = b[1] & 15;
	m->head_len = MIN(be16_get(b + 2), LINK_HEAD_MAX);
	m->data_len = be16_get(b + 4);
	if (size - RECORD < (size_t)m->head_len + m->data_len)
		return 0;
	memcpy(m->head, b + RECORD, m->head_len);
	if ((b[0] & 4) && m->head_len >= 2)
		le16_put(m->head, FWD_VERSION);
	if ((b[0] & 8) && m->head_len >= 16)
		le64_put(m->head + (m->type == FWD_CMD ? 8 : 4), nexus);
	m->data = b + RECORD + m->head_len;
	return RECORD + m->head_len + m->data_len;
}

static void disturb(uint8_t flags)
{
	if (flags & 0x10)
		fake_core_place(pr->s[A].core, 1,
				core_volume_place(&pr->s[A].core->volumes[0]) == CORE_HERE
				    ? CORE_PARTNER
				    : CORE_HERE);
	if (flags & 0x20)
		pair_run_for(NS_PER_MS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct message m;
	log_set_level((enum log_level)(LOG_L_ERROR + 1));
	pair_setup(A);
	struct scsi_nexus *x = pair_login(B, HOST_A), *y = pair_login(A, HOST_B);
	for (int i = 0; i < MOST; i++) {
		size_t n =
		    take(&m, data, size, (data && size && (data[0] & 1)) ? y->number : x->number);
		if (!n)
			break;
		disturb(data[0]);
		pair_task(inject, &m);
		data += n;
		size -= n;
	}
	pair_run_for(NS_PER_S);
	pair_down();
	pair_logout(x);
	pair_logout(y);
	pair_teardown(); /* asserts that nothing is held */
	return 0;
}
