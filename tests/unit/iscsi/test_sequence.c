/*
 * PDUs that break a sequence, or a rule of their kind: one table of what is sent, in which state of
 * the connection, and what must come of it. After everything that does not end the connection it
 * must serve as before.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/iscsi/peer.h"

enum before {
	IDLE,	     /* logged in; InitialR2T=Yes, ImmediateData=No */
	ASKED,	     /* a write of 8192 bytes, for all of which there is an R2T */
	ASKED_TWICE, /* MaxBurstLength=4096: two R2Ts for it, TTT 0 and 1 */
	UNASKED,   /* InitialR2T=No, FirstBurstLength=4096: a write of 8192 that goes on unasked */
	IMMEDIATE, /* ImmediateData=Yes, FirstBurstLength=1024 */
	DISCOVERY,
};

enum tag { NEW, RUNNING, UNKNOWN, NONE };

enum after {
	IGNORED,  /* nothing comes */
	REJECTED, /* with this reason; the connection lives */
	ENDED,	  /* rejected with this reason, then closed */
	FAILED,	  /* the command fails with this sense (key, ASC, ASCQ) */
	ANSWERED, /* with a PDU of this opcode */
};

struct row {
	const char *what;
	enum before before;
	unsigned opcode, flags;
	enum tag itt;
	uint32_t ttt; /* and the words of other PDUs that stand there */
	int cmdsn;    /* from the next one */
	uint32_t datasn, offset, edtl, len;
	enum after after;
	unsigned value;
};

#define NO    PDU_NO_TAG
#define F     PDU_FINAL
#define DATA  OP_DATA_OUT
#define CMD   OP_SCSI_CMD
#define IMM   PDU_IMMEDIATE
#define WRITE (F | CMD_WRITE)
#define READ  (F | CMD_READ)

