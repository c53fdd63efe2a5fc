/* Negotiation of operational keys (server/iscsi/login_keys.h). */
#include "server/iscsi/login_keys.h"
#include "server/iscsi/pdu.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <string.h>

enum key_kind {
	KIND_LIST,    /* the first member of the offer that we know */
	KIND_AND,     /* Yes when both say Yes */
	KIND_OR,      /* Yes when one says Yes */
	KIND_MIN,     /* the smaller of both numbers */
	KIND_MAX,     /* the larger */
	KIND_DECLARE, /* each tells its own: no answer */
};

enum key_flags {
	NORMAL_ONLY = 1,  /* irrelevant in a discovery session */
	FULL_FEATURE = 2, /* may also be declared after login */
	LEADING_ONLY = 4, /* the session's: only its first connection may offer it */
};

#define SESSION (NORMAL_ONLY | LEADING_ONLY)

struct key {
	const char *name;
	enum key_kind kind;
	unsigned flags;
	uint32_t initial; /* the default when nobody offers */
	uint32_t min, max;
	uint32_t ours;
};

static const struct key key_table[KEY_COUNT] = {
    [KEY_HEADER_DIGEST] = {"HeaderDigest", KIND_LIST, 0, 0, 0, 0, 0},
    [KEY_DATA_DIGEST] = {"DataDigest", KIND_LIST, 0, 0, 0, 0, 0},
    [KEY_MAX_CONNECTIONS] = {"MaxConnections", KIND_MIN, SESSION, 1, 1, 65535,
			     ISCSI_MAX_CONNECTIONS},
    [KEY_INITIAL_R2T] = {"InitialR2T", KIND_OR, SESSION, 1, 0, 1, 0},
    [KEY_IMMEDIATE_DATA] = {"ImmediateData", KIND_AND, SESSION, 1, 0, 1, 1},
    [KEY_MAX_RECV_DSL] = {"MaxRecvDataSegmentLength", KIND_DECLARE, FULL_FEATURE, PDU_DSL_DEFAULT,
			  512, PDU_DSL_LIMIT, 0},
    [KEY_MAX_BURST] = {"MaxBurstLength", KIND_MIN, SESSION, 262144, 512, PDU_DSL_LIMIT,
		       ISCSI_MAX_BURST},
    [KEY_FIRST_BURST] = {"FirstBurstLength", KIND_MIN, SESSION, 65536, 512, PDU_DSL_LIMIT,
			 ISCSI_FIRST_BURST},
    [KEY_TIME2WAIT] = {"DefaultTime2Wait", KIND_MAX, LEADING_ONLY, 2, 0, 3600, 0},
    [KEY_TIME2RETAIN] = {"DefaultTime2Retain", KIND_MIN, LEADING_ONLY, 20, 0, 3600, 0},
    [KEY_MAX_R2T] = {"MaxOutstandingR2T", KIND_MIN, SESSION, 1, 1, 65535, ISCSI_MAX_R2T},
    [KEY_PDU_IN_ORDER] = {"DataPDUInOrder", KIND_OR, SESSION, 1, 0, 1, 1},
    [KEY_SEQUENCE_IN_ORDER] = {"DataSequenceInOrder", KIND_OR, SESSION, 1, 0, 1, 1},
    [KEY_ERROR_RECOVERY] = {"ErrorRecoveryLevel", KIND_MIN, LEADING_ONLY, 0, 0, 2, 0},
    [KEY_TASK_REPORTING] = {"TaskReporting", KIND_LIST, SESSION, 0, 0, 0, 0},
    [KEY_PROTOCOL_LEVEL] = {"iSCSIProtocolLevel", KIND_MIN, SESSION, 1, 0, 31,
			    ISCSI_PROTOCOL_LEVEL},
};
_Static_assert(KEY_COUNT <= 32, "keys.seen has a bit for each");

/*
 * RFC 7143 13.25: markers are gone; the keys are refused, but not as unknown. "No" to the
 * boolean ones is the permitted answer that older initiators take best.
 */
static const struct {
	const char *name, *answer;
} obsolete_table[] = {
    {"IFMarker", "No"},
    {"OFMarker", "No"},
    {"IFMarkInt", "Reject"},
    {"OFMarkInt", "Reject"},
};

void keys_init(struct keys *k)
{
	*k = (struct keys){.seen = 0};
	for (unsigned i = 0; i < KEY_COUNT; i++)
		k->v[i] = key_table[i].initial;
}

struct list_choice {
	enum key_id id;
	uint32_t value;
	const char *name;
};

