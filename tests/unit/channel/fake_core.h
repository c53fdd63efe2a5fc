/*
 * A block core for channel tests: the real cache over volumes in shared memory
 * that outlives processes, and metadata made up here. Linked instead of
 * blockcore's core, volume and control.
 */
#ifndef ISTHMUS_TESTS_FAKE_CORE_H
#define ISTHMUS_TESTS_FAKE_CORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "blockcore/channel/channel_server.h"
#include "proto/meta.pb-c.h"

#define FAKE_VOLUMES  7
#define FAKE_VOL_SIZE (8 * 1024 * 1024u)

#define FAKE_SIDES 2 /* controllers a and b */

/* Volumes: 1 and 2 file systems of heads h1 and h2 (group g1), 3 and 4 PIV and backup of g1,
 * 5 the PIV of g2, which has no backup, 6 somebody's LUN. */
struct fake_control; /* what controllers share, in memory that outlives them */
struct fake_world {
	char dir[64];
	char socket[FAKE_SIDES][96], cache_path[FAKE_SIDES][96];
	char *sockets[FAKE_SIDES]; /* for channel_opts.paths: those there are */
	uint8_t *disks;		   /* FAKE_VOLUMES * FAKE_VOL_SIZE, shared */
	_Atomic int *stuck;	   /* shared: backing reads wait while set */
	struct fake_control *control;
};
void fake_world_make(struct fake_world *w);
void fake_world_remove(struct fake_world *w);
uint8_t *fake_disk(struct fake_world *w, uint32_t volume);
/* The array has no pool yet: no head is recorded. */
void fake_world_without_pools(struct fake_world *w);
void fake_world_make_pool(struct fake_world *w);

/* A controller in threads of this process. */
struct fake_server;
struct fake_server *fake_server_start(struct fake_world *w, unsigned side);
void fake_server_stop(struct fake_server *s);
/* Runs fn(server, arg) in a task of its home reactor, and waits for the end. */
void fake_server_call(struct fake_server *s, void (*fn)(struct channel_server *, void *),
		      void *arg);
/* In such a task, before it waits: changes the metadata (new sequence number is returned). */
uint64_t fake_meta_touch(void);

/* A controller in a process of its own; ready when it returns. */
pid_t fake_server_fork(struct fake_world *w, unsigned side);
void fake_server_kill(pid_t pid);

/*
 * Ownership, a stand-in for the core's. Volumes begin on side 0. fake_move() asks their owner,
 * which lives, to give one to the other side, and waits (in a task, or not) until it is there; with
 * `back_out` it only begins: the volume moves for a moment and stays.
 * fake_takeover(): what the dead side owned is the other's from here on, with all it had not
 * written to disks (with `lose`: without).
 */
void fake_move(struct fake_world *w, uint32_t volume, unsigned to, bool back_out);
void fake_takeover(struct fake_world *w, unsigned dead, bool lose);
unsigned fake_owner(struct fake_world *w, uint32_t volume);
/* What that side takes for the volume's size, FAKE_VOL_SIZE at most: it has not heard of the rest.
 */
void fake_size(struct fake_server *s, uint32_t volume, uint64_t size);
/* As recorded for a head; 0: it is not. */
uint64_t fake_head_epoch(struct fake_world *w, const char *head);

#endif
