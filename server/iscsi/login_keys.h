/*
 * The operational keys of RFC 7143 13: one table row a key says its kind, who
 * may offer it when, its default, its legal range, what we offer, and so how
 * the result comes about. Names and authentication are login.c's.
 */
#ifndef ISTHMUS_ISCSI_LOGIN_KEYS_H
#define ISTHMUS_ISCSI_LOGIN_KEYS_H

#include <stdbool.h>
#include <stdint.h>
#include "server/iscsi/text.h"

enum key_id {
	KEY_HEADER_DIGEST, /* 0 None, 1 CRC32C */
	KEY_DATA_DIGEST,
	KEY_MAX_CONNECTIONS,
	KEY_INITIAL_R2T,
	KEY_IMMEDIATE_DATA,
	KEY_MAX_RECV_DSL, /* the initiator's: what we may send */
	KEY_MAX_BURST,
	KEY_FIRST_BURST,
	KEY_TIME2WAIT,
	KEY_TIME2RETAIN,
	KEY_MAX_R2T,
	KEY_PDU_IN_ORDER,
	KEY_SEQUENCE_IN_ORDER,
	KEY_ERROR_RECOVERY,
	KEY_TASK_REPORTING, /* 0 RFC3720 */
	KEY_PROTOCOL_LEVEL,
	KEY_COUNT
};

/* What we declare and offer. */
#define ISCSI_MAX_RECV_DSL    (256 * 1024)
#define ISCSI_MAX_BURST	      (1024 * 1024)
#define ISCSI_FIRST_BURST     (256 * 1024)
#define ISCSI_MAX_R2T	      8
#define ISCSI_MAX_CONNECTIONS 8 /* of a session */
#define ISCSI_PROTOCOL_LEVEL  1

struct keys {
	uint32_t v[KEY_COUNT];
	uint32_t seen; /* bit a key: offered in this login */
	uint32_t seen_obsolete;
};

/* Defaults of RFC 7143 13. */
void keys_init(struct keys *k);

enum keys_phase {
	KEYS_SECURITY, /* none of them belongs there (RFC 7143 6.3.2) */
	KEYS_LOGIN_NORMAL,
	KEYS_LOGIN_DISCOVERY,
	KEYS_LOGIN_FURTHER, /* a connection of a session that has one */
	KEYS_FULL_FEATURE,
};
/*
 * Takes one offered pair and puts the answer. 0; -ENOENT: not a key of this table (nothing put);
 * -ERR_PROTO: offered twice in one login, which ends it (RFC 7143 6.3).
 */
int keys_offer(struct keys *k, enum keys_phase phase, const char *key, const char *value,
	       struct text_out *answer);
/* A further connection: what belongs to the session is the session's. */
void keys_join(struct keys *k, const struct keys *session);
/* FirstBurstLength never exceeds MaxBurstLength (RFC 7143 13.14). */
void keys_settle(struct keys *k);

#endif
