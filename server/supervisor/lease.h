/*
 * Leases of heads. A head's reactor gives signs of life (runtime/beat.h); one that gives none for
 * as long as its lease is fenced at the controllers, killed, and started again by its child's task.
 */
#ifndef ISTHMUS_SERVER_LEASE_H
#define ISTHMUS_SERVER_LEASE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct supervisor;

/* What is known of one process. */
struct lease {
	pid_t pid;	    /* whose it is */
	uint64_t count;	    /* of its signs */
	uint64_t waited_ns; /* for a processor, in its life */
	uint64_t looked_ns; /* monotonic */
	uint64_t silent_ns; /* that is its own fault, since the last sign */
};
struct lease_sight {
	uint64_t now_ns, count, waited_ns;
	char state; /* letter of proc(5) */
};
/*
 * One look at it; its silence from here on. Not held against it: the time between two looks beyond
 * twice what there should be (who looks was stopped himself, or the machine), the time in which it
 * was ready and had no processor, and waits that no signal ends (state D: memory, the kernel).
 * Pure.
 */
uint64_t lease_look(struct lease *l, const struct lease_sight *s);
/* How long it may be silent: longer while it starts, and after each loss soon after a start: what
 * another process did not help, one more will not. Pure. */
uint64_t lease_limit_ns(unsigned seconds, bool serving, unsigned lost);

/* A task that looks at all heads. */
int lease_start(struct supervisor *s);
/* Waits until nobody is being fenced. */
void lease_stop(struct supervisor *s);

#endif
