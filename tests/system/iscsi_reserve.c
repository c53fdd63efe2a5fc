/*
 * iscsi_reserve URL INITIATOR[,ISID] WORD...: one initiator port that logs in, runs one command
 * after the other, and prints what became of each on a line: good, conflict, sense KEY/ASC/ASCQ,
 * or what was read.
 *
 *   register OLD NEW [aptpl]   ignore NEW [aptpl]   reserve KEY TYPE   release KEY TYPE
 *   clear KEY   preempt KEY KEY TYPE   abort KEY KEY TYPE   keys   holder   read   write   tur
 *   storm SECONDS: writes, many at a time; prints how many were good, aborted, refused
 *
 * Words are separated by `/`. Unit attentions of the login are taken first. A connection that is
 * refused or lost is tried again for ten seconds, and with it the command: `tur` before.
 */
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct iscsi_context *iscsi;
static int lun;

static struct iscsi_context *connect_once(const char *text, const char *who)
{
	char name[256];
	unsigned isid = 1;
	snprintf(name, sizeof(name), "%s", who);
	char *comma = strchr(name, ',');
	if (comma) {
		*comma = 0;
		isid = (unsigned)strtoul(comma + 1, NULL, 10);
	}
	struct iscsi_context *c = iscsi_create_context(name);
	struct iscsi_url *url = c ? iscsi_parse_full_url(c, text) : NULL;
	if (!url)
		exit(2);
	iscsi_set_isid_oui(c, 0, isid);
	iscsi_set_targetname(c, url->target);
	iscsi_set_session_type(c, ISCSI_SESSION_NORMAL);
	iscsi_set_noautoreconnect(c, 1);
	iscsi_set_timeout(c, 20);
	lun = url->lun;
	int rc = iscsi_connect_sync(c, url->portal) || iscsi_login_sync(c);
	iscsi_destroy_url(url);
	if (rc == 0)
		return c;
	iscsi_destroy_context(c);
	return NULL;
}

static void tell(const struct scsi_task *t)
{
	if (!t)
		printf("lost\n");
	else if (t->status == SCSI_STATUS_GOOD)
		printf("good\n");
	else if (t->status == SCSI_STATUS_RESERVATION_CONFLICT)
		printf("conflict\n");
	else if (t->status == SCSI_STATUS_CHECK_CONDITION)
		printf("sense %x/%04x\n", t->sense.key, t->sense.ascq);
	else
		printf("status %x\n", t->status);
}

static int out(int action, int type, uint64_t key, uint64_t sa_key, bool aptpl)
{
	struct scsi_persistent_reserve_out_basic p = {
	    .reservation_key = key, .service_action_reservation_key = sa_key, .aptpl = aptpl};
	struct scsi_task *t = iscsi_persistent_reserve_out_sync(iscsi, lun, action, 0, type, &p);
	tell(t);
	scsi_free_scsi_task(t);
	return 0;
}

static void show_keys(void)
{
	struct scsi_task *t = iscsi_persistent_reserve_in_sync(iscsi, lun, 0, 4096);
	struct scsi_persistent_reserve_in_read_keys *k =
	    t && !t->status ? scsi_datain_unmarshall(t) : NULL;
	if (!k) {
		tell(t);
		return;
	}
	printf("keys");
	for (int i = 0; i < k->num_keys; i++)
		printf(" %llx", (unsigned long long)k->keys[i]);
	printf("\n");
	scsi_free_scsi_task(t);
}

static void show_holder(void)
{
	struct scsi_task *t = iscsi_persistent_reserve_in_sync(iscsi, lun, 1, 4096);
	struct scsi_persistent_reserve_in_read_reservation *r =
	    t && !t->status ? scsi_datain_unmarshall(t) : NULL;
	if (!r)
		tell(t);
	else if (!r->reserved)
		printf("holder none\n");
	else
		printf("holder %llx type %d\n", (unsigned long long)r->reservation_key, r->pr_type);
	scsi_free_scsi_task(t);
}

/* ---- a storm of writes ---- */

struct storm {
	unsigned out, good, aborted, refused, other;
	bool stop;
	unsigned char *data;
};
#define STORM_DEPTH 32
#define STORM_LEN   65536

static void storm_more(struct storm *s);

static void storm_done(struct iscsi_context *c, int status, void *command, void *arg)
{
	struct storm *s = arg;
	s->out--;
	if (status == SCSI_STATUS_GOOD)
		s->good++;
	else if (status == SCSI_STATUS_TASK_ABORTED)
		s->aborted++;
	else if (status == SCSI_STATUS_RESERVATION_CONFLICT)
		s->refused++;
	else
		s->other++;
	scsi_free_scsi_task(command);
	if (!s->stop && !s->refused)
		storm_more(s);
}