static bool list_member(void *arg, const char *member)
{
	static const struct {
		const char *name;
		uint32_t value;
	} digests[] = {{"None", 0}, {"CRC32C", 1}}, reporting[] = {{"RFC3720", 0}};
	struct list_choice *c = arg;
	bool report = c->id == KEY_TASK_REPORTING;
	size_t n = report ? ARRAY_LEN(reporting) : ARRAY_LEN(digests);
	for (size_t i = 0; i < n; i++) {
		const char *name = report ? reporting[i].name : digests[i].name;
		if (strcmp(member, name) == 0) {
			c->value = report ? reporting[i].value : digests[i].value;
			c->name = name;
			return true;
		}
	}
	return false;
}

/* Each returns what to answer: NULL for "Reject", the value then stays as it was. */
static const char *offer_list(struct keys *k, enum key_id id, const char *value)
{
	struct list_choice c = {.id = id};
	if (!text_list(value, list_member, &c))
		return NULL;
	k->v[id] = c.value;
	return c.name;
}

static const char *offer_bool(struct keys *k, enum key_id id, const char *value)
{
	bool theirs, ours = key_table[id].ours;
	if (text_bool(value, &theirs) < 0)
		return NULL;
	k->v[id] = key_table[id].kind == KIND_AND ? theirs && ours : theirs || ours;
	return k->v[id] ? "Yes" : "No";
}

static bool offer_number(struct keys *k, enum key_id id, const char *value)
{
	const struct key *row = &key_table[id];
	uint32_t theirs;
	if (text_number(value, &theirs) < 0 || theirs < row->min || theirs > row->max)
		return false;
	if (row->kind == KIND_MIN)
		theirs = MIN(theirs, row->ours);
	if (id == KEY_FIRST_BURST)
		theirs = MIN(theirs, k->v[KEY_MAX_BURST]);
	if (row->kind == KIND_MAX)
		theirs = MAX(theirs, row->ours);
	k->v[id] = theirs;
	return true;
}

static void offer_known(struct keys *k, enum key_id id, const char *value, struct text_out *answer)
{
	const struct key *row = &key_table[id];
	const char *text = NULL;
	switch (row->kind) {
	case KIND_LIST:
		text = offer_list(k, id, value);
		break;
	case KIND_AND:
	case KIND_OR:
		text = offer_bool(k, id, value);
		break;
	case KIND_DECLARE:
		if (offer_number(k, id, value))
			return; /* declared: not answered */
		break;
	case KIND_MIN:
	case KIND_MAX:
		if (offer_number(k, id, value)) {
			text_put_u32(answer, row->name, k->v[id]);
			return;
		}
		break;
	}
	text_put(answer, row->name, text ? text : "Reject");
}

static int offer_obsolete(struct keys *k, const char *key, struct text_out *answer)
{
	for (unsigned i = 0; i < ARRAY_LEN(obsolete_table); i++) {
		if (strcmp(key, obsolete_table[i].name) != 0)
			continue;
		if (k->seen_obsolete & 1u << i)
			return -ERR_PROTO;
		k->seen_obsolete |= 1u << i;
		text_put(answer, key, obsolete_table[i].answer);
		return 0;
	}
	return -ENOENT;
}

int keys_offer(struct keys *k, enum keys_phase phase, const char *key, const char *value,
	       struct text_out *answer)
{
	unsigned id = 0;
	while (id < KEY_COUNT && strcmp(key, key_table[id].name) != 0)
		id++;
	if (id == KEY_COUNT)
		return offer_obsolete(k, key, answer);
	const struct key *row = &key_table[id];
	if (phase == KEYS_FULL_FEATURE) {
		if (row->flags & FULL_FEATURE)
			offer_known(k, id, value, answer);
		else
			text_put(answer, key, "Reject"); /* leading-only and login-only keys */
		return 0;
	}
	if (phase == KEYS_SECURITY) { /* it may be offered again in its stage */
		text_put(answer, key, "Reject");
		return 0;
	}
	if (k->seen & 1u << id)
		return -ERR_PROTO;
	k->seen |= 1u << id;
	if (phase == KEYS_LOGIN_FURTHER && row->flags & LEADING_ONLY)
		text_put(answer, key, "Reject");
	else if (phase == KEYS_LOGIN_DISCOVERY && row->flags & NORMAL_ONLY)
		text_put(answer, key, "Irrelevant");
	else
		offer_known(k, id, value, answer);
	return 0;
}

void keys_join(struct keys *k, const struct keys *session)
{
	for (unsigned i = 0; i < KEY_COUNT; i++)
		if (key_table[i].flags & LEADING_ONLY)
			k->v[i] = session->v[i];
}

void keys_settle(struct keys *k)
{
	k->v[KEY_FIRST_BURST] = MIN(k->v[KEY_FIRST_BURST], k->v[KEY_MAX_BURST]);
}
