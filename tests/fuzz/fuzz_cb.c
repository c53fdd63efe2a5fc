/*
 * What a client answers to a call of ours: whatever the bytes are, it is an answer to that call or
 * refused. Input: minor version u8 (& 64: of
 * CB_OFFLOAD), the credential's length u8, then a list of security flavours as
 * CREATE_SESSION has it, and the reply.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"
#include "nasfront/rpc/rpc_msg.h"
#include "runtime/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void security(const uint8_t *data, size_t size)
{
	struct nfs4_back b = {.usable = false};
	struct xdr_in x = xdr_in_of(data, size);
	if (nfs4_get_callback_sec(&x, &b))
		ASSERT(b.sys_len <= NFS4_CB_SYS && x.p <= x.end);
}

static void message(const uint8_t *data, size_t size)
{
	uint8_t ret[256];
	size_t len = 0;
	int rc = rpc_msg_reply(data, size, 0, ret, sizeof(ret), &len);
	ASSERT(rc == 0 || rc == -EAGAIN || rc == -ERR_PROTO);
	ASSERT(len <= sizeof(ret));
}

static void result(const uint8_t *data, size_t size, uint32_t minor, bool offload)
{
	const struct nfs4_cb cb = {
	    .minor = minor, .seq = 1, .op = offload ? OP_CB_OFFLOAD : OP_CB_RECALL};
	struct nfs4_cb_result r = {.seq = (enum nfs4_status)77, .op = (enum nfs4_status)77};
	int rc = nfs4_cb_result(&cb, data, size, &r);
	ASSERT(rc == 0 || rc == -ERR_PROTO);
	/* Nothing of a refused one is taken; heard is only what says so of both operations. */
	ASSERT(rc == 0 || (r.seq == 77 && r.op == 77));
	ASSERT(rc || r.seq || size >= (minor ? 52u : 12u));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	size_t n = MIN((size_t)data[1] * 4, size - 2);
	/* Copies of their very size: what is read beyond it is seen. */
	uint8_t *sec = malloc(n), *reply = malloc(size - 2 - n);
	memcpy(sec, data + 2, n);
	memcpy(reply, data + 2 + n, size - 2 - n);
	security(sec, n);
	message(reply, size - 2 - n);
	result(reply, size - 2 - n, data[0] % 3, data[0] & 64);
	free(sec);
	free(reply);
	return 0;
}