static const struct row table[] = {
    /* CmdSN */
    {"a number again", IDLE, CMD, F, NEW, 0, -1, 0, 0, 0, 0, IGNORED, 0},
    {"a number long gone", IDLE, CMD, F, NEW, 0, -1000, 0, 0, 0, 0, IGNORED, 0},
    {"a number left out", IDLE, CMD, F, NEW, 0, 1, 0, 0, 0, 0, ENDED, REJECT_PROTOCOL},
    {"the last of the window", IDLE, CMD, F, NEW, 0, 127, 0, 0, 0, 0, ENDED, REJECT_PROTOCOL},
    {"beyond the window", IDLE, CMD, F, NEW, 0, 128, 0, 0, 0, 0, IGNORED, 0},
    {"far beyond the window", IDLE, CMD, F, NEW, 0, 0x7fffffff, 0, 0, 0, 0, IGNORED, 0},
    {"a ping left a number out", IDLE, OP_NOP_OUT, F, NEW, NO, 1, 0, 0, 0, 0, ENDED,
     REJECT_PROTOCOL},
    {"a ping again", IDLE, OP_NOP_OUT, F, NEW, NO, -1, 0, 0, 0, 0, IGNORED, 0},
    {"text beyond the window", IDLE, OP_TEXT_REQ, F, NEW, NO, 128, 0, 0, 0, 0, IGNORED, 0},
    {"an old logout", IDLE, OP_LOGOUT_REQ, F, NEW, 0, -1, 0, 0, 0, 0, IGNORED, 0},
    {"a reset beyond the window", IDLE, OP_TMF_REQ, F | TMF_LU_RESET, NEW, NO, 500, 0, 0, 0, 0,
     IGNORED, 0},
    {"an immediate command with any number", IDLE, CMD | IMM, F, NEW, 0, 77, 0, 0, 0, 0, ANSWERED,
     OP_SCSI_RSP},

    /* task tags */
    {"a command without a tag", IDLE, CMD, F, NONE, 0, 0, 0, 0, 0, 0, ENDED, REJECT_PROTOCOL},
    {"a tag that is in use", ASKED, CMD, F, RUNNING, 0, 0, 0, 0, 0, 0, REJECTED,
     REJECT_TASK_IN_PROGRESS},
    {"an immediate command's tag in use", ASKED, CMD | IMM, F, RUNNING, 0, 0, 0, 0, 0, 0, REJECTED,
     REJECT_TASK_IN_PROGRESS},
    {"task management without a tag", IDLE, OP_TMF_REQ | IMM, F | TMF_LU_RESET, NONE, NO, 0, 0, 0,
     0, 0, ENDED, REJECT_PROTOCOL},
    {"text without a tag", IDLE, OP_TEXT_REQ | IMM, F, NONE, NO, 0, 0, 0, 0, 0, ENDED,
     REJECT_PROTOCOL},
    {"data for an unknown tag", ASKED, DATA, F, UNKNOWN, 0, 0, 0, 0, 0, 512, IGNORED, 0},
    {"data for no tag", ASKED, DATA, F, NONE, 0, 0, 0, 0, 0, 512, IGNORED, 0},

    /* target transfer tags and R2Ts */
    {"a transfer tag not given", ASKED, DATA, F, RUNNING, 5, 0, 0, 0, 0, 8192, ENDED,
     REJECT_PROTOCOL},
    {"data unasked where none is due", ASKED, DATA, F, RUNNING, NO, 0, 0, 0, 0, 8192, ENDED,
     REJECT_PROTOCOL},
    {"the second R2T first", ASKED_TWICE, DATA, F, RUNNING, 1, 0, 0, 4096, 0, 4096, ENDED,
     REJECT_PROTOCOL},
    {"more than the R2T asked for", ASKED_TWICE, DATA, F, RUNNING, 0, 0, 0, 0, 0, 4097, ENDED,
     REJECT_PROTOCOL},
    {"a transfer tag for data unasked", UNASKED, DATA, F, RUNNING, 0, 0, 0, 0, 0, 4096, ENDED,
     REJECT_PROTOCOL},
    {"more unasked than FirstBurstLength", UNASKED, DATA, F, RUNNING, NO, 0, 0, 0, 0, 4100, ENDED,
     REJECT_PROTOCOL},

    /* DataSN and offsets: as if data was lost (7.9) */
    {"a DataSN left out", ASKED, DATA, F, RUNNING, 0, 0, 1, 0, 0, 8192, FAILED, 0x0b4705},
    {"a DataSN below zero", ASKED, DATA, F, RUNNING, 0, 0, NO, 0, 0, 8192, FAILED, 0x0b4705},
    {"an offset too high", ASKED, DATA, F, RUNNING, 0, 0, 0, 512, 0, 7680, FAILED, 0x0b4705},
    {"an offset beyond the command", ASKED, DATA, F, RUNNING, 0, 0, 0, 0xfffffe00, 0, 512, FAILED,
     0x0b4705},
    {"a DataSN that does not begin anew", UNASKED, DATA, F, RUNNING, NO, 0, 9, 0, 0, 4096, FAILED,
     0x0b4705},

    /* F bit */
    {"a sequence ends early", ASKED, DATA, F, RUNNING, 0, 0, 0, 0, 0, 4096, FAILED, 0x0b0c0d},
    {"a sequence ends with nothing", ASKED, DATA, F, RUNNING, 0, 0, 0, 0, 0, 0, FAILED, 0x0b0c0d},
    {"a sequence that does not end", ASKED, DATA, 0, RUNNING, 0, 0, 0, 0, 0, 8192, IGNORED, 0},
    {"a read that is not final", IDLE, CMD, CMD_READ, NEW, 0, 0, 0, 0, 512, 0, ENDED,
     REJECT_PROTOCOL},
    {"data unasked with InitialR2T=Yes", IDLE, CMD, CMD_WRITE, NEW, 0, 0, 0, 0, 8192, 0, ENDED,
     REJECT_PROTOCOL},
    {"text final and continued", IDLE, OP_TEXT_REQ | IMM, F | PDU_CONTINUE, NEW, NO, 0, 0, 0, 0, 0,
     ENDED, REJECT_PROTOCOL},

    /* lengths */
    {"immediate data with a read", IDLE, CMD, READ, NEW, 0, 0, 0, 0, 512, 512, ENDED,
     REJECT_PROTOCOL},
    {"immediate data with a command without data", IDLE, CMD, F, NEW, 0, 0, 0, 0, 0, 4, ENDED,
     REJECT_PROTOCOL},
    {"more immediate data than the command", IMMEDIATE, CMD, WRITE, NEW, 0, 0, 0, 0, 512, 1024,
     ENDED, REJECT_PROTOCOL},
    {"more immediate data than FirstBurstLength", IMMEDIATE, CMD, WRITE, NEW, 0, 0, 0, 0, 8192,
     1028, ENDED, REJECT_PROTOCOL},
    {"immediate data with ImmediateData=No", IDLE, CMD, WRITE, NEW, 0, 0, 0, 0, 512, 512, FAILED,
     0x0b0c0c},
    {"a segment longer than we take", ASKED, DATA, F, RUNNING, 0, 0, 0, 0, 0, 262144 + 4, ENDED,
     REJECT_PROTOCOL},
    {"a ping longer than we take", IDLE, OP_NOP_OUT | IMM, F, NEW, NO, 0, 0, 0, 0, 262144 + 4,
     ENDED, REJECT_PROTOCOL},
    {"text longer than we put together", IDLE, OP_TEXT_REQ | IMM, F, NEW, NO, 0, 0, 0, 0, 16388,
     REJECTED, REJECT_PROTOCOL},

    /* the phase, the kind of session, opcodes */
    {"a login after the login", IDLE, OP_LOGIN_REQ | IMM, 0x87, NEW, 0, 0, 0, 0, 0, 0, ENDED,
     REJECT_PROTOCOL},
    {"a command in discovery", DISCOVERY, CMD, F, NEW, 0, 0, 0, 0, 0, 0, REJECTED, REJECT_PROTOCOL},
    {"a reset in discovery", DISCOVERY, OP_TMF_REQ | IMM, F | TMF_LU_RESET, NEW, NO, 0, 0, 0, 0, 0,
     REJECTED, REJECT_PROTOCOL},
    {"data in discovery", DISCOVERY, DATA, F, NEW, 0, 0, 0, 0, 0, 512, IGNORED, 0},
    {"SNACK at error recovery level 0", IDLE, OP_SNACK, F, NEW, 0, 0, 0, 0, 0, 0, REJECTED,
     REJECT_SNACK},
    {"an unknown opcode", IDLE, 0x1c | IMM, F, NEW, 0, 0, 0, 0, 0, 0, REJECTED, REJECT_UNSUPPORTED},
    {"a target's opcode", IDLE, OP_SCSI_RSP, F, NEW, 0, 0, 0, 0, 0, 0, REJECTED,
     REJECT_UNSUPPORTED},
    {"an R2T for us", IDLE, OP_R2T, F, NEW, 0, 0, 0, 0, 0, 0, REJECTED, REJECT_UNSUPPORTED},
    {"text that goes on with a tag not given", IDLE, OP_TEXT_REQ | IMM, F, NEW, 3, 0, 0, 0, 0, 0,
     REJECTED, REJECT_INVALID_FIELD},
    {"a logout of a reserved kind", IDLE, OP_LOGOUT_REQ | IMM, F | 3, NEW, 0, 0, 0, 0, 0, 0,
     REJECTED, REJECT_INVALID_FIELD},
    {"a logout for recovery", IDLE, OP_LOGOUT_REQ | IMM, F | LOGOUT_RECOVERY, NEW, 0, 0, 0, 0, 0, 0,
     ANSWERED, OP_LOGOUT_RSP},
    {"the answer to a ping we did not send", IDLE, OP_NOP_OUT | IMM, F, NONE, 4711, 0, 0, 0, 0, 0,
     IGNORED, 0},
    {"both ways at once", IDLE, CMD, WRITE | CMD_READ, NEW, 0, 0, 0, 0, 0, 0, FAILED, 0x052000},
};

