/*
 * A lean iSCSI initiator for measuring (RFC 7143): its own PDUs, one receive for many answers,
 * one gathered send for all that follows from them. It must never be the limit of what it
 * measures, so it does nothing else: no CHAP, no error recovery, and any answer but GOOD ends it.
 * Correctness is libiscsi's business (tests/tools, tests/system).
 *
 * One thread drives any number of connections, each a session of its own.
 */
#ifndef ISTHMUS_TESTS_BENCH_INITIATOR_H
#define ISTHMUS_TESTS_BENCH_INITIATOR_H

#include <stdbool.h>
#include <stdint.h>

#define INITIATOR_DEPTH_MAX 256
#define INITIATOR_SIZE_MAX  (1u << 20)

struct initiator;

struct initiator_opts {
	const char *url;    /* iscsi://HOST[:PORT]/TARGET/LUN; [HOST] for IPv6 */
	unsigned number;    /* of this connection: makes its ISID */
	bool header_digest; /* CRC32C or nothing: a target that refuses is an error */
	bool data_digest;
};

/* Connects, logs in, asks for the capacity. 0, or -1 with a line on stderr. */
int initiator_open(struct initiator **ret, const struct initiator_opts *o);
void initiator_close(struct initiator *in);
uint64_t initiator_capacity(const struct initiator *in); /* bytes */

struct initiator_load {
	uint32_t size;		/* bytes of an operation: whole blocks */
	unsigned depth;		/* in flight on each connection */
	unsigned write_percent; /* 0: reads only, 100: writes only */
	bool random;		/* otherwise each connection runs through the region in order */
	bool spin;		/* looks at the sockets without sleeping */
	bool check;		/* writes a pattern of its place, and expects it when it reads */
	uint64_t region;	/* bytes from the start of the LUN */
	uint64_t ops;		/* ends after so many; 0: not by number */
	double seconds;		/* ... or after so long; 0: not by time */
};

/*
 * Runs the load on n connections of one LUN until it ends and nothing is in flight. Returns the
 * operations done, -1 with a line on stderr.
 */
int64_t initiator_run(struct initiator **in, unsigned n, const struct initiator_load *l);

#endif
