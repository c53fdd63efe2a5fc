/*
 * What the lean generators share: connections, one gathered send for many requests, and data that
 * tells its place.
 */
#ifndef ISTHMUS_TESTS_BENCH_WIRE_H
#define ISTHMUS_TESTS_BENCH_WIRE_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define WIRE_IOV       512
#define WIRE_SILENCE_S 20 /* without any answer: the server hangs */

/*
 * Connects; calls on the socket wait, 20 seconds at most. Returns the descriptor, or -1 and why.
 */
int wire_connect(const char *host, const char *port, const char **ret_why);

/* A batch of what is to be sent: [at, n) of iov is not sent yet, unsent bytes. */
struct wire_out {
	struct iovec iov[WIRE_IOV];
	int n, at;
	size_t unsent;
	bool blocked; /* the socket takes no more */
};

void wire_out_reset(struct wire_out *o);
/* The caller leaves room: at most WIRE_IOV pieces. What follows the piece before joins it. */
void wire_out_add(struct wire_out *o, void *base, size_t len);
/* Sends until nothing is left or the socket takes no more (`blocked`). 0, or -1 with errno. */
int wire_out_send(struct wire_out *o, int fd);

/* ---- the pattern: a word follows from its place ---- */

static inline uint64_t wire_pattern_word(uint64_t off)
{
	return htole64((off + 8) * 0x9e3779b97f4a7c15ull);
}

/* off and len: multiples of 8. */
void wire_pattern_fill(uint8_t *buf, uint64_t off, uint32_t len);
bool wire_pattern_holds(const uint8_t *buf, uint64_t off, uint32_t len);

#endif