static const struct row *row;
static uint32_t running;

static void setup(void)
{
	peer_setup(&(struct iscsi_opts){.max_connections = 4});
}

static void start_write(unsigned flags)
{
	uint8_t cdb[16];
	cdb_rw(cdb, true, 0, 16);
	running = client_command(c, flags, cdb, 8192, NULL, 0);
}

static void prepare(enum before before)
{
	static const char *const keys[][6] = {
	    [IDLE] = {"ImmediateData=No"},
	    [ASKED] = {"ImmediateData=No"},
	    [ASKED_TWICE] = {"ImmediateData=No", "MaxBurstLength=4096", "FirstBurstLength=4096",
			     "MaxOutstandingR2T=2"},
	    [UNASKED] = {"InitialR2T=No", "ImmediateData=No", "FirstBurstLength=4096"},
	    [IMMEDIATE] = {"ImmediateData=Yes", "FirstBurstLength=1024"},
	};
	if (before == DISCOVERY) {
		ck_assert_uint_eq(
		    client_login(c, NULL, (const char *[]){"SessionType=Discovery", NULL}), 0);
		return;
	}
	login(keys[before]);
	if (before == UNASKED)
		start_write(CMD_WRITE);
	if (before == ASKED || before == ASKED_TWICE) {
		start_write(WRITE);
		client_expect(c, OP_R2T);
	}
	if (before == ASKED_TWICE)
		client_expect(c, OP_R2T);
}

