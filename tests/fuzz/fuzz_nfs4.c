/*
 * Compounds of NFSv4.0, 4.1 and 4.2 into the whole service, down to a real file system in memory.
 * What comes back must be a well-formed COMPOUND reply, whatever was sent.
 *
 * Input: { how u8, { op u8, len u8, bytes }* in how's low 3 bits + 1 }*. how & 8: minor version 2;
 * how & 48: the current handle at first (root of all, export, file, symbolic link); how & 64:
 * without a session, and with how & 8 version 4.0; how & 128: the reply is kept, and the call is
 * sent again. len & 63: words of arguments; len & 64: an open's stateid before them, len & 128: a
 * lock's behind the first.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "runtime/check.h"
#include "runtime/log.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct nas nas;
static struct v4 c;
static struct v4_fh handles[4];
static struct v4_stateid opened, locked, opened0;
static struct v4 old; /* a client of 4.0, on a connection of its own */
static uint32_t old_seq;

/* Every user and group below 100 has a name. */
static int find_name(void *arg, const struct host_key *k, struct host_answer **ret)
{
	char text[16];
	unsigned id = k->id;
	if (k->kind == NAMES_USER_OF_NAME || k->kind == NAMES_GROUP_OF_NAME)
		id = k->len == 3 && k->name[0] == 'n' ? (k->name[1] - '0') * 10u + k->name[2] - '0'
						      : 100;
	if (id >= 100)
		return -ENOENT;
	snprintf(text, sizeof(text), "n%02u", id);
	struct name *n = name_new(id, text);
	if (!n)
		return -ENOMEM;
	*ret = &n->answer;
	return 0;
}

static void make_link(void)
{
	v4_seq(&c);
	v4_putfh(&c, &handles[1]);
	v4_op(&c, OP_CREATE);
	xdr_put_u32(&c.x, 5);
	xdr_put_string(&c.x, "f");
	xdr_put_string(&c.x, "l");
	xdr_put_u32(&c.x, 0);
	xdr_put_u32(&c.x, 0);
	ASSERT(v4_send(&c) == 0);
}

static void init(void)
{
	static const struct names_opts names = {.domain = "d", .find = find_name};
	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_L_ERROR);
	nas_up(&nas);
	nas.names_want = &names;
	nas_serve4(&nas);
	v4_open(&c, nas.port);
	v4_client(&c, "fuzz");
	c.loose = true;
	v4_open(&old, nas.port);
	v4_client0(&old, "old");
	ASSERT(v4_lookup(&c, "/", &handles[0]) == 0 && v4_lookup(&c, "/demo", &handles[1]) == 0);
	make_link();
	ASSERT(v4_lookup(&c, "/demo/l", &handles[3]) == 0);
}

/* Of version 4.0, with the number that the input may go on from. */
static void prepare0(void)
{
	v4_begin(&old);
	v4_putfh(&old, &handles[1]);
	v4_op(&old, OP_OPEN);
	xdr_put_u32(&old.x, ++old_seq);
	xdr_put_u32(&old.x, 3);
	xdr_put_u32(&old.x, 0);
	xdr_put_u64(&old.x, old.client);
	xdr_put_string(&old.x, "o");
	xdr_put_u32(&old.x, OPEN4_NOCREATE);
	xdr_put_u32(&old.x, CLAIM_NULL);
	xdr_put_string(&old.x, "f");
	if (v4_send(&old) == 0 && v4_res(&old, OP_PUTFH) == 0 && v4_res(&old, OP_OPEN) == 0)
		v4_get_stateid(&old, &opened0);
	else if (old.status == NFS4ERR_BAD_SEQID || old.status == NFS4ERR_EXPIRED)
		v4_client0(&old, "old");
}

/* A file that is open and locked, also when the input before closed or removed it. */
static void prepare(void)
{
	if (v4_open_file(&c, &handles[1], "f", "o", 3, 0, 1, &opened, &handles[2]) == 0)
		v4_lock(&c, &handles[2], &opened, "l", WRITE_LT, 5, 5, false, &locked);
}

static void put_op(const uint8_t **p, size_t *left)
{
	uint8_t op = (*p)[0], len = (*p)[1];
	size_t words = MIN((size_t)(len & 63), (*left - 2) / 4);
	const uint8_t *arg = *p + 2;
	v4_op(&c, op);
	if (len & 64)
		v4_stateid(&c, c.minor ? &opened : &opened0);
	for (size_t i = 0; i < words; i++) {
		xdr_put_fixed(&c.x, arg + 4 * i, 4);
		if (i == 0 && (len & 128))
			v4_stateid(&c, &locked);
	}
	*p += 2 + 4 * words;
	*left -= 2 + 4 * words;
}

/* Every result is there; the last says what the whole says. */
static void check_reply(uint32_t status)
{
	if (status == UINT32_MAX || c.nres == 0)
		return;
	ASSERT(c.nres <= c.nops);
	ASSERT(status < 20000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!nas.server)
		init();
	prepare();
	prepare0();
	while (size >= 3) {
		uint8_t how = *data++;
		size--;
		c.minor = !(how & 8) ? 1 : how & 64 ? 0 : 2;
		c.cache = how & 128;
		if (c.minor == 0) {
			v4_begin(&c);
			v4_putfh(&c, &handles[how >> 4 & 3]);
		} else if (how & 64) {
			v4_begin(&c);
		} else {
			v4_seq(&c);
			v4_putfh(&c, &handles[how >> 4 & 3]);
		}
		for (unsigned i = 0; i <= (how & 7u) && size >= 2; i++)
			put_op(&data, &size);
		check_reply(v4_send(&c));
		if (c.cache)
			check_reply(v4_again(&c));
		/* What the slot did not take is not counted. */
		if (!(how & 64) && (c.nres == 0 || c.status == UINT32_MAX))
			break;
	}
	c.minor = 1;
	c.cache = false;
	return 0;
}
