/*
 * Global control memory: which controller owns which pool, under which epoch,
 * who lives, and who may change the array metadata. Read without locks, changed
 * only here. See doc/duplex.md.
 *
 * On one host it is a segment shared by the controllers (gcm_shared.c), which outlives them all.
 * Every change is one compare-and-swap of a 64-bit word, so a controller that dies or is stopped at
 * any instruction leaves nothing locked or half done.
 */
#ifndef ISTHMUS_BLOCKCORE_GCM_H
#define ISTHMUS_BLOCKCORE_GCM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct env;
struct gcm;

#define GCM_CONTROLLERS 64
#define GCM_POOLS	256
#define GCM_NOBODY	0xff

/* A pool's ownership as one word. */
struct gcm_owner {
	uint64_t epoch;	    /* of this ownership; only grows; 0: nobody ever owned it */
	uint8_t controller; /* index; GCM_NOBODY */
	/* Every acknowledged write that is not on the disks is in the partner's mirror area too.
	 * The owner clears it before it acknowledges the first write that is not. */
	bool mirrored;
	bool moving; /* the owner is giving it to its partner: nothing new begins */
	/* All of it is on the disks, closed in order: what any memory has of it is of an earlier
	 * time. Until somebody takes it. */
	bool stored;
	/* A host asked for this owner (SET TARGET PORT GROUPS): it is not given back to its
	 * preferred one while this one lives. */
	bool held;
};

#define GCM_SEQ_UNKNOWN UINT64_MAX

struct gcm_ops {
	/* Required. Lock-free, any thread. false: the pool is not in the map. */
	bool (*owner)(struct gcm *g, const uint8_t pool[16], struct gcm_owner *ret);
	/* Required. May wait (between hosts). 0; -ERR_EPOCH_STALE: the word was not `was`, and
	 * nothing changed (*was is what it is). Enters the pool when was->epoch is 0. */
	int (*set_owner)(struct gcm *g, const uint8_t pool[16], struct gcm_owner *was,
			 const struct gcm_owner *now);
	/* Required. Lock-free, any thread. The cache that is to keep what was acknowledged for the
	 * pool and is not on its disks, said by who alone may take the word, before it does; 0: not
	 * known, or there was a loss. What the metadata says is older between taking and recording.
	 */
	uint64_t (*memory)(struct gcm *g, const uint8_t pool[16]);
	/* Required. Lock-free. -ENOENT: the pool is not in the map. */
	int (*set_memory)(struct gcm *g, const uint8_t pool[16], uint64_t memory);
	/* Required. May wait. Takes the right to change the array metadata: 0; -EBUSY while a
	 * living controller has it (also this one: the caller has its own changes queue).
	 * ret_seq: what it was last given up with, the highest sequence a change has used; 0:
	 * never; GCM_SEQ_UNKNOWN: the last holder died with the right, and what came through only
	 * the disks know. */
	int (*meta_lock)(struct gcm *g, uint64_t *ret_seq);
	void (*meta_unlock)(struct gcm *g, uint64_t seq);
	void (*close)(struct gcm *g);
};

struct gcm {
	const struct gcm_ops *ops;
	uint8_t self; /* index of this controller */
	/* Random, made with the control memory; the same for all who joined. What an array without
	 * a single label is called by all its controllers; and the name of the memory that
	 * reservations outlive a controller in (core_memory_id()): another one after it was lost.
	 */
	uint8_t id[16];
};

/* The pool's owner is this controller, and it has not begun to give it away. Lock-free. */
bool gcm_owns(struct gcm *g, const uint8_t pool[16]);

/* ---- on one host ---- */

#define GCM_MAGIC   "ISTHCTRL"
#define GCM_VERSION 5

/* Bytes of the segment. A segment of zeros is formatted by whoever opens it first. */
size_t gcm_shared_size(void);

enum gcm_state { GCM_DOWN, GCM_STARTING, GCM_UP, GCM_LEAVING };

/*
 * Joins as `name` (an index is given by name, and kept). incarnation: random, of this start.
 * -ERR_VERSION, -ERR_CORRUPT: the segment is not ours (event); -EBUSY: a living process has joined
 * under that name.
 */
int gcm_shared_open(struct gcm **ret, struct env *env, void *segment, size_t size, const char *name,
		    uint64_t incarnation);
/* The same for a process that is not the caller's own: of a simulation, of a test. */
struct gcm_shared_opts {
	struct env *env;
	void *segment; /* aligned to 64 bytes */
	size_t size;
	const char *name;     /* at most 31 characters */
	uint64_t incarnation; /* never 0 */
	int32_t pid;
	uint64_t started;
	/* Any thread. Does that process run? NULL: as the kernel says. */
	bool (*alive)(void *arg, int32_t pid, uint64_t started);
	/* Never waits. Ends that process, and no other that has its number now; NULL: SIGKILL. 0,
	 * -errno. */
	int (*kill)(void *arg, int32_t pid, uint64_t started);
	void *arg;
};
int gcm_shared_open_as(struct gcm **ret, const struct gcm_shared_opts *o);
void gcm_set_state(struct gcm *g, enum gcm_state s);
/* What is known of a controller; false: no such index. */
struct gcm_controller {
	char name[32];
	enum gcm_state state;
	uint64_t incarnation;
	int32_t pid;
	uint64_t pid_started; /* from /proc, so that a number used again is noticed */
	uint64_t beat_ns;     /* last heartbeat, env_now_ns() */
	bool alive;	      /* the process runs (or is stopped): asked of the kernel now */
};
bool gcm_controller(struct gcm *g, uint8_t index, struct gcm_controller *ret);
int gcm_index(struct gcm *g, const char *name); /* -ENOENT */
void gcm_beat(struct gcm *g);
/* Never waits. Ends the process of that controller which had joined as `incarnation`: 0: it has
 * ended for certain; -EAGAIN: it was killed and is still to be asked for; other errors: it cannot
 * be. */
int gcm_end(struct gcm *g, uint8_t index, uint64_t incarnation);
/*
 * Never waits. The right to end another controller: of two that cannot hear each other and both
 * live, one has it. 0: it is this one's until gcm_end_unlock(); -EBUSY: a living one's, which has
 * beaten within silent_ns (from one that has not it is taken).
 */
int gcm_end_lock(struct gcm *g, uint64_t silent_ns);
/* Nothing when it is not this one's any more. */
void gcm_end_unlock(struct gcm *g);
/* The partner was fenced or has left: what it held (the right to the metadata) is free. What a
 * successor that has joined since under its name holds, stays. */
void gcm_forget(struct gcm *g, uint8_t index);

#endif
