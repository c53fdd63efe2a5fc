/*
 * The login phase of one connection (RFC 7143 6.3): stages, names,
 * authentication, negotiation. Takes login requests, makes the responses; it
 * knows targets (server/scsi) but neither sockets nor sessions.
 */
#ifndef ISTHMUS_ISCSI_LOGIN_H
#define ISTHMUS_ISCSI_LOGIN_H

#include <stdbool.h>
#include <stdint.h>
#include "server/iscsi/chap.h"
#include "server/iscsi/login_keys.h"
#include "server/iscsi/pdu.h"
#include "server/scsi/scsi.h"

#define ISCSI_NAME_MAX	   223		   /* bytes (RFC 7143 4.2.7.1) */
#define LOGIN_TEXT_MAX	   (4 * 8192)	   /* of one request, over its C-bit pieces */
#define LOGIN_REPLY_MAX	   PDU_DSL_DEFAULT /* of one response */
#define LOGIN_ANSWER_MAX   (4 * 8192)	   /* to one request, over its C-bit pieces */
#define LOGIN_REQUESTS_MAX 64		   /* a login that takes more is none */

enum login_auth {
	AUTH_NONE_YET,
	AUTH_CHAP_CHOSEN,
	AUTH_CHALLENGED,
	AUTH_DONE,
};

struct login {
	struct scsi_registry *registry;
	uint16_t group;	       /* portal group it came to */
	unsigned chap_allowed; /* bit an algorithm's number */
	struct keys keys;
	bool started; /* flags, version and identity of the first request are taken */
	bool named;   /* its keys are checked: names, target, admission */
	bool discovery;
	bool declared;	/* we told our MaxRecvDataSegmentLength */
	bool transit;	/* this request wants the next stage */
	unsigned stage; /* 0 security, 1 operational */
	unsigned requests;
	uint8_t isid[6];
	uint16_t tsih, cid;
	char initiator[ISCSI_NAME_MAX + 1];
	char target_name[ISCSI_NAME_MAX + 1];
	struct scsi_target *target; /* a reference */
	enum login_auth auth_state;
	bool need_auth;
	struct scsi_auth auth;
	struct chap chap;
	struct bhs rsp; /* the last response and its text, while the session is made */
	size_t reply_len;
	char reply[LOGIN_REPLY_MAX];
	char *text; /* of the request that is being collected */
	size_t text_len;
	char *answer; /* what of it has not been sent; NULL: none */
	size_t answer_len, answer_at;
	char redirect[128]; /* where the target has moved */
	char address[96];   /* that the initiator came to */
};

/* Keys of one request that are looked at together, after all were read. */
struct login_offer {
	const char *initiator, *target, *session_type, *auth_method;
	const char *chap_a, *chap_n, *chap_r, *chap_i, *chap_c;
};
/* The security stage's part of a request. A login_status. */
unsigned login_security(struct login *l, const struct login_offer *o, struct text_out *answer);

enum login_result {
	LOGIN_MORE,   /* send the response, wait for the next request */
	LOGIN_FINAL,  /* make the session, then send the response */
	LOGIN_REFUSE, /* send the response, close */
};

struct login_opts {
	struct scsi_registry *registry;
	uint16_t group;	       /* of the portal it came to */
	const char *address;   /* of that portal, as in a TargetAddress */
	unsigned chap_allowed; /* CHAP_ALL, or bits of it */
};
/* Allocates. NULL: no memory. */
struct login *login_new(const struct login_opts *o);
/* Secrets are wiped. NULL is nothing. */
void login_free(struct login *l);
/*
 * One request with its data. Fills rsp (opcode, flags, version, ISID, TSIH, ITT, status; sequence
 * numbers are the connection's) and the text of the answer, or its next piece.
 */
enum login_result login_request(struct login *l, const struct bhs *req, const char *data,
				uint32_t len, struct bhs *rsp, struct text_out *piece);
/* Turns a response into a refusal with this status. */
void login_refuse(struct bhs *rsp, const struct bhs *req, unsigned status);

#endif
