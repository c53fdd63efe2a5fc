/* Login text into the login of a target, key by key answers checked to stay in bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"
#include "runtime/log.h"
#include "server/iscsi/login.h"
#include "tests/unit/iscsi/target.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct target target;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_set_level(LOG_L_ERROR);
	target_make(&target, 1 << 20);
	return 0;
}

/* Pieces: flags, length (two bytes), text; each is a login request. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char reply[LOGIN_REPLY_MAX];
	struct login *l = login_new(&(struct login_opts){
	    .registry = target.registry, .group = 1, .chap_allowed = CHAP_ALL});
	enum login_result r = LOGIN_MORE;
	while (size >= 3 && r == LOGIN_MORE) {
		struct bhs req = {.opcode = OP_LOGIN_REQ, .flags = data[0]}, rsp = {0};
		size_t n = MIN((size_t)(data[1] << 8 | data[2]), size - 3);
		struct text_out answer;
		text_out_init(&answer, reply, sizeof(reply));
		char *copy = malloc(n + 1);
		memcpy(copy, data + 3, n);
		r = login_request(l, &req, copy, (uint32_t)n, &rsp, &answer);
		free(copy);
		ASSERT(answer.len <= sizeof(reply));
		ASSERT((r == LOGIN_REFUSE) == (rsp.status_class != 0));
		ASSERT(r != LOGIN_FINAL || l->named);
		ASSERT(r != LOGIN_FINAL || !l->need_auth || l->auth_state == AUTH_DONE);
		data += 3 + n;
		size -= 3 + n;
	}
	login_free(l);
	return 0;
}
