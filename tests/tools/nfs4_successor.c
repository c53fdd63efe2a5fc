/*
 * nfs4_successor PORT EXPORT ROUNDS: clients of NFSv4.1 whose server dies and is replaced, again
 * and again. Each round says "ready", waits for a line on standard input (by then the server has
 * been killed), and goes on with the same session, open and lock: nothing may be reclaimed or
 * refused, the request that was under way is sent again and was done once, and no other client gets
 * the lock. At the end the longest and the median pause, from the line to the answer, in
 * milliseconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tests/unit/nfs4/v4_client.h"

#define ROUNDS_MAX 1000

static struct v4 holder, thief;
static struct v4_fh dir, fh;
static struct v4_stateid open_h, open_t, lock_h;

static void expect(uint32_t got, uint32_t want, const char *what)
{
	if (got == want)
		return;
	printf("wrong: %s: %u instead of %u\n", what, got, want);
	exit(1);
}

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static uint32_t make_dir(struct v4 *c, const char *name)
{
	v4_seq(c);
	v4_putfh(c, &dir);
	v4_op(c, OP_CREATE);
	xdr_put_u32(&c->x, 2); /* NF4DIR */
	xdr_put_string(&c->x, name);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, 0);
	return v4_send(c);
}

static void begin(uint16_t port, const char *export)
{
	v4_open(&holder, port);
	v4_open(&thief, port);
	holder.cache = thief.cache = true;
	v4_client(&holder, "holder");
	v4_client(&thief, "thief");
	expect(v4_lookup(&holder, export, &dir), 0, "the export");
	expect(v4_open_file(&holder, &dir, "kept", "o", 3, 0, 1, &open_h, &fh), 0, "OPEN");
	expect(v4_open_file(&thief, &dir, "kept", "o", 3, 0, 0, &open_t, &fh), 0, "another's OPEN");
	expect(v4_lock(&holder, &fh, &open_h, "l", WRITE_LT, 0, 100, false, &lock_h), 0, "LOCK");
}

static double one_round(uint16_t port, int i)
{
	struct v4_stateid stolen, second, again;
	char name[32], line[16];
	snprintf(name, sizeof(name), "d%d", i);
	/* The last request before the kill: asked again below. */
	if (i % 2)
		expect(make_dir(&holder, name), 0, "CREATE");
	else
		expect(v4_lock(&holder, &fh, &lock_h, NULL, WRITE_LT, 200 + (uint64_t)i, 1, false,
			       &second),
		       0, "LOCK beside the first");
	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(2);
	double start = now_ms();
	v4_reconnect(&thief, port);
	expect(v4_lock(&thief, &fh, &open_t, "l", WRITE_LT, 50, 1, false, &stolen), NFS4ERR_DENIED,
	       "the held lock, asked for by another");
	double pause = now_ms() - start;
	v4_reconnect(&holder, port);
	expect(v4_again(&holder), 0, "the last request again");
	if (i % 2) {
		expect(make_dir(&holder, name), NFS4ERR_EXIST, "CREATE of what was made");
	} else {
		v4_res(&holder, OP_SEQUENCE);
		v4_take(&holder, (uint8_t[36]){0}, 36);
		v4_res(&holder, OP_PUTFH);
		v4_res(&holder, OP_LOCK);
		v4_get_stateid(&holder, &again);
		expect((uint32_t)memcmp(&again, &second, sizeof(again)), 0, "the same answer");
		lock_h = second;
	}
	expect(v4_write(&holder, &fh, &open_h, 0, name, (uint32_t)strlen(name), 2), 0,
	       "WRITE under the open");
	return pause;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	static double pauses[ROUNDS_MAX];
	if (argc != 4 || atoi(argv[3]) < 1 || atoi(argv[3]) > ROUNDS_MAX) {
		fprintf(stderr, "usage: nfs4_successor PORT EXPORT ROUNDS\n");
		return 2;
	}
	uint16_t port = (uint16_t)atoi(argv[1]);
	int rounds = atoi(argv[3]);
	begin(port, argv[2]);
	for (int i = 0; i < rounds; i++)
		pauses[i] = one_round(port, i);
	expect(v4_unlock(&holder, &fh, &lock_h, 0, 100, &lock_h), 0, "LOCKU");
	expect(v4_lock(&thief, &fh, &open_t, "l", WRITE_LT, 50, 1, false, &lock_h), 0,
	       "the lock, then");
	expect(v4_close_file(&holder, &fh, &open_h), 0, "CLOSE");
	qsort(pauses, (size_t)rounds, sizeof(pauses[0]), compare);
	printf("pauses: median %.0f ms, longest %.0f ms\n", pauses[rounds / 2], pauses[rounds - 1]);
	return 0;
}
