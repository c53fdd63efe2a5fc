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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>

static const struct {
	const char *name;
	size_t field;
} offer_table[] = {
    {"InitiatorName", offsetof(struct login_offer, initiator)},
    {"TargetName", offsetof(struct login_offer, target)},
    {"SessionType", offsetof(struct login_offer, session_type)},
    {"AuthMethod", offsetof(struct login_offer, auth_method)},
    {"CHAP_A", offsetof(struct login_offer, chap_a)},
    {"CHAP_N", offsetof(struct login_offer, chap_n)},
    {"CHAP_R", offsetof(struct login_offer, chap_r)},
    {"CHAP_I", offsetof(struct login_offer, chap_i)},
    {"CHAP_C", offsetof(struct login_offer, chap_c)},
};

struct login *login_new(const struct login_opts *o)
{
	struct login *l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->registry = o->registry;
	l->group = o->group;
	l->chap_allowed = o->chap_allowed;
	snprintf(l->address, sizeof(l->address), "%s", o->address ? o->address : "");
	keys_init(&l->keys);
	return l;
}

/* Secrets were in it. */
static void text_forget(struct login *l)
{
	if (l->text)
		OPENSSL_cleanse(l->text, l->text_len);
	free(l->text);
	l->text = NULL;
	l->text_len = 0;
}

void login_free(struct login *l)
{
	if (!l)
		return;
	if (l->target)
		scsi_target_put(l->target);
	text_forget(l);
	free(l->answer);
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

static unsigned need_auth(struct login *l)
{
	l->need_auth = l->auth.user[0] != 0;
	if (l->need_auth && l->stage != 0)
		return LOGIN_AUTH_FAILED; /* skipped the security stage */
	return LOGIN_SUCCESS;
}

/* The portal it came to is where the target has moved: a target may be moved among our own. */
static bool is_here(const struct login *l, const char *to)
{
	char with_port[sizeof(l->redirect) + 8];
	const char *end = strrchr(to, ']');
	bool port = strchr(end ? end : to, ':');
	snprintf(with_port, sizeof(with_port), "%s%s", to, port ? "" : ":3260");
	return strcmp(with_port, l->address) == 0;
}

/* Only who is admitted learns where the target went; a further connection stays with its session.
 */
static unsigned moved(struct login *l)
{
	bool permanent;
	const char *to = scsi_target_redirect(l->target, &permanent);
	if (!to || l->tsih || is_here(l, to))
		return LOGIN_SUCCESS;
	snprintf(l->redirect, sizeof(l->redirect), "%s", to);
	return permanent ? LOGIN_MOVED_FOR_GOOD : LOGIN_MOVED;
}

/* The first request's names: who is it, what does it want, may it. Returns a login_status. */
static unsigned take_names(struct login *l, const struct login_offer *o)
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
	if (l->discovery) {
		scsi_discovery_auth(l->registry, &l->auth);
		return need_auth(l);
	}
	if (!o->target)
		return LOGIN_MISSING_PARAMETER;
	l->target = scsi_target_get(l->registry, l->target_name);
	if (!l->target || !scsi_target_in_group(l->target, l->group))
		return LOGIN_NOT_FOUND;
	if (scsi_target_admit(l->target, l->initiator, &l->auth) < 0)
		return LOGIN_FORBIDDEN;
	unsigned status = moved(l);
	return status ? status : need_auth(l);
}

/* ---- keys ---- */

/* Keys looked at together. False: not one of these. */
static bool take_offer(struct login_offer *o, const char *key, const char *value, unsigned *status)
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
static unsigned scan_offer(struct login *l, struct login_offer *o, char *copy)
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

static unsigned answer_key(struct login *l, const char *key, const char *value,
			   struct text_out *answer)
{
	enum keys_phase phase = l->discovery ? KEYS_LOGIN_DISCOVERY
				: l->tsih    ? KEYS_LOGIN_FURTHER
					     : KEYS_LOGIN_NORMAL;
	if (l->stage == 0)
		phase = KEYS_SECURITY;
	if (text_is_answer(value))
		return LOGIN_INITIATOR_ERROR;
	int rc = keys_offer(&l->keys, phase, key, value, answer);
	if (rc == -ERR_PROTO)
		return LOGIN_INITIATOR_ERROR;
	if (rc == -ENOENT)
		text_put(answer, key, misplaced(key) ? "Reject" : "NotUnderstood");
	return LOGIN_SUCCESS;
}

/*
 * Second pass over pairs that the first has cut into NUL-ended halves. FirstBurstLength comes last:
 * its answer must not exceed MaxBurstLength (RFC 7143 13.14), which may stand behind it.
 */
