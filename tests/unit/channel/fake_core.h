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

#define FAKE_VOLUMES  6
#define FAKE_VOL_SIZE (8 * 1024 * 1024u)

/* Volumes: 1 and 2 file systems of heads h1 and h2 (group g1), 3 and 4 PIV and backup of g1,
 * 5 the PIV of g2, which has no backup, 6 somebody's LUN. */
struct fake_world {
	char dir[64], socket[96], cache_path[96];
	uint8_t *disks;	    /* FAKE_VOLUMES * FAKE_VOL_SIZE, shared */
	_Atomic int *stuck; /* shared: backing reads wait while set */
};
void fake_world_make(struct fake_world *w);
void fake_world_remove(struct fake_world *w);
uint8_t *fake_disk(struct fake_world *w, uint32_t volume);

/* A controller in threads of this process. */
struct fake_server;
struct fake_server *fake_server_start(struct fake_world *w);
void fake_server_stop(struct fake_server *s);
/* Runs fn(server, arg) in a task of its home reactor, and waits for the end. */
void fake_server_call(struct fake_server *s, void (*fn)(struct channel_server *, void *),
		      void *arg);
/* In such a task: changes the metadata (new sequence number is returned). */
uint64_t fake_meta_touch(void);

/* A controller in a process of its own; ready when it returns. */
pid_t fake_server_fork(struct fake_world *w);
void fake_server_kill(pid_t pid);

#endif
