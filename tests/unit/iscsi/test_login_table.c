/*
 * Every key of the login (RFC 7143 13) with every kind of value, as one table: what is offered,
 * where, what must be answered, and what is in force then.
 *
 *   offers and answers   "Key=value" pairs with '|' between them; "" is none
 *   place                a normal session's operational stage, a discovery session's, a further
 *                        connection's, the security stage
 *   status               how the login ends; 0: it goes on
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"
#include "server/iscsi/login.h"
#include "tests/unit/iscsi/target.h"

enum place { NORMAL, DISCOVERY, FURTHER, SECURITY };

struct row {
	enum place place;
	const char *offer, *answer;
	unsigned status;
	int key; /* -1: none */
	uint32_t value;
};

#define BAD LOGIN_INITIATOR_ERROR

/* What every key that is negotiated has in common. */
#define COMMON(name, good, answer, KEY, initial)                                                   \
	{NORMAL, name "=" good "|" name "=" good, "", BAD, -1, 0},                                 \
	    {NORMAL, name "=Reject", "", BAD, -1, 0},                                              \
	    {NORMAL, name "=Irrelevant", "", BAD, -1, 0},                                          \
	    {NORMAL, name "=NotUnderstood", "", BAD, -1, 0},                                       \
	    {NORMAL, name "=", name "=Reject", 0, KEY, initial},                                   \
	{                                                                                          \
		SECURITY, name "=" good, name "=Reject", 0, KEY, initial                           \
	}

/* Keys of a session: not for discovery, and only the leading connection's. */
#define OF_SESSION(name, good, KEY, initial)                                                       \
	{DISCOVERY, name "=" good, name "=Irrelevant", 0, KEY, initial},                           \
	{                                                                                          \
		FURTHER, name "=" good, name "=Reject", 0, KEY, initial                            \
	}

/* Values that are no number, whatever the range. */
#define NO_NUMBER(name, KEY, initial)                                                              \
	{NORMAL, name "=-1", name "=Reject", 0, KEY, initial},                                     \
	    {NORMAL, name "=Yes", name "=Reject", 0, KEY, initial},                                \
	    {NORMAL, name "=1.5", name "=Reject", 0, KEY, initial},                                \
	    {NORMAL, name "=1,2", name "=Reject", 0, KEY, initial},                                \
	    {NORMAL, name "=0x", name "=Reject", 0, KEY, initial},                                 \
	    {NORMAL, name "=0b1", name "=Reject", 0, KEY, initial},                                \
	    {NORMAL, name "= 2", name "=Reject", 0, KEY, initial},                                 \
	    {NORMAL, name "=4294967296", name "=Reject", 0, KEY, initial},                         \
	{                                                                                          \
		NORMAL, name "=0x10000000000000001", name "=Reject", 0, KEY, initial               \
	}

#define NO_BOOLEAN(name, KEY, initial)                                                             \
	{NORMAL, name "=yes", name "=Reject", 0, KEY, initial},                                    \
	    {NORMAL, name "=NO", name "=Reject", 0, KEY, initial},                                 \
	    {NORMAL, name "=1", name "=Reject", 0, KEY, initial},                                  \
	{                                                                                          \
		NORMAL, name "=Yes,No", name "=Reject", 0, KEY, initial                            \
	}

#define DIGEST(name, KEY)                                                                          \
	{NORMAL, name "=CRC32C", name "=CRC32C", 0, KEY, 1},                                       \
	    {NORMAL, name "=None", name "=None", 0, KEY, 0},                                       \
	    {NORMAL, name "=CRC32C,None", name "=CRC32C", 0, KEY, 1},                              \
	    {NORMAL, name "=None,CRC32C", name "=None", 0, KEY, 0},                                \
	    {NORMAL, name "=X-mine,CRC32C", name "=CRC32C", 0, KEY, 1},                            \
	    {NORMAL, name "=X-mine", name "=Reject", 0, KEY, 0},                                   \
	    {NORMAL, name "=crc32c", name "=Reject", 0, KEY, 0},                                   \
	    {NORMAL, name "=,,CRC32C", name "=CRC32C", 0, KEY, 1},                                 \
	    {DISCOVERY, name "=CRC32C", name "=CRC32C", 0, KEY, 1},                                \
	    {FURTHER, name "=CRC32C", name "=CRC32C", 0, KEY, 1},                                  \
	    COMMON(name, "None", "None", KEY, 0)