static void storm_more(struct storm *s)
{
	uint32_t lba = (uint32_t)(random() % 256) * (STORM_LEN / 512);
	if (iscsi_write10_task(iscsi, lun, lba, s->data, STORM_LEN, 512, 0, 0, 0, 0, 0, storm_done,
			       s))
		s->out++;
}

static void storm(unsigned seconds)
{
	struct storm s = {.data = calloc(1, STORM_LEN)};
	time_t end = time(NULL) + seconds;
	for (unsigned i = 0; i < STORM_DEPTH; i++)
		storm_more(&s);
	while (s.out) {
		struct pollfd p = {.fd = iscsi_get_fd(iscsi),
				   .events = (short)iscsi_which_events(iscsi)};
		s.stop = time(NULL) >= end;
		if (time(NULL) > end + 5 || poll(&p, 1, 100) < 0 ||
		    iscsi_service(iscsi, p.revents) < 0)
			break;
	}
	printf("storm good %u aborted %u refused %u other %u left %u\n", s.good, s.aborted,
	       s.refused, s.other, s.out);
	free(s.data);
}

/* ---- words ---- */

static uint64_t number(char **w, int i)
{
	return w[i] ? strtoull(w[i], NULL, 16) : 0;
}

static int one(char **w)
{
	static unsigned char block[512];
	struct scsi_task *t = NULL;
	bool aptpl = (w[1] && w[2] && !strcmp(w[2], "aptpl")) ||
		     (w[1] && w[2] && w[3] && !strcmp(w[3], "aptpl"));
	if (!strcmp(w[0], "register"))
		return out(0, 0, number(w, 1), number(w, 2), aptpl);
	if (!strcmp(w[0], "ignore"))
		return out(6, 0, 0, number(w, 1), aptpl);
	if (!strcmp(w[0], "reserve"))
		return out(1, (int)number(w, 2), number(w, 1), 0, false);
	if (!strcmp(w[0], "release"))
		return out(2, (int)number(w, 2), number(w, 1), 0, false);
	if (!strcmp(w[0], "clear"))
		return out(3, 0, number(w, 1), 0, false);
	if (!strcmp(w[0], "preempt") || !strcmp(w[0], "abort"))
		return out(w[0][0] == 'p' ? 4 : 5, (int)number(w, 3), number(w, 1), number(w, 2),
			   false);
	if (!strcmp(w[0], "keys"))
		show_keys();
	else if (!strcmp(w[0], "holder"))
		show_holder();
	else if (!strcmp(w[0], "storm"))
		storm((unsigned)number(w, 1));
	else if (!strcmp(w[0], "read"))
		tell(t = iscsi_read10_sync(iscsi, lun, 0, 512, 512, 0, 0, 0, 0, 0));
	else if (!strcmp(w[0], "write"))
		tell(t = iscsi_write10_sync(iscsi, lun, 0, block, 512, 512, 0, 0, 0, 0, 0));
	else if (!strcmp(w[0], "tur"))
		tell(t = iscsi_testunitready_sync(iscsi, lun));
	else
		return 2;
	scsi_free_scsi_task(t);
	return 0;
}

/* POWER ON and what else there is of the login. */
static void take_attentions(void)
{
	for (int i = 0; i < 20; i++) {
		struct scsi_task *t = iscsi_testunitready_sync(iscsi, lun);
		bool again = t && t->status == SCSI_STATUS_CHECK_CONDITION &&
			     t->sense.key == SCSI_SENSE_UNIT_ATTENTION;
		scsi_free_scsi_task(t);
		if (!again)
			return;
	}
}

int main(int argc, char **argv)
{
	char *words[8];
	int rc = 0;
	if (argc < 4) {
		fprintf(stderr, "usage: iscsi_reserve URL INITIATOR[,ISID] WORD...\n");
		return 2;
	}
	for (int i = 0; i < 400 && !(iscsi = connect_once(argv[1], argv[2])); i++)
		usleep(25000);
	if (!iscsi)
		return 1;
	take_attentions();
	for (int i = 3; i < argc && rc == 0;) {
		int n = 0;
		for (; i < argc && strcmp(argv[i], "/") != 0; i++)
			if (n < 7)
				words[n++] = argv[i];
		i++;
		words[n] = NULL;
		if (n)
			rc = one(words);
		fflush(stdout);
	}
	iscsi_logout_sync(iscsi);
	iscsi_destroy_context(iscsi);
	return rc;
}
