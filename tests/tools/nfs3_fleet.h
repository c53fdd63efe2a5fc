/*
 * Clients in processes of their own that outlive the server's deaths: a call is made again, on a
 * new connection, until it is answered. What may have been done by an earlier try is `retried`.
 */
#ifndef ISTHMUS_TESTS_NFS3_FLEET_H
#define ISTHMUS_TESTS_NFS3_FLEET_H

#include "tests/tools/nfs3_client.h"

#define FLEET_PATIENCE 40.0 /* s without service: the client gives up */

struct fleet_client {
	int id;
	const char *server;
	int port;
	struct nc *c;
	struct nc_fh top;
	uint64_t seed;
	bool retried;	/* the call answered last was sent more than once */
	double longest; /* s it took to be answered */
	unsigned long calls, retries, bad;
};

double fleet_now(void);
uint32_t fleet_dice(struct fleet_client *k, uint32_t n); /* below n */
/* Connects and mounts; ends the process when that takes too long. */
void fleet_open(struct fleet_client *k, int id, const char *server, int port, const char *path);
void fleet_close(struct fleet_client *k);

/* r = the answer of CALL, an expression with k->c in it. */
#define ANSWERED(k, r, CALL)                                                                       \
	do {                                                                                       \
		double asked_ = fleet_now();                                                       \
		(k)->retried = false;                                                              \
		do                                                                                 \
			(r) = (CALL);                                                              \
		while (fleet_again(k, asked_));                                                    \
	} while (0)
bool fleet_again(struct fleet_client *k, double asked);

/* Counts and prints what is wrong. */
void fleet_bad(struct fleet_client *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Runs fn(id, arg) in n processes; how many did not return true. */
unsigned fleet_run(int n, bool (*fn)(int id, void *arg), void *arg);
/* Memory that all processes share, zeroed. */
void *fleet_shared(size_t size);

#endif