#define LONG255                                                                                    \
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"    \
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"    \
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define KEY63 "X-abcdefghijklmnopqrstuvwxyz.ABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456"

/* clang-format off */
static const struct row table[] = {
    DIGEST("HeaderDigest", KEY_HEADER_DIGEST),
    DIGEST("DataDigest", KEY_DATA_DIGEST),

    {NORMAL, "MaxConnections=1", "MaxConnections=1", 0, KEY_MAX_CONNECTIONS, 1},
    {NORMAL, "MaxConnections=2", "MaxConnections=2", 0, KEY_MAX_CONNECTIONS, 2},
    {NORMAL, "MaxConnections=65535", "MaxConnections=8", 0, KEY_MAX_CONNECTIONS, 8},
    {NORMAL, "MaxConnections=0", "MaxConnections=Reject", 0, KEY_MAX_CONNECTIONS, 1},
    {NORMAL, "MaxConnections=65536", "MaxConnections=Reject", 0, KEY_MAX_CONNECTIONS, 1},
    NO_NUMBER("MaxConnections", KEY_MAX_CONNECTIONS, 1),
    COMMON("MaxConnections", "4", "4", KEY_MAX_CONNECTIONS, 1),
    OF_SESSION("MaxConnections", "4", KEY_MAX_CONNECTIONS, 1),

    {NORMAL, "InitialR2T=Yes", "InitialR2T=Yes", 0, KEY_INITIAL_R2T, 1},
    {NORMAL, "InitialR2T=No", "InitialR2T=No", 0, KEY_INITIAL_R2T, 0},
    NO_BOOLEAN("InitialR2T", KEY_INITIAL_R2T, 1),
    COMMON("InitialR2T", "No", "No", KEY_INITIAL_R2T, 1),
    OF_SESSION("InitialR2T", "No", KEY_INITIAL_R2T, 1),

    {NORMAL, "ImmediateData=Yes", "ImmediateData=Yes", 0, KEY_IMMEDIATE_DATA, 1},
    {NORMAL, "ImmediateData=No", "ImmediateData=No", 0, KEY_IMMEDIATE_DATA, 0},
    NO_BOOLEAN("ImmediateData", KEY_IMMEDIATE_DATA, 1),
    COMMON("ImmediateData", "No", "No", KEY_IMMEDIATE_DATA, 1),
    OF_SESSION("ImmediateData", "No", KEY_IMMEDIATE_DATA, 1),

    {NORMAL, "InitialR2T=No|ImmediateData=No", "InitialR2T=No|ImmediateData=No", 0, KEY_INITIAL_R2T, 0},
    {NORMAL, "InitialR2T=Yes|ImmediateData=No", "InitialR2T=Yes|ImmediateData=No", 0, KEY_INITIAL_R2T, 1},

    /* Declared: answered only when refused. */
    {NORMAL, "MaxRecvDataSegmentLength=512", "", 0, KEY_MAX_RECV_DSL, 512},
    {NORMAL, "MaxRecvDataSegmentLength=0x40000", "", 0, KEY_MAX_RECV_DSL, 262144},
    {NORMAL, "MaxRecvDataSegmentLength=16777215", "", 0, KEY_MAX_RECV_DSL, 16777215},
    {NORMAL, "MaxRecvDataSegmentLength=511", "MaxRecvDataSegmentLength=Reject", 0, KEY_MAX_RECV_DSL, 8192},
    {NORMAL, "MaxRecvDataSegmentLength=0", "MaxRecvDataSegmentLength=Reject", 0, KEY_MAX_RECV_DSL, 8192},
    {NORMAL, "MaxRecvDataSegmentLength=16777216", "MaxRecvDataSegmentLength=Reject", 0, KEY_MAX_RECV_DSL, 8192},
    {DISCOVERY, "MaxRecvDataSegmentLength=4096", "", 0, KEY_MAX_RECV_DSL, 4096},
    {FURTHER, "MaxRecvDataSegmentLength=4096", "", 0, KEY_MAX_RECV_DSL, 4096},
    NO_NUMBER("MaxRecvDataSegmentLength", KEY_MAX_RECV_DSL, 8192),
    COMMON("MaxRecvDataSegmentLength", "4096", "", KEY_MAX_RECV_DSL, 8192),

    {NORMAL, "MaxBurstLength=512", "MaxBurstLength=512", 0, KEY_MAX_BURST, 512},
    {NORMAL, "MaxBurstLength=1048576", "MaxBurstLength=1048576", 0, KEY_MAX_BURST, 1048576},
    {NORMAL, "MaxBurstLength=16777215", "MaxBurstLength=1048576", 0, KEY_MAX_BURST, 1048576},
    {NORMAL, "MaxBurstLength=0X1000", "MaxBurstLength=4096", 0, KEY_MAX_BURST, 4096},
    {NORMAL, "MaxBurstLength=511", "MaxBurstLength=Reject", 0, KEY_MAX_BURST, 262144},
    {NORMAL, "MaxBurstLength=16777216", "MaxBurstLength=Reject", 0, KEY_MAX_BURST, 262144},
    NO_NUMBER("MaxBurstLength", KEY_MAX_BURST, 262144),
    COMMON("MaxBurstLength", "4096", "4096", KEY_MAX_BURST, 262144),
    OF_SESSION("MaxBurstLength", "4096", KEY_MAX_BURST, 262144),

    {NORMAL, "FirstBurstLength=512", "FirstBurstLength=512", 0, KEY_FIRST_BURST, 512},
    {NORMAL, "FirstBurstLength=262144", "FirstBurstLength=262144", 0, KEY_FIRST_BURST, 262144},
    {NORMAL, "FirstBurstLength=1048576", "FirstBurstLength=262144", 0, KEY_FIRST_BURST, 262144},
    {NORMAL, "FirstBurstLength=511", "FirstBurstLength=Reject", 0, KEY_FIRST_BURST, 65536},
    {NORMAL, "FirstBurstLength=16777216", "FirstBurstLength=Reject", 0, KEY_FIRST_BURST, 65536},
    {NORMAL, "MaxBurstLength=4096|FirstBurstLength=65536", "MaxBurstLength=4096|FirstBurstLength=4096", 0, KEY_FIRST_BURST, 4096},
    {NORMAL, "FirstBurstLength=65536|MaxBurstLength=4096", "MaxBurstLength=4096|FirstBurstLength=4096", 0, KEY_FIRST_BURST, 4096},
    {NORMAL, "MaxBurstLength=4096", "MaxBurstLength=4096", 0, KEY_FIRST_BURST, 4096},
    NO_NUMBER("FirstBurstLength", KEY_FIRST_BURST, 65536),
    COMMON("FirstBurstLength", "4096", "4096", KEY_FIRST_BURST, 65536),
    OF_SESSION("FirstBurstLength", "4096", KEY_FIRST_BURST, 65536),

    {NORMAL, "DefaultTime2Wait=0", "DefaultTime2Wait=0", 0, KEY_TIME2WAIT, 0},
    {NORMAL, "DefaultTime2Wait=3600", "DefaultTime2Wait=3600", 0, KEY_TIME2WAIT, 3600},
    {NORMAL, "DefaultTime2Wait=3601", "DefaultTime2Wait=Reject", 0, KEY_TIME2WAIT, 2},
    {DISCOVERY, "DefaultTime2Wait=5", "DefaultTime2Wait=5", 0, KEY_TIME2WAIT, 5},
    {FURTHER, "DefaultTime2Wait=5", "DefaultTime2Wait=Reject", 0, KEY_TIME2WAIT, 2},
    NO_NUMBER("DefaultTime2Wait", KEY_TIME2WAIT, 2),
    COMMON("DefaultTime2Wait", "4", "4", KEY_TIME2WAIT, 2),

    {NORMAL, "DefaultTime2Retain=0", "DefaultTime2Retain=0", 0, KEY_TIME2RETAIN, 0},
    {NORMAL, "DefaultTime2Retain=3600", "DefaultTime2Retain=0", 0, KEY_TIME2RETAIN, 0},
    {NORMAL, "DefaultTime2Retain=3601", "DefaultTime2Retain=Reject", 0, KEY_TIME2RETAIN, 20},
    {DISCOVERY, "DefaultTime2Retain=5", "DefaultTime2Retain=0", 0, KEY_TIME2RETAIN, 0},
    {FURTHER, "DefaultTime2Retain=5", "DefaultTime2Retain=Reject", 0, KEY_TIME2RETAIN, 20},
    NO_NUMBER("DefaultTime2Retain", KEY_TIME2RETAIN, 20),
    COMMON("DefaultTime2Retain", "4", "0", KEY_TIME2RETAIN, 20),

    {NORMAL, "MaxOutstandingR2T=1", "MaxOutstandingR2T=1", 0, KEY_MAX_R2T, 1},
    {NORMAL, "MaxOutstandingR2T=65535", "MaxOutstandingR2T=8", 0, KEY_MAX_R2T, 8},
    {NORMAL, "MaxOutstandingR2T=0", "MaxOutstandingR2T=Reject", 0, KEY_MAX_R2T, 1},
    {NORMAL, "MaxOutstandingR2T=65536", "MaxOutstandingR2T=Reject", 0, KEY_MAX_R2T, 1},
    NO_NUMBER("MaxOutstandingR2T", KEY_MAX_R2T, 1),
    COMMON("MaxOutstandingR2T", "4", "4", KEY_MAX_R2T, 1),
    OF_SESSION("MaxOutstandingR2T", "4", KEY_MAX_R2T, 1),

    {NORMAL, "DataPDUInOrder=Yes", "DataPDUInOrder=Yes", 0, KEY_PDU_IN_ORDER, 1},
    {NORMAL, "DataPDUInOrder=No", "DataPDUInOrder=Yes", 0, KEY_PDU_IN_ORDER, 1},
    NO_BOOLEAN("DataPDUInOrder", KEY_PDU_IN_ORDER, 1),
    COMMON("DataPDUInOrder", "No", "Yes", KEY_PDU_IN_ORDER, 1),
    OF_SESSION("DataPDUInOrder", "No", KEY_PDU_IN_ORDER, 1),

    {NORMAL, "DataSequenceInOrder=Yes", "DataSequenceInOrder=Yes", 0, KEY_SEQUENCE_IN_ORDER, 1},
    {NORMAL, "DataSequenceInOrder=No", "DataSequenceInOrder=Yes", 0, KEY_SEQUENCE_IN_ORDER, 1},
    NO_BOOLEAN("DataSequenceInOrder", KEY_SEQUENCE_IN_ORDER, 1),
    COMMON("DataSequenceInOrder", "No", "Yes", KEY_SEQUENCE_IN_ORDER, 1),
    OF_SESSION("DataSequenceInOrder", "No", KEY_SEQUENCE_IN_ORDER, 1),

    {NORMAL, "ErrorRecoveryLevel=0", "ErrorRecoveryLevel=0", 0, KEY_ERROR_RECOVERY, 0},
    {NORMAL, "ErrorRecoveryLevel=1", "ErrorRecoveryLevel=0", 0, KEY_ERROR_RECOVERY, 0},
    {NORMAL, "ErrorRecoveryLevel=2", "ErrorRecoveryLevel=0", 0, KEY_ERROR_RECOVERY, 0},
    {NORMAL, "ErrorRecoveryLevel=3", "ErrorRecoveryLevel=Reject", 0, KEY_ERROR_RECOVERY, 0},
    {DISCOVERY, "ErrorRecoveryLevel=2", "ErrorRecoveryLevel=0", 0, KEY_ERROR_RECOVERY, 0},
    {FURTHER, "ErrorRecoveryLevel=0", "ErrorRecoveryLevel=Reject", 0, KEY_ERROR_RECOVERY, 0},
    NO_NUMBER("ErrorRecoveryLevel", KEY_ERROR_RECOVERY, 0),
    COMMON("ErrorRecoveryLevel", "0", "0", KEY_ERROR_RECOVERY, 0),

    {NORMAL, "TaskReporting=RFC3720", "TaskReporting=RFC3720", 0, KEY_TASK_REPORTING, 0},
    {NORMAL, "TaskReporting=FastAbort,ResponseFence,RFC3720", "TaskReporting=RFC3720", 0, KEY_TASK_REPORTING, 0},
    {NORMAL, "TaskReporting=ResponseFence", "TaskReporting=Reject", 0, KEY_TASK_REPORTING, 0},
    {NORMAL, "TaskReporting=rfc3720", "TaskReporting=Reject", 0, KEY_TASK_REPORTING, 0},
    COMMON("TaskReporting", "RFC3720", "RFC3720", KEY_TASK_REPORTING, 0),
    OF_SESSION("TaskReporting", "RFC3720", KEY_TASK_REPORTING, 0),

    /* RFC 7144: registered are 0 to 2 and 31; what is higher is negotiated down */
    {NORMAL, "iSCSIProtocolLevel=1", "iSCSIProtocolLevel=1", 0, KEY_PROTOCOL_LEVEL, 1},
    {NORMAL, "iSCSIProtocolLevel=0", "iSCSIProtocolLevel=0", 0, KEY_PROTOCOL_LEVEL, 0},
    {NORMAL, "iSCSIProtocolLevel=2", "iSCSIProtocolLevel=1", 0, KEY_PROTOCOL_LEVEL, 1},
    {NORMAL, "iSCSIProtocolLevel=31", "iSCSIProtocolLevel=1", 0, KEY_PROTOCOL_LEVEL, 1},
    {NORMAL, "iSCSIProtocolLevel=32", "iSCSIProtocolLevel=Reject", 0, KEY_PROTOCOL_LEVEL, 1},
    NO_NUMBER("iSCSIProtocolLevel", KEY_PROTOCOL_LEVEL, 1),
    COMMON("iSCSIProtocolLevel", "1", "1", KEY_PROTOCOL_LEVEL, 1),
    OF_SESSION("iSCSIProtocolLevel", "1", KEY_PROTOCOL_LEVEL, 1),

    /* Obsolete: refused, but known (13.25) */
    {NORMAL, "IFMarker=No", "IFMarker=No", 0, -1, 0},
    {NORMAL, "IFMarker=Yes", "IFMarker=No", 0, -1, 0},
    {NORMAL, "OFMarker=No", "OFMarker=No", 0, -1, 0},
    {NORMAL, "OFMarker=Yes", "OFMarker=No", 0, -1, 0},
    {NORMAL, "OFMarker=No|IFMarker=No", "OFMarker=No|IFMarker=No", 0, -1, 0},
    {NORMAL, "IFMarkInt=2048", "IFMarkInt=Reject", 0, -1, 0},
    {NORMAL, "OFMarkInt=2048~8192", "OFMarkInt=Reject", 0, -1, 0},
    {NORMAL, "IFMarker=No|IFMarker=No", "", BAD, -1, 0},
    {NORMAL, "OFMarkInt=1|OFMarkInt=1", "", BAD, -1, 0},
    {DISCOVERY, "IFMarker=No", "IFMarker=No", 0, -1, 0},

    /* Keys of other places and of the other side */
    {NORMAL, "SendTargets=All", "SendTargets=Reject", 0, -1, 0},
    {NORMAL, "TargetAlias=mine", "TargetAlias=Reject", 0, -1, 0},
    {NORMAL, "TargetAddress=10.0.0.1:3260,1", "TargetAddress=Reject", 0, -1, 0},
    {NORMAL, "TargetPortalGroupTag=1", "TargetPortalGroupTag=Reject", 0, -1, 0},
    {NORMAL, "InitiatorAlias=host", "", 0, -1, 0},
    {NORMAL, "InitiatorAlias=", "", 0, -1, 0},
    {NORMAL, "InitiatorAlias=" LONG255, "", 0, -1, 0},
    {NORMAL, "InitiatorName=iqn.x:y", "", BAD, -1, 0},
    {NORMAL, "TargetName=" TARGET_OPEN, "", BAD, -1, 0},
    {NORMAL, "SessionType=Normal", "", BAD, -1, 0},
    {NORMAL, "AuthMethod=None", "", BAD, -1, 0},
    {NORMAL, "AuthMethod=CHAP", "", BAD, -1, 0},
    {NORMAL, "CHAP_A=5", "", BAD, -1, 0},
    {NORMAL, "CHAP_N=user", "", BAD, -1, 0},
    {NORMAL, "CHAP_R=0x00", "", BAD, -1, 0},
    {NORMAL, "CHAP_I=1", "", BAD, -1, 0},
    {NORMAL, "CHAP_C=0x00", "", BAD, -1, 0},

    /* Unknown keys, vendors' keys, malformed keys */
    {NORMAL, "Unheard=of", "Unheard=NotUnderstood", 0, -1, 0},
    {NORMAL, "Unheard=", "Unheard=NotUnderstood", 0, -1, 0},
    {NORMAL, "Unheard=of|Unheard=of", "Unheard=NotUnderstood|Unheard=NotUnderstood", 0, -1, 0},
    {NORMAL, "X-com.example.speed=9", "X-com.example.speed=NotUnderstood", 0, -1, 0},
    {NORMAL, "X#public=9", "X#public=NotUnderstood", 0, -1, 0},
    {NORMAL, "headerdigest=None", "headerdigest=NotUnderstood", 0, -1, 0},
    {NORMAL, "Unheard=a=b", "Unheard=NotUnderstood", 0, -1, 0},
    {NORMAL, "X-none=NotUnderstood", "", BAD, -1, 0},
    {NORMAL, KEY63 "=1", KEY63 "=NotUnderstood", 0, -1, 0},
    {NORMAL, KEY63 "x=1", "", BAD, -1, 0},
    {NORMAL, "No value", "", BAD, -1, 0},
    {NORMAL, "=None", "", BAD, -1, 0},
    {NORMAL, "Header Digest=None", "", BAD, -1, 0},
    {NORMAL, "Header\001=None", "", BAD, -1, 0},
    {NORMAL, "Head\303\244r=None", "", BAD, -1, 0},
    {DISCOVERY, "Unheard=of", "Unheard=NotUnderstood", 0, -1, 0},
    {FURTHER, "Unheard=of", "Unheard=NotUnderstood", 0, -1, 0},
    {SECURITY, "Unheard=of", "Unheard=NotUnderstood", 0, -1, 0},
    {NORMAL, "||HeaderDigest=None||", "HeaderDigest=None", 0, KEY_HEADER_DIGEST, 0},

    /* Several at once, as initiators in use send them */
    {NORMAL, "HeaderDigest=None|DataDigest=None|DefaultTime2Wait=2|DefaultTime2Retain=0|IFMarker=No|OFMarker=No|ErrorRecoveryLevel=0|InitialR2T=No|ImmediateData=Yes|MaxBurstLength=16776192|FirstBurstLength=262144|MaxOutstandingR2T=1|MaxConnections=1|DataPDUInOrder=Yes|DataSequenceInOrder=Yes|MaxRecvDataSegmentLength=262144",
     "HeaderDigest=None|DataDigest=None|DefaultTime2Wait=2|DefaultTime2Retain=0|IFMarker=No|OFMarker=No|ErrorRecoveryLevel=0|InitialR2T=No|ImmediateData=Yes|MaxBurstLength=1048576|MaxOutstandingR2T=1|MaxConnections=1|DataPDUInOrder=Yes|DataSequenceInOrder=Yes|FirstBurstLength=262144",
     0, KEY_MAX_RECV_DSL, 262144},
};
/* clang-format on */