static unsigned answer_keys(struct login *l, char *copy, struct text_out *answer)
{
	static const char last[] = "FirstBurstLength";
	struct login_offer ignored = {0};
	unsigned status = LOGIN_SUCCESS, ignored_status;
	const char *first_burst = NULL;
	char *at = copy, *end = copy + l->text_len;
	while (at < end && !status) {
		if (!*at) {
			at++;
			continue;
		}
		const char *key = at, *value = key + strlen(key) + 1;
		at = (char *)(uintptr_t)value + strlen(value) + 1;
		if (take_offer(&ignored, key, value, &ignored_status) || no_answer(key))
			continue;
		if (strcmp(key, last) == 0 && !first_burst)
			first_burst = value;
		else
			status = answer_key(l, key, value, answer);
	}
	return status || !first_burst ? status : answer_key(l, last, first_burst, answer);
}

static bool names_again(const struct login *l, const struct login_offer *o)
{
	return l->named && (o->initiator || o->target || o->session_type);
}

static unsigned answer_request(struct login *l, struct text_out *answer)
{
	struct login_offer o = {0};
	bool first = !l->named;
	unsigned status = scan_offer(l, &o, l->text);
	if (status)
		return status;
	if (names_again(l, &o))
		return LOGIN_INITIATOR_ERROR;
	if (first && (status = take_names(l, &o)))
		return status;
	if (first && l->target)
		text_put_u32(answer, "TargetPortalGroupTag", l->group);
	bool security = o.auth_method || o.chap_a || o.chap_n || o.chap_r || o.chap_i || o.chap_c;
	if (l->stage == 0)
		status = login_security(l, &o, answer);
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

/* The next piece of the answer; true: more is to come. */
static bool send_piece(struct login *l, struct bhs *rsp, struct text_out *piece)
{
	size_t n = MIN(l->answer_len - l->answer_at, piece->cap);
	if (n)
		memcpy(piece->buf, l->answer + l->answer_at, n);
	piece->len = n;
	l->answer_at += n;
	if (l->answer_at < l->answer_len) {
		rsp->flags |= PDU_CONTINUE;
		return true;
	}
	free(l->answer);
	l->answer = NULL;
	l->answer_at = l->answer_len = 0;
	return false;
}

/* The text is whole: its answer, of any length. */
static unsigned make_answer(struct login *l)
{
	struct text_out out;
	l->answer = malloc(LOGIN_ANSWER_MAX);
	if (!l->answer)
		return LOGIN_NO_RESOURCES;
	text_out_init(&out, l->answer, LOGIN_ANSWER_MAX);
	unsigned status = answer_request(l, &out);
	text_forget(l);
	l->answer_len = out.len;
	return status;
}

static unsigned collect(struct login *l, const char *data, uint32_t len)
{
	if (len > LOGIN_TEXT_MAX - l->text_len)
		return LOGIN_INITIATOR_ERROR;
	char *longer = malloc(l->text_len + len + 1);
	if (!longer)
		return LOGIN_NO_RESOURCES;
	size_t n = l->text_len;
	if (n)
		memcpy(longer, l->text, n);
	if (len)
		memcpy(longer + n, data, len);
	text_forget(l);
	l->text = longer;
	l->text_len = n + len;
	return LOGIN_SUCCESS;
}

static enum login_result refuse(struct login *l, struct bhs *rsp, const struct bhs *req,
				unsigned status, struct text_out *piece)
{
	login_refuse(rsp, req, status);
	if (status == LOGIN_MOVED || status == LOGIN_MOVED_FOR_GOOD)
		text_put(piece, "TargetAddress", l->redirect);
	return LOGIN_REFUSE;
}

enum login_result login_request(struct login *l, const struct bhs *req, const char *data,
				uint32_t len, struct bhs *rsp, struct text_out *piece)
{
	unsigned status = check_header(l, req);
	bool more = req->flags & PDU_CONTINUE;
	login_refuse(rsp, req, status);
	if (!status && l->answer) { /* RFC 7143 6.2: it has nothing to say until it has heard all */
		if (len > 0 || more)
			status = LOGIN_INITIATOR_ERROR;
	} else if (!status) {
		status = collect(l, data, len);
		if (!status && more)
			return LOGIN_MORE; /* an empty response asks for the rest */
		if (!status)
			status = make_answer(l);
	}
	if (status)
		return refuse(l, rsp, req, status, piece);
	if (send_piece(l, rsp, piece) || !l->transit || !may_leave_stage(l))
		return LOGIN_MORE;
	rsp->flags = req->flags;
	l->stage = req->flags & 3;
	if (l->stage != 3)
		return LOGIN_MORE;
	keys_settle(&l->keys);
	return LOGIN_FINAL;
}
