/*
 * Login stages and names (server/iscsi/login.h).
 *
 *   stage of the first request:  0 security          1 operational
 *   0 -> 1, 0 -> 3 (T bit): only when authenticated, or when the target asks for nothing
 *   1 as first stage: only when the target asks for nothing
 *   1 -> 3: always, the answers are in the same response
 */
#include "server/iscsi/login.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>

/* Keys of one request that are looked at together, after all were read. */
struct offer {
	const char *initiator, *target, *session_type, *auth_method;
	const char *chap_a, *chap_n, *chap_r, *chap_i, *chap_c;
};

static const struct {
	const char *name;
	size_t field;
} offer_table[] = {
    {"InitiatorName", offsetof(struct offer, initiator)},
    {"TargetName", offsetof(struct offer, target)},
    {"SessionType", offsetof(struct offer, session_type)},
    {"AuthMethod", offsetof(struct offer, auth_method)},
    {"CHAP_A", offsetof(struct offer, chap_a)},
    {"CHAP_N", offsetof(struct offer, chap_n)},
    {"CHAP_R", offsetof(struct offer, chap_r)},
    {"CHAP_I", offsetof(struct offer, chap_i)},
    {"CHAP_C", offsetof(struct offer, chap_c)},
};

struct login *login_new(struct scsi_registry *registry)
{
	struct login *l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->registry = registry;
	keys_init(&l->keys);
	return l;
}

void login_free(struct login *l)
{
	if (!l)
		return;
	if (l->target)
		scsi_target_put(l->target);
	OPENSSL_cleanse(l, sizeof(*l));
	free(l);
}

void login_refuse(struct bhs *rsp, const struct bhs *req, unsigned status)
{
	rsp->opcode = OP_LOGIN_RSP;
	rsp->flags = req->flags & (3 << LOGIN_CSG_SHIFT);
	memcpy(rsp->isid, req->isid, 6);
	memcpy(rsp->tsih, req->tsih, 2);
	memcpy(rsp->itt, req->itt, 4);
	rsp->status_class = (uint8_t)(status >> 8);
	rsp->status_detail = (uint8_t)status;
}

static bool take_name(char *ret, const char *value)
{
	size_t n = strlen(value);
	if (n == 0 || n > ISCSI_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)value[i] <= ' ' || value[i] == 0x7f)
			return false;
	memcpy(ret, value, n + 1);
	return true;
}

static bool take_session_type(struct login *l, const char *value)
{
	l->discovery = value && strcmp(value, "Discovery") == 0;
	return !value || l->discovery || strcmp(value, "Normal") == 0;
}

/* The first request's names: who is it, what does it want, may it. Returns a login_status. */
static unsigned take_names(struct login *l, const struct offer *o)
{
	if (!o->initiator)
		return LOGIN_MISSING_PARAMETER;
	if (!take_name(l->initiator, o->initiator))
		return LOGIN_INITIATOR_ERROR;
	if (!take_session_type(l, o->session_type))
		return LOGIN_SESSION_TYPE;
	if (o->target && !take_name(l->target_name, o->target))
		return LOGIN_INITIATOR_ERROR;
	l->named = true;
	if (l->discovery)
		return LOGIN_SUCCESS;
	if (!o->target)
		return LOGIN_MISSING_PARAMETER;
	l->target = scsi_target_get(l->registry, l->target_name);
	if (!l->target)
		return LOGIN_NOT_FOUND;
	if (scsi_target_admit(l->target, l->initiator, &l->auth) < 0)
		return LOGIN_FORBIDDEN;
	l->need_auth = l->auth.user[0] != 0;
	if (l->need_auth && l->stage != 0)
		return LOGIN_AUTH_FAILED; /* skipped the security stage */
	return LOGIN_SUCCESS;
}

/* ---- authentication ---- */

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
	int rc = chap_begin(&l->chap, algorithms);
	if (rc < 0)
		return rc == -EOPNOTSUPP ? LOGIN_AUTH_FAILED : LOGIN_TARGET_ERROR;
	text_put_u32(answer, "CHAP_A", l->chap.algorithm);
	text_put_u32(answer, "CHAP_I", l->chap.id);
	text_put_hex(answer, "CHAP_C", l->chap.challenge, sizeof(l->chap.challenge));
	l->auth_state = AUTH_CHALLENGED;
	return LOGIN_SUCCESS;
}

/* The initiator asks us to prove who we are. */
static unsigned answer_mutual(struct login *l, const struct offer *o, struct text_out *answer)
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

static unsigned check_response(struct login *l, const struct offer *o, struct text_out *answer)
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

static unsigned security_stage(struct login *l, const struct offer *o, struct text_out *answer)
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

/* ---- keys ---- */

/* Keys looked at together. False: not one of these. */
static bool take_offer(struct offer *o, const char *key, const char *value, unsigned *status)
{
	for (unsigned i = 0; i < ARRAY_LEN(offer_table); i++) {
		if (strcmp(key, offer_table[i].name) != 0)
			continue;
		const char **field = (const char **)((char *)o + offer_table[i].field);
		if (*field)
			*status = LOGIN_INITIATOR_ERROR; /* given twice */
		*field = value;
		return true;
	}
	return false;
}

static bool no_answer(const char *key)
{
	return strcmp(key, "InitiatorAlias") == 0;
}

/* Keys that exist, but not from an initiator during login. */
static bool misplaced(const char *key)
{
	static const char *const keys[] = {"SendTargets", "TargetAlias", "TargetAddress",
					   "TargetPortalGroupTag"};
	for (unsigned i = 0; i < ARRAY_LEN(keys); i++)
		if (strcmp(key, keys[i]) == 0)
			return true;
	return false;
}