static struct target target;

static void setup(void)
{
	target_make(&target, 1 << 20);
}

static void teardown(void)
{
	target_free(&target);
}

struct exchange {
	struct login *l;
	struct bhs rsp;
	char answer[LOGIN_REPLY_MAX + 1];
	size_t len;
};

/* '|' becomes NUL. */
static enum login_result ask(struct exchange *x, unsigned flags, uint16_t tsih, const char *pairs)
{
	char text[4096];
	struct text_out out;
	struct bhs req = {.opcode = OP_LOGIN_REQ | PDU_IMMEDIATE, .flags = (uint8_t)flags};
	size_t n = strlen(pairs) + 1;
	memcpy(text, pairs, n);
	for (size_t i = 0; i < n; i++)
		if (text[i] == '|')
			text[i] = 0;
	be16_put(req.tsih, tsih);
	text_out_init(&out, x->answer, LOGIN_REPLY_MAX);
	enum login_result r = login_request(x->l, &req, text, (uint32_t)n, &x->rsp, &out);
	x->len = out.len;
	return r;
}

/* The answers, with '|' between them, without what we declare of ourselves. */
static const char *answers(const struct exchange *x)
{
	static char all[LOGIN_REPLY_MAX + 1];
	size_t n = 0;
	for (size_t at = 0; at < x->len; at += strlen(x->answer + at) + 1) {
		const char *pair = x->answer + at;
		if (strcmp(pair, "MaxRecvDataSegmentLength=262144") == 0)
			continue;
		memcpy(all + n, pair, strlen(pair));
		n += strlen(pair);
		all[n++] = '|';
	}
	all[n ? n - 1 : 0] = 0;
	return all;
}

