/*
 * The security stage of a login (RFC 7143 6.3.2, 12.1): method, CHAP one-way and mutual.
 *
 *   AUTH_NONE_YET -AuthMethod-> AUTH_CHAP_CHOSEN -CHAP_A-> AUTH_CHALLENGED -CHAP_N, CHAP_R->
 * AUTH_DONE -AuthMethod=None, where nothing is asked for-> AUTH_DONE
 *
 * Each step may share a request with the one before it where the text allows; anything out of
 * order ends the login.
 */
#include "server/iscsi/login.h"
#include "runtime/log.h"
#include <errno.h>
#include <string.h>

static bool is_member(void *arg, const char *member)
{
	return strcmp(arg, member) == 0;
}

static unsigned choose_method(struct login *l, const char *list, struct text_out *answer)
{
	const char *want = l->need_auth ? "CHAP" : "None";
	if (l->auth_state != AUTH_NONE_YET)
		return LOGIN_INITIATOR_ERROR;
	if (!text_list(list, is_member, (void *)(uintptr_t)want))
		return LOGIN_AUTH_FAILED;
	text_put(answer, "AuthMethod", want);
	l->auth_state = l->need_auth ? AUTH_CHAP_CHOSEN : AUTH_DONE;
	return LOGIN_SUCCESS;
}

static unsigned challenge(struct login *l, const char *algorithms, struct text_out *answer)
{
	if (l->auth_state != AUTH_CHAP_CHOSEN)
		return LOGIN_INITIATOR_ERROR;
	int rc = chap_begin(&l->chap, algorithms, l->chap_allowed);
	if (rc < 0)
		return rc == -EOPNOTSUPP ? LOGIN_AUTH_FAILED : LOGIN_TARGET_ERROR;
	text_put_u32(answer, "CHAP_A", l->chap.algorithm);
	text_put_u32(answer, "CHAP_I", l->chap.id);
	text_put_hex(answer, "CHAP_C", l->chap.challenge, sizeof(l->chap.challenge));
	l->auth_state = AUTH_CHALLENGED;
	return LOGIN_SUCCESS;
}

/* The initiator asks us to prove who we are. */
static unsigned answer_mutual(struct login *l, const struct login_offer *o, struct text_out *answer)
{
	uint8_t theirs[CHAP_CHALLENGE_MAX], digest[CHAP_DIGEST_MAX];
	uint32_t id;
	int len = text_binary(o->chap_c, theirs, sizeof(theirs));
	if (len <= 0 || !o->chap_i || text_number(o->chap_i, &id) < 0 || id > 255)
		return LOGIN_INITIATOR_ERROR;
	if (!chap_challenge_ok(&l->chap, theirs, (size_t)len)) {
		log_warn("iscsi: CHAP challenge sent back to us initiator=%s target=%s",
			 l->initiator, l->target_name);
		return LOGIN_AUTH_FAILED;
	}
	if (!l->auth.mutual_secret[0] || strcmp(l->auth.secret, l->auth.mutual_secret) == 0) {
		log_warn("iscsi: mutual CHAP asked for, but the target's secret is %s "
			 "initiator=%s target=%s",
			 l->auth.mutual_secret[0] ? "the initiator's" : "not set", l->initiator,
			 l->target_name);
		return LOGIN_AUTH_FAILED;
	}
	size_t n = chap_response(l->chap.algorithm, (uint8_t)id, l->auth.mutual_secret, theirs,
				 (size_t)len, digest);
	if (n == 0)
		return LOGIN_TARGET_ERROR;
	text_put(answer, "CHAP_N", l->auth.mutual_user);
	text_put_hex(answer, "CHAP_R", digest, n);
	return LOGIN_SUCCESS;
}

static unsigned check_response(struct login *l, const struct login_offer *o,
			       struct text_out *answer)
{
	uint8_t response[CHAP_DIGEST_MAX];
	if (l->auth_state != AUTH_CHALLENGED)
		return LOGIN_INITIATOR_ERROR;
	if (!o->chap_n || !o->chap_r)
		return LOGIN_MISSING_PARAMETER;
	int len = text_binary(o->chap_r, response, sizeof(response));
	if (len < 0 || !chap_verify(&l->chap, l->auth.user, l->auth.secret, o->chap_n, response,
				    (size_t)len)) {
		log_warn("iscsi: CHAP failed initiator=%s target=%s", l->initiator, l->target_name);
		return LOGIN_AUTH_FAILED;
	}
	if (o->chap_i || o->chap_c) {
		if (!o->chap_c)
			return LOGIN_INITIATOR_ERROR;
		unsigned status = answer_mutual(l, o, answer);
		if (status)
			return status;
	}
	l->auth_state = AUTH_DONE;
	return LOGIN_SUCCESS;
}

unsigned login_security(struct login *l, const struct login_offer *o, struct text_out *answer)
{
	unsigned status = LOGIN_SUCCESS;
	if (o->auth_method)
		status = choose_method(l, o->auth_method, answer);
	if (!status && o->chap_a)
		status = challenge(l, o->chap_a, answer);
	if (!status && (o->chap_n || o->chap_r || o->chap_i || o->chap_c))
		status = check_response(l, o, answer);
	if (!status && l->need_auth && l->auth_state == AUTH_NONE_YET && l->transit)
		status = LOGIN_AUTH_FAILED; /* wants to leave without having shown anything */
	return status;
}
