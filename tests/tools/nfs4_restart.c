/*
 * nfs4_restart PORT EXPORT [OWNER]: what clients of NFSv4.1 live through when their server is
 * restarted. Opens and locks the file "held" of the export, says "held", and waits for a line on
 * standard input; by then the server is another one. It must not know the session, give the open
 * and the lock back to the client that had them and to no other, and nothing else before the grace
 * period is over. When the open is back it says "part" and waits for a line again: the server may
 * be another one once more, that has the open, and gives the lock back. With OWNER that is what the
 * file's owner, the superuser, has to be called. Says what is wrong and exits 1, or "reclaimed" and
 * 0.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tests/unit/nfs4/v4_client.h"

static void expect(uint32_t got, uint32_t want, const char *what)
{
	if (got == want)
		return;
	printf("wrong: %s: %u instead of %u\n", what, got, want);
	exit(1);
}

static void back(struct v4 *c, uint16_t port, const char *owner)
{
	v4_open(c, port);
	expect(v4_exchange(c, owner, 1, 0), 0, "EXCHANGE_ID");
	expect(v4_session(c), 0, "CREATE_SESSION");
}

/* Says so, and waits until the server is another one. */
static void pause_at(const char *what)
{
	char line[16];
	puts(what);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(2);
}

/* Who owns the file, as it is told. */
static void expect_owner(struct v4 *c, const struct v4_fh *fh, const char *want)
{
	const uint8_t *p;
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_GETATTR);
	xdr_put_u32(&c->x, 2);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, 1u << (FATTR4_OWNER - 32));
	expect(v4_send(c), 0, "GETATTR of the owner");
	v4_res(c, OP_PUTFH);
	v4_res(c, OP_GETATTR);
	v4_take(c, (uint8_t[16]){0}, 16);
	uint32_t len = v4_opaque(c, &p);
	if (len == strlen(want) && memcmp(p, want, len) == 0)
		return;
	printf("wrong: the owner is %.*s instead of %s\n", (int)len, (const char *)p, want);
	exit(1);
}

/* The grace period passes: until then a new open says GRACE. */
static uint32_t open_later(struct v4 *c, const struct v4_fh *dir, uint32_t how,
			   struct v4_stateid *s, struct v4_fh *fh)
{
	const struct timespec pause = {.tv_nsec = 200000000};
	uint32_t st = NFS4ERR_GRACE;
	for (int i = 0; i < 150 && st == NFS4ERR_GRACE; i++) {
		st = v4_open_file(c, dir, "held", "o", 3, 0, how, s, fh);
		if (st == NFS4ERR_GRACE)
			nanosleep(&pause, NULL);
	}
	return st;
}

int main(int argc, char **argv)
{
	struct v4 holder, other, again, late;
	struct v4_fh dir, fh, f;
	struct v4_stateid s, l, t;
	if (argc < 3 || argc > 4) {
		fprintf(stderr, "usage: nfs4_restart PORT EXPORT [OWNER]\n");
		return 2;
	}
	uint16_t port = (uint16_t)atoi(argv[1]);
	v4_open(&holder, port);
	v4_client(&holder, "holder");
	expect(v4_lookup(&holder, argv[2], &dir), 0, "the export");
	/* A new array has a grace period too, while it cannot know of anybody. */
	expect(open_later(&holder, &dir, 1, &s, &fh), 0, "OPEN");
	expect(v4_lock(&holder, &fh, &s, "l", WRITE_LT, 0, 100, false, &l), 0, "LOCK");
	if (argc == 4)
		expect_owner(&holder, &fh, argv[3]);
	pause_at("held");
	/* The old session is unknown, on a new connection. */
	v4_open(&again, port);
	memcpy(again.session, holder.session, sizeof(again.session));
	v4_seq(&again);
	expect(v4_send(&again), NFS4ERR_BADSESSION, "the old session");
	v4_close(&again);
	back(&again, port, "holder");
	back(&other, port, "other");
	expect(v4_reclaim_done(&other), 0, "RECLAIM_COMPLETE of another");
	expect(v4_reclaim_open(&other, &fh, "o", 3, &t), NFS4ERR_NO_GRACE, "another's reclaim");
	expect(v4_open_file(&other, &dir, "held", "o", 3, 0, 0, &t, &f), NFS4ERR_GRACE,
	       "a new open in the grace period");
	expect(v4_reclaim_open(&again, &fh, "o", 3, &s), 0, "the open's reclaim");
	pause_at("part");
	v4_reconnect(&again, port);
	v4_reconnect(&other, port);
	expect(v4_open_file(&other, &dir, "held", "o", 3, 0, 0, &t, &f), NFS4ERR_GRACE,
	       "a new open in the second grace period");
	expect(v4_lock(&again, &fh, &s, "l", WRITE_LT, 0, 100, true, &l), 0, "the lock's reclaim");
	expect(v4_reclaim_done(&again), 0, "RECLAIM_COMPLETE");
	expect(v4_write(&again, &fh, &s, 0, "data", 4, 2), 0, "WRITE under the open");
	v4_close(&other);
	v4_open(&late, port);
	v4_client(&late, "late");
	expect(open_later(&late, &dir, 0, &t, &fh), 0, "a new open");
	expect(v4_lock(&late, &fh, &t, "l", WRITE_LT, 50, 1, false, &l), NFS4ERR_DENIED,
	       "a lock over the reclaimed one");
	expect(v4_close_file(&again, &fh, &s), 0, "CLOSE");
	expect(v4_lock(&late, &fh, &t, "l", WRITE_LT, 50, 1, false, &l), 0, "the lock, then");
	v4_close(&holder);
	v4_close(&again);
	v4_close(&late);
	puts("reclaimed");
	return 0;
}
