/*
 * Takes requests from a channel's ring and executes them on volumes, on one
 * reactor (the data reactor). The functions below are called by tasks of the
 * home reactor and wait for their part on the data reactor.
 */
#ifndef ISTHMUS_CHANNEL_EXEC_H
#define ISTHMUS_CHANNEL_EXEC_H

#include <stdbool.h>
#include <stdint.h>

struct channel_exec;
struct channel_seg;
struct reactor;
struct volume;

struct channel_exec_stats {
	uint64_t requests;  /* taken from the ring */
	uint64_t hits;	    /* READs answered from the cache without a task */
	uint64_t refused;   /* malformed, unknown volume, stale epoch */
	uint64_t elsewhere; /* the volume belongs to the other controller */
	uint32_t volumes;
};

/*
 * The segment's rings are empty and nobody has it mapped but us. staging: the head's, mapped until
 * the end. sock_fd: shut down when the head breaks the rules of the rings; must stay open until
 * stopped.
 */
int channel_exec_new(struct channel_exec **ret, struct reactor *data, struct channel_seg *seg,
		     uint8_t *staging, int sock_fd);
int channel_exec_event_in(const struct channel_exec *x);  /* eventfd: head -> controller */
int channel_exec_event_out(const struct channel_exec *x); /* eventfd: controller -> head */
/* Waits. From here on requests are taken. */
int channel_exec_start(struct channel_exec *x);
/* Waits until every request that was taken has ended, puts the volumes. Then free. */
void channel_exec_stop(struct channel_exec *x);
void channel_exec_free(struct channel_exec *x);

/* Waits. Takes the reference on success. read_only: what would change it is refused
 * (-ERR_WRITE_PROTECT). -ENFILE. A volume that is open already is 0. */
int channel_exec_open(struct channel_exec *x, struct volume *v, bool read_only);
void channel_exec_close(struct channel_exec *x, uint32_t volume_id);
void channel_exec_stats(struct channel_exec *x, struct channel_exec_stats *ret);

#endif