static void send_row(void)
{
	struct bhs b = {.opcode = (uint8_t)row->opcode, .flags = (uint8_t)row->flags};
	const uint32_t tags[] = {++c->itt, running, 0xdead, NO};
	be32_put(b.itt, tags[row->itt]);
	be32_put(b.cmdsn, c->cmdsn + (uint32_t)row->cmdsn);
	be32_put(b.expstatsn, 0x12345678); /* whatever it says is of no consequence here */
	if ((row->opcode & PDU_OPCODE_MASK) == CMD) {
		be32_put(b.edtl, row->edtl);
		if (row->edtl)
			cdb_rw(b.cdb, row->flags & CMD_WRITE, 0, row->edtl / 512);
	} else {
		be32_put(b.ttt, row->ttt);
		be32_put(b.datasn, row->datasn);
		be32_put(b.offset, row->offset);
	}
	client_send(c, &b, pattern, row->len);
	if (row->cmdsn == 0 && !(row->opcode & IMM) && (row->opcode & PDU_OPCODE_MASK) == CMD)
		c->cmdsn++;
}

static void look(void)
{
	switch (row->after) {
	case IGNORED:
		ck_assert_msg(client_quiet(c, 50), "%s: something came", row->what);
		break;
	case REJECTED:
	case ENDED:
		client_expect(c, OP_REJECT);
		ck_assert_msg(c->bhs.reason == row->value, "%s: reason %u", row->what,
			      c->bhs.reason);
		ck_assert_uint_eq(c->len, 48);
		if (row->after == ENDED)
			ck_assert_msg(!client_recv(c), "%s: not closed", row->what);
		break;
	case FAILED:
		client_expect(c, OP_SCSI_RSP);
		ck_assert_uint_eq(c->bhs.status, SCSI_CHECK_CONDITION);
		ck_assert_msg(
		    (uint32_t)((c->data[4] & 0xf) << 16 | be16_get(c->data + 14)) == row->value,
		    "%s: sense %x/%04x", row->what, c->data[4] & 0xf, be16_get(c->data + 14));
		ck_assert_uint_eq(target.volume->commits, 0);
		break;
	case ANSWERED:
		client_expect(c, row->value);
		break;
	}
}

/* What was under way still is: the rest of a write may come, and it is right. */
static void go_on(void)
{
	if (row->before == DISCOVERY || row->after == ENDED)
		return;
	bool open = row->after != FAILED;
	bool filled = row->itt == RUNNING && row->opcode == DATA;
	if (open && row->before == ASKED && !filled) {
		client_data_out(c, running, 0, 0, 0, pattern, 8192, true);
		client_expect(c, OP_SCSI_RSP);
		ck_assert_uint_eq(c->bhs.status, SCSI_GOOD);
		check_volume(0, 8192);
	} else if (open && row->before == ASKED) { /* all there but the F bit */
		client_data_out(c, running, 0, 1, 8192, NULL, 0, true);
		client_expect(c, OP_SCSI_RSP);
		ck_assert_uint_eq(c->bhs.status, SCSI_GOOD);
	}
	client_ready(c);
}

START_TEST(a_row)
{
	row = &table[_i];
	prepare(row->before);
	send_row();
	look();
	go_on();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iscsi sequence");
	TCase *tc = tcase_create("sequence");
	tcase_add_checked_fixture(tc, setup, peer_teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, a_row, 0, (int)ARRAY_LEN(table));
	suite_add_tcase(suite, tc);
	return peer_run(suite);
}