static const char *const names[] = {
    [NORMAL] = "InitiatorName=" HOST "|TargetName=" TARGET_OPEN,
    [DISCOVERY] = "InitiatorName=" HOST "|SessionType=Discovery",
    [FURTHER] = "InitiatorName=" HOST "|TargetName=" TARGET_OPEN,
    [SECURITY] = "InitiatorName=" HOST "|TargetName=" TARGET_OPEN "|AuthMethod=None",
};

START_TEST(a_row)
{
	const struct row *row = &table[_i];
	uint16_t tsih = row->place == FURTHER ? 7 : 0;
	unsigned stay = row->place == SECURITY ? 0 : 1 << LOGIN_CSG_SHIFT;
	struct exchange x = {.l = login_new(&(struct login_opts){.registry = target.registry,
								 .group = 1,
								 .chap_allowed = CHAP_ALL})};
	ck_assert_int_eq(ask(&x, stay, tsih, names[row->place]), LOGIN_MORE);
	enum login_result r = ask(&x, stay, tsih, row->offer);
	unsigned status = (unsigned)x.rsp.status_class << 8 | x.rsp.status_detail;
	ck_assert_msg(status == row->status, "%s: status %04x, not %04x", row->offer, status,
		      row->status);
	ck_assert_int_eq(r, row->status ? LOGIN_REFUSE : LOGIN_MORE);
	ck_assert_msg(strcmp(answers(&x), row->answer) == 0, "%s: answered '%s', not '%s'",
		      row->offer, answers(&x), row->answer);
	if (!row->status) {
		unsigned go = 0x80 | (row->place == SECURITY ? 3 : 7);
		ck_assert_int_eq(ask(&x, go, tsih, ""), LOGIN_FINAL);
		if (row->key >= 0)
			ck_assert_msg(x.l->keys.v[row->key] == row->value, "%s: %u, not %u",
				      row->offer, x.l->keys.v[row->key], row->value);
	}
	login_free(x.l);
}
END_TEST

/* A key may be offered again where it belongs after it was refused in the security stage. */
START_TEST(refused_in_security_then_taken)
{
	struct exchange x = {.l = login_new(&(struct login_opts){.registry = target.registry,
								 .group = 1,
								 .chap_allowed = CHAP_ALL})};
	ck_assert_int_eq(ask(&x, 0x81, 0,
			     "InitiatorName=" HOST "|TargetName=" TARGET_OPEN "|AuthMethod=None|"
			     "HeaderDigest=CRC32C"),
			 LOGIN_MORE);
	ck_assert_int_eq(ask(&x, 0x87, 0, "HeaderDigest=CRC32C"), LOGIN_FINAL);
	ck_assert_uint_eq(x.l->keys.v[KEY_HEADER_DIGEST], 1);
	login_free(x.l);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iscsi login table");
	TCase *tc = tcase_create("rows");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, a_row, 0, (int)ARRAY_LEN(table));
	tcase_add_test(tc, refused_in_security_then_taken);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