/* SessionType may stand after keys whose answer depends on it. */
static unsigned scan_offer(struct login *l, struct offer *o, char *copy)
{
	const char *key, *value;
	struct text_in in;
	unsigned status = LOGIN_SUCCESS;
	int rc;
	text_in_init(&in, copy, l->text_len);
	while ((rc = text_next(&in, &key, &value)) > 0)
		take_offer(o, key, value, &status);
	return rc < 0 ? LOGIN_INITIATOR_ERROR : status;
}

/* Second pass over pairs that the first has cut into NUL-ended halves. */
static unsigned answer_keys(struct login *l, char *copy, struct text_out *answer)
{
	struct offer ignored = {0};
	unsigned status = LOGIN_SUCCESS;
	enum keys_phase phase = l->discovery ? KEYS_LOGIN_DISCOVERY
				: l->tsih    ? KEYS_LOGIN_FURTHER
					     : KEYS_LOGIN_NORMAL;
	char *at = copy, *end = copy + l->text_len;
	while (at < end) {
		if (!*at) {
			at++;
			continue;
		}
		const char *key = at, *value = key + strlen(key) + 1;
		at = (char *)(uintptr_t)value + strlen(value) + 1;
		if (take_offer(&ignored, key, value, &status) || no_answer(key))
			continue;
		int rc = keys_offer(&l->keys, phase, key, value, answer);
		if (rc == -ERR_PROTO)
			return LOGIN_INITIATOR_ERROR;
		if (rc == -ENOENT)
			text_put(answer, key, misplaced(key) ? "Reject" : "NotUnderstood");
	}
	return LOGIN_SUCCESS;
}

static bool names_again(const struct login *l, const struct offer *o)
{
	return l->named && (o->initiator || o->target || o->session_type);
}

static unsigned answer_request(struct login *l, struct text_out *answer)
{
	struct offer o = {0};
	bool first = !l->named;
	unsigned status = scan_offer(l, &o, l->text);
	if (status)
		return status;
	if (names_again(l, &o))
		return LOGIN_INITIATOR_ERROR;
	if (first && (status = take_names(l, &o)))
		return status;
	if (first && l->target)
		text_put_u32(answer, "TargetPortalGroupTag", scsi_target_tpgt(l->target));
	bool security = o.auth_method || o.chap_a || o.chap_n || o.chap_r || o.chap_i || o.chap_c;
	if (l->stage == 0)
		status = security_stage(l, &o, answer);
	else if (security)
		status = LOGIN_INITIATOR_ERROR; /* the security stage is over */
	if (!status)
		status = answer_keys(l, l->text, answer);
	if (!status && l->stage == 1 && !l->declared) {
		text_put_u32(answer, "MaxRecvDataSegmentLength", ISCSI_MAX_RECV_DSL);
		l->declared = true;
	}
	if (!status && answer->overflow)
		status = LOGIN_INITIATOR_ERROR;
	return status;
}

/* ---- the request ---- */

static unsigned check_header(struct login *l, const struct bhs *req)
{
	unsigned csg = req->flags >> LOGIN_CSG_SHIFT & 3, nsg = req->flags & 3;
	bool transit = req->flags & PDU_FINAL, more = req->flags & PDU_CONTINUE;
	if (req->version_min > 0)
		return LOGIN_BAD_VERSION;
	if (csg > 1 || (transit && more) || (transit && (nsg <= csg || nsg == 2)))
		return LOGIN_INITIATOR_ERROR;
	if (++l->requests > LOGIN_REQUESTS_MAX)
		return LOGIN_INITIATOR_ERROR;
	l->transit = transit;
	if (!l->started) {
		l->started = true;
		l->stage = csg;
		l->tsih = be16_get(req->tsih);
		l->cid = be16_get(req->cid);
		memcpy(l->isid, req->isid, 6);
		return LOGIN_SUCCESS;
	}
	if (csg != l->stage || l->tsih != be16_get(req->tsih) || l->cid != be16_get(req->cid) ||
	    memcmp(l->isid, req->isid, 6) != 0)
		return LOGIN_INITIATOR_ERROR;
	return LOGIN_SUCCESS;
}

static bool may_leave_stage(const struct login *l)
{
	return l->stage == 1 || !l->need_auth || l->auth_state == AUTH_DONE;
}

enum login_result login_request(struct login *l, const struct bhs *req, const char *data,
				uint32_t len, struct bhs *rsp, struct text_out *answer)
{
	unsigned status = check_header(l, req);
	login_refuse(rsp, req, status);
	if (status)
		return LOGIN_REFUSE;
	if (len > LOGIN_TEXT_MAX - l->text_len) {
		login_refuse(rsp, req, LOGIN_INITIATOR_ERROR);
		return LOGIN_REFUSE;
	}
	if (len)
		memcpy(l->text + l->text_len, data, len);
	l->text_len += len;
	if (req->flags & PDU_CONTINUE)
		return LOGIN_MORE; /* an empty response asks for the rest */
	status = answer_request(l, answer);
	OPENSSL_cleanse(l->text, l->text_len);
	l->text_len = 0;
	if (status) {
		answer->len = 0;
		login_refuse(rsp, req, status);
		return LOGIN_REFUSE;
	}
	if (!l->transit || !may_leave_stage(l))
		return LOGIN_MORE;
	rsp->flags = req->flags;
	l->stage = req->flags & 3;
	if (l->stage != 3)
		return LOGIN_MORE;
	keys_settle(&l->keys);
	return LOGIN_FINAL;
}
