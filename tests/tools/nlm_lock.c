/*
 * nlm_lock SERVER PORT EXPORT FILE CALLER OP OWNER FIRST LENGTH: one NLM version 4 call over
 * libnfs, for scripts. OP: test, lock, try, shared, reclaim, cancel, unlock; "lock" waits in the
 * server's queue, the others but reclaim are exclusive or none. The file is made when it is not
 * there. Prints the status's name; exit 0 whenever there was an answer.
 */
#include <nfsc/libnfs-raw-nlm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/tools/nfs3_client_impl.h"

struct common {
	nlm_cookie cookie;
	nlmstat4 status;
};

/* All four results begin with cookie and status. */
static void on_answer(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct nc *c = arg;
	c->done = true;
	c->res.rpc = status == RPC_STATUS_SUCCESS ? NC_OK : NC_REFUSED;
	c->res.status = c->res.rpc == NC_OK ? (int)((struct common *)data)->status : -1;
}

static int call(struct nc *c, const char *op, nlm4_lock *l)
{
	nlm_cookie cookie = {.data = {.data_len = 4, .data_val = (char *)"cook"}};
	bool reclaim = strcmp(op, "reclaim") == 0, wait = strcmp(op, "lock") == 0;
	nc_begin(c);
	if (strcmp(op, "test") == 0) {
		struct NLM4_TESTargs a = {.cookie = cookie, .exclusive = 1, .lock = *l};
		return rpc_nlm4_test_async(c->rpc, on_answer, &a, c);
	}
	if (strcmp(op, "unlock") == 0) {
		struct NLM4_UNLOCKargs a = {.cookie = cookie, .lock = *l};
		return rpc_nlm4_unlock_async(c->rpc, on_answer, &a, c);
	}
	if (strcmp(op, "cancel") == 0) {
		struct NLM4_CANCargs a = {.cookie = cookie, .block = 1, .exclusive = 1, .lock = *l};
		return rpc_nlm4_cancel_async(c->rpc, on_answer, &a, c);
	}
	struct NLM4_LOCKargs a = {.cookie = cookie,
				  .block = wait,
				  .exclusive = strcmp(op, "shared") != 0,
				  .lock = *l,
				  .reclaim = reclaim};
	return rpc_nlm4_lock_async(c->rpc, on_answer, &a, c);
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"granted",	"denied", "nolocks", "blocked", "grace",
					    "deadlock", "rofs",	  "stale",   "fbig",	"failed"};
	char oh[64];
	if (argc != 10) {
		fprintf(stderr,
			"usage: nlm_lock SERVER PORT EXPORT FILE CALLER OP OWNER FIRST LENGTH\n");
		return 2;
	}
	struct nc *c = nc_open(argv[1], atoi(argv[2]), NULL, false);
	if (!c) {
		fprintf(stderr, "nlm_lock: cannot connect\n");
		return 1;
	}
	nc_user(c, 0, 0, 0, NULL);
	sattr3 set = {0};
	const struct nc_res *r = nc_mnt(c, argv[3]);
	struct nc_fh top = r->fh;
	if (r->rpc == NC_OK && r->status == 0)
		r = nc_create(c, &top, argv[4], UNCHECKED, &set);
	if (r->rpc != NC_OK || r->status) {
		fprintf(stderr, "nlm_lock: no file: rpc %d status %d\n", r->rpc, r->status);
		return 1;
	}
	struct nc_fh f = r->fh;
	snprintf(oh, sizeof(oh), "%s@%s", argv[7], argv[5]);
	nlm4_lock l = {.caller_name = argv[5],
		       .fh = {.data = {.data_len = f.len, .data_val = f.data}},
		       .oh = oh,
		       .svid = (unsigned)atoi(argv[7]),
		       .l_offset = strtoull(argv[8], NULL, 0),
		       .l_len = strtoull(argv[9], NULL, 0)};
	r = nc_run(c, call(c, argv[6], &l));
	if (r->rpc != NC_OK || r->status < 0 || r->status > 9) {
		fprintf(stderr, "nlm_lock: no answer: rpc %d status %d\n", r->rpc, r->status);
		return 1;
	}
	puts(names[r->status]);
	nc_close(c);
	return 0;
}
