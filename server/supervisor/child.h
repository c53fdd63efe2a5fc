/*
 * A child of the supervisor: a controller or a head. One task each; see
 * server/supervisor/README.md for its states and its back-off.
 */
#ifndef ISTHMUS_SERVER_CHILD_H
#define ISTHMUS_SERVER_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <bsd/sys/queue.h>
#include "runtime/listen.h"
#include "runtime/task.h"
#include "server/supervisor/lease.h"

struct supervisor;

enum child_state {
	CHILD_STOPPED,
	CHILD_STARTING, /* runs, does not answer yet */
	CHILD_UP,
	CHILD_HUNG,    /* was up, and has not answered for as long as the watchdog allows */
	CHILD_WAITING, /* died; the back-off runs */
	CHILD_REFUSED, /* not started: `why` says what must be done first */
	CHILD_STOPPING,
};

struct child {
	uint32_t magic;
	struct supervisor *sup;
	char kind[16]; /* "controller", "head" */
	char name[32];
	char place[32];	      /* the head at which it runs (placement.h) */
	bool disabled;	      /* the head of its name takes no services */
	unsigned failed_here; /* times its process ended soon at that head, one after another */
	char *settings;	      /* its section as text, to see changes */
	enum child_state state;
	uint64_t since_ns; /* realtime, of the state */
	pid_t pid;	   /* 0: none */
	int pidfd;
	bool ours;	  /* forked by this isthmusd: its exit status can be had */
	unsigned unready; /* processes in a row that ended before they were in service */
	bool plain; /* a head: the booted version does not come up, so the installed one runs */
	bool dead;  /* its pidfd said so */
	bool ended; /* the task has ended */
	bool want_stop, want_restart;
	uint64_t started_ns, ready_ns; /* monotonic; ready_ns 0: was not */
	uint64_t
	    silent_ns; /* monotonic: when the first ping of those unanswered was sent; 0: none */
	uint64_t next_start_ns; /* monotonic, while WAITING */
	unsigned restarts, quick_deaths;
	unsigned lives;		 /* processes it had, those that were found too */
	unsigned users;		 /* that wait for it: it is not freed meanwhile */
	uint64_t died_ns;	 /* realtime of the last death */
	char why[192];		 /* of the last death or refusal */
	int sockets[LISTEN_MAX]; /* that clients come to, held while it is restarted */
	unsigned nsockets;
	unsigned unbound;     /* of those it should have, a bit each in the order of sockets.c */
	char listens[96];     /* where they are bound */
	struct lease lease;   /* of a head's process */
	unsigned leases_lost; /* soon after a start, one after another */
	struct watch *watch;
	struct waitq wake;    /* the task */
	struct waitq changed; /* whoever waits for a state */
	TAILQ_ENTRY(child) link;
};

int child_new(struct child **ret, struct supervisor *sup, const char *kind, const char *name,
	      const char *settings);
void child_free(struct child *c); /* after it ended */
/* Starts the task: finds a living one or starts it. */
int child_run(struct child *c);
void child_stop(struct child *c);
void child_restart(struct child *c);
/*
 * Replaces its process by another, drained: SIGTERM lets replies leave and state be synced, and the
 * next one starts at once, on the same sockets. One that does not run is started. Waits until the
 * new one is in service: 0. -ECHILD: it ended before, or was not started (`why` says how);
 * -ETIMEDOUT: not yet (it is not given up); -ENOTCONN: it is being stopped for good.
 */
int child_replace(struct child *c, uint64_t timeout_ns);
/* One of its `users` no longer needs it. */
void child_leave(struct child *c);
/* Waits until its task has ended, and nobody waits for it. */
void child_join(struct child *c);
/* A call about its process: c->dead when that has ended, whatever the call said. */
void child_look(struct child *c);
/* Tries a refused or waiting one now. */
void child_kick(struct child *c);
const char *child_state_name(enum child_state s);

/* How long the next start waits, given how the last life went. Pure. */
uint64_t child_backoff_ns(unsigned quick_deaths, bool was_ready);

#endif
